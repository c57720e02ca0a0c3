-- A run: what waits or runs of it, and the attempts that have ended. Its id is CONNECTION-RUN: both lead to it by an index.

-- define connection_of
split_part($1::jsonb ->> 'id', '-', 1)::bigint

-- define run_of
split_part($1::jsonb ->> 'id', '-', 2)::bigint

-- define execution
json_build_object('id', r.connection_id || '-' || r.run_id, 'connection_id', r.connection_id, 'provider_slug', r.provider_slug, 'schedule_id', r.schedule_id,
    'job_type', r.job_type, 'trigger_type', r.trigger_type, 'status', r.status, 'planned_at', r.planned_at, 'scheduled_at', r.scheduled_at,
    'started_at', r.started_at, 'finished_at', r.finished_at, 'duration_ms', r.duration_ms, 'attempts', r.attempts, 'failed_attempts', r.failed_attempts,
    'pages', r.pages, 'records_processed', r.records_processed, 'records_created', r.records_created, 'records_updated', r.records_updated,
    'records_skipped', r.records_skipped, 'bytes', r.bytes, 'error_kind', r.error_kind, 'error_message', r.error_message)

-- Runs of one connection: the operation says of which, in of_connection, and in of_run which of its runs (g.run_id).
-- define runs
(SELECT COALESCE(h.connection_id, j.connection_id) AS connection_id, COALESCE(h.run_id, j.run_id) AS run_id,
        COALESCE(h.provider_slug, j.provider_slug) AS provider_slug, COALESCE(h.schedule_id, j.schedule_id) AS schedule_id,
        COALESCE(h.job_type, j.job_type) AS job_type, COALESCE(h.trigger_type, j.trigger_type) AS trigger_type, COALESCE(j.status, h.status) AS status,
        COALESCE(h.planned_at, j.planned_at) AS planned_at, GREATEST(j.scheduled_at, j.retry_after) AS scheduled_at,
        COALESCE(h.started_at, j.started_at) AS started_at, CASE WHEN j.id IS NULL THEN h.finished_at END AS finished_at, h.duration_ms,
        COALESCE(h.attempts, 0) AS attempts, COALESCE(h.failed_attempts, 0) AS failed_attempts, GREATEST(h.pages, j.page) AS pages,
        COALESCE(h.records_processed, 0) AS records_processed, COALESCE(h.records_created, 0) AS records_created,
        COALESCE(h.records_updated, 0) AS records_updated, COALESCE(h.records_skipped, 0) AS records_skipped, h.bytes,
        COALESCE(j.error_kind, h.error_kind) AS error_kind, COALESCE(j.error ->> 'message', h.error_message) AS error_message
 FROM (SELECT g.* FROM sync.run_history g WHERE g.tenant_id = {{tenant}} AND g.connection_id = {{of_connection}} AND {{of_run}}) h
 FULL JOIN (SELECT g.id, g.connection_id, g.provider_slug, g.schedule_id, g.run_id, g.job_type, g.trigger_type, g.status, g.planned_at, g.scheduled_at, g.retry_after,
             g.started_at, g.page, g.error_kind, g.error
            FROM ONLY sync.sync_jobs g WHERE g.connection_id = {{of_connection}} AND g.status IN ('queued', 'running') AND {{of_run}}) j ON j.run_id = h.run_id)

-- define attempts
(SELECT COALESCE(json_agg(json_build_object('id', a.execution_id, 'job_id', a.job_id, 'attempt', a.attempt, 'page', a.page, 'status', a.status,
            'job_status', a.job_status, 'trigger_type', a.trigger_type, 'scheduled_at', a.scheduled_at, 'started_at', a.started_at, 'finished_at', a.finished_at,
            'duration_ms', a.duration_ms, 'records_processed', a.records_processed, 'records_created', a.records_created, 'bytes', a.bytes,
            'error_kind', a.error_kind, 'error_message', a.error_message, 'error_details', a.error_details, 'retry_after', a.retry_after)
        ORDER BY a.execution_id), '[]')
 FROM (SELECT e.execution_id, e.job_id, e.attempt, e.page, e.status, e.job_status, e.trigger_type, e.scheduled_at, e.started_at, e.finished_at, e.duration_ms,
              e.records_processed, e.records_created, e.bytes, e.error_kind, e.error_message, e.error_details, e.retry_after
       FROM sync.execution_history e
       WHERE e.tenant_id = {{tenant}} AND e.connection_id = r.connection_id AND e.run_id = r.run_id
       ORDER BY e.execution_id DESC LIMIT 200) a)

