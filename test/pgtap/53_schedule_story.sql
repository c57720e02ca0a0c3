-- The story of sync scheduling (1.4), its acceptance criteria 1, 2, 3 and 5 and what it asks of security and performance, as far as
-- the database sees to it; and what is promised of schedules beyond it. Tests carry the criteria's words.
\ir include/setup.psql
SELECT plan(68);
SELECT fix_jitter();
SET LOCAL sync_engine.lease_seconds = 86400;
SET LOCAL sync_engine.max_run_seconds = 86400;

CREATE FUNCTION day(n int, clock text DEFAULT '00:00') RETURNS timestamptz LANGUAGE sql IMMUTABLE
AS $$ SELECT '2026-03-01 00:00Z'::timestamptz + n * interval '1 day' + clock::interval $$;
CREATE FUNCTION made(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT max(s.id) FROM sync.sync_schedules s WHERE s.name = made.name $$;
-- Ticks each minute and runs what is due at once, as a worker and an executor would.
CREATE FUNCTION live_through(since timestamptz, until timestamptz, step interval DEFAULT '1 minute') RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz := since;
    job record;
    runs int := 0;
BEGIN
    WHILE t <= until LOOP
        PERFORM sync.tick(t);
        FOR job IN SELECT * FROM sync.claim_jobs('executor', 100, t) LOOP
            PERFORM sync.complete_job(job.job_id, job.claim_token, '[{"kind": "row"}]', jsonb_build_object('at', t), false, '{}', t + interval '10 seconds');
            runs := runs + 1;
        END LOOP;
        t := t + step;
    END LOOP;
    RETURN runs;
END $$;
CREATE FUNCTION why(name text, at timestamptz, as_of timestamptz) RETURNS text LANGUAGE sql
AS $$ SELECT string_agg(e.verdict || ': ' || e.detail, E'\n') FROM sync.explain_schedule(made(name), at, as_of) e WHERE e.aspect = 'instant' $$;

-- 1. I can create a new sync schedule for that connector
SELECT connection(x, NULL, day(0, '07:00')) FROM unnest('{database,api,cloud}'::text[]) x;
SELECT isnt(sync.create_schedule(conn('database'), 'r', 'realtime', as_of => day(0, '08:00')), NULL, '1: realtime');
SELECT isnt(sync.create_schedule(conn('api'), 'h', 'hourly', as_of => day(0, '08:00')), NULL, '1: hourly');
SELECT isnt(sync.create_schedule(conn('cloud'), 'd', 'daily', '02:00', timezone => 'Europe/Berlin', as_of => day(0, '08:00')), NULL, '1: daily');
SELECT isnt(sync.create_schedule(conn('cloud'), 'w', 'weekly', '02:00', '{mon,wed}', job_type => 'full', as_of => day(0, '08:00')), NULL, '1: weekly');
SELECT results_eq($$SELECT run_at FROM sync.preview_schedule(made('w'), 3, day(0, '08:00'))$$, $$VALUES (day(1, '02:00')), (day(3, '02:00')), (day(8, '02:00'))$$,
    '1: specific days and times');
SELECT is((SELECT cron_expression FROM sync.sync_schedules WHERE name = 'w'), '0 2 * * mon,wed', '1: as an expression');
SELECT throws_ok($$SELECT sync.create_schedule(conn('api'), 'never', 'custom', cron_expression => '0 0 31 2 *')$$, '22023', 'the schedule "0 0 31 2 *" would never run',
    '1: what can never run is refused');

-- 2. A daily schedule at 2:00 AM
SELECT is(live_through(day(0, '08:00'), day(0, '10:30')), 2, 'hourly: at nine and ten, and nothing else: no interval');
SELECT is(live_through(day(0, '10:31'), day(3, '00:00'), '15 minutes'), 61 + 1 + 2, '2: days go by');
SELECT set_eq($$SELECT j.planned_at FROM sync.sync_jobs j WHERE j.schedule_id = made('d')$$, ARRAY[day(1, '01:00'), day(2, '01:00')], '2: every day at two, by the wall clock');
SELECT set_eq($$SELECT j.planned_at FROM sync.sync_jobs j WHERE j.schedule_id = made('w')$$, ARRAY[day(1, '02:00')], '1: the weekly one on its day');
SELECT results_eq($$SELECT outcome, run_status, records_processed, pages, attempts FROM sync.schedule_history(made('d')) LIMIT 1$$, $$VALUES ('fired', 'succeeded', 1::bigint, 1, 1)$$,
    '2: the history shows each execution with success');
SELECT sync.tick(day(3, '01:00'));
SELECT claim(day(3, '01:00'));
SELECT fail('cloud', day(3, '01:00:30'), 'permanent');
SELECT results_eq($$SELECT outcome, run_status, error_message FROM sync.schedule_history(made('d')) LIMIT 1$$, $$VALUES ('fired', 'failed', 'boom')$$, '2: or failure');
SELECT live_through(day(3, '02:00'), day(3, '02:00'));
SELECT sync.tick(day(4, '01:00'));
SELECT is(live('cloud'), 1::bigint, '2: a failure does not end the schedule');
SELECT claim(day(4, '01:00'));
SELECT fail('cloud', day(4, '01:00:30'));
SELECT claim(day(4, '01:10'));
SELECT complete('cloud', day(4, '01:11'));
SELECT results_eq($$SELECT outcome, run_status, attempts FROM sync.schedule_history(made('d')) LIMIT 1$$, $$VALUES ('fired', 'succeeded', 2)$$, '2: a retry is the same run');

-- 3. Hourly for an API: new or modified data since the last sync
SELECT results_eq($$SELECT count(*) > 60, count(*) FILTER (WHERE e.cursor_before IS DISTINCT FROM e.former)
                    FROM (SELECT x.cursor_before, lag(x.next_cursor) OVER (ORDER BY x.id) AS former FROM sync.sync_executions x
                          WHERE x.connection_id = conn('api') AND x.status = 'succeeded') e$$, 'VALUES (true, 0::bigint)', '3: each run goes on where the last one came to');
SELECT live_through(day(5), day(5, '01:30'));
SELECT sync.tick(day(5, '01:59:30'));
SELECT sync.tick(day(5, '02:00'));
SELECT is(claim(day(5, '02:00')), 1::bigint, '3: what is due is claimed');
SELECT fail('api', day(5, '02:00:10'), 'rate_limited', 1800);
SELECT sync.tick(day(5, '02:10'));
SELECT is(claim(day(5, '02:10')), 0::bigint, '3: respects API rate limits: not again before the API allows');
SELECT is((SELECT count(*) FROM sync.claim_jobs('executor', 10, day(5, '02:45')) c WHERE c.connection_id = conn('api')), 1::bigint, '3: then it does');
SELECT sync.tick(day(5, '03:00'));
SELECT is((SELECT outcome FROM sync.schedule_history(made('h')) LIMIT 1), 'skipped_overlap', '3: the instant that came meanwhile is skipped, and told');
SELECT alike(why('h', day(5, '03:00'), day(5, '03:10')), 'skipped_overlap: 2026-03-06T03:00:00Z: skipped, job % was running', '3: in words');
SELECT complete('api', day(5, '03:01'));

-- 5. The dashboard
SELECT results_eq($$SELECT name, next_run_at, next_run_local, is_active FROM sync.schedule_status WHERE name IN ('h', 'd', 'w', 'r') ORDER BY name$$,
    $$VALUES ('d', day(6, '01:00'), '2026-03-07 02:00'::timestamp, true), ('h', day(5, '04:00'), '2026-03-06 04:00', true), ('r', NULL, NULL, true),
             ('w', day(8, '02:00'), '2026-03-09 02:00', true)$$, '5: all active schedules with their next run times');
SELECT is((SELECT runs FROM sync.schedule_status WHERE name = 'w'), 'at 02:00 on Monday and Wednesday', '5: in plain English');
SELECT sync.pause_schedule(made('h'), 'holiday', as_of => day(5, '03:10'));
SELECT live_through(day(5, '03:11'), day(5, '05:30'), '10 minutes');
SELECT results_eq($$SELECT outcome, planned_count FROM sync.schedule_history(made('h')) LIMIT 1$$, $$VALUES ('skipped_paused', 2::bigint)$$, '5: pause');
SELECT alike(why('h', day(5, '05:00'), day(5, '05:30')), 'skipped_paused: 2 instants from 2026-03-06T04:00:00Z to 2026-03-06T05:00:00Z: skipped, the schedule is paused: holiday',
    '5: why did it not run?');
SELECT is((SELECT is_active FROM sync.schedule_status WHERE name = 'h'), false, '5: seen');
SELECT sync.resume_schedule(made('h'), day(5, '05:40'));
SELECT is(live_through(day(5, '05:41'), day(5, '06:30'), '1 minute'), 1, '5: resume');
SELECT isnt(sync.trigger_schedule(made('h'), day(5, '06:31')), NULL, '5: trigger on demand');
SELECT is(live_through(day(5, '06:31'), day(5, '06:32')), 1, '5: at once');
SELECT results_eq($$SELECT outcome, run_status FROM sync.schedule_history(made('h')) LIMIT 1$$, $$VALUES ('triggered', 'succeeded')$$, '5: detailed history');
SELECT results_eq($$SELECT DISTINCT outcome FROM sync.schedule_history(made('h'), outcomes => '{skipped_paused,triggered,missed}') ORDER BY 1$$, $$VALUES ('skipped_paused'), ('triggered')$$,
    '5: some outcomes of it');
SELECT isnt(sync.trigger_schedule(made('r'), day(5, '06:40')), NULL, '1: realtime runs when it is triggered');
SELECT is((job_of('database')).trigger_type, 'realtime', '1: and says so');
SELECT is(live_through(day(5, '06:41'), day(5, '12:00')), 7, '1: a realtime connection has no interval: its one run and six of the hourly schedule');
SELECT sync.delete_schedule(made('h'), day(5, '12:10'));
SELECT is((SELECT count(*) FROM sync.schedule_status WHERE name = 'h'), 0::bigint, '5: delete');
SELECT cmp_ok((SELECT count(*) FROM sync.schedule_fires WHERE connection_id = conn('api')), '>', 50::bigint, '5: its history stays');
SELECT cmp_ok(live_through(day(5, '12:11'), day(5, '13:00')), '>=', 3, 'the connection is back at its interval');

-- A connection with any schedule, active or paused, is left alone by the interval loop
SELECT connection('paused one', NULL, day(5, '07:00'));
SELECT sync.create_schedule(conn('paused one'), 'p', 'daily', as_of => day(5, '13:00'));
SELECT sync.pause_schedule(made('p'), as_of => day(5, '13:00'));
SELECT connection('ended one', NULL, day(5, '07:00'));
SELECT sync.create_schedule(conn('ended one'), 'e', 'hourly', ends_at => day(5, '14:00'), as_of => day(5, '13:00'));
SELECT live_through(day(5, '13:01'), day(5, '20:00'), '10 minutes');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('paused one')), 0::bigint, 'a paused schedule keeps the interval away');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('ended one')), 1::bigint, 'so does one that has ended');
UPDATE sync.connections SET metadata = '{"sync": {"interval_seconds": 60, "next_run_at": "2020-01-01T00:00:00Z"}}', last_incremental_finished_at = NULL
WHERE id = conn('paused one');
SELECT sync.set_interval(conn('paused one'), 120);
SELECT live_through(day(5, '20:01'), day(5, '20:30'), '10 minutes');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('paused one')), 0::bigint, 'whatever its metadata says of an interval');
SELECT isnt(sync.trigger(conn('paused one'), as_of => day(5, '20:31')), NULL, 'a run by hand is one');
SELECT is(live_through(day(5, '20:31'), day(5, '20:31')) >= 1, true, 'and runs');

