-- Stale tokens change nothing and say so; a call that had succeeded may be repeated, since its reply can be lost.
\ir include/setup.psql
SELECT plan(61);
SELECT fix_jitter();
CREATE FUNCTION held(external text) RETURNS TABLE (id bigint, claim_token uuid) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM connection(external, NULL, at('09:00'));
    PERFORM job(external);
    PERFORM claim(at('10:00'));
    RETURN QUERY SELECT r.id, r.claim_token FROM running(external) r;
END $$;

-- Stale: a token that was never given, and one that is over. Nothing changes.
CREATE TEMP TABLE h AS SELECT * FROM held('stale');
CREATE TEMP TABLE before AS SELECT state_of('stale') AS state;
SELECT is(sync.complete_job(id, gen_random_uuid(), '[{"kind": "k"}]', '{"c": 1}', as_of => at('10:01')), false, 'complete_job with a stale token says so') FROM h;
SELECT is(sync.fail_job(id, gen_random_uuid(), '{"message": "x"}', as_of => at('10:01')), NULL, 'fail_job with a stale token says so') FROM h;
SELECT is(sync.add_signals(id, gen_random_uuid(), '[{"kind": "k"}]', at('10:01')), false, 'add_signals with a stale token says so') FROM h;
SELECT is(sync.release_jobs('executor', ARRAY[id], ARRAY[gen_random_uuid()], at('10:01')), 0, 'release_jobs with a stale token says so') FROM h;
SELECT is((SELECT outcome FROM sync.complete_jobs(jsonb_build_array(jsonb_build_object('job_id', id, 'claim_token', gen_random_uuid(), 'signals', '[{"kind": "k"}]'::jsonb)), at('10:01'))),
    'stale', 'complete_jobs with a stale token says so') FROM h;
SELECT is((SELECT outcome FROM sync.complete_jobs(jsonb_build_array(jsonb_build_object('job_id', id, 'claim_token', gen_random_uuid(), 'error', '{}'::jsonb)), at('10:01'))),
    'stale', 'complete_jobs with an error and a stale token says so') FROM h;
SELECT is(sync.complete_job(id, NULL, as_of => at('10:01')), false, 'a null token is stale') FROM h;
SELECT is(sync.complete_job(NULL, claim_token, as_of => at('10:01')), false, 'a null job is stale') FROM h;
SELECT is(sync.complete_job(-1, claim_token, as_of => at('10:01')), false, 'a job that does not exist is stale') FROM h;
SELECT is(sync.fail_job(-1, claim_token, '{}', as_of => at('10:01')), NULL, 'failing a job that does not exist is stale') FROM h;
SELECT is(state_of('stale'), (SELECT state FROM before), 'stale calls changed nothing at all');
SELECT is(complete('stale', at('10:02')), true, 'and the job can be completed');

-- complete_job again
CREATE TEMP TABLE completed AS SELECT * FROM held('completed');
CREATE FUNCTION complete_again(as_of timestamptz) RETURNS boolean LANGUAGE sql AS $$
    SELECT sync.complete_job(id, claim_token, '[{"kind": "k"}, {"dedupe_key": "d"}]', '{"c": 1}', false, '{}', as_of) FROM completed
$$;
SELECT is(complete_again(at('10:01')), true, 'complete_job');
UPDATE before SET state = state_of('completed');
SELECT is(complete_again(at('10:02')), true, 'complete_job again: success');
SELECT is(complete_again(at('10:02')), true, 'complete_job a third time: success');
SELECT is(state_of('completed'), (SELECT state FROM before), 'complete_job again changed nothing');
SELECT is(sync.fail_job(id, claim_token, '{"message": "x"}', as_of => at('10:03')), NULL, 'fail_job after complete_job is stale') FROM completed;
SELECT is(sync.add_signals(id, claim_token, '[{"kind": "k"}]', at('10:03')), false, 'add_signals after complete_job is stale') FROM completed;
SELECT is(sync.release_jobs('executor', ARRAY[id], ARRAY[claim_token], at('10:03')), 0, 'release_jobs after complete_job does nothing') FROM completed;
SELECT is(state_of('completed'), (SELECT state FROM before), 'and none of them changed anything');
-- Also after the finished job has moved to its dated table, and while the next one runs.
SELECT housekeep(at('10:04'));
SELECT is(complete_again(at('10:04')), true, 'complete_job again after housekeeping: success');
SELECT job('completed');
SELECT claim(at('10:05'));
UPDATE before SET state = state_of('completed');
SELECT is(complete_again(at('10:05')), true, 'complete_job again while the next job runs: success');
SELECT is(state_of('completed'), (SELECT state FROM before), 'the next job is untouched by it');

