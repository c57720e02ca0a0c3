-- What claims read of tenants' lanes, by place of the entry: the same that statements say of the rows.
\ir include/setup.psql
SELECT plan(14);
SELECT fix_jitter();
SELECT sync.set_tenant_limits('*', max_running => 1000);
-- 7 tenants with jobs of several types, priorities and providers, some of them due at the same time, in the future or in backoff; b is very long.
SELECT connection('c' || i, NULL, at('07:00'), slug => (ARRAY['github', 'slack', 'gitlab'])[1 + i % 3],
                  tenant => (ARRAY['a', 'b', 'b b', 'B', 'ä', repeat('x', 300), 'z'])[1 + i % 7])
FROM generate_series(1, 60) i;
SELECT connection('long' || i, NULL, at('07:00'), tenant => 'b') FROM generate_series(1, 200) i;
SELECT job('c' || i, t, priority => (ARRAY[0, 10, -5])[1 + i % 3], scheduled_at => at('08:00') + i % 4 * interval '1 hour')
FROM generate_series(1, 60) i, unnest('{incremental,full}'::text[]) t;
SELECT job('long' || i, scheduled_at => at('08:00')) FROM generate_series(1, 200) i;
SET LOCAL sync_engine.internal = on;
UPDATE ONLY sync.sync_jobs SET retry_after = at('12:00') WHERE connection_id IN (conn('c3'), conn('c6'), conn('c9'));
UPDATE sync.connection_state SET running_job_id = 0 WHERE connection_id IN (SELECT id FROM sync.connections WHERE external_id ~ '^c\d*[05]$|^long1$');
-- As it is between a change of the status and the end of what is queued.
ALTER TABLE sync.connections DISABLE TRIGGER USER;
UPDATE sync.connections SET status = 'paused' WHERE external_id ~ '^c[12]$|^long2$';
ALTER TABLE sync.connections ENABLE TRIGGER USER;
RESET sync_engine.internal;

CREATE FUNCTION heads(as_of timestamptz, passed tid[] DEFAULT '{}') RETURNS SETOF record LANGUAGE sql AS $$
    SELECT DISTINCT ON (j.provider_slug, j.priority, j.tenant_id)
           j.provider_slug, j.priority, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after), j.id
    FROM ONLY sync.sync_jobs j JOIN sync.connection_state s USING (connection_id) JOIN sync.connections c ON c.id = j.connection_id
    WHERE c.status = 'active' AND j.status = 'queued' AND j.own_lane AND s.running_job_id IS NULL AND GREATEST(j.scheduled_at, j.retry_after) <= as_of AND j.ctid <> ALL (passed)
    ORDER BY 1, 2, 3, 4, 5
$$;
CREATE FUNCTION found(as_of timestamptz, passed tid[] DEFAULT '{}') RETURNS SETOF record LANGUAGE sql AS $$
    SELECT p.slug, h.priority, h.tenant_id, h.due, h.id FROM sync.providers p CROSS JOIN LATERAL sync._lane_heads(p.slug, as_of, passed) h
