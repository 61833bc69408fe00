//! Release tasks and their like: started once, found again, read and stopped.

use aws_sdk_ecs::operation::stop_task::StopTaskError;
use aws_sdk_ecs::types::{ContainerOverride, DesiredStatus, PropagateTags, Task, TaskOverride};
use tracing::warn;

use super::super::failure::sort;
use super::{EcsPlace, Site, convert, unfit_for};
use crate::domain::ecs::{CONTAINER, Purpose, Seen, client_token, family, log_prefix, log_stream, overrides, seen};
use crate::domain::lane::{LaneKey, TaskKey};
use crate::domain::place_record::TaskRecord;
use crate::ports::failure::Failure;
use crate::ports::place::{TaskRequest, TaskStatus};

/// Seconds for which a client token surely counts: its life is bounded by that of its task and an hour (`aws-events` 4.2).
const TOKEN_LIFE: u64 = 50 * 60;
/// Seconds in which a task that was started may not be visible yet: reads are eventually consistent.
const VISIBLE_AFTER: u64 = 2 * 60;
/// The most tasks of one `DescribeTasks`.
const TASKS: usize = 100;

impl EcsPlace {
    /// Starts a task. That it is asked for is noted before, its ARN afterwards: who finds the note without the ARN asks again
    /// under the same token, and no more once that may have been forgotten.
    pub(super) async fn run_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        let TaskRequest { lane, key, command, formation } = request;
        let (name, now) = (key.to_string(), self.clock.now());
        let (record, _) = self.records.load(lane).await?;
        let noted = record.tasks.get(&name);
        if noted.is_some_and(|task| !task.arn.is_empty() || now.since(task.asked) > TOKEN_LIFE) {
            return Ok(());
        }
        let site = self.site(lane).await?;
        let purpose = Purpose::Task(key.kind.to_string());
        if noted.is_some()
            && let Some(arn) = self.started(lane, key, &site).await?
        {
            return self.note_task(lane, key, &arn).await;
        }
        let (arguments, _) = overrides(formation.plan.launcher, command).map_err(|unfit| unfit_for(lane, unfit))?;
        let definition = self.ensure_definition(lane, &site, formation, &purpose).await?;
        self.remember(lane, |record| {
            record.retired.extend(definition.replaces.iter().cloned());
            if !record.tasks.contains_key(&name) {
                record.remember_task(key, "", now);
            }
            true
        })
        .await?;
        match self.request(lane, key, &site, &definition.arn, arguments).await {
            Ok(arn) => self.note_task(lane, key, &arn).await,
            Err(failure) => {
                // Where ECS has answered, nothing was started; else nobody knows.
                if !matches!(failure, Failure::Unavailable { ref source, .. } if source.downcast_ref::<NoRoom>().is_none())
                {
                    self.remember(lane, |record| record.tasks.remove(&name).is_some()).await?;
                }
                Err(failure)
            }
        }
    }

    async fn request(
        &self,
        lane: &LaneKey,
        key: &TaskKey,
        site: &Site,
        definition: &str,
        arguments: Vec<String>,
    ) -> Result<String, Failure> {
        let doing = format!("start the {} task of {lane}", key.kind);
        let container = ContainerOverride::builder().name(CONTAINER).set_command(Some(arguments)).build();
        let run = self
            .ecs
            .run_task()
            .cluster(&site.settings.cluster)
            .task_definition(definition)
            .count(1)
            .client_token(client_token(lane, key))
            .started_by(key.started_by(lane))
            .set_launch_type(convert::launch_type(&site.launching))
            .set_capacity_provider_strategy(convert::providers(&site.launching)?)
            .set_platform_version(site.launching.platform_version.clone())
            .set_network_configuration(convert::network(&site.launching)?)
            .enable_execute_command(site.launching.execute_command)
            .propagate_tags(PropagateTags::TaskDefinition)
            .overrides(TaskOverride::builder().container_overrides(container).build());
        let answer = match run.send().await {
            Ok(answer) => answer,
            // The token was used with other parameters: the task of an earlier request is what was asked for.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_ecs::operation::run_task::RunTaskError::is_conflict_exception) =>
            {
                let cause = "an earlier request for it differs, and its task is not to be seen yet";
                return self.started(lane, key, site).await?.ok_or_else(|| Failure::unavailable(doing, cause));
            }
            Err(error) => return Err(sort(doing, error)),
        };
        // Success says nothing by itself: a task that could not be placed is a failure in the answer.
        if let Some(arn) = answer.tasks().first().and_then(Task::task_arn) {
            return Ok(arn.to_owned());
        }
        let reasons: Vec<String> = answer
            .failures()
            .iter()
            .map(|failure| {
                let text = [failure.reason(), failure.detail()].into_iter().flatten().collect::<Vec<_>>();
                text.join(": ")
            })
            .collect();
        let said = if reasons.is_empty() { "ECS gave no reason".to_owned() } else { reasons.join("; ") };
        if reasons.iter().any(|reason| reason.starts_with("MISSING") || reason.starts_with("INACTIVE")) {
            return Err(Failure::refused(doing, said));
        }
        Err(Failure::unavailable(doing, NoRoom(said)))
    }

    async fn note_task(&self, lane: &LaneKey, key: &TaskKey, arn: &str) -> Result<(), Failure> {
        let now = self.clock.now();
        self.remember(lane, |record| {
            let known = record.tasks.get(&key.to_string()).map(|task| task.arn.clone());
            record.remember_task(key, arn, now);
            known.as_deref() != Some(arn)
        })
        .await?;
        Ok(())
    }

    /// Looks for a task by who started it, also among those that have stopped.
    async fn started(&self, lane: &LaneKey, key: &TaskKey, site: &Site) -> Result<Option<String>, Failure> {
        let (doing, starter) = (format!("look for the {} task of {lane}", key.kind), key.started_by(lane));
        // It must be the only filter, and finds those only that are to run.
        let running = self.ecs.list_tasks().cluster(&site.settings.cluster).started_by(&starter).send().await;
        let running = running.map_err(|error| sort(&doing, error))?.task_arns.unwrap_or_default();
        if let Some(arn) = running.into_iter().next() {
            return Ok(Some(arn));
        }
        let family = family(lane, key.kind.as_str());
        let stopped = self.list(site, &family, DesiredStatus::Stopped).await?;
        let tasks = self.describe_tasks(site, stopped).await?;
        let own = tasks.iter().find(|task| task.started_by() == Some(starter.as_str()));
        Ok(own.and_then(Task::task_arn).map(str::to_owned))
    }

    /// The tasks of a family that are to run, or that are stopped; of the latter ECS remembers those of the last hour.
    pub(super) async fn list(&self, site: &Site, family: &str, which: DesiredStatus) -> Result<Vec<String>, Failure> {
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let list =
                self.ecs.list_tasks().cluster(&site.settings.cluster).family(family).desired_status(which.clone());
            let page = list.set_next_token(token.take()).send().await;
            let page = page.map_err(|error| sort(format!("list the tasks of {family}"), error))?;
            found.extend(page.task_arns.unwrap_or_default());
            match page.next_token {
                Some(next) if !next.is_empty() => token = Some(next),
                _ => return Ok(found),
            }
        }
    }

    pub(super) async fn describe_tasks(&self, site: &Site, arns: Vec<String>) -> Result<Vec<Task>, Failure> {
        let mut tasks = Vec::new();
        for chunk in arns.chunks(TASKS) {
            let ask = self.ecs.describe_tasks().cluster(&site.settings.cluster).set_tasks(Some(chunk.to_vec()));
            let answer = ask.send().await.map_err(|error| sort("look at tasks", error))?;
            tasks.extend(answer.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }

    pub(super) async fn task_status(&self, lane: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        let (record, _) = self.records.load(lane).await?;
        let Some(TaskRecord { arn, asked }) = record.tasks.get(&key.to_string()) else {
            return Ok(TaskStatus::NeverRequested);
        };
        let site = self.site(lane).await?;
        let age = self.clock.now().since(*asked);
        let arn = if arn.is_empty() {
            match self.started(lane, key, &site).await? {
                Some(arn) => {
                    self.note_task(lane, key, &arn).await?;
                    arn
                }
                // Whoever was to start it was stopped there, or soon after; it is asked for again while that is safe.
                None if age <= TOKEN_LIFE => return Ok(TaskStatus::NeverRequested),
                None => return Ok(TaskStatus::Unknown),
            }
        } else {
            arn.clone()
        };
        let Some(task) = self.describe_tasks(&site, vec![arn.clone()]).await?.into_iter().next() else {
            return Ok(if age < VISIBLE_AFTER { TaskStatus::Starting } else { TaskStatus::Unknown });
        };
        let stream = log_stream(&log_prefix(lane, key.kind.as_str()), &arn);
        Ok(match seen(&convert::task_facts(&task)) {
            Seen::Starting => TaskStatus::Starting,
            Seen::Running => {
                TaskStatus::Running { arn, logs: format!("cloudwatch://{}#{stream}", site.settings.log_group) }
            }
            Seen::Gone { end, reason } => TaskStatus::Gone { end, reason },
            Seen::Exited { code, reason } => {
                self.await_log(&task).await;
                let log = self.log(&site.settings.log_group, &stream).await?;
                TaskStatus::Exited { code, reason, log }
            }
        })
    }

    /// Waits until a task's last lines are there.
    async fn await_log(&self, task: &Task) {
        let ended = task
            .execution_stopped_at()
            .or_else(|| task.stopped_at())
            .map_or(0, aws_sdk_ecs::primitives::DateTime::secs);
        let age = self.clock.now().since(crate::domain::names::EpochSeconds(u64::try_from(ended).unwrap_or_default()));
        tokio::time::sleep(self.log_delay.saturating_sub(std::time::Duration::from_secs(age))).await;
    }

    pub(super) async fn end_task(&self, lane: &LaneKey, key: &TaskKey) -> Result<(), Failure> {
        let (record, _) = self.records.load(lane).await?;
        let Some(TaskRecord { arn, .. }) = record.tasks.get(&key.to_string()) else { return Ok(()) };
        let site = self.site(lane).await?;
        let arn = match arn.as_str() {
            "" => self.started(lane, key, &site).await?,
            arn => Some(arn.to_owned()),
        };
        match arn {
            Some(arn) => self.stop(&site, &arn, &format!("{} took too long", key.kind)).await,
            None => Ok(()),
        }
    }

    pub(super) async fn stop(&self, site: &Site, arn: &str, reason: &str) -> Result<(), Failure> {
        match self.ecs.stop_task().cluster(&site.settings.cluster).task(arn).reason(reason).send().await {
            Ok(_) => Ok(()),
            // ECS forgets a task an hour after its end.
            Err(error) if error.as_service_error().is_some_and(StopTaskError::is_invalid_parameter_exception) => {
                warn!(task.arn = arn, "ECS does not know a task that is to be stopped");
                Ok(())
            }
            Err(error) => Err(sort(format!("stop the task {arn}"), error)),
        }
    }
}

/// ECS has answered that a task cannot be placed now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoRoom(String);
