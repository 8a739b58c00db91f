//! Reflection v1 (grpcurl, newer tools) and v1alpha (Postman, older ones) over what is mounted.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tonic_reflection::server::Builder;
use tower::Service;

use super::ServeError;
use crate::{calls::DESCRIPTOR_SETS, shutdown::Shutdown};

/// A request names a symbol or a file: nothing larger is decoded.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The services that every server has.
const ALWAYS: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Mounts both versions. They list `services` and what every server has, and nothing that is not mounted.
pub(super) fn mount(
    routes: Routes,
    services: &BTreeSet<&'static str>,
    shutdown: &Shutdown,
) -> Result<Routes, ServeError> {
    check_described(services)?;
    let v1 = builder(services).build_v1()?.max_decoding_message_size(MAX_REQUEST_BYTES);
    let v1alpha = builder(services).build_v1alpha()?.max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = routes.add_service(EndsWithServer { inner: v1, shutdown: shutdown.clone() });
    Ok(routes.add_service(EndsWithServer { inner: v1alpha, shutdown: shutdown.clone() }))
}

fn builder(services: &BTreeSet<&'static str>) -> Builder<'static> {
    // The reflection protocols are among the sets already, both of them in both versions.
    let builder = Builder::configure().include_reflection_service(false);
    let builder = DESCRIPTOR_SETS.into_iter().fold(builder, Builder::register_encoded_file_descriptor_set);
    services.iter().copied().chain(ALWAYS).fold(builder, Builder::with_service_name)
}

/// A mounted service without a descriptor would be listed and then not found.
fn check_described(services: &BTreeSet<&'static str>) -> Result<(), ServeError> {
    let mut described = BTreeSet::new();
    for set in DESCRIPTOR_SETS {
        for file in FileDescriptorSet::decode(set)?.file {
            let package = file.package().to_owned();
            described.extend(file.service.iter().map(|service| format!("{package}.{}", service.name())));
        }
    }
    match services.iter().find(|service| !described.contains(**service)) {
        Some(service) => Err(ServeError::NotDescribed { service: (*service).to_owned() }),
        None => Ok(()),
    }
}

/// Ends the request streams of a service when the server stops, as if the client had: a reflection stream lives as long
/// as its client likes, and would hold up the drain. What was asked is still answered.
#[derive(Clone, Debug)]
struct EndsWithServer<S> {
    inner: S,
    shutdown: Shutdown,
}

impl<S: NamedService> NamedService for EndsWithServer<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for EndsWithServer<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shutdown = self.shutdown.clone();
        let stopped: BoxFuture<'static, ()> = Box::pin(async move { shutdown.wait().await });
        self.inner.call(request.map(|body| Body::new(EndingBody { inner: body, stopped: Some(stopped) })))
    }
}

struct EndingBody {
    inner: Body,
    /// `None` once the server stopped.
    stopped: Option<BoxFuture<'static, ()>>,
}

impl HttpBody for EndingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(stopped) = self.stopped.as_mut() else {
            return Poll::Ready(None);
        };
        if stopped.as_mut().poll(cx).is_ready() {
            self.stopped = None;
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }
}
