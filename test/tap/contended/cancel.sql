\set connection random(1, :connections)
SELECT sync.cancel_job(min(id), as_of => run.clock()) FROM sync.sync_jobs WHERE connection_id = :connection AND status IN ('queued', 'running');
