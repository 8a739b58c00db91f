//! What is due becomes a submission.
//!
//! A run's submission has an idempotency key of the schedule and the time that was due. So it does not matter where this is
//! interrupted: whoever goes on finds the submission that was created, and moves the schedule on.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hashmesh::queue::v1::OpenSubmission;
use hashmesh_runtime::{
    metrics::catalogue::queue::SCHEDULE_RUNS,
    shutdown::Shutdown,
    telemetry::{self, Repeated},
};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::cron::Times;
use crate::{
    error::QueueError,
    rpc::{Shared, final_state},
    shard::Shard,
    store::{self, DueSchedule},
};

/// How late a run may be for not having been looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// What fails is tried again a second later.
#[derive(Debug)]
struct Again {
    all: Repeated,
    /// One of them; tenants have as many as they may.
    one: Repeated,
}

/// Runs what is due, until the shutdown. Each schedule is run by the owner of the shard that the next run's key is in.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: Shutdown) {
    let again = Again { all: Repeated::new(), one: Repeated::at_most(10) };
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            _ = interval.tick() => {}
        }
        if shared.current.borrow().is_none() {
            continue;
        }
        if let Err(error) = run_due(&shared, &again).await
            && let Some(left_out) = again.all.failed()
        {
            let error = telemetry::chain(&error);
            tracing::warn!(error, left_out, "schedules could not be run; trying again");
        }
    }
}

async fn run_due(shared: &Shared, again: &Again) -> Result<(), QueueError> {
    for due in store::due_schedules(&shared.config.database).await? {
        // One that fails must not keep the others from their runs.
        if let Err(error) = run_one(shared, &due).await {
            SCHEDULE_RUNS.add(1, &["failed"]);
            let (tenant, name) = (&due.tenant, &due.schedule.name);
            if let Some(left_out) = again.one.failed() {
                let error = telemetry::chain(&error);
                tracing::warn!(tenant, name, error, left_out, "a schedule could not be run; trying again");
            }
        }
    }
    Ok(())
}

async fn run_one(shared: &Shared, due: &DueSchedule) -> Result<(), QueueError> {
    let since = due.due_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let key = format!("schedule {} {}", due.schedule.name, since.as_millis());
    if shared.engine_of(Shard::of_key(&due.tenant, &key)).is_err() {
        return Ok(());
    }
    let times = Times::parse(&due.schedule.cron, &due.schedule.time_zone)?;
    // What was missed meanwhile is made up for once.
    let next = times.next(SystemTime::now());
    let id = if unfinished(shared, due.last_run).await? {
        tracing::warn!(
            tenant = due.tenant,
            name = due.schedule.name,
            "a run is left out: the one before has not ended"
        );
        None
    } else {
        let open = OpenSubmission {
            tenant: due.tenant.clone(),
            options: due.schedule.options.clone(),
            idempotency_key: key,
            schedule: due.schedule.name.clone(),
            previous_run: due.last_run.map(|id| id.to_string()).unwrap_or_default(),
            ..OpenSubmission::default()
        };
        let (found, _) = shared.open(&open, None, None).await?;
        Some(found.id())
    };
    store::advance_schedule(&shared.config.database, due, next, id).await?;
    SCHEDULE_RUNS.add(1, &[if id.is_some() { "begun" } else { "skipped" }]);
    Ok(())
}

/// True if the run before is still under way.
async fn unfinished(shared: &Shared, run: Option<Uuid>) -> Result<bool, QueueError> {
    let Some(id) = run else { return Ok(false) };
    let stored = store::submission(&shared.config.database, id).await?;
    Ok(stored.is_some_and(|(_, submission)| !final_state(&submission)))
}
