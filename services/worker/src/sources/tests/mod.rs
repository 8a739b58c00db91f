//! Reading files below roots; [`large`]: large ones; [`fences`]: what stays unread.

mod fences;
mod large;

use std::{
    cell::Cell,
    ffi::OsStr,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
};

use hashmesh::{
    tasks::file_uri,
    v1::{Algorithm, TenantSources},
};
use hashmesh_hash::{HashPool, MultiHasher, PoolLimits, digest_into};
use rustix::fs::{Advice, CWD, FileType, Mode, fadvise, mknodat};
use tempfile::TempDir;

use super::*;
use crate::config::{BUFFER_BYTES, SMALL_FILE_BYTES, SMALL_FILES_BYTES};

fn recipe() -> Recipe {
    Recipe::new([Algorithm::Sha256, Algorithm::Md5], 0).unwrap()
}

fn open(roots: &[PathBuf]) -> Result<Sources, SourcesError> {
    let allowed: Vec<_> = roots.iter().cloned().map(AllowedSource::from).collect();
    let pool = HashPool::new("test", 1, PoolLimits::new(1, 1 << 20)).unwrap();
    Sources::open(&allowed, &RemoteSettings::default(), None, pool, None)
}

/// A root with something beside it that must never be read.
struct Tree {
    base: TempDir,
    sources: Sources,
}

impl Tree {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("root")).unwrap();
        fs::write(base.path().join("secret"), "secret").unwrap();
        let sources = open(&[base.path().join("root")]).unwrap();
        Self { base, sources }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("root").join(name)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn digest(&self, name: impl AsRef<Path>, range: Option<ByteRange>) -> Result<(Vec<u8>, u64), ReadError> {
        self.digest_watched(name, range, &|_| true)
    }

    fn digest_watched(
        &self,
        name: impl AsRef<Path>,
        range: Option<ByteRange>,
        watch: &dyn Fn(u64) -> bool,
    ) -> Result<(Vec<u8>, u64), ReadError> {
        let uri = file_uri(self.path(name).as_os_str().as_bytes());
        self.digest_uri(uri.as_bytes(), range, watch)
    }

    fn digest_uri(
        &self,
        uri: &[u8],
        range: Option<ByteRange>,
        watch: &dyn Fn(u64) -> bool,
    ) -> Result<(Vec<u8>, u64), ReadError> {
        let recipe = recipe();
        read(
            &self.sources,
            Wanted { uri, range, algorithms: &recipe, allowed: None, known: None, listed: None, keeps: false },
            watch,
        )
    }

    fn failure(&self, name: impl AsRef<Path>) -> Failure {
        failed(self.digest(name, None))
    }
}

fn read(sources: &Sources, wanted: Wanted<'_>, watch: &dyn Fn(u64) -> bool) -> Result<(Vec<u8>, u64), ReadError> {
    let (mut digests, mut inputs) = (Vec::new(), SmallInputs::new(SMALL_FILES_BYTES));
    // Another's, before it.
    inputs.keep(7);
    let algorithms = wanted.algorithms;
    let found = sources.read(wanted, &mut inputs, &mut digests, &Watch(watch), &mut || ());
    let read = found.and_then(|found| match found {
        Found::Known(read) => Ok(read),
        Found::Small(read) => {
            assert_eq!(inputs.len(), 2);
            digest_into(algorithms, inputs.iter().nth(1).unwrap(), &mut digests);
            Ok(read)
        }
        Found::Large(file) => match read_side_by_side(&[&file], algorithms, &Watch(watch)) {
            Ok(mut read) => {
                let (read, computed) = read.remove(0).map_err(ReadError::Failed)?;
                digests.extend(computed);
                Ok(read)
            }
            Err(Cancelled) => Err(ReadError::Cancelled),
        },
    });
    assert!(read.is_ok() || (digests.is_empty() && inputs.len() == 1), "a failed read leaves nothing behind");
    Ok((digests, read?.hashed_bytes))
}

/// All of it, whoever asks.
fn read_all(sources: &Sources, uri: &str) -> Result<(Vec<u8>, u64), ReadError> {
    read(sources, all_of(uri, &recipe()), &|_| true)
}

fn all_of<'a>(uri: &'a str, algorithms: &'a Recipe) -> Wanted<'a> {
    let uri = uri.as_bytes();
    Wanted { uri, range: None, algorithms, allowed: None, known: None, listed: None, keeps: false }
}

