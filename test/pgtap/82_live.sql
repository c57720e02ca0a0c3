-- Watching a tenant's changes: what is told, to whom, and when all has to be read again. Changes are told when they commit, so this file is no
-- transaction of its own; it drops what it made.
\set QUIET 1
\set ON_ERROR_STOP 1
\set ECHO none
\pset format unaligned
\pset tuples_only on
\pset pager off
SET client_min_messages = error;
SET TimeZone = 'UTC';
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET sync_engine.background_ticks = off', current_database());
    -- The worker's housekeeping keeps the real time: this file's days are long over for it.
    EXECUTE format('ALTER DATABASE %I SET sync_engine.execution_retention_days = 0', current_database());
    EXECUTE format('ALTER DATABASE %I SET sync_engine.job_retention_days = 0', current_database());
END
$$;
SET sync_engine.jitter_pct_min = 0;
SET sync_engine.jitter_pct_max = 0;
SET sync_engine.backoff_jitter_factor = 0;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
CREATE EXTENSION dblink SCHEMA tap;
CREATE EXTENSION sync_engine;
SET search_path = tap, public;
\ir include/helpers.psql

SELECT plan(108);

CREATE TABLE reader (tenant text PRIMARY KEY, "position" text);
CREATE FUNCTION watch(tenant text, seconds int DEFAULT 3600) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    PERFORM set_config('sync_engine.tenant_id', tenant, true);
    found := sync.watch_changes(seconds);
    PERFORM set_config('sync_engine.tenant_id', '', true);
    INSERT INTO reader VALUES (tenant, found) ON CONFLICT ON CONSTRAINT reader_pkey DO UPDATE SET position = found;
    RETURN found;
