-- What claims keep to: running jobs of tenants and providers, requests a minute, credentials that are held back, turns.
\ir include/setup.psql
SELECT plan(99);
SELECT fix_jitter();
SET LOCAL sync_engine.backoff_jitter_factor = 0;
-- The external ids of what a claim returned, in its order.
CREATE FUNCTION claimed(as_of timestamptz, max_jobs int DEFAULT 100) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t record;
    told text := '';
BEGIN
    FOR t IN SELECT c.external_id FROM sync.claim_jobs('executor', max_jobs, as_of) j JOIN sync.connections c ON c.id = j.connection_id LOOP
        told := concat_ws(' ', NULLIF(told, ''), t.external_id);
    END LOOP;
    RETURN told;
END $$;
CREATE FUNCTION backlog(tenant text, n int, slug text DEFAULT 'github', since text DEFAULT '08:00') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM connection(tenant || i, NULL, at('07:00'), slug => backlog.slug, tenant => tenant) FROM generate_series(1, n) i;
    PERFORM job(tenant || i, scheduled_at => at(since) + i * interval '1 second') FROM generate_series(1, n) i;
END $$;
CREATE FUNCTION done(VARIADIC externals text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(complete(e, at('10:00'))) FROM unnest(externals) e
$$;
CREATE FUNCTION own_lane(external text) RETURNS boolean LANGUAGE sql AS $$ SELECT (job_of(external)).own_lane $$;

-- Running jobs of a tenant
SELECT is(sync._claims_are_limited(at('10:00')), false, 'without limits claims have no more to look at');
SELECT sync.set_tenant_limits('A', max_running => 2);
SELECT is(sync._claims_are_limited(at('10:00')), true, 'with one they have');
SELECT backlog('A', 5), backlog('B', 3, since => '09:00');
SELECT is(own_lane('A1'), true, 'the jobs of a limited tenant wait in a lane of their own');
SELECT is(own_lane('B1'), false, 'those of others do not');
SELECT is(claimed(at('10:00')), 'A1 A2 B1 B2 B3', 'Resource Limits, concurrent sync executions per tenant: as many as it may, and all of the others''');
SELECT is(claimed(at('10:00')), '', 'none before one of them ends');
SELECT is(sync.next_claim_at(at('10:00')), NULL, 'until then an executor may sleep');
SELECT done('A1');
SELECT is(sync.next_claim_at(at('10:00')), at('08:00:03'), 'a job that ends makes room');
SELECT is(claimed(at('10:00')), 'A3', 'for one');
SELECT is(claimed(at('10:00')), '', 'and no more');
SELECT fail('A2', at('10:00'));
SELECT is(claimed(at('10:00')), 'A4', 'one that fails makes room too');
SELECT sync.cancel_job((running('A3')).id, as_of => at('10:00'));
SELECT is(claimed(at('10:00')), 'A5', 'and one that is cancelled');
SELECT is(claimed(at('10:30')), '', 'a retry counts as any other');
SELECT done('A4', 'A5', 'B1', 'B2', 'B3');
SELECT is(claimed(at('10:30')), 'A2', 'it comes when there is room');
SELECT is(complete('A2', at('10:30'), next_cursor => '1', has_more => true), true, 'its next page');
SELECT is(own_lane('A2'), true, 'is in the lane too');
SELECT is(claimed(at('10:30')), 'A2', 'and goes on');
SELECT done('A2');
-- Priority, order and several lanes of one tenant
SELECT backlog('A', 0), connection('A gitlab', NULL, at('07:00'), slug => 'gitlab', tenant => 'A'), job('A gitlab', scheduled_at => at('07:30')),
       job('A1'), job('A2', priority => 5), job('A3', scheduled_at => at('08:00')), job('B1', scheduled_at => at('07:00')), job('B2', priority => 7), job('B3', scheduled_at => at('09:30'));
SELECT is(claimed(at('10:31')), 'B2 A2 B1 A gitlab B3', 'in claim order over all lanes, the limit over all providers');
SELECT done('B2', 'A2', 'B1', 'A gitlab', 'B3');
SELECT is(claimed(at('10:31'), 1), 'A3', 'one at a time');
SELECT is(claimed(at('10:31'), 1), 'A1', 'in order');
SELECT is(claimed(at('10:31'), 1), '', 'up to the limit');
SELECT done('A1', 'A3');
-- A limit that comes late, changes, and goes
SELECT backlog('L', 4);
SELECT is(claimed(at('10:32'), 1), 'L1', 'not limited yet');
SELECT sync.set_tenant_limits('L', max_running => 2);
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs WHERE tenant_id = 'L' AND own_lane AND status = 'queued'), 3::bigint, 'a limit puts all that is queued into the lane');
SELECT is(claimed(at('10:32')), 'L2', 'what runs counts');
SELECT sync.set_tenant_limits('L', max_running => 3);
SELECT is(claimed(at('10:32')), 'L3', 'a higher limit');
SELECT sync.set_tenant_limits('L', max_running => 0);
SELECT is(claimed(at('10:32')), '', 'none at all');
SELECT done('L1', 'L2', 'L3');
SELECT is(claimed(at('10:32')), '', 'none at all, although none runs');
SELECT sync.set_tenant_limits('L');
SELECT is(claimed(at('10:32')), 'L4', 'without a limit');
SELECT done('L4'), job('L1');
SELECT is(own_lane('L1'), false, 'and new jobs are queued with all others');
-- One that was queued meanwhile by a session that did not know of the limit yet
SELECT sync.set_tenant_limits('L', max_running => 1);
SET LOCAL sync_engine.internal = on;
ALTER TABLE sync.sync_jobs DISABLE TRIGGER jobs_queued;
UPDATE ONLY sync.sync_jobs SET own_lane = false WHERE connection_id = conn('L1');
ALTER TABLE sync.sync_jobs ENABLE ALWAYS TRIGGER jobs_queued;
RESET sync_engine.internal;
SELECT job('L2', scheduled_at => at('08:30'));
SELECT is(claimed(at('10:32')), 'L2', 'a stray job is put where it belongs: the limit holds, and the order');
SELECT is(own_lane('L1'), true, 'by the claim that met it');
SELECT done('L2');
SELECT is(claimed(at('10:32')), 'L1', 'and comes in its turn');
SELECT done('L1');
-- Everybody's
DELETE FROM sync.connections;
SELECT sync.set_tenant_limits('*', max_running => 1), sync.set_tenant_limits('rich', max_connections => 100);
SELECT backlog('x', 2), backlog('y', 2), backlog('rich', 2);
SELECT is(claimed(at('10:33')), 'x1 y1 rich1 rich2', 'the limit of * is each tenant''s own, but for those that have a row');
SELECT done('x1', 'y1', 'rich1', 'rich2');
SELECT is((SELECT enqueued FROM sync.tick(at('10:33'))), 4, 'the tick');
SELECT is((SELECT string_agg(c.external_id, ' ' ORDER BY c.external_id) FROM ONLY sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id WHERE j.own_lane AND j.status = 'queued'), 'x1 x2 y1 y2', 'puts jobs into lanes');
DELETE FROM sync.tenant_limits;
DELETE FROM sync.connections;

