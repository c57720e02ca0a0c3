WITH c AS MATERIALIZED (
    SELECT j.id FROM bare.sync_jobs j
    WHERE j.status = 'queued' AND j.provider_slug = 'bench' AND j.priority = 0
      AND GREATEST(j.scheduled_at, j.retry_after) <= :as_of::timestamptz
    ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT :batch::int FOR NO KEY UPDATE SKIP LOCKED
), u AS (
    UPDATE bare.sync_jobs j
    SET status = 'running', claimed_by = 'bench', claimed_at = :as_of::timestamptz, started_at = :as_of::timestamptz,
        claim_token = gen_random_uuid()
    FROM c WHERE j.id = c.id RETURNING j.id
)
SELECT COALESCE(array_agg(u.id), '{}')::text AS ids FROM u \gset
UPDATE bare.sync_jobs j
SET status = 'succeeded', finished_at = :as_of::timestamptz, cursor = jsonb_build_object('job', j.id)
WHERE j.id = ANY (:ids::bigint[]);
