//! Runs over the same objects again: what has not changed is not read, and whatever has changed is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures::future::join_all;
use hashmesh::{
    gateway::v1::{CreateSubmissionRequest, GetStatsRequest},
    tasks::{file_uri, s3_uri},
    v1::{
        Algorithm, CacheMode, CacheStats, Digest, Expansion, ObjectReference, Outcome, OutcomeStatus,
        SubmissionOptions, SubmissionState, Task, TaskRows, task::Source,
    },
};

use crate::support::{
    Database, Gateway, Mesh, MeshOptions, Role, Up,
    oracle::{self, sha256_hex},
    process::MOUNTED,
    rundir,
    s3::S3,
    scripted_web,
    wait::{PATIENCE, until},
};

/// A change within this time leaves no trace that is sure; what is younger is read.
const SETTLED: Duration = Duration::from_secs(2);

/// Waits until nothing of these was changed lately.
async fn settled(paths: impl IntoIterator<Item = PathBuf>) {
    settled_for(SETTLED, paths).await;
}

async fn settled_for(least: Duration, paths: impl IntoIterator<Item = PathBuf>) {
    let newest = |path: PathBuf| {
        let metadata = fs::metadata(path).expect("it is there");
        SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime().unsigned_abs(), metadata.ctime_nsec() as u32)
    };
    let newest = paths.into_iter().map(newest).max().expect("some");
    until("the files to be settled", PATIENCE, async || (newest.elapsed().unwrap_or_default() > least).then_some(()))
        .await;
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root).expect("a directory").map(|file| file.expect("one").path()).collect();
    files.sort();
    files
}

fn directory_uri(path: &Path) -> String {
    format!("{}/", file_uri(path.as_os_str().as_bytes()))
}

/// Has the mesh list and digest a place: the outcomes by name, and the bytes that were read.
async fn run(gateway: &mut Gateway, source_uri: &str, cache: CacheMode) -> (BTreeMap<String, Outcome>, u64) {
    let expansion = Some(Expansion { source_uri: source_uri.to_owned() });
    let options = SubmissionOptions { expansion, cache: cache.into(), ..SubmissionOptions::default() };
    let request = CreateSubmissionRequest { options: Some(options), ..CreateSubmissionRequest::default() };
    let opened = gateway.create_submission(request).await.expect("created").into_inner().opened.expect("it is there");
    let end = gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    assert_eq!(end.succeeded_tasks, end.accepted_tasks, "{end:?}");
    let outcomes = gateway.outcomes_after(&opened.submission_id, 0).await;
    (outcomes.into_iter().map(|outcome| (outcome.name.clone(), outcome)).collect(), end.hashed_bytes)
}

fn is_cached(outcome: &Outcome) -> bool {
    outcome.identity.as_ref().is_some_and(|identity| identity.cached)
}

fn cached(outcomes: &BTreeMap<String, Outcome>) -> usize {
    outcomes.values().filter(|outcome| is_cached(outcome)).count()
}

/// The names of what was read.
fn read(outcomes: &BTreeMap<String, Outcome>) -> Vec<&str> {
    outcomes.iter().filter(|(_, outcome)| !is_cached(outcome)).map(|(name, _)| name.as_str()).collect()
}

fn assert_right(outcomes: &BTreeMap<String, Outcome>, root: &Path) {
    let files = files(root);
    let contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
    let wanted = oracle::digests("sha256", contents.iter().map(Vec::as_slice));
    assert_eq!(outcomes.len(), files.len());
    for (file, digest) in files.iter().zip(wanted) {
        let name = file_uri(file.as_os_str().as_bytes());
        assert_eq!(outcomes[&name].digests[0].hex, hex::encode(digest), "{name}");
    }
}

/// What was put is there.
async fn counted(gateway: &mut Gateway, what: &str, holds: impl Fn(&CacheStats) -> bool) -> CacheStats {
    until(what, PATIENCE, async || {
        let stats = gateway.get_stats(GetStatsRequest {}).await.ok()?.into_inner().cache?;
        holds(&stats).then_some(stats)
    })
    .await
}

