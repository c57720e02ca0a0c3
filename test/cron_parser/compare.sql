-- Compares what cron-parser said (cases.csv) with sync.cron_next. psql variables: the folder, how many cases there are to be
-- far from changes of the clocks and near one.
\set QUIET 1
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
\pset pager off
SET TimeZone = 'UTC';
SET client_min_messages = warning;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
SET search_path = public, tap;

CREATE TABLE disputed (zone text, year int);
CREATE TABLE answers (expression text, zone text, after_ms bigint, theirs_ms bigint);
CREATE TABLE examples (class text, expression text, zone text, after timestamptz, ours text, theirs text);
\set file :folder '/disputed.csv'
COPY disputed FROM :'file' CSV;
\set file :folder '/cases.csv'
COPY answers FROM :'file' CSV;
\set file :folder '/examples.csv'
COPY examples FROM :'file' CSV;

-- A change of the clocks near, that is from a day before the start until a day after the earlier answer, may be why two answers
-- differ. A day, because cron-parser steps by whole days and asks of each whether the clocks change on it, and because nothing
-- that is repeated is longer (7 hours, Antarctica/Vostok 1994).
CREATE FUNCTION changes_near(zone text, after timestamptz, answer timestamptz) RETURNS SETOF changes LANGUAGE sql STABLE AS $$
    SELECT c.* FROM changes c
    WHERE c.zone = changes_near.zone AND offset_before <> offset_after
      AND at BETWEEN extract(epoch FROM after) - 86400 AND extract(epoch FROM COALESCE(answer, after)) + 86400
$$;

