-- In a word: whether somebody has to act (error), it mends itself (retrying), or there is nothing to do. That a remote wants to be left alone
-- for a while is no failure.
-- define health
CASE WHEN x.status IN ('error', 'paused', 'revoked') THEN x.status WHEN x.provider_status <> 'active' THEN 'paused'
     WHEN x.attempts > 0 AND x.last_error_kind IS DISTINCT FROM 'rate_limited' THEN 'retrying' WHEN x.job_status = 'running' THEN 'running'
     WHEN x.last_error_kind = 'rate_limited' AND x.job_due_at > now() OR x.held_until > COALESCE(x.job_due_at, x.next_run_at, now()) THEN 'rate_limited'
     WHEN x.late_by > interval '1 minute' THEN 'late'
     ELSE 'healthy' END

-- define connection
json_build_object('id', c.id, 'provider_slug', c.provider_slug, 'external_id', c.external_id, 'name', c.name, 'status', c.status,
    'status_reason', c.status_reason, 'provider_status', x.provider_status, 'health', {{health}}, 'metadata', COALESCE(c.metadata, '{}'),
    'interval_seconds', x.interval_seconds, 'has_schedules', c.has_schedules, 'last_incremental_finished_at', c.last_incremental_finished_at,
    'next_run_at', x.next_run_at, 'held_until', x.held_until, 'late_seconds', round(extract(epoch FROM x.late_by), 3), 'created_at', c.created_at, 'updated_at', c.updated_at,
    'live_job', CASE WHEN x.job_id IS NOT NULL
                     THEN json_build_object('id', x.job_id, 'job_type', x.job_type, 'status', x.job_status, 'attempts', x.attempts, 'due_at', x.job_due_at,
                                            'last_error_kind', x.last_error_kind, 'last_error', x.last_error) END)

-- define from_connections
FROM sync.connections c
JOIN sync.connection_status x ON x.connection_id = c.id AND x.tenant_id = {{tenant}}
WHERE c.tenant_id = {{tenant}}

-- define find_connection
SELECT c.id AS found FROM sync.connections c WHERE c.tenant_id = {{tenant}} AND c.id = {{id}}

-- define show_connection
SELECT {{connection}} AS body, sync.object_version('connection', c.id) AS version
{{from_connections}} AND c.id = {{id}}

-- By the beginning of the name: the place of a page goes into its cursor.
-- What is late was due at an instant that stays, however long ago it is when the next page is asked for.
-- operation listConnections
-- sort id: c.id::bigint
-- sort name: "left"(COALESCE(c.name, c.external_id), 200)::text, c.id::bigint
-- sort created_at: c.created_at::timestamptz, c.id::bigint
-- sort next_run_at: COALESCE(x.next_run_at, 'infinity')::timestamptz, c.id::bigint
-- sort late: CASE WHEN x.late_by > interval '0' THEN extract(epoch FROM x.late_by) - extract(epoch FROM now()) ELSE -1e15 END::numeric, c.id::bigint
SELECT {{key}} AS key, {{connection}} AS item
FROM sync.connections c
JOIN LATERAL (SELECT y.* FROM sync.connection_status y WHERE y.connection_id = c.id AND y.tenant_id = {{tenant}} {{one_by_one}}) x ON true
WHERE c.tenant_id = {{tenant}}
--? provider_slug: AND c.provider_slug = $1::jsonb ->> 'provider_slug'
--? external_id: AND c.external_id = $1::jsonb ->> 'external_id'
--? status: AND c.status = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'status')))
--? health: AND {{health}} = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'health')))
--? name: AND strpos(lower(COALESCE(c.name, c.external_id)), lower($1::jsonb ->> 'name')) > 0
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- operation createConnection
WITH made AS (
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, name, metadata, config)
    VALUES ({{tenant}}, $2::jsonb ->> 'provider_slug', COALESCE($2::jsonb ->> 'external_id', gen_random_uuid()::text), $2::jsonb ->> 'name',
            COALESCE(NULLIF($2::jsonb -> 'metadata', 'null'), '{}') - 'sync', COALESCE(NULLIF($2::jsonb -> 'config', 'null'), '{}'))
    RETURNING id
)
SELECT set_config('sync_gateway.id', m.id::text, true) FROM made m;
SELECT sync.set_interval({{made}}, ($2::jsonb ->> 'interval_seconds')::int) WHERE $2::jsonb ->> 'interval_seconds' IS NOT NULL;
SELECT {{connection}} AS body, sync.object_version('connection', c.id) AS version, '/api/v2/connections/' || c.id AS location
{{from_connections}} AND c.id = {{made}};

-- operation getConnection
{{show_connection}};

-- What the engine keeps in metadata.sync stays.
-- operation replaceConnection
SELECT sync.expect_version('connection', {{id}}, {{if_match}});
UPDATE sync.connections c
SET name = $2::jsonb ->> 'name', config = COALESCE(NULLIF($2::jsonb -> 'config', 'null'), '{}'), updated_at = now(),
    metadata = COALESCE(NULLIF($2::jsonb -> 'metadata', 'null'), '{}') - 'sync'
               || CASE WHEN c.metadata ? 'sync' THEN jsonb_build_object('sync', c.metadata -> 'sync') ELSE '{}' END
WHERE c.id = {{id}};
SELECT sync.set_interval({{id}}, ($2::jsonb ->> 'interval_seconds')::int);
{{show_connection}};

