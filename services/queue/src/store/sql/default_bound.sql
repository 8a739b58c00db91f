-- The day of a conversion of the DEFAULT partition that was begun, in days since 1970.
SELECT to_date(substring(conname FROM '\d{8}$'), 'YYYYMMDD') - date '1970-01-01'
FROM pg_constraint
WHERE conrelid = ($1::text || '_default')::regclass AND contype = 'c' AND conname ~ '^before_\d{8}$'
