//! What every gRPC server says of itself, asked through whatever stands in between: health and reflection.

use futures::stream;
use hashmesh::client::KeyedChannel;
use tonic::{Code, Status, transport::Channel};

use crate::server::health_service::v1::{HealthCheckRequest, health_client::HealthClient};

/// A version of the reflection protocol: some tools speak the one, some the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// `grpc.reflection.v1`.
    V1,
    /// `grpc.reflection.v1alpha`.
    V1Alpha,
}

/// What `grpc.health.v1` says of a service: `SERVING`, `NOT_SERVING`, …
///
/// # Errors
/// The call's status.
pub async fn health(channel: KeyedChannel, service: &str) -> Result<&'static str, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(request).await?.into_inner();
    Ok(answer.status().as_str_name())
}

/// Whether a process is at the other end, whatever it says of its work.
pub async fn answers(channel: Channel) -> bool {
    let request = HealthCheckRequest { service: String::new() };
    match HealthClient::new(channel).check(request).await {
        Ok(_) => true,
        // What the transport says itself. Anything else was said by somebody.
        Err(status) => !matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
        ),
    }
}

/// The two versions have types of their own that are the same.
macro_rules! list {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let asked = ServerReflectionClient::new($channel).server_reflection_info(stream::iter([request])).await?;
        match asked.into_inner().message().await?.and_then(|answer| answer.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => {
                Ok(list.service.into_iter().map(|service| service.name).collect())
            }
            Some(MessageResponse::ErrorResponse(error)) => {
                Err(Status::new(error.error_code.into(), error.error_message))
            }
            _ => Err(Status::unknown("the answer is no list of services")),
        }
    }};
}

/// The services that reflection lists.
///
/// # Errors
/// The call's status, or that of the answer.
pub async fn services(channel: KeyedChannel, version: Reflection) -> Result<Vec<String>, Status> {
    match version {
        Reflection::V1 => list!(v1, channel),
        Reflection::V1Alpha => list!(v1alpha, channel),
    }
}
