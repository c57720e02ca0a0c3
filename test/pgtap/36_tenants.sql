-- Tenants beside each other: as tenant A nothing of B can be read, inferred, changed or triggered. Read from the catalog, so that what is
-- new is held to the same.
\ir include/setup.psql
SELECT plan(167);
SELECT fix_jitter();
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;

-- Each tenant: a connection with a schedule, an interval and each sort of job, signals, history. What is B's says so wherever it can.
SELECT housekeep(at('09:00'));
CREATE FUNCTION fill(tenant text, mark text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM connection(tenant || '1', jsonb_build_object('cursor', mark), at('09:00'), tenant => tenant);
    PERFORM connection(tenant || '2', NULL, at('09:00'), tenant => tenant);
    UPDATE sync.connections SET name = mark, config = jsonb_build_object('k', mark) WHERE tenant_id = tenant;
    PERFORM sync.create_schedule(conn(tenant || '1'), mark, 'daily', at => '10:00', config => jsonb_build_object('k', mark), as_of => at('09:00'));
    PERFORM sync.create_notification(tenant, 'in_app', '{failure}', jsonb_build_object('users', jsonb_build_array(mark)), name => mark, as_of => at('09:00'));
    PERFORM sync.create_notification(tenant, 'webhook', '{failure}', jsonb_build_object('url', 'https://' || mark || '.example/'), name => mark, verify => false, as_of => at('09:00'));
    PERFORM sync.create_hook(conn(tenant || '1'), 'github', name => mark, as_of => at('09:00'));
    PERFORM sync.tick(at('09:59:30')), claim(at('10:00'));
    PERFORM complete(tenant || '1', at('10:01'), jsonb_build_array(jsonb_build_object('kind', mark, 'dedupe_key', mark)), to_jsonb(mark));
    PERFORM job(tenant || '1', 'fails'), claim(at('10:02'));
    PERFORM sync.fail_job(r.id, r.claim_token, jsonb_build_object('message', mark), 'permanent', as_of => at('10:03')) FROM running(tenant || '1') r;
    PERFORM sync.run_notifications(at('10:03'));
    PERFORM job(tenant || '1', 'runs'), claim(at('10:04'));
    PERFORM job(tenant || '1', 'waits');
    PERFORM sync.pause(conn(tenant || '2'), mark);
END
$$;
SELECT fill('A', 'of-a'), fill('B', 'of-b');
CREATE TEMP TABLE of_b AS
SELECT conn('B1') AS connection, conn('B2') AS paused, (SELECT id FROM sync.sync_schedules WHERE tenant_id = 'B') AS schedule,
       (SELECT id FROM sync.sync_jobs WHERE tenant_id = 'B' AND status = 'queued') AS queued,
       (SELECT id FROM sync.sync_jobs WHERE tenant_id = 'B' AND status = 'failed') AS failed,
       (SELECT id FROM sync.sync_executions WHERE tenant_id = 'B' AND status = 'failed') AS execution,
       (SELECT id FROM sync.sync_notifications WHERE tenant_id = 'B' AND notification_type = 'webhook') AS notification, (SELECT id FROM sync.messages WHERE tenant_id = 'B') AS delivery,
       (SELECT id FROM sync.hooks WHERE tenant_id = 'B') AS hook;
GRANT SELECT ON of_b TO PUBLIC;
SELECT ok((SELECT b IS NOT NULL FROM of_b b), 'there is something of B');

-- Before isolation is on, no table is the tenants'.
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
                  AND (has_table_privilege('sync_tenant', c.oid, 'SELECT, INSERT, UPDATE, DELETE') OR c.relkind <> 'S' AND has_any_column_privilege('sync_tenant', c.oid, 'SELECT, INSERT, UPDATE'))$$,
    'until it is enabled, tenants have no right to any table');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('sync_tenant', p.oid, 'EXECUTE')$$, 'nor to any function');
SELECT cmp_ok(sync.enable_tenant_isolation(), '>', 20, 'policies are made');
SELECT is(sync.enable_tenant_isolation(), 0, 'once');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                  AND NOT c.relrowsecurity AND c.relname <> 'tenant_isolation' AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid)$$, 'every table has row-level security');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relnamespace = 'sync'::regnamespace
                  AND has_any_column_privilege('sync_tenant', c.oid, 'SELECT, INSERT, UPDATE')$$, 'no partition, which policies do not guard, is a tenant''s');

