SELECT COALESCE(jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token,
        'next_cursor', jsonb_build_object('job', job_id))), '[]') AS results
FROM sync.claim_jobs('bench-' || :client_id::text, :batch::int, :as_of::timestamptz) \gset
SELECT count(*) FROM sync.complete_jobs(:results::jsonb, :as_of::timestamptz) WHERE outcome = 'completed';