-- Why did it not run at 02:30? In words that an operator would use
SELECT connection('why', NULL, day(5, '07:00'));
SELECT sync.create_schedule(conn('why'), 'y', 'daily', '02:30', as_of => day(5, '21:00'));
SELECT alike(why('y', day(6, '02:30'), day(5, '22:00')), 'planned: its time has not come', 'not yet');
SELECT alike(why('y', day(5, '02:30'), day(5, '22:00')), 'unknown: the schedule was made at %', 'before it was made');
SELECT alike(why('y', day(6, '02:31'), day(5, '22:00')), 'not planned: % is none of its times: at 02:30, UTC; %', 'not a time of it');
SELECT sync.skip_next(made('y'), day(5, '22:00'));
SELECT sync.tick(day(6, '02:30'));
SELECT alike(why('y', day(6, '02:30'), day(6, '03:00')), 'skipped_by_user: %: skipped, skip_next was called', 'skipped by hand');
SELECT sync.pause(conn('why'), 'the customer asked');
SELECT sync.tick(day(7, '02:30'));
SELECT alike(why('y', day(7, '02:30'), day(7, '03:00')), 'skipped_paused: %: skipped, the connection is paused: the customer asked', 'the connection was paused');
SELECT sync.resume(conn('why'));
SELECT sync.tick(day(9, '09:00'));
SELECT alike(why('y', day(8, '02:30'), day(9, '09:00')), 'coalesced: %: no run of their own, job % ran for them, nothing ticked in time: one run for all', 'nothing ticked');
SELECT sync.update_schedule(made('y'), catch_up => 'skip', as_of => day(9, '09:10'));
SELECT claim(day(9, '09:11')), complete('why', day(9, '09:11'));
SELECT sync.tick(day(11, '09:00'));
SELECT alike(why('y', day(10, '02:30'), day(11, '09:00')), 'missed: %: missed, nothing ticked in time, and catch_up is skip', 'nothing ticked, and it does not catch up');
SELECT sync.tick(day(12, '02:30'));
SELECT alike(why('y', day(12, '02:30'), day(12, '03:00')), 'fired: 2026-03-13T02:30:00Z: run as job %', 'it did');
SELECT sync.update_schedule(made('y'), timezone => 'America/New_York', dst_gap => 'skip', as_of => day(12, '04:00'));
SELECT is((SELECT count(*) FROM sync.explain(conn('why'), day(12, '04:00')) e WHERE e.detail LIKE '%y (schedule %'), 1::bigint, 'explain of the connection names it');

