-- Malformed metadata of every sort: the tick goes on for everyone, replaces what is wrong and keeps what is not its own.
\ir include/setup.psql
SELECT plan(130);
SELECT fix_jitter();

-- Overrides that are out of range, fractional or no number. Each connection is judged alone, all by one tick.
CREATE TEMP TABLE bad (name text, value jsonb);
INSERT INTO bad
SELECT 'override ' || v, v::jsonb
FROM unnest(ARRAY['59', '86401', '0', '-1', '-900', '900.5', '60.0000001', '1e400', '-1e400', '1e-400', '99999999999999999999', '2147483648',
    '"900"', '"fast"', '""', 'true', 'false', '{}', '{"seconds": 900}', '[]', '[900]', '[[[]]]', '{"a": {"b": {"c": [1, 2, {"d": null}]}}}']) v;
SELECT connection(name, jsonb_build_object('interval_seconds', value, 'mine', 'kept'), at('10:00')) FROM bad;
-- Overrides that are allowed in every way of writing them.
CREATE TEMP TABLE good (name text, value jsonb, seconds int);
INSERT INTO good
SELECT 'override ' || v, v::jsonb, s
FROM (VALUES ('60', 60), ('86400', 86400), ('300', 300), ('300.0', 300), ('3e2', 300), ('300.000', 300)) v (v, s);
SELECT connection(name, jsonb_build_object('interval_seconds', value), at('10:00') + interval '900 s' - make_interval(secs => seconds)) FROM good;
SELECT connection('override null', '{"interval_seconds": null}', at('10:00'));

SELECT is((SELECT enqueued FROM sync.tick(at('10:15')))::bigint, (SELECT count(*) FROM bad) + (SELECT count(*) FROM good) + 1,
    'every connection is enqueued, whatever its override');
SELECT is((job_of(name)).scheduled_at, at('10:15'), name || ': the default is used') FROM bad;
SELECT is(meta(name) - 'last_jitter_seconds', '{"interval_seconds": 900, "next_run_at": "2026-03-01T10:30:00Z", "mine": "kept"}'::jsonb,
    name || ': replaced by the default, the rest kept') FROM bad;
SELECT is(meta(name) ->> 'next_run_at', sync._format_utc(at('10:15') + make_interval(secs => seconds)), name || ': is used') FROM good;
SELECT is(meta(name) -> 'interval_seconds', value, name || ': stays as it was written') FROM good;
SELECT is(meta('override null') ->> 'next_run_at', '2026-03-01T10:30:00Z', 'override null: the default is used');

-- The default itself lies outside the override's bounds: the override is removed.
SET LOCAL sync_engine.max_overridden_interval_seconds = 600;
SELECT connection('outside', '{"interval_seconds": 700, "mine": 1}', at('10:20'));
SELECT sync.tick(at('10:35'));
SELECT is(meta('outside'), '{"next_run_at": "2026-03-01T10:50:00Z", "last_jitter_seconds": 0, "mine": 1}'::jsonb,
    'the default lies outside the bounds: a bad override is removed');
RESET sync_engine.max_overridden_interval_seconds;

-- Metadata of every shape.
DELETE FROM sync.connections;
UPDATE sync.engine_clock SET last_tick_at = NULL;
CREATE TEMP TABLE shape (name text, before jsonb, after jsonb);
INSERT INTO shape VALUES
    ('SQL NULL', NULL, '{}'),
    ('JSON null', 'null', '{}'),
    ('no sync', '{"theirs": [1, {"a": "b"}]}', '{"theirs": [1, {"a": "b"}]}'),
    ('empty', '{}', '{}'),
    ('sync null', '{"sync": null, "theirs": 1}', '{"theirs": 1}'),
    ('sync empty', '{"sync": {}, "theirs": 1}', '{"theirs": 1}'),
    ('array', '[1, 2]', '{"unreadable": [1, 2]}'),
    ('empty array', '[]', '{"unreadable": []}'),
    ('string', '"text"', '{"unreadable": "text"}'),
    ('number', '42', '{"unreadable": 42}'),
    ('boolean', 'true', '{"unreadable": true}'),
    ('sync string', '{"sync": "now", "theirs": 1}', '{"theirs": 1}'),
    ('sync array', '{"sync": [1], "theirs": 1}', '{"theirs": 1}'),
    ('sync number', '{"sync": 5, "theirs": 1}', '{"theirs": 1}'),
    ('sync boolean', '{"sync": false, "theirs": 1}', '{"theirs": 1}'),
    ('keys that look like ours', '{"interval_seconds": 1, "next_run_at": "never", "theirs": 1}', '{"interval_seconds": 1, "next_run_at": "never", "theirs": 1}');
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at)
SELECT 'T', 'github', name, before, at('10:00') FROM shape;
SELECT is((SELECT enqueued FROM sync.tick(at('10:15')))::bigint, (SELECT count(*) FROM shape), 'every connection is enqueued, whatever its metadata');
SELECT is(c.metadata - 'sync', s.after, 'metadata ' || s.name || ': what is the application''s is kept')
FROM shape s JOIN sync.connections c ON c.external_id = s.name;
SELECT ok(c.metadata -> 'sync' @> '{"next_run_at": "2026-03-01T10:30:00Z", "last_jitter_seconds": 0}', 'metadata ' || s.name || ': filled in')
FROM shape s JOIN sync.connections c ON c.external_id = s.name;
SELECT is(meta('sync string') -> 'unreadable', '"now"'::jsonb, 'metadata sync string: its value is not lost');

