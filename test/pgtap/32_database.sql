-- The database as a whole: copies stay quiet, history comes and goes by dated tables, dumps hold what they must.
\ir include/setup.psql
SELECT plan(47);
SELECT fix_jitter();

-- Identity
SELECT is((SELECT count(*) FROM sync.database_identity d, sync._system_identity() me WHERE d.system_identifier = me.system_identifier AND d.database_oid = me.database_oid), 1::bigint,
    'CREATE EXTENSION stores system identifier and database OID');
SELECT is((SELECT database_oid FROM sync._system_identity()), (SELECT oid FROM pg_database WHERE datname = current_database()), 'the OID is this database''s');
SELECT is((SELECT system_identifier FROM sync._system_identity()), (SELECT system_identifier FROM pg_control_system()), 'the system identifier is this cluster''s');
SELECT is(sync._is_quiet(), false, 'at home it is not quiet');
SELECT connection('quiet', NULL, at('09:00'));
SELECT job('quiet');
CREATE FUNCTION quiet_after(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE statement;
    result := sync._is_quiet() || ', claimed ' || claim(at('10:00')) || ', next claim ' || COALESCE(sync.next_claim_at(at('10:00'))::text, 'none');
    PERFORM sync.adopt_database();
    RETURN result;
END $$;
SELECT is(quiet_after('UPDATE sync.database_identity SET system_identifier = system_identifier + 1'), 'true, claimed 0, next claim none', 'another cluster: quiet');
SELECT is(quiet_after('UPDATE sync.database_identity SET database_oid = 1'), 'true, claimed 0, next claim none', 'another database: quiet');
SELECT is(quiet_after('INSERT INTO sync.database_identity VALUES (1, 1)'), 'true, claimed 0, next claim none', 'restored beside the new one: quiet');
SELECT is(quiet_after('DELETE FROM sync.database_identity'), 'true, claimed 0, next claim none', 'no identity: quiet');
SELECT is((SELECT count(*) FROM sync.database_identity), 1::bigint, 'adopted: one identity');
SELECT is(claim(at('10:00')), 1::bigint, 'adopted: jobs are claimed');
UPDATE sync.database_identity SET database_oid = 1;
SELECT complete('quiet', at('10:01'));
SELECT is((job_of('quiet')).status, 'succeeded', 'quiet: what runs may end');
SELECT is((SELECT enqueued FROM sync.tick(at('10:16'))), 1, 'quiet: a tick called by hand works');
SELECT sync.adopt_database();
DELETE FROM sync.connections;

-- Partitions come with what needs them.
SELECT connection('history', NULL, at('09:00'));
SELECT job('history'), claim(at('10:00')), complete('history', at('10:00'), '[{"dedupe_key": "1"}]');
SELECT set_has('SELECT name, parent FROM sync.partitions', $$VALUES ('signals_202603', 'signals'), ('sync_executions_20260301', 'sync_executions')$$, 'a completion makes the tables of its day');
SELECT cmp_ok(housekeep(at('10:00')), '>', 0, 'housekeeping comes to an end');
SELECT set_has('SELECT name, parent FROM sync.partitions', $$VALUES ('sync_jobs_20260301', 'sync_jobs'), ('sync_executions_20260302', 'sync_executions')$$, 'housekeeping makes the tables of tomorrow');
SELECT is((SELECT tableoid::regclass::text FROM sync.sync_jobs), 'sync.sync_jobs_20260301', 'finished jobs have moved to the table of their day');
SELECT is(sync._housekeeping(at('10:00')), false, 'housekeeping again has nothing to do');
SELECT is((SELECT count(*) FROM sync.sync_jobs) || ' ' || (SELECT count(*) FROM ONLY sync.sync_jobs), '1 0', 'one name reads both');
SELECT job('history'), claim(at('10:01')), complete('history', at('10:01'));
SELECT is((SELECT count(*) FROM sync.sync_jobs_20260301), 2::bigint, 'what ends now goes there at once');
SELECT housekeep('2026-03-02 10:00 UTC');
SELECT job('history'), claim('2026-03-02 10:01 UTC'), complete('history', '2026-03-02 10:01 UTC');
SELECT is((SELECT count(*) FROM sync.sync_jobs_20260302), 1::bigint, 'the next day has its own table');
-- A clock that went back does not reopen an old table.
SELECT housekeep(at('10:00'));
SELECT job('history'), claim(at('10:02')), complete('history', at('10:02'));
SELECT is((SELECT count(*) FROM sync.sync_jobs_20260302), 2::bigint, 'a clock that went back: the newest table is used');
-- What an application ended itself is moved too.
SELECT job('history', 'own');
UPDATE sync.sync_jobs SET status = 'succeeded' WHERE id = (job_of('history', 'own')).id;
SELECT housekeep('2026-03-02 10:05 UTC');
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs), 0::bigint, 'what an application ended itself is moved');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE job_type = 'own'), 1::bigint, 'and still there');
-- A completion long after the last housekeeping makes what it needs.
SELECT job('history'), claim('2026-07-04 10:00 UTC'), complete('history', '2026-07-04 10:00 UTC', '[{"dedupe_key": "2"}]');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE finished_at = '2026-07-04 10:00 UTC'), 1::bigint, 'a completion long after the last housekeeping');
-- A month's and a year's end
SELECT job('history'), claim('2026-12-31 23:59:59.999999 UTC'), complete('history', '2026-12-31 23:59:59.999999 UTC', '[{}]');
SELECT job('history'), claim('2027-01-01 00:00 UTC'), complete('history', '2027-01-01 00:00 UTC', '[{}]');
SELECT set_has('SELECT tableoid::regclass::text AS part FROM sync.signals', $$VALUES ('sync.signals_202612'), ('sync.signals_202701')$$, 'the last microsecond of a year and the first of the next');
-- Whatever the session's time zone, days are those of UTC.
SET LOCAL TimeZone = 'Pacific/Kiritimati';
SELECT job('history'), claim('2027-02-28 23:30 UTC'), complete('history', '2027-02-28 23:30 UTC', '[{}]');
SELECT ok(EXISTS (SELECT 1 FROM sync.partitions WHERE name = 'signals_202702' AND range_to = '2027-03-01 00:00 UTC'), 'days and months are those of UTC');
SET LOCAL TimeZone = 'UTC';
-- Every part has its indexes, and none stands on a parent.
SELECT is((SELECT count(*) FROM sync.partitions p WHERE p.parent = 'signals' AND to_regclass('sync.' || p.name || '_dedupe') IS NULL), 0::bigint, 'every part of signals has its index of dedupe keys');
SELECT is((SELECT count(*) FROM sync.partitions p WHERE NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = ('sync.' || p.name)::regclass AND i.indisprimary)), 0::bigint, 'every part has a primary key');
SELECT is((SELECT count(*) FROM pg_index WHERE indrelid IN ('sync.signals'::regclass, 'sync.sync_executions'::regclass)), 0::bigint, 'the parents carry no index');
SELECT is((SELECT count(*) FROM sync.partitions p WHERE obj_description(('sync.' || p.name)::regclass) IS NULL), 0::bigint, 'every part has a comment');

