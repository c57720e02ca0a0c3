-- The tick's part for schedules: jobs, ledger and the schedules' states in one statement.

CREATE FUNCTION sync._adopted_at() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT max(d.adopted_at) FROM sync.database_identity d WHERE d.epoch > 1 $$;
COMMENT ON FUNCTION sync._adopted_at() IS 'Internal: when this copy of a database was adopted; what was planned before is not caught up with';

CREATE FUNCTION sync._fire_reason(outcome text, reason text, pause text, live_id bigint, live_status text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
               WHEN outcome = 'skipped_paused' THEN COALESCE(pause, 'the schedule was paused')
               WHEN outcome = 'skipped_overlap' THEN format('job %s was %s', live_id, live_status)
               WHEN outcome = 'skipped_by_user' THEN 'skip_next was called'
               WHEN outcome = 'dst_gap' THEN 'the clocks were put forward: this local time did not exist'
               WHEN reason = 'clock_gap' THEN 'the clocks were put forward: run at the first instant after the local time that did not exist'
               WHEN reason = 'adopted' THEN 'planned before this copy of the database was adopted'
               WHEN reason = 'late' THEN 'nothing ticked in time, and catch_up is skip'
               WHEN reason = 'too_old' THEN 'nothing ticked in time; older than catchup_max_age'
               WHEN reason = 'waited' THEN 'a run was under way: one run for all'
               WHEN reason = 'over_limit' THEN 'nothing ticked in time; more than catchup_limit'
               WHEN outcome = 'coalesced' THEN 'nothing ticked in time: one run for all'
           END
$$;
COMMENT ON FUNCTION sync._fire_reason(text, text, text, bigint, text) IS 'Internal: why an instant fared as it did, in words';

CREATE FUNCTION sync._planned_by(expression text, timezone text, dst_gap text, dst_fold text) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_build_object('cron_expression', expression, 'timezone', timezone, 'dst_gap', dst_gap, 'dst_fold', dst_fold) $$;
COMMENT ON FUNCTION sync._planned_by(text, text, text, text) IS 'Internal: what the ledger says of how instants were planned';

CREATE FUNCTION sync._fire_rows(ids bigint[], looks_ahead boolean, as_of timestamptz, OUT fired int, OUT skipped int, OUT again bigint[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    adopted timestamptz := sync._adopted_at();
    missed jsonb;
    today timestamptz := date_trunc('day', as_of, 'UTC');
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT s.*, st.covered_until, st.covered_offset, st.skips, st.waits, st.last_fire_id, st.last_recorded_at, c.provider_slug,
               live.id AS live_id, live.status AS live_status,
               CASE
                   WHEN NOT s.is_active AND (s.resume_at > $3) IS NOT FALSE THEN 'the schedule is paused' || COALESCE(': ' || s.pause_reason, '')
                   WHEN c.status <> 'active' THEN format('the connection is %s', c.status) || COALESCE(': ' || c.status_reason, '')
                   WHEN p.status <> 'active' THEN format('the provider %s is paused', p.slug) || COALESCE(': ' || p.status_reason, '')
               END AS pause,
               CASE WHEN NOT s.is_active AND s.resume_at <= $3 THEN s.resume_at END AS paused_until
        FROM unnest($1) u (id)
        JOIN sync.schedule_state st ON st.schedule_id = u.id
        JOIN sync.sync_schedules s ON s.id = u.id
        JOIN sync.connections c ON c.id = s.connection_id
        JOIN sync.providers p ON p.slug = c.provider_slug
        LEFT JOIN LATERAL (SELECT j.id, j.status FROM ONLY sync.sync_jobs j
                           WHERE j.connection_id = s.connection_id AND j.job_type = s.job_type AND j.status IN ('queued', 'running')
                           LIMIT 1) live ON true
        WHERE s.cron_expression IS NOT NULL
    ), plan AS MATERIALIZED (
        SELECT k.id AS schedule_id, f.*
        FROM picked k
        CROSS JOIN LATERAL sync._plan_fires(k.id, k.cron_expression, k.timezone, k.dst_gap, k.dst_fold, k.catch_up, k.catchup_limit,
            date_part('epoch', k.catchup_max_age), k.overlap, k.jitter_seconds, k.starts_at, k.ends_at, k.covered_until, k.covered_offset, k.skips,
            k.waits, k.live_id IS NOT NULL, k.pause IS NOT NULL, k.paused_until, adopted, $2, $3) f
    ), ins AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, input, run_id, created_at,
            schedule_id, planned_at, trigger_type)
        SELECT n.job_id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.priority, n.scheduled_at, NULLIF(n.config, '{}'), n.job_id, $3,
               n.schedule_id, n.first_at, CASE WHEN n.catches_up THEN 'catch_up' ELSE 'scheduled' END
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS job_id, k.tenant_id, k.provider_slug, k.connection_id, k.job_type, k.priority,
                     k.config, f.*
              FROM plan f JOIN picked k ON k.id = f.schedule_id
              WHERE f.outcome = 'fired') n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING id, schedule_id
    ), clash AS MATERIALIZED (
        -- Another schedule of the connection was first: looked at once more, now that there is a live job.
        SELECT f.schedule_id FROM plan f WHERE f.outcome = 'fired' AND NOT EXISTS (SELECT 1 FROM ins i WHERE i.schedule_id = f.schedule_id)
    ), told AS MATERIALIZED (
        SELECT k.tenant_id, k.connection_id, k.last_fire_id, k.last_recorded_at, f.schedule_id, f.ord, f.outcome, f.first_at, f.last_at, f.planned,
               CASE WHEN f.outcome IN ('fired', 'coalesced') THEN i.id WHEN f.outcome = 'skipped_overlap' THEN k.live_id END AS job_id,
               -- Most have none, and need not be asked for it.
               CASE WHEN f.outcome <> 'fired' OR f.reason IS NOT NULL
                    THEN sync._fire_reason(f.outcome, f.reason, k.pause, k.live_id, k.live_status) END AS reason,
               CASE WHEN f.outcome <> 'fired' THEN sync._planned_by(k.cron_expression, k.timezone, k.dst_gap, k.dst_fold) END AS planned_by
        FROM plan f
        JOIN picked k ON k.id = f.schedule_id
        LEFT JOIN ins i ON i.schedule_id = f.schedule_id
        WHERE f.outcome IS NOT NULL AND f.schedule_id NOT IN (SELECT x.schedule_id FROM clash x)
    ), merged AS (
        -- A pause or a long run that goes on is one row a day.
        UPDATE sync.schedule_fires r SET last_planned_at = t.last_at, planned_count = r.planned_count + t.planned, planned_by = t.planned_by
        FROM told t
        WHERE t.ord = 1 AND t.outcome IN ('skipped_paused', 'skipped_overlap') AND t.last_recorded_at >= today
          AND r.recorded_at = t.last_recorded_at AND r.tenant_id = t.tenant_id AND r.connection_id = t.connection_id AND r.schedule_id = t.schedule_id AND r.id = t.last_fire_id
          AND r.outcome = t.outcome AND r.job_id IS NOT DISTINCT FROM t.job_id AND r.reason = t.reason
        RETURNING r.schedule_id
    ), added AS (
        INSERT INTO sync.schedule_fires (tenant_id, schedule_id, connection_id, outcome, first_planned_at, last_planned_at, planned_count, job_id,
            reason, recorded_at, planned_by)
        SELECT t.tenant_id, t.schedule_id, t.connection_id, t.outcome, t.first_at, t.last_at, t.planned, t.job_id, t.reason, $3,
               CASE WHEN t.planned > 1 THEN t.planned_by END
        FROM told t
        WHERE NOT (t.ord = 1 AND t.schedule_id IN (SELECT m.schedule_id FROM merged m))
        ORDER BY t.schedule_id, t.ord
        RETURNING id, schedule_id
    ), stated AS (
        UPDATE sync.schedule_state st
        SET covered_until = f.now_covered_until, covered_offset = f.now_covered_offset, next_planned_at = f.next_planned_at,
            look_at = LEAST(f.look_at, CASE WHEN NOT k.is_active AND (k.pause IS NOT NULL OR NOT $2) THEN k.resume_at END),
            waits = f.waits,
            skips = CASE WHEN st.skips = '{}' THEN st.skips ELSE ARRAY(SELECT x FROM unnest(st.skips) x WHERE x > f.now_covered_until ORDER BY x) END,
            last_fire_id = COALESCE(a.id, st.last_fire_id), last_recorded_at = CASE WHEN a.id IS NULL THEN st.last_recorded_at ELSE $3 END
        FROM plan f
        JOIN picked k ON k.id = f.schedule_id
        LEFT JOIN (SELECT x.schedule_id, max(x.id) AS id FROM added x GROUP BY 1) a ON a.schedule_id = f.schedule_id
        WHERE st.schedule_id = f.schedule_id AND f.outcome IS NULL AND f.schedule_id NOT IN (SELECT x.schedule_id FROM clash x)
    ), resumable AS MATERIALIZED (
        -- By the tick alone: else the row is being changed already. What somebody holds is left to the next look.
        SELECT s.id FROM sync.sync_schedules s
        WHERE s.id IN (SELECT k.id FROM picked k WHERE k.paused_until IS NOT NULL) AND $2 AND s.id NOT IN (SELECT x.schedule_id FROM clash x)
        FOR NO KEY UPDATE SKIP LOCKED
    ), resumed AS (
        UPDATE sync.sync_schedules s SET is_active = true, pause_reason = NULL, resume_at = NULL, updated_at = $3
        FROM resumable r WHERE s.id = r.id
    ), counted AS (
        SELECT count(sync._metric_add('sync_scheduler_jobs_scheduled_total', g.provider_slug, g.tenant_id, g.n)) AS n,
               (SELECT count(sync._note_change('schedule', t.tenant_id, t.connection_id, t.schedule_id)) FROM told t) AS noted
        FROM (SELECT k.provider_slug, k.tenant_id, count(*) AS n FROM ins i JOIN picked k ON k.id = i.schedule_id GROUP BY 1, 2) g
    )
    SELECT (SELECT count(*) FROM ins), (SELECT COALESCE(sum(t.planned), 0) FROM told t WHERE t.outcome = 'skipped_overlap'),
           (SELECT array_agg(x.schedule_id) FROM clash x),
           (SELECT jsonb_agg(jsonb_build_object('connection_id', t.connection_id, 'schedule_id', t.schedule_id, 'name', k.name, 'job_type', k.job_type,
                                                'count', t.planned, 'first', sync._format_utc(t.first_at), 'last', sync._format_utc(t.last_at),
                                                'reason', t.reason))
            FROM told t JOIN picked k ON k.id = t.schedule_id WHERE t.outcome = 'missed')
    INTO fired, skipped, again, missed
    FROM counted WHERE counted.n >= 0 AND counted.noted >= 0;
    IF missed IS NOT NULL THEN
        PERFORM sync._runs_missed(missed, $3);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._fire_rows(bigint[], boolean, timestamptz) IS
    'Internal: covers what schedules have planned, whose states and connections the caller has locked; those come back that have to be looked at again';

