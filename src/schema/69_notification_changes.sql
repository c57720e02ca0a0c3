-- What follows from a change of a notification's setting, whoever makes it and however.

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
