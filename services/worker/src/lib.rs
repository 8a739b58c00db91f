//! The Worker: takes leases, reads sources, hashes.
