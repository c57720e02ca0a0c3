-- Loops and bad data: refused with 22023 and nothing changed; in a batch, each fails its own job alone.
\ir include/setup.psql
SELECT plan(99);
SELECT fix_jitter();

-- has_more without a cursor
SELECT connection('no cursor', NULL, at('09:00'));
SELECT job('no cursor');
SELECT claim(at('10:00'));
SELECT is(complete('no cursor', at('10:01'), '[]', NULL, true), true, 'has_more without a cursor: the call is taken');
SELECT row_eq($$SELECT j.status, j.error_kind, j.finished_at FROM job_of('no cursor') j$$, ROW('failed'::text, 'permanent'::text, at('10:01')), 'has_more without a cursor is permanent failure');
SELECT matches((job_of('no cursor')).error ->> 'message', 'cursor', 'has_more without a cursor: the error says so');
SELECT row_eq($$SELECT live('no cursor'), last_finish('no cursor')$$, ROW(0::bigint, at('10:01')), 'has_more without a cursor: the run has ended');
SELECT is((SELECT status FROM sync.connections WHERE id = conn('no cursor')), 'active', 'has_more without a cursor: the connection stays active');
SELECT is((SELECT enqueued FROM sync.tick(at('10:16'))), 1, 'has_more without a cursor: it is tried again at its next slot');
SELECT claim(at('10:16'));
SELECT is(complete('no cursor', at('10:17'), '[]', 'null', true), true, 'has_more with a JSON null');
SELECT is((job_of('no cursor')).status, 'failed', 'has_more with a JSON null is the same');

-- Too many pages
SET LOCAL sync_engine.max_pages_per_run = 3;
SELECT connection('endless', NULL, at('09:00'));
SELECT job('endless');
CREATE FUNCTION pages(external text, n int, cursor_of text, signals jsonb DEFAULT '[]') RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    done int := 0;
BEGIN
    FOR i IN 1 .. n LOOP
        PERFORM claim(at('10:30'));
        EXIT WHEN complete(external, at('10:30'), signals, to_jsonb(replace(cursor_of, '$n', i::text)), true) IS NOT TRUE;
        done := i;
    END LOOP;
    RETURN done;
END $$;
SELECT is(pages('endless', 10, 'page $n'), 3, 'an endless pager is stopped');
SELECT row_eq($$SELECT j.status, j.error_kind, j.page FROM job_of('endless') j$$, ROW('failed'::text, 'permanent'::text, 3), 'max_pages_per_run pages and no end: permanent failure');
SELECT matches((job_of('endless')).error ->> 'message', '3 pages', 'the error says how many');
SELECT is((SELECT array_agg(status ORDER BY page) FROM sync.sync_executions WHERE connection_id = conn('endless')), '{succeeded,succeeded,failed}', 'the pages before it stand');
SELECT is(last_finish('endless'), at('10:30'), 'the run has ended');
SELECT job('endless');
SELECT claim(at('10:31'));
SELECT complete('endless', at('10:31'), '[]', '"1"', true), claim(at('10:31')), complete('endless', at('10:31'), '[]', '"2"', true), claim(at('10:31'));
SELECT complete('endless', at('10:31'), '[]', '"3"', false);
SELECT is((job_of('endless')).status, 'succeeded', 'exactly max_pages_per_run pages are allowed');
RESET sync_engine.max_pages_per_run;

-- Two pages in a row that return their own cursor and no new signal
SELECT connection('stalled', NULL, at('09:00'));
SELECT job('stalled', cursor => '"same"');
SELECT is(pages('stalled', 10, 'same'), 2, 'a pager that stands still is stopped');
SELECT row_eq($$SELECT j.status, j.error_kind FROM job_of('stalled') j$$, ROW('failed'::text, 'permanent'::text), 'two stalled pages: permanent failure');
SELECT is((SELECT array_agg(status ORDER BY page) FROM sync.sync_executions WHERE connection_id = conn('stalled')), '{succeeded,failed}', 'one stalled page is allowed');
SELECT job('stalled', 'stored', cursor => NULL);
SELECT connection('first page', '{"cursor": "same"}', at('09:00'));
SELECT job('first page');
SELECT is(pages('first page', 10, 'same'), 2, 'the stored cursor counts as the page''s own');
SELECT connection('signals', NULL, at('09:00'));
SELECT job('signals', cursor => '"same"');
SELECT is(pages('signals', 10, 'same', '[{"kind": "new"}]'), 10, 'pages with new signals go on');
SELECT connection('duplicates', NULL, at('09:00'));
SELECT job('duplicates', cursor => '"same"');
SELECT is(pages('duplicates', 10, 'same', '[{"dedupe_key": "old"}]'), 3, 'signals that were seen before are not new');
SELECT connection('moving', NULL, at('09:00'));
SELECT job('moving', cursor => '"page 0"');
SELECT is(pages('moving', 10, 'page $n'), 10, 'pages whose cursor moves go on');
SELECT connection('halting', NULL, at('09:00'));
SELECT job('halting', cursor => '"a"');
SELECT pages('halting', 1, 'a'), pages('halting', 1, 'b'), pages('halting', 1, 'b'), pages('halting', 1, 'c');
SELECT is((job_of('halting')).status, 'queued', 'stalled pages that are not in a row go on');
DELETE FROM sync.connections;

