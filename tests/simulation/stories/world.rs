//! What lies outside, in perfect order: what it answers is what the events say.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use packhorse::domain::aws_event::News;
use packhorse::domain::formation::Formation;
use packhorse::domain::lane::{BuildResult, Event, Lane, LaneKey, ReviewAppState, ServicesState, TaskExit, TaskKey};
use packhorse::domain::names::{AppName, BuildArn, BuildNumber, ProcessType, PullRequest};
use packhorse::ports::artifacts::ArtifactStore;
use packhorse::ports::build_service::{BuildFacts, BuildService};
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::{LaneStore, Version, Versioned};
use packhorse::ports::place::{Loss, Place, TaskRequest, TaskStatus};
use packhorse::ports::review_apps::ReviewApps;

use super::events::sample;
use super::told::tell;

/// What is true of a story, before and after all of its events.
#[derive(Clone)]
pub(super) struct Truth {
    lane: Lane,
    builds: Vec<BuildFacts>,
    /// How the release tasks of builds end; those of all others succeed.
    tasks: BTreeMap<BuildNumber, TaskStatus>,
    /// The build whose services do not become healthy.
    broken: Option<BuildNumber>,
    running: Option<BuildNumber>,
}

impl Truth {
    /// A lane in which nothing has happened, and builds that ended as their last events say.
    pub(super) fn of_builds<const N: usize>(ends: [&News; N]) -> Self {
        let News::Lane(addressed) = ends[0] else { panic!("{ends:?}") };
        let lane = Lane::new(addressed.lane.clone());
        Self { lane, builds: Vec::new(), tasks: BTreeMap::new(), broken: None, running: None }.and_builds(ends)
    }

    /// The lane in which build 42 was deployed.
    pub(super) fn after_build_42() -> Self {
        let end = sample("codebuild-state-succeeded");
        let mut truth = Self::of_builds([&end]);
        truth.lane = tell(&truth, std::slice::from_ref(&end), &[0], false).unwrap().lane;
        truth.running = Some(BuildNumber(42));
        truth
    }

    pub(super) fn and_builds<const N: usize>(mut self, ends: [&News; N]) -> Self {
        self.builds.extend(ends.map(facts));
        self
    }

    /// The release task of a build ends as this event says.
    pub(super) fn and_task(mut self, end: &News) -> Self {
        let News::Lane(addressed) = end else { panic!("{end:?}") };
        let [Event::TaskEnded { task, exit, .. }] = &addressed.events[..] else { panic!("{end:?}") };
        let status = match exit.clone() {
            TaskExit::Code { code, reason } => TaskStatus::Exited { code, reason, log: Some(b"no\n".to_vec()) },
            TaskExit::NoCode { reason } => TaskStatus::Gone { end: Loss::NeverRan, reason },
            other => panic!("{other:?}"),
        };
        self.tasks.insert(task.build, status);
        self
    }

    pub(super) fn and_broken_services(mut self, build: u64) -> Self {
        self.broken = Some(BuildNumber(build));
        self
    }
}

/// A build as CodeBuild knows it after its end, read from its last event.
fn facts(end: &News) -> BuildFacts {
    let News::Lane(addressed) = end else { panic!("{end:?}") };
    let [Event::BuildStarted { number, arn, started, logs, outputs, .. }, Event::BuildEnded { result, .. }] =
        &addressed.events[..]
    else {
        panic!("{end:?}")
    };
    let succeeded = *result == BuildResult::Succeeded;
    BuildFacts {
        arn: arn.clone(),
        number: *number,
        started: *started,
        commit: format!("commit-{number}"),
        logs: logs.clone(),
        outputs: outputs.clone(),
        image_built: succeeded,
        tests_passed: succeeded,
        result: Some(result.clone()),
    }
}

pub(super) struct World {
    truth: Truth,
    state: Mutex<State>,
}

struct State {
    lane: (Lane, u64),
    tasks: Vec<TaskKey>,
    services: Option<BuildNumber>,
    updates: usize,
}

