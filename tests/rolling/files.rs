//! Files that take long to read and no room, and what becomes of them.

use std::{
    fs,
    ops::Range,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use hashmesh::v1::PackedTasks;

use crate::{
    history::{Digest, inputs},
    support::{oracle, rundir},
};

/// Takes seconds to read with several algorithms, and no room.
pub(crate) const FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Files differ in length, by so many bytes at most.
const LENGTHS: usize = 2;

/// Files of zeros that are made as they are wanted.
pub(crate) fn file_tasks(root: &Path, tasks: Range<usize>) -> PackedTasks {
    let mut batch = inputs::builder();
    for task in tasks {
        let path: PathBuf = root.join(task.to_string());
        make_file(&path, task);
        let uri = hashmesh::tasks::file_uri(path.as_os_str().as_bytes());
        batch.push_object(task.to_string().as_bytes(), &uri);
    }
    batch.take()
}

fn make_file(path: &Path, task: usize) {
    let length = FILE_BYTES + (task % LENGTHS) as u64;
    fs::File::create(path).and_then(|file| file.set_len(length)).expect("a file");
}

/// Their digests, by another implementation.
pub(crate) fn file_digests(tasks: usize) -> Vec<Digest> {
    let directory = rundir::directory("rolling-oracle");
    let of_lengths: Vec<Digest> = (0..LENGTHS)
        .map(|task| {
            let path = directory.join(task.to_string());
            make_file(&path, task);
            hex::decode(oracle::sha256sum(&path)).expect("hexadecimal").try_into().expect("32 bytes")
        })
        .collect();
    (0..tasks).map(|task| of_lengths[task % LENGTHS]).collect()
}
