-- Rows that a lane is writing are skipped, so that the two never wait for each other.
WITH reached AS (
    SELECT submissions.id, given.resolved_through, given.resolved_position
    FROM unnest($1::uuid[], $2::integer[], $3::bigint[]) AS given (id, resolved_through, resolved_position)
    JOIN submissions ON submissions.id = given.id
    WHERE submissions.resolved_through < given.resolved_through AND fenced()
    FOR NO KEY UPDATE OF submissions SKIP LOCKED
)
UPDATE submissions
SET resolved_through = reached.resolved_through, resolved_position = reached.resolved_position
FROM reached
WHERE submissions.id = reached.id AND submissions.resolved_through < reached.resolved_through
