//! The durable queue: a pure core, group commit, leases, results.
