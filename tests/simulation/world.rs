//! What lies outside a lane, as faulty as it may be: a store, CodeBuild, tasks and services.
//!
//! It knows nothing of the lane's rules. Every call pauses before and after its effect, so that whoever makes it can be
//! stopped there for good.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use packhorse::domain::formation::Formation;
use packhorse::domain::lane::{
    BuildRecord, BuildResult, DeployStatus, Lane, LaneKey, Outputs, PhaseChange, ServicesState, TaskKey, TaskKind,
};
use packhorse::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds, ProcessType, PullRequest};
use packhorse::ports::artifacts::ArtifactStore;
use packhorse::ports::build_service::{BuildFacts, BuildService};
use packhorse::ports::clock::Clock;
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::{LaneStore, Version, Versioned};
use packhorse::ports::phase_events::PhaseEvents;
use packhorse::ports::place::{Loss, Place, TaskRequest, TaskStatus};
use packhorse::ports::records::Records;
use packhorse::ports::review_apps::ReviewApps;

/// How a build goes, decided when the world is made.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) started: u64,
    pub(super) built: u64,
    pub(super) tested: u64,
    pub(super) ended: u64,
    pub(super) fails_in: Option<&'static str>,
    pub(super) runner: bool,
    pub(super) release: bool,
    pub(super) postdeploy: bool,
}

#[derive(Debug, Clone)]
struct Task {
    requested: u64,
    runs: u64,
    exit: Option<i64>,
    gone: bool,
    stopped: bool,
}

#[derive(Debug, Clone)]
struct Deploy {
    sequence: u64,
    build: BuildNumber,
    steady: u64,
    healthy: bool,
}

pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) now: u64,
    pub(super) faults: bool,
    pub(super) scripts: BTreeMap<BuildNumber, Script>,
    /// Builds whose runner was killed: CodeBuild fails them.
    pub(super) killed: BTreeMap<BuildNumber, u64>,
    lane: Option<(Lane, u64)>,
    pub(super) items: BTreeMap<BuildNumber, (u64, Option<BuildRecord>)>,
    tasks: BTreeMap<TaskKey, Task>,
    deploys: Vec<Deploy>,
    pub(super) removed: bool,
    pub(super) violations: Vec<String>,
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

pub(super) fn arn(number: BuildNumber) -> BuildArn {
    format!("arn:aws:codebuild:us-east-1:111122223333:build/shop:{number}").parse().unwrap()
}

