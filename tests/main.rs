//! Every test that needs the whole workspace or real servers, in one binary.

mod architecture;
