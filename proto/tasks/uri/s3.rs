//! `s3://bucket/key`, as the AWS command line writes it, but percent-encoded. The endpoint is the worker's setting and never
//! part of a URI: a client cannot choose where a worker's credentials are sent.

use super::percent;

const VERSION: &[u8] = b"versionId=";

/// The longest key that S3 has, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 1_024;

/// What an `s3:` URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Object {
    /// The bucket.
    pub bucket: String,
    /// The object's key. Bytes as they are sent; S3 itself wants UTF-8.
    pub key: Vec<u8>,
    /// Which of its versions; the newest if none is said.
    pub version: Option<String>,
}

/// The URI of an object's newest version.
#[must_use]
pub fn s3_uri(bucket: &str, key: &[u8]) -> String {
    let mut uri = format!("s3://{bucket}/");
    percent::encode(key, &mut uri);
    uri
}

/// What an `s3:` URI names; none if it is not one that [`validate`](crate::tasks::validate) takes.
#[must_use]
pub fn s3_object(uri: &[u8]) -> Option<S3Object> {
    let rest = uri.strip_prefix(b"s3://")?;
    check(rest).ok()?;
    let (bucket, key, version) = split(rest)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let version = match version {
        Some(version) => Some(text(&percent::decode(version)?)?),
        None => None,
    };
    Some(S3Object { bucket: text(bucket)?, key: percent::decode(key)?, version })
}

/// Bucket, encoded key, encoded version.
type Parts<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

fn split(rest: &[u8]) -> Option<Parts<'_>> {
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let (bucket, key) = (&rest[..slash], &rest[slash + 1..]);
    match key.iter().position(|byte| *byte == b'?') {
        Some(mark) => Some((bucket, &key[..mark], Some(key[mark + 1..].strip_prefix(VERSION)?))),
        None => Some((bucket, key, None)),
    }
}

pub(super) fn check(rest: &[u8]) -> Result<(), String> {
    let wanted = "must be `s3://bucket/key`, perhaps with `?versionId=…` behind it";
    let (bucket, key, version) = split(rest).ok_or(wanted)?;
    self::bucket(bucket)?;
    percent::check_path(key, |_| Ok(()))?;
    let length = key.len() - 2 * key.iter().filter(|byte| **byte == b'%').count();
    if !(1..=MAX_KEY_BYTES).contains(&length) {
        return Err(format!("must name a key of 1 to {MAX_KEY_BYTES} bytes, this one has {length}"));
    }
    let Some(version) = version else { return Ok(()) };
    if version.is_empty() {
        return Err("has an empty `versionId`; leave it out for the newest version".to_owned());
    }
    percent::check_path(version, |byte| {
        if byte.is_ascii_graphic() { Ok(()) } else { Err(format!("%{byte:02X} cannot be part of a version")) }
    })
}

/// A bucket's name.
pub(super) fn bucket(name: &[u8]) -> Result<&str, String> {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // Buckets of before 2018 have capitals and underscores, and up to 255 characters.
    let fits = (3..=255).contains(&name.len()) && name.iter().all(letter) && name[0].is_ascii_alphanumeric();
    std::str::from_utf8(name)
        .ok()
        .filter(|_| fits)
        .ok_or_else(|| "names no bucket: 3 to 255 of `a-z A-Z 0-9 . - _`, beginning with a letter or digit".to_owned())
}

/// The canonical form of a prefix that ends with `/`.
pub(super) fn directory(rest: &[u8]) -> Option<String> {
    let Some(slash) = rest.iter().position(|byte| *byte == b'/') else { return Some("s3://".to_owned()) };
    let bucket = std::str::from_utf8(&rest[..slash]).ok()?;
    Some(s3_uri(bucket, &percent::decode(&rest[slash + 1..])?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_survives_its_uri(key in prop::collection::vec(any::<u8>(), 1..40)) {
            let uri = s3_uri("bucket", &key);
            prop_assert!(uri.is_ascii());
            let object = S3Object { bucket: "bucket".to_owned(), key, version: None };
            prop_assert_eq!(s3_object(uri.as_bytes()), Some(object));
        }
    }

    #[test]
    fn keys_are_bytes_and_nothing_in_them_is_a_path() {
        let key = |uri: &str| s3_object(uri.as_bytes()).unwrap().key;
        assert_eq!(key("s3://bucket/a//b/../c/"), b"a//b/../c/");
        assert_eq!(key("s3://bucket//"), b"/");
        assert_eq!(key("s3://bucket/%2F%00%ff"), b"/\0\xff");
        let versioned = s3_object(b"s3://bucket/key?versionId=3%2FL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY").unwrap();
        assert_eq!(versioned.version.as_deref(), Some("3/L4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"));
    }

    #[test]
    fn a_uri_that_names_no_object_is_refused_with_the_remedy() {
        for (uri, remedy) in [
            ("s3://", "s3://bucket/key"),
            ("s3://bucket", "s3://bucket/key"),
            ("s3://bucket/", "a key of 1 to"),
            ("s3://b/key", "no bucket"),
            ("s3://user@bucket/key", "no bucket"),
            ("s3://bucket:80/key", "no bucket"),
            ("s3:///key", "no bucket"),
            ("s3://-bucket/key", "no bucket"),
            ("s3://bucket/a b", "%20"),
            ("s3://bucket/a#b", "%23"),
            ("s3://bucket/%2", "two hexadecimal digits"),
            ("s3://bucket/key?version=1", "versionId"),
            ("s3://bucket/key?versionId=", "empty"),
            ("s3://bucket/key?versionId=a%0Ab", "%0A cannot"),
        ] {
            let error = check(&uri.as_bytes()[5..]).unwrap_err();
            assert!(error.contains(remedy), "{uri}: {error}");
            assert_eq!(s3_object(uri.as_bytes()), None, "{uri}");
        }
        let longest = format!("s3://bucket/{}", "%20".repeat(1_024));
        assert_eq!(check(&longest.as_bytes()[5..]), Ok(()));
        assert!(check(format!("{longest}x").as_bytes()[5..].as_ref()).unwrap_err().contains("1025"));
    }
}
