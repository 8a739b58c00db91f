//! Tasks in their two shapes: rows for people, columns for throughput.
//!
//! Everything behind a Gateway speaks columns ([`PackedTasks`](crate::v1::PackedTasks)): [`from_rows`] turns rows into
//! them, [`validate`] holds them to every limit and makes the batch's fingerprint, and `PackedTasks::views` and
//! `PackedTasks::slice` read them without copying an input.

mod bounded;
mod columns;
mod fingerprint;
mod join;
mod names;
mod rows;
mod slice;
mod stored;
mod uploads;
mod uri;
mod validate;
mod validated;
mod views;

pub use bounded::TaskRows;
pub use columns::{INLINE as KIND_INLINE, Malformed, OBJECT as KIND_OBJECT};
pub use join::Joined;
pub(crate) use names::sum as names_bytes;
pub use rows::from_rows;
pub use stored::without_inputs;
pub use uploads::foreign_upload;
pub use uri::{
    ANY_SOURCE, AllowedSource, AllowedSources, BucketRoot, NoSource, Place, S3Object, Scheme, SiteRoot, UploadName,
    canonical_prefix, canonical_uri, check_uri, file_path, file_uri, is_upload_id, path_names, percent_decoded,
    s3_object, s3_uri, upload_name, upload_uri,
};
pub use validate::{Summary, Violation, validate};
pub use validated::{validated, validated_listing};
pub use views::{Input, TaskView};

#[cfg(test)]
mod samples;
