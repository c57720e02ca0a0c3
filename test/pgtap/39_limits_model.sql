-- What claims hand out, step by step, beside a plain model of what they may: one job after the other in the specified order, each limit
-- looked at anew. Random tenants, providers, limits, priorities, rates, holds and clocks, always the same ones.
\ir include/setup.psql
SELECT plan(14);
SELECT fix_jitter();
SET LOCAL sync_engine.backoff_jitter_factor = 0;
SELECT setseed(0.39);

CREATE FUNCTION anything(n int) RETURNS int LANGUAGE sql AS $$ SELECT floor(random() * n)::int $$;
-- What is limited now.
CREATE FUNCTION room_of_tenant(tenant text) RETURNS bigint LANGUAGE sql AS $$
    SELECT (SELECT l.max_running FROM sync.tenant_limits l WHERE l.tenant_id IN (tenant, '*') ORDER BY l.tenant_id = '*' LIMIT 1)
           - (SELECT count(*) FROM sync.sync_jobs j WHERE j.status = 'running' AND j.tenant_id = tenant)
$$;
CREATE FUNCTION room_of_provider(slug text, as_of timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT LEAST(p.max_running - (SELECT count(*) FROM sync.sync_jobs j WHERE j.status = 'running' AND j.provider_slug = p.slug),
                 sync._requests_left(s.busy_until, as_of, p.requests_per_minute))
    FROM sync.providers p LEFT JOIN sync.provider_state s ON s.provider_slug = p.slug WHERE p.slug = $1
$$;
CREATE FUNCTION may_run(connection sync.connections, as_of timestamptz) RETURNS boolean LANGUAGE sql AS $$
    SELECT s.running_job_id IS NULL AND connection.status = 'active' AND p.status = 'active' AND (s.held_until IS NULL OR s.held_until <= as_of)
           AND COALESCE(sync._requests_left(s.busy_until, as_of, COALESCE(connection.requests_per_minute, p.connection_requests_per_minute)) > 0, true)
           AND NOT EXISTS (SELECT 1 FROM sync.credential_holds h
                           WHERE h.held_until > as_of
                             AND h.credential = CASE WHEN connection.config ? 'auth'
                                                     THEN md5(jsonb_build_array(p.slug, connection.tenant_id, connection.config -> 'auth')::text)
                                                     WHEN p.config ? 'auth' THEN 'provider:' || p.slug END)
    FROM sync.connection_state s, sync.providers p WHERE s.connection_id = connection.id AND p.slug = connection.provider_slug
$$;
-- The jobs that a claim has to hand out, in its order.
CREATE FUNCTION expected(max_jobs int, as_of timestamptz) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    job record;
    ids bigint[] := '{}';
    busy bigint[] := '{}';
    tenants jsonb := (SELECT COALESCE(jsonb_object_agg(t.tenant_id, room_of_tenant(t.tenant_id)), '{}') FROM (SELECT DISTINCT tenant_id FROM sync.connections) t);
    providers jsonb := (SELECT jsonb_object_agg(p.slug, room_of_provider(p.slug, as_of)) FROM sync.providers p);
BEGIN
    FOR job IN
        SELECT j.id, j.connection_id, j.tenant_id, j.provider_slug
        FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id
        WHERE j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) <= as_of AND may_run(c, as_of)
        ORDER BY j.priority DESC, GREATEST(j.scheduled_at, j.retry_after), j.id
    LOOP
        EXIT WHEN cardinality(ids) >= max_jobs;
        CONTINUE WHEN job.connection_id = ANY (busy) OR (tenants ->> job.tenant_id)::int <= 0 OR (providers ->> job.provider_slug)::int <= 0;
        ids := ids || job.id;
        busy := busy || job.connection_id;
        tenants := jsonb_set(tenants, ARRAY[job.tenant_id], COALESCE(to_jsonb((tenants ->> job.tenant_id)::int - 1), 'null'));
        providers := jsonb_set(providers, ARRAY[job.provider_slug], COALESCE(to_jsonb((providers ->> job.provider_slug)::int - 1), 'null'));
    END LOOP;
    RETURN ids;
