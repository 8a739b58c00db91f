//! What the pool's metrics say. The pool has counted it all; here it is asked.

use hashmesh_runtime::metrics::{Watch, catalogue::database as metrics};

use crate::pool::{Pool, PoolStats};

/// Has the pool asked until what is returned is dropped: to be kept beside the pool, never in it.
pub(crate) fn watch(pool: &Pool) -> Vec<Watch> {
    let ask = |number: fn(&PoolStats) -> f64| {
        let pool = pool.clone();
        move || number(&pool.stats())
    };
    let up = pool.clone();
    let callers = |result: &str, number| metrics::POOL_CALLERS.watch(&[result], ask(number));
    vec![
        metrics::POOL_CONNECTIONS.watch(&["idle"], ask(|pool| pool.idle.into())),
        metrics::POOL_CONNECTIONS.watch(&["used"], ask(|pool| pool.connections.saturating_sub(pool.idle).into())),
        metrics::POOL_MAX.watch(&[], ask(|pool| pool.max.into())),
        metrics::POOL_WAITING.watch(&[], ask(|pool| as_float(pool.waiting as u64))),
        metrics::POOL_WAIT_SECONDS.watch(&[], ask(|pool| pool.wait_seconds_total)),
        callers("at_once", |pool| as_float(pool.taken_at_once_total)),
        callers("after_wait", |pool| as_float(pool.taken_after_wait_total)),
        callers("timed_out", |pool| as_float(pool.timed_out_total)),
        callers("refused", |pool| as_float(pool.refused_total)),
        callers("circuit_open", |pool| as_float(pool.refused_by_breaker_total)),
        metrics::POOL_OPENED.watch(&[], ask(|pool| as_float(pool.opened_total))),
        metrics::POOL_BROKEN.watch(&[], ask(|pool| as_float(pool.broken_total))),
        metrics::UP.watch(&[], move || f64::from(u8::from(up.up()))),
    ]
}

#[allow(clippy::cast_precision_loss)] // nothing here comes near 2^53
fn as_float(value: u64) -> f64 {
    value as f64
}
