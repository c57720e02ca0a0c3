-- Leaving active by any means, coming back, and deleting a connection.
\ir include/setup.psql
SELECT plan(79);
SELECT fix_jitter();

-- By each means, into each status: queued jobs of all types are cancelled, next_run_at stays.
SELECT connection(s || ' by ' || m, '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'))
FROM unnest('{paused,error,revoked}'::text[]) s, unnest('{update}'::text[]) m;
SELECT connection('paused by pause', '{"next_run_at": "2026-03-01T10:15:00Z"}', at('10:00'));
CREATE TEMP TABLE leaving AS SELECT external_id AS name, split_part(external_id, ' ', 1) AS status FROM sync.connections;
SELECT job(name, t) FROM leaving, unnest('{incremental,full,webhook}'::text[]) t;
UPDATE sync.connections SET status = split_part(external_id, ' ', 1) WHERE external_id LIKE '% by update';
SELECT sync.pause(conn('paused by pause'), 'asked for');
SELECT is((SELECT array_agg(DISTINCT status) FROM sync.sync_jobs WHERE connection_id = conn(name)), '{cancelled}', name || ': the queued jobs of all types are cancelled') FROM leaving;
SELECT ok((SELECT bool_and(finished_at IS NOT NULL AND error ->> 'cancelled' IS NOT NULL) FROM sync.sync_jobs WHERE connection_id = conn(name)),
    name || ': with a time and a reason') FROM leaving;
SELECT is(meta(name) ->> 'next_run_at', '2026-03-01T10:15:00Z', name || ': next_run_at stays') FROM leaving;
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn(name)), NULL, name || ': the tick does not look at it') FROM leaving;
SELECT is((SELECT enqueued FROM sync.tick(at('10:20'))), 0, 'not active: nothing is enqueued');
SELECT is((SELECT status_reason FROM sync.connections WHERE id = conn('paused by pause')), 'asked for', 'pause keeps the reason');
SELECT is((SELECT count(*) FROM sync.sync_executions), 0::bigint, 'a queued job that is cancelled was no attempt');

-- Coming back
SELECT lives_ok(format('SELECT sync.resume(%s)', conn(name)), name || ': resumed') FROM leaving WHERE status <> 'revoked';
SELECT is((SELECT status FROM sync.connections WHERE id = conn(leaving.name)), 'active', name || ': active again') FROM leaving WHERE status <> 'revoked';
SELECT throws_ok(format('SELECT sync.%s(%s)', f, conn('revoked by update')), '55000', NULL, 'revoked: not by ' || f) FROM unnest('{resume,pause}'::text[]) f;
SELECT is((SELECT status FROM sync.connections WHERE id = conn('revoked by update')), 'revoked', 'revoked stays');
SELECT is((SELECT enqueued FROM sync.tick(at('10:20'))), 3, 'resumed: enqueued by the next tick');
SELECT is((job_of('paused by pause')).scheduled_at, at('10:15'), 'resumed: the slot follows from L and B');
SELECT is((SELECT status_reason FROM sync.connections WHERE id = conn('paused by pause')), NULL, 'resumed: the reason is cleared');
SELECT lives_ok(format('SELECT sync.resume(%s)', conn('paused by pause')), 'resume of an active connection is harmless');
SELECT is(live('paused by pause'), 1::bigint, 'resume of an active connection leaves its job');
SELECT throws_ok('SELECT sync.' || f || '(-1)', 'P0002', 'connection -1 does not exist', f || ' of a connection that does not exist')
FROM unnest('{pause,resume}'::text[]) f;
SELECT throws_ok($$SELECT sync.$$ || f || $$('nobody')$$, 'P0002', 'provider nobody does not exist', f || ' of a provider that does not exist')
FROM unnest('{pause_provider,resume_provider}'::text[]) f;
-- Pausing what is in error and back: resume is what clears it.
UPDATE sync.connections SET status = 'error' WHERE id = conn('paused by pause');
SELECT sync.resume(conn('paused by pause'));
SELECT is((SELECT status FROM sync.connections WHERE id = conn('paused by pause')), 'active', 'resume clears error');
DELETE FROM sync.connections;

