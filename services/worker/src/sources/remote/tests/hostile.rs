//! What clients try, and servers with them: to have the worker ask where it must not.

use super::{
    origin::{Origin, Reply},
    *,
};

/// Hosts and ways of writing them that lead into a network, by what is refused: 30 addresses, each in several ways.
fn urls_into_the_network() -> Vec<String> {
    let v4 = [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
    ];
    let v6 = [
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001::7f00:1",
    ];
    let mut urls = Vec::new();
    for address in v4 {
        let number = u32::from(address.parse::<std::net::Ipv4Addr>().unwrap());
        let [a, b, c, d] = number.to_be_bytes();
        urls.extend([
            format!("http://{address}/"),
            format!("https://{address}:8443/x"),
            format!("http://{number}/"),
            format!("http://0x{number:08x}/"),
            format!("http://0{a:o}.0{b:o}.0{c:o}.0{d:o}/"),
            format!("http://{a}.{}/", u32::from_be_bytes([0, b, c, d])),
            format!("http://[::ffff:{address}]/"),
            format!("http://{address}./"),
        ]);
    }
    urls.extend(v6.map(|address| format!("http://[{address}]/")));
    urls.extend(["http://localhost/", "http://localhost:1/", "http://LOCALHOST./"].map(str::to_owned));
    urls
}

