-- Who may do what, as the catalog holds it.
SET client_min_messages = warning;
CREATE EXTENSION sync_engine;
SELECT r.rolname AS role, string_agg(c.relname, ' ' ORDER BY c.relname) FILTER (WHERE has_table_privilege(r.oid, c.oid, 'SELECT')) AS reads,
       string_agg(c.relname, ' ' ORDER BY c.relname) FILTER (WHERE has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE')) AS writes
FROM pg_roles r CROSS JOIN pg_class c
WHERE r.rolname IN ('sync_admin', 'sync_executor', 'sync_gateway', 'sync_viewer') AND c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname !~ '_\d{6,8}$'
GROUP BY 1 ORDER BY 1;
SELECT r.rolname AS role, p.proname AS may_call
FROM pg_roles r CROSS JOIN pg_proc p
WHERE r.rolname IN ('sync_admin', 'sync_executor', 'sync_gateway', 'sync_viewer') AND p.pronamespace = 'sync'::regnamespace AND has_function_privilege(r.oid, p.oid, 'EXECUTE') ORDER BY 1, 2;
-- The columns of the history that sync_viewer reads: no cursor, no token
SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a
WHERE a.attrelid = 'sync.sync_executions'::regclass AND a.attnum > 0 AND has_column_privilege('sync_viewer', a.attrelid, a.attnum, 'SELECT');
-- Whatever was granted to PUBLIC
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE');
SELECT c.oid::regclass FROM pg_class c, aclexplode(c.relacl) x WHERE c.relnamespace = 'sync'::regnamespace AND x.grantee = 0;
SELECT nspname FROM pg_namespace n, aclexplode(n.nspacl) x WHERE n.nspname = 'sync' AND x.grantee = 0;
-- SECURITY DEFINER without a pinned search_path
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.prosecdef AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false);

-- What they are told
\set VERBOSITY default
\set SHOW_CONTEXT never
SET ROLE sync_viewer;
SELECT count(*) FROM sync.connection_status;
SELECT * FROM sync.connections;
SELECT * FROM sync.tick();
SET sync_engine.enabled = off;
SET ROLE sync_executor;
SELECT enqueued, skipped, backlog, requeued FROM sync.tick('2026-03-01 10:00 UTC');
SELECT sync.pause(1);
SELECT payload FROM sync.signals;
SET ROLE sync_admin;
SELECT sync._cancel_queued('{1}', 'x', now());
DELETE FROM sync.sync_executions;
RESET ROLE;
DROP EXTENSION sync_engine;
