//! Writing checksums.

use std::{io, ops::ControlFlow, os::unix::ffi::OsStrExt as _, path::Path};

use hashmesh::v1::Algorithm;
use hashmesh_hash::{Entry, Input};

use super::{
    names::Named,
    quote::quote,
    talk::{Talk, said},
};
use crate::verbs::manifest::{End, bsd, coreutils};

impl Entry for Named {
    fn input(&self) -> Input<'_> {
        match self {
            Self::File(path) => input(path),
            _ => Input::Nothing,
        }
    }
}

/// What a name stands for.
pub(super) fn input(path: &Path) -> Input<'_> {
    if path.as_os_str() == "-" { Input::Stdin } else { Input::File(path) }
}

/// Writes a line for each digest of each file.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) algorithms: Vec<Algorithm>,
    /// Lines say which algorithm they are of.
    pub(super) tag: bool,
    pub(super) binary: bool,
    pub(super) end: End,
}

impl Listing {
    pub(super) fn tell(&self, named: &Named, digests: Option<io::Result<&[u8]>>, talk: &mut Talk) -> ControlFlow<()> {
        match named {
            Named::File(path) => {
                let name = path.as_os_str().as_bytes();
                match digests {
                    Some(Ok(digests)) => self.put(name, digests, talk.lines()),
                    Some(Err(error)) => talk.complain_of(name, &said(&error)),
                    None => {}
                }
            }
            Named::Wrong(text) => talk.complain(text),
            Named::Trouble(path, why) => talk.complain_of(path.as_os_str().as_bytes(), why),
            Named::LeftOut(path, why) => {
                talk.note(&format!("{}: {why}", quote(path.as_os_str().as_bytes())));
            }
        }
        if talk.put() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn put(&self, name: &[u8], digests: &[u8], out: &mut Vec<u8>) {
        let mut rest = digests;
        for algorithm in &self.algorithms {
            let Some((digest, behind)) = rest.split_at_checked(algorithm.digest_bytes()) else { return };
            rest = behind;
            if self.tag {
                bsd::write_as(name, *algorithm, digest, self.end, out);
            } else {
                coreutils::write_as(name, digest, self.binary, self.end, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_line_for_each_digest() {
        let algorithms = vec![Algorithm::Crc32, Algorithm::Crc64nvme];
        let put = |tag, binary, end| {
            let mut out = Vec::new();
            Listing { algorithms: algorithms.clone(), tag, binary, end }.put(b"a\nb", &[1; 12], &mut out);
            String::from_utf8(out).unwrap()
        };
        let (first, second) = ("01".repeat(4), "01".repeat(8));
        assert_eq!(put(false, false, End::Line), format!("\\{first}  a\\nb\n\\{second}  a\\nb\n"));
        assert_eq!(put(false, true, End::Zero), format!("{first} *a\nb\0{second} *a\nb\0"));
        assert_eq!(put(true, true, End::Line), format!("\\CRC32 (a\\nb) = {first}\n\\CRC64NVME (a\\nb) = {second}\n"));
    }
}