struct Watch<'a>(&'a dyn Fn(u64) -> bool);

impl Progress for Watch<'_> {
    fn read(&self, bytes: u64) -> bool {
        (self.0)(bytes)
    }
}

fn failed(result: Result<(Vec<u8>, u64), ReadError>) -> Failure {
    match result {
        Err(ReadError::Failed(failure)) => failure,
        other => panic!("wanted a failure, found {other:?}"),
    }
}

fn digests_of(bytes: &[u8]) -> Vec<u8> {
    let mut digests = Vec::new();
    hashmesh_hash::digest_many(&recipe(), std::iter::once(bytes), &mut digests).unwrap();
    digests
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

fn range(offset: u64, length: u64) -> Option<ByteRange> {
    Some(ByteRange { offset, length })
}

#[test]
fn files_around_every_size_of_the_buffer_have_the_digests_of_their_bytes() {
    let tree = Tree::new();
    let around = |bytes: usize| [bytes - 1, bytes, bytes + 1];
    let lengths = [around(1), around(SMALL_FILE_BYTES), around(BUFFER_BYTES), around(3 * BUFFER_BYTES)];
    for length in lengths.into_iter().flatten() {
        let bytes = pattern(length);
        tree.write("file", &bytes);
        let (digests, hashed_bytes) = tree.digest("file", None).unwrap();
        assert_eq!((digests, hashed_bytes), (digests_of(&bytes), length as u64), "{length} bytes");
    }
}

#[test]
fn names_that_are_not_utf8_and_names_with_every_hostile_byte_are_read() {
    let tree = Tree::new();
    for name in [b"\xff\xfe".as_slice(), b"a\nb\\c d%2F", b"-", b"...", b"..x"] {
        let name = OsStr::from_bytes(name);
        tree.write(name, b"x");
        assert_eq!(tree.digest(name, None).unwrap().0, digests_of(b"x"), "{name:?}");
    }
}

#[test]
fn ranges_are_exact_and_may_not_end_behind_the_file() {
    let tree = Tree::new();
    let length = 2 * BUFFER_BYTES + 10;
    let bytes = pattern(length);
    tree.write("file", &bytes);
    let end = length as u64;
    for (offset, count) in [(0, 1), (5, 0), (end - 1, 1), (end, 0), (0, end), (3, end - 3), (7, BUFFER_BYTES as u64)] {
        let until = if count == 0 { end } else { offset + count };
        let wanted = digests_of(&bytes[offset as usize..until as usize]);
        assert_eq!(tree.digest("file", range(offset, count)).unwrap(), (wanted, until - offset), "{offset}+{count}");
    }
    for (offset, count) in [(end, 1), (0, end + 1), (end + 1, 0), (1, end), (u64::MAX, 1), (1, u64::MAX)] {
        let failure = failed(tree.digest("file", range(offset, count)));
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_TOO_SHORT", false), "{offset}+{count}");
    }
}

#[test]
fn a_file_that_grows_shrinks_or_is_rewritten_while_it_is_read_has_no_digest() {
    let length = 4 * BUFFER_BYTES;
    for change in ["grow", "shrink", "rewrite", "touch"] {
        let tree = Tree::new();
        tree.write("file", &pattern(length));
        let path = tree.path("file");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let done = Cell::new(false);
        let watch = |_| {
            if !done.replace(true) {
                let file = File::options().write(true).open(&path).unwrap();
                match change {
                    "grow" => file.set_len(length as u64 + 1).unwrap(),
                    "shrink" => file.set_len(length as u64 - 1).unwrap(),
                    "rewrite" => std::os::unix::fs::FileExt::write_all_at(&file, b"!", length as u64 - 1).unwrap(),
                    _ => file.set_modified(old + std::time::Duration::from_secs(1)).unwrap(),
                }
            }
            true
        };
        let failure = failed(tree.digest_watched("file", None, &watch));
        assert_eq!((failure.reason, failure.retryable, failure.uncharged), ("SOURCE_CHANGED", true, false), "{change}");
    }
}

#[test]
fn a_file_whose_size_is_not_what_it_says_has_no_digest() {
    // procfs: regular, of size 0, with content.
    let sources = open(&[PathBuf::from("/proc/sys/kernel")]).unwrap();
    let read = read_all(&sources, "file:///proc/sys/kernel/ostype");
    assert!(matches!(read, Err(ReadError::Failed(Failure { reason: "SOURCE_CHANGED", .. }))), "{read:?}");
}

/// What that had disks read for this thread, in bytes. None: pages of the program itself were read, too, and counted.
fn read_from_disks(act: impl FnOnce()) -> Option<u64> {
    // The twelfth field of `stat` counts the faults that waited for a disk; the tenth behind the program's name.
    let counters = || {
        let [io, stat] = ["io", "stat"].map(|name| fs::read_to_string(format!("/proc/thread-self/{name}")).unwrap());
        let bytes: u64 = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap();
        let faults = stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(9)).unwrap().to_string();
        (bytes, faults)
    };
    let before = counters();
    act();
    let after = counters();
    (after.1 == before.1).then(|| after.0 - before.0)
}

