//! Small files, many of them: read whole, digested [`TOGETHER`] at a time.

use std::{fs::File, io, io::Read as _};

use memmap2::Mmap;

use crate::{
    Item, SMALL_BYTES, Tree,
    digests::Digests,
    open::{open, open_at},
    uring::Files,
};

pub(crate) const TOGETHER: usize = 128;

/// `open`, `fstat`, `read`, `close` each, into one buffer after another: as hashmesh does.
pub(crate) fn read(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    read_each(tree, digests, |item| open(item, 0))
}

/// The same with directories that are open.
pub(crate) fn read_at(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    read_each(tree, digests, |item| open_at(tree, item))
}

fn read_each(tree: &Tree, digests: &mut Digests, open: impl Fn(&Item) -> io::Result<File>) -> io::Result<()> {
    let mut buffer = vec![0; TOGETHER * (SMALL_BYTES as usize + 1)];
    let mut ends = Vec::with_capacity(TOGETHER);
    for items in tree.small.chunks(TOGETHER) {
        ends.clear();
        let mut filled = 0;
        for item in items {
            let mut file = open(item)?;
            let most = file.metadata()?.len() as usize + 1;
            let end = filled + most - 1;
            while filled < end {
                filled += file.read(&mut buffer[filled..filled + most])?;
            }
            ends.push(filled);
        }
        let begins = std::iter::once(&0).chain(&ends);
        digests.many(begins.zip(&ends).map(|(begin, end)| &buffer[*begin..*end]));
    }
    Ok(())
}

/// `mmap` and `munmap` instead of `read`.
pub(crate) fn mapped(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    for items in tree.small.chunks(TOGETHER) {
        let maps = items.iter().map(|item| map(&open(item, 0)?)).collect::<io::Result<Vec<_>>>()?;
        digests.many(maps.iter().map(|map| map.as_deref().unwrap_or_default()));
    }
    Ok(())
}

/// None: it is empty, and cannot be mapped.
pub(crate) fn map(file: &File) -> io::Result<Option<Mmap>> {
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: nobody shortens the files of this tree while it is measured. Others' files may be, which would end the process.
    Ok(Some(unsafe { Mmap::map(file)? }))
}

/// One system call for the `openat`, `read` and `close` of [`TOGETHER`] files, without asking how long they are.
pub(crate) fn uring(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    let mut files = Files::new(TOGETHER, SMALL_BYTES as usize)?;
    for items in tree.small.chunks(TOGETHER) {
        digests.many(files.read(tree, items)?);
    }
    Ok(())
}
