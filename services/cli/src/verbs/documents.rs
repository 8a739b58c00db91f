//! How documents are printed: as lines for people, as one document, or one per line.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::{
    failure::{self, Failure},
    output::{Format, Output, put_json, write_document, write_text},
    server::ServerArgs,
};

/// What verbs take that ask the mesh and print what it answers.
#[derive(Args, Debug)]
pub(super) struct AskArgs {
    /// Lines for people, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Several documents of one kind.
#[derive(Debug)]
pub(super) struct Rows {
    format: Format,
    output: Output,
    first: bool,
}

impl Rows {
    /// None yet. `name` is what they are together.
    pub(super) fn new(format: Format, name: &str) -> Self {
        let mut output = Output::new();
        if format == Format::Json {
            output.buffer().extend_from_slice(format!("{{\"{name}\":[").as_bytes());
        }
        Self { format, output, first: true }
    }

    /// What people see above all of them.
    pub(super) fn head(&mut self, text: &str) {
        if self.format == Format::Text {
            self.output.buffer().extend_from_slice(text.as_bytes());
        }
    }

    /// Puts a document, for people as a paragraph.
    pub(super) fn put(&mut self, document: &Value) -> Result<(), Failure> {
        let between = if self.first { "" } else { "\n" };
        self.put_as(|| format!("{between}{}", lines(document)), || document.clone())
    }

    /// Puts a document, for people as this text.
    pub(super) fn put_as(
        &mut self,
        text: impl FnOnce() -> String,
        document: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let first = std::mem::take(&mut self.first);
        match self.format {
            Format::Text => self.output.buffer().extend_from_slice(text().as_bytes()),
            Format::Jsonl => self.output.json_line(&document())?,
            Format::Json => {
                self.output.buffer().extend_from_slice(if first { b"\n" } else { b",\n" });
                put_json(self.output.buffer(), &document())?;
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().await
    }

    pub(super) async fn end(mut self) -> Result<u8, Failure> {
        if self.format == Format::Json {
            self.output.buffer().extend_from_slice(b"\n]}\n");
        }
        self.output.flush().await?;
        Ok(failure::OK)
    }
}

/// Prints one document.
pub(super) async fn write_one(format: Format, document: &Value) -> Result<u8, Failure> {
    match format {
        Format::Text => write_text(&lines(document)).await?,
        format => write_document(format, document).await?,
    }
    Ok(failure::OK)
}

/// A line per field that says something.
fn lines(document: &Value) -> String {
    let mut lines = String::new();
    for (key, value) in document.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{key}: {text}");
    }
    lines
}
