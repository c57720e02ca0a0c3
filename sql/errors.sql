-- What goes wrong, and what is said about it: message, detail, hint and SQLSTATE.
SET client_min_messages = warning;
\set VERBOSITY default
\set SHOW_CONTEXT never
SET TimeZone = 'UTC';
-- In a transaction, so that the worker of a server that has one does not look at it; the errors do not end it.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE EXTENSION sync_engine;
INSERT INTO sync.providers (slug, connector) VALUES ('github', 'noop'), ('gitlab', 'noop');
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, status, status_reason) VALUES
    ('T', 'github', 'active', 'active', NULL), ('T', 'github', 'paused', 'paused', 'on holiday'), ('T', 'github', 'error', 'error', 'unauthorized: bad token'),
    ('T', 'github', 'revoked', 'revoked', NULL), ('T', 'gitlab', 'parked', 'active', NULL);
SELECT sync.pause_provider('gitlab', 'maintenance');

-- Times
SELECT * FROM sync.tick('infinity');
\echo :SQLSTATE
SELECT * FROM sync.tick(NULL);
SELECT * FROM sync.claim_jobs('e', 1, '-infinity');
SELECT * FROM sync.tick_batch(0);
\echo :SQLSTATE

-- Executors
SELECT sync.register_executor('');
\echo :SQLSTATE
SELECT sync.register_executor('e', 2);
\echo :SQLSTATE
SELECT sync.register_executor('e', 0);
SELECT * FROM sync.claim_jobs('', 1);
SELECT * FROM sync.claim_jobs('e', 0);
SELECT sync.release_jobs('e', '{1}', '{}');
INSERT INTO sync.executors (incarnation, name, superseded_at) VALUES ('old#1', 'old', now());
SELECT * FROM sync.claim_jobs('old#1', 1);
\echo :SQLSTATE

-- Results
SELECT sync.complete_job(1, gen_random_uuid(), '{"kind": "k"}');
\echo :SQLSTATE
SELECT sync.complete_job(1, gen_random_uuid(), '[{"kind": "k"}, {"kind": 5}]');
SELECT sync.complete_job(1, gen_random_uuid(), '[{"occurred_at": "yesterday"}]');
SELECT sync.complete_job(1, gen_random_uuid(), '[{"dedupe_key": [1]}]');
SELECT sync.complete_job(1, gen_random_uuid(), '["text"]');
SELECT sync.complete_job(1, gen_random_uuid(), stats => '[]');
SELECT sync.complete_job(1, gen_random_uuid(), '[{"payload": "a\u0000b"}]');
\echo :SQLSTATE
SELECT sync.fail_job(1, gen_random_uuid(), '{}', 'fatal');
\echo :SQLSTATE
SELECT * FROM sync.complete_jobs('{}');
\echo :SQLSTATE

-- Connections
SELECT sync.trigger(99);
\echo :SQLSTATE
SELECT sync.trigger(2);
\echo :SQLSTATE
SELECT sync.trigger(3);
SELECT sync.trigger(4);
SELECT sync.trigger(5);
SELECT sync.trigger(1, '');
SELECT sync.pause(99);
SELECT sync.resume(4);
\echo :SQLSTATE
SELECT sync.pause_provider('nobody');
\echo :SQLSTATE
SELECT sync.set_interval(1, 59);
\echo :SQLSTATE
SELECT sync.set_interval(99, 60);
SELECT sync.set_cursor(99, '1');
SELECT sync.retry_job(99);
\echo :SQLSTATE

-- Rows that an application writes
INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, status) VALUES ('another', 'github', 1, 'incremental', 'queued');
\echo :SQLSTATE
INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, status) VALUES ('T', 'github', 99, 'incremental', 'queued');
\echo :SQLSTATE
INSERT INTO sync.sync_jobs (connection_id, job_type) VALUES (1, 'incremental'), (1, 'incremental');
\echo :SQLSTATE
-- A finished job is history: it is not set to queued by hand, and its id is not given again.
DO $$ BEGIN WHILE sync._housekeeping('2026-03-01 10:00 UTC') LOOP END LOOP; END $$;
SELECT sync.trigger(1, 'incremental', 10, '2026-03-01 10:00 UTC') AS job \gset
SELECT sync.cancel_job(:job, 'not wanted', '2026-03-01 10:01 UTC');
\set VERBOSITY terse
UPDATE sync.sync_jobs SET status = 'queued' WHERE id = :job;
\echo :SQLSTATE
\set VERBOSITY default
SELECT sync.trigger(1, 'full', 10, '2026-03-01 10:00 UTC') > :job AS another;
INSERT INTO sync.sync_jobs (id, connection_id, job_type) VALUES (:job, 1, 'incremental');
\echo :SQLSTATE

-- What has landed belongs to its tenant; an id is free again when all that it had is gone.
SELECT sync.complete_job(job_id, claim_token, '[{"kind": "k"}]', as_of => '2026-03-01 10:02 UTC') FROM sync.claim_jobs('e', 1, '2026-03-01 10:02 UTC');
UPDATE sync.connections SET tenant_id = 'U' WHERE id = 1;
\echo :SQLSTATE
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, received_at) SELECT 'T', 'github', 1, '2026-03-01 10:02 UTC' FROM generate_series(1, 20000);
DELETE FROM sync.connections WHERE id = 1;
INSERT INTO sync.connections (id, tenant_id, provider_slug) VALUES (1, 'T', 'github');
\echo :SQLSTATE

-- Waiting
CALL sync.wait_for_work(0);
\echo :SQLSTATE

-- Settings
SET sync_engine.tick_interval_seconds = 0;
\echo :SQLSTATE
SET sync_engine.jitter_pct_max = 1.5;
SET sync_engine.max_overridden_interval_seconds = 604801;
SET sync_engine.no_such_setting = 1;
SELECT sync._setting('no_such_setting');
\echo :SQLSTATE

ROLLBACK;