END $$;
CREATE FUNCTION changes(wanted text, after text, max_rows int DEFAULT 1000)
RETURNS TABLE ("position" text, kind text, connection_id bigint, object_id bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('sync_engine.tenant_id', wanted, true);
    RETURN QUERY SELECT * FROM sync.read_changes(after, max_rows);
    PERFORM set_config('sync_engine.tenant_id', '', true);
END $$;
-- What a reader is told that goes on from where it was: kinds, with the connection where there is one.
CREATE FUNCTION news(wanted text DEFAULT 'T', max_rows int DEFAULT 1000) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    told text[] := '{}';
BEGIN
    FOR r IN SELECT n.* FROM reader d CROSS JOIN LATERAL changes(wanted, d.position, max_rows) n WHERE d.tenant = wanted LOOP
        told := told || concat_ws(' ', r.kind, COALESCE((SELECT c.external_id FROM sync.connections c WHERE c.id = r.connection_id), r.connection_id::text));
        UPDATE reader d SET position = r.position WHERE d.tenant = wanted;
    END LOOP;
    RETURN array_to_string(told, ', ');
END $$;

-- Who may watch what.
SELECT throws_ok('SELECT sync.watch_changes()', '42501', 'the session is bound to no tenant whose changes it could watch', 'whoever is bound to no tenant watches none');
SELECT throws_ok($$SELECT * FROM sync.read_changes('')$$, '42501', 'the session is bound to no tenant whose changes it could watch', 'nor reads');
SELECT throws_ok('SELECT sync.change_slot()', '42501', 'the session is bound to no tenant whose changes it could watch', 'nor has a slot');
SELECT throws_ok(format($$SELECT watch('T', %L)$$, s), '22023', 'seconds must be between 1 and 3600', format('not for %L seconds', s))
FROM unnest('{0,3601,NULL}'::int[]) s;
SELECT throws_ok(format($$SELECT * FROM changes('T', '', %L)$$, n), '22023', 'max_rows must be between 1 and 10000', format('nor %L rows', n))
FROM unnest('{0,10001,NULL}'::int[]) n;
SELECT matches(watch('T'), '^[0-9a-f]+-[0-9]+$', 'who watches gets a position');
SELECT is(watch('U') IS NOT NULL, true, 'another tenant is watched too');
SELECT is((SELECT count(DISTINCT s) FROM (SELECT set_config('sync_engine.tenant_id', t, false), sync.change_slot() AS s FROM unnest('{T,U,T}'::text[]) t) x), 2::bigint,
    'each has its slot');
SELECT matches(sync.change_slot(), '^[0-9a-f]{8}$', 'of eight digits');
RESET sync_engine.tenant_id;
SELECT is(news(), '', 'nothing has changed');

-- Connections.
SELECT connection('a', NULL, at('09:00')), connection('b', NULL, at('09:00')), connection('u', NULL, at('09:00'), tenant => 'U'), connection('x', NULL, at('09:00'), tenant => 'X');
SELECT is(news(), 'connection a, connection b', 'new connections are told, in their order');
SELECT is(news(), '', 'once');
SELECT is(news('U'), 'connection u', 'each tenant is told of its own');
UPDATE sync.connections SET name = 'A' WHERE external_id = 'a';
SELECT is(news(), 'connection a', 'a name');
SELECT sync.set_interval(conn('a'), 3600);
SELECT is(news(), 'connection a', 'an interval');
UPDATE sync.connections SET name = 'A', updated_at = now() WHERE external_id = 'a';
SELECT is(news(), '', 'what stays the same is not told');
SELECT sync.pause(conn('a'));
SELECT is(news(), 'connection a', 'a pause');
SELECT sync.resume(conn('a'));
SELECT is(news(), 'connection a', 'and its end');
SELECT sync.pause(conn('a'));
SELECT news();

-- Jobs, written by place.
SELECT sync.tick(at('10:15'));
SELECT is(news(), 'job b', 'a tick tells of what it enqueues');
SELECT claim(at('10:16'));
SELECT is(news(), 'job b', 'a claim of what it takes');
SELECT complete('b', at('10:17'));
SELECT is(news(), 'job b', 'a completion of what has ended, but not of the connection''s next run');
SELECT sync.trigger(conn('b'), as_of => at('10:18'));
SELECT is(news(), 'job b', 'a trigger');
SELECT claim(at('10:18'));
SELECT complete('b', at('10:19'), '[{"kind": "item"}]', '1', true);
SELECT is(news(), 'job b, job b', 'the page that has ended and the one that follows');
SELECT claim(at('10:19'));
SELECT news();
SELECT sync.add_signals(r.id, r.claim_token, '[{"kind": "item"}]', at('10:19')) FROM running('b') r;
SELECT is(news(), 'job b', 'signals of a job that runs');
SELECT sync.complete_jobs(jsonb_build_array(jsonb_build_object('job_id', r.id, 'claim_token', r.claim_token, 'next_cursor', 2)), at('10:19')) FROM running('b') r;
SELECT is(news(), 'job b', 'a result that says no more than that it has ended');

-- Jobs, written by statements.
SELECT job('b'), claim(at('10:20'));
SELECT is(news(), 'job b', 'queued and claimed at once: told once');
SELECT fail('b', at('10:21'));
SELECT is(news(), 'job b, notification b', 'a failure, and the incident that it is');
SELECT claim(at('12:00'));
SELECT news();
SELECT sync.release_jobs('executor', ARRAY[r.id], ARRAY[r.claim_token], at('12:00')) FROM running('b') r;
SELECT is(news(), 'job b', 'a job that is given back');
SELECT claim(at('12:00'));
SELECT news();
SELECT sync.tick(at('20:00'));
SELECT matches(news(), 'job b', 'one that is lost');
SELECT sync.cancel_job((job_of('b')).id, as_of => at('20:00'));
SELECT is(news(), 'job b', 'one that is cancelled');
SELECT job('b', 'full'), claim(at('20:01'));
SELECT fail('b', at('20:02'), 'permanent');
SELECT news();
SELECT sync.retry_job((job_of('b', 'full')).id, at('20:03'));
SELECT is(news(), 'job b', 'one that is tried again');
UPDATE sync.sync_jobs SET priority = 5 WHERE id = (job_of('b', 'full')).id;
SELECT is(news(), 'job b', 'one that an application changes');
DELETE FROM sync.sync_jobs WHERE id = (job_of('b', 'full')).id;
SELECT is(news(), 'job b', 'or deletes');
SELECT sync.cancel_job(j.id, as_of => at('20:04')) FROM sync.sync_jobs j WHERE j.status IN ('queued', 'running');
SELECT news();

-- Where an application has a trigger of its own, nothing is written by place.
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER own AFTER INSERT OR UPDATE OR DELETE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION own();
UPDATE sync.connections SET last_incremental_finished_at = at('09:00') WHERE external_id = 'b';
SELECT news();
SELECT sync.tick(at('20:05'));
SELECT is(news(), 'job b', 'a tick by statement');
SELECT claim(at('20:06'));
SELECT is(news(), 'job b', 'a claim by statement');
SELECT complete('b', at('20:07'));
SELECT matches(news(), '^job b', 'a completion by statement');
DROP TRIGGER own ON sync.sync_jobs;
SELECT sync.cancel_job(j.id, as_of => at('20:08')) FROM sync.sync_jobs j WHERE j.status IN ('queued', 'running');
SELECT news();

-- Schedules.
SELECT sync.create_schedule(conn('b'), 'nightly', 'daily', at => '02:00', as_of => at('20:10')) AS schedule \gset
SELECT is(news(), 'connection b, schedule b', 'a schedule, and that its connection has one');
SELECT sync.update_schedule(:schedule, name => 'at night', as_of => at('20:11'));
SELECT is(news(), 'schedule b', 'a change of it');
SELECT sync.pause_schedule(:schedule, as_of => at('20:12'));
SELECT is(news(), 'schedule b', 'a pause');
SELECT sync.resume_schedule(:schedule, as_of => at('20:13'));
SELECT is(news(), 'schedule b', 'its end');
SELECT sync.skip_next(:schedule, at('20:14'));
SELECT is(news(), 'schedule b', 'a run that is skipped');
SELECT sync.trigger_schedule(:schedule, at('20:15'));
SELECT is(news(), 'job b, schedule b', 'a run by hand');
SELECT claim(at('20:16')), complete('b', at('20:17'));
SELECT news();
SELECT sync.tick(at('20:18') + interval '2 days');
SELECT matches(news(), 'schedule b', 'what becomes of planned runs');
SELECT claim(at('20:19') + interval '2 days'), complete('b', at('20:20') + interval '2 days');
SELECT news();
SELECT sync.update_schedule(:schedule, name => 'later', as_of => at('20:21') + interval '2 days');
SELECT is((SELECT c.object_id FROM reader d, changes('T', d.position) c WHERE d.tenant = 'T'), :schedule::bigint, 'the object is the schedule');
SELECT news();
SELECT sync.delete_schedule(:schedule, at('20:22') + interval '2 days');
SELECT is(news(), 'connection b, schedule b', 'that it is gone');

-- Notifications.
SELECT sync.create_notification('T', 'in_app', '{failure,recovered}', '{"users": ["ann"]}', name => 'for ann', as_of => at('08:00')) AS notification \gset
SELECT is(news(), 'notification', 'a setting');
SELECT sync.update_notification(:notification, name => 'for Ann');
SELECT is(news(), 'notification', 'a change of it');
SELECT connection('n', NULL, at('09:00')), job('n', 'full'), claim(at('21:00')), fail('n', at('21:01'), 'permanent');
SELECT is(news(), 'connection n, job n, notification n', 'an incident beside its job');
CREATE FUNCTION work(as_of timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 0 .. 1000 LOOP
        EXIT WHEN NOT sync.run_notifications(as_of);
    END LOOP;
END $$;
SELECT work(at('21:02'));
SELECT matches(news(), '^notification', 'a message in an inbox');
SELECT sync.mark_read('T', 'ann', as_of => at('21:03'));
SELECT is(news(), 'notification', 'that it was read');
SELECT sync.mark_read('T', 'ann', as_of => at('21:03'));
SELECT is(news(), '', 'but not that there was nothing to be read');
SELECT job('n', 'full'), claim(at('21:04')), complete('n', at('21:05'));
SELECT is(news(), 'job n, notification n', 'that an incident is over');
SELECT sync.delete_notification(:notification);
SELECT is(news(), 'notification', 'that a setting is gone');
SELECT is(regexp_replace(news('U'), '(job|notification) u(, )?', '', 'g'), '', 'another tenant was told of its own alone');

-- What is everybody's.
UPDATE sync.providers SET status = 'paused';
UPDATE sync.providers SET status = 'active';
SELECT is(news(), 'reset', 'a provider concerns all');
SELECT is(news('U'), 'reset', 'other tenants as well');
SELECT is(news(), '', 'whoever goes on from there is told what comes then');

-- What is rolled back.
BEGIN;
SELECT job('b');
ROLLBACK;
SELECT is(news(), '', 'a transaction that is rolled back tells nothing');
BEGIN;
UPDATE sync.connections SET name = 'kept' WHERE external_id = 'a';
SAVEPOINT s;
UPDATE sync.connections SET name = 'lost' WHERE external_id = 'b';
ROLLBACK TO s;
SELECT is((SELECT count(*) FROM reader d, changes('T', d.position) WHERE d.tenant = 'T'), 0::bigint, 'nothing is told before the commit');
COMMIT;
SELECT is(news(), 'connection a', 'nor what is rolled back to a savepoint');
BEGIN;
SAVEPOINT s;
UPDATE sync.connections SET name = 'one' WHERE external_id = 'b';
SAVEPOINT t;
UPDATE sync.connections SET name = 'two' WHERE external_id = 'b';
UPDATE sync.connections SET name = 'one' WHERE external_id = 'a';
RELEASE s;
COMMIT;
SELECT is(news(), 'connection b, connection a', 'of savepoints that are released each change is told once');

-- By and by.
UPDATE sync.connections SET name = 'b again' WHERE external_id = 'b';
UPDATE sync.connections SET name = 'a again' WHERE external_id = 'a';
UPDATE sync.connections SET name = 'b and again' WHERE external_id = 'b';
SELECT is(news(max_rows => 1), 'connection b', 'as many as are asked for');
SELECT is(news(max_rows => 1), 'connection a', 'and then the next');
SELECT matches(news(max_rows => 1), '^(connection b)?$', 'what came again since may be told again');
SELECT is(news(), '', 'until there is nothing more');
UPDATE sync.connections SET name = 'c' || n FROM generate_series(1, 3) n WHERE external_id = 'b';
UPDATE sync.connections SET name = 'a for ever' WHERE external_id = 'a';
SELECT is(news(max_rows => 2), 'connection b, connection a', 'two of two');
SELECT is(news(), '', 'with nothing left behind');

-- Too much to be told one by one.
CREATE FUNCTION note(tenant text, n int) RETURNS bigint LANGUAGE sql AS $$ SELECT count(sync._note_change('job', tenant, i, i)) FROM generate_series(1, n) i $$;
SELECT note('T', 1024);
SELECT is(array_length(string_to_array(news(max_rows => 2000), ','), 1), 1024, '1,024 changes of a transaction are told one by one');
SELECT note('T', 1025);
SELECT is(news(), 'reset', 'one more is told as a whole');
SELECT is(news(), '', 'once');
SELECT note('T', 1024), note('U', 1);
SELECT is(news('U'), 'reset', 'so is another tenant of the same transaction');
SELECT isnt(news(), 'reset', 'but not what had room');
SELECT count(sync._note_change('job', t, i, i)) FROM unnest('{T,U}'::text[]) t, generate_series(1, 3000) i;
SELECT is(news() || ' ' || news('U'), 'reset reset', 'many tenants, many changes');
DO $$
BEGIN
    BEGIN
        PERFORM tap.note('T', 5000);
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
    END;
    PERFORM tap.note('T', 2);
END $$;
SELECT is(news(), 'job a, job b', 'what was undone takes no room');

-- Positions from elsewhere.
SELECT is((SELECT string_agg(c.kind || ' ' || (c.position = d.position), ', ') FROM changes('T', p) c), 'reset true', format('%L has all read again, from the present position', p))
FROM (VALUES (NULL), (''), ('x'), ('0-1'), ('1'), ('-'), ('zz-1')) v (p), reader d WHERE d.tenant = 'T';
SELECT is((SELECT string_agg(c.kind, ', ') FROM changes('T', p) c), 'reset', format('so does %s', what))
FROM (SELECT split_part(d.position, '-', 1) AS epoch, split_part(d.position, '-', 2)::bigint AS n FROM reader d WHERE d.tenant = 'T') d,
     LATERAL (VALUES (epoch || '-' || n + 1, 'a position that is to come'), (epoch || '-' || n || ' ', 'one with more behind it'),
                     (epoch || '--1', 'a negative one'), (epoch || '-99999999999999999999999', 'a huge one'), (epoch || '-0', 'one before the watch')) v (p, what);

-- The ring goes round.
CREATE PROCEDURE fill(tenant text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 17 LOOP
        PERFORM tap.note(tenant, 1000);
        COMMIT;
    END LOOP;
END $$;
CALL fill('U');
SELECT is(news(), '', 'others'' changes do not make a tenant read anew that has none');
SELECT note('T', 1);
SELECT is(news(), 'job a', 'nor keep it from being told of the next');
SELECT note('T', 1);
CALL fill('U');
SELECT is(news(), 'reset', 'what is overwritten is told as a whole');
SELECT is(news('U'), 'reset', 'also to whom it concerned');

-- Watches begin and end.
SELECT connection('w', NULL, at('09:00'), tenant => 'W');
SELECT is((SELECT string_agg(kind, ',') FROM reader d, changes('W', d.position) WHERE d.tenant = 'T'), 'reset', 'of who is not watched nothing can be told');
CREATE FUNCTION open_session(name text) RETURNS text LANGUAGE sql
AS $$
    SELECT dblink_connect(name, format('host=%s port=%s dbname=%L user=%L',
        split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), session_user))
$$;
SELECT open_session('one');
SELECT dblink_exec('one', 'BEGIN'), dblink_exec('one', $$UPDATE sync.connections SET name = 'W' WHERE tenant_id = 'W'$$);
SELECT watch('W');
SELECT is(news('W'), '', 'a watch begins while another session is about to change something');
SELECT dblink_exec('one', 'COMMIT');
SELECT is(news('W'), 'reset', 'which has it read all again when it has');
SELECT dblink_exec('one', 'BEGIN'), dblink_exec('one', $$UPDATE sync.connections SET name = 'X' WHERE tenant_id = 'X'$$);
SELECT watch('Y');
SELECT dblink_exec('one', 'COMMIT');
SELECT is(news('W') || news('Y') || news(), '', 'but nobody whom it does not concern');
SELECT watch('V', 1);
SELECT position AS first FROM reader WHERE tenant = 'V' \gset
DO $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '60 seconds';
BEGIN
    WHILE clock_timestamp() < deadline AND NOT EXISTS (SELECT 1 FROM tap.reader d, tap.changes('V', d.position) c WHERE d.tenant = 'V') LOOP
        NULL;
    END LOOP;
END $$;
SELECT is(news('V'), 'reset', 'a watch that is over cannot tell');
SELECT is((SELECT string_agg(kind, ',') FROM (SELECT watch('V', 60)) w, changes('V', :'first')), 'reset', 'nor does another one tell of the time before it');
SELECT is(news('V'), '', 'but what comes from then on');
SELECT is(watch('V', 1) IS NOT NULL AND watch('T') IS NOT NULL, true, 'a watch that is prolonged');
SELECT note('V', 1);
SELECT is(news('V'), 'job a', 'goes on');

-- Connections that move or go.
UPDATE sync.connections SET tenant_id = 'T' WHERE external_id = 'w';
SELECT is(news() || '; ' || news('W'), 'connection w; connection w', 'a connection that moves concerns both tenants');
DELETE FROM sync.connections WHERE external_id = 'w';
SELECT matches(news(), '^connection [0-9]+$', 'one that is deleted is told of by its id');

-- Tenants themselves.
SELECT sync.enable_tenant_isolation();
GRANT USAGE ON SCHEMA tap TO sync_tenant;
SET ROLE sync_tenant;
SELECT throws_ok('SELECT sync.watch_changes()', '42501', 'the session is bound to no tenant whose changes it could watch', 'a tenant that does not say which it is watches nothing');
SET sync_engine.tenant_id = 'T';
SELECT sync.watch_changes() AS since \gset
UPDATE sync.connections SET name = 'by T' WHERE external_id = 'b';
SELECT is((SELECT string_agg(kind, ',') FROM sync.read_changes(:'since')), 'connection', 'a tenant is told of its changes');
SELECT throws_ok($$SELECT sync._note_change('job', 'T', 1, 1)$$, '42501', NULL, 'and cannot make any up');
RESET ROLE;
RESET sync_engine.tenant_id;

SELECT * FROM finish();
SELECT dblink_disconnect('one');
DROP EXTENSION sync_engine CASCADE;
DROP SCHEMA tap CASCADE;
