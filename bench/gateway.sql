-- After engine.sql: one tenant of many, whose API the gateway serves, with so many connections, a schedule for each of the first `schedules`
-- and a hook for each of the first `hooks`.
CREATE TABLE bench.hooks (connection_id bigint PRIMARY KEY, path text NOT NULL, secret text NOT NULL);

CREATE FUNCTION bench.fill_large_tenant(n int, schedules int, hooks int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, created_at)
    SELECT 'large', 'bench', 'large ' || i, now() - interval '1 day' FROM generate_series(1, n) i;
    INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type, cron_expression)
    SELECT c.tenant_id, c.id, 'nightly ' || c.id, 'daily', format('%s 2 * * *', c.id % 60)
    FROM (SELECT x.* FROM sync.connections x WHERE x.tenant_id = 'large' ORDER BY x.id LIMIT schedules) c;
    INSERT INTO bench.hooks
    SELECT c.id, h.path, h.secret
    FROM (SELECT x.id FROM sync.connections x WHERE x.tenant_id = 'large' ORDER BY x.id LIMIT hooks) c
    CROSS JOIN LATERAL sync.create_hook(c.id, 'github') h
$$;
