-- What a queue grows by, after engine.sql: connections that are not due, jobs that nobody can claim yet, history.

-- Connections of that provider that fall due at `due`.
CREATE FUNCTION bench.fill_others(n int, provider text, due timestamptz) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at, created_at)
    SELECT 't' || i % 1000, provider, 'other ' || i,
           jsonb_build_object('plan', 'pro', 'sync', jsonb_build_object(
               'next_run_at', to_char(due AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'last_jitter_seconds', i % 180)),
           due - interval '900 seconds', due - interval '1 day'
    FROM generate_series(1, n) i
$$;

-- Queued jobs of the first n of them, as the engine writes them, where the first `there` have theirs; with retry_at they are in
-- backoff.
CREATE FUNCTION bench.queue_others(there int, n int, provider text, scheduled timestamptz, retry_at timestamptz) RETURNS bigint
LANGUAGE sql SET sync_engine.internal = on AS $$
    WITH others AS (
        SELECT c.id, c.tenant_id, c.provider_slug FROM sync.connections c
        WHERE c.provider_slug = provider AND c.external_id LIKE 'other %' ORDER BY c.id OFFSET there LIMIT n - there
    ), stated AS (
        UPDATE sync.connection_state s SET due_at = NULL FROM others o WHERE s.connection_id = o.id
    ), queued AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, scheduled_at, retry_after, attempts, run_id)
        SELECT q.id, q.tenant_id, q.provider_slug, q.connection_id, 'incremental', scheduled + q.n * interval '1 ms',
               retry_at + q.n * interval '1 ms', CASE WHEN retry_at IS NULL THEN 0 ELSE 1 END, q.id
        FROM (SELECT nextval('sync.sync_jobs_id_seq') AS id, o.id AS connection_id, o.tenant_id, o.provider_slug,
                     row_number() OVER (ORDER BY o.id) AS n FROM others o) q
        RETURNING 1
    )
    SELECT count(*) FROM queued
$$;

-- So many jobs that have finished, but for those that are `there`, each with its execution, in the tables where the next ones go.
-- Their keys are made afterwards, which is faster.
CREATE FUNCTION bench.finish_others(there int, n int, finished timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    jobs text := (SELECT p.name FROM sync.partitions p WHERE p.parent = 'sync_jobs' ORDER BY p.range_from DESC LIMIT 1);
    executions text := (SELECT p.name FROM sync.partitions p
                        WHERE p.parent = 'sync_executions' AND p.range_from <= finished AND finished < p.range_to);
BEGIN
    EXECUTE format('ALTER TABLE sync.%I DROP CONSTRAINT %I', jobs, jobs || '_pkey');
    EXECUTE format('ALTER TABLE sync.%I DROP CONSTRAINT %I', executions, executions || '_pkey');
    EXECUTE format('DROP INDEX sync.%I', executions || '_failed');
    EXECUTE format($sql$
        INSERT INTO sync.%I (id, tenant_id, provider_slug, connection_id, job_type, status, scheduled_at, started_at, finished_at,
            cursor, run_id, claimed_by, claimed_at, claim_token, created_at)
        SELECT -i, 't' || i %% 1000, 'bench', i %% 100000, 'incremental', 'succeeded', $1, $1, $1, jsonb_build_object('job', i), -i,
            'bench-0', $1, gen_random_uuid(), $1
        FROM generate_series($2 + 1, $3) i$sql$, jobs) USING finished, there, n;
    EXECUTE format($sql$
        INSERT INTO sync.%I (id, tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, status, job_status,
            scheduled_at, started_at, finished_at, duration_ms, next_cursor, claimed_by, claim_token)
        SELECT -i, 't' || i %% 1000, 'bench', i %% 100000, -i, -i, 'incremental', 1, 'succeeded', 'succeeded', $1, $1, $1, 1,
            jsonb_build_object('job', i), 'bench-0', gen_random_uuid()
        FROM generate_series($2 + 1, $3) i$sql$, executions) USING finished, there, n;
    EXECUTE format('ALTER TABLE sync.%I ADD PRIMARY KEY (id)', jobs);
    PERFORM sync._index_partition('sync_executions', executions);
END
$$;
