-- What claims pass by, after engine.sql: connections with a job each, as the engine writes them.

CREATE FUNCTION bench.fill_tenants(n int, tenants int, prefix text, provider text, created timestamptz) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, created_at)
    SELECT prefix || i % tenants, provider, prefix || ' ' || i, created FROM generate_series(1, n) i
$$;

-- A queued job for each connection of these tenants, due one after the other. Returns how many.
CREATE FUNCTION bench.queue_tenants(prefix text, scheduled timestamptz) RETURNS bigint
LANGUAGE sql SET sync_engine.internal = on AS $$
    WITH mine AS (
        SELECT c.id, c.tenant_id, c.provider_slug, row_number() OVER (ORDER BY c.id) AS n FROM sync.connections c
        WHERE c.external_id LIKE prefix || ' %'
    ), stated AS (
        UPDATE sync.connection_state s SET due_at = NULL FROM mine m WHERE s.connection_id = m.id
    ), queued AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, scheduled_at, run_id)
        SELECT q.id, q.tenant_id, q.provider_slug, q.connection_id, 'incremental', scheduled + q.n * interval '1 ms', q.id
        FROM (SELECT nextval('sync.sync_jobs_id_seq') AS id, m.tenant_id, m.provider_slug, m.id AS connection_id, m.n FROM mine m ORDER BY m.n) q
        RETURNING 1
    )
    SELECT count(*) FROM queued
$$;

-- One more job of a connection that has none.
CREATE FUNCTION bench.queue_one(connection bigint, due timestamptz) RETURNS void
LANGUAGE sql SET sync_engine.internal = on AS $$
    INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, scheduled_at)
    SELECT c.tenant_id, c.provider_slug, c.id, 'incremental', due FROM sync.connections c WHERE c.id = connection
$$;

-- Takes away what these connections still have queued.
CREATE FUNCTION bench.unqueue(prefix text) RETURNS void
LANGUAGE sql SET sync_engine.internal = on AS $$
    DELETE FROM ONLY sync.sync_jobs j USING sync.connections c
    WHERE c.id = j.connection_id AND j.status = 'queued' AND c.external_id LIKE prefix || ' %'
$$;
