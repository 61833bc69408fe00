//! Services: a container per process type and build; the new ones start beside the old.

use std::collections::BTreeMap;

use super::super::labels::{BUILD, PROCESS, ROLE_SERVICE, ROLE_TASK};
use super::{ContainerPlace, build_of};
use crate::domain::lane::{LaneKey, ReleasePlan, ServicesState};
use crate::domain::names::{BuildNumber, ProcessType};
use crate::ports::container_engine::{ContainerFacts, ContainerSpec, ContainerState};
use crate::ports::failure::Failure;

/// The port that web processes are told to listen on.
const PORT: u16 = 8080;
/// Seconds that a release has until all its processes run and its web process answers.
const HEALTHY_WITHIN: u64 = 60;
/// Seconds that a release without a web process has to run before it counts as healthy.
const STAYS_UP: u64 = 2;
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
        let network = self.ensure_network(lane).await?;
        let env = self.environment(lane).await?;
        for (process, service) in &plan.services {
            let begun = self.start_service(lane, build, plan, process, &service.command, &network, env.clone()).await;
            if let Err(failure) = begun {
                if !failure.is_passing() {
                    self.withdraw(lane, build).await?;
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each is a separate fact, and there is one caller")]
    async fn start_service(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
        plan: &ReleasePlan,
        process: &ProcessType,
        command: &str,
        network: &str,
        mut env: BTreeMap<String, secrecy::SecretString>,
    ) -> Result<(), Failure> {
        let name = self.name(lane, format_args!("{process}-{build}"));
        let launch = self.launch(&plan.image, Some(process), command).await?;
        let mut labels = self.labelled(lane, ROLE_SERVICE);
        labels.insert(BUILD.to_owned(), build.to_string());
        labels.insert(PROCESS.to_owned(), process.to_string());
        labels.insert(SEQUENCE.to_owned(), plan.sequence.to_string());
        labels.insert(SINCE.to_owned(), self.clock.now().0.to_string());
        if process.is_web() {
            env.insert("PORT".to_owned(), PORT.to_string().into());
        }
        let container = ContainerSpec {
            name: name.clone(),
            image: plan.image.clone(),
            entrypoint: Some(launch.entrypoint),
            command: Some(launch.arguments),
            env,
            networks: BTreeMap::from([(network.to_owned(), vec![process.to_string()])]),
            publish: process.is_web().then_some(PORT),
            labels,
            init: true,
            ..ContainerSpec::default()
        };
        match self.engine.create(&container).await {
            // Made by an earlier attempt, or by somebody else at the same time.
            Ok(()) | Err(Failure::Conflict { .. }) => {}
            Err(failure) => return Err(failure),
        }
        match self.engine.container(&name).await?.map(|container| container.state) {
            Some(ContainerState::Created { .. }) => self.engine.start(&name).await,
            _ => Ok(()),
        }
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
        let web = new.iter().find(|container| container.labels.get(PROCESS).is_some_and(|process| process == "web"));
        let healthy = match web {
            Some(web) => self.takes_over(lane, web).await,
            None => age >= STAYS_UP,
        };
        if healthy {
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

    /// Sends requests to a web process if it answers them, whatever it answers.
    async fn takes_over(&self, lane: &LaneKey, web: &ContainerFacts) -> bool {
        let Some(address) = web.published.get(&PORT) else { return false };
        let answers = self.web.get(format!("http://{address}/")).send().await.is_ok();
        if answers {
            self.routes.point_to(lane, *address).await;
        }
        answers
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

fn number(container: &ContainerFacts, label: &str) -> Option<u64> {
    container.labels.get(label)?.parse().ok()
}
