//! `hashmesh sum` beside the real `sha256sum`: the same bytes on standard output, the same messages, the same exit codes.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use crate::support::{
    cli::{Ended, Run, hashmesh, program},
    tree::{HOSTILE_NAMES, hostile_files},
};

/// Runs both on the same arguments and compares all that can be seen of them; `ours` come first in our arguments.
async fn same_with<A: AsRef<OsStr>>(directory: &Path, ours: &[&str], arguments: &[A], stdin: &[u8]) -> Ended {
    let begun = |run: Run| {
        let run = arguments.iter().fold(run, Run::arg);
        run.env("LC_ALL", "C.UTF-8").in_directory(directory).stdin(stdin)
    };
    let theirs = begun(program("sha256sum", [""; 0])).run().await;
    let ours = begun(hashmesh(["sum"].iter().chain(ours))).run().await;
    let shown: Vec<_> = arguments.iter().take(9).map(AsRef::as_ref).collect();
    assert_eq!(ours.text(), theirs.text(), "{shown:?}");
    assert!(ours.stdout == theirs.stdout, "{shown:?}: bytes that are not UTF-8 differ");
    let named = |line: &str| {
        line.replacen("sha256sum: ", "hashmesh sum: ", 1).replace("'sha256sum --help'", "'hashmesh sum --help'")
    };
    let wanted: Vec<String> = theirs.stderr.lines().map(named).collect();
    assert_eq!(ours.stderr.lines().collect::<Vec<_>>(), wanted, "{shown:?}");
    assert_eq!(ours.code, theirs.code, "{shown:?}");
    ours
}

async fn same<A: AsRef<OsStr>>(directory: &Path, arguments: &[A], stdin: &[u8]) -> Ended {
    same_with(directory, &[], arguments, stdin).await
}

/// The arguments of both, in words.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[tokio::test]
async fn sums_of_every_name_are_those_of_coreutils_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    hostile_files(directory.path());
    fs::write(directory.path().join("large"), vec![7; 3_000_001]).unwrap();
    let mut names: Vec<OsString> = HOSTILE_NAMES.iter().map(|name| OsStr::from_bytes(name).to_owned()).collect();
    names.extend(
        ["-", "large", "no\nsuch:file", "none", "it's", "", "sub\n\\dir \u{1}", ".", "/proc/self/mem", "-"]
            .map(Into::into),
    );
    for options in ["", "-b", "-t", "-bt", "-tb", "--tag", "-z", "-bz", "--tag --zero", "--text -z", "-b -b"] {
        let arguments: Vec<OsString> =
            words(options).into_iter().map(Into::into).chain(["--".into()]).chain(names.iter().cloned()).collect();
        same(directory.path(), &arguments, b"from standard input").await.exits(1);
        same_with(directory.path(), &["--threads", "1"], &arguments, b"").await.exits(1);
    }
    for arguments in ["", "-", "- -", "--tag", "-b", "--tag -", "/dev/null /proc/version large", "/dev/stdin"] {
        same(directory.path(), &words(arguments), b"from standard input").await.exits(0);
    }
}

#[tokio::test]
async fn what_is_written_is_accepted_by_coreutils_and_the_other_way_round() {
    let directory = tempfile::tempdir().unwrap();
    hostile_files(directory.path());
    for form in ["", "--tag", "-b"] {
        let ours = hashmesh(["sum", "-r", "."].into_iter().chain(words(form))).in_directory(directory.path());
        let ours = ours.run().await.succeeded();
        let theirs = program("sha256sum", ["-c", "--strict", "--quiet"]).in_directory(directory.path());
        theirs.stdin(ours.stdout.clone()).run().await.succeeded();
        let again = same(directory.path(), &["-c", "--strict"], &ours.stdout).await.succeeded();
        assert_eq!(again.stdout.iter().filter(|byte| **byte == b'\n').count(), 2 * HOSTILE_NAMES.len());
    }
}

