//! Sliding windows in Redis: the same rule as `hashmesh_middleware::rate_limit`, by Redis' own clock.

use std::{sync::LazyLock, time::Duration};

use hashmesh_middleware::rate_limit::{Limit, PARTS, State};
use redis::Script;

use crate::{error::RedisError, redis::Redis};

/// Before every name. The windows of another rule would be others.
const PREFIX: &str = "hashmesh:quota:1";

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// Counts `cost` in each of these windows if it fits in all of them. Answers for each: `Ok` where it fits.
pub(crate) async fn take(
    redis: &Redis,
    windows: &[(String, Limit)],
    cost: u32,
) -> Result<Vec<Result<State, State>>, RedisError> {
    let mut script = TAKE.prepare_invoke();
    script.arg(cost).arg(PARTS);
    for (name, limit) in windows {
        let window_ms = u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX);
        // Parts of another length would not be comparable.
        script.key(format!("{PREFIX}:{window_ms}:{name}")).arg(limit.calls).arg(window_ms);
    }
    let found: Vec<(bool, u32, u64)> = redis.run(&script).await?;
    Ok(windows.iter().zip(found).map(|((_, limit), found)| state(*limit, found)).collect())
}

fn state(limit: Limit, (fits, remaining, reset_ms): (bool, u32, u64)) -> Result<State, State> {
    let state = State { calls: limit.calls, remaining, reset_after: Duration::from_millis(reset_ms) };
    if fits { Ok(state) } else { Err(state) }
}
