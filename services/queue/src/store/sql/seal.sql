-- The state is compared where the planner cannot see that a partial index holds all such rows: until it has statistics it
-- would read that whole index, with every dead entry, instead of looking one row up by its key.
WITH written AS (
    UPDATE submissions
    SET state = 'sealed', batch_count = given.batch_count
    FROM unnest($1::uuid[], $2::integer[]) AS given (id, batch_count)
    WHERE submissions.id = given.id AND submissions.state || '' = 'open' AND fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
