//! A text with a URI, or a line of a manifest whose name is one, on each line: which objects it names, from a place in it on.
//!
//! The cursor is that place and what the text was: whoever goes on finds out if it is another by now, because then nobody could
//! tell what was left out.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use hashmesh::{
    error::TaskReason,
    limits::MAX_NAME_BYTES,
    tasks::{Scheme, check_uri},
    v1::{Algorithm, ObjectIdentity},
};
use prost::Message as _;

use super::{Page, PushError};
use crate::sources::{Failure, file};

/// Read at once: twice what a page holds of it, and a line.
pub(super) const PART_BYTES: usize = 2 * 1024 * 1024;

/// True if a text can be the same one; its size is not always said.
fn same(one: &ObjectIdentity, other: &ObjectIdentity) -> bool {
    let sizes = one.size == other.size || one.size == 0 || other.size == 0;
    let marks = |of: &ObjectIdentity| (of.etag.clone(), of.version.clone(), of.modify_time);
    sizes && marks(one) == marks(other)
}

/// Some of a text.
#[derive(Debug)]
pub(crate) struct TextPart {
    pub(crate) bytes: Vec<u8>,
    /// Nothing follows.
    pub(crate) last: bool,
    /// What the text is, as far as its host said.
    pub(crate) identity: ObjectIdentity,
}

impl TextPart {
    /// A file's bytes from `offset` on. Blocks on the disk.
    pub(super) fn of_file(file: &File, offset: u64) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::from_read(&error);
        let metadata = file.metadata().map_err(failed)?;
        file::require_regular(&metadata)?;
        let left = metadata.len().saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PART_BYTES);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => failed(error),
        })?;
        Ok(Self { last: left == length as u64, bytes, identity: file::identity(&metadata) })
    }
}

/// How far a text was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cursor {
    pub(super) offset: u64,
    /// What it was; `None`: nothing was read yet.
    identity: Option<ObjectIdentity>,
}

impl Cursor {
    /// As it was sent; empty: the beginning.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.is_empty() {
            return Ok(Self { offset: 0, identity: None });
        }
        let wrong = || Failure::permanent(TaskReason::SourceUnreadable, "the place in the list is none");
        let (offset, identity) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
        let identity = ObjectIdentity::decode(identity).map_err(|_| wrong())?;
        Ok(Self { offset: u64::from_le_bytes(*offset), identity: Some(identity) })
    }
}

/// Adds to a page the objects that a part names, which begins at the cursor.
pub(super) fn list(cursor: &Cursor, part: &TextPart, algorithms: &[Algorithm], page: &mut Page) -> Result<(), Failure> {
    // At its very end there is nothing left that could be another's.
    let at_the_end = part.last && part.bytes.is_empty();
    if cursor.identity.as_ref().is_some_and(|known| !same(known, &part.identity)) && !at_the_end {
        return Err(changed());
    }
    let identity = part.identity.encode_to_vec();
    let place_at = |offset: u64| [&offset.to_le_bytes()[..], &identity].concat();
    // Where the last line is that brought an object, and whether one that follows may say more of it.
    let mut last = None;
    let mut offset = cursor.offset;
    for line in part.bytes.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.ends_with(b"\n");
        if !whole && !part.last {
            // Its rest is in the next part, unless it fits none.
            if offset == cursor.offset {
                return Err(no_uri(offset));
            }
            break;
        }
        let behind = offset + line.len() as u64;
        let place = place_at(behind);
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let begin = std::mem::replace(&mut offset, behind);
        if text.is_empty() {
            page.pass(&place);
            continue;
        }
        let Entry { uri, expected } = Entry::of(text, algorithms).ok_or_else(|| no_uri(begin))?;
        // One more digest of the object before.
        if let Some((algorithm, digest)) = &expected
            && page.last() == Some(uri.as_bytes())
            && page.expect(*algorithm, digest)
        {
            page.pass(&place);
            continue;
        }
        match page.push(uri, &place) {
            Ok(()) => {}
            Err(PushError::Full) => return Ok(()),
            Err(PushError::Failed(failure)) => return Err(failure),
        }
        last = expected.is_some().then_some(begin);
        if let Some((algorithm, digest)) = expected {
            page.expect(algorithm, &digest);
        }
    }
    match last {
        _ if part.last => page.ends(),
        Some(begin) => page.take_back(&place_at(begin)),
        None => {}
    }
    Ok(())
}

/// What a line says.
#[derive(Debug, PartialEq)]
struct Entry<'a> {
    uri: &'a str,
    expected: Option<(Algorithm, Vec<u8>)>,
}

