-- What _take_jobs and _end_jobs do, by statements: where an application has put triggers, rules, generated columns or foreign keys on
-- the tables, so that these see what they would see of any other statement.

CREATE FUNCTION sync._take_jobs_by_statement(candidates tid[], incarnation text, as_of timestamptz,
    OUT job_id bigint, OUT claim_token uuid, OUT tenant_id text, OUT connection_id bigint, OUT provider_slug text, OUT job_type text,
    OUT priority int, OUT attempts int, OUT cursor jsonb, OUT input jsonb, OUT connector text, OUT config jsonb)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- Whom the remote has told to keep still is set to the end of that, so that no claim meets it again before.
    WITH held AS MATERIALIZED (
        SELECT j.ctid AS job_tid, s.held_until
        FROM unnest(candidates) w (tid)
        JOIN ONLY sync.sync_jobs j ON j.ctid = w.tid
        JOIN sync.connection_state s ON s.connection_id = j.connection_id
        WHERE j.status = 'queued' AND s.held_until > $3
        FOR NO KEY UPDATE OF j SKIP LOCKED
    )
    UPDATE ONLY sync.sync_jobs j SET retry_after = h.held_until FROM held h WHERE j.ctid = h.job_tid;
    RETURN QUERY
    WITH locked AS MATERIALIZED (
        -- Both rows are rechecked after locking, so the state seen is newer than the snapshot. Rows are found by their
        -- place: one that has moved since was changed by somebody, and is passed by like one that is locked.
        SELECT w.ordinality, j.ctid AS job_tid, s.ctid AS state_tid, j.id, j.connection_id,
               GREATEST(j.scheduled_at, j.retry_after) AS due,
               NULLIF(c.metadata -> 'sync' -> 'cursor', 'null') AS stored_cursor, p.connector,
               sync._merge_config(p.config, c.config, p.allowed_hosts) AS config
        FROM unnest(candidates) WITH ORDINALITY w (tid, ordinality)
        JOIN ONLY sync.sync_jobs j ON j.ctid = w.tid
        JOIN sync.connection_state s ON s.connection_id = j.connection_id
        JOIN sync.connections c ON c.id = j.connection_id
        JOIN sync.providers p ON p.slug = j.provider_slug
        WHERE j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) <= $3 AND s.running_job_id IS NULL
          AND (s.held_until IS NULL OR s.held_until <= $3) AND c.status = 'active' AND p.status = 'active'
        FOR NO KEY UPDATE OF j, s SKIP LOCKED
    ), leased AS (
        UPDATE sync.connection_state s SET running_job_id = o.id
        FROM (SELECT DISTINCT ON (k.connection_id) k.* FROM locked k ORDER BY k.connection_id, k.ordinality) o
        WHERE s.ctid = o.state_tid AND s.running_job_id IS NULL
        RETURNING o.*
    ), taken AS (
        UPDATE ONLY sync.sync_jobs j
        SET status = 'running', claimed_by = incarnation, claimed_at = $3, started_at = COALESCE(j.started_at, $3),
            claim_token = sync._new_token(), retry_after = NULL
        FROM leased l
        WHERE j.ctid = l.job_tid AND j.status = 'queued'
        RETURNING l.ordinality, l.due, l.stored_cursor, l.connector, l.config, j.id, j.claim_token, j.tenant_id, j.connection_id,
                  j.provider_slug, j.job_type, j.priority, j.attempts, NULLIF(j.cursor, 'null') AS cursor, j.input
    ), told AS (
        SELECT count(sync._metric_observe('sync_queue_lag_seconds', '',
                                          CASE WHEN isfinite(t.due) THEN date_part('epoch', $3 - t.due) ELSE 0 END)) AS n FROM taken t
    ), counted AS (
        SELECT count(sync._metric_add('sync_jobs_claimed_total', g.provider_slug, '', g.n)) AS n
        FROM (SELECT t.provider_slug, count(*) AS n FROM taken t GROUP BY 1) g
    )
    SELECT t.id, t.claim_token, t.tenant_id, t.connection_id, t.provider_slug, t.job_type, t.priority, t.attempts,
           CASE WHEN t.job_type = 'incremental' THEN COALESCE(t.cursor, t.stored_cursor) ELSE t.cursor END,
           t.input, t.connector, t.config
    FROM taken t
    CROSS JOIN told
    CROSS JOIN counted
    WHERE told.n >= 0 AND counted.n >= 0
    ORDER BY t.ordinality;
END
$$;
COMMENT ON FUNCTION sync._take_jobs_by_statement(tid[], text, timestamptz) IS 'Internal: _take_jobs where rows may not be written by place';

