//! The real orchestrator with everything around it in memory, told step by step what happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use packhorse::adapters::memory::{
    CollectedPhaseEvents, MemoryArtifacts, MemoryLaneStore, MemoryParameters, MemoryRecords, MemorySettings,
    SettableClock,
};
use packhorse::domain::aws_event::{News, read};
use packhorse::domain::formation::Formation;
use packhorse::domain::lane::{
    BuildResult, Event, Lane, LaneKey, Outputs, Phase, PhaseState, ReviewAppState, ServicesState, TaskKey,
};
use packhorse::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds, ProcessType, PullRequest};
use packhorse::orchestrator::{LanePorts, Orchestrator};
use packhorse::ports::activity_log::NoActivityLog;
use packhorse::ports::artifacts::{ArtifactStore, OneStore};
use packhorse::ports::build_service::{BuildFacts, BuildService};
use packhorse::ports::clock::Clock as _;
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::Version;
use packhorse::ports::notifier::NoNotifier;
use packhorse::ports::place::{Place, TaskRequest, TaskStatus};
use packhorse::ports::review_apps::ReviewApps;
use serde_json::{Value, json};

use super::Fixture;
use crate::simulation::no_images::NoImages;

/// What the place says, as a story wants it.
#[derive(Default)]
struct Script {
    tasks: BTreeMap<TaskKey, TaskStatus>,
    every_task: Option<TaskStatus>,
    services: Option<ServicesState>,
    refuses_tasks: Option<&'static str>,
    refuses_services: Option<&'static str>,
    is_down: bool,
}

/// Nothing outside the orchestrator is real here, and none of it has rules of its own.
#[derive(Default)]
struct Outside(Mutex<Script>);

pub(super) struct House {
    pub(super) key: LaneKey,
    orchestrator: Orchestrator,
    artifacts: Arc<MemoryArtifacts>,
    clock: Arc<SettableClock>,
    outside: Arc<Outside>,
    name: &'static str,
}

const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

impl House {
    pub(super) async fn new(name: &'static str, pull_request: Option<u32>) -> Self {
        let key = LaneKey {
            app: "shop".parse().unwrap(),
            pull_request: pull_request.map(|number| number.to_string().parse().unwrap()),
        };
        let (outside, artifacts) = (Arc::new(Outside::default()), Arc::new(MemoryArtifacts::new()));
        let clock = Arc::new(SettableClock::new(EpochSeconds(1_767_225_600)));
        let lanes = LanePorts {
            lanes: Arc::new(MemoryLaneStore::new()),
            records: Arc::new(MemoryRecords::new()),
            events: Arc::new(CollectedPhaseEvents::new()),
            clock: clock.clone(),
        };
        lanes.lanes.commit(Version(0), &Lane::new(key.clone())).await.unwrap();
        let orchestrator = Orchestrator {
            lanes,
            artifacts: Arc::new(OneStore(artifacts.clone())),
            images: Arc::new(NoImages),
            builds: outside.clone(),
            config: Arc::new(MemoryParameters::new()),
            settings: Arc::new(MemorySettings::default()),
            parameters: Arc::new(MemoryParameters::new()),
            place: outside.clone(),
            review_apps: outside.clone(),
            activity: Arc::new(NoActivityLog),
            notifier: Arc::new(NoNotifier),
        };
        Self { key, orchestrator, artifacts, clock, outside, name }
    }

    pub(super) async fn tell(&self, events: &[Event]) {
        self.orchestrator.handle(&self.key, events).await.unwrap();
    }

    /// Hands in an event as EventBridge carries it.
    pub(super) async fn hear(&self, event: Value) {
        let News::Lane(_) = read(&event.to_string()).unwrap() else { panic!("{event}") };
        self.orchestrator.hear(&read(&event.to_string()).unwrap()).await.unwrap();
    }

    /// Lets time pass, and then everything be asked for the truth.
    pub(super) async fn later(&self, seconds: u64) {
        self.clock.set(self.clock.now().plus(seconds));
        self.orchestrator.sweep().await.unwrap();
    }

    pub(super) async fn begin(&self, number: u64, by_runner: bool) {
        let event = Event::BuildStarted {
            number: BuildNumber(number),
            arn: arn(number),
            commit: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(),
            started: self.clock.now(),
            logs: format!("cloudwatch:///aws/codebuild/shop#{number}"),
            outputs: Outputs { bucket: "shop-artifacts".to_owned(), repository: String::new() },
            by_runner,
        };
        self.tell(&[event]).await;
    }

    /// Brings a build through image and tests.
    pub(super) async fn test(&self, number: u64) {
        self.begin(number, true).await;
        let number = BuildNumber(number);
        self.tell(&[Event::ImageBuilt { number }, Event::TestsPassed { number, by_runner: true }]).await;
    }

    /// Leaves an artifact behind.
    pub(super) async fn leave(&self, key: &str, content: &str) {
        self.artifacts.put(key, Bytes::from(content.to_owned())).await.unwrap();
    }

