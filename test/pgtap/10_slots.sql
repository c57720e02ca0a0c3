-- The arithmetic of engine.md's interval scheduling: worked numbers, catch-up, look-ahead, hand-made changes, clocks that jump.
\ir include/setup.psql
SELECT plan(48);
SELECT fix_jitter();

-- The worked numbers, by a tick each.
CREATE FUNCTION tick_from(finished text, ticked text, sync jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql
AS $$
DECLARE
    name text := 'worked ' || clock_timestamp();
    j sync.sync_jobs;
BEGIN
    DELETE FROM sync.connections;
    UPDATE sync.engine_clock SET last_tick_at = NULL;
    PERFORM connection(name, sync, at(finished));
    PERFORM sync.tick(at(ticked));
    j := job_of(name);
    RETURN COALESCE(to_char(j.scheduled_at, 'HH24:MI:SS') || ' then ' || to_char((meta(name) ->> 'next_run_at')::timestamptz, 'HH24:MI:SS'), 'nothing');
END
$$;
SELECT is(tick_from('10:00', '10:13'), 'nothing', 'L 10:00, N 10:13: nothing yet');
SELECT is(tick_from('10:00', '10:13:59.999999'), 'nothing', 'a microsecond before the look-ahead: nothing yet');
SELECT is(tick_from('10:00', '10:14'), '10:15:00 then 10:30:00', 'L 10:00, N 10:14: slot 10:15, next 10:30');
SELECT is(tick_from('10:00', '10:15'), '10:15:00 then 10:30:00', 'L 10:00, N 10:15: slot 10:15, next 10:30');
SELECT is(tick_from('10:00', '10:20'), '10:15:00 then 10:30:00', 'L 10:00, N 10:20: slot 10:15, next 10:30');
SELECT is(tick_from('10:00', '10:29:59.999999'), '10:15:00 then 10:30:00', 'a microsecond before the second slot: still the first');
SELECT is(tick_from('10:00', '10:30'), '10:30:00 then 10:45:00', 'L 10:00, N 10:30: the second slot');
SELECT is(tick_from('10:00', '11:07'), '11:00:00 then 11:15:00', 'L 10:00, N 11:07: slot 11:00, next 11:15');
SELECT is(tick_from('12:00', '12:15'), '12:15:00 then 12:30:00', 'L 12:00, N 12:15: slot 12:15, next 12:30');
SELECT is(tick_from('10:00', '10:04', '{"interval_seconds": 300}'), '10:05:00 then 10:10:00', 'an interval of 300 s: look-ahead');
SELECT is(tick_from('10:00', '10:00', '{"interval_seconds": 60}'), '10:01:00 then 10:02:00', 'an interval as short as the look-ahead: at once, for its slot');
SELECT is(tick_from('00:00:00.5', '12:00:00'), '11:45:00 then 12:00:00', 'slots keep the fraction of the last finish');
SELECT is(tick_from('00:00', '23:59', '{"interval_seconds": 86400}'), '00:00:00 then 00:00:00', 'an interval of a day: look-ahead over midnight');

-- The look-ahead is the greater of the tick interval and 60 s.
SET LOCAL sync_engine.tick_interval_seconds = 5;
SELECT is(tick_from('10:00', '10:14'), '10:15:00 then 10:30:00', 'tick interval 5 s: the look-ahead is 60 s');
SET LOCAL sync_engine.tick_interval_seconds = 300;
SELECT is(tick_from('10:00', '10:09:59'), 'nothing', 'tick interval 300 s: nothing earlier than that');
SELECT is(tick_from('10:00', '10:10'), '10:15:00 then 10:30:00', 'tick interval 300 s: the look-ahead is as long');
RESET sync_engine.tick_interval_seconds;

-- Jitter moves scheduled_at, never the slot nor the next run.
SELECT fix_jitter(0.2);
SELECT is(tick_from('10:00', '10:14'), '10:18:00 then 10:30:00', 'jitter is added to the slot alone');
SELECT is(tick_from('10:00', '11:07'), '11:03:00 then 11:15:00', 'jitter is added to a caught-up slot alone');

-- Rounding of the bounds.
CREATE FUNCTION bounds(pct_min float8, pct_max float8, base int) RETURNS text LANGUAGE sql
AS $$ SELECT fix_jitter(pct_min, pct_max); SELECT lo || '..' || hi FROM sync.jitter_bounds(base) $$;
SELECT is(bounds(0.07, 0.07, 900), '63..63', '0.07 of 900 is 63');
SELECT is(bounds(0.0, 0.2, 60), '0..12', '0.2 of 60 is 12');
SELECT is(bounds(0.01, 0.011, 150), '1..1', 'no whole number between: hi < lo gives hi');
SELECT is(bounds(1, 1, 900), '899..899', 'hi is at most B - 1');
SELECT is(bounds(0.001, 0.2, 900), '1..180', 'lo is rounded up');
SELECT is(bounds(0, 0, 900), '0..0', 'no jitter');
SELECT is(bounds(0.5, 0.1, 900), '0..180', 'bounds that contradict each other: the defaults');

-- Bootstrap
SELECT fix_jitter(0.2);
DELETE FROM sync.connections;
SELECT connection('bootstrap');
SELECT connection('bootstrap with A', '{"first_activated_at": "2026-03-01T09:00:00Z"}');
SELECT connection('bootstrap from an offset', '{"first_activated_at": "2026-03-01T10:30:00+02:00"}');
SELECT is((SELECT enqueued FROM sync.tick(at('10:00'))), 3, 'bootstrap: at once');
SELECT is((job_of('bootstrap')).scheduled_at, at('10:01'), 'bootstrap: min(J, tick interval) after now');
SELECT is(meta('bootstrap'), '{"next_run_at": "2026-02-01T00:18:00Z", "last_jitter_seconds": 180}'::jsonb, 'bootstrap: next_run_at = created_at + B + J');
SELECT is(meta('bootstrap with A') ->> 'next_run_at', '2026-03-01T09:18:00Z', 'bootstrap: next_run_at = first_activated_at + B + J');
SELECT is(meta('bootstrap from an offset') ->> 'next_run_at', '2026-03-01T08:48:00Z', 'bootstrap: an offset is understood');
SELECT is((SELECT enqueued FROM sync.tick(at('10:00'))), 0, 'bootstrap: one job, although next_run_at has passed');
SELECT claim(at('10:01'));
SELECT complete('bootstrap', at('10:02'));
SELECT is(meta('bootstrap') ->> 'next_run_at', '2026-03-01T10:17:00Z', 'bootstrap: from its end on, as usual');
SET LOCAL sync_engine.tick_interval_seconds = 3600;
SELECT connection('bootstrap, slow ticks');
SELECT sync.tick(at('10:10'));
SELECT is((job_of('bootstrap, slow ticks')).scheduled_at, at('10:13'), 'bootstrap: J where it is less than the tick interval');
RESET sync_engine.tick_interval_seconds;

-- Changed by hand, seen at the next tick.
SELECT fix_jitter();
DELETE FROM sync.connections;
SELECT connection('by hand', NULL, at('10:00'));
SELECT sync.tick(at('10:00'));
UPDATE sync.connections SET metadata = jsonb_set(metadata, '{sync}', '{"interval_seconds": 120}') WHERE id = conn('by hand');
SELECT sync.tick(at('10:03'));
SELECT is((job_of('by hand')).scheduled_at, at('10:02'), 'an override written by hand is seen at the next tick');
SELECT claim(at('10:03'));
SELECT complete('by hand', at('10:03'));
UPDATE sync.connections SET last_incremental_finished_at = at('09:59') WHERE id = conn('by hand');
SELECT sync.tick(at('10:04'));
SELECT is((job_of('by hand')).scheduled_at, at('10:03'), 'a last finish written by hand is seen at the next tick');
SELECT connection('next run by hand', '{"next_run_at": "2026-03-01T10:40:00Z"}', at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:20'))), 0, 'next_run_at in the future: not looked at yet');
SELECT is((SELECT enqueued FROM sync.tick(at('10:39'))), 1, 'next_run_at within the look-ahead: looked at');
SELECT is((job_of('next run by hand')).scheduled_at, at('10:30'), 'the slot follows from L and B, not from next_run_at');
SELECT connection('default', NULL, at('10:40'));
SELECT sync.tick(at('10:40'));
SET LOCAL sync_engine.default_interval_seconds = 300;
SELECT is((SELECT enqueued FROM sync.tick(at('10:50'))), 0, 'a changed default: not yet for a run that is planned');
SELECT is((SELECT enqueued FROM sync.tick(at('10:55'))), 1, 'a changed default: the planned run comes');
SELECT claim(at('10:55'));
SELECT complete('default', at('10:55'));
SELECT is(meta('default') ->> 'next_run_at', '2026-03-01T11:00:00Z', 'a changed default: used from the connection''s next run');
RESET sync_engine.default_interval_seconds;

-- The clock went back: L lies in the future.
DELETE FROM sync.connections;
SELECT sync.tick(at('20:00'));
SELECT connection('ahead', '{"next_run_at": "2026-03-01T20:15:00Z", "cursor": 7}', at('20:00'));
SELECT connection('not ahead', '{"next_run_at": "2026-03-01T08:15:00Z"}', at('08:00'));
SELECT sync.tick(at('08:00:01'));
SELECT is(last_finish('ahead'), at('08:00:01'), 'the clock went back: L counts as N when first seen');
SELECT is(last_finish('not ahead'), at('08:00'), 'the clock went back: an L in the past is left');
SELECT is((SELECT enqueued FROM sync.tick(at('08:10'))), 0, 'the clock went back: the next run is an interval after that');
SELECT is(meta('ahead'), '{"next_run_at": "2026-03-01T08:15:01Z", "cursor": 7}'::jsonb, 'the clock went back: next_run_at is told anew, the cursor kept');
-- Any write of the application brings the connection's time back from next_run_at.
UPDATE sync.connections SET metadata = metadata || '{"application": true}' WHERE id = conn('ahead');
SELECT is((SELECT enqueued FROM sync.tick(at('08:16'))), 2, 'the clock went back: nothing waits until the former time');
SELECT is((job_of('ahead')).scheduled_at, at('08:15:01'), 'the clock went back: the slot follows from the new L');
SELECT connection('from the future', NULL, at('22:00'));
SELECT sync.tick(at('08:17'));
SELECT is(last_finish('from the future'), at('08:17'), 'an L in the future counts as now although the clock never went back');

SELECT * FROM finish();
ROLLBACK;
