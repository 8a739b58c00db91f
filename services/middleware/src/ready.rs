//! Readiness belongs to the clone that was polled.

use std::mem;

/// Takes out the service that was polled ready, for a future to call, and leaves a clone, which will be polled anew.
pub fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}
