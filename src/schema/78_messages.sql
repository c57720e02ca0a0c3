-- What messages say, and how events become messages: once, in the transaction that takes them out of the outbox.

CREATE FUNCTION sync._link(kind text, id bigint) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT NULLIF(current_setting('sync_engine.link_base', true), '') || '/' || kind || '/' || id $$;
COMMENT ON FUNCTION sync._link(text, bigint) IS 'Internal: where an object is shown, below sync_engine.link_base; null without that';

CREATE FUNCTION sync._payload(type text, at timestamptz, data jsonb, n sync.sync_notifications) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('type', type, 'timestamp', sync._format_utc(at), 'data', data
        || jsonb_build_object('notification', jsonb_build_object('id', n.id, 'name', sync._one_line(n.name, 80)))
        || CASE WHEN sync._link('notifications', n.id) IS NULL THEN '{}'
                ELSE jsonb_build_object('links', COALESCE(data -> 'links', '{}') || jsonb_build_object('settings', sync._link('notifications', n.id))) END)
$$;
COMMENT ON FUNCTION sync._payload(text, timestamptz, jsonb, sync.sync_notifications) IS 'Internal: a message to one setting';

CREATE FUNCTION sync._connection_name(c sync.connections) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT COALESCE(sync._one_line(COALESCE(NULLIF(c.name, ''), c.external_id), 80), 'a connection') $$;
COMMENT ON FUNCTION sync._connection_name(sync.connections) IS 'Internal: what people call a connection';

CREATE FUNCTION sync._connection_brief(c sync.connections) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN c.id IS NOT NULL THEN jsonb_build_object('id', c.id, 'name', sync._connection_name(c), 'external_id', "left"(c.external_id, 200),
                                                              'provider', c.provider_slug) END
$$;
COMMENT ON FUNCTION sync._connection_brief(sync.connections) IS 'Internal: a connection as messages name it';

