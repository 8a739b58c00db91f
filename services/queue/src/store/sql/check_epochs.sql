-- The fence's second half. A statement of its own: its snapshot must be younger than the locks. With the transaction's time,
-- which its rows get for created_at and ended_at.
SELECT check_epochs($1, $2), now()
