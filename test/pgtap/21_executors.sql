-- Executors: registration and incarnations, heartbeats, leases, releasing.
\ir include/setup.psql
SELECT plan(64);
SELECT fix_jitter();
-- No jitter of the backoff either: retry_after is then known to the second.
SET LOCAL sync_engine.backoff_jitter_factor = 0;

-- Registration
SELECT throws_ok(format('SELECT sync.register_executor(%L)', n), '22023', NULL, 'a name is needed, not ' || COALESCE(quote_literal(n), 'null')) FROM unnest(ARRAY['', NULL]) n;
SELECT throws_ok(format('SELECT sync.register_executor(%L, %L)', 'e', p), '0A000', NULL, 'protocol ' || COALESCE(p::text, 'null') || ' is refused') FROM unnest(ARRAY[99, 0, -1, NULL]) p;
SELECT lives_ok($$SELECT sync.register_executor('defaults')$$, 'protocol and info have defaults');
CREATE TEMP TABLE first AS SELECT sync.register_executor('host', 1, '{"version": "1"}', at('10:00')) AS incarnation;
SELECT row_eq($$SELECT e.name, e.protocol, e.info, e.registered_at, e.superseded_at FROM sync.executors e JOIN first f USING (incarnation)$$,
    ROW('host'::text, 1, '{"version": "1"}'::jsonb, at('10:00'), NULL::timestamptz), 'what registration writes');
SELECT lives_ok($$SELECT sync.register_executor('no info', 1, NULL)$$, 'info may be null');

-- A new incarnation fails its predecessor's jobs as lost, nobody else's.
SELECT connection('of ' || x, NULL, at('09:00')) FROM unnest('{first,other}'::text[]) x;
SELECT job('of first');
SELECT claim(at('10:00'), 1, (SELECT incarnation FROM first));
SELECT is((running('of first')).claimed_by, (SELECT incarnation FROM first), 'an incarnation claims');
SELECT job('of other');
SELECT claim(at('10:00'), 1, 'other host');
CREATE TEMP TABLE token AS SELECT r.id, r.claim_token FROM running('of first') r;
CREATE TEMP TABLE second AS SELECT sync.register_executor('host', 1, '{}', at('10:00:10')) AS incarnation;
SELECT isnt((SELECT incarnation FROM first), (SELECT incarnation FROM second), 'a restart is another incarnation');
SELECT row_eq($$SELECT j.status, j.attempts, j.error_kind, j.retry_after FROM job_of('of first') j$$, ROW('queued'::text, 1, 'lost'::text, at('10:00:15')),
    'a new incarnation: its predecessor''s job is lost, with backoff');
SELECT is((job_of('of other')).status, 'running', 'a new incarnation: another executor''s job runs on');
SELECT is((SELECT sync.complete_job(id, claim_token, as_of => at('10:00:11')) FROM token), false, 'a new incarnation: the old one''s token is stale');
SELECT throws_ok($$SELECT * FROM sync.claim_jobs((SELECT incarnation FROM first), 1, at('10:01'))$$, '55000', NULL, 'a superseded incarnation may not claim');
SELECT is((SELECT array_agg(instruction) FROM sync.heartbeat((SELECT incarnation FROM first), (SELECT ARRAY[id] FROM token), at('10:00:11'))), '{cancel}',
    'a superseded incarnation is told to drop its jobs');
SELECT is(claim(at('10:00:15'), 1, 'host'), 1::bigint, 'the bare name stands for the current incarnation');
SELECT is((running('of first')).claimed_by, (SELECT incarnation FROM second), 'the job is the incarnation''s');
SELECT is(claim(at('10:00:16'), 1, 'never heard of'), 0::bigint, 'an unknown name may claim');
SELECT is((SELECT count(*) FROM sync.executors WHERE name = 'never heard of' AND superseded_at IS NULL), 1::bigint, 'and is registered by that');
SELECT is(claim(at('10:00:17'), 1, 'never heard of'), 0::bigint, 'again, without a second row');
SELECT is((SELECT count(*) FROM sync.executors WHERE name = 'never heard of'), 1::bigint, 'one row');
SELECT isnt(sync.register_executor('never heard of', 1, '{}', at('10:01')), 'never heard of', 'registering it later makes a new incarnation');
DELETE FROM sync.connections;
DELETE FROM sync.executors;

