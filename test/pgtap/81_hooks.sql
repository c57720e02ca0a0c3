-- Webhooks: what an accepted delivery promises. It is never lost, it reaches the input of exactly one run, and it moves no cursor.
\ir include/setup.psql
\ir include/hooks.psql
SELECT plan(144);

-- Making hooks
SELECT connection('a', '{"cursor": {"page": 7}}', at('07:00')), hook('a', 'a');
SELECT matches((made('a')).path, '^/hooks/github/whk_[0-9a-f]{64}$', 'the path holds the provider and a token');
SELECT matches((made('a')).secret, '^[0-9a-f]{64}$', 'a secret is made where none is given');
SELECT is((SELECT h.token_hash FROM sync.hooks h), sha256(convert_to((made('a')).token, 'UTF8')), 'of the token its hash is kept');
SELECT is((SELECT h.token_hint FROM sync.hooks h), "left"((made('a')).token, 8), 'and how it begins');
SELECT matches(h.secret, '^whsec_[A-Za-z0-9+/]{43}=$', 'Standard Webhooks have keys of their own form') FROM sync.create_hook(conn('a'), 'standard', as_of => at('08:00')) h;
SELECT is(h.secret, 'whsec_' || encode(decode(repeat('ab', 24), 'hex'), 'base64'), 'a key that the sender has made is taken')
FROM sync.create_hook(conn('a'), 'standard', 'whsec_' || encode(decode(repeat('ab', 24), 'hex'), 'base64'), as_of => at('08:00')) h;
SELECT is(h.secret, 'signing-secret-of-slack', 'so is Slack''s') FROM sync.create_hook(conn('a'), 'slack', 'signing-secret-of-slack', as_of => at('08:00')) h;
SELECT connection('odd', '{}', at('07:00'), slug => 'a/b ü');
SELECT alike(h.path, '/hooks/a%2Fb%20%C3%BC/whk_%', 'the provider is percent-encoded in the path') FROM sync.create_hook(conn('odd'), 'github', as_of => at('08:00')) h;
SELECT sync.create_schedule(conn('a'), 'daily', 'daily', as_of => at('08:00')) AS daily \gset
SELECT throws_ok(s, c, m, m) FROM (VALUES
    ($q$SELECT sync.create_hook(conn('a'), 'plain')$q$, '22023', 'unknown scheme: ''plain'''),
    ($q$SELECT sync.create_hook(conn('a'), NULL)$q$, '22023', 'unknown scheme: NULL'),
    ($q$SELECT sync.create_hook(conn('a'), 'github', 'short')$q$, '22023', 'the secret must be 16 to 256 printable ASCII characters without spaces'),
    ($q$SELECT sync.create_hook(conn('a'), 'standard', 'whsec_c2hvcnQ=')$q$, '22023', 'the secret must be whsec_ and 24 to 64 bytes in base64'),
    ($q$SELECT sync.create_hook(conn('a'), 'github', job_type => '')$q$, '22023', 'job_type must not be null or empty'),
    ($q$SELECT sync.create_hook(conn('a'), 'github', debounce_seconds => 3601)$q$, '22023', 'debounce_seconds must be from 0 to 3600'),
    ($q$SELECT sync.create_hook(99, 'github')$q$, 'P0002', 'connection 99 does not exist'),
    ($q$SELECT sync.create_hook(conn('a'), 'github', schedule_id => 99)$q$, 'P0002', 'schedule 99 does not exist'),
    (format('SELECT sync.create_hook(conn(%L), %L, schedule_id => %s)', 'a', 'github', :'daily'), '22023', format('schedule %s is daily, not realtime', :'daily')),
    (format('SELECT sync.create_hook(conn(%L), %L, schedule_id => %s)', 'odd', 'github', :'daily'), '23514', format('schedule %s is not of connection %s', :'daily', conn('odd'))),
    ($q$SELECT sync.update_hook(99)$q$, 'P0002', 'hook 99 does not exist'),
    ($q$SELECT sync.rotate_hook_secret(1, overlap => '31 days')$q$, '22023', 'overlap must be from 0 to 30 days')) v (s, c, m);
