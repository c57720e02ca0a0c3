-- Who may do what: roles, PUBLIC, search_path, comments, and what each role sees.
\ir include/setup.psql
SELECT plan(109);
SELECT fix_jitter();

-- Nothing is PUBLIC's.
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')$$,
    'no function or procedure is executable by PUBLIC');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
                  AND (has_table_privilege('public', c.oid, 'SELECT') OR has_table_privilege('public', c.oid, 'INSERT') OR has_table_privilege('public', c.oid, 'UPDATE') OR has_table_privilege('public', c.oid, 'DELETE'))
                  AND c.relkind <> 'S'$$, 'no table or view is PUBLIC''s');
SELECT is(has_schema_privilege('public', 'sync', 'USAGE') OR has_schema_privilege('public', 'sync', 'CREATE'), false, 'nor is the schema');
SELECT is_empty($$SELECT r FROM unnest('{sync_admin,sync_executor,sync_viewer}'::name[]) r WHERE has_schema_privilege(r, 'sync', 'CREATE')$$, 'no role may create in the schema');
SELECT has_role(r::name, 'role ' || r) FROM unnest('{sync_admin,sync_executor,sync_viewer}'::text[]) r;
SELECT is((SELECT bool_or(rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) FROM pg_roles WHERE rolname IN ('sync_admin', 'sync_executor', 'sync_viewer')), false,
    'the roles cannot log in and have no attribute');

-- search_path
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.prosecdef
                  AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)$$, 'search_path is pinned in every SECURITY DEFINER function');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_trigger t ON t.tgfoid = p.oid JOIN pg_language l ON l.oid = p.prolang
                  WHERE p.pronamespace = 'sync'::regnamespace AND l.lanname <> 'c' AND NOT p.prosecdef AND p.proname <> '_audit_log_is_kept'$$,
    'what triggers run is SECURITY DEFINER, so that it works for every writer, but what judges the writer; in C it needs no rights');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'sync'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
                  AND NOT p.prosecdef AND p.proconfig IS NULL AND p.prosrc ~* '\m(from|join|into|update)\s+(?!pg_catalog\.|sync\.|unnest|ONLY|NOT|NULL|[a-z_]+\.|\()[a-z_]+\s'$$,
    'no unpinned function names a table without its schema');

-- Comments
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND COALESCE(obj_description(p.oid, 'pg_proc'), '') = ''$$, 'every function has a comment');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND COALESCE(obj_description(c.oid, 'pg_class'), '') = ''$$,
    'every table and view has a comment');
SELECT isnt(obj_description('sync'::regnamespace, 'pg_namespace'), NULL, 'the schema has a comment');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p, unnest(COALESCE(p.proargnames, '{}'), p.proargtypes::oid[]) a (n, t)
                  WHERE p.pronamespace = 'sync'::regnamespace AND p.prokind = 'f' AND p.pronargs > 0 AND p.prorettype <> 'trigger'::regtype AND n IS NULL AND t IS NOT NULL$$,
    'every argument has a name');

-- What each role may call
CREATE TEMP TABLE may (role name, function text);
INSERT INTO may SELECT 'sync_executor', f FROM unnest('{register_executor,claim_jobs,next_claim_at,heartbeat,release_jobs,complete_job,add_signals,complete_jobs,fail_job,tick,tick_batch,wait_for_work,claim_deliveries,complete_deliveries,release_deliveries,next_delivery_at,run_notifications,_housekeeping,_is_quiet,_preloaded}'::text[]) f;
INSERT INTO may SELECT 'sync_viewer', f FROM unnest('{explain,health,metrics_text,explain_schedule,schedule_history,preview_schedule,cron_describe,parse_utc,_effective_interval,_table_metrics,_metrics_catalog,_metrics_snapshot,_metrics_available,_count_in,_sees_tenant,_local_time,_next_run_at,_credential,_requests_left,_next_request_at}'::text[]) f;
SELECT set_eq(format($$SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND has_function_privilege(%L, p.oid, 'EXECUTE')$$, r),
    format('SELECT function FROM may WHERE role = %L', r), r || ' may call exactly this') FROM unnest('{sync_executor,sync_viewer}'::name[]) r;
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.proname NOT LIKE '\_%' AND p.proname NOT IN ('forget_tenant', 'open_hook') AND NOT has_function_privilege('sync_admin', p.oid, 'EXECUTE')$$,
    'sync_admin may call every function that is not internal, but what changes the audit log or tells secrets');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.proname LIKE '\_%' AND has_function_privilege('sync_admin', p.oid, 'EXECUTE')
                  AND p.proname NOT IN (SELECT function FROM may) OR p.proname = '_housekeeping' AND has_function_privilege('sync_admin', p.oid, 'EXECUTE')$$,
    'sync_admin may call no internal function but those that the views take');
-- What each role may read and write
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('sync_executor', c.oid, 'SELECT, INSERT, UPDATE, DELETE')$$,
    'sync_executor reads and writes no table');
