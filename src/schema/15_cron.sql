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
