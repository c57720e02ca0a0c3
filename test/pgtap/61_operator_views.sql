-- The views of an operator's five questions: what runs now, what is late, what failed, what comes, who is held back. They read the
-- clock, so what they show is set relative to it.
\ir include/setup.psql
SELECT plan(42);
SELECT fix_jitter();
SET LOCAL sync_engine.backoff_jitter_factor = 0;
SELECT housekeep(now());
CREATE FUNCTION ago(length interval) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT now() - length $$;
-- Ends the running job of a connection as having failed that long ago.
CREATE FUNCTION fail_now(external text, kind text DEFAULT 'transient', hint numeric DEFAULT NULL, message text DEFAULT 'boom') RETURNS text LANGUAGE sql
AS $$ SELECT sync.fail_job(r.id, r.claim_token, jsonb_build_object('message', message), kind, hint) FROM running(external) r $$;

-- What runs now
SELECT is_empty('SELECT * FROM sync.running_now', 'running_now: nothing');
SELECT connection('r', NULL, ago('1 hour')), job('r', scheduled_at => ago('10 minutes'), cursor => '{"secret": "cursor"}');
UPDATE sync.connections SET name = 'The one';
SELECT sync.register_executor('host', 1, '{}', ago('5 minutes'));
SELECT claim(ago('4 minutes'), 1, 'host');
SELECT sync.heartbeat('host', ARRAY[(running('r')).id], ago('20 seconds'));
SELECT row_eq($$SELECT tenant_id, provider_slug, external_id, name, job_type, page, attempt, running_for, executor, heartbeat_age FROM sync.running_now$$,
    ROW('T'::text, 'github'::text, 'r'::text, 'The one'::text, 'incremental'::text, 1, 1, interval '4 minutes', 'host'::text, interval '20 seconds'), 'running_now: what it tells');
SELECT is((SELECT job_id FROM sync.running_now), (running('r')).id, 'running_now: the job');
SELECT is_empty('SELECT * FROM sync.late', 'late: not what runs');
SELECT is_empty('SELECT * FROM sync.upcoming', 'upcoming: nor that');

-- What is late
SELECT job('r', 'full', scheduled_at => ago('3 minutes'));
SELECT row_eq($$SELECT external_id, job_type, late_by, waits_for = 'job ' || (running('r')).id || ' of the same connection' FROM sync.late$$,
    ROW('r'::text, 'full'::text, interval '3 minutes', true), 'late: behind another job of its connection');
SELECT complete('r', now());
SELECT is((SELECT waits_for FROM sync.late), 'an executor', 'late: nobody claims it');
SELECT sync.pause_provider('github');
SELECT is_empty('SELECT * FROM sync.late', 'late: not what is paused on purpose');
SELECT sync.resume_provider('github');
UPDATE ONLY sync.sync_jobs SET scheduled_at = ago('59 seconds') WHERE job_type = 'full' AND status = 'queued';
SELECT is_empty('SELECT * FROM sync.late', 'late: a minute''s grace');
DELETE FROM sync.connections;
SELECT connection('t', jsonb_build_object('next_run_at', sync._format_utc(date_trunc('second', ago('10 minutes')))), ago('25 minutes'));
SELECT row_eq($$SELECT external_id, job_id, job_type, date_trunc('minute', late_by), waits_for FROM sync.late$$,
    ROW('t'::text, NULL::bigint, 'incremental'::text, interval '10 minutes', 'a tick'::text), 'late: no tick has seen to it');
DELETE FROM sync.connections;
SELECT connection('new');
SELECT is_empty('SELECT * FROM sync.late', 'late: not a new connection, before the first tick');
UPDATE sync.connections SET updated_at = ago('2 minutes');
SELECT is((SELECT late_by FROM sync.late), interval '2 minutes', 'late: a new connection that no tick looks at');
UPDATE sync.connections SET status = 'paused';
SELECT is_empty('SELECT * FROM sync.late', 'late: nothing of a paused connection');
DELETE FROM sync.connections;