SELECT sync.delete_schedule(:daily, at('08:00'));

-- Opening
SELECT results_eq($q$SELECT o.* FROM made m CROSS JOIN sync.open_hook(m.provider, m.token, 'req-1', at('08:00')) o WHERE m.mark = 'a'$q$,
                  $q$SELECT m.hook_id, 'github'::text, ARRAY[m.secret] FROM made m WHERE m.mark = 'a'$q$, 'a gateway gets the scheme and the secrets');
SELECT is(concat_ws('|', current_setting('sync_engine.tenant_id'), current_setting('sync_engine.actor'), current_setting('sync_engine.request_id')),
          'T|hook ' || (made('a')).hook_id || '|req-1', 'and is confined to the tenant of the hook');
SELECT set_config('sync_engine.tenant_id', '', true);
SELECT is_empty($q$SELECT o.* FROM made m CROSS JOIN sync.open_hook(m.provider, m.token || 'x', NULL, at('08:00')) o$q$, 'another token: no such hook');
SELECT is_empty($q$SELECT o.* FROM made m CROSS JOIN sync.open_hook('gitlab', m.token, NULL, at('08:00')) o$q$, 'another provider: no such hook');
SELECT throws_ok($q$SELECT x.* FROM made m CROSS JOIN sync.receive_hook('gitlab', m.token, 'd', '{}', '{}', NULL, at('08:00')) x$q$, 'P0002', 'there is no such hook', 'nor is there anything to receive');
SELECT is(current_setting('sync_engine.tenant_id'), '', 'and the transaction is confined to nobody');

-- Accepted, duplicate
SELECT is(arrives('a', 'd1', at('08:01'), '{"n": 1}', '{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=00", "Authorization": "Bearer x"}'), 'accepted', 'a delivery is accepted');
SELECT is((job_of('a')).input, jsonb_build_object('events', jsonb_build_array(jsonb_build_object('hook_id', (made('a')).hook_id, 'received_at', '2026-03-01T08:01:00Z', 'delivery_id', 'd1',
          'headers', '{"X-GitHub-Event": "push"}'::jsonb, 'payload', '{"n": 1}'::jsonb)), 'events_dropped', 0), 'a job has it in its input, without what proves who sent it');
