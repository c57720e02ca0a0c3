-- After engine.sql: runs of one connection that have ended, so many, the last just now.
CREATE FUNCTION bench.fill_history(n int, connection bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.sync_executions (id, tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, status, job_status,
        scheduled_at, started_at, finished_at, duration_ms, next_cursor, claimed_by, claim_token)
    SELECT nextval('sync.sync_executions_id_seq'), c.tenant_id, c.provider_slug, c.id, q.run_id, q.run_id, 'incremental', 1, 'succeeded', 'succeeded',
        now() - i * interval '1 ms', now() - i * interval '1 ms', now() - i * interval '1 ms', 1, jsonb_build_object('run', i), 'bench-0',
        gen_random_uuid()
    FROM sync.connections c, generate_series(n, 1, -1) i, LATERAL (SELECT nextval('sync.sync_jobs_id_seq') + i - i AS run_id) q
    WHERE c.id = connection
$$;