-- What failed
SELECT is_empty('SELECT * FROM sync.failed_lately', 'failed_lately: nothing');
SELECT connection(x, NULL, ago('1 hour')), job(x, scheduled_at => ago('10 minutes')) FROM unnest('{again,gone,healed,locked}'::text[]) x;
SELECT claim(now()), fail_now('again', 'transient', NULL, 'first'), fail_now('gone', 'permanent'), fail_now('healed'), fail_now('locked', 'unauthorized');
SELECT claim(now() + interval '1 minute'), fail_now('again', 'transient', NULL, 'second'), complete('healed', now() + interval '1 minute');
SELECT set_eq('SELECT external_id, outcome, failures FROM sync.failed_lately',
    $$VALUES ('again', 'retrying', 2::bigint), ('gone', 'given up', 1), ('healed', 'recovered', 1), ('locked', 'connection error', 1)$$,
    'failed_lately: a row for each connection, and what became of it');
SELECT row_eq($$SELECT tenant_id, provider_slug, job_type, first_failed_at, last_failed_at, last_job_id, last_error_kind, last_error FROM sync.failed_lately WHERE external_id = 'again'$$,
    ROW('T'::text, 'github'::text, 'incremental'::text, now(), now(), (job_of('again')).id, 'transient'::text, 'second'::text), 'failed_lately: the last error');
SELECT sync.register_executor('late', 1, '{}', ago('25 hours'));
SELECT connection('yesterday', NULL, ago('27 hours')), job('yesterday', scheduled_at => ago('26 hours'));
SELECT claim(ago('25 hours'), 1, 'late'), fail('yesterday', ago('25 hours'));
SELECT is_empty($$SELECT * FROM sync.failed_lately WHERE external_id = 'yesterday'$$, 'failed_lately: of 24 hours');
SELECT sync._make_partition('sync_executions', (now() - interval '10 days')::date);
DO $$
DECLARE
    line text;
    plan text := '';
BEGIN
    SET LOCAL enable_seqscan = off;
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM sync.failed_lately' LOOP
        plan := plan || line || E'\n';
    END LOOP;
    SET LOCAL enable_seqscan = on;
    CREATE TEMP TABLE pruned AS SELECT plan;
END
$$;
SELECT unalike((SELECT plan FROM pruned), '%sync_executions_' || to_char(now() AT TIME ZONE 'UTC' - interval '10 days', 'YYYYMMDD') || '%', 'failed_lately: reads no older day');
SELECT alike((SELECT plan FROM pruned), '%' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '_failed%', 'failed_lately: reads what failed, by its index');
DELETE FROM sync.connections;

-- What comes
SELECT is_empty('SELECT * FROM sync.upcoming', 'upcoming: nothing');
SELECT connection('soon', jsonb_build_object('interval_seconds', 3600, 'next_run_at', sync._format_utc(date_trunc('second', now() + interval '30 minutes'))), ago('30 minutes')),
       connection('tomorrow', jsonb_build_object('next_run_at', sync._format_utc(now() + interval '25 hours')), now()),
       connection('new'), connection('queued', NULL, ago('15 minutes')), connection('failed', NULL, ago('20 minutes')), connection('off', NULL, ago('1 hour'), status => 'paused'),
       connection('held', NULL, ago('1 hour'), slug => 'held');
SELECT job('failed', scheduled_at => ago('1 minute')), claim(now()), fail_now('failed', 'transient', 600), job('queued', scheduled_at => now() + interval '20 seconds'),
       job('queued', 'full', scheduled_at => now() + interval '2 hours');
SELECT sync.pause_provider('held');
SELECT results_eq($$SELECT external_id, job_type, source, repeats, runs_at >= now() AND runs_at <= now() + interval '2 hours', job_id IS NOT NULL FROM sync.upcoming ORDER BY runs_at$$,
    $$VALUES ('new', 'incremental', 'interval', 'every 900 s', true, false), ('queued', 'incremental', 'queue', 'every 900 s', true, true),
             ('failed', 'incremental', 'retry', 'every 900 s', true, true), ('soon', 'incremental', 'interval', 'every 3600 s', true, false), ('queued', 'full', 'queue', NULL, true, true)$$,
    'upcoming: the next run of each, from where it comes and how it repeats; nothing that is paused or later than 24 hours');
