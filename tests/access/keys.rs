//! The life of a key: created, used, rotated, expired, revoked.

use std::time::{Duration, Instant, SystemTime};

use hashmesh::{
    admin::v1::{CreateKeyRequest, ListAuditRequest, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest},
    client::ClientError,
    error::{Reason, reason},
    gateway::v1::{StreamResultsRequest, SubmitBatchRequest},
    keys::KeyText,
    v1::{Scope, SubmissionOptions},
};
use tonic::Status;

use super::batch;
use crate::support::{
    Guarded,
    wait::{PATIENCE, until},
};

/// Within which a key that is accepted no more is refused everywhere.
const IN_FORCE: Duration = Duration::from_secs(5);

fn refusal(error: ClientError) -> Status {
    match error {
        ClientError::Refused(status) => status,
        other => panic!("{other}"),
    }
}

impl Guarded {
    async fn accepts(&self, key: &KeyText) -> bool {
        match self.client(key).get_stats().await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(reason(&refusal(error)), Some(Reason::KeyInvalid));
                false
            }
        }
    }

    /// How long a key is accepted that should be no more.
    async fn refuses(&self, key: &KeyText) -> Duration {
        let began = Instant::now();
        until("the key to be refused", PATIENCE, async || (!self.accepts(key).await).then_some(())).await;
        began.elapsed()
    }
}

