//! `ECS Task State Change`: the release and postdeploy tasks.
//!
//! Sources: "Amazon ECS task state change events" (ECS Developer Guide); `Task` of the ECS API.

use serde::Deserialize;

use super::{Addressed, EventError, News, irrelevant};
use crate::domain::ecs::{ContainerFacts, TaskFacts, seen};
use crate::domain::lane::{Event, TaskKey};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskDetail {
    #[serde(default)]
    task_arn: String,
    #[serde(default)]
    last_status: String,
    started_by: Option<String>,
    started_at: Option<String>,
    stop_code: Option<String>,
    stopped_reason: Option<String>,
    /// Empty when the task never got that far.
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    name: String,
    exit_code: Option<i64>,
    reason: Option<String>,
}

pub(super) fn read(task: &TaskDetail) -> Result<News, EventError> {
    let started_by = task.started_by.as_deref().unwrap_or_default();
    // Tasks of services (`ecs-svc/…`), of schedules (`chronos-schedule/…`, `events-rule/…`) and of clients.
    let (lane, key) = TaskKey::from_started_by(started_by)
        .ok_or_else(|| irrelevant(format!("the task {}", task.task_arn), "was not started by packhorse"))?;
    let container = |container: &Container| ContainerFacts {
        name: container.name.clone(),
        exit_code: container.exit_code,
        reason: container.reason.clone(),
    };
    let facts = TaskFacts {
        last_status: task.last_status.clone(),
        stop_code: task.stop_code.clone(),
        stopped_reason: task.stopped_reason.clone(),
        ran: task.started_at.is_some(),
        containers: task.containers.iter().map(container).collect(),
    };
    Ok(match seen(&facts).exit() {
        Some(exit) => Addressed::facts(lane, vec![Event::TaskEnded { task: key, exit, logs: String::new() }]),
        // Where its log is does not stand in the event.
        None if task.last_status == "RUNNING" => Addressed::look(lane),
        None => Addressed::facts(lane, Vec::new()),
    })
}
