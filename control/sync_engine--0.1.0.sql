\echo Use "CREATE EXTENSION sync_engine" to load this file. \quit
-- The schema and the roles. Plain CREATE: an existing schema of that name belongs to somebody else and is refused.
CREATE SCHEMA sync;
COMMENT ON SCHEMA sync IS 'sync_engine: connections, jobs, signals and the functions that schedule, claim and finish syncs';

-- Roles belong to the cluster, not to this database: they may be there already and are never dropped.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['sync_admin', 'sync_executor', 'sync_viewer'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END
$$;
-- What the library offers to SQL: time arithmetic, settings, configuration merging. Metrics are in 12_metrics.sql.
CREATE FUNCTION sync.parse_utc(input text) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_parse_utc';
COMMENT ON FUNCTION sync.parse_utc(text) IS
    'Reads an ISO 8601 date or time, UTC unless it names an offset; NULL for anything else';

CREATE FUNCTION sync._format_utc(at timestamptz) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_format_utc';
COMMENT ON FUNCTION sync._format_utc(timestamptz) IS 'A time as 2026-03-01T12:15:00Z; NULL for an infinity';

CREATE FUNCTION sync.jitter_bounds(base_seconds int, OUT lo int, OUT hi int)
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_jitter_bounds';
COMMENT ON FUNCTION sync.jitter_bounds(int) IS
    'Least and most seconds of jitter that a run with this interval gets, both included';

CREATE FUNCTION sync._draw_jitter(base_seconds int) RETURNS int
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_draw_jitter';
COMMENT ON FUNCTION sync._draw_jitter(int) IS 'Seconds of jitter for one run: uniform within sync.jitter_bounds';

CREATE FUNCTION sync._effective_interval(override jsonb, OUT base_seconds int, OUT valid boolean)
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_effective_interval';
COMMENT ON FUNCTION sync._effective_interval(jsonb) IS
    'The interval that metadata.sync.interval_seconds stands for; not valid where it was replaced by the default';

CREATE FUNCTION sync._plan_run(last_finished timestamptz, base_seconds int, activation timestamptz, as_of timestamptz,
                               jitter int, OUT verdict text, OUT slot timestamptz, OUT scheduled_at timestamptz,
                               OUT next_run_at timestamptz)
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_plan_run';
COMMENT ON FUNCTION sync._plan_run(timestamptz, int, timestamptz, timestamptz, int) IS
    'What a tick at as_of does about a connection: bootstrap, look_ahead, catch_up or not_yet, and for when';

CREATE FUNCTION sync._backoff(attempts int, base double precision, max double precision, hint numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_backoff';
COMMENT ON FUNCTION sync._backoff(int, double precision, double precision, numeric) IS
    'Seconds to wait after a failure, without jitter: greatest(hint, least(base * 2^attempts, max))';

CREATE FUNCTION sync._setting(name text) RETURNS double precision
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_setting';
COMMENT ON FUNCTION sync._setting(text) IS
    'The value of sync_engine.<name> as it is used: a pair that contradicts itself is replaced by its defaults';

CREATE FUNCTION sync._merge_config(provider jsonb, connection jsonb, allowed_hosts text[]) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_merge_config';
COMMENT ON FUNCTION sync._merge_config(jsonb, jsonb, text[]) IS
    'A connection''s configuration merged over its provider''s (RFC 7396); the key sync_engine tells whether it may be used';

CREATE FUNCTION sync._in_engine() RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_in_engine';
COMMENT ON FUNCTION sync._in_engine() IS 'Whether the engine''s own functions are writing, as the triggers ask';

CREATE FUNCTION sync._trace_scheduled(connection_id bigint, jitter int, base int, next_due_at timestamptz,
                                      scheduled_at timestamptz, next_run_at timestamptz) RETURNS void
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_trace_scheduled';
COMMENT ON FUNCTION sync._trace_scheduled(bigint, int, int, timestamptz, timestamptz, timestamptz) IS
    'Writes one DEBUG1 line about a job that the tick enqueued';

CREATE FUNCTION sync._log(level text, message text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_log';
COMMENT ON FUNCTION sync._log(text, text) IS 'Writes to the server log (log), and to the client as well (warning)';

CREATE FUNCTION sync._system_identity(OUT system_identifier bigint, OUT database_oid oid)
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_system_identity';
COMMENT ON FUNCTION sync._system_identity() IS 'Which cluster and database this is: a copy of it differs in one of the two';

CREATE FUNCTION sync._preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_preloaded';
COMMENT ON FUNCTION sync._preloaded() IS 'Whether the server loaded the library at its start, so that workers and metrics exist';
-- How the engine's SQL and the executors talk to the launcher, the workers and each other through shared memory.
CREATE FUNCTION sync._wake_launcher() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_wake_launcher';
COMMENT ON FUNCTION sync._wake_launcher() IS
    'Internal: once this transaction has committed, the background worker of this database is started or looks again';

CREATE FUNCTION sync._wake_executors() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_wake_executors';
COMMENT ON FUNCTION sync._wake_executors() IS
    'Internal: once this transaction has committed, whoever waits in sync.wait_for_work in this database goes on';

-- Not SECURITY DEFINER and without SET: either would forbid it to end the transaction of its CALL.
CREATE PROCEDURE sync.wait_for_work(IN max_ms int, INOUT seen bigint DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'sync_engine_wait_for_work';
COMMENT ON PROCEDURE sync.wait_for_work(int, bigint) IS
    'Waits until there may be work or max_ms milliseconds have passed, holding no snapshot, transaction id or lock. Returns where the wake-ups have got to: the next call that is given it misses none that came in between (null: waits for the next one; max_ms 0 only asks)';
REVOKE ALL ON PROCEDURE sync.wait_for_work(int, bigint) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE sync.wait_for_work(int, bigint) TO sync_admin, sync_executor;

-- CREATE EXTENSION brings the worker, when it commits.
SELECT sync._wake_launcher();
DO $$
BEGIN
    IF NOT sync._preloaded() THEN
        RAISE WARNING USING
            MESSAGE = 'sync_engine is not in shared_preload_libraries, so no background worker will tick in this database',
            HINT = 'Add sync_engine to shared_preload_libraries and restart the server, or run sync-executor --tick.';
    END IF;
END
$$;
-- Metrics in shared memory. They are counted when the transaction commits, and not at all without preloading.
CREATE FUNCTION sync._metric_add(name text, label1 text, label2 text, delta double precision) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sync_engine_metric_add';
COMMENT ON FUNCTION sync._metric_add(text, text, text, double precision) IS 'Adds to a counter when the transaction commits';

CREATE FUNCTION sync._metric_observe(name text, label1 text, value double precision) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sync_engine_metric_observe';
COMMENT ON FUNCTION sync._metric_observe(text, text, double precision) IS
    'Records a value in a histogram when the transaction commits';

CREATE FUNCTION sync._metric_set(name text, label1 text, value double precision) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sync_engine_metric_set';
COMMENT ON FUNCTION sync._metric_set(text, text, double precision) IS 'Sets a gauge when the transaction commits';

CREATE FUNCTION sync._metrics_available() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_metrics_available';
COMMENT ON FUNCTION sync._metrics_available() IS 'Whether metrics are counted: they need the library to be preloaded';

CREATE FUNCTION sync._metrics_catalog(OUT name text, OUT kind text, OUT help text, OUT label1_name text, OUT label2_name text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 13 AS 'MODULE_PATHNAME', 'sync_engine_metrics_catalog';
COMMENT ON FUNCTION sync._metrics_catalog() IS 'The metrics that are counted in shared memory; a label that a metric lacks is empty';

CREATE FUNCTION sync._metrics_snapshot(OUT name text, OUT kind text, OUT label1 text, OUT label2 text, OUT value double precision,
                                       OUT bucket_bounds double precision[], OUT bucket_counts bigint[],
                                       OUT sum double precision, OUT count bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'sync_engine_metrics_snapshot';
COMMENT ON FUNCTION sync._metrics_snapshot() IS
    'The series of this database; bucket_counts are cumulative and end with the bucket without a bound';

CREATE FUNCTION sync._metrics_reset() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sync_engine_metrics_reset';
COMMENT ON FUNCTION sync._metrics_reset() IS 'Forgets the series of this database';

-- What an earlier extension in this database had counted is not this one's.
DO 'BEGIN PERFORM sync._metrics_reset(); END';
-- The tables that hold what is configured and what is live. History is in 25_history.sql.

CREATE TABLE sync.providers (
    slug text PRIMARY KEY CHECK (slug <> ''),
    display_name text,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused')),
    status_reason text,
    connector text NOT NULL DEFAULT 'http',
    config jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
    allowed_hosts text[] NOT NULL DEFAULT '{}',
    backoff_base_seconds int CHECK (backoff_base_seconds > 0),
    backoff_max_seconds int CHECK (backoff_max_seconds > 0),
    backoff_jitter_factor double precision CHECK (backoff_jitter_factor BETWEEN 0 AND 1),
    max_attempts int CHECK (max_attempts > 0),
    max_run_seconds int CHECK (max_run_seconds > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sync.providers IS 'Kinds of remote systems: which connector talks to them, with which configuration and retry policy';
COMMENT ON COLUMN sync.providers.connector IS 'Name of a connector that the executors know: http, function, noop';
COMMENT ON COLUMN sync.providers.config IS 'Connector configuration; the config of a connection is merged over it (RFC 7396)';
COMMENT ON COLUMN sync.providers.allowed_hosts IS 'Hosts that a connection may point to although the provider holds a secret';
COMMENT ON COLUMN sync.providers.backoff_base_seconds IS 'Overrides sync_engine.backoff_base_seconds';
COMMENT ON COLUMN sync.providers.max_run_seconds IS 'A job that runs longer is failed as lost; overrides sync_engine.max_run_seconds';

CREATE TABLE sync.connections (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    provider_slug text NOT NULL REFERENCES sync.providers (slug) ON UPDATE CASCADE,
    external_id text NOT NULL DEFAULT gen_random_uuid()::text,
    name text,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'error', 'revoked')),
    status_reason text,
    metadata jsonb DEFAULT '{}',
    config jsonb DEFAULT '{}',
    last_incremental_finished_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, provider_slug, external_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE sync.connections IS 'Data connections of tenants; the ones with status active are kept in sync';
COMMENT ON COLUMN sync.connections.metadata IS
    'The object under the key sync belongs to the engine: interval_seconds, next_run_at, last_jitter_seconds, first_activated_at, cursor. Other keys are the application''s and are kept';
COMMENT ON COLUMN sync.connections.last_incremental_finished_at IS 'When the last incremental run ended for good: what the next run is reckoned from';
-- Lists the connections of a provider (resume, retry_failed) without reading the others.
CREATE INDEX connections_provider ON sync.connections (provider_slug, id);

-- One narrow row a connection, so that the wide row above stays HOT: it is written several times a run.
CREATE TABLE sync.connection_state (
    connection_id bigint PRIMARY KEY REFERENCES sync.connections (id) ON DELETE CASCADE,
    due_at timestamptz,
    running_job_id bigint,
    parked_for text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE sync.connection_state IS 'What the tick and the claim hold for each connection; derived data, rebuilt by triggers';
COMMENT ON COLUMN sync.connection_state.due_at IS
    'When the tick looks at the connection; null while an incremental job is live, the connection is not active or it is parked';
COMMENT ON COLUMN sync.connection_state.running_job_id IS 'The one job of the connection that runs: the lease that makes a connection single-flight';
COMMENT ON COLUMN sync.connection_state.parked_for IS 'Set while the tick passes the connection by because this provider is paused';
-- The tick's only scan: what is due, in due order; a live job, a pause or a future time keep a row out of its way.
CREATE INDEX connection_state_due ON sync.connection_state (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX connection_state_parked ON sync.connection_state (parked_for, connection_id) WHERE parked_for IS NOT NULL;

-- Live jobs. Finished ones move into dated tables that inherit from this one, so that one name reads both.
CREATE TABLE sync.sync_jobs (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    provider_slug text NOT NULL,
    connection_id bigint NOT NULL REFERENCES sync.connections (id) ON DELETE CASCADE,
    job_type text NOT NULL CHECK (job_type <> ''),
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    priority int NOT NULL DEFAULT 0,
    attempts int NOT NULL DEFAULT 0,
    rate_limited_attempts int NOT NULL DEFAULT 0,
    scheduled_at timestamptz NOT NULL DEFAULT now(),
    retry_after timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    cursor jsonb,
    input jsonb,
    error jsonb,
    error_kind text,
    run_id bigint,
    page int NOT NULL DEFAULT 1,
    stalled_pages int NOT NULL DEFAULT 0,
    signals_inserted int NOT NULL DEFAULT 0,
    signals_duplicate int NOT NULL DEFAULT 0,
    rerun_priority int,
    claimed_by text,
    claimed_at timestamptz,
    claim_token uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sync_jobs_running_is_claimed
        CHECK (status <> 'running' OR (claim_token IS NOT NULL AND claimed_at IS NOT NULL AND started_at IS NOT NULL)),
    CONSTRAINT sync_jobs_ended_has_time CHECK (status IN ('queued', 'running') OR finished_at IS NOT NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE sync.sync_jobs IS 'One page of one run for one connection; reads show live and finished jobs';
COMMENT ON COLUMN sync.sync_jobs.priority IS 'Larger first: scheduled runs 0, manual ones 10';
COMMENT ON COLUMN sync.sync_jobs.attempts IS 'Failures so far; those that were rate limited are counted in rate_limited_attempts too';
COMMENT ON COLUMN sync.sync_jobs.scheduled_at IS 'Not claimed before this time, nor before retry_after';
COMMENT ON COLUMN sync.sync_jobs.started_at IS 'When the first attempt was claimed; claimed_at is that of the present one';
COMMENT ON COLUMN sync.sync_jobs.input IS 'What a trigger or webhook brought along; never the cursor';
COMMENT ON COLUMN sync.sync_jobs.run_id IS 'Id of the job that began the run: the pages that follow it carry the same';
COMMENT ON COLUMN sync.sync_jobs.rerun_priority IS 'Set when a trigger arrived while the job ran: the transaction that ends it queues one more of this priority';
COMMENT ON COLUMN sync.sync_jobs.claim_token IS 'Fences complete, fail and release: drawn anew by each claim';

-- The specification's guard against a second live job of one type; also the arbiter of ON CONFLICT.
CREATE UNIQUE INDEX idx_sync_jobs_connection_type_status
    ON sync.sync_jobs (connection_id, job_type)
    WHERE status IN ('queued', 'running');
COMMENT ON INDEX sync.idx_sync_jobs_connection_type_status IS 'At most one queued or running job for each connection and job type';
-- The backstop of single flight: connection_state.running_job_id decides, this index would refuse.
CREATE UNIQUE INDEX sync_jobs_one_running ON sync.sync_jobs (connection_id) INCLUDE (claimed_at) WHERE status = 'running';
COMMENT ON INDEX sync.sync_jobs_one_running IS 'At most one running job for each connection';
-- The claim: for each active provider and priority a range that ends at now, so that future jobs, jobs in
-- backoff and the backlog of a paused provider are never read.
CREATE INDEX sync_jobs_claim ON sync.sync_jobs (provider_slug, priority DESC, (GREATEST(scheduled_at, retry_after)), id)
    WHERE status = 'queued';
-- Rows that an application ended by hand, until housekeeping moves them: empty otherwise.
CREATE INDEX sync_jobs_ended ON sync.sync_jobs (id) WHERE status NOT IN ('queued', 'running');

CREATE TABLE sync.executors (
    incarnation text PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    protocol int,
    info jsonb NOT NULL DEFAULT '{}',
    registered_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz,
    superseded_at timestamptz
);
COMMENT ON TABLE sync.executors IS 'Executor processes, a row for each incarnation of a name';
COMMENT ON COLUMN sync.executors.incarnation IS 'The value that claim_jobs and heartbeat take';
COMMENT ON COLUMN sync.executors.superseded_at IS 'When a newer incarnation of the name registered; such an executor may not claim any more';
CREATE UNIQUE INDEX executors_current ON sync.executors (name) WHERE superseded_at IS NULL;

-- Which database this is. CREATE EXTENSION writes a row, but not in a restore: that brings the old database's, as a clone
-- does. While the row is another's, or there is none, the engine stays quiet.
CREATE TABLE sync.database_identity (
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sync.database_identity IS 'The database that the engine was installed in or adopted by; on a mismatch it stays quiet';

CREATE TABLE sync.engine_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    last_tick_at timestamptz,
    sweep_after bigint
);
COMMENT ON TABLE sync.engine_clock IS 'The last tick''s time, to notice a clock that went back; while one is being mended, how far that came';

CREATE TABLE sync.deleted_connections (
    connection_id bigint PRIMARY KEY,
    tenant_id text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sync.deleted_connections IS 'Deleted connections whose signals and history are still being removed in batches';
-- What is over: executions and signals in range partitions, finished jobs in dated children of sync_jobs.
-- The parents carry no index: partitions are made at run time together with theirs by sync._make_partition, so that
-- a dump holds them as ordinary tables.

CREATE TABLE sync.sync_executions (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    tenant_id text NOT NULL,
    provider_slug text NOT NULL,
    connection_id bigint NOT NULL,
    job_id bigint NOT NULL,
    run_id bigint,
    job_type text NOT NULL,
    attempt int NOT NULL,
    page int NOT NULL DEFAULT 1,
    status text NOT NULL CHECK (status IN ('succeeded', 'failed', 'cancelled')),
    job_status text NOT NULL,
    ended_by text NOT NULL DEFAULT 'complete' CHECK (ended_by IN ('complete', 'fail', 'lost', 'cancel')),
    kind text,
    scheduled_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz NOT NULL,
    duration_ms double precision,
    signals_received int NOT NULL DEFAULT 0,
    signals_inserted int NOT NULL DEFAULT 0,
    signals_duplicate int NOT NULL DEFAULT 0,
    next_cursor jsonb,
    has_more boolean NOT NULL DEFAULT false,
    retry_after timestamptz,
    error jsonb,
    stats jsonb NOT NULL DEFAULT '{}',
    claimed_by text,
    claim_token uuid
) PARTITION BY RANGE (finished_at);
COMMENT ON TABLE sync.sync_executions IS 'History: one row for each attempt that ended';
COMMENT ON COLUMN sync.sync_executions.attempt IS 'Number of the attempt within its job, from 1';
COMMENT ON COLUMN sync.sync_executions.status IS 'How the attempt ended';
COMMENT ON COLUMN sync.sync_executions.job_status IS 'What became of the job: queued again, or an end';
COMMENT ON COLUMN sync.sync_executions.ended_by IS 'What ended the attempt: a call that is repeated is recognised by it';
COMMENT ON COLUMN sync.sync_executions.kind IS 'Kind of failure: transient, rate_limited, unauthorized, permanent, lost';

CREATE TABLE sync.signals (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    tenant_id text NOT NULL,
    provider_slug text NOT NULL,
    connection_id bigint NOT NULL,
    kind text NOT NULL DEFAULT 'signal',
    occurred_at timestamptz NOT NULL DEFAULT now(),
    received_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL DEFAULT '{}',
    dedupe_key text
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE sync.signals IS 'What the connections brought: the application''s data';
COMMENT ON COLUMN sync.signals.dedupe_key IS 'A key that the connection has sent before is not stored again';

CREATE TABLE sync.partitions (
    name text PRIMARY KEY,
    parent text NOT NULL CHECK (parent IN ('sync_executions', 'signals', 'sync_jobs')),
    range_from timestamptz NOT NULL,
    range_to timestamptz NOT NULL
);
COMMENT ON TABLE sync.partitions IS 'The dated tables that hold history: made ahead, dropped when their retention is over';

-- Where finished jobs go: always the newest dated child of sync_jobs. Until the first child is made it is the live table.
CREATE VIEW sync._finished_jobs AS SELECT * FROM ONLY sync.sync_jobs;
COMMENT ON VIEW sync._finished_jobs IS 'Internal: the dated table that takes the jobs that end now';

CREATE FUNCTION sync._partition_key() RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT hashtextextended('sync_engine partitions', 0) $$;
COMMENT ON FUNCTION sync._partition_key() IS 'Internal: the advisory lock under which dated tables are made';

-- A partition is dropped with its parent by itself, a child made by INHERITS is not: DROP EXTENSION would ask for CASCADE.
CREATE FUNCTION sync._tie_dated_tables() RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE pg_depend d SET deptype = 'a'
    FROM sync.partitions p
    JOIN pg_class c ON c.relname = p.name AND c.relnamespace = 'sync'::regnamespace
    WHERE p.parent = 'sync_jobs' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = 'sync.sync_jobs'::regclass AND d.deptype = 'n'
$$;
COMMENT ON FUNCTION sync._tie_dated_tables() IS 'Internal: lets DROP EXTENSION take the dated tables of finished jobs along';

-- A restore brings the tables back untied, and then the rows that name them.
CREATE FUNCTION sync._partitions_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync._tie_dated_tables();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._partitions_inserted() IS 'Internal: ties dated tables to their parent, those that a restore brought too';
CREATE TRIGGER partitions_inserted AFTER INSERT ON sync.partitions
    FOR EACH STATEMENT EXECUTE FUNCTION sync._partitions_inserted();

CREATE FUNCTION sync._make_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    range_from timestamptz;
    range_to timestamptz;
    part text;
BEGIN
    range_from := CASE WHEN parent = 'signals' THEN date_trunc('month', day::timestamp) ELSE day::timestamp END AT TIME ZONE 'UTC';
    range_to := (range_from AT TIME ZONE 'UTC'
                 + CASE WHEN parent = 'signals' THEN interval '1 month' ELSE interval '1 day' END) AT TIME ZONE 'UTC';
    part := parent || to_char(range_from AT TIME ZONE 'UTC', CASE WHEN parent = 'signals' THEN '_YYYYMM' ELSE '_YYYYMMDD' END);
    IF EXISTS (SELECT 1 FROM sync.partitions p WHERE p.name = part) THEN
        RETURN;
    END IF;
    -- Two makers at once: the second waits here and then finds the work done.
    PERFORM pg_advisory_xact_lock(sync._partition_key());
    IF EXISTS (SELECT 1 FROM sync.partitions p WHERE p.name = part) THEN
        RETURN;
    END IF;
    IF parent = 'sync_jobs' THEN
        EXECUTE format('CREATE TABLE sync.%I () INHERITS (sync.sync_jobs) WITH (autovacuum_vacuum_insert_scale_factor = 0.5)', part);
        EXECUTE format('ALTER TABLE sync.%I ADD PRIMARY KEY (id), ADD CONSTRAINT %I CHECK (status NOT IN (''queued'', ''running''))',
                       part, 'finished_jobs_stay_so_see_sync_retry_job');
    ELSE
        EXECUTE format('CREATE TABLE sync.%I (LIKE sync.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
        EXECUTE format('ALTER TABLE sync.%I ADD PRIMARY KEY (tenant_id, connection_id, id)', part);
        IF parent = 'signals' THEN
            EXECUTE format('CREATE UNIQUE INDEX %I ON sync.%I (tenant_id, connection_id, dedupe_key) WHERE dedupe_key IS NOT NULL',
                           part || '_dedupe', part);
        END IF;
        EXECUTE format('ALTER TABLE sync.%I ATTACH PARTITION sync.%I FOR VALUES FROM (%L) TO (%L)',
                       parent, part, range_from, range_to);
    END IF;
    EXECUTE format('GRANT SELECT ON sync.%I TO sync_admin', part);
    EXECUTE format('COMMENT ON TABLE sync.%I IS %L', part, 'Part of sync.' || parent || ', from ' || range_from || ' until ' || range_to);
    INSERT INTO sync.partitions (name, parent, range_from, range_to) VALUES (part, parent, range_from, range_to);
END
$$;
COMMENT ON FUNCTION sync._make_partition(text, date) IS 'Internal: makes one dated table with its indexes, unless it exists';

CREATE FUNCTION sync._history_is_ready(as_of timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) = 2 FROM sync.partitions p
    WHERE p.parent IN ('signals', 'sync_executions') AND p.range_from <= as_of AND as_of < p.range_to
$$;
COMMENT ON FUNCTION sync._history_is_ready(timestamptz) IS 'Internal: whether signals and executions of that time have a partition';

CREATE FUNCTION sync._ensure_history(as_of timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day date := (as_of AT TIME ZONE 'UTC')::date;
BEGIN
    -- The common case must be cheap: it runs in every completion.
    IF (SELECT count(*) FROM sync.partitions p
        WHERE p.parent IN ('signals', 'sync_executions') AND p.range_from <= as_of AND as_of < p.range_to) = 2 THEN
        RETURN;
    END IF;
    PERFORM sync._make_partition('signals', day);
    PERFORM sync._make_partition('sync_executions', day);
END
$$;
COMMENT ON FUNCTION sync._ensure_history(timestamptz) IS 'Internal: sees to it that signals and executions of that time have a partition';

-- The tick never waits: while another session makes dated tables or turns to a new one, it leaves lost jobs to the next.
CREATE FUNCTION sync._history_is_free(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT sync._history_is_ready(as_of) AND NOT pg_try_advisory_xact_lock(sync._partition_key()) THEN
        RETURN false;
    END IF;
    LOCK TABLE sync._finished_jobs, sync.sync_executions IN ROW EXCLUSIVE MODE NOWAIT;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION sync._history_is_free(timestamptz) IS 'Internal: whether history can be written now without waiting';

CREATE FUNCTION sync._rotate_finished_jobs(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day date := (as_of AT TIME ZONE 'UTC')::date;
    name text := 'sync_jobs_' || to_char(as_of AT TIME ZONE 'UTC', 'YYYYMMDD');
    newest text;
BEGIN
    SELECT p.name INTO newest FROM sync.partitions p WHERE p.parent = 'sync_jobs' ORDER BY p.range_from DESC LIMIT 1;
    -- Only forward: a clock that went back must not reopen a table that retention may be about to drop.
    IF newest IS NOT NULL AND newest >= name
       AND pg_get_viewdef('sync._finished_jobs'::regclass) ~ ('sync\.' || newest || '\M') THEN
        RETURN false;
    END IF;
    IF newest IS NULL OR newest < name THEN
        PERFORM sync._make_partition('sync_jobs', day);
        newest := name;
    END IF;
    EXECUTE format('CREATE OR REPLACE VIEW sync._finished_jobs AS SELECT * FROM sync.%I', newest);
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync._rotate_finished_jobs(timestamptz) IS 'Internal: points _finished_jobs to the dated table of that day; false when it does already';
-- Triggers that keep connection_state true when applications write to the tables themselves. The engine's own
-- functions run with sync_engine.internal = on and maintain it in their statements.

CREATE FUNCTION sync._metadata_with(metadata jsonb, patch jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- What cannot hold our keys (an array, a string) is kept under a key of its own: nothing is lost.
    SELECT CASE
               WHEN pg_catalog.jsonb_typeof(metadata) OPERATOR(pg_catalog.=) 'object' THEN metadata
               WHEN metadata IS NULL OR metadata OPERATOR(pg_catalog.=) 'null'::pg_catalog.jsonb THEN '{}'::pg_catalog.jsonb
               ELSE pg_catalog.jsonb_build_object('unreadable', metadata)
           END OPERATOR(pg_catalog.||)
           pg_catalog.jsonb_build_object('sync',
               CASE
                   WHEN pg_catalog.jsonb_typeof(metadata OPERATOR(pg_catalog.->) 'sync') OPERATOR(pg_catalog.=) 'object'
                       THEN metadata OPERATOR(pg_catalog.->) 'sync'
                   WHEN (metadata OPERATOR(pg_catalog.->) 'sync') IS NULL
                        OR metadata OPERATOR(pg_catalog.->) 'sync' OPERATOR(pg_catalog.=) 'null'::pg_catalog.jsonb
                       THEN '{}'::pg_catalog.jsonb
                   ELSE pg_catalog.jsonb_build_object('unreadable', metadata OPERATOR(pg_catalog.->) 'sync')
               END OPERATOR(pg_catalog.||) patch)
$$;
COMMENT ON FUNCTION sync._metadata_with(jsonb, jsonb) IS 'Internal: metadata with the keys of patch set in its object sync';

CREATE FUNCTION sync._looked_at(metadata jsonb) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    -- Missing or unreadable means now.
    SELECT COALESCE(sync.parse_utc(metadata OPERATOR(pg_catalog.#>>) '{sync,next_run_at}'), '-infinity'::pg_catalog.timestamptz)
$$;
COMMENT ON FUNCTION sync._looked_at(jsonb) IS 'Internal: when the tick has to look at a connection with that metadata';

CREATE FUNCTION sync._connections_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM inserted i JOIN sync.deleted_connections d ON d.connection_id = i.id) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('connection %s was deleted and its signals and history are still being removed',
                             (SELECT min(i.id) FROM inserted i JOIN sync.deleted_connections d ON d.connection_id = i.id)),
            HINT = 'Leave the id out, or wait for housekeeping.';
    END IF;
    INSERT INTO sync.connection_state (connection_id, due_at)
    SELECT i.id, CASE WHEN i.status = 'active' THEN sync._looked_at(i.metadata) END
    FROM inserted i
    ON CONFLICT (connection_id) DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connections_inserted() IS 'Internal: gives each new connection its state';
CREATE TRIGGER connections_inserted AFTER INSERT ON sync.connections
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION sync._connections_inserted();

CREATE FUNCTION sync._restate(connection bigint, look_again boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE sync.connection_state s
    SET running_job_id = (SELECT j.id FROM ONLY sync.sync_jobs j WHERE j.connection_id = s.connection_id AND j.status = 'running'),
        due_at = CASE
                     WHEN c.status <> 'active' THEN NULL
                     WHEN EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j
                                  WHERE j.connection_id = s.connection_id AND j.job_type = 'incremental'
                                    AND j.status IN ('queued', 'running')) THEN NULL
                     WHEN look_again THEN '-infinity'
                     ELSE sync._looked_at(c.metadata)
                 END,
        parked_for = NULL
    FROM sync.connections c
    WHERE s.connection_id = connection AND c.id = s.connection_id
$$;
COMMENT ON FUNCTION sync._restate(bigint, boolean) IS 'Internal: reckons the state of a connection anew from its rows';

CREATE FUNCTION sync._connection_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    IF OLD.status = 'active' AND NEW.status <> 'active' THEN
        PERFORM sync._cancel_queued(ARRAY[NEW.id], 'connection is ' || NEW.status || COALESCE(': ' || NEW.status_reason, ''), now());
    END IF;
    IF OLD.tenant_id <> NEW.tenant_id
       AND (EXISTS (SELECT 1 FROM sync.signals s WHERE s.tenant_id = OLD.tenant_id AND s.connection_id = OLD.id)
            OR EXISTS (SELECT 1 FROM sync.sync_executions e WHERE e.tenant_id = OLD.tenant_id AND e.connection_id = OLD.id)) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('connection %s has signals or history of tenant %s', OLD.id, OLD.tenant_id),
            HINT = 'What landed belongs to its tenant; make a new connection for the other one.';
    END IF;
    -- A connection that moves, or whose provider is renamed, takes its live jobs along.
    IF OLD.tenant_id <> NEW.tenant_id OR OLD.provider_slug <> NEW.provider_slug THEN
        UPDATE ONLY sync.sync_jobs j SET tenant_id = NEW.tenant_id, provider_slug = NEW.provider_slug
        WHERE j.connection_id = NEW.id AND j.status IN ('queued', 'running');
    END IF;
    PERFORM sync._restate(NEW.id,
        OLD.status IS DISTINCT FROM NEW.status
        OR OLD.last_incremental_finished_at IS DISTINCT FROM NEW.last_incremental_finished_at
        OR OLD.provider_slug IS DISTINCT FROM NEW.provider_slug
        OR (OLD.metadata #> '{sync,interval_seconds}') IS DISTINCT FROM (NEW.metadata #> '{sync,interval_seconds}'));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connection_updated() IS 'Internal: takes up what an application changed in a connection';
CREATE TRIGGER connection_updated AFTER UPDATE OF status, metadata, last_incremental_finished_at, provider_slug, tenant_id ON sync.connections
    FOR EACH ROW
    WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on'
          AND (OLD.status IS DISTINCT FROM NEW.status
               OR OLD.metadata IS DISTINCT FROM NEW.metadata
               OR OLD.provider_slug IS DISTINCT FROM NEW.provider_slug
               OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id
               OR OLD.last_incremental_finished_at IS DISTINCT FROM NEW.last_incremental_finished_at))
    EXECUTE FUNCTION sync._connection_updated();

-- Deleting: the foreign keys take the live rows; signals and history carry none, so they go here, or later in batches.
CREATE FUNCTION sync._connections_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    INSERT INTO sync.deleted_connections (connection_id, tenant_id)
    SELECT d.id, d.tenant_id FROM deleted d
    ON CONFLICT (connection_id) DO NOTHING;
    PERFORM sync._purge_deleted(10000, false);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._connections_deleted() IS 'Internal: removes what deleted connections leave behind';
CREATE TRIGGER connections_deleted AFTER DELETE ON sync.connections
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION sync._connections_deleted();

CREATE FUNCTION sync._purge_deleted(max_rows int, thorough boolean, OUT removed bigint, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    gone record;
    ids bigint[] := '{}';
    n bigint;
BEGIN
    removed := 0;
    FOR gone IN SELECT d.connection_id, d.tenant_id FROM sync.deleted_connections d
                ORDER BY d.connection_id LIMIT max_rows FOR UPDATE SKIP LOCKED LOOP
        DELETE FROM sync.signals t
        USING (SELECT s.tenant_id, s.connection_id, s.id, s.received_at FROM sync.signals s
               WHERE s.tenant_id = gone.tenant_id AND s.connection_id = gone.connection_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.connection_id = x.connection_id AND t.id = x.id AND t.received_at = x.received_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        DELETE FROM sync.sync_executions t
        USING (SELECT s.tenant_id, s.connection_id, s.id, s.finished_at FROM sync.sync_executions s
               WHERE s.tenant_id = gone.tenant_id AND s.connection_id = gone.connection_id LIMIT max_rows - removed) x
        WHERE t.tenant_id = x.tenant_id AND t.connection_id = x.connection_id AND t.id = x.id AND t.finished_at = x.finished_at;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= max_rows;
        ids := ids || gone.connection_id;
    END LOOP;
    -- Finished jobs have no index by connection: one pass serves all that are gone, at once only where it is short.
    IF cardinality(ids) > 0 AND (thorough OR (SELECT COALESCE(sum(c.reltuples), 0) < 100000
                                              FROM sync.partitions p JOIN pg_class c ON c.oid = to_regclass(format('sync.%I', p.name))
                                              WHERE p.parent = 'sync_jobs')) THEN
        DELETE FROM sync.sync_jobs j WHERE j.connection_id = ANY (ids);
        DELETE FROM sync.deleted_connections d WHERE d.connection_id = ANY (ids);
    END IF;
    more := EXISTS (SELECT 1 FROM sync.deleted_connections);
END
$$;
COMMENT ON FUNCTION sync._purge_deleted(int, boolean) IS 'Internal: removes at most so many rows of deleted connections; thorough: their finished jobs too, however many tables that takes';

CREATE FUNCTION sync._job_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    owner record;
BEGIN
    -- The connection is locked first, as everywhere: a tick or claim in progress is waited for, the next skips the row.
    SELECT c.tenant_id, c.provider_slug INTO owner FROM sync.connections c WHERE c.id = NEW.connection_id FOR NO KEY UPDATE;
    IF FOUND THEN
        NEW.tenant_id := COALESCE(NEW.tenant_id, owner.tenant_id);
        NEW.provider_slug := COALESCE(NEW.provider_slug, owner.provider_slug);
        IF NEW.tenant_id <> owner.tenant_id OR NEW.provider_slug <> owner.provider_slug THEN
            RAISE EXCEPTION USING ERRCODE = 'check_violation',
                MESSAGE = format('job does not belong to connection %s', NEW.connection_id),
                DETAIL = format('The connection is tenant %L, provider %L; the job says tenant %L, provider %L.',
                                owner.tenant_id, owner.provider_slug, NEW.tenant_id, NEW.provider_slug),
                HINT = 'Leave tenant_id and provider_slug null to take over those of the connection.';
        END IF;
    END IF;
    -- An id above the sequence's is new; one that was chosen by hand can be that of a finished job.
    IF TG_OP = 'INSERT' AND NEW.id <= (SELECT q.last_value FROM sync.sync_jobs_id_seq q)
       AND EXISTS (SELECT 1 FROM sync.sync_jobs j WHERE j.id = NEW.id AND j.tableoid <> 'sync.sync_jobs'::regclass) THEN
        RAISE EXCEPTION USING ERRCODE = 'unique_violation', MESSAGE = format('job %s exists already and has ended', NEW.id),
            HINT = format('To run it again: SELECT sync.retry_job(%s)', NEW.id);
    END IF;
    NEW.run_id := COALESCE(NEW.run_id, NEW.id);
    IF NEW.status = 'running' THEN
        NEW.claim_token := COALESCE(NEW.claim_token, gen_random_uuid());
        NEW.claimed_at := COALESCE(NEW.claimed_at, now());
        NEW.started_at := COALESCE(NEW.started_at, NEW.claimed_at);
    ELSIF NEW.status <> 'queued' THEN
        NEW.finished_at := COALESCE(NEW.finished_at, now());
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION sync._job_written() IS 'Internal: fills and checks a job that an application wrote itself';
CREATE TRIGGER job_written BEFORE INSERT OR UPDATE OF status, tenant_id, provider_slug, connection_id ON sync.sync_jobs
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._job_written();

CREATE FUNCTION sync._job_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
BEGIN
    -- An application that ends an incremental job itself has ended a run: the next is reckoned from there.
    IF TG_OP = 'UPDATE' AND NEW.job_type = 'incremental' AND OLD.status IN ('queued', 'running')
       AND NEW.status IN ('succeeded', 'failed') THEN
        UPDATE sync.connections c
        SET last_incremental_finished_at = NEW.finished_at,
            metadata = sync._metadata_with(c.metadata, jsonb_build_object('next_run_at',
                sync._format_utc(NEW.finished_at + make_interval(secs => (sync._effective_interval(c.metadata #> '{sync,interval_seconds}')).base_seconds))))
        WHERE c.id = NEW.connection_id;
    END IF;
    -- What a trigger asked for while it ran comes after it, whoever ended it.
    IF TG_OP = 'UPDATE' AND OLD.status = 'running' AND NEW.status NOT IN ('queued', 'running') AND NEW.rerun_priority IS NOT NULL THEN
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, run_id)
        SELECT n.id, NEW.tenant_id, NEW.provider_slug, NEW.connection_id, NEW.job_type, NEW.rerun_priority, n.id
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id FROM sync.connections c
              WHERE c.id = NEW.connection_id AND c.status = 'active') n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM sync._restate(OLD.connection_id, false);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF TG_OP = 'INSERT' OR NEW.connection_id <> OLD.connection_id THEN
            PERFORM sync._restate(NEW.connection_id, false);
        END IF;
        PERFORM sync._wake_executors();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._job_changed() IS 'Internal: takes up what an application changed in the jobs';
CREATE TRIGGER job_changed AFTER INSERT OR UPDATE OR DELETE ON sync.sync_jobs
    FOR EACH ROW WHEN (current_setting('sync_engine.internal', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION sync._job_changed();

CREATE FUNCTION sync._provider_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync._wake_executors();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync._provider_updated() IS 'Internal: wakes executors when a provider is resumed';
CREATE TRIGGER provider_updated AFTER UPDATE OF status ON sync.providers
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION sync._provider_updated();
-- The tick: enqueues what is due. Set-based; any number may run at once, none ever waits for another.

CREATE FUNCTION sync._is_quiet() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sync._setting('enabled') = 0
           OR EXISTS (SELECT 1 FROM sync.database_identity d, sync._system_identity() me
                      WHERE d.system_identifier <> me.system_identifier OR d.database_oid <> me.database_oid)
           OR NOT EXISTS (SELECT 1 FROM sync.database_identity)
$$;
COMMENT ON FUNCTION sync._is_quiet() IS 'Internal: true while workers must not tick and nothing is handed to executors';

CREATE FUNCTION sync._require_time(as_of timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF as_of IS NULL OR NOT pg_catalog.isfinite(as_of) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'as_of must be a finite time',
            HINT = 'Leave it out to use the current time.';
    END IF;
END
$$;
COMMENT ON FUNCTION sync._require_time(timestamptz) IS 'Internal: refuses a time that nothing can be reckoned from';

CREATE FUNCTION sync._tick_rows(ids bigint[], as_of timestamptz, OUT enqueued int, OUT skipped int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    default_seconds int := sync._setting('default_interval_seconds');
    max_seconds int := sync._setting('max_overridden_interval_seconds');
    keep_default boolean := default_seconds <= max_seconds;
    bad_ids bigint[];
    bad_values text[];
BEGIN
    -- Nested, each level fenced off: in a lateral join the planner would memoize, and give one jitter to many.
    WITH look AS MATERIALIZED (
        SELECT y.*, (y.plan).verdict, (y.plan).slot, (y.plan).scheduled_at, (y.plan).next_run_at
        FROM (
            SELECT x.*, sync._plan_run(x.finished, x.base_seconds, x.activation, $2, x.jitter) AS plan
            FROM (
                SELECT w.*, (w.effective).base_seconds, (w.effective).valid, sync._draw_jitter((w.effective).base_seconds) AS jitter
                FROM (
                    SELECT c.id, c.tenant_id, c.provider_slug, c.metadata, c.last_incremental_finished_at AS finished,
                           COALESCE(sync.parse_utc(c.metadata #>> '{sync,first_activated_at}'), c.created_at) AS activation,
                           c.status = 'active' AS active, p.status = 'active' AS provider_active,
                           sync._effective_interval(c.metadata #> '{sync,interval_seconds}') AS effective
                    FROM sync.connections c
                    JOIN sync.providers p ON p.slug = c.provider_slug
                    WHERE c.id = ANY ($1)
                    OFFSET 0) w
                OFFSET 0) x
            OFFSET 0) y
    ), ins AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, scheduled_at, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, 'incremental', n.scheduled_at, n.id, $2
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, l.id AS connection_id,
                     l.tenant_id, l.provider_slug, l.scheduled_at
              FROM look l
              WHERE l.active AND l.provider_active AND l.verdict <> 'not_yet') n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING connection_id
    ), changed AS (
        UPDATE sync.connections c
        SET metadata = CASE
                           WHEN l.valid OR keep_default THEN sync._metadata_with(c.metadata, p.patch)
                           ELSE sync._metadata_with(c.metadata, p.patch) #- '{sync,interval_seconds}'
                       END,
            last_incremental_finished_at = CASE WHEN l.finished > $2 THEN $2 ELSE l.finished END
        FROM look l
        LEFT JOIN ins i ON i.connection_id = l.id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN i.connection_id IS NULL AND l.finished > $2
                            THEN jsonb_build_object('next_run_at', sync._format_utc(l.next_run_at))
                        WHEN i.connection_id IS NULL THEN '{}'::jsonb
                        ELSE jsonb_build_object('next_run_at', sync._format_utc(l.next_run_at), 'last_jitter_seconds', l.jitter) END
                   || CASE WHEN l.valid OR NOT keep_default THEN '{}'::jsonb
                           ELSE jsonb_build_object('interval_seconds', default_seconds) END AS patch) p
        WHERE c.id = l.id AND (i.connection_id IS NOT NULL OR NOT l.valid OR l.finished > $2)
    ), stated AS (
        UPDATE sync.connection_state s
        SET due_at = CASE WHEN l.active AND l.provider_active AND l.verdict = 'not_yet' THEN l.next_run_at END,
            parked_for = CASE WHEN l.active AND NOT l.provider_active THEN l.provider_slug END
        FROM look l
        WHERE s.connection_id = l.id
    ), done AS (
        SELECT l.*, i.connection_id IS NOT NULL AS enqueued FROM look l LEFT JOIN ins i ON i.connection_id = l.id
    ), told AS (
        SELECT count(sync._trace_scheduled(d.id, d.jitter, d.base_seconds, d.slot, d.scheduled_at, d.next_run_at)) AS traced,
               count(sync._metric_observe('sync_scheduler_jitter_seconds', '', d.jitter)) AS observed
        FROM done d WHERE d.enqueued
    ), counted AS (
        SELECT count(sync._metric_add('sync_scheduler_jobs_scheduled_total', g.provider_slug, g.tenant_id, g.n)) AS added
        FROM (SELECT d.provider_slug, d.tenant_id, count(*) AS n FROM done d WHERE d.enqueued GROUP BY 1, 2) g
    )
    SELECT count(*) FILTER (WHERE d.enqueued),
           count(*) FILTER (WHERE NOT d.enqueued AND d.active AND d.provider_active AND d.verdict <> 'not_yet'),
           array_agg(d.id) FILTER (WHERE NOT d.valid),
           array_agg(left((d.metadata #> '{sync,interval_seconds}')::text, 60)) FILTER (WHERE NOT d.valid)
    INTO enqueued, skipped, bad_ids, bad_values
    FROM done d, told, counted
    WHERE told.traced >= 0 AND counted.added >= 0;
    enqueued := COALESCE(enqueued, 0);
    skipped := COALESCE(skipped, 0);

    FOR i IN 1 .. COALESCE(cardinality(bad_ids), 0) LOOP
        RAISE WARNING USING MESSAGE = format('connection %s: interval_seconds %s is not an integer from 60 to %s, using %s',
                                             bad_ids[i], bad_values[i], max_seconds, default_seconds);
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._tick_rows(bigint[], timestamptz) IS 'Internal: schedules the connections given, which the caller has locked';

CREATE FUNCTION sync._tick_rows_safely(ids bigint[], as_of timestamptz, OUT enqueued int, OUT skipped int, OUT set_back int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    half int := cardinality(ids) / 2;
    part record;
BEGIN
    enqueued := 0;
    skipped := 0;
    set_back := 0;
    BEGIN
        SELECT r.enqueued, r.skipped INTO enqueued, skipped FROM sync._tick_rows(ids, as_of) r;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        IF cardinality(ids) <= 1 THEN
            RAISE WARNING USING MESSAGE = format('connection %s cannot be scheduled: %s (%s); set back', ids[1], SQLERRM, SQLSTATE);
            UPDATE sync.connection_state s
            SET due_at = as_of + make_interval(secs => sync._setting('default_interval_seconds'))
            WHERE s.connection_id = ids[1];
            set_back := 1;
            RETURN;
        END IF;
    END;
    -- Halve until the bad row stands alone: everyone else is scheduled.
    FOR part IN SELECT r.* FROM sync._tick_rows_safely(ids[:half], as_of) r
                UNION ALL SELECT r.* FROM sync._tick_rows_safely(ids[half + 1:], as_of) r LOOP
        enqueued := enqueued + part.enqueued;
        skipped := skipped + part.skipped;
        set_back := set_back + part.set_back;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync._tick_rows_safely(bigint[], timestamptz) IS 'Internal: _tick_rows, with a row that raises singled out';

-- When the clock has gone back, last finishes lie in the future: each such connection is looked at once more.
CREATE FUNCTION sync._sweep_clock(as_of timestamptz, max_rows int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    clock sync.engine_clock;
    ahead interval := make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60));
    last_seen bigint;
BEGIN
    SELECT * INTO clock FROM sync.engine_clock FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF clock.sweep_after IS NULL AND (clock.last_tick_at IS NULL OR as_of >= clock.last_tick_at - ahead) THEN
        IF clock.last_tick_at IS NULL OR as_of > clock.last_tick_at + interval '1 second' THEN
            UPDATE sync.engine_clock SET last_tick_at = as_of;
        END IF;
        RETURN false;
    END IF;
    IF as_of < clock.last_tick_at - ahead THEN
        clock.sweep_after := NULL;
    END IF;
    WITH batch AS (
        SELECT c.id, c.last_incremental_finished_at > as_of AS ahead
        FROM sync.connections c
        WHERE c.id > COALESCE(clock.sweep_after, (SELECT min(m.id) - 1 FROM sync.connections m))
        ORDER BY c.id LIMIT max_rows
    ), locked AS (
        SELECT s.connection_id FROM sync.connection_state s
        WHERE s.connection_id IN (SELECT b.id FROM batch b WHERE b.ahead) AND s.due_at > as_of
        FOR NO KEY UPDATE SKIP LOCKED
    ), reset AS (
        UPDATE sync.connection_state s SET due_at = '-infinity' FROM locked l WHERE s.connection_id = l.connection_id
    )
    SELECT CASE WHEN count(*) >= max_rows THEN max(b.id) END INTO last_seen FROM batch b;
    UPDATE sync.engine_clock SET last_tick_at = as_of, sweep_after = last_seen;
    RETURN last_seen IS NOT NULL;
END
$$;
COMMENT ON FUNCTION sync._sweep_clock(timestamptz, int) IS 'Internal: notices a clock that went back; true while there is more to mend';

CREATE FUNCTION sync._tick(batch int, as_of timestamptz,
    OUT enqueued int, OUT skipped int, OUT backlog bigint, OUT requeued int, OUT duration_ms double precision, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    started timestamptz := clock_timestamp();
    ahead timestamptz;
    ids bigint[];
    set_back int := 0;
BEGIN
    PERFORM sync._require_time(as_of);
    ahead := as_of + make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60));
    more := false;
    LOOP
        more := sync._sweep_clock(as_of, COALESCE(batch * 10, 100000));
        EXIT WHEN batch IS NOT NULL OR NOT more;
    END LOOP;
    SELECT l.requeued, l.more OR more INTO requeued, more FROM sync._fail_lost(as_of, batch) l;

    -- A resumed provider's parked connections come first, then what is due in due order.
    WITH unparked AS (
        SELECT s.connection_id
        FROM sync.providers p
        JOIN sync.connection_state s ON s.parked_for = p.slug
        JOIN sync.connections c ON c.id = s.connection_id
        WHERE p.status = 'active'
        LIMIT batch FOR NO KEY UPDATE OF s, c SKIP LOCKED
    ), due AS (
        SELECT s.connection_id
        FROM sync.connection_state s
        JOIN sync.connections c ON c.id = s.connection_id
        WHERE s.due_at <= ahead
        ORDER BY s.due_at LIMIT batch FOR NO KEY UPDATE OF s, c SKIP LOCKED
    )
    SELECT array_agg(u.connection_id) INTO ids
    FROM (SELECT connection_id FROM unparked UNION SELECT connection_id FROM due) u;

    enqueued := 0;
    skipped := 0;
    IF ids IS NOT NULL THEN
        more := more OR cardinality(ids) >= batch;
        SELECT r.enqueued, r.skipped, r.set_back INTO enqueued, skipped, set_back FROM sync._tick_rows_safely(ids, as_of) r;
    END IF;
    more := COALESCE(more, false);
    -- Counting all that is due would cost more than a batch: while there is more to do, a bounded look will do.
    SELECT count(*) + set_back INTO backlog
    FROM (SELECT 1 FROM sync.connection_state s WHERE s.due_at <= as_of LIMIT CASE WHEN more THEN 10 * batch END) b;
    IF enqueued > 0 OR requeued > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    duration_ms := extract(epoch FROM clock_timestamp() - started) * 1000;
    PERFORM sync._metric_observe('sync_scheduler_tick_duration_ms', '', duration_ms),
            sync._metric_set('sync_scheduler_backlog_gauge', '', backlog);
END
$$;
COMMENT ON FUNCTION sync._tick(int, timestamptz) IS 'Internal: one batch of a tick, or all of it when batch is null';

CREATE FUNCTION sync.tick(as_of timestamptz DEFAULT now(),
    OUT enqueued int, OUT skipped int, OUT backlog bigint, OUT requeued int, OUT duration_ms double precision)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.enqueued, t.skipped, t.backlog, t.requeued, t.duration_ms FROM sync._tick(NULL, as_of) t
$$;
COMMENT ON FUNCTION sync.tick(timestamptz) IS 'Enqueues all that is due, in the caller''s transaction';

CREATE FUNCTION sync.tick_batch(batch_size int DEFAULT NULL, as_of timestamptz DEFAULT now(),
    OUT enqueued int, OUT skipped int, OUT backlog bigint, OUT requeued int, OUT duration_ms double precision, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF batch_size < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'batch_size must be at least 1',
            HINT = 'Leave it out to use sync_engine.tick_batch_size.';
    END IF;
    SELECT t.enqueued, t.skipped, t.backlog, t.requeued, t.duration_ms, t.more
    INTO enqueued, skipped, backlog, requeued, duration_ms, more
    FROM sync._tick(COALESCE(batch_size, sync._setting('tick_batch_size')::int), as_of) t;
END
$$;
COMMENT ON FUNCTION sync.tick_batch(int, timestamptz) IS 'One batch of what is due; call it, a transaction each, until more is false. While it is true, backlog is counted to ten batches at most';
-- Executors and claiming. A claim never waits: what another session holds is passed by.

CREATE FUNCTION sync._executor_key(name text) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT hashtextextended('sync_engine executor ' || name, 0) $$;
COMMENT ON FUNCTION sync._executor_key(text) IS 'Internal: the advisory lock under which an executor of that name registers';

CREATE FUNCTION sync.register_executor(name text, protocol int DEFAULT 1, info jsonb DEFAULT '{}', as_of timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    fresh text;
    former text[];
    lost bigint[];
    tokens uuid[];
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(name, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an executor needs a name',
            HINT = 'Use one that stays the same when the process is restarted, such as the host name.';
    END IF;
    IF protocol IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = format('executor protocol %s is not served by this version of sync_engine', COALESCE(protocol::text, 'null')),
            DETAIL = 'Protocol 1 is served.',
            HINT = CASE WHEN protocol > 1 THEN 'Run ALTER EXTENSION sync_engine UPDATE before newer executors are started.'
                        ELSE 'Install a newer sync-executor.' END;
    END IF;
    -- Claims of that name hold this lock, shared: what they took is seen below, and none begins before this commits.
    PERFORM pg_advisory_xact_lock(sync._executor_key(register_executor.name));
    fresh := register_executor.name || '#' || left(replace(gen_random_uuid()::text, '-', ''), 12);
    WITH old AS (
        UPDATE sync.executors e SET superseded_at = as_of
        WHERE e.name = register_executor.name AND e.superseded_at IS NULL
        RETURNING e.incarnation
    )
    SELECT array_agg(o.incarnation) INTO former FROM old o;
    INSERT INTO sync.executors (incarnation, name, protocol, info, registered_at, heartbeat_at)
    VALUES (fresh, register_executor.name, register_executor.protocol, COALESCE(register_executor.info, '{}'), as_of, as_of);
    IF former IS NOT NULL THEN
        SELECT array_agg(j.id), array_agg(j.claim_token) INTO lost, tokens
        FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.claimed_by = ANY (former);
        PERFORM sync._fail_as_lost(lost, tokens, 'a new incarnation of its executor registered', as_of);
    END IF;
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION sync.register_executor(text, int, jsonb, timestamptz) IS
    'Registers an executor process and returns its incarnation, to be passed to claim_jobs and heartbeat; the jobs of a former process of that name are failed as lost';

CREATE FUNCTION sync._incarnation(executor text, as_of timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known sync.executors;
BEGIN
    SELECT * INTO known FROM sync.executors e WHERE e.incarnation = executor;
    IF NOT FOUND THEN
        SELECT * INTO known FROM sync.executors e WHERE e.name = executor AND e.superseded_at IS NULL;
    END IF;
    IF known.superseded_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('executor incarnation %s was superseded by a newer one of the same name', executor),
            HINT = 'Run each executor process under a name of its own.';
    END IF;
    IF COALESCE(executor, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an executor needs a name';
    END IF;
    -- While the name is being registered anew nothing is claimed under it.
    IF NOT pg_try_advisory_xact_lock_shared(sync._executor_key(COALESCE(known.name, executor))) THEN
        RETURN NULL;
    END IF;
    IF known.incarnation IS NOT NULL THEN
        -- Under the lock, what was read without it has to hold still.
        IF EXISTS (SELECT 1 FROM sync.executors e WHERE e.incarnation = known.incarnation AND e.superseded_at IS NULL) THEN
            RETURN known.incarnation;
        END IF;
        RETURN sync._incarnation(executor, as_of);
    END IF;
    -- Of several first claims one writes the row; the others do not wait for it.
    IF pg_try_advisory_xact_lock(sync._executor_key('first claim of ' || executor)) THEN
        INSERT INTO sync.executors (incarnation, name, registered_at) VALUES (executor, executor, as_of) ON CONFLICT DO NOTHING;
    END IF;
    RETURN executor;
END
$$;
COMMENT ON FUNCTION sync._incarnation(text, timestamptz) IS 'Internal: the current incarnation of an executor, null while it is being registered anew; an unknown name is registered';

-- For each active provider the priorities in its queue: a loose scan, two index probes each.
CREATE VIEW sync._lanes AS
WITH RECURSIVE lanes AS (
    SELECT p.slug, first.priority
    FROM sync.providers p
    CROSS JOIN LATERAL (SELECT j.priority FROM ONLY sync.sync_jobs j
                        WHERE j.status = 'queued' AND j.provider_slug = p.slug
                        ORDER BY j.priority DESC LIMIT 1) first
    WHERE p.status = 'active'
    UNION ALL
    SELECT l.slug, next.priority
    FROM lanes l
    CROSS JOIN LATERAL (SELECT j.priority FROM ONLY sync.sync_jobs j
                        WHERE j.status = 'queued' AND j.provider_slug = l.slug AND j.priority < l.priority
                        ORDER BY j.priority DESC LIMIT 1) next
)
SELECT slug, priority FROM lanes;
COMMENT ON VIEW sync._lanes IS 'Internal: the pairs of active provider and priority that have queued jobs';

CREATE FUNCTION sync.claim_jobs(executor text, max_jobs int DEFAULT 1, as_of timestamptz DEFAULT now(),
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
    incarnation text;
    wanted int := max_jobs;
    n int;
    candidates bigint[];
    after_priority int;
    after_due timestamptz;
    after_id bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    IF max_jobs IS NULL OR max_jobs < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_jobs must be at least 1';
    END IF;
    incarnation := sync._incarnation(executor, as_of);
    IF incarnation IS NULL OR sync._is_quiet() THEN
        RETURN;
    END IF;
    LOOP
        -- Candidates in claim order, unlocked: locking each lane's first rows would hide them from other claimers.
        SELECT array_agg(c.id ORDER BY c.priority DESC, c.due, c.id), count(*),
               (array_agg(c.priority ORDER BY c.priority, c.due DESC, c.id DESC))[1],
               (array_agg(c.due ORDER BY c.priority, c.due DESC, c.id DESC))[1],
               (array_agg(c.id ORDER BY c.priority, c.due DESC, c.id DESC))[1]
        INTO candidates, n, after_priority, after_due, after_id
        FROM (
            SELECT x.id, l.priority, x.due
            FROM sync._lanes l
            CROSS JOIN LATERAL (
                SELECT j.id, GREATEST(j.scheduled_at, j.retry_after) AS due
                FROM ONLY sync.sync_jobs j
                JOIN sync.connection_state s ON s.connection_id = j.connection_id
                JOIN sync.connections c ON c.id = j.connection_id
                WHERE j.status = 'queued' AND j.provider_slug = l.slug AND j.priority = l.priority
                  AND GREATEST(j.scheduled_at, j.retry_after) <= $3
                  AND (after_priority IS NULL OR l.priority < after_priority
                       OR (GREATEST(j.scheduled_at, j.retry_after), j.id) > (after_due, after_id))
                  AND s.running_job_id IS NULL AND c.status = 'active'
                ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
                LIMIT wanted) x
            WHERE after_priority IS NULL OR l.priority <= after_priority
            ORDER BY l.priority DESC, x.due, x.id
            LIMIT wanted) c;
        EXIT WHEN n = 0;

        RETURN QUERY
        WITH wish AS MATERIALIZED (
            SELECT u.id, u.ordinality FROM unnest(candidates) WITH ORDINALITY u (id, ordinality)
        ), locked AS MATERIALIZED (
            -- Both rows are rechecked after locking, so the state seen is newer than the snapshot.
            SELECT w.ordinality, j.id, j.connection_id, GREATEST(j.scheduled_at, j.retry_after) AS due
            FROM wish w
            JOIN ONLY sync.sync_jobs j ON j.id = w.id
            JOIN sync.connection_state s ON s.connection_id = j.connection_id
            JOIN sync.connections c ON c.id = j.connection_id
            JOIN sync.providers p ON p.slug = j.provider_slug
            WHERE j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) <= $3 AND s.running_job_id IS NULL
              AND c.status = 'active' AND p.status = 'active'
            FOR NO KEY UPDATE OF j, s SKIP LOCKED
        ), one_each AS MATERIALIZED (
            SELECT DISTINCT ON (k.connection_id) k.* FROM locked k ORDER BY k.connection_id, k.ordinality
        ), leased AS (
            UPDATE sync.connection_state s SET running_job_id = o.id
            FROM one_each o
            WHERE s.connection_id = o.connection_id AND s.running_job_id IS NULL
            RETURNING s.connection_id
        ), taken AS (
            UPDATE ONLY sync.sync_jobs j
            SET status = 'running', claimed_by = incarnation, claimed_at = $3, started_at = COALESCE(j.started_at, $3),
                claim_token = gen_random_uuid(), retry_after = NULL
            FROM one_each o
            JOIN leased e ON e.connection_id = o.connection_id
            WHERE j.id = o.id AND j.status = 'queued'
            RETURNING o.ordinality, o.due, j.*
        ), told AS (
            SELECT count(sync._metric_observe('sync_queue_lag_seconds', '', extract(epoch FROM $3 - t.due)::float8)) AS n FROM taken t
        ), counted AS (
            SELECT count(sync._metric_add('sync_jobs_claimed_total', g.provider_slug, '', g.n)) AS n
            FROM (SELECT t.provider_slug, count(*) AS n FROM taken t GROUP BY 1) g
        )
        SELECT t.id, t.claim_token, t.tenant_id, t.connection_id, t.provider_slug, t.job_type, t.priority, t.attempts,
               CASE WHEN t.job_type = 'incremental'
                    THEN COALESCE(NULLIF(t.cursor, 'null'), NULLIF(c.metadata #> '{sync,cursor}', 'null'))
                    ELSE NULLIF(t.cursor, 'null') END,
               t.input, p.connector, sync._merge_config(p.config, c.config, p.allowed_hosts)
        FROM taken t
        JOIN sync.connections c ON c.id = t.connection_id
        JOIN sync.providers p ON p.slug = t.provider_slug
        CROSS JOIN told
        CROSS JOIN counted
        WHERE told.n >= 0 AND counted.n >= 0
        ORDER BY t.ordinality;
        DECLARE
            got int;
        BEGIN
            GET DIAGNOSTICS got = ROW_COUNT;
            EXIT WHEN n < wanted OR got >= wanted;
            wanted := wanted - got;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sync.claim_jobs(text, int, timestamptz) IS
    'Hands due jobs to an executor, in claim order; fewer rows than asked for means that nothing more is claimable now';

CREATE FUNCTION sync.next_claim_at(as_of timestamptz DEFAULT now()) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
BEGIN
    IF sync._is_quiet() THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT min(x.due)
        FROM sync._lanes l
        CROSS JOIN LATERAL (
            SELECT GREATEST(j.scheduled_at, j.retry_after) AS due
            FROM ONLY sync.sync_jobs j
            JOIN sync.connection_state s ON s.connection_id = j.connection_id
            JOIN sync.connections c ON c.id = j.connection_id
            WHERE j.status = 'queued' AND j.provider_slug = l.slug AND j.priority = l.priority
              AND s.running_job_id IS NULL AND c.status = 'active'
            ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id
            LIMIT 1) x);
END
$$;
COMMENT ON FUNCTION sync.next_claim_at(timestamptz) IS
    'When the next job can be claimed, unless something is queued or finished before: until then an idle executor may sleep; null when nothing is queued';

CREATE FUNCTION sync.heartbeat(executor text, job_ids bigint[], as_of timestamptz DEFAULT now(), OUT job_id bigint, OUT instruction text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    mine text;
    unheard bigint[];
    tokens uuid[];
BEGIN
    PERFORM sync._require_time(as_of);
    UPDATE sync.executors e SET heartbeat_at = GREATEST(e.heartbeat_at, $3)
    WHERE (e.incarnation = executor OR e.name = executor) AND e.superseded_at IS NULL
    RETURNING e.incarnation INTO mine;
    -- Its first claim may have found the name being written by another session that then rolled back.
    IF mine IS NULL AND EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.claimed_by = executor)
       AND NOT EXISTS (SELECT 1 FROM sync.executors e WHERE e.incarnation = executor) THEN
        INSERT INTO sync.executors (incarnation, name, registered_at, heartbeat_at) VALUES (executor, executor, $3, $3)
        ON CONFLICT DO NOTHING;
        mine := executor;
    END IF;
    IF mine IS NOT NULL THEN
        -- Claimed longer ago than the lease and yet unknown to its executor: the claim's reply never arrived.
        SELECT array_agg(j.id), array_agg(j.claim_token) INTO unheard, tokens
        FROM ONLY sync.sync_jobs j
        WHERE j.status = 'running' AND j.claimed_by = mine AND j.id <> ALL (COALESCE($2, '{}'))
          AND j.claimed_at < $3 - make_interval(secs => sync._setting('lease_seconds'));
        PERFORM sync._fail_as_lost(unheard, tokens, 'its executor does not know of it: the reply to the claim was lost', $3);
    END IF;
    RETURN QUERY
    SELECT u.id, 'cancel'
    FROM unnest($2) u (id)
    WHERE NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.id = u.id AND j.status = 'running' AND j.claimed_by = mine);
END
$$;
COMMENT ON FUNCTION sync.heartbeat(text, bigint[], timestamptz) IS
    'Renews the lease of all jobs of an executor, which it lists; those that it must drop come back with the instruction cancel';

CREATE FUNCTION sync.release_jobs(executor text, job_ids bigint[], claim_tokens uuid[], as_of timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    mine bigint[];
    idle bigint[];
    released int;
BEGIN
    PERFORM sync._require_time(as_of);
    IF cardinality(job_ids) IS DISTINCT FROM cardinality(claim_tokens) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'job_ids and claim_tokens must be of the same length';
    END IF;
    mine := sync._lock_running(job_ids, claim_tokens);
    WITH freed AS (
        UPDATE ONLY sync.sync_jobs j
        SET status = 'queued', claimed_by = NULL, claimed_at = NULL, claim_token = NULL,
            priority = GREATEST(j.priority, CASE WHEN j.page = 1 THEN j.rerun_priority END),
            rerun_priority = CASE WHEN j.page > 1 THEN j.rerun_priority END
        WHERE j.id = ANY (mine)
        RETURNING j.id, j.connection_id
    ), idled AS (
        UPDATE sync.connection_state s SET running_job_id = NULL FROM freed f WHERE s.connection_id = f.connection_id
    )
    SELECT count(*), array_agg(DISTINCT c.id) FILTER (WHERE c.status <> 'active')
    INTO released, idle
    FROM freed f JOIN sync.connections c ON c.id = f.connection_id;
    IF idle IS NOT NULL THEN
        PERFORM sync._cancel_queued(idle, 'released while its connection was not active', as_of);
    END IF;
    IF released > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    RETURN released;
END
$$;
COMMENT ON FUNCTION sync.release_jobs(text, bigint[], uuid[], timestamptz) IS
    'Gives claimed jobs back unharmed: they are queued again at no cost of an attempt; stale tokens are passed by. Returns how many were released';
-- Completing jobs. Whoever waits locks connections first, then jobs, both in id order.

CREATE FUNCTION sync._lock_running(job_ids bigint[], claim_tokens uuid[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    valid bigint[];
BEGIN
    PERFORM 1 FROM sync.connections c
    WHERE c.id IN (SELECT j.connection_id FROM ONLY sync.sync_jobs j
                   JOIN unnest(job_ids, claim_tokens) u (id, token) ON u.id = j.id
                   WHERE j.status = 'running' AND j.claim_token = u.token)
    ORDER BY c.id FOR NO KEY UPDATE;
    -- A new statement sees what was committed while the lock was waited for.
    SELECT array_agg(l.id) INTO valid
    FROM (SELECT j.id FROM ONLY sync.sync_jobs j
          JOIN unnest(job_ids, claim_tokens) u (id, token) ON u.id = j.id
          WHERE j.status = 'running' AND j.claim_token = u.token
          ORDER BY j.id FOR UPDATE OF j) l;
    RETURN valid;
END
$$;
COMMENT ON FUNCTION sync._lock_running(bigint[], uuid[]) IS 'Internal: locks the connections and jobs that are running under these tokens and returns the jobs';

CREATE FUNCTION sync._signals_fault(signals jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fault text;
BEGIN
    IF signals IS NULL THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(signals) <> 'array' THEN
        RETURN format('signals is a JSON %s, not an array', jsonb_typeof(signals));
    END IF;
    SELECT format('signals[%s]%s', s.ordinality - 1,
                  CASE
                      WHEN jsonb_typeof(s.value) <> 'object' THEN ' is a JSON ' || jsonb_typeof(s.value) || ', not an object'
                      WHEN jsonb_typeof(s.value -> 'kind') <> 'string' OR s.value ->> 'kind' = '' THEN '.kind is not a non-empty string'
                      WHEN jsonb_typeof(s.value -> 'dedupe_key') NOT IN ('string', 'number', 'null') THEN '.dedupe_key is not a string'
                      ELSE '.occurred_at is not a time such as 2026-03-01T12:15:00Z'
                  END)
    INTO fault
    FROM jsonb_array_elements(signals) WITH ORDINALITY s
    WHERE jsonb_typeof(s.value) <> 'object'
       OR jsonb_typeof(s.value -> 'kind') <> 'string' OR s.value ->> 'kind' = ''
       OR jsonb_typeof(s.value -> 'dedupe_key') NOT IN ('string', 'number', 'null')
       OR (jsonb_typeof(s.value -> 'occurred_at') <> 'null'
           AND (jsonb_typeof(s.value -> 'occurred_at') <> 'string' OR sync.parse_utc(s.value ->> 'occurred_at') IS NULL))
    LIMIT 1;
    RETURN fault;
END
$$;
COMMENT ON FUNCTION sync._signals_fault(jsonb) IS 'Internal: what is wrong with an array of signals, null when nothing is';

-- A key longer than an index entry may be is kept by its digest.
CREATE FUNCTION sync._dedupe_key(key text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN pg_catalog.octet_length(key) OPERATOR(pg_catalog.>) 512
                THEN 'sha256:' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(key, 'UTF8')), 'hex')
                ELSE key END
$$;
COMMENT ON FUNCTION sync._dedupe_key(text) IS 'Internal: a dedupe key as it is stored';

CREATE FUNCTION sync._land_signals(job_ids bigint[], signals jsonb[], as_of timestamptz, OUT job_id bigint, OUT received int, OUT inserted int)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    month_from timestamptz := date_trunc('month', as_of AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    month_to timestamptz := (date_trunc('month', as_of AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT j.id, j.tenant_id, j.provider_slug, j.connection_id, s.kind, s.occurred_at, s.payload,
               sync._dedupe_key(s.dedupe_key) AS dedupe_key
        FROM unnest($1, $2) u (id, signals)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        CROSS JOIN LATERAL jsonb_to_recordset(u.signals) s (kind text, occurred_at text, payload jsonb, dedupe_key text)
    ), landed AS (
        INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key)
        SELECT g.tenant_id, g.provider_slug, g.connection_id, COALESCE(g.kind, 'signal'),
               COALESCE(sync.parse_utc(g.occurred_at), $3), $3, COALESCE(g.payload, '{}'), g.dedupe_key
        FROM given g
        -- This month's partition is guarded by its unique index; only the others have to be asked.
        WHERE g.dedupe_key IS NULL OR NOT EXISTS (
            SELECT 1 FROM sync.signals x
            WHERE x.tenant_id = g.tenant_id AND x.connection_id = g.connection_id AND x.dedupe_key = g.dedupe_key
              AND (x.received_at < month_from OR x.received_at >= month_to))
        ON CONFLICT DO NOTHING
        RETURNING connection_id
    ), tally AS (
        SELECT l.connection_id, count(*)::int AS n FROM landed l GROUP BY 1
    )
    -- A connection has one running job, so counting by connection counts by job.
    SELECT r.id, r.n, COALESCE(t.n, 0)
    FROM (SELECT g.id, g.connection_id, count(*)::int AS n FROM given g GROUP BY 1, 2) r
    LEFT JOIN tally t ON t.connection_id = r.connection_id;
END
$$;
COMMENT ON FUNCTION sync._land_signals(bigint[], jsonb[], timestamptz) IS 'Internal: inserts the signals of running jobs that the caller has locked';

CREATE FUNCTION sync._complete(job_ids bigint[], signals jsonb[], next_cursors jsonb[], more boolean[], stats jsonb[], as_of timestamptz,
    OUT job_id bigint, OUT job_status text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    max_pages int := sync._setting('max_pages_per_run');
    landed_ids bigint[];
    landed_received int[];
    landed_inserted int[];
BEGIN
    PERFORM sync._ensure_history(as_of);
    SELECT array_agg(l.job_id), array_agg(l.received), array_agg(l.inserted)
    INTO landed_ids, landed_received, landed_inserted
    FROM sync._land_signals(
        (SELECT array_agg(u.id) FROM unnest($1, $2) u (id, signals) WHERE jsonb_array_length(u.signals) > 0),
        (SELECT array_agg(u.signals) FROM unnest($1, $2) u (id, signals) WHERE jsonb_array_length(u.signals) > 0), $6) l;

    RETURN QUERY
    WITH result AS MATERIALIZED (
        SELECT j.*, u.next_cursor, u.more, u.stats,
               c.status = 'active' AS active, i.base_seconds,
               COALESCE(l.received, 0) + j.signals_inserted + j.signals_duplicate AS all_received,
               COALESCE(l.inserted, 0) + j.signals_inserted AS all_inserted,
               u.more AND COALESCE(l.inserted, 0) + j.signals_inserted = 0
                   AND u.next_cursor = CASE WHEN j.job_type = 'incremental'
                                            THEN COALESCE(NULLIF(j.cursor, 'null'), NULLIF(c.metadata #> '{sync,cursor}', 'null'))
                                            ELSE NULLIF(j.cursor, 'null') END AS stalled
        FROM unnest($1, $3, $4, $5) u (id, next_cursor, more, stats)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        JOIN sync.connections c ON c.id = j.connection_id
        CROSS JOIN LATERAL sync._effective_interval(c.metadata #> '{sync,interval_seconds}') i
        LEFT JOIN unnest(landed_ids, landed_received, landed_inserted) l (id, received, inserted) ON l.id = j.id
    ), judged AS MATERIALIZED (
        SELECT r.*, f.fault, f.fault IS NULL AND r.more AS goes_on,
               CASE WHEN f.fault IS NULL THEN 'succeeded' ELSE 'failed' END AS new_status
        FROM result r
        CROSS JOIN LATERAL (
            SELECT CASE
                       WHEN r.more AND r.page >= max_pages THEN format('more than %s pages in one run', max_pages)
                       WHEN r.stalled AND r.stalled_pages >= 1 THEN 'two pages in a row returned their own cursor and no new signal'
                   END AS fault) f
    ), ended AS (
        DELETE FROM ONLY sync.sync_jobs j USING judged d WHERE j.id = d.id RETURNING j.id, j.connection_id
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.attempts,
            d.rate_limited_attempts, d.scheduled_at, d.retry_after, d.started_at, $6, d.cursor, d.input,
            CASE WHEN d.fault IS NULL THEN d.error ELSE jsonb_build_object('message', d.fault) END,
            CASE WHEN d.fault IS NULL THEN d.error_kind ELSE 'permanent' END, d.run_id, d.page,
            d.stalled_pages, d.all_inserted, d.all_received - d.all_inserted, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at
        FROM judged d JOIN ended e ON e.id = d.id
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            next_cursor, has_more, error, stats, claimed_by, claim_token)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.attempts + 1, d.page, d.new_status, d.new_status,
            CASE WHEN d.fault IS NOT NULL THEN 'permanent' END, d.scheduled_at, d.claimed_at, $6,
            GREATEST(extract(epoch FROM $6 - d.claimed_at), 0) * 1000, d.all_received, d.all_inserted, d.all_received - d.all_inserted,
            d.next_cursor, d.more, CASE WHEN d.fault IS NOT NULL THEN jsonb_build_object('message', d.fault) END,
            d.stats, d.claimed_by, d.claim_token
        FROM judged d JOIN ended e ON e.id = d.id
    ), followed AS (
        -- The next page, and one more run where a trigger arrived meanwhile; reading from ended puts the end first.
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, cursor, input, run_id,
            page, stalled_pages, rerun_priority, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type,
               CASE WHEN n.goes_on THEN n.priority ELSE n.rerun_priority END, $6,
               CASE WHEN n.goes_on THEN n.next_cursor END, CASE WHEN n.goes_on THEN n.input END,
               CASE WHEN n.goes_on THEN n.run_id ELSE n.id END,
               CASE WHEN n.goes_on THEN n.page + 1 ELSE 1 END,
               CASE WHEN n.goes_on AND n.stalled THEN n.stalled_pages + 1 ELSE 0 END,
               CASE WHEN n.goes_on THEN n.rerun_priority END, $6
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.priority,
                     d.rerun_priority, d.goes_on, d.next_cursor, d.input, d.run_id, d.page, d.stalled, d.stalled_pages
              FROM judged d JOIN ended e ON e.id = d.id
              WHERE d.active AND (d.goes_on OR d.rerun_priority IS NOT NULL)) n
        RETURNING connection_id, job_type
    ), moved AS (
        UPDATE sync.connections c
        SET last_incremental_finished_at = CASE WHEN d.ends_run THEN $6 ELSE c.last_incremental_finished_at END,
            metadata = sync._metadata_with(c.metadata,
                CASE WHEN d.keeps_cursor THEN jsonb_build_object('cursor', d.next_cursor) ELSE '{}' END
                || CASE WHEN d.ends_run THEN jsonb_build_object('next_run_at',
                        sync._format_utc($6 + make_interval(secs => d.base_seconds))) ELSE '{}' END)
        FROM (SELECT x.connection_id, x.next_cursor, x.base_seconds,
                     x.job_type = 'incremental' AND NOT x.goes_on AS ends_run,
                     x.next_cursor IS NOT NULL AND (x.job_type = 'incremental' OR NOT x.more) AS keeps_cursor
              FROM judged x) d
        WHERE c.id = d.connection_id AND (d.ends_run OR d.keeps_cursor)
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN d.job_type = 'incremental' AND NOT d.goes_on AND d.active AND d.rerun_priority IS NULL
                          THEN $6 + make_interval(secs => d.base_seconds)
                          WHEN d.job_type = 'incremental' THEN NULL
                          ELSE s.due_at END
        FROM judged d
        WHERE s.connection_id = d.connection_id
    ), counted AS (
        SELECT count(sync._metric_add(CASE WHEN g.new_status = 'failed' THEN 'sync_jobs_failed_total' ELSE 'sync_jobs_succeeded_total' END,
                         g.provider_slug, CASE WHEN g.new_status = 'failed' THEN 'permanent' ELSE '' END, g.n)) AS n,
               count(sync._metric_add('sync_signals_total', g.provider_slug, '', g.inserted)) AS n2,
               count(sync._metric_add('sync_signals_duplicate_total', g.provider_slug, '', g.duplicate)) AS n3
        FROM (SELECT d.provider_slug, d.new_status, count(*) AS n, sum(d.all_inserted) AS inserted, sum(d.all_received - d.all_inserted) AS duplicate
              FROM judged d GROUP BY 1, 2) g
    ), told AS (
        SELECT count(sync._metric_observe('sync_run_duration_seconds', '', GREATEST(extract(epoch FROM $6 - d.claimed_at), 0)::float8)) AS n FROM judged d
    )
    SELECT d.id, d.new_status, d.fault
    FROM judged d
    CROSS JOIN counted
    CROSS JOIN told
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND counted.n3 >= 0 AND told.n >= 0;
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._complete(bigint[], jsonb[], jsonb[], boolean[], jsonb[], timestamptz) IS
    'Internal: ends running jobs that the caller has locked and checked, with all that belongs to it';
-- Attempts that did not succeed: failed, lost, cancelled.

CREATE FUNCTION sync.backoff_seconds(attempts int, provider_slug text DEFAULT NULL, hint_seconds numeric DEFAULT NULL) RETURNS numeric
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p sync.providers;
BEGIN
    IF provider_slug IS NOT NULL THEN
        SELECT x.* INTO p FROM sync.providers x WHERE x.slug = provider_slug;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('provider %s does not exist', provider_slug);
        END IF;
    END IF;
    RETURN sync._backoff(attempts, COALESCE(p.backoff_base_seconds, sync._setting('backoff_base_seconds')),
                         COALESCE(p.backoff_max_seconds, sync._setting('backoff_max_seconds')), hint_seconds);
END
$$;
COMMENT ON FUNCTION sync.backoff_seconds(int, text, numeric) IS
    'Seconds to wait after a failure, given the failures before it, without jitter: min(base * 2^attempts, max), or the hint if that is longer';

CREATE FUNCTION sync._cut_error(error jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
               WHEN error IS NULL OR error OPERATOR(pg_catalog.=) 'null'::pg_catalog.jsonb THEN '{}'::pg_catalog.jsonb
               WHEN pg_catalog.length(error::pg_catalog.text) OPERATOR(pg_catalog.>) 16384 THEN pg_catalog.jsonb_build_object(
                   'message', pg_catalog."left"(COALESCE(error OPERATOR(pg_catalog.->>) 'message', error::pg_catalog.text), 8192), 'truncated', true)
               WHEN pg_catalog.jsonb_typeof(error) OPERATOR(pg_catalog.=) 'object' THEN error
               ELSE pg_catalog.jsonb_build_object('message', error OPERATOR(pg_catalog.#>>) '{}')
           END
$$;
COMMENT ON FUNCTION sync._cut_error(jsonb) IS 'Internal: an error as an object of bounded size';

CREATE FUNCTION sync._fail(job_ids bigint[], errors jsonb[], kinds text[], hints numeric[], as_of timestamptz, callers text[],
    OUT job_id bigint, OUT job_status text, OUT retry_after timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET sync_engine.internal = on
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    base_default float8 := sync._setting('backoff_base_seconds');
    max_default float8 := sync._setting('backoff_max_seconds');
    jitter_default float8 := sync._setting('backoff_jitter_factor');
    attempts_default int := sync._setting('max_attempts');
    refused bigint[];
BEGIN
    PERFORM sync._ensure_history(as_of);
    SELECT array_agg(j.connection_id) INTO refused
    FROM unnest($1, $3) u (id, kind) JOIN ONLY sync.sync_jobs j ON j.id = u.id
    WHERE u.kind = 'unauthorized';
    RETURN QUERY
    WITH result AS MATERIALIZED (
        SELECT j.*, sync._cut_error(u.error) || jsonb_build_object('kind', u.kind) AS new_error, u.kind AS new_kind, u.caller,
               c.status = 'active' AS active, i.base_seconds,
               j.attempts + 1 AS new_attempts, j.rate_limited_attempts + (u.kind = 'rate_limited')::int AS new_limited,
               b.wait, COALESCE(p.max_attempts, attempts_default) AS max_attempts,
               $5 + make_interval(secs => (b.wait + random() * COALESCE(p.backoff_jitter_factor, jitter_default) * b.wait)) AS again_at
        FROM unnest($1, $2, $3, $4, $6) u (id, error, kind, hint, caller)
        JOIN ONLY sync.sync_jobs j ON j.id = u.id
        JOIN sync.connections c ON c.id = j.connection_id
        JOIN sync.providers p ON p.slug = j.provider_slug
        CROSS JOIN LATERAL sync._effective_interval(c.metadata #> '{sync,interval_seconds}') i
        CROSS JOIN LATERAL (SELECT sync._backoff(j.attempts, COALESCE(p.backoff_base_seconds, base_default),
                                                 COALESCE(p.backoff_max_seconds, max_default), u.hint)::float8 AS wait) b
    ), judged AS MATERIALIZED (
        SELECT r.*, CASE
                        WHEN r.new_kind IN ('unauthorized', 'permanent') OR r.new_attempts - r.new_limited >= r.max_attempts THEN 'failed'
                        WHEN NOT r.active THEN 'cancelled'
                        ELSE 'queued'
                    END AS new_status
        FROM result r
    ), requeued AS (
        UPDATE ONLY sync.sync_jobs j
        SET status = 'queued', attempts = d.new_attempts, rate_limited_attempts = d.new_limited, retry_after = d.again_at,
            error = d.new_error, error_kind = d.new_kind, claimed_by = NULL, claimed_at = NULL, claim_token = NULL,
            signals_inserted = 0, signals_duplicate = 0,
            priority = GREATEST(j.priority, CASE WHEN j.page = 1 THEN j.rerun_priority END),
            rerun_priority = CASE WHEN j.page > 1 THEN j.rerun_priority END
        FROM judged d
        WHERE j.id = d.id AND d.new_status = 'queued'
    ), ended AS (
        DELETE FROM ONLY sync.sync_jobs j USING judged d WHERE j.id = d.id AND d.new_status <> 'queued' RETURNING j.id, j.connection_id
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT d.id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.new_status, d.priority, d.new_attempts,
            d.new_limited, d.scheduled_at, d.retry_after, d.started_at, $5, d.cursor, d.input, d.new_error, d.new_kind, d.run_id, d.page,
            d.stalled_pages, d.signals_inserted, d.signals_duplicate, d.rerun_priority, d.claimed_by, d.claimed_at, d.claim_token, d.created_at
        FROM judged d JOIN ended e ON e.id = d.id
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            kind, scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate,
            retry_after, error, claimed_by, claim_token, ended_by)
        SELECT d.tenant_id, d.provider_slug, d.connection_id, d.id, d.run_id, d.job_type, d.new_attempts, d.page, 'failed', d.new_status,
            d.new_kind, d.scheduled_at, d.claimed_at, $5, GREATEST(extract(epoch FROM $5 - d.claimed_at), 0) * 1000,
            d.signals_inserted + d.signals_duplicate, d.signals_inserted, d.signals_duplicate,
            CASE WHEN d.new_status = 'queued' THEN d.again_at END, d.new_error, d.claimed_by, d.claim_token, d.caller
        FROM judged d
    ), again AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.rerun_priority, $5, n.id, $5
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, d.tenant_id, d.provider_slug, d.connection_id, d.job_type, d.rerun_priority
              FROM judged d JOIN ended e ON e.id = d.id
              WHERE d.active AND d.rerun_priority IS NOT NULL AND d.new_kind <> 'unauthorized') n
    ), moved AS (
        UPDATE sync.connections c
        SET status = CASE WHEN d.new_kind = 'unauthorized' AND d.active THEN 'error' ELSE c.status END,
            status_reason = CASE WHEN d.new_kind = 'unauthorized' AND d.active
                                 THEN left('unauthorized: ' || COALESCE(d.new_error ->> 'message', 'the provider refused the credentials'), 500)
                                 ELSE c.status_reason END,
            last_incremental_finished_at = CASE WHEN d.ends_run THEN $5 ELSE c.last_incremental_finished_at END,
            metadata = CASE WHEN d.ends_run THEN sync._metadata_with(c.metadata, jsonb_build_object('next_run_at',
                            sync._format_utc($5 + make_interval(secs => d.base_seconds)))) ELSE c.metadata END
        FROM (SELECT x.*, x.job_type = 'incremental' AND x.new_status = 'failed' AS ends_run FROM judged x) d
        WHERE c.id = d.connection_id AND (d.ends_run OR (d.new_kind = 'unauthorized' AND d.active))
    ), freed AS (
        UPDATE sync.connection_state s
        SET running_job_id = NULL,
            due_at = CASE WHEN NOT d.active OR d.new_kind = 'unauthorized' THEN NULL
                          WHEN d.job_type = 'incremental' AND d.new_status = 'failed' AND d.rerun_priority IS NULL
                              THEN $5 + make_interval(secs => d.base_seconds)
                          WHEN d.job_type = 'incremental' THEN NULL
                          ELSE s.due_at END
        FROM judged d
        WHERE s.connection_id = d.connection_id
    ), counted AS (
        SELECT count(sync._metric_add('sync_jobs_failed_total', g.provider_slug, g.new_kind, g.n)) AS n,
               count(CASE WHEN g.new_kind = 'rate_limited' THEN sync._metric_add('rate_limited_total', g.provider_slug, '', g.n) END) AS n2
        FROM (SELECT d.provider_slug, d.new_kind, count(*) AS n FROM judged d GROUP BY 1, 2) g
    ), told AS (
        SELECT count(CASE WHEN d.new_kind = 'rate_limited' THEN sync._metric_observe('rate_limited_backoff_seconds', '', d.wait) END) AS n
        FROM judged d
    )
    SELECT d.id, d.new_status, CASE WHEN d.new_status = 'queued' THEN d.again_at END
    FROM judged d
    CROSS JOIN counted
    CROSS JOIN told
    WHERE counted.n >= 0 AND counted.n2 >= 0 AND told.n >= 0;

    IF refused IS NOT NULL THEN
        PERFORM sync._cancel_queued(refused, 'connection is error: unauthorized', as_of);
    END IF;
    PERFORM sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync._fail(bigint[], jsonb[], text[], numeric[], timestamptz, text[]) IS
    'Internal: ends the attempts of running jobs that the caller has locked: queued again with backoff, or failed';

CREATE FUNCTION sync._fail_as_lost(job_ids bigint[], claim_tokens uuid[], reason text, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    mine bigint[];
BEGIN
    IF job_ids IS NULL THEN
        RETURN 0;
    END IF;
    mine := sync._lock_running(job_ids, claim_tokens);
    IF mine IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM sync._fail(mine, array_fill(jsonb_build_object('message', reason), ARRAY[cardinality(mine)]),
                       array_fill('lost'::text, ARRAY[cardinality(mine)]), array_fill(NULL::numeric, ARRAY[cardinality(mine)]), as_of,
                       array_fill('lost'::text, ARRAY[cardinality(mine)]));
    RETURN cardinality(mine);
END
$$;
COMMENT ON FUNCTION sync._fail_as_lost(bigint[], uuid[], text, timestamptz) IS 'Internal: fails running jobs whose executor is gone';

CREATE FUNCTION sync._fail_lost(as_of timestamptz, max_rows int, OUT requeued int, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    lease interval := make_interval(secs => sync._setting('lease_seconds'));
    max_run float8 := sync._setting('max_run_seconds');
    lost record;
BEGIN
    requeued := 0;
    more := false;
    -- The set of running jobs is small; what another session holds is left to the next tick.
    SELECT array_agg(x.id) FILTER (WHERE NOT x.overran) AS expired, array_agg(x.claim_token) FILTER (WHERE NOT x.overran) AS expired_tokens,
           array_agg(x.id) FILTER (WHERE x.overran) AS overdue, array_agg(x.claim_token) FILTER (WHERE x.overran) AS overdue_tokens,
           count(*) AS n
    INTO lost
    FROM (
        SELECT j.id, j.claim_token, j.claimed_at <= as_of - make_interval(secs => COALESCE(p.max_run_seconds, max_run)) AS overran
        FROM ONLY sync.sync_jobs j
        JOIN sync.connections c ON c.id = j.connection_id
        JOIN sync.connection_state s ON s.connection_id = j.connection_id
        JOIN sync.providers p ON p.slug = j.provider_slug
        LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
        WHERE j.status = 'running'
          AND (j.claimed_at <= as_of - make_interval(secs => COALESCE(p.max_run_seconds, max_run))
               OR (j.claimed_at <= as_of - lease AND (e.heartbeat_at IS NULL OR e.heartbeat_at <= as_of - lease)))
        ORDER BY j.connection_id
        LIMIT max_rows
        FOR NO KEY UPDATE OF c, s SKIP LOCKED FOR UPDATE OF j SKIP LOCKED) x;
    IF lost.n = 0 OR NOT sync._history_is_free(as_of) THEN
        RETURN;
    END IF;
    requeued := sync._fail_as_lost(lost.expired, lost.expired_tokens, 'no heartbeat of its executor within the lease', as_of)
                + sync._fail_as_lost(lost.overdue, lost.overdue_tokens, 'ran longer than max_run_seconds', as_of);
    more := COALESCE(lost.n >= max_rows, false);
END
$$;
COMMENT ON FUNCTION sync._fail_lost(timestamptz, int) IS 'Internal: fails jobs whose lease or maximum run time is over';

CREATE FUNCTION sync._cancel(job_ids bigint[], reason text, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    cancelled int;
BEGIN
    PERFORM sync._ensure_history(as_of);
    WITH ended AS (
        DELETE FROM ONLY sync.sync_jobs j WHERE j.id = ANY ($1) AND j.status IN ('queued', 'running') RETURNING j.*
    ), kept AS (
        INSERT INTO sync._finished_jobs (id, tenant_id, provider_slug, connection_id, job_type, status, priority, attempts,
            rate_limited_attempts, scheduled_at, retry_after, started_at, finished_at, cursor, input, error, error_kind, run_id, page,
            stalled_pages, signals_inserted, signals_duplicate, rerun_priority, claimed_by, claimed_at, claim_token, created_at)
        SELECT e.id, e.tenant_id, e.provider_slug, e.connection_id, e.job_type, 'cancelled', e.priority, e.attempts,
            e.rate_limited_attempts, e.scheduled_at, e.retry_after, e.started_at, $3, e.cursor, e.input,
            COALESCE(e.error, '{}') || jsonb_build_object('cancelled', $2), e.error_kind, e.run_id, e.page,
            e.stalled_pages, e.signals_inserted, e.signals_duplicate, e.rerun_priority, e.claimed_by, e.claimed_at, e.claim_token, e.created_at
        FROM ended e
    ), recorded AS (
        INSERT INTO sync.sync_executions (tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status,
            scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate, error, claimed_by, claim_token,
            ended_by)
        SELECT e.tenant_id, e.provider_slug, e.connection_id, e.id, e.run_id, e.job_type, e.attempts + 1, e.page, 'cancelled', 'cancelled',
            e.scheduled_at, e.claimed_at, $3, GREATEST(extract(epoch FROM $3 - e.claimed_at), 0) * 1000,
            e.signals_inserted + e.signals_duplicate, e.signals_inserted, e.signals_duplicate,
            jsonb_build_object('message', $2), e.claimed_by, e.claim_token, 'cancel'
        FROM ended e WHERE e.status = 'running'
    ), again AS (
        -- What triggers asked for while it ran is not cancelled with it.
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, n.rerun_priority, $3, n.id, $3
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, e.tenant_id, e.provider_slug, e.connection_id, e.job_type, e.rerun_priority
              FROM ended e JOIN sync.connections c ON c.id = e.connection_id
              WHERE c.status = 'active' AND e.status = 'running' AND e.rerun_priority IS NOT NULL) n
    ), stated AS (
        -- A cancelled run leaves next_run_at as it is: the next slot is used.
        UPDATE sync.connection_state s
        SET running_job_id = CASE WHEN s.running_job_id = ANY ($1) THEN NULL ELSE s.running_job_id END,
            due_at = CASE WHEN c.status <> 'active' OR x.again THEN NULL
                          WHEN x.incremental THEN sync._looked_at(c.metadata)
                          ELSE s.due_at END
        FROM (SELECT e.connection_id, bool_or(e.job_type = 'incremental') AS incremental,
                     bool_or(e.job_type = 'incremental' AND e.status = 'running' AND e.rerun_priority IS NOT NULL) AS again
              FROM ended e GROUP BY 1) x
        JOIN sync.connections c ON c.id = x.connection_id
        WHERE s.connection_id = x.connection_id
    )
    SELECT count(*) INTO cancelled FROM ended e;
    RETURN cancelled;
END
$$;
COMMENT ON FUNCTION sync._cancel(bigint[], text, timestamptz) IS 'Internal: cancels live jobs whose connections the caller has locked';

CREATE FUNCTION sync._cancel_queued(connections bigint[], reason text, as_of timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    queued bigint[];
BEGIN
    SELECT array_agg(l.id) INTO queued
    FROM (SELECT j.id FROM ONLY sync.sync_jobs j
          WHERE j.connection_id = ANY (connections) AND j.status = 'queued' ORDER BY j.id FOR UPDATE) l;
    IF queued IS NULL THEN
        RETURN 0;
    END IF;
    RETURN sync._cancel(queued, reason, as_of);
END
$$;
COMMENT ON FUNCTION sync._cancel_queued(bigint[], text, timestamptz) IS 'Internal: cancels what is queued for connections that the caller has locked';
-- The functions by which executors end jobs. All act on (job_id, claim_token) of a running job only.

-- What a call with a token that runs no more means: it had succeeded before (its reply was lost), or it is stale.
CREATE FUNCTION sync._ended_as(job_id bigint, claim_token uuid, caller text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- plpgsql, not sql: its plans notice a partition that this transaction made.
    RETURN (SELECT e.job_status
            FROM sync.sync_jobs j
            JOIN sync.sync_executions e
              ON e.tenant_id = j.tenant_id AND e.connection_id = j.connection_id AND e.job_id = j.id
            WHERE j.id = $1 AND e.claim_token = $2 AND e.ended_by = $3
            ORDER BY e.id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION sync._ended_as(bigint, uuid, text) IS 'Internal: what became of the job when a call of that sort ended the attempt with that token; null when none did';

CREATE FUNCTION sync._refuse_results(fault text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = fault,
        HINT = 'A signal is {"kind": text, "occurred_at": ISO 8601 time, "dedupe_key": text, "payload": any}.';
END
$$;
COMMENT ON FUNCTION sync._refuse_results(text) IS 'Internal: raises 22023';

CREATE FUNCTION sync.complete_job(job_id bigint, claim_token uuid, signals jsonb DEFAULT '[]', next_cursor jsonb DEFAULT NULL,
    has_more boolean DEFAULT false, stats jsonb DEFAULT '{}', as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine bigint[];
    fault text := sync._signals_fault(signals);
BEGIN
    PERFORM sync._require_time(as_of);
    IF jsonb_typeof(stats) <> 'object' THEN
        fault := COALESCE(fault, format('stats is a JSON %s, not an object', jsonb_typeof(stats)));
    END IF;
    IF fault IS NOT NULL THEN
        PERFORM sync._refuse_results(fault);
    END IF;
    mine := sync._lock_running(ARRAY[job_id], ARRAY[claim_token]);
    IF mine IS NULL THEN
        RETURN sync._ended_as(job_id, claim_token, 'complete') IS NOT NULL;
    END IF;
    IF has_more AND NULLIF(next_cursor, 'null') IS NULL THEN
        PERFORM sync._fail(mine, ARRAY['{"message": "has_more without a next_cursor"}'::jsonb], ARRAY['permanent'], ARRAY[NULL::numeric], as_of,
                           ARRAY['complete']);
    ELSE
        PERFORM sync._complete(mine, ARRAY[COALESCE(signals, '[]')], ARRAY[NULLIF(next_cursor, 'null')],
                               ARRAY[COALESCE(has_more, false)], ARRAY[COALESCE(stats, '{}')], as_of);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync.complete_job(bigint, uuid, jsonb, jsonb, boolean, jsonb, timestamptz) IS
    'Ends a job: signals, cursor, follow-up page, history and next run in one transaction. False when the token is stale; true again when the call is repeated';

CREATE FUNCTION sync.add_signals(job_id bigint, claim_token uuid, signals jsonb, as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    mine bigint[];
    fault text := sync._signals_fault(signals);
BEGIN
    PERFORM sync._require_time(as_of);
    IF fault IS NOT NULL THEN
        PERFORM sync._refuse_results(fault);
    END IF;
    mine := sync._lock_running(ARRAY[job_id], ARRAY[claim_token]);
    IF mine IS NULL THEN
        RETURN false;
    END IF;
    PERFORM sync._ensure_history(as_of);
    UPDATE ONLY sync.sync_jobs j
    SET signals_inserted = j.signals_inserted + l.inserted, signals_duplicate = j.signals_duplicate + l.received - l.inserted
    FROM sync._land_signals(mine, ARRAY[$3], $4) l
    WHERE j.id = l.job_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION sync.add_signals(bigint, uuid, jsonb, timestamptz) IS
    'Lands part of a big page ahead of complete_job, in the same transaction; false when the token is stale';

CREATE FUNCTION sync._is_kind(kind text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT kind OPERATOR(pg_catalog.=) ANY ('{transient,rate_limited,unauthorized,permanent,lost}'::pg_catalog.text[]) $$;
COMMENT ON FUNCTION sync._is_kind(text) IS 'Internal: whether that is a kind of failure';

CREATE FUNCTION sync.fail_job(job_id bigint, claim_token uuid, error jsonb, kind text DEFAULT 'transient',
    retry_after_seconds numeric DEFAULT NULL, as_of timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine bigint[];
BEGIN
    PERFORM sync._require_time(as_of);
    IF sync._is_kind(kind) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('unknown kind of failure: %L', kind),
            HINT = 'Use transient, rate_limited, unauthorized, permanent or lost.';
    END IF;
    mine := sync._lock_running(ARRAY[job_id], ARRAY[claim_token]);
    IF mine IS NULL THEN
        RETURN sync._ended_as(job_id, claim_token, 'fail');
    END IF;
    RETURN (SELECT f.job_status FROM sync._fail(mine, ARRAY[error], ARRAY[kind], ARRAY[retry_after_seconds], as_of, ARRAY['fail']) f);
END
$$;
COMMENT ON FUNCTION sync.fail_job(bigint, uuid, jsonb, text, numeric, timestamptz) IS
    'Ends an attempt that failed: queued again with backoff, or failed for good. Returns the new status, null when the token is stale';

CREATE FUNCTION sync.complete_jobs(results jsonb, as_of timestamptz DEFAULT now(), OUT job_id bigint, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    r record;
    mine bigint[];
    handled int[];
BEGIN
    PERFORM sync._require_time(as_of);
    IF jsonb_typeof(results) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'results must be a JSON array',
            HINT = 'Its elements are {"job_id", "claim_token", "signals", "next_cursor", "has_more", "stats"} or {"job_id", "claim_token", "error", "kind", "retry_after_seconds"}.';
    END IF;
    -- Everything is read once; what cannot be read is the fault of its own element.
    SELECT array_agg(x.ord) AS ord, array_agg(x.id) AS ids, array_agg(x.token) AS tokens,
           array_agg(x.element) AS elements, array_agg(x.fault) AS faults, array_agg(x.failing) AS failing
    INTO r
    FROM (
        SELECT e.ordinality::int AS ord, e.value AS element, e.value ? 'error' AS failing,
               CASE WHEN e.value ->> 'job_id' ~ '^[0-9]{1,18}$' THEN (e.value ->> 'job_id')::bigint END AS id,
               CASE WHEN e.value ->> 'claim_token' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (e.value ->> 'claim_token')::uuid END AS token,
               COALESCE(sync._signals_fault(NULLIF(e.value -> 'signals', 'null')),
                        CASE WHEN jsonb_typeof(e.value -> 'stats') NOT IN ('object', 'null') THEN 'stats is not an object' END,
                        CASE WHEN jsonb_typeof(e.value -> 'has_more') NOT IN ('boolean', 'null') THEN 'has_more is not a boolean' END,
                        CASE WHEN e.value -> 'has_more' = 'true' AND NULLIF(e.value -> 'next_cursor', 'null') IS NULL
                             THEN 'has_more without a next_cursor' END) AS fault
        FROM jsonb_array_elements(results) WITH ORDINALITY e
        WHERE jsonb_typeof(e.value) = 'object') x;
    mine := sync._lock_running(r.ids, r.tokens);
    SELECT array_agg(u.ord) INTO handled
    FROM unnest(r.ord, r.ids, r.tokens) u (ord, id, token)
    JOIN ONLY sync.sync_jobs j ON j.id = u.id AND j.claim_token = u.token
    WHERE j.id = ANY (mine);

    RETURN QUERY
    WITH element AS MATERIALIZED (
        SELECT u.*, row_number() OVER (PARTITION BY u.id ORDER BY u.ord) = 1 AS valid
        FROM unnest(r.ord, r.ids, r.tokens, r.elements, r.faults, r.failing) u (ord, id, token, element, fault, failing)
        WHERE u.ord = ANY (handled)
    ), good AS MATERIALIZED (
        SELECT array_agg(e.id) AS ids, array_agg(COALESCE(NULLIF(e.element -> 'signals', 'null'), '[]')) AS signals,
               array_agg(NULLIF(e.element -> 'next_cursor', 'null')) AS cursors,
               array_agg(COALESCE(e.element -> 'has_more' = 'true', false)) AS more,
               array_agg(COALESCE(NULLIF(e.element -> 'stats', 'null'), '{}')) AS stats
        FROM element e WHERE e.valid AND e.fault IS NULL AND NOT e.failing
    ), bad AS MATERIALIZED (
        SELECT array_agg(e.id) AS ids,
               array_agg(CASE WHEN e.failing THEN e.element -> 'error' ELSE jsonb_build_object('message', e.fault, 'code', 'bad_result') END) AS errors,
               array_agg(CASE WHEN NOT e.failing THEN 'permanent'
                              WHEN sync._is_kind(e.element ->> 'kind') THEN e.element ->> 'kind' ELSE 'transient' END) AS kinds,
               array_agg(CASE WHEN jsonb_typeof(e.element -> 'retry_after_seconds') = 'number'
                              THEN (e.element ->> 'retry_after_seconds')::numeric END) AS hints,
               array_agg(CASE WHEN e.failing THEN 'fail' ELSE 'complete' END) AS callers
        FROM element e WHERE e.valid AND (e.failing OR e.fault IS NOT NULL)
    ), completed AS MATERIALIZED (
        SELECT c.job_id, c.detail FROM good g CROSS JOIN LATERAL sync._complete(g.ids, g.signals, g.cursors, g.more, g.stats, $2) c
        WHERE g.ids IS NOT NULL
    ), failed AS MATERIALIZED (
        SELECT f.job_id, f.job_status FROM bad b CROSS JOIN LATERAL sync._fail(b.ids, b.errors, b.kinds, b.hints, $2, b.callers) f
        WHERE b.ids IS NOT NULL
    )
    SELECT e.id,
           CASE WHEN NOT e.valid THEN 'repeated'
                WHEN e.failing THEN 'completed'
                WHEN e.fault IS NOT NULL OR c.detail IS NOT NULL THEN 'rejected'
                ELSE 'completed' END,
           CASE WHEN e.failing THEN f.job_status ELSE COALESCE(e.fault, c.detail) END
    FROM element e
    LEFT JOIN completed c ON c.job_id = e.id
    LEFT JOIN failed f ON f.job_id = e.id;

    -- The others: repeated calls, stale tokens, and elements that name no job.
    RETURN QUERY
    SELECT u.id, CASE WHEN u.id IS NULL OR u.token IS NULL THEN 'rejected' WHEN x.ended IS NOT NULL THEN 'repeated' ELSE 'stale' END,
           CASE WHEN u.id IS NULL THEN 'job_id is not an id' WHEN u.token IS NULL THEN 'claim_token is not a uuid' END
    FROM unnest(r.ord, r.ids, r.tokens, r.failing) u (ord, id, token, failing)
    CROSS JOIN LATERAL (SELECT sync._ended_as(u.id, u.token, CASE WHEN u.failing THEN 'fail' ELSE 'complete' END) AS ended) x
    WHERE handled IS NULL OR u.ord <> ALL (handled);
    RETURN QUERY
    SELECT NULL::bigint, 'rejected', format('results[%s] is a JSON %s, not an object', e.ordinality - 1, jsonb_typeof(e.value))
    FROM jsonb_array_elements(results) WITH ORDINALITY e
    WHERE jsonb_typeof(e.value) <> 'object';
END
$$;
COMMENT ON FUNCTION sync.complete_jobs(jsonb, timestamptz) IS
    'Ends any number of jobs in one transaction; bad data fails its own job alone. Outcomes: completed, repeated, stale, rejected';
-- What applications and operators call: trigger, cancel, retry, pause, resume, settings of a connection.

CREATE FUNCTION sync._lock_active(connection_id bigint) RETURNS sync.connections
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_row sync.connections;
    provider sync.providers;
BEGIN
    SELECT c.* INTO found_row FROM sync.connections c WHERE c.id = $1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', $1);
    END IF;
    IF found_row.status <> 'active' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('connection %s is %s%s', $1, found_row.status, COALESCE(': ' || found_row.status_reason, '')),
            HINT = CASE WHEN found_row.status = 'revoked' THEN 'A revoked connection stays so; make a new one.'
                        ELSE format('SELECT sync.resume(%s)', $1) END;
    END IF;
    SELECT p.* INTO provider FROM sync.providers p WHERE p.slug = found_row.provider_slug;
    IF provider.status <> 'active' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('provider %s is %s%s', provider.slug, provider.status, COALESCE(': ' || provider.status_reason, '')),
            HINT = format('SELECT sync.resume_provider(%L)', provider.slug);
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION sync._lock_active(bigint) IS 'Internal: locks a connection that may run; 55000 with the reason when it may not';

CREATE FUNCTION sync.trigger(connection_id bigint, job_type text DEFAULT 'incremental', priority int DEFAULT 10, as_of timestamptz DEFAULT now())
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    owner sync.connections;
    job bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    IF COALESCE(trigger.job_type, '') = '' OR trigger.priority IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'job_type and priority must not be null or empty';
    END IF;
    owner := sync._lock_active(trigger.connection_id);
    -- A queued page of a run in progress runs sooner, and one more run follows it: its fetch began before the event.
    UPDATE ONLY sync.sync_jobs j
    SET scheduled_at = LEAST(j.scheduled_at, trigger.as_of), priority = GREATEST(j.priority, trigger.priority),
        retry_after = CASE WHEN j.error_kind = 'rate_limited' THEN j.retry_after END,
        rerun_priority = CASE WHEN j.page > 1 THEN GREATEST(j.rerun_priority, trigger.priority) ELSE j.rerun_priority END
    WHERE j.connection_id = owner.id AND j.job_type = trigger.job_type AND j.status = 'queued'
    RETURNING j.id INTO job;
    IF job IS NULL THEN
        UPDATE ONLY sync.sync_jobs j
        SET rerun_priority = GREATEST(j.rerun_priority, trigger.priority)
        WHERE j.connection_id = owner.id AND j.job_type = trigger.job_type AND j.status = 'running'
        RETURNING j.id INTO job;
    END IF;
    IF job IS NULL THEN
        job := nextval('sync.sync_jobs_id_seq'::regclass);
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, run_id, created_at)
        VALUES (job, owner.tenant_id, owner.provider_slug, owner.id, trigger.job_type, trigger.priority, trigger.as_of, job, trigger.as_of);
        IF trigger.job_type = 'incremental' THEN
            UPDATE sync.connection_state s SET due_at = NULL, parked_for = NULL WHERE s.connection_id = owner.id;
        END IF;
    END IF;
    PERFORM sync._wake_executors();
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync.trigger(bigint, text, int, timestamptz) IS
    'Asks for a run now and returns the job; while one runs, one more is queued when it ends. Any number of triggers make at most one more run';

CREATE FUNCTION sync.cancel_job(job_id bigint, reason text DEFAULT 'cancelled by hand', as_of timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM sync._require_time(as_of);
    PERFORM 1 FROM sync.connections c
    WHERE c.id = (SELECT j.connection_id FROM ONLY sync.sync_jobs j WHERE j.id = cancel_job.job_id) FOR NO KEY UPDATE;
    RETURN sync._cancel(ARRAY[job_id], COALESCE(reason, 'cancelled by hand'), as_of) > 0;
END
$$;
COMMENT ON FUNCTION sync.cancel_job(bigint, text, timestamptz) IS
    'Cancels a queued or running job; the executor of a running one is told at its next heartbeat and its token is void at once. False when it had ended';

CREATE FUNCTION sync.retry_job(job_id bigint, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
DECLARE
    old sync.sync_jobs;
    job bigint;
BEGIN
    PERFORM sync._require_time(as_of);
    SELECT j.* INTO old FROM sync.sync_jobs j WHERE j.id = job_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('job %s does not exist', job_id),
            HINT = 'Finished jobs are kept for sync_engine.job_retention_days.';
    END IF;
    IF old.status = 'succeeded' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('job %s has succeeded', job_id),
            HINT = format('To run the connection again: SELECT sync.trigger(%s, %L)', old.connection_id, old.job_type);
    END IF;
    PERFORM sync._lock_active(old.connection_id);
    -- It may have ended while the lock was waited for.
    SELECT j.* INTO old FROM sync.sync_jobs j WHERE j.id = job_id;
    IF old.status = 'running' THEN
        RETURN old.id;
    END IF;
    job := sync.trigger(old.connection_id, old.job_type, GREATEST(old.priority, 10), as_of);
    -- A job that ended on a page of its own takes that page up again.
    UPDATE ONLY sync.sync_jobs j SET cursor = COALESCE(j.cursor, old.cursor), input = COALESCE(j.input, old.input)
    WHERE j.id = job AND j.status = 'queued' AND old.status IN ('failed', 'cancelled') AND j.attempts = 0;
    RETURN job;
END
$$;
COMMENT ON FUNCTION sync.retry_job(bigint, timestamptz) IS
    'Runs a failed or cancelled job again, as a new job with its cursor and input; a queued one at once. Returns the job that will run';

CREATE FUNCTION sync.retry_failed(provider_slug text DEFAULT NULL, since timestamptz DEFAULT '-infinity', as_of timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
AS $$
#variable_conflict use_column
DECLARE
    retried int;
BEGIN
    PERFORM sync._require_time(as_of);
    PERFORM 1 FROM sync.connections c
    JOIN sync.providers p ON p.slug = c.provider_slug AND p.status = 'active'
    WHERE c.status = 'active' AND c.id IN (
        SELECT j.connection_id FROM sync.sync_jobs j
        WHERE j.status = 'failed' AND j.finished_at >= $2 AND ($1 IS NULL OR j.provider_slug = $1))
    ORDER BY c.id FOR NO KEY UPDATE OF c;
    WITH last AS (
        SELECT DISTINCT ON (j.connection_id, j.job_type) j.*
        FROM sync.sync_jobs j
        WHERE j.finished_at >= $2 AND ($1 IS NULL OR j.provider_slug = $1)
        ORDER BY j.connection_id, j.job_type, j.finished_at DESC, j.id DESC
    ), made AS (
        INSERT INTO sync.sync_jobs (id, tenant_id, provider_slug, connection_id, job_type, priority, scheduled_at, cursor, input, run_id, created_at)
        SELECT n.id, n.tenant_id, n.provider_slug, n.connection_id, n.job_type, GREATEST(n.priority, 10), $3, n.cursor, n.input, n.id, $3
        FROM (SELECT nextval('sync.sync_jobs_id_seq'::regclass) AS id, l.tenant_id, l.provider_slug, l.connection_id, l.job_type,
                     l.priority, l.cursor, l.input
              FROM last l
              JOIN sync.connections c ON c.id = l.connection_id AND c.status = 'active'
              JOIN sync.providers p ON p.slug = l.provider_slug AND p.status = 'active'
              WHERE l.status = 'failed') n
        ON CONFLICT (connection_id, job_type) WHERE status IN ('queued', 'running') DO NOTHING
        RETURNING connection_id, job_type
    ), stated AS (
        UPDATE sync.connection_state s SET due_at = NULL, parked_for = NULL
        FROM made m WHERE s.connection_id = m.connection_id AND m.job_type = 'incremental'
    )
    SELECT count(*) INTO retried FROM made m;
    IF retried > 0 THEN
        PERFORM sync._wake_executors();
    END IF;
    RETURN retried;
END
$$;
COMMENT ON FUNCTION sync.retry_failed(text, timestamptz, timestamptz) IS
    'Queues anew what failed last, of one provider or all, since a time; connections that are not active are left out. Returns how many';

CREATE FUNCTION sync._set_status(connection_id bigint, wanted text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former text;
BEGIN
    SELECT c.status INTO former FROM sync.connections c WHERE c.id = _set_status.connection_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', connection_id);
    END IF;
    IF former = 'revoked' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('connection %s is revoked', connection_id),
            HINT = 'A revoked connection stays so; make a new one.';
    END IF;
    UPDATE sync.connections c SET status = wanted, status_reason = reason, updated_at = now() WHERE c.id = _set_status.connection_id;
END
$$;
COMMENT ON FUNCTION sync._set_status(bigint, text, text) IS 'Internal: changes the status of a connection that is not revoked';

CREATE FUNCTION sync.pause(connection_id bigint, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_status(connection_id, 'paused', reason) $$;
COMMENT ON FUNCTION sync.pause(bigint, text) IS 'Stops syncing a connection: its queued jobs are cancelled, a running one finishes';

CREATE FUNCTION sync.resume(connection_id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_status(connection_id, 'active', NULL) $$;
COMMENT ON FUNCTION sync.resume(bigint) IS 'Takes up a paused connection again, or one in error; the next tick sees what is due';

CREATE FUNCTION sync._set_provider_status(slug text, wanted text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE sync.providers p SET status = wanted, status_reason = reason, updated_at = now() WHERE p.slug = _set_provider_status.slug;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('provider %s does not exist', slug);
    END IF;
END
$$;
COMMENT ON FUNCTION sync._set_provider_status(text, text, text) IS 'Internal: changes the status of a provider';

CREATE FUNCTION sync.pause_provider(slug text, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_provider_status(slug, 'paused', reason) $$;
COMMENT ON FUNCTION sync.pause_provider(text, text) IS 'Nothing of the provider is enqueued or claimed; nothing is cancelled';

CREATE FUNCTION sync.resume_provider(slug text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._set_provider_status(slug, 'active', NULL) $$;
COMMENT ON FUNCTION sync.resume_provider(text) IS 'Takes up a paused provider again';

CREATE FUNCTION sync.set_interval(connection_id bigint, seconds int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    highest int := sync._setting('max_overridden_interval_seconds');
BEGIN
    IF seconds NOT BETWEEN 60 AND highest THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('interval of %s seconds is outside 60 to %s', seconds, highest),
            HINT = 'The upper bound is sync_engine.max_overridden_interval_seconds; null goes back to the default interval.';
    END IF;
    UPDATE sync.connections c
    SET metadata = CASE WHEN seconds IS NULL THEN sync._metadata_with(c.metadata, '{}') #- '{sync,interval_seconds}'
                        ELSE sync._metadata_with(c.metadata, jsonb_build_object('interval_seconds', seconds)) END,
        updated_at = now()
    WHERE c.id = set_interval.connection_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', connection_id);
    END IF;
END
$$;
COMMENT ON FUNCTION sync.set_interval(bigint, int) IS 'How often a connection is synced, in seconds; null goes back to the default';

CREATE FUNCTION sync.set_cursor(connection_id bigint, cursor jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE sync.connections c
    SET metadata = CASE WHEN NULLIF(set_cursor.cursor, 'null') IS NULL THEN sync._metadata_with(c.metadata, '{}') #- '{sync,cursor}'
                        ELSE sync._metadata_with(c.metadata, jsonb_build_object('cursor', set_cursor.cursor)) END,
        updated_at = now()
    WHERE c.id = set_cursor.connection_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('connection %s does not exist', connection_id);
    END IF;
END
$$;
COMMENT ON FUNCTION sync.set_cursor(bigint, jsonb) IS
    'Where the next incremental run starts; null starts from the beginning. A job that is running stores its own cursor when it ends';

CREATE FUNCTION sync.adopt_database() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM sync.database_identity;
    INSERT INTO sync.database_identity (system_identifier, database_oid)
    SELECT me.system_identifier, me.database_oid FROM sync._system_identity() me;
    PERFORM sync._wake_launcher(), sync._wake_executors();
END
$$;
COMMENT ON FUNCTION sync.adopt_database() IS 'Lets the engine work in a database that was restored, cloned or made from a template';

CREATE FUNCTION sync._housekeeping(as_of timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET sync_engine.internal = on
SET lock_timeout = '50ms'
AS $$
#variable_conflict use_column
DECLARE
    expired text;
    moved int;
    purged record;
BEGIN
    PERFORM sync._require_time(as_of);
    -- At most one step that takes a strong lock in each transaction: two of them could deadlock with a completion. While one
    -- waits for its lock completions queue behind it, so none waits longer than lock_timeout above.
    IF NOT (sync._history_is_ready(as_of) AND sync._history_is_ready(as_of + interval '24 hours')) THEN
        PERFORM sync._ensure_history(as_of), sync._ensure_history(as_of + interval '24 hours');
        RETURN true;
    END IF;
    IF sync._rotate_finished_jobs(as_of) THEN
        RETURN true;
    END IF;
    SELECT p.name INTO expired
    FROM sync.partitions p
    CROSS JOIN LATERAL (SELECT sync._setting(CASE p.parent WHEN 'sync_jobs' THEN 'job_retention_days'
                                                           WHEN 'signals' THEN 'signal_retention_days'
                                                           ELSE 'execution_retention_days' END) AS days) k
    WHERE k.days > 0 AND p.range_to < as_of - make_interval(hours => 24 * k.days::int)
      AND pg_get_viewdef('sync._finished_jobs'::regclass) !~ ('sync\.' || p.name || '\M')
    ORDER BY p.range_to LIMIT 1;
    IF expired IS NOT NULL THEN
        EXECUTE format('DROP TABLE IF EXISTS sync.%I', expired);
        DELETE FROM sync.partitions p WHERE p.name = expired;
        RETURN true;
    END IF;

    -- pg_upgrade brings dated tables back without their tie to the parent.
    PERFORM sync._tie_dated_tables();
    -- Jobs that an application ended itself.
    WITH ended AS (
        DELETE FROM ONLY sync.sync_jobs j
        WHERE j.id IN (SELECT x.id FROM ONLY sync.sync_jobs x WHERE x.status NOT IN ('queued', 'running')
                       ORDER BY x.id LIMIT 5000 FOR UPDATE SKIP LOCKED)
        RETURNING j.*
    ), kept AS (
        INSERT INTO sync._finished_jobs SELECT e.* FROM ended e RETURNING 1
    )
    SELECT count(*) INTO moved FROM kept;
    SELECT * INTO purged FROM sync._purge_deleted(10000, true);
    DELETE FROM sync.executors e
    WHERE e.superseded_at < as_of - interval '1 day'
       OR GREATEST(e.heartbeat_at, e.registered_at) < as_of - interval '7 days'
          AND NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.status = 'running' AND j.claimed_by = e.incarnation);
    RETURN purged.more OR moved >= 5000;
END
$$;
COMMENT ON FUNCTION sync._housekeeping(timestamptz) IS
    'Internal: makes dated tables ahead, drops those past their retention, removes what deleted connections left: a step a call, to be called, a transaction each, until it returns false';

-- What drivers call: with a time of their own choice they could have history dropped before its retention is over.
CREATE FUNCTION sync._housekeeping() RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT sync._housekeeping(now()) $$;
COMMENT ON FUNCTION sync._housekeeping() IS 'Internal: _housekeeping at the current time, for whoever drives the ticks';
CREATE FUNCTION sync.explain(connection_id bigint, as_of timestamptz DEFAULT now(), OUT aspect text, OUT verdict text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c sync.connections;
    p sync.providers;
    s sync.connection_state;
    j sync.sync_jobs;
    base int;
    plan record;
    beats record;
BEGIN
    SELECT x.* INTO c FROM sync.connections x WHERE x.id = $1;
    IF NOT FOUND THEN
        RETURN QUERY VALUES ('connection', 'unknown', format('there is no connection %s', $1));
        RETURN;
    END IF;
    SELECT x.* INTO p FROM sync.providers x WHERE x.slug = c.provider_slug;
    SELECT x.* INTO s FROM sync.connection_state x WHERE x.connection_id = $1;

    IF sync._setting('enabled') = 0 THEN
        RETURN QUERY VALUES ('engine', 'blocked', 'sync_engine.enabled is off: no worker ticks and nothing is claimed');
    ELSIF sync._is_quiet() THEN
        RETURN QUERY VALUES ('engine', 'blocked',
            'this database was restored, cloned or made from a template: nothing runs until SELECT sync.adopt_database()');
    ELSIF NOT sync._preloaded() THEN
        RETURN QUERY VALUES ('engine', 'warning',
            'sync_engine is not in shared_preload_libraries: jobs are enqueued only by sync-executor --tick or SELECT sync.tick()');
    ELSIF sync._setting('background_ticks') = 0 THEN
        RETURN QUERY VALUES ('engine', 'warning', 'sync_engine.background_ticks is off: the worker does not tick');
    ELSE
        RETURN QUERY VALUES ('engine', 'ok', format('the worker ticks each %s s', sync._setting('tick_interval_seconds')));
    END IF;
    RETURN QUERY VALUES ('connection', CASE WHEN c.status = 'active' THEN 'ok' ELSE 'blocked' END,
                         'status is ' || c.status || COALESCE(': ' || c.status_reason, ''));
    RETURN QUERY VALUES ('provider', CASE WHEN p.status = 'active' THEN 'ok' ELSE 'blocked' END,
                         format('%s is %s%s', p.slug, p.status, COALESCE(': ' || p.status_reason, '')));
    SELECT e.base_seconds INTO base FROM sync._effective_interval(c.metadata #> '{sync,interval_seconds}') e;
    RETURN QUERY VALUES ('interval', 'info', format('%s s, last run finished %s', base,
        COALESCE(sync._format_utc(c.last_incremental_finished_at), 'never')));

    FOR j IN SELECT x.* FROM ONLY sync.sync_jobs x WHERE x.connection_id = $1 AND x.status IN ('queued', 'running')
             ORDER BY x.status DESC, x.id LOOP
        IF j.status = 'running' THEN
            SELECT e.heartbeat_at INTO beats FROM sync.executors e WHERE e.incarnation = j.claimed_by;
            RETURN QUERY VALUES ('job', 'running', format('%s job %s runs since %s on %s, attempt %s, page %s; last heartbeat %s',
                j.job_type, j.id, sync._format_utc(j.claimed_at), j.claimed_by, j.attempts + 1, j.page,
                COALESCE(sync._format_utc(beats.heartbeat_at), 'none')));
            IF j.rerun_priority IS NOT NULL THEN
                RETURN QUERY VALUES ('job', 'info', 'it was triggered meanwhile: one more run follows');
            END IF;
        ELSIF p.status <> 'active' OR c.status <> 'active' THEN
            RETURN QUERY VALUES ('job', 'blocked', format('%s job %s is queued and waits for %s to be resumed', j.job_type, j.id,
                CASE WHEN c.status <> 'active' THEN 'its connection' ELSE 'its provider' END));
        ELSIF s.running_job_id IS NOT NULL THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s is queued until job %s of the same connection ends',
                j.job_type, j.id, s.running_job_id));
        ELSIF j.retry_after > $2 THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s failed in attempt %s (%s: %s) and is tried again at %s', j.job_type, j.id,
                j.attempts, j.error_kind, left(COALESCE(j.error ->> 'message', 'no message'), 200), sync._format_utc(j.retry_after)));
        ELSIF j.scheduled_at > $2 THEN
            RETURN QUERY VALUES ('job', 'waiting', format('%s job %s is scheduled for %s', j.job_type, j.id, sync._format_utc(j.scheduled_at)));
        ELSE
            RETURN QUERY SELECT 'job', 'due', format('%s job %s is due since %s and waits for an executor; %s heard of in the last %s s', j.job_type, j.id,
                sync._format_utc(GREATEST(j.scheduled_at, j.retry_after)),
                (SELECT count(*) FROM sync.executors e WHERE e.superseded_at IS NULL
                    AND e.heartbeat_at > $2 - make_interval(secs => sync._setting('lease_seconds'))),
                sync._setting('lease_seconds'));
        END IF;
    END LOOP;

    IF c.status = 'active' AND p.status = 'active' THEN
        IF EXISTS (SELECT 1 FROM ONLY sync.sync_jobs x WHERE x.connection_id = $1 AND x.job_type = 'incremental' AND x.status IN ('queued', 'running')) THEN
            RETURN QUERY VALUES ('next run', 'info', format('the one after the live job is reckoned from when that ends: %s s later', base));
        ELSE
            SELECT r.* INTO plan FROM sync._plan_run(c.last_incremental_finished_at, base,
                COALESCE(sync.parse_utc(c.metadata #>> '{sync,first_activated_at}'), c.created_at), $2, 0) r;
            IF s.due_at > $2 + make_interval(secs => GREATEST(sync._setting('tick_interval_seconds'), 60)) THEN
                RETURN QUERY VALUES ('next run', 'waiting', format('looked at again for %s', sync._format_utc(s.due_at)));
            ELSIF plan.verdict = 'not_yet' THEN
                RETURN QUERY VALUES ('next run', 'waiting', format('due at %s', sync._format_utc(plan.slot)));
            ELSE
                RETURN QUERY VALUES ('next run', 'due', format('the next tick enqueues it for %s (%s)', sync._format_utc(plan.slot), plan.verdict));
            END IF;
        END IF;
    END IF;
    RETURN QUERY
    SELECT 'last attempt', e.status, format('job %s, %s, ended %s%s', e.job_id, e.job_type, sync._format_utc(e.finished_at),
           CASE WHEN e.status = 'failed' THEN format(': %s: %s', e.kind, left(COALESCE(e.error ->> 'message', 'no message'), 200))
                ELSE format(': %s signals, %s of them new', e.signals_received, e.signals_inserted) END)
    FROM sync.sync_executions e
    WHERE e.tenant_id = c.tenant_id AND e.connection_id = c.id
    ORDER BY e.finished_at DESC, e.id DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION sync.explain(bigint, timestamptz) IS 'Why a connection will or will not run now, and when next';
CREATE VIEW sync.connection_status AS
SELECT c.id AS connection_id, c.tenant_id, c.provider_slug, c.external_id, c.name,
       c.status, c.status_reason, p.status AS provider_status,
       i.base_seconds AS interval_seconds,
       c.last_incremental_finished_at,
       sync.parse_utc(c.metadata #>> '{sync,next_run_at}') AS next_run_at,
       c.metadata #>> '{sync,last_jitter_seconds}' AS last_jitter_seconds,
       j.id AS job_id, j.job_type, j.status AS job_status, j.attempts,
       GREATEST(j.scheduled_at, j.retry_after) AS job_due_at,
       j.error_kind AS last_error_kind, j.error ->> 'message' AS last_error,
       CASE
           WHEN c.status <> 'active' OR p.status <> 'active' THEN NULL
           WHEN j.status = 'running' THEN interval '0'
           WHEN j.id IS NOT NULL THEN GREATEST(now() - GREATEST(j.scheduled_at, j.retry_after), interval '0')
           WHEN s.due_at IS NOT NULL AND isfinite(s.due_at) THEN GREATEST(now() - s.due_at, interval '0')
           ELSE interval '0'
       END AS late_by
FROM sync.connections c
JOIN sync.providers p ON p.slug = c.provider_slug
JOIN sync.connection_state s ON s.connection_id = c.id
CROSS JOIN LATERAL sync._effective_interval(c.metadata #> '{sync,interval_seconds}') i
LEFT JOIN LATERAL (SELECT x.* FROM ONLY sync.sync_jobs x
                   WHERE x.connection_id = c.id AND x.status IN ('queued', 'running')
                   ORDER BY x.status DESC, x.job_type <> 'incremental', x.id LIMIT 1) j ON true;
COMMENT ON VIEW sync.connection_status IS 'One row a connection: its interval, its live job, what went wrong last and how late it is; no configuration, no cursor';

CREATE VIEW sync.queue AS
SELECT j.id AS job_id, j.tenant_id, j.provider_slug, j.connection_id, j.job_type, j.status, j.priority, j.attempts, j.page,
       j.scheduled_at, j.retry_after, GREATEST(j.scheduled_at, j.retry_after) AS due_at,
       j.started_at, j.claimed_at, j.claimed_by, e.heartbeat_at, j.error_kind AS last_error_kind, j.error ->> 'message' AS last_error,
       CASE
           WHEN j.status = 'running' THEN 'running'
           WHEN c.status <> 'active' THEN 'connection ' || c.status
           WHEN p.status <> 'active' THEN 'provider paused'
           WHEN s.running_job_id IS NOT NULL THEN 'waits for job ' || s.running_job_id
           WHEN j.retry_after > now() THEN 'in backoff'
           WHEN j.scheduled_at > now() THEN 'scheduled'
           ELSE 'claimable'
       END AS state
FROM ONLY sync.sync_jobs j
JOIN sync.connections c ON c.id = j.connection_id
JOIN sync.providers p ON p.slug = j.provider_slug
JOIN sync.connection_state s ON s.connection_id = j.connection_id
LEFT JOIN sync.executors e ON e.incarnation = j.claimed_by
WHERE j.status IN ('queued', 'running');
COMMENT ON VIEW sync.queue IS 'Live jobs and why each is not running yet';

CREATE FUNCTION sync._table_metrics(OUT name text, OUT kind text, OUT help text, OUT labels jsonb, OUT value double precision)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'sync_queue_depth', 'gauge', 'Live jobs by status', jsonb_build_object('status', k.status), count(j.id)::float8
    FROM (VALUES ('queued'), ('running')) k (status)
    LEFT JOIN ONLY sync.sync_jobs j ON j.status = k.status AND j.status IN ('queued', 'running')
    GROUP BY k.status
    UNION ALL
    SELECT 'sync_oldest_due_age_seconds', 'gauge', 'Age of the oldest job that is due and not claimed', '{}',
           COALESCE(GREATEST(extract(epoch FROM now() - min(x.due)), 0), 0)::float8
    FROM (SELECT (SELECT GREATEST(j.scheduled_at, j.retry_after) FROM ONLY sync.sync_jobs j
                  WHERE j.status = 'queued' AND j.provider_slug = l.slug AND j.priority = l.priority
                  ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1) AS due
          FROM sync._lanes l) x
    WHERE x.due <= now()
    UNION ALL
    SELECT 'sync_executors', 'gauge', 'Executors heard of within the lease', '{}', count(*)::float8
    FROM sync.executors e
    WHERE e.superseded_at IS NULL AND e.heartbeat_at > now() - make_interval(secs => sync._setting('lease_seconds'))
$$;
COMMENT ON FUNCTION sync._table_metrics() IS 'Internal: metrics that are read from the tables';

CREATE VIEW sync.metrics AS
SELECT t.name, t.kind, t.labels, t.value, NULL::double precision[] AS bucket_bounds, NULL::bigint[] AS bucket_counts,
       NULL::double precision AS sum, NULL::bigint AS count, true AS available, t.help
FROM sync._table_metrics() t
UNION ALL
SELECT k.name, k.kind,
       COALESCE(CASE WHEN k.label1_name <> '' THEN jsonb_build_object(k.label1_name, m.label1) END, '{}')
       || COALESCE(CASE WHEN k.label2_name <> '' THEN jsonb_build_object(k.label2_name, m.label2) END, '{}'),
       m.value, m.bucket_bounds, m.bucket_counts, m.sum, m.count, sync._metrics_available(), k.help
FROM sync._metrics_catalog() k
LEFT JOIN sync._metrics_snapshot() m ON m.name = k.name;
COMMENT ON VIEW sync.metrics IS 'Metrics of this database; those counted in shared memory are marked unavailable when sync_engine is not preloaded';

CREATE FUNCTION sync._metric_labels(labels jsonb, extra text DEFAULT '') RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN x.body = '' THEN '' ELSE '{' || x.body || '}' END
    FROM (SELECT concat_ws(',', string_agg(format('%s="%s"', l.key,
                     replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n')), ',' ORDER BY l.key), NULLIF(extra, '')) AS body
          FROM jsonb_each_text(labels) l) x
$$;
COMMENT ON FUNCTION sync._metric_labels(jsonb, text) IS 'Internal: labels in OpenMetrics text';

CREATE FUNCTION sync.metrics_text() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH shown AS (
        SELECT m.*, CASE WHEN m.kind = 'counter' THEN regexp_replace(m.name, '_total$', '') ELSE m.name END AS family
        FROM sync.metrics m
        WHERE m.available
    ), line AS (
        SELECT s.family, s.kind, s.help, s.name, s.labels, b.line, b.ord
        FROM shown s
        CROSS JOIN LATERAL (
            SELECT CASE WHEN s.kind = 'counter' THEN s.family || '_total' ELSE s.name END
                   || sync._metric_labels(s.labels) || ' ' || s.value AS line, 0 AS ord
            WHERE s.kind <> 'histogram' AND s.value IS NOT NULL
            UNION ALL
            SELECT s.name || '_bucket' || sync._metric_labels(s.labels,
                       format('le="%s"', COALESCE(s.bucket_bounds[n]::text, '+Inf'))) || ' ' || s.bucket_counts[n], n
            FROM generate_series(1, cardinality(s.bucket_counts)) n
            WHERE s.kind = 'histogram'
            UNION ALL
            SELECT s.name || '_sum' || sync._metric_labels(s.labels) || ' ' || s.sum, 10000 WHERE s.kind = 'histogram' AND s.sum IS NOT NULL
            UNION ALL
            SELECT s.name || '_count' || sync._metric_labels(s.labels) || ' ' || s.count, 10001 WHERE s.kind = 'histogram' AND s.count IS NOT NULL) b
    ), family AS (
        SELECT l.family, format(E'# HELP %s %s\n# TYPE %s %s\n', l.family, min(l.help), l.family, min(l.kind))
               || string_agg(l.line, E'\n' ORDER BY l.labels::text, l.ord) || E'\n' AS text
        FROM line l GROUP BY l.family
    )
    SELECT COALESCE(string_agg(f.text, '' ORDER BY f.family), '') || E'# EOF\n' FROM family f
$$;
COMMENT ON FUNCTION sync.metrics_text() IS 'The metrics of this database in OpenMetrics text format';
-- Who may do what. Nothing is PUBLIC's; the three roles get the least that their work takes.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sync FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA sync FROM PUBLIC;

GRANT USAGE ON SCHEMA sync TO sync_admin, sync_executor, sync_viewer;

GRANT SELECT, INSERT, UPDATE, DELETE ON sync.providers, sync.connections, sync.sync_jobs, sync.signals TO sync_admin;
GRANT SELECT ON sync.sync_executions, sync.executors, sync.connection_state, sync.partitions, sync.database_identity,
    sync.deleted_connections, sync.connection_status, sync.queue, sync.metrics TO sync_admin;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA sync TO sync_admin;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sync TO sync_admin;
GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA sync TO sync_admin;
-- What only the engine itself has to call, but for what the views need.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p
             WHERE p.pronamespace = 'sync'::pg_catalog.regnamespace AND p.proname LIKE '\_%'
               AND p.proname <> ALL ('{_is_quiet,_preloaded,_effective_interval,_table_metrics,_metrics_catalog,_metrics_snapshot,_metrics_available}') LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM sync_admin', f);
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION
    sync.register_executor(text, int, jsonb, timestamptz),
    sync.claim_jobs(text, int, timestamptz),
    sync.next_claim_at(timestamptz),
    sync.heartbeat(text, bigint[], timestamptz),
    sync.release_jobs(text, bigint[], uuid[], timestamptz),
    sync.complete_job(bigint, uuid, jsonb, jsonb, boolean, jsonb, timestamptz),
    sync.add_signals(bigint, uuid, jsonb, timestamptz),
    sync.complete_jobs(jsonb, timestamptz),
    sync.fail_job(bigint, uuid, jsonb, text, numeric, timestamptz),
    sync.tick(timestamptz),
    sync.tick_batch(int, timestamptz),
    sync._housekeeping(),
    sync._is_quiet(),
    sync._preloaded()
TO sync_executor;

GRANT SELECT ON sync.connection_status, sync.queue, sync.metrics TO sync_viewer;
GRANT SELECT (id, tenant_id, provider_slug, connection_id, job_id, run_id, job_type, attempt, page, status, job_status, kind,
              scheduled_at, started_at, finished_at, duration_ms, signals_received, signals_inserted, signals_duplicate, retry_after,
              error, claimed_by) ON sync.sync_executions TO sync_viewer;
GRANT EXECUTE ON FUNCTION sync.explain(bigint, timestamptz), sync.metrics_text() TO sync_viewer;
-- Functions inside a view are called with the reader's rights.
GRANT EXECUTE ON FUNCTION sync.parse_utc(text), sync._effective_interval(jsonb), sync._table_metrics(), sync._metrics_catalog(),
    sync._metrics_snapshot(), sync._metrics_available() TO sync_viewer;

-- What a dump must hold: all that is not derived. The dated tables are ordinary tables and are dumped anyway;
-- database_identity is in, so that a restored database carries its former identity and stays quiet.
DO $$
DECLARE
    name text;
BEGIN
    -- A call each: it rewrites one catalog row, which one statement may do but once.
    FOREACH name IN ARRAY ARRAY['providers', 'connections', 'connections_id_seq', 'sync_jobs', 'sync_jobs_id_seq', 'sync_executions',
        'sync_executions_id_seq', 'signals', 'signals_id_seq', 'partitions', 'executors', 'database_identity', 'deleted_connections'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('sync.' || name)::pg_catalog.regclass, '');
    END LOOP;
END
$$;

INSERT INTO sync.engine_clock DEFAULT VALUES;
-- Every dump begins with row_security = off, which is how a restore is told: it stays quiet from this moment, so that the
-- worker neither makes the tables that the dump is about to make nor works on half of the rows.
DO $$
BEGIN
    IF current_setting('row_security')::boolean THEN
        PERFORM sync.adopt_database();
    END IF;
END
$$;