CREATE FUNCTION sync._end_jobs_by_statement(job_tids tid[], connection_tids tid[], received int[], inserted int[], next_cursors jsonb[],
    has_more boolean[], all_stats jsonb[], errors jsonb[], as_of timestamptz,
    OUT ord int, OUT id bigint, OUT tenant_id text, OUT provider_slug text, OUT connection_id bigint, OUT job_type text, OUT priority int,
    OUT attempts int, OUT scheduled_at timestamptz, OUT input jsonb, OUT run_id bigint, OUT page int, OUT stalled_pages int,
    OUT rerun_priority int, OUT claimed_by text, OUT claimed_at timestamptz, OUT claim_token uuid, OUT all_received int,
    OUT all_inserted int, OUT next_cursor jsonb, OUT more boolean, OUT stats jsonb, OUT error jsonb, OUT goes_on boolean, OUT active boolean,
    OUT schedule_id bigint, OUT planned_at timestamptz, OUT trigger_type text, OUT cursor_before jsonb)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH gone AS (
        DELETE FROM ONLY sync.sync_jobs j
        USING unnest($1, $3, $4, $5, $6, $7, $8) WITH ORDINALITY u (job_tid, received, inserted, next_cursor, more, stats, fault, ord)
        WHERE j.ctid = u.job_tid
        RETURNING j.*, u.ord::int AS ord, COALESCE(u.received, 0) + j.signals_inserted + j.signals_duplicate AS all_received,
                  COALESCE(u.inserted, 0) + j.signals_inserted AS all_inserted, u.next_cursor, COALESCE(u.more, false) AS more, u.stats, u.fault,
                  COALESCE(u.more, false) AND u.fault IS NULL AS goes_on
    ), judged AS MATERIALIZED (
        SELECT g.*, c.status = 'active' AS active, c.has_schedules, sync._job_cursor(g.job_type, g.cursor, c.metadata) AS cursor_before,
               sync._base_seconds(c.metadata) AS base_seconds,
               CASE WHEN g.fault IS NULL THEN 'succeeded' ELSE 'failed' END AS new_status
        FROM gone g JOIN sync.connections c ON c.id = g.connection_id
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at, schedule_id, planned_at,
            trigger_type)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.attempts,
            d.rate_limited_attempts, d.scheduled_at, d.retry_after, d.started_at, $9, d.cursor, d.input,
            COALESCE(d.fault, d.error), CASE WHEN d.fault IS NULL THEN d.error_kind ELSE 'permanent' END, d.run_id, d.page,
            d.stalled_pages, d.all_inserted, d.all_received - d.all_inserted, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at,
            d.schedule_id, d.planned_at, d.trigger_type
        FROM judged d
    ), moved AS (
        UPDATE sync.connections c
        SET last_incremental_finished_at = CASE WHEN d.ends_run THEN $9 ELSE c.last_incremental_finished_at END,
            metadata = sync._metadata_run(c.metadata, CASE WHEN d.ends_run AND NOT d.has_schedules THEN $9 + make_interval(secs => d.base_seconds) END, NULL,
                                          CASE WHEN d.keeps_cursor THEN d.next_cursor END)
        FROM (SELECT x.connection_id, x.next_cursor, x.base_seconds, x.has_schedules,
                     x.job_type = 'incremental' AND NOT x.goes_on AS ends_run,
                     x.next_cursor IS NOT NULL AND (x.job_type = 'incremental' OR NOT x.more) AS keeps_cursor
              FROM judged x) d
        WHERE c.id = d.connection_id AND (d.ends_run OR d.keeps_cursor)
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN d.job_type = 'incremental' AND NOT d.goes_on AND d.active AND NOT d.has_schedules AND d.rerun_priority IS NULL
                          THEN $9 + make_interval(secs => d.base_seconds)
                          WHEN d.job_type = 'incremental' THEN NULL
                          ELSE s.due_at END
        FROM judged d
        WHERE s.connection_id = d.connection_id
    ), counted AS (
        SELECT count(sync._metric_add(CASE WHEN g.new_status = 'failed' THEN 'sync_jobs_failed_total' ELSE 'sync_jobs_succeeded_total' END,
                         g.provider_slug, CASE WHEN g.new_status = 'failed' THEN 'permanent' ELSE '' END, g.n)) AS n,
               count(sync._metric_add('sync_signals_total', g.provider_slug, '', g.inserted)) AS n2,
               count(sync._metric_add('sync_signals_duplicate_total', g.provider_slug, '', g.duplicate)) AS n3
        FROM (SELECT d.provider_slug, d.new_status, count(*) AS n, sum(d.all_inserted) AS inserted, sum(d.all_received - d.all_inserted) AS duplicate
              FROM judged d GROUP BY 1, 2) g
    ), told AS (
        SELECT count(sync._metric_observe('sync_run_duration_seconds', '', GREATEST(date_part('epoch', $9 - d.claimed_at), 0))) AS n FROM judged d
    )
    SELECT d.ord, d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.priority, d.attempts, d.scheduled_at, d.input, d.run_id,
           d.page, d.stalled_pages, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.all_received, d.all_inserted, d.next_cursor,
           d.more, d.stats, d.fault, d.goes_on, d.active, d.schedule_id, d.planned_at, d.trigger_type, d.cursor_before
    FROM judged d
    CROSS JOIN counted
    CROSS JOIN told
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND counted.n3 >= 0 AND told.n >= 0;
END
$$;
COMMENT ON FUNCTION sync._end_jobs_by_statement(tid[], tid[], int[], int[], jsonb[], boolean[], jsonb[], jsonb[], timestamptz) IS
    'Internal: _end_jobs where rows may not be written by place';
