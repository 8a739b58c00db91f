-- Which submissions have outcomes in (after_position, to_position] of batches from number `through` on.
SELECT id
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[]) AS wanted (id, through, after_position, to_position)
WHERE EXISTS (SELECT FROM results
              WHERE submission_id = id AND submission_id = ANY($1::uuid[]) AND position > after_position AND position <= to_position
                AND sequence >= through)
