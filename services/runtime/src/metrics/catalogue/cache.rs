//! Digests that need not be computed again, and windows of rate limits.

super::metrics! { Cache:
    /// Digests that were asked for, by where they were found.
    Total LOOKUPS = "hashmesh_cache_lookups_total" in "{entry}" [result "memory"|"redis"|"postgres"|"missing"];
    /// Objects whose digests were used, and such that turned out to have changed.
    Total OBJECTS = "hashmesh_cache_objects_total" in "{object}" [result "taken"|"changed"];
    /// Bytes that were not read because a digest was known.
    Total SAVED_BYTES = "hashmesh_cache_saved_bytes_total" in "By" [];
    /// Entries that were put, refreshed early, warmed, or deleted: because somebody said so, for want of room, because of age.
    Total ENTRIES = "hashmesh_cache_entry_changes_total" in "{entry}" [change "put"|"refreshed"|"warmed"|"invalidated"|"evicted"|"expired"];
    /// Values that were not ours, not the object's or not whole, and were deleted.
    Total REJECTED = "hashmesh_cache_rejected_values_total" in "{value}" [];
    /// Requests that were answered by what another asked for at the same time.
    Total JOINED = "hashmesh_cache_joined_requests_total" in "{request}" [];
    /// Calls to a store that failed or came too late.
    Total FAILURES = "hashmesh_cache_store_failures_total" in "{call}" [store "redis"|"postgres"];
    /// Entries in memory.
    Gauge MEMORY_ENTRIES = "hashmesh_cache_memory_entries" in "{entry}" [];
    /// Bytes of entries in memory, and how many there may be.
    Gauge MEMORY_BYTES = "hashmesh_cache_memory_bytes" in "By" [state "held"|"limit"];
    /// 1 while Redis answers, 0 while it does not; absent where there is none.
    Gauge REDIS_UP = "hashmesh_cache_redis_up" in "1" [redis "<`redis`, where one is configured>"];
    /// Calls whose rate limits were looked at, by what came of it. One that has no limit, or that Redis did not answer about,
    /// is not in here.
    Counter QUOTA_DECISIONS = "hashmesh_cache_quota_decisions_total" in "{call}" [decision "admitted"|"refused"];
}
