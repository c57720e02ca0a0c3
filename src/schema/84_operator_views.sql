-- For those who operate it: what runs, what is late, what failed, what comes, who is held back. No configuration, cursor or token in any of it.

CREATE VIEW sync.running_now AS
SELECT j.id AS job_id, j.connection_id, j.tenant_id, j.provider_slug, c.external_id, c.name, j.job_type, j.run_id, j.page,
       j.attempts + 1 AS attempt, j.claimed_at, GREATEST(now() - j.claimed_at, interval '0') AS running_for,
       COALESCE(e.name, j.claimed_by) AS executor, e.heartbeat_at, GREATEST(now() - e.heartbeat_at, interval '0') AS heartbeat_age
FROM ONLY sync.sync_jobs j
JOIN sync.connections c ON c.id = j.connection_id
LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
WHERE j.status = 'running';
COMMENT ON VIEW sync.running_now IS 'What runs now: on which executor, for how long, at which page';

-- A minute's grace: until then it is the normal way of things. What is paused does not run on purpose, see sync.throttled.
CREATE VIEW sync.late AS
SELECT x.connection_id, c.tenant_id, c.provider_slug, c.external_id, c.name, x.job_id, x.job_type, x.attempts, x.due_at,
       now() - x.due_at AS late_by, x.waits_for
FROM (SELECT j.connection_id, j.id AS job_id, j.job_type, j.attempts, GREATEST(j.scheduled_at, j.retry_after) AS due_at,
             CASE WHEN s.running_job_id IS NULL THEN 'an executor'
                  ELSE 'job ' || s.running_job_id || ' of the same connection' END AS waits_for
      FROM ONLY sync.sync_jobs j
      JOIN sync.connection_state s ON s.connection_id = j.connection_id
      WHERE j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) < now() - interval '1 minute'
      UNION ALL
      -- One that is new, or was changed, has no time until a tick has looked at it.
      SELECT s.connection_id, NULL, 'incremental', 0,
             CASE WHEN isfinite(s.due_at) THEN s.due_at
                  ELSE GREATEST(n.updated_at, n.last_incremental_finished_at + make_interval(secs => i.base_seconds)) END, 'a tick'
      FROM sync.connection_state s
      JOIN sync.connections n ON n.id = s.connection_id
      CROSS JOIN LATERAL sync._effective_interval(n.metadata #> '{sync,interval_seconds}') i
      WHERE s.due_at < now() - interval '1 minute'
      UNION ALL
      SELECT t.connection_id, NULL, y.job_type, 0, GREATEST(t.look_at, t.next_planned_at), 'a tick, for schedule ' || y.id
      FROM sync.schedule_state t
      JOIN sync.sync_schedules y ON y.id = t.schedule_id
      WHERE t.look_at < now() - interval '1 minute' AND y.is_active) x
JOIN sync.connections c ON c.id = x.connection_id
JOIN sync.providers p ON p.slug = c.provider_slug
WHERE c.status = 'active' AND p.status = 'active' AND x.due_at < now() - interval '1 minute';
COMMENT ON VIEW sync.late IS
    'What should have begun more than a minute ago, and what it waits for; not that of a paused provider, nor jobs in backoff';

CREATE VIEW sync.failed_lately AS
SELECT f.connection_id, f.tenant_id, f.provider_slug, c.external_id, c.name, f.job_type, f.failures, f.first_failed_at, f.last_failed_at,
       f.job_id AS last_job_id, f.kind AS last_error_kind, left(f.error ->> 'message', 500) AS last_error,
       CASE
           -- By the key of the history, whose ids grow.
           WHEN EXISTS (SELECT 1 FROM sync.sync_executions s
                        WHERE s.tenant_id = f.tenant_id AND s.connection_id = f.connection_id AND s.id > f.id AND s.job_type = f.job_type
                          AND s.status = 'succeeded' AND s.finished_at > now() - interval '24 hours') THEN 'recovered'
           WHEN EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j
                        WHERE j.connection_id = f.connection_id AND j.job_type = f.job_type AND j.status IN ('queued', 'running')
                          AND j.attempts > 0) THEN 'retrying'
           WHEN c.status <> 'active' THEN 'connection ' || c.status
           ELSE 'given up'
       END AS outcome
FROM (SELECT DISTINCT ON (e.tenant_id, e.connection_id, e.job_type) e.id, e.tenant_id, e.provider_slug, e.connection_id, e.job_type, e.job_id,
             e.kind, e.error, e.finished_at AS last_failed_at,
             count(*) OVER same AS failures, min(e.finished_at) OVER same AS first_failed_at
      FROM sync.sync_executions e
      WHERE e.status = 'failed' AND e.finished_at > now() - interval '24 hours'
      WINDOW same AS (PARTITION BY e.tenant_id, e.connection_id, e.job_type)
      ORDER BY e.tenant_id, e.connection_id, e.job_type, e.finished_at DESC, e.id DESC) f
