//! Sizes as people write them.

/// What a size may end with, and how many bytes that stands for.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// A whole number of bytes, or of a unit: `8388608`, `8MiB`, `5 GiB`, `15MB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wanted = || "expected bytes, or a size like 8MiB, 5GiB or 15MB".to_owned();
    let found = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = found.unwrap_or((text, 1));
    let number = number.trim_end();
    // `parse` would take a plus too.
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wanted());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_of_bytes_or_of_a_unit() {
        for (text, bytes) in [
            ("8388608", 8 << 20),
            ("8MiB", 8 << 20),
            ("5 GiB", 5 << 30),
            ("15MB", 15_000_000),
            ("64KiB", 64 << 10),
            ("1kB", 1_000),
            ("2GB", 2_000_000_000),
            ("0B", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "8M", "8mib", "-1", "+1", "1.5MiB", "18446744073709551616", "18446744073709551615KiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
