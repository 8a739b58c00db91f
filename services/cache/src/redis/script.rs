//! Lua scripts, sent by their hash.

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use super::Connection;

/// A script of ours.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it. A server that does not know it gets the whole script with the same key: in a cluster others need not be asked.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        connection: &mut Connection,
        keys: &[String],
        arguments: &[u64],
    ) -> Result<T, RedisError> {
        let by_hash = command("EVALSHA", &self.hash, keys, arguments);
        match by_hash.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.code, keys, arguments).query_async(connection).await
            }
            answer => answer,
        }
    }
}

fn command(name: &str, script: &str, keys: &[String], arguments: &[u64]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}
