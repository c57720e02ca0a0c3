-- The functions' contracts, from a new connection to its signals, as a psql session shows them.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET sync_engine.jitter_pct_min = 0.05;
SET sync_engine.jitter_pct_max = 0.05;
SET sync_engine.backoff_jitter_factor = 0;
-- In a transaction, so that the worker of a server that has one does not look at it.
BEGIN;
CREATE EXTENSION sync_engine;
INSERT INTO sync.providers (slug, connector, config) VALUES ('github', 'noop', '{"base_url": "https://api.example.com/v3", "per_page": 100}');
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, config, created_at)
VALUES ('T', 'github', 'owner/name', '{"plan": "gold"}', '{"per_page": 50}', '2026-02-01 UTC');
SELECT id, tenant_id, provider_slug, external_id, status, metadata FROM sync.connections;

-- tick: the bootstrap
SELECT enqueued, skipped, backlog, requeued FROM sync.tick('2026-03-01 10:00 UTC');
SELECT id, connection_id, job_type, status, priority, attempts, scheduled_at, run_id FROM sync.sync_jobs;
SELECT metadata FROM sync.connections;
SELECT sync.next_claim_at('2026-03-01 10:00 UTC');
SELECT * FROM sync.explain(1, '2026-03-01 10:00 UTC') WHERE aspect <> 'engine';

-- claim, heartbeat, complete: a page with one to follow
SELECT sync.register_executor('host', 1, '{"version": "0.1.0"}', '2026-03-01 10:00 UTC') AS executor \gset
SELECT :'executor' ~ '^host#[0-9a-f]{12}$' AS incarnation;
SELECT * FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:00:44 UTC');
SELECT job_id, claim_token FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:00:45 UTC') \gset
SELECT id, status, started_at, claimed_by = :'executor' AS mine FROM sync.sync_jobs;
SELECT * FROM sync.heartbeat(:'executor', ARRAY[:job_id], '2026-03-01 10:01 UTC');
SELECT sync.complete_job(:job_id, gen_random_uuid(), as_of => '2026-03-01 10:01:30 UTC') AS stale;
SELECT sync.complete_job(:job_id, :'claim_token', '[{"kind": "issue", "occurred_at": "2026-02-28T12:00:00Z", "dedupe_key": "issue 1", "payload": {"title": "First"}}]',
    '{"page": 2}', true, '{"requests": 1}', '2026-03-01 10:01:30 UTC');
SELECT sync.complete_job(:job_id, :'claim_token', '[]', '{"page": 2}', true, '{}', '2026-03-01 10:01:31 UTC') AS repeated;
SELECT id, status, page, run_id, cursor, scheduled_at FROM sync.sync_jobs ORDER BY id;
SELECT tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, dedupe_key, payload FROM sync.signals;

-- the second page, in a batch: rate limited first, then the end
SELECT job_id, claim_token, cursor, config - 'sync_engine' AS config FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:01:30 UTC') \gset
SELECT :'cursor' AS cursor, :'config' AS config;
SELECT * FROM sync.complete_jobs(jsonb_build_array(jsonb_build_object('job_id', :job_id, 'claim_token', :'claim_token', 'error', '{"message": "slow down"}'::jsonb,
    'kind', 'rate_limited', 'retry_after_seconds', 30)), '2026-03-01 10:02 UTC');
SELECT id, status, attempts, retry_after, error_kind, error FROM sync.sync_jobs WHERE status = 'queued';
SELECT * FROM sync.explain(1, '2026-03-01 10:02 UTC') WHERE aspect = 'job';
SELECT * FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:02:29 UTC');
SELECT job_id, claim_token FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:02:30 UTC') \gset
SELECT sync.add_signals(:job_id, :'claim_token', '[{"kind": "issue", "dedupe_key": "issue 2"}]', '2026-03-01 10:02:31 UTC');
SELECT sync.complete_job(:job_id, :'claim_token', '[{"kind": "issue", "dedupe_key": "issue 1"}, {"kind": "issue", "dedupe_key": "issue 3"}]', '{"since": "2026-03-01"}', as_of => '2026-03-01 10:03 UTC');
SELECT metadata, last_incremental_finished_at FROM sync.connections;
SELECT job_id, run_id, attempt, page, status, job_status, kind, duration_ms, signals_received, signals_inserted, signals_duplicate, next_cursor, has_more FROM sync.sync_executions ORDER BY id;

