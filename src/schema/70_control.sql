-- What applications and operators call: trigger, cancel, retry, pause, resume, settings of a connection.

CREATE FUNCTION sync._audit_job(action text, job_id bigint, details jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job record;
BEGIN
    SELECT j.tenant_id, j.connection_id, j.job_type INTO job FROM ONLY sync.sync_jobs j WHERE j.id = job_id;
    IF NOT FOUND THEN
        SELECT j.tenant_id, j.connection_id, j.job_type INTO job FROM sync.sync_jobs j WHERE j.id = job_id;
    END IF;
    PERFORM sync._audit(action, job.tenant_id, 'job', job_id::text, NULL,
                        jsonb_build_object('connection_id', job.connection_id, 'job_type', job.job_type) || details);
END
$$;
COMMENT ON FUNCTION sync._audit_job(text, bigint, jsonb) IS 'Internal: audits what somebody did with a job';

CREATE FUNCTION sync._lock_active(connection_id bigint) RETURNS sync.connections
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.connections;
    provider sync.providers;
BEGIN
    SELECT c.* INTO found_row FROM sync.connections c WHERE c.id = $1 AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', $1);
    END IF;
    IF found_row.status <> 'active' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('connection %s is %s%s', $1, found_row.status, COALESCE(': ' || found_row.status_reason, '')),
            HINT = CASE WHEN found_row.status = 'revoked' THEN 'A revoked connection stays so; make a new one.'
                        ELSE format('SELECT sync.resume(%s)', $1) END;
    END IF;
    SELECT p.* INTO provider FROM sync.providers p WHERE p.slug = found_row.provider_slug;
    IF provider.status <> 'active' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('provider %s is %s%s', provider.slug, provider.status, COALESCE(': ' || provider.status_reason, '')),
            HINT = format('SELECT sync.resume_provider(%L)', provider.slug);
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._lock_active(bigint) IS 'Internal: locks a connection that may run; 55000 with the reason when it may not';

CREATE FUNCTION sync._enqueue(owner sync.connections, job_type text, priority int, trigger_type text, schedule_id bigint, as_of timestamptz)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    job bigint;
BEGIN
    IF trigger_type IN ('manual', 'retry') THEN
        PERFORM sync._take_token(owner.tenant_id, as_of);
    END IF;
    -- A queued page of a run in progress runs sooner, and one more run follows it: its fetch began before the event.
    UPDATE ONLY sync.sync_jobs j
    SET scheduled_at = LEAST(j.scheduled_at, _enqueue.as_of), priority = GREATEST(j.priority, _enqueue.priority),
        retry_after = CASE WHEN j.error_kind = 'rate_limited' THEN j.retry_after END,
        rerun_priority = CASE WHEN j.page > 1 THEN GREATEST(j.rerun_priority, _enqueue.priority) ELSE j.rerun_priority END
    WHERE j.connection_id = owner.id AND j.job_type = _enqueue.job_type AND j.status = 'queued'
    RETURNING j.id INTO job;
    IF job IS NULL THEN
        UPDATE ONLY sync.sync_jobs j
        SET rerun_priority = GREATEST(j.rerun_priority, _enqueue.priority)
        WHERE j.connection_id = owner.id AND j.job_type = _enqueue.job_type AND j.status = 'running'
        RETURNING j.id INTO job;
    END IF;
    -- The run that follows need not wait for more to arrive.
    UPDATE sync.pending_inputs p SET not_before = _enqueue.as_of
    WHERE job IS NOT NULL AND p.connection_id = owner.id AND p.job_type = _enqueue.job_type AND p.not_before > _enqueue.as_of;
    IF job IS NULL THEN
        job := nextval('sync.sync_jobs_id_seq'::regclass);
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, run_id, created_at,
            schedule_id, trigger_type)
        VALUES (job, owner.tenant_id, owner.provider_slug, owner.id, _enqueue.job_type, _enqueue.priority, _enqueue.as_of, job, _enqueue.as_of,
            _enqueue.schedule_id, _enqueue.trigger_type);
        IF _enqueue.job_type = 'incremental' THEN
            UPDATE sync.connection_state s SET due_at = NULL, parked_for = NULL WHERE s.connection_id = owner.id;
        END IF;
    END IF;
    PERFORM sync._wake_executors();
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync._enqueue(sync.connections, text, int, text, bigint, timestamptz) IS
    'Internal: asks for a run now of a connection that the caller has locked, and returns the job';