-- Heartbeats
CREATE TEMP TABLE beat AS SELECT sync.register_executor('beating', 1, '{}', at('11:00')) AS me;
SELECT connection('beat ' || n, NULL, at('09:00')) FROM generate_series(1, 4) n;
SELECT job('beat ' || n) FROM generate_series(1, 4) n;
SELECT claim(at('11:00'), 4, (SELECT me FROM beat));
CREATE FUNCTION beat(listed bigint[], as_of timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(h.job_id || ' ' || h.instruction, ',' ORDER BY h.job_id) FROM sync.heartbeat((SELECT me FROM beat), listed, as_of) h
$$;
CREATE FUNCTION ids(VARIADIC n int[]) RETURNS bigint[] LANGUAGE sql STABLE AS $$ SELECT array_agg((job_of('beat ' || i)).id) FROM unnest(n) i $$;
SELECT is(beat(ids(1, 2, 3, 4), at('11:00:30')), NULL, 'all is well: no instruction');
SELECT is((SELECT heartbeat_at FROM sync.executors WHERE name = 'beating'), at('11:00:30'), 'the heartbeat is noted');
SELECT is(beat(ids(1, 2, 3), at('11:00:59')), NULL, 'a job that is not listed within the lease: its reply may be on its way');
SELECT is((job_of('beat 4')).status, 'running', 'it is left');
SELECT is(beat(ids(1, 2, 3), at('11:01:01')), NULL, 'a job not listed that was claimed longer ago than the lease');
SELECT row_eq($$SELECT j.status, j.error_kind, j.attempts FROM job_of('beat 4') j$$, ROW('queued'::text, 'lost'::text, 1), 'is failed as lost');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status = 'running'), 3::bigint, 'the listed ones run on');
SELECT sync.cancel_job((job_of('beat 2')).id, as_of => at('11:01:02'));
SELECT is(beat(ids(1, 2, 3), at('11:01:10')), (job_of('beat 2')).id || ' cancel', 'a cancelled job that is listed comes back as cancel');
SELECT complete('beat 3', at('11:01:11'));
SELECT is(beat(ids(1, 3), at('11:01:12')), (job_of('beat 3')).id || ' cancel', 'so does one that has ended');
SELECT is(beat(ARRAY[-5, NULL], at('11:01:13')) LIKE '%-5 cancel%', true, 'and one that never was');
SELECT is(beat('{}', at('11:01:14')), NULL, 'an empty list');
SELECT is(beat(NULL, at('11:01:15')), NULL, 'no list');
SELECT is((SELECT status FROM job_of('beat 1')), 'queued', 'a list without it, longer than the lease after the claim: lost');
SELECT is((SELECT array_agg(instruction) FROM sync.heartbeat('nobody', ARRAY[1, 2]::bigint[], at('11:01'))), '{cancel,cancel}', 'an unknown executor is told to drop everything');
SELECT is((SELECT count(*) FROM sync.executors WHERE name = 'nobody'), 0::bigint, 'and is not registered by that');
-- The row of its name was lost: a heartbeat brings it back, so that what it runs is not taken for lost.
SELECT connection('rowless', NULL, at('09:00'));
SELECT job('rowless'), claim(at('11:01:16'), 1, 'rowless executor');
DELETE FROM sync.executors WHERE name = 'rowless executor';
SELECT is_empty($$SELECT * FROM sync.heartbeat('rowless executor', ARRAY[(job_of('rowless')).id], at('11:02'))$$, 'a heartbeat by a name without a row: its job runs on');
SELECT sync.tick(at('11:02:20'));
SELECT is((job_of('rowless')).status, 'running', 'and its lease is renewed');
SELECT beat('{}', at('11:00:05'));
SELECT is((SELECT heartbeat_at FROM sync.executors WHERE name = 'beating'), at('11:01:15'), 'a heartbeat of an earlier time does not take the later one back');
DELETE FROM sync.connections;
DELETE FROM sync.executors;

-- The lease: without heartbeat for lease_seconds, the tick fails the job as lost.
CREATE TEMP TABLE leased AS SELECT sync.register_executor('leased', 1, '{}', at('12:00')) AS me;
SELECT connection('leased', NULL, at('11:50'));
SELECT job('leased');
SELECT claim(at('12:00:10'), 1, (SELECT me FROM leased));
SELECT is((SELECT requeued FROM sync.tick(at('12:01:09'))), 0, 'within the lease of its claim: left');
SELECT sync.heartbeat((SELECT me FROM leased), ARRAY[(job_of('leased')).id], at('12:01'));
SELECT is((SELECT requeued FROM sync.tick(at('12:01:59'))), 0, 'within the lease of a heartbeat: left');
SELECT is((SELECT requeued FROM sync.tick(at('12:02:00'))), 1, 'without heartbeat for the lease: failed');
SELECT row_eq($$SELECT j.status, j.attempts, j.error_kind, j.retry_after, j.claimed_by FROM job_of('leased') j$$,
    ROW('queued'::text, 1, 'lost'::text, at('12:02:05'), NULL::text), 'it is lost and requeued with backoff');
