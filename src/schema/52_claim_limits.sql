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

CREATE FUNCTION sync._open_providers(as_of timestamptz, closed text[], OUT slug text, OUT room int, OUT opens_at timestamptz, OUT held boolean,
    OUT next_request_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    -- plpgsql keeps the plan: this is asked several times by every claim.
    RETURN QUERY
    SELECT p.slug,
           LEAST(p.max_running - CASE WHEN p.max_running IS NOT NULL
                                      THEN (SELECT count(*) FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.provider_slug = p.slug)::int END,
                 sync._requests_left(s.busy_until, as_of, p.requests_per_minute)),
           GREATEST(sync._next_request_at(s.busy_until, as_of, p.requests_per_minute), h.held_until),
           h.held_until IS NOT NULL,
           sync._next_request_at(s.busy_until, as_of, p.requests_per_minute)
    FROM sync.providers p
    LEFT JOIN sync.provider_state s ON s.provider_slug = p.slug
    LEFT JOIN sync.credential_holds h ON h.credential = 'provider:' || p.slug AND h.held_until > as_of AND p.config ? 'auth'
    WHERE p.status = 'active' AND p.slug <> ALL (closed);
END
$$;
COMMENT ON FUNCTION sync._open_providers(timestamptz, text[]) IS
    'Internal: active providers but those, how many of their jobs may begin now (null: any number), from when on otherwise, whether their own'
    ' credentials are held back, and when those of connections may be used';

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

CREATE FUNCTION sync._lanes_with_work(as_of timestamptz, most bigint, closed text[], shut text[], passed tid[],
    OUT slug text, OUT priority int, OUT lane text, OUT cap int, OUT weight int, OUT due timestamptz, OUT id bigint)
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
    ), own AS (
        -- The first that could begin: jobs behind others of their connections do not make a lane's turn.
        SELECT o.slug, l.priority, l.tenant_id, l.due, l.id
        FROM open o CROSS JOIN LATERAL sync._lane_heads(o.slug, as_of, passed) l
        WHERE NOT o.held
        UNION ALL
        (SELECT DISTINCT ON (o.slug, k.priority, k.tenant_id) o.slug, k.priority, k.tenant_id, k.due, k.id
         FROM open o CROSS JOIN LATERAL sync._own_credential_jobs(as_of, o.slug) k
         WHERE o.held AND k.own_lane AND k.tid <> ALL (passed)
         ORDER BY o.slug, k.priority, k.tenant_id, k.due, k.id)
    )
    SELECT l.slug, l.priority, l.tenant_id, COALESCE(t.max_running, d.max_running), COALESCE(t.weight, d.weight, 1), l.due, l.id
    FROM own l
    LEFT JOIN sync.tenant_limits t ON t.tenant_id = l.tenant_id
    LEFT JOIN sync.tenant_limits d ON d.tenant_id = '*' AND t.tenant_id IS NULL
    LEFT JOIN (SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' GROUP BY 1) r
        ON r.tenant_id = l.tenant_id
    WHERE l.tenant_id <> ALL (shut) AND COALESCE(r.n, 0) < COALESCE(t.max_running, d.max_running, 2147483647)
    ORDER BY l.priority DESC, l.due, l.id
    LIMIT most;
END
$$;
COMMENT ON FUNCTION sync._lanes_with_work(timestamptz, bigint, text[], text[], tid[]) IS
    'Internal: the lanes of tenants with room that have a job which could begin, with the first such job of each, in the order of those; lane is the tenant';

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
    wider bigint := 1;      -- how much more than usual is looked at, after rounds that found nothing
    chunk bigint;
    counted text[];         -- limited providers whose jobs this claim counts
    closed text[];          -- those whose jobs another claim is counting
    shut text[] := '{}';    -- tenants likewise
    newly_shut text[];
    passed tid[] := '{}';   -- jobs that could not be had
    taken bigint[];
    lanes record;
    turns record;
    given int[];
    found record;
    rounds int := 0;
BEGIN
    -- The row of a provider's requests refers to the provider: where somebody has locked that, making it would wait.
    INSERT INTO sync.provider_state (provider_slug)
    SELECT p.slug FROM sync.providers p
    WHERE p.status = 'active' AND p.requests_per_minute IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sync.provider_state s WHERE s.provider_slug = p.slug)
      AND sync._try_lock_claims('provider', p.slug)
    FOR KEY SHARE OF p SKIP LOCKED
    ON CONFLICT DO NOTHING;
    SELECT COALESCE(array_agg(x.slug) FILTER (WHERE x.counted), '{}'), COALESCE(array_agg(x.slug) FILTER (WHERE NOT x.counted), '{}') INTO counted, closed
    FROM (SELECT p.slug, sync._try_lock_claims('provider', p.slug)
                         AND (p.requests_per_minute IS NULL OR EXISTS (SELECT 1 FROM sync.provider_state s WHERE s.provider_slug = p.slug)) AS counted
          FROM sync.providers p
          WHERE p.status = 'active' AND (p.max_running IS NOT NULL OR p.requests_per_minute IS NOT NULL)) x;
    SELECT NULL::int[] AS priorities, NULL::text[] AS tenants, NULL::int[] AS weights, NULL::int[] AS most INTO turns;
    LOOP
        chunk := GREATEST(max_jobs, 64) * wider;
        -- Of the lanes in the order of their first jobs, as many as jobs are wanted hold what comes next, up to the first job of the last one.
        SELECT array_agg(x.slug) AS slugs, array_agg(x.priority) AS priorities, array_agg(x.lane) AS tenants, array_agg(x.cap) AS caps,
               array_agg(x.weight) AS weights, array_agg(x.due) AS dues, array_agg(x.id) AS ids, count(*)::int AS n
        INTO lanes
        FROM sync._lanes_with_work(as_of, CASE WHEN fair THEN NULL ELSE wanted * wider END, closed, shut, passed) x;
        IF fair THEN
            -- What has no lane of its own, queued before fair_share was on, has a turn together.
            SELECT array_agg(g.priority) AS priorities, array_agg(g.tenant_id) AS tenants, array_agg(g.weight) AS weights, array_agg(g.most) AS most
            INTO turns
            FROM (SELECT u.priority, u.tenant_id, max(u.weight) AS weight, LEAST(max(u.most), wanted) AS most
                  FROM (SELECT w.priority, w.tenant_id, w.weight, COALESCE(w.cap, wanted) AS most, w.due
                        FROM unnest(lanes.priorities, lanes.tenants, lanes.weights, lanes.caps, lanes.dues) w (priority, tenant_id, weight, cap, due)
                        UNION ALL
                        SELECT k.priority, '', 1, wanted, x.due
                        FROM sync._lanes k
                        JOIN sync._open_providers(as_of, closed) o ON o.slug = k.slug AND NOT o.held
                        CROSS JOIN LATERAL (
                            SELECT GREATEST(j.scheduled_at, j.retry_after) AS due
                            FROM ONLY sync.sync_jobs j
                            JOIN sync.connection_state s ON s.connection_id = j.connection_id
                            WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = k.slug AND j.priority = k.priority
                              AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
                              AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (k.from_due, k.from_id)
                              AND s.running_job_id IS NULL AND j.ctid <> ALL (passed)
                            ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1) x
                        WHERE o.room IS NULL OR o.room > 0
                        UNION ALL
                        SELECT k.priority, '', 1, wanted, k.due
                        FROM sync._open_providers(as_of, closed) o
                        CROSS JOIN LATERAL sync._own_credential_jobs(as_of, o.slug) k
                        WHERE o.held AND (o.room IS NULL OR o.room > 0) AND NOT k.own_lane AND k.tid <> ALL (passed)) u
                  GROUP BY u.priority, u.tenant_id
                  ORDER BY u.priority DESC, min(u.due), u.tenant_id) g;
            given := sync._share_fairly(turns.priorities, turns.tenants, turns.weights, turns.most, wanted);
            -- Of very many tenants only those that are served now are carried on.
            SELECT array_agg(n.priority) AS priorities, array_agg(n.tenant_id) AS tenants, array_agg(n.weight) AS weights, array_agg(n.jobs) AS given
            INTO turns
            FROM unnest(turns.priorities, turns.tenants, turns.weights, given) n (priority, tenant_id, weight, jobs)
            WHERE n.jobs > 0;
            given := turns.given;
            SELECT array_agg(u.slug) AS slugs, array_agg(u.priority) AS priorities, array_agg(u.tenant_id) AS tenants, array_agg(u.cap) AS caps,
                   NULL::timestamptz[] AS dues, NULL::bigint[] AS ids, count(*)::int AS n
            INTO lanes
            FROM unnest(lanes.slugs, lanes.priorities, lanes.tenants, lanes.caps) u (slug, priority, tenant_id, cap)
            JOIN unnest(turns.priorities, turns.tenants) n (priority, tenant_id) ON n.priority = u.priority AND n.tenant_id = u.tenant_id;
        END IF;
        SELECT COALESCE(array_agg(x.tenant_id), '{}') INTO newly_shut
        FROM (SELECT DISTINCT u.tenant_id FROM unnest(lanes.tenants, lanes.caps) u (tenant_id, cap) WHERE u.cap IS NOT NULL) x
        WHERE NOT sync._try_lock_claims('tenant', x.tenant_id);
        IF cardinality(newly_shut) > 0 THEN
            -- Others' lanes come instead of theirs.
            shut := shut || newly_shut;
            IF fair THEN
                PERFORM sync._refund_shares(turns.priorities, turns.tenants, turns.weights, given);
            END IF;
            CONTINUE;
        END IF;

        -- A statement of its own, whose snapshot is newer than the locks: what runs is counted to the last job.
        WITH open AS MATERIALIZED (
            SELECT o.slug, o.room, o.held
            FROM sync._open_providers(as_of, closed) o
            JOIN sync.providers p ON p.slug = o.slug
            WHERE (o.room IS NULL OR o.room > 0) AND (o.slug = ANY (counted) OR p.max_running IS NULL AND p.requests_per_minute IS NULL)
        ), turn AS MATERIALIZED (
            SELECT n.priority, n.tenant_id, n.jobs FROM unnest(turns.priorities, turns.tenants, given) n (priority, tenant_id, jobs) WHERE fair
        ), lane AS MATERIALIZED (
            SELECT u.slug, u.priority, u.tenant_id, u.cap, CASE WHEN fair THEN n.jobs ELSE wanted END * wider AS jobs
            FROM unnest(lanes.slugs, lanes.priorities, lanes.tenants, lanes.caps) u (slug, priority, tenant_id, cap)
            LEFT JOIN turn n ON n.priority = u.priority AND n.tenant_id = u.tenant_id
            WHERE NOT fair OR n.jobs IS NOT NULL
        ), running AS (
            -- All of them: one that was claimed before there was a limit has no lane of its own.
            SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' GROUP BY 1
        ), room AS MATERIALIZED (
            SELECT l.tenant_id, (l.cap - COALESCE(r.n, 0))::int AS jobs
            FROM (SELECT DISTINCT x.tenant_id, x.cap FROM lane x) l LEFT JOIN running r ON r.tenant_id = l.tenant_id
        ), own AS (
            SELECT array_agg(l.slug) AS slugs, array_agg(l.priority) AS priorities, array_agg(l.tenant_id) AS tenants, array_agg(LEAST(l.jobs, 2147483647)::int) AS most,
                   array_agg(r.jobs) AS rooms
            FROM lane l
            JOIN open o ON o.slug = l.slug AND NOT o.held
            JOIN room r ON r.tenant_id = l.tenant_id
        ), seen AS MATERIALIZED (
            SELECT x.id, x.tid, x.connection_id, x.tenant_id, k.slug, k.priority, x.due, '' AS lane, chunk AS most
            FROM sync._lanes k
            JOIN open o ON o.slug = k.slug AND NOT o.held
            LEFT JOIN LATERAL (
                SELECT j.id, j.ctid AS tid, j.connection_id, j.tenant_id, GREATEST(j.scheduled_at, j.retry_after) AS due
                FROM ONLY sync.sync_jobs j
                WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = k.slug AND j.priority = k.priority
                  AND GREATEST(j.scheduled_at, j.retry_after) <= as_of
                  AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (k.from_due, k.from_id)
                ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
                LIMIT chunk) x ON true
            WHERE sync._claim_saw(k.lane, x.due, x.id)
            UNION ALL
            -- All lanes together: no more of them is read than comes next, of each tenant no more than it has room.
            SELECT x.id, x.tid, x.connection_id, x.tenant_id, x.slug, x.priority, x.due, x.tenant_id, CASE WHEN fair THEN l.jobs END
            FROM own
            CROSS JOIN LATERAL sync._next_lane_jobs(own.slugs, own.priorities, own.tenants, own.most, own.rooms, passed,
                                                    CASE WHEN NOT fair THEN LEAST(wanted * wider, 2147483647)::int END, as_of) x
            JOIN lane l ON l.slug = x.slug AND l.priority = x.priority AND l.tenant_id = x.tenant_id
            UNION ALL
            SELECT k.id, k.tid, k.connection_id, k.tenant_id, o.slug, k.priority, k.due, CASE WHEN k.own_lane THEN k.tenant_id ELSE '' END, NULL
            FROM open o
            CROSS JOIN LATERAL sync._own_credential_jobs(as_of, o.slug) k
            WHERE o.held AND (NOT k.own_lane OR k.tenant_id IN (SELECT r.tenant_id FROM room r))
        ), near AS MATERIALIZED (
            SELECT v.* FROM seen v ORDER BY v.priority DESC, v.due, v.id LIMIT CASE WHEN fair THEN NULL ELSE 2 * chunk END
        ), judged AS MATERIALIZED (
            SELECT v.id, v.tid, v.connection_id, v.tenant_id, v.slug, v.priority, v.due, v.lane, o.room AS provider_room, r.jobs AS tenant_room, n.jobs AS turn,
                   v.lane = '' AND COALESCE(t.max_running, d.max_running) IS NOT NULL AS stray,
                   GREATEST(h.held_until, s.held_until,
                            CASE WHEN q.per_minute IS NOT NULL THEN sync._next_request_at(s.busy_until, as_of, q.per_minute) END) AS not_before
            FROM near v
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
            LEFT JOIN room r ON r.tenant_id = v.lane
            LEFT JOIN turn n ON n.priority = v.priority AND n.tenant_id = v.lane
            WHERE s.running_job_id IS NULL AND c.status = 'active' AND v.tid <> ALL (passed)
        ), ready AS (
            -- One job of a connection at a time.
            SELECT DISTINCT ON (y.connection_id) y.*
            FROM judged y
            WHERE NOT y.stray AND (y.not_before IS NULL OR y.not_before <= as_of) AND (y.tenant_room IS NULL OR y.tenant_room > 0)
              AND (NOT fair OR y.turn IS NOT NULL)
            ORDER BY y.connection_id, y.priority DESC, y.due, y.id
        ), in_turn AS (
            SELECT y.*, row_number() OVER (PARTITION BY y.lane, y.priority ORDER BY y.due, y.id) AS of_turn FROM ready y
        ), ranked AS (
            SELECT y.*, COALESCE(row_number() OVER (PARTITION BY y.slug ORDER BY y.priority DESC, y.due, y.id) > y.provider_room, false)
                        OR COALESCE(row_number() OVER (PARTITION BY y.lane ORDER BY y.priority DESC, y.due, y.id) > y.tenant_room, false) AS over
            FROM in_turn y
            WHERE NOT fair OR y.of_turn <= y.turn
        ), certain AS MATERIALIZED (
            -- What is within both limits, counting all that comes before it, can be had. What is not, cannot, unless too much was counted:
            -- jobs that are over the other limit.
            SELECT y.*, y.over AND count(*) FILTER (WHERE NOT y.over) OVER (PARTITION BY y.slug ORDER BY y.priority DESC, y.due, y.id)
                                   < COALESCE(y.provider_room, 2147483647)
                        AND count(*) FILTER (WHERE NOT y.over) OVER (PARTITION BY y.lane ORDER BY y.priority DESC, y.due, y.id)
                            < COALESCE(y.tenant_room, 2147483647) AS doubtful
            FROM ranked y
        ), in_lanes AS MATERIALIZED (
            SELECT v.lane, v.priority, v.due, v.id FROM seen v JOIN room r ON r.tenant_id = v.lane
        ), cut AS MATERIALIZED (
            -- Nothing from behind what this round does not know: the rest of a lane or of all, further lanes, a job that has to change its lane.
            SELECT y.priority, y.due, y.id
            FROM (SELECT DISTINCT ON (v.slug, v.priority, v.lane) v.priority, v.due, v.id, v.most, count(*) OVER (PARTITION BY v.slug, v.priority, v.lane) AS n
                  FROM seen v WHERE v.most IS NOT NULL ORDER BY v.slug, v.priority, v.lane, v.due DESC, v.id DESC) y
            WHERE y.n >= y.most
            UNION ALL
            (SELECT v.priority, v.due, v.id FROM in_lanes v WHERE NOT fair ORDER BY v.priority DESC, v.due, v.id LIMIT 1 OFFSET wanted * wider - 1)
            UNION ALL
            -- A tenant that was read up to its room, of which something cannot be had for another reason, has more behind it.
            SELECT y.priority, y.due, y.id
            FROM (SELECT DISTINCT ON (v.lane) v.lane, v.priority, v.due, v.id, count(*) OVER (PARTITION BY v.lane) AS n
                  FROM in_lanes v ORDER BY v.lane, v.priority, v.due DESC, v.id DESC) y
            JOIN room r ON r.tenant_id = y.lane AND y.n >= r.jobs
            WHERE y.n > (SELECT count(*) FROM certain x WHERE x.lane = y.lane AND NOT x.over)
            UNION ALL
            (SELECT v.priority, v.due, v.id FROM near v ORDER BY v.priority DESC, v.due, v.id LIMIT 1 OFFSET 2 * chunk - 1)
            UNION ALL
            SELECT lanes.priorities[lanes.n], lanes.dues[lanes.n], lanes.ids[lanes.n] WHERE lanes.n >= wanted * wider AND NOT fair
            UNION ALL
            SELECT y.priority, y.due, y.id FROM certain y WHERE y.doubtful
            UNION ALL
            SELECT y.priority, y.due, y.id FROM judged y WHERE y.stray
        ), first_cut AS MATERIALIZED (
            SELECT y.priority, y.due, y.id FROM cut y WHERE NOT fair ORDER BY y.priority DESC, y.due, y.id LIMIT 1
        ), chosen AS MATERIALIZED (
            SELECT y.tid, y.connection_id, y.priority, y.due, y.id
            FROM certain y
            LEFT JOIN first_cut f ON true
            WHERE NOT y.over AND (f.id IS NULL OR (-y.priority::bigint, y.due, y.id) <= (-f.priority::bigint, f.due, f.id))
            ORDER BY y.priority DESC, y.due, y.id
            LIMIT wanted
        )
        SELECT (SELECT COALESCE(array_agg(y.tid ORDER BY y.priority DESC, y.due, y.id), '{}') FROM chosen y) AS tids,
               (SELECT COALESCE(array_agg(y.connection_id ORDER BY y.priority DESC, y.due, y.id), '{}') FROM chosen y) AS connections,
               (SELECT COALESCE(array_agg(y.tid), '{}') FROM judged y WHERE y.stray) AS strays,
               (SELECT COALESCE(array_agg(y.tid), '{}') FROM judged y WHERE NOT y.stray AND y.not_before > as_of) AS early,
               (SELECT array_agg(y.not_before) FROM judged y WHERE NOT y.stray AND y.not_before > as_of) AS not_before,
               EXISTS (SELECT 1 FROM cut) AS cut
        INTO found;

        PERFORM sync._sort_out(found.strays, found.early, found.not_before);
        IF cardinality(found.strays || found.early) > 0 THEN
            -- Those that somebody else has are where they were.
            SELECT passed || COALESCE(array_agg(j.ctid), '{}') INTO passed
            FROM ONLY sync.sync_jobs j WHERE j.ctid = ANY (found.strays || found.early) AND j.status = 'queued';
        END IF;
        taken := '{}';
        IF cardinality(found.tids) > 0 THEN
            FOR job_id, claim_token, tenant_id, connection_id, provider_slug, job_type, priority, attempts, cursor, input, connector, config IN
                SELECT t.* FROM sync._take_in_order(found.tids, found.connections, incarnation, as_of) t LOOP
                taken := taken || job_id;
                RETURN NEXT;
            END LOOP;
            PERFORM sync._count_requests(taken, counted, as_of);
            wanted := wanted - cardinality(taken);
            passed := passed || found.tids;
        END IF;
        IF fair THEN
            PERFORM sync._refund_shares(array_agg(u.priority), array_agg(u.tenant_id), array_agg(u.weight), array_agg(u.unused))
            FROM (SELECT n.priority, n.tenant_id, n.weight, (n.jobs - count(j.id))::int AS unused
                  FROM unnest(turns.priorities, turns.tenants, turns.weights, given) n (priority, tenant_id, weight, jobs)
                  LEFT JOIN (SELECT t.id, t.priority, CASE WHEN t.own_lane THEN t.tenant_id ELSE '' END AS lane
                             FROM ONLY sync.sync_jobs t WHERE t.id = ANY (taken)) j ON j.priority = n.priority AND j.lane = n.tenant_id
                  GROUP BY n.priority, n.tenant_id, n.weight, n.jobs
                  HAVING n.jobs > count(j.id)) u;
        END IF;
        rounds := rounds + 1;
        EXIT WHEN wanted <= 0 OR rounds >= 100;
        IF cardinality(found.strays || found.early) = 0 THEN
            -- Nothing was left out, and nothing could not be had.
            EXIT WHEN NOT fair AND NOT found.cut AND cardinality(taken) = cardinality(found.tids);
            EXIT WHEN cardinality(found.tids) = 0 AND NOT found.cut;
        END IF;
        IF cardinality(found.tids) = 0 THEN
            wider := LEAST(wider * 8, 1000000);
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

