//! What clients bring and get.

super::metrics! { Gateway:
    /// Streams of clients that are open, by kind.
    Gauge STREAMS = "hashmesh_gateway_streams" in "{stream}" [kind "submit"|"results"|"watch"|"digest"|"upload"];
    /// Batches that were taken from clients and passed on, and those that were refused.
    Counter BATCHES = "hashmesh_gateway_batches_total" in "{batch}" [result "passed"|"refused"];
    /// Tasks of the batches that were passed on.
    Counter TASKS = "hashmesh_gateway_tasks_total" in "{task}" [];
    /// Bytes of inline data, URIs, names and expected digests of the batches that were passed on.
    Counter TASK_BYTES = "hashmesh_gateway_task_bytes_total" in "By" [];
    /// Outcomes that were sent to clients.
    Counter OUTCOMES = "hashmesh_gateway_outcomes_total" in "{task}" [];
    /// Calls that a rate limit has decided on, by whose limit it was: of several, the one that leaves least. Calls without a
    /// limit are not counted.
    Counter LIMIT_DECISIONS = "hashmesh_gateway_limit_decisions_total" in "{call}" [limit "address"|"key", decision "admitted"|"refused"];
    /// Calls whose rate limits were counted by all Gateways together, and those that were counted here alone: there is nobody
    /// who counts for all, or he did not answer in time.
    Counter LIMIT_COUNTS = "hashmesh_gateway_limit_counts_total" in "{call}" [place "shared"|"here"];
    /// Calls and streams that were refused at once because there were too many.
    Counter SHED_CALLS = "hashmesh_gateway_shed_calls_total" in "{call}" [kind "unary"|"stream"];
    /// Places for unary calls: how many there are now, and how many are taken.
    Gauge PLACES = "hashmesh_gateway_call_places" in "{call}" [state "taken"|"all"];
    /// Calls that were turned away for want of a valid key, or of a scope that the key does not have; and streams that ended
    /// because their key was accepted no more.
    Counter REFUSED_CALLERS = "hashmesh_gateway_refused_callers_total" in "{call}" [reason "unauthenticated"|"permission_denied"];
    /// Streams that the Gateway ended: because of their age, because it stops, or because their client did not answer a ping.
    Counter ENDED_STREAMS = "hashmesh_gateway_ended_streams_total" in "{stream}" [reason "age"|"draining"|"silent_peer"];
    /// `ComputeDigest` calls that found an equal one under way and waited for its answer, instead of asking Hash.
    Total COALESCED_DIGESTS = "hashmesh_gateway_coalesced_digests_total" in "{call}" [];
    /// Bytes of uploads that were stored.
    Counter UPLOADED_BYTES = "hashmesh_gateway_uploaded_bytes_total" in "By" [];
}
