-- What of batches with some outcomes has its outcome. The ids are said twice: a join alone would let the planner go
-- through the indexes of every day.
SELECT results.submission_id, results.sequence, results.first_task, results.task_count
FROM (SELECT DISTINCT given.id, given.after_position, given.to_position
      FROM unnest($1::uuid[], $3::bigint[], $4::bigint[]) AS given (id, after_position, to_position)) AS wanted
JOIN results ON results.submission_id = wanted.id AND results.submission_id = ANY($1::uuid[])
            AND position > wanted.after_position AND position <= wanted.to_position
JOIN unnest($1::uuid[], $2::integer[]) AS partial (id, sequence)
     ON partial.id = results.submission_id AND partial.sequence = results.sequence
ORDER BY submission_id, sequence, first_task
