-- What every schedule had planned, from its history and not from the ledger, held against the ledger and the jobs.

CREATE FUNCTION replay.instants(expression text, zone text, gap text, fold text, after timestamptz, until timestamptz)
RETURNS SETOF timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
    LOOP
        after := sync.cron_next(expression, zone, after, gap, fold);
        EXIT WHEN after IS NULL OR after > until;
        RETURN NEXT after;
    END LOOP;
END
$$;

-- Each spec with the instants that it is to answer for.
CREATE TABLE replay.pieces AS
SELECT p.*, GREATEST(p.valid_after, p.starts_at - interval '1 microsecond') AS after,
       LEAST(lead(p.valid_after) OVER (PARTITION BY p.id ORDER BY p.n),
             p.ends_at, GREATEST(st.covered_until, c.now_at)) AS until
FROM replay.specs p
JOIN sync.schedule_state st ON st.schedule_id = p.id
CROSS JOIN replay.clock c
WHERE p.cron_expression IS NOT NULL;

CREATE TABLE replay.planned AS
SELECT p.id AS schedule_id, p.n AS spec, i AS at, row_number() OVER (PARTITION BY p.id ORDER BY i) AS rank
FROM replay.pieces p
CROSS JOIN LATERAL replay.instants(p.cron_expression, p.timezone, p.dst_gap, p.dst_fold, p.after, p.until) i;
CREATE UNIQUE INDEX planned_at ON replay.planned (schedule_id, at);
CREATE INDEX planned_rank ON replay.planned (schedule_id, rank);

-- The local times that the clocks skip, as times of a zone that skips none. An expression for every hour follows real time.
CREATE TABLE replay.gaps AS
SELECT p.id AS schedule_id, t.at, g.n
FROM replay.pieces p
JOIN replay.transitions t ON t.zone = p.timezone AND t.shows_after > t.shows_before AND t.at > p.after AND t.at <= p.until
CROSS JOIN LATERAL (SELECT count(*) AS n
                    FROM replay.instants(p.cron_expression, 'UTC', 'skip', 'first', t.shows_before AT TIME ZONE 'UTC' - interval '1 microsecond',
                                         t.shows_after AT TIME ZONE 'UTC' - interval '1 microsecond')) g
WHERE p.dst_gap = 'skip' AND g.n > 0 AND p.cron_expression <> '@hourly'
  AND split_part(p.cron_expression, ' ', CASE array_length(string_to_array(p.cron_expression, ' '), 1) WHEN 6 THEN 3 ELSE 2 END) !~ '^\*';
INSERT INTO replay.ledger SELECT f.* FROM sync.schedule_fires f
WHERE f.tableoid::regclass::text NOT IN (SELECT 'sync.' || c.name FROM replay.copied c);
CREATE INDEX ledger_first ON replay.ledger (schedule_id, first_planned_at);
CREATE INDEX jobs_id ON replay.jobs (id);
ANALYZE replay.planned, replay.ledger, replay.jobs;

CREATE TABLE replay.spans AS
SELECT f.*, a.rank AS first_rank, b.rank AS last_rank, a.spec,
       lag(b.rank, 1, 0::bigint) OVER (PARTITION BY f.schedule_id ORDER BY f.first_planned_at, f.id) AS rank_before
FROM replay.ledger f
LEFT JOIN replay.planned a ON a.schedule_id = f.schedule_id AND a.at = f.first_planned_at
LEFT JOIN replay.planned b ON b.schedule_id = f.schedule_id AND b.at = f.last_planned_at
WHERE f.outcome NOT IN ('triggered', 'dst_gap');

CREATE INDEX spans_first ON replay.spans (schedule_id, first_planned_at);

-- Jobs that the ledger has to know of.
CREATE TABLE replay.due_jobs AS
SELECT j.* FROM replay.jobs j
WHERE j.trigger_type IN ('scheduled', 'catch_up') AND j.page = 1 AND j.schedule_id IS NOT NULL
  AND j.cancelled IS DISTINCT FROM 'its schedule was changed before it began'
  AND NOT EXISTS (SELECT 1 FROM replay.rewound r WHERE r.schedule_id = j.schedule_id AND j.planned_at > r.at AND j.id <= r.last_job);
