//! Compiles gRPC's health protocol: tonic-health ships it without `List` (gRFC A90).

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTO: &str = "grpc/health/v1/health.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto/{PROTO}");

    let descriptors = protox::compile([PROTO], ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("health.binpb"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
