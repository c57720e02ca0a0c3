-- Incidents, and the events that tell of them and of runs. All of it is written by the transaction that ends the run, which holds the
-- lock of its connection. What is told is decided here; messages are made later, by sync.run_notifications.

-- Inlined where it stands in FROM. Settings of the tenant and of the connection are two ranges of one index.
CREATE FUNCTION sync._listeners(tenant text, connection bigint, schedule bigint, wanted text[]) RETURNS TABLE (ids bigint[])
LANGUAGE sql STABLE
AS $$
    SELECT pg_catalog.array_agg(n.id ORDER BY n.id)
    FROM (SELECT a.* FROM sync.sync_notifications a
          WHERE a.tenant_id OPERATOR(pg_catalog.=) tenant AND a.connection_id IS NULL
          UNION ALL
          SELECT b.* FROM sync.sync_notifications b
          WHERE b.tenant_id OPERATOR(pg_catalog.=) tenant AND b.connection_id OPERATOR(pg_catalog.=) connection) n
    WHERE n.is_active AND n.verified_at IS NOT NULL AND n.disabled_at IS NULL AND n.events OPERATOR(pg_catalog.?|) wanted
      AND (n.schedule_id IS NULL OR n.schedule_id OPERATOR(pg_catalog.=) schedule)
$$;
COMMENT ON FUNCTION sync._listeners(text, bigint, bigint, text[]) IS
    'Internal: the settings that want one of these events of a tenant, a connection and a schedule; null: none';

CREATE FUNCTION sync._reminder_gap(reminders int) RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT make_interval(secs => LEAST(sync._setting('incident_reminder_seconds') * 3 ^ LEAST(reminders, 20), 604800)) $$;
COMMENT ON FUNCTION sync._reminder_gap(int) IS 'Internal: until the next reminder of an incident, after so many: three times as long each, a week at most';

