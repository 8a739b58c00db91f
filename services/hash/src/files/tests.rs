use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use hashmesh::v1::Algorithm;

use super::{
    board::{Board, Duty},
    large::{Large, What},
    run::Run,
    *,
};
use crate::{Recipe, digest_into};

#[derive(Debug)]
struct Named {
    path: Option<PathBuf>,
    recipe: usize,
}

impl Entry for Named {
    fn input(&self) -> Input<'_> {
        self.path.as_deref().map_or(Input::Nothing, Input::File)
    }

    fn recipe(&self) -> usize {
        self.recipe
    }
}

fn recipes() -> Vec<Recipe> {
    [vec![Algorithm::Sha256], vec![Algorithm::Md5, Algorithm::Blake3]]
        .map(|algorithms| Recipe::new(algorithms, 0).unwrap())
        .into()
}

fn named(path: impl Into<PathBuf>, recipe: usize) -> Named {
    Named { path: Some(path.into()), recipe }
}

/// What was named, and what was told of it.
type Told = (Option<PathBuf>, Option<Result<Vec<u8>, std::io::ErrorKind>>);

fn told(entries: Vec<Named>, threads: usize) -> Vec<Told> {
    let mut told = Vec::new();
    let recipes = recipes();
    digest_files(&recipes, threads.try_into().unwrap(), entries.into_iter(), |entry: Named, digests| {
        told.push((entry.path, digests.map(|read| read.map(<[u8]>::to_vec).map_err(|error| error.kind()))));
        std::ops::ControlFlow::Continue(())
    });
    told
}

fn file(directory: &Path, name: &str, bytes: usize) -> (PathBuf, Vec<u8>) {
    let path = directory.join(name);
    let content: Vec<u8> = (0..bytes).map(|place| (place * 31 + bytes) as u8).collect();
    fs::write(&path, &content).unwrap();
    (path, content)
}

fn digests(recipe: usize, content: &[u8]) -> Vec<u8> {
    let mut digests = Vec::new();
    digest_into(&recipes()[recipe], content, &mut digests);
    digests
}

#[test]
fn every_length_is_told_in_the_order_of_the_names_whatever_is_done_first() {
    let directory = tempfile::tempdir().unwrap();
    // Around the bounds: of small files, of pieces, of what is read before it is digested.
    let lengths = [0, 1, 65_535, 65_536, 65_537, 131_072, 262_143, 262_144, 1_000_000, 3, 4_000_000, 131_073];
    let files: Vec<_> = (0..600)
        .map(|number| {
            file(directory.path(), &number.to_string(), if number % 9 == 0 { lengths[number / 9 % 12] } else { number })
        })
        .collect();
    for threads in [1, 2, 5] {
        let entries = files.iter().enumerate().map(|(number, (path, _))| named(path, number % 2)).collect();
        let told = told(entries, threads);
        assert_eq!(told.len(), files.len());
        for (number, ((path, content), (told_path, told))) in files.iter().zip(told).enumerate() {
            assert_eq!(told_path.as_ref(), Some(path));
            assert_eq!(told, Some(Ok(digests(number % 2, content))), "{} bytes, {threads} threads", content.len());
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_in_its_place_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (small, content) = file(directory.path(), "small", 5);
    let (large, large_content) = file(directory.path(), "large", 200_000);
    let entries = || {
        vec![
            named(directory.path().join("none"), 0),
            named(&large, 0),
            named(directory.path(), 0),
            Named { path: None, recipe: 0 },
            named("/proc/self/mem", 0),
            named(&small, 0),
            named("/dev/null", 0),
            named(&small, 1),
        ]
    };
    for threads in [1, 4] {
        let told: Vec<_> = told(entries(), threads).into_iter().map(|(_, told)| told).collect();
        assert!(matches!(told[0], Some(Err(std::io::ErrorKind::NotFound))), "{told:?}");
        assert_eq!(told[1], Some(Ok(digests(0, &large_content))));
        assert!(matches!(told[2], Some(Err(std::io::ErrorKind::IsADirectory))), "{told:?}");
        assert_eq!(told[3], None);
        assert!(matches!(told[4], Some(Err(_))), "{told:?}");
        assert_eq!(told[5], Some(Ok(digests(0, &content))));
        assert_eq!(told[6], Some(Ok(digests(0, b""))));
        assert_eq!(told[7], Some(Ok(digests(1, &content))));
    }
}

#[test]
fn what_is_not_in_memory_is_asked_for_ahead_and_pipes_behind_it_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..50).map(|number| file(directory.path(), &number.to_string(), 100 * number)).collect();
    for (path, _) in &files {
        let file = fs::File::open(path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let (large, _) = file(directory.path(), "large", 100_000);
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Who opened the pipe would wake its writer, and then fail it.
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "through the pipe")
    });
    let missing = directory.path().join("missing");
    let others = [pipe.as_path(), &large, &missing, directory.path()];
    assert_eq!(small::ask_for(others.into_iter()), 0, "none of them is a small file");
    assert_eq!(small::ask_for(files.iter().map(|(path, _)| path.as_path())), files.len());
    let mut entries: Vec<_> = files.iter().map(|(path, _)| named(path, 0)).collect();
    entries.push(named(&pipe, 0));
    let told = told(entries, 1);
    for ((_, content), (_, told)) in files.iter().zip(&told) {
        assert_eq!(told, &Some(Ok(digests(0, content))));
    }
    assert_eq!(told.last().unwrap().1, Some(Ok(digests(0, b"through the pipe"))));
    writer.join().unwrap().unwrap();
}

