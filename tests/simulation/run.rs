//! One run: builds begin, settings change, actors come and go, and in the end everything must have come to rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use packhorse::domain::aws_event::{Addressed, News};
use packhorse::domain::lane::{BuildResult, Ending, Event, LaneKey, Outputs, Phase, PhaseState};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::orchestrator::advance::advance;
use packhorse::orchestrator::{LanePorts, Orchestrator};
use packhorse::ports::artifacts::OneStore;
use packhorse::ports::failure::Failure;
use packhorse::ports::notifier::NoNotifier;

use super::no_images::NoImages;
use super::world::{World, arn};

/// What came of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) deployed: usize,
    pub(super) superseded: usize,
    pub(super) failed: usize,
    pub(super) crashes: usize,
    pub(super) restarts: u64,
    pub(super) rollbacks: usize,
    pub(super) removed: usize,
}

/// Seconds that a function of AWS lives at most.
const LIFETIME: u64 = 15 * 60;

struct Actor {
    born: u64,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

struct Run {
    world: World,
    orchestrator: Arc<Orchestrator>,
    key: LaneKey,
    rng: fastrand::Rng,
    actors: Vec<Actor>,
    /// What is on its way to the orchestrator.
    due: Vec<(u64, Said)>,
    told: u64,
    crashes: usize,
}

#[derive(Clone)]
enum Said {
    Events(Vec<Event>),
    /// Something that only gives a reason to look.
    Look,
}

/// Runs one pipeline; says what promise it broke.
pub(super) fn run(seed: u64) -> Result<Outcome, String> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let review_app = rng.u8(..4) == 0;
    let closes = review_app && rng.u8(..4) > 0;
    // How often in a hundred steps an older build is wanted back.
    let regrets = if rng.u8(..4) == 0 { 10 } else { 1 };
    // Mostly builds crowd; else each has come to its end before the next begins.
    let pace = if rng.u8(..4) == 0 { 10 } else { 1 };
    let world = World::new(seed, review_app, pace);
    let orchestrator = orchestrator(&world);
    let key = world.state().lane.0.key.clone();
    let mut run = Run { world, orchestrator, key, rng, actors: Vec::new(), due: Vec::new(), told: 0, crashes: 0 };
    run.told = run.world.state().now;
    for _ in 0..run.rng.u32(50..150) {
        run.pass_time(pace);
        run.tell();
        if closes && run.rng.u8(..50) == 0 {
            let at = EpochSeconds(run.world.state().now);
            run.world.state().closes.push(at.0);
            run.send(&[Event::PullRequestClosed { at }], 1);
        }
        run.change_settings();
        run.deliver();
        run.begin_others(regrets);
        run.poll_some();
    }
    run.come_to_rest()?;
    run.judge()
}

fn orchestrator(world: &World) -> Arc<Orchestrator> {
    let world = Arc::new(world.clone());
    Arc::new(Orchestrator {
        lanes: LanePorts { lanes: world.clone(), records: world.clone(), events: world.clone(), clock: world.clone() },
        artifacts: Arc::new(OneStore(world.clone())),
        images: Arc::new(NoImages),
        builds: world.clone(),
        config: world.clone(),
        settings: world.clone(),
        parameters: world.clone(),
        place: world.clone(),
        review_apps: world.clone(),
        activity: world,
        notifier: Arc::new(NoNotifier),
    })
}

impl Run {
    /// Mostly seconds, sometimes an hour in which nobody does anything.
    fn pass_time(&mut self, pace: u64) {
        let passed = if self.rng.u8(..150) == 0 { self.rng.u64(..6000) } else { self.rng.u64(..16 * pace) };
        let mut state = self.world.state();
        state.now += passed;
        let now = state.now;
        drop(state);
        self.actors.retain(|actor| actor.born + LIFETIME > now);
    }

    fn begin(&mut self, work: impl Future<Output = ()> + 'static) {
        let born = self.world.state().now;
        self.actors.push(Actor { born, work: Box::pin(work) });
    }