$$;
CREATE FUNCTION same_heads(as_of timestamptz, passed tid[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT format('%s lanes, %s missing, %s too many', (SELECT count(*) FROM heads(as_of, passed) AS h (a text, b int, c text, d timestamptz, e bigint)),
                  (SELECT count(*) FROM (SELECT * FROM heads(as_of, passed) AS h (a text, b int, c text, d timestamptz, e bigint)
                                         EXCEPT ALL SELECT * FROM found(as_of, passed) AS f (a text, b int, c text, d timestamptz, e bigint)) x),
                  (SELECT count(*) FROM (SELECT * FROM found(as_of, passed) AS f (a text, b int, c text, d timestamptz, e bigint)
                                         EXCEPT ALL SELECT * FROM heads(as_of, passed) AS h (a text, b int, c text, d timestamptz, e bigint)) x))
$$;
SELECT is(same_heads(at('07:59')), '0 lanes, 0 missing, 0 too many', 'nothing is due');
SELECT is(same_heads(at('08:00')), '12 lanes, 0 missing, 0 too many', 'some lanes have jobs that are due');
SELECT is(same_heads(at('11:00')), '21 lanes, 0 missing, 0 too many', 'all have');
SELECT is(same_heads(at('12:00'), ARRAY(SELECT j.ctid FROM ONLY sync.sync_jobs j WHERE j.id % 3 = 0)), '15 lanes, 0 missing, 0 too many', 'but for jobs passed');
SELECT is(same_heads(at('12:00'), ARRAY(SELECT j.ctid FROM ONLY sync.sync_jobs j WHERE j.connection_id IN (SELECT id FROM sync.connections WHERE external_id LIKE 'long%'))),
          '21 lanes, 0 missing, 0 too many', 'very many of them');
SET LOCAL sync_engine.internal = on;
UPDATE sync.connection_state SET running_job_id = NULL;
ALTER TABLE sync.connections DISABLE TRIGGER USER;
UPDATE sync.connections SET status = 'active';
ALTER TABLE sync.connections ENABLE TRIGGER USER;
RESET sync_engine.internal;
SELECT set_eq('SELECT * FROM sync._tenant_lanes', $$SELECT * FROM found('infinity') AS f (slug text, priority int, tenant_id text, due timestamptz, id bigint)$$,
              'the same lanes that operators are told of');

-- Several lanes merged: as a window over all rows would have it.
CREATE FUNCTION merged(most int, room int, wanted int, passed tid[] DEFAULT '{}', running bigint[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    WITH lanes AS (
        SELECT array_agg(slug) AS slugs, array_agg(priority) AS priorities, array_agg(tenant_id) AS tenants, array_agg(most) AS most, array_agg(room) AS rooms
        FROM sync._tenant_lanes
    ), got AS (
        SELECT row_number() OVER () AS n, x.*
        FROM lanes l CROSS JOIN LATERAL sync._next_lane_jobs(l.slugs, l.priorities, l.tenants, l.most, l.rooms, passed, wanted, at('12:00')) x
    ), of_lane AS (
        SELECT j.*, GREATEST(j.scheduled_at, j.retry_after) AS due,
               row_number() OVER (PARTITION BY j.provider_slug, j.priority, j.tenant_id ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id) AS nth
        FROM (SELECT j.*, j.ctid AS tid FROM ONLY sync.sync_jobs j) j
        WHERE j.status = 'queued' AND j.own_lane AND GREATEST(j.scheduled_at, j.retry_after) <= at('12:00') AND j.tid <> ALL (passed)
          AND j.connection_id <> ALL (running)
    ), of_tenant AS (
        SELECT o.*, row_number() OVER (PARTITION BY o.tenant_id ORDER BY o.priority DESC, o.due, o.id) AS nth_of_tenant FROM of_lane o WHERE o.nth <= most
    ), expected AS (
        SELECT row_number() OVER (ORDER BY t.priority DESC, t.due, t.id) AS n, t.* FROM of_tenant t WHERE room IS NULL OR t.nth_of_tenant <= room
    )
    SELECT format('%s jobs, %s others', count(g.id), count(*) FILTER (WHERE (g.slug, g.priority, g.tenant_id, g.id, g.tid, g.connection_id, g.due)
               IS DISTINCT FROM (e.provider_slug, e.priority, e.tenant_id, e.id, e.tid, e.connection_id, e.due)))
    FROM got g FULL JOIN (SELECT * FROM expected e WHERE wanted IS NULL OR e.n <= wanted) e ON e.n = g.n
$$;
SELECT is(merged(1000, NULL, NULL), '320 jobs, 0 others', 'all that is due, in claim order');
SELECT is(merged(1000, NULL, 70), '70 jobs, 0 others', 'as many as are wanted');
SELECT is(merged(3, NULL, NULL), '63 jobs, 0 others', 'of each lane so many');
SELECT is(merged(1000, 4, NULL), '28 jobs, 0 others', 'of each tenant as many as it has room for, over its lanes');
SELECT is(merged(3, 5, 20), '20 jobs, 0 others', 'all three');
SELECT is(merged(5, 7, 40, ARRAY(SELECT j.ctid FROM ONLY sync.sync_jobs j WHERE j.id % 2 = 0)), '40 jobs, 0 others', 'but for jobs passed');
SET LOCAL sync_engine.internal = on;
UPDATE sync.connection_state SET running_job_id = 0 WHERE connection_id % 3 = 0;
RESET sync_engine.internal;
SELECT is(merged(1000, NULL, 150, '{}', ARRAY(SELECT c.id FROM sync.connections c WHERE c.id % 3 = 0)), '150 jobs, 0 others', 'nor those whose connection runs another');
SELECT is((SELECT count(*) FROM sync._next_lane_jobs('{}', '{}', '{}', '{}', '{}', '{}', 1, at('12:00'))), 0::bigint, 'no lanes, no jobs');

SELECT * FROM finish();
ROLLBACK;
