-- The audit log: who changed what and when, before and after, never a secret; append-only.
\ir include/setup.psql
SELECT plan(121);
SELECT fix_jitter();
CREATE ROLE audit_app LOGIN IN ROLE sync_admin;

-- What a command leaves in the log, a line a row.
CREATE FUNCTION audited(command text) RETURNS SETOF sync.audit_log LANGUAGE plpgsql AS $$
DECLARE
    last bigint := COALESCE((SELECT max(id) FROM sync.audit_log), 0);
BEGIN
    EXECUTE command;
    RETURN QUERY SELECT * FROM sync.audit_log WHERE id > last ORDER BY id;
END
$$;
CREATE FUNCTION told(command text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', a.action, NULLIF(a.tenant_id, ''), a.object_id, '-', a.before, '-', a.after, a.note), E'\n' ORDER BY a.id)
    FROM audited(command) a
$$;
GRANT EXECUTE ON FUNCTION audited(text), told(text) TO audit_app;
GRANT USAGE ON SCHEMA tap TO audit_app;
CREATE FUNCTION this_month() RETURNS text LANGUAGE sql AS $$ SELECT 'sync.audit_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMM') $$;

-- The table of the month, wherever nobody has made it
SELECT is(to_regclass(this_month()), NULL, 'nothing has made the month''s table yet');
SELECT lives_ok($$INSERT INTO sync.providers (slug) VALUES ('early')$$, 'a change makes it');
SELECT isnt(to_regclass(this_month()), NULL, 'it is there');
SELECT lives_ok('DROP TABLE ' || this_month(), 'it is lost');
SELECT is(told($$DELETE FROM sync.providers WHERE slug = 'early'$$),
    'provider.delete early - {"slug": "early", "status": "active", "connector": "http", "allowed_hosts": []} -', 'the next change makes it anew');

-- Providers
SELECT is(told($$INSERT INTO sync.providers (slug, connector, config, max_attempts) VALUES ('github', 'noop', '{"base_url": "https://x", "auth": {"token": "planted"}}', 3)$$),
    'provider.create github - - {"slug": "github", "status": "active", "connector": "noop", "max_attempts": 3, "allowed_hosts": [], "config.base_url": "***", "config.auth.token": "***"}',
    'a provider, its configuration by its paths');
SELECT is(told($$UPDATE sync.providers SET config = '{"base_url": "https://x", "auth": {"token": {"$env": "TOKEN"}}}', max_attempts = 4$$),
    'provider.update github - {"max_attempts": 3, "config.auth.token": "***"} - {"max_attempts": 4, "config.auth.token.$env": "***"}', 'what changed, and nothing else');
SELECT is(told($$UPDATE sync.providers SET allowed_hosts = '{a.example}', backoff_base_seconds = 9$$),
    'provider.update github - {"allowed_hosts": []} - {"allowed_hosts": ["a.example"], "backoff_base_seconds": 9}', 'allowed_hosts and limits of its own');
SELECT is(told($$UPDATE sync.providers SET updated_at = now(), config = config$$), NULL, 'an update that changes nothing leaves no row');
SELECT is(told($$SELECT sync.pause_provider('github', 'maintenance')$$),
    'provider.pause github - {"status": "active"} - {"status": "paused", "status_reason": "maintenance"}', 'pause_provider: one row');
SELECT is(told($$SELECT sync.pause_provider('github', 'maintenance')$$), 'provider.pause github - - was so already', 'pause_provider again: an action that changed nothing');
SELECT is(told($$SELECT sync.resume_provider('github')$$),
    'provider.resume github - {"status": "paused", "status_reason": "maintenance"} - {"status": "active"}', 'resume_provider');

-- Connections
SELECT is(told($$INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id, name, config) VALUES (1, 'T', 'github', 'e', 'N', '{"k": "planted"}')$$),
    'connection.create T 1 - - {"name": "N", "status": "active", "external_id": "e", "provider_slug": "github"}', 'a connection');
SELECT is(told($$INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id) VALUES (2, 'T', 'github', 'f'), (3, 'U', 'github', 'g')$$),
    E'connection.create T 2 - - {"status": "active", "external_id": "f", "provider_slug": "github"}\n'
    'connection.create U 3 - - {"status": "active", "external_id": "g", "provider_slug": "github"}', 'two connections: a row each');
