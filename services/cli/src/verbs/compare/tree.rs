//! A side that is found out: the files of a directory are submitted, by their names below it; a place is listed by the mesh.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use hashmesh::{
    client::{Client, Target},
    v1::{Algorithm, CacheMode, SubmissionOptions, SubmissionState},
};

use super::{
    Given,
    side::{Root, Side},
};
use crate::verbs::{
    algorithms::numbers,
    batches::BatchArgs,
    deliver::{Open, deliver},
    failure::Failure,
    feed::{self, Unread, path_name},
    output::Output,
    place,
    placement::PlacementArgs,
    reporter::Reporter,
    resume::Resume,
    submission,
    walk::{Walk, What},
};

/// How directories are submitted.
#[derive(Debug)]
pub(super) struct Submitting<'a> {
    pub(super) client: &'a Client,
    pub(super) placement: PlacementArgs,
    pub(super) batches: BatchArgs,
    /// Bytes are read unless somebody has said otherwise.
    pub(super) cache: CacheMode,
    pub(super) reporter: &'a Reporter,
}

impl Submitting<'_> {
    /// Has digests made of what is below a directory or a place. `None`: what was given is neither.
    pub(super) async fn submit(
        &self,
        given: &Given,
        algorithms: &[Algorithm],
        part_bytes: u64,
    ) -> Result<Option<Side>, Failure> {
        let (algorithms, cache) = (numbers(algorithms), self.cache.into());
        let options = SubmissionOptions { algorithms, part_bytes, cache, ..SubmissionOptions::default() };
        let (open, root) = match given {
            Given::Directory(directory) => (self.open(directory, options).await?, Root::default()),
            Given::Place(place) => {
                let submission_id = place::create(self.client, place, options, None).await?;
                let uri = place.uri();
                self.reporter.inform(&format!("hashmesh: submission {submission_id} of {uri}"));
                let root = Root { said: Some(uri.into_bytes()), other: None };
                (Open { submission_id, sending: None, resume: Resume::Anew }, root)
            }
            Given::Manifest(_) | Given::Submission(_) => return Ok(None),
        };
        let mut side = Side::new(root);
        let last = deliver(self.client, open, self.reporter, &mut side, &mut Output::new()).await?;
        // What is missing then would look as if it were not there.
        if last.state() == SubmissionState::Cancelled {
            return Err(Failure::Local(format!("cannot compare: submission {}", submission::summary(&last))));
        }
        Ok(Some(side))
    }

    /// A submission of a directory's files, and its feed.
    async fn open(&self, directory: &Path, options: SubmissionOptions) -> Result<Open, Failure> {
        let submitter = self.client.submit(Target::New { options, idempotency_key: None }).await?;
        let submission_id = submitter.submission_id().to_owned();
        let shown = super::super::name::display(path_name(directory));
        self.reporter.inform(&format!("hashmesh: submission {submission_id} of {shown}"));
        let builder = self.batches.builder(submitter.limits());
        let placement = self.placement.probe(self.client).await?;
        let (directory, reporter) = (directory.to_owned(), self.reporter.clone());
        let feed = feed::start(builder, placement, move |feed| {
            for found in Walk::new(directory.clone()) {
                let name = below(&directory, &found.path);
                match found.what {
                    What::File { named } => feed.file(name, &found.path, named, &[])?,
                    What::LeftOut(why) => reporter.note(path_name(&found.path), why),
                    What::Trouble(why) => feed.unread(name, Unread::Other(why))?,
                }
            }
            Ok(())
        })?;
        Ok(Open { submission_id, sending: Some((submitter, feed)), resume: Resume::Anew })
    }
}

/// A path's name below the directory; `.` is the directory itself.
fn below<'a>(directory: &Path, path: &'a Path) -> &'a [u8] {
    let (directory, path) = (directory.as_os_str().as_bytes(), path.as_os_str().as_bytes());
    let rest = path.strip_prefix(directory).unwrap_or(path);
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    if rest.is_empty() { b"." } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_below_the_directory_however_it_was_typed() {
        for (directory, path, name) in [
            ("/srv", "/srv/a/b", "a/b"),
            ("/srv/", "/srv/a", "a"),
            (".", "./a", "a"),
            ("/", "/a", "a"),
            ("/srv", "/srv", "."),
        ] {
            assert_eq!(below(Path::new(directory), Path::new(path)), name.as_bytes(), "{directory} {path}");
        }
    }
}