-- A next_run_at that cannot be read is as good as none.
DELETE FROM sync.connections;
SELECT connection('next ' || v, jsonb_build_object('next_run_at', v::jsonb), at('10:00'))
FROM unnest(ARRAY['"soon"', '""', '5', '-1', 'null', 'true', '[]', '{}', '["2026-03-01T10:15:00Z"]', '"2026-13-45T99:99:99Z"', '"infinity"',
    '"-infinity"', '"now"', '"294277-01-01T00:00:00Z"', '"2026-03-01T10:15:00Z; DROP TABLE"', '"99999999999-01-01T00:00:00Z"', '"2026-02-30"']) v;
SELECT is((SELECT enqueued FROM sync.tick(at('10:15'))), 17, 'a next_run_at that is not a time is looked at at once');
SELECT is((SELECT count(*) FROM sync.connections WHERE metadata #>> '{sync,next_run_at}' = '2026-03-01T10:30:00Z'), 17::bigint,
    'a next_run_at that is not a time is replaced');
SELECT connection('next readable', '{"next_run_at": "2026-03-01 12:00:00+01:00"}', at('10:00'));
SELECT connection('next a date', '{"next_run_at": "2026-03-02"}', at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('10:58'))), 0, 'a next_run_at in another ISO form is read');
SELECT is((SELECT enqueued FROM sync.tick(at('10:59'))), 1, 'a next_run_at with an offset is read');

-- A first_activated_at that cannot be read gives way to created_at.
DELETE FROM sync.connections;
SELECT connection('activated ' || v, jsonb_build_object('first_activated_at', v::jsonb))
FROM unnest(ARRAY['"once"', '""', '5', 'null', 'true', '[]', '{}', '"infinity"', '"2026-02-30T00:00:00Z"']) v;
SELECT is((SELECT enqueued FROM sync.tick(at('11:00'))), 9, 'a first_activated_at that is not a time does not stop the bootstrap');
SELECT is((SELECT count(*) FROM sync.connections WHERE metadata #>> '{sync,next_run_at}' = '2026-02-01T00:15:00Z'), 9::bigint,
    'a first_activated_at that is not a time gives way to created_at');
SELECT connection('activated early', '{"first_activated_at": "-4713-11-24"}');
SELECT connection('activated late', '{"first_activated_at": "294276-12-31T23:59:59Z"}');
SELECT is((SELECT enqueued FROM sync.tick(at('11:01'))), 2, 'a first_activated_at at either end of time does not stop the bootstrap');

-- Absurd but readable times in the columns.
DELETE FROM sync.connections;
SELECT connection('L ' || t, NULL, t) FROM unnest(ARRAY['-infinity', '4714-11-24 00:00 UTC BC', '1969-12-31 23:59 UTC']::timestamptz[]) t;
SELECT is((SELECT enqueued FROM sync.tick(at('11:02'))), 3, 'an L before 1970 or without end does not stop the tick');
SELECT is((SELECT count(*) FROM sync.sync_jobs WHERE scheduled_at > at('11:02') - interval '900 s' AND scheduled_at <= at('11:02')), 3::bigint,
    'an L before 1970 or without end gives the latest slot');
SELECT connection('L infinity', NULL, 'infinity');
SELECT lives_ok($$SELECT sync.tick(at('11:03'))$$, 'an L at infinity does not stop the tick');
SELECT is(last_finish('L infinity'), at('11:03'), 'an L at infinity counts as now');

-- Big metadata: 1 MB of it, beside ours and as an override.
DELETE FROM sync.connections;
SELECT connection('big', NULL, at('10:00'));
UPDATE sync.connections SET metadata = jsonb_build_object('theirs', (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 30000) n)) WHERE id = conn('big');
SELECT connection('big override', jsonb_build_object('interval_seconds', repeat('9', 1000000)), at('10:00'));
SELECT is((SELECT enqueued FROM sync.tick(at('11:15'))), 2, '1 MB of metadata does not stop the tick');
SELECT is((SELECT jsonb_array_length(metadata -> 'theirs') FROM sync.connections WHERE id = conn('big')), 30000, '1 MB of metadata is kept');
SELECT is(meta('big override') -> 'interval_seconds', '900'::jsonb, 'an override of 1 MB is replaced');
SELECT claim(at('11:15'));
SELECT is(complete('big', at('11:16'), next_cursor => '1'), true, '1 MB of metadata does not stop a completion');
SELECT is((SELECT jsonb_array_length(metadata -> 'theirs') FROM sync.connections WHERE id = conn('big')), 30000, '1 MB of metadata is kept by a completion');

-- Completing with malformed metadata, too.
INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata, last_incremental_finished_at)
SELECT 'T', 'github', name, before, at('10:00') FROM shape;
SELECT job(name) FROM shape;
SELECT claim(at('11:20'));
SELECT is((SELECT count(*) FROM shape WHERE complete(name, at('11:20'), next_cursor => '{"n": 1}')), (SELECT count(*) FROM shape),
    'a completion succeeds, whatever the metadata');
SELECT is((SELECT count(*) FROM shape WHERE meta(name) @> '{"cursor": {"n": 1}, "next_run_at": "2026-03-01T11:35:00Z"}'), (SELECT count(*) FROM shape),
    'a completion writes cursor and next_run_at, whatever the metadata');
SELECT lives_ok(format('SELECT * FROM sync.explain(%s, %L)', conn(name), at('11:21')), 'explain copes with metadata ' || name) FROM shape;
SELECT is((SELECT count(*) FROM sync.connection_status WHERE external_id IN (SELECT name FROM shape)), (SELECT count(*) FROM shape),
    'connection_status copes with any metadata');

SELECT * FROM finish();
ROLLBACK;