    fn send(&mut self, events: &[Event], copies: usize) {
        let now = self.world.state().now;
        for _ in 0..copies {
            self.due.push((now + self.rng.u64(..150), Said::Events(events.to_vec())));
        }
    }

    /// 15 % get lost, 15 % come twice.
    fn copies(&mut self) -> usize {
        [0, 1, 1, 1, 1, 1, 2][self.rng.usize(..7)]
    }

    /// Says what happened since the last time: by the runner as facts, by AWS as events that are lost, copied and delayed.
    fn tell(&mut self) {
        let now = self.world.state().now;
        let since = std::mem::replace(&mut self.told, now);
        let just = |moment: u64| moment > since && moment <= now;
        let scripts: Vec<_> = {
            let state = self.world.state();
            let with_end =
                state.scripts.iter().map(|(number, script)| (number, script, state.killed.get(number).copied()));
            let news = with_end.filter(|(_, script, killed)| {
                just(script.started) || just(script.built) || just(killed.unwrap_or(script.ended))
            });
            news.map(|(number, script, killed)| (*number, script.clone(), killed)).collect()
        };
        for (number, script, killed) in scripts {
            if just(script.started) {
                if script.runner {
                    self.begin(running(self.world.clone(), self.orchestrator.lanes.clone(), self.key.clone(), number));
                }
                if script.heard {
                    let copies = self.copies();
                    self.send(&[started(number, script.started, false)], copies);
                }
            }
            if !script.runner && script.heard && just(script.built) && script.fails_in != Some("build") {
                let copies = self.copies();
                self.send(&[started(number, script.started, false), Event::ImageBuilt { number }], copies);
            }
            if script.heard && just(killed.unwrap_or(script.ended)) {
                let result = self.world.state().facts(number).and_then(|facts| facts.result);
                let result = result.unwrap_or(BuildResult::Succeeded);
                let copies = self.copies();
                self.send(&[started(number, script.started, false), Event::BuildEnded { number, result }], copies);
            }
        }
        let ends = self.world.state().task_events();
        for end in ends {
            self.due.push((now, Said::Events(vec![end])));
        }
        // Deployments are told of at any time, whatever they mean.
        if self.rng.u8(..20) == 0 {
            self.due.push((now, Said::Look));
        }
    }

