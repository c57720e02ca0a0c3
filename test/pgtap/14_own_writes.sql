-- What an application writes to the tables itself works as well as the functions do.
\ir include/setup.psql
SELECT plan(62);
SELECT fix_jitter();

-- The least that each table takes.
SELECT lives_ok($$INSERT INTO sync.providers (slug) VALUES ('github')$$, 'a provider is its slug');
SELECT lives_ok($$INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('T', 'github')$$, 'a connection is its tenant and provider');
SELECT is((SELECT status || ' ' || metadata || ' ' || config FROM sync.connections), 'active {} {}', 'a connection''s defaults');
SELECT is((SELECT enqueued FROM sync.tick(at('10:00'))), 1, 'it is scheduled');
SELECT is(claim(at('10:00')), 1::bigint, 'and claimed, although its provider has no configuration');
SELECT throws_ok($$INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('T', 'nobody')$$, '23503', NULL, 'an unknown provider is refused');
SELECT lives_ok($$INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id) VALUES (1000000, 'T', 'github', 'own id')$$, 'ids may be given');
SELECT throws_ok($$INSERT INTO sync.connections (tenant_id, provider_slug, external_id) VALUES ('T', 'github', 'own id')$$, '23505', NULL,
    'tenant, provider and external_id are unique');
SELECT lives_ok($$INSERT INTO sync.connections (tenant_id, provider_slug, external_id, name) VALUES ('T', 'github', 'own id', 'upserted')
    ON CONFLICT (tenant_id, provider_slug, external_id) DO UPDATE SET name = EXCLUDED.name$$, 'an upsert of a connection works');
DELETE FROM sync.connections;

-- A job row with only the five columns, in every status.
SELECT connection('five ' || s, NULL, at('10:00')) FROM unnest('{queued,running,succeeded,failed,cancelled}'::text[]) s;
SELECT lives_ok(format($$INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, status) VALUES ('T', 'github', %s, 'incremental', %L)$$,
    conn('five ' || s), s), 'five columns: ' || s)
FROM unnest('{queued,running,succeeded,failed,cancelled}'::text[]) s;
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE status = 'running' AND claim_token IS NOT NULL AND started_at IS NOT NULL), 1::bigint,
    'five columns: a running job has token and start');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE finished_at IS NOT NULL), 3::bigint, 'five columns: an ended job has its time');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE scheduled_at IS NULL OR priority <> 0 OR attempts <> 0 OR run_id IS DISTINCT FROM id), 0::bigint,
    'five columns: the rest is filled in');
SELECT throws_ok($$INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, status) VALUES ('T', 'github', conn('five queued'), 'x', 'completed')$$,
    '23514', NULL, 'an unknown status is refused');
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 3, 'five columns: the tick passes by what is live');
SELECT is((SELECT sync.complete_job(r.id, r.claim_token, as_of => now()) FROM running('five running') r), true, 'five columns: a running job can be completed');
SELECT is(claim('2100-01-01 UTC'), 5::bigint - 1, 'five columns: a queued job is claimed');
DELETE FROM sync.connections;

-- Misfits
SELECT connection('fits', NULL, at('10:00'));
SELECT lives_ok($$INSERT INTO sync.sync_jobs (connection_id, job_type) VALUES (conn('fits'), 'taken over')$$, 'tenant, provider and status may be left out');
SELECT is((job_of('fits', 'taken over')).tenant_id, 'T', 'the connection''s tenant is taken over');
SELECT throws_ok($$INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type) VALUES ('another', 'github', conn('fits'), 'x')$$,
    '23514', NULL, 'another tenant''s job is refused');
SELECT throws_ok($$INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type) VALUES ('T', 'gitlab', conn('fits'), 'x')$$,
    '23514', NULL, 'another provider''s job is refused');
SELECT throws_ok($$INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type) VALUES ('T', 'github', -1, 'x')$$,
    '23503', NULL, 'a job without a connection is refused');
SELECT throws_ok($$INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type) VALUES ('T', 'github', conn('fits'), '')$$,
    '23514', NULL, 'a job without a type is refused');
DELETE FROM sync.connections;

-- The ON CONFLICT clause of the contract
SELECT connection('upsert', NULL, at('10:00'));
CREATE FUNCTION enqueue() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, status)
    VALUES ('T', 'github', conn('upsert'), 'incremental', 'queued')
    ON CONFLICT (connection_id, job_type) WHERE status IN ('queued','running') DO NOTHING;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;
SELECT is(enqueue(), 1::bigint, 'ON CONFLICT DO NOTHING: the first job is written');
SELECT is(enqueue(), 0::bigint, 'ON CONFLICT DO NOTHING: a second queued one is not');
SELECT claim('2100-01-01 UTC');
SELECT is(enqueue(), 0::bigint, 'ON CONFLICT DO NOTHING: nor beside a running one');
SELECT is((SELECT enqueued FROM sync.tick(at('10:30'))), 0, 'ON CONFLICT DO NOTHING: the tick sees the job');
SELECT complete('upsert', '2100-01-01 UTC');
SELECT housekeep('2100-01-01 UTC');
SELECT is(enqueue(), 1::bigint, 'ON CONFLICT DO NOTHING: again after it ended');
SELECT is((SELECT count(*) FROM sync.sync_jobs), 2::bigint, 'one name shows live and finished jobs');
SELECT is((SELECT count(DISTINCT id) FROM sync.sync_jobs), 2::bigint, 'ids are unique among them');
DELETE FROM sync.connections;

