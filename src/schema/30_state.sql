-- Triggers that keep connection_state true when applications write to the tables themselves. The engine's own
-- functions run with sync_engine.internal = on and maintain it in their statements.

CREATE FUNCTION sync._looked_at(metadata jsonb) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    -- Missing or unreadable means now.
    SELECT COALESCE(sync.parse_utc(metadata OPERATOR(pg_catalog.#>>) '{sync,next_run_at}'), '-infinity'::pg_catalog.timestamptz)
$$;
COMMENT ON FUNCTION sync._looked_at(jsonb) IS 'Internal: when the tick has to look at a connection with that metadata';

CREATE FUNCTION sync._trigger_type(trigger_type text, attempts int, page int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN attempts OPERATOR(pg_catalog.>) 0 THEN 'retry' WHEN page OPERATOR(pg_catalog.>) 1 THEN 'follow_up' ELSE trigger_type END
$$;
COMMENT ON FUNCTION sync._trigger_type(text, int, int) IS 'Internal: what brought an attempt about, given the failures before it and its page';

CREATE FUNCTION sync._job_cursor(job_type text, own jsonb, metadata jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN job_type OPERATOR(pg_catalog.=) 'incremental'
                THEN COALESCE(NULLIF(own, 'null'), NULLIF(metadata OPERATOR(pg_catalog.#>) '{sync,cursor}', 'null'))
                ELSE NULLIF(own, 'null') END
$$;
COMMENT ON FUNCTION sync._job_cursor(text, jsonb, jsonb) IS 'Internal: where a job with that cursor of a connection with that metadata goes on';

CREATE FUNCTION sync._connections_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM inserted i JOIN sync.deleted_connections d ON d.connection_id = i.id) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('connection %s was deleted and its signals and history are still being removed',
                             (SELECT min(i.id) FROM inserted i JOIN sync.deleted_connections d ON d.connection_id = i.id)),
            HINT = 'Leave the id out, or wait for housekeeping.';
    END IF;
    INSERT INTO sync.connection_state (connection_id, due_at)
    SELECT i.id, CASE WHEN i.status = 'active' AND NOT i.has_schedules THEN sync._looked_at(i.metadata) END
    FROM inserted i
    ON CONFLICT (connection_id) DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connections_inserted() IS 'Internal: gives each new connection its state';
CREATE TRIGGER connections_inserted AFTER INSERT ON sync.connections
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION sync._connections_inserted();

-- Whoever sets a due time, and however: what is due behind the tick's hint has to be found.
CREATE TRIGGER due_written AFTER INSERT OR UPDATE ON sync.connection_state
    FOR EACH ROW WHEN (NEW.due_at IS NOT NULL) EXECUTE FUNCTION sync._due_written();
-- Update scripts repeat this.
ALTER TABLE sync.connection_state ENABLE ALWAYS TRIGGER due_written;

CREATE FUNCTION sync._restate(connection bigint, look_again boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    -- Locked in a statement before: the next one's snapshot then shows what a claim that held the row has committed.
    SELECT 1 FROM sync.connection_state s WHERE s.connection_id = connection FOR NO KEY UPDATE;
    UPDATE sync.connection_state s
    SET running_job_id = (SELECT j.id FROM ONLY sync.sync_jobs j WHERE j.connection_id = s.connection_id AND j.status = 'running'),
        due_at = CASE
                     WHEN c.status <> 'active' OR c.has_schedules THEN NULL
                     WHEN EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j
                                  WHERE j.connection_id = s.connection_id AND j.job_type = 'incremental'
                                    AND j.status IN ('queued', 'running')) THEN NULL
                     WHEN look_again THEN '-infinity'
                     ELSE sync._looked_at(c.metadata)
                 END,
        parked_for = NULL
    FROM sync.connections c
    WHERE s.connection_id = connection AND c.id = s.connection_id
$$;
COMMENT ON FUNCTION sync._restate(bigint, boolean) IS 'Internal: reckons the state of a connection anew from its rows';

CREATE FUNCTION sync._connection_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    IF OLD.status = 'active' AND NEW.status <> 'active' THEN
        PERFORM sync._cancel_queued(ARRAY[NEW.id], 'connection is ' || NEW.status || COALESCE(': ' || NEW.status_reason, ''), now());
    END IF;
    IF OLD.tenant_id <> NEW.tenant_id
       AND (EXISTS (SELECT 1 FROM sync.signals s WHERE s.tenant_id = OLD.tenant_id AND s.connection_id = OLD.id)
            OR EXISTS (SELECT 1 FROM sync.sync_executions e WHERE e.tenant_id = OLD.tenant_id AND e.connection_id = OLD.id)
            OR EXISTS (SELECT 1 FROM sync.schedule_fires f WHERE f.tenant_id = OLD.tenant_id AND f.connection_id = OLD.id)) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('connection %s has signals or history of tenant %s', OLD.id, OLD.tenant_id),
            HINT = 'What landed belongs to its tenant; make a new connection for the other one.';
    END IF;
    -- A connection that moves, or whose provider is renamed, takes its live jobs along.
    IF OLD.tenant_id <> NEW.tenant_id OR OLD.provider_slug <> NEW.provider_slug THEN
        UPDATE ONLY sync.sync_jobs j SET tenant_id = NEW.tenant_id, provider_slug = NEW.provider_slug
        WHERE j.connection_id = NEW.id AND j.status IN ('queued', 'running');
    END IF;
    PERFORM sync._restate(NEW.id,
        OLD.status IS DISTINCT FROM NEW.status
        OR OLD.last_incremental_finished_at IS DISTINCT FROM NEW.last_incremental_finished_at
        OR OLD.provider_slug IS DISTINCT FROM NEW.provider_slug
        OR (OLD.metadata #> '{sync,interval_seconds}') IS DISTINCT FROM (NEW.metadata #> '{sync,interval_seconds}'));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connection_updated() IS 'Internal: takes up what an application changed in a connection';
CREATE TRIGGER connection_updated AFTER UPDATE OF status, metadata, last_incremental_finished_at, provider_slug, tenant_id ON sync.connections
    FOR EACH ROW
    WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on'
          AND (OLD.status IS DISTINCT FROM NEW.status
               OR OLD.metadata IS DISTINCT FROM NEW.metadata
               OR OLD.provider_slug IS DISTINCT FROM NEW.provider_slug
               OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id
               OR OLD.last_incremental_finished_at IS DISTINCT FROM NEW.last_incremental_finished_at))
    EXECUTE FUNCTION sync._connection_updated();

-- Deleting: live jobs go at once; signals and history too where they are few, else later in batches.
CREATE FUNCTION sync._connections_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    DELETE FROM ONLY sync.sync_jobs j USING deleted d WHERE j.connection_id = d.id;
    DELETE FROM sync.outbox o USING deleted d WHERE o.connection_id = d.id;
    INSERT INTO sync.deleted_connections (connection_id, tenant_id)
    SELECT d.id, d.tenant_id FROM deleted d
    ON CONFLICT (connection_id) DO NOTHING;
    PERFORM sync._purge_deleted(10000, false);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connections_deleted() IS 'Internal: removes what deleted connections leave behind';
CREATE TRIGGER connections_deleted AFTER DELETE ON sync.connections
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION sync._connections_deleted();

CREATE FUNCTION sync._purge_deleted(max_rows int, thorough boolean, OUT removed bigint, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    gone record;
    ids bigint[] := '{}';
    n bigint;
BEGIN
    removed := 0;
    FOR gone IN SELECT d.connection_id, d.tenant_id FROM sync.deleted_connections d
                ORDER BY d.connection_id LIMIT max_rows FOR UPDATE SKIP LOCKED LOOP
        DELETE FROM sync.signals t
        USING (SELECT s.tenant_id, s.connection_id, s.id, s.received_at FROM sync.signals s
               WHERE s.tenant_id = gone.tenant_id AND s.connection_id = gone.connection_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.connection_id = x.connection_id AND t.id = x.id AND t.received_at = x.received_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        DELETE FROM sync.signal_keys t
        USING (SELECT k.tenant_id, k.connection_id, k.dedupe_key, k.received_at FROM sync.signal_keys k
               WHERE k.tenant_id = gone.tenant_id AND k.connection_id = gone.connection_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.connection_id = x.connection_id AND t.dedupe_key = x.dedupe_key AND t.received_at = x.received_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        DELETE FROM sync.signal_pages t
        USING (SELECT p.tenant_id, p.landed_by, p.seq, p.received_at FROM sync.signal_pages p
               WHERE p.connection_id = gone.connection_id AND p.tenant_id = gone.tenant_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.landed_by = x.landed_by AND t.seq = x.seq AND t.received_at = x.received_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        DELETE FROM sync.sync_executions t
        USING (SELECT s.tenant_id, s.connection_id, s.id, s.finished_at FROM sync.sync_executions s
               WHERE s.tenant_id = gone.tenant_id AND s.connection_id = gone.connection_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.connection_id = x.connection_id AND t.id = x.id AND t.finished_at = x.finished_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        DELETE FROM sync.schedule_fires t
        USING (SELECT f.tenant_id, f.connection_id, f.schedule_id, f.id, f.recorded_at FROM sync.schedule_fires f
               WHERE f.tenant_id = gone.tenant_id AND f.connection_id = gone.connection_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.connection_id = x.connection_id AND t.schedule_id = x.schedule_id AND t.id = x.id
          AND t.recorded_at = x.recorded_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        ids := ids || gone.connection_id;
    END LOOP;
    -- Finished jobs have no index by connection: one pass serves all that are gone, at once only where it is short.
    IF cardinality(ids) > 0 AND (thorough OR (SELECT COALESCE(sum(c.reltuples), 0) < 100000
                                              FROM sync.partitions p JOIN pg_class c ON c.oid = to_regclass(format('sync.%I', p.name))
                                              WHERE p.parent = 'sync_jobs')) THEN
        DELETE FROM sync.sync_jobs j WHERE j.connection_id = ANY (ids);
        DELETE FROM sync.deleted_connections d WHERE d.connection_id = ANY (ids);
    END IF;
    more := EXISTS (SELECT 1 FROM sync.deleted_connections);
END
$$;
COMMENT ON FUNCTION sync._purge_deleted(int, boolean) IS 'Internal: removes at most so many rows of deleted connections; thorough: their finished jobs too, however many tables that takes';

CREATE FUNCTION sync._job_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    owner record;
BEGIN
    -- The connection is locked first, as everywhere: a tick or claim in progress is waited for, the next skips the row.
    SELECT c.tenant_id, c.provider_slug INTO owner FROM sync.connections c WHERE c.id = NEW.connection_id FOR NO KEY UPDATE;
    IF FOUND THEN
        NEW.tenant_id := COALESCE(NEW.tenant_id, owner.tenant_id);
        NEW.provider_slug := COALESCE(NEW.provider_slug, owner.provider_slug);
        IF NEW.tenant_id <> owner.tenant_id OR NEW.provider_slug <> owner.provider_slug THEN
            RAISE EXCEPTION USING ERRCODE = 'check_violation',
                MESSAGE = format('job does not belong to connection %s', NEW.connection_id),
                DETAIL = format('The connection is tenant %L, provider %L; the job says tenant %L, provider %L.',
                                owner.tenant_id, owner.provider_slug, NEW.tenant_id, NEW.provider_slug),
                HINT = 'Leave tenant_id and provider_slug null to take over those of the connection.';
        END IF;
    ELSIF NEW.connection_id IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = format('connection %s does not exist', NEW.connection_id),
            HINT = 'Insert the connection before its jobs.', SCHEMA = 'sync', TABLE = 'sync_jobs', COLUMN = 'connection_id';
    END IF;
    -- An id above the sequence's is new; one that was chosen by hand can be that of a finished job.
    IF TG_OP = 'INSERT' AND NEW.id <= (SELECT q.last_value FROM sync.sync_jobs_id_seq q)
       AND EXISTS (SELECT 1 FROM sync.sync_jobs j WHERE j.id = NEW.id AND j.tableoid <> 'sync.sync_jobs'::regclass) THEN
        RAISE EXCEPTION USING ERRCODE = 'unique_violation', MESSAGE = format('job %s exists already and has ended', NEW.id),
            HINT = format('To run it again: SELECT sync.retry_job(%s)', NEW.id);
    END IF;
    -- What a restore brings has its run already.
    IF TG_OP = 'INSERT' AND NEW.run_id IS NULL AND NEW.trigger_type = 'scheduled' AND NEW.schedule_id IS NULL THEN
        NEW.trigger_type := 'manual';
    END IF;
    NEW.run_id := COALESCE(NEW.run_id, NEW.id);
    IF NEW.status = 'running' THEN
        NEW.claim_token := COALESCE(NEW.claim_token, gen_random_uuid());
        NEW.claimed_at := COALESCE(NEW.claimed_at, now());
        NEW.started_at := COALESCE(NEW.started_at, NEW.claimed_at);
    ELSIF NEW.status <> 'queued' THEN
        NEW.finished_at := COALESCE(NEW.finished_at, now());
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION sync._job_written() IS 'Internal: fills and checks a job that an application wrote itself';
CREATE TRIGGER job_written BEFORE INSERT OR UPDATE OF status, tenant_id, provider_slug, connection_id ON sync.sync_jobs
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._job_written();

-- The engine's own rows too, whoever writes them and however: what is queued behind a hint has to be found. Comes after
-- job_written, which fills the row.
CREATE TRIGGER jobs_queued BEFORE INSERT OR UPDATE ON sync.sync_jobs
    FOR EACH ROW WHEN (NEW.status = 'queued') EXECUTE FUNCTION sync._job_queued();
-- Update scripts repeat this.
ALTER TABLE sync.sync_jobs ENABLE ALWAYS TRIGGER jobs_queued;

CREATE FUNCTION sync._follow_ended(ended sync.sync_jobs, was_asked_for boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    pending sync.pending_inputs;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM sync.connections c WHERE c.id = ended.connection_id AND c.status = 'active') THEN
        PERFORM sync._set_pending_aside(ended.connection_id, ended.job_type, ended.rerun_priority, NULL, now());
        RETURN;
    END IF;
    -- The same statement may have queued the next one.
    UPDATE ONLY sync.sync_jobs j SET rerun_priority = GREATEST(j.rerun_priority, ended.rerun_priority)
    WHERE j.connection_id = ended.connection_id AND j.job_type = ended.job_type AND j.status IN ('queued', 'running')
      AND EXISTS (SELECT 1 FROM sync.pending_inputs p WHERE p.connection_id = j.connection_id AND p.job_type = j.job_type);
    IF NOT FOUND THEN
        pending := sync._take_pending(ended.connection_id, ended.job_type);
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, input, run_id, schedule_id, trigger_type)
        SELECT n.id, ended.tenant_id, ended.provider_slug, ended.connection_id, ended.job_type, ended.rerun_priority,
               GREATEST(now(), pending.not_before), pending.input, n.id, pending.schedule_id, COALESCE(pending.trigger_type, 'manual')
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id WHERE was_asked_for OR pending.input IS NOT NULL) n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._follow_ended(sync.sync_jobs, boolean) IS
    'Internal: queues the run that follows a job which an application ended, where it was asked for or something waits for it';

CREATE FUNCTION sync._job_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    -- An application that ends an incremental job itself has ended a run: the next is reckoned from there.
    IF TG_OP = 'UPDATE' AND NEW.job_type = 'incremental' AND OLD.status IN ('queued', 'running')
       AND NEW.status IN ('succeeded', 'failed') THEN
        UPDATE sync.connections c
        SET last_incremental_finished_at = NEW.finished_at,
            metadata = CASE WHEN c.has_schedules THEN c.metadata ELSE sync._metadata_with(c.metadata, jsonb_build_object('next_run_at',
                sync._format_utc(NEW.finished_at + make_interval(secs => (sync._effective_interval(c.metadata #> '{sync,interval_seconds}')).base_seconds)))) END
        WHERE c.id = NEW.connection_id;
    END IF;
    -- What a trigger asked for while it ran comes after it, whoever ended it.
    IF TG_OP = 'UPDATE' AND OLD.status IN ('queued', 'running') AND NEW.status NOT IN ('queued', 'running') AND NEW.rerun_priority IS NOT NULL THEN
        PERFORM sync._follow_ended(NEW, OLD.status = 'running');
    ELSIF TG_OP = 'DELETE' AND OLD.status IN ('queued', 'running') AND OLD.rerun_priority IS NOT NULL THEN
        PERFORM sync._follow_ended(OLD, false);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM sync._restate(OLD.connection_id, false);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF TG_OP = 'INSERT' OR NEW.connection_id <> OLD.connection_id THEN
            PERFORM sync._restate(NEW.connection_id, false);
        END IF;
        PERFORM sync._wake_executors();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._job_changed() IS 'Internal: takes up what an application changed in the jobs';
CREATE TRIGGER job_changed AFTER INSERT OR UPDATE OR DELETE ON sync.sync_jobs
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._job_changed();

CREATE FUNCTION sync._provider_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync._wake_executors();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._provider_updated() IS 'Internal: wakes executors when a provider is resumed';
CREATE TRIGGER provider_updated AFTER UPDATE OF status ON sync.providers
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION sync._provider_updated();
