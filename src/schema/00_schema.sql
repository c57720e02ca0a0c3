-- The schema and the roles. Plain CREATE: an existing schema of that name belongs to somebody else and is refused.
CREATE SCHEMA sync;
COMMENT ON SCHEMA sync IS 'sync_engine: connections, jobs, signals and the functions that schedule, claim and finish syncs';

-- Roles belong to the cluster, not to this database: they may be there already and are never dropped.
-- Update scripts repeat this.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['sync_admin', 'sync_executor', 'sync_viewer', 'sync_tenant', 'sync_gateway'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END
$$;
