-- Claiming: who gets what, when, and with which cursor and configuration.
\ir include/setup.psql
SELECT plan(58);
SELECT fix_jitter();

-- What the call takes
SELECT throws_ok(format('SELECT * FROM sync.claim_jobs(%L, %L)', e, n), '22023', NULL, 'claim_jobs(' || COALESCE(e, 'null') || ', ' || COALESCE(n::text, 'null') || ') is refused')
FROM (VALUES ('executor', 0), ('executor', -1), ('executor', NULL), ('', 1), (NULL, 1)) v (e, n);
SELECT throws_ok($$SELECT * FROM sync.claim_jobs('executor', 1, 'infinity')$$, '22023', NULL, 'claiming at an infinite time is refused');
SELECT is_empty($$SELECT * FROM sync.claim_jobs('executor', 10, at('10:00'))$$, 'nothing to claim: no rows');

-- The columns that an executor reads
SELECT provider('full provider', '{"base_url": "https://api.example.com", "a": {"b": 1, "c": 2}}');
SELECT connection('columns', NULL, at('09:00'), slug => 'full provider', tenant => 'tenant 9');
UPDATE sync.connections SET config = '{"a": {"c": null, "d": 3}}' WHERE id = conn('columns');
SELECT sync.trigger(conn('columns'), 'webhook', 7, at('09:30'));
UPDATE sync.sync_jobs SET input = '{"event": "push"}', attempts = 2 WHERE connection_id = conn('columns');
SELECT results_eq(
    $$SELECT job_id, tenant_id, connection_id, provider_slug, job_type, priority, attempts, cursor, input, connector, config - 'sync_engine', claim_token IS NOT NULL
      FROM sync.claim_jobs('executor', 1, at('10:00'))$$,
    $$SELECT (job_of('columns', 'webhook')).id, 'tenant 9', conn('columns'), 'full provider', 'webhook', 7, 2, NULL::jsonb, '{"event": "push"}'::jsonb, 'noop',
             '{"base_url": "https://api.example.com", "a": {"b": 1, "d": 3}}'::jsonb, true$$, 'every column of a claim');
SELECT row_eq($$SELECT r.claimed_by, r.started_at, r.claimed_at FROM running('columns') r$$, ROW('executor'::text, at('10:00'), at('10:00')), 'what a claim writes');
DELETE FROM sync.connections;

-- Order: priority, then the time it became due, then id
SELECT connection('order ' || n, NULL, at('09:00')) FROM generate_series(1, 8) n;
SELECT job('order 1', priority => 0, scheduled_at => at('09:00'));
SELECT job('order 2', priority => 5, scheduled_at => at('09:50'));
SELECT job('order 3', priority => 5, scheduled_at => at('09:40'));
SELECT job('order 4', priority => 5, scheduled_at => at('09:10'));
SELECT job('order 5', priority => 5, scheduled_at => at('09:40'));
SELECT job('order 6', priority => -5, scheduled_at => at('08:00'));
SELECT job('order 7', priority => 2147483647, scheduled_at => at('09:59'));
SELECT job('order 8', priority => -2147483648, scheduled_at => at('07:00'));
-- Due is the later of scheduled_at and retry_after.
UPDATE sync.sync_jobs SET retry_after = at('09:45') WHERE connection_id = conn('order 4');
CREATE FUNCTION claimed(max_jobs int, as_of timestamptz) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(c.external_id ORDER BY k.ordinality)
    FROM ROWS FROM (sync.claim_jobs('executor', max_jobs, as_of)) WITH ORDINALITY k
    JOIN sync.connections c ON c.id = k.connection_id
$$;
SAVEPOINT unclaimed;
SELECT is(claimed(100, at('10:00')), '{order 7,order 3,order 5,order 4,order 2,order 1,order 6,order 8}', 'priority, then due time, then id');
ROLLBACK TO unclaimed;
SELECT is(claimed(3, at('10:00')) || claimed(2, at('10:00')) || claimed(1, at('10:00')) || claimed(9, at('10:00')),
    '{order 7,order 3,order 5,order 4,order 2,order 1,order 6,order 8}', 'the same order over several claims');
ROLLBACK TO unclaimed;
-- Providers have no order among them.
SELECT connection('another provider', NULL, at('09:00'), slug => 'a provider that sorts first');
SELECT job('another provider', priority => 5, scheduled_at => at('09:42'));
SELECT is((claimed(6, at('10:00')))[2:5], '{order 3,order 5,another provider,order 4}', 'the same order over several providers');
DELETE FROM sync.connections;

-- Due: exactly at its time, not a microsecond earlier
SELECT connection('due', NULL, at('09:00'));
SELECT job('due', scheduled_at => at('10:00'));
SELECT is(claim(at('10:00') - interval '1 microsecond'), 0::bigint, 'a microsecond early: not claimed');
SELECT is(claim(at('10:00')), 1::bigint, 'at its time: claimed');
DELETE FROM sync.connections;