CREATE FUNCTION sync.trigger(connection_id bigint, job_type text DEFAULT 'incremental', priority int DEFAULT 10, as_of timestamptz DEFAULT now())
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(job_type, '') = '' OR priority IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'job_type and priority must not be null or empty';
    END IF;
    job := sync._enqueue(sync._lock_active(connection_id), job_type, priority, 'manual', NULL, as_of);
    PERFORM sync._audit_job('job.trigger', job, jsonb_build_object('priority', priority));
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync.trigger(bigint, text, int, timestamptz) IS
    'Asks for a run now and returns the job; while one runs, one more is queued when it ends. Any number of triggers make at most one more run';

CREATE FUNCTION sync.cancel_job(job_id bigint, reason text DEFAULT 'cancelled by hand', as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cancelled boolean;
BEGIN
    PERFORM sync._require_time(as_of);
    PERFORM 1 FROM sync.connections c
    WHERE c.id = (SELECT j.connection_id FROM ONLY sync.sync_jobs j WHERE j.id = cancel_job.job_id) AND sync._sees_tenant(c.tenant_id)
    FOR NO KEY UPDATE;
    cancelled := FOUND AND sync._cancel(ARRAY[job_id], COALESCE(reason, 'cancelled by hand'), as_of) > 0;
    IF cancelled THEN
        PERFORM sync._audit_job('job.cancel', job_id, jsonb_build_object('reason', COALESCE(reason, 'cancelled by hand')));
    END IF;
    RETURN cancelled;
END
$$;
COMMENT ON FUNCTION sync.cancel_job(bigint, text, timestamptz) IS
    'Cancels a queued or running job; the executor of a running one is told at its next heartbeat and its token is void at once. False when it had ended';

CREATE FUNCTION sync.retry_job(job_id bigint, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    old sync.sync_jobs;
    owner sync.connections;
    job bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT j.* INTO old FROM sync.sync_jobs j WHERE j.id = job_id AND sync._sees_tenant(j.tenant_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('job %s does not exist', job_id),
            HINT = 'Finished jobs are kept for sync_engine.job_retention_days.';
    END IF;
    IF old.status = 'succeeded' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('job %s has succeeded', job_id),
            HINT = format('To run the connection again: SELECT sync.trigger(%s, %L)', old.connection_id, old.job_type);
    END IF;
    owner := sync._lock_active(old.connection_id);
    -- It may have ended while the lock was waited for.
    SELECT j.* INTO old FROM sync.sync_jobs j WHERE j.id = job_id;
    IF old.status = 'running' THEN
        PERFORM sync._audit_job('job.retry', old.id, jsonb_build_object('retried', old.id));
        RETURN old.id;
    END IF;
    job := sync._enqueue(owner, old.job_type, GREATEST(old.priority, 10), 'retry', old.schedule_id, as_of);
    -- A job that ended on a page of its own takes that page up again.
    UPDATE ONLY sync.sync_jobs j SET cursor = COALESCE(j.cursor, old.cursor), input = COALESCE(j.input, old.input)
    WHERE j.id = job AND j.status = 'queued' AND old.status IN ('failed', 'cancelled') AND j.attempts = 0;
    IF old.status IN ('failed', 'cancelled') THEN
        PERFORM sync._events_again(job, old.input, as_of);
    END IF;
    PERFORM sync._audit_job('job.retry', job, jsonb_build_object('retried', old.id));
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync.retry_job(bigint, timestamptz) IS
    'Runs a failed or cancelled job again, as a new job with its cursor and input; a queued one at once. Returns the job that will run';

CREATE FUNCTION sync.retry_failed(provider_slug text DEFAULT NULL, since timestamptz DEFAULT '-infinity', as_of timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    retried int;
BEGIN
    PERFORM sync._require_time(as_of);
    PERFORM 1 FROM sync.connections c
    JOIN sync.providers p ON p.slug = c.provider_slug AND p.status = 'active'
    WHERE c.status = 'active' AND sync._sees_tenant(c.tenant_id) AND c.id IN (
        SELECT j.connection_id FROM sync.sync_jobs j
        WHERE j.status = 'failed' AND j.finished_at >= $2 AND ($1 IS NULL OR j.provider_slug = $1))
    ORDER BY c.id FOR NO KEY UPDATE OF c;
    WITH last AS (
        SELECT DISTINCT ON (j.connection_id, j.job_type) j.*
        FROM sync.sync_jobs j
        WHERE j.finished_at >= $2 AND ($1 IS NULL OR j.provider_slug = $1) AND sync._sees_tenant(j.tenant_id)
        ORDER BY j.connection_id, j.job_type, j.finished_at DESC, j.id DESC
    ), made AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, cursor, input, run_id, created_at,
            schedule_id, trigger_type)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, GREATEST(n.priority, 10), $3, n.cursor, n.input, n.id, $3,
               n.schedule_id, 'retry'
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, l.tenant_id, l.provider_slug, l.connection_id, l.job_type,
                     l.priority, l.cursor, l.input, l.schedule_id
              FROM last l
              JOIN sync.connections c ON c.id = l.connection_id AND c.status = 'active'
              JOIN sync.providers p ON p.slug = l.provider_slug AND p.status = 'active'
              WHERE l.status = 'failed') n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING connection_id, job_type
    ), stated AS (
        UPDATE sync.connection_state s SET due_at = NULL, parked_for = NULL
        FROM made m WHERE s.connection_id = m.connection_id AND m.job_type = 'incremental'
    )
    SELECT count(*) INTO retried FROM made m;
    IF retried > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    PERFORM sync._audit('job.retry_failed', NULL, 'provider', COALESCE(provider_slug, '*'), NULL,
                        jsonb_build_object('since', since, 'jobs', retried));
    RETURN retried;
END
$$;
COMMENT ON FUNCTION sync.retry_failed(text, timestamptz, timestamptz) IS
    'Queues anew what failed last, of one provider or all, since a time; connections that are not active are left out. Returns how many';

CREATE FUNCTION sync._set_status(connection_id bigint, wanted text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former record;
BEGIN
    SELECT c.status, c.status_reason, c.tenant_id INTO former
    FROM sync.connections c WHERE c.id = _set_status.connection_id AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', connection_id);
    END IF;
    IF former.status = 'revoked' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('connection %s is revoked', connection_id),
            HINT = 'A revoked connection stays so; make a new one.';
    END IF;
    UPDATE sync.connections c SET status = wanted, status_reason = reason, updated_at = now() WHERE c.id = _set_status.connection_id;
    -- A change is audited by the trigger.
    IF former.status = wanted AND former.status_reason IS NOT DISTINCT FROM reason THEN
        PERFORM sync._audit('connection.' || CASE wanted WHEN 'paused' THEN 'pause' ELSE 'resume' END, former.tenant_id,
                            'connection', connection_id::text, NULL, NULL, 'was so already');
    END IF;
END
$$;
COMMENT ON FUNCTION sync._set_status(bigint, text, text) IS 'Internal: changes the status of a connection that is not revoked';

CREATE FUNCTION sync.pause(connection_id bigint, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_status(connection_id, 'paused', reason) $$;
COMMENT ON FUNCTION sync.pause(bigint, text) IS 'Stops syncing a connection: its queued jobs are cancelled, a running one finishes';

CREATE FUNCTION sync.resume(connection_id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_status(connection_id, 'active', NULL) $$;
COMMENT ON FUNCTION sync.resume(bigint) IS 'Takes up a paused connection again, or one in error; the next tick sees what is due';

CREATE FUNCTION sync._set_provider_status(slug text, wanted text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former record;
BEGIN
    SELECT p.status, p.status_reason INTO former FROM sync.providers p WHERE p.slug = _set_provider_status.slug FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('provider %s does not exist', slug);
    END IF;
    UPDATE sync.providers p SET status = wanted, status_reason = reason, updated_at = now() WHERE p.slug = _set_provider_status.slug;
    IF former.status = wanted AND former.status_reason IS NOT DISTINCT FROM reason THEN
        PERFORM sync._audit('provider.' || CASE wanted WHEN 'paused' THEN 'pause' ELSE 'resume' END, NULL, 'provider', slug,
                            NULL, NULL, 'was so already');
    END IF;
END
$$;
COMMENT ON FUNCTION sync._set_provider_status(text, text, text) IS 'Internal: changes the status of a provider';

CREATE FUNCTION sync.pause_provider(slug text, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_provider_status(slug, 'paused', reason) $$;
COMMENT ON FUNCTION sync.pause_provider(text, text) IS 'Nothing of the provider is enqueued or claimed; nothing is cancelled';

CREATE FUNCTION sync.resume_provider(slug text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_provider_status(slug, 'active', NULL) $$;
COMMENT ON FUNCTION sync.resume_provider(text) IS 'Takes up a paused provider again';

CREATE FUNCTION sync.set_interval(connection_id bigint, seconds int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    highest int := sync._setting('max_overridden_interval_seconds');
    former record;
BEGIN
    IF seconds NOT BETWEEN 60 AND highest THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('interval of %s seconds is outside 60 to %s', seconds, highest),
            HINT = 'The upper bound is sync_engine.max_overridden_interval_seconds; null goes back to the default interval.';
    END IF;
    SELECT c.tenant_id, NULLIF(c.metadata #> '{sync,interval_seconds}', 'null') AS value INTO former
    FROM sync.connections c WHERE c.id = set_interval.connection_id AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', connection_id);
    END IF;
    UPDATE sync.connections c
    SET metadata = CASE WHEN seconds IS NULL THEN sync._metadata_with(c.metadata, '{}') #- '{sync,interval_seconds}'
                        ELSE sync._metadata_with(c.metadata, jsonb_build_object('interval_seconds', seconds)) END,
        updated_at = now()
    WHERE c.id = set_interval.connection_id;
    IF former.value IS NOT DISTINCT FROM to_jsonb(seconds) THEN
        PERFORM sync._audit('connection.set_interval', former.tenant_id, 'connection', connection_id::text, NULL, NULL, 'was so already');
    END IF;
END
$$;
COMMENT ON FUNCTION sync.set_interval(bigint, int) IS 'How often a connection is synced, in seconds; null goes back to the default';

CREATE FUNCTION sync.set_cursor(connection_id bigint, cursor jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former record;
BEGIN
    SELECT c.tenant_id, NULLIF(c.metadata #> '{sync,cursor}', 'null') AS value INTO former
    FROM sync.connections c WHERE c.id = set_cursor.connection_id AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', connection_id);
    END IF;
    UPDATE sync.connections c
    SET metadata = CASE WHEN NULLIF(set_cursor.cursor, 'null') IS NULL THEN sync._metadata_with(c.metadata, '{}') #- '{sync,cursor}'
                        ELSE sync._metadata_with(c.metadata, jsonb_build_object('cursor', set_cursor.cursor)) END,
        updated_at = now()
    WHERE c.id = set_cursor.connection_id;
    IF former.value IS NOT DISTINCT FROM NULLIF(set_cursor.cursor, 'null') THEN
        PERFORM sync._audit('connection.set_cursor', former.tenant_id, 'connection', connection_id::text, NULL, NULL, 'was so already');
    END IF;
END
$$;
COMMENT ON FUNCTION sync.set_cursor(bigint, jsonb) IS
    'Where the next incremental run starts; null starts from the beginning. A job that is running stores its own cursor when it ends';

CREATE FUNCTION sync.adopt_database() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former int;
BEGIN
    -- What is landed from now on belongs to a new epoch: nothing of the former one may be uncommitted.
    LOCK TABLE sync.signals IN SHARE MODE;
    SELECT max(d.epoch) INTO former FROM sync.database_identity d;
    DELETE FROM sync.database_identity;
    INSERT INTO sync.database_identity (system_identifier, database_oid, epoch)
    SELECT me.system_identifier, me.database_oid, COALESCE(former, 0) + 1 FROM sync._system_identity() me;
    -- A dump of version 0.1.0 brings signals without pages.
    PERFORM sync._page_earlier_signals();
    PERFORM sync._wake_launcher(), sync._wake_executors();
    -- Without a former identity it is CREATE EXTENSION that calls, to which a table made now would belong.
    IF former IS NOT NULL THEN
        PERFORM sync._audit('database.adopt', NULL, 'database', current_database()::text, NULL, jsonb_build_object('epoch', former + 1));
    END IF;
END
$$;
COMMENT ON FUNCTION sync.adopt_database() IS 'Lets the engine work in a database that was restored, cloned or made from a template';

CREATE FUNCTION sync._housekeeping(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET lock_timeout = '50ms'
AS $$
#variable_conflict use_column
DECLARE
    expired text;
    moved int;
    purged record;
    more_requests boolean;
BEGIN
    PERFORM sync._require_time(as_of);
    -- At most one step that takes a strong lock in each transaction: two of them could deadlock with a completion. While one
    -- waits for its lock completions queue behind it, so none waits longer than lock_timeout above.
    IF NOT (sync._history_is_ready(as_of) AND sync._history_is_ready(as_of + interval '24 hours')) THEN
        PERFORM sync._ensure_history(as_of), sync._ensure_history(as_of + interval '24 hours'),
                sync._make_partition('audit_log', ((as_of + interval '24 hours') AT TIME ZONE 'UTC')::date);
        RETURN true;
    END IF;
    IF sync._rotate_finished_jobs(as_of) THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT 1 FROM sync.schedule_state)
       AND 2 > (SELECT count(*) FROM sync.partitions p
                WHERE p.parent = 'schedule_fires' AND p.range_from <= as_of + interval '24 hours' AND p.range_to > as_of) THEN
        PERFORM sync._ensure_fires(as_of, true), sync._ensure_fires(as_of + interval '24 hours', true);
        RETURN true;
    END IF;
    IF EXISTS (SELECT 1 FROM sync.sync_notifications)
       AND NOT EXISTS (SELECT 1 FROM sync.partitions p
                       WHERE p.parent = 'inbox' AND p.range_from <= as_of + interval '24 hours' AND p.range_to > as_of + interval '24 hours') THEN
        PERFORM sync._ensure_notices(as_of + interval '24 hours');
        RETURN true;
    END IF;
    IF EXISTS (SELECT 1 FROM sync.hooks)
       AND 2 > (SELECT count(*) FROM sync.partitions p
                WHERE p.parent = 'hook_deliveries' AND p.range_from <= as_of + interval '24 hours' AND p.range_to > as_of) THEN
        PERFORM sync._ensure_hook_day(as_of), sync._ensure_hook_day(as_of + interval '24 hours');
        RETURN true;
    END IF;
    SELECT p.name INTO expired
    FROM sync.partitions p
    CROSS JOIN LATERAL (SELECT sync._setting(CASE p.parent WHEN 'sync_jobs' THEN 'job_retention_days'
                                                           WHEN 'signals' THEN 'signal_retention_days'
                                                           WHEN 'signal_keys' THEN CASE sync._setting('dedupe_retention_days') WHEN -1
                                                               THEN 'signal_retention_days' ELSE 'dedupe_retention_days' END
                                                           WHEN 'messages' THEN 'notification_retention_days'
                                                           WHEN 'delivery_attempts' THEN 'notification_retention_days'
                                                           WHEN 'inbox' THEN 'inbox_retention_days'
                                                           WHEN 'hook_deliveries' THEN 'hook_dedupe_hours'
                                                           ELSE 'execution_retention_days' END)
                               * CASE p.parent WHEN 'hook_deliveries' THEN 1 ELSE 24 END AS hours) k
    WHERE k.hours > 0 AND p.parent NOT IN ('signal_pages', 'audit_log') AND p.range_to < as_of - make_interval(hours => k.hours::int)
      AND pg_get_viewdef('sync._finished_jobs'::regclass) !~ ('sync\.' || p.name || '\M')
    ORDER BY p.range_to LIMIT 1;
    IF expired IS NOT NULL THEN
        -- What was never sent, for want of an executor that could.
        DELETE FROM sync.message_queue q USING sync.partitions p
        WHERE p.name = expired AND p.parent = 'messages' AND q.created_at >= p.range_from AND q.created_at < p.range_to;
        IF NOT sync._move_keys(expired, as_of) THEN
            -- What is still not delivered goes with its message.
            DELETE FROM sync.message_queue q USING sync.partitions p
            WHERE p.name = expired AND p.parent = 'messages' AND q.created_at >= p.range_from AND q.created_at < p.range_to;
            PERFORM sync._drop_partition(expired);
        END IF;
        RETURN true;
    END IF;
    IF sync._drop_old_audit(as_of) THEN
        RETURN true;
    END IF;

    PERFORM sync._audit_settings(true, false);
    -- pg_upgrade brings dated tables back without their tie to the parent.
    PERFORM sync._tie_dated_tables();
    -- Jobs that an application ended itself.
    WITH ended AS (
        DELETE FROM ONLY sync.sync_jobs j
        WHERE j.id IN (SELECT x.id FROM ONLY sync.sync_jobs x WHERE x.status NOT IN ('queued', 'running')
                       ORDER BY x.id LIMIT 5000 FOR UPDATE SKIP LOCKED)
        RETURNING j.*
    ), kept AS (
        INSERT INTO sync._finished_jobs SELECT e.* FROM ended e RETURNING 1
    )
    SELECT count(*) INTO moved FROM kept;
    SELECT * INTO purged FROM sync._purge_deleted(10000, true);
    DELETE FROM sync.executors e
    WHERE e.superseded_at < as_of - interval '1 day'
       OR GREATEST(e.heartbeat_at, e.registered_at) < as_of - interval '7 days'
          AND NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.claimed_by = e.incarnation);
    IF sync._setting('notification_retention_days') > 0 THEN
        DELETE FROM sync.incidents i
        WHERE i.id IN (SELECT x.id FROM sync.incidents x
                       WHERE x.resolved_at < as_of - make_interval(hours => 24 * sync._setting('notification_retention_days')::int)
                       ORDER BY x.resolved_at LIMIT 5000 FOR UPDATE SKIP LOCKED);
    END IF;
    more_requests := sync._purge_api(as_of);
    RETURN sync._run_notifications_safely(as_of) OR purged.more OR more_requests OR moved >= 5000;
END
$$;
COMMENT ON FUNCTION sync._housekeeping(timestamptz) IS
    'Internal: makes dated tables ahead, drops those past their retention, removes what deleted connections left: a step a call, to be called, a transaction each, until it returns false';

-- What drivers call: with a time of their own choice they could have history dropped before its retention is over.
CREATE FUNCTION sync._housekeeping() RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._housekeeping(now()) $$;
COMMENT ON FUNCTION sync._housekeeping() IS 'Internal: _housekeeping at the current time, for whoever drives the ticks';
