-- Whether anything of a range of ids must stay: unfinished, or within its retention by the database's clock. $3: the
-- retention in seconds of submissions that do not say; NULL: for ever.
SELECT EXISTS (
    SELECT
    FROM submissions
    WHERE id >= $1 AND id < $2
      AND (state IN ('open', 'sealed')
           OR coalesce(retention_seconds, $3::bigint) IS NULL
           OR ended_at + coalesce(retention_seconds, $3::bigint) * INTERVAL '1 second' > clock_timestamp())
)
