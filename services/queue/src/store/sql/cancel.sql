-- The state is compared where the planner cannot see that a partial index holds all such rows: until it has statistics it
-- would read that whole index, with every dead entry, instead of looking one row up by its key.
WITH written AS (
    UPDATE submissions
    SET state = 'cancelled', ended_at = now(), end_reason = given.reason,
        end_error_reason = given.error_reason, end_error_message = given.error_message
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS given (id, reason, error_reason, error_message)
    WHERE submissions.id = given.id AND submissions.state || '' IN ('open', 'sealed') AND fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
