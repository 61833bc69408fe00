//! Asks for the truth about what a lane waits for, and says it in events.

use bytes::Bytes;

use super::Orchestrator;
use crate::domain::lane::{Build, Event, Lane, Phase, TaskExit, TaskKey};
use crate::domain::names::BuildArn;
use crate::ports::build_service::BuildFacts;
use crate::ports::failure::Failure;
use crate::ports::place::TaskStatus;

impl Orchestrator {
    /// Returns what is new to the lane, in the order in which it happened.
    pub(super) async fn observe(&self, lane: &Lane) -> Result<Vec<Event>, Failure> {
        let mut events = self.observe_builds(lane).await?;
        if let Some((task, _)) = &lane.draining {
            let gone =
                !matches!(self.place.task(&lane.key, task).await?, TaskStatus::Starting | TaskStatus::Running { .. });
            if gone {
                events.push(Event::TaskEnded { task: task.clone(), exit: TaskExit::Unknown, logs: String::new() });
            }
        }
        for build in lane.builds.values().filter(|build| build.in_flight()) {
            match build.current_phase() {
                Some(Phase::Release | Phase::Postdeploy) => events.extend(self.observe_task(lane, build).await?),
                Some(Phase::Deploy) => {
                    if let Some(state) = self.place.services(&lane.key, build.number).await? {
                        events.push(Event::ServicesSeen { number: build.number, state });
                    }
                }
                _ => {}
            }
        }
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

    async fn observe_task(&self, lane: &Lane, build: &Build) -> Result<Vec<Event>, Failure> {
        let Some(task) = &build.task else { return Ok(Vec::new()) };
        let key = task.key.clone();
        let ended = |exit, logs| vec![Event::TaskEnded { task: key.clone(), exit, logs }];
        Ok(match self.place.task(&lane.key, &task.key).await? {
            TaskStatus::Running { arn, logs } if !task.running => vec![Event::TaskRunning { task: key, arn, logs }],
            TaskStatus::Exited { code, log, .. } => ended(TaskExit::Code(code), self.keep_log(build, &key, log).await?),
            TaskStatus::Gone { reason, .. } => ended(TaskExit::NoCode { reason }, String::new()),
            TaskStatus::Unknown => ended(TaskExit::Unknown, String::new()),
            TaskStatus::NeverRequested if task.requested => ended(TaskExit::Unknown, String::new()),
            TaskStatus::Starting | TaskStatus::Running { .. } | TaskStatus::NeverRequested => Vec::new(),
        })
    }

    /// Copies a task's log to the artifacts; its location is told only once the object is there.
    async fn keep_log(&self, build: &Build, key: &TaskKey, log: Option<Vec<u8>>) -> Result<String, Failure> {
        let Some(log) = log else { return Ok(String::new()) };
        let name = format!("{}/{}.log", key.build, key.kind.phase());
        let artifacts = self.artifacts.of(&build.outputs.bucket);
        artifacts.put(&name, Bytes::from(log)).await?;
        Ok(artifacts.url(&name))
    }
}

/// What a build's service knows of it, as the events that would have told it.
fn build_events(facts: BuildFacts) -> Vec<Event> {
    let BuildFacts { arn, number, started, commit, logs, outputs, image_built, tests_passed, result } = facts;
    let mut events = vec![Event::BuildStarted { number, arn, commit, started, logs, outputs, by_runner: false }];
    events.extend(image_built.then_some(Event::ImageBuilt { number }));
    events.extend(tests_passed.then_some(Event::TestsPassed { number, by_runner: false }));
    events.extend(result.map(|result| Event::BuildEnded { number, result }));
    events
}