#[test]
fn one_large_file_is_shared_by_the_threads_where_its_algorithms_gain_by_them() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing, less than a piece, exactly one, several and a rest.
    for length in [0, 100_000, 4 << 20, (13 << 20) + 4_711] {
        let (path, content) = file(directory.path(), "large", length);
        for algorithms in [&[Algorithm::Blake3][..], &[Algorithm::Sha256tree], &[Algorithm::Sha256, Algorithm::Md5]] {
            let recipe = Recipe::new(algorithms, 0).unwrap();
            assert!(recipe.gains_by_threads());
            let mut wanted = Vec::new();
            digest_into(&recipe, &content, &mut wanted);
            digest_files(&[recipe], 3.try_into().unwrap(), [named(&path, 0)].into_iter(), |_, read| {
                assert_eq!(read.unwrap().unwrap(), wanted, "{algorithms:?} of {length} bytes");
                std::ops::ControlFlow::Continue(())
            });
        }
    }
    assert!(!Recipe::new([Algorithm::Sha256], 0).unwrap().gains_by_threads());
}

#[test]
fn files_of_the_kernels_own_making_that_say_they_are_empty_are_read_to_their_end() {
    let content = fs::read("/proc/version").unwrap();
    let told = told(vec![named("/proc/version", 0)], 1);
    assert_eq!(told[0].1, Some(Ok(digests(0, &content))));
}

#[test]
fn pipes_are_read_to_their_end_and_hold_up_nobody_but_what_is_told_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let (small, content) = file(directory.path(), "small", 5);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let seen = AtomicUsize::new(0);
    let recipes = recipes();
    let entries = vec![named(&small, 0), named(path, 0), named(&small, 0)];
    std::thread::scope(|scope| {
        let (first, waits) = std::sync::mpsc::sync_channel(1);
        scope.spawn(move || {
            // Written only when what is before it was told.
            waits.recv().unwrap();
            writer.write_all(&[7; 300_000]).unwrap();
        });
        digest_files(&recipes, 2.try_into().unwrap(), entries.into_iter(), |_, read| {
            let wanted = [&content[..], &[7; 300_000], &content[..]][seen.load(Ordering::Relaxed)];
            assert_eq!(read.unwrap().unwrap(), digests(0, wanted));
            if seen.fetch_add(1, Ordering::Relaxed) == 0 {
                first.send(()).unwrap();
            }
            std::ops::ControlFlow::Continue(())
        });
    });
    assert_eq!(seen.into_inner(), 3);
}

#[test]
fn a_sink_that_breaks_off_is_told_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let (small, _) = file(directory.path(), "small", 5);
    let recipes = recipes();
    for threads in [1, 4] {
        let mut told = 0;
        // Without an end.
        let entries = std::iter::repeat_with(|| named(&small, 0));
        digest_files(&recipes, threads.try_into().unwrap(), entries, |_, _| {
            told += 1;
            if told == 1_000 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        });
        assert_eq!(told, 1_000);
    }
}

