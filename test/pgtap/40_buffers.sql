-- What the hot calls and health() read: buffers of a claim, a completion and an idle tick among 200,000 rows, which pass a fixed number
-- when a plan goes wrong or an index is no longer used. Each is called several times, in transactions of their own; the least counts.
\set QUIET 1
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
-- The worker's housekeeping keeps the real time: this file's days are long over for it.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET sync_engine.background_ticks = off', current_database());
    EXECUTE format('ALTER DATABASE %I SET sync_engine.execution_retention_days = 0', current_database());
    EXECUTE format('ALTER DATABASE %I SET sync_engine.job_retention_days = 0', current_database());
END
$$;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
CREATE EXTENSION sync_engine;
SET search_path = tap, public;
SET TimeZone = 'UTC';
-- 200,000 connections, 100,000 of them due, and 200,000 jobs that have finished.
DO 'BEGIN WHILE sync._housekeeping() LOOP END LOOP; END';
SELECT FROM sync._ensure_history('2026-03-01 12:00Z');
INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop');
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, last_incremental_finished_at, metadata)
SELECT 't' || n % 1000, 'p', n, x.due - interval '15 minutes',
       jsonb_build_object('sync', jsonb_build_object('next_run_at', to_char(x.due, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
FROM generate_series(1, 200000) n
CROSS JOIN LATERAL (SELECT CASE WHEN n <= 100000 THEN '2026-03-01 12:00Z'
                                WHEN n <= 101000 THEN '2026-03-01 12:12:20Z'
                                ELSE '2026-03-02 12:00Z' END::timestamptz AS due) x;
SELECT FROM sync.tick('2026-03-01 12:00Z');
INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, finished_at, run_id, priority, attempts,
    rate_limited_attempts, scheduled_at, page, stalled_pages, signals_inserted, signals_duplicate, created_at)
SELECT -n, 't' || n % 1000, 'p', n, 'incremental', 'succeeded', t.at, -n, 0, 0, 0, t.at, 1, 0, 0, 0, t.at
FROM generate_series(1, 200000) n, (VALUES ('2026-03-01 12:00Z'::timestamptz)) t (at);
INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, job_type, attempt, status, job_status, finished_at)
SELECT 't' || n % 1000, 'p', n, -n, 'incremental', 1, 'succeeded', 'succeeded', '2026-03-01 12:00Z' FROM generate_series(1, 200000) n;
VACUUM ANALYZE;

CREATE TABLE public.measured (what text, buffers bigint, whole_tables bigint);
CREATE FUNCTION public.measure(what text, query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' || query INTO plan;
    INSERT INTO public.measured
    SELECT what, (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint,
           (SELECT sum(s.seq_scan) FROM pg_stat_xact_user_tables s JOIN pg_class c ON c.oid = s.relid
            WHERE s.schemaname = 'sync' AND c.reltuples > 10000);
END
$$;
CREATE PROCEDURE public.measure_all(rounds int) LANGUAGE plpgsql AS $$
DECLARE
    results jsonb;
BEGIN
    FOR i IN 1 .. rounds LOOP
        PERFORM measure('claim of 100', $sql$SELECT * FROM sync.claim_jobs('executor', 100, '2026-03-01 12:10Z')$sql$);
        COMMIT;
        SELECT jsonb_agg(jsonb_build_object('job_id', j.id, 'claim_token', j.claim_token, 'next_cursor', jsonb_build_object('n', j.id)))
        INTO results FROM ONLY sync.sync_jobs j WHERE j.status = 'running';
        COMMIT;
        PERFORM measure('completion of 100', format('SELECT * FROM sync.complete_jobs(%L, %L)', results, '2026-03-01 12:10Z'));
        COMMIT;
        PERFORM measure('idle tick', $sql$SELECT * FROM sync.tick('2026-03-01 12:11Z')$sql$);
        PERFORM measure('next_claim_at', $sql$SELECT sync.next_claim_at('2026-03-01 12:11Z')$sql$);
        COMMIT;
        PERFORM measure('health', $sql$SELECT * FROM sync.health('2026-03-01 12:11Z')$sql$);
        COMMIT;
        PERFORM measure('tick of 100', $sql$SELECT * FROM sync.tick_batch(100, '2026-03-01 12:11:30Z')$sql$);
        COMMIT;
    END LOOP;
END
$$;
CALL public.measure_all(8);

SELECT plan(14);
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status = 'succeeded' AND id > 0), 800::bigint, 'jobs were claimed and completed');
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs), 100000::bigint, 'and as many enqueued');
SELECT cmp_ok((SELECT min(m.buffers) FROM public.measured m WHERE m.what = l.what), '<=', l.most, format('%s: at most %s buffers', l.what, l.most))
FROM (VALUES ('claim of 100', 5200::bigint), ('completion of 100', 6200), ('idle tick', 150), ('tick of 100', 5000), ('next_claim_at', 160), ('health', 1900)) l (what, most);
SELECT is((SELECT sum(m.whole_tables) FROM public.measured m WHERE m.what = l.what), 0::numeric, format('%s: no big table is read as a whole', l.what))
FROM (VALUES ('claim of 100'), ('completion of 100'), ('idle tick'), ('tick of 100'), ('next_claim_at'), ('health')) l (what);
SELECT * FROM finish();
