//! Large files, one after another.

use std::{
    fs::File,
    io::{self, Read as _},
    sync::mpsc::sync_channel,
    thread,
};

use hashmesh_hash::MultiHasher;

use crate::{
    Item, Tree,
    digests::Digests,
    open::open,
    small::map,
    uring::{Ahead, Aligned},
};

/// Read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// The same without the page cache, which would read ahead.
const DIRECT_BYTES: usize = 1024 * 1024;
/// Under way at the same time.
const PIECES: usize = 4;

fn each(
    tree: &Tree,
    digests: &mut Digests,
    flags: i32,
    mut digest: impl FnMut(File, &Item, &mut MultiHasher) -> io::Result<()>,
) -> io::Result<()> {
    for item in &tree.large {
        let mut hasher = digests.begin();
        digest(open(item, flags)?, item, &mut hasher)?;
        digests.end(hasher);
    }
    Ok(())
}

pub(crate) fn read(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    each(tree, digests, 0, |file, _, hasher| read_pieces(file, &mut buffer, hasher))
}

/// `O_DIRECT`.
pub(crate) fn direct(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    let mut buffer = Aligned::new(DIRECT_BYTES);
    each(tree, digests, libc::O_DIRECT, |file, _, hasher| read_pieces(file, &mut buffer, hasher))
}

fn read_pieces(mut file: File, buffer: &mut [u8], hasher: &mut MultiHasher) -> io::Result<()> {
    loop {
        match file.read(buffer)? {
            0 => return Ok(()),
            bytes => hasher.update(&buffer[..bytes]),
        }
    }
}

/// A thread reads while this one digests: as hashmesh does with a file that is alone.
pub(crate) fn read_ahead(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    each(tree, digests, 0, |mut file, _, hasher| {
        let (full, filled) = sync_channel::<(Vec<u8>, usize)>(PIECES);
        let (empty, emptied) = sync_channel(PIECES);
        (0..PIECES).for_each(|_| empty.send(vec![0; PIECE_BYTES]).expect("room for it"));
        thread::scope(|scope| {
            let reader = scope.spawn(move || -> io::Result<()> {
                while let Ok(mut buffer) = emptied.recv() {
                    let bytes = file.read(&mut buffer)?;
                    if bytes == 0 || full.send((buffer, bytes)).is_err() {
                        break;
                    }
                }
                Ok(())
            });
            while let Ok((buffer, bytes)) = filled.recv() {
                hasher.update(&buffer[..bytes]);
                let _ended = empty.send(buffer);
            }
            reader.join().expect("no panic")
        })
    })
}

pub(crate) fn mapped(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    each(tree, digests, 0, |file, _, hasher| {
        if let Some(map) = map(&file)? {
            map.advise(memmap2::Advice::Sequential)?;
            map.chunks(PIECE_BYTES).for_each(|piece| hasher.update(piece));
        }
        Ok(())
    })
}

/// [`PIECES`] reads under way.
pub(crate) fn uring(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    let mut ahead = Ahead::new(PIECES, PIECE_BYTES)?;
    each(tree, digests, 0, |file, item, hasher| ahead.read(&file, item.bytes, |piece| hasher.update(piece)))
}

/// The same with `O_DIRECT`.
pub(crate) fn uring_direct(tree: &Tree, digests: &mut Digests) -> io::Result<()> {
    let mut ahead = Ahead::new(PIECES, DIRECT_BYTES)?;
    each(tree, digests, libc::O_DIRECT, |file, item, hasher| {
        ahead.read(&file, item.bytes, |piece| hasher.update(piece))
    })
}
