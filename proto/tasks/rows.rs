//! Rows to columns.

use bytes::{Bytes, BytesMut};

use super::{columns, uri, validate::Violation};
use crate::{
    limits::{MAX_ALGORITHMS, MAX_BATCH_BYTES, MAX_BATCH_TASKS, MAX_NAME_BYTES, MAX_URI_BYTES},
    v1::{Algorithm, Digest, PackedNames, PackedTasks, Task, TaskRows, task::Source},
};

/// Columns that mean the same as these rows. Columns that no task needs are absent.
///
/// # Errors
/// If a row is invalid or a limit is exceeded: every limit of [`validate`](super::validate), so that people who sent rows
/// are told of rows. Paths start with `rows`.
pub fn from_rows(rows: TaskRows) -> Result<PackedTasks, Violation> {
    let tasks = rows.tasks;
    if tasks.is_empty() || tasks.len() > MAX_BATCH_TASKS as usize {
        let found = if tasks.is_empty() { "none" } else { "more" };
        return Err(Violation::new("rows.tasks", format!("must have 1 to {MAX_BATCH_TASKS} tasks, has {found}")));
    }
    let bytes: usize = tasks.iter().map(byte_count).sum();
    if bytes > MAX_BATCH_BYTES as usize {
        return Err(Violation::new(
            "rows",
            format!(
                "a batch's inputs, names and expected digests may have {MAX_BATCH_BYTES} bytes together, \
                 these have {bytes}; send smaller batches"
            ),
        ));
    }
    let mut builder = Builder::new(tasks.len(), bytes);
    for (index, task) in tasks.into_iter().enumerate() {
        builder.push(index, task)?;
    }
    Ok(builder.finish())
}

/// What a task counts for in the batch's limit. A hexadecimal digest counts for the bytes that it stands for.
fn byte_count(task: &Task) -> usize {
    let input = match &task.source {
        Some(Source::Data(data)) => data.len(),
        Some(Source::Object(object)) => object.uri.len(),
        None => 0,
    };
    let expected: usize = task.expected.iter().map(|digest| digest.hex.len() / 2).sum();
    input + task.name.len() + task.raw_name.len() + expected
}

#[derive(Debug)]
struct Builder {
    data: BytesMut,
    lengths: Vec<u32>,
    names: BytesMut,
    name_lengths: Vec<u32>,
    kinds: Vec<u8>,
    range_offsets: Vec<u64>,
    range_lengths: Vec<u64>,
    expected: Vec<u8>,
    expected_algorithms: Vec<i32>,
    expected_counts: Vec<u8>,
}

impl Builder {
    fn new(tasks: usize, bytes: usize) -> Self {
        Self {
            data: BytesMut::with_capacity(bytes),
            lengths: Vec::with_capacity(tasks),
            names: BytesMut::new(),
            name_lengths: Vec::with_capacity(tasks),
            kinds: Vec::with_capacity(tasks),
            range_offsets: Vec::with_capacity(tasks),
            range_lengths: Vec::with_capacity(tasks),
            expected: Vec::new(),
            expected_algorithms: Vec::new(),
            expected_counts: Vec::with_capacity(tasks),
        }
    }

    fn push(&mut self, index: usize, task: Task) -> Result<(), Violation> {
        let at = |field: &str| format!("rows.tasks[{index}]{field}");
        self.push_name(&task, at)?;
        self.push_source(task.source, at)?;
        self.push_expected(&task.expected, at)
    }

    fn push_name(&mut self, task: &Task, at: impl Fn(&str) -> String) -> Result<(), Violation> {
        let (field, name) = match (task.name.as_bytes(), task.raw_name.as_ref()) {
            (name, []) => (".name", name),
            ([], raw_name) => (".raw_name", raw_name),
            _ => return Err(Violation::new(at(".raw_name"), "must not be set beside `name`")),
        };
        if name.len() > MAX_NAME_BYTES {
            let found = name.len();
            return Err(Violation::new(at(field), format!("may have {MAX_NAME_BYTES} bytes, has {found}")));
        }
        self.names.extend_from_slice(name);
        self.name_lengths.push(name.len() as u32);
        Ok(())
    }

