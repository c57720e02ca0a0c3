INSERT INTO sync.signals (tenant_id, provider_slug, connection_id, dedupe_key, received_at)
SELECT 't' || :client_id % 5, 'p', 5 + :client_id, 'own ' || nextval('sync.sync_jobs_id_seq'), run.clock() FROM generate_series(1, 3);