SELECT is(told($$INSERT INTO sync.connections (tenant_id, provider_slug, external_id, name) VALUES ('T', 'github', 'e', 'M')
                 ON CONFLICT (tenant_id, provider_slug, external_id) DO UPDATE SET name = EXCLUDED.name$$),
    'connection.update T 1 - {"name": "N"} - {"name": "M"}', 'an upsert is the update that it was');
SELECT is(told($$SELECT sync.pause(1, 'holiday')$$), 'connection.pause T 1 - {"status": "active"} - {"status": "paused", "status_reason": "holiday"}', 'pause: one row');
SELECT is(told($$SELECT sync.pause(1, 'holiday')$$), 'connection.pause T 1 - - was so already', 'pause again: an action that changed nothing');
SELECT is(told($$SELECT sync.pause(1, 'illness')$$), 'connection.pause T 1 - {"status_reason": "holiday"} - {"status_reason": "illness"}', 'pause for another reason');
SELECT is(told($$SELECT sync.resume(1)$$), 'connection.resume T 1 - {"status": "paused", "status_reason": "illness"} - {"status": "active"}', 'resume');
SELECT is(told($$UPDATE sync.connections SET status = 'paused' WHERE id = 1$$), 'connection.pause T 1 - {"status": "active"} - {"status": "paused"}', 'pausing by an UPDATE is called the same');
SELECT is(told($$UPDATE sync.connections SET status = 'active', name = 'N' WHERE id = 1$$),
    'connection.update T 1 - {"name": "M", "status": "paused"} - {"name": "N", "status": "active"}', 'several changes are one update');
SELECT is(told($$SELECT sync.set_interval(1, 300)$$), 'connection.set_interval T 1 - - {"metadata.sync.interval_seconds": 300}', 'set_interval');
SELECT is(told($$SELECT sync.set_interval(1, 300)$$), 'connection.set_interval T 1 - - was so already', 'set_interval to the same');
SELECT is(told($$UPDATE sync.connections SET metadata = jsonb_set(metadata, '{sync,interval_seconds}', '600') WHERE id = 1$$),
    'connection.set_interval T 1 - {"metadata.sync.interval_seconds": 300} - {"metadata.sync.interval_seconds": 600}', 'the interval by an UPDATE');
SELECT is(told($$UPDATE sync.connections SET metadata = jsonb_set(metadata, '{sync,interval_seconds}', '"planted"') WHERE id = 1$$),
    'connection.set_interval T 1 - {"metadata.sync.interval_seconds": 600} - {"metadata.sync.interval_seconds": "***"}', 'an interval that is no number is not shown');
SELECT is(told($$SELECT sync.set_interval(1, NULL)$$), 'connection.set_interval T 1 - {"metadata.sync.interval_seconds": "***"} -', 'set_interval to the default');
SELECT is(told($$SELECT sync.set_cursor(1, '{"since": "planted"}')$$), 'connection.set_cursor T 1 - - {"metadata.sync.cursor": "***"}', 'set_cursor: that it changed');
SELECT is(told($$SELECT sync.set_cursor(1, '{"since": "planted", "page": 2}')$$),
    'connection.set_cursor T 1 - {"metadata.sync.cursor": "***"} - {"metadata.sync.cursor": "***"}', 'set_cursor: a cursor is one value');
SELECT is(told($$SELECT sync.set_cursor(1, NULL)$$), 'connection.set_cursor T 1 - {"metadata.sync.cursor": "***"} -', 'set_cursor to the beginning');
SELECT is(told($$SELECT sync.set_cursor(1, NULL)$$), 'connection.set_cursor T 1 - - was so already', 'set_cursor to where it is');
SELECT is(told($$UPDATE sync.connections SET metadata = metadata || '{"theirs": "planted"}' WHERE id = 1$$), NULL, 'the application''s own metadata is its own matter');
SELECT is(told($$UPDATE sync.connections SET metadata = metadata || '{"sync": {"next_run_at": "2026-03-01T10:00:00Z", "first_activated_at": "planted"}}' WHERE id = 1$$),
    'connection.update T 1 - - {"metadata.sync.next_run_at": "2026-03-01T10:00:00Z", "metadata.sync.first_activated_at": "***"}', 'times set by hand');
