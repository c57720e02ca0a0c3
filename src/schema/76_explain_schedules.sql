CREATE FUNCTION sync._explain_next(s sync.sync_schedules, as_of timestamptz, OUT aspect text, OUT verdict text, OUT detail text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    st sync.schedule_state;
    upcoming record;
    label text := format('%s (schedule %s)', s.name, s.id);
BEGIN
    aspect := 'schedule';
    SELECT x.* INTO st FROM sync.schedule_state x WHERE x.schedule_id = s.id;
    IF s.cron_expression IS NULL THEN
        verdict := CASE WHEN s.is_active THEN 'waiting' ELSE 'paused' END;
        detail := label || ': runs when it is triggered';
        RETURN;
    END IF;
    detail := format('%s: %s, %s', label, sync.cron_describe(s.cron_expression), s.timezone);
    IF NOT s.is_active THEN
        verdict := 'paused';
        detail := detail || '; paused' || COALESCE(': ' || s.pause_reason, '')
                  || COALESCE(', resumed at ' || sync._format_utc(s.resume_at), format('; SELECT sync.resume_schedule(%s)', s.id));
        RETURN;
    END IF;
    SELECT p.* INTO upcoming FROM sync.preview_schedule(s.id, 20, GREATEST(as_of, st.covered_until)) p WHERE p.runs LIMIT 1;
    IF st.next_planned_at IS NULL THEN
        verdict := 'ended';
        detail := detail || format('; nothing is planned after %s', COALESCE(sync._format_utc(s.ends_at), 'this'));
    ELSIF st.next_planned_at <= as_of THEN
        verdict := 'due';
        detail := detail || format('; planned for %s, the next tick sees to it', sync._format_utc(st.next_planned_at));
    ELSE
        verdict := 'waiting';
        detail := detail || format('; next at %s (%s there)%s', sync._format_utc(upcoming.run_at), to_char(upcoming.local_time, 'YYYY-MM-DD HH24:MI'),
                                   COALESCE('; ' || NULLIF(upcoming.note, ''), ''))
                  || CASE WHEN st.skips <> '{}' THEN '; skipped by hand: ' || (SELECT string_agg(sync._format_utc(x), ', ') FROM unnest(st.skips) x)
                          ELSE '' END;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._explain_next(sync.sync_schedules, timestamptz) IS 'Internal: when a schedule runs next, in words';

CREATE FUNCTION sync._explain_fire(f sync.schedule_fires) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN f.planned_count > 1 THEN format('%s instants from %s to %s', f.planned_count, sync._format_utc(f.first_planned_at),
                                                     sync._format_utc(f.last_planned_at))
                ELSE sync._format_utc(f.first_planned_at) END
           || CASE f.outcome
                  WHEN 'fired' THEN format(': run as job %s', f.job_id)
                  WHEN 'triggered' THEN format(': triggered by hand, job %s', f.job_id)
                  WHEN 'coalesced' THEN format(': no run of their own, job %s ran for them', f.job_id)
                  WHEN 'dst_gap' THEN ': not run'
                  WHEN 'missed' THEN ': missed'
                  ELSE ': skipped' END
           || COALESCE(', ' || f.reason, '')
$$;
COMMENT ON FUNCTION sync._explain_fire(sync.schedule_fires) IS 'Internal: a row of the ledger in words';

CREATE FUNCTION sync.explain_schedule(schedule_id bigint, at timestamptz DEFAULT NULL, as_of timestamptz DEFAULT now(),
    OUT aspect text, OUT verdict text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    s sync.sync_schedules;
    st sync.schedule_state;
    f sync.schedule_fires;
    near timestamptz;
BEGIN
    SELECT x.* INTO s FROM sync.sync_schedules x WHERE x.id = $1 AND sync._sees_tenant(x.tenant_id);
    IF NOT FOUND THEN
        RETURN QUERY VALUES ('schedule', 'unknown', format('there is no schedule %s', $1));
        RETURN;
    END IF;
    SELECT x.* INTO st FROM sync.schedule_state x WHERE x.schedule_id = $1;
    IF at IS NULL THEN
        RETURN QUERY SELECT e.aspect, e.verdict, e.detail FROM sync._explain_next(s, $3) e;
        RETURN QUERY SELECT 'history', h.outcome, sync._explain_fire(h)
                     FROM (SELECT x.* FROM sync.schedule_fires x WHERE x.tenant_id = s.tenant_id AND x.connection_id = s.connection_id AND x.schedule_id = s.id
                           ORDER BY x.id DESC LIMIT 5) h ORDER BY h.id DESC;
        RETURN QUERY SELECT e.* FROM sync.explain(s.connection_id, $3) e WHERE e.aspect <> 'schedule';
        RETURN;
    END IF;
    -- What covers the instant; a local time that did not exist is asked for by an instant next to the change of the clocks.
    FOR f IN SELECT x.* FROM sync.schedule_fires x
             WHERE x.tenant_id = s.tenant_id AND x.connection_id = s.connection_id AND x.schedule_id = s.id AND x.recorded_at >= at - interval '2 days'
               AND (at BETWEEN x.first_planned_at AND x.last_planned_at
                    OR x.outcome = 'dst_gap' AND at BETWEEN x.first_planned_at - interval '1 hour' AND x.first_planned_at + interval '1 hour'
                    OR x.outcome = 'fired' AND x.reason IS NOT NULL AND at BETWEEN x.first_planned_at - interval '1 hour' AND x.first_planned_at + interval '1 hour')
             ORDER BY x.id LIMIT 10 LOOP
        RETURN QUERY VALUES ('instant', f.outcome, sync._explain_fire(f));
        IF f.outcome IN ('fired', 'triggered', 'coalesced') THEN
            RETURN QUERY
            SELECT 'run', e.job_status, format('job %s, attempt %s, page %s, %s to %s%s', e.job_id, e.attempt, e.page, sync._format_utc(e.started_at),
                       sync._format_utc(e.finished_at), CASE WHEN e.status = 'failed' THEN format(': %s: %s', e.kind, left(COALESCE(e.error ->> 'message',
                       'no message'), 200)) ELSE '' END)
            FROM sync.sync_executions e
            WHERE e.tenant_id = f.tenant_id AND e.connection_id = f.connection_id AND e.run_id = f.job_id
              AND e.finished_at >= f.recorded_at - interval '1 day'
            ORDER BY e.id DESC LIMIT 5;
        END IF;
    END LOOP;
    IF FOUND THEN
        RETURN;
    END IF;
    IF s.cron_expression IS NULL THEN
        RETURN QUERY VALUES ('instant', 'not planned', 'a realtime schedule plans nothing: it runs when it is triggered');
    ELSIF sync.cron_next(s.cron_expression, s.timezone, at - interval '1 microsecond', s.dst_gap, s.dst_fold) = at THEN
        RETURN QUERY
        SELECT 'instant', x.verdict, x.detail
        FROM (SELECT CASE WHEN at < s.starts_at THEN 'not planned' WHEN at > s.ends_at THEN 'not planned' WHEN at < s.created_at THEN 'unknown'
                          WHEN at > st.covered_until THEN 'planned' ELSE 'unknown' END AS verdict,
                     CASE WHEN at < s.starts_at THEN format('the schedule starts at %s', sync._format_utc(s.starts_at))
                          WHEN at > s.ends_at THEN format('the schedule ended at %s', sync._format_utc(s.ends_at))
                          WHEN at < s.created_at THEN format('the schedule was made at %s', sync._format_utc(s.created_at))
                          WHEN at > st.covered_until AND at <= $3 THEN 'its time has come; the next tick sees to it, or it waits for a run to end'
                          WHEN at > st.covered_until AND NOT s.is_active THEN 'its time has not come; the schedule is paused'
                          WHEN at > st.covered_until THEN 'its time has not come'
                          ELSE 'no record: the schedule ran at other times then, or the record is older than execution_retention_days' END AS detail) x;
    ELSE
        near := sync.cron_next(s.cron_expression, s.timezone, at, s.dst_gap, s.dst_fold);
        RETURN QUERY VALUES ('instant', 'not planned', format('%s (%s there) is none of its times: %s, %s; the one before is %s, the one after %s',
            sync._format_utc(at), to_char(at AT TIME ZONE s.timezone, 'YYYY-MM-DD HH24:MI:SS'), sync.cron_describe(s.cron_expression), s.timezone,
            COALESCE(sync._format_utc(sync.cron_previous(s.cron_expression, s.timezone, at, s.dst_gap, s.dst_fold)), 'none'),
            COALESCE(sync._format_utc(near), 'none')));
    END IF;
END
$$;
COMMENT ON FUNCTION sync.explain_schedule(bigint, timestamptz, timestamptz) IS
    'Why a schedule did or did not run at an instant; without one: when it runs next, what it did last, and what holds its connection';
