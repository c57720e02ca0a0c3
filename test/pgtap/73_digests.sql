-- Digests: criterion 6, "I can configure daily/weekly digest summaries of sync activity". Once for each period, at the tenant's local time, from the ledger that operators read.
\ir include/setup.psql
\ir include/notices.psql
SELECT plan(85);
SET LOCAL sync_engine.notification_burst = 10000;

CREATE FUNCTION digest(who text, config jsonb DEFAULT '{}', as_of timestamptz DEFAULT at('08:00'), tenant text DEFAULT 'T', connection bigint DEFAULT NULL, schedule bigint DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT sync.create_notification(tenant, 'in_app', '{digest}', jsonb_build_object('users', jsonb_build_array(who), 'digest', config), connection, schedule, who, as_of => as_of)
$$;
CREATE FUNCTION got(who text) RETURNS TABLE (n bigint, type text, since text, until text, data jsonb, title text) LANGUAGE sql STABLE AS $$
    SELECT row_number() OVER (ORDER BY b.id), b.event_type, b.data #>> '{period,from}', b.data #>> '{period,to}', b.data, b.title FROM sync.inbox b WHERE b.user_id = who AND b.event_type LIKE 'digest.%' ORDER BY b.id
$$;
CREATE FUNCTION last(who text) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT g.data FROM got(who) g ORDER BY g.n DESC LIMIT 1 $$;
-- As a driver would: looks each so often from one time to another.
CREATE FUNCTION passes(since timestamptz, until timestamptz, step interval DEFAULT '30 minutes') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz := since;
BEGIN
    WHILE t <= until LOOP
        PERFORM work(t);
        t := t + step;
    END LOOP;
END $$;
CREATE FUNCTION sched(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT max(s.id) FROM sync.sync_schedules s WHERE s.name = sched.name $$;

-- Once for each period, at its time
SELECT digest('day'), digest('week', '{"every": "week", "at": "09:00", "weekday": "wednesday"}');
SELECT passes(day(0, '08:00'), day(0, '23:30'));
SELECT is((SELECT count(*) FROM got('day')), 0::bigint, 'no digest before its time');
SELECT passes(day(1), day(9));
SELECT results_eq($$SELECT type, since, until FROM got('day')$$, $$SELECT 'digest.daily', format('2026-03-0%sT08:00:00Z', n), format('2026-03-0%sT08:00:00Z', n + 1) FROM generate_series(1, 8) n$$,
    'daily: one a day, each beginning where the last one ended');
SELECT results_eq($$SELECT type, since, until FROM got('week')$$, $$VALUES ('digest.weekly', '2026-02-25T09:00:00Z', '2026-03-04T09:00:00Z')$$, 'weekly: on its day');
SELECT passes(day(9), day(9, '07:59')), passes(day(9), day(9, '07:59')), work(day(9, '07:59:59'));
SELECT is((SELECT count(*) FROM got('day')), 8::bigint, 'however often it is asked');
SELECT work(day(9, '08:00')), work(day(9, '08:00')), work(day(9, '08:00:01')), work(day(9, '08:30'));
SELECT is((SELECT count(*) FROM got('day')), 9::bigint, 'at its second, once');
SELECT work(day(8, '12:00')), work(day(9, '09:00'));
SELECT is((SELECT count(*) FROM got('day')), 9::bigint, 'a clock that goes back repeats none');
-- A transaction that is rolled back
SAVEPOINT before;
SELECT work(day(10, '08:00'));
SELECT is((SELECT count(*) FROM got('day')), 10::bigint, 'the next one');
ROLLBACK TO before;
SELECT work(day(10, '08:01'));
SELECT results_eq($$SELECT n, since, until FROM got('day') ORDER BY n DESC LIMIT 1$$, $$VALUES (10::bigint, '2026-03-10T08:00:00Z', '2026-03-11T08:00:00Z')$$, 'is written again where that was rolled back, of the same period');
-- After an outage
SELECT work(day(14, '11:00'));
SELECT results_eq($$SELECT n, since, until FROM got('day') ORDER BY n DESC LIMIT 1$$, $$VALUES (11::bigint, '2026-03-11T08:00:00Z', '2026-03-15T08:00:00Z')$$, 'after an outage one digest tells of all the periods that were missed');
SELECT passes(day(14, '12:00'), day(15, '08:00'));
SELECT results_eq($$SELECT n, since, until FROM got('day') ORDER BY n DESC LIMIT 1$$, $$VALUES (12::bigint, '2026-03-15T08:00:00Z', '2026-03-16T08:00:00Z')$$, 'then all is as before');
SELECT work(day(100, '12:00'));
SELECT results_eq($$SELECT n, since, until FROM got('day') ORDER BY n DESC LIMIT 1$$, $$VALUES (13::bigint, '2026-05-09T08:00:00Z', '2026-06-09T08:00:00Z')$$, 'a month at most');
-- To each recipient, by each channel
SELECT sync.create_notification('T', 'email', '{digest}', '{"to": ["a@b.example", "b@b.example"]}', as_of => day(100, '12:00')), webhook('dig', '{digest}'), webhook('unverified', '{digest}', true);
SELECT work(day(101, '08:00'));
SELECT results_eq($$SELECT recipient, event_type FROM sync.deliveries WHERE event_type LIKE 'digest%' ORDER BY recipient$$,
    $$VALUES ('a@b.example', 'digest.daily'), ('b@b.example', 'digest.daily'), ('https://hooks.example.com/dig', 'digest.daily')$$, 'to each recipient once; to no webhook that has not answered');
SELECT is((SELECT payload #>> '{data,period,to}' FROM sync.messages WHERE recipient = 'a@b.example'), '2026-06-10T08:00:00Z', 'and what it says');
-- Changes
SELECT digest('moves', as_of => day(110, '08:00'));
SELECT work(day(111, '08:00'));
SELECT sync.update_notification(setting('moves'), config => '{"users": ["moves"], "digest": {"at": "20:00"}}');
UPDATE sync.notification_state SET digest_at = day(111, '20:00') WHERE notification_id = setting('moves');  -- as if it had been changed on that day
SELECT work(day(111, '19:59'));
SELECT work(day(111, '20:00')), work(day(112, '20:00'));
SELECT results_eq($$SELECT since, until FROM got('moves')$$, $$VALUES ('2026-06-19T08:00:00Z', '2026-06-20T08:00:00Z'), ('2026-06-20T08:00:00Z', '2026-06-20T20:00:00Z'), ('2026-06-20T20:00:00Z', '2026-06-21T20:00:00Z')$$,
    'a digest whose time is changed goes on where the last one ended');
SELECT sync.update_notification(setting('moves'), is_active => false);
SELECT work(day(115, '20:00'));
SELECT is((SELECT count(*) FROM got('moves')), 3::bigint, 'none of a setting that is not active');
DELETE FROM sync.sync_notifications;

-- Local time, and days of 23 and 25 hours
CREATE FUNCTION periods(who text, zone text, clock text, every text, first date, days int) RETURNS TABLE (since text, until text, hours numeric, local text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM digest(who, jsonb_build_object('timezone', zone, 'at', clock, 'every', every, 'weekday', 'sunday'), first::timestamp AT TIME ZONE 'UTC');
    PERFORM passes(first::timestamp AT TIME ZONE 'UTC', (first + days)::timestamp AT TIME ZONE 'UTC');
    RETURN QUERY SELECT g.since, g.until, extract(epoch FROM g.until::timestamptz - g.since::timestamptz) / 3600, g.data #>> '{period,to_local}' FROM got(who) g;
    DELETE FROM sync.sync_notifications n WHERE n.name = who;
END $$;
SELECT results_eq($$SELECT until, round(hours, 2), local FROM periods('b1', 'Europe/Berlin', '08:00', 'day', '2026-03-28', 3)$$,
    $$VALUES ('2026-03-28T07:00:00Z', 24.00, '2026-03-28 08:00'), ('2026-03-29T06:00:00Z', 23.00, '2026-03-29 08:00'), ('2026-03-30T06:00:00Z', 24.00, '2026-03-30 08:00')$$, 'Berlin, eight o''clock: a day of 23 hours');
SELECT results_eq($$SELECT until, round(hours, 2), local FROM periods('b2', 'Europe/Berlin', '02:30', 'day', '2026-03-28', 3)$$,
    $$VALUES ('2026-03-28T01:30:00Z', 24.00, '2026-03-28 02:30'), ('2026-03-29T01:00:00Z', 23.50, '2026-03-29 03:00'), ('2026-03-30T00:30:00Z', 23.50, '2026-03-30 02:30')$$,
    'half past two, which that day does not have: when the clocks have been put forward');
SELECT results_eq($$SELECT until, round(hours, 2), local FROM periods('b3', 'Europe/Berlin', '08:00', 'day', '2026-10-24', 3)$$,
    $$VALUES ('2026-10-24T06:00:00Z', 24.00, '2026-10-24 08:00'), ('2026-10-25T07:00:00Z', 25.00, '2026-10-25 08:00'), ('2026-10-26T07:00:00Z', 24.00, '2026-10-26 08:00')$$, 'a day of 25 hours');
SELECT results_eq($$SELECT until, round(hours, 2), local FROM periods('b4', 'Europe/Berlin', '02:30', 'day', '2026-10-24', 3)$$,
    $$VALUES ('2026-10-24T00:30:00Z', 24.00, '2026-10-24 02:30'), ('2026-10-25T00:30:00Z', 24.00, '2026-10-25 02:30'), ('2026-10-26T01:30:00Z', 25.00, '2026-10-26 02:30')$$,
    'half past two, which that day has twice: once');
SELECT results_eq($$SELECT until, round(hours, 2) FROM periods('n1', 'America/New_York', '02:30', 'day', '2026-03-07', 3)$$,
    $$VALUES ('2026-03-07T07:30:00Z', 24.00), ('2026-03-08T07:00:00Z', 23.50), ('2026-03-09T06:30:00Z', 23.50)$$, 'New York in March');
SELECT results_eq($$SELECT until, round(hours, 2) FROM periods('n2', 'America/New_York', '01:30', 'day', '2026-10-31', 3)$$,
    $$VALUES ('2026-10-31T05:30:00Z', 24.00), ('2026-11-01T05:30:00Z', 24.00), ('2026-11-02T06:30:00Z', 25.00)$$, 'New York in November');
SELECT results_eq($$SELECT until, round(hours, 2), local FROM periods('w1', 'Europe/Berlin', '00:30', 'week', '2026-03-20', 20)$$,
    $$VALUES ('2026-03-21T23:30:00Z', 168.00, '2026-03-22 00:30'), ('2026-03-28T23:30:00Z', 168.00, '2026-03-29 00:30'), ('2026-04-04T22:30:00Z', 167.00, '2026-04-05 00:30')$$,
    'a week, on the Sunday that it is there, of 167 hours');
SELECT results_eq($$SELECT until FROM periods('k', 'Pacific/Kiritimati', '23:30', 'day', '2026-05-01', 2)$$, $$VALUES ('2026-05-01T09:30:00Z'), ('2026-05-02T09:30:00Z')$$, 'fourteen hours ahead');
SELECT results_eq($$SELECT until FROM periods('nep', 'Asia/Kathmandu', '00:00', 'day', '2026-05-01', 2)$$, $$VALUES ('2026-05-01T18:15:00Z'), ('2026-05-02T18:15:00Z')$$, 'by quarters of an hour');

-- What it says
SELECT connection('good', '{}', day(200, '07:00'), tenant => 'C'), connection('bad', '{}', day(200, '07:00'), tenant => 'C'), connection('worse', '{}', day(200, '07:00'), tenant => 'C'),
       connection('off', '{}', day(200, '07:00'), tenant => 'C'), connection('asleep', '{}', day(190), slug => 'sleepy', tenant => 'C'), connection('elsewhere', '{}', day(200, '07:00'), tenant => 'D');
SELECT sync.create_schedule(conn(x), x || ' hourly', 'hourly', catch_up => CASE x WHEN 'bad' THEN 'skip' ELSE 'latest' END, as_of => day(200, '07:30')) FROM unnest('{good,bad,worse,off,elsewhere}'::text[]) x;
SELECT sync.pause_provider('sleepy', 'maintenance');
SELECT in_app('events', '{failure,warning}', tenant => 'C'), digest('all', as_of => day(200, '08:00'), tenant => 'C'), digest('of bad', as_of => day(200, '08:00'), tenant => 'C', connection => conn('bad')),
       digest('of a schedule', as_of => day(200, '08:00'), tenant => 'C', schedule => sched('good hourly'));
-- Ticks each ten minutes; what is due runs at once, as it is said.
CREATE TEMP TABLE behaves (external text, outcome text, hint numeric);
CREATE FUNCTION lives(since timestamptz, until timestamptz, step interval DEFAULT '10 minutes', works boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz := since;
    j record;
BEGIN
    WHILE t <= until LOOP
        PERFORM sync.tick(t);
        FOR j IN SELECT c.job_id, c.claim_token, b.outcome, b.hint FROM sync.claim_jobs('executor', 1000, t) c JOIN sync.connections x ON x.id = c.connection_id LEFT JOIN behaves b ON b.external = x.external_id LOOP
            IF j.outcome IS NULL THEN
                PERFORM sync.complete_job(j.job_id, j.claim_token, '[{"kind": "row"}, {"kind": "row"}]', NULL, false, '{}', t);
            ELSE
                PERFORM sync.fail_job(j.job_id, j.claim_token, jsonb_build_object('message', 'it is ' || j.outcome), j.outcome, j.hint, t);
            END IF;
        END LOOP;
        IF works THEN
            PERFORM work(t);
        END IF;
        t := t + step;
    END LOOP;
END $$;
SELECT lives(day(200, '08:00'), day(200, '14:00'));
INSERT INTO behaves VALUES ('worse', 'permanent', NULL);
SELECT lives(day(200, '14:10'), day(200, '17:00'));                                  -- worse fails at 15, 16, 17
UPDATE behaves SET outcome = 'transient' WHERE external = 'worse';
INSERT INTO behaves VALUES ('bad', 'permanent', NULL);
SELECT lives(day(200, '17:10'), day(200, '18:00'));                                  -- bad fails at 18; worse fails and is tried again
DELETE FROM behaves WHERE external = 'bad';
UPDATE behaves SET outcome = 'rate_limited', hint = 1800 WHERE external = 'worse';
SELECT lives(day(200, '18:10'), day(200, '18:20'));                                  -- worse is told to wait for half an hour
DELETE FROM behaves;
SELECT lives(day(200, '18:30'), day(200, '20:00'));
SELECT sync.pause_schedule(sched('off hourly'), 'on holiday', NULL, day(200, '20:30'));
SELECT sync.skip_next(sched('good hourly'), day(200, '20:30'));
SELECT lives(day(200, '20:30'), day(200, '22:10'));                                  -- good skips 21; off is paused at 21, 22
SELECT lives(day(201, '01:30'), day(201, '06:00'));                                  -- nobody was there at 23, 0, 1
SELECT sync.trigger(conn('good'), as_of => day(201, '06:05'));
SELECT lives(day(201, '06:10'), day(201, '08:00'));

-- The instants of a period, one by one, as the ledger has them.
CREATE FUNCTION instants(tenant text, since timestamptz, until timestamptz, external text DEFAULT NULL) RETURNS TABLE (connection text, at timestamptz, outcome text) LANGUAGE sql AS $$
    SELECT c.external_id, t.at, f.outcome
    FROM sync.schedule_fires f JOIN sync.connections c ON c.id = f.connection_id JOIN sync.sync_schedules s ON s.id = f.schedule_id
    CROSS JOIN generate_series(instants.since, instants.until - interval '1 minute', '1 minute') t (at)
    WHERE f.tenant_id = instants.tenant AND f.outcome <> 'triggered' AND t.at BETWEEN f.first_planned_at AND f.last_planned_at AND (external IS NULL OR c.external_id = external)
      AND sync.cron_matches(s.cron_expression, s.timezone, t.at)
$$;
CREATE FUNCTION plan_of(d jsonb) RETURNS text LANGUAGE sql AS $$ SELECT format('planned %s, missed %s, coalesced %s, skipped %s, not run %s', d #>> '{runs,planned}', d #>> '{runs,missed}', d #>> '{runs,coalesced}', d #>> '{runs,skipped}', d #>> '{not_run,total}') $$;
CREATE FUNCTION ledger(tenant text, since timestamptz, until timestamptz, external text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT format('planned %s, missed %s, coalesced %s, skipped %s, not run %s', count(*), count(*) FILTER (WHERE outcome = 'missed'), count(*) FILTER (WHERE outcome = 'coalesced'),
                  count(*) FILTER (WHERE outcome LIKE 'skipped%'), count(*) FILTER (WHERE outcome NOT IN ('fired', 'coalesced'))) FROM instants(tenant, since, until, external)
$$;
SELECT is((SELECT count(*) FROM got('all')), 1::bigint, 'a digest of the day');
SELECT is((SELECT count(*) FROM instants('C', day(200, '08:00'), day(201, '08:00'))), 4 * 24::bigint, 'four schedules planned a run each hour');
SELECT is(plan_of(last('all')), ledger('C', day(200, '08:00'), day(201, '08:00')), 'runs against plan are those of the ledger');
SELECT is(plan_of(last('of bad')), ledger('C', day(200, '08:00'), day(201, '08:00'), 'bad'), 'those of a connection, in its digest');
SELECT is(plan_of(last('of a schedule')), ledger('C', day(200, '08:00'), day(201, '08:00'), 'good'), 'of a schedule, in its digest');
SELECT is((last('all') #>> '{runs,planned}')::int, (last('all') #>> '{runs,missed}')::int + (last('all') #>> '{runs,coalesced}')::int + (last('all') #>> '{runs,skipped}')::int
    + (SELECT count(*)::int FROM instants('C', day(200, '08:00'), day(201, '08:00')) WHERE outcome = 'fired'), 'planned = fired + missed + coalesced + skipped');
SELECT results_eq($$SELECT (r ->> 'ran')::int, (r ->> 'succeeded')::int, (r ->> 'failed')::int, (r ->> 'cancelled')::int FROM (SELECT last('all') -> 'runs' AS r) x$$,
    $$SELECT count(*)::int, count(*) FILTER (WHERE j.status = 'succeeded')::int, count(*) FILTER (WHERE j.status = 'failed')::int, count(*) FILTER (WHERE j.status = 'cancelled')::int
      FROM sync.sync_jobs j WHERE j.tenant_id = 'C' AND j.finished_at >= day(200, '08:00') AND j.finished_at < day(201, '08:00')$$, 'what ran is what history has: a run once, however often it was tried');
SELECT is((last('all') #>> '{runs,failed}')::int, 4, 'four failed');
SELECT is((last('all') #>> '{runs,success_rate}')::numeric, round((last('all') #>> '{runs,succeeded}')::numeric / ((last('all') #>> '{runs,succeeded}')::int + 4), 4), 'the success rate');
SELECT is((last('all') #>> '{records,created}')::int, 2 * (last('all') #>> '{runs,succeeded}')::int, 'what they brought');
-- Each one that did not run, with its reason
SELECT results_eq($$SELECT i #>> '{connection,external_id}', i #>> '{schedule,name}', i ->> 'outcome', (i ->> 'count')::int, i ->> 'first_planned_at', i ->> 'last_planned_at', i ->> 'reason' IS NOT NULL
                    FROM jsonb_array_elements(last('all') #> '{not_run,items}') i ORDER BY 1, 5$$,
    $$VALUES ('bad', 'bad hourly', 'missed', 3, '2026-09-17T23:00:00Z', '2026-09-18T01:00:00Z', true),
             ('good', 'good hourly', 'skipped_by_user', 1, '2026-09-17T21:00:00Z', '2026-09-17T21:00:00Z', true),
             ('off', 'off hourly', 'skipped_paused', 2, '2026-09-17T21:00:00Z', '2026-09-17T22:00:00Z', true),
             ('off', 'off hourly', 'skipped_paused', 9, '2026-09-17T23:00:00Z', '2026-09-18T07:00:00Z', true)$$, 'each run that was missed or skipped');
SELECT alike((SELECT i ->> 'reason' FROM jsonb_array_elements(last('all') #> '{not_run,items}') i WHERE i ->> 'outcome' = 'skipped_paused' LIMIT 1), '%on holiday%', 'with its reason');
SELECT is((SELECT sum((i ->> 'count')::int) FROM jsonb_array_elements(last('all') #> '{not_run,items}') i), (last('all') #>> '{not_run,total}')::bigint, 'they add up');
SELECT is(last('all') #>> '{not_run,items,0,outcome}', 'missed', 'what was missed stands first');
-- Worst
SELECT results_eq($$SELECT w #>> '{connection,external_id}', (w ->> 'failed')::int, w ->> 'last_error' FROM jsonb_array_elements(last('all') -> 'worst') w$$, $$VALUES ('worse', 3, 'it is permanent'), ('bad', 1, 'it is permanent')$$,
    'the worst connections, with their last error');
-- Incidents
SELECT results_eq($$SELECT (i ->> 'opened')::int, (i ->> 'resolved')::int, (i ->> 'open')::int FROM (SELECT last('all') -> 'incidents' AS i) x$$,
    $$SELECT count(*)::int, count(*) FILTER (WHERE resolved_at < day(201, '08:00'))::int, count(*) FILTER (WHERE resolved_at IS NULL OR resolved_at >= day(201, '08:00'))::int
      FROM sync.incidents WHERE tenant_id = 'C' AND told IS NOT NULL AND opened_at < day(201, '08:00')$$, 'incidents, open and resolved');
SELECT is((SELECT string_agg(concat_ws(' ', i #>> '{connection,external_id}', i ->> 'class', i ->> 'state'), ', ' ORDER BY i #>> '{connection,external_id}', i ->> 'class')
           FROM jsonb_array_elements(last('all') #> '{incidents,items}') i), 'bad missed resolved, bad permanent resolved, worse permanent resolved', 'each of them');
-- Stale, rate limits, next
SELECT results_eq($$SELECT i #>> '{connection,external_id}', (i ->> 'expected_seconds')::int, i ->> 'last_success_at' FROM jsonb_array_elements(last('all') #> '{stale,items}') i ORDER BY 1$$,
    $$VALUES ('asleep', 900, NULL::text)$$, 'connections that bring nothing, though they are meant to');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE tenant_id = 'C' AND kind = 'rate_limited') || ' ' || (last('all') #>> '{rate_limits,attempts}') || ' ' || (last('all') #>> '{rate_limits,seconds_lost}'), '1 1 1800', 'time lost to rate limits');
SELECT is(last('all') #>> '{rate_limits,items,0,connection,external_id}', 'worse', 'of whom');
SELECT is((last('all') #>> '{next,runs}')::int, 3 * 24, 'what comes next: three schedules by the hour, nothing of what is paused or whose provider is');
SELECT is(last('all') #>> '{next,until}', '2026-09-19T08:00:00Z', 'until the next one');
SELECT is((SELECT bool_and((i ->> 'runs_at')::timestamptz >= day(201, '08:00')) FROM jsonb_array_elements(last('all') #> '{next,items}') i), true, 'nothing that is over');
SELECT is((last('of a schedule') #>> '{next,runs}')::int, 24, 'of a schedule, its own');
-- Nothing of others
SELECT unalike(last('all')::text, '%elsewhere%', 'nothing of another tenant');
SELECT unalike(last('of bad')::text, '%' || x || '%', 'in the digest of a connection nothing of ' || x) FROM unnest('{worse,asleep,holiday}'::text[]) x;
SELECT is((last('of a schedule') #>> '{runs,ran}')::int, (SELECT count(*)::int FROM sync.sync_jobs j WHERE j.schedule_id = sched('good hourly') AND j.finished_at >= day(200, '08:00') AND j.finished_at < day(201, '08:00')),
    'in that of a schedule no run by hand');
SELECT is((SELECT title FROM got('all')), format('Daily digest of C: %s runs, %s %% succeeded, 3 missed', last('all') #>> '{runs,ran}', round((last('all') #>> '{runs,success_rate}')::numeric * 100, 1)), 'its title says the most of it');
-- Beside the period before
SELECT lives(day(201, '08:30'), day(202, '08:00'), '30 minutes');
SELECT is(last('all') #> '{runs,previous}', (SELECT (g.data -> 'runs') - '{planned,missed,coalesced,skipped,cancelled,previous}'::text[] FROM got('all') g WHERE g.n = 1), 'the next one tells of the period before what that one told');
SELECT is((last('all') #>> '{records,previous_created}'), (SELECT g.data #>> '{records,created}' FROM got('all') g WHERE g.n = 1), 'also of its records');
SELECT is((last('all') #>> '{runs,success_rate}')::numeric, 1.0, 'and all succeeded this time');
SELECT is((last('all') #>> '{incidents,opened}')::int + (last('all') #>> '{incidents,open}')::int, 0, 'no incident');
SELECT is(plan_of(last('all')), ledger('C', day(201, '08:00'), day(202, '08:00')), 'the plan, again');
-- An incident that goes on over two periods
INSERT INTO behaves VALUES ('worse', 'permanent', NULL);
SELECT lives(day(202, '08:30'), day(204, '08:00'), '30 minutes');
SELECT results_eq($$SELECT (data #>> '{incidents,opened}')::int, (data #>> '{incidents,open}')::int, (data #>> '{incidents,resolved}')::int FROM got('all') WHERE n >= 3$$, $$VALUES (1, 1, 0), (0, 1, 0)$$, 'an incident that goes on is opened once and open in both');
SELECT alike((SELECT title FROM got('all') ORDER BY n DESC LIMIT 1), '%1 open incident', 'which the title says');
DELETE FROM behaves;

-- What is recorded late belongs to the next digest, once: each instant is told by exactly one
CREATE FUNCTION told_of(who text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('planned %s, missed %s, coalesced %s, skipped %s, not run %s', sum((data #>> '{runs,planned}')::int), sum((data #>> '{runs,missed}')::int), sum((data #>> '{runs,coalesced}')::int),
                  sum((data #>> '{runs,skipped}')::int), sum((data #>> '{not_run,total}')::int)) FROM got(who)
$$;
-- Nobody is there from 4:10 on; the digest is written before the tick has recorded what was missed meanwhile
SELECT lives(day(204, '08:30'), day(205, '04:10'), '30 minutes');
SELECT work(day(205, '11:00'));
SELECT is((SELECT until FROM got('all') ORDER BY n DESC LIMIT 1), '2026-09-22T08:00:00Z', 'a digest after an outage, before the first tick');
SELECT lives(day(205, '11:00:10'), day(205, '11:00:10'));
SELECT lives(day(205, '11:30'), day(206, '08:00'), '30 minutes');
SELECT is(told_of('all'), ledger('C', day(200, '08:00'), day(206, '08:00')), 'what was recorded after it is told by the next one: each planned run once');
SELECT is((SELECT (i ->> 'first_planned_at') || ' ' || (i ->> 'last_planned_at') || ' ' || (i ->> 'count') FROM jsonb_array_elements(last('all') #> '{not_run,items}') i WHERE i ->> 'outcome' = 'missed'),
    '2026-09-22T05:00:00Z 2026-09-22T10:00:00Z 6', 'with the times that were missed');
-- The same where the tick comes first
SELECT lives(day(206, '08:30'), day(207, '04:10'), '30 minutes');
SELECT lives(day(207, '11:00'), day(207, '11:00'), works => false), work(day(207, '11:00:10'));
SELECT lives(day(207, '11:30'), day(208, '08:00'), '30 minutes');
SELECT is(told_of('all'), ledger('C', day(200, '08:00'), day(208, '08:00')), 'nor is anything told twice where the tick comes first');
-- An outage of days, with a digest between that nobody wrote
SELECT lives(day(208, '08:30'), day(208, '20:00'), '30 minutes');
SELECT work(day(211, '09:00'));
SELECT lives(day(211, '09:30'), day(212, '08:00'), '30 minutes');
SELECT is(told_of('all'), ledger('C', day(200, '08:00'), day(212, '08:00')), 'after days');
SELECT is(told_of('of bad'), ledger('C', day(200, '08:00'), day(212, '08:00'), 'bad'), 'of a connection as well');
-- Long rows of the ledger across the end of a period
SELECT sync.pause_schedule(sched('worse hourly'), 'for days', NULL, day(212, '08:05'));
SELECT lives(day(212, '08:30'), day(215, '08:00'), '30 minutes');
SELECT sync.resume_schedule(sched('worse hourly'), day(215, '08:05'));
SELECT lives(day(215, '08:30'), day(216, '08:00'), '30 minutes');
SELECT is(told_of('all'), ledger('C', day(200, '08:00'), day(216, '08:00')), 'a pause of days');
-- A week with a schedule of minutes, looked at irregularly
SELECT connection('often', '{}', day(216), tenant => 'O');
SELECT sync.create_schedule(conn('often'), 'often', 'custom', cron_expression => '*/20 * * * *', catch_up => 'skip', as_of => day(216, '07:00'));
SELECT digest('irregular', as_of => day(216, '07:00'), tenant => 'O'), digest('irregular week', '{"every": "week", "weekday": "friday", "at": "07:10"}', as_of => day(216, '07:00'), tenant => 'O');
DO $$
DECLARE
    t timestamptz := day(216, '07:00');
BEGIN
    PERFORM setseed(0.4711);
    WHILE t < day(245) LOOP
        t := t + make_interval(secs => (10 ^ (2 + 3 * random()))::int);
        IF random() < 0.3 THEN
            PERFORM work(t);
        END IF;
        IF random() < 0.1 THEN
            PERFORM sync.pause_schedule(sched('often'), 'now and then', NULL, t) WHERE (SELECT s.is_active FROM sync.sync_schedules s WHERE s.id = sched('often'));
        ELSIF random() < 0.3 THEN
            PERFORM sync.resume_schedule(sched('often'), t);
        END IF;
        PERFORM lives(t, t, works => random() < 0.5);
    END LOOP;
    PERFORM lives(day(245, '00:01'), day(245, '00:01'));
    PERFORM lives(day(251, '12:00'), day(251, '12:00'), works => false);
    PERFORM work(day(251, '12:01'));
END $$;
SELECT cmp_ok((SELECT count(*) FROM got('irregular')), '>', 15::bigint, 'a month that was looked at irregularly');
SELECT cmp_ok((SELECT sum((data #>> '{runs,missed}')::int) FROM got('irregular')), '>', 100::bigint, 'in which much was missed');
SELECT is(told_of('irregular'), ledger('O', day(216, '08:00') - interval '1 day', day(251, '08:00')), 'the sum of its digests is the ledger');
SELECT is(told_of('irregular week'), ledger('O', day(216) - interval '7 days', (SELECT until::timestamptz FROM got('irregular week') ORDER BY n DESC LIMIT 1)), 'also by weeks');

-- Empty ones
SELECT digest('line', '{"empty": "line"}', day(260, '08:00'), 'E'), digest('none', '{"empty": "none"}', day(260, '08:00'), 'E');
SELECT passes(day(260, '08:00'), day(262, '08:00'), '4 hours');
SELECT results_eq($$SELECT (data ->> 'empty')::boolean, title FROM got('line')$$, $$VALUES (true, 'Daily digest of E: nothing ran and nothing was planned'), (true, 'Daily digest of E: nothing ran and nothing was planned')$$, 'an empty digest is a line');
SELECT is((SELECT count(*) FROM got('none')), 0::bigint, 'or none');
SELECT connection('first', '{}', day(262), tenant => 'E');
SELECT succeeds('first', day(262, '09:00'));
SELECT passes(day(262, '12:00'), day(263, '08:00'), '4 hours');
SELECT results_eq($$SELECT since, until, data #>> '{runs,ran}' FROM got('none')$$, $$VALUES ('2026-11-18T08:00:00Z', '2026-11-19T08:00:00Z', '1')$$, 'where something ran there is one, of its own period');
SELECT is((SELECT data ->> 'empty' FROM got('line') ORDER BY n DESC LIMIT 1), 'false', 'and it is not empty');
DELETE FROM sync.connections WHERE tenant_id = 'E';

-- One that fails does not stop the others
SELECT digest('broken', as_of => day(270, '08:00'), tenant => 'F'), digest('whole', as_of => day(270, '08:00'), tenant => 'F'), digest('whole later', '{"at": "09:00"}', as_of => day(270, '08:00'), tenant => 'F');
SET LOCAL sync_engine.internal = on;
UPDATE sync.sync_notifications SET config = jsonb_set(config, '{digest,timezone}', '"Mars/Olympus"') WHERE name = 'broken';
RESET sync_engine.internal;
SELECT work(day(271, '08:00')), work(day(271, '09:00'));
SELECT is((SELECT count(*) FROM got(w)), n, 'one that cannot be written: ' || w) FROM (VALUES ('broken', 0::bigint), ('whole', 1), ('whole later', 2)) v (w, n);
SELECT cmp_ok((SELECT digest_at FROM sync.notification_state WHERE notification_id = setting('broken')), '>', day(271, '09:00'), 'is tried again later');
SET LOCAL sync_engine.internal = on;
UPDATE sync.sync_notifications SET config = jsonb_set(config, '{digest,timezone}', '"UTC"') WHERE name = 'broken';
RESET sync_engine.internal;
SELECT work(day(271, '11:00'));
SELECT results_eq($$SELECT since, until FROM got('broken')$$, $$VALUES ('2026-11-26T08:00:00Z', '2026-11-27T08:00:00Z')$$, 'and nothing of its period is lost');

-- Bounded, whatever there is
SELECT connection('many' || n, '{}', day(280), tenant => 'M') FROM generate_series(1, 120) n;
UPDATE sync.connections SET name = repeat('€ ', 500) || id WHERE tenant_id = 'M';
SELECT sync.create_schedule(conn('many' || n), repeat('x ', 90) || n, 'hourly', catch_up => 'skip', as_of => day(280, '07:30')) FROM generate_series(1, 120) n;
SELECT digest('many', as_of => day(280, '08:00'), tenant => 'M'), in_app('many events', '{warning,failure}', tenant => 'M');
SELECT sync.pause_schedule(s.id, repeat('why ', 100000), NULL, day(280, '08:00')) FROM sync.sync_schedules s WHERE s.tenant_id = 'M' AND s.id % 2 = 0;
SELECT sync.tick(day(280, '20:30'));
SELECT claim(day(280, '20:30'), 1000);
SELECT sync.tick(day(281, '08:00:30')), work(day(281, '08:01'));
SELECT is((SELECT count(*) FROM got('many')), 1::bigint, 'of many connections one digest');
SELECT cmp_ok(octet_length(last('many')::text), '<', 60000, 'of 60 kB at most');
SELECT is(jsonb_array_length(last('many') #> '{not_run,items}') <= 50 AND jsonb_array_length(last('many') #> '{stale,items}') <= 20, true, 'lists are cut');
SELECT is((last('many') #>> '{not_run,total}')::bigint, (SELECT count(*) FROM instants('M', day(280, '08:00'), day(281, '08:00')) WHERE outcome NOT IN ('fired', 'coalesced')), 'totals are not');

SELECT finish();
ROLLBACK;
