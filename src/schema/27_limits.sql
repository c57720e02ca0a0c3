-- What tenants may have and do. Without a row there is no limit, and nothing costs more than a look.

CREATE TABLE sync.tenant_limits (
    tenant_id text PRIMARY KEY CHECK (tenant_id <> ''),
    max_connections int CHECK (max_connections >= 0),
    max_schedules int CHECK (max_schedules >= 0),
    manual_triggers_per_minute int CHECK (manual_triggers_per_minute >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    max_running int CHECK (max_running >= 0),
    weight int NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000)
);
COMMENT ON TABLE sync.tenant_limits IS 'Limits of tenants; the row of * holds those of tenants without a row of their own';
COMMENT ON COLUMN sync.tenant_limits.max_connections IS 'Connections that the tenant may have; null: any number';
COMMENT ON COLUMN sync.tenant_limits.max_schedules IS 'Schedules that the tenant may have; null: any number';
COMMENT ON COLUMN sync.tenant_limits.manual_triggers_per_minute IS
    'Runs that may be asked for by hand: so many at once, and as many a minute after that; null: any number';
COMMENT ON COLUMN sync.tenant_limits.max_running IS 'Jobs of the tenant that may run at once; null: any number';
COMMENT ON COLUMN sync.tenant_limits.weight IS 'Its share of what is claimed while sync_engine.fair_share is on: twice the weight, twice the jobs';
CREATE INDEX tenant_limits_running ON sync.tenant_limits (tenant_id) WHERE max_running IS NOT NULL;

CREATE TABLE sync.tenant_tokens (
    tenant_id text PRIMARY KEY,
    tokens double precision NOT NULL,
    refilled_at timestamptz NOT NULL
);
COMMENT ON TABLE sync.tenant_tokens IS 'How many runs each limited tenant may still ask for by hand';

CREATE FUNCTION sync._limits_of(tenant text) RETURNS sync.tenant_limits
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l FROM sync.tenant_limits l WHERE l.tenant_id IN (tenant, '*') ORDER BY l.tenant_id = '*' LIMIT 1
$$;
COMMENT ON FUNCTION sync._limits_of(text) IS 'Internal: the limits that count for a tenant; null where there are none';

-- Counted after the rows are there, one transaction of a tenant at a time: what another one has added is seen, or waited for.
CREATE FUNCTION sync._check_limit(tenant text, what text, most int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    one_more bigint := most::bigint + 1;
    there_are bigint;
BEGIN
    IF most IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(format('sync_engine %s of %s', what, tenant), 0));
    IF what = 'connections' THEN
        there_are := (SELECT count(*) FROM (SELECT 1 FROM sync.connections c WHERE c.tenant_id = tenant LIMIT one_more) x);
    ELSE
        there_are := (SELECT count(*) FROM (SELECT 1 FROM sync.sync_schedules s WHERE s.tenant_id = tenant LIMIT one_more) x);
    END IF;
    IF there_are > most THEN
        RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded', MESSAGE = format('tenant %s may have %s %s', tenant, most, what),
            HINT = format('Delete some, or SELECT sync.set_tenant_limits(%L, ...) for more.', tenant);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._check_limit(text, text, int) IS 'Internal: 53400 where a tenant has more connections or schedules than that; null: any number';

CREATE FUNCTION sync._check_limits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant text;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM sync.tenant_limits) THEN
        RETURN NULL;
    END IF;
    FOR tenant IN SELECT DISTINCT w.tenant_id FROM written w ORDER BY 1 LOOP
        IF TG_TABLE_NAME = 'connections' THEN
            PERFORM sync._check_limit(tenant, 'connections', (sync._limits_of(tenant)).max_connections);
        ELSE
            PERFORM sync._check_limit(tenant, 'schedules', (sync._limits_of(tenant)).max_schedules);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._check_limits() IS 'Internal: refuses what would be more than a tenant may have';
CREATE TRIGGER connections_limited AFTER INSERT ON sync.connections
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION sync._check_limits();
CREATE TRIGGER schedules_limited AFTER INSERT ON sync.sync_schedules
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION sync._check_limits();

-- A connection that moves to another tenant takes its schedules along: their key has done so before this.
CREATE FUNCTION sync._check_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    limits sync.tenant_limits := sync._limits_of(NEW.tenant_id);
BEGIN
    PERFORM sync._check_limit(NEW.tenant_id, 'connections', limits.max_connections);
    IF NEW.has_schedules THEN
        PERFORM sync._check_limit(NEW.tenant_id, 'schedules', limits.max_schedules);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._check_moved() IS 'Internal: refuses a connection that moves to a tenant that may not have it, or its schedules';
CREATE TRIGGER connection_moved AFTER UPDATE OF tenant_id ON sync.connections
    FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id) EXECUTE FUNCTION sync._check_moved();

