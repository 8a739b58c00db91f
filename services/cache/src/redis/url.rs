//! What the URL says: which kind of Redis, where it is, and who we are to it.

use percent_encoding::percent_decode_str;

use crate::error::CacheError;

/// A URL that was understood. Without `Debug`: it may hold a password.
#[derive(PartialEq, Eq)]
pub(super) struct Url {
    pub(super) kind: Kind,
    pub(super) tls: bool,
    pub(super) credentials: Credentials,
}

/// Which kind of Redis it is, and where.
#[derive(PartialEq, Eq)]
pub(super) enum Kind {
    /// One server. The whole URL, which the client reads itself.
    Single { url: String },
    /// `hosts` are sentinels, that know who `primary` is.
    Sentinel { hosts: Vec<Host>, primary: String, database: i64 },
    /// `hosts` are some of a cluster's servers.
    Cluster { hosts: Vec<Host> },
}

/// Who we are, where that is asked.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// A server's address.
#[derive(PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Url {
    /// Understands `redis-sentinel://` and `redis-cluster://`, also with `rediss`, which is TLS; anything else is one server's,
    /// or none at all. What is wrong is said without any part of the URL, which may be a password.
    pub(super) fn parse(url: &str) -> Result<Self, CacheError> {
        let wrong = |what: &str| CacheError::Url { kind: what.to_owned() };
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (kind, tls) = match scheme {
            "redis-sentinel" => ("sentinel", false),
            "rediss-sentinel" => ("sentinel", true),
            "redis-cluster" => ("cluster", false),
            "rediss-cluster" => ("cluster", true),
            _ => {
                return Ok(Self {
                    kind: Kind::Single { url: url.to_owned() },
                    tls: false,
                    credentials: Credentials::default(),
                });
            }
        };
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((who, hosts)) => (credentials(who).map_err(wrong)?, hosts),
            None => (Credentials::default(), authority),
        };
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let kind = match (kind, path) {
            ("sentinel", path) => {
                let (primary, database) = primary(path.unwrap_or_default()).map_err(wrong)?;
                Kind::Sentinel { hosts, primary, database }
            }
            ("cluster", None | Some("")) => Kind::Cluster { hosts },
            _ => return Err(wrong("a path, but a cluster has one database")),
        };
        Ok(Self { kind, tls, credentials })
    }
}

/// `USER:PASSWORD`; the user may be empty.
fn credentials(text: &str) -> Result<Credentials, &'static str> {
    let (user, password) = text.split_once(':').ok_or("a user without a password")?;
    if password.is_empty() {
        return Err("an empty password");
    }
    let user = if user.is_empty() { None } else { Some(decoded(user)?) };
    Ok(Credentials { user, password: Some(decoded(password)?) })
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn host(text: &str) -> Result<Host, &'static str> {
    let (name, port) = text.rsplit_once(':').ok_or("a host without a port")?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or("a port that is none")?;
    let name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
        None if !name.is_empty() && !name.contains([':', '[', ']', '?', '#', ' ']) => name,
        _ => return Err("a host that is none"),
    };
    Ok(Host { name: name.to_owned(), port })
}

/// `NAME` or `NAME/DATABASE`.
fn primary(path: &str) -> Result<(String, i64), &'static str> {
    let (name, database) = path.split_once('/').unwrap_or((path, "0"));
    if name.is_empty() {
        return Err("no name of the primary behind the sentinels");
    }
    if name.contains(['?', '#']) {
        return Err("a name of the primary that is none");
    }
    let database = database.parse::<u32>().map_err(|_| "a database that is no number")?;
    Ok((decoded(name)?, database.into()))
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "percent-encoding that is not UTF-8")?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Url {
        Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn hosts(kind: &Kind) -> Vec<(&str, u16)> {
        match kind {
            Kind::Single { .. } => Vec::new(),
            Kind::Sentinel { hosts, .. } | Kind::Cluster { hosts } => {
                hosts.iter().map(|host| (host.name.as_str(), host.port)).collect()
            }
        }
    }

    #[test]
    fn one_server_is_left_to_the_client() {
        for url in ["redis://h", "redis://u:p@h:1/2", "rediss://h", "redis+unix:///socket", "something"] {
            assert!(matches!(parse(url).kind, Kind::Single { url: kept } if kept == url), "{url}");
        }
    }

    #[test]
    fn sentinels_have_a_name_for_the_primary_and_perhaps_a_database() {
        let url = parse("redis-sentinel://one:26379,[::1]:26380,10.0.0.3:1/main");
        assert_eq!(hosts(&url.kind), [("one", 26_379), ("::1", 26_380), ("10.0.0.3", 1)]);
        assert!(matches!(&url.kind, Kind::Sentinel { primary, database: 0, .. } if primary == "main"));
        assert!(!url.tls && url.credentials == Credentials::default());
        let url = parse("rediss-sentinel://:p%40%2Fss@one:65535/ma%20in/15");
        assert!(matches!(&url.kind, Kind::Sentinel { primary, database: 15, .. } if primary == "ma in"));
        assert!(url.tls && url.credentials == Credentials { user: None, password: Some("p@/ss".to_owned()) });
    }

    #[test]
    fn a_cluster_has_hosts_and_no_database() {
        for (text, tls) in [("redis-cluster", false), ("rediss-cluster", true)] {
            let url = parse(&format!("{text}://me:secret@one:1,two:2/"));
            assert_eq!((hosts(&url.kind), url.tls), (vec![("one", 1), ("two", 2)], tls));
            assert!(matches!(url.kind, Kind::Cluster { .. }));
            let expected = Credentials { user: Some("me".to_owned()), password: Some("secret".to_owned()) };
            assert!(url.credentials == expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, expected) in [
            ("redis-cluster://hunter2@h:1", "a user without a password"),
            ("redis-cluster://hunter2:@h:1", "an empty password"),
            ("redis-cluster://:hunter2%ff@h:1", "percent-encoding that is not UTF-8"),
            ("redis-cluster://:hunter2@h", "a host without a port"),
            ("redis-cluster://:hunter2@h:1,", "a host without a port"),
            ("redis-cluster://:hunter2@h:0", "a port that is none"),
            ("redis-cluster://:hunter2@h:65536", "a port that is none"),
            ("redis-cluster://:hunter2@:1", "a host that is none"),
            ("redis-cluster://:hunter2@::1:1", "a host that is none"),
            ("redis-cluster://:hunter2@[h]:1", "a host that is none"),
            ("redis-cluster://:hunter2@h:1/0", "a path, but a cluster has one database"),
            ("redis-sentinel://:hunter2@h:1", "no name of the primary behind the sentinels"),
            ("redis-sentinel://:hunter2@h:1/", "no name of the primary behind the sentinels"),
            ("redis-sentinel://:hunter2@h:1/main?hunter2", "a name of the primary that is none"),
            ("redis-sentinel://:hunter2@h:1/main/", "a database that is no number"),
            ("redis-sentinel://:hunter2@h:1/main/-1", "a database that is no number"),
        ] {
            let Err(error) = Url::parse(url) else { panic!("{url}") };
            let CacheError::Url { kind } = &error else { panic!("{error:?}") };
            assert_eq!(kind, expected, "{url}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{url}");
        }
    }
}
