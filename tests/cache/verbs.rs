//! What people see of the cache: options, summaries, counters.

use std::fs;

use crate::support::{
    Up,
    cli::hashmesh,
    rundir,
    wait::{PATIENCE, until},
};

#[tokio::test]
async fn verbs_say_what_came_from_the_cache_and_verification_reads_every_byte() {
    let tree = rundir::directory("cache-verbs");
    for name in ["a", "b", "c"] {
        fs::write(tree.join(name), name).expect("a file");
    }
    let up = Up::start("cache-verbs-up", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server).in_directory(&tree);
    let stats = async |key: &str| {
        let document = verb(&["cache", "stats", "--output", "json"]).run().await.succeeded().json();
        document[key].as_u64().unwrap_or_else(|| panic!("{key} of {document}"))
    };
    // Until they are old enough to be kept.
    until("all to be kept", PATIENCE, async || {
        verb(&["submit", "a", "b", "c"]).run().await.succeeded();
        (stats("put_entries").await >= 3).then_some(())
    })
    .await;
    let ended = verb(&["submit", "a", "b", "c"]).run().await.succeeded();
    assert!(
        ended.stderr.contains("0.0 MB hashed") && ended.stderr.contains("3 digests from the cache"),
        "{}",
        ended.stderr
    );
    fs::write(tree.join("manifest"), &ended.stdout).expect("a manifest");
    for line in verb(&["submit", "a", "--output", "jsonl"]).run().await.succeeded().json_lines() {
        assert_eq!(line["cached"], true, "{line}");
    }
    for mode in ["bypass", "refresh"] {
        let ended = verb(&["submit", "a", "--cache", mode, "--output", "json"]).run().await.succeeded();
        assert!(!ended.stderr.contains("from the cache"), "{}", ended.stderr);
        let document = ended.json();
        assert_eq!(
            (&document["submission"]["cache"], &document["submission"]["hashed_bytes"]),
            (&mode.into(), &1.into())
        );
    }
    verb(&["submit", "a", "--cache", "always"]).run().await.exits(2);

    let ended = verb(&["verify", "manifest"]).run().await.succeeded();
    assert!(ended.stderr.contains("all bytes were read (cache: bypass)"), "{}", ended.stderr);
    let ended = verb(&["verify", "manifest", "--cache", "use"]).run().await.succeeded();
    assert!(
        ended.stderr.contains("3 of the digests came from the cache, their bytes were not read"),
        "{}",
        ended.stderr
    );

    // A receipt is for what was read, unless somebody wants one for the rest, which then says so.
    let submit = async |mode: &str| {
        let ended = verb(&["submit", "a", "b", "--cache", mode, "--detach"]).run().await.succeeded();
        let id = ended.text().trim().to_owned();
        verb(&["watch", &id]).run().await.succeeded();
        id
    };
    let (cached, read) = (submit("use").await, submit("bypass").await);
    let refused = verb(&["receipt", &cached]).run().await.exits(1);
    assert!(refused.stderr.contains("2 digests") && refused.stderr.contains("--cache bypass"), "{}", refused.stderr);
    let receipt = verb(&["receipt", &cached, "--cache", "use"]).run().await.succeeded().json();
    assert_eq!(receipt["cached_tasks"], 2);
    let receipt = verb(&["receipt", &read]).run().await.succeeded();
    assert_eq!(receipt.json()["cached_tasks"], 0);
    fs::write(tree.join("receipt"), &receipt.stdout).expect("a receipt");
    verb(&["receipt", "verify", "receipt"]).run().await.succeeded();

    let uri = format!("file://{}/a", tree.display());
    let forgotten = verb(&["cache", "invalidate", &uri]).run().await.succeeded();
    assert_eq!(forgotten.text(), "forgotten; 1 digests were there\n");
    let ended = verb(&["submit", "a", "b", "c"]).run().await.succeeded();
    assert!(ended.stderr.contains("2 digests from the cache"), "{}", ended.stderr);
    until("it to be kept", PATIENCE, async || (stats("put_entries").await >= 5).then_some(())).await;
    verb(&["cache", "invalidate", "--prefix", &format!("file://{}/", tree.display())]).run().await.succeeded();
    let ended = verb(&["submit", "a", "b", "c"]).run().await.succeeded();
    assert!(!ended.stderr.contains("from the cache"), "{}", ended.stderr);
    verb(&["cache", "invalidate"]).run().await.exits(2);
    let refused = verb(&["cache", "invalidate", "a"]).run().await.exits(64 + 3);
    assert!(refused.stderr.contains("file:///PATH"), "{}", refused.stderr);
    verb(&["cache", "warm", "--entries", "5"]).run().await.succeeded();
    let all = verb(&["stats", "--output", "json"]).run().await.succeeded().json();
    assert!(all["cache"]["taken_objects"].as_u64().is_some_and(|taken| taken >= 10), "{all}");
}
