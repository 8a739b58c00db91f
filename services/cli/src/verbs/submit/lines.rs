//! Lines as tasks.
//!
//! How batches are cut: with an idempotency key, and for a file, by count and bytes alone, so that a rerun cuts the same.
//! Otherwise what has gathered is also sent when the input pauses, so that an input that grows slowly has its outcomes soon;
//! a rerun then cuts differently and, resumed by its id, leaves out as many lines as are stored.

use std::{fs::File, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use hashmesh::client::BatchBuilder;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::verbs::{
    failure::Failure,
    feed::{Fed, Unread},
    stdin::{Input, pieces},
};

/// How long tasks wait for more of them.
const LINGER: Duration = Duration::from_millis(50);
/// Batches made ahead of sending. Each is at most about 4 MiB.
const BATCHES_AHEAD: usize = 2;

/// An input that can be read.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    input: Input,
}

impl Lines {
    /// Opens a file, or with `-` standard input.
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self { path, input: Input::Stdin });
        }
        let what = || format!("cannot read {}", path.display());
        let file = File::open(&path).map_err(|error| Failure::local(&what(), &error))?;
        let metadata = file.metadata().map_err(|error| Failure::local(&what(), &error))?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("--lines reads a file, and {} is a directory", path.display())));
        }
        Ok(Self { path, input: Input::File(file) })
    }

    /// Cuts the input into tasks. The first `skip` are left out. With `fixed`, or for a file, batches are cut by count and
    /// bytes alone.
    pub(super) fn feed(self, builder: BatchBuilder, skip: u64, fixed: bool) -> Result<mpsc::Receiver<Fed>, Failure> {
        let linger = (matches!(self.input, Input::Stdin) && !fixed).then_some(LINGER);
        let path = self.path;
        let pieces = pieces(self.input)?;
        let (fed, receiver) = mpsc::channel(BATCHES_AHEAD);
        // Ends with the input, or when nobody takes its batches.
        tokio::spawn(cut(path, pieces, Cutter::new(builder, skip), linger, fed));
        Ok(receiver)
    }
}