-- Running jobs of a provider
SELECT backlog('g', 4), backlog('s', 2, 'slack');
UPDATE sync.providers SET max_running = 2 WHERE slug = 'github';
SELECT is(claimed(at('10:34')), 'g1 s1 g2 s2', 'a provider''s running jobs: as many as it may');
SELECT is(sync.next_claim_at(at('10:34')), NULL, 'and no more for now');
SELECT done('g1');
SELECT is(claimed(at('10:34')), 'g3', 'until one ends');
UPDATE sync.providers SET max_running = 0 WHERE slug = 'github';
SELECT done('g2', 'g3');
SELECT is(claimed(at('10:34')), '', 'none at all');
SELECT sync.set_tenant_limits('g', max_running => 1);
UPDATE sync.providers SET max_running = 5 WHERE slug = 'github';
SELECT job('g1', scheduled_at => at('09:00'));
SELECT is(claimed(at('10:34')), 'g4', 'both limits hold');
SELECT done('g4'), claimed(at('10:34')), done('g1');
UPDATE sync.providers SET max_running = NULL;
DELETE FROM sync.tenant_limits;
DELETE FROM sync.connections;

-- Requests a minute
SELECT backlog('r', 12), backlog('s', 1, 'slack');
UPDATE sync.providers SET requests_per_minute = 20 WHERE slug = 'github';
SELECT is(claimed(at('10:35')), 'r1 s1 r2', '20 a minute: a tenth of them at once');
SELECT is(claimed(at('10:35')), '', 'and then none');
SELECT is(sync.next_claim_at(at('10:35')), at('10:35:03'), 'for 3 seconds, as an executor is told');
SELECT is(claimed(at('10:35:02')), '', 'not before');
SELECT is(claimed(at('10:35:03')), 'r3', 'then one');
SELECT is(claimed(at('10:35:08')), 'r4', 'and one each 3 seconds');
SELECT is(claimed(at('10:40')), 'r5 r6', 'a pause does not save up more than that');
SELECT is(claimed(at('09:00')), 'r7 r8', 'a clock that went back stops nothing');
SELECT is(claimed(at('09:00:03')), 'r9', 'and the rate holds');
UPDATE sync.providers SET requests_per_minute = NULL, connection_requests_per_minute = 1 WHERE slug = 'github';
SELECT done('s1', 'r1', 'r2', 'r3', 'r4', 'r5', 'r6', 'r7', 'r8', 'r9'), job('r1', 'full'), job('r1', 'other');
SELECT is(claimed(at('10:41')), 'r10 r11 r12 r1', 'each connection''s own rate');
SELECT done('r1', 'r10');
SELECT is(claimed(at('10:41')), '', 'once a minute');
SELECT is((job_of('r1', 'other')).retry_after, at('10:42'), 'a claim that meets a job too early says when it comes');
SELECT is(claimed(at('10:41:59')), '', 'and no claim meets it before');
UPDATE sync.connections SET requests_per_minute = 60 WHERE external_id IN ('r1', 'r10');
SELECT is(claimed(at('10:42')), 'r1', 'in a minute it comes');
SELECT job('r10', 'full');
SELECT is(claimed(at('10:42')), 'r10', 'its own rate comes before that of its provider');
UPDATE sync.providers SET connection_requests_per_minute = NULL;
DELETE FROM sync.connections;