/// Changes a file's bytes and nothing else that can be seen but its time of change.
fn change_in_place(path: &Path) {
    let modified = fs::metadata(path).expect("it is there").modified().expect("a time");
    let mut content = fs::read(path).expect("a file");
    content[0] ^= 1;
    fs::write(path, content).expect("written");
    File::options().write(true).open(path).expect("opened").set_modified(modified).expect("put back");
}

#[tokio::test]
async fn promise_7_of_a_tree_only_what_has_changed_is_read_again_whatever_was_done_to_hide_it() {
    let tree = rundir::directory("cached-tree");
    let (up, uri) =
        (Up::start("cached-tree-up", &["--allow-source", tree.to_str().expect("UTF-8")]).await, directory_uri(&tree));
    let mut gateway = Gateway::connect(&up.server).await;
    let name = |number: usize| format!("{uri}f{number:03}");

    // What was changed just now is right, and is not kept.
    for number in 0..200 {
        fs::write(tree.join(format!("f{number:03}")), format!("{number:03} before")).expect("a file");
    }
    let (outcomes, bytes) = run(&mut gateway, &uri, CacheMode::Use).await;
    assert_right(&outcomes, &tree);
    assert_eq!((cached(&outcomes), bytes), (0, 2_000));
    settled(files(&tree)).await;
    let (outcomes, _) = run(&mut gateway, &uri, CacheMode::Use).await;
    assert_eq!(cached(&outcomes), 0);
    counted(&mut gateway, "all to be kept", |stats| stats.put_entries == 200).await;
    let (outcomes, bytes) = run(&mut gateway, &uri, CacheMode::Unspecified).await;
    assert_right(&outcomes, &tree);
    assert_eq!((cached(&outcomes), bytes), (200, 0), "nothing is read");
    assert_eq!(outcomes[&name(7)].identity.as_ref().expect("one").size, 10);

    // One is changed in place, of the same size, its time put back.
    change_in_place(&tree.join("f001"));
    // One inode is another file's now; one file has changed places with another; one has other rights.
    fs::remove_file(tree.join("f002")).expect("removed");
    fs::write(tree.join("f002"), "another: 2").expect("a file");
    fs::rename(tree.join("f003"), tree.join("f004")).expect("renamed");
    fs::write(tree.join("f003"), "003 new:  ").expect("a file");
    let (outcomes, bytes) = run(&mut gateway, &uri, CacheMode::Use).await;
    assert_right(&outcomes, &tree);
    assert_eq!(read(&outcomes), [name(1), name(2), name(3), name(4)]);
    assert_eq!(bytes, 40);

    // The same file twice within a second, of the same size: never is the first taken for the second.
    for round in 0..20 {
        fs::write(tree.join("f005"), format!("round {round:04}")).expect("a file");
        let (outcomes, _) = run(&mut gateway, &uri, CacheMode::Use).await;
        assert_eq!(outcomes[&name(5)].digests[0].hex, sha256_hex(format!("round {round:04}").as_bytes()));
    }

    // Everything is read where that was said, and kept or not.
    settled(files(&tree)).await;
    let kept = counted(&mut gateway, "counters", |_| true).await.put_entries;
    let (outcomes, bytes) = run(&mut gateway, &uri, CacheMode::Bypass).await;
    assert_eq!((cached(&outcomes), bytes), (0, 2_000));
    let (outcomes, _) = run(&mut gateway, &uri, CacheMode::Refresh).await;
    assert_eq!(cached(&outcomes), 0);
    let stats = counted(&mut gateway, "all to be kept again", |stats| stats.put_entries >= kept + 200).await;
    assert_eq!(stats.put_entries, kept + 200, "{stats:?}");
    let (outcomes, _) = run(&mut gateway, &uri, CacheMode::Use).await;
    assert_right(&outcomes, &tree);
    assert_eq!(cached(&outcomes), 200);
    let stats = counted(&mut gateway, "verdicts", |stats| stats.taken_objects >= 600).await;
    assert!(stats.saved_bytes >= 2_000 + 1_960 + 2_000 && stats.changed_objects >= 3, "{stats:?}");
}

