-- What a webhook brings gets into the input of exactly one run: of the job that is queued, or, where that has begun, of the one that
-- rerun_priority makes. The caller of each of these has locked the connection.

CREATE FUNCTION sync._most_input() RETURNS int
LANGUAGE sql IMMUTABLE
AS $$ SELECT 1048576 $$;
COMMENT ON FUNCTION sync._most_input() IS 'Internal: bytes that an input with events takes at most, as text';

-- Without settings of its own, so that it becomes part of the statement that calls it.
CREATE FUNCTION sync._has_events(input jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
    SELECT COALESCE(pg_catalog.jsonb_typeof(input OPERATOR(pg_catalog.->) 'events') OPERATOR(pg_catalog.=) 'array'
                    AND input OPERATOR(pg_catalog.?) 'events_dropped', false)
$$;
COMMENT ON FUNCTION sync._has_events(jsonb) IS 'Internal: whether that input holds what webhooks brought';

-- An input that is no object, which only an application can have given, moves under a key of its own.
CREATE FUNCTION sync._input_with(input jsonb, events jsonb, dropped bigint DEFAULT 0) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    had boolean := sync._has_events(input);
    rest jsonb := CASE WHEN jsonb_typeof(input) = 'object' THEN input - '{events,events_dropped}'::text[]
                       WHEN NULLIF(input, 'null') IS NULL THEN '{}' ELSE jsonb_build_object('input', input) END;
    list jsonb := CASE WHEN had THEN (input -> 'events') || events ELSE events END;
    gone bigint := dropped + CASE WHEN had THEN COALESCE(sync._count_in(input, 'events_dropped'), 0) ELSE 0 END;
    whole jsonb := rest || jsonb_build_object('events', list, 'events_dropped', gone);
    room bigint;
BEGIN
    IF octet_length(whole::text) <= sync._most_input() THEN
        RETURN whole;
    END IF;
    -- The newest ones that have room; 64 for the two keys and the count.
    room := sync._most_input() - octet_length(rest::text) - 64;
    SELECT COALESCE(jsonb_agg(x.event ORDER BY x.n), '[]') INTO list
    FROM (SELECT e.event, e.n, sum(octet_length(e.event::text) + 2) OVER (ORDER BY e.n DESC) AS bytes
          FROM jsonb_array_elements(list) WITH ORDINALITY e (event, n)) x
    WHERE x.bytes <= room;
    gone := gone + jsonb_array_length(whole -> 'events') - jsonb_array_length(list);
    RETURN rest || jsonb_build_object('events', list, 'events_dropped', gone);
END
$$;
COMMENT ON FUNCTION sync._input_with(jsonb, jsonb, bigint) IS
    'Internal: an input with further events; where it would become too large, the oldest are dropped and counted';

CREATE FUNCTION sync._drop_old_pending(connection_id bigint, job_type text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    WITH sized AS (
        SELECT e.id, sum(e.bytes) OVER (ORDER BY e.id DESC) AS bytes FROM sync.pending_events e WHERE e.connection_id = $1 AND e.job_type = $2
    ), gone AS (
        DELETE FROM sync.pending_events e USING sized s
        WHERE e.connection_id = $1 AND e.job_type = $2 AND e.id = s.id AND s.bytes > sync._most_input()
        RETURNING e.bytes
    )
    UPDATE sync.pending_inputs p SET bytes = p.bytes - g.bytes, dropped = p.dropped + g.n
    FROM (SELECT sum(x.bytes) AS bytes, count(*) AS n FROM gone x) g
    WHERE p.connection_id = $1 AND p.job_type = $2 AND g.n > 0;
END
$$;
COMMENT ON FUNCTION sync._drop_old_pending(bigint, text) IS 'Internal: keeps the newest events that an input has room for';

-- A run that was asked for already begins when it would have.
CREATE FUNCTION sync._pend(connection_id bigint, job_type text, trigger_type text, schedule_id bigint, config jsonb, event jsonb, begins timestamptz,
    not_before timestamptz, OUT is_first boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    size int := octet_length($6::text) + 2;
    total bigint;
BEGIN
    INSERT INTO sync.pending_inputs AS p (connection_id, job_type, trigger_type, schedule_id, input, not_before, bytes)
    VALUES ($1, $2, $3, $4, $5, $7, size)
    ON CONFLICT ON CONSTRAINT pending_inputs_pkey DO UPDATE
    SET trigger_type = EXCLUDED.trigger_type, not_before = LEAST(p.not_before, $8), bytes = p.bytes + EXCLUDED.bytes,
        schedule_id = COALESCE(p.schedule_id, EXCLUDED.schedule_id),
        input = CASE WHEN p.schedule_id IS NULL AND EXCLUDED.schedule_id IS NOT NULL THEN EXCLUDED.input ELSE COALESCE(p.input, EXCLUDED.input) END
    RETURNING p.bytes INTO total;
    is_first := total = size;
    INSERT INTO sync.pending_events (connection_id, job_type, bytes, event) VALUES ($1, $2, size, $6);
    -- Twice of that, so that not each new one has to look for the oldest.
    IF total > 2 * sync._most_input() THEN
        PERFORM sync._drop_old_pending($1, $2);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._pend(bigint, text, text, bigint, jsonb, jsonb, timestamptz, timestamptz) IS
    'Internal: keeps an event for the run that follows the live job, which has rerun_priority set';

CREATE FUNCTION sync._take_pending(connection_id bigint, job_type text) RETURNS sync.pending_inputs
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.pending_inputs;
    events jsonb;
BEGIN
    SELECT p.* INTO found_row FROM sync.pending_inputs p WHERE p.connection_id = $1 AND p.job_type = $2 FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    WITH taken AS (
        DELETE FROM sync.pending_events e WHERE e.connection_id = $1 AND e.job_type = $2 RETURNING e.id, e.event
    )
    SELECT jsonb_agg(t.event ORDER BY t.id) INTO events FROM taken t;
    DELETE FROM sync.pending_inputs p WHERE p.connection_id = $1 AND p.job_type = $2;
    found_row.input := sync._input_with(found_row.input, COALESCE(events, '[]'), found_row.dropped);
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._take_pending(bigint, text) IS 'Internal: takes out what waits for the next run, with the whole input; null where nothing does';

-- What is large is not written anew with each event: the run that takes them is the next one. As stored, which is known without
-- reading it, and as text.
CREATE FUNCTION sync._takes_more(input jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN input IS NULL THEN true WHEN pg_column_size(input) >= 16384 THEN false ELSE octet_length(input::text) < 65536 END $$;
COMMENT ON FUNCTION sync._takes_more(jsonb) IS 'Internal: whether the input of a job that waits is given further events';

-- A first page that is queued again takes up what came while it ran.
CREATE FUNCTION sync._joined_input(input jsonb, pending sync.pending_inputs) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pending.input IS NULL THEN
        RETURN input;
    END IF;
    RETURN sync._input_with(CASE WHEN input IS NULL THEN pending.input - '{events,events_dropped}'::text[] ELSE input END, pending.input -> 'events',
                            COALESCE(sync._count_in(pending.input, 'events_dropped'), 0));
END
$$;
COMMENT ON FUNCTION sync._joined_input(jsonb, sync.pending_inputs) IS 'Internal: the input of a job with what waited for the next run';

CREATE FUNCTION sync._joined_type(trigger_type text, planned_at timestamptz, pending sync.pending_inputs) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- One that runs for an instant of its schedule goes on doing so.
    RETURN CASE WHEN planned_at IS NULL THEN COALESCE(pending.trigger_type, trigger_type) ELSE trigger_type END;
END
$$;
COMMENT ON FUNCTION sync._joined_type(text, timestamptz, sync.pending_inputs) IS 'Internal: what brings about the next attempt of a job that takes up what waited';

-- The run that is not made leaves what it would have been given where a cancelled job leaves its input: sync.retry_job takes it up.
CREATE FUNCTION sync._set_pending_aside(connection_id bigint, job_type text, priority int, reason text, as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    pending sync.pending_inputs := sync._take_pending($1, $2);
BEGIN
    INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, scheduled_at, finished_at, input, error,
        run_id, created_at, schedule_id, trigger_type)
    SELECT n.id, c.tenant_id, c.provider_slug, c.id, $2, 'cancelled', $3, $5, $5, pending.input,
           jsonb_build_object('cancelled', COALESCE($4, 'connection is ' || c.status || COALESCE(': ' || c.status_reason, ''))), n.id, $5,
           pending.schedule_id, pending.trigger_type
    FROM sync.connections c CROSS JOIN (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id WHERE pending.input IS NOT NULL) n
    WHERE c.id = $1;
    RETURN false;
END
$$;
COMMENT ON FUNCTION sync._set_pending_aside(bigint, text, int, text, timestamptz) IS
    'Internal: keeps what waits for a run that is not made as the input of a cancelled job; always false';

-- Whether it is the first event of its run, and whether anybody has to be woken.
CREATE FUNCTION sync._enqueue_event(owner sync.connections, job_type text, priority int, schedule_id bigint, config jsonb, event jsonb, dropped int,
    begins timestamptz, as_of timestamptz, OUT job_id bigint, OUT is_first boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    live record;
    events jsonb := jsonb_build_array($6);
    pending sync.pending_inputs;
BEGIN
    -- Claims do not lock the connection: which of the two it is, is known once the row is locked.
    SELECT j.id, j.page = 1 AND sync._takes_more(j.input) AS takes, NOT sync._has_events(j.input) AS is_first, j.rerun_priority
    INTO live FROM ONLY sync.sync_jobs j WHERE j.connection_id = owner.id AND j.job_type = $2 AND j.status = 'queued' FOR UPDATE;
    IF NOT FOUND THEN
        SELECT j.id, false AS takes, false AS is_first, j.rerun_priority
        INTO live FROM ONLY sync.sync_jobs j WHERE j.connection_id = owner.id AND j.job_type = $2 AND j.status = 'running' FOR UPDATE;
    END IF;
    job_id := live.id;
    IF job_id IS NULL THEN
        job_id := nextval('sync.sync_jobs_id_seq'::regclass);
        is_first := true;
        -- Left behind where an application has written rerun_priority itself.
        IF EXISTS (SELECT 1 FROM sync.pending_inputs p WHERE p.connection_id = owner.id AND p.job_type = $2) THEN
            pending := sync._take_pending(owner.id, $2);
        END IF;
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, input, run_id, created_at,
            schedule_id, trigger_type)
        VALUES (job_id, owner.tenant_id, owner.provider_slug, owner.id, $2, $3, $8, sync._input_with(COALESCE(pending.input, $5), events, $7), job_id, $9,
            $4, 'realtime');
        IF $2 = 'incremental' THEN
            UPDATE sync.connection_state s SET due_at = NULL, parked_for = NULL WHERE s.connection_id = owner.id;
        END IF;
        PERFORM sync._wake_executors();
    ELSIF live.takes THEN
        is_first := live.is_first;
        -- A wait after failures stays: a stream of events must not use up the attempts.
        UPDATE ONLY sync.sync_jobs j
        SET scheduled_at = LEAST(j.scheduled_at, $8), priority = GREATEST(j.priority, $3), input = sync._input_with(j.input, events, $7)
        WHERE j.id = live.id;
        PERFORM sync._wake_executors();
    ELSE
        UPDATE ONLY sync.sync_jobs j SET rerun_priority = GREATEST(j.rerun_priority, $3) WHERE j.id = live.id;
        is_first := sync._pend(owner.id, $2, 'realtime', $4, $5, $6, CASE WHEN live.rerun_priority IS NULL THEN $8 ELSE $9 END, $8);
        UPDATE sync.pending_inputs p SET dropped = p.dropped + $7 WHERE p.connection_id = owner.id AND p.job_type = $2 AND $7 > 0;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._enqueue_event(sync.connections, text, int, bigint, jsonb, jsonb, int, timestamptz, timestamptz) IS
    'Internal: gives an event to the next run of a connection that the caller has locked, which it asks for where there is none to come';

-- What a job that is run again had been brought; what its successor has of that already is not given twice.
CREATE FUNCTION sync._events_again(job_id bigint, former jsonb, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    live sync.sync_jobs;
    events jsonb[];
    list jsonb;
BEGIN
    IF NOT sync._has_events($2) THEN
        RETURN;
    END IF;
    SELECT j.* INTO live FROM ONLY sync.sync_jobs j WHERE j.id = $1 AND j.status IN ('queued', 'running') FOR UPDATE;
    list := CASE WHEN sync._has_events(live.input) THEN live.input -> 'events' ELSE '[]' END;
    events := ARRAY(SELECT e.event FROM jsonb_array_elements($2 -> 'events') WITH ORDINALITY e (event, n)
                    WHERE e.event NOT IN (SELECT x FROM jsonb_array_elements(list) x)
                      AND e.event NOT IN (SELECT p.event FROM sync.pending_events p WHERE p.connection_id = live.connection_id AND p.job_type = live.job_type)
                    ORDER BY e.n);
    IF live.status = 'queued' AND live.page = 1 THEN
        UPDATE ONLY sync.sync_jobs j
        SET input = sync._input_with(sync._input_with(CASE WHEN sync._has_events(j.input) THEN j.input - 'events' ELSE j.input END, to_jsonb(events),
                        CASE WHEN sync._has_events(j.input) THEN COALESCE(sync._count_in(j.input, 'events_dropped'), 0) ELSE 0 END), list)
        WHERE j.id = live.id AND cardinality(events) > 0;
    ELSIF live.id IS NOT NULL THEN
        UPDATE ONLY sync.sync_jobs j SET rerun_priority = GREATEST(j.rerun_priority, j.priority)
        WHERE j.id = live.id AND j.rerun_priority IS NULL AND cardinality(events) > 0;
        PERFORM sync._pend(live.connection_id, live.job_type, 'retry', NULL, $2 - '{events,events_dropped}'::text[], u.event, $3, $3) FROM unnest(events) u (event);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._events_again(bigint, jsonb, timestamptz) IS
    'Internal: hands the events of a former job''s input to a live one of its connection, or to the run that follows that';
