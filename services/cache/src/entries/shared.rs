//! The second layer: Redis, which all Cache services share and may lose. What it holds is believed only behind its seal.

use std::time::Duration;

use hashmesh_runtime::telemetry::Repeated;
use redis::{Cmd, Value};

use super::{
    entry::{Entry, MAX_SEALED_BYTES, Rejected, Seal},
    key::Key,
};
use crate::{
    error::RedisError,
    redis::{Redis, fails},
};

/// Answers with values that are deleted: `hashmesh_cache_rejected_values_total` counts them all.
static FOREIGN: Repeated = Repeated::new();

/// Before every key. Values of another kind have another.
const PREFIX: &str = "hashmesh:cache:1:";

/// Redis, and what is believed of it.
#[derive(Debug)]
pub(crate) struct Shared {
    redis: Redis,
    seal: Seal,
    lives: Duration,
}

/// What Redis has of some keys.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) found: Vec<(Key, Entry)>,
    /// Values that are none of ours.
    pub(crate) rejected: usize,
}

impl Shared {
    /// Values live so long.
    pub(crate) fn new(redis: Redis, seal: Seal, lives: Duration) -> Self {
        Self { redis, seal, lives }
    }

    /// The entries of these keys that there are. What is none of ours is deleted.
    pub(crate) async fn find(&self, keys: &[Key]) -> Result<Answer, RedisError> {
        // No more is sent of a value than an entry may have, and a byte that shows that there is more.
        let get = |key: &Key| command("GETRANGE", key, |get| get.arg(0).arg(MAX_SEALED_BYTES));
        let values = self.redis.each(keys.iter().map(get).collect()).await?;
        let mut answer = Answer::default();
        let mut foreign = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            match self.read(*key, value) {
                Ok(Some(entry)) => answer.found.push((*key, entry)),
                Ok(None) => {}
                Err(Rejected) => foreign.push(*key),
            }
        }
        answer.rejected = foreign.len();
        if !foreign.is_empty() {
            if let Some(left_out) = FOREIGN.failed() {
                let values = foreign.len();
                tracing::warn!(
                    values,
                    left_out,
                    "Redis holds values that no Cache service has put there; deleting them"
                );
            }
            // Else they are rejected again.
            let _ = self.forget(&foreign).await;
        }
        Ok(answer)
    }

    /// Keeps encoded entries.
    pub(crate) async fn keep(&self, entries: &[(Key, &[u8])]) -> Result<(), RedisError> {
        let lives = u64::try_from(self.lives.as_millis()).unwrap_or(u64::MAX);
        let set = |(key, encoded): &(Key, &[u8])| {
            command("SET", key, |set| set.arg(self.seal.close(encoded)).arg("PX").arg(lives))
        };
        self.redis.each(entries.iter().map(set).collect()).await.map(drop)
    }

    /// Deletes what is under these keys, whatever it is.
    pub(crate) async fn forget(&self, keys: &[Key]) -> Result<(), RedisError> {
        let commands = keys.iter().map(|key| command("UNLINK", key, |unlink| unlink)).collect();
        self.redis.each(commands).await.map(drop)
    }

    fn read(&self, key: Key, value: Result<Value, redis::RedisError>) -> Result<Option<Entry>, Rejected> {
        match value {
            Ok(Value::BulkString(sealed)) if sealed.is_empty() => Ok(None),
            Ok(Value::BulkString(sealed)) => Entry::decode(key, self.seal.open(&sealed)?).map(Some),
            Ok(Value::Nil) => Ok(None),
            // One of a cluster's servers is away.
            Err(error) if fails(&error) => Ok(None),
            // Another type, or nothing that this command answers.
            Ok(_) | Err(_) => Err(Rejected),
        }
    }
}

fn command(name: &str, key: &Key, rest: impl FnOnce(&mut Cmd) -> &mut Cmd) -> Cmd {
    let mut command = redis::cmd(name);
    rest(command.arg(name_of(key)));
    command
}

fn name_of(key: &Key) -> String {
    format!("{PREFIX}{}", hex::encode(key.0))
}