CREATE INDEX due_jobs_planned ON replay.due_jobs (schedule_id, planned_at);
ANALYZE replay.spans, replay.due_jobs;

-- Of fired rows: how they compare with what their policy allows.
CREATE TABLE replay.runs AS
SELECT f.*, p.catch_up, p.overlap, p.job_type, p.catchup_limit, p.catchup_max_age, p.jitter_seconds, p.dst_gap, x.reach,
       (SELECT count(*) FROM replay.planned i
        WHERE i.schedule_id = f.schedule_id AND i.at > f.first_planned_at AND i.at <= f.recorded_at
          AND NOT EXISTS (SELECT 1 FROM replay.skipped k WHERE k.schedule_id = i.schedule_id AND k.at = i.at)) AS later
FROM replay.spans f
JOIN replay.pieces p ON p.n = f.spec
CROSS JOIN LATERAL (SELECT r.reach FROM replay.reaches r WHERE r.last_fire < f.id ORDER BY r.last_fire DESC, r.ctid DESC LIMIT 1) x
WHERE f.outcome = 'fired';
ANALYZE replay.runs;

CREATE TABLE replay.rules (n int GENERATED ALWAYS AS IDENTITY, rule text);
INSERT INTO replay.rules (rule) VALUES
    ('every planned instant is covered, once'), ('nothing is covered that was not planned'), ('a row counts the instants that it covers'),
    ('skipped local times have a row each'), ('a run has its job'), ('a job has its run'), ('no instant has two jobs'),
    ('latest: one run for all'), ('skip: nothing runs late'), ('all: within limit and age'), ('what was skipped does not run'),
    ('what was skipped is told so'), ('nothing before an adoption is caught up with'), ('jitter is within its bounds'),
    ('jitter ends before the next instant'), ('nothing fires while paused'), ('a pause ends when it should'),
    ('what was covered hours ahead is taken back'), ('a change covers what was planned until then'), ('a change covers nothing that lies ahead'),
    ('skip_next skips each instant once'), ('nothing waits for ever');

INSERT INTO replay.violations
SELECT 'nothing is covered that was not planned', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
WHERE s.first_rank IS NULL OR s.last_rank IS NULL
UNION ALL
SELECT 'a row counts the instants that it covers', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
WHERE s.planned_count <> s.last_rank - s.first_rank + 1
UNION ALL
SELECT 'every planned instant is covered, once', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
WHERE s.first_rank <> s.rank_before + 1
UNION ALL
SELECT 'every planned instant is covered, once', p.schedule_id, p.at, 'the last ones' FROM
    (SELECT i.schedule_id, max(i.rank) AS rank, max(i.at) AS at FROM replay.planned i GROUP BY 1) p
WHERE p.rank <> COALESCE((SELECT max(s.last_rank) FROM replay.spans s WHERE s.schedule_id = p.schedule_id), 0)
UNION ALL
SELECT 'skipped local times have a row each', COALESCE(g.schedule_id, f.schedule_id), COALESCE(g.at, f.first_planned_at),
       format('%s planned, %s in the ledger', g.n, f.planned_count)
FROM replay.gaps g
FULL JOIN (SELECT * FROM replay.ledger l WHERE l.outcome = 'dst_gap') f ON f.schedule_id = g.schedule_id AND f.first_planned_at = g.at
WHERE f.planned_count IS DISTINCT FROM g.n OR f.last_planned_at <> f.first_planned_at
UNION ALL
SELECT 'skipped local times have a row each', f.schedule_id, f.first_planned_at, 'twice'
FROM replay.ledger f WHERE f.outcome = 'dst_gap' GROUP BY f.schedule_id, f.first_planned_at HAVING count(*) > 1
UNION ALL
SELECT 'a run has its job', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
WHERE s.outcome = 'fired' AND (s.planned_count <> 1 OR 1 <> (SELECT count(*) FROM replay.jobs j
      WHERE j.id = s.job_id AND j.schedule_id = s.schedule_id AND j.planned_at = s.first_planned_at AND j.page = 1))
