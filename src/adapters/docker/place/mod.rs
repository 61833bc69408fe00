//! Containers as the place where release tasks and services run, on one machine.
//!
//! All that belongs to a lane is found by its labels. What is to run of it is remembered: containers cannot tell how many there
//! should be. Whatever differs from that is started anew beside what runs, and takes its requests over once it answers.

mod addons;
mod jobs;
mod services;
mod tasks;

pub use jobs::SCHEDULER;
pub use services::RunningContainer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use secrecy::SecretString;

use super::labels::{BUILD, LANE, ROLE, ROLE_JOB, ROLE_NETWORK, ROLE_SERVICE, ROLE_TASK, labels};
use crate::domain::formation::Formation;
use crate::domain::lane::{LaneKey, ServicesState, TaskKey};
use crate::domain::launch::{BUILDPACK_LABEL, Launch, process, process_types, shell_command};
use crate::domain::names::{BuildNumber, ProcessType};
use crate::domain::namespace::Namespace;
use crate::domain::place_record::PlaceRecord;
use crate::ports::clock::Clock;
use crate::ports::container_engine::{ContainerEngine, ContainerFacts, ContainerSpec, Labels};
use crate::ports::failure::{Failure, chain};
use crate::ports::parameters::ParameterStore;
use crate::ports::place::{Place, TaskRequest, TaskStatus};
use crate::ports::place_records::{PlaceRecords, remember};
use crate::ports::routes::Routes;

/// How long a process that is told to stop may take.
const GRACE: Duration = Duration::from_secs(10);

/// How long the processes of a release have to stay up: long enough for one that lacks a variable or a table to notice.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs tasks and services as containers.
#[derive(Clone)]
pub struct ContainerPlace {
    engine: Arc<dyn ContainerEngine>,
    parameters: Arc<dyn ParameterStore>,
    records: Arc<dyn PlaceRecords>,
    clock: Arc<dyn Clock>,
    routes: Arc<dyn Routes>,
    instance: String,
    web: reqwest::Client,
    settle_time: Duration,
}

/// A command that runs once, in a container of its own.
struct OneOff<'a> {
    name: String,
    image: &'a str,
    command: &'a str,
    /// MiB.
    memory: u32,
    labels: Labels,
}

impl ContainerPlace {
    /// Runs them on this engine.
    ///
    /// `instance` tells lanes of the same name apart that lie in different stores; it becomes part of container names.
    ///
    /// # Errors
    /// Fails when no HTTP client can be made, with which web processes are asked whether they answer.
    pub fn new(
        engine: Arc<dyn ContainerEngine>,
        parameters: Arc<dyn ParameterStore>,
        records: Arc<dyn PlaceRecords>,
        clock: Arc<dyn Clock>,
        routes: Arc<dyn Routes>,
        instance: &str,
    ) -> Result<Self, Failure> {
        // The first provider that is installed stays; requests here are plain HTTP anyway.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let web = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::refused("make an HTTP client", error))?;
        Ok(Self { engine, parameters, records, clock, routes, instance: instance.to_owned(), web, settle_time: SETTLE })
    }

    /// Sets how long the processes of a release have to stay up before it takes over.
    #[must_use]
    pub fn with_settle_time(self, settle_time: Duration) -> Self {
        Self { settle_time, ..self }
    }

    /// The name of the app's private network.
    pub fn network(&self, lane: &LaneKey) -> String {
        self.name(lane, "network")
    }

    fn name(&self, lane: &LaneKey, what: impl std::fmt::Display) -> String {
        format!("{}-{what}-{}", lane.resource_prefix(), self.instance)
    }

    /// The labels of all that belongs to a lane in some role.
    fn labelled(&self, lane: &LaneKey, role: &str) -> Labels {
        labels([(LANE, self.lane_label(lane)), (ROLE, role.to_owned())])
    }

    /// Says what the container of such a command is.
    async fn one_off(&self, lane: &LaneKey, once: OneOff<'_>) -> Result<ContainerSpec, Failure> {
        let network = self.ensure_network(lane).await?;
        let launch = self.launch(once.image, None, once.command).await?;
        Ok(ContainerSpec {
            name: once.name,
            image: once.image.to_owned(),
            entrypoint: Some(launch.entrypoint),
            command: Some(launch.arguments),
            env: self.environment(lane).await?,
            networks: BTreeMap::from([(network, Vec::new())]),
            labels: once.labels,
            init: true,
            memory: Some(once.memory),
            ..ContainerSpec::default()
        })
    }

