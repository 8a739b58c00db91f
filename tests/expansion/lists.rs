//! Texts that name objects: `list:URI`.

use hashmesh::v1::Algorithm;

use super::*;

#[tokio::test]
async fn a_list_is_taken_line_by_line_over_pages_wherever_its_text_is() {
    const FILES: usize = 12_000;
    let _turn = heavy::turn().await;
    let tree = rundir::directory("list-tree");
    let mut lines = String::new();
    for file in (0..FILES).rev() {
        let path = tree.join(file.to_string());
        fs::write(&path, file.to_string()).expect("a file");
        // Neither kind of line end is part of a name, and nothing is nothing.
        let end = if file % 2 == 0 { "\n" } else { "\r\n\n" };
        lines.push_str(&format!("{}{end}", file_uri(path.as_os_str().as_bytes())));
    }
    fs::write(tree.join("list"), &lines).expect("a list");
    // A server that knows nothing of ranges sends all of it for each page.
    let body = lines.clone();
    let served = move |_: &str| Some(("200 OK\r\netag: \"1\"".to_owned(), body.clone()));
    let address = scripted_web::serve(served).await;
    let (web, network) = (format!("http://{address}"), format!("{}/32", own_host_of(&address)));
    let options =
        ["--allow-source", tree.to_str().expect("UTF-8"), "--allow-source", &web, "--allow-network", &network];
    let up = Up::start("lists", &options).await;
    let mut gateway = Gateway::connect(&up.server).await;
    for text in [file_uri(tree.join("list").as_os_str().as_bytes()), format!("{web}/lists/1?x=y")] {
        let id = create(&mut gateway, &format!("list:{text}")).await;
        let end = gateway.reaches(&id, SubmissionState::Completed).await;
        assert_eq!((end.accepted_tasks, end.succeeded_tasks), (FILES as u64, FILES as u64), "{text}");
        assert!(end.next_sequence >= 2, "{text}: {end:?}");
        let outcomes = by_name(gateway.outcomes_after(&id, 0).await);
        let last = file_uri(tree.join("11999").as_os_str().as_bytes());
        assert_eq!(outcomes[&last].digests[0].hex, sha256_hex(b"11999"), "{text}");
    }

    // A manifest of objects is a list that says what they ought to be.
    let named = |name: &str| file_uri(tree.join(name).as_os_str().as_bytes());
    let manifest = format!(
        "{}  {}\nSHA256 ({}) = {}\nMD5 ({}) = {}\n",
        sha256_hex(b"1"),
        named("1"),
        named("2"),
        sha256_hex(b"3"),
        named("3"),
        "eccbc87e4b5ce2fe28308fd9f2a7baf3"
    );
    fs::write(tree.join("manifest"), manifest).expect("a manifest");
    let uri = |name: &str| format!("list:{}", named(name));
    let options =
        SubmissionOptions { algorithms: vec![Algorithm::Sha256.into(), Algorithm::Md5.into()], ..of(&uri("manifest")) };
    let id = try_create(&mut gateway, options, "").await.expect("it is created");
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.mismatched_tasks, end.failed_tasks), (2, 1, 0));

    // By the command; and what is no list is none.
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let seven = named("7");
    for (name, text, wanted) in [
        ("short", format!("{seven}\n"), Ok(1)),
        ("empty", String::new(), Ok(0)),
        ("spaced", format!("{seven}\n {seven}\n"), Err("SOURCE_UNREADABLE")),
        ("uploads", format!("upload://default/{}\n", "0".repeat(32)), Err("SOURCE_UNREADABLE")),
        ("endless", "x".repeat(5_000_000), Err("SOURCE_UNREADABLE")),
    ] {
        fs::write(tree.join(name), text).expect("a list");
        let run = verb(&["submit", &uri(name)]).run().await;
        match wanted {
            Ok(count) => assert_eq!(run.succeeded().text().lines().count(), count, "{name}"),
            Err(reason) => assert!(run.exits(1).stderr.contains(reason), "{name}"),
        }
    }
    assert!(verb(&["submit", &uri("absent")]).run().await.exits(1).stderr.contains("SOURCE_NOT_FOUND"));
    verb(&["submit", "list:file:///no/../place"]).run().await.exits(2);
    verb(&["compare", &uri("short"), &uri("short")]).run().await.exits(2);
    for source_uri in ["list:", "list:list:file:///x", "list:upload://a/b", "list:file:///srv/"] {
        let status = try_create(&mut gateway, of(source_uri), "").await.expect_err(source_uri);
        assert_eq!(violated_fields(&status), ["options.expansion.source_uri"]);
    }
}

/// The host of `HOST:PORT`.
fn own_host_of(address: &str) -> &str {
    address.split(':').next().expect("a host")
}
