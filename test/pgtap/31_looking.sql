-- Looking at the engine: explain, the views, the metrics.
\ir include/setup.psql
SELECT plan(67);
SELECT fix_jitter();
CREATE FUNCTION told(external text, wanted text, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(verdict || ': ' || detail, ' | ') FROM sync.explain(conn(external), as_of) WHERE aspect = wanted
$$;

-- explain: the engine
SET LOCAL sync_engine.background_ticks = on;
SELECT connection('c', NULL, at('10:00'));
SELECT results_eq('SELECT aspect, verdict FROM sync.explain(-1)', $$VALUES ('connection', 'unknown')$$, 'explain: a connection that does not exist');
SELECT matches(told('c', 'engine', at('10:00')), CASE WHEN sync._preloaded() THEN '^ok: ' ELSE '^warning: .*shared_preload_libraries' END, 'explain: the engine as it is');
SET LOCAL sync_engine.background_ticks = off;
SELECT matches(told('c', 'engine', at('10:00')), CASE WHEN sync._preloaded() THEN '^warning: .*background_ticks' ELSE '^warning: .*shared_preload_libraries' END, 'explain: the engine without ticks');
SET LOCAL sync_engine.background_ticks = on;
SET LOCAL sync_engine.enabled = off;
SELECT matches(told('c', 'engine', at('10:00')), '^blocked: .*enabled is off', 'explain: the engine is off');
RESET sync_engine.enabled;
UPDATE sync.database_identity SET system_identifier = system_identifier + 1;
SELECT matches(told('c', 'engine', at('10:00')), '^blocked: .*adopt_database', 'explain: the database is a copy');
SELECT sync.adopt_database();

-- the connection and its provider
SELECT is(told('c', 'connection', at('10:00')), 'ok: status is active', 'explain: an active connection');
SELECT is(told('c', 'provider', at('10:00')), 'ok: github is active', 'explain: an active provider');
SELECT is(told('c', 'interval', at('10:00')), 'info: 900 s, last run finished 2026-03-01T10:00:00Z', 'explain: the interval');
SELECT connection(s, NULL, at('10:00'), status => s) FROM unnest('{paused,error,revoked}'::text[]) s;
UPDATE sync.connections SET status_reason = 'because' WHERE status <> 'active';
SELECT is(told(s, 'connection', at('10:00')), 'blocked: status is ' || s || ': because', 'explain: a connection that is ' || s) FROM unnest('{paused,error,revoked}'::text[]) s;
SELECT is(told('paused', 'next run', at('12:00')), NULL, 'explain: no next run while it is not active');
SELECT sync.pause_provider('github', 'maintenance');
SELECT is(told('c', 'provider', at('10:00')), 'blocked: github is paused: maintenance', 'explain: a paused provider');
SELECT is(told('c', 'next run', at('12:00')), NULL, 'explain: no next run while the provider is paused');
SELECT sync.resume_provider('github');

-- the next run
SELECT is(told('c', 'next run', at('10:05')), 'waiting: due at 2026-03-01T10:15:00Z', 'explain: when it is due');
SELECT matches(told('c', 'next run', at('10:14')), '^due: .*2026-03-01T10:15:00Z', 'explain: looked ahead');
SELECT matches(told('c', 'next run', at('11:07')), '^due: .*2026-03-01T11:00:00Z', 'explain: overdue, the slot');
SELECT sync.tick(at('10:05'));
SELECT matches(told('c', 'next run', at('10:05')), '^waiting: .*2026-03-01T10:15:00Z', 'explain: the same after a tick has looked at it');
SELECT connection('hand', '{"next_run_at": "2026-03-01T20:00:00Z"}', at('10:00'));
SELECT matches(told('hand', 'next run', at('11:00')), '^waiting: .*2026-03-01T20:00:00Z', 'explain: a next_run_at set by hand');
SELECT connection('new');
SELECT matches(told('new', 'next run', at('11:00')), '^due: .*bootstrap', 'explain: a new connection');
SELECT is(told('new', 'last attempt', at('11:00')), NULL, 'explain: no attempt yet');

-- the live jobs
SELECT sync.tick(at('10:15'));
SELECT matches(told('c', 'job', at('10:15')), '^due: incremental job \d+ is due since 2026-03-01T10:15:00Z', 'explain: a job that is due');
SELECT matches(told('c', 'job', at('10:14:30')), '^waiting: incremental job \d+ is scheduled for 2026-03-01T10:15:00Z', 'explain: a job that is not due yet');
SELECT matches(told('c', 'next run', at('10:15')), '^info: .*900 s', 'explain: the run after the live job');
SELECT sync.pause_provider('github');
SELECT matches(told('c', 'job', at('10:15')), '^blocked: .*provider', 'explain: a job that waits for its provider');
SELECT sync.resume_provider('github');
SELECT job('paused');
SELECT matches(told('paused', 'job', at('10:15')), '^blocked: .*connection', 'explain: a job that waits for its connection');
SELECT sync.register_executor('host', 1, '{}', at('10:15'));
SELECT claim(at('10:15'), 100, 'host');
SELECT matches(told('c', 'job', at('10:16')), '^running: incremental job \d+ runs since 2026-03-01T10:15:00Z on host#[^ ]*, attempt 1, page 1; last heartbeat 2026-03-01T10:15:00Z$', 'explain: a job that runs');
SELECT job('c', 'full');
SELECT matches(told('c', 'job', at('10:16')), 'waiting: full job \d+ is queued until job \d+', 'explain: a job that waits for another');
SELECT sync.trigger(conn('c'), as_of => at('10:16'));
SELECT matches(told('c', 'job', at('10:16')), 'info: .*one more run', 'explain: a job that was triggered while it ran');
SELECT fail('c', at('10:17'), 'rate_limited', 100);
SELECT matches(told('c', 'job', at('10:17')), 'waiting: incremental job \d+ failed in attempt 1 \(rate_limited: boom\) and is tried again at 2026-03-01T10:1\d', 'explain: a job in backoff');
SELECT matches(told('c', 'last attempt', at('10:17')), '^failed: job \d+, incremental, ended 2026-03-01T10:17:00Z: rate_limited: boom$', 'explain: the last attempt, failed');
SELECT claim(at('10:40')), complete('c', at('10:41'), '[{"kind": "k"}, {"dedupe_key": "1"}, {"dedupe_key": "1"}]');
SELECT matches(told('c', 'last attempt', at('10:41')), '^succeeded: .*3 signals, 2 of them new$', 'explain: the last attempt, succeeded');
DELETE FROM sync.connections;

-- connection_status: one row a connection, whatever its state
SELECT connection('s ' || s, '{"interval_seconds": 300, "last_jitter_seconds": 7, "next_run_at": "2026-03-01T10:05:00Z", "cursor": "secret cursor"}', at('10:00'), status => s)
FROM unnest('{active,paused,error,revoked}'::text[]) s;
SELECT is((SELECT count(*) FROM sync.connection_status), 4::bigint, 'connection_status: one row a connection');
SELECT row_eq($$SELECT s.tenant_id, s.provider_slug, s.status, s.provider_status, s.interval_seconds, s.last_incremental_finished_at, s.next_run_at, s.last_jitter_seconds::text, s.job_id
                FROM sync.connection_status s WHERE external_id = 's active'$$,
    ROW('T'::text, 'github'::text, 'active'::text, 'active'::text, 300, at('10:00'), at('10:05'), '7'::text, NULL::bigint), 'connection_status: what it tells');
SELECT sync.trigger(conn('s active'), 'full', as_of => at('10:01')), sync.trigger(conn('s active'), as_of => at('10:01'));
SELECT row_eq($$SELECT s.job_type, s.job_status, s.attempts FROM sync.connection_status s WHERE external_id = 's active'$$, ROW('incremental'::text, 'queued'::text, 0), 'connection_status: its live job');
SELECT sync.cancel_job((job_of('s active', 'full')).id, as_of => at('10:01'));
SELECT claim(at('10:02')), fail('s active', at('10:02'));
SELECT row_eq($$SELECT s.job_status, s.attempts, s.last_error_kind, s.last_error FROM sync.connection_status s WHERE external_id = 's active'$$,
    ROW('queued'::text, 1, 'transient'::text, 'boom'::text), 'connection_status: what went wrong last');
SELECT ok((SELECT late_by > interval '0' FROM sync.connection_status WHERE external_id = 's active') = (now() > at('10:03')), 'connection_status: how late it is');
SELECT is((SELECT late_by FROM sync.connection_status WHERE external_id = 's paused'), NULL, 'connection_status: what is paused is not late');
SELECT hasnt_column('sync', 'connection_status', c, 'connection_status shows no ' || c) FROM unnest('{config,metadata,cursor,input}'::text[]) c;
SELECT ok(NOT EXISTS (SELECT 1 FROM sync.connection_status s WHERE to_jsonb(s)::text LIKE '%secret cursor%'), 'connection_status shows no cursor');
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata) VALUES ('T', 'github', 'odd', '{"sync": {"last_jitter_seconds": "x", "next_run_at": 5}}');
SELECT lives_ok('SELECT * FROM sync.connection_status', 'connection_status copes with any metadata');

