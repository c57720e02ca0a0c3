-- Reading what has landed, without gaps. A poll by id loses what commits late: ids are drawn before the commit, in any order.
-- Pages are read in the order of the transactions that landed them, and only those older than every transaction in progress.

CREATE FUNCTION sync._position(xid xid8) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    -- A copy that is not adopted yet counts as what it will be then.
    SELECT COALESCE(max(CASE WHEN d.system_identifier = me.system_identifier AND d.database_oid = me.database_oid
                             THEN d.epoch ELSE d.epoch + 1 END), 1)::bigint * (1::bigint << 48) + xid::text::bigint
    FROM sync.database_identity d CROSS JOIN sync._system_identity() me
$$;
COMMENT ON FUNCTION sync._position(xid8) IS 'Internal: a transaction''s place in the order of reading: the epoch in front of 48 bits of its id';

CREATE FUNCTION sync._signals_landed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    me bigint := sync._position(pg_current_xact_id());
BEGIN
    IF sync._in_engine() THEN
        -- The connection is locked, so nobody else's ids of it lie between the first and the last.
        INSERT INTO sync.signal_pages (tenant_id, connection_id, landed_by, received_at, first_id, last_id)
        SELECT l.tenant_id, l.connection_id, me, l.received_at, min(l.id), max(l.id)
        FROM landed l GROUP BY l.tenant_id, l.connection_id, l.received_at ORDER BY min(l.id);
    ELSIF current_setting('row_security')::boolean THEN
        -- An application locks nothing and may choose ids: pages without holes hold nothing else. A restore, which turns
        -- row_security off, brings its pages along.
        INSERT INTO sync.signal_pages (tenant_id, connection_id, landed_by, received_at, first_id, last_id, by_hand)
        SELECT x.tenant_id, x.connection_id, me, x.received_at, min(x.id), max(x.id), true
        FROM (SELECT l.*, l.id - row_number() OVER (PARTITION BY l.tenant_id, l.connection_id, l.received_at ORDER BY l.id) AS run
              FROM landed l) x
        GROUP BY x.tenant_id, x.connection_id, x.received_at, x.run ORDER BY min(x.id);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._signals_landed() IS 'Internal: writes down which signals a statement landed';
CREATE TRIGGER signals_landed AFTER INSERT ON sync.signals
    REFERENCING NEW TABLE AS landed FOR EACH STATEMENT EXECUTE FUNCTION sync._signals_landed();

-- Says so as long as its transaction lasts: whoever lands keys then is prepared to meet the same ones.
CREATE FUNCTION sync._signals_by_hand() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(sync._by_hand_key());
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._signals_by_hand() IS 'Internal: tells landings of an application that writes signals itself';
CREATE TRIGGER signals_by_hand BEFORE INSERT ON sync.signals
    FOR EACH STATEMENT WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._signals_by_hand();

CREATE FUNCTION sync._page_earlier_signals() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    month record;
    made text;
BEGIN
    FOR month IN SELECT p.name, p.range_from FROM sync.partitions p
                 WHERE p.parent = 'signals'
                   AND NOT EXISTS (SELECT 1 FROM sync.partitions x WHERE x.parent = 'signal_pages' AND x.range_from = p.range_from)
                 ORDER BY p.range_from LOOP
        PERFORM sync._make_partition('signal_pages', (month.range_from AT TIME ZONE 'UTC')::date);
        EXECUTE format('INSERT INTO sync.signal_pages (tenant_id, connection_id, landed_by, received_at, first_id, last_id)
                        SELECT s.tenant_id, s.connection_id, 0, s.received_at, min(s.id), max(s.id)
                        FROM sync.%I s GROUP BY 1, 2, 4 ORDER BY s.received_at, min(s.id)', month.name);
        -- An update script makes its tables members of the extension; dated tables are ordinary ones.
        made := replace(month.name, 'signals', 'signal_pages');
        IF EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
                     AND d.objid = to_regclass(format('sync.%I', made))) THEN
            EXECUTE format('ALTER EXTENSION sync_engine DROP TABLE sync.%I', made);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._page_earlier_signals() IS 'Internal: pages for signals that version 0.1.0 landed, ahead of all others';

