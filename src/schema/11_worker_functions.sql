-- How the engine's SQL and the executors talk to the launcher, the workers and each other through shared memory.
CREATE FUNCTION sync._wake_launcher() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_wake_launcher';
COMMENT ON FUNCTION sync._wake_launcher() IS
    'Internal: once this transaction has committed, the background worker of this database is started or looks again';

CREATE FUNCTION sync._wake_executors() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_wake_executors';
COMMENT ON FUNCTION sync._wake_executors() IS
    'Internal: once this transaction has committed, whoever waits in sync.wait_for_work in this database goes on';

-- Not SECURITY DEFINER and without SET: either would forbid it to end the transaction of its CALL.
CREATE PROCEDURE sync.wait_for_work(IN max_ms int, INOUT seen bigint DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'sync_engine_wait_for_work';
COMMENT ON PROCEDURE sync.wait_for_work(int, bigint) IS
    'Waits until there may be work or max_ms milliseconds have passed, holding no snapshot, transaction id or lock. Returns where the wake-ups have got to: the next call that is given it misses none that came in between (null: waits for the next one; max_ms 0 only asks)';
REVOKE ALL ON PROCEDURE sync.wait_for_work(int, bigint) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE sync.wait_for_work(int, bigint) TO sync_admin, sync_executor;

-- CREATE EXTENSION brings the worker, when it commits.
SELECT sync._wake_launcher();
DO $$
BEGIN
    IF NOT sync._preloaded() THEN
        RAISE WARNING USING
            MESSAGE = 'sync_engine is not in shared_preload_libraries, so no background worker will tick in this database',
            HINT = 'Add sync_engine to shared_preload_libraries and restart the server, or run sync-executor --tick.';
    END IF;
END
$$;

-- Where claims begin to read: hints that keep them from walking over what an old snapshot keeps alive. Without preloading each
-- lane is read from its front.
CREATE FUNCTION sync._begin_claim(as_of timestamptz) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_begin_claim';
COMMENT ON FUNCTION sync._begin_claim(timestamptz) IS
    'Internal: called by a claim in a statement before the one by which it looks for jobs, so that the snapshot of that is newer';

CREATE FUNCTION sync._lane_front(slug text, priority int, OUT lane int, OUT due timestamptz, OUT id bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_lane_front';
COMMENT ON FUNCTION sync._lane_front(text, int) IS
    'Internal: jobs of that provider and priority at or before this due time and id need not be read; lane is for _claim_saw';

CREATE FUNCTION sync._next_lane(slug text, below bigint) RETURNS int
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_next_lane';
COMMENT ON FUNCTION sync._next_lane(text, bigint) IS
    'Internal: the highest priority below that one at which claims have looked for jobs of the provider; null when there is none';

CREATE FUNCTION sync._claim_saw(lane int, due timestamptz, id bigint) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_claim_saw';
COMMENT ON FUNCTION sync._claim_saw(int, timestamptz, bigint) IS
    'Internal: told of each job that a claim sees in a lane, locked or not, or of null where it sees none; whether it was a job';

CREATE FUNCTION sync._job_queued() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_job_queued';
COMMENT ON FUNCTION sync._job_queued() IS 'Internal: once this transaction has committed, claims read from this job on';

-- The same for ticks, whose one lane is what is due.
CREATE FUNCTION sync._begin_tick(until timestamptz, OUT due timestamptz, OUT id bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_begin_tick';
COMMENT ON FUNCTION sync._begin_tick(timestamptz) IS
    'Internal: called in a statement before the one that looks for what is due until then: what is due at or before this time and connection need not be read';

CREATE FUNCTION sync._tick_saw(due timestamptz, id bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_tick_saw';
COMMENT ON FUNCTION sync._tick_saw(timestamptz, bigint) IS 'Internal: told of each connection that a tick sees to be due, locked or not; true';

CREATE FUNCTION sync._tick_locked(rows bigint, more boolean) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_tick_locked';
COMMENT ON FUNCTION sync._tick_locked(bigint, boolean) IS
    'Internal: told how many of those the tick has locked and will write, and whether it stopped before it had seen all';

CREATE FUNCTION sync._due_written() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_due_written';
COMMENT ON FUNCTION sync._due_written() IS 'Internal: once this transaction has committed, ticks read from this connection on';

CREATE FUNCTION sync._begin_lost_look(as_of timestamptz) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_begin_lost_look';
COMMENT ON FUNCTION sync._begin_lost_look(timestamptz) IS
    'Internal: whether a tick shall look for lost jobs, which it does not do for more than a tenth of the time';

CREATE FUNCTION sync._end_lost_look(idle boolean) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_end_lost_look';
COMMENT ON FUNCTION sync._end_lost_look(boolean) IS 'Internal: told when a tick has looked for lost jobs, and whether it found none';

-- What has changed, for those who watch it: 88_live.sql. Where nobody does, both return at once.
CREATE FUNCTION sync._note_change(kind text, tenant_id text, connection_id bigint, object_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_note_change';
COMMENT ON FUNCTION sync._note_change(text, text, bigint, bigint) IS
    'Internal: once this transaction has committed, sync.read_changes tells the tenant of it. Kinds are connection, job, schedule and notification, and reset for more than can be told one by one';

CREATE FUNCTION sync._row_changed() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_row_changed';
COMMENT ON FUNCTION sync._row_changed() IS
    'Internal: _note_change for a row; its arguments are the kind and the columns that hold the connection and the object. For a statement: of all tenants';