-- Bad data: 22023, nothing changed
SELECT connection('bad', NULL, at('09:00'));
SELECT job('bad');
SELECT claim(at('11:00'));
CREATE TEMP TABLE h AS SELECT r.id, r.claim_token FROM running('bad') r;
CREATE TEMP TABLE before AS SELECT state_of('bad') AS state;
CREATE TEMP TABLE bad_signals (what text, signals jsonb, message text);
INSERT INTO bad_signals VALUES
    ('an object', '{}', 'signals is a JSON object, not an array'),
    ('a string', '"x"', 'signals is a JSON string, not an array'),
    ('a number', '1', 'signals is a JSON number, not an array'),
    ('JSON null', 'null', 'signals is a JSON null, not an array'),
    ('a null in it', '[null]', 'signals[0] is a JSON null, not an object'),
    ('a number in it', '[{"kind": "k"}, 5]', 'signals[1] is a JSON number, not an object'),
    ('an array in it', '[{"kind": "k"}, {}, []]', 'signals[2] is a JSON array, not an object'),
    ('a kind that is a number', '[{"kind": 1}]', 'signals[0].kind is not a non-empty string'),
    ('an empty kind', '[{"kind": ""}]', 'signals[0].kind is not a non-empty string'),
    ('a null kind', '[{"kind": null}]', 'signals[0].kind is not a non-empty string'),
    ('a time that is none', '[{"occurred_at": "yesterday"}]', 'signals[0].occurred_at is not a time such as 2026-03-01T12:15:00Z'),
    ('a time that is a number', '[{"occurred_at": 1700000000}]', 'signals[0].occurred_at is not a time such as 2026-03-01T12:15:00Z'),
    ('an infinite time', '[{"occurred_at": "infinity"}]', 'signals[0].occurred_at is not a time such as 2026-03-01T12:15:00Z'),
    ('a time out of range', '[{"occurred_at": "999999-01-01T00:00:00Z"}]', 'signals[0].occurred_at is not a time such as 2026-03-01T12:15:00Z'),
    ('a dedupe_key that is an object', '[{"dedupe_key": {}}]', 'signals[0].dedupe_key is not a string'),
    ('a dedupe_key that is a boolean', '[{"dedupe_key": true}]', 'signals[0].dedupe_key is not a string');
SELECT throws_ok(format('SELECT sync.complete_job(%s, %L, %L, as_of => %L)', id, claim_token, signals, at('11:01')), '22023', message, 'complete_job refuses ' || what)
FROM h, bad_signals WHERE what <> 'JSON null';
SELECT throws_ok(format('SELECT sync.add_signals(%s, %L, %L, %L)', id, claim_token, signals, at('11:01')), '22023', message, 'add_signals refuses ' || what)
FROM h, bad_signals WHERE what IN ('an object', 'a number in it', 'a time that is none');
SELECT throws_ok(format('SELECT sync.complete_job(%s, %L, stats => %L, as_of => %L)', id, claim_token, s, at('11:01')), '22023', NULL, 'complete_job refuses stats ' || s)
FROM h, unnest('{"[]","1","\"x\""}'::text[]) s;
SELECT throws_ok(format('SELECT sync.complete_job(%s, %L, as_of => %L)', id, claim_token, 'infinity'), '22023', NULL, 'complete_job refuses an infinite time') FROM h;
SELECT throws_ok(format('SELECT sync.fail_job(%s, %L, ''{}'', %L)', id, claim_token, k), '22023', NULL, 'fail_job refuses the kind ' || COALESCE(k, 'null'))
FROM h, unnest(ARRAY['fatal', '', 'TRANSIENT', NULL]) k;
SELECT throws_ok(format('SELECT * FROM sync.complete_jobs(%L)', r), '22023', 'results must be a JSON array', 'complete_jobs refuses ' || COALESCE(r, 'null'))
FROM unnest(ARRAY['{}', '1', '"x"', 'null', NULL]) r;
SELECT throws_like(format('SELECT sync.complete_job(%s, %L, %L)', id, claim_token, '[{"payload": "a\u0000b"}]'), '%', 'JSON with \u0000 does not get as far as the engine') FROM h;
SELECT is(state_of('bad'), (SELECT state FROM before), 'bad data changed nothing at all');
SELECT is(complete('bad', at('11:02'), '[{"kind": "k", "payload": {"\\u0000": "�"}}]'), true, 'and the job can be completed');