-- Jobs that a claim has met where they should not be. What another session holds is left to the next one; who claims at an older
-- snapshot leaves all to it, for what others have changed since could only be refused.
CREATE FUNCTION sync._sort_out(strays tid[], early tid[], not_before timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET enable_seqscan = off
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    IF strays <> '{}' THEN
        WITH held AS MATERIALIZED (
            SELECT j.ctid AS tid FROM ONLY sync.sync_jobs j WHERE j.ctid = ANY (strays) AND j.status = 'queued' FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE ONLY sync.sync_jobs j SET own_lane = true FROM held h WHERE j.ctid = h.tid;
    END IF;
    IF early <> '{}' THEN
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

CREATE FUNCTION sync._count_requests(jobs bigint[], counted text[], as_of timestamptz) RETURNS void
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
    UPDATE sync.provider_state s SET busy_until = sync._busy_after_requests(s.busy_until, as_of, p.requests_per_minute, g.n)
    FROM (SELECT j.provider_slug, count(*) AS n FROM ONLY sync.sync_jobs j WHERE j.id = ANY (jobs) GROUP BY 1) g
    JOIN sync.providers p ON p.slug = g.provider_slug
    WHERE s.provider_slug = g.provider_slug AND p.requests_per_minute IS NOT NULL AND p.slug = ANY (counted);
    UPDATE sync.connection_state s
    SET busy_until = sync._busy_after_requests(s.busy_until, as_of, COALESCE(c.requests_per_minute, p.connection_requests_per_minute), 1)
    FROM ONLY sync.sync_jobs j
    JOIN sync.connections c ON c.id = j.connection_id
    JOIN sync.providers p ON p.slug = j.provider_slug
    WHERE j.id = ANY (jobs) AND s.connection_id = j.connection_id
      AND COALESCE(c.requests_per_minute, p.connection_requests_per_minute) IS NOT NULL;
END
$$;
COMMENT ON FUNCTION sync._count_requests(bigint[], text[], timestamptz) IS
    'Internal: counts the pages that these jobs, just claimed, will ask for, of connections and of these providers';

CREATE FUNCTION sync._next_claim_within_limits(as_of timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
    -- A provider or tenant with no room has none until a job of it ends, which wakes executors.
    WITH open AS MATERIALIZED (
        SELECT o.slug, o.room, o.opens_at, o.held, o.next_request_at FROM sync._open_providers(as_of, '{}') o
        WHERE o.room IS NULL OR o.room > 0 OR o.opens_at > as_of
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
          LEFT JOIN (SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' GROUP BY 1) r
              ON r.tenant_id = l.tenant_id
          WHERE COALESCE(r.n, 0) < COALESCE(t.max_running, d.max_running, 2147483647)
          UNION ALL
          SELECT GREATEST(j.scheduled_at, j.retry_after, o.next_request_at)
          FROM open o
          JOIN sync.connections c ON c.provider_slug = o.slug AND c.config ? 'auth'
          JOIN ONLY sync.sync_jobs j ON j.connection_id = c.id
          JOIN sync.connection_state s ON s.connection_id = c.id
          LEFT JOIN sync.tenant_limits t ON t.tenant_id = j.tenant_id
          LEFT JOIN sync.tenant_limits d ON d.tenant_id = '*' AND t.tenant_id IS NULL
          LEFT JOIN (SELECT r.tenant_id, count(*) AS n FROM ONLY sync.sync_jobs r WHERE r.status = 'running' GROUP BY 1) r
              ON r.tenant_id = j.tenant_id
          WHERE o.held AND (o.room IS NULL OR o.room > 0 OR o.next_request_at > as_of) AND c.status = 'active' AND j.status = 'queued'
            AND s.running_job_id IS NULL AND COALESCE(r.n, 0) < COALESCE(t.max_running, d.max_running, 2147483647)) y
$$;
COMMENT ON FUNCTION sync._next_claim_within_limits(timestamptz) IS 'Internal: next_claim_at where something is limited';