-- Security: schedules only reach their tenant's own connectors
SELECT connection('foreign', tenant => 'U');
SELECT throws_ok($$INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) VALUES ('T', conn('foreign'), 'n', 'daily')$$, '23503', NULL, 'security: not another tenant''s');
SELECT is(has_table_privilege('sync_viewer', 'sync.sync_schedules', 'SELECT'), false, 'security: viewers read no configuration');
SELECT is(has_table_privilege('sync_executor', 'sync.sync_schedules', 'SELECT, INSERT, UPDATE, DELETE'), false, 'security: executors have nothing to do with schedules');
SELECT is(has_table_privilege('sync_admin', 'sync.schedule_fires', 'INSERT, UPDATE, DELETE'), false, 'security: nobody rewrites the ledger');
SELECT is(has_function_privilege('sync_viewer', 'sync.trigger_schedule(bigint, timestamptz)', 'EXECUTE'), false, 'security: nor triggers');
GRANT USAGE ON SCHEMA tap TO sync_viewer, sync_admin;
SET LOCAL ROLE sync_viewer;
SELECT cmp_ok((SELECT count(next_run_local) FROM sync.schedule_status), '>', 0::bigint, 'security: viewers see the dashboard');
SELECT cmp_ok((SELECT count(*) FROM sync.schedule_status st, sync.schedule_history(st.schedule_id)), '>', 0::bigint, 'security: and the history');
SELECT cmp_ok((SELECT count(*) FROM sync.schedule_status st, sync.explain_schedule(st.schedule_id)), '>', 0::bigint, 'security: and why');
SET LOCAL ROLE sync_admin;
SELECT cmp_ok((SELECT count(next_run_local) FROM sync.schedule_status), '>', 0::bigint, 'security: so do administrators');
INSERT INTO sync.sync_schedules (connection_id, name, schedule_type) SELECT st.connection_id, 'by admin', 'daily' FROM sync.schedule_status st LIMIT 1;
UPDATE sync.sync_schedules SET timezone = 'Europe/Berlin' WHERE name = 'by admin';
SELECT sync.pause_schedule(s.id), sync.resume_schedule(s.id), sync.skip_next(s.id) FROM sync.sync_schedules s WHERE s.name = 'by admin';
DELETE FROM sync.sync_schedules WHERE name = 'by admin';
SELECT is((SELECT count(*) FROM sync.sync_schedules WHERE name = 'by admin'), 0::bigint, 'security: who make, change and delete schedules');
RESET ROLE;
SELECT is((SELECT count(*) FROM pg_attribute WHERE attrelid = 'sync.schedule_status'::regclass AND attname IN ('config', 'notification_settings') AND attnum > 0), 0::bigint,
    'security: the view shows no configuration');
