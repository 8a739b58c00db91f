//! Calls that are answered, and calls that are made.

super::metrics! { Rpc:
    /// Calls and streams that have ended, by method and status code. A client that goes away ends one as CANCELLED.
    Counter SERVER_CALLS = "hashmesh_rpc_server_calls_total" in "{call}" [method "<the methods of mounted services; `unknown`>", code "<gRPC status codes>"];
    /// How long unary calls took, from the request's head to the last byte of the answer handed to the connection.
    Histogram(SECONDS) SERVER_SECONDS = "hashmesh_rpc_server_seconds" in "s" [method "<the unary methods of mounted services; `unknown`>"];
    /// Calls and streams that are open.
    Gauge SERVER_OPEN = "hashmesh_rpc_server_open_calls" in "{call}" [kind "unary"|"stream"];
    /// Calls that ended with one of our errors, by its reason (`google.rpc.ErrorInfo`).
    Counter SERVER_ERRORS = "hashmesh_rpc_server_errors_total" in "{call}" [reason "<the reasons of the API>"];
    /// Connections that are open, those included that have not said anything yet.
    Gauge SERVER_CONNECTIONS = "hashmesh_rpc_server_connections" in "{connection}" [];
    /// Handlers that panicked. Each is a bug.
    Counter SERVER_PANICS = "hashmesh_rpc_server_panics_total" in "{call}" [];
    /// Calls and streams to other services that have ended, by status code.
    Counter CLIENT_CALLS = "hashmesh_rpc_client_calls_total" in "{call}" [service "<queue, hash, cache>", code "<gRPC status codes>"];
    /// How long unary calls to other services took.
    Histogram(SECONDS) CLIENT_SECONDS = "hashmesh_rpc_client_seconds" in "s" [service "<queue, hash, cache>"];
    /// Calls to other services that were made again.
    Counter CLIENT_RETRIES = "hashmesh_rpc_client_retries_total" in "{call}" [service "queue"|"hash"|"cache"];
    /// What a circuit breaker does: 0 closed, 1 half-open (one probe is let through), 2 open (calls are refused). Of several in
    /// front of the same, the worst.
    Gauge BREAKER_STATE = "hashmesh_breaker_state" in "1" [breaker "<what it stands in front of: URLs of services, Postgres, redis>"];
    /// Calls that a circuit breaker refused.
    Total BREAKER_REFUSED = "hashmesh_breaker_refused_calls_total" in "{call}" [breaker "<as hashmesh_breaker_state>"];
    /// How often a circuit breaker has opened, failed probes included.
    Total BREAKER_OPENED = "hashmesh_breaker_opened_total" in "{time}" [breaker "<as hashmesh_breaker_state>"];
}
