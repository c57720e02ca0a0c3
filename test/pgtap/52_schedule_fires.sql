-- What becomes of planned instants: each outcome, the ledger that holds each instant once, and the words it is explained in.
\ir include/setup.psql
SELECT plan(143);
SELECT fix_jitter();

-- Claims remember when the next job is due: time only goes forward. Each part has a day of its own.
CREATE OR REPLACE FUNCTION at(clock text) RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT (current_setting('test.day') || ' ' || clock || ' UTC')::timestamptz $$;
CREATE FUNCTION day(day text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('test.day', day, true) $$;
SELECT day('2026-03-01');

CREATE FUNCTION made(external text, name text DEFAULT 's') RETURNS bigint LANGUAGE sql STABLE
AS $$ SELECT max(s.id) FROM sync.sync_schedules s WHERE s.connection_id = conn(external) AND s.name = made.name $$;
-- A schedule of a connection of its own, made at 09:00; overrides are written as an application would.
CREATE FUNCTION schedule(external text, cron text DEFAULT '0 * * * *', overrides jsonb DEFAULT '{}') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    id bigint;
BEGIN
    PERFORM connection(external);
    id := sync.create_schedule(conn(external), 's', 'custom', cron_expression => cron, timezone => COALESCE(overrides ->> 'timezone', 'UTC'),
        jitter_seconds => COALESCE((overrides ->> 'jitter')::int, 0), catch_up => COALESCE(overrides ->> 'catch_up', 'latest'),
        catchup_limit => COALESCE((overrides ->> 'limit')::int, 10), catchup_max_age => COALESCE(overrides ->> 'max_age', '7 days')::interval,
        overlap => COALESCE(overrides ->> 'overlap', 'skip'), dst_gap => COALESCE(overrides ->> 'gap', 'run_after'),
        dst_fold => COALESCE(overrides ->> 'fold', 'first'), starts_at => (overrides ->> 'starts_at')::timestamptz,
        ends_at => (overrides ->> 'ends_at')::timestamptz, as_of => COALESCE((overrides ->> 'as_of')::timestamptz, at('09:00')));
    RETURN id;
END $$;
CREATE FUNCTION told(id bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT COALESCE(string_agg(f.outcome || ' ' || to_char(f.first_planned_at, 'HH24:MI')
        || CASE WHEN f.planned_count > 1 THEN format('-%s x%s', to_char(f.last_planned_at, 'HH24:MI'), f.planned_count) ELSE '' END, ', ' ORDER BY f.id), '')
    FROM sync.schedule_fires f WHERE f.schedule_id = $1
$$;
CREATE FUNCTION newest(id bigint) RETURNS sync.schedule_fires LANGUAGE sql STABLE
AS $$ SELECT f FROM sync.schedule_fires f WHERE f.schedule_id = $1 ORDER BY f.id DESC LIMIT 1 $$;
CREATE FUNCTION run(external text, as_of timestamptz) RETURNS boolean LANGUAGE plpgsql
AS $$ BEGIN PERFORM claim(as_of); RETURN complete(external, as_of); END $$;
CREATE FUNCTION state(id bigint) RETURNS sync.schedule_state LANGUAGE sql STABLE AS $$ SELECT st FROM sync.schedule_state st WHERE st.schedule_id = $1 $$;
-- Planned instants from then on, up to what is covered, that the ledger does not hold exactly once; spans whose count is wrong.
CREATE FUNCTION faults(id bigint, since timestamptz DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s sync.sync_schedules;
    t timestamptz := COALESCE(since, at('09:00'));
    n bigint;
    found text[] := '{}';
BEGIN
    SELECT x.* INTO s FROM sync.sync_schedules x WHERE x.id = $1;
    LOOP
        t := sync.cron_next(s.cron_expression, s.timezone, GREATEST(t, s.starts_at - interval '1 us'), s.dst_gap, s.dst_fold);
        EXIT WHEN t IS NULL OR t > (state($1)).covered_until OR t > s.ends_at;
        SELECT count(*) INTO n FROM sync.schedule_fires f
        WHERE f.schedule_id = $1 AND f.outcome NOT IN ('triggered', 'dst_gap') AND t BETWEEN f.first_planned_at AND f.last_planned_at;
        IF n <> 1 THEN
            found := found || format('%s %s times', t, n);
        END IF;
    END LOOP;
    SELECT found || COALESCE(array_agg(format('%s %s-%s counts %s', f.outcome, f.first_planned_at, f.last_planned_at, f.planned_count)), '{}') INTO found
    FROM sync.schedule_fires f
    WHERE f.schedule_id = $1 AND f.outcome NOT IN ('triggered', 'dst_gap')
      AND f.planned_count <> sync._cron_count(s.cron_expression, s.timezone, f.first_planned_at - interval '1 us', f.last_planned_at, s.dst_gap, s.dst_fold);
    RETURN array_to_string(found, '; ');
END $$;

-- fired, ahead of its time, at its time and late
SELECT schedule('plain');
SELECT is((SELECT enqueued FROM sync.tick(at('09:58:59'))), 0, 'not yet');
SELECT is((SELECT enqueued FROM sync.tick(at('09:59'))), 1, 'a minute ahead');
SELECT results_eq($$SELECT scheduled_at, planned_at, schedule_id, trigger_type, priority, input, job_type FROM job_of('plain')$$,
    $$VALUES (at('10:00'), at('10:00'), made('plain'), 'scheduled', 0, NULL::jsonb, 'incremental')$$, 'the job');
SELECT results_eq($$SELECT outcome, first_planned_at, last_planned_at, planned_count, job_id, reason, tenant_id FROM newest(made('plain'))$$,
    $$SELECT 'fired', at('10:00'), at('10:00'), 1::bigint, (job_of('plain')).id, NULL, 'T'$$, 'the ledger');
SELECT results_eq($$SELECT covered_until, next_planned_at, look_at FROM state(made('plain'))$$, $$VALUES (at('10:00'), at('11:00'), at('10:59'))$$, 'the state');
SELECT is(claim(at('09:59:59')), 0::bigint, 'not claimed before');
SELECT is((SELECT enqueued FROM sync.tick(at('09:59:30'))), 0, 'once');
SELECT run('plain', at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('11:00'))), 1, 'at its time');
SELECT run('plain', at('11:01'));
SELECT is((SELECT enqueued FROM sync.tick(at('12:20'))), 1, 'late');
SELECT results_eq($$SELECT trigger_type, planned_at, scheduled_at FROM job_of('plain')$$, $$VALUES ('catch_up', at('12:00'), at('12:00'))$$, 'told as such');
SELECT is((meta('plain')) -> 'next_run_at', NULL, 'the interval has no say');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('plain')), NULL, 'nor does its loop look');

