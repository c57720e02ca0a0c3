-- Who may do what. Nothing is PUBLIC's; each role gets the least that its work takes.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sync FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA sync FROM PUBLIC;

GRANT USAGE ON SCHEMA sync TO sync_admin, sync_executor, sync_viewer, sync_gateway;

GRANT SELECT, INSERT, UPDATE, DELETE ON sync.providers, sync.connections, sync.sync_jobs, sync.signals, sync.sync_schedules, sync.tenant_limits,
    sync.sync_notifications TO sync_admin;
GRANT SELECT ON sync.sync_executions, sync.signal_pages, sync.signal_keys, sync.executors, sync.connection_state, sync.partitions, sync.database_identity,
    sync.deleted_connections, sync.schedule_state, sync.schedule_fires, sync.schedule_status, sync.execution_history, sync.run_history,
    sync.audit_log, sync.settings_seen, sync.tenant_tokens, sync.provider_state, sync.credential_holds,
    sync.notification_state, sync.incidents, sync.record_history, sync.outbox, sync.held_events, sync.messages, sync.message_queue, sync.delivery_attempts,
    sync.inbox, sync.notification_clock, sync.deliveries, sync.hook_deliveries, sync.pending_inputs, sync.pending_events,
    sync.connection_status, sync.queue, sync.metrics,
    sync.running_now, sync.late, sync.failed_lately, sync.upcoming, sync.throttled, sync.api_token_use TO sync_admin;
GRANT SELECT (id, tenant_id, name, token_hint, scopes, requests_per_minute, created_at, expires_at, revoked_at, last_used_at, created_by)
    ON sync.api_tokens TO sync_admin;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA sync TO sync_admin;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sync TO sync_admin;
GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA sync TO sync_admin;
-- What only the engine itself has to call, but for what the views need; and what changes the audit log.
-- Update scripts repeat this.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p
             WHERE p.pronamespace = 'sync'::pg_catalog.regnamespace AND (p.proname LIKE '\_%' OR p.proname IN ('forget_tenant', 'open_hook'))
               AND p.proname <> ALL ('{_is_quiet,_preloaded,_effective_interval,_table_metrics,_metrics_catalog,_metrics_snapshot,_metrics_available,_count_in,_sees_tenant,_local_time,_next_run_at,_credential,_requests_left,_next_request_at}')
               AND pg_catalog.has_function_privilege('sync_admin', p.oid, 'EXECUTE') LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM sync_admin', f);
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION
    sync.register_executor(text, int, jsonb, timestamptz),
    sync.claim_jobs(text, int, timestamptz),
    sync.next_claim_at(timestamptz),
    sync.heartbeat(text, bigint[], timestamptz),
    sync.release_jobs(text, bigint[], uuid[], timestamptz),
    sync.complete_job(bigint, uuid, jsonb, jsonb, boolean, jsonb, timestamptz),
    sync.add_signals(bigint, uuid, jsonb, timestamptz),
    sync.complete_jobs(jsonb, timestamptz),
    sync.fail_job(bigint, uuid, jsonb, text, numeric, timestamptz),
    sync.claim_deliveries(text, int, text[], timestamptz),
    sync.complete_deliveries(jsonb, timestamptz),
    sync.release_deliveries(text, bigint[], uuid[], timestamptz),
    sync.next_delivery_at(text[], timestamptz),
    sync.run_notifications(timestamptz),
    sync.tick(timestamptz),
    sync.tick_batch(int, timestamptz),
    sync._housekeeping(),
    sync._is_quiet(),
    sync._preloaded()
TO sync_executor;

-- The rest of what a gateway may do is the tenants'.
GRANT EXECUTE ON FUNCTION
    sync.begin_request(text, text, text, text, int, timestamptz),
    sync.begin_idempotent(text, text, text, timestamptz),
    sync.end_idempotent(text, int, jsonb, text)
TO sync_gateway;

GRANT SELECT ON sync.connection_status, sync.queue, sync.metrics, sync.schedule_status, sync.schedule_fires, sync.run_history,
    sync.running_now, sync.late, sync.failed_lately, sync.upcoming, sync.throttled, sync.incidents TO sync_viewer;
-- Whom messages go to, and what receivers answered, is not for everybody.
GRANT SELECT (id, tenant_id, connection_id, schedule_id, notification_type, name, events, is_active, verified_at, disabled_at, disabled_reason, created_at,
              updated_at) ON sync.sync_notifications TO sync_viewer;
GRANT SELECT (delivery_id, message_id, tenant_id, notification_id, channel, event_type, event_ids, status, attempt, attempted_at, finished_at, duration_ms, outcome,
              reply_status, error_code, next_attempt_at, created_at) ON sync.deliveries TO sync_viewer;
