//! What our clusters are told: durable, sized for this machine, otherwise Postgres' defaults.

const MIB: u64 = 1024 * 1024;

/// The configuration file that a cluster includes. `ALTER SYSTEM` wins over it.
///
/// Durability is said in full, although it is the default, because it is the point of having Postgres at all. Few and
/// long checkpoints, because every one makes full pages go to the WAL again; `min_wal_size` keeps segments for reuse.
pub(crate) fn configuration(memory_bytes: u64) -> String {
    // An eighth: tables are mostly appended to, and the page cache does the rest.
    let shared_buffers_mib = (memory_bytes / 8).clamp(128 * MIB, 2048 * MIB) / MIB;
    format!(
        "# Written by hashmesh at every start. Use ALTER SYSTEM to change a setting.\n\
         fsync = on\n\
         full_page_writes = on\n\
         synchronous_commit = on\n\
         password_encryption = 'scram-sha-256'\n\
         max_connections = 100\n\
         shared_buffers = {shared_buffers_mib}MB\n\
         wal_buffers = 32MB\n\
         min_wal_size = 1GB\n\
         max_wal_size = 8GB\n\
         checkpoint_timeout = 15min\n\
         checkpoint_completion_target = 0.9\n\
         jit = off\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         log_destination = 'stderr'\n\
         logging_collector = off\n\
         log_line_prefix = '%m [%p] %a '\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_follow_the_memory_within_bounds() {
        let line = |memory| configuration(memory).lines().find(|line| line.starts_with("shared")).unwrap().to_owned();
        assert_eq!(line(256 * MIB), "shared_buffers = 128MB");
        assert_eq!(line(8 * 1024 * MIB), "shared_buffers = 1024MB");
        assert_eq!(line(u64::MAX), "shared_buffers = 2048MB");
    }
}
