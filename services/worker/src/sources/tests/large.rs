//! Large files: through a fixed buffer, several side by side.

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
    let (recipe, mut inputs) = (recipe(), SmallInputs::new(SMALL_FILES_BYTES));
    for count in 1..=SIDE_BY_SIDE {
        for changed in [None, Some(0), Some(count - 1)] {
            names.iter().zip(&contents).for_each(|(name, content)| tree.write(name, content));
            let files: Vec<_> = names[..count]
                .iter()
                .map(|name| {
                    let uri = file_uri(tree.path(name).as_os_str().as_bytes());
                    let wanted = all_of(&uri, &recipe);
                    let watch = Watch(&|_| true);
                    match tree.sources.read(wanted, &mut inputs, &mut Vec::new(), &watch, &mut || ()).unwrap() {
                        Found::Large(file) => file,
                        other => panic!("{other:?}"),
                    }
                })
                .collect();
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
