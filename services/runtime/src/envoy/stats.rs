//! `/lb/stats`: what Envoy counts, in our words.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CLUSTER,
    admin::{EnvoyError, ask},
};

/// How Envoy chooses a Gateway for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// Of two chosen at random, the one with fewer calls under way.
    LeastRequest,
    /// Any.
    Random,
    /// A client's address has its Gateway, as long as that is there (Maglev).
    SourceIp,
    /// The same by a ring, which moves fewer clients when Gateways come and go, and spreads them less evenly.
    RingHash,
}

impl Policy {
    /// All of them, and what Envoy calls them.
    pub const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::RoundRobin, "round-robin", "ROUND_ROBIN"),
        (Self::LeastRequest, "least-request", "LEAST_REQUEST"),
        (Self::Random, "random", "RANDOM"),
        (Self::SourceIp, "source-ip", "MAGLEV"),
        (Self::RingHash, "ring-hash", "RING_HASH"),
    ];

    /// The policy of this name in Envoy's configuration.
    #[must_use]
    pub fn of_envoy(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(policy, _, envoy)| (envoy == name).then_some(policy))
    }

    /// Its name in Envoy's configuration.
    #[must_use]
    pub fn in_envoy(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(policy, _, envoy)| (policy == self).then_some(envoy)).unwrap_or_default()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            Self::ALL.into_iter().find_map(|(policy, name, _)| (policy == *self).then_some(name)).unwrap_or_default(),
        )
    }
}

/// A name that no policy has.
#[derive(Debug, thiserror::Error)]
#[error("wanted round-robin, least-request, random, source-ip or ring-hash, found {0:?}")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find_map(|(policy, name, _)| (name == text).then_some(policy));
        found.ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

/// What one Envoy says of the Gateways behind it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct LbStats {
    /// How it chooses; its own word, if we have none for it.
    pub policy: String,
    /// The Gateways it knows.
    pub endpoints: Vec<Endpoint>,
    /// Who was left out between health checks.
    pub ejections: Ejections,
    /// Calls to all of them, since Envoy started.
    pub requests: Requests,
}

/// A Gateway.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub address: String,
    /// It gets calls.
    pub healthy: bool,
    /// Why it gets none: `failed_active_health_check`, `failed_outlier_check`, …
    pub why: Vec<String>,
    /// Calls and streams that it was given.
    pub requests: u64,
    /// Those under way.
    pub active_requests: u64,
    /// Those without an answer, or with an error of its own (5xx).
    pub failed_requests: u64,
    /// Connections to it.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub failed_connections: u64,
}

/// Who was left out between health checks.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Ejections {
    /// Now.
    pub active: u64,
    /// Since Envoy started, or was given another policy.
    pub total: u64,
}

/// Calls, of all Gateways together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// All, repeats included.
    pub total: u64,
    /// Under way.
    pub active: u64,
    /// Repeats.
    pub retries: u64,
    /// Refused, because too many were under way.
    pub overflowed: u64,
}

/// Asks the Envoy whose admin interface is at `socket`.
///
/// # Errors
/// If it does not answer, or does not know our Gateways.
pub async fn lb_stats(socket: &Path) -> Result<LbStats, EnvoyError> {
    let clusters: Clusters = ask(socket, "/clusters?format=json").await?;
    let configs: Value = ask(socket, "/config_dump?resource=dynamic_active_clusters").await?;
    let counters: Counters = ask(socket, &format!("/stats?format=json&filter=^cluster\\.{CLUSTER}\\.")).await?;
    let cluster = clusters.cluster_statuses.into_iter().find(|cluster| cluster.name == CLUSTER);
    let cluster = cluster.ok_or_else(|| EnvoyError::Answer {
        question: "/clusters".to_owned(),
        cause: format!("it has no cluster {CLUSTER:?}; envoy/lb/ has one"),
    })?;
    let counter = |name: &str| counters.get(name);
    Ok(LbStats {
        policy: policy(&configs),
        endpoints: cluster.host_statuses.into_iter().map(Endpoint::from).collect(),
        ejections: Ejections {
            active: counter("outlier_detection.ejections_active"),
            total: counter("outlier_detection.ejections_enforced_total"),
        },
        requests: Requests {
            total: counter("upstream_rq_total"),
            active: counter("upstream_rq_active"),
            retries: counter("upstream_rq_retry"),
            overflowed: counter("upstream_rq_active_overflow") + counter("upstream_rq_pending_overflow"),
        },
    })
}

