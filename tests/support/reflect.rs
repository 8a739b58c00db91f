//! grpcurl, which knows of a service only what its reflection says.

use std::path::PathBuf;

use super::cli::{Run, program};

/// `grpcurl -plaintext ARGUMENTS`, from PATH or from where `make setup` puts it.
pub(crate) fn grpcurl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("hashmesh/tools/bin/grpcurl")).filter(|path| path.exists());
    let grpcurl = installed.unwrap_or_else(|| "grpcurl".into());
    program(grpcurl, ["-plaintext", "-max-time", "60"].into_iter().chain(arguments))
}
