use std::{fs, path::Path};

use hashmesh::{
    queue::v1::Lease,
    tasks::{AllowedSource, file_uri},
    v1::PackedTasks,
};
use hashmesh_hash::{HashPool, PoolLimits, Recipe};
use prost::Message as _;

use super::*;
use crate::{
    delivery::test_grant,
    leases::LeaseRange,
    sources::{HELPED_FILE_BYTES, RemoteSettings},
};

#[test]
fn a_task_that_panics_fails_alone_and_may_be_tried_again() {
    let failed = catch_task::<()>(|| panic!("for the test"));
    let Err(ReadError::Failed(failure)) = failed else { panic!("wanted a failure, found {failed:?}") };
    assert_eq!((failure.reason, failure.retryable, failure.uncharged), ("WORKER_PANICKED", true, false));
}

#[test]
fn a_digest_is_found_among_the_concatenated_ones() {
    let algorithms = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256];
    let digests: Vec<u8> = (0..68).collect();
    assert_eq!(digest_of(Algorithm::Sha1, &algorithms, &digests), Some(&digests[16..36]));
    assert_eq!(digest_of(Algorithm::Blake3, &algorithms, &digests), None);
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let mut digest = Vec::new();
    digest_into(&Recipe::new([Algorithm::Sha256], 0).unwrap(), bytes, &mut digest);
    digest
}

/// A task, and what must become of it: its digest, that this is not the expected one, or the reason of its failure.
#[derive(Clone)]
struct Case {
    input: Vec<u8>,
    object: bool,
    range: (u64, u64),
    expected: Option<Vec<u8>>,
    outcome: Result<(OutcomeStatus, Vec<u8>), &'static str>,
}

impl Case {
    fn file(path: &Path, content: &[u8]) -> Self {
        let outcome = Ok((OutcomeStatus::Succeeded, sha256(content)));
        let input = file_uri(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())).into_bytes();
        Self { input, object: true, range: (0, 0), expected: None, outcome }
    }

    fn failing(path: &Path, reason: &'static str) -> Self {
        Self { outcome: Err(reason), ..Self::file(path, b"") }
    }
}

/// Works on a group of these tasks.
fn work(cases: &[Case], roots: &[&Path]) -> hashmesh::queue::v1::LeaseOutcomes {
    let work = group_of(cases, roots);
    let shelf = Arc::clone(&work.shelf);
    work.run().unwrap();
    let mut pieces = shelf.take();
    assert_eq!(pieces.len(), 1);
    pieces.remove(0).into_outcomes(&LeaseRange::default(), String::new(), true)
}

fn group_of(cases: &[Case], roots: &[&Path]) -> GroupWork {
    let expected = cases.iter().filter_map(|case| case.expected.as_ref());
    let tasks = PackedTasks {
        data: cases.iter().flat_map(|case| case.input.clone()).collect::<Vec<u8>>().into(),
        lengths: cases.iter().map(|case| case.input.len() as u32).collect(),
        kinds: cases.iter().map(|case| u8::from(case.object)).collect::<Vec<u8>>().into(),
        range_offsets: cases.iter().map(|case| case.range.0).collect(),
        range_lengths: cases.iter().map(|case| case.range.1).collect(),
        expected: expected.clone().flatten().copied().collect::<Vec<u8>>().into(),
        expected_algorithms: expected.map(|_| Algorithm::Sha256 as i32).collect(),
        expected_counts: cases.iter().map(|case| u8::from(case.expected.is_some())).collect::<Vec<u8>>().into(),
        ..PackedTasks::default()
    };
    let lease = Lease {
        tasks: tasks.encode_to_vec().into(),
        task_count: cases.len() as u32,
        algorithms: vec![Algorithm::Sha256 as i32],
        ..Lease::default()
    };
    let plan = Arc::new(Plan::new(&lease, 1).unwrap());
    let allowed: Vec<_> = roots.iter().map(|root| AllowedSource::from(root.to_path_buf())).collect();
    let pool = HashPool::new("test", 1, PoolLimits::new(1, 1 << 20)).unwrap();
    let sources = Sources::open(&allowed, &RemoteSettings::default(), None, pool, None).unwrap();
    let held = Arc::new(HeldLease::new(&lease, test_grant(1)));
    let group = Group { first: 0, count: cases.len(), data_start: 0, data_bytes: tasks.data.len(), remote: false };
    GroupWork {
        plan,
        memo: Arc::default(),
        group,
        held,
        sources: Arc::new(sources),
        shelf: Arc::default(),
        busy: Arc::default(),
        helpers: Some(Arc::new(Helpers::new("help", 2))),
        trust: Arc::default(),
        log: tracing::Span::none(),
    }
}