impl World {
    pub(super) fn new(truth: &Truth) -> Self {
        let state = State { lane: (truth.lane.clone(), 1), tasks: Vec::new(), services: truth.running, updates: 0 };
        Self { truth: truth.clone(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn lane(&self) -> Lane {
        self.state().lane.0.clone()
    }

    /// The tasks that were asked for, what runs, and how often it was ordered.
    pub(super) fn seen(&self) -> (Vec<TaskKey>, Option<BuildNumber>, usize) {
        let state = self.state();
        (state.tasks.clone(), state.services, state.updates)
    }
}

#[async_trait]
impl LaneStore for World {
    async fn load(&self, key: &LaneKey) -> Result<Option<Versioned>, Failure> {
        let (lane, version) = &self.state().lane;
        Ok((lane.key == *key).then(|| Versioned { lane: lane.clone(), version: Version(*version) }))
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        let mut state = self.state();
        if state.lane.1 != seen.0 {
            return Err(Failure::Conflict { what: "the lane".to_owned() });
        }
        state.lane = (next.clone(), seen.0 + 1);
        Ok(Version(seen.0 + 1))
    }

    async fn all(&self) -> Result<Vec<LaneKey>, Failure> {
        Ok(vec![self.truth.lane.key.clone()])
    }

    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        let active = self.state().lane.0.is_active();
        Ok(active.then(|| self.truth.lane.key.clone()).into_iter().collect())
    }
}

#[async_trait]
impl ArtifactStore for World {
    async fn put(&self, _: &str, _: Bytes) -> Result<(), Failure> {
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let (number, name) = key.split_once('/').unwrap();
        let succeeded = |facts: &&BuildFacts| facts.number.to_string() == number && facts.tests_passed;
        let succeeded = self.truth.builds.iter().any(|facts| succeeded(&facts));
        Ok(match name {
            "build.log" => Some(Bytes::from_static(b"===> BUILDING\n")),
            "test.log" if succeeded => Some(Bytes::from_static(b"+ test\n")),
            "apppack.toml" if succeeded => Some(Bytes::from_static(
                b"[services.web]\ncommand = \"serve\"\n[deploy]\nrelease_command = \"migrate\"\n[review_app]\ninitialize_command = \"seed\"\n",
            )),
            "build.json" if succeeded => Some(Bytes::from_static(
                br#"{"image": {"reference": "registry.test/shop", "digest": "sha256:00"}}"#,
            )),
            _ => None,
        })
    }

    fn url(&self, key: &str) -> String {
        format!("s3://bucket/{key}")
    }
}

#[async_trait]
impl Place for World {
    async fn service_arn(&self, lane: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        Ok(format!("arn:aws:ecs:us-east-1:111122223333:service/prod/{}-{process}", lane.resource_prefix()))
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        let mut state = self.state();
        if !state.tasks.contains(&request.key) {
            state.tasks.push(request.key.clone());
        }
        Ok(())
    }

    async fn task(&self, _: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        if !self.state().tasks.contains(key) {
            return Ok(TaskStatus::NeverRequested);
        }
        let succeeded = TaskStatus::Exited { code: 0, reason: None, log: Some(b"migrated\n".to_vec()) };
        Ok(self.truth.tasks.get(&key.build).cloned().unwrap_or(succeeded))
    }

    async fn stop_task(&self, _: &LaneKey, _: &TaskKey) -> Result<(), Failure> {
        Ok(())
    }

    async fn update_services(&self, _: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        let mut state = self.state();
        state.updates += 1;
        if self.truth.broken != Some(formation.build) {
            state.services = Some(formation.build);
        }
        Ok(())
    }

    async fn services(&self, _: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        if self.truth.broken == Some(build) {
            return Ok(Some(ServicesState::Failed { cause: "tasks failed to start".to_owned() }));
        }
        Ok((self.state().services == Some(build)).then_some(ServicesState::Steady))
    }

    async fn remove(&self, _: &LaneKey, _: u64) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl BuildService for World {
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        Ok(self.truth.builds.iter().filter(|facts| arns.contains(&facts.arn)).cloned().collect())
    }

    async fn newest(&self, _: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure> {
        Ok(self.truth.builds.iter().rev().map(|facts| (self.truth.lane.key.clone(), facts.clone())).collect())
    }

    async fn stop(&self, _: &BuildArn) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl ReviewApps for World {
    async fn remove(&self, _: &AppName, _: PullRequest) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn removal(&self, _: &AppName, _: PullRequest) -> Result<Option<ReviewAppState>, Failure> {
        Ok(Some(ReviewAppState::Gone))
    }
}