SELECT is(told($$UPDATE sync.connections SET last_incremental_finished_at = '2026-03-01 10:00Z' WHERE id = 1$$),
    'connection.update T 1 - - {"last_incremental_finished_at": "2026-03-01T10:00:00+00:00"}', 'a last finish set by hand');
SELECT is(told($$UPDATE sync.connections SET tenant_id = 'V', external_id = 'h' WHERE id = 3$$),
    'connection.update V 3 - {"tenant_id": "U", "external_id": "g"} - {"tenant_id": "V", "external_id": "h"}', 'a connection that moves to another tenant');
SELECT is(told($$UPDATE sync.connections SET config = '{"k": {"deep": ["planted"]}, "n": 5}' WHERE id = 1$$),
    'connection.update T 1 - {"config.k": "***"} - {"config.n": "***", "config.k.deep": "***"}', 'configuration: by path, no value');
SELECT is(told($$DELETE FROM sync.connections WHERE id = 2$$), 'connection.delete T 2 - {"status": "active", "external_id": "f", "provider_slug": "github"} -', 'a connection that is deleted');
SELECT is(told($$DELETE FROM sync.connections WHERE id = 2$$), NULL, 'nothing is deleted');
SELECT is(told($$UPDATE sync.connections SET status = 'revoked' WHERE id = 3$$), 'connection.revoke V 3 - {"status": "active"} - {"status": "revoked"}', 'a connection that is revoked');
-- Many at once
SELECT is(told($$INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id) SELECT n, 'many ' || n % 2, 'github', 'm' || n FROM generate_series(10001, 11001) n$$),
    E'connection.create_many many 0 10002..11000 - - {"rows": 500}\nconnection.create_many many 1 10001..11001 - - {"rows": 501}', 'above 1,000 rows: a row a tenant');
SELECT is(told($$DELETE FROM sync.connections WHERE tenant_id LIKE 'many %'$$),
    E'connection.delete_many many 0 10002..11000 - {"rows": 500} -\nconnection.delete_many many 1 10001..11001 - {"rows": 501} -', 'deleted in the same way');
SELECT is((SELECT count(*) FROM audited($$INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id) SELECT n, 'many', 'github', 'm' || n FROM generate_series(20001, 21000) n$$)),
    1000::bigint, 'up to 1,000: a row each');
DELETE FROM sync.connections WHERE tenant_id = 'many';

-- Schedules
SELECT is(told($$SELECT sync.create_schedule(1, 'nightly', 'daily', '02:00', config => '{"token": "planted"}', as_of => at('10:00'))$$),
    'schedule.create T 1 - - {"name": "nightly", "dst_gap": "run_after", "overlap": "skip", "catch_up": "latest", "dst_fold": "first", "job_type": "incremental", '
    '"priority": 0, "timezone": "UTC", "is_active": true, "tenant_id": "T", "config.token": "***", "catchup_limit": 10, "connection_id": 1, "schedule_type": "daily", '
    '"jitter_seconds": 0, "catchup_max_age": "7 days", "cron_expression": "0 2 * * *"}', 'create_schedule: one row');
SELECT is(told($$SELECT sync.update_schedule(1, at => '03:00', config => '{}', as_of => at('10:01'))$$),
    'schedule.update T 1 - {"config.token": "***", "cron_expression": "0 2 * * *"} - {"cron_expression": "0 3 * * *"}', 'update_schedule');
SELECT is(told($$SELECT sync.pause_schedule(1, 'audit', as_of => at('10:02'))$$),
    'schedule.pause T 1 - {"is_active": true} - {"is_active": false, "pause_reason": "audit"}', 'pause_schedule');
SELECT is(told($$SELECT sync.pause_schedule(1, 'audit', as_of => at('10:03'))$$), 'schedule.pause T 1 - - was so already', 'pause_schedule again');
SELECT is(told($$SELECT sync.resume_schedule(1, at('10:04'))$$),
    'schedule.resume T 1 - {"is_active": false, "pause_reason": "audit"} - {"is_active": true}', 'resume_schedule');
