//! grpcurl, which knows of a service only what its reflection says.

use std::path::PathBuf;

use super::cli::{Run, program};

/// `grpcurl -plaintext ARGUMENTS`, from where `make setup` puts it or from PATH.
pub(crate) fn grpcurl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let given = ["-plaintext", "-max-time", "60"].into_iter().chain(arguments);
    program("grpcurl", given).env("PATH", &path_with_tools())
}

/// Where a program is that `make setup` installs.
pub(crate) fn installed(program: &str) -> PathBuf {
    let found = std::env::split_paths(&path_with_tools()).map(|path| path.join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{program}: run make setup"))
}

/// PATH, with the directory that `make setup` installs into.
pub(crate) fn path_with_tools() -> String {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("hashmesh/tools/bin")).filter(|path| path.exists());
    let path = std::env::var("PATH").unwrap_or_default();
    installed.map_or(path.clone(), |installed| format!("{}:{path}", installed.display()))
}
