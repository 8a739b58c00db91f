//! Schedules: validated, and passed on.

use hashmesh::{
    error::bad_field,
    gateway::v1 as api,
    limits::{MAX_CRON_BYTES, MAX_SCHEDULE_NAME_BYTES},
    queue::v1 as queue,
    v1::{Schedule, SubmissionOptions},
};
use tonic::Status;

use crate::{
    call::Call,
    service::Gateway,
    upstream::{Repeat, Route},
    validate,
};

/// The longest name of a time zone is shorter.
const MAX_TIME_ZONE_BYTES: usize = 64;

/// Asks the Queue's `ScheduleService`.
macro_rules! ask {
    ($gateway:expr, $call:expr, $method:ident($request:expr)) => {
        $crate::upstream::ask_queue!(
            $gateway.queue,
            $crate::service::schedule_client,
            Route::Any,
            // Each changes nothing the second time.
            Repeat::Safe,
            $call.deadline,
            $method($request)
        )
    };
}

pub(crate) async fn create(
    gateway: &Gateway,
    request: api::CreateScheduleRequest,
    call: Call,
) -> Result<api::CreateScheduleResponse, Status> {
    let api::CreateScheduleRequest { name, cron, time_zone, options } = request;
    let schedule = Schedule {
        name: schedule_name(name)?,
        cron: bounded("cron", cron, MAX_CRON_BYTES)?,
        time_zone: match time_zone {
            empty if empty.is_empty() => "UTC".to_owned(),
            zone => bounded("time_zone", zone, MAX_TIME_ZONE_BYTES)?,
        },
        options: Some(repeated(validate::options("options", options)?)?),
        ..Schedule::default()
    };
    if let Some(options) = &schedule.options {
        call.reads().check_expansion(options)?;
    }
    let request = queue::CreateScheduleRequest { tenant: call.tenant(), schedule: Some(schedule) };
    let answer = ask!(gateway, call, create_schedule(request))?;
    Ok(api::CreateScheduleResponse { schedule: answer.schedule })
}

pub(crate) async fn get(
    gateway: &Gateway,
    request: api::GetScheduleRequest,
    call: Call,
) -> Result<api::GetScheduleResponse, Status> {
    let request = queue::GetScheduleRequest { tenant: call.tenant(), name: schedule_name(request.name)? };
    let answer = ask!(gateway, call, get_schedule(request))?;
    Ok(api::GetScheduleResponse { schedule: answer.schedule })
}

pub(crate) async fn list(gateway: &Gateway, call: Call) -> Result<api::ListSchedulesResponse, Status> {
    let request = queue::ListSchedulesRequest { tenant: call.tenant() };
    let answer = ask!(gateway, call, list_schedules(request))?;
    Ok(api::ListSchedulesResponse { schedules: answer.schedules })
}

pub(crate) async fn delete(
    gateway: &Gateway,
    request: api::DeleteScheduleRequest,
    call: Call,
) -> Result<api::DeleteScheduleResponse, Status> {
    let request = queue::DeleteScheduleRequest { tenant: call.tenant(), name: schedule_name(request.name)? };
    ask!(gateway, call, delete_schedule(request))?;
    Ok(api::DeleteScheduleResponse {})
}

/// The options of something that is done again and again.
fn repeated(options: SubmissionOptions) -> Result<SubmissionOptions, Status> {
    if options.expansion.is_none() {
        return Err(bad_field("options.expansion", "must be set: a run lists its tasks anew"));
    }
    let once = [("options.not_before", options.not_before.is_some()), ("options.deadline", options.deadline.is_some())];
    match once.into_iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(bad_field(field, "must not be set: it would be the same time for every run")),
        None => Ok(options),
    }
}

fn schedule_name(name: String) -> Result<String, Status> {
    match validate::word(&name, MAX_SCHEDULE_NAME_BYTES) {
        Ok(()) => Ok(name),
        Err(wanted) => Err(bad_field("name", wanted)),
    }
}

fn bounded(field: &str, text: String, most: usize) -> Result<String, Status> {
    if text.is_empty() || text.len() > most {
        let found = text.len();
        return Err(bad_field(field, format!("must have 1 to {most} bytes, has {found}")));
    }
    Ok(text)
}
