//! One request, from its turn to its answer's headers; redirects are followed by hand, each with the full check.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hashmesh::{
    error::TaskReason,
    tasks::{AllowedSources, S3Object},
};
use hashmesh_runtime::metrics::catalogue::worker::SOURCE_REQUESTS;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::Error as HyperError;
use tokio::time::timeout;
use url::{Host, Url};

use super::{
    Remote,
    answer::refusal,
    client::{Client, forbidden},
    host::Turn,
    s3::{self, S3},
};
use crate::sources::Failure;

const USER_AGENT: &str = concat!("hashmesh/", env!("CARGO_PKG_VERSION"));

/// Longer chains are loops.
const MAX_REDIRECTS: usize = 3;

/// A host that has not begun to answer by then is given up.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// What a URI names, as it is asked for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Site {
        url: Url,
        /// What the tenant may name, and redirects may lead to. `None`: whatever may be read.
        allowed: Option<AllowedSources>,
    },
    Bucket(S3Object),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The task's attempt has failed.
    Failed(Failure),
    /// The connection has; another may do better.
    Broken(Failure),
    /// Nobody wants to know.
    Cancelled,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// An answer of success (2xx, 416, or 304 where it was asked for), its body still to be read while the turn is held.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) turn: Turn,
}

impl Remote {
    /// Asks for a target with these headers besides the usual ones.
    pub(super) async fn ask(&self, target: &Target, headers: &HeaderMap) -> Result<Answer, Trouble> {
        match target {
            Target::Bucket(object) => self.ask_store(&object.bucket, &self.s3.url(object), headers).await,
            Target::Site { url, allowed } => self.follow(url.clone(), allowed.as_ref(), &usual(headers)).await,
        }
    }

    /// Asks the store for a URL of a bucket.
    pub(super) async fn ask_store(&self, bucket: &str, url: &str, headers: &HeaderMap) -> Result<Answer, Trouble> {
        let turn = self.hosts.named(&S3::host(bucket)).turn().await?;
        let request = self.s3.get(url, &usual(headers))?;
        let (response, turn) = send(&self.endpoint, request, turn).await?;
        if accepted(&response, headers) {
            return Ok(Answer { response, turn });
        }
        let (parts, body) = response.into_parts();
        let explained = timeout(HEADERS_TIMEOUT, s3::explain(parts.status, &parts.headers, body)).await;
        Err(refuse(explained.unwrap_or_else(|_| refusal(parts.status, &parts.headers, SystemTime::now())), turn))
    }

    async fn follow(
        &self,
        mut url: Url,
        allowed: Option<&AllowedSources>,
        headers: &HeaderMap,
    ) -> Result<Answer, Trouble> {
        for _ in 0..=MAX_REDIRECTS {
            self.check_address(&url)?;
            let turn = self.hosts.named(&url[..url::Position::BeforePath]).turn().await?;
            let request = get(&url, headers)?;
            let (response, mut turn) = send(&self.public, request, turn).await?;
            if accepted(&response, headers) {
                return Ok(Answer { response, turn });
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Err(refuse(refusal(response.status(), response.headers(), SystemTime::now()), turn));
            }
            turn.attempt.succeeded();
            let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let Some(mut next) = next else {
                let message = "the object's host redirects without saying where";
                return Err(Failure::permanent(TaskReason::SourceUnreadable, message).into());
            };
            next.set_fragment(None);
            self.check_redirect(&next, allowed)?;
            url = next;
        }
        let message = format!("the object's host redirects more than {MAX_REDIRECTS} times");
        Err(Failure::permanent(TaskReason::SourceUnreadable, message).into())
    }

    /// A redirect leads where the worker may read anyway, and the tenant, or nowhere.
    fn check_redirect(&self, url: &Url, allowed: Option<&AllowedSources>) -> Result<(), Failure> {
        let plain = url.username().is_empty() && url.password().is_none();
        let the_tenants = allowed.is_none_or(|allowed| allowed.cover(url.as_str().as_bytes()));
        if plain && the_tenants && self.sites.iter().any(|site| site.covers(url)) {
            return Ok(());
        }
        let message = "the object's host redirects to where this worker may not read";
        Err(Failure::permanent(TaskReason::SourceNotAllowed, message))
    }

    /// Addresses that are written out are not resolved, so they are checked here.
    fn check_address(&self, url: &Url) -> Result<(), Failure> {
        let permitted = match url.host() {
            Some(Host::Ipv4(address)) => self.networks.permit(address.into()),
            Some(Host::Ipv6(address)) => self.networks.permit(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        if permitted { Ok(()) } else { Err(not_public()) }
    }
}

/// These headers and those that every request has.
fn usual(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    // What is stored, not a packing of it for the way.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

fn get(url: &Url, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, Failure> {
    let mut request = Request::new(Empty::new());
    let unfit = |_| Failure::permanent(TaskReason::SourceUnreadable, "the URL cannot be asked for by HTTP");
    *request.uri_mut() = url.as_str().parse().map_err(unfit)?;
    *request.headers_mut() = headers.clone();
    Ok(request)
}

/// Sends a request and tells the host's breaker what became of it.
async fn send(
    client: &Client,
    request: Request<Empty<Bytes>>,
    mut turn: Turn,
) -> Result<(Response<Incoming>, Turn), Trouble> {
    match timeout(HEADERS_TIMEOUT, client.send(request)).await {
        Ok(Ok(response)) => {
            SOURCE_REQUESTS.add(1, &[class(response.status())]);
            Ok((response, turn))
        }
        // Nobody was asked.
        Ok(Err(error)) if forbidden(&error) => {
            // It says nothing of the host.
            turn.attempt.succeeded();
            Err(not_public().into())
        }
        Ok(Err(error)) => {
            SOURCE_REQUESTS.add(1, &["none"]);
            turn.attempt.failed();
            Err(Trouble::Broken(no_answer(&error)))
        }
        Err(_) => {
            SOURCE_REQUESTS.add(1, &["none"]);
            turn.attempt.failed();
            let message = format!("the object's host did not answer within {} s", HEADERS_TIMEOUT.as_secs());
            Err(Failure::retryable(TaskReason::SourceTimedOut, message).into())
        }
    }
}

/// What kind of answer it is; one that no HTTP knows tells of a host that does not work.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// Whether an answer to a request with these headers is a success.
fn accepted(response: &Response<Incoming>, asked: &HeaderMap) -> bool {
    match response.status().as_u16() {
        200 | 206 | 416 => true,
        304 => asked.contains_key(header::IF_NONE_MATCH),
        _ => false,
    }
}

fn refuse(refusal: super::answer::Refusal, mut turn: Turn) -> Trouble {
    if refusal.unwell {
        turn.attempt.failed();
    } else {
        turn.attempt.succeeded();
    }
    let mut failure = refusal.failure;
    if let Some(rest) = refusal.rest {
        failure.retry_after = Some(turn.host.rest(rest));
    }
    Trouble::Failed(failure)
}

/// The cause goes to the log: it may name addresses.
fn no_answer(error: &HyperError) -> Failure {
    tracing::debug!(error = error as &dyn std::error::Error, "an object's host does not answer");
    let message = if error.is_connect() { "no connection to the object's host" } else { "the object's host broke off" };
    Failure::retryable(TaskReason::SourceUnreadable, message)
}

fn not_public() -> Failure {
    let message = "the object's host is at an address that this worker may not connect to";
    Failure::permanent(TaskReason::SourceNotAllowed, message)
}
