-- Incidents: exactly what happened is told, once, to whoever wanted it: criteria 2, 4 and 6 of the story, and the issue of notifications.
\ir include/setup.psql
\ir include/notices.psql
SELECT plan(187);
SET LOCAL sync_engine.notification_burst = 10000;

-- Criterion 2: I receive an email notification when the sync completes
SELECT connection('daily', '{}', at('00:00'));
SELECT sync.create_schedule(conn('daily'), 'at two', 'daily', '02:00', as_of => day(0, '09:00'));
SELECT email('me@example.com', '{success,failure}', NULL, (SELECT id FROM sync.sync_schedules WHERE name = 'at two'));
SELECT sync.tick(day(1, '02:00')), claim(day(1, '02:00'));
SELECT complete('daily', day(1, '02:03'), '[{"kind": "row"}, {"kind": "row"}]');
SELECT take(day(1, '02:03'));
SELECT results_eq($$SELECT recipient, payload ->> 'type', payload #>> '{data,schedule,name}', (payload #>> '{data,counts,created}')::int, payload #>> '{data,run,planned_at}',
                           payload #>> '{data,run,trigger}' FROM taken$$,
    $$VALUES ('me@example.com', 'sync.succeeded', 'at two', 2, '2026-03-02T02:00:00Z', 'scheduled')$$, 'AC 2: I receive an email notification when the sync completes');
