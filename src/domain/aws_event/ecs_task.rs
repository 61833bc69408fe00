//! `ECS Task State Change`: the release and postdeploy tasks.
//!
//! Sources: "Amazon ECS task state change events" (ECS Developer Guide); `Task` of the ECS API.

use serde::Deserialize;

use super::{Addressed, EventError, News, irrelevant};
use crate::domain::lane::{Event, TaskExit, TaskKey};

/// The container in which the command of a step runs.
const CONTAINER: &str = "app";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskDetail {
    #[serde(default)]
    task_arn: String,
    #[serde(default)]
    last_status: String,
    started_by: Option<String>,
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

/// How the container of a step ended, as far as that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerEnd<'a> {
    /// The exit code; none where it did not run.
    pub code: Option<i64>,
    /// What ECS says about it.
    pub reason: Option<&'a str>,
}

pub(super) fn read(task: &TaskDetail) -> Result<News, EventError> {
    let started_by = task.started_by.as_deref().unwrap_or_default();
    // Tasks of services (`ecs-svc/…`), of schedules (`chronos-schedule/…`, `events-rule/…`) and of clients.
    let (lane, key) = TaskKey::from_started_by(started_by)
        .ok_or_else(|| irrelevant(format!("the task {}", task.task_arn), "was not started by packhorse"))?;
    let container = task.containers.iter().find(|container| container.name == CONTAINER).or(task.containers.first());
    let container = container.map_or_else(ContainerEnd::default, |container| ContainerEnd {
        code: container.exit_code,
        reason: container.reason.as_deref(),
    });
    let end = task_end(&task.last_status, task.stop_code.as_deref(), task.stopped_reason.as_deref(), container);
    Ok(match end {
        Some(exit) => Addressed::facts(lane, vec![Event::TaskEnded { task: key, exit, logs: String::new() }]),
        // Where its log is does not stand in the event.
        None if task.last_status == "RUNNING" => Addressed::look(lane),
        None => Addressed::facts(lane, Vec::new()),
    })
}

/// Tells how a task ended, or nothing while that is not known.
///
/// An exit code counts as soon as it is there, which is before the task is stopped. That there is none, or that the host
/// was taken away, counts only once the task is stopped: then another attempt may begin.
pub fn task_end(
    last_status: &str,
    stop_code: Option<&str>,
    stopped_reason: Option<&str>,
    container: ContainerEnd<'_>,
) -> Option<TaskExit> {
    let stopped = matches!(last_status, "STOPPED" | "DELETED");
    let ending = stopped || matches!(last_status, "DEACTIVATING" | "STOPPING" | "DEPROVISIONING");
    if !ending {
        return None;
    }
    let said = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let why = || said(stopped_reason).or_else(|| said(container.reason));
    let gone = |what: &str| match why() {
        Some(reason) => TaskExit::NoCode { reason: format!("{what}: {reason}") },
        None => TaskExit::NoCode { reason: what.to_owned() },
    };
    match (stop_code, container.code) {
        // Whatever code the command left with: it was not given the time to end by itself.
        (Some("SpotInterruption" | "TerminationNotice"), _) => stopped.then(|| gone("its host was taken away")),
        (Some("UserInitiated"), code) => {
            (stopped || code.is_some()).then(|| TaskExit::Stopped { reason: why().unwrap_or_default() })
        }
        (Some("TaskFailedToStart"), _) => stopped.then(|| gone("it did not start")),
        (Some("EssentialContainerExited"), Some(code)) => {
            let memory = |text: &&str| text.contains("OutOfMemory");
            let reason = container.reason.filter(memory).or(stopped_reason.filter(memory)).or(container.reason);
            Some(TaskExit::Code { code, reason: said(reason) })
        }
        (_, Some(code)) if code != 0 => Some(TaskExit::Code { code, reason: said(container.reason) }),
        // Nobody asked for its end, and the command did not end by itself.
        (code, Some(_)) => stopped.then(|| TaskExit::Stopped {
            reason: why().unwrap_or_else(|| code.unwrap_or("no reason is known").to_owned()),
        }),
        (_, None) => stopped.then(|| gone("it ended without an exit code")),
    }
}