-- Credentials that are held back: a provider's
INSERT INTO sync.providers (slug, connector, config) VALUES ('api', 'noop', '{"auth": {"type": "bearer", "token": {"$env": "ALL"}}}');
SELECT backlog('p', 4, 'api'), backlog('o', 2, 'api', '09:00'), backlog('u', 1, since => '09:30');
UPDATE sync.connections SET config = '{"auth": {"token": {"$env": "OWN"}}}' WHERE tenant_id = 'o';
SELECT is(claimed(at('10:43'), 1), 'p1', 'the first');
SELECT fail('p1', at('10:43'), 'rate_limited', 600);
SELECT row_eq($$SELECT provider_slug, held_since, held_until, reason FROM sync.credential_holds$$,
    ROW('api'::text, at('10:43'), at('10:53'), 'connection ' || conn('p1') || ': boom'), 'a rate limit holds back the credentials');
SELECT is(claimed(at('10:43')), 'o1 o2 u1', 'of all that use them, but not those of others');
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs WHERE tenant_id = 'p' AND retry_after IS NOT NULL), 1::bigint, 'what is held back is not touched');
SELECT is(sync.next_claim_at(at('10:44')), at('10:53'), 'until the time that the remote gave');
SELECT is(claimed(at('10:52:59')), '', 'not before');
SELECT is(claimed(at('10:53')), 'p2 p3 p4 p1', 'then all');
SELECT fail('p2', at('10:53'), 'rate_limited', 60), fail('p3', at('10:53'), 'rate_limited', 600), fail('p4', at('10:53'), 'rate_limited', 30);
SELECT is((SELECT held_until FROM sync.credential_holds), at('11:03'), 'the latest time counts');
SELECT job('u1', 'full'), done('u1', 'o1', 'o2', 'p1');
SELECT is(sync.lift_hold(conn('p1'), at('10:54')), true, 'an operator can lift it');
SELECT is(sync.lift_hold(conn('p1'), at('10:54')), false, 'once');
SELECT results_eq($$SELECT action, tenant_id, object_id FROM sync.audit_log WHERE action = 'connection.lift_hold'$$,
    $$VALUES ('connection.lift_hold', 'p', conn('p1')::text)$$, 'which the audit log tells');
SELECT is(claimed(at('10:54')), 'u1 p4 p2', 'what failed itself keeps its backoff');
SELECT throws_ok('SELECT sync.lift_hold(-1)', 'P0002', NULL, 'of a connection that is there');
DELETE FROM sync.connections;
-- Those that connections of a tenant share, and a connection's own
SELECT backlog('q', 3, 'github'), backlog('v', 1, 'github', '08:30');
UPDATE sync.connections SET config = '{"auth": {"token": {"$env": "SHARED"}}}' WHERE external_id IN ('q1', 'q2', 'v1');
SELECT is(claimed(at('11:10'), 1), 'q1', 'the first');
SELECT fail('q1', at('11:10'), 'rate_limited', 300);
SELECT is(claimed(at('11:10')), 'q3 v1', 'shared credentials hold back who shares them, within the tenant');
SELECT is((job_of('q2')).retry_after, at('11:15'), 'until the time that the remote gave');
SELECT job('q3', 'full'), job('v1', 'full');
SELECT fail('q3', at('11:11'), 'rate_limited', 60), fail('v1', at('11:11'), 'rate_limited', 60);
SELECT is((SELECT count(*) FROM sync.credential_holds WHERE held_until > at('11:11')), 1::bigint, 'what nobody shares needs no hold');
SELECT is(claimed(at('11:11:30')), '', 'all jobs of the connection wait');
SELECT is((job_of('v1', 'full')).retry_after, at('11:12'), 'as long');
SELECT is(claimed(at('11:12')), 'q3 v1', 'then they come, one at a time');
SELECT done('q3', 'v1');
SELECT is(claimed(at('11:12')), 'q3 v1', 'one at a time');
SELECT is(sync.lift_hold(conn('q2'), at('11:13')), true, 'lifted for all who share them');
SELECT is(claimed(at('11:13')), 'q2', 'what had not failed itself comes');
DELETE FROM sync.connections;
SELECT sync.tick(at('11:13'));
SELECT is(sync._claims_are_limited(at('11:20')), false, 'nothing is left behind');