UNION ALL
SELECT 'a job has its run', j.schedule_id, j.planned_at, j::text FROM replay.due_jobs j
WHERE 1 <> (SELECT count(*) FROM replay.spans s
            WHERE s.schedule_id = j.schedule_id AND s.first_planned_at = j.planned_at AND s.outcome = 'fired' AND s.job_id = j.id)
UNION ALL
SELECT 'no instant has two jobs', j.schedule_id, j.planned_at, array_agg(j.id)::text FROM replay.due_jobs j
GROUP BY j.schedule_id, j.planned_at HAVING count(*) > 1
UNION ALL
SELECT 'latest: one run for all', r.schedule_id, r.first_planned_at, r::text FROM replay.runs r WHERE r.catch_up = 'latest' AND r.later > 0
UNION ALL
SELECT 'skip: nothing runs late', r.schedule_id, r.first_planned_at, r::text FROM replay.runs r
WHERE r.catch_up = 'skip'
  AND (r.later > 0
       -- What waited for another run to end is not late, nor is the newest of those that waited together.
       OR r.first_planned_at <= r.recorded_at - r.reach
          AND NOT (r.overlap = 'buffer_one'
                   AND EXISTS (SELECT 1 FROM replay.jobs j
                               WHERE j.connection_id = r.connection_id AND j.job_type = r.job_type AND j.id < r.job_id
                                 AND COALESCE(j.finished_at, 'infinity') >= COALESCE(
                                         (SELECT min(s.first_planned_at) FROM replay.spans s
                                          WHERE s.schedule_id = r.schedule_id AND s.job_id = r.job_id AND s.outcome = 'coalesced'),
                                         r.first_planned_at))))
UNION ALL
SELECT 'all: within limit and age', r.schedule_id, r.first_planned_at, r::text FROM replay.runs r
WHERE r.catch_up = 'all' AND (r.later >= r.catchup_limit OR r.first_planned_at < r.recorded_at - r.catchup_max_age)
UNION ALL
SELECT 'what was skipped does not run', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
JOIN replay.skipped k ON k.schedule_id = s.schedule_id AND k.at = s.first_planned_at
WHERE s.outcome = 'fired'
UNION ALL
SELECT 'what was skipped is told so', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
WHERE s.outcome = 'skipped_by_user' AND NOT EXISTS (SELECT 1 FROM replay.skipped k WHERE k.schedule_id = s.schedule_id AND k.at = s.first_planned_at)
UNION ALL
SELECT 'what was skipped is told so', k.schedule_id, k.at, s::text FROM replay.skipped k
JOIN replay.spans s ON s.schedule_id = k.schedule_id AND s.first_planned_at <= k.at AND s.last_planned_at >= k.at
JOIN replay.planned i ON i.schedule_id = k.schedule_id AND i.at = k.at
WHERE s.outcome <> 'skipped_by_user'
UNION ALL
SELECT 'nothing before an adoption is caught up with', s.schedule_id, s.first_planned_at, s::text FROM replay.spans s
JOIN replay.adopted a ON s.id > a.last_fire AND s.first_planned_at <= LEAST(a.at, s.recorded_at)
WHERE s.outcome = 'fired'
UNION ALL
SELECT 'jitter is within its bounds', j.schedule_id, j.planned_at, j::text FROM replay.due_jobs j
JOIN replay.runs r ON r.job_id = j.id
WHERE j.scheduled_at > j.planned_at + make_interval(secs => r.jitter_seconds)
   OR j.scheduled_at < j.planned_at AND j.id NOT IN (SELECT a.job_id FROM replay.asked a)
UNION ALL
SELECT 'jitter ends before the next instant', j.schedule_id, j.planned_at, j::text FROM replay.due_jobs j
JOIN replay.runs r ON r.job_id = j.id
JOIN replay.planned i ON i.schedule_id = r.schedule_id AND i.rank = r.last_rank + 1 AND i.spec = r.spec
WHERE j.scheduled_at > j.planned_at AND j.scheduled_at >= i.at;
