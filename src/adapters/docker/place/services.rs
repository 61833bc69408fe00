//! Services: a container per process type and build; the new ones start beside the old.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::select_all;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::super::labels::{BUILD, PROCESS, REVISION, ROLE_SERVICE, ROLE_TASK};
use super::{ContainerPlace, build_of};
use crate::domain::lane::{LaneKey, ReleasePlan, ServicesState};
use crate::domain::launch::{Launch, WEB_PORT as PORT};
use crate::domain::names::{BuildNumber, ProcessType};
use crate::ports::container_engine::{ContainerFacts, ContainerSpec, ContainerState};
use crate::ports::failure::Failure;

/// Seconds that a release has until all its processes run and its web process answers.
const HEALTHY_WITHIN: u64 = 60;
/// How many of its last lines explain why a process ended.
const LAST_LINES: u32 = 20;
/// The release that a container belongs to, by its place in the lane's sequence.
const SEQUENCE: &str = "packhorse.sequence";
/// When a container was made.
const SINCE: &str = "packhorse.since";

impl ContainerPlace {
    /// Starts the release's processes beside those that run.
    pub(super) async fn start_services(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
        plan: &ReleasePlan,
    ) -> Result<(), Failure> {
        let running = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        if running.iter().any(|container| number(container, SEQUENCE) > Some(plan.sequence)) {
            return Ok(());
        }
        self.ensure_network(lane).await?;
        let env = self.environment(lane).await?;
        for (process, service) in &plan.services {
            let begun = match self.service_spec(lane, build, plan, (process, &service.command), env.clone()).await {
                Ok(container) => self.start_service(&container).await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = begun {
                if !failure.is_passing() {
                    self.withdraw(lane, build).await?;
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    /// What the container of one process is made from.
    async fn service_spec(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
        plan: &ReleasePlan,
        (process, command): (&ProcessType, &str),
        mut env: BTreeMap<String, SecretString>,
    ) -> Result<ContainerSpec, Failure> {
        let launch = self.launch(&plan.image, Some(process), command).await?;
        if process.is_web() {
            env.insert("PORT".to_owned(), PORT.to_string().into());
        }
        let mut labels = self.labelled(lane, ROLE_SERVICE);
        labels.insert(BUILD.to_owned(), build.to_string());
        labels.insert(PROCESS.to_owned(), process.to_string());
        labels.insert(SEQUENCE.to_owned(), plan.sequence.to_string());
        labels.insert(SINCE.to_owned(), self.clock.now().0.to_string());
        labels.insert(REVISION.to_owned(), revision(&plan.image, &launch, &env));
        Ok(ContainerSpec {
            name: self.name(lane, format_args!("{process}-{build}")),
            image: plan.image.clone(),
            entrypoint: Some(launch.entrypoint),
            command: Some(launch.arguments),
            env,
            networks: BTreeMap::from([(self.network(lane), vec![process.to_string()])]),
            publish: process.is_web().then_some(PORT),
            labels,
            init: true,
            ..ContainerSpec::default()
        })
    }

    async fn start_service(&self, container: &ContainerSpec) -> Result<(), Failure> {
        match self.engine.create(container).await {
            // Made by an earlier attempt, or by somebody else at the same time.
            Ok(()) | Err(Failure::Conflict { .. }) => {}
            Err(failure) => return Err(failure),
        }
        match self.engine.container(&container.name).await?.map(|container| container.state) {
            Some(ContainerState::Created { .. }) => self.begin(container).await,
            _ => Ok(()),
        }
    }

    /// Tells whether a release runs as it would be started now: the same image, commands and variables, every process up
    /// and none besides.
    ///
    /// # Errors
    /// Fails when the engine, or the store of the variables, does not answer.
    pub async fn runs(&self, lane: &LaneKey, build: BuildNumber, plan: &ReleasePlan) -> Result<bool, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        if all.len() != plan.services.len() {
            return Ok(false);
        }
        let env = self.environment(lane).await?;
        for (process, service) in &plan.services {
            let wanted = self.service_spec(lane, build, plan, (process, &service.command), env.clone()).await?;
            let same = all.iter().any(|found| {
                found.name == wanted.name
                    && found.state.is_running()
                    && found.labels.get(REVISION) == wanted.labels.get(REVISION)
            });
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends requests to the live release if all of it still runs, and takes everything else away: what somebody left who
    /// was killed. Tells whether it runs.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn adopt(&self, lane: &LaneKey, live: Option<(BuildNumber, &ReleasePlan)>) -> Result<bool, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let (runs, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|container| {
            container.state.is_running() && live.is_some_and(|(build, _)| build_of(container) == Some(build))
        });
        self.retire(&rest).await?;
        let web = runs.iter().find(|container| is_web(container));
        let whole = live.is_some_and(|(_, plan)| plan.services.len() == runs.len());
        let answers = match web {
            Some(web) if whole => match self.answers(web).await {
                Some(address) => {
                    self.routes.point_to(lane, address).await;
                    true
                }
                None => false,
            },
            _ => whole,
        };
        if !answers {
            self.retire(&runs).await?;
        }
        Ok(answers)
    }

    /// Looks at a release: healthy ones take over, broken ones are taken away again.
    pub(super) async fn look_at_services(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
    ) -> Result<Option<ServicesState>, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let (new, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|container| build_of(container) == Some(build));
        if new.is_empty() {
            return Ok(Some(ServicesState::Failed { cause: "its processes are gone".to_owned() }));
        }
        for container in &new {
            if let Some(what) = ended(&container.state) {
                let cause = self.explain(container, &what).await;
                self.withdraw(lane, build).await?;
                return Ok(Some(ServicesState::Failed { cause }));
            }
        }
        let since = new.iter().filter_map(|container| number(container, SINCE)).max().unwrap_or_default();
        let age = self.clock.now().0.saturating_sub(since);
        let web = new.iter().find(|container| is_web(container));
        let address = match web {
            Some(web) => self.answers(web).await,
            None => None,
        };
        if web.is_none() || address.is_some() {
            if !self.stay_up(&new, age).await {
                // Whoever looks next sees which one ended, and why.
                return Ok(None);
            }
            if let Some(address) = address {
                self.routes.point_to(lane, address).await;
            }
            self.retire(&old).await?;
            self.forget_tasks(lane, build).await?;
            return Ok(Some(ServicesState::Steady));
        }
        if age <= HEALTHY_WITHIN {
            return Ok(None);
        }
        let what = format!("did not answer on port {PORT} (variable PORT) within {HEALTHY_WITHIN} s");
        let cause = match web {
            Some(web) => self.explain(web, &what).await,
            None => what,
        };
        self.withdraw(lane, build).await?;
        Ok(Some(ServicesState::Failed { cause }))
    }

    /// Returns where a web process answers, whatever it answers; nothing when it does not.
    async fn answers(&self, web: &ContainerFacts) -> Option<SocketAddr> {
        let address = web.published.get(&PORT)?;
        self.web.get(format!("http://{address}/")).send().await.ok().map(|_| *address)
    }

    /// Waits for what is left of the time that a release has to stay up; tells whether all its processes did.
    async fn stay_up(&self, containers: &[ContainerFacts], age: u64) -> bool {
        let ends = containers.iter().map(|container| self.engine.wait(&container.name));
        let rest = self.settle.saturating_sub(Duration::from_secs(age));
        tokio::time::timeout(rest, select_all(ends)).await.is_err()
    }

    /// Says what became of a process, with its last words.
    async fn explain(&self, container: &ContainerFacts, what: &str) -> String {
        let process = container.labels.get(PROCESS).map_or("a process", String::as_str);
        let log = self.log(&container.name, Some(LAST_LINES)).await.unwrap_or_default();
        let lines = String::from_utf8_lossy(&log).trim_end().to_owned();
        if lines.is_empty() {
            format!("`{process}` {what} and said nothing")
        } else {
            format!("`{process}` {what}; its last lines:\n{lines}")
        }
    }

    /// Takes the processes of one build away.
    async fn withdraw(&self, lane: &LaneKey, build: BuildNumber) -> Result<(), Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let own: Vec<_> = all.into_iter().filter(|container| build_of(container) == Some(build)).collect();
        self.retire(&own).await
    }

    /// Removes the containers of tasks whose builds are over.
    async fn forget_tasks(&self, lane: &LaneKey, build: BuildNumber) -> Result<(), Failure> {
        let tasks = self.engine.containers(&self.labelled(lane, ROLE_TASK)).await?;
        for task in tasks.iter().filter(|task| !task.state.is_running() && build_of(task) < Some(build)) {
            self.engine.remove(&task.name).await?;
        }
        Ok(())
    }

    /// Returns the exit code of a process that has ended while no other one took its place.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn ended_by_itself(&self, lane: &LaneKey, process: &str, name: &str) -> Result<Option<i64>, Failure> {
        let state = self.engine.container(name).await?.map(|container| container.state);
        let replaced = self.running(lane).await?.contains_key(process);
        Ok(match state {
            Some(ContainerState::Exited { code }) if !replaced => Some(code),
            _ => None,
        })
    }

