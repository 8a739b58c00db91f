//! Windows on different servers of a cluster, counted one after another. Where one does not fit, those before it get back
//! what was counted: never is a call admitted that does not fit everywhere, and who is refused is counted nowhere. What is
//! counted in between may refuse others for a moment.

use std::{slice, sync::LazyLock};

use hashmesh_runtime::tasks;
use redis::ErrorKind;

use super::{Found, Window, call};
use crate::{
    error::RedisError,
    redis::{Connection, Redis, Script},
};

static GIVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give.lua")));

/// Like the one script over all of them. Goes on although nobody may wait for it any more, so that nothing stays counted.
pub(super) async fn take(redis: &Redis, windows: Vec<Window>, cost: u32) -> Result<Vec<Found>, RedisError> {
    let redis = redis.clone();
    let stopped = |_| redis::RedisError::from((ErrorKind::Client, "the task that counts has stopped")).into();
    tasks::spawn("windows", async move { in_turn(&redis, &windows, cost).await }).await.map_err(stopped).flatten()
}

async fn in_turn(redis: &Redis, windows: &[Window], cost: u32) -> Result<Vec<Found>, RedisError> {
    let order = order(windows);
    let mut found = redis.run(async |mut connection| count(&mut connection, windows, &order, cost).await).await?;
    if found.iter().any(|(fits, ..)| !fits) {
        let counted = order.into_iter().take_while(|place| found[*place].0).collect::<Vec<_>>();
        give_back(redis, windows, &found, &counted, cost).await?;
        for place in counted {
            found[place].1 = found[place].1.saturating_add(cost).min(windows[place].limit.calls);
        }
    }
    Ok(found)
}

/// The same for everybody: of two calls that want the last place of the same windows one gets it, and not none.
fn order(windows: &[Window]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|place| &windows[*place].key);
    order
}

/// Counts until one does not fit; at what is behind it, it only looks.
async fn count(
    connection: &mut Connection,
    windows: &[Window],
    order: &[usize],
    cost: u32,
) -> Result<Vec<Found>, redis::RedisError> {
    let mut found: Vec<Found> = vec![Found::default(); windows.len()];
    let mut fits = true;
    for place in order {
        let answer = call(connection, slice::from_ref(&windows[*place]), cost, fits).await?;
        let one = answer.into_iter().next().ok_or((ErrorKind::UnexpectedReturnType, "no answer for a window"))?;
        fits &= one.0;
        found[*place] = one;
    }
    Ok(found)
}

async fn give_back(
    redis: &Redis,
    windows: &[Window],
    found: &[Found],
    counted: &[usize],
    cost: u32,
) -> Result<(), RedisError> {
    let give = async |mut connection: Connection| {
        for place in counted {
            let (key, part) = (slice::from_ref(&windows[*place].key), found[*place].3);
            GIVE.call::<i64>(&mut connection, key, &[part, u64::from(cost)]).await?;
        }
        Ok(())
    };
    if counted.is_empty() { Ok(()) } else { redis.run(give).await }
}
