//! Sorting more than fits in memory: pairs of a key and a value are gathered into runs, which are sorted and go to files
//! without names; the runs are merged as they are read.
//!
//! A run is written by a thread of its own while the next is gathered, so about twice the bytes of a run are held. So many
//! runs at most are open that neither memory nor descriptors depend on how much is sorted: what is more is merged first.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    thread::{self, JoinHandle},
};

use super::spool::unnamed_file;

/// Runs that are merged at once.
const MAX_RUNS: usize = 64;
/// Read ahead of each run.
const BUFFER_BYTES: usize = 64 * 1024;

/// Takes pairs in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    run: Run,
    run_bytes: usize,
    spilled: Vec<Source>,
    writing: Option<JoinHandle<io::Result<Source>>>,
}

/// Gives them in the byte order of their keys; those with equal keys in the order in which they came.
#[derive(Debug)]
pub(super) struct Sorted {
    /// The next pair of each source, the smallest key first.
    heads: BinaryHeap<Reverse<Head>>,
    sources: Vec<Source>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Older sources have smaller numbers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Vec<u8>,
    source: usize,
    value: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    Memory { run: Run, next: usize },
    File(BufReader<File>),
}

impl Sorter {
    /// Spills when so many bytes have gathered; fewer than 2 GiB.
    pub(super) fn new(run_bytes: usize) -> Self {
        Self { run: Run::default(), run_bytes: run_bytes.min(1 << 31), spilled: Vec::new(), writing: None }
    }

    /// Takes a pair. Keys and values are shorter than 1 GiB.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.run.push(key, value);
        if self.run.bytes() >= self.run_bytes { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.finish_writing()?;
        let mut sources = if self.spilled.len() < MAX_RUNS { Vec::new() } else { std::mem::take(&mut self.spilled) };
        let run = std::mem::take(&mut self.run);
        let write = move || {
            sources.push(run.sorted());
            Sorted::of(sources)?.write()
        };
        self.writing = Some(thread::Builder::new().name("sort".to_owned()).spawn(write)?);
        Ok(())
    }

    fn finish_writing(&mut self) -> io::Result<()> {
        if let Some(writing) = self.writing.take() {
            let written = writing.join().map_err(|_| io::Error::other("the thread that sorts has panicked"))?;
            self.spilled.push(written?);
        }
        Ok(())
    }

    /// All that were taken.
    pub(super) fn sorted(mut self) -> io::Result<Sorted> {
        self.finish_writing()?;
        let mut sources = self.spilled;
        sources.push(self.run.sorted());
        Sorted::of(sources)
    }
}

impl Sorted {
    fn of(sources: Vec<Source>) -> io::Result<Self> {
        let mut sorted = Self { heads: BinaryHeap::with_capacity(sources.len()), sources };
        for source in 0..sorted.sources.len() {
            sorted.advance(source)?;
        }
        Ok(sorted)
    }

    /// The next pair.
    pub(super) fn next_pair(&mut self) -> io::Result<Option<Pair>> {
        let Some(Reverse(Head { key, source, value })) = self.heads.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some(Pair { key, value }))
    }

    fn advance(&mut self, source: usize) -> io::Result<()> {
        let next = match self.sources.get_mut(source) {
            Some(Source::Memory { run, next }) => {
                *next += 1;
                run.get(*next - 1).map(|(key, value)| Pair { key: key.to_vec(), value: value.to_vec() })
            }
            Some(Source::File(file)) => read_pair(file)?,
            None => None,
        };
        self.heads.extend(next.map(|Pair { key, value }| Reverse(Head { key, source, value })));
        Ok(())
    }

    /// Writes all to a file that can be read from its start.
    fn write(mut self) -> io::Result<Source> {
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, unnamed_file()?);
        while let Some(Pair { key, value }) = self.next_pair()? {
            for part in [&key, &value] {
                writer.write_all(&length(part).to_le_bytes())?;
                writer.write_all(part)?;
            }
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Source::File(BufReader::with_capacity(BUFFER_BYTES, file)))
    }
}

/// Pairs one after another: an allocation for all instead of two each.
#[derive(Debug, Default)]
struct Run {
    data: Vec<u8>,
    /// Where a key begins, its length, and that of the value behind it.
    index: Vec<(u32, u32, u32)>,
}

impl Run {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.index.push((length(&self.data), length(key), length(value)));
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    fn bytes(&self) -> usize {
        self.data.len() + self.index.len() * size_of::<(u32, u32, u32)>()
    }

    fn get(&self, position: usize) -> Option<(&[u8], &[u8])> {
        let (start, key, value) = *self.index.get(position)?;
        let (key, rest) = self.data.get(start as usize..)?.split_at_checked(key as usize)?;
        Some((key, rest.get(..value as usize)?))
    }

    fn sorted(mut self) -> Source {
        let data = &self.data;
        let key = |start: u32, key: u32| data.get(start as usize..start as usize + key as usize).unwrap_or_default();
        // Where it begins breaks ties: what came first comes first.
        self.index.sort_unstable_by(|left, right| (key(left.0, left.1), left.0).cmp(&(key(right.0, right.1), right.0)));
        Source::Memory { run: self, next: 0 }
    }
}

/// A run is spilled long before it has 4 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The next pair of a spilled run; none at its end.
fn read_pair(file: &mut BufReader<File>) -> io::Result<Option<Pair>> {
    let mut length = [0; 4];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut key = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut key)?;
    file.read_exact(&mut length)?;
    let mut value = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut value)?;
    Ok(Some(Pair { key, value }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sort(pairs: &[(Vec<u8>, Vec<u8>)], run_bytes: usize) -> Vec<Pair> {
        let mut sorter = Sorter::new(run_bytes);
        for (key, value) in pairs {
            sorter.push(key, value).unwrap();
        }
        assert!(sorter.spilled.len() <= MAX_RUNS);
        let mut sorted = sorter.sorted().unwrap();
        std::iter::from_fn(|| sorted.next_pair().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn spilled_or_not_the_order_is_that_of_the_keys_and_then_of_arrival(
            keys in proptest::collection::vec(proptest::collection::vec(0..3_u8, 0..4), 0..200), run_bytes in 1..2_000_usize,
        ) {
            let pairs: Vec<_> = keys.into_iter().enumerate().map(|(at, key)| (key, at.to_be_bytes().to_vec())).collect();
            let mut expected = pairs.clone();
            expected.sort();
            let found: Vec<_> = sort(&pairs, run_bytes).into_iter().map(|Pair { key, value }| (key, value)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn more_runs_than_are_merged_at_once_become_one() {
        let pairs: Vec<_> =
            (0..1_000_u32).map(|key| (key.wrapping_mul(0x9e37_79b9).to_be_bytes().to_vec(), vec![])).collect();
        let mut expected: Vec<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
        expected.sort();
        let found: Vec<_> = sort(&pairs, 1).into_iter().map(|pair| pair.key).collect();
        assert_eq!(found, expected);
    }
}
