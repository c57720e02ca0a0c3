-- Schedules that are changed at awkward moments: what is planned stays covered once, and what was skipped stays so.
\ir include/setup.psql
SELECT plan(31);
SELECT fix_jitter();

CREATE FUNCTION schedule(name text) RETURNS bigint LANGUAGE sql AS 'SELECT s.id FROM sync.sync_schedules s WHERE s.name = $1';
CREATE FUNCTION ledger(name text) RETURNS TABLE (outcome text, first timestamptz, last timestamptz, planned bigint) LANGUAGE sql AS $$
    SELECT f.outcome, f.first_planned_at, f.last_planned_at, f.planned_count FROM sync.schedule_fires f
    WHERE f.schedule_id = schedule($1) ORDER BY f.first_planned_at, f.id
$$;
CREATE FUNCTION planned(name text, expression text, overlap text DEFAULT 'skip', ends_at timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT connection($1, '{}', at('09:00'));
    SELECT sync.create_schedule(conn($1), $1, 'custom', cron_expression => $2, overlap => $3, ends_at => $4, as_of => at('10:05'))
$$;

-- Nothing to plan
SELECT connection('r', '{}', at('09:00'));
SELECT lives_ok($$SELECT sync.create_schedule(conn('r'), 'r', 'realtime', as_of => at('10:00'))$$, 'a realtime schedule has no expression');
SELECT is((SELECT look_at FROM sync.schedule_state WHERE schedule_id = schedule('r')), NULL, 'ticks do not look at it');
SELECT is_empty($$SELECT * FROM sync._plan_fires(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                                                 NULL, NULL, NULL)$$, 'what is not known plans nothing');

-- A skipped instant that a tick has covered ahead of its time
SELECT planned('skips', '0 * * * *');
SELECT is(sync.skip_next(schedule('skips'), at('10:59:10')), at('11:00'), 'the next one is skipped');
SELECT sync.tick(at('10:59:20'));
SELECT is(sync.skip_next(schedule('skips'), at('10:59:40')), at('12:00'), 'skipping again skips the one after');
SELECT sync.update_schedule(schedule('skips'), jitter_seconds => 1, as_of => at('10:59:45'));
SELECT sync.tick(at('11:00:10')), sync.tick(at('11:59:30')), sync.tick(at('12:00:10'));
SELECT results_eq($$SELECT * FROM ledger('skips')$$,
    $$VALUES ('skipped_by_user', at('11:00'), at('11:00'), 1::bigint), ('skipped_by_user', at('12:00'), at('12:00'), 1::bigint)$$,
    'neither runs, though the schedule was changed between');

-- Waiting for a run to end
SELECT planned('waits', '*/10 * * * *', 'buffer_one');
SELECT sync.tick(at('10:10')), claim(at('10:10')), sync.tick(at('10:20'));
SELECT is((SELECT covered_until FROM sync.schedule_state WHERE schedule_id = schedule('waits')) < at('10:20'), true, 'an instant waits for a run');
SELECT is(sync.skip_next(schedule('waits'), at('10:25')), at('10:30'), 'the one after it is skipped');
SELECT complete('waits', at('10:26')), sync.tick(at('10:26')), sync.tick(at('10:30'));
SELECT results_eq($$SELECT * FROM ledger('waits') WHERE outcome <> 'skipped_overlap'$$,
    $$VALUES ('fired', at('10:10'), at('10:10'), 1::bigint), ('coalesced', at('10:20'), at('10:20'), 1::bigint),
             ('skipped_by_user', at('10:30'), at('10:30'), 1::bigint)$$, 'each instant is covered once');

-- A pause that is over, of which no tick knows yet
SELECT planned('over', '0 * * * *');
SELECT sync.pause_schedule(schedule('over'), 'for a while', at('11:30'), at('10:30'));
SELECT lives_ok($$SELECT sync.update_schedule(schedule('over'), jitter_seconds => 1, as_of => at('12:30'))$$, 'it is changed');
SELECT results_eq($$SELECT * FROM ledger('over')$$,
    $$VALUES ('skipped_paused', at('11:00'), at('11:00'), 1::bigint), ('fired', at('12:00'), at('12:00'), 1::bigint)$$,
    'what came in the pause is skipped, what came after it runs');
SELECT is((SELECT is_active FROM sync.sync_schedules WHERE name = 'over'), false, 'the change does not end the pause');
SELECT sync.tick(at('12:30:30'));
SELECT is((SELECT is_active FROM sync.sync_schedules WHERE name = 'over'), true, 'the next tick does');
SELECT sync.pause_schedule(schedule('over'), 'again', at('13:30'), at('12:45'));
SELECT lives_ok($$SELECT sync.resume_schedule(schedule('over'), at('14:30'))$$, 'it is resumed');
SELECT is((SELECT is_active FROM sync.sync_schedules WHERE name = 'over'), true, 'and is active');

-- After its end
SELECT planned('ended', '0 * * * *', ends_at => at('12:00'));
SELECT sync.tick(at('12:30'));
SELECT lives_ok($$SELECT sync.pause_schedule(schedule('ended'), as_of => at('13:00'))$$, 'a schedule that has ended is paused');
SELECT throws_ok($$SELECT sync.update_schedule(schedule('ended'), ends_at => at('12:40'), as_of => at('13:00'))$$, '22023', NULL, 'but not given another end in the past');

-- The clock goes back an hour
SELECT planned('back', '0 * * * *');
SELECT sync.pause_schedule(schedule('back'), as_of => at('10:30'));
SELECT sync.tick(at('11:00:10')), sync.resume_schedule(schedule('back'), at('11:30'));
SELECT sync.tick(at('12:00:10')), claim(at('12:00:10')), complete('back', at('12:01'));
SELECT sync.update_schedule(schedule('back'), jitter_seconds => 1, as_of => at('10:50'));
SELECT results_eq($$SELECT * FROM ledger('back')$$,
    $$VALUES ('skipped_paused', at('11:00'), at('11:00'), 1::bigint), ('fired', at('12:00'), at('12:00'), 1::bigint)$$,
    'what lies before a run that has begun stays covered');
SELECT is((SELECT covered_until FROM sync.schedule_state WHERE schedule_id = schedule('back')), at('12:00'), 'and is not planned again');

-- The clock was days ahead
SELECT planned('ahead', '0 * * * *');
SELECT sync.tick('2026-03-03 10:59:30Z');
SELECT sync.skip_next(schedule('ahead'), '2026-03-03 11:10Z'), sync.tick('2026-03-03 12:00:10Z');
SELECT ok((SELECT max(planned_at) FROM ONLY sync.sync_jobs WHERE schedule_id = schedule('ahead') AND status = 'queued') > '2026-03-03 00:00Z', 'a run is enqueued far ahead');
SELECT sync.tick(at('10:30'));
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs WHERE schedule_id = schedule('ahead') AND status = 'queued'), 0::bigint, 'it does not stand in the way until then');
SELECT sync.tick(at('11:00:10'));
SELECT is((SELECT planned_at FROM ONLY sync.sync_jobs WHERE schedule_id = schedule('ahead') AND status = 'queued'), at('11:00'), 'the schedule goes on');
SELECT results_eq($$SELECT * FROM ledger('ahead')$$, $$VALUES ('fired', at('11:00'), at('11:00'), 1::bigint)$$, 'and the ledger with it');
SELECT is((SELECT skips FROM sync.schedule_state WHERE schedule_id = schedule('ahead')), ARRAY['2026-03-03 12:00Z'::timestamptz], 'what was skipped stays so');