-- A run with its pages, as far as history has it. The last attempt says what is asked about it.
CREATE FUNCTION sync._run_brief(tenant_id text, connection_id bigint, job_id bigint, as_of timestamptz, OUT run jsonb, OUT counts jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    last sync.sync_executions;
    pages record;
BEGIN
    SELECT e.* INTO last FROM sync.sync_executions e
    WHERE e.tenant_id = $1 AND e.connection_id = $2 AND e.job_id = $3 AND e.finished_at BETWEEN $4 - interval '8 days' AND $4
    ORDER BY e.id DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT min(e.started_at) AS started_at, sum(e.duration_ms) AS duration_ms, max(e.page) AS pages,
           sum(COALESCE(sync._count_in(e.stats, 'records'), e.signals_received)) AS processed,
           sum(COALESCE(sync._count_in(e.stats, 'created'), e.signals_inserted)) AS created,
           sum(sync._count_in(e.stats, 'updated')) AS updated, sum(COALESCE(sync._count_in(e.stats, 'skipped'), e.signals_duplicate)) AS skipped,
           sum(sync._count_in(e.stats, 'bytes')) AS bytes
    INTO pages
    FROM sync.sync_executions e
    WHERE e.tenant_id = $1 AND e.connection_id = $2 AND e.run_id = last.run_id AND e.finished_at BETWEEN last.finished_at - interval '2 days' AND last.finished_at;
    run := jsonb_strip_nulls(jsonb_build_object('id', last.run_id, 'job_id', last.job_id, 'job_type', last.job_type, 'trigger', last.trigger_type,
        'attempt', last.attempt, 'pages', pages.pages, 'planned_at', sync._format_utc(last.planned_at), 'scheduled_at', sync._format_utc(last.scheduled_at),
        'started_at', sync._format_utc(pages.started_at), 'finished_at', sync._format_utc(last.finished_at), 'duration_ms', round(pages.duration_ms::numeric)));
    counts := jsonb_strip_nulls(jsonb_build_object('processed', pages.processed, 'created', pages.created, 'updated', pages.updated,
                                                   'skipped', pages.skipped, 'bytes', pages.bytes));
END
$$;
COMMENT ON FUNCTION sync._run_brief(text, bigint, bigint, timestamptz) IS 'Internal: the run that a job belonged to, and what it brought, as messages tell of them';

CREATE FUNCTION sync._event_title(o sync.outbox, name text, counts jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN o.reason = 'reminder' THEN 'Reminder: ' ELSE '' END
           || sync._one_line(COALESCE(CASE o.type
                  WHEN 'sync.succeeded' THEN concat_ws(': ', name || ' succeeded', sync._tally((counts ->> 'created')::bigint, (counts ->> 'created')::bigint, 'new record'))
                  WHEN 'sync.failed' THEN name || ' failed: ' || message
                  WHEN 'sync.retrying' THEN format('%s has failed %s and is retried: %s', name,
                                                       sync._tally(sync._count_in(o.data -> 'error', 'attempts'), sync._count_in(o.data -> 'error', 'attempts'), 'time'), message)
                  WHEN 'sync.rate_limited' THEN name || ' is rate limited' || COALESCE(' until ' || (o.data #>> '{error,retry_at}'), '')
                  WHEN 'sync.no_records' THEN name || ' brings no records any more'
                  WHEN 'sync.late' THEN name || ' is late: ' || message
                  WHEN 'sync.missed' THEN name || ': ' || message
                  WHEN 'connection.auto_paused' THEN name || ' was ' || message
                  WHEN 'sync.recovered' THEN format('%s has recovered after %s', name, sync._span(o.occurred_at - sync.parse_utc(o.data #>> '{incident,opened_at}')))
                  ELSE o.data ->> 'title' END, name || ': ' || o.type))
    FROM (SELECT COALESCE(o.data #>> '{error,message}', 'no reason was given') AS message) m
$$;
COMMENT ON FUNCTION sync._event_title(sync.outbox, text, jsonb) IS 'Internal: what happened, in a line';

CREATE FUNCTION sync._event_summary(o sync.outbox, retry_at text, next_run_at timestamptz) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat_ws(' ',
        CASE o.type
            WHEN 'sync.succeeded' THEN 'The run ended without an error.'
            WHEN 'sync.failed' THEN CASE o.data #>> '{error,class}' WHEN 'unauthorized' THEN 'The credentials were refused: the connection is stopped until they are renewed and it is resumed.'
                                                                    ELSE 'The run failed for good.' END
            WHEN 'sync.retrying' THEN 'The run is tried again' || COALESCE(' at ' || retry_at, '') || '.'
            WHEN 'sync.rate_limited' THEN 'The remote system has told the connection to slow down, for longer than usual. Nothing is lost: it goes on by itself.'
            WHEN 'sync.no_records' THEN sync._one_line(o.data #>> '{error,message}', 300) || '.'
            WHEN 'sync.late' THEN 'It goes on by itself when its turn comes; sync.explain says what it waits for.'
            WHEN 'sync.missed' THEN 'The settings of the schedule say that these runs are not caught up with.'
            WHEN 'connection.auto_paused' THEN 'It runs again when somebody resumes it.'
            WHEN 'sync.recovered' THEN 'What was wrong: ' || COALESCE(sync._one_line(o.data #>> '{error,message}', 300), o.data #>> '{incident,class}') || '.'
            ELSE o.data ->> 'summary'
        END,
        CASE WHEN o.reason = 'reminder' THEN format('This lasts since %s and was seen %s.', o.data #>> '{incident,opened_at}',
                                                         sync._tally(sync._count_in(o.data -> 'incident', 'occurrences'), sync._count_in(o.data -> 'incident', 'occurrences'), 'time')) END,
        CASE WHEN o.type IN ('sync.succeeded', 'sync.failed', 'sync.recovered', 'sync.missed') THEN 'The next run is planned for ' || sync._format_utc(next_run_at) || '.' END)
$$;
COMMENT ON FUNCTION sync._event_summary(sync.outbox, text, timestamptz) IS 'Internal: what it means, in a sentence or two';

CREATE FUNCTION sync._event_data(o sync.outbox) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c sync.connections;
    s sync.sync_schedules;
    told record;
    next_run_at timestamptz;
    links jsonb;
BEGIN
    IF o.event IN ('digest', 'test') THEN
        RETURN o.data || jsonb_build_object('event_id', o.id, 'tenant', o.tenant_id);
    END IF;
    SELECT x.* INTO c FROM sync.connections x WHERE x.id = o.connection_id;
    SELECT x.* INTO s FROM sync.sync_schedules x WHERE x.id = o.schedule_id;
    SELECT r.run, r.counts INTO told FROM sync._run_brief(o.tenant_id, o.connection_id, o.job_id, o.occurred_at) r;
    IF c.status = 'active' THEN
        next_run_at := CASE WHEN c.has_schedules THEN (SELECT min(sync._next_run_at(x, t)) FROM sync.schedule_state t JOIN sync.sync_schedules x ON x.id = t.schedule_id
                                                       WHERE t.connection_id = c.id)
                            ELSE sync.parse_utc(c.metadata #>> '{sync,next_run_at}') END;
    END IF;
    links := jsonb_strip_nulls(jsonb_build_object('connection', sync._link('connections', c.id), 'schedule', sync._link('schedules', s.id),
                                                  'run', sync._link('runs', (told.run ->> 'id')::bigint)));
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'title', sync._event_title(o, sync._connection_name(c), COALESCE(told.counts, '{}')),
        'summary', sync._event_summary(o, o.data #>> '{error,retry_at}', next_run_at),
        'event_id', o.id, 'tenant', o.tenant_id, 'reason', o.reason,
        'connection', sync._connection_brief(c),
        'schedule', CASE WHEN s.id IS NOT NULL THEN jsonb_build_object('id', s.id, 'name', sync._one_line(s.name, 80)) END,
        'run', told.run, 'counts', told.counts, 'error', NULLIF(o.data -> 'error', '{}'), 'incident', o.data -> 'incident',
        'next_run_at', sync._format_utc(next_run_at), 'links', NULLIF(links, '{}')));
END
$$;
COMMENT ON FUNCTION sync._event_data(sync.outbox) IS 'Internal: what messages tell of an event';

-- One event of which nothing can be told must not keep all others waiting.
CREATE FUNCTION sync._event_data_safely(o sync.outbox) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN sync._event_data(o);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = format('event %s cannot be told in full: %s (%s)', o.id, SQLERRM, SQLSTATE);
    RETURN jsonb_build_object('title', o.type, 'summary', 'More cannot be told of it; the log of the database server says why.', 'event_id', o.id, 'tenant', o.tenant_id);
END
$$;
COMMENT ON FUNCTION sync._event_data_safely(sync.outbox) IS 'Internal: _event_data, or little where that raises';

CREATE FUNCTION sync._severity(event text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE event WHEN 'failure' THEN 'failure' WHEN 'warning' THEN 'warning' ELSE 'info' END $$;
COMMENT ON FUNCTION sync._severity(text) IS 'Internal: how an event is shown in an inbox';

-- notices: [{"n": notification, "type", "event_ids", "severity", "payload"}, ...]. Each recipient has a message of its own; in-app there is
-- nothing to deliver.
CREATE FUNCTION sync._make_messages(notices jsonb, as_of timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    first_id bigint;
BEGIN
    WITH notice AS MATERIALIZED (
        SELECT x.ordinality AS ord, x.type, x.event_ids, x.severity, x.payload, n.id AS notification_id, n.tenant_id, n.notification_type AS channel, r.recipient
        FROM ROWS FROM (jsonb_to_recordset($1) AS (n bigint, type text, event_ids bigint[], severity text, payload jsonb)) WITH ORDINALITY x
        JOIN sync.sync_notifications n ON n.id = x.n
        CROSS JOIN LATERAL (SELECT jsonb_array_elements_text(n.config -> CASE n.notification_type WHEN 'email' THEN 'to' ELSE 'users' END) AS recipient
                            WHERE n.notification_type <> 'webhook'
                            UNION ALL
                            SELECT n.config ->> 'url' WHERE n.notification_type = 'webhook') r
    ), made AS (
        INSERT INTO sync.messages (tenant_id, notification_id, channel, recipient, event_type, event_ids, payload, created_at)
        SELECT m.tenant_id, m.notification_id, m.channel, m.recipient, m.type, m.event_ids, m.payload, $2
        FROM notice m WHERE m.channel <> 'in_app'
        ORDER BY m.ord, m.recipient
        RETURNING id, tenant_id, notification_id, channel
    ), queued AS (
        INSERT INTO sync.message_queue (message_id, created_at, tenant_id, notification_id, channel, due_at)
        SELECT m.id, $2, m.tenant_id, m.notification_id, m.channel, $2 FROM made m
    ), shown AS (
        INSERT INTO sync.inbox (tenant_id, user_id, notification_id, event_type, event_ids, severity, title, body, data, created_at)
        SELECT m.tenant_id, m.recipient, m.notification_id, m.type, m.event_ids, m.severity, m.payload #>> '{data,title}',
               COALESCE(m.payload #>> '{data,summary}', ''), (m.payload -> 'data') - '{title,summary}'::text[], $2
        FROM notice m WHERE m.channel = 'in_app'
        ORDER BY m.ord, m.recipient
        RETURNING id, tenant_id
    )
    SELECT COALESCE((SELECT min(m.id) FROM made m), (SELECT min(s.id) FROM shown s)) INTO first_id
    FROM (SELECT count(sync._metric_add('sync_notifications_total', 'in_app', 'delivered', 1)) AS n,
                 count(sync._note_change('notification', s.tenant_id, NULL, s.id)) AS noted FROM shown s) told WHERE told.n >= 0 AND told.noted >= 0;
    PERFORM sync._wake_executors();
    RETURN first_id;
END
$$;
COMMENT ON FUNCTION sync._make_messages(jsonb, timestamptz) IS 'Internal: makes the messages of notices, a row each in messages and its queue, or in inboxes; returns the first';

-- Takes events out of the outbox. Of e-mail and in-app settings only so many go out one by one in a window: the rest is held back and told in
-- one message when the window ends.
CREATE FUNCTION sync._route_events(most int, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    events sync.outbox[];
    free bigint[];
    window_length interval := make_interval(secs => sync._setting('notification_window_seconds'));
    burst int := sync._setting('notification_burst');
    notices jsonb;
BEGIN
    -- Locked, so that two routers do not both fill a window, and never waited for: claims route, and whoever is changing a setting, or does not
    -- end his transaction, must not keep everybody's messages waiting. What he is told of is left for later.
    free := ARRAY(SELECT s.notification_id
                  FROM sync.notification_state s JOIN sync.sync_notifications n ON n.id = s.notification_id
                  WHERE s.notification_id IN (SELECT x FROM (SELECT o.targets FROM sync.outbox o ORDER BY o.id LIMIT 10 * most) e CROSS JOIN LATERAL unnest(e.targets) x)
                  FOR UPDATE OF s SKIP LOCKED FOR KEY SHARE OF n SKIP LOCKED);
    WITH taken AS (
        DELETE FROM sync.outbox o
        WHERE o.id IN (SELECT x.id FROM sync.outbox x
                       WHERE NOT EXISTS (SELECT 1 FROM unnest(x.targets) t (id) JOIN sync.notification_state s ON s.notification_id = t.id WHERE t.id <> ALL (free))
                       ORDER BY x.id LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING o
    )
    SELECT array_agg(t.o ORDER BY (t.o).id) INTO events FROM taken t;
    IF events IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE sync.notification_state s SET window_from = $2, window_sent = 0
    WHERE s.notification_id IN (SELECT x FROM unnest(events) e CROSS JOIN LATERAL unnest(e.targets) x)
      AND s.held_until IS NULL AND (s.window_from IS NULL OR s.window_from + window_length <= $2 OR s.window_from > $2);
    WITH wanted AS MATERIALIZED (
        SELECT e.ord, e.id, e.event, e.type, e.occurred_at, e.connection_id, e.data, n.id AS notification_id,
               w.unbounded, CASE WHEN s.held_until IS NULL THEN burst - s.window_sent ELSE 0 END AS room, row_number() OVER (PARTITION BY n.id, w.unbounded ORDER BY e.id) AS nth
        FROM unnest(events) WITH ORDINALITY e (id, tenant_id, event, type, reason, connection_id, schedule_id, job_id, incident_id, occurred_at, data, targets, ord)
        CROSS JOIN LATERAL unnest(e.targets) t (id)
        JOIN sync.sync_notifications n ON n.id = t.id AND n.tenant_id = e.tenant_id
        JOIN sync.notification_state s ON s.notification_id = n.id
        CROSS JOIN LATERAL (SELECT n.notification_type = 'webhook' OR e.event IN ('digest', 'test') AS unbounded) w
        WHERE n.is_active AND n.disabled_at IS NULL
    ), held AS (
        -- Of those that are told together a line is enough, and of more than the fifty first that a bundle names not even that.
        INSERT INTO sync.held_events (notification_id, event_id, type, occurred_at, brief)
        SELECT w.notification_id, w.id, w.type, w.occurred_at,
               jsonb_strip_nulls(CASE WHEN w.nth - GREATEST(w.room, 0) <= 50
                                      THEN jsonb_build_object('title', sync._event_title(events[w.ord], sync._connection_name(c), NULL),
                                                              'connection', sync._connection_brief(c), 'class', w.data #> '{error,class}')
                                      ELSE jsonb_build_object('connection', jsonb_build_object('provider', c.provider_slug), 'class', w.data #> '{error,class}') END)
        FROM wanted w LEFT JOIN sync.connections c ON c.id = w.connection_id
        WHERE NOT w.unbounded AND w.nth > w.room
        ORDER BY w.notification_id, w.id
    ), counted AS (
        UPDATE sync.notification_state s
        SET window_sent = LEAST(s.window_sent + g.n, burst), held_until = COALESCE(s.held_until, CASE WHEN g.n > g.room THEN s.window_from + window_length END)
        FROM (SELECT w.notification_id, max(w.nth)::int AS n, min(w.room) AS room FROM wanted w WHERE NOT w.unbounded GROUP BY 1) g
        WHERE s.notification_id = g.notification_id
    ), told AS MATERIALIZED (
        SELECT w.* FROM wanted w WHERE w.unbounded OR w.nth <= w.room
    ), detail AS MATERIALIZED (
        SELECT d.ord, sync._event_data_safely(events[d.ord]) AS data FROM (SELECT DISTINCT t.ord FROM told t) d
    )
    SELECT jsonb_agg(jsonb_build_object('n', t.notification_id, 'type', t.type, 'event_ids', jsonb_build_array(t.id), 'severity', sync._severity(t.event),
                                        'payload', sync._payload(t.type, t.occurred_at, d.data, n)) ORDER BY t.id, t.notification_id)
    INTO notices
    FROM told t JOIN detail d ON d.ord = t.ord JOIN sync.sync_notifications n ON n.id = t.notification_id;
    IF notices IS NOT NULL THEN
        PERFORM sync._make_messages(notices, as_of);
    END IF;
    RETURN cardinality(events);
END
$$;
COMMENT ON FUNCTION sync._route_events(int, timestamptz) IS 'Internal: makes messages of events; returns of how many';

CREATE FUNCTION sync._bundle_held(notification_id bigint, as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    n sync.sync_notifications;
    told record;
BEGIN
    SELECT x.* INTO n FROM sync.sync_notifications x WHERE x.id = $1;
    WITH taken AS (
        DELETE FROM sync.held_events h WHERE h.notification_id = $1 RETURNING h.*
    ), kinds AS (
        SELECT t.type, t.brief #>> '{connection,provider}' AS provider, t.brief ->> 'class' AS class, count(*) AS n FROM taken t GROUP BY 1, 2, 3
    )
    SELECT (SELECT count(*) FROM taken) AS n, (SELECT min(t.occurred_at) FROM taken t) AS since, (SELECT max(t.occurred_at) FROM taken t) AS until,
           (SELECT array_agg(t.event_id ORDER BY t.event_id) FROM taken t) AS event_ids,
           (SELECT bool_or(t.type = 'sync.failed') FROM taken t) AS failed,
           (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('type', k.type, 'provider', k.provider, 'class', k.class, 'count', k.n)) ORDER BY k.n DESC, k.type)
            FROM (SELECT * FROM kinds ORDER BY n DESC, type LIMIT 50) k) AS kinds,
           (SELECT jsonb_agg(t.brief || jsonb_build_object('event_id', t.event_id, 'type', t.type, 'timestamp', sync._format_utc(t.occurred_at)) ORDER BY t.event_id)
            FROM (SELECT * FROM taken ORDER BY event_id LIMIT 50) t) AS events
    INTO told;
    UPDATE sync.notification_state s SET held_until = NULL, window_from = $2, window_sent = 0 WHERE s.notification_id = $1;
    IF told.n = 0 OR NOT n.is_active OR n.disabled_at IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM sync._make_messages(jsonb_build_array(jsonb_build_object('n', n.id, 'type', 'sync.bundle', 'event_ids', to_jsonb(told.event_ids),
        'severity', CASE WHEN told.failed THEN 'failure' ELSE 'warning' END,
        'payload', sync._payload('sync.bundle', $2, jsonb_build_object('tenant', n.tenant_id,
            'title', format('%s more since %s', sync._tally(told.n, told.n, 'notification'), sync._format_utc(told.since)),
            'summary', 'So many came at once that they are told together.',
            'from', sync._format_utc(told.since), 'to', sync._format_utc(told.until), 'total', told.n, 'by', told.kinds, 'events', told.events), n))), $2);
END
$$;
COMMENT ON FUNCTION sync._bundle_held(bigint, timestamptz) IS 'Internal: tells of all that was held back in one message';
