//! CodeBuild's own events of several builds, in every order and with copies: a world that agrees comes to one end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use packhorse::adapters::memory::{
    CollectedPhaseEvents, MemoryArtifacts, MemoryLaneStore, MemoryParameters, MemoryRecords, MemorySettings,
    SettableClock,
};
use packhorse::domain::aws_event::{self, Addressed, News};
use packhorse::domain::formation::Formation;
use packhorse::domain::lane::{
    BuildRecord, BuildResult, DeployStatus, Ending, Lane, LaneKey, Phase, PhaseState, Release, ReviewAppState,
    ServicesState, TaskKey,
};
use packhorse::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds, ProcessType, PullRequest};
use packhorse::orchestrator::{LanePorts, Orchestrator};
use packhorse::ports::activity_log::NoActivityLog;
use packhorse::ports::artifacts::{ArtifactStore, OneStore};
use packhorse::ports::build_service::{BuildFacts, BuildService};
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::{LaneStore, Version};
use packhorse::ports::notifier::NoNotifier;
use packhorse::ports::place::{Place, TaskRequest, TaskStatus};
use packhorse::ports::records::Records;
use packhorse::ports::review_apps::ReviewApps;

use super::no_images::NoImages;

/// Build 42 succeeds, 43 fails in its image build, 44 is stopped. The hint is ours.
const SAMPLES: [&str; 7] = [
    "codebuild-state-in-progress",
    "codebuild-phase-build-succeeded",
    "codebuild-state-succeeded",
    "packhorse-phase-change",
    "codebuild-phase-build-failed",
    "codebuild-state-failed",
    "codebuild-state-stopped",
];

fn sample(name: &str) -> Addressed {
    let path = format!("{}/tests/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    match aws_event::read(&std::fs::read_to_string(path).unwrap()).unwrap() {
        News::Lane(addressed) => addressed,
        other => panic!("{other:?}"),
    }
}

/// All that clients can see in the end, and what runs.
#[derive(Debug, Clone, PartialEq)]
struct End {
    builds: BTreeMap<BuildNumber, BuildRecord>,
    deploy: Option<DeployStatus>,
    live: Option<Release>,
    endings: BTreeMap<BuildNumber, Option<Ending>>,
    tasks: Vec<TaskKey>,
    services: Option<BuildNumber>,
}

/// What lies outside, in perfect order: what CodeBuild says of its builds is what its events say.
#[derive(Default)]
struct World {
    tasks: Mutex<Vec<TaskKey>>,
    services: Mutex<Option<BuildNumber>>,
}

#[async_trait]
impl Place for World {
    async fn service_arn(&self, lane: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        Ok(format!("arn:aws:ecs:us-east-1:111122223333:service/prod/{lane}-{process}"))
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        let mut tasks = self.tasks.lock().unwrap();
        if !tasks.contains(&request.key) {
            tasks.push(request.key.clone());
        }
        Ok(())
    }

    async fn task(&self, _: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        let asked = self.tasks.lock().unwrap().contains(key);
        Ok(if asked {
            TaskStatus::Exited { code: 0, reason: None, log: Some(b"migrated\n".to_vec()) }
        } else {
            TaskStatus::NeverRequested
        })
    }

    async fn stop_task(&self, _: &LaneKey, _: &TaskKey) -> Result<(), Failure> {
        Ok(())
    }

    async fn update_services(&self, _: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        *self.services.lock().unwrap() = Some(formation.build);
        Ok(())
    }

    async fn services(&self, _: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        Ok((*self.services.lock().unwrap() == Some(build)).then_some(ServicesState::Steady))
    }

    async fn remove(&self, _: &LaneKey) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl BuildService for World {
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        Ok(truth().into_iter().filter(|facts| arns.contains(&facts.arn)).collect())
    }