-- latest, skip, all
SELECT schedule('latest'), schedule('skip', overrides => '{"catch_up": "skip"}'), schedule('all', overrides => '{"catch_up": "all", "limit": 3}'),
       schedule('young', overrides => '{"catch_up": "all", "max_age": "2 hours"}');
SELECT sync.tick(at('15:30'));
SELECT is(told(made('latest')), 'coalesced 10:00-14:00 x5, fired 15:00', 'latest: one run');
SELECT is((SELECT count(DISTINCT job_id) FROM sync.schedule_fires WHERE schedule_id = made('latest')), 1::bigint, 'the coalesced ones name it');
SELECT is(told(made('skip')), 'missed 10:00-15:00 x6', 'skip: none');
SELECT is(told(made('all')), 'missed 10:00-12:00 x3, fired 13:00', 'all: the first within the limit');
SELECT is(told(made('young')), 'missed 10:00-13:00 x4, fired 14:00', 'all: within the age');
SELECT run('all', at('15:31'));
SELECT is((SELECT count(*) FROM sync.tick(at('15:32'))), 1::bigint, 'tick');
SELECT run('all', at('15:33'));
SELECT sync.tick(at('15:35'));
SELECT run('all', at('15:36'));
SELECT sync.tick(at('15:37'));
SELECT is(told(made('all')), 'missed 10:00-12:00 x3, fired 13:00, fired 14:00, fired 15:00', 'all: one after the other');
SELECT is(live('all'), 0::bigint, 'and no more');
SELECT is(faults(s.id), '', 'each once: ' || c.external_id) FROM sync.sync_schedules s JOIN sync.connections c ON c.id = s.connection_id;
DELETE FROM sync.connections;

-- Overlap
SELECT day('2026-03-02');
SELECT schedule('skips'), schedule('buffers', overrides => '{"overlap": "buffer_one"}'),
       schedule('buffers on', overrides => '{"overlap": "buffer_one", "catch_up": "skip"}');
