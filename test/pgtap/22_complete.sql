-- Completing a job: signals, deduplication, cursors, follow-up pages, history, next run.
\ir include/setup.psql
SELECT plan(63);
SELECT fix_jitter();

CREATE FUNCTION run(external text, as_of timestamptz, signals jsonb DEFAULT '[]', next_cursor jsonb DEFAULT NULL, has_more boolean DEFAULT false,
    job_type text DEFAULT 'incremental') RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF live(external, job_type) = 0 THEN
        PERFORM job(external, job_type);
    END IF;
    PERFORM claim(as_of);
    RETURN complete(external, as_of, signals, next_cursor, has_more);
END $$;
CREATE FUNCTION last_execution(external text) RETURNS sync.sync_executions LANGUAGE sql STABLE AS $$
    SELECT e FROM sync.sync_executions e WHERE connection_id = conn(external) ORDER BY id DESC LIMIT 1
$$;

-- Signals
SELECT connection('signals', NULL, at('09:00'));
SELECT is(run('signals', at('10:00')), true, 'no signals');
SELECT is(run('signals', at('10:01'), NULL), true, 'null signals');
SELECT is((SELECT count(*) FROM sync.signals), 0::bigint, 'none stored');
SELECT is(run('signals', at('10:02'), '[{}, {"kind": "a", "extra": 1}, {"payload": "text"}, {"payload": null, "occurred_at": null, "dedupe_key": null},
    {"occurred_at": "2026-02-01"}, {"occurred_at": "2026-02-01T10:00:00+05:30"}, {"occurred_at": "1900-01-01T00:00:00.123456Z"}]'), true, 'signals with every key optional');
SELECT results_eq('SELECT kind, occurred_at, payload, dedupe_key FROM sync.signals ORDER BY id',
    $$VALUES ('signal', at('10:02'), '{}'::jsonb, NULL::text), ('a', at('10:02'), '{}', NULL), ('signal', at('10:02'), '"text"', NULL), ('signal', at('10:02'), '{}', NULL),
             ('signal', '2026-02-01 00:00 UTC', '{}', NULL), ('signal', '2026-02-01 04:30 UTC', '{}', NULL), ('signal', '1900-01-01 00:00:00.123456 UTC', '{}', NULL)$$,
    'defaults: kind, occurred_at is as_of, an empty payload');
SELECT is((SELECT count(*) FROM sync.signals WHERE received_at = at('10:02')), 7::bigint, 'received_at is as_of');
SELECT row_eq($$SELECT e.signals_received, e.signals_inserted, e.signals_duplicate FROM last_execution('signals') e$$, ROW(7, 7, 0), 'they are counted');

-- Deduplication, for each connection, across calls, within one and across months
SELECT connection('dedupe', NULL, at('09:00'));
SELECT connection('dedupe too', NULL, at('09:00'));
SELECT run('dedupe', at('10:05'), '[{"dedupe_key": "1", "payload": {"first": true}}, {"dedupe_key": "2"}, {"dedupe_key": "1", "payload": {"first": false}}]');
SELECT row_eq($$SELECT e.signals_received, e.signals_inserted, e.signals_duplicate FROM last_execution('dedupe') e$$, ROW(3, 2, 1), 'twice in one call: skipped and counted');
SELECT is((SELECT payload FROM sync.signals WHERE connection_id = conn('dedupe') AND dedupe_key = '1'), '{"first": true}', 'the first one stays');
SELECT run('dedupe', at('10:06'), '[{"dedupe_key": "2"}, {"dedupe_key": "3"}, {"dedupe_key": 3}, {"dedupe_key": null}, {}]');
SELECT row_eq($$SELECT e.signals_received, e.signals_inserted, e.signals_duplicate FROM last_execution('dedupe') e$$, ROW(5, 3, 2), 'seen by an earlier run: skipped and counted');
SELECT run('dedupe too', at('10:06'), '[{"dedupe_key": "1"}, {"dedupe_key": "2"}]');
SELECT is((last_execution('dedupe too')).signals_inserted, 2, 'another connection has keys of its own');
SELECT run('dedupe', '2026-04-02 00:00 UTC', '[{"dedupe_key": "1"}, {"dedupe_key": "4"}]');
SELECT is((last_execution('dedupe')).signals_inserted, 1, 'seen in an earlier month: skipped');
SELECT run('dedupe', '2027-01-01 00:00 UTC', '[{"dedupe_key": "4"}, {"dedupe_key": "5"}]');
SELECT is((last_execution('dedupe')).signals_inserted, 1, 'seen in an earlier year: skipped');
SELECT run('dedupe', at('10:07'), '[{"dedupe_key": "5"}, {"dedupe_key": "4"}]');
SELECT is((last_execution('dedupe')).signals_inserted, 0, 'seen in a later month, the clock went back: skipped');
SELECT run('dedupe', at('10:08'), jsonb_build_array(jsonb_build_object('dedupe_key', repeat('k', 100000)), jsonb_build_object('dedupe_key', repeat('k', 100000)),
    jsonb_build_object('dedupe_key', repeat('k', 100001)), jsonb_build_object('dedupe_key', repeat('ä', 3000))));
SELECT is((last_execution('dedupe')).signals_inserted, 3, 'keys of any length are told apart');
SELECT run('dedupe', at('10:09'), (SELECT jsonb_agg(jsonb_build_object('kind', 'many', 'dedupe_key', 'n' || n % 2000)) FROM generate_series(1, 5000) n));
SELECT row_eq($$SELECT e.signals_received, e.signals_inserted, e.signals_duplicate FROM last_execution('dedupe') e$$, ROW(5000, 2000, 3000), 'thousands at once');
SELECT is((SELECT count(*) FROM (SELECT dedupe_key FROM sync.signals WHERE connection_id = conn('dedupe') AND dedupe_key IS NOT NULL GROUP BY 1 HAVING count(*) > 1) d),
    0::bigint, 'no key is there twice');

-- add_signals: any number of times before complete_job
SELECT connection('added', NULL, at('09:00'));
SELECT job('added');
SELECT claim(at('10:10'));
SELECT is((SELECT sync.add_signals(r.id, r.claim_token, '[{"dedupe_key": "a"}, {"dedupe_key": "b"}]', at('10:10')) FROM running('added') r), true, 'add_signals, first part');
SELECT is((SELECT sync.add_signals(r.id, r.claim_token, '[{"dedupe_key": "b"}, {"dedupe_key": "c"}]', at('10:10')) FROM running('added') r), true, 'add_signals, second part');
SELECT is((SELECT sync.add_signals(r.id, r.claim_token, '[]', at('10:10')) FROM running('added') r), true, 'add_signals, an empty part');
SELECT is(complete('added', at('10:11'), '[{"dedupe_key": "c"}, {"dedupe_key": "d"}]'), true, 'add_signals, then complete_job');
SELECT row_eq($$SELECT e.signals_received, e.signals_inserted, e.signals_duplicate FROM last_execution('added') e$$, ROW(6, 4, 2), 'add_signals: the execution counts all of them');
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id = conn('added')), 4::bigint, 'add_signals: all are stored');

