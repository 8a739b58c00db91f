//! The hashmesh API: the types generated from `proto/`, what every part must agree on about them, and a client.
//!
//! [`client::Client`] is the way in for Rust programs: it opens a submission, sends batches within the server's window,
//! follows results, and reconnects and resumes by itself.

/// The generated types and clients of the administration.
pub mod admin {
    #[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("hashmesh.admin.v1");
    }
}

/// The generated types and clients of the Cache service, Gateways only.
pub mod cache {
    #[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("hashmesh.cache.v1");
    }
}

/// The part of Envoy's API that the Cache service speaks.
#[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod extensions {
        pub mod common {
            pub mod ratelimit {
                pub mod v3 {
                    tonic::include_proto!("envoy.extensions.common.ratelimit.v3");
                }
            }
        }
    }
    pub mod service {
        pub mod ratelimit {
            pub mod v3 {
                tonic::include_proto!("envoy.service.ratelimit.v3");
            }
        }
    }
    pub mod r#type {
        pub mod v3 {
            tonic::include_proto!("envoy.r#type.v3");
        }
    }
}

/// The generated types and clients of the public API.
pub mod gateway {
    #[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("hashmesh.gateway.v1");
    }
}

/// The generated types and clients of the Hash service.
pub mod hash {
    #[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("hashmesh.hash.v1");
    }
}

/// The generated types and clients of the Queue service, Gateways and Workers only.
pub mod queue {
    #[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("hashmesh.queue.v1");
    }
}

/// The generated types that all services share.
#[allow(missing_debug_implementations, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("hashmesh.v1");
    pub use crate::tasks::TaskRows;
}

pub mod algorithm;
pub mod client;
pub mod error;
pub mod keys;
pub mod limits;
pub mod outcomes;
pub mod receipt;
pub mod shards;
pub mod tasks;

/// Every proto of this crate as an encoded `google.protobuf.FileDescriptorSet`, for reflection and transcoding.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hashmesh.binpb"));
