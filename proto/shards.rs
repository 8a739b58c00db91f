//! Shards: the parts into which submissions are divided among Queue processes (`hashmesh/queue/v1/shards.proto`).

/// The number of shards.
pub const SHARDS: u8 = 64;

/// The shard of a submission, by its id's 16 bytes.
#[must_use]
pub const fn of_submission(id: &[u8; 16]) -> u8 {
    id[15] & (SHARDS - 1)
}

/// The shard of the submission that an idempotency key stands for.
#[must_use]
pub fn of_key(tenant: &str, key: &str) -> u8 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(tenant.len() as u64).to_le_bytes());
    hasher.update(tenant.as_bytes());
    hasher.update(key.as_bytes());
    hasher.finalize().as_bytes()[0] & (SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_shard_that_it_had_when_it_was_first_stored() {
        // Rows of `idempotency_keys` are looked up by it: it may never change.
        assert_eq!(of_key("default", "nightly"), KNOWN.0);
        assert_eq!(of_key("", ""), KNOWN.1);
        assert_ne!(of_key("a", "bc"), of_key("ab", "c"));
    }

    const KNOWN: (u8, u8) = (40, 49);

    #[test]
    fn a_submission_has_the_shard_of_its_last_six_bits() {
        let mut id = [0xff; 16];
        assert_eq!(of_submission(&id), 63);
        id[15] = 0b1100_0101;
        assert_eq!(of_submission(&id), 5);
    }
}
