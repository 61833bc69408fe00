//! Asks for the truth about what a lane waits for, and says it in events.

use bytes::Bytes;

use super::Orchestrator;
use crate::domain::lane::{Action, Event, Lane, Phase, ReleasePlan, RemovalStep, TaskExit, TaskKey, TaskState};
use crate::domain::names::{BuildArn, BuildNumber};
use crate::ports::build_service::BuildFacts;
use crate::ports::failure::Failure;
use crate::ports::place::TaskStatus;

impl Orchestrator {
    /// Returns what is new to the lane, in the order in which it happened.
    pub(super) async fn observe(&self, lane: &Lane) -> Result<Vec<Event>, Failure> {
        let mut events = self.observe_builds(lane).await?;
        if let Some((task, _)) = &lane.draining {
            // One that nobody has heard of may still be on its way: the lane waits for it no longer than it must.
            let gone = match self.place.task(&lane.key, task).await? {
                TaskStatus::Exited { .. } | TaskStatus::Gone { .. } | TaskStatus::Unknown => true,
                TaskStatus::NeverRequested | TaskStatus::Starting | TaskStatus::Running { .. } => false,
            };
            if gone {
                events.push(Event::TaskEnded { task: task.clone(), exit: TaskExit::Unknown, logs: String::new() });
            }
        }
        for build in lane.builds.values().filter(|build| build.in_flight()) {
            match (build.current_phase(), &build.task, &build.plan) {
                (Some(Phase::Release | Phase::Postdeploy), Some(task), _) => {
                    events.extend(self.observe_task(lane, task).await?);
                }
                (Some(Phase::Deploy), _, Some(plan)) => {
                    events.extend(self.observe_services(lane, build.number, plan).await?);
                }
                _ => {}
            }
        }
        if let Some(rollback) = lane.rollback.as_ref().filter(|rollback| rollback.deploying.is_some()) {
            let release = &rollback.release;
            events.extend(self.observe_services(lane, release.build, &release.plan).await?);
        }
        if let Some(live) = lane.live.as_ref().filter(|_| lane.converging.is_some()) {
            events.extend(self.observe_services(lane, live.build, &live.plan).await?);
        }
        events.extend(self.observe_removal(lane).await?);
        Ok(events)
    }

    async fn observe_builds(&self, lane: &Lane) -> Result<Vec<Event>, Failure> {
        let waiting: Vec<BuildArn> =
            lane.builds.values().filter(|build| !build.settled).map(|build| build.arn.clone()).collect();
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.builds.builds(&waiting).await?.into_iter().flat_map(build_events).collect())
    }

    async fn observe_services(
        &self,
        lane: &Lane,
        number: BuildNumber,
        plan: &ReleasePlan,
    ) -> Result<Option<Event>, Failure> {
        let state = self.place.services(&lane.key, number).await?;
        Ok(state.map(|state| Event::ServicesSeen { number, sequence: plan.sequence, state }))
    }

    async fn observe_task(&self, lane: &Lane, task: &TaskState) -> Result<Vec<Event>, Failure> {
        let key = task.key.clone();
        let ended = |exit, logs| vec![Event::TaskEnded { task: key.clone(), exit, logs }];
        // As of the question: the answer may be told much later, when it would no longer be too early for it.
        let hidden = task.may_be_hidden(self.lanes.clock.now());
        Ok(match self.place.task(&lane.key, &task.key).await? {
            TaskStatus::Running { arn, logs } if !task.running => vec![Event::TaskRunning { task: key, arn, logs }],
            TaskStatus::Exited { code, reason, log } => {
                let logs = self.keep_log(lane, &key, log).await?;
                ended(TaskExit::Code { code, reason }, logs.unwrap_or_default())
            }
            TaskStatus::Gone { end, reason } => ended(end.exit(reason), String::new()),
            TaskStatus::Unknown if !hidden => ended(TaskExit::Unknown, String::new()),
            TaskStatus::NeverRequested if task.requested && !hidden => ended(TaskExit::Unknown, String::new()),
            TaskStatus::Starting | TaskStatus::Running { .. } | TaskStatus::Unknown | TaskStatus::NeverRequested => {
                Vec::new()
            }
        })
    }

    async fn observe_removal(&self, lane: &Lane) -> Result<Vec<Event>, Failure> {
        let (Some(removal), Some(pull_request)) = (&lane.removal, lane.key.pull_request) else { return Ok(Vec::new()) };
        match &removal.step {
            RemovalStep::Waiting => Ok(Vec::new()),
            RemovalStep::PreDestroy { task, .. } => self.observe_task(lane, task).await,
            RemovalStep::Removing
                if lane.owed.values().any(|action| matches!(action, Action::RemoveReviewApp { .. })) =>
            {
                Ok(Vec::new())
            }
            RemovalStep::Removing => {
                let state = self.review_apps.removal(&lane.key.app, pull_request).await?;
                Ok(state.map(|state| Event::ReviewAppSeen { state }).into_iter().collect())
            }
        }
    }

    /// Copies a task's log to the artifacts and says where it lies; its location is told only once the object is there.
    pub(super) async fn keep_log(
        &self,
        lane: &Lane,
        key: &TaskKey,
        log: Option<Vec<u8>>,
    ) -> Result<Option<String>, Failure> {
        let Some(log) = log else { return Ok(None) };
        let of_build = lane.builds.get(&key.build).map(|build| build.outputs.bucket.as_str());
        let last_command = lane.removal.as_ref().and_then(|removal| removal.last_command.as_ref());
        let bucket = of_build.or(last_command.map(|last| last.bucket.as_str())).unwrap_or_default();
        let artifacts = self.artifacts.of(bucket);
        let name = key.log_file();
        artifacts.put(&name, Bytes::from(log)).await?;
        Ok(Some(artifacts.url(&name)))
    }
}

/// What a build's service knows of it, as the events that would have told it.
pub(super) fn build_events(facts: BuildFacts) -> Vec<Event> {
    let BuildFacts { arn, number, started, commit, logs, outputs, image_built, tests_passed, result } = facts;
    let mut events = vec![Event::BuildStarted { number, arn, commit, started, logs, outputs, by_runner: false }];
    events.extend(image_built.then_some(Event::ImageBuilt { number }));
    events.extend(tests_passed.then_some(Event::TestsPassed { number, by_runner: false }));
    events.extend(result.map(|result| Event::BuildEnded { number, result }));
    events
}
