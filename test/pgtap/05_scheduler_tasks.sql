-- The tasks of the specification's work list, each by what it was to bring about. They have no scenarios of their own.
\ir include/setup.psql
SELECT plan(33);

-- 1.1
SELECT results_eq(
    $$SELECT name::text, setting::text, min_val::text, max_val::text FROM pg_settings
      WHERE name IN ('sync_engine.tick_interval_seconds', 'sync_engine.default_interval_seconds', 'sync_engine.jitter_pct_min',
                     'sync_engine.jitter_pct_max', 'sync_engine.max_overridden_interval_seconds') ORDER BY 1$$,
    $$VALUES ('sync_engine.default_interval_seconds', '900', '60', '86400'), ('sync_engine.jitter_pct_max', '0.2', '0', '1'),
             ('sync_engine.jitter_pct_min', '0', '0', '1'), ('sync_engine.max_overridden_interval_seconds', '86400', '60', '604800'),
             ('sync_engine.tick_interval_seconds', '60', '1', '3600')$$, 'Task 1.1: the scheduler''s configuration, its defaults and ranges');

-- 1.2
SELECT fix_jitter();
SELECT connection('steady', NULL, at('10:00'));
SELECT connection('new');
SELECT connection(s, NULL, at('10:00'), status => s) FROM unnest('{paused,error,revoked}'::text[]) s;
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 2, 'Task 1.2: active connections only');
SELECT is((job_of('steady')).scheduled_at, at('10:15'), 'Task 1.2: from last_incremental_finished_at');
SELECT is((job_of('new')).scheduled_at, at('10:15'), 'Task 1.2: from a bootstrap');
SELECT is(live(s), 0::bigint, 'Task 1.2: not one whose status is ' || s) FROM unnest('{paused,error,revoked}'::text[]) s;

-- 1.3
SELECT connection('catch up', NULL, at('06:07'));
SELECT fix_jitter(0.1);
SELECT sync.tick(at('10:16'));
SELECT is((job_of('catch up')).scheduled_at, at('10:08:30'), 'Task 1.3: scheduled_at = the slot advanced to now + jitter');
SELECT is((SELECT enqueued FROM sync.tick(at('10:16'))), 0, 'Task 1.3: at most one queued interval job');
SELECT claim(at('10:20'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:31'))), 0, 'Task 1.3: at most one running interval job');

-- 1.4
SELECT is(meta('catch up'), '{"next_run_at": "2026-03-01T10:22:00Z", "last_jitter_seconds": 90}'::jsonb, 'Task 1.4: next_run_at and last_jitter_seconds are persisted');

-- 1.5
SELECT set_has(
    'SELECT name, label1_name, label2_name FROM sync._metrics_catalog()',
    $$VALUES ('sync_scheduler_jobs_scheduled_total', 'provider_slug', 'tenant_id'), ('sync_scheduler_jitter_seconds', '', ''),
             ('sync_scheduler_backlog_gauge', '', ''), ('sync_scheduler_tick_duration_ms', '', '')$$, 'Task 1.5: the metrics and their labels');

-- 1.6
SELECT index_is_unique('sync', 'sync_jobs', 'idx_sync_jobs_connection_type_status', 'Task 1.6: the index is unique');
UPDATE sync.connection_state SET due_at = '-infinity' WHERE connection_id = conn('catch up');
SELECT results_eq($$SELECT enqueued, skipped FROM sync.tick(at('10:32'))$$, 'VALUES (0, 1)', 'Task 1.6: a violation is a skip without effect');

-- 1.7
SELECT sync.set_interval(conn('steady'), 3600);
SELECT is(meta('steady') -> 'interval_seconds', '3600'::jsonb, 'Task 1.7: the interval is written');
SELECT is((SELECT interval_seconds FROM sync.connection_status WHERE external_id = 'steady'), 3600, 'Task 1.7: the interval is read');
SELECT is((SELECT next_run_at FROM sync.connection_status WHERE external_id = 'catch up'), at('10:22'), 'Task 1.7: next_run_at is read');
SELECT is((SELECT last_jitter_seconds::text FROM sync.connection_status WHERE external_id = 'catch up'), '90', 'Task 1.7: last_jitter_seconds is read');
SELECT throws_ok(format('SELECT sync.set_interval(%s, %s)', conn('steady'), s), '22023', NULL, 'Task 1.7: validated, not ' || s)
FROM unnest('{59,86401,-1,0}'::int[]) s;
SELECT lives_ok(format('SELECT sync.set_interval(%s, %s)', conn('steady'), s), 'Task 1.7: validated, ' || s || ' is allowed')
FROM unnest('{60,86400}'::int[]) s;

-- 1.8 is shown with a server and its signals; what a driver leaves between two batches, in 01_interval_scheduler.sql.
SELECT has_function('sync', 'tick_batch', ARRAY['integer', 'timestamp with time zone'], 'Task 1.8: a tick in batches, between which a signal is read');

-- 2.1
SELECT fix_jitter(0, 0.2);
CREATE TEMP TABLE drawn AS SELECT sync._draw_jitter(900) AS jitter FROM generate_series(1, 20000);
SELECT is((SELECT count(*) FROM drawn WHERE jitter NOT BETWEEN 0 AND 180), 0::bigint, 'Task 2.1: 20,000 draws within their bounds');
SELECT is((SELECT count(DISTINCT jitter) FROM drawn), 181::bigint, 'Task 2.1: each value within the bounds is drawn');
-- The mean of 20,000 uniform draws has a standard deviation of 0.37: five of them are never seen.
SELECT ok((SELECT abs(avg(jitter) - 90) < 1.9 FROM drawn), 'Task 2.1: the draws are uniform about the middle');
-- Chi-square over 181 cells: mean 180, standard deviation 19.
SELECT ok((SELECT sum((n - 20000 / 181.0) ^ 2 / (20000 / 181.0)) < 300 FROM (SELECT count(*) AS n FROM drawn GROUP BY jitter) c),
    'Task 2.1: the draws are uniform over the values');

-- 2.2; two schedulers at once are in 02_parallel_schedulers.sql.
SELECT fix_jitter(0, 0.01);
SELECT connection('downtime', '{"next_run_at": "2026-02-20T08:15:00Z"}', '2026-02-20 08:00 UTC');
SELECT is((SELECT enqueued FROM sync.tick(at('12:20'))), 1, 'Task 2.2: after nine days down, one catch-up job');
SELECT ok((job_of('downtime')).scheduled_at <= at('12:20'), 'Task 2.2: to be run immediately');
SELECT is((meta('downtime') ->> 'next_run_at')::timestamptz, at('12:30'), 'Task 2.2: next_run_at lies beyond now()');
SELECT is((SELECT enqueued FROM sync.tick(at('12:20'))), 0, 'Task 2.2: the uniqueness guard holds');

SELECT * FROM finish();
ROLLBACK;
