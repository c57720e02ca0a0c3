-- Signals, the audit log, cron expressions, the overview.

-- Not a list in pages: a reader keeps `next` and asks again.
-- operation readSignals
SELECT json_build_object('items', COALESCE(json_agg(json_build_object('id', s.id, 'connection_id', s.connection_id, 'provider_slug', s.provider_slug,
            'kind', s.kind, 'occurred_at', s.occurred_at, 'received_at', s.received_at, 'payload', s.payload, 'dedupe_key', s.dedupe_key) ORDER BY s.ordinality), '[]'),
        'next', COALESCE((array_agg(s.cursor ORDER BY s.ordinality DESC))[1], $1::jsonb ->> 'after')) AS body
FROM sync.read_signals($1::jsonb ->> 'after', {{limit}}, {{tenant}}, ($1::jsonb ->> 'connection_id')::bigint)
    WITH ORDINALITY s (id, tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key, cursor, ordinality);

-- operation previewCron
SELECT json_build_object('description', sync.cron_describe($1::jsonb ->> 'expression'),
    'items', COALESCE(json_agg(json_build_object('run_at', p.run_at, 'local_time', p.local_time, 'runs', p.runs, 'note', NULLIF(p.note, ''))
                               ORDER BY p.run_at, p.local_time), '[]')) AS body
FROM sync.preview_schedule($1::jsonb ->> 'expression', $1::jsonb ->> 'timezone', ($1::jsonb ->> 'count')::int,
                           COALESCE(($1::jsonb ->> 'after')::timestamptz, now()), $1::jsonb ->> 'dst_gap', $1::jsonb ->> 'dst_fold') p;

-- operation describeCron
SELECT json_build_object('expression', $1::jsonb ->> 'expression', 'description', sync.cron_describe($1::jsonb ->> 'expression')) AS body;

-- operation readAuditLog
-- sort id: a.id::bigint
SELECT {{key}} AS key,
    json_build_object('id', a.id, 'at', a.at, 'action', a.action, 'object_kind', a.object_kind, 'object_id', a.object_id, 'actor', a.actor,
        'request_id', a.request_id, 'before', a.before, 'after', a.after, 'note', a.note) AS item
