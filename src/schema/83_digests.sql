-- Digests: a day or a week of a tenant, a connection or a schedule, from the history and the ledger that operators read.

CREATE FUNCTION sync._digest_scope(n sync.sync_notifications) RETURNS SETOF sync.connections
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT c.* FROM sync.connections c WHERE c.tenant_id = n.tenant_id AND (n.connection_id IS NULL OR c.id = n.connection_id) $$;
COMMENT ON FUNCTION sync._digest_scope(sync.sync_notifications) IS 'Internal: the connections that a setting is about';

-- Runs by connection, of the period and the one before. A run ends once; its pages and retries do not count as runs.
CREATE FUNCTION sync._digest_runs(n sync.sync_notifications, since timestamptz, until timestamptz, before_since timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    told jsonb;
BEGIN
    WITH ended AS MATERIALIZED (
        SELECT e.connection_id, e.finished_at >= $2 AS in_period,
               count(*) FILTER (WHERE e.job_status <> 'queued' AND NOT (e.job_status = 'succeeded' AND e.has_more)) AS ran,
               count(*) FILTER (WHERE e.job_status = 'succeeded' AND NOT e.has_more) AS succeeded,
               count(*) FILTER (WHERE e.job_status = 'failed') AS failed,
               count(*) FILTER (WHERE e.job_status = 'cancelled') AS cancelled,
               sum(COALESCE(sync._count_in(e.stats, 'records'), e.signals_received)) AS processed,
               sum(COALESCE(sync._count_in(e.stats, 'created'), e.signals_inserted)) AS created,
               count(*) FILTER (WHERE e.kind = 'rate_limited') AS limited,
               sum(extract(epoch FROM e.retry_after - e.finished_at)) FILTER (WHERE e.kind = 'rate_limited') AS limited_seconds,
               max(e.finished_at) FILTER (WHERE e.status = 'succeeded') AS last_success_at,
               (array_agg("left"(e.error ->> 'message', 300) ORDER BY e.id DESC) FILTER (WHERE e.job_status = 'failed'))[1] AS last_error
        FROM sync.sync_executions e
        WHERE e.tenant_id = n.tenant_id AND e.finished_at >= $4 AND e.finished_at < $3
          AND (n.connection_id IS NULL OR e.connection_id = n.connection_id) AND (n.schedule_id IS NULL OR e.schedule_id = n.schedule_id)
        GROUP BY 1, 2
    ), whole AS (
        SELECT t.in_period, sum(t.ran) AS ran, sum(t.succeeded) AS succeeded, sum(t.failed) AS failed, sum(t.cancelled) AS cancelled,
               sum(t.processed) AS processed, sum(t.created) AS created, sum(t.limited) AS limited, sum(t.limited_seconds) AS limited_seconds
        FROM ended t GROUP BY 1
    ), named AS (
        SELECT t.*, sync._connection_brief(c) AS connection FROM ended t JOIN sync.connections c ON c.id = t.connection_id WHERE t.in_period
    )
    SELECT jsonb_build_object(
        'runs', jsonb_build_object('ran', COALESCE(w.ran, 0), 'succeeded', COALESCE(w.succeeded, 0), 'failed', COALESCE(w.failed, 0),
                                   'cancelled', COALESCE(w.cancelled, 0), 'success_rate', round(w.succeeded / NULLIF(w.succeeded + w.failed, 0), 4),
            'previous', jsonb_build_object('ran', COALESCE(b.ran, 0), 'succeeded', COALESCE(b.succeeded, 0), 'failed', COALESCE(b.failed, 0),
                                           'success_rate', round(b.succeeded / NULLIF(b.succeeded + b.failed, 0), 4))),
        'records', jsonb_build_object('processed', COALESCE(w.processed, 0), 'created', COALESCE(w.created, 0), 'previous_created', COALESCE(b.created, 0)),
        'worst', (SELECT COALESCE(jsonb_agg(jsonb_build_object('connection', x.connection, 'failed', x.failed, 'runs', x.ran, 'last_error', x.last_error)
                                            ORDER BY x.failed DESC, x.connection_id), '[]')
                  FROM (SELECT d.* FROM named d WHERE d.failed > 0 ORDER BY d.failed DESC, d.connection_id LIMIT 5) x),
        'rate_limits', jsonb_build_object('attempts', COALESCE(w.limited, 0), 'seconds_lost', COALESCE(round(w.limited_seconds), 0),
            'items', (SELECT COALESCE(jsonb_agg(jsonb_build_object('connection', x.connection, 'seconds', round(x.limited_seconds)) ORDER BY x.limited_seconds DESC), '[]')
                      FROM (SELECT d.* FROM named d WHERE d.limited_seconds > 0 ORDER BY d.limited_seconds DESC LIMIT 5) x)),
        'last_success', (SELECT COALESCE(jsonb_object_agg(x.connection_id, x.at), '{}')
                         FROM (SELECT t.connection_id, max(t.last_success_at) AS at FROM ended t GROUP BY 1) x WHERE x.at IS NOT NULL))
    INTO told
    FROM (SELECT) one LEFT JOIN whole w ON w.in_period LEFT JOIN whole b ON NOT b.in_period;
    RETURN told;
END
$$;
COMMENT ON FUNCTION sync._digest_runs(sync.sync_notifications, timestamptz, timestamptz, timestamptz) IS
    'Internal: what ran in a period, beside the one before it';

-- What of a row of the ledger lies in a period: a row can tell of many instants.
CREATE FUNCTION sync._planned_within(f sync.schedule_fires, since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN f.first_planned_at >= since AND f.last_planned_at < until OR f.planned_by IS NULL THEN f.planned_count
                ELSE sync._cron_count(f.planned_by ->> 'cron_expression', f.planned_by ->> 'timezone',
                         GREATEST(f.first_planned_at, since) - interval '1 microsecond', LEAST(f.last_planned_at, until - interval '1 microsecond'),
                         f.planned_by ->> 'dst_gap', f.planned_by ->> 'dst_fold') END
$$;
COMMENT ON FUNCTION sync._planned_within(sync.schedule_fires, timestamptz, timestamptz) IS 'Internal: planned instants of a ledger row within a period';

CREATE FUNCTION sync._planned_from(planned_by jsonb, first_planned_at timestamptz, since timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN first_planned_at >= since OR planned_by IS NULL THEN first_planned_at
                ELSE sync.cron_next(planned_by ->> 'cron_expression', planned_by ->> 'timezone', since - interval '1 microsecond',
                                    planned_by ->> 'dst_gap', planned_by ->> 'dst_fold') END
$$;
COMMENT ON FUNCTION sync._planned_from(jsonb, timestamptz, timestamptz) IS 'Internal: the first instant of a ledger row within a period';

CREATE FUNCTION sync._planned_before(planned_by jsonb, last_planned_at timestamptz, until timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN last_planned_at < until OR planned_by IS NULL THEN last_planned_at
                ELSE sync.cron_previous(planned_by ->> 'cron_expression', planned_by ->> 'timezone', until,
                                        planned_by ->> 'dst_gap', planned_by ->> 'dst_fold') END
$$;
COMMENT ON FUNCTION sync._planned_before(jsonb, timestamptz, timestamptz) IS 'Internal: the last instant of a ledger row before the end of a period';

-- Read in the same snapshot as the ledger: what is not in it now is told by the next digest, whoever records it when.
CREATE FUNCTION sync._digest_lags(n sync.sync_notifications, until timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN (SELECT jsonb_object_agg(s.id, t.covered_until)
            FROM sync.sync_schedules s JOIN sync.schedule_state t ON t.schedule_id = s.id
            WHERE s.tenant_id = n.tenant_id AND s.cron_expression IS NOT NULL AND t.covered_until < until
              AND (n.connection_id IS NULL OR s.connection_id = n.connection_id) AND (n.schedule_id IS NULL OR s.id = n.schedule_id)
              AND sync.cron_next(s.cron_expression, s.timezone, t.covered_until, s.dst_gap, s.dst_fold) < until);
END
$$;
COMMENT ON FUNCTION sync._digest_lags(sync.sync_notifications, timestamptz) IS
    'Internal: schedules of which the ledger does not hold every instant before that time, and until when it does';

CREATE FUNCTION sync._digest_plan(n sync.sync_notifications, since timestamptz, until timestamptz, lags jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    told jsonb;
    earliest timestamptz := LEAST(since, (SELECT min(l.value::timestamptz) FROM jsonb_each_text(lags) l));
BEGIN
    -- What was not in the ledger yet when the last digest was written belongs to this one.
    WITH planned AS MATERIALIZED (
        SELECT f.*, x.since, sync._planned_within(f, x.since, $3) AS n
        FROM sync.schedule_fires f
        CROSS JOIN LATERAL (SELECT COALESCE(($4 ->> f.schedule_id::text)::timestamptz + interval '1 microsecond', $2) AS since) x
        WHERE f.tenant_id = n.tenant_id AND f.outcome <> 'triggered' AND f.recorded_at >= earliest - interval '2 days'
          AND f.first_planned_at < $3 AND f.last_planned_at >= x.since
          AND (n.connection_id IS NULL OR f.connection_id = n.connection_id) AND (n.schedule_id IS NULL OR f.schedule_id = n.schedule_id)
    ), sums AS (
        SELECT COALESCE(sum(p.n), 0) AS planned, COALESCE(sum(p.n) FILTER (WHERE p.outcome = 'missed'), 0) AS missed,
               COALESCE(sum(p.n) FILTER (WHERE p.outcome = 'coalesced'), 0) AS coalesced,
               COALESCE(sum(p.n) FILTER (WHERE p.outcome LIKE 'skipped%' OR p.outcome = 'dst_gap'), 0) AS skipped,
               COALESCE(sum(p.n) FILTER (WHERE p.outcome NOT IN ('fired', 'coalesced')), 0) AS not_run
        FROM planned p
    ), worst AS (
        SELECT p.* FROM planned p WHERE p.outcome NOT IN ('fired', 'coalesced') AND p.n > 0
        ORDER BY p.outcome = 'missed' DESC, p.first_planned_at LIMIT 50
    )
    SELECT jsonb_build_object('planned', s.planned, 'missed', s.missed, 'coalesced', s.coalesced, 'skipped', s.skipped,
        'not_run', jsonb_build_object('total', s.not_run,
            'items', (SELECT COALESCE(jsonb_agg(jsonb_build_object('connection', sync._connection_brief(c),
                                                    'schedule', jsonb_build_object('id', p.schedule_id, 'name', COALESCE(sync._one_line(y.name, 80), 'deleted')),
                                                    'outcome', p.outcome, 'reason', sync._one_line(p.reason, 200), 'count', p.n,
                                                    'first_planned_at', sync._format_utc(sync._planned_from(p.planned_by, p.first_planned_at, p.since)),
                                                    'last_planned_at', sync._format_utc(sync._planned_before(p.planned_by, p.last_planned_at, $3)))
                                                ORDER BY p.outcome = 'missed' DESC, p.first_planned_at), '[]')
                      FROM worst p LEFT JOIN sync.connections c ON c.id = p.connection_id LEFT JOIN sync.sync_schedules y ON y.id = p.schedule_id)))
    INTO told
    FROM sums s;
    RETURN told;
END
$$;
COMMENT ON FUNCTION sync._digest_plan(sync.sync_notifications, timestamptz, timestamptz, jsonb) IS
    'Internal: what was planned in a period, and each instant that did not run, with its reason';

CREATE FUNCTION sync._digest_incidents(n sync.sync_notifications, since timestamptz, until timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN (
        WITH known AS MATERIALIZED (
            SELECT i.*, i.resolved_at IS NULL OR i.resolved_at >= until AS is_open FROM sync.incidents i
            WHERE i.tenant_id = n.tenant_id AND i.told IS NOT NULL AND i.opened_at < until AND (i.resolved_at IS NULL OR i.resolved_at >= since)
              AND (n.connection_id IS NULL OR i.connection_id = n.connection_id) AND (n.schedule_id IS NULL OR i.schedule_id = n.schedule_id)
        )
        SELECT jsonb_build_object('opened', count(*) FILTER (WHERE k.opened_at >= since), 'resolved', count(*) FILTER (WHERE NOT k.is_open),
            'open', count(*) FILTER (WHERE k.is_open),
            'items', (SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', x.id, 'connection', sync._connection_brief(c), 'class', x.class,
                                                    'state', CASE WHEN x.is_open THEN 'open' ELSE 'resolved' END, 'opened_at', sync._format_utc(x.opened_at),
                                                    'resolved_at', CASE WHEN NOT x.is_open THEN sync._format_utc(x.resolved_at) END,
                                                    'message', sync._one_line(x.error ->> 'message', 200)))
                                                ORDER BY x.is_open DESC, x.opened_at), '[]')
                      FROM (SELECT o.* FROM known o ORDER BY o.is_open DESC, o.opened_at LIMIT 20) x JOIN sync.connections c ON c.id = x.connection_id))
        FROM known k);
END
$$;
COMMENT ON FUNCTION sync._digest_incidents(sync.sync_notifications, timestamptz, timestamptz) IS 'Internal: incidents of a period, open and resolved';

-- How often a connection is meant to bring something: its interval, or the gap between two instants of the schedule that runs most often.
CREATE FUNCTION sync._expected_seconds(c sync.connections, as_of timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN NOT c.has_schedules THEN sync._base_seconds(c.metadata)
                ELSE (SELECT min(extract(epoch FROM sync.cron_next(s.cron_expression, s.timezone, as_of, s.dst_gap, s.dst_fold)
                                                    - sync.cron_previous(s.cron_expression, s.timezone, as_of, s.dst_gap, s.dst_fold)))::bigint
                      FROM sync.sync_schedules s WHERE s.connection_id = c.id AND s.tenant_id = c.tenant_id AND s.is_active AND s.cron_expression IS NOT NULL) END
$$;
COMMENT ON FUNCTION sync._expected_seconds(sync.connections, timestamptz) IS 'Internal: seconds between two runs of a connection; null where nothing is planned';

CREATE FUNCTION sync._digest_stale(n sync.sync_notifications, last_success jsonb, until timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN (
        WITH stale AS MATERIALIZED (
            SELECT x.* FROM (SELECT c AS connection, c.id, (last_success ->> c.id::text)::timestamptz AS last_success_at, c.created_at,
                                    sync._expected_seconds(c, until) AS expected
                             FROM sync._digest_scope(n) c WHERE c.status IN ('active', 'error') OFFSET 0) x
            WHERE GREATEST(x.last_success_at, x.created_at) < until - make_interval(secs => 2 * x.expected)
        )
        SELECT jsonb_build_object('total', (SELECT count(*) FROM stale),
            'items', (SELECT COALESCE(jsonb_agg(jsonb_build_object('connection', sync._connection_brief(s.connection), 'expected_seconds', s.expected,
                                                                   'last_success_at', sync._format_utc(s.at)) ORDER BY s.at NULLS FIRST, s.id), '[]')
                      FROM (SELECT t.*, COALESCE(t.last_success_at,
                                                 (SELECT max(e.finished_at) FROM sync.sync_executions e
                                                  WHERE e.tenant_id = n.tenant_id AND e.connection_id = t.id AND e.status = 'succeeded')) AS at
                            FROM (SELECT * FROM stale ORDER BY last_success_at NULLS FIRST, id LIMIT 20) t) s)));
END
$$;
COMMENT ON FUNCTION sync._digest_stale(sync.sync_notifications, jsonb, timestamptz) IS
    'Internal: connections that have brought nothing for two of their intervals; last_success: by connection, as far as it was in the period';

CREATE FUNCTION sync._digest_next(n sync.sync_notifications, since timestamptz, until timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN (
        WITH coming AS MATERIALIZED (
            SELECT c AS connection, s.id AS schedule_id, s.name AS schedule_name, sync._next_run_at(s, t) AS runs_at,
                   sync._cron_count(s.cron_expression, s.timezone, since, until, s.dst_gap, s.dst_fold) AS runs
            FROM sync._digest_scope(n) c
            JOIN sync.sync_schedules s ON s.tenant_id = c.tenant_id AND s.connection_id = c.id AND s.is_active AND s.cron_expression IS NOT NULL
                                          AND (n.schedule_id IS NULL OR s.id = n.schedule_id)
            JOIN sync.schedule_state t ON t.schedule_id = s.id
            WHERE c.has_schedules AND c.status = 'active' AND EXISTS (SELECT 1 FROM sync.providers p WHERE p.slug = c.provider_slug AND p.status = 'active')
            UNION ALL
            SELECT c, NULL, NULL, sync.parse_utc(c.metadata #>> '{sync,next_run_at}'),
                   (extract(epoch FROM until - since) / sync._base_seconds(c.metadata))::bigint
            FROM sync._digest_scope(n) c
            WHERE NOT c.has_schedules AND c.status = 'active' AND n.schedule_id IS NULL AND EXISTS (SELECT 1 FROM sync.providers p WHERE p.slug = c.provider_slug AND p.status = 'active')
        )
        SELECT jsonb_build_object('runs', (SELECT COALESCE(sum(c.runs), 0) FROM coming c), 'until', sync._format_utc(until),
            'items', (SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('connection', sync._connection_brief(x.connection),
                                                    'schedule', CASE WHEN x.schedule_id IS NOT NULL
                                                                     THEN jsonb_build_object('id', x.schedule_id, 'name', sync._one_line(x.schedule_name, 80)) END,
                                                    'runs_at', sync._format_utc(x.runs_at))) ORDER BY x.runs_at), '[]')
                      FROM (SELECT c.* FROM coming c WHERE c.runs_at >= since ORDER BY c.runs_at LIMIT 5) x)));
END
$$;
COMMENT ON FUNCTION sync._digest_next(sync.sync_notifications, timestamptz, timestamptz) IS 'Internal: what comes next';

CREATE FUNCTION sync._digest_data(n sync.sync_notifications, since timestamptz, until timestamptz, lags jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone text := n.config #>> '{digest,timezone}';
    every text := n.config #>> '{digest,every}';
    expression text := sync._digest_expression(n.config -> 'digest');
    ran jsonb;
    plan jsonb;
    incidents jsonb;
    stale jsonb;
    runs jsonb;
    is_empty boolean;
BEGIN
    ran := sync._digest_runs(n, since, until, sync.cron_previous(expression, zone, since, 'run_after', 'first'));
    plan := sync._digest_plan(n, since, until, lags);
    incidents := sync._digest_incidents(n, since, until);
    stale := sync._digest_stale(n, ran -> 'last_success', until);
    runs := ran -> 'runs' || jsonb_build_object('planned', plan -> 'planned', 'missed', plan -> 'missed', 'coalesced', plan -> 'coalesced', 'skipped', plan -> 'skipped');
    is_empty := (runs ->> 'ran')::bigint = 0 AND (runs ->> 'planned')::bigint = 0 AND jsonb_array_length(incidents -> 'items') = 0 AND (stale ->> 'total')::bigint = 0;
    RETURN jsonb_build_object(
        'title', format('%s digest of %s: %s', CASE every WHEN 'week' THEN 'Weekly' ELSE 'Daily' END, sync._one_line(n.tenant_id, 60),
                        CASE WHEN is_empty THEN 'nothing ran and nothing was planned'
                             ELSE concat_ws(', ', sync._tally((runs ->> 'ran')::bigint, (runs ->> 'ran')::bigint, 'run'),
                                            round((runs ->> 'success_rate')::numeric * 100, 1) || ' % succeeded',
                                            CASE WHEN runs ->> 'missed' <> '0' THEN (runs ->> 'missed') || ' missed' END,
                                            CASE WHEN incidents ->> 'open' <> '0' THEN sync._tally((incidents ->> 'open')::bigint, (incidents ->> 'open')::bigint, 'open incident') END) END),
        'summary', CASE WHEN is_empty THEN 'No run and no planned run fell into this period.'
                        ELSE format('%s succeeded, %s failed, %s cancelled.', runs ->> 'succeeded', runs ->> 'failed', runs ->> 'cancelled') END,
        'period', jsonb_build_object('every', every, 'from', sync._format_utc(since), 'to', sync._format_utc(until), 'timezone', zone,
            'from_local', to_char(since AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'), 'to_local', to_char(until AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'),
            'label', to_char(since AT TIME ZONE zone, 'FMDD FMMonth YYYY, HH24:MI') || ' to ' || to_char(until AT TIME ZONE zone, 'FMDD FMMonth YYYY, HH24:MI')),
        'empty', is_empty, 'runs', runs, 'records', ran -> 'records', 'not_run', plan -> 'not_run', 'worst', ran -> 'worst', 'incidents', incidents,
        'stale', stale, 'rate_limits', ran -> 'rate_limits',
        'next', sync._digest_next(n, until, sync.cron_next(expression, zone, until, 'run_after', 'first')));
END
$$;
COMMENT ON FUNCTION sync._digest_data(sync.sync_notifications, timestamptz, timestamptz, jsonb) IS 'Internal: what a digest says of a period';

-- The caller has locked the setting's state: a period is told once, and the next begins where it ends. After an outage one digest covers
-- all that was not told, a month at most.
CREATE FUNCTION sync._write_digest(notification_id bigint, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    n sync.sync_notifications;
    s sync.notification_state;
    expression text;
    until timestamptz;
    data jsonb;
    lags jsonb;
BEGIN
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = $1;
    SELECT x.* INTO s FROM sync.notification_state x WHERE x.notification_id = $1;
    BEGIN
        expression := sync._digest_expression(n.config -> 'digest');
        until := sync.cron_previous(expression, n.config #>> '{digest,timezone}', $2 + interval '1 microsecond', 'run_after', 'first');
        IF n.is_active AND n.verified_at IS NOT NULL AND n.disabled_at IS NULL AND until > s.digest_from THEN
            SELECT sync._digest_data(n, GREATEST(s.digest_from, until - interval '31 days'), until, s.digest_lags), sync._digest_lags(n, until) INTO data, lags;
            IF NOT (data ->> 'empty')::boolean OR n.config #>> '{digest,empty}' = 'line' THEN
                INSERT INTO sync.outbox (tenant_id, event, type, connection_id, schedule_id, occurred_at, data, targets)
                VALUES (n.tenant_id, 'digest', CASE n.config #>> '{digest,every}' WHEN 'week' THEN 'digest.weekly' ELSE 'digest.daily' END,
                        n.connection_id, n.schedule_id, until, data, ARRAY[n.id]);
            END IF;
        END IF;
        UPDATE sync.notification_state x
        SET digest_from = GREATEST(x.digest_from, until), digest_lags = lags,
            digest_at = sync.cron_next(expression, n.config #>> '{digest,timezone}', $2, 'run_after', 'first')
        WHERE x.notification_id = $1;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING USING MESSAGE = format('the digest of notification %s cannot be written: %s (%s); tried again in an hour', $1, SQLERRM, SQLSTATE);
        UPDATE sync.notification_state x SET digest_at = $2 + interval '1 hour' WHERE x.notification_id = $1;
    END;
END
$$;
COMMENT ON FUNCTION sync._write_digest(bigint, timestamptz) IS 'Internal: writes the digest of a setting that is due into the outbox, and plans the next';
