-- Settings of notifications: what can be saved, what follows from a change, and who may read what. Story: "Validate webhook URLs and email addresses".
\ir include/setup.psql
\ir include/notices.psql
SELECT plan(389);

SELECT connection('a', '{}', at('07:00')), connection('b', '{}', at('07:00')), connection('of u', '{}', at('07:00'), tenant => 'U');
SELECT sync.create_schedule(conn('a'), 'sa', 'hourly', as_of => at('08:00')), sync.create_schedule(conn('of u'), 'su', 'hourly', as_of => at('08:00'));
CREATE FUNCTION sched(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT s.id FROM sync.sync_schedules s WHERE s.name = sched.name $$;
CREATE FUNCTION waiting(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM sync.message_queue q WHERE q.notification_id = setting(name) $$;
CREATE FUNCTION state(name text) RETURNS sync.notification_state LANGUAGE sql STABLE AS $$ SELECT s FROM sync.notification_state s WHERE s.notification_id = setting(name) $$;

-- What is saved
SELECT isnt(sync.create_notification('T', 'email', '{success}', '{"to": ["a@b.example", "c@d.example", "a@b.example"]}', name => 'mail', as_of => at('08:00')), NULL, 'an e-mail setting');
SELECT results_eq($$SELECT tenant_id, connection_id, schedule_id, notification_type, events, config, is_active, verified_at, created_at FROM setting_row('mail')$$,
    $$VALUES ('T', NULL::bigint, NULL::bigint, 'email', '["success"]'::jsonb, '{"to": ["a@b.example", "c@d.example"]}'::jsonb, true, at('08:00'), at('08:00'))$$,
    'as the story has it, each address once; e-mail needs no answer to be used');
SELECT isnt(sync.create_notification('T', 'email', '{success,failure,success}', '{"to": "a@b.example"}', name => 'one', as_of => at('08:00')), NULL, 'one address as a string');
SELECT results_eq($$SELECT events, config FROM setting_row('one')$$, $$VALUES ('["failure", "success"]'::jsonb, '{"to": ["a@b.example"]}'::jsonb)$$, 'is kept as an array');
SELECT isnt(sync.create_notification('T', 'in_app', '{warning}', '{"users": ["u1", "u2"]}', name => 'app', as_of => at('08:00')), NULL, 'an in-app setting');
SELECT isnt(sync.create_notification('T', 'webhook', '{failure,recovered}', '{"url": "https://hooks.example.com/x?a=b"}', schedule_id => sched('sa'), name => 'hook', as_of => at('08:00')), NULL,
    'a webhook of a schedule');
SELECT is((setting_row('hook')).connection_id, conn('a'), 'the connection is filled in from the schedule');
SELECT is((setting_row('hook')).verified_at, NULL, 'it is not verified');
SELECT results_eq($$SELECT channel, event_type, status, attempt FROM sync.deliveries WHERE notification_id = setting('hook')$$, $$VALUES ('webhook', 'test', 'queued', NULL::int)$$, 'and a test event waits for it');
SELECT isnt(webhook('waived', '{failure}'), NULL, 'verify => false');
SELECT is((setting_row('waived')).verified_at, at('08:00'), 'waives that');
SELECT is(waiting('waived'), 0::bigint, 'and sends none');
SELECT isnt(webhook('null', '{failure}', NULL), NULL, 'verify => null');
SELECT is((setting_row('null')).verified_at, NULL, 'waives nothing');
SELECT isnt(sync.create_notification('T', 'email', '{digest}', '{"to": ["a@b.example"]}', name => 'digest', as_of => at('08:30')), NULL, 'a digest');
SELECT is((setting_row('digest')).config -> 'digest', '{"every": "day", "at": "08:00", "timezone": "UTC", "weekday": "monday", "empty": "line"}'::jsonb, 'with its defaults filled in');
SELECT results_eq($$SELECT digest_from, digest_at FROM state('digest')$$, $$VALUES (at('08:00'), day(1, '08:00'))$$, 'is planned');

-- What is refused
CREATE FUNCTION saving(type text, config text, events text DEFAULT '{failure}') RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT sync.create_notification(%L, %L, %L, %L)', 'T', type, events, config)
$$;
CREATE FUNCTION refused(type text, config text, what text, events text DEFAULT '{failure}') RETURNS SETOF text LANGUAGE sql AS $$
    SELECT throws_ok(saving(type, config, events), '22023', NULL, 'refused: ' || what)
    UNION ALL
    -- The same straight into the table.
    SELECT throws_ok(format('INSERT INTO sync.sync_notifications (tenant_id, notification_type, events, config) VALUES (%L, %L, %L, %L)', 'T', type, to_jsonb(events::text[]), config),
                     '22023', NULL, 'and in an INSERT: ' || what)
$$;
SELECT refused('email', jsonb_build_object('to', jsonb_build_array(address))::text, format('the address %L', left(address, 40)))
FROM unnest(ARRAY['', 'a', 'a@', '@b.example', 'a@b', 'a b@c.example', 'a@b.example ', ' a@b.example', E'a@b.example\r\nBcc: x@y.example', E'a@b.example\n', E'a\t@b.example', 'a@b.example,c@d.example',
    'a@b.example;c@d.example', '<a@b.example>', 'A <a@b.example>', '"a"@b.example', 'a@[127.0.0.1]', 'a@127.0.0.1', 'a@b..example', 'a@-b.example', 'a..b@c.example', '.a@b.example', 'a@b@c.example',
    'ä@b.example', 'a@ä.example', repeat('a', 65) || '@b.example', 'a@' || repeat('b', 64) || '.example', 'a@' || repeat('b.', 130) || 'example', E'a@b.example\u2028', 'mailto:a@b.example(c)']) address;
SELECT refused('email', config, config) FROM unnest(ARRAY['{}', '{"to": []}', '{"to": [5]}', '{"to": {"a": "a@b.example"}}', '{"to": null}', '{"to": ["a@b.example", null]}',
    '{"to": ["a@b.example"], "cc": ["c@d.example"]}', '{"To": ["a@b.example"]}', '[]', '"a@b.example"', 'null', '{"to": ["a@b.example"], "url": "https://h.example"}']) config;
SELECT refused('email', jsonb_build_object('to', (SELECT jsonb_agg(format('a%s@b.example', n)) FROM generate_series(1, 21) n))::text, 'twenty-one addresses');
SELECT refused('webhook', jsonb_build_object('url', url)::text, format('the URL %L', left(url, 40)))
FROM unnest(ARRAY['', 'http://h.example/x', 'ftp://h.example', 'javascript:alert(1)', 'file:///etc/passwd', 'https://', 'https:///x', 'h.example/x', '//h.example/x', 'https://user:password@h.example/', 'https://user@h.example/',
    'https://h.example/a b', ' https://h.example/', 'https://h.example/ ', E'https://h.example/\r\nX-Evil: 1', E'https://h.example/\n', E'https://h.example/\u0001', 'https://h example/', 'https://h.example:0/',
    'https://h.example:99999/', 'https://h.example:x/', 'https://[::1/', 'https://h.example\@evil.example/', 'gopher://h.example/', 'data:text/plain,x', 'https://h.example:443:443/',
    'https://h.example/' || repeat('x', 100000)]) url;
SELECT refused('webhook', config, config) FROM unnest(ARRAY['{}', '{"url": null}', '{"url": 5}', '{"url": ["https://h.example"]}', '{"url": "https://h.example", "secret": "s"}', '{"url": "https://h.example", "headers": {}}',
    '{"to": ["a@b.example"]}']) config;
SELECT refused('in_app', config, config) FROM unnest(ARRAY['{}', '{"users": []}', '{"users": [""]}', '{"users": [1]}', '{"users": ["u"], "to": ["a@b.example"]}']) config;
SELECT refused('in_app', jsonb_build_object('users', jsonb_build_array(repeat('u', 501)))::text, 'a user of 501 characters');
SELECT refused('in_app', '{"users": ["u"]}', 'events ' || e, e) FROM unnest(ARRAY['{}', '{nonsense}', '{success,nonsense}', '{SUCCESS}', '{test}', '{""}', '{NULL}', '{success,NULL}', '{sync.failed}']) e;
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', NULL, '{"users": ["u"]}')$$, '22023', NULL, 'refused: events null');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', NULL)$$, '22023', NULL, 'refused: config null');
SELECT throws_ok(format('INSERT INTO sync.sync_notifications (tenant_id, notification_type, events, config) VALUES (%L, %L, %L, %L)', 'T', 'in_app', e, '{"users": ["u"]}'), '22023', NULL,
    'and in an INSERT: events ' || e) FROM unnest(ARRAY['{}', '5', 'null', '{"success": true}', '[["success"]]', '[]']) e;
