-- What notifications need by and by: messages of what happened, bundles, digests, and what happens by the passing of time.

-- Once a minute: jobs that could have begun long ago, of connections whose owners want to hear of it; incidents that last. Never waits.
CREATE FUNCTION sync._watch_late(as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    bound timestamptz := as_of - make_interval(secs => sync._setting('late_warning_seconds'));
    over bigint[];
    late record;
BEGIN
    -- Those that have begun and not ended yet, or are not wanted any more.
    SELECT array_agg(i.id) INTO over
    FROM (SELECT x.* FROM sync.incidents x WHERE x.resolved_at IS NULL AND x.class = 'late' ORDER BY x.connection_id LIMIT 10000 FOR UPDATE SKIP LOCKED) i
    WHERE NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j
                      WHERE j.connection_id = i.connection_id AND j.job_type = i.job_type AND j.status = 'queued'
                        AND GREATEST(j.scheduled_at, j.retry_after) <= bound);
    IF over IS NOT NULL THEN
        PERFORM sync._resolve_incidents(over, NULL, 'began', as_of);
    END IF;
    IF sync._setting('late_warning_seconds') = 0 OR NOT EXISTS (SELECT 1 FROM sync.sync_notifications n WHERE n.is_active AND n.events ? 'warning') THEN
        RETURN;
    END IF;
    -- The oldest of each lane: of more than ten thousand the others wait for these to be seen to.
    WITH oldest AS (
        SELECT x.*
        FROM sync._lanes l
        CROSS JOIN LATERAL (SELECT j.connection_id, j.job_type, j.schedule_id, j.id, GREATEST(j.scheduled_at, j.retry_after) AS due FROM ONLY sync.sync_jobs j
                            WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority
                              AND GREATEST(j.scheduled_at, j.retry_after) <= bound AND (GREATEST(j.scheduled_at, j.retry_after), j.id) > (l.from_due, l.from_id)
                            ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 10000) x
        UNION ALL
        SELECT x.*
        FROM sync._tenant_lanes l
        CROSS JOIN LATERAL (SELECT j.connection_id, j.job_type, j.schedule_id, j.id, GREATEST(j.scheduled_at, j.retry_after) AS due FROM ONLY sync.sync_jobs j
                            WHERE j.status = 'queued' AND j.own_lane AND j.provider_slug = l.slug AND j.priority = l.priority AND j.tenant_id = l.tenant_id
                              AND GREATEST(j.scheduled_at, j.retry_after) <= bound
                            ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 10000) x
        WHERE l.due <= bound
    ), picked AS MATERIALIZED (
        SELECT DISTINCT ON (c.id) o.*
        FROM oldest o
        JOIN sync.connections c ON c.id = o.connection_id AND c.status = 'active'
        JOIN sync.providers p ON p.slug = c.provider_slug AND p.status = 'active'
        CROSS JOIN LATERAL sync._listeners(c.tenant_id, c.id, o.schedule_id, '{warning}') w
        WHERE w.ids IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sync.incidents i WHERE i.connection_id = c.id AND i.class = 'late' AND i.resolved_at IS NULL)
        ORDER BY c.id, o.due
    ), locked AS (
        SELECT c.id FROM sync.connections c WHERE c.id IN (SELECT p.connection_id FROM picked p) FOR NO KEY UPDATE SKIP LOCKED
    )
    SELECT array_agg(p.connection_id) AS ids, array_agg(p.job_type) AS job_types, array_agg(p.schedule_id) AS schedule_ids, array_agg(p.id) AS job_ids,
           array_agg(jsonb_build_object('message', 'due since ' || sync._format_utc(p.due) || ', no executor has taken it')) AS errors, count(*)::int AS n
    INTO late
    FROM picked p JOIN locked k ON k.id = p.connection_id;
    IF late.n > 0 THEN
        PERFORM sync._note_incidents(late.ids, array_fill('late'::text, ARRAY[late.n]), array_fill('warning'::text, ARRAY[late.n]), late.job_types,
                                     late.schedule_ids, late.job_ids, array_fill(0, ARRAY[late.n]), late.errors, as_of);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._watch_late(timestamptz) IS 'Internal: opens and ends incidents of jobs that nobody takes';

