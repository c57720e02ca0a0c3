-- Cron expressions in SQL, in every time zone that the server knows. What they mean is tested without a server in
-- test/unit/core_cron*_test.cpp.
\ir include/setup.psql

-- make test-full: more random cases, and every change of the clocks instead of some.
\set full 0
\getenv full FULL
SELECT plan(37);

-- Known days.
SELECT is(sync.cron_next('0 2 * * *', 'Europe/Berlin', '2026-07-01 12:00Z'), '2026-07-02 00:00Z'::timestamptz, 'daily at two, by the wall clock');
SELECT is(sync.cron_next('0 2 * * *', 'Europe/Berlin', '2026-01-01 12:00Z'), '2026-01-02 01:00Z'::timestamptz, 'in winter too');
SELECT is(sync.cron_next('30 2 * * *', 'America/New_York', '2026-03-08 00:00Z'), '2026-03-08 07:00Z'::timestamptz, 'a skipped time runs right after the gap');
SELECT is(sync.cron_next('30 2 * * *', 'America/New_York', '2026-03-08 00:00Z', dst_gap => 'skip'), '2026-03-09 06:30Z'::timestamptz, 'or not at all');
SELECT is(sync.cron_next('30 1 * * *', 'America/New_York', '2026-11-01 00:00Z'), '2026-11-01 05:30Z'::timestamptz, 'a repeated time runs the first time');
SELECT is(sync.cron_next('30 1 * * *', 'America/New_York', '2026-11-01 00:00Z', dst_fold => 'second'), '2026-11-01 06:30Z'::timestamptz, 'or the second');
SELECT is(sync.cron_next('30 1 * * *', 'America/New_York', '2026-11-01 05:30Z', dst_fold => 'both'), '2026-11-01 06:30Z'::timestamptz, 'or both');
SELECT is(sync.cron_next('0 12 30 12 *', 'Pacific/Apia', '2011-12-01 00:00Z'), '2011-12-30 10:00Z'::timestamptz, 'Samoa had no such day');
SELECT is(sync.cron_next('0 * * * *', 'Australia/Lord_Howe', '2026-04-04 14:30Z'), '2026-04-04 15:30Z'::timestamptz, 'half an hour is repeated: the next full one is an hour later');
SELECT is(sync.cron_previous('0 2 * * *', 'Europe/Berlin', '2026-07-02 00:00Z'), '2026-07-01 00:00Z'::timestamptz, 'the one before');
SELECT is(sync.cron_next('0 0 29 2 *', 'UTC', '2096-03-01 00:00Z'), '2104-02-29 00:00Z'::timestamptz, 'eight years to the next leap day');
SELECT is(sync.cron_next('0 0 31 2 *', 'UTC', '2026-01-01 00:00Z'), NULL, 'what can never fire');
SELECT is(sync.cron_next('* * * * *', 'UTC', 'infinity'), NULL, 'nothing is after the end of time');
SELECT is(sync.cron_previous('* * * * *', 'UTC', '-infinity'), NULL, 'nor before its beginning');
SELECT is(sync.cron_next('30 2 * 3 SUNL', 'Europe/Berlin', '2026-01-01 00:00Z', 'skip'), NULL, 'what lies in a gap whenever it comes');
SELECT is(sync.cron_next('30 2 * * *', 'Europe/Berlin', '2437-10-25 12:00Z'), '2437-10-26 01:30Z'::timestamptz, 'changes of the clocks go on for ever');
SELECT is(sync.cron_matches('30 2 * * *', 'Europe/Berlin', '2026-07-01 00:30Z'), true, 'the wall clock shows it');
SELECT is(sync.cron_matches('30 2 * * *', 'Europe/Berlin', '2026-07-01 00:30:00.5Z'), false, 'not half a second later');
SELECT is(sync.cron_matches('* * * * *', 'UTC', 'infinity'), false, 'nor at the end of time');
SELECT is(sync.cron_describe('30 2 * * MON-FRI'), 'at 02:30 on Monday to Friday', 'in plain English');
SELECT is(sync._cron_fault('30 2 * * MON-FRI'), NULL, 'nothing is wrong with it');
SELECT is(sync._cron_fault('0 0 31 2 *'), 'there is no such day in any of the months it names', 'with that there is');

