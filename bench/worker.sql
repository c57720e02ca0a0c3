-- Ticks of the background worker one after another, as fast as it can be woken, after engine.sql. With `busy` a connection
-- more is due at each.
CREATE FUNCTION bench.ticks_done() RETURNS float8 LANGUAGE sql AS $$
    SELECT COALESCE(max(m.count), 0) FROM sync._metrics_snapshot() m WHERE m.name = 'sync_scheduler_tick_duration_ms'
$$;

CREATE PROCEDURE bench.tick_times(first int, last int, busy boolean) LANGUAGE plpgsql AS $$
DECLARE
    done float8;
    deadline timestamptz := clock_timestamp() + interval '10 minutes';
BEGIN
    FOR n IN first .. last LOOP
        done := bench.ticks_done();
        IF busy THEN
            UPDATE sync.connection_state SET due_at = now() WHERE connection_id = n;
        END IF;
        PERFORM sync._wake_launcher();
        COMMIT;
        WHILE bench.ticks_done() <= done LOOP
            IF clock_timestamp() > deadline THEN
                RAISE EXCEPTION 'the worker does not tick';
            END IF;
            PERFORM pg_sleep(0.0005);
        END LOOP;
        COMMIT;
    END LOOP;
END
$$;
