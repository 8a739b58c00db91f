//! The one connection that all calls share. It is made in the background, so that a call that does not wait for it has not
//! lost it for the next one, and replaced when it is broken.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, join_all},
};
use hashmesh_runtime::tasks;
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};

use super::way::Way;

/// A connection that is there, or is being made.
pub(super) type Connecting = Shared<BoxFuture<'static, Result<Connection, RedisError>>>;

/// Many calls use it at once.
#[derive(Clone)]
pub(crate) enum Connection {
    /// To the only server, or the primary.
    Server(MultiplexedConnection),
    /// To all servers of a cluster. It follows where slots go.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Each command's own answer. `Err`: there is none to any.
    pub(super) async fn each(self, commands: Vec<Cmd>) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        match self {
            Self::Server(mut server) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command);
                }
                let answers = server.req_packed_commands(&pipeline, 0, pipeline.len()).await?;
                Ok(answers.into_iter().map(Value::extract_error).collect())
            }
            Self::Cluster(cluster) => {
                let ask = async |command: Cmd| cluster.clone().req_packed_command(&command).await?.extract_error();
                Ok(join_all(commands.into_iter().map(ask)).await)
            }
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(server) => server.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// The way to Redis, and the connection that is in use.
pub(super) struct Link {
    way: Arc<Way>,
    current: Mutex<Option<Connecting>>,
}

impl Link {
    pub(super) fn new(way: Way) -> Self {
        Self { way: Arc::new(way), current: Mutex::new(None) }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(*self.way, Way::Cluster(_))
    }

    /// The connection. A new one is begun where there is none, or the last could not be made.
    pub(super) fn connecting(&self) -> Connecting {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connecting) = &*current
            && !matches!(connecting.peek(), Some(Err(_)))
        {
            return connecting.clone();
        }
        let begun = begin(&self.way);
        *current = Some(begun.clone());
        begun
    }

    /// True if another connection would do better: this one is gone, or leads to what is no primary any more. A cluster's
    /// finds out by itself.
    pub(super) fn is_broken_by(&self, error: &RedisError) -> bool {
        let demoted = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown].map(ErrorKind::Server);
        !self.is_cluster() && (error.is_unrecoverable_error() || error.is_io_error() || demoted.contains(&error.kind()))
    }

    /// Uses this connection no more, unless it is not even there yet.
    pub(super) fn forget(&self, broken: &Connecting) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.peek().is_some() && current.as_ref().is_some_and(|current| current.ptr_eq(broken)) {
            *current = None;
        }
    }
}

fn begin(way: &Arc<Way>) -> Connecting {
    let way = Arc::clone(way);
    let task = tasks::spawn_owned("redis connection", async move { way.connect().await });
    let stopped = |_| RedisError::from((ErrorKind::Io, "the task that connects has stopped"));
    async move { task.await.map_err(stopped).flatten() }.boxed().shared()
}
