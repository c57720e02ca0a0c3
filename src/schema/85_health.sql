-- sync.health(): each part is a function of its own that returns rows of the same form.

CREATE FUNCTION sync._set_remedy(setting text, value text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Where it was set is where it has to be changed.
    SELECT CASE s.source WHEN 'database' THEN format('ALTER DATABASE %I SET %s = %s;', current_database(), s.name, $2)
                         ELSE format('ALTER SYSTEM SET %s = %s; SELECT pg_reload_conf();', s.name, $2) END
    FROM pg_settings s WHERE s.name = $1
$$;
COMMENT ON FUNCTION sync._set_remedy(text, text) IS 'Internal: the statement that changes a setting for good';

CREATE FUNCTION sync._health_worker(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    last_tick timestamptz := (SELECT c.last_tick_at FROM sync.engine_clock c);
    every interval := make_interval(secs => sync._setting('tick_interval_seconds'));
    overdue interval := as_of - last_tick;
    -- A batch takes a second at most, so three intervals without one are no chance.
    fresh boolean := COALESCE(overdue <= GREATEST(3 * every, interval '1 minute'), false);
    quiet boolean := sync._is_quiet();
    mine record;
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN QUERY VALUES ('engine', 'info', 'a standby: it answers questions, the primary ticks', NULL);
        RETURN;
    END IF;
    IF sync._setting('enabled') = 0 THEN
        RETURN QUERY VALUES ('engine', 'warning', 'sync_engine.enabled is off: no worker ticks and nothing is handed to executors',
                             sync._set_remedy('sync_engine.enabled', 'on'));
    ELSIF quiet THEN
        RETURN QUERY VALUES ('engine', 'critical', 'this database was restored, cloned or made from a template: nothing runs in it',
                             'SELECT sync.adopt_database();');
    ELSE
        RETURN QUERY SELECT 'engine', 'ok', format('version %s, enabled', x.extversion), NULL FROM pg_extension x WHERE x.extname = 'sync_engine';
    END IF;

    SELECT a.pid, a.backend_start INTO mine FROM pg_stat_activity a
    WHERE a.backend_type = 'sync_engine scheduler' AND a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    IF NOT sync._preloaded() THEN
        RETURN QUERY VALUES ('worker', CASE WHEN fresh OR quiet THEN 'info' ELSE 'critical' END,
            'sync_engine is not in shared_preload_libraries: ticks come from sync-executor --tick or by hand',
            'shared_preload_libraries = ''sync_engine'' in postgresql.conf, then a restart; or run sync-executor --tick');
    ELSIF sync._setting('background_ticks') = 0 THEN
        RETURN QUERY VALUES ('worker', CASE WHEN fresh OR quiet THEN 'info' ELSE 'critical' END,
                             'sync_engine.background_ticks is off: the worker does not tick', sync._set_remedy('sync_engine.background_ticks', 'on'));
    ELSIF mine.pid IS NOT NULL THEN
        RETURN QUERY VALUES ('worker', 'ok', format('process %s runs since %s', mine.pid, sync._format_utc(mine.backend_start)), NULL);
    ELSE
        RETURN QUERY VALUES ('worker', CASE WHEN quiet THEN 'info' ELSE 'critical' END,
            format('no worker process in this database, launcher %s', CASE WHEN EXISTS (SELECT 1 FROM pg_stat_activity a
                WHERE a.backend_type = 'sync_engine launcher') THEN 'running' ELSE 'not running' END),
            CASE WHEN NOT quiet THEN format('the server log tells why; raise max_worker_processes (%s) or sync_engine.max_databases (%s) if '
                'they are used up, then restart', current_setting('max_worker_processes'), sync._setting('max_databases')) END);
    END IF;

    IF quiet THEN
        RETURN QUERY VALUES ('last tick', 'info', 'nothing ticks while the engine is off or the database is a copy', NULL);
    ELSIF last_tick IS NULL THEN
        RETURN QUERY VALUES ('last tick', 'warning', 'no tick yet', 'SELECT * FROM sync.tick_batch();  -- by hand: shows what the worker runs into');
    ELSIF overdue < -GREATEST(every, interval '1 minute') THEN
        RETURN QUERY VALUES ('last tick', 'warning', format('the last tick was %s ahead of this clock', sync._span(-overdue)),
                             'mend the clock of the server; the next tick mends the due times');
    ELSE
        RETURN QUERY VALUES ('last tick',
            CASE WHEN fresh THEN 'ok' WHEN overdue > GREATEST(10 * every, interval '5 minutes') THEN 'critical' ELSE 'warning' END,
            format('%s ago, expected each %s', sync._span(overdue), sync._span(every)),
            CASE WHEN NOT fresh THEN 'SELECT * FROM sync.tick_batch();  -- by hand: shows what the worker runs into' END);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._health_worker(timestamptz) IS 'Internal: rows of sync.health about the engine, its worker and the last tick; reads pg_stat_activity';

-- One range scan of connection_state_due serves both rows: behind an old snapshot its front holds what vacuum cannot remove.
CREATE FUNCTION sync._health_due(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET random_page_cost = 1.1
AS $$
#variable_conflict use_column
DECLARE
    every interval := make_interval(secs => sync._setting('tick_interval_seconds'));
    usual interval := make_interval(secs => sync._setting('default_interval_seconds'));
    look record;
    late interval;
    stalled bigint;
    stalled_id bigint;
    total double precision;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT s.connection_id, s.due_at FROM sync.connection_state s
        WHERE s.due_at <= as_of ORDER BY s.due_at, s.connection_id LIMIT 10001
    ), stalled AS (
        SELECT c.id
        FROM (SELECT d.connection_id, d.due_at FROM due d ORDER BY d.due_at, d.connection_id LIMIT 1001) d
        JOIN sync.connections c ON c.id = d.connection_id
        JOIN sync.providers p ON p.slug = c.provider_slug
        WHERE c.status = 'active' AND p.status = 'active'
          AND CASE WHEN isfinite(d.due_at) THEN d.due_at
                   ELSE GREATEST(c.updated_at, c.last_incremental_finished_at + make_interval(secs => sync._base_seconds(c.metadata))) END
              < as_of - 2 * make_interval(secs => sync._base_seconds(c.metadata))
    )
    SELECT (SELECT count(*) FROM due) AS n, (SELECT min(d.due_at) FROM due d WHERE isfinite(d.due_at)) AS since,
           (SELECT count(*) FROM stalled) AS stalled, (SELECT min(s.id) FROM stalled s) AS example
    INTO look;
    late := COALESCE(as_of - look.since, interval '0');
    RETURN QUERY SELECT 'backlog', v.verdict,
        CASE WHEN look.n = 0 THEN 'no connection waits for a tick'
             ELSE sync._tally(look.n, 10000, 'connection') || ' due without a job' || COALESCE(', the first since ' || sync._span(as_of - look.since), '') END,
        CASE WHEN v.verdict <> 'ok' THEN format('see worker and last tick; if they are ok, larger batches: %s',
            sync._set_remedy('sync_engine.tick_batch_size', LEAST(2 * sync._setting('tick_batch_size'), 100000)::text)) END
    FROM (SELECT CASE WHEN late > GREATEST(10 * every, usual) THEN 'critical'
                      WHEN late > GREATEST(3 * every, interval '3 minutes') THEN 'warning' ELSE 'ok' END AS verdict) v;

    -- Jobs that the tick should long have taken back, beside connections that it passes by.
    SELECT count(*), min(j.connection_id) INTO stalled, stalled_id
    FROM ONLY sync.sync_jobs j
    LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
    WHERE j.status = 'running'
      AND GREATEST(j.claimed_at, e.heartbeat_at)
          < as_of - make_interval(secs => sync._setting('lease_seconds')) - GREATEST(3 * every, interval '3 minutes');
    total := (SELECT GREATEST(c.reltuples, pg_stat_get_live_tuples(c.oid)) FROM pg_class c WHERE c.oid = 'sync.connections'::regclass);
    RETURN QUERY SELECT 'stalled connections',
        CASE WHEN look.stalled + stalled = 0 THEN 'ok'
             WHEN look.stalled + stalled >= LEAST(1000, GREATEST(10, total / 10)) THEN 'critical' ELSE 'warning' END,
        CASE WHEN look.stalled + stalled = 0 THEN 'none: no active connection is late by two of its intervals without a job'
             ELSE concat_ws('; ',
                 CASE WHEN look.stalled > 0 THEN sync._tally(look.stalled, 1000, 'connection') || ' late by more than two intervals without a job, such as '
                                                || look.example END,
                 CASE WHEN stalled > 0 THEN sync._tally(stalled, stalled, 'connection') || ' with a job that runs without heartbeat, such as '
                                            || stalled_id END) END,
        CASE WHEN look.stalled + stalled > 0 THEN
            format('SELECT * FROM sync.explain(%s);  SELECT * FROM sync.tick_batch();', COALESCE(look.example, stalled_id)) END;
END
$$;
COMMENT ON FUNCTION sync._health_due(timestamptz) IS 'Internal: rows of sync.health about connections that wait for a tick';

CREATE FUNCTION sync._health_schedules(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET random_page_cost = 1.1
AS $$
#variable_conflict use_column
DECLARE
    every interval := make_interval(secs => sync._setting('tick_interval_seconds'));
    late record;
BEGIN
    -- One whose job is still live may wait for its end.
    SELECT count(*) AS n, min(x.due) AS since, min(x.id) AS example INTO late
    FROM (SELECT s.id, GREATEST(t.look_at, t.next_planned_at) AS due
          FROM (SELECT st.* FROM sync.schedule_state st WHERE st.look_at <= as_of ORDER BY st.look_at, st.schedule_id LIMIT 1001) t
          JOIN sync.sync_schedules s ON s.id = t.schedule_id
          JOIN sync.connections c ON c.id = t.connection_id
          JOIN sync.providers p ON p.slug = c.provider_slug
          WHERE s.is_active AND c.status = 'active' AND p.status = 'active'
            AND GREATEST(t.look_at, t.next_planned_at) < as_of - GREATEST(3 * every, interval '3 minutes')
            AND NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j
                            WHERE j.connection_id = t.connection_id AND j.job_type = s.job_type AND j.status IN ('queued', 'running'))) x;
    RETURN QUERY SELECT 'schedules',
        CASE WHEN late.n = 0 THEN 'ok' WHEN as_of - late.since > GREATEST(10 * every, interval '15 minutes') THEN 'critical' ELSE 'warning' END,
        CASE WHEN late.n = 0 THEN 'none is late'
             ELSE sync._tally(late.n, 1000, 'schedule') || ' late, the first for ' || sync._span(as_of - late.since) || ', such as ' || late.example END,
        CASE WHEN late.n > 0 THEN format('SELECT * FROM sync.explain_schedule(%s);  SELECT * FROM sync.tick_batch();', late.example) END;
END
$$;
COMMENT ON FUNCTION sync._health_schedules(timestamptz) IS 'Internal: the row of sync.health about schedules whose time has come';

-- Bitmaps would read a whole lane where the first rows are asked for.
CREATE FUNCTION sync._health_jobs(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    lease interval := make_interval(secs => sync._setting('lease_seconds'));
    every interval := make_interval(secs => sync._setting('tick_interval_seconds'));
    usual interval := make_interval(secs => sync._setting('default_interval_seconds'));
    due bigint;
    since timestamptz;
    late interval;
    hosts record;
    runs record;
BEGIN
    SELECT count(*) INTO due
    FROM (SELECT 1
          FROM sync._lanes l
          CROSS JOIN LATERAL (SELECT j.id FROM ONLY sync.sync_jobs j
                              WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
                                AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
                                AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
                              ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1001) x
          UNION ALL
          SELECT 1
          FROM sync._tenant_lanes l
          CROSS JOIN LATERAL (SELECT j.id FROM ONLY sync.sync_jobs j
                              WHERE j.status = 'queued' AND j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority AND j.tenant_id = l.tenant_id
                                AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
                              ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1001) x
          LIMIT 1001) n;
    -- The oldest that could begin: one that waits for another job of its connection is not the executors' fault.
    SELECT min(x.due) INTO since
    FROM sync._lanes l
    CROSS JOIN LATERAL (SELECT GREATEST(j.scheduled_at, j.retry_after) AS due, j.connection_id FROM ONLY sync.sync_jobs j
                        WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
                          AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
                          AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
                        ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 100) x
    JOIN sync.connection_state s ON s.connection_id = x.connection_id
    WHERE s.running_job_id IS NULL;
    -- Nor is a tenant that runs as much as it may.
    since := LEAST(since, (
        SELECT min(x.due)
        FROM sync._tenant_lanes l
        LEFT JOIN sync._tenant_loads o ON o.tenant_id = l.tenant_id
        CROSS JOIN LATERAL (SELECT GREATEST(j.scheduled_at, j.retry_after) AS due FROM ONLY sync.sync_jobs j
                            JOIN sync.connection_state s ON s.connection_id = j.connection_id
                            WHERE j.status = 'queued' AND j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority AND j.tenant_id = l.tenant_id
                              AND GREATEST(j.scheduled_at, j.retry_after) <= as_of AND s.running_job_id IS NULL
                            ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1) x
        WHERE l.due <= as_of AND (o.tenant_id IS NULL OR o.running < o.max_running)));
    late := COALESCE(as_of - since, interval '0');
    SELECT count(*) FILTER (WHERE e.heartbeat_at > as_of - lease) AS alive, count(*) AS known,
           string_agg(e.name, ', ' ORDER BY e.name) FILTER (WHERE e.heartbeat_at > as_of - lease) AS names,
           max(e.heartbeat_at) AS last_heard
    INTO hosts
    FROM sync.executors e WHERE e.superseded_at IS NULL;
    SELECT count(*) AS n, count(DISTINCT r.claimed_by) AS executors,
           count(*) FILTER (WHERE r.expired) AS expired, count(*) FILTER (WHERE r.overran) AS overran,
           min(r.ends) FILTER (WHERE r.expired) AS since, min(r.claimed_by) FILTER (WHERE r.expired) AS example
    INTO runs
    FROM (SELECT j.claimed_by, GREATEST(j.claimed_at, e.heartbeat_at) + lease AS ends,
                 GREATEST(j.claimed_at, e.heartbeat_at) <= as_of - lease AS expired,
                 j.claimed_at <= as_of - make_interval(secs => COALESCE(p.max_run_seconds, sync._setting('max_run_seconds'))) AS overran
          FROM ONLY sync.sync_jobs j
          JOIN sync.providers p ON p.slug = j.provider_slug
          LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
          WHERE j.status = 'running') r;

    RETURN QUERY SELECT 'due jobs', v.verdict,
        CASE WHEN due = 0 THEN 'no job is due and unclaimed'
             ELSE sync._tally(due, 1000, 'job') || ' due and unclaimed, ' || COALESCE('the oldest since ' || sync._span(as_of - since),
                 'all behind other jobs of their connections or tenants') END,
        CASE WHEN v.verdict = 'ok' THEN NULL
             WHEN hosts.alive = 0 THEN 'start sync-executor'
             ELSE 'start more executors, or those that there are with a larger --concurrency' END
    FROM (SELECT CASE WHEN late > GREATEST(usual, interval '10 minutes') THEN 'critical'
                      WHEN late > interval '5 minutes' THEN 'warning' ELSE 'ok' END AS verdict) v;

    RETURN QUERY SELECT 'executors', v.verdict,
        CASE WHEN hosts.alive > 0 THEN sync._tally(hosts.alive, hosts.alive, 'executor') || ' heard of within the lease of ' || sync._span(lease) || ': '
                                       || left(hosts.names, 200)
             WHEN hosts.known = 0 THEN 'no executor has ever registered, or none for a week'
             ELSE 'no executor was heard of within the lease of ' || sync._span(lease) || COALESCE(', the last one ' || sync._span(as_of - hosts.last_heard)
                  || ' ago', '') END,
        CASE WHEN v.verdict <> 'ok' THEN 'start sync-executor' END
    FROM (SELECT CASE WHEN hosts.alive > 0 THEN 'ok' WHEN due + runs.n > 0 THEN 'critical' ELSE 'warning' END AS verdict) v;

    RETURN QUERY SELECT 'leases', v.verdict,
        CASE WHEN runs.n = 0 THEN 'no job runs'
             ELSE concat_ws('; ', sync._tally(runs.n, runs.n, 'job') || ' running on ' || sync._tally(runs.executors, runs.executors, 'executor'),
                 CASE WHEN runs.expired > 0 THEN format('the lease of %s of them is over, the first for %s (%s)', runs.expired,
                                                        sync._span(as_of - runs.since), runs.example) END,
                 CASE WHEN runs.overran > 0 THEN format('%s of them run longer than max_run_seconds', runs.overran) END) END,
        CASE WHEN v.verdict <> 'ok' THEN 'the next tick fails them as lost and queues them again; by hand: SELECT * FROM sync.tick_batch();' END
    FROM (SELECT CASE WHEN as_of - runs.since > GREATEST(10 * every, interval '5 minutes') THEN 'critical'
                      WHEN runs.expired + runs.overran > 0 THEN 'warning' ELSE 'ok' END AS verdict) v;
END
$$;
COMMENT ON FUNCTION sync._health_jobs(timestamptz) IS 'Internal: rows of sync.health about due jobs, executors and their leases';

CREATE FUNCTION sync._health_failures(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    broken record;
    failing record;
    slowed record;
    held text;
    paused record;
    total double precision := (SELECT GREATEST(c.reltuples, pg_stat_get_live_tuples(c.oid)) FROM pg_class c WHERE c.oid = 'sync.connections'::regclass);
BEGIN
    SELECT sum(g.n)::bigint AS n, string_agg(g.provider_slug || ' ' || g.n, ', ' ORDER BY g.n DESC, g.provider_slug) AS by_provider, min(g.id) AS example
    INTO broken
    FROM (SELECT x.provider_slug, count(*) AS n, min(x.id) AS id
          FROM (SELECT c.provider_slug, c.id FROM sync.connections c WHERE c.status = 'error' LIMIT 1001) x GROUP BY 1) g;
    SELECT sum(g.n)::bigint AS n, string_agg(g.provider_slug || ' ' || g.n, ', ' ORDER BY g.n DESC, g.provider_slug) AS by_provider,
           min(g.connection_id) AS example
    INTO failing
    FROM (SELECT x.provider_slug, count(*) AS n, min(x.connection_id) AS connection_id
          FROM (SELECT j.provider_slug, j.connection_id FROM ONLY sync.sync_jobs j
                WHERE j.attempts > 0 AND j.status IN ('queued', 'running') AND j.attempts - j.rate_limited_attempts >= 3 LIMIT 1001) x GROUP BY 1) g;
    RETURN QUERY SELECT 'failing connections',
        CASE WHEN n.n = 0 THEN 'ok' WHEN n.n >= LEAST(1000, GREATEST(10, total / 10)) THEN 'critical' ELSE 'warning' END,
        CASE WHEN n.n = 0 THEN 'none in error, none that failed three times in a row'
             ELSE concat_ws('; ',
                 CASE WHEN broken.n > 0 THEN sync._tally(broken.n, 1000, 'connection') || ' in error (' || left(broken.by_provider, 200) || ')' END,
                 CASE WHEN failing.n > 0 THEN sync._tally(failing.n, 1000, 'connection') || ' failed three times in a row or more ('
                                              || left(failing.by_provider, 200) || ')' END) END,
        CASE WHEN n.n > 0 THEN concat_ws('  ',
                 'SELECT * FROM sync.failed_lately ORDER BY last_failed_at DESC;',
                 CASE WHEN broken.n > 0 THEN format('Renew the credentials, then SELECT sync.resume(%s);', broken.example) END,
                 CASE WHEN failing.n > 0 THEN format('SELECT * FROM sync.explain(%s);', failing.example) END) END
    FROM (SELECT COALESCE(broken.n, 0) + COALESCE(failing.n, 0) AS n) n;

    SELECT sum(g.n)::bigint AS n, string_agg(g.provider_slug || ' ' || g.n, ', ' ORDER BY g.n DESC, g.provider_slug) AS by_provider, max(g.until) AS until
    INTO slowed
    FROM (SELECT x.provider_slug, count(*) AS n, max(x.retry_after) AS until
          FROM (SELECT j.provider_slug, j.retry_after FROM ONLY sync.sync_jobs j
                WHERE j.error_kind = 'rate_limited' AND j.retry_after > as_of AND j.attempts > 0 AND j.status IN ('queued', 'running') LIMIT 1001) x
          GROUP BY 1) g;
    held := (SELECT string_agg(DISTINCT h.provider_slug, ', ') FROM sync.credential_holds h WHERE h.held_until > as_of);
    RETURN QUERY SELECT 'rate limits', CASE WHEN slowed.n > 0 OR held IS NOT NULL THEN 'info' ELSE 'ok' END,
        CASE WHEN slowed.n > 0 OR held IS NOT NULL
             THEN concat_ws('; ', CASE WHEN slowed.n > 0 THEN sync._tally(slowed.n, 1000, 'connection') || ' told to slow down (' || left(slowed.by_provider, 200)
                                                              || '), until ' || sync._format_utc(slowed.until) END,
                            'held back is all that uses the same credentials (' || left(held, 200) || ')')
             ELSE 'no connection is told to slow down' END,
        CASE WHEN slowed.n > 0 OR held IS NOT NULL THEN
            'SELECT * FROM sync.throttled ORDER BY until;  -- if it lasts, longer intervals: sync.set_interval(connection_id, seconds)' END;

    SELECT count(*) AS n, string_agg(p.slug || COALESCE(' (' || p.status_reason || ')', ''), ', ' ORDER BY p.slug) AS names, min(p.slug) AS example
    INTO paused FROM sync.providers p WHERE p.status <> 'active';
    RETURN QUERY SELECT 'providers', CASE WHEN paused.n > 0 THEN 'info' ELSE 'ok' END,
        CASE WHEN paused.n > 0 THEN 'paused: ' || left(paused.names, 300) ELSE 'none is paused' END,
        CASE WHEN paused.n > 0 THEN format('SELECT sync.resume_provider(%L);', paused.example) END;
END
$$;
COMMENT ON FUNCTION sync._health_failures(timestamptz) IS 'Internal: rows of sync.health about failures, rate limits and paused providers';

CREATE FUNCTION sync._health_tables(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    by_hand text := 'the worker''s housekeeping does it once a minute, see worker and the server log; by hand, as a superuser: SELECT sync._housekeeping();';
    ahead timestamptz;
    rotated boolean := EXISTS (SELECT 1 FROM sync.partitions p WHERE p.parent = 'sync_jobs' AND p.range_to > as_of - interval '1 hour');
    expired record;
    dead record;
BEGIN
    -- Housekeeping makes them 24 hours ahead; an hour of that is its own.
    SELECT min(x.until) INTO ahead
    FROM (SELECT max(p.range_to) AS until FROM sync.partitions p WHERE p.parent IN ('signals', 'sync_executions') GROUP BY p.parent) x;
    SELECT count(*) AS n, min(p.range_to) AS since INTO expired
    FROM sync.partitions p
    CROSS JOIN LATERAL (SELECT sync._setting(CASE p.parent WHEN 'sync_jobs' THEN 'job_retention_days' WHEN 'signals' THEN 'signal_retention_days'
                                                           ELSE 'execution_retention_days' END) AS days) k
    WHERE p.parent IN ('sync_jobs', 'signals', 'sync_executions') AND k.days > 0
      AND p.range_to < as_of - make_interval(hours => 24 * k.days::int) - interval '1 day'
      AND pg_get_viewdef('sync._finished_jobs'::regclass) !~ ('sync\.' || p.name || '\M');
    RETURN QUERY SELECT 'partitions', v.verdict,
        concat_ws('; ', CASE WHEN NOT sync._history_is_ready(as_of) THEN 'the tables of today''s history are missing: completions have to make them'
                             WHEN NOT sync._history_is_ready(as_of + interval '23 hours') THEN 'the tables of tomorrow''s history are missing'
                             ELSE 'history has its tables until ' || sync._format_utc(ahead) END,
                  CASE WHEN NOT rotated THEN 'finished jobs have no table of today' END,
                  CASE WHEN expired.n > 0 THEN format('%s past retention still there, the oldest of %s',
                                                      sync._tally(expired.n, expired.n, 'table'), sync._format_utc(expired.since)) END),
        CASE WHEN v.verdict <> 'ok' THEN by_hand END
    FROM (SELECT CASE WHEN NOT sync._history_is_ready(as_of) THEN 'critical'
                      WHEN NOT sync._history_is_ready(as_of + interval '23 hours') OR NOT rotated OR expired.n > 0 THEN 'warning' ELSE 'ok' END AS verdict) v;

    -- What autovacuum leaves between two of its rounds at a thousand runs a second is not bloat yet.
    SELECT t.* INTO dead
    FROM (SELECT c.relname, pg_stat_get_dead_tuples(c.oid) AS dead, pg_stat_get_live_tuples(c.oid) AS live, pg_total_relation_size(c.oid) AS bytes,
                 GREATEST(pg_stat_get_last_autovacuum_time(c.oid), pg_stat_get_last_vacuum_time(c.oid)) AS vacuumed
          FROM unnest('{sync.connections,sync.connection_state,sync.sync_jobs,sync.executors}'::regclass[]) r (oid)
          JOIN pg_class c ON c.oid = r.oid) t
    ORDER BY t.dead::double precision / GREATEST(t.live, 100000) DESC, t.bytes DESC LIMIT 1;
    RETURN QUERY SELECT 'bloat', v.verdict,
        format('%s has the most: %s dead rows beside %s live ones, %s, vacuumed %s', dead.relname, dead.dead, dead.live, pg_size_pretty(dead.bytes),
               COALESCE(sync._format_utc(dead.vacuumed), 'never')),
        CASE WHEN v.verdict <> 'ok' THEN
            format('first what the row vacuum horizon says; then VACUUM sync.%I;  and, if it comes back, autovacuum_naptime = ''10s''', dead.relname) END
    FROM (SELECT CASE WHEN dead.dead > 1000000 AND dead.dead > 5 * dead.live THEN 'critical'
                      WHEN dead.dead > 100000 AND dead.dead > dead.live THEN 'warning' ELSE 'ok' END AS verdict) v;
END
$$;
COMMENT ON FUNCTION sync._health_tables(timestamptz) IS 'Internal: rows of sync.health about dated tables and bloat';

-- Sessions of this database, prepared transactions, slots and standbys: whichever holds the oldest transaction id is the one behind
-- which vacuum removes nothing. Slots and standbys tell no time, so they are judged by the transactions since.
CREATE FUNCTION sync._health_horizon(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH pins AS (
        SELECT GREATEST(age(a.backend_xid), age(a.backend_xmin)) AS xids, as_of - a.xact_start AS held, false AS idle_slot,
               format('session %s (%s, %s, %s) holds a snapshot or transaction', a.pid, a.usename,
                      COALESCE(NULLIF(a.application_name, ''), a.backend_type), COALESCE(a.state, 'active')) AS who,
               format('SELECT pg_terminate_backend(%s);', a.pid) AS remedy
        FROM pg_stat_activity a
        WHERE a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND a.pid <> pg_backend_pid()
          -- A vacuum does not stand in the way of another; a parallel worker ends with its leader.
          AND a.backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
          AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid)
        UNION ALL
        SELECT age(x.transaction), as_of - x.prepared, false, format('prepared transaction %L of %s is neither committed nor rolled back', x.gid, x.owner),
               format('ROLLBACK PREPARED %L;  or COMMIT PREPARED %L;', x.gid, x.gid)
        FROM pg_prepared_xacts x WHERE x.database = current_database()
        UNION ALL
        SELECT age(s.xmin), NULL, NOT s.active,
               format('replication slot %s %s holds a snapshot', s.slot_name, CASE WHEN s.active THEN '(in use)' ELSE '(nobody is connected to it)' END),
               CASE WHEN s.active THEN format('end the long queries of the standby behind slot %s, or set hot_standby_feedback = off there', s.slot_name)
                    ELSE format('bring its standby back, or SELECT pg_drop_replication_slot(%L);', s.slot_name) END
        FROM pg_replication_slots s
        UNION ALL
        SELECT age(r.backend_xmin), NULL, false, format('standby %s (%s) holds a snapshot', r.application_name, COALESCE(host(r.client_addr), 'local')),
               format('end the long queries of standby %s, or set hot_standby_feedback = off there', r.application_name)
        FROM pg_stat_replication r
    ), judged AS (
        SELECT p.*, CASE WHEN p.held > interval '2 hours' OR p.held IS NULL AND p.xids > 10000000 THEN 'critical'
                         WHEN p.held > interval '15 minutes' OR p.held IS NULL AND p.xids > 1000000 OR p.idle_slot THEN 'warning'
                         ELSE 'ok' END AS verdict
        FROM pins p WHERE p.xids IS NOT NULL
    ), worst AS (
        SELECT j.* FROM judged j ORDER BY array_position('{critical,warning,ok}', j.verdict), j.xids DESC, j.held DESC NULLS LAST LIMIT 1
    )
    SELECT 'vacuum horizon', COALESCE(w.verdict, 'ok'),
           COALESCE(w.who || COALESCE(' since ' || sync._span(w.held), '')
                    || ', ' || sync._tally(w.xids, w.xids, 'transaction') || ' ago', 'nobody else holds a snapshot'),
           CASE WHEN w.verdict <> 'ok' THEN w.remedy END
    FROM (SELECT) one LEFT JOIN worst w ON true
$$;
COMMENT ON FUNCTION sync._health_horizon(timestamptz) IS
    'Internal: the row of sync.health about who keeps vacuum from its work; reads pg_stat_activity, pg_prepared_xacts, pg_replication_slots, pg_stat_replication';

CREATE FUNCTION sync._health_notifications(as_of timestamptz, OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    waits record;
    dead record;
    events bigint;
    since interval;
BEGIN
    SELECT count(*) AS n, min(x.due_at) AS due, string_agg(DISTINCT x.channel, ', ') AS channels INTO waits
    FROM (SELECT q.due_at, q.channel FROM sync.message_queue q WHERE q.status = 'queued' AND q.due_at <= as_of ORDER BY q.due_at LIMIT 1001) x;
    events := (SELECT count(*) FROM (SELECT 1 FROM sync.outbox LIMIT 1001) o);
    SELECT count(*) AS n, min(n.id) AS example INTO dead
    FROM (SELECT x.id FROM sync.sync_notifications x WHERE x.is_active AND x.disabled_at IS NOT NULL LIMIT 1001) n;
    since := COALESCE(GREATEST(as_of - waits.due, (SELECT as_of - o.occurred_at FROM sync.outbox o ORDER BY o.id LIMIT 1)), interval '0');
    RETURN QUERY SELECT 'notifications',
        CASE WHEN since > interval '1 hour' THEN 'critical' WHEN since > interval '10 minutes' OR dead.n > 0 THEN 'warning' ELSE 'ok' END,
        concat_ws('; ',
            CASE WHEN waits.n + events = 0 THEN 'none waits'
                 ELSE concat_ws(', ', CASE WHEN waits.n > 0 THEN sync._tally(waits.n, 1000, 'message') || ' due (' || waits.channels || ')' END,
                                CASE WHEN events > 0 THEN sync._tally(events, 1000, 'event') || ' of which no message was made yet' END)
                      || ', the oldest for ' || sync._span(since) END,
            CASE WHEN dead.n > 0 THEN sync._tally(dead.n, 1000, 'setting') || ' disabled because the receiver is gone, such as ' || dead.example END),
        CASE WHEN since > interval '10 minutes' THEN
                  CASE WHEN waits.channels LIKE '%email%' THEN 'start a sync-executor with --smtp-url and --mail-from; its log tells what the server answers'
                       ELSE 'start sync-executor; its log tells what it runs into' END
             WHEN dead.n > 0 THEN format('SELECT * FROM sync.deliveries WHERE notification_id = %s ORDER BY attempted_at DESC;  then SELECT sync.test_notification(%s);',
                                         dead.example, dead.example) END;
END
$$;
COMMENT ON FUNCTION sync._health_notifications(timestamptz) IS 'Internal: the row of sync.health about deliveries';

CREATE FUNCTION sync.health(as_of timestamptz DEFAULT now(), OUT check_name text, OUT verdict text, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync._require_time(as_of);
    RETURN QUERY SELECT h.* FROM sync._health_worker(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_due(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_schedules(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_jobs(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_failures(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_notifications(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_tables(as_of) h;
    RETURN QUERY SELECT h.* FROM sync._health_horizon(as_of) h;
END
$$;
COMMENT ON FUNCTION sync.health(timestamptz) IS
    'How the engine is: a row for each part of it with a verdict (ok, info, warning, critical), what was found, and what to do. Reads pg_stat_activity, prepared transactions and replication slots with its owner''s rights and counts no table in full';