-- A page again: no second follow-up
CREATE TEMP TABLE page AS SELECT * FROM held('page');
CREATE FUNCTION page_again() RETURNS boolean LANGUAGE sql AS $$
    SELECT sync.complete_job(id, claim_token, '[{"kind": "k"}]', '{"p": 2}', true, '{}', at('10:01')) FROM page
$$;
SELECT is(page_again(), true, 'a page');
SELECT is(page_again(), true, 'the page again');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('page')), 2::bigint, 'one follow-up');
SELECT claim(at('10:02'));
SELECT is(page_again(), true, 'the page again while its follow-up runs');
SELECT complete('page', at('10:03'));
SELECT is(page_again(), true, 'the page again after its follow-up ended');
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id = conn('page')), 1::bigint, 'its signal is there once');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('page')), 2::bigint, 'still one follow-up');
-- A page that was a permanent failure (has_more without a cursor) answers as it did.
CREATE TEMP TABLE bad_page AS SELECT * FROM held('bad page');
SELECT is(sync.complete_job(id, claim_token, '[]', NULL, true, '{}', at('10:01')), true, 'has_more without a cursor') FROM bad_page;
UPDATE before SET state = state_of('bad page');
SELECT is(sync.complete_job(id, claim_token, '[]', NULL, true, '{}', at('10:01')), true, 'has_more without a cursor, again') FROM bad_page;
SELECT is(state_of('bad page'), (SELECT state FROM before), 'changed nothing');

-- fail_job again
CREATE TEMP TABLE failed AS SELECT * FROM held('failed');
SELECT is(sync.fail_job(id, claim_token, '{"message": "x"}', as_of => at('10:01')), 'queued', 'fail_job') FROM failed;
UPDATE before SET state = state_of('failed');
SELECT is(sync.fail_job(id, claim_token, '{"message": "x"}', as_of => at('10:01')), 'queued', 'fail_job again: the same answer') FROM failed;
SELECT is(sync.complete_job(id, claim_token, as_of => at('10:01')), false, 'complete_job after fail_job is stale') FROM failed;
SELECT is(state_of('failed'), (SELECT state FROM before), 'neither changed anything');
SELECT claim(at('10:02'));
UPDATE before SET state = state_of('failed');
SELECT is(sync.fail_job(id, claim_token, '{"message": "x"}', as_of => at('10:02')), 'queued', 'fail_job again while the retry runs: the same answer') FROM failed;
SELECT is(state_of('failed'), (SELECT state FROM before), 'the retry is untouched by it');
CREATE TEMP TABLE retried AS SELECT r.id, r.claim_token FROM running('failed') r;
SELECT isnt((SELECT claim_token FROM retried), (SELECT claim_token FROM failed), 'the retry has a token of its own');
SELECT is(sync.complete_job(id, claim_token, as_of => at('10:03')), true, 'the retry completes') FROM retried;
SELECT is(sync.complete_job(id, claim_token, as_of => at('10:03')), true, 'the retry completes again') FROM retried;
SELECT is(sync.complete_job(id, claim_token, as_of => at('10:03')), false, 'the first attempt did not') FROM failed;
CREATE TEMP TABLE dead AS SELECT * FROM held('dead');
SELECT is(sync.fail_job(id, claim_token, '{"message": "x"}', 'permanent', as_of => at('10:01')), 'failed', 'fail_job for good') FROM dead;
SELECT is(sync.fail_job(id, claim_token, '{"message": "x"}', 'permanent', as_of => at('10:01')), 'failed', 'fail_job for good, again: the same answer') FROM dead;
SELECT is(sync.complete_job(id, claim_token, '[{"kind": "k"}]', as_of => at('10:02')), false, 'complete_job after fail_job for good is stale: its signals were not stored') FROM dead;
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id = conn('dead')), 0::bigint, 'nothing was stored');