/// Has the system forget the bytes of a file, so that they are on the disk only, if they are on one.
fn forget(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[test]
fn each_of_a_group_of_files_of_all_kinds_has_its_own_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let write = |name: &str, bytes: usize| {
        let content: Vec<u8> = (0..bytes).map(|place| (place * 7 + bytes) as u8).collect();
        fs::write(root.join(name), &content).unwrap();
        Case::file(&root.join(name), &content)
    };
    let small = write("small", 1_000);
    let large = write("large", 700_000);
    let content = fs::read(root.join("small")).unwrap();
    let part = |offset: usize, length: usize| {
        let until = if length == 0 { content.len() } else { offset + length };
        Case { range: (offset as u64, length as u64), ..Case::file(&root.join("small"), &content[offset..until]) }
    };
    fs::create_dir(root.join("directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("outside")).unwrap();
    let inline = Case { input: b"inline".to_vec(), object: false, ..Case::file(&root, b"inline") };
    let mismatched = Case {
        expected: Some(vec![9; 32]),
        outcome: Ok((OutcomeStatus::Mismatched, sha256(&content))),
        ..small.clone()
    };
    let matched = Case { expected: Some(sha256(&content)), ..small.clone() };
    let kinds = [
        small.clone(),
        write("empty", 0),
        Case::failing(&root.join("none"), "SOURCE_NOT_FOUND"),
        write("most", 65_536),
        part(10, 20),
        part(900, 0),
        Case { range: (999, 2), ..Case::failing(&root.join("small"), "SOURCE_TOO_SHORT") },
        large.clone(),
        mismatched,
        // Says that it is empty, and is not.
        Case::failing(Path::new("/proc/version"), "SOURCE_CHANGED"),
        write("more", 65_537),
        matched,
        Case::failing(&root.join("directory"), "SOURCE_NOT_REGULAR"),
        inline,
        Case::failing(&root.join("outside"), "SOURCE_NOT_ALLOWED"),
        Case {
            range: (1, 600_000),
            ..Case::file(&root.join("large"), &fs::read(root.join("large")).unwrap()[1..600_001])
        },
        small,
    ];
    // In every rotation: each kind is once the first, the last, and beside every other. In memory, and on the disk only.
    for (rotation, in_memory) in (0..kinds.len()).flat_map(|rotation| [(rotation, true), (rotation, false)]) {
        let mut cases = kinds.to_vec();
        cases.rotate_left(rotation);
        if !in_memory {
            for entry in fs::read_dir(&root).unwrap() {
                forget(&entry.unwrap().path());
            }
        }
        let outcomes = work(&cases, &[&root, Path::new("/proc")]);
        assert_eq!(outcomes.task_count as usize, cases.len());
        for (place, case) in cases.iter().enumerate() {
            let (status, digest) = (outcomes.statuses[place], &outcomes.digests[place * 32..][..32]);
            match &case.outcome {
                Ok((wanted, wanted_digest)) => {
                    assert_eq!(
                        (i32::from(status), digest),
                        (*wanted as i32, &wanted_digest[..]),
                        "task {place}, rotation {rotation}"
                    );
                }
                Err(reason) => {
                    assert_eq!(i32::from(status), OutcomeStatus::Failed as i32, "{reason}");
                    let failure = outcomes.failures.iter().find(|failure| failure.offset as usize == place).unwrap();
                    assert_eq!(failure.error.as_ref().unwrap().reason, *reason);
                }
            }
        }
        let failed = cases.iter().filter(|case| case.outcome.is_err()).count();
        assert_eq!(outcomes.failures.len(), failed);
    }
}

#[test]
fn a_single_large_file_is_helped_with_by_threads_that_are_idle_and_by_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let write = |name: &str, bytes: u64| {
        let content: Vec<u8> = (0..bytes).map(|place| (place % 253) as u8).collect();
        fs::write(root.join(name), &content).unwrap();
        Case::file(&root.join(name), &content)
    };
    let cases = [write("helped", HELPED_FILE_BYTES), write("not", HELPED_FILE_BYTES - 1)];
    let work = group_of(&cases, &[&root]);
    let mut waiting = Waiting::new();
    let views: Vec<TaskView> = work.plan.tasks.views().unwrap().collect();
    let mut find = |number: usize| match work.begin(number, &views[number], &mut waiting, &mut Vec::new(), &mut || ()) {
        Ok(Found::Large(file)) => file,
        other => panic!("{other:?}"),
    };
    let (helped, not) = (find(0), find(1));
    assert!(work.help(&[&not]).is_none() && work.help(&[]).is_none(), "it is read sooner than a thread is started");
    assert!(work.help(&[&helped, &helped]).is_none(), "they are read side by side");
    let this = work.busy.enter(&work.held);
    let help = work.help(&[&helped]);
    assert!(help.is_some() && work.help(&[&helped]).is_none(), "one at a time");
    drop(help);
    let other = work.busy.enter(&work.held);
    assert!(work.help(&[&helped]).is_none(), "both threads are at work");
    drop((this, other));

    for cases in [&cases[..], &cases[..1], &cases[1..]] {
        let outcomes = self::work(cases, &[&root]);
        for (case, digest) in cases.iter().zip(outcomes.digests.chunks(32)) {
            assert_eq!(case.outcome, Ok((OutcomeStatus::Succeeded, digest.to_vec())));
        }
    }
}

#[test]
fn more_small_files_than_fit_the_buffer_are_each_digested() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let cases: Vec<Case> = (0..32_usize)
        .map(|number| {
            let content = vec![number as u8; 60_000 + number * 150];
            fs::write(root.join(number.to_string()), &content).unwrap();
            Case::file(&root.join(number.to_string()), &content)
        })
        .collect();
    let outcomes = work(&cases, &[&root]);
    assert!(outcomes.statuses.is_empty(), "all succeeded");
    for (case, digest) in cases.iter().zip(outcomes.digests.chunks(32)) {
        assert_eq!(case.outcome, Ok((OutcomeStatus::Succeeded, digest.to_vec())));
    }
    let sizes: Vec<u64> = cases.iter().enumerate().map(|(number, _)| 60_000 + number as u64 * 150).collect();
    assert_eq!(outcomes.hashed_bytes, sizes.iter().sum::<u64>());
    assert_eq!(outcomes.identities.unwrap().sizes, sizes);
}
