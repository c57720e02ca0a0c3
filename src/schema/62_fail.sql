-- Attempts that did not succeed: failed, lost, cancelled.

CREATE FUNCTION sync.backoff_seconds(attempts int, provider_slug text DEFAULT NULL, hint_seconds numeric DEFAULT NULL) RETURNS numeric
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p sync.providers;
BEGIN
    IF provider_slug IS NOT NULL THEN
        SELECT x.* INTO p FROM sync.providers x WHERE x.slug = provider_slug;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('provider %s does not exist', provider_slug);
        END IF;
    END IF;
    RETURN sync._backoff(attempts, COALESCE(p.backoff_base_seconds, sync._setting('backoff_base_seconds')),
                         COALESCE(p.backoff_max_seconds, sync._setting('backoff_max_seconds')), hint_seconds);
END
$$;
COMMENT ON FUNCTION sync.backoff_seconds(int, text, numeric) IS
    'Seconds to wait after a failure, given the failures before it, without jitter: min(base * 2^attempts, max), or the hint if that is longer';

CREATE FUNCTION sync._cut_error(error jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
               WHEN error IS NULL OR error OPERATOR(pg_catalog.=) 'null'::pg_catalog.jsonb THEN '{}'::pg_catalog.jsonb
               WHEN pg_catalog.length(error::pg_catalog.text) OPERATOR(pg_catalog.>) 16384 THEN pg_catalog.jsonb_build_object(
                   'message', pg_catalog."left"(COALESCE(error OPERATOR(pg_catalog.->>) 'message', error::pg_catalog.text), 8192), 'truncated', true)
               WHEN pg_catalog.jsonb_typeof(error) OPERATOR(pg_catalog.=) 'object' THEN error
               ELSE pg_catalog.jsonb_build_object('message', error OPERATOR(pg_catalog.#>>) '{}')
           END
$$;
COMMENT ON FUNCTION sync._cut_error(jsonb) IS 'Internal: an error as an object of bounded size';

CREATE FUNCTION sync._fail(job_ids bigint[], errors jsonb[], kinds text[], hints numeric[], as_of timestamptz, callers text[],
    OUT job_id bigint, OUT job_status text, OUT retry_after timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    base_default float8 := sync._setting('backoff_base_seconds');
    max_default float8 := sync._setting('backoff_max_seconds');
    jitter_default float8 := sync._setting('backoff_jitter_factor');
    attempts_default int := sync._setting('max_attempts');
    refused bigint[];
    limited record;
BEGIN
    PERFORM sync._ensure_history(as_of);
    SELECT array_agg(j.connection_id) INTO refused
    FROM unnest($1, $3) u (id, kind) JOIN ONLY sync.sync_jobs j ON j.id = u.id
    WHERE u.kind = 'unauthorized';
    IF 'rate_limited' = ANY ($3) THEN
        SELECT array_agg(j.connection_id) AS connections, array_agg($5 + make_interval(secs => b.wait)) AS untils,
               array_agg(left(sync._cut_error(u.error) ->> 'message', 500)) AS reasons
        INTO limited
        FROM unnest($1, $2, $3, $4) u (id, error, kind, hint)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        JOIN sync.providers p ON p.slug = j.provider_slug
        CROSS JOIN LATERAL (SELECT sync._backoff(j.attempts, COALESCE(p.backoff_base_seconds, base_default),
                                                 COALESCE(p.backoff_max_seconds, max_default), u.hint)::float8 AS wait) b
        WHERE u.kind = 'rate_limited';
        PERFORM sync._hold_credentials(limited.connections, limited.untils, limited.reasons, as_of);
    END IF;
    RETURN QUERY
    WITH result AS MATERIALIZED (
        SELECT j.*, sync._cut_error(u.error) || jsonb_build_object('kind', u.kind) AS new_error, u.kind AS new_kind, u.caller,
               c.status = 'active' AS active, c.has_schedules, sync._base_seconds(c.metadata) AS base_seconds,
               sync._job_cursor(j.job_type, j.cursor, c.metadata) AS cursor_before,
               j.attempts + 1 AS new_attempts, j.rate_limited_attempts + (u.kind = 'rate_limited')::int AS new_limited,
               b.wait, COALESCE(p.max_attempts, attempts_default) AS max_attempts,
               $5 + make_interval(secs => (b.wait + random() * COALESCE(p.backoff_jitter_factor, jitter_default) * b.wait)) AS again_at
        FROM unnest($1, $2, $3, $4, $6) u (id, error, kind, hint, caller)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        JOIN sync.connections c ON c.id = j.connection_id
        JOIN sync.providers p ON p.slug = j.provider_slug
        CROSS JOIN LATERAL (SELECT sync._backoff(j.attempts, COALESCE(p.backoff_base_seconds, base_default),
                                                 COALESCE(p.backoff_max_seconds, max_default), u.hint)::float8 AS wait) b
    ), judged AS MATERIALIZED (
        -- What waits for the next run goes with the one that is made, or with the next attempt of the first page.
        SELECT x.*, CASE WHEN x.rerun_priority IS NOT NULL AND (x.new_status = 'queued' AND x.page = 1 OR x.followed)
                         THEN sync._take_pending(x.connection_id, x.job_type) END AS pending
        FROM (SELECT y.*, y.new_status <> 'queued' AND y.active AND y.rerun_priority IS NOT NULL AND y.new_kind <> 'unauthorized' AS followed
              FROM (SELECT r.*, CASE
                                    WHEN r.new_kind IN ('unauthorized', 'permanent') OR r.new_attempts - r.new_limited >= r.max_attempts THEN 'failed'
                                    WHEN NOT r.active THEN 'cancelled'
                                    ELSE 'queued'
                                END AS new_status
                    FROM result r) y) x
    ), requeued AS (
        UPDATE ONLY sync.sync_jobs j
        SET status = 'queued', attempts = d.new_attempts, rate_limited_attempts = d.new_limited, retry_after = d.again_at,
            error = d.new_error, error_kind = d.new_kind, claimed_by = NULL, claimed_at = NULL, claim_token = NULL,
            signals_inserted = 0, signals_duplicate = 0,
            priority = GREATEST(j.priority, CASE WHEN j.page = 1 THEN j.rerun_priority END),
            rerun_priority = CASE WHEN j.page > 1 THEN j.rerun_priority END,
            input = sync._joined_input(j.input, d.pending), trigger_type = sync._joined_type(j.trigger_type, j.planned_at, d.pending)
        FROM judged d
        WHERE j.id = d.id AND d.new_status = 'queued'
    ), ended AS (
        DELETE FROM ONLY sync.sync_jobs j USING judged d WHERE j.id = d.id AND d.new_status <> 'queued' RETURNING j.id, j.connection_id
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at, schedule_id, planned_at,
            trigger_type)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.new_attempts,
            d.new_limited, d.scheduled_at, d.retry_after, d.started_at, $5, d.cursor, d.input, d.new_error, d.new_kind, d.run_id, d.page,
            d.stalled_pages, d.signals_inserted, d.signals_duplicate, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at,
            d.schedule_id, d.planned_at, d.trigger_type
        FROM judged d JOIN ended e ON e.id = d.id
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            retry_after, error, claimed_by, claim_token, ended_by, schedule_id, planned_at, trigger_type, cursor_before)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.new_attempts, d.page, 'failed', d.new_status,
            d.new_kind, d.scheduled_at, d.claimed_at, $5, GREATEST(date_part('epoch', $5 - d.claimed_at), 0) * 1000,
            d.signals_inserted + d.signals_duplicate, d.signals_inserted, d.signals_duplicate,
            CASE WHEN d.new_status = 'queued' THEN d.again_at END, d.new_error, d.claimed_by, d.claim_token, d.caller,
            d.schedule_id, d.planned_at, sync._trigger_type(d.trigger_type, d.attempts, d.page), d.cursor_before
        FROM judged d
    ), again AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, input, run_id, created_at,
            schedule_id, trigger_type)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.rerun_priority, GREATEST($5, (n.pending).not_before),
               (n.pending).input, n.id, $5, (n.pending).schedule_id, COALESCE((n.pending).trigger_type, 'manual')
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.rerun_priority,
                     d.pending
              FROM judged d JOIN ended e ON e.id = d.id
              WHERE d.followed) n
    ), aside AS (
        SELECT count(sync._set_pending_aside(d.connection_id, d.job_type, d.rerun_priority,
                                             CASE WHEN d.new_kind = 'unauthorized' AND d.active THEN 'connection is error: unauthorized' END, $5)) AS n
        FROM judged d WHERE d.rerun_priority IS NOT NULL AND d.new_status <> 'queued' AND NOT d.followed
    ), moved AS (
        UPDATE sync.connections c
        SET status = CASE WHEN d.new_kind = 'unauthorized' AND d.active THEN 'error' ELSE c.status END,
            status_reason = CASE WHEN d.new_kind = 'unauthorized' AND d.active
                                 THEN left('unauthorized: ' || COALESCE(d.new_error ->> 'message', 'the provider refused the credentials'), 500)
                                 ELSE c.status_reason END,
            last_incremental_finished_at = CASE WHEN d.ends_run THEN $5 ELSE c.last_incremental_finished_at END,
            metadata = CASE WHEN d.ends_run AND NOT d.has_schedules THEN sync._metadata_with(c.metadata, jsonb_build_object('next_run_at',
                            sync._format_utc($5 + make_interval(secs => d.base_seconds)))) ELSE c.metadata END
        FROM (SELECT x.*, x.job_type = 'incremental' AND x.new_status = 'failed' AS ends_run FROM judged x) d
        WHERE c.id = d.connection_id AND (d.ends_run OR (d.new_kind = 'unauthorized' AND d.active))
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN NOT d.active OR d.has_schedules OR d.new_kind = 'unauthorized' THEN NULL
                          WHEN d.job_type = 'incremental' AND d.new_status = 'failed' AND d.rerun_priority IS NULL
                              THEN $5 + make_interval(secs => d.base_seconds)
                          WHEN d.job_type = 'incremental' THEN NULL
                          ELSE s.due_at END
        FROM judged d
        WHERE s.connection_id = d.connection_id
    ), counted AS (
        SELECT count(sync._metric_add('sync_jobs_failed_total', g.provider_slug, g.new_kind, g.n)) AS n,
               count(CASE WHEN g.new_kind = 'rate_limited' THEN sync._metric_add('rate_limited_total', g.provider_slug, '', g.n) END) AS n2
        FROM (SELECT d.provider_slug, d.new_kind, count(*) AS n FROM judged d GROUP BY 1, 2) g
    ), told AS (
        SELECT count(CASE WHEN d.new_kind = 'rate_limited' THEN sync._metric_observe('rate_limited_backoff_seconds', '', d.wait) END) AS n
        FROM judged d
    )
    SELECT d.id, d.new_status, CASE WHEN d.new_status = 'queued' THEN d.again_at END
    FROM judged d
    CROSS JOIN counted
    CROSS JOIN told
    CROSS JOIN aside
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND told.n >= 0 AND aside.n >= 0;

    IF refused IS NOT NULL THEN
        PERFORM sync._cancel_queued(refused, 'connection is error: unauthorized', as_of);
    END IF;
    PERFORM sync._attempts_failed($1, as_of);
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._fail(bigint[], jsonb[], text[], numeric[], timestamptz, text[]) IS
    'Internal: ends the attempts of running jobs that the caller has locked: queued again with backoff, or failed';

