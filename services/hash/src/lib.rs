//! Digests: algorithms, a rayon pool behind a bounded door, and the Hash service.