-- It was ahead, and the expression is another since: what was planned before it counts by the former one
SELECT planned('former', '0 * * * *');
SELECT sync.tick('2026-03-03 10:00:10Z'), sync.update_schedule(schedule('former'), cron_expression => '*/10 * * * *', as_of => '2026-03-03 10:05Z');
SELECT sync.tick('2026-03-02 12:00:10Z');
SELECT results_eq($$SELECT * FROM ledger('former')$$, $$VALUES ('coalesced', at('11:00'), '2026-03-02 12:00Z'::timestamptz, 26::bigint)$$,
    'a row is cut by the expression that planned it');
SELECT sync.tick('2026-03-02 12:20:10Z');
SELECT results_eq($$SELECT * FROM ledger('former') OFFSET 1$$,
    $$VALUES ('coalesced', '2026-03-02 12:10Z'::timestamptz, '2026-03-02 12:10Z'::timestamptz, 1::bigint),
             ('fired', '2026-03-02 12:20Z', '2026-03-02 12:20Z', 1)$$, 'the present one plans from there');

-- The same with a pause, which is one row a day
SELECT planned('paused', '0 * * * *');
SELECT sync.pause_schedule(schedule('paused'), as_of => at('10:30')), sync.tick(at('11:00:10')), sync.tick(at('12:00:10'));
SELECT sync.update_schedule(schedule('paused'), cron_expression => '*/30 * * * *', as_of => at('12:10'));
SELECT sync.tick(at('12:30:10')), sync.tick(at('20:00:10'));
SELECT results_eq($$SELECT * FROM ledger('paused')$$,
    $$VALUES ('skipped_paused', at('11:00'), at('12:00'), 2::bigint), ('skipped_paused', at('12:30'), at('20:00'), 16)$$,
    'a row tells of instants of one expression');
SELECT sync.tick(at('11:40'));
SELECT results_eq($$SELECT * FROM ledger('paused')$$, $$VALUES ('skipped_paused', at('11:00'), at('11:00'), 1::bigint)$$, 'and is cut by it');

-- Rows that go without a trigger for each
SELECT isnt((SELECT count(*) FROM sync.connections WHERE has_schedules), 0::bigint, 'schedules say when these run');
TRUNCATE sync.sync_schedules CASCADE;
SELECT is((SELECT count(*) FROM sync.connections WHERE has_schedules), 0::bigint, 'TRUNCATE hands them back to their intervals');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('r')), '-infinity', 'and the tick looks at them');

SELECT * FROM finish();
ROLLBACK;
