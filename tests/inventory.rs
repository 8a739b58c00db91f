//! An S3 inventory against the store that it is of.

use std::{fs, io::Write as _};

use flate2::{Compression, write::GzEncoder};

use crate::support::{
    Up,
    cli::{Run, hashmesh},
    oracle, rundir,
    s3::S3,
};

fn md5(input: &[u8]) -> String {
    hex::encode(&oracle::digests("md5", [input].into_iter())[0])
}

#[tokio::test]
async fn an_inventory_is_verified_against_its_bucket_and_compared_with_a_submission() {
    let s3 = S3::start("inventory", &["bucket"]).await;
    // As S3 writes keys into inventories, and as they stand in URIs.
    let keys = [
        ("plain", "plain"),
        ("a/b+c", "a/b%20c"),
        ("100%25%2B%26", "100%25%2B%26"),
        ("%C3%BCber/%E6%BC%A2", "%C3%BCber/%E6%BC%A2"),
        ("changes", "changes"),
        ("parts", "parts"),
    ];
    let mut rows = String::new();
    for (listed, encoded) in keys {
        s3.put(&format!("bucket/{encoded}"), encoded.as_bytes()).await;
        let etag = if encoded == "parts" { format!("{}-2", "00".repeat(16)) } else { md5(encoded.as_bytes()) };
        rows.push_str(&format!("\"bucket\",\"{listed}\",\"{}\",\"{etag}\",\"SSE-S3\"\n", encoded.len()));
    }
    rows.push_str(&format!("\"bucket\",\"gone\",\"1\",\"{}\",\"SSE-S3\"\n", md5(b"x")));
    s3.put("bucket/changes", b"changed").await;

    // As the bucket has it: the manifest in a directory of its date, the files in `data` beside that.
    let root = rundir::directory("inventory-files");
    for directory in ["2031-05-06T01-00Z", "data"] {
        fs::create_dir(root.join(directory)).expect("a directory");
    }
    let mut file = GzEncoder::new(fs::File::create(root.join("data/1.csv.gz")).expect("a file"), Compression::fast());
    file.write_all(rows.as_bytes()).and_then(|()| file.finish().map(drop)).expect("it is written");
    let manifest = serde_json::json!({
        "sourceBucket": "bucket", "destinationBucket": "arn:aws:s3:::lists", "version": "2016-11-30",
        "creationTimestamp": "1930000000000", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, ETag, EncryptionStatus",
        "files": [{"key": "bucket/daily/data/1.csv.gz", "size": 1, "MD5checksum": ""}],
    });
    let path = root.join("2031-05-06T01-00Z/manifest.json");
    fs::write(&path, serde_json::to_vec_pretty(&manifest).expect("JSON")).expect("it is written");

    let up = Up::start_in("inventory", &["--allow-source", "s3://bucket"], &s3.environment()).await;
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let report = |run: Run| async {
        let ended = run.run().await.exits(1);
        let mut lines: Vec<String> = ended.text().lines().map(str::to_owned).collect();
        lines.sort();
        (lines, ended.stderr)
    };
    let expected: Vec<String> = ["! s3://bucket/parts", "* s3://bucket/changes", "- s3://bucket/gone"]
        .into_iter()
        .map(str::to_owned)
        .chain(["%C3%BCber/%E6%BC%A2", "100%25%2B%26", "a/b%20c", "plain"].map(|key| format!("= s3://bucket/{key}")))
        .collect();
    let (lines, errors) = report(verb(&["verify"]).arg(&path)).await;
    assert_eq!(lines, expected, "{errors}");
    assert!(errors.contains("s3://bucket/parts: there is no digest"), "{errors}");

    // The same by a submission of what there is, without reading anything again.
    let uris = keys.map(|(_, encoded)| format!("s3://bucket/{encoded}\n")).concat();
    let submit = verb(&["submit", "--detach", "--algorithm", "md5", "--files-from", "-"]).stdin(uris);
    let id = submit.run().await.succeeded().text().trim().to_owned();
    verb(&["watch", &id]).run().await.succeeded();
    let (lines, errors) = report(verb(&["compare", &id]).arg(&path)).await;
    assert_eq!(lines, expected, "{errors}");
}
