-- What the rivals' handlers write to: connections of 1,000 tenants, and a history for the rival that keeps none itself.
CREATE TABLE connections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    external_id text NOT NULL,
    cursor jsonb,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

CREATE TABLE history (
    job_id bigint PRIMARY KEY,
    connection_id bigint NOT NULL,
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL
);

CREATE FUNCTION fill(n int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO connections (tenant_id, external_id) SELECT 't' || i % 1000, i::text FROM generate_series(1, n) i
$$;

-- Writes every row anew, as it is.
CREATE FUNCTION rewrite() RETURNS void LANGUAGE sql AS $$ UPDATE connections SET updated_at = updated_at $$;