CREATE FUNCTION sync._fire(ids bigint[], looks_ahead boolean, as_of timestamptz, OUT fired int, OUT skipped int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    part record;
    rest bigint[] := ids;
    looks int := 0;
BEGIN
    fired := 0;
    skipped := 0;
    PERFORM sync._rewind_fires(ids, as_of);
    WHILE rest IS NOT NULL LOOP
        SELECT * INTO part FROM sync._fire_rows(rest, looks_ahead, as_of);
        fired := fired + part.fired;
        skipped := skipped + part.skipped;
        rest := part.again;
        looks := looks + 1;
        IF looks >= 10 AND rest IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('no job could be queued for schedules %s', rest),
                HINT = 'A trigger or rule of the application on sync.sync_jobs may keep it from being inserted.';
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._fire(bigint[], boolean, timestamptz) IS 'Internal: _fire_rows, until none has to be looked at again';

-- What was covered while the clock was hours ahead is planned anew: an hour or two are waited for instead, so that nothing runs twice.
CREATE FUNCTION sync._rewind_fires(ids bigint[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    ahead bigint[];
    waiting bigint[];
BEGIN
    SELECT array_agg(st.schedule_id) INTO ahead
    FROM sync.schedule_state st WHERE st.schedule_id = ANY ($1) AND st.covered_until > $2 + interval '3 hours';
    IF ahead IS NULL THEN
        RETURN;
    END IF;
    -- What it had enqueued for then would stand in the way until then.
    SELECT array_agg(j.id) INTO waiting
    FROM (SELECT x.id FROM ONLY sync.sync_jobs x JOIN sync.sync_schedules s ON s.connection_id = x.connection_id
          WHERE s.id = ANY (ahead) AND x.schedule_id = s.id AND x.status = 'queued' AND x.planned_at > $2 AND x.scheduled_at > $2
            AND x.page = 1 AND x.attempts = 0 FOR UPDATE OF x SKIP LOCKED) j;
    IF waiting IS NOT NULL THEN
        PERFORM sync._cancel(waiting, 'the clock went back before it began', $2);
    END IF;
    WITH gone AS (
        DELETE FROM sync.schedule_fires f
        USING sync.sync_schedules s
        WHERE s.id = ANY (ahead) AND f.tenant_id = s.tenant_id AND f.connection_id = s.connection_id AND f.schedule_id = s.id
          AND f.first_planned_at > $2 AND f.outcome <> 'triggered'
        RETURNING f.schedule_id, f.outcome, f.first_planned_at
    )
    UPDATE sync.schedule_state st
    SET skips = ARRAY(SELECT x FROM unnest(st.skips) x
                      UNION SELECT g.first_planned_at FROM gone g WHERE g.schedule_id = st.schedule_id AND g.outcome = 'skipped_by_user' ORDER BY 1)
    WHERE st.schedule_id IN (SELECT g.schedule_id FROM gone g WHERE g.outcome = 'skipped_by_user');
    -- By the expression that planned them: the present one may be another. New rules of the zone may plan none of them.
    UPDATE sync.schedule_fires f
    SET last_planned_at = GREATEST(f.first_planned_at, sync.cron_previous(f.planned_by ->> 'cron_expression', f.planned_by ->> 'timezone',
            $2 + interval '1 microsecond', f.planned_by ->> 'dst_gap', f.planned_by ->> 'dst_fold')),
        planned_count = GREATEST(1, sync._cron_count(f.planned_by ->> 'cron_expression', f.planned_by ->> 'timezone',
            f.first_planned_at - interval '1 microsecond', $2, f.planned_by ->> 'dst_gap', f.planned_by ->> 'dst_fold'))
    FROM sync.sync_schedules s
    WHERE s.id = ANY (ahead) AND f.tenant_id = s.tenant_id AND f.connection_id = s.connection_id AND f.schedule_id = s.id
      AND f.last_planned_at > $2 AND f.outcome <> 'triggered';
    UPDATE sync.schedule_state st SET covered_until = $2, covered_offset = NULL, last_fire_id = NULL, last_recorded_at = NULL
    WHERE st.schedule_id = ANY (ahead);
END
$$;
COMMENT ON FUNCTION sync._rewind_fires(bigint[], timestamptz) IS 'Internal: takes back what schedules have covered more than three hours ahead of the clock';

CREATE FUNCTION sync._fire_safely(ids bigint[], as_of timestamptz, OUT fired int, OUT skipped int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    half int := cardinality(ids) / 2;
    part record;
BEGIN
    BEGIN
        SELECT f.fired, f.skipped INTO fired, skipped FROM sync._fire(ids, true, as_of) f;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        fired := 0;
        skipped := 0;
        IF cardinality(ids) <= 1 THEN
            UPDATE sync.schedule_state st SET look_at = as_of + make_interval(secs => sync._setting('default_interval_seconds'))
            WHERE st.schedule_id = ids[1];
            RAISE WARNING USING MESSAGE = format('schedule %s cannot be planned: %s (%s); set back', ids[1], SQLERRM, SQLSTATE);
            RETURN;
        END IF;
    END;
    -- Halve until the bad one stands alone.
    FOR part IN SELECT f.* FROM sync._fire_safely(ids[:half], as_of) f
                UNION ALL SELECT f.* FROM sync._fire_safely(ids[half + 1:], as_of) f LOOP
        fired := fired + part.fired;
        skipped := skipped + part.skipped;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._fire_safely(bigint[], timestamptz) IS 'Internal: _fire, with a schedule that raises singled out';

CREATE FUNCTION sync._lock_schedules(batch int, as_of timestamptz) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET random_page_cost = 1.1
AS $$
BEGIN
    RETURN (SELECT array_agg(x.schedule_id)
            FROM (SELECT st.schedule_id FROM sync.schedule_state st
                  JOIN sync.connections c ON c.id = st.connection_id
                  WHERE st.look_at <= as_of
                  ORDER BY st.look_at, st.schedule_id LIMIT batch FOR NO KEY UPDATE OF st, c SKIP LOCKED) x);
END
$$;
COMMENT ON FUNCTION sync._lock_schedules(int, timestamptz) IS 'Internal: locks schedules that the tick has to look at, with their connections';

CREATE FUNCTION sync._ms_until_look(as_of timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT GREATEST(extract(epoch FROM min(st.look_at) - as_of) * 1000, 0)::bigint + 1
    FROM sync.schedule_state st WHERE st.look_at < as_of + interval '1 day'
$$;
COMMENT ON FUNCTION sync._ms_until_look(timestamptz) IS 'Internal: in how many milliseconds a schedule has to be looked at; null: not today';

CREATE FUNCTION sync._tick_schedules(batch int, as_of timestamptz, OUT fired int, OUT skipped int, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    ids bigint[];
    failed boolean := false;
BEGIN
    fired := 0;
    skipped := 0;
    more := false;
    IF NOT EXISTS (SELECT 1 FROM sync.schedule_state st WHERE st.look_at <= as_of) OR NOT sync._ensure_fires(as_of, false) THEN
        RETURN;
    END IF;
    BEGIN
        ids := sync._lock_schedules(batch, as_of);
        IF ids IS NOT NULL THEN
            SELECT f.fired, f.skipped INTO fired, skipped FROM sync._fire(ids, true, as_of) f;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        failed := true;
    END;
    IF failed THEN
        ids := sync._lock_schedules(batch, as_of);
        IF ids IS NOT NULL THEN
            SELECT f.fired, f.skipped INTO fired, skipped FROM sync._fire_safely(ids, as_of) f;
        END IF;
    END IF;
    more := COALESCE(cardinality(ids) >= batch, false);
END
$$;
COMMENT ON FUNCTION sync._tick_schedules(int, timestamptz) IS 'Internal: the part of a tick that is about schedules';
