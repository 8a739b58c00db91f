//! The database's URL: what the driver understands, and what of TLS it does not.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use tokio_postgres::config::{ChannelBinding, Config, Host, SslMode};

use crate::error::DatabaseError;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// A peer that vanished is noticed after 15 s + 3 × 5 s of silence; unless the URL says otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Sent data that stays unacknowledged for this long ends the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);
/// What the driver has when the URL says nothing.
const DRIVERS_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// How the server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    /// Not at all: plain text, or encrypted with whoever answers.
    None,
    /// By a certificate of one of the roots.
    Chain(Roots),
    /// By a certificate of one of the roots for the host's name.
    Full(Roots),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    System,
    File(PathBuf),
}

/// A URL that was understood.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseUrl {
    pub(crate) config: Config,
    pub(crate) verification: Verification,
}

impl DatabaseUrl {
    pub(crate) fn parse(url: &str) -> Result<Self, DatabaseError> {
        let problem = |problem: String| DatabaseError::Url { problem };
        let Some(scheme) = SCHEMES.iter().find(|scheme| url.starts_with(**scheme)) else {
            return Err(problem("it does not start with postgres://".to_owned()));
        };
        let (rest, parameters) = split_parameters(&url[scheme.len()..]);
        let mut kept = Vec::new();
        let (mut mode, mut roots) = (None, None);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(file_or_system(value).map_err(problem)?),
                _ => kept.push(parameter),
            }
        }
        let (ssl_mode, verification) = encryption(mode, roots).map_err(problem)?;

        let url = format!("{scheme}{rest}?{}", kept.join("&"));
        // The driver's texts name options and never their values.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            problem(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        config.ssl_mode(ssl_mode);
        check_hosts(&config).map_err(problem)?;
        if config.get_channel_binding() == ChannelBinding::Require {
            // tokio-postgres-rustls 0.13 finds no binding in any certificate: the driver would blame the server.
            let refused =
                "channel_binding=require is not supported: use sslmode=verify-full, which proves the server too";
            return Err(problem(refused.to_owned()));
        }
        set_timeouts(&mut config);
        Ok(Self { config, verification })
    }

    /// Where it leads, for people. Without the password.
    pub(crate) fn target(&self) -> String {
        let user = self.config.get_user().unwrap_or("(the system's user)");
        let database = self.config.get_dbname().unwrap_or(user);
        format!("Postgres at {} (database {database}, user {user})", self.servers().join(","))
    }

    /// The servers that it names: `HOST:PORT`, or the path of a socket.
    pub(crate) fn servers(&self) -> Vec<String> {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate();
        hosts
            .map(|(index, host)| {
                let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    Host::Unix(directory) => format!("{}/.s.PGSQL.{port}", directory.display()),
                }
            })
            .collect()
    }

    /// Whether what is sent may pass a network.
    pub(crate) fn remote(&self) -> bool {
        self.config.get_hosts().iter().any(|host| match host {
            Host::Unix(_) => false,
            Host::Tcp(name) => {
                name != "localhost" && !name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        })
    }
}

/// Splits off what follows the `?`. As for the driver, everything up to the first `@` is credentials, a `?` included.
fn split_parameters(rest: &str) -> (&str, &str) {
    let after_credentials = rest.find('@').map_or(0, |at| at + 1);
    match rest[after_credentials..].find('?') {
        Some(mark) => (&rest[..after_credentials + mark], &rest[after_credentials + mark + 1..]),
        None => (rest, ""),
    }
}

/// libpq's table of modes (its documentation, "SSL Support"), without `allow`.
fn encryption(mode: Option<&str>, roots: Option<Roots>) -> Result<(SslMode, Verification), String> {
    match (mode.unwrap_or("prefer"), roots) {
        ("disable", None) => Ok((SslMode::Disable, Verification::None)),
        ("prefer", None) => Ok((SslMode::Prefer, Verification::None)),
        ("require", None) => Ok((SslMode::Require, Verification::None)),
        ("require" | "verify-ca", Some(roots)) => Ok((SslMode::Require, Verification::Chain(roots))),
        ("verify-ca", None) => Ok((SslMode::Require, Verification::Chain(Roots::System))),
        ("verify-full", roots) => Ok((SslMode::Require, Verification::Full(roots.unwrap_or(Roots::System)))),
        (mode @ ("disable" | "prefer"), Some(_)) => {
            Err(format!("sslrootcert has no effect with sslmode={mode}: use verify-full, or leave it out"))
        }
        (other, _) => Err(format!("sslmode={other} is not one of disable, prefer, require, verify-ca, verify-full")),
    }
}