impl World {
    pub(super) fn new(seed: u64, review_app: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let scripts = (1..=rng.u64(1..=4)).map(|number| (BuildNumber(number), script(&mut rng, number))).collect();
        let pull_request = review_app.then(|| "12".parse().unwrap());
        let lane = Lane::new(LaneKey { app: "shop".parse().unwrap(), pull_request });
        Self(Arc::new(Mutex::new(State {
            rng,
            now: 1000,
            faults: true,
            scripts,
            killed: BTreeMap::new(),
            lane: Some((lane, 1)),
            items: BTreeMap::new(),
            tasks: BTreeMap::new(),
            deploys: Vec::new(),
            removed: false,
            violations: Vec::new(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn lane(&self) -> (Lane, u64) {
        self.state().lane.clone().unwrap()
    }

    /// One call to the outside: it may not arrive, and its answer may get lost.
    async fn call<T>(&self, what: &str, effect: impl FnOnce(&mut State) -> Result<T, Failure>) -> Result<T, Failure> {
        Pause(false).await;
        let lost = |chance: u8| {
            let mut state = self.state();
            state.faults && state.rng.u8(..100) < chance
        };
        if lost(4) {
            return Err(Failure::unavailable(what, "throttled"));
        }
        let answer = effect(&mut self.state());
        Pause(false).await;
        if lost(2) { Err(Failure::unavailable(what, "timed out")) } else { answer }
    }
}

fn script(rng: &mut fastrand::Rng, number: u64) -> Script {
    let started = 1000 + number * rng.u64(5..200);
    let built = started + rng.u64(20..200);
    let tested = built + rng.u64(5..200);
    let fails_in = match rng.u8(..10) {
        0 => Some("build"),
        1 => Some("test"),
        2 => Some("upload"),
        _ => None,
    };
    let ended = match fails_in {
        Some("build") => built,
        _ => tested + rng.u64(1..20),
    };
    Script {
        started,
        built,
        tested,
        ended,
        fails_in,
        runner: rng.bool(),
        release: rng.u8(..10) < 8,
        postdeploy: rng.bool(),
    }
}

impl State {
    /// What CodeBuild would say of a build now.
    pub(super) fn facts(&self, number: BuildNumber) -> Option<BuildFacts> {
        let script = self.scripts.get(&number).filter(|script| script.started <= self.now)?;
        let killed = self.killed.get(&number).copied();
        let ended = killed.unwrap_or(script.ended);
        let failed = script.fails_in.is_some() || killed.is_some();
        let result = (self.now >= ended).then(|| {
            if failed {
                BuildResult::Failed { phase: None, cause: "it failed".to_owned() }
            } else {
                BuildResult::Succeeded
            }
        });
        let alive_at = |moment: u64| self.now >= moment && killed.is_none_or(|killed| killed > moment);
        Some(BuildFacts {
            arn: arn(number),
            number,
            started: EpochSeconds(script.started),
            commit: format!("commit{number}"),
            logs: "cloudwatch://group#stream".to_owned(),
            outputs: Outputs::default(),
            image_built: alive_at(script.built) && script.fails_in != Some("build"),
            tests_passed: alive_at(script.tested) && !matches!(script.fails_in, Some("build" | "test")),
            result,
        })
    }

    /// Order of builds as people see it.
    fn order(&self, number: BuildNumber) -> (u64, BuildNumber) {
        (self.scripts[&number].started, number)
    }

    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }
}

#[async_trait]
impl LaneStore for World {
    async fn load(&self, _: &LaneKey) -> Result<Option<Versioned>, Failure> {
        self.call("load", |state| {
            Ok(state.lane.clone().map(|(lane, version)| Versioned { lane, version: Version(version) }))
        })
        .await
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        self.call("commit", |state| {
            let version = state.lane.as_ref().map_or(0, |(_, version)| *version);
            if version != seen.0 {
                return Err(Failure::Conflict { what: "the lane".to_owned() });
            }
            state.lane = Some((next.clone(), version + 1));
            Ok(Version(version + 1))
        })
        .await
    }

    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        self.call("list", |state| {
            Ok(state.lane.iter().filter(|(lane, _)| lane.is_active()).map(|(lane, _)| lane.key.clone()).collect())
        })
        .await
    }
}

#[async_trait]
impl Records for World {
    async fn put_build(&self, _: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure> {
        self.call("put", |state| {
            let (known, _) = state.items.get(&record.build_number).cloned().unwrap_or_default();
            if known <= at.0 {
                state.items.insert(record.build_number, (at.0, Some(record.clone())));
            }
            Ok(())
        })
        .await
    }

    async fn remove_build(&self, _: &LaneKey, at: Version, number: BuildNumber) -> Result<(), Failure> {
        self.call("remove", |state| {
            state.items.insert(number, (at.0, None));
            Ok(())
        })
        .await
    }

    async fn put_deploy_status(&self, _: &LaneKey, _: Version, _: &DeployStatus) -> Result<(), Failure> {
        self.call("put", |_| Ok(())).await
    }

    async fn build(&self, _: &LaneKey, _: BuildNumber) -> Result<Option<BuildRecord>, Failure> {
        Ok(None)
    }

    async fn builds(&self, _: &LaneKey, _: usize) -> Result<Vec<BuildRecord>, Failure> {
        Ok(Vec::new())
    }

    async fn deploy_status(&self, _: &LaneKey) -> Result<Option<DeployStatus>, Failure> {
        Ok(None)
    }
}

#[async_trait]
impl PhaseEvents for World {
    async fn emit(&self, _: &[PhaseChange]) -> Result<(), Failure> {
        self.call("emit", |_| Ok(())).await
    }
}

impl Clock for World {
    fn now(&self) -> EpochSeconds {
        EpochSeconds(self.state().now)
    }
}

#[async_trait]
impl ArtifactStore for World {
    async fn put(&self, _: &str, _: Bytes) -> Result<(), Failure> {
        self.call("put", |_| Ok(())).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let (number, name) = key.split_once('/').unwrap();
        let number: BuildNumber = number.parse().unwrap();
        self.call("get", |state| {
            let script = state.scripts[&number].clone();
            if script.fails_in == Some("upload") {
                return Ok(None);
            }
            let config = format!(
                "[services.web]\ncommand = \"serve\"\n[deploy]\nrelease_command = \"{}\"\n[review_app]\ninitialize_command = \"{}\"\n",
                if script.release { "migrate" } else { "" },
                if script.postdeploy { "seed" } else { "" },
            );
            let image = format!("{{\"image\":{{\"reference\":\"shop\",\"digest\":\"sha256:{number}\"}}}}");
            Ok(Some(match name {
                "build.json" => Bytes::from(image),
                "apppack.toml" => Bytes::from(config),
                _ => Bytes::from_static(b"log\n"),
            }))
        })
        .await
    }

    fn url(&self, key: &str) -> String {
        format!("s3://bucket/{key}")
    }
}

#[async_trait]
impl BuildService for World {
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        self.call("ask for builds", |state| {
            let numbers: Vec<_> = state.scripts.keys().copied().filter(|number| arns.contains(&arn(*number))).collect();
            Ok(numbers.into_iter().filter_map(|number| state.facts(number)).collect())
        })
        .await
    }

    async fn stop(&self, stopped: &BuildArn) -> Result<(), Failure> {
        self.call("stop", |state| {
            let number = state.scripts.keys().copied().find(|number| arn(*number) == *stopped).unwrap();
            let now = state.now;
            if state.scripts[&number].ended > now {
                state.killed.entry(number).or_insert(now);
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Place for World {
    async fn service_arn(&self, _: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        Ok(format!("service/shop-{process}"))
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        self.call("start a task", |state| {
            if state.tasks.contains_key(&request.key) {
                return Ok(());
            }
            let (key, now) = (&request.key, state.now);
            let clash = state.tasks.iter().find(|(other, task)| {
                let same = other.build == key.build && other.kind == key.kind;
                let ran = !task.gone && (task.exit.is_some() || !task.stopped);
                let over = task.gone || task.stopped || now >= task.requested + task.runs;
                if same { ran || !over } else { !over && other.kind == TaskKind::Release }
            });
            if let Some((other, _)) = clash {
                let text = format!("{key} began although {other} runs or has run");
                state.violation(text);
            }
            let script = &state.scripts[&key.build];
            if script.fails_in.is_some() && script.fails_in != Some("upload") {
                state.violation(format!("{key} began for a build that failed"));
            }
            let (gone, exit, runs) = match state.rng.u8(..100) {
                0..12 => (true, None, state.rng.u64(1..60)),
                12..22 => (false, Some(1), state.rng.u64(1..300)),
                22 => (false, Some(0), 100_000),
                _ => (false, Some(0), state.rng.u64(1..300)),
            };
            state.tasks.insert(key.clone(), Task { requested: now, runs, exit, gone, stopped: false });
            Ok(())
        })
        .await
    }

    async fn task(&self, _: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        self.call("look at a task", |state| {
            let now = state.now;
            let Some(task) = state.tasks.get(key) else { return Ok(TaskStatus::NeverRequested) };
            Ok(if task.stopped {
                TaskStatus::Exited { code: 143, reason: None, log: None }
            } else if now < task.requested + task.runs / 4 {
                TaskStatus::Starting
            } else if now < task.requested + task.runs {
                TaskStatus::Running { arn: format!("task/{key}"), logs: "cloudwatch://group#task".to_owned() }
            } else if task.gone {
                TaskStatus::Gone { end: Loss::Interrupted, reason: "the host was taken away".to_owned() }
            } else {
                TaskStatus::Exited { code: task.exit.unwrap_or(0), reason: None, log: Some(b"done\n".to_vec()) }
            })
        })
        .await
    }

    async fn stop_task(&self, _: &LaneKey, key: &TaskKey) -> Result<(), Failure> {
        self.call("stop a task", |state| {
            let now = state.now;
            if let Some(task) = state.tasks.get_mut(key)
                && now < task.requested + task.runs
            {
                task.stopped = true;
            }
            Ok(())
        })
        .await
    }

    async fn update_services(&self, _: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        let Formation { build, plan, .. } = formation.clone();
        self.call("update services", |state| {
            // The order to do again what stands already, or to go back, is left undone.
            if state.deploys.iter().any(|deploy| deploy.sequence >= plan.sequence) {
                return Ok(());
            }
            let newer = state.deploys.iter().find(|deploy| {
                deploy.healthy && deploy.steady <= state.now && state.order(deploy.build) > state.order(build)
            });
            if let Some(newer) = newer {
                let text = format!("build {build} deploys over build {}", newer.build);
                state.violation(text);
            }
            if state.scripts[&build].fails_in == Some("test") {
                state.violation(format!("build {build} deploys untested"));
            }
            let (steady, healthy) = (state.now + state.rng.u64(1..200), state.rng.u8(..100) < 85);
            state.deploys.push(Deploy { sequence: plan.sequence, build, steady, healthy });
            Ok(())
        })
        .await
    }

    async fn services(&self, _: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        self.call("look at services", |state| {
            let deploy = state.deploys.iter().rev().find(|deploy| deploy.build == build);
            Ok(deploy.filter(|deploy| deploy.steady <= state.now).map(|deploy| {
                if deploy.healthy {
                    ServicesState::Steady
                } else {
                    ServicesState::Failed { cause: "it crashed".to_owned() }
                }
            }))
        })
        .await
    }

    async fn remove(&self, _: &LaneKey) -> Result<(), Failure> {
        self.call("remove", |state| {
            state.removed = true;
            for task in state.tasks.values_mut() {
                task.stopped = true;
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl ReviewApps for World {
    async fn remove(&self, _: &AppName, _: PullRequest) -> Result<bool, Failure> {
        self.call("remove the stack", |_| Ok(true)).await
    }
}
