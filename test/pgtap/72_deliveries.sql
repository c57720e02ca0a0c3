-- From events to messages, and what becomes of them: each event is told once, nothing is sent twice under two names, nobody is flooded.
\ir include/setup.psql
\ir include/notices.psql
SELECT plan(461);

CREATE FUNCTION waits(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM sync.message_queue q WHERE q.notification_id = setting(waits.name) $$;
CREATE FUNCTION state(name text) RETURNS sync.notification_state LANGUAGE sql STABLE AS $$ SELECT s FROM sync.notification_state s WHERE s.notification_id = setting(state.name) $$;
CREATE FUNCTION queued(name text) RETURNS sync.message_queue LANGUAGE sql STABLE AS $$ SELECT q FROM sync.message_queue q WHERE q.notification_id = setting(queued.name) $$;
CREATE FUNCTION disabled(name text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT (setting_row(disabled.name)).disabled_at IS NOT NULL $$;
-- So many events of a connection, a second apart, as completions write them.
CREATE FUNCTION happens(external text, n int, as_of timestamptz) RETURNS void LANGUAGE sql AS $$
    SELECT succeeds(external, as_of + (g - 1) * interval '1 millisecond') FROM generate_series(1, n) g
$$;
-- Events of a setting that are in no message to one of its recipients, or in two.
CREATE FUNCTION miscounted(name text, wanted bigint) RETURNS text LANGUAGE sql STABLE AS $$
    WITH told AS (SELECT m.recipient, e FROM sync.messages m CROSS JOIN unnest(m.event_ids) e WHERE m.notification_id = setting(miscounted.name)
                  UNION ALL SELECT b.user_id, e FROM sync.inbox b CROSS JOIN unnest(b.event_ids) e WHERE b.notification_id = setting(miscounted.name))
    SELECT string_agg(format('%s: %s events, %s different', x.recipient, x.n, x.d), '; ') FROM (SELECT recipient, count(*) AS n, count(DISTINCT e) AS d FROM told GROUP BY 1) x
    WHERE x.n <> wanted OR x.d <> wanted
$$;

-- Routing
SELECT connection('c', '{}', at('07:00')), connection('d', '{}', at('07:00'));
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["a@b.example", "b@b.example"]}', conn('c'), name => 'mail', as_of => at('08:00')),
       sync.create_notification('T', 'in_app', '{success}', '{"users": ["u1", "u2"]}', conn('c'), name => 'app', as_of => at('08:00')), webhook('hook', '{success}', connection => conn('c'));
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["off@b.example"]}', conn('c'), name => 'off', as_of => at('08:00'));
SELECT succeeds('c', at('09:00'));
SELECT is((SELECT count(*) FROM sync.outbox), 1::bigint, 'a run is one event, however many want it');
SELECT sync.update_notification(setting('off'), is_active => false);
SELECT work(at('09:00')), work(at('09:00')), work(at('09:01'));
SELECT is((SELECT count(*) FROM sync.outbox), 0::bigint, 'it is taken out of the outbox');
SELECT results_eq($$SELECT channel, recipient, event_type, status, attempt FROM sync.deliveries ORDER BY recipient$$, $$VALUES ('email', 'a@b.example', 'sync.succeeded', 'queued', NULL::int),
    ('email', 'b@b.example', 'sync.succeeded', 'queued', NULL), ('webhook', 'https://hooks.example.com/hook', 'sync.succeeded', 'queued', NULL)$$, 'one message for each recipient');
