-- Credentials that a remote has told to slow down: how they come to be held back, and how an operator ends it.

-- What a remote said to one connection: its own job waits anyway, by its backoff; this is for all others that use its credentials.
CREATE FUNCTION sync._hold_credentials(connections bigint[], untils timestamptz[], reasons text[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    WITH told AS MATERIALIZED (
        SELECT DISTINCT ON (k.credential) k.credential, c.provider_slug, u.held_until, concat_ws(': ', 'connection ' || c.id, u.reason) AS reason
        FROM unnest(connections, untils, reasons) u (id, held_until, reason)
        JOIN sync.connections c ON c.id = u.id
        JOIN sync.providers p ON p.slug = c.provider_slug
        CROSS JOIN LATERAL (SELECT sync._credential(c.tenant_id, p.slug, c.config, p.config) AS credential) k
        WHERE k.credential = 'provider:' || p.slug
           OR c.config ? 'auth' AND EXISTS (SELECT 1 FROM sync.connections x
                                            WHERE x.provider_slug = c.provider_slug AND x.tenant_id = c.tenant_id AND x.config ? 'auth'
                                              AND md5((x.config -> 'auth')::text) = md5((c.config -> 'auth')::text) AND x.id <> c.id)
        ORDER BY k.credential, u.held_until DESC
    )
    INSERT INTO sync.credential_holds AS h (credential, provider_slug, held_since, held_until, reason)
    SELECT t.credential, t.provider_slug, as_of, t.held_until, t.reason
    FROM told t
    WHERE NOT EXISTS (SELECT 1 FROM sync.credential_holds o WHERE o.credential = t.credential AND o.held_until >= t.held_until)
    ORDER BY t.credential
    ON CONFLICT (credential) DO UPDATE
    SET held_since = CASE WHEN h.held_until > as_of THEN h.held_since ELSE as_of END, held_until = GREATEST(h.held_until, EXCLUDED.held_until),
        reason = CASE WHEN h.held_until >= EXCLUDED.held_until THEN h.reason ELSE EXCLUDED.reason END;
    -- The caller has their rows: the connection itself keeps still, and what else is queued for it waits as long.
    UPDATE sync.connection_state s SET held_until = GREATEST(s.held_until, u.held_until)
    FROM (SELECT x.id, max(x.held_until) AS held_until FROM unnest(connections, untils) x (id, held_until) GROUP BY 1) u
    WHERE s.connection_id = u.id;
    DELETE FROM sync.credential_holds h
    WHERE h.credential IN (SELECT o.credential FROM sync.credential_holds o WHERE o.held_until < as_of - interval '1 day'
                           ORDER BY o.held_until LIMIT 100 FOR UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION sync._hold_credentials(bigint[], timestamptz[], text[], timestamptz) IS
    'Internal: nothing that uses the credentials of these connections, whose rows the caller has locked, is claimed until then';

CREATE FUNCTION sync.lift_hold(connection_id bigint, as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    one record;
    ids bigint[];
    lifted boolean;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT c.tenant_id, c.provider_slug, c.config, sync._credential(c.tenant_id, p.slug, c.config, p.config) AS credential INTO one
    FROM sync.connections c JOIN sync.providers p ON p.slug = c.provider_slug WHERE c.id = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', $1);
    END IF;
    -- Whoever waits locks connections, then jobs, in id order; what comes after a failure that was waited for knows its hold.
    ids := ARRAY(SELECT l.id
                 FROM (SELECT c.id FROM sync.connections c
                       WHERE c.id IN (SELECT $1
                                      UNION ALL
                                      SELECT x.id FROM sync.connections x
                                      WHERE one.config ? 'auth' AND x.provider_slug = one.provider_slug AND x.tenant_id = one.tenant_id AND x.config ? 'auth'
                                        AND md5((x.config -> 'auth')::text) = md5((one.config -> 'auth')::text))
                       ORDER BY c.id FOR NO KEY UPDATE) l);
    DELETE FROM sync.credential_holds h WHERE h.credential = one.credential AND h.held_until > as_of;
    lifted := FOUND;
    UPDATE sync.connection_state s SET held_until = NULL WHERE s.connection_id = ANY (ids) AND s.held_until > as_of;
    lifted := lifted OR FOUND;
    -- What failed itself keeps its backoff; retry_job is there for it.
    UPDATE ONLY sync.sync_jobs j SET retry_after = NULL
    FROM (SELECT x.id FROM ONLY sync.sync_jobs x
          WHERE x.connection_id = ANY (ids) AND x.status = 'queued' AND x.attempts = 0 AND x.retry_after > as_of ORDER BY x.id FOR NO KEY UPDATE) l
    WHERE j.id = l.id;
    IF lifted THEN
        PERFORM sync._audit('connection.lift_hold', one.tenant_id, 'connection', $1::text, NULL, NULL);
    END IF;
    PERFORM sync._wake_executors();
    RETURN lifted;
END
$$;
COMMENT ON FUNCTION sync.lift_hold(bigint, timestamptz) IS
    'Ends what a remote''s "slow down" to a connection''s credentials holds back: jobs that have not failed themselves are due again. False where nothing was held';
