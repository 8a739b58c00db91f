-- A process takes no part in sharing any more.
DELETE FROM queue_processes WHERE id = $1
