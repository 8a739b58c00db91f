//! `ScheduleService`: works on every process, owner or not.

use std::time::SystemTime;

use hashmesh::{
    limits::MAX_SCHEDULES,
    queue::v1::{
        CreateScheduleRequest, CreateScheduleResponse, DeleteScheduleRequest, DeleteScheduleResponse,
        GetScheduleRequest, GetScheduleResponse, ListSchedulesRequest, ListSchedulesResponse,
        schedule_service_server::ScheduleService,
    },
    v1::Schedule,
};
use hashmesh_database::Database;
use tonic::{Request, Response, Status};

use super::cron::Times;
use crate::{error::QueueError, store};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleRpc {
    database: Database,
}

impl ScheduleRpc {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn create(&self, tenant: &str, schedule: Schedule) -> Result<Schedule, QueueError> {
        let times = Times::parse(&schedule.cron, &schedule.time_zone)?;
        if schedule.options.as_ref().is_none_or(|options| options.expansion.is_none()) {
            return Err(QueueError::invalid("options.expansion", "must be set: a run lists its tasks anew"));
        }
        let next = times.next(SystemTime::now());
        if next.is_none() {
            return Err(QueueError::invalid("cron", "never comes to a time; check day and month"));
        }
        if let Some(created) = store::create_schedule(&self.database, tenant, &schedule, next, MAX_SCHEDULES).await? {
            return Ok(created);
        }
        match store::schedule(&self.database, tenant, &schedule.name).await? {
            Some(found) if same(&found, &schedule) => Ok(found),
            Some(_) => Err(QueueError::ScheduleExists),
            None => Err(QueueError::TooManySchedules),
        }
    }
}

fn same(found: &Schedule, wanted: &Schedule) -> bool {
    (&found.cron, &found.time_zone, &found.options) == (&wanted.cron, &wanted.time_zone, &wanted.options)
}

#[tonic::async_trait]
impl ScheduleService for ScheduleRpc {
    async fn create_schedule(
        &self,
        request: Request<CreateScheduleRequest>,
    ) -> Result<Response<CreateScheduleResponse>, Status> {
        let CreateScheduleRequest { tenant, schedule } = request.into_inner();
        let schedule = self.create(&tenant, schedule.unwrap_or_default()).await?;
        Ok(Response::new(CreateScheduleResponse { schedule: Some(schedule) }))
    }

    async fn get_schedule(
        &self,
        request: Request<GetScheduleRequest>,
    ) -> Result<Response<GetScheduleResponse>, Status> {
        let GetScheduleRequest { tenant, name } = request.into_inner();
        let found = store::schedule(&self.database, &tenant, &name).await.map_err(QueueError::from)?;
        let schedule = Some(found.ok_or(QueueError::ScheduleNotFound)?);
        Ok(Response::new(GetScheduleResponse { schedule }))
    }

    async fn list_schedules(
        &self,
        request: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        let ListSchedulesRequest { tenant } = request.into_inner();
        let schedules = store::schedules(&self.database, &tenant).await.map_err(QueueError::from)?;
        Ok(Response::new(ListSchedulesResponse { schedules }))
    }

    async fn delete_schedule(
        &self,
        request: Request<DeleteScheduleRequest>,
    ) -> Result<Response<DeleteScheduleResponse>, Status> {
        let DeleteScheduleRequest { tenant, name } = request.into_inner();
        if !store::delete_schedule(&self.database, &tenant, &name).await.map_err(QueueError::from)? {
            return Err(QueueError::ScheduleNotFound.into());
        }
        Ok(Response::new(DeleteScheduleResponse {}))
    }
}
