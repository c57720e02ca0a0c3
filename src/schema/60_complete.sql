-- Completing jobs. Whoever waits locks connections first, then jobs, both in id order.

CREATE FUNCTION sync._lock_results(job_ids bigint[], claim_tokens uuid[],
    OUT positions int[], OUT ids bigint[], OUT tokens uuid[], OUT job_tids tid[], OUT connection_tids tid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
BEGIN
    -- Each row is read anew once its lock is there. A job is locked by those only who hold its connection, so that taking
    -- the two together, row by row, cannot meet somebody who has them the other way round.
    SELECT array_agg(x.ord ORDER BY x.ord), array_agg(x.id ORDER BY x.ord), array_agg(x.token ORDER BY x.ord),
           array_agg(x.job_tid ORDER BY x.ord), array_agg(x.connection_tid ORDER BY x.ord)
    INTO positions, ids, tokens, job_tids, connection_tids
    FROM (
        SELECT DISTINCT ON (l.id) l.*
        FROM (
            -- COALESCE keeps the planner from reading all running jobs by their index instead of these few by id.
            SELECT u.ord::int, j.id, u.token, j.ctid AS job_tid, c.ctid AS connection_tid
            FROM unnest(job_ids, claim_tokens) WITH ORDINALITY u (id, token, ord)
            JOIN ONLY sync.sync_jobs j ON j.id = u.id
            JOIN sync.connections c ON c.id = j.connection_id
            WHERE COALESCE(j.status, '') = 'running' AND j.claim_token = u.token
            ORDER BY c.id, j.id FOR NO KEY UPDATE OF c FOR UPDATE OF j) l
        ORDER BY l.id, l.ord) x;
END
$$;
COMMENT ON FUNCTION sync._lock_results(bigint[], uuid[]) IS
    'Internal: locks the connections and jobs that are running under these tokens; each job once, by its first position, with the places of both rows';

CREATE FUNCTION sync._lock_running(job_ids bigint[], claim_tokens uuid[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT l.ids FROM sync._lock_results(job_ids, claim_tokens) l);
END
$$;
COMMENT ON FUNCTION sync._lock_running(bigint[], uuid[]) IS 'Internal: locks the connections and jobs that are running under these tokens and returns the jobs, each once';

CREATE FUNCTION sync._land_new_signals(job_ids bigint[], signals jsonb[], as_of timestamptz, OUT job_id bigint, OUT received int, OUT inserted int)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    seen_in oid[];
    key_days int := sync._setting('dedupe_retention_days');
BEGIN
    -- Newest first; a month is asked until it is over for so long.
    SELECT array_agg(i.index::oid ORDER BY p.range_from DESC) INTO seen_in
    FROM sync.partitions p CROSS JOIN LATERAL to_regclass(format('sync.%I', p.name || '_dedupe')) i (index)
    WHERE p.parent IN ('signals', 'signal_keys') AND i.index IS NOT NULL
      AND (key_days <= 0 OR p.range_to >= as_of - make_interval(hours => 24 * key_days));
    RETURN QUERY
    WITH landed AS (
        -- Without ON CONFLICT, which would look up every key once more.
        INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key)
        SELECT j.tenant_id, j.provider_slug, j.connection_id, COALESCE(s.kind, 'signal'), COALESCE(s.occurred_at, $3), $3,
               COALESCE(s.payload, '{}'), s.dedupe_key
        FROM unnest($1, $2) u (id, signals)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        CROSS JOIN LATERAL sync._new_signals(u.signals, j.tenant_id, j.connection_id, seen_in) s
        RETURNING connection_id
    ), tally AS (
        SELECT l.connection_id, count(*)::int AS n FROM landed l GROUP BY 1
    )
    -- A connection has one running job, so counting by connection counts by job.
    SELECT j.id, jsonb_array_length(u.signals), COALESCE(t.n, 0)
    FROM unnest($1, $2) u (id, signals)
    JOIN ONLY sync.sync_jobs j ON j.id = u.id
    LEFT JOIN tally t ON t.connection_id = j.connection_id;
END
$$;
COMMENT ON FUNCTION sync._land_new_signals(bigint[], jsonb[], timestamptz) IS
    'Internal: inserts those signals of running jobs whose keys are new; 23505 when somebody else writes one of them meanwhile';

CREATE FUNCTION sync._land_signals(job_ids bigint[], signals jsonb[], as_of timestamptz, OUT job_id bigint, OUT received int, OUT inserted int)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- The connections are locked: nobody but an application that writes signals itself could be at the same keys.
    IF NOT (sync._is_locked(sync._by_hand_key())
            OR EXISTS (SELECT 1 FROM sync.signal_pages p WHERE p.by_hand AND p.received_at >= $3 - interval '31 days')) THEN
        RETURN QUERY SELECT l.job_id, l.received, l.inserted FROM sync._land_new_signals($1, $2, $3) l;
        RETURN;
    END IF;
    FOR attempt IN 1 .. 10 LOOP
        BEGIN
            RETURN QUERY SELECT l.job_id, l.received, l.inserted FROM sync._land_new_signals($1, $2, $3) l;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- What was written meanwhile is seen by the next attempt.
            IF attempt = 10 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._land_signals(bigint[], jsonb[], timestamptz) IS 'Internal: inserts the signals of running jobs that the caller has locked';

CREATE FUNCTION sync._complete(job_ids bigint[], job_tids tid[], connection_tids tid[], signals jsonb[], next_cursors jsonb[],
    more boolean[], stats jsonb[], as_of timestamptz, OUT job_id bigint, OUT job_status text, OUT detail text)
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
    IF EXISTS (SELECT 1 FROM unnest($4) s (page) WHERE jsonb_array_length(s.page) > 0) THEN
        SELECT array_agg(l.job_id), array_agg(l.received), array_agg(l.inserted)
        INTO landed_ids, landed_received, landed_inserted
        FROM sync._land_signals(
            (SELECT array_agg(u.id) FROM unnest($1, $4) u (id, signals) WHERE jsonb_array_length(u.signals) > 0),
            (SELECT array_agg(u.signals) FROM unnest($1, $4) u (id, signals) WHERE jsonb_array_length(u.signals) > 0), $8) l;
    END IF;

    RETURN QUERY
    WITH ended AS (
        -- All that follows reads from here, so that the end comes first: a follow-up job takes its predecessor's place.
        DELETE FROM ONLY sync.sync_jobs j
        USING unnest($2, $3, $5, $6, $7) u (job_tid, connection_tid, next_cursor, more, stats)
        WHERE j.ctid = u.job_tid
        RETURNING j.*, u.connection_tid, u.next_cursor, u.more, COALESCE(u.stats, '{}') AS stats
    ), result AS (
        SELECT j.*, c.status = 'active' AS active,
               sync._base_seconds(c.metadata) AS base_seconds,
               COALESCE(l.received, 0) + j.signals_inserted + j.signals_duplicate AS all_received,
               COALESCE(l.inserted, 0) + j.signals_inserted AS all_inserted,
               j.more AND COALESCE(l.inserted, 0) + j.signals_inserted = 0
                   AND j.next_cursor = CASE WHEN j.job_type = 'incremental'
                                            THEN COALESCE(NULLIF(j.cursor, 'null'), NULLIF(c.metadata #> '{sync,cursor}', 'null'))
                                            ELSE NULLIF(j.cursor, 'null') END AS stalled
        FROM ended j
        JOIN sync.connections c ON c.ctid = j.connection_tid
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
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.attempts,
            d.rate_limited_attempts, d.scheduled_at, d.retry_after, d.started_at, $8, d.cursor, d.input,
            CASE WHEN d.fault IS NULL THEN d.error ELSE jsonb_build_object('message', d.fault) END,
            CASE WHEN d.fault IS NULL THEN d.error_kind ELSE 'permanent' END, d.run_id, d.page,
            d.stalled_pages, d.all_inserted, d.all_received - d.all_inserted, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at
        FROM judged d
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            next_cursor, has_more, error, stats, claimed_by, claim_token)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.attempts + 1, d.page, d.new_status, d.new_status,
            CASE WHEN d.fault IS NOT NULL THEN 'permanent' END, d.scheduled_at, d.claimed_at, $8,
            GREATEST(date_part('epoch', $8 - d.claimed_at), 0) * 1000, d.all_received, d.all_inserted, d.all_received - d.all_inserted,
            d.next_cursor, d.more, CASE WHEN d.fault IS NOT NULL THEN jsonb_build_object('message', d.fault) END,
            d.stats, d.claimed_by, d.claim_token
        FROM judged d
    ), followed AS (
        -- The next page, and one more run where a trigger arrived meanwhile.
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, cursor, input, run_id,
            page, stalled_pages, rerun_priority, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type,
               CASE WHEN n.goes_on THEN n.priority ELSE n.rerun_priority END, $8,
               CASE WHEN n.goes_on THEN n.next_cursor END, CASE WHEN n.goes_on THEN n.input END,
               CASE WHEN n.goes_on THEN n.run_id ELSE n.id END,
               CASE WHEN n.goes_on THEN n.page + 1 ELSE 1 END,
               CASE WHEN n.goes_on AND n.stalled THEN n.stalled_pages + 1 ELSE 0 END,
               CASE WHEN n.goes_on THEN n.rerun_priority END, $8
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.priority,
                     d.rerun_priority, d.goes_on, d.next_cursor, d.input, d.run_id, d.page, d.stalled, d.stalled_pages
              FROM judged d
              WHERE d.active AND (d.goes_on OR d.rerun_priority IS NOT NULL)) n
        RETURNING connection_id, job_type
    ), moved AS (
        UPDATE sync.connections c
        SET last_incremental_finished_at = CASE WHEN d.ends_run THEN $8 ELSE c.last_incremental_finished_at END,
            metadata = sync._metadata_run(c.metadata, CASE WHEN d.ends_run THEN $8 + make_interval(secs => d.base_seconds) END, NULL,
                                          CASE WHEN d.keeps_cursor THEN d.next_cursor END)
        FROM (SELECT x.connection_tid, x.next_cursor, x.base_seconds,
                     x.job_type = 'incremental' AND NOT x.goes_on AS ends_run,
                     x.next_cursor IS NOT NULL AND (x.job_type = 'incremental' OR NOT x.more) AS keeps_cursor
              FROM judged x) d
        WHERE c.ctid = d.connection_tid AND (d.ends_run OR d.keeps_cursor)
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN d.job_type = 'incremental' AND NOT d.goes_on AND d.active AND d.rerun_priority IS NULL
                          THEN $8 + make_interval(secs => d.base_seconds)
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
        SELECT count(sync._metric_observe('sync_run_duration_seconds', '', GREATEST(date_part('epoch', $8 - d.claimed_at), 0))) AS n FROM judged d
    )
    SELECT d.id, d.new_status, d.fault
    FROM judged d
    CROSS JOIN counted
    CROSS JOIN told
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND counted.n3 >= 0 AND told.n >= 0;
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._complete(bigint[], tid[], tid[], jsonb[], jsonb[], boolean[], jsonb[], timestamptz) IS
    'Internal: ends running jobs that the caller has locked and checked, with all that belongs to it';
