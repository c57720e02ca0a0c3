-- Completing jobs. Whoever waits locks connections first, then jobs, both in id order.

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

-- Whoever queues a job of a connection that is being freed waits for its state, and wakes them later than this. Many at once keep
-- executors busy anyway.
CREATE FUNCTION sync._wake_after(connection_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
BEGIN
    IF connection_ids IS NULL OR cardinality(connection_ids) > 16 OR current_setting('transaction_isolation') <> 'read committed'
       OR EXISTS (SELECT 1 FROM unnest(connection_ids) u (id) JOIN ONLY sync.sync_jobs j ON j.connection_id = u.id AND j.status = 'queued')
       OR EXISTS (SELECT 1 FROM sync.tenant_limits l WHERE l.max_running IS NOT NULL)
          AND EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.status = 'queued' AND j.own_lane)
       OR EXISTS (SELECT 1 FROM sync.providers p WHERE p.max_running IS NOT NULL) THEN
        PERFORM sync._wake_executors();
    END IF;
END
$$;
COMMENT ON FUNCTION sync._wake_after(bigint[]) IS 'Internal: wakes executors if jobs of these connections, which were just freed, wait, or may';

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
    ended bigint[];
    landed_received int[];
    landed_inserted int[];
    faults text[];
    stalled boolean[];
    errors jsonb[];
    connection_ids bigint[];
    plain boolean;
