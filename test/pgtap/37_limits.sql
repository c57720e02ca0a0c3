-- Limits of tenants: connections, schedules, runs asked for by hand.
\ir include/setup.psql
SELECT plan(45);
SELECT fix_jitter();
CREATE FUNCTION told(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', SQLSTATE, message, NULLIF(detail, ''));
END $$;

-- Without limits
SELECT connection('a' || i, NULL, at('09:00'), tenant => 'A') FROM generate_series(1, 3) i;
SELECT is(told($$SELECT sync.trigger(conn('a1'), as_of => at('10:00')) FROM generate_series(1, 100)$$), 'done', 'without a limit there is none');

-- Connections
SELECT sync.set_tenant_limits('A', max_connections => 4);
SELECT is(told($$SELECT connection('a4', tenant => 'A')$$), 'done', 'up to the limit');
SELECT is(told($$SELECT connection('a5', tenant => 'A')$$), '53400 | tenant A may have 4 connections', 'and no further');
SELECT is(told($$INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'B', 'github' FROM generate_series(1, 10)$$), 'done', 'another tenant has no such limit');
SELECT is(told($$INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('B', 'github'), ('A', 'github')$$), '53400 | tenant A may have 4 connections', 'several tenants in one statement: each is looked at');
SELECT is(told($$UPDATE sync.connections SET tenant_id = 'A' WHERE tenant_id = 'B'$$), '53400 | tenant A may have 4 connections', 'a connection that moves counts too');
DELETE FROM sync.connections WHERE external_id = 'a4';
SELECT is(told($$SELECT connection('a5', tenant => 'A')$$), 'done', 'one that is deleted makes room');
SELECT sync.set_tenant_limits('A', max_connections => 1);
SELECT is((SELECT count(*) FROM sync.connections WHERE tenant_id = 'A'), 4::bigint, 'a lower limit takes nothing away');
SELECT is(told($$UPDATE sync.connections SET name = 'x' WHERE tenant_id = 'A'$$), 'done', 'nor does it stand in the way of changes');
SELECT is(told($$SELECT connection('a6', tenant => 'A')$$), '53400 | tenant A may have 1 connections', 'there is no more');
SELECT sync.set_tenant_limits('A', max_connections => 0);
SELECT is(told($$SELECT connection('a6', tenant => 'A')$$), '53400 | tenant A may have 0 connections', 'none at all');
SELECT sync.set_tenant_limits('A');
SELECT is(told($$SELECT connection('a6', tenant => 'A')$$), 'done', 'null: no limit');

-- Of every tenant
SELECT sync.set_tenant_limits('*', max_connections => 2, max_schedules => 1);
SELECT is(told($$INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'C', 'github' FROM generate_series(1, 3)$$), '53400 | tenant C may have 2 connections', 'the limits of * are everybody''s');
SELECT is(told($$SELECT connection('c1', tenant => 'C'), connection('c2', tenant => 'C')$$), 'done', 'up to them');
SELECT is(told($$SELECT connection('a7', tenant => 'A')$$), 'done', 'but not of a tenant with a row of its own');

-- Schedules
SELECT is(told($$SELECT sync.create_schedule(conn('c1'), 'one', 'daily')$$), 'done', 'a schedule');
SELECT is(told($$SELECT sync.create_schedule(conn('c2'), 'two', 'daily')$$), '53400 | tenant C may have 1 schedules', 'not a second one');
SELECT is(told($$INSERT INTO sync.sync_schedules (connection_id, name, schedule_type) VALUES (conn('c2'), 'two', 'daily')$$), '53400 | tenant C may have 1 schedules', 'nor by plain SQL');
SELECT is((SELECT has_schedules FROM sync.connections WHERE external_id = 'c2'), false, 'what was refused left nothing behind');
SELECT sync.delete_schedule(id) FROM sync.sync_schedules WHERE tenant_id = 'C';
SELECT is(told($$SELECT sync.create_schedule(conn('c2'), 'two', 'daily', as_of => at('09:00'))$$), 'done', 'when it is deleted there is room');

SELECT sync.set_tenant_limits('E', max_schedules => 0);
SELECT is(told($$UPDATE sync.connections SET tenant_id = 'E' WHERE external_id = 'c2'$$), '53400 | tenant E may have 0 schedules', 'a connection that moves brings its schedules along');
SELECT is(told($$UPDATE sync.connections SET tenant_id = 'E' WHERE external_id = 'c1'$$), 'done', 'one without may go');
UPDATE sync.connections SET tenant_id = 'C' WHERE external_id = 'c1';

-- Runs by hand: a minute's worth at once, then as they come
SELECT sync.set_tenant_limits('C', manual_triggers_per_minute => 3);
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('10:00'))$$), 'done', 'run ' || i) FROM generate_series(1, 3) i;
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('10:00'))$$), '53400 | tenant C may ask for 3 runs a minute by hand | Try again in 20 seconds.', 'Rate Limiting of manual sync triggers: how long to wait is told');
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('10:00:12'))$$), '53400 | tenant C may ask for 3 runs a minute by hand | Try again in 8 seconds.', 'and counts down');
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('10:00:20'))$$), 'done', 'then one more');
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('10:00:20'))$$), '53400 | tenant C may ask for 3 runs a minute by hand | Try again in 20 seconds.', 'just one');
SELECT is(told($$SELECT sync.trigger_schedule((SELECT id FROM sync.sync_schedules WHERE tenant_id = 'C'), at('10:00:20'))$$), '53400 | tenant C may ask for 3 runs a minute by hand | Try again in 20 seconds.', 'a schedule that is triggered counts too');
SELECT is(told($$SELECT sync.trigger(conn('a1'), as_of => at('10:00:20'))$$), 'done', 'another tenant is not held up');
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('09:00'))$$), '53400 | tenant C may ask for 3 runs a minute by hand | Try again in 20 seconds.', 'a clock that went back fills nothing');
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('11:00')) FROM generate_series(1, 3)$$), 'done', 'an hour fills the bucket');
SELECT alike(told($$SELECT sync.trigger(conn('c1'), as_of => at('11:00'))$$), '53400 %', 'and no more than that');
SELECT cmp_ok((SELECT enqueued FROM sync.tick(at('12:00'))), '>', 0, 'what is due is enqueued all the same');
SELECT is(told($$SELECT sync.retry_job((SELECT id FROM sync.sync_jobs WHERE connection_id = conn('c1') AND status = 'queued'), at('11:00'))$$), '53400 | tenant C may ask for 3 runs a minute by hand | Try again in 20 seconds.', 'a retry by hand counts too');
SELECT sync.set_tenant_limits('C', manual_triggers_per_minute => 0);
SELECT is(told($$SELECT sync.trigger(conn('c1'), as_of => at('11:00'))$$), '53400 | tenant C may ask for 0 runs a minute by hand | None at all.', 'none at all');
UPDATE sync.sync_schedules SET schedule_type = 'realtime', cron_expression = NULL WHERE tenant_id = 'C';
SELECT is(told($$SELECT sync.trigger_schedule((SELECT id FROM sync.sync_schedules WHERE tenant_id = 'C'), at('11:00'))$$), '53400 | tenant C may ask for 0 runs a minute by hand | None at all.', 'nor of a schedule that is for events: those come by hooks');

