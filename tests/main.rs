//! Every test that needs the whole workspace or real servers, in one binary.

mod architecture;
mod history;
mod kills;
mod ownership;
mod protocol;
mod support;
mod workers;
