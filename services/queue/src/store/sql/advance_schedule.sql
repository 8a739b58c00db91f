-- Nothing, if it was deleted, or advanced by another. $5: the submission of this run; NULL: it was skipped.
UPDATE schedules
SET next_run_at = $4, last_run = coalesce($5, last_run),
    runs = runs + ($5 IS NOT NULL)::integer, skipped_runs = skipped_runs + ($5 IS NULL)::integer
WHERE tenant = $1 AND name = $2 AND next_run_at = $3
RETURNING name
