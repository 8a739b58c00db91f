//! Manifests: which name has which digest, byte for byte as other tools write and read them. A file per form.

mod bagit;
pub(super) mod bsd;
pub(super) mod coreutils;
mod entry;
mod escape;
mod hashdeep;
mod inventory;
mod jsonl;
mod lines;
mod rclone;
mod reader;
mod writer;

use clap::{
    ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

pub(super) use entry::{Entry, Hints};
pub(super) use escape::{End, put_line, put_name, unescape};
pub(super) use lines::{Line, Lines, Part};
pub(super) use reader::{Manifest, ReadArgs};
pub(super) use writer::{ManifestWriter, Unwritable};

/// A form of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Coreutils,
    Bsd,
    Jsonl,
    Hashdeep,
    Bagit,
    Rclone,
    S3Inventory,
}

/// What there is to say about a form.
struct About {
    format: Format,
    name: &'static str,
    help: &'static str,
    /// False: it is only read.
    written: bool,
}

const TABLE: &[About] = &[
    About {
        format: Format::Coreutils,
        name: "coreutils",
        help: "`DIGEST  NAME`, as sha256sum writes it",
        written: true,
    },
    About { format: Format::Bsd, name: "bsd", help: "`SHA256 (NAME) = DIGEST`, as sha256sum --tag", written: true },
    About { format: Format::Jsonl, name: "jsonl", help: "A JSON object per line", written: true },
    About { format: Format::Hashdeep, name: "hashdeep", help: "hashdeep's, with sizes", written: true },
    About { format: Format::Bagit, name: "bagit", help: "A bag's manifest-ALGORITHM.txt (RFC 8493)", written: true },
    About { format: Format::Rclone, name: "rclone", help: "The sums of rclone hashsum", written: false },
    About { format: Format::S3Inventory, name: "s3-inventory", help: "An S3 inventory in CSV", written: false },
];

impl Format {
    fn about(self) -> &'static About {
        // Every form is in the table, which a test checks.
        TABLE.iter().find(|about| about.format == self).unwrap_or(&TABLE[0])
    }

    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        self.about().name
    }

    /// Reads the name of a form that is written.
    pub(super) fn written() -> impl TypedValueParser<Value = Self> {
        let values = TABLE.iter().filter(|about| about.written).map(About::value);
        PossibleValuesParser::new(values).map(|name| Self::from_str(&name, false).unwrap_or(Self::Coreutils))
    }
}

impl About {
    fn value(&self) -> PossibleValue {
        PossibleValue::new(self.name).help(self.help)
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Coreutils, Self::Bsd, Self::Jsonl, Self::Hashdeep, Self::Bagit, Self::Rclone, Self::S3Inventory]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(self.about().value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_in_the_table_once() {
        let formats: Vec<Format> = TABLE.iter().map(|about| about.format).collect();
        assert_eq!(formats, Format::value_variants());
    }
}
