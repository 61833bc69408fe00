//! ECS as the place where release tasks and services run.
//!
//! Every order is compared with what is there, and only what differs is changed, so that repeating it changes nothing.
//! What ECS cannot be asked for is kept in a record beside the lane: which orders were begun, which services may exist,
//! which tasks were asked for.

mod convert;
mod definitions;
mod logs;
mod removal;
mod scaling;
mod schedules;
mod services;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::clients::Clients;
use crate::domain::app_settings::Settings;
use crate::domain::ecs::{Launching, Unfit, service_arn, service_name};
use crate::domain::formation::Formation;
use crate::domain::lane::{LaneKey, ServicesState, TaskKey};
use crate::domain::names::{BuildNumber, ProcessType};
use crate::domain::place_record::PlaceRecord;
use crate::ports::app_settings::AppSettings;
use crate::ports::clock::Clock;
use crate::ports::failure::Failure;
use crate::ports::place::{Place, TaskRequest, TaskStatus};
use crate::ports::place_records::{PlaceRecords, remember};

/// The last lines of a log may come this long after its task's end (`aws-events` 4.7).
const LOG_DELAY: Duration = Duration::from_secs(5);

/// Runs the tasks and services of one app.
#[derive(Clone)]
pub struct EcsPlace {
    ecs: aws_sdk_ecs::Client,
    autoscaling: aws_sdk_applicationautoscaling::Client,
    scheduler: aws_sdk_scheduler::Client,
    events: aws_sdk_eventbridge::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    settings: Arc<dyn AppSettings>,
    records: Arc<dyn PlaceRecords>,
    clock: Arc<dyn Clock>,
    region: String,
    log_delay: Duration,
}

/// What an app's stacks say about running it.
struct Site {
    settings: Settings,
    launching: Launching,
}

impl EcsPlace {
    /// Uses these clients, whose credentials must be those for the app.
    pub fn new(
        clients: &Clients,
        settings: Arc<dyn AppSettings>,
        records: Arc<dyn PlaceRecords>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            ecs: clients.ecs(),
            autoscaling: clients.autoscaling(),
            scheduler: clients.scheduler(),
            events: clients.eventbridge(),
            logs: clients.logs(),
            settings,
            records,
            clock,
            region: clients.region().to_owned(),
            log_delay: LOG_DELAY,
        }
    }

    /// Sets how long after a task's end its log is read.
    #[must_use]
    pub fn with_log_delay(self, log_delay: Duration) -> Self {
        Self { log_delay, ..self }
    }

    async fn site(&self, lane: &LaneKey) -> Result<Site, Failure> {
        let settings = self.settings.settings(lane).await?;
        let launching = Launching::read(&settings).map_err(|unfit| unfit_for(lane, unfit))?;
        Ok(Site { settings, launching })
    }

    /// Changes a lane's record until nobody else was faster; `change` tells whether there is anything to write.
    async fn remember(
        &self,
        lane: &LaneKey,
        change: impl Fn(&mut PlaceRecord) -> bool,
    ) -> Result<PlaceRecord, Failure> {
        remember(self.records.as_ref(), lane, change).await
    }
}

/// Says that a lane's formation cannot be run.
fn unfit_for(lane: &LaneKey, unfit: Unfit) -> Failure {
    Failure::refused(format!("run {lane} on ECS"), unfit)
}

#[async_trait]
impl Place for EcsPlace {
    async fn service_arn(&self, lane: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        let cluster = self.settings.settings(lane).await?.cluster;
        let name = service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?;
        service_arn(&cluster, &name).ok_or_else(|| {
            Failure::refused(format!("name the services of {lane}"), format!("`{cluster}` is no cluster"))
        })
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        self.run_task(request).await
    }

    async fn task(&self, lane: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        self.task_status(lane, key).await
    }

    async fn stop_task(&self, lane: &LaneKey, key: &TaskKey) -> Result<(), Failure> {
        self.end_task(lane, key).await
    }

    async fn update_services(&self, lane: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        self.bring_services(lane, formation).await
    }

    async fn services(&self, lane: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        self.look_at_services(lane, build).await
    }

    async fn remove(&self, lane: &LaneKey, sequence: u64) -> Result<(), Failure> {
        self.remove_all(lane, sequence).await
    }
}