-- By-hand changes of jobs never strand a connection: it is scheduled again.
CREATE FUNCTION strand(external text, ticked timestamptz, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    PERFORM connection(external, NULL, at('10:00'));
    PERFORM sync.tick(at('10:15'));
    IF external LIKE 'running%' THEN
        PERFORM claim(at('10:15'));
    END IF;
    EXECUTE replace(statement, '$job', (job_of(external)).id::text);
    SELECT * INTO r FROM sync.tick(ticked);
    RETURN live(external) || ' live, running lease ' || COALESCE((SELECT running_job_id IS NOT NULL FROM sync.connection_state WHERE connection_id = conn(external))::text, '-');
END $$;
SELECT is(strand('queued, deleted', at('10:30'), 'DELETE FROM sync.sync_jobs WHERE id = $job'), '1 live, running lease false', 'a queued job deleted by hand');
SELECT is(strand('running, deleted', at('10:30'), 'DELETE FROM sync.sync_jobs WHERE id = $job'), '1 live, running lease false', 'a running job deleted by hand');
SELECT is(strand('queued, cancelled', at('10:30'), $$UPDATE sync.sync_jobs SET status = 'cancelled' WHERE id = $job$$), '1 live, running lease false', 'a queued job cancelled by hand');
SELECT is(strand('running, cancelled', at('10:30'), $$UPDATE sync.sync_jobs SET status = 'cancelled' WHERE id = $job$$), '1 live, running lease false', 'a running job cancelled by hand');
SELECT is(strand('running, succeeded', at('10:35'), $$UPDATE sync.sync_jobs SET status = 'succeeded', finished_at = at('10:20') WHERE id = $job$$), '1 live, running lease false', 'a running job ended by hand');
SELECT is(last_finish('running, succeeded'), at('10:20'), 'a running job ended by hand has ended the run');
SELECT is((job_of('running, succeeded')).scheduled_at, at('10:35'), 'the next run is reckoned from there');
SELECT is(strand('running, failed', at('10:35'), $$UPDATE sync.sync_jobs SET status = 'failed', finished_at = at('10:20') WHERE id = $job$$), '1 live, running lease false', 'a running job failed by hand');
SELECT is(strand('running, requeued', at('10:15:30'), $$UPDATE sync.sync_jobs SET status = 'queued', claim_token = NULL, claimed_by = NULL WHERE id = $job$$), '1 live, running lease false', 'a running job requeued by hand');
SELECT is(strand('running, other type', at('10:31'), $$UPDATE sync.sync_jobs SET job_type = 'full' WHERE id = $job$$), '1 live, running lease false', 'a running job turned into another type');
SELECT is(strand('queued, all deleted', at('10:30'), 'DELETE FROM sync.sync_jobs'), '1 live, running lease false', 'all jobs deleted by hand');
SELECT is(claim(at('11:00')), (SELECT count(DISTINCT connection_id) FROM sync.sync_jobs WHERE status IN ('queued', 'running')), 'each of them is claimable');
DELETE FROM sync.connections;
-- An application that runs a job itself.
SELECT connection('own executor', NULL, at('10:00'));
SELECT job('own executor'), job('own executor', 'full');
UPDATE sync.sync_jobs SET status = 'running' WHERE id = (job_of('own executor')).id;
SELECT is(claim(at('11:00')), 0::bigint, 'a job set to running by hand takes the connection''s one place');
SELECT throws_ok($$UPDATE sync.sync_jobs SET status = 'running' WHERE id = (job_of('own executor', 'full')).id$$, '23505', NULL, 'a second one is refused');
UPDATE sync.sync_jobs SET status = 'succeeded' WHERE id = (job_of('own executor')).id;
SELECT is(claim(at('11:00')), 1::bigint, 'and gives it back');
SELECT is((running('own executor')).job_type, 'full', 'to the other job');
DELETE FROM sync.connections;

-- A finished job set back to queued by hand: refused, or really queued; never a job that nobody will ever see.
SELECT housekeep(at('10:00'));
SELECT connection('revived', NULL, at('10:00'));
SELECT job('revived');
SELECT claim(at('10:30'));
SELECT fail('revived', at('10:31'), 'permanent');
CREATE FUNCTION revive() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    old bigint := (job_of('revived')).id;
BEGIN
    UPDATE sync.sync_jobs SET status = 'queued', finished_at = NULL WHERE id = old;
    RETURN CASE WHEN claim(at('10:40')) = 1 THEN 'works' ELSE 'queued for ever' END;
EXCEPTION WHEN OTHERS THEN
    RETURN 'refused';
END $$;
SELECT isnt(revive(), 'queued for ever', 'a finished job set to queued by hand is refused or runs');
SELECT job('revived', 'full');
SELECT throws_ok($$INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, status)
    SELECT min(j.id), 'T', 'github', conn('revived'), 'again', 'queued' FROM sync.sync_jobs j WHERE j.connection_id = conn('revived')$$, '23505', NULL,
    'the id of a finished job is not given again');
