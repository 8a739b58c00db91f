-- Short, whatever happens to us: while the exclusive lock is held, nothing of the shard can be written.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '2s';
