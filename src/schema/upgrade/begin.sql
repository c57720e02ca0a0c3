-- Nothing of the engine is under way while its tables and functions are exchanged: whoever comes waits for the commit.
-- The short waits are longer than deadlock_timeout, after which autovacuum gives way.
DO $$
DECLARE
    tables text;
    deadline timestamptz := clock_timestamp() + interval '60 seconds';
BEGIN
    SELECT pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ' ORDER BY c.relname <> 'database_identity', c.oid) INTO tables
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'sync_engine') AND d.deptype = 'e';
    LOOP
        BEGIN
            PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
            EXECUTE 'LOCK TABLE ' || tables || ' IN ACCESS EXCLUSIVE MODE';
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF pg_catalog.clock_timestamp() > deadline THEN
                RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = 'the tables of sync_engine could not be locked for a minute',
                    HINT = 'End the transactions that hold them (pg_locks, pg_stat_activity) and try again.';
            END IF;
        END;
    END LOOP;
END
$$;