SELECT sync.tick(at('10:00'));
SET LOCAL sync_engine.lease_seconds = 86400;
SET LOCAL sync_engine.max_run_seconds = 86400;
SELECT claim(at('10:00'));
SELECT sync.tick(at(t)) FROM unnest('{10:59:30,11:00,11:30,12:00,12:01}'::text[]) t;
SELECT is(told(made('skips')), 'fired 10:00, skipped_overlap 11:00-12:00 x2', 'skip: what is of one kind is one row');
SELECT is((newest(made('skips'))).job_id, (running('skips')).id, 'with the job');
SELECT is((newest(made('skips'))).reason, format('job %s was running', (running('skips')).id), 'and the reason');
SELECT is(told(made('buffers')), 'fired 10:00', 'buffer_one: it waits');
SELECT complete('skips', at('12:10')), complete('buffers', at('12:10')), complete('buffers on', at('12:10'));
SELECT sync.tick(at('12:11'));
SELECT is(live('skips'), 0::bigint, 'skip: nothing is made up for');
SELECT is(told(made('buffers')), 'fired 10:00, coalesced 11:00, fired 12:00', 'buffer_one: one run for what came meanwhile');
SELECT is(live('buffers'), 1::bigint, 'that is queued');
SELECT is((job_of('buffers')).trigger_type, 'scheduled', 'and is no catching up');
SELECT is((SELECT reason FROM sync.schedule_fires WHERE schedule_id = made('buffers') AND outcome = 'coalesced'), 'a run was under way: one run for all', 'told why');
SELECT is(told(made('buffers on')), 'fired 10:00, coalesced 11:00, fired 12:00', 'buffer_one without catching up: what waits for a run is not late');
SELECT is(faults(s.id), '', 'overlap, each once: ' || c.external_id) FROM sync.sync_schedules s JOIN sync.connections c ON c.id = s.connection_id;
DELETE FROM sync.connections;

-- Users
SELECT day('2026-03-03');
SELECT schedule('u');
SELECT is(sync.skip_next(made('u'), at('09:10')), at('10:00'), 'skip_next tells which');
SELECT is(sync.skip_next(made('u'), at('09:11')), at('11:00'), 'again: the one after');
SELECT is((SELECT enqueued FROM sync.tick(at('09:59:30'))), 0, 'not run');
SELECT is(told(made('u')), 'skipped_by_user 10:00', 'told');
SELECT is((newest(made('u'))).reason, 'skip_next was called', 'with the reason');
SELECT is(sync.skip_next(made('u'), at('09:59:40')), at('12:00'), 'one that is covered ahead of its time stays skipped');
SELECT sync.update_schedule(made('u'), catch_up => 'skip', as_of => at('09:59:50'));
SELECT sync.tick(at('10:00')), sync.tick(at('11:00')), sync.tick(at('12:00')), sync.tick(at('13:00'));
SELECT is(told(made('u')), 'skipped_by_user 10:00, skipped_by_user 11:00, skipped_by_user 12:00, fired 13:00', 'a change between leaves them skipped');
SELECT is((state(made('u'))).skips, '{}', 'nothing is left of them');
SELECT run('u', at('13:00'));
SELECT sync.tick(at('13:59:30'));
SELECT is(sync.skip_next(made('u'), at('13:59:40')), at('14:00'), 'one that is queued ahead');
SELECT is(live('u'), 0::bigint, 'its job is taken back');
SELECT sync.tick(at('14:00'));
SELECT is(live('u'), 0::bigint, 'and does not come again');
SELECT throws_ok($$SELECT sync.skip_next(sync.create_schedule(conn('u'), 'r', 'realtime', as_of => at('14:00')), at('14:00'))$$, '55000', NULL, 'realtime plans nothing');
SELECT sync.update_schedule(made('u'), ends_at => at('15:00'), as_of => at('14:01'));
SELECT is(sync.skip_next(made('u'), at('14:01')), at('15:00'), 'the last one');
SELECT throws_ok($$SELECT sync.skip_next(made('u'), at('14:01'))$$, '55000', NULL, 'there is no more');
SELECT is(faults(made('u')), '', 'users, each once');
DELETE FROM sync.connections;