fn file_or_system(value: &str) -> Result<Roots, String> {
    if value == "system" {
        return Ok(Roots::System);
    }
    let path = percent_decode(value).ok_or("sslrootcert has a broken percent escape")?;
    Ok(Roots::File(PathBuf::from(path)))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn check_hosts(config: &Config) -> Result<(), String> {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("it names no host (for a socket: ?host=/DIRECTORY)".to_owned());
    }
    let stray_at = config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@')));
    if stray_at {
        // What stands before the last @ may be a part of the password: it is not repeated.
        return Err("it has more than one @: write the one within the password as %40".to_owned());
    }
    Ok(())
}

/// The driver waits for ever where nothing is said.
fn set_timeouts(config: &mut Config) {
    if config.get_keepalives_idle() == DRIVERS_KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        DatabaseUrl::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn a_plain_url_gets_timeouts_and_prefers_encryption() {
        let url = DatabaseUrl::parse("postgres://me:secret@db.example:5433/mesh").unwrap();
        assert_eq!(url.config.get_ssl_mode(), SslMode::Prefer);
        assert_eq!(url.verification, Verification::None);
        assert_eq!(url.config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
        assert_eq!(url.config.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(url.target(), "Postgres at db.example:5433 (database mesh, user me)");
        assert!(url.remote());
    }

    #[test]
    fn a_socket_is_named_in_either_way() {
        for text in ["postgres://me@%2Frun%2Fpg/mesh", "postgresql:///mesh?host=/run/pg&user=me"] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert_eq!(url.target(), "Postgres at /run/pg/.s.PGSQL.5432 (database mesh, user me)");
            assert!(!url.remote());
        }
    }

    #[test]
    fn verification_is_what_sslmode_asks_for() {
        let verification = |parameters: &str| {
            let url = DatabaseUrl::parse(&format!("postgres://h/d?{parameters}")).unwrap();
            (url.config.get_ssl_mode(), url.verification)
        };
        let file = Roots::File(PathBuf::from("/etc/a b.pem"));
        assert_eq!(verification("sslmode=disable"), (SslMode::Disable, Verification::None));
        assert_eq!(verification("sslmode=require"), (SslMode::Require, Verification::None));
        assert_eq!(verification("sslmode=verify-ca"), (SslMode::Require, Verification::Chain(Roots::System)));
        assert_eq!(
            verification("sslmode=verify-full&sslrootcert=system"),
            (SslMode::Require, Verification::Full(Roots::System))
        );
        assert_eq!(
            verification("sslrootcert=%2Fetc/a%20b.pem&sslmode=verify-full"),
            (SslMode::Require, Verification::Full(file.clone()))
        );
        assert_eq!(
            verification("sslmode=require&sslrootcert=/etc/a%20b.pem"),
            (SslMode::Require, Verification::Chain(file))
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert!(problem("host=localhost").contains("postgres://"));
        assert!(problem("postgres://h/d?sslmode=allow").contains("sslmode=allow"));
        assert!(problem("postgres://h/d?sslmode=prefer&sslrootcert=/x").contains("sslrootcert"));
        assert!(problem("postgres://h/d?sslcert=/x").contains("sslcert"));
        assert!(problem("postgres://h/d?channel_binding=require").contains("sslmode=verify-full"));
        assert!(problem("postgres:///d").contains("no host"));
    }

    #[test]
    fn a_password_with_an_at_sign_is_explained_and_not_shown() {
        let text = problem("postgres://me:pa@secret@h/d");
        assert!(text.contains("%40") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_password_may_hold_a_question_mark() {
        let url = DatabaseUrl::parse("postgres://me:a?b@h/d?sslmode=disable").unwrap();
        assert_eq!(url.config.get_password(), Some("a?b".as_bytes()));
        assert_eq!(url.config.get_ssl_mode(), SslMode::Disable);
        assert!(!format!("{url:?}").contains("a?b"));
    }
}