    fn push_source(&mut self, source: Option<Source>, at: impl Fn(&str) -> String) -> Result<(), Violation> {
        let (kind, input, range) = match source {
            None => return Err(Violation::new(at(""), "one of `data` and `object` must be set; `data` may be empty")),
            Some(Source::Data(data)) => (columns::INLINE, data, None),
            Some(Source::Object(object)) => {
                if object.uri.len() > MAX_URI_BYTES {
                    let found = object.uri.len();
                    let description = format!("may have {MAX_URI_BYTES} bytes, has {found}");
                    return Err(Violation::new(at(".object.uri"), description));
                }
                uri::check_uri(object.uri.as_bytes()).map_err(|wanted| Violation::new(at(".object.uri"), wanted))?;
                (columns::OBJECT, Bytes::from(object.uri), object.range)
            }
        };
        let range = range.unwrap_or_default();
        if !super::validate::range_fits(range.offset, range.length) {
            return Err(Violation::new(at(".object.range"), super::validate::RANGE_WANTED));
        }
        self.data.extend_from_slice(&input);
        self.lengths.push(input.len() as u32);
        self.kinds.push(kind);
        self.range_offsets.push(range.offset);
        self.range_lengths.push(range.length);
        Ok(())
    }

    fn push_expected(&mut self, expected: &[Digest], at: impl Fn(&str) -> String) -> Result<(), Violation> {
        if expected.len() > MAX_ALGORITHMS {
            let found = expected.len();
            return Err(Violation::new(at(".expected"), format!("may have {MAX_ALGORITHMS} digests, has {found}")));
        }
        for (index, digest) in expected.iter().enumerate() {
            let Some(algorithm) = Algorithm::known(digest.algorithm) else {
                return Err(Violation::new(
                    at(&format!(".expected[{index}].algorithm")),
                    format!("{} is the number of no algorithm; `GetCapabilities` lists them", digest.algorithm),
                ));
            };
            if expected[..index].iter().any(|other| other.algorithm == digest.algorithm) {
                return Err(Violation::new(
                    at(&format!(".expected[{index}].algorithm")),
                    format!("{} must not occur twice", algorithm.name()),
                ));
            }
            let value = hex::decode(&digest.hex).ok().filter(|value| value.len() == algorithm.digest_bytes());
            let Some(value) = value else {
                return Err(Violation::new(
                    at(&format!(".expected[{index}].hex")),
                    format!("must be {} hexadecimal digits for {}", algorithm.digest_bytes() * 2, algorithm.name()),
                ));
            };
            self.expected.extend_from_slice(&value);
            self.expected_algorithms.push(digest.algorithm);
        }
        self.expected_counts.push(expected.len() as u8);
        Ok(())
    }

    fn finish(mut self) -> PackedTasks {
        if let [first, rest @ ..] = self.expected_algorithms.as_slice()
            && rest.iter().all(|other| other == first)
        {
            self.expected_algorithms.truncate(1);
        }
        let one_each = self.expected_counts.iter().all(|count| *count == 1);
        if self.expected.is_empty() || one_each {
            self.expected_counts.clear();
        }
        if self.kinds.iter().all(|kind| *kind == columns::INLINE) {
            self.kinds.clear();
        }
        if self.range_offsets.iter().chain(&self.range_lengths).all(|number| *number == 0) {
            self.range_offsets.clear();
            self.range_lengths.clear();
        }
        let names = PackedNames { data: self.names.freeze(), lengths: self.name_lengths };
        PackedTasks {
            listed: None,
            data: self.data.freeze(),
            lengths: self.lengths,
            names: (!names.data.is_empty()).then_some(names),
            kinds: self.kinds.into(),
            range_offsets: self.range_offsets,
            range_lengths: self.range_lengths,
            expected: self.expected.into(),
            expected_algorithms: self.expected_algorithms,
            expected_counts: self.expected_counts.into(),
        }
    }
}
