//! How full the file system of a directory is.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::catalogue::process::{FILESYSTEM_FREE, FILESYSTEM_SIZE};

/// What was read is told for so long before it is read again,
const FRESH: Duration = Duration::from_secs(1);
/// and for so long if the file system does not answer.
const TOLD: Duration = Duration::from_secs(60);

/// Exports how full the file system of a directory is. It need not exist yet.
///
/// A network's file system may answer late or never: nobody who asks for metrics waits for it.
pub fn directory(name: &str, path: &Path) {
    let free = Arc::new(Directory { path: path.to_owned(), state: Mutex::default() });
    let size = Arc::clone(&free);
    // Found by the time that somebody asks.
    let _ = free.space(|space| space.free);
    FILESYSTEM_FREE.watch(&[name], move || free.space(|space| space.free)).forever();
    FILESYSTEM_SIZE.watch(&[name], move || size.space(|space| space.size)).forever();
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    found: Option<(Space, Instant)>,
    /// A thread waits for the file system's answer.
    asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Space {
    free: f64,
    size: f64,
}

impl Directory {
    /// What was found last; not a number if that is too long ago. Has it looked for again.
    fn space(self: &Arc<Self>, which: impl Fn(Space) -> f64) -> f64 {
        let mut state = self.lock();
        if !state.asked && state.found.is_none_or(|(_, at)| at.elapsed() >= FRESH) {
            let this = Arc::clone(self);
            let looking = thread::Builder::new().name("file-system".to_owned()).spawn(move || this.look());
            state.asked = looking.is_ok();
        }
        state.found.filter(|(_, at)| at.elapsed() < TOLD).map_or(f64::NAN, |(space, _)| which(space))
    }

    fn look(&self) {
        let found = rustix::fs::statvfs(&self.path);
        #[allow(clippy::cast_precision_loss)] // exact up to 2^53
        let space = found.map(|found| Space {
            free: (found.f_bavail * found.f_frsize) as f64,
            size: (found.f_blocks * found.f_frsize) as f64,
        });
        let mut state = self.lock();
        state.asked = false;
        state.found = space.ok().map(|space| (space, Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_never_waits_and_is_told_nothing_that_is_old() {
        let directory = Arc::new(Directory { path: PathBuf::from("/"), state: Mutex::default() });
        // As if a thread waited for an answer that does not come.
        directory.lock().asked = true;
        assert!(directory.space(|space| space.size).is_nan());
        directory.look();
        let size = directory.space(|space| space.size);
        assert!(size > 0.0 && directory.space(|space| space.free) <= size);
        let mut state = directory.lock();
        state.asked = true;
        state.found = state.found.and_then(|(space, at)| Some((space, at.checked_sub(TOLD)?)));
        drop(state);
        assert!(directory.space(|space| space.size).is_nan());
    }
}
