-- How long signals are kept and how long their dedupe keys are remembered: signal_retention_days and dedupe_retention_days.
\ir include/setup.psql
SELECT plan(38);

-- Lands signals with these keys and returns how many of them were new.
CREATE FUNCTION land(external text, as_of timestamptz, VARIADIC keys text[]) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM job(external, scheduled_at => as_of), claim(as_of);
    PERFORM complete(external, as_of, (SELECT jsonb_agg(jsonb_build_object('dedupe_key', k)) FROM unnest(keys) k));
    RETURN (SELECT signals_inserted FROM sync.sync_executions WHERE connection_id = conn(external) ORDER BY id DESC LIMIT 1);
END $$;
CREATE FUNCTION parts(wanted text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(name, ',' ORDER BY name) FROM sync.partitions WHERE parent = wanted AND range_to <= '2026-03-01 UTC'
$$;

-- By default a key is remembered as long as its signal.
SELECT connection('default', NULL, at('09:00'));
SELECT is(land('default', '2026-01-10 UTC', 'a', 'b'), 2, 'default: new');
SELECT is(land('default', '2026-02-10 UTC', 'a', 'c'), 1, 'default: known in the next month');
SELECT is(land('default', '2027-02-10 UTC', 'a', 'd'), 1, 'default: and a year later');
SET LOCAL sync_engine.signal_retention_days = 30;
SELECT housekeep('2026-03-15 UTC');
SELECT is(parts('signals'), 'signals_202602', 'default: January is dropped');
SELECT is(parts('signal_keys'), NULL, 'default: nothing of it is kept');
SELECT is(land('default', '2026-03-15 UTC', 'a', 'c'), 1, 'default: what is dropped is forgotten, what is not is known');

-- Longer than the signals: keys without signals.
DELETE FROM sync.connections;
SET LOCAL sync_engine.dedupe_retention_days = 90;
SELECT connection('longer', NULL, at('09:00')), connection('longer too', NULL, at('09:00'), tenant => 'A');
SELECT is(land('longer', '2026-01-10 UTC', 'a', 'b', NULL), 3, 'longer: new');
SELECT is(land('longer too', '2026-01-10 UTC', 'a'), 1, 'longer: of another tenant');
SELECT housekeep('2026-03-15 UTC');
SELECT is(parts('signals') || ' ' || parts('signal_pages'), 'signals_202602 signal_pages_202602', 'longer: January''s signals are dropped, with their pages');
SELECT is(parts('signal_keys'), 'signal_keys_202601', 'longer: its keys are kept');
SELECT results_eq('SELECT tenant_id, dedupe_key FROM sync.signal_keys ORDER BY 1, 2', $$VALUES ('A', 'a'), ('T', 'a'), ('T', 'b')$$, 'longer: each of them');
SELECT is(land('longer', '2026-03-15 UTC', 'a', 'b', 'c'), 1, 'longer: known without its signal');
SELECT is(land('longer too', '2026-03-15 UTC', 'a', 'b'), 1, 'longer: to its own connection');
SELECT is((SELECT count(*) FROM sync.signals WHERE received_at < '2026-03-01 UTC'), 0::bigint, 'longer: the signals are gone');
SELECT housekeep('2026-05-01 UTC');
SELECT ok(EXISTS (SELECT 1 FROM sync.partitions WHERE name = 'signal_keys_202601'), 'longer: 90 days after January they are kept');
SELECT is(land('longer', '2026-05-02 UTC', 'a'), 0, 'longer: and known');
SELECT housekeep('2026-05-03 UTC');
SELECT is(to_regclass('sync.signal_keys_202601'), NULL, 'longer: then their table is dropped');
SELECT is(land('longer', '2026-05-03 UTC', 'a'), 1, 'longer: and they are forgotten');
SELECT ok(EXISTS (SELECT 1 FROM sync.partitions WHERE name = 'signal_keys_202603'), 'longer: those of March have a table of their own');
DELETE FROM sync.connections WHERE external_id = 'longer';
SELECT is((SELECT count(*) FROM sync.signal_keys k WHERE NOT EXISTS (SELECT 1 FROM sync.connections c WHERE c.id = k.connection_id)), 0::bigint,
    'longer: keys of a deleted connection go with it');
SELECT ok(EXISTS (SELECT 1 FROM sync.signal_keys WHERE connection_id = conn('longer too')), 'longer: those of others stay');

-- For ever
SET LOCAL sync_engine.dedupe_retention_days = 0;
SELECT housekeep('2036-01-01 UTC');
SELECT is(land('longer too', '2036-01-01 UTC', 'b'), 0, 'for ever: known ten years later');
SELECT is((SELECT count(*) FROM sync.signals), 0::bigint, 'for ever: without a signal');

-- As long as the signals, once more: what was kept longer leaves.
SET LOCAL sync_engine.dedupe_retention_days = -1;
SELECT housekeep('2036-01-01 UTC');
SELECT is((SELECT count(*) FROM sync.partitions WHERE parent = 'signal_keys'), 0::bigint, 'back to the default: tables of keys are dropped');

-- Shorter than the signals: whole months are forgotten.
SET LOCAL sync_engine.signal_retention_days = 0;
SET LOCAL sync_engine.dedupe_retention_days = 30;
SELECT connection('shorter', NULL, at('09:00'));
SELECT is(land('shorter', '2037-01-10 UTC', 'a', 'b'), 2, 'shorter: new');
SELECT is(land('shorter', '2037-01-31 UTC', 'a'), 0, 'shorter: known in its month');
SELECT is(land('shorter', '2037-02-15 UTC', 'a'), 0, 'shorter: and until the month is over for 30 days');
SELECT is(land('shorter', '2037-03-03 00:00 UTC', 'a'), 0, 'shorter: to the last moment');
SELECT is(land('shorter', '2037-03-03 00:00:00.000001 UTC', 'a'), 1, 'shorter: then it is forgotten');
SELECT is(land('shorter', '2037-03-04 UTC', 'a'), 0, 'shorter: the new one is known');
SELECT housekeep('2037-03-15 UTC');
SELECT is((SELECT count(*) FROM sync.signals WHERE dedupe_key IN ('a', 'b')), 3::bigint, 'shorter: all signals stay');
SELECT is((SELECT count(*) FROM sync.signal_keys), 0::bigint, 'shorter: no table of keys is made');
SET LOCAL sync_engine.dedupe_retention_days = -1;
SELECT is(land('shorter', '2037-05-15 UTC', 'b'), 0, 'the setting counts as it is now');

-- Many keys are moved in steps; they are known all the while.
SET LOCAL sync_engine.signal_retention_days = 30;
SET LOCAL sync_engine.dedupe_retention_days = 365;
SELECT connection('many', NULL, at('09:00'));
SELECT sync._make_partition('signals', '2040-01-01');
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, received_at, dedupe_key)
SELECT 'T', 'github', conn('many'), '2040-01-10 UTC', lpad(n::text, 6, '0') FROM generate_series(1, 50001) n;
SELECT housekeep('2040-02-02 UTC');
DO $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        PERFORM sync._housekeeping('2040-03-15 UTC');
        EXIT WHEN EXISTS (SELECT 1 FROM sync.signal_keys WHERE connection_id = conn('many'));
    END LOOP;
END $$;
SELECT is((SELECT count(*) FROM sync.signal_keys WHERE connection_id = conn('many')), 50000::bigint, 'many: a part at a time');
SELECT isnt(to_regclass('sync.signals_204001'), NULL, 'many: the signals are still there');
SELECT is(land('many', '2040-03-15 UTC', '000001', '050001', 'new'), 1, 'many: keys that have moved are known, and those that have not');
SELECT housekeep('2040-03-15 UTC');
SELECT is((SELECT count(*) FROM sync.signal_keys WHERE connection_id = conn('many')), 50001::bigint, 'many: all are there');
SELECT is(land('many', '2040-03-15 UTC', '000001', '025000', '050001') + (to_regclass('sync.signals_204001') IS NOT NULL)::int, 0, 'many: the signals are dropped, the keys known');

SELECT * FROM finish();
ROLLBACK;
