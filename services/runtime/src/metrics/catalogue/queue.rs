//! Tasks from their batch's arrival to their outcome's commit.

super::metrics! { Queue:
    /// Shards that the process works on. Those of all processes are 64.
    Gauge OWNED_SHARDS = "hashmesh_queue_owned_shards" in "{shard}" [];
    /// Shards that nobody owns, as this process has seen it last: nothing of them is accepted or leased. 0 in one that owns none.
    Gauge FREE_SHARDS = "hashmesh_queue_free_shards" in "{shard}" [];
    /// Tasks that more workers could work on now. Not those that wait for their next attempt, for their time, for the end of a pause, or
    /// for room below a limit.
    Gauge READY_TASKS = "hashmesh_queue_ready_tasks" in "{task}" [];
    /// Tasks in the hands of workers.
    Gauge LEASED_TASKS = "hashmesh_queue_leased_tasks" in "{task}" [];
    /// For how long the oldest ready task has been ready; 0 if there is none. Not since it was sent: a task that was paused, or for
    /// later, counts from when that ended. Those that wait for room in memory are not looked at.
    Gauge OLDEST_READY = "hashmesh_queue_oldest_ready_seconds" in "s" [];
    /// Submissions that are OPEN or SEALED, or whose end is being committed.
    Gauge UNFINISHED_SUBMISSIONS = "hashmesh_queue_unfinished_submissions" in "{submission}" [];
    /// Bytes of task payload held in memory for leases, and how many there may be: above it nothing is kept that is committed.
    Gauge PAYLOAD_BYTES = "hashmesh_queue_payload_bytes" in "By" [state "held"|"limit"];
    /// Workers that are connected to the process; each connects to all.
    Gauge WORKERS = "hashmesh_queue_workers" in "{worker}" [];
    /// Threads that hash, of all workers that are connected to the process.
    Gauge WORKER_SLOTS = "hashmesh_queue_worker_slots" in "{thread}" [];
    /// Leases that workers hold.
    Gauge LEASES = "hashmesh_queue_leases" in "{lease}" [];
    /// Tasks of committed batches.
    Counter ACCEPTED_TASKS = "hashmesh_queue_accepted_tasks_total" in "{task}" [];
    /// Committed outcomes.
    Counter RECORDED_TASKS = "hashmesh_queue_recorded_tasks_total" in "{task}" [outcome "succeeded"|"mismatched"|"failed"];
    /// Outcomes that were refused: their lease was revoked, expired or superseded, or they were malformed.
    Counter REFUSED_TASKS = "hashmesh_queue_refused_tasks_total" in "{task}" [];
    /// Attempts that failed and were scheduled again.
    Counter RETRIED_TASKS = "hashmesh_queue_retried_tasks_total" in "{task}" [];
    /// Leases that ended: with outcomes, given back by their worker or not sent, because the worker was gone, silent (expired) or stood
    /// still, or because their submission was cancelled, has ended, or is read again after a failed write.
    Counter ENDED_LEASES = "hashmesh_queue_ended_leases_total" in "{lease}" [reason "outcomes"|"nack"|"disconnected"|"expired"|"stalled"|"cancelled"];
    /// Strikes: ranges that were in hand when their worker was lost, or that stood still; also of what a crash left in hand.
    Counter STRIKES = "hashmesh_queue_strikes_total" in "{range}" [];
    /// How long tasks spent in a phase of their way: each batch (until it is leased) or lease (from then on) counts once.
    Histogram(SECONDS) PHASE_SECONDS = "hashmesh_queue_phase_seconds" in "s" [phase "received_to_committed"|"committed_to_leased"|"leased_to_done"|"done_to_recorded"|"received_to_recorded"];
    /// How much of its time a lease had left when its last outcomes came. Little of it: workers are about to lose leases.
    Histogram(SECONDS) LEASE_SLACK = "hashmesh_queue_lease_slack_seconds" in "s" [];
    /// How long transactions of the commit lanes took, whatever came of them.
    Histogram(SECONDS) COMMIT_SECONDS = "hashmesh_queue_commit_seconds" in "s" [];
    /// What committed transactions of the commit lanes wrote: payload, names and outcomes, without what was left out.
    Histogram(BYTES) COMMIT_BYTES = "hashmesh_queue_commit_bytes" in "By" [];
    /// How many units (batches, outcomes of a lease, seals) committed transactions of the commit lanes carried.
    Histogram(COUNTS) COMMIT_UNITS = "hashmesh_queue_commit_units" in "{unit}" [];
    /// Transactions that were rolled back or whose end is not known, and units that Postgres refused for good. An idempotency key that two
    /// callers use at once rolls a transaction back and refuses no unit.
    Counter COMMIT_FAILURES = "hashmesh_queue_commit_failures_total" in "{failure}" [what "transaction"|"unit"];
    /// Times that this process has taken shards over, one or many, that their last owner had not given up.
    Counter TAKEOVERS = "hashmesh_queue_takeovers_total" in "{takeover}" [];
    /// Bytes of write-ahead log that Postgres has inserted since it was created, as the process has found it within the last 5 s;
    /// 0 in one that owns nothing.
    Gauge WAL_BYTES = "hashmesh_queue_postgres_wal_bytes" in "By" [];
    /// How far a replica was behind when that was last measured; it means nothing while the replica is not used.
    Gauge REPLICA_LAG = "hashmesh_queue_replica_lag_seconds" in "s" [replica "<hosts of replica URLs>"];
    /// 1 where a replica answers reads, else 0.
    Gauge REPLICA_USED = "hashmesh_queue_replica_used" in "1" [replica "<hosts of replica URLs>"];
    /// Days for which partitions exist, from today. 0 in processes that own nothing.
    Gauge DAYS_AHEAD = "hashmesh_queue_partitions_ahead" in "{partition}" [];
    /// 1 if rows went to the DEFAULT partition, which is for emergencies. 0 in processes that own nothing.
    Gauge DEFAULT_PARTITION = "hashmesh_queue_default_partition_used" in "1" [];
    /// Runs of schedules that were begun; attempts that failed, which are made again within a second or two; runs left out because the one
    /// before had not ended.
    Counter SCHEDULE_RUNS = "hashmesh_queue_schedule_runs_total" in "{run}" [result "begun"|"failed"|"skipped"];
    /// Streams of Gateways that write or read submissions.
    Gauge STREAMS = "hashmesh_queue_streams" in "{stream}" [kind "write"|"results"|"watch"];
}
