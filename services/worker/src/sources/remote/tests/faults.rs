//! What servers do wrong. Promise 7: no digest of anything but the object's bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    origin::{Origin, Reply, Seen},
    *,
};

async fn failure(remote: &Remote, origin: &Origin) -> Failure {
    digest(remote, &origin.url("/object"), None).await.expect_err("no digest")
}

#[tokio::test]
async fn an_object_is_read_whole_and_in_part_with_its_identity() {
    let object = object();
    let size = object.len() as u64;
    let served = object.clone();
    let origin = Origin::start(move |seen| {
        Reply::object(seen, &served).header("etag", "\"v1\"").header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
    })
    .await;
    let remote = remote(&["http://"], |_| ());
    let url = origin.url("/a%20b?c=d");
    for (offset, length) in [(0, 0), (0, 1), (5, 0), (size - 1, 1), (size, 0), (0, size), (7, 300_000)] {
        let range = (offset, length) != (0, 0);
        let (digests, read) = digest(&remote, &url, range.then_some(ByteRange { offset, length })).await.unwrap();
        let end = if length == 0 { size } else { offset + length };
        assert_eq!(digests, digests_of(&object[offset as usize..end as usize]), "{offset}+{length}");
        assert_eq!((read.hashed_bytes, read.identity.size), (end - offset, size));
        if offset < size {
            assert_eq!(
                (read.identity.etag.as_str(), read.identity.modify_time.unwrap().seconds),
                ("\"v1\"", 784_111_777)
            );
        }
    }
    for (offset, length) in [(size + 1, 0), (size, 1), (size - 1, 2), (u64::MAX, 1)] {
        let failure = digest(&remote, &url, Some(ByteRange { offset, length })).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_TOO_SHORT", false), "{offset}+{length}");
    }
    let Seen { path, headers, .. } = origin.seen().swap_remove(0);
    assert_eq!(path, "/a%20b?c=d");
    assert_eq!((headers["accept-encoding"].as_str(), headers.get("cookie")), ("identity", None));
}

#[tokio::test]
async fn a_server_that_knows_nothing_of_ranges_is_read_from_its_start() {
    let object = object();
    let served = object.clone();
    let origin = Origin::start(move |_| Reply::ok(&served)).await;
    let remote = remote(&["http://"], |_| ());
    let part = digest(&remote, &origin.url("/"), Some(ByteRange { offset: 1_000, length: 400_000 })).await.unwrap();
    assert_eq!((part.0, part.1.hashed_bytes), (digests_of(&object[1_000..401_000]), 400_000));
    let too_far = ByteRange { offset: object.len() as u64 - 1, length: 2 };
    assert_eq!(digest(&remote, &origin.url("/"), Some(too_far)).await.unwrap_err().reason, "SOURCE_TOO_SHORT");
}

#[tokio::test]
async fn promise_8_what_is_skipped_of_a_body_counts_against_the_limits() {
    let object = object();
    let limited = remote(&["http://"], |settings| settings.max_bytes = 400_000);
    let whole = Reply::ok(&object);
    let framed = [format!("{:x}\r\n", object.len()).as_bytes(), &object, b"\r\n0\r\n\r\n"].concat();
    let chunked = Reply::bare("200 OK", &framed).header("transfer-encoding", "chunked");
    for reply in [whole, chunked] {
        let origin = Origin::start(move |_| reply.clone()).await;
        let range = async |offset, length| {
            let read = digest(&limited, &origin.url("/"), Some(ByteRange { offset, length })).await;
            read.map(|(digests, _)| digests).map_err(|failure| (failure.reason, failure.retryable))
        };
        assert_eq!(range(300_000, 100_000).await, Ok(digests_of(&object[300_000..400_000])));
        for (offset, length) in [(300_000, 100_001), (400_000, 1), (500_000, 0)] {
            assert_eq!(range(offset, length).await, Err(("SOURCE_TOO_LARGE", false)), "{offset}+{length}");
        }
    }
    // Where nothing is skipped the range alone counts.
    let served = object.clone();
    let origin = Origin::start(move |seen| Reply::object(seen, &served)).await;
    let part = digest(&limited, &origin.url("/"), Some(ByteRange { offset: 386_449, length: 400_000 })).await.unwrap();
    assert_eq!(part.0, digests_of(&object[386_449..]));

    // A body without an end, asked for what lies far in it.
    let endless = || Reply::bare("200 OK", b"").header("transfer-encoding", "chunked").endless(b"4\r\nabcd\r\n");
    let origin = Origin::start(move |_| endless()).await;
    let far = Some(ByteRange { offset: 1 << 60, length: 1 });
    assert_eq!(digest(&limited, &origin.url("/"), far).await.unwrap_err().reason, "SOURCE_TOO_LARGE");
    let hurried = remote(&["http://"], |settings| settings.total = Duration::from_millis(200));
    assert_eq!(digest(&hurried, &origin.url("/"), far).await.unwrap_err().reason, "SOURCE_TIMED_OUT");
}

