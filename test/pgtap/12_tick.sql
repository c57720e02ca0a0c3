-- The tick: what it passes by, how one bad row is singled out, batches, paused providers, backlog.
\ir include/setup.psql
SELECT plan(46);
SELECT fix_jitter();

-- Without work
SELECT results_eq($$SELECT enqueued, skipped, backlog, requeued FROM sync.tick(at('09:00'))$$, 'VALUES (0, 0, 0::bigint, 0)', 'an empty database: nothing');
SELECT ok((SELECT duration_ms >= 0 FROM sync.tick(at('09:00'))), 'duration_ms is told');
SELECT throws_ok(format('SELECT * FROM sync.tick(%L)', t), '22023', 'as_of must be a finite time', 'as_of ' || COALESCE(t::text, 'null') || ' is refused')
FROM unnest(ARRAY['infinity', '-infinity', NULL]::timestamptz[]) t;
SELECT throws_ok(format('SELECT * FROM sync.tick_batch(%s)', n), '22023', 'batch_size must be at least 1', 'a batch of ' || n || ' is refused') FROM unnest('{0,-1}'::int[]) n;

-- Live jobs are passed by, others of their kind are not.
SELECT connection(x, NULL, at('09:00')) FROM unnest('{queued,running,other type,ended,free}'::text[]) x;
SELECT job('queued', scheduled_at => at('20:00')), job('running'), job('other type', 'full', scheduled_at => at('20:00')), job('ended');
SELECT claim(at('09:30'));
SELECT complete('ended', at('09:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('09:45'))), 3, 'only those without a live incremental job are enqueued');
SELECT set_eq($$SELECT c.external_id FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id
                WHERE j.scheduled_at = at('09:45') AND j.status = 'queued' AND j.job_type = 'incremental'$$,
    ARRAY['other type', 'ended', 'free'], 'a live job of another type or one that has ended is no hindrance');
SELECT is((SELECT count(*) FROM sync.connection_state WHERE due_at IS NOT NULL), 0::bigint, 'none with a live job stands in front of the scan');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = conn('running') AND job_type = 'incremental'), 1::bigint, 'the running one is untouched');
DELETE FROM sync.connections;

-- One bad row: everyone else is scheduled, it is set back and tried again.
SELECT connection('neighbour ' || n, NULL, at('10:00')) FROM generate_series(1, 40) n;
SELECT connection('bad', NULL, at('10:00'));
SELECT connection('worse', NULL, at('10:00'));
SELECT connection('neighbour ' || n, NULL, at('10:00')) FROM generate_series(41, 80) n;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.external_id IN ('bad', 'worse') AND NEW.metadata #> '{sync,next_run_at}' IS NOT NULL THEN
        RAISE EXCEPTION 'not this one' USING ERRCODE = 'P9999';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON sync.connections FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT results_eq($$SELECT enqueued, backlog FROM sync.tick(at('10:15'))$$, 'VALUES (80, 2::bigint)',
    'two bad rows: all the others are enqueued, the two are backlog');
