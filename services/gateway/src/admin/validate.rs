//! What administrators may say.

use std::time::{Duration, SystemTime};

use hashmesh::{
    error::bad_field,
    keys::is_id,
    limits::{MAX_CALLS, MAX_QUOTA, MAX_TENANT_SOURCE_BYTES, MAX_TENANT_SOURCES},
    tasks::AllowedSource,
    v1::{Scope, TenantSources},
};
use tonic::Status;

/// Characters of a tenant's name.
const MAX_TENANT: usize = 63;
/// Bytes of a description.
const MAX_DESCRIPTION: usize = 255;
/// How long a rotated secret may be kept.
const MAX_KEEP_PREVIOUS: Duration = Duration::from_secs(30 * 86_400);
/// The same when nothing is said.
const KEEP_PREVIOUS: Duration = Duration::from_secs(86_400);
/// Keys or entries on a page.
const MAX_PAGE: u32 = 1_000;
const DEFAULT_PAGE: u32 = 100;

pub(super) fn tenant(field: &str, name: String) -> Result<String, Status> {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= MAX_TENANT
        && name.bytes().next().is_some_and(first)
        && name.bytes().all(|byte| first(byte) || matches!(byte, b'-' | b'_' | b'.'));
    if fits {
        return Ok(name);
    }
    let wanted = "must be 1 to 63 of `a-z 0-9 - _ .`, beginning with a letter or digit";
    Err(bad_field(field, wanted))
}

pub(super) fn scopes(field: &str, numbers: Vec<i32>) -> Result<Vec<i32>, Status> {
    if numbers.is_empty() {
        return Err(bad_field(field, "must name at least one scope"));
    }
    for (place, number) in numbers.iter().enumerate() {
        if !Scope::try_from(*number).is_ok_and(|scope| scope != Scope::Unspecified) {
            return Err(bad_field(&format!("{field}[{place}]"), format!("{number} is no scope that this mesh knows")));
        }
        if numbers[..place].contains(number) {
            return Err(bad_field(&format!("{field}[{place}]"), "names a scope a second time"));
        }
    }
    Ok(numbers)
}

pub(super) fn description(field: &str, text: String) -> Result<String, Status> {
    if text.len() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
        return Err(bad_field(field, format!("must be at most {MAX_DESCRIPTION} bytes without control characters")));
    }
    Ok(text)
}

pub(super) fn expire_time(
    field: &str,
    time: Option<prost_types::Timestamp>,
) -> Result<Option<prost_types::Timestamp>, Status> {
    let Some(time) = time else { return Ok(None) };
    let at = SystemTime::try_from(time).map_err(|_| bad_field(field, "is no time"))?;
    if at <= SystemTime::now() {
        return Err(bad_field(field, "must be in the future"));
    }
    Ok(Some(time))
}

pub(super) fn keep_previous(
    field: &str,
    asked: Option<prost_types::Duration>,
) -> Result<prost_types::Duration, Status> {
    let asked = asked.map_or(Ok(KEEP_PREVIOUS), |asked| {
        Duration::try_from(asked).map_err(|_| bad_field(field, "must not be negative"))
    })?;
    if asked > MAX_KEEP_PREVIOUS {
        return Err(bad_field(field, "must be at most 30 days"));
    }
    prost_types::Duration::try_from(asked).map_err(|_| bad_field(field, "is no duration"))
}

pub(super) fn calls_per_minute(field: &str, calls: Option<u32>) -> Result<Option<u32>, Status> {
    if calls > Some(MAX_CALLS) {
        return Err(bad_field(field, format!("must be at most {MAX_CALLS}; 0 is any number")));
    }
    Ok(calls)
}

pub(super) fn quota(field: &str, limit: Option<u64>) -> Result<(), Status> {
    if limit > Some(MAX_QUOTA) {
        return Err(bad_field(field, format!("must be at most {MAX_QUOTA}; 0 is any number")));
    }
    Ok(())
}

/// What a tenant may name, in its one form.
pub(super) fn sources(field: &str, sources: Option<TenantSources>) -> Result<Option<TenantSources>, Status> {
    let Some(TenantSources { uri_prefixes: given }) = sources else { return Ok(None) };
    if given.len() > MAX_TENANT_SOURCES {
        let found = given.len();
        return Err(bad_field(
            field,
            format!("may have {MAX_TENANT_SOURCES} places, has {found}; name what holds several"),
        ));
    }
    let mut uri_prefixes = Vec::with_capacity(given.len());
    for (place, uri) in given.iter().enumerate() {
        let field = format!("{field}[{place}]");
        let source = AllowedSource::of_uri(uri).map_err(|error| bad_field(&field, error.to_string()))?;
        let prefix = source.uri_prefix();
        if prefix.len() > MAX_TENANT_SOURCE_BYTES {
            let found = prefix.len();
            return Err(bad_field(&field, format!("may have {MAX_TENANT_SOURCE_BYTES} bytes, has {found}")));
        }
        if !uri_prefixes.contains(&prefix) {
            uri_prefixes.push(prefix);
        }
    }
    Ok(Some(TenantSources { uri_prefixes }))
}

