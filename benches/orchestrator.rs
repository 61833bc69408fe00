//! `scripts/bench orchestrator`: events that lanes take in per second, on each store, with one app and with many, and one sweep
//! over many apps of which few have something in flight.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a program that measures")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use packhorse::adapters::aws::{
    Clients, CloudFormationReviewApps, DynamoLaneStore, DynamoPlaceRecords, DynamoRecords, EcsPlace,
};
use packhorse::adapters::local::{LocalState, SystemClock};
use packhorse::adapters::memory::{
    CollectedPhaseEvents, MemoryArtifacts, MemoryLaneStore, MemoryParameters, MemoryRecords, MemorySettings,
};
use packhorse::domain::lane::{BuildResult, Decision, Event, Lane, LaneKey, Outputs, decide};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::domain::namespace::Namespace;
use packhorse::orchestrator::{LanePorts, Orchestrator};
use packhorse::ports::activity_log::NoActivityLog;
use packhorse::ports::artifacts::OneStore;
use packhorse::ports::lane_store::{LaneStore, Version};
use packhorse::ports::notifier::NoNotifier;
use packhorse::ports::records::Records;
use packhorse::up::local_builds::LocalBuilds;
use support::aws::clients;
use support::dynamodb::Table;
use support::fault_proxy::{Fault, FaultProxy, When};
use support::lanes::{build_arn, lane_at_rest};
use support::parts;

#[path = "../tests/simulation/no_images.rs"]
mod no_images;
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/support"]
mod support {
    pub(crate) mod aws;
    pub(crate) mod dynamodb;
    pub(crate) mod fault_proxy;
    pub(crate) mod http;
    pub(crate) mod lanes;
    pub(crate) mod parts;
}

/// How many apps a store has when it is measured.
const APPS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// How many of the last of these have a build in flight when the sweep comes.
const IN_FLIGHT: usize = 50;
/// Builds that a lane remembers; each lane has as many from the start, so that all are of one size.
const REMEMBERED: u64 = 10;
/// Lanes that are written at once while a store is filled.
const AT_ONCE: usize = 32;
/// A rate that falls below this part of that of one app depends on how many there are.
const FLAT: f64 = 0.5;

/// The orchestrator of apps that all lie in one store. What lies outside says that every build is still under way.
struct House {
    store: &'static str,
    orchestrator: Orchestrator,
    builds: Arc<LocalBuilds>,
    apps: Vec<(LaneKey, u64)>,
}

impl House {
    fn new(store: &'static str, clients: &Clients, lanes: Arc<dyn LaneStore>, records: Arc<dyn Records>) -> Self {
        let (builds, clock) = (Arc::new(LocalBuilds::default()), Arc::new(SystemClock));
        let settings = Arc::new(MemorySettings::default());
        let place_records = Arc::new(DynamoPlaceRecords::new(clients.dynamodb(), "unused"));
        let orchestrator = Orchestrator {
            lanes: LanePorts { lanes, records, events: Arc::new(CollectedPhaseEvents::new()), clock: clock.clone() },
            artifacts: Arc::new(OneStore(Arc::new(MemoryArtifacts::new()))),
            builds: builds.clone(),
            config: Arc::new(MemoryParameters::new()),
            settings: settings.clone(),
            parameters: Arc::new(MemoryParameters::new()),
            activity: Arc::new(NoActivityLog),
            notifier: Arc::new(NoNotifier),
            // A build that is still made or tested asks none of these.
            images: Arc::new(no_images::NoImages),
            place: Arc::new(EcsPlace::new(clients, settings, place_records, clock)),
            review_apps: Arc::new(CloudFormationReviewApps::new(clients, Namespace::default())),
        };
        Self { store, orchestrator, builds, apps: Vec::new() }
    }

    /// Adds apps whose lanes are at rest until there are this many.
    async fn fill(&mut self, count: usize) {
        let new: Vec<LaneKey> =
            (self.apps.len()..count).map(|number| LaneKey::app(format!("app-{number}").parse().unwrap())).collect();
        let lanes = &self.orchestrator.lanes.lanes;
        stream::iter(new.iter().map(|key| async move { lanes.commit(Version(0), &at_rest(key)).await }))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        self.apps.extend(new.into_iter().map(|key| (key, REMEMBERED)));
    }

    /// Hands in the events of builds of random apps, one after the other, for so long; returns events per second.
    async fn events_per_second(&mut self, time: Duration) -> f64 {
        let (began, mut handled) = (Instant::now(), 0_u32);
        while began.elapsed() < time {
            let app = fastrand::usize(..self.apps.len());
            let (key, newest) = &mut self.apps[app];
            *newest += 1;
            for event in build(key, *newest) {
                self.orchestrator.handle(key, &[event]).await.unwrap();
                handled += 1;
            }
        }
        f64::from(handled) / began.elapsed().as_secs_f64()
    }

    /// Begins builds in some of the apps, and leaves them in flight.
    async fn begin(&mut self, count: usize) {
        let apps = self.apps.len();
        for (key, newest) in self.apps.iter_mut().step_by(apps / count).take(count) {
            *newest += 1;
            let [started, ..] = build(key, *newest);
            self.orchestrator.handle(key, &[started]).await.unwrap();
            self.builds.begin(&build_arn(key, *newest));
        }
    }

