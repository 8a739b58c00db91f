//! Synchronous digests.

super::metrics! { Hash:
    /// Inputs that were hashed, and such whose digests were being computed for another call already.
    Total INPUTS = "hashmesh_hash_inputs_total" in "{input}" [result "computed"|"joined"];
    /// Bytes that were hashed.
    Counter BYTES = "hashmesh_hash_bytes_total" in "By" [];
    /// Threads that hash.
    Gauge THREADS = "hashmesh_hash_threads" in "{thread}" [];
    /// Time that threads have spent with work. Its rate, divided by the number of threads, is the utilisation. Inputs below
    /// 4 KiB are hashed where they came in and need none of these threads.
    Total BUSY_SECONDS = "hashmesh_hash_busy_seconds_total" in "s" [];
    /// Callers that wait for a thread.
    Gauge WAITING = "hashmesh_hash_waiting_callers" in "{caller}" [];
    /// Calls that were refused because too many waited, or too many streamed inputs were under way.
    Counter SHED = "hashmesh_hash_shed_calls_total" in "{call}" [];
}
