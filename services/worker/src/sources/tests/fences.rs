//! What is not read: outside of roots, of what the tenant may name, behind links.

use super::*;

#[test]
fn links_that_lead_out_of_the_root_are_refused_whether_their_target_exists_or_not() {
    let tree = Tree::new();
    symlink("../secret", tree.path("relative")).unwrap();
    symlink(tree.base.path().join("secret"), tree.path("absolute")).unwrap();
    symlink("..", tree.path("directory")).unwrap();
    symlink("/nowhere", tree.path("dangling")).unwrap();
    symlink("../nowhere", tree.path("dangling-relative")).unwrap();
    symlink("/proc/self/root/etc/passwd", tree.path("magic")).unwrap();
    let failures = ["relative", "absolute", "directory/secret", "dangling", "dangling-relative", "magic"]
        .map(|name| tree.failure(name));
    for failure in &failures {
        assert_eq!(failure, &failures[0]);
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_ALLOWED", false));
    }
}

#[test]
fn links_that_stay_below_the_root_are_followed() {
    let tree = Tree::new();
    fs::create_dir(tree.path("dir")).unwrap();
    tree.write("dir/file", b"x");
    symlink("dir/file", tree.path("link")).unwrap();
    symlink("../link", tree.path("dir/up")).unwrap();
    assert_eq!(tree.digest("dir/up", None).unwrap().0, digests_of(b"x"));
    symlink("loop", tree.path("loop")).unwrap();
    assert_eq!(tree.failure("loop").reason, "SOURCE_NOT_REGULAR");
    symlink("nothing", tree.path("broken")).unwrap();
    assert_eq!(tree.failure("broken").reason, "SOURCE_NOT_FOUND");
}

#[test]
fn promise_10_nothing_leads_out_of_what_the_tenant_may_name_whatever_the_worker_may_read() {
    let tree = Tree::new();
    for directory in ["a", "a/b", "other"] {
        fs::create_dir(tree.path(directory)).unwrap();
    }
    tree.write("a/b/file", b"x");
    tree.write("other/secret", b"secret");
    symlink("b/file", tree.path("a/in")).unwrap();
    symlink("../other/secret", tree.path("a/out")).unwrap();
    symlink("../other", tree.path("a/directory")).unwrap();
    let uri = |name: &str| file_uri(tree.path(name).as_os_str().as_bytes());
    let allowed = |places: &[String]| AllowedSources::of(&TenantSources { uri_prefixes: places.to_vec() });
    let read = |name: &str, allowed: &AllowedSources| {
        let (recipe, uri) = (recipe(), uri(name));
        let wanted = Wanted {
            uri: uri.as_bytes(),
            range: None,
            algorithms: &recipe,
            allowed: Some(allowed),
            known: None,
            listed: None,
            keeps: false,
        };
        read(&tree.sources, wanted, &|_| true)
    };
    let one = allowed(&[uri("a")]);
    for name in ["a/b/file", "a/in"] {
        assert_eq!(read(name, &one).unwrap().0, digests_of(b"x"), "{name}");
    }
    for name in ["other/secret", "a/out", "a/directory/secret", "ab", ""] {
        let failure = failed(read(name, &one));
        assert_eq!((failure.reason, failure.retryable), ("SOURCE_NOT_ALLOWED", false), "{name}");
    }
    // Of several the nearest counts, and more than the worker may read is no more.
    assert_eq!(read("a/out", &allowed(&[uri(""), uri("other")])).unwrap().0, digests_of(b"secret"));
    assert_eq!(failed(read("a/out", &allowed(&[uri(""), uri("a")]))).reason, "SOURCE_NOT_ALLOWED");
    assert_eq!(read("a/out", &allowed(&["file:///".to_owned()])).unwrap().0, digests_of(b"secret"));
    assert_eq!(failed(read("a/in", &allowed(&[]))), Failure::not_the_tenants());
}

#[test]
fn what_lies_outside_every_root_is_left_to_other_workers() {
    let tree = Tree::new();
    let base = tree.base.path().canonicalize().unwrap();
    let sibling = base.join("root-of-another");
    fs::create_dir(&sibling).unwrap();
    for uri in [
        file_uri(base.join("secret").as_os_str().as_bytes()),
        file_uri(base.join("nothing").as_os_str().as_bytes()),
        file_uri(sibling.join("file").as_os_str().as_bytes()),
        "s3://bucket/key".to_owned(),
        "file://host/path".to_owned(),
    ] {
        let failure = failed(tree.digest_uri(uri.as_bytes(), None, &|_| true));
        assert_eq!(failure, Failure::cannot_reach(), "{uri}");
    }
}

#[test]
fn a_path_with_a_parent_in_it_is_refused_however_it_is_written() {
    let tree = Tree::new();
    tree.write("file", b"x");
    let root = file_uri(tree.path("").as_os_str().as_bytes());
    for tail in ["/../secret", "/%2e%2e/secret", "/..%2Fsecret", "/../root/file", "/.."] {
        let uri = format!("{}{tail}", root.trim_end_matches('/'));
        let result = tree.digest_uri(uri.as_bytes(), None, &|_| true);
        let failure = failed(result);
        // A URI that the API does not take is no file's; one that it takes is seen through.
        assert!(["SOURCE_NOT_ALLOWED", "CANNOT_REACH_SOURCE"].contains(&failure.reason), "{uri}: {failure:?}");
    }
}

#[test]
fn the_nearest_of_nested_roots_is_used_and_all_are_announced_with_their_identity() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    fs::create_dir_all(base.join("a/b c")).unwrap();
    fs::write(base.join("a/file"), "x").unwrap();
    // From `a/b c` this leads out, from `a` it would not: the nearest root decides.
    symlink("../file", base.join("a/b c/link")).unwrap();
    let sources = open(&[base.join("a"), base.join("a/b c")]).unwrap();
    let uri = file_uri(base.join("a/b c/link").as_os_str().as_bytes());
    let read = read_all(&sources, &uri);
    assert!(matches!(read, Err(ReadError::Failed(Failure { reason: "SOURCE_NOT_ALLOWED", .. }))), "{read:?}");

    let announced = sources.announced();
    let inner = fs::metadata(base.join("a/b c")).unwrap();
    assert!(announced[0].uri_prefix.ends_with("/a/b%20c/"), "{announced:?}");
    assert!(announced[1].uri_prefix.ends_with("/a/"), "{announced:?}");
    assert_eq!(announced[0].inode, std::os::unix::fs::MetadataExt::ino(&inner));
}
