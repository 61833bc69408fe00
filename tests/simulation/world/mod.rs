//! What lies outside a lane, as faulty as it may be, after what AWS says of its services: a store, `CodeBuild`, tasks, services,
//! parameters and stacks.
//!
//! It knows nothing of the lane's rules. Every call pauses before and after its effect, so that whoever makes it can be stopped
//! there for good; before the effect it may not arrive, and after it its answer may get lost.

mod builds;
mod place;
mod store;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use packhorse::domain::lane::{
    BuildRecord, DeployStatus, Event, Lane, LaneKey, Policy, Superseding, TaskExit, TaskKey,
};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::clock::Clock;
use packhorse::ports::failure::Failure;

pub(super) use builds::{Script, arn};
pub(super) use place::{Services, Task};

pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) now: u64,
    pub(super) faults: bool,
    pub(super) scripts: BTreeMap<BuildNumber, Script>,
    /// Builds that were stopped or whose runner was killed: `CodeBuild` fails them.
    pub(super) killed: BTreeMap<BuildNumber, u64>,
    /// The lane with its version.
    pub(super) lane: (Lane, u64),
    pub(super) items: BTreeMap<BuildNumber, (u64, Option<BuildRecord>)>,
    pub(super) deploy_item: Option<(u64, DeployStatus)>,
    pub(super) tasks: BTreeMap<TaskKey, Task>,
    pub(super) services: Services,
    /// The version of the app's parameters.
    pub(super) settings: u64,
    /// How often they were changed, each burst once.
    pub(super) bursts: u64,
    /// Builds that somebody wants back.
    pub(super) wanted_back: Vec<BuildNumber>,
    pub(super) stack: Stack,
    /// When the pull request was closed, each time; builds that begin after the first are of one that was opened again.
    pub(super) closes: Vec<u64>,
    /// Ends of tasks that ECS has yet to tell of.
    pub(super) ends: Vec<(u64, TaskKey, TaskExit)>,
    /// Lines of the activity log, by id.
    pub(super) lines: BTreeMap<String, String>,
    pub(super) violations: Vec<String>,
}

/// The stack of a review app.
#[derive(Debug, Default)]
pub(super) struct Stack {
    /// When its deletion ends, and whether that succeeds.
    pub(super) deletion: Option<(u64, bool)>,
    pub(super) gone: bool,
    /// Whether its deletion has ever begun.
    removed: bool,
}

#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

/// Gives way once.
struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl World {
    /// `pace` is how many times more lies between builds than their own speed makes likely.
    pub(super) fn new(seed: u64, review_app: bool, pace: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let scripts =
            (1..=rng.u64(1..=4)).map(|number| (BuildNumber(number), Script::draw(&mut rng, number, pace))).collect();
        let pull_request = review_app.then(|| "12".parse().unwrap());
        let mut lane = Lane::new(LaneKey { app: "shop".parse().unwrap(), pull_request });
        let superseding = [Superseding::Finish, Superseding::Cancel, Superseding::ReplacePending][rng.usize(..3)];
        lane.policy = Policy { superseding, minutes: BTreeMap::new() };
        if rng.u8(..4) == 0 {
            // A patient owner must not get a second task either.
            lane.policy.minutes.insert(packhorse::domain::lane::Phase::Release, 300);
        }
        Self(Arc::new(Mutex::new(State {
            rng,
            now: 1_000_000,
            faults: true,
            scripts,
            killed: BTreeMap::new(),
            lane: (lane, 1),
            items: BTreeMap::new(),
            deploy_item: None,
            tasks: BTreeMap::new(),
            services: Services::default(),
            settings: 1,
            bursts: 0,
            wanted_back: Vec::new(),
            stack: Stack::default(),
            closes: Vec::new(),
            ends: Vec::new(),
            lines: BTreeMap::new(),
            violations: Vec::new(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One call to the outside: it may not arrive, and its answer may get lost.
    async fn call<T>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        Pause(false).await;
        let answer = {
            let mut state = self.state();
            if state.unlucky(4) {
                return Err(Failure::unavailable(what, "throttled"));
            }
            effect(&mut state)
        };
        Pause(false).await;
        if self.state().unlucky(2) { Err(Failure::unavailable(what, "timed out")) } else { answer }
    }
}

impl State {
    fn unlucky(&mut self, percent: u8) -> bool {
        self.faults && self.rng.u8(..100) < percent
    }

    /// Order of builds as people see it.
    pub(super) fn order(&self, number: BuildNumber) -> (u64, BuildNumber) {
        (self.scripts[&number].started, number)
    }

    pub(super) fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// What ECS tells of tasks now; each end may come again.
    pub(super) fn task_events(&mut self) -> Vec<Event> {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.ends).into_iter().partition(|(at, ..)| *at <= now);
        self.ends = later;
        let due: Vec<(u64, TaskKey, TaskExit)> = due;
        due.into_iter().map(|(_, task, exit)| Event::TaskEnded { task, exit, logs: String::new() }).collect()
    }
}

impl Clock for World {
    fn now(&self) -> EpochSeconds {
        EpochSeconds(self.state().now)
    }
}
