//! Compressed messages: none are taken, so nothing is ever inflated.

use hashmesh::error::{Reason, reason};
use tonic::Code;

use super::attacks::bomb;
use crate::support::{any_rpc, shared, wire::Wire};

#[tokio::test]
async fn a_compressed_message_is_refused_by_every_rpc_before_it_is_inflated() {
    let mesh = shared::up().await;
    let wire = Wire::connect(&mesh.server).await;
    for (path, _) in any_rpc::methods(&["hashmesh.gateway.v1"]) {
        let mut call = wire.begin(&path, &[("grpc-encoding", "gzip")]).await.expect("the connection goes on");
        call.body.send_data(bomb(), true).expect("it is open");
        let status = call.answer().await.expect_err(&path);
        assert_eq!((status.code(), reason(&status)), (Code::Unimplemented, Some(Reason::InvalidArgument)), "{path}");
        // Not said to be compressed, and yet it is.
        let mut call = wire.begin(&path, &[]).await.expect("the connection goes on");
        call.body.send_data(bomb(), true).expect("it is open");
        let status = call.answer().await.expect_err(&path);
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
    }
    wire.call("/hashmesh.gateway.v1.GatewayService/GetCapabilities", &[], &[]).await.expect("the connection goes on");
}