SELECT results_eq($$SELECT user_id, event_type, severity FROM sync.inbox ORDER BY user_id$$, $$VALUES ('u1', 'sync.succeeded', 'info'), ('u2', 'sync.succeeded', 'info')$$, 'in-app, one row for each user');
SELECT is((SELECT count(DISTINCT event_ids) FROM (SELECT event_ids FROM sync.messages UNION ALL SELECT event_ids FROM sync.inbox) x), 1::bigint, 'all of the same event');
SELECT is((SELECT count(DISTINCT message_id) FROM sync.deliveries WHERE message_id ~ '^msg_[0-9a-f]{32}$'), 3::bigint, 'each under an id of its own');
SELECT is((SELECT count(DISTINCT payload - 'data') || ' ' || min(payload ->> 'timestamp') || ' ' || min(payload ->> 'type') FROM sync.messages), '1 2026-03-01T09:00:00Z sync.succeeded', 'the envelope says what and when');
SELECT is((SELECT count(*) FROM sync.messages WHERE payload #>> '{data,tenant}' = 'T' AND (payload #>> '{data,notification,id}')::bigint = notification_id AND (payload #>> '{data,connection,id}')::bigint = conn('c')
           AND payload #> '{data,title}' IS NOT NULL AND payload #> '{data,summary}' IS NOT NULL AND payload #>> '{data,connection,external_id}' = 'c' AND payload #>> '{data,connection,provider}' = 'github'), 3::bigint,
    'the data whose, of which setting and connection');
SELECT is((SELECT count(*) FROM sync.messages WHERE payload::text LIKE '%example%' AND channel <> 'webhook' OR payload::text LIKE '%hooks%'), 0::bigint, 'no recipient is told about in a message');
SELECT is((SELECT payload #> '{data,links}' FROM sync.messages LIMIT 1), NULL, 'no links without link_base');
SET LOCAL sync_engine.link_base = 'https://console.example/t';
SELECT succeeds('c', at('09:02')), work(at('09:02'));
SELECT is((SELECT payload #>> '{data,links,connection}' FROM sync.messages WHERE created_at = at('09:02') LIMIT 1), 'https://console.example/t/connections/' || conn('c'), 'with it there are');
RESET sync_engine.link_base;
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["late@b.example"]}', conn('c'), name => 'late', as_of => at('08:00'));
SELECT work(at('09:03'));
SELECT is(waits('late'), 0::bigint, 'a setting hears nothing of what was before it');

-- Bursts: ten in a window of fifteen minutes, by default, the rest in one message at its end
SELECT connection('burst', '{}', at('07:00'));
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["x@b.example", "y@b.example"]}', conn('burst'), name => 'burst', as_of => at('08:00'));
SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["bu"]}', conn('burst'), name => 'burst app', as_of => at('08:00'));
SELECT webhook('burst', '{success}', connection => conn('burst'));
UPDATE sync.sync_notifications SET name = 'burst hook' WHERE config ->> 'url' LIKE '%/burst';
SELECT happens('burst', 9, at('10:00'));
SELECT work(at('10:00:30'));
SELECT succeeds('burst', at('10:14')), work(at('10:14'));
SELECT is(waits('burst'), 20::bigint, 'ten events in a window: ten messages for each recipient');
SELECT is((state('burst')).held_until, NULL, 'nothing is held back');
SELECT happens('burst', 3, at('10:14:30'));
SELECT work(at('10:14:35'));
SELECT is(waits('burst'), 20::bigint, 'more are held back');
SELECT is((state('burst')).held_until, at('10:15:30'), 'until the window ends that the first one began');
SELECT is(waits('burst hook'), 13::bigint, 'of a webhook nothing is held back: it is a program''s');
SELECT is((SELECT count(*) FROM sync.inbox WHERE user_id = 'bu'), 10::bigint, 'in-app as in e-mail');
SELECT happens('burst', 1, at('10:14:50')), happens('burst', 1, at('10:15:00'));
SELECT work(at('10:15:29'));
SELECT is(waits('burst'), 20::bigint, 'not before');
SELECT is(sync.next_delivery_at('{in_app}', at('10:15:29')), at('10:15:30'), 'next_delivery_at says so');
SELECT work(at('10:15:30'));
SELECT results_eq($$SELECT recipient, event_type, cardinality(event_ids), (payload #>> '{data,total}')::int, jsonb_array_length(payload #> '{data,events}') FROM sync.messages
                    WHERE notification_id = setting('burst') AND event_type <> 'sync.succeeded' ORDER BY recipient$$,
    $$VALUES ('x@b.example', 'sync.bundle', 5, 5, 5), ('y@b.example', 'sync.bundle', 5, 5, 5)$$, 'then one message tells of them all');
SELECT results_eq($$SELECT payload #> '{data,by}', payload #>> '{data,from}', payload #>> '{data,to}', payload ->> 'timestamp' FROM sync.messages WHERE event_type = 'sync.bundle' LIMIT 1$$,
    $$VALUES ('[{"type": "sync.succeeded", "provider": "github", "count": 5}]'::jsonb, '2026-03-01T10:14:30Z', '2026-03-01T10:15:00Z', '2026-03-01T10:15:30Z')$$, 'how many of what, since when and until when');
SELECT is((SELECT count(*) FROM sync.inbox WHERE user_id = 'bu' AND event_type = 'sync.bundle'), 1::bigint, 'one in-app');
SELECT is((SELECT count(*) FROM sync.held_events), 0::bigint, 'nothing is held any more');
SELECT work(at('10:20')), work(at('10:31'));
SELECT is((SELECT count(*) FROM sync.messages WHERE event_type = 'sync.bundle'), 2::bigint, 'there is no second bundle');
SELECT succeeds('burst', at('10:31')), work(at('10:31'));
SELECT is(waits('burst'), 24::bigint, 'later events go out one by one again');
SELECT is(miscounted(n, 16), NULL, 'each event is in exactly one message to each recipient: ' || n) FROM unnest('{burst,burst app,burst hook}'::text[]) n;
-- Many in one step of routing
SET LOCAL sync_engine.notification_burst = 2;
SET LOCAL sync_engine.notification_window_seconds = 60;
SELECT happens('burst', 7, at('11:00'));
SELECT work(at('11:00:01'));
SELECT is((SELECT count(*) FROM sync.held_events WHERE notification_id = setting('burst')), 5::bigint, 'the burst holds within one step');
-- It is raised while something is held back
SET LOCAL sync_engine.notification_burst = 100;
SELECT succeeds('burst', at('11:00:30')), work(at('11:00:30'));
SELECT is((state('burst')).held_until, at('11:01:01'), 'a burst that is raised meanwhile lets nothing be forgotten');
SELECT work(at('11:01:01'));
SELECT is(miscounted(n, 24), NULL, 'all of it is told: ' || n) FROM unnest('{burst,burst app,burst hook}'::text[]) n;
SET LOCAL sync_engine.notification_burst = 2;
-- A clock that goes back
SELECT happens('burst', 2, at('12:00'));
SELECT work(at('12:00:01'));
SELECT succeeds('burst', at('11:30')), work(at('11:30'));
SELECT is((state('burst')).held_until, NULL, 'a clock that went back begins a window');
-- Tests and digests are not held back
SELECT happens('burst', 5, at('12:30'));
SELECT work(at('12:30:01')), sync.test_notification(setting('burst'), at('12:30:01'));
SELECT is((SELECT count(*) FROM sync.messages WHERE notification_id = setting('burst') AND event_type = 'test'), 2::bigint, 'a test is not held back');
SELECT work(at('12:32'));
SELECT is(miscounted('burst', 32), NULL, 'all of it is told once');
RESET sync_engine.notification_burst;
RESET sync_engine.notification_window_seconds;

-- Ten thousand failures at once
SELECT provider('storm');
SELECT sync.create_notification('S', 'email', '{failure}', '{"to": ["storm@b.example"]}', name => 'storm', as_of => at('08:00')),
       sync.create_notification('S', 'in_app', '{failure}', '{"users": ["storm"]}', name => 'storm app', as_of => at('08:00'));
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, name) SELECT 'S', 'storm', 's' || n, repeat('storm ', 12) || n FROM generate_series(1, 10000) n;
INSERT INTO sync.sync_jobs (connection_id, job_type, status, scheduled_at) SELECT c.id, 'incremental', 'queued', at('09:00') FROM sync.connections c WHERE c.tenant_id = 'S';
CREATE TEMP TABLE stormy AS SELECT * FROM sync.claim_jobs('storm', 10000, at('14:00'));
SELECT is((SELECT count(*) FROM sync.complete_jobs((SELECT jsonb_agg(jsonb_build_object('job_id', s.job_id, 'claim_token', s.claim_token, 'error', jsonb_build_object('message', repeat('it is down ', 100)), 'kind', 'permanent'))
                                                    FROM stormy s), at('14:00'))), 10000::bigint, 'ten thousand runs fail at once');
SELECT is((SELECT count(*) || ' ' || count(DISTINCT connection_id) FROM sync.incidents WHERE tenant_id = 'S'), '10000 10000', 'which is an incident each');
SELECT is(work(at('14:00')), 10, 'they are routed in steps');
SELECT is(waits('storm') || ' ' || (SELECT count(*) FROM sync.inbox WHERE user_id = 'storm'), '10 10', 'and no storm');
SELECT work(at('14:15'));
SELECT is(waits('storm') || ' ' || (SELECT count(*) FROM sync.inbox WHERE user_id = 'storm'), '11 11', 'but one message more');
SELECT is(miscounted(n, 10000), NULL, 'in which each of them is: ' || n) FROM unnest('{storm,storm app}'::text[]) n;
SELECT results_eq($$SELECT (payload #>> '{data,total}')::int, payload #> '{data,by}', jsonb_array_length(payload #> '{data,events}') FROM sync.messages WHERE notification_id = setting('storm') AND event_type = 'sync.bundle'$$,
    $$VALUES (9990, '[{"type": "sync.failed", "class": "permanent", "count": 9990, "provider": "storm"}]'::jsonb, 50)$$, 'counted by kind, with fifty of them by name');
SELECT cmp_ok((SELECT max(length(payload::text)) FROM sync.messages WHERE notification_id = setting('storm')), '<', 60000, 'it is no larger than 60 kB');
SELECT is((SELECT count(*) FROM sync.messages m CROSS JOIN jsonb_array_elements(m.payload #> '{data,events}') e
           WHERE m.notification_id = setting('storm') AND m.event_type = 'sync.bundle' AND e ->> 'title' LIKE 'storm%failed: it is down%' AND e #>> '{connection,name}' LIKE 'storm%'), 50::bigint,
    'those say what happened to which connection');
SELECT alike((SELECT payload #>> '{data,title}' FROM sync.messages WHERE notification_id = setting('storm') AND event_type = 'sync.bundle'), '9990 notifications more since%', 'its title counts them');
SELECT deliver(at('14:16'));
DELETE FROM sync.sync_notifications WHERE tenant_id = 'S';
DELETE FROM sync.connections WHERE tenant_id = 'S';

-- What is too long or not of one line
SELECT connection('long', '{}', at('07:00'));
UPDATE sync.connections SET name = E'line one\r\nBcc: x@evil.example\n\u202e\u0007<b>' || repeat('n', 1000000) WHERE id = conn('long');
SELECT sync.create_notification('T', 'email', '{failure}', '{"to": ["long@b.example"]}', conn('long'), name => E'a\r\nb' || repeat('n', 1000000), as_of => at('08:00'));
SELECT begins('long', at('14:20'));
SELECT sync.fail_job(r.id, r.claim_token, jsonb_build_object('message', E'first\r\nSubject: evil\r\n\r\n' || repeat('€', 1000000), 'code', repeat('c', 1000000), 'status', repeat('9', 1000)::numeric, 'body', repeat('x', 1000000)),
                     'permanent', NULL, at('14:20')) FROM running('long') r;
SELECT take(at('14:20'));
SELECT cmp_ok(length((newest('long@b.example')).payload::text), '<', 20000, 'an error of a megabyte becomes a message of less than 20 kB');
SELECT cmp_ok(octet_length((newest('long@b.example')).payload::text), '<', 24000, 'in bytes, too');
SELECT is((newest('long@b.example')).payload #>> '{data,title}' ~ '[\r\n\t]', false, 'its title is one line');
SELECT cmp_ok(length((newest('long@b.example')).payload #>> '{data,title}'), '<=', 200, 'of a subject''s length');
SELECT cmp_ok(octet_length((incident('long', 'permanent')).error::text), '<', 20000, 'the incident does not keep it whole either');
SELECT ends('long@b.example', at('14:20'), 'failed', jsonb_build_object('error', repeat('e', 1000000), 'error_code', repeat('c', 1000000), 'reply', repeat('r', 1000000)));
SELECT results_eq($$SELECT length(error), length(error_code), length(reply) FROM sync.deliveries WHERE recipient = 'long@b.example'$$, $$VALUES (2000, 100, 1024)$$, 'what an executor says of a try is cut as well');
DELETE FROM sync.connections WHERE id = conn('long');

-- Claiming
DELETE FROM taken;
DELETE FROM sync.message_queue;
SELECT webhook('one', '{failure}', connection => conn('d')), webhook('two', '{failure}', connection => conn('d')), email('three@b.example', '{failure}', conn('d'));
SELECT sync.test_notification(setting('one'), at('15:00') + n * interval '1 second') FROM generate_series(1, 12) n;
SELECT sync.test_notification(setting('two'), at('15:00:03.5')), sync.test_notification(setting('three@b.example'), at('15:00:05.5'));
SELECT is(take(at('15:00:02')), 2::bigint, 'what is not due yet is not handed out');
SELECT is(take(at('15:01'), 3), 3::bigint, 'no more than asked for');
SELECT results_eq($$SELECT split_part(recipient, '/', 4), created_at FROM taken WHERE as_of = at('15:01')$$, $$VALUES ('one', at('15:00:03')), ('two', at('15:00:03.5')), ('one', at('15:00:04'))$$, 'in the order of their time');
SELECT is(take(at('15:01:01')), 2::bigint, 'five at a time for one receiver, however many wait');
SELECT is(take(at('15:01:02')), 0::bigint, 'and no more while they are sent');
SELECT is((SELECT count(*) FILTER (WHERE notification_id = setting('one')) || ' ' || count(*) FILTER (WHERE notification_id = setting('two')) || ' ' || count(*) FILTER (WHERE channel = 'email') FROM taken), '5 1 1',
    'which keeps nobody else waiting');
SELECT is((SELECT count(*) FROM taken WHERE attempt = 1 AND claim_token IS NOT NULL AND payload ->> 'type' = 'test' AND tenant_id = 'T' AND message_id ~ '^msg_' AND channel = 'webhook' AND secrets IS NOT NULL AND unsubscribe IS NULL
           OR channel = 'email' AND secrets IS NULL AND unsubscribe IS NOT NULL), 7::bigint, 'with all that a sender needs');
SELECT is((SELECT count(DISTINCT claim_token) FROM taken), 7::bigint, 'each under a token of its own');
SELECT ends('/one', at('15:02'));
SELECT is(take(at('15:02')), 1::bigint, 'one has arrived: the next may go');
SELECT sync.test_notification(setting('three@b.example'), at('15:03')), sync.test_notification(setting('two'), at('15:03'));
SELECT is(take(at('15:03'), channels => '{email}'), 1::bigint, 'of the channels asked for');
SELECT is((SELECT channel FROM taken WHERE as_of = at('15:03')), 'email', 'that is');
SELECT is(take(at('15:03'), channels => '{}'), 0::bigint, 'of none, none');
SELECT is(take(at('15:03'), channels => NULL), 0::bigint, 'nor of null');
SELECT throws_ok(format('SELECT * FROM sync.claim_deliveries(%s)', a), s, NULL, 'claim_deliveries: ' || a) FROM (VALUES ($$'e', 0$$, '22023'), ($$'e', -1$$, '22023'), ($$'e', NULL$$, '22023'), ($$'', 1$$, '22023'), ('NULL, 1', '22023'),
    ($$'e', 1, '{email}', 'infinity'$$, '22023'), ($$'e', 1, '{email}', NULL$$, '22023')) v (a, s);
-- Of two settings, the one whose message has waited longest
DELETE FROM sync.message_queue;
DELETE FROM taken;

-- Fencing
SELECT sync.test_notification(setting('two'), at('16:00') + n * interval '1 second') FROM generate_series(1, 5) n;
SELECT take(at('16:01'));
CREATE TEMP TABLE f AS SELECT row_number() OVER (ORDER BY created_at) AS n, delivery_id AS id, claim_token AS token FROM taken;
CREATE FUNCTION element(which int, outcome text DEFAULT 'delivered') RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT jsonb_build_object('delivery_id', f.id, 'claim_token', f.token, 'outcome', outcome) FROM f WHERE f.n = which $$;
CREATE FUNCTION verdict(e jsonb, as_of timestamptz DEFAULT at('16:02')) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(c.outcome, ', ') FROM sync.complete_deliveries(jsonb_build_array(e), as_of) c $$;
SELECT is(verdict(element(1) || jsonb_build_object('claim_token', gen_random_uuid())), 'stale', 'another token is stale');
SELECT is(verdict(element(1) || jsonb_build_object('delivery_id', (SELECT id FROM f WHERE n = 2))), 'stale', 'so is that of another delivery');
SELECT is(verdict(element(1) || '{"delivery_id": 999999999}'), 'stale', 'and a delivery that is not there');
SELECT is((SELECT count(*) FROM sync.message_queue WHERE status = 'sending'), 5::bigint, 'which change nothing');
SELECT is(verdict(element(1) || '{"duration_ms": 12.5, "status": 200, "reply": "ok"}'), 'delivered', 'the right one holds');
SELECT is(verdict(element(1)), 'repeated', 'again, it is a repeat');
SELECT is(verdict(element(1, 'failed')), 'repeated', 'whatever it says then');
SELECT is(verdict(element(2, 'failed')), 'retried', 'a failure is tried again');
SELECT is(verdict(element(2, 'failed')), 'repeated', 'of which a repeat');
SELECT is(verdict(element(2)), 'repeated', 'of any kind');
SELECT is((SELECT count(*) FROM sync.delivery_attempts a JOIN f ON f.id = a.message_id WHERE f.n = 2), 1::bigint, 'makes no second try');
SELECT results_eq($$SELECT c.outcome FROM sync.complete_deliveries(jsonb_build_array(element(3), element(3, 'failed'), element(3)), at('16:02')) c$$, $$VALUES ('delivered'), ('repeated'), ('repeated')$$,
    'twice in one call: the first counts');
SELECT results_eq($$SELECT status, outcome, reply_status, duration_ms, reply, attempt, attempted_at, finished_at, next_attempt_at FROM sync.deliveries d JOIN f ON f.id = d.delivery_id WHERE f.n = 1$$,
    $$VALUES ('delivered', 'delivered', 200, 12.5::float8, 'ok', 1, at('16:01'), at('16:02'), NULL::timestamptz)$$, 'sync.deliveries shows the try');
-- Elements of any shape
CREATE TEMP TABLE odd (what text, e jsonb);
INSERT INTO odd SELECT 'not an object: ' || e, e::jsonb FROM unnest(ARRAY['5', '"x"', 'null', 'true', '[]', '[1, 2]', '{}', '[{"delivery_id": 1}]', '1e400']) e;
INSERT INTO odd SELECT format('delivery_id %s', left(v, 30)), element(4) || jsonb_build_object('delivery_id', v::jsonb)
FROM unnest(ARRAY['null', '"1"', '"x"', '{}', '[1]', 'true', '1.5', '-1', '0', '1e17', '1e18', '1e19', '9223372036854775807', '9223372036854775808', '-9223372036854775809', '1e400', '-1e400', repeat('9', 5000), '1e-400']) v;
INSERT INTO odd SELECT format('claim_token %s', left(v, 30)), element(4) || jsonb_build_object('claim_token', v::jsonb)
FROM unnest(ARRAY['null', '""', '"x"', '5', '{}', '[]', '"00000000-0000-0000-0000-000000000000"', '"{00000000-0000-0000-0000-000000000000}"', '"00000000000000000000000000000000"', '"zzzzzzzz-0000-0000-0000-000000000000"', '1e400',
    '"00000000-0000-0000-0000-000000000000\n"', to_jsonb(repeat('a', 100000))::text]) v;
INSERT INTO odd SELECT format('outcome %s', left(v, 30)), element(4) || jsonb_build_object('outcome', v::jsonb)
FROM unnest(ARRAY['null', '""', '"Delivered"', '"ok"', '"retried"', '"lost"', '5', 'true', '{}', '["delivered"]', '1e400', to_jsonb(repeat('a', 100000))::text]) v;
INSERT INTO odd SELECT 'no ' || k, element(4) - k FROM unnest('{delivery_id,claim_token,outcome}'::text[]) k;
SELECT matches(verdict(e), '^(rejected|stale)$', 'malformed: ' || what) FROM odd;
SELECT is((SELECT count(*) FROM odd CROSS JOIN LATERAL sync.complete_deliveries(jsonb_build_array(e), at('16:02')) c WHERE c.outcome = 'rejected' AND c.detail IS NULL), 0::bigint, 'what is rejected says why');
SELECT results_eq($$SELECT c.outcome FROM sync.complete_deliveries(jsonb_build_array('5', 'null', '{}', element(3), element(1) || '{"delivery_id": 1e400}'), at('16:02')) c$$,
    $$VALUES ('rejected'), ('rejected'), ('rejected'), ('repeated'), ('rejected')$$, 'each for itself');
SELECT is((SELECT status FROM sync.message_queue q JOIN f ON f.id = q.message_id WHERE f.n = 4), 'sending', 'and the delivery is as it was');
SELECT throws_ok(format('SELECT * FROM sync.complete_deliveries(%L)', v), '22023', NULL, 'results must be an array, not ' || COALESCE(v, 'null')) FROM unnest(ARRAY['{}', '5', '"x"', 'null', NULL]) v;
SELECT is((SELECT count(*) FROM sync.complete_deliveries('[]')), 0::bigint, 'of none, none');
SELECT is(verdict(element(4) || jsonb_build_object('delivery_id', (SELECT id + 0.3 FROM f WHERE n = 4))), 'rejected', 'an id is not rounded');
-- Odd values of what is told beside: the outcome holds
CREATE TEMP TABLE beside AS SELECT k, v FROM unnest('{status,duration_ms,error,error_code,retry_after_seconds,reply,strange}'::text[]) k
CROSS JOIN unnest(ARRAY['null', '""', '"x"', '"NaN"', '"Infinity"', '"1e400"', '-1', '-1e17', '0', '1e17', '1e18', '1e400', '-1e400', '1e-400', '0.1', '{}', '{"a": [1, {"b": null}]}', '[]', '[[[[]]]]', 'true', repeat('9', 5000),
    to_jsonb(repeat('a', 100000))::text, '"\u0001\u001f\u007f\u2028"']) v;
CREATE FUNCTION told_beside(k text, v text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    -- Each undone, so that the same delivery serves them all.
    BEGIN
        result := verdict(element(4, 'failed') || jsonb_build_object(k, v::jsonb));
        IF EXISTS (SELECT 1 FROM sync.message_queue q JOIN f ON f.id = q.message_id WHERE f.n = 4 AND q.due_at NOT BETWEEN at('16:02:05') AND at('16:02') + interval '26.5 hours') THEN
            result := 'tried again at a wrong time';
        END IF;
        RAISE EXCEPTION 'undo';
    EXCEPTION WHEN OTHERS THEN
        IF SQLERRM <> 'undo' THEN
            result := SQLERRM;
        END IF;
    END;
    RETURN result;
END $$;
SELECT is(told_beside(k, v), 'retried', format('%s: %s', k, left(v, 30))) FROM beside ORDER BY k, v;

-- Giving back
SELECT is(sync.release_deliveries('mailer', ARRAY[(SELECT id FROM f WHERE n = 4), (SELECT id FROM f WHERE n = 5)], ARRAY[(SELECT token FROM f WHERE n = 4), gen_random_uuid()], at('16:03')), 1, 'what is given back, but for stale tokens');
SELECT results_eq($$SELECT q.status, q.attempts FROM sync.message_queue q JOIN f ON f.id = q.message_id WHERE f.n >= 4 ORDER BY f.n$$, $$VALUES ('queued', 0), ('sending', 1)$$, 'costs no try');
SELECT is(sync.release_deliveries('mailer', ARRAY[(SELECT id FROM f WHERE n = 4)], ARRAY[(SELECT token FROM f WHERE n = 4)], at('16:03')), 0, 'again, nothing');
SELECT is(verdict(element(4)), 'stale', 'who gave it back has it no more');
SELECT is(take(at('16:03')), 2::bigint, 'others may take it');
SELECT is((SELECT attempt FROM taken t JOIN f ON f.id = t.delivery_id WHERE f.n = 4 AND t.as_of = at('16:03')), 1, 'as its first try');
SELECT throws_ok($$SELECT sync.release_deliveries('mailer', '{1,2}', ARRAY[gen_random_uuid()])$$, '22023', NULL, 'ids and tokens go together');
SELECT is(sync.release_deliveries('mailer', '{}', '{}'), 0, 'of none, none');
SELECT is(sync.release_deliveries('mailer', ARRAY[NULL]::bigint[], ARRAY[NULL]::uuid[]), 0, 'nor of null');

-- Leases
SET LOCAL sync_engine.lease_seconds = 60;
DELETE FROM sync.message_queue;
DELETE FROM taken;
CREATE TEMP TABLE inc AS SELECT sync.register_executor('sender', 1, '{}', at('17:00')) AS name;
SELECT sync.test_notification(setting('two'), at('17:00'));
SELECT take(at('17:00'), executor => (SELECT name FROM inc));
SELECT sync.heartbeat((SELECT name FROM inc), '{}', at('17:00:50'));
SELECT work(at('17:01:30'));
SELECT is((queued('two')).status, 'sending', 'a heartbeat keeps it');
SELECT work(at('17:01:50'));
SELECT is((queued('two')).status, 'queued', 'silence for a lease gives it up');
SELECT results_eq($$SELECT outcome, error_code, status FROM sync.deliveries WHERE created_at = at('17:00')$$, $$VALUES ('lost', 'lost', 'queued')$$, 'as a try that was lost');
SELECT is(ends('/two', at('17:01:51')), 'repeated', 'its token has ended');
SELECT is(take(at('17:01:50')), 0::bigint, 'it waits as after a failure');
SELECT is(take(at('17:01:57'), executor => 'other'), 1::bigint, 'and is tried again');
SELECT is((SELECT count(DISTINCT message_id) || ' ' || max(attempt) FROM taken), '1 2', 'under the same id');
SELECT work(at('17:03'));
SELECT sync.heartbeat('other', '{}', at('17:03'));
SELECT is((queued('two')).status, 'queued', 'who claims and never beats has a lease as well');
SELECT is(take(at('17:10'), executor => 'other'), 1::bigint, 'a third try');
SELECT sync.heartbeat('other', '{}', at('17:10') + n * interval '30 seconds') FROM generate_series(1, 9) n;
SELECT work(at('17:14:50'));
SELECT is((queued('two')).status, 'sending', 'heartbeats keep a try');
SELECT sync.heartbeat('other', '{}', at('17:15'));
SELECT work(at('17:15:01'));
SELECT is((queued('two')).status, 'queued', 'for five minutes and no longer');
-- A new incarnation
UPDATE sync.message_queue SET due_at = at('18:00');
SELECT is(take(at('18:00'), executor => (SELECT name FROM inc)), 1::bigint, 'one of the executor');
SELECT isnt(sync.register_executor('sender', 1, '{}', at('18:00:01')), NULL, 'which starts again');
SELECT results_eq($$SELECT status, attempts FROM queued('two')$$, $$VALUES ('queued', 4)$$, 'what the former one held is taken back at once');
SELECT throws_ok(format('SELECT * FROM sync.claim_deliveries(%L)', (SELECT name FROM inc)), '55000', NULL, 'and it claims nothing more');
SELECT is((ends('/two', at('18:00:02'))), 'repeated', 'nor completes anything');
SET LOCAL sync_engine.lease_seconds = 86400;

-- Retries: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, each up to a tenth longer
DELETE FROM sync.message_queue;
DELETE FROM taken;
SELECT webhook('retry', '{failure}', connection => conn('d')), in_app('watch', '{warning}'), in_app('watch success', '{success,recovered}'), in_app('other tenant', '{warning,failure}', tenant => 'U');
SELECT news('watch', at('18:30'));
SELECT sync.test_notification(setting('retry'), day(1));
CREATE FUNCTION try(as_of timestamptz, hint jsonb DEFAULT '{}') RETURNS interval LANGUAGE plpgsql AS $$
BEGIN
    IF take(as_of) <> 1 THEN
        RAISE EXCEPTION 'at % these are due: %', as_of, (SELECT string_agg(t.recipient || ' ' || (t.payload ->> 'type'), ', ') FROM taken t WHERE t.as_of = try.as_of);
    END IF;
    PERFORM ends('/retry', as_of, 'failed', hint || '{"status": 503, "error_code": "status", "error": "503"}');
    RETURN (SELECT q.due_at - try.as_of FROM sync.message_queue q WHERE q.notification_id = setting('retry'));
END $$;
CREATE TEMP TABLE tries (n int, at timestamptz, wait interval);
DO $$
DECLARE
    at timestamptz := day(1);
    waited interval;
BEGIN
    FOR n IN 1 .. 10 LOOP
        waited := try(at);
        INSERT INTO tries VALUES (n, at, waited);
        at := at + COALESCE(waited, '0');
    END LOOP;
END $$;
SELECT ok((SELECT wait BETWEEN w::interval AND w::interval * 1.1 FROM tries WHERE tries.n = v.n), format('after try %s: %s', v.n, w))
FROM (VALUES (1, '5 s'), (2, '5 min'), (3, '30 min'), (4, '2 h'), (5, '5 h'), (6, '10 h'), (7, '14 h'), (8, '20 h'), (9, '24 h')) v (n, w);
SELECT ok((SELECT count(DISTINCT wait / extract(epoch FROM wait) * 1) > 0 AND bool_or(wait <> date_trunc('second', wait)) FROM tries WHERE n < 10), 'with jitter');
SELECT is((SELECT wait FROM tries WHERE n = 10), NULL, 'after the tenth it is given up');
SELECT results_eq($$SELECT count(*), count(DISTINCT message_id), max(attempt), count(*) FILTER (WHERE next_attempt_at IS NULL), min(status) FROM sync.deliveries WHERE notification_id = setting('retry')$$,
    $$VALUES (10::bigint, 1::bigint, 10, 10::bigint, 'failed')$$, 'ten tries of one message');
SELECT is(disabled('retry'), true, 'a receiver of which nothing has been heard for that long is disabled');
SELECT is((setting_row('retry')).disabled_reason, 'status 503', 'with the reason');
SELECT is(news('watch', day(6)), 'notification.disabled (webhook_disabled)', 'which others are told by another channel');
SELECT is(news(w, day(6)), '', 'not who wants neither warnings nor failures, nor another tenant: ' || w) FROM unnest('{watch success,other tenant}'::text[]) w;
SELECT is((SELECT count(*) FROM sync.messages m WHERE m.notification_id = setting('retry') AND m.event_type = 'notification.disabled'), 0::bigint, 'and not the receiver that is gone');
SELECT matches((SELECT title || body FROM sync.inbox WHERE user_id = 'watch' AND event_type = 'notification.disabled'), 'retry.*status 503', 'the message names the setting and the reason');
SELECT unalike((SELECT concat(title, body, data) FROM sync.inbox WHERE user_id = 'watch' AND event_type = 'notification.disabled'), '%hooks.example%', 'but not the URL');
SELECT fails('d', day(6)), work(day(6)), succeeds('d', day(6, '00:01'));
SELECT is(waits('retry'), 0::bigint, 'what is disabled gets nothing more');
-- Given up, though others have arrived since
SELECT sync.test_notification(setting('retry'), day(7));
SELECT is(disabled('retry'), false, 'taken up again');
UPDATE sync.message_queue SET tries = 9, attempts = 9 WHERE notification_id = setting('retry');
SELECT sync.test_notification(setting('retry'), day(7, '00:01'));
SELECT take(day(7, '00:02'));
SELECT verdict(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token, 'outcome', 'delivered'), day(7, '00:02')) FROM taken WHERE as_of = day(7, '00:02') AND attempt = 1;
SELECT is(verdict(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token, 'outcome', 'failed'), day(7, '00:03')), 'failed', 'one message is given up') FROM taken WHERE as_of = day(7, '00:02') AND attempt = 10;
SELECT is(disabled('retry'), false, 'a receiver that takes others is not disabled for it');
DELETE FROM sync.message_queue;
-- Retry-After
SELECT sync.test_notification(setting('retry'), day(8));
SELECT ok((SELECT w BETWEEN '3600 s' AND '3960 s' FROM (SELECT try(day(8), '{"retry_after_seconds": 3600}') AS w OFFSET 0) x), 'Retry-After counts where it is longer');
SELECT ok((SELECT w BETWEEN '300 s' AND '330 s' FROM (SELECT try(day(8, '02:00'), '{"retry_after_seconds": 10}') AS w OFFSET 0) x), 'and not where it is shorter');
SELECT ok((SELECT w BETWEEN '24 h' AND '26.4 h' FROM (SELECT try(day(8, '03:00'), '{"retry_after_seconds": 1e9}') AS w OFFSET 0) x), 'not for longer than a day');
DELETE FROM sync.message_queue;

-- Gone, refused
SELECT webhook('gone', '{failure}', connection => conn('d')), email('refuses@b.example', '{failure}', conn('d'));
SELECT sync.test_notification(setting('gone'), day(9)) FROM generate_series(1, 3);
SELECT news('watch', day(9));
SELECT take(day(9), 1);
SELECT is(ends('/gone', day(9), 'gone', '{"status": 410, "error_code": "status"}'), 'failed', '410');
SELECT is(disabled('gone'), true, 'disables at once');
SELECT is(waits('gone'), 0::bigint, 'and drops what waits');
SELECT is(news('watch', day(9)), 'notification.disabled (webhook_disabled)', 'others are told');
SELECT deliver(day(9, '01:00'));
SELECT is((SELECT string_agg(status, ', ' ORDER BY delivery_id) FROM sync.deliveries WHERE notification_id = setting('gone')), 'failed, cancelled, cancelled', 'sync.deliveries tells what became of each');
CREATE FUNCTION refuse(n int, as_of timestamptz, outcome text DEFAULT 'refused') RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        PERFORM sync.test_notification(setting('refuses@b.example'), refuse.as_of), take(refuse.as_of), ends('refuses@b.example', refuse.as_of, refuse.outcome, '{"status": 550, "error_code": "smtp"}');
        DELETE FROM taken;
    END LOOP;
    RETURN disabled('refuses@b.example');
END $$;
SELECT is(refuse(1, day(10)), false, 'a message that is refused');
SELECT results_eq($$SELECT status, outcome, next_attempt_at FROM sync.deliveries WHERE recipient = 'refuses@b.example' AND event_type = 'test'$$, $$VALUES ('failed', 'refused', NULL::timestamptz)$$, 'is not tried again');
SELECT is(refuse(8, day(10, '01:00')), false, 'nine in a row may be');
SELECT is(refuse(1, day(10, '02:00'), 'delivered'), false, 'one that arrives begins the count anew');
SELECT is(refuse(9, day(10, '03:00')), false, 'nine again');
SELECT is(refuse(1, day(10, '04:00')), true, 'ten in a row disable it');
SELECT is(news('watch', day(10, '04:00')), 'notification.disabled (email_disabled)', 'which is told');
SELECT results_eq($$SELECT last_success_at, last_failure_at, last_error, dead_in_a_row FROM state('refuses@b.example')$$, $$VALUES (day(10, '02:00'), day(10, '04:00'), 'smtp 550', 10)$$, 'the state of the setting says how it fared');
SELECT isnt(sync.test_notification(setting('refuses@b.example'), day(10, '05:00')), NULL, 'taken up again');
SELECT take(day(10, '05:00')), ends('refuses@b.example', day(10, '05:00'), 'refused');
SELECT is(disabled('refuses@b.example'), true, 'a test that is refused shows that nothing has changed');
SELECT sync.update_notification(setting('refuses@b.example'), config => '{"to": ["takes@b.example"]}');
SELECT sync.test_notification(setting('refuses@b.example'), day(10, '06:00')), take(day(10, '06:00')), ends('takes@b.example', day(10, '06:00'), 'refused');
SELECT is(disabled('refuses@b.example'), false, 'another address begins anew');
SELECT deliver(day(10, '07:00'));

-- Replays
DELETE FROM taken;
DELETE FROM sync.message_queue;
SELECT webhook('replay', '{failure}', connection => conn('d'));
SELECT sync.test_notification(setting('replay'), day(11, '00:00:01') + n * interval '1 minute') FROM generate_series(1, 4) n;
SELECT take(day(11, '01:00'));
CREATE TEMP TABLE r AS SELECT row_number() OVER (ORDER BY delivery_id) AS n, * FROM taken;
CREATE FUNCTION r(which int) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT r.delivery_id FROM r WHERE r.n = which $$;
SELECT is(sync.replay_delivery(r(1), day(11, '01:00')), false, 'what is being sent is not replayed');
SELECT verdict(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token, 'outcome', CASE n WHEN 1 THEN 'delivered' WHEN 2 THEN 'refused' ELSE 'failed' END), day(11, '01:00')) FROM r ORDER BY n;
SELECT is(sync.replay_delivery(r(1), day(11, '02:00')), true, 'what has arrived can be sent again');
SELECT is(sync.replay_delivery(r(2), day(11, '02:00')), true, 'what was given up as well');
SELECT take(day(11, '02:00'));
SELECT is((SELECT count(*) FROM taken t JOIN r USING (delivery_id, message_id, payload, created_at, recipient) WHERE t.as_of = day(11, '02:00') AND t.attempt = 2), 4::bigint, 'the same message, under the same id, with the same bytes');
SELECT is((SELECT count(*) FROM sync.deliveries WHERE notification_id = setting('replay') AND delivery_id = r(1)), 1::bigint, 'the try before is still told');
SELECT verdict(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token, 'outcome', 'failed'), day(11, '02:00')) FROM taken WHERE as_of = day(11, '02:00');
SELECT ok((SELECT bool_and(q.due_at - day(11, '02:00') BETWEEN '5 s' AND '5.5 s') FROM sync.message_queue q WHERE q.message_id IN (r(1), r(2))), 'a replay has tries of its own');
SELECT ok((SELECT bool_and(q.due_at - day(11, '02:00') BETWEEN '300 s' AND '330 s') FROM sync.message_queue q WHERE q.message_id IN (r(3), r(4))), 'others go on with theirs');
SELECT is(sync.replay_delivery(r(3), day(11, '02:00:01')), true, 'what waits for its next try');
SELECT is((SELECT due_at FROM sync.message_queue WHERE message_id = r(3)), day(11, '02:00:01'), 'is sent at once');
SELECT take(day(11, '02:10'));
SELECT verdict(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token, 'outcome', CASE WHEN delivery_id = r(2) THEN 'refused' ELSE 'delivered' END), day(11, '02:10')) FROM taken WHERE as_of = day(11, '02:10');
SELECT is(sync.replay_delivery(tstzrange(day(11), day(12)), as_of => day(11, '03:00')), 1, 'a range: what has never arrived');
SELECT is((SELECT message_id FROM sync.message_queue), r(2), 'that is the one that was refused');
DELETE FROM sync.message_queue;
SELECT is(sync.replay_delivery(tstzrange(day(11), day(12)), only_failed => false, as_of => day(11, '03:00')), 4, 'or all');
DELETE FROM sync.message_queue;
SELECT is(sync.replay_delivery(tstzrange(day(11), day(12)), setting('one'), false, day(11, '03:00')), 0, 'of one setting');
SELECT is(sync.replay_delivery(tstzrange(day(11, '00:02:01'), day(11, '00:03:01')), only_failed => false, as_of => day(11, '03:00')), 1, 'a range has one open end, as ranges have');
DELETE FROM sync.message_queue;
SELECT is(sync.replay_delivery(tstzrange(day(11, '00:02:01'), day(11, '00:03:01'), '[]'), only_failed => false, as_of => day(11, '03:00')), 2, 'or not, if it says so');
DELETE FROM sync.message_queue;
SELECT is(sync.replay_delivery(tstzrange(day(11), NULL), setting('replay'), false, day(11, '03:00')), 4, 'or no end');
DELETE FROM sync.message_queue;
SELECT is(sync.replay_delivery('empty', setting('replay'), false), 0, 'an empty range, none');
SELECT is(sync.replay_delivery(NULL::tstzrange, setting('replay'), false), 0, 'nor a range that is null');
SELECT throws_ok($$SELECT sync.replay_delivery(0)$$, 'P0002', NULL, 'a delivery that is not there');
SELECT sync.update_notification(setting('replay'), is_active => false);
SELECT throws_ok($$SELECT sync.replay_delivery(r(2))$$, '55000', NULL, 'of a setting that is not active');
SELECT is(sync.replay_delivery(tstzrange(day(11), NULL), setting('replay'), false, day(11, '03:00')), 0, 'nor in a range');
SELECT sync.update_notification(setting('replay'), is_active => true, config => '{"url": "https://hooks.example.com/replay2"}');
SELECT throws_ok($$SELECT sync.replay_delivery(r(2))$$, '55000', NULL, 'a message to a URL that is not the setting''s any more');
SELECT sync.update_notification(setting('replay'), config => '{"url": "https://hooks.example.com/replay"}', verify => false);
SELECT take(day(11, '04:00'), 1), ends('/replay', day(11, '04:00'), 'gone');
SELECT sync.test_notification(setting('replay'), day(11, '04:00'));
SELECT take(day(11, '04:00'), 1), ends('/replay', day(11, '04:00'), 'gone');
SELECT throws_ok($$SELECT sync.replay_delivery(r(2))$$, '55000', NULL, 'of a setting that was disabled');
SELECT cmp_ok((SELECT count(*) FROM sync.audit_log WHERE action = 'notification.replay'), '>', 5::bigint, 'replays are audited');
DELETE FROM sync.message_queue;

-- Webhooks that have not answered get tests alone
DELETE FROM taken;
SELECT connection('unv', '{}', at('07:00'));
SELECT webhook('unverified', '{success,failure,warning,recovered,digest}', true, conn('unv'));
SELECT succeeds('unv', day(12)), fails('unv', day(12, '00:01')), succeeds('unv', day(12, '00:02'));
SELECT work(day(13, '09:00'));
SELECT results_eq($$SELECT event_type FROM sync.deliveries WHERE notification_id = setting('unverified')$$, $$VALUES ('test')$$, 'a webhook that has not answered gets nothing but a test');
SELECT take(day(13, '09:00')), ends('/unverified', day(13, '09:00'), 'delivered', '{"status": 204}');
SELECT succeeds('unv', day(13, '09:01')), work(day(13, '09:01'));
SELECT results_eq($$SELECT event_type FROM sync.deliveries WHERE notification_id = setting('unverified') AND status = 'queued'$$, $$VALUES ('sync.succeeded')$$, 'when it has, it gets what comes then');

-- A quiet database
DELETE FROM sync.message_queue;
SELECT sync.test_notification(setting('two'), day(14));
SELECT succeeds('unv', day(14));
SELECT isnt(sync.next_delivery_at(as_of => day(14)), NULL, 'something waits');
SET LOCAL sync_engine.enabled = off;
SELECT is(take(day(14)), 0::bigint, 'while the engine is off nothing is handed out');
SELECT is(sync.next_delivery_at(as_of => day(14)), NULL, 'nor is there anything to wait for');
SELECT is(work(day(14)) || ' ' || (SELECT count(*) FROM sync.outbox), '0 1', 'and no message is made');
RESET sync_engine.enabled;
SELECT is(take(day(14)), 2::bigint, 'afterwards all of it is');
SELECT count(verdict(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token, 'outcome', 'delivered'), day(14))) FROM taken WHERE as_of = day(14);

-- When there is something next
DELETE FROM sync.message_queue;
DELETE FROM sync.sync_notifications WHERE events ? 'digest';
SELECT is(sync.next_delivery_at(as_of => day(15)), NULL, 'null when nothing waits');
SELECT sync.test_notification(setting('two'), day(15));
SELECT is(sync.next_delivery_at(as_of => day(15)), day(15), 'a message that is due');
SELECT is(sync.next_delivery_at('{email}', day(15)), NULL, 'of the channels asked for');
SELECT take(day(15)), ends('/two', day(15), 'failed');
SELECT is(sync.next_delivery_at(as_of => day(15)), (SELECT due_at FROM sync.message_queue), 'the next try');
SELECT email('next@b.example', '{success}', conn('unv'));
SELECT succeeds('unv', day(15, '00:01'));
SELECT is(sync.next_delivery_at('{email}', day(15, '00:02')), day(15, '00:02'), 'events of which no message was made yet: now');
SELECT work(day(15, '00:02')), deliver(day(15, '00:03'));
SELECT is(sync.next_delivery_at(as_of => day(16)), NULL, 'nothing more');
SELECT sync.create_notification('T', 'email', '{digest}', '{"to": ["dig@b.example"]}', as_of => day(16));
SELECT is(sync.next_delivery_at(as_of => day(16)), day(16, '08:00'), 'a digest is due at its time');

-- Metrics, health
SELECT is((SELECT value FROM sync.metrics WHERE name = 'sync_notifications_waiting'), 0::float8, 'metrics: what waits');
SELECT sync.test_notification(setting('two'), day(16)) FROM generate_series(1, 3);
SELECT is((SELECT value FROM sync.metrics WHERE name = 'sync_notifications_waiting'), 3::float8, 'is counted');
SELECT is((SELECT value FROM sync.metrics WHERE name = 'sync_incidents_open'), (SELECT count(*)::float8 FROM sync.incidents WHERE resolved_at IS NULL AND told IS NOT NULL), 'and incidents that are open');
SELECT is((SELECT kind FROM sync.metrics WHERE name = 'sync_notifications_total' LIMIT 1), 'counter', 'deliveries by channel and result');
SELECT is((SELECT kind FROM sync.metrics WHERE name = 'sync_webhook_delivery_duration_seconds' LIMIT 1), 'histogram', 'and how long they took');
CREATE FUNCTION health(as_of timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT h.verdict || ': ' || h.detail || COALESCE(' -> ' || h.remedy, '') FROM sync.health(as_of) h WHERE h.check_name = 'notifications' $$;
DELETE FROM sync.sync_notifications WHERE disabled_at IS NOT NULL;
SELECT is(health(day(16, '00:05')), 'ok: 3 messages due (webhook), the oldest for 5 min', 'health: a few minutes are ordinary');
SELECT alike(health(day(16, '00:11')), 'warning: 3 messages due (webhook), the oldest for 11 min -> start sync-executor%', 'eleven are not');
SELECT alike(health(day(16, '01:01')), 'critical: %', 'an hour is critical');
SELECT deliver(day(16, '01:02'));
SELECT is(health(day(16, '02:00')), 'ok: none waits', 'then all is well');
SELECT succeeds('unv', day(16, '02:00'));
SELECT is(health(day(16, '02:01')), 'ok: 1 event of which no message was made yet, the oldest for 60 s', 'events that wait are told as well');
SELECT deliver(day(16, '02:01'));
SELECT sync.test_notification(setting('two'), day(16, '03:00')), take(day(16, '03:00')), ends('/two', day(16, '03:00'), 'gone');
SELECT alike(health(day(16, '03:00')), 'warning: %1 setting disabled because the receiver is gone, such as ' || setting('two') || ' -> %sync.test_notification%', 'and receivers that are gone');

-- The inbox
SELECT connection('inb', '{}', at('07:00'));
SELECT sync.create_notification('I', 'in_app', '{success}', '{"users": ["alice", "bob"]}', name => 'inbox', as_of => at('08:00'));
SELECT sync.test_notification(setting('inbox'), day(17) + n * interval '1 minute') FROM generate_series(1, 7) n;
SELECT is(sync.inbox_unread('I', u), n, format('unread of %s', u)) FROM (VALUES ('alice', 7::bigint), ('bob', 7), ('carol', 0), ('', 0)) v (u, n);
SELECT is(sync.inbox_unread('T', 'alice'), 0::bigint, 'of the tenant');
SELECT results_eq($$SELECT created_at FROM sync.read_inbox('I', 'alice', max_rows => 3)$$, $$VALUES (day(17, '00:07')), (day(17, '00:06')), (day(17, '00:05'))$$, 'the newest first');
SELECT results_eq($$SELECT created_at FROM sync.read_inbox('I', 'alice', before => (SELECT min(id) FROM sync.read_inbox('I', 'alice', max_rows => 3)), max_rows => 10)$$,
    $$VALUES (day(17, '00:04')), (day(17, '00:03')), (day(17, '00:02')), (day(17, '00:01'))$$, 'and the next page');
SELECT results_eq($$SELECT event_type, severity, title, body <> '', read_at FROM sync.read_inbox('I', 'alice', max_rows => 1)$$, $$VALUES ('test', 'info', 'Test of a notification: inbox', true, NULL::timestamptz)$$, 'what it says');
SELECT is(sync.mark_read('I', 'alice', (SELECT array_agg(id) FROM (SELECT id FROM sync.read_inbox('I', 'alice', max_rows => 2)) x), day(17, '01:00')), 2, 'two are read');
SELECT is(sync.mark_read('I', 'alice', (SELECT array_agg(id) FROM (SELECT id FROM sync.read_inbox('I', 'alice', max_rows => 2)) x), day(17, '02:00')), 0, 'once');
SELECT is(sync.mark_read('I', 'alice', (SELECT array_agg(id) FROM sync.read_inbox('I', 'bob')), day(17, '02:00')), 0, 'another user''s are not hers to read');
SELECT is((SELECT max(read_at) FROM sync.inbox WHERE user_id = 'alice'), day(17, '01:00'), 'when is kept');
SELECT is(sync.inbox_unread('I', 'alice') || ' ' || sync.inbox_unread('I', 'bob') || ' ' || (SELECT count(*) FROM sync.read_inbox('I', 'alice', true)), '5 7 5', 'unread ones are fewer then, of hers');
SELECT is(sync.mark_read('I', 'alice', as_of => day(17, '03:00')), 5, 'all the others at once');
SELECT is(sync.inbox_unread('I', 'alice'), 0::bigint, 'none is left');
SELECT is((SELECT count(*) FROM sync.read_inbox('I', 'alice', max_rows => n)), c, format('max_rows %s', n)) FROM (VALUES (0, 1::bigint), (-5, 1), (NULL, 7), (1000000, 7)) v (n, c);
SELECT is(sync.mark_read('I', 'bob', '{}'), 0, 'of none, none');

-- Retention
DELETE FROM sync.message_queue;
SELECT fails('unv', day(17, '05:00'));
SELECT email('keep@b.example', '{failure}');
SELECT fails('c', day(17, '05:00')), succeeds('c', day(17, '06:00'));
SELECT work(day(17, '06:00'));
SELECT cmp_ok((SELECT count(*) FROM sync.messages), '>', 0::bigint, 'there are messages');
SELECT housekeep(day(118));
SELECT cmp_ok((SELECT count(*) FROM sync.messages) * (SELECT count(*) FROM sync.delivery_attempts) * (SELECT count(*) FROM sync.inbox), '>', 0::bigint, 'which are kept for ninety days after their month at least');
SELECT cmp_ok((SELECT count(*) FROM sync.incidents WHERE resolved_at IS NOT NULL), '=', 0::bigint, 'incidents that were resolved, to the day');
SELECT housekeep(day(122));
SELECT is((SELECT count(*) FROM sync.messages WHERE created_at < day(31)) + (SELECT count(*) FROM sync.delivery_attempts WHERE finished_at < day(31)) + (SELECT count(*) FROM sync.inbox WHERE created_at < day(31)), 0::bigint,
    'then they go');
SELECT isnt((incident('unv', 'permanent')).id, NULL, 'an incident that is open stays');
SELECT is((SELECT count(*) FROM sync.message_queue q WHERE NOT EXISTS (SELECT 1 FROM sync.messages m WHERE m.id = q.message_id)), 0::bigint, 'nothing waits of which there is no message');
SELECT ok(EXISTS (SELECT 1 FROM sync.partitions WHERE parent = 'inbox' AND range_from <= day(123) AND day(123) < range_to), 'tables of tomorrow are made ahead');

-- Forgetting a tenant
SELECT sync.create_notification('F', 'email', '{failure}', '{"to": ["forget@b.example"]}', name => 'forget', as_of => day(122)),
       sync.create_notification('F', 'webhook', '{failure}', '{"url": "https://forget.example"}', as_of => day(122)), in_app('forget', '{failure,recovered}', tenant => 'F');
SELECT connection('forget', '{}', at('07:00'), tenant => 'F');
SELECT fails('forget', day(122)), work(day(122)), deliver(day(122));
SELECT succeeds('forget', day(122, '01:00'));
DELETE FROM sync.connections WHERE tenant_id = 'F';
SELECT work(day(122, '02:00'));
SELECT sync.forget_tenant('F');
CREATE FUNCTION left_of(tenant text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t record;
    n bigint;
    found text;
BEGIN
    FOR t IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
             WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND c.relname ~ '^(sync_notifications|notification|webhook|incidents|record_history|outbox|held|messages|message_queue|delivery|inbox)' LOOP
        EXECUTE format('SELECT count(*) FROM sync.%I WHERE tenant_id = $1', t.relname) INTO n USING tenant;
        IF n > 0 THEN
            found := concat_ws(', ', found, t.relname || ' ' || n);
        END IF;
    END LOOP;
    RETURN found;
END $$;
SELECT is(left_of('F'), NULL, 'of a tenant that is forgotten no notification is left');
SELECT is((SELECT count(*) FROM sync.audit_log l WHERE to_jsonb(l)::text LIKE '%forget.example%' OR to_jsonb(l)::text LIKE '%forget@%'), 0::bigint, 'nor an address in the audit log');

-- An event of which nothing can be told
SELECT sync.create_notification('P', 'email', '{recovered,success}', '{"to": ["p@b.example"]}', as_of => day(122, '02:00')) AS poisoned \gset
INSERT INTO sync.outbox (tenant_id, event, type, occurred_at, data, targets) VALUES
    ('P', 'recovered', 'sync.recovered', 'infinity', '{"incident": {"opened_at": "2026-03-01T00:00:00Z"}}', ARRAY[:poisoned]),
    ('P', 'success', 'sync.succeeded', day(122, '02:30'), '{}', ARRAY[:poisoned]);
SELECT work(day(122, '03:00'));
SELECT is((SELECT string_agg(m.payload #>> '{data,title}', ', ' ORDER BY m.id) FROM sync.messages m WHERE m.tenant_id = 'P'), 'sync.recovered, a connection succeeded',
    'an event that cannot be put into words is told as far as it can, and stands in nobody''s way');

SELECT finish();
ROLLBACK;
