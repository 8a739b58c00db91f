//! Rows as they are decoded: no more of them than a batch may have.
//!
//! A task on the wire may have two bytes and in memory it has some 150, so that one frame of 5 MiB could take up most of
//! a gigabyte before anybody has looked at it. What prost generates cannot be told to stop, hence this.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType, message, skip_field},
};

use crate::{limits::MAX_BATCH_TASKS, v1::Task};

/// The tasks of a batch, as rows. Written by hand in place of the generated message `hashmesh.v1.TaskRows`.
///
/// Of more than [`MAX_BATCH_TASKS`] tasks it decodes one too many and passes over the others, so that
/// [`from_rows`](super::from_rows) refuses it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskRows {
    /// The tasks, in order.
    pub tasks: Vec<Task>,
}

impl Message for TaskRows {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        message::encode_repeated(TASKS, &self.tasks, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag == TASKS && self.tasks.len() <= MAX_BATCH_TASKS as usize {
            return message::merge_repeated(wire_type, &mut self.tasks, buffer, context);
        }
        skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(TASKS, &self.tasks)
    }

    fn clear(&mut self) {
        self.tasks.clear();
    }
}

/// The field's number.
const TASKS: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{from_rows, samples};

    proptest::proptest! {
        #[test]
        fn rows_survive_the_wire(rows in samples::rows(0..20)) {
            let bytes = rows.encode_to_vec();
            proptest::prop_assert_eq!(bytes.len(), rows.encoded_len());
            proptest::prop_assert_eq!(TaskRows::decode(bytes.as_slice()).unwrap(), rows);
        }
    }

    #[test]
    fn of_millions_of_empty_tasks_one_too_many_is_decoded() {
        let bytes = [0x0a, 0].repeat(2_000_000);
        let rows = TaskRows::decode(bytes.as_slice()).unwrap();
        assert_eq!(rows.tasks.len(), MAX_BATCH_TASKS as usize + 1);
        assert_eq!(from_rows(rows).unwrap_err().field, "rows.tasks");
    }

    #[test]
    fn unknown_fields_are_passed_over_and_torn_ones_refused() {
        let mut bytes = vec![0x10, 7];
        bytes.extend([0x0a, 0]);
        assert_eq!(TaskRows::decode(bytes.as_slice()).unwrap().tasks.len(), 1);
        assert!(TaskRows::decode([0x0a, 5].as_slice()).is_err());
    }
}