-- Pauses
SELECT day('2026-03-04');
SELECT schedule('p'), schedule('pc'), schedule('pp');
SELECT sync.pause_schedule(made('p'), 'maintenance', as_of => at('09:30'));
SELECT sync.pause(conn('pc'), 'customer asked');
SELECT sync.tick(at('10:00')), sync.tick(at('11:00')), sync.tick(at('12:30'));
SELECT is(told(made('p')), 'skipped_paused 10:00-12:00 x3', 'a paused schedule: a row for all');
SELECT is((newest(made('p'))).reason, 'the schedule is paused: maintenance', 'with the reason');
SELECT is((newest(made('pc'))).reason, 'the connection is paused: customer asked', 'a paused connection too');
SELECT is(live('p') + live('pc'), 0::bigint, 'nothing runs');
SELECT sync.resume_schedule(made('p'), at('12:40')), sync.resume(conn('pc'));
SELECT sync.tick(at('12:41'));
SELECT is(live('p') + live('pc'), 0::bigint, 'nothing is caught up with');
SELECT sync.tick(at('13:00'));
SELECT is(live('p') + live('pc'), 2::bigint, 'the next one runs');
SELECT run('p', at('13:00')), run('pp', at('13:00')), complete('pc', at('13:00'));
SELECT sync.pause_provider('github', 'outage');
SELECT sync.tick(at('14:00'));
SELECT is((newest(made('pp'))).reason, 'the provider github is paused: outage', 'a paused provider');
SELECT sync.resume_provider('github');
SELECT sync.pause_schedule(made('p'), 'until four', at('16:00'), at('14:10'));
SELECT sync.tick(at('15:00'));
SELECT is((newest(made('p'))).outcome, 'skipped_paused', 'paused until four');
SELECT sync.tick(at('16:00'));
SELECT results_eq($$SELECT is_active, pause_reason, resume_at FROM sync.sync_schedules WHERE id = made('p')$$, 'VALUES (true, NULL, NULL::timestamptz)', 'resumed by itself');
SELECT is((newest(made('p'))).outcome || ' ' || to_char((newest(made('p'))).first_planned_at, 'HH24:MI'), 'fired 16:00', 'the instant itself runs');
SELECT run('p', at('16:00'));
SELECT sync.pause_schedule(made('p'), NULL, at('18:30'), at('16:30'));
SELECT sync.tick(at('20:10'));
SELECT is((SELECT string_agg(outcome || ' ' || planned_count, ', ' ORDER BY id) FROM sync.schedule_fires WHERE schedule_id = made('p') AND first_planned_at > at('16:30')),
    'skipped_paused 2, coalesced 1, fired 1', 'an outage over the end of a pause: each as it was');
SELECT is(faults(s.id), '', 'pauses, each once: ' || c.external_id) FROM sync.sync_schedules s JOIN sync.connections c ON c.id = s.connection_id;
DELETE FROM sync.connections;
-- What is queued ahead is taken back by a pause
SELECT day('2026-03-05');
SELECT schedule('a');
SELECT sync.tick(at('09:59:30'));
SELECT sync.pause_schedule(made('a'), as_of => at('09:59:40'));
SELECT is(live('a'), 0::bigint, 'a pause takes back what is queued ahead');
SELECT sync.tick(at('10:00'));
SELECT is(told(made('a')), 'skipped_paused 10:00', 'the ledger says so');
SELECT sync.resume_schedule(made('a'), at('10:30'));
SELECT sync.tick(at('10:59:30'));
SELECT sync.update_schedule(made('a'), cron_expression => '30 * * * *', as_of => at('10:59:40'));
SELECT is(live('a'), 0::bigint, 'so does another time');
SELECT sync.tick(at('11:00'));
SELECT is(live('a'), 0::bigint, 'the old time does not run');
SELECT sync.tick(at('11:30'));
SELECT is(told(made('a')), 'skipped_paused 10:00, fired 11:30', 'the new one does');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('a') AND status = 'cancelled'), 2::bigint, 'the jobs were cancelled');
SELECT claim(at('11:30'));
SELECT sync.update_schedule(made('a'), cron_expression => '45 * * * *', as_of => at('11:31'));
SELECT is((running('a')).status, 'running', 'a run that has begun goes on');
SELECT sync.delete_schedule(made('a'), at('11:32'));
SELECT is((running('a')).status, 'running', 'also when its schedule is deleted');
SELECT is(complete('a', at('11:33')), true, 'and ends');
SELECT is((SELECT count(*) FROM sync.schedule_fires WHERE connection_id = conn('a')), 2::bigint, 'the ledger stays');
DELETE FROM sync.connections;
SELECT day('2026-03-06');
SELECT schedule('d');
SELECT sync.tick(at('10:00'));
SELECT sync.delete_schedule(made('d'), at('10:00'));
SELECT is(live('d'), 0::bigint, 'a queued job goes with its schedule');
SELECT is((job_of('d')).finished_at, at('10:00'), 'cancelled when that was deleted');
SELECT is((SELECT due_at IS NOT NULL FROM sync.connection_state WHERE connection_id = conn('d')), true, 'the interval has it again');
DELETE FROM sync.connections;

