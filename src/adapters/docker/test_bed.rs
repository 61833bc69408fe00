//! Tests in a container of the new image, their add-ons beside it on a private network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::addons::Addons;
use super::labels::{BUILD, ROLE, ROLE_TEST, labels};
use crate::adapters::process::Stop;
use crate::domain::addons::test_name;
use crate::domain::launch::shell_command;
use crate::ports::container_engine::{ContainerEngine, ContainerSpec, Labels, LogRange};
use crate::ports::failure::Failure;
use crate::ports::image_builder::BuildOutput;
use crate::ports::test_bed::{AddonRequest, TestBed, TestBedError, TestRun};

/// How long tests that are told to stop may take to say goodbye.
const GRACE: Duration = Duration::from_secs(10);

/// Runs tests on a container engine.
pub struct ContainerTestBed {
    engine: Arc<dyn ContainerEngine>,
    stop: Stop,
    ready_within: Duration,
}

impl ContainerTestBed {
    /// Runs tests on this engine until told to stop.
    pub fn new(engine: Arc<dyn ContainerEngine>, stop: Stop) -> Self {
        Self { engine, stop, ready_within: Duration::from_mins(1) }
    }

    /// Sets how long add-ons may take until they answer; a minute if this is not called.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    async fn run_container(&self, name: &str, limit: Duration, output: &dyn BuildOutput) -> Result<i64, TestBedError> {
        self.engine.start(name).await?;
        let began = Instant::now();
        let until = began + limit;
        let ended = async {
            let line = |line: &str| output.line(line);
            let logs = self.engine.logs(name, LogRange { follow: true, tail: None }, &line);
            let (logs, code) = tokio::join!(logs, self.engine.wait(name));
            logs?;
            code
        };
        tokio::pin!(ended);
        let stopped = tokio::select! {
            ended = timeout_at(until, &mut ended) => match ended {
                Ok(code) => {
                    debug!(milliseconds = began.elapsed().as_millis(), "The test command ended");
                    return Ok(code?);
                }
                Err(_) => TestBedError::TimedOut { seconds: limit.as_secs() },
            },
            () = self.stop.gently.cancelled() => TestBedError::Interrupted,
        };
        // What the tests say at their end is still shown.
        let goodbye = async {
            let stop = self.engine.stop(name, GRACE);
            let (stop, _) = tokio::join!(stop, ended);
            stop
        };
        tokio::select! {
            stop = goodbye => stop?,
            () = self.stop.at_once.cancelled() => {}
            () = sleep(GRACE * 2) => {}
        }
        Err(stopped)
    }
}

fn of_build(build_id: &str) -> Labels {
    labels([(BUILD, build_id.to_owned()), (ROLE, ROLE_TEST.to_owned())])
}

#[async_trait]
impl TestBed for ContainerTestBed {
    async fn start(&self, build_id: &str, addons: &[AddonRequest]) -> Result<BTreeMap<String, String>, TestBedError> {
        self.remove(build_id).await?;
        if addons.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (name, labels) = (test_name(build_id), of_build(build_id));
        let group =
            Addons { engine: self.engine.as_ref(), name: &name, labels: &labels, ready_within: self.ready_within };
        let began = Instant::now();
        let started = tokio::select! {
            started = group.start(addons) => started,
            () = self.stop.gently.cancelled() => Err(TestBedError::Interrupted),
        };
        debug!(milliseconds = began.elapsed().as_millis(), "The add-ons' start ended");
        if started.is_err() {
            // The failure is worth more than one of cleaning up after it.
            let _ = self.remove(build_id).await;
        }
        started
    }

    async fn fetch(&self, image: &str) -> Result<(), Failure> {
        self.engine.ensure_image(image).await
    }

    async fn run(&self, run: &TestRun, output: &dyn BuildOutput) -> Result<i64, TestBedError> {
        let (name, labels) = (test_name(&run.build_id), of_build(&run.build_id));
        let launch = shell_command(&run.command, run.launcher);
        let (networks, (), ()) = tokio::try_join!(
            self.engine.networks(&labels),
            self.engine.ensure_image(&run.image),
            self.engine.remove(&name)
        )?;
        let container = ContainerSpec {
            name: name.clone(),
            image: run.image.clone(),
            entrypoint: Some(launch.entrypoint),
            command: Some(launch.arguments),
            env: run.env.clone(),
            networks: networks.into_iter().map(|network| (network, Vec::new())).collect(),
            labels,
            ..ContainerSpec::default()
        };
        self.engine.create(&container).await?;
        let ended = self.run_container(&name, run.limit, output).await;
        if ended.is_err() {
            // It may run on. The failure is worth more than one of cleaning up after it.
            let _ = self.engine.remove(&name).await;
        }
        ended
    }

    async fn remove(&self, build_id: &str) -> Result<(), Failure> {
        let labels = of_build(build_id);
        let (containers, networks) = tokio::try_join!(self.engine.containers(&labels), self.engine.networks(&labels))?;
        // Cut off from their network, containers do not hold it up: then all can be removed at once. What resists here is told by
        // the removal.
        join_all(networks.iter().map(|network| self.engine.clear_network(network))).await;
        let (containers, freed) = tokio::join!(
            join_all(containers.iter().map(|container| self.engine.remove(&container.name))),
            join_all(networks.iter().map(|network| self.engine.remove_network(network)))
        );
        containers.into_iter().collect::<Result<(), Failure>>()?;
        let held = networks.iter().zip(freed).filter(|(_, freed)| freed.is_err());
        let removed = join_all(held.map(|(network, _)| self.engine.remove_network(network))).await;
        removed.into_iter().collect()
    }
}
