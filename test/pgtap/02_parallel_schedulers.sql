-- Two schedulers at once need two sessions and committed rows: this file commits, and drops what it made.
\set QUIET 1
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
\pset pager off
SET client_min_messages = error;
SET TimeZone = 'UTC';
-- Where the server has a worker in this database, it must not tick beside the test.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET sync_engine.background_ticks = off', current_database()); END $$;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
CREATE EXTENSION dblink SCHEMA tap;
CREATE EXTENSION sync_engine;
SET search_path = tap, public;
\ir include/helpers.psql

SELECT plan(14);

CREATE FUNCTION open_session(name text) RETURNS text LANGUAGE sql
AS $$
    SELECT dblink_connect(name, format('host=%s port=%s dbname=%L user=%L',
        split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), session_user))
$$;
SELECT open_session('one'), open_session('two');
-- A wait for a lock is a failure here, not a delay.
SELECT dblink_exec(s, 'SET lock_timeout = 2000'), dblink_exec(s, 'SET client_min_messages = error')
FROM unnest('{one,two}'::text[]) s;

SELECT connection('parallel ' || n, '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00')) FROM generate_series(1, 50) n;

SELECT dblink_exec('one', 'BEGIN');
SELECT is((SELECT n FROM dblink('one', $$SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC')$$) r (n int)), 50,
    'Parallel schedulers remain race-free: one obtains the row locks and enqueues');
SELECT lives_ok($$SELECT dblink_exec('two', 'BEGIN')$$, 'Parallel schedulers remain race-free: the other begins');
SELECT is((SELECT n FROM dblink('two', $$SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC')$$) r (n int)), 0,
    'Parallel schedulers remain race-free: the other skips without waiting and without error');
SELECT lives_ok($$SELECT dblink_exec('two', 'COMMIT')$$, 'Parallel schedulers remain race-free: the other commits first');
SELECT lives_ok($$SELECT dblink_exec('one', 'COMMIT')$$, 'Parallel schedulers remain race-free: the first commits');
SELECT is((SELECT n FROM dblink('two', $$SELECT enqueued FROM sync.tick('2026-03-01 10:15 UTC')$$) r (n int)), 0,
    'Parallel schedulers remain race-free: afterwards the uniqueness guard holds');
SELECT is((SELECT count(*) FROM sync.sync_jobs), 50::bigint, 'Parallel schedulers remain race-free: one job a connection');

-- The uniqueness guard itself: the tick's snapshot is older than a job that another session has inserted meanwhile.
DELETE FROM sync.sync_jobs;
UPDATE sync.connections SET last_incremental_finished_at = at('10:01');
SELECT dblink_exec('one', 'BEGIN ISOLATION LEVEL REPEATABLE READ');
SELECT is((SELECT n FROM dblink('one', 'SELECT count(*) FROM sync.sync_jobs') r (n bigint)), 0::bigint,
    'Parallel schedulers remain race-free: a snapshot without jobs');
SELECT is((SELECT n FROM dblink('two', $$SELECT enqueued FROM sync.tick('2026-03-01 10:16 UTC')$$) r (n int)), 50,
    'Parallel schedulers remain race-free: another session enqueues and commits');
SELECT lives_ok($$SELECT * FROM dblink('two', $q$SELECT enqueued FROM sync.tick('2026-03-01 10:17 UTC')$q$) r (n int)$$,
    'Parallel schedulers remain race-free: ticking again is no error');
SELECT dblink_exec('one', 'ROLLBACK');

-- Batches of two drivers share the work.
DELETE FROM sync.sync_jobs;
UPDATE sync.connections SET last_incremental_finished_at = at('10:02');
SELECT dblink_exec('one', 'BEGIN');
SELECT is((SELECT n FROM dblink('one', $$SELECT enqueued FROM sync.tick_batch(20, '2026-03-01 10:20 UTC')$$) r (n int)), 20,
    'Parallel schedulers remain race-free: one takes a batch');
SELECT is((SELECT n FROM dblink('two', $$SELECT enqueued FROM sync.tick_batch(20, '2026-03-01 10:20 UTC')$$) r (n int)), 20,
    'Parallel schedulers remain race-free: the other takes the batch after it');
SELECT dblink_exec('one', 'COMMIT');
SELECT is((SELECT enqueued FROM sync.tick(at('10:20'))), 10, 'Parallel schedulers remain race-free: the rest is left for the next tick');
SELECT is((SELECT count(DISTINCT connection_id) FROM sync.sync_jobs), 50::bigint, 'Parallel schedulers remain race-free: every connection has its job');

SELECT * FROM finish();
SELECT dblink_disconnect(s) FROM unnest('{one,two}'::text[]) s;
DROP EXTENSION sync_engine CASCADE;
DROP SCHEMA tap CASCADE;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET sync_engine.background_ticks', current_database()); END $$;
