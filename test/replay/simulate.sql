-- A simulated year: the calls that ticks, executors and people make, at times that this makes up. What the judge needs to know is
-- written down here as it happens, from the calls and not from the ledger.

CREATE EXTENSION sync_engine;
CREATE SCHEMA replay;

CREATE TABLE replay.clock (now_at timestamptz NOT NULL, ends_at timestamptz NOT NULL, day date, last_job bigint NOT NULL DEFAULT 0,
                           schedules int NOT NULL, fine interval NOT NULL, coarse interval NOT NULL, adopts_at timestamptz NOT NULL);
CREATE TABLE replay.zones (n int PRIMARY KEY, name text);
-- Changes of the clocks: local times from shows_before on, up to shows_after, are skipped where that is later.
CREATE TABLE replay.transitions (zone text, at timestamptz, shows_before timestamp, shows_after timestamp);
-- What a schedule planned with, for the instants later than valid_after.
CREATE TABLE replay.specs (LIKE sync.sync_schedules, valid_after timestamptz NOT NULL, n bigint GENERATED ALWAYS AS IDENTITY);
CREATE TABLE replay.paused (kind text, id text, resume_at timestamptz, PRIMARY KEY (kind, id));
CREATE TABLE replay.skipped (schedule_id bigint, at timestamptz);
CREATE TABLE replay.rewound (schedule_id bigint, at timestamptz, last_job bigint);
CREATE TABLE replay.adopted (at timestamptz, last_fire bigint);
-- max(tick interval, 60 s), for the ledger's rows later than last_fire.
CREATE TABLE replay.reaches (last_fire bigint, reach interval);
CREATE TABLE replay.asked (job_id bigint);
CREATE TABLE replay.running (job_id bigint PRIMARY KEY, token uuid, ends_at timestamptz, fate text);
CREATE TABLE replay.violations (rule text, schedule_id bigint, at timestamptz, detail text);
CREATE TABLE replay.events (kind text PRIMARY KEY, n bigint);
-- Copies of what retention drops.
CREATE TABLE replay.ledger (LIKE sync.schedule_fires);
CREATE TABLE replay.jobs (id bigint, schedule_id bigint, planned_at timestamptz, scheduled_at timestamptz, created_at timestamptz,
                          trigger_type text, status text, page int, cancelled text, connection_id bigint, job_type text, finished_at timestamptz);
CREATE TABLE replay.copied (name text PRIMARY KEY);
CREATE TABLE replay.executor (incarnation text);

CREATE FUNCTION replay.roll(low int, high int) RETURNS int LANGUAGE sql VOLATILE
AS 'SELECT low + floor(random() * (high - low + 1))::int';
CREATE FUNCTION replay.pick(VARIADIC list text[]) RETURNS text LANGUAGE sql VOLATILE
AS 'SELECT list[replay.roll(1, cardinality(list))]';
CREATE FUNCTION replay.last_fire() RETURNS bigint LANGUAGE sql VOLATILE
AS 'SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM sync.schedule_fires_id_seq';
CREATE FUNCTION replay.last_job() RETURNS bigint LANGUAGE sql VOLATILE
AS 'SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM sync.sync_jobs_id_seq';
CREATE FUNCTION replay.count(what text) RETURNS void LANGUAGE sql VOLATILE
AS 'INSERT INTO replay.events AS e VALUES (what, 1) ON CONFLICT (kind) DO UPDATE SET n = e.n + 1';

-- Mostly in the small hours, when clocks are changed.
CREATE FUNCTION replay.expression() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    m int := (ARRAY[0, 0, 15, 30, 45, replay.roll(0, 59)])[replay.roll(1, 6)];
    h int := CASE WHEN random() < 0.7 THEN replay.roll(0, 4) ELSE replay.roll(0, 23) END;
