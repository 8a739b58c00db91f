//! The main job through the command: a tree, its manifest, and what the real `sha256sum -c` says of it.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use hashmesh::{
    gateway::v1::{SubmitBatchRequest, submit_batch_request},
    v1::TaskRows,
};

use crate::support::{
    Mesh, MeshOptions,
    cli::{Run, hashmesh, program},
    oracle::{self, sha256_hex},
    process::{HASHMESH, without_override},
    raw::file,
    rundir, shared,
    tree::{hostile_entries, hostile_files, make_unreadable},
};

/// A new directory that the shared mesh's worker may read.
fn readable_directory(name: &str) -> PathBuf {
    let path = shared::source_root().join(format!("{name}-{:08x}", rand::random::<u32>()));
    fs::create_dir(&path).expect("a new directory");
    path
}

/// Checks a manifest with coreutils, beside the files that it names.
async fn assert_checks(checker: &str, manifest: &[u8], directory: &Path) {
    let path = rundir::directory("manifest").join("manifest");
    fs::write(&path, manifest).expect("it is written");
    let check = program(checker, ["-c", "--strict", "--quiet"]).arg(&path).in_directory(directory);
    check.run().await.succeeded();
}

/// `hashmesh submit` as somebody whom permissions bind, even if we are root.
fn bound_submit(server: &str) -> Run {
    let mut arguments = without_override();
    arguments.extend([HASHMESH, "submit", "--server", server].map(str::to_owned));
    program("setpriv", arguments)
}

#[tokio::test]
async fn a_tree_becomes_a_manifest_that_sha256sum_accepts_by_reference_and_inline() {
    let server = &shared::up().await.server;
    let root = readable_directory("tree");
    for directory in ["", "a", "a/b", "c"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
        for file in 0..50 {
            let content = format!("{directory}/{file}").repeat(file * 37);
            fs::write(root.join(directory).join(format!("file {file}")), content).expect("a file");
        }
    }
    // Larger than a batch may be: a worker reads it, nobody sends it.
    fs::write(root.join("large"), vec![7; 9_000_000]).expect("a file");
    let submit = || hashmesh(["submit", "--server", server]).arg(&root);
    let by_reference = submit().run().await.succeeded();
    assert_eq!(by_reference.stdout.iter().filter(|byte| **byte == b'\n').count(), 201);
    assert_checks("sha256sum", &by_reference.stdout, Path::new("/")).await;

    fs::remove_file(root.join("large")).expect("it is there");
    let inline = submit().arg("--inline").run().await.succeeded();
    assert_checks("sha256sum", &inline.stdout, Path::new("/")).await;
    let relative = hashmesh(["submit", "--server", server, "a", "c"]).in_directory(&root).run().await.succeeded();
    assert_checks("sha256sum", &relative.stdout, &root).await;
    assert!(relative.text().lines().all(|line| line.contains("  a/") || line.contains("  c/")), "{}", relative.text());

    let tagged = submit().arg("--tag").run().await.succeeded();
    assert_checks("sha256sum", &tagged.stdout, Path::new("/")).await;
    for (algorithm, checker) in
        [("sha512", "sha512sum"), ("sha1", "sha1sum"), ("md5", "md5sum"), ("sha224", "sha224sum"), ("blake2b", "b2sum")]
    {
        let manifest = submit().arg("--algorithm").arg(algorithm).run().await.succeeded();
        assert_checks(checker, &manifest.stdout, Path::new("/")).await;
    }
}

/// As S3 would have them of an object that was uploaded in parts of 5 MiB: from one read, by a worker.
#[tokio::test]
async fn composite_digests_of_a_file_are_those_of_its_parts_and_their_size_is_kept() {
    let server = &shared::up().await.server;
    let root = readable_directory("parts");
    let content: Vec<u8> = (0..11_000_000_u32).map(|index| (index % 253) as u8).collect();
    fs::write(root.join("large"), &content).expect("a file");
    let submit = || hashmesh(["submit", "--server", server, "--output", "jsonl"]).arg(root.join("large"));
    let algorithms = ["--algorithm", "md5-composite", "--algorithm", "crc32", "--algorithm", "sha256-composite"];
    // The size is missing, out of bounds, or for nothing.
    algorithms.iter().fold(submit(), Run::arg).run().await.exits(2);
    submit().arg("--algorithm").arg("md5-composite").arg("--part-size").arg("5MB").run().await.exits(2);
    submit().arg("--part-size").arg("5MiB").run().await.exits(2);

    let run = algorithms.iter().fold(submit(), Run::arg);
    let ended = run.arg("--part-size").arg("5MiB").run().await.succeeded();
    let line = &ended.json_lines()[0];
    for (name, by) in [("md5-composite", "md5:5242880"), ("crc32", "crc32"), ("sha256-composite", "sha256:5242880")] {
        let wanted = hex::encode(&oracle::digests(by, [content.as_slice()].into_iter())[0]);
        assert_eq!(line["digests"][name].as_str(), Some(wanted.as_str()), "{name}");
    }
    let id = ended.stderr.lines().find_map(|line| line.strip_prefix("hashmesh: submission ")).expect("it says which");
    let get = hashmesh(["get", "--server", server, "--output", "json", id]).run().await.succeeded().json();
    assert_eq!(get["part_bytes"], 5 << 20, "{get}");

    // The submission knows the size of its parts, a manifest does not.
    hashmesh(["verify", "--server", server, id]).run().await.succeeded();
    hashmesh(["verify", "--server", server, "-"]).stdin(ended.text()).run().await.exits(67);
    let verify = || hashmesh(["verify", "--server", server, "-"]).stdin(ended.text());
    verify().arg("--part-size").arg("5MiB").run().await.succeeded();
    verify().arg("--part-size").arg("6MiB").run().await.exits(1);
}