SELECT set_eq($$SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('sync_viewer', c.oid, 'SELECT')$$,
    ARRAY['sync.connection_status', 'sync.queue', 'sync.metrics', 'sync.schedule_status', 'sync.schedule_fires', 'sync.run_history', 'sync.running_now', 'sync.late', 'sync.failed_lately', 'sync.upcoming', 'sync.throttled', 'sync.incidents'], 'sync_viewer reads the views');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('sync_viewer', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')$$,
    'sync_viewer writes nothing');
SELECT set_eq($$SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('sync_admin', c.oid, 'INSERT')$$,
    ARRAY['sync.providers', 'sync.connections', 'sync.sync_jobs', 'sync.signals', 'sync.sync_schedules', 'sync.tenant_limits', 'sync.sync_notifications'], 'sync_admin writes the application''s tables alone');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('sync_admin', c.oid, 'TRUNCATE, REFERENCES, TRIGGER')$$,
    'and may neither truncate them nor hang triggers on them');

-- As each role, really
SELECT provider('github', '{"base_url": "https://api.example.com", "auth": {"bearer": {"$env": "GITHUB_TOKEN"}}}');
SELECT connection('c', '{"cursor": "hidden cursor"}', at('10:00'));
UPDATE sync.connections SET config = '{"password": "hidden password"}';
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;
CREATE FUNCTION as_role(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement;
    RESET ROLE;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT is(as_role('sync_viewer', s), 'done', 'sync_viewer may: ' || s)
FROM unnest(ARRAY['SELECT * FROM sync.connection_status', 'SELECT * FROM sync.queue', 'SELECT * FROM sync.metrics', 'SELECT sync.metrics_text()', 'SELECT * FROM sync.explain(1)',
                  'SELECT job_id, status, error FROM sync.sync_executions']) s;
SELECT is(as_role('sync_viewer', s), '42501', 'sync_viewer may not: ' || s)
FROM unnest(ARRAY['SELECT * FROM sync.connections', 'SELECT * FROM sync.providers', 'SELECT * FROM sync.sync_jobs', 'SELECT * FROM sync.signals', 'SELECT * FROM sync.executors', 'SELECT * FROM sync.sync_executions',
                  'SELECT claim_token FROM sync.sync_executions', 'SELECT next_cursor FROM sync.sync_executions', 'SELECT * FROM sync.tick()', $$SELECT * FROM sync.claim_jobs('x')$$, 'SELECT sync.pause(1)', 'SELECT sync.trigger(1)',
                  'SELECT sync.adopt_database()', $$SELECT sync._metric_add('sync_signals_total', 'x', '', 1)$$, 'SELECT sync._metrics_reset()', $$SELECT sync._log('log', 'x')$$,
                  'SET sync_engine.enabled = off', 'CREATE TABLE sync.x ()']) s;
SELECT is(as_role('sync_executor', s), 'done', 'sync_executor may: ' || s)
FROM unnest(ARRAY[$$SELECT sync.register_executor('x')$$, $$SELECT * FROM sync.tick('2026-03-01 10:15 UTC')$$, $$SELECT * FROM sync.tick_batch(1, '2026-03-01 10:15 UTC')$$,
                  $$DO 'DECLARE j record; BEGIN SELECT * INTO j FROM sync.claim_jobs(''x'', 1, ''2026-03-01 10:30 UTC''); IF NOT sync.complete_job(j.job_id, j.claim_token, ''[{}]'', ''1'', as_of => ''2026-03-01 10:31 UTC'')
                    THEN RAISE EXCEPTION ''not completed''; END IF; END'$$, $$SELECT * FROM sync.heartbeat('x', '{}')$$, 'SELECT sync.next_claim_at()', $$SELECT sync.release_jobs('x', '{}', '{}')$$,
                  $$SELECT * FROM sync.complete_jobs('[]')$$, $$SELECT sync.fail_job(1, gen_random_uuid(), '{}')$$, $$SELECT sync.add_signals(1, gen_random_uuid(), '[]')$$,
                  'SELECT sync._housekeeping()']) s;
SELECT is((SELECT count(*) FROM sync.signals), 1::bigint, 'sync_executor landed a signal');
SELECT is(as_role('sync_executor', s), '42501', 'sync_executor may not: ' || s)
FROM unnest(ARRAY['SELECT * FROM sync.connections', 'SELECT config FROM sync.providers', 'SELECT * FROM sync.sync_jobs', 'SELECT * FROM sync.signals', 'UPDATE sync.sync_jobs SET priority = 1', 'DELETE FROM sync.signals',
                  $$SELECT sync.pause_provider('github')$$, 'SELECT sync.trigger(1)', $$SELECT sync.set_cursor(1, '1')$$, 'SELECT sync.adopt_database()', 'SELECT * FROM sync.connection_status', 'SELECT sync._metrics_reset()', $$SELECT sync._housekeeping('2126-03-01')$$]) s;
SELECT is(as_role('sync_admin', s), 'done', 'sync_admin may: ' || s)
FROM unnest(ARRAY[$$INSERT INTO sync.providers (slug) VALUES ('mine')$$, $$INSERT INTO sync.connections (tenant_id, provider_slug, external_id, created_at) VALUES ('A', 'mine', 'mine', '2026-02-01 UTC')$$,
                  $$INSERT INTO sync.sync_jobs (connection_id, job_type) SELECT id, 'full' FROM sync.connections WHERE external_id = 'mine'$$, $$UPDATE sync.sync_jobs SET priority = 5 WHERE job_type = 'full'$$,
                  $$UPDATE sync.connections SET metadata = '{"sync": {"interval_seconds": 60}}' WHERE external_id = 'mine'$$, $$SELECT sync.trigger(id) FROM sync.connections WHERE external_id = 'mine'$$,
                  $$SELECT sync.pause(id), sync.resume(id), sync.set_interval(id, 300), sync.set_cursor(id, '1') FROM sync.connections WHERE external_id = 'mine'$$,
                  $$SELECT sync.pause_provider('mine'), sync.resume_provider('mine')$$, $$SELECT * FROM sync.tick('2026-03-01 10:40 UTC')$$, $$SELECT * FROM sync.claim_jobs('admin', 5, '2100-01-01 UTC')$$,
                  'SELECT * FROM sync.connections, sync.providers, sync.sync_jobs, sync.signals, sync.sync_executions, sync.executors, sync.connection_state', 'SELECT sync.retry_failed()',
                  $$SELECT * FROM sync.explain(1)$$, 'SELECT sync.metrics_text()', 'SELECT sync.adopt_database()', 'SELECT sync.backoff_seconds(1)', 'SELECT * FROM sync.jitter_bounds(900)',
                  $$DELETE FROM sync.connections WHERE external_id = 'mine'$$, $$DELETE FROM sync.providers WHERE slug = 'mine'$$]) s;
SELECT is(as_role('sync_admin', s), '42501', 'sync_admin may not: ' || s)
FROM unnest(ARRAY['DELETE FROM sync.sync_executions', 'UPDATE sync.connection_state SET due_at = NULL', 'TRUNCATE sync.connections CASCADE', $$SELECT sync._cancel_queued('{1}', 'x', now())$$,
                  $$SELECT sync._make_partition('signals', '2026-01-01')$$, 'SET sync_engine.enabled = off', 'INSERT INTO sync.database_identity VALUES (1, 1)']) s;
-- Somebody else
CREATE ROLE tap_nobody NOLOGIN;
SELECT is(as_role('tap_nobody', s), '42501', 'anyone else may not: ' || s)
FROM unnest(ARRAY['SELECT * FROM sync.connection_status', 'SELECT sync.metrics_text()', $$SELECT sync.parse_utc('2026-01-01')$$, 'SELECT * FROM sync.tick()', 'CALL sync.wait_for_work(0)']) s;

-- A writer's own search_path and objects do not get into what the engine runs.
CREATE FUNCTION tap.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'hijacked'::text $$;
CREATE FUNCTION tap.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '1970-01-01'::timestamptz $$;
CREATE TEMP TABLE connections (id bigint);
CREATE TEMP TABLE sync_jobs (id bigint);
SET LOCAL search_path = pg_temp, tap, pg_catalog;
INSERT INTO sync.connections (tenant_id, provider_slug, external_id) VALUES ('T', 'github', 'hijack');
UPDATE sync.connections SET status = 'paused', metadata = '{"x": 1}' WHERE external_id = 'hijack';
UPDATE sync.connections SET status = 'active' WHERE external_id = 'hijack';
SELECT is(sync._metadata_with('{"a": 1}', '{"b": 2}'), '{"a": 1, "sync": {"b": 2}}'::jsonb, 'shadowed functions and tables do not get in');
SELECT matches((SELECT error FROM (SELECT detail AS error FROM sync.explain((SELECT id FROM sync.connections WHERE external_id = 'hijack'), '2026-03-01 UTC') WHERE aspect = 'provider') x), '^github is active', 'nor into explain');
SET LOCAL search_path = tap, public;

-- Secrets and cursors stay out of what sync_viewer reads.
CREATE FUNCTION viewed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    SET LOCAL ROLE sync_viewer;
    SELECT concat((SELECT jsonb_agg(s) FROM sync.connection_status s), (SELECT jsonb_agg(q) FROM sync.queue q), (SELECT jsonb_agg(m) FROM sync.metrics m), sync.metrics_text(),
                  (SELECT jsonb_agg(e) FROM sync.connection_status s, sync.explain(s.connection_id) e)) INTO seen;
    RESET ROLE;
    RETURN seen;
END $$;
SELECT ok(length(viewed()) > 200, 'sync_viewer sees something');
SELECT unalike(viewed(), '%hidden%', 'sync_viewer sees neither a connection''s configuration nor its cursor');
SELECT unalike(viewed(), '%GITHUB_TOKEN%', 'nor which secrets a provider uses');

SELECT * FROM finish();
ROLLBACK;
