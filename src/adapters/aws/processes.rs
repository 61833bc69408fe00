//! What runs of an app in an ECS cluster, found by its tags (`data-contract` 5.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{Tag, Task, TaskField};

use super::Clients;
use super::failure::sort;
use crate::domain::adoption::FoundService;
use crate::domain::lane::LaneKey;
use crate::domain::names::{EpochSeconds, ProcessType, PullRequest};
use crate::domain::namespace::Namespace;
use crate::ports::app_settings::AppSettings;
use crate::ports::failure::Failure;
use crate::ports::processes::{Processes, RunningProcess};

/// Reads the tasks of an app's cluster.
#[derive(Clone)]
pub struct EcsProcesses {
    client: Client,
    settings: Arc<dyn AppSettings>,
}

/// The most services that one request describes.
const SERVICES: usize = 10;
/// The most tasks that one request describes.
const AT_ONCE: usize = 100;

impl EcsProcesses {
    /// Uses these clients; the settings name the cluster.
    pub fn new(clients: &Clients, settings: Arc<dyn AppSettings>) -> Self {
        Self { client: clients.ecs(), settings }
    }

    /// Finds the services of these process types that run, with the image of each.
    ///
    /// # Errors
    /// Fails when ECS does not answer; a service that is not there is left out.
    pub async fn services(
        &self,
        lane: &LaneKey,
        processes: &[ProcessType],
    ) -> Result<BTreeMap<ProcessType, FoundService>, Failure> {
        let cluster = self.settings.settings(lane).await?.cluster;
        let doing = format!("look at the services of {lane}");
        let name = |process: &ProcessType| format!("{}-{process}", lane.resource_prefix());
        let mut found = BTreeMap::new();
        for some in processes.chunks(SERVICES) {
            let names = some.iter().map(name).collect();
            let answer = self.client.describe_services().cluster(&cluster).set_services(Some(names)).send().await;
            let services = answer.map_err(|error| sort(&doing, error))?.services.unwrap_or_default();
            for service in services.iter().filter(|service| service.status() == Some("ACTIVE")) {
                let process = some.iter().find(|process| Some(name(process).as_str()) == service.service_name());
                let (Some(process), Some(arn), Some(definition)) =
                    (process, service.service_arn(), service.task_definition())
                else {
                    continue;
                };
                let answer = self.client.describe_task_definition().task_definition(definition).send().await;
                let definition = answer.map_err(|error| sort(&doing, error))?.task_definition;
                let first = definition.as_ref().and_then(|definition| definition.container_definitions().first());
                let image = first.and_then(|container| container.image()).unwrap_or_default().to_owned();
                found.insert(process.clone(), FoundService { arn: arn.to_owned(), image });
            }
        }
        Ok(found)
    }

    async fn tasks(&self, cluster: &str) -> Result<Vec<Task>, Failure> {
        let doing = format!("list the tasks of {cluster}");
        let mut arns = Vec::new();
        let mut pages = self.client.list_tasks().cluster(cluster).into_paginator().items().send();
        while let Some(arn) = pages.next().await {
            arns.push(arn.map_err(|error| sort(&doing, error))?);
        }
        let mut tasks = Vec::new();
        // An idle cluster has none, and a request without tasks is refused.
        for some in arns.chunks(AT_ONCE) {
            let describe = self.client.describe_tasks().cluster(cluster).set_tasks(Some(some.to_vec()));
            let answer = describe.include(TaskField::Tags).send().await.map_err(|error| sort(&doing, error))?;
            tasks.extend(answer.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }
}

#[async_trait]
impl Processes for EcsProcesses {
    async fn running(&self, lane: &LaneKey) -> Result<Vec<RunningProcess>, Failure> {
        let cluster = self.settings.settings(lane).await?.cluster;
        let [app, review_app] = Namespace::default().review_app_tags();
        let wanted = lane.pull_request.map(PullRequest::source_version);
        let ours =
            |task: &Task| tag(task, &app) == Some(lane.app.as_str()) && tag(task, &review_app) == wanted.as_deref();
        let mut running: Vec<RunningProcess> =
            self.tasks(&cluster).await?.iter().filter(|task| ours(task)).filter_map(process).collect();
        running.sort_by(|one, other| (&one.process, &one.id).cmp(&(&other.process, &other.id)));
        Ok(running)
    }

    async fn restart(&self, lane: &LaneKey, processes: &[ProcessType]) -> Result<Vec<String>, Failure> {
        let cluster = self.settings.settings(lane).await?.cluster;
        let doing = format!("restart the services of {lane}");
        let mut restarted = Vec::new();
        for process in processes {
            let name = format!("{}-{process}", lane.resource_prefix());
            let update = self.client.update_service().cluster(&cluster).service(&name).force_new_deployment(true);
            match update.send().await {
                Ok(_) => restarted.push(name),
                // A task of its own has no service: `release`, `shell` and their like.
                Err(error)
                    if error.as_service_error().is_some_and(|error| {
                        error.is_service_not_found_exception() || error.is_service_not_active_exception()
                    }) => {}
                Err(error) => return Err(sort(&doing, error)),
            }
        }
        Ok(restarted)
    }
}

fn tag<'t>(task: &'t Task, key: &str) -> Option<&'t str> {
    task.tags().iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

/// Tasks without a process type are none of the app's processes; all else that may be missing is.
fn process(task: &Task) -> Option<RunningProcess> {
    let namespace = Namespace::default();
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    Some(RunningProcess {
        id: task.task_arn().unwrap_or_default().to_owned(),
        process: tag(task, &namespace.tag("processType"))?.to_owned(),
        status: task.last_status().unwrap_or("unknown").to_lowercase(),
        cpu: number(task.cpu()),
        memory: number(task.memory()),
        build: tag(task, &namespace.tag("buildNumber")).and_then(|text| text.parse().ok()),
        started: task.started_at().and_then(|at| u64::try_from(at.secs()).ok()).map(EpochSeconds),
    })
}
