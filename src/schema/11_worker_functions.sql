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
