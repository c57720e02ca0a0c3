-- Settings of notifications: the functions by which they are made, changed, tested and removed, and in-app notifications.

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
    IF marked > 0 THEN
        PERFORM sync._note_change('notification', $1, NULL, NULL);
    END IF;
    RETURN marked;
END
$$;
COMMENT ON FUNCTION sync.mark_read(text, text, bigint[], timestamptz) IS 'Marks in-app notifications of a user as read, those given or all; returns how many were not';