SELECT is((SELECT kind || ' ' || status || ' ' || job_status FROM sync.sync_executions), 'lost failed queued', 'the attempt is history');
SET LOCAL sync_engine.lease_seconds = 600;
SELECT claim(at('12:02:05'), 1, (SELECT me FROM leased));
SELECT is((SELECT requeued FROM sync.tick(at('12:10'))), 0, 'lease_seconds 600: left after eight minutes');
SELECT is((SELECT requeued FROM sync.tick(at('12:12:05'))), 1, 'lease_seconds 600: failed after ten');
RESET sync_engine.lease_seconds;
-- A job that kills its executor each time fails for good in the end.
SET LOCAL sync_engine.max_attempts = 3;
SELECT claim(at('12:30'), 1, 'doomed');
SELECT sync.tick(at('12:31'));
SELECT row_eq($$SELECT j.status, j.attempts, j.error_kind FROM job_of('leased') j$$, ROW('failed'::text, 3, 'lost'::text), 'lost as often as max_attempts: failed for good');
RESET sync_engine.max_attempts;
DELETE FROM sync.connections;

-- max_run_seconds, in spite of heartbeats
SELECT connection('long', NULL, at('12:55'));
SELECT job('long');
SELECT claim(at('13:00'), 1, (SELECT me FROM leased));
SELECT sync.heartbeat((SELECT me FROM leased), ARRAY[(job_of('long')).id], at('13:59:50'));
SELECT is((SELECT requeued FROM sync.tick(at('13:59:59'))), 0, 'within max_run_seconds: left');
SELECT is((SELECT requeued FROM sync.tick(at('14:00'))), 1, 'longer than max_run_seconds: failed, heartbeats or not');
SELECT is((job_of('long')).error_kind, 'lost', 'longer than max_run_seconds: as lost');
UPDATE sync.providers SET max_run_seconds = 120 WHERE slug = 'github';
SELECT claim(at('14:01'), 1, (SELECT me FROM leased));
SELECT sync.heartbeat((SELECT me FROM leased), ARRAY[(job_of('long')).id], at('14:02:50'));
SELECT is((SELECT requeued FROM sync.tick(at('14:02:59'))), 0, 'the provider''s max_run_seconds: left within it');
SELECT is((SELECT requeued FROM sync.tick(at('14:03'))), 1, 'the provider''s max_run_seconds: failed after it');
DELETE FROM sync.connections;

-- Releasing costs no attempt.
SELECT connection('released ' || n, NULL, at('13:50')) FROM generate_series(1, 3) n;
SELECT job('released ' || n, cursor => '{"c": 1}') FROM generate_series(1, 3) n;
SELECT claim(at('15:00'), 3, (SELECT me FROM leased));
CREATE TEMP TABLE held AS SELECT id, claim_token FROM sync.sync_jobs WHERE status = 'running' ORDER BY id;
SELECT is((SELECT sync.release_jobs((SELECT me FROM leased), array_agg(id), array_agg(CASE WHEN id = (SELECT max(id) FROM held) THEN gen_random_uuid() ELSE claim_token END), at('15:01')) FROM held),
    2, 'two released, a stale token is passed by');
SELECT row_eq($$SELECT j.status, j.attempts, j.retry_after, j.claimed_by, j.claim_token, j.started_at, j.cursor FROM job_of('released 1') j$$,
    ROW('queued'::text, 0, NULL::timestamptz, NULL::text, NULL::uuid, at('15:00'), '{"c": 1}'::jsonb), 'released: queued at once, at no cost');
SELECT is((job_of('released 3')).status, 'running', 'the one with the stale token runs on');
SELECT is((SELECT sync.complete_job(id, claim_token, as_of => at('15:02')) FROM held ORDER BY id LIMIT 1), false, 'released: the former token is stale');
SELECT is((SELECT sync.release_jobs('anyone', array_agg(id), array_agg(claim_token), at('15:02')) FROM held WHERE id <> (SELECT max(id) FROM held)), 0, 'releasing again changes nothing');
SELECT is(claim(at('15:02'), 10, 'another'), 2::bigint, 'released: claimed by another');
SELECT is(sync.release_jobs('x', '{}', '{}', at('15:03')), 0, 'releasing nothing');
SELECT is(sync.release_jobs('x', NULL, NULL, at('15:03')), 0, 'releasing null');
SELECT throws_ok($$SELECT sync.release_jobs('x', '{1,2}', '{}', at('15:03'))$$, '22023', NULL, 'ids and tokens of different lengths are refused');
SELECT is((SELECT count(*) FROM sync.sync_executions e WHERE e.connection_id = conn('released 1')), 0::bigint, 'a release is no attempt');

SELECT * FROM finish();
ROLLBACK;
