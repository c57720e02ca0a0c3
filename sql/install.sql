-- What CREATE EXTENSION brings. Each file of this suite creates the extension and leaves none.
SET client_min_messages = warning;
-- A schema of that name belongs to somebody else: it is not adopted.
CREATE SCHEMA sync;
CREATE EXTENSION sync_engine;
DROP SCHEMA sync;
-- Elsewhere it does not go.
CREATE EXTENSION sync_engine SCHEMA public;
CREATE EXTENSION sync_engine;
CREATE EXTENSION sync_engine;

SELECT extname, extnamespace::regnamespace, extrelocatable FROM pg_extension WHERE extname = 'sync_engine';
SELECT nspname, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'sync';

-- All of it is the extension's; the dated tables, made at run time, are not.
SELECT c.oid::regclass FROM pg_class c
WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relname !~ '_\d{6,8}$'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i'));
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'sync'::regnamespace
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

-- Tables and views
SELECT c.relname, c.relkind FROM pg_class c
WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname !~ '_\d{6,8}$' ORDER BY 1;
-- The columns that are public and stay
SELECT a.attrelid::regclass AS "table", a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required, a.attidentity AS identity
FROM pg_attribute a
WHERE a.attrelid IN ('sync.providers'::regclass, 'sync.connections'::regclass, 'sync.sync_jobs'::regclass, 'sync.signals'::regclass) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid::regclass::text, a.attnum;
\pset format unaligned
\pset tuples_only on
-- Indexes, each of which docs/architecture.md justifies
SELECT indexdef FROM pg_indexes WHERE schemaname = 'sync' AND tablename !~ '_\d{6,8}$' ORDER BY indexname;
-- Constraints
SELECT conrelid::regclass AS "table", conname, contype, pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE connamespace = 'sync'::regnamespace AND conrelid <> 0 AND conrelid::regclass::text !~ '_\d{6,8}$' AND contype IN ('u', 'f', 'c') ORDER BY conrelid::regclass::text, 2;
-- Triggers
SELECT tgrelid::regclass AS "table", tgname, tgfoid::regproc AS runs FROM pg_trigger
WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'sync'::regnamespace AND relname !~ '_\d{6,8}$') ORDER BY tgrelid::regclass::text, 2;

-- The functions that are public: arguments with defaults, results
SELECT p.proname, p.prokind AS kind, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.proname NOT LIKE '\_%' ORDER BY 1;
-- Every one that reads the clock takes as_of, which defaults to now(), last.
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'sync'::regnamespace AND pg_get_function_identity_arguments(p.oid) ~ '\mas_of\M' AND p.proname NOT LIKE '\_%'
  AND pg_get_function_arguments(p.oid) !~ 'as_of timestamp with time zone DEFAULT now\(\)(, OUT|$)';

-- Settings
\pset tuples_only off
SELECT name, vartype, boot_val, min_val, max_val, context FROM pg_settings WHERE name LIKE 'sync\_engine.%' ORDER BY name;

-- Roles, that stay when the extension goes
SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname LIKE 'sync\_%' ORDER BY 1;

DROP EXTENSION sync_engine;
