-- Schedules, for applications and operators.

CREATE FUNCTION sync._schedule_expression(schedule_type text, at time, days text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    seconds int := extract(second FROM at);
    clock text := CASE WHEN seconds > 0 THEN seconds || ' ' ELSE '' END || extract(minute FROM at) || ' ';
    list text := array_to_string(days, ',');
    fields text := CASE schedule_type WHEN 'monthly' THEN format('%s * *', COALESCE(list, '1'))
                                      WHEN 'weekly' THEN '* * ' || COALESCE(list, '0')
                                      ELSE '* * ' || COALESCE(list, '*') END;
    fault text := CASE WHEN list = '' OR list ~ '\s' THEN 'days must be a list of one day at least, without spaces'
                       ELSE regexp_replace(sync._cron_fault('0 0 ' || fields), '^the day of (week|month) field cannot', 'days cannot') END;
    hint text := 'For instance schedule_type => ''daily'', at => ''02:00'', or ''weekly'' with days => ''{mon,wed}'', or ''monthly'' with days => ''{1,L}''.';
BEGIN
    IF schedule_type IN ('realtime', 'custom') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('at and days are not for %s schedules', schedule_type),
            HINT = CASE schedule_type WHEN 'custom' THEN 'Give a cron_expression.' ELSE 'It runs when sync.trigger_schedule is called.' END;
    END IF;
    IF at <> date_trunc('second', at) OR (schedule_type = 'hourly' AND (days IS NOT NULL OR extract(hour FROM at) > 0)) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = CASE schedule_type WHEN 'hourly' THEN 'an hourly schedule has no days, and at is the time within the hour'
                                         ELSE 'at must be a whole second' END,
            HINT = CASE schedule_type WHEN 'hourly' THEN 'For instance at => ''00:15'' for a quarter past each hour.' ELSE hint END;
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = fault, HINT = hint;
    END IF;
    RETURN CASE WHEN schedule_type = 'hourly' THEN COALESCE(clock, '0 ') || '* * * *'
                ELSE concat_ws(' ', COALESCE(clock || extract(hour FROM at), '0 2'), fields) END;
END
$$;
COMMENT ON FUNCTION sync._schedule_expression(text, time, text[]) IS 'Internal: the cron expression of a schedule that is given by its time and days';

-- Fields of expressions: the days are the last three of them.
CREATE FUNCTION sync._changed_expression(old text, schedule_type text, at time, days text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new text[] := string_to_array(sync._schedule_expression(schedule_type, at, days), ' ');
    former text[] := regexp_split_to_array(btrim(old), '\s+');
BEGIN
    IF cardinality(former) NOT BETWEEN 5 AND 6 THEN
        former := new;
    END IF;
    RETURN array_to_string((CASE WHEN at IS NULL THEN former[:cardinality(former) - 3] ELSE new[:cardinality(new) - 3] END)
                           || CASE WHEN days IS NULL THEN former[cardinality(former) - 2:] ELSE new[cardinality(new) - 2:] END, ' ');
END
$$;
COMMENT ON FUNCTION sync._changed_expression(text, text, time, text[]) IS
    'Internal: the cron expression of a schedule whose time or days are given anew: what is left out stays as it was';

CREATE FUNCTION sync._schedule(schedule_id bigint) RETURNS sync.sync_schedules
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_row sync.sync_schedules;
BEGIN
    SELECT s.* INTO found_row FROM sync.sync_schedules s WHERE s.id = schedule_id AND sync._sees_tenant(s.tenant_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('schedule %s does not exist', schedule_id);
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._schedule(bigint) IS 'Internal: a schedule; P0002 where there is none';

-- The schedule is locked first, then its connection: an UPDATE of an application has no other order.
CREATE FUNCTION sync._lock_schedule(schedule_id bigint) RETURNS sync.sync_schedules
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_row sync.sync_schedules := sync._schedule(schedule_id);
BEGIN
    SELECT s.* INTO found_row FROM sync.sync_schedules s WHERE s.id = schedule_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('schedule %s does not exist', schedule_id);
    END IF;
    PERFORM 1 FROM sync.connections c WHERE c.id = found_row.connection_id FOR NO KEY UPDATE;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._lock_schedule(bigint) IS 'Internal: locks a schedule and its connection; P0002 where there is none';

CREATE FUNCTION sync.create_schedule(connection_id bigint, name text, schedule_type text, at time DEFAULT NULL, days text[] DEFAULT NULL,
    cron_expression text DEFAULT NULL, timezone text DEFAULT 'UTC', description text DEFAULT NULL, job_type text DEFAULT 'incremental',
    priority int DEFAULT 0, config jsonb DEFAULT '{}', notification_settings jsonb DEFAULT '{}', starts_at timestamptz DEFAULT NULL,
    ends_at timestamptz DEFAULT NULL, jitter_seconds int DEFAULT 0, dst_gap text DEFAULT 'run_after', dst_fold text DEFAULT 'first',
    catch_up text DEFAULT 'latest', catchup_limit int DEFAULT 10, catchup_max_age interval DEFAULT '7 days', overlap text DEFAULT 'skip',
    as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made sync.sync_schedules;
    owner text;
BEGIN
    PERFORM sync._require_time(as_of);
    IF (at IS NOT NULL OR days IS NOT NULL) AND cron_expression IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'at and days build the expression: give either them or cron_expression';
    END IF;
    -- Null where it does not exist, which the trigger tells.
    SELECT c.tenant_id INTO owner FROM sync.connections c WHERE c.id = create_schedule.connection_id AND sync._sees_tenant(c.tenant_id);
    INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, description, schedule_type, cron_expression, timezone, config,
        notification_settings, job_type, priority, starts_at, ends_at, jitter_seconds, dst_gap, dst_fold, catch_up, catchup_limit, catchup_max_age,
        overlap, created_at, updated_at)
    VALUES (owner, create_schedule.connection_id, create_schedule.name, create_schedule.description, create_schedule.schedule_type,
        CASE WHEN at IS NULL AND days IS NULL THEN create_schedule.cron_expression
             ELSE sync._schedule_expression(create_schedule.schedule_type, at, days) END,
        create_schedule.timezone, create_schedule.config, create_schedule.notification_settings, create_schedule.job_type, create_schedule.priority,
        create_schedule.starts_at, create_schedule.ends_at, create_schedule.jitter_seconds, create_schedule.dst_gap, create_schedule.dst_fold,
        create_schedule.catch_up, create_schedule.catchup_limit, create_schedule.catchup_max_age, create_schedule.overlap, as_of, as_of)
    RETURNING * INTO made;
    -- The trigger has covered what is planned up to now.
    IF as_of < now() THEN
        PERFORM sync._restate_schedule(made, as_of, as_of);
    END IF;
    RETURN made.id;
END
$$;
COMMENT ON FUNCTION sync.create_schedule(bigint, text, text, time, text[], text, text, text, text, int, jsonb, jsonb, timestamptz, timestamptz, int,
                                         text, text, text, int, interval, text, timestamptz) IS
    'Runs a connection by the calendar: realtime, hourly, daily, weekly, monthly (at, days) or custom (cron_expression). Its interval counts no more';

CREATE FUNCTION sync.update_schedule(schedule_id bigint, name text DEFAULT NULL, schedule_type text DEFAULT NULL, at time DEFAULT NULL,
    days text[] DEFAULT NULL, cron_expression text DEFAULT NULL, timezone text DEFAULT NULL, description text DEFAULT NULL,
    job_type text DEFAULT NULL, priority int DEFAULT NULL, config jsonb DEFAULT NULL, notification_settings jsonb DEFAULT NULL,
    starts_at timestamptz DEFAULT NULL, ends_at timestamptz DEFAULT NULL, jitter_seconds int DEFAULT NULL, dst_gap text DEFAULT NULL,
    dst_fold text DEFAULT NULL, catch_up text DEFAULT NULL, catchup_limit int DEFAULT NULL, catchup_max_age interval DEFAULT NULL,
    overlap text DEFAULT NULL, as_of timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old sync.sync_schedules;
    kind text;
BEGIN
    PERFORM sync._require_time(as_of);
    IF (at IS NOT NULL OR days IS NOT NULL) AND cron_expression IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'at and days build the expression: give either them or cron_expression';
    END IF;
    old := sync._lock_schedule(schedule_id);
    kind := COALESCE(schedule_type, old.schedule_type);
    UPDATE sync.sync_schedules s
    SET name = COALESCE(update_schedule.name, s.name), description = COALESCE(update_schedule.description, s.description),
        schedule_type = kind,
        cron_expression = CASE
            WHEN (at IS NOT NULL OR days IS NOT NULL) AND kind = s.schedule_type THEN sync._changed_expression(s.cron_expression, kind, at, days)
            WHEN at IS NOT NULL OR days IS NOT NULL THEN sync._schedule_expression(kind, at, days)
            WHEN update_schedule.cron_expression IS NOT NULL THEN update_schedule.cron_expression
            WHEN kind = s.schedule_type OR kind = 'custom' THEN s.cron_expression END,
        timezone = COALESCE(update_schedule.timezone, s.timezone), config = COALESCE(update_schedule.config, s.config),
        notification_settings = COALESCE(update_schedule.notification_settings, s.notification_settings),
        job_type = COALESCE(update_schedule.job_type, s.job_type), priority = COALESCE(update_schedule.priority, s.priority),
        starts_at = COALESCE(update_schedule.starts_at, s.starts_at), ends_at = COALESCE(update_schedule.ends_at, s.ends_at),
        jitter_seconds = COALESCE(update_schedule.jitter_seconds, s.jitter_seconds), dst_gap = COALESCE(update_schedule.dst_gap, s.dst_gap),
        dst_fold = COALESCE(update_schedule.dst_fold, s.dst_fold), catch_up = COALESCE(update_schedule.catch_up, s.catch_up),
        catchup_limit = COALESCE(update_schedule.catchup_limit, s.catchup_limit),
        catchup_max_age = COALESCE(update_schedule.catchup_max_age, s.catchup_max_age), overlap = COALESCE(update_schedule.overlap, s.overlap),
        updated_at = sync._change_time(s.updated_at, as_of)
    WHERE s.id = old.id;
END
$$;
COMMENT ON FUNCTION sync.update_schedule(bigint, text, text, time, text[], text, text, text, text, int, jsonb, jsonb, timestamptz, timestamptz, int,
                                         text, text, text, int, interval, text, timestamptz) IS
    'Changes what is given of a schedule. Infinities take starts_at and ends_at away. A run that was planned already is kept, one that lies ahead is planned anew';

-- Triggers read the time of a change from updated_at, if that changes.
CREATE FUNCTION sync._change_time(former timestamptz, as_of timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN former = as_of THEN as_of + interval '1 microsecond' ELSE as_of END $$;
COMMENT ON FUNCTION sync._change_time(timestamptz, timestamptz) IS 'Internal: the updated_at of a change at that time';

CREATE FUNCTION sync.pause_schedule(schedule_id bigint, reason text DEFAULT NULL, resume_at timestamptz DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old sync.sync_schedules;
BEGIN
    PERFORM sync._require_time(as_of);
    IF resume_at <= as_of OR NOT isfinite(resume_at) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('resume_at %s is not in the future', resume_at),
            HINT = 'Leave it out to pause until sync.resume_schedule is called.';
    END IF;
    old := sync._lock_schedule(schedule_id);
    UPDATE sync.sync_schedules s
    SET is_active = false, pause_reason = reason, resume_at = pause_schedule.resume_at, updated_at = sync._change_time(s.updated_at, as_of)
    WHERE s.id = old.id;
    -- A change is audited by the trigger.
    IF NOT old.is_active AND (old.pause_reason, old.resume_at) IS NOT DISTINCT FROM (reason, pause_schedule.resume_at) THEN
        PERFORM sync._audit('schedule.pause', old.tenant_id, 'schedule', old.id::text, NULL, NULL, 'was so already');
    END IF;
END
$$;
COMMENT ON FUNCTION sync.pause_schedule(bigint, text, timestamptz, timestamptz) IS
    'What the schedule plans is skipped, and told so in the ledger, until it is resumed, by itself at resume_at. A run that has begun goes on';

CREATE FUNCTION sync.resume_schedule(schedule_id bigint, as_of timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old sync.sync_schedules;
BEGIN
    PERFORM sync._require_time(as_of);
    old := sync._lock_schedule(schedule_id);
    UPDATE sync.sync_schedules s SET is_active = true, updated_at = sync._change_time(s.updated_at, as_of)
    WHERE s.id = old.id AND NOT s.is_active;
    IF old.is_active THEN
        PERFORM sync._audit('schedule.resume', old.tenant_id, 'schedule', old.id::text, NULL, NULL, 'was so already');
    END IF;
END
$$;
COMMENT ON FUNCTION sync.resume_schedule(bigint, timestamptz) IS 'Takes up a paused schedule from now on: what it skipped is not caught up with';

CREATE FUNCTION sync.delete_schedule(schedule_id bigint, as_of timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old sync.sync_schedules;
BEGIN
    PERFORM sync._require_time(as_of);
    old := sync._lock_schedule(schedule_id);
    -- The trigger, which does it for a plain DELETE, cannot know as_of.
    PERFORM sync._cancel_of_schedule(old.connection_id, old.id, as_of);
    DELETE FROM sync.sync_schedules s WHERE s.id = old.id;
END
$$;
COMMENT ON FUNCTION sync.delete_schedule(bigint, timestamptz) IS
    'Removes a schedule with what it has queued; its history stays. With its last schedule a connection goes back to its interval';

CREATE FUNCTION sync.trigger_schedule(schedule_id bigint, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s sync.sync_schedules := sync._schedule(schedule_id);
    owner sync.connections;
    job bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    owner := sync._lock_active(s.connection_id);
    -- Also where what it starts is called realtime: events have hooks, which nothing counts.
    IF s.schedule_type = 'realtime' THEN
        PERFORM sync._take_token(s.tenant_id, as_of);
    END IF;
    job := sync._enqueue(owner, s.job_type, GREATEST(s.priority, 10),
                         CASE WHEN s.schedule_type = 'realtime' THEN 'realtime' ELSE 'manual' END, s.id, as_of);
    UPDATE ONLY sync.sync_jobs j SET input = NULLIF(s.config, '{}')
    WHERE j.id = job AND j.status = 'queued' AND j.schedule_id = s.id AND j.input IS NULL AND s.config <> '{}';
    PERFORM sync._ensure_fires(as_of, true);
    INSERT INTO sync.schedule_fires (tenant_id, schedule_id, connection_id, outcome, first_planned_at, last_planned_at, planned_count, job_id,
        reason, recorded_at)
    VALUES (s.tenant_id, s.id, s.connection_id, 'triggered', as_of, as_of, 0, job, NULL, as_of);
    PERFORM sync._note_change('schedule', s.tenant_id, s.connection_id, s.id);
    PERFORM sync._audit('schedule.trigger', s.tenant_id, 'schedule', s.id::text, NULL, jsonb_build_object('job_id', job, 'connection_id', s.connection_id));
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync.trigger_schedule(bigint, timestamptz) IS
    'Runs a schedule now, also a paused one, and returns the job; while a run of its kind is under way, one more follows that. What is planned stays planned';

CREATE FUNCTION sync.skip_next(schedule_id bigint, as_of timestamptz DEFAULT now()) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s sync.sync_schedules;
    st sync.schedule_state;
    skipped timestamptz := $2;
BEGIN
    PERFORM sync._require_time($2);
    s := sync._lock_schedule($1);
    IF s.cron_expression IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = 'a realtime schedule plans nothing that could be skipped';
    END IF;
    PERFORM sync._settle_schedule(s.id, $2);
    SELECT x.* INTO st FROM sync.schedule_state x WHERE x.schedule_id = s.id;
    skipped := GREATEST($2, st.covered_until, s.starts_at - interval '1 microsecond');
    LOOP
        skipped := sync.cron_next(s.cron_expression, s.timezone, skipped, s.dst_gap, s.dst_fold);
        IF skipped IS NULL OR skipped > s.ends_at THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('schedule %s has no further run to skip', s.id);
        END IF;
        EXIT WHEN skipped <> ALL (st.skips);
    END LOOP;
    IF cardinality(st.skips) >= 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = format('1000 runs of schedule %s are skipped already', s.id),
            HINT = format('SELECT sync.pause_schedule(%s)', s.id);
    END IF;
    UPDATE sync.schedule_state x
    SET skips = ARRAY(SELECT y FROM unnest(x.skips || skipped) y ORDER BY y),
        look_at = LEAST(x.look_at, GREATEST(skipped - make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60)), $2))
    WHERE x.schedule_id = s.id;
    PERFORM sync._note_change('schedule', s.tenant_id, s.connection_id, s.id);
    PERFORM sync._audit('schedule.skip_next', s.tenant_id, 'schedule', s.id::text, NULL,
                        jsonb_build_object('skipped', skipped, 'connection_id', s.connection_id));
    RETURN skipped;
END
$$;
COMMENT ON FUNCTION sync.skip_next(bigint, timestamptz) IS
    'Skips the next run that is planned and not skipped yet; returns when it would have been. Called again, it skips the one after';

CREATE FUNCTION sync._preview(expression text, timezone text, dst_gap text, dst_fold text, count int, after timestamptz,
    OUT run_at timestamptz, OUT local_time timestamp, OUT runs boolean, OUT note text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF count IS NULL OR count NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'count must be from 1 to 1000';
    END IF;
    PERFORM sync._require_time(after);
    RETURN QUERY
    SELECT p.run_at, p.local_time, p.clock IS DISTINCT FROM 'gap',
           CASE p.clock
               WHEN 'first' THEN format('%s occurs twice: the first', to_char(p.local_time, 'HH24:MI'))
               WHEN 'second' THEN format('%s occurs twice: the second', to_char(p.local_time, 'HH24:MI'))
               WHEN 'after_gap' THEN skipped || ': runs when the clocks have been put forward'
               WHEN 'gap' THEN skipped || ': does not run'
           END
    FROM sync._cron_preview(expression, timezone, after, dst_gap, dst_fold, count) p
    CROSS JOIN LATERAL (
        SELECT CASE WHEN p.first_skipped = p.last_skipped THEN format('%s does not exist', to_char(p.first_skipped, 'HH24:MI'))
                    ELSE format('%s to %s do not exist', to_char(p.first_skipped, 'HH24:MI'), to_char(p.last_skipped, 'HH24:MI')) END AS skipped) x;
END
$$;
COMMENT ON FUNCTION sync._preview(text, text, text, text, int, timestamptz) IS 'Internal: the next runs of an expression, with what the clocks do to them';

CREATE FUNCTION sync.preview_schedule(expression text, timezone text DEFAULT 'UTC', count int DEFAULT 5, after timestamptz DEFAULT now(),
    dst_gap text DEFAULT 'run_after', dst_fold text DEFAULT 'first',
    OUT run_at timestamptz, OUT local_time timestamp, OUT runs boolean, OUT note text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM sync._preview(expression, timezone, dst_gap, dst_fold, count, after) $$;
COMMENT ON FUNCTION sync.preview_schedule(text, text, int, timestamptz, text, text) IS
    'The next runs of a cron expression, in UTC and by the wall clock, and what changes of the clocks do to them; runs is false where they prevent one';

CREATE FUNCTION sync.preview_schedule(schedule_id bigint, count int DEFAULT 5, after timestamptz DEFAULT now(),
    OUT run_at timestamptz, OUT local_time timestamp, OUT runs boolean, OUT note text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s sync.sync_schedules := sync._schedule(schedule_id);
    st sync.schedule_state;
    stopped text := (SELECT CASE WHEN c.status <> 'active' THEN 'connection ' || c.status WHEN p.status <> 'active' THEN 'provider ' || p.status END
                     FROM sync.connections c JOIN sync.providers p ON p.slug = c.provider_slug WHERE c.id = s.connection_id);
BEGIN
    IF s.cron_expression IS NULL THEN
        RETURN;
    END IF;
    SELECT x.* INTO st FROM sync.schedule_state x WHERE x.schedule_id = s.id;
    RETURN QUERY
    SELECT p.run_at, p.local_time, stopped IS NULL AND p.runs AND p.run_at <> ALL (st.skips) AND (s.is_active OR p.run_at >= s.resume_at) IS TRUE,
           concat_ws('; ', p.note, CASE WHEN p.run_at = ANY (st.skips) THEN 'skipped: skip_next was called' END,
                     CASE WHEN NOT s.is_active AND (p.run_at < s.resume_at) IS NOT FALSE THEN 'paused' END, stopped)
    FROM sync._preview(s.cron_expression, s.timezone, s.dst_gap, s.dst_fold, count, GREATEST(after, s.starts_at - interval '1 microsecond')) p
    WHERE (p.run_at <= s.ends_at) IS NOT FALSE;
END
$$;
COMMENT ON FUNCTION sync.preview_schedule(bigint, int, timestamptz) IS
    'The next instants that a schedule plans, in UTC and by its wall clock; runs is false where it is paused then, its connection or provider is not active, the instant is skipped or does not exist';

CREATE FUNCTION sync.schedule_history(schedule_id bigint, before bigint DEFAULT NULL, max_rows int DEFAULT 50, outcomes text[] DEFAULT NULL,
    OUT fire_id bigint, OUT outcome text, OUT first_planned_at timestamptz, OUT last_planned_at timestamptz, OUT planned_count bigint,
    OUT reason text, OUT job_id bigint, OUT run_status text, OUT started_at timestamptz, OUT finished_at timestamptz, OUT attempts int,
    OUT pages int, OUT records_processed bigint, OUT error_message text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    s sync.sync_schedules := sync._schedule(schedule_id);
BEGIN
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows must be from 1 to 10000';
    END IF;
    RETURN QUERY
    SELECT f.id, f.outcome, f.first_planned_at, f.last_planned_at, f.planned_count, f.reason, f.job_id,
           COALESCE(live.status, ended.job_status), LEAST(ended.started_at, live.started_at), CASE WHEN live.id IS NULL THEN ended.finished_at END,
           ended.attempts, ended.pages, ended.records, ended.error_message
    FROM (SELECT x.* FROM sync.schedule_fires x
          WHERE x.tenant_id = s.tenant_id AND x.connection_id = s.connection_id AND x.schedule_id = s.id AND ($2 IS NULL OR x.id < $2)
            AND ($4 IS NULL OR x.outcome = ANY ($4))
          ORDER BY x.id DESC LIMIT $3) f
    -- The pages of a run carry the id of its first job.
    LEFT JOIN LATERAL (SELECT j.id, j.status, j.started_at FROM ONLY sync.sync_jobs j
                       WHERE j.connection_id = f.connection_id AND j.job_type = s.job_type AND j.status IN ('queued', 'running')
                         AND j.run_id = f.job_id LIMIT 1) live ON f.outcome IN ('fired', 'triggered')
    LEFT JOIN LATERAL (SELECT (array_agg(e.job_status ORDER BY e.id DESC))[1] AS job_status, min(e.started_at) AS started_at,
                              max(e.finished_at) AS finished_at, count(*)::int AS attempts, max(e.page) AS pages,
                              sum(e.signals_received) AS records, (array_agg(e.error ->> 'message' ORDER BY e.id DESC))[1] AS error_message
                       FROM sync.sync_executions e
                       WHERE e.tenant_id = f.tenant_id AND e.connection_id = f.connection_id AND e.run_id = f.job_id
                         AND e.finished_at >= f.recorded_at - interval '1 day') ended ON f.outcome IN ('fired', 'triggered')
    ORDER BY f.id DESC;
END
$$;
COMMENT ON FUNCTION sync.schedule_history(bigint, bigint, int, text[]) IS
    'What became of the instants that a schedule planned, newest first, with the run where there was one; `before` is the last fire_id of the page before, outcomes, of schedule_fires, leave out others';

CREATE FUNCTION sync._local_time(instant timestamptz, timezone text) RETURNS timestamp
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN instant AT TIME ZONE timezone;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._local_time(timestamptz, text) IS 'Internal: by the wall clock of a zone; null where the server does not know it';

-- Called for the few of which something is skipped, or that are paused: next_planned_at tells of all the others.
CREATE FUNCTION sync._next_run_at(s sync.sync_schedules, st sync.schedule_state) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := st.next_planned_at;
BEGIN
    IF NOT s.is_active THEN
        IF s.resume_at IS NULL THEN
            RETURN NULL;
        ELSIF at < s.resume_at THEN
            at := sync.cron_next(s.cron_expression, s.timezone, s.resume_at - interval '1 microsecond', s.dst_gap, s.dst_fold);
        END IF;
    END IF;
    WHILE at = ANY (st.skips) LOOP
        at := sync.cron_next(s.cron_expression, s.timezone, at, s.dst_gap, s.dst_fold);
    END LOOP;
    RETURN CASE WHEN at > s.ends_at THEN NULL ELSE at END;
END
$$;
COMMENT ON FUNCTION sync._next_run_at(sync.sync_schedules, sync.schedule_state) IS
    'Internal: the next planned instant that is neither skipped nor within a pause; null where there is none';

CREATE VIEW sync.schedule_status WITH (security_barrier) AS
SELECT s.id AS schedule_id, s.tenant_id, s.connection_id, s.name, s.schedule_type, s.cron_expression, s.timezone,
       CASE WHEN s.cron_expression IS NULL THEN 'when it is triggered' ELSE sync.cron_describe(s.cron_expression) END AS runs,
       s.is_active, s.pause_reason, s.resume_at, c.status AS connection_status, p.status AS provider_status,
       n.next_run_at, sync._local_time(n.next_run_at, s.timezone) AS next_run_local,
       j.id AS job_id, j.status AS job_status, j.scheduled_at AS job_scheduled_at,
       CASE WHEN s.is_active AND c.status = 'active' AND p.status = 'active'
            THEN GREATEST(now() - st.next_planned_at, interval '0') END AS late_by
FROM sync.sync_schedules s
JOIN sync.schedule_state st ON st.schedule_id = s.id
JOIN sync.connections c ON c.id = s.connection_id
JOIN sync.providers p ON p.slug = c.provider_slug
CROSS JOIN LATERAL (SELECT CASE WHEN s.is_active AND st.skips = '{}' THEN st.next_planned_at ELSE sync._next_run_at(s, st) END AS next_run_at) n
LEFT JOIN LATERAL (SELECT x.* FROM ONLY sync.sync_jobs x
                   WHERE x.connection_id = s.connection_id AND x.job_type = s.job_type AND x.status IN ('queued', 'running')
                     AND x.schedule_id = s.id LIMIT 1) j ON true
WHERE sync._sees_tenant(s.tenant_id);
COMMENT ON VIEW sync.schedule_status IS 'One row a schedule: when it runs next, whether it may, the job that is queued or running for it; no configuration';
