-- Landing beside COPY: a database with the engine, and a table of the same columns, partitioning and indexes as sync.signals.
CREATE EXTENSION sync_engine;
SELECT sync._housekeeping();
SELECT sync._ensure_history(now());
CREATE SCHEMA bare;
CREATE TABLE bare.signals (LIKE sync.signals INCLUDING DEFAULTS) PARTITION BY RANGE (received_at);
CREATE SEQUENCE bare.signals_id_seq;
ALTER TABLE bare.signals ALTER COLUMN id SET DEFAULT nextval('bare.signals_id_seq');
CREATE TABLE bare.signals_now (LIKE bare.signals INCLUDING DEFAULTS, PRIMARY KEY (tenant_id, connection_id, id));
CREATE UNIQUE INDEX ON bare.signals_now (tenant_id, connection_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
ALTER TABLE bare.signals ATTACH PARTITION bare.signals_now FOR VALUES FROM ('2000-01-01') TO ('2100-01-01');

CREATE SCHEMA bench;
-- So many connections of 100 tenants, each with a job to claim.
CREATE FUNCTION bench.fill(n int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.providers (slug, connector) VALUES ('bench', 'noop');
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id) SELECT 't' || i % 100, 'bench', i FROM generate_series(1, n) i;
    INSERT INTO sync.sync_jobs (connection_id, job_type, status, scheduled_at) SELECT c.id, 'incremental', 'queued', now() - interval '1 hour' FROM sync.connections c;
$$;
-- Months before this one, in which each connection brought so many signals.
CREATE FUNCTION bench.fill_months(months int, signals int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR m IN 1 .. months LOOP
        PERFORM sync._make_partition('signals', (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => m))::date);
        INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, kind, received_at, dedupe_key)
        SELECT c.tenant_id, c.provider_slug, c.id, 'issue', (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => m)) AT TIME ZONE 'UTC',
               format('issue-%s-%s-%s', m, c.id, i)
        FROM sync.connections c CROSS JOIN generate_series(1, signals) i;
    END LOOP;
END
$$;
