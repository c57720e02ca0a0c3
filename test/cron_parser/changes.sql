-- The changes of the clocks from 1970 to 2100 by the server's time zone database, of each zone in pg_timezone_names.

-- Not AT TIME ZONE, for which CET is an abbreviation: as the zone of the session it is the zone, as in sync.cron_next.
CREATE FUNCTION offset_at(epoch bigint) RETURNS int LANGUAGE sql STABLE AS $$ SELECT extract(timezone FROM to_timestamp(epoch))::int $$;

-- Found from three weeks to three weeks (Ramadan takes longer) and then by halves. A change that is undone sooner would be missed;
-- a case that it makes differ would fail, not pass.
CREATE FUNCTION changes_of(zone text) RETURNS TABLE (at bigint, offset_before int, offset_after int) LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT bigint := 21 * 86400;
    low bigint;
    high bigint;
    middle bigint;
    step_end bigint;
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    FOR step_end IN
        SELECT s FROM (SELECT s, offset_at(s) AS now, lag(offset_at(s)) OVER (ORDER BY s) AS earlier
                       FROM generate_series(0, extract(epoch FROM '2101-01-01 UTC'::timestamptz)::bigint, step) s) w
        WHERE now <> earlier ORDER BY s
    LOOP
        low := step_end - step;
        WHILE offset_at(low) <> offset_at(step_end) LOOP
            offset_before := offset_at(low);
            high := step_end;
            WHILE high - low > 1 LOOP
                middle := (low + high) / 2;
                IF offset_at(middle) = offset_before THEN low := middle; ELSE high := middle; END IF;
            END LOOP;
            at := high;
            offset_after := offset_at(high);
            RETURN NEXT;
            low := high;
        END LOOP;
    END LOOP;
    PERFORM set_config('TimeZone', 'UTC', true);
END $$;

CREATE TABLE changes (zone text, at bigint, offset_before int, offset_after int, PRIMARY KEY (zone, at));
-- The offset that each begins with, as a change of none. The names below posix/ are the same zones again.
DO $$
DECLARE
    each text;
BEGIN
    FOR each IN SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/' ORDER BY 1 LOOP
        PERFORM set_config('TimeZone', each, true);
        INSERT INTO changes VALUES (each, 0, offset_at(0), offset_at(0));
        INSERT INTO changes SELECT each, c.* FROM changes_of(each) c;
    END LOOP;
END $$;
ANALYZE changes;
