-- From 0.1.0: what scripts/update-script.py cannot derive. CONTRIBUTING.md says how to write it.

ALTER TABLE sync.sync_jobs DROP CONSTRAINT sync_jobs_connection_id_fkey;
DROP FUNCTION sync._complete(bigint[], jsonb[], jsonb[], boolean[], jsonb[], timestamptz);
DROP FUNCTION sync._tick_rows_safely(bigint[], timestamptz);
DROP FUNCTION sync._tick_rows(bigint[], timestamptz);
DROP FUNCTION sync._dedupe_key(text);
DROP INDEX sync.connection_state_due;
ALTER TABLE sync.connections ADD UNIQUE (tenant_id, id);
ALTER TABLE sync.connections ADD COLUMN has_schedules boolean NOT NULL DEFAULT false;
ALTER TABLE sync.sync_jobs ADD COLUMN schedule_id bigint, ADD COLUMN planned_at timestamptz,
    ADD COLUMN trigger_type text NOT NULL DEFAULT 'scheduled', ADD COLUMN own_lane boolean NOT NULL DEFAULT false;
DROP INDEX sync.sync_jobs_claim;
ALTER TABLE sync.providers ADD COLUMN max_running int CHECK (max_running >= 0), ADD COLUMN requests_per_minute int CHECK (requests_per_minute > 0),
    ADD COLUMN connection_requests_per_minute int CHECK (connection_requests_per_minute > 0);
ALTER TABLE sync.connections ADD COLUMN requests_per_minute int CHECK (requests_per_minute > 0);
ALTER TABLE sync.connection_state ADD COLUMN busy_until timestamptz, ADD COLUMN held_until timestamptz;
ALTER TABLE sync.sync_executions ADD COLUMN schedule_id bigint, ADD COLUMN planned_at timestamptz,
    ADD COLUMN trigger_type text NOT NULL DEFAULT 'scheduled', ADD COLUMN cursor_before jsonb;
ALTER TABLE sync.database_identity ADD COLUMN epoch int NOT NULL DEFAULT 1;
ALTER TABLE sync.partitions DROP CONSTRAINT partitions_parent_check,
    ADD CONSTRAINT partitions_parent_check CHECK (parent IN ('sync_executions', 'signals', 'signal_pages', 'signal_keys', 'sync_jobs', 'schedule_fires',
                                                                       'audit_log', 'messages', 'delivery_attempts', 'inbox', 'hook_deliveries'));

-- after the functions:
-- Older days are not asked for what failed lately, and an index would take its time.
DO $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT p.name FROM sync.partitions p
                WHERE p.parent = 'sync_executions' AND p.range_to > pg_catalog.now() - interval '2 days' LOOP
        EXECUTE pg_catalog.format('CREATE INDEX %I ON sync.%I (finished_at) WHERE status = ''failed''', part || '_failed', part);
    END LOOP;
END
$$;
-- What has landed is read first.
SELECT sync._page_earlier_signals();
-- covers: INSERT INTO sync.notification_clock
INSERT INTO sync.notification_clock DEFAULT VALUES;
-- covers: INSERT INTO sync.version_key
INSERT INTO sync.version_key DEFAULT VALUES;
