//! How long the calls of a server may take.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hashmesh::error::{Reason, StatusBuilder};
use hashmesh_middleware::deadline::{DeadlineLayer, Limits};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Status;

use super::reflection::DESCRIPTOR_SETS;

/// A unary call at most, its request's body included.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// The layer for every method that the descriptors list: streams last as long as their clients want, others [`LONGEST`] or
/// what `patient` says.
pub(super) fn layer(patient: BTreeMap<&'static str, Duration>) -> Result<DeadlineLayer, prost::DecodeError> {
    let streams = streams()?;
    let longest = move |path: &str| (!streams.contains(path)).then(|| patient.get(path).copied().unwrap_or(LONGEST));
    Ok(DeadlineLayer::new(Limits { longest: Arc::new(longest), exceeded }))
}

/// The paths of all methods that stream in either direction.
fn streams() -> Result<BTreeSet<String>, prost::DecodeError> {
    let mut paths = BTreeSet::new();
    for set in DESCRIPTOR_SETS {
        for file in FileDescriptorSet::decode(set)?.file {
            for service in &file.service {
                let streams = service.method.iter().filter(|it| it.client_streaming() || it.server_streaming());
                let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                paths.extend(streams.map(|method| path(method.name())));
            }
        }
    }
    Ok(paths)
}

/// What the caller of a call that took too long is told.
fn exceeded() -> Status {
    let message = "the call's deadline passed; what it asked for may still happen";
    StatusBuilder::new(Reason::DeadlineExceeded, message).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_every_kind_are_known() {
        let streams = streams().unwrap();
        for (path, expected) in [
            ("/hashmesh.gateway.v1.GatewayService/SubmitTasks", true),
            ("/hashmesh.gateway.v1.GatewayService/ComputeDigestStream", true),
            ("/hashmesh.gateway.v1.GatewayService/WatchSubmission", true),
            ("/grpc.health.v1.Health/Watch", true),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true),
            ("/grpc.health.v1.Health/Check", false),
            ("/hashmesh.gateway.v1.GatewayService/SubmitBatch", false),
        ] {
            assert_eq!(streams.contains(path), expected, "{path}");
        }
    }
}