fn policy(configs: &Value) -> String {
    let clusters = configs["configs"].as_array().into_iter().flatten().map(|config| &config["cluster"]);
    let cluster = clusters.into_iter().find(|cluster| cluster["name"] == CLUSTER);
    // What is the default stands nowhere.
    let name = cluster.and_then(|cluster| cluster["lb_policy"].as_str()).unwrap_or("ROUND_ROBIN");
    Policy::of_envoy(name).map_or_else(|| name.to_owned(), |policy| policy.to_string())
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    cluster_statuses: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    #[serde(default)]
    host_statuses: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    address: Value,
    #[serde(default)]
    stats: Vec<HostCounter>,
    #[serde(default)]
    health_status: serde_json::Map<String, Value>,
}

/// Zeros have no value.
#[derive(Deserialize)]
struct HostCounter {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

impl From<Host> for Endpoint {
    fn from(host: Host) -> Self {
        let socket = &host.address["socket_address"];
        let address = match (socket["address"].as_str(), socket["port_value"].as_u64()) {
            (Some(host), Some(port)) if host.contains(':') => format!("[{host}]:{port}"),
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => host.address.to_string(),
        };
        let counter = |name: &str| {
            let found = host.stats.iter().find(|counter| counter.name == name);
            found.and_then(|counter| counter.value.as_ref()?.parse().ok()).unwrap_or(0)
        };
        // `eds_health_status` says HEALTHY where nothing is wrong; all others are there only if they hold.
        let why = host.health_status.iter().filter_map(|(name, value)| match value {
            Value::Bool(true) => Some(name.clone()),
            Value::String(status) if status != "HEALTHY" && status != "UNKNOWN" => Some(status.to_lowercase()),
            _ => None,
        });
        let why: Vec<String> = why.collect();
        Self {
            address,
            // Who is no longer named, and answers, may get calls all the same.
            healthy: why.iter().all(|why| why == "pending_dynamic_removal"),
            requests: counter("rq_total"),
            active_requests: counter("rq_active"),
            failed_requests: counter("rq_error"),
            connections: counter("cx_active"),
            failed_connections: counter("cx_connect_fail"),
            why,
        }
    }
}

/// `{"stats": [{"name": …, "value": …}, …, {"histograms": …}]}`
#[derive(Deserialize)]
struct Counters {
    stats: Vec<Value>,
}

impl Counters {
    fn get(&self, name: &str) -> u64 {
        let full = format!("cluster.{CLUSTER}.{name}");
        let found = self.stats.iter().find(|stat| stat["name"] == full.as_str());
        found.and_then(|stat| stat["value"].as_u64()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_policy_is_found_by_both_its_names() {
        for (policy, name, envoy) in Policy::ALL {
            assert_eq!(name.parse::<Policy>().unwrap(), policy);
            assert_eq!(policy.to_string(), name);
            assert_eq!(Policy::of_envoy(envoy), Some(policy));
            assert_eq!(policy.in_envoy(), envoy);
        }
        let error = "fastest".parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("round-robin") && error.contains("fastest"), "{error}");
    }

    #[test]
    fn an_endpoint_says_why_it_gets_no_calls_and_zeros_need_not_be_there() {
        let host: Host = serde_json::from_value(json!({
            "address": {"socket_address": {"address": "10.0.0.7", "port_value": 7420}},
            "stats": [{"name": "rq_total", "value": "41"}, {"name": "rq_error"}, {"name": "cx_active", "value": "2", "type": "GAUGE"}],
            "health_status": {"eds_health_status": "HEALTHY", "failed_active_health_check": true}
        }))
        .unwrap();
        let endpoint = Endpoint::from(host);
        assert_eq!(endpoint.address, "10.0.0.7:7420");
        assert!(!endpoint.healthy);
        assert_eq!(endpoint.why, ["failed_active_health_check"]);
        assert_eq!((endpoint.requests, endpoint.failed_requests, endpoint.connections), (41, 0, 2));
    }

    #[test]
    fn a_policy_that_stands_nowhere_is_envoys_default_and_a_strange_one_keeps_its_name() {
        let config = |cluster: Value| json!({"configs": [{"cluster": cluster}]});
        assert_eq!(policy(&config(json!({"name": "gateway"}))), "round-robin");
        assert_eq!(policy(&config(json!({"name": "gateway", "lb_policy": "MAGLEV"}))), "source-ip");
        assert_eq!(policy(&config(json!({"name": "gateway", "lb_policy": "CLUSTER_PROVIDED"}))), "CLUSTER_PROVIDED");
    }
}
