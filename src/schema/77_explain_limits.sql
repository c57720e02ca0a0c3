-- What limits have to do with it that something does not run: for sync.explain, sync.throttled and sync.health.

-- Tenants whose running jobs are limited, with something due or running.
CREATE VIEW sync._tenant_loads AS
SELECT x.tenant_id, COALESCE(t.max_running, d.max_running) AS max_running, sum(x.running)::int AS running, min(x.due) AS due
FROM (SELECT l.tenant_id, 0 AS running, l.due FROM sync._tenant_lanes l
      UNION ALL
      SELECT j.tenant_id, count(*), NULL FROM ONLY sync.sync_jobs j WHERE j.status = 'running' GROUP BY 1) x
LEFT JOIN sync.tenant_limits t ON t.tenant_id = x.tenant_id
LEFT JOIN sync.tenant_limits d ON d.tenant_id = '*' AND t.tenant_id IS NULL
WHERE COALESCE(t.max_running, d.max_running) IS NOT NULL
GROUP BY 1, 2;
COMMENT ON VIEW sync._tenant_loads IS 'Internal: tenants whose running jobs are limited, how many run, and when the first of the others is due';

CREATE VIEW sync._provider_loads AS
SELECT p.slug, p.max_running, CASE WHEN p.max_running IS NOT NULL
                                   THEN (SELECT count(*) FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.provider_slug = p.slug)::int END AS running,
       p.requests_per_minute, s.busy_until, h.held_until, h.reason
FROM sync.providers p
LEFT JOIN sync.provider_state s ON s.provider_slug = p.slug
LEFT JOIN sync.credential_holds h ON h.credential = 'provider:' || p.slug;
COMMENT ON VIEW sync._provider_loads IS 'Internal: how far providers are within their limits';

CREATE FUNCTION sync._explain_limits(connection bigint, as_of timestamptz, OUT aspect text, OUT verdict text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    c sync.connections;
    p sync.providers;
    s sync.connection_state;
    h sync.credential_holds;
    load record;
    per_minute int;
    running int;
BEGIN
    SELECT x.* INTO c FROM sync.connections x WHERE x.id = connection;
    SELECT x.* INTO p FROM sync.providers x WHERE x.slug = c.provider_slug;
    SELECT x.* INTO s FROM sync.connection_state x WHERE x.connection_id = connection;
    SELECT x.* INTO h FROM sync.credential_holds x WHERE x.credential = sync._credential(c.tenant_id, p.slug, c.config, p.config);
    IF GREATEST(s.held_until, h.held_until) > as_of THEN
        RETURN QUERY VALUES ('limits', 'waiting', format('%s claimed before %s%s',
            CASE WHEN h.held_until >= s.held_until OR s.held_until IS NULL
                 THEN 'its credentials were told to slow down: nothing that uses them is' ELSE 'it was told to slow down: nothing of it is' END,
            sync._format_utc(GREATEST(s.held_until, h.held_until)), CASE WHEN h.held_until > as_of THEN COALESCE(' (' || h.reason || ')', '') ELSE '' END));
    END IF;
    SELECT l.* INTO load FROM sync._provider_loads l WHERE l.slug = p.slug;
    IF p.max_running IS NOT NULL THEN
        RETURN QUERY VALUES ('limits', CASE WHEN load.running >= p.max_running THEN 'waiting' ELSE 'ok' END,
                             format('%s of %s jobs that provider %s may run at once are running', load.running, p.max_running, p.slug));
    END IF;
    IF p.requests_per_minute IS NOT NULL THEN
        RETURN QUERY SELECT 'limits', CASE WHEN x.at > as_of THEN 'waiting' ELSE 'ok' END,
                            format('provider %s is asked for %s pages a minute, the next %s', p.slug, p.requests_per_minute,
                                   CASE WHEN x.at > as_of THEN 'at ' || sync._format_utc(x.at) ELSE 'at once' END)
                     FROM (SELECT sync._next_request_at(load.busy_until, as_of, p.requests_per_minute) AS at) x;
    END IF;
    per_minute := COALESCE(c.requests_per_minute, p.connection_requests_per_minute);
    IF per_minute IS NOT NULL THEN
        RETURN QUERY SELECT 'limits', CASE WHEN x.at > as_of THEN 'waiting' ELSE 'ok' END,
                            format('this connection is asked for %s pages a minute, the next %s', per_minute,
                                   CASE WHEN x.at > as_of THEN 'at ' || sync._format_utc(x.at) ELSE 'at once' END)
                     FROM (SELECT sync._next_request_at(s.busy_until, as_of, per_minute) AS at) x;
    END IF;
    SELECT COALESCE(t.max_running, d.max_running) AS max_running, COALESCE(t.weight, d.weight, 1) AS weight INTO load
    FROM (VALUES (c.tenant_id)) v (tenant_id)
    LEFT JOIN sync.tenant_limits t ON t.tenant_id = v.tenant_id
    LEFT JOIN sync.tenant_limits d ON d.tenant_id = '*' AND t.tenant_id IS NULL;
    IF load.max_running IS NOT NULL THEN
        running := (SELECT count(*) FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.tenant_id = c.tenant_id);
        RETURN QUERY VALUES ('limits', CASE WHEN running >= load.max_running THEN 'waiting' ELSE 'ok' END,
                             format('%s of %s jobs that tenant %s may run at once are running', running, load.max_running, c.tenant_id));
    END IF;
    IF sync._setting('fair_share') = 1 THEN
        RETURN QUERY VALUES ('limits', 'info', format('sync_engine.fair_share is on: within a priority tenants are served in turn, %s with weight %s',
                                                      c.tenant_id, load.weight));
    END IF;
END
$$;
COMMENT ON FUNCTION sync._explain_limits(bigint, timestamptz) IS 'Internal: the rows of sync.explain about limits';
