//! One run: builds begin, actors come and go, and in the end everything must have come to rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use packhorse::adapters::memory::{MemoryParameters, MemorySettings};
use packhorse::domain::lane::{BuildResult, Ending, Event, LaneKey, Outputs, Phase, build_record};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::orchestrator::advance::advance;
use packhorse::orchestrator::{LanePorts, Orchestrator};
use packhorse::ports::artifacts::OneStore;
use packhorse::ports::failure::Failure;

use super::world::{World, arn};
use crate::support::no_images::NoImages;

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) deployed: usize,
    pub(super) superseded: usize,
    pub(super) failed: usize,
    pub(super) crashes: usize,
}

type Actor = Pin<Box<dyn Future<Output = ()>>>;

/// Prints the seed of a run that panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("replay with PACKHORSE_SIMULATION_SEED={} PACKHORSE_SIMULATION_RUNS=1", self.0);
        }
    }
}

/// Runs one pipeline and panics when a promise is broken.
pub(super) fn run(seed: u64) -> Outcome {
    let _seed = Seed(seed);
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let review_app = rng.u8(..4) == 0;
    let closes = review_app && rng.bool();
    let world = World::new(seed, review_app);
    let orchestrator = orchestrator(&world);
    let key = world.lane().0.key;
    let mut outcome = Outcome::default();
    let mut actors: Vec<Actor> = Vec::new();
    let mut due: Vec<(u64, Vec<Event>)> = Vec::new();
    let mut told = 0;

    for _ in 0..rng.u32(60..220) {
        let now = world.state().now + rng.u64(0..12);
        world.state().now = now;
        tell(&world, &mut told, &mut rng, &mut due, &mut actors, &orchestrator, &key);
        if closes && rng.u8(..80) == 0 {
            due.push((now, vec![Event::PullRequestClosed { at: EpochSeconds(now) }]));
        }
        let (ripe, later): (Vec<_>, Vec<_>) = std::mem::take(&mut due).into_iter().partition(|(at, _)| *at <= now);
        due = later;
        for (_, events) in ripe {
            actors.push(handling(&orchestrator, &key, events));
        }
        if rng.u8(..12) == 0 {
            actors.push(sweeping(&orchestrator));
        }
        for _ in 0..rng.u8(..24) {
            if actors.is_empty() {
                break;
            }
            let chosen = rng.usize(..actors.len());
            let crashed = rng.u16(..150) == 0;
            outcome.crashes += usize::from(crashed);
            if crashed || poll(&mut actors[chosen]) {
                drop(actors.swap_remove(chosen));
            }
        }
    }
    come_to_rest(&world, &orchestrator, actors);
    judge(&world, &mut outcome);
    outcome
}

fn orchestrator(world: &World) -> Arc<Orchestrator> {
    let world = Arc::new(world.clone());
    Arc::new(Orchestrator {
        lanes: LanePorts { lanes: world.clone(), records: world.clone(), events: world.clone(), clock: world.clone() },
        artifacts: Arc::new(OneStore(world.clone())),
        images: Arc::new(NoImages),
        builds: world.clone(),
        config: Arc::new(MemoryParameters::new()),
        settings: Arc::new(MemorySettings::default()),
        parameters: Arc::new(MemoryParameters::new()),
        place: world.clone(),
        review_apps: world,
    })
}

/// Says what happened since `told`: by the runner as facts, by CodeBuild as events that are lost, copied and delayed.
fn tell(
    world: &World,
    told: &mut u64,
    rng: &mut fastrand::Rng,
    due: &mut Vec<(u64, Vec<Event>)>,
    actors: &mut Vec<Actor>,
    orchestrator: &Arc<Orchestrator>,
    key: &LaneKey,
) {
    let (now, scripts) = {
        let state = world.state();
        (state.now, state.scripts.clone())
    };
    let since = std::mem::replace(told, now);
    let just = |moment: u64| moment > since && moment <= now;
    for (number, script) in scripts {
        let started = |by_runner| Event::BuildStarted {
            number,
            arn: arn(number),
            commit: String::new(),
            started: EpochSeconds(script.started),
            logs: "cloudwatch://group#stream".to_owned(),
            outputs: Outputs::default(),
            by_runner,
        };
        let mut send = |events: Vec<Event>| {
            // 15 % get lost, 15 % come twice.
            let copies = [0, 1, 1, 1, 1, 1, 2][rng.usize(..7)];
            due.extend((0..copies).map(|_| (now + rng.u64(0..150), events.clone())));
        };
        if just(script.started) {
            send(vec![started(false)]);
            if script.runner {
                actors.push(running(world, orchestrator, key, number));
            }
        }
        if !script.runner && just(script.built) && script.fails_in != Some("build") {
            send(vec![started(false), Event::ImageBuilt { number }]);
        }
        let ended = world.state().killed.get(&number).copied().unwrap_or(script.ended);
        if just(ended) {
            let result = world.state().facts(number).and_then(|facts| facts.result).unwrap_or(BuildResult::Succeeded);
            send(vec![started(false), Event::BuildEnded { number, result }]);
        }
    }
}

