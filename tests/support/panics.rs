//! What fails is said at once too, beside what the test harness keeps to its end: of a run whose output was cut, or that never
//! ended, the reason is then still there.

use std::{
    io::Write as _,
    panic::{set_hook, take_hook},
    sync::Once,
};

/// From now on.
pub(crate) fn tell_at_once() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            others(panic);
            let thread = std::thread::current();
            // The harness takes what `eprintln` writes, and nothing else.
            let _ = writeln!(std::io::stderr(), "▶ {}: {panic}", thread.name().unwrap_or("a thread"));
        }));
    });
}
