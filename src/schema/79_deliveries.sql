-- Deliveries: what executors claim and complete, as they do jobs, and what became of each.

-- The lease of jobs is that of deliveries: an executor that is silent has lost what it holds. No try may take longer than five minutes.
CREATE FUNCTION sync._lose_deliveries(as_of timestamptz, incarnations text[] DEFAULT NULL) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    lease interval := make_interval(secs => sync._setting('lease_seconds'));
    lost jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object('delivery_id', q.message_id, 'claim_token', q.claim_token, 'outcome', 'lost', 'error_code', 'lost',
                                        'error', 'its executor is gone'))
    INTO lost
    -- What hangs on a setting that somebody is changing is taken back later: neither claims nor an executor that starts may wait for him.
    FROM (SELECT s.* FROM sync.message_queue s
          JOIN sync.sync_notifications n ON n.id = s.notification_id
          JOIN sync.notification_state t ON t.notification_id = n.id
          LEFT JOIN sync.executors e ON e.incarnation = s.claimed_by
          WHERE s.status = 'sending'
            AND (s.claimed_by = ANY ($2)
                 OR s.claimed_at <= $1 - lease AND (e.heartbeat_at IS NULL OR e.heartbeat_at <= $1 - lease) OR s.claimed_at <= $1 - interval '5 minutes')
          ORDER BY s.message_id LIMIT 1000 FOR UPDATE OF s, t SKIP LOCKED FOR NO KEY UPDATE OF n SKIP LOCKED) q;
    IF lost IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM sync._end_deliveries(lost, true, as_of);
    RETURN jsonb_array_length(lost);
END
$$;
COMMENT ON FUNCTION sync._lose_deliveries(timestamptz, text[]) IS 'Internal: takes back what silent executors hold, or these';

