-- Cron expressions in SQL, in every time zone that the server knows. What they mean is tested without a server in
-- test/unit/core_cron*_test.cpp.
\ir include/setup.psql

SELECT plan(35);

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
      ORDER BY 1) z, generate_series(1, 8);
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
FROM instants i
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
-- In this century clocks change often enough to be met: each change from 2000 to 2030, by every policy, at its very edge.
CREATE TEMP TABLE changes AS
SELECT z.zone, t AS instant
FROM (SELECT DISTINCT ON (zone_key) zone FROM (SELECT zone, md5(string_agg(((h AT TIME ZONE zone) - (h AT TIME ZONE 'UTC'))::text, ',' ORDER BY h)) AS zone_key
                                              FROM (SELECT DISTINCT zone FROM instants) x, generate_series('2000-01-01 UTC'::timestamptz, '2030-01-01 UTC', '7 days') h
                                              GROUP BY zone) k ORDER BY zone_key, zone) z
CROSS JOIN generate_series('2000-01-01 UTC'::timestamptz, '2030-01-01 UTC', '7 days') w
CROSS JOIN LATERAL (SELECT t FROM generate_series(w + interval '30 minutes', w + interval '7 days', '30 minutes') t
                    WHERE (t AT TIME ZONE z.zone) - (t AT TIME ZONE 'UTC')
                          <> ((t - interval '30 minutes') AT TIME ZONE z.zone) - ((t - interval '30 minutes') AT TIME ZONE 'UTC')) c
WHERE (w AT TIME ZONE z.zone) - (w AT TIME ZONE 'UTC')
      <> ((w + interval '7 days') AT TIME ZONE z.zone) - ((w + interval '7 days') AT TIME ZONE 'UTC');
SELECT is_empty($$SELECT zone, instant, expression FROM changes,
                  (VALUES ('15 0 * * *'), ('15,45 1 * * *'), ('*/20 2 * * *'), ('30 2,3 * * *'), ('0 0-4 * * *')) e (expression)
                  CROSS JOIN LATERAL (SELECT (instant AT TIME ZONE zone) - ((instant - interval '1 second') AT TIME ZONE zone) - interval '1 second' AS jump) j
                  WHERE jump > interval '0'
                    AND (sync.cron_next(expression, zone, instant - interval '1 second') = instant)
                        IS DISTINCT FROM EXISTS (SELECT 1 FROM generate_series(0, extract(epoch FROM jump)::int, 60) s
                                                 WHERE sync.cron_matches(expression, 'UTC',
                                                     ((instant - interval '1 second') AT TIME ZONE zone + make_interval(secs => 1 + s)) AT TIME ZONE 'UTC'))$$,
    'at each gap there is a run exactly where one was skipped, or lies at its end');

SELECT * FROM finish();
ROLLBACK;