/// The runner of one build: commits its facts in order, and fails the build when it cannot.
fn running(world: &World, orchestrator: &Arc<Orchestrator>, key: &LaneKey, number: BuildNumber) -> Actor {
    /// A runner that is killed takes its build along.
    struct Alive(World, BuildNumber, bool);
    impl Drop for Alive {
        fn drop(&mut self) {
            if !self.2 {
                let mut state = self.0.state();
                let now = state.now;
                state.killed.entry(self.1).or_insert(now + 1);
            }
        }
    }
    let (world, lanes, key) = (world.clone(), orchestrator.lanes.clone(), key.clone());
    Box::pin(async move {
        let script = world.state().scripts[&number].clone();
        let mut alive = Alive(world.clone(), number, false);
        let started = Event::BuildStarted {
            number,
            arn: arn(number),
            commit: format!("commit{number}"),
            started: EpochSeconds(script.started),
            logs: "cloudwatch://group#stream".to_owned(),
            outputs: Outputs::default(),
            by_runner: true,
        };
        let outcome = match script.fails_in {
            Some("build") => vec![Event::BuildFailed { number, phase: Phase::Build, cause: "no".to_owned() }],
            Some("test") => {
                vec![
                    Event::ImageBuilt { number },
                    Event::BuildFailed { number, phase: Phase::Test, cause: "no".to_owned() },
                ]
            }
            _ => vec![Event::ImageBuilt { number }, Event::TestsPassed { number, by_runner: true }],
        };
        for event in std::iter::once(started).chain(outcome) {
            for attempt in 0.. {
                match advance(&lanes, &key, &event).await {
                    Ok(_) => break,
                    Err(Failure::Unavailable { .. }) if attempt < 3 => {}
                    Err(_) => return,
                }
            }
        }
        alive.2 = true;
    })
}

fn handling(orchestrator: &Arc<Orchestrator>, key: &LaneKey, events: Vec<Event>) -> Actor {
    let (orchestrator, key) = (orchestrator.clone(), key.clone());
    Box::pin(async move {
        let _ = orchestrator.handle(&key, &events).await;
    })
}

fn sweeping(orchestrator: &Arc<Orchestrator>) -> Actor {
    let orchestrator = orchestrator.clone();
    Box::pin(async move {
        let _ = orchestrator.sweep().await;
    })
}

fn poll(actor: &mut Actor) -> bool {
    actor.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Lets everything end without further faults: the builds in CodeBuild, then the lane by sweeps alone.
fn come_to_rest(world: &World, orchestrator: &Arc<Orchestrator>, actors: Vec<Actor>) {
    world.state().faults = false;
    for mut actor in actors {
        while !poll(&mut actor) {}
    }
    // Builds that nobody ever heard of are found by whoever lists a project's builds; here they are told once more.
    for _ in 0..400 {
        let now = {
            let mut state = world.state();
            state.now += 120;
            state.now
        };
        let key = world.lane().0.key;
        let numbers: Vec<BuildNumber> = world.state().scripts.keys().copied().collect();
        for number in numbers {
            let facts = world.state().facts(number);
            let unheard = !world.lane().0.builds.contains_key(&number);
            if let (Some(facts), true) = (facts, unheard && now < 20_000) {
                let started = Event::BuildStarted {
                    number,
                    arn: facts.arn,
                    commit: facts.commit,
                    started: facts.started,
                    logs: facts.logs,
                    outputs: facts.outputs,
                    by_runner: false,
                };
                let mut actor = handling(orchestrator, &key, vec![started]);
                while !poll(&mut actor) {}
            }
        }
        let mut sweep = sweeping(orchestrator);
        while !poll(&mut sweep) {}
        if now > 20_000 && !world.lane().0.is_active() {
            return;
        }
    }
}

fn judge(world: &World, outcome: &mut Outcome) {
    let (lane, _) = world.lane();
    let state = world.state();
    assert!(state.violations.is_empty(), "{:#?}", state.violations);
    assert!(!lane.is_active(), "stuck: {lane:#?}");
    for (number, build) in &lane.builds {
        match &build.ending {
            Some(Ending::Deployed) => outcome.deployed += 1,
            Some(Ending::Superseded { .. }) => outcome.superseded += 1,
            Some(Ending::Failed { .. }) => outcome.failed += 1,
            _ => {}
        }
        let seen = state.items.get(number).and_then(|(_, item)| item.clone());
        assert_eq!(seen, build_record(&lane, *number), "build {number} is not as clients see it");
    }
    assert!(lane.closed.is_none() || state.removed, "the pull request was closed and its review app is still there");
}