SELECT is(told($$SELECT sync.resume_schedule(1, at('10:05'))$$), 'schedule.resume T 1 - - was so already', 'resume_schedule again');
SELECT is(told($$SELECT sync.skip_next(1, at('10:06'))$$), 'schedule.skip_next T 1 - - {"skipped": "2026-03-02T03:00:00+00:00", "connection_id": 1}', 'skip_next');
SELECT is(told($$SELECT sync.trigger_schedule(1, at('10:07'))$$), 'schedule.trigger T 1 - - {"job_id": 1, "connection_id": 1}', 'trigger_schedule: one row');
SELECT sync.pause_schedule(1, 'for a while', at('10:20'), at('10:08'));
SELECT is(told($$SELECT sync.tick(at('10:21'))$$), NULL, 'what the tick resumes was told when it was paused');
SELECT is((SELECT is_active FROM sync.sync_schedules), true, 'it is resumed');
SELECT is(told($$SELECT sync.delete_schedule(1, at('10:22'))$$ ) LIKE 'schedule.delete T 1 - {"name": "nightly"%', true, 'delete_schedule');

-- Jobs
SELECT is(told($$SELECT sync.trigger(1, 'full', as_of => at('10:00'))$$), 'job.trigger T 2 - - {"job_type": "full", "priority": 10, "connection_id": 1}', 'trigger');
SELECT is(told(format('SELECT sync.cancel_job(%s, %L, at(%L))', j.id, 'not now', '10:01')),
    format('job.cancel T %s - - {"reason": "not now", "job_type": "full", "connection_id": 1}', j.id), 'cancel_job') FROM sync.sync_jobs j WHERE j.job_type = 'full';
SELECT is(told(format('SELECT sync.cancel_job(%s)', j.id)), NULL, 'cancel_job of one that has ended') FROM sync.sync_jobs j WHERE j.job_type = 'full';
SELECT is(told(format('SELECT sync.retry_job(%s, at(%L))', j.id, '10:02')),
    format('job.retry T %s - - {"retried": %s, "job_type": "full", "connection_id": 1}', j.id + 1, j.id), 'retry_job: one row') FROM sync.sync_jobs j WHERE j.job_type = 'full';
SELECT is(told($$SELECT sync.retry_failed('github', '2026-03-01Z', at('10:03'))$$), 'job.retry_failed github - - {"jobs": 0, "since": "2026-03-01T00:00:00+00:00"}', 'retry_failed');
SELECT is(told($$SELECT sync.retry_failed(as_of => at('10:03'))$$), 'job.retry_failed * - - {"jobs": 0, "since": "-infinity"}', 'retry_failed of all');
SELECT throws_ok('SELECT sync.trigger(-1)', 'P0002', NULL, 'what fails leaves no row');
SELECT is(told('SELECT sync.adopt_database()'), format('database.adopt %s - - {"epoch": 2}', current_database()), 'adopt_database');
DELETE FROM sync.connections;

-- Who
SELECT row_eq($$SELECT a.role, a.session_role, a.actor, a.at FROM audited('SELECT sync.pause_provider(''github'')') a$$,
    ROW((session_user::text COLLATE "default"), (session_user::text COLLATE "default"), NULL::text, now()), 'who: whoever logged in, now');
SET LOCAL ROLE sync_admin;
SET LOCAL sync_engine.actor = 'alice@example.org';
SELECT sync.resume_provider('github');
UPDATE sync.providers SET display_name = 'GitHub';
RESET ROLE;
SELECT results_eq('SELECT action, role, session_role, actor FROM sync.audit_log ORDER BY id DESC LIMIT 2',
    $$VALUES ('provider.update', 'sync_admin', (session_user::text COLLATE "default"), 'alice@example.org'), ('provider.resume', 'sync_admin', (session_user::text COLLATE "default"), 'alice@example.org')$$,
    'who: the role that was set, in a function as in an UPDATE, and for whom');
