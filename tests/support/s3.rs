//! An S3-compatible store of a test's own: versitygw, which keeps buckets as directories and checks signatures.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tokio::net::TcpStream;

use super::{
    mesh::own_host,
    process,
    reflect::path_with_tools,
    rundir,
    wait::{PATIENCE, until},
};

/// Each has a host of its own, so the port is free.
const PORT: u16 = 7070;

/// Who may use it.
const ACCESS_KEY: &str = "hashmesh-tests";
const SECRET_KEY: &str = "not-a-secret-at-all";

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct S3 {
    server: Child,
    directory: PathBuf,
    host: String,
}

impl S3 {
    /// Starts one with these buckets.
    pub(crate) async fn start(name: &str, buckets: &[&str]) -> Self {
        let (directory, host) = (rundir::directory(name), own_host());
        for bucket in buckets {
            fs::create_dir_all(directory.join("data").join(bucket)).expect("a bucket");
        }
        let server = launch(&directory, &host).await;
        Self { server, directory, host }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}:{PORT}", self.host)
    }

    /// What a worker is told of it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("AWS_ENDPOINT_URL", &self.endpoint()),
            pair("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            pair("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]
    }

    /// Where it keeps a bucket: what is put there is an object, as fast as files can be made.
    pub(crate) fn bucket(&self, name: &str) -> PathBuf {
        self.directory.join("data").join(name)
    }

    /// Stores an object as a client does. `path` is `bucket/key`, percent-encoded.
    pub(crate) async fn put(&self, path: &str, object: &[u8]) {
        let file = self.directory.join("upload");
        fs::write(&file, object).expect("a file");
        let url = format!("{}/{path}", self.endpoint());
        let credentials = format!("{ACCESS_KEY}:{SECRET_KEY}");
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
        curl.args(["--user", &credentials, "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--upload-file"]);
        let ended = curl.arg(&file).arg(&url).output().await.expect("curl");
        assert!(ended.status.success(), "{url}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // One that was killed is gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn launch(directory: &Path, host: &str) -> Child {
    let mut server = Command::new("setpriv");
    server.args(["--pdeathsig", "KILL", "--", "versitygw", "--port", &format!("{host}:{PORT}")]);
    server.args(["--region", "us-east-1", "--keep-alive", "--quiet", "posix"]).arg(directory.join("data"));
    server.env("PATH", path_with_tools());
    server.env("ROOT_ACCESS_KEY", ACCESS_KEY).env("ROOT_SECRET_KEY", SECRET_KEY);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = process::spawn(server);
    until("the S3 store to listen", PATIENCE, async || TcpStream::connect((host, PORT)).await.ok()).await;
    child
}