SELECT is((SELECT runs_at FROM sync.upcoming WHERE external_id = 'new'), now(), 'upcoming: what is due begins now');
SELECT is((SELECT runs_at FROM sync.upcoming WHERE external_id = 'soon'), date_trunc('second', now() + interval '30 minutes'), 'upcoming: when');
SELECT sync.resume_provider('held');
DELETE FROM sync.connections;

-- Schedules: what they plan, and what nobody has seen to
SELECT sync.create_schedule(connection('planned'), 'once a day', 'daily', at => (now() AT TIME ZONE 'UTC' + interval '5 minutes')::time(0), as_of => ago('1 second'));
SELECT row_eq($$SELECT external_id, source, job_type, runs_at > now() AND runs_at <= now() + interval '6 minutes', repeats ~ '^schedule \d+, once a day$' FROM sync.upcoming$$,
    ROW('planned'::text, 'schedule'::text, 'incremental'::text, true, true), 'upcoming: what a schedule plans');
UPDATE sync.schedule_state SET look_at = ago('5 minutes'), next_planned_at = ago('5 minutes');
SELECT row_eq($$SELECT external_id, late_by, waits_for ~ '^a tick, for schedule \d+$' FROM sync.late$$, ROW('planned'::text, interval '5 minutes', true), 'late: a schedule that no tick has seen to');
UPDATE sync.sync_schedules SET is_active = false;
SELECT is_empty('SELECT external_id FROM sync.upcoming UNION ALL SELECT external_id FROM sync.late', 'nothing of a schedule that is paused');
DELETE FROM sync.connections;

-- Who is held back
SELECT is_empty('SELECT * FROM sync.throttled', 'throttled: nobody');
SELECT connection(x, NULL, ago('1 hour')), job(x, scheduled_at => ago('10 minutes')) FROM unnest('{limited,flaky,over}'::text[]) x;
SELECT claim(now()), fail_now('limited', 'rate_limited', 300, 'status 429'), fail_now('flaky', 'transient', 300), fail('over', ago('1 minute'), 'rate_limited', 50);
SELECT row_eq('SELECT scope, provider_slug, tenant_id, external_id, job_id, attempts, until, reason FROM sync.throttled',
    ROW('connection'::text, 'github'::text, 'T'::text, 'limited'::text, (job_of('limited')).id, 1, now() + interval '5 minutes', 'rate limited: status 429'::text),
    'throttled: a connection that was told to slow down, not one that failed, nor when the time is over');
SELECT results_eq($$SELECT external_id, held_until FROM sync.connection_status WHERE external_id IN ('limited', 'flaky', 'over') ORDER BY 1$$,
    $$VALUES ('flaky', NULL), ('limited', now() + interval '5 minutes'), ('over', NULL)$$, 'the status tells until when');
SELECT sync.pause_provider('held', 'incident');
SELECT row_eq($$SELECT scope, provider_slug, connection_id, until, reason FROM sync.throttled WHERE scope = 'provider'$$,
    ROW('provider'::text, 'held'::text, NULL::bigint, NULL::timestamptz, 'paused: incident'::text), 'throttled: a paused provider');
SELECT is((SELECT count(*) FROM sync.throttled), 2::bigint, 'throttled: both');

-- Nothing secret, and for whom
SELECT is_empty($$SELECT a.attrelid::regclass, a.attname FROM pg_attribute a
                  WHERE a.attrelid IN ('sync.running_now'::regclass, 'sync.late'::regclass, 'sync.failed_lately'::regclass, 'sync.upcoming'::regclass, 'sync.throttled'::regclass)
                    AND (a.attname IN ('config', 'cursor', 'next_cursor', 'input', 'metadata', 'claim_token') OR a.atttypid IN ('jsonb'::regtype, 'uuid'::regtype))$$,
    'no configuration, cursor or token in any of the views');
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;
SET LOCAL ROLE sync_viewer;
SELECT lives_ok('SELECT * FROM sync.' || v, 'sync_viewer reads ' || v) FROM unnest('{running_now,late,failed_lately,upcoming,throttled}'::text[]) v;
RESET ROLE;
SET LOCAL ROLE sync_executor;
SELECT throws_ok('SELECT * FROM sync.' || v, '42501', NULL, 'sync_executor does not read ' || v) FROM unnest('{running_now,late,failed_lately,upcoming,throttled}'::text[]) v;
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