-- Jitter
SELECT day('2026-03-07');
SELECT schedule('j', overrides => '{"jitter": 600}');
SELECT sync.tick(at('10:00'));
SELECT is((job_of('j')).planned_at, at('10:00'), 'the plan is without jitter');
SELECT cmp_ok((job_of('j')).scheduled_at, '>', at('10:00'), 'the job is with it');
SELECT cmp_ok((job_of('j')).scheduled_at, '<=', at('10:10'), 'no more than that');
CREATE TEMP TABLE drawn AS SELECT (job_of('j')).scheduled_at AS at;
SELECT sync.update_schedule(made('j'), catch_up => 'skip', as_of => at('10:00:01'));
SELECT is((job_of('j')).scheduled_at, (SELECT d.at FROM drawn d), 'a change within the jitter leaves the run that was planned');
SELECT is(live('j'), 1::bigint, 'and makes no second one');
SELECT sync.pause_schedule(made('j'), as_of => at('10:00:02'));
SELECT is(live('j'), 1::bigint, 'nor does a pause take it');
SELECT is(faults(made('j')), '', 'jitter, each once');
DELETE FROM sync.connections;

-- Clocks that change
SELECT schedule('gap', '30 2 * * *', '{"timezone": "America/New_York", "as_of": "2026-03-07 12:00Z"}'),
       schedule('nogap', '*/20 2 * * *', '{"timezone": "America/New_York", "gap": "skip", "as_of": "2026-03-07 12:00Z"}');
SELECT sync.tick('2026-03-08 07:00Z');
SELECT results_eq($$SELECT outcome, first_planned_at, reason FROM newest(made('gap'))$$,
    $$VALUES ('fired', '2026-03-08 07:00Z'::timestamptz, 'the clocks were put forward: run at the first instant after the local time that did not exist')$$, 'run after the gap');
SELECT results_eq($$SELECT outcome, first_planned_at, planned_count, reason FROM newest(made('nogap'))$$,
    $$VALUES ('dst_gap', '2026-03-08 07:00Z'::timestamptz, 3::bigint, 'the clocks were put forward: this local time did not exist')$$, 'or told that it did not exist');
SELECT is(live('nogap'), 0::bigint, 'without a run');
SELECT results_eq($$SELECT verdict, detail LIKE '%2026-03-08T07:00:00Z%' FROM sync.explain_schedule(made('nogap'), '2026-03-08 07:20Z', '2026-03-08 08:00Z') LIMIT 1$$, $$VALUES ('dst_gap', true)$$,
    'why did it not run at 02:20');
SELECT is(faults(s.id, '2026-03-07 12:00Z'), '', 'gaps, each once: ' || c.external_id) FROM sync.sync_schedules s JOIN sync.connections c ON c.id = s.connection_id;
DELETE FROM sync.connections;
SELECT schedule('fold ' || f, '30 1 * * *', jsonb_build_object('timezone', 'America/New_York', 'fold', f, 'as_of', '2026-10-31 12:00Z')) FROM unnest('{first,second,both}'::text[]) f;
SELECT schedule('fold real', '30 * * * *', '{"timezone": "America/New_York", "as_of": "2026-11-01 05:00Z"}');
DO $$
BEGIN
    FOR n IN 0 .. 12 LOOP
        PERFORM sync.tick('2026-11-01 04:30Z'::timestamptz + n * interval '15 minutes');
        PERFORM claim('2026-11-01 04:30Z'::timestamptz + n * interval '15 minutes'), complete(c.external_id, '2026-11-01 04:31Z'::timestamptz + n * interval '15 minutes')
        FROM sync.connections c;
        PERFORM complete(c.external_id, '2026-11-01 04:31Z'::timestamptz + n * interval '15 minutes') FROM sync.connections c;
    END LOOP;
END $$;
SELECT is(told(made('fold first')), 'fired 05:30', 'the first of two');
SELECT is(told(made('fold second')), 'fired 06:30', 'the second');
SELECT is(told(made('fold both')), 'fired 05:30, fired 06:30', 'both');
SELECT is(told(made('fold real')), 'fired 05:30, fired 06:30, fired 07:30', 'what follows real time runs each hour');
DELETE FROM sync.connections;

