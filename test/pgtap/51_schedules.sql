-- Schedules: the functions, what they build and refuse, what is left as it was, and rows that an application writes itself.
\ir include/setup.psql
SELECT plan(160);
SELECT fix_jitter();

CREATE FUNCTION made(external text, name text DEFAULT 'nightly') RETURNS bigint LANGUAGE sql STABLE
AS $$ SELECT max(s.id) FROM sync.sync_schedules s WHERE s.connection_id = conn(external) AND s.name = made.name $$;
CREATE FUNCTION expression_of(id bigint) RETURNS text LANGUAGE sql STABLE AS $$ SELECT s.cron_expression FROM sync.sync_schedules s WHERE s.id = $1 $$;
CREATE FUNCTION next_of(id bigint) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT to_char(st.next_planned_at, 'YYYY-MM-DD HH24:MI') FROM sync.schedule_state st WHERE st.schedule_id = $1 $$;
-- What a statement raises: SQLSTATE, message, whether there is a hint.
CREATE FUNCTION raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' ', SQLSTATE, SQLERRM, CASE WHEN hint <> '' THEN '(hint)' END);
END $$;

-- What is built
SELECT connection('c');
CREATE TEMP TABLE built AS
SELECT x.*, sync.create_schedule(conn('c'), x.name, x.type, x.at, x.days, x.cron, as_of => at('09:00')) AS id
FROM (VALUES
    ('hourly', 'hourly', NULL::time, NULL::text[], NULL, '0 * * * *'),
    ('hourly at a quarter past', 'hourly', '00:15', NULL, NULL, '15 * * * *'),
    ('daily', 'daily', NULL, NULL, NULL, '0 2 * * *'),
    ('daily at two', 'daily', '02:00', NULL, NULL, '0 2 * * *'),
    ('daily with seconds', 'daily', '23:59:30', NULL, NULL, '30 59 23 * * *'),
    ('daily on some days', 'daily', '06:30', '{mon,wed}', NULL, '30 6 * * mon,wed'),
    ('weekly', 'weekly', NULL, NULL, NULL, '0 2 * * 0'),
    ('weekly on two days', 'weekly', '02:00', '{mon,wed}', NULL, '0 2 * * mon,wed'),
    ('weekly, days alone', 'weekly', NULL, '{fri}', NULL, '0 2 * * fri'),
    ('monthly', 'monthly', NULL, NULL, NULL, '0 2 1 * *'),
    ('monthly on the first and last', 'monthly', '04:00', '{1,L}', NULL, '0 4 1,L * *'),
    ('custom', 'custom', NULL, NULL, '*/5 8-18 * * 1-5', '*/5 8-18 * * 1-5'),
    ('daily with an expression', 'daily', NULL, NULL, '0 5 * * *', '0 5 * * *'),
    ('realtime', 'realtime', NULL, NULL, NULL, NULL)) x (name, type, at, days, cron, expected);
SELECT is(expression_of(b.id), b.expected, b.name) FROM built b;
SELECT is(next_of(made('c', 'weekly on two days')), '2026-03-02 02:00', 'the next run is known at once');
SELECT is(next_of(made('c', 'hourly')), '2026-03-01 10:00', 'strictly later than it was made');
SELECT is(next_of(made('c', 'realtime')), NULL, 'a realtime schedule plans nothing');
SELECT is((SELECT array_agg(DISTINCT tenant_id) FROM sync.sync_schedules), '{T}', 'the tenant is that of the connection');
SELECT results_eq($$SELECT timezone, is_active, job_type, dst_gap, dst_fold, catch_up, overlap, jitter_seconds FROM sync.sync_schedules WHERE name = 'daily'$$,
    $$VALUES ('UTC', true, 'incremental', 'run_after', 'first', 'latest', 'skip', 0)$$, 'what is the default');