/// Lines of every kind: right, wrong, of what is not there, no lines at all.
fn checks(directory: &Path) -> Vec<u8> {
    let (digest, other) = (crate::support::oracle::sha256_hex(b"hello"), "0".repeat(64));
    fs::write(directory.join("a"), "hello").unwrap();
    fs::write(directory.join("back\\slash"), "hello").unwrap();
    fs::write(directory.join("new\nline\\"), "hello").unwrap();
    fs::create_dir(directory.join("d")).unwrap();
    let upper = digest.to_uppercase();
    let lines = [
        format!("{digest}  a\r"),
        "# comment".into(),
        String::new(),
        "\r".into(),
        format!("  {digest}  a"),
        format!("\t{digest} *a"),
        format!("{digest} a"),
        "bad".into(),
        format!("SHA256 (a) = {digest}"),
        format!("SHA256(a)={digest}"),
        format!("  SHA256 (a) = {digest}\r"),
        format!("MD5 (a) = {digest}"),
        format!("{other}  gone"),
        format!("{other}  a"),
        format!("{other}  d"),
        format!("\\{digest}  new\\nline\\\\"),
        format!("\\{other}  new\\nline\\\\"),
        format!("\\{other}  n\\xl"),
        format!("{other}  back\\slash"),
        format!("\\{digest}  back\\\\slash"),
        format!("{digest} \t a"),
        format!("{digest}\t a"),
        format!("SHA256 (a) = {digest} "),
        format!("SHA256  (a) = {digest}"),
        format!("SHA512 (a) = {digest}"),
        format!("{digest}  "),
        format!("{digest} "),
        digest.clone(),
        format!("{}  a", &digest[1..]),
        " # x".into(),
        format!("{digest}  -"),
        format!("{other}  it's not there: x"),
        format!("{upper}  a"),
    ];
    lines.join("\n").into_bytes()
}

#[tokio::test]
async fn files_of_checksums_are_taken_refused_and_reported_as_coreutils_does() {
    let directory = tempfile::tempdir().unwrap();
    let lines = checks(directory.path());
    fs::write(directory.path().join("checks"), &lines).unwrap();
    let good: Vec<u8> = lines.split(|byte| *byte == b'\n').next().unwrap().to_vec();
    fs::write(directory.path().join("good"), &good).unwrap();
    let line = |separator: &str| format!("{}{separator}a\n", crate::support::oracle::sha256_hex(b"hello"));
    fs::write(directory.path().join("reversed"), [line(" "), line("  "), line(" *"), line(" ")].concat()).unwrap();
    fs::write(directory.path().join("gone"), format!("{}  gone\n", "0".repeat(64))).unwrap();
    fs::write(directory.path().join("nothing"), "# only a comment\n").unwrap();
    let ours = ["-a", "sha256"];
    let manners = [
        "",
        "-w",
        "--quiet",
        "--status",
        "--strict",
        "--ignore-missing",
        "--ignore-missing --strict --quiet",
        "-w --status",
        "--status -w",
        "--quiet -w",
        "--status --quiet",
        "--warn --quiet --strict",
    ];
    for manner in manners {
        for files in [
            "checks",
            "good",
            "reversed",
            "gone",
            "nothing",
            "none",
            "d",
            "/proc/self/mem",
            "good gone",
            "-",
            "checks good -",
        ] {
            let arguments: Vec<&str> = ["-c"].into_iter().chain(words(manner)).chain(words(files)).collect();
            // On standard input the file that is named `-` is none.
            same_with(directory.path(), &ours, &arguments, &lines).await;
        }
    }
    same_with(directory.path(), &ours, &["-c"], &lines).await.exits(1);
    same_with(directory.path(), &ours, &["-c"], b"").await.exits(1);
    same_with(directory.path(), &ours, &["-c", "good"], b"").await.exits(0);
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused_as_coreutils_does() {
    let directory = tempfile::tempdir().unwrap();
    checks(directory.path());
    for arguments in [
        "--tag -t a",
        "-z -c a",
        "--tag -c a",
        "-b -c a",
        "-c -t a",
        "--ignore-missing a",
        "--status a",
        "-w a",
        "--quiet a",
        "--strict a",
        "--tag -c -z a",
        "--strict --quiet --ignore-missing a",
    ] {
        same(directory.path(), &words(arguments), b"").await.exits(1);
    }
    hashmesh(["sum", "--no-such-option"]).run().await.exits(2);
    hashmesh(["sum", "-a", "md4"]).run().await.exits(2);
}

#[tokio::test]
async fn without_a_named_algorithm_each_line_is_checked_by_its_tag_or_length() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "hello").unwrap();
    let sums = hashmesh(["sum", "-a", "md5", "-a", "sha512", "-a", "blake3", "a"]).in_directory(directory.path());
    let sums = sums.run().await.succeeded().text();
    assert!(sums.starts_with("MD5 (a) = 5d41402abc4b2a76b9719d911017c592\nSHA512 (a) = 9b71d224bd62f378"), "{sums}");
    let plain = "5d41402abc4b2a76b9719d911017c592  a\n";
    for lines in [sums.as_str(), plain] {
        let checked = hashmesh(["sum", "-c", "--strict"]).in_directory(directory.path()).stdin(lines);
        assert_eq!(checked.run().await.succeeded().text(), "a: OK\n".repeat(lines.lines().count()));
    }
    // Of 32 bytes: what is named, else SHA-256.
    let blake3 = hashmesh(["sum", "-a", "blake3", "a"]).in_directory(directory.path()).run().await.succeeded();
    let check = |named: &'static [&'static str]| {
        hashmesh(["sum", "-c"].iter().chain(named)).in_directory(directory.path()).stdin(blake3.stdout.clone())
    };
    check(&[]).run().await.exits(1);
    check(&["-a", "blake3"]).run().await.succeeded();
    if std::process::Command::new("b3sum").arg("--version").output().is_ok() {
        let theirs = program("b3sum", ["a"]).in_directory(directory.path()).run().await.succeeded();
        assert_eq!(theirs.stdout, blake3.stdout);
    }
}