SELECT refused(t, '{"users": ["u"]}', 'the type ' || t) FROM unnest('{sms,Email,"",slack}'::text[]) t;
SELECT throws_ok($$SELECT sync.create_notification('T', NULL, '{success}', '{"users": ["u"]}')$$, '22023', NULL, 'refused: no type');
SELECT refused('in_app', jsonb_build_object('users', '["u"]'::jsonb, 'digest', digest::jsonb)::text, 'the digest ' || digest, '{digest}')
FROM unnest(ARRAY['5', '"day"', '[]', 'null', '{"every": "month"}', '{"every": 1}', '{"at": "8:00"}', '{"at": "24:00"}', '{"at": "08:60"}', '{"at": "08:00:00"}', '{"at": "08:00\n"}', '{"weekday": "mon"}', '{"weekday": "Monday"}',
    '{"empty": "yes"}', '{"timezone": "Mars/Olympus"}', '{"timezone": ""}', '{"timezone": null}', '{"day": 1}']) digest;
SELECT throws_ok($$SELECT sync.create_notification('', 'in_app', '{success}', '{"users": ["u"]}')$$, '22023', NULL, 'refused: no tenant');
SELECT throws_ok($$SELECT sync.create_notification(NULL, 'in_app', '{success}', '{"users": ["u"]}')$$, '22023', NULL, 'refused: tenant null');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["u"]}', as_of => 'infinity')$$, '22023', NULL, 'refused: a time that is none');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["u"]}', conn('of u'))$$, '23503', NULL, 'a connection of another tenant');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["u"]}', 0)$$, '23503', NULL, 'no such connection');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["u"]}', schedule_id => sched('su'))$$, '23503', NULL, 'a schedule of another tenant');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["u"]}', schedule_id => 0)$$, '23503', NULL, 'no such schedule');
SELECT throws_ok($$SELECT sync.create_notification('T', 'in_app', '{success}', '{"users": ["u"]}', conn('b'), sched('sa'))$$, '23514', NULL, 'a schedule of another connection');
SELECT is((SELECT count(*) FROM sync.sync_notifications), 7::bigint, 'nothing of that was saved');
SELECT lives_ok(saving('webhook', jsonb_build_object('url', url)::text), 'accepted: ' || url) FROM unnest(ARRAY['https://h.example', 'https://h.example:8443/x?y=z', 'https://[2001:db8::1]/x', 'https://xn--bcher-kva.example/']) url;
SELECT lives_ok(saving('email', jsonb_build_object('to', address)::text), 'accepted: ' || address) FROM unnest(ARRAY['a.b+c@d-e.example.com', '!#$%&''*+-/=?^_`{|}~@b.example', 'A@B.EXAMPLE']) address;
SET LOCAL sync_engine.webhook_allow_http = on;
SELECT lives_ok(saving('webhook', '{"url": "http://h.example/x"}'), 'webhook_allow_http permits http');
SELECT throws_ok(saving('webhook', '{"url": "ftp://h.example/x"}'), '22023', NULL, 'and nothing else');
RESET sync_engine.webhook_allow_http;
DELETE FROM sync.sync_notifications WHERE name IS NULL;