-- A bucket that holds a minute's runs and fills at that rate.
CREATE FUNCTION sync._take_token(tenant text, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most int := (sync._limits_of(tenant)).manual_triggers_per_minute;
    left_over double precision;
BEGIN
    IF most IS NULL THEN
        RETURN;
    END IF;
    -- A clock that went back fills nothing, and takes nothing away.
    INSERT INTO sync.tenant_tokens AS t (tenant_id, tokens, refilled_at) VALUES (tenant, most - 1, as_of)
    ON CONFLICT (tenant_id) DO UPDATE
    SET tokens = LEAST(most, t.tokens + GREATEST(date_part('epoch', as_of - t.refilled_at), 0) * most / 60.0) - 1,
        refilled_at = GREATEST(t.refilled_at, as_of)
    RETURNING t.tokens INTO left_over;
    -- Raised, so that what was taken is put back. Less than nothing by a rounding error is nothing.
    IF left_over < -1e-6 THEN
        RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded',
            MESSAGE = format('tenant %s may ask for %s runs a minute by hand', tenant, most),
            DETAIL = CASE WHEN most > 0 THEN format('Try again in %s seconds.', ceil(-left_over * 60 / most)) ELSE 'None at all.' END,
            HINT = format('What is scheduled runs anyway. SELECT sync.set_tenant_limits(%L, ...) sets the limit.', tenant);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._take_token(text, timestamptz) IS
    'Internal: counts a run that is asked for by hand; 53400, with the seconds to wait, where there are too many';

CREATE FUNCTION sync.set_tenant_limits(tenant_id text, max_connections int DEFAULT NULL, max_schedules int DEFAULT NULL,
    manual_triggers_per_minute int DEFAULT NULL, max_running int DEFAULT NULL, weight int DEFAULT 1) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO sync.tenant_limits AS l (tenant_id, max_connections, max_schedules, manual_triggers_per_minute, max_running, weight)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id) DO UPDATE
    SET max_connections = EXCLUDED.max_connections, max_schedules = EXCLUDED.max_schedules,
        manual_triggers_per_minute = EXCLUDED.manual_triggers_per_minute, max_running = EXCLUDED.max_running, weight = EXCLUDED.weight,
        updated_at = now()
$$;
COMMENT ON FUNCTION sync.set_tenant_limits(text, int, int, int, int, int) IS
    'Sets all limits of a tenant, or with * those of tenants that have none of their own; null: no limit. What there is already stays';
CREATE TRIGGER limits_audited AFTER INSERT OR UPDATE OR DELETE ON sync.tenant_limits
    FOR EACH ROW EXECUTE FUNCTION sync._audit_row();

-- What a new limit of running jobs concerns goes into lanes of its own, at once as far as nobody else holds it; what is left, and
-- what was being queued meanwhile, when a claim meets it. Nobody is waited for.
CREATE FUNCTION sync._tenant_limited() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    WITH held AS MATERIALIZED (
        SELECT j.id
        FROM (SELECT c.id FROM sync.connections c WHERE c.tenant_id = NEW.tenant_id
              UNION ALL
              SELECT c.id FROM sync.connections c
              WHERE NEW.tenant_id = '*' AND NOT EXISTS (SELECT 1 FROM sync.tenant_limits l WHERE l.tenant_id = c.tenant_id)) c
        JOIN ONLY sync.sync_jobs j ON j.connection_id = c.id
        WHERE j.status = 'queued' AND NOT j.own_lane
        FOR NO KEY UPDATE OF j SKIP LOCKED
    )
    UPDATE ONLY sync.sync_jobs j SET own_lane = true FROM held h WHERE j.id = h.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._tenant_limited() IS 'Internal: puts a tenant''s queued jobs into lanes of their own';
-- By name before tenant_limited, which needs it.
CREATE TRIGGER limits_written AFTER INSERT OR UPDATE OR DELETE ON sync.tenant_limits
    FOR EACH ROW EXECUTE FUNCTION sync._limits_written();
CREATE TRIGGER limits_truncated AFTER TRUNCATE ON sync.tenant_limits
    FOR EACH STATEMENT EXECUTE FUNCTION sync._limits_written();
CREATE TRIGGER tenant_limited AFTER INSERT OR UPDATE OF max_running, tenant_id ON sync.tenant_limits
    FOR EACH ROW WHEN (NEW.max_running IS NOT NULL) EXECUTE FUNCTION sync._tenant_limited();

-- What claims hold for providers, apart from them, for it is written often.
CREATE TABLE sync.provider_state (
    provider_slug text PRIMARY KEY REFERENCES sync.providers (slug) ON UPDATE CASCADE ON DELETE CASCADE,
    busy_until timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.provider_state IS 'Until when the requests made so far last at the rate that the provider is limited to';

-- A remote that says when to come back means everybody who uses the same credentials. One connection's own are in its state.
CREATE TABLE sync.credential_holds (
    credential text PRIMARY KEY,
    provider_slug text NOT NULL,
    held_since timestamptz NOT NULL,
    held_until timestamptz NOT NULL,
    reason text
);
COMMENT ON TABLE sync.credential_holds IS
    'Credentials of several connections that a remote has told to slow down: nothing that uses them is claimed until held_until';
COMMENT ON COLUMN sync.credential_holds.credential IS 'provider:SLUG for those of a provider, else a digest of the auth section that connections of a tenant share';
COMMENT ON COLUMN sync.credential_holds.reason IS 'The connection that was told so, and how';
CREATE INDEX credential_holds_until ON sync.credential_holds (held_until);

CREATE FUNCTION sync._credential(tenant text, slug text, config jsonb, provider_config jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN config OPERATOR(pg_catalog.?) 'auth'
                THEN pg_catalog.md5(pg_catalog.jsonb_build_array(slug, tenant, config OPERATOR(pg_catalog.->) 'auth')::pg_catalog.text)
                WHEN provider_config OPERATOR(pg_catalog.?) 'auth' THEN 'provider:' OPERATOR(pg_catalog.||) slug
           END
$$;
COMMENT ON FUNCTION sync._credential(text, text, jsonb, jsonb) IS 'Internal: what connections of a tenant that use the same credentials have in common; null where none are used';