#[tokio::test]
async fn promise_7_a_connection_that_breaks_anywhere_is_taken_up_where_it_broke() {
    let object = object();
    for tenth in 0..10 {
        let at = object.len() * tenth / 10 + 1;
        let served = object.clone();
        let origin = Origin::start(move |seen| {
            let reply = Reply::object(seen, &served).header("etag", "\"v1\"");
            if seen.nth == 0 { reply.cut_after(at) } else { reply }
        })
        .await;
        let (digests, read) = digest(&remote(&["http://"], |_| ()), &origin.url("/"), None).await.unwrap();
        assert_eq!((digests, read.hashed_bytes), (digests_of(&object), object.len() as u64), "cut at {at}");
        let seen = origin.seen();
        assert_eq!((seen.len(), seen[1].header("if-match")), (2, Some("\"v1\"")), "cut at {at}");
        let from = seen[1].range(object.len()).unwrap().0;
        assert!(from <= at && from + GATHERED_BYTES > at, "cut at {at}, taken up at {from}");
    }
}

#[tokio::test]
async fn promise_7_an_object_that_changes_between_two_requests_has_no_digest() {
    let object = object();
    for (etags, status) in [(["\"v1\"", "\"v2\""], 206), (["\"v1\"", "\"v1\""], 412), (["", ""], 0)] {
        let served = object.clone();
        let origin = Origin::start(move |seen| {
            let reply = Reply::object(seen, &served);
            let reply = if etags[0].is_empty() { reply } else { reply.header("etag", etags[seen.nth.min(1)]) };
            match (seen.nth, status) {
                (0, _) => reply.cut_after(500_000),
                (_, 412) => Reply::status(412),
                _ => reply,
            }
        })
        .await;
        let failure = failure(&remote(&["http://"], |_| ()), &origin).await;
        // What cannot be told to be the same is not put together.
        let wanted = if status == 0 { "SOURCE_UNREADABLE" } else { "SOURCE_CHANGED" };
        assert_eq!((failure.reason, failure.retryable), (wanted, true), "{etags:?} {status}");
    }
}

