-- The functions by which executors end jobs. All act on (job_id, claim_token) of a running job only.

-- What a call with a token that runs no more means: it had succeeded before (its reply was lost), or it is stale.
CREATE FUNCTION sync._ended_as(job_id bigint, claim_token uuid, caller text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- plpgsql, not sql: its plans notice a partition that this transaction made.
    RETURN (SELECT e.job_status
            FROM sync.sync_jobs j
            JOIN sync.sync_executions e
              ON e.tenant_id = j.tenant_id AND e.connection_id = j.connection_id AND e.job_id = j.id
            WHERE j.id = $1 AND e.claim_token = $2 AND e.ended_by = $3
            ORDER BY e.id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION sync._ended_as(bigint, uuid, text) IS 'Internal: what became of the job when a call of that sort ended the attempt with that token; null when none did';

CREATE FUNCTION sync._refuse_results(fault text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = fault,
        HINT = 'A signal is {"kind": text, "occurred_at": ISO 8601 time, "dedupe_key": text, "payload": any}.';
END
$$;
COMMENT ON FUNCTION sync._refuse_results(text) IS 'Internal: raises 22023';

CREATE FUNCTION sync.complete_job(job_id bigint, claim_token uuid, signals jsonb DEFAULT '[]', next_cursor jsonb DEFAULT NULL,
    has_more boolean DEFAULT false, stats jsonb DEFAULT '{}', as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine record;
    fault text := sync._signals_fault(signals);
BEGIN
    PERFORM sync._require_time(as_of);
    IF fault IS NOT NULL THEN
        PERFORM sync._refuse_results(fault);
    END IF;
    IF jsonb_typeof(stats) <> 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('stats is a JSON %s, not an object', jsonb_typeof(stats)),
            HINT = 'It is kept with the execution as it is, for instance {"requests": 3}.';
    END IF;
    SELECT * INTO mine FROM sync._lock_results(ARRAY[job_id], ARRAY[claim_token]);
    IF mine.ids IS NULL THEN
        RETURN sync._ended_as(job_id, claim_token, 'complete') IS NOT NULL;
    END IF;
    IF has_more AND NULLIF(next_cursor, 'null') IS NULL THEN
        PERFORM sync._fail(mine.ids, ARRAY['{"message": "has_more without a next_cursor"}'::jsonb], ARRAY['permanent'], ARRAY[NULL::numeric], as_of,
                           ARRAY['complete']);
    ELSE
        PERFORM sync._complete(mine.ids, mine.job_tids, mine.connection_tids, ARRAY[signals], ARRAY[NULLIF(next_cursor, 'null')],
                               ARRAY[COALESCE(has_more, false)], ARRAY[COALESCE(stats, '{}')], as_of);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync.complete_job(bigint, uuid, jsonb, jsonb, boolean, jsonb, timestamptz) IS
    'Ends a job: signals, cursor, follow-up page, history and next run in one transaction. False when the token is stale; true again when the call is repeated';

CREATE FUNCTION sync.add_signals(job_id bigint, claim_token uuid, signals jsonb, as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    mine bigint[];
    fault text := sync._signals_fault(signals);
BEGIN
    PERFORM sync._require_time(as_of);
    IF fault IS NOT NULL THEN
        PERFORM sync._refuse_results(fault);
    END IF;
    mine := sync._lock_running(ARRAY[job_id], ARRAY[claim_token]);
    IF mine IS NULL THEN
        RETURN false;
    END IF;
    PERFORM sync._ensure_history(as_of);
    UPDATE ONLY sync.sync_jobs j
    SET signals_inserted = j.signals_inserted + l.inserted, signals_duplicate = j.signals_duplicate + l.received - l.inserted
    FROM sync._land_signals(mine, ARRAY[$3], $4) l
    WHERE j.id = l.job_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync.add_signals(bigint, uuid, jsonb, timestamptz) IS
    'Lands part of a big page ahead of complete_job, in the same transaction; false when the token is stale';

CREATE FUNCTION sync._is_kind(kind text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT kind OPERATOR(pg_catalog.=) ANY ('{transient,rate_limited,unauthorized,permanent,lost}'::pg_catalog.text[]) $$;
COMMENT ON FUNCTION sync._is_kind(text) IS 'Internal: whether that is a kind of failure';

CREATE FUNCTION sync.fail_job(job_id bigint, claim_token uuid, error jsonb, kind text DEFAULT 'transient',
    retry_after_seconds numeric DEFAULT NULL, as_of timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine bigint[];
BEGIN
    PERFORM sync._require_time(as_of);
    IF sync._is_kind(kind) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('unknown kind of failure: %L', kind),
            HINT = 'Use transient, rate_limited, unauthorized, permanent or lost.';
    END IF;
    mine := sync._lock_running(ARRAY[job_id], ARRAY[claim_token]);
    IF mine IS NULL THEN
        RETURN sync._ended_as(job_id, claim_token, 'fail');
    END IF;
    RETURN (SELECT f.job_status FROM sync._fail(mine, ARRAY[error], ARRAY[kind], ARRAY[retry_after_seconds], as_of, ARRAY['fail']) f);
END
$$;
COMMENT ON FUNCTION sync.fail_job(bigint, uuid, jsonb, text, numeric, timestamptz) IS
    'Ends an attempt that failed: queued again with backoff, or failed for good. Returns the new status, null when the token is stale';

CREATE FUNCTION sync.complete_jobs(results jsonb, as_of timestamptz DEFAULT now(), OUT job_id bigint, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    r record;
    mine record;
    bare record;
BEGIN
    PERFORM sync._require_time(as_of);
    IF jsonb_typeof(results) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'results must be a JSON array',
            HINT = 'Its elements are {"job_id", "claim_token", "signals", "next_cursor", "has_more", "stats"} or {"job_id", "claim_token", "error", "kind", "retry_after_seconds"}.';
    END IF;
    -- Where there is nothing but ends to write, and nobody in the way, no row is locked beforehand.
    IF current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM sync._ensure_history(as_of);
        BEGIN
            SELECT * INTO bare FROM sync._end_bare_jobs(results, as_of);
            IF bare.ids IS NOT NULL THEN
                IF sync._ends_are_told() THEN
                    PERFORM sync._runs_succeeded(bare.ids, as_of);
                END IF;
                PERFORM sync._wake_after(bare.connection_ids);
                RETURN QUERY SELECT u.id, 'completed', NULL FROM unnest(bare.ids) u (id);
                RETURN;
            END IF;
        EXCEPTION WHEN serialization_failure THEN
            NULL;  -- the long way waits for whom it has to, and tells what became of each
        END;
    END IF;
    -- Everything is read once; what cannot be read is the fault of its own element.
    SELECT array_agg(x.job_id) AS ids, array_agg(x.claim_token) AS tokens, array_agg(x.wrong) AS faults, array_agg(x.failing) AS failing,
           array_agg(x.signals) AS signals, array_agg(x.next_cursor) AS cursors, array_agg(x.has_more) AS more, array_agg(x.stats) AS stats,
           array_agg(x.error) AS errors, array_agg(x.kind) AS kinds, array_agg(x.hint) AS hints,
           bool_and(x.wrong IS NULL AND NOT x.failing) AS plain
    INTO r
    FROM (SELECT e.*, COALESCE(CASE WHEN e.signals <> '[]' THEN sync._signals_fault(e.signals) END, e.fault) AS wrong
          FROM sync._read_results(results) e) x;
    SELECT * INTO mine FROM sync._lock_results(r.ids, r.tokens);
    IF r.plain AND cardinality(mine.ids) = cardinality(r.ids) THEN
        -- The usual case: all are running, none is at fault.
        RETURN QUERY
        SELECT c.job_id, CASE WHEN c.detail IS NULL THEN 'completed' ELSE 'rejected' END, c.detail
        FROM sync._complete(r.ids, mine.job_tids, mine.connection_tids, r.signals, r.cursors, r.more, r.stats, $2) c;
        RETURN;
    END IF;

    RETURN QUERY
    WITH element AS MATERIALIZED (
        SELECT u.*, j.job_tid, j.connection_tid, j.id IS NOT NULL AS running, j.ord = u.ord AS valid
        FROM unnest(r.ids, r.tokens, r.faults, r.failing, r.signals, r.cursors, r.more, r.stats, r.errors, r.kinds, r.hints)
                 WITH ORDINALITY u (id, token, fault, failing, signals, next_cursor, more, stats, error, kind, hint, ord)
        LEFT JOIN unnest(mine.positions, mine.ids, mine.tokens, mine.job_tids, mine.connection_tids) j (ord, id, token, job_tid, connection_tid)
               ON j.id = u.id AND j.token = u.token
    ), good AS MATERIALIZED (
        SELECT array_agg(e.id) AS ids, array_agg(e.job_tid) AS job_tids, array_agg(e.connection_tid) AS connection_tids,
               array_agg(e.signals) AS signals, array_agg(e.next_cursor) AS cursors, array_agg(e.more) AS more,
               array_agg(e.stats) AS stats
        FROM element e WHERE e.running AND e.valid AND e.fault IS NULL AND NOT e.failing
    ), bad AS MATERIALIZED (
        SELECT array_agg(e.id) AS ids,
               array_agg(CASE WHEN e.failing THEN e.error ELSE jsonb_build_object('message', e.fault, 'code', 'bad_result') END) AS errors,
               array_agg(CASE WHEN NOT e.failing THEN 'permanent' WHEN sync._is_kind(e.kind) THEN e.kind ELSE 'transient' END) AS kinds,
               array_agg(e.hint) AS hints,
               array_agg(CASE WHEN e.failing THEN 'fail' ELSE 'complete' END) AS callers
        FROM element e WHERE e.running AND e.valid AND (e.failing OR e.fault IS NOT NULL)
    ), completed AS MATERIALIZED (
        SELECT c.job_id, c.detail
        FROM good g
        CROSS JOIN LATERAL sync._complete(g.ids, g.job_tids, g.connection_tids, g.signals, g.cursors, g.more, g.stats, $2) c
        WHERE g.ids IS NOT NULL
    ), failed AS MATERIALIZED (
        SELECT f.job_id, f.job_status FROM bad b CROSS JOIN LATERAL sync._fail(b.ids, b.errors, b.kinds, b.hints, $2, b.callers) f
        WHERE b.ids IS NOT NULL
    ), others AS MATERIALIZED (
        -- Repeated calls, stale tokens, and elements that name no job.
        SELECT e.ord, CASE WHEN e.id IS NOT NULL AND e.token IS NOT NULL
                           THEN sync._ended_as(e.id, e.token, CASE WHEN e.failing THEN 'fail' ELSE 'complete' END) END AS ended
        FROM element e WHERE NOT e.running
    )
    SELECT e.id,
           CASE WHEN e.running AND NOT e.valid THEN 'repeated'
                WHEN e.running AND e.failing THEN 'completed'
                WHEN e.running AND (e.fault IS NOT NULL OR c.detail IS NOT NULL) THEN 'rejected'
                WHEN e.running THEN 'completed'
                WHEN e.id IS NULL OR e.token IS NULL THEN 'rejected'
                WHEN o.ended IS NOT NULL THEN 'repeated'
                ELSE 'stale' END,
           CASE WHEN e.running AND e.failing THEN f.job_status
                WHEN e.running THEN COALESCE(e.fault, c.detail)
                WHEN e.id IS NULL THEN COALESCE(CASE WHEN e.fault LIKE 'results[%' THEN e.fault END, 'job_id is not an id')
                WHEN e.token IS NULL THEN 'claim_token is not a uuid' END
    FROM element e
    LEFT JOIN others o ON o.ord = e.ord
    LEFT JOIN completed c ON c.job_id = e.id
    LEFT JOIN failed f ON f.job_id = e.id;
END
$$;
COMMENT ON FUNCTION sync.complete_jobs(jsonb, timestamptz) IS
    'Ends any number of jobs in one transaction; bad data fails its own job alone. Outcomes: completed, repeated, stale, rejected';
