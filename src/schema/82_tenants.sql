-- Tenants as users of SQL: a role that sees one tenant at a time.

-- All that tenants get is granted here, when policies guard it. Not by the script: what an update's script grants on an object would take
-- the application's own grants on it out of dumps.
-- Dumps leave out the policies of an extension's tables: this row tells a restore to make them anew.
CREATE TABLE sync.tenant_isolation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    enabled_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sync.tenant_isolation IS 'Holds a row once sync.enable_tenant_isolation has been called';

CREATE FUNCTION sync.enable_tenant_isolation() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
    made int := 0;
BEGIN
    -- Partitions are granted to nobody but sync_admin: a parent's policies are those of its parts.
    FOR target IN
        SELECT c.oid, c.relname, c.relrowsecurity, a.attname IS NOT NULL AS has_tenant
        FROM pg_class c
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid)
          -- Is being written in a restore, when this is called; nobody is granted anything on it.
          AND c.relname <> 'tenant_isolation'
        ORDER BY c.relname
    LOOP
        IF NOT target.relrowsecurity THEN
            EXECUTE format('ALTER TABLE sync.%I ENABLE ROW LEVEL SECURITY', target.relname);
        END IF;
        IF NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = target.oid AND p.polname = 'sync_engine_staff') THEN
            EXECUTE format('CREATE POLICY sync_engine_staff ON sync.%I TO sync_admin, sync_executor, sync_viewer USING (true)', target.relname);
            made := made + 1;
        END IF;
        IF NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = target.oid AND p.polname = 'sync_engine_tenant') THEN
            EXECUTE format('CREATE POLICY sync_engine_tenant ON sync.%I TO sync_tenant USING (%s)', target.relname,
                CASE WHEN target.has_tenant THEN 'tenant_id = NULLIF(pg_catalog.current_setting(''sync_engine.tenant_id'', true), '''')'
                     WHEN target.relname = 'providers' THEN 'NULLIF(pg_catalog.current_setting(''sync_engine.tenant_id'', true), '''') IS NOT NULL'
                     ELSE 'false' END);
            made := made + 1;
        END IF;
    END LOOP;
    -- No ids: a tenant that chose them would learn from a unique violation which there are.
    GRANT SELECT (slug, display_name, status, connector) ON sync.providers TO sync_tenant;
    GRANT SELECT (id, tenant_id, provider_slug, external_id, name, status, status_reason, metadata, last_incremental_finished_at, created_at, updated_at,
                  has_schedules),
          INSERT (tenant_id, provider_slug, external_id, name, metadata, config), UPDATE (name, metadata, config, updated_at)
        ON sync.connections TO sync_tenant;
    GRANT DELETE ON sync.connections TO sync_tenant;
    GRANT SELECT, DELETE,
          INSERT (tenant_id, connection_id, name, description, schedule_type, cron_expression, timezone, is_active, config, notification_settings, job_type,
                  priority, starts_at, ends_at, jitter_seconds, dst_gap, dst_fold, catch_up, catchup_limit, catchup_max_age, overlap, pause_reason, resume_at),
          UPDATE (name, description, schedule_type, cron_expression, timezone, is_active, config, notification_settings, job_type, priority, starts_at,
                  ends_at, jitter_seconds, dst_gap, dst_fold, catch_up, catchup_limit, catchup_max_age, overlap, pause_reason, resume_at, updated_at)
        ON sync.sync_schedules TO sync_tenant;
    GRANT SELECT (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts, scheduled_at, retry_after, started_at, finished_at,
                  error, error_kind, run_id, page, signals_inserted, signals_duplicate, created_at, schedule_id, planned_at, trigger_type)
        ON sync.sync_jobs TO sync_tenant;
    GRANT SELECT (id, tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status, kind, scheduled_at,
                  started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate, retry_after, error, claimed_by, schedule_id,
                  planned_at, trigger_type) ON sync.sync_executions TO sync_tenant;
    GRANT SELECT ON sync.signals, sync.schedule_fires TO sync_tenant;
    GRANT SELECT, DELETE, INSERT (tenant_id, connection_id, schedule_id, notification_type, name, events, config, is_active),
          UPDATE (name, events, config, is_active, updated_at) ON sync.sync_notifications TO sync_tenant;
    GRANT SELECT ON sync.incidents, sync.inbox TO sync_tenant;
    GRANT SELECT (id, at, tenant_id, action, object_kind, object_id, actor, before, after, note, request_id) ON sync.audit_log TO sync_tenant;
    GRANT SELECT (id, tenant_id, connection_id, schedule_id, name, scheme, token_hint, job_type, priority, debounce_seconds, is_active, created_at,
                  updated_at, last_received_at) ON sync.hooks TO sync_tenant;
    -- Views and functions keep to the caller's tenant by themselves: sync._sees_tenant.
    GRANT USAGE ON SCHEMA sync TO sync_tenant;
    GRANT SELECT ON sync.connection_status, sync.queue, sync.schedule_status, sync.run_history, sync.deliveries TO sync_tenant;
    GRANT SELECT (execution_id, tenant_id, provider_slug, connection_id, schedule_id, run_id, job_id, job_type, trigger_type, attempt, page, status,
                  job_status, planned_at, scheduled_at, started_at, finished_at, duration_ms, records_processed, records_created, records_updated,
                  records_skipped, bytes, error_kind, error_message, error_details, retry_after, executor) ON sync.execution_history TO sync_tenant;
    GRANT EXECUTE ON FUNCTION
        sync.trigger(bigint, text, int, timestamptz), sync.cancel_job(bigint, text, timestamptz), sync.retry_job(bigint, timestamptz),
        sync.retry_failed(text, timestamptz, timestamptz), sync.retry_execution(bigint, bigint, timestamptz),
        sync.rewind(bigint, bigint, boolean, timestamptz),
        sync.pause(bigint, text), sync.resume(bigint), sync.set_interval(bigint, int),
        sync.create_schedule(bigint, text, text, time, text[], text, text, text, text, int, jsonb, jsonb, timestamptz, timestamptz, int, text, text, text,
                             int, interval, text, timestamptz),
        sync.update_schedule(bigint, text, text, time, text[], text, text, text, text, int, jsonb, jsonb, timestamptz, timestamptz, int, text, text, text,
                             int, interval, text, timestamptz),
        sync.pause_schedule(bigint, text, timestamptz, timestamptz), sync.resume_schedule(bigint, timestamptz),
        sync.delete_schedule(bigint, timestamptz), sync.trigger_schedule(bigint, timestamptz), sync.skip_next(bigint, timestamptz),
        sync.schedule_history(bigint, bigint, int, text[]), sync.explain_schedule(bigint, timestamptz, timestamptz), sync.explain(bigint, timestamptz),
        sync.preview_schedule(bigint, int, timestamptz), sync.preview_schedule(text, text, int, timestamptz, text, text),
        sync.cron_next(text, text, timestamptz, text, text), sync.cron_previous(text, text, timestamptz, text, text),
        sync.cron_matches(text, text, timestamptz), sync.cron_describe(text), sync._cron_count(text, text, timestamptz, timestamptz, text, text), sync.read_signals(text, int, text, bigint),
        sync.create_notification(text, text, text[], jsonb, bigint, bigint, text, boolean, timestamptz),
        sync.update_notification(bigint, text[], jsonb, text, boolean, boolean), sync.delete_notification(bigint),
        sync.test_notification(bigint, timestamptz), sync.webhook_secret(bigint), sync.rotate_webhook_secret(bigint, interval, timestamptz),
        sync.replay_delivery(bigint, timestamptz), sync.replay_delivery(tstzrange, bigint, boolean, timestamptz),
        sync.object_version(text, bigint), sync.expect_version(text, bigint, text[]),
        sync.read_inbox(text, text, boolean, bigint, int), sync.inbox_unread(text, text), sync.mark_read(text, text, bigint[], timestamptz),
        sync.create_hook(bigint, text, text, text, bigint, text, int, timestamptz), sync.update_hook(bigint, text, int, boolean),
        sync.delete_hook(bigint), sync.rotate_hook_secret(bigint, text, interval, timestamptz),
        sync.watch_changes(int), sync.read_changes(text, int), sync.change_slot(),
        sync.parse_utc(text), sync._effective_interval(jsonb), sync._count_in(jsonb, text), sync._sees_tenant(text),
        sync._local_time(timestamptz, text), sync._next_run_at(sync.sync_schedules, sync.schedule_state),
        sync._credential(text, text, jsonb, jsonb)
    TO sync_tenant;
    INSERT INTO sync.tenant_isolation DEFAULT VALUES ON CONFLICT DO NOTHING;
    RETURN made;
END
$$;
COMMENT ON FUNCTION sync.enable_tenant_isolation() IS
    'Makes row-level security policies on every table: a sync_tenant sees and writes the rows of the tenant that sync_engine.tenant_id names, none while it is empty. Returns how many policies were made; can be called again, and has to be after an update';
REVOKE ALL ON FUNCTION sync.enable_tenant_isolation() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync.enable_tenant_isolation() TO sync_admin;

CREATE FUNCTION sync._isolation_restored() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync.enable_tenant_isolation();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._isolation_restored() IS 'Internal: makes the policies that a dump did not bring';
CREATE TRIGGER isolation_restored AFTER INSERT ON sync.tenant_isolation
    FOR EACH ROW WHEN (NOT current_setting('row_security')::boolean) EXECUTE FUNCTION sync._isolation_restored();