/// Everything that a file system holds and scripts get wrong: what can be read is in the manifest, all else is reported.
async fn assert_hostile_tree(root: &Path, run: Run) {
    let mut files = hostile_files(root);
    let mut reported = hostile_entries(root);
    let unreadable = root.join("unreadable");
    fs::write(&unreadable, "secret").expect("a file");
    make_unreadable(&unreadable);
    reported.push("unreadable");
    // A link to what is there is no file of its own, and no error.
    std::os::unix::fs::symlink("plain", root.join("good link")).expect("a link");

    let ended = run.arg(".").in_directory(root).run().await.exits(1);
    for name in reported {
        assert!(ended.stderr.contains(name), "{name} is not reported:\n{}", ended.stderr);
        assert!(!ended.text().contains(&format!("/{name}\n")), "{name} is in the manifest:\n{}", ended.text());
    }
    assert!(ended.stderr.contains("good link"), "{}", ended.stderr);
    assert_checks("sha256sum", &ended.stdout, root).await;

    // Byte for byte what coreutils would have written.
    files.sort();
    let names = files.iter().map(|(name, _)| std::ffi::OsStr::from_bytes(name)).map(|name| Path::new(".").join(name));
    let coreutils = program("sha256sum", ["--"]);
    let theirs = names.fold(coreutils, Run::arg).in_directory(root).run().await.succeeded();
    let lines = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&ended.stdout), lines(&theirs.stdout));
}

#[tokio::test]
async fn a_hostile_tree_has_the_right_manifest_and_every_other_entry_is_reported_inline() {
    let server = &shared::up().await.server;
    let root = rundir::directory("hostile-inline");
    assert_hostile_tree(&root, bound_submit(server).arg("--inline")).await;
}

#[tokio::test]
async fn a_hostile_tree_has_the_right_manifest_and_every_other_entry_is_reported_by_reference() {
    let root = rundir::directory("hostile-reference");
    let mesh = Mesh::start("hostile", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    assert_hostile_tree(&root, bound_submit(&mesh.gateway.url()).arg("--by-reference")).await;
}

#[tokio::test]
async fn promise_7_a_link_out_of_the_allowed_root_is_not_followed_by_workers() {
    let root = rundir::directory("escape");
    let outside = rundir::directory("outside");
    fs::write(outside.join("secret"), "secret").expect("a file");
    std::os::unix::fs::symlink(&outside, root.join("way-out")).expect("a link");
    fs::write(root.join("inside"), "inside").expect("a file");
    let mesh = Mesh::start("escape", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    // The command would resolve the link; a worker is told the path as it is.
    let tasks = vec![file("inside", &root.join("inside")), file("out", &root.join("way-out/secret"))];
    let request = SubmitBatchRequest {
        tasks: Some(submit_batch_request::Tasks::Rows(TaskRows { tasks })),
        wait: true,
        ..SubmitBatchRequest::default()
    };
    let outcomes = gateway.submit_batch(request).await.expect("it is accepted").into_inner().outcomes;
    let of = |name: &str| outcomes.iter().find(|outcome| outcome.name == name).expect("it has an outcome");
    assert_eq!(of("inside").digests[0].hex, sha256_hex(b"inside"));
    assert_eq!(of("out").error.as_ref().expect("it failed").reason, "SOURCE_NOT_ALLOWED");
}

#[tokio::test]
async fn a_file_that_no_batch_holds_and_the_mesh_may_not_read_is_reported_with_the_remedy() {
    let server = &shared::up().await.server;
    let root = rundir::directory("large");
    fs::write(root.join("large"), vec![1; 5_000_000]).expect("a file");
    fs::write(root.join("small"), "small").expect("a file");
    let ended = hashmesh(["submit", "--server", server, "."]).in_directory(&root).run().await.exits(1);
    assert!(ended.stderr.contains("large") && ended.stderr.contains("--allow-source"), "{}", ended.stderr);
    assert_checks("sha256sum", &ended.stdout, &root).await;
    assert!(ended.text().contains("small"));
}

#[tokio::test]
async fn verify_finds_what_differs_and_what_is_gone() {
    let server = &shared::up().await.server;
    let root = readable_directory("verify");
    for name in ["same", "changes", "goes"] {
        fs::write(root.join(name), name).expect("a file");
    }
    let manifest = hashmesh(["submit", "--server", server, "."]).in_directory(&root).run().await.succeeded().stdout;
    let path = rundir::directory("verify").join("manifest");
    fs::write(&path, &manifest).expect("it is written");
    let verify = || hashmesh(["verify", "--server", server]).arg(&path).in_directory(&root);
    verify().run().await.succeeded();
    // Coreutils' own manifests too.
    let theirs = program("sha256sum", ["same", "changes", "goes"]).in_directory(&root).run().await.succeeded();
    hashmesh(["verify", "--server", server, "-"]).stdin(theirs.stdout).in_directory(&root).run().await.succeeded();

    fs::write(root.join("changes"), "changed").expect("a file");
    fs::remove_file(root.join("goes")).expect("it is there");
    let ended = verify().run().await.exits(1);
    assert!(ended.text().contains("* ./changes\n") && ended.text().contains("- ./goes\n"), "{}", ended.text());
}

#[tokio::test]
async fn standard_input_is_one_input_of_any_length() {
    let server = &shared::up().await.server;
    let input: Vec<u8> = (0..10_000_000_u32).map(|index| (index % 241) as u8).collect();
    let ended = hashmesh(["submit", "--server", server, "-"]).stdin(input.clone()).run().await.succeeded();
    assert_eq!(ended.text(), format!("{}  -\n", sha256_hex(&input)));
}
