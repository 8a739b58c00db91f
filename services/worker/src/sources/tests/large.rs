//! Large files: through a fixed buffer, several side by side.

use hashmesh::v1::Algorithm;
use hashmesh_hash::Helpers;

use super::*;

#[test]
fn a_big_sparse_file_is_read_through_the_fixed_buffer_and_its_progress_rises() {
    const LENGTH: u64 = 64 * 1024 * 1024;
    let tree = Tree::new();
    File::create(tree.path("sparse")).unwrap().set_len(LENGTH).unwrap();
    let (reads, read_bytes) = (Cell::new(0_u32), Cell::new(0));
    let watch = |bytes| {
        reads.set(reads.get() + 1);
        read_bytes.set(read_bytes.get() + bytes);
        assert!(bytes <= BUFFER_BYTES as u64);
        true
    };
    let (digests, hashed_bytes) = tree.digest_watched("sparse", None, &watch).unwrap();
    assert_eq!((hashed_bytes, read_bytes.get()), (LENGTH, LENGTH));
    assert!(reads.get() >= 256);
    let mut hasher = MultiHasher::new(&recipe());
    (0..64).for_each(|_| hasher.update(&vec![0; 1024 * 1024]));
    let mut wanted = Vec::new();
    hasher.finalize_into(&mut wanted);
    assert_eq!(digests, wanted);
}

#[test]
fn each_of_large_files_side_by_side_has_its_own_digest_and_one_that_changes_has_none() {
    let tree = Tree::new();
    // Ends within a piece, at its end and behind it, for every number of files under way.
    let lengths = [65_537, BUFFER_BYTES, 3 * BUFFER_BYTES + 1, 100_000, 2_000_003, 8 * 32_768, 87_381, 1_000_000];
    let contents = lengths.map(|length| pattern(length + 3)[3..].to_vec());
    let names: Vec<String> = (0..lengths.len()).map(|number| number.to_string()).collect();
    let recipe = recipe();
    for count in 1..=SIDE_BY_SIDE {
        for changed in [None, Some(0), Some(count - 1)] {
            names.iter().zip(&contents).for_each(|(name, content)| tree.write(name, content));
            let files: Vec<_> = names[..count].iter().map(|name| found(&tree, name, &recipe)).collect();
            let grown = Cell::new(false);
            let watch = |_| {
                if let Some(number) = changed
                    && !grown.replace(true)
                {
                    let file = File::options().write(true).open(tree.path(&names[number])).unwrap();
                    file.set_len(lengths[number] as u64 + 1).unwrap();
                }
                true
            };
            let files: Vec<&LargeFile> = files.iter().map(|file| &**file).collect();
            let read = read_side_by_side(&files, &recipe, &Watch(&watch)).unwrap();
            assert_eq!(read.len(), count);
            for (number, read) in read.into_iter().enumerate() {
                let read = read.map(|(read, digests)| (read.hashed_bytes, digests));
                match changed == Some(number) {
                    false => assert_eq!(read, Ok((lengths[number] as u64, digests_of(&contents[number]))), "{number}"),
                    true => assert_eq!(read.unwrap_err().reason, "SOURCE_CHANGED", "{number} of {count}"),
                }
            }
        }
    }
}

#[test]
fn a_large_file_that_others_help_with_has_its_digest_and_none_if_it_changes_or_nobody_wants_it() {
    let tree = Tree::new();
    let helpers = Helpers::new("help", 2);
    let recipes = [vec![Algorithm::Sha256], vec![Algorithm::Blake3], vec![Algorithm::Sha256, Algorithm::Md5]]
        .map(|algorithms| Recipe::new(algorithms, 0).unwrap());
    // Ends in the first piece of several threads, at its end, and far behind the last that is on its way.
    for length in [HELPED_FILE_BYTES as usize, Helpers::BYTES, 2 * Helpers::BYTES + 12_345] {
        let content = pattern(length);
        tree.write("file", &content);
        for recipe in &recipes {
            let file = found(&tree, "file", recipe);
            let read_bytes = Cell::new(0);
            let count = |bytes| {
                assert!(bytes <= BUFFER_BYTES as u64);
                read_bytes.set(read_bytes.get() + bytes);
                true
            };
            let (read, digests) =
                read_with_help(helpers.turn().unwrap(), &file, recipe, &Watch(&count)).unwrap().unwrap();
            let mut wanted = Vec::new();
            digest_into(recipe, &content, &mut wanted);
            assert_eq!((read.hashed_bytes, read_bytes.get()), (length as u64, length as u64));
            assert_eq!(digests, wanted, "{recipe:?} of {length} bytes");

            // Long before its end, and behind it.
            for place in [1, length as u64] {
                let read_bytes = Cell::new(0);
                let stops = |bytes| {
                    read_bytes.set(read_bytes.get() + bytes);
                    read_bytes.get() < place
                };
                let read = read_with_help(helpers.turn().unwrap(), &file, recipe, &Watch(&stops));
                assert_eq!(read, Err(Cancelled));
            }
            let cut = |_| {
                File::options().write(true).open(tree.path("file")).unwrap().set_len(length as u64 / 2).unwrap();
                true
            };
            let read = read_with_help(helpers.turn().unwrap(), &file, recipe, &Watch(&cut)).unwrap();
            assert_eq!(read.unwrap_err().reason, "SOURCE_CHANGED");
            tree.write("file", &content);
        }
    }
}

/// A large file that is still to be read.
fn found(tree: &Tree, name: &str, recipe: &Recipe) -> Box<LargeFile> {
    let uri = file_uri(tree.path(name).as_os_str().as_bytes());
    let mut inputs = SmallInputs::new(SMALL_FILES_BYTES);
    let wanted = all_of(&uri, recipe);
    match tree.sources.read(wanted, &mut inputs, &mut Vec::new(), &Watch(&|_| true), &mut || ()).unwrap() {
        Found::Large(file) => file,
        other => panic!("{other:?}"),
    }
}