SELECT throws_ok($$SELECT sync.cron_next('60 * * * *', 'UTC')$$, '22023', 'invalid cron expression: the minute field cannot be "60": 60 is out of its range', 'a fault is told');
SELECT throws_ok($$SELECT sync.cron_describe('x')$$, '22023', NULL, 'wherever the expression is read');
SELECT throws_ok($$SELECT sync.cron_next('* * * * *', 'Mars/Olympus')$$, '22023', 'time zone "Mars/Olympus" is not known', 'a zone that is not there');
SELECT throws_ok(format($$SELECT sync.cron_next('* * * * *', %L)$$, repeat('x', 5000)), '22023', NULL, 'or is no name at all');
SELECT throws_ok($$SELECT sync.cron_next('* * * * *', 'UTC', now(), 'maybe')$$, '22023', 'dst_gap cannot be "maybe"', 'an unknown policy for gaps');
SELECT throws_ok($$SELECT sync.cron_next('* * * * *', 'UTC', now(), 'skip', 'maybe')$$, '22023', 'dst_fold cannot be "maybe"', 'an unknown policy for folds');

-- Every zone, instants from 1970 to 2100, by the server's own arithmetic.
SELECT setseed(0.4);
CREATE TEMP TABLE instants AS
SELECT z.name AS zone, date_trunc('second', '1970-01-01 UTC'::timestamptz + random() * interval '130 years') AS instant
-- What is an abbreviation, too, as CET is, has no summer time for AT TIME ZONE.
FROM (SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)' AND name <> 'localtime' AND name NOT IN (SELECT abbrev FROM pg_timezone_abbrevs)
      ORDER BY 1) z, generate_series(1, CASE WHEN :full = 1 THEN 80 ELSE 8 END);
SELECT cmp_ok((SELECT count(DISTINCT zone) FROM instants), '>', 300::bigint, 'there are zones');

CREATE FUNCTION nominal(instant timestamptz, zone text) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT to_char(instant AT TIME ZONE zone, 'FMSS FMMI FMHH24 FMDD FMMM *') $$;
SELECT is_empty($$SELECT * FROM instants WHERE NOT sync.cron_matches(nominal(instant, zone), zone, instant)$$,
    'an expression made of the wall clock matches');
SELECT is_empty($$SELECT *, sync.cron_next(nominal(instant, zone), zone, instant - interval '1 second', 'skip', 'both')
                  FROM instants WHERE sync.cron_next(nominal(instant, zone), zone, instant - interval '1 second', 'skip', 'both') <> instant$$,
    'and fires then');
SELECT is_empty($$SELECT * FROM instants WHERE sync.cron_previous(nominal(instant, zone), zone, instant + interval '1 second', 'skip', 'both') <> instant$$,
    'from behind as well');

CREATE TEMP TABLE cases AS
SELECT i.*, e.expression
FROM (SELECT * FROM instants
      UNION ALL SELECT name, date_trunc('second', '1970-01-01 UTC'::timestamptz + random() * interval '130 years')
      FROM pg_timezone_names WHERE name NOT IN (SELECT zone FROM instants)) i
CROSS JOIN LATERAL (SELECT format('%s %s %s %s %s',
        CASE WHEN random() < 0.4 THEN '*/' || 1 + floor(random() * 30) ELSE floor(random() * 60)::text END,
        CASE WHEN random() < 0.3 THEN '*' WHEN random() < 0.5 THEN '0-3' ELSE floor(random() * 24)::text END,
        CASE WHEN random() < 0.7 THEN '*' ELSE '*/2' END,
        '*',
        CASE WHEN random() < 0.7 THEN '*' ELSE floor(random() * 5)::text || '-6' END) AS expression, i.instant) e;
-- With what is skipped left out and what is repeated run twice, an expression fires exactly when it matches.
SELECT is_empty($$SELECT c.*, n.next FROM cases c CROSS JOIN LATERAL (SELECT sync.cron_next(expression, zone, instant, 'skip', 'both') AS next) n
                  WHERE n.next <= instant OR NOT sync.cron_matches(expression, zone, n.next)
                     OR EXISTS (SELECT 1 FROM generate_series(date_trunc('minute', instant) + interval '1 minute',
                                                              LEAST(n.next, instant + interval '1 day') - interval '1 second', '1 minute') t
                                WHERE sync.cron_matches(expression, zone, t) AND t > instant AND t < n.next)$$,
    'nothing that matches lies before the next');