SELECT is((newest('me@example.com')).payload #>> '{data,next_run_at}', '2026-03-03T02:00:00Z', 'AC 2: which says when the next one is');
SELECT ends('me@example.com', day(1, '02:04'));
SELECT succeeds('daily', day(1, '05:00'));
SELECT is(take(day(1, '05:00')), 0::bigint, 'AC 2: a run by hand is none of the schedule''s');

-- Criterion 4: I receive a failure notification with error details
SELECT sync.tick(day(2, '02:00')), claim(day(2, '02:00'));
SELECT sync.fail_job(r.id, r.claim_token, '{"message": "connection refused by db.example", "code": "connect", "status": 503}', 'transient', NULL, day(2, '02:01')) FROM running('daily') r;
SELECT is(take(day(2, '02:01')), 0::bigint, 'AC 4: while it is retried, that is no failure');
SET LOCAL sync_engine.max_attempts = 2;
SELECT claim(day(2, '02:05'));
SELECT sync.fail_job(r.id, r.claim_token, '{"message": "connection refused by db.example", "code": "connect", "status": 503}', 'transient', NULL, day(2, '02:06')) FROM running('daily') r;
SELECT take(day(2, '02:06'));
SELECT results_eq($$SELECT p ->> 'type', p #>> '{data,error,message}', p #>> '{data,error,code}', (p #>> '{data,error,status}')::int, p #>> '{data,error,class}', (p #>> '{data,error,attempts}')::int,
                           p #>> '{data,incident,state}' FROM (SELECT (newest('me@example.com')).payload AS p) x$$,
    $$VALUES ('sync.failed', 'connection refused by db.example', 'connect', 503, 'transient', 2, 'opened')$$, 'AC 4: I receive a failure notification with error details');
SELECT is((SELECT j.status FROM sync.sync_jobs j WHERE j.id = ((newest('me@example.com')).payload #>> '{data,run,job_id}')::bigint), 'failed', 'AC 4: of the run that the history shows as failed');
SELECT alike((newest('me@example.com')).payload #>> '{data,title}', '%failed: connection refused by db.example', 'AC 4: in the subject');
RESET sync_engine.max_attempts;

-- Criterion 6: I can choose email, in-app, or webhook, and success, failure, or warnings
SELECT connection('six', '{}', at('07:00'));
SELECT in_app('s', '{success}', conn('six')), in_app('f', '{failure}', conn('six')), in_app('w', '{warning}', conn('six')), in_app('r', '{recovered}', conn('six')),
       in_app('all', '{success,failure,warning,recovered}', conn('six')), in_app('tenant', '{success,failure,warning,recovered}'),
       in_app('other', '{success,failure,warning,recovered}', conn('daily')), in_app('other tenant', '{success,failure,warning,recovered}', tenant => 'U');
SELECT succeeds('six', at('10:00'));
SELECT is(news(who, at('10:00')), wants, 'AC 6: of a success, ' || who) FROM (VALUES ('s', 'sync.succeeded'), ('f', ''), ('w', ''), ('r', ''), ('all', 'sync.succeeded'), ('tenant', 'sync.succeeded'),
    ('other', ''), ('other tenant', '')) v (who, wants);
SELECT fails('six', at('10:10'));
SELECT is(news(who, at('10:10')), wants, 'AC 6: of a failure, ' || who) FROM (VALUES ('s', ''), ('f', 'sync.failed'), ('w', ''), ('r', ''), ('all', 'sync.failed'), ('tenant', 'sync.failed'),
    ('other', ''), ('other tenant', '')) v (who, wants);
-- Consecutive failures tell nothing more
SELECT fails('six', at('10:20')), fails('six', at('10:21')), fails('six', at('10:22'));
SELECT is(news(who, at('10:22')), '', 'consecutive failures tell ' || who || ' nothing more') FROM unnest('{f,w,all,tenant}'::text[]) who;
SELECT results_eq($$SELECT count(*), max(occurrences), max(failed_runs), bool_and(resolved_at IS NULL) FROM sync.incidents WHERE connection_id = conn('six')$$,
    $$VALUES (1::bigint, 4::bigint, 4, true)$$, 'they are one incident, which counts them');
SELECT results_eq($$SELECT severity, told, opened_at, last_seen_at FROM incident('six', 'permanent')$$, $$VALUES ('failure', 'failure', at('10:10'), at('10:22'))$$, 'from its first sign to its last');
SELECT throws_ok($$INSERT INTO sync.incidents (tenant_id, provider_slug, connection_id, class, job_type, opened_at, last_seen_at) VALUES ('T', 'github', conn('six'), 'permanent', 'x', now(), now())$$,
    '23505', NULL, 'the database itself sees to it that there is one');
-- Another class is another incident
SELECT fails('six', at('10:30'), 'unauthorized');
SELECT is(news('all', at('10:30')), 'sync.failed', 'another class of error is another incident');
SELECT is((SELECT status FROM sync.connections WHERE id = conn('six')), 'error', 'unauthorized stops the connection');
SELECT alike((SELECT b.body FROM sync.inbox b WHERE b.user_id = 'all' ORDER BY b.id DESC LIMIT 1), '%credentials%', 'and what is told says so');
SELECT sync.resume(conn('six'));
SELECT is((SELECT count(*) FROM sync.incidents WHERE connection_id = conn('six') AND resolved_at IS NULL), 2::bigint, 'resuming alone mends nothing');
SELECT is(news('all', at('10:31')), '', 'and tells nothing');
-- Recovered
SELECT succeeds('six', at('10:40'), job_type => 'full');
SELECT is(news('all', at('10:40')), 'sync.succeeded', 'a success of another job type resolves nothing');
SELECT succeeds('six', at('10:50'));
SELECT is(news('all', at('10:50')), 'sync.recovered, sync.recovered, sync.succeeded', 'a success of the same type resolves both');
SELECT is(news('tenant', at('10:50')), 'sync.failed, sync.succeeded, sync.recovered, sync.recovered, sync.succeeded', 'and is told to whoever was told of them');
SELECT is(news('r', at('10:50')), '', 'who was not told of a failure is told of no recovery');
SELECT is(news('f', at('10:50')), 'sync.failed', 'nor who does not want it');
SELECT results_eq($$SELECT class, resolution, resolved_at, remind_at FROM sync.incidents WHERE connection_id = conn('six') ORDER BY class$$,
    $$VALUES ('permanent', 'recovered', at('10:50'), NULL::timestamptz), ('unauthorized', 'recovered', at('10:50'), NULL)$$, 'they are resolved');
SELECT is((SELECT b.data #>> '{incident,state}' || ' ' || (b.data #>> '{incident,resolved_at}') FROM sync.inbox b WHERE b.user_id = 'all' AND b.event_type = 'sync.recovered' LIMIT 1),
    'resolved 2026-03-01T10:50:00Z', 'as the message says');
SELECT fails('six', at('11:00'));
SELECT is(news('all', at('11:00')), 'sync.failed', 'the next failure is a new incident');
SELECT is((SELECT count(*) FROM sync.incidents WHERE connection_id = conn('six') AND class = 'permanent'), 2::bigint, 'beside the old one');
-- Who came later is not told of the end of what he was not told of
SELECT in_app('late comer', '{failure,recovered}', conn('six'));
SELECT succeeds('six', at('11:10'));
SELECT is(news('late comer', at('11:10')), '', 'who came after an incident began is not told that it ended');
SELECT is(news('all', at('11:10')), 'sync.recovered, sync.succeeded', 'who was there is');
-- Told and then switched off or without that event any more
SELECT fails('six', at('11:20')), news('all', at('11:20')), news('tenant', at('11:20'));
SELECT sync.update_notification(setting('all'), is_active => false), sync.update_notification(setting('tenant'), events => '{failure}');
SELECT succeeds('six', at('11:30'));
SELECT is(news(who, at('11:30')), '', who || ': what is not wanted any more is not told') FROM unnest('{all,tenant}'::text[]) who;

-- A warning after notify_after_failures, which escalates
SELECT connection('retry', '{}', at('07:00'));
SELECT in_app('rw', '{warning,recovered}', conn('retry')), in_app('rf', '{failure,recovered}', conn('retry')), in_app('rb', '{warning,failure,recovered}', conn('retry'));
SET LOCAL sync_engine.max_attempts = 5;
SELECT fails('retry', at('12:00'), 'transient'), fails('retry', at('12:05'), 'transient');
SELECT is(news('rb', at('12:05')), '', 'two failures that are retried are no event');
SELECT results_eq($$SELECT severity, told FROM incident('retry', 'transient')$$, $$VALUES (NULL::text, NULL::text)$$, 'but a first sign');
SELECT fails('retry', at('12:10'), 'transient');
SELECT is(news('rb', at('12:10')), 'sync.retrying (retrying)', 'the third is a warning');
SELECT is((SELECT b.data #>> '{error,retry_at}' FROM sync.inbox b WHERE b.user_id = 'rb' ORDER BY id DESC LIMIT 1), '2026-03-01T12:10:20Z', 'that says when it is tried again');
SELECT fails('retry', at('12:15'), 'transient');
SELECT is(news('rb', at('12:15')), '', 'the fourth is nothing new');
SELECT is(fails('retry', at('12:20'), 'transient'), 'failed', 'the fifth is final');
SELECT is(news('rb', at('12:20')), 'sync.failed', 'and told as a failure: the incident has become worse');
SELECT is(news('rf', at('12:20')), 'sync.failed', 'to who wants failures alone, too');
SELECT is(news('rw', at('12:20')), 'sync.retrying (retrying)', 'not to who wants warnings alone');
SELECT results_eq($$SELECT count(*), max(occurrences), max(failed_runs) FROM sync.incidents WHERE connection_id = conn('retry')$$, $$VALUES (1::bigint, 5::bigint, 1)$$, 'all of it is one incident');
SELECT fails('retry', at('12:30'), 'transient'), fails('retry', at('12:35'), 'transient'), fails('retry', at('12:40'), 'transient');
SELECT is(news('rb', at('12:40')), '', 'it becomes no warning again');
SELECT succeeds('retry', at('12:50'));
SELECT is(news(who, at('12:50')), 'sync.recovered', who || ' is told of the recovery once') FROM unnest('{rb,rf,rw}'::text[]) who;
-- Untold ones vanish
SELECT fails('retry', at('13:00'), 'transient');
SELECT is((SELECT count(*) FROM sync.incidents WHERE connection_id = conn('retry') AND resolved_at IS NULL), 1::bigint, 'a first sign');
SELECT succeeds('retry', at('13:05'));
SELECT is(news('rb', at('13:05')), '', 'that goes away is never told');
SELECT is((SELECT count(*) FROM sync.incidents WHERE connection_id = conn('retry')), 1::bigint, 'and leaves nothing behind');
SET LOCAL sync_engine.notify_after_failures = 1;
SELECT fails('retry', at('13:10'), 'transient');
SELECT is(news('rw', at('13:10')), 'sync.retrying (retrying)', 'notify_after_failures = 1 tells of the first');
SELECT succeeds('retry', at('13:20'));
SELECT is(news('rw', at('13:20')), 'sync.recovered', 'and of its end');
RESET sync_engine.notify_after_failures;
SET LOCAL sync_engine.max_attempts = 20;

-- Reminders at growing intervals
SELECT connection('lasts', '{}', at('07:00'));
SELECT in_app('m', '{failure,recovered}', conn('lasts'));
SELECT fails('lasts', day(0, '14:00'));
SELECT is(news('m', day(0, '14:00')), 'sync.failed', 'an incident is told when it opens');
SELECT is(news('m', day(0, '14:59')), '', 'nothing for an hour');
SELECT is(news('m', day(0, '15:00:01')), 'sync.failed (reminder)', 'a reminder then');
SELECT alike((SELECT title FROM sync.inbox WHERE user_id = 'm' ORDER BY id DESC LIMIT 1), 'Reminder: %', 'that says what it is');
SELECT is((SELECT data #>> '{incident,state}' FROM sync.inbox WHERE user_id = 'm' ORDER BY id DESC LIMIT 1), 'reminder', 'in its data, too');
SELECT fails('lasts', day(0, '15:30')), fails('lasts', day(0, '16:30'));
SELECT is(news('m', day(0, '17:59')), '', 'nothing for three hours, whatever fails');
SELECT is(news('m', day(0, '18:02')), 'sync.failed (reminder)', 'the second after three hours');
SELECT is(news('m', day(0, '18:10')), '', 'once');
SELECT is(news('m', day(1, '03:01')), '', 'nothing for nine hours');
SELECT is(news('m', day(1, '03:04')), 'sync.failed (reminder)', 'the third after nine hours');
SELECT is(news('m', day(2, '06:10')), 'sync.failed (reminder)', 'the fourth after 27 hours');
SELECT is(news('m', day(5, '15:00')), '', 'nothing for 81 hours');
SELECT is(news('m', day(5, '15:20')), 'sync.failed (reminder)', 'the fifth');
SELECT is(news('m', day(12, '15:00')), '', 'from then on, nothing for a week');
SELECT is(news('m', day(12, '15:30')), 'sync.failed (reminder)', 'and not for longer');
SELECT is(news('m', day(19, '15:20')), '', 'nothing for another week');
SELECT is(news('m', day(19, '15:40')), 'sync.failed (reminder)', 'and so on');
SELECT is((incident('lasts', 'permanent')).remind_at, day(26, '15:40'), 'a week each');
-- Muted while somebody has stopped it
SELECT sync.pause(conn('lasts'), 'we know');
SELECT is(news('m', day(26, '16:00')), '', 'no reminder of a connection that somebody has paused');
SELECT is(news('m', day(33, '16:10')), '', 'nor a week later');
SELECT sync.resume(conn('lasts'));
SELECT is(news('m', day(33, '16:20')), '', 'nor at once when it is resumed');
SELECT is(news('m', day(40, '16:30')), 'sync.failed (reminder)', 'but when its time comes');
SELECT sync.pause_provider('github', 'maintenance');
SELECT is(news('m', day(47, '16:40')), '', 'no reminder while its provider is paused');
SELECT sync.resume_provider('github');
SELECT is(news('m', day(54, '16:50')), 'sync.failed (reminder)', 'again afterwards');
UPDATE sync.connections SET status = 'revoked' WHERE id = conn('lasts');
SELECT is(news('m', day(61, '17:00')), '', 'none of a revoked connection');
UPDATE sync.connections SET status = 'error' WHERE id = conn('lasts');
SELECT is(news('m', day(68, '17:10')), 'sync.failed (reminder)', 'but of one in error, which waits for somebody');
SELECT sync.resume(conn('lasts')), succeeds('lasts', day(68, '18:00'));
SELECT is(news('m', day(68, '18:00')), 'sync.recovered', 'at last');
SELECT is(news('m', day(99, '18:00')), '', 'then silence');

-- Rate limits
SELECT connection('limited', '{}', at('07:00'));
SELECT in_app('l', '{warning,recovered}', conn('limited'));
SELECT fails('limited', at('10:00'), 'rate_limited', hint => 600);
SELECT is(news('l', at('10:00')), '', 'ten minutes of rate limiting are nothing');
SELECT fails('limited', at('10:10'), 'rate_limited', hint => 1200);
SELECT is(news('l', at('10:11')), '', 'nor is half an hour');
SELECT fails('limited', at('10:30'), 'rate_limited', hint => 1800);
SELECT is(news('l', at('10:31')), 'sync.rate_limited (rate_limited)', 'an hour, put together, is');
SELECT alike((SELECT title FROM sync.inbox WHERE user_id = 'l'), '%2026-03-01T11:00:00Z%', 'the message says until when');
SELECT fails('limited', at('11:00'), 'rate_limited', hint => 1800);
SELECT is(news('l', at('11:01')), '', 'once');
SELECT succeeds('limited', at('11:30'));
SELECT is(news('l', at('11:30')), 'sync.recovered', 'and over with a success');
SELECT fails('limited', at('12:00'), 'rate_limited', hint => 3600);
SELECT is(news('l', at('12:00')), 'sync.rate_limited (rate_limited)', 'an hour at once is told at once');
SELECT succeeds('limited', at('13:00'));
SELECT fails('limited', at('14:00') + n * interval '20 minutes', 'rate_limited', hint => 60) FROM generate_series(0, 2) n;
SELECT news('l', at('14:41'));
SELECT is((incident('limited', 'rate_limited')).severity, NULL, 'however often: short ones count for no warning before the hour is over');

-- No records
SELECT connection('silent', '{}', at('07:00')), connection('young', '{}', at('07:00')), connection('sparse', '{}', at('07:00'));
SELECT in_app('n', '{warning,recovered}', conn('silent')), in_app('y', '{warning,recovered}', conn('young')), in_app('p', '{warning,recovered}', conn('sparse'));
SELECT succeeds('silent', at('10:00') + n * interval '1 minute') FROM generate_series(1, 10) n;
SELECT succeeds('young', at('10:00') + n * interval '1 minute', (n < 4)::int) FROM generate_series(1, 30) n;
SELECT is(news('y', at('10:30')), '', 'who has hardly ever brought records is not known to be silent');
SELECT succeeds('sparse', at('10:00') + n * interval '1 minute', (n % 3 = 0)::int) FROM generate_series(1, 60) n;
SELECT is(news('p', at('11:00')), '', 'every third run with records: two without are as ever');
SELECT succeeds('silent', at('11:00'), 0), succeeds('silent', at('11:01'), 0);
SELECT is(news('n', at('11:01')), '', 'two empty runs after ten full ones may be');
SELECT succeeds('silent', at('11:02'), 0);
SELECT is(news('n', at('11:02')), 'sync.no_records (no_records)', 'three are odd');
SELECT alike((SELECT body FROM sync.inbox WHERE user_id = 'n' ORDER BY id DESC LIMIT 1), '3 runs in a row brought no record; before that, 10 of 10 did%', 'which the message explains');
SELECT succeeds('silent', at('11:03'), 0), succeeds('silent', at('11:04'), 0);
SELECT is(news('n', at('11:04')), '', 'once');
SELECT is((incident('silent', 'no_records')).resolved_at, NULL, 'a success without records is no recovery');
SELECT succeeds('silent', at('11:05'), 0, 'full');
SELECT succeeds('silent', at('11:06'), 5, 'full');
SELECT is(news('n', at('11:06')), '', 'nor are the records of another job type');
SELECT succeeds('silent', at('11:10'), 2);
SELECT is(news('n', at('11:10')), 'sync.recovered', 'records are');
SELECT succeeds('sparse', at('12:00') + n * interval '1 minute', 0) FROM generate_series(1, 16) n;
SELECT is(news('p', at('12:16')), '', 'sixteen empty ones of a sparse source are rare');
SELECT succeeds('sparse', at('12:17'), 0), succeeds('sparse', at('12:18'), 0);
SELECT is(news('p', at('12:18')), 'sync.no_records (no_records)', 'some more are odd');
-- What stats say counts, not the signals
SELECT connection('stats', '{}', at('07:00'));
SELECT in_app('t', '{warning}', conn('stats'));
SELECT succeeds('stats', at('10:00') + n * interval '1 minute') FROM generate_series(1, 10) n;
DO $$
BEGIN
    FOR n IN 1 .. 10 LOOP
        PERFORM begins('stats', at('11:00') + n * interval '1 minute');
        PERFORM sync.complete_job(r.id, r.claim_token, '[]', NULL, false, '{"records": 5}', at('11:00') + n * interval '1 minute') FROM running('stats') r;
    END LOOP;
END $$;
SELECT is(news('t', at('11:30')), '', 'a run that says it read records was not empty, though all were known');
-- A run whose last page is empty has brought something
SELECT connection('paged', '{}', at('07:00'));
SELECT in_app('g', '{success,warning}', conn('paged'));
CREATE FUNCTION pages(external text, as_of timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM begins(external, as_of), complete(external, as_of, '[{"kind": "row"}, {"kind": "row"}]', '{"p": 1}', true);
    PERFORM begins(external, as_of + interval '1 s'), complete(external, as_of + interval '1 s', '[{"kind": "row"}]', '{"p": 2}', true);
    PERFORM begins(external, as_of + interval '2 s'), complete(external, as_of + interval '2 s', '[]', '{"p": 3}', false);
END $$;
SELECT begins('paged', at('10:00')), complete('paged', at('10:00'), '[{"kind": "row"}]', '{"p": 1}', true);
SELECT is(news('g', at('10:00')), '', 'a page that is followed by another tells nothing');
SELECT begins('paged', at('10:01')), complete('paged', at('10:01'), '[{"kind": "row"}, {"kind": "row"}]', '{"p": 2}', true);
SELECT begins('paged', at('10:02')), complete('paged', at('10:02'), '[]', '{"p": 3}', false);
SELECT is(news('g', at('10:02')), 'sync.succeeded', 'the run tells its success once');
SELECT results_eq($$SELECT (data #>> '{counts,created}')::int, (data #>> '{counts,processed}')::int, (data #>> '{run,pages}')::int, data #>> '{run,started_at}', data #>> '{run,finished_at}'
                    FROM sync.inbox WHERE user_id = 'g'$$, $$VALUES (3, 3, 3, '2026-03-01T10:00:00Z', '2026-03-01T10:02:00Z')$$, 'with the counts of all its pages');
SELECT pages('paged', at('11:00') + n * interval '1 minute') FROM generate_series(1, 10) n;
SELECT is(news('g', at('11:30')), repeat('sync.succeeded, ', 9) || 'sync.succeeded', 'runs whose last page is empty are not empty');
SELECT pages('paged', day(1, '01:00'));
SELECT is((SELECT (data #>> '{counts,created}')::int FROM sync.inbox WHERE user_id = 'g' AND read_at IS NULL), NULL, 'not told yet');
SELECT news('g', day(1, '01:01'));
SELECT is((SELECT (data #>> '{counts,created}')::int FROM sync.inbox WHERE user_id = 'g' ORDER BY id DESC LIMIT 1), 3, 'the counts are those of its own pages, not of earlier runs');

-- Late
SELECT connection('queue', '{}', at('07:00')), connection('unwatched', '{}', at('07:00'));
SELECT in_app('q', '{warning,recovered,success}', conn('queue'));
SELECT job('queue', scheduled_at => at('15:00')), job('unwatched', scheduled_at => at('15:00'));
SELECT is(news('q', at('15:59')), '', 'a job that nobody has taken for 59 minutes is not late yet');
SELECT is(news('q', at('16:01')), 'sync.late (late)', 'after an hour it is');
SELECT is((SELECT count(*) FROM sync.incidents WHERE class = 'late'), 1::bigint, 'where nobody wants to hear of it nothing is opened');
SELECT is(news('q', at('16:10')), '', 'once');
SELECT claim(at('16:20'), 1000);
SELECT news('q', at('16:22'));
SELECT isnt((incident('queue', 'late')).resolved_at, NULL, 'it ends when the run begins');
SELECT complete('queue', at('16:25'));
SELECT is(news('q', at('16:25')), 'sync.succeeded', 'how the run ended is told apart');
SELECT complete('unwatched', at('16:25'));
SELECT job('queue', scheduled_at => at('17:00'));
SELECT sync.pause_provider('github', 'maintenance');
SELECT is(news('q', at('19:00')), '', 'what a paused provider keeps waiting is not late');
SELECT sync.resume_provider('github');
SELECT is(news('q', at('19:02')), 'sync.late (late)', 'what waits afterwards is');
SELECT sync.cancel_job((job_of('queue')).id, 'not wanted');
SELECT news('q', at('19:10'));
SELECT isnt((incident('queue', 'late')).resolved_at, NULL, 'a job that is cancelled is late no more');
SELECT job('queue', scheduled_at => at('20:00'));
SELECT news('q', at('21:01'));
SELECT fails('queue', at('21:01:30'), 'transient');
SELECT isnt((incident('queue', 'late')).resolved_at, NULL, 'a run that begins and fails is late no more, though it waits again');
SET LOCAL sync_engine.late_warning_seconds = 0;
SELECT is(news('q', day(1, '21:30')), '', 'late_warning_seconds = 0 tells nobody');
RESET sync_engine.late_warning_seconds;
DELETE FROM sync.connections WHERE external_id IN ('queue', 'unwatched');

-- Missed, from the ledger
SELECT connection('misses', '{}', at('07:00'));
SELECT sync.create_schedule(conn('misses'), 'hourly', 'hourly', catch_up => 'skip', as_of => at('09:30'));
SELECT in_app('x', '{warning,recovered}', conn('misses'));
SELECT sync.tick(at('10:00')), claim(at('10:00'), 1000), complete('misses', at('10:01'));
SELECT is(news('x', at('10:01')), '', 'nothing was missed');
SELECT sync.tick(at('14:30'));
SELECT is(news('x', at('14:30')), 'sync.missed (missed)', 'after an outage what was missed is told');
SELECT is((SELECT sum(planned_count) FROM sync.schedule_fires f WHERE f.connection_id = conn('misses') AND f.outcome = 'missed')::int,
          (SELECT (regexp_match(data #>> '{error,message}', '([0-9]+) planned run'))[1]::int FROM sync.inbox WHERE user_id = 'x' ORDER BY id DESC LIMIT 1), 'as many as the ledger has');
SELECT alike((SELECT data #>> '{error,message}' FROM sync.inbox WHERE user_id = 'x' ORDER BY id DESC LIMIT 1), '%hourly%2026-03-01T11:00:00Z%', 'with its schedule and its time');
SELECT sync.tick(at('15:00'));
SELECT claim(at('15:00'), 1000), complete('misses', at('15:01'));
SELECT is(news('x', at('15:01')), 'sync.recovered', 'the next run that succeeds ends it');

-- Auto-pause
SELECT connection('hopeless', '{}', at('07:00'));
SELECT in_app('h', '{failure}', conn('hopeless')), in_app('hw', '{warning,recovered}', conn('hopeless'));
SET LOCAL sync_engine.auto_pause_failures = 3;
SELECT fails('hopeless', at('10:00')), fails('hopeless', at('10:01'));
SELECT is((SELECT status FROM sync.connections WHERE id = conn('hopeless')), 'active', 'two of three final failures in a row');
SELECT succeeds('hopeless', at('10:02'));
SELECT fails('hopeless', at('10:03')), fails('hopeless', at('10:04'));
SELECT is((SELECT status FROM sync.connections WHERE id = conn('hopeless')), 'active', 'a success between them begins the count anew');
SELECT fails('hopeless', at('10:05'), 'transient');
SELECT is((SELECT status FROM sync.connections WHERE id = conn('hopeless')), 'active', 'a failure that is retried does not count');
SELECT succeeds('hopeless', at('10:06'));
SELECT news('h', at('10:06')), news('hw', at('10:06'));
SELECT fails('hopeless', at('10:10')), fails('hopeless', at('10:11'));
SELECT job('hopeless', 'full', 0, at('23:00'));
SELECT fails('hopeless', at('10:12'));
SELECT results_eq($$SELECT status, status_reason FROM sync.connections WHERE id = conn('hopeless')$$, $$VALUES ('paused', 'paused by the engine: 3 runs in a row failed')$$,
    'the third in a row pauses the connection, with the reason');
SELECT is(live('hopeless', 'full'), 0::bigint, 'as any pause does, it cancels what is queued');
SELECT is(news('h', at('10:12')), 'sync.failed, connection.auto_paused (auto_paused)', 'who wants failures is told of it');
SELECT is(news('hw', at('10:12')), 'connection.auto_paused (auto_paused)', 'and who wants warnings');
SELECT alike((SELECT detail FROM sync.explain(conn('hopeless'), at('10:20')) WHERE verdict <> 'ok' AND detail LIKE '%paused by the engine%' LIMIT 1), '%3 runs in a row failed%', 'explain says it');
SELECT ok(EXISTS (SELECT 1 FROM sync.audit_log WHERE object_id = conn('hopeless')::text AND after ->> 'status' = 'paused'), 'and the audit log');
SELECT is(news('h', at('11:13')), 'connection.auto_paused (reminder)', 'an hour later there is a reminder of the pause alone: the failures are not to be expected while it is paused');
SELECT sync.resume(conn('hopeless'));
SELECT is((incident('hopeless', 'auto_paused')).resolution, 'resumed', 'resuming ends that incident');
SELECT is(news('hw', at('11:20')), 'connection.auto_paused (reminder)', 'which is no recovery');
SELECT fails('hopeless', at('11:30')), fails('hopeless', at('11:31'));
SELECT is((SELECT status FROM sync.connections WHERE id = conn('hopeless')), 'active', 'counting begins anew after that');
SELECT fails('hopeless', at('11:32'));
SELECT is((SELECT status FROM sync.connections WHERE id = conn('hopeless')), 'paused', 'and ends as before');
SELECT is(news('hw', at('11:32')), 'connection.auto_paused (auto_paused)', 'which is told again');
SELECT sync.resume(conn('hopeless'));
SET LOCAL sync_engine.auto_pause_failures = 0;
SELECT fails('hopeless', at('12:00') + n * interval '1 minute') FROM generate_series(1, 5) n;
SELECT is((SELECT status FROM sync.connections WHERE id = conn('hopeless')), 'active', '0 never pauses');
-- Of several classes together
SELECT connection('mixed', '{}', at('07:00'));
SET LOCAL sync_engine.auto_pause_failures = 3;
SET LOCAL sync_engine.max_attempts = 1;
SELECT fails('mixed', at('10:00')), fails('mixed', at('10:01'), 'transient'), fails('mixed', at('10:02'));
SELECT is((SELECT status FROM sync.connections WHERE id = conn('mixed')), 'paused', 'failures in a row count whatever their class');
RESET sync_engine.max_attempts;
RESET sync_engine.auto_pause_failures;

-- Bad results
SELECT connection('bad', '{}', at('07:00')), connection('good', '{}', at('07:00'));
SELECT in_app('b', '{failure,success}', conn('bad')), in_app('o', '{failure,success}', conn('good'));
SELECT begins('bad', at('10:00')), begins('good', at('10:00'));
SELECT results_eq($$SELECT outcome FROM sync.complete_jobs((SELECT jsonb_agg(jsonb_build_object('job_id', r.id, 'claim_token', r.claim_token, 'signals', s) ORDER BY r.connection_id)
    FROM (VALUES ('bad', '[{"kind": 5}]'::jsonb), ('good', '[{"kind": "row"}]')) v (x, s) CROSS JOIN LATERAL running(x) r), at('10:01'))$$,
    $$VALUES ('rejected'), ('completed')$$, 'one job''s bad data');
SELECT is(news('b', at('10:01')), 'sync.failed', 'is that job''s permanent failure');
SELECT is((SELECT data #>> '{error,class}' FROM sync.inbox WHERE user_id = 'b'), 'permanent', 'of that class');
SELECT is(news('o', at('10:01')), 'sync.succeeded', 'and nobody else''s');
-- has_more without a cursor
SELECT begins('bad', at('10:10'));
SELECT complete('bad', at('10:10'), '[]', NULL, true);
SELECT is((incident('bad', 'permanent')).occurrences, 2::bigint, 'a run that would not end counts as well');

-- A run of many at once that succeed without anything: the short way of completion
SELECT connection('bare' || n, '{}', at('07:00')) FROM generate_series(1, 3) n;
SELECT in_app('bare', '{success,recovered,failure}', conn('bare2'));
SELECT fails('bare2', at('10:00'));
SELECT begins('bare' || n, at('10:10')) FROM generate_series(1, 3) n;
SELECT sync.complete_jobs((SELECT jsonb_agg(jsonb_build_object('job_id', r.id, 'claim_token', r.claim_token)) FROM generate_series(1, 3) n CROSS JOIN LATERAL running('bare' || n) r), at('10:11'));
SELECT is(news('bare', at('10:11')), 'sync.failed, sync.recovered, sync.succeeded', 'ends without signals tell as others do');

-- Cancelled
SELECT connection('stopped', '{}', at('07:00'));
SELECT in_app('c', '{success,failure,warning,recovered}', conn('stopped'));
SELECT job('stopped', scheduled_at => at('10:00'));
SELECT sync.cancel_job((job_of('stopped')).id, 'no');
SELECT begins('stopped', at('10:10'));
SELECT sync.cancel_job((running('stopped')).id, 'no');
SELECT is((job_of('stopped')).status, 'cancelled', 'a running job is cancelled');
SELECT begins('stopped', at('10:20'));
SELECT sync.pause(conn('stopped'), 'stop');
SELECT is(fail('stopped', at('10:21')), 'cancelled', 'a run that fails while its connection is paused ends cancelled');
SELECT sync.resume(conn('stopped'));
SELECT is(news('c', at('10:30')), '', 'cancelled runs tell nothing');

-- Odd errors and odd clocks
SELECT connection('odd', '{}', at('07:00'));
SELECT in_app('od', '{success,failure,warning}', conn('odd'));
SELECT job('odd', scheduled_at => at('10:00')), claim(at('10:05'));
SELECT lives_ok($$SELECT complete('odd', at('10:00'))$$, 'a run that ends before it began, by the clock');
SELECT is(news('od', at('10:06')), 'sync.succeeded', 'is told');
SELECT succeeds('odd', at('10:10')), succeeds('odd', at('10:10'));
SELECT is(news('od', at('10:10')), 'sync.succeeded, sync.succeeded', 'two runs at one instant are two');
CREATE FUNCTION fails_with(error jsonb, as_of timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM succeeds('odd', as_of), begins('odd', as_of);
    PERFORM sync.fail_job(r.id, r.claim_token, fails_with.error, 'permanent', NULL, fails_with.as_of) FROM running('odd') r;
    RETURN news('od', as_of);
END $$;
SELECT is(fails_with(e::jsonb, at('10:20') + n * interval '1 minute'), 'sync.succeeded, sync.failed', 'an error that is ' || left(e, 40))
FROM unnest(ARRAY['"a string"', '[1, 2, {"message": "x"}]', '{"message": {"a": [1]}, "code": 5, "status": "x"}', '{}', '{"message": ""}', '{"message": "\r\n\u0001\u2028"}', '{"status": 1e400}', '5', 'true']) WITH ORDINALITY u (e, n);
SELECT is_empty($$SELECT title FROM sync.inbox WHERE user_id = 'od' AND (title ~ '[\r\n]' OR title = '' OR length(title) > 200)$$, 'each has a title of one line');

-- Rolled back
SAVEPOINT before;
SELECT fails('stopped', at('10:40'));
SELECT isnt((SELECT count(*) FROM sync.outbox), 0::bigint, 'an event is written with what it tells of');
ROLLBACK TO before;
SELECT is((SELECT count(*) FROM sync.outbox) + (SELECT count(*) FROM sync.incidents WHERE connection_id = conn('stopped')), 0::bigint, 'and gone with it');

-- Repeats and stale tokens
SELECT begins('stopped', at('10:50'));
CREATE TEMP TABLE ended AS SELECT id, claim_token FROM running('stopped');
SELECT sync.fail_job(id, claim_token, '"x"', 'permanent', as_of => at('10:51')) FROM ended;
SELECT sync.fail_job(id, claim_token, '"x"', 'permanent', as_of => at('10:52')) FROM ended;
SELECT is(news('c', at('10:52')), 'sync.failed', 'a failure that is sent twice is told once');
SELECT is((incident('stopped', 'permanent')).occurrences, 1::bigint, 'and counted once');
SELECT sync.fail_job(id, gen_random_uuid(), '"x"', 'permanent', as_of => at('10:53')) FROM ended;
SELECT is(news('c', at('10:53')) || (incident('stopped', 'permanent')).occurrences, '1', 'a stale token tells nothing');
-- Lost by its executor
SET LOCAL sync_engine.lease_seconds = 60;
SET LOCAL sync_engine.notify_after_failures = 1;
SELECT begins('stopped', at('11:00'));
SELECT sync.tick(at('11:30'));
SELECT is(news('c', at('11:30')), 'sync.retrying (retrying)', 'a run whose executor died is a failed attempt');
SELECT is((incident('stopped', 'lost')).severity, 'warning', 'of a class of its own');
-- Without any setting
DELETE FROM sync.sync_notifications;
SELECT connection('quiet', '{}', at('07:00'));
SELECT fails('quiet', at('12:00'));
SELECT is((incident('quiet', 'permanent')).severity, 'failure', 'where nobody wants to be told there are incidents all the same');
SELECT is((SELECT count(*) FROM sync.outbox), 0::bigint, 'but no event');
SELECT succeeds('quiet', at('12:01'));
SELECT isnt((incident('quiet', 'permanent')).resolved_at, NULL, 'that end');
SELECT sync.tick(at('12:02'));
DELETE FROM sync.connections;
SELECT is((SELECT count(*) FROM sync.incidents) + (SELECT count(*) FROM sync.record_history), 0::bigint, 'and go with their connections');

SELECT finish();
ROLLBACK;
