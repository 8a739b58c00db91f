-- Submissions of the shards $2 that take batches of callers and have got none, nor an outcome, for $1 seconds by the database's clock.
SELECT id
FROM submissions
WHERE state = 'open' AND shard = ANY ($2::smallint[]) AND expansion_uri IS NULL AND created_at < clock_timestamp() - $1::bigint * INTERVAL '1 second'
  AND NOT EXISTS (SELECT FROM batches
                  WHERE submission_id = id AND created_at >= clock_timestamp() - $1::bigint * INTERVAL '1 second')
  AND NOT EXISTS (SELECT FROM results
                  WHERE submission_id = id AND created_at >= clock_timestamp() - $1::bigint * INTERVAL '1 second')
ORDER BY id
LIMIT 1000
