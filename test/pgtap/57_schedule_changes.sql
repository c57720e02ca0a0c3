-- Schedules that are changed at awkward moments: what is planned stays covered once, and what was skipped stays so.
\ir include/setup.psql
SELECT plan(3);
SELECT fix_jitter();

CREATE FUNCTION schedule(name text) RETURNS bigint LANGUAGE sql AS 'SELECT s.id FROM sync.sync_schedules s WHERE s.name = $1';
CREATE FUNCTION ledger(name text) RETURNS TABLE (outcome text, first timestamptz, last timestamptz, planned bigint) LANGUAGE sql AS $$
    SELECT f.outcome, f.first_planned_at, f.last_planned_at, f.planned_count FROM sync.schedule_fires f
    WHERE f.schedule_id = schedule($1) ORDER BY f.first_planned_at, f.id
$$;
CREATE FUNCTION planned(name text, expression text, overlap text DEFAULT 'skip', ends_at timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT connection($1, '{}', at('09:00'));
    SELECT sync.create_schedule(conn($1), $1, 'custom', cron_expression => $2, overlap => $3, ends_at => $4, as_of => at('10:05'))
$$;

-- Nothing to plan
SELECT connection('r', '{}', at('09:00'));
SELECT lives_ok($$SELECT sync.create_schedule(conn('r'), 'r', 'realtime', as_of => at('10:00'))$$, 'a realtime schedule has no expression');
SELECT is((SELECT look_at FROM sync.schedule_state WHERE schedule_id = schedule('r')), NULL, 'ticks do not look at it');
SELECT is_empty($$SELECT * FROM sync._plan_fires(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                                                 NULL, NULL)$$, 'what is not known plans nothing');

SELECT * FROM finish();
ROLLBACK;
