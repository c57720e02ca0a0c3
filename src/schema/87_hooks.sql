-- Webhooks: how they are made, changed and removed, and what a gateway calls for each delivery.

CREATE TRIGGER hook_audited AFTER INSERT OR DELETE OR UPDATE OF tenant_id, connection_id, schedule_id, name, scheme, token_hash, job_type, priority,
    debounce_seconds, is_active ON sync.hooks
    FOR EACH ROW EXECUTE FUNCTION sync._audit_row();

CREATE FUNCTION sync._lock_hook(hook_id bigint) RETURNS sync.hooks
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.hooks;
BEGIN
    SELECT h.* INTO found_row FROM sync.hooks h WHERE h.id = $1 AND sync._sees_tenant(h.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('hook %s does not exist', $1);
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._lock_hook(bigint) IS 'Internal: locks a hook that the caller may see; P0002 where there is none';

CREATE FUNCTION sync._random_hex() RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Two of them hold 244 random bits.
    SELECT encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex')
$$;
COMMENT ON FUNCTION sync._random_hex() IS 'Internal: 64 digits that nobody can guess';

-- Messages never repeat what was given.
CREATE FUNCTION sync._hook_secret(scheme text, secret text) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key_bytes int;
BEGIN
    IF secret IS NULL THEN
        RETURN CASE scheme WHEN 'standard' THEN sync._new_webhook_secret() ELSE sync._random_hex() END;
    END IF;
    IF scheme = 'standard' THEN
        IF secret ~ '^whsec_[A-Za-z0-9+/]+={0,2}$' AND length(secret) % 4 = 2 THEN
            key_bytes := length(decode(substr(secret, 7), 'base64'));
        END IF;
        IF key_bytes IS NULL OR key_bytes NOT BETWEEN 24 AND 64 THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the secret must be whsec_ and 24 to 64 bytes in base64',
                HINT = 'Leave it out to have one made.';
        END IF;
    ELSIF secret !~ '^[\x21-\x7e]+$' OR length(secret) NOT BETWEEN 16 AND 256 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the secret must be 16 to 256 printable ASCII characters without spaces',
            HINT = 'Leave it out to have one made.';
    END IF;
    RETURN secret;
END
$$;
COMMENT ON FUNCTION sync._hook_secret(text, text) IS 'Internal: the secret that was given, or a new one; 22023 where it cannot be used';

CREATE FUNCTION sync._url_segment(words text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(CASE WHEN c.letter ~ '^[A-Za-z0-9._~-]$' THEN c.letter
                           ELSE regexp_replace(upper(encode(convert_to(c.letter, 'UTF8'), 'hex')), '(..)', '%\1', 'g') END, '' ORDER BY c.n)
    FROM regexp_split_to_table(words, '') WITH ORDINALITY c (letter, n)
$$;
COMMENT ON FUNCTION sync._url_segment(text) IS 'Internal: words as a part of a path, percent-encoded';

CREATE FUNCTION sync._check_hook(connection_id bigint, scheme text, schedule_id bigint, job_type text, debounce_seconds int) RETURNS sync.connections
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    owner sync.connections;
    s sync.sync_schedules;
BEGIN
    IF $2 IS NULL OR $2 NOT IN ('github', 'slack', 'standard', 'secret') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('unknown scheme: %L', $2), HINT = 'Use github, slack, standard or secret.';
    ELSIF COALESCE($4, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'job_type must not be null or empty';
    ELSIF $5 IS NULL OR $5 NOT BETWEEN 0 AND 3600 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'debounce_seconds must be from 0 to 3600';
    END IF;
    IF $3 IS NOT NULL THEN
        s := sync._schedule($3);
        IF s.connection_id IS DISTINCT FROM $1 THEN
            RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = format('schedule %s is not of connection %s', $3, $1);
        ELSIF s.schedule_type <> 'realtime' THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('schedule %s is %s, not realtime', $3, s.schedule_type),
                HINT = 'Make one of type realtime, or leave schedule_id out.';
        END IF;
    END IF;
    -- As the key of the new row does, and two at once cannot both be the last that there is room for.
    SELECT c.* INTO owner FROM sync.connections c WHERE c.id = $1 AND sync._sees_tenant(c.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', $1);
    END IF;
    IF (SELECT count(*) FROM sync.hooks h WHERE h.tenant_id = owner.tenant_id AND h.connection_id = owner.id) >= 100 THEN
        RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded', MESSAGE = format('connection %s has 100 hooks already', $1),
            HINT = 'Delete those that are not used any more: sync.hooks says when each was, in last_received_at.';
    END IF;
    RETURN owner;
END
$$;
COMMENT ON FUNCTION sync._check_hook(bigint, text, bigint, text, int) IS 'Internal: the connection, locked, that a hook may be made for';

CREATE FUNCTION sync.create_hook(connection_id bigint, scheme text, INOUT secret text DEFAULT NULL, name text DEFAULT NULL, schedule_id bigint DEFAULT NULL,
    job_type text DEFAULT 'incremental', debounce_seconds int DEFAULT 0, as_of timestamptz DEFAULT now(), OUT hook_id bigint, OUT path text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    token text := 'whk_' || sync._random_hex();
    owner sync.connections;
BEGIN
    PERFORM sync._require_time($8);
    owner := sync._check_hook($1, $2, $5, $6, $7);
    secret := sync._hook_secret($2, $3);
    INSERT INTO sync.hooks (tenant_id, connection_id, schedule_id, name, scheme, token_hash, token_hint, job_type, debounce_seconds, created_at, updated_at)
    VALUES (owner.tenant_id, owner.id, $5, $4, $2, sha256(convert_to(token, 'UTF8')), "left"(token, 8), $6, $7, $8, $8)
    RETURNING id INTO hook_id;
    INSERT INTO sync.hook_secrets (hook_id, created_at, secret) VALUES (create_hook.hook_id, $8, create_hook.secret);
    path := '/hooks/' || sync._url_segment(owner.provider_slug) || '/' || token;
END
$$;
COMMENT ON FUNCTION sync.create_hook(bigint, text, text, text, bigint, text, int, timestamptz) IS
    'Makes an address at which a remote system triggers a connection, verified by scheme github, slack, standard or secret. Returns its path and secret, both shown this once';

CREATE FUNCTION sync.update_hook(hook_id bigint, name text DEFAULT NULL, debounce_seconds int DEFAULT NULL, is_active boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former sync.hooks := sync._lock_hook(hook_id);
BEGIN
    IF debounce_seconds NOT BETWEEN 0 AND 3600 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'debounce_seconds must be from 0 to 3600';
    END IF;
    UPDATE sync.hooks h
    SET name = COALESCE(update_hook.name, h.name), debounce_seconds = COALESCE(update_hook.debounce_seconds, h.debounce_seconds),
        is_active = COALESCE(update_hook.is_active, h.is_active), updated_at = now()
    WHERE h.id = former.id;
END
$$;
COMMENT ON FUNCTION sync.update_hook(bigint, text, int, boolean) IS
    'Changes a hook; what is left null stays. While it is not active its address is as if it were not there';

CREATE FUNCTION sync.delete_hook(hook_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former sync.hooks := sync._lock_hook(hook_id);
BEGIN
    DELETE FROM sync.hooks h WHERE h.id = former.id;
END
$$;
COMMENT ON FUNCTION sync.delete_hook(bigint) IS 'Removes a hook; what it has accepted runs';

CREATE FUNCTION sync.rotate_hook_secret(hook_id bigint, secret text DEFAULT NULL, overlap interval DEFAULT '24 hours', as_of timestamptz DEFAULT now())
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    h sync.hooks := sync._lock_hook($1);
    fresh text;
BEGIN
    PERFORM sync._require_time($4);
    IF $3 IS NULL OR $3 < interval '0' OR $3 > interval '30 days' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'overlap must be from 0 to 30 days';
    END IF;
    fresh := sync._hook_secret(h.scheme, $2);
    UPDATE sync.hook_secrets s SET expires_at = LEAST(s.expires_at, $4 + $3) WHERE s.hook_id = h.id;
    DELETE FROM sync.hook_secrets s WHERE s.hook_id = h.id AND s.expires_at < $4 - interval '1 day';
    INSERT INTO sync.hook_secrets (hook_id, created_at, secret)
    VALUES (h.id, GREATEST($4, (SELECT max(s.created_at) + interval '1 microsecond' FROM sync.hook_secrets s WHERE s.hook_id = h.id)), fresh);
    PERFORM sync._audit('hook.rotate_secret', h.tenant_id, 'hook', h.id::text, NULL, NULL);
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION sync.rotate_hook_secret(bigint, text, interval, timestamptz) IS
    'Gives a hook another secret, the one given or a new one, and returns it; the former one counts beside it for the overlap';

CREATE FUNCTION sync._find_hook(provider text, token text) RETURNS sync.hooks
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.hooks;
BEGIN
    SELECT h.* INTO found_row
    FROM sync.hooks h JOIN sync.connections c ON c.id = h.connection_id
    WHERE h.token_hash = sha256(convert_to($2, 'UTF8')) AND c.provider_slug = $1;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._find_hook(text, text) IS 'Internal: the hook with that token, of a connection of that provider';

-- The token in the address is all that a remote system has to say whose it is: it confines the transaction to that tenant.
CREATE FUNCTION sync._bind_hook(h sync.hooks, request_id text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('sync_engine.tenant_id', h.tenant_id, true), set_config('sync_engine.actor', 'hook ' || h.id, true),
            set_config('sync_engine.request_id', COALESCE(request_id, ''), true);
END
$$;
COMMENT ON FUNCTION sync._bind_hook(sync.hooks, text) IS 'Internal: confines the transaction to the tenant of a hook';

CREATE FUNCTION sync.open_hook(provider text, token text, request_id text DEFAULT NULL, as_of timestamptz DEFAULT now(),
    OUT hook_id bigint, OUT scheme text, OUT secrets text[])
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    h sync.hooks := sync._find_hook($1, $2);
BEGIN
    PERFORM sync._require_time($4);
    IF h.is_active IS NOT TRUE THEN
        RETURN;
    END IF;
    PERFORM sync._bind_hook(h, $3);
    RETURN QUERY
    SELECT h.id, h.scheme, array_agg(s.secret ORDER BY s.created_at DESC)
    FROM sync.hook_secrets s WHERE s.hook_id = h.id AND (s.expires_at > $4) IS NOT FALSE;
END
$$;
COMMENT ON FUNCTION sync.open_hook(text, text, text, timestamptz) IS
    'For a gateway: what deliveries at that address are verified with, newest secret first; no row where there is no such hook, or it is not active. Confines the transaction to the hook''s tenant';

-- What proves who sent it is of no use to the run that reads it, and no secret belongs into a job.
CREATE FUNCTION sync._hook_headers(headers jsonb, secrets text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(headers) IS DISTINCT FROM 'object' THEN
        IF NULLIF(headers, 'null') IS NULL THEN
            RETURN '{}';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'headers must be an object';
    END IF;
    RETURN (SELECT COALESCE(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(headers) e
            WHERE lower(e.key) NOT IN ('authorization', 'proxy-authorization', 'cookie', 'x-hub-signature', 'x-hub-signature-256', 'x-slack-signature',
                                       'webhook-signature')
              AND NOT EXISTS (SELECT 1 FROM unnest(secrets) s (secret) WHERE strpos(e.value #>> '{}', s.secret) > 0));
END
$$;
COMMENT ON FUNCTION sync._hook_headers(jsonb, text[]) IS 'Internal: the headers of a delivery without credentials';

CREATE FUNCTION sync._hook_event(h sync.hooks, delivery_id text, headers jsonb, payload jsonb, as_of timestamptz, OUT event jsonb, OUT dropped int)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    -- Room for the config of a schedule beside it.
    most int := sync._most_input() - 65536;
BEGIN
    event := jsonb_build_object('hook_id', h.id, 'received_at', sync._format_utc($5), 'delivery_id', $2, 'payload', $4,
        'headers', sync._hook_headers($3, ARRAY(SELECT s.secret FROM sync.hook_secrets s WHERE s.hook_id = h.id)));
    dropped := 0;
    IF octet_length(event::text) > most THEN
        -- That something came is told all the same.
        event := event || '{"payload": null}';
        dropped := 1;
        IF octet_length(event::text) > most THEN
            event := event || '{"headers": {}}';
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._hook_event(sync.hooks, text, jsonb, jsonb, timestamptz) IS 'Internal: what a run is told of a delivery; one that is too large loses its payload';

CREATE FUNCTION sync._why_ignored(h sync.hooks, owner sync.connections, s sync.sync_schedules, as_of timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p record;
BEGIN
    -- Of language sql it would be parsed and planned anew for each delivery.
    SELECT x.slug, x.status, x.status_reason INTO p FROM sync.providers x WHERE x.slug = owner.provider_slug;
    RETURN CASE
               WHEN NOT h.is_active THEN format('hook %s is not active', h.id)
               WHEN owner.status <> 'active' THEN format('connection %s is %s', owner.id, owner.status) || COALESCE(': ' || owner.status_reason, '')
               WHEN p.status <> 'active' THEN format('provider %s is %s', p.slug, p.status) || COALESCE(': ' || p.status_reason, '')
               WHEN NOT s.is_active THEN format('schedule %s is paused', s.id) || COALESCE(': ' || s.pause_reason, '')
               WHEN s.starts_at > as_of THEN format('schedule %s has not begun', s.id)
               WHEN s.ends_at < as_of THEN format('schedule %s has ended', s.id)
           END;
END
$$;
COMMENT ON FUNCTION sync._why_ignored(sync.hooks, sync.connections, sync.sync_schedules, timestamptz) IS
    'Internal: why a delivery does not trigger anything; null where it does';

CREATE FUNCTION sync.receive_hook(provider text, token text, delivery_id text, headers jsonb, payload jsonb, request_id text DEFAULT NULL,
    as_of timestamptz DEFAULT now(), OUT outcome text, OUT job_id bigint, OUT reason text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    h sync.hooks := sync._find_hook($1, $2);
    key text := CASE WHEN octet_length($3) > 200 THEN 'sha256:' || encode(sha256(convert_to($3, 'UTF8')), 'hex') ELSE NULLIF($3, '') END;
    -- Whole days are dropped: until then all that they hold is a duplicate.
    since timestamptz := date_trunc('day', $7 - make_interval(hours => sync._setting('hook_dedupe_hours')::int), 'UTC');
    owner sync.connections;
    s sync.sync_schedules;
    came record;
    made record;
BEGIN
    PERFORM sync._require_time($7);
    IF h.id IS NOT NULL THEN
        PERFORM sync._bind_hook(h, $6);
        -- The lock makes deliveries of a connection wait for each other, and for whoever ends its job.
        SELECT c.* INTO owner FROM sync.connections c WHERE c.id = h.connection_id FOR NO KEY UPDATE;
    END IF;
    IF owner.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'there is no such hook';
    END IF;
    SELECT x.* INTO s FROM sync.sync_schedules x WHERE x.id = h.schedule_id;
    reason := sync._why_ignored(h, owner, s, $7);
    IF reason IS NOT NULL THEN
        outcome := 'ignored';
        RETURN;
    END IF;
    SELECT d.job_id INTO job_id FROM sync.hook_deliveries d
    WHERE d.tenant_id = h.tenant_id AND d.hook_id = h.id AND d.delivery_id = key AND d.received_at >= since LIMIT 1;
    IF FOUND THEN
        outcome := 'duplicate';
        RETURN;
    END IF;
    came := sync._hook_event(h, $3, $4, $5, $7);
    made := sync._enqueue_event(owner, COALESCE(s.job_type, h.job_type), CASE WHEN s.id IS NULL THEN h.priority ELSE GREATEST(s.priority, 10) END, s.id,
                                NULLIF(s.config, '{}'), came.event, came.dropped, $7 + make_interval(secs => h.debounce_seconds), $7);
    outcome := 'accepted';
    job_id := made.job_id;
    IF key IS NOT NULL THEN
        PERFORM sync._ensure_hook_day($7);
        INSERT INTO sync.hook_deliveries (tenant_id, hook_id, delivery_id, received_at, job_id) VALUES (h.tenant_id, h.id, key, $7, made.job_id);
    END IF;
    -- The ledger tells of runs: of the first delivery that asked for each.
    IF s.id IS NOT NULL AND made.is_first THEN
        PERFORM sync._ensure_fires($7, true);
        INSERT INTO sync.schedule_fires (tenant_id, schedule_id, connection_id, outcome, first_planned_at, last_planned_at, planned_count, job_id,
            reason, recorded_at)
        VALUES (s.tenant_id, s.id, s.connection_id, 'triggered', $7, $7, 0, made.job_id, format('hook %s', h.id), $7);
    END IF;
    -- Nobody is waited for: whoever changes the hook may be about to lock its connection.
    UPDATE sync.hooks x SET last_received_at = $7
    WHERE x.id IN (SELECT y.id FROM sync.hooks y WHERE y.id = h.id AND (y.last_received_at > $7 - interval '1 minute') IS NOT TRUE FOR NO KEY UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION sync.receive_hook(text, text, text, jsonb, jsonb, text, timestamptz) IS
    'For a gateway: takes a verified delivery. accepted: a run is queued or follows the one that runs, and has it in its input; duplicate: it has been accepted before; ignored: nothing runs there, for the reason told';
