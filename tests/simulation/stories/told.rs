//! Telling a story once, and what can be seen at its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use packhorse::adapters::memory::{
    CollectedPhaseEvents, MemoryParameters, MemoryRecords, MemorySettings, SettableClock,
};
use packhorse::domain::aws_event::News;
use packhorse::domain::lane::{BuildRecord, DeployStatus, Ending, Lane, Release, TaskKey};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::orchestrator::{LanePorts, Orchestrator};
use packhorse::ports::activity_log::NoActivityLog;
use packhorse::ports::artifacts::OneStore;
use packhorse::ports::notifier::NoNotifier;
use packhorse::ports::records::Records;

use super::super::no_images::NoImages;
use super::world::{Truth, World};

/// All that clients can see in the end, and what runs. When it happened is no part of it: that differs with when it was heard.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    pub(super) builds: BTreeMap<BuildNumber, BuildRecord>,
    pub(super) deploy: Option<DeployStatus>,
    pub(super) live: Option<Release>,
    pub(super) endings: BTreeMap<BuildNumber, Option<Ending>>,
    pub(super) tasks: Vec<TaskKey>,
    pub(super) services: Option<BuildNumber>,
    /// Orders to the services.
    pub(super) updates: usize,
}

/// The sweeps that a lane needs at most to come to rest: a look for each attempt at a task, and for the services.
const SWEEPS: usize = 8;
/// Between sweeps; longer than changes of settings are joined.
const PAUSE: u64 = 15;

/// Nothing here waits for anything outside.
fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// What is there once a story was told.
pub(super) struct Told {
    pub(super) lane: Lane,
    world: Arc<World>,
    records: Arc<MemoryRecords>,
}

/// Says the news in this order, then lets the sweep look, after a search where some of it was lost.
pub(super) fn tell(truth: &Truth, news: &[News], order: &[usize], search: bool) -> Result<Told, String> {
    let world = Arc::new(World::new(truth));
    let records = Arc::new(MemoryRecords::new());
    // Everything is said within a second.
    let clock = Arc::new(SettableClock::new(EpochSeconds(1_773_500_000)));
    let orchestrator = Orchestrator {
        lanes: LanePorts {
            lanes: world.clone(),
            records: records.clone(),
            events: Arc::new(CollectedPhaseEvents::new()),
            clock: clock.clone(),
        },
        artifacts: Arc::new(OneStore(world.clone())),
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
    for index in order {
        now(orchestrator.hear(&news[*index])).map_err(|failure| failure.to_string())?;
    }
    if search {
        let key = world.lane().key;
        now(orchestrator.search(&key.app, std::slice::from_ref(&key))).map_err(|failure| failure.to_string())?;
    }
    for _ in 0..SWEEPS {
        clock.advance(PAUSE);
        if now(orchestrator.sweep()).map_err(|failure| failure.to_string())?.lanes == 0 {
            break;
        }
    }
    let lane = world.lane();
    if lane.is_active() { Err(format!("stuck: {lane:#?}")) } else { Ok(Told { lane, world, records }) }
}

/// Tells a story, and says what can be seen at its end.
pub(super) fn end_after(truth: &Truth, news: &[News], order: &[usize], search: bool) -> Result<End, String> {
    let Told { mut lane, world, records } = tell(truth, news, order, search)?;
    let timeless = |mut record: BuildRecord| {
        for phase in record.phases.values_mut() {
            phase.start = EpochSeconds(0);
            phase.end = phase.end.map(|_| EpochSeconds(0));
        }
        (record.build_number, record)
    };
    if let Some(live) = &mut lane.live {
        live.at = EpochSeconds(0);
        live.plan.sequence = 0;
    }
    let all = now(records.builds(&lane.key, 100)).map_err(|failure| failure.to_string())?;
    let deploy = now(records.deploy_status(&lane.key)).map_err(|failure| failure.to_string())?;
    let (mut tasks, services, updates) = world.seen();
    tasks.sort();
    Ok(End {
        builds: all.into_iter().map(timeless).collect(),
        deploy: deploy.map(|deploy| DeployStatus { last_update: EpochSeconds(0), ..deploy }),
        endings: lane.builds.iter().map(|(number, build)| (*number, build.ending.clone())).collect(),
        live: lane.live,
        tasks,
        services,
        updates,
    })
}