JOIN sync.connections c ON c.id = f.connection_id;
COMMENT ON VIEW sync.failed_lately IS
    'What failed in the last 24 hours: a row for each connection and job type, with the last error and what became of it. Of the history, two days'' failures are read';

-- One run a row: the next one. Each source of runs is a branch of its own.
CREATE VIEW sync.upcoming AS
SELECT GREATEST(x.due_at, now()) AS runs_at, x.source, x.connection_id, c.tenant_id, c.provider_slug, c.external_id, c.name, x.job_type,
       x.job_id, x.repeats
FROM (SELECT j.connection_id, j.id AS job_id, j.job_type, GREATEST(j.scheduled_at, j.retry_after) AS due_at,
             CASE WHEN j.attempts > 0 THEN 'retry' ELSE 'queue' END AS source,
             CASE WHEN n.has_schedules THEN 'schedule ' || j.schedule_id
                  WHEN j.job_type = 'incremental' THEN 'every ' || i.base_seconds || ' s' END AS repeats
      FROM ONLY sync.sync_jobs j
      JOIN sync.connections n ON n.id = j.connection_id
      CROSS JOIN LATERAL sync._effective_interval(n.metadata #> '{sync,interval_seconds}') i
      WHERE j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) <= now() + interval '24 hours'
      UNION ALL
      SELECT s.connection_id, NULL, 'incremental', s.due_at, 'interval', 'every ' || i.base_seconds || ' s'
      FROM sync.connection_state s
      JOIN sync.connections n ON n.id = s.connection_id
      CROSS JOIN LATERAL sync._effective_interval(n.metadata #> '{sync,interval_seconds}') i
      WHERE s.due_at <= now() + interval '24 hours'
      UNION ALL
      SELECT t.connection_id, NULL, y.job_type, n.next_run_at, 'schedule', 'schedule ' || y.id || ', ' || y.name
      FROM sync.schedule_state t
      JOIN sync.sync_schedules y ON y.id = t.schedule_id
      CROSS JOIN LATERAL (SELECT CASE WHEN t.skips = '{}' THEN t.next_planned_at ELSE sync._next_run_at(y, t) END AS next_run_at) n
      WHERE t.next_planned_at <= now() + interval '24 hours' AND n.next_run_at <= now() + interval '24 hours' AND y.is_active) x
JOIN sync.connections c ON c.id = x.connection_id
JOIN sync.providers p ON p.slug = c.provider_slug
WHERE c.status = 'active' AND p.status = 'active';
COMMENT ON VIEW sync.upcoming IS
    'What begins in the next 24 hours: the next run of each connection or schedule, from where it comes (interval, schedule, queue, retry) and how it repeats';

-- Who is held back, each reason a branch of its own.
CREATE VIEW sync.throttled AS
SELECT 'provider' AS scope, p.slug AS provider_slug, NULL::text AS tenant_id, NULL::bigint AS connection_id, NULL::text AS external_id,
       NULL::bigint AS job_id, NULL::int AS attempts, NULL::timestamptz AS until,
       'paused' || COALESCE(': ' || p.status_reason, '') AS reason
FROM sync.providers p
WHERE p.status <> 'active'
UNION ALL
SELECT 'provider', l.slug, NULL, NULL, NULL, NULL, NULL, NULL, format('%s of %s jobs running', l.running, l.max_running)
FROM sync._provider_loads l
WHERE l.running >= l.max_running
UNION ALL
SELECT 'provider', l.slug, NULL, NULL, NULL, NULL, NULL, sync._next_request_at(l.busy_until, now(), l.requests_per_minute),
       l.requests_per_minute || ' pages a minute'
FROM sync._provider_loads l
WHERE sync._requests_left(l.busy_until, now(), l.requests_per_minute) < 1
UNION ALL
SELECT 'credentials', h.provider_slug, NULL, NULL, NULL, NULL, NULL, h.held_until, 'rate limited' || COALESCE(': ' || h.reason, '')
FROM sync.credential_holds h
WHERE h.held_until > now()
UNION ALL
SELECT 'tenant', NULL, l.tenant_id, NULL, NULL, NULL, NULL, NULL, format('%s of %s jobs running', l.running, l.max_running)
FROM sync._tenant_loads l
WHERE l.running >= l.max_running AND l.due <= now()
UNION ALL
SELECT 'connection', j.provider_slug, j.tenant_id, j.connection_id, c.external_id, j.id, j.attempts, j.retry_after,
       'rate limited' || COALESCE(': ' || left(j.error ->> 'message', 500), '')
FROM ONLY sync.sync_jobs j
JOIN sync.connections c ON c.id = j.connection_id
-- What sync_jobs_failing holds.
WHERE j.error_kind = 'rate_limited' AND j.retry_after > now() AND j.attempts > 0 AND j.status = 'queued';
COMMENT ON VIEW sync.throttled IS
    'Who is held back: paused providers, providers and tenants that run or ask for as much as they may, credentials and connections that the remote system has told to slow down, until when';
