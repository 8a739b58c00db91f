//! Files and directories as tasks.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use hashmesh::client::BatchBuilder;
use tokio::sync::mpsc;

use crate::verbs::{
    failure::Failure,
    feed::{self, Fed, Feed, Stopped, Unread, object_uri, path_name},
    placement::Placement,
    reporter::Reporter,
    walk::{Walk, What},
};

/// Where the paths come from.
#[derive(Debug)]
pub(super) enum Paths {
    /// The command line.
    Given(Vec<PathBuf>),
    /// The lines of a file, or of standard input (`-`).
    Listed(PathBuf),
}

/// A longer line is no path and no URI.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Takes the paths in the order in which they were given. Directories are walked.
pub(super) fn feed(
    paths: Paths,
    builder: BatchBuilder,
    placement: Placement,
    reporter: Reporter,
) -> Result<mpsc::Receiver<Fed>, Failure> {
    feed::start(builder, placement, move |feed| match paths {
        Paths::Given(paths) => paths.into_iter().try_for_each(|path| one(feed, path, &reporter)),
        Paths::Listed(list) => listed(feed, &list, &reporter),
    })
}

fn one(feed: &mut Feed, path: PathBuf, reporter: &Reporter) -> Result<(), Stopped> {
    if object_uri(&path).is_some() {
        return feed.file(path_name(&path), &path, true, &[]);
    }
    for found in Walk::new(path) {
        let name = path_name(&found.path);
        match found.what {
            What::File { named } => feed.file(name, &found.path, named, &[])?,
            What::LeftOut(why) => reporter.note(name, why),
            What::Trouble(why) => feed.unread(name, Unread::Other(why))?,
        }
    }
    Ok(())
}

/// Each line is a path or a URI; empty ones are nothing.
fn listed(feed: &mut Feed, list: &Path, reporter: &Reporter) -> Result<(), Stopped> {
    let opened: io::Result<Box<dyn BufRead>> = if list.as_os_str() == "-" {
        Ok(Box::new(io::stdin().lock()))
    } else {
        File::open(list).map(|file| Box::new(BufReader::new(file)) as _)
    };
    let mut lines = match opened {
        Ok(lines) => lines,
        Err(error) => return feed.unread(path_name(list), error.into()),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return feed.unread(path_name(list), error.into()),
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == MAX_LINE_BYTES {
            let why = format!(
                "a line of it is longer than {MAX_LINE_BYTES} bytes, and no path or URI; nothing behind it is read"
            );
            return feed.unread(path_name(list), Unread::Other(why));
        }
        if !line.is_empty() {
            one(feed, PathBuf::from(OsString::from_vec(line.clone())), reporter)?;
        }
    }
}
