-- Every scenario of the specification of the interval scheduler, under its own name.
\ir include/setup.psql
SELECT plan(47);

-- Active connection receives incremental job
SELECT fix_jitter(0.05);
SELECT connection('active', '{"next_run_at": "2026-03-01T12:15:00Z"}', at('12:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('12:13:59'))), 0, 'Active connection receives incremental job: not before the look-ahead');
SELECT is((SELECT enqueued FROM sync.tick(at('12:15'))), 1, 'Active connection receives incremental job: by the tick at its time');
SELECT row_eq($$SELECT j.job_type, j.status, j.connection_id, j.tenant_id, j.provider_slug, j.priority, j.attempts FROM job_of('active') j$$,
    ROW('incremental'::text, 'queued'::text, conn('active'), 'T'::text, 'github'::text, 0, 0),
    'Active connection receives incremental job: the row inserted');
SELECT is((job_of('active')).scheduled_at, at('12:15:45'), 'Active connection receives incremental job: scheduled_at is the due time with its jitter');
SELECT is(meta('active') ->> 'next_run_at', '2026-03-01T12:30:00Z', 'Active connection receives incremental job: next_run_at is the due time that follows');
SELECT ok(sync.parse_utc(meta('active') ->> 'next_run_at') > (job_of('active')).scheduled_at,
    'Active connection receives incremental job: next_run_at > scheduled_at');

-- Duplicate pending job prevented
SELECT results_eq($$SELECT enqueued, backlog FROM sync.tick(at('12:16'))$$, $$VALUES (0, 0::bigint)$$,
    'Duplicate pending job prevented: a queued job');
SELECT is(claim(at('12:17')), 1::bigint, 'Duplicate pending job prevented: the job runs');
SELECT is((SELECT enqueued FROM sync.tick(at('12:17'))), 0, 'Duplicate pending job prevented: a running job');
SELECT is(live('active'), 1::bigint, 'Duplicate pending job prevented: one live job');

-- First incremental job scheduled
SELECT connection('first', '{"first_activated_at": "2025-01-01T12:00:00Z"}');
SELECT is((SELECT enqueued FROM sync.tick(at('12:18'))), 1, 'First incremental job scheduled');
SELECT is((job_of('first')).scheduled_at, at('12:18:45'), 'First incremental job scheduled: scheduled_at <= now() + applied_jitter');
SELECT is(meta('first'), '{"next_run_at": "2025-01-01T12:15:45Z", "first_activated_at": "2025-01-01T12:00:00Z", "last_jitter_seconds": 45}'::jsonb,
    'First incremental job scheduled: next_run_at = activation_reference + base_interval + jitter');
SELECT connection('first by creation');
SELECT sync.tick(at('12:18'));
SELECT is(meta('first by creation') ->> 'next_run_at', '2026-02-01T00:15:45Z', 'First incremental job scheduled: created_at is the reference without first_activated_at');

-- Metadata overrides default, Default interval applied
SELECT fix_jitter();
SELECT connection('C', '{"interval_seconds": 300, "next_run_at": "2026-03-01T12:05:00Z"}', at('12:00'));
SELECT connection('D', NULL, at('12:00'));
SELECT sync.tick(at('12:05'));
SELECT is((job_of('C')).scheduled_at, at('12:05'), 'Metadata overrides default: the run is due 300 s after the last');
SELECT is(meta('C') ->> 'next_run_at', '2026-03-01T12:10:00Z', 'Metadata overrides default: the run after it 300 s later');
SELECT is(live('D'), 0::bigint, 'Default interval applied: nothing after 300 s');
SELECT sync.tick(at('12:15'));
SELECT is((job_of('D')).scheduled_at, at('12:15'), 'Default interval applied: the run is due 900 s after the last');
SELECT is(meta('D') ->> 'next_run_at', '2026-03-01T12:30:00Z', 'Default interval applied: the run after it 900 s later');

-- Jitter within configured bounds
SELECT fix_jitter(0.0, 0.2);
SELECT results_eq('SELECT * FROM sync.jitter_bounds(900)', 'VALUES (0, 180)', 'Jitter within configured bounds: 0% to 20% of 900 s');
SELECT connection('jitter ' || n, NULL, at('11:45')) FROM generate_series(1, 300) n;
SELECT is((SELECT enqueued FROM sync.tick(at('12:00'))), 300, 'Jitter within configured bounds: 300 connections are enqueued');
CREATE VIEW jittered AS
SELECT j.scheduled_at - at('12:00') AS jitter, c.metadata -> 'sync' AS sync
FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id
WHERE c.external_id LIKE 'jitter %' AND j.status = 'queued';
SELECT is((SELECT count(*) FROM jittered WHERE jitter BETWEEN interval '0' AND interval '180 s'), 300::bigint,
    'Jitter within configured bounds: >= 0 seconds and <= 180 seconds');
SELECT is((SELECT count(*) FROM jittered WHERE make_interval(secs => (sync ->> 'last_jitter_seconds')::int) = jitter), 300::bigint,
    'Jitter within configured bounds: scheduled_at = next_due_at + jitter');
SELECT is((SELECT count(*) FROM jittered WHERE sync ->> 'next_run_at' = '2026-03-01T12:15:00Z'), 300::bigint,
    'Jitter within configured bounds: next_run_at = next_due_at + 900');
-- 300 draws from 181 values: fewer than 60 different ones are as good as impossible.
SELECT cmp_ok((SELECT count(DISTINCT jitter) FROM jittered), '>', 60::bigint, 'Jitter within configured bounds: each connection draws its own');

-- Custom jitter range respected
UPDATE sync.sync_jobs SET status = 'cancelled' WHERE status = 'queued';
UPDATE sync.connections SET last_incremental_finished_at = at('11:30') WHERE external_id LIKE 'jitter %';
SELECT fix_jitter(0.05, 0.3);
SELECT results_eq('SELECT * FROM sync.jitter_bounds(900)', 'VALUES (45, 270)', 'Custom jitter range respected: 5% to 30% of 900 s');
SELECT cmp_ok((SELECT enqueued FROM sync.tick(at('12:00'))), '>=', 300, 'Custom jitter range respected: all are enqueued again');
SELECT is((SELECT count(*) FROM jittered WHERE jitter BETWEEN interval '45 s' AND interval '270 s'), 300::bigint,
    'Custom jitter range respected: >= 45 seconds and <= 270 seconds');
SELECT ok((SELECT max(jitter) > interval '180 s' AND min(jitter) < interval '90 s' FROM jittered), 'Custom jitter range respected: the range is used');

-- Overdue job scheduled immediately
SELECT fix_jitter(0.02);
SELECT connection('overdue', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:20'))), 1, 'Overdue job scheduled immediately: exactly one job');
SELECT is((job_of('overdue')).scheduled_at, at('10:15:18'), 'Overdue job scheduled immediately: scheduled_at = (10:30:00 - 900) + jitter <= 10:20:30');
SELECT is(meta('overdue') ->> 'next_run_at', '2026-03-01T10:30:00Z', 'Overdue job scheduled immediately: next_run_at = 10:30:00');
SELECT results_eq($$SELECT connection_id FROM sync.claim_jobs('executor', 1, at('10:20'))$$, $$VALUES (conn('overdue'))$$,
    'Overdue job scheduled immediately: a worker gets it at once');

-- Normal scheduling when current
SELECT connection('current', NULL, at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:14'))), 1, 'Normal scheduling when current: enqueued ahead of its time');
SELECT is((job_of('current')).scheduled_at, at('10:15:18'), 'Normal scheduling when current: scheduled_at = 10:15:00 + jitter');
SELECT is(meta('current') ->> 'next_run_at', '2026-03-01T10:30:00Z', 'Normal scheduling when current: next_run_at = 10:30:00');

-- Invalid interval override rejected
SET LOCAL sync_engine.max_overridden_interval_seconds = 3600;
SELECT connection('invalid', '{"interval_seconds": 7200}', at('10:00'));
SELECT sync.tick(at('10:15'));
SELECT is((job_of('invalid')).scheduled_at, at('10:15:18'), 'Invalid interval override rejected: the default 900-second interval is used');
SELECT is(meta('invalid') -> 'interval_seconds', '900'::jsonb, 'Invalid interval override rejected: the override is replaced');
RESET sync_engine.max_overridden_interval_seconds;

-- Metrics recorded for scheduled job; the counts themselves appear at commit and stand in the regression tests.
SELECT set_eq($$SELECT DISTINCT name FROM sync.metrics WHERE name LIKE 'sync\_scheduler\_%'$$,
    ARRAY['sync_scheduler_jobs_scheduled_total', 'sync_scheduler_jitter_seconds', 'sync_scheduler_backlog_gauge', 'sync_scheduler_tick_duration_ms'],
    'Metrics recorded for scheduled job: the four metrics under their names');
SELECT set_eq($$SELECT name, kind FROM sync.metrics WHERE name LIKE 'sync\_scheduler\_%' GROUP BY 1, 2$$,
    $$VALUES ('sync_scheduler_jobs_scheduled_total', 'counter'), ('sync_scheduler_jitter_seconds', 'histogram'),
             ('sync_scheduler_backlog_gauge', 'gauge'), ('sync_scheduler_tick_duration_ms', 'histogram')$$,
    'Metrics recorded for scheduled job: their kinds');

-- Jitter persistence validated
SELECT fix_jitter(0.05);
SELECT connection('persisted', NULL, at('10:00'));
SELECT sync.tick(at('10:15'));
SELECT is((job_of('persisted')).scheduled_at, at('10:15') + interval '45 s', 'Jitter persistence validated: scheduled_at = next_due_at + 45');
SELECT is(meta('persisted') -> 'last_jitter_seconds', '45'::jsonb, 'Jitter persistence validated: last_jitter_seconds = 45');
SELECT is(meta('persisted') ->> 'next_run_at', '2026-03-01T10:30:00Z', 'Jitter persistence validated: next_run_at is the run that follows');
SELECT is((SELECT last_jitter_seconds::text FROM sync.connection_status WHERE external_id = 'persisted'), '45',
    'Jitter persistence validated: the value can be read for diagnostics');

-- Scheduler stops polling on shutdown: the signal itself is tested with a server; here, what stopping between two batches leaves.
DELETE FROM sync.connections;
SELECT connection('shutdown ' || n, NULL, at('09:00')) FROM generate_series(1, 5) n;
SELECT results_eq($$SELECT enqueued, more FROM sync.tick_batch(2, at('09:15'))$$, 'VALUES (2, true)',
    'Scheduler stops polling on shutdown: a batch ends with the word that there is more');
SELECT is((SELECT count(*) FROM sync.connections c WHERE external_id LIKE 'shutdown %'
              AND (live(external_id) = 1) = (metadata #>> '{sync,next_run_at}' IS NOT DISTINCT FROM '2026-03-01T09:30:00Z')), 5::bigint,
    'Scheduler stops polling on shutdown: no connection has its job without its metadata or the other way round');
SELECT results_eq($$SELECT enqueued, more FROM sync.tick_batch(100, at('09:16'))$$, 'VALUES (3, false)',
    'Scheduler stops polling on shutdown: the next driver takes up exactly the rest');

SELECT * FROM finish();
ROLLBACK;
