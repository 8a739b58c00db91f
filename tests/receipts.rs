//! `hashmesh receipt`: made from a mesh, checked without one.

use std::{fs, path::PathBuf};

use crate::support::{
    cli::{Ended, Run, hashmesh, program},
    rundir, shared,
    tree::hostile_files,
};

async fn verb(arguments: &[&str]) -> Run {
    hashmesh(arguments).env("HASHMESH_SERVER", &shared::up().await.server)
}

/// A check that would fail if it asked any mesh.
fn check(arguments: &[&str], directory: &std::path::Path) -> Run {
    let all = ["receipt", "verify"].into_iter().chain(arguments.iter().copied());
    hashmesh(all).env("HASHMESH_SERVER", "http://127.0.0.1:1").in_directory(directory)
}

fn id_of(ended: &Ended) -> String {
    let line = ended.stderr.lines().find_map(|line| line.strip_prefix("hashmesh: submission "));
    line.expect("it says which").to_owned()
}

/// A submission of hostile names of which some failed, its receipt and its outcomes in a directory, and its id.
async fn made() -> (PathBuf, String) {
    let root = shared::source_root().join(format!("receipt-{:08x}", rand::random::<u32>()));
    fs::create_dir(&root).expect("a directory");
    hostile_files(&root);
    let directory = rundir::directory("receipt");
    let manifest: String =
        ["plain", "."].map(|name| format!("{}  {}/{name}\n", "00".repeat(32), root.display())).concat();
    let verified = verb(&["verify", "--by-reference", "--batch-tasks", "1", "-"]).await.stdin(manifest);
    let flawed = id_of(&verified.run().await.exits(1));
    let submitted = verb(&["submit", "--format", "jsonl", "--algorithm", "md5", "--algorithm", "blake3"]).await;
    let id = id_of(&submitted.arg("--batch-tasks").arg("7").arg(&root).run().await.succeeded());
    for (name, id) in [("flawed", &flawed), ("whole", &id)] {
        let receipt = verb(&["receipt", id]).await.run().await.succeeded();
        fs::write(directory.join(format!("{name}.receipt")), receipt.stdout).expect("it is written");
        let outcomes = verb(&["results", id, "--format", "jsonl"]).await.run().await;
        fs::write(directory.join(format!("{name}.jsonl")), outcomes.stdout).expect("it is written");
    }
    (directory, id)
}

/// RFC 9162's tree and the leaves as they are documented, written anew.
const OTHER: &str = r#"
import base64, hashlib, json, struct, sys
text = lambda b: struct.pack(">I", len(b)) + b
def leaf(o):
    name = o["name"].encode() if "name" in o else base64.b64decode(o["raw_name_base64"])
    status = ["", "succeeded", "mismatched", "failed"].index(o["outcome"])
    b = text(b"hashmesh.outcome.v1") + struct.pack(">Q", o["position"]) + text(name) + bytes([status, len(o["digests"])])
    for algorithm in sorted(o["digests"]):
        b += text(algorithm.encode()) + text(bytes.fromhex(o["digests"][algorithm]))
    return hashlib.sha256(b"\0" + b + text(o.get("error", {}).get("reason", "").encode())).digest()
def root(leaves):
    if len(leaves) == 1: return leaves[0]
    k = 1
    while k * 2 < len(leaves): k *= 2
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()
print(root([leaf(json.loads(line)) for line in sys.stdin]).hex())
"#;

