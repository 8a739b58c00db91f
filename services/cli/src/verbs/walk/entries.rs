//! A directory's entries in byte order of their names, in bounded memory, even if there are ten million.

use std::{fs, io, os::unix::ffi::OsStrExt as _, path::Path};

use super::kind::Kind;
use crate::verbs::sort::{Sorted, Sorter};

/// Bytes of names that are sorted in memory.
pub(super) const SPILL_BYTES: usize = 16 * 1024 * 1024;

/// The sorted entries of one directory.
#[derive(Debug)]
pub(super) struct Entries {
    sorted: Option<Sorted>,
}

impl Entries {
    /// Reads and sorts a directory. About twice `spill_bytes` are held at most.
    pub(super) fn read(directory: &Path, spill_bytes: usize) -> io::Result<Self> {
        let mut sorter = Sorter::new(spill_bytes);
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // The kind comes with the name on most file systems; where it does not, the entry is looked at, and one that
            // vanished meanwhile is not there.
            let kind = match entry.file_type() {
                Ok(file_type) => Kind::of(file_type),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => Kind::Unknown,
            };
            sorter.push(entry.file_name().as_bytes(), &[kind as u8])?;
        }
        Ok(Self { sorted: Some(sorter.sorted()?) })
    }
}

impl Iterator for Entries {
    type Item = io::Result<(Vec<u8>, Kind)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.sorted.as_mut()?.next_pair() {
            Ok(pair) => {
                pair.map(|pair| Ok((pair.key, Kind::from_byte(pair.value.first().copied().unwrap_or(u8::MAX)))))
            }
            Err(error) => {
                self.sorted = None;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilled_or_not_the_order_is_that_of_the_names_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for number in 0..300_u32 {
            let name = format!("{:x}", number.wrapping_mul(0x9e37_79b9));
            fs::write(directory.path().join(&name), "").unwrap();
            expected.push((name.into_bytes(), Kind::File));
        }
        fs::create_dir(directory.path().join("g")).unwrap();
        expected.push((b"g".to_vec(), Kind::Directory));
        expected.sort_by(|left, right| left.0.cmp(&right.0));
        for spill_bytes in [1, 100, 1_000, SPILL_BYTES] {
            let entries = Entries::read(directory.path(), spill_bytes).unwrap();
            assert_eq!(entries.collect::<io::Result<Vec<_>>>().unwrap(), expected, "{spill_bytes}");
        }
    }
}
