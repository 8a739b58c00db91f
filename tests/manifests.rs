//! Manifests between hashmesh and the tools whose forms they have, on names that are legal and that scripts get wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    cli::{Run, hashmesh, program},
    reflect::path_with_tools,
    rundir, shared,
    tree::hostile_files,
};

/// Files with hostile names, in `data` below the directory, as a bag wants it.
fn hostile_tree(name: &str) -> (PathBuf, Vec<Vec<u8>>) {
    let root = rundir::directory(name);
    fs::create_dir(root.join("data")).expect("a directory");
    let files = hostile_files(&root.join("data"));
    (root, files.into_iter().map(|(name, _)| name).collect())
}

/// A tool, where `make setup` puts it or on PATH.
fn tool<'a>(name: &str, arguments: impl IntoIterator<Item = &'a str>, directory: &Path) -> Run {
    // rclone looks for a configuration file, which there must not be.
    let run = program(name, arguments).env("PATH", &path_with_tools()).env("RCLONE_CONFIG", "/dev/null");
    run.in_directory(directory)
}

async fn verify(manifest: &Path, directory: &Path) -> Run {
    let server = &shared::up().await.server;
    hashmesh(["verify", "--server", server]).arg(manifest).in_directory(directory)
}

async fn submit(arguments: &[&str], directory: &Path) -> Run {
    let server = &shared::up().await.server;
    let all = ["submit", "--server", server].into_iter().chain(arguments.iter().copied());
    hashmesh(all).in_directory(directory)
}

/// Removes what `keep` does not want, and says how many there were.
fn keep_only(root: &Path, keep: impl Fn(&[u8]) -> bool) -> usize {
    let mut removed = 0;
    for directory in [root.join("data"), root.join("data").join(hostile_directory())] {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = std::os::unix::ffi::OsStrExt::as_bytes(path.strip_prefix(root).expect("below it").as_os_str());
            if path.is_file() && !keep(name) {
                fs::remove_file(&path).expect("it is there");
                removed += 1;
            }
        }
    }
    removed
}

fn hostile_directory() -> &'static std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(b"sub\n\\dir \xff")
}

#[tokio::test]
async fn what_other_tools_write_is_read_whatever_the_names() {
    let (root, names) = hostile_tree("theirs");
    let out = rundir::directory("manifests");
    let every = ["-r", "-l", "-c", "md5,sha1,sha256", "data"];
    let shell = |pipeline: &str| tool("sh", ["-c", pipeline], &root);
    for (file, run) in [
        ("coreutils", shell("find data -type f -print0 | xargs -0 sha256sum --")),
        ("binary", shell("find data -type f -print0 | xargs -0 md5sum --binary --")),
        ("tagged", shell("find data -type f -print0 | xargs -0 cksum -a sha512 --")),
        ("gzip", shell("find data -type f -print0 | xargs -0 sha1sum -- | gzip")),
        ("mixed", shell("find data -type f -print0 | xargs -0 sh -c 'sha1sum --tag -- \"$@\"; md5sum -- \"$@\"' -")),
    ] {
        let path = out.join(file);
        fs::write(&path, run.run().await.succeeded().stdout).expect("it is written");
        let ended = verify(&path, &root).await.run().await.succeeded();
        let times = if file == "mixed" { 2 } else { 1 };
        assert_eq!(ended.stdout.iter().filter(|byte| **byte == b'\n').count(), names.len() * times, "{file}");
    }

    // rclone: nothing is escaped, and what cannot be shown is shown by its picture.
    for (file, options) in
        [("rclone", &["hashsum", "sha256", "."][..]), ("base64", &["hashsum", "md5", "--base64", "."])]
    {
        let sums = tool("rclone", options.iter().copied(), &root).run().await.succeeded();
        fs::write(out.join(file), sums.stdout).expect("it is written");
        let ended = verify(&out.join(file), &root).await.arg("--format").arg("rclone").run().await.succeeded();
        assert_eq!(ended.stdout.iter().filter(|byte| **byte == b'\n').count(), names.len(), "{file}");
    }

    // hashdeep writes an LF as it is, which nobody can read again.
    keep_only(&root, |name| !name.contains(&b'\n') && !name.ends_with(b"\r"));
    fs::write(out.join("hashdeep"), tool("hashdeep", every, &root).run().await.succeeded().stdout).expect("written");
    let ended = verify(&out.join("hashdeep"), &root).await.run().await.succeeded();
    assert!(ended.stdout.iter().filter(|byte| **byte == b'\n').count() > 10);
}

#[tokio::test]
async fn what_is_written_for_hashdeep_is_accepted_by_its_audit() {
    let root = shared::source_root().join(format!("hashdeep-{:08x}", rand::random::<u32>()));
    fs::create_dir_all(root.join("data")).expect("a directory");
    let files = hostile_files(&root.join("data"));
    let arguments = ["--format", "hashdeep", "--algorithm", "sha256", "--algorithm", "md5", "--by-reference", "data"];
    let inline = arguments.map(|argument| if argument == "--by-reference" { "--inline" } else { argument });
    // A name with a line break is told, and is not in the file.
    let ended = submit(&arguments, &root).await.run().await.exits(1);
    let broken = files.iter().filter(|(name, _)| name.contains(&b'\n') || name.ends_with(b"\r")).count();
    assert!(broken > 2);
    assert_eq!(ended.stderr.matches("has a line break").count(), broken, "{}", ended.stderr);

    keep_only(&root, |name| !name.contains(&b'\n') && !name.ends_with(b"\r"));
    fs::remove_dir_all(root.join("data").join(hostile_directory())).expect("it is empty");
    let manifest = submit(&arguments, &root).await.run().await.succeeded().stdout;
    // Whoever read the files.
    assert_eq!(submit(&inline, &root).await.run().await.succeeded().stdout.len(), manifest.len());
    let path = rundir::directory("hashdeep").join("known");
    fs::write(&path, &manifest).expect("it is written");
    let known = path.to_string_lossy();
    let audit = ["-c", "md5,sha256", "-r", "-l", "-a", "-v", "-k", known.as_ref(), "data"];
    let ended = tool("hashdeep", audit, &root).run().await.succeeded();
    assert!(ended.text().contains("Audit passed"), "{}", ended.text());
    verify(&path, &root).await.run().await.succeeded();
    // Byte for byte its lines, but for the order and what follows `##`.
    let theirs = tool("hashdeep", ["-r", "-l", "-c", "md5,sha256", "data"], &root).run().await.succeeded();
    let lines = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.retain(|line| !line.starts_with(b"##"));
        lines.sort();
        lines
    };
    assert_eq!(lines(&manifest), lines(&theirs.stdout));
    fs::write(root.join("data/plain"), "changed").expect("a file");
    tool("hashdeep", audit, &root).run().await.exits(1);
}