#[test]
fn a_panic_of_the_sink_ends_all_threads() {
    let directory = tempfile::tempdir().unwrap();
    let (small, _) = file(directory.path(), "small", 5);
    let recipes = recipes();
    let entries = std::iter::repeat_with(|| named(&small, 0));
    let run = || digest_files(&recipes, 4.try_into().unwrap(), entries, |_, _| panic!("for the test"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
}

/// Large files, as many as each thread is given that asks in turn, and whether a thread that has so many is given another.
fn shared(files: usize, threads: usize) -> (Vec<usize>, bool) {
    let board = Board::new(std::iter::empty::<Named>(), |_, _| std::ops::ControlFlow::Continue(()), threads);
    let Some(Duty::Take { number, .. }) = board.next() else { panic!("there is a source") };
    board.give_back(None);
    let entries = (0..files).map(|index| named(index.to_string(), 0)).collect();
    let large = |index: usize| Large { run: number, index, recipe: 0, what: What::Path(index.to_string().into()) };
    board.post(number, Run::new(entries), (0..files).map(large).collect());
    let mut given = Vec::new();
    let mut more = false;
    while let Some(duty) = (given.len() < threads).then(|| board.next()).flatten() {
        given.push(match duty {
            Duty::Read(large) => large.len(),
            Duty::ReadLast(_) => 1,
            Duty::Take { .. } | Duty::ReadStream(_) => panic!("there are large files only"),
        });
        more |= board.next_large(given[given.len() - 1]).is_some();
        if given.iter().sum::<usize>() == files {
            break;
        }
    }
    (given, more)
}

#[test]
fn large_files_are_shared_alike_whoever_comes_first() {
    assert_eq!(shared(8, 2), (vec![4, 4], false));
    assert_eq!(shared(5, 2), (vec![3, 2], false));
    assert_eq!(shared(3, 4), (vec![1, 1, 1], false));
    assert_eq!(shared(1, 2), (vec![1], false));
    // No more than lanes.
    assert_eq!(shared(100, 2), (vec![8, 8], false));
}

#[test]
fn who_reads_large_files_takes_another_once_all_have_their_share() {
    let board = Board::new(std::iter::empty::<Named>(), |_, _| std::ops::ControlFlow::Continue(()), 2);
    let Some(Duty::Take { number, .. }) = board.next() else { panic!("there is a source") };
    board.give_back(None);
    let large = |index: usize| Large { run: number, index, recipe: 0, what: What::Path(index.to_string().into()) };
    board.post(number, Run::new((0..18).map(|_| named("", 0)).collect()), (0..18).map(large).collect());
    assert!(matches!(board.next(), Some(Duty::Read(large)) if large.len() == 8));
    assert!(matches!(board.next(), Some(Duty::Read(large)) if large.len() == 8));
    // One of the eight has ended.
    assert!(board.next_large(7).is_some());
    board.have_read();
    // The other thread has its share to take: the one that is left.
    assert!(board.next_large(1).is_none());
    // It is not alone: another is read yet.
    assert!(matches!(board.next(), Some(Duty::Read(large)) if large.len() == 1));
}

/// So many bytes, of which each read gives an odd number; then its end, or an error.
#[derive(Debug)]
struct Odd<'a> {
    left: &'a [u8],
    fails: bool,
}

impl LargeInput for Odd<'_> {
    type Error = &'static str;

    fn fill(&mut self, room: &mut [u8]) -> Result<usize, Self::Error> {
        if self.left.is_empty() && self.fails {
            return Err("for the test");
        }
        let bytes = self.left.len().min(room.len()).min(99_999);
        let (read, left) = self.left.split_at(bytes);
        room[..bytes].copy_from_slice(read);
        self.left = left;
        Ok(bytes)
    }
}

#[test]
fn an_input_that_others_help_with_has_its_digests_and_none_if_it_cannot_be_read_to_its_end() {
    let content: Vec<u8> = (0..2 * Helpers::BYTES + 9).map(|place| (place * 31 + place / 1_000) as u8).collect();
    let helpers = Helpers::new("help", 3);
    let shared = Helpers::BYTES / 3;
    for recipe in recipes().into_iter().chain([Recipe::new([Algorithm::Blake3], 0).unwrap()]) {
        for length in [0, 1, 262_143, 262_144, 262_145, shared - 1, shared, shared + 1, content.len()] {
            let mut wanted = b"before".to_vec();
            let mut digests = wanted.clone();
            digest_into(&recipe, &content[..length], &mut wanted);
            let help = helpers.turn().unwrap();
            assert!(helpers.turn().is_none(), "one at a time");
            help.digest(&recipe, &mut Odd { left: &content[..length], fails: false }, &mut digests).unwrap();
            assert_eq!(digests, wanted, "{length} bytes");
            let mut fails = Odd { left: &content[..length], fails: true };
            assert_eq!(helpers.turn().unwrap().digest(&recipe, &mut fails, &mut digests), Err("for the test"));
            assert_eq!(digests, wanted, "nothing of it");
        }
    }
}

#[test]
fn inputs_side_by_side_have_their_digests_whichever_ends_or_fails_first() {
    let contents: Vec<Vec<u8>> = (0..12).map(|number| vec![number; number as usize * 70_001 % 300_000]).collect();
    let recipes = recipes();
    let mut buffer = vec![0; 64 * 1024];
    let mut lanes = SideBySide::new(&mut buffer);
    let (mut next, mut ended) = (contents.iter().enumerate(), Vec::new());
    loop {
        while lanes.len() < SideBySide::<Odd<'_>>::MOST
            && let Some((number, content)) = next.next()
        {
            lanes.begin(Odd { left: content, fails: number % 5 == 4 }, &recipes[number % 2]);
        }
        if lanes.is_empty() {
            break;
        }
        lanes.step(|input, hasher| {
            assert!(input.left.is_empty());
            let read = hasher.map(|hasher| {
                let mut digests = Vec::new();
                hasher.finalize_into(&mut digests);
                digests
            });
            ended.push(read);
        });
    }
    let mut wanted: Vec<_> = contents
        .iter()
        .enumerate()
        .map(|(number, content)| if number % 5 == 4 { Err("for the test") } else { Ok(digests(number % 2, content)) })
        .collect();
    ended.sort();
    wanted.sort();
    assert_eq!(ended, wanted);
}

#[test]
#[should_panic(expected = "2 inputs share 8191 bytes")]
fn inputs_that_have_no_room_are_no_inputs_at_their_end() {
    let mut buffer = vec![0; 8_191];
    let mut lanes = SideBySide::new(&mut buffer);
    for _ in 0..2 {
        lanes.begin(Odd { left: b"input", fails: false }, &recipes()[0]);
    }
    lanes.step(|_, _| ());
}
