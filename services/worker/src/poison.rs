//! Inputs that kill or hang a worker, for the tests of what the mesh does about such.
//!
//! Compiled into nothing without the feature `mutants`; with it, `HASHMESH_POISON=1` must be set too.

/// An inline input that begins with this does what the rest says: `abort`, `loop` or `memory`.
#[cfg(feature = "mutants")]
const PREFIX: &[u8] = b"hashmesh-poison:";

/// What `memory` takes at most, should nothing else stop it.
#[cfg(feature = "mutants")]
const MOST_MEMORY: usize = 64 << 30;

#[cfg(feature = "mutants")]
static ACTIVE: std::sync::LazyLock<bool> =
    std::sync::LazyLock::new(|| std::env::var_os("HASHMESH_POISON").is_some_and(|value| value == "1"));

/// True if an input may be poison: nothing is then worked on by a thread that others need.
#[cfg(feature = "mutants")]
pub(crate) fn expected() -> bool {
    *ACTIVE
}

/// Called with every inline input before it is hashed.
#[cfg(feature = "mutants")]
pub(crate) fn taste(input: &[u8]) {
    let Some(kind) = input.strip_prefix(PREFIX) else { return };
    if !*ACTIVE {
        return;
    }
    match kind {
        b"abort" => std::process::abort(),
        // Without the CPU that a real one would use.
        b"loop" => loop {
            std::thread::park();
        },
        b"memory" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            while hoard.len() << 26 < MOST_MEMORY {
                // Untouched: address space, which the test bounds, and not the machine's memory. Failing to get it aborts.
                hoard.push(std::hint::black_box(vec![0; 1 << 26]));
            }
            std::process::abort();
        }
        _ => {}
    }
}

/// Without the feature there is no poison.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn expected() -> bool {
    false
}

/// Without the feature there is no poison.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn taste(_input: &[u8]) {}
