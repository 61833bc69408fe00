//! Release and postdeploy tasks: one container each, which stays as the memory of how it ended.

use std::sync::Mutex;

use super::super::labels::{BUILD, ROLE_TASK};
use super::{ContainerPlace, OneOff};
use crate::domain::lane::{LaneKey, OUT_OF_MEMORY, TaskKey};
use crate::ports::container_engine::{ContainerState, LogRange};
use crate::ports::failure::Failure;
use crate::ports::place::{Loss, TaskRequest, TaskStatus};

/// Made, and nobody has tried to start it.
const NOT_YET: ContainerState = ContainerState::Created { error: String::new() };

impl ContainerPlace {
    /// Makes and starts the task's container. The name is the idempotency key: a container that was made before is at
    /// most started, and never made again.
    pub(super) async fn run_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        let TaskRequest { lane, key, command, formation } = request;
        let image = &formation.plan.image;
        let name = self.name(lane, key);
        let made = self.engine.container(&name).await?;
        if made.as_ref().is_some_and(|container| container.state != NOT_YET) {
            return Ok(());
        }
        let mut labels = self.labelled(lane, ROLE_TASK);
        labels.insert(BUILD.to_owned(), key.build.to_string());
        let memory = formation.scaling.of(key.kind.as_str()).size.memory;
        let once = OneOff { name: name.clone(), image, command, memory, labels };
        let container = self.one_off(lane, once).await?;
        if made.is_none() {
            self.make_once(&container).await?;
        }
        let made = self.engine.container(&name).await?;
        if !made.is_some_and(|container| container.state == NOT_YET) {
            return Ok(());
        }
        match self.begin(&container).await {
            // What keeps it from starting is kept with the container and seen by who looks at the task.
            Err(failure) if failure.is_passing() => Err(failure),
            _ => Ok(()),
        }
    }

    pub(super) async fn task_status(&self, lane: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        let name = self.name(lane, key);
        let Some(container) = self.engine.container(&name).await? else {
            return Ok(TaskStatus::NeverRequested);
        };
        Ok(match container.state {
            ContainerState::Created { error } if error.is_empty() => TaskStatus::Starting,
            ContainerState::Created { error } => TaskStatus::Gone { end: Loss::NeverRan, reason: error },
            ContainerState::Running => TaskStatus::Running {
                arn: format!("docker:task/{}/{name}", self.instance),
                logs: format!("docker://containers#{name}"),
            },
            ContainerState::Exited { code } => {
                let memory = container.out_of_memory && code != 0;
                let reason = memory.then(|| OUT_OF_MEMORY.to_owned());
                TaskStatus::Exited { code, reason, log: Some(self.log(&name, None).await?) }
            }
        })
    }

    /// A container's output, all of it or its last lines.
    pub(super) async fn log(&self, name: &str, tail: Option<u32>) -> Result<Vec<u8>, Failure> {
        let text = Mutex::new(Vec::new());
        let keep = |line: &str| {
            if let Ok(mut text) = text.lock() {
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
        };
        self.engine.logs(name, LogRange { follow: false, tail }, &keep).await?;
        Ok(text.into_inner().unwrap_or_default())
    }
}
