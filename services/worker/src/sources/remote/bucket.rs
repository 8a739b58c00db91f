//! What a bucket has: answer by answer, in byte order of the keys.
//!
//! The place where a listing goes on is a key (`start-after`) and not the store's token: it means the same to every worker, for
//! as long as one likes. For that, keys must come in order; a store that sends them in another is found out, not trusted.

use hashmesh::{error::TaskReason, tasks::s3_uri};
use http::HeaderMap;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{
    Remote,
    ask::{Answer, Trouble},
    listing::Listing,
};
use crate::sources::{
    Failure,
    list::{Page, PageTime, PushError},
};

/// A thousand keys of 1,024 bytes, each byte encoded, are half of it.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct ListObjects {
    pub(super) bucket: String,
    pub(super) prefix: Vec<u8>,
    pub(super) after: After,
}

/// From where on.
#[derive(Clone, Debug)]
pub(super) enum After {
    /// Behind this key; empty: from the first on.
    Key(Vec<u8>),
    /// Where the answer before ended.
    Token(String),
}

impl Remote {
    /// Adds to a page the objects whose keys begin with `prefix` and stand behind the page's cursor, a key.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &[u8],
        page: &mut Page,
        time: PageTime,
    ) -> Result<(), Failure> {
        if !self.buckets.iter().any(|root| root.covers(bucket, prefix)) {
            return Err(Failure::cannot_reach());
        }
        page.listed_by(self.store());
        let after = After::Key(page.cursor().to_vec());
        let mut wanted = ListObjects { bucket: bucket.to_owned(), prefix: prefix.to_vec(), after };
        loop {
            let listing = self.ask_for_keys(&wanted).await.map_err(|trouble| match trouble {
                Trouble::Failed(failure) | Trouble::Broken(failure) => failure,
                // Nobody can cancel it but who drops it.
                Trouble::Cancelled => Failure::panicked(),
            })?;
            for object in &listing.objects {
                let key = &object.key;
                if !key.starts_with(prefix) || key.as_slice() <= page.cursor() {
                    return Err(out_of_order());
                }
                match page.push(&s3_uri(bucket, key), key) {
                    Ok(()) => page.describe(object.identity()),
                    Err(PushError::Full) => return Ok(()),
                    Err(PushError::Failed(failure)) => return Err(failure),
                }
            }
            if !listing.truncated {
                page.ends();
                return Ok(());
            }
            wanted.after = match listing.next {
                Some(token) => After::Token(token),
                None if !listing.objects.is_empty() => After::Key(page.cursor().to_vec()),
                None => return Err(no_listing("says that more follows, and not where")),
            };
            // An answer without a key is no place to go on from.
            if time.is_up() && !listing.objects.is_empty() {
                return Ok(());
            }
        }
    }

    async fn ask_for_keys(&self, wanted: &ListObjects) -> Result<Listing, Trouble> {
        let url = self.s3.keys_url(wanted);
        let Answer { response, mut turn } = self.ask_store(&wanted.bucket, &url, &HeaderMap::new()).await?;
        let read = timeout(self.limits.stall, Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect());
        let body = match read.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(no_listing("sends more than a thousand keys take").into());
            }
            Ok(Err(error)) => {
                turn.attempt.failed();
                tracing::debug!(error = &*error, "the answer to a listing broke off");
                return Err(
                    Failure::retryable(TaskReason::SourceUnreadable, "the answer of the store broke off").into()
                );
            }
            Err(_) => {
                turn.attempt.failed();
                let message = format!("the store sent no whole answer within {} s", self.limits.stall.as_secs());
                return Err(Failure::retryable(TaskReason::SourceTimedOut, message).into());
            }
        };
        turn.attempt.succeeded();
        turn.host.pace(body.len()).await;
        let document = std::str::from_utf8(&body).map_err(|_| no_listing("answers in no UTF-8"))?;
        Ok(Listing::parse(document).map_err(|_| no_listing("answers with something else"))?)
    }
}

/// Going on from a key would leave others out.
fn out_of_order() -> Failure {
    let message = "the store does not list keys in byte order, or not those that it was asked for: \
                   it cannot be listed without leaving some out; give it a list of URIs instead";
    Failure::permanent(TaskReason::SourceUnreadable, message)
}

/// It does not keep to S3's protocol.
fn no_listing(what: &str) -> Failure {
    Failure::retryable(TaskReason::SourceUnreadable, format!("asked for a list of keys, the store {what}"))
}
