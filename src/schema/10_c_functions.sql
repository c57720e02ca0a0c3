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

CREATE FUNCTION sync._base_seconds(metadata jsonb) RETURNS int
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_base_seconds';
COMMENT ON FUNCTION sync._base_seconds(jsonb) IS 'Internal: the interval of a connection with that metadata, as _effective_interval has it';

CREATE FUNCTION sync._new_token() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_new_token';
COMMENT ON FUNCTION sync._new_token() IS
    'Internal: a random claim token. It tells one claim from another and is no secret, so the backend''s fast generator will do';

CREATE FUNCTION sync._plan_run(last_finished timestamptz, base_seconds int, activation timestamptz, as_of timestamptz,
                               jitter int, OUT verdict text, OUT slot timestamptz, OUT scheduled_at timestamptz,
                               OUT next_run_at timestamptz)
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_plan_run';
COMMENT ON FUNCTION sync._plan_run(timestamptz, int, timestamptz, timestamptz, int) IS
    'What a tick at as_of does about a connection: bootstrap, look_ahead, catch_up or not_yet, and for when';

CREATE FUNCTION sync._plan_tick(metadata jsonb, last_finished timestamptz, created_at timestamptz, as_of timestamptz,
                                OUT base_seconds int, OUT valid boolean, OUT jitter int, OUT verdict text, OUT slot timestamptz,
                                OUT scheduled_at timestamptz, OUT next_run_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_plan_tick';
COMMENT ON FUNCTION sync._plan_tick(jsonb, timestamptz, timestamptz, timestamptz) IS
    'Internal: _effective_interval, _draw_jitter and _plan_run for a connection with that metadata, in one go';

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

CREATE FUNCTION sync._bound_tenant() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_bound_tenant';
COMMENT ON FUNCTION sync._bound_tenant() IS
    'Internal: the tenant that the caller is confined to, by sync_engine.tenant_id or as a sync_tenant; empty: to none, null: not at all';

CREATE FUNCTION sync._sees_tenant(tenant_id text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 2 AS 'MODULE_PATHNAME', 'sync_engine_sees_tenant';
COMMENT ON FUNCTION sync._sees_tenant(text) IS 'Internal: whether the caller may see that tenant; see _bound_tenant';

CREATE FUNCTION sync._preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_preloaded';
COMMENT ON FUNCTION sync._preloaded() IS 'Whether the server loaded the library at its start, so that workers and metrics exist';

CREATE FUNCTION sync._metadata_with(metadata jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_metadata_with';
COMMENT ON FUNCTION sync._metadata_with(jsonb, jsonb) IS
    'Internal: metadata with the keys of patch set in its object sync; what cannot hold keys is kept under the key unreadable';

CREATE FUNCTION sync._metadata_run(metadata jsonb, next_run_at timestamptz, last_jitter_seconds int, cursor jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_metadata_run';
COMMENT ON FUNCTION sync._metadata_run(jsonb, timestamptz, int, jsonb) IS
    'Internal: metadata with those of the three that are not null set in its object sync';

CREATE FUNCTION sync._read_results(results jsonb, OUT ord int, OUT job_id bigint, OUT claim_token uuid, OUT failing boolean, OUT fault text,
                                   OUT signals jsonb, OUT next_cursor jsonb, OUT has_more boolean, OUT stats jsonb, OUT error jsonb,
                                   OUT kind text, OUT hint numeric)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 100 AS 'MODULE_PATHNAME', 'sync_engine_read_results';
COMMENT ON FUNCTION sync._read_results(jsonb) IS
    'Internal: the elements that complete_jobs is given, in order; what cannot be read is null or told in fault, JSON''s null is null';

CREATE FUNCTION sync._is_locked(key bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_is_locked';
COMMENT ON FUNCTION sync._is_locked(bigint) IS 'Internal: whether another session holds that advisory lock, shared or not';

CREATE FUNCTION sync._signals_fault(signals jsonb) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_signals_fault';
COMMENT ON FUNCTION sync._signals_fault(jsonb) IS 'Internal: what is wrong with an array of signals, null when nothing is';

CREATE FUNCTION sync._new_signals(signals jsonb, tenant_id text, connection_id bigint, seen_in oid[],
                                  OUT kind text, OUT occurred_at timestamptz, OUT dedupe_key text, OUT payload jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'sync_engine_new_signals';
COMMENT ON FUNCTION sync._new_signals(jsonb, text, bigint, oid[]) IS
    'Internal: the signals of an array with which nothing is wrong whose keys are not in these indexes, each key once; what is missing is null';

CREATE FUNCTION sync._take_jobs(candidates tid[], connections bigint[], incarnation text, as_of timestamptz,
                                OUT job_id bigint, OUT claim_token uuid, OUT tenant_id text, OUT connection_id bigint, OUT provider_slug text,
                                OUT job_type text, OUT priority int, OUT attempts int, OUT cursor jsonb, OUT input jsonb, OUT connector text,
                                OUT config jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sync_engine_take_jobs';
COMMENT ON FUNCTION sync._take_jobs(tid[], bigint[], text, timestamptz) IS
    'Internal: claims those of the queued jobs, given by their place, that are still to be had, in the order of their connections; returns them in the order given';

CREATE FUNCTION sync._end_jobs(job_tids tid[], connection_tids tid[], received int[], inserted int[], next_cursors jsonb[], has_more boolean[],
                               all_stats jsonb[], errors jsonb[], as_of timestamptz,
                               OUT ord int, OUT id bigint, OUT tenant_id text, OUT provider_slug text, OUT connection_id bigint,
                               OUT job_type text, OUT priority int, OUT attempts int, OUT scheduled_at timestamptz, OUT input jsonb,
                               OUT run_id bigint, OUT page int, OUT stalled_pages int, OUT rerun_priority int, OUT claimed_by text,
                               OUT claimed_at timestamptz, OUT claim_token uuid, OUT all_received int, OUT all_inserted int,
                               OUT next_cursor jsonb, OUT more boolean, OUT stats jsonb, OUT error jsonb, OUT goes_on boolean, OUT active boolean,
                               OUT schedule_id bigint, OUT planned_at timestamptz, OUT trigger_type text, OUT cursor_before jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sync_engine_end_jobs';
COMMENT ON FUNCTION sync._end_jobs(tid[], tid[], int[], int[], jsonb[], boolean[], jsonb[], jsonb[], timestamptz) IS
    'Internal: moves running jobs that the caller has locked, with their connections, to the finished ones; those with an error failed for good. Writes history, sets cursors and next runs, frees the connections, and returns those that another page or run follows';

CREATE FUNCTION sync._end_bare_jobs(results jsonb, as_of timestamptz, OUT ids bigint[], OUT connection_ids bigint[])
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_end_bare_jobs';
COMMENT ON FUNCTION sync._end_bare_jobs(jsonb, timestamptz) IS
    'Internal: does what _end_jobs does with jobs that nobody has locked, where no result holds a signal, says that there is more or is at fault; null where one does. Null also where rows may not be written by place. Waits for nobody: 40001 where a job has ended or moved, or somebody else has its rows';

CREATE FUNCTION sync._lock_results(job_ids bigint[], claim_tokens uuid[],
                                   OUT positions int[], OUT ids bigint[], OUT tokens uuid[], OUT job_tids tid[], OUT connection_tids tid[])
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_lock_results';
COMMENT ON FUNCTION sync._lock_results(bigint[], uuid[]) IS
    'Internal: locks the connections and jobs that are running under these tokens; each job once, by its first position, with the places of both rows';

CREATE FUNCTION sync._rows_are_plain(ends_jobs boolean) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_rows_are_plain';
COMMENT ON FUNCTION sync._rows_are_plain(boolean) IS
    'Internal: whether jobs, connections and their states may be written by place, since no trigger, rule, generated column or foreign key of an application wants to hear of it';

-- Rates and turns: src/core/request_rate.hpp, src/core/fair_share.hpp.
CREATE FUNCTION sync._requests_left(busy_until timestamptz, as_of timestamptz, per_minute int) RETURNS int
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_requests_left';
COMMENT ON FUNCTION sync._requests_left(timestamptz, timestamptz, int) IS 'Internal: requests that may go now at that rate; null without a rate';

CREATE FUNCTION sync._next_request_at(busy_until timestamptz, as_of timestamptz, per_minute int) RETURNS timestamptz
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_next_request_at';
COMMENT ON FUNCTION sync._next_request_at(timestamptz, timestamptz, int) IS 'Internal: when the next request may go at that rate; null without a rate';

CREATE FUNCTION sync._busy_after_requests(busy_until timestamptz, as_of timestamptz, per_minute int, requests bigint) RETURNS timestamptz
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_busy_after_requests';
COMMENT ON FUNCTION sync._busy_after_requests(timestamptz, timestamptz, int, bigint) IS
    'Internal: until when that many more requests last at that rate; null without a rate';

CREATE FUNCTION sync._share_fairly(priorities int[], tenants text[], weights int[], most int[], wanted int) RETURNS int[]
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_share_fairly';
COMMENT ON FUNCTION sync._share_fairly(int[], text[], int[], int[], int) IS
    'Internal: how many jobs each gets of those wanted, the highest priority first, and within one each in its turn; equal priorities stand together';

CREATE FUNCTION sync._refund_shares(priorities int[], tenants text[], weights int[], jobs int[]) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_refund_shares';
COMMENT ON FUNCTION sync._refund_shares(int[], text[], int[], int[]) IS 'Internal: takes back what _share_fairly gave and was not there';

CREATE FUNCTION sync._limits_written() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_engine_limits_written';
COMMENT ON FUNCTION sync._limits_written() IS 'Internal: every session reads the limits of tenants anew';

CREATE FUNCTION sync._lane_heads(provider text, as_of timestamptz, passed tid[],
                                 OUT priority int, OUT tenant_id text, OUT due timestamptz, OUT id bigint) RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sync_engine_lane_heads';
COMMENT ON FUNCTION sync._lane_heads(text, timestamptz, tid[]) IS
    'Internal: the lanes that tenants have of their own at a provider, and the first job of each that is due, not passed, and of an active connection that runs nothing';

CREATE FUNCTION sync._next_lane_jobs(slugs text[], priorities int[], tenants text[], most int[], rooms int[], passed tid[], wanted int, as_of timestamptz,
                                     OUT slug text, OUT priority int, OUT tenant_id text, OUT id bigint, OUT tid tid, OUT connection_id bigint, OUT due timestamptz)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sync_engine_next_lane_jobs';
COMMENT ON FUNCTION sync._next_lane_jobs(text[], int[], text[], int[], int[], tid[], int, timestamptz) IS
    'Internal: what comes next of these lanes, in claim order: as many as wanted (null: any number), of each lane at most so many, of all lanes of a tenant no more than its room (null: any number); due, not passed, and of active connections that run nothing';

-- Notifications: src/core/email_address.hpp, url.hpp, delivery_retry.hpp, empty_runs.hpp.
CREATE FUNCTION sync._email_fault(address text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_email_fault';
COMMENT ON FUNCTION sync._email_fault(text) IS 'Internal: why no mail can be sent to that address; null when it can';

CREATE FUNCTION sync._webhook_url_fault(url text, http_allowed boolean) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_webhook_url_fault';
COMMENT ON FUNCTION sync._webhook_url_fault(text, boolean) IS 'Internal: why nothing can be posted to that URL; null when it can';

CREATE FUNCTION sync._delivery_wait(tries int, hint double precision) RETURNS double precision
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sync_engine_delivery_wait';
COMMENT ON FUNCTION sync._delivery_wait(int, double precision) IS
    'Internal: seconds until a notification is tried again after so many tries, with jitter; null after the last one';

CREATE FUNCTION sync._empty_runs_are_odd(with_records bigint, without_records bigint, streak bigint) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_engine_empty_runs_are_odd';
COMMENT ON FUNCTION sync._empty_runs_are_odd(bigint, bigint, bigint) IS
    'Internal: whether so many runs in a row without a record are odd, given the runs before them';
