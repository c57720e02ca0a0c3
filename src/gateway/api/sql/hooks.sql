-- define hook
json_build_object('id', h.id, 'connection_id', h.connection_id, 'schedule_id', h.schedule_id, 'name', NULLIF(h.name, ''), 'scheme', h.scheme, 'token_hint', h.token_hint,
    'job_type', h.job_type, 'debounce_seconds', h.debounce_seconds, 'is_active', h.is_active, 'created_at', h.created_at, 'updated_at', h.updated_at,
    'last_received_at', h.last_received_at)

-- define show_hook
SELECT {{hook}} AS body, sync.object_version('hook', h.id) AS version FROM sync.hooks h WHERE h.tenant_id = {{tenant}} AND h.id = {{id}}

-- operation listHooks
-- sort id: h.id::bigint
SELECT {{key}} AS key, {{hook}} AS item
FROM sync.hooks h
WHERE h.tenant_id = {{tenant}}
--? connection_id: AND h.connection_id = ($1::jsonb ->> 'connection_id')::bigint
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- Path and secret are told this once.
-- operation createHook
SELECT json_build_object('id', m.hook_id, 'path', m.path, 'url', NULLIF(current_setting('sync_gateway.public_url'), '') || m.path, 'secret', m.secret) AS body, '/api/v2/hooks/' || m.hook_id AS location
FROM sync.create_hook(($2::jsonb ->> 'connection_id')::bigint, $2::jsonb ->> 'scheme', $2::jsonb ->> 'secret', $2::jsonb ->> 'name',
    ($2::jsonb ->> 'schedule_id')::bigint, COALESCE($2::jsonb ->> 'job_type', 'incremental'), COALESCE(($2::jsonb ->> 'debounce_seconds')::int, 0)) m;

-- operation getHook
{{show_hook}};

-- An empty name is none: update_hook leaves what is null as it is.
-- operation updateHook
SELECT sync.expect_version('hook', {{id}}, {{if_match}});
SELECT sync.update_hook({{id}}, CASE WHEN $2::jsonb ? 'name' THEN COALESCE($2::jsonb ->> 'name', '') END, ($2::jsonb ->> 'debounce_seconds')::int, ($2::jsonb ->> 'is_active')::boolean);
{{show_hook}};

-- operation deleteHook
SELECT sync.expect_version('hook', {{id}}, {{if_match}});
SELECT sync.delete_hook({{id}}), 204 AS status;

-- operation rotateHookSecret
SELECT json_build_object('secret', sync.rotate_hook_secret({{id}}, $2::jsonb ->> 'secret',
    make_interval(secs => COALESCE(($2::jsonb ->> 'overlap_seconds')::int, 86400)))) AS body;