-- queue: live jobs and why each is not running yet
DELETE FROM sync.connections;
SELECT connection(x, NULL, at('10:00'), slug => CASE WHEN x = 'provider paused' THEN 'gitlab' ELSE 'github' END)
FROM unnest('{running,claimable,scheduled,in backoff,provider paused,connection error}'::text[]) x;
SELECT job(external_id, scheduled_at => CASE WHEN external_id = 'scheduled' THEN now() + interval '1 day' ELSE '2020-01-01 UTC' END) FROM sync.connections;
UPDATE sync.sync_jobs SET attempts = 1, retry_after = now() + interval '1 day' WHERE connection_id = conn('in backoff');
UPDATE sync.sync_jobs SET status = 'running' WHERE connection_id = conn('running');
SELECT job('running', 'full', scheduled_at => '2020-01-01 UTC');
SELECT sync.pause_provider('gitlab');
UPDATE sync.connections SET status = 'error' WHERE id = conn('connection error');
SELECT job('connection error');
SELECT results_eq($$SELECT c.external_id, q.state FROM sync.queue q JOIN sync.connections c ON c.id = q.connection_id WHERE q.job_type = 'incremental' ORDER BY 1$$,
    $$VALUES ('claimable', 'claimable'), ('connection error', 'connection error'), ('in backoff', 'in backoff'), ('provider paused', 'provider paused'), ('running', 'running'), ('scheduled', 'scheduled')$$,
    'queue: every state');