-- What is refused, with SQLSTATE and hint
SELECT is(raised(format('SELECT sync.create_schedule(conn(%L), %s, as_of => at(%L))', 'c', x.arguments, '09:00')), x.expected, 'create_schedule: ' || x.arguments)
FROM (VALUES
    ($$'n', 'custom', cron_expression => '0 0 31 2 *'$$, '22023 the schedule "0 0 31 2 *" would never run (hint)'),
    ($$'n', 'custom'$$, '22023 a custom schedule needs a cron_expression (hint)'),
    ($$'n', 'custom', cron_expression => ''$$, '22023 a custom schedule needs a cron_expression (hint)'),
    ($$'n', 'custom', '02:00'$$, '22023 at and days are not for custom schedules (hint)'),
    ($$'n', 'realtime', '02:00'$$, '22023 at and days are not for realtime schedules (hint)'),
    ($$'n', 'realtime', cron_expression => '0 * * * *'$$, '22023 a realtime schedule has no cron_expression (hint)'),
    ($$'n', 'hourly', '02:15'$$, '22023 an hourly schedule has no days, and at is the time within the hour (hint)'),
    ($$'n', 'hourly', days => '{mon}'$$, '22023 an hourly schedule has no days, and at is the time within the hour (hint)'),
    ($$'n', 'daily', '02:00:00.5'$$, '22023 at must be a whole second (hint)'),
    ($$'n', 'daily', '02:00', cron_expression => '0 2 * * *'$$, '22023 at and days build the expression: give either them or cron_expression'),
    ($$'n', 'weekly', days => '{mon,noday}'$$, '22023 days cannot be "NODAY": "NODAY" is no value of it (hint)'),
    ($$'n', 'monthly', days => '{1,32}'$$, '22023 days cannot be "32": 32 is out of its range (hint)'),
    ($$'n', 'daily', days => '{}'$$, '22023 days must be a list of one day at least, without spaces (hint)'),
    ($$'n', 'weekly', days => '{"5 3"}'$$, '22023 days must be a list of one day at least, without spaces (hint)'),
    ($$'n', 'yearly'$$, '22023 schedule_type cannot be "yearly" (hint)'),
    ($$'n', 'daily', timezone => 'Mars/Olympus'$$, '22023 time zone "Mars/Olympus" is not known (hint)'),
    ($$'n', 'realtime', timezone => 'Mars/Olympus'$$, '22023 time zone "Mars/Olympus" is not known (hint)'),
    ($$'n', 'daily', dst_gap => 'maybe'$$, '22023 dst_gap cannot be "maybe" (hint)'),
    ($$'n', 'daily', dst_fold => 'third'$$, '22023 dst_fold cannot be "third" (hint)'),
    ($$'n', 'daily', ends_at => at('01:00')$$, '22023 the schedule "0 2 * * *" would never run (hint)'),
    ($$'n', 'daily', starts_at => 'infinity'$$, '22023 the schedule "0 2 * * *" would never run (hint)')) x (arguments, expected);
SELECT is(left(raised(format('SELECT sync.create_schedule(conn(%L), %s, as_of => at(%L))', 'c', x.arguments, '09:00')), 5), x.expected, 'create_schedule: ' || x.arguments)
FROM (VALUES
    ($$'n', NULL$$, '23502'), ($$NULL, 'daily'$$, '23502'), ($$'', 'daily'$$, '23514'), ($$'n', 'daily', timezone => NULL$$, '23502'),
    ($$'n', 'daily', dst_gap => NULL$$, '23502'), ($$'n', 'daily', dst_fold => NULL$$, '23502'), ($$'n', 'daily', catch_up => NULL$$, '23502'),
    ($$'n', 'daily', config => NULL$$, '23502'), ($$'n', 'daily', config => '[]'$$, '23514'), ($$'n', 'daily', overlap => 'both'$$, '23514'),
    ($$'n', 'daily', catch_up => 'some'$$, '23514'), ($$'n', 'daily', catchup_limit => 0$$, '23514'), ($$'n', 'daily', catchup_limit => 1001$$, '23514'),
    ($$'n', 'daily', catchup_max_age => '0'$$, '23514'), ($$'n', 'daily', catchup_max_age => '-1 day'$$, '23514'),
    ($$'n', 'daily', jitter_seconds => -1$$, '23514'), ($$'n', 'daily', jitter_seconds => 86401$$, '23514'), ($$'n', 'daily', job_type => ''$$, '23514')) x (arguments, expected);
