-- Settings: names, defaults, ranges, and pairs that contradict themselves.
\ir include/setup.psql
SELECT plan(220);
CREATE TEMP TABLE wanted (name text, boot text, low float8, high float8);
INSERT INTO wanted VALUES
    ('tick_interval_seconds', '60', 1, 3600), ('default_interval_seconds', '900', 60, 86400), ('jitter_pct_min', '0', 0, 1), ('jitter_pct_max', '0.2', 0, 1),
    ('max_overridden_interval_seconds', '86400', 60, 604800), ('tick_batch_size', '1000', 1, 100000), ('backoff_base_seconds', '5', 1, 86400),
    ('backoff_max_seconds', '900', 1, 604800), ('backoff_jitter_factor', '0.1', 0, 1), ('max_attempts', '20', 1, 1000), ('lease_seconds', '60', 5, 86400),
    ('max_run_seconds', '3600', 10, 604800), ('max_pages_per_run', '10000', 1, 10000000), ('job_retention_days', '30', 0, 36500),
    ('execution_retention_days', '30', 0, 36500), ('signal_retention_days', '0', 0, 36500), ('dedupe_retention_days', '-1', -1, 36500), ('audit_retention_days', '400', 0, 36500), ('max_metric_tenants', '100', 0, 10000),
    ('auto_pause_failures', '100', 0, 100000), ('hook_dedupe_hours', '72', 1, 720), ('inbox_retention_days', '90', 0, 36500), ('incident_reminder_seconds', '3600', 60, 604800), ('late_warning_seconds', '3600', 0, 604800),
    ('notification_burst', '10', 1, 10000), ('notification_retention_days', '90', 0, 36500), ('notification_window_seconds', '900', 1, 86400), ('notify_after_failures', '3', 1, 1000),
    ('rate_limit_warning_seconds', '3600', 0, 604800), ('api_requests_per_minute', '600', 0, 1000000);

SELECT results_eq(
    $$SELECT s.name::text, s.boot_val::text, s.min_val::float8, s.max_val::float8, s.context::text FROM pg_settings s JOIN wanted w ON s.name = 'sync_engine.' || w.name ORDER BY 1$$,
    $$SELECT 'sync_engine.' || name, boot, low, high, 'superuser' FROM wanted ORDER BY 1$$, 'every setting with default, range and context');
SELECT results_eq($$SELECT name::text, boot_val::text, context::text FROM pg_settings WHERE name IN ('sync_engine.enabled', 'sync_engine.background_ticks') ORDER BY 1$$,
    $$VALUES ('sync_engine.background_ticks', 'on', 'superuser'), ('sync_engine.enabled', 'on', 'superuser')$$, 'the switches');
SELECT set_eq($$SELECT name::text FROM pg_settings WHERE name LIKE 'sync_engine.%' AND vartype NOT IN ('bool', 'string') AND context = 'superuser'$$, $$SELECT 'sync_engine.' || name FROM wanted$$, 'no setting that is not listed here');
SELECT is((SELECT count(*) FROM pg_settings WHERE name LIKE 'sync_engine.%' AND COALESCE(short_desc, '') = ''), 0::bigint, 'each is described');

-- Both ends are allowed, beyond them the message names the range.
SELECT lives_ok(format('SET LOCAL sync_engine.%I = %s', name, v), format('%s = %s is allowed', name, v)) FROM wanted, LATERAL (VALUES (low), (high)) b (v);
SELECT throws_like(format('SET LOCAL sync_engine.%I = %s', name, v), format('%%valid range%%%s .. %s%%', low, high), format('%s = %s is refused with its range', name, v))
FROM wanted, LATERAL (VALUES (low - 1), (high + 1)) b (v);
SELECT throws_ok(format('SET LOCAL sync_engine.%I = %L', name, 'much'), '22023', NULL, name || ' = much is refused') FROM wanted;
SELECT throws_ok($$SET LOCAL sync_engine.jitter_pct_max = 'NaN'$$, '22023', NULL, 'a fraction that is no number is refused');
SELECT throws_ok($$SET LOCAL sync_engine.no_such_setting = 1$$, '42602', NULL, 'a name that the engine does not know is refused');
SET LOCAL sync_engine.tick_interval_seconds = 60;

