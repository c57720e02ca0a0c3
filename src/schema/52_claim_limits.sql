-- Claims where something is limited: running jobs of tenants and providers, requests a minute, credentials that are held back, and
-- turns (sync_engine.fair_share). docs/limits.md says how; where nothing is limited claim_jobs does not come here.

CREATE FUNCTION sync._claims_are_limited(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN sync._setting('fair_share') = 1
           OR EXISTS (SELECT 1 FROM sync.providers p
                      WHERE p.max_running IS NOT NULL OR p.requests_per_minute IS NOT NULL OR p.connection_requests_per_minute IS NOT NULL)
           OR EXISTS (SELECT 1 FROM sync.tenant_limits l WHERE l.max_running IS NOT NULL)
           OR EXISTS (SELECT 1 FROM sync.credential_holds h WHERE h.held_until > as_of)
           OR EXISTS (SELECT 1 FROM sync.connections c WHERE c.requests_per_minute IS NOT NULL)
           OR EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.status = 'queued' AND j.own_lane);
END
$$;
COMMENT ON FUNCTION sync._claims_are_limited(timestamptz) IS 'Internal: whether a claim has more to look at than what is due';

-- The lanes that tenants have of their own, a probe each, and the job that is due first in each.
CREATE VIEW sync._tenant_lanes AS
WITH RECURSIVE lanes AS (
    SELECT p.slug, f.priority, f.tenant_id, f.due, f.id
    FROM sync.providers p
    CROSS JOIN LATERAL (SELECT j.priority, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after) AS due, j.id FROM ONLY sync.sync_jobs j
                        WHERE j.status = 'queued' AND j.own_lane AND j.provider_slug = p.slug
                        ORDER BY j.priority DESC, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1) f
    WHERE p.status = 'active'
    UNION ALL
    SELECT l.slug, n.priority, n.tenant_id, n.due, n.id
    FROM lanes l
    CROSS JOIN LATERAL (
        SELECT x.*
        FROM ((SELECT j.priority, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after) AS due, j.id FROM ONLY sync.sync_jobs j
               WHERE j.status = 'queued' AND j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority AND j.tenant_id > l.tenant_id
               ORDER BY j.tenant_id, GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1)
              UNION ALL
              (SELECT j.priority, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after), j.id FROM ONLY sync.sync_jobs j
               WHERE j.status = 'queued' AND j.own_lane AND j.provider_slug = l.slug AND j.priority < l.priority
               ORDER BY j.priority DESC, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1)) x
        LIMIT 1) n
)
SELECT l.slug, l.priority, l.tenant_id, l.due, l.id FROM lanes l;
COMMENT ON VIEW sync._tenant_lanes IS 'Internal: of active providers, the lanes of single tenants that have queued jobs, and the first job of each';

CREATE FUNCTION sync._open_providers(as_of timestamptz, closed text[], OUT slug text, OUT room int, OUT opens_at timestamptz, OUT held boolean)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.slug,
           LEAST(p.max_running - CASE WHEN p.max_running IS NOT NULL
                                      THEN (SELECT count(*) FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.provider_slug = p.slug)::int END,
                 sync._requests_left(s.busy_until, as_of, p.requests_per_minute)),
           GREATEST(sync._next_request_at(s.busy_until, as_of, p.requests_per_minute), h.held_until),
           h.held_until IS NOT NULL
    FROM sync.providers p
    LEFT JOIN sync.provider_state s ON s.provider_slug = p.slug
    LEFT JOIN sync.credential_holds h ON h.credential = 'provider:' || p.slug AND h.held_until > as_of AND p.config ? 'auth'
    WHERE p.status = 'active' AND p.slug <> ALL (closed)
$$;
COMMENT ON FUNCTION sync._open_providers(timestamptz, text[]) IS
    'Internal: active providers but those, how many of their jobs may begin now (null: any number), from when on otherwise, and whether their own credentials are held back';

CREATE FUNCTION sync._try_lock_claims(of text, name text) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    -- One who claims at an older snapshot than the lock cannot know what runs.
    SELECT pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed'
           AND pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('sync_engine claims of ' OPERATOR(pg_catalog.||) of, 0)
               OPERATOR(pg_catalog.#) (CASE WHEN of OPERATOR(pg_catalog.=) 'tenant' THEN pg_catalog.hashtextextended(name, 0) OPERATOR(pg_catalog.&) 1023
                                           ELSE pg_catalog.hashtextextended(name, 0) END))