SELECT is(raised($$SELECT sync.create_schedule(-1, 'n', 'daily')$$), '23503 connection -1 does not exist (hint)', 'a connection that is not there');
SELECT is(left(raised($$SELECT sync.create_schedule(NULL, 'n', 'daily')$$), 5), '23503', 'none at all');
SELECT is(raised(format('SELECT sync.%s as_of => %L)', f, t)), '22023 as_of must be a finite time (hint)', f || ' refuses as_of ' || COALESCE(t::text, 'null'))
FROM unnest(ARRAY['create_schedule(conn(''c''), ''n'', ''daily'',', 'update_schedule(made(''c'', ''daily''),', 'pause_schedule(made(''c'', ''daily''),',
                  'resume_schedule(made(''c'', ''daily''),', 'delete_schedule(made(''c'', ''daily''),', 'trigger_schedule(made(''c'', ''daily''),',
                  'skip_next(made(''c'', ''daily''),']) f, unnest(ARRAY['infinity', NULL]::timestamptz[]) t;
SELECT is(raised(format('SELECT sync.%s', f)), 'P0002 schedule ' || CASE WHEN f ~ 'NULL' THEN '' ELSE '-1' END || ' does not exist', f)
FROM unnest(ARRAY['update_schedule(-1)', 'pause_schedule(-1)', 'resume_schedule(-1)', 'delete_schedule(-1)', 'trigger_schedule(-1)', 'skip_next(-1)',
                  'schedule_history(-1)', 'preview_schedule(-1)', 'pause_schedule(NULL)', 'trigger_schedule(NULL)', 'skip_next(NULL)']) f;
SELECT is(verdict, 'unknown', 'explain_schedule says so and raises nothing') FROM sync.explain_schedule(-1);
SELECT is(raised(format('SELECT * FROM sync.schedule_history(made(''c'', ''daily''), max_rows => %s)', n)), '22023 max_rows must be from 1 to 10000', 'max_rows ' || n)
FROM unnest('{0,-1,10001,NULL}'::text[]) n WHERE n IS NOT NULL;
SELECT is(raised(format('SELECT * FROM sync.preview_schedule(''0 2 * * *'', count => %s)', n)), '22023 count must be from 1 to 1000', 'count ' || n)
FROM unnest('{0,-1,1001}'::text[]) n;
DELETE FROM sync.connections;

-- update_schedule changes what is given
SELECT connection('u');
SELECT sync.create_schedule(conn('u'), 'nightly', 'weekly', '02:00', '{mon,wed}', as_of => at('09:00'));
SELECT sync.update_schedule(made('u'), at => '03:30', as_of => at('09:01'));
SELECT is(expression_of(made('u')), '30 3 * * mon,wed', 'another time: the days stay');
SELECT sync.update_schedule(made('u'), days => '{tue}', as_of => at('09:02'));
SELECT is(expression_of(made('u')), '30 3 * * tue', 'another day: the time stays');
SELECT sync.update_schedule(made('u'), at => '04:00:10', days => '{sat,sun}', as_of => at('09:03'));
SELECT is(expression_of(made('u')), '10 0 4 * * sat,sun', 'both');
SELECT sync.update_schedule(made('u'), days => '{sun}', as_of => at('09:03'));
SELECT is(expression_of(made('u')), '10 0 4 * * sun', 'the second stays too');
SELECT sync.update_schedule(made('u'), schedule_type => 'daily', as_of => at('09:04'));
SELECT is(expression_of(made('u')), '0 2 * * *', 'another type has its own time');
SELECT sync.update_schedule(made('u'), timezone => 'Europe/Berlin', as_of => at('09:05'));
SELECT is(next_of(made('u')), '2026-03-02 01:00', 'another zone');
SELECT sync.update_schedule(made('u'), schedule_type => 'monthly', at => '05:00', days => '{15}', as_of => at('09:06'));
SELECT is(expression_of(made('u')), '0 5 15 * *', 'monthly');
SELECT sync.update_schedule(made('u'), at => '06:00', as_of => at('09:06'));
SELECT is(expression_of(made('u')), '0 6 15 * *', 'on the same day');
SELECT sync.update_schedule(made('u'), schedule_type => 'custom', cron_expression => '*/10 * * * *', as_of => at('09:07'));
SELECT is(next_of(made('u')), '2026-03-01 09:10', 'custom');
SELECT sync.update_schedule(made('u'), schedule_type => 'realtime', as_of => at('09:08'));
SELECT results_eq($$SELECT expression_of(made('u')), next_of(made('u')), look_at FROM sync.schedule_state$$, 'VALUES (NULL, NULL, NULL::timestamptz)', 'realtime: nothing is planned');
SELECT sync.update_schedule(made('u'), schedule_type => 'hourly', as_of => at('09:08'));
SELECT is(next_of(made('u')), '2026-03-01 10:00', 'and back');
SELECT sync.update_schedule(made('u'), name => 'renamed', description => 'd', config => '{"a": 1}', priority => 4, as_of => at('09:09'));
SELECT results_eq($$SELECT name, description, config, priority, cron_expression FROM sync.sync_schedules$$, $$VALUES ('renamed', 'd', '{"a": 1}'::jsonb, 4, '0 * * * *')$$,
    'what is not when it runs');
