//! The Cache: what was read once is not read again while it is the same, and nothing that goes wrong with it gives a wrong digest.

mod faults;
mod runs;
mod service;
mod verbs;