CREATE FUNCTION as_tenant(tenant text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM set_config('sync_engine.tenant_id', tenant, true);
    SET LOCAL ROLE sync_tenant;
    EXECUTE statement INTO result;
    RESET ROLE;
    PERFORM set_config('sync_engine.tenant_id', '', true);
    RETURN COALESCE(result, 'nothing');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;

-- Reading: everything that the role may read, column by column.
CREATE TEMP TABLE readable AS
SELECT c.relname::text AS name, string_agg(format('x.%I', a.attname), ', ' ORDER BY a.attnum) AS columns, bool_or(a.attname = 'tenant_id') AS has_tenant
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_column_privilege('sync_tenant', c.oid, a.attnum, 'SELECT')
GROUP BY 1;
SELECT bag_eq('SELECT name FROM readable', ARRAY['providers', 'connections', 'sync_schedules', 'sync_jobs', 'sync_executions', 'signals', 'schedule_fires', 'connection_status', 'queue',
    'schedule_status', 'execution_history', 'run_history', 'sync_notifications', 'incidents', 'inbox', 'deliveries', 'hooks', 'audit_log'], 'what a tenant may read');
SELECT unalike(as_tenant('A', format('SELECT jsonb_agg(to_jsonb(y)) FROM (SELECT %s FROM sync.%I x) y', columns, name)), '%of-b%', 'A reads nothing of B in ' || name) FROM readable ORDER BY name;
SELECT alike(as_tenant('A', format('SELECT jsonb_agg(to_jsonb(y)) FROM (SELECT %s FROM sync.%I x) y', columns, name)), '%"tenant_id": "A"%', 'but its own in ' || name)
FROM readable WHERE has_tenant ORDER BY name;
SELECT is(as_tenant('', format('SELECT count(*) FROM sync.%I x', name)), '0', 'without a tenant nothing is read in ' || name) FROM readable ORDER BY name;
SELECT is(as_tenant('B''--', 'SELECT count(*) FROM sync.connections'), '0', 'a tenant that is not there has nothing');
-- A condition that tells what it sees is asked about own rows only.
CREATE FUNCTION tap.leaks(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF t = 'of-b' THEN RAISE EXCEPTION 'leaked'; END IF; RETURN true; END $$;
GRANT EXECUTE ON FUNCTION tap.leaks(text) TO PUBLIC;
SELECT is(as_tenant('A', 'SELECT count(*) FROM sync.connection_status WHERE tap.leaks(name)'), '2', 'views hand no foreign row to a condition');
SELECT is(as_tenant('A', 'SELECT count(*) FROM sync.sync_schedules WHERE tap.leaks(name)'), '1', 'nor do tables');

-- Functions: every one that the role may call is called with what is B's.
CREATE TEMP TABLE calls (name text, statement text);
INSERT INTO calls
SELECT split_part(s, '(', 1), 'SELECT string_agg(f::text, '' '') FROM of_b b, sync.' || s || ' f'
FROM unnest(ARRAY['trigger(b.connection)', 'cancel_job(b.queued)', 'retry_job(b.failed)', 'retry_failed()', 'retry_execution(b.connection, b.execution)', 'pause(b.connection)',
    'resume(b.paused)', 'set_interval(b.connection, 60)', $$create_schedule(b.connection, 'mine', 'daily')$$, $$update_schedule(b.schedule, name => 'mine')$$,
    'pause_schedule(b.schedule)', 'resume_schedule(b.schedule)', 'delete_schedule(b.schedule)', 'trigger_schedule(b.schedule)', 'skip_next(b.schedule)', 'schedule_history(b.schedule)',
    'explain_schedule(b.schedule)', 'explain(b.connection)', 'preview_schedule(b.schedule)', $$cron_next('* * * * *', 'UTC')$$, $$cron_previous('* * * * *', 'UTC')$$,
    $$cron_matches('* * * * *', 'UTC', now())$$, $$cron_describe('* * * * *')$$, 'read_signals()', $$read_signals(tenant_id => 'B')$$, 'read_signals(connection_id => b.connection)',
    $$parse_utc('2026-01-01')$$, $$_effective_interval('60')$$, $$_count_in('{}', 'x')$$, $$_sees_tenant('B')$$, $$_local_time(now(), 'UTC')$$, '_next_run_at(NULL, NULL)', $$_credential('B', 'p', '{}', '{}')$$, $$_cron_count('* * * * *', 'UTC', now(), now() + interval '1 hour', 'run_after', 'first')$$, $$create_notification('B', 'email', '{failure}', '{"to": ["a@b.example"]}')$$,
    $$create_notification('A', 'email', '{failure}', '{"to": ["a@b.example"]}', b.connection)$$, $$create_notification('A', 'email', '{failure}', '{"to": ["a@b.example"]}', schedule_id => b.schedule)$$,
    $$update_notification(b.notification, name => 'mine')$$, 'delete_notification(b.notification)', 'test_notification(b.notification)', 'webhook_secret(b.notification)',
    'rotate_webhook_secret(b.notification)', 'replay_delivery(b.delivery)', $$replay_delivery('(,)'::tstzrange, only_failed => false)$$, $$replay_delivery('(,)'::tstzrange, b.notification)$$,
    $$object_version('connection', b.connection)$$, $$object_version('schedule', b.schedule)$$, $$object_version('notification', b.notification)$$, $$object_version('hook', b.hook)$$,
    $$expect_version('connection', b.connection, NULL)$$, $$expect_version('schedule', b.schedule, NULL)$$, $$expect_version('notification', b.notification, NULL)$$, $$expect_version('hook', b.hook, NULL)$$, 'rewind(b.connection, b.execution, false)',
    $$create_hook(b.connection, 'github')$$, $$create_hook(conn('A1'), 'github', schedule_id => b.schedule)$$, $$update_hook(b.hook)$$, $$delete_hook(b.hook)$$, $$rotate_hook_secret(b.hook)$$,
    $$read_inbox('B', 'of-' || 'b')$$, $$inbox_unread('B', 'of-' || 'b')$$, $$mark_read('B', 'of-' || 'b')$$, 'watch_changes()', $$read_changes('')$$, 'change_slot()']) s;
SELECT bag_eq('SELECT DISTINCT name FROM calls', $$SELECT DISTINCT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('sync_tenant', p.oid, 'EXECUTE')$$,
    'every function that a tenant may call is called below');
CREATE FUNCTION everything() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t record;
    part text;
    whole text := '';
BEGIN
    FOR t IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
             WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1 LOOP
        EXECUTE format('SELECT md5(COALESCE(string_agg(x::text, E''\n'' ORDER BY x::text), '''')) FROM sync.%I x WHERE tenant_id = ''B''', t.relname) INTO part;
        whole := whole || t.relname || part || E'\n';
    END LOOP;
    RETURN whole || (SELECT string_agg(s::text, ',' ORDER BY s.connection_id) FROM sync.connection_state s, of_b WHERE s.connection_id IN (connection, paused))
                 || (SELECT s::text FROM sync.schedule_state s, of_b WHERE schedule_id = schedule);
END $$;
CREATE TEMP TABLE before AS SELECT everything() AS all_of_b;
CREATE TEMP TABLE answers AS SELECT c.*, as_tenant('A', c.statement) AS answer FROM calls c;
SELECT unalike(answer, '%of-b%', 'A learns nothing of B by ' || statement) FROM answers;
SELECT is_empty($$SELECT name, answer FROM answers WHERE answer NOT LIKE 'P0002: %' AND answer NOT LIKE '23503: %does not exist' AND name IN ('trigger', 'retry_job', 'retry_execution', 'pause', 'resume',
    'set_interval', 'create_schedule', 'update_schedule', 'pause_schedule', 'resume_schedule', 'delete_schedule', 'trigger_schedule', 'skip_next', 'schedule_history', 'preview_schedule', 'update_notification', 'delete_notification', 'test_notification', 'webhook_secret', 'rotate_webhook_secret', 'expect_version')$$,
    'what is B''s does not exist for A');
SELECT is(everything(), (SELECT all_of_b FROM before), 'nothing of B was changed or triggered');
-- What is not there and what is somebody else's are told alike.
SELECT is(regexp_replace(a.answer, '\d{2,}|\m\d+\M', 'N', 'g'), regexp_replace(as_tenant('A', regexp_replace(a.statement, 'b\.\w+', '9999999')), '\d{2,}|\m\d+\M', 'N', 'g'),
    'as if it were not there: ' || a.name)
FROM answers a WHERE a.statement ~ 'b\.' AND a.name IN ('trigger', 'retry_job', 'pause', 'create_schedule', 'trigger_schedule', 'explain', 'explain_schedule');

-- Writing
SELECT is(as_tenant('A', s), '42501: ' || m, 'A may not: ' || s)
FROM (VALUES ($$INSERT INTO sync.sync_jobs (connection_id, job_type) VALUES (1, 'x') RETURNING 1$$, 'permission denied for table sync_jobs'),
             ($$UPDATE sync.sync_jobs SET priority = 99 RETURNING 1$$, 'permission denied for table sync_jobs'),
             ($$INSERT INTO sync.signals (tenant_id, provider_slug, connection_id) VALUES ('A', 'github', 1) RETURNING 1$$, 'permission denied for table signals'),
             ($$INSERT INTO sync.connections (id, tenant_id, provider_slug) VALUES (1, 'A', 'github') RETURNING 1$$, 'permission denied for table connections'),
             ($$INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('B', 'github') RETURNING 1$$, 'new row violates row-level security policy for table "connections"'),
             ($$UPDATE sync.connections SET tenant_id = 'B' RETURNING 1$$, 'permission denied for table connections'),
             ($$SELECT claim_token FROM sync.sync_jobs$$, 'permission denied for table sync_jobs'),
             ($$SELECT config FROM sync.providers$$, 'permission denied for table providers'),
             ($$SELECT sync.enable_tenant_isolation()$$, 'permission denied for function enable_tenant_isolation'),
             ($$SELECT sync.tick()$$, 'permission denied for function tick')) v (s, m);
SELECT is(as_tenant('A', $$UPDATE sync.connections SET name = 'mine' WHERE tenant_id = 'B' RETURNING 1$$), 'nothing', 'A changes no connection of B');
SELECT is(as_tenant('A', $$DELETE FROM sync.sync_schedules WHERE tenant_id = 'B' RETURNING 1$$), 'nothing', 'nor deletes a schedule');
SELECT is(as_tenant('A', $$INSERT INTO sync.connections (tenant_id, provider_slug, external_id) VALUES ('A', 'github', 'B1') RETURNING 1$$), '1', 'external ids are each tenant''s own: B''s are in nobody''s way');
SELECT is(as_tenant('A', $$INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) SELECT 'A', connection, 'x', 'daily' FROM of_b RETURNING 1$$),
    as_tenant('A', $$INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) SELECT 'A', connection, 'x', 'daily' FROM of_b RETURNING 1$$), 'a schedule cannot point into another tenant');
