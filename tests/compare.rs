//! `hashmesh compare`, and `verify` of a submission: what two sides have, told as `rclone check --combined` tells it.

use std::fs;

use crate::support::{
    cli::{Ended, Run, hashmesh, program},
    process::HASHMESH,
    rundir, shared,
    tree::hostile_files,
};

async fn verb(arguments: &[&str]) -> Run {
    hashmesh(arguments).env("HASHMESH_SERVER", &shared::up().await.server)
}

/// The report's lines, sorted.
fn lines(ended: &Ended) -> Vec<String> {
    let mut lines: Vec<String> = ended.text().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Two trees that agree in part. Gives their common parent.
fn two_trees(name: &str) -> std::path::PathBuf {
    let root = rundir::directory(name);
    for (side, files) in [
        ("a", &[("same", "1"), ("sub/same", "2"), ("differs", "3"), ("only in a", "4"), ("sub/size", "55")][..]),
        ("b", &[("same", "1"), ("sub/same", "2"), ("differs", "9"), ("only in b", "4"), ("sub/size", "5")]),
    ] {
        for (file, content) in files {
            let path = root.join(side).join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, content).expect("a file");
        }
    }
    root
}

const REPORT: [&str; 6] = ["* differs", "* sub/size", "+ only in a", "- only in b", "= same", "= sub/same"];

#[tokio::test]
async fn directories_are_compared_as_rclone_does() {
    let root = two_trees("compare");
    let ours = verb(&["compare", "a", "b"]).await.in_directory(&root).run().await.exits(1);
    assert_eq!(lines(&ours), REPORT);
    assert_eq!(ours.text().lines().next(), Some("* differs"), "names are in byte order");
    let theirs = program("rclone", ["check", "a", "b", "--combined", "-", "--config", "/dev/null"]);
    assert_eq!(lines(&theirs.in_directory(&root).run().await.exits(1)), REPORT);
    let same = verb(&["compare", "a", "./a/", "--quiet"]).await.in_directory(&root).run().await.succeeded();
    assert_eq!(same.text(), "");
}

#[tokio::test]
async fn every_kind_of_side_gives_the_same_report() {
    let root = two_trees("sides");
    let absolute = |side: &str| root.join(side).to_string_lossy().into_owned();
    let submit = |path: String| async move {
        let ended = verb(&["submit", "--algorithm", "md5", &path]).await.run().await.succeeded();
        let id = ended.stderr.lines().find_map(|line| line.strip_prefix("hashmesh: submission ")).expect("its id");
        (ended.stdout, id.to_owned())
    };
    let (manifest, submission_a) = submit(absolute("a")).await;
    fs::write(root.join("a.md5"), manifest).expect("it is written");
    let (_, submission_b) = submit(absolute("b")).await;
    let sums = program("sh", ["-c", "cd b && find . -type f -print0 | xargs -0 md5sum > ../b.md5"]);
    sums.in_directory(&root).run().await.succeeded();

    for sides in [
        // Below the directory as it was typed, on both sides.
        &["a.md5", &absolute("a"), "--quiet"][..],
        &["a.md5", &submission_a, "--quiet"],
    ] {
        let ended = verb(&["compare"]).await;
        let ended = sides.iter().fold(ended, Run::arg).in_directory(&root).run().await.succeeded();
        assert_eq!(ended.text(), "", "{sides:?}");
    }
    for sides in [
        &["a", "b.md5"][..],
        &["a.md5", "b.md5", "--root-a", &absolute("a")],
        &[&submission_a, &submission_b, "--root-a", &absolute("a"), "--root-b", &absolute("b")],
        &[&submission_a, "b", "--root-a", &absolute("a")],
        &[&submission_a, "-", "--root-a", &absolute("a")],
    ] {
        let run = sides.iter().fold(verb(&["compare"]).await, Run::arg).in_directory(&root);
        let run = run.stdin(fs::read(root.join("b.md5")).expect("it is there"));
        assert_eq!(lines(&run.run().await.exits(1)), REPORT, "{sides:?}");
    }
    let outside = verb(&["compare", "a.md5", "b.md5", "--root-a", "/elsewhere"]).await;
    let outside = outside.in_directory(&root).run().await.exits(1);
    assert!(outside.stderr.contains("5 names of A are not below its root"), "{}", outside.stderr);
}