SET LOCAL sync_engine.request_id = 'r1';
SELECT is((SELECT a.request_id FROM audited('UPDATE sync.providers SET display_name = ''G''') a), 'r1', 'in which request');
SET LOCAL sync_engine.request_id = '';
SET LOCAL sync_engine.actor = '';
SET LOCAL SESSION AUTHORIZATION audit_app;
SELECT row_eq($$SELECT a.role, a.session_role, a.actor FROM audited('UPDATE sync.providers SET display_name = NULL') a$$, ROW('audit_app'::text, 'audit_app'::text, NULL::text),
    'who: an application');
-- What an application could hide behind
SELECT throws_ok('SET sync_engine.internal = on', '42501', NULL, 'it cannot pass for the engine');
SET LOCAL row_security = off;
SELECT is(told($$UPDATE sync.providers SET display_name = 'G'$$), 'provider.update github - - {"display_name": "G"}', 'nor for a restore');
SET LOCAL row_security = on;
SELECT throws_ok(s, '42501', NULL, 'sync_admin may not: ' || s)
FROM unnest(ARRAY[$$INSERT INTO sync.audit_log (action, object_kind, object_id) VALUES ('x', 'x', 'x')$$, $$UPDATE sync.audit_log SET note = 'x'$$, 'DELETE FROM sync.audit_log',
                  'TRUNCATE sync.audit_log', 'DELETE FROM ' || this_month(), $$SELECT sync._audit('x', 'x', 'x', 'x', NULL, NULL)$$, $$SELECT sync.forget_tenant('T')$$,
                  'SELECT sync._drop_old_audit(''2100-01-01'')', 'SELECT key FROM sync.audit_key']) s;
RESET SESSION AUTHORIZATION;
SELECT is(has_table_privilege('sync_viewer', 'sync.audit_log', 'SELECT') OR has_table_privilege('sync_executor', 'sync.audit_log', 'SELECT'), false, 'nobody but sync_admin reads it');
SET LOCAL row_security = off;
SELECT is(told($$UPDATE sync.providers SET display_name = 'GitHub'$$), NULL, 'what a superuser restores is not audited');
SET LOCAL row_security = on;

-- Append-only for whoever owns it, unless a superuser
CREATE ROLE audit_owner;
GRANT USAGE, CREATE ON SCHEMA sync TO audit_owner;
ALTER TABLE sync.audit_log OWNER TO audit_owner;
DO $$ BEGIN EXECUTE format('ALTER TABLE %s OWNER TO audit_owner', tap.this_month()); END $$;
GRANT USAGE ON SCHEMA tap TO audit_owner;
SET LOCAL ROLE audit_owner;
SELECT throws_ok(s, '42501', 'the audit log is append-only', 'its owner may not: ' || s)
FROM unnest(ARRAY[$$UPDATE sync.audit_log SET note = 'x'$$, 'DELETE FROM sync.audit_log', 'TRUNCATE sync.audit_log']
            || ARRAY['UPDATE ' || this_month() || ' SET actor = NULL', 'DELETE FROM ' || this_month(), 'TRUNCATE ' || this_month()]) s;
RESET ROLE;
DO $$ BEGIN EXECUTE format('ALTER TABLE %s OWNER TO %I', tap.this_month(), session_user); EXECUTE format('ALTER TABLE sync.audit_log OWNER TO %I', session_user); END $$;
SELECT lives_ok($$UPDATE sync.audit_log SET note = note$$, 'a superuser may');

-- The engine's own writing: by place, and by statements where an application has triggers.
SELECT is(sync._rows_are_plain(true), true, 'the audit''s triggers leave the rows plain');
CREATE FUNCTION one_round(called text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sync.tick(at('10:00')), claim(at('10:01'));
    PERFORM sync.heartbeat('executor', ARRAY[(running(called || ' a')).id], at('10:01'));
    PERFORM complete(called || ' a', at('10:02'), '[{"kind": "k"}]', '{"c": "planted"}');
    PERFORM fail(called || ' b', at('10:02'), 'permanent'), fail(called || ' c', at('10:02'));
END
$$;
SELECT connection('plain ' || n, CASE n WHEN 'c' THEN '{"interval_seconds": 5}'::jsonb END) FROM unnest('{a,b,c,d}'::text[]) n;
SELECT is(told($$SELECT one_round('plain')$$), NULL, 'ticks, claims, completions and failures leave no row');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE job_status IN ('succeeded', 'failed', 'queued')), 3::bigint, 'although they did something');
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER look AFTER UPDATE ON sync.connections FOR EACH ROW EXECUTE FUNCTION look();
SELECT connection('slow ' || n, CASE n WHEN 'c' THEN '{"interval_seconds": 5}'::jsonb END) FROM unnest('{a,b,c,d}'::text[]) n;
SELECT is(told($$SELECT one_round('slow')$$), NULL, 'nor do they by statements');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE job_status IN ('succeeded', 'failed', 'queued')), 6::bigint, 'although they did as much');
DROP TRIGGER look ON sync.connections;
SELECT is(told($$SELECT sync.fail_job(r.id, r.claim_token, '{"message": "planted"}', 'unauthorized', NULL, at('10:03')) FROM running('plain d') r$$),
    format('connection.error T %s - {"status": "active"} - {"status": "error", "status_reason": "***"}', conn('plain d')), 'a connection that is taken out of service is told');
