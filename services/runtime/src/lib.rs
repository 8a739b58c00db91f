//! How every hashmesh process starts, serves and stops.