/// A task of an object, and the digest that it ought to have.
fn task(uri: &str, expected: Option<&str>) -> Task {
    let object = ObjectReference { uri: uri.to_owned(), ..ObjectReference::default() };
    let digest = |hex: &str| Digest { algorithm: Algorithm::Sha256.into(), hex: hex.to_owned() };
    let expected = expected.map(digest).into_iter().collect();
    Task { name: uri.to_owned(), source: Some(Source::Object(object)), expected, ..Task::default() }
}

#[tokio::test]
async fn tasks_with_expected_digests_are_read_unless_it_was_said_that_they_need_not_be() {
    let tree = rundir::directory("verified-tree");
    fs::write(tree.join("a"), "a").expect("a file");
    let up = Up::start("verified-tree-up", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let (uri, right) = (file_uri(tree.join("a").as_os_str().as_bytes()), sha256_hex(b"a"));
    settled(files(&tree)).await;
    let mut ask = async |expected: Option<&str>, cache: CacheMode| {
        let rows = TaskRows { tasks: vec![task(&uri, expected)] };
        let options = SubmissionOptions { cache: cache.into(), ..SubmissionOptions::default() };
        let outcome = gateway.outcomes_of(rows, options).await.pop().expect("one");
        (outcome.status(), is_cached(&outcome))
    };
    assert_eq!(ask(None, CacheMode::Unspecified).await, (OutcomeStatus::Succeeded, false));
    let mut stats = Gateway::connect(&up.server).await;
    counted(&mut stats, "it to be kept", |stats| stats.put_entries == 1).await;
    assert_eq!(ask(None, CacheMode::Unspecified).await, (OutcomeStatus::Succeeded, true));
    assert_eq!(ask(Some(&right), CacheMode::Unspecified).await, (OutcomeStatus::Succeeded, false));
    assert_eq!(ask(Some(&right), CacheMode::Use).await, (OutcomeStatus::Succeeded, true));
    assert_eq!(ask(Some(&sha256_hex(b"b")), CacheMode::Use).await, (OutcomeStatus::Mismatched, true));
    assert_eq!(ask(None, CacheMode::Bypass).await, (OutcomeStatus::Succeeded, false));
}

#[tokio::test]
async fn of_a_bucket_only_what_has_changed_is_read_again_by_the_listings_word() {
    let s3 = S3::start("cached-store", &["bucket"]).await;
    for number in 0..20 {
        s3.put(&format!("bucket/p/{number:02}"), format!("object {number:02}").as_bytes()).await;
    }
    let up = Up::start_in("cached-bucket", &["--allow-source", "s3://bucket"], &s3.environment()).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let uri = "s3://bucket/p/";
    // It tells times in whole seconds, and its own up to a second late.
    let settled = async || settled_for(SETTLED + Duration::from_secs(2), files(&s3.bucket("bucket").join("p"))).await;
    let objects = |outcomes: BTreeMap<String, Outcome>| -> BTreeMap<String, Outcome> {
        outcomes.into_iter().filter(|(name, _)| !name.ends_with('/')).collect()
    };
    settled().await;
    let (outcomes, _) = run(&mut gateway, uri, CacheMode::Use).await;
    assert_eq!(cached(&outcomes), 0);
    let put = objects(outcomes).len() as u64;
    counted(&mut gateway, "all to be kept", |stats| stats.put_entries >= put).await;
    let (outcomes, bytes) = run(&mut gateway, uri, CacheMode::Use).await;
    let outcomes = objects(outcomes);
    assert_eq!((cached(&outcomes), outcomes.len(), bytes), (20, 20, 0));
    for number in 0..20 {
        let name = s3_uri("bucket", format!("p/{number:02}").as_bytes());
        assert_eq!(outcomes[&name].digests[0].hex, sha256_hex(format!("object {number:02}").as_bytes()));
        assert!(outcomes[&name].identity.as_ref().is_some_and(|identity| !identity.etag.is_empty()));
    }

    // One is another one now, of the same size.
    s3.put("bucket/p/07", b"OBJECT 07").await;
    let (outcomes, bytes) = run(&mut gateway, uri, CacheMode::Use).await;
    let outcomes = objects(outcomes);
    assert_eq!((read(&outcomes), bytes), (vec!["s3://bucket/p/07"], 9));
    assert_eq!(outcomes["s3://bucket/p/07"].digests[0].hex, sha256_hex(b"OBJECT 07"));

    // Without a listing each is asked for, and sent only if it has changed.
    settled().await;
    let rows = || TaskRows { tasks: (0..20).map(|number| task(&format!("s3://bucket/p/{number:02}"), None)).collect() };
    let ask = async |gateway: &mut Gateway| gateway.outcomes_of(rows(), SubmissionOptions::default()).await;
    let asked = ask(&mut gateway).await;
    assert_eq!(asked.iter().filter(|outcome| is_cached(outcome)).count(), 19);
    counted(&mut gateway, "the other to be kept", |stats| stats.put_entries > put).await;
    let asked = ask(&mut gateway).await;
    assert!(asked.iter().all(is_cached), "{asked:?}");
    let (outcomes, bytes) = run(&mut gateway, uri, CacheMode::Bypass).await;
    assert_eq!((cached(&outcomes), bytes), (0, 180));
}

/// What the web server is to say of its object.
#[derive(Clone)]
struct Page {
    etag: &'static str,
    modified: &'static str,
    body: &'static str,
}

#[tokio::test]
async fn a_web_server_is_asked_whether_an_object_is_the_same_and_believed_by_a_strong_tag_only() {
    let date = "Sun, 22 Nov 2026 12:00:00 GMT";
    let old = "Sun, 22 Nov 2026 11:59:58 GMT";
    let page = Arc::new(Mutex::new(Page { etag: "\"one\"", modified: old, body: "first" }));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let address = {
        let (page, asked) = (Arc::clone(&page), Arc::clone(&asked));
        scripted_web::serve(move |request| {
            let Page { etag, modified, body } = page.lock().expect("whole").clone();
            let same = request.lines().any(|line| line.eq_ignore_ascii_case(&format!("if-none-match: {etag}")));
            asked.lock().expect("whole").push(if same { 304 } else { 200 });
            let status = if same { "304 Not Modified" } else { "200 OK" };
            let headers = format!("{status}\r\netag: {etag}\r\ndate: {date}\r\nlast-modified: {modified}");
            Some((headers, if same { String::new() } else { body.to_owned() }))
        })
        .await
    };
    let uri = format!("http://{address}/object");
    let options = ["--allow-source", &format!("http://{address}/"), "--allow-network", "127.0.0.0/8"];
    let up = Up::start("cached-web", &options).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let mut kept = 0;
    for (etag, modified, body, keeps) in [
        ("\"one\"", old, "first", true),
        ("\"two\"", old, "second", true),
        // Changed again within a second of the answer, perhaps with the same tag.
        ("\"three\"", "Sun, 22 Nov 2026 11:59:59 GMT", "third", false),
        ("W/\"four\"", old, "fourth", false),
    ] {
        *page.lock().expect("whole") = Page { etag, modified, body };
        for again in [false, true] {
            asked.lock().expect("whole").clear();
            let rows = TaskRows { tasks: vec![task(&uri, None)] };
            let outcome = gateway.outcomes_of(rows, SubmissionOptions::default()).await.pop().expect("one");
            assert_eq!(outcome.digests[0].hex, sha256_hex(body.as_bytes()), "{etag}");
            assert_eq!(is_cached(&outcome), again && keeps, "{etag} {again}");
            assert_eq!(*asked.lock().expect("whole"), [if again && keeps { 304 } else { 200 }], "{etag}");
            if keeps && !again {
                kept += 1;
                counted(&mut gateway, "it to be kept", |stats| stats.put_entries == kept).await;
            }
        }
    }
}

#[tokio::test]
async fn promise_7_the_same_path_on_two_machines_is_two_files() {
    let database = Database::create().await;
    let directory = rundir::directory("two-machines");
    let arguments = vec!["--database-url".to_owned(), database.url.clone()];
    let mut cache = Role::start("cache", "two-machines-cache", arguments, &[], directory.clone()).await;
    cache.ready().await;
    // Each sees another directory at the same place.
    let place = rundir::directory("two-machines-place");
    let mut mesh = Mesh::start("two-machines", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let uri = file_uri(place.join("a").as_os_str().as_bytes());
    let mut gateway = mesh.connect().await;
    let mut contents = Vec::new();
    for machine in ["one", "other"] {
        let own = rundir::directory(&format!("two-machines-{machine}"));
        fs::write(own.join("a"), format!("of {machine:>5}")).expect("a file");
        contents.push((machine, own));
    }
    settled(contents.iter().map(|(_, own)| own.join("a"))).await;
    for round in 0..2 {
        for (machine, own) in &contents {
            let arguments = ["--queue", &mesh.queue.url(), "--cache-url", &cache.url(), "--machine-id", machine]
                .into_iter()
                .chain(["--allow-source", place.to_str().expect("UTF-8")])
                .map(str::to_owned)
                .collect();
            let mounted = format!("{}:{}", own.display(), place.display());
            let environment = [(MOUNTED.to_owned(), mounted)];
            let name = format!("two-machines-{machine}-{round}");
            let mut worker = Role::start("worker", &name, arguments, &environment, directory.clone()).await;
            worker.ready().await;
            let rows = TaskRows { tasks: vec![task(&uri, None)] };
            let outcome = gateway.outcomes_of(rows, SubmissionOptions::default()).await.pop().expect("one");
            assert_eq!(outcome.digests[0].hex, sha256_hex(format!("of {machine:>5}").as_bytes()), "{machine}");
            assert_eq!(is_cached(&outcome), round == 1, "{machine} {round}");
            // What it has computed is in the cache before it is gone.
            assert!(worker.terminate().await.success());
        }
    }
    mesh.options.workers = 0;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "the scripted server waits until the test lets it go on")]
async fn many_who_want_the_same_object_at_once_cause_one_reading() {
    // A store whose answer waits until the test lets it go.
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let whole = Arc::new(Mutex::new(0));
    let address = {
        let (whole, mut waits) = (Arc::clone(&whole), true);
        scripted_web::serve(move |request| {
            let headers = "etag: \"one\"\r\nlast-modified: Sun, 22 Nov 2026 11:00:00 GMT";
            if request.lines().any(|line| line.eq_ignore_ascii_case("if-none-match: \"one\"")) {
                return Some((format!("304 Not Modified\r\n{headers}"), String::new()));
            }
            *whole.lock().expect("whole") += 1;
            if std::mem::take(&mut waits) {
                tokio::task::block_in_place(|| opened.recv_timeout(PATIENCE)).expect("it is let go");
            }
            Some((format!("200 OK\r\n{headers}"), "content".to_owned()))
        })
        .await
    };
    let uri = format!("http://{address}/object");
    let options = ["--allow-source", &format!("http://{address}/"), "--allow-network", "127.0.0.0/8"];
    let up = Up::start("wanted-by-many", &options).await;
    let submit = async || {
        let mut gateway = Gateway::connect(&up.server).await;
        let rows = TaskRows { tasks: vec![task(&uri, None)] };
        gateway.outcomes_of(rows, SubmissionOptions::default()).await.pop().expect("one")
    };
    let let_go = async || {
        let mut gateway = Gateway::connect(&up.server).await;
        counted(&mut gateway, "the worker to know that nothing is known", |stats| stats.misses == 20).await;
        open.send(()).expect("it waits");
    };
    let (outcomes, ()) = tokio::join!(join_all((0..20).map(|_| submit())), let_go());
    for outcome in outcomes {
        assert_eq!(outcome.digests[0].hex, sha256_hex(b"content"));
    }
    assert_eq!(*whole.lock().expect("whole"), 1, "it was sent once");
    let mut gateway = Gateway::connect(&up.server).await;
    counted(&mut gateway, "the others to be counted", |stats| stats.joined_requests >= 19).await;
}