SELECT is_empty($$SELECT * FROM sync.audit_log l WHERE l::text LIKE '%planted%'$$, 'no secret is anywhere in the log');

SELECT is(told(format('SELECT sync.retry_execution(%s, %s, at(%L))', e.connection_id, e.id, '10:04')),
    format('job.retry T %s - - {"job_type": "incremental", "execution_id": %s, "connection_id": %s}', q.last_value + 1, e.id, e.connection_id), 'retry_execution: one row')
FROM sync.sync_executions e, sync.sync_jobs_id_seq q WHERE e.connection_id = conn('plain b');
SELECT is(told(format('SELECT sync.rewind(%s, %s, false, at(%L))', e.connection_id, e.id, '10:04')),
    format('connection.rewind T %s - - {"execution_id": %s}', e.connection_id, e.id), 'rewind: one row')
FROM sync.sync_executions e WHERE e.connection_id = conn('plain a');

-- Settings
SELECT housekeep(at('10:00'));
SET LOCAL sync_engine.actor = 'bob';
SELECT is(told(format('ALTER DATABASE %I SET sync_engine.max_attempts = 7', current_database())), 'setting.change sync_engine.max_attempts - - {"database": "7"}', 'a setting of the database');
SELECT is(told(format('ALTER DATABASE %I SET sync_engine.max_attempts = 8', current_database())),
    'setting.change sync_engine.max_attempts - {"database": "7"} - {"database": "8"}', 'its change');
SELECT row_eq('SELECT role, actor FROM sync.audit_log ORDER BY id DESC LIMIT 1', ROW((session_user::text COLLATE "default"), 'bob'::text), 'by whom');
SELECT is(told('ALTER ROLE audit_app SET sync_engine.enabled = off'), 'setting.change sync_engine.enabled - - {"role audit_app": "off"}', 'a setting of a role');
SELECT is(told(format('ALTER ROLE audit_app IN DATABASE %I SET sync_engine.enabled = off', current_database())),
    'setting.change sync_engine.enabled - - {"role audit_app in database": "off"}', 'a setting of a role here');
SELECT is(told('ALTER ROLE audit_app RESET ALL'), 'setting.change sync_engine.enabled - {"role audit_app": "off"} -', 'a reset');
SELECT is(told('ALTER ROLE ALL SET sync_engine.max_attempts = 9'), 'setting.change sync_engine.max_attempts - - {"all roles": "9"}', 'a setting of all');
-- As if a command in another database had changed it before
UPDATE sync.settings_seen SET value = '10' WHERE scope = 'all roles';
SELECT results_eq($$SELECT a.role, a.after, a.note FROM audited('ALTER ROLE ALL SET sync_engine.max_attempts = 11') a$$,
    $$VALUES ('unknown', '{"all roles": "9"}'::jsonb, 'found changed'), (session_user::text COLLATE "default", '{"all roles": "11"}', NULL)$$, 'a command is not taken for what was changed before it');
