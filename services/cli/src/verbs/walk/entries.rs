//! A directory's entries in byte order of their names, in bounded memory: ten million names in one directory are sorted
//! in runs that go to files without names, and the runs are merged.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use super::kind::Kind;
use crate::verbs::spool::unnamed_file;

/// Bytes of names that are sorted in memory.
pub(super) const SPILL_BYTES: usize = 16 * 1024 * 1024;

/// The sorted entries of one directory.
#[derive(Debug)]
pub(super) struct Entries {
    /// The next entry of each run, the smallest name first.
    heads: BinaryHeap<Reverse<Head>>,
    runs: Vec<Run>,
}

/// Names are unique in a directory, so the order by name is an order of heads.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    name: Vec<u8>,
    kind: u8,
    run: usize,
}

#[derive(Debug)]
enum Run {
    Memory { names: Names, next: usize },
    File(BufReader<File>),
}

impl Entries {
    /// Reads and sorts a directory. About twice `spill_bytes` are held at most.
    pub(super) fn read(directory: &Path, spill_bytes: usize) -> io::Result<Self> {
        let mut runs = Vec::new();
        let mut names = Names::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // The kind comes with the name on most file systems; where it does not, the entry is looked at, and one that
            // vanished meanwhile is not there.
            let kind = match entry.file_type() {
                Ok(file_type) => Kind::of(file_type),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => Kind::Unknown,
            };
            names.push(entry.file_name().as_bytes(), kind);
            if names.bytes() >= spill_bytes {
                runs.push(Run::File(std::mem::take(&mut names).spill()?));
            }
        }
        names.sort();
        runs.push(Run::Memory { names, next: 0 });
        let mut entries = Self { heads: BinaryHeap::with_capacity(runs.len()), runs };
        for run in 0..entries.runs.len() {
            entries.advance(run)?;
        }
        Ok(entries)
    }

    fn advance(&mut self, run: usize) -> io::Result<()> {
        let next = match self.runs.get_mut(run) {
            Some(Run::Memory { names, next }) => {
                *next += 1;
                names.get(*next - 1).map(|(name, kind)| (name.to_vec(), kind))
            }
            Some(Run::File(file)) => read_entry(file)?,
            None => None,
        };
        self.heads.extend(next.map(|(name, kind)| Reverse(Head { name, kind, run })));
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = io::Result<(Vec<u8>, Kind)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(head) = self.heads.pop()?;
        if let Err(error) = self.advance(head.run) {
            self.heads.clear();
            return Some(Err(error));
        }
        Some(Ok((head.name, Kind::from_byte(head.kind))))
    }
}

/// Names one after another, each with its kind: an allocation for all instead of one each.
#[derive(Debug, Default)]
struct Names {
    data: Vec<u8>,
    /// Offset and length in `data`, and the kind.
    index: Vec<(u32, u16, u8)>,
}

impl Names {
    fn push(&mut self, name: &[u8], kind: Kind) {
        // Names are at most 255 bytes, and `data` is spilled long before 4 GiB.
        let offset = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.data.extend_from_slice(name);
        self.index.push((offset, length, kind as u8));
    }

    fn bytes(&self) -> usize {
        self.data.len() + self.index.len() * size_of::<(u32, u16, u8)>()
    }

    fn get(&self, position: usize) -> Option<(&[u8], u8)> {
        self.index.get(position).map(|(offset, length, kind)| (slice(&self.data, *offset, *length), *kind))
    }

    fn sort(&mut self) {
        let data = &self.data;
        self.index.sort_unstable_by(|left, right| slice(data, left.0, left.1).cmp(slice(data, right.0, right.1)));
    }

    /// Sorts them and writes them to a file, ready to be read from its start.
    fn spill(mut self) -> io::Result<BufReader<File>> {
        self.sort();
        let mut writer = BufWriter::new(unnamed_file()?);
        for (offset, length, kind) in &self.index {
            writer.write_all(&length.to_le_bytes())?;
            writer.write_all(&[*kind])?;
            writer.write_all(slice(&self.data, *offset, *length))?;
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(BufReader::with_capacity(64 * 1024, file))
    }
}

fn slice(data: &[u8], offset: u32, length: u16) -> &[u8] {
    let start = offset as usize;
    data.get(start..start + usize::from(length)).unwrap_or_default()
}

/// The next entry of a spilled run; none at its end.
fn read_entry(file: &mut BufReader<File>) -> io::Result<Option<(Vec<u8>, u8)>> {
    let mut length = [0; 2];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut kind = [0];
    file.read_exact(&mut kind)?;
    let mut name = vec![0; usize::from(u16::from_le_bytes(length))];
    file.read_exact(&mut name)?;
    Ok(Some((name, kind[0])))
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
