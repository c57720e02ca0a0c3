-- Every scenario of the specification of the connection's schema, under its own name.
\ir include/setup.psql
SELECT plan(25);

SELECT col_type_is('sync', 'connections', 'metadata', 'jsonb', 'metadata is jsonb');
SELECT col_type_is('sync', 'connections', 'last_incremental_finished_at', 'timestamp with time zone', 'last_incremental_finished_at is timestamptz');

-- Scheduler metadata persisted atomically
SELECT fix_jitter(0.05);
SELECT connection('atomic', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
SELECT sync.tick(at('10:15'));
SELECT results_eq(
    $$SELECT j.xmin::text = c.xmin::text, c.metadata -> 'sync' -> 'last_jitter_seconds', c.metadata -> 'sync' ->> 'next_run_at'
      FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id WHERE c.external_id = 'atomic'$$,
    $$VALUES (true, '45'::jsonb, '2026-03-01T10:30:00Z')$$, 'Scheduler metadata persisted atomically: job and metadata come from one transaction');
-- What undoes the one undoes the other.
SELECT connection('undone', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
SAVEPOINT before_tick;
SELECT sync.tick(at('10:15'));
SELECT is(live('undone'), 1::bigint, 'Scheduler metadata persisted atomically: a tick enqueues');
ROLLBACK TO before_tick;
SELECT is(live('undone'), 0::bigint, 'Scheduler metadata persisted atomically: rolled back, the job is gone');
SELECT is(meta('undone'), '{"next_run_at": "2026-03-01T10:15:00Z"}'::jsonb, 'Scheduler metadata persisted atomically: rolled back, the metadata is as before');
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 1, 'Scheduler metadata persisted atomically: the next tick enqueues it');
-- A metadata update that fails takes the job along.
SELECT connection('refused', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
ALTER TABLE sync.connections ADD CONSTRAINT no_jitter_here CHECK (external_id <> 'refused' OR NOT metadata -> 'sync' ? 'last_jitter_seconds');
SELECT sync.tick(at('10:15'));
SELECT is(live('refused'), 0::bigint, 'Scheduler metadata persisted atomically: no job where the metadata could not be written');
ALTER TABLE sync.connections DROP CONSTRAINT no_jitter_here;

-- Interval override exceeds configuration
SET LOCAL sync_engine.max_overridden_interval_seconds = 3600;
SELECT connection('exceeds', '{"interval_seconds": 7200}', at('10:00'));
SELECT sync.tick(at('10:15'));
SELECT is(meta('exceeds') -> 'interval_seconds', '900'::jsonb, 'Interval override exceeds configuration: the default interval is stored instead');
SELECT is(meta('exceeds') ->> 'next_run_at', '2026-03-01T10:30:00Z', 'Interval override exceeds configuration: the default interval is used');
SELECT connection('at the bound', '{"interval_seconds": 3600}', at('10:00'));
SELECT sync.tick(at('11:00'));
SELECT is(meta('at the bound') -> 'interval_seconds', '3600'::jsonb, 'Interval override exceeds configuration: the bound itself is allowed');
RESET sync_engine.max_overridden_interval_seconds;

-- The index of the specification
SELECT is(pg_get_indexdef('sync.idx_sync_jobs_connection_type_status'::regclass),
    'CREATE UNIQUE INDEX idx_sync_jobs_connection_type_status ON sync.sync_jobs USING btree (connection_id, job_type) '
    || 'WHERE (status = ANY (ARRAY[''queued''::text, ''running''::text]))', 'idx_sync_jobs_connection_type_status is the index of the specification');

-- Duplicate interval job prevented by index
SELECT connection('duplicate', NULL, at('10:00'));
SELECT job('duplicate');
SELECT throws_ok($$SELECT job('duplicate')$$, '23505', NULL, 'Duplicate interval job prevented by index: the insert is rejected');
SELECT lives_ok($$SELECT * FROM sync.tick(at('10:30'))$$, 'Duplicate interval job prevented by index: the scheduler continues without error');
SELECT is(live('duplicate'), 1::bigint, 'Duplicate interval job prevented by index: one job is left');
-- The state that the tick scans by may be wrong; the index still decides.
UPDATE sync.connection_state SET due_at = '-infinity' WHERE connection_id = conn('duplicate');
SELECT results_eq($$SELECT enqueued, skipped FROM sync.tick(at('10:30'))$$, 'VALUES (0, 1)', 'Duplicate interval job prevented by index: a no-op, counted as skipped');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('duplicate')), NULL,
    'Duplicate interval job prevented by index: the connection does not stand in the way of the next tick');

-- Different job types allowed
SELECT claim(at('10:30'));
SELECT is((running('duplicate')).job_type, 'incremental', 'Different job types allowed: an incremental job runs');
SELECT lives_ok($$SELECT job('duplicate', 'full')$$, 'Different job types allowed: a full job is queued beside it');
SELECT is(claim(at('10:31')), 0::bigint, 'Different job types allowed: one runs at a time');
SELECT complete('duplicate', at('10:32'));
SELECT is(claim(at('10:32')), 1::bigint, 'Different job types allowed: the other is claimed when the first ends');
SELECT is((running('duplicate')).job_type, 'full', 'Different job types allowed: it is the full job');

-- Completed jobs don't block new scheduling
SELECT is((SELECT array_agg(status) FROM sync.sync_jobs WHERE connection_id = conn('duplicate') AND job_type = 'incremental'), '{succeeded}',
    'Completed jobs don''t block new scheduling: the incremental job is completed');
SELECT is((SELECT enqueued FROM sync.tick(at('10:47'))), 1, 'Completed jobs don''t block new scheduling: the tick enqueues a new one');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('duplicate') AND job_type = 'incremental'), 2::bigint,
    'Completed jobs don''t block new scheduling: both are there');

SELECT * FROM finish();
ROLLBACK;