-- The job and its history
SELECT connection('history', NULL, at('09:00'));
CREATE TEMP TABLE made AS SELECT job('history') AS id;
SELECT claim(at('10:20'));
SELECT sync.complete_job(r.id, r.claim_token, '[{"dedupe_key": 1}]', '{"c": 1}', false, '{"requests": 3}', at('10:20:30')) FROM running('history') r;
SELECT row_eq($$SELECT j.id, j.status, j.started_at, j.finished_at, j.attempts FROM job_of('history') j$$,
    ROW((SELECT id FROM made), 'succeeded'::text, at('10:20'), at('10:20:30'), 0), 'the job has ended');
SELECT row_eq($$SELECT e.job_id, e.tenant_id, e.provider_slug, e.job_type, e.attempt, e.page, e.status, e.job_status, e.kind, e.started_at, e.finished_at, e.duration_ms,
                       e.signals_received, e.signals_inserted, e.signals_duplicate, e.next_cursor, e.has_more, e.stats, e.claimed_by, e.error FROM last_execution('history') e$$,
    ROW((SELECT id FROM made), 'T'::text, 'github'::text, 'incremental'::text, 1, 1, 'succeeded'::text, 'succeeded'::text, NULL::text, at('10:20'), at('10:20:30'), 30000::float8,
        1, 1, 0, '{"c": 1}'::jsonb, false, '{"requests": 3}'::jsonb, 'executor'::text, NULL::jsonb), 'the execution row');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE connection_id = conn('history')), 1::bigint, 'one row an attempt');
SELECT row_eq($$SELECT last_finish('history'), meta('history') ->> 'next_run_at'$$, ROW(at('10:20:30'), '2026-03-01T10:35:30Z'::text), 'last finish and next run follow from finished_at');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('history')), at('10:35:30'), 'the tick looks at it then');
-- With an override
UPDATE sync.connections SET metadata = '{"sync": {"interval_seconds": 3600, "cursor": 1, "mine": 1}, "theirs": 2}' WHERE id = conn('history');
SELECT run('history', at('10:30'));
SELECT is((SELECT metadata FROM sync.connections WHERE id = conn('history')), '{"sync": {"interval_seconds": 3600, "cursor": 1, "mine": 1, "next_run_at": "2026-03-01T11:30:00Z"}, "theirs": 2}'::jsonb,
    'an override counts, other keys are kept');

