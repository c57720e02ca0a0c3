-- define notification
json_build_object('id', n.id, 'connection_id', n.connection_id, 'schedule_id', n.schedule_id, 'notification_type', n.notification_type, 'name', n.name,
    'events', n.events, 'config', n.config, 'is_active', n.is_active, 'verified_at', n.verified_at, 'disabled_at', n.disabled_at,
    'disabled_reason', n.disabled_reason, 'created_at', n.created_at, 'updated_at', n.updated_at)

-- define events
CASE WHEN jsonb_typeof($2::jsonb -> 'events') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text($2::jsonb -> 'events')) END

-- define show_notification
SELECT {{notification}} AS body, sync.object_version('notification', n.id) AS version
FROM sync.sync_notifications n WHERE n.tenant_id = {{tenant}} AND n.id = {{id}}

-- operation listNotifications
-- sort id: n.id::bigint
SELECT {{key}} AS key, {{notification}} AS item
FROM sync.sync_notifications n
WHERE n.tenant_id = {{tenant}}
--? connection_id: AND n.connection_id = ($1::jsonb ->> 'connection_id')::bigint
--? schedule_id: AND n.schedule_id = ($1::jsonb ->> 'schedule_id')::bigint
--? notification_type: AND n.notification_type = $1::jsonb ->> 'notification_type'
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- operation createNotification
SELECT set_config('sync_gateway.id', sync.create_notification({{tenant}}, $2::jsonb ->> 'notification_type', {{events}}, $2::jsonb -> 'config',
    ($2::jsonb ->> 'connection_id')::bigint, ($2::jsonb ->> 'schedule_id')::bigint, $2::jsonb ->> 'name')::text, true);
SELECT {{notification}} AS body, sync.object_version('notification', n.id) AS version, '/api/v2/notifications/' || n.id AS location
FROM sync.sync_notifications n WHERE n.tenant_id = {{tenant}} AND n.id = {{made}};

-- operation getNotification
{{show_notification}};

-- operation replaceNotification
SELECT sync.expect_version('notification', {{id}}, {{if_match}});
SELECT sync.update_notification({{id}}, {{events}}, $2::jsonb -> 'config', is_active => COALESCE(($2::jsonb ->> 'is_active')::boolean, true));
UPDATE sync.sync_notifications n SET name = $2::jsonb ->> 'name' WHERE n.id = {{id}} AND n.name IS DISTINCT FROM $2::jsonb ->> 'name';
{{show_notification}};

-- operation updateNotification
SELECT sync.expect_version('notification', {{id}}, {{if_match}});
SELECT sync.update_notification({{id}}, {{events}}, NULLIF($2::jsonb -> 'config', 'null'), is_active => ($2::jsonb ->> 'is_active')::boolean);
UPDATE sync.sync_notifications n SET name = $2::jsonb ->> 'name' WHERE n.id = {{id}} AND $2::jsonb ? 'name';
{{show_notification}};

-- operation deleteNotification
SELECT sync.expect_version('notification', {{id}}, {{if_match}});
SELECT sync.delete_notification({{id}}), 204 AS status;

-- operation testNotification
SELECT json_build_object('delivery_id', sync.test_notification({{id}})) AS body;

-- operation getWebhookSecret
SELECT json_build_object('secret', sync.webhook_secret({{id}})) AS body;

-- operation rotateWebhookSecret
SELECT json_build_object('secret', sync.rotate_webhook_secret({{id}}, make_interval(secs => COALESCE(($2::jsonb ->> 'overlap_seconds')::int, 86400)))) AS body;

-- A delivery is a message; its tries come with it.
-- define delivery
json_build_object('id', d.delivery_id, 'message_id', d.message_id, 'notification_id', d.notification_id, 'channel', d.channel, 'recipient', d.recipient,
    'event_type', d.event_type, 'event_ids', d.event_ids, 'status', d.status, 'attempt', d.attempt, 'attempted_at', d.attempted_at,
    'finished_at', d.finished_at, 'duration_ms', d.duration_ms, 'outcome', d.outcome, 'reply_status', d.reply_status, 'error_code', d.error_code,
    'error', d.error, 'reply', d.reply, 'next_attempt_at', d.next_attempt_at, 'created_at', d.created_at)

-- operation listDeliveries
-- sort id: d.delivery_id::bigint, COALESCE(d.attempt, 0)::int
SELECT {{key}} AS key, {{delivery}} AS item
FROM sync.deliveries d
WHERE d.tenant_id = {{tenant}}
--? notification_id: AND d.notification_id = ($1::jsonb ->> 'notification_id')::bigint
--? status: AND d.status = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'status')))
--? since: AND d.created_at >= ($1::jsonb ->> 'since')::timestamptz
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- operation getDelivery
SELECT json_build_object('items', json_agg({{delivery}} ORDER BY d.attempt)) AS body
FROM sync.deliveries d WHERE d.tenant_id = {{tenant}} AND d.delivery_id = {{id}}
HAVING count(*) > 0;

-- operation replayDelivery
SELECT json_build_object('replayed', sync.replay_delivery({{id}})) AS body;

-- operation replayDeliveries
SELECT json_build_object('replayed', sync.replay_delivery(tstzrange(($2::jsonb ->> 'from')::timestamptz, ($2::jsonb ->> 'to')::timestamptz),
    ($2::jsonb ->> 'notification_id')::bigint, COALESCE(($2::jsonb ->> 'only_failed')::boolean, true))) AS body;

-- operation readInbox
-- sort id: b.id::bigint
SELECT {{key}} AS key, json_build_object('id', b.id, 'event_type', b.event_type, 'severity', b.severity, 'title', b.title, 'body', b.body, 'data', b.data,
                                         'created_at', b.created_at, 'read_at', b.read_at) AS item
FROM sync.read_inbox({{tenant}}, $1::jsonb ->> 'user_id', ($1::jsonb ->> 'unread')::boolean, ($1::jsonb #>> '{after,0}')::bigint, {{limit}} + 1) b
WHERE true {{after}}
{{order}};

-- operation countUnread
SELECT json_build_object('unread', sync.inbox_unread({{tenant}}, $1::jsonb ->> 'user_id')) AS body;

-- operation markRead
SELECT json_build_object('marked', sync.mark_read({{tenant}}, $2::jsonb ->> 'user_id',
    CASE WHEN jsonb_typeof($2::jsonb -> 'ids') = 'array' THEN ARRAY(SELECT e::bigint FROM jsonb_array_elements_text($2::jsonb -> 'ids') e) END)) AS body;

-- operation listIncidents
-- sort id: i.id::bigint
SELECT {{key}} AS key,
    json_build_object('id', i.id, 'connection_id', i.connection_id, 'provider_slug', i.provider_slug, 'schedule_id', i.schedule_id, 'class', i.class,
        'severity', i.severity, 'job_type', i.job_type, 'opened_at', i.opened_at, 'last_seen_at', i.last_seen_at, 'occurrences', i.occurrences,
        'failed_runs', i.failed_runs, 'error', i.error, 'reminders', i.reminders, 'resolved_at', i.resolved_at, 'resolution', i.resolution) AS item
FROM sync.incidents i
WHERE i.tenant_id = {{tenant}} AND i.severity IS NOT NULL
--? connection_id: AND i.connection_id = ($1::jsonb ->> 'connection_id')::bigint
--? open: AND (i.resolved_at IS NULL) = ($1::jsonb ->> 'open')::boolean
{{after}}
{{order}}
LIMIT {{limit}} + 1;