#[tokio::test]
async fn a_bag_is_valid_for_bagit_py_and_its_own_bags_are_read() {
    let (root, names) = hostile_tree("bag");
    fs::write(root.join("bagit.txt"), "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n").expect("a file");
    let bagit = ["--format", "bagit", "--algorithm", "sha512", "data"];
    // A bag's manifests are UTF-8: what is not is told, and is in none.
    let ended = submit(&bagit, &root).await.run().await.exits(1);
    let no_utf8 = names.iter().filter(|name| std::str::from_utf8(name).is_err()).count();
    assert!(no_utf8 > 2);
    assert_eq!(ended.stderr.matches("is not UTF-8").count(), no_utf8, "{}", ended.stderr);
    assert_eq!(ended.text().lines().count(), names.len() - no_utf8);
    assert!(ended.text().contains("  data/percent%2541%252F\n"), "{}", ended.text());

    // bagit.py does not decode `%25`, and takes spaces off the end.
    keep_only(&root, |name| std::str::from_utf8(name).is_ok() && !name.contains(&b'%') && !name.ends_with(b" "));
    let manifest = submit(&bagit, &root).await.run().await.succeeded().stdout;
    let path = root.join("manifest-sha512.txt");
    fs::write(&path, &manifest).expect("it is written");
    fs::remove_dir_all(root.join("data").join(hostile_directory())).expect("it is empty");
    tool("bagit.py", ["--validate", "."], &root).run().await.succeeded();
    verify(&path, &root).await.run().await.succeeded();
    fs::write(root.join("data/plain"), "changed").expect("a file");
    tool("bagit.py", ["--validate", "."], &root).run().await.exits(1);
    let ended = verify(&path, &root).await.arg("--quiet").run().await.exits(1);
    assert_eq!(ended.text(), "* data/plain\n");

    let theirs = rundir::directory("their-bag");
    for (index, name) in ["plain", "new\nline", "re\rturn", "two  spaces", "back\\slash"].into_iter().enumerate() {
        fs::write(theirs.join(name), index.to_string()).expect("a file");
    }
    tool("bagit.py", ["--sha256", "--md5", "."], &theirs).run().await.succeeded();
    for manifest in ["manifest-sha256.txt", "manifest-md5.txt", "tagmanifest-sha256.txt"] {
        verify(Path::new(manifest), &theirs).await.run().await.succeeded();
    }
}

#[tokio::test]
async fn a_form_that_cannot_hold_what_was_asked_for_is_refused_before_anything_is_submitted() {
    let root = rundir::directory("refused");
    for arguments in [
        &["--format", "bagit", "--algorithm", "md5", "--algorithm", "sha1", "."][..],
        &["--format", "coreutils", "--algorithm", "md5", "--algorithm", "sha1", "."],
        &["--format", "bsd", "--output", "json", "."],
        &["--format", "rclone", "."],
        &["--format", "bsd", "--tag", "."],
    ] {
        let ended = submit(arguments, &root).await.run().await.exits(2);
        assert!(!ended.stderr.contains("hashmesh: submission"), "{}", ended.stderr);
    }
    fs::write(root.join("x"), "x").expect("a file");
    let ended = submit(&["--format", "jsonl", "x"], &root).await.run().await.succeeded();
    assert_eq!(ended.json_lines()[0]["name"], "x");
}

#[tokio::test]
async fn a_name_is_equal_missing_different_or_unreadable() {
    let root = rundir::directory("verdicts");
    for name in ["same", "changes", "goes\naway"] {
        fs::write(root.join(name), name).expect("a file");
    }
    let mut manifest = submit(&["."], &root).await.run().await.succeeded().stdout;
    manifest.extend_from_slice(format!("{}  ./directory\nnonsense\n", "00".repeat(32)).as_bytes());
    fs::create_dir(root.join("directory")).expect("a directory");
    fs::write(root.join("changes"), "changed").expect("a file");
    fs::remove_file(root.join("goes\naway")).expect("it is there");
    let path = rundir::directory("verdicts").join("manifest");
    fs::write(&path, manifest).expect("it is written");
    let ended = verify(&path, &root).await.run().await.exits(1);
    let mut lines: Vec<String> = ended.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["! ./directory", "* ./changes", "= ./same", "\\- ./goes\\naway"]);
    for said in ["./directory: is a directory", "line 5: improperly formatted"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let objects = verify(&path, &root).await.arg("--output").arg("jsonl").run().await.exits(1).json_lines();
    let sign = |name: &str| objects.iter().find(|object| object["name"] == name).map(|object| object["sign"].clone());
    assert_eq!(sign("./changes"), Some("*".into()));
    assert_eq!(sign("./goes\naway"), Some("-".into()));
}
