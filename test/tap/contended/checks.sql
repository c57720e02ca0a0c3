-- Each line a rule, with the number of rows that break it.
WITH ended AS (
    SELECT * FROM sync.sync_jobs WHERE status NOT IN ('queued', 'running')
), rule (name, broken) AS (
    SELECT 'no job is live after the drain', (SELECT count(*) FROM sync.sync_jobs WHERE status IN ('queued', 'running'))
    UNION ALL
    SELECT 'no connection holds a lease', (SELECT count(*) FROM sync.connection_state WHERE running_job_id IS NOT NULL)
    UNION ALL
    SELECT 'every connection will be looked at again', (SELECT count(*) FROM sync.connections c
        LEFT JOIN sync.connection_state s ON s.connection_id = c.id WHERE s.due_at IS NULL AND s.parked_for IS NULL)
    UNION ALL
    SELECT 'no job is there twice', (SELECT count(*) FROM (SELECT 1 FROM ended GROUP BY id HAVING count(*) > 1) x)
    UNION ALL
    SELECT 'no token was given twice', (SELECT count(*) FROM (SELECT 1 FROM run.claims GROUP BY token HAVING count(*) > 1) x)
    UNION ALL
    SELECT 'each claim has one execution, a released one none', (
        SELECT count(*) FROM run.claims k
        LEFT JOIN (SELECT claim_token, count(*) AS n FROM sync.sync_executions GROUP BY 1) e ON e.claim_token = k.token
        WHERE COALESCE(e.n, 0) <> CASE WHEN k.meant = 'release' AND k.outcome = 'completed' THEN 0 ELSE 1 END)
    UNION ALL
    SELECT 'each execution is of a claim', (SELECT count(*) FROM sync.sync_executions e
        WHERE NOT EXISTS (SELECT 1 FROM run.claims k WHERE k.token = e.claim_token AND k.job_id = e.job_id))
    UNION ALL
    SELECT 'what was reported is what was recorded', (
        SELECT count(*) FROM run.claims k JOIN sync.sync_executions e ON e.claim_token = k.token
        WHERE CASE WHEN k.outcome = 'completed'
                   THEN CASE WHEN k.meant IN ('page', 'last') THEN e.status <> 'succeeded' ELSE e.kind IS DISTINCT FROM k.meant END
                   ELSE e.status <> 'cancelled' AND e.kind IS DISTINCT FROM 'lost' END)
    UNION ALL
    SELECT 'no outcome but completed and stale', (SELECT count(*) FROM run.claims WHERE outcome NOT IN ('completed', 'stale'))
    UNION ALL
    SELECT 'each job ended exactly once', (
        SELECT count(*) FROM ended j
        LEFT JOIN (SELECT job_id, count(*) AS n FROM sync.sync_executions WHERE job_status <> 'queued' GROUP BY 1) e ON e.job_id = j.id
        WHERE CASE WHEN j.status = 'cancelled' THEN e.n > 1 ELSE e.n IS DISTINCT FROM 1 END)
    UNION ALL
    SELECT 'each job ended as its last execution says', (
        SELECT count(*) FROM sync.sync_executions e
        WHERE e.job_status <> 'queued' AND NOT EXISTS (SELECT 1 FROM ended j WHERE j.id = e.job_id AND j.status = e.job_status))
    UNION ALL
    SELECT 'attempts of a job are numbered from 1 without a gap', (
        SELECT count(*) FROM (SELECT 1 FROM sync.sync_executions GROUP BY job_id
                              HAVING count(DISTINCT attempt) <> count(*) OR max(attempt) <> count(*)) x)
    UNION ALL
    SELECT 'pages of a run are numbered from 1 without a gap', (
        SELECT count(*) FROM (SELECT 1 FROM ended GROUP BY run_id HAVING count(DISTINCT page) <> count(*) OR max(page) <> count(*)) x)
    UNION ALL
    -- Sound, if not sharp: the next claim had returned before the former holder even began to end its job.
    SELECT 'no two executions of a connection overlap', (
        SELECT count(*)
        FROM (SELECT claimed_at, lag(called_at) OVER (PARTITION BY connection_id ORDER BY claimed_at) AS former_called_at
              FROM run.claims WHERE outcome = 'completed') x
        WHERE x.claimed_at < x.former_called_at)
    UNION ALL
    -- Triggers may cut a backoff short, but not one that the remote system asked for.
    SELECT 'no rate limit is overrun', (
        SELECT count(*) FROM sync.sync_executions e JOIN sync.sync_executions n ON n.job_id = e.job_id AND n.attempt = e.attempt + 1
        WHERE e.kind = 'rate_limited' AND n.started_at < e.retry_after)
    UNION ALL
    SELECT 'no signal twice', (SELECT count(*) FROM (SELECT 1 FROM sync.signals GROUP BY connection_id, dedupe_key HAVING count(*) > 1) x)
    UNION ALL
    SELECT 'signals are those that the executions count', (SELECT abs(sum(signals_inserted) - (SELECT count(*) FROM sync.signals))
        FROM sync.sync_executions)
    UNION ALL
    SELECT 'each page that succeeded landed its signal', (
        SELECT count(*) FROM ended j WHERE j.status = 'succeeded'
        AND NOT EXISTS (SELECT 1 FROM sync.signals s WHERE s.connection_id = j.connection_id AND s.tenant_id = j.tenant_id
                                                       AND s.dedupe_key = j.id::text))
    UNION ALL
    SELECT 'the metric of claims counts them all', (
        SELECT abs((SELECT count(*) FROM run.claims) - sum(value))::bigint FROM sync.metrics WHERE name = 'sync_jobs_claimed_total')
)
SELECT name, broken FROM rule;