-- Retention
SELECT housekeep('2027-03-01 00:00 UTC');
CREATE FUNCTION parts(wanted text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT string_agg(name, ',' ORDER BY name) FROM sync.partitions WHERE parent = wanted $$;
SELECT is((SELECT min(range_to) >= '2027-01-30 UTC' FROM sync.partitions WHERE parent = 'sync_executions'), true, 'executions older than their retention are gone');
SELECT is((SELECT count(*) FROM sync.sync_executions WHERE finished_at < '2027-01-29 UTC'), 0::bigint, 'with their rows');
SELECT is((SELECT min(range_to) >= '2027-01-30 UTC' FROM sync.partitions WHERE parent = 'sync_jobs'), true, 'finished jobs older than their retention are gone');
SELECT is(to_regclass('sync.sync_jobs_20260301'), NULL, 'their table is dropped');
SELECT is((SELECT count(*) FROM sync.signals WHERE received_at < '2026-08-01 UTC'), 2::bigint, 'signals are kept for ever by default');
SET LOCAL sync_engine.signal_retention_days = 30;
SELECT housekeep('2027-03-01 00:00 UTC');
SELECT is((SELECT count(*) FROM sync.signals WHERE received_at < '2026-12-01 UTC'), 0::bigint, 'signal_retention_days 30: older ones are gone');
SELECT ok(EXISTS (SELECT 1 FROM sync.signals WHERE received_at >= '2027-02-01 UTC'), 'signal_retention_days 30: younger ones are kept');
SET LOCAL sync_engine.execution_retention_days = 0;
SET LOCAL sync_engine.job_retention_days = 0;
CREATE TEMP TABLE kept AS SELECT parts('sync_executions') AS executions, parts('sync_jobs') AS jobs;
SELECT housekeep('2030-01-01 00:00 UTC');
SELECT ok((SELECT parts('sync_executions') LIKE executions || ',%' FROM kept), 'execution_retention_days 0: all are kept');
SELECT ok((SELECT parts('sync_jobs') LIKE jobs || ',%' FROM kept), 'job_retention_days 0: all are kept');
RESET sync_engine.execution_retention_days;
RESET sync_engine.job_retention_days;
SELECT housekeep('2030-06-01 00:00 UTC');
SELECT is((SELECT count(*) FROM sync.partitions p WHERE to_regclass('sync.' || p.name) IS NULL), 0::bigint, 'every part that is listed exists');
SELECT is((SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind = 'r' AND c.relname ~ '_\d{6,8}$'
              AND c.relname NOT IN (SELECT name FROM sync.partitions)), 0::bigint, 'every part that exists is listed');
SELECT job('history'), claim('2030-06-01 10:00 UTC'), complete('history', '2030-06-01 10:00 UTC', '[{}]');
SELECT is((job_of('history')).finished_at, '2030-06-01 10:00 UTC'::timestamptz, 'and the engine goes on');
-- Executors that are gone
INSERT INTO sync.executors (incarnation, name, registered_at, heartbeat_at, superseded_at) VALUES
    ('long superseded', 'a', '2030-01-01 UTC', NULL, '2030-05-01 UTC'), ('just superseded', 'b', '2030-01-01 UTC', '2030-06-01 08:59 UTC', '2030-06-01 09:00 UTC'),
    ('silent', 'c', '2030-01-01 UTC', '2030-05-01 UTC', NULL), ('alive', 'd', '2030-01-01 UTC', '2030-06-01 09:00 UTC', NULL);
SELECT housekeep('2030-06-01 10:00 UTC');
SELECT is((SELECT string_agg(incarnation, ',' ORDER BY incarnation) FROM sync.executors WHERE name IN ('a', 'b', 'c', 'd')), 'alive,just superseded', 'executors that are long gone are forgotten');
SELECT throws_ok($$SELECT sync._housekeeping('infinity')$$, '22023', NULL, 'housekeeping at an infinite time is refused');

-- Dump
SELECT set_eq($$SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'sync_engine'$$,
    ARRAY['sync.providers', 'sync.connections', 'sync.connections_id_seq', 'sync.sync_jobs', 'sync.sync_jobs_id_seq', 'sync.sync_executions', 'sync.sync_executions_id_seq', 'sync.signals',
          'sync.signals_id_seq', 'sync.signal_pages', 'sync.signal_pages_seq_seq', 'sync.signal_keys', 'sync.partitions', 'sync.executors', 'sync.database_identity', 'sync.deleted_connections',
          'sync.tenant_isolation', 'sync.tenant_limits', 'sync.tenant_tokens', 'sync.provider_state', 'sync.credential_holds', 'sync.sync_schedules', 'sync.sync_schedules_id_seq', 'sync.schedule_state', 'sync.schedule_fires', 'sync.schedule_fires_id_seq',
          'sync.sync_notifications', 'sync.sync_notifications_id_seq', 'sync.notification_state', 'sync.webhook_secrets', 'sync.hooks', 'sync.hooks_id_seq', 'sync.hook_secrets', 'sync.hook_deliveries', 'sync.pending_inputs', 'sync.pending_events',
          'sync.pending_events_id_seq', 'sync.incidents', 'sync.incidents_id_seq', 'sync.record_history',
          'sync.outbox', 'sync.outbox_id_seq', 'sync.held_events', 'sync.messages', 'sync.messages_id_seq', 'sync.message_queue', 'sync.delivery_attempts',
          'sync.delivery_attempts_id_seq', 'sync.inbox', 'sync.inbox_id_seq',
          'sync.audit_log', 'sync.audit_log_id_seq', 'sync.audit_key', 'sync.settings_seen', 'sync.api_tokens', 'sync.api_tokens_id_seq', 'sync.idempotency_keys'], 'tables and sequences are registered for dumps');
SELECT is((SELECT count(*) FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
           WHERE c.relname IN (SELECT name FROM sync.partitions)), 0::bigint, 'the dated tables are ordinary tables');
SELECT is((SELECT array_agg(DISTINCT deptype::text) FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = (SELECT ('sync.' || max(name))::regclass FROM sync.partitions WHERE parent = 'sync_jobs')
              AND refobjid = 'sync.sync_jobs'::regclass), '{a}', 'a table of finished jobs goes with its parent');

SELECT * FROM finish();
ROLLBACK;
