-- Schedules in 40 time zones that fall due in the same minute, after engine.sql; beside them, in schema bare, tables of the same columns
-- for one plain statement, and moments to reckon from.
CREATE TABLE bench.zones (i int PRIMARY KEY, name text NOT NULL);
INSERT INTO bench.zones
SELECT ord - 1, name FROM unnest('{
    UTC, Pacific/Honolulu, America/Anchorage, America/Los_Angeles, America/Phoenix, America/Denver, America/Chicago, America/Mexico_City,
    America/New_York, America/Bogota, America/Halifax, America/St_Johns, America/Sao_Paulo, America/Argentina/Buenos_Aires, Atlantic/Azores,
    Europe/London, Europe/Dublin, Europe/Lisbon, Africa/Lagos, Africa/Casablanca, Europe/Berlin, Europe/Paris, Africa/Johannesburg,
    Europe/Athens, Africa/Cairo, Europe/Istanbul, Africa/Nairobi, Asia/Tehran, Asia/Dubai, Asia/Karachi, Asia/Kolkata, Asia/Kathmandu,
    Asia/Dhaka, Asia/Bangkok, Asia/Shanghai, Asia/Tokyo, Australia/Adelaide, Australia/Sydney, Pacific/Auckland, Pacific/Chatham
}'::text[]) WITH ORDINALITY z (name, ord);

CREATE SCHEMA bare;
CREATE TABLE bare.sync_schedules (LIKE sync.sync_schedules INCLUDING DEFAULTS, PRIMARY KEY (id));
CREATE TABLE bare.schedule_state (LIKE sync.schedule_state INCLUDING DEFAULTS, PRIMARY KEY (schedule_id)) WITH (fillfactor = 70);
CREATE TABLE bare.sync_jobs (LIKE sync.sync_jobs INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (id)) WITH (fillfactor = 80);
CREATE TABLE bare.schedule_fires (LIKE sync.schedule_fires INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (tenant_id, connection_id, schedule_id, id));
CREATE UNIQUE INDEX ON bare.sync_jobs (connection_id, job_type) WHERE status IN ('queued', 'running');
CREATE INDEX ON bare.sync_jobs (provider_slug, priority DESC, (GREATEST(scheduled_at, retry_after)), id) WHERE status = 'queued';
CREATE INDEX ON bare.schedule_state (look_at, schedule_id) WHERE look_at IS NOT NULL;

-- Connections of 1,000 tenants with a schedule each, half of them daily, the others hourly and weekly, made ten minutes before
-- they fall due: inserted by one statement, whose triggers plan each of them.
CREATE FUNCTION bench.fill_schedules(n int, due timestamptz) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sync.providers (slug, connector) VALUES ('bench', 'noop');
    SELECT sync._ensure_fires(due, true);
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, created_at)
    SELECT 't' || i % 1000, 'bench', i::text, due - interval '1 day' FROM generate_series(1, n) i;
    INSERT INTO sync.sync_schedules (connection_id, name, schedule_type, timezone, jitter_seconds, cron_expression, created_at)
    SELECT c.id, 'bench', 'custom', z.name, c.id % 2 * 60,
           to_char(due AT TIME ZONE z.name, CASE c.id / 40 % 4 WHEN 0 THEN 'FMMI "* * * *"' WHEN 1 THEN 'FMMI FMHH24 "* *" DY'
                                                               ELSE 'FMMI FMHH24 "* * *"' END),
           due - interval '10 minutes'
    FROM sync.connections c JOIN bench.zones z ON z.i = c.id % 40;
    INSERT INTO bare.sync_schedules SELECT * FROM sync.sync_schedules;
    INSERT INTO bare.schedule_state SELECT * FROM sync.schedule_state;
$$;

CREATE FUNCTION bench.rewrite_schedules() RETURNS void LANGUAGE sql AS $$
    UPDATE sync.schedule_state SET look_at = look_at;
    UPDATE bare.schedule_state SET look_at = look_at;
$$;

