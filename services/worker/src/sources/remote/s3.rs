//! S3-compatible stores: where an object is asked for, signed with the worker's credentials, and what refusals mean.
//!
//! The endpoint is what the worker was started with, and may be anywhere. A client names bucket and key and nothing else.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use bytes::Bytes;
use hashmesh::{
    error::TaskReason,
    tasks::{S3Object, s3_uri},
};
use hashmesh_runtime::telemetry::{self, Repeated};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use quick_xml::{Reader, events::Event};
use url::Url;

use super::{
    answer::{Refusal, refusal},
    bucket::{After, ListObjects},
};
use crate::sources::{Failure, SourcesError};

/// With credentials that cannot sign, none can be.
static NOT_SIGNED: Repeated = Repeated::new();

/// An error's document is far smaller.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// How a worker reaches its store.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// `https://HOST[:PORT][/PATH]`; `None`: Amazon's own, of the region.
    pub endpoint: Option<String>,
    /// For example `eu-central-1`.
    pub region: String,
    /// `None`: requests are not signed, as for public buckets.
    pub credentials: Option<S3Credentials>,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self { endpoint: None, region: "us-east-1".to_owned(), credentials: None }
    }
}

/// Who a worker is to the store. Never shown.
#[derive(Clone)]
pub struct S3Credentials(Credentials);

impl S3Credentials {
    /// As they are in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    #[must_use]
    pub fn new(access_key_id: String, secret_access_key: String, session_token: Option<String>) -> Self {
        Self(Credentials::new(access_key_id, secret_access_key, session_token, None, "hashmesh"))
    }
}

impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("S3Credentials(…)")
    }
}

/// One store.
#[derive(Clone, Debug)]
pub(super) struct S3 {
    /// Without `/` at its end. `None`: Amazon's own.
    endpoint: Option<String>,
    region: String,
    credentials: Option<S3Credentials>,
    address: String,
}

