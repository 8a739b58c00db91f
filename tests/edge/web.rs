//! What browsers may: gRPC-Web, and calls from pages of other origins.

use hashmesh::gateway::v1::{ComputeDigestRequest, ComputeDigestResponse};
use prost::Message as _;

use super::curl;
use crate::support::{edge::Edge, oracle, rundir};

#[tokio::test]
async fn grpc_web_works_over_http_1_with_the_status_in_the_body() {
    let edge = Edge::shared().await;
    let request = ComputeDigestRequest { data: "hello".into(), ..Default::default() }.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
    frame.extend(request);
    let file = rundir::directory("grpc-web").join("frame");
    std::fs::write(&file, frame).unwrap();
    let data = format!("@{}", file.display());
    let url = format!("{}/hashmesh.gateway.v1.GatewayService/ComputeDigest", edge.envoy.url());
    let headers = ["--header", "content-type: application/grpc-web+proto", "--header", "x-grpc-web: 1"];
    let (_, head, body) = curl(&[&headers[..], &["--http1.1", "--data-binary", &data]].concat(), &url).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/grpc-web+proto"), "{head}");
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    let answer = ComputeDigestResponse::decode(&body[5..5 + length]).unwrap();
    assert_eq!(answer.digests[0].hex, oracle::sha256_hex(b"hello"));
    let trailers = &body[5 + length..];
    assert_eq!(trailers[0], 0x80, "trailers are the last frame");
    assert!(String::from_utf8_lossy(&trailers[5..]).to_lowercase().contains("grpc-status:0"), "{trailers:?}");
}

#[tokio::test]
async fn pages_of_this_machine_may_call_a_development_envoy_and_no_others() {
    let edge = Edge::shared().await;
    let url = format!("{}/hashmesh.gateway.v1.GatewayService/ComputeDigest", edge.envoy.url());
    let asks = |origin: &str| {
        let origin = format!("origin: {origin}");
        let url = url.clone();
        async move {
            let headers =
                ["access-control-request-method: POST", "access-control-request-headers: x-grpc-web,content-type"];
            let arguments = ["-X", "OPTIONS", "--header", &origin, "--header", headers[0], "--header", headers[1]];
            curl(&arguments, &url).await.1
        }
    };
    for origin in ["http://localhost:3000", "http://127.0.0.1:8080", "http://localhost"] {
        let head = asks(origin).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains(&format!("access-control-allow-origin: {origin}")), "{head}");
        assert!(head.contains("x-grpc-web") && head.contains("grpc-status"), "{head}");
    }
    for origin in ["https://evil.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example:80"] {
        let head = asks(origin).await;
        assert!(!head.contains("access-control-allow-origin"), "{origin}: {head}");
    }
}