-- Who sets them, and that it is known
SELECT alike(told($$SELECT sync.set_tenant_limits('')$$), '23514 | %tenant_limits_tenant_id_check%', 'a tenant has a name');
SELECT alike(told($$SELECT sync.set_tenant_limits('A', max_schedules => -1)$$), '23514 | %tenant_limits_max_schedules_check%', 'a number is one');
SELECT is(has_function_privilege('sync_tenant', 'sync.set_tenant_limits(text, int, int, int, int, int)', 'EXECUTE'), false, 'a tenant does not set its own');
SELECT is(has_function_privilege('sync_admin', 'sync.set_tenant_limits(text, int, int, int, int, int)', 'EXECUTE'), true, 'whoever administers the engine does');
SELECT results_eq($$SELECT action, before, after FROM sync.audit_log WHERE object_kind = 'limits' AND object_id = 'A' ORDER BY id LIMIT 3$$,
    $$VALUES ('limits.create', NULL::jsonb, '{"weight": 1, "max_connections": 4}'::jsonb), ('limits.update', '{"max_connections": 4}', '{"max_connections": 1}'), ('limits.update', '{"max_connections": 1}', '{"max_connections": 0}')$$,
    'the audit log tells who changed what');
SELECT is((SELECT count(*) FROM sync.tenant_tokens), 1::bigint, 'only who is limited is counted');
SELECT is(sync._limits_of('nobody'), (SELECT l FROM sync.tenant_limits l WHERE tenant_id = '*'), 'whoever has no row of his own has that of *');

SELECT * FROM finish();
ROLLBACK;
