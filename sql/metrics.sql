-- Metrics are counted at commit, not before, and not at all when a transaction is rolled back.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
-- The worker of a server that has one would drop what lies months back.
DO $$
DECLARE
    setting text;
BEGIN
    FOREACH setting IN ARRAY '{execution_retention_days,job_retention_days}'::text[] LOOP
        EXECUTE format('ALTER DATABASE %I SET sync_engine.%I = 0', current_database(), setting);
    END LOOP;
END
$$;
SET sync_engine.jitter_pct_min = 0.05;
SET sync_engine.jitter_pct_max = 0.05;
SET sync_engine.backoff_jitter_factor = 0;
CREATE EXTENSION sync_engine;
SELECT sync._metrics_available();
CREATE FUNCTION pg_temp.counted() RETURNS TABLE (name text, labels jsonb, value double precision, sum double precision, count bigint) LANGUAGE sql AS $$
    SELECT m.name, m.labels, m.value, CASE WHEN m.name <> 'sync_scheduler_tick_duration_ms' THEN m.sum END, m.count FROM sync.metrics m
    WHERE m.value > 0 AND m.name NOT IN ('sync_oldest_due_age_seconds', 'sync_executors') OR m.count > 0 ORDER BY m.name, m.labels::text
$$;
INSERT INTO sync.providers (slug, connector) VALUES ('github', 'noop'), ('gitlab', 'noop');
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, last_incremental_finished_at)
VALUES ('A', 'github', '1', '2026-03-01 10:00 UTC'), ('A', 'github', '2', '2026-03-01 10:00 UTC'), ('B', 'gitlab', '3', '2026-03-01 10:00 UTC');

-- Rolled back: nothing
BEGIN;
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
SELECT * FROM pg_temp.counted() WHERE name <> 'sync_queue_depth';
ROLLBACK;
SELECT * FROM pg_temp.counted();
-- A savepoint that is rolled back
BEGIN;
SAVEPOINT s;
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
ROLLBACK TO s;
COMMIT;
SELECT * FROM pg_temp.counted();
-- Metrics recorded for scheduled job
SELECT enqueued, backlog FROM sync.tick_batch(2, '2026-03-01 10:15 UTC');
SELECT * FROM pg_temp.counted();
SELECT enqueued, backlog FROM sync.tick_batch(2, '2026-03-01 10:15 UTC');
-- Jobs: claimed, completed, failed, rate limited
SELECT count(*) FROM sync.claim_jobs('executor', 10, '2026-03-01 10:16 UTC');
SELECT sync.complete_job(id, claim_token, '[{"dedupe_key": "1"}, {"dedupe_key": "1"}, {}]', as_of => '2026-03-01 10:16:30 UTC') FROM sync.sync_jobs WHERE connection_id = 1;
SELECT sync.fail_job(id, claim_token, '{}', 'rate_limited', 100, '2026-03-01 10:17 UTC') FROM sync.sync_jobs WHERE connection_id = 2;
SELECT sync.fail_job(id, claim_token, '{}', 'permanent', NULL, '2026-03-01 10:17 UTC') FROM sync.sync_jobs WHERE connection_id = 3;
SELECT * FROM pg_temp.counted();
-- As text: every sample but those that depend on the clock
SELECT line FROM regexp_split_to_table(sync.metrics_text(), E'\n') line
WHERE line !~ '^sync_(scheduler_tick_duration_ms|oldest_due_age_seconds|executors)';

-- Labels are bounded: past max_metric_tenants, tenants fold into one.
SET sync_engine.max_metric_tenants = 3;
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, last_incremental_finished_at)
SELECT 'tenant ' || n, 'github', 'many ' || n, '2026-03-01 11:00 UTC' FROM generate_series(1, 50) n;
SELECT enqueued FROM sync.tick('2026-03-01 11:16 UTC');
SELECT count(*) AS tenants, count(*) FILTER (WHERE labels ->> 'tenant_id' = 'other') AS other, sum(value) AS jobs FROM sync.metrics WHERE name = 'sync_scheduler_jobs_scheduled_total';

-- A new extension begins at nothing.
DROP EXTENSION sync_engine;
CREATE EXTENSION sync_engine;
SELECT * FROM pg_temp.counted();
DROP EXTENSION sync_engine;
DO $$
DECLARE
    setting text;
BEGIN
    FOREACH setting IN ARRAY '{execution_retention_days,job_retention_days}'::text[] LOOP
        EXECUTE format('ALTER DATABASE %I RESET sync_engine.%I', current_database(), setting);
    END LOOP;
END
$$;