-- In a batch, each fails its own job alone.
CREATE TEMP TABLE cases (n int, result jsonb, outcome text);
INSERT INTO cases SELECT row_number() OVER (), jsonb_build_object('signals', signals), 'rejected' FROM bad_signals WHERE what <> 'JSON null';
INSERT INTO cases VALUES (101, '{"signals": [{"kind": "k"}]}', 'completed'), (102, '{"stats": 5}', 'rejected'), (103, '{"has_more": "yes"}', 'rejected'),
    (104, '{"has_more": true}', 'rejected'), (105, '{"has_more": true, "next_cursor": null}', 'rejected'), (106, '{"signals": null, "stats": null, "has_more": null, "next_cursor": null}', 'completed'),
    (107, '{"error": null}', 'completed'), (108, '{"error": [1], "kind": 5, "retry_after_seconds": "soon"}', 'completed'), (109, '{"error": "x", "retry_after_seconds": 1e400}', 'completed'),
    (110, '{"error": "x", "retry_after_seconds": -1e400}', 'completed'), (111, '{"error": {"message": {"nested": 1}}}', 'completed');
SELECT connection('case ' || n, NULL, at('09:00')) FROM cases;
SELECT job('case ' || n) FROM cases;
SELECT claim(at('12:00'));
CREATE TEMP TABLE outcomes AS
SELECT c.n, c.outcome AS wanted, o.outcome, o.detail
FROM sync.complete_jobs((SELECT jsonb_agg(jsonb_build_object('job_id', j.id, 'claim_token', j.claim_token) || c.result)
                         FROM cases c JOIN sync.sync_jobs j ON j.connection_id = conn('case ' || c.n)), at('12:01')) o
JOIN sync.sync_jobs j ON j.id = o.job_id
JOIN cases c ON conn('case ' || c.n) = j.connection_id;
SELECT is(o.outcome, o.wanted, 'batch: ' || left(c.result::text, 70)) FROM outcomes o JOIN cases c USING (n) ORDER BY n;
SELECT is((SELECT count(*) FROM outcomes WHERE wanted = 'rejected' AND (detail IS NULL OR detail = '')), 0::bigint, 'batch: each that is rejected says why');
SELECT is((SELECT count(*) FROM cases WHERE outcome = 'rejected' AND (job_of('case ' || n)).status <> 'failed'), 0::bigint, 'batch: what is rejected has failed');
SELECT is((SELECT count(*) FROM cases WHERE outcome = 'rejected' AND (job_of('case ' || n)).error_kind <> 'permanent'), 0::bigint, 'batch: for good');
SELECT is((job_of('case 101')).status, 'succeeded', 'batch: the good one has succeeded');
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id = conn('case 101')), 1::bigint, 'batch: with its signal');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status = 'running'), 0::bigint, 'batch: nothing runs on');
-- Elements that name no job
SELECT results_eq(format('SELECT outcome, detail IS NOT NULL FROM sync.complete_jobs(%L, %L)', '[' || e || ']', at('12:02')), $$VALUES ('rejected', true)$$, 'batch: ' || e)
FROM unnest(ARRAY['null', '5', '"x"', '[]', '{}', '{"job_id": 1}', '{"job_id": "x", "claim_token": "y"}', '{"job_id": 1.5, "claim_token": "00000000-0000-0000-0000-000000000000"}',
    '{"job_id": 99999999999999999999999, "claim_token": "00000000-0000-0000-0000-000000000000"}', '{"job_id": 1, "claim_token": "not a uuid"}', '{"job_id": null, "claim_token": null}']) e;

SELECT * FROM finish();
ROLLBACK;
