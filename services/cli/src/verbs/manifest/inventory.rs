//! S3 inventories: CSV files, optionally compressed, whose columns a `manifest.json` names.
//!
//! Names are full URIs, `s3://BUCKET/KEY`, percent-encoded as all URIs of objects. Keys are URL-encoded in the file in
//! their own way, a space as `+` or `%20`. An inventory has no
//! digests but one: the ETag is the content's MD5 where the object was uploaded at once and not encrypted with KMS keys or
//! a customer's. It counts as such if it looks like an MD5, `IsMultipartUploaded` (if there) is false, and
//! `EncryptionStatus` (if there) is `NOT-SSE` or `SSE-S3`. The ETag of an object that was uploaded in parts (`HEX-PARTS`) is
//! its composite MD5, which counts if the part size was said and gives as many parts. All other objects come without a digest.
//! Old versions and delete markers are left out.

use std::{
    io,
    path::{Path, PathBuf},
};

use csv_core::{ReadRecordResult, Reader};
use hashmesh::{tasks::s3_uri, v1::Algorithm};
use percent_encoding::percent_decode;
use serde::Deserialize;

use super::entry::{Entry, ReadError};

/// A `manifest.json` is larger than this only with a hundred thousand files.
pub(super) const MAX_MANIFEST_BYTES: u64 = 32 * 1024 * 1024;
/// S3 has some twenty columns.
const MAX_COLUMNS: usize = 64;

/// What a `manifest.json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InventoryManifest {
    #[serde(default)]
    file_format: String,
    file_schema: String,
    files: Vec<DataFile>,
}

#[derive(Debug, Deserialize)]
struct DataFile {
    key: String,
}

impl InventoryManifest {
    /// Understands it; none if it is something else.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The columns, and the files, which must have been fetched too: beside the manifest, or in `data` beside it or beside
    /// its directory, as they are in the bucket.
    pub(super) fn resolve(self, manifest: &Path) -> io::Result<(Columns, Vec<PathBuf>)> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        if !self.file_format.is_empty() && !self.file_format.eq_ignore_ascii_case("csv") {
            return Err(invalid(format!("the inventory is in {}; only CSV is read", self.file_format)));
        }
        let columns = Columns::parse(&self.file_schema).map_err(|error| invalid(error.to_string()))?;
        let directory = manifest.parent().unwrap_or(Path::new(""));
        let places = [directory.to_owned(), directory.join("data"), directory.join("../data")];
        let files = self.files.iter().map(|file| {
            let name = file.key.rsplit('/').next().unwrap_or_default();
            let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
            found.ok_or_else(|| {
                let text = format!("the inventory's file {name} is not beside its manifest, nor in `data`");
                io::Error::new(io::ErrorKind::NotFound, text)
            })
        });
        Ok((columns, files.collect::<io::Result<_>>()?))
    }
}

/// Where the columns are that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::verbs) struct Columns {
    bucket: usize,
    key: usize,
    size: Option<usize>,
    etag: Option<usize>,
    latest: Option<usize>,
    delete_marker: Option<usize>,
    multipart: Option<usize>,
    encryption: Option<usize>,
}

impl Columns {
    /// Reads a list like `Bucket, Key, Size, ETag`.
    pub(in crate::verbs) fn parse(list: &str) -> Result<Self, ColumnsError> {
        let names: Vec<&str> = list.split(',').map(str::trim).collect();
        if names.len() > MAX_COLUMNS {
            return Err(ColumnsError::TooMany);
        }
        let find = |wanted: &str| names.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        Ok(Self {
            bucket: find("Bucket").ok_or(ColumnsError::Missing("Bucket"))?,
            key: find("Key").ok_or(ColumnsError::Missing("Key"))?,
            size: find("Size"),
            etag: find("ETag"),
            latest: find("IsLatest"),
            delete_marker: find("IsDeleteMarker"),
            multipart: find("IsMultipartUploaded"),
            encryption: find("EncryptionStatus"),
        })
    }

    /// Reads a line. None for what is no object's newest version. `part_bytes` is the length of the parts in which objects
    /// were uploaded; 0 if nobody said.
    pub(super) fn entry(&self, line: &[u8], part_bytes: u64) -> Result<Option<Entry>, ReadError> {
        let mut content = vec![0; line.len()];
        let mut ends = [0; MAX_COLUMNS];
        let mut reader = Reader::new();
        let (result, _, written, fields) = reader.read_record(line, &mut content, &mut ends);
        // The line has no line feed, so its end is only known once there is no more input.
        let fields = match result {
            ReadRecordResult::InputEmpty => {
                let (result, _, _, more) = reader.read_record(&[], &mut content[written..], &mut ends[fields..]);
                match result {
                    ReadRecordResult::Record => fields + more,
                    _ => return Err(ReadError::Form),
                }
            }
            _ => return Err(ReadError::Form),
        };
        let field = |column: usize| {
            let end = *ends[..fields].get(column)?;
            let start = if column == 0 { 0 } else { ends[column - 1] };
            content.get(start..end)
        };
        let text = |column: Option<usize>| {
            column.and_then(field).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default().trim()
        };
        let says = |column, what: &str| text(column).eq_ignore_ascii_case(what);
        if says(self.latest, "false") || says(self.delete_marker, "true") {
            return Ok(None);
        }
        let bucket = text(Some(self.bucket));
        let key = field(self.key).filter(|key| !key.is_empty() && !bucket.is_empty()).ok_or(ReadError::Form)?;
        let key: Vec<u8> = key.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let key: Vec<u8> = percent_decode(&key).collect();
        let name = s3_uri(bucket, &key).into_bytes();

        let encryption = text(self.encryption);
        let plain = encryption.is_empty() || ["NOT-SSE", "SSE-S3"].contains(&encryption);
        let size = text(self.size).parse().ok();
        let etag = if plain { text(self.etag).trim_matches('"') } else { "" };
        let digest = match etag.split_once('-') {
            Some((digits, parts)) if part_bytes > 0 && size.is_none_or(|size| parts_of(size, part_bytes) == parts) => {
                Some((Algorithm::Md5Composite, digits))
            }
            None if !says(self.multipart, "true") => Some((Algorithm::Md5, etag)),
            Some(_) | None => None,
        };
        let digest = digest.and_then(|(algorithm, digits)| Some((algorithm, hex::decode(digits).ok()?)));
        let digest = digest.filter(|(algorithm, digest)| digest.len() == algorithm.digest_bytes());
        Ok(Some(Entry { name, digests: digest.into_iter().collect(), size }))
    }
}

