-- Failing a job: kinds, backoff, hints, provider overrides, when it is for good.
\ir include/setup.psql
SELECT plan(97);
SELECT fix_jitter();

-- The arithmetic, without jitter
SELECT is(sync.backoff_seconds(a), w::numeric, 'backoff after ' || a || ' failures: ' || w || ' s')
FROM (VALUES (0, 5), (1, 10), (2, 20), (3, 40), (4, 80), (7, 640), (8, 900), (9, 900), (62, 900), (63, 900), (64, 900), (1000, 900), (2147483647, 900)) v (a, w);
SELECT is(sync.backoff_seconds(3, NULL, h), w::numeric, 'a hint of ' || h || ' after 3 failures: ' || w || ' s')
FROM (VALUES (0::numeric, 40::numeric), (39.9, 40), (40.5, 40.5), (100, 100), (5000, 5000), (604800, 604800), (604801, 604800), (1e9, 604800), (1e400, 604800), ('NaN', 40), (-1, 40), (-1e400, 40), ('Infinity', 604800), ('-Infinity', 40)) v (h, w);
SELECT is(sync.backoff_seconds(3, NULL, NULL), 40::numeric, 'no hint: 40 s');
SELECT provider('impatient');
UPDATE sync.providers SET backoff_base_seconds = 1, backoff_max_seconds = 30, backoff_jitter_factor = 0 WHERE slug = 'impatient';
SELECT is(sync.backoff_seconds(a, 'impatient'), w::numeric, 'the provider''s own backoff after ' || a || ': ' || w || ' s') FROM (VALUES (0, 1), (3, 8), (5, 30), (50, 30)) v (a, w);
SELECT is(sync.backoff_seconds(3, 'impatient', 100), 100::numeric, 'a hint beyond the provider''s maximum is followed');
SET LOCAL sync_engine.backoff_base_seconds = 2;
SET LOCAL sync_engine.backoff_max_seconds = 100;
SELECT is(sync.backoff_seconds(a), w::numeric, 'configured backoff after ' || a || ': ' || w || ' s') FROM (VALUES (0, 2), (5, 64), (6, 100)) v (a, w);
SET LOCAL sync_engine.backoff_base_seconds = 200;
SELECT is(sync.backoff_seconds(a), w::numeric, 'a base above the maximum contradicts itself, the defaults are used: ' || w || ' s') FROM (VALUES (0, 5), (10, 900)) v (a, w);
RESET sync_engine.backoff_base_seconds;
RESET sync_engine.backoff_max_seconds;

-- What a failure writes: attempts before the increment, jitter on top.
CREATE FUNCTION failed(external text, attempts int DEFAULT 0, kind text DEFAULT 'transient', hint numeric DEFAULT NULL, slug text DEFAULT 'github') RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
    before int := attempts;
BEGIN
    PERFORM connection(external, NULL, at('09:00'), slug => slug);
    PERFORM job(external);
    UPDATE sync.sync_jobs j SET attempts = before WHERE j.connection_id = conn(external);
    PERFORM claim(at('10:00'));
    PERFORM fail(external, at('10:01'), kind, hint);
    RETURN (job_of(external)).retry_after - at('10:01');