    /// Makes a container that somebody else may be making too, or was killed after it had.
    async fn make_once(&self, container: &ContainerSpec) -> Result<(), Failure> {
        match self.engine.create(container).await {
            Ok(()) | Err(Failure::Conflict { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn lane_label(&self, lane: &LaneKey) -> String {
        format!("{lane}@{}", self.instance)
    }

    async fn ensure_network(&self, lane: &LaneKey) -> Result<String, Failure> {
        let network = self.network(lane);
        self.engine.create_network(&network, &self.labelled(lane, ROLE_NETWORK)).await?;
        Ok(network)
    }

    /// The variables of a process: config variables, and what is always provided.
    async fn environment(&self, lane: &LaneKey) -> Result<BTreeMap<String, SecretString>, Failure> {
        let mut env = BTreeMap::from([("APPPACK_APPNAME".to_owned(), SecretString::from(lane.app.to_string()))]);
        for path in Namespace::default().config_paths(lane) {
            env.extend(self.parameters.below(&path).await?);
        }
        Ok(env)
    }

    /// Changes what is remembered of a lane; `change` tells whether there is anything to write.
    async fn remember(
        &self,
        lane: &LaneKey,
        change: impl Fn(&mut PlaceRecord) -> bool,
    ) -> Result<PlaceRecord, Failure> {
        remember(self.records.as_ref(), lane, change).await
    }

    /// How to run a process type, or a command line, in an image.
    async fn launch(&self, image: &str, process_type: Option<&ProcessType>, command: &str) -> Result<Launch, Failure> {
        self.engine.ensure_image(image).await?;
        let facts = self.engine.image(image).await?;
        let buildpacks = facts.config.label(BUILDPACK_LABEL).is_some();
        let own = facts.config.label(crate::domain::launch::PROCESSES_LABEL).map(process_types).unwrap_or_default();
        Ok(match process_type.filter(|name| buildpacks && own.iter().any(|own| own == name.as_str())) {
            Some(name) => process(name.as_str()),
            None => shell_command(command, buildpacks),
        })
    }

    /// Starts a container that was made. An engine may lack its init program: `docker-init` is a package of its own in some
    /// distributions, and an engine says so only now. The container is then made again without.
    async fn begin(&self, container: &ContainerSpec) -> Result<(), Failure> {
        match self.engine.start(&container.name).await {
            Err(failure) if container.init && chain(&failure).contains("docker-init") => {
                self.engine.remove(&container.name).await?;
                self.engine.create(&ContainerSpec { init: false, ..container.clone() }).await?;
                self.engine.start(&container.name).await
            }
            other => other,
        }
    }

    /// Stops containers side by side and removes them.
    async fn retire(&self, containers: &[ContainerFacts]) -> Result<(), Failure> {
        let retired = join_all(containers.iter().map(|container| async {
            self.engine.stop(&container.name, GRACE).await?;
            self.engine.remove(&container.name).await
        }));
        retired.await.into_iter().collect()
    }
}

#[async_trait]
impl Place for ContainerPlace {
    async fn service_arn(&self, lane: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        Ok(format!("docker:service/{}/{}-{process}", self.instance, lane.resource_prefix()))
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        self.run_task(request).await
    }

    async fn task(&self, lane: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        self.task_status(lane, key).await
    }

    async fn stop_task(&self, lane: &LaneKey, key: &TaskKey) -> Result<(), Failure> {
        self.engine.stop(&self.name(lane, key), GRACE).await
    }

    async fn update_services(&self, lane: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        self.bring_services(lane, formation).await
    }

    async fn services(&self, lane: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        self.look_at_services(lane, build).await
    }

    async fn remove(&self, lane: &LaneKey, _: u64) -> Result<(), Failure> {
        // First the record: what is looked at meanwhile is not missed.
        self.remember(lane, |record| std::mem::take(record) != PlaceRecord::default()).await?;
        for role in [ROLE_SERVICE, ROLE_TASK, ROLE_JOB] {
            let containers = self.engine.containers(&self.labelled(lane, role)).await?;
            self.retire(&containers).await?;
        }
        Ok(())
    }
}

/// The build that a container belongs to.
fn build_of(container: &ContainerFacts) -> Option<BuildNumber> {
    container.labels.get(BUILD)?.parse().ok()
}