#[tokio::test]
async fn a_receipt_commits_to_every_outcome_and_another_program_finds_the_same_root() {
    let (directory, id) = made().await;
    for name in ["flawed", "whole"] {
        let receipt = fs::read(directory.join(format!("{name}.receipt"))).expect("it is there");
        let receipt: serde_json::Value = serde_json::from_slice(&receipt).expect("JSON");
        let outcomes = fs::read(directory.join(format!("{name}.jsonl"))).expect("it is there");
        let other = program("python3", ["-c", OTHER]).stdin(outcomes).run().await.succeeded();
        assert_eq!(Some(other.text().trim()), receipt["root"].as_str());
    }
    let receipt: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("flawed.receipt")).expect("it is there")).expect("JSON");
    for (key, value) in
        [("leaves", 2), ("accepted_tasks", 2), ("mismatched_tasks", 1), ("failed_tasks", 1), ("cancelled_tasks", 0)]
    {
        assert_eq!(receipt[key], value, "{key}: {receipt}");
    }
    assert!(receipt["kernels"][0].is_string() && receipt["end_time"].is_string(), "{receipt}");

    for name in ["flawed", "whole"] {
        let (receipt, manifest) = (format!("{name}.receipt"), format!("{name}.jsonl"));
        check(&[&receipt], &directory).run().await.succeeded();
        check(&[&receipt, "--manifest", &manifest], &directory).run().await.succeeded();
    }
    let swapped = check(&["whole.receipt", "--manifest", "flawed.jsonl"], &directory).run().await.exits(1);
    assert!(swapped.stderr.contains("2 outcomes, "), "{}", swapped.stderr);
    let outcomes = fs::read_to_string(directory.join("whole.jsonl")).expect("text");
    let (first, rest) = outcomes.split_once('\n').expect("two lines");
    for (forged, why) in [
        (outcomes.replacen("\"md5\":\"", "\"md5\":\"f", 1), "line 1"),
        (rest.to_owned(), "position 1 is missing"),
        (outcomes.replacen("content", "kontent", 1).replacen("plain", "plane", 1), "not those of the receipt"),
        (format!("{outcomes}{first}\n"), "position 1 is there twice"),
    ] {
        fs::write(directory.join("forged.jsonl"), forged).expect("it is written");
        let ended = check(&["whole.receipt", "--manifest", "forged.jsonl"], &directory).run().await.exits(1);
        assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
    }
    let again = verb(&["receipt", &id]).await.run().await.succeeded().json();
    assert_eq!(again["submission_id"], id);
}

#[tokio::test]
async fn a_single_outcome_is_proved_without_a_mesh() {
    let (directory, id) = made().await;
    let outcomes = fs::read_to_string(directory.join("whole.jsonl")).expect("text");
    let outcomes: Vec<serde_json::Value> =
        outcomes.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = outcomes.len().to_string();
    let named = outcomes.iter().find_map(|outcome| outcome["name"].as_str()).expect("one is UTF-8");
    for wanted in [["--position", "1"], ["--position", &last], ["--name", named]] {
        let proof = verb(&["receipt", "prove", &id]).await.arg(wanted[0]).arg(wanted[1]).run().await.succeeded();
        fs::write(directory.join("proof"), &proof.stdout).expect("it is written");
        let held = check(&["whole.receipt", "--proof", "proof"], &directory).run().await.succeeded();
        assert!(held.text().starts_with(&format!("OK: submission {id}: ")), "{}", held.text());
        // Not of another submission, and not of another outcome.
        check(&["flawed.receipt", "--proof", "proof"], &directory).run().await.exits(1);
        let mut forged = proof.json();
        forged["outcome"]["position"] = 2.into();
        fs::write(directory.join("proof"), forged.to_string()).expect("it is written");
        check(&["whole.receipt", "--proof", "proof"], &directory).run().await.exits(1);
    }
    verb(&["receipt", "prove", &id, "--name", "no such name"]).await.run().await.exits(1);
    verb(&["receipt", "prove", &id]).await.run().await.exits(2);
    verb(&["receipt"]).await.run().await.exits(2);
    check(&["proof"], &directory).run().await.exits(1);
    // 64 + NOT_FOUND; 64 + FAILED_PRECONDITION.
    verb(&["receipt", "01890a5d-ac96-774b-bcce-b302099a8057"]).await.run().await.exits(69);
    let later = verb(&["submit", "--detach", "--not-before", "1h", "--lines", "-"]).await.stdin("a\n");
    let later = later.run().await.succeeded().text().trim().to_owned();
    verb(&["receipt", &later]).await.run().await.exits(73);
    verb(&["cancel", &later]).await.run().await.succeeded();
    let empty = verb(&["receipt", &later]).await.run().await.succeeded().json();
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(
        (&empty["leaves"], &empty["cancelled_tasks"], empty["root"].as_str()),
        (&0.into(), &1.into(), Some(nothing))
    );
}