-- As an application's ORM would: the story's columns
SELECT lives_ok($$INSERT INTO sync.sync_notifications (schedule_id, notification_type, events, config) VALUES (sched('sa'), 'email', '["success", "failure", "warning"]', '{"to": ["orm@b.example"]}')$$,
    'the columns of the story alone');
SELECT results_eq($$SELECT tenant_id, connection_id, is_active, verified_at = created_at FROM sync.sync_notifications WHERE config @> '{"to": ["orm@b.example"]}'$$, $$VALUES ('T', conn('a'), true, true)$$,
    'the schedule tells the rest');
SELECT lives_ok($$INSERT INTO sync.sync_notifications (tenant_id, notification_type, events, config, name) VALUES ('T', 'webhook', '["failure"]', '{"url": "https://orm.example/"}', 'orm')$$, 'a webhook');
SELECT is((setting_row('orm')).verified_at, NULL, 'that has to answer');
SELECT is(waiting('orm'), 1::bigint, 'the test that waits');
SELECT matches(sync.webhook_secret(setting('orm')), '^whsec_[A-Za-z0-9+/]{43}=$', 'it has a key');
SELECT is((state('orm')).dead_in_a_row, 0, 'and a state');
SELECT throws_ok($$INSERT INTO sync.sync_notifications (notification_type, events, config) VALUES ('in_app', '["success"]', '{"users": ["u"]}')$$, '23502', NULL, 'nothing says whose it is');
SELECT throws_ok($$INSERT INTO sync.sync_notifications (tenant_id, schedule_id, notification_type, events, config) VALUES ('T', sched('su'), 'in_app', '["success"]', '{"users": ["u"]}')$$, '23503', NULL, 'a schedule of another tenant');
SELECT throws_ok($$UPDATE sync.sync_notifications SET config = '{"url": "http://evil.example/"}' WHERE id = setting('orm')$$, '22023', NULL, 'an UPDATE is checked, too');
SELECT throws_ok($$UPDATE sync.sync_notifications SET events = '["all"]' WHERE id = setting('orm')$$, '22023', NULL, 'also of events');
SELECT throws_ok($$UPDATE sync.sync_notifications SET connection_id = conn('b') WHERE id = setting('hook')$$, '23514', NULL, 'and of the connection beside a schedule');
SELECT lives_ok($$UPDATE sync.sync_notifications SET events = '["success", "digest"]', config = config || '{"digest": {"at": "06:30"}}' WHERE id = setting('app')$$, 'a digest is added');
SELECT is((state('app')).digest_at::time, '06:30'::time, 'and planned');
SELECT lives_ok($$UPDATE sync.sync_notifications SET events = '["success"]' WHERE id = setting('app')$$, 'and taken away');
SELECT is((state('app')).digest_at, NULL, 'then it is not planned any more');
SELECT lives_ok($$UPDATE sync.sync_notifications SET notification_type = 'webhook', config = '{"url": "https://was.example/mail"}' WHERE id = setting('one')$$, 'an e-mail setting becomes a webhook');
SELECT is((setting_row('one')).verified_at, NULL, 'which has not answered yet');
SELECT results_eq($$SELECT event_type, recipient FROM sync.deliveries WHERE notification_id = setting('one')$$, $$VALUES ('test', 'https://was.example/mail')$$, 'and is tested');

