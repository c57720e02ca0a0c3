-- What the contended run needs: connections, a clock that runs 600 times as fast, and the sessions' work as procedures.
-- psql variables: connections.

CREATE SCHEMA run;
CREATE TABLE run.started AS SELECT clock_timestamp() AS at;
-- Four hours before midnight UTC: the run crosses it after 24 seconds, so that tables of a new day are made under load.
CREATE FUNCTION run.clock() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$
    SELECT (date_trunc('day', s.at AT TIME ZONE 'UTC') + interval '20 hours') AT TIME ZONE 'UTC' + 600 * (clock_timestamp() - s.at)
    FROM run.started s
$$;

-- One row a claim, written when its session is done with it. called_at is taken before the call that ends it.
CREATE UNLOGGED TABLE run.claims (
    token uuid, job_id bigint, connection_id bigint, claimed_at timestamptz, called_at timestamptz, meant text, outcome text);

INSERT INTO sync.providers (slug, connector)
SELECT 'provider' || n, 'noop' FROM generate_series(1, 3) n;
INSERT INTO sync.connections (tenant_id, provider_slug)
SELECT 't' || n % 100, 'provider' || 1 + n % 3 FROM generate_series(1, :connections) n;
INSERT INTO sync.sync_jobs (connection_id, job_type, status, scheduled_at)
SELECT c.id, t, 'queued', run.clock() FROM sync.connections c, unnest(ARRAY['full', 'webhook', 'backfill']) t;

-- A step that does not get its lock at once gives up: it comes again.
CREATE PROCEDURE run.housekeeping() LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM sync._housekeeping(run.clock());
EXCEPTION WHEN lock_not_available THEN
    NULL;
END
$$;
DO $$ BEGIN FOR i IN 1 .. 10 LOOP CALL run.housekeeping(); END LOOP; END $$;
SELECT sync.register_executor('executor' || n, 1) FROM generate_series(1, 5) n;
VACUUM ANALYZE;

-- Claims a batch, commits, and ends each job in one of the ways there are. last_page: everything succeeds and nothing follows.
CREATE PROCEDURE run.work(executor text, batch int, last_page boolean DEFAULT false) LANGUAGE plpgsql
AS $$
DECLARE
    held run.claims[];
    results jsonb;
    outcomes jsonb;
    released int;
BEGIN
    SELECT array_agg(ROW(c.claim_token, c.job_id, c.connection_id, clock_timestamp(), NULL,
                         CASE WHEN last_page THEN 'last'
                              WHEN c.r < 0.02 THEN 'forget'
                              WHEN c.r < 0.04 THEN 'release'
                              WHEN c.r < 0.08 THEN 'transient'
                              WHEN c.r < 0.10 THEN 'rate_limited'
                              WHEN c.r < 0.11 THEN 'permanent'
                              WHEN c.r < 0.70 THEN 'page'
                              ELSE 'last' END, NULL)::run.claims)
    INTO held
    FROM (SELECT x.*, random() AS r FROM sync.claim_jobs(executor, batch, run.clock()) x) c;
    COMMIT;
    IF held IS NULL THEN
        RETURN;
    END IF;

    SELECT array_agg(ROW(h.token, h.job_id, h.connection_id, h.claimed_at, clock_timestamp(), h.meant, NULL)::run.claims) INTO held
    FROM unnest(held) h;
    SELECT jsonb_agg(jsonb_build_object('job_id', h.job_id, 'claim_token', h.token)
                     || CASE WHEN h.meant IN ('transient', 'rate_limited', 'permanent')
                             THEN jsonb_build_object('error', jsonb_build_object('message', 'as the test wants it'), 'kind', h.meant)
                             ELSE jsonb_build_object('has_more', h.meant = 'page', 'next_cursor', jsonb_build_object('at', h.called_at),
                                 'signals', jsonb_build_array(
                                     jsonb_build_object('kind', 'item', 'dedupe_key', h.job_id::text),
                                     jsonb_build_object('kind', 'item', 'dedupe_key', 'seen ' || h.job_id % 5))) END)
    INTO results
    FROM unnest(held) h
    WHERE h.meant NOT IN ('forget', 'release');
    SELECT jsonb_object_agg(o.job_id, o.outcome) INTO outcomes FROM sync.complete_jobs(COALESCE(results, '[]'), run.clock()) o;
    INSERT INTO run.claims
    SELECT h.token, h.job_id, h.connection_id, h.claimed_at, h.called_at, h.meant, outcomes ->> h.job_id::text
    FROM unnest(held) h WHERE h.meant <> 'release';
    COMMIT;

    -- One by one: what it returns tells whether the job was still held.
    FOR i IN 1 .. cardinality(held) LOOP
        CONTINUE WHEN held[i].meant <> 'release';
        released := sync.release_jobs(executor, ARRAY[held[i].job_id], ARRAY[held[i].token], run.clock());
        INSERT INTO run.claims
        VALUES (held[i].token, held[i].job_id, held[i].connection_id, held[i].claimed_at, held[i].called_at, 'release',
                CASE WHEN released = 1 THEN 'completed' ELSE 'stale' END);
        COMMIT;
    END LOOP;
END
$$;

-- A trigger for a connection that may be paused just then.
CREATE PROCEDURE run.trigger(connection bigint, job_type text) LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM sync.trigger(connection, job_type, as_of => run.clock());
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    NULL;
END
$$;

-- After the run: what was forgotten is failed as lost, all that is queued runs once more, until nothing is left.
CREATE PROCEDURE run.drain() LANGUAGE plpgsql
AS $$
DECLARE
    left_over bigint;
BEGIN
    UPDATE run.started SET at = at - interval '30 seconds';
    UPDATE sync.connections SET status = 'active' WHERE status <> 'active';
    COMMIT;
    PERFORM sync.tick(run.clock());
    COMMIT;
    UPDATE run.started SET at = at - interval '30 seconds';
    COMMIT;
    FOR round IN 1 .. 10000 LOOP
        CALL run.work('executor1', 1000, true);
        SELECT count(*) INTO left_over FROM sync.sync_jobs WHERE status IN ('queued', 'running');
        EXIT WHEN left_over = 0;
    END LOOP;
END
$$;
