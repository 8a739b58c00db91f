//! Panics as log lines.

use std::{
    backtrace::Backtrace,
    collections::BTreeMap,
    panic::{self, PanicHookInfo},
    sync::{Arc, Mutex, PoisonError},
};

use super::Repeated;

/// Where it has panicked. There are no more of these than the program has places that can.
static PLACES: Mutex<BTreeMap<String, Arc<Repeated>>> = Mutex::new(BTreeMap::new());

/// Panics become events with the span they happened in, in the format that a collector expects. What panics in one place again and
/// again, because clients ask for it, makes a line a minute.
pub(super) fn log() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        if let Some(left_out) = place(&location).failed() {
            line(info, &location, left_out);
        }
    }));
}

fn line(info: &PanicHookInfo<'_>, location: &str, left_out: u64) {
    let message = info.payload_as_str().unwrap_or("a panic without a text");
    let backtrace = Backtrace::capture();
    tracing::error!(panic = message, location, left_out, %backtrace, "panicked");
}

fn place(location: &str) -> Arc<Repeated> {
    // No code panics while it holds the lock.
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(places.entry(location.to_owned()).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_that_panics_is_logged_and_none_again_within_its_minute() {
        assert_eq!(place("first.rs:1:1").failed(), Some(0));
        assert_eq!(place("first.rs:1:1").failed(), None);
        assert_eq!(place("second.rs:1:1").failed(), Some(0), "another place has its own minute");
    }
}
