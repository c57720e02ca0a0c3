-- Cron expressions and time zones. STABLE, not IMMUTABLE: the server's time zone database may change.

CREATE FUNCTION sync.cron_next(expression text, timezone text, after timestamptz DEFAULT now(), dst_gap text DEFAULT 'run_after',
                               dst_fold text DEFAULT 'first') RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_cron_next';
COMMENT ON FUNCTION sync.cron_next(text, text, timestamptz, text, text) IS
    'The first instant later than that at which the cron expression fires in the time zone. dst_gap says what becomes of times that a change of the clocks skips (run_after: at the first instant after the gap; skip), dst_fold which of those that it repeats run (first, second, both). Null when it never fires';

CREATE FUNCTION sync.cron_previous(expression text, timezone text, before timestamptz DEFAULT now(), dst_gap text DEFAULT 'run_after',
                                   dst_fold text DEFAULT 'first') RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_cron_previous';
COMMENT ON FUNCTION sync.cron_previous(text, text, timestamptz, text, text) IS
    'The last instant earlier than that at which the cron expression fires in the time zone; see cron_next';

CREATE FUNCTION sync.cron_matches(expression text, timezone text, instant timestamptz) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_cron_matches';
COMMENT ON FUNCTION sync.cron_matches(text, text, timestamptz) IS
    'Whether the wall clock of the time zone shows at that instant, a whole second, what the cron expression asks for';

CREATE FUNCTION sync.cron_describe(expression text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_cron_describe';
COMMENT ON FUNCTION sync.cron_describe(text) IS 'The cron expression in plain English';

CREATE FUNCTION sync._cron_fault(expression text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_cron_fault';
COMMENT ON FUNCTION sync._cron_fault(text) IS 'Internal: what is wrong with a cron expression, also that it can never fire; null when nothing is';

CREATE FUNCTION sync._cron_count(expression text, timezone text, after timestamptz, until timestamptz, dst_gap text, dst_fold text) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_cron_count';
COMMENT ON FUNCTION sync._cron_count(text, text, timestamptz, timestamptz, text, text) IS
    'Internal: how many instants later than the one and not later than the other fire';

CREATE FUNCTION sync._cron_preview(expression text, timezone text, after timestamptz, dst_gap text, dst_fold text, count int,
                                   OUT run_at timestamptz, OUT local_time timestamp, OUT clock text, OUT first_skipped timestamp,
                                   OUT last_skipped timestamp)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'sync_engine_cron_preview';
COMMENT ON FUNCTION sync._cron_preview(text, text, timestamptz, text, text, int) IS
    'Internal: so many runs, and what changes of the clocks do to them: first or second of a repeated local time, after_gap; gap where nothing runs instead';

CREATE FUNCTION sync._plan_fires(schedule_id bigint, expression text, timezone text, dst_gap text, dst_fold text, catch_up text,
                                 catchup_limit int, catchup_max_age double precision, overlap text, jitter_seconds int, starts_at timestamptz,
                                 ends_at timestamptz, covered_until timestamptz, covered_offset int, skips timestamptz[], waited boolean, live boolean,
                                 paused boolean, paused_until timestamptz, adopted_at timestamptz, looks_ahead boolean, as_of timestamptz,
                                 OUT ord int, OUT outcome text, OUT reason text, OUT first_at timestamptz, OUT last_at timestamptz,
                                 OUT planned bigint, OUT scheduled_at timestamptz, OUT catches_up boolean, OUT now_covered_until timestamptz,
                                 OUT now_covered_offset int, OUT next_planned_at timestamptz, OUT look_at timestamptz, OUT waits boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'sync_engine_plan_fires';
COMMENT ON FUNCTION sync._plan_fires(bigint, text, text, text, text, text, int, double precision, text, int, timestamptz, timestamptz, timestamptz,
                                     int, timestamptz[], boolean, boolean, boolean, timestamptz, timestamptz, boolean, timestamptz) IS
    'Internal: what becomes of the planned instants of a schedule that are not covered yet, a row each span; the last row, of no outcome, tells where it stands then';