BEGIN
    PERFORM sync._ensure_history(as_of);
    IF cardinality($1) <= 16 THEN
        connection_ids := ARRAY(SELECT c.id FROM unnest($3) u (tid) JOIN sync.connections c ON c.ctid = u.tid);
    END IF;
    IF EXISTS (SELECT 1 FROM unnest($4) s (page) WHERE jsonb_array_length(s.page) > 0) THEN
        SELECT array_agg(l.received ORDER BY u.ord), array_agg(l.inserted ORDER BY u.ord)
        INTO landed_received, landed_inserted
        FROM unnest($1) WITH ORDINALITY u (id, ord)
        LEFT JOIN sync._land_signals(
            (SELECT array_agg(u.id) FROM unnest($1, $4) u (id, signals) WHERE jsonb_array_length(u.signals) > 0),
            (SELECT array_agg(u.signals) FROM unnest($1, $4) u (id, signals) WHERE jsonb_array_length(u.signals) > 0), $8) l ON l.job_id = u.id;
    END IF;

    IF true = ANY ($6) THEN
        -- Nothing but a page that says it is not the last can be at fault here.
        SELECT array_agg(f.fault ORDER BY r.ord), array_agg(r.stalled ORDER BY r.ord),
               array_agg(CASE WHEN f.fault IS NOT NULL THEN jsonb_build_object('message', f.fault) END ORDER BY r.ord)
        INTO faults, stalled, errors
        FROM (SELECT u.ord, u.more, j.page, j.stalled_pages,
                     u.more AND COALESCE(u.inserted, 0) + j.signals_inserted = 0
                         AND u.next_cursor = sync._job_cursor(j.job_type, j.cursor, c.metadata) AS stalled
              FROM unnest($2, $3, $5, $6, landed_inserted) WITH ORDINALITY u (job_tid, connection_tid, next_cursor, more, inserted, ord)
              JOIN ONLY sync.sync_jobs j ON j.ctid = u.job_tid
              JOIN sync.connections c ON c.ctid = u.connection_tid) r
        CROSS JOIN LATERAL (
            SELECT CASE
                       WHEN r.more AND r.page >= max_pages THEN format('more than %s pages in one run', max_pages)
                       WHEN r.stalled AND r.stalled_pages >= 1 THEN 'two pages in a row returned their own cursor and no new signal'
                   END AS fault) f;
    END IF;

    plain := sync._rows_are_plain(true);
    RETURN QUERY
    WITH ended AS MATERIALIZED (
        -- By place, only those come back that something follows.
        SELECT e.*, CASE WHEN e.error IS NULL THEN 'succeeded' ELSE 'failed' END AS new_status
        FROM (SELECT * FROM sync._end_jobs($2, $3, landed_received, landed_inserted, $5, $6, $7, errors, $8) WHERE plain
              UNION ALL
              SELECT * FROM sync._end_jobs_by_statement($2, $3, landed_received, landed_inserted, $5, $6, $7, errors, $8) WHERE NOT plain) e
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            next_cursor, has_more, error, stats, claimed_by, claim_token, schedule_id, planned_at, trigger_type, cursor_before)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.attempts + 1, d.page, d.new_status, d.new_status,
            CASE WHEN d.error IS NOT NULL THEN 'permanent' END, d.scheduled_at, d.claimed_at, $8,
            GREATEST(date_part('epoch', $8 - d.claimed_at), 0) * 1000, d.all_received, d.all_inserted, d.all_received - d.all_inserted,
            d.next_cursor, d.more, d.error, COALESCE(d.stats, '{}'), d.claimed_by, d.claim_token,
            d.schedule_id, d.planned_at, sync._trigger_type(d.trigger_type, d.attempts, d.page), d.cursor_before
        FROM ended d WHERE NOT plain
    ), followed AS (
        -- The next page, and one more run where a trigger arrived meanwhile.
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, cursor, input, run_id,
            page, stalled_pages, rerun_priority, created_at, schedule_id, planned_at, trigger_type)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type,
               CASE WHEN n.goes_on THEN n.priority ELSE n.rerun_priority END, GREATEST($8, (n.pending).not_before),
               CASE WHEN n.goes_on THEN n.next_cursor END, CASE WHEN n.goes_on THEN n.input ELSE (n.pending).input END,
               CASE WHEN n.goes_on THEN n.run_id ELSE n.id END,
               CASE WHEN n.goes_on THEN n.page + 1 ELSE 1 END,
               CASE WHEN n.goes_on AND n.stalled THEN n.stalled_pages + 1 ELSE 0 END,
               CASE WHEN n.goes_on THEN n.rerun_priority END, $8,
               CASE WHEN n.goes_on THEN n.schedule_id ELSE (n.pending).schedule_id END, CASE WHEN n.goes_on THEN n.planned_at END,
               CASE WHEN n.goes_on THEN n.trigger_type ELSE COALESCE((n.pending).trigger_type, 'manual') END
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.priority,
                     d.rerun_priority, d.goes_on, d.next_cursor, d.input, d.run_id, d.page, stalled[d.ord] AS stalled, d.stalled_pages,
                     d.schedule_id, d.planned_at, d.trigger_type,
                     CASE WHEN d.rerun_priority IS NOT NULL AND NOT d.goes_on THEN sync._take_pending(d.connection_id, d.job_type) END AS pending
              FROM ended d
              -- Nothing follows where the connection is not active: what waits for it is set aside.
              WHERE CASE WHEN d.active THEN d.goes_on OR d.rerun_priority IS NOT NULL
                         WHEN d.rerun_priority IS NOT NULL THEN sync._set_pending_aside(d.connection_id, d.job_type, d.rerun_priority, NULL, $8)
                         ELSE false END) n
        RETURNING connection_id
    )
    SELECT d.id, d.new_status, faults[d.ord] FROM ended d WHERE NOT plain
    UNION ALL
    SELECT u.id, CASE WHEN u.fault IS NULL THEN 'succeeded' ELSE 'failed' END, u.fault FROM unnest($1, faults) u (id, fault) WHERE plain;
    IF sync._ends_are_told() THEN
        ended := ARRAY(SELECT u.id FROM unnest($1, $6, faults) u (id, more, fault) WHERE NOT u.more AND u.fault IS NULL);
        IF cardinality(ended) > 0 THEN
            PERFORM sync._runs_succeeded(ended, $8);
        END IF;
    END IF;
    IF faults IS NOT NULL AND EXISTS (SELECT 1 FROM unnest(faults) f (fault) WHERE f.fault IS NOT NULL) THEN
        PERFORM sync._attempts_failed(ARRAY(SELECT u.id FROM unnest($1, faults) u (id, fault) WHERE u.fault IS NOT NULL), $8);
    END IF;
    PERFORM sync._wake_after(connection_ids);
END
$$;
COMMENT ON FUNCTION sync._complete(bigint[], tid[], tid[], jsonb[], jsonb[], boolean[], jsonb[], timestamptz) IS
    'Internal: ends running jobs that the caller has locked and checked, with all that belongs to it';