GRANT SELECT (execution_id, tenant_id, provider_slug, connection_id, schedule_id, run_id, job_id, job_type, trigger_type, attempt, page, status,
              job_status, planned_at, scheduled_at, started_at, finished_at, duration_ms, records_processed, records_created, records_updated,
              records_skipped, bytes, error_kind, error_message, error_details, retry_after, executor) ON sync.execution_history TO sync_viewer;
GRANT SELECT (id, tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status, kind,
              scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate, retry_after,
              error, claimed_by, schedule_id, planned_at, trigger_type) ON sync.sync_executions TO sync_viewer;
GRANT EXECUTE ON FUNCTION sync.explain(bigint, timestamptz), sync.health(timestamptz), sync.metrics_text(),
    sync.explain_schedule(bigint, timestamptz, timestamptz),
    sync.schedule_history(bigint, bigint, int, text[]), sync.preview_schedule(bigint, int, timestamptz),
    sync.preview_schedule(text, text, int, timestamptz, text, text), sync.cron_describe(text) TO sync_viewer;
-- Nobody needs what tells a hook's address.
GRANT SELECT (id, tenant_id, connection_id, schedule_id, name, scheme, token_hint, job_type, priority, debounce_seconds, is_active, created_at, updated_at,
              last_received_at) ON sync.hooks TO sync_admin, sync_viewer;
-- Functions inside a view are called with the reader's rights.
GRANT EXECUTE ON FUNCTION sync.parse_utc(text), sync._effective_interval(jsonb), sync._table_metrics(), sync._metrics_catalog(),
    sync._metrics_snapshot(), sync._metrics_available(), sync._count_in(jsonb, text), sync._sees_tenant(text),
    sync._local_time(timestamptz, text), sync._next_run_at(sync.sync_schedules, sync.schedule_state),
    sync._credential(text, text, jsonb, jsonb), sync._requests_left(timestamptz, timestamptz, int),
    sync._next_request_at(timestamptz, timestamptz, int) TO sync_viewer;

-- A gateway has what tenants have, one at a time, and opens the door to it.
GRANT EXECUTE ON FUNCTION
    sync.open_hook(text, text, text, timestamptz),
    sync.receive_hook(text, text, text, jsonb, jsonb, text, timestamptz)
TO sync_gateway;
-- Update scripts repeat this.
DO $$
BEGIN
    IF NOT pg_catalog.pg_has_role('sync_gateway', 'sync_tenant', 'MEMBER') THEN
        GRANT sync_tenant TO sync_gateway;
    END IF;
END
$$;

-- What a dump must hold: all that is not derived. The dated tables are ordinary tables and are dumped anyway;
-- database_identity is in, so that a restored database carries its former identity and stays quiet.
-- Update scripts repeat this.
DO $$
DECLARE
    name text;
BEGIN
    -- A call each: it rewrites one catalog row, which one statement may do but once.
    FOREACH name IN ARRAY ARRAY['providers', 'connections', 'connections_id_seq', 'sync_jobs', 'sync_jobs_id_seq', 'sync_executions',
        'sync_executions_id_seq', 'signals', 'signals_id_seq', 'signal_pages', 'signal_pages_seq_seq', 'signal_keys', 'partitions', 'executors', 'database_identity', 'deleted_connections',
        'tenant_isolation', 'tenant_limits', 'tenant_tokens', 'provider_state', 'credential_holds', 'sync_schedules', 'sync_schedules_id_seq', 'schedule_state', 'schedule_fires', 'schedule_fires_id_seq',
        'sync_notifications', 'sync_notifications_id_seq', 'notification_state', 'webhook_secrets', 'incidents', 'incidents_id_seq', 'record_history', 'outbox',
        'outbox_id_seq', 'held_events', 'messages', 'messages_id_seq', 'message_queue', 'delivery_attempts', 'delivery_attempts_id_seq', 'inbox', 'inbox_id_seq',
        'hooks', 'hooks_id_seq', 'hook_secrets', 'hook_deliveries', 'pending_inputs', 'pending_events', 'pending_events_id_seq',
        'audit_log', 'audit_log_id_seq', 'audit_key', 'settings_seen', 'api_tokens', 'api_tokens_id_seq', 'idempotency_keys'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('sync.' || name)::pg_catalog.regclass, '');
    END LOOP;
END
$$;

INSERT INTO sync.engine_clock DEFAULT VALUES;
INSERT INTO sync.notification_clock DEFAULT VALUES;
INSERT INTO sync.version_key DEFAULT VALUES;
-- Every dump begins with row_security = off, which is how a restore is told: it stays quiet from this moment, so that the
-- worker neither makes the tables that the dump is about to make nor works on half of the rows.
DO $$
BEGIN
    IF current_setting('row_security')::boolean THEN
        PERFORM sync.adopt_database();
    END IF;
END
$$;
