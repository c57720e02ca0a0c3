-- sync.read_signals: what has landed, each signal once, in commit-safe order. What is not committed is not read, so this file
-- is no transaction of its own; it drops what it made.
\set QUIET 1
\set ON_ERROR_STOP 1
\set ECHO none
\pset format unaligned
\pset tuples_only on
\pset pager off
SET client_min_messages = error;
SET TimeZone = 'UTC';
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET sync_engine.background_ticks = off', current_database());
    -- The worker's housekeeping keeps the real time: this file's days are long over for it.
    EXECUTE format('ALTER DATABASE %I SET sync_engine.execution_retention_days = 0', current_database());
    EXECUTE format('ALTER DATABASE %I SET sync_engine.job_retention_days = 0', current_database());
END
$$;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
CREATE EXTENSION dblink SCHEMA tap;
CREATE EXTENSION sync_engine;
SET search_path = tap, public;
\ir include/helpers.psql

SELECT plan(49);

SELECT connection('a', NULL, at('09:00'), tenant => 'T1'), connection('b', NULL, at('09:00'), tenant => 'T1'), connection('c', NULL, at('09:00'), tenant => 'T2');

-- A page of so many signals of the connection, with keys 'prefix 1', 'prefix 2', ...; it is committed when the statement is.
CREATE FUNCTION signals(prefix text, n int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('kind', 'item', 'dedupe_key', prefix || ' ' || i, 'payload', i) ORDER BY i) FROM generate_series(1, n) i
$$;
CREATE FUNCTION land(external text, as_of timestamptz, prefix text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM job(external), claim(as_of);
    PERFORM complete(external, as_of, signals(prefix, n));
END $$;
-- All that a reader gets who calls with the last cursor until there is nothing more.
CREATE FUNCTION read_all(at_once int, tenant text DEFAULT NULL, connection bigint DEFAULT NULL, after text DEFAULT NULL)
RETURNS SETOF sync.landed_signal LANGUAGE plpgsql AS $$
DECLARE
    r sync.landed_signal;
    n int;
BEGIN
    LOOP
        n := 0;
        FOR r IN SELECT * FROM sync.read_signals(after, at_once, tenant, connection) LOOP
            n := n + 1;
            after := r.cursor;
            RETURN NEXT r;
        END LOOP;
        EXIT WHEN n = 0;
    END LOOP;
END $$;
CREATE FUNCTION keys(at_once int, tenant text DEFAULT NULL, connection bigint DEFAULT NULL, after text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(dedupe_key, ',' ORDER BY ordinality) FROM read_all(at_once, tenant, connection, after) WITH ORDINALITY
$$;

SELECT is_empty('SELECT * FROM sync.read_signals()', 'nothing has landed');
SELECT land('a', at('10:00'), 'a1', 3);
SELECT land('c', at('10:01'), 'c1', 2);
SELECT land('b', at('10:02'), 'b1', 1);
SELECT land('a', at('10:03'), 'a2', 2);
SELECT is(keys(1000), 'a1 1,a1 2,a1 3,c1 1,c1 2,b1 1,a2 1,a2 2', 'all, in the order of landing');
SELECT is(keys(n), keys(1000), 'the same ' || n || ' at a time') FROM generate_series(1, 5) n;
SELECT is(keys(n, 'T1'), 'a1 1,a1 2,a1 3,b1 1,a2 1,a2 2', 'of one tenant, ' || n || ' at a time') FROM generate_series(1, 4, 3) n;
SELECT is(keys(n, NULL, conn('a')), 'a1 1,a1 2,a1 3,a2 1,a2 2', 'of one connection, ' || n || ' at a time') FROM generate_series(1, 4, 3) n;
SELECT is(keys(10, 'T1', conn('b')), 'b1 1', 'of one connection of a tenant');
SELECT is(keys(10, 'T2', conn('b')), NULL, 'a connection of another tenant has nothing');
SELECT is(keys(10, 'T3'), NULL, 'nor has a tenant without connections');
SET sync_engine.tenant_id = 'T1';
SELECT is(keys(10), 'a1 1,a1 2,a1 3,b1 1,a2 1,a2 2', 'who is confined to a tenant reads its signals alone');
SELECT is(keys(10, 'T2'), NULL, 'whatever he asks for');
SELECT is(keys(10, NULL, conn('c')), NULL, 'by tenant or by connection');
RESET sync_engine.tenant_id;
SELECT results_eq('SELECT id, tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key FROM sync.read_signals()',
    'SELECT id, tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key FROM sync.signals ORDER BY id', 'whole signals');
SELECT is((SELECT count(DISTINCT cursor) FROM sync.read_signals()), 8::bigint, 'each row has a cursor of its own');
SELECT is((SELECT string_agg(keys(2, after => cursor), ' | ' ORDER BY ordinality) FROM sync.read_signals(max_rows => 3) WITH ORDINALITY),
    'a1 2,a1 3,c1 1,c1 2,b1 1,a2 1,a2 2 | a1 3,c1 1,c1 2,b1 1,a2 1,a2 2 | c1 1,c1 2,b1 1,a2 1,a2 2', 'a reader may stop at any row');
CREATE TABLE mark (cursor text);
INSERT INTO mark SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1;
SELECT is_empty('SELECT * FROM sync.read_signals((SELECT cursor FROM mark))', 'at the end there is nothing more');
SELECT land('b', at('10:04'), 'b2', 1);
SELECT is(keys(10, after => (SELECT cursor FROM mark)), 'b2 1', 'until something lands');
SELECT land('b', at('10:05'), 'b2', 1);
SELECT is(keys(10, after => (SELECT cursor FROM mark)), 'b2 1', 'what was seen before does not come again');

-- Transactions that commit in another order than they landed
SELECT dblink_connect(s, format('host=%s port=%s dbname=%L user=%L', split_part(current_setting('unix_socket_directories'), ',', 1),
    current_setting('port'), current_database(), session_user)) FROM unnest('{one,two}'::text[]) s;
SELECT dblink_exec(s, 'SET lock_timeout = 2000'), dblink_exec(s, 'SET client_min_messages = error'), dblink_exec(s, 'SET search_path = tap, public')
FROM unnest('{one,two}'::text[]) s;
UPDATE mark SET cursor = (SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
SELECT dblink_exec('one', 'BEGIN');
SELECT * FROM dblink('one', $$SELECT land('a', at('10:10'), 'late', 2)$$) r (t text);
SELECT * FROM dblink('two', $$SELECT land('b', at('10:10'), 'early', 2)$$) r (t text);
SELECT is((SELECT count(*) FROM sync.signals WHERE dedupe_key LIKE 'early%'), 2::bigint, 'a later transaction has committed first');
SELECT is(keys(1, after => (SELECT cursor FROM mark)), NULL, 'it is not read before the earlier one has ended');
SELECT dblink_exec('one', 'COMMIT');
SELECT is(keys(1, after => (SELECT cursor FROM mark)), 'late 1,late 2,early 1,early 2', 'then both are, in the order of the transactions');
UPDATE mark SET cursor = (SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
SELECT dblink_exec('one', 'BEGIN');
SELECT * FROM dblink('one', $$SELECT land('a', at('10:11'), 'undone', 2)$$) r (t text);
SELECT land('b', at('10:11'), 'kept', 1);
SELECT dblink_exec('one', 'ROLLBACK');
SELECT is(keys(1, after => (SELECT cursor FROM mark)), 'kept 1', 'what was rolled back is not read and holds up nothing');
-- A transaction that only reads delays nobody.
SELECT dblink_exec('one', 'BEGIN ISOLATION LEVEL REPEATABLE READ');
SELECT * FROM dblink('one', 'SELECT count(*) FROM sync.signals') r (n bigint);
SELECT land('b', at('10:12'), 'beside', 1);
SELECT is(keys(9, after => (SELECT cursor FROM mark)), 'kept 1,beside 1', 'a long transaction that only reads delays nobody');
SELECT is((SELECT k FROM dblink('one', format('SELECT keys(9, after => %L)', (SELECT cursor FROM mark))) r (k text)), 'kept 1', 'and reads what its snapshot holds');
SELECT dblink_exec('one', 'COMMIT');

-- add_signals, several landings of one transaction
UPDATE mark SET cursor = (SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
BEGIN;
SELECT job('c'), claim(at('10:15'));
SELECT sync.add_signals(r.id, r.claim_token, signals('part ' || n, 2), at('10:15')) FROM generate_series(1, 2) n, running('c') r;
SELECT complete('c', at('10:15'), signals('part 3', 1));
COMMIT;
SELECT is(keys(n, after => (SELECT cursor FROM mark)), 'part 1 1,part 1 2,part 2 1,part 2 2,part 3 1', 'parts of a page in order, ' || n || ' at a time') FROM generate_series(1, 2) n;

-- Written by an application
UPDATE mark SET cursor = (SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, dedupe_key, received_at)
SELECT 'T1', 'github', conn('a'), 'own ' || n, at('10:20') FROM generate_series(1, 3) n;
SELECT is(keys(2, after => (SELECT cursor FROM mark)), 'own 1,own 2,own 3', 'an application''s own INSERT');
-- An application fills a hole among the ids of a page, in the same microsecond.
UPDATE mark SET cursor = (SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
SELECT job('a'), claim(at('10:21')), complete('a', at('10:21'), '[{"dedupe_key": "h1"}, {"dedupe_key": "hole"}, {"dedupe_key": "h2"}]');
WITH gone AS (DELETE FROM sync.signals WHERE dedupe_key = 'hole' RETURNING *)
INSERT INTO sync.signals (id, tenant_id, provider_slug, connection_id, dedupe_key, received_at)
SELECT id, tenant_id, provider_slug, connection_id, 'in between', received_at FROM gone;
SELECT is(keys(1, after => (SELECT cursor FROM mark)), 'h1,h2,in between', 'an id in the midst of a page is read once');

-- The month's end
UPDATE mark SET cursor = (SELECT cursor FROM read_all(1000) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
SELECT land('a', '2026-03-31 23:59:59 UTC', 'march', 2);
SELECT land('a', '2026-04-01 00:00 UTC', 'april', 2);
SELECT land('b', '2026-03-31 23:59:59.5 UTC', 'march again', 1);
SELECT is(keys(1, after => (SELECT cursor FROM mark)), 'march 1,march 2,april 1,april 2,march again 1', 'a month''s end, and a clock that goes back');
SELECT is(keys(1, after => (SELECT cursor FROM mark), connection => conn('a')), 'march 1,march 2,april 1,april 2', 'of one connection');

-- Rows that went: by an application, with their connection, with their month
DELETE FROM sync.signals WHERE dedupe_key IN ('march 1', 'april 1', 'april 2');
SELECT is(keys(1, after => (SELECT cursor FROM mark)), 'march 2,march again 1', 'signals that an application deleted are passed over');
DELETE FROM sync.connections WHERE external_id = 'c';
SELECT is((SELECT count(*) FROM sync.signal_pages WHERE connection_id NOT IN (SELECT id FROM sync.connections)), 0::bigint, 'pages go with their connection');
SELECT is(keys(2, 'T2'), NULL, 'nothing of it is read');
SELECT land('a', '2026-06-01 00:00 UTC', 'june', 2);
UPDATE mark SET cursor = (SELECT cursor FROM sync.read_signals(max_rows => 2) WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1);
SET sync_engine.signal_retention_days = 30;
SELECT housekeep('2026-06-02 00:00 UTC');
SELECT is(keys(1, after => (SELECT cursor FROM mark)), 'june 1,june 2', 'a cursor into a month that was dropped goes on after it');
SELECT set_eq($$SELECT name FROM sync.partitions WHERE parent = 'signal_pages'$$, $$SELECT replace(name, 'signals', 'signal_pages') FROM sync.partitions WHERE parent = 'signals'$$,
    'pages leave with their signals');

-- A copy's transaction ids start anew
SELECT land('b', '2026-06-02 10:00 UTC', 'before', 1);
UPDATE sync.database_identity SET database_oid = 1;
UPDATE sync.signal_pages SET landed_by = landed_by + 1000000000;
SELECT is(keys(1), 'june 1,june 2,before 1', 'a restored database can be read at once');
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, dedupe_key, received_at) VALUES ('T1', 'github', conn('a'), 'restored', '2026-06-02 10:01 UTC');
SELECT sync.adopt_database();
SELECT land('b', '2026-06-02 10:02 UTC', 'adopted', 1);
SELECT is(keys(1), 'june 1,june 2,before 1,restored,adopted 1', 'what it lands comes after what it brought, adopted or not');

-- Nonsense
SELECT throws_ok(format('SELECT * FROM sync.read_signals(%L)', c), '22023', NULL, 'not a cursor: ' || c)
FROM unnest(ARRAY['', 'nonsense', '1', 's1:1:2', 's1:1:2:3:4', 's1:9223372036854775808:1:1']) c;
SELECT throws_ok('SELECT * FROM sync.read_signals(NULL, 0)', '22023', 'max_rows must be between 1 and 100000', 'no rows');

SELECT * FROM finish();
SELECT dblink_disconnect(s) FROM unnest(ARRAY['one', 'two']) s;
DROP EXTENSION sync_engine CASCADE;
DROP SCHEMA tap CASCADE;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET sync_engine.background_ticks', current_database()); END $$;