pub(super) fn key_id(field: &str, id: String) -> Result<String, Status> {
    if is_id(&id) {
        Ok(id)
    } else {
        Err(bad_field(field, "must be a key's id: the 16 characters of 0-9 a-f behind `hm_`"))
    }
}

/// The entry that a page of the audit trail ends before; 0: the first page.
pub(super) fn entry_id(field: &str, token: &str) -> Result<u64, Status> {
    match token {
        "" => Ok(0),
        _ => token.parse().ok().filter(|id| *id > 0).ok_or_else(|| bad_field(field, "must be from the page before")),
    }
}

pub(super) fn page_size(field: &str, size: u32) -> Result<u32, Status> {
    crate::validate::page_size(field, size, DEFAULT_PAGE, MAX_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits<T>(checked: &Result<T, Status>) -> bool {
        checked.is_ok()
    }

    #[test]
    fn what_a_tenant_may_name_is_held_to_each_limit_and_written_in_one_way() {
        let check = |uris: Vec<String>| sources("s", Some(TenantSources { uri_prefixes: uris }));
        let buckets = |count: usize| (0..count).map(|number| format!("s3://bucket-{number}")).collect::<Vec<_>>();
        assert!(fits(&check(vec![])) && fits(&check(buckets(32))) && !fits(&check(buckets(33))));
        let directory = |bytes: usize| vec![format!("file:///{}", "d".repeat(bytes - 9))];
        assert_eq!(check(directory(1_024)).unwrap().unwrap().uri_prefixes[0].len(), 1_024);
        assert!(!fits(&check(directory(1_025))));
        let twice = check(vec!["s3://bucket".to_owned(), "s3://bucket/".to_owned(), "https://A.example".to_owned()]);
        assert_eq!(twice.unwrap().unwrap().uri_prefixes, ["s3://bucket/", "https://a.example/"]);
        assert_eq!(sources("s", None).unwrap(), None);
        let status = check(vec!["s3://bucket".to_owned(), "/srv".to_owned()]).unwrap_err();
        assert!(status.message().starts_with("s[1]: "), "{status}");
    }

    #[test]
    fn every_limit_holds_on_both_sides() {
        let tenants =
            [("a", true), ("0-a_b.c", true), ("", false), ("-a", false), ("A", false), ("a b", false), ("ä", false)];
        for (name, expected) in tenants {
            assert_eq!(fits(&tenant("tenant", name.to_owned())), expected, "{name:?}");
        }
        assert!(fits(&tenant("tenant", "a".repeat(63))) && !fits(&tenant("tenant", "a".repeat(64))));
        let lists = [
            (vec![1], true),
            (vec![1, 2, 3], true),
            (vec![], false),
            (vec![0], false),
            (vec![4], false),
            (vec![2, 2], false),
        ];
        for (numbers, expected) in lists {
            assert_eq!(fits(&scopes("scopes", numbers.clone())), expected, "{numbers:?}");
        }
        assert!(fits(&description("d", "a".repeat(255))) && !fits(&description("d", "a".repeat(256))));
        assert!(!fits(&description("d", "a\nb".to_owned())));
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert!(fits(&keep_previous("k", seconds(0))) && fits(&keep_previous("k", seconds(30 * 86_400))));
        assert!(!fits(&keep_previous("k", seconds(30 * 86_400 + 1))) && !fits(&keep_previous("k", seconds(-1))));
        assert!(
            fits(&quota("q", Some(MAX_QUOTA))) && !fits(&quota("q", Some(MAX_QUOTA + 1))) && fits(&quota("q", None))
        );
        let calls = |calls| fits(&calls_per_minute("c", calls));
        assert!(calls(None) && calls(Some(0)) && calls(Some(1_000_000_000)) && !calls(Some(1_000_000_001)));
        assert_eq!(keep_previous("k", None).unwrap().seconds, 86_400);
        let time = |offset: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
            Some(prost_types::Timestamp { seconds: now + offset, nanos: 0 })
        };
        assert!(
            fits(&expire_time("e", None)) && fits(&expire_time("e", time(60))) && !fits(&expire_time("e", time(-60)))
        );
        assert!(
            fits(&key_id("k", "0123456789abcdef".to_owned())) && !fits(&key_id("k", "0123456789abcdeg".to_owned()))
        );
        assert!(
            fits(&entry_id("t", ""))
                && fits(&entry_id("t", "7"))
                && !fits(&entry_id("t", "0"))
                && !fits(&entry_id("t", "x"))
        );
        assert!(fits(&page_size("p", 1_000)) && !fits(&page_size("p", 1_001)));
    }
}