-- Cursors by type
SELECT connection('cursors', '{"cursor": {"old": 1}}', at('09:00'));
SELECT run('cursors', at('10:40'), next_cursor => '{"page": 2}', has_more => true);
SELECT is(meta('cursors') -> 'cursor', '{"page": 2}'::jsonb, 'incremental: the cursor is written at each page');
SELECT run('cursors', at('10:41'), next_cursor => '{"page": 3}', has_more => true);
SELECT is(meta('cursors') -> 'cursor', '{"page": 3}'::jsonb, 'incremental: at the second page too');
SELECT run('cursors', at('10:42'));
SELECT is(meta('cursors') -> 'cursor', '{"page": 3}'::jsonb, 'incremental: a last page without one leaves it');
SELECT run('cursors', at('10:43'), next_cursor => 'null');
SELECT is(meta('cursors') -> 'cursor', '{"page": 3}'::jsonb, 'JSON null is no cursor');
SELECT run('cursors', at('10:44'), next_cursor => '{"full": 2}', has_more => true, job_type => 'full');
SELECT is(meta('cursors') -> 'cursor', '{"page": 3}'::jsonb, 'another type: page cursors stay on the jobs');
SELECT is((job_of('cursors', 'full')).cursor, '{"full": 2}'::jsonb, 'another type: the follow-up has it');
SELECT run('cursors', at('10:45'), next_cursor => '{"full": "end"}', job_type => 'full');
SELECT is(meta('cursors') -> 'cursor', '{"full": "end"}'::jsonb, 'another type: written when its last page succeeds');
SELECT is(last_finish('cursors'), at('10:43'), 'another type does not move the last finish');
SELECT is(meta('cursors') ->> 'next_run_at', '2026-03-01T10:58:00Z', 'nor the next run');
SELECT run('cursors', at('10:46'), job_type => 'full');
SELECT is(meta('cursors') -> 'cursor', '{"full": "end"}'::jsonb, 'another type: without one it is left');
SELECT run('cursors', at('10:47'), next_cursor => '"text"');
SELECT is(meta('cursors') -> 'cursor', '"text"'::jsonb, 'a cursor may be any JSON');

-- Follow-up pages
SELECT connection('pages', NULL, at('09:00'));
SELECT sync.trigger(conn('pages'), 'full', 42, at('10:50'));
UPDATE sync.sync_jobs SET input = '{"asked": "by hand"}' WHERE connection_id = conn('pages');
CREATE TEMP TABLE page_one AS SELECT (job_of('pages', 'full')).id AS id;
SELECT run('pages', at('10:51'), '[{"kind": "k"}]', '{"p": 2}', true, 'full');
SELECT row_eq($$SELECT j.status, j.job_type, j.priority, j.run_id, j.cursor, j.page, j.attempts, j.input, j.scheduled_at FROM job_of('pages', 'full') j$$,
    ROW('queued'::text, 'full'::text, 42, (SELECT id FROM page_one), '{"p": 2}'::jsonb, 2, 0, '{"asked": "by hand"}'::jsonb, at('10:51')),
    'a follow-up has its predecessor''s job_type, priority and run_id');
SELECT run('pages', at('10:52'), '[{"kind": "k"}]', '{"p": 3}', true, 'full');
SELECT is((job_of('pages', 'full')).run_id, (SELECT id FROM page_one), 'the third page belongs to the same run');
SELECT run('pages', at('10:53'), '[{"kind": "k"}]', NULL, false, 'full');
SELECT is((SELECT count(*) || ' pages, ' || count(DISTINCT run_id) || ' run' FROM sync.sync_executions WHERE connection_id = conn('pages')), '3 pages, 1 run', 'the history tells the run');
SELECT is(live('pages', 'full'), 0::bigint, 'nothing follows the last page');
-- A failure between pages repeats that page alone.
SELECT run('pages', at('10:54'), '[{"dedupe_key": "p1"}]', '{"p": 2}', true);
SELECT claim(at('10:54'));
SELECT fail('pages', at('10:55'));
SELECT row_eq($$SELECT j.cursor, j.page, j.attempts FROM job_of('pages') j$$, ROW('{"p": 2}'::jsonb, 2, 1), 'a failed page keeps its cursor');
SELECT is((SELECT k.cursor FROM sync.claim_jobs('executor', 1, at('10:56')) k), '{"p": 2}', 'and starts from it again');
SELECT complete('pages', at('10:57'));
SELECT is(last_finish('pages'), at('10:57'), 'the run ends with its last page');
-- The follow-up of an incremental run keeps the tick away.
SELECT run('pages', at('11:00'), '[{"kind": "k"}]', '{"p": 9}', true);
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('pages')), NULL, 'between pages the tick has nothing to do');
-- The tick is not held up by the page of another type.
SELECT complete('pages', at('11:01')) FROM (SELECT claim(at('11:01'))) c;
SELECT run('pages', at('11:02'), '[{"kind": "k"}]', '{"p": 9}', true, 'full');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('pages')), at('11:16'), 'a page of another type leaves the next run');