#[tokio::test]
async fn promise_7_a_body_that_is_not_what_was_announced_has_no_digest() {
    type Case = (&'static str, fn() -> Reply);
    let cases: [Case; 6] = [
        ("shorter than its length", || Reply::bare("200 OK", b"12345").header("content-length", "10").cut_after(5)),
        ("without a length", || Reply::bare("200 OK", b"12345")),
        ("chunked without an end", || {
            Reply::bare("200 OK", b"5\r\n12345\r\n").header("transfer-encoding", "chunked").cut_after(10)
        }),
        ("a chunk that is cut", || {
            Reply::bare("200 OK", b"5\r\n123").header("transfer-encoding", "chunked").cut_after(6)
        }),
        ("two lengths", || Reply::bare("200 OK", b"12345").header("content-length", "5").header("content-length", "6")),
        ("another part", || Reply::bare("206 Partial Content", b"12345").header("content-range", "bytes 3-7/9")),
    ];
    for (what, reply) in cases {
        let origin = Origin::start(move |_| reply()).await;
        let failure = failure(&remote(&["http://"], |_| ()), &origin).await;
        assert_eq!(failure.reason, "SOURCE_UNREADABLE", "{what}");
    }
    let chunked = Origin::start(|_| {
        Reply::bare("200 OK", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n").header("transfer-encoding", "chunked")
    })
    .await;
    let (digests, read) = digest(&remote(&["http://"], |_| ()), &chunked.url("/"), None).await.unwrap();
    assert_eq!((digests, read.identity.size), (digests_of(b"abcdefg"), 7));
}

#[tokio::test]
async fn promise_8_an_endless_body_ends_where_the_limit_is() {
    let endless = || Reply::bare("200 OK", b"").header("transfer-encoding", "chunked").endless(b"4\r\nabcd\r\n");
    let origin = Origin::start(move |_| endless()).await;
    let limited = remote(&["http://"], |settings| settings.max_bytes = 1_000_000);
    let endless = failure(&limited, &origin).await;
    assert_eq!((endless.reason, endless.retryable), ("SOURCE_TOO_LARGE", false));

    // One that says how large it is is not even begun; one that just fits is read.
    for (bytes, fits) in [(1_000_000, true), (1_000_001, false)] {
        let origin = Origin::start(move |_| Reply::ok(&vec![0; bytes])).await;
        let result = digest(&limited, &origin.url("/"), None).await;
        assert_eq!(
            result.map(drop).map_err(|failure| failure.reason),
            if fits { Ok(()) } else { Err("SOURCE_TOO_LARGE") }
        );
    }
}

#[tokio::test]
async fn a_server_that_stops_sending_is_given_up() {
    let impatient = remote(&["http://"], |settings| settings.stall = Duration::from_millis(300));
    for at in [0, 500_000] {
        let origin = Origin::start(move |_| Reply::ok(&object()).header("etag", "\"v1\"").stall_after(at)).await;
        let failure = failure(&impatient, &origin).await;
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_TIMED_OUT", true), "{at}");
    }
    // A trickle that never stalls has its limit too.
    let endless = || Reply::bare("200 OK", b"").header("transfer-encoding", "chunked").endless(b"1\r\nx\r\n");
    let origin = Origin::start(move |_| endless()).await;
    let failure = failure(&remote(&["http://"], |settings| settings.total = Duration::from_millis(200)), &origin).await;
    assert_eq!(failure.reason, "SOURCE_TIMED_OUT");
}

#[tokio::test]
async fn refusals_have_their_reasons_and_rests_are_taken() {
    for (status, reason, retryable) in [
        (404, "SOURCE_NOT_FOUND", false),
        (403, "SOURCE_DENIED", false),
        (500, "SOURCE_UNREADABLE", true),
        (302, "SOURCE_UNREADABLE", false),
        (204, "SOURCE_UNREADABLE", false),
    ] {
        let origin = Origin::start(move |_| Reply::status(status)).await;
        let failure = failure(&remote(&["http://"], |_| ()), &origin).await;
        assert_eq!((failure.reason, failure.retryable), (reason, retryable), "{status}");
    }
    let origin = Origin::start(|seen| match seen.nth {
        0 => Reply::status(429).header("retry-after", "1"),
        _ => Reply::ok(b"x"),
    })
    .await;
    let remote = remote(&["http://"], |_| ());
    let failed = failure(&remote, &origin).await;
    assert_eq!((failed.reason, failed.retry_after), ("SOURCE_THROTTLED", Some(Duration::from_secs(1))));
    let began = std::time::Instant::now();
    digest(&remote, &origin.url("/object"), None).await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_left_alone() {
    let origin = Origin::start(|_| Reply::status(500)).await;
    let remote = remote(&["http://"], |_| ());
    for _ in 0..20 {
        let failed = failure(&remote, &origin).await;
        assert_eq!((failed.reason, failed.retryable), ("SOURCE_UNREADABLE", true));
    }
    assert_eq!(origin.seen().len(), 5);
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_a_host_may_be_asked() {
    static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let origin = Origin::start(|_| {
        MOST.fetch_max(UNDER_WAY.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Reply::ok(b"x")
    })
    .await;
    let remote = remote(&["http://"], |settings| settings.reads_per_host = 3);
    let url = origin.url("/");
    let one = async || {
        let mut digests = Vec::new();
        let recipe = recipe();
        let wanted = Wanted {
            uri: url.as_bytes(),
            range: None,
            algorithms: &recipe,
            allowed: None,
            known: None,
            listed: None,
            keeps: false,
        };
        let read = remote.digest(wanted, &mut digests, &Unwatched).await;
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
        read.map(drop)
    };
    let all = futures::future::join_all((0..50).map(|_| one())).await;
    let failed: Vec<_> = all.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(MOST.load(Ordering::SeqCst) <= 3, "{MOST:?}");
}
