-- Requests from outside: who calls, for which tenant and how often; what is answered to one that comes twice; and whether something is
-- still what the caller has read. Gateways call this as sync_gateway, which is bound to the tenant that begin_request has set.

CREATE FUNCTION sync._check_api_token(tenant_id text, name text, scopes text[], expires_at timestamptz, requests_per_minute int, as_of timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known text[] := '{read,write,trigger,audit}';
    strange text := (SELECT COALESCE(s, 'null') FROM unnest(scopes) s WHERE s <> ALL (known) OR s IS NULL LIMIT 1);
    hint text := 'Scopes are read, write, trigger and audit.';
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(tenant_id, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'tenant_id must not be null or empty';
    ELSIF NOT sync._sees_tenant(tenant_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('tenant %s is not the caller''s', tenant_id);
    ELSIF COALESCE(name, '') = '' OR length(name) > 100 OR name ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'name must have 1 to 100 characters, and no control characters';
    ELSIF COALESCE(cardinality(scopes), 0) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a token needs a scope', HINT = hint;
    ELSIF strange IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no scope "%s"', strange), HINT = hint;
    ELSIF expires_at <= as_of THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'expires_at must be in the future', HINT = 'Leave it out for a token that does not expire.';
    ELSIF requests_per_minute NOT BETWEEN 0 AND 1000000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'requests_per_minute must be from 0 to 1000000',
            HINT = '0 is any number; leave it out for sync_engine.api_requests_per_minute.';
    END IF;
END
$$;
COMMENT ON FUNCTION sync._check_api_token(text, text, text[], timestamptz, int, timestamptz) IS 'Internal: refuses a token that cannot be, or that is of another tenant than the caller''s';

CREATE FUNCTION sync.create_api_token(tenant_id text, name text, scopes text[] DEFAULT '{read}', expires_at timestamptz DEFAULT NULL,
    requests_per_minute int DEFAULT NULL, as_of timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fresh text := 'syn_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex');
BEGIN
    PERFORM sync._check_api_token(tenant_id, name, scopes, expires_at, requests_per_minute, as_of);
    -- What binds a gateway to the token's tenant.
    IF NOT EXISTS (SELECT 1 FROM sync.tenant_isolation) THEN
        PERFORM sync.enable_tenant_isolation();
    END IF;
    INSERT INTO sync.api_tokens (tenant_id, name, token_hash, token_hint, scopes, requests_per_minute, created_at, expires_at)
    VALUES ($1, $2, sha256(convert_to(fresh, 'UTF8')), "left"(fresh, 8), ARRAY(SELECT DISTINCT s FROM unnest($3) s ORDER BY s), $5, $6, $4);
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION sync.create_api_token(text, text, text[], timestamptz, int, timestamptz) IS
    'Makes a token by which an application acts for a tenant through the gateway, and returns it: it is shown here and nowhere else. Enables tenant isolation where it is not; audited';

CREATE FUNCTION sync.revoke_api_token(token_id bigint, as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former sync.api_tokens;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT t.* INTO former FROM sync.api_tokens t WHERE t.id = token_id AND sync._sees_tenant(t.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('api token %s does not exist', token_id);
    ELSIF former.revoked_at IS NOT NULL THEN
        PERFORM sync._audit('api_token.revoke', former.tenant_id, 'api_token', former.id::text, NULL, NULL, 'was so already');
        RETURN false;
    END IF;
    UPDATE sync.api_tokens t SET revoked_at = as_of WHERE t.id = former.id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync.revoke_api_token(bigint, timestamptz) IS
    'Ends a token: no request that begins afterwards is let through. False where it was revoked before; audited';

CREATE FUNCTION sync._take_requests(token_id bigint, most int, take int, as_of timestamptz, OUT granted int, OUT remaining int, OUT resets_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    minute timestamptz := date_bin('1 minute', as_of, 'epoch');
    was int;
BEGIN
    resets_at := minute + interval '1 minute';
    LOOP
        -- One that has used up its minute neither waits nor writes.
        SELECT u.used INTO was FROM sync.api_token_use u WHERE u.window_start = minute AND u.token_id = $1;
        IF was < most THEN
            SELECT u.used INTO was FROM sync.api_token_use u WHERE u.window_start = minute AND u.token_id = $1 FOR NO KEY UPDATE;
        END IF;
        granted := GREATEST(LEAST(take, most - COALESCE(was, 0)), 0);
        remaining := GREATEST(most - COALESCE(was, 0) - granted, 0);
        IF was IS NULL THEN
            INSERT INTO sync.api_token_use (token_id, window_start, used) VALUES ($1, minute, granted) ON CONFLICT DO NOTHING;
            EXIT WHEN FOUND;
        ELSE
            UPDATE sync.api_token_use u SET used = was + granted WHERE u.window_start = minute AND u.token_id = $1 AND granted > 0;
            EXIT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._take_requests(bigint, int, int, timestamptz) IS 'Internal: takes requests of a token''s budget of this minute, as many as there are left';

CREATE FUNCTION sync.begin_request(token text, scope text, actor text DEFAULT NULL, request_id text DEFAULT NULL, take int DEFAULT 0,
    as_of timestamptz DEFAULT now(), OUT token_id bigint, OUT tenant_id text, OUT scopes text[], OUT requests_per_minute int, OUT granted int,
    OUT remaining int, OUT resets_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT x.id, x.tenant_id, x.name, x.scopes, x.requests_per_minute, x.last_used_at INTO t FROM sync.api_tokens x
    WHERE x.token_hash = sha256(convert_to(begin_request.token, 'UTF8')) AND x.revoked_at IS NULL AND (x.expires_at > as_of) IS NOT FALSE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_authorization_specification', MESSAGE = 'the token is unknown, expired or revoked';
    ELSIF scope <> ALL (t.scopes) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('the token lacks the scope "%s"', scope),
            HINT = format('It has %s.', array_to_string(t.scopes, ', '));
    ELSIF (take >= 0) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'take must not be null or negative';
    END IF;
    PERFORM set_config('sync_engine.tenant_id', t.tenant_id, true),
            set_config('sync_engine.actor', 'token ' || t.name || CASE WHEN actor <> ''
                THEN ' for ' || regexp_replace("left"(actor, 200), '[[:cntrl:]]+', ' ', 'g') ELSE '' END, true),
            set_config('sync_engine.request_id', COALESCE(request_id, ''), true);
    token_id := t.id;
    tenant_id := t.tenant_id;
    scopes := t.scopes;
    requests_per_minute := NULLIF(COALESCE(t.requests_per_minute, sync._setting('api_requests_per_minute')::int), 0);
    granted := take;
    IF take > 0 AND requests_per_minute IS NOT NULL THEN
        SELECT x.granted, x.remaining, x.resets_at INTO granted, remaining, resets_at FROM sync._take_requests(t.id, requests_per_minute, take, as_of) x;
    END IF;
    -- Requests at the same time do not wait for each other to say so.
    IF (t.last_used_at > as_of - interval '1 minute') IS NOT TRUE THEN
        UPDATE sync.api_tokens x SET last_used_at = as_of
        WHERE x.id = (SELECT y.id FROM sync.api_tokens y
                      WHERE y.id = t.id AND (y.last_used_at > as_of - interval '1 minute') IS NOT TRUE FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
END
$$;
COMMENT ON FUNCTION sync.begin_request(text, text, text, text, int, timestamptz) IS
    'Binds the transaction to the tenant of a token that has the scope (null: any): sets sync_engine.tenant_id, actor and request_id. 28000: no such token any more, 42501: not the scope. take: takes so many requests of the token''s budget of this minute, or what there is left of it, and keeps others who take from it waiting until the transaction ends; remaining and resets_at are null where nothing was taken from a budget';

CREATE FUNCTION sync._request_tenant() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant text := NULLIF(sync._bound_tenant(), '');
BEGIN
    IF tenant IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'the transaction is not bound to a tenant',
            HINT = 'SELECT * FROM sync.begin_request(token, scope) binds it to that of the token.';
    END IF;
    RETURN tenant;
END
$$;
COMMENT ON FUNCTION sync._request_tenant() IS 'Internal: the tenant that the transaction is bound to; 42501 where there is none';

-- The row that the first one inserts or takes over makes the next one wait, until that transaction has answered or is undone.
CREATE FUNCTION sync.begin_idempotent(key text, operation text, request_hash text, as_of timestamptz DEFAULT now(),
    OUT replayed boolean, OUT status int, OUT headers jsonb, OUT body text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    tenant text := sync._request_tenant();
    kept sync.idempotency_keys;
    forgotten timestamptz := as_of - interval '24 hours';
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(begin_idempotent.key, '') = '' OR length(begin_idempotent.key) > 255 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an idempotency key must have 1 to 255 characters';
    ELSIF begin_idempotent.operation IS NULL OR begin_idempotent.request_hash IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'operation and request_hash must not be null';
    END IF;
    replayed := false;
    LOOP
        INSERT INTO sync.idempotency_keys (tenant_id, key, operation, request_hash, taken_at) VALUES (tenant, $1, $2, $3, $4) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        SELECT k.* INTO kept FROM sync.idempotency_keys k WHERE k.tenant_id = tenant AND k.key = $1;
        -- Housekeeping may have removed it in between.
        CONTINUE WHEN NOT FOUND;
        IF kept.status IS NULL OR kept.taken_at <= forgotten THEN
            UPDATE sync.idempotency_keys k SET operation = $2, request_hash = $3, taken_at = $4, status = NULL, headers = NULL, body = NULL
            WHERE k.tenant_id = tenant AND k.key = $1 AND (k.status IS NULL OR k.taken_at <= forgotten);
            EXIT WHEN FOUND;
        ELSIF (kept.operation, kept.request_hash) <> ($2, $3) THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('idempotency key "%s" was used for another request', $1),
                HINT = 'A key is of one request, sent any number of times: take another one.';
        ELSE
            replayed := true;
            status := kept.status;
            headers := kept.headers;
            body := kept.body;
            EXIT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync.begin_idempotent(text, text, text, timestamptz) IS
    'Takes an idempotency key of the tenant that the transaction is bound to, waiting for whoever has it. Replayed: the request was answered in the last 24 hours, and so; otherwise sync.end_idempotent keeps the answer in the same transaction. 22023 where the key was another request''s';

CREATE FUNCTION sync.end_idempotent(key text, status int, headers jsonb, body text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant text := sync._request_tenant();
BEGIN
    IF ($2 BETWEEN 100 AND 599) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'status must be an HTTP status';
    END IF;
    UPDATE sync.idempotency_keys k SET status = $2, headers = $3, body = $4 WHERE k.tenant_id = tenant AND k.key = $1 AND k.status IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('idempotency key "%s" is not taken', $1),
            HINT = 'sync.begin_idempotent takes it.';
    END IF;
END
$$;
COMMENT ON FUNCTION sync.end_idempotent(text, int, jsonb, text) IS 'Keeps the answer of a request whose idempotency key this transaction has taken, for 24 hours';

-- What users have configured of an object, in one form whatever the session's settings are. A further kind has a branch here and one in
-- sync.expect_version, which locks it.
CREATE FUNCTION sync._configured(kind text, id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET IntervalStyle = 'postgres'
AS $$
BEGIN
    CASE kind
        WHEN 'connection' THEN
            -- Of what the engine keeps there, the interval alone is a user's. What metadata cannot hold is written as runs write it.
            -- That it is in error is a run's doing.
            RETURN (SELECT to_jsonb(c) - '{created_at,updated_at,has_schedules,last_incremental_finished_at,metadata}'::text[]
                           || CASE WHEN c.status = 'error' THEN '{"status": "active", "status_reason": null}'::jsonb ELSE '{}' END
                           || jsonb_build_object('metadata', sync._metadata_with(c.metadata, '{}') - 'sync',
                                                 'interval_seconds', c.metadata #> '{sync,interval_seconds}')
                    FROM sync.connections c WHERE c.id = $2 AND sync._sees_tenant(c.tenant_id));
        WHEN 'schedule' THEN
            RETURN (SELECT to_jsonb(s) - '{created_at,updated_at}'::text[]
                    FROM sync.sync_schedules s WHERE s.id = $2 AND sync._sees_tenant(s.tenant_id));
        WHEN 'notification' THEN
            RETURN (SELECT to_jsonb(n) - '{created_at,updated_at,verified_at,disabled_at,disabled_reason}'::text[]
                    FROM sync.sync_notifications n WHERE n.id = $2 AND sync._sees_tenant(n.tenant_id));
        WHEN 'hook' THEN
            RETURN (SELECT to_jsonb(h) - '{created_at,updated_at,last_received_at}'::text[]
                    FROM sync.hooks h WHERE h.id = $2 AND sync._sees_tenant(h.tenant_id));
        ELSE
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there are no versions of "%s"', kind),
                HINT = 'Kinds are connection, schedule, notification and hook.';
    END CASE;
END
$$;
COMMENT ON FUNCTION sync._configured(text, bigint) IS 'Internal: what users have configured of an object; null where there is none or it is another tenant''s';

CREATE FUNCTION sync.object_version(kind text, id bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    configured text := sync._configured(kind, id)::text;
BEGIN
    RETURN (SELECT "left"(encode(sha256(k.key || convert_to(configured, 'UTF8')), 'hex'), 32) FROM sync.version_key k);
END
$$;
COMMENT ON FUNCTION sync.object_version(text, bigint) IS
    'A version of a connection, schedule, notification or hook: 32 hex digits that are others once a user has changed it, and stay while it runs. Null where there is none';

CREATE FUNCTION sync.expect_version(kind text, id bigint, versions text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    version text;
BEGIN
    -- Locked as by the functions that change it.
    CASE kind
        WHEN 'connection' THEN
            PERFORM 1 FROM sync.connections c WHERE c.id = $2 AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
        WHEN 'schedule' THEN
            PERFORM sync._lock_schedule($2);
        WHEN 'notification' THEN
            PERFORM sync._lock_notification($2);
        WHEN 'hook' THEN
            PERFORM 1 FROM sync.hooks h WHERE h.id = $2 AND sync._sees_tenant(h.tenant_id) FOR NO KEY UPDATE;
        ELSE
            NULL;  -- refused below
    END CASE;
    version := sync.object_version(kind, $2);
    IF version IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('%s %s does not exist', kind, $2);
    ELSIF version <> ALL (versions) THEN
        RAISE EXCEPTION USING ERRCODE = 'SE412', MESSAGE = format('%s %s has changed meanwhile', kind, $2), HINT = 'Read it again, then change it.';
    END IF;
    RETURN version;
END
$$;
COMMENT ON FUNCTION sync.expect_version(text, bigint, text[]) IS
    'Locks an object until the transaction ends and returns its version; SE412 where that is none of those given (null: any will do), P0002 where there is no such object';

CREATE FUNCTION sync._purge_api(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most int := 5000;
    keys int;
    minutes int;
BEGIN
    DELETE FROM sync.idempotency_keys k
    WHERE (k.tenant_id, k.key) IN (SELECT x.tenant_id, x.key FROM sync.idempotency_keys x
                                   WHERE x.taken_at <= as_of - interval '24 hours' ORDER BY x.taken_at LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS keys = ROW_COUNT;
    DELETE FROM sync.api_token_use u
    WHERE (u.window_start, u.token_id) IN (SELECT x.window_start, x.token_id FROM sync.api_token_use x
                                           WHERE x.window_start < as_of - interval '1 hour' ORDER BY x.window_start, x.token_id LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS minutes = ROW_COUNT;
    RETURN most IN (keys, minutes);
END
$$;
COMMENT ON FUNCTION sync._purge_api(timestamptz) IS 'Internal: removes answers and budgets whose time is over, a batch of each; true where there may be more';
