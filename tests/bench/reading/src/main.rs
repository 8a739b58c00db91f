//! `bench-reading DIRECTORY ROUNDS`: SHA-256 of every file of a tree by one thread, read in every way that Linux has. Those of up to
//! 64 KiB are read whole and digested 128 at a time, others one after another in pieces. First from the page cache, then, with the
//! pages of every file given up before each run, from the disk (names and inodes stay in memory).
//!
//! The ways take turns, and each must come to the same digests.

mod digests;
mod large;
mod open;
mod small;
mod uring;

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::Instant,
};

use digests::Digests;

/// What is larger is read in pieces.
const SMALL_BYTES: u64 = 64 * 1024;

/// A file of the tree. Its directory is open, as for a walk.
struct Item {
    path: CString,
    /// In its directory.
    name: CString,
    directory: usize,
    bytes: u64,
}

/// The tree: its directories, and its files in the order of their names.
#[derive(Default)]
struct Tree {
    directories: Vec<File>,
    small: Vec<Item>,
    large: Vec<Item>,
}

type Way = (&'static str, fn(&Tree, &mut Digests) -> io::Result<()>);

const SMALL_WAYS: [Way; 4] =
    [("read", small::read), ("read, openat", small::read_at), ("mmap", small::mapped), ("io_uring", small::uring)];
const LARGE_WAYS: [Way; 6] = [
    ("read", large::read),
    ("read ahead", large::read_ahead),
    ("mmap", large::mapped),
    ("io_uring", large::uring),
    ("direct", large::direct),
    ("direct, io_uring", large::uring_direct),
];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = || io::Error::other("usage: bench-reading DIRECTORY ROUNDS");
    let root = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let rounds = arguments.next().and_then(|text| text.to_str()?.parse().ok()).ok_or_else(usage)?;
    let mut tree = Tree::default();
    collect(&root, &mut tree)?;
    println!("kernels: {}", hashmesh_hash::kernel());
    for (kind, items, ways) in [("small", &tree.small, &SMALL_WAYS[..]), ("large", &tree.large, &LARGE_WAYS[..])] {
        if items.is_empty() {
            continue;
        }
        for cached in [true, false] {
            measure(&tree, kind, items, ways, cached, rounds)?;
        }
    }
    Ok(())
}

fn collect(directory: &Path, tree: &mut Tree) -> io::Result<()> {
    let number = tree.directories.len();
    tree.directories.push(File::open(directory)?);
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            collect(&path, tree)?;
        } else if kind.is_file() {
            let bytes = entry.metadata()?.len();
            let name = CString::new(entry.file_name().as_bytes())?;
            let item = Item { path: CString::new(path.as_os_str().as_bytes())?, name, directory: number, bytes };
            if bytes <= SMALL_BYTES { tree.small.push(item) } else { tree.large.push(item) }
        }
    }
    Ok(())
}

fn measure(tree: &Tree, kind: &str, items: &[Item], ways: &[Way], cached: bool, rounds: usize) -> io::Result<()> {
    let bytes: u64 = items.iter().map(|item| item.bytes).sum();
    let mut seconds = vec![Vec::new(); ways.len()];
    let mut wanted = None;
    for round in 0..=rounds {
        for turn in 0..ways.len() {
            let place = (round + turn) % ways.len();
            let (name, way) = ways[place];
            if !cached {
                give_up_pages(items)?;
            }
            let mut digests = Digests::new();
            let began = Instant::now();
            way(tree, &mut digests)?;
            let took = began.elapsed().as_secs_f64();
            let found = digests.all();
            assert_eq!(*wanted.get_or_insert(found), found, "{name} read something else");
            // The first brings everything into the page cache.
            if round > 0 {
                seconds[place].push(took);
            }
        }
    }
    let from = if cached { "the page cache" } else { "the disk" };
    println!("\n{} {kind} files, {:.1} MB, from {from}", items.len(), bytes as f64 / 1e6);
    println!("{:>18} {:>9} {:>9} {:>9} {:>12} {:>7}", "", "best s", "median s", "MB/s", "files/s", "x read");
    let medians: Vec<f64> = seconds.iter_mut().map(|seconds| median(seconds)).collect();
    for (place, (name, _)) in ways.iter().enumerate() {
        let (best, median) = (seconds[place][0], medians[place]);
        let (rate, files) = (bytes as f64 / median / 1e6, items.len() as f64 / median);
        println!("{name:>18} {best:>9.3} {median:>9.3} {rate:>9.0} {files:>12.0} {:>7.2}", medians[0] / median);
    }
    Ok(())
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// What is dirty stays; so it is written first.
fn give_up_pages(items: &[Item]) -> io::Result<()> {
    for item in items {
        let file = File::open(OsStr::from_bytes(item.path.as_bytes()))?;
        file.sync_all()?;
        // SAFETY: the descriptor is open.
        let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
    }
    Ok(())
}
