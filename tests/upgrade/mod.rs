//! The version before and this one side by side, in both directions (promises 1, 2, 3, 12): the earlier program is a real one,
//! built from git by `make upgrade-test`.

mod backward;
mod forward;
mod locks;
mod mixed;
mod secure;
mod takeover;

use std::{fs, path::PathBuf};

use crate::support::process::HASHMESH;

/// The earlier program.
fn older() -> PathBuf {
    let named = std::env::var_os("HASHMESH_TEST_OLDER").expect("make upgrade-test says where the earlier program is");
    let path = PathBuf::from(named).canonicalize().expect("the earlier program");
    assert!(fs::read(&path).unwrap() != fs::read(HASHMESH).unwrap(), "{path:?} is the program under test");
    path
}

/// The program under test.
fn newer() -> PathBuf {
    PathBuf::from(HASHMESH).canonicalize().expect("it was built")
}
