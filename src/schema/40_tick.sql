-- The tick: enqueues what is due. Set-based; any number may run at once, none ever waits for another.

CREATE FUNCTION sync._is_quiet() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- plpgsql keeps the plan: this is asked by every claim.
    RETURN sync._setting('enabled') = 0
           OR NOT COALESCE((SELECT bool_and(d.system_identifier = me.system_identifier AND d.database_oid = me.database_oid)
                            FROM sync.database_identity d, sync._system_identity() me), false);
END
$$;
COMMENT ON FUNCTION sync._is_quiet() IS 'Internal: true while workers must not tick and nothing is handed to executors';

CREATE FUNCTION sync._require_time(as_of timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF as_of IS NULL OR NOT pg_catalog.isfinite(as_of) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'as_of must be a finite time',
            HINT = 'Leave it out to use the current time.';
    END IF;
END
$$;
COMMENT ON FUNCTION sync._require_time(timestamptz) IS 'Internal: refuses a time that nothing can be reckoned from';

CREATE FUNCTION sync._tick_rows_by_place(state_tids tid[], connection_tids tid[], as_of timestamptz, OUT enqueued int, OUT skipped int)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS 'MODULE_PATHNAME', 'sync_engine_tick_rows';
COMMENT ON FUNCTION sync._tick_rows_by_place(tid[], tid[], timestamptz) IS 'Internal: _tick_rows, where rows are plain';

CREATE FUNCTION sync._tick_rows(state_tids tid[], connection_tids tid[], as_of timestamptz, OUT enqueued int, OUT skipped int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    default_seconds int := sync._setting('default_interval_seconds');
    max_seconds int := sync._setting('max_overridden_interval_seconds');
    keep_default boolean := default_seconds <= max_seconds;
    bad_ids bigint[];
    bad_values text[];
BEGIN
    IF sync._rows_are_plain(false) THEN
        SELECT p.enqueued, p.skipped INTO enqueued, skipped FROM sync._tick_rows_by_place(state_tids, connection_tids, as_of) p;
        RETURN;
    END IF;
    -- An application's triggers see what they would see of any other statement.
    WITH look AS MATERIALIZED (
        -- Fenced off, so that the plan and its jitter are reckoned once a row.
        SELECT x.*, (x.plan).base_seconds, (x.plan).valid, (x.plan).jitter, (x.plan).verdict, (x.plan).slot, (x.plan).scheduled_at,
               (x.plan).next_run_at
        FROM (
            SELECT u.state_tid, u.connection_tid, c.id, c.tenant_id, c.provider_slug, c.last_incremental_finished_at AS finished,
                   c.status = 'active' AND NOT c.has_schedules AS active, p.status = 'active' AS provider_active,
                   sync._plan_tick(c.metadata, c.last_incremental_finished_at, c.created_at, $3) AS plan
            FROM unnest($1, $2) u (state_tid, connection_tid)
            JOIN sync.connections c ON c.ctid = u.connection_tid
            JOIN sync.providers p ON p.slug = c.provider_slug
            OFFSET 0) x
    ), ins AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, scheduled_at, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, 'incremental', n.scheduled_at, n.id, $3
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, l.id AS connection_id,
                     l.tenant_id, l.provider_slug, l.scheduled_at
              FROM look l
              WHERE l.active AND l.provider_active AND l.verdict <> 'not_yet') n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING connection_id
    ), done AS MATERIALIZED (
        SELECT l.*, i.connection_id IS NOT NULL AS enqueued, l.finished > $3 AS ahead
        FROM look l LEFT JOIN ins i ON i.connection_id = l.id
    ), changed AS (
        UPDATE sync.connections c
        SET metadata = sync._metadata_run(
                CASE WHEN d.valid THEN c.metadata
                     WHEN keep_default THEN sync._metadata_with(c.metadata, jsonb_build_object('interval_seconds', default_seconds))
                     ELSE c.metadata #- '{sync,interval_seconds}' END,
                CASE WHEN d.enqueued OR d.ahead THEN d.next_run_at END, CASE WHEN d.enqueued THEN d.jitter END, NULL),
            last_incremental_finished_at = CASE WHEN d.ahead THEN $3 ELSE d.finished END
        FROM done d
        WHERE c.ctid = d.connection_tid AND (d.enqueued OR NOT d.valid OR d.ahead)
    ), stated AS (
        UPDATE sync.connection_state s
        SET due_at = CASE WHEN d.active AND d.provider_active AND d.verdict = 'not_yet' THEN d.next_run_at END,
            parked_for = CASE WHEN d.active AND NOT d.provider_active THEN d.provider_slug END
        FROM done d
        WHERE s.ctid = d.state_tid
    ), told AS (
        SELECT count(sync._trace_scheduled(d.id, d.jitter, d.base_seconds, d.slot, d.scheduled_at, d.next_run_at)) AS traced,
               count(sync._metric_observe('sync_scheduler_jitter_seconds', '', d.jitter)) AS observed
        FROM done d WHERE d.enqueued
    ), counted AS (
        SELECT count(sync._metric_add('sync_scheduler_jobs_scheduled_total', g.provider_slug, g.tenant_id, g.n)) AS added
        FROM (SELECT d.provider_slug, d.tenant_id, count(*) AS n FROM done d WHERE d.enqueued GROUP BY 1, 2) g
    )
    SELECT count(*) FILTER (WHERE d.enqueued),
           count(*) FILTER (WHERE NOT d.enqueued AND d.active AND d.provider_active AND d.verdict <> 'not_yet'),
           array_agg(d.id) FILTER (WHERE NOT d.valid),
           array_agg((SELECT left((c.metadata #> '{sync,interval_seconds}')::text, 60) FROM sync.connections c WHERE c.id = d.id))
               FILTER (WHERE NOT d.valid)
    INTO enqueued, skipped, bad_ids, bad_values
    FROM done d, told, counted
    WHERE told.traced >= 0 AND counted.added >= 0;
    enqueued := COALESCE(enqueued, 0);
    skipped := COALESCE(skipped, 0);

    FOR i IN 1 .. COALESCE(cardinality(bad_ids), 0) LOOP
        RAISE WARNING USING MESSAGE = format('connection %s: interval_seconds %s is not an integer from 60 to %s, using %s',
                                             bad_ids[i], bad_values[i], max_seconds, default_seconds);
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._tick_rows(tid[], tid[], timestamptz) IS
    'Internal: schedules the connections whose rows are given by their place, which holds because the caller has locked them';

CREATE FUNCTION sync._tick_rows_safely(state_tids tid[], connection_tids tid[], as_of timestamptz,
    OUT enqueued int, OUT skipped int, OUT set_back int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    half int := cardinality(state_tids) / 2;
    bad bigint;
    part record;
BEGIN
    enqueued := 0;
    skipped := 0;
    set_back := 0;
    BEGIN
        SELECT r.enqueued, r.skipped INTO enqueued, skipped FROM sync._tick_rows(state_tids, connection_tids, as_of) r;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        IF cardinality(state_tids) <= 1 THEN
            UPDATE sync.connection_state s
            SET due_at = as_of + make_interval(secs => sync._setting('default_interval_seconds'))
            WHERE s.ctid = state_tids[1]
            RETURNING s.connection_id INTO bad;
            RAISE WARNING USING MESSAGE = format('connection %s cannot be scheduled: %s (%s); set back', bad, SQLERRM, SQLSTATE);
            set_back := 1;
            RETURN;
        END IF;
    END;
    -- Halve until the bad row stands alone: everyone else is scheduled.
    FOR part IN SELECT r.* FROM sync._tick_rows_safely(state_tids[:half], connection_tids[:half], as_of) r
                UNION ALL SELECT r.* FROM sync._tick_rows_safely(state_tids[half + 1:], connection_tids[half + 1:], as_of) r LOOP
        enqueued := enqueued + part.enqueued;
        skipped := skipped + part.skipped;
        set_back := set_back + part.set_back;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._tick_rows_safely(tid[], tid[], timestamptz) IS 'Internal: _tick_rows, with a row that raises singled out';

-- When the clock has gone back, last finishes lie in the future: each such connection is looked at once more.
CREATE FUNCTION sync._sweep_clock(as_of timestamptz, max_rows int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    clock sync.engine_clock;
    ahead interval := make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60));
    last_seen bigint;
BEGIN
    SELECT * INTO clock FROM sync.engine_clock FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF clock.sweep_after IS NULL AND (clock.last_tick_at IS NULL OR as_of >= clock.last_tick_at - ahead) THEN
        IF clock.last_tick_at IS NULL OR as_of > clock.last_tick_at + interval '1 second' THEN
            UPDATE sync.engine_clock SET last_tick_at = as_of;
        END IF;
        RETURN false;
    END IF;
    IF as_of < clock.last_tick_at - ahead THEN
        clock.sweep_after := NULL;
        UPDATE sync.schedule_state st SET look_at = as_of
        FROM sync.sync_schedules s
        WHERE s.id = st.schedule_id AND s.cron_expression IS NOT NULL AND st.covered_until > as_of + interval '3 hours';
    END IF;
    WITH batch AS (
        SELECT c.id, c.last_incremental_finished_at > as_of AS ahead
        FROM sync.connections c
        WHERE c.id > COALESCE(clock.sweep_after, (SELECT min(m.id) - 1 FROM sync.connections m))
        ORDER BY c.id LIMIT max_rows
    ), locked AS (
        SELECT s.connection_id FROM sync.connection_state s
        WHERE s.connection_id IN (SELECT b.id FROM batch b WHERE b.ahead) AND s.due_at > as_of
        FOR NO KEY UPDATE SKIP LOCKED
    ), reset AS (
        UPDATE sync.connection_state s SET due_at = '-infinity' FROM locked l WHERE s.connection_id = l.connection_id
    )
    SELECT CASE WHEN count(*) >= max_rows THEN max(b.id) END INTO last_seen FROM batch b;
    UPDATE sync.engine_clock SET last_tick_at = as_of, sweep_after = last_seen;
    RETURN last_seen IS NOT NULL;
END
$$;
COMMENT ON FUNCTION sync._sweep_clock(timestamptz, int) IS 'Internal: notices a clock that went back; true while there is more to mend';

-- A resumed provider's parked connections come first, then what is due in due order, from a place on.
CREATE FUNCTION sync._lock_due(batch int, ahead timestamptz, front_due timestamptz, front_id bigint,
    OUT state_tids tid[], OUT connection_tids tid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET random_page_cost = 1.1
AS $$
DECLARE
    due_rows bigint;
BEGIN
    WITH unparked AS (
        SELECT s.ctid AS state_tid, c.ctid AS connection_tid
        FROM sync.providers p
        JOIN sync.connection_state s ON s.parked_for = p.slug
        JOIN sync.connections c ON c.id = s.connection_id
        WHERE p.status = 'active'
        LIMIT batch FOR NO KEY UPDATE OF s, c SKIP LOCKED
    ), due AS (
        SELECT s.ctid AS state_tid, c.ctid AS connection_tid
        FROM sync.connection_state s
        JOIN sync.connections c ON c.id = s.connection_id
        WHERE s.due_at <= ahead AND (s.due_at, s.connection_id) > (front_due, front_id) AND sync._tick_saw(s.due_at, s.connection_id)
        ORDER BY s.due_at, s.connection_id LIMIT batch FOR NO KEY UPDATE OF s, c SKIP LOCKED
    )
    SELECT array_agg(u.state_tid), array_agg(u.connection_tid), count(*) FILTER (WHERE u.due) INTO state_tids, connection_tids, due_rows
    FROM (SELECT *, false AS due FROM unparked UNION ALL SELECT *, true FROM due) u;
    PERFORM sync._tick_locked(due_rows, COALESCE(due_rows >= batch, false));
END
$$;
COMMENT ON FUNCTION sync._lock_due(int, timestamptz, timestamptz, bigint) IS
    'Internal: locks connections that a tick has to look at, and returns the places of their rows';

CREATE FUNCTION sync._tick(batch int, as_of timestamptz,
    OUT enqueued int, OUT skipped int, OUT backlog bigint, OUT requeued int, OUT duration_ms double precision, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
SET random_page_cost = 1.1
AS $$
#variable_conflict use_column
DECLARE
    started timestamptz := clock_timestamp();
    ahead timestamptz;
    front record;
    state_tids tid[];
    connection_tids tid[];
    set_back int := 0;
    failed boolean := false;
    schedules record;
BEGIN
    PERFORM sync._require_time(as_of);
    ahead := as_of + make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60));
    more := false;
    LOOP
        more := sync._sweep_clock(as_of, COALESCE(batch * 10, 100000));
        EXIT WHEN batch IS NOT NULL OR NOT more;
    END LOOP;
    requeued := 0;
    IF sync._begin_lost_look(as_of) THEN
        SELECT l.requeued, l.more OR more INTO requeued, more FROM sync._fail_lost(as_of, batch) l;
        PERFORM sync._end_lost_look(requeued = 0 AND NOT more);
    END IF;

    SELECT x.fired, x.skipped, x.more INTO schedules FROM sync._tick_schedules(batch, as_of) x;

    SELECT f.due, f.id INTO front FROM sync._begin_tick(ahead) f;
    -- Locked and written in one subtransaction: what another one of the same transaction had locked would get a multixact, and the
    -- index keeps the entries of such rows, for each later tick to walk over, until vacuum comes.
    BEGIN
        SELECT d.state_tids, d.connection_tids INTO state_tids, connection_tids FROM sync._lock_due(batch, ahead, front.due, front.id) d;
        IF state_tids IS NOT NULL THEN
            SELECT r.enqueued, r.skipped INTO enqueued, skipped FROM sync._tick_rows(state_tids, connection_tids, as_of) r;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        failed := true;
    END;
    IF failed THEN
        SELECT d.state_tids, d.connection_tids INTO state_tids, connection_tids FROM sync._lock_due(batch, ahead, front.due, front.id) d;
        SELECT r.enqueued, r.skipped, r.set_back INTO enqueued, skipped, set_back
        FROM sync._tick_rows_safely(state_tids, connection_tids, as_of) r
        WHERE state_tids IS NOT NULL;
    END IF;
    enqueued := COALESCE(enqueued, 0) + schedules.fired;
    skipped := COALESCE(skipped, 0) + schedules.skipped;
    set_back := COALESCE(set_back, 0);
    more := COALESCE(more OR schedules.more OR cardinality(state_tids) >= batch, false);
    -- Counting all that is due would cost more than a batch: while there is more to do, a bounded look will do.
    SELECT count(*) + set_back INTO backlog
    FROM (SELECT 1 FROM sync.connection_state s
          WHERE s.due_at <= as_of AND (s.due_at, s.connection_id) > (front.due, front.id)
          LIMIT CASE WHEN more THEN 2 * batch END) b;
    IF enqueued > 0 OR requeued > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    duration_ms := extract(epoch FROM clock_timestamp() - started) * 1000;
    PERFORM sync._metric_observe('sync_scheduler_tick_duration_ms', '', duration_ms),
            sync._metric_set('sync_scheduler_backlog_gauge', '', backlog);
END
$$;
COMMENT ON FUNCTION sync._tick(int, timestamptz) IS 'Internal: one batch of a tick, or all of it when batch is null';

CREATE FUNCTION sync.tick(as_of timestamptz DEFAULT now(),
    OUT enqueued int, OUT skipped int, OUT backlog bigint, OUT requeued int, OUT duration_ms double precision)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.enqueued, t.skipped, t.backlog, t.requeued, t.duration_ms FROM sync._tick(NULL, as_of) t
$$;
COMMENT ON FUNCTION sync.tick(timestamptz) IS 'Enqueues all that is due, in the caller''s transaction';

CREATE FUNCTION sync.tick_batch(batch_size int DEFAULT NULL, as_of timestamptz DEFAULT now(),
    OUT enqueued int, OUT skipped int, OUT backlog bigint, OUT requeued int, OUT duration_ms double precision, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF batch_size < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'batch_size must be at least 1',
            HINT = 'Leave it out to use sync_engine.tick_batch_size.';
    END IF;
    SELECT t.enqueued, t.skipped, t.backlog, t.requeued, t.duration_ms, t.more
    INTO enqueued, skipped, backlog, requeued, duration_ms, more
    FROM sync._tick(COALESCE(batch_size, sync._setting('tick_batch_size')::int), as_of) t;
END
$$;
COMMENT ON FUNCTION sync.tick_batch(int, timestamptz) IS 'One batch of what is due; call it, a transaction each, until more is false. While it is true, backlog is counted to two batches at most';
