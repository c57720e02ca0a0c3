-- sync.health(): each verdict is brought about and seen. What takes other sessions, a worker or a standby is in the TAP tests.
\ir include/setup.psql
SELECT plan(75);
SELECT fix_jitter();
SET LOCAL sync_engine.backoff_jitter_factor = 0;
-- The dated tables of the day on which this plays, with what housekeeping makes ahead.
SELECT housekeep(at('10:00'));
CREATE FUNCTION verdict(wanted text, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT verdict FROM sync.health(as_of) WHERE check_name = wanted
$$;
CREATE FUNCTION told(wanted text, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT verdict || ': ' || detail || COALESCE(' -> ' || remedy, '') FROM sync.health(as_of) WHERE check_name = wanted
$$;

-- All of it
SELECT provider('github');
SELECT sync.tick(at('10:00'));
SELECT results_eq('SELECT check_name FROM sync.health(at(''10:00''))', ARRAY['engine', 'worker', 'last tick', 'backlog', 'stalled connections', 'schedules', 'due jobs',
    'executors', 'leases', 'failing connections', 'rate limits', 'providers', 'notifications', 'partitions', 'bloat', 'vacuum horizon'], 'a row for each part, in this order');
SELECT is_empty($$SELECT * FROM sync.health(at('10:00')) WHERE verdict NOT IN ('ok', 'info', 'warning', 'critical') OR detail IS NULL$$, 'each with a verdict and what was found');
SELECT is_empty($$SELECT * FROM sync.health(at('10:00')) WHERE (verdict IN ('warning', 'critical')) AND remedy IS NULL OR verdict = 'ok' AND remedy IS NOT NULL$$,
    'a remedy where something is wrong, none where nothing is');
SELECT throws_ok($$SELECT * FROM sync.health('infinity')$$, '22023', NULL, 'as_of has to be a time');

-- The engine
SELECT matches(told('engine', at('10:00')), '^ok: version \d+\.\d+\.\d+, enabled$', 'engine: ok');
SET LOCAL sync_engine.enabled = off;
SELECT matches(told('engine', at('10:00')), '^warning: .*enabled is off.* -> ALTER SYSTEM SET sync_engine.enabled = on; SELECT pg_reload_conf\(\);$', 'engine: off');
SELECT is(verdict('last tick', at('23:00')), 'info', 'last tick: of no interest while the engine is off');
SET LOCAL sync_engine.enabled = on;
UPDATE sync.database_identity SET system_identifier = system_identifier + 1;
SELECT matches(told('engine', at('10:00')), '^critical: .*restored.* -> SELECT sync.adopt_database\(\);$', 'engine: a copy');
SELECT sync.adopt_database();

-- The worker: there is none here
SET LOCAL sync_engine.background_ticks = off;
SELECT matches(told('worker', at('10:00')), CASE WHEN sync._preloaded() THEN '^info: .*background_ticks is off.* -> .* = on;' ELSE '^info: .*shared_preload_libraries' END,
    'worker: does not tick, but somebody does');
SELECT is(verdict('worker', at('11:00')), 'critical', 'worker: does not tick, and nobody does');
SET LOCAL sync_engine.background_ticks = on;
SELECT matches(told('worker', at('10:00')), CASE WHEN sync._preloaded() THEN '^critical: no worker process in this database, launcher running -> .*max_worker_processes' ELSE 'shared_preload' END,
    'worker: no process');

-- The last tick
SELECT is(told('last tick', at('10:01')), 'ok: 60 s ago, expected each 60 s', 'last tick: as it should be');
SELECT is(verdict('last tick', at('10:03')), 'ok', 'last tick: three intervals are no chance yet');
SELECT matches(told('last tick', at('10:04')), '^warning: 4 min ago, expected each 60 s -> SELECT \* FROM sync.tick_batch\(\);', 'last tick: more than three intervals ago');
SELECT is(verdict('last tick', at('10:11')), 'critical', 'last tick: more than ten intervals ago');
SELECT matches(told('last tick', at('09:50')), '^warning: the last tick was 10 min ahead', 'last tick: the clock went back');
UPDATE sync.engine_clock SET last_tick_at = NULL;
SELECT matches(told('last tick', at('10:00')), '^warning: no tick yet', 'last tick: none');
SELECT sync.tick(at('10:00'));

-- Connections that wait for a tick
SELECT is(told('backlog', at('10:00')), 'ok: no connection waits for a tick', 'backlog: none');
SELECT connection('b' || n, '{"next_run_at": "2026-03-01T10:05:00Z"}', at('09:50')) FROM generate_series(1, 3) n;
SELECT is(told('backlog', at('10:06')), 'ok: 3 connections due without a job, the first since 60 s', 'backlog: the next tick will see to it');
SELECT matches(told('backlog', at('10:09')), '^warning: 3 connections .* since 4 min -> see worker.*tick_batch_size = 2000', 'backlog: for more than three intervals');
SELECT is(verdict('backlog', at('10:21')), 'critical', 'backlog: for more than a whole interval of connections');
SELECT is(verdict('stalled connections', at('10:35')), 'ok', 'stalled: late by two intervals is not yet');
SELECT matches(told('stalled connections', at('10:35:01')), '^warning: 3 connections late by more than two intervals without a job, such as \d+ -> SELECT \* FROM sync.explain\(\d+\);', 'stalled: late by more');
SELECT connection('slow', '{"interval_seconds": 7200, "next_run_at": "2026-03-01T10:05:00Z"}', at('09:50'));
SELECT matches(told('stalled connections', at('12:00')), '^warning: 3 connections', 'stalled: each by its own interval');
SELECT connection('many' || n, '{"next_run_at": "2026-03-01T10:05:00Z"}', at('09:50')) FROM generate_series(1, 7) n;
SELECT is(verdict('stalled connections', at('12:00')), 'critical', 'stalled: ten, more than a tenth of all');
SELECT sync.pause_provider('github');
SELECT is(verdict('stalled connections', at('12:00')), 'ok', 'stalled: not those of a paused provider');
SELECT sync.resume_provider('github');
DELETE FROM sync.connections;
SELECT connection('new');
SELECT is(told('backlog', at('12:00')), 'ok: 1 connection due without a job', 'backlog: a new connection has no due time to be late by');
UPDATE sync.connections SET updated_at = at('09:00');
SELECT is(verdict('stalled connections', at('12:00')), 'warning', 'stalled: a new connection that no tick has looked at');
SELECT sync.tick(at('12:00'));
SELECT is(verdict('stalled connections', at('12:00')), 'ok', 'stalled: no more after the tick');
DELETE FROM sync.connections;

-- Schedules
SELECT is(told('schedules', at('10:00')), 'ok: none is late', 'schedules: none is late');
SELECT sync.create_schedule(connection('s', NULL, at('09:45')), 'each hour', 'custom', cron_expression => '0 * * * *', as_of => at('10:10'));
SELECT is(verdict('schedules', at('11:03')), 'ok', 'schedules: the next tick sees to it');
SELECT matches(told('schedules', at('11:04')), '^warning: 1 schedule late, the first for 4 min, such as \d+ -> SELECT \* FROM sync.explain_schedule\(\d+\);', 'schedules: late by more than three ticks');
SELECT is(verdict('schedules', at('11:16')), 'critical', 'schedules: late by a quarter of an hour');
SELECT sync.tick(at('11:16'));
SELECT is(verdict('schedules', at('11:20')), 'ok', 'schedules: seen to');
DELETE FROM sync.connections;

-- Due jobs and executors
SELECT is(told('due jobs', at('10:00')), 'ok: no job is due and unclaimed', 'due jobs: none');
SELECT is(told('executors', at('10:00')), 'warning: no executor has ever registered, or none for a week -> start sync-executor', 'executors: none');
SELECT connection(x, NULL, at('09:45')) FROM unnest('{j1,j2}'::text[]) x;
SELECT job(x, 'full', scheduled_at => at('10:00')) FROM unnest('{j1,j2}'::text[]) x;
SELECT is(told('due jobs', at('10:04')), 'ok: 2 jobs due and unclaimed, the oldest since 4 min', 'due jobs: not for long');
SELECT matches(told('due jobs', at('10:06')), '^warning: 2 jobs .* since 6 min -> start sync-executor$', 'due jobs: for more than five minutes, without an executor');
SELECT is(verdict('executors', at('10:06')), 'critical', 'executors: none, and work for them');
SELECT sync.register_executor('host', 1, '{}', at('10:06'));
SELECT matches(told('due jobs', at('10:06:30')), '^warning: .* -> start more executors', 'due jobs: the executor cannot keep up');
SELECT is(told('executors', at('10:06:30')), 'ok: 1 executor heard of within the lease of 60 s: host', 'executors: one');
SELECT is(verdict('due jobs', at('10:16')), 'critical', 'due jobs: for more than a whole interval of connections');
SELECT matches(told('executors', at('10:08')), '^critical: no executor was heard of within the lease of 60 s, the last one 2 min ago -> start', 'executors: silent, and work for them');
SELECT is(told('leases', at('10:08')), 'ok: no job runs', 'leases: none');
SELECT sync.pause_provider('github');
SELECT is(verdict('due jobs', at('10:16')), 'ok', 'due jobs: not those of a paused provider');
SELECT sync.resume_provider('github');

-- Leases
SELECT is(claim(at('10:10'), 1, 'host'), 1::bigint, 'a job is claimed');
SELECT job(c.external_id, 'other', scheduled_at => at('09:00')) FROM sync.connections c JOIN sync.connection_state s ON s.connection_id = c.id WHERE s.running_job_id IS NOT NULL;
UPDATE sync.sync_jobs SET scheduled_at = at('10:10') WHERE job_type = 'full' AND status = 'queued';
SELECT is(told('due jobs', at('10:11')), 'ok: 2 jobs due and unclaimed, the oldest since 60 s', 'due jobs: one that waits for another of its connection makes nobody late');
SELECT sync.heartbeat('host', '{}', at('10:10'));
SELECT is(told('leases', at('10:10:59')), 'ok: 1 job running on 1 executor', 'leases: one that holds');
SELECT matches(told('leases', at('10:12')), '^warning: 1 job running on 1 executor; the lease of 1 of them is over, the first for 60 s \(host#.*\) -> the next tick', 'leases: one is over');
SELECT is(verdict('leases', at('10:22')), 'critical', 'leases: over for long, so no tick takes it back');
SELECT matches(told('stalled connections', at('10:22')), '^warning: 1 connection with a job that runs without heartbeat', 'stalled: a job without heartbeat');
UPDATE sync.executors SET heartbeat_at = at('12:00');
SELECT matches(told('leases', at('12:00')), '^warning: .*; 1 of them run longer than max_run_seconds', 'leases: a job that runs for too long');
DELETE FROM sync.connections;
SELECT is(verdict('executors', at('13:00')), 'warning', 'executors: silent, without work for them');

-- Failures
SELECT is(told('failing connections', at('10:00')), 'ok: none in error, none that failed three times in a row', 'failing: none');
SELECT connection('f', NULL, at('09:45')), job('f', scheduled_at => at('10:00'));
SELECT claim(at('10:00')), fail('f', at('10:00'));
SELECT claim(at('10:01')), fail('f', at('10:01'));
SELECT is(verdict('failing connections', at('10:01')), 'ok', 'failing: twice can happen');
SELECT claim(at('10:02')), fail('f', at('10:02'));
SELECT matches(told('failing connections', at('10:02')), '^warning: 1 connection failed three times in a row or more \(github 1\) -> SELECT \* FROM sync.failed_lately .*SELECT \* FROM sync.explain\(\d+\);$', 'failing: three times in a row');
SELECT claim(at('10:03')), complete('f', at('10:03'));
SELECT is(verdict('failing connections', at('10:03')), 'ok', 'failing: recovered');
SELECT job('f', scheduled_at => at('10:04'));
SELECT claim(at('10:04')), fail('f', at('10:04'), 'unauthorized');
SELECT matches(told('failing connections', at('10:04')), '^warning: 1 connection in error \(github 1\) -> .*SELECT sync.resume\(\d+\);$', 'failing: credentials are refused');
SELECT connection('e' || n, status => 'error') FROM generate_series(1, 9) n;
SELECT is(verdict('failing connections', at('10:04')), 'critical', 'failing: ten, more than a tenth of all');
DELETE FROM sync.connections;

-- Held back
SELECT connection('r', NULL, at('09:45')), job('r', scheduled_at => at('10:00'));
SELECT is(told('rate limits', at('10:00')), 'ok: no connection is told to slow down', 'rate limits: none');
SELECT claim(at('10:00')), fail('r', at('10:00'), 'rate_limited', 300);
SELECT matches(told('rate limits', at('10:01')), '^info: 1 connection told to slow down \(github 1\), until 2026-03-01T10:05:00Z -> SELECT \* FROM sync.throttled', 'rate limits: one');
SELECT is(verdict('rate limits', at('10:05')), 'ok', 'rate limits: over');
SELECT claim(at('10:06')), fail('r', at('10:06'), 'rate_limited', 300), claim(at('10:12')), fail('r', at('10:12'), 'rate_limited', 300);
SELECT is(verdict('failing connections', at('10:12')), 'ok', 'failing: being rate limited is not');
SELECT is(told('providers', at('10:00')), 'ok: none is paused', 'providers: none is paused');
SELECT sync.pause_provider('github', 'incident 1234');
SELECT is(told('providers', at('10:00')), 'info: paused: github (incident 1234) -> SELECT sync.resume_provider(''github'');', 'providers: one is paused');
SELECT sync.resume_provider('github');

-- Dated tables
SELECT matches(told('partitions', at('10:00')), '^ok: history has its tables until 2026-03-0\dT00:00:00Z$', 'partitions: made ahead');
SELECT is(verdict('partitions', at('10:00') + interval '26 hours'), 'warning', 'partitions: none for tomorrow');
UPDATE sync.partitions SET range_to = range_to - interval '1 day' WHERE parent = 'sync_jobs';
SELECT matches(told('partitions', at('10:00')), '^warning: history has .*; finished jobs have no table of today', 'partitions: finished jobs go to an older day''s');
UPDATE sync.partitions SET range_to = range_to + interval '1 day' WHERE parent = 'sync_jobs';
SELECT matches(told('partitions', at('10:00') + interval '3 days'), '^critical: the tables of today''s history are missing.* -> .*_housekeeping', 'partitions: none for today');
SELECT housekeep(at('10:00') + interval '2 days');
UPDATE sync.partitions SET range_to = range_to - interval '60 days' WHERE name = 'sync_executions_20260301';
SELECT matches(told('partitions', at('10:00') + interval '2 days'), '^warning: history has .*; 1 table past retention still there, the oldest of 2026-01-01T', 'partitions: past their retention');

-- Who may ask
SELECT is(has_function_privilege(r, 'sync.health(timestamptz)', 'EXECUTE'), r <> 'sync_executor', r || CASE WHEN r = 'sync_executor' THEN ' may not' ELSE ' may' END || ' call health')
FROM unnest('{sync_admin,sync_viewer,sync_executor}'::name[]) r;
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;
SET LOCAL ROLE sync_viewer;
SELECT is((SELECT count(*) FROM sync.health(at('10:00'))), 16::bigint, 'sync_viewer is told all of it');
RESET ROLE;
SELECT unalike((SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE proname LIKE '\_health\_%'), '%a.query%', 'no statement of another session is shown');

SELECT * FROM finish();
ROLLBACK;
