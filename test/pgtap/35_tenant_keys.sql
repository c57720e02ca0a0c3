-- The shape for more than one machine: what Citus would distribute by tenant_id has that column in front of every key and no foreign
-- key, so deleting a connection must clean up by itself. Read from the catalog, so that a new table is held to the same.
\ir include/setup.psql
SELECT plan(18);
SELECT fix_jitter();

-- Two connections of a tenant, each with a row in every table that can hold one of it: finished, queued and running jobs, history, signals
-- with and without a key.
CREATE FUNCTION fill(external text, signals int DEFAULT 3) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM connection(external, NULL, at('09:00'));
    PERFORM sync.create_notification('T', 'email', '{success,warning}', '{"to": ["a@b.example"]}', conn(external), as_of => at('09:00'));
    PERFORM job(external);
    PERFORM claim(at('10:00'));
    PERFORM complete(external, at('10:01'), (SELECT jsonb_agg(CASE WHEN i > 1 THEN jsonb_build_object('dedupe_key', i::text) ELSE '{}' END)
                                             FROM generate_series(1, signals) i), '{"page": 1}');
    PERFORM job(external, 'fails');
    PERFORM claim(at('10:02'));
    PERFORM fail(external, at('10:03'), 'permanent');
    PERFORM job(external, 'runs');
    PERFORM claim(at('10:04'));
    PERFORM job(external, 'waits');
    -- A delivery that waits for the end of the job that runs
    PERFORM sync.receive_hook('github', split_part(h.path, '/', 4), 'd', '{}', '{}', as_of => at('10:04'))
    FROM sync.create_hook(conn(external), 'github', job_type => 'runs', as_of => at('09:00')) h;
    PERFORM set_config('sync_engine.tenant_id', '', true);
    PERFORM sync.create_schedule(conn(external), 'daily', 'daily', job_type => 'report', as_of => at('09:00'));
    PERFORM sync.trigger_schedule((SELECT id FROM sync.sync_schedules WHERE connection_id = conn(external)), at('10:04'));
END
$$;
SELECT housekeep(at('09:00'));
SELECT fill('goes'), fill('stays');
SELECT housekeep(at('10:05'));
-- A hand-made signal has its own way in.
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, received_at) SELECT 'T', 'github', conn(e), at('10:05') FROM unnest('{goes,stays}'::text[]) e;
-- An event of which no message was made yet
INSERT INTO sync.outbox (tenant_id, event, type, connection_id, occurred_at, targets) VALUES ('T', 'success', 'sync.succeeded', conn('goes'), at('10:05'), '{}');
-- Keys that outlived their signals
SELECT sync._make_partition('signal_keys', '2026-01-01');
INSERT INTO sync.signal_keys (tenant_id, connection_id, dedupe_key, received_at)
SELECT 'T', conn(e), 'old ' || n, '2026-01-01 UTC' FROM unnest('{goes,stays}'::text[]) e, generate_series(1, 3) n;

-- The tables that live by tenant: partitioned ones, with their partitions.
CREATE TEMP VIEW distributed AS
WITH RECURSIVE tree AS (
    SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind = 'p' AND NOT c.relispartition
    UNION ALL
    SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
)
SELECT t.oid, c.relname::text AS name, c.relkind FROM tree t JOIN pg_class c ON c.oid = t.oid;
SELECT set_has('SELECT name FROM distributed', $$VALUES ('signals'), ('signals_202603'), ('sync_executions'), ('sync_executions_20260301'), ('sync_executions_20260302')$$,
    'history and signals are found with their partitions');
SELECT is_empty($$SELECT name FROM distributed WHERE NOT EXISTS (
    SELECT 1 FROM pg_attribute a WHERE a.attrelid = oid AND a.attname = 'tenant_id' AND a.attnotnull AND a.atttypid = 'text'::regtype)$$,
    'each of them has a tenant_id that is never null');
SELECT is_empty($$SELECT name FROM distributed WHERE relkind = 'r' AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = oid AND i.indisprimary)$$,
    'each of their partitions has a primary key');
SELECT is_empty($$SELECT d.name, i.indexrelid::regclass::text FROM distributed d JOIN pg_index i ON i.indrelid = d.oid
    LEFT JOIN pg_attribute a ON a.attrelid = d.oid AND a.attnum = i.indkey[0]
    WHERE (i.indisunique OR i.indisexclusion) AND a.attname IS DISTINCT FROM 'tenant_id'$$,
    'tenant_id leads every primary key and unique index of theirs');
