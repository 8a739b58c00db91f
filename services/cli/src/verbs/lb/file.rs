//! A file that Envoy watches: read whole, replaced whole.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use super::super::failure::Failure;

/// Reads it.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let hint = if error.kind() == ErrorKind::NotFound { "; --file says where it is" } else { "" };
        Failure::Local(format!("cannot read {}: {error}{hint}", path.display()))
    })
}

/// Puts `text` in its place, at once: whoever reads it reads the one or the other. Envoy hears of a rename, and of nothing else.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::local(&format!("cannot write {}", path.display()), &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside: PathBuf = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = fs::File::create(&aside)?;
        // Whoever could read the one before can read this one.
        if let Ok(before) = fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    written.map_err(|error| {
        // It may not have been made.
        let _ = fs::remove_file(&aside);
        failed(error)
    })
}