-- Verified by its answer; another URL has to answer anew
SELECT take(at('09:00')), ends('.com/x?a=b', at('09:00'), 'failed', '{"status": 503}');
SELECT is((setting_row('hook')).verified_at, NULL, 'a test that fails verifies nothing');
SELECT take(at('09:01')), ends('.com/x?a=b', at('09:01'));
SELECT is((setting_row('hook')).verified_at, at('09:01'), 'one that arrives does');
SELECT fails('a', at('09:10'));
SELECT work(at('09:10'));
SELECT is(waiting('hook'), 0::bigint, 'a run that is not the schedule''s is not its');
SELECT sync.test_notification(setting('hook'), at('09:11'));
SELECT is(waiting('hook'), 1::bigint, 'something waits');
SELECT sync.update_notification(setting('hook'), config => '{"url": "https://hooks.example.com/new"}');
SELECT is((setting_row('hook')).verified_at, NULL, 'another URL is not verified');
SELECT results_eq($$SELECT d.event_type, d.recipient, d.status FROM sync.deliveries d WHERE d.notification_id = setting('hook') AND d.created_at >= at('09:05') ORDER BY d.delivery_id$$,
    $$VALUES ('test', 'https://hooks.example.com/x?a=b', 'cancelled'), ('test', 'https://hooks.example.com/new', 'queued')$$, 'what waited for the old one is dropped, the new one is tested');