END $$;

CREATE FUNCTION some_connection() RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM sync.connections ORDER BY id OFFSET anything(60) LIMIT 1 $$;
CREATE FUNCTION one_change(as_of timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one int := anything(100);
    tenant text := (ARRAY['a', 'b', 'c', 'd', 'e', '*'])[1 + anything(6)];
    provider text := (ARRAY['github', 'slack', 'api'])[1 + anything(3)];
    number int := NULLIF(anything(6), 5);
    connection bigint := some_connection();
    job sync.sync_jobs;
BEGIN
    IF one < 45 THEN
        INSERT INTO sync.sync_jobs (connection_id, job_type, status, priority, scheduled_at)
        SELECT some_connection(), (ARRAY['incremental', 'full', 'other'])[1 + anything(3)], 'queued', 5 * anything(3), as_of + (anything(400) - 300) * interval '1 second'
        FROM generate_series(1, 1 + anything(12))
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING;
    ELSIF one < 75 THEN
        FOR job IN SELECT j.* FROM ONLY sync.sync_jobs j WHERE j.status = 'running' ORDER BY j.id OFFSET anything(3) LIMIT 1 + anything(8) LOOP
            CASE anything(8)
                WHEN 0 THEN PERFORM sync.fail_job(job.id, job.claim_token, '{"message": "boom"}', 'transient', anything(100), as_of);
                WHEN 1 THEN PERFORM sync.fail_job(job.id, job.claim_token, '{"message": "slow"}', 'rate_limited', anything(200), as_of);
                WHEN 2 THEN PERFORM sync.complete_job(job.id, job.claim_token, next_cursor => to_jsonb(random()), has_more => job.page < 5, as_of => as_of);
                WHEN 3 THEN PERFORM sync.release_jobs(job.claimed_by, ARRAY[job.id], ARRAY[job.claim_token], as_of);
                ELSE PERFORM sync.complete_job(job.id, job.claim_token, as_of => as_of);
            END CASE;
        END LOOP;
    ELSIF one < 80 THEN
        PERFORM sync.set_tenant_limits(tenant, max_running => number);
    ELSIF one < 83 THEN
        DELETE FROM sync.tenant_limits l WHERE l.tenant_id = tenant;
    ELSIF one < 86 THEN
        UPDATE sync.providers p SET max_running = number WHERE p.slug = provider;
    ELSIF one < 89 THEN
        UPDATE sync.providers p SET requests_per_minute = CASE WHEN number < 4 THEN (ARRAY[6, 20, 60, 300])[number + 1] END WHERE p.slug = provider;
    ELSIF one < 91 THEN
        UPDATE sync.providers p SET connection_requests_per_minute = CASE WHEN number < 3 THEN (ARRAY[1, 5, 30])[number + 1] END WHERE p.slug = provider;
    ELSIF one < 93 THEN
        UPDATE sync.connections c SET requests_per_minute = CASE WHEN number < 3 THEN (ARRAY[1, 5, 30])[number + 1] END WHERE c.id = connection;
    ELSIF one < 96 THEN
        PERFORM sync.lift_hold(connection, as_of);
    ELSIF one < 98 THEN
        UPDATE sync.providers p SET status = CASE WHEN anything(3) = 0 THEN 'paused' ELSE 'active' END WHERE p.slug = provider;
    ELSE
        PERFORM sync.pause(connection, 'test'), sync.resume(connection);
    END IF;
END $$;

-- So many steps from that time on; the first claim that differs from the model, or that could have gone on.
CREATE FUNCTION walk(steps int, INOUT as_of timestamptz, OUT difference text, OUT claimed bigint) LANGUAGE plpgsql AS $$
DECLARE
    most int;
    model bigint[];
    told bigint[];
    wakes timestamptz;
BEGIN
    claimed := 0;
    FOR i IN 1 .. steps LOOP
        as_of := as_of + CASE anything(50) WHEN 0 THEN interval '-10 minutes' WHEN 1 THEN interval '10 minutes' ELSE anything(20) * interval '1 second' END;
        PERFORM one_change(as_of);
        most := (ARRAY[1, 1, 2, 5, 20, 100])[1 + anything(6)];
        model := expected(most, as_of);
        wakes := sync.next_claim_at(as_of);
        SELECT COALESCE(array_agg(c.job_id), '{}') INTO told FROM sync.claim_jobs('executor', most, as_of) c;
        claimed := claimed + cardinality(told);
        IF told <> model THEN
            difference := format('step %s at %s: %s claimed of %s, expected %s', i, as_of, told, most, model);
            RETURN;
        ELSIF cardinality(told) > 0 AND (wakes IS NULL OR wakes > as_of) THEN
            difference := format('step %s at %s: %s claimed, but next_claim_at was %s', i, as_of, told, wakes);
            RETURN;
        ELSIF cardinality(told) < most AND sync.next_claim_at(as_of) <= as_of AND cardinality(expected(100, as_of)) = 0 THEN
            difference := format('step %s at %s: nothing more to be had, but next_claim_at is %s', i, as_of, sync.next_claim_at(as_of));
            RETURN;
        END IF;
    END LOOP;
END $$;

INSERT INTO sync.providers (slug, connector, config) VALUES ('api', 'noop', '{"auth": {"type": "bearer", "token": {"$env": "ALL"}}}');
-- 60 connections of 6 tenants and 3 providers; some have credentials of their own, some share theirs.
SELECT connection('c' || i, NULL, at('07:00'), slug => (ARRAY['github', 'slack', 'api'])[1 + i % 3], tenant => (ARRAY['a', 'b', 'c', 'd', 'e', 'f'])[1 + i % 6])
FROM generate_series(1, 60) i;
UPDATE sync.connections SET config = jsonb_build_object('auth', jsonb_build_object('token', jsonb_build_object('$env', CASE WHEN id % 4 = 0 THEN 'SHARED' ELSE external_id END)))
WHERE id % 5 IN (0, 1);

SELECT COALESCE(difference, '') AS difference, claimed FROM walk(300, at('10:00')) \gset
SELECT is(:'difference'::text, '', 'claims hand out what the model does, in its order');
SELECT cmp_ok(:claimed::bigint, '>', 200::bigint, 'a lot');
-- An application's trigger
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER look BEFORE UPDATE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION look();
SELECT is(sync._rows_are_plain(false), false, 'by statements');
SELECT COALESCE(difference, '') AS difference, claimed FROM walk(150, at('12:00')) \gset
SELECT is(:'difference'::text, '', 'they do so too');
SELECT cmp_ok(:claimed::bigint, '>', 100::bigint, 'a lot');
DROP TRIGGER look ON sync.sync_jobs;
-- Lanes of fair_share that are left behind
SET LOCAL sync_engine.fair_share = on;
SELECT count(one_change(at('14:00'))) FROM generate_series(1, 30);
SET LOCAL sync_engine.fair_share = off;
SELECT COALESCE(difference, '') AS difference FROM walk(50, at('14:00')) \gset
SELECT is(:'difference'::text, '', 'and with jobs in lanes that they need no longer');

-- What the model has not met
SET LOCAL sync_engine.fair_share = off;
DELETE FROM sync.connections;
DELETE FROM sync.tenant_limits;
DELETE FROM sync.credential_holds;
UPDATE sync.providers SET max_running = NULL, requests_per_minute = NULL, connection_requests_per_minute = NULL, status = 'active';
CREATE FUNCTION claimed(as_of timestamptz, max_jobs int DEFAULT 100) RETURNS text LANGUAGE sql AS $$
    SELECT COALESCE(string_agg(c.external_id, ' ' ORDER BY j.ordinality), '')
    FROM sync.claim_jobs('executor', max_jobs, as_of) WITH ORDINALITY j JOIN sync.connections c ON c.id = j.connection_id
$$;
-- More jobs that wait for their connections than a claim reads at once, in front of one that is due before another provider's
SELECT sync.set_tenant_limits('limited', max_running => 1);
SELECT connection('w' || i, NULL, at('07:00'), tenant => 'w'), job('w' || i, 'full', scheduled_at => at('08:00')) FROM generate_series(1, 200) i;
SELECT is((SELECT count(*) FROM sync.claim_jobs('executor', 200, at('10:00'))), 200::bigint, 'two hundred run');
SELECT job('w' || i, scheduled_at => at('08:30')) FROM generate_series(1, 200) i;
SELECT connection('behind', NULL, at('07:00'), tenant => 'w'), job('behind', scheduled_at => at('08:40'));
SELECT connection('later', NULL, at('07:00'), slug => 'slack', tenant => 'w'), job('later', scheduled_at => at('08:50'));
SELECT is(claimed(at('10:00'), 1), 'behind', 'what is due first comes first, however many stand in front of it');
SELECT is(claimed(at('10:00'), 1), 'later', 'then the other one');
DELETE FROM sync.connections;
-- Jobs that one limit keeps out do not count against another
SELECT sync.set_tenant_limits('a', max_running => 1);
UPDATE sync.providers SET max_running = 2 WHERE slug = 'github';
SELECT connection(e, NULL, at('07:00'), slug => s, tenant => t), job(e, scheduled_at => at('08:00') + n * interval '1 minute')
FROM (VALUES ('a1', 'github', 'a', 1), ('a2', 'github', 'a', 2), ('b1', 'github', 'b', 3), ('s1', 'slack', 'b', 4)) x (e, s, t, n);
SELECT is(claimed(at('10:00'), 2), 'a1 b1', 'what a tenant may not run takes no room of its provider');
SELECT is(claimed(at('10:00')), 's1', 'and what is left is had');
DELETE FROM sync.connections;
DELETE FROM sync.tenant_limits;
-- A transaction that began before another one that has claimed
UPDATE sync.providers SET max_running = NULL, requests_per_minute = 60 WHERE slug = 'github';
SELECT connection('r' || i, NULL, at('07:00')), job('r' || i, scheduled_at => at('08:00')) FROM generate_series(1, 20) i;
SELECT is((SELECT count(*) FROM sync.claim_jobs('executor', 100, at('10:00'))), 6::bigint, 'a burst');
SELECT is((SELECT count(*) FROM sync.claim_jobs('executor', 100, at('10:00') - interval '20 milliseconds')), 0::bigint, 'is no other one for who comes late');
UPDATE sync.providers SET requests_per_minute = NULL, max_running = 1 WHERE slug = 'github';
DELETE FROM sync.connections;
-- With turns: jobs of before, which have one turn together, fill the room of their provider, but not another's turn
SELECT connection('old' || i, NULL, at('07:00'), tenant => 'old'), job('old' || i, scheduled_at => at('08:00')) FROM generate_series(1, 3) i;
SET LOCAL sync_engine.fair_share = on;
SELECT connection('new' || i, NULL, at('07:00'), tenant => 'new'), job('new' || i, scheduled_at => at('09:00')) FROM generate_series(1, 3) i;
CREATE FUNCTION one_after_the_other(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    job record;
    done bigint := 0;
BEGIN
    FOR i IN 1 .. n LOOP
        FOR job IN SELECT c.job_id, c.claim_token FROM sync.claim_jobs('executor', 1, at('10:00')) c LOOP
            PERFORM sync.complete_job(job.job_id, job.claim_token, as_of => at('10:00'));
            done := done + 1;
        END LOOP;
    END LOOP;
    RETURN done;
END $$;
SELECT is(one_after_the_other(6), 6::bigint, 'each claim has a job, whosever turn it is');

SELECT * FROM finish();
ROLLBACK;
