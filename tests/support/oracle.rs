//! Digests from somebody else: Python's hashlib and zlib. What is under test must not judge itself.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

/// Reads `count` inputs, each behind its length (4 bytes, little endian), and writes their digests one after another.
const OF_INPUTS: &str = "
import hashlib, struct, sys, zlib
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
name, _, part = sys.argv[1].partition(':')
def plain(data):
    return zlib.crc32(data).to_bytes(4, 'big') if name == 'crc32' else hashlib.new(name, data).digest()
def composite(data):
    parts = range(0, max(len(data), 1), int(part))
    return plain(b''.join(plain(data[start:start + int(part)]) for start in parts))
for _ in range(int(sys.argv[2])):
    write((composite if part else plain)(read(struct.unpack('<I', read(4))[0])))
";

/// Digests of inputs by an algorithm that hashlib knows under this name (`sha256`, `sha512_256`, `sha3_256`, `md5` …) or by
/// `crc32`; with `:BYTES` behind the name, composite ones over parts of so many bytes.
pub(crate) fn digests<'a>(hashlib_name: &str, inputs: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let count = inputs.len();
    let mut child = Command::new("python3")
        .args(["-c", OF_INPUTS, hashlib_name, &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut fed = Vec::new();
    for input in inputs {
        fed.extend_from_slice(&u32::try_from(input.len()).expect("below 4 GiB").to_le_bytes());
        fed.extend_from_slice(input);
    }
    let feeding = std::thread::spawn(move || stdin.write_all(&fed).expect("python3 reads"));
    let mut digests = Vec::new();
    child.stdout.take().expect("it is piped").read_to_end(&mut digests).expect("python3 writes");
    feeding.join().expect("no panic");
    assert!(child.wait().expect("it is our child").success(), "python3 failed");
    if count == 0 {
        return Vec::new();
    }
    assert_eq!(digests.len() % count, 0);
    digests.chunks(digests.len() / count).map(<[u8]>::to_vec).collect()
}

/// The SHA-256 of one input, in hexadecimal.
pub(crate) fn sha256_hex(input: &[u8]) -> String {
    hex::encode(&digests("sha256", [input].into_iter())[0])
}

/// The SHA-256 of a file, by coreutils, in hexadecimal.
pub(crate) fn sha256sum(path: &std::path::Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    let line = String::from_utf8(output.stdout).expect("it prints text");
    line.split(' ').next().expect("it prints the digest").to_owned()
}