CREATE FUNCTION sync._remind(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    due record;
BEGIN
    -- What was stopped by hand is known: its incidents keep still.
    SELECT array_agg(x.id ORDER BY x.id) FILTER (WHERE x.lasts) AS ids, array_agg(x.id) FILTER (WHERE NOT x.lasts) AS still, count(*) AS n
    INTO due
    FROM (SELECT i.id, p.status = 'active' AND (c.status IN ('active', 'error') OR c.status = 'paused' AND i.class = 'auto_paused') AS lasts
          FROM (SELECT o.* FROM sync.incidents o WHERE o.resolved_at IS NULL AND o.remind_at <= as_of
                ORDER BY o.remind_at LIMIT 1000 FOR UPDATE SKIP LOCKED) i
          JOIN sync.connections c ON c.id = i.connection_id
          JOIN sync.providers p ON p.slug = c.provider_slug) x;
    IF due.ids IS NOT NULL THEN
        PERFORM sync._tell_incidents(due.ids, 'reminder', as_of);
    END IF;
    UPDATE sync.incidents i SET remind_at = $1 + sync._reminder_gap(i.reminders) WHERE i.id = ANY (due.still);
    RETURN due.n >= 1000;
END
$$;
COMMENT ON FUNCTION sync._remind(timestamptz) IS 'Internal: tells again of incidents that last; true while there are more';

CREATE FUNCTION sync.run_notifications(as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    most int := 1000;
    more boolean := false;
    due bigint;
    watching boolean;
BEGIN
    PERFORM sync._require_time(as_of);
    IF sync._is_quiet() OR NOT EXISTS (SELECT 1 FROM sync.sync_notifications) AND NOT EXISTS (SELECT 1 FROM sync.incidents i WHERE i.resolved_at IS NULL)
       AND NOT EXISTS (SELECT 1 FROM sync.outbox) THEN
        RETURN false;
    END IF;
    -- Looked at once a minute, by one at a time; a clock that went back starts anew.
    SELECT true INTO watching FROM sync.notification_clock k
    WHERE k.watched_at IS NULL OR $1 NOT BETWEEN k.watched_at - interval '1 minute' AND k.watched_at + interval '1 minute' FOR UPDATE SKIP LOCKED;
    IF watching THEN
        UPDATE sync.notification_clock SET watched_at = $1;
        PERFORM sync._watch_late(as_of);
        IF sync._remind(as_of) THEN
            UPDATE sync.notification_clock SET watched_at = NULL;
            more := true;
        END IF;
    END IF;
    IF EXISTS (SELECT 1 FROM sync.outbox) THEN
        PERFORM sync._ensure_notices(as_of);
        more := sync._route_events(most, as_of) >= most OR more;
    END IF;
    SELECT s.notification_id INTO due FROM sync.notification_state s WHERE s.held_until <= $1 ORDER BY s.held_until LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF due IS NOT NULL THEN
        PERFORM sync._ensure_notices(as_of), sync._bundle_held(due, as_of);
        more := true;
    END IF;
    IF EXISTS (SELECT 1 FROM sync.message_queue q WHERE q.status = 'sending') THEN
        PERFORM sync._ensure_notices(as_of);
        more := sync._lose_deliveries(as_of) >= most OR more;
    END IF;
    -- One at a time: each reads the history of its period.
    SELECT s.notification_id INTO due FROM sync.notification_state s WHERE s.digest_at <= $1 ORDER BY s.digest_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF due IS NOT NULL THEN
        PERFORM sync._ensure_notices(as_of), sync._write_digest(due, as_of);
        more := true;
    END IF;
    RETURN more;
END
$$;
COMMENT ON FUNCTION sync.run_notifications(timestamptz) IS
    'A step of what notifications need: messages are made of events and bundles, digests written, late runs and lasting incidents told. To be called, a transaction each, until it returns false. Claims of deliveries and housekeeping call it';

CREATE FUNCTION sync._run_notifications_safely(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN sync.run_notifications(as_of);
EXCEPTION WHEN OTHERS THEN
    -- Neither deliveries nor housekeeping may stand still for it.
    RAISE WARNING USING MESSAGE = format('notifications cannot be worked on: %s (%s)', SQLERRM, SQLSTATE);
    RETURN false;
END
$$;
COMMENT ON FUNCTION sync._run_notifications_safely(timestamptz) IS 'Internal: run_notifications, with an error as a warning';