-- Lost and cancelled: the executor that comes back is told.
CREATE TEMP TABLE lost AS SELECT * FROM held('lost');
SELECT sync.tick(at('10:30'));
UPDATE before SET state = state_of('lost');
SELECT is((job_of('lost')).error_kind, 'lost', 'a job whose lease is over');
SELECT is(sync.complete_job(id, claim_token, '[{"kind": "k"}]', as_of => at('10:31')), false, 'complete_job of a lost job is stale') FROM lost;
SELECT is(sync.fail_job(id, claim_token, '{}', as_of => at('10:31')), NULL, 'fail_job of a lost job is stale') FROM lost;
SELECT is(state_of('lost'), (SELECT state FROM before), 'the lost job is left as it is');
CREATE TEMP TABLE cancelled AS SELECT * FROM held('cancelled');
SELECT is(sync.cancel_job(id, as_of => at('10:01')), true, 'a running job is cancelled') FROM cancelled;
UPDATE before SET state = state_of('cancelled');
SELECT is(sync.complete_job(id, claim_token, '[{"kind": "k"}]', as_of => at('10:02')), false, 'complete_job of a cancelled job is stale') FROM cancelled;
SELECT is(sync.fail_job(id, claim_token, '{}', as_of => at('10:02')), NULL, 'fail_job of a cancelled job is stale') FROM cancelled;
SELECT is(sync.cancel_job(id, as_of => at('10:02')), false, 'cancelling again: it had ended') FROM cancelled;
SELECT is(state_of('cancelled'), (SELECT state FROM before), 'the cancelled job is left as it is');

-- A batch in which everything happens at once: one row for each element, in whatever order.
CREATE TEMP TABLE one AS SELECT * FROM held('one');
CREATE TEMP TABLE two AS SELECT * FROM held('two');
CREATE FUNCTION outcomes(results jsonb) RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg(outcome ORDER BY outcome) FROM sync.complete_jobs(results, at('10:05')) $$;
SELECT is(outcomes(jsonb_build_array(
        jsonb_build_object('job_id', (SELECT id FROM one), 'claim_token', (SELECT claim_token FROM one)),
        jsonb_build_object('job_id', (SELECT id FROM completed), 'claim_token', (SELECT claim_token FROM completed)),
        jsonb_build_object('job_id', (SELECT id FROM failed), 'claim_token', (SELECT claim_token FROM failed), 'error', '{}'::jsonb),
        jsonb_build_object('job_id', (SELECT id FROM cancelled), 'claim_token', (SELECT claim_token FROM cancelled)),
        jsonb_build_object('job_id', -7, 'claim_token', gen_random_uuid()), '"text"'::jsonb, '{}'::jsonb)),
    '{completed,rejected,rejected,rejected,repeated,repeated,stale}', 'a batch of everything: an outcome for each');
SELECT is(outcomes(jsonb_build_array(jsonb_build_object('job_id', id, 'claim_token', claim_token), jsonb_build_object('job_id', id, 'claim_token', claim_token))),
    '{completed,repeated}', 'the same result twice in a batch') FROM two;
SELECT is(outcomes(jsonb_build_array(jsonb_build_object('job_id', id, 'claim_token', claim_token), jsonb_build_object('job_id', id, 'claim_token', gen_random_uuid()))),
    '{completed,stale}', 'a good and a stale token of one job in a batch') FROM (SELECT * FROM held('three') OFFSET 0) x;
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE connection_id = conn('two')), 1::bigint, 'it was completed once');
SELECT is(outcomes(jsonb_build_array(jsonb_build_object('job_id', id, 'claim_token', claim_token))), '{repeated}', 'a batch repeated as a whole') FROM two;

SELECT * FROM finish();
ROLLBACK;
