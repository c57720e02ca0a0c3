-- From 0.1.0: what scripts/update-script.py cannot derive. CONTRIBUTING.md says how to write it.

ALTER TABLE sync.sync_jobs DROP CONSTRAINT sync_jobs_connection_id_fkey;
DROP FUNCTION sync._complete(bigint[], jsonb[], jsonb[], boolean[], jsonb[], timestamptz);
DROP FUNCTION sync._tick_rows_safely(bigint[], timestamptz);
DROP FUNCTION sync._tick_rows(bigint[], timestamptz);

-- after the functions:
