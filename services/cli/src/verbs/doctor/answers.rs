//! What every gRPC server says of itself, and what tools and orchestrators ask for: health and reflection.

use std::time::Duration;

use hashmesh::client::Client;
use hashmesh_runtime::probe::{self, Reflection};
use tonic::Status;

use super::check::Check;

const SERVICE: &str = "hashmesh.gateway.v1.GatewayService";
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn ask(client: &Client) -> [Check; 2] {
    let health = within(probe::health(client.channel(), SERVICE)).await;
    let v1 = within(probe::services(client.channel(), Reflection::V1)).await;
    let v1alpha = within(probe::services(client.channel(), Reflection::V1Alpha)).await;
    [judge_health(health), judge_reflection(&[("v1", v1), ("v1alpha", v1alpha)])]
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(late()))
}

fn judge_health(said: Result<&'static str, Status>) -> Check {
    match said {
        Ok("SERVING") => Check::ok("health", "SERVING"),
        Ok(other) => {
            let remedy = "the Gateway's log and its admin page /readyz say why; most often it has no Queue";
            Check::fail("health", format!("{SERVICE} is {other}"), remedy)
        }
        Err(status) => {
            let remedy = "route /grpc.health.v1.Health/ to the Gateways: load balancers and orchestrators ask there";
            Check::fail("health", told("cannot be asked", &status), remedy)
        }
    }
}

fn judge_reflection(versions: &[(&str, Result<Vec<String>, Status>)]) -> Check {
    let (mut fine, mut wrong) = (Vec::new(), Vec::new());
    for (version, listed) in versions {
        match listed {
            Ok(services) if services.iter().any(|service| service == SERVICE) => fine.push(*version),
            Ok(services) => {
                wrong.push(format!("{version} is somebody else's: it lists {} and no {SERVICE}", services.join(", ")));
            }
            Err(status) => wrong.push(told(version, status)),
        }
    }
    let check = if wrong.is_empty() {
        Check::ok("reflection", format!("{} list {SERVICE}", fine.join(" and ")))
    } else {
        let remedy = "route /grpc.reflection. to the Gateways: without it grpcurl and the like need the protos";
        Check::fail("reflection", wrong.join("; "), remedy)
    };
    check.with("answered_versions", fine)
}

fn told(what: &str, status: &Status) -> String {
    format!("{what}: {:?}: {}", status.code(), status.message()).trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::check::State, *};

    #[test]
    fn only_serving_is_healthy() {
        assert_eq!(judge_health(Ok("SERVING")).state, State::Ok);
        assert!(judge_health(Ok("NOT_SERVING")).found.contains("NOT_SERVING"));
        assert!(judge_health(Err(Status::unimplemented("404"))).remedy.unwrap().contains("/grpc.health.v1.Health/"));
    }

    #[test]
    fn reflection_that_lists_other_services_is_not_ours() {
        let ours = || Ok(vec!["grpc.health.v1.Health".to_owned(), SERVICE.to_owned()]);
        assert_eq!(judge_reflection(&[("v1", ours()), ("v1alpha", ours())]).state, State::Ok);
        let check = judge_reflection(&[("v1", ours()), ("v1alpha", Ok(vec!["other.Service".to_owned()]))]);
        assert_eq!(check.state, State::Fail);
        assert!(check.found.contains("v1alpha") && check.found.contains("other.Service"), "{check:?}");
        let check = judge_reflection(&[("v1", Err(Status::unimplemented("404"))), ("v1alpha", ours())]);
        assert!(check.found.contains("v1: Unimplemented") && check.remedy.unwrap().contains("/grpc.reflection."));
    }
}