CREATE FUNCTION sync.claim_deliveries(executor text, max_deliveries int DEFAULT 1, channels text[] DEFAULT '{email,webhook}', as_of timestamptz DEFAULT now(),
    OUT delivery_id bigint, OUT claim_token uuid, OUT tenant_id text, OUT notification_id bigint, OUT channel text, OUT recipient text, OUT message_id text,
    OUT attempt int, OUT created_at timestamptz, OUT payload jsonb, OUT secrets text[], OUT unsubscribe text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    incarnation text;
    at_once int := 5;  -- at one receiver
    candidates bigint[];
BEGIN
    PERFORM sync._require_time(as_of);
    IF max_deliveries IS NULL OR max_deliveries < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_deliveries must be at least 1';
    END IF;
    incarnation := sync._incarnation(executor, as_of);
    IF incarnation IS NULL OR sync._is_quiet() THEN
        RETURN;
    END IF;
    PERFORM sync._run_notifications_safely(as_of);
    WITH RECURSIVE waiting AS (
        -- Settings for which something waits, a probe each.
        (SELECT q.notification_id FROM sync.message_queue q WHERE q.status = 'queued' ORDER BY q.notification_id LIMIT 1)
        UNION ALL
        SELECT (SELECT q.notification_id FROM sync.message_queue q WHERE q.status = 'queued' AND q.notification_id > w.notification_id
                ORDER BY q.notification_id LIMIT 1)
        FROM waiting w WHERE w.notification_id IS NOT NULL
    ), busy AS MATERIALIZED (
        SELECT q.notification_id, count(*) AS n FROM sync.message_queue q WHERE q.status = 'sending' GROUP BY 1
    )
    SELECT array_agg(x.message_id ORDER BY x.due_at, x.message_id) INTO candidates
    FROM (SELECT d.message_id, d.due_at
          FROM waiting w
          LEFT JOIN busy b ON b.notification_id = w.notification_id
          CROSS JOIN LATERAL (SELECT q.message_id, q.due_at FROM sync.message_queue q
                              WHERE q.status = 'queued' AND q.notification_id = w.notification_id AND q.due_at <= $4 AND q.channel = ANY ($3)
                              ORDER BY q.due_at, q.message_id LIMIT GREATEST(at_once - COALESCE(b.n, 0), 0)) d
          ORDER BY d.due_at, d.message_id LIMIT $2) x;
    IF candidates IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH locked AS MATERIALIZED (
        SELECT q.message_id FROM sync.message_queue q
        WHERE q.message_id = ANY (candidates) AND q.status = 'queued' AND q.due_at <= $4 ORDER BY q.message_id FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE sync.message_queue q
        SET status = 'sending', claimed_by = incarnation, claimed_at = $4, claim_token = gen_random_uuid(), attempts = q.attempts + 1, tries = q.tries + 1
        FROM locked l WHERE q.message_id = l.message_id
        RETURNING q.*
    )
    SELECT t.message_id, t.claim_token, t.tenant_id, t.notification_id, t.channel, m.recipient, m.message_key, t.attempts, m.created_at, m.payload,
           CASE t.channel WHEN 'webhook' THEN ARRAY(SELECT s.secret FROM sync.webhook_secrets s
                                                    WHERE s.notification_id = t.notification_id AND (s.expires_at IS NULL OR s.expires_at > $4)
                                                    ORDER BY s.created_at DESC LIMIT 2) END,
           CASE t.channel WHEN 'email' THEN sync._unsubscribe_token(t.notification_id, m.recipient) END
    FROM taken t
    JOIN sync.messages m ON m.id = t.message_id AND m.created_at = t.created_at
    ORDER BY t.due_at, t.message_id;
END
$$;
COMMENT ON FUNCTION sync.claim_deliveries(text, int, text[], timestamptz) IS
    'Hands messages that are due to an executor, five at most at a time for one setting; fewer rows than asked for means that no more can be had now. Makes messages of new events first';

CREATE FUNCTION sync.next_delivery_at(channels text[] DEFAULT '{email,webhook}', as_of timestamptz DEFAULT now()) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    IF sync._is_quiet() THEN
        RETURN NULL;
    END IF;
    RETURN LEAST(
        (SELECT q.due_at FROM sync.message_queue q WHERE q.status = 'queued' AND q.channel = ANY (channels) ORDER BY q.due_at LIMIT 1),
        (SELECT s.held_until FROM sync.notification_state s WHERE s.held_until IS NOT NULL ORDER BY s.held_until LIMIT 1),
        (SELECT s.digest_at FROM sync.notification_state s WHERE s.digest_at IS NOT NULL ORDER BY s.digest_at LIMIT 1),
        CASE WHEN EXISTS (SELECT 1 FROM sync.outbox) THEN as_of END);
END
$$;
COMMENT ON FUNCTION sync.next_delivery_at(text[], timestamptz) IS 'When there is something to deliver next, unless something happens before; null when nothing waits';

-- Numbers and uuids of whatever was sent, null where it is none.
CREATE FUNCTION sync._as_number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN jsonb_typeof(value) = 'number' AND abs(value::numeric) < 1e18 THEN round(value::numeric, 6) END $$;
COMMENT ON FUNCTION sync._as_number(jsonb) IS 'Internal: a JSON number of bounded size and precision, else null';

CREATE FUNCTION sync._as_id(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN x.n = trunc(x.n) THEN x.n::bigint END FROM (SELECT sync._as_number(value) AS n) x $$;
COMMENT ON FUNCTION sync._as_id(jsonb) IS 'Internal: a whole JSON number, else null';

-- Those that hold are ended: delivered, tried again by and by, or given up. What a receiver's silence means is seen to as well.
CREATE FUNCTION sync._end_deliveries(results jsonb, taken_back boolean, as_of timestamptz, OUT ord bigint, OUT delivery_id bigint, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    one record;
    ids bigint[];
    settings bigint[];
BEGIN
    PERFORM sync._ensure_notices(as_of);
    -- In the order in which everybody locks them: settings, their states, what waits.
    ids := ARRAY(SELECT sync._as_id(e.value -> 'delivery_id') FROM jsonb_array_elements($1) e);
    settings := ARRAY(SELECT DISTINCT q.notification_id FROM sync.message_queue q WHERE q.message_id = ANY (ids) AND q.status = 'sending');
    PERFORM 1 FROM sync.sync_notifications n WHERE n.id = ANY (settings) ORDER BY n.id FOR NO KEY UPDATE;
    PERFORM 1 FROM sync.notification_state s WHERE s.notification_id = ANY (settings) ORDER BY s.notification_id FOR UPDATE;
    PERFORM 1 FROM sync.message_queue q WHERE q.message_id = ANY (ids) AND q.status = 'sending' ORDER BY q.message_id FOR UPDATE;
    FOR one IN
        WITH element AS MATERIALIZED (
            SELECT e.ordinality AS ord, sync._as_id(e.value -> 'delivery_id') AS id,
                   CASE WHEN e.value ->> 'claim_token' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (e.value ->> 'claim_token')::uuid END AS token,
                   CASE WHEN e.value ->> 'outcome' IN ('delivered', 'failed', 'refused', 'gone') OR $2 AND e.value ->> 'outcome' = 'lost' THEN e.value ->> 'outcome' END AS outcome,
                   NULLIF(trunc(LEAST(GREATEST(sync._as_number(e.value -> 'status'), 0), 999)), 0)::int AS status,
                   sync._as_number(e.value -> 'duration_ms')::float8 AS duration_ms, "left"(e.value ->> 'error', 2000) AS error,
                   "left"(e.value ->> 'error_code', 100) AS error_code, sync._as_number(e.value -> 'retry_after_seconds')::float8 AS hint,
                   "left"(e.value ->> 'reply', 1024) AS reply
            FROM jsonb_array_elements($1) WITH ORDINALITY e
        ), held AS MATERIALIZED (
            SELECT DISTINCT ON (q.message_id) x.*, q.tenant_id, q.notification_id, q.channel, q.attempts, q.created_at, q.claimed_by, q.claimed_at, w.wanted,
                   CASE WHEN x.outcome IN ('failed', 'lost') AND w.wanted THEN sync._delivery_wait(q.tries, x.hint) END AS wait
            FROM element x JOIN sync.message_queue q ON q.message_id = x.id AND q.claim_token = x.token AND q.status = 'sending'
            -- While it was being sent its setting may have been switched off or given another receiver: then it is not tried again.
            CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM sync.sync_notifications n
                                               JOIN sync.messages m ON m.id = q.message_id AND m.created_at = q.created_at
                                               WHERE n.id = q.notification_id AND n.is_active AND n.disabled_at IS NULL AND sync._is_recipient(n, m.recipient))
                                       AS wanted) w
            WHERE x.outcome IS NOT NULL
            ORDER BY q.message_id, x.ord
        ), again AS (
            UPDATE sync.message_queue q
            SET status = 'queued', due_at = $3 + make_interval(secs => h.wait), claimed_by = NULL, claimed_at = NULL, claim_token = NULL
            FROM held h WHERE q.message_id = h.id AND h.wait IS NOT NULL
        ), over AS (
            DELETE FROM sync.message_queue q USING held h WHERE q.message_id = h.id AND h.wait IS NULL
        ), recorded AS (
            INSERT INTO sync.delivery_attempts (message_id, tenant_id, notification_id, attempt, outcome, final, claimed_by, claim_token, started_at, finished_at,
                duration_ms, reply_status, error_code, error, reply, next_attempt_at)
            SELECT h.id, h.tenant_id, h.notification_id, h.attempts, h.outcome, h.wait IS NULL, h.claimed_by, h.token, h.claimed_at, $3, h.duration_ms,
                   h.status, h.error_code, h.error, h.reply, $3 + make_interval(secs => h.wait)
            FROM held h ORDER BY h.id
        ), stated AS (
            UPDATE sync.notification_state s
            SET last_success_at = GREATEST(s.last_success_at, g.succeeded_at), last_failure_at = GREATEST(s.last_failure_at, g.failed_at),
                last_error = COALESCE(g.error, s.last_error), dead_in_a_row = CASE WHEN g.succeeded_at IS NULL THEN s.dead_in_a_row + g.dead ELSE 0 END
            FROM (SELECT h.notification_id, max($3) FILTER (WHERE h.outcome = 'delivered') AS succeeded_at, max($3) FILTER (WHERE h.outcome <> 'delivered') AS failed_at,
                         max(COALESCE(h.error_code, h.outcome) || COALESCE(' ' || h.status, '')) FILTER (WHERE h.outcome <> 'delivered') AS error,
                         count(*) FILTER (WHERE h.outcome <> 'delivered' AND h.wait IS NULL AND h.wanted)::int AS dead
                  FROM held h GROUP BY 1) g
            WHERE s.notification_id = g.notification_id
        ), counted AS (
            SELECT count(sync._metric_add('sync_notifications_total', g.channel, g.outcome, g.n)) AS n
            FROM (SELECT h.channel, h.outcome, count(*) AS n FROM held h GROUP BY 1, 2) g
        ), told AS (
            SELECT count(sync._metric_observe('sync_webhook_delivery_duration_seconds', '', h.duration_ms / 1000)) AS n
            FROM held h WHERE h.channel = 'webhook' AND h.duration_ms IS NOT NULL
        )
        SELECT x.ord, x.id, h.id IS NOT NULL AS held, h.notification_id, h.created_at, h.outcome, h.wait, h.wanted, h.error_code, h.status,
               CASE WHEN h.id IS NOT NULL THEN CASE WHEN h.outcome = 'delivered' THEN 'delivered' WHEN h.wait IS NULL THEN 'failed' ELSE 'retried' END
                    WHEN x.id IS NULL OR x.token IS NULL OR x.outcome IS NULL THEN 'rejected'
                    WHEN EXISTS (SELECT 1 FROM sync.delivery_attempts a WHERE a.message_id = x.id AND a.claim_token = x.token) THEN 'repeated'
                    WHEN EXISTS (SELECT 1 FROM held d WHERE d.id = x.id AND d.token = x.token) THEN 'repeated'
                    ELSE 'stale' END AS verdict,
               CASE WHEN x.id IS NULL THEN 'delivery_id is not an id' WHEN x.token IS NULL THEN 'claim_token is not a uuid'
                    WHEN x.outcome IS NULL THEN 'outcome is not delivered, failed, refused or gone' END AS fault
        FROM element x
        CROSS JOIN counted CROSS JOIN told
        LEFT JOIN held h ON h.ord = x.ord
        WHERE counted.n >= 0 AND told.n >= 0
        ORDER BY x.ord
    LOOP
        IF one.held AND (one.wanted OR one.outcome = 'delivered') THEN
            PERFORM sync._receiver_answered(one.notification_id, one.id, one.created_at, one.outcome, one.wait IS NULL,
                                            COALESCE(one.error_code, one.outcome) || COALESCE(' ' || one.status, ''), as_of);
        END IF;
        ord := one.ord;
        delivery_id := one.id;
        outcome := one.verdict;
        detail := one.fault;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._end_deliveries(jsonb, boolean, timestamptz) IS 'Internal: what complete_deliveries does with its elements';

CREATE FUNCTION sync._receiver_answered(notification_id bigint, message_id bigint, message_created_at timestamptz, outcome text, final boolean, fault text,
    as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    n sync.sync_notifications;
    s sync.notification_state;
BEGIN
    IF outcome = 'delivered' THEN
        -- The URL that has answered must be the one that is meant.
        UPDATE sync.sync_notifications x SET verified_at = as_of
        FROM sync.messages m
        WHERE x.id = notification_id AND x.verified_at IS NULL AND m.id = message_id AND m.created_at = message_created_at AND m.recipient = x.config ->> 'url';
        RETURN;
    ELSIF NOT final THEN
        RETURN;
    END IF;
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = notification_id FOR NO KEY UPDATE;
    SELECT x.* INTO s FROM sync.notification_state x WHERE x.notification_id = n.id;
    -- Gone, or silent for the three days that the tries take, or it refuses one message after the other.
    IF n.id IS NOT NULL AND n.disabled_at IS NULL
       AND (outcome = 'gone' OR outcome IN ('failed', 'lost') AND (s.last_success_at >= message_created_at) IS NOT TRUE OR s.dead_in_a_row >= 10) THEN
        PERFORM sync._disable_notification(n, fault, as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._receiver_answered(bigint, bigint, timestamptz, text, boolean, text, timestamptz) IS
    'Internal: verifies a setting whose receiver has answered, disables one whose receiver is gone';

CREATE FUNCTION sync._disable_notification(n sync.sync_notifications, reason text, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
BEGIN
    UPDATE sync.sync_notifications x SET disabled_at = as_of, disabled_reason = reason, updated_at = as_of WHERE x.id = n.id;
    DELETE FROM sync.message_queue q WHERE q.notification_id = n.id AND q.status = 'queued';
    DELETE FROM sync.held_events h WHERE h.notification_id = n.id;
    UPDATE sync.notification_state s SET held_until = NULL WHERE s.notification_id = n.id;
    -- By another channel: whoever wants to hear of trouble in the same place or all over.
    INSERT INTO sync.outbox (tenant_id, event, type, reason, connection_id, schedule_id, occurred_at, data, targets)
    SELECT n.tenant_id, 'warning', 'notification.disabled', n.notification_type || '_disabled', n.connection_id, n.schedule_id, as_of,
           jsonb_build_object(
               'title', format('Notifications by %s were disabled: %s', n.notification_type, COALESCE(sync._one_line(n.name), 'setting ' || n.id)),
               'summary', format('The receiver does not take them any more (%s). SELECT sync.test_notification(%s) tries again.', reason, n.id)),
           t.ids
    FROM (SELECT array_agg(x.id ORDER BY x.id) AS ids FROM sync.sync_notifications x
          WHERE x.tenant_id = n.tenant_id AND x.id <> n.id AND x.is_active AND x.verified_at IS NOT NULL AND x.disabled_at IS NULL
            AND x.events ?| '{warning,failure}' AND (x.connection_id IS NULL OR n.connection_id IS NULL OR x.connection_id = n.connection_id)) t
    WHERE t.ids IS NOT NULL;
    PERFORM sync._log('log', format('sync_engine: notification %s of type %s was disabled: %s', n.id, n.notification_type, reason));
END
$$;
COMMENT ON FUNCTION sync._disable_notification(sync.sync_notifications, text, timestamptz) IS
    'Internal: nothing is sent to a receiver that is gone, and other settings of the tenant tell of it';

CREATE FUNCTION sync.complete_deliveries(results jsonb, as_of timestamptz DEFAULT now(), OUT delivery_id bigint, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM sync._require_time(as_of);
    IF jsonb_typeof(results) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'results must be a JSON array',
            HINT = 'Its elements are {"delivery_id", "claim_token", "outcome": "delivered"|"failed"|"refused"|"gone", "status", "duration_ms", "error", "error_code", "retry_after_seconds", "reply"}.';
    END IF;
    RETURN QUERY SELECT e.delivery_id, e.outcome, e.detail FROM sync._end_deliveries(results, false, as_of) e ORDER BY e.ord;
END
$$;
COMMENT ON FUNCTION sync.complete_deliveries(jsonb, timestamptz) IS
    'Tells how tries to deliver ended. Outcomes: delivered, retried, failed (given up), repeated, stale, rejected';

CREATE FUNCTION sync.release_deliveries(executor text, delivery_ids bigint[], claim_tokens uuid[], as_of timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    released int;
BEGIN
    PERFORM sync._require_time(as_of);
    IF cardinality(delivery_ids) IS DISTINCT FROM cardinality(claim_tokens) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'delivery_ids and claim_tokens must be of the same length';
    END IF;
    WITH held AS MATERIALIZED (
        SELECT q.message_id FROM sync.message_queue q JOIN unnest($2, $3) u (id, token) ON q.message_id = u.id AND q.claim_token = u.token
        WHERE q.status = 'sending' ORDER BY q.message_id FOR UPDATE OF q
    )
    UPDATE sync.message_queue q
    SET status = 'queued', claimed_by = NULL, claimed_at = NULL, claim_token = NULL, attempts = q.attempts - 1, tries = q.tries - 1
    FROM held h WHERE q.message_id = h.message_id;
    GET DIAGNOSTICS released = ROW_COUNT;
    IF released > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    RETURN released;
END
$$;
COMMENT ON FUNCTION sync.release_deliveries(text, bigint[], uuid[], timestamptz) IS 'Gives claimed deliveries back at no cost of a try; stale tokens are passed by. Returns how many were released';

CREATE FUNCTION sync._replay(message_ids bigint[], as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    replayed int;
BEGIN
    PERFORM 1 FROM sync.sync_notifications n WHERE n.id IN (SELECT m.notification_id FROM sync.messages m WHERE m.id = ANY ($1)) ORDER BY n.id FOR SHARE;
    INSERT INTO sync.message_queue AS q (message_id, created_at, tenant_id, notification_id, channel, due_at, attempts)
    SELECT m.id, m.created_at, m.tenant_id, m.notification_id, m.channel, $2,
           COALESCE((SELECT max(a.attempt) FROM sync.delivery_attempts a WHERE a.message_id = m.id), 0)
    FROM sync.messages m
    JOIN sync.sync_notifications n ON n.id = m.notification_id AND n.is_active AND n.disabled_at IS NULL AND (n.verified_at IS NOT NULL OR m.event_type = 'test')
    WHERE m.id = ANY ($1) AND sync._is_recipient(n, m.recipient)
    ORDER BY m.id
    ON CONFLICT (message_id) DO UPDATE SET due_at = LEAST(q.due_at, EXCLUDED.due_at) WHERE q.status = 'queued';
    GET DIAGNOSTICS replayed = ROW_COUNT;
    PERFORM sync._wake_executors();
    RETURN replayed;
END
$$;
COMMENT ON FUNCTION sync._replay(bigint[], timestamptz) IS 'Internal: queues messages anew; returns how many';

CREATE FUNCTION sync.replay_delivery(delivery_id bigint, as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    m sync.messages;
    n sync.sync_notifications;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT x.* INTO m FROM sync.messages x WHERE x.id = delivery_id AND sync._sees_tenant(x.tenant_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('delivery %s does not exist', delivery_id),
            HINT = 'They are kept for sync_engine.notification_retention_days.';
    END IF;
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = m.notification_id;
    IF n.id IS NULL OR NOT n.is_active OR n.disabled_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('notification %s %s', m.notification_id, CASE WHEN n.id IS NULL THEN 'does not exist any more' WHEN NOT n.is_active THEN 'is not active'
                                                                           ELSE 'was disabled: ' || n.disabled_reason END),
            HINT = CASE WHEN n.disabled_at IS NOT NULL THEN format('SELECT sync.test_notification(%s) takes it up again.', n.id)
                        ELSE 'What waits and what is replayed is sent by active settings alone.' END;
    END IF;
    IF NOT sync._is_recipient(n, m.recipient) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('notification %s does not go to that receiver any more', n.id);
    ELSIF n.verified_at IS NULL AND m.event_type <> 'test' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('the webhook of notification %s has not answered a test yet', n.id),
            HINT = format('SELECT sync.test_notification(%s)', n.id);
    END IF;
    PERFORM sync._audit('notification.replay', m.tenant_id, 'notification', m.notification_id::text, NULL, jsonb_build_object('delivery_id', m.id));
    RETURN sync._replay(ARRAY[m.id], as_of) > 0;
END
$$;
COMMENT ON FUNCTION sync.replay_delivery(bigint, timestamptz) IS
    'Sends a message once more, under the id that its receiver knows; one that waits for its next try is sent at once. False while it is being sent';

CREATE FUNCTION sync.replay_delivery(created tstzrange, notification_id bigint DEFAULT NULL, only_failed boolean DEFAULT true, as_of timestamptz DEFAULT now())
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    replayed int;
BEGIN
    PERFORM sync._require_time(as_of);
    replayed := sync._replay(ARRAY(
        SELECT m.id FROM sync.messages m
        WHERE m.created_at >= COALESCE(lower($1), '-infinity') AND m.created_at <= COALESCE(upper($1), 'infinity') AND m.created_at <@ $1
          AND ($2 IS NULL OR m.notification_id = $2) AND sync._sees_tenant(m.tenant_id)
          AND (NOT $3 OR NOT EXISTS (SELECT 1 FROM sync.delivery_attempts a WHERE a.message_id = m.id AND a.outcome = 'delivered'))
        ORDER BY m.id), as_of);
    PERFORM sync._audit('notification.replay', sync._bound_tenant(), 'notification', COALESCE(notification_id::text, '*'), NULL,
                        jsonb_build_object('created', $1, 'only_failed', $3, 'deliveries', replayed));
    RETURN replayed;
END
$$;
COMMENT ON FUNCTION sync.replay_delivery(tstzrange, bigint, boolean, timestamptz) IS
    'Sends once more what was made in that range of time, of one setting or all; unless only_failed is false, what has not arrived. Returns how many';

CREATE VIEW sync.deliveries WITH (security_barrier) AS
SELECT m.id AS delivery_id, m.message_key AS message_id, m.tenant_id, m.notification_id, m.channel, m.recipient, m.event_type, m.event_ids,
       CASE WHEN q.message_id IS NOT NULL THEN q.status
            WHEN done.outcome = 'delivered' THEN 'delivered' WHEN done.outcome IS NOT NULL THEN 'failed' ELSE 'cancelled' END AS status,
       a.attempt, a.started_at AS attempted_at, a.finished_at, a.duration_ms, a.outcome, a.reply_status, a.error_code, a.error, a.reply,
       q.due_at AS next_attempt_at, m.created_at
FROM sync.messages m
LEFT JOIN sync.message_queue q ON q.message_id = m.id
LEFT JOIN LATERAL (SELECT x.outcome FROM sync.delivery_attempts x WHERE x.message_id = m.id ORDER BY x.outcome = 'delivered' DESC, x.id DESC LIMIT 1) done ON true
LEFT JOIN sync.delivery_attempts a ON a.message_id = m.id
WHERE sync._sees_tenant(m.tenant_id);
COMMENT ON VIEW sync.deliveries IS
    'What became of messages by e-mail and webhook: one row for each try, and one for what was not tried yet. status is the message''s: queued, sending, delivered, failed, or cancelled with its setting';