SELECT is((SELECT count(*) FROM sync.webhook_secrets WHERE notification_id = setting('hook')), 1::bigint, 'the key stays');
SELECT sync.update_notification(setting('hook'), events => '{failure}', name => 'hook2');
SELECT results_eq($$SELECT events, config ->> 'url', name, is_active FROM setting_row('hook2')$$, $$VALUES ('["failure"]'::jsonb, 'https://hooks.example.com/new', 'hook2', true)$$, 'what is left null stays');
SELECT is(waiting('hook2'), 1::bigint, 'a change of something else sends no test');
SELECT sync.update_notification(setting('hook2'), config => '{"url": "https://hooks.example.com/newer"}', verify => false);
SELECT isnt((setting_row('hook2')).verified_at, NULL, 'verify => false waives it');
SELECT is(waiting('hook2'), 0::bigint, 'and tests nothing');
SELECT sync.update_notification(setting('hook2'), config => '{"url": "https://hooks.example.com/newest"}', verify => NULL);
SELECT is((setting_row('hook2')).verified_at, NULL, 'verify => null does not');
-- An answer of the former URL is none of the new one
SELECT webhook('race', '{failure}', true);
SELECT take(at('09:20'));
SELECT sync.update_notification(setting('race'), config => '{"url": "https://hooks.example.com/elsewhere"}');
SELECT is(ends('/race', at('09:21')), 'delivered', 'the test arrives while the URL changes');
SELECT is((setting_row('race')).verified_at, NULL, 'which verifies the old URL, not the new one');
SELECT throws_ok($$SELECT sync.update_notification(setting('race'), config => '{"url": "http://x.example"}')$$, '22023', NULL, 'a change is checked');
SELECT throws_ok($$SELECT sync.update_notification(setting('race'), events => '{all}')$$, '22023', NULL, 'in all its parts');
SELECT throws_ok($$SELECT sync.update_notification(0)$$, 'P0002', NULL, 'there is no such setting to change');
SELECT throws_ok($$SELECT sync.delete_notification(0)$$, 'P0002', NULL, 'nor to delete');
SELECT throws_ok($$SELECT sync.test_notification(0)$$, 'P0002', NULL, 'nor to test');
SELECT throws_ok($$SELECT sync.webhook_secret(0)$$, 'P0002', NULL, 'nor to read a key of');
SELECT throws_ok($$SELECT sync.rotate_webhook_secret(0)$$, 'P0002', NULL, 'nor to give a key');

-- Testing
CREATE TEMP TABLE test AS SELECT sync.test_notification(setting('mail'), at('09:30')) AS id;
SELECT is((SELECT d.event_type FROM test t JOIN sync.deliveries d ON d.delivery_id = t.id), 'test', 'a test is a delivery');
SELECT is(waiting('mail'), 2::bigint, 'to each recipient');
SELECT is((SELECT count(*) FROM sync.outbox), 0::bigint, 'and no event of anything');
SELECT sync.test_notification(setting('app'), at('09:30'));
SELECT results_eq($$SELECT user_id, event_type, severity FROM sync.inbox WHERE notification_id = setting('app') ORDER BY user_id$$, $$VALUES ('u1', 'test', 'info'), ('u2', 'test', 'info')$$, 'a test of an in-app setting is there at once');
UPDATE sync.sync_notifications SET is_active = false WHERE id = setting('mail');
SELECT is(waiting('mail'), 0::bigint, 'deactivation drops what waits');
SELECT throws_ok($$SELECT sync.test_notification(setting('mail'))$$, '55000', NULL, 'what is not active cannot be tested');
SELECT sync.update_notification(setting('mail'), is_active => true);
SELECT sync.test_notification(setting('mail'), at('09:31'));
SELECT is(waiting('mail'), 2::bigint, 'what is active again can');
-- Deactivation while something is being sent
SELECT take(at('09:31'), 1);
SELECT sync.update_notification(setting('mail'), is_active => false);
SELECT ends((SELECT recipient FROM taken WHERE as_of = at('09:31')), at('09:32'), 'failed');
SELECT is(waiting('mail'), 0::bigint, 'what was being sent then is not tried again');
SELECT is((setting_row('mail')).disabled_at, NULL, 'which is not the receiver''s fault');
SELECT sync.update_notification(setting('mail'), is_active => true);
SELECT fails('a', at('09:40'));
-- Held back and waiting, then deactivated: no message of it afterwards
SELECT in_app('held', '{success}', conn('b'));
SET LOCAL sync_engine.notification_burst = 1;
SELECT succeeds('b', at('09:50') + n * interval '1 second') FROM generate_series(1, 3) n;
SELECT work(at('09:51'));
SELECT is((SELECT count(*) FROM sync.held_events WHERE notification_id = setting('held')), 2::bigint, 'some events are held back');
SELECT succeeds('b', at('09:52'));
SELECT sync.update_notification(setting('held'), is_active => false);
SELECT is((SELECT count(*) FROM sync.held_events WHERE notification_id = setting('held')), 0::bigint, 'deactivation drops them');
SELECT work(at('09:53'));
SELECT sync.update_notification(setting('held'), is_active => true);
SELECT work(at('10:30'));
SELECT is((SELECT count(*) FROM sync.inbox WHERE user_id = 'held' AND event_type = 'sync.bundle'), 0::bigint, 'there is no bundle of them');
RESET sync_engine.notification_burst;

