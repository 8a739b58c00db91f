//! Files without a name, for what must be read twice or does not fit in memory.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
};

/// A new, empty file for reading and writing in the directory for temporary files. It has no name, or loses it at once, so
/// that it is gone when it is closed, whatever happens.
pub(super) fn unnamed_file() -> io::Result<File> {
    let directory = std::env::temp_dir();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if let Ok(file) = options.clone().custom_flags(libc::O_TMPFILE).open(&directory) {
        return Ok(file);
    }
    // Not every file system has files without names.
    let path = directory.join(format!("hashmesh-{:032x}", rand::random::<u128>()));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn what_is_written_can_be_read_again() {
        let mut file = unnamed_file().unwrap();
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
