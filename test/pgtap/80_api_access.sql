-- What a gateway stands on: tokens of tenants and what they may be used for, budgets by the minute, answers that are given again, versions
-- of objects; and that a gateway is bound to the tenant of the request that it has begun.
\ir include/setup.psql
SELECT plan(262);
SELECT fix_jitter();
CREATE ROLE api_gateway LOGIN IN ROLE sync_gateway;
CREATE ROLE api_admin LOGIN IN ROLE sync_admin;
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;

-- A statement as a role, in a transaction that nothing has been set for; what it answers, or its error.
CREATE FUNCTION as_role(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement INTO result;
    RESET ROLE;
    RETURN COALESCE(result, 'nothing');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
-- What was set for the transaction is no more, as after a request.
CREATE FUNCTION request_over() RETURNS void LANGUAGE sql AS $$
    SELECT set_config('sync_engine.tenant_id', '', true), set_config('sync_engine.actor', '', true), set_config('sync_engine.request_id', '', true)
$$;
CREATE TEMP TABLE tokens (name text PRIMARY KEY, token text);
CREATE FUNCTION tok(name text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT t.token FROM tokens t WHERE t.name = tok.name $$;
CREATE FUNCTION tok_id(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT t.id FROM sync.api_tokens t WHERE t.token_hash = sha256(convert_to(tok(tok_id.name), 'UTF8')) $$;
-- A request of the gateway: begins it, then runs the statement; its answer or error.
CREATE FUNCTION request(token text, scope text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    SET LOCAL ROLE api_gateway;
    PERFORM sync.begin_request(token, scope, as_of => at('10:00'));
    EXECUTE statement INTO result;
    RESET ROLE;
    PERFORM request_over();
    RETURN COALESCE(result, 'nothing');
EXCEPTION WHEN OTHERS THEN
    PERFORM request_over();
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION begun(token text, scope text DEFAULT 'read', as_of timestamptz DEFAULT at('10:00')) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN as_role('api_gateway', format('SELECT tenant_id FROM sync.begin_request(%L, %L, as_of => %L)', token, scope, as_of));
END $$;
-- What a command leaves in the audit log, a line a row.
CREATE FUNCTION told(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    last bigint := COALESCE((SELECT max(id) FROM sync.audit_log), 0);
BEGIN
    EXECUTE command;
    RETURN (SELECT string_agg(concat_ws(' ', a.action, a.tenant_id, '-', a.before, '-', a.after, a.note), E'\n' ORDER BY a.id) FROM sync.audit_log a WHERE a.id > last);
END $$;

-- Before there is a token: no right to anything.
SELECT is(as_role('api_gateway', 'SELECT count(*) FROM sync.connections'), '42501: permission denied for table connections', 'before the first token a gateway has no right');
SELECT is(pg_has_role('sync_gateway', 'sync_tenant', 'USAGE'), true, 'sync_gateway has what tenants have');
SELECT is(pg_has_role('sync_gateway', r, 'MEMBER'), false, 'and nothing of ' || r) FROM unnest('{sync_admin,sync_executor,sync_viewer}'::name[]) r;
SELECT row_eq($$SELECT r.rolcanlogin, r.rolsuper, r.rolbypassrls, r.rolcreaterole FROM pg_roles r WHERE r.rolname = 'sync_gateway'$$, ROW(false, false, false, false), 'it is a group, with no powers of its own');
SELECT is((SELECT count(*) FROM sync.tenant_isolation), 0::bigint, 'tenants are not isolated');

-- Tokens
INSERT INTO tokens SELECT 'reader', sync.create_api_token('A', 'reader', as_of => at('09:00'));
SELECT is((SELECT count(*) FROM sync.tenant_isolation), 1::bigint, 'the first token enables tenant isolation');
SELECT matches(tok('reader'), '^syn_[0-9a-f]{64}$', 'a token');
INSERT INTO tokens SELECT 'writer', sync.create_api_token('A', 'writer', '{write,read,trigger,write}', requests_per_minute => 5, as_of => at('09:00'));
INSERT INTO tokens SELECT 'brief', sync.create_api_token('A', 'brief', '{audit}', at('10:00'), as_of => at('09:00'));
INSERT INTO tokens SELECT 'free', sync.create_api_token('A', 'free', requests_per_minute => 0, as_of => at('09:00'));
INSERT INTO tokens SELECT 'of-b', sync.create_api_token('B', 'of-b', '{read,write,trigger,audit}', as_of => at('09:00'));
SELECT is((SELECT count(DISTINCT token) FROM tokens), 5::bigint, 'each is another');
SELECT row_eq($$SELECT t.tenant_id, t.name, t.token_hint, t.scopes, t.requests_per_minute, t.created_at, t.expires_at, t.revoked_at, t.last_used_at FROM sync.api_tokens t WHERE t.id = tok_id('writer')$$,
    ROW('A'::text, 'writer'::text, "left"(tok('writer'), 8), '{read,trigger,write}'::text[], 5, at('09:00'), NULL::timestamptz, NULL::timestamptz, NULL::timestamptz), 'what is kept of it; a scope named twice is one');
SELECT is((SELECT t.scopes FROM sync.api_tokens t WHERE t.id = tok_id('reader')), '{read}'::text[], 'it may read unless it is said');
SELECT is((SELECT t.created_by FROM sync.api_tokens t WHERE t.id = tok_id('reader')), session_user::text, 'who made it');
SELECT unalike((SELECT string_agg(to_jsonb(t)::text, '') FROM sync.api_tokens t), '%' || substr(token, 9) || '%', 'the token itself is not kept: ' || name) FROM tokens;
SELECT throws_ok(s, state, message, s)
FROM (VALUES ($$SELECT sync.create_api_token('', 'x')$$, '22023', 'tenant_id must not be null or empty'),
             ($$SELECT sync.create_api_token(NULL, 'x')$$, '22023', 'tenant_id must not be null or empty'),
             ($$SELECT sync.create_api_token('A', NULL)$$, '22023', 'name must have 1 to 100 characters, and no control characters'),
             ($$SELECT sync.create_api_token('A', repeat('x', 101))$$, '22023', 'name must have 1 to 100 characters, and no control characters'),
             ($$SELECT sync.create_api_token('A', E'a\nb')$$, '22023', 'name must have 1 to 100 characters, and no control characters'),
             ($$SELECT sync.create_api_token('A', 'x', '{}')$$, '22023', 'a token needs a scope'),
             ($$SELECT sync.create_api_token('A', 'x', NULL)$$, '22023', 'a token needs a scope'),
             ($$SELECT sync.create_api_token('A', 'x', '{read,admin}')$$, '22023', 'there is no scope "admin"'),
             ($$SELECT sync.create_api_token('A', 'x', '{read,NULL}')$$, '22023', 'there is no scope "null"'),
             ($$SELECT sync.create_api_token('A', 'x', expires_at => at('09:00'), as_of => at('09:00'))$$, '22023', 'expires_at must be in the future'),
             ($$SELECT sync.create_api_token('A', 'x', requests_per_minute => -1)$$, '22023', 'requests_per_minute must be from 0 to 1000000'),
             ($$SELECT sync.create_api_token('A', 'x', requests_per_minute => 1000001)$$, '22023', 'requests_per_minute must be from 0 to 1000000'),
             ($$SELECT sync.create_api_token('A', 'x', as_of => NULL)$$, '22023', 'as_of must be a finite time'),
             ($$SELECT sync.revoke_api_token(-1)$$, 'P0002', 'api token -1 does not exist'),
             ($$SELECT sync.revoke_api_token(1, 'infinity')$$, '22023', 'as_of must be a finite time')) v (s, state, message);
SELECT set_config('sync_engine.tenant_id', 'A', true);
SELECT throws_ok($$SELECT sync.create_api_token('B', 'x')$$, '42501', 'tenant B is not the caller''s', 'whoever is bound to A makes no token of B');
SELECT throws_ok(format('SELECT sync.revoke_api_token(%s)', tok_id('of-b')), 'P0002', NULL, 'nor revokes one');
SELECT request_over();

-- Who may
SELECT is(as_role(r, s), '42501: permission denied for ' || what, r || ' may not: ' || s)
FROM unnest('{sync_tenant,api_gateway}'::name[]) r,
     (VALUES ($$SELECT sync.create_api_token('A', 'x')$$, 'function create_api_token'), ('SELECT sync.revoke_api_token(1)', 'function revoke_api_token'),
             ('SELECT count(*) FROM sync.api_tokens', 'table api_tokens'), ('SELECT token_hash FROM sync.api_tokens', 'table api_tokens'), ('SELECT tenant_id FROM sync.api_tokens', 'table api_tokens'),
             ('SELECT count(*) FROM sync.idempotency_keys', 'table idempotency_keys'), ('SELECT body FROM sync.idempotency_keys', 'table idempotency_keys'),
             ('SELECT used FROM sync.api_token_use', 'table api_token_use'), ('SELECT key FROM sync.version_key', 'table version_key'),
             ('SELECT role FROM sync.audit_log', 'table audit_log'), ('SELECT sync._configured(''connection'', 1)', 'function _configured')) v (s, what);
SELECT is(as_role('sync_tenant', $$SELECT sync.begin_request('x', 'read')$$), '42501: permission denied for function begin_request', 'tenants begin no request');
SELECT is(as_role('sync_viewer', 'SELECT name FROM sync.api_tokens'), '42501: permission denied for table api_tokens', 'viewers see no token');
SELECT is(as_role('sync_executor', 'SELECT name FROM sync.api_tokens'), '42501: permission denied for table api_tokens', 'nor do executors');
SELECT is(as_role('api_admin', 'SELECT count(name) FROM sync.api_tokens'), '5', 'administrators do');
SELECT is(as_role('api_admin', s), '42501: permission denied for table ' || what, 'but not: ' || s)
FROM (VALUES ('SELECT token_hash FROM sync.api_tokens', 'api_tokens'), ('UPDATE sync.api_tokens SET scopes = ''{audit}''', 'api_tokens'), ('DELETE FROM sync.api_tokens', 'api_tokens'),
             ('SELECT body FROM sync.idempotency_keys', 'idempotency_keys'), ('SELECT key FROM sync.version_key', 'version_key')) v (s, what);
SELECT matches(as_role('api_admin', $$SELECT sync.create_api_token('C', 'x')$$), '^syn_', 'administrators make tokens');
SELECT is((SELECT t.created_by FROM sync.api_tokens t WHERE t.tenant_id = 'C'), 'api_admin', 'told who it was');
SELECT bag_eq($$SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('api_gateway', p.oid, 'EXECUTE') AND NOT has_function_privilege('sync_tenant', p.oid, 'EXECUTE')$$,
    '{begin_request,begin_idempotent,end_idempotent,open_hook,receive_hook,gateway_status,gateway_metrics,gateway_health}'::text[], 'what a gateway may call and tenants may not');
SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                  AND has_any_column_privilege('api_gateway', c.oid, 'SELECT, INSERT, UPDATE') AND NOT has_any_column_privilege('sync_tenant', c.oid, 'SELECT, INSERT, UPDATE')$$, 'what it may read and tenants may not');

-- Beginning a request
SELECT is(begun(tok('reader')), 'A', 'the tenant of the token');
SELECT row_eq($$SELECT * FROM sync.begin_request(tok('reader'), NULL, 'alice', 'req-1', as_of => at('10:00'))$$,
    ROW(tok_id('reader'), 'A'::text, '{read}'::text[], 600, 0, NULL::int, NULL::timestamptz), 'all that it answers; any scope will do');
SELECT is(current_setting('sync_engine.tenant_id') || ', ' || current_setting('sync_engine.actor') || ', ' || current_setting('sync_engine.request_id'), 'A, token reader for alice, req-1', 'what it sets');
SELECT is(told($$SELECT sync.create_notification('A', 'email', '{failure}', '{"to": ["a@b.example"]}', name => 'n')$$) LIKE 'notification.create A - %', true, 'a change in a request');
SELECT row_eq($$SELECT a.actor, a.request_id FROM sync.audit_log a ORDER BY a.id DESC LIMIT 1$$, ROW('token reader for alice'::text, 'req-1'::text), 'who did it in which request');
SELECT sync.begin_request(tok('reader'), 'read', E'a\nb\x1b[0m', as_of => at('10:00'));
SELECT is(current_setting('sync_engine.actor') || ', ' || current_setting('sync_engine.request_id'), 'token reader for a b [0m, ', 'an actor of one line, and no request id of the request before');
SELECT sync.begin_request(tok('of-b'), 'read', '', as_of => at('10:00'));
SELECT is(current_setting('sync_engine.tenant_id') || ', ' || current_setting('sync_engine.actor'), 'B, token of-b', 'without an actor');
SELECT request_over();
SELECT is(begun(t), '28000: the token is unknown, expired or revoked', 'no token: ' || COALESCE(t, 'null'))
FROM unnest(ARRAY[NULL, '', 'x', 'syn_', upper(tok('reader')), tok('reader') || ' ', encode(sha256(convert_to(tok('reader'), 'UTF8')), 'hex')]) t;
SELECT is(current_setting('sync_engine.tenant_id'), '', 'which sets nothing');
SELECT is(begun(tok('reader'), 'write'), '42501: the token lacks the scope "write"', 'a scope that it has not');
SELECT is(begun(tok('writer'), 'audit'), '42501: the token lacks the scope "audit"', 'none includes another');
SELECT is(begun(tok('writer'), 'trigger'), 'A', 'a scope that it has');
SELECT is(begun(tok('brief'), 'audit', at('09:59:59.999')), 'A', 'until it expires');
SELECT is(begun(tok('brief'), 'audit', at('10:00')), '28000: the token is unknown, expired or revoked', 'it is good');
SELECT is(begun(tok('brief'), 'read', at('10:00')), '28000: the token is unknown, expired or revoked', 'which is told before its scopes');
SELECT is(as_role('api_gateway', format('SELECT sync.begin_request(%L, NULL, take => -1)', tok('reader'))), '22023: take must not be null or negative', 'nothing is given back');
SELECT is(as_role('api_gateway', format('SELECT sync.begin_request(%L, NULL, take => NULL)', tok('reader'))), '22023: take must not be null or negative', 'nor nothing taken');
SELECT is(as_role('api_gateway', format('SELECT sync.begin_request(%L, NULL, as_of => NULL)', tok('reader'))), '22023: as_of must be a finite time', 'at no time');
SELECT throws_ok($$INSERT INTO sync.api_tokens (tenant_id, name, token_hash, token_hint, scopes) SELECT 'B', 'x', t.token_hash, 'x', '{read}' FROM sync.api_tokens t WHERE t.tenant_id = 'A'$$, '23505', NULL, 'a hash is of one token');

-- When it was last used
CREATE FUNCTION used_at() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT to_char(t.last_used_at, 'HH24:MI:SS') FROM sync.api_tokens t WHERE t.id = tok_id('reader') $$;
SELECT is(used_at(), '10:00:00', 'when it was last used');
SELECT is((SELECT begun(tok('reader'), 'read', at('10:00:59')) || ' ' || used_at()), 'A 10:00:00', 'to the minute');
SELECT is((SELECT begun(tok('reader'), 'read', at('10:01')) || ' ' || used_at()), 'A 10:01:00', 'and then anew');
SELECT is((SELECT begun(tok('reader'), 'read', at('09:30')) || ' ' || used_at()), 'A 10:01:00', 'a clock that went back writes nothing');
SELECT is(told($$SELECT begun(tok('reader'), 'read', at('10:05'))$$), NULL, 'that is no change for the audit log');

-- Budgets
CREATE FUNCTION takes(name text, take int, clock text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.requests_per_minute, r.granted, COALESCE(r.remaining::text, '-'), to_char(r.resets_at, 'HH24:MI:SS')) FROM sync.begin_request(tok(takes.name), NULL, take => takes.take, as_of => at(clock)) r
$$;
SELECT is(takes('writer', take, clock), wants, what)
FROM (VALUES (1, 3, '10:00:10', '5 3 2 10:01:00', 'three of five'), (2, 0, '10:00:20', '5 0 -', 'none is asked for'), (3, 3, '10:00:30', '5 2 0 10:01:00', 'what is left'), (4, 1, '10:00:59.999', '5 0 0 10:01:00', 'none is left'),
             (5, 9, '10:01:00', '5 5 0 10:02:00', 'a minute later: all at once'), (6, 1, '10:01:01', '5 0 0 10:02:00', 'and no more'), (7, 1, '10:00:59', '5 0 0 10:01:00', 'a clock that went back finds its minute used'),
             (8, 1, '10:02:30', '5 1 4 10:03:00', 'the next one')) v (n, take, clock, wants, what) ORDER BY n;
SELECT results_eq($$SELECT to_char(u.window_start, 'HH24:MI'), u.used FROM sync.api_token_use u WHERE u.token_id = tok_id('writer') ORDER BY 1$$, $$VALUES ('10:00', 5), ('10:01', 5), ('10:02', 1)$$, 'what was granted, by the minute');
SELECT is(takes('reader', 1, '10:00'), '600 1 599 10:01:00', 'by default 600 a minute');
SET LOCAL sync_engine.api_requests_per_minute = 2;
SELECT is(takes('reader', 5, '10:00'), '2 1 0 10:01:00', 'the setting counts at once');
SELECT is(takes('reader', 5, '10:00'), '2 0 0 10:01:00', 'for what is taken next');
SELECT is(takes('writer', 1, '10:02:31'), '5 1 3 10:03:00', 'not for a token with a limit of its own');
SET LOCAL sync_engine.api_requests_per_minute = 0;
SELECT is(takes('reader', 700, '10:00'), '700 -', '0: any number');
SELECT is(takes('free', 700, '10:00'), '700 -', 'as of a token that has no limit');
SET LOCAL sync_engine.api_requests_per_minute = 600;
SELECT is((SELECT count(*) FROM sync.api_token_use u WHERE u.token_id = tok_id('free')), 0::bigint, 'which nobody counts');
SELECT is(takes('of-b', 2147483647, '10:00'), '600 600 0 10:01:00', 'as many as can be asked for');
SET LOCAL TimeZone = 'Africa/Monrovia';
SELECT is((SELECT r.resets_at FROM sync.begin_request(tok('writer'), NULL, take => 1, as_of => '1930-05-05 12:00:20Z') r), '1930-05-05 12:01Z', 'minutes are those of UTC');
SET LOCAL TimeZone = 'UTC';
SELECT request_over();
SELECT throws_ok('SET sync_engine.api_requests_per_minute = 1000001', '22023', NULL, 'the setting has a range');
SET LOCAL ROLE api_gateway;
SELECT throws_ok('SET sync_engine.api_requests_per_minute = 0', '42501', NULL, 'and is no gateway''s to set');
RESET ROLE;

-- Revoking
SELECT is(regexp_replace(told($$SELECT sync.create_api_token('A', 'ends', '{read}', at('12:00'), 7, at('09:00'))$$), 'syn_[0-9a-f]{4}"', 'syn_...."'),
    'api_token.create A - - {"name": "ends", "scopes": ["read"], "tenant_id": "A", "expires_at": "2026-03-01T12:00:00+00:00", "token_hash": "***", "token_hint": "syn_....", "requests_per_minute": 7}', 'what the audit log tells of a token');
SELECT is(told(format('SELECT sync.revoke_api_token(%s, at(%L))', tok_id('free'), '10:30')), 'api_token.revoke A - - {"revoked_at": "2026-03-01T10:30:00+00:00"}', 'revoked, and told');
SELECT is(begun(tok('free'), 'read', at('09:00')), '28000: the token is unknown, expired or revoked', 'whatever time it is');
SELECT is((SELECT t.revoked_at FROM sync.api_tokens t WHERE t.id = tok_id('free')), at('10:30'), 'since when');
SELECT is(told(format('SELECT sync.revoke_api_token(%s, at(%L))', tok_id('free'), '10:40')), 'api_token.revoke A - - was so already', 'once more');
SELECT is(sync.revoke_api_token(tok_id('free'), at('10:50')), false, 'says so');
SELECT is(sync.revoke_api_token((SELECT t.id FROM sync.api_tokens t WHERE t.name = 'ends'), at('10:50')), true, 'true where it was good');
SELECT is(told($$UPDATE sync.api_tokens SET scopes = '{read,audit}', last_used_at = now(), token_hash = sha256('x') WHERE name = 'ends'$$),
    'api_token.update A - {"scopes": ["read"], "token_hash": "***"} - {"scopes": ["read", "audit"], "token_hash": "***"}', 'a change by SQL is told, with last_used_at or not');
SELECT is_empty($$SELECT l.id FROM sync.audit_log l, sync.api_tokens t WHERE l.object_kind = 'api_token' AND strpos(concat(l.before, l.after, l.note), encode(t.token_hash, 'hex')) > 0$$, 'no hash in the audit log');
SELECT is_empty($$SELECT l.id FROM sync.audit_log l, tokens t WHERE strpos(l::text, substr(t.token, 9)) > 0$$, 'and no token');

-- A gateway that has begun no request, and one that has
SELECT connection('A1', '{}', at('09:00'), tenant => 'A'), connection('B1', '{}', at('09:00'), tenant => 'B');
UPDATE sync.connections SET name = 'of-b', config = '{"k": "of-b"}' WHERE tenant_id = 'B';
SELECT sync.create_schedule(conn(t || '1'), 'of-' || lower(t), 'daily', as_of => at('09:00')), sync.create_notification(t, 'in_app', '{failure}', '{"users": ["u"]}', name => 'of-' || lower(t)) FROM unnest('{A,B}'::text[]) t;
CREATE TEMP TABLE ids AS SELECT t.t, conn(t.t || '1') AS connection, (SELECT s.id FROM sync.sync_schedules s WHERE s.tenant_id = t.t) AS schedule,
    (SELECT n.id FROM sync.sync_notifications n WHERE n.tenant_id = t.t AND n.notification_type = 'in_app') AS notification FROM unnest('{A,B}'::text[]) t (t);
CREATE FUNCTION id_of(tenant text, kind text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT (to_jsonb(i) ->> kind)::bigint FROM ids i WHERE i.t = tenant $$;
CREATE TEMP TABLE readable AS SELECT c.relname::text AS name, string_agg(format('x.%I', a.attname), ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_column_privilege('api_gateway', c.oid, a.attnum, 'SELECT') GROUP BY 1;
SELECT cmp_ok((SELECT count(*) FROM readable), '>', 10::bigint, 'there is something to read');
SELECT is((SELECT string_agg(r.name, ' ') FROM readable r WHERE as_role('api_gateway', format('SELECT count(*) FROM sync.%I x', r.name)) <> '0'), NULL, 'without a request a gateway reads no row of any table or view');
SELECT is((SELECT string_agg(r.name, ' ') FROM readable r WHERE request(tok('reader'), 'read', format('SELECT jsonb_agg(to_jsonb(y)) FROM (SELECT %s FROM sync.%I x) y', r.columns, r.name)) LIKE '%of-b%'), NULL, 'in a request of A it reads nothing of B');
SELECT is(request(tok('reader'), 'read', 'SELECT count(*) FROM sync.connection_status'), '1', 'but what is A''s');
SELECT is(request(tok('of-b'), 'read', 'SELECT string_agg(name, '' '') FROM sync.connections'), 'of-b', 'and B''s in one of B');
SELECT is(as_role('api_gateway', format(s, id_of('A', kind))), 'P0002: ' || kind || ' ' || id_of('A', kind) || ' does not exist', 'without a request there is not: ' || s)
FROM (VALUES ('SELECT sync.trigger(%s)', 'connection'), ('SELECT sync.pause(%s)', 'connection'), ('SELECT sync.pause_schedule(%s)', 'schedule'), ('SELECT sync.delete_notification(%s)', 'notification'),
             ('SELECT sync.expect_version(''connection'', %s, NULL)', 'connection'), ('SELECT sync.expect_version(''schedule'', %s, NULL)', 'schedule'),
             ('SELECT sync.expect_version(''notification'', %s, NULL)', 'notification')) v (s, kind);
SELECT is(request(tok('reader'), 'read', format(s, id_of('B', kind))), 'P0002: ' || kind || ' ' || id_of('B', kind) || ' does not exist', 'nor in a request of A what is B''s: ' || s)
FROM (VALUES ('SELECT sync.trigger(%s)', 'connection'), ('SELECT sync.pause_schedule(%s)', 'schedule'), ('SELECT sync.delete_notification(%s)', 'notification'),
             ('SELECT sync.expect_version(''connection'', %s, NULL)', 'connection'), ('SELECT sync.expect_version(''schedule'', %s, NULL)', 'schedule'),
             ('SELECT sync.expect_version(''notification'', %s, NULL)', 'notification')) v (s, kind);
SELECT is(request(tok('reader'), 'read', format('SELECT sync.object_version(%L, %s)', k, id_of('B', k))), 'nothing', 'no version of B''s ' || k) FROM unnest('{connection,schedule,notification}'::text[]) k;
SELECT is(as_role('api_gateway', format('SELECT sync.object_version(%L, %s)', k, id_of('A', k))), 'nothing', 'nor without a request of A''s ' || k) FROM unnest('{connection,schedule,notification}'::text[]) k;
SELECT matches(request(tok('writer'), 'trigger', format('SELECT sync.trigger(%s, as_of => at(''10:00''))', id_of('A', 'connection'))), '^\d+$', 'its own it may trigger');
SELECT is((SELECT a.actor || ' as ' || a.role FROM sync.audit_log a WHERE a.action = 'job.trigger'), 'token writer as api_gateway', 'who did');

-- Idempotency keys
CREATE FUNCTION first(key text, operation text, hash text, clock text DEFAULT '10:00', tenant text DEFAULT 'reader') RETURNS text LANGUAGE sql AS $$
    SELECT request(tok(tenant), NULL, format('SELECT concat_ws('' '', i.replayed, i.status, i.headers, i.body) FROM sync.begin_idempotent(%L, %L, %L, at(%L)) i', key, operation, hash, clock))
$$;
CREATE FUNCTION answers(key text, status int, headers jsonb, body text, tenant text DEFAULT 'reader') RETURNS text LANGUAGE sql AS $$
    SELECT request(tok(tenant), NULL, format('SELECT sync.end_idempotent(%L, %L, %L, %L)', key, status, headers, body))
$$;
SELECT is(as_role('api_gateway', s), '42501: the transaction is not bound to a tenant', 'without a request: ' || s) FROM unnest(ARRAY[$$SELECT sync.begin_idempotent('k', 'o', 'h')$$, $$SELECT sync.end_idempotent('k', 200, '{}', '')$$]) s;
SELECT is(answers('k', 201, '{}', 'x'), '55000: idempotency key "k" is not taken', 'nothing to answer');
SELECT is(first('k', 'POST /jobs', 'h1'), 'f', 'a new key');
SELECT is(first('k', 'POST /jobs', 'h1'), 'f', 'one that was not answered is as good as new');
SELECT is(first('k', 'POST /jobs', 'h2'), 'f', 'for whatever request');
SELECT is(answers('k', 201, '{"location": "/jobs/1"}', '{"id": 1}'), '', 'answered');
SELECT is(answers('k', 200, '{}', 'other'), '55000: idempotency key "k" is not taken', 'once');
SELECT is(first('k', 'POST /jobs', 'h2'), 't 201 {"location": "/jobs/1"} {"id": 1}', 'the same answer again');
SELECT is(first('k', 'POST /jobs', 'h2', '09:00'), 't 201 {"location": "/jobs/1"} {"id": 1}', 'for a clock that went back as well');
SELECT is(first('k', 'POST /jobs', 'h3'), '22023: idempotency key "k" was used for another request', 'another request');
SELECT is(first('k', 'PUT /jobs', 'h2'), '22023: idempotency key "k" was used for another request', 'another operation');
SELECT is(first('k', 'POST /jobs', 'h2', tenant => 'writer'), 't 201 {"location": "/jobs/1"} {"id": 1}', 'keys are the tenant''s, by whichever token');
SELECT is(first('k', 'POST /jobs', 'h2', tenant => 'of-b'), 'f', 'another tenant''s is another key');
SELECT is(answers('k', 204, NULL, NULL, 'of-b'), '', 'answered with nothing');
SELECT is(first('k', 'POST /jobs', 'h2', tenant => 'of-b'), 't 204', 'is what is answered again');
SELECT is(request(tok('reader'), NULL, format('SELECT i.replayed FROM sync.begin_idempotent(''k'', ''POST /jobs'', ''h2'', %L) i', at('10:00') + interval '24 hours' - interval '1 microsecond')), 'true', 'for 24 hours');
SELECT is(request(tok('reader'), NULL, format('SELECT i.replayed FROM sync.begin_idempotent(''k'', ''PUT /other'', ''h9'', %L) i', at('10:00') + interval '24 hours')), 'false', 'then it is free, for whatever request');
SELECT row_eq($$SELECT k.operation, k.request_hash, k.taken_at, k.status, k.headers, k.body FROM sync.idempotency_keys k WHERE k.tenant_id = 'A' AND k.key = 'k'$$,
    ROW('PUT /other'::text, 'h9'::text, at('10:00') + interval '24 hours', NULL::int, NULL::jsonb, NULL::text), 'with nothing left of the former answer');
SELECT is(first(key, op, hash), '22023: ' || message, message || ': ' || left(COALESCE(key, 'null'), 5))
FROM (VALUES (NULL, 'o', 'h', 'an idempotency key must have 1 to 255 characters'), ('', 'o', 'h', 'an idempotency key must have 1 to 255 characters'), (repeat('k', 256), 'o', 'h', 'an idempotency key must have 1 to 255 characters'),
             ('x', NULL, 'h', 'operation and request_hash must not be null'), ('x', 'o', NULL, 'operation and request_hash must not be null')) v (key, op, hash, message);
SELECT is(answers('k', s, '{}', ''), '22023: status must be an HTTP status', 'no status: ' || COALESCE(s::text, 'null')) FROM unnest('{NULL,99,600}'::int[]) s;

-- Versions: others when a user has changed something
CREATE FUNCTION version(kind text) RETURNS text LANGUAGE sql AS $$ SELECT sync.object_version(kind, id_of('A', kind)) $$;
CREATE FUNCTION changes(kind text, command text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    former text := version(kind);
BEGIN
    EXECUTE command;
    IF version(kind) IS NULL THEN
        RAISE EXCEPTION 'it is gone';
    END IF;
    RETURN version(kind) <> former;
END $$;
SELECT matches(version(k), '^[0-9a-f]{32}$', 'a version of a ' || k) FROM unnest('{connection,schedule,notification}'::text[]) k;
SELECT ok(changes('connection', s), 'another version: ' || s)
FROM unnest(ARRAY[$$UPDATE sync.connections SET name = 'new' WHERE external_id = 'A1'$$, $$UPDATE sync.connections SET config = '{"a": 1}' WHERE external_id = 'A1'$$, $$UPDATE sync.connections SET metadata = metadata || '{"plan": "gold"}' WHERE external_id = 'A1'$$,
    $$SELECT sync.set_interval(conn('A1'), 300)$$, $$SELECT sync.set_interval(conn('A1'), NULL)$$, $$SELECT sync.pause(conn('A1'), 'x')$$, $$SELECT sync.pause(conn('A1'), 'y')$$, $$SELECT sync.resume(conn('A1'))$$,
    $$UPDATE sync.connections SET requests_per_minute = 5 WHERE external_id = 'A1'$$, $$UPDATE sync.connections SET external_id = 'A2' WHERE external_id = 'A1'$$, $$UPDATE sync.connections SET external_id = 'A1' WHERE external_id = 'A2'$$]) s;
SELECT ok(changes('schedule', format(s, id_of('A', 'schedule'))), 'another version: ' || s)
FROM unnest(ARRAY['SELECT sync.update_schedule(%s, at => ''03:00'')', 'SELECT sync.update_schedule(%s, config => ''{"a": 1}'')', 'SELECT sync.update_schedule(%s, catchup_max_age => ''2 days'')', 'SELECT sync.pause_schedule(%s, ''x'')',
    'SELECT sync.resume_schedule(%s)', 'SELECT sync.update_schedule(%s, starts_at => ''2026-03-01 09:00Z'')']) s;
SELECT ok(changes('notification', format(s, id_of('A', 'notification'))), 'another version: ' || s)
FROM unnest(ARRAY['SELECT sync.update_notification(%s, name => ''x'')', 'SELECT sync.update_notification(%s, events => ''{success}'')', 'SELECT sync.update_notification(%s, config => ''{"users": ["v"]}'')', 'SELECT sync.update_notification(%s, is_active => false)']) s;
-- The same whatever happens otherwise.
SELECT is(changes('connection', s), false, 'the same version: ' || s)
FROM unnest(ARRAY[$$UPDATE sync.connections SET updated_at = now(), name = name WHERE external_id = 'A1'$$, $$UPDATE sync.connections SET name = 'x' WHERE external_id = 'B1'$$, $$SELECT sync.set_cursor(conn('A1'), '{"page": 7}')$$,
    $$SELECT sync.trigger(conn('A1'), as_of => at('10:30'))$$, $$SELECT claim(at('11:00'))$$, $$SELECT complete('A1', at('11:01'), next_cursor => '{"page": 8}')$$, $$SELECT sync.tick(at('12:00'))$$, $$SELECT job('A1', 'full'), claim(at('12:30'))$$, $$SELECT fail('A1', at('12:31'))$$,
    $$SELECT sync.create_schedule(conn('A1'), 'more', 'daily')$$, $$SET LOCAL TimeZone = 'Asia/Tokyo'$$,
    $$UPDATE sync.connections SET status = 'error', status_reason = 'unauthorized' WHERE external_id = 'A1'$$, $$SELECT sync.resume(conn('A1'))$$]) s;
SELECT is(last_finish('A1'), at('11:01'), 'there were runs');
SELECT is(changes('schedule', s), false, 'the same version of the schedule: ' || s)
FROM unnest(ARRAY['UPDATE sync.sync_schedules SET updated_at = now()', 'SELECT sync.tick(''2026-03-02 03:00Z'')', 'SET LOCAL TimeZone = ''America/New_York''', 'SET LOCAL IntervalStyle = ''iso_8601''', 'SET LOCAL DateStyle = ''German''']) s;
SET LOCAL TimeZone = 'UTC';
SELECT is(changes('notification', s), false, 'the same version of the notification: ' || s)
FROM unnest(ARRAY['UPDATE sync.sync_notifications SET verified_at = now(), updated_at = now()', 'UPDATE sync.sync_notifications SET disabled_at = now(), disabled_reason = ''gone''']) s;
-- Metadata that cannot hold what runs keep there
CREATE FUNCTION runs_with(metadata jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sync.connections c SET metadata = runs_with.metadata WHERE c.external_id = 'A1';
    RETURN changes('connection', $u$UPDATE sync.connections SET metadata = sync._metadata_run(metadata, at('12:00'), 5, '{"page": 9}') WHERE external_id = 'A1'$u$);
END $$;
SELECT is(runs_with(m), false, 'what a run makes of metadata ' || COALESCE(m::text, 'null')) FROM unnest(ARRAY[NULL, '{}', '[1, 2]', '5', '{"sync": [1]}', '{"sync": {"interval_seconds": 300}, "ours": 1}']::jsonb[]) m;
SELECT isnt(sync.object_version('schedule', id_of('A', 'schedule')), sync.object_version('schedule', id_of('B', 'schedule')), 'versions of two are two');
SELECT is(sync.object_version('connection', -1), NULL, 'none of what is not there');
SELECT is(sync.object_version('connection', NULL), NULL, 'nor of nothing');
SELECT throws_ok($$SELECT sync.object_version('job', 1)$$, '22023', 'there are no versions of "job"', 'not of everything');
SELECT throws_ok($$SELECT sync.expect_version('job', 1, NULL)$$, '22023', 'there are no versions of "job"', 'nor are they expected');
SELECT throws_ok($$SELECT sync.expect_version(NULL, 1, NULL)$$, '22023', NULL, 'of no kind');
SELECT isnt(version('connection'), "left"(encode(sha256(convert_to(sync._configured('connection', conn('A1'))::text, 'UTF8')), 'hex'), 32), 'nobody can reckon what a version is of');

-- Expected ones
CREATE FUNCTION expects(kind text, versions text[]) RETURNS text LANGUAGE sql AS $$ SELECT request(tok('writer'), 'write', format('SELECT sync.expect_version(%L, %s, %L)', kind, id_of('A', kind), versions)) $$;
SELECT is(expects(k, ARRAY['x', version(k)]), version(k), 'what was expected of a ' || k) FROM unnest('{connection,schedule,notification}'::text[]) k;
SELECT is(expects(k, NULL), version(k), 'any will do of a ' || k) FROM unnest('{connection,schedule,notification}'::text[]) k;
SELECT is(expects(k, ARRAY[upper(version(k)), version('connection') || 'x']), format('SE412: %s %s has changed meanwhile', k, id_of('A', k)), 'another was expected of a ' || k) FROM unnest('{connection,schedule,notification}'::text[]) k;
SELECT is(expects('connection', '{}'), format('SE412: connection %s has changed meanwhile', id_of('A', 'connection')), 'none was');

-- Housekeeping
SELECT housekeep('2026-03-02 10:30Z');
SELECT is((SELECT string_agg(k.tenant_id || ' ' || k.key, ', ') FROM sync.idempotency_keys k), 'A k', 'answers that are a day old go');
SELECT is((SELECT count(*) FROM sync.api_token_use), 0::bigint, 'so do the minutes of an hour ago');
INSERT INTO sync.api_token_use SELECT n, '2026-03-02 09:00Z', 1 FROM generate_series(1, 5001) n;
INSERT INTO sync.api_token_use VALUES (1, '2026-03-02 09:30Z', 1);
INSERT INTO sync.idempotency_keys (tenant_id, key, operation, request_hash, taken_at) SELECT 'H', n, 'o', 'h', '2026-03-01 10:30Z' FROM generate_series(1, 5001) n;
SELECT is(sync._purge_api('2026-03-02 10:30Z'), true, 'by the batch');
SELECT is((SELECT count(*) FROM sync.api_token_use) || ' ' || (SELECT count(*) FROM sync.idempotency_keys WHERE tenant_id = 'H'), '2 1', 'a batch of each');
SELECT is(sync._purge_api('2026-03-02 10:30Z'), false, 'until there are no more');
SELECT is((SELECT count(*) FROM sync.api_token_use) || ' ' || (SELECT count(*) FROM sync.idempotency_keys WHERE tenant_id = 'H'), '1 0', 'what is an hour old stays');

-- A tenant that has gone
SELECT first('of-b', 'o', 'h', tenant => 'of-b'), takes('of-b', 1, '10:00'), request_over();
DELETE FROM sync.connections WHERE tenant_id = 'B';
SELECT sync.forget_tenant('B');
SELECT is(begun(tok('of-b')), '28000: the token is unknown, expired or revoked', 'its tokens are gone');
SELECT is((SELECT count(*) FROM sync.idempotency_keys k WHERE k.tenant_id = 'B'), 0::bigint, 'and its answers');
SELECT is_empty($$SELECT l FROM sync.audit_log l WHERE l.tenant_id = 'B' OR (l.tenant_id LIKE 'forgotten:%' AND (l.before, l.after)::text LIKE '%of-b%')$$, 'the log names it no more, in what was told of that neither');
SELECT is((SELECT count(*) FROM sync.audit_log l WHERE l.tenant_id LIKE 'forgotten:%' AND l.action = 'api_token.delete'), 1::bigint, 'but tells it');
SELECT is(begun(tok('reader')), 'A', 'others'' are good');

SELECT finish();
ROLLBACK;