-- A clock that goes back
SELECT day('2026-11-10');
SELECT schedule('back'), schedule('far');
SELECT sync.tick(at('10:00'));
SELECT run('back', at('10:00')), run('far', at('10:00'));
SELECT complete('far', at('10:00'));
SELECT sync.tick(at('12:00'));
SELECT run('back', at('12:00'));
SELECT complete('far', at('12:00'));
SELECT is((SELECT sum(enqueued) FROM unnest('{10:30,11:00,11:30,11:58}'::text[]) t, sync.tick(at(t))), 0::bigint, 'two hours back: nothing runs twice');
SELECT is(told(made('back')), 'fired 10:00, coalesced 11:00, fired 12:00', 'nor is it told twice');
SELECT sync.tick(at('13:00'));
SELECT is(live('back'), 1::bigint, 'it goes on when that is over');
SELECT run('back', at('13:00'));
SELECT complete('far', at('13:00'));
SELECT sync.tick('2027-02-01 00:00Z');
SELECT run('back', '2027-02-01 00:00Z');
SELECT complete('far', '2027-02-01 00:00Z');
SELECT sync.tick(at('13:30'));
SELECT is(live('back'), 0::bigint, 'months back: nothing runs at once');
SELECT is((state(made('back'))).covered_until, at('13:30'), 'it is planned from now on');
SELECT sync.tick(at('14:00'));
SELECT is(live('back'), 1::bigint, 'and runs');
SELECT is(faults(made('back')), '', 'each once');
DELETE FROM sync.connections;

-- A copy of a database that is adopted
SELECT day('2027-06-01');
SELECT schedule('adopted', '*/5 * * * *', '{"catch_up": "all", "limit": 1000}');
UPDATE sync.database_identity SET system_identifier = 1;
SELECT sync.adopt_database();
UPDATE sync.database_identity SET adopted_at = at('12:02');
SELECT sync.tick(at('12:03:30'));
SELECT is(told(made('adopted')), 'missed 09:05-12:00 x36', 'what was planned before is not caught up with');
SELECT is((newest(made('adopted'))).reason, 'planned before this copy of the database was adopted', 'with the reason');
SELECT is((SELECT sum(enqueued) FROM sync.tick(at('12:05'))), 1::bigint, 'what comes after runs');
UPDATE sync.database_identity SET adopted_at = '2020-01-01', epoch = 1;
DELETE FROM sync.connections;

-- Rules of a zone that change: as if the offset had been another one when the schedule was covered.
SELECT day('2027-11-02');
SELECT schedule('east', '0 10 * * *', '{"timezone": "Europe/Berlin"}'), schedule('west', '0 10 * * *', '{"timezone": "Europe/Berlin"}'),
       schedule('list', '*/5 0-23 * * *', '{"timezone": "Europe/Berlin", "catch_up": "all", "limit": 1000}');
SELECT sync.tick(at('09:00:30'));
UPDATE sync.schedule_state SET covered_offset = 7200 WHERE schedule_id = made('east');
UPDATE sync.schedule_state SET covered_offset = 0 WHERE schedule_id = made('west');
UPDATE sync.schedule_state SET covered_offset = -10 * 3600, look_at = at('09:01') WHERE schedule_id = made('list');
SELECT sync.tick(at('09:01'));
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id IN (conn('east'), conn('west'))), 0::bigint, 'no run for what has run');
SELECT cmp_ok((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('list')), '<=', 1::bigint, 'no mass of runs');
DELETE FROM sync.connections;

-- Two schedules of a connection
SELECT day('2027-11-03');
SELECT connection('two');
SELECT sync.create_schedule(conn('two'), x, 'hourly', job_type => CASE x WHEN 'c' THEN 'full' ELSE 'incremental' END, config => jsonb_build_object('by', x), as_of => at('09:00'))
FROM unnest('{a,b,c}'::text[]) x;
SELECT is((SELECT enqueued FROM sync.tick(at('10:00'))), 2, 'one instant: a job of each type');
SELECT is(told(made('two', 'a')), 'fired 10:00', 'the first has it');
SELECT results_eq($$SELECT outcome, job_id, reason FROM newest(made('two', 'b'))$$,
    $$SELECT 'skipped_overlap', (job_of('two')).id, format('job %s was queued', (job_of('two')).id)$$, 'the second is told which job that was');