#[test]
fn before_the_disk_is_waited_for_that_is_told_and_a_small_file_that_is_asked_for_is_read_from_it() {
    let tree = Tree::new();
    let bytes = pattern(SMALL_FILE_BYTES);
    let uris = ["one", "two", "large"].map(|name| {
        tree.write(name, &bytes);
        let file = File::options().append(true).open(tree.path(name)).unwrap();
        file.set_len((SMALL_FILE_BYTES + usize::from(name == "large")) as u64).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        file_uri(tree.path(name).as_os_str().as_bytes())
    });
    let (recipe, mut inputs, mut waits) = (recipe(), SmallInputs::new(3 * SMALL_FILE_BYTES), 0);
    let mut read = || {
        let from_disks = read_from_disks(|| {
            let wanted = all_of(&uris[0], &recipe);
            tree.sources.read(wanted, &mut inputs, &mut Vec::new(), &Watch(&|_| true), &mut || waits += 1).unwrap();
        });
        (from_disks, waits)
    };
    let (from_disks, waited) = read();
    // Not every file system is on a disk, or can say that it would have to wait.
    assert!(waited == 0 || from_disks.is_none_or(|read| read >= bytes.len() as u64), "{waited} {from_disks:?}");
    let (from_disks, now) = read();
    assert!(now == waited && from_disks.is_none_or(|read| read == 0), "it is in memory: {waited} {now} {from_disks:?}");
    assert!(inputs.iter().eq([bytes.as_slice(); 2]));

    let asked = |uri: &String| read_from_disks(|| tree.sources.ask_for(&all_of(uri, &recipe)));
    let from_disks = asked(&uris[1]);
    assert!(
        waited == 0 || from_disks.is_none_or(|read| read >= bytes.len() as u64),
        "as much as one that is read: {from_disks:?}"
    );
    let from_disks = [&uris[1], &uris[2]].map(asked);
    assert!(
        from_disks.iter().flatten().all(|read| *read == 0),
        "one is in memory, and a large one is left alone: {from_disks:?}"
    );
}

#[test]
fn reading_stops_at_the_next_buffer_when_it_is_told_to() {
    let tree = Tree::new();
    tree.write("file", &pattern(4 * BUFFER_BYTES));
    let reads = Cell::new(0);
    let watch = |_| {
        reads.set(reads.get() + 1);
        reads.get() < 2
    };
    assert!(matches!(tree.digest_watched("file", None, &watch), Err(ReadError::Cancelled)));
    assert_eq!(reads.get(), 2);
}

#[test]
fn whatever_is_no_regular_file_is_refused_without_blocking() {
    let tree = Tree::new();
    mknodat(CWD, tree.path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(tree.path("socket")).unwrap();
    fs::create_dir(tree.path("dir")).unwrap();
    for name in ["fifo", "socket", "dir", "", "."] {
        let failure = tree.failure(name);
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_REGULAR", false), "{name}");
    }
}

#[test]
fn what_is_missing_is_not_found_and_is_not_tried_again() {
    let tree = Tree::new();
    tree.write("file", b"");
    let long = "x".repeat(256);
    for name in ["nothing", "nothing/below", "file/below", long.as_str()] {
        let failure = tree.failure(name);
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_FOUND", false), "{name}");
    }
}

#[test]
fn a_root_that_is_missing_or_no_directory_names_the_flag() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [base.path().join("nothing"), file] {
        let error = open(&[path]).unwrap_err();
        assert!(error.to_string().starts_with("--allow-source "), "{error}");
    }
}