CREATE FUNCTION sync._read_cursor(cursor text, OUT landed_by bigint, OUT seq bigint, OUT id bigint)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part numeric[] := string_to_array(COALESCE(substring(cursor FROM '^s1:(-?\d{1,19}:-?\d{1,19}:-?\d{1,19})$'), '-1:-1:-1'), ':')::numeric[];
BEGIN
    IF cursor IS NOT NULL AND part[1] < 0 OR abs(part[1]) >= 2::numeric ^ 63 OR abs(part[2]) >= 2::numeric ^ 63 OR abs(part[3]) >= 2::numeric ^ 63 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('%L is not a cursor of read_signals', left(cursor, 100)),
            HINT = 'Pass the cursor of the last signal that was read, or null to read from the beginning.';
    END IF;
    landed_by := part[1];
    seq := part[2];
    id := part[3];
END
$$;
COMMENT ON FUNCTION sync._read_cursor(text) IS 'Internal: what a cursor of read_signals points to; 22023 when it is none';

CREATE TYPE sync.landed_signal AS (
    id bigint,
    tenant_id text,
    provider_slug text,
    connection_id bigint,
    kind text,
    occurred_at timestamptz,
    received_at timestamptz,
    payload jsonb,
    dedupe_key text,
    cursor text
);
COMMENT ON TYPE sync.landed_signal IS 'A signal, and the cursor by which sync.read_signals goes on after it';

CREATE FUNCTION sync.read_signals(after text DEFAULT NULL, max_rows int DEFAULT 1000, tenant_id text DEFAULT NULL, connection_id bigint DEFAULT NULL)
RETURNS SETOF sync.landed_signal
LANGUAGE plpgsql STABLE SECURITY DEFINER
ROWS 1000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_sort = off
SET max_parallel_workers_per_gather = 0
AS $$
#variable_conflict use_column
DECLARE
    horizon bigint := sync._position(pg_snapshot_xmin(pg_current_snapshot()));
    own text := sync._bound_tenant();
    at record;
BEGIN
    IF own = '' OR own <> tenant_id THEN
        RETURN;
    END IF;
    tenant_id := COALESCE(own, tenant_id);
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows must be between 1 and 100000',
            HINT = 'Call again with the cursor of the last row for more.';
    END IF;
    at := sync._read_cursor(after);
    -- Only one of the three branches runs. Nothing sorts: each page comes in the order of its ids, the pages in theirs.
    RETURN QUERY
    SELECT s.id, s.tenant_id, s.provider_slug, s.connection_id, s.kind, s.occurred_at, s.received_at, s.payload, s.dedupe_key,
           's1:' || p.landed_by || ':' || p.seq || ':' || s.id
    FROM (
        (SELECT p.* FROM sync.signal_pages p
         WHERE $3 IS NULL AND $4 IS NULL AND (p.landed_by, p.seq) >= (at.landed_by, at.seq) AND p.landed_by < horizon
         ORDER BY p.landed_by, p.seq)
        UNION ALL
        (SELECT p.* FROM sync.signal_pages p
         WHERE $4 IS NULL AND p.tenant_id = $3 AND (p.landed_by, p.seq) >= (at.landed_by, at.seq) AND p.landed_by < horizon
         ORDER BY p.landed_by, p.seq)
        UNION ALL
        (SELECT p.* FROM sync.signal_pages p
         WHERE p.connection_id = $4 AND ($3 IS NULL OR p.tenant_id = $3)
           AND (p.landed_by, p.seq) >= (at.landed_by, at.seq) AND p.landed_by < horizon
         ORDER BY p.landed_by, p.seq)
    ) p
    CROSS JOIN LATERAL (
        SELECT NOT p.by_hand AND EXISTS (
            SELECT 1 FROM sync.signal_pages h
            WHERE h.by_hand AND h.connection_id = p.connection_id AND h.received_at = p.received_at
              AND h.first_id <= p.last_id AND h.last_id >= p.first_id) AS mixed OFFSET 0) m
    CROSS JOIN LATERAL (
        SELECT s.* FROM sync.signals s
        WHERE s.tenant_id = p.tenant_id AND s.connection_id = p.connection_id AND s.received_at = p.received_at
          AND s.id >= CASE WHEN p.landed_by = at.landed_by AND p.seq = at.seq THEN at.id + 1 ELSE p.first_id END
          AND s.id <= p.last_id
        ORDER BY s.id OFFSET 0) s
    -- An application's signals that lie in a job's page have a page of their own.
    WHERE NOT (m.mixed AND EXISTS (
        SELECT 1 FROM sync.signal_pages h
        WHERE h.by_hand AND h.connection_id = p.connection_id AND h.received_at = p.received_at AND h.tenant_id = p.tenant_id
          AND s.id BETWEEN h.first_id AND h.last_id))
    LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION sync.read_signals(text, int, text, bigint) IS
    'Signals in the order in which their transactions landed them, each exactly once: those after the cursor of the row read last, from the beginning when null; of one tenant or connection, or of all';
