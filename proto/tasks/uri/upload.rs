//! `upload://TENANT/UPLOAD_ID`: an object that a client brought to the mesh's own store. The tenant stands in it so that
//! another's can be refused where a batch is validated, without asking anybody.

/// Digits of an id: 128 bits.
const ID_DIGITS: usize = 32;
/// Characters of a tenant's name.
const MAX_TENANT: usize = 63;

/// What an `upload:` URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadName<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// Its id.
    pub upload_id: &'a str,
}

/// The URI of an upload.
#[must_use]
pub fn upload_uri(tenant: &str, upload_id: &str) -> String {
    format!("upload://{tenant}/{upload_id}")
}

/// What an `upload:` URI names; none if it is not one that [`validate`](crate::tasks::validate) takes.
#[must_use]
pub fn upload_name(uri: &[u8]) -> Option<UploadName<'_>> {
    let rest = uri.strip_prefix(b"upload://")?;
    check(rest).ok()?;
    let (tenant, upload_id) = std::str::from_utf8(rest).ok()?.split_once('/')?;
    Some(UploadName { tenant, upload_id })
}

/// True for the id of an upload: 32 of `0-9 a-f`.
#[must_use]
pub fn is_upload_id(id: &str) -> bool {
    id.len() == ID_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn check(rest: &[u8]) -> Result<(), String> {
    let wanted = "must be `upload://TENANT/UPLOAD_ID`, as UploadObject has told it";
    let text = std::str::from_utf8(rest).map_err(|_| wanted)?;
    let (tenant, id) = text.split_once('/').ok_or(wanted)?;
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let named = tenant.len() <= MAX_TENANT
        && tenant.bytes().next().is_some_and(first)
        && tenant.bytes().all(|byte| first(byte) || matches!(byte, b'-' | b'_' | b'.'));
    if named && is_upload_id(id) { Ok(()) } else { Err(wanted.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn an_upload_is_named_by_its_tenant_and_its_id() {
        let uri = upload_uri("archive.2-b_c", ID);
        assert_eq!(upload_name(uri.as_bytes()), Some(UploadName { tenant: "archive.2-b_c", upload_id: ID }));
    }

    #[test]
    fn what_names_no_upload_is_refused_and_nothing_in_it_can_be_a_path() {
        let long = "a".repeat(64);
        for tenant in ["", "..", ".a", "-a", "A", "a b", "a%2f", "a/b", &long, "\u{e4}"] {
            let uri = upload_uri(tenant, ID);
            assert_eq!(upload_name(uri.as_bytes()), None, "{uri}");
            assert!(check(&uri.as_bytes()[9..]).unwrap_err().contains("upload://TENANT/UPLOAD_ID"));
        }
        for id in ["", "0", &ID[1..], &format!("{ID}0"), &ID.to_uppercase(), "0123456789abcdef0123456789abcd/f"] {
            assert_eq!(upload_name(upload_uri("a", id).as_bytes()), None, "{id}");
        }
        assert_eq!(upload_name(b"upload://a"), None);
    }
}
