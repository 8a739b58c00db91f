//! The command's verbs, run to their end.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, process::Command};

use super::process::{HASHMESH, clean_environment};

/// What no verb of a test may exceed.
const LONGEST: Duration = Duration::from_secs(600);

/// A run that has not begun.
#[derive(Debug)]
pub(crate) struct Run {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    stdin: Vec<u8>,
    directory: Option<PathBuf>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// `hashmesh ARGUMENTS`.
pub(crate) fn hashmesh<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    program(HASHMESH, arguments)
}

/// Any program.
pub(crate) fn program<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Run {
    Run {
        program: program.as_ref().to_owned(),
        arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
        environment: Vec::new(),
        stdin: Vec::new(),
        directory: None,
    }
}

impl Run {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What it reads on standard input.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Where it runs.
    pub(crate) fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs something short, outside of async code.
    #[track_caller]
    pub(crate) fn run_now(self) {
        let status = std::process::Command::new(&self.program).args(&self.arguments).status();
        assert!(status.is_ok_and(|status| status.success()), "{:?} {:?} failed", self.program, self.arguments);
    }

    pub(crate) async fn run(self) -> Ended {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments);
        clean_environment(&mut command);
        command.env_remove("HASHMESH_LOG").envs(self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{command:?}");
        let mut child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let mut input = child.stdin.take().expect("it is piped");
        let bytes = self.stdin;
        let feeding = tokio::spawn(async move {
            // One that does not read all of it has its reasons.
            let _ = input.write_all(&bytes).await;
        });
        let Ok(output) = tokio::time::timeout(LONGEST, child.wait_with_output()).await else {
            panic!("{what} did not end within {LONGEST:?}");
        };
        feeding.abort();
        let output = output.expect("it is our child");
        Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "standard error: {}\nstandard output: {}", self.stderr, self.text());
        self
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        self.exits(0)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Standard output as one JSON value per line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        self.text().lines().map(parse).collect()
    }
}
