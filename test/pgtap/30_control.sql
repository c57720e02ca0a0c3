-- What applications and operators call: trigger, cancel, retry, interval, cursor.
\ir include/setup.psql
SELECT plan(90);
SELECT fix_jitter();

-- trigger without a live job
SELECT connection('trigger', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
SELECT isnt(sync.trigger(conn('trigger'), as_of => at('10:01')), NULL, 'trigger returns the job');
SELECT row_eq($$SELECT j.job_type, j.status, j.priority, j.scheduled_at, j.run_id = j.id, j.page FROM job_of('trigger') j$$,
    ROW('incremental'::text, 'queued'::text, 10, at('10:01'), true, 1), 'trigger: an incremental job of priority 10, now');
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 0, 'trigger: the tick skips the connection');
-- with a queued one: earlier, not later; higher, not lower
SELECT is(sync.trigger(conn('trigger'), as_of => at('10:05')), (job_of('trigger')).id, 'a second trigger returns the same job');
SELECT row_eq($$SELECT j.priority, j.scheduled_at, live('trigger') FROM job_of('trigger') j$$, ROW(10, at('10:01'), 1::bigint), 'a second trigger changes nothing');
SELECT sync.trigger(conn('trigger'), 'incremental', 50, at('10:00:30'));
SELECT row_eq($$SELECT j.priority, j.scheduled_at FROM job_of('trigger') j$$, ROW(50, at('10:00:30')), 'a queued job: the earlier time, the greater priority');
SELECT sync.trigger(conn('trigger'), 'incremental', -5, at('10:03'));
SELECT row_eq($$SELECT j.priority, j.scheduled_at FROM job_of('trigger') j$$, ROW(50, at('10:00:30')), 'a queued job: neither later nor lower');
-- retry_after is cleared, unless the last failure was rate limiting
SELECT claim(at('10:10')), fail('trigger', at('10:10'));
SELECT isnt((job_of('trigger')).retry_after, NULL, 'a job in backoff');
SELECT sync.trigger(conn('trigger'), as_of => at('10:10'));
SELECT is((job_of('trigger')).retry_after, NULL, 'trigger clears the backoff');
SELECT is(claim(at('10:10')), 1::bigint, 'and it is claimed');
SELECT fail('trigger', at('10:10'), 'rate_limited', 300);
SELECT sync.trigger(conn('trigger'), as_of => at('10:11'));
SELECT cmp_ok((job_of('trigger')).retry_after, '>=', at('10:15'), 'trigger does not clear a rate limit');
SELECT is(claim(at('10:12')), 0::bigint, 'and it is not claimed');
SELECT claim(at('10:30')), complete('trigger', at('10:31'));
-- with a running one: any number of triggers make one more run
SELECT sync.trigger(conn('trigger'), as_of => at('10:32')), claim(at('10:32'));
SELECT is(sync.trigger(conn('trigger'), 'incremental', n, at('10:32')), (running('trigger')).id, 'while it runs: trigger ' || n || ' returns the running job') FROM generate_series(3, 5) n;
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('trigger') AND status IN ('queued', 'running')), 1::bigint, 'while it runs: nothing is queued yet');
SELECT complete('trigger', at('10:33'), '[]', '"c"');
SELECT row_eq($$SELECT j.status, j.priority, j.scheduled_at, j.page, j.run_id = j.id, j.cursor FROM job_of('trigger') j$$,
    ROW('queued'::text, 5, at('10:33'), 1, true, NULL::jsonb), 'when it ends: one more is queued, a run of its own');
