//! What workers do with leases.

super::metrics! { Worker:
    /// Queues that have welcomed the worker and can lease to it.
    Gauge STREAMS = "hashmesh_worker_queue_streams" in "{stream}" [];
    /// Threads that hash, and threads that read and hash files.
    Gauge THREADS = "hashmesh_worker_threads" in "{thread}" [pool "hash"|"read"];
    /// Time that threads have spent with work, reading and waiting for a disk included. Its rate, divided by the number of
    /// threads, is the utilisation. What is over sooner than a thread wakes up is hashed where it came in and not in here.
    Total BUSY_SECONDS = "hashmesh_worker_busy_seconds_total" in "s" [pool "hash"|"read"];
    /// Groups of tasks that wait for a thread, or for their turn at the network.
    Gauge WAITING_GROUPS = "hashmesh_worker_waiting_groups" in "{group}" [pool "hash"|"read"|"remote"];
    /// Leases that the worker holds: until all is sent and the Queue has settled them.
    Gauge LEASES = "hashmesh_worker_leases" in "{lease}" [];
    /// Leases that ended, by how: every outcome was handed over, the worker gave them back, or the Queue took them back or its
    /// stream ended.
    Counter ENDED_LEASES = "hashmesh_worker_ended_leases_total" in "{lease}" [result "done"|"given_back"|"revoked"];
    /// From a lease's arrival to its last outcome being handed over to be sent.
    Histogram(SECONDS) LEASE_SECONDS = "hashmesh_worker_lease_seconds" in "s" [];
    /// Tasks whose outcomes were handed over to be sent to a Queue; `failed` for good, `retryable` if another attempt may do
    /// better.
    Counter TASKS = "hashmesh_worker_tasks_total" in "{task}" [outcome "succeeded"|"mismatched"|"failed"|"retryable"];
    /// Bytes that were hashed, each once however many digests were computed of it.
    Counter HASHED_BYTES = "hashmesh_worker_hashed_bytes_total" in "By" [];
    /// Attempts at tasks that failed, by why (`hashmesh.v1.TaskError.reason`).
    Counter READ_FAILURES = "hashmesh_worker_read_failures_total" in "{task}" [reason "<the reasons of tasks>"];
    /// Requests to hosts and buckets of objects, by what they answered: a class of HTTP status, or none. The store of uploads
    /// is not in here.
    Counter SOURCE_REQUESTS = "hashmesh_worker_source_requests_total" in "{request}" [answer "2xx"|"3xx"|"4xx"|"5xx"|"none"];
    /// Objects that the cache was asked for: its digest was taken, the object had changed, it knew none, or did not answer in
    /// time.
    Counter CACHE_OBJECTS = "hashmesh_worker_cache_objects_total" in "{object}" [result "taken"|"changed"|"missing"|"unanswered"];
    /// Bytes that were not read because the cache knew the digest.
    Counter CACHE_SAVED_BYTES = "hashmesh_worker_cache_saved_bytes_total" in "By" [];
}
