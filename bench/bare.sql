-- The baseline: the same columns, the specification's unique index, an index to claim by, no foreign keys, no triggers,
-- no engine. The extension is dropped once its columns have been copied.
CREATE EXTENSION sync_engine;
CREATE SCHEMA bare;
CREATE TABLE bare.connections (LIKE sync.connections INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (id)) WITH (fillfactor = 80);
CREATE TABLE bare.sync_jobs (LIKE sync.sync_jobs INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (id)) WITH (fillfactor = 80);
DROP EXTENSION sync_engine;
CREATE UNIQUE INDEX ON bare.sync_jobs (connection_id, job_type) WHERE status IN ('queued', 'running');
CREATE INDEX ON bare.sync_jobs (provider_slug, priority DESC, (GREATEST(scheduled_at, retry_after)), id) WHERE status = 'queued';
CREATE INDEX ON bare.connections (last_incremental_finished_at);

CREATE FUNCTION bare.fill(n int, due_groups int, first_due timestamptz) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bare.connections (tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at, created_at)
    SELECT 't' || i % 1000, 'bench', i::text,
           jsonb_build_object('plan', 'pro', 'sync', jsonb_build_object(
               'next_run_at', to_char(d.due AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'last_jitter_seconds', i % 180)),
           d.due - interval '900 seconds', first_due - interval '1 day'
    FROM generate_series(1, n) i
    CROSS JOIN LATERAL (SELECT first_due + i % due_groups * interval '5 minutes' AS due) d
$$;

-- Writes every row anew, as it is.
CREATE FUNCTION bare.rewrite() RETURNS void LANGUAGE sql AS $$ UPDATE bare.connections SET updated_at = updated_at $$;

-- Enqueues one group in one statement and returns how many jobs there are.
CREATE FUNCTION bare.tick(due timestamptz) RETURNS bigint LANGUAGE sql AS $$
    WITH ins AS (
        INSERT INTO bare.sync_jobs (tenant_id, provider_slug, connection_id, job_type, scheduled_at)
        SELECT c.tenant_id, c.provider_slug, c.id, 'incremental', due + make_interval(secs => floor(random() * 181))
        FROM bare.connections c WHERE c.last_incremental_finished_at = due - interval '900 seconds'
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING connection_id, scheduled_at
    ), upd AS (
        UPDATE bare.connections c
        SET metadata = jsonb_set(c.metadata, '{sync}', c.metadata -> 'sync' || jsonb_build_object(
                'next_run_at', to_char((due + interval '900 seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'last_jitter_seconds', extract(epoch FROM i.scheduled_at - due)::int))
        FROM ins i WHERE c.id = i.connection_id
        RETURNING c.id
    )
    SELECT count(*) FROM upd
$$;