-- the next run, looked ahead, and a trigger
SELECT enqueued FROM sync.tick('2026-03-01 10:16:59 UTC');
SELECT enqueued FROM sync.tick('2026-03-01 10:17 UTC');
SELECT id, status, scheduled_at FROM sync.sync_jobs WHERE status = 'queued';
SELECT metadata -> 'sync' FROM sync.connections;
SELECT sync.trigger(1, as_of => '2026-03-01 10:17 UTC');
SELECT id, status, scheduled_at, priority FROM sync.sync_jobs WHERE status = 'queued';
SELECT connection_id, status, interval_seconds, next_run_at, last_jitter_seconds, job_id, job_type, job_status FROM sync.connection_status;
SELECT job_id, connection_id, job_type, status, priority, attempts, page, due_at, state FROM sync.queue;

-- cancel and retry, in error and back, release
SELECT sync.cancel_job(3, 'not now', '2026-03-01 10:18 UTC');
SELECT sync.cancel_job(3, 'not now', '2026-03-01 10:18 UTC') AS again;
SELECT id, status, finished_at, error FROM sync.sync_jobs WHERE id = 3;
SELECT sync.retry_job(3, '2026-03-01 10:19 UTC');
SELECT job_id, claim_token FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:19 UTC') \gset
SELECT sync.fail_job(:job_id, :'claim_token', '{"message": "401 Unauthorized"}', 'unauthorized', as_of => '2026-03-01 10:20 UTC');
SELECT status, status_reason FROM sync.connections;
SELECT * FROM sync.explain(1, '2026-03-01 10:20 UTC') WHERE aspect <> 'engine';
SELECT sync.resume(1);
SELECT sync.retry_failed('github', '2026-03-01 10:00 UTC', '2026-03-01 10:21 UTC');
SELECT job_id, claim_token FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:21 UTC') \gset
SELECT sync.release_jobs(:'executor', ARRAY[:job_id]::bigint[], ARRAY[:'claim_token']::uuid[], '2026-03-01 10:22 UTC');
SELECT id, status, attempts FROM sync.sync_jobs WHERE status = 'queued';

-- pause and resume
SELECT sync.pause(1, 'asked for');
SELECT id, status, error FROM sync.sync_jobs ORDER BY id DESC LIMIT 1;
SELECT * FROM sync.explain(1, '2026-03-01 10:25 UTC') WHERE aspect IN ('connection', 'job', 'next run');
SELECT enqueued FROM sync.tick('2026-03-01 10:40 UTC');
SELECT sync.resume(1);
SELECT enqueued FROM sync.tick('2026-03-01 10:40 UTC');
SELECT sync.pause_provider('github', 'maintenance');
SELECT count(*) FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:41 UTC');
SELECT job_id, state FROM sync.queue;
SELECT sync.resume_provider('github');
SELECT count(*) FROM sync.claim_jobs(:'executor', 5, '2026-03-01 10:41 UTC');

-- interval and cursor
SELECT sync.set_interval(1, 3600), sync.set_cursor(1, '{"since": "2025-01-01"}');
SELECT metadata #> '{sync,interval_seconds}' AS interval_seconds, metadata #> '{sync,cursor}' AS cursor FROM sync.connections;
SELECT interval_seconds FROM sync.connection_status;

-- arithmetic
SELECT sync.parse_utc('2026-03-01T12:15:00+02:00'), sync.parse_utc('soon');
SELECT * FROM sync.jitter_bounds(3600);
SELECT a AS attempts, sync.backoff_seconds(a), sync.backoff_seconds(a, 'github', 60) AS hinted FROM generate_series(0, 9, 3) a;

DELETE FROM sync.connections;
SELECT count(*) FROM sync.sync_jobs;
SELECT count(*) FROM sync.signals;
SELECT count(*) FROM sync.sync_executions;
ROLLBACK;
