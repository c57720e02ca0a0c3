-- The connections of the soak, as a long time of steady work leaves them: last finishes lie evenly over each connection's present
-- period (interval and jitter), and those whose next run is near are queued, by the tick that came one interval before `start`.
CREATE EXTENSION sync_engine;
SELECT sync._housekeeping();
CREATE SCHEMA bench;
CREATE ROLE soak_executor LOGIN IN ROLE sync_executor;
INSERT INTO sync.providers (slug, connector, config) VALUES ('soak', 'noop', '{"noop": {"cursor": true}}');

CREATE FUNCTION bench.fill(n int, base_seconds int, most_jitter int, start timestamptz) RETURNS void
LANGUAGE plpgsql
SET sync_engine.internal = on
AS $$
BEGIN
    PERFORM setseed(0.5);
    -- A moment taken at random meets a long period more often than a short one.
    CREATE TEMP TABLE drawn ON COMMIT DROP AS
    SELECT p.id, p.jitter, start - random() * (base_seconds + p.jitter) * interval '1 second' AS last
    FROM (SELECT id, round(sqrt(base_seconds ^ 2 + random() * ((base_seconds + most_jitter) ^ 2 - base_seconds ^ 2))) - base_seconds AS jitter
          FROM generate_series(1, n) id) p;
    INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at, created_at)
    SELECT d.id, 't' || d.id % 1000, 'soak', d.id::text,
           jsonb_build_object('plan', 'pro', 'sync', jsonb_build_object(
               'cursor', '{"run": 1}'::jsonb, 'last_jitter_seconds', d.jitter, 'next_run_at',
               sync._format_utc(d.last + CASE WHEN d.last + base_seconds * interval '1 second' <= start THEN 2 ELSE 1 END
                                         * base_seconds * interval '1 second'))),
           d.last, start - interval '1 day'
    FROM drawn d;
    INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, scheduled_at, run_id, created_at)
    SELECT q.job, 't' || q.id % 1000, 'soak', q.id, 'incremental', q.last + (base_seconds + q.jitter) * interval '1 second', q.job,
           start - interval '1 minute'
    FROM (SELECT d.*, nextval('sync.sync_jobs_id_seq') AS job FROM drawn d WHERE d.last + base_seconds * interval '1 second' <= start) q;
    UPDATE sync.connection_state s SET due_at = NULL
    FROM ONLY sync.sync_jobs j WHERE j.connection_id = s.connection_id;
END
$$;

-- All that ran: the attempts, the jobs among them, those that did not succeed, and the shortest and longest time between two
-- runs of a connection in seconds.
CREATE FUNCTION bench.history(OUT attempts bigint, OUT jobs bigint, OUT failed bigint, OUT shortest float8, OUT longest float8)
LANGUAGE sql AS $$
    SELECT count(*), count(DISTINCT e.job_id), count(*) FILTER (WHERE e.status <> 'succeeded'), min(e.gap), max(e.gap)
    FROM (SELECT x.job_id, x.status,
                 extract(epoch FROM x.finished_at - lag(x.finished_at) OVER (PARTITION BY x.connection_id ORDER BY x.finished_at))::float8 AS gap
          FROM sync.sync_executions x) e
$$;
