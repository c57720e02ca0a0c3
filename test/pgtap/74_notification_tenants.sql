-- Notifications of tenants beside each other: as tenant A nothing of B can be read, guessed, changed, tested, replayed or marked as read. And what the roles see.
\ir include/setup.psql
\ir include/notices.psql
SELECT plan(166);
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;

-- Each tenant: a setting of each type, an incident, in-app rows, deliveries of any state. What is B's says so wherever it can.
CREATE FUNCTION fill(tenant text, mark text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM connection(tenant || '1', '{}', at('07:00'), tenant => tenant);
    UPDATE sync.connections SET name = mark WHERE tenant_id = tenant;
    PERFORM sync.create_schedule(conn(tenant || '1'), mark, 'hourly', as_of => at('08:00'));
    PERFORM sync.create_notification(tenant, 'webhook', '{failure}', jsonb_build_object('url', format('https://%s.example/', mark)), name => mark || ' hook', verify => false, as_of => at('08:00'));
    PERFORM sync.create_notification(tenant, 'email', '{failure}', jsonb_build_object('to', jsonb_build_array(mark || '@b.example')), schedule_id => (SELECT s.id FROM sync.sync_schedules s WHERE s.tenant_id = tenant),
                                     name => mark || ' mail', as_of => at('08:00'));
    PERFORM sync.create_notification(tenant, 'in_app', '{failure,success,warning}', jsonb_build_object('users', jsonb_build_array('user', mark)), name => mark || ' app', as_of => at('08:00'));
    PERFORM fails(tenant || '1', at('09:00'));
    PERFORM work(at('09:00')), sync.test_notification((SELECT n.id FROM sync.sync_notifications n WHERE n.name = mark || ' mail'), at('09:01'));
    PERFORM take(at('09:02'));
    PERFORM sync.complete_deliveries((SELECT jsonb_agg(jsonb_build_object('delivery_id', t.delivery_id, 'claim_token', t.claim_token, 'outcome', CASE t.channel WHEN 'webhook' THEN 'failed' ELSE 'delivered' END,
        'error', mark, 'reply', mark)) FROM taken t), at('09:03'));
    DELETE FROM taken;
END
$$;
SELECT fill('A', 'of-a'), fill('B', 'of-b');
CREATE TEMP TABLE of_b AS
SELECT conn('B1') AS connection, (SELECT id FROM sync.sync_schedules WHERE tenant_id = 'B') AS schedule, setting('of-b hook') AS hook, setting('of-b mail') AS mail, setting('of-b app') AS app,
       (SELECT min(id) FROM sync.messages WHERE tenant_id = 'B' AND channel = 'webhook') AS delivery, (SELECT max(id) FROM sync.messages WHERE tenant_id = 'B' AND channel = 'email') AS arrived,
       (SELECT array_agg(id) FROM sync.inbox WHERE tenant_id = 'B') AS inbox;
SELECT ok((SELECT b IS NOT NULL FROM of_b b), 'there is something of B');
CREATE FUNCTION b(what text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT to_jsonb(b) ->> what FROM of_b b $$;

CREATE FUNCTION as_role(role name, tenant text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM set_config('sync_engine.tenant_id', tenant, true);
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement INTO result;
    RESET ROLE;
    PERFORM set_config('sync_engine.tenant_id', '', true);
    RETURN COALESCE(result, 'nothing');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION as_a(statement text) RETURNS text LANGUAGE sql AS $$ SELECT as_role('sync_tenant', 'A', statement) $$;
-- All that there is of B, to show that nothing changed.
CREATE FUNCTION state_of_b() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT md5(concat((SELECT jsonb_agg(to_jsonb(x) ORDER BY x.id) FROM sync.sync_notifications x WHERE x.tenant_id = 'B'), (SELECT jsonb_agg(to_jsonb(x) ORDER BY x.id) FROM sync.incidents x WHERE x.tenant_id = 'B'),
        (SELECT jsonb_agg(to_jsonb(x) ORDER BY x.id) FROM sync.inbox x WHERE x.tenant_id = 'B'), (SELECT jsonb_agg(to_jsonb(x) ORDER BY x.id) FROM sync.messages x WHERE x.tenant_id = 'B'),
        (SELECT jsonb_agg(to_jsonb(x) ORDER BY x.message_id) FROM sync.message_queue x WHERE x.tenant_id = 'B'), (SELECT jsonb_agg(to_jsonb(x) ORDER BY x.id) FROM sync.delivery_attempts x WHERE x.tenant_id = 'B'),
        (SELECT jsonb_agg(to_jsonb(x)) FROM sync.webhook_secrets x JOIN sync.sync_notifications n ON n.id = x.notification_id WHERE n.tenant_id = 'B'),
        (SELECT jsonb_agg(to_jsonb(x)) FROM sync.notification_state x JOIN sync.sync_notifications n ON n.id = x.notification_id WHERE n.tenant_id = 'B')))
$$;
CREATE TEMP TABLE former AS SELECT state_of_b() AS state;

SELECT is(as_a('SELECT count(*) FROM sync.sync_notifications'), '42501: permission denied for schema sync', 'before isolation is on a tenant has no right');
SELECT sync.enable_tenant_isolation();

-- Reading
SELECT is(as_a(format('SELECT string_agg(DISTINCT tenant_id, %L) FROM sync.%I', ',', t)), 'A', 'A reads its own of ' || t) FROM unnest('{sync_notifications,incidents,inbox,deliveries}'::text[]) t;
SELECT unalike(as_a(format('SELECT jsonb_agg(to_jsonb(x)) FROM sync.%I x', t)), '%of-b%', 'and nothing of B: ' || t) FROM unnest('{sync_notifications,incidents,inbox,deliveries}'::text[]) t;
SELECT is(as_role('sync_tenant', '', format('SELECT count(*) FROM sync.%I', t)), '0', 'without a tenant nothing: ' || t) FROM unnest('{sync_notifications,incidents,inbox,deliveries}'::text[]) t;
SELECT alike(as_a(format('SELECT count(*) FROM sync.%I', t)), '42501%', 'not a tenant''s to read: ' || t)
FROM unnest('{webhook_secrets,notification_state,outbox,held_events,messages,message_queue,delivery_attempts,record_history,notification_clock,executors,audit_key}'::text[]) t;
SELECT is(as_a('SELECT config ->> ''url'' FROM sync.sync_notifications WHERE notification_type = ''webhook'''), 'https://of-a.example/', 'its own receivers it sees');
CREATE FUNCTION tap.leaks(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF t ~ 'of-b' THEN RAISE EXCEPTION 'leaked'; END IF; RETURN true; END $$;
GRANT EXECUTE ON FUNCTION tap.leaks(text) TO PUBLIC;
SELECT unalike(as_a(format('SELECT count(*) FROM sync.%I WHERE tap.leaks(%I::text)', t, c)), '%leaked%', format('no foreign row is handed to a condition: %s.%s', t, c))
FROM (VALUES ('deliveries', 'recipient'), ('deliveries', 'reply'), ('sync_notifications', 'config'), ('inbox', 'title'), ('incidents', 'error')) v (t, c);

-- Writing into the tables
SELECT is(as_a(format(s, b(k))), wants, format('A: ' || s, b(k))) FROM (VALUES
    ('WITH x AS (UPDATE sync.sync_notifications SET is_active = false WHERE id = %s RETURNING 1) SELECT count(*) FROM x', 'mail', '0'),
    ('WITH x AS (DELETE FROM sync.sync_notifications WHERE id = %s RETURNING 1) SELECT count(*) FROM x', 'mail', '0')) v (s, k, wants);
SELECT alike(as_a(s), '42501%', 'A: ' || s) FROM unnest(ARRAY[
    'UPDATE sync.sync_notifications SET tenant_id = ''B''', 'UPDATE sync.sync_notifications SET verified_at = now()', 'UPDATE sync.sync_notifications SET disabled_at = NULL', 'UPDATE sync.sync_notifications SET id = 1',
    'UPDATE sync.sync_notifications SET connection_id = 1', 'UPDATE sync.sync_notifications SET notification_type = ''webhook''',
    'INSERT INTO sync.sync_notifications (id, tenant_id, notification_type, events, config) VALUES (5, ''A'', ''in_app'', ''["success"]'', ''{"users": ["u"]}'')',
    'INSERT INTO sync.sync_notifications (tenant_id, notification_type, events, config, verified_at) VALUES (''A'', ''webhook'', ''["success"]'', ''{"url": "https://x.example"}'', now())',
    'INSERT INTO sync.sync_notifications (tenant_id, notification_type, events, config) VALUES (''B'', ''in_app'', ''["success"]'', ''{"users": ["u"]}'')',
    'UPDATE sync.incidents SET resolved_at = now()', 'DELETE FROM sync.incidents', 'UPDATE sync.inbox SET read_at = now()', 'DELETE FROM sync.inbox',
    'INSERT INTO sync.inbox (tenant_id, user_id, notification_id, event_type, event_ids, severity, title, body, data, created_at) VALUES (''A'', ''u'', 1, ''x'', ''{}'', ''info'', ''x'', ''x'', ''{}'', now())']) s;
-- Which schedules and connections others have cannot be guessed
CREATE FUNCTION inserting(tenant text, connection text, schedule text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(as_a(format('WITH x AS (INSERT INTO sync.sync_notifications (tenant_id, connection_id, schedule_id, notification_type, events, config) VALUES (%L, %L, %L, ''in_app'', ''["success"]'', ''{"users": ["u"]}'') RETURNING 1) SELECT 1 FROM x',
                                      tenant, connection, schedule)), '[0-9]{3,}$|[0-9]+$', 'N')
$$;
CREATE FUNCTION creating(tenant text, connection text, schedule text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(as_a(format('SELECT sync.create_notification(%L, ''in_app'', ''{success}'', ''{"users": ["u"]}'', %L, %L)', tenant, connection, schedule)), '[0-9]+$', 'N')
$$;
SELECT is(inserting(t, NULL, b('schedule')), inserting(t, NULL, '999999'), format('a schedule of B is as one that is not there, as tenant %s', COALESCE(t, 'null'))) FROM unnest('{A,B,C,NULL}'::text[]) t;
SELECT is(inserting(t, c, b('schedule')), inserting(t, c, '999999'), format('also beside a connection, as tenant %s', COALESCE(t, 'null'))) FROM unnest('{A,B,NULL}'::text[]) t, (SELECT conn('A1')::text AS c) x;
SELECT is(inserting(t, b('connection'), NULL), inserting(t, '999999', NULL), format('and a connection of B, as tenant %s', COALESCE(t, 'null'))) FROM unnest('{A,B,C,NULL}'::text[]) t;
SELECT is(creating(t, NULL, b('schedule')), creating(t, NULL, '999999'), format('a schedule of B, by the function, as tenant %s', COALESCE(t, 'null'))) FROM unnest('{A,B,C,NULL}'::text[]) t;
SELECT is(creating(t, b('connection'), NULL), creating(t, '999999', NULL), format('and a connection, as tenant %s', COALESCE(t, 'null'))) FROM unnest('{A,B,C,NULL}'::text[]) t;
SELECT matches(inserting(t, NULL, b('schedule')), '^(42501|23503|23502)', 'which is refused: ' || COALESCE(t, 'null')) FROM unnest('{A,B,C,NULL}'::text[]) t;

-- Functions
SELECT is(regexp_replace(as_a(format(s, b(k))), '[0-9]+', '', 'g'), regexp_replace(as_a(format(s, 999999)), '[0-9]+', '', 'g'), format('what is B''s is as what is not there: ' || s, k))
FROM (VALUES ('SELECT sync.update_notification(%s, is_active => false)', 'mail'), ('SELECT sync.delete_notification(%s)', 'mail'), ('SELECT sync.test_notification(%s)', 'mail'),
             ('SELECT sync.webhook_secret(%s)', 'hook'), ('SELECT sync.rotate_webhook_secret(%s)', 'hook'), ('SELECT sync.replay_delivery(%s)', 'delivery'), ('SELECT sync.replay_delivery(%s)', 'arrived'),
             ('SELECT sync.replay_delivery(''(,)'', %s, false)', 'hook')) v (s, k);
SELECT is(as_a(format('SELECT sync.webhook_secret(%s)', b('hook'))), 'P0002: notification ' || b('hook') || ' does not exist', 'as it says');
SELECT alike(as_a(s), '42501%', 'A: ' || s) FROM unnest(ARRAY['SELECT sync.create_notification(''B'', ''in_app'', ''{success}'', ''{"users": ["u"]}'')', 'SELECT count(*) FROM sync.read_inbox(''B'', ''user'')',
    'SELECT sync.inbox_unread(''B'', ''user'')', 'SELECT sync.mark_read(''B'', ''user'')', 'SELECT sync.mark_read(NULL, ''user'')', 'SELECT sync.inbox_unread(NULL, ''user'')',
    'SELECT count(*) FROM sync.claim_deliveries(''e'')', 'SELECT sync.complete_deliveries(''[]'')', 'SELECT sync.release_deliveries(''e'', ''{}'', ''{}'')', 'SELECT sync.next_delivery_at()', 'SELECT sync.run_notifications()',
    'SELECT sync.unsubscribe(''x'')', 'SELECT sync._unsubscribe_token(1, ''x'')', 'SELECT sync._make_messages(''[]'', now())', 'SELECT sync._new_webhook_secret()', 'SELECT sync.forget_tenant(''B'')']) s;
SELECT is(as_role('sync_tenant', '', s), wants, 'without a tenant: ' || s) FROM (VALUES ('SELECT sync.inbox_unread(''B'', ''user'')', '42501: tenant B is not the caller''s'), ('SELECT sync.inbox_unread('''', ''user'')', '42501: tenant  is not the caller''s'),
    ('SELECT sync.replay_delivery(''(,)'', NULL, false)', '0')) v (s, wants);
SELECT is(as_a(format('SELECT sync.mark_read(''A'', ''user'', %L)', translate(b('inbox'), '[]', '{}'))), '0', 'ids of B among A''s');
SELECT is(state_of_b(), (SELECT state FROM former), 'nothing of B has changed');
SELECT is((SELECT count(*) FROM sync.audit_log WHERE tenant_id = 'B' AND role = 'sync_tenant'), 0::bigint, 'nor was anything done');

-- With its own, a tenant may do all of it
CREATE TEMP TABLE of_a AS SELECT setting('of-a hook') AS hook, setting('of-a mail') AS mail, (SELECT min(id) FROM sync.messages WHERE tenant_id = 'A' AND channel = 'webhook') AS delivery;
CREATE FUNCTION a(what text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT to_jsonb(a) ->> what FROM of_a a $$;
SELECT is(as_a('SELECT sync.inbox_unread(''A'', ''user'')'), '1', 'A: its unread');
SELECT is(as_a('SELECT count(*) FROM sync.read_inbox(''A'', ''user'')'), '1', 'A: its inbox');
SELECT is(as_a('SELECT sync.mark_read(''A'', ''user'')'), '1', 'A: mark_read');
SELECT matches(as_a(format('SELECT sync.webhook_secret(%s)', a('hook'))), '^whsec_', 'A: webhook_secret');
SELECT matches(as_a(format('SELECT sync.rotate_webhook_secret(%s)', a('hook'))), '^whsec_', 'A: rotate_webhook_secret');
SELECT is(as_a(format('SELECT sync.replay_delivery(%s)', a('delivery'))), 'true', 'A: replay_delivery');
SELECT is(as_a('SELECT sync.replay_delivery(''(,)'', NULL, false)'), (SELECT count(*)::text FROM sync.messages WHERE tenant_id = 'A'), 'A: replay_delivery of a range, of its own alone');
SELECT matches(as_a(format('SELECT sync.test_notification(%s)', a('hook'))), '^[0-9]+$', 'A: test_notification');
SELECT is(as_a(format('SELECT sync.update_notification(%s, name => ''mine'')', a('mail'))), '', 'A: update_notification');
SELECT matches(as_a('SELECT sync.create_notification(''A'', ''in_app'', ''{success}'', ''{"users": ["u"]}'', name => ''made'')'), '^[0-9]+$', 'A: create_notification');
SELECT is(inserting('A', conn('A1')::text, NULL), 'N', 'A: INSERT');
SELECT is(as_a('WITH x AS (UPDATE sync.sync_notifications SET events = ''["failure"]'' WHERE name = ''made'' RETURNING 1) SELECT count(*) FROM x'), '1', 'A: UPDATE');
SELECT is(as_a('WITH x AS (DELETE FROM sync.sync_notifications WHERE name = ''made'' RETURNING 1) SELECT count(*) FROM x'), '1', 'A: DELETE');
SELECT is(as_a(format('SELECT sync.delete_notification(%s)', a('mail'))), '', 'A: delete_notification');
SELECT is(state_of_b(), (SELECT state FROM former), 'still, nothing of B has changed');
-- A setting without an owner's tenant: what A makes is A's
SELECT is((SELECT count(*) FROM sync.sync_notifications WHERE tenant_id NOT IN ('A', 'B')), 0::bigint, 'whatever A made is A''s');

-- Roles. sync_viewer sees how things stand, and no recipient, URL, reply or key
CREATE FUNCTION as_viewer(statement text) RETURNS text LANGUAGE sql AS $$ SELECT as_role('sync_viewer', '', statement) $$;
SELECT alike(as_viewer(format('SELECT max(%I::text) FROM sync.%I', c, t)), '42501%', format('sync_viewer does not read %s.%s', t, c))
FROM (VALUES ('sync_notifications', 'config'), ('deliveries', 'recipient'), ('deliveries', 'reply'), ('deliveries', 'error'), ('webhook_secrets', 'secret'), ('messages', 'payload'), ('messages', 'recipient'), ('inbox', 'title'),
             ('inbox', 'user_id'), ('message_queue', 'claim_token'), ('delivery_attempts', 'reply'), ('delivery_attempts', 'claim_token'), ('notification_state', 'last_error'), ('outbox', 'data'), ('held_events', 'brief')) v (t, c);
SELECT is(as_viewer('SELECT count(*) FROM sync.deliveries WHERE status IS NOT NULL AND channel IS NOT NULL AND event_type IS NOT NULL'), (SELECT count(*)::text FROM sync.deliveries), 'sync_viewer: what became of deliveries');
SELECT is(as_viewer('SELECT count(*) FROM (SELECT id, tenant_id, notification_type, name, events, is_active, verified_at, disabled_at, disabled_reason FROM sync.sync_notifications) x'), (SELECT count(*)::text FROM sync.sync_notifications), 'which settings there are');
SELECT is(as_viewer('SELECT count(*) FROM sync.incidents'), (SELECT count(*)::text FROM sync.incidents), 'and incidents');
SELECT unalike(as_viewer(format('SELECT jsonb_agg(to_jsonb(x)) FROM sync.%I x', t)), '%of-_.example%', 'no URL in ' || t) FROM unnest('{incidents,queue,connection_status,run_history}'::text[]) t;
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('sync_viewer', p.oid, 'EXECUTE')
                  AND p.proname ~ 'notification|deliver|webhook|inbox|mark_read|unsubscribe|secret'$$, 'sync_viewer calls nothing of notifications');
-- sync_executor calls what it needs
SELECT set_eq($$SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('sync_executor', p.oid, 'EXECUTE')
                AND p.proname ~ 'notification|deliver|webhook|inbox|mark_read|unsubscribe|secret|incident|digest|message|event|recipient|planned'$$,
    '{claim_deliveries,complete_deliveries,release_deliveries,next_delivery_at,run_notifications}'::text[], 'sync_executor calls five functions of notifications');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                  AND has_any_column_privilege('sync_executor', c.oid, 'SELECT, INSERT, UPDATE')$$, 'and reads no table');
SELECT matches(as_role('sync_executor', '', s), wants, 'sync_executor: ' || s) FROM (VALUES ('SELECT count(*) FROM sync.claim_deliveries(''e'', 5, as_of => ''2026-03-01 12:00Z'')', '^[1-9]'), ('SELECT count(*) FROM sync.complete_deliveries(''[]'')', '^0$'),
    ('SELECT sync.release_deliveries(''e'', ''{}'', ''{}'')', '^0$'), ('SELECT sync.next_delivery_at() IS NULL', 'true|false'), ('SELECT sync.run_notifications(''2026-03-01 12:00Z'')', 'true|false'),
    ('SELECT sync.webhook_secret(' || b('hook') || ')', '^42501'), ('SELECT sync.test_notification(' || b('hook') || ')', '^42501'), ('SELECT sync.replay_delivery(' || b('delivery') || ')', '^42501')) v (s, wants);
-- sync_admin changes settings and reads all of it but the keys
SELECT matches(as_role('sync_admin', '', s), wants, 'sync_admin: ' || s) FROM (VALUES ('SELECT count(*) FROM sync.deliveries WHERE recipient IS NOT NULL', '^[1-9]'), ('SELECT count(*) FROM sync.webhook_secrets', '^42501'),
    ('SELECT sync.webhook_secret(' || b('hook') || ')', '^whsec_'), ('SELECT sync.unsubscribe(''x'')', '^false'), ('SELECT sync.update_notification(' || b('hook') || ', name => ''x'')', '^$'),
    ('SELECT sync.replay_delivery(' || b('delivery') || ')', '^(true|false)$'), ('SELECT sync.inbox_unread(''B'', ''user'')', '^[1-9]$'), ('SELECT sync._unsubscribe_token(1, ''x'')', '^42501'),
    ('DELETE FROM sync.incidents', '^42501'), ('DELETE FROM sync.messages', '^42501'), ('UPDATE sync.message_queue SET due_at = now()', '^42501')) v (s, wants);
-- Nothing is PUBLIC's
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')$$, 'no function is executable by PUBLIC');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.prosecdef AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)$$,
    'search_path is pinned in every SECURITY DEFINER function');
-- What is confined by sync_engine.tenant_id without the role, as an application's pooled connection is
SELECT is(as_role('sync_admin', 'A', format('SELECT sync.webhook_secret(%s)', b('hook'))), 'P0002: notification ' || b('hook') || ' does not exist', 'an administrator who has bound himself to A has no key of B');
SELECT is(as_role('sync_admin', 'A', 'SELECT sync.inbox_unread(''B'', ''user'')'), '42501: tenant B is not the caller''s', 'nor its inbox');
SELECT is(as_role('sync_admin', 'A', 'SELECT string_agg(DISTINCT tenant_id, '','') FROM sync.deliveries'), 'A', 'nor its deliveries');

SELECT finish();
ROLLBACK;