-- One that was cancelled before it began has no attempts, only its job.
-- define show_execution
SELECT (({{execution}})::jsonb || jsonb_build_object('attempt_list', {{attempts}}))::json AS body
FROM (SELECT x.connection_id, x.run_id, x.provider_slug, x.schedule_id, x.job_type, x.trigger_type, x.status, x.planned_at, x.scheduled_at, x.started_at,
             x.finished_at, x.duration_ms, x.attempts, x.failed_attempts, x.pages, x.records_processed, x.records_created, x.records_updated,
             x.records_skipped, x.bytes, x.error_kind, x.error_message, 1 AS source
      FROM {{runs}} x
      UNION ALL
      SELECT j.connection_id, j.run_id, j.provider_slug, j.schedule_id, j.job_type, j.trigger_type, j.status, j.planned_at,
             GREATEST(j.scheduled_at, j.retry_after), j.started_at, j.finished_at, NULL, 0, 0, j.page, 0, 0, 0, 0, NULL, j.error_kind, j.error ->> 'message', 2
      FROM sync.sync_jobs j WHERE j.id = {{run_of}} AND j.connection_id = {{of_connection}} AND j.tenant_id = {{tenant}}
      ORDER BY source LIMIT 1) r

-- What a trigger has asked for: 202 where a run was made, 200 where there was one.
-- define show_triggered
SELECT json_build_object('execution', j.connection_id || '-' || j.run_id, 'connection_id', j.connection_id, 'job_id', j.id, 'job_type', j.job_type,
        'status', j.status, 'scheduled_at', j.scheduled_at, 'created', j.created_at = now() AND j.id = j.run_id,
        'another_follows', j.rerun) AS body,
    CASE WHEN j.created_at = now() AND j.id = j.run_id THEN 202 ELSE 200 END AS status,
    '/api/v2/executions/' || j.connection_id || '-' || j.run_id AS location
FROM (SELECT q.id, q.connection_id, q.run_id, q.job_type, q.status, q.scheduled_at, q.created_at, q.status = 'running' OR q.page > 1 AS rerun
      FROM ONLY sync.sync_jobs q WHERE q.id = {{made}}) j

-- operation listExecutions
-- with of_connection: ($1::jsonb ->> 'connection_id')::bigint
-- with of_run: true
-- sort id: r.run_id::bigint
SELECT {{key}} AS key, {{execution}} AS item
FROM {{runs}} r
WHERE true
--? schedule_id: AND r.schedule_id = ($1::jsonb ->> 'schedule_id')::bigint
--? status: AND r.status = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'status')))
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- operation getExecution
-- with of_connection: {{connection_of}}
-- with of_run: g.run_id = {{run_of}}
{{show_execution}};

-- The last attempt of it is what is tried again; one that never began has only its job.
-- operation retryExecution
-- with of_connection: {{connection_of}}
-- with of_run: g.run_id = {{run_of}}
SELECT set_config('sync_gateway.id', COALESCE(
    (SELECT sync.retry_execution({{of_connection}}, x.id)
     FROM (SELECT max(e.execution_id) AS id FROM sync.execution_history e
           WHERE e.tenant_id = {{tenant}} AND e.connection_id = {{of_connection}} AND e.run_id = {{run_of}}) x
     WHERE x.id IS NOT NULL),
    (SELECT sync.retry_job(j.id) FROM sync.sync_jobs j
     WHERE j.id = {{run_of}} AND j.connection_id = {{of_connection}} AND j.tenant_id = {{tenant}}))::text, true);
{{show_triggered}};

-- One that has ended stays as it is.
-- operation cancelExecution
-- with of_connection: {{connection_of}}
-- with of_run: g.run_id = {{run_of}}
SELECT sync.cancel_job(j.id, COALESCE($2::jsonb ->> 'reason', 'cancelled by hand'))
FROM ONLY sync.sync_jobs j
WHERE j.connection_id = {{of_connection}} AND j.run_id = {{run_of}} AND j.status IN ('queued', 'running')
  AND j.tenant_id = {{tenant}};
{{show_execution}};

-- operation listFailures
-- sort finished_at: e.finished_at::timestamptz, e.execution_id::bigint
SELECT {{key}} AS key,
    json_build_object('id', e.execution_id, 'execution', e.connection_id || '-' || e.run_id, 'connection_id', e.connection_id, 'provider_slug', e.provider_slug,
        'schedule_id', e.schedule_id, 'job_type', e.job_type, 'attempt', e.attempt, 'job_status', e.job_status, 'started_at', e.started_at,
        'finished_at', e.finished_at, 'error_kind', e.error_kind, 'error_message', e.error_message, 'retry_after', e.retry_after) AS item
FROM sync.execution_history e
WHERE e.tenant_id = {{tenant}} AND e.status = 'failed' AND e.finished_at >= COALESCE(($1::jsonb ->> 'since')::timestamptz, now() - interval '24 hours')
--? connection_id: AND e.connection_id = ($1::jsonb ->> 'connection_id')::bigint
{{after}}
{{order}}
LIMIT {{limit}} + 1;
