-- The ids of a page, newest first. What is shown of them is read by the next statement of the same snapshot, which then
-- knows in which days they are.
SELECT id
FROM submissions
WHERE tenant = $1
  AND id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($3::text IS NULL OR state = $3)
  AND labels @> $4::text::jsonb
  AND ($5::uuid IS NULL OR retry_of = $5)
ORDER BY id DESC
LIMIT $6