#[tokio::test]
async fn what_cannot_be_compared_is_told_and_never_equal() {
    let root = rundir::directory("incomparable");
    let write = |name: &str, text: &str| fs::write(root.join(name), text).expect("a file");
    let (md5, other, sha1) = ("01".repeat(16), "02".repeat(16), "03".repeat(20));
    write("md5", &format!("{md5}  x\n"));
    write("sha1", &format!("{sha1}  x\n"));
    write("twice", &format!("{md5}  x\n{other}  x\n"));
    write("both", &format!("{md5}  x\n{sha1}  x\n{sha1}  y\n"));
    write("failed", "{\"name\":\"x\",\"digests\":{}}\n");
    write("nonsense", "nonsense\n");
    write("empty", "");
    let compare = |a: &'static str, b: &'static str| {
        let root = root.clone();
        async move { verb(&["compare", a, b]).await.in_directory(&root).run().await }
    };
    let none = compare("md5", "sha1").await.exits(1);
    assert!(none.stderr.contains("A has digests by md5, B by sha1") && none.text().is_empty(), "{}", none.stderr);
    for (a, b, report) in [
        ("md5", "twice", "! x\n"),
        ("md5", "failed", "! x\n"),
        ("md5", "both", "= x\n- y\n"),
        ("md5", "empty", "+ x\n"),
    ] {
        let ended = compare(a, b).await.exits(1);
        assert_eq!(ended.text(), report, "{a} {b}");
        assert_eq!(ended.stderr.contains("hashmesh: x: "), report.starts_with('!'), "{}", ended.stderr);
    }
    let ended = compare("md5", "nonsense").await.exits(1);
    assert!(ended.stderr.contains("B, line 1: improperly formatted"), "{}", ended.stderr);
    compare("md5", "/no/such/file").await.exits(1);
    compare("-", "-").await.exits(2);
    compare("md5", "s3://bucket/key").await.exits(2);
    let objects = verb(&["compare", "md5", "both", "--output", "jsonl"]).await.in_directory(&root);
    let objects = objects.run().await.exits(1).json_lines();
    assert_eq!((objects[0]["sign"].as_str(), objects[1]["sign"].as_str()), (Some("="), Some("-")));
    assert_eq!(objects[1]["b"]["digests"]["sha1"], sha1);
    let document = verb(&["compare", "md5", "both", "--output", "json"]).await.in_directory(&root);
    assert_eq!(document.run().await.exits(1).json()["names"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_submission_is_verified_by_reading_its_objects_again() {
    let root = shared::source_root().join(format!("again-{:08x}", rand::random::<u32>()));
    fs::create_dir(&root).expect("a directory");
    let files = hostile_files(&root);
    let ended = verb(&["submit", "--algorithm", "sha512", "--algorithm", "blake3"]).await.arg(&root);
    let ended = ended.run().await.succeeded();
    let id = ended.stderr.lines().find_map(|line| line.strip_prefix("hashmesh: submission ")).expect("its id");
    let again = verb(&["verify", id]).await.run().await.succeeded();
    assert_eq!(again.stdout.iter().filter(|byte| **byte == b'\n').count(), files.len());
    assert!(again.text().lines().all(|line| line.trim_start_matches('\\').starts_with("= ")), "{}", again.text());

    fs::write(root.join("plain"), "changed").expect("a file");
    fs::remove_file(root.join("~")).expect("it is there");
    let again = verb(&["verify", "--quiet", id]).await.run().await.exits(1);
    let shown = root.to_string_lossy();
    assert_eq!(lines(&again), [format!("* {shown}/plain"), format!("- {shown}/~")]);
}

#[tokio::test]
async fn a_submission_that_has_not_ended_is_neither_verified_nor_compared() {
    let root = rundir::directory("unfinished");
    fs::write(root.join("manifest"), "").expect("a file");
    let later = verb(&["submit", "--detach", "--not-before", "1h", "--lines", "-"]).await.stdin("a\n");
    let id = later.run().await.succeeded().text().trim().to_owned();
    // 64 + FAILED_PRECONDITION; 64 + NOT_FOUND.
    for (id, code) in [(id.as_str(), 73), ("01890a5d-ac96-774b-bcce-b302099a8057", 69)] {
        verb(&["verify", id]).await.run().await.exits(code);
        verb(&["compare", id, "manifest"]).await.in_directory(&root).run().await.exits(code);
    }
    verb(&["cancel", &id]).await.run().await.succeeded();
}

/// Prints the most memory that a child took, in KiB.
const MEASURED: &str = "
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print('most', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
";

#[tokio::test]
async fn promise_8_manifests_that_are_larger_than_its_memory_are_compared() {
    use std::io::Write as _;
    let root = rundir::directory("large-manifests");
    // Long names make many bytes of few lines: 150 MB each, in another order.
    const NAMES: u64 = 50_000;
    for (side, step) in [("a", 7_919), ("b", 104_729)] {
        let mut file = std::io::BufWriter::new(fs::File::create(root.join(side)).expect("a file"));
        for index in 0..NAMES {
            let name = index * step % NAMES;
            let digest = if side == "b" && name == 17 { "11" } else { "00" }.repeat(32);
            if (side, name) != ("b", 23) {
                writeln!(file, "{digest}  {}/{name}", "directory/".repeat(300)).expect("it is written");
            }
        }
    }
    let compare = program("python3", ["-c", MEASURED, HASHMESH, "compare", "--quiet", "a", "b"]);
    let ended = compare.in_directory(&root).run().await.exits(1);
    let signs: Vec<char> = ended.text().chars().filter(|character| "=-+*!".contains(*character)).collect();
    assert_eq!(signs, ['*', '+']);
    let most: u64 = ended.stderr.trim().rsplit(' ').next().and_then(|kib| kib.parse().ok()).expect("a number");
    assert!(most < 220_000, "{most} KiB were taken for 300 MB");
}