SELECT alike(as_tenant('A', $$INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) SELECT 'A', connection, 'x', 'daily' FROM of_b RETURNING 1$$), '23503: connection % does not exist', 'and is told so as if there were no such connection');
SELECT throws_ok($$SET LOCAL sync_engine.internal = on; INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type, cron_expression) SELECT 'A', connection, 'x', 'daily', '0 2 * * *' FROM of_b$$,
    '23503', NULL, 'the key itself forbids it, too');
RESET sync_engine.internal;
SELECT is(everything(), (SELECT all_of_b FROM before), 'B is as it was');

-- Its own it may do all that with.
SELECT is(left(as_tenant('A', s), 5) ~ '^[0-9A-Z]{5}$' AND as_tenant('A', s) ~ '^[0-9A-Z]{5}: ', false, 'A may: ' || s)
FROM unnest(ARRAY[$$SELECT sync.trigger(id) FROM sync.connections WHERE external_id = 'A1'$$, $$SELECT sync.pause_schedule(id) FROM sync.sync_schedules$$, $$SELECT sync.resume_schedule(id) FROM sync.sync_schedules$$,
    $$SELECT count(*) FROM sync.read_signals()$$, $$UPDATE sync.sync_schedules SET cron_expression = '0 3 * * *' RETURNING 1$$,
    $$INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) SELECT 'A', id, 'x', 'weekly' FROM sync.connections WHERE external_id = 'A2' RETURNING 1$$]) s;

-- Staff sees all, policies or not; whoever names a tenant is confined to it in functions and views.
CREATE FUNCTION as_admin(tenant text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM set_config('sync_engine.tenant_id', tenant, true);
    SET LOCAL ROLE sync_admin;
    EXECUTE statement INTO result;
    RESET ROLE;
    PERFORM set_config('sync_engine.tenant_id', '', true);
    RETURN result;
END $$;
SELECT is(as_admin('', 'SELECT count(DISTINCT tenant_id) FROM sync.connections'), '2', 'sync_admin sees every tenant');
SELECT is(as_admin('', 'SELECT count(DISTINCT tenant_id) FROM sync.connection_status'), '2', 'in views, too');
SELECT is(as_admin('A', 'SELECT count(DISTINCT tenant_id) FROM sync.connection_status'), '1', 'one, where it names one');
SELECT is((SELECT enqueued >= 0 FROM sync.tick(at('12:00'))), true, 'the engine goes on under policies');
SELECT cmp_ok(claim(at('12:30')), '>', 0::bigint, 'it claims for everybody');

SELECT * FROM finish();
ROLLBACK;
