WITH written AS (
    UPDATE submissions
    SET state = 'sealed', batch_count = given.batch_count
    FROM unnest($1::uuid[], $2::integer[]) AS given (id, batch_count)
    WHERE submissions.id = given.id AND submissions.state = 'open' AND fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
