-- History as people read it: attempts under the story's names, runs with their pages, and what can be done about them.

CREATE FUNCTION sync._count_in(stats jsonb, key text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- Whatever a connector writes there must not break a view.
    SELECT CASE WHEN pg_catalog.jsonb_typeof(stats OPERATOR(pg_catalog.->) key) OPERATOR(pg_catalog.=) 'number'
                     AND (stats OPERATOR(pg_catalog.->) key)::pg_catalog.numeric BETWEEN 0 AND 9e18
                THEN (stats OPERATOR(pg_catalog.->) key)::pg_catalog.int8 END
$$;
COMMENT ON FUNCTION sync._count_in(jsonb, text) IS 'Internal: a count that a connector told in its stats; null where it told none';

CREATE VIEW sync.execution_history WITH (security_barrier) AS
SELECT e.id AS execution_id, e.tenant_id, e.provider_slug, e.connection_id, e.schedule_id, e.run_id, e.job_id, e.job_type, e.trigger_type, e.attempt,
       e.page, e.status, e.job_status, e.planned_at, e.scheduled_at, e.started_at, e.finished_at, e.duration_ms,
       COALESCE(sync._count_in(e.stats, 'records'), e.signals_received) AS records_processed,
       COALESCE(sync._count_in(e.stats, 'created'), e.signals_inserted) AS records_created,
       COALESCE(sync._count_in(e.stats, 'updated'), 0) AS records_updated,
       COALESCE(sync._count_in(e.stats, 'skipped'), e.signals_duplicate) AS records_skipped,
       sync._count_in(e.stats, 'bytes') AS bytes,
       e.kind AS error_kind, e.error ->> 'message' AS error_message, e.error AS error_details, e.retry_after,
       e.claimed_by AS executor, e.cursor_before, e.next_cursor AS cursor_after
FROM sync.sync_executions e
WHERE sync._sees_tenant(e.tenant_id);
COMMENT ON VIEW sync.execution_history IS
    'One row an attempt, newest partitions last. Records and bytes are what the connector told in its stats (records, created, updated, skipped, bytes), else counted from its signals';

CREATE VIEW sync.run_history AS
SELECT e.run_id, e.tenant_id, e.connection_id, min(e.provider_slug) AS provider_slug, max(e.schedule_id) AS schedule_id, min(e.job_type) AS job_type,
       (array_agg(e.trigger_type ORDER BY e.execution_id))[1] AS trigger_type, max(e.planned_at) AS planned_at, min(e.started_at) AS started_at,
       max(e.finished_at) AS finished_at,
       CASE WHEN bool_or(e.status = 'succeeded' AND e.job_status = 'succeeded')
                 AND (array_agg(e.job_status ORDER BY e.execution_id DESC))[1] = 'succeeded' THEN 'succeeded'
            ELSE (array_agg(e.job_status ORDER BY e.execution_id DESC))[1] END AS status,
       count(*)::int AS attempts, (count(*) FILTER (WHERE e.status = 'failed'))::int AS failed_attempts, max(e.page) AS pages,
       sum(e.duration_ms) AS duration_ms, sum(e.records_processed)::bigint AS records_processed, sum(e.records_created)::bigint AS records_created,
       sum(e.records_updated)::bigint AS records_updated, sum(e.records_skipped)::bigint AS records_skipped, sum(e.bytes)::bigint AS bytes,
       (array_agg(e.error_message ORDER BY e.execution_id DESC))[1] AS error_message,
       (array_agg(e.executor ORDER BY e.execution_id DESC))[1] AS executor,
       (array_agg(e.error_kind ORDER BY e.execution_id DESC))[1] AS error_kind
FROM sync.execution_history e
GROUP BY e.tenant_id, e.connection_id, e.run_id;
COMMENT ON VIEW sync.run_history IS
    'One row a run, its follow-up pages and retries added up; those are in sync.execution_history under the same run_id. A run that is not over is told as far as it came';

CREATE FUNCTION sync._execution(connection_id bigint, execution_id bigint) RETURNS sync.sync_executions
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.sync_executions;
BEGIN
    SELECT e.* INTO found_row
    FROM sync.connections c
    JOIN sync.sync_executions e ON e.tenant_id = c.tenant_id AND e.connection_id = c.id
    WHERE c.id = $1 AND e.id = $2 AND sync._sees_tenant(c.tenant_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s has no execution %s', $1, $2),
            HINT = 'SELECT * FROM sync.execution_history lists them; they are kept for sync_engine.execution_retention_days.';
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._execution(bigint, bigint) IS 'Internal: an execution of a connection; P0002 where there is none';

CREATE FUNCTION sync.retry_execution(connection_id bigint, execution_id bigint, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_variable
DECLARE
    e sync.sync_executions;
    owner sync.connections;
    job bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    e := sync._execution(connection_id, execution_id);
    IF e.status = 'succeeded' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('execution %s has succeeded', execution_id),
            HINT = format('To read again what it read: SELECT * FROM sync.rewind(%s, %s)', connection_id, execution_id);
    END IF;
    owner := sync._lock_active(connection_id);
    -- The job itself, while it is live: it runs at once.
    IF EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.id = e.job_id AND j.status = 'running') THEN
        PERFORM sync._audit_job('job.retry', e.job_id, jsonb_build_object('execution_id', e.id));
        RETURN e.job_id;
    END IF;
    job := sync._enqueue(owner, e.job_type, 10, 'retry', e.schedule_id, as_of);
    -- An incremental run goes on where its connection is; any other takes up the page that failed.
    UPDATE ONLY sync.sync_jobs j
    SET cursor = COALESCE(j.cursor, CASE WHEN e.job_type <> 'incremental' THEN e.cursor_before END),
        input = COALESCE(j.input, (SELECT o.input FROM sync.sync_jobs o WHERE o.id = e.job_id LIMIT 1))
    WHERE j.id = job AND j.id <> e.job_id AND j.status = 'queued' AND j.attempts = 0;
    PERFORM sync._events_again(job, (SELECT o.input FROM sync.sync_jobs o WHERE o.id = e.job_id AND o.id <> job LIMIT 1), as_of);
    PERFORM sync._audit_job('job.retry', job, jsonb_build_object('execution_id', e.id));
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync.retry_execution(bigint, bigint, timestamptz) IS
    'Runs again at once what an attempt failed to do, and returns the job: the same one while it waits for its next attempt, else a new one';

CREATE FUNCTION sync.rewind(connection_id bigint, execution_id bigint, dry_run boolean DEFAULT true, as_of timestamptz DEFAULT now(),
    OUT cursor_now jsonb, OUT cursor_then jsonb, OUT since timestamptz, OUT pages_again bigint, OUT records_again bigint, OUT rewound boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_variable
DECLARE
    e sync.sync_executions;
    owner sync.connections;
    live sync.sync_jobs;
BEGIN
    PERFORM sync._require_time(as_of);
    e := sync._execution(connection_id, execution_id);
    IF e.job_type <> 'incremental' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('execution %s is of a %s job: only incremental ones move the cursor of their connection as they go', execution_id, e.job_type),
            HINT = format('SELECT sync.set_cursor(%s, cursor) sets any cursor.', connection_id);
    END IF;
    IF dry_run THEN
        SELECT c.* INTO owner FROM sync.connections c WHERE c.id = connection_id;
    ELSE
        SELECT c.* INTO owner FROM sync.connections c WHERE c.id = connection_id FOR NO KEY UPDATE;
        SELECT j.* INTO live FROM ONLY sync.sync_jobs j
        WHERE j.connection_id = owner.id AND j.job_type = 'incremental' AND j.status IN ('queued', 'running') FOR UPDATE;
        IF live.status = 'running' THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = format('job %s of the connection runs and will store its own cursor', live.id),
                HINT = format('Wait for it, or SELECT sync.cancel_job(%s), and try again.', live.id);
        END IF;
        -- A page that waits carries its own cursor on.
        IF live.cursor IS NOT NULL THEN
            PERFORM sync._cancel(ARRAY[live.id], 'the connection was rewound', as_of);
        END IF;
    END IF;
    cursor_now := NULLIF(owner.metadata #> '{sync,cursor}', 'null');
    cursor_then := e.cursor_before;
    since := e.started_at;
    SELECT count(*), COALESCE(sum(x.signals_received), 0) INTO pages_again, records_again
    FROM sync.sync_executions x
    WHERE x.tenant_id = owner.tenant_id AND x.connection_id = owner.id AND x.id >= execution_id AND x.job_type = 'incremental'
      AND x.status = 'succeeded';
    rewound := NOT dry_run;
    IF rewound THEN
        IF cursor_now IS DISTINCT FROM NULLIF(cursor_then, 'null') THEN
            PERFORM sync.set_cursor(owner.id, cursor_then);
        END IF;
        PERFORM sync._audit('connection.rewind', owner.tenant_id, 'connection', owner.id::text, NULL, jsonb_build_object('execution_id', e.id));
    END IF;
END
$$;
COMMENT ON FUNCTION sync.rewind(bigint, bigint, boolean, timestamptz) IS
    'Puts the cursor of a connection back to where an incremental execution began; unless dry_run is false, only tells what would be read again. Signals whose dedupe_key is known are not stored again';
