//! Columns as they are stored once nobody will read their inputs again.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::{DecodeContext, decode_key, skip_field};

/// `PackedTasks.data` and `PackedTasks.lengths`.
const INPUTS: [u32; 2] = [1, 2];
/// `PackedTasks.kinds`.
const KINDS: u32 = 4;

/// An encoded `PackedTasks` without its inputs and their lengths: what is left are names and expected digests. `None` if
/// some task may be a URI, which is not an input but says where one is, or if the bytes are no such message.
///
/// Looks at the fields' tags only: the time does not grow with the number of tasks.
#[must_use]
pub fn without_inputs(encoded: &Bytes) -> Option<Bytes> {
    let mut rest = &encoded[..];
    let mut left = BytesMut::new();
    while rest.has_remaining() {
        let field = rest;
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
        if tag == KINDS {
            return None;
        }
        if !INPUTS.contains(&tag) {
            left.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    Some(left.freeze())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::v1::{PackedNames, PackedTasks};

    fn columns() -> PackedTasks {
        PackedTasks { data: "some input".into(), lengths: vec![4, 0, 6], ..PackedTasks::default() }
    }

    #[test]
    fn of_inline_tasks_nothing_is_left_but_names_and_expected_digests() {
        let encoded = |tasks: &PackedTasks| Bytes::from(tasks.encode_to_vec());
        assert_eq!(without_inputs(&encoded(&columns())), Some(Bytes::new()));

        let names = Some(PackedNames { data: "abc".into(), lengths: vec![1, 1, 1] });
        let (expected, expected_algorithms) = (vec![3; 48].into(), vec![1]);
        let left = PackedTasks { names, expected, expected_algorithms, ..PackedTasks::default() };
        let whole = PackedTasks { data: columns().data, lengths: columns().lengths, ..left.clone() };
        assert_eq!(without_inputs(&encoded(&whole)), Some(encoded(&left)));
    }

    #[test]
    fn what_may_name_an_object_is_kept_whole_and_so_is_what_cannot_be_read() {
        let objects = PackedTasks { kinds: vec![0, 0, 1].into(), ..columns() };
        assert_eq!(without_inputs(&objects.encode_to_vec().into()), None);
        let mut torn = columns().encode_to_vec();
        torn.pop();
        assert_eq!(without_inputs(&torn.into()), None);
    }
}