impl<'a> Entry<'a> {
    /// Reads a URI, or a line of a manifest. No URI has what coreutils escape in names.
    fn of(line: &'a [u8], algorithms: &[Algorithm]) -> Option<Self> {
        if let Some(uri) = object(line) {
            return Some(Self { uri, expected: None });
        }
        let line = std::str::from_utf8(line).ok()?;
        let (uri, named, digits) = match line.split_once(' ')? {
            (tag, rest) if rest.starts_with('(') => {
                let (uri, digits) = rest[1..].rsplit_once(") = ")?;
                (uri, Some(tag.parse::<Algorithm>().ok()?), digits)
            }
            (digits, rest) => (rest.strip_prefix([' ', '*'])?, None, digits),
        };
        let digest = hex::decode(digits).ok()?;
        let fits = |algorithm: &&Algorithm| {
            algorithm.digest_bytes() == digest.len() && named.is_none_or(|named| named == **algorithm)
        };
        let algorithm = *algorithms.iter().find(fits)?;
        Some(Self { uri: object(uri.as_bytes())?, expected: Some((algorithm, digest)) })
    }
}

/// The URI of an object, if that is what a line is. Uploads are not: whose they are was checked of nobody who wrote the text.
fn object(line: &[u8]) -> Option<&str> {
    let taken = line.len() <= MAX_NAME_BYTES && Scheme::of(line) != Some(Scheme::Upload) && check_uri(line).is_ok();
    std::str::from_utf8(line).ok().filter(|_| taken)
}

fn no_uri(offset: u64) -> Failure {
    let message = format!(
        "the line at byte {offset} of the list is neither the URI of a file or object, of at most {MAX_NAME_BYTES} bytes, nor one \
         of a manifest with a digest of the submission's algorithms: mend it, and submit the list anew"
    );
    Failure::permanent(TaskReason::SourceUnreadable, message)
}

