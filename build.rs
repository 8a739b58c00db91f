//! Compiles the protos with protox (no protoc needed) into generated types and one descriptor set.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// Where protos are: ours, and those of others.
const ROOTS: [&str; 2] = ["proto", "proto/vendor"];

const PROTOS: &[&str] = &[
    "envoy/config/core/v3/base.proto",
    "envoy/extensions/common/ratelimit/v3/ratelimit.proto",
    "envoy/service/ratelimit/v3/rls.proto",
    "envoy/type/v3/ratelimit_unit.proto",
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "hashmesh/v1/cache.proto",
    "hashmesh/v1/digest.proto",
    "hashmesh/v1/object.proto",
    "hashmesh/v1/key.proto",
    "hashmesh/v1/outcome.proto",
    "hashmesh/v1/schedule.proto",
    "hashmesh/v1/stats.proto",
    "hashmesh/v1/stream.proto",
    "hashmesh/v1/submission.proto",
    "hashmesh/v1/task.proto",
    "hashmesh/v1/upload.proto",
    "hashmesh/admin/v1/admin.proto",
    "hashmesh/cache/v1/cache.proto",
    "hashmesh/cache/v1/quota.proto",
    "hashmesh/gateway/v1/gateway.proto",
    "hashmesh/hash/v1/hash.proto",
    "hashmesh/queue/v1/access.proto",
    "hashmesh/queue/v1/batch.proto",
    "hashmesh/queue/v1/lease.proto",
    "hashmesh/queue/v1/listing.proto",
    "hashmesh/queue/v1/queue.proto",
    "hashmesh/queue/v1/schedule.proto",
    "hashmesh/queue/v1/shards.proto",
    "hashmesh/queue/v1/upload.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    // tonic-prost-build names no inputs, and without them any edit in the package would rebuild everything.
    println!("cargo::rerun-if-changed=build.rs");
    for proto in PROTOS {
        let at = ROOTS.map(|root| Path::new(root).join(proto)).into_iter().find(|path| path.exists());
        println!("cargo::rerun-if-changed={}", at.ok_or_else(|| format!("{proto} is in none of {ROOTS:?}"))?.display());
    }

    let mut compiler = protox::Compiler::new(ROOTS)?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // As encoded by the compiler: prost's types would lose the options of `google.api.http`.
    fs::write(out_dir.join("hashmesh.binpb"), compiler.encode_file_descriptor_set())?;
    let descriptors = compiler.file_descriptor_set();

    tonic_prost_build::configure()
        // Payloads are slices of the frame they came in, never copies.
        .bytes(".hashmesh")
        // Deterministic order, so that equal messages have equal bytes.
        .btree_map(".hashmesh")
        .extern_path(".google.rpc", "::tonic_types")
        // Decodes no more tasks than a batch may have.
        .extern_path(".hashmesh.v1.TaskRows", "crate::v1::TaskRows")
        .compile_fds(descriptors)?;
    Ok(())
}
