//! Files and directories as tasks.

use std::path::PathBuf;

use hashmesh::client::BatchBuilder;
use tokio::sync::mpsc;

use crate::verbs::{
    failure::Failure,
    feed::{self, Fed, Unread, path_name},
    placement::Placement,
    reporter::Reporter,
    walk::{Walk, What},
};

/// Walks the paths in the order in which they were given.
pub(super) fn feed(
    paths: Vec<PathBuf>,
    builder: BatchBuilder,
    placement: Placement,
    reporter: Reporter,
) -> Result<mpsc::Receiver<Fed>, Failure> {
    feed::start(builder, placement, move |feed| {
        for found in paths.into_iter().flat_map(Walk::new) {
            let name = path_name(&found.path);
            match found.what {
                What::File { named } => feed.file(name, &found.path, named, &[])?,
                What::LeftOut(why) => reporter.note(name, why),
                What::Trouble(why) => feed.unread(name, Unread::Other(why))?,
            }
        }
        Ok(())
    })
}
