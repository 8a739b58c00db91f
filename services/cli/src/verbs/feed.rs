//! Turns files into batches, on a thread of its own.

use std::{io, os::unix::ffi::OsStrExt as _, path::Path, thread};

use hashmesh::{
    client::BatchBuilder,
    limits::{MAX_NAME_BYTES, MAX_URI_BYTES},
    tasks::{Scheme, check_uri},
    v1::{Algorithm, PackedTasks},
};
use tokio::sync::mpsc;

use super::{
    failure::Failure,
    large::NotUploaded,
    placement::{Placement, remedy},
    read::{ReadError, read_file},
};

/// Batches made ahead of sending. Each is at most about 4 MiB.
const BATCHES_AHEAD: usize = 2;

/// Something for the sender.
#[derive(Debug)]
pub(super) enum Fed {
    Batch(Box<PackedTasks>),
    /// An input that cannot become a task, in its place in the order.
    Unread {
        name: Vec<u8>,
        why: Unread,
    },
}

/// Why an input cannot become a task.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("no such file")]
    Missing,
    #[error("{0}")]
    Other(String),
}

/// Nobody takes batches any more.
#[derive(Debug)]
pub(super) struct Stopped;

/// Gathers tasks and hands over full batches.
#[derive(Debug)]
pub(super) struct Feed {
    builder: BatchBuilder,
    placement: Placement,
    fed: mpsc::Sender<Fed>,
    content: Vec<u8>,
}

/// Starts a thread that feeds. Its order alone decides how batches are cut.
pub(super) fn start(
    builder: BatchBuilder,
    placement: Placement,
    produce: impl FnOnce(&mut Feed) -> Result<(), Stopped> + Send + 'static,
) -> Result<mpsc::Receiver<Fed>, Failure> {
    let (fed, receiver) = mpsc::channel(BATCHES_AHEAD);
    let mut feed = Feed { builder, placement, fed, content: Vec::new() };
    // A thread and not a task: it reads files, and must not keep the runtime from ending.
    let thread = thread::Builder::new().name("feed".to_owned());
    let run = move || {
        // `Stopped` means that its receiver has gone.
        let _ = produce(&mut feed).and_then(|()| feed.hand_over());
    };
    thread.spawn(run).map_err(|error| Failure::local("cannot start a thread", &error))?;
    Ok(receiver)
}

impl Feed {
    /// Adds a task for a file, or for an object if `path` is the URI of one, or says why there is none.
    pub(super) fn file(
        &mut self,
        name: &[u8],
        path: &Path,
        follow: bool,
        expected: &[(Algorithm, Vec<u8>)],
    ) -> Result<(), Stopped> {
        if let Some(uri) = object_uri(path) {
            return match check_uri(uri.as_bytes()) {
                Ok(()) => self.object(name, uri, expected),
                Err(wanted) => self.unread(name, Unread::Other(format!("it {wanted}"))),
            };
        }
        if name.len() > MAX_NAME_BYTES {
            let why = format!("its name has {} bytes, more than {MAX_NAME_BYTES}", name.len());
            return self.unread(name, Unread::Other(why));
        }
        let uri = match self.placement.uri(path, follow) {
            Ok(uri) => uri,
            Err(error) => return self.unread(name, unread(&error.into())),
        };
        if let Some(uri) = uri {
            return self.object(name, &uri, expected);
        }
        let besides = name.len() + expected.iter().map(|(_, digest)| digest.len()).sum::<usize>();
        let limit = self.builder.max_bytes().saturating_sub(besides);
        let mut content = std::mem::take(&mut self.content);
        let read = read_file(path, follow, limit, &mut content);
        self.content = content;
        if let (Err(ReadError::TooLarge(_)), Some(large)) = (&read, &self.placement.large) {
            return match large.upload(path, follow, &self.fed) {
                Ok(uri) => self.object(name, &uri, expected),
                Err(NotUploaded::Because(why)) => self.unread(name, Unread::Other(why)),
                Err(NotUploaded::Stopped) => Err(Stopped),
            };
        }
        if let Err(error) = read {
            return self.unread(name, too_large(path, limit, &error).unwrap_or_else(|| unread(&error)));
        }
        self.make_room(besides + self.content.len())?;
        self.builder.push_inline(name, &self.content);
        for (algorithm, digest) in expected {
            self.builder.expect(*algorithm, digest);
        }
        Ok(())
    }

    /// Adds a task for an object that workers read.
    pub(super) fn object(&mut self, name: &[u8], uri: &str, expected: &[(Algorithm, Vec<u8>)]) -> Result<(), Stopped> {
        let too_long = [("name", name.len(), MAX_NAME_BYTES), ("URI", uri.len(), MAX_URI_BYTES)];
        if let Some((what, bytes, most)) = too_long.into_iter().find(|(_, bytes, most)| bytes > most) {
            return self.unread(name, Unread::Other(format!("its {what} has {bytes} bytes, more than {most}")));
        }
        self.make_room(name.len() + uri.len() + expected.iter().map(|(_, digest)| digest.len()).sum::<usize>())?;
        self.builder.push_object(name, uri);
        for (algorithm, digest) in expected {
            self.builder.expect(*algorithm, digest);
        }
        Ok(())
    }

    /// Says that an input cannot become a task.
    pub(super) fn unread(&mut self, name: &[u8], why: Unread) -> Result<(), Stopped> {
        self.send(Fed::Unread { name: name.to_vec(), why })
    }

    fn make_room(&mut self, task_bytes: usize) -> Result<(), Stopped> {
        if self.builder.fits(task_bytes) { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> Result<(), Stopped> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let batch = self.builder.take();
        self.send(Fed::Batch(Box::new(batch)))
    }

    fn send(&self, fed: Fed) -> Result<(), Stopped> {
        self.fed.blocking_send(fed).map_err(|_| Stopped)
    }
}

fn unread(error: &ReadError) -> Unread {
    match error {
        ReadError::Missing => Unread::Missing,
        other => Unread::Other(other.to_string()),
    }
}

fn too_large(path: &Path, limit: usize, error: &ReadError) -> Option<Unread> {
    let ReadError::TooLarge(bytes) = error else { return None };
    let text = format!("has {bytes} bytes, more than the {limit} that can be sent with a task; {}", remedy(path));
    Some(Unread::Other(text))
}

/// The URI that was given for a path, if one was. A file of such a name is `./s3:/…`.
pub(super) fn object_uri(path: &Path) -> Option<&str> {
    let uri = path.to_str()?;
    Scheme::of(uri.as_bytes()).map(|_| uri)
}

/// The name of a path in a manifest: its bytes.
pub(super) fn path_name(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        unread(&error.into())
    }
}