    /// A burst of changes, each with its event.
    fn change_settings(&mut self) {
        if self.rng.u8(..40) > 0 {
            return;
        }
        self.world.state().bursts += 1;
        for _ in 0..self.rng.u8(1..4) {
            self.world.state().settings += 1;
            let copies = self.copies();
            let now = self.world.state().now;
            // All within the time in which changes are joined.
            for _ in 0..copies {
                self.due.push((now + self.rng.u64(..6), Said::Events(vec![Event::SettingsChanged])));
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.world.state().now;
        let (ripe, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        for (_, said) in ripe {
            let (orchestrator, key) = (self.orchestrator.clone(), self.key.clone());
            self.begin(async move {
                let look = matches!(said, Said::Look);
                let events = if let Said::Events(events) = said { events } else { Vec::new() };
                let _ = orchestrator.hear(&News::Lane(Addressed { lane: key, events, look })).await;
            });
        }
    }

    /// Sweeps, searches and people come when they like.
    fn begin_others(&mut self, regrets: u8) {
        let orchestrator = self.orchestrator.clone();
        match self.rng.u8(..100) {
            0..9 => self.begin(async move {
                let _ = orchestrator.sweep().await;
            }),
            9 => {
                let key = self.key.clone();
                self.begin(async move {
                    let _ = orchestrator.search(&key.app, std::slice::from_ref(&key)).await;
                });
            }
            drawn if (10..10 + regrets).contains(&drawn) => {
                let state = self.world.state();
                let now = state.now;
                let older: Vec<BuildNumber> =
                    state.scripts.keys().copied().filter(|number| state.scripts[number].started < now).collect();
                drop(state);
                if older.is_empty() {
                    return;
                }
                let to = older[self.rng.usize(..older.len())];
                self.world.state().wanted_back.push(to);
                let key = self.key.clone();
                self.begin(async move {
                    let _ = orchestrator.roll_back(&key, to).await;
                });
            }
            _ => {}
        }
    }

    fn poll_some(&mut self) {
        for _ in 0..self.rng.u8(..32) {
            if self.actors.is_empty() {
                return;
            }
            let chosen = self.rng.usize(..self.actors.len());
            let crashed = self.rng.u16(..200) == 0;
            self.crashes += usize::from(crashed);
            if crashed || poll(&mut self.actors[chosen]) {
                drop(self.actors.swap_remove(chosen));
            }
        }
    }

    fn search(&mut self) {
        let key = self.key.clone();
        self.at_once(async |orchestrator| drop(orchestrator.search(&key.app, std::slice::from_ref(&key)).await));
    }

    /// Lets everything end without further faults: the builds in `CodeBuild`, then the lane by sweeps alone.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.world.state().faults = false;
        for actor in &mut std::mem::take(&mut self.actors) {
            while !poll(actor) {}
        }
        self.due.clear();
        // What no event told of is found by a search.
        self.search();
        let mut pause = 10;
        // One last change, of which an event tells: no search must be needed to follow it.
        let change = self.rng.u32(..12);
        for round in 0..140 {
            if round == change {
                self.world.state().settings += 1;
                let key = self.key.clone();
                let events = [Event::SettingsChanged];
                self.at_once(async |orchestrator| drop(orchestrator.handle(&key, &events).await));
            }
            let builds_over = {
                let mut state = self.world.state();
                state.now += pause;
                let now = state.now;
                state.scripts.values().all(|script| script.ended < now)
            };
            self.at_once(async |orchestrator| drop(orchestrator.sweep().await));
            if !self.world.state().lane.0.is_active() && builds_over && round > change {
                if !self.unheard() {
                    return Ok(());
                }
                self.search();
            }
            pause = (pause + 30).min(1800);
        }
        Err(format!("stuck: {:#?}", self.world.state().lane.0))
    }

    /// Whether there is a build that nobody has told the lane of.
    fn unheard(&self) -> bool {
        let state = self.world.state();
        let lane = &state.lane.0;
        let closed = state.closes.last().copied();
        let known = |number: &BuildNumber| lane.builds.contains_key(number) || lane.closed.is_some();
        state.scripts.iter().any(|(number, script)| !known(number) && closed < Some(script.started))
    }

    fn at_once(&self, work: impl AsyncFnOnce(Arc<Orchestrator>)) {
        let mut work = Box::pin(work(self.orchestrator.clone()));
        while work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    }

    fn judge(&self) -> Result<Outcome, String> {
        let state = self.world.state();
        let lane = &state.lane.0;
        let mut broken = state.violations.clone();
        let mut outcome = Outcome {
            crashes: self.crashes,
            restarts: state.services.restarts,
            removed: usize::from(state.stack.gone),
            ..Outcome::default()
        };
        for (number, build) in &lane.builds {
            match &build.ending {
                Some(Ending::Deployed) => outcome.deployed += 1,
                Some(Ending::Superseded { .. }) => outcome.superseded += 1,
                Some(Ending::Failed { .. }) => outcome.failed += 1,
                _ => {}
            }
            let seen = state.items.get(number).and_then(|(_, item)| item.as_ref());
            let skipped = matches!(build.ending, Some(Ending::Skipped { .. }));
            let right = seen.map_or(skipped, |seen| seen.phases == build.phases && seen.ending == build.ending);
            if !right {
                broken.push(format!("build {number} is not as clients see it: {seen:#?}"));
            }
            let told = state.lines.values().filter(|line| line.starts_with(&format!("build {number} "))).count();
            if told == 0 {
                broken.push(format!("nobody was told of the end of build {number}: {:#?}", state.lines));
            }
        }
        // Changed settings may still be on their way when a release that came after them has failed already.
        let running = state.services.running(u64::MAX);
        if let Some(live) = &lane.live {
            outcome.rollbacks =
                usize::from(lane.builds.get(&live.build).is_some_and(|build| build.started != live.started));
            let shown = state.deploy_item.as_ref().map(|(_, item)| item);
            let failed = lane.failed_deploy;
            let right = shown.is_some_and(|item| {
                item.build_number == failed.unwrap_or(live.build) && item.failed == failed.is_some()
            });
            if !right {
                broken.push(format!("the deploy is not as clients see it: {shown:#?}"));
            }
            match running {
                Some(running) if running.build == live.build => {
                    if running.settings != state.settings && !state.services.broken.contains(&state.settings) {
                        broken
                            .push(format!("the services run with settings {} of {}", running.settings, state.settings));
                    }
                }
                // With settings that break it, ECS goes back to what came to rest last, be it a deploy that had been given up.
                Some(_) if state.services.broken.contains(&state.settings) => {}
                running => broken.push(format!("build {} is live, and {running:?} runs", live.build)),
            }
        }
        // One restart per burst, and one more at most; a deploy that failed may leave one behind.
        let fair = 2 * (state.bursts + 1) + u64::try_from(state.services.broken.len()).unwrap_or(0);
        if outcome.restarts
            > fair + u64::try_from(outcome.rollbacks).unwrap_or(0) + u64::try_from(state.wanted_back.len()).unwrap_or(0)
        {
            broken.push(format!("{} restarts for {} bursts", outcome.restarts, state.bursts));
        }
        if lane.closed.is_some() && !state.stack.gone && lane.removal.is_none() && !gave_up(&state.lines) {
            broken.push("the pull request was closed and its review app is still there".to_owned());
        }
        for (number, script) in &state.scripts {
            let known = lane.builds.contains_key(number) || lane.forgotten >= Some(*number);
            if !known && lane.key.pull_request.is_none() {
                broken.push(format!("build {number} was never heard of: {script:?}"));
            }
            let deploy = lane.builds.get(number).and_then(|build| build.phases.get(&Phase::Deploy));
            if script.fails_in.is_some() && deploy.is_some_and(|deploy| deploy.state == PhaseState::Succeeded) {
                broken.push(format!("build {number} was deployed although it failed"));
            }
        }
        if broken.is_empty() { Ok(outcome) } else { Err(broken.join("\n")) }
    }
}

fn gave_up(lines: &std::collections::BTreeMap<String, String>) -> bool {
    lines.values().any(|line| line.starts_with("the review app could not be removed"))
}

fn poll(actor: &mut Actor) -> bool {
    actor.work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn started(number: BuildNumber, started: u64, by_runner: bool) -> Event {
    Event::BuildStarted {
        number,
        arn: arn(number),
        commit: if by_runner { "commit".to_owned() } else { String::new() },
        started: EpochSeconds(started),
        logs: "cloudwatch://group#stream".to_owned(),
        outputs: Outputs::default(),
        by_runner,
    }
}

/// The runner of one build: commits its facts in order, and fails the build when it cannot.
async fn running(world: World, lanes: LanePorts, key: LaneKey, number: BuildNumber) {
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
    let script = world.state().scripts[&number].clone();
    let mut alive = Alive(world, number, false);
    let cause = || "no".to_owned();
    let outcome = match script.fails_in {
        Some("build") => vec![Event::BuildFailed { number, phase: Phase::Build, cause: cause() }],
        Some("test") => {
            vec![Event::ImageBuilt { number }, Event::BuildFailed { number, phase: Phase::Test, cause: cause() }]
        }
        _ => vec![Event::ImageBuilt { number }, Event::TestsPassed { number, by_runner: true }],
    };
    for event in std::iter::once(started(number, script.started, true)).chain(outcome) {
        for attempt in 0.. {
            match advance(&lanes, &key, &event).await {
                Ok(_) => break,
                Err(Failure::Unavailable { .. }) if attempt < 3 => {}
                Err(_) => return,
            }
        }
    }
    alive.2 = true;
}
