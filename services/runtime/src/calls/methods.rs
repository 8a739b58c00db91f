//! Every method that the descriptors list.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic_reflection::pb;

use crate::server::health_service;

/// Every protocol that a server may speak.
pub(crate) const DESCRIPTOR_SETS: [&[u8]; 4] = [
    hashmesh::FILE_DESCRIPTOR_SET,
    health_service::DESCRIPTOR_SET,
    pb::v1::FILE_DESCRIPTOR_SET,
    pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// A method as metrics and spans name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// `package.Service/Method`, or `unknown`: what a peer has made up is never a label.
    pub(crate) name: &'static str,
    /// `package.Service`.
    pub(crate) service: &'static str,
    /// `Method`.
    pub(crate) method: &'static str,
    /// It streams in either direction.
    pub(crate) streams: bool,
}

impl Method {
    pub(crate) const UNKNOWN: Self = Self { name: "unknown", service: "unknown", method: "unknown", streams: false };
}

/// The methods by their paths.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    by_path: HashMap<&'static str, Method>,
}

/// Those of all descriptors. Made once, and kept.
pub(crate) fn methods() -> &'static Methods {
    static METHODS: LazyLock<Methods> = LazyLock::new(Methods::read);
    &METHODS
}

impl Methods {
    fn read() -> Self {
        let mut methods = Self::default();
        // A server whose descriptors cannot be decoded does not start: see `ServeError::Descriptors`.
        let sets = DESCRIPTOR_SETS.iter().filter_map(|set| FileDescriptorSet::decode(*set).ok());
        for file in sets.flat_map(|set| set.file) {
            for service in &file.service {
                for method in &service.method {
                    methods.add(
                        file.package(),
                        service.name(),
                        method.name(),
                        method.client_streaming() || method.server_streaming(),
                    );
                }
            }
        }
        methods
    }

    fn add(&mut self, package: &str, service: &str, method: &str, streams: bool) {
        // The protocols of the program: a few hundred, once.
        let path: &'static str = format!("/{package}.{service}/{method}").leak();
        let name = &path[1..];
        let slash = name.len() - method.len() - 1;
        self.by_path.insert(path, Method { name, service: &name[..slash], method: &name[slash + 1..], streams });
    }

    /// The method of a request's path.
    pub(crate) fn get(&self, path: &str) -> Method {
        self.by_path.get(path).copied().unwrap_or(Method::UNKNOWN)
    }

    /// Those of a service.
    pub(crate) fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = Method> + 'a {
        self.by_path.values().filter(move |method| method.service == service).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_every_kind_are_known() {
        for (path, streams) in [
            ("/hashmesh.gateway.v1.GatewayService/SubmitTasks", true),
            ("/hashmesh.gateway.v1.GatewayService/ComputeDigestStream", true),
            ("/hashmesh.gateway.v1.GatewayService/WatchSubmission", true),
            ("/grpc.health.v1.Health/Watch", true),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true),
            ("/grpc.health.v1.Health/Check", false),
            ("/hashmesh.gateway.v1.GatewayService/SubmitBatch", false),
        ] {
            let method = methods().get(path);
            assert_eq!((method.streams, method.name), (streams, &path[1..]), "{path}");
            assert_eq!(format!("/{}/{}", method.service, method.method), path);
        }
    }

    #[test]
    fn what_a_peer_makes_up_is_no_name() {
        assert_eq!(methods().get("/hashmesh.gateway.v1.GatewayService/Nope"), Method::UNKNOWN);
        assert_eq!(methods().get(""), Method::UNKNOWN);
    }
}
