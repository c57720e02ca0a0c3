-- Ending attempts: complete, fail, lost, cancelled. Whoever waits locks connections first, then jobs, both in id order.

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

CREATE FUNCTION sync._lock_running(job_ids bigint[], claim_tokens uuid[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    valid bigint[];
BEGIN
    PERFORM 1 FROM sync.connections c
    WHERE c.id IN (SELECT j.connection_id FROM ONLY sync.sync_jobs j
                   JOIN unnest(job_ids, claim_tokens) u (id, token) ON u.id = j.id
                   WHERE j.status = 'running' AND j.claim_token = u.token)
    ORDER BY c.id FOR NO KEY UPDATE;
    -- A new statement sees what was committed while the lock was waited for.
    SELECT array_agg(l.id) INTO valid
    FROM (SELECT j.id FROM ONLY sync.sync_jobs j
          JOIN unnest(job_ids, claim_tokens) u (id, token) ON u.id = j.id
          WHERE j.status = 'running' AND j.claim_token = u.token
          ORDER BY j.id FOR UPDATE OF j) l;
    RETURN valid;
END
$$;
COMMENT ON FUNCTION sync._lock_running(bigint[], uuid[]) IS 'Internal: locks the connections and jobs that are running under these tokens and returns the jobs';

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

CREATE FUNCTION sync._signals_fault(signals jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fault text;
BEGIN
    IF signals IS NULL THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(signals) <> 'array' THEN
        RETURN format('signals is a JSON %s, not an array', jsonb_typeof(signals));
    END IF;
    SELECT format('signals[%s]%s', s.ordinality - 1,
                  CASE
                      WHEN jsonb_typeof(s.value) <> 'object' THEN ' is a JSON ' || jsonb_typeof(s.value) || ', not an object'
                      WHEN jsonb_typeof(s.value -> 'kind') <> 'string' OR s.value ->> 'kind' = '' THEN '.kind is not a non-empty string'
                      WHEN jsonb_typeof(s.value -> 'dedupe_key') NOT IN ('string', 'number', 'null') THEN '.dedupe_key is not a string'
                      ELSE '.occurred_at is not a time such as 2026-03-01T12:15:00Z'
                  END)
    INTO fault
    FROM jsonb_array_elements(signals) WITH ORDINALITY s
    WHERE jsonb_typeof(s.value) <> 'object'
       OR jsonb_typeof(s.value -> 'kind') <> 'string' OR s.value ->> 'kind' = ''
       OR jsonb_typeof(s.value -> 'dedupe_key') NOT IN ('string', 'number', 'null')
       OR (jsonb_typeof(s.value -> 'occurred_at') <> 'null'
           AND (jsonb_typeof(s.value -> 'occurred_at') <> 'string' OR sync.parse_utc(s.value ->> 'occurred_at') IS NULL))
    LIMIT 1;
    RETURN fault;
END
$$;
COMMENT ON FUNCTION sync._signals_fault(jsonb) IS 'Internal: what is wrong with an array of signals, null when nothing is';

-- A key longer than an index entry may be is kept by its digest.
CREATE FUNCTION sync._dedupe_key(key text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN pg_catalog.octet_length(key) OPERATOR(pg_catalog.>) 512
                THEN 'sha256:' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(key, 'UTF8')), 'hex')
                ELSE key END
$$;
COMMENT ON FUNCTION sync._dedupe_key(text) IS 'Internal: a dedupe key as it is stored';

CREATE FUNCTION sync._land_signals(job_ids bigint[], signals jsonb[], as_of timestamptz, OUT job_id bigint, OUT received int, OUT inserted int)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    month_from timestamptz := date_trunc('month', as_of AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    month_to timestamptz := (date_trunc('month', as_of AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT j.id, j.tenant_id, j.provider_slug, j.connection_id, s.kind, s.occurred_at, s.payload,
               sync._dedupe_key(s.dedupe_key) AS dedupe_key
        FROM unnest($1, $2) u (id, signals)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        CROSS JOIN LATERAL jsonb_to_recordset(u.signals) s (kind text, occurred_at text, payload jsonb, dedupe_key text)
    ), landed AS (
        INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key)
        SELECT g.tenant_id, g.provider_slug, g.connection_id, COALESCE(g.kind, 'signal'),
               COALESCE(sync.parse_utc(g.occurred_at), $3), $3, COALESCE(g.payload, '{}'), g.dedupe_key
        FROM given g
        -- This month's partition is guarded by its unique index; only the others have to be asked.
        WHERE g.dedupe_key IS NULL OR NOT EXISTS (
            SELECT 1 FROM sync.signals x
            WHERE x.tenant_id = g.tenant_id AND x.connection_id = g.connection_id AND x.dedupe_key = g.dedupe_key
              AND (x.received_at < month_from OR x.received_at >= month_to))
        ON CONFLICT DO NOTHING
        RETURNING connection_id
    ), tally AS (
        SELECT l.connection_id, count(*)::int AS n FROM landed l GROUP BY 1
    )
    -- A connection has one running job, so counting by connection counts by job.
    SELECT r.id, r.n, COALESCE(t.n, 0)
    FROM (SELECT g.id, g.connection_id, count(*)::int AS n FROM given g GROUP BY 1, 2) r
    LEFT JOIN tally t ON t.connection_id = r.connection_id;
END
$$;
COMMENT ON FUNCTION sync._land_signals(bigint[], jsonb[], timestamptz) IS 'Internal: inserts the signals of running jobs that the caller has locked';

CREATE FUNCTION sync._complete(job_ids bigint[], signals jsonb[], next_cursors jsonb[], more boolean[], stats jsonb[], as_of timestamptz,
    OUT job_id bigint, OUT job_status text, OUT detail text)
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
    max_pages int := sync._setting('max_pages_per_run');
    landed_ids bigint[];
    landed_received int[];
    landed_inserted int[];
BEGIN
    PERFORM sync._ensure_history(as_of);
    SELECT array_agg(l.job_id), array_agg(l.received), array_agg(l.inserted)
    INTO landed_ids, landed_received, landed_inserted
    FROM sync._land_signals(
        (SELECT array_agg(u.id) FROM unnest($1, $2) u (id, signals) WHERE jsonb_array_length(u.signals) > 0),
        (SELECT array_agg(u.signals) FROM unnest($1, $2) u (id, signals) WHERE jsonb_array_length(u.signals) > 0), $6) l;

    RETURN QUERY
    WITH result AS MATERIALIZED (
        SELECT j.*, u.next_cursor, u.more, u.stats,
               c.status = 'active' AS active, i.base_seconds,
               COALESCE(l.received, 0) + j.signals_inserted + j.signals_duplicate AS all_received,
               COALESCE(l.inserted, 0) + j.signals_inserted AS all_inserted,
               u.more AND COALESCE(l.inserted, 0) + j.signals_inserted = 0
                   AND u.next_cursor = CASE WHEN j.job_type = 'incremental'
                                            THEN COALESCE(NULLIF(j.cursor, 'null'), NULLIF(c.metadata #> '{sync,cursor}', 'null'))
                                            ELSE NULLIF(j.cursor, 'null') END AS stalled
        FROM unnest($1, $3, $4, $5) u (id, next_cursor, more, stats)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        JOIN sync.connections c ON c.id = j.connection_id
        CROSS JOIN LATERAL sync._effective_interval(c.metadata #> '{sync,interval_seconds}') i
        LEFT JOIN unnest(landed_ids, landed_received, landed_inserted) l (id, received, inserted) ON l.id = j.id
    ), judged AS MATERIALIZED (
        SELECT r.*, f.fault, f.fault IS NULL AND r.more AS goes_on,
               CASE WHEN f.fault IS NULL THEN 'succeeded' ELSE 'failed' END AS new_status
        FROM result r
        CROSS JOIN LATERAL (
            SELECT CASE
                       WHEN r.more AND r.page >= max_pages THEN format('more than %s pages in one run', max_pages)
                       WHEN r.stalled AND r.stalled_pages >= 1 THEN 'two pages in a row returned their own cursor and no new signal'
                   END AS fault) f
    ), ended AS (
        DELETE FROM ONLY sync.sync_jobs j USING judged d WHERE j.id = d.id RETURNING j.id, j.connection_id
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.attempts,
            d.rate_limited_attempts, d.scheduled_at, d.retry_after, d.started_at, $6, d.cursor, d.input,
            CASE WHEN d.fault IS NULL THEN d.error ELSE jsonb_build_object('message', d.fault) END,
            CASE WHEN d.fault IS NULL THEN d.error_kind ELSE 'permanent' END, d.run_id, d.page,
            d.stalled_pages, d.all_inserted, d.all_received - d.all_inserted, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at
        FROM judged d JOIN ended e ON e.id = d.id
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            next_cursor, has_more, error, stats, claimed_by, claim_token)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.attempts + 1, d.page, d.new_status, d.new_status,
            CASE WHEN d.fault IS NOT NULL THEN 'permanent' END, d.scheduled_at, d.claimed_at, $6,
            extract(epoch FROM $6 - d.claimed_at) * 1000, d.all_received, d.all_inserted, d.all_received - d.all_inserted,
            d.next_cursor, d.more, CASE WHEN d.fault IS NOT NULL THEN jsonb_build_object('message', d.fault) END,
            d.stats, d.claimed_by, d.claim_token
        FROM judged d JOIN ended e ON e.id = d.id
    ), followed AS (
        -- The next page, and one more run where a trigger arrived meanwhile; reading from ended puts the end first.
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, cursor, input, run_id,
            page, stalled_pages, rerun_priority, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type,
               CASE WHEN n.goes_on THEN n.priority ELSE n.rerun_priority END, $6,
               CASE WHEN n.goes_on THEN n.next_cursor END, CASE WHEN n.goes_on THEN n.input END,
               CASE WHEN n.goes_on THEN n.run_id ELSE n.id END,
               CASE WHEN n.goes_on THEN n.page + 1 ELSE 1 END,
               CASE WHEN n.goes_on AND n.stalled THEN n.stalled_pages + 1 ELSE 0 END,
               CASE WHEN n.goes_on THEN n.rerun_priority END, $6
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.priority,
                     d.rerun_priority, d.goes_on, d.next_cursor, d.input, d.run_id, d.page, d.stalled, d.stalled_pages
              FROM judged d JOIN ended e ON e.id = d.id
              WHERE d.active AND (d.goes_on OR d.rerun_priority IS NOT NULL)) n
        RETURNING connection_id, job_type
    ), moved AS (
        UPDATE sync.connections c
        SET last_incremental_finished_at = CASE WHEN d.ends_run THEN $6 ELSE c.last_incremental_finished_at END,
            metadata = sync._metadata_with(c.metadata,
                CASE WHEN d.keeps_cursor THEN jsonb_build_object('cursor', d.next_cursor) ELSE '{}' END
                || CASE WHEN d.ends_run THEN jsonb_build_object('next_run_at',
                        sync._format_utc($6 + make_interval(secs => d.base_seconds))) ELSE '{}' END)
        FROM (SELECT x.connection_id, x.next_cursor, x.base_seconds,
                     x.job_type = 'incremental' AND NOT x.goes_on AS ends_run,
                     x.next_cursor IS NOT NULL AND (x.job_type = 'incremental' OR NOT x.more) AS keeps_cursor
              FROM judged x) d
        WHERE c.id = d.connection_id AND (d.ends_run OR d.keeps_cursor)
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN d.job_type = 'incremental' AND NOT d.goes_on AND d.active AND d.rerun_priority IS NULL
                          THEN $6 + make_interval(secs => d.base_seconds)
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
        SELECT count(sync._metric_observe('sync_run_duration_seconds', '', extract(epoch FROM $6 - d.claimed_at)::float8)) AS n FROM judged d
    )
    SELECT d.id, d.new_status, d.fault
    FROM judged d
    CROSS JOIN counted
    CROSS JOIN told
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND counted.n3 >= 0 AND told.n >= 0;
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._complete(bigint[], jsonb[], jsonb[], boolean[], jsonb[], timestamptz) IS
    'Internal: ends running jobs that the caller has locked and checked, with all that belongs to it';

CREATE FUNCTION sync._fail(job_ids bigint[], errors jsonb[], kinds text[], hints numeric[], as_of timestamptz,
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
BEGIN
    PERFORM sync._ensure_history(as_of);
    SELECT array_agg(j.connection_id) INTO refused
    FROM unnest($1, $3) u (id, kind) JOIN ONLY sync.sync_jobs j ON j.id = u.id
    WHERE u.kind = 'unauthorized';
    RETURN QUERY
    WITH result AS MATERIALIZED (
        SELECT j.*, sync._cut_error(u.error) || jsonb_build_object('kind', u.kind) AS new_error, u.kind AS new_kind,
               c.status = 'active' AS active, i.base_seconds,
               j.attempts + 1 AS new_attempts, j.rate_limited_attempts + (u.kind = 'rate_limited')::int AS new_limited,
               b.wait, COALESCE(p.max_attempts, attempts_default) AS max_attempts,
               $5 + make_interval(secs => (b.wait + random() * COALESCE(p.backoff_jitter_factor, jitter_default) * b.wait)) AS again_at
        FROM unnest($1, $2, $3, $4) u (id, error, kind, hint)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        JOIN sync.connections c ON c.id = j.connection_id
        JOIN sync.providers p ON p.slug = j.provider_slug
        CROSS JOIN LATERAL sync._effective_interval(c.metadata #> '{sync,interval_seconds}') i
        CROSS JOIN LATERAL (SELECT sync._backoff(j.attempts, COALESCE(p.backoff_base_seconds, base_default),
                                                 COALESCE(p.backoff_max_seconds, max_default), u.hint)::float8 AS wait) b
    ), judged AS MATERIALIZED (
        SELECT r.*, CASE
                        WHEN r.new_kind IN ('unauthorized', 'permanent') OR r.new_attempts - r.new_limited >= r.max_attempts THEN 'failed'
                        WHEN NOT r.active THEN 'cancelled'
                        ELSE 'queued'
                    END AS new_status
        FROM result r
    ), requeued AS (
        UPDATE ONLY sync.sync_jobs j
        SET status = 'queued', attempts = d.new_attempts, rate_limited_attempts = d.new_limited, retry_after = d.again_at,
            error = d.new_error, error_kind = d.new_kind, claimed_by = NULL, claimed_at = NULL, claim_token = NULL,
            signals_inserted = 0, signals_duplicate = 0,
            priority = GREATEST(j.priority, CASE WHEN j.page = 1 THEN j.rerun_priority END),
            rerun_priority = CASE WHEN j.page > 1 THEN j.rerun_priority END
        FROM judged d
        WHERE j.id = d.id AND d.new_status = 'queued'
    ), ended AS (
        DELETE FROM ONLY sync.sync_jobs j USING judged d WHERE j.id = d.id AND d.new_status <> 'queued' RETURNING j.id, j.connection_id
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.new_attempts,
            d.new_limited, d.scheduled_at, d.retry_after, d.started_at, $5, d.cursor, d.input, d.new_error, d.new_kind, d.run_id, d.page,
            d.stalled_pages, d.signals_inserted, d.signals_duplicate, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at
        FROM judged d JOIN ended e ON e.id = d.id
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            retry_after, error, claimed_by, claim_token)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.new_attempts, d.page, 'failed', d.new_status,
            d.new_kind, d.scheduled_at, d.claimed_at, $5, extract(epoch FROM $5 - d.claimed_at) * 1000,
            d.signals_inserted + d.signals_duplicate, d.signals_inserted, d.signals_duplicate,
            CASE WHEN d.new_status = 'queued' THEN d.again_at END, d.new_error, d.claimed_by, d.claim_token
        FROM judged d
    ), again AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.rerun_priority, $5, n.id, $5
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.rerun_priority
              FROM judged d JOIN ended e ON e.id = d.id
              WHERE d.active AND d.rerun_priority IS NOT NULL AND d.new_kind <> 'unauthorized') n
    ), moved AS (
        UPDATE sync.connections c
        SET status = CASE WHEN d.new_kind = 'unauthorized' AND d.active THEN 'error' ELSE c.status END,
            status_reason = CASE WHEN d.new_kind = 'unauthorized' AND d.active
                                 THEN left('unauthorized: ' || COALESCE(d.new_error ->> 'message', 'the provider refused the credentials'), 500)
                                 ELSE c.status_reason END,
            last_incremental_finished_at = CASE WHEN d.ends_run THEN $5 ELSE c.last_incremental_finished_at END,
            metadata = CASE WHEN d.ends_run THEN sync._metadata_with(c.metadata, jsonb_build_object('next_run_at',
                            sync._format_utc($5 + make_interval(secs => d.base_seconds)))) ELSE c.metadata END
        FROM (SELECT x.*, x.job_type = 'incremental' AND x.new_status = 'failed' AS ends_run FROM judged x) d
        WHERE c.id = d.connection_id AND (d.ends_run OR (d.new_kind = 'unauthorized' AND d.active))
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN NOT d.active OR d.new_kind = 'unauthorized' THEN NULL
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
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND told.n >= 0;

    IF refused IS NOT NULL THEN
        PERFORM sync._cancel_queued(refused, 'connection is error: unauthorized', as_of);
    END IF;
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._fail(bigint[], jsonb[], text[], numeric[], timestamptz) IS
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
                       array_fill('lost'::text, ARRAY[cardinality(mine)]), array_fill(NULL::numeric, ARRAY[cardinality(mine)]), as_of);
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
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT e.id, e.tenant_id, e.provider_slug, e.connection_id, e.job_type, 'cancelled', e.priority, e.attempts,
            e.rate_limited_attempts, e.scheduled_at, e.retry_after, e.started_at, $3, e.cursor, e.input,
            COALESCE(e.error, '{}') || jsonb_build_object('cancelled', $2), e.error_kind, e.run_id, e.page,
            e.stalled_pages, e.signals_inserted, e.signals_duplicate, e.rerun_priority, e.claimed_by, e.claimed_at, e.claim_token, e.created_at
        FROM ended e
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate, error, claimed_by, claim_token)
        SELECT e.tenant_id, e.provider_slug, e.connection_id, e.id, e.run_id, e.job_type, e.attempts + 1, e.page, 'cancelled', 'cancelled',
            e.scheduled_at, e.claimed_at, $3, extract(epoch FROM $3 - e.claimed_at) * 1000,
            e.signals_inserted + e.signals_duplicate, e.signals_inserted, e.signals_duplicate,
            jsonb_build_object('message', $2), e.claimed_by, e.claim_token
        FROM ended e WHERE e.status = 'running'
    ), again AS (
        -- What triggers asked for while it ran is not cancelled with it.
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.rerun_priority, $3, n.id, $3
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, e.tenant_id, e.provider_slug, e.connection_id, e.job_type, e.rerun_priority
              FROM ended e JOIN sync.connections c ON c.id = e.connection_id
              WHERE c.status = 'active' AND e.status = 'running' AND e.rerun_priority IS NOT NULL) n
    ), stated AS (
        -- A cancelled run leaves next_run_at as it is: the next slot is used.
        UPDATE sync.connection_state s
        SET running_job_id = CASE WHEN s.running_job_id = ANY ($1) THEN NULL ELSE s.running_job_id END,
            due_at = CASE WHEN c.status <> 'active' OR x.again THEN NULL
                          WHEN x.incremental THEN sync._looked_at(c.metadata)
                          ELSE s.due_at END
        FROM (SELECT e.connection_id, bool_or(e.job_type = 'incremental') AS incremental,
                     bool_or(e.job_type = 'incremental' AND e.status = 'running' AND e.rerun_priority IS NOT NULL) AS again
              FROM ended e GROUP BY 1) x
        JOIN sync.connections c ON c.id = x.connection_id
        WHERE s.connection_id = x.connection_id
    )
    SELECT count(*) INTO cancelled FROM ended e;
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
