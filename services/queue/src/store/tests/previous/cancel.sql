WITH written AS (
    UPDATE submissions
    SET state = 'cancelled', ended_at = now()
    FROM unnest($1::uuid[]) AS given (id)
    WHERE submissions.id = given.id AND submissions.state IN ('open', 'sealed') AND fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
