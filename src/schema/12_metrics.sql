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
    LANGUAGE c STABLE PARALLEL SAFE ROWS 15 AS 'MODULE_PATHNAME', 'sync_engine_metrics_catalog';
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
