-- What a gateway has to know of the database as a whole, of which its role sees nothing.

CREATE FUNCTION sync.gateway_metrics() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sync._metrics_text(false)
$$;
COMMENT ON FUNCTION sync.gateway_metrics() IS
    'sync.metrics_text for a gateway, which serves it to whoever may scrape it: no label names a tenant, what is counted for each of them is summed';

CREATE FUNCTION sync.gateway_health(OUT verdict text, OUT body json)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x.verdict, json_build_object('verdict', x.verdict, 'checks', x.checks)
    FROM (SELECT (ARRAY['ok', 'ok', 'warning', 'critical'])[max(array_position('{ok,info,warning,critical}', h.verdict))] AS verdict,
                 json_agg(json_build_object('check', h.check_name, 'verdict', h.verdict, 'detail', h.detail, 'remedy', h.remedy)) AS checks
          FROM sync.health() h) x
$$;
COMMENT ON FUNCTION sync.gateway_health() IS
    'sync.health for a gateway, which serves it to whoever may scrape it: the worst verdict, and all rows as JSON. They name providers and processes, no tenant';

CREATE FUNCTION sync.gateway_status(OUT version text, OUT isolated boolean, OUT confined boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'sync_engine'),
           EXISTS (SELECT 1 FROM sync.tenant_isolation)
           AND NOT EXISTS (SELECT 1 FROM pg_class c
                           WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT c.relrowsecurity
                             AND c.relname <> 'tenant_isolation' AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid)),
           -- Row-level security does not bind superusers, those who may bypass it, and the owner of the tables; policies let the staff see all.
           NOT EXISTS (SELECT 1 FROM pg_roles r
                       WHERE r.rolname = session_user
                         AND (r.rolsuper OR r.rolbypassrls
                              OR EXISTS (SELECT 1 FROM unnest('{sync_admin,sync_executor,sync_viewer}'::text[]) s (staff)
                                         WHERE pg_has_role(r.oid, s.staff, 'MEMBER'))
                              OR pg_has_role(r.oid, (SELECT c.relowner FROM pg_class c WHERE c.oid = 'sync.connections'::regclass), 'MEMBER')))
$$;
COMMENT ON FUNCTION sync.gateway_status() IS
    'Whether a gateway may work on this database: the version of the extension, whether tenants are isolated from each other on every table, and whether the role that has logged in is confined to the tenant that a transaction is bound to';

REVOKE ALL ON FUNCTION sync.gateway_metrics(), sync.gateway_health(), sync.gateway_status(), sync._metrics_text(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync.gateway_metrics(), sync.gateway_health(), sync.gateway_status() TO sync_gateway;
