//! What runs of an app as containers on this machine.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::labels::{BUILD, LANE, PROCESS, ROLE, ROLE_JOB, ROLE_SERVICE, labels};
use crate::domain::lane::LaneKey;
use crate::domain::names::ProcessType;
use crate::domain::namespace::Namespace;
use crate::ports::container_engine::{ContainerEngine, ContainerFacts, ContainerState, LogRange};
use crate::ports::failure::Failure;
use crate::ports::log_reader::LogLine;
use crate::ports::parameters::ParameterStore;
use crate::ports::processes::{Processes, RunningProcess};

/// Finds containers by their labels.
#[derive(Clone)]
pub struct ContainerProcesses {
    engine: Arc<dyn ContainerEngine>,
    parameters: Arc<dyn ParameterStore>,
    instance: String,
}

impl ContainerProcesses {
    /// Looks on this engine; `instance` tells lanes of the same name apart, as for the place. What is to restart is noted in
    /// the parameters, where the place finds it.
    pub fn new(engine: Arc<dyn ContainerEngine>, parameters: Arc<dyn ParameterStore>, instance: &str) -> Self {
        Self { engine, parameters, instance: instance.to_owned() }
    }

    async fn containers(&self, lane: &LaneKey) -> Result<Vec<(String, ContainerFacts)>, Failure> {
        let mut found = Vec::new();
        for role in [ROLE_SERVICE, ROLE_JOB] {
            let wanted = labels([(LANE, format!("{lane}@{}", self.instance)), (ROLE, role.to_owned())]);
            found.extend(self.engine.containers(&wanted).await?);
        }
        let named = found.into_iter().filter_map(|found| Some((found.labels.get(PROCESS)?.clone(), found)));
        let mut all: Vec<(String, ContainerFacts)> = named.collect();
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

    /// Notes it as a changed setting, which `up` follows: it starts new containers, turns the requests to them and stops the
    /// old ones.
    async fn restart(&self, lane: &LaneKey, processes: &[ProcessType]) -> Result<Vec<String>, Failure> {
        let wanted = labels([(LANE, format!("{lane}@{}", self.instance)), (ROLE, ROLE_SERVICE.to_owned())]);
        let found = self.engine.containers(&wanted).await?;
        let types: BTreeSet<&String> = found.iter().filter_map(|found| found.labels.get(PROCESS)).collect();
        let mut restarted = Vec::new();
        for name in types.into_iter().filter(|name| processes.iter().any(|wanted| wanted.as_str() == *name)) {
            let parameter = format!("{}{name}", Namespace::default().restarts_path(lane));
            self.parameters.put(&parameter, &format!("{:016x}", fastrand::u64(..))).await?;
            restarted.push(name.clone());
        }
        Ok(restarted)
    }
}
