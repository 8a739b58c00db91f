//! The directory of a run, and whoever removes it.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

/// Below /tmp, because a Postgres that was started by root runs as a user that reaches little else.
static RUN: LazyLock<Run> = LazyLock::new(Run::new);
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Waits for our end (of its standard input), then for that of the processes that end in order, then removes all.
const JANITOR: &str = r#"
    while read -r pid; do pids="$pids $pid"; done
    for pid in $pids; do
        for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    done
    rm -rf -- "$0"
"#;

#[derive(Debug)]
struct Run {
    path: PathBuf,
    janitor: Mutex<Child>,
}

impl Run {
    fn new() -> Self {
        let path = PathBuf::from(format!("/tmp/hashmesh-tests-{}", std::process::id()));
        fs::create_dir(&path).expect("a directory of our own below /tmp");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("Postgres' user may pass");
        let janitor = Command::new("sh")
            .args(["-c", JANITOR])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the tests; it cleans up after them.
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { path, janitor: Mutex::new(janitor) }
    }
}

/// A new directory of the run that everybody may pass.
pub(crate) fn directory(name: &str) -> PathBuf {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let path = RUN.path.join(format!("{number}-{name}"));
    fs::create_dir(&path).expect("a new directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// The directory is kept until this process has ended, even if we are gone before.
pub(crate) fn wait_for_at_the_end(pid: u32) {
    let mut janitor = RUN.janitor.lock().expect("no panic under the lock");
    if let Some(stdin) = &mut janitor.stdin {
        writeln!(stdin, "{pid}").expect("the janitor listens");
    }
}

/// Removes a directory of the run early, as far as that is possible.
pub(crate) fn remove(path: &Path) {
    // What stays is removed at the end of the run.
    let _ = fs::remove_dir_all(path);
}