SELECT sync.update_schedule(made('u', 'renamed'), starts_at => at('12:00'), ends_at => at('14:00'), as_of => at('09:09'));
SELECT is(next_of(made('u', 'renamed')), '2026-03-01 12:00', 'bounds');
SELECT sync.update_schedule(made('u', 'renamed'), starts_at => '-infinity', ends_at => 'infinity', as_of => at('09:10'));
SELECT results_eq('SELECT starts_at, ends_at FROM sync.sync_schedules', 'VALUES (NULL::timestamptz, NULL::timestamptz)', 'infinities take them away');
SELECT is(raised($$SELECT sync.update_schedule(made('u', 'renamed'), cron_expression => '0 0 30 2 *', schedule_type => 'custom', as_of => at('09:11'))$$),
    '22023 the schedule "0 0 30 2 *" would never run (hint)', 'what could never run is refused here too');
SELECT is(raised($$SELECT sync.update_schedule(made('u', 'renamed'), at => '03:00', cron_expression => '0 3 * * *', as_of => at('09:11'))$$),
    '22023 at and days build the expression: give either them or cron_expression', 'either or');
DELETE FROM sync.connections;

-- One that has ended
SELECT connection('e');
SELECT sync.create_schedule(conn('e'), 'nightly', 'hourly', ends_at => at('11:00'), as_of => at('09:00'));
SELECT sync.tick(at('10:00'));
SELECT lives_ok($$SELECT sync.pause_schedule(made('e'), as_of => at('13:00'))$$, 'may be paused');
SELECT lives_ok($$SELECT sync.resume_schedule(made('e'), as_of => at('13:01'))$$, 'and resumed');
SELECT lives_ok($$SELECT sync.update_schedule(made('e'), catch_up => 'skip', as_of => at('13:02'))$$, 'and changed');
SELECT is(verdict, 'ended', 'explained') FROM sync.explain_schedule(made('e'), as_of => at('13:03')) WHERE aspect = 'schedule' LIMIT 1;
SELECT sync.update_schedule(made('e'), ends_at => 'infinity', as_of => at('13:04'));
SELECT is(next_of(made('e')), '2026-03-01 14:00', 'and taken up again');
DELETE FROM sync.connections;