    async fn newest(&self, _: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure> {
        Ok(Vec::new())
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

/// The three builds as CodeBuild knows them after their ends, read from their last events.
fn truth() -> Vec<BuildFacts> {
    use packhorse::domain::lane::Event;
    let ends = ["codebuild-state-succeeded", "codebuild-state-failed", "codebuild-state-stopped"];
    let facts = ends.map(|name| {
        let events = sample(name).events;
        let [Event::BuildStarted { number, arn, started, logs, outputs, .. }, Event::BuildEnded { result, .. }] =
            &events[..]
        else {
            panic!("{events:?}")
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
    });
    facts.to_vec()
}

/// Nothing here waits for anything outside.
fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// Hands these events over in this order, then sweeps until all is at rest.
fn end_after(events: &[&Addressed]) -> End {
    let key = sample(SAMPLES[0]).lane;
    let (lanes, records, artifacts) =
        (Arc::new(MemoryLaneStore::new()), Arc::new(MemoryRecords::new()), Arc::new(MemoryArtifacts::new()));
    let world = Arc::new(World::default());
    now(lanes.commit(Version(0), &Lane::new(key.clone()))).unwrap();
    for (name, content) in [
        ("build.log", "===> BUILDING\n"),
        ("test.log", "+ test\n"),
        ("apppack.toml", "[services.web]\ncommand = \"serve\"\n[deploy]\nrelease_command = \"migrate\"\n"),
        ("build.json", r#"{"image": {"reference": "registry.test/shop", "digest": "sha256:00"}}"#),
    ] {
        now(artifacts.put(&format!("42/{name}"), Bytes::from(content))).unwrap();
    }
    now(artifacts.put("43/build.log", Bytes::from("no\n"))).unwrap();
    let orchestrator = Orchestrator {
        lanes: LanePorts {
            lanes: lanes.clone(),
            records: records.clone(),
            events: Arc::new(CollectedPhaseEvents::new()),
            // Everything happens within a second: when an event arrives is no part of the end.
            clock: Arc::new(SettableClock::new(EpochSeconds(1_773_500_000))),
        },
        artifacts: Arc::new(OneStore(artifacts)),
        images: Arc::new(NoImages),
        builds: world.clone(),
        config: Arc::new(MemoryParameters::new()),
        settings: Arc::new(MemorySettings::default()),
        parameters: Arc::new(MemoryParameters::new()),
        place: world.clone(),
        review_apps: world.clone(),
        activity: Arc::new(NoActivityLog),
        notifier: Arc::new(NoNotifier),
    };
    for event in events {
        assert_eq!(event.lane, key);
        now(orchestrator.handle(&key, &event.events)).unwrap();
    }
    for _ in 0..10 {
        if now(orchestrator.sweep()).unwrap().lanes == 0 {
            break;
        }
    }
    let lane = now(lanes.load(&key)).unwrap().unwrap().lane;
    assert!(!lane.is_active(), "stuck: {lane:#?}");
    let all = now(records.builds(&key, 100)).unwrap();
    let tasks = world.tasks.lock().unwrap().clone();
    let services = *world.services.lock().unwrap();
    End {
        builds: all.into_iter().map(|record| (record.build_number, record)).collect(),
        deploy: now(records.deploy_status(&key)).unwrap(),
        endings: lane.builds.iter().map(|(number, build)| (*number, build.ending.clone())).collect(),
        live: lane.live,
        tasks,
        services,
    }
}

/// Calls `each` with every order of the items.
fn orders<T: Copy>(items: &mut [T], from: usize, each: &mut impl FnMut(&[T])) {
    if from == items.len() {
        return each(items);
    }
    for chosen in from..items.len() {
        items.swap(from, chosen);
        orders(items, from + 1, each);
        items.swap(from, chosen);
    }
}

#[test]
fn codebuilds_events_in_every_order_come_to_one_end() {
    let samples = SAMPLES.map(sample);
    let in_order: Vec<&Addressed> = samples.iter().collect();
    let expected = end_after(&in_order);
    assert_eq!(expected.services, Some(BuildNumber(42)), "{expected:#?}");
    assert_eq!(expected.endings[&BuildNumber(42)], Some(Ending::Deployed));
    assert!(matches!(&expected.endings[&BuildNumber(43)], Some(Ending::Failed { phase: Phase::Build, .. })));
    assert!(
        matches!(&expected.endings[&BuildNumber(44)], Some(Ending::Failed { cause, .. }) if cause == "the build was stopped")
    );
    let phases = |number| &expected.builds[&BuildNumber(number)].phases;
    assert!(phases(42).len() == 5 && phases(42).values().all(|phase| phase.state == PhaseState::Succeeded));
    assert_eq!(phases(43).len(), 1);
    let mut seen = 0;
    orders(&mut in_order.clone(), 0, &mut |order| {
        seen += 1;
        let end = end_after(order);
        assert!(end == expected, "{:#?}\n{end:#?}\n{expected:#?}", order.iter().map(|e| &e.events).collect::<Vec<_>>());
    });
    assert_eq!(seen, 5040);
}

#[test]
fn copies_and_delays_of_codebuilds_events_change_nothing() {
    let samples = SAMPLES.map(sample);
    let expected = end_after(&samples.iter().collect::<Vec<_>>());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..500 {
        let mut order: Vec<&Addressed> = samples.iter().collect();
        order.extend((0..rng.usize(1..15)).map(|_| &samples[rng.usize(..samples.len())]));
        rng.shuffle(&mut order);
        let end = end_after(&order);
        assert!(end == expected, "{:#?}\n{end:#?}\n{expected:#?}", order.iter().map(|e| &e.events).collect::<Vec<_>>());
    }
}
