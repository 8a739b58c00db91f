-- A page, newest first. The page is cut before the lookups, so that they are made for its rows only.
WITH page AS (
    SELECT id, tenant, state, algorithms, max_attempts, labels, retry_of, created_at, ended_at
    FROM submissions
    WHERE tenant = $1
      AND id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND ($3::text IS NULL OR state = $3)
      AND labels @> $4::text::jsonb
      AND ($5::uuid IS NULL OR retry_of = $5)
    ORDER BY id DESC
    LIMIT $6
)
SELECT id, tenant, state, algorithms, max_attempts, labels::text AS labels, retry_of, created_at, ended_at,
       coalesce(last_batch.sequence + 1, 0) AS next_sequence, coalesce(last_batch.accepted_through, 0) AS accepted,
       coalesce(newest.succeeded, 0) AS succeeded, coalesce(newest.mismatched, 0) AS mismatched,
       coalesce(newest.failed, 0) AS failed, coalesce(newest.hashed_bytes, 0) AS hashed_bytes
FROM page
LEFT JOIN LATERAL (
    SELECT sequence, accepted_through
    FROM batches
    WHERE submission_id = page.id
    ORDER BY sequence DESC
    LIMIT 1
) AS last_batch ON true
LEFT JOIN LATERAL (
    SELECT succeeded, mismatched, failed, hashed_bytes
    FROM results
    WHERE submission_id = page.id
    ORDER BY position DESC
    LIMIT 1
) AS newest ON true
ORDER BY id DESC
