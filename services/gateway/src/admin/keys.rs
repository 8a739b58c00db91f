//! Keys: created, listed, rotated, revoked.

use hashmesh::{admin::v1 as api, keys::KeyText, queue::v1 as queue, v1::ApiKey};
use tonic::Status;

use super::{ask_access, validate};
use crate::{call::Call, service::Gateway, upstream::Repeat};

pub(super) async fn create(
    gateway: &Gateway,
    request: api::CreateKeyRequest,
    call: Call,
) -> Result<api::CreateKeyResponse, Status> {
    let text = KeyText::mint();
    let key = ApiKey {
        key_id: text.id().to_owned(),
        tenant: validate::tenant("tenant", request.tenant)?,
        scopes: validate::scopes("scopes", request.scopes)?,
        description: validate::description("description", request.description)?,
        expire_time: validate::expire_time("expire_time", request.expire_time)?,
        calls_per_minute: validate::calls_per_minute("calls_per_minute", request.calls_per_minute)?,
        ..ApiKey::default()
    };
    let request =
        queue::CreateKeyRequest { actor: call.caller.actor(), key: Some(key), text_hash: text.hash().to_vec().into() };
    // A key that was stored while its answer was lost is one that nobody knows the text of.
    let answer = ask_access!(gateway, Repeat::Unsafe, call, create_key(request))?;
    Ok(api::CreateKeyResponse { key: answer.key, text: text.reveal().to_owned() })
}

pub(super) async fn list(
    gateway: &Gateway,
    request: api::ListKeysRequest,
    call: Call,
) -> Result<api::ListKeysResponse, Status> {
    let tenant = match request.tenant.as_str() {
        "" => String::new(),
        _ => validate::tenant("tenant", request.tenant)?,
    };
    let before_key_id = match request.page_token.as_str() {
        "" => String::new(),
        _ => validate::key_id("page_token", request.page_token)?,
    };
    let page_size = validate::page_size("page_size", request.page_size)?;
    let request = queue::ListKeysRequest { tenant, page_size, before_key_id };
    let page = ask_access!(gateway, Repeat::Safe, call, list_keys(request))?;
    let last = page.keys.last().filter(|_| page.more);
    let next_page_token = last.map(|key| key.key_id.clone()).unwrap_or_default();
    Ok(api::ListKeysResponse { keys: page.keys, next_page_token })
}

pub(super) async fn rotate(
    gateway: &Gateway,
    request: api::RotateKeyRequest,
    call: Call,
) -> Result<api::RotateKeyResponse, Status> {
    let keep_previous = Some(validate::keep_previous("keep_previous", request.keep_previous)?);
    let key_id = validate::key_id("key_id", request.key_id)?;
    let text = KeyText::of(&key_id);
    let text_hash = text.hash().to_vec().into();
    let request = queue::RotateKeyRequest { actor: call.caller.actor(), key_id, text_hash, keep_previous };
    // A second time it would give up the secret that clients have.
    let answer = ask_access!(gateway, Repeat::Unsafe, call, rotate_key(request))?;
    Ok(api::RotateKeyResponse { key: answer.key, text: text.reveal().to_owned() })
}

pub(super) async fn revoke(
    gateway: &Gateway,
    request: api::RevokeKeyRequest,
    call: Call,
) -> Result<api::RevokeKeyResponse, Status> {
    let key_id = validate::key_id("key_id", request.key_id)?;
    let request = queue::RevokeKeyRequest { actor: call.caller.actor(), key_id };
    let answer = ask_access!(gateway, Repeat::Safe, call, revoke_key(request))?;
    Ok(api::RevokeKeyResponse { key: answer.key })
}

pub(super) async fn set_limits(
    gateway: &Gateway,
    request: api::SetKeyLimitsRequest,
    call: Call,
) -> Result<api::SetKeyLimitsResponse, Status> {
    let key_id = validate::key_id("key_id", request.key_id)?;
    let calls_per_minute = validate::calls_per_minute("calls_per_minute", request.calls_per_minute)?;
    let request = queue::SetKeyLimitsRequest { actor: call.caller.actor(), key_id, calls_per_minute };
    let answer = ask_access!(gateway, Repeat::Safe, call, set_key_limits(request))?;
    Ok(api::SetKeyLimitsResponse { key: answer.key })
}