CREATE ROLE audit_stranger CREATEROLE;
GRANT USAGE ON SCHEMA tap TO audit_stranger;
SET LOCAL ROLE audit_stranger;
SELECT lives_ok('ALTER ROLE audit_stranger RESET ALL', 'who has no rights here may run such commands all the same');
RESET ROLE;
SELECT is(told(format('ALTER DATABASE %I SET work_mem = %L', current_database(), '5MB')), NULL, 'another''s setting');
SELECT is(told($$ALTER ROLE audit_app SET sync_engine.actor = 'app'$$), NULL, 'the actor is not a setting of the engine');
SELECT is(told($$ALTER ROLE audit_app SET sync_engine.request_id = 'r'$$), NULL, 'nor is a request');
SELECT is(told($$SELECT housekeep(at('10:00'))$$), NULL, 'housekeeping does not tell it again');
-- As if postgresql.conf had said otherwise when housekeeping looked last
UPDATE sync.settings_seen SET value = '61' WHERE name = 'sync_engine.lease_seconds' AND scope = 'server';
SELECT is(told($$SELECT housekeep(at('10:00'))$$),
    'setting.change sync_engine.lease_seconds - {"server": "61"} - {"server": "60"} found changed', 'a setting of the server, when housekeeping finds it');
SELECT row_eq('SELECT role, session_role, actor FROM sync.audit_log ORDER BY id DESC LIMIT 1', ROW('unknown'::text, 'unknown'::text, NULL::text), 'by nobody knows whom');
SELECT is(told($$SELECT housekeep(at('10:00'))$$), NULL, 'once');

-- A tenant that is gone
SET LOCAL sync_engine.actor = 'carol@acme';
INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id, name) VALUES (101, 'acme', 'github', 'acme-1', 'Acme'), (102, 'acme', 'github', 'acme-2', 'Acme');
SELECT sync.trigger(101, as_of => at('10:00')), sync.pause(101, 'Acme is on holiday');
UPDATE sync.connections SET tenant_id = 'other', name = 'bought' WHERE id = 102;
SELECT throws_ok($$SELECT sync.forget_tenant('acme')$$, '55000', 'tenant acme still has connections', 'a tenant that is still there is not forgotten');
SELECT throws_ok('SELECT sync.forget_tenant(NULL)', '22023', NULL, 'nor is no tenant');
DELETE FROM sync.connections WHERE tenant_id = 'acme';
SET LOCAL sync_engine.actor = 'dave';
SELECT is(sync.forget_tenant('acme'), 5::bigint, 'one that is gone is forgotten');
SELECT is_empty($$SELECT * FROM sync.audit_log l WHERE (l.tenant_id, l.object_id, l.actor, l.before, l.after, l.note)::text ~* 'acme' AND l.tenant_id <> 'other'$$, 'nothing of it is named any more');
SELECT is((SELECT count(DISTINCT l.tenant_id) || ' ' || count(*) FROM sync.audit_log l WHERE l.tenant_id LIKE 'forgotten:%'), '1 6', 'its rows stay together, and one more says so');
SELECT row_eq($$SELECT l.role, l.actor, l.after FROM sync.audit_log l WHERE l.action = 'tenant.forget'$$, ROW((session_user::text COLLATE "default"), 'dave'::text, '{"rows": 5}'::jsonb), 'who had it forgotten');
SELECT results_eq($$SELECT l.before ->> 'tenant_id' LIKE 'forgotten:%', l.after ->> 'tenant_id' FROM sync.audit_log l WHERE l.tenant_id = 'other'$$, $$VALUES (true, 'other')$$,
    'where another''s connection came from is not named either');
SELECT is(sync.forget_tenant('acme'), 0::bigint, 'there is nothing more to forget');

-- Retention
SELECT sync._make_partition('audit_log', '2025-01-15'), sync._make_partition('audit_log', '2025-02-15');
SET LOCAL sync_engine.audit_retention_days = 0;
SELECT housekeep('2026-03-09 10:00Z');
SELECT isnt(to_regclass('sync.audit_log_202501'), NULL, 'for ever');
SET LOCAL sync_engine.audit_retention_days = 400;
SELECT housekeep('2026-03-09 10:00Z');
SELECT is(to_regclass('sync.audit_log_202501'), NULL, 'a month whose end is 400 days past goes');
SELECT isnt(to_regclass('sync.audit_log_202502'), NULL, 'the next stays');
SELECT isnt(to_regclass('sync.audit_log_202603'), NULL, 'and the present one is made');

SELECT * FROM finish();
ROLLBACK;
