-- History as people read it: attempts, runs with their pages, retrying an attempt, putting the cursor back.
\ir include/setup.psql
SELECT plan(45);
SELECT fix_jitter();

-- A scheduled run of two pages, the second of which fails once.
SELECT connection('c', '{"cursor": 10}', at('09:00'));
SELECT sync.create_schedule(conn('c'), 'morning', 'daily', at => '10:00', as_of => at('09:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('09:59:30'))), 1, 'the schedule enqueues its run');
SELECT claim(at('10:00'));
CREATE TEMP TABLE first AS SELECT * FROM running('c');
SELECT ok(sync.complete_job(id, claim_token, '[{"dedupe_key": "a"}, {"dedupe_key": "b"}]', '20', true,
                            '{"records": 5, "created": 2, "updated": 1, "skipped": 2, "bytes": 1000}', at('10:01')), 'a page') FROM first;
SELECT claim(at('10:01'));
SELECT fail('c', at('10:02'));
SELECT claim(at('10:10'));
SELECT complete('c', at('10:11'), '[{"dedupe_key": "b"}, {"dedupe_key": "c"}]', '30');

SELECT results_eq($$SELECT trigger_type, page, attempt, status, planned_at, cursor_before, cursor_after FROM sync.execution_history ORDER BY execution_id$$,
    $$VALUES ('scheduled', 1, 1, 'succeeded', at('10:00'), '10'::jsonb, '20'::jsonb),
             ('follow_up', 2, 1, 'failed', at('10:00'), '20', NULL),
             ('retry', 2, 2, 'succeeded', at('10:00'), '20', '30')$$, 'each attempt: what brought it about, where it began and where the next one goes on');
SELECT results_eq($$SELECT records_processed, records_created, records_updated, records_skipped, bytes FROM sync.execution_history ORDER BY execution_id$$,
    $$VALUES (5::bigint, 2::bigint, 1::bigint, 2::bigint, 1000::bigint), (0, 0, 0, 0, NULL), (2, 1, 0, 1, NULL)$$,
    'records are what the connector told, else counted from its signals');
SELECT row_eq($$SELECT run_id, schedule_id IS NOT NULL, trigger_type, planned_at, started_at, finished_at, status, attempts, failed_attempts, pages, records_processed,
                       records_created, records_skipped, bytes FROM sync.run_history$$,
    ROW((SELECT id FROM first), true, 'scheduled'::text, at('10:00'), at('10:00'), at('10:11'), 'succeeded'::text, 3, 1, 2, 7::bigint, 3::bigint, 3::bigint, 1000::bigint),
    'the run of 10:00 is one line');
SELECT is((SELECT count(*) FROM sync.execution_history WHERE run_id = (SELECT id FROM first)), 3::bigint, 'with its pages below it');
SELECT row_eq($$SELECT outcome, first_planned_at, job_id, run_status, attempts, pages, records_processed FROM sync.schedule_history((SELECT id FROM sync.sync_schedules))$$,
    ROW('fired'::text, at('10:00'), (SELECT id FROM first), 'succeeded'::text, 3, 2, 4::bigint), 'the schedule''s history tells it too');

-- What connectors write into their stats does not break a view.
SELECT is(sync._count_in(s::jsonb, 'bytes'), n, 'stats: ' || s)
FROM (VALUES ('{}', NULL), ('{"bytes": "many"}', NULL), ('{"bytes": -1}', NULL), ('{"bytes": 1e30}', NULL), ('{"bytes": null}', NULL), ('{"bytes": 7}', 7::bigint), ('[]', NULL)) v (s, n);

-- Triggers and intervals
SELECT connection('i', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
SELECT sync.tick(at('10:15')), claim(at('10:20')), complete('i', at('10:21'), '[]', '1');
SELECT sync.trigger(conn('i'), as_of => at('10:22')), claim(at('10:22')), complete('i', at('10:23'), '[]', '2');
INSERT INTO sync.sync_jobs (connection_id, job_type, scheduled_at) VALUES (conn('i'), 'full', at('10:24'));
SELECT claim(at('10:24')), complete('i', at('10:25'), '[]', '"f"');
SELECT results_eq($$SELECT job_type, trigger_type, schedule_id, planned_at, cursor_before FROM sync.execution_history WHERE connection_id = conn('i') ORDER BY execution_id$$,
    $$VALUES ('incremental', 'scheduled', NULL::bigint, NULL::timestamptz, NULL::jsonb), ('incremental', 'manual', NULL, NULL, '1'), ('full', 'manual', NULL, NULL, NULL)$$,
    'runs of the interval, of a trigger and of an application''s own job');

-- Retrying an attempt
CREATE FUNCTION execution(external text, nth int DEFAULT 1) RETURNS bigint LANGUAGE sql AS $$
    SELECT id FROM sync.sync_executions WHERE connection_id = conn(external) ORDER BY id DESC OFFSET nth - 1 LIMIT 1 $$;
SELECT throws_ok($$SELECT sync.retry_execution(conn('i'), execution('i'))$$, '55000', NULL, 'what succeeded is not retried');
SELECT throws_ok($$SELECT sync.retry_execution(conn('i'), 0)$$, 'P0002', NULL, 'nor what there is not');
SELECT throws_ok($$SELECT sync.retry_execution(conn('i'), execution('c'))$$, 'P0002', NULL, 'nor what is another connection''s');
SELECT sync.trigger(conn('i'), as_of => at('10:30')), claim(at('10:30')), fail('i', at('10:31'));
SELECT is(sync.retry_execution(conn('i'), execution('i'), at('10:31:01')), (job_of('i')).id, 'while the job waits for its next attempt it is that job');
SELECT is((job_of('i')).retry_after, NULL, 'which runs at once');
SELECT is(claim(at('10:31:01')), 1::bigint, 'and is claimed');
SELECT is(sync.retry_execution(conn('i'), execution('i'), at('10:31:02')), (running('i')).id, 'while it runs it is that job');
SELECT fail('i', at('10:32'), 'permanent');
SELECT isnt(sync.retry_execution(conn('i'), execution('i'), at('10:33')), (SELECT job_id FROM sync.sync_executions WHERE id = execution('i')), 'when it has failed it is a new one');
SELECT row_eq($$SELECT j.status, j.priority, j.trigger_type, j.cursor FROM job_of('i') j$$, ROW('queued'::text, 10, 'retry'::text, NULL::jsonb), 'an incremental one goes on where its connection is');
SELECT claim(at('10:33')), complete('i', at('10:34'), '[]', '3');
SELECT is((SELECT trigger_type FROM sync.execution_history WHERE execution_id = execution('i')), 'retry', 'history tells that it was a retry');
INSERT INTO sync.sync_jobs (connection_id, job_type, scheduled_at, cursor, input) VALUES (conn('i'), 'full', at('10:40'), '"page 3"', '{"x": 1}');
SELECT claim(at('10:40')), fail('i', at('10:41'), 'permanent');
SELECT sync.retry_execution(conn('i'), execution('i'), at('10:42'));
SELECT row_eq($$SELECT j.job_type, j.cursor, j.input FROM job_of('i', 'full') j$$, ROW('full'::text, '"page 3"'::jsonb, '{"x": 1}'::jsonb), 'another job takes up the page that failed, with its input');
SELECT claim(at('10:42')), complete('i', at('10:43'), '[]');
SELECT sync.pause(conn('i'), 'holiday');
SELECT throws_ok($$SELECT sync.retry_execution(conn('i'), execution('i', 2))$$, '55000', NULL, 'a connection that is paused retries nothing');
SELECT sync.resume(conn('i'));

-- Putting the cursor back
CREATE TEMP TABLE second AS SELECT id FROM sync.sync_executions WHERE connection_id = conn('i') AND job_type = 'incremental' AND cursor_before = '1';
SELECT row_eq($$SELECT r.* FROM second, sync.rewind(conn('i'), id) r$$, ROW('3'::jsonb, '1'::jsonb, at('10:22'), 2::bigint, 0::bigint, false), 'a dry run tells what would be read again');
SELECT is((SELECT metadata #> '{sync,cursor}' FROM sync.connections WHERE id = conn('i')), '3', 'and changes nothing');
SELECT row_eq($$SELECT r.* FROM second, sync.rewind(conn('i'), id, dry_run => false) r$$, ROW('3'::jsonb, '1'::jsonb, at('10:22'), 2::bigint, 0::bigint, true), 'for real it tells the same');
SELECT is((SELECT metadata #> '{sync,cursor}' FROM sync.connections WHERE id = conn('i')), '1', 'and puts the cursor back');
SELECT sync.trigger(conn('i'), as_of => at('10:50'));
SELECT is((SELECT cursor FROM sync.claim_jobs('executor', 1, at('10:50'))), '1', 'the next run starts there');
SELECT throws_ok($$SELECT sync.rewind(conn('i'), execution('i', 2), dry_run => false)$$, '55000', NULL, 'while a job runs, the cursor is not put back: it would store its own');
SELECT lives_ok($$SELECT sync.rewind(conn('i'), (SELECT id FROM second))$$, 'a dry run is');
SELECT complete('i', at('10:51'), '[{"dedupe_key": "x"}]', '2', true);
SELECT isnt((job_of('i')).cursor, NULL, 'a page waits');
SELECT is((SELECT rewound FROM sync.rewind(conn('i'), (SELECT id FROM second), dry_run => false, as_of => at('10:52'))), true, 'rewound before it runs');
SELECT is(live('i'), 0::bigint, 'the page, which would have gone on, is cancelled');
SELECT is((SELECT cursor_then FROM sync.rewind(conn('i'), (SELECT min(id) FROM sync.sync_executions WHERE connection_id = conn('i')), dry_run => false)), NULL, 'the first run began without a cursor');
SELECT is((SELECT metadata #> '{sync,cursor}' FROM sync.connections WHERE id = conn('i')), NULL, 'so there is none then');
SELECT throws_ok($$SELECT sync.rewind(conn('i'), (SELECT max(id) FROM sync.sync_executions WHERE connection_id = conn('i') AND job_type = 'full'))$$, '55000', NULL, 'only incremental runs move the cursor as they go');

-- The statement's way writes the same.
CREATE FUNCTION tap.noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER application AFTER UPDATE ON sync.connections FOR EACH ROW EXECUTE FUNCTION tap.noop();
SELECT connection('s', '{"cursor": "s1"}', at('09:00'));
SELECT sync.create_schedule(conn('s'), 'morning', 'daily', at => '11:00', as_of => at('09:00'));
SELECT sync.tick(at('10:59:30')), claim(at('11:00')), complete('s', at('11:01'), '[]', '"s2"', true), claim(at('11:01')), complete('s', at('11:02'), '[]', '"s3"');
SELECT results_eq($$SELECT trigger_type, page, planned_at, cursor_before, cursor_after FROM sync.execution_history WHERE connection_id = conn('s') ORDER BY execution_id$$,
    $$VALUES ('scheduled', 1, at('11:00'), '"s1"'::jsonb, '"s2"'::jsonb), ('follow_up', 2, at('11:00'), '"s2"', '"s3"')$$, 'where an application has put triggers, history is the same');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('s')), NULL, 'and the interval stays out of it');
SELECT is((SELECT metadata #> '{sync,next_run_at}' FROM sync.connections WHERE id = conn('s')), NULL, 'in the metadata as well');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('c')), NULL, 'as with the one before');
SELECT is((SELECT metadata #> '{sync,next_run_at}' FROM sync.connections WHERE id = conn('c')), NULL, 'whose runs went the other way');

SELECT * FROM finish();
ROLLBACK;
