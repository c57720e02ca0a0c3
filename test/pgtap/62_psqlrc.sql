-- The shortcuts of docs/psqlrc, as somebody types them.
\ir include/setup.psql
\ir ../../docs/psqlrc
SELECT plan(16);
SELECT housekeep(now());
SELECT connection('failing'), connection('limited'), connection('running'), connection('late'), connection('new');
SELECT job(x) FROM unnest('{failing,limited,running}'::text[]) x;
SELECT sync.register_executor('host');
SELECT claim(now(), 3, 'host');
SELECT sync.fail_job(r.id, r.claim_token, '{"message": "boom"}') FROM running('failing') r;
SELECT sync.fail_job(r.id, r.claim_token, '{"message": "status 429"}', 'rate_limited', 600) FROM running('limited') r;
SELECT job('late');
SELECT sync.pause_provider(provider('held'), 'incident');
SELECT conn('failing') AS id \gset
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;

SET LOCAL ROLE sync_viewer;
CREATE TEMP TABLE health AS :sync_health
SELECT is((SELECT count(*) FROM health), (SELECT count(*) FROM sync.health()), ':sync_health');
CREATE TEMP TABLE wrong AS :sync_wrong
SELECT is((SELECT count(*) FROM wrong), (SELECT count(*) FROM health WHERE verdict IN ('warning', 'critical')), ':sync_wrong');
CREATE TEMP TABLE now AS :sync_now
SELECT is((SELECT string_agg(external_id || ' on ' || executor, ',') FROM now), 'running on host', ':sync_now');
CREATE TEMP TABLE late AS :sync_late
SELECT is((SELECT string_agg(external_id || ' waits for ' || waits_for, ',') FROM late), 'late waits for an executor', ':sync_late');
CREATE TEMP TABLE failed AS :sync_failed
SELECT set_eq('SELECT external_id, last_error, outcome FROM failed', $$VALUES ('failing', 'boom', 'retrying'), ('limited', 'status 429', 'retrying')$$, ':sync_failed');
CREATE TEMP TABLE tonight AS :sync_tonight
SELECT set_eq('SELECT external_id, source FROM tonight', $$VALUES ('new', 'interval'), ('late', 'queue'), ('failing', 'retry'), ('limited', 'retry')$$, ':sync_tonight');
CREATE TEMP TABLE throttled AS :sync_throttled
SELECT set_eq('SELECT scope, provider_slug, external_id, reason FROM throttled',
    $$VALUES ('provider', 'held', NULL, 'paused: incident'), ('connection', 'github', 'limited', 'rate limited: status 429')$$, ':sync_throttled');
CREATE TEMP TABLE queue AS :sync_queue
SELECT set_eq('SELECT state, count FROM queue', $$VALUES ('running', 1::bigint), ('claimable', 1), ('in backoff', 2)$$, ':sync_queue');
CREATE TEMP TABLE connections AS :sync_connections
SELECT set_eq('SELECT provider_slug, status, count FROM connections', $$VALUES ('github', 'active', 5::bigint)$$, ':sync_connections');
CREATE TEMP TABLE why AS :sync_why
SELECT is((SELECT verdict FROM why WHERE aspect = 'last attempt'), 'failed', ':sync_why, of the connection :id');
CREATE TEMP TABLE runs AS :sync_runs
SELECT results_eq('SELECT status, kind, error FROM runs', $$VALUES ('failed', 'transient', 'boom')$$, ':sync_runs, of the connection :id');
SELECT throws_ok(:'sync_executors', '42501', NULL, ':sync_executors is not for sync_viewer');
RESET ROLE;
SET LOCAL ROLE sync_admin;
CREATE TEMP TABLE executors AS :sync_executors
SELECT is((SELECT name FROM executors), 'host', ':sync_executors');
RESET ROLE;

-- The document shows them, and no others.
\set content `cat docs/psqlrc docs/administration.md`
SELECT is((SELECT count(DISTINCT x[1]) FROM regexp_matches(:'content', '\\set (sync_[a-z]+) ', 'g') x), 12::bigint, 'twelve shortcuts, each of them tried above');
SELECT is_empty(format($$SELECT x[1] FROM regexp_matches(%1$L, ':(sync_[a-z]+)', 'g') x EXCEPT SELECT y[1] FROM regexp_matches(%1$L, '\\set (sync_[a-z]+) ', 'g') y$$, :'content'),
    'the document speaks of no other');
SELECT is_empty(format($$SELECT y[1] FROM regexp_matches(%1$L, '\\set (sync_[a-z]+) ', 'g') y EXCEPT SELECT x[1] FROM regexp_matches(%1$L, ':(sync_[a-z]+)', 'g') x$$, :'content'),
    'and of all of them');
SELECT * FROM finish();
ROLLBACK;