-- pause and resume
SELECT connection('p');
SELECT sync.create_schedule(conn('p'), 'nightly', 'hourly', as_of => at('09:00'));
SELECT sync.pause_schedule(made('p'), 'maintenance', as_of => at('09:30'));
SELECT results_eq('SELECT is_active, pause_reason, resume_at FROM sync.sync_schedules', $$VALUES (false, 'maintenance', NULL::timestamptz)$$, 'paused, with the reason');
SELECT sync.pause_schedule(made('p'), 'longer', at('15:00'), as_of => at('09:31'));
SELECT results_eq('SELECT is_active, pause_reason, resume_at FROM sync.sync_schedules', $$VALUES (false, 'longer', at('15:00'))$$, 'paused again: the newer reason');
SELECT sync.resume_schedule(made('p'), as_of => at('09:32'));
SELECT results_eq('SELECT is_active, pause_reason, resume_at FROM sync.sync_schedules', $$VALUES (true, NULL, NULL::timestamptz)$$, 'resumed');
SELECT lives_ok($$SELECT sync.resume_schedule(made('p'), as_of => at('09:33'))$$, 'resuming what runs is no error');
SELECT is(left(raised(format('SELECT sync.pause_schedule(made(''p''), resume_at => %L, as_of => at(''09:34''))', t)), 5), '22023', 'resume_at ' || t)
FROM unnest(ARRAY[at('09:34'), at('09:00'), 'infinity', '-infinity']::timestamptz[]) t;
DELETE FROM sync.connections;

-- preview
SELECT results_eq($$SELECT run_at, local_time, runs, note FROM sync.preview_schedule('0 2 * * *', 'Europe/Berlin', 2, '2026-07-01 12:00Z')$$,
    $$VALUES ('2026-07-02 00:00Z'::timestamptz, '2026-07-02 02:00'::timestamp, true, NULL), ('2026-07-03 00:00Z', '2026-07-03 02:00', true, NULL)$$, 'in UTC and local time');
SELECT is((SELECT count(*) FROM sync.preview_schedule('* * * * *')), 5::bigint, 'five unless it is said');
SELECT results_eq($$SELECT run_at, local_time, runs, note FROM sync.preview_schedule('30 2 * * *', 'America/New_York', 2, '2026-03-07 12:00Z')$$,
    $$VALUES ('2026-03-08 07:00Z'::timestamptz, '2026-03-08 03:00'::timestamp, true, '02:30 does not exist: runs when the clocks have been put forward'),
             ('2026-03-09 06:30Z', '2026-03-09 02:30', true, NULL)$$, 'a gap that it meets');
SELECT results_eq($$SELECT run_at, runs, note FROM sync.preview_schedule('*/20 2 * * *', 'America/New_York', 1, '2026-03-07 12:00Z', dst_gap => 'skip')$$,
    $$VALUES ('2026-03-08 07:00Z'::timestamptz, false, '02:00 to 02:40 do not exist: does not run'), ('2026-03-09 06:00Z', true, NULL)$$, 'a gap that is skipped');
SELECT results_eq($$SELECT run_at, local_time, note FROM sync.preview_schedule('30 1 * * *', 'America/New_York', 2, '2026-10-31 12:00Z', dst_fold => 'both')$$,
    $$VALUES ('2026-11-01 05:30Z'::timestamptz, '2026-11-01 01:30'::timestamp, '01:30 occurs twice: the first'), ('2026-11-01 06:30Z', '2026-11-01 01:30', '01:30 occurs twice: the second')$$,
    'a fold');
SELECT is((SELECT count(*) FROM sync.preview_schedule('0 0 31 2 *')), 0::bigint, 'what never fires has no runs');
SELECT is((SELECT count(*) FROM sync.preview_schedule('* * * * * *', count => 1000)), 1000::bigint, 'a thousand');
SELECT connection('v');
SELECT sync.create_schedule(conn('v'), 'nightly', 'hourly', starts_at => at('11:00'), ends_at => at('14:00'), as_of => at('09:00'));
SELECT sync.skip_next(made('v'), as_of => at('09:00'));
SELECT results_eq($$SELECT to_char(run_at, 'HH24:MI'), runs, NULLIF(note, '') FROM sync.preview_schedule(made('v'), 10, at('09:00'))$$,
    $$VALUES ('11:00', false, 'skipped: skip_next was called'), ('12:00', true, NULL), ('13:00', true, NULL), ('14:00', true, NULL)$$, 'of a schedule: within its bounds, with what is skipped');