#[test]
fn no_way_of_writing_a_path_leads_out_of_the_root() {
    let tree = Tree::new();
    tree.write("file", b"x");
    fs::create_dir(tree.path("dir")).unwrap();
    for (target, link) in [
        ("../secret", "up"),
        ("dir/../../secret", "round"),
        ("./././../secret", "dots"),
        ("/proc/self/cwd", "cwd"),
        ("/proc/self/root", "root"),
        ("/dev/fd", "fds"),
        ("up", "chain"),
        ("chain", "longer"),
        ("..", "dir/parent"),
        ("../..", "dir/grandparent"),
        ("/", "slash"),
    ] {
        symlink(target, tree.path(link)).unwrap();
    }
    let secret = tree.base.path().canonicalize().unwrap().join("secret");
    symlink(&secret, tree.path("absolute")).unwrap();
    let out = secret.display().to_string();
    let below = [
        "../secret",
        "/../secret",
        "./../secret",
        "dir/../../secret",
        "dir/../../root/../secret",
        "%2e%2e/secret",
        "%2E%2E/secret",
        ".%2e/secret",
        "%2e./secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "..\\secret",
        "%2e%2e%5csecret",
        "%252e%252e/secret",
        "%252e%252e%252fsecret",
        "..%252fsecret",
        "..%c0%afsecret",
        "%c0%ae%c0%ae/secret",
        "%e0%80%ae%e0%80%ae/secret",
        "%uff0e%uff0e/secret",
        "\u{ff0e}\u{ff0e}/secret",
        "....//secret",
        "..../secret",
        "...//secret",
        "..;/secret",
        "..%3b/secret",
        "..%00/secret",
        "..%0d/secret",
        "..%20/secret",
        ".. /secret",
        "file%00",
        "file%00.txt",
        "file/",
        "file/.",
        "file/..",
        "file/../../secret",
        "dir//..//..//secret",
        "dir/./../../secret",
        "up",
        "round",
        "dots",
        "chain",
        "longer",
        "absolute",
        "cwd/secret",
        "cwd/../secret",
        "root/etc/passwd",
        "fds/0",
        "slash/etc/passwd",
        "dir/parent/../secret",
        "dir/grandparent/secret",
        "dir/grandparent/root/../secret",
        "~/secret",
        "$HOME",
        "${PWD}/../secret",
        "*",
        "?ecret",
        "file?x",
        "file#x",
        "%",
        "%2",
        "%zz",
        "\n",
        "",
        ".",
        "..",
        "dir",
    ];
    let root = format!("file://{}", tree.path("").display());
    let others = [
        "/etc/passwd".to_owned(),
        format!("file:{out}"),
        format!("file:/{out}"),
        format!("file://localhost{out}"),
        format!("file://127.0.0.1{out}"),
        format!("file:////{out}"),
        format!("FILE://{out}"),
        format!("file://{out}"),
        format!("file://{out}/"),
        "file:///proc/self/environ".to_owned(),
        "file:///dev/stdin".to_owned(),
        "file:///".to_owned(),
        format!("{root}../secret"),
        format!("{}/../secret", root.trim_end_matches('/')),
        format!("{}-other/file", root.trim_end_matches('/')),
    ];
    let uris: Vec<String> =
        below.iter().map(|path| format!("{}/{path}", root.trim_end_matches('/'))).chain(others).collect();
    assert!(uris.len() >= 60, "{}", uris.len());
    let known =
        ["SOURCE_NOT_ALLOWED", "SOURCE_NOT_FOUND", "SOURCE_NOT_REGULAR", "SOURCE_DENIED", "CANNOT_REACH_SOURCE"];
    for uri in uris {
        let failure = match tree.digest_uri(uri.as_bytes(), None, &|_| true) {
            Err(ReadError::Failed(failure)) => failure,
            // To name a file twice over is no way out.
            Ok((digests, _)) => {
                assert_eq!(digests, digests_of(b"x"), "{uri}");
                continue;
            }
            other => panic!("{uri}: {other:?}"),
        };
        assert!(known.contains(&failure.reason), "{uri}: {failure:?}");
        assert!(!failure.message.contains("secret") && !failure.message.contains(&out), "{uri}: {failure:?}");
    }
}
