-- What the contended reading needs: connections, a fast clock that crosses a month's end, landers and readers as procedures.
-- psql variables: connections.
CREATE SCHEMA run;
CREATE TABLE run.started AS SELECT clock_timestamp() AS at;
CREATE FUNCTION run.clock() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT '2026-03-31 23:30 UTC'::timestamptz + 600 * (clock_timestamp() - s.at) FROM run.started s $$;

INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop');
INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 't' || n % 5, 'p' FROM generate_series(1, :connections) n;
INSERT INTO sync.sync_jobs (connection_id, job_type, status, scheduled_at) SELECT c.id, 'full', 'queued', run.clock() FROM sync.connections c;
-- The worker keeps house too, and neither waits long for the other.
DO $$
DECLARE
    steps int := 0;
BEGIN
    WHILE steps < 5 LOOP
        BEGIN
            PERFORM sync._housekeeping(run.clock());
            steps := steps + 1;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
        COMMIT;
    END LOOP;
END
$$;

-- Each reader has one place, like an application that keeps it in the transaction of what it does with the signals.
CREATE TABLE run.readers (name text PRIMARY KEY, tenant text, connection bigint, cursor text);
INSERT INTO run.readers VALUES ('all', NULL, NULL), ('tenant', 't3', NULL), ('connection', 't3', 3), ('again', NULL, NULL);
CREATE UNLOGGED TABLE run.was_read (reader text, n bigint GENERATED ALWAYS AS IDENTITY, id bigint, connection_id bigint, dedupe_key text);

CREATE FUNCTION run.page(prefix text, n int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('kind', 'item', 'dedupe_key', prefix || '/' || i % (n + 1 - n / 3))) FROM generate_series(1, n) i
$$;

-- Lands pages of a few connections, each in parts, in one transaction: 'late' leaves others the time to land and commit before
-- it does, 'undone' is rolled back and done again.
CREATE PROCEDURE run.land(how text, n int) LANGUAGE plpgsql AS $$
DECLARE
    jobs bigint[];
    tokens uuid[];
BEGIN
    SELECT array_agg(c.job_id), array_agg(c.claim_token) INTO jobs, tokens FROM sync.claim_jobs('lander', 3, run.clock()) c;
    COMMIT;
    FOR i IN 1 .. COALESCE(cardinality(jobs), 0) LOOP
        PERFORM sync.add_signals(jobs[i], tokens[i], run.page(jobs[i] || ' part', n), run.clock());
        PERFORM sync.complete_job(jobs[i], tokens[i], run.page(jobs[i] || ' rest', n), to_jsonb(jobs[i]), true, '{}', run.clock());
        IF how = 'undone' AND i = cardinality(jobs) THEN
            ROLLBACK;
            PERFORM sync.complete_job(u.id, u.token, run.page(u.id || ' again', n), to_jsonb(u.id), true, '{}', run.clock())
            FROM unnest(jobs, tokens) u (id, token);
        END IF;
    END LOOP;
    IF how = 'late' THEN
        PERFORM count(sqrt(i)) FROM generate_series(1, 50000) i;
    END IF;
END
$$;

CREATE PROCEDURE run.read(at_once int) LANGUAGE plpgsql AS $$
DECLARE
    reader run.readers;
BEGIN
    SELECT r.* INTO reader FROM run.readers r ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        WITH got AS MATERIALIZED (
            SELECT s.*, row_number() OVER () AS k FROM sync.read_signals(reader.cursor, at_once, reader.tenant, reader.connection) s
        ), kept AS (
            INSERT INTO run.was_read (reader, id, connection_id, dedupe_key)
            SELECT reader.name, g.id, g.connection_id, g.dedupe_key FROM got g ORDER BY g.k
        )
        UPDATE run.readers r SET cursor = g.cursor FROM (SELECT g.cursor FROM got g ORDER BY g.k DESC LIMIT 1) g WHERE r.name = reader.name;
    END IF;
END
$$;

CREATE PROCEDURE run.read_to_the_end() LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
BEGIN
    LOOP
        SELECT count(*) INTO before FROM run.was_read;
        FOR i IN 1 .. 50 LOOP
            CALL run.read(10000);
            COMMIT;
        END LOOP;
        EXIT WHEN before = (SELECT count(*) FROM run.was_read);
    END LOOP;
END
$$;
