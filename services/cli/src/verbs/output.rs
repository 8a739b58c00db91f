//! Standard output: data and nothing else.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::failure::Failure;

/// Written at once from here on.
const FULL_BYTES: usize = 256 * 1024;

/// The shape of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people and for the tools that read manifests.
    #[default]
    Text,
    /// One document.
    Json,
    /// One object per line.
    Jsonl,
}

/// A buffer in front of standard output that is filled without waiting and written by [`flush`](Self::flush).
#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Where data is put.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Puts a value, on one line.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        put_json(&mut self.buffer, value)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    /// Writes if much has gathered.
    pub(super) async fn flush_if_full(&mut self) -> Result<(), Failure> {
        if self.buffer.len() >= FULL_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes everything. A reader that is slow holds up a thread of its own, not those that keep the streams.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let write = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&buffer)?;
            stdout.flush()?;
            buffer.clear();
            Ok(buffer)
        });
        let written = write.await.map_err(|error| Failure::local("cannot write to standard output", &error))?;
        self.buffer = written.map_err(|error| Failure::output(&error))?;
        Ok(())
    }
}

/// Puts a value as JSON.
pub(super) fn put_json(buffer: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(buffer, value).map_err(|error| Failure::local("cannot write JSON", &error))
}

/// A JSON object as lines `key: value`, for people.
pub(super) fn lines(document: &Value) -> String {
    let mut lines = String::new();
    for (key, value) in document.as_object().into_iter().flatten() {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
                .collect::<Vec<_>>()
                .join(" "),
            other => other.to_string(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{key}: {shown}");
    }
    lines
}

/// Writes one value as a document: for people to read with `json`, on one line with `jsonl`.
pub(super) async fn write_document(format: Format, value: &impl Serialize) -> Result<(), Failure> {
    let mut output = Output::new();
    if format == Format::Json {
        let done = serde_json::to_writer_pretty(output.buffer(), value);
        done.map_err(|error| Failure::local("cannot write JSON", &error))?;
        output.buffer().push(b'\n');
    } else {
        output.json_line(value)?;
    }
    output.flush().await
}

/// Writes text.
pub(super) async fn write_text(text: &str) -> Result<(), Failure> {
    let mut output = Output::new();
    output.buffer().extend_from_slice(text.as_bytes());
    output.flush().await
}
