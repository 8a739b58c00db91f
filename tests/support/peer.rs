//! Which program is at the other end of a connection from this machine.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// How often the kernel's table is looked through: it is read in parts, and a row may pass from a part to the one before it
/// meanwhile.
const LOOKS: usize = 10;

/// The arguments of the process that connected from this address; none if it is gone.
pub(crate) fn arguments_of(peer: SocketAddr) -> Option<Vec<String>> {
    let socket = format!("socket:[{}]", (0..LOOKS).find_map(|_| inode_of(peer))?);
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let process = processes.filter(|process| has_number(process)).find(|process| holds(process, &socket))?;
    let arguments = fs::read(process.join("cmdline")).ok()?;
    Some(arguments.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect())
}

/// The socket whose own address it is, by the kernel's table (`man 5 proc_pid_net`).
fn inode_of(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(host) = address.ip() else { return None };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(host.octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    rows.find_map(|row| (row.get(1) == Some(&local.as_str())).then(|| row.get(9).map(|inode| (*inode).to_owned()))?)
}

fn has_number(process: &Path) -> bool {
    process
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Processes that end meanwhile hold nothing.
fn holds(process: &Path, socket: &str) -> bool {
    let files = || -> io::Result<bool> {
        let mut files = fs::read_dir(process.join("fd"))?.flatten();
        Ok(files.any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket)))
    };
    files().unwrap_or(false)
}
