-- What a tick says: a warning for each override that it replaces, one line for a row that it sets back, and a trace for each job.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET TimeZone = 'UTC';
SET sync_engine.jitter_pct_min = 0.05;
SET sync_engine.jitter_pct_max = 0.05;
-- In a transaction, so that the worker of a server that has one does not look at it.
BEGIN;
CREATE EXTENSION sync_engine;
INSERT INTO sync.providers (slug, connector) VALUES ('github', 'noop');
CREATE FUNCTION pg_temp.connect(external text, sync jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at, created_at)
    VALUES ('T', 'github', external, jsonb_build_object('sync', sync), '2026-03-01 10:00 UTC', '2026-02-01 UTC')
$$;

-- Invalid interval override rejected: connection, value and bounds
SELECT FROM pg_temp.connect('too long', '{"interval_seconds": 86401}');
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
SELECT FROM pg_temp.connect('no number', '{"interval_seconds": "fast"}');
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
SELECT FROM pg_temp.connect('huge', jsonb_build_object('interval_seconds', repeat('9', 1000)));
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
SET sync_engine.max_overridden_interval_seconds = 3600;
SELECT FROM pg_temp.connect('configured', '{"interval_seconds": 7200}');
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
RESET sync_engine.max_overridden_interval_seconds;
-- Once: it has been replaced.
UPDATE sync.connections SET last_incremental_finished_at = '2026-03-01 10:00 UTC';
DELETE FROM sync.sync_jobs;
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
DELETE FROM sync.connections;

-- A row that cannot be scheduled
SELECT count(pg_temp.connect(x, NULL)) FROM unnest('{before,bad,after}'::text[]) x;
ALTER TABLE sync.connections ADD CONSTRAINT not_this_one CHECK (external_id <> 'bad' OR metadata #> '{sync,next_run_at}' IS NULL);
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
ALTER TABLE sync.connections DROP CONSTRAINT not_this_one;
DELETE FROM sync.connections;

-- Jitter within configured bounds: the trace of a job holds its jitter, interval, slot and next run, and the bounds.
SELECT FROM pg_temp.connect('traced', NULL);
SET client_min_messages = debug1;
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
SET client_min_messages = warning;
SET sync_engine.jitter_pct_min = 0;
SET sync_engine.jitter_pct_max = 0;
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, created_at)
VALUES ('T', 'github', 'bootstrap', '{"sync": {"interval_seconds": 300}}', '2026-02-01 UTC');
SET client_min_messages = debug1;
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
-- A tick without work says nothing.
SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC');
RESET client_min_messages;

ROLLBACK;