-- What SQL reads
RESET ALL;
SET LOCAL search_path = tap, public;
SET LOCAL client_min_messages = error;
SET LOCAL TimeZone = 'UTC';
SELECT is(sync._setting(name), boot::float8, '_setting(' || name || ')') FROM wanted;
SET LOCAL sync_engine.background_ticks = on;
SELECT is(sync._setting('enabled') || ' ' || sync._setting('background_ticks'), '1 1', 'switches that are on');
SET LOCAL sync_engine.background_ticks = off;
SELECT is(sync._setting('background_ticks'), 0::float8, 'a switch that is off');
SELECT throws_ok($$SELECT sync._setting('nonsense')$$, '42704', NULL, 'an unknown setting');
SET LOCAL sync_engine.lease_seconds = 77;
SELECT is(sync._setting('lease_seconds'), 77::float8, 'a changed setting is seen at once');
-- Settable per database
SELECT lives_ok(format('ALTER DATABASE %I SET sync_engine.max_attempts = 5', current_database()), 'a setting can be made for a database');
SELECT lives_ok(format('ALTER ROLE sync_executor SET sync_engine.tick_batch_size = 10'), 'and for a role');

-- Pairs that contradict themselves: the defaults of both are used, nothing is refused.
SET LOCAL sync_engine.jitter_pct_min = 0.5;
SET LOCAL sync_engine.jitter_pct_max = 0.1;
SELECT is(sync._setting('jitter_pct_min') || ' ' || sync._setting('jitter_pct_max'), '0 0.2', 'jitter_pct_min > jitter_pct_max: both by default');
SELECT results_eq('SELECT * FROM sync.jitter_bounds(900)', 'VALUES (0, 180)', 'jitter_pct_min > jitter_pct_max: the bounds too');
SELECT connection('contradiction', NULL, at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 1, 'jitter_pct_min > jitter_pct_max: the tick goes on');
SELECT ok((meta('contradiction') -> 'last_jitter_seconds')::int BETWEEN 0 AND 180, 'jitter_pct_min > jitter_pct_max: its jitter is within the defaults');
SET LOCAL sync_engine.jitter_pct_min = 0.1;
SELECT results_eq('SELECT * FROM sync.jitter_bounds(900)', 'VALUES (90, 90)', 'jitter_pct_min = jitter_pct_max is no contradiction');
SET LOCAL sync_engine.backoff_base_seconds = 100;
SET LOCAL sync_engine.backoff_max_seconds = 10;
SELECT is(sync._setting('backoff_base_seconds') || ' ' || sync._setting('backoff_max_seconds'), '5 900', 'backoff_base_seconds > backoff_max_seconds: both by default');
RESET sync_engine.backoff_base_seconds;
RESET sync_engine.backoff_max_seconds;
-- A default beyond the override's bound is used for those without one.
SET LOCAL sync_engine.max_overridden_interval_seconds = 600;
SELECT is((SELECT base_seconds || ' ' || valid FROM sync._effective_interval(NULL)), '900 true', 'a default beyond the override''s bound is used');
SELECT is((SELECT base_seconds || ' ' || valid FROM sync._effective_interval('601')), '900 false', 'an override beyond it is not');
SET LOCAL sync_engine.default_interval_seconds = 300;
SELECT is((SELECT base_seconds || ' ' || valid FROM sync._effective_interval(NULL)), '300 true', 'a changed default is used');

-- Times as text
SELECT is(sync.parse_utc(t), w::timestamptz, 'parse_utc ' || t)
FROM (VALUES ('2026-03-01T12:15:00Z', '2026-03-01 12:15 UTC'), ('2026-03-01 12:15:00+00', '2026-03-01 12:15 UTC'), ('2026-03-01T12:15', '2026-03-01 12:15 UTC'), ('2026-03-01', '2026-03-01 00:00 UTC'),
             ('2026-03-01T12:15:00.123456Z', '2026-03-01 12:15:00.123456 UTC'), ('2026-03-01T12:15:00-05:30', '2026-03-01 17:45 UTC'), ('2024-02-29T00:00:00Z', '2024-02-29 00:00 UTC'),
             ('2026-02-29', NULL), ('2026-03-01T24:00:01Z', NULL), ('2026-03-01T12:15:00 Europe/Berlin', NULL), ('tomorrow', NULL), ('', NULL), ('infinity', NULL), ('20260301', NULL), ('1e9', NULL)) v (t, w);
SELECT is(sync.parse_utc(NULL), NULL, 'parse_utc of null');
SET LOCAL TimeZone = 'Asia/Kathmandu';
SELECT is(sync.parse_utc('2026-03-01T12:15:00'), '2026-03-01 12:15 UTC'::timestamptz, 'parse_utc does not depend on the session''s time zone');
SELECT is(sync._format_utc('2026-03-01 12:15 UTC'), '2026-03-01T12:15:00Z', 'nor does _format_utc');
SELECT is(provolatile::text, 'i', 'parse_utc is immutable') FROM pg_proc WHERE oid = 'sync.parse_utc(text)'::regprocedure;

SELECT * FROM finish();
ROLLBACK;