SELECT is_empty($$SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype = 'f' AND conrelid IN (SELECT oid FROM distributed)$$, 'no foreign key leaves them');
SELECT is_empty($$SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype = 'f' AND confrelid IN (SELECT oid FROM distributed)$$, 'no foreign key leads to them');

-- Every table that names a connection; a part of another is counted with it too, so that none is overlooked.
CREATE TEMP VIEW naming AS
SELECT c.oid, c.relname::text AS name, a.attname::text AS col, c.oid IN (SELECT i.inhrelid FROM pg_inherits i) AS is_part
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
  AND (a.attname LIKE '%connection\_id' OR (c.relname = 'connections' AND a.attname = 'id'));
CREATE FUNCTION rows_of(connection bigint, OUT name text, OUT n bigint) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT * FROM naming ORDER BY 2 LOOP
        name := t.name;
        EXECUTE format('SELECT count(*) FROM sync.%I WHERE %I = $1', t.name, t.col) INTO n USING connection;
        RETURN NEXT;
    END LOOP;
END
$$;
SELECT set_has('SELECT name FROM naming', $$VALUES ('connections'), ('connection_state'), ('sync_jobs'), ('sync_jobs_20260301'), ('sync_executions'), ('signals'), ('deleted_connections')$$,
    'the tables that name connections are found');
SELECT is_empty($$SELECT t.name FROM naming t WHERE t.col <> 'id' AND NOT EXISTS (
    SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id') AND NOT EXISTS (
    SELECT 1 FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = t.oid AND f.confrelid = 'sync.connections'::regclass AND f.confdeltype = 'c')$$,
    'each of them says the tenant too, or goes with its connection by a foreign key');
SELECT is_empty($$SELECT r.name FROM rows_of(conn('goes')) r JOIN naming t ON t.name = r.name
    WHERE r.n = 0 AND NOT t.is_part AND r.name <> 'deleted_connections'$$,
    'each of them has a row of the connection that goes: a table that is missing here has to be filled above');
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs WHERE connection_id = conn('goes')), 3::bigint, 'it has two queued and a running job');
SELECT is((SELECT count(*) FROM sync.sync_jobs_20260301 WHERE connection_id = conn('goes')), 2::bigint, 'and two that ended');

-- Deleted while a job of it runs: little goes at once.
CREATE TEMP TABLE ids AS SELECT e AS external, conn(e) AS id FROM unnest('{goes,stays}'::text[]) e;
CREATE TEMP TABLE before AS SELECT * FROM rows_of((SELECT id FROM ids WHERE external = 'stays'));
DELETE FROM sync.connections WHERE external_id = 'goes';
SELECT is_empty($$SELECT * FROM rows_of((SELECT id FROM ids WHERE external = 'goes')) WHERE n > 0$$,
    'a deleted connection is gone from every table that named it');
SELECT results_eq($$SELECT * FROM rows_of((SELECT id FROM ids WHERE external = 'stays'))$$, 'SELECT * FROM before',
    'another of its tenant keeps every row');

-- Much goes in batches.
SELECT fill('large', 12000);
INSERT INTO ids SELECT 'large', conn('large');
DELETE FROM sync.connections WHERE external_id = 'large';
SELECT cmp_ok((SELECT n FROM rows_of((SELECT id FROM ids WHERE external = 'large')) WHERE name = 'signals'), '>', 0::bigint, 'of a large one not all goes at once');
SELECT results_eq($$SELECT name FROM rows_of((SELECT id FROM ids WHERE external = 'large')) WHERE n > 0 AND name IN ('connections', 'connection_state', 'deleted_connections')$$,
    $$VALUES ('deleted_connections')$$, 'what is left to do is written down');
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs WHERE connection_id = (SELECT id FROM ids WHERE external = 'large')), 0::bigint, 'its live jobs went at once');
SELECT housekeep(at('11:00'));
SELECT is_empty($$SELECT * FROM rows_of((SELECT id FROM ids WHERE external = 'large')) WHERE n > 0$$, 'housekeeping takes it from every table');
SELECT results_eq($$SELECT * FROM rows_of((SELECT id FROM ids WHERE external = 'stays'))$$, 'SELECT * FROM before', 'and the other still keeps every row');

SELECT * FROM finish();
ROLLBACK;
