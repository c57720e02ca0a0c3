-- The connections of a benchmark: a provider whose connector calls nothing, and connections of 1,000 tenants that fall
-- due in groups of the same size, five minutes apart, the first at `first_due`.
CREATE EXTENSION sync_engine;
-- The tables of finished jobs are there from the start, whether or not the worker has come yet.
DO 'BEGIN WHILE sync._housekeeping() LOOP END LOOP; END';
CREATE SCHEMA bench;

CREATE FUNCTION bench.fill(n int, due_groups int, first_due timestamptz) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at, created_at)
    SELECT 't' || i % 1000, 'bench', i::text,
           jsonb_build_object('plan', 'pro', 'sync', jsonb_build_object(
               'next_run_at', to_char(d.due AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'last_jitter_seconds', i % 180)),
           d.due - interval '900 seconds', first_due - interval '1 day'
    FROM generate_series(1, n) i
    CROSS JOIN LATERAL (SELECT first_due + i % due_groups * interval '5 minutes' AS due) d
$$;

-- Writes every row anew, as it is.
CREATE FUNCTION bench.rewrite() RETURNS void LANGUAGE sql AS $$
    UPDATE sync.connections SET updated_at = updated_at;
    UPDATE sync.connection_state SET due_at = due_at;
$$;

-- What a tick at `due` must have left: a queued incremental job for each connection of that group, its next run written
-- down, and nothing else that is due.
CREATE FUNCTION bench.tick_fault(expected int, due timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT CASE
               WHEN jobs <> expected OR connections <> expected THEN format('%s jobs of %s connections, not %s', jobs, connections, expected)
               WHEN moved <> expected THEN format('%s next runs moved, not %s', moved, expected)
               WHEN left_due <> 0 THEN format('%s connections still due', left_due)
           END
    FROM (SELECT count(*) AS jobs, count(DISTINCT j.connection_id) AS connections,
                 count(*) FILTER (WHERE c.metadata #>> '{sync,next_run_at}'
                     = to_char((due + interval '900 seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS moved
          FROM ONLY sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id
          WHERE j.status = 'queued' AND j.job_type = 'incremental' AND c.last_incremental_finished_at = due - interval '900 seconds') q,
         (SELECT count(*) AS left_due FROM sync.connection_state s WHERE s.due_at <= due) d
$$;

-- What draining `expected` jobs must have left: as many finished jobs and executions, each connection's cursor that of its
-- job (under the key "job" its id, under any other key whatever the connector writes), nothing running.
CREATE FUNCTION bench.drain_fault(expected int, cursor_key text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE
               WHEN finished <> expected THEN format('%s jobs finished, not %s', finished, expected)
               WHEN executions <> expected THEN format('%s executions, not %s', executions, expected)
               WHEN cursors <> expected THEN format('%s cursors kept, not %s', cursors, expected)
               WHEN running <> 0 THEN format('%s jobs still running', running)
           END
    FROM (SELECT count(*) AS finished,
                 count(*) FILTER (WHERE CASE WHEN cursor_key = 'job' THEN c.metadata #>> '{sync,cursor,job}' = j.id::text
                                             ELSE c.metadata #> '{sync,cursor}' ? cursor_key END) AS cursors
          FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id WHERE j.status = 'succeeded') f,
         (SELECT count(DISTINCT e.job_id) AS executions FROM sync.sync_executions e WHERE e.status = 'succeeded') e,
         (SELECT count(*) AS running FROM ONLY sync.sync_jobs j WHERE j.status = 'running') r
$$;
