//! What is exported of the layers.

use std::sync::Arc;

use hashmesh_runtime::metrics::{
    Watch,
    catalogue::cache::{
        ENTRIES, FAILURES, JOINED, LOOKUPS, MEMORY_BYTES, MEMORY_ENTRIES, OBJECTS, REJECTED, SAVED_BYTES,
    },
};

use super::Entries;

/// Has the numbers of these layers asked for, until dropped.
#[must_use = "they are asked for as long as this lives"]
#[allow(clippy::cast_precision_loss)] // exact up to 2^53
pub(crate) fn of(entries: &Arc<Entries>) -> Vec<Watch> {
    let number = |read: fn(&Entries) -> u64| {
        let entries = Arc::clone(entries);
        move || read(&entries) as f64
    };
    vec![
        LOOKUPS.watch(&["memory"], number(|entries| entries.counters.memory_hits.get())),
        LOOKUPS.watch(&["redis"], number(|entries| entries.counters.redis_hits.get())),
        LOOKUPS.watch(&["postgres"], number(|entries| entries.counters.postgres_hits.get())),
        LOOKUPS.watch(&["missing"], number(|entries| entries.counters.misses.get())),
        OBJECTS.watch(&["taken"], number(|entries| entries.counters.taken.get())),
        OBJECTS.watch(&["changed"], number(|entries| entries.counters.changed.get())),
        SAVED_BYTES.watch(&[], number(|entries| entries.counters.saved_bytes.get())),
        ENTRIES.watch(&["put"], number(|entries| entries.counters.put.get())),
        ENTRIES.watch(&["refreshed"], number(|entries| entries.counters.early_refreshes.get())),
        ENTRIES.watch(&["warmed"], number(|entries| entries.counters.warmed.get())),
        ENTRIES.watch(&["invalidated"], number(|entries| entries.counters.invalidated.get())),
        ENTRIES.watch(&["evicted"], number(|entries| entries.memory.evicted())),
        ENTRIES.watch(&["expired"], number(|entries| entries.counters.expired.get())),
        REJECTED.watch(&[], number(|entries| entries.counters.rejected.get())),
        JOINED.watch(&[], number(|entries| entries.counters.readings_joined.get() + entries.flights.joined())),
        FAILURES.watch(&["redis"], number(|entries| entries.counters.redis_failures.get())),
        FAILURES.watch(&["postgres"], number(|entries| entries.counters.postgres_failures.get())),
        MEMORY_ENTRIES.watch(&[], number(|entries| entries.memory.counts().0)),
        MEMORY_BYTES.watch(&["held"], number(|entries| entries.memory.counts().1)),
        MEMORY_BYTES.watch(&["limit"], number(|entries| entries.config.memory_bytes)),
    ]
}
