//! The audit trail.

use hashmesh::{admin::v1 as api, queue::v1 as queue, v1::AuditEntry};
use tonic::Status;

use super::{ask_access, validate};
use crate::{call::Call, service::Gateway, upstream::Repeat};

/// Notes what is about to be done, before it is: the trail may say more than happened, and never less. Where keys are not
/// checked nobody is known, and nothing is noted.
pub(crate) async fn note(
    gateway: &Gateway,
    call: &Call,
    action: &str,
    target: &str,
    detail: &str,
) -> Result<(), Status> {
    let actor = call.caller.actor();
    if actor.is_empty() {
        return Ok(());
    }
    let (action, target, detail) = (action.to_owned(), target.to_owned(), detail.to_owned());
    let entry = AuditEntry { actor, action, target, detail, ..AuditEntry::default() };
    let request = queue::NoteAuditRequest { entry: Some(entry) };
    ask_access!(gateway, Repeat::Safe, call, note_audit(request)).map(drop)
}

pub(super) async fn list(
    gateway: &Gateway,
    request: api::ListAuditRequest,
    call: Call,
) -> Result<api::ListAuditResponse, Status> {
    let request = queue::ListAuditRequest {
        page_size: validate::page_size("page_size", request.page_size)?,
        before_entry_id: validate::entry_id("page_token", &request.page_token)?,
    };
    let page = ask_access!(gateway, Repeat::Safe, call, list_audit(request))?;
    let last = page.entries.last().filter(|_| page.more);
    let next_page_token = last.map(|entry| entry.entry_id.to_string()).unwrap_or_default();
    Ok(api::ListAuditResponse { entries: page.entries, next_page_token })
}
