//! What a caller's tasks may name besides inline bytes: its own uploads, and what an administrator has allowed its tenant.
//!
//! Checked here so that the caller learns it at once. Workers check it again, by what holds when they read.

use std::sync::Arc;

use hashmesh::{
    error::{Reason, StatusBuilder},
    tasks::{self, AllowedSources, Input, Place, Scheme, upload_name},
    v1::{PackedTasks, SubmissionOptions, TenantSources},
};
use tonic::Status;

/// What a caller's tasks may name. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    tenant: Arc<str>,
    /// `None`: whatever workers may read.
    allowed: Option<AllowedSources>,
}

impl Reads {
    pub(crate) fn new(tenant: Arc<str>, allowed: Option<AllowedSources>) -> Self {
        Self { tenant, allowed }
    }

    /// Whose they are.
    pub(crate) fn tenant(&self) -> String {
        self.tenant.as_ref().to_owned()
    }

    /// What an administrator has allowed them. `None`: whatever workers may read.
    pub(crate) fn allowed(&self) -> Option<TenantSources> {
        self.allowed.as_ref().map(AllowedSources::to_sources)
    }

    /// True if they may name something of what workers announce so: of other places they need not know.
    pub(crate) fn meet(&self, uri_prefix: &str) -> bool {
        let meets = |ours: &String| ours.starts_with(uri_prefix) || uri_prefix.starts_with(ours.as_str());
        // Of uploads everybody has some, or may have.
        Scheme::of(uri_prefix.as_bytes()) == Some(Scheme::Upload)
            || self.allowed().is_none_or(|sources| sources.uri_prefixes.iter().any(meets))
    }

    /// Refuses tasks that name another tenant's upload. Says nothing of columns that do not agree.
    pub(crate) fn check_uploads(&self, columns: &PackedTasks) -> Result<(), Status> {
        let Some(task) = tasks::foreign_upload(columns, &self.tenant) else { return Ok(()) };
        // As one that never was.
        let message = format!("there is no upload of yours as task {task} names it; check its URI");
        Err(StatusBuilder::new(Reason::UploadNotFound, message).build())
    }

    /// Refuses tasks that name what the tenant may not have read. Of columns that agree.
    pub(crate) fn check_tasks(&self, columns: &PackedTasks) -> Result<(), Status> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let Ok(views) = columns.views() else { return Ok(()) };
        for (number, task) in views.enumerate() {
            if let Input::Object { uri, .. } = &task.input
                && upload_name(uri).is_none()
                && !allowed.cover(uri)
            {
                return Err(self.forbidden(&format!("task {number}"), uri));
            }
        }
        Ok(())
    }

    /// Refuses options whose tasks would be listed where the tenant may not have anything read.
    pub(crate) fn check_expansion(&self, options: &SubmissionOptions) -> Result<(), Status> {
        let (Some(allowed), Some(expansion)) = (&self.allowed, &options.expansion) else { return Ok(()) };
        let uri = expansion.source_uri.as_bytes();
        if Place::of(uri).is_ok_and(|place| allowed.cover_place(&place)) {
            return Ok(());
        }
        Err(self.forbidden("the expansion", uri))
    }

    fn forbidden(&self, what: &str, uri: &[u8]) -> Status {
        let shown = String::from_utf8_lossy(&uri[..uri.len().min(200)]);
        let message = format!(
            "{what} names {shown}, which tenant {} may not have read; ask an administrator to allow it \
             (hashmesh admin tenants sources), or submit the bytes or an upload",
            self.tenant
        );
        StatusBuilder::new(Reason::SourceForbidden, message).build()
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::{error::reason, tasks::upload_uri, v1::Expansion};

    use super::*;

    fn reads(uris: Option<&[&str]>) -> Reads {
        let sources =
            |uris: &[&str]| TenantSources { uri_prefixes: uris.iter().map(|uri| (*uri).to_owned()).collect() };
        Reads::new("ours".into(), uris.map(|uris| AllowedSources::of(&sources(uris))))
    }

    /// Objects and, where there is no URI, inline bytes.
    fn columns(inputs: &[&str]) -> PackedTasks {
        PackedTasks {
            data: inputs.concat().into(),
            lengths: inputs.iter().map(|input| input.len() as u32).collect(),
            kinds: inputs.iter().map(|input| u8::from(input.contains("://"))).collect::<Vec<_>>().into(),
            ..PackedTasks::default()
        }
    }

    #[test]
    fn promise_10_what_a_tenant_was_not_allowed_is_refused_and_bytes_and_its_uploads_are_not() {
        let upload = upload_uri("ours", "0123456789abcdef0123456789abcdef");
        let mixed = columns(&["file:///srv/x", "bytes", &upload, "s3://bucket/x"]);
        assert!(reads(None).check_tasks(&mixed).is_ok());
        assert!(reads(Some(&["file:///srv/", "s3://"])).check_tasks(&mixed).is_ok());
        for (allowed, named) in [
            (&["file:///srv/"][..], "task 3 names s3://bucket/x"),
            (&["s3://"][..], "task 0 names file:///srv/x"),
            (&[][..], "task 0 names file:///srv/x"),
        ] {
            let status = reads(Some(allowed)).check_tasks(&mixed).unwrap_err();
            assert_eq!(reason(&status), Some(Reason::SourceForbidden));
            assert!(status.message().contains(named) && status.message().contains("tenant ours"), "{status}");
        }
        assert!(reads(Some(&[])).check_tasks(&columns(&["bytes", &upload])).is_ok());
    }

    #[test]
    fn promise_10_of_what_workers_read_a_tenant_is_told_what_it_may_name_of() {
        let reads = reads(Some(&["s3://bucket/a/", "file:///srv/"]));
        for (announced, told) in [
            ("s3://", true),
            ("s3://bucket/", true),
            ("s3://bucket/a/b/", true),
            ("s3://bucket/b/", false),
            ("file:///srv/x/", true),
            ("file:///home/", false),
            ("https://", false),
            ("upload://", true),
        ] {
            assert_eq!(reads.meet(announced), told, "{announced}");
        }
        assert!(self::reads(None).meet("file:///home/"));
    }

    #[test]
    fn promise_10_an_expansion_is_held_to_what_the_tenant_was_allowed() {
        let options = |uri: &str| SubmissionOptions {
            expansion: Some(Expansion { source_uri: uri.to_owned() }),
            ..SubmissionOptions::default()
        };
        let reads = reads(Some(&["s3://bucket/a/"]));
        assert!(reads.check_expansion(&options("s3://bucket/a/")).is_ok());
        assert!(reads.check_expansion(&SubmissionOptions::default()).is_ok());
        for uri in ["s3://bucket/a", "s3://bucket/", "file:///"] {
            let status = reads.check_expansion(&options(uri)).unwrap_err();
            assert_eq!(reason(&status), Some(Reason::SourceForbidden), "{uri}");
        }
    }
}
