//! What runs of an app as containers on this machine.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::labels::{BUILD, LANE, PROCESS, ROLE, ROLE_SERVICE, labels};
use crate::domain::lane::LaneKey;
use crate::domain::names::ProcessType;
use crate::ports::container_engine::{ContainerEngine, ContainerFacts, ContainerState, LogRange};
use crate::ports::failure::Failure;
use crate::ports::log_reader::LogLine;
use crate::ports::processes::{Processes, RunningProcess};

/// Finds containers by their labels.
#[derive(Clone)]
pub struct ContainerProcesses {
    engine: Arc<dyn ContainerEngine>,
    instance: String,
}

impl ContainerProcesses {
    /// Looks on this engine; `instance` tells lanes of the same name apart, as for the place.
    pub fn new(engine: Arc<dyn ContainerEngine>, instance: &str) -> Self {
        Self { engine, instance: instance.to_owned() }
    }

    async fn containers(&self, lane: &LaneKey) -> Result<Vec<(String, ContainerFacts)>, Failure> {
        let wanted = labels([(LANE, format!("{lane}@{}", self.instance)), (ROLE, ROLE_SERVICE.to_owned())]);
        let all = self.engine.containers(&wanted).await?.into_iter();
        let mut all: Vec<(String, ContainerFacts)> =
            all.filter_map(|container| Some((container.labels.get(PROCESS)?.clone(), container))).collect();
        all.sort_by(|(one, first), (other, second)| (one, &first.name).cmp(&(other, &second.name)));
        Ok(all)
    }

    /// Returns what the processes said so far whose type begins with `prefix`, process by process.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn said(&self, lane: &LaneKey, prefix: &str) -> Result<Vec<LogLine>, Failure> {
        let mut lines = Vec::new();
        for (process, container) in self.containers(lane).await? {
            if !process.starts_with(prefix) {
                continue;
            }
            let said = Mutex::new(Vec::new());
            let keep = |line: &str| said.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
            self.engine.logs(&container.name, LogRange { follow: false, tail: None }, &keep).await?;
            let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
            lines.extend(said.into_iter().enumerate().map(|(index, text)| LogLine {
                id: format!("{}/{index}", container.name),
                at: None,
                stream: process.clone(),
                text,
            }));
        }
        Ok(lines)
    }
}

#[async_trait]
impl Processes for ContainerProcesses {
    async fn running(&self, lane: &LaneKey) -> Result<Vec<RunningProcess>, Failure> {
        let process = |(process, container): (String, ContainerFacts)| RunningProcess {
            status: match &container.state {
                ContainerState::Created { .. } => "created".to_owned(),
                ContainerState::Running => "running".to_owned(),
                ContainerState::Exited { code } => format!("exited ({code})"),
            },
            build: container.labels.get(BUILD).and_then(|text| text.parse().ok()),
            id: container.name,
            process,
            cpu: None,
            memory: None,
            started: None,
        };
        Ok(self.containers(lane).await?.into_iter().map(process).collect())
    }

    async fn restart(&self, lane: &LaneKey, _: Option<&ProcessType>) -> Result<Vec<String>, Failure> {
        // A container that starts again gets another port, of which the proxy of `up` would not know.
        Err(Failure::refused(
            format!("restart the processes of {lane}"),
            "on this machine, `packhorse up` replaces them after a change of the source or of a config variable",
        ))
    }
}
