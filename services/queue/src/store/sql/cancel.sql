-- The state is compared where the planner cannot see that a partial index holds all such rows: until it has statistics it
-- would read that whole index, with every dead entry, instead of looking one row up by its key.
WITH written AS (
    UPDATE submissions
    SET state = 'cancelled', ended_at = now(), end_reason = given.reason
    FROM unnest($1::uuid[], $2::text[]) AS given (id, reason)
    WHERE submissions.id = given.id AND submissions.state || '' IN ('open', 'sealed') AND fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