END $$;
CREATE FUNCTION within(waited interval, seconds int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT waited BETWEEN make_interval(secs => seconds) AND make_interval(secs => seconds * 1.1)
$$;
SELECT ok(within(failed('after ' || a, a), w), 'attempts ' || a || ': retry_after within ' || w || ' s and a tenth more')
FROM (VALUES (0, 5), (1, 10), (3, 40), (10, 900)) v (a, w);
SELECT ok(within(failed('hint ' || h, 3, 'rate_limited', h), w), 'hint ' || h || ': retry_after within ' || w || ' s and a tenth more')
FROM (VALUES (100::numeric, 100), (1, 40), ('NaN', 40), (-5, 40), (999999999, 604800)) v (h, w);
SELECT is(failed('impatient', 3, slug => 'impatient'), interval '8 s', 'provider columns override the settings, its jitter too');
SET LOCAL sync_engine.backoff_jitter_factor = 1;
SELECT ok((SELECT count(DISTINCT w) > 20 AND min(w) >= interval '5 s' AND max(w) <= interval '10 s' AND max(w) > interval '7 s'
           FROM (SELECT failed('jitter ' || n) AS w FROM generate_series(1, 30) n) x), 'jitter_factor 1: up to twice as long, each its own');
SET LOCAL sync_engine.backoff_jitter_factor = 0;
SELECT is(failed('no jitter'), interval '5 s', 'jitter_factor 0: to the second');
SELECT row_eq($$SELECT j.status, j.attempts, j.rate_limited_attempts, j.error, j.error_kind, j.started_at, j.finished_at, j.claimed_by, j.claim_token FROM job_of('no jitter') j$$,
    ROW('queued'::text, 1, 0, '{"kind": "transient", "message": "boom"}'::jsonb, 'transient'::text, at('10:00'), NULL::timestamptz, NULL::text, NULL::uuid), 'requeued: what the job holds');
SELECT row_eq($$SELECT e.attempt, e.status, e.job_status, e.kind, e.started_at, e.finished_at, e.duration_ms, e.retry_after, e.error ->> 'message'
                FROM sync.sync_executions e WHERE e.connection_id = conn('no jitter')$$,
    ROW(1, 'failed'::text, 'queued'::text, 'transient'::text, at('10:00'), at('10:01'), 60000::float8, at('10:01:05'), 'boom'::text), 'requeued: what the history holds');
SELECT is(last_finish('no jitter'), at('09:00'), 'requeued: the run has not ended');
SELECT is((SELECT due_at FROM sync.connection_state WHERE connection_id = conn('no jitter')), NULL, 'requeued: the tick has nothing to do');
SELECT claim(at('10:02'), 1000);
SELECT complete('no jitter', at('10:03'));
SELECT is((SELECT array_agg(attempt || ' ' || status ORDER BY id) FROM sync.sync_executions WHERE connection_id = conn('no jitter')), '{"1 failed","2 succeeded"}', 'the attempts in the history');
SELECT is((job_of('no jitter')).error ->> 'message', 'boom', 'the last error stays with the job that succeeded');
DELETE FROM sync.connections;

-- Kinds
CREATE FUNCTION outcome(kind text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM failed('kind ' || kind, 0, kind);
    RETURN (job_of('kind ' || kind)).status || ', connection ' || (SELECT status FROM sync.connections WHERE id = conn('kind ' || kind));
END $$;
SELECT is(outcome('transient'), 'queued, connection active', 'transient: retried');
SELECT is(outcome('rate_limited'), 'queued, connection active', 'rate_limited: retried');
SELECT is(outcome('lost'), 'queued, connection active', 'lost: retried');
SELECT is(outcome('permanent'), 'failed, connection active', 'permanent: not retried');
SELECT is(outcome('unauthorized'), 'failed, connection error', 'unauthorized: not retried, the connection is in error');
SELECT row_eq($$SELECT last_finish('kind permanent'), meta('kind permanent') ->> 'next_run_at', (job_of('kind permanent')).finished_at$$,
    ROW(at('10:01'), '2026-03-01T10:16:00Z'::text, at('10:01')), 'failed for good: the run has ended, the next is reckoned from it');
SELECT is((SELECT enqueued FROM sync.tick(at('10:16'))), 1, 'failed for good: the connection runs at its next slot, one in error does not');
SELECT matches((SELECT status_reason FROM sync.connections WHERE id = conn('kind unauthorized')), 'boom', 'unauthorized: the connection says why');
SELECT is((SELECT error_kind FROM job_of('kind unauthorized')), 'unauthorized', 'unauthorized: the job too');
DELETE FROM sync.connections;

-- unauthorized cancels what is queued, of all types
SELECT connection('credentials', NULL, at('09:00'));
SELECT job('credentials', t) FROM unnest('{incremental,full,webhook}'::text[]) t;
SELECT claim(at('10:00'));
SELECT sync.trigger(conn('credentials'), (running('credentials')).job_type, as_of => at('10:00'));
SELECT is(fail('credentials', at('10:01'), 'unauthorized'), 'failed', 'unauthorized with jobs behind it');
SELECT is((SELECT string_agg(status, ',' ORDER BY status) FROM sync.sync_jobs WHERE connection_id = conn('credentials')), 'cancelled,cancelled,failed', 'unauthorized: what was queued is cancelled');
SELECT is((SELECT enqueued FROM sync.tick(at('11:00'))), 0, 'unauthorized: nothing is enqueued');
SELECT sync.resume(conn('credentials'));
SELECT is((SELECT enqueued FROM sync.tick(at('11:00'))), 1, 'unauthorized, resumed: it runs again');
DELETE FROM sync.connections;

-- max_attempts; attempts that were rate limited do not count
SET LOCAL sync_engine.max_attempts = 3;
SELECT connection('persistent', NULL, at('09:00'));
SELECT job('persistent');
CREATE FUNCTION attempt(kind text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sync.lift_hold(conn('persistent'), at('10:00'));
    UPDATE sync.sync_jobs SET retry_after = NULL WHERE connection_id = conn('persistent') AND status = 'queued';
    PERFORM claim(at('10:00'));
    RETURN fail('persistent', at('10:00'), kind);
END $$;
SELECT is(attempt('transient'), 'queued', 'max_attempts 3: the first failure');
SELECT is(attempt('rate_limited'), 'queued', 'max_attempts 3: rate limited');
SELECT is(attempt('lost'), 'queued', 'max_attempts 3: the second failure');
SELECT is(attempt('rate_limited'), 'queued', 'max_attempts 3: rate limited');
SELECT is(attempt('rate_limited'), 'queued', 'max_attempts 3: rate limited once more');
SELECT row_eq($$SELECT j.attempts, j.rate_limited_attempts FROM job_of('persistent') j$$, ROW(5, 3), 'max_attempts 3: five attempts, three of them rate limited');
SELECT is(attempt('transient'), 'failed', 'max_attempts 3: the third failure that was not rate limited is for good');
SELECT row_eq($$SELECT j.status, j.attempts, last_finish('persistent') FROM job_of('persistent') j$$, ROW('failed'::text, 6, at('10:00')), 'max_attempts 3: the run has ended');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE connection_id = conn('persistent')), 6::bigint, 'one history row an attempt');
UPDATE sync.providers SET max_attempts = 1 WHERE slug = 'github';
SELECT job('persistent');
SELECT is(attempt('rate_limited'), 'queued', 'the provider''s max_attempts 1: rate limited goes on');
SELECT is(attempt('transient'), 'failed', 'the provider''s max_attempts 1: one failure is for good');
RESET sync_engine.max_attempts;
UPDATE sync.providers SET max_attempts = NULL WHERE slug = 'github';
SELECT is((SELECT sync._setting('max_attempts')), 20::float8, 'max_attempts is 20 by default');
DELETE FROM sync.connections;

-- Another type that fails for good does not move the connection's clock.
SELECT connection('other type', '{"next_run_at": "2026-03-01T10:30:00Z"}', at('10:15'));
SELECT job('other type', 'full');
SELECT claim(at('10:20'));
SELECT is(fail('other type', at('10:20'), 'permanent'), 'failed', 'another type fails for good');
SELECT row_eq($$SELECT last_finish('other type'), meta('other type') ->> 'next_run_at'$$, ROW(at('10:15'), '2026-03-01T10:30:00Z'::text), 'another type leaves last finish and next run');
SELECT is((SELECT enqueued FROM sync.tick(at('10:30'))), 1, 'another type leaves the schedule');

-- Errors of every shape and size
CREATE FUNCTION stored_error(error jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sync.lift_hold(conn('other type'), at('10:40'));
    UPDATE sync.sync_jobs SET retry_after = NULL, scheduled_at = at('10:00') WHERE connection_id = conn('other type') AND status = 'queued';
    PERFORM claim(at('10:40'));
    PERFORM sync.fail_job(r.id, r.claim_token, stored_error.error, 'rate_limited', NULL, at('10:40')) FROM running('other type') r;
    RETURN (job_of('other type')).error;
END $$;
SELECT is(stored_error(e) ->> 'message', m, 'error ' || COALESCE(e::text, 'null'))
FROM (VALUES ('{"message": "m", "code": 5}'::jsonb, 'm'), ('"text"', 'text'), ('5', '5'), ('{}', NULL), ('null', NULL), (NULL, NULL)) v (e, m);
SELECT is(stored_error('{"message": "m", "code": 5}') -> 'code', '5'::jsonb, 'the error''s other keys are kept');
SELECT is(jsonb_typeof(stored_error('[1, 2]')), 'object', 'an error that is an array becomes an object');
SELECT cmp_ok(length(stored_error(jsonb_build_object('message', repeat('x', 1000000)))::text), '<', 20000, 'an error of 1 MB is cut');
SELECT matches(stored_error(jsonb_build_object('message', repeat('x', 1000000))) ->> 'message', '^xxx', 'and keeps its beginning');
SELECT cmp_ok(length(stored_error(to_jsonb(repeat('y', 1000000)))::text), '<', 20000, 'a text of 1 MB is cut');
SELECT cmp_ok(length(stored_error(jsonb_build_object('message', 'm', 'body', repeat('x', 1000000)))::text), '<', 20000, 'an error with a huge body is cut');
SELECT is(fail('other type', at('10:41'), 'transient'), NULL, 'failing what does not run says so');

SELECT * FROM finish();
ROLLBACK;