SELECT is_empty($$SELECT c.*, p.gap, p.fold FROM cases c, (VALUES ('run_after', 'first'), ('run_after', 'second'), ('run_after', 'both'),
                                                                 ('skip', 'first'), ('skip', 'second')) p (gap, fold)
                  CROSS JOIN LATERAL (SELECT sync.cron_next(expression, zone, instant, gap, fold) AS next) n
                  WHERE sync.cron_previous(expression, zone, n.next + interval '1 second', gap, fold) <> n.next
                     OR sync.cron_previous(expression, zone, n.next, gap, fold) > instant$$,
    'previous is the inverse of next, whatever the policies');

-- Each change of the clocks from 1880 to 2100, found from three weeks to three weeks and then to the second, in zones as the
-- session's zone, for which CET is no abbreviation.
CREATE FUNCTION offset_at(epoch bigint) RETURNS int LANGUAGE sql STABLE AS $$ SELECT extract(timezone FROM to_timestamp(epoch))::int $$;
CREATE FUNCTION changes_of(zone text) RETURNS TABLE (at bigint, offset_before int, offset_after int) LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT bigint := 21 * 86400;
    low bigint;
    high bigint;
    step_end bigint;
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    FOR step_end IN
        SELECT s FROM (SELECT s, offset_at(s) AS now, lag(offset_at(s)) OVER (ORDER BY s) AS earlier
                       FROM generate_series(extract(epoch FROM '1880-01-01 UTC'::timestamptz)::bigint,
                                            extract(epoch FROM '2100-12-31 UTC'::timestamptz)::bigint, step) s) w
        WHERE now <> earlier ORDER BY s
    LOOP
        low := step_end - step;
        WHILE offset_at(low) <> offset_at(step_end) LOOP
            offset_before := offset_at(low);
            at := low;
            high := step_end;
            WHILE high - at > 1 LOOP
                IF offset_at((at + high) / 2) = offset_before THEN at := (at + high) / 2; ELSE high := (at + high) / 2; END IF;
            END LOOP;
            at := high;
            offset_after := offset_at(high);
            RETURN NEXT;
            low := high;
        END LOOP;
    END LOOP;
    PERFORM set_config('TimeZone', 'UTC', true);
END $$;
-- What happened to several zones at once is one; of zones whose summer is the standard time one is taken by itself. Where the
-- clocks change again within days, what follows is not that change's alone.
CREATE TEMP TABLE changes AS
SELECT row_number() OVER () AS id, *, offset_after - offset_before AS jump
FROM (SELECT DISTINCT ON (at, offset_before, offset_after, zone = 'Europe/Dublin') zone, at, offset_before, offset_after
      FROM (SELECT z.name AS zone, c.*, lag(at) OVER w AS earlier, lead(at) OVER w AS later
            FROM pg_timezone_names z, changes_of(z.name) c WHERE z.name !~ '^(posix|right)/'
            WINDOW w AS (PARTITION BY z.name ORDER BY at)) c
      WHERE (at - earlier > 4 * 86400) IS NOT FALSE AND (later - at > 4 * 86400) IS NOT FALSE
      ORDER BY at, offset_before, offset_after, zone = 'Europe/Dublin', zone) d;
SELECT is_empty($$SELECT kind FROM (VALUES
        ('by half an hour', (SELECT count(*) FROM changes WHERE abs(jump) = 1800)), ('by seconds too', (SELECT count(*) FROM changes WHERE jump % 60 <> 0)),
        ('of midnight', (SELECT count(*) FROM changes WHERE (at + offset_before) % 86400 = 0 AND jump > 0)),
        ('of a whole day', (SELECT count(*) FROM changes WHERE jump = 86400)), ('by two hours', (SELECT count(*) FROM changes WHERE jump = -7200)),
        ('with summer as the standard', (SELECT count(*) FROM changes WHERE zone = 'Europe/Dublin' AND at > 0))) k (kind, count) WHERE count = 0$$,
    'changes of the clocks of each kind are among them');
-- All that are no summer time of an hour, and of the others a sample.
\if :full
\else
DELETE FROM changes WHERE (abs(jump) = 3600 OR at > extract(epoch FROM '2030-01-01 UTC'::timestamptz)) AND id % 50 <> 0;
DELETE FROM changes WHERE abs(jump) = 1800 AND id % 5 <> 0;
DELETE FROM changes WHERE at < 0 AND jump % 900 <> 0 AND id % 5 <> 0;
\endif
SELECT diag(count(*) || ' changes of the clocks') FROM changes;