SELECT is(live('trigger'), 1::bigint, 'when it ends: one');
SELECT is((SELECT k.cursor FROM sync.claim_jobs('executor', 1, at('10:33')) k), '"c"', 'it starts where the one before ended');
SELECT complete('trigger', at('10:34'));
SELECT is(live('trigger'), 0::bigint, 'and nothing follows it');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('trigger')), at('10:49'), 'then the interval is reckoned from its end');
-- whatever way the running one ends
CREATE FUNCTION triggered_and(ending text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r sync.sync_jobs;
BEGIN
    DELETE FROM sync.connections;
    PERFORM connection('ends', NULL, at('10:00'));
    PERFORM job('ends'), claim(at('11:00'));
    PERFORM sync.trigger(conn('ends'), 'incremental', 10, at('11:00'));
    r := running('ends');
    CASE ending
        WHEN 'fails' THEN PERFORM fail('ends', at('11:01'));
        WHEN 'fails for good' THEN PERFORM fail('ends', at('11:01'), 'permanent');
        WHEN 'is lost' THEN PERFORM sync.tick(at('11:02'));
        WHEN 'is released' THEN PERFORM sync.release_jobs('executor', ARRAY[r.id], ARRAY[r.claim_token], at('11:01'));
        WHEN 'is cancelled' THEN PERFORM sync.cancel_job(r.id, as_of => at('11:01'));
        WHEN 'is ended by hand' THEN UPDATE sync.sync_jobs SET status = 'succeeded' WHERE id = r.id;
        WHEN 'ends in a batch' THEN PERFORM sync.complete_jobs(jsonb_build_array(jsonb_build_object('job_id', r.id, 'claim_token', r.claim_token)), at('11:01'));
        WHEN 'has a page queued' THEN
            UPDATE sync.sync_jobs SET rerun_priority = NULL WHERE id = r.id;
            PERFORM complete('ends', at('11:01'), '[{"kind": "k"}]', '"2"', true);
            PERFORM sync.trigger(conn('ends'), as_of => at('11:01')), sync.trigger(conn('ends'), as_of => at('11:01'));
            PERFORM claim(at('11:01')), complete('ends', at('11:01'), '[{"kind": "k"}]', '"3"');
        WHEN 'has more pages' THEN
            PERFORM complete('ends', at('11:01'), '[{"kind": "k"}]', '"2"', true), claim(at('11:01'));
            PERFORM complete('ends', at('11:01'), '[{"kind": "k"}]', '"3"');
    END CASE;
    -- What is ended by hand is queued for the server's own time.
    RETURN live('ends') || ' queued, claimable ' || claim('2100-01-01 UTC');
END $$;
SELECT is(triggered_and(e), '1 queued, claimable 1', 'triggered while it ran, then it ' || e || ': one more run')
FROM unnest('{fails,fails for good,is lost,is released,is cancelled,ends in a batch,has more pages,has a page queued,is ended by hand}'::text[]) e;
DELETE FROM sync.connections;
-- other types, side by side
SELECT connection('types', NULL, at('10:00'));
SELECT isnt(sync.trigger(conn('types'), 'full', as_of => at('10:01')), sync.trigger(conn('types'), 'webhook', as_of => at('10:01')), 'each type has its own job');
SELECT is((SELECT due_at IS NOT NULL FROM sync.connection_state WHERE connection_id = conn('types')), true, 'another type leaves the interval schedule');
-- who may not
SELECT throws_ok(format('SELECT sync.trigger(%s, %L, %L)', conn('types'), t, p), '22023', NULL, 'trigger refuses type ' || COALESCE(quote_literal(t), 'null') || ', priority ' || COALESCE(p::text, 'null'))
FROM (VALUES ('', 10), (NULL, 10), ('x', NULL)) v (t, p);
SELECT throws_ok('SELECT sync.trigger(-1)', 'P0002', 'connection -1 does not exist', 'trigger of a connection that does not exist');
SELECT connection('not ' || s, NULL, at('10:00'), status => s) FROM unnest('{paused,error,revoked}'::text[]) s;
UPDATE sync.connections SET status_reason = 'because' WHERE id = conn('not paused');
SELECT throws_like(format('SELECT sync.trigger(%s)', conn('not ' || s)), format('connection %s is %s%%', conn('not ' || s), s), 'not active: ' || s) FROM unnest('{paused,error,revoked}'::text[]) s;
SELECT throws_ok(format('SELECT sync.trigger(%s)', conn('not ' || s)), '55000', NULL, 'not active: 55000 when ' || s) FROM unnest('{paused,error,revoked}'::text[]) s;
SELECT throws_ok(format('SELECT sync.trigger(%s)', conn('not paused')), '55000', format('connection %s is paused: because', conn('not paused')), 'not active: with the reason');
SELECT sync.pause_provider('github', 'maintenance');
SELECT throws_ok(format('SELECT sync.trigger(%s)', conn('types')), '55000', 'provider github is paused: maintenance', 'a paused provider: 55000 with the reason');
SELECT sync.resume_provider('github');
DELETE FROM sync.connections;

-- cancel_job
SELECT connection('cancel', '{"next_run_at": "2026-03-01T12:15:00Z"}', at('12:00'));
SELECT job('cancel', scheduled_at => at('12:00'));
SELECT is(sync.cancel_job((job_of('cancel')).id, 'not wanted', at('12:01')), true, 'a queued job is cancelled');
SELECT row_eq($$SELECT j.status, j.finished_at, j.error ->> 'cancelled' FROM job_of('cancel') j$$, ROW('cancelled'::text, at('12:01'), 'not wanted'::text), 'with time and reason');
SELECT row_eq($$SELECT last_finish('cancel'), meta('cancel') ->> 'next_run_at'$$, ROW(at('12:00'), '2026-03-01T12:15:00Z'::text), 'a cancelled job leaves last finish and next_run_at');
SELECT is((SELECT enqueued FROM sync.tick(at('12:02'))), 0, 'the tick does not bring it back at once');
SELECT is((SELECT enqueued FROM sync.tick(at('12:15'))), 1, 'the next slot is used');
SELECT claim(at('12:15'));
SELECT is(sync.cancel_job((job_of('cancel')).id, as_of => at('12:16')), true, 'a running job is cancelled');
SELECT is((SELECT running_job_id FROM sync.connection_state WHERE connection_id = conn('cancel')), NULL, 'its place is free');
SELECT row_eq($$SELECT e.status, e.job_status FROM sync.sync_executions e WHERE e.connection_id = conn('cancel')$$, ROW('cancelled'::text, 'cancelled'::text), 'the attempt is history');
SELECT is((SELECT enqueued FROM sync.tick(at('12:30'))), 1, 'the slot after it is used');
SELECT is(sync.cancel_job(-1), false, 'a job that does not exist');
SELECT is(sync.cancel_job(NULL), false, 'no job');
DELETE FROM sync.connections;

-- retry_job
SELECT connection('retry', NULL, at('12:00'));
SELECT job('retry', 'full', 3, at('12:00'), '{"page": 7}');
UPDATE sync.sync_jobs SET input = '{"i": 1}' WHERE connection_id = conn('retry');
CREATE TEMP TABLE first AS SELECT (job_of('retry', 'full')).id AS id;
SELECT claim(at('13:00')), fail('retry', at('13:01'), 'permanent');
SELECT isnt(sync.retry_job(id, at('13:02')), id, 'a failed job is retried as a new one') FROM first;
SELECT row_eq($$SELECT j.status, j.cursor, j.input, j.attempts, j.priority, j.scheduled_at FROM job_of('retry', 'full') j$$,
    ROW('queued'::text, '{"page": 7}'::jsonb, '{"i": 1}'::jsonb, 0, 10, at('13:02')), 'with its cursor and input, now');
SELECT is((SELECT status FROM sync.sync_jobs JOIN first USING (id)), 'failed', 'the failed one stays as it is');
SELECT is(sync.retry_job((job_of('retry', 'full')).id, at('13:03')), (job_of('retry', 'full')).id, 'a queued job is itself');
SELECT claim(at('13:03'));
SELECT is(sync.retry_job((job_of('retry', 'full')).id, at('13:03')), (job_of('retry', 'full')).id, 'a running job is itself');
SELECT complete('retry', at('13:04'));
SELECT throws_ok(format('SELECT sync.retry_job(%s)', (job_of('retry', 'full')).id), '55000', NULL, 'a job that succeeded is not retried');
SELECT throws_ok('SELECT sync.retry_job(-1)', 'P0002', 'job -1 does not exist', 'a job that does not exist');
UPDATE sync.connections SET status = 'paused' WHERE id = conn('retry');
SELECT throws_ok(format('SELECT sync.retry_job(%s)', (SELECT id FROM first)), '55000', NULL, 'not while the connection is paused');
DELETE FROM sync.connections;

-- retry_failed
SELECT connection('rf ' || n, NULL, at('12:00'), slug => CASE WHEN n > 4 THEN 'gitlab' ELSE 'github' END) FROM generate_series(1, 7) n;
SELECT job('rf ' || n, cursor => to_jsonb(n)) FROM generate_series(1, 7) n;
SELECT claim(at('13:00'));
SELECT fail('rf ' || n, CASE WHEN n = 2 THEN at('13:01') ELSE at('14:00') END, 'permanent') FROM generate_series(1, 5) n;
SELECT complete('rf 6', at('14:00'));
-- 3 has run well since, 4 is paused, 7 still runs.
SELECT job('rf 3'), claim(at('14:01')), complete('rf 3', at('14:02'));
SELECT sync.pause(conn('rf 4'));
SELECT is(sync.retry_failed('gitlab', '-infinity', at('14:10')), 1, 'retry_failed of one provider');
SELECT row_eq($$SELECT j.status, j.cursor, j.priority, j.scheduled_at, j.attempts FROM job_of('rf 5') j$$, ROW('queued'::text, '5'::jsonb, 10, at('14:10'), 0), 'with its cursor, now');
SELECT is(sync.retry_failed(NULL, at('13:30'), at('14:10')), 1, 'retry_failed since a time: neither what failed before, nor what ran well since, nor what is paused');
SELECT is(live('rf 1'), 1::bigint, 'the one that failed since');
SELECT is(sync.retry_failed(as_of => at('14:10')), 1, 'retry_failed of all: the one that is left');
SELECT is(live('rf 2'), 1::bigint, 'the one that failed before');
SELECT is(sync.retry_failed(as_of => at('14:10')), 0, 'retry_failed again: none is left');
SELECT is(sync.retry_failed('nobody'), 0, 'retry_failed of an unknown provider');
SELECT is(live('rf ' || n), 0::bigint, 'not retried: ' || n) FROM unnest('{3,4,6}'::int[]) n;
SELECT is((SELECT enqueued FROM sync.tick(at('14:10'))), 0, 'the tick leaves what is retried alone');
DELETE FROM sync.connections;

-- set_interval
SELECT connection('interval', '{"cursor": 1}', at('12:00'));
SELECT sync.tick(at('12:00'));
SELECT sync.set_interval(conn('interval'), 120);
SELECT is(meta('interval') -> 'interval_seconds', '120'::jsonb, 'set_interval');
SELECT is((SELECT enqueued FROM sync.tick(at('12:02'))), 1, 'set_interval: seen at the next tick');
SELECT sync.set_interval(conn('interval'), NULL);
SELECT is(meta('interval') -> 'interval_seconds', NULL, 'set_interval to null: the default again');
SELECT is(meta('interval') -> 'cursor', '1'::jsonb, 'set_interval keeps the other keys');
SELECT throws_ok(format('SELECT sync.set_interval(%s, 59)', conn('interval')), '22023', 'interval of 59 seconds is outside 60 to 86400', 'set_interval names its bounds');
SELECT throws_ok('SELECT sync.set_interval(-1, 60)', 'P0002', 'connection -1 does not exist', 'set_interval of a connection that does not exist');
SELECT lives_ok(format('UPDATE sync.connections SET metadata = %L WHERE id = %s; SELECT sync.set_interval(%s, 60), sync.set_cursor(%s, ''1'')', v, conn('interval'), conn('interval'), conn('interval')),
    'set_interval and set_cursor cope with metadata ' || COALESCE(v, 'NULL')) FROM unnest(ARRAY[NULL, '[]', '"x"', '{"sync": 5}']) v;

-- set_cursor
UPDATE sync.connections SET metadata = '{"theirs": 1}' WHERE id = conn('interval');
SELECT sync.set_cursor(conn('interval'), '{"since": "2026"}');
SELECT is((SELECT metadata FROM sync.connections WHERE id = conn('interval')) #- '{sync,next_run_at}', '{"theirs": 1, "sync": {"cursor": {"since": "2026"}}}'::jsonb, 'set_cursor');
SELECT is((SELECT k.cursor FROM sync.claim_jobs('executor', 1, at('12:05')) k), '{"since": "2026"}', 'set_cursor: the next run starts there');
SELECT sync.set_cursor(conn('interval'), NULL);
SELECT is(meta('interval') ? 'cursor', false, 'set_cursor to null: from the beginning');
SELECT sync.set_cursor(conn('interval'), '1'), sync.set_cursor(conn('interval'), 'null');
SELECT is(meta('interval') ? 'cursor', false, 'set_cursor to JSON null is the same');
SELECT throws_ok($$SELECT sync.set_cursor(-1, '1')$$, 'P0002', 'connection -1 does not exist', 'set_cursor of a connection that does not exist');

SELECT * FROM finish();
ROLLBACK;