    /// The names of the containers that run a lane's services, by process type.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn running(&self, lane: &LaneKey) -> Result<BTreeMap<String, String>, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let running = all.into_iter().filter(|container| container.state.is_running());
        Ok(running.filter_map(|container| Some((container.labels.get(PROCESS)?.clone(), container.name))).collect())
    }
}

fn ended(state: &ContainerState) -> Option<String> {
    match state {
        ContainerState::Running => None,
        ContainerState::Created { error } if error.is_empty() => None,
        ContainerState::Created { error } => Some(format!("could not start ({error})")),
        ContainerState::Exited { code } => Some(format!("exited with code {code}")),
    }
}

fn is_web(container: &ContainerFacts) -> bool {
    container.labels.get(PROCESS).is_some_and(|process| process == "web")
}

/// A digest of all that a process is started from. Values are part of it: who may see the label may see them anyway.
fn revision(image: &str, launch: &Launch, env: &BTreeMap<String, SecretString>) -> String {
    let mut hash = Sha256::new();
    let variables = env.iter().flat_map(|(name, value)| [name.as_str(), value.expose_secret()]);
    let launch = launch.entrypoint.iter().chain(&launch.arguments).map(String::as_str);
    for part in [image].into_iter().chain(launch).chain(variables) {
        // With the length, so that no two lists of parts run together.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

fn number(container: &ContainerFacts, label: &str) -> Option<u64> {
    container.labels.get(label)?.parse().ok()
}
