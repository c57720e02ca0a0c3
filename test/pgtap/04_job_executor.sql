-- Every scenario of the specification of the job executor, as far as the database does the work, under its own name.
\ir include/setup.psql
SELECT plan(38);

-- Claim ordered by priority and time
SELECT connection(x, NULL, at('09:00')) FROM unnest('{late,early,urgent,higher,future}'::text[]) x;
SELECT job('late', priority => 0, scheduled_at => at('09:30'));
SELECT job('early', priority => 0, scheduled_at => at('09:10'));
SELECT job('urgent', priority => 10, scheduled_at => at('09:40'));
SELECT job('higher', priority => 10, scheduled_at => at('09:20'));
SELECT job('future', priority => 99, scheduled_at => at('11:00'));
CREATE TEMP TABLE claimed AS
    SELECT row_number() OVER () AS position, c.external_id, k.* FROM sync.claim_jobs('executor', 10, at('10:00')) k
    JOIN sync.connections c ON c.id = k.connection_id;
SELECT results_eq('SELECT external_id FROM claimed ORDER BY position', $$VALUES ('higher'), ('urgent'), ('early'), ('late')$$,
    'Claim ordered by priority and time');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status = 'running' AND started_at = at('10:00') AND claim_token IS NOT NULL), 4::bigint,
    'Claim ordered by priority and time: the claimed jobs run');
SELECT is((job_of('future')).status, 'queued', 'Claim ordered by priority and time: what is not due is not claimed');
SELECT complete(x, at('10:01')) FROM unnest('{late,early,urgent,higher}'::text[]) x;
SELECT job(x, priority => p, scheduled_at => at('09:00')) FROM (VALUES ('late', 1), ('early', 3), ('urgent', 2)) v (x, p);
SELECT results_eq($$SELECT k.priority FROM sync.claim_jobs('executor', 1, at('10:02')) k$$, 'VALUES (3)', 'Claim ordered by priority and time: one at a time, first');
SELECT results_eq($$SELECT k.priority FROM sync.claim_jobs('executor', 1, at('10:02')) k$$, 'VALUES (2)', 'Claim ordered by priority and time: one at a time, second');
SELECT results_eq($$SELECT k.priority FROM sync.claim_jobs('executor', 1, at('10:02')) k$$, 'VALUES (1)', 'Claim ordered by priority and time: one at a time, third');
DELETE FROM sync.connections;

-- Skip jobs not yet eligible due to retry_after
SELECT connection('backoff', NULL, at('09:00'));
SELECT job('backoff');
UPDATE sync.sync_jobs SET retry_after = at('10:05') WHERE connection_id = conn('backoff');
SELECT is(claim(at('10:04:59.999')), 0::bigint, 'Skip jobs not yet eligible due to retry_after: not before');
SELECT is(claim(at('10:05')), 1::bigint, 'Skip jobs not yet eligible due to retry_after: claimed when retry_after <= now()');

-- Single-flight per connection
SELECT job('backoff', 'full');
SELECT is(claim(at('10:06')), 0::bigint, 'Single-flight per connection: J2 is not claimed while J1 runs');
SELECT complete('backoff', at('10:07'));
SELECT results_eq($$SELECT job_type FROM sync.claim_jobs('executor', 5, at('10:07'))$$, $$VALUES ('full')$$,
    'Single-flight per connection: J2 is claimed once J1 finished');
DELETE FROM sync.connections;

-- Effective cursor resolution
SELECT connection('cursor', '{"cursor": {"page": "stored"}}', at('09:00'));
SELECT job('cursor', cursor => '{"page": "own"}');
SELECT results_eq($$SELECT cursor FROM sync.claim_jobs('executor', 1, at('10:00'))$$, $$VALUES ('{"page": "own"}'::jsonb)$$,
    'Effective cursor resolution: the cursor on the job row is preferred');
SELECT complete('cursor', at('10:00'));
SELECT job('cursor');
SELECT results_eq($$SELECT cursor FROM sync.claim_jobs('executor', 1, at('10:00'))$$, $$VALUES ('{"page": "stored"}'::jsonb)$$,
    'Effective cursor resolution: otherwise the one last persisted');
SELECT complete('cursor', at('10:00'));

-- Signals persisted
SELECT connection('signals', NULL, at('09:00'), tenant => 'tenant of signals', slug => 'gitlab');
SELECT job('signals');
SELECT claim(at('10:00'));
SELECT is(complete('signals', at('10:01'), '[{"kind": "issue", "occurred_at": "2026-02-28T23:00:00Z", "payload": {"n": 1}}, {"kind": "pull", "payload": [2]}]'),
    true, 'Signals persisted: the job completes');
SELECT results_eq(
    'SELECT tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload FROM sync.signals ORDER BY id',
    $$VALUES ('tenant of signals', 'gitlab', conn('signals'), 'issue', '2026-02-28 23:00 UTC'::timestamptz, at('10:01'), '{"n": 1}'::jsonb),
             ('tenant of signals', 'gitlab', conn('signals'), 'pull', at('10:01'), at('10:01'), '[2]')$$,
    'Signals persisted: tenant_id, provider_slug, connection_id, occurred_at and payload');