SELECT is(concat_ws('|', j.status, j.trigger_type, j.priority, j.scheduled_at), concat_ws('|', 'queued', 'realtime', 10, at('08:01')), 'and is queued at once') FROM job_of('a') j;
SELECT is(arrives('a', 'd1', at('08:02')), 'duplicate', 'the same again is a duplicate');
SELECT is(arrives('a', 'd2', at('08:01:30')), 'accepted', 'another is accepted');
SELECT is(jobs('a'), 'queued realtime d1,d2', 'and goes into the same job');
SELECT is(arrives('a', NULL, at('08:01:30'), '"x"') || ' ' || arrives('a', NULL, at('08:01:30'), '"x"'), 'accepted accepted', 'without an id nothing is a duplicate');
SELECT hook('a2', 'a', 'secret');
SELECT is(arrives('a2', 'd1', at('08:02'), headers => jsonb_build_object('x-token', (made('a2')).secret, 'x-kind', 'new')), 'accepted', 'an id counts for its own hook alone');
SELECT is((job_of('a')).input #> '{events,4,headers}', '{"x-kind": "new"}', 'a header with the secret does not get into the job');
SELECT is(arrives('a2', repeat('long', 100), at('08:02')) || ' ' || arrives('a2', repeat('long', 100), at('08:02')), 'accepted duplicate', 'a very long id is known again');
SELECT is((SELECT h.last_received_at FROM sync.hooks h WHERE h.id = (made('a')).hook_id), at('08:01'), 'when it was used last is kept to the minute');
SELECT claim(at('08:03')), complete('a', at('08:03'));
SELECT is(meta('a') -> 'cursor', '{"page": 7}', 'the cursor is where it was');
SELECT is(jobs('a') || '|' || waiting(), 'succeeded realtime d1,d2,?,?,d1,' || repeat('long', 100) || '|0', 'the run is over and nothing follows');

-- Ignored: nothing is kept, so that the same delivery counts later.
SELECT connection('i', '{}', at('07:00')), hook('i', 'i');
SELECT sync.pause(conn('i'), 'holidays');
SELECT is(arrives('i', 'd1', at('08:01')), format('ignored: connection %s is paused: holidays', conn('i')), 'a paused connection');
SELECT sync.resume(conn('i')), sync.pause_provider('github');
SELECT is(arrives('i', 'd1', at('08:01')), 'ignored: provider github is paused', 'a paused provider');
SELECT sync.resume_provider('github'), sync.update_hook((made('i')).hook_id, is_active => false);
SELECT is(arrives('i', 'd1', at('08:01')), format('ignored: hook %s is not active', (made('i')).hook_id), 'a hook that is not active');
SELECT is_empty($q$SELECT o.* FROM made m CROSS JOIN sync.open_hook(m.provider, m.token, NULL, at('08:00')) o WHERE m.mark = 'i'$q$, 'which a gateway does not find');
SELECT is((SELECT count(*) FROM sync.hook_deliveries d WHERE d.hook_id = (made('i')).hook_id) || jobs('i'), NULL, 'nothing was kept');
SELECT sync.update_hook((made('i')).hook_id, is_active => true);
SELECT is(arrives('i', 'd1', at('08:01')), 'accepted', 'then it is accepted');

-- Debounce
SELECT connection('d', '{}', at('07:00')), hook('d', 'd', debounce => 60);
SELECT arrives('d', '1', at('08:00')), arrives('d', '2', at('08:00:40'));
SELECT is((job_of('d')).scheduled_at, at('08:01'), 'a run begins so long after the first delivery: further ones do not put it off');
SELECT is(claim(at('08:00:59')), 0::bigint, 'and not before');
SELECT claim(at('08:01'));
SELECT arrives('d', '3', at('08:02')), arrives('d', '4', at('08:02:30')), complete('d', at('08:02:40'));
SELECT is((job_of('d')).scheduled_at, at('08:03'), 'so it is while a job runs');
SELECT claim(at('08:03')), arrives('d', '5', at('08:03')), sync.trigger(conn('d'), as_of => at('08:03:10')), complete('d', at('08:03:20'));
SELECT is((job_of('d')).scheduled_at, at('08:03:20'), 'somebody who asks for a run need not wait');
SELECT is(jobs('d'), 'succeeded realtime 1,2; succeeded realtime 3,4; queued realtime 5', 'each delivery is in one run');
SELECT claim(at('08:04')), sync.trigger(conn('d'), as_of => at('08:04')), arrives('d', '6', at('08:04:01')), complete('d', at('08:04:10'));
SELECT is((job_of('d')).scheduled_at, at('08:04:10'), 'nor does one who asked before');

-- A running job, and each way in which it can end
SELECT running_hook(x, at('09:00')), arrives(x, 'second', at('09:01')), arrives(x, 'third', at('09:01')) FROM unnest('{completes,fails,breaks,lost,cancelled,released,pages,by-hand,deleted,by-statement}'::text[]) x;
SELECT is((SELECT string_agg(DISTINCT jobs(x), '|') FROM unnest('{completes,fails,breaks,lost,cancelled,released,pages,by-hand,deleted}'::text[]) x), 'running realtime first', 'what comes while a job runs is not the job''s');
SELECT complete('completes', at('09:02'));
SELECT is(jobs('completes'), 'succeeded realtime first; queued realtime second,third', 'complete: the next run has it');
SELECT fail('fails', at('09:02'));
SELECT is(jobs('fails'), 'queued realtime first,second,third', 'a failure that is tried again: the next attempt has it, beside what it had');
SELECT is((job_of('fails')).rerun_priority, NULL, 'and nothing follows that');
SELECT arrives('fails', 'fourth', at('09:02:01'));
SELECT is((job_of('fails')).retry_after, at('09:02:05'), 'a delivery does not cut a wait after failures short');
SELECT fail('breaks', at('09:02'), 'permanent');
SELECT is(jobs('breaks'), 'failed realtime first; queued realtime second,third', 'a failure for good: the next run has it');
SELECT sync.retry_job((SELECT min(j.id) FROM sync.sync_jobs j WHERE j.connection_id = conn('breaks')), at('09:03')) IS NOT NULL;
SELECT is(jobs('breaks'), 'failed realtime first; queued realtime first,second,third', 'a retry by hand hands what failed to the job that waits already');
SELECT sync.retry_job((SELECT min(j.id) FROM sync.sync_jobs j WHERE j.connection_id = conn('breaks')), at('09:03')) IS NOT NULL;
SELECT is(jobs('breaks'), 'failed realtime first; queued realtime first,second,third', 'and once');
SELECT sync.cancel_job((running('cancelled')).id, as_of => at('09:02'));
SELECT is(jobs('cancelled'), 'cancelled realtime first; queued realtime second,third', 'cancel: what came while it ran is not cancelled with it');
SELECT sync.release_jobs('executor', ARRAY[r.id], ARRAY[r.claim_token], at('09:02')) FROM running('released') r;
SELECT is(jobs('released'), 'queued realtime first,second,third', 'release: it is in the job that is queued again');
SELECT complete('pages', at('09:02'), next_cursor => '{"n": 1}', has_more => true);
SELECT is(jobs('pages'), 'succeeded realtime first; queued realtime first', 'a further page goes on with what the run was given');
SELECT arrives('pages', 'fourth', at('09:02'));
SELECT is(jobs('pages'), 'succeeded realtime first; queued realtime first', 'what comes then is not the page''s');
SELECT claim(at('09:02')), arrives('pages', 'fifth', at('09:02')), fail('pages', at('09:02'));
SELECT is(jobs('pages'), 'succeeded realtime first; queued realtime first', 'nor when the page fails');
SELECT claim(at('09:03')), complete('pages', at('09:03'));
SELECT is(jobs('pages'), 'succeeded realtime first; succeeded realtime first; queued realtime second,third,fourth,fifth', 'the run after the last page has it');
UPDATE sync.sync_jobs SET status = 'failed' WHERE id = (running('by-hand')).id;
SELECT is(jobs('by-hand'), 'failed realtime first; queued realtime second,third', 'an application ends the job: the next run has it');
SELECT running_hook('at-once', at('09:02')), arrives('at-once', 'second', at('09:02'));
WITH over AS (UPDATE sync.sync_jobs SET status = 'succeeded' WHERE id = (running('at-once')).id RETURNING connection_id)
INSERT INTO sync.sync_jobs (connection_id, job_type, scheduled_at) SELECT connection_id, 'incremental', at('09:03') FROM over;
SELECT claim(at('09:03')), complete('at-once', at('09:03'));
SELECT is(jobs('at-once'), 'succeeded realtime first; succeeded manual; queued realtime second', 'an application ends the job and queues the next itself: the one after that has it');
DELETE FROM sync.sync_jobs WHERE id = (running('deleted')).id;
SELECT is(jobs('deleted'), 'queued realtime second,third', 'or deletes it');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER own AFTER DELETE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT complete('by-statement', at('09:02'));
SELECT is(jobs('by-statement'), 'succeeded realtime first; queued realtime second,third', 'complete, where an application has triggers');
DROP TRIGGER own ON sync.sync_jobs;
SELECT is((SELECT count(*) FROM sync.tick(at('12:00'))), 1::bigint, 'a tick takes jobs away from executors that are silent');
SELECT is(jobs('lost'), 'queued realtime first,second,third', 'lost: the next attempt has it');
SELECT is(waiting(), 0::bigint, 'then nothing waits any more');

-- A page that waits, cancelled by hand
SELECT running_hook(x, at('12:01')) FROM unnest('{page,page-alone}'::text[]) x;
SELECT complete(x, at('12:01'), next_cursor => '{"n": 1}', has_more => true) FROM unnest('{page,page-alone}'::text[]) x;
SELECT arrives('page', 'second', at('12:01')), sync.trigger(conn('page-alone'), as_of => at('12:01'));
SELECT sync.cancel_job((job_of(x)).id, as_of => at('12:01')) FROM unnest('{page,page-alone}'::text[]) x;
SELECT is(jobs('page'), 'succeeded realtime first; cancelled realtime first; queued realtime second', 'a page that waits is cancelled: what came since the run began is not');
SELECT is(jobs('page-alone'), 'succeeded realtime first; cancelled realtime first', 'a trigger by hand is');
SELECT is(waiting(), 0::bigint, 'nothing waits for ever');

-- Where no run follows it is kept as the input of a cancelled job, as that of one that was queued.
SELECT running_hook(x, at('12:10')), arrives(x, 'second', at('12:11')) FROM unnest('{paused,paused-page,refused,resumed}'::text[]) x;
SELECT complete('paused-page', at('12:11'), next_cursor => '{"n": 1}', has_more => true);
SELECT sync.pause(conn(x)) FROM unnest('{paused,paused-page,resumed}'::text[]) x;
SELECT is(jobs('paused'), 'running realtime first', 'a pause lets a running job go on');
SELECT is(jobs('paused-page'), 'succeeded realtime first; cancelled realtime first; cancelled realtime second', 'a page that waits is cancelled, and what followed it is');
SELECT complete('paused', at('12:12')), fail('refused', at('12:12'), 'unauthorized');
SELECT is(jobs('paused'), 'succeeded realtime first; cancelled realtime second', 'when it ends, what came meanwhile is cancelled');
SELECT is(jobs('refused'), 'failed realtime first; cancelled realtime second', 'so it is where the credentials were refused');
SELECT is((SELECT j.error ->> 'cancelled' FROM sync.sync_jobs j WHERE j.connection_id = conn('paused') AND j.status = 'cancelled'), 'connection is paused', 'with the reason');
SELECT sync.resume(conn('resumed')), complete('resumed', at('12:12'));
SELECT is(jobs('resumed'), 'succeeded realtime first; queued realtime second', 'taken up again in time, it runs');
SELECT sync.resume(conn('paused')), sync.retry_job((job_of('paused')).id, at('12:13')) IS NOT NULL;
SELECT is(jobs('paused'), 'succeeded realtime first; cancelled realtime second; queued retry second', 'a retry takes it up');
SELECT is(waiting(), 0::bigint, 'nothing waits');
SELECT running_hook('gone', at('12:20')), arrives('gone', 'second', at('12:20'));
DELETE FROM sync.connections WHERE id = conn('gone');
SELECT is((SELECT count(*) FROM sync.hooks h WHERE h.id = (made('gone')).hook_id) + (SELECT count(*) FROM sync.hook_secrets s WHERE s.hook_id = (made('gone')).hook_id) + waiting(), 0::bigint,
          'with its connection a hook goes, and what waits');

-- Size
SELECT connection('big', '{}', at('07:00')), hook('big', 'big');
CREATE FUNCTION noise(bytes int, seed text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(string_agg(md5(seed || n), '')) FROM generate_series(1, bytes / 32) n $$;
SELECT arrives('big', 'b' || n, at('13:00'), noise(50000, n::text)) FROM generate_series(1, 3) n;
SELECT is(jobs('big') || '|' || waiting(), 'queued realtime b1|3', 'a queued job takes so much: then the next run does, so that not all is written again each time');
SELECT claim(at('13:00')), arrives('big', 'b' || n, at('13:00'), noise(50000, n::text)) FROM generate_series(4, 60) n;
SELECT cmp_ok((SELECT sum(e.bytes) FROM sync.pending_events e), '<=', 2 * 1048576::bigint, 'what waits is bounded');
SELECT complete('big', at('13:01'));
SELECT cmp_ok(octet_length((job_of('big')).input::text), '<=', 1048576, 'an input is at most 1 MiB');
SELECT cmp_ok(octet_length((job_of('big')).input::text), '>', 900000, 'and is used');
SELECT is(held((job_of('big')).input), (SELECT string_agg('b' || n, ',' ORDER BY n) FROM generate_series(41, 60) n) || ' -39', 'the oldest make room, and are counted');
SELECT claim(at('13:02')), arrives('big', 'huge', at('13:02'), noise(1100000, 'x')), complete('big', at('13:03'));
SELECT is((job_of('big')).input #>> '{events,0,delivery_id}' || ((job_of('big')).input -> 'events_dropped')::text || jsonb_typeof((job_of('big')).input #> '{events,0,payload}'), 'huge1null',
          'one that is too large loses its payload: that it came is told');

SELECT connection('full', '{}', at('07:00')), hook('full', 'full');
SELECT arrives('full', 'f' || n, at('13:10'), noise(50000, n::text)) FROM generate_series(1, 3) n;
SELECT sync.cancel_job((job_of('full')).id, as_of => at('13:10'));
SELECT is(jobs('full'), 'cancelled realtime f1; cancelled realtime f2,f3', 'what is cancelled while it is queued stays in history, all of it');

-- Schedules
SELECT connection('s', '{}', at('07:00'));
SELECT sync.create_schedule(conn('s'), 'live', 'realtime', job_type => 'full', priority => 30, config => '{"since": "yesterday", "events": "all"}', as_of => at('08:00')) AS live \gset
SELECT hook('s', 's', schedule => :live);
SELECT is(arrives('s', '1', at('14:00')) || arrives('s', '2', at('14:00')), 'acceptedaccepted', 'a hook of a schedule');
SELECT is(concat_ws('|', j.schedule_id, j.priority, j.trigger_type, j.input ->> 'since', held(j.input)), concat_ws('|', :'live', 30, 'realtime', 'yesterday', '1,2'), 'runs as the schedule says, with its config') FROM job_of('s', 'full') j;
SELECT is((SELECT string_agg(concat_ws(' ', f.outcome, f.reason, f.planned_count), ',') FROM sync.schedule_fires f WHERE f.schedule_id = :live), format('triggered hook %s 0', (made('s')).hook_id), 'the ledger tells of the run once');
SELECT claim(at('14:01')), arrives('s', '3', at('14:01')), arrives('s', '4', at('14:01')), complete('s', at('14:01'));
SELECT is(concat_ws('|', j.schedule_id, j.trigger_type, j.input ->> 'since', held(j.input)), concat_ws('|', :'live', 'realtime', 'yesterday', '3,4'), 'so does the run that follows one') FROM job_of('s', 'full') j;
SELECT is((SELECT count(*) FROM sync.schedule_fires f WHERE f.schedule_id = :live), 2::bigint, 'which the ledger tells of too');
SELECT sync.pause_schedule(:live, 'enough', as_of => at('14:02'));
SELECT is(arrives('s', '5', at('14:02')), format('ignored: schedule %s is paused: enough', :live), 'while it is paused the hook is ignored');
SELECT sync.delete_schedule(:live, at('14:03'));
SELECT is(jobs('s', 'full'), 'succeeded realtime 1,2; queued realtime 3,4', 'deleting the schedule does not cancel what was accepted');
SELECT is((SELECT count(*) FROM sync.hooks h WHERE h.id = (made('s')).hook_id), 0::bigint, 'but its hooks go with it');
-- Into a run that a schedule has planned
SELECT connection('p', '{}', at('07:00')), hook('p', 'p', debounce => 3600);
SELECT sync.create_schedule(conn('p'), 'hourly', 'hourly', as_of => at('14:30')) AS hourly \gset
SELECT count(*) FROM sync.tick(at('14:59:30'));
SELECT arrives('p', '1', at('14:59:40'));
SELECT is(concat_ws('|', j.trigger_type, j.scheduled_at, held(j.input)), concat_ws('|', 'scheduled', at('15:00'), '1'), 'a run that is planned earlier takes it along') FROM job_of('p') j;
SELECT sync.update_schedule(:hourly, schedule_type => 'daily', as_of => at('14:59:50'));
SELECT is(jobs('p'), 'queued scheduled 1', 'and is not taken back when its schedule is changed');

-- Secrets
SELECT sync.rotate_hook_secret((made('a')).hook_id, as_of => at('15:00')) AS second \gset
SELECT sync.rotate_hook_secret((made('a')).hook_id, 'a-secret-of-the-sender', '1 hour', at('16:00')) AS third \gset
CREATE FUNCTION secrets(as_of timestamptz) RETURNS text[] LANGUAGE sql AS $$ SELECT o.secrets FROM made m CROSS JOIN sync.open_hook(m.provider, m.token, NULL, secrets.as_of) o WHERE m.mark = 'a' $$;
SELECT is(secrets(at('16:30')), ARRAY[:'third', :'second', (made('a')).secret], 'a secret that was replaced counts for a while');
SELECT is(secrets(at('17:00')), ARRAY[:'third'], 'until the overlap is over');
SELECT set_config('sync_engine.tenant_id', '', true);
SELECT sync.update_hook((made('a')).hook_id, name => 'of the sender'), sync.delete_hook((made('a2')).hook_id);
SELECT is((SELECT string_agg(l.action, ',' ORDER BY l.id) FROM sync.audit_log l WHERE l.object_kind = 'hook' AND l.object_id IN ((made('a')).hook_id::text, (made('a2')).hook_id::text)),
          'hook.create,hook.create,hook.rotate_secret,hook.rotate_secret,hook.update,hook.delete', 'the audit log tells what was done with hooks');
SELECT is((SELECT count(*) FROM sync.audit_log l JOIN made m ON to_jsonb(l)::text LIKE ANY (ARRAY['%' || m.secret || '%', '%' || m.token || '%', '%' || encode(sha256(convert_to(m.token, 'UTF8')), 'hex') || '%'])), 0::bigint,
          'without tokens, their hashes or secrets');
SELECT is((SELECT count(*) FROM sync.audit_log l WHERE to_jsonb(l)::text LIKE '%sender%' AND l.action <> 'hook.update'), 0::bigint, 'nor one that was given');

-- Tenants beside each other, and what the roles may
GRANT USAGE ON SCHEMA tap TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tap TO PUBLIC;
SELECT connection('of-b', '{}', at('07:00'), tenant => 'B'), hook('of-b', 'of-b'), connection('of-a', '{}', at('07:00'), tenant => 'A'), hook('of-a', 'of-a');
SELECT sync.create_schedule(conn('of-b'), 'live', 'realtime', as_of => at('08:00')) AS of_b \gset
SELECT sync.enable_tenant_isolation() > 0;
CREATE FUNCTION as_role(role name, tenant text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM set_config('sync_engine.tenant_id', tenant, true);
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement INTO result;
    RESET ROLE;
    PERFORM set_config('sync_engine.tenant_id', '', true);
    RETURN COALESCE(result, 'nothing');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT is(as_role('sync_tenant', 'A', 'SELECT string_agg(h.tenant_id, '','') FROM sync.hooks h'), 'A', 'a tenant sees its own hooks');
SELECT is(as_role('sync_tenant', '', 'SELECT count(*) FROM sync.hooks'), '0', 'nobody''s without a tenant');
SELECT is(as_role('sync_tenant', 'A', format(s, (made('of-b')).hook_id)), 'P0002', 'there is no hook of another tenant: ' || s)
FROM unnest('{SELECT sync.update_hook(%s),SELECT sync.delete_hook(%s),SELECT sync.rotate_hook_secret(%s)}'::text[]) s;
SELECT is(as_role('sync_tenant', 'A', format('SELECT sync.create_hook(%s, ''github'')', conn('of-b'))), 'P0002', 'nor a connection to make one for');
SELECT is(as_role('sync_tenant', 'A', format('SELECT sync.create_hook(%s, ''github'', schedule_id => %s)', conn('of-a'), :of_b)), 'P0002', 'nor a schedule');
SELECT alike(as_role('sync_tenant', 'A', format('SELECT path FROM sync.create_hook(%s, ''github'')', conn('of-a'))), '/hooks/github/whk_%', 'for its own it makes one');
SELECT is(as_role(r, 'A', 'SELECT count(h.id) FROM sync.hooks h'), n, r || ' reads hooks') FROM (VALUES ('sync_viewer', (SELECT count(*)::text FROM sync.hooks)), ('sync_admin', (SELECT count(*)::text FROM sync.hooks)), ('sync_gateway', '2')) v (r, n);
SELECT is(as_role(r, 'A', s), '42501', r || ' may not: ' || s)
FROM unnest('{sync_tenant,sync_viewer,sync_gateway,sync_executor,sync_admin}'::text[]) r
CROSS JOIN unnest('{SELECT max(secret) FROM sync.hook_secrets,SELECT max(token_hash::text) FROM sync.hooks,UPDATE sync.hooks SET is_active = true}'::text[]) s;
SELECT is(as_role(r, 'A', 'SELECT o FROM sync.open_hook(''github'', ''x'') o'), '42501', r || ' opens no hook') FROM unnest('{sync_tenant,sync_viewer,sync_executor,sync_admin}'::text[]) r;
SELECT is(as_role('sync_gateway', '', format('SELECT hook_id FROM sync.open_hook(%L, %L)', m.provider, m.token)), m.hook_id::text, 'a gateway does, whosever it is') FROM made('of-b') m;
SELECT is(as_role('sync_gateway', '', format('SELECT outcome FROM sync.receive_hook(%L, %L, ''g'', ''{}'', ''{}'', as_of => at(''17:00''))', m.provider, m.token)), 'accepted', 'and receives') FROM made('of-b') m;
SELECT is(as_role('sync_gateway', '', format('SELECT string_agg(h.tenant_id, '''') FROM sync.open_hook(%L, %L) o CROSS JOIN LATERAL (SELECT x.tenant_id FROM sync.hooks x WHERE o.hook_id > 0 OFFSET 0) h', m.provider, m.token)),
          'B', 'seeing that tenant alone then') FROM made('of-b') m;

-- What was seen is known for sync_engine.hook_dedupe_hours, in whole days.
SELECT connection('k', '{}', at('07:00')), hook('k', 'k');
SELECT arrives('k', 'x', at('08:00'));
SELECT is(arrives('k', 'x', at('23:59') + interval '3 days'), 'duplicate', '72 hours later it is a duplicate');
SELECT is(arrives('k', 'x', at('00:00') + interval '4 days'), 'accepted', 'after that, and the day, it is not');
SET LOCAL sync_engine.hook_dedupe_hours = 1;
SELECT is(arrives('k', 'x', at('01:00') + interval '5 days'), 'accepted', 'with a shorter time sooner');
SET LOCAL sync_engine.hook_dedupe_hours = 72;
SELECT housekeep(at('00:01') + interval '4 days');
SELECT is((SELECT string_agg(p.name, ',' ORDER BY p.name) FROM sync.partitions p WHERE p.parent = 'hook_deliveries'),
          'hook_deliveries_20260305,hook_deliveries_20260306', 'housekeeping drops days that are over and makes tomorrow''s');

-- How many
SELECT connection('many');
SELECT count(sync.create_hook(conn('many'), 'github')) FROM generate_series(1, 100);
SELECT throws_ok($$SELECT sync.create_hook(conn('many'), 'github')$$, '53400', 'connection ' || conn('many') || ' has 100 hooks already', 'a hundred at most');

SELECT * FROM finish();
ROLLBACK;