-- operation updateConnection
SELECT sync.expect_version('connection', {{id}}, {{if_match}});
UPDATE sync.connections c SET config = COALESCE(NULLIF($2::jsonb -> 'config', 'null'), '{}'), updated_at = now() WHERE c.id = {{id}} AND $2::jsonb ? 'config';
UPDATE sync.connections c
SET name = CASE WHEN $2::jsonb ? 'name' THEN $2::jsonb ->> 'name' ELSE c.name END, updated_at = now(),
    metadata = CASE WHEN $2::jsonb ? 'metadata'
                    THEN COALESCE(NULLIF($2::jsonb -> 'metadata', 'null'), '{}') - 'sync'
                         || CASE WHEN c.metadata ? 'sync' THEN jsonb_build_object('sync', c.metadata -> 'sync') ELSE '{}' END
                    ELSE c.metadata END
WHERE c.id = {{id}} AND ($2::jsonb ? 'name' OR $2::jsonb ? 'metadata');
SELECT sync.set_interval({{id}}, ($2::jsonb ->> 'interval_seconds')::int) WHERE $2::jsonb ? 'interval_seconds';
{{show_connection}};

-- operation deleteConnection
SELECT sync.expect_version('connection', {{id}}, {{if_match}});
DELETE FROM sync.connections c WHERE c.id = {{id}} RETURNING 204 AS status;

-- operation triggerConnection
SELECT set_config('sync_gateway.id', sync.trigger({{id}}, COALESCE($2::jsonb ->> 'job_type', 'incremental'),
                                                  COALESCE(($2::jsonb ->> 'priority')::int, 10))::text, true);
{{show_triggered}};

-- operation pauseConnection
SELECT sync.pause({{id}}, $2::jsonb ->> 'reason');
{{show_connection}};

-- operation resumeConnection
SELECT sync.resume({{id}});
{{show_connection}};

-- A request changes so many at most; in order, as all that lock several connections.
-- define chosen
SELECT c.id, count(*) OVER () AS n
FROM sync.connections c
WHERE c.tenant_id = {{tenant}}
  AND (COALESCE($2::jsonb #> '{where,connection_ids}', 'null') = 'null' OR $2::jsonb #> '{where,connection_ids}' @> to_jsonb(c.id))
  AND ($2::jsonb #>> '{where,provider_slug}' IS NULL OR c.provider_slug = $2::jsonb #>> '{where,provider_slug}')

-- define changed
SELECT json_build_object('changed', count(*), 'remaining', COALESCE(max(d.n), 0) - count(*)) AS body FROM done d

-- operation pauseConnections
WITH done AS MATERIALIZED (
    SELECT w.n, sync.pause(w.id, $2::jsonb ->> 'reason')
    FROM ({{chosen}} AND c.status = 'active' ORDER BY c.id LIMIT 1000) w
) {{changed}};

-- Those that are in error wait for somebody to look at them.
-- operation resumeConnections
WITH done AS MATERIALIZED (
    SELECT w.n, sync.resume(w.id)
    FROM ({{chosen}} AND c.status = 'paused' ORDER BY c.id LIMIT 1000) w
) {{changed}};

-- The next run of whichever of its schedules comes first.
-- operation skipNextOfConnection
SELECT json_build_object('schedule_id', s.id, 'skipped', sync.skip_next(s.id)) AS body
FROM (SELECT y.schedule_id AS id FROM sync.schedule_status y
      WHERE y.connection_id = {{id}} AND y.tenant_id = {{tenant}} AND y.is_active AND y.next_run_at IS NOT NULL ORDER BY y.next_run_at, y.schedule_id LIMIT 1) s;

-- operation connectionHistory
-- with of_connection: {{id}}
-- with of_run: true
-- sort id: r.run_id::bigint
{{find_connection}};
SELECT {{key}} AS key, {{execution}} AS item
FROM {{runs}} r
WHERE true
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- Runs by the interval move with each run's end: one is told.
-- operation previewConnection
SELECT json_build_object('items', COALESCE(json_agg(json_build_object('run_at', p.run_at, 'local_time', p.local_time, 'runs', p.runs, 'note', NULLIF(p.note, ''),
                                                                      'schedule_id', p.schedule_id) ORDER BY p.run_at, p.schedule_id), '[]')) AS body
FROM (SELECT q.*
      FROM (SELECT v.run_at, v.local_time, v.runs, v.note, y.schedule_id
            FROM sync.schedule_status y
            CROSS JOIN LATERAL sync.preview_schedule(y.schedule_id, ($1::jsonb ->> 'count')::int, now()) v
            WHERE y.connection_id = {{id}} AND y.tenant_id = {{tenant}}
            UNION ALL
            SELECT GREATEST(x.next_run_at, now()), NULL, x.status = 'active' AND x.provider_status = 'active', 'every ' || x.interval_seconds || ' s', NULL
            FROM sync.connections c JOIN sync.connection_status x ON x.connection_id = c.id
            WHERE c.id = {{id}} AND c.tenant_id = {{tenant}} AND NOT c.has_schedules) q
      ORDER BY q.run_at LIMIT ($1::jsonb ->> 'count')::int) p
HAVING EXISTS (SELECT 1 FROM sync.connections c WHERE c.id = {{id}} AND c.tenant_id = {{tenant}});

-- operation explainConnection
{{find_connection}};
SELECT json_build_object('items', COALESCE(json_agg(json_build_object('aspect', e.aspect, 'verdict', e.verdict, 'detail', e.detail) ORDER BY e.ordinality), '[]')) AS body
FROM sync.explain({{id}}) WITH ORDINALITY e;

-- operation rewindConnection
SELECT json_build_object('cursor_now', r.cursor_now, 'cursor_then', r.cursor_then, 'since', r.since, 'pages_again', r.pages_again,
                         'records_again', r.records_again, 'rewound', r.rewound) AS body
FROM sync.rewind({{id}}, ($2::jsonb ->> 'execution_id')::bigint, COALESCE(($2::jsonb ->> 'dry_run')::boolean, true)) r;
