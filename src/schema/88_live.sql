-- What has changed, for whoever looks at a tenant's data and wants it to stay true: a ring in shared memory, which holds no data but says
-- what to read again. Nothing is written for it, nor anybody notified by whoever changes something.

CREATE FUNCTION sync.watch_changes(seconds int DEFAULT 60, OUT "position" text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_watch_changes';
COMMENT ON FUNCTION sync.watch_changes(int) IS
    'Has changes of the tenant in sync_engine.tenant_id noted for so many seconds, and returns the position from which sync.read_changes tells them. Read the data after that; call it again before the time is over';

CREATE FUNCTION sync.read_changes(after text, max_rows int DEFAULT 1000, OUT "position" text, OUT kind text, OUT connection_id bigint,
                                  OUT object_id bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'sync_engine_read_changes';
COMMENT ON FUNCTION sync.read_changes(text, int) IS
    'What has changed of the tenant in sync_engine.tenant_id since a position, each once, oldest first; go on from the position of the last row. The kind reset alone: it cannot be told, read all again and go on from there. Read the data after this';

CREATE FUNCTION sync.change_slot() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_change_slot';
COMMENT ON FUNCTION sync.change_slot() IS
    'How the payload of NOTIFY sync_engine_changes names the tenant in sync_engine.tenant_id: it lists those that have changed, or is * for all';

-- What is written by statements, whoever writes it; what the engine writes by place it notes itself. After the row, so that no lock comes
-- before its time, and always, as a replica or a restore is watched too.
CREATE TRIGGER job_noted AFTER INSERT OR UPDATE OR DELETE ON sync.sync_jobs
    FOR EACH ROW EXECUTE FUNCTION sync._row_changed('job', 'connection_id', 'id');
CREATE TRIGGER connection_noted AFTER INSERT OR DELETE ON sync.connections
    FOR EACH ROW EXECUTE FUNCTION sync._row_changed('connection', 'id', 'id');
-- Not what each run writes, which its job tells.
CREATE TRIGGER connection_change_noted AFTER UPDATE ON sync.connections
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.status_reason IS DISTINCT FROM NEW.status_reason OR OLD.config IS DISTINCT FROM NEW.config
          OR OLD.name IS DISTINCT FROM NEW.name OR OLD.has_schedules <> NEW.has_schedules OR OLD.tenant_id <> NEW.tenant_id
          OR OLD.provider_slug <> NEW.provider_slug OR OLD.external_id <> NEW.external_id
          OR OLD.requests_per_minute IS DISTINCT FROM NEW.requests_per_minute
          OR (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on'
              AND (OLD.metadata IS DISTINCT FROM NEW.metadata
                   OR OLD.last_incremental_finished_at IS DISTINCT FROM NEW.last_incremental_finished_at)))
    EXECUTE FUNCTION sync._row_changed('connection', 'id', 'id');
CREATE TRIGGER schedule_noted AFTER INSERT OR UPDATE OR DELETE ON sync.sync_schedules
    FOR EACH ROW EXECUTE FUNCTION sync._row_changed('schedule', 'connection_id', 'id');
CREATE TRIGGER notification_noted AFTER INSERT OR UPDATE OR DELETE ON sync.sync_notifications
    FOR EACH ROW EXECUTE FUNCTION sync._row_changed('notification', 'connection_id', 'id');
CREATE TRIGGER incident_noted AFTER INSERT OR DELETE ON sync.incidents
    FOR EACH ROW EXECUTE FUNCTION sync._row_changed('notification', 'connection_id', 'id');
CREATE TRIGGER incident_change_noted AFTER UPDATE ON sync.incidents
    FOR EACH ROW WHEN (OLD.resolved_at IS DISTINCT FROM NEW.resolved_at OR OLD.severity IS DISTINCT FROM NEW.severity)
    EXECUTE FUNCTION sync._row_changed('notification', 'connection_id', 'id');
-- A provider is everybody's.
CREATE TRIGGER providers_noted AFTER UPDATE OF status, status_reason, display_name, connector OR DELETE ON sync.providers
    FOR EACH STATEMENT EXECUTE FUNCTION sync._row_changed();
-- Update scripts repeat this.
ALTER TABLE sync.sync_jobs ENABLE ALWAYS TRIGGER job_noted;
-- Update scripts repeat this.
ALTER TABLE sync.connections ENABLE ALWAYS TRIGGER connection_noted, ENABLE ALWAYS TRIGGER connection_change_noted;
-- Update scripts repeat this.
ALTER TABLE sync.sync_schedules ENABLE ALWAYS TRIGGER schedule_noted;
-- Update scripts repeat this.
ALTER TABLE sync.sync_notifications ENABLE ALWAYS TRIGGER notification_noted;
-- Update scripts repeat this.
ALTER TABLE sync.incidents ENABLE ALWAYS TRIGGER incident_noted, ENABLE ALWAYS TRIGGER incident_change_noted;
-- Update scripts repeat this.
ALTER TABLE sync.providers ENABLE ALWAYS TRIGGER providers_noted;
