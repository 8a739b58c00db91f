-- How a lane's connection works. The joins and scans that are off are those that the planner picks for tables it has no
-- statistics of yet, and then keeps: an index and nested loops are right for every statement of a lane at every size.
SET synchronous_commit = on;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_seqscan = off;
SET jit = off;
SET plan_cache_mode = force_generic_plan;
SET statement_timeout = '30s';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '10s';