impl S3 {
    pub(super) fn new(settings: &S3Settings) -> Result<Self, SourcesError> {
        let endpoint = match &settings.endpoint {
            None => None,
            Some(text) => {
                let url = Url::parse(text).ok().filter(|url| {
                    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
                    matches!(url.scheme(), "http" | "https") && url.has_host() && plain && url.fragment().is_none()
                });
                let url = url.ok_or_else(|| SourcesError::Endpoint { text: text.clone() })?;
                Some(url.as_str().trim_end_matches('/').to_owned())
            }
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if settings.region.is_empty() || !settings.region.bytes().all(letter) {
            return Err(SourcesError::Region { text: settings.region.clone() });
        }
        let region = settings.region.clone();
        let address = endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        Ok(Self { endpoint, region, credentials: settings.credentials.clone(), address })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What a bucket is known by where requests are counted.
    pub(super) fn host(bucket: &str) -> String {
        format!("s3://{bucket}/")
    }

    /// A signed request for a URL of this store, with these headers besides.
    pub(super) fn get(&self, url: &str, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, Failure> {
        let broken =
            |_| Failure::permanent(TaskReason::SourceUnreadable, "the object's key cannot be asked for by HTTP");
        // hyper's own type changes nothing in a path: `a/../b` and `a//b` are keys.
        let uri: Uri = url.parse().map_err(broken)?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        if let Some(S3Credentials(credentials)) = &self.credentials {
            self.sign(url, credentials, &mut request).map_err(|error| {
                if let Some(left_out) = NOT_SIGNED.failed() {
                    tracing::error!(
                        error = telemetry::chain(&*error),
                        left_out,
                        "a request to the S3 store cannot be signed"
                    );
                }
                Failure::permanent(TaskReason::SourceDenied, "the worker's credentials cannot sign a request")
            })?;
        }
        Ok(request)
    }

    fn sign(
        &self,
        url: &str,
        credentials: &Credentials,
        request: &mut Request<Empty<Bytes>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // As S3 wants it, other than Amazon's other services: the path as it is sent.
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new("GET", url, headers, SignableBody::Bytes(&[]))?;
        let (instructions, _signature) = sign(signable, &parameters)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    /// Where an object is.
    pub(super) fn url(&self, object: &S3Object) -> String {
        // `s3://bucket/key`, encoded as S3 wants it signed.
        let uri = s3_uri(&object.bucket, &object.key);
        let mut url = self.bucket_url(&object.bucket);
        url.push_str(&uri[S3::host(&object.bucket).len() - 1..]);
        if let Some(version) = &object.version {
            push_query(&mut url, '?', "versionId", version.as_bytes());
        }
        url
    }

    /// Where a bucket's keys are asked for, a thousand at a time.
    pub(super) fn keys_url(&self, wanted: &ListObjects) -> String {
        let mut url = self.bucket_url(&wanted.bucket);
        // Amazon's own has the bucket in its host, and a path must be said.
        if self.endpoint.is_none() {
            url.push('/');
        }
        url.push_str("?list-type=2&encoding-type=url&max-keys=1000");
        if !wanted.prefix.is_empty() {
            push_query(&mut url, '&', "prefix", &wanted.prefix);
        }
        match &wanted.after {
            After::Key(key) if key.is_empty() => {}
            After::Key(key) => push_query(&mut url, '&', "start-after", key),
            After::Token(token) => push_query(&mut url, '&', "continuation-token", token.as_bytes()),
        }
        url
    }

    /// Without `/` at its end.
    fn bucket_url(&self, bucket: &str) -> String {
        if let Some(endpoint) = &self.endpoint {
            return format!("{endpoint}/{bucket}");
        }
        let region = &self.region;
        // A certificate of *.s3.… holds for one label.
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if bucket.len() <= 63 && bucket.bytes().all(label) {
            format!("https://{bucket}.s3.{region}.amazonaws.com")
        } else {
            format!("https://s3.{region}.amazonaws.com/{bucket}")
        }
    }
}

/// RFC 3986's unreserved set is left as it is, as signatures want it.
const QUERY: percent_encoding::AsciiSet =
    percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn push_query(url: &mut String, before: char, name: &str, value: &[u8]) {
    url.push(before);
    url.push_str(name);
    url.push('=');
    url.extend(percent_encoding::percent_encode(value, &QUERY));
}

/// What a refusal means, by the code in its body where it has one.
pub(super) async fn explain(status: StatusCode, headers: &HeaderMap, body: hyper::body::Incoming) -> Refusal {
    let usual = refusal(status, headers, SystemTime::now());
    let body = Limited::new(body, MAX_ERROR_BYTES).collect().await;
    let code = body.ok().and_then(|body| code(&body.to_bytes()));
    let permanent =
        |reason, message: &str| Refusal { failure: Failure::permanent(reason, message), unwell: false, rest: None };
    match code.as_deref() {
        Some("NoSuchBucket") => permanent(TaskReason::SourceNotFound, "no such bucket"),
        Some("InvalidObjectState") => {
            permanent(TaskReason::SourceDenied, "the object is archived; have the store restore it first")
        }
        Some(
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired",
        ) => permanent(TaskReason::SourceDenied, "the store does not accept the worker's credentials"),
        Some("RequestTimeTooSkewed") => {
            let message = "the worker's clock and the store's differ too much";
            Refusal { failure: Failure::retryable(TaskReason::SourceDenied, message), ..usual }
        }
        Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            permanent(TaskReason::SourceUnreadable, "the bucket is in another region than the worker's (--s3-region)")
        }
        Some("SlowDown" | "ThrottlingException" | "TooManyRequests") => {
            let rest = refusal(StatusCode::TOO_MANY_REQUESTS, headers, SystemTime::now());
            Refusal { failure: rest.failure, unwell: false, rest: rest.rest }
        }
        _ => usual,
    }
}

/// `<Error><Code>…</Code></Error>`.
fn code(document: &[u8]) -> Option<String> {
    let mut reader = Reader::from_reader(document);
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) if element.local_name().as_ref() == "Code" => {
                let Event::Text(text) = reader.read_event().ok()? else { return None };
                return Some((*text).to_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(endpoint: Option<&str>) -> S3 {
        S3::new(&S3Settings { endpoint: endpoint.map(str::to_owned), ..S3Settings::default() }).unwrap()
    }

    fn object(bucket: &str, key: &[u8]) -> S3Object {
        S3Object { bucket: bucket.to_owned(), key: key.to_vec(), version: None }
    }

    #[test]
    fn an_object_is_asked_for_where_it_is_by_its_key_as_it_is() {
        let ours = store(Some("http://127.0.0.1:9000/"));
        for (key, path) in [
            (&b"a/b"[..], "a/b"),
            (b"a//b/../c/.", "a//b/../c/."),
            (b"/", "/"),
            (b"a b+c?d#e%f", "a%20b%2Bc%3Fd%23e%25f"),
            (b"\xff\0", "%FF%00"),
        ] {
            let request = ours.get(&ours.url(&object("bucket", key)), &HeaderMap::new()).unwrap();
            assert_eq!(request.uri().to_string(), format!("http://127.0.0.1:9000/bucket/{path}"));
        }
        let versioned = S3Object { version: Some("a/b=".to_owned()), ..object("bucket", b"key") };
        assert_eq!(ours.url(&versioned), "http://127.0.0.1:9000/bucket/key?versionId=a%2Fb%3D");
        assert_eq!(store(None).url(&object("bucket", b"key")), "https://bucket.s3.us-east-1.amazonaws.com/key");
        assert_eq!(store(None).url(&object("my.bucket", b"key")), "https://s3.us-east-1.amazonaws.com/my.bucket/key");
    }

    #[test]
    fn keys_are_asked_for_behind_a_key_or_where_an_answer_ended() {
        let url = |store: S3, bucket: &str, prefix: &[u8], after| {
            store.keys_url(&ListObjects { bucket: bucket.to_owned(), prefix: prefix.to_vec(), after })
        };
        let usual = "?list-type=2&encoding-type=url&max-keys=1000";
        let (ours, first) = (|| store(Some("http://127.0.0.1:9000/s3")), After::Key(Vec::new()));
        assert_eq!(url(ours(), "bucket", b"", first.clone()), format!("http://127.0.0.1:9000/s3/bucket{usual}"));
        assert_eq!(
            url(ours(), "bucket", b"a/\xff b~", After::Key(b"a/+&=".to_vec())),
            format!("http://127.0.0.1:9000/s3/bucket{usual}&prefix=a%2F%FF%20b~&start-after=a%2F%2B%26%3D")
        );
        let token = After::Token("1/x+=".to_owned());
        assert_eq!(
            url(store(None), "bucket", b"a", token),
            format!("https://bucket.s3.us-east-1.amazonaws.com/{usual}&prefix=a&continuation-token=1%2Fx%2B%3D")
        );
        assert!(
            url(store(None), "my.bucket", b"", first).starts_with("https://s3.us-east-1.amazonaws.com/my.bucket/?")
        );
    }

    #[test]
    fn requests_are_signed_where_there_are_credentials_and_never_show_them() {
        let credentials = S3Credentials::new("AKID".to_owned(), "SECRET".to_owned(), Some("TOKEN".to_owned()));
        let settings = S3Settings { credentials: Some(credentials), ..S3Settings::default() };
        assert!(!format!("{settings:?}").contains("SECRET"));
        let signed = S3::new(&settings).unwrap();
        let request = signed.get(&signed.url(&object("bucket", b"a/../b c")), &HeaderMap::new()).unwrap();
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{:?}", request.headers());
        assert!(header("authorization").contains("/us-east-1/s3/aws4_request"));
        assert_eq!(header("x-amz-security-token"), "TOKEN");
        assert_eq!(request.uri().path(), "/a/../b%20c");
        let public = store(None);
        let anonymous = public.get(&public.url(&object("bucket", b"key")), &HeaderMap::new()).unwrap();
        assert!(anonymous.headers().is_empty());
    }

    #[test]
    fn settings_that_name_no_store_are_refused() {
        for endpoint in ["", "minio:9000", "ftp://host/", "http://user:secret@host/", "http://host/?q", "http://"] {
            let settings = S3Settings { endpoint: Some(endpoint.to_owned()), ..S3Settings::default() };
            assert!(S3::new(&settings).unwrap_err().to_string().contains("--s3-endpoint"), "{endpoint}");
        }
        let settings = S3Settings { region: "eu central".to_owned(), ..S3Settings::default() };
        assert!(S3::new(&settings).unwrap_err().to_string().contains("--s3-region"));
    }

    #[test]
    fn an_error_is_known_by_its_code() {
        let document = br#"<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>x</Message></Error>"#;
        assert_eq!(code(document).as_deref(), Some("NoSuchKey"));
        for document in [&b""[..], b"<html>", b"<Error><Code/></Error>", b"not xml at all", b"<Error><Code>"] {
            assert_eq!(code(document), None);
        }
    }
}
