-- Executors and claiming. A claim never waits: what another session holds is passed by.

CREATE FUNCTION sync._executor_key(name text) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$ SELECT pg_catalog.hashtextextended('sync_engine executor ' OPERATOR(pg_catalog.||) name, 0) $$;
COMMENT ON FUNCTION sync._executor_key(text) IS 'Internal: the advisory lock under which an executor of that name registers';

CREATE FUNCTION sync.register_executor(name text, protocol int DEFAULT 1, info jsonb DEFAULT '{}', as_of timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    fresh text;
    former text[];
    lost bigint[];
    tokens uuid[];
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(name, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an executor needs a name',
            HINT = 'Use one that stays the same when the process is restarted, such as the host name.';
    END IF;
    IF protocol IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = format('executor protocol %s is not served by this version of sync_engine', COALESCE(protocol::text, 'null')),
            DETAIL = 'Protocol 1 is served.',
            HINT = CASE WHEN protocol > 1 THEN 'Run ALTER EXTENSION sync_engine UPDATE before newer executors are started.'
                        ELSE 'Install a newer sync-executor.' END;
    END IF;
    -- Claims of that name hold this lock, shared: what they took is seen below, and none begins before this commits.
    PERFORM pg_advisory_xact_lock(sync._executor_key(register_executor.name));
    fresh := register_executor.name || '#' || left(replace(gen_random_uuid()::text, '-', ''), 12);
    WITH old AS (
        UPDATE sync.executors e SET superseded_at = as_of
        WHERE e.name = register_executor.name AND e.superseded_at IS NULL
        RETURNING e.incarnation
    )
    SELECT array_agg(o.incarnation) INTO former FROM old o;
    INSERT INTO sync.executors (incarnation, name, protocol, info, registered_at, heartbeat_at)
    VALUES (fresh, register_executor.name, register_executor.protocol, COALESCE(register_executor.info, '{}'), as_of, as_of);
    IF former IS NOT NULL THEN
        SELECT array_agg(j.id), array_agg(j.claim_token) INTO lost, tokens
        FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.claimed_by = ANY (former);
        PERFORM sync._fail_as_lost(lost, tokens, 'a new incarnation of its executor registered', as_of);
        PERFORM sync._lose_deliveries(as_of, former);
    END IF;
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION sync.register_executor(text, int, jsonb, timestamptz) IS
    'Registers an executor process and returns its incarnation, to be passed to claim_jobs and heartbeat; the jobs of a former process of that name are failed as lost';

CREATE FUNCTION sync._incarnation(executor text, as_of timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known sync.executors;
BEGIN
    SELECT * INTO known FROM sync.executors e WHERE e.incarnation = executor;
    IF NOT FOUND THEN
        SELECT * INTO known FROM sync.executors e WHERE e.name = executor AND e.superseded_at IS NULL;
    END IF;
    IF known.superseded_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('executor incarnation %s was superseded by a newer one of the same name', executor),
            HINT = 'Run each executor process under a name of its own.';
    END IF;
    IF COALESCE(executor, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an executor needs a name';
    END IF;
    -- While the name is being registered anew nothing is claimed under it.
    IF NOT pg_try_advisory_xact_lock_shared(sync._executor_key(COALESCE(known.name, executor))) THEN
        RETURN NULL;
    END IF;
    IF known.incarnation IS NOT NULL THEN
        -- Under the lock, what was read without it has to hold still.
        IF EXISTS (SELECT 1 FROM sync.executors e WHERE e.incarnation = known.incarnation AND e.superseded_at IS NULL) THEN
            RETURN known.incarnation;
        END IF;
        RETURN sync._incarnation(executor, as_of);
    END IF;
    -- Of several first claims one writes the row; the others do not wait for it.
    IF pg_try_advisory_xact_lock(sync._executor_key('first claim of ' || executor)) THEN
        INSERT INTO sync.executors (incarnation, name, registered_at) VALUES (executor, executor, as_of) ON CONFLICT DO NOTHING;
    END IF;
    RETURN executor;
END
$$;
COMMENT ON FUNCTION sync._incarnation(text, timestamptz) IS 'Internal: the current incarnation of an executor, null while it is being registered anew; an unknown name is registered';

-- For each active provider the priorities in its queue: those that claims know of, and what a loose scan finds between them,
-- a probe each. `from_due` and `from_id` are where the lane's jobs begin.
CREATE VIEW sync._lanes AS
WITH RECURSIVE lanes AS (
    SELECT p.slug, 2147483648 AS priority FROM sync.providers p WHERE p.status = 'active'
    UNION ALL
    SELECT l.slug, COALESCE(x.priority, k.priority)::bigint
    FROM lanes l
    CROSS JOIN LATERAL (SELECT sync._next_lane(l.slug, l.priority) AS priority) k
    LEFT JOIN LATERAL (SELECT j.priority FROM ONLY sync.sync_jobs j
                       WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority < l.priority
                         AND j.priority > COALESCE(k.priority, -2147483649)
                       ORDER BY j.priority DESC LIMIT 1) x ON true
    WHERE x.priority IS NOT NULL OR k.priority IS NOT NULL
)
SELECT l.slug, l.priority::int AS priority, f.lane, f.due AS from_due, f.id AS from_id
FROM lanes l
CROSS JOIN LATERAL sync._lane_front(l.slug, l.priority::int) f
WHERE l.priority < 2147483648;
COMMENT ON VIEW sync._lanes IS 'Internal: the pairs of active provider and priority that may have queued jobs, and where to begin to read them';

CREATE FUNCTION sync.claim_jobs(executor text, max_jobs int DEFAULT 1, as_of timestamptz DEFAULT now(),
    OUT job_id bigint, OUT claim_token uuid, OUT tenant_id text, OUT connection_id bigint, OUT provider_slug text,
    OUT job_type text, OUT priority int, OUT attempts int, OUT cursor jsonb, OUT input jsonb, OUT connector text, OUT config jsonb)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    incarnation text;
    wanted int := max_jobs;
    n int;
    candidates tid[];
    connections bigint[];
    after_priority int;
    after_due timestamptz;
    after_id bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    IF max_jobs IS NULL OR max_jobs < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_jobs must be at least 1';
    END IF;
    incarnation := sync._incarnation(executor, as_of);
    IF incarnation IS NULL OR sync._is_quiet() THEN
        RETURN;
    END IF;
    PERFORM sync._begin_claim(as_of);
    IF sync._claims_are_limited(as_of) THEN
        RETURN QUERY SELECT t.* FROM sync._claim_within_limits(incarnation, max_jobs, as_of) t;
        RETURN;
    END IF;
    LOOP
        -- Candidates in claim order, unlocked: locking each lane's first rows would hide them from other claimers.
        -- The subquery's order is the order in which they are gathered: the last one is where the next round goes on.
        SELECT g.tids, g.connections, g.n, g.priorities[g.n], g.dues[g.n], g.ids[g.n]
        INTO candidates, connections, n, after_priority, after_due, after_id
        FROM (SELECT array_agg(c.tid) AS tids, array_agg(c.connection_id) AS connections, count(*)::int AS n, array_agg(c.priority) AS priorities, array_agg(c.due) AS dues,
                     array_agg(c.id) AS ids
              FROM (
                    SELECT x.id, x.tid, x.connection_id, l.priority, x.due
                    FROM (SELECT k.slug, k.priority, k.lane,
                                 CASE WHEN again.goes_on THEN after_due ELSE k.from_due END AS from_due,
                                 CASE WHEN again.goes_on THEN after_id ELSE k.from_id END AS from_id
                          FROM sync._lanes k
                          CROSS JOIN LATERAL (SELECT k.priority = after_priority AND (after_due, after_id) > (k.from_due, k.from_id) AS goes_on) again
                          WHERE after_priority IS NULL OR k.priority <= after_priority) l
                    LEFT JOIN LATERAL (
                        SELECT j.id, j.ctid AS tid, j.connection_id, GREATEST(j.scheduled_at, j.retry_after) AS due
                        FROM ONLY sync.sync_jobs j
                        WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
                          AND GREATEST(j.scheduled_at, j.retry_after) <= $3
                          AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
                        ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
                        LIMIT wanted) x ON true
                    WHERE sync._claim_saw(l.lane, x.due, x.id)
                    ORDER BY l.priority DESC, x.due, x.id
                    LIMIT wanted) c) g;
        EXIT WHEN n = 0;

        IF sync._rows_are_plain(false) THEN
            RETURN QUERY SELECT t.* FROM sync._take_jobs(candidates, connections, incarnation, $3) t;
        ELSE
            RETURN QUERY SELECT t.* FROM sync._take_jobs_by_statement(candidates, incarnation, $3) t;
        END IF;
        DECLARE
            got int;
        BEGIN
            GET DIAGNOSTICS got = ROW_COUNT;
            EXIT WHEN n < wanted OR got >= wanted;
            wanted := wanted - got;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync.claim_jobs(text, int, timestamptz) IS
    'Hands due jobs to an executor, in claim order; fewer rows than asked for means that nothing more is claimable now';

CREATE FUNCTION sync.next_claim_at(as_of timestamptz DEFAULT now()) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
BEGIN
    IF sync._is_quiet() THEN
        RETURN NULL;
    END IF;
    IF sync._claims_are_limited(as_of) THEN
        RETURN sync._next_claim_within_limits(as_of);
    END IF;
    RETURN (
        SELECT min(x.due)
        FROM sync._lanes l
        CROSS JOIN LATERAL (
            SELECT GREATEST(j.scheduled_at, j.retry_after) AS due
            FROM ONLY sync.sync_jobs j
            JOIN sync.connection_state s ON s.connection_id = j.connection_id
            JOIN sync.connections c ON c.id = j.connection_id
            WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
              AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
              AND s.running_job_id IS NULL AND c.status = 'active'
            ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
            LIMIT 1) x);
END
$$;
COMMENT ON FUNCTION sync.next_claim_at(timestamptz) IS
    'When the next job can be claimed, unless something is queued or finished before: until then an idle executor may sleep; null when nothing is queued';

CREATE FUNCTION sync.heartbeat(executor text, job_ids bigint[], as_of timestamptz DEFAULT now(), OUT job_id bigint, OUT instruction text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    mine text;
    unheard bigint[];
    tokens uuid[];
BEGIN
    PERFORM sync._require_time(as_of);
    UPDATE sync.executors e SET heartbeat_at = GREATEST(e.heartbeat_at, $3)
    WHERE (e.incarnation = executor OR e.name = executor) AND e.superseded_at IS NULL
    RETURNING e.incarnation INTO mine;
    -- Its first claim may have found the name being written by another session that then rolled back.
    IF mine IS NULL AND EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.claimed_by = executor)
       AND NOT EXISTS (SELECT 1 FROM sync.executors e WHERE e.incarnation = executor) THEN
        INSERT INTO sync.executors (incarnation, name, registered_at, heartbeat_at) VALUES (executor, executor, $3, $3)
        ON CONFLICT DO NOTHING;
        mine := executor;
    END IF;
    IF mine IS NOT NULL THEN
        -- Claimed longer ago than the lease and yet unknown to its executor: the claim's reply never arrived.
        SELECT array_agg(j.id), array_agg(j.claim_token) INTO unheard, tokens
        FROM ONLY sync.sync_jobs j
        WHERE j.status = 'running' AND j.claimed_by = mine AND j.id <> ALL (COALESCE($2, '{}'))
          AND j.claimed_at < $3 - make_interval(secs => sync._setting('lease_seconds'));
        PERFORM sync._fail_as_lost(unheard, tokens, 'its executor does not know of it: the reply to the claim was lost', $3);
    END IF;
    RETURN QUERY
    SELECT u.id, 'cancel'
    FROM unnest($2) u (id)
    WHERE NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.id = u.id AND j.status = 'running' AND j.claimed_by = mine);
END
$$;
COMMENT ON FUNCTION sync.heartbeat(text, bigint[], timestamptz) IS
    'Renews the lease of all jobs of an executor, which it lists; those that it must drop come back with the instruction cancel';

CREATE FUNCTION sync.release_jobs(executor text, job_ids bigint[], claim_tokens uuid[], as_of timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    mine bigint[];
    idle bigint[];
    released int;
BEGIN
    PERFORM sync._require_time(as_of);
    IF cardinality(job_ids) IS DISTINCT FROM cardinality(claim_tokens) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'job_ids and claim_tokens must be of the same length';
    END IF;
    mine := sync._lock_running(job_ids, claim_tokens);
    WITH held AS MATERIALIZED (
        SELECT j.id, CASE WHEN j.page = 1 AND j.rerun_priority IS NOT NULL THEN sync._take_pending(j.connection_id, j.job_type) END AS pending
        FROM ONLY sync.sync_jobs j WHERE j.id = ANY (mine)
    ), freed AS (
        UPDATE ONLY sync.sync_jobs j
        SET status = 'queued', claimed_by = NULL, claimed_at = NULL, claim_token = NULL,
            priority = GREATEST(j.priority, CASE WHEN j.page = 1 THEN j.rerun_priority END),
            rerun_priority = CASE WHEN j.page > 1 THEN j.rerun_priority END,
            input = sync._joined_input(j.input, h.pending), trigger_type = sync._joined_type(j.trigger_type, j.planned_at, h.pending)
        FROM held h
        WHERE j.id = h.id
        RETURNING j.id, j.connection_id
    ), idled AS (
        UPDATE sync.connection_state s SET running_job_id = NULL FROM freed f WHERE s.connection_id = f.connection_id
    )
    SELECT count(*), array_agg(DISTINCT c.id) FILTER (WHERE c.status <> 'active')
    INTO released, idle
    FROM freed f JOIN sync.connections c ON c.id = f.connection_id;
    IF idle IS NOT NULL THEN
        PERFORM sync._cancel_queued(idle, 'released while its connection was not active', as_of);
    END IF;
    IF released > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    RETURN released;
END
$$;
COMMENT ON FUNCTION sync.release_jobs(text, bigint[], uuid[], timestamptz) IS
    'Gives claimed jobs back unharmed: they are queued again at no cost of an attempt; stale tokens are passed by. Returns how many were released';