-- Other addresses: what waits for those that are gone is not sent
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["stays@b.example", "goes@b.example"]}', conn('b'), name => 'two', as_of => at('08:00'));
SELECT succeeds('b', at('10:40')), work(at('10:40'));
SELECT is(waiting('two'), 2::bigint, 'a message for each address');
SELECT sync.update_notification(setting('two'), config => '{"to": ["stays@b.example", "new@b.example"]}');
SELECT results_eq($$SELECT d.recipient, d.status FROM sync.deliveries d WHERE d.notification_id = setting('two') ORDER BY d.recipient$$, $$VALUES ('goes@b.example', 'cancelled'), ('stays@b.example', 'queued')$$,
    'an address that was taken away gets nothing more');

-- Unsubscribing
DELETE FROM taken;
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["p@b.example", "q@b.example"]}', conn('b'), name => 'list', as_of => at('08:00'));
SELECT sync.create_notification('T', 'email', '{success}', '{"to": ["p@b.example"]}', conn('b'), name => 'list2', as_of => at('08:00'));
SELECT succeeds('b', at('10:50')), take(at('10:50'));
CREATE FUNCTION token(name text, address text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT t.unsubscribe FROM taken t WHERE t.notification_id = setting(name) AND t.recipient = address $$;
SELECT matches(token('list', 'p@b.example'), '^[A-Za-z0-9._-]+$', 'each recipient has a token');
SELECT is((SELECT count(DISTINCT t.unsubscribe) FROM taken t WHERE t.notification_id IN (setting('list'), setting('list2'))), 3::bigint, 'of his own');
SELECT unalike(token('list', 'p@b.example'), '%@%', 'that does not tell the address');
SELECT is(sync.unsubscribe(t), false, format('%L is no token', left(t, 30))) FROM unnest(ARRAY['', 'x', NULL, '1.2', setting('list') || '.' || repeat('0', 24), setting('list') || '.', '999999999999999999999.' || repeat('a', 24),
    setting('list2') || '.' || split_part(token('list', 'p@b.example'), '.', 2), token('list', 'p@b.example') || E'\n', token('list', 'p@b.example') || ' ', upper(token('list', 'p@b.example')) || 'x', ''' OR true --']) t;
SELECT is((SELECT count(*) FROM sync.sync_notifications WHERE name LIKE 'list%' AND is_active AND config -> 'to' ? 'p@b.example'), 2::bigint, 'and changes nothing');
SELECT ends('q@b.example', at('10:51'), 'failed');
SELECT is(sync.unsubscribe(token('list', 'q@b.example')), true, 'the right one does');
SELECT results_eq($$SELECT config -> 'to', is_active FROM setting_row('list')$$, $$VALUES ('["p@b.example"]'::jsonb, true)$$, 'the recipient is taken off, the others stay');
SELECT is((SELECT count(*) FROM sync.message_queue q JOIN sync.messages m ON m.id = q.message_id WHERE m.recipient = 'q@b.example'), 0::bigint, 'what was to be tried again is not sent to him');
SELECT is(sync.unsubscribe(token('list2', 'p@b.example')), true, 'the last of a list');
SELECT results_eq($$SELECT config -> 'to', is_active FROM setting_row('list2')$$, $$VALUES ('["p@b.example"]'::jsonb, false)$$, 'switches the setting off');
SELECT is((setting_row('list')).is_active, true, 'and no other');
SELECT is(sync.unsubscribe(token('list2', 'p@b.example')), true, 'who does it twice is content');
SELECT succeeds('b', at('10:55')), work(at('10:55'));
SELECT results_eq($$SELECT d.recipient FROM sync.deliveries d WHERE d.created_at = at('10:55') AND d.recipient LIKE '_@b.example' AND d.notification_id IN (setting('list'), setting('list2'))$$, $$VALUES ('p@b.example')$$, 'later runs are told to who is left');
SELECT sync.replay_delivery(tstzrange(at('10:00'), at('11:00')), setting('list'), false, at('11:00'));
SELECT is((SELECT count(*) FROM sync.message_queue q JOIN sync.messages m ON m.id = q.message_id WHERE m.recipient = 'q@b.example'), 0::bigint, 'a replay does not reach who has unsubscribed');

-- Keys
CREATE FUNCTION keys(path text, as_of timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sync.test_notification(setting(path), keys.as_of);
    DELETE FROM taken;
    PERFORM take(keys.as_of);
    PERFORM ends('/' || path, keys.as_of);
    RETURN (newest('/' || path)).secrets;
END $$;
SELECT webhook('keys', '{failure}');
CREATE TEMP TABLE key AS SELECT 1 AS n, sync.webhook_secret(setting('keys')) AS secret;
SELECT is(length(decode(substr(secret, 7), 'base64')), 32, 'a key has 32 bytes') FROM key;
SELECT isnt(secret, sync.webhook_secret(setting('orm')), 'and is a setting''s own') FROM key;
SELECT is(keys('keys', at('11:00')), ARRAY[(SELECT secret FROM key WHERE n = 1)], 'messages are signed with it');
INSERT INTO key SELECT 2, sync.rotate_webhook_secret(setting('keys'), '1 hour', at('12:00'));
SELECT is(sync.webhook_secret(setting('keys')), (SELECT secret FROM key WHERE n = 2), 'rotation gives another one');
SELECT is(keys('keys', at('12:30')), ARRAY(SELECT secret FROM key ORDER BY n DESC), 'for an hour both sign, the newest first');
SELECT is(keys('keys', at('13:00')), ARRAY[(SELECT secret FROM key WHERE n = 2)], 'then the new one alone');
INSERT INTO key SELECT 3, sync.rotate_webhook_secret(setting('keys'), as_of => at('14:00'));
INSERT INTO key SELECT 4, sync.rotate_webhook_secret(setting('keys'), as_of => at('14:00'));
SELECT is(keys('keys', at('14:01')), ARRAY(SELECT secret FROM key WHERE n >= 3 ORDER BY n DESC), 'rotated twice at once, two sign and no more');
INSERT INTO key SELECT 5, sync.rotate_webhook_secret(setting('keys'), '0', at('15:00'));
SELECT is(keys('keys', at('15:00')), ARRAY[(SELECT secret FROM key WHERE n = 5)], 'without an overlap, as after a leak, all former ones are worth nothing at once');
SELECT is((SELECT count(DISTINCT secret) FROM key), 5::bigint, 'no key comes twice');
SELECT throws_ok(format('SELECT sync.rotate_webhook_secret(%s, %L)', setting('keys'), o), '22023', NULL, 'overlap ' || COALESCE(o, 'null')) FROM unnest(ARRAY['-1 second', '31 days', NULL]) o;
SELECT throws_ok($$SELECT sync.rotate_webhook_secret(setting('list'))$$, '55000', NULL, 'e-mail has no key');
SELECT sync.rotate_webhook_secret(setting('keys'), as_of => day(3));
SELECT is((SELECT count(*) FROM sync.webhook_secrets WHERE notification_id = setting('keys')), 2::bigint, 'keys that expired are forgotten');
SELECT is_empty($$SELECT r, c.oid::regclass FROM unnest('{public,sync_admin,sync_executor,sync_viewer,sync_tenant}'::name[]) r, pg_class c
                  WHERE c.oid = 'sync.webhook_secrets'::regclass AND (has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(r, c.oid, 'SELECT, INSERT, UPDATE'))$$,
    'nobody may read the table of keys');

-- Disabled, and taken up again
CREATE FUNCTION disabled(path text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT (setting_row(path)).disabled_at IS NOT NULL $$;
SELECT sync.test_notification(setting('keys'), day(3));
SELECT take(day(3));
SELECT ends('/keys', day(3), 'gone', '{"status": 410}');
SELECT is(disabled('keys'), true, 'a receiver that is gone');
SELECT sync.update_notification(setting('keys'), name => 'keys');
SELECT is(disabled('keys'), true, 'is still so after a change of the name');
SELECT isnt(sync.test_notification(setting('keys'), day(3)), NULL, 'a test');
SELECT results_eq($$SELECT disabled_at, disabled_reason FROM setting_row('keys')$$, $$VALUES (NULL::timestamptz, NULL::text)$$, 'takes it up again');
SELECT take(day(3));
SELECT ends('/keys', day(3), 'gone', '{"status": 410}');
SELECT sync.update_notification(setting('keys'), config => '{"url": "https://hooks.example.com/keys2"}');
SELECT is(disabled('keys'), false, 'another URL as well');

-- What goes with what
SELECT email('c@b.example', '{success}', conn('b')), email('s@b.example', '{success}', NULL, sched('sa'));
SELECT sync.test_notification(setting(n), at('16:00')) FROM unnest('{c@b.example,s@b.example}'::text[]) n;
SELECT sync.delete_schedule(sched('sa'), at('16:00'));
SELECT is(setting('s@b.example'), NULL, 'a setting goes with its schedule');
SELECT is((SELECT count(*) FROM sync.message_queue q JOIN sync.messages m ON m.id = q.message_id WHERE m.recipient = 's@b.example'), 0::bigint, 'and what waits');
SELECT isnt(setting('c@b.example'), NULL, 'others stay');
SELECT succeeds('b', at('16:10'));
DELETE FROM sync.connections WHERE id = conn('b');
SELECT is(setting('c@b.example'), NULL, 'a setting goes with its connection');
SELECT is((SELECT count(*) FROM sync.message_queue q WHERE NOT EXISTS (SELECT 1 FROM sync.sync_notifications n WHERE n.id = q.notification_id)), 0::bigint, 'and what waits for it');
SELECT is((SELECT count(*) FROM sync.outbox), 0::bigint, 'and events that nobody was told of yet');
SELECT sync.test_notification(setting('digest'), at('16:20'));
CREATE TEMP TABLE gone AS SELECT setting('digest') AS id;
SELECT sync.delete_notification(setting('digest'));
SELECT is((SELECT count(*) FROM gone g JOIN sync.message_queue q ON q.notification_id = g.id) + (SELECT count(*) FROM gone g JOIN sync.notification_state s ON s.notification_id = g.id), 0::bigint,
    'deleting one drops what waits');
SELECT results_eq($$SELECT DISTINCT d.status FROM gone g JOIN sync.deliveries d ON d.notification_id = g.id$$, $$VALUES ('cancelled')$$, 'sync.deliveries says so');
-- Deleted while it is sent
SELECT email('bye@b.example', '{success}');
SELECT sync.test_notification(setting('bye@b.example'), at('16:30'));
SELECT take(at('16:30'));
SELECT sync.delete_notification(setting('bye@b.example'));
SELECT is(ends('bye@b.example', at('16:31')), 'stale', 'what was being sent when its setting was deleted is nobody''s');
SELECT is(ends('bye@b.example', at('16:31'), 'failed'), 'stale', 'and not tried again');

-- The audit log tells who changed what, and no secret
SELECT cmp_ok((SELECT count(*) FROM sync.audit_log WHERE object_kind = 'notification' AND action = a), '>', 0::bigint, 'audited: ' || a)
FROM unnest('{notification.create,notification.update,notification.delete,notification.rotate_secret,notification.read_secret,notification.replay}'::text[]) a;
SELECT is_empty($$SELECT l.action, l.before, l.after FROM sync.audit_log l WHERE l.object_kind = 'notification' AND concat(l.before, l.after, l.note) ~ 'whsec_|https?:|@orm|"to": \["|"url": "[^*]'$$,
    'it holds no key, no URL and no address');
SELECT is_empty($$SELECT l.action FROM sync.audit_log l CROSS JOIN key k WHERE strpos(to_jsonb(l)::text, substr(k.secret, 7)) > 0$$, 'nor a key in any other form');

SELECT finish();
ROLLBACK;
