//! Calls of any method by its path, with bytes for messages: what the descriptors list can be called without a word about
//! each method.

use bytes::{Buf as _, BufMut as _, Bytes};
use hashmesh::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// Every method of the services of these packages: its path and what the descriptors say of it.
pub(crate) fn methods(packages: &[&str]) -> Vec<(String, MethodDescriptorProto)> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own").file;
    let wanted = files.iter().filter(|file| packages.contains(&file.package()));
    let services = wanted.flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    let methods = services.flat_map(|(package, service)| {
        service
            .method
            .iter()
            .map(move |method| (format!("/{package}.{}/{}", service.name(), method.name()), method.clone()))
    });
    methods.collect()
}

/// Calls a method with one message, and waits for the first answer, or for the status. Streams look the same on the wire.
pub(crate) async fn call(
    channel: &Channel,
    path: &str,
    key: Option<&str>,
    message: Bytes,
) -> Result<Option<Bytes>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("ASCII"));
    }
    let path = PathAndQuery::try_from(path).expect("a path");
    grpc.server_streaming(request, path, AnyCodec).await?.into_inner().message().await
}

#[derive(Clone, Copy, Debug, Default)]
struct AnyCodec;

impl Codec for AnyCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AnyCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for AnyCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