CREATE FUNCTION sync._fail_as_lost(job_ids bigint[], claim_tokens uuid[], reason text, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    mine bigint[];
BEGIN
    IF job_ids IS NULL THEN
        RETURN 0;
    END IF;
    mine := sync._lock_running(job_ids, claim_tokens);
    IF mine IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM sync._fail(mine, array_fill(jsonb_build_object('message', reason), ARRAY[cardinality(mine)]),
                       array_fill('lost'::text, ARRAY[cardinality(mine)]), array_fill(NULL::numeric, ARRAY[cardinality(mine)]), as_of,
                       array_fill('lost'::text, ARRAY[cardinality(mine)]));
    RETURN cardinality(mine);
END
$$;
COMMENT ON FUNCTION sync._fail_as_lost(bigint[], uuid[], text, timestamptz) IS 'Internal: fails running jobs whose executor is gone';

CREATE FUNCTION sync._fail_lost(as_of timestamptz, max_rows int, OUT requeued int, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    lease interval := make_interval(secs => sync._setting('lease_seconds'));
    max_run float8 := sync._setting('max_run_seconds');
    lost record;
BEGIN
    requeued := 0;
    more := false;
    -- The set of running jobs is small; what another session holds is left to the next tick.
    SELECT array_agg(x.id) FILTER (WHERE NOT x.overran) AS expired, array_agg(x.claim_token) FILTER (WHERE NOT x.overran) AS expired_tokens,
           array_agg(x.id) FILTER (WHERE x.overran) AS overdue, array_agg(x.claim_token) FILTER (WHERE x.overran) AS overdue_tokens,
           count(*) AS n
    INTO lost
    FROM (
        SELECT j.id, j.claim_token, j.claimed_at <= as_of - make_interval(secs => COALESCE(p.max_run_seconds, max_run)) AS overran
        FROM ONLY sync.sync_jobs j
        JOIN sync.connections c ON c.id = j.connection_id
        JOIN sync.connection_state s ON s.connection_id = j.connection_id
        JOIN sync.providers p ON p.slug = j.provider_slug
        LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
        WHERE j.status = 'running'
          AND (j.claimed_at <= as_of - make_interval(secs => COALESCE(p.max_run_seconds, max_run))
               OR (j.claimed_at <= as_of - lease AND (e.heartbeat_at IS NULL OR e.heartbeat_at <= as_of - lease)))
        ORDER BY j.connection_id
        LIMIT max_rows
        FOR NO KEY UPDATE OF c, s SKIP LOCKED FOR UPDATE OF j SKIP LOCKED) x;
    IF lost.n = 0 OR NOT sync._history_is_free(as_of) THEN
        RETURN;
    END IF;
    requeued := sync._fail_as_lost(lost.expired, lost.expired_tokens, 'no heartbeat of its executor within the lease', as_of)
                + sync._fail_as_lost(lost.overdue, lost.overdue_tokens, 'ran longer than max_run_seconds', as_of);
    more := COALESCE(lost.n >= max_rows, false);
END
$$;
COMMENT ON FUNCTION sync._fail_lost(timestamptz, int) IS 'Internal: fails jobs whose lease or maximum run time is over';

CREATE FUNCTION sync._cancel(job_ids bigint[], reason text, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    cancelled int;
BEGIN
    PERFORM sync._ensure_history(as_of);
    WITH ended AS (
        DELETE FROM ONLY sync.sync_jobs j WHERE j.id = ANY ($1) AND j.status IN ('queued', 'running') RETURNING j.*
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at, schedule_id, planned_at,
            trigger_type)
        SELECT e.id, e.tenant_id, e.provider_slug, e.connection_id, e.job_type, 'cancelled', e.priority, e.attempts,
            e.rate_limited_attempts, e.scheduled_at, e.retry_after, e.started_at, $3, e.cursor, e.input,
            COALESCE(e.error, '{}') || jsonb_build_object('cancelled', $2), e.error_kind, e.run_id, e.page,
            e.stalled_pages, e.signals_inserted, e.signals_duplicate, e.rerun_priority, e.claimed_by, e.claimed_at, e.claim_token, e.created_at,
            e.schedule_id, e.planned_at, e.trigger_type
        FROM ended e
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate, error, claimed_by, claim_token,
            ended_by, schedule_id, planned_at, trigger_type, cursor_before)
        SELECT e.tenant_id, e.provider_slug, e.connection_id, e.id, e.run_id, e.job_type, e.attempts + 1, e.page, 'cancelled', 'cancelled',
            e.scheduled_at, e.claimed_at, $3, GREATEST(date_part('epoch', $3 - e.claimed_at), 0) * 1000,
            e.signals_inserted + e.signals_duplicate, e.signals_inserted, e.signals_duplicate,
            jsonb_build_object('message', $2), e.claimed_by, e.claim_token, 'cancel',
            e.schedule_id, e.planned_at, sync._trigger_type(e.trigger_type, e.attempts, e.page), sync._job_cursor(e.job_type, e.cursor, c.metadata)
        FROM ended e JOIN sync.connections c ON c.id = e.connection_id
        WHERE e.status = 'running'
    ), asked AS MATERIALIZED (
        -- What triggers asked for while it ran is not cancelled with it, nor what arrived since it had begun.
        SELECT e.*, CASE WHEN c.status = 'active' AND (e.status = 'running' OR e.page > 1)
                         THEN sync._take_pending(e.connection_id, e.job_type) END AS pending,
               c.status = 'active' AND e.status = 'running' AS was_running, c.status = 'active' AND (e.status = 'running' OR e.page > 1) AS had_begun
        FROM ended e JOIN sync.connections c ON c.id = e.connection_id
        WHERE e.rerun_priority IS NOT NULL
    ), again AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, input, run_id, created_at,
            schedule_id, trigger_type)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.rerun_priority, GREATEST($3, (n.pending).not_before),
               (n.pending).input, n.id, $3, (n.pending).schedule_id, COALESCE((n.pending).trigger_type, 'manual')
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, a.tenant_id, a.provider_slug, a.connection_id, a.job_type, a.rerun_priority,
                     a.pending
              FROM asked a WHERE a.was_running OR (a.pending).input IS NOT NULL) n
        RETURNING connection_id, job_type
    ), aside AS (
        SELECT count(sync._set_pending_aside(a.connection_id, a.job_type, a.rerun_priority, $2, $3)) AS n FROM asked a WHERE NOT a.had_begun
    ), stated AS (
        -- A cancelled run leaves next_run_at as it is: the next slot is used.
        UPDATE sync.connection_state s
        SET running_job_id = CASE WHEN s.running_job_id = ANY ($1) THEN NULL ELSE s.running_job_id END,
            due_at = CASE WHEN c.status <> 'active' OR c.has_schedules OR x.again THEN NULL
                          WHEN x.incremental THEN sync._looked_at(c.metadata)
                          ELSE s.due_at END
        FROM (SELECT e.connection_id, bool_or(e.job_type = 'incremental') AS incremental,
                     bool_or(e.job_type = 'incremental' AND EXISTS (SELECT 1 FROM again a WHERE a.connection_id = e.connection_id
                                                                                            AND a.job_type = e.job_type)) AS again
              FROM ended e GROUP BY 1) x
        JOIN sync.connections c ON c.id = x.connection_id
        WHERE s.connection_id = x.connection_id
    )
    SELECT (SELECT count(*) FROM ended e) INTO cancelled FROM aside WHERE aside.n >= 0;
    RETURN cancelled;
END
$$;
COMMENT ON FUNCTION sync._cancel(bigint[], text, timestamptz) IS 'Internal: cancels live jobs whose connections the caller has locked';

CREATE FUNCTION sync._cancel_queued(connections bigint[], reason text, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    queued bigint[];
BEGIN
    SELECT array_agg(l.id) INTO queued
    FROM (SELECT j.id FROM ONLY sync.sync_jobs j
          WHERE j.connection_id = ANY (connections) AND j.status = 'queued' ORDER BY j.id FOR UPDATE) l;
    IF queued IS NULL THEN
        RETURN 0;
    END IF;
    RETURN sync._cancel(queued, reason, as_of);
END
$$;
COMMENT ON FUNCTION sync._cancel_queued(bigint[], text, timestamptz) IS 'Internal: cancels what is queued for connections that the caller has locked';
