//! Whose uploads tasks refer to.

use super::{columns::OBJECT, uri::upload_name};
use crate::v1::PackedTasks;

/// The first task that refers to an upload of another tenant than this one. Reads nothing but the URIs, and says nothing of
/// columns that [`validate`](super::validate) refuses.
#[must_use]
pub fn foreign_upload(tasks: &PackedTasks, tenant: &str) -> Option<usize> {
    let mut start = 0_usize;
    for (task, (length, kind)) in tasks.lengths.iter().zip(tasks.kinds.iter()).enumerate() {
        let end = start.checked_add(*length as usize)?;
        let input = tasks.data.get(start..end)?;
        if *kind == OBJECT && upload_name(input).is_some_and(|upload| upload.tenant != tenant) {
            return Some(task);
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::upload_uri;

    fn columns(inputs: &[(&str, u8)]) -> PackedTasks {
        PackedTasks {
            data: inputs.iter().map(|(input, _)| *input).collect::<String>().into(),
            lengths: inputs.iter().map(|(input, _)| input.len() as u32).collect(),
            kinds: inputs.iter().map(|(_, kind)| *kind).collect::<Vec<_>>().into(),
            ..PackedTasks::default()
        }
    }

    #[test]
    fn promise_10_another_tenants_upload_is_found_wherever_it_stands_and_bytes_are_no_uri() {
        let id = "0123456789abcdef0123456789abcdef";
        let (ours, theirs) = (upload_uri("ours", id), upload_uri("ours.2", id));
        let tasks = columns(&[("file:///x", OBJECT), (&ours, OBJECT), (&theirs, 0), (&theirs, OBJECT)]);
        assert_eq!(foreign_upload(&tasks, "ours"), Some(3));
        assert_eq!(foreign_upload(&tasks, "ours.2"), Some(1));
        assert_eq!(foreign_upload(&columns(&[(&ours, OBJECT), (&theirs, 0)]), "ours"), None);
        // Inline bytes only.
        assert_eq!(foreign_upload(&PackedTasks { kinds: Vec::new().into(), ..tasks.clone() }, "ours"), None);
        let torn = PackedTasks { lengths: vec![u32::MAX; 4], ..tasks };
        assert_eq!(foreign_upload(&torn, "ours"), None);
    }
}
