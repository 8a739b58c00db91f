use std::os::unix::fs::PermissionsExt as _;

use hashmesh_runtime::tls::{Tls, TlsFiles};

use super::*;

fn arguments(directory: &Path, renew: bool) -> CertsArgs {
    CertsArgs {
        directory: directory.to_owned(),
        host: vec!["mesh.example".to_owned(), "10.0.0.1".to_owned()],
        days: 1,
        trust_domain: "mesh.example".to_owned(),
        renew,
        ensure: false,
    }
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

#[tokio::test]
async fn every_role_can_be_started_with_what_is_made_and_renewed() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/certs");
    for renew in [false, true] {
        arguments(&directory, renew).run().unwrap();
        for role in Role::ALL {
            let [certificate, key] = pair(&directory, role.name());
            let files = TlsFiles { certificate, key, ca: Some(directory.join("ca.pem")) };
            Tls::open(files, *role).await.unwrap();
        }
    }
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let secret = path.extension().is_some_and(|extension| extension == "key");
        assert_eq!(mode & 0o077 == 0, secret, "{}: {mode:o}", path.display());
    }
}

#[test]
fn nothing_is_overwritten_and_a_renewal_keeps_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    assert!(arguments(directory, true).run().is_err(), "there is nothing to renew");
    arguments(directory, false).run().unwrap();
    let before = ["ca.pem", "ca.key", "queue.pem", "queue.key"].map(|name| read(directory, name));
    let error = arguments(directory, false).run().unwrap_err().to_string();
    assert!(error.contains("--renew") && error.contains("is there already"), "{error}");
    assert_eq!(before, ["ca.pem", "ca.key", "queue.pem", "queue.key"].map(|name| read(directory, name)));
    arguments(directory, true).run().unwrap();
    assert_eq!(before[..2], ["ca.pem", "ca.key"].map(|name| read(directory, name)));
    assert_ne!(before[2..], ["queue.pem", "queue.key"].map(|name| read(directory, name)));
    // What is left of somebody else's is not touched either.
    fs::remove_file(directory.join("ca.pem")).unwrap();
    assert!(arguments(directory, false).run().is_err() && arguments(directory, true).run().is_err());
}

#[test]
fn what_is_run_at_every_start_makes_an_authority_once() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ensure = || CertsArgs { ensure: true, ..arguments(directory, false) }.run();
    ensure().unwrap();
    let before = ["ca.pem", "ca.key", "queue.pem"].map(|name| read(directory, name));
    ensure().unwrap();
    let after = ["ca.pem", "ca.key", "queue.pem"].map(|name| read(directory, name));
    assert!(before[..2] == after[..2] && before[2] != after[2]);
    // A key alone is no authority, and nothing is overwritten.
    fs::remove_file(directory.join("ca.pem")).unwrap();
    assert!(ensure().is_err());
}

#[test]
fn what_it_prints_says_how_to_use_it_and_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut made = Made::default();
    replace(&directory.path().join("a.key"), "SECRET", 0o600, &mut made).unwrap();
    let text = arguments(directory.path(), false).text(&made);
    for wanted in ["a.key", "--tls-cert", "--tls-ca", "grpcurl -cacert", "mesh.example, 10.0.0.1", "hashmesh worker"] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("SECRET"));
}