SELECT is((SELECT count(*) FROM sync.connections WHERE external_id LIKE 'neighbour %' AND live(external_id) = 1
              AND metadata #>> '{sync,next_run_at}' = '2026-03-01T10:30:00Z'), 80::bigint, 'two bad rows: the others are whole');
SELECT is(live('bad') + live('worse'), 0::bigint, 'a bad row has no job');
SELECT cmp_ok((SELECT min(due_at) FROM sync.connection_state WHERE connection_id IN (conn('bad'), conn('worse'))), '>', at('10:16'), 'a bad row is set back');
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 0, 'a bad row does not come back with every tick');
DROP TRIGGER refuse ON sync.connections;
SELECT is((SELECT enqueued FROM sync.tick(at('10:31'))), 2, 'mended, a bad row is scheduled again');
-- A row whose job cannot be inserted, in small batches.
UPDATE sync.sync_jobs SET status = 'cancelled' WHERE status = 'queued';
UPDATE sync.connections SET last_incremental_finished_at = at('10:20');
CREATE FUNCTION refuse_job() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.connection_id = conn('bad') THEN
        RAISE EXCEPTION 'not this one';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_job BEFORE INSERT ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION refuse_job();
CREATE FUNCTION all_batches(batch int, as_of timestamptz, OUT total int, OUT batches int) LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    total := 0;
    batches := 0;
    LOOP
        SELECT * INTO t FROM sync.tick_batch(batch, as_of);
        total := total + t.enqueued;
        batches := batches + 1;
        EXIT WHEN NOT t.more OR batches > 1000;
    END LOOP;
END $$;
SELECT is((SELECT total FROM all_batches(7, at('10:40'))), 81, 'a job that cannot be inserted: the batches go on to the end');
SELECT is(live('bad'), 0::bigint, 'a job that cannot be inserted: it is the only one missing');
DROP TRIGGER refuse_job ON sync.sync_jobs;
DELETE FROM sync.connections;

-- Batches, in due order
SELECT connection('batch ' || n, NULL, at('11:00') - make_interval(mins => n)) FROM generate_series(1, 10) n;
UPDATE sync.connection_state s SET due_at = c.last_incremental_finished_at + interval '900 s' FROM sync.connections c WHERE c.id = s.connection_id;
SELECT results_eq($$SELECT enqueued, more FROM sync.tick_batch(4, at('11:30'))$$, 'VALUES (4, true)', 'a batch of 4: there is more');
SELECT set_eq($$SELECT c.external_id FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id WHERE j.status = 'queued'$$,
    ARRAY['batch 10', 'batch 9', 'batch 8', 'batch 7'], 'a batch of 4: those due longest');
SELECT results_eq($$SELECT enqueued, more, backlog FROM sync.tick_batch(4, at('11:30'))$$, 'VALUES (4, true, 2::bigint)', 'the second batch: the backlog is what is left');
SELECT results_eq($$SELECT enqueued, more, backlog FROM sync.tick_batch(4, at('11:30'))$$, 'VALUES (2, false, 0::bigint)', 'the last batch');
SELECT results_eq($$SELECT enqueued, more FROM sync.tick_batch(as_of => at('11:30'))$$, 'VALUES (0, false)', 'the batch size has a default');
DELETE FROM sync.connections;
SET LOCAL sync_engine.tick_batch_size = 3;
SELECT connection('sized ' || n, NULL, at('10:00')) FROM generate_series(1, 10) n;
SELECT is((SELECT enqueued FROM sync.tick_batch(as_of => at('11:30'))), 3, 'tick_batch_size is the default size');
SELECT is((SELECT enqueued FROM sync.tick(at('11:30'))), 7, 'tick takes all of it');
RESET sync_engine.tick_batch_size;
DELETE FROM sync.connections;

-- Backlog: active, due at as_of, left without a live incremental job. A row that another session holds is tested in the isolation specs.
SELECT connection('left ' || n, NULL, at('10:00')) FROM generate_series(1, 3) n;
SELECT connection('left, paused', NULL, at('10:00'), status => 'paused');
SELECT is((SELECT backlog FROM sync.tick_batch(1, at('11:30'))), 2::bigint, 'backlog: active connections left behind');
SELECT is((SELECT backlog FROM sync.tick(at('11:30'))), 0::bigint, 'backlog: none after a whole tick');
SELECT connection('looked ahead', NULL, at('11:15:30'));
UPDATE sync.connection_state SET due_at = at('11:30:30') WHERE connection_id = conn('looked ahead');
SELECT connection('due', NULL, at('10:00'));
SELECT is((SELECT backlog FROM sync.tick_batch(1, at('11:30'))), 0::bigint, 'backlog: what the look-ahead reaches is not due yet');
DELETE FROM sync.connections;

-- A paused provider: parked, nothing cancelled, taken up on resume.
SELECT connection('parked ' || n, NULL, at('12:00')) FROM generate_series(1, 5) n;
SELECT connection('elsewhere', NULL, at('12:00'), slug => 'gitlab');
SELECT connection('queued before', NULL, at('12:00'));
SELECT job('queued before');
SELECT sync.pause_provider('github', 'maintenance');
SELECT results_eq($$SELECT enqueued, skipped FROM sync.tick(at('12:15'))$$, 'VALUES (1, 0)', 'a paused provider: only others are enqueued');
SELECT is(live('elsewhere'), 1::bigint, 'a paused provider: another provider''s connection runs');
SELECT is((SELECT count(*) FROM sync.connection_state WHERE due_at <= at('12:16')), 0::bigint, 'a paused provider: its backlog does not stand in front of the scan');
SELECT is((job_of('queued before')).status, 'queued', 'a paused provider: nothing is cancelled');
SELECT set_eq($$SELECT provider_slug FROM sync.claim_jobs('executor', 10, at('12:16'))$$, ARRAY['gitlab'], 'a paused provider: nothing is claimed');
DELETE FROM sync.connections WHERE id = conn('elsewhere');
SELECT is((SELECT enqueued FROM sync.tick(at('12:31'))), 0, 'a paused provider: still nothing later');
-- Writing to a parked connection does not unpark it.
UPDATE sync.connections SET metadata = '{"theirs": 1}' WHERE id = conn('parked 1');
SELECT is((SELECT enqueued FROM sync.tick(at('12:32'))), 0, 'a paused provider: nor when a connection is written to');
SELECT connection('parked new');
SELECT is((SELECT enqueued FROM sync.tick(at('12:32'))), 0, 'a paused provider: nor for a new connection');
SELECT sync.resume_provider('github');
SELECT is((SELECT enqueued FROM sync.tick(at('12:33'))), 6, 'a resumed provider: everything due is enqueued, once');
SELECT is((job_of('parked 2')).scheduled_at, at('12:30'), 'a resumed provider: for the latest slot');
SELECT is((SELECT count(*) FROM sync.connection_state WHERE parked_for IS NOT NULL), 0::bigint, 'a resumed provider: nothing stays parked');
SELECT is(claim(at('12:34')), 7::bigint, 'a resumed provider: everything is claimed, what was queued before too');
-- In small batches, and by UPDATE.
DELETE FROM sync.connections;
SELECT connection('parked ' || n, NULL, at('12:00')) FROM generate_series(1, 9) n;
UPDATE sync.providers SET status = 'paused' WHERE slug = 'github';
SELECT is((SELECT total FROM all_batches(2, at('13:00'))), 0, 'paused by UPDATE: no batch enqueues');
SELECT is((SELECT count(*) FROM sync.connection_state WHERE parked_for = 'github'), 9::bigint, 'paused by UPDATE: all are parked');
UPDATE sync.providers SET status = 'active' WHERE slug = 'github';
SELECT is((SELECT total FROM all_batches(2, at('13:00'))), 9, 'resumed by UPDATE: the batches enqueue all');
-- A connection paused while its provider is.
DELETE FROM sync.connections;
SELECT connection('both', NULL, at('12:00'));
SELECT sync.pause_provider('github');
SELECT sync.tick(at('13:00'));
SELECT sync.pause(conn('both'));
SELECT sync.resume_provider('github');
SELECT is((SELECT enqueued FROM sync.tick(at('13:00'))), 0, 'a connection paused under a paused provider stays paused');
SELECT sync.resume(conn('both'));
SELECT is((SELECT enqueued FROM sync.tick(at('13:00'))), 1, 'and runs when it is resumed');

SELECT * FROM finish();
ROLLBACK;