-- What runs finishes; meanwhile nothing is requeued.
SELECT connection(x, NULL, at('10:00')) FROM unnest('{completes,fails,fails for good,pages,released,triggered,lost}'::text[]) x;
SELECT job(x) FROM unnest('{completes,fails,fails for good,pages,released,triggered,lost}'::text[]) x;
SELECT sync.register_executor('executor', 1, '{}', at('10:30'));
SELECT claim(at('10:30'));
SELECT sync.trigger(conn('triggered'), as_of => at('10:30'));
SELECT job('completes', 'full');
UPDATE sync.connections SET status = 'paused';
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status = 'running'), 7::bigint, 'paused while running: what runs goes on');
SELECT is((job_of('completes', 'full')).status, 'cancelled', 'paused while running: what was queued beside it is cancelled');
SELECT is((SELECT count(*) FROM sync.heartbeat('executor', (SELECT array_agg(id) FROM sync.sync_jobs WHERE status = 'running'), at('10:30:30'))), 0::bigint,
    'paused while running: the executor is not told to stop');
SELECT is(complete('completes', at('10:31'), '[{"kind": "k"}]', '{"c": 1}'), true, 'paused while running: completed');
SELECT row_eq($$SELECT j.status, last_finish('completes'), meta('completes') -> 'cursor' FROM job_of('completes') j$$,
    ROW('succeeded'::text, at('10:31'), '{"c": 1}'::jsonb), 'paused while running: completed with all that belongs to it');
SELECT is(fail('fails', at('10:31')), 'cancelled', 'paused while running: a failed run ends cancelled');
SELECT row_eq($$SELECT j.status, j.finished_at, live('fails') FROM job_of('fails') j$$, ROW('cancelled'::text, at('10:31'), 0::bigint),
    'paused while running: a failed run is not requeued');
SELECT is((SELECT status || ' ' || kind FROM sync.sync_executions WHERE connection_id = conn('fails')), 'failed transient',
    'paused while running: the attempt is history');
SELECT is(fail('fails for good', at('10:31'), 'permanent'), 'failed', 'paused while running: a permanent failure is one');
SELECT is(complete('pages', at('10:31'), '[{"kind": "k"}]', '{"c": 2}', true), true, 'paused while running: a page completes');
SELECT row_eq($$SELECT j.status, live('pages'), meta('pages') -> 'cursor' FROM job_of('pages') j$$,
    ROW('succeeded'::text, 0::bigint, '{"c": 2}'::jsonb), 'paused while running: a page succeeds, its cursor is kept, no page follows');
SELECT is((SELECT sync.release_jobs('executor', ARRAY[r.id], ARRAY[r.claim_token], at('10:31')) FROM running('released') r), 1, 'paused while running: released');
SELECT is((job_of('released')).status, 'cancelled', 'paused while running: what is released is cancelled');
SELECT is(complete('triggered', at('10:31')), true, 'paused while running: completed in spite of a trigger');
SELECT is(live('triggered'), 0::bigint, 'paused while running: the trigger''s run does not follow');
SELECT sync.tick(at('10:40'));
SELECT is((job_of('lost')).status, 'cancelled', 'paused while running: a lost job is cancelled');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status IN ('queued', 'running')), 0::bigint, 'paused while running: nothing is live in the end');
SELECT is((SELECT count(*) FROM sync.connection_state WHERE running_job_id IS NOT NULL OR due_at IS NOT NULL), 0::bigint, 'paused while running: no lease and no due time is left');
-- Resumed after that, each runs again, the page from where it stopped.
UPDATE sync.connections SET status = 'active';
SELECT is((SELECT enqueued FROM sync.tick(at('11:00'))), 7, 'resumed after that: every connection is scheduled');
SELECT is((SELECT cursor FROM sync.claim_jobs('executor', 10, at('11:00')) WHERE connection_id = conn('pages')), '{"c": 2}'::jsonb,
    'resumed after that: the pages go on where they stopped');
-- Resumed while the old job still runs: it counts.
DELETE FROM sync.connections;
SELECT connection('to and fro', NULL, at('10:00'));
SELECT job('to and fro');
SELECT claim(at('11:00'));
SELECT sync.pause(conn('to and fro')), sync.resume(conn('to and fro'));
SELECT is((SELECT enqueued FROM sync.tick(at('11:00'))), 0, 'paused and resumed while running: no second job');
SELECT is(fail('to and fro', at('11:01')), 'queued', 'paused and resumed while running: retried as usual');

