//! What a request may ask for.

use hashmesh::{
    algorithm::check_part_bytes,
    error::bad_field,
    limits::{MAX_ALGORITHMS, MAX_BATCH_BYTES},
    v1::Algorithm,
};
use tonic::Status;

use crate::Recipe;

/// The digests asked for.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the field.
pub(crate) fn recipe(numbers: &[i32], part_bytes: u64) -> Result<Recipe, Status> {
    let algorithms = algorithms(numbers)?;
    check_part_bytes(&algorithms, part_bytes).map_err(|error| bad_field("part_bytes", error.to_string()))?;
    Recipe::new(algorithms, part_bytes).map_err(|error| bad_field("part_bytes", error.to_string()))
}

/// The algorithms asked for: known, each once, at most [`MAX_ALGORITHMS`]; SHA-256 if none is named.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the field.
fn algorithms(numbers: &[i32]) -> Result<Vec<Algorithm>, Status> {
    if numbers.is_empty() {
        return Ok(vec![Algorithm::Sha256]);
    }
    if numbers.len() > MAX_ALGORITHMS {
        let found = numbers.len();
        return Err(bad_field("algorithms", format!("at most {MAX_ALGORITHMS} are computed at once; found {found}")));
    }
    let mut algorithms = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        let field = format!("algorithms[{index}]");
        let Some(algorithm) = Algorithm::known(*number) else {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            return Err(bad_field(&field, format!("must be one of {known}; found number {number}")));
        };
        if algorithms.contains(&algorithm) {
            return Err(bad_field(&field, format!("{} is named twice; name each at most once", algorithm.name())));
        }
        algorithms.push(algorithm);
    }
    Ok(algorithms)
}

/// One input or piece of an input: at most [`MAX_BATCH_BYTES`].
///
/// # Errors
/// `INVALID_ARGUMENT` that names the field.
pub(crate) fn data(data: &[u8]) -> Result<(), Status> {
    if data.len() <= MAX_BATCH_BYTES as usize {
        return Ok(());
    }
    let found = data.len();
    Err(bad_field(
        "data",
        format!("at most {MAX_BATCH_BYTES} bytes; found {found}: send it in pieces with ComputeDigestStream"),
    ))
}

#[cfg(test)]
mod tests {
    use hashmesh::limits::{MAX_PART_BYTES, MIN_PART_BYTES};

    use super::*;

    #[test]
    fn no_algorithm_means_sha256_and_the_order_is_kept() {
        assert_eq!(algorithms(&[]).unwrap(), [Algorithm::Sha256]);
        assert_eq!(algorithms(&[9, 1]).unwrap(), [Algorithm::Sha1, Algorithm::Sha224]);
        assert_eq!(algorithms(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap().len(), MAX_ALGORITHMS);
    }

    #[test]
    fn unknown_repeated_and_too_many_algorithms_are_refused_by_field() {
        for (numbers, field) in [
            (vec![0], "algorithms[0]"),
            (vec![2, 99], "algorithms[1]"),
            (vec![2, 2], "algorithms[1]"),
            (vec![1; 9], "algorithms"),
        ] {
            let status = algorithms(&numbers).unwrap_err();
            assert!(status.message().starts_with(&format!("{field}: ")), "{status}");
        }
    }

    #[test]
    fn a_part_size_is_refused_unless_a_composite_algorithm_needs_it() {
        let composite = Algorithm::Md5Composite as i32;
        assert_eq!(recipe(&[2, composite], MIN_PART_BYTES).unwrap().len(), 2);
        assert_eq!(recipe(&[composite], MAX_PART_BYTES).unwrap().len(), 1);
        for (numbers, part_bytes) in [
            (vec![2], MIN_PART_BYTES),
            (vec![2, composite], 0),
            (vec![composite], MIN_PART_BYTES - 1),
            (vec![composite], MAX_PART_BYTES + 1),
        ] {
            let status = recipe(&numbers, part_bytes).unwrap_err();
            assert!(status.message().starts_with("part_bytes: must be "), "{status}");
        }
    }

    #[test]
    fn an_input_may_be_as_long_as_a_batch_and_not_a_byte_longer() {
        let longest = vec![0; MAX_BATCH_BYTES as usize];
        assert!(data(&longest).is_ok());
        assert!(data(&[longest, vec![0]].concat()).is_err());
    }
}
