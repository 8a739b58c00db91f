//! Addresses to listen on.

use std::{
    fmt, io,
    net::SocketAddr,
    str::FromStr,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::net::TcpListener;

/// How long an address that is taken is waited for.
const TAKEN_ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// `HOST:PORT`, `[IPv6]:PORT`. Port 0: any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A text that is no address.
#[derive(Debug, Error)]
#[error("wanted HOST:PORT, such as 127.0.0.1:7420 or [::1]:7420 (port 0: any free one)")]
pub(crate) struct NotAnAddress;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (setting `{setting}`)")]
pub(crate) struct CannotListen {
    setting: &'static str,
    address: HostPort,
    source: io::Error,
}

impl FromStr for HostPort {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let port = port.parse().map_err(|_| NotAnAddress)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(NotAnAddress);
        }
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl HostPort {
    /// Any free port of 127.0.0.1.
    pub(crate) fn any_loopback() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 0 }
    }

    /// Starts to listen. `setting` is whose value this is, for the error. A taken address is waited for a little: a
    /// process that was killed keeps its own until the kernel has cleaned up behind it.
    pub(crate) async fn bind(&self, setting: &'static str) -> Result<TcpListener, CannotListen> {
        let began = Instant::now();
        loop {
            match TcpListener::bind((self.host.as_str(), self.port)).await {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < TAKEN_ADDRESS_PATIENCE => {
                    tokio::time::sleep(TAKEN_ADDRESS_PATIENCE / 40).await;
                }
                Err(source) => return Err(CannotListen { setting, address: self.clone(), source }),
            }
        }
    }

    fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }
}

/// Binds a role's two addresses. The admin one is, unless it is set, the next port on the same host.
pub(crate) async fn bind_pair(
    listen: &HostPort,
    admin: Option<&HostPort>,
) -> Result<(TcpListener, TcpListener), CannotListen> {
    let main = listen.bind("listen").await?;
    if let Some(admin) = admin {
        return Ok((main, admin.bind("admin_listen").await?));
    }
    let next = main.local_addr().ok().and_then(|address| address.port().checked_add(1));
    let admin = match next {
        Some(next) if listen.port != 0 => listen.with_port(next).bind("admin_listen").await?,
        // A free port was asked for, and its neighbour need not be free.
        Some(next) => match listen.with_port(next).bind("admin_listen").await {
            Ok(admin) => admin,
            Err(_) => listen.with_port(0).bind("admin_listen").await?,
        },
        None => listen.with_port(0).bind("admin_listen").await?,
    };
    Ok((main, admin))
}

/// Where clients on this machine reach a listener: one that is bound to every address is reached by loopback.
pub(crate) fn local(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, address.port())
}

/// Where others reach a listener: one that is bound to every address is reached by this machine's name, which in a container
/// is one that its neighbours can resolve.
pub(crate) fn advertised(address: SocketAddr) -> String {
    let name = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().filter(|name| !name.trim().is_empty());
    match name() {
        Some(name) if address.ip().is_unspecified() => format!("{}:{}", name.trim(), address.port()),
        _ => local(address).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_alike() {
        for text in ["127.0.0.1:7420", "[::1]:0", "gateway.example:1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in ["7420", ":7420", "::1:7420", "host:", "host:65536", "[::1]"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_listens_on_every_address_gives_others_its_name() {
        assert_eq!(advertised("10.0.0.1:7430".parse().unwrap()), "10.0.0.1:7430");
        let name = advertised("0.0.0.0:7430".parse().unwrap());
        assert!(name.ends_with(":7430") && !name.starts_with("0.0.0.0"), "{name}");
    }

    #[tokio::test]
    async fn a_free_pair_is_bound_and_a_taken_port_is_named() {
        let (main, admin) = bind_pair(&HostPort::any_loopback(), None).await.unwrap();
        assert_ne!(main.local_addr().unwrap(), admin.local_addr().unwrap());
        let taken: HostPort = main.local_addr().unwrap().to_string().parse().unwrap();
        let error = bind_pair(&taken, None).await.unwrap_err().to_string();
        assert!(error.contains("setting `listen`") && error.contains(&taken.to_string()), "{error}");
    }
}