/// How many parts an object has, as its ETag says it.
fn parts_of(size: u64, part_bytes: u64) -> String {
    size.div_ceil(part_bytes).max(1).to_string()
}

/// Why a list of columns is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::verbs) enum ColumnsError {
    #[error("an inventory's columns must name {0}, as in `Bucket, Key, Size, ETag`")]
    Missing(&'static str),
    #[error("an inventory has at most {MAX_COLUMNS} columns")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "0cc175b9c0f1b6a831c399e269772661";

    fn object(name: &str, md5: bool) -> Option<Entry> {
        let digests = if md5 { vec![(Algorithm::Md5, hex::decode(MD5).unwrap())] } else { Vec::new() };
        Some(Entry { name: name.as_bytes().to_vec(), digests, size: Some(12) })
    }

    #[test]
    fn a_line_is_an_object_by_its_uri() {
        let columns = Columns::parse("Bucket, Key, Size, ETag").unwrap();
        for (key, name) in [
            ("a/b", "s3://bucket/a/b"),
            ("a+b%20c%2Bd", "s3://bucket/a%20b%20c%2Bd"),
            ("%E6%BC%A2%0A%22%2C", "s3://bucket/%E6%BC%A2%0A%22%2C"),
            ("100%25-._~", "s3://bucket/100%25-._~"),
        ] {
            let line = format!(r#""bucket","{key}","12","{MD5}""#);
            assert_eq!(columns.entry(line.as_bytes(), 0), Ok(object(name, true)), "{key}");
        }
        assert_eq!(columns.entry(format!("bucket,k,12,{MD5}").as_bytes(), 0), Ok(object("s3://bucket/k", true)));
        for line in ["", "\"bucket\"", "\"bucket\",\"\"", &"x,".repeat(100)] {
            assert_eq!(columns.entry(line.as_bytes(), 0), Err(ReadError::Form), "{line}");
        }
    }

    #[test]
    fn an_etag_is_an_md5_only_where_s3_made_it_so() {
        let columns = Columns::parse("Bucket,Key,Size,ETag,IsMultipartUploaded,EncryptionStatus").unwrap();
        for (etag, multipart, encryption, md5) in [
            (MD5, "false", "SSE-S3", true),
            (MD5, "", "NOT-SSE", true),
            (MD5, "true", "SSE-S3", false),
            (MD5, "false", "SSE-KMS", false),
            (MD5, "false", "SSE-C", false),
            ("0cc175b9c0f1b6a831c399e269772661-3", "false", "SSE-S3", false),
            ("", "false", "SSE-S3", false),
        ] {
            let line = format!(r#""bucket","k","12","{etag}","{multipart}","{encryption}""#);
            assert_eq!(columns.entry(line.as_bytes(), 0), Ok(object("s3://bucket/k", md5)), "{line}");
        }
    }

    #[test]
    fn the_etag_of_parts_is_a_composite_md5_if_the_part_size_gives_as_many() {
        let columns = Columns::parse("Bucket,Key,Size,ETag,IsMultipartUploaded").unwrap();
        let found = |etag: &str, part_bytes| {
            let entry = columns.entry(format!("bucket,k,12,{etag},true").as_bytes(), part_bytes).unwrap().unwrap();
            entry.digests.into_iter().map(|(algorithm, _)| algorithm).collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("{MD5}-3"), 5), [Algorithm::Md5Composite]);
        assert_eq!(found(&format!("{MD5}-1"), 12), [Algorithm::Md5Composite]);
        for (etag, part_bytes) in
            [(format!("{MD5}-3"), 0), (format!("{MD5}-3"), 6), (format!("{MD5}-x"), 5), (MD5.into(), 5)]
        {
            assert_eq!(found(&etag, part_bytes), [], "{etag} {part_bytes}");
        }
    }

    #[test]
    fn old_versions_and_delete_markers_are_left_out() {
        let columns = Columns::parse("Bucket,Key,VersionId,IsLatest,IsDeleteMarker,Size,ETag").unwrap();
        let line = |latest, deleted| format!(r#""bucket","k","v","{latest}","{deleted}","12","{MD5}""#);
        assert_eq!(columns.entry(line("true", "false").as_bytes(), 0), Ok(object("s3://bucket/k", true)));
        assert_eq!(columns.entry(line("false", "false").as_bytes(), 0), Ok(None));
        assert_eq!(columns.entry(line("true", "true").as_bytes(), 0), Ok(None));
    }

    #[test]
    fn columns_must_name_bucket_and_key() {
        assert_eq!(Columns::parse("Key, Size"), Err(ColumnsError::Missing("Bucket")));
        assert_eq!(Columns::parse("Bucket"), Err(ColumnsError::Missing("Key")));
        let many = |extra: usize| Columns::parse(&format!("Bucket,Key{}", ",x".repeat(extra)));
        assert!(many(62).is_ok());
        assert_eq!(many(63), Err(ColumnsError::TooMany));
    }
}
