\set connection random(1, :connections)
INSERT INTO sync.sync_jobs (connection_id, job_type, status, scheduled_at) VALUES (:connection, 'webhook', 'queued', run.clock()) ON CONFLICT (connection_id, job_type) WHERE status IN ('queued','running') DO NOTHING;