SELECT sync.cancel_job((job_of('revived', 'full')).id, as_of => at('10:41'));
SELECT throws_ok($$INSERT INTO sync.sync_jobs (id, connection_id, job_type) SELECT max(j.id), conn('revived'), 'again' FROM sync.sync_jobs j$$, '23505', NULL,
    'nor is the id of the newest one');
DELETE FROM sync.connections;

-- A connection that moves to another provider or tenant takes its queued jobs along.
SELECT connection('moves', NULL, at('10:00'));
SELECT provider('gitlab', '{"where": "gitlab"}');
SELECT job('moves');
UPDATE sync.connections SET provider_slug = 'gitlab', tenant_id = 'U' WHERE id = conn('moves');
SELECT results_eq($$SELECT tenant_id, provider_slug, config ->> 'where' FROM sync.claim_jobs('executor', 1, at('11:00'))$$, $$VALUES ('U', 'gitlab', 'gitlab')$$,
    'a connection that moves takes its queued job along');
SELECT complete('moves', at('11:00'), '[{"kind": "k"}]');
SELECT results_eq('SELECT tenant_id, provider_slug FROM sync.signals', $$VALUES ('U', 'gitlab')$$, 'and its signals are those of the new tenant');
SELECT job('moves');
UPDATE sync.providers SET slug = 'gitlab-cloud' WHERE slug = 'gitlab';
SELECT results_eq($$SELECT provider_slug FROM sync.claim_jobs('executor', 1, at('11:10'))$$, $$VALUES ('gitlab-cloud')$$,
    'a renamed provider''s queued jobs are still claimed');

DELETE FROM sync.connections;

-- What a connection has brought belongs to its tenant: from then on it does not move, so that no key is stored twice and
-- deleting it leaves nothing behind.
SELECT connection('stays', NULL, at('10:00'));
SELECT job('stays'), claim(at('11:20')), complete('stays', at('11:20'), '[{"dedupe_key": "seen"}]');
CREATE TEMP TABLE stays AS SELECT conn('stays') AS id, state_of('stays') AS state;
SELECT throws_ok($$UPDATE sync.connections SET tenant_id = 'V' WHERE id = conn('stays')$$, '55000',
    format('connection %s has signals or history of tenant T', id), 'a connection with history does not move to another tenant') FROM stays;
SELECT is(state_of('stays'), (SELECT state FROM stays), 'the refusal changed nothing');
DELETE FROM sync.signals WHERE connection_id = conn('stays');
SELECT throws_ok($$UPDATE sync.connections SET tenant_id = 'V' WHERE id = conn('stays')$$, '55000', NULL, 'nor with history alone');
SELECT lives_ok($$UPDATE sync.connections SET provider_slug = 'github', name = 'renamed', external_id = 'moved on' WHERE id = conn('stays')$$, 'anything else of it may change');
DELETE FROM sync.connections WHERE id = (SELECT id FROM stays);
SELECT is((SELECT count(*) FROM sync.signals WHERE connection_id = (SELECT id FROM stays)) + (SELECT count(*) FROM sync.sync_executions WHERE connection_id = (SELECT id FROM stays)), 0::bigint,
    'deleting it takes all its signals and history along');

-- A connection that is written again under the id of a deleted one, whose large history is still being removed, keeps what it brings.
SELECT connection('again', NULL, at('10:00'));
SELECT job('again'), claim(at('11:30')), complete('again', at('11:30'), '[{"dedupe_key": "old"}]');
INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, received_at) SELECT 'T', 'github', conn('again'), at('11:30') FROM generate_series(1, 25000);
CREATE TEMP TABLE again AS SELECT conn('again') AS id;
DELETE FROM sync.connections WHERE id = (SELECT id FROM again);
CREATE FUNCTION written_again() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sync.connections (id, tenant_id, provider_slug, external_id) SELECT id, 'T', 'github', 'again' FROM again;
    PERFORM job('again'), claim(at('11:31')), complete('again', at('11:31'), '[{"dedupe_key": "fresh"}]');
    PERFORM housekeep(at('11:32'));
    RETURN (SELECT count(*) FROM sync.signals WHERE connection_id = conn('again') AND dedupe_key = 'fresh') || ' kept, '
        || (SELECT count(*) FROM sync.signals WHERE connection_id = conn('again') AND dedupe_key IS NULL) || ' left';
EXCEPTION WHEN unique_violation OR object_not_in_prerequisite_state THEN
    RETURN 'refused';
END $$;
SELECT matches(written_again(), '^(1 kept, 0 left|refused)$', 'an id written again keeps what is new, or is refused while the old is being removed');

SELECT * FROM finish();
ROLLBACK;
