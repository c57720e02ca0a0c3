-- What follows from a change of a schedule, whoever makes it and however.

CREATE FUNCTION sync._default_expression(schedule_type text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE schedule_type WHEN 'hourly' THEN '0 * * * *' WHEN 'daily' THEN '0 2 * * *' WHEN 'weekly' THEN '0 2 * * 0'
                              WHEN 'monthly' THEN '0 2 1 * *' END
$$;
COMMENT ON FUNCTION sync._default_expression(text) IS 'Internal: when schedules of that type run unless they say';

CREATE FUNCTION sync._check_schedule(s sync.sync_schedules, as_of timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fault text;
    first timestamptz;
    hint text := 'SELECT * FROM sync.preview_schedule(expression, timezone) shows when an expression runs.';
BEGIN
    IF s.schedule_type NOT IN ('realtime', 'hourly', 'daily', 'weekly', 'monthly', 'custom') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('schedule_type cannot be "%s"', s.schedule_type),
            HINT = 'Use realtime, hourly, daily, weekly, monthly or custom.';
    END IF;
    IF s.schedule_type IS NULL OR s.timezone IS NULL OR s.dst_gap IS NULL OR s.dst_fold IS NULL THEN
        RETURN;  -- the table's constraints say so
    END IF;
    IF s.cron_expression IS NULL THEN
        IF s.schedule_type <> 'realtime' THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a custom schedule needs a cron_expression', HINT = hint;
        END IF;
        PERFORM sync.cron_matches('* * * * *', s.timezone, as_of);
        RETURN;
    END IF;
    IF s.schedule_type = 'realtime' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a realtime schedule has no cron_expression',
            HINT = 'It runs when sync.trigger_schedule is called; use another type to run it by the calendar.';
    END IF;
    -- A bad expression or zone is told by the function.
    first := sync.cron_next(s.cron_expression, s.timezone, GREATEST(as_of, s.starts_at - interval '1 microsecond'), s.dst_gap, s.dst_fold);
    fault := sync._cron_fault(s.cron_expression);
    IF first IS NULL OR first > s.ends_at THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the schedule "%s" would never run', s.cron_expression),
            DETAIL = CASE WHEN fault IS NOT NULL THEN upper(left(fault, 1)) || substr(fault, 2) || '.'
                          WHEN NOT isfinite(s.starts_at) THEN 'It never starts.'
                          WHEN first IS NULL THEN 'A change of the clocks skips each of its local times, and dst_gap is skip.'
                          ELSE format('It would run first at %s, after it ends.', sync._format_utc(first)) END,
            HINT = hint;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._check_schedule(sync.sync_schedules, timestamptz) IS 'Internal: refuses a schedule that cannot be read or would never run';

-- What is planned up to now is seen to as the schedule is; what was enqueued ahead of its time is taken back.
CREATE FUNCTION sync._settle_schedule(schedule_id bigint, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    s sync.sync_schedules;
    st sync.schedule_state;
    ahead bigint[];
    kept timestamptz;
BEGIN
    SELECT x.* INTO s FROM sync.sync_schedules x WHERE x.id = $1;
    PERFORM 1 FROM sync.connections c WHERE c.id = s.connection_id FOR NO KEY UPDATE;
    SELECT x.* INTO st FROM sync.schedule_state x WHERE x.schedule_id = $1 FOR UPDATE;
    IF NOT FOUND OR s.cron_expression IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM sync.cron_next(s.cron_expression, s.timezone, $2, s.dst_gap, s.dst_fold);
    EXCEPTION WHEN invalid_parameter_value THEN
        -- A zone that the server knows no more: nobody can tell what was planned, but it can be mended.
        UPDATE sync.schedule_state x SET covered_until = GREATEST(x.covered_until, $2), covered_offset = NULL WHERE x.schedule_id = $1;
        RETURN;
    END;
    PERFORM sync._ensure_fires($2, true);
    IF st.covered_until > $2 THEN
        SELECT array_agg(j.id) INTO ahead
        FROM (SELECT x.id FROM ONLY sync.sync_jobs x
              WHERE x.connection_id = s.connection_id AND x.schedule_id = $1 AND x.status = 'queued' AND x.planned_at > $2 AND x.scheduled_at > $2
                AND x.page = 1 AND x.attempts = 0 AND NOT sync._has_events(x.input) FOR UPDATE) j;
        -- After the clock went back a run may have begun that lies ahead: all up to it stays covered.
        SELECT max(f.last_planned_at) INTO kept
        FROM sync.schedule_fires f
        WHERE f.tenant_id = s.tenant_id AND f.connection_id = s.connection_id AND f.schedule_id = $1 AND f.last_planned_at > $2
          AND f.outcome <> 'triggered' AND (f.first_planned_at <= $2 OR f.job_id IS NOT NULL AND f.job_id <> ALL (COALESCE(ahead, '{}')));
        SELECT array_agg(j.id) INTO ahead
        FROM ONLY sync.sync_jobs j WHERE j.id = ANY (ahead) AND (j.planned_at <= kept) IS NOT TRUE;
        PERFORM sync._cancel(ahead, 'its schedule was changed before it began', $2);
        WITH gone AS (
            DELETE FROM sync.schedule_fires f
            WHERE f.tenant_id = s.tenant_id AND f.connection_id = s.connection_id AND f.schedule_id = $1 AND f.outcome <> 'triggered'
              AND f.first_planned_at > GREATEST($2, kept)
            RETURNING f.outcome, f.first_planned_at
        )
        UPDATE sync.schedule_state x
        SET covered_until = GREATEST($2, kept), covered_offset = NULL, last_fire_id = NULL, last_recorded_at = NULL,
            skips = ARRAY(SELECT y FROM unnest(x.skips) y UNION SELECT g.first_planned_at FROM gone g WHERE g.outcome = 'skipped_by_user' ORDER BY 1)
        WHERE x.schedule_id = $1;
    END IF;
    PERFORM sync._fire(ARRAY[$1], false, $2);
    SELECT x.* INTO st FROM sync.schedule_state x WHERE x.schedule_id = $1;
    IF st.covered_until < $2 THEN
        -- It waits for a live job to end: one more run will follow that.
        INSERT INTO sync.schedule_fires (tenant_id, schedule_id, connection_id, outcome, first_planned_at, last_planned_at, planned_count, job_id,
            reason, recorded_at, planned_by)
        SELECT s.tenant_id, $1, s.connection_id, CASE WHEN p.outcome = 'skipped_overlap' THEN 'coalesced' ELSE p.outcome END, p.first_at, p.last_at,
               p.planned, CASE WHEN p.outcome = 'skipped_overlap' THEN j.id END,
               format('one more run follows job %s: the schedule was changed while it waited for that', j.id), $2,
               CASE WHEN p.planned > 1 THEN sync._planned_by(s.cron_expression, s.timezone, s.dst_gap, s.dst_fold) END
        FROM ONLY sync.sync_jobs j
        CROSS JOIN LATERAL sync._plan_fires($1, s.cron_expression, s.timezone, s.dst_gap, s.dst_fold, 'latest', 1, 1, 'skip', 0, s.starts_at,
            s.ends_at, st.covered_until, st.covered_offset, st.skips, true, true, false, NULL, NULL, false, $2) p
        WHERE j.connection_id = s.connection_id AND j.job_type = s.job_type AND j.status IN ('queued', 'running') AND p.outcome IS NOT NULL
        ORDER BY p.ord;
        UPDATE ONLY sync.sync_jobs j SET rerun_priority = GREATEST(j.rerun_priority, s.priority)
        WHERE j.connection_id = s.connection_id AND j.job_type = s.job_type AND j.status IN ('queued', 'running');
        UPDATE sync.schedule_state x
        SET covered_until = $2, covered_offset = NULL, waits = false, last_fire_id = NULL, last_recorded_at = NULL
        WHERE x.schedule_id = $1;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._settle_schedule(bigint, timestamptz) IS
    'Internal: covers what a schedule has planned up to now and takes back what it has enqueued ahead, so that it may be changed';

CREATE FUNCTION sync._restate_schedule(s sync.sync_schedules, covered_until timestamptz, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    looks_at timestamptz;
BEGIN
    INSERT INTO sync.schedule_state AS st (schedule_id, connection_id, covered_until, next_planned_at, look_at)
    SELECT s.id, s.connection_id, covered_until, p.next_planned_at, LEAST(p.look_at, CASE WHEN NOT s.is_active THEN s.resume_at END)
    FROM (SELECT 1) one
    LEFT JOIN LATERAL sync._plan_fires(s.id, s.cron_expression, s.timezone, s.dst_gap, s.dst_fold, s.catch_up, s.catchup_limit, 1, s.overlap, 0,
        s.starts_at, s.ends_at, covered_until, NULL, NULL, false, true, NOT s.is_active, NULL, NULL, false, covered_until) p
        ON p.outcome IS NULL AND s.cron_expression IS NOT NULL
    ON CONFLICT (schedule_id) DO UPDATE
    SET connection_id = EXCLUDED.connection_id, covered_until = EXCLUDED.covered_until, covered_offset = NULL, waits = false,
        next_planned_at = EXCLUDED.next_planned_at, look_at = EXCLUDED.look_at,
        -- No row of the ledger tells of instants before the change and after it.
        last_fire_id = NULL, last_recorded_at = NULL,
        skips = ARRAY(SELECT x FROM unnest(st.skips) x WHERE x > as_of ORDER BY x)
    RETURNING st.look_at INTO looks_at;
    -- The worker sleeps until its next tick.
    IF looks_at < clock_timestamp() + make_interval(secs => sync._setting('tick_interval_seconds')) THEN
        PERFORM sync._wake_launcher();
    END IF;
END
$$;
COMMENT ON FUNCTION sync._restate_schedule(sync.sync_schedules, timestamptz, timestamptz) IS
    'Internal: where a new or changed schedule stands: what it plans up to then is covered';

CREATE FUNCTION sync._mark_scheduled(connection bigint, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    scheduled boolean := EXISTS (SELECT 1 FROM sync.schedule_state st WHERE st.connection_id = connection);
    waiting bigint[];
BEGIN
    UPDATE sync.connections c
    SET has_schedules = scheduled,
        -- The interval's word does not hold any more.
        metadata = CASE WHEN scheduled THEN c.metadata #- '{sync,next_run_at}' ELSE c.metadata END
    WHERE c.id = connection AND c.has_schedules <> scheduled;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF scheduled THEN
        SELECT array_agg(j.id) INTO waiting
        FROM (SELECT x.id FROM ONLY sync.sync_jobs x
              WHERE x.connection_id = connection AND x.status = 'queued' AND x.trigger_type = 'scheduled' AND x.schedule_id IS NULL AND x.page = 1
              FOR UPDATE) j;
        IF waiting IS NOT NULL THEN
            PERFORM sync._cancel(waiting, 'its connection is driven by schedules now', as_of);
        END IF;
    END IF;
    PERFORM sync._restate(connection, true);
END
$$;
COMMENT ON FUNCTION sync._mark_scheduled(bigint, timestamptz) IS 'Internal: hands a connection over from its interval to its schedules, or back';

CREATE FUNCTION sync._schedule_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner text;
    at timestamptz := now();
BEGIN
    SELECT c.tenant_id INTO owner FROM sync.connections c WHERE c.id = NEW.connection_id AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = format('connection %s does not exist', NEW.connection_id),
            HINT = 'Insert the connection before its schedules.', SCHEMA = 'sync', TABLE = 'sync_schedules', COLUMN = 'connection_id';
    END IF;
    NEW.tenant_id := COALESCE(NEW.tenant_id, owner);
    IF NEW.tenant_id <> owner AND (TG_OP = 'INSERT' OR NEW.tenant_id <> OLD.tenant_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = format('connection %s does not exist for tenant %L', NEW.connection_id, NEW.tenant_id),
            HINT = 'Leave tenant_id null to take over that of the connection.', SCHEMA = 'sync', TABLE = 'sync_schedules', COLUMN = 'connection_id';
    END IF;
    NEW.starts_at := NULLIF(NEW.starts_at, '-infinity');
    NEW.ends_at := NULLIF(NEW.ends_at, 'infinity');
    NEW.cron_expression := COALESCE(NULLIF(btrim(NEW.cron_expression), ''), sync._default_expression(NEW.schedule_type));
    IF NEW.is_active THEN
        NEW.pause_reason := NULL;
        NEW.resume_at := NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- Functions tell the time by it.
        IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
            NEW.updated_at := now();
        END IF;
        at := NEW.updated_at;
        IF NEW.connection_id <> OLD.connection_id THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = 'a schedule stays with its connection',
                HINT = 'Make a new schedule for the other connection.';
        END IF;
        -- One that has ended may be paused, for instance.
        IF (OLD.schedule_type, OLD.cron_expression, OLD.timezone, OLD.starts_at, OLD.ends_at, OLD.dst_gap, OLD.dst_fold)
           IS DISTINCT FROM (NEW.schedule_type, NEW.cron_expression, NEW.timezone, NEW.starts_at, NEW.ends_at, NEW.dst_gap, NEW.dst_fold) THEN
            PERFORM sync._check_schedule(NEW, at);
        END IF;
        IF sync._replans(OLD, NEW) THEN
            PERFORM sync._settle_schedule(NEW.id, at);
        END IF;
    ELSE
        PERFORM sync._check_schedule(NEW, LEAST(NEW.created_at, now()));
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION sync._schedule_written() IS 'Internal: fills and checks a schedule';

CREATE FUNCTION sync._replans(old sync.sync_schedules, new sync.sync_schedules) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (old.schedule_type, old.cron_expression, old.timezone, old.is_active, old.job_type, old.starts_at, old.ends_at, old.jitter_seconds,
            old.dst_gap, old.dst_fold, old.catch_up, old.catchup_limit, old.catchup_max_age, old.overlap, old.resume_at)
           IS DISTINCT FROM
           (new.schedule_type, new.cron_expression, new.timezone, new.is_active, new.job_type, new.starts_at, new.ends_at, new.jitter_seconds,
            new.dst_gap, new.dst_fold, new.catch_up, new.catchup_limit, new.catchup_max_age, new.overlap, new.resume_at)
$$;
COMMENT ON FUNCTION sync._replans(sync.sync_schedules, sync.sync_schedules) IS 'Internal: whether a change of a schedule is one of when or how it runs';

-- What a schedule has queued goes with it; what was asked for by hand stays.
CREATE FUNCTION sync._cancel_of_schedule(connection_id bigint, schedule_id bigint, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    queued bigint[];
BEGIN
    SELECT array_agg(j.id) INTO queued
    FROM (SELECT x.id FROM ONLY sync.sync_jobs x
          WHERE x.connection_id = $1 AND x.schedule_id = $2 AND x.status = 'queued' AND x.trigger_type <> 'manual'
            AND NOT sync._has_events(x.input) ORDER BY x.id FOR UPDATE) j;
    IF queued IS NOT NULL THEN
        PERFORM sync._cancel(queued, 'its schedule was deleted', as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._cancel_of_schedule(bigint, bigint, timestamptz) IS 'Internal: cancels what a schedule that goes has queued, but not what a webhook has brought';

CREATE FUNCTION sync._schedule_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    covered timestamptz;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM sync._restate_schedule(NEW, GREATEST(NEW.created_at, now()), now());
        PERFORM sync._mark_scheduled(NEW.connection_id, now());
    ELSIF TG_OP = 'UPDATE' THEN
        IF sync._replans(OLD, NEW) THEN
            SELECT GREATEST(st.covered_until, NEW.updated_at) INTO covered FROM sync.schedule_state st WHERE st.schedule_id = NEW.id;
            PERFORM sync._restate_schedule(NEW, covered, NEW.updated_at);
        END IF;
    ELSIF EXISTS (SELECT 1 FROM sync.connections c WHERE c.id = OLD.connection_id) THEN
        PERFORM sync._cancel_of_schedule(OLD.connection_id, OLD.id, now());
        PERFORM sync._mark_scheduled(OLD.connection_id, now());
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._schedule_changed() IS 'Internal: takes up what was changed in a schedule';

CREATE TRIGGER schedule_written BEFORE INSERT OR UPDATE ON sync.sync_schedules
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._schedule_written();
CREATE TRIGGER schedule_changed AFTER INSERT OR UPDATE OR DELETE ON sync.sync_schedules
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._schedule_changed();

-- A restore brings the state of each schedule after the schedule itself, which had been given one.
CREATE FUNCTION sync._state_restored() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM sync.schedule_state st WHERE st.schedule_id = NEW.schedule_id;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION sync._state_restored() IS 'Internal: what a dump says of a schedule takes the place of what a new one is given';
CREATE TRIGGER state_restored BEFORE INSERT ON sync.schedule_state
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._state_restored();

-- Rows that go without a trigger for each.
CREATE FUNCTION sync._schedules_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    freed bigint;
BEGIN
    FOR freed IN SELECT c.id FROM sync.connections c WHERE c.has_schedules ORDER BY c.id LOOP
        PERFORM sync._mark_scheduled(freed, now());
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._schedules_truncated() IS 'Internal: hands all connections back to their intervals';
CREATE TRIGGER schedules_truncated AFTER TRUNCATE ON sync.schedule_state
    FOR EACH STATEMENT EXECUTE FUNCTION sync._schedules_truncated();
