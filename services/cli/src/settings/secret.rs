//! Settings that hold a password: given as they are, or as `@FILE`.

use std::{fs, path::Path};

/// More than any URL has.
const MAX_BYTES: u64 = 64 * 1024;

/// The value itself, or what the file has whose name stands behind an `@`, without white space around it. What a file has is never
/// repeated in an error.
pub(crate) fn value_or_file(text: &str) -> Result<String, String> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let failed = |problem: &dyn std::fmt::Display| format!("cannot read {path}: {problem}");
    let length = fs::metadata(Path::new(path)).map_err(|error| failed(&error))?.len();
    if length > MAX_BYTES {
        return Err(failed(&format_args!("it has {length} bytes, which is no password or URL")));
    }
    let found = fs::read_to_string(path).map_err(|error| failed(&error))?;
    match found.trim() {
        "" => Err(failed(&"it is empty")),
        value => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_given_as_it_is_or_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = format!("@{}", file.path().display());
        assert!(value_or_file(&named).unwrap_err().contains("empty"));
        fs::write(file.path(), " redis://u:p@h\n").unwrap();
        assert_eq!(value_or_file(&named).unwrap(), "redis://u:p@h");
        assert_eq!(value_or_file("redis://u:p@h").unwrap(), "redis://u:p@h");
        assert!(value_or_file("@/nowhere/url").unwrap_err().contains("/nowhere/url"));
    }

    #[test]
    fn no_error_repeats_what_a_file_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"secret\xff").unwrap();
        assert!(!value_or_file(&format!("@{}", file.path().display())).unwrap_err().contains("secret"));
    }
}