-- max_jobs: fewer rows than asked means that nothing more is claimable, even where many jobs share a connection.
SELECT connection('shared ' || n, NULL, at('09:00')) FROM generate_series(1, 5) n;
SELECT job('shared ' || n, 'type ' || t, priority => 10 - n) FROM generate_series(1, 5) n, generate_series(1, 20) t;
SELECT is(claim(at('10:00'), 4), 4::bigint, 'four asked for, four given, one a connection');
SELECT is((SELECT count(DISTINCT connection_id) FROM sync.sync_jobs WHERE status = 'running'), 4::bigint, 'each of another connection');
SELECT is(claim(at('10:00'), 4), 1::bigint, 'fewer than asked for: nothing more is claimable');
SELECT is(claim(at('10:00'), 4), 0::bigint, 'and so it stays');
SELECT complete('shared 3', at('10:01'));
SELECT is(claim(at('10:01'), 100), 1::bigint, 'until a job ends');
DELETE FROM sync.connections;

-- Single flight across job types: the better one of a connection goes first.
SELECT connection('flight', NULL, at('09:00'));
SELECT job('flight', 'incremental', 0, at('09:00')), job('flight', 'full', 10, at('09:30')), job('flight', 'webhook', 10, at('09:20'));
SELECT is((SELECT array_agg(job_type) FROM sync.claim_jobs('executor', 10, at('10:00'))), '{webhook}', 'one of three, the first in claim order');
SELECT is(claim(at('10:00'), 10, 'another executor'), 0::bigint, 'none for anybody else');
SELECT complete('flight', at('10:01'));
SELECT is((SELECT array_agg(job_type) FROM sync.claim_jobs('another executor', 10, at('10:01'))), '{full}', 'then the second');
SELECT fail('flight', at('10:02'));
SELECT is((SELECT array_agg(job_type) FROM sync.claim_jobs('executor', 10, at('10:02'))), '{incremental}', 'while the second is in backoff, the third');
SELECT complete('flight', at('10:03'));
SELECT is((SELECT array_agg(job_type) FROM sync.claim_jobs('executor', 10, at('10:04'))), '{full}', 'and the second again');
SELECT is((SELECT count(*) FROM pg_stat_user_indexes WHERE indexrelname = 'sync_jobs_one_running'), 1::bigint, 'a unique index stands behind it');
DELETE FROM sync.connections;

-- Cursors
SELECT connection('cursors', '{"cursor": {"since": 1}}', at('09:00'));
CREATE FUNCTION cursor_of(claimed_type text, own jsonb, stored jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    handed jsonb;
BEGIN
    UPDATE sync.connections SET metadata = jsonb_build_object('sync', CASE WHEN stored IS NULL THEN '{}' ELSE jsonb_build_object('cursor', stored) END) WHERE id = conn('cursors');
    DELETE FROM sync.sync_jobs;
    PERFORM job('cursors', claimed_type, cursor => own);
    SELECT k.cursor INTO handed FROM sync.claim_jobs('executor', 1, at('10:00')) k;
    RETURN handed;
END $$;
SELECT is(cursor_of('incremental', '{"own": 1}', '{"stored": 1}'), '{"own": 1}', 'incremental: its own cursor');
SELECT is(cursor_of('incremental', NULL, '{"stored": 1}'), '{"stored": 1}', 'incremental: else the stored one');
SELECT is(cursor_of('incremental', 'null', '{"stored": 1}'), '{"stored": 1}', 'incremental: JSON null is none');
SELECT is(cursor_of('incremental', NULL, 'null'), NULL, 'incremental: a stored JSON null is none');
SELECT is(cursor_of('incremental', NULL, NULL), NULL, 'incremental: none at all');
SELECT is(cursor_of('incremental', NULL, '"text"'), '"text"', 'incremental: a cursor may be any JSON');
SELECT is(cursor_of('incremental', NULL, '0'), '0', 'incremental: even 0');
SELECT is(cursor_of('incremental', NULL, 'false'), 'false', 'incremental: even false');
SELECT is(cursor_of('full', NULL, '{"stored": 1}'), NULL, 'another type: never the stored one');
SELECT is(cursor_of('full', '{"own": 1}', '{"stored": 1}'), '{"own": 1}', 'another type: its own page cursor');
DELETE FROM sync.sync_jobs;
SELECT sync.trigger(conn('cursors'), 'webhook', 10, at('09:00'));
UPDATE sync.sync_jobs SET input = '{"cursor": "input"}' WHERE connection_id = conn('cursors');
SELECT results_eq($$SELECT cursor, input FROM sync.claim_jobs('executor', 1, at('10:00'))$$, $$VALUES (NULL::jsonb, '{"cursor": "input"}'::jsonb)$$, 'what a webhook brought is input, never the cursor');
DELETE FROM sync.connections;

-- Metadata that cannot hold a cursor
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata) VALUES ('T', 'github', 'odd', '[1]'), ('T', 'github', 'none', NULL), ('T', 'github', 'text', '{"sync": "x"}');
SELECT job(x) FROM unnest('{odd,none,text}'::text[]) x;
SELECT is((SELECT count(*) FROM sync.claim_jobs('executor', 10, at('10:00')) WHERE cursor IS NULL), 3::bigint, 'malformed metadata: claimed without a cursor');
DELETE FROM sync.connections;

