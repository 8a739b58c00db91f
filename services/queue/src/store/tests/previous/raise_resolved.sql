-- Rows that a lane is writing are skipped, so that the two never wait for each other.
WITH reached AS (
    SELECT submissions.id, given.resolved_through
    FROM unnest($1::uuid[], $2::integer[]) AS given (id, resolved_through)
    JOIN submissions ON submissions.id = given.id
    WHERE submissions.resolved_through < given.resolved_through AND fenced()
    FOR NO KEY UPDATE OF submissions SKIP LOCKED
)
UPDATE submissions
SET resolved_through = GREATEST(submissions.resolved_through, reached.resolved_through)
FROM reached
WHERE submissions.id = reached.id
