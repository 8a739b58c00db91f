//! Sliding windows in Redis: the same rule as `hashmesh_middleware::rate_limit`, by Redis' own clock. All of a call's windows
//! are counted by one script; in a cluster, where no script may have them all, `apart` counts them one after another.

mod apart;

use std::{sync::LazyLock, time::Duration};

use hashmesh_middleware::rate_limit::{Limit, PARTS, State};

use crate::{
    error::RedisError,
    redis::{Connection, Redis, Script},
};

/// Before every name. The windows of another rule would be others.
const PREFIX: &str = "hashmesh:quota:1";

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// A window in Redis.
#[derive(Clone, Debug)]
struct Window {
    key: String,
    limit: Limit,
    /// Its length.
    ms: u64,
}

/// What the script says of a window: whether the cost fits, what is left, ms until there is more, the current part.
type Found = (bool, u32, u64, u64);

/// Counts `cost` in each of these windows if it fits in all of them. Answers for each: `Ok` where it fits.
pub(crate) async fn take(
    redis: &Redis,
    windows: &[(String, Limit)],
    cost: u32,
) -> Result<Vec<Result<State, State>>, RedisError> {
    let windows: Vec<Window> = windows.iter().map(window).collect();
    let limits: Vec<Limit> = windows.iter().map(|window| window.limit).collect();
    let found = if redis.is_cluster() && windows.len() > 1 {
        apart::take(redis, windows, cost).await?
    } else {
        redis.run(async |mut connection| call(&mut connection, &windows, cost, true).await).await?
    };
    Ok(limits.into_iter().zip(found).map(|(limit, found)| state(limit, found)).collect())
}

fn window((name, limit): &(String, Limit)) -> Window {
    let ms = u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX);
    // Parts of another length would not be comparable.
    Window { key: format!("{PREFIX}:{ms}:{name}"), limit: *limit, ms }
}

/// Runs the script over these windows, which counts or only looks.
async fn call(
    connection: &mut Connection,
    windows: &[Window],
    cost: u32,
    count: bool,
) -> Result<Vec<Found>, redis::RedisError> {
    let keys: Vec<String> = windows.iter().map(|window| window.key.clone()).collect();
    let settings = [u64::from(cost), PARTS.into(), u64::from(count)];
    let limits = windows.iter().flat_map(|window| [u64::from(window.limit.calls), window.ms]);
    let arguments: Vec<u64> = settings.into_iter().chain(limits).collect();
    TAKE.call(connection, &keys, &arguments).await
}

fn state(limit: Limit, (fits, remaining, reset_ms, _): Found) -> Result<State, State> {
    let state = State { calls: limit.calls, remaining, reset_after: Duration::from_millis(reset_ms) };
    if fits { Ok(state) } else { Err(state) }
}