SELECT sync.trigger_schedule(made('y'), day(12, '05:00')) FROM generate_series(1, 100);
SELECT is(live('why'), 1::bigint, 'security: a hundred triggers make one run');
DELETE FROM sync.connections;

-- Performance: 1000+ concurrent schedules
SELECT connection('many ' || n, NULL, day(12, '05:00')) FROM generate_series(1, 3000) n;
INSERT INTO sync.sync_schedules (connection_id, name, schedule_type, cron_expression, created_at)
SELECT c.id, 'many', 'custom', CASE WHEN c.id % 3 > 0 THEN '0 * * * *' ELSE '0 3 1 1 *' END, day(12, '05:00') FROM sync.connections c;
SELECT is((SELECT count(*) FROM sync.sync_schedules), 3000::bigint, 'performance: three thousand schedules');
CREATE TEMP TABLE due AS SELECT count(*) AS n, clock_timestamp() AS began FROM sync.sync_schedules WHERE cron_expression = '0 * * * *';
UPDATE sync.schedule_state SET covered_until = day(12, '05:00'), look_at = day(12, '05:59')
WHERE schedule_id IN (SELECT id FROM sync.sync_schedules WHERE cron_expression = '0 * * * *');
SELECT is((SELECT enqueued FROM sync.tick(day(12, '06:00'))), (SELECT n::int FROM due), 'performance: two thousand are fired by one tick');
SELECT cmp_ok(clock_timestamp() - began, '<', interval '1 minute', 'performance: in seconds') FROM due;
SELECT is((SELECT count(*) FROM sync.schedule_fires WHERE outcome = 'fired' AND first_planned_at = day(12, '06:00')), (SELECT n FROM due), 'performance: each in the ledger');
SELECT is((SELECT enqueued FROM sync.tick_batch(10, day(12, '06:30'))), 0, 'performance: and no more');

SELECT * FROM finish();
ROLLBACK;