-- Configurations of every shape are handed out without an error; what they may not do is said in the key sync_engine.
UPDATE sync.providers SET config = '{"base_url": "https://api.example.com", "auth": {"bearer": {"$env": "TOKEN"}}}' WHERE slug = 'github';
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, config)
SELECT 'T', 'github', 'config ' || COALESCE(v, 'NULL'), v::jsonb
FROM unnest(ARRAY[NULL, 'null', '{}', '[]', '"text"', '5', '{"base_url": "https://evil.example.net"}', '{"auth": null}', '{"path": "/x"}']) v;
SELECT job(external_id) FROM sync.connections;
CREATE TEMP TABLE handed AS
    SELECT c.external_id AS name, k.config FROM sync.claim_jobs('executor', 100, at('10:00')) k JOIN sync.connections c ON c.id = k.connection_id;
SELECT is((SELECT count(*) FROM handed), 9::bigint, 'a configuration of any shape is handed out');
SELECT is((SELECT count(*) FROM handed WHERE jsonb_typeof(config) = 'object'), 9::bigint, 'a configuration of any shape is merged to an object');
SELECT is((SELECT config #>> '{sync_engine,origin}' FROM handed WHERE name = 'config {}'), 'https://api.example.com:443', 'the key sync_engine holds the provider''s origin');
SELECT is((SELECT config #>> '{sync_engine,provider_has_secret}' FROM handed WHERE name = 'config {}'), 'true', 'and that the provider holds a secret');
SELECT isnt((SELECT config #>> '{sync_engine,refused}' FROM handed WHERE name = 'config ' || v), NULL, 'refused: ' || v)
FROM unnest('{"{\"base_url\": \"https://evil.example.net\"}","{\"auth\": null}"}'::text[]) v;
SELECT is((SELECT config #>> '{sync_engine,refused}' FROM handed WHERE name = 'config ' || v), NULL, 'allowed: ' || v)
FROM unnest('{"{}","{\"path\": \"/x\"}"}'::text[]) v;
DELETE FROM sync.connections;

-- enabled off: nothing is handed out
SELECT connection('disabled', NULL, at('09:00'));
SELECT job('disabled');
SET LOCAL sync_engine.enabled = off;
SELECT is(claim(at('10:00')), 0::bigint, 'enabled off: nothing is claimed');
SELECT is(sync.next_claim_at(at('10:00')), NULL, 'enabled off: no reason to wake up');
SELECT is((SELECT verdict FROM sync.explain(conn('disabled'), at('10:00')) WHERE aspect = 'engine'), 'blocked', 'enabled off: explain says so');
DELETE FROM sync.sync_jobs;
SELECT is((SELECT enqueued FROM sync.tick(at('10:00'))), 1, 'enabled off: a tick called by hand works');
SET LOCAL sync_engine.enabled = on;
SELECT is(claim(at('10:00')), 1::bigint, 'enabled on: claimed');
SET LOCAL sync_engine.background_ticks = off;
SELECT complete('disabled', at('10:01'));
SELECT job('disabled');
SELECT is(claim(at('10:02')), 1::bigint, 'background_ticks off: claiming works');
DELETE FROM sync.connections;

-- next_claim_at
SELECT is(sync.next_claim_at(at('10:00')), NULL, 'next_claim_at: nothing queued');
SELECT connection('next ' || n, NULL, at('09:00')) FROM generate_series(1, 4) n;
SELECT job('next 1', priority => 10, scheduled_at => at('10:30'));
SELECT job('next 2', priority => 0, scheduled_at => at('10:20'));
SELECT is(sync.next_claim_at(at('10:00')), at('10:20'), 'next_claim_at: the earliest, whatever its priority');
UPDATE sync.sync_jobs SET retry_after = at('10:25') WHERE connection_id = conn('next 2');
SELECT is(sync.next_claim_at(at('10:00')), at('10:25'), 'next_claim_at: the later of scheduled_at and retry_after');
SELECT job('next 3', scheduled_at => at('09:55'));
SELECT cmp_ok(sync.next_claim_at(at('10:00')), '<=', at('10:00'), 'next_claim_at: something is claimable now');
SELECT claim(at('10:00'));
SELECT job('next 3', 'full', scheduled_at => at('09:55'));
SELECT is(sync.next_claim_at(at('10:00')), at('10:25'), 'next_claim_at: what waits for a running job does not count');
UPDATE sync.connections SET status = 'paused' WHERE id = conn('next 2');
SELECT is(sync.next_claim_at(at('10:00')), at('10:30'), 'next_claim_at: nor what was cancelled');
SELECT connection('next elsewhere', NULL, at('09:00'), slug => 'gitlab');
SELECT job('next elsewhere', scheduled_at => at('10:10'));
SELECT sync.pause_provider('gitlab');
SELECT is(sync.next_claim_at(at('10:00')), at('10:30'), 'next_claim_at: nor what a paused provider holds');

SELECT * FROM finish();
ROLLBACK;