BEGIN
    RETURN CASE
        WHEN random() < 0.06 THEN format('*/%s * * * *', replay.pick('5', '10', '20', '30', '45'))
        WHEN random() < 0.12 THEN format('%s * * * *', m)
        WHEN random() < 0.20 THEN format('%s 0-4 * * *', replay.pick('*/15', '*/20', '0,30', '5'))
        WHEN random() < 0.10 THEN format('%s */%s * * *', m, replay.roll(2, 8))
        WHEN random() < 0.35 THEN format('%s %s * * *', m, h)
        WHEN random() < 0.12 THEN format('%s %s,%s * * *', m, h, replay.roll(5, 23))
        WHEN random() < 0.20 THEN format('%s %s * * %s', m, h, replay.pick('0', 'SUN', '6', '1-5', 'MON,THU', '7'))
        WHEN random() < 0.15 THEN format('%s %s * * %s', m, h, replay.pick('FRI#2', '0L', 'SUN#1', '6L'))
        WHEN random() < 0.30 THEN format('%s %s %s * *', m, h, replay.pick('1', '15', '31', 'L', 'LW', '15W', 'L-3', '1,10-12'))
        WHEN random() < 0.30 THEN format('%s %s %s %s * *', replay.roll(0, 59), m, h, replay.pick('*', '*/2', '1-7'))
        WHEN random() < 0.30 THEN format('%s %s %s * * *', replay.pick('*/20', '0,59', '30'), m, h)
        WHEN random() < 0.20 THEN format('%s %s 13 * 5', m, h)
        ELSE replay.pick('@daily', '@midnight', '@weekly', '@hourly', '@monthly', '59 23 * * *', '0 0 * 3,4,9-11 *')
    END;
END
$$;

CREATE FUNCTION replay.zone() RETURNS text LANGUAGE sql VOLATILE
AS 'SELECT z.name FROM replay.zones z, (SELECT replay.roll(1, (SELECT max(n) FROM replay.zones)) AS n OFFSET 0) r WHERE z.n = r.n';

