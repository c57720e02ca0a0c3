-- Comments: \d+ and \df+ explain everything that is public.
SET client_min_messages = warning;
CREATE EXTENSION sync_engine;
\pset format unaligned
\pset tuples_only on
SELECT c.relname || ': ' || obj_description(c.oid, 'pg_class') FROM pg_class c
WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname NOT LIKE '\_%' AND c.relname !~ '_\d{6,8}$' ORDER BY c.relname;
SELECT p.oid::regprocedure || ': ' || obj_description(p.oid, 'pg_proc') FROM pg_proc p
WHERE p.pronamespace = 'sync'::regnamespace AND p.proname NOT LIKE '\_%' ORDER BY p.oid::regprocedure::text;
SELECT c.relname || '.' || a.attname || ': ' || col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'sync'::regnamespace AND c.relname !~ '_\d{6,8}$' AND col_description(c.oid, a.attnum) IS NOT NULL ORDER BY 1;
-- Without one: nothing that anybody may call or read
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND obj_description(c.oid, 'pg_class') IS NULL;
DROP EXTENSION sync_engine;
