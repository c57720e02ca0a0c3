-- Settings of notifications: what follows from a change of one, and the functions by which they are made, changed, tested and removed.

-- A dump's rows are taken as they are: what was valid where they were saved may not be here, and what follows comes with them.
CREATE FUNCTION sync._is_restoring() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT NOT current_setting('row_security')::boolean AND (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) $$;
COMMENT ON FUNCTION sync._is_restoring() IS 'Internal: whether a superuser is restoring a dump';

CREATE FUNCTION sync._refuse_notification(fault text, hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = fault, HINT = COALESCE(hint, 'docs/notifications.md says what each setting holds.');
END
$$;
COMMENT ON FUNCTION sync._refuse_notification(text, text) IS 'Internal: raises 22023';

-- Strings of an array, or one string, that is an array then.
CREATE FUNCTION sync._string_list(value jsonb, what text, most int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    list jsonb := CASE WHEN jsonb_typeof(value) = 'string' THEN jsonb_build_array(value) ELSE value END;
BEGIN
    IF jsonb_typeof(list) IS DISTINCT FROM 'array' OR jsonb_array_length(list) NOT BETWEEN 1 AND most
       OR EXISTS (SELECT 1 FROM jsonb_array_elements(list) e WHERE jsonb_typeof(e) <> 'string' OR e = '""' OR length(e #>> '{}') > 500) THEN
        PERFORM sync._refuse_notification(format('%s must be an array of 1 to %s strings', what, most));
    END IF;
    RETURN (SELECT jsonb_agg(DISTINCT e) FROM jsonb_array_elements(list) e);
END
$$;
COMMENT ON FUNCTION sync._string_list(jsonb, text, int) IS 'Internal: an array of distinct strings; 22023 for anything else';

CREATE FUNCTION sync._check_digest(digest jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole jsonb := '{"every": "day", "at": "08:00", "timezone": "UTC", "weekday": "monday", "empty": "line"}'::jsonb || COALESCE(digest, '{}');
    strange text;
BEGIN
    IF jsonb_typeof(digest) <> 'object' THEN
        PERFORM sync._refuse_notification('digest must be an object', 'For instance {"every": "week", "at": "08:00", "timezone": "Europe/Berlin", "weekday": "monday"}.');
    END IF;
    SELECT min(e.key) INTO strange FROM jsonb_each(whole) e
    WHERE e.key NOT IN ('every', 'at', 'timezone', 'weekday', 'empty') OR jsonb_typeof(e.value) <> 'string';
    IF strange IS NOT NULL THEN
        PERFORM sync._refuse_notification(format('digest cannot have %s, or not this value of it', to_jsonb(strange)));
    END IF;
    IF whole ->> 'every' NOT IN ('day', 'week') THEN
        PERFORM sync._refuse_notification('digest.every must be day or week');
    ELSIF whole ->> 'at' !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' THEN
        PERFORM sync._refuse_notification('digest.at must be a time of the day such as 08:00');
    ELSIF whole ->> 'weekday' NOT IN ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday') THEN
        PERFORM sync._refuse_notification('digest.weekday must be monday to sunday');
    ELSIF whole ->> 'empty' NOT IN ('line', 'none') THEN
        PERFORM sync._refuse_notification('digest.empty must be line or none');
    END IF;
    -- An unknown zone is told by the function.
    PERFORM sync.cron_matches('* * * * *', whole ->> 'timezone', now());
    RETURN whole;
END
$$;
COMMENT ON FUNCTION sync._check_digest(jsonb) IS 'Internal: the digest that a setting wants, with its defaults; 22023 where it cannot be read';

CREATE FUNCTION sync._digest_expression(digest jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s %s * * %s', right(digest ->> 'at', 2)::int, "left"(digest ->> 'at', 2)::int,
                  CASE digest ->> 'every' WHEN 'week' THEN "left"(digest ->> 'weekday', 3) ELSE '*' END)
$$;
COMMENT ON FUNCTION sync._digest_expression(jsonb) IS 'Internal: when a digest is due, as a cron expression in its time zone';

CREATE FUNCTION sync._check_notification(n sync.sync_notifications) RETURNS sync.sync_notifications
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    holds text := CASE n.notification_type WHEN 'email' THEN 'to' WHEN 'webhook' THEN 'url' WHEN 'in_app' THEN 'users' END;
    known text[] := '{success,failure,warning,recovered,digest}';
    strange text;
    fault text;
    owner record;
BEGIN
    IF n.schedule_id IS NOT NULL THEN
        -- Who may not see it learns nothing about it.
        SELECT s.tenant_id, s.connection_id INTO owner FROM sync.sync_schedules s WHERE s.id = n.schedule_id AND sync._sees_tenant(s.tenant_id);
        IF NOT FOUND OR owner.tenant_id <> n.tenant_id THEN
            RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
                MESSAGE = format('%s has no schedule %s', COALESCE('tenant ' || n.tenant_id, 'nobody'), n.schedule_id);
        ELSIF n.connection_id <> owner.connection_id THEN
            RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = format('schedule %s is not of connection %s', n.schedule_id, n.connection_id),
                HINT = 'Leave connection_id out.';
        END IF;
        n.tenant_id := owner.tenant_id;
        n.connection_id := owner.connection_id;
    ELSIF n.tenant_id IS NULL THEN
        n.tenant_id := (SELECT c.tenant_id FROM sync.connections c WHERE c.id = n.connection_id AND sync._sees_tenant(c.tenant_id));
    END IF;
    IF holds IS NULL THEN
        PERFORM sync._refuse_notification(format('notification_type cannot be %s', COALESCE(to_jsonb(n.notification_type)::text, 'null')), 'Use email, webhook or in_app.');
    END IF;
    n.events := sync._string_list(n.events, 'events', 5);
    SELECT min(e) INTO strange FROM jsonb_array_elements_text(n.events) e WHERE e <> ALL (known);
    IF strange IS NOT NULL THEN
        PERFORM sync._refuse_notification(format('there is no event %s', to_jsonb(strange)), 'Events are success, failure, warning, recovered and digest.');
    END IF;
    IF jsonb_typeof(n.config) IS DISTINCT FROM 'object' THEN
        PERFORM sync._refuse_notification('config must be an object');
    END IF;
    SELECT min(k) INTO strange FROM jsonb_object_keys(n.config) k WHERE k NOT IN (holds, 'digest');
    IF strange IS NOT NULL THEN
        PERFORM sync._refuse_notification(format('config of type %s cannot have %s', n.notification_type, to_jsonb(strange)),
            format('It has %s, and digest where that is among the events.', to_jsonb(holds)));
    END IF;
    CASE n.notification_type
        WHEN 'email' THEN
            n.config := n.config || jsonb_build_object('to', sync._string_list(n.config -> 'to', 'config.to', 20));
            SELECT min(format('the e-mail address %s %s', to_jsonb(a), sync._email_fault(a))) INTO fault
            FROM jsonb_array_elements_text(n.config -> 'to') a WHERE sync._email_fault(a) IS NOT NULL;
            IF fault IS NOT NULL THEN
                PERFORM sync._refuse_notification(fault, 'Write it as name@example.com, without a display name.');
            END IF;
        WHEN 'in_app' THEN
            n.config := n.config || jsonb_build_object('users', sync._string_list(n.config -> 'users', 'config.users', 100));
        ELSE
            IF jsonb_typeof(n.config -> 'url') IS DISTINCT FROM 'string' THEN
                PERFORM sync._refuse_notification('config.url must be a string');
            END IF;
            fault := sync._webhook_url_fault(n.config ->> 'url', sync._setting('webhook_allow_http') = 1);
            IF fault IS NOT NULL THEN
                PERFORM sync._refuse_notification('the webhook URL ' || fault,
                    'It needs https, a host, and neither user nor password; sync_engine.webhook_allow_http permits http.');
            END IF;
    END CASE;
    IF n.events ? 'digest' OR n.config ? 'digest' THEN
        n.config := n.config || jsonb_build_object('digest', sync._check_digest(n.config -> 'digest'));
    END IF;
    -- Only a webhook can answer a test.
    IF n.notification_type <> 'webhook' THEN
        n.verified_at := COALESCE(n.verified_at, n.created_at);
    END IF;
    RETURN n;
END
$$;
COMMENT ON FUNCTION sync._check_notification(sync.sync_notifications) IS 'Internal: a setting in the form in which it is kept; 22023 where it cannot be used';

CREATE FUNCTION sync._notification_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF sync._is_restoring() THEN
        RETURN NEW;
    END IF;
    NEW := sync._check_notification(NEW);
    IF NEW.notification_type = 'webhook' AND TG_OP = 'UPDATE' AND NEW.verified_at IS NOT DISTINCT FROM OLD.verified_at AND NEW.config -> 'url' IS DISTINCT FROM OLD.config -> 'url' THEN
        NEW.verified_at := NULL;
    END IF;
    -- Somebody has seen to it.
    IF TG_OP = 'UPDATE' AND (NEW.config IS DISTINCT FROM OLD.config OR NEW.is_active AND NOT OLD.is_active) THEN
        NEW.disabled_at := NULL;
        NEW.disabled_reason := NULL;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION sync._notification_written() IS 'Internal: checks a setting and fills it in';
CREATE TRIGGER notification_written BEFORE INSERT OR UPDATE OF tenant_id, connection_id, schedule_id, notification_type, events, config, is_active, verified_at
    ON sync.sync_notifications
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._notification_written();

CREATE FUNCTION sync._new_webhook_secret() RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Two of them hold 244 random bits.
    SELECT 'whsec_' || translate(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'), E'\n', '')
$$;
COMMENT ON FUNCTION sync._new_webhook_secret() IS 'Internal: a new key for signing, 32 bytes';

-- When the next digest is due; what it covers begins where the last one ended, at first a period ago.
CREATE FUNCTION sync._plan_digest(notification_id bigint, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    n sync.sync_notifications;
    expression text;
BEGIN
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = $1;
    IF NOT (n.is_active AND n.events ? 'digest') THEN
        UPDATE sync.notification_state s SET digest_at = NULL, digest_from = NULL WHERE s.notification_id = $1;
        RETURN;
    END IF;
    expression := sync._digest_expression(n.config -> 'digest');
    UPDATE sync.notification_state s
    SET digest_at = sync.cron_next(expression, n.config #>> '{digest,timezone}', $2, 'run_after', 'first'),
        digest_from = COALESCE(s.digest_from, sync.cron_previous(expression, n.config #>> '{digest,timezone}', $2 + interval '1 microsecond', 'run_after', 'first'))
    WHERE s.notification_id = $1;
END
$$;
COMMENT ON FUNCTION sync._plan_digest(bigint, timestamptz) IS 'Internal: sets when the next digest of a setting is due';

-- Somebody who was taken off a list, or another URL than the present one, gets nothing more.
CREATE FUNCTION sync._is_recipient(n sync.sync_notifications, recipient text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT COALESCE(CASE n.notification_type WHEN 'webhook' THEN n.config ->> 'url' = recipient WHEN 'email' THEN n.config -> 'to' ? recipient END, false)
$$;
COMMENT ON FUNCTION sync._is_recipient(sync.sync_notifications, text) IS 'Internal: whether messages of a setting go to that address or URL';

CREATE FUNCTION sync._settle_notification(notification_id bigint, url_is_new boolean, digest_is_new boolean, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    n sync.sync_notifications;
BEGIN
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = $1;
    INSERT INTO sync.notification_state (notification_id) VALUES ($1) ON CONFLICT DO NOTHING;
    -- Whoever is making messages for it is awaited, so that they are seen below.
    PERFORM 1 FROM sync.notification_state s WHERE s.notification_id = $1 FOR UPDATE;
    IF digest_is_new THEN
        PERFORM sync._plan_digest($1, as_of);
    END IF;
    IF n.notification_type = 'webhook' AND NOT EXISTS (SELECT 1 FROM sync.webhook_secrets s WHERE s.notification_id = $1) THEN
        INSERT INTO sync.webhook_secrets (notification_id, created_at, secret) VALUES ($1, as_of, sync._new_webhook_secret());
    END IF;
    IF url_is_new OR NOT n.is_active THEN
        -- What waits was meant for another receiver, or for none any more.
        DELETE FROM sync.message_queue q WHERE q.notification_id = $1 AND q.status = 'queued';
        DELETE FROM sync.held_events h WHERE h.notification_id = $1;
    ELSE
        DELETE FROM sync.message_queue q USING sync.messages m
        WHERE q.notification_id = $1 AND q.status = 'queued' AND m.id = q.message_id AND m.created_at = q.created_at AND NOT sync._is_recipient(n, m.recipient);
    END IF;
    IF url_is_new AND n.is_active AND n.verified_at IS NULL THEN
        PERFORM sync._make_test(n, as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._settle_notification(bigint, boolean, boolean, timestamptz) IS 'Internal: what follows from a setting that is new or has changed';

CREATE FUNCTION sync._notification_saved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    IF sync._is_restoring() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM sync._settle_notification(NEW.id, NEW.notification_type = 'webhook', true, now());
    ELSE
        PERFORM sync._settle_notification(NEW.id,
            NEW.notification_type = 'webhook' AND (NEW.config -> 'url' IS DISTINCT FROM OLD.config -> 'url' OR NEW.is_active AND NOT OLD.is_active),
            NEW.config -> 'digest' IS DISTINCT FROM OLD.config -> 'digest' OR NEW.events IS DISTINCT FROM OLD.events OR NEW.is_active <> OLD.is_active, now());
        -- What its former receiver refused is not counted against the next.
        UPDATE sync.notification_state s SET dead_in_a_row = 0 WHERE s.notification_id = NEW.id AND NEW.config IS DISTINCT FROM OLD.config AND s.dead_in_a_row > 0;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._notification_saved() IS 'Internal: takes up a setting that an application wrote itself';
CREATE TRIGGER notification_saved AFTER INSERT OR UPDATE OF events, config, is_active ON sync.sync_notifications
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._notification_saved();
CREATE TRIGGER notification_audited AFTER INSERT OR UPDATE OR DELETE ON sync.sync_notifications
    FOR EACH ROW EXECUTE FUNCTION sync._audit_row();

CREATE FUNCTION sync._notification_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM sync.message_queue q WHERE q.notification_id = OLD.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._notification_removed() IS 'Internal: what waits for a setting that is gone is not sent';
CREATE TRIGGER notification_removed AFTER DELETE ON sync.sync_notifications
    FOR EACH ROW EXECUTE FUNCTION sync._notification_removed();

CREATE FUNCTION sync._lock_notification(notification_id bigint) RETURNS sync.sync_notifications
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.sync_notifications;
BEGIN
    SELECT n.* INTO found_row FROM sync.sync_notifications n WHERE n.id = $1 AND sync._sees_tenant(n.tenant_id) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('notification %s does not exist', $1);
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._lock_notification(bigint) IS 'Internal: locks a setting that the caller may see; P0002 where there is none';

CREATE FUNCTION sync.create_notification(tenant_id text, notification_type text, events text[], config jsonb, connection_id bigint DEFAULT NULL,
    schedule_id bigint DEFAULT NULL, name text DEFAULT NULL, verify boolean DEFAULT true, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    n sync.sync_notifications;
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(tenant_id, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'tenant_id must not be null or empty';
    ELSIF NOT sync._sees_tenant(tenant_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('tenant %s is not the caller''s', tenant_id);
    END IF;
    n.tenant_id := create_notification.tenant_id;
    n.connection_id := create_notification.connection_id;
    n.schedule_id := create_notification.schedule_id;
    n.notification_type := create_notification.notification_type;
    n.events := to_jsonb(create_notification.events);
    n.config := create_notification.config;
    n.verified_at := CASE WHEN verify IS FALSE THEN as_of END;
    n.created_at := as_of;
    n := sync._check_notification(n);
    INSERT INTO sync.sync_notifications (tenant_id, connection_id, schedule_id, notification_type, name, events, config, verified_at, created_at, updated_at)
    VALUES (n.tenant_id, n.connection_id, n.schedule_id, n.notification_type, create_notification.name, n.events, n.config, n.verified_at, as_of, as_of)
    RETURNING id INTO n.id;
    PERFORM sync._settle_notification(n.id, n.notification_type = 'webhook', true, as_of);
    RETURN n.id;
END
$$;
COMMENT ON FUNCTION sync.create_notification(text, text, text[], jsonb, bigint, bigint, text, boolean, timestamptz) IS
    'Has somebody told of events of a tenant, a connection or a schedule, by email, webhook or in_app. A webhook is sent a test event first and nothing else until it has answered; verify => false waives that';

CREATE FUNCTION sync.update_notification(notification_id bigint, events text[] DEFAULT NULL, config jsonb DEFAULT NULL, name text DEFAULT NULL,
    is_active boolean DEFAULT NULL, verify boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former sync.sync_notifications := sync._lock_notification(notification_id);
BEGIN
    UPDATE sync.sync_notifications n
    SET events = COALESCE(to_jsonb(update_notification.events), n.events), config = COALESCE(update_notification.config, n.config),
        name = COALESCE(update_notification.name, n.name), is_active = COALESCE(update_notification.is_active, n.is_active),
        verified_at = CASE WHEN verify IS FALSE THEN now() ELSE n.verified_at END, updated_at = now()
    WHERE n.id = former.id;
END
$$;
COMMENT ON FUNCTION sync.update_notification(bigint, text[], jsonb, text, boolean, boolean) IS
    'Changes a setting; what is left null stays. Another URL has to answer a test event first, unless verify is false';

CREATE FUNCTION sync.delete_notification(notification_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former sync.sync_notifications := sync._lock_notification(notification_id);
BEGIN
    DELETE FROM sync.sync_notifications n WHERE n.id = former.id;
END
$$;
COMMENT ON FUNCTION sync.delete_notification(bigint) IS 'Removes a setting; what waits for it is not sent. What was sent stays in sync.deliveries';

CREATE FUNCTION sync._make_test(n sync.sync_notifications, as_of timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync._ensure_notices(as_of);
    RETURN sync._make_messages(jsonb_build_array(jsonb_build_object('n', n.id, 'type', 'test', 'event_ids', '[]'::jsonb, 'severity', 'info',
        'payload', sync._payload('test', as_of, jsonb_build_object('tenant', n.tenant_id,
            'title', 'Test of a notification' || COALESCE(': ' || sync._one_line(n.name), ''),
            'summary', 'This is how notifications of ' || sync._one_line(n.tenant_id) || ' arrive here.'), n)))
        , as_of);
END
$$;
COMMENT ON FUNCTION sync._make_test(sync.sync_notifications, timestamptz) IS 'Internal: makes a test message';

CREATE FUNCTION sync.test_notification(notification_id bigint, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    n sync.sync_notifications := sync._lock_notification(notification_id);
BEGIN
    PERFORM sync._require_time(as_of);
    IF NOT n.is_active THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('notification %s is not active', notification_id),
            HINT = format('SELECT sync.update_notification(%s, is_active => true)', notification_id);
    END IF;
    UPDATE sync.sync_notifications x SET disabled_at = NULL, disabled_reason = NULL, updated_at = as_of WHERE x.id = n.id AND x.disabled_at IS NOT NULL;
    RETURN sync._make_test(n, as_of);
END
$$;
COMMENT ON FUNCTION sync.test_notification(bigint, timestamptz) IS
    'Sends a test message the way that all others go, and returns its delivery_id; sync.deliveries tells what became of it. A setting that was disabled is taken up again';

CREATE FUNCTION sync.webhook_secret(notification_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n sync.sync_notifications := sync._lock_notification(notification_id);
BEGIN
    PERFORM sync._audit('notification.read_secret', n.tenant_id, 'notification', n.id::text, NULL, NULL);
    RETURN (SELECT s.secret FROM sync.webhook_secrets s WHERE s.notification_id = n.id ORDER BY s.created_at DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION sync.webhook_secret(bigint) IS 'The key that a webhook is signed with, for its receiver; audited';

CREATE FUNCTION sync.rotate_webhook_secret(notification_id bigint, overlap interval DEFAULT '24 hours', as_of timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n sync.sync_notifications := sync._lock_notification(notification_id);
    fresh text := sync._new_webhook_secret();
BEGIN
    PERFORM sync._require_time(as_of);
    IF n.notification_type <> 'webhook' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('notification %s is no webhook', notification_id);
    ELSIF overlap IS NULL OR overlap < interval '0' OR overlap > interval '30 days' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'overlap must be from 0 to 30 days';
    END IF;
    UPDATE sync.webhook_secrets s SET expires_at = LEAST(s.expires_at, as_of + overlap) WHERE s.notification_id = n.id;
    DELETE FROM sync.webhook_secrets s WHERE s.notification_id = n.id AND s.expires_at < as_of - interval '1 day';
    INSERT INTO sync.webhook_secrets (notification_id, created_at, secret)
    VALUES (n.id, GREATEST(as_of, (SELECT max(s.created_at) + interval '1 microsecond' FROM sync.webhook_secrets s WHERE s.notification_id = n.id)), fresh);
    PERFORM sync._audit('notification.rotate_secret', n.tenant_id, 'notification', n.id::text, NULL, NULL);
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION sync.rotate_webhook_secret(bigint, interval, timestamptz) IS
    'Gives a webhook a new key and returns it; the former one signs beside it for the overlap, so that the receiver can change over';

-- Told apart by a key that only the database has.
CREATE FUNCTION sync._unsubscribe_token(notification_id bigint, address text) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT notification_id || '.' || substr(sync._pseudonym('unsubscribe ' || notification_id || ' ' || address), 11) $$;
COMMENT ON FUNCTION sync._unsubscribe_token(bigint, text) IS 'Internal: what a recipient shows to be told no more';

CREATE FUNCTION sync.unsubscribe(token text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n sync.sync_notifications;
    address text;
BEGIN
    IF token !~ '^[0-9]{1,18}[.][0-9a-f]{24}$' THEN
        RETURN false;
    END IF;
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = split_part(token, '.', 1)::bigint AND x.notification_type = 'email' FOR NO KEY UPDATE;
    SELECT a INTO address FROM jsonb_array_elements_text(n.config -> 'to') a WHERE sync._unsubscribe_token(n.id, a) = token;
    IF address IS NULL THEN
        RETURN false;
    END IF;
    UPDATE sync.sync_notifications x
    SET config = CASE WHEN jsonb_array_length(n.config -> 'to') > 1 THEN jsonb_set(x.config, '{to}', (x.config -> 'to') - address) ELSE x.config END,
        is_active = x.is_active AND jsonb_array_length(n.config -> 'to') > 1, updated_at = now()
    WHERE x.id = n.id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync.unsubscribe(text) IS
    'Takes the recipient of an e-mail off its setting, by the token in its List-Unsubscribe header; the last one switches the setting off. False for a token that is none';

CREATE FUNCTION sync._require_tenant(tenant_id text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF sync._sees_tenant(tenant_id) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('tenant %s is not the caller''s', COALESCE(tenant_id, 'null'));
    END IF;
END
$$;
COMMENT ON FUNCTION sync._require_tenant(text) IS 'Internal: 42501 unless the caller may see that tenant';

CREATE FUNCTION sync.read_inbox(tenant_id text, user_id text, unread_only boolean DEFAULT false, before bigint DEFAULT NULL, max_rows int DEFAULT 50,
    OUT id bigint, OUT event_type text, OUT severity text, OUT title text, OUT body text, OUT data jsonb, OUT created_at timestamptz, OUT read_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM sync._require_tenant($1);
    RETURN QUERY
    SELECT b.id, b.event_type, b.severity, b.title, b.body, b.data, b.created_at, b.read_at
    FROM sync.inbox b
    WHERE b.tenant_id = $1 AND b.user_id = $2 AND ($3 IS NOT TRUE OR b.read_at IS NULL) AND ($4 IS NULL OR b.id < $4)
    ORDER BY b.id DESC LIMIT LEAST(GREATEST(COALESCE($5, 50), 1), 1000);
END
$$;
COMMENT ON FUNCTION sync.read_inbox(text, text, boolean, bigint, int) IS
    'In-app notifications of a user, newest first; before: those older than this id, for the next page';

CREATE FUNCTION sync.inbox_unread(tenant_id text, user_id text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM sync._require_tenant($1);
    RETURN (SELECT count(*) FROM sync.inbox b WHERE b.tenant_id = $1 AND b.user_id = $2 AND b.read_at IS NULL);
END
$$;
COMMENT ON FUNCTION sync.inbox_unread(text, text) IS 'How many in-app notifications a user has not read';

CREATE FUNCTION sync.mark_read(tenant_id text, user_id text, ids bigint[] DEFAULT NULL, as_of timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    marked int;
BEGIN
    PERFORM sync._require_tenant($1);
    UPDATE sync.inbox b SET read_at = $4
    WHERE b.tenant_id = $1 AND b.user_id = $2 AND b.read_at IS NULL AND ($3 IS NULL OR b.id = ANY ($3));
    GET DIAGNOSTICS marked = ROW_COUNT;
    RETURN marked;
END
$$;
COMMENT ON FUNCTION sync.mark_read(text, text, bigint[], timestamptz) IS 'Marks in-app notifications of a user as read, those given or all; returns how many were not';
