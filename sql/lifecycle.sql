-- Dump registration; DROP EXTENSION leaves nothing but the roles; creating it again works, also after history was made.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
-- The worker of a server that has one would drop what lies months back.
DO $$
DECLARE
    setting text;
BEGIN
    FOREACH setting IN ARRAY '{execution_retention_days,job_retention_days}'::text[] LOOP
        EXECUTE format('ALTER DATABASE %I SET sync_engine.%I = 0', current_database(), setting);
    END LOOP;
END
$$;
CREATE FUNCTION pg_temp.left_over() RETURNS TABLE (what text) LANGUAGE sql AS $$
    SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'sync'
    UNION ALL SELECT 'class ' || c.oid::regclass FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'sync' OR n.oid IS NULL
    UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p LEFT JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'sync' OR n.oid IS NULL OR p.probin LIKE '%sync_engine%'
    UNION ALL SELECT 'type ' || t.oid::regtype FROM pg_type t LEFT JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = 'sync' OR n.oid IS NULL
    UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'sync\_%'
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'dependency of ' || d.classid::regclass || ' ' || d.objid FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass
        AND NOT EXISTS (SELECT 1 FROM pg_extension e WHERE e.oid = d.refobjid)
    ORDER BY 1
$$;

CREATE EXTENSION sync_engine;
SELECT unnest(extconfig)::regclass AS dumped, unnest(extcondition) AS condition FROM pg_extension WHERE extname = 'sync_engine';
-- What is not dumped is derived.
SELECT c.oid::regclass AS not_dumped FROM pg_class c, pg_extension e
WHERE e.extname = 'sync_engine' AND c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND c.oid <> ALL (e.extconfig) AND c.relname !~ '_\d{6,8}$' ORDER BY c.oid::regclass::text;

-- Dropped at once
DROP EXTENSION sync_engine;
SELECT * FROM pg_temp.left_over();

-- Made and dropped within transactions
BEGIN;
CREATE EXTENSION sync_engine;
ROLLBACK;
SELECT * FROM pg_temp.left_over();
BEGIN;
CREATE EXTENSION sync_engine;
DROP EXTENSION sync_engine;
CREATE EXTENSION sync_engine;
COMMIT;
BEGIN;
DROP EXTENSION sync_engine;
ROLLBACK;
SELECT enqueued FROM sync.tick('2026-03-01 10:00 UTC');

-- Used: live and finished jobs, signals, history in dated tables of several days, a deleted connection
CREATE PROCEDURE pg_temp.use(last_day date) LANGUAGE plpgsql AS $$
DECLARE
    day timestamptz := '2026-03-01 10:00 UTC';
BEGIN
    INSERT INTO sync.providers (slug, connector) VALUES ('github', 'noop');
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id) SELECT 'T', 'github', n FROM generate_series(1, 3) n;
    WHILE day <= last_day LOOP
        WHILE sync._housekeeping(day) LOOP
        END LOOP;
        PERFORM sync.trigger(id, as_of => day) FROM sync.connections;
        PERFORM sync.complete_job(job_id, claim_token, '[{"kind": "k"}]', '1', as_of => day) FROM sync.claim_jobs('executor', 2, day);
        day := day + interval '24 hours';
    END LOOP;
    DELETE FROM sync.connections WHERE external_id = '3';
END
$$;
-- In the transaction that makes the extension, so that the worker of a server that has one is not in the way.
DROP EXTENSION sync_engine;
BEGIN;
CREATE EXTENSION sync_engine;
CALL pg_temp.use('2026-04-02');
COMMIT;
SELECT parent, count(*) > 2 AS several FROM sync.partitions WHERE range_from < '2026-06-01' AND parent NOT LIKE 'signal%' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM sync.partitions WHERE parent = 'signals' AND range_from < '2026-04-15';
DROP EXTENSION sync_engine;
SELECT * FROM pg_temp.left_over();

-- And again, by CASCADE too, with an object of somebody else's in the way
BEGIN;
CREATE EXTENSION sync_engine;
SELECT count(*) FROM sync.connections;
CALL pg_temp.use('2026-03-03');
COMMIT;
CREATE VIEW public.mine AS SELECT id FROM sync.connections;
\set SHOW_CONTEXT never
\set VERBOSITY terse
DROP EXTENSION sync_engine;
DROP EXTENSION sync_engine CASCADE;
SELECT to_regclass('public.mine');
SELECT * FROM pg_temp.left_over();

-- The next one is as new.
CREATE EXTENSION sync_engine;
SELECT count(*) FROM sync.sync_jobs;
INSERT INTO sync.providers (slug, connector) VALUES ('github', 'noop');
INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('T', 'github') RETURNING id;
SELECT enqueued FROM sync.tick('2026-03-01 10:00 UTC');
-- Waiting for work returns where the wake-ups have got to.
CALL sync.wait_for_work(0) \gset
SELECT :seen IS NOT NULL AS seen;
DROP EXTENSION sync_engine;
DO $$
DECLARE
    setting text;
BEGIN
    FOREACH setting IN ARRAY '{execution_retention_days,job_retention_days}'::text[] LOOP
        EXECUTE format('ALTER DATABASE %I RESET sync_engine.%I', current_database(), setting);
    END LOOP;
END
$$;