CREATE FUNCTION sync._incident_type(class text, severity text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN severity = 'failure' THEN 'sync.failed'
                WHEN class IN ('rate_limited', 'no_records', 'late', 'missed') THEN 'sync.' || class
                WHEN class = 'auto_paused' THEN 'connection.auto_paused'
                ELSE 'sync.retrying' END
$$;
COMMENT ON FUNCTION sync._incident_type(text, text) IS 'Internal: the type of the event that tells of such an incident';

CREATE FUNCTION sync._tell_incidents(ids bigint[], state text, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    WITH telling AS MATERIALIZED (
        SELECT i.*, l.ids AS targets
        FROM sync.incidents i
        CROSS JOIN LATERAL sync._listeners(i.tenant_id, i.connection_id, i.schedule_id,
            CASE WHEN i.class = 'auto_paused' THEN '{warning,failure}'::text[] ELSE ARRAY[i.severity] END) l
        WHERE i.id = ANY ($1)
    ), written AS (
        INSERT INTO sync.outbox (tenant_id, event, type, reason, connection_id, schedule_id, job_id, incident_id, occurred_at, data, targets)
        SELECT t.tenant_id, t.severity, sync._incident_type(t.class, t.severity),
               CASE WHEN $2 = 'reminder' THEN 'reminder' WHEN t.severity = 'failure' THEN NULL
                    WHEN t.class IN ('rate_limited', 'no_records', 'late', 'missed', 'auto_paused') THEN t.class ELSE 'retrying' END,
               t.connection_id, t.schedule_id, t.job_id, t.id, $3,
               jsonb_build_object('error', t.error, 'incident', sync._incident_brief(t.id, t.class, $2, t.opened_at, t.occurrences, t.failed_runs, NULL)),
               t.targets
        FROM telling t WHERE t.targets IS NOT NULL
        ORDER BY t.id
    )
    UPDATE sync.incidents i
    SET told = i.severity, told_at = $3,
        told_to = CASE WHEN t.targets <@ i.told_to OR t.targets IS NULL THEN i.told_to
                       ELSE ARRAY(SELECT DISTINCT x FROM unnest(i.told_to || t.targets) x ORDER BY x) END,
        reminders = i.reminders + ($2 = 'reminder')::int, remind_at = $3 + sync._reminder_gap(i.reminders + ($2 = 'reminder')::int)
    FROM telling t WHERE i.id = t.id;
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._tell_incidents(bigint[], text, timestamptz) IS
    'Internal: writes events that incidents were opened, or last (reminder), for whoever wants to know';

CREATE FUNCTION sync._incident_brief(id bigint, class text, state text, opened_at timestamptz, occurrences bigint, failed_runs int, resolved_at timestamptz)
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('id', id, 'class', class, 'state', state, 'opened_at', sync._format_utc(opened_at), 'occurrences', occurrences,
                                                'failed_runs', failed_runs, 'resolved_at', sync._format_utc(resolved_at)))
$$;
COMMENT ON FUNCTION sync._incident_brief(bigint, text, text, timestamptz, bigint, int, timestamptz) IS 'Internal: an incident as messages tell of it';

-- One row of the arrays for each connection.
CREATE FUNCTION sync._note_incidents(connection_ids bigint[], classes text[], severities text[], job_types text[], schedule_ids bigint[], job_ids bigint[],
    failed_runs int[], errors jsonb[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    slow interval := make_interval(secs => sync._setting('rate_limit_warning_seconds'));
    telling bigint[];
BEGIN
    WITH noted AS (
        INSERT INTO sync.incidents AS i (tenant_id, provider_slug, connection_id, class, severity, job_type, schedule_id, job_id, opened_at, last_seen_at,
            failed_runs, error)
        SELECT c.tenant_id, c.provider_slug, c.id, u.class,
               CASE WHEN u.class = 'rate_limited' AND u.severity IS NULL AND sync.parse_utc(u.error ->> 'retry_at') - $9 >= slow THEN 'warning' ELSE u.severity END,
               u.job_type, u.schedule_id, u.job_id, $9, $9, COALESCE(u.failed, 0), COALESCE(u.error, '{}')
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) u (connection_id, class, severity, job_type, schedule_id, job_id, failed, error)
        JOIN sync.connections c ON c.id = u.connection_id
        ORDER BY c.id
        ON CONFLICT (connection_id, class) WHERE resolved_at IS NULL DO UPDATE
        SET severity = CASE WHEN 'failure' IN (i.severity, EXCLUDED.severity) THEN 'failure'
                            WHEN i.class = 'rate_limited' AND sync.parse_utc(EXCLUDED.error ->> 'retry_at') - i.opened_at >= slow THEN 'warning'
                            ELSE COALESCE(i.severity, EXCLUDED.severity) END,
            job_type = EXCLUDED.job_type, schedule_id = EXCLUDED.schedule_id, job_id = EXCLUDED.job_id,
            last_seen_at = GREATEST(i.last_seen_at, EXCLUDED.last_seen_at), occurrences = i.occurrences + 1,
            failed_runs = i.failed_runs + EXCLUDED.failed_runs, error = EXCLUDED.error
        RETURNING i.id, i.severity, i.told
    )
    SELECT array_agg(n.id ORDER BY n.id) INTO telling
    FROM noted n WHERE n.severity = 'failure' AND n.told IS DISTINCT FROM 'failure' OR n.severity = 'warning' AND n.told IS NULL;
    IF telling IS NOT NULL THEN
        PERFORM sync._tell_incidents(telling, 'opened', as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._note_incidents(bigint[], text[], text[], text[], bigint[], bigint[], int[], jsonb[], timestamptz) IS
    'Internal: opens incidents of connections that the caller has locked, or counts on those that are open, and tells of what has become worse';

-- Of a first sign that nobody was told of nothing is kept.
CREATE FUNCTION sync._resolve_incidents(ids bigint[], job_ids bigint[], resolution text, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM sync.incidents i WHERE i.id = ANY ($1) AND i.told IS NULL;
    WITH resolved AS (
        UPDATE sync.incidents i SET resolved_at = $4, resolution = $3, remind_at = NULL
        FROM unnest($1, $2) u (id, job_id)
        WHERE i.id = u.id AND i.resolved_at IS NULL
        RETURNING i.*, u.job_id AS ended_by
    )
    INSERT INTO sync.outbox (tenant_id, event, type, connection_id, schedule_id, job_id, incident_id, occurred_at, data, targets)
    SELECT r.tenant_id, 'recovered', 'sync.recovered', r.connection_id, r.schedule_id, r.ended_by, r.id, $4,
           jsonb_build_object('error', r.error,
               'incident', sync._incident_brief(r.id, r.class, 'resolved', r.opened_at, r.occurrences, r.failed_runs, r.resolved_at)),
           t.ids
    FROM resolved r
    -- Only who was told of the beginning is told of the end.
    CROSS JOIN LATERAL (SELECT array_agg(n.id ORDER BY n.id) AS ids FROM sync.sync_notifications n
                        WHERE n.id = ANY (r.told_to) AND n.tenant_id = r.tenant_id AND n.events ? 'recovered'
                          AND n.is_active AND n.verified_at IS NOT NULL AND n.disabled_at IS NULL) t
    WHERE $3 = 'recovered' AND t.ids IS NOT NULL
    ORDER BY r.id;
END
$$;
COMMENT ON FUNCTION sync._resolve_incidents(bigint[], bigint[], text, timestamptz) IS
    'Internal: ends incidents, where they recovered with an event; job_ids: the runs that showed it';

CREATE FUNCTION sync._runs_succeeded(job_ids bigint[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    over record;
    silent record;
BEGIN
    -- A source that had gone silent has recovered when it brings something.
    SELECT array_agg(i.id ORDER BY i.id) AS ids, array_agg(j.id ORDER BY i.id) AS job_ids INTO over
    FROM unnest($1) u (id)
    JOIN sync._finished_jobs j ON j.id = u.id
    JOIN sync.incidents i ON i.connection_id = j.connection_id AND i.resolved_at IS NULL AND i.job_type = j.job_type
    WHERE i.class <> 'auto_paused' AND (i.class <> 'no_records' OR sync._records_of(j.id, j.tenant_id, j.connection_id, $2) > 0);
    IF over.ids IS NOT NULL THEN
        PERFORM sync._resolve_incidents(over.ids, over.job_ids, 'recovered', as_of);
    END IF;

    INSERT INTO sync.outbox (tenant_id, event, type, connection_id, schedule_id, job_id, occurred_at, targets)
    SELECT j.tenant_id, 'success', 'sync.succeeded', j.connection_id, j.schedule_id, j.id, $2, l.ids
    FROM unnest($1) u (id)
    JOIN sync._finished_jobs j ON j.id = u.id
    CROSS JOIN LATERAL sync._listeners(j.tenant_id, j.connection_id, j.schedule_id, '{success}') l
    WHERE l.ids IS NOT NULL
    ORDER BY j.id;

    WITH watched AS MATERIALIZED (
        SELECT j.id, j.connection_id, j.job_type, j.schedule_id, sync._records_of(j.id, j.tenant_id, j.connection_id, $2) > 0 AS some
        FROM unnest($1) u (id)
        JOIN sync._finished_jobs j ON j.id = u.id
        CROSS JOIN LATERAL sync._listeners(j.tenant_id, j.connection_id, j.schedule_id, '{warning}') l
        WHERE l.ids IS NOT NULL
    ), counted AS (
        INSERT INTO sync.record_history AS h (connection_id, job_type, with_records, empty_streak)
        SELECT w.connection_id, w.job_type, w.some::int, (NOT w.some)::int FROM watched w ORDER BY w.connection_id
        ON CONFLICT (connection_id, job_type) DO UPDATE
        SET with_records = (h.with_records + EXCLUDED.with_records)
                           / CASE WHEN EXCLUDED.empty_streak = 0 AND h.with_records + h.without_records + h.empty_streak >= 200 THEN 2 ELSE 1 END,
            without_records = CASE WHEN EXCLUDED.empty_streak = 0
                                   THEN (h.without_records + h.empty_streak)
                                        / CASE WHEN h.with_records + h.without_records + h.empty_streak >= 200 THEN 2 ELSE 1 END
                                   ELSE h.without_records END,
            empty_streak = CASE WHEN EXCLUDED.empty_streak = 0 THEN 0 ELSE h.empty_streak + 1 END
        RETURNING h.*
    )
    SELECT array_agg(w.connection_id ORDER BY w.connection_id) AS connection_ids, array_agg(w.job_type ORDER BY w.connection_id) AS job_types,
           array_agg(w.schedule_id ORDER BY w.connection_id) AS schedule_ids, array_agg(w.id ORDER BY w.connection_id) AS job_ids,
           array_agg(jsonb_build_object('message', format('%s runs in a row brought no record; before that, %s of %s did', c.empty_streak, c.with_records,
                                                          c.with_records + c.without_records)) ORDER BY w.connection_id) AS errors,
           count(*)::int AS n
    INTO silent
    FROM counted c JOIN watched w ON w.connection_id = c.connection_id AND w.job_type = c.job_type
    WHERE sync._empty_runs_are_odd(c.with_records, c.without_records, c.empty_streak);
    IF silent.n > 0 THEN
        PERFORM sync._note_incidents(silent.connection_ids, array_fill('no_records'::text, ARRAY[silent.n]), array_fill('warning'::text, ARRAY[silent.n]),
                                     silent.job_types, silent.schedule_ids, silent.job_ids, array_fill(0, ARRAY[silent.n]), silent.errors, as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._runs_succeeded(bigint[], timestamptz) IS
    'Internal: what follows from runs that have succeeded with these jobs: incidents that are over, events, sources that have gone silent';

-- A page that another one followed brought something, or its run would have been stopped as endless.
CREATE FUNCTION sync._records_of(job_id bigint, tenant_id text, connection_id bigint, as_of timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (SELECT COALESCE(sync._count_in(e.stats, 'records'), e.signals_received) + (e.page > 1)::int
            FROM sync.sync_executions e
            WHERE e.tenant_id = tenant_id AND e.connection_id = connection_id AND e.finished_at = as_of AND e.job_id = job_id
            ORDER BY e.id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION sync._records_of(bigint, text, bigint, timestamptz) IS 'Internal: whether a run that has just ended brought records, as a number above 0';

CREATE FUNCTION sync._attempts_failed(job_ids bigint[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    bad record;
    began bigint[];
BEGIN
    SELECT array_agg(f.connection_id ORDER BY f.connection_id) AS connection_ids, array_agg(f.error_kind ORDER BY f.connection_id) AS classes,
           array_agg(CASE WHEN f.final THEN 'failure'
                          WHEN f.error_kind <> 'rate_limited' AND f.attempts - f.rate_limited_attempts >= sync._setting('notify_after_failures') THEN 'warning'
                     END ORDER BY f.connection_id) AS severities,
           array_agg(f.job_type ORDER BY f.connection_id) AS job_types, array_agg(f.schedule_id ORDER BY f.connection_id) AS schedule_ids,
           array_agg(f.id ORDER BY f.connection_id) AS job_ids, array_agg(f.final::int ORDER BY f.connection_id) AS failed_runs,
           array_agg(sync._error_brief(f.error, f.error_kind, f.attempts, f.retry_after) ORDER BY f.connection_id) AS errors,
           array_agg(f.connection_id) FILTER (WHERE f.final) AS final_ids
    INTO bad
    FROM (SELECT j.id, j.connection_id, j.job_type, j.schedule_id, j.attempts, j.rate_limited_attempts, j.error, j.error_kind, j.retry_after, false AS final
          FROM unnest($1) u (id) JOIN ONLY sync.sync_jobs j ON j.id = u.id WHERE j.status = 'queued'
          UNION ALL
          SELECT j.id, j.connection_id, j.job_type, j.schedule_id, j.attempts, j.rate_limited_attempts, j.error, j.error_kind, NULL, true
          FROM unnest($1) u (id) JOIN sync._finished_jobs j ON j.id = u.id WHERE j.status = 'failed') f;
    IF bad.connection_ids IS NULL THEN
        RETURN;
    END IF;
    -- It was late and has begun: how it ended is told apart.
    SELECT array_agg(i.id) INTO began FROM sync.incidents i WHERE i.connection_id = ANY (bad.connection_ids) AND i.class = 'late' AND i.resolved_at IS NULL;
    IF began IS NOT NULL THEN
        PERFORM sync._resolve_incidents(began, NULL, 'began', as_of);
    END IF;
    PERFORM sync._note_incidents(bad.connection_ids, bad.classes, bad.severities, bad.job_types, bad.schedule_ids, bad.job_ids, bad.failed_runs, bad.errors, as_of);
    IF bad.final_ids IS NOT NULL AND sync._setting('auto_pause_failures') > 0 THEN
        PERFORM sync._pause_failing(bad.final_ids, as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._attempts_failed(bigint[], timestamptz) IS
    'Internal: what follows from attempts that have failed with these jobs: incidents, events, connections that are paused';

CREATE FUNCTION sync._error_brief(error jsonb, kind text, attempts int, retry_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'class', kind, 'message', "left"(error ->> 'message', 2000), 'code', "left"(error ->> 'code', 100),
        'status', CASE WHEN jsonb_typeof(error -> 'status') = 'number' THEN error -> 'status' END, 'attempts', attempts, 'retry_at', sync._format_utc(retry_at)))
$$;
COMMENT ON FUNCTION sync._error_brief(jsonb, text, int, timestamptz) IS 'Internal: an error as messages tell of it';

-- As if somebody had paused them: the triggers cancel what is queued.
CREATE FUNCTION sync._pause_failing(connection_ids bigint[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = off
AS $$
#variable_conflict use_column
DECLARE
    paused record;
BEGIN
    WITH failing AS (
        SELECT i.connection_id, sum(i.failed_runs) AS failed_runs, max(i.job_type) AS job_type, max(i.schedule_id) AS schedule_id, max(i.job_id) AS job_id
        FROM sync.incidents i
        WHERE i.connection_id = ANY ($1) AND i.resolved_at IS NULL
        GROUP BY i.connection_id
        HAVING sum(i.failed_runs) >= sync._setting('auto_pause_failures')
    ), stopped AS (
        UPDATE sync.connections c
        SET status = 'paused', status_reason = format('paused by the engine: %s runs in a row failed', f.failed_runs), updated_at = $2
        FROM failing f WHERE c.id = f.connection_id AND c.status = 'active'
        RETURNING c.id, c.status_reason, f.job_type, f.schedule_id, f.job_id
    )
    SELECT array_agg(s.id ORDER BY s.id) AS ids, array_agg(s.job_type ORDER BY s.id) AS job_types, array_agg(s.schedule_id ORDER BY s.id) AS schedule_ids,
           array_agg(s.job_id ORDER BY s.id) AS job_ids, array_agg(jsonb_build_object('message', s.status_reason) ORDER BY s.id) AS errors, count(*)::int AS n
    INTO paused FROM stopped s;
    IF paused.n > 0 THEN
        PERFORM sync._note_incidents(paused.ids, array_fill('auto_paused'::text, ARRAY[paused.n]), array_fill('warning'::text, ARRAY[paused.n]),
                                     paused.job_types, paused.schedule_ids, paused.job_ids, array_fill(0, ARRAY[paused.n]), paused.errors, as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._pause_failing(bigint[], timestamptz) IS 'Internal: pauses connections whose runs have failed so often in a row as sync_engine.auto_pause_failures says';

-- Counting begins anew, or the first failure would pause it again.
CREATE FUNCTION sync._connection_resumed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    over bigint[];
BEGIN
    UPDATE sync.incidents i SET failed_runs = 0 WHERE i.connection_id = NEW.id AND i.resolved_at IS NULL AND i.failed_runs > 0;
    SELECT array_agg(i.id) INTO over FROM sync.incidents i WHERE i.connection_id = NEW.id AND i.resolved_at IS NULL AND i.class = 'auto_paused';
    IF over IS NOT NULL THEN
        PERFORM sync._resolve_incidents(over, NULL, 'resumed', now());
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connection_resumed() IS 'Internal: a connection that is taken up again is no longer paused by the engine';
CREATE TRIGGER connection_resumed AFTER UPDATE OF status ON sync.connections
    FOR EACH ROW WHEN (OLD.status <> 'active' AND NEW.status = 'active') EXECUTE FUNCTION sync._connection_resumed();

-- From the ledger: [{"connection_id", "schedule_id", "name", "job_type", "count", "first", "last", "reason"}, ...]
CREATE FUNCTION sync._runs_missed(missed jsonb, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    m record;
BEGIN
    SELECT array_agg(x.connection_id ORDER BY x.connection_id) AS ids, array_agg(x.job_type ORDER BY x.connection_id) AS job_types,
           array_agg(x.schedule_id ORDER BY x.connection_id) AS schedule_ids, count(*)::int AS n,
           array_agg(jsonb_build_object('message', format('%s of schedule %s missed, from %s to %s: %s', sync._tally(x.n, x.n, 'planned run'), x.name,
                                                          x.first, x.last, x.reason)) ORDER BY x.connection_id) AS errors
    INTO m
    FROM (SELECT u.connection_id, min(u.schedule_id) AS schedule_id, min(u.name) AS name, min(u.job_type) AS job_type, sum(u.count)::bigint AS n,
                 min(u.first) AS first, max(u.last) AS last, min(u.reason) AS reason
          FROM jsonb_to_recordset(missed) u (connection_id bigint, schedule_id bigint, name text, job_type text, count bigint, first text, last text, reason text)
          GROUP BY u.connection_id) x;
    PERFORM sync._note_incidents(m.ids, array_fill('missed'::text, ARRAY[m.n]), array_fill('warning'::text, ARRAY[m.n]), m.job_types, m.schedule_ids,
                                 array_fill(NULL::bigint, ARRAY[m.n]), array_fill(0, ARRAY[m.n]), m.errors, as_of);
END
$$;
COMMENT ON FUNCTION sync._runs_missed(jsonb, timestamptz) IS 'Internal: what follows from planned runs that were missed';
