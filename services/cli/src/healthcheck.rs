//! `hashmesh healthcheck`: whether a process of the mesh does its work, for whoever can only run a command: a container's
//! health check, in an image without a shell.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::address::HostPort;

/// What is read of an answer; readiness is some hundred bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Ask a process on this machine whether it is ready: exit code 0, or 1 with the reason. It asks for `/readyz` of its admin pages.
#[derive(Args, Debug)]
pub(crate) struct HealthcheckArgs {
    /// The admin pages to ask; default: those of the process with the same `--admin-listen` (HASHMESH_ADMIN_LISTEN).
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Where the process has its admin pages.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7421")]
    admin_listen: HostPort,
    /// How long an answer is waited for.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl HealthcheckArgs {
    pub(crate) fn run(self) -> Result<()> {
        let (address, path) = match &self.url {
            Some(url) => parse(url)?,
            None => (self.admin_listen.clone(), "/readyz".to_owned()),
        };
        let address = reachable(address);
        let timeout = self.timeout.max(Duration::from_millis(1));
        let answer = get(&address, &path, timeout).with_context(|| format!("no answer from {address}{path}"))?;
        judge(&answer).with_context(|| format!("{address} is not ready"))
    }
}

/// `http://HOST:PORT[/PATH]`, or `HOST:PORT[/PATH]`.
fn parse(url: &str) -> Result<(HostPort, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) if !path.is_empty() => (authority, format!("/{path}")),
        Some((authority, _)) => (authority, "/readyz".to_owned()),
        None => (rest, "/readyz".to_owned()),
    };
    if path.chars().any(|character| character.is_control() || character == ' ') {
        bail!("wanted a URL such as http://127.0.0.1:7421, found one with a space or control character");
    }
    let address =
        authority.parse().with_context(|| format!("wanted a URL such as http://127.0.0.1:7421, found {url:?}"))?;
    Ok((address, path))
}

/// A process that listens on every address is asked by loopback.
fn reachable(address: HostPort) -> HostPort {
    let host = match address.host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => address.host,
    };
    HostPort { host, port: address.port }
}

fn get(address: &HostPort, path: &str, timeout: Duration) -> Result<String> {
    let found = (address.host.as_str(), address.port).to_socket_addrs()?.next().context("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&found, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// 200 is ready; anything else is not, and the body says why.
fn judge(answer: &str) -> Result<()> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if head.starts_with("HTTP/1.") && status == "200" {
        return Ok(());
    }
    let said: Value = serde_json::from_str(body.trim()).unwrap_or_default();
    let roles = said["roles"].as_object().into_iter().flatten();
    let why = roles.filter_map(|(name, role)| Some(format!("{name}: {}", role["why"].as_str()?)));
    let why: Vec<String> = why.collect();
    if why.is_empty() {
        bail!("it answers with status {status:?}");
    }
    bail!("{}", why.join("; "))
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, net::TcpListener, thread};

    use super::*;

    /// Answers one request, and gives the first line of it.
    fn server(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            stream.write_all(answer.as_bytes()).unwrap();
            first
        });
        (port, served)
    }

    fn check(url: Option<String>, listen: &str) -> Result<()> {
        HealthcheckArgs { url, admin_listen: listen.parse().unwrap(), timeout: Duration::from_secs(5) }.run()
    }

    #[test]
    fn a_process_that_listens_on_every_address_is_asked_by_loopback() {
        let (port, served) = server("HTTP/1.1 200 OK\r\n\r\n{\"ready\":true}");
        check(None, &format!("0.0.0.0:{port}")).unwrap();
        assert_eq!(served.join().unwrap(), "GET /readyz HTTP/1.1");
        let (port, served) = server("HTTP/1.1 200 OK\r\n\r\n");
        check(Some(format!("http://127.0.0.1:{port}/livez")), "0.0.0.0:1").unwrap();
        assert_eq!(served.join().unwrap(), "GET /livez HTTP/1.1");
    }

    #[test]
    fn what_is_not_ready_is_told_with_its_reason() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"roles\":{\"queue\":{\"ready\":false,\"why\":\"no database\"}}}";
        let (port, _served) = server(answer);
        let error = format!("{:#}", check(None, &format!("127.0.0.1:{port}")).unwrap_err());
        assert!(error.contains("not ready") && error.contains("queue: no database"), "{error}");
        let (port, _served) = server("HTTP/1.1 404 Not Found\r\n\r\n");
        let error = format!("{:#}", check(None, &format!("127.0.0.1:{port}")).unwrap_err());
        assert!(error.contains("404"), "{error}");
    }

    #[test]
    fn nobody_there_and_no_http_are_failures() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(format!("{:#}", check(None, &format!("127.0.0.1:{port}")).unwrap_err()).contains("no answer"));
        let (port, _served) = server("what?\r\n");
        assert!(check(None, &format!("127.0.0.1:{port}")).is_err());
        for url in ["http://127.0.0.1", "https://127.0.0.1:1", "127.0.0.1:1/a b", ""] {
            assert!(check(Some(url.to_owned()), "127.0.0.1:1").is_err(), "{url}");
        }
    }
}