CREATE FUNCTION spelled_out(expression text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE expression
        WHEN '@yearly' THEN '0 0 1 1 *' WHEN '@annually' THEN '0 0 1 1 *' WHEN '@monthly' THEN '0 0 1 * *'
        WHEN '@weekly' THEN '0 0 * * 0' WHEN '@daily' THEN '0 0 * * *' WHEN '@hourly' THEN '0 * * * *'
        ELSE expression END
$$;

CREATE FUNCTION with_hour(expression text, hour text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(expression, '\S+( +\S+ +\S+ +\S+)$', hour || '\1')
$$;

-- Which of the classes in docs/cron.md a difference belongs to; null where none explains it.
CREATE FUNCTION class_of(expression text, zone text, after timestamptz, ours timestamptz, theirs timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT min(CASE
        WHEN gap AND NOT starred AND ours = change AND theirs = hour_after AND theirs < change + interval '1 hour'
            THEN 'minute after the gap'
        WHEN gap AND starred AND theirs < ours AND theirs = hour_after AND theirs < change + interval '1 hour'
            THEN 'stepped hours at a gap'
        WHEN gap AND ours = change AND local_before::date <> local_after::date
             AND theirs = sync.cron_next(spelled, zone, after, 'skip', 'first')
            THEN 'gap over midnight'
        WHEN gap AND ours < change AND theirs = from_change AND tomorrow >= local_before AND tomorrow < local_after
            THEN 'day before a gap'
        WHEN NOT gap AND runs_again AND after >= change
            THEN 'asked within the second pass'
        WHEN NOT gap AND ours >= change + jump AND ours < change AND theirs = from_change
             AND date_trunc('day', local_before - interval '1 second') >= local_after
            THEN 'midnight twice'
        WHEN NOT gap AND runs_again AND NOT starred
             AND (SELECT bool_and(sync.cron_matches('* ' || hour || ' * * *', 'UTC', make_timestamptz(2000, 1, 1, h, 0, 0, 'UTC')))
                  FROM generate_series(0, 23) h)
            THEN 'all hours listed'
        WHEN NOT gap AND runs_again AND NOT starred AND jump < interval '-1 hour'
            THEN 'fold of more than an hour'
        WHEN NOT gap AND starred AND ours >= change AND ours < change - jump
             AND theirs = sync.cron_next(with_hour(spelled, regexp_replace(hour, '^\*', '0-23')), zone, after, 'run_after', 'first')
            THEN 'stepped hours at a fold'
        WHEN extract(epoch FROM jump)::int % 3600 <> 0 OR date_trunc('hour', local_before) <> local_before
            THEN 'not by whole hours'
    END)
    FROM changes_near(zone, after, LEAST(ours, theirs)) c
    CROSS JOIN LATERAL (SELECT spelled_out(expression) AS spelled, to_timestamp(at) AS change, make_interval(secs => offset_after - offset_before) AS jump,
                               offset_after > offset_before AS gap,
                               -- What the clock shows, as if it were UTC.
                               to_timestamp(at + offset_before) AS local_before, to_timestamp(at + offset_after) AS local_after,
                               after + make_interval(days => 1, secs => offset_before) AS tomorrow) x
    CROSS JOIN LATERAL (SELECT substring(spelled FROM '(\S+) +\S+ +\S+ +\S+$') AS hour) h
    CROSS JOIN LATERAL (SELECT hour ~ '^\*' AS starred,
                               -- The first time that matches from the change on, and the first whatever the hour.
                               sync.cron_next(spelled, zone, change - interval '1 microsecond', 'skip', 'both') AS from_change,
                               sync.cron_next(with_hour(spelled, '*'), zone, GREATEST(change - interval '1 microsecond', after), 'skip', 'both') AS hour_after,
                               theirs >= change AND theirs < change - jump
                                   AND theirs = sync.cron_next(spelled, zone, after, 'run_after', 'both') AS runs_again) y
$$;

CREATE TABLE cases AS
SELECT *, EXISTS (SELECT 1 FROM changes_near(zone, after, LEAST(ours, theirs))) AS near
FROM (SELECT expression, zone, to_timestamp(after_ms / 1000.0) AS after, to_timestamp(theirs_ms / 1000) AS theirs FROM answers) a
CROSS JOIN LATERAL (SELECT sync.cron_next(expression, zone, after) AS ours) o;
CREATE TABLE differences AS
SELECT *, class_of(expression, zone, after, ours, theirs) AS class FROM cases WHERE near AND ours IS DISTINCT FROM theirs;

SELECT diag(format('%s cases without a change of the clocks near, %s of them never fire, %s differ; %s with one, %s differ',
                   count(*) FILTER (WHERE NOT near), count(*) FILTER (WHERE NOT near AND ours IS NULL),
                   count(*) FILTER (WHERE NOT near AND ours IS DISTINCT FROM theirs), count(*) FILTER (WHERE near),
                   count(*) FILTER (WHERE near AND ours IS DISTINCT FROM theirs))) FROM cases;
SELECT diag(format('%s: %s', COALESCE(class, 'unexplained'), count(*))) FROM differences GROUP BY class ORDER BY class;

CREATE FUNCTION said(expression text, zone text, after timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN COALESCE(to_char(sync.cron_next(expression, zone, after), 'YYYY-MM-DD HH24:MI"Z"'), 'none');
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN 'refused';
END $$;

SELECT plan(6 + (SELECT count(*) FROM examples)::int);
SELECT cmp_ok((SELECT count(*) FROM cases WHERE NOT near), '>=', :far::bigint, 'as many cases as wanted, without a change of the clocks near');
SELECT cmp_ok((SELECT count(*) FROM cases WHERE near), '>=', :near::bigint, 'and with one');
SELECT is_empty($$SELECT c.* FROM cases c, disputed d WHERE d.zone = c.zone AND d.year BETWEEN extract(year FROM after) AND extract(year FROM theirs)$$,
    'none where the time zone databases differ');
SELECT is_empty('SELECT expression, zone, after, ours, theirs FROM cases WHERE NOT near AND ours IS DISTINCT FROM theirs LIMIT 20',
    'all equal without a change near');
SELECT is_empty('SELECT expression, zone, after, ours, theirs FROM differences WHERE class IS NULL LIMIT 20', 'all differences near one are of a known class');
SELECT is_empty($$SELECT class FROM differences EXCEPT SELECT class FROM examples$$, 'each of which has an example');
SELECT is(said(expression, zone, after) || COALESCE(': ' || class_of(expression, zone, after, ours::timestamptz, NULLIF(theirs, 'none')::timestamptz), ''),
          ours || COALESCE(': ' || class, ''), format('%s in %s after %s', expression, zone, after))
FROM examples WHERE class IS NOT NULL;
SELECT is(said(expression, zone, after), ours, format('%s in %s after %s', expression, zone, after)) FROM examples WHERE class IS NULL;
SELECT * FROM finish();
