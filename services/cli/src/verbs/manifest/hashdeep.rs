//! `hashdeep`'s form: a header that names the columns, comments, and lines `SIZE,DIGEST,…,NAME`.
//!
//! Names stand as they are, commas included, because the name is the last column. A name with an LF would be two lines and
//! one that ends with CR loses it (hashdeep 4.4 does both), so neither is written.

use hashmesh::v1::Algorithm;

use super::{
    Unwritable,
    entry::{self, Entry, ReadError, put_hex},
};

/// With which such a file begins.
pub(super) const MAGIC: &[u8] = b"%%%% HASHDEEP-1.0";

/// What hashdeep knows, in the order in which it writes it.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256];

/// Of these algorithms, those that stand in the file and their order; none if hashdeep does not know one of them.
pub(super) fn order(algorithms: &[Algorithm]) -> Option<Vec<Algorithm>> {
    let known = algorithms.iter().all(|algorithm| ALGORITHMS.contains(algorithm));
    known.then(|| ALGORITHMS.into_iter().filter(|algorithm| algorithms.contains(algorithm)).collect())
}

/// Puts what comes before all lines.
pub(super) fn write_header(order: &[Algorithm], out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(b"\n%%%% size,");
    for algorithm in order {
        out.extend_from_slice(algorithm.name().as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"filename\n## written by hashmesh\n");
}

/// Puts a line.
pub(super) fn write<'a>(
    name: &[u8],
    size: Option<u64>,
    digests: &(impl Iterator<Item = (Algorithm, &'a [u8])> + Clone),
    out: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    if name.contains(&b'\n') || name.ends_with(b"\r") {
        return Err(Unwritable::LineBreak("hashdeep's"));
    }
    let size = size.ok_or(Unwritable::NoSize)?;
    out.extend_from_slice(size.to_string().as_bytes());
    for wanted in ALGORITHMS {
        if let Some((_, digest)) = digests.clone().find(|(algorithm, _)| *algorithm == wanted) {
            out.push(b',');
            put_hex(digest, out);
        }
    }
    out.push(b',');
    out.extend_from_slice(name);
    out.push(b'\n');
    Ok(())
}

/// What stands between the commas, as the last header said.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    /// Behind the size and before the name. None where hashmesh does not know the algorithm (`tiger`, `whirlpool`).
    digests: Vec<Option<Algorithm>>,
}

impl Columns {
    /// Reads a line. None for headers, which may come again where files were put together, and for comments.
    pub(super) fn parse(&mut self, line: &[u8]) -> Result<Option<Entry>, ReadError> {
        if line.starts_with(b"#") || line == MAGIC {
            return Ok(None);
        }
        if let Some(header) = line.strip_prefix(b"%%%% ") {
            self.header(header)?;
            return Ok(None);
        }
        let mut fields = line.splitn(self.digests.len() + 2, |byte| *byte == b',');
        let size =
            fields.next().and_then(|size| std::str::from_utf8(size).ok()?.parse().ok()).ok_or(ReadError::Form)?;
        let mut digests = Vec::with_capacity(self.digests.len());
        for column in &self.digests {
            let digits = fields.next().ok_or(ReadError::Form)?;
            if let Some(algorithm) = column {
                digests.push((*algorithm, entry::digest(*algorithm, digits)?));
            }
        }
        let name = fields.next().filter(|name| !name.is_empty()).ok_or(ReadError::Form)?;
        Ok(Some(Entry { name: name.to_vec(), digests, size: Some(size) }))
    }

    fn header(&mut self, header: &[u8]) -> Result<(), ReadError> {
        let header = std::str::from_utf8(header).map_err(|_| ReadError::Form)?;
        let names = header.strip_prefix("size,").and_then(|rest| rest.strip_suffix(",filename"));
        let names = names.ok_or(ReadError::Form)?;
        self.digests = names.split(',').map(|name| name.parse().ok()).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_of_the_header() {
        let mut columns = Columns::default();
        for line in [&b"%%%% HASHDEEP-1.0"[..], b"%%%% size,sha1,tiger,md5,filename", b"## Invoked from: /"] {
            assert_eq!(columns.parse(line), Ok(None));
        }
        let line = format!("12,{},00ff,{},a,b\rc", "02".repeat(20), "01".repeat(16));
        let digests = vec![(Algorithm::Sha1, vec![2; 20]), (Algorithm::Md5, vec![1; 16])];
        let expected = Entry { name: b"a,b\rc".to_vec(), digests, size: Some(12) };
        assert_eq!(columns.parse(line.as_bytes()), Ok(Some(expected)));
        for line in ["", "x", "1,2,3", "-1,,,x", "%%%% size,md5"] {
            assert_eq!(columns.parse(line.as_bytes()), Err(ReadError::Form), "{line}");
        }
    }

    #[test]
    fn what_is_written_has_hashdeeps_order_and_only_names_that_it_can_read() {
        let digests = [(Algorithm::Sha256, &[0xab_u8; 32][..]), (Algorithm::Md5, &[1; 16])];
        let order = order(&[Algorithm::Sha256, Algorithm::Md5]).unwrap();
        let mut out = Vec::new();
        write_header(&order, &mut out);
        write(b"a,\xff", Some(9), &digests.into_iter(), &mut out).unwrap();
        let expected = format!(
            "%%%% HASHDEEP-1.0\n%%%% size,md5,sha256,filename\n## written by hashmesh\n9,{},{},a,",
            "01".repeat(16),
            "ab".repeat(32)
        );
        assert_eq!(out, [expected.as_bytes(), b"\xff\n"].concat());
        for name in [&b"a\nb"[..], b"a\r"] {
            write(name, Some(9), &digests.into_iter(), &mut out).unwrap_err();
        }
        assert_eq!(write(b"a", None, &digests.into_iter(), &mut out), Err(Unwritable::NoSize));
        assert!(super::order(&[Algorithm::Sha512]).is_none());
    }
}