SELECT matches((SELECT state FROM sync.queue WHERE job_type = 'full'), '^waits for job \d+$', 'queue: a job that waits for another');
SELECT hasnt_column('sync', 'queue', c, 'queue shows no ' || c) FROM unnest('{config,cursor,input,claim_token}'::text[]) c;

-- metrics
SELECT is((SELECT value FROM sync.metrics WHERE name = 'sync_queue_depth' AND labels ->> 'status' = 'queued'), 6::float8, 'metrics: queue depth, queued');
SELECT is((SELECT value FROM sync.metrics WHERE name = 'sync_queue_depth' AND labels ->> 'status' = 'running'), 1::float8, 'metrics: queue depth, running');
SELECT ok((SELECT value > 86400 FROM sync.metrics WHERE name = 'sync_oldest_due_age_seconds'), 'metrics: age of the oldest due job');
SELECT is((SELECT array_agg(DISTINCT available) FROM sync.metrics WHERE name NOT IN ('sync_queue_depth', 'sync_oldest_due_age_seconds', 'sync_executors')), ARRAY[sync._metrics_available()],
    'metrics: what is counted in shared memory is marked unavailable without it');
SELECT is((SELECT array_agg(DISTINCT available) FROM sync.metrics WHERE name IN ('sync_queue_depth', 'sync_oldest_due_age_seconds', 'sync_executors')), '{t}', 'metrics: what the tables tell is always there');
SELECT is((SELECT count(*) FROM sync.metrics WHERE kind NOT IN ('counter', 'gauge', 'histogram') OR COALESCE(help, '') = '' OR name !~ '^[a-z_]+$'), 0::bigint, 'metrics: each has kind, help and a name');
SELECT set_has('SELECT DISTINCT name FROM sync.metrics',
    $$VALUES ('sync_scheduler_jobs_scheduled_total'), ('sync_scheduler_jitter_seconds'), ('sync_scheduler_tick_duration_ms'), ('sync_scheduler_backlog_gauge'), ('rate_limited_total'),
             ('rate_limited_backoff_seconds'), ('sync_jobs_claimed_total'), ('sync_jobs_succeeded_total'), ('sync_jobs_failed_total'), ('sync_signals_total'), ('sync_run_duration_seconds'), ('sync_queue_lag_seconds')$$,
    'metrics: all of them by name');

-- metrics_text: OpenMetrics
CREATE TEMP TABLE line AS SELECT l, n FROM regexp_split_to_table(sync.metrics_text(), E'\n') WITH ORDINALITY t (l, n);
SELECT is((SELECT l FROM line ORDER BY n DESC OFFSET 1 LIMIT 1), '# EOF', 'metrics_text ends with # EOF');
SELECT is((SELECT l FROM line ORDER BY n DESC LIMIT 1), '', 'and a line feed');
SELECT is((SELECT count(*) FROM line WHERE l <> '' AND l !~ '^# (HELP|TYPE) [a-z_]+ .+$|^# EOF$|^[a-z_]+(\{[a-z_]+="([^"\\]|\\.)*"(,[a-z_]+="([^"\\]|\\.)*")*\})? -?[0-9.e+-]+$'), 0::bigint, 'metrics_text: every line has a form of OpenMetrics');
SELECT is((SELECT count(*) FROM (SELECT l FROM line WHERE l LIKE '# TYPE %' GROUP BY split_part(l, ' ', 3), l HAVING count(*) > 1) d), 0::bigint, 'metrics_text: each family once');
SELECT ok(EXISTS (SELECT 1 FROM line WHERE l = 'sync_queue_depth{status="queued"} 6'), 'metrics_text: a sample');
SELECT is((SELECT count(*) FROM line t WHERE t.l LIKE '# TYPE % counter' AND split_part(t.l, ' ', 3) LIKE '%\_total'), 0::bigint, 'metrics_text: a counter''s family is named without _total');
SELECT is(sync._metric_labels(v::jsonb), w, 'labels ' || v)
FROM (VALUES ('{}', ''), ('{"a": "b"}', '{a="b"}'), ('{"b": "2", "a": "1"}', '{a="1",b="2"}'), ('{"a": "say \"x\" \\ y\nz"}', '{a="say \"x\" \\ y\nz"}')) v (v, w);

SELECT * FROM finish();
ROLLBACK;