    /// Leaves all artifacts of a build behind, with a release command and, for review apps, one for their first deploy.
    pub(super) async fn leave_all(&self, number: u64, release: bool) {
        let release = if release { "[deploy]\nrelease_command = \"migrate\"\n" } else { "" };
        let config = format!("{release}[services.web]\ncommand = \"serve\"\n");
        self.leave(&format!("{number}/apppack.toml"), &config).await;
        let image = json!({ "image": { "reference": "registry.example.com/shop", "digest": DIGEST } });
        self.leave(&format!("{number}/build.json"), &image.to_string()).await;
        self.leave(&format!("{number}/build.log"), "layers\n").await;
        self.leave(&format!("{number}/test.log"), "ok\n").await;
    }

    /// CodeBuild is done with a build.
    pub(super) async fn end(&self, number: u64, result: BuildResult) {
        self.tell(&[Event::BuildEnded { number: BuildNumber(number), result }]).await;
    }

    /// Brings a build to where its release command is asked for.
    pub(super) async fn release(&self, number: u64) {
        self.test(number).await;
        self.leave_all(number, true).await;
        self.end(number, BuildResult::Succeeded).await;
    }

    /// Brings a build to where its services are asked to change.
    pub(super) async fn deploy(&self, number: u64) {
        self.test(number).await;
        self.leave_all(number, false).await;
        self.end(number, BuildResult::Succeeded).await;
    }

    pub(super) fn every_task(&self, status: TaskStatus) {
        self.outside.0.lock().unwrap().every_task = Some(status);
    }

    pub(super) fn services(&self, state: ServicesState) {
        self.outside.0.lock().unwrap().services = Some(state);
    }

    pub(super) fn refuse_tasks(&self, cause: &'static str) {
        self.outside.0.lock().unwrap().refuses_tasks = Some(cause);
    }

    pub(super) fn refuse_services(&self, cause: &'static str) {
        self.outside.0.lock().unwrap().refuses_services = Some(cause);
    }

    pub(super) fn be_down(&self) {
        self.outside.0.lock().unwrap().is_down = true;
    }

    /// What is there now of a build.
    pub(super) async fn fixture(&self, number: u64) -> Fixture {
        let lanes = &self.orchestrator.lanes;
        let lane = lanes.lanes.load(&self.key).await.unwrap().unwrap().lane;
        let mut record = lanes.records.build(&self.key, BuildNumber(number)).await.unwrap();
        if record.is_none() {
            // Clients do not see what was skipped; its lane still tells.
            let build = &lane.builds[&BuildNumber(number)];
            record = Some(packhorse::domain::lane::BuildRecord {
                app: self.key.app.to_string(),
                build_number: build.number,
                pr_number: String::new(),
                commit: build.commit.clone(),
                phases: build.phases.clone(),
                ending: build.ending.clone(),
            });
        }
        let record = record.unwrap();
        let failed = record.phases.iter().find(|(_, phase)| phase.state == PhaseState::Failed).map(|(phase, _)| *phase);
        let log = match failed {
            Some(phase @ (Phase::Release | Phase::Postdeploy)) => {
                let content = self.artifacts.get(&format!("{number}/{phase}.log")).await.unwrap();
                content.map(|content| String::from_utf8(content.to_vec()).unwrap())
            }
            _ => None,
        };
        Fixture {
            made_by: format!("cargo test why::stories -- {}", self.name),
            now: self.clock.now(),
            record,
            lane: Some(lane),
            metadata: None,
            log,
        }
    }
}

pub(super) fn arn(number: u64) -> BuildArn {
    format!("arn:aws:codebuild:us-east-1:111122223333:build/shop:{number}").parse().unwrap()
}

#[async_trait]
impl Place for Outside {
    async fn service_arn(&self, lane: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        Ok(format!("arn:aws:ecs:us-east-1:111122223333:service/prod/{}-{process}", lane.resource_prefix()))
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        let mut script = self.0.lock().unwrap();
        if script.is_down {
            return Err(Failure::unavailable("start a task", "ThrottlingException: Rate exceeded"));
        }
        if let Some(cause) = script.refuses_tasks {
            return Err(Failure::refused("start a task", cause));
        }
        let status = script.every_task.clone().unwrap_or(TaskStatus::Starting);
        script.tasks.insert(request.key.clone(), status);
        Ok(())
    }

    async fn task(&self, _: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        let script = self.0.lock().unwrap();
        let asked = script.tasks.get(key).cloned();
        Ok(asked.map_or(TaskStatus::NeverRequested, |asked| script.every_task.clone().unwrap_or(asked)))
    }

    async fn stop_task(&self, _: &LaneKey, _: &TaskKey) -> Result<(), Failure> {
        Ok(())
    }

    async fn update_services(&self, _: &LaneKey, _: &Formation) -> Result<(), Failure> {
        match self.0.lock().unwrap().refuses_services {
            Some(cause) => Err(Failure::refused("update a service", cause)),
            None => Ok(()),
        }
    }

    async fn services(&self, _: &LaneKey, _: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        Ok(self.0.lock().unwrap().services.clone())
    }

    async fn remove(&self, _: &LaneKey, _: u64) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl BuildService for Outside {
    async fn builds(&self, _: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        Ok(Vec::new())
    }

    async fn newest(&self, _: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure> {
        Ok(Vec::new())
    }

    async fn stop(&self, _: &BuildArn) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl ReviewApps for Outside {
    async fn remove(&self, _: &AppName, _: PullRequest) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn removal(&self, _: &AppName, _: PullRequest) -> Result<Option<ReviewAppState>, Failure> {
        Ok(Some(ReviewAppState::Gone))
    }
}