-- Lanes whose jobs cannot begin do not stand in front of those that can
SELECT sync.set_tenant_limits('*', max_running => 5);
SELECT backlog('busy' || i, 1, since => '06:00') FROM generate_series(1, 20) i;
SELECT is(claim(at('11:14')), 20::bigint, 'twenty tenants run a job each');
SELECT job('busy' || i || '1', 'full', scheduled_at => at('06:30')) FROM generate_series(1, 20) i;
SELECT backlog('idle', 2);
SELECT is(claimed(at('11:14'), 1), 'idle1', 'another one''s job that is due later, although theirs wait for their connections');
SET LOCAL sync_engine.fair_share = on;
SELECT is(claimed(at('11:14'), 1), 'idle2', 'with turns as well');
SELECT is(claimed(at('11:14'), 1), '', 'then there is nothing');
SET LOCAL sync_engine.fair_share = off;
SELECT is(claimed(at('11:14'), 1), '', 'nor without turns');
DELETE FROM sync.tenant_limits;
DELETE FROM sync.connections;
SELECT sync.tick(at('11:14'));

-- Turns
SET LOCAL sync_engine.fair_share = on;
SELECT backlog('big', 300), backlog('small', 1, since => '10:00'), backlog('other', 1, since => '10:30');
SELECT is((SELECT count(*) FROM ONLY sync.sync_jobs WHERE own_lane), 302::bigint, 'fair_share: everybody has a lane');
SELECT is(claimed(at('11:20'), 1), 'big1', 'the first that is due');
SELECT is(claimed(at('11:20'), 1), 'small1', 'a tenant with many jobs delays another''s one by a single claim');
SELECT is(claimed(at('11:20'), 1), 'other1', 'and the next one''s');
SELECT is(claimed(at('11:20'), 3), 'big2 big3 big4', 'who is alone gets all');
SELECT backlog('late', 1, since => '11:00');
SELECT is(claimed(at('11:20'), 2), 'big5 late1', 'whoever comes late waits no longer');
SELECT done('late1', 'small1'), job('late1'), job('small1', priority => 1);
SELECT is(claimed(at('11:20'), 2), 'small1 late1', 'priority comes first, then whose turn it is');
DELETE FROM sync.connections WHERE tenant_id <> 'big';
SELECT sync.set_tenant_limits('heavy', weight => 3), backlog('heavy', 300), backlog('light', 300);
CREATE FUNCTION running_of(tenant text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM ONLY sync.sync_jobs WHERE status = 'running' AND tenant_id = tenant
$$;
CREATE TEMP TABLE before AS SELECT running_of('big') AS big;
SELECT claim(at('11:21'), 1) FROM generate_series(1, 200);
SELECT is(running_of('heavy') + running_of('light') + running_of('big') - big, 200::bigint, 'each claim has a job') FROM before;
SELECT ok(running_of('heavy') BETWEEN 118 AND 122 AND running_of('light') BETWEEN 38 AND 42, 'in proportion to the weights: 3 to 1 to 1');
SELECT is(claim(at('11:21'), 100), 100::bigint, 'in one claim');
SELECT ok(running_of('heavy') BETWEEN 178 AND 182 AND running_of('light') BETWEEN 58 AND 62, 'as well');
SELECT sync.set_tenant_limits('light', max_running => running_of('light')::int);
TRUNCATE before;
INSERT INTO before SELECT running_of('light');
SELECT is(claim(at('11:21'), 40), 40::bigint, 'a limit');
SELECT is(running_of('light'), big, 'holds there too') FROM before;
SELECT ok(running_of('heavy') BETWEEN 208 AND 212, 'and leaves its part to the others');
SET LOCAL sync_engine.fair_share = off;
DELETE FROM sync.tenant_limits;
SELECT backlog('plain', 2, since => '06:00');
SELECT matches(claimed(at('11:22'), 3), '^plain1 plain2 light[0-9]+$', 'off: the order is that of the specification again, whatever lane a job is in');

SELECT * FROM finish();
ROLLBACK;