FROM sync.audit_log a
WHERE a.tenant_id = {{tenant}}
--? action: AND a.action = $1::jsonb ->> 'action'
--? object_kind: AND a.object_kind = $1::jsonb ->> 'object_kind'
--? object_id: AND a.object_id = $1::jsonb ->> 'object_id'
--? since: AND a.at >= ($1::jsonb ->> 'since')::timestamptz
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- Worst first: who needs somebody, who fails, who is late.
-- operation getOverview
WITH x AS MATERIALIZED (
    SELECT x.*, {{health}} AS health FROM sync.connection_status x WHERE x.tenant_id = {{tenant}}
), planned AS MATERIALIZED (
    SELECT y.next_run_at AS runs_at, y.connection_id, y.schedule_id, y.name, NULL::int AS every, s.cron_expression, s.timezone, s.dst_gap, s.dst_fold, s.ends_at
    FROM sync.schedule_status y
    JOIN sync.sync_schedules s ON s.id = y.schedule_id
    WHERE y.tenant_id = {{tenant}} AND s.tenant_id = {{tenant}} AND y.is_active AND y.connection_status = 'active' AND y.provider_status = 'active'
      AND y.next_run_at < now() + interval '24 hours'
    UNION ALL
    SELECT x.next_run_at, x.connection_id, NULL, x.name, x.interval_seconds, NULL, NULL, NULL, NULL, NULL
    FROM x JOIN sync.connections c ON c.id = x.connection_id AND NOT c.has_schedules
    WHERE x.status = 'active' AND x.provider_status = 'active' AND x.next_run_at < now() + interval '24 hours'
), hours AS MATERIALIZED (
    SELECT i, now() + make_interval(hours => i) AS at, now() + make_interval(hours => i + 1) AS until FROM generate_series(0, 23) i
), density AS (
    -- Those before an instant are one for each interval that has begun since the first.
    SELECT h.i, sum(GREATEST(ceil(((h.i + 1) * 3600 - p.first) / p.every), 0) - GREATEST(ceil((h.i * 3600 - p.first) / p.every), 0))::bigint AS runs
    FROM hours h
    CROSS JOIN (SELECT GREATEST(extract(epoch FROM q.runs_at - now())::float8, 0) AS first, q.every FROM planned q WHERE q.schedule_id IS NULL) p
    GROUP BY h.i
    UNION ALL
    -- What is late runs now, once.
    SELECT h.i, (count(*) FILTER (WHERE h.i = 0 AND p.runs_at < now()))
                + sum(sync._cron_count(p.cron_expression, p.timezone, GREATEST(h.at, p.runs_at) - interval '1 microsecond',
                                       LEAST(h.until, p.ends_at) - interval '1 microsecond', p.dst_gap, p.dst_fold))
    FROM hours h
    JOIN planned p ON p.schedule_id IS NOT NULL AND p.runs_at < h.until AND (p.ends_at > h.at) IS NOT FALSE
    GROUP BY h.i
)
SELECT json_build_object(
    'at', now(),
    'connections', (SELECT COALESCE(json_object_agg(h.health, h.n ORDER BY h.health), '{}') FROM (SELECT x.health, count(*) AS n FROM x GROUP BY 1) h),
    'schedules', (SELECT json_build_object('active', count(*) FILTER (WHERE s.is_active), 'paused', count(*) FILTER (WHERE NOT s.is_active))
                  FROM sync.sync_schedules s WHERE s.tenant_id = {{tenant}}),
    'incidents', (SELECT count(*) FROM sync.incidents i WHERE i.tenant_id = {{tenant}} AND i.resolved_at IS NULL AND i.severity IS NOT NULL),
    'worst', (SELECT COALESCE(json_agg(json_build_object('connection_id', w.connection_id, 'provider_slug', w.provider_slug, 'external_id', w.external_id,
                     'name', w.name, 'health', w.health, 'status_reason', w.status_reason, 'late_seconds', round(extract(epoch FROM w.late_by), 3),
                     'attempts', w.attempts, 'last_error_kind', w.last_error_kind, 'last_error', w.last_error, 'next_run_at', w.next_run_at) ORDER BY w.place), '[]')
              FROM (SELECT x.*, row_number() OVER (ORDER BY array_position('{error,retrying,late}', x.health), x.attempts DESC NULLS LAST, x.late_by DESC NULLS LAST,
                                                             x.connection_id) AS place
                    FROM x WHERE x.health IN ('error', 'retrying', 'late')) w
              WHERE w.place <= 20),
    'next_24_hours', (SELECT json_agg(json_build_object('from', h.at, 'runs', (SELECT COALESCE(sum(d.runs), 0) FROM density d WHERE d.i = h.i)) ORDER BY h.at)
                      FROM hours h),
    'next', (SELECT COALESCE(json_agg(json_build_object('runs_at', p.runs_at, 'connection_id', p.connection_id, 'schedule_id', p.schedule_id, 'name', p.name)
                                      ORDER BY p.runs_at, p.connection_id), '[]')
             FROM (SELECT q.* FROM planned q ORDER BY q.runs_at, q.connection_id LIMIT 20) p)) AS body;

-- operation getToken
SELECT json_build_object('tenant_id', {{tenant}}, 'actor', current_setting('sync_engine.actor', true)) AS body;

-- operation listProviders
-- sort slug: p.slug::text
SELECT {{key}} AS key, json_build_object('slug', p.slug, 'display_name', p.display_name, 'status', p.status, 'connector', p.connector) AS item
FROM sync.providers p
WHERE true
{{after}}
{{order}}
LIMIT {{limit}} + 1;
