CREATE VIEW sync.connection_status WITH (security_barrier) AS
SELECT c.id AS connection_id, c.tenant_id, c.provider_slug, c.external_id, c.name,
       c.status, c.status_reason, p.status AS provider_status,
       i.base_seconds AS interval_seconds,
       c.last_incremental_finished_at,
       CASE WHEN c.has_schedules
            THEN (SELECT min(CASE WHEN y.is_active AND x.skips = '{}' THEN x.next_planned_at ELSE sync._next_run_at(y, x) END)
                  FROM sync.schedule_state x JOIN sync.sync_schedules y ON y.id = x.schedule_id WHERE x.connection_id = c.id)
            ELSE sync.parse_utc(c.metadata #>> '{sync,next_run_at}') END AS next_run_at,
       c.metadata #>> '{sync,last_jitter_seconds}' AS last_jitter_seconds,
       j.id AS job_id, j.job_type, j.status AS job_status, j.attempts,
       GREATEST(j.scheduled_at, j.retry_after) AS job_due_at,
       j.error_kind AS last_error_kind, j.error ->> 'message' AS last_error,
       CASE
           WHEN c.status <> 'active' OR p.status <> 'active' THEN NULL
           WHEN j.status = 'running' THEN interval '0'
           WHEN j.id IS NOT NULL THEN GREATEST(now() - GREATEST(j.scheduled_at, j.retry_after), interval '0')
           WHEN s.due_at IS NOT NULL AND isfinite(s.due_at) THEN GREATEST(now() - s.due_at, interval '0')
           ELSE interval '0'
       END AS late_by,
       h.held_until
FROM sync.connections c
JOIN sync.providers p ON p.slug = c.provider_slug
-- By its key: joined as a whole, those of all tenants would be read for one.
CROSS JOIN LATERAL (SELECT x.due_at, x.held_until FROM sync.connection_state x WHERE x.connection_id = c.id OFFSET 0) s
CROSS JOIN LATERAL sync._effective_interval(c.metadata #> '{sync,interval_seconds}') i
LEFT JOIN LATERAL (SELECT x.* FROM ONLY sync.sync_jobs x
                   WHERE x.connection_id = c.id AND x.status IN ('queued', 'running')
                   ORDER BY x.status DESC, x.job_type <> 'incremental', x.id LIMIT 1) j ON true
-- IS NOT DISTINCT FROM finds by time, of which there are few or none: what connections have in common takes long to reckon.
CROSS JOIN LATERAL (SELECT NULLIF(GREATEST(s.held_until, now(), (SELECT max(x.held_until) FROM sync.credential_holds x
                                                                WHERE x.held_until > now() AND x.provider_slug = c.provider_slug
                                                                  AND x.credential IS NOT DISTINCT FROM sync._credential(c.tenant_id, p.slug, c.config, p.config))),
                                  now()) AS held_until OFFSET 0) h
WHERE sync._sees_tenant(c.tenant_id);
COMMENT ON VIEW sync.connection_status IS 'One row a connection: its interval, its live job, what went wrong last, how late it is and until when a remote wants it to keep still; no configuration, no cursor';

CREATE VIEW sync.queue WITH (security_barrier) AS
SELECT j.id AS job_id, j.tenant_id, j.provider_slug, j.connection_id, j.job_type, j.status, j.priority, j.attempts, j.page,
       j.scheduled_at, j.retry_after, GREATEST(j.scheduled_at, j.retry_after) AS due_at,
       j.started_at, j.claimed_at, j.claimed_by, e.heartbeat_at, j.error_kind AS last_error_kind, j.error ->> 'message' AS last_error,
       CASE
           WHEN j.status = 'running' THEN 'running'
           WHEN c.status <> 'active' THEN 'connection ' || c.status
           WHEN p.status <> 'active' THEN 'provider paused'
           WHEN s.running_job_id IS NOT NULL THEN 'waits for job ' || s.running_job_id
           WHEN j.retry_after > now() THEN CASE WHEN j.attempts > 0 THEN 'in backoff' ELSE 'held back' END
           WHEN j.scheduled_at > now() THEN 'scheduled'
           ELSE 'claimable'
       END AS state
FROM ONLY sync.sync_jobs j
JOIN sync.connections c ON c.id = j.connection_id
JOIN sync.providers p ON p.slug = j.provider_slug
JOIN sync.connection_state s ON s.connection_id = j.connection_id
LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
WHERE j.status IN ('queued', 'running') AND sync._sees_tenant(j.tenant_id);
COMMENT ON VIEW sync.queue IS 'Live jobs and why each is not running yet';

CREATE FUNCTION sync._table_metrics(OUT name text, OUT kind text, OUT help text, OUT labels jsonb, OUT value double precision)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'sync_queue_depth', 'gauge', 'Live jobs by status', jsonb_build_object('status', k.status), count(j.id)::float8
    FROM (VALUES ('queued'), ('running')) k (status)
    LEFT JOIN ONLY sync.sync_jobs j ON j.status = k.status AND j.status IN ('queued', 'running')
    GROUP BY k.status
    UNION ALL
    SELECT 'sync_oldest_due_age_seconds', 'gauge', 'Age of the oldest job that is due and not claimed', '{}',
           COALESCE(GREATEST(extract(epoch FROM now() - LEAST(min(x.due), (SELECT min(l.due) FROM sync._tenant_lanes l WHERE l.due <= now()))), 0), 0)::float8
    FROM (SELECT (SELECT GREATEST(j.scheduled_at, j.retry_after) FROM ONLY sync.sync_jobs j
                  WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
                    AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
                  ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1) AS due
          FROM sync._lanes l) x
    WHERE x.due <= now()
    UNION ALL
    SELECT 'sync_executors', 'gauge', 'Executors heard of within the lease', '{}', count(*)::float8
    FROM sync.executors e
    WHERE e.superseded_at IS NULL AND e.heartbeat_at > now() - make_interval(secs => sync._setting('lease_seconds'))
    UNION ALL
    SELECT 'sync_incidents_open', 'gauge', 'Incidents that are open and were told', '{}', count(*)::float8
    FROM sync.incidents i WHERE i.resolved_at IS NULL AND i.told IS NOT NULL
    UNION ALL
    SELECT 'sync_notifications_waiting', 'gauge', 'Messages that have yet to arrive', '{}', count(*)::float8 FROM sync.message_queue
$$;
COMMENT ON FUNCTION sync._table_metrics() IS 'Internal: metrics that are read from the tables';

CREATE VIEW sync.metrics AS
SELECT t.name, t.kind, t.labels, t.value, NULL::double precision[] AS bucket_bounds, NULL::bigint[] AS bucket_counts,
       NULL::double precision AS sum, NULL::bigint AS count, true AS available, t.help
FROM sync._table_metrics() t
UNION ALL
SELECT k.name, k.kind,
       COALESCE(CASE WHEN k.label1_name <> '' THEN jsonb_build_object(k.label1_name, m.label1) END, '{}')
       || COALESCE(CASE WHEN k.label2_name <> '' THEN jsonb_build_object(k.label2_name, m.label2) END, '{}'),
       m.value, m.bucket_bounds, m.bucket_counts, m.sum, m.count, sync._metrics_available(), k.help
FROM sync._metrics_catalog() k
LEFT JOIN sync._metrics_snapshot() m ON m.name = k.name;
COMMENT ON VIEW sync.metrics IS 'Metrics of this database; those counted in shared memory are marked unavailable when sync_engine is not preloaded';

CREATE FUNCTION sync._metric_labels(labels jsonb, extra text DEFAULT '') RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN x.body = '' THEN '' ELSE '{' || x.body || '}' END
    FROM (SELECT concat_ws(',', string_agg(format('%s="%s"', l.key,
                     replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n')), ',' ORDER BY l.key), NULLIF(extra, '')) AS body
          FROM jsonb_each_text(labels) l) x
$$;
COMMENT ON FUNCTION sync._metric_labels(jsonb, text) IS 'Internal: labels in OpenMetrics text';

CREATE FUNCTION sync._metrics_text(by_tenant boolean) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- It would take seconds to compile what takes milliseconds to run.
SET jit = off
AS $$
    WITH series AS (
        SELECT m.name, m.kind, m.help, m.labels, m.value, m.bucket_bounds, m.bucket_counts, m.sum, m.count
        FROM sync.metrics m
        WHERE m.available AND (by_tenant OR NOT m.labels ? 'tenant_id')
        UNION ALL
        SELECT m.name, m.kind, m.help, m.labels - 'tenant_id', sum(m.value), NULL, NULL, NULL, NULL
        FROM sync.metrics m
        WHERE m.available AND NOT by_tenant AND m.labels ? 'tenant_id'
        GROUP BY m.name, m.kind, m.help, m.labels - 'tenant_id'
    ), shown AS (
        SELECT s.*, CASE WHEN s.kind = 'counter' THEN regexp_replace(s.name, '_total$', '') ELSE s.name END AS family
        FROM series s
    ), line AS (
        SELECT s.family, s.kind, s.help, s.name, s.labels, b.line, b.ord
        FROM shown s
        CROSS JOIN LATERAL (
            SELECT CASE WHEN s.kind = 'counter' THEN s.family || '_total' ELSE s.name END
                   || sync._metric_labels(s.labels) || ' ' || s.value AS line, 0 AS ord
            WHERE s.kind <> 'histogram' AND s.value IS NOT NULL
            UNION ALL
            SELECT s.name || '_bucket' || sync._metric_labels(s.labels,
                       format('le="%s"', COALESCE(s.bucket_bounds[n]::text, '+Inf'))) || ' ' || s.bucket_counts[n], n
            FROM generate_series(1, cardinality(s.bucket_counts)) n
            WHERE s.kind = 'histogram'
            UNION ALL
            SELECT s.name || '_sum' || sync._metric_labels(s.labels) || ' ' || s.sum, 10000 WHERE s.kind = 'histogram' AND s.sum IS NOT NULL
            UNION ALL
            SELECT s.name || '_count' || sync._metric_labels(s.labels) || ' ' || s.count, 10001 WHERE s.kind = 'histogram' AND s.count IS NOT NULL) b
    ), family AS (
        SELECT l.family, format(E'# HELP %s %s\n# TYPE %s %s\n', l.family, min(l.help), l.family, min(l.kind))
               || string_agg(l.line, E'\n' ORDER BY l.labels::text, l.ord) || E'\n' AS text
        FROM line l GROUP BY l.family
    )
    SELECT COALESCE(string_agg(f.text, '' ORDER BY f.family), '') || E'# EOF\n' FROM family f
$$;
COMMENT ON FUNCTION sync._metrics_text(boolean) IS 'Internal: the metrics in OpenMetrics text format; without by_tenant those of all tenants are summed';

CREATE FUNCTION sync.metrics_text() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sync._metrics_text(true)
$$;
COMMENT ON FUNCTION sync.metrics_text() IS 'The metrics of this database in OpenMetrics text format';
