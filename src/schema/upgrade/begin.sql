-- Nothing of the engine is under way while its tables and functions are exchanged: whoever comes waits for the commit. Whoever
-- waits for us looks for a deadlock after deadlock_timeout, and would be the one to fail: so a long wait, after which autovacuum
-- gives way, is for one table while none is held; the others follow within a part of that time, or all are let go.
DO $$
DECLARE
    deadlock_ms int := (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'deadlock_timeout');
    deadline timestamptz := pg_catalog.clock_timestamp() + interval '60 seconds';
    release_at timestamptz;
    wanted oid;
    longest oid := 0;
BEGIN
    LOOP
        BEGIN
            release_at := NULL;
            -- Views last: they lock what they read.
            FOR wanted IN SELECT c.oid FROM pg_catalog.pg_class c
                          WHERE c.relnamespace = 'sync'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v')
                          ORDER BY c.oid <> longest, c.relkind = 'v', c.oid LOOP
                PERFORM pg_catalog.set_config('lock_timeout', (CASE WHEN release_at IS NULL THEN deadlock_ms * 3 / 2
                    ELSE GREATEST(1, extract(epoch FROM release_at - pg_catalog.clock_timestamp()) * 1000) END)::int::text, true);
                EXECUTE pg_catalog.format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', wanted::pg_catalog.regclass);
                release_at := COALESCE(release_at, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => deadlock_ms / 4000.0));
            END LOOP;
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected OR undefined_table THEN
            longest := wanted;
            IF pg_catalog.clock_timestamp() > deadline THEN
                RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = 'the tables of sync_engine could not be locked for a minute',
                    HINT = 'End the transactions that hold them (pg_locks, pg_stat_activity) and try again.';
            END IF;
        END;
    END LOOP;
END
$$;
