-- The fence's second half. A statement of its own: its snapshot must be younger than the locks.
SELECT check_epochs($1, $2)