/// Cuts pieces as they come, until the input ends or nobody takes batches.
async fn cut(
    path: PathBuf,
    mut pieces: mpsc::Receiver<io::Result<Bytes>>,
    mut cutter: Cutter,
    linger: Option<Duration>,
    fed: mpsc::Sender<Fed>,
) {
    let mut due = None;
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            () = wait_until(due) => {
                due = None;
                if send_all(&fed, cutter.batch()).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let mut made = Vec::new();
        let last = !matches!(piece, Some(Ok(_)));
        match piece {
            Some(Ok(piece)) => cutter.take(&piece, &mut made),
            Some(Err(error)) => {
                // The lines that were read are tasks; the one that was cut short is not.
                made.extend(cutter.batch());
                let name = path.as_os_str().as_encoded_bytes().to_vec();
                made.push(Fed::Unread { name, why: Unread::from(error) });
            }
            None => cutter.finish(&mut made),
        }
        if send_all(&fed, made).await.is_err() || last {
            return;
        }
        let waiting = linger.filter(|_| cutter.waits());
        due = waiting.and_then(|linger| due.or(Some(Instant::now() + linger)));
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn send_all(fed: &mpsc::Sender<Fed>, made: impl IntoIterator<Item = Fed>) -> Result<(), ()> {
    for one in made {
        fed.send(one).await.map_err(|_| ())?;
    }
    Ok(())
}

/// Cuts pieces into lines and lines into batches.
struct Cutter {
    builder: BatchBuilder,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// The line that has begun is too long; its bytes are counted and not kept.
    dropped_bytes: u64,
    /// Lines that have ended.
    lines: u64,
    skip: u64,
}

impl Cutter {
    fn new(builder: BatchBuilder, skip: u64) -> Self {
        Self { builder, begun: Vec::new(), dropped_bytes: 0, lines: 0, skip }
    }

    /// True if there are tasks that have not been handed over.
    fn waits(&self) -> bool {
        !self.builder.is_empty()
    }

    /// What has gathered.
    fn batch(&mut self) -> Option<Fed> {
        if self.builder.is_empty() { None } else { Some(Fed::Batch(Box::new(self.builder.take()))) }
    }

    fn take(&mut self, piece: &[u8], made: &mut Vec<Fed>) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.begun.is_empty() && self.dropped_bytes == 0 {
                self.line(line, made);
            } else {
                self.keep(line);
                self.end_of_begun(made);
            }
        }
        self.keep(rest);
    }

    /// The input has ended; a line without a line feed is one too.
    fn finish(&mut self, made: &mut Vec<Fed>) {
        if !self.begun.is_empty() || self.dropped_bytes > 0 {
            self.end_of_begun(made);
        }
        made.extend(self.batch());
    }

    fn keep(&mut self, part: &[u8]) {
        let too_long = self.begun.len() + part.len() > self.builder.max_bytes();
        if self.dropped_bytes > 0 || too_long {
            self.dropped_bytes += (self.begun.len() + part.len()) as u64;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn end_of_begun(&mut self, made: &mut Vec<Fed>) {
        let line = std::mem::take(&mut self.begun);
        let dropped = std::mem::take(&mut self.dropped_bytes);
        if dropped > 0 {
            self.lines += 1;
            made.push(self.too_long(dropped));
        } else {
            self.line(&line, made);
            // Its room is used again.
            self.begun = line;
            self.begun.clear();
        }
    }

    fn line(&mut self, line: &[u8], made: &mut Vec<Fed>) {
        self.lines += 1;
        let mut digits = [0; 20];
        let name = decimal(self.lines, &mut digits);
        let bytes = line.len() + name.len();
        if bytes > self.builder.max_bytes() {
            made.push(self.too_long(line.len() as u64));
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if !self.builder.fits(bytes) {
            made.extend(self.batch());
        }
        self.builder.push_inline(name, line);
    }

    fn too_long(&self, bytes: u64) -> Fed {
        let name = self.lines.to_string().into_bytes();
        let most = self.builder.max_bytes();
        Fed::Unread {
            name,
            why: Unread::Other(format!("the line has {bytes} bytes, more than a batch holds ({most})")),
        }
    }
}

/// A number in decimal, without allocating: there is one per task.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Limits;
    use proptest::prelude::*;

    use super::*;

    fn builder(max_batch_tasks: u32, max_batch_bytes: u32) -> BatchBuilder {
        BatchBuilder::new(Limits { max_batch_tasks, max_batch_bytes, ..Limits::default() })
    }

    /// Each task as `name=line`, batches separated by `|`; what is too long as `name!`.
    fn cut(input: &[u8], piece_bytes: usize, builder: BatchBuilder, skip: u64) -> String {
        let mut cutter = Cutter::new(builder, skip);
        let mut made = Vec::new();
        for piece in input.chunks(piece_bytes) {
            cutter.take(piece, &mut made);
        }
        cutter.finish(&mut made);
        let shown = made.into_iter().map(|fed| match fed {
            Fed::Unread { name, .. } => format!("{}!", String::from_utf8_lossy(&name)),
            Fed::Batch(batch) => {
                let names = batch.names.clone().unwrap_or_default();
                let mut data = &batch.data[..];
                let tasks = names.iter().zip(&batch.lengths).map(|(name, length)| {
                    let (line, rest) = data.split_at(*length as usize);
                    data = rest;
                    format!("{}={}", String::from_utf8_lossy(&name), String::from_utf8_lossy(line))
                });
                tasks.collect::<Vec<_>>().join(" ")
            }
        });
        shown.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_line_is_its_bytes_without_the_line_feed_and_its_name_is_its_number() {
        for piece_bytes in 1..12 {
            assert_eq!(cut(b"a\n\nb\r\nlast", piece_bytes, builder(9, 99), 0), "1=a 2= 3=b\r 4=last");
            assert_eq!(cut(b"a\nb\n", piece_bytes, builder(1, 99), 0), "1=a|2=b");
            assert_eq!(cut(b"", piece_bytes, builder(1, 99), 0), "");
            assert_eq!(cut(b"\n", piece_bytes, builder(1, 99), 0), "1=");
        }
    }

    #[test]
    fn a_line_that_no_batch_holds_is_told_and_counted() {
        for piece_bytes in 1..30 {
            assert_eq!(cut(b"a\n123456789\nb\n12345678901234\nc", piece_bytes, builder(9, 9), 0), "2!|4!|1=a 3=b 5=c");
        }
    }

    #[test]
    fn a_resumed_input_leaves_out_as_many_tasks_as_are_stored() {
        assert_eq!(cut(b"a\n123456789\nb\nc", 4, builder(9, 9), 2), "2!|4=c");
    }

    proptest! {
        /// How an input arrives does not change how it is cut: a rerun with a key finds the same batches.
        #[test]
        fn the_cut_depends_on_the_bytes_alone(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300), piece_bytes in 1..50_usize,
            tasks in 1..9_u32, bytes in 2..40_u32,
        ) {
            let whole = cut(&input, usize::MAX, builder(tasks, bytes), 0);
            prop_assert_eq!(cut(&input, piece_bytes, builder(tasks, bytes), 0), whole);
        }
    }
}