fn changed() -> Failure {
    Failure::permanent(TaskReason::SourceChanged, "the list changed while it was read; submit it anew")
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::PackedTasks;

    use super::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Blake3, Algorithm::Md5];

    fn tagged(etag: &str) -> ObjectIdentity {
        ObjectIdentity { etag: etag.to_owned(), ..ObjectIdentity::default() }
    }

    fn part(bytes: &[u8], last: bool) -> TextPart {
        TextPart { bytes: bytes.to_vec(), last, identity: tagged("a") }
    }

    /// Lists a text in parts of so many bytes and pages of so many tasks. Gives the URIs' number and bytes, and the pages.
    fn list_all(text: &[u8], part_bytes: usize, max_tasks: usize) -> Result<(u32, usize), Failure> {
        let (mut cursor, mut tasks, mut pages) = (Vec::new(), 0, 0);
        loop {
            let mut page = Page::new(max_tasks, 1 << 20, &cursor);
            let from = Cursor::decode(&cursor)?;
            let rest = &text[from.offset as usize..];
            let bytes = &rest[..rest.len().min(part_bytes)];
            list(&from, &part(bytes, bytes.len() == rest.len()), &ALGORITHMS, &mut page)?;
            let page = page.finish(Ok(()))?;
            tasks += page.batch.map_or(0, |batch| batch.task_count);
            pages += 1;
            if page.end {
                return Ok((tasks, pages));
            }
            assert_ne!(page.cursor, cursor, "it goes on");
            cursor = page.cursor.to_vec();
        }
    }

    #[test]
    fn every_line_is_an_object_however_the_text_is_cut_into_parts_and_pages() {
        let text = b"s3://bucket/a\nfile:///b\r\n\n\r\nhttps://host/c?d=e\ns3://bucket/a\ns3://bucket/last";
        for part_bytes in 24..=text.len() {
            for max_tasks in 1..=6 {
                let (tasks, _) = list_all(text, part_bytes, max_tasks).unwrap();
                assert_eq!(tasks, 5, "{part_bytes} {max_tasks}");
            }
        }
        assert_eq!(list_all(text, text.len(), 2).unwrap(), (5, 3));
        assert_eq!(list_all(b"", 10, 2).unwrap(), (0, 1));
        assert_eq!(list_all(b"\n\n\n", 1, 2).unwrap().0, 0);
        assert_eq!(list_all(b"s3://bucket/a\n", 14, 2).unwrap().0, 1);
    }

    #[test]
    fn a_line_of_a_manifest_says_which_digest_is_expected_of_the_submissions_algorithms() {
        let uri = "s3://bucket/a(b)%20c";
        let (long, short) = ("ab".repeat(32), "cd".repeat(16));
        let expecting = |algorithm, digits: &str| Some((algorithm, hex::decode(digits).unwrap()));
        for (line, expected) in [
            (format!("{long}  {uri}"), expecting(Algorithm::Sha256, &long)),
            (format!("{} *{uri}", short.to_uppercase()), expecting(Algorithm::Md5, &short)),
            (format!("SHA256 ({uri}) = {long}"), expecting(Algorithm::Sha256, &long)),
            (format!("BLAKE3 ({uri}) = {long}"), expecting(Algorithm::Blake3, &long)),
            (uri.to_owned(), None),
        ] {
            assert_eq!(Entry::of(line.as_bytes(), &ALGORITHMS), Some(Entry { uri, expected }), "{line}");
        }
        for line in [
            // Of no algorithm that is computed.
            format!("{}  {uri}", "ab".repeat(20)),
            format!("SHA1 ({uri}) = {}", "ab".repeat(20)),
            format!("SHA256 ({uri}) = {short}"),
            format!("NONE ({uri}) = {long}"),
            // No line of a manifest.
            format!("{long} {uri}"),
            format!("{long}  name"),
            format!("{long}  upload://t/0123456789abcdef0123456789abcdef"),
            format!("\\{long}  {uri}"),
            format!("zz  {uri}"),
            format!("SHA256 ({uri}) {long}"),
            format!(" {uri}"),
            long.clone(),
        ] {
            assert_eq!(Entry::of(line.as_bytes(), &ALGORITHMS), None, "{line}");
        }

        // Digests of one object are one task's; the same once more is another's.
        let text = format!("{long}  {uri}\n{short}  {uri}\n{long}  {uri}\n{uri}\n{long}  s3://bucket/b\n");
        let mut page = Page::new(9, 1 << 20, b"");
        list(&Cursor::decode(b"").unwrap(), &part(text.as_bytes(), true), &ALGORITHMS, &mut page).unwrap();
        let batch = page.finish(Ok(())).unwrap().batch.unwrap();
        let tasks = PackedTasks::decode(batch.tasks).unwrap();
        assert_eq!((batch.task_count, &*tasks.expected_counts), (4, &[2, 1, 0, 1][..]));
        let [sha256, md5] = [Algorithm::Sha256, Algorithm::Md5].map(i32::from);
        assert_eq!(tasks.expected_algorithms, [sha256, md5, sha256, sha256]);
        assert_eq!(tasks.expected.len(), 3 * 32 + 16);

        // Wherever a part of the text ends.
        let text = (0..20).map(|object| format!("{long}  s3://bucket/{object}\n{short}  s3://bucket/{object}\n"));
        let text: String = text.collect();
        for part_bytes in 250..=400 {
            assert_eq!(list_all(text.as_bytes(), part_bytes, 9).unwrap().0, 20, "{part_bytes}");
        }
    }

    #[test]
    fn what_is_no_object_fails_the_listing_where_it_stands_rather_than_be_left_out() {
        let longest = format!("https://host/{}", "x".repeat(MAX_NAME_BYTES - 13));
        assert_eq!(list_all(longest.as_bytes(), PART_BYTES, 2).unwrap().0, 1);
        for line in [
            "/srv/a",
            "s3://bucket/a b",
            " s3://bucket/a",
            "# s3://bucket/a",
            "ftp://host/a",
            "list:s3://bucket/a",
            "upload://t/0123456789abcdef0123456789abcdef",
            "s3://bucket/\u{e4}",
            "https://user@host/",
            &format!("https://host/{}", "x".repeat(MAX_NAME_BYTES)),
        ] {
            let failure = list_all(format!("s3://bucket/a\n{line}\n").as_bytes(), PART_BYTES, 5).unwrap_err();
            assert_eq!((failure.reason, failure.retryable), ("SOURCE_UNREADABLE", false), "{line}");
            assert!(failure.message.contains("byte 14 "), "{}", failure.message);
        }
        let bytes = list_all(b"s3://bucket/a\n\xff\xfe\n", PART_BYTES, 5).unwrap_err();
        assert!(bytes.message.contains("byte 14 "), "{}", bytes.message);
        let endless = list_all(&[b'x'; 100], 50, 5).unwrap_err();
        assert!(endless.message.contains("byte 0 "), "{}", endless.message);
    }

    #[test]
    fn a_text_that_is_another_by_now_is_not_gone_on_with() {
        let text = b"s3://bucket/a\ns3://bucket/b\n";
        let mut page = Page::new(1, 1 << 20, b"");
        list(&Cursor::decode(b"").unwrap(), &part(text, true), &ALGORITHMS, &mut page).unwrap();
        let cursor = Cursor::decode(page.cursor()).unwrap();
        assert_eq!(cursor.offset, 14);
        let other = TextPart { identity: tagged("b"), ..part(&text[14..], true) };
        let failure = list(&cursor, &other, &ALGORITHMS, &mut Page::new(1, 1 << 20, b"")).unwrap_err();
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_CHANGED", false));
        let mut rest = Page::new(1, 1 << 20, page.cursor());
        list(&cursor, &part(&text[14..], true), &ALGORITHMS, &mut rest).unwrap();
        assert!(rest.finish(Ok(())).unwrap().end);
        for cursor in [&b"x"[..], &[0xff; 9]] {
            assert_eq!(Cursor::decode(cursor).unwrap_err().reason, "SOURCE_UNREADABLE");
        }
        // Whoever says no size contradicts nobody.
        let sized = |size| ObjectIdentity { size, ..tagged("a") };
        assert!(same(&sized(5), &sized(0)) && same(&sized(5), &sized(5)) && !same(&sized(5), &sized(6)));
    }
}
