//! A small disk: a tmpfs that only those see who are started within its holder's world, so that it goes with them.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use super::process::spawn;

/// $0: where, $1: options. Stays until its standard input ends.
const HOLD: &str = r#"mount -t tmpfs -o "$1" hashmesh-test "$0" && echo ready && exec cat"#;
/// $0: the file that takes all that is left, at its end. It fails, as it should.
const FILL: &str = r#"cat /dev/zero >>"$0" 2>/dev/null; [ -s "$0" ]"#;

/// Gone, with all that is on it, once its holder and the processes within are.
#[derive(Debug)]
pub(crate) struct Disk {
    holder: Child,
    _held: ChildStdin,
    path: PathBuf,
}

impl Disk {
    /// None: we may not mount one.
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "sh", "-c", HOLD]);
        command.arg(path).arg(format!("size={mebibytes}m,mode=0755"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = spawn(command);
        let held = holder.stdin.take().expect("it is piped");
        let mut said = [0; 6];
        let mut output = holder.stdout.take().expect("it is piped");
        let mounted = std::io::Read::read_exact(&mut output, &mut said).is_ok();
        let disk = Self { holder, _held: held, path: path.to_owned() };
        mounted.then_some(disk)
    }

    /// What runs a program that sees it.
    pub(crate) fn within(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("--").arg(program);
        command
    }

    /// Takes all that is left of it.
    pub(crate) fn fill(&self) {
        let status = self.within("sh").args(["-c", FILL]).arg(self.path.join("filler")).status();
        assert!(status.is_ok_and(|status| status.success()), "nothing was left to fill");
    }

    /// Gives back what was taken.
    pub(crate) fn empty(&self) {
        let status = self.within("rm").arg("-f").arg(self.path.join("filler")).status();
        assert!(status.is_ok_and(|status| status.success()), "the file cannot be removed");
    }

    /// Bytes that are free on it.
    pub(crate) fn free_bytes(&self) -> u64 {
        let output = self.within("df").args(["--output=avail", "--block-size=1"]).arg(&self.path).output();
        let text = String::from_utf8(output.expect("df").stdout).expect("text");
        text.lines().nth(1).expect("a second line").trim().parse().expect("a number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