#[tokio::test]
async fn work_is_submitted_and_read_with_a_key_and_belongs_to_its_tenant() {
    let mesh = Guarded::shared().await;
    let key = mesh.key("worker-bee", &[Scope::Submit, Scope::Read]).await;
    let client = mesh.client(&key);
    let answer = client.submit_batch(SubmitBatchRequest { wait: true, ..batch() }).await.expect("accepted");
    assert_eq!(answer.outcomes.len(), 1);
    let listed = client.list_submissions(Default::default()).await.expect("a list").submissions;
    assert_eq!(listed.len(), 1);
    let database = crate::support::Database::of_url(mesh.up.database_url());
    let id = &listed[0].submission_id;
    assert_eq!(database.value(&format!("SELECT tenant FROM submissions WHERE id = '{id}'")).await, "worker-bee");
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_5_s_and_what_was_opened_with_it_ends() {
    let mesh = Guarded::shared().await;
    let key = mesh.key("revoked", &[Scope::Submit, Scope::Read]).await;
    let client = mesh.client(&key);
    let opened = client.create_submission(SubmissionOptions::default(), None).await.expect("one");
    let request =
        StreamResultsRequest { submission_id: opened.submission_id, follow: true, ..StreamResultsRequest::default() };
    let mut stream = client.gateway().stream_results(request).await.expect("a stream").into_inner();
    assert!(mesh.accepts(&key).await);

    let request = RevokeKeyRequest { key_id: key.id().to_owned() };
    let revoked = mesh.administration().revoke_key(request.clone()).await.expect("revoked").into_inner().key;
    let began = Instant::now();
    assert!(mesh.refuses(&key).await < IN_FORCE);
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if nothing had happened"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end), Some(Reason::KeyInvalid));
    assert!(began.elapsed() < IN_FORCE, "{:?}", began.elapsed());
    // Again changes nothing, and there is no way back.
    let again = mesh.administration().revoke_key(request).await.expect("revoked").into_inner().key;
    assert_eq!(revoked, again);
    let request = RotateKeyRequest { key_id: key.id().to_owned(), keep_previous: None };
    let status = mesh.administration().rotate_key(request).await.expect_err("revoked");
    assert_eq!(reason(&status), Some(Reason::KeyRevoked));
}

#[tokio::test]
async fn after_a_rotation_both_secrets_are_accepted_until_the_one_before_is_given_up() {
    let mesh = Guarded::shared().await;
    let first = mesh.key("rotated", &[Scope::Read]).await;
    let rotate = async |keep: Option<u64>| {
        let keep_previous = keep.map(|seconds| prost_types::Duration { seconds: seconds as i64, nanos: 0 });
        let request = RotateKeyRequest { key_id: first.id().to_owned(), keep_previous };
        let answer = mesh.administration().rotate_key(request).await.expect("rotated").into_inner();
        KeyText::parse(&answer.text).expect("a key")
    };
    assert!(mesh.accepts(&first).await);
    let second = rotate(None).await;
    assert_eq!(second.id(), first.id());
    until("the new secret to be known", IN_FORCE, async || mesh.accepts(&second).await.then_some(())).await;
    assert!(mesh.accepts(&first).await);
    let third = rotate(Some(0)).await;
    assert!(mesh.refuses(&second).await < IN_FORCE);
    assert!(!mesh.accepts(&first).await && mesh.accepts(&third).await);
}

#[tokio::test]
async fn a_key_is_refused_once_its_time_is_over() {
    let mesh = Guarded::shared().await;
    let at = SystemTime::now() + Duration::from_secs(1);
    let request = CreateKeyRequest {
        tenant: "short".to_owned(),
        scopes: vec![Scope::Read.into()],
        expire_time: Some(at.into()),
        ..CreateKeyRequest::default()
    };
    let key = mesh.create(request).await;
    assert!(mesh.refuses(&key).await < Duration::from_secs(1) + IN_FORCE);
    assert!(SystemTime::now() >= at);
}

#[tokio::test]
async fn the_trail_says_who_did_what_and_no_secret_is_kept_anywhere() {
    let mesh = Guarded::start("access-trail", &[]).await;
    let key = mesh.key("trail", &[Scope::Submit, Scope::Read]).await;
    mesh.client(&key).submit_batch(batch()).await.expect("accepted");
    let rotated = RotateKeyRequest { key_id: key.id().to_owned(), keep_previous: None };
    let rotated = mesh.administration().rotate_key(rotated).await.expect("rotated").into_inner().text;
    let pause = mesh.client(&mesh.key("trail", &[Scope::Submit]).await).pause_work(true).await;
    assert_eq!(reason(&refusal(pause.expect_err("everyone's"))), Some(Reason::ScopeMissing));
    mesh.client(&mesh.admin).pause_work(true).await.expect("an admin may");

    let page = mesh.administration().list_audit(ListAuditRequest { page_size: 3, ..Default::default() }).await;
    let page = page.expect("a page").into_inner();
    let mut entries = page.entries;
    let rest = ListAuditRequest { page_size: 1_000, page_token: page.next_page_token };
    let rest = mesh.administration().list_audit(rest).await.expect("a page").into_inner();
    assert!(rest.next_page_token.is_empty());
    entries.extend(rest.entries);
    let told: Vec<(&str, &str, &str)> =
        entries.iter().map(|entry| (&*entry.actor, &*entry.action, &*entry.target)).collect();
    let admin = mesh.admin.id();
    assert_eq!(told[0], (admin, "everyone.control", "everyone"));
    assert_eq!((told[1].0, told[1].1), (admin, "key.create"));
    assert_eq!(
        told[2..],
        [(admin, "key.rotate", key.id()), (admin, "key.create", key.id()), ("local", "key.create", admin)]
    );

    let keys = mesh.administration().list_keys(ListKeysRequest { page_size: 2, ..Default::default() }).await;
    let keys = keys.expect("a page").into_inner();
    assert_eq!((keys.keys.len(), keys.next_page_token.is_empty()), (2, false));
    let next = ListKeysRequest { page_token: keys.next_page_token.clone(), ..Default::default() };
    let next = mesh.administration().list_keys(next).await.expect("a page").into_inner();
    assert_eq!(next.keys.iter().map(|key| key.key_id.as_str()).collect::<Vec<_>>(), [admin]);

    // Every secret, wherever it could have been written to.
    let secrets = [mesh.admin.reveal(), key.reveal(), &rotated].map(|text| text[20..].to_owned());
    let database = crate::support::Database::of_url(mesh.up.database_url());
    let tables = database.value("SELECT (SELECT string_agg(k::text, ' ') FROM api_keys k) || (SELECT string_agg(a::text, ' ') FROM audit a)").await;
    let log = mesh.up.process().log();
    for secret in secrets {
        assert!(!tables.contains(&secret) && !log.contains(&secret) && !mesh.up.process().output().contains(&secret));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(mesh.up.data_dir().join("admin.key")).expect("the key").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