SELECT is((job_of('two', 'full')).input, '{"by": "c"}', 'another type has its own, with its configuration');
SELECT claim(at('10:00')), complete('two', at('10:00')), claim(at('10:00')), complete('two', at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:59:30'))), 2, 'ahead of time too');
SELECT is((SELECT count(*) FROM sync.schedule_fires WHERE outcome = 'fired'), 4::bigint, 'four in all');
DELETE FROM sync.connections;

-- Triggers
SELECT day('2027-11-04');
SELECT schedule('t');
UPDATE sync.sync_schedules SET config = '{"path": "/x"}';
SELECT isnt(sync.trigger_schedule(made('t'), at('09:30')), NULL, 'a job');
SELECT results_eq($$SELECT trigger_type, priority, schedule_id, scheduled_at, input FROM job_of('t')$$, $$VALUES ('manual', 10, made('t'), at('09:30'), '{"path": "/x"}'::jsonb)$$, 'as it should be');
SELECT is(sync.trigger_schedule(made('t'), at('09:31')), (job_of('t')).id, 'again: the same');
SELECT claim(at('09:32'));
SELECT sync.trigger_schedule(made('t'), at('09:33')), sync.trigger_schedule(made('t'), at('09:34'));
SELECT complete('t', at('09:35'));
SELECT is(live('t'), 1::bigint, 'while it runs: one more');
SELECT run('t', at('09:36'));
SELECT is(live('t'), 0::bigint, 'and no more');
SELECT is((SELECT count(*) FROM sync.schedule_fires WHERE outcome = 'triggered' AND planned_count = 0), 4::bigint, 'each is told');
SELECT sync.tick(at('10:00'));
SELECT is((newest(made('t'))).outcome, 'fired', 'what is planned stays planned');
SELECT run('t', at('10:00'));
SELECT sync.pause_schedule(made('t'), as_of => at('10:01'));
SELECT isnt(sync.trigger_schedule(made('t'), at('10:02')), NULL, 'a paused schedule may be triggered');
SELECT run('t', at('10:02'));
SELECT sync.pause(conn('t'), 'r');
SELECT throws_ok($$SELECT sync.trigger_schedule(made('t'), at('10:03'))$$, '55000', NULL, 'a paused connection''s may not');
SELECT is(faults(made('t')), '', 'triggers, each once');
DELETE FROM sync.connections;

-- Large counts
SELECT day('2027-11-05');
SELECT schedule('second', '* * * * * *', '{"timezone": "America/New_York", "as_of": "2026-11-05 09:00Z"}');
CREATE TEMP TABLE took AS SELECT clock_timestamp() AS began;
SELECT is((SELECT enqueued FROM sync.tick(at('09:00'))), 1, 'a year of seconds: one run');
SELECT cmp_ok(clock_timestamp() - (SELECT began FROM took), '<', interval '10 seconds', 'quickly');
SELECT is((SELECT string_agg(outcome || ' ' || planned_count, ', ' ORDER BY id) FROM sync.schedule_fires), 'coalesced 31535999, fired 1', 'exactly');
DELETE FROM sync.connections;

-- One that cannot be planned, or whose job is kept from being queued: it is set back, its neighbours run.
SELECT day('2027-11-15');
SELECT schedule('good'), schedule('gone'), schedule('kept');
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$ BEGIN RETURN CASE WHEN NEW.connection_id = conn('kept') THEN NULL ELSE NEW END; END $$;
CREATE TRIGGER keep BEFORE INSERT ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION keep();
SET LOCAL sync_engine.internal = on;
UPDATE sync.sync_schedules SET timezone = 'Mars/Gone' WHERE id = made('gone');
SET LOCAL sync_engine.internal = off;
SELECT is((SELECT enqueued FROM sync.tick(at('10:00'))), 1, 'a bad schedule is no matter to others');
SELECT is(live('good'), 1::bigint, 'which run');
SELECT is((SELECT count(*) FROM sync.schedule_state WHERE schedule_id <> made('good') AND look_at > at('10:05')), 2::bigint, 'it is set back');
SELECT is((SELECT count(*) FROM sync.schedule_status), 3::bigint, 'all are seen');
DROP TRIGGER keep ON sync.sync_jobs;
SELECT lives_ok($$SELECT sync.update_schedule(made('gone'), timezone => 'UTC', as_of => at('10:10'))$$, 'its zone can be mended');
SELECT sync.tick(at('11:00'));
SELECT is(live('gone') + live('kept'), 2::bigint, 'then it runs');
DELETE FROM sync.connections;

-- History, page by page
SELECT day('2027-11-06');
SELECT schedule('h', '* * * * *');
DO $$
BEGIN
    FOR n IN 1 .. 25 LOOP
        PERFORM sync.tick(at('09:00') + n * interval '1 minute');
        PERFORM claim(at('09:00') + n * interval '1 minute');
        PERFORM CASE WHEN n = 25 THEN fail('h', at('09:25:10'), 'permanent') ELSE complete('h', at('09:00:10') + n * interval '1 minute')::text END;
    END LOOP;
END $$;
SELECT results_eq($$SELECT outcome, run_status, started_at, finished_at, attempts, error_message FROM sync.schedule_history(made('h'), max_rows => 1)$$,
    $$VALUES ('fired', 'failed', at('09:25'), at('09:25:10'), 1, 'boom')$$, 'newest first, with how it went');
SELECT is((SELECT run_status FROM sync.schedule_history(made('h'), max_rows => 2) ORDER BY fire_id LIMIT 1), 'succeeded', 'or well');
CREATE TEMP TABLE pages AS
WITH RECURSIVE page (n, ids) AS (
    SELECT 1, (SELECT array_agg(h.fire_id) FROM sync.schedule_history(made('h'), NULL, 10) h)
    UNION ALL
    SELECT p.n + 1, (SELECT array_agg(h.fire_id) FROM sync.schedule_history(made('h'), p.ids[cardinality(p.ids)], 10) h) FROM page p WHERE cardinality(p.ids) = 10)
SELECT n, unnest(ids) AS id FROM page;
SELECT results_eq('SELECT count(*), count(DISTINCT id), max(n) FROM pages', 'VALUES (25::bigint, 25::bigint, 3)', 'pages without a gap or a double');
DELETE FROM sync.connections;

-- Whatever happens: a walk at random, after which each instant is there once.
CREATE FUNCTION walk(external text, steps int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s bigint := made(external);
    t timestamptz := at('09:00');
    what int;
    log text := '';
BEGIN
    FOR n IN 1 .. steps LOOP
        t := t + make_interval(secs => CASE WHEN random() < 0.1 THEN random() * 20000 ELSE random() * 300 END);
        what := floor(random() * 14);
        log := log || ' ' || what || '@' || to_char(t, 'HH24:MI:SS.MS');
        BEGIN
            CASE
                WHEN what <= 4 THEN PERFORM sync.tick(t);
                WHEN what <= 6 THEN PERFORM claim(t);
                WHEN what <= 8 THEN PERFORM complete(external, t);
                WHEN what = 9 THEN PERFORM sync.skip_next(s, t);
                WHEN what = 10 THEN PERFORM CASE WHEN random() < 0.5 THEN sync.trigger_schedule(s, t) END;
                WHEN what = 11 THEN
                    IF random() < 0.5 THEN
                        PERFORM sync.pause_schedule(s, NULL, CASE WHEN random() < 0.5 THEN t + interval '20 minutes' END, t);
                    ELSE
                        PERFORM sync.resume_schedule(s, t);
                    END IF;
                WHEN what = 12 THEN
                    PERFORM sync.update_schedule(s, catch_up => ('{latest,skip,all}'::text[])[1 + floor(random() * 3)],
                        overlap => CASE WHEN random() < 0.5 THEN 'skip' ELSE 'buffer_one' END, jitter_seconds => floor(random() * 100)::int, as_of => t);
                ELSE
                    IF random() < 0.3 THEN
                        PERFORM sync.pause(conn(external), 'r');
                    ELSE
                        PERFORM sync.resume(conn(external));
                    END IF;
            END CASE;
        EXCEPTION WHEN SQLSTATE '55000' THEN
            NULL;
        END;
        IF faults(s) <> '' THEN
            RETURN format('step %s: %s after%s', n, faults(s), right(log, 300));
        END IF;
    END LOOP;
    RETURN '';
END $$;
CREATE FUNCTION begin_walk(external text, day date, cron text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM day(day::text);
    PERFORM schedule(external, cron);
    RETURN walk(external, 60);
END $$;
SELECT setseed(0.25);
SELECT is(w.result, '', 'walk ' || w.n)
FROM (SELECT n, begin_walk('walk ' || n, '2028-01-01'::date + 10 * n, (ARRAY['*/5 * * * *', '*/10 8-20 * * *', '0 * * * *'])[n % 3 + 1]) AS result
      FROM generate_series(1, 6) n OFFSET 0) w;

SELECT * FROM finish();
ROLLBACK;