#[tokio::test]
async fn no_way_of_writing_an_address_leads_into_the_network() {
    let remote = remote(&["http://", "https://"], |settings| settings.allow_networks.clear());
    let urls = urls_into_the_network();
    assert!(urls.len() >= 150, "{}", urls.len());
    for url in urls {
        let failure = digest(&remote, &url, None).await.expect_err(&url);
        // As `localhost.` a name may not resolve at all.
        let known = ["SOURCE_NOT_ALLOWED", "SOURCE_UNREADABLE"];
        assert!(known.contains(&failure.reason) && !failure.uncharged, "{url}: {failure:?}");
        assert!(failure.reason == "SOURCE_NOT_ALLOWED" || url.contains("LOCALHOST."), "{url}: {failure:?}");
        for part in ["127.", "::1", "169.254"] {
            assert!(!failure.message.contains(part), "{url}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_url_of_a_host_that_may_be_read_is_refused() {
    let remote = remote(&["https://example.com/pub/", "s3://bucket/pub/"], |_| ());
    for uri in [
        "https://example.com/",
        "https://example.com/pub",
        "https://example.com/public/x",
        "https://example.com/pub/../x",
        "https://example.com/pub/%2e%2e/x",
        "https://example.com/pub/%2E%2E%2Fx",
        "https://example.com/pub/..%5Cx",
        "http://example.com/pub/x",
        "https://example.com:444/pub/x",
        "https://user@example.com/pub/x",
        "https://user:secret@example.com/pub/x",
        "https://example.com@evil.net/pub/x",
        "https://evil.net/pub/x",
        "https://example.com.evil.net/pub/x",
        "https://evil.net#@example.com/pub/x",
        "https://evil.net\\@example.com/pub/x",
        "//example.com/pub/x",
        "https:/\\evil.net/pub/x",
        "ftp://example.com/pub/x",
        "gopher://example.com/pub/x",
        "dict://example.com/pub/x",
        "file:///etc/passwd",
        "jar:https://example.com/pub/x",
        "s3://other/pub/x",
        "s3://bucket/x",
        "s3://bucket/pub",
        "s3://bucket@evil.net/pub/x",
        "s3://bucket:80/pub/x",
        "",
    ] {
        let failure = digest(&remote, uri, None).await.expect_err(uri);
        assert!(["CANNOT_REACH_SOURCE", "SOURCE_NOT_ALLOWED"].contains(&failure.reason), "{uri}: {failure:?}");
    }
}

#[tokio::test]
async fn redirects_lead_where_the_worker_may_read_anyway_and_three_times_at_most() {
    let target = Origin::start(|_| Reply::ok(b"there")).await;
    let there = target.url("/pub/x");
    let origin = Origin::start(move |seen| {
        let hops: usize = seen.path.trim_start_matches("/pub/").parse().unwrap();
        let location = if hops == 1 { there.clone() } else { format!("/pub/{}", hops - 1) };
        Reply::status(if hops.is_multiple_of(2) { 302 } else { 307 }).header("location", &location)
    })
    .await;
    let allowed = [origin.url("/pub/"), target.url("/pub/")];
    let remote = remote(&[&allowed[0], &allowed[1]], |_| ());
    for hops in 1..=3 {
        let (digests, _) = digest(&remote, &origin.url(&format!("/pub/{hops}")), None).await.unwrap();
        assert_eq!(digests, digests_of(b"there"), "{hops}");
    }
    let failure = digest(&remote, &origin.url("/pub/4"), None).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), ("SOURCE_UNREADABLE", false));
}

#[tokio::test]
async fn promise_10_what_the_tenant_may_not_name_is_not_asked_for_and_no_redirect_leads_there() {
    let secret = Origin::start(|_| Reply::ok(b"secret")).await;
    let to = secret.url("/pub/x");
    let ours = Origin::start(move |seen| {
        if seen.path == "/pub/there" { Reply::status(302).header("location", &to) } else { Reply::ok(b"ours") }
    })
    .await;
    // The worker may read either.
    let remote = remote(&[&ours.url("/"), &secret.url("/")], |_| ());
    let (one, both) = (tenants(&[&ours.url("/pub/")]), tenants(&[&ours.url("/pub/"), &secret.url("/")]));
    let recipe = recipe();
    let read = async |url: &str, allowed| {
        let wanted = Wanted {
            uri: url.as_bytes(),
            range: None,
            algorithms: &recipe,
            allowed: Some(allowed),
            known: None,
            listed: None,
            keeps: false,
        };
        digest_wanted(&remote, wanted).await.map(|(digests, _)| digests)
    };
    assert_eq!(read(&ours.url("/pub/x"), &one).await.unwrap(), digests_of(b"ours"));
    assert_eq!(read(&ours.url("/pub/there"), &both).await.unwrap(), digests_of(b"secret"));
    let (asked, kept) = (ours.seen().len(), secret.seen().len());
    for url in [secret.url("/pub/x"), ours.url("/x"), ours.url("/pub/../x"), "s3://bucket/x".to_owned()] {
        let failure = read(&url, &one).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_ALLOWED", false), "{url}");
    }
    assert_eq!(ours.seen().len(), asked);
    let failure = read(&ours.url("/pub/there"), &one).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_ALLOWED", false));
    assert_eq!(secret.seen().len(), kept);
}

#[tokio::test]
async fn a_redirect_to_where_the_worker_may_not_read_is_not_followed() {
    let secret = Origin::start(|_| Reply::ok(b"secret")).await;
    let outside = secret.url("/pub/x");
    let port = secret.address.port();
    for location in [
        outside.clone(),
        outside.replace("127.0.0.1", "127.0.0.2"),
        outside.replace("127.0.0.1", "localhost"),
        outside.replace("127.0.0.1", "2130706433"),
        format!("//127.0.0.1:{port}/pub/x"),
        "/secret".to_owned(),
        "/pub/../secret".to_owned(),
        "/pub/%2e%2e/secret".to_owned(),
        "http://user:secret@127.0.0.1/pub/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "s3://bucket/key".to_owned(),
        "ftp://127.0.0.1/pub/x".to_owned(),
    ] {
        let to = location.clone();
        let origin = Origin::start(move |_| Reply::status(302).header("location", &to)).await;
        let remote = remote(&[&origin.url("/pub/")], |_| ());
        let failure = digest(&remote, &origin.url("/pub/x"), None).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_ALLOWED", false), "{location}");
        assert_eq!(origin.seen().len(), 1, "{location}");
    }
    assert_eq!(secret.seen().len(), 0);

    // Allowed by its name, and yet at an address that is not public.
    let to = outside.clone();
    let origin =
        Origin::start(move |_| Reply::status(302).header("location", &to.replace("127.0.0.1", "localhost"))).await;
    let network = format!("{}/32", origin.address.ip()).parse().unwrap();
    let remote = remote(&["http://"], |settings| settings.allow_networks = vec![network]);
    // `localhost` is 127.0.0.1 too, which is allowed here; the metadata service is not.
    assert!(digest(&remote, &origin.url("/"), None).await.is_ok());
    let origin = Origin::start(|_| Reply::status(302).header("location", "http://169.254.169.254/latest/")).await;
    assert_eq!(digest(&remote, &origin.url("/"), None).await.unwrap_err().reason, "SOURCE_NOT_ALLOWED");
}