#[tokio::test]
async fn thousands_of_arguments_are_printed_in_their_order_whatever_is_done_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for number in 0..4_000_usize {
        let name = format!("{:05}", number.wrapping_mul(7_919) % 100_003);
        // Every 97th is large: others behind it are done first.
        let bytes = if number % 97 == 0 { 400_000 + number } else { number % 5_000 };
        fs::write(directory.path().join(&name), vec![number as u8; bytes]).unwrap();
        names.push(name);
        if number % 500 == 0 {
            names.push(format!("none-{number}"));
        }
    }
    same(directory.path(), &names, b"").await.exits(1);
    same_with(directory.path(), &["--threads", "7"], &names, b"").await.exits(1);

    let list: Vec<u8> = names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
    fs::write(directory.path().join("list"), &list).unwrap();
    let told = program("sha256sum", &names).in_directory(directory.path()).run().await.exits(1);
    for (from, stdin) in [("list", vec![]), ("-", list)] {
        let ours = hashmesh(["sum", "--files0-from", from]).in_directory(directory.path()).stdin(stdin);
        assert!(ours.run().await.exits(1).stdout == told.stdout, "{from}");
    }
}

#[tokio::test]
async fn directories_are_walked_in_byte_order_and_what_is_no_file_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("tree");
    hostile_files(&root);
    crate::support::tree::hostile_entries(&root);
    let ended = hashmesh(["sum", "--recursive", "tree"]).in_directory(directory.path()).run().await.exits(1);
    for what in ["fifo: is a FIFO", "socket: is a socket", "dangling: is a dangling", "looping: is a looping"] {
        assert!(ended.stderr.contains(what), "{what}: {}", ended.stderr);
    }
    let found = program("bash", ["-c", "LC_ALL=C; find tree -type f -print0 | sort -z | xargs -0 sha256sum | sort"]);
    let found = found.in_directory(directory.path()).run().await.succeeded();
    let sorted = program("sort", [""; 0]).env("LC_ALL", "C").stdin(ended.stdout.clone()).run().await.succeeded();
    assert!(sorted.stdout == found.stdout, "{}\n{}", sorted.text(), found.text());
    let again = hashmesh(["sum", "-r", "--threads", "1", "tree"]).in_directory(directory.path()).run().await;
    assert!(again.stdout == ended.stdout, "the order is always the same");
    let alone = hashmesh(["sum", "tree"]).in_directory(directory.path()).run().await.exits(1);
    assert_eq!(alone.stderr, "hashmesh sum: tree: Is a directory\n");
}

#[tokio::test]
async fn names_in_a_list_are_refused_as_wc_refuses_them() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "hello").unwrap();
    let list = |from: &'static str, stdin: &'static [u8]| {
        hashmesh(["sum", "--files0-from", from]).in_directory(directory.path()).stdin(stdin)
    };
    let ended = list("-", b"a\0\0a").run().await.exits(1);
    assert_eq!(ended.stderr, "hashmesh sum: -:2: invalid zero-length file name\n");
    assert_eq!(ended.text().lines().count(), 2);
    let ended = list("-", b"-\0").run().await.exits(1);
    assert_eq!(ended.stderr, "hashmesh sum: when reading file names from stdin, no file name of '-' allowed\n");
    let ended = list("no list", b"").run().await.exits(1);
    assert_eq!(ended.stderr, "hashmesh sum: cannot open 'no list' for reading: No such file or directory\n");
    let ended = list("a", b"").arg("b").run().await.exits(1);
    let extra = "hashmesh sum: extra operand 'b'\nfile operands cannot be combined with --files0-from\n";
    assert!(ended.stderr.starts_with(extra), "{}", ended.stderr);
    assert_eq!(list("-", b"").run().await.succeeded().text(), "");
}

#[tokio::test]
async fn whoever_stops_reading_ends_it_and_a_full_device_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..3_000).map(|number| format!("{number:0200}")).collect();
    for name in &names {
        fs::write(directory.path().join(name), name).unwrap();
    }
    let script =
        |text: &str| program("bash", ["-c", text, crate::support::process::HASHMESH]).in_directory(directory.path());
    let head = script("set -o pipefail; \"$0\" sum -r . | head -n 1").run().await.exits(1);
    assert_eq!((head.text().lines().count(), head.stderr.as_str()), (1, ""));
    let full = script("exec \"$0\" sum -r . >/dev/full").run().await.exits(1);
    assert!(full.stderr.contains("No space left on device"), "{}", full.stderr);
}
