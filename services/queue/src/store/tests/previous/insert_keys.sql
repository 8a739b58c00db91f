WITH given AS (
    SELECT unnest($1::smallint[]) AS shard,
           unnest($2::text[]) AS tenant,
           unnest($3::text[]) AS key,
           unnest($4::uuid[]) AS submission_id,
           unnest($5::bytea[]) AS options_fingerprint
), written AS (
    INSERT INTO idempotency_keys (shard, tenant, key, submission_id, options_fingerprint)
    SELECT shard, tenant, key, submission_id, options_fingerprint
    FROM given
    WHERE fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