-- The clock went back while a job ran.
SELECT connection('clock', NULL, at('09:00'));
SELECT job('clock'), claim(at('11:10'));
SELECT is(complete('clock', at('11:05'), '[{}]'), true, 'completed at a time before its claim');
SELECT row_eq($$SELECT j.status, j.finished_at, e.duration_ms >= 0 FROM job_of('clock') j, last_execution('clock') e$$, ROW('succeeded'::text, at('11:05'), true),
    'completed at a time before its claim: it took no less than nothing');
SELECT job('clock'), claim(at('11:10')), fail('clock', at('11:05'));
SELECT ok((last_execution('clock')).duration_ms >= 0, 'nor did a failed attempt');
SELECT claim(at('11:20')), sync.cancel_job((job_of('clock')).id, as_of => at('11:05'));
SELECT row_eq($$SELECT e.status, e.duration_ms >= 0 FROM last_execution('clock') e$$, ROW('cancelled'::text, true), 'nor a cancelled one');

-- Results of many jobs at once
SELECT connection('batch ' || n, NULL, at('09:00')) FROM generate_series(1, 6) n;
SELECT job('batch ' || n) FROM generate_series(1, 6) n;
SELECT claim(at('12:00'));
CREATE TEMP TABLE held AS SELECT substr(c.external_id, 7)::int AS n, j.id, j.claim_token FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id
    WHERE j.status = 'running' AND c.external_id LIKE 'batch %';
CREATE TEMP TABLE results AS SELECT jsonb_agg(jsonb_build_object('job_id', id, 'claim_token', claim_token) || CASE n
        WHEN 1 THEN '{"signals": [{"dedupe_key": "x"}], "next_cursor": {"c": 1}, "has_more": false, "stats": {"s": 1}}'
        WHEN 2 THEN '{"signals": [{"kind": "k"}], "next_cursor": {"c": 2}, "has_more": true}'
        WHEN 3 THEN '{"error": {"message": "later"}, "kind": "rate_limited", "retry_after_seconds": 100}'
        WHEN 4 THEN '{"error": {"message": "never"}, "kind": "permanent"}'
        WHEN 5 THEN '{}'
        ELSE '{"error": "just text", "kind": "no such kind"}' END::jsonb ORDER BY n) AS r FROM held;
SELECT results_eq($$SELECT h.n, c.outcome, c.detail FROM results, sync.complete_jobs(r, at('12:01')) c JOIN held h ON h.id = c.job_id ORDER BY 1$$,
    $$VALUES (1, 'completed', NULL), (2, 'completed', NULL), (3, 'completed', 'queued'), (4, 'completed', 'failed'), (5, 'completed', NULL), (6, 'completed', 'queued')$$,
    'a batch: successes and failures together');
SELECT is((SELECT array_agg((job_of('batch ' || n)).status ORDER BY n) FROM held), '{succeeded,queued,queued,failed,succeeded,queued}', 'a batch: what became of the jobs');
SELECT is(meta('batch ' || n) -> 'cursor', jsonb_build_object('c', n), 'a batch: cursor of ' || n) FROM generate_series(1, 2) n;
SELECT is((job_of('batch 2')).page, 2, 'a batch: a follow-up page');
SELECT cmp_ok((job_of('batch 3')).retry_after, '>=', at('12:02:40'), 'a batch: a hint');
SELECT is((job_of('batch 6')).error_kind, 'transient', 'a batch: an unknown kind counts as transient');
SELECT is((job_of('batch 6')).error ->> 'message', 'just text', 'a batch: an error that is no object is kept');
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id IN (conn('batch 1'), conn('batch 2'))), 2::bigint, 'a batch: signals');
SELECT is_empty($$SELECT * FROM sync.complete_jobs('[]', at('12:02'))$$, 'an empty batch');

SELECT * FROM finish();
ROLLBACK;