-- What the policies say of a change, told by the wall clock: local times before it and after it, as if they were UTC.
CREATE TEMP TABLE asked AS
SELECT c.*, e.expression, split_part(e.expression, ' ', cardinality(string_to_array(e.expression, ' ')) - 3) ~ '^\*' AS every_hour,
       abs(jump) + 3600 AS reach
FROM changes c
CROSS JOIN LATERAL (SELECT to_timestamp(at + offset_before) AS local_before, to_timestamp(at + offset_after) AS local_after) l
CROSS JOIN LATERAL (VALUES ('*/20 * * * *'), ('5 */2 * * *'), ('30 0-23 * * *'),
    (format('*/15 %s,%s * * *', extract(hour FROM local_before), extract(hour FROM local_after))),
    (to_char(local_before, 'FMSS FMMI FMHH24') || ' * * *'), (to_char(local_after, 'FMSS FMMI FMHH24') || ' * * *'),
    (to_char(local_after - interval '1 second', 'FMSS FMMI FMHH24 FMDD FMMM') || ' *')) e (expression);
CREATE TEMP TABLE shown AS
SELECT a.id, a.expression, local, local < at + offset_before AS before, local >= at + offset_after AS after
FROM asked a
CROSS JOIN LATERAL (SELECT generate_series((LEAST(at + offset_before, at + offset_after) - reach) / 60 * 60,
                                           GREATEST(at + offset_before, at + offset_after) + reach, 60) AS local
                    UNION SELECT at + offset_before UNION SELECT at + offset_after UNION SELECT at + offset_after - 1) t
WHERE sync.cron_matches(a.expression, 'UTC', to_timestamp(local));
CREATE INDEX ON shown (id, expression);
ANALYZE shown;
CREATE TEMP TABLE policies AS SELECT * FROM unnest(ARRAY['run_after', 'skip']) gap, unnest(ARRAY['first', 'second', 'both']) fold;
CREATE TEMP TABLE expected AS
SELECT a.*, p.*, ARRAY(
    SELECT local - offset_before FROM shown s
    WHERE s.id = a.id AND s.expression = a.expression AND before AND (NOT after OR every_hour OR fold <> 'second')
    UNION SELECT local - offset_after FROM shown s
    WHERE s.id = a.id AND s.expression = a.expression AND after AND (NOT before OR every_hour OR fold <> 'first')
    UNION SELECT at FROM shown s
    WHERE s.id = a.id AND s.expression = a.expression AND NOT before AND NOT after AND gap = 'run_after' AND NOT every_hour
    ORDER BY 1) AS runs
FROM asked a, policies p;

CREATE FUNCTION runs(expression text, zone text, low bigint, high bigint, gap text, fold text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    found bigint[] := '{}';
    run timestamptz := to_timestamp(low - 1);
BEGIN
    LOOP
        run := sync.cron_next(expression, zone, run, gap, fold);
        EXIT WHEN run IS NULL OR run > to_timestamp(high);
        found := found || extract(epoch FROM run)::bigint;
    END LOOP;
    RETURN found;
END $$;
CREATE FUNCTION runs_from_behind(expression text, zone text, low bigint, high bigint, gap text, fold text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    found bigint[] := '{}';
    run timestamptz := to_timestamp(high + 1);
BEGIN
    LOOP
        run := sync.cron_previous(expression, zone, run, gap, fold);
        EXIT WHEN run IS NULL OR run < to_timestamp(low);
        found := extract(epoch FROM run)::bigint || found;
    END LOOP;
    RETURN found;
END $$;
-- The ends of what was looked at are not.
CREATE TEMP TABLE compared AS
SELECT zone, to_timestamp(at) AS at, jump, expression, gap, fold, ARRAY(SELECT r FROM unnest(runs) r WHERE r BETWEEN at - reach AND at + reach) AS expected,
       runs(expression, zone, at - reach, at + reach, gap, fold) AS forward, runs_from_behind(expression, zone, at - reach, at + reach, gap, fold) AS backward
FROM expected;
SELECT is_empty('SELECT * FROM compared WHERE forward <> expected LIMIT 10', 'at each of them every policy holds, and what meets at a gap is one run');
SELECT is_empty('SELECT * FROM compared WHERE backward <> expected LIMIT 10', 'from behind as well');

SELECT * FROM finish();
ROLLBACK;