CREATE FUNCTION next_runs(connection text) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s %s', to_char(s.next_run_at, 'HH24:MI'), to_char(c.next_run_at, 'HH24:MI'))
    FROM sync.schedule_status s JOIN sync.connection_status c USING (connection_id) WHERE c.connection_id = conn(connection)
$$;
SELECT is(next_runs('v'), '12:00 12:00', 'what is skipped is not the next run');
SELECT sync.pause_schedule(made('v'), resume_at => at('12:30'), as_of => at('09:01'));
SELECT results_eq($$SELECT to_char(run_at, 'HH24:MI'), runs FROM sync.preview_schedule(made('v'), 10, at('09:00'))$$,
    $$VALUES ('11:00', false), ('12:00', false), ('13:00', true), ('14:00', true)$$, 'and with a pause');
SELECT is(next_runs('v'), '13:00 13:00', 'nor is what falls into a pause');
SELECT sync.pause_schedule(made('v'), as_of => at('09:02'));
SELECT is(next_runs('v'), ' ', 'one that is paused until further notice has none');
SELECT sync.resume_schedule(made('v'), at('09:03'));
SELECT is(next_runs('v'), '12:00 12:00', 'until it is resumed');
SELECT sync.skip_next(made('v'), at('09:04')), sync.skip_next(made('v'), at('09:04')), sync.skip_next(made('v'), at('09:04'));
SELECT is(next_runs('v'), ' ', 'nor has one of which all is skipped');
DELETE FROM sync.connections;

-- An application's ORM
SELECT connection('o');
SELECT connection('o2', tenant => 'U');
INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) VALUES ('T', conn('o'), 'plain', 'daily');
SELECT results_eq($$SELECT cron_expression, timezone, next_planned_at > now(), look_at IS NOT NULL, (SELECT has_schedules FROM sync.connections WHERE id = conn('o'))
    FROM sync.sync_schedules s JOIN sync.schedule_state st ON st.schedule_id = s.id$$, $$VALUES ('0 2 * * *', 'UTC', true, true, true)$$, 'an inserted row is as good');
INSERT INTO sync.sync_schedules (connection_id, name, schedule_type, cron_expression, is_active) VALUES (conn('o'), 'no tenant', 'custom', '  0 3 * * * ', false);
SELECT results_eq($$SELECT tenant_id, cron_expression FROM sync.sync_schedules WHERE name = 'no tenant'$$, $$VALUES ('T', '0 3 * * *')$$, 'the tenant is filled in, spaces go');
SELECT is(raised($$INSERT INTO sync.sync_schedules (tenant_id, connection_id, name, schedule_type) VALUES ('T', conn('o2'), 'n', 'daily')$$),
    format('23503 connection %s does not exist for tenant ''T'' (hint)', conn('o2')), 'another tenant''s connection is none');
SELECT is(raised($$INSERT INTO sync.sync_schedules (connection_id, name, schedule_type) VALUES (-1, 'n', 'daily')$$), '23503 connection -1 does not exist (hint)', 'nor one that is not there');
SELECT is(raised($$INSERT INTO sync.sync_schedules (connection_id, name, schedule_type, cron_expression) VALUES (conn('o'), 'n', 'custom', '0 0 31 2 *')$$),
    '22023 the schedule "0 0 31 2 *" would never run (hint)', 'checked as by the function');