    /// Sweeps so often; returns the time of the one in the middle.
    async fn sweep(&self, times: usize) -> Duration {
        let mut took = Vec::new();
        for _ in 0..times {
            let began = Instant::now();
            let swept = self.orchestrator.sweep().await.unwrap();
            took.push(began.elapsed());
            assert_eq!((swept.lanes, swept.waiting), (IN_FLIGHT, 0));
        }
        took.sort();
        took[times / 2]
    }
}

fn at_rest(key: &LaneKey) -> Lane {
    let mut lane = Lane::new(key.clone());
    for number in 1..=REMEMBERED {
        lane.builds.extend(lane_at_rest(key, number).builds);
    }
    lane
}

/// What is told of a build from its start to its end.
fn build(key: &LaneKey, number: u64) -> [Event; 4] {
    let arn = build_arn(key, number);
    let number = BuildNumber(number);
    let started = Event::BuildStarted {
        number,
        arn,
        commit: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(),
        started: EpochSeconds(1_767_225_600),
        logs: format!("cloudwatch:///aws/codebuild/{}#6b0e7c1a", key.app),
        outputs: Outputs::default(),
        by_runner: true,
    };
    let result = BuildResult::Failed { phase: None, cause: "exit code 1".to_owned() };
    [
        started,
        Event::ImageBuilt { number },
        Event::TestsPassed { number, by_runner: true },
        Event::BuildEnded { number, result },
    ]
}

/// Decides alone, without a store; returns decisions per second.
fn decisions_per_second(time: Duration) -> f64 {
    let key = LaneKey::app("shop".parse().unwrap());
    let lane = at_rest(&key);
    let (began, mut decided) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        let mut now = lane.clone();
        for event in build(&key, REMEMBERED + 1) {
            decided += 1;
            match decide(&now, &event, EpochSeconds(1_767_225_601)) {
                Decision::Changed(next) => now = *next,
                Decision::Ignored(reason) => panic!("{event:?}: {reason}"),
            }
        }
    }
    f64::from(decided) / began.elapsed().as_secs_f64()
}

async fn measure(time: Duration) -> bool {
    println!("decide alone: {:.0} per second", decisions_per_second(time));
    println!();
    let table = Table::indexed();
    let folder = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalState::open(folder.path()).unwrap());
    let aws = clients(&parts::dynamodb()).await;
    let in_table = |aws: &Clients| -> (Arc<dyn LaneStore>, Arc<dyn Records>) {
        let lanes = DynamoLaneStore::new(aws.dynamodb(), &table.name);
        (Arc::new(lanes), Arc::new(DynamoRecords::new(aws.dynamodb(), &table.name)))
    };
    let (lanes, records) = in_table(&aws);
    let mut houses = [
        House::new("memory", &aws, Arc::new(MemoryLaneStore::new()), Arc::new(MemoryRecords::new())),
        House::new("SQLite", &aws, local.clone(), local),
        House::new("DynamoDB Local", &aws, lanes, records),
    ];
    println!("events per second, one after the other: load, decide, commit, the build's item, mark it written");
    println!("{:<16}{}  10,000 to 1", "apps", APPS.map(|apps| format!("{apps:>8}")).concat());
    let mut flat = true;
    for house in &mut houses {
        let mut rates = Vec::new();
        for apps in APPS {
            house.fill(apps).await;
            rates.push(house.events_per_second(time).await);
        }
        let ratio = rates[APPS.len() - 1] / rates[0];
        flat &= ratio > FLAT;
        let columns: Vec<String> = rates.iter().map(|rate| format!("{rate:>8.0}")).collect();
        println!("{:<16}{}  {ratio:>11.2}", house.store, columns.concat());
    }
    println!();
    println!("one sweep over {} apps, {IN_FLIGHT} of them with a build in flight (median of 5)", APPS[APPS.len() - 1]);
    for house in &mut houses {
        house.begin(IN_FLIGHT).await;
        println!("{:<16}{:>7.1} ms", house.store, house.sweep(5).await.as_secs_f64() * 1000.0);
    }
    // The same once more through something that counts, which takes time of its own.
    let [.., house] = &mut houses;
    let proxy = FaultProxy::before(&parts::dynamodb()).await;
    let (lanes, records) = in_table(&clients(&proxy.url()).await);
    house.orchestrator.lanes = LanePorts { lanes, records, ..house.orchestrator.lanes.clone() };
    house.sweep(1).await;
    println!("requests to DynamoDB: {}", requests(&proxy));
    proxy.forget();
    let refusal = r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"no such index"}"#;
    proxy.fail(When::target("Query"), usize::MAX, Fault::Answer { status: 400, body: refusal.to_owned() });
    house.sweep(1).await;
    println!("on a table without the index `active`: {}", requests(&proxy));
    flat
}

fn requests(proxy: &FaultProxy) -> String {
    let counts = ["Query", "Scan", "GetItem", "PutItem", "UpdateItem"]
        .map(|operation| (operation, proxy.seen(&When::target(operation)).len()));
    let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(operation, count)| format!("{count} {operation}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(3.0);
    let flat = tokio::runtime::Runtime::new().unwrap().block_on(measure(Duration::from_secs_f64(seconds)));
    if flat {
        return ExitCode::SUCCESS;
    }
    eprintln!("a step of one app takes longer the more apps there are");
    ExitCode::FAILURE
}
