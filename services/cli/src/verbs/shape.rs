//! Options that say how outcomes are written, for every verb that prints them.

use clap::Args;
use hashmesh::v1::Algorithm;

use super::{
    failure::Failure,
    manifest::{self, ManifestWriter},
    output::Format,
};

/// How outcomes are written.
#[derive(Args, Clone, Debug)]
pub(super) struct ShapeArgs {
    /// The shape of the outcomes: a manifest, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// The form of the manifest [default: coreutils, and bsd where there are several algorithms].
    #[arg(long, value_name = "FORM", value_parser = manifest::Format::written(), conflicts_with = "tag")]
    format: Option<manifest::Format>,
    /// The same as --format bsd: the manifest has the algorithms' names, as with `sha256sum --tag`.
    #[arg(long)]
    tag: bool,
}

/// How outcomes are written, understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) output: Format,
    /// Of the manifest, where the output is text; none leaves it to the number of algorithms.
    pub(super) manifest: Option<manifest::Format>,
}

impl ShapeArgs {
    pub(super) fn shape(&self) -> Result<Shape, Failure> {
        let manifest = if self.tag { Some(manifest::Format::Bsd) } else { self.format };
        match (manifest, self.output) {
            (Some(manifest::Format::Jsonl), Format::Text) => Ok(Shape { output: Format::Jsonl, manifest: None }),
            (Some(form), Format::Json) if !self.tag => {
                Err(Failure::Usage(format!("--format {} is a manifest's, and --output json none", form.name())))
            }
            (Some(form), Format::Jsonl) if !self.tag && form != manifest::Format::Jsonl => {
                Err(Failure::Usage(format!("--format {} and --output jsonl exclude each other", form.name())))
            }
            (manifest, output) => Ok(Shape { output, manifest }),
        }
    }
}

impl Shape {
    /// Refuses digests that the manifest's form does not hold.
    pub(super) fn check(self, algorithms: &[Algorithm]) -> Result<(), Failure> {
        if self.output != Format::Text {
            return Ok(());
        }
        ManifestWriter::check(self.manifest, algorithms).map_err(Failure::Usage)
    }
}
