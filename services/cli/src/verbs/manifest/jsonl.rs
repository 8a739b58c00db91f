//! An object per line, as `submit --format jsonl` writes it: `name` or `raw_name_base64`, `digests`, and `size` where it is
//! known. `verbs/outcome.rs` writes them.

use serde_json::{Map, Value};

use super::entry::{self, Entry, ReadError};
use crate::verbs::name;

/// Reads a line. An entry of a failed task has no digest.
pub(super) fn parse(line: &[u8]) -> Result<Entry, ReadError> {
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|_| ReadError::Form)?;
    let name = name::from_json(&object).ok_or(ReadError::Form)?;
    let digests = object.get("digests").and_then(Value::as_object).ok_or(ReadError::Form)?;
    let digests = digests.iter().map(|(name, digest)| {
        let algorithm = entry::algorithm(name)?;
        let digits = digest.as_str().ok_or(ReadError::Form)?;
        Ok((algorithm, entry::digest(algorithm, digits.as_bytes())?))
    });
    let digests = digests.collect::<Result<_, _>>()?;
    Ok(Entry { name, digests, size: object.get("size").and_then(Value::as_u64) })
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Algorithm;

    use super::*;

    #[test]
    fn a_line_brings_several_digests_and_a_name_that_is_not_utf8() {
        let line = format!(
            r#"{{"raw_name_base64":"Yv8=","size":7,"digests":{{"md5":"{}","sha1":"{}"}}}}"#,
            "01".repeat(16),
            "02".repeat(20)
        );
        let digests = vec![(Algorithm::Md5, vec![1; 16]), (Algorithm::Sha1, vec![2; 20])];
        let expected = Entry { name: b"b\xff".to_vec(), digests, size: Some(7) };
        assert_eq!(parse(line.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_failed_task_has_a_name_and_no_digest() {
        let failed = parse(br#"{"name":"x","position":1,"outcome":"failed","digests":{}}"#).unwrap();
        assert!(failed.name == b"x" && failed.digests.is_empty());
        for line in [&br#"{"name": 3}"#[..], b"{", br#"{"name":"x","digests":{"md5":"00"}}"#] {
            assert_eq!(parse(line), Err(ReadError::Form));
        }
    }
}
