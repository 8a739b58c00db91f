//! Keys: whether the mesh takes ours.

use hashmesh::error::{Reason, reason};
use tonic::Status;

use super::check::Check;

const NAME: &str = "keys";

/// Calls are answered.
pub(super) fn fine(shown: bool) -> Check {
    Check::ok(NAME, if shown { "calls with our key are answered" } else { "none is asked for" }).with("shown", shown)
}

/// They are not.
pub(super) fn refused(shown: bool, status: &Status) -> Check {
    let remedy = match reason(status) {
        Some(Reason::KeyMissing) => {
            "say --api-key @FILE or set HASHMESH_API_KEY; `hashmesh admin keys create` makes keys".to_owned()
        }
        Some(reason) => format!("`hashmesh explain {}`; `hashmesh admin keys list` knows all keys", reason.as_str()),
        None => {
            "the answer is not the mesh's: look at what stands in between, which checks something itself".to_owned()
        }
    };
    Check::fail(NAME, format!("refused: {}", status.message()), remedy).with("shown", shown)
}

#[cfg(test)]
mod tests {
    use hashmesh::error::StatusBuilder;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_missing_key_is_asked_for_and_a_strangers_refusal_is_not_taken_for_the_meshs() {
        let missing = StatusBuilder::new(Reason::KeyMissing, "this mesh wants a key").build();
        assert!(refused(false, &missing).remedy.unwrap().contains("--api-key"));
        let stranger = Status::new(Code::Unauthenticated, "Jwt is missing");
        let check = refused(false, &stranger);
        assert!(check.found.contains("Jwt is missing") && check.remedy.unwrap().contains("in between"));
    }
}