-- After a call that settles a schedule, which was so before: what it plans with from where on.
CREATE FUNCTION replay.settled(schedule bigint, former sync.sync_schedules, as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_is sync.sync_schedules := (SELECT s FROM sync.sync_schedules s WHERE s.id = schedule);
    -- A call that changes nothing settles nothing; skip_next does.
    settles boolean := former.id IS NULL OR to_jsonb(former) - 'updated_at' <> to_jsonb(now_is) - 'updated_at';
    border timestamptz := (SELECT st.covered_until FROM sync.schedule_state st WHERE st.schedule_id = schedule);
    latest replay.specs := (SELECT p FROM replay.specs p WHERE p.id = schedule ORDER BY p.n DESC LIMIT 1);
BEGIN
    PERFORM replay.look_at_jobs(as_of);
    IF settles AND border < as_of AND now_is.cron_expression IS NOT NULL THEN
        INSERT INTO replay.violations VALUES ('a change covers what was planned until then', schedule, as_of, 'covered until ' || border);
    ELSIF border > as_of + interval '1 microsecond' AND NOT EXISTS (SELECT 1 FROM sync.schedule_fires f
              WHERE f.schedule_id = schedule AND f.last_planned_at = border AND f.outcome <> 'triggered') THEN
        INSERT INTO replay.violations VALUES ('a change covers nothing that lies ahead', schedule, as_of, 'covered until ' || border);
    END IF;
    IF latest.id IS NULL OR former.id IS NOT NULL AND settles THEN
        DELETE FROM replay.specs p WHERE p.id = schedule AND p.valid_after >= border;
        INSERT INTO replay.specs SELECT s.*, border FROM sync.sync_schedules s WHERE s.id = schedule;
    ELSE
        PERFORM replay.cut_specs(schedule, border);
    END IF;
END
$$;

-- What lies behind that time is planned anew, as the schedule is now.
CREATE FUNCTION replay.cut_specs(schedule bigint, border timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    newest bigint := (SELECT max(p.n) FROM replay.specs p WHERE p.id = schedule);
BEGIN
    DELETE FROM replay.specs p WHERE p.id = schedule AND p.valid_after >= border AND p.n <> newest;
    UPDATE replay.specs p SET valid_after = border WHERE p.n = newest AND p.valid_after > border;
END
$$;

CREATE FUNCTION replay.create_schedule(n int, as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    connection bigint;
    schedule bigint;
    kind text := replay.pick('custom', 'custom', 'custom', 'custom', 'custom', 'custom', 'hourly', 'daily', 'daily', 'weekly', 'monthly');
    expression text := CASE WHEN kind = 'custom' OR random() < 0.3 THEN replay.expression() END;
    begins timestamptz;
    lasts interval;
BEGIN
    -- A third of them share a connection.
    IF random() < 0.35 THEN
        SELECT c.id INTO connection FROM sync.connections c ORDER BY random() LIMIT 1;
    END IF;
    IF connection IS NULL THEN
        INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('t' || n % 7, replay.pick('p1', 'p1', 'p2', 'p3'))
        RETURNING id INTO connection;
    END IF;
    IF random() < 0.02 THEN
        kind := 'realtime';
        expression := NULL;
    ELSIF random() < 0.04 THEN
        -- Each minute or each few seconds, for days at a change of the clocks.
        kind := 'custom';
        expression := replay.pick('* * * * *', '*/2 * * * *', '* 0-3 * * *', '*/15 * 1-2 * * *');
        SELECT t.at - interval '1 day' INTO begins FROM replay.transitions t WHERE t.at > as_of + interval '2 days' ORDER BY random() LIMIT 1;
        lasts := interval '2 days';
    ELSIF random() < 0.15 THEN
        begins := as_of + replay.roll(0, 90) * interval '1 day';
        lasts := CASE WHEN random() < 0.5 THEN replay.roll(40, 200) * interval '1 day' END;
    END IF;
    schedule := sync.create_schedule(connection, 's' || n, kind, cron_expression => expression, timezone => replay.zone(),
        job_type => replay.pick('incremental', 'incremental', 'full', 'cleanup'), starts_at => begins, ends_at => COALESCE(begins, as_of) + lasts,
        jitter_seconds => CASE WHEN random() < 0.3 THEN replay.roll(1, 900) ELSE 0 END,
        dst_gap => replay.pick('run_after', 'skip'), dst_fold => replay.pick('first', 'second', 'both'),
        catch_up => replay.pick('latest', 'latest', 'skip', 'all'), catchup_limit => replay.roll(1, 12),
        catchup_max_age => replay.roll(1, 240) * interval '1 hour', overlap => replay.pick('skip', 'buffer_one'), as_of => as_of);
    PERFORM replay.settled(schedule, NULL, as_of), replay.count('schedules made');
END
$$;

CREATE FUNCTION replay.schedule() RETURNS bigint LANGUAGE sql VOLATILE
AS 'SELECT s.id FROM sync.sync_schedules s WHERE s.cron_expression IS NOT NULL ORDER BY random() LIMIT 1';

-- Something that people do.
CREATE FUNCTION replay.event(as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_variable
DECLARE
    schedule bigint := replay.schedule();
    connection bigint := (SELECT s.connection_id FROM sync.sync_schedules s WHERE s.id = schedule);
    former sync.sync_schedules := (SELECT s FROM sync.sync_schedules s WHERE s.id = schedule);
    what text := replay.pick('describe', 'update', 'pause', 'pause', 'resume', 'resume', 'resume', 'skip', 'skip', 'skip twice', 'trigger', 'trigger',
                             'cancel', 'pause connection', 'resume connection', 'resume connection', 'pause provider', 'resume provider',
                             'resume provider', 'interval', 'create');
    target text;
    until timestamptz;
    planned timestamptz;
BEGIN
    IF what = 'describe' THEN
        PERFORM sync.update_schedule(schedule, description => 'as of ' || as_of, as_of => as_of);
    ELSIF what = 'update' THEN
        BEGIN
        CASE replay.roll(1, 5)
            WHEN 1 THEN PERFORM sync.update_schedule(schedule, schedule_type => 'custom', cron_expression => replay.expression(), as_of => as_of);
            WHEN 2 THEN PERFORM sync.update_schedule(schedule, timezone => replay.zone(), as_of => as_of);
            WHEN 3 THEN PERFORM sync.update_schedule(schedule, dst_gap => replay.pick('run_after', 'skip'),
                                                     dst_fold => replay.pick('first', 'second', 'both'), as_of => as_of);
            WHEN 4 THEN PERFORM sync.update_schedule(schedule, jitter_seconds => replay.roll(0, 300), catch_up => replay.pick('latest', 'skip', 'all'),
                                                     as_of => as_of);
            ELSE PERFORM sync.update_schedule(schedule, ends_at => as_of + replay.roll(100, 400) * interval '1 day',
                                              overlap => replay.pick('skip', 'buffer_one'), as_of => as_of);
        END CASE;
        PERFORM replay.settled(schedule, former, as_of);
        EXCEPTION WHEN invalid_parameter_value THEN
            what := 'update refused';
        END;
    ELSIF what = 'pause' THEN
        until := CASE WHEN random() < 0.7 THEN as_of + random() * replay.roll(1, 100) * interval '1 hour' + interval '1 second' END;
        PERFORM sync.pause_schedule(schedule, 'replay', until, as_of => as_of), replay.settled(schedule, former, as_of);
        INSERT INTO replay.paused VALUES ('schedule', schedule::text, until)
        ON CONFLICT ON CONSTRAINT paused_pkey DO UPDATE SET resume_at = EXCLUDED.resume_at;
    ELSIF what = 'resume' THEN
        SELECT p.id INTO target FROM replay.paused p WHERE p.kind = 'schedule' ORDER BY random() LIMIT 1;
        IF target IS NOT NULL THEN
            SELECT s.* INTO former FROM sync.sync_schedules s WHERE s.id = target::bigint;
            PERFORM sync.resume_schedule(target::bigint, as_of => as_of), replay.settled(target::bigint, former, as_of);
            DELETE FROM replay.paused p WHERE p.kind = 'schedule' AND p.id = target;
        END IF;
    ELSIF what IN ('skip', 'skip twice') THEN
        FOR i IN 1 .. CASE what WHEN 'skip' THEN 1 ELSE 2 END LOOP
            BEGIN
                planned := sync.skip_next(schedule, as_of => as_of + i * interval '30 seconds');
                IF EXISTS (SELECT 1 FROM replay.skipped k WHERE k.schedule_id = schedule AND k.at = planned) THEN
                    INSERT INTO replay.violations VALUES ('skip_next skips each instant once', schedule, as_of, 'again ' || planned);
                END IF;
                INSERT INTO replay.skipped VALUES (schedule, planned);
                PERFORM replay.settled(schedule, NULL, as_of + i * interval '30 seconds');
                IF what = 'skip twice' THEN
                    PERFORM replay.tick(as_of + i * interval '30 seconds' + interval '1 millisecond');
                END IF;
            EXCEPTION WHEN object_not_in_prerequisite_state THEN
                what := 'nothing to skip';
            END;
        END LOOP;
    ELSIF what = 'trigger' THEN
        BEGIN
            INSERT INTO replay.asked
            VALUES (sync.trigger_schedule((SELECT s.id FROM sync.sync_schedules s ORDER BY random() LIMIT 1), as_of => as_of));
        EXCEPTION WHEN object_not_in_prerequisite_state THEN
            what := 'trigger refused';
        END;
    ELSIF what = 'cancel' THEN
        PERFORM sync.cancel_job(j.id, as_of => as_of)
        FROM (SELECT x.id FROM ONLY sync.sync_jobs x ORDER BY random() LIMIT 1) j;
    ELSIF what = 'pause connection' THEN
        PERFORM sync.pause(connection, 'replay');
        INSERT INTO replay.paused VALUES ('connection', connection::text) ON CONFLICT DO NOTHING;
    ELSIF what = 'resume connection' THEN
        SELECT p.id INTO target FROM replay.paused p WHERE p.kind = 'connection' ORDER BY random() LIMIT 1;
        IF target IS NOT NULL THEN
            PERFORM sync.resume(target::bigint);
            DELETE FROM replay.paused p WHERE p.kind = 'connection' AND p.id = target;
        END IF;
    ELSIF what = 'pause provider' AND random() < 0.5 THEN
        PERFORM sync.pause_provider('p3', 'replay');
        INSERT INTO replay.paused VALUES ('provider', 'p3') ON CONFLICT DO NOTHING;
    ELSIF what = 'resume provider' THEN
        PERFORM sync.resume_provider('p3');
        DELETE FROM replay.paused p WHERE p.kind = 'provider';
    ELSIF what = 'interval' THEN
        PERFORM set_config('sync_engine.tick_interval_seconds', replay.pick('10', '60', '60', '60', '300', '3600'), false);
        INSERT INTO replay.reaches VALUES (replay.last_fire(), replay.reach());
    ELSIF what = 'create' AND random() < 0.3
          AND (SELECT count(*) FROM sync.sync_schedules) < (SELECT c.schedules FROM replay.clock c) THEN
        PERFORM replay.create_schedule((SELECT count(*)::int FROM sync.sync_schedules), as_of);
    END IF;
    PERFORM replay.count(what);
END
$$;

CREATE FUNCTION replay.reach() RETURNS interval LANGUAGE sql VOLATILE
AS $$ SELECT make_interval(secs => GREATEST(current_setting('sync_engine.tick_interval_seconds')::int, 60)) $$;

-- Also those that have ended.
CREATE FUNCTION replay.ahead(at timestamptz) RETURNS bigint[] LANGUAGE sql VOLATILE AS $$
    SELECT array_agg(st.schedule_id) FROM sync.schedule_state st JOIN sync.sync_schedules s ON s.id = st.schedule_id
    WHERE st.covered_until > at + interval '3 hours' AND s.cron_expression IS NOT NULL
$$;

CREATE FUNCTION replay.tick(as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ahead bigint[] := replay.ahead(as_of);
    newest bigint := replay.last_job();
    ticked timestamptz := (SELECT e.last_tick_at FROM sync.engine_clock e);
BEGIN
    PERFORM sync.tick(as_of);
    INSERT INTO replay.violations
    SELECT 'what was covered hours ahead is taken back', st.schedule_id, as_of, 'covered until ' || st.covered_until
    FROM sync.schedule_state st
    WHERE st.schedule_id = ANY (ahead) AND st.covered_until > as_of + interval '3 hours' AND as_of < ticked - replay.reach();
    -- Where the clock went back by less than a tick would be early, it is waited for.
    ahead := ARRAY(SELECT st.schedule_id FROM sync.schedule_state st WHERE st.schedule_id = ANY (ahead) AND st.covered_until <= as_of + interval '3 hours');
    INSERT INTO replay.rewound SELECT x, as_of, newest FROM unnest(ahead) x;
    PERFORM replay.cut_specs(x, as_of) FROM unnest(ahead) x;
    PERFORM replay.look_at_jobs(as_of);
    INSERT INTO replay.violations
    SELECT 'a pause ends when it should', s.id, as_of, 'to be resumed at ' || p.resume_at
    FROM replay.paused p JOIN sync.sync_schedules s ON s.id = p.id::bigint
    WHERE p.kind = 'schedule' AND p.resume_at <= as_of AND NOT s.is_active;
    DELETE FROM replay.paused p WHERE p.kind = 'schedule' AND p.resume_at <= as_of;
END
$$;

-- Nothing fires while it is paused.
CREATE FUNCTION replay.look_at_jobs(as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO replay.violations
    SELECT 'nothing fires while paused', s.id, as_of, format('job %s for %s, %s paused', j.id, j.planned_at, p.kind)
    FROM ONLY sync.sync_jobs j
    JOIN sync.sync_schedules s ON s.id = j.schedule_id
    JOIN sync.connections c ON c.id = s.connection_id
    JOIN replay.paused p ON (p.kind, p.id) IN (('schedule', s.id::text), ('connection', c.id::text), ('provider', c.provider_slug))
    WHERE j.id > (SELECT last_job FROM replay.clock) AND j.trigger_type IN ('scheduled', 'catch_up') AND j.page = 1
      AND ((p.resume_at > as_of) IS NOT FALSE OR j.planned_at < p.resume_at);
    UPDATE replay.clock SET last_job = replay.last_job();
END
$$;

-- What executors do: claim, run for seconds or hours, end well or not.
CREATE FUNCTION replay.execute(as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    job record;
    owner bigint;
BEGIN
    PERFORM sync.heartbeat((SELECT e.incarnation FROM replay.executor e), ARRAY(SELECT r.job_id FROM replay.running r), as_of);
    FOR job IN DELETE FROM replay.running r WHERE r.ends_at <= as_of RETURNING * LOOP
        CASE job.fate
            WHEN 'page' THEN PERFORM sync.complete_job(job.job_id, job.token, '[]', to_jsonb(job.job_id), true, as_of => as_of);
            WHEN 'well' THEN PERFORM sync.complete_job(job.job_id, job.token, as_of => as_of);
            ELSE
                SELECT j.connection_id INTO owner FROM ONLY sync.sync_jobs j WHERE j.id = job.job_id AND j.claim_token = job.token;
                PERFORM sync.fail_job(job.job_id, job.token, '{"message": "replay"}', job.fate, as_of => as_of);
                IF job.fate = 'unauthorized' AND owner IS NOT NULL THEN
                    INSERT INTO replay.paused VALUES ('connection', owner::text) ON CONFLICT DO NOTHING;
                END IF;
        END CASE;
    END LOOP;
    INSERT INTO replay.running
    SELECT c.job_id, c.claim_token,
           as_of + CASE WHEN random() < 0.75 THEN random() * interval '2 minutes' WHEN random() < 0.8 THEN random() * interval '1 hour'
                        ELSE random() * interval '8 hours' END,
           CASE WHEN random() < 0.1 THEN 'transient' WHEN random() < 0.02 THEN 'permanent' WHEN random() < 0.02 THEN 'rate_limited'
                WHEN random() < 0.003 THEN 'unauthorized' WHEN random() < 0.05 THEN 'page' ELSE 'well' END
    FROM sync.claim_jobs((SELECT e.incarnation FROM replay.executor e), 1000, as_of) c
    ON CONFLICT (job_id) DO UPDATE SET token = EXCLUDED.token, ends_at = EXCLUDED.ends_at, fate = EXCLUDED.fate;
END
$$;

-- Once a day of the simulation, with retention; what that drops is copied before.
CREATE FUNCTION replay.keep(expired timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT p.name FROM sync.partitions p
                WHERE p.parent IN ('schedule_fires', 'sync_jobs') AND p.range_to < expired AND p.name NOT IN (SELECT c.name FROM replay.copied c)
                  AND pg_get_viewdef('sync._finished_jobs'::regclass) !~ ('sync\.' || p.name || '\M') LOOP
        IF part LIKE 'schedule_fires%' THEN
            EXECUTE format('INSERT INTO replay.ledger SELECT f.* FROM sync.%I f', part);
        ELSE
            EXECUTE format('INSERT INTO replay.jobs SELECT id, schedule_id, planned_at, scheduled_at, created_at, trigger_type, status, page, '
                           'error ->> ''cancelled'', connection_id, job_type, finished_at FROM sync.%I', part);
        END IF;
        INSERT INTO replay.copied VALUES (part);
    END LOOP;
END
$$;
CREATE FUNCTION replay.keep_house(as_of timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    FOR i IN 1 .. 1000 LOOP
        PERFORM replay.keep(as_of - interval '5 days');
        EXIT WHEN NOT sync._housekeeping(as_of);
    END LOOP;
END
$$;

-- How far the clock goes until somebody does something again.
CREATE FUNCTION replay.advance(now_at timestamptz, fine interval, coarse interval) RETURNS interval LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    look timestamptz := (SELECT min(st.look_at) FROM sync.schedule_state st);
    change timestamptz := (SELECT min(t.at) FROM replay.transitions t WHERE t.at + fine > now_at AND random() < 0.95);
BEGIN
    IF random() < 0.001 THEN
        PERFORM replay.count('outages');
        RETURN CASE WHEN random() < 0.7 THEN random() * interval '8 hours' WHEN random() < 0.8 THEN random() * interval '5 days'
                    ELSE random() * interval '21 days' END;
    ELSIF random() < 0.003 THEN
        PERFORM replay.count('clock goes back');
        RETURN - CASE WHEN random() < 0.85 THEN random() * interval '2 hours' ELSE random() * interval '60 hours' END;
    ELSIF change - fine < now_at THEN
        RETURN replay.roll(5, 60) * interval '1 second';
    ELSIF random() < 0.85 AND look > now_at THEN
        -- When a worker would wake.
        RETURN LEAST(look - now_at + random() * interval '1 second', coarse);
    ELSE
        RETURN random() * LEAST(2 * coarse, COALESCE(change - fine - now_at, 2 * coarse) + interval '1 minute');
    END IF;
END
$$;

CREATE PROCEDURE replay.run(seed double precision, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    c replay.clock;
    at timestamptz;
BEGIN
    PERFORM setseed(seed);
    INSERT INTO replay.reaches VALUES (replay.last_fire(), replay.reach());
    DELETE FROM replay.executor;
    INSERT INTO replay.executor SELECT sync.register_executor('replay', as_of => now_at) FROM replay.clock;
    DELETE FROM replay.running;
    LOOP
        SELECT * INTO c FROM replay.clock;
        EXIT WHEN c.now_at >= until;
        at := c.now_at + replay.advance(c.now_at, c.fine, c.coarse) + interval '1 millisecond';
        UPDATE replay.clock SET now_at = at;
        PERFORM replay.count('steps');
        IF replay.ahead(at) IS NOT NULL THEN
            PERFORM replay.tick(at);
        END IF;
        IF at::date > COALESCE(c.day, '-infinity') THEN
            UPDATE replay.clock SET day = at::date;
            PERFORM replay.keep_house(at);
            COMMIT;
        END IF;
        IF at > c.adopts_at AND NOT EXISTS (SELECT 1 FROM replay.adopted) THEN
            PERFORM sync.adopt_database();
            UPDATE sync.database_identity SET adopted_at = at;
            INSERT INTO replay.adopted VALUES (at, replay.last_fire());
        END IF;
        -- A change too takes back what was covered hours ahead, which is told apart from a tick's doing only here.
        IF random() < 0.15 AND replay.ahead(at) IS NULL THEN
            PERFORM replay.event(at);
            at := at + interval '61 seconds';
        END IF;
        IF random() < 0.9 THEN
            PERFORM replay.execute(at);
        END IF;
        IF random() < 0.9 THEN
            PERFORM replay.tick(at);
        END IF;
        UPDATE replay.clock SET now_at = at;
        COMMIT;
    END LOOP;
END
$$;

-- All runs end well, and nothing is left to wait for.
CREATE PROCEDURE replay.finish() LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := (SELECT GREATEST(now_at, (SELECT max(st.covered_until) FROM sync.schedule_state st WHERE st.look_at IS NOT NULL)) FROM replay.clock);
    left_over bigint;
BEGIN
    PERFORM sync.resume_provider('p3'), sync.resume(p.id::bigint) FROM replay.paused p WHERE p.kind = 'connection';
    DELETE FROM replay.paused p WHERE p.kind <> 'schedule';
    FOR i IN 1 .. 5000 LOOP
        PERFORM replay.tick(at);
        UPDATE replay.running SET ends_at = at, fate = 'well';
        PERFORM replay.execute(at);
        UPDATE replay.running SET ends_at = at, fate = 'well';
        PERFORM replay.execute(at);
        SELECT count(*) INTO left_over FROM sync.schedule_state st WHERE st.next_planned_at <= at;
        EXIT WHEN left_over = 0;
        at := at + interval '10 seconds';
        COMMIT;
    END LOOP;
    IF left_over > 0 THEN
        INSERT INTO replay.violations VALUES ('nothing waits for ever', NULL, at, left_over || ' schedules');
    END IF;
    UPDATE replay.clock SET now_at = at;
    PERFORM replay.keep('infinity');
    INSERT INTO replay.jobs
    SELECT j.id, j.schedule_id, j.planned_at, j.scheduled_at, j.created_at, j.trigger_type, j.status, j.page, j.error ->> 'cancelled',
           j.connection_id, j.job_type, j.finished_at
    FROM sync.sync_jobs j
    WHERE j.tableoid::regclass::text NOT IN (SELECT 'sync.' || c.name FROM replay.copied c);
END
$$;

CREATE PROCEDURE replay.begin(seed double precision, from_time timestamptz, zones text[], schedules int, days int, fine interval, coarse interval)
LANGUAGE plpgsql AS $$
DECLARE
    gone record;
    low timestamptz;
    high timestamptz;
    middle timestamptz;
BEGIN
    PERFORM setseed(seed);
    INSERT INTO replay.zones SELECT u.n, u.z FROM unnest(zones) WITH ORDINALITY u (z, n);
    INSERT INTO replay.clock (now_at, ends_at, schedules, fine, coarse, adopts_at)
    VALUES (from_time, from_time + make_interval(days => days), schedules, fine, coarse, from_time + random() * make_interval(days => days));
    FOR gone IN SELECT z.name AS zone, h.at AS at FROM replay.zones z
                CROSS JOIN generate_series(from_time - interval '1 day', from_time + make_interval(days => days + 60), interval '1 hour') h (at)
                WHERE (h.at AT TIME ZONE z.name) + interval '1 hour' <> (h.at + interval '1 hour') AT TIME ZONE z.name LOOP
        low := gone.at;
        high := gone.at + interval '1 hour';
        WHILE high - low > interval '1 second' LOOP
            middle := low + date_trunc('second', (high - low) / 2);
            IF (middle AT TIME ZONE gone.zone) - (low AT TIME ZONE gone.zone) = middle - low THEN
                low := middle;
            ELSE
                high := middle;
            END IF;
        END LOOP;
        INSERT INTO replay.transitions
        VALUES (gone.zone, high, (low AT TIME ZONE gone.zone) + (high - low), high AT TIME ZONE gone.zone);
    END LOOP;
    INSERT INTO sync.providers (slug, connector, max_attempts, max_run_seconds)
    SELECT p, 'noop', 4, 6 * 3600 FROM unnest('{p1,p2,p3}'::text[]) p;
    PERFORM replay.create_schedule(n, from_time) FROM generate_series(1, schedules * 4 / 5) n;
    -- Some that are sure to meet a local time that does not exist.
    FOR gone IN SELECT * FROM replay.transitions t WHERE t.shows_after > t.shows_before AND t.at > from_time + interval '1 day' ORDER BY t.at, t.zone LIMIT 5 LOOP
        INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('t0', 'p1');
        PERFORM replay.settled(sync.create_schedule((SELECT max(c.id) FROM sync.connections c), 'gap', 'custom',
            cron_expression => format('%s %s * * *', extract(minute FROM gone.shows_before), extract(hour FROM gone.shows_before)),
            timezone => gone.zone, dst_gap => 'skip', as_of => from_time), NULL, from_time);
    END LOOP;
END
$$;