-- Enqueues what is due in one statement and returns how many jobs there are.
CREATE FUNCTION bare.tick_schedules(due timestamptz) RETURNS bigint LANGUAGE sql AS $$
    WITH ins AS (
        INSERT INTO bare.sync_jobs (tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, schedule_id, planned_at)
        SELECT s.tenant_id, 'bench', s.connection_id, s.job_type, s.priority, due + floor(random() * 61) * interval '1 second', s.id, due
        FROM bare.schedule_state st JOIN bare.sync_schedules s ON s.id = st.schedule_id
        WHERE st.look_at <= due
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING id, tenant_id, connection_id, schedule_id
    ), told AS (
        INSERT INTO bare.schedule_fires (tenant_id, schedule_id, connection_id, outcome, first_planned_at, last_planned_at, job_id, recorded_at)
        SELECT i.tenant_id, i.schedule_id, i.connection_id, 'fired', due, due, i.id, due FROM ins i
        RETURNING id, schedule_id
    ), stated AS (
        UPDATE bare.schedule_state st
        SET covered_until = due, next_planned_at = due + interval '1 day', look_at = due + interval '1 day', last_fire_id = t.id, last_recorded_at = due
        FROM told t WHERE st.schedule_id = t.schedule_id
        RETURNING 1
    )
    SELECT count(*) FROM stated
$$;

-- What a tick at `due` must have left: for each schedule a queued job, its row in the ledger, and the next run that the expression
-- gives; of the plain statement jobs, rows and states.
CREATE FUNCTION bench.fires_fault(expected int, due timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT CASE
               WHEN jobs <> expected OR connections <> expected THEN format('%s jobs of %s connections, not %s', jobs, connections, expected)
               WHEN fired <> expected OR others <> 0 THEN format('%s rows of the ledger fired, not %s, and %s others', fired, expected, others)
               WHEN moved <> expected THEN format('%s schedules moved on, not %s', moved, expected)
           END
    FROM (SELECT count(*) AS jobs, count(DISTINCT j.connection_id) AS connections
          FROM ONLY sync.sync_jobs j JOIN sync.sync_schedules s ON s.id = j.schedule_id AND s.connection_id = j.connection_id
          WHERE j.status = 'queued' AND j.planned_at = due AND j.scheduled_at BETWEEN due AND due + interval '60 seconds') q,
         (SELECT count(DISTINCT j.id) AS fired, count(*) - count(DISTINCT j.id) AS others
          FROM sync.schedule_fires f LEFT JOIN sync.sync_jobs j ON j.id = f.job_id AND j.schedule_id = f.schedule_id AND f.outcome = 'fired'
              AND f.first_planned_at = due AND f.last_planned_at = due AND f.planned_count = 1) l,
         (SELECT count(*) AS moved FROM sync.schedule_state st JOIN sync.sync_schedules s ON s.id = st.schedule_id
          WHERE st.covered_until >= due AND st.look_at > due
            AND st.next_planned_at = sync.cron_next(s.cron_expression, s.timezone, due)) m
$$;
CREATE FUNCTION bare.fires_fault(expected int, due timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN (jobs, fired, moved) <> (expected, expected, expected) THEN
               format('the plain statement left %s jobs, %s rows and %s states moved on, not %s each', jobs, fired, moved, expected) END
    FROM (SELECT count(*) AS jobs FROM bare.sync_jobs j WHERE j.status = 'queued' AND j.planned_at = due) q,
         (SELECT count(DISTINCT f.job_id) AS fired FROM bare.schedule_fires f WHERE f.outcome = 'fired') l,
         (SELECT count(*) AS moved FROM bare.schedule_state st WHERE st.look_at > due AND st.covered_until = due) m
$$;

-- Moments of ten years, in no order.
CREATE TABLE bench.moments (at timestamptz NOT NULL);
CREATE FUNCTION bench.fill_moments(n int) RETURNS void LANGUAGE sql AS $$
    SELECT setseed(0.5);
    INSERT INTO bench.moments SELECT '2020-01-01 00:00:00Z'::timestamptz + random() * interval '3650 days' FROM generate_series(1, n);
$$;
