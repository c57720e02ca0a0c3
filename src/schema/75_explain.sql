CREATE FUNCTION sync.explain(connection_id bigint, as_of timestamptz DEFAULT now(), OUT aspect text, OUT verdict text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c sync.connections;
    p sync.providers;
    s sync.connection_state;
    j sync.sync_jobs;
    base int;
    plan record;
    beats record;
BEGIN
    SELECT x.* INTO c FROM sync.connections x WHERE x.id = $1 AND sync._sees_tenant(x.tenant_id);
    IF NOT FOUND THEN
        RETURN QUERY VALUES ('connection', 'unknown', format('there is no connection %s', $1));
        RETURN;
    END IF;
    SELECT x.* INTO p FROM sync.providers x WHERE x.slug = c.provider_slug;
    SELECT x.* INTO s FROM sync.connection_state x WHERE x.connection_id = $1;

    IF sync._setting('enabled') = 0 THEN
        RETURN QUERY VALUES ('engine', 'blocked', 'sync_engine.enabled is off: no worker ticks and nothing is claimed');
    ELSIF sync._is_quiet() THEN
        RETURN QUERY VALUES ('engine', 'blocked',
            'this database was restored, cloned or made from a template: nothing runs until SELECT sync.adopt_database()');
    ELSIF NOT sync._preloaded() THEN
        RETURN QUERY VALUES ('engine', 'warning',
            'sync_engine is not in shared_preload_libraries: jobs are enqueued only by sync-executor --tick or SELECT sync.tick()');
    ELSIF sync._setting('background_ticks') = 0 THEN
        RETURN QUERY VALUES ('engine', 'warning', 'sync_engine.background_ticks is off: the worker does not tick');
    ELSE
        RETURN QUERY VALUES ('engine', 'ok', format('the worker ticks each %s s', sync._setting('tick_interval_seconds')));
    END IF;
    RETURN QUERY VALUES ('connection', CASE WHEN c.status = 'active' THEN 'ok' ELSE 'blocked' END,
                         'status is ' || c.status || COALESCE(': ' || c.status_reason, ''));
    RETURN QUERY VALUES ('provider', CASE WHEN p.status = 'active' THEN 'ok' ELSE 'blocked' END,
                         format('%s is %s%s', p.slug, p.status, COALESCE(': ' || p.status_reason, '')));
    RETURN QUERY SELECT l.aspect, l.verdict, l.detail FROM sync._explain_limits($1, $2) l;
    SELECT e.base_seconds INTO base FROM sync._effective_interval(c.metadata #> '{sync,interval_seconds}') e;
    RETURN QUERY SELECT e.aspect, e.verdict, e.detail
                 FROM sync.sync_schedules x CROSS JOIN LATERAL sync._explain_next(x, $2) e
                 WHERE x.tenant_id = c.tenant_id AND x.connection_id = c.id ORDER BY x.id LIMIT 50;
    RETURN QUERY SELECT 'interval', 'off', format('its schedules say when it runs; last run finished %s',
                                                  COALESCE(sync._format_utc(c.last_incremental_finished_at), 'never'))
                 WHERE c.has_schedules;
    RETURN QUERY SELECT 'interval', 'info', format('%s s, last run finished %s', base,
        COALESCE(sync._format_utc(c.last_incremental_finished_at), 'never'))
        WHERE NOT c.has_schedules;

    FOR j IN SELECT x.* FROM ONLY sync.sync_jobs x WHERE x.connection_id = $1 AND x.status IN ('queued', 'running')
             ORDER BY x.status DESC, x.id LOOP
        IF j.status = 'running' THEN
            SELECT e.heartbeat_at INTO beats FROM sync.executors e WHERE e.incarnation = j.claimed_by;
            RETURN QUERY VALUES ('job', 'running', format('%s job %s runs since %s on %s, attempt %s, page %s; last heartbeat %s',
                j.job_type, j.id, sync._format_utc(j.claimed_at), j.claimed_by, j.attempts + 1, j.page,
                COALESCE(sync._format_utc(beats.heartbeat_at), 'none')));
            IF j.rerun_priority IS NOT NULL THEN
                RETURN QUERY VALUES ('job', 'info', 'it was triggered meanwhile: one more run follows');
            END IF;
        ELSIF p.status <> 'active' OR c.status <> 'active' THEN
            RETURN QUERY VALUES ('job', 'blocked', format('%s job %s is queued and waits for %s to be resumed', j.job_type, j.id,
                CASE WHEN c.status <> 'active' THEN 'its connection' ELSE 'its provider' END));
        ELSIF s.running_job_id IS NOT NULL THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s is queued until job %s of the same connection ends',
                j.job_type, j.id, s.running_job_id));
        ELSIF j.retry_after > $2 AND j.attempts = 0 THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s is held back until %s', j.job_type, j.id, sync._format_utc(j.retry_after)));
        ELSIF j.retry_after > $2 THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s failed in attempt %s (%s: %s) and is tried again at %s', j.job_type, j.id,
                j.attempts, j.error_kind, left(COALESCE(j.error ->> 'message', 'no message'), 200), sync._format_utc(j.retry_after)));
        ELSIF j.scheduled_at > $2 THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s is scheduled for %s', j.job_type, j.id, sync._format_utc(j.scheduled_at)));
        ELSIF EXISTS (SELECT 1 FROM sync._explain_limits($1, $2) l WHERE l.verdict = 'waiting') THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s is due since %s and waits for its limits, see there', j.job_type, j.id,
                sync._format_utc(GREATEST(j.scheduled_at, j.retry_after))));
        ELSE
            RETURN QUERY SELECT 'job', 'due', format('%s job %s is due since %s and waits for an executor; %s heard of in the last %s s', j.job_type, j.id,
                sync._format_utc(GREATEST(j.scheduled_at, j.retry_after)),
                (SELECT count(*) FROM sync.executors e WHERE e.superseded_at IS NULL
                    AND e.heartbeat_at > $2 - make_interval(secs => sync._setting('lease_seconds'))),
                sync._setting('lease_seconds'));
        END IF;
    END LOOP;

    IF c.status = 'active' AND p.status = 'active' AND NOT c.has_schedules THEN
        IF EXISTS (SELECT 1 FROM ONLY sync.sync_jobs x WHERE x.connection_id = $1 AND x.job_type = 'incremental' AND x.status IN ('queued', 'running')) THEN
            RETURN QUERY VALUES ('next run', 'info', format('the one after the live job is reckoned from when that ends: %s s later', base));
        ELSE
            SELECT r.* INTO plan FROM sync._plan_run(c.last_incremental_finished_at, base,
                COALESCE(sync.parse_utc(c.metadata #>> '{sync,first_activated_at}'), c.created_at), $2, 0) r;
            IF s.due_at > $2 + make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60)) THEN
                RETURN QUERY VALUES ('next run', 'waiting', format('looked at again for %s', sync._format_utc(s.due_at)));
            ELSIF plan.verdict = 'not_yet' THEN
                RETURN QUERY VALUES ('next run', 'waiting', format('due at %s', sync._format_utc(plan.slot)));
            ELSE
                RETURN QUERY VALUES ('next run', 'due', format('the next tick enqueues it for %s (%s)', sync._format_utc(plan.slot), plan.verdict));
            END IF;
        END IF;
    END IF;
    RETURN QUERY
    SELECT 'incident', i.severity, format('%s, open since %s, seen %s%s: %s', i.class, sync._format_utc(i.opened_at), sync._tally(i.occurrences, i.occurrences, 'time'),
           CASE WHEN cardinality(i.told_to) > 0 THEN ', told to ' || sync._tally(cardinality(i.told_to), cardinality(i.told_to), 'setting') ELSE '' END,
           left(COALESCE(i.error ->> 'message', 'no message'), 200))
    FROM sync.incidents i WHERE i.connection_id = $1 AND i.resolved_at IS NULL AND i.severity IS NOT NULL ORDER BY i.opened_at;
    RETURN QUERY
    SELECT 'last attempt', e.status, format('job %s, %s, ended %s%s', e.job_id, e.job_type, sync._format_utc(e.finished_at),
           CASE WHEN e.status = 'failed' THEN format(': %s: %s', e.kind, left(COALESCE(e.error ->> 'message', 'no message'), 200))
                ELSE format(': %s signals, %s of them new', e.signals_received, e.signals_inserted) END)
    FROM sync.sync_executions e
    WHERE e.tenant_id = c.tenant_id AND e.connection_id = c.id
    ORDER BY e.finished_at DESC, e.id DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION sync.explain(bigint, timestamptz) IS 'Why a connection will or will not run now, and when next';
