//! The way to Postgres.

super::metrics! { Database:
    /// Connections of the pool, by whether somebody uses them.
    Gauge POOL_CONNECTIONS = "hashmesh_db_pool_connections" in "{connection}" [state "idle"|"used"];
    /// Connections that the pool may have.
    Gauge POOL_MAX = "hashmesh_db_pool_max_connections" in "{connection}" [];
    /// Callers that wait for a connection.
    Gauge POOL_WAITING = "hashmesh_db_pool_waiting_callers" in "{caller}" [];
    /// Time that callers have waited for connections.
    Total POOL_WAIT_SECONDS = "hashmesh_db_pool_wait_seconds_total" in "s" [];
    /// Callers who got a connection, at once or after a wait, and who did not: in time, because too many waited, because the
    /// circuit breaker was open.
    Total POOL_CALLERS = "hashmesh_db_pool_callers_total" in "{caller}" [result "at_once"|"after_wait"|"timed_out"|"refused"|"circuit_open"];
    /// Connections that were opened.
    Total POOL_OPENED = "hashmesh_db_pool_opened_connections_total" in "{connection}" [];
    /// Connections that were closed because they were broken, or still busy when they were wanted again.
    Total POOL_BROKEN = "hashmesh_db_pool_broken_connections_total" in "{connection}" [];
    /// 0 if Postgres could not be reached, or did not answer, when a connection of the pool was last wanted, else 1. That all
    /// connections were in use does not count.
    Gauge UP = "hashmesh_db_up" in "1" [];
}
