//! How a connection is made, for each kind of Redis.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, TlsMode,
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use super::{
    link::Connection,
    url::{Credentials, Host, Kind, Url},
};
use crate::error::CacheError;

/// How long a server may take to connect, or to answer where nobody waits for it any more.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long all of it may take: sentinels, the primary, every server of a cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a cluster's connection tries a command again, at least; who asked has given up by then.
const CLUSTER_RETRIES: u32 = 8;
/// Milliseconds between them, at most.
const CLUSTER_RETRY_WAIT: u64 = 16;

/// Where Redis is, and what is needed to connect.
pub(super) enum Way {
    /// One server.
    Single(Client),
    /// The primary that sentinels name.
    Sentinel(Sentinels),
    /// A cluster.
    Cluster(Box<ClusterClient>),
}

impl Way {
    /// Connects to nobody yet.
    pub(super) fn new(url: Url) -> Result<Self, CacheError> {
        let wrong = |error: RedisError| CacheError::Url { kind: format!("{:?}", error.kind()) };
        Ok(match url.kind {
            Kind::Single { url } => Self::Single(Client::open(url).map_err(wrong)?),
            Kind::Sentinel { hosts, primary, database } => {
                let sentinels = Sentinels { hosts, primary, database, credentials: url.credentials, tls: url.tls };
                // Whether it can be used is known now, not at the first call.
                sentinels.client(true).map_err(wrong)?;
                Self::Sentinel(sentinels)
            }
            Kind::Cluster { hosts } => {
                let settings = url.credentials.settings();
                let node = |host| address(host, url.tls).into_connection_info();
                let nodes: Vec<ConnectionInfo> = hosts.iter().map(node).collect::<Result<_, _>>().map_err(wrong)?;
                let nodes = nodes.into_iter().map(|node| node.set_redis_settings(settings.clone()));
                let client = ClusterClient::builder(nodes)
                    .connection_timeout(SERVER_TIMEOUT)
                    .response_timeout(SERVER_TIMEOUT)
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(1)
                    .max_retry_wait(CLUSTER_RETRY_WAIT)
                    .build();
                Self::Cluster(client.map(Box::new).map_err(wrong)?)
            }
        })
    }

    /// A new connection, or why there is none.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        let slow = |_| RedisError::from((ErrorKind::Io, "connecting took too long"));
        tokio::time::timeout(CONNECT_TIMEOUT, self.find()).await.map_err(slow)?
    }

    async fn find(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Single(client) => {
                client.get_multiplexed_async_connection_with_config(&config()).await.map(Connection::Server)
            }
            Self::Sentinel(sentinels) => sentinels.connect().await.map(Connection::Server),
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

/// Who knows the primary.
pub(super) struct Sentinels {
    hosts: Vec<Host>,
    primary: String,
    database: i64,
    credentials: Credentials,
    tls: bool,
}

impl Sentinels {
    /// Asks them anew, whatever they said before, and connects to whom they name, if that one says so too.
    async fn connect(&self) -> Result<redis::aio::MultiplexedConnection, RedisError> {
        let known = self.client(true)?.get_async_connection_with_config(&config()).await;
        match known {
            // Many sentinels have no password although their servers do, and refuse who brings one.
            Err(error) if self.credentials.password.is_some() => {
                tracing::debug!(%error, "sentinels are asked without a password");
                let unknown = self.client(false)?.get_async_connection_with_config(&config()).await;
                unknown.map_err(|_| error)
            }
            known => known,
        }
    }

    /// `known`: the sentinels get the password too.
    fn client(&self, known: bool) -> Result<SentinelClient, RedisError> {
        let hosts = self.hosts.iter().map(|host| address(host, self.tls));
        let mut builder = SentinelClientBuilder::new(hosts, &self.primary, SentinelServerType::Master)?
            .set_client_to_redis_db(self.database);
        if self.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        let Credentials { user, password } = &self.credentials;
        if let Some(user) = user {
            builder = builder.set_client_to_redis_username(user);
            if known {
                builder = builder.set_client_to_sentinel_username(user);
            }
        }
        if let Some(password) = password {
            builder = builder.set_client_to_redis_password(password);
            if known {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        builder.build()
    }
}

impl Credentials {
    fn settings(&self) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }
}

fn address(Host { name, port }: &Host, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host: name.clone(), port: *port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(name.clone(), *port)
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(SERVER_TIMEOUT)).set_response_timeout(Some(SERVER_TIMEOUT))
}