-- Next cursor stored on success
SELECT job('signals');
SELECT claim(at('10:02'));
SELECT complete('signals', at('10:03'), next_cursor => '{"since": "2024-10-30T00:00:00Z"}');
SELECT is(meta('signals') -> 'cursor', '{"since": "2024-10-30T00:00:00Z"}'::jsonb, 'Next cursor stored on success');
SELECT job('signals');
SELECT claim(at('10:04'));
SELECT complete('signals', at('10:05'));
SELECT is(meta('signals') -> 'cursor', '{"since": "2024-10-30T00:00:00Z"}'::jsonb, 'Next cursor stored on success: a job without one leaves it');

-- Follow-up job enqueued on has_more
SELECT connection('pages', NULL, at('09:00'));
SELECT job('pages', priority => 7);
CREATE TEMP TABLE first_page AS SELECT * FROM sync.claim_jobs('executor', 1, at('10:10'));
SELECT is(complete('pages', at('10:11'), '[{"kind": "issue"}]', '{"page": 2}', true), true, 'Follow-up job enqueued on has_more: the page completes');
SELECT row_eq($$SELECT j.job_type, j.status, j.cursor, j.priority, j.attempts FROM job_of('pages') j$$,
    ROW('incremental'::text, 'queued'::text, '{"page": 2}'::jsonb, 7, 0), 'Follow-up job enqueued on has_more: a new incremental job with cursor = next_cursor');
SELECT cmp_ok((job_of('pages')).scheduled_at, '<=', at('10:11'), 'Follow-up job enqueued on has_more: scheduled_at <= now()');
SELECT is((job_of('pages')).run_id, (SELECT job_id FROM first_page), 'Follow-up job enqueued on has_more: it belongs to the run of the first page');
SELECT is(last_finish('pages'), at('09:00'), 'Follow-up job enqueued on has_more: the run has not ended');
SELECT results_eq($$SELECT cursor FROM sync.claim_jobs('executor', 1, at('10:11'))$$, $$VALUES ('{"page": 2}'::jsonb)$$,
    'Follow-up job enqueued on has_more: claimed at once with that cursor');
SELECT complete('pages', at('10:12'), '[{"kind": "issue"}]', '{"page": 3}');
SELECT is(live('pages'), 0::bigint, 'Follow-up job enqueued on has_more: none after the last page');
SELECT is(last_finish('pages'), at('10:12'), 'Follow-up job enqueued on has_more: the last page ends the run');

-- Backoff bounded with jitter
SELECT connection('failing ' || n, NULL, at('09:00')) FROM generate_series(1, 50) n;
SELECT job('failing ' || n) FROM generate_series(1, 50) n;
UPDATE sync.sync_jobs SET attempts = 3 WHERE connection_id IN (SELECT id FROM sync.connections WHERE external_id LIKE 'failing %');
SELECT claim(at('10:20'));
SELECT is((SELECT array_agg(DISTINCT fail('failing ' || n, at('10:21'))) FROM generate_series(1, 50) n), '{queued}', 'Backoff bounded with jitter: the jobs are queued again');
CREATE VIEW failing AS
    SELECT j.* FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id WHERE c.external_id LIKE 'failing %';
-- 5 * 2^3 = 40 seconds and a tenth of it as jitter at most.
SELECT is((SELECT count(*) FROM failing WHERE retry_after - at('10:21') BETWEEN interval '40 s' AND interval '44 s'), 50::bigint,
    'Backoff bounded with jitter: retry_after is within the window');
SELECT cmp_ok((SELECT count(DISTINCT retry_after) FROM failing), '>', 40::bigint, 'Backoff bounded with jitter: each draws its own');
SELECT is((SELECT array_agg(DISTINCT attempts) FROM failing), '{4}', 'Backoff bounded with jitter: attempts increments by 1');
SELECT is((SELECT array_agg(DISTINCT error ->> 'message') FROM failing), '{boom}', 'Backoff bounded with jitter: the error is recorded');
SELECT is((SELECT array_agg(DISTINCT started_at) FROM failing), ARRAY[at('10:20')], 'Backoff bounded with jitter: started_at is preserved');
SELECT is((SELECT count(*) FROM failing WHERE finished_at IS NULL AND claim_token IS NULL), 50::bigint, 'Backoff bounded with jitter: none has ended, none is claimed');
SELECT is(claim(at('10:21:39'), 100), 0::bigint, 'Backoff bounded with jitter: none is claimed before the window');
SELECT is(claim(at('10:21:44'), 100), 50::bigint, 'Backoff bounded with jitter: all are claimed after it');
SELECT is((SELECT array_agg(DISTINCT started_at) FROM failing), ARRAY[at('10:20')], 'Backoff bounded with jitter: started_at is that of the first attempt');

-- Success updates status and timestamps
SELECT is(complete('failing 1', at('10:22')), true, 'Success updates status and timestamps: the job completes');
SELECT row_eq($$SELECT j.status, j.started_at, j.finished_at FROM job_of('failing 1') j$$, ROW('succeeded'::text, at('10:20'), at('10:22')),
    'Success updates status and timestamps');
SELECT is(last_finish('failing 1'), at('10:22'), 'Success updates status and timestamps: the connection too');
SELECT is(meta('failing 1') ->> 'next_run_at', '2026-03-01T10:37:00Z', 'Success updates status and timestamps: the next run is reckoned from it');

SELECT * FROM finish();
ROLLBACK;
