//! A DNS server that answers as a test says.

use std::{
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{mesh::own_host, process::MOUNTED, rundir};

const TYPE_A: u16 = 1;

/// Answers until the process ends.
#[derive(Debug)]
pub(crate) struct Dns {
    resolv_conf: PathBuf,
    questions: Arc<AtomicUsize>,
}

impl Dns {
    /// `addresses` says what the nth question for an address, from 0, is answered with, whatever the name.
    pub(crate) fn start(name: &str, addresses: impl Fn(usize) -> Ipv4Addr + Send + 'static) -> Self {
        let host = own_host();
        // The only port that resolv.conf knows.
        let socket = UdpSocket::bind((host.as_str(), 53)).expect("port 53: run the tests as root");
        let resolv_conf = rundir::directory(name).join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {host}\noptions timeout:1 attempts:1\n")).expect("a file");
        let questions = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&questions);
        thread::spawn(move || {
            let mut message = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut message) {
                let answer = answer(&message[..length], || addresses(asked.fetch_add(1, Ordering::SeqCst)));
                // Who has gone asks again.
                let _ = answer.map(|answer| socket.send_to(&answer, from));
            }
        });
        Self { resolv_conf, questions }
    }

    /// What makes a process ask this server.
    pub(crate) fn environment(&self) -> (String, String) {
        (MOUNTED.to_owned(), format!("{}:/etc/resolv.conf", self.resolv_conf.display()))
    }

    /// Questions for an IPv4 address so far.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

/// The answer to one question: an address, or none for another type.
fn answer(message: &[u8], address: impl FnOnce() -> Ipv4Addr) -> Option<Vec<u8>> {
    let mut end = 12;
    while *message.get(end)? != 0 {
        end += 1 + usize::from(message[end]);
    }
    // The root label, type and class.
    let question = message.get(12..end + 5)?;
    let kind = u16::from_be_bytes([message[end + 1], message[end + 2]]);
    let count = u8::from(kind == TYPE_A);
    // Id; an answer, recursion available; one question, so many answers.
    let mut reply = vec![message[0], message[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    reply.extend_from_slice(question);
    if kind == TYPE_A {
        // The question's name, A, IN, no time to live, 4 bytes.
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend_from_slice(&address().octets());
    }
    Some(reply)
}