SELECT is(raised($$UPDATE sync.sync_schedules SET connection_id = conn('o2'), tenant_id = 'U' WHERE name = 'plain'$$), '55000 a schedule stays with its connection (hint)', 'it cannot be moved');
SELECT is(left(raised($$UPDATE sync.sync_schedules SET tenant_id = 'U' WHERE name = 'plain'$$), 5), '23503', 'nor given away');
UPDATE sync.sync_schedules SET cron_expression = '0 5 * * *', schedule_type = 'custom' WHERE name = 'plain';
SELECT is((SELECT extract(hour FROM next_planned_at)::int FROM sync.schedule_state WHERE schedule_id = made('o', 'plain')), 5, 'an updated row is planned anew');
UPDATE sync.sync_schedules SET is_active = false, pause_reason = 'by hand' WHERE name = 'plain';
UPDATE sync.sync_schedules SET is_active = true WHERE name = 'plain';
SELECT is((SELECT pause_reason FROM sync.sync_schedules WHERE name = 'plain'), NULL, 'paused and resumed by hand');
UPDATE sync.sync_schedules SET name = 'other' WHERE name = 'plain';
SELECT is((SELECT count(*) FROM sync.schedule_state), 2::bigint, 'a name is a name');
INSERT INTO sync.sync_schedules (connection_id, name, schedule_type) SELECT conn('o'), 'many ' || n, 'hourly' FROM generate_series(1, 50) n;
SELECT is((SELECT count(*) FROM sync.schedule_state), 52::bigint, 'fifty at once');
UPDATE sync.sync_schedules SET is_active = false WHERE name LIKE 'many %';
DELETE FROM sync.sync_schedules WHERE name LIKE 'many %';
SELECT is((SELECT count(*) FROM sync.schedule_state), 2::bigint, 'and gone');
SELECT is((SELECT has_schedules FROM sync.connections WHERE id = conn('o')), true, 'a paused schedule is a schedule');
DELETE FROM sync.sync_schedules;
SELECT results_eq($$SELECT has_schedules, s.due_at IS NOT NULL FROM sync.connections c JOIN sync.connection_state s ON s.connection_id = c.id WHERE c.id = conn('o')$$,
    'VALUES (false, true)', 'with the last one gone the interval is back');
DELETE FROM sync.connections;

-- Connections that change
SELECT connection('m', tenant => 'T');
SELECT sync.create_schedule(conn('m'), 'nightly', 'hourly', as_of => at('09:00'));
UPDATE sync.connections SET tenant_id = 'U' WHERE id = conn('m');
SELECT is((SELECT tenant_id FROM sync.sync_schedules), 'U', 'a schedule goes with its connection to another tenant');
SELECT sync.tick(at('10:00'));
SELECT is((SELECT tenant_id FROM sync.schedule_fires), 'U', 'and runs there');
SELECT throws_ok($$UPDATE sync.connections SET tenant_id = 'T' WHERE id = conn('m')$$, '55000', NULL, 'not with a history');
SELECT provider('gitlab');
UPDATE sync.connections SET provider_slug = 'gitlab' WHERE id = conn('m');
SELECT claim(at('10:00'));
SELECT complete('m', at('10:01'));
SELECT sync.tick(at('11:00'));
SELECT is((job_of('m')).provider_slug, 'gitlab', 'jobs are the new provider''s');
UPDATE sync.connections SET metadata = '{"sync": "nonsense"}' WHERE id = conn('m');
SELECT claim(at('11:00'));
SELECT complete('m', at('11:01'));
SELECT sync.tick(at('12:00'));
SELECT is(live('m'), 1::bigint, 'whatever its metadata says');
UPDATE sync.connections SET metadata = NULL WHERE id = conn('m');
SELECT claim(at('12:00'));
SELECT complete('m', at('12:01'));
SELECT sync.tick(at('13:00'));
SELECT is(live('m'), 1::bigint, 'or does not');
SELECT cmp_ok((SELECT count(*) FROM sync.schedule_fires), '>=', 4::bigint, 'there is a ledger');
DELETE FROM sync.connections WHERE id = conn('m');
SELECT is((SELECT count(*) FROM sync.sync_schedules) + (SELECT count(*) FROM sync.schedule_state), 0::bigint, 'deleted with its connection');
SELECT housekeep(at('13:01'));
SELECT is((SELECT count(*) FROM sync.schedule_fires), 0::bigint, 'the ledger too, by housekeeping');

-- Who may what
SELECT is(raised('SET LOCAL ROLE sync_viewer; SELECT sync.pause_schedule(1)'), '42501 permission denied for function pause_schedule', 'a viewer changes nothing');
RESET ROLE;
SELECT is((SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname = 'sync' AND has_function_privilege('public', p.oid, 'EXECUTE')), 0::bigint, 'nothing is for everybody');

SELECT * FROM finish();
ROLLBACK;
