-- What an operator is told of limits: explain, throttled, queue, health, metrics.
\ir include/setup.psql
SELECT plan(25);
SELECT fix_jitter();
SET LOCAL sync_engine.backoff_jitter_factor = 0;
CREATE FUNCTION told(external text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(verdict || ': ' || detail, E'\n') FROM sync.explain(conn(external)) WHERE aspect = 'limits'
$$;
CREATE FUNCTION job_told(external text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(verdict || ': ' || regexp_replace(detail, '[0-9:TZ.-]{20,}', 'then'), E'\n') FROM sync.explain(conn(external)) WHERE aspect = 'job'
$$;
CREATE FUNCTION checked(name text) RETURNS text LANGUAGE sql AS $$ SELECT verdict || ': ' || detail FROM sync.health() WHERE check_name = name $$;
INSERT INTO sync.providers (slug, connector, config) VALUES ('api', 'noop', '{"auth": {"token": {"$env": "ALL"}}}'), ('github', 'noop', '{}');
SELECT connection('a' || i, NULL, now() - interval '1 minute', slug => 'api', tenant => 'A') FROM generate_series(1, 3) i;
SELECT connection('b' || i, NULL, now() - interval '1 minute', tenant => 'B') FROM generate_series(1, 3) i;
SELECT is(told('a1'), NULL, 'explain: without limits not a word');
SELECT is_empty('SELECT * FROM sync.throttled', 'throttled: nobody');

-- A tenant's running jobs
SELECT sync.set_tenant_limits('A', max_running => 1);
SELECT job('a' || i, scheduled_at => now() - i * interval '10 minutes') FROM generate_series(1, 3) i;
SELECT is(told('a1'), 'ok: 0 of 1 jobs that tenant A may run at once are running', 'explain: a tenant with room');
SELECT is_empty('SELECT * FROM sync.throttled', 'throttled: who has room is not');
SELECT is(checked('due jobs'), 'critical: 3 jobs due and unclaimed, the oldest since 30 min', 'health: lanes count');
SELECT is((SELECT value FROM sync.metrics WHERE name = 'sync_oldest_due_age_seconds'), 1800::float8, 'metrics: lanes count');
SELECT claim(now());
SELECT is(told('a1'), 'waiting: 1 of 1 jobs that tenant A may run at once are running', 'explain: a tenant that has none');
SELECT alike(job_told('a1'), 'waiting: incremental job % is due since then and waits for its limits, see there', 'explain: the job says so');
SELECT row_eq('SELECT scope, provider_slug, tenant_id, connection_id, until, reason FROM sync.throttled',
    ROW('tenant'::text, NULL::text, 'A'::text, NULL::bigint, NULL::timestamptz, '1 of 1 jobs running'::text), 'throttled: a tenant');
SELECT is(checked('due jobs'), 'ok: 2 jobs due and unclaimed, all behind other jobs of their connections or tenants', 'health: that is not the executors'' fault');
SELECT sync.set_tenant_limits('A'), complete('a3', now());

-- A provider's
UPDATE sync.providers SET max_running = 1 WHERE slug = 'api';
SELECT is(claim(now()), 1::bigint, 'one of a provider');
SELECT is(told('a1'), 'waiting: 1 of 1 jobs that provider api may run at once are running', 'explain: a provider that has no room');
SELECT row_eq('SELECT scope, provider_slug, reason FROM sync.throttled', ROW('provider'::text, 'api'::text, '1 of 1 jobs running'::text), 'throttled: a provider');
UPDATE sync.providers SET max_running = NULL, requests_per_minute = 1 WHERE slug = 'api';
SELECT complete('a2', now());
SELECT is(told('a1'), 'ok: provider api is asked for 1 pages a minute, the next at once', 'explain: pages a minute');
SELECT claim(now()), complete('a1', now());
SELECT is(told('a1'), format('waiting: provider api is asked for 1 pages a minute, the next at %s', sync._format_utc(now() + interval '1 minute')), 'explain: pages a minute, not now');
SELECT row_eq('SELECT scope, provider_slug, until, reason FROM sync.throttled', ROW('provider'::text, 'api'::text, now() + interval '1 minute', '1 pages a minute'::text), 'throttled: by the minute');
UPDATE sync.providers SET requests_per_minute = NULL WHERE slug = 'api';

-- A connection's
UPDATE sync.connections SET requests_per_minute = 2 WHERE external_id = 'b1';
SELECT job('b1'), claim(now());
SELECT is(told('b1'), format('waiting: this connection is asked for 2 pages a minute, the next at %s', sync._format_utc(now() + interval '30 seconds')), 'explain: a connection''s pages a minute');
SELECT complete('b1', now()), job('b1', 'full'), claim(now());
SELECT alike(job_told('b1'), 'waiting: full job % is held back until then', 'explain: the job says until when');
SELECT is((SELECT state FROM sync.queue WHERE connection_id = conn('b1')), 'held back', 'queue: held back');
UPDATE sync.connections SET requests_per_minute = NULL;

-- Credentials
SELECT job('a' || i, scheduled_at => now() - i * interval '10 minutes') FROM generate_series(1, 3) i;
SELECT claim(now(), 1);
SELECT sync.fail_job(r.id, r.claim_token, '{"message": "status 429"}', 'rate_limited', 300) FROM running('a3') r;
SELECT is(told('a1'), format('waiting: its credentials were told to slow down: nothing that uses them is claimed before %s (connection %s: status 429)',
    sync._format_utc(now() + interval '5 minutes'), conn('a3')), 'explain: credentials');
SELECT results_eq('SELECT scope, provider_slug, until, reason FROM sync.throttled ORDER BY 1',
    $$SELECT * FROM (VALUES ('connection', 'api', now() + interval '5 minutes', 'rate limited: status 429'),
                            ('credentials', 'api', now() + interval '5 minutes', format('rate limited: connection %s: status 429', conn('a3')))) v$$, 'throttled: credentials');
SELECT is(checked('rate limits'), format('info: 1 connection told to slow down (api 1), until %s; held back is all that uses the same credentials (api)',
    sync._format_utc(now() + interval '5 minutes')), 'health: credentials');
SELECT job('b2'), claim(now());
SELECT fail('b2', now(), 'rate_limited', 60);
SELECT alike(told('b2'), 'waiting: it was told to slow down: nothing of it is claimed before %', 'explain: a connection');
SELECT sync.lift_hold(conn('a1'));
SELECT is(told('a1'), NULL, 'explain: lifted');

-- Turns
SET LOCAL sync_engine.fair_share = on;
SELECT is(told('b1'), 'info: sync_engine.fair_share is on: within a priority tenants are served in turn, B with weight 1', 'explain: turns');

SELECT * FROM finish();
ROLLBACK;