$$;
COMMENT ON FUNCTION sync._try_lock_claims(text, text) IS
    'Internal: whether no other claim is counting the running jobs of this tenant or provider; tenants share 1,024 locks, so that no claim needs more';

-- While a provider's own credentials are held back: the due jobs of connections that have theirs.
CREATE FUNCTION sync._own_credential_jobs(as_of timestamptz, slug text, OUT id bigint, OUT tid tid, OUT connection_id bigint, OUT tenant_id text,
    OUT own_lane boolean, OUT priority int, OUT due timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT j.id, j.ctid, j.connection_id, j.tenant_id, j.own_lane, j.priority, GREATEST(j.scheduled_at, j.retry_after)
    FROM sync.connections c
    JOIN sync.connection_state s ON s.connection_id = c.id
    JOIN ONLY sync.sync_jobs j ON j.connection_id = c.id
    WHERE c.provider_slug = slug AND c.config ? 'auth' AND c.status = 'active' AND s.running_job_id IS NULL
      AND j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
$$;
COMMENT ON FUNCTION sync._own_credential_jobs(timestamptz, text) IS 'Internal: due jobs of connections with credentials of their own';

CREATE FUNCTION sync._lanes_with_work(as_of timestamptz, fair boolean, closed text[], shut text[], passed tid[],
    OUT slug text, OUT priority int, OUT lane text, OUT cap int, OUT weight int, OUT held boolean, OUT due timestamptz, OUT id bigint)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH open AS MATERIALIZED (
        SELECT o.slug, o.held FROM sync._open_providers(as_of, closed) o WHERE o.room IS NULL OR o.room > 0
    ), full_up AS MATERIALIZED (
        SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' AND r.own_lane GROUP BY 1
    ), own AS (
        -- The first that could begin: jobs behind others of their connections do not make a lane's turn.
        SELECT l.slug, l.priority, l.tenant_id, COALESCE(t.max_running, d.max_running) AS cap, COALESCE(t.weight, d.weight, 1) AS weight, l.due, l.id,
               l.held
        FROM (SELECT o.slug, x.priority, x.tenant_id, x.due, x.id, false AS held
              FROM open o CROSS JOIN LATERAL sync._lane_heads(o.slug, as_of, passed) x
              WHERE NOT o.held
              UNION ALL
              (SELECT DISTINCT ON (o.slug, k.priority, k.tenant_id) o.slug, k.priority, k.tenant_id, k.due, k.id, true
               FROM open o CROSS JOIN LATERAL sync._own_credential_jobs(as_of, o.slug) k
               WHERE o.held AND k.own_lane AND k.tid <> ALL (passed)
               ORDER BY o.slug, k.priority, k.tenant_id, k.due, k.id)) l
        LEFT JOIN sync.tenant_limits t ON t.tenant_id = l.tenant_id
        LEFT JOIN sync.tenant_limits d ON d.tenant_id = '*' AND t.tenant_id IS NULL
        LEFT JOIN full_up r ON r.tenant_id = l.tenant_id
        WHERE l.tenant_id <> ALL (shut) AND COALESCE(r.n, 0) < COALESCE(t.max_running, d.max_running, 2147483647)
    )
    SELECT w.slug, w.priority, w.tenant_id, w.cap, w.weight, w.held, w.due, w.id FROM own w
    UNION ALL
    -- What has no lane of its own, queued before fair_share was on, has a turn together.
    SELECT k.slug, k.priority, '', NULL, 1, o.held, f.due, f.id
    FROM sync._lanes k
    JOIN open o ON o.slug = k.slug AND NOT o.held
    CROSS JOIN LATERAL (
        SELECT GREATEST(j.scheduled_at, j.retry_after) AS due, j.id
        FROM ONLY sync.sync_jobs j
        JOIN sync.connection_state s ON s.connection_id = j.connection_id
        JOIN sync.connections c ON c.id = j.connection_id
        WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = k.slug AND j.priority = k.priority
          AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
          AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (k.from_due, k.from_id)
          AND s.running_job_id IS NULL AND c.status = 'active' AND j.ctid <> ALL (passed)
        ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1) f
    WHERE fair
    UNION ALL
    SELECT o.slug, k.priority, '', NULL, 1, true, min(k.due), min(k.id)
    FROM open o
    CROSS JOIN LATERAL sync._own_credential_jobs(as_of, o.slug) k
    WHERE fair AND o.held AND NOT k.own_lane AND k.tid <> ALL (passed)
    GROUP BY o.slug, k.priority;
END
$$;
COMMENT ON FUNCTION sync._lanes_with_work(timestamptz, boolean, text[], text[], tid[]) IS
    'Internal: the lanes of tenants with room that have a job which could begin, and the first such job; lane is the tenant. With fair also what has no lane of its own, as lane of nobody';

CREATE FUNCTION sync._claim_within_limits(incarnation text, max_jobs int, as_of timestamptz,
    OUT job_id bigint, OUT claim_token uuid, OUT tenant_id text, OUT connection_id bigint, OUT provider_slug text,
    OUT job_type text, OUT priority int, OUT attempts int, OUT cursor jsonb, OUT input jsonb, OUT connector text, OUT config jsonb)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    fair boolean := sync._setting('fair_share') = 1;
    holds boolean := EXISTS (SELECT 1 FROM sync.credential_holds h WHERE h.held_until > as_of);
    wanted int := max_jobs;
    reach int := max_jobs;  -- lanes, and jobs of each, that a round looks at
    closed text[];          -- providers whose jobs another claim is counting
    shut text[] := '{}';    -- tenants likewise
    newly_shut text[];
    passed tid[] := '{}';   -- jobs that could not be had
    taken bigint[];
    lanes record;
    turns record;
    given int[];
    found record;
BEGIN
    SELECT COALESCE(array_agg(p.slug), '{}') INTO closed
    FROM sync.providers p
    WHERE p.status = 'active' AND (p.max_running IS NOT NULL OR p.requests_per_minute IS NOT NULL)
      AND NOT sync._try_lock_claims('provider', p.slug);
    SELECT NULL::int[] AS priorities, NULL::text[] AS lanes, NULL::int[] AS weights, NULL::int[] AS most INTO turns;
    FOR round IN 1 .. 1000 LOOP
        -- Of the lanes in the order of their first jobs, as many as jobs are wanted hold all that comes next.
        SELECT array_agg(x.slug) AS slugs, array_agg(x.priority) AS priorities, array_agg(x.lane) AS lanes, array_agg(x.cap) AS caps,
               array_agg(x.weight) AS weights, array_agg(x.due) AS dues, array_agg(x.held) AS held, count(*) >= reach AND NOT fair AS cut
        INTO lanes
        FROM (SELECT l.* FROM sync._lanes_with_work(as_of, fair, closed, shut, passed) l
              ORDER BY l.priority DESC, l.due, l.id
              LIMIT CASE WHEN fair THEN NULL ELSE reach END) x;
        IF fair THEN
            SELECT array_agg(g.priority) AS priorities, array_agg(g.lane) AS lanes, array_agg(g.weight) AS weights, array_agg(g.most) AS most
            INTO turns
            FROM (SELECT u.priority, u.lane, max(u.weight) AS weight, LEAST(max(COALESCE(u.cap, wanted)), wanted) AS most
                  FROM unnest(lanes.priorities, lanes.lanes, lanes.weights, lanes.caps, lanes.dues) u (priority, lane, weight, cap, due)
                  GROUP BY u.priority, u.lane
                  ORDER BY u.priority DESC, min(u.due), u.lane) g;
            given := sync._share_fairly(turns.priorities, turns.lanes, turns.weights, turns.most, wanted);
            -- Of very many tenants only those that are served now are carried on.
            SELECT array_agg(n.priority) AS priorities, array_agg(n.lane) AS lanes, array_agg(n.weight) AS weights, array_agg(n.jobs) AS given
            INTO turns
            FROM unnest(turns.priorities, turns.lanes, turns.weights, given) n (priority, lane, weight, jobs)
            WHERE n.jobs > 0;
            given := turns.given;
            SELECT array_agg(u.slug) AS slugs, array_agg(u.priority) AS priorities, array_agg(u.lane) AS lanes, array_agg(u.cap) AS caps,
                   array_agg(u.held) AS held, false AS cut
            INTO lanes
            FROM unnest(lanes.slugs, lanes.priorities, lanes.lanes, lanes.caps, lanes.held) u (slug, priority, lane, cap, held)
            JOIN unnest(turns.priorities, turns.lanes) n (priority, lane) ON n.priority = u.priority AND n.lane = u.lane;
        END IF;
        SELECT COALESCE(array_agg(x.lane), '{}') INTO newly_shut
        FROM (SELECT DISTINCT u.lane FROM unnest(lanes.lanes, lanes.caps) u (lane, cap) WHERE u.cap IS NOT NULL) x
        WHERE NOT sync._try_lock_claims('tenant', x.lane);
        shut := shut || newly_shut;

        -- A statement of its own, whose snapshot is newer than the locks: what runs is counted to the last job.
        WITH open AS MATERIALIZED (
            SELECT o.slug, o.room, o.held FROM sync._open_providers(as_of, closed) o WHERE o.room IS NULL OR o.room > 0
        ), turn AS MATERIALIZED (
            SELECT n.priority, n.lane, n.jobs FROM unnest(turns.priorities, turns.lanes, given) n (priority, lane, jobs) WHERE fair
        ), lane AS MATERIALIZED (
            SELECT u.slug, u.priority, u.lane, u.cap, u.held,
                   CASE WHEN reach > max_jobs THEN GREATEST(reach, wanted) WHEN fair THEN n.jobs ELSE wanted END AS jobs
            FROM unnest(lanes.slugs, lanes.priorities, lanes.lanes, lanes.caps, lanes.held) u (slug, priority, lane, cap, held)
            LEFT JOIN turn n ON n.priority = u.priority AND n.lane = u.lane
            WHERE u.lane <> ALL (shut) AND (NOT fair OR n.jobs IS NOT NULL)
        ), room AS MATERIALIZED (
            SELECT l.lane, (l.cap - COALESCE(r.n, 0))::int AS jobs
            FROM (SELECT DISTINCT x.lane, x.cap FROM lane x WHERE x.lane <> '') l
            LEFT JOIN (SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' AND r.own_lane GROUP BY 1) r
                ON r.tenant_id = l.lane
        ), own AS (
            SELECT array_agg(l.slug) AS slugs, array_agg(l.priority) AS priorities, array_agg(l.lane) AS lanes, array_agg(l.jobs) AS most,
                   array_agg(r.jobs) AS rooms
            FROM lane l JOIN room r ON r.lane = l.lane
            WHERE NOT l.held
        ), seen AS MATERIALIZED (
            SELECT x.id, x.tid, x.connection_id, x.tenant_id, k.slug, k.priority, x.due, '' AS lane
            FROM sync._lanes k
            JOIN open o ON o.slug = k.slug AND NOT o.held
            LEFT JOIN LATERAL (
                SELECT j.id, j.ctid AS tid, j.connection_id, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after) AS due
                FROM ONLY sync.sync_jobs j
                WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = k.slug AND j.priority = k.priority
                  AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
                  AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (k.from_due, k.from_id)
                ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
                LIMIT GREATEST(reach, 64)) x ON true
            WHERE sync._claim_saw(k.lane, x.due, x.id)
            UNION ALL
            -- All lanes together: no more of them is read than comes next.
            SELECT x.id, x.tid, x.connection_id, x.tenant_id, x.slug, x.priority, x.due, x.tenant_id
            FROM own l
            CROSS JOIN LATERAL sync._next_lane_jobs(l.slugs, l.priorities, l.lanes, l.most, l.rooms, passed,
                                                    CASE WHEN NOT fair THEN GREATEST(wanted, reach) END, as_of) x
            UNION ALL
            SELECT k.id, k.tid, k.connection_id, k.tenant_id, o.slug, k.priority, k.due, CASE WHEN k.own_lane THEN k.tenant_id ELSE '' END
            FROM open o
            CROSS JOIN LATERAL sync._own_credential_jobs(as_of, o.slug) k
            WHERE o.held AND (NOT k.own_lane OR k.tenant_id IN (SELECT r.lane FROM room r))
        ), judged AS MATERIALIZED (
            SELECT v.id, v.tid, v.connection_id, v.slug, v.priority, v.due, v.lane, o.room AS provider_room, r.jobs AS tenant_room, n.jobs AS turn,
                   v.lane = '' AND COALESCE(t.max_running, d.max_running) IS NOT NULL AS stray,
                   GREATEST(h.held_until, s.held_until,
                            CASE WHEN q.per_minute IS NOT NULL THEN sync._next_request_at(s.busy_until, as_of, q.per_minute) END) AS not_before
            FROM seen v
            JOIN open o ON o.slug = v.slug
            JOIN sync.connection_state s ON s.connection_id = v.connection_id
            JOIN sync.connections c ON c.id = v.connection_id
            JOIN sync.providers p ON p.slug = v.slug
            CROSS JOIN LATERAL (SELECT COALESCE(c.requests_per_minute, p.connection_requests_per_minute) AS per_minute) q
            LEFT JOIN sync.credential_holds h
                ON h.credential = CASE WHEN holds THEN sync._credential(c.tenant_id, p.slug, c.config, p.config) END AND h.held_until > as_of
            -- Only what is in nobody's lane can be there by mistake.
            LEFT JOIN sync.tenant_limits t ON t.tenant_id = CASE WHEN v.lane = '' THEN v.tenant_id END
            LEFT JOIN sync.tenant_limits d ON d.tenant_id = CASE WHEN v.lane = '' AND t.tenant_id IS NULL THEN '*' END
            LEFT JOIN room r ON r.lane = v.lane
            LEFT JOIN turn n ON n.priority = v.priority AND n.lane = v.lane
            WHERE s.running_job_id IS NULL AND c.status = 'active' AND v.tid <> ALL (passed)
        ), ranked AS (
            SELECT y.*, row_number() OVER (PARTITION BY y.slug ORDER BY y.priority DESC, y.due, y.id) AS of_provider,
                   row_number() OVER (PARTITION BY y.lane ORDER BY y.priority DESC, y.due, y.id) AS of_tenant,
                   row_number() OVER (PARTITION BY y.lane, y.priority ORDER BY y.due, y.id) AS of_turn
            FROM judged y
            WHERE NOT y.stray AND (y.not_before IS NULL OR y.not_before <= as_of)
        ), chosen AS MATERIALIZED (
            SELECT y.tid, y.connection_id, y.priority, y.due, y.id
            FROM ranked y
            WHERE (y.provider_room IS NULL OR y.of_provider <= y.provider_room)
              AND (y.tenant_room IS NULL OR y.of_tenant <= y.tenant_room)
              AND (NOT fair OR y.of_turn <= y.turn)
            ORDER BY y.priority DESC, y.due, y.id
            LIMIT wanted
        )
        SELECT (SELECT COALESCE(array_agg(y.tid ORDER BY y.priority DESC, y.due, y.id), '{}') FROM chosen y) AS tids,
               (SELECT COALESCE(array_agg(y.connection_id ORDER BY y.priority DESC, y.due, y.id), '{}') FROM chosen y) AS connections,
               (SELECT array_agg(y.tid) FROM judged y WHERE y.stray) AS strays,
               (SELECT array_agg(y.tid) FROM judged y WHERE NOT y.stray AND y.not_before > as_of) AS early,
               (SELECT array_agg(y.not_before) FROM judged y WHERE NOT y.stray AND y.not_before > as_of) AS not_before,
               (SELECT count(*) FROM seen) AS seen,
               EXISTS (SELECT 1 FROM seen v WHERE v.lane = '' GROUP BY v.slug, v.priority HAVING count(*) >= GREATEST(reach, 64)) AS cut
        INTO found;

        PERFORM sync._sort_out(found.strays, found.early, found.not_before);
        passed := passed || found.strays || found.early;
        taken := '{}';
        IF cardinality(found.tids) > 0 THEN
            FOR job_id, claim_token, tenant_id, connection_id, provider_slug, job_type, priority, attempts, cursor, input, connector, config IN
                SELECT t.* FROM sync._take_in_order(found.tids, found.connections, incarnation, as_of) t LOOP
                taken := taken || job_id;
                RETURN NEXT;
            END LOOP;
            PERFORM sync._count_requests(taken, as_of);
            wanted := wanted - cardinality(taken);
            passed := passed || found.tids;
        END IF;
        IF fair THEN
            PERFORM sync._refund_shares(array_agg(u.priority), array_agg(u.lane), array_agg(u.weight), array_agg(u.unused))
            FROM (SELECT n.priority, n.lane, n.weight, (n.jobs - count(j.id))::int AS unused
                  FROM unnest(turns.priorities, turns.lanes, turns.weights, given) n (priority, lane, weight, jobs)
                  LEFT JOIN (SELECT t.id, t.priority, CASE WHEN t.own_lane THEN t.tenant_id ELSE '' END AS lane
                             FROM ONLY sync.sync_jobs t WHERE t.id = ANY (taken)) j ON j.priority = n.priority AND j.lane = n.lane
                  GROUP BY n.priority, n.lane, n.weight, n.jobs
                  HAVING n.jobs > count(j.id)) u;
        END IF;
        EXIT WHEN wanted <= 0;
        IF found.strays IS NULL AND found.early IS NULL AND NOT lanes.cut AND NOT found.cut THEN
            -- All that is due was looked at: nothing could be had, or all that there was.
            EXIT WHEN cardinality(found.tids) = 0 AND newly_shut = '{}';
            EXIT WHEN NOT fair AND found.seen < wanted + cardinality(taken) AND cardinality(taken) = cardinality(found.tids);
        END IF;
        IF cardinality(found.tids) = 0 THEN
            reach := LEAST(reach::bigint * 8, 1000000)::int;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._claim_within_limits(text, int, timestamptz) IS 'Internal: claim_jobs where something is limited';

CREATE FUNCTION sync._take_in_order(candidates tid[], connections bigint[], incarnation text, as_of timestamptz,
    OUT job_id bigint, OUT claim_token uuid, OUT tenant_id text, OUT connection_id bigint, OUT provider_slug text, OUT job_type text,
    OUT priority int, OUT attempts int, OUT cursor jsonb, OUT input jsonb, OUT connector text, OUT config jsonb)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    IF sync._rows_are_plain(false) THEN
        RETURN QUERY SELECT t.* FROM sync._take_jobs($1, $2, $3, $4) t;
    ELSE
        RETURN QUERY SELECT t.* FROM sync._take_jobs_by_statement($1, $3, $4) t;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._take_in_order(tid[], bigint[], text, timestamptz) IS 'Internal: claims these jobs, as far as they can be had';

-- Jobs that a claim has met where they should not be. What another session holds is left to the next one.
CREATE FUNCTION sync._sort_out(strays tid[], early tid[], not_before timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET enable_seqscan = off
AS $$
BEGIN
    IF strays IS NOT NULL THEN
        WITH held AS MATERIALIZED (
            SELECT j.ctid AS tid FROM ONLY sync.sync_jobs j WHERE j.ctid = ANY (strays) AND j.status = 'queued' FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE ONLY sync.sync_jobs j SET own_lane = true FROM held h WHERE j.ctid = h.tid;
    END IF;
    IF early IS NOT NULL THEN
        WITH held AS MATERIALIZED (
            SELECT j.ctid AS tid, e.not_before
            FROM unnest(early, not_before) e (tid, not_before)
            JOIN ONLY sync.sync_jobs j ON j.ctid = e.tid
            WHERE j.status = 'queued'
            FOR NO KEY UPDATE OF j SKIP LOCKED
        )
        UPDATE ONLY sync.sync_jobs j SET retry_after = h.not_before FROM held h WHERE j.ctid = h.tid;
    END IF;
END
$$;
COMMENT ON FUNCTION sync._sort_out(tid[], tid[], timestamptz[]) IS
    'Internal: puts jobs of limited tenants into their lanes, and sets jobs that may not begin yet to their time';

CREATE FUNCTION sync._count_requests(jobs bigint[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM sync.providers p
                   WHERE p.max_running IS NOT NULL OR p.requests_per_minute IS NOT NULL OR p.connection_requests_per_minute IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM sync.connections c WHERE c.requests_per_minute IS NOT NULL) THEN
        RETURN;
    END IF;
    -- The caller has the providers' locks, and the leases of the connections.
    INSERT INTO sync.provider_state AS s (provider_slug, busy_until)
    SELECT p.slug, sync._busy_after_requests(NULL, as_of, p.requests_per_minute, g.n)
    FROM (SELECT j.provider_slug, count(*) AS n FROM ONLY sync.sync_jobs j WHERE j.id = ANY (jobs) GROUP BY 1) g
    JOIN sync.providers p ON p.slug = g.provider_slug
    WHERE p.requests_per_minute IS NOT NULL
    ON CONFLICT (provider_slug) DO UPDATE
    SET busy_until = (SELECT sync._busy_after_requests(s.busy_until, as_of, p.requests_per_minute, count(*))
                      FROM sync.providers p, ONLY sync.sync_jobs j
                      WHERE p.slug = s.provider_slug AND j.provider_slug = p.slug AND j.id = ANY (jobs)
                      GROUP BY p.requests_per_minute);
    UPDATE sync.connection_state s
    SET busy_until = sync._busy_after_requests(s.busy_until, as_of, COALESCE(c.requests_per_minute, p.connection_requests_per_minute), 1)
    FROM ONLY sync.sync_jobs j
    JOIN sync.connections c ON c.id = j.connection_id
    JOIN sync.providers p ON p.slug = j.provider_slug
    WHERE j.id = ANY (jobs) AND s.connection_id = j.connection_id
      AND COALESCE(c.requests_per_minute, p.connection_requests_per_minute) IS NOT NULL;
END
$$;
COMMENT ON FUNCTION sync._count_requests(bigint[], timestamptz) IS 'Internal: counts the pages that these jobs, just claimed, will ask for';

CREATE FUNCTION sync._next_claim_within_limits(as_of timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
    -- A provider or tenant with no room has none until a job of it ends, which wakes executors.
    WITH open AS MATERIALIZED (
        SELECT o.slug, o.opens_at, o.held FROM sync._open_providers(as_of, '{}') o WHERE o.room IS NULL OR o.room > 0 OR o.opens_at > as_of
    )
    SELECT min(y.at)
    FROM (SELECT GREATEST(x.due, o.opens_at) AS at
          FROM sync._lanes l
          JOIN open o ON o.slug = l.slug
          CROSS JOIN LATERAL (
              SELECT GREATEST(j.scheduled_at, j.retry_after) AS due
              FROM ONLY sync.sync_jobs j
              JOIN sync.connection_state s ON s.connection_id = j.connection_id
              JOIN sync.connections c ON c.id = j.connection_id
              WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
                AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
                AND s.running_job_id IS NULL AND c.status = 'active'
              ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
              LIMIT 1) x
          UNION ALL
          SELECT GREATEST(l.due, o.opens_at)
          FROM open o
          CROSS JOIN LATERAL sync._lane_heads(o.slug, 'infinity', '{}') l
          LEFT JOIN sync.tenant_limits t ON t.tenant_id = l.tenant_id
          LEFT JOIN sync.tenant_limits d ON d.tenant_id = '*' AND t.tenant_id IS NULL
          LEFT JOIN (SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' AND r.own_lane GROUP BY 1) r
              ON r.tenant_id = l.tenant_id
          WHERE COALESCE(r.n, 0) < COALESCE(t.max_running, d.max_running, 2147483647)
          UNION ALL
          SELECT GREATEST(j.scheduled_at, j.retry_after)
          FROM open o
          JOIN sync.connections c ON c.provider_slug = o.slug AND c.config ? 'auth'
          JOIN ONLY sync.sync_jobs j ON j.connection_id = c.id
          JOIN sync.connection_state s ON s.connection_id = c.id
          WHERE o.held AND c.status = 'active' AND j.status = 'queued' AND s.running_job_id IS NULL) y
$$;
COMMENT ON FUNCTION sync._next_claim_within_limits(timestamptz) IS 'Internal: next_claim_at where something is limited';

-- What a remote said to one connection: its own job waits anyway, by its backoff; this is for all others that use its credentials.
CREATE FUNCTION sync._hold_credentials(connections bigint[], untils timestamptz[], reasons text[], as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    shared bigint[];
BEGIN
    WITH told AS MATERIALIZED (
        SELECT DISTINCT ON (k.credential) k.credential, c.provider_slug, u.held_until, concat_ws(': ', 'connection ' || c.id, u.reason) AS reason
        FROM unnest(connections, untils, reasons) u (id, held_until, reason)
        JOIN sync.connections c ON c.id = u.id
        JOIN sync.providers p ON p.slug = c.provider_slug
        CROSS JOIN LATERAL (SELECT sync._credential(c.tenant_id, p.slug, c.config, p.config) AS credential) k
        WHERE k.credential = 'provider:' || p.slug
           OR c.config ? 'auth' AND EXISTS (SELECT 1 FROM sync.connections x
                                            WHERE x.provider_slug = c.provider_slug AND x.tenant_id = c.tenant_id AND x.config ? 'auth'
                                              AND md5((x.config -> 'auth')::text) = md5((c.config -> 'auth')::text) AND x.id <> c.id)
        ORDER BY k.credential, u.held_until DESC
    )
    INSERT INTO sync.credential_holds AS h (credential, provider_slug, held_since, held_until, reason)
    SELECT t.credential, t.provider_slug, as_of, t.held_until, t.reason
    FROM told t
    WHERE NOT EXISTS (SELECT 1 FROM sync.credential_holds o WHERE o.credential = t.credential AND o.held_until >= t.held_until)
    ORDER BY t.credential
    ON CONFLICT (credential) DO UPDATE
    SET held_since = CASE WHEN h.held_until > as_of THEN h.held_since ELSE as_of END, held_until = GREATEST(h.held_until, EXCLUDED.held_until),
        reason = EXCLUDED.reason;
    -- The caller has their rows: the connection itself keeps still, and what else is queued for it waits as long.
    UPDATE sync.connection_state s SET held_until = GREATEST(s.held_until, u.held_until)
    FROM (SELECT x.id, max(x.held_until) AS held_until FROM unnest(connections, untils) x (id, held_until) GROUP BY 1) u
    WHERE s.connection_id = u.id;
    DELETE FROM sync.credential_holds h
    WHERE h.credential IN (SELECT o.credential FROM sync.credential_holds o WHERE o.held_until < as_of - interval '1 day'
                           ORDER BY o.held_until LIMIT 100 FOR UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION sync._hold_credentials(bigint[], timestamptz[], text[], timestamptz) IS
    'Internal: nothing that uses the credentials of these connections, whose rows the caller has locked, is claimed until then';

CREATE FUNCTION sync.lift_hold(connection_id bigint, as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    key text;
    own boolean;
    ids bigint[];
    lifted boolean;
    n int;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT sync._credential(c.tenant_id, p.slug, c.config, p.config), COALESCE(c.config ? 'auth', false) INTO key, own
    FROM sync.connections c JOIN sync.providers p ON p.slug = c.provider_slug WHERE c.id = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', $1);
    END IF;
    DELETE FROM sync.credential_holds h WHERE h.credential = key AND h.held_until > as_of;
    lifted := FOUND;
    -- Whoever waits locks connections, then jobs, in id order.
    ids := ARRAY(SELECT l.id
                 FROM (SELECT c.id FROM sync.connections c
                       WHERE c.id = $1
                          OR own AND c.config ? 'auth' AND (c.provider_slug, c.tenant_id, md5((c.config -> 'auth')::text))
                                 = (SELECT x.provider_slug, x.tenant_id, md5((x.config -> 'auth')::text) FROM sync.connections x WHERE x.id = $1)
                       ORDER BY c.id FOR NO KEY UPDATE) l);
    UPDATE sync.connection_state s SET held_until = NULL WHERE s.connection_id = ANY (ids) AND s.held_until > as_of;
    lifted := lifted OR FOUND;
    -- What failed itself keeps its backoff; retry_job is there for it.
    UPDATE ONLY sync.sync_jobs j SET retry_after = NULL
    FROM (SELECT x.id FROM ONLY sync.sync_jobs x
          WHERE x.connection_id = ANY (ids) AND x.status = 'queued' AND x.attempts = 0 AND x.retry_after > as_of ORDER BY x.id FOR NO KEY UPDATE) l
    WHERE j.id = l.id;
    PERFORM sync._wake_executors();
    RETURN lifted;
END
$$;
COMMENT ON FUNCTION sync.lift_hold(bigint, timestamptz) IS
    'Ends what a remote''s "slow down" to a connection''s credentials holds back: jobs that have not failed themselves are due again. False where nothing was held';