-- The status itself
SELECT throws_ok($$UPDATE sync.connections SET status = 'sleeping'$$, '23514', NULL, 'an unknown status is refused');
SELECT connection('inserted paused', NULL, at('10:00'), status => 'paused');
SELECT job('inserted paused');
SELECT is(claim(at('12:00'), 10, 'another'), 1::bigint, 'a job of a connection that is not active is not claimed');
SELECT is((job_of('inserted paused')).status, 'queued', 'a job written for a connection that is not active waits');
UPDATE sync.connections SET status = 'active' WHERE id = conn('inserted paused');
SELECT is(claim(at('12:00'), 10, 'another'), 1::bigint, 'and is claimed when it becomes active');
DELETE FROM sync.connections;

-- Deleting: jobs, signals and history go with the connection, nobody else's.
SELECT connection(x, NULL, at('10:00')) FROM unnest('{deleted,kept}'::text[]) x;
SELECT job(x) FROM unnest('{deleted,kept}'::text[]) x;
SELECT claim(at('12:00'));
SELECT complete(x, at('12:01'), '[{"kind": "k", "dedupe_key": "1"}, {"kind": "k"}]') FROM unnest('{deleted,kept}'::text[]) x;
SELECT housekeep(at('12:01'));
SELECT job(x) FROM unnest('{deleted,kept}'::text[]) x;
SELECT claim(at('12:02'));
SELECT complete(x, at('12:03'), '[{"kind": "k", "dedupe_key": "2"}]') FROM unnest('{deleted,kept}'::text[]) x;
SELECT job(x) FROM unnest('{deleted,kept}'::text[]) x;
SELECT job(x, 'full') FROM unnest('{deleted,kept}'::text[]) x;
SELECT claim(at('12:04'));
CREATE TEMP TABLE before AS SELECT conn('deleted') AS id, r.id AS job_id, r.claim_token FROM running('deleted') r;
SELECT lives_ok('DELETE FROM sync.connections WHERE id = (SELECT id FROM before)', 'a connection is deleted while its job runs');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE connection_id = (SELECT id FROM before)), 0::bigint, 'deleted: its jobs are gone, live and finished');
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id = (SELECT id FROM before)), 0::bigint, 'deleted: its signals are gone');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE connection_id = (SELECT id FROM before)), 0::bigint, 'deleted: its history is gone');
SELECT is((SELECT count(*) FROM sync.connection_state WHERE connection_id = (SELECT id FROM before)), 0::bigint, 'deleted: its state is gone');
SELECT is((SELECT count(*) FROM sync.signals), 3::bigint, 'deleted: the others keep their signals');
SELECT is((SELECT count(*) FROM sync.sync_jobs), 4::bigint, 'deleted: the others keep their jobs');
SELECT is((SELECT count(*) FROM sync.sync_executions), 2::bigint, 'deleted: the others keep their history');
SELECT is((SELECT sync.complete_job(job_id, claim_token, '[{"kind": "k"}]', as_of => at('12:05')) FROM before), false, 'deleted while its job ran: completing says that it is stale');
SELECT is((SELECT sync.fail_job(job_id, claim_token, '{}', as_of => at('12:05')) FROM before), NULL, 'deleted while its job ran: failing too');
SELECT results_eq($$SELECT h.instruction FROM before, sync.heartbeat('executor', ARRAY[job_id], at('12:05')) h$$, $$VALUES ('cancel')$$,
    'deleted while its job ran: the heartbeat says cancel');
SELECT throws_ok($$DELETE FROM sync.providers WHERE slug = 'github'$$, '23503', NULL, 'a provider that has connections cannot be deleted');
-- Large history is removed in batches, in the end all of it.
SELECT complete('kept', at('12:06'));
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, received_at) SELECT 'T', 'github', conn('kept'), at('12:00') FROM generate_series(1, 25000);
DELETE FROM sync.connections;
SELECT ok(EXISTS (SELECT 1 FROM sync.signals), 'a large history is not removed at once');
SELECT cmp_ok(housekeep(at('12:10')), '>', 1, 'housekeeping says that there is more, until it has done');
SELECT is((SELECT count(*) FROM sync.signals) + (SELECT count(*) FROM sync.sync_executions) + (SELECT count(*) FROM sync.sync_jobs), 0::bigint,
    'a large history is removed in the end');

SELECT * FROM finish();
ROLLBACK;
