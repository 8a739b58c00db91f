//! Of the process itself, whatever its role.

super::metrics! { Process:
    /// 1, with the version that runs.
    Gauge BUILD_INFO = "hashmesh_build_info" in "1" [version "<the program's version>"];
    /// 1 while a role of this process does its work (see /readyz), else 0.
    Gauge READY = "hashmesh_ready" in "1" [role "<the roles of the process>"];
    /// When the process was started, in seconds since 1970.
    Gauge START_TIME = "hashmesh_process_start_time_seconds" in "s" [];
    /// CPU time that the process has used, user and system.
    Total CPU_SECONDS = "hashmesh_process_cpu_seconds_total" in "s" [];
    /// CPUs that the process may use: the machine's, or less by affinity or the quota of its control group, which may end in the
    /// middle of one.
    Gauge CPU_CORES = "hashmesh_process_cpu_cores" in "{cpu}" [];
    /// Memory that the process has in RAM.
    Gauge RESIDENT_MEMORY = "hashmesh_process_resident_memory_bytes" in "By" [];
    /// Memory that the process may use: the machine's, or less by the limit of its control group.
    Gauge MEMORY_LIMIT = "hashmesh_process_memory_limit_bytes" in "By" [];
    /// Files and sockets that the process has open.
    Gauge OPEN_FILES = "hashmesh_process_open_files" in "{file}" [];
    /// Files and sockets that the process may open.
    Gauge MAX_FILES = "hashmesh_process_max_files" in "{file}" [];
    /// Threads of the process.
    Gauge THREADS = "hashmesh_process_threads" in "{thread}" [];
    /// Free bytes of the file system of a directory that the process writes to.
    Gauge FILESYSTEM_FREE = "hashmesh_filesystem_free_bytes" in "By" [directory "<data directory, uploads>"];
    /// Size of the file system of a directory that the process writes to.
    Gauge FILESYSTEM_SIZE = "hashmesh_filesystem_size_bytes" in "By" [directory "<data directory, uploads>"];
    /// When the process' own certificate, or the authority of it, expires, in seconds since 1970. Absent where it speaks no TLS.
    Gauge CERTIFICATE_EXPIRY = "hashmesh_certificate_expiry_seconds" in "s" [certificate "<own, authority>"];
    /// Lines that were logged, by level: an error is for whoever runs the mesh, at once; a warning for when they look.
    Counter LOG_LINES = "hashmesh_log_lines_total" in "{line}" [level "error"|"warn"|"info"|"debug"|"trace"];
    /// Spans that the collector has taken.
    Counter SPANS_EXPORTED = "hashmesh_trace_exported_spans_total" in "{span}" [];
    /// Spans that were thrown away: the queue to the exporter was full, the collector did not take them, or more errors
    /// happened outside of samples than are kept.
    Counter SPANS_DROPPED = "hashmesh_trace_dropped_spans_total" in "{span}" [reason "queue_full"|"export_failed"|"too_many_errors"];
}
