//! Tasks, services, parameters and the stack, as ECS, Parameter Store and `CloudFormation` treat them (`aws-events` 4).

use std::collections::BTreeMap;

use async_trait::async_trait;
use packhorse::domain::app_settings::Settings;
use packhorse::domain::formation::{ConfigName, Formation};
use packhorse::domain::lane::{Ending, LaneKey, ReviewAppState, ServicesState, TaskExit, TaskKey, TaskKind};
use packhorse::domain::names::{AppName, BuildNumber, ProcessType, PullRequest};
use packhorse::ports::app_config::AppConfig;
use packhorse::ports::app_settings::AppSettings;
use packhorse::ports::failure::Failure;
use packhorse::ports::parameters::ParameterStore;
use packhorse::ports::place::{Loss, Place, TaskRequest, TaskStatus};
use packhorse::ports::review_apps::ReviewApps;
use secrecy::SecretString;

use super::{State, World};

/// For how long a stopped task is shown and its client token is remembered.
const REMEMBERED: u64 = 3600;
/// For how long a task may still be asked for, with time to spare until it could be forgotten.
const ASKED_WITHIN: u64 = 2400;

#[derive(Debug, Clone)]
pub(crate) struct Task {
    requested: u64,
    /// From when on it is shown.
    shown: u64,
    /// When it ends by itself.
    ends: u64,
    end: TaskExit,
    stopped: Option<u64>,
}

impl Task {
    fn over(&self) -> u64 {
        self.stopped.unwrap_or(self.ends)
    }

    /// Whether its command ran, to an exit code of its own or until somebody stopped it.
    fn ran(&self) -> bool {
        !matches!(self.end, TaskExit::NoCode { .. }) || self.stopped.is_some()
    }

    fn is_known(&self, now: u64) -> bool {
        now < self.over() + REMEMBERED
    }
}

/// What services run: a build, with one version of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) build: BuildNumber,
    pub(crate) settings: u64,
}

/// The newest deployment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deployment {
    pub(crate) content: Content,
    pub(crate) steady: u64,
    pub(crate) healthy: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Services {
    sequence: u64,
    /// What ran before the newest deployment.
    before: Option<Content>,
    pub(crate) newest: Option<Deployment>,
    /// Restarts of a build that ran already.
    pub(crate) restarts: u64,
    /// Settings with which the services did not come to rest.
    pub(crate) broken: Vec<u64>,
}

impl Services {
    /// What serves requests now.
    pub(crate) fn running(&self, now: u64) -> Option<Content> {
        match self.newest {
            Some(newest) if newest.healthy && newest.steady <= now => Some(newest.content),
            _ => self.before,
        }
    }
}

impl State {
    /// Whether this build is from before the removal of its review app: then it never runs again, whatever comes after it. A
    /// pull request that is opened again may find the old stack still on its way: what becomes of that is not judged here.
    fn is_removed_for(&mut self, build: BuildNumber) -> bool {
        let opened_again = self.closes.first().is_some_and(|closed| self.scripts[&build].started > *closed);
        if opened_again && self.stack.gone {
            self.stack = super::Stack { removed: true, ..super::Stack::default() };
        }
        !opened_again && self.stack.removed
    }

    fn start(&mut self, key: &TaskKey) {
        let now = self.now;
        let again = self.tasks.contains_key(key);
        let clash = self.tasks.iter().find(|(other, task)| {
            let same = other.build == key.build && other.kind == key.kind;
            now < task.over() || (same && task.ran())
        });
        if again || clash.is_some() {
            let other = clash.map_or_else(|| "itself".to_owned(), |(other, task)| format!("{other} {task:?}"));
            self.violation(format!("{key} began at {now} although {other} runs or has run"));
        }
        let script = &self.scripts[&key.build];
        if script.fails_in.is_some() {
            self.violation(format!("{key} began for a build that failed"));
        }
        if self.is_removed_for(key.build) {
            self.violation(format!("{key} began in a review app that is being removed"));
        }
        let code = |code| TaskExit::Code { code, reason: None };
        let (end, runs) = match self.rng.u8(..100) {
            0..6 => (TaskExit::NoCode { reason: "no capacity".to_owned() }, self.rng.u64(1..60)),
            6..12 => (TaskExit::NoCode { reason: "its host was taken away".to_owned() }, self.rng.u64(1..60)),
            12..20 => (code(1), self.rng.u64(1..300)),
            20..22 => (TaskExit::Stopped { reason: "somebody".to_owned() }, self.rng.u64(1..300)),
            22 => (code(0), 100_000),
            _ => (code(0), self.rng.u64(1..300)),
        };
        let shown = if self.faults { now + self.rng.u64(0..60) } else { now };
        self.tasks
            .insert(key.clone(), Task { requested: now, shown, ends: now + runs, end: end.clone(), stopped: None });
        // ECS tells at least once, in any order and late.
        for _ in 0..=self.rng.u8(..2) {
            let at = now + runs + self.rng.u64(0..200);
            self.ends.push((at, key.clone(), end.clone()));
        }
    }
}

#[async_trait]
impl Place for World {
    async fn service_arn(&self, _: &LaneKey, process: &ProcessType) -> Result<String, Failure> {
        Ok(format!("service/shop-{process}"))
    }

    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure> {
        self.call("start a task", |state| {
            let now = state.now;
            if !state.tasks.get(&request.key).is_some_and(|task| task.is_known(now)) {
                state.start(&request.key);
            }
            Ok(())
        })
        .await
    }

    async fn task(&self, _: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure> {
        self.call("look at a task", |state| {
            let now = state.now;
            let Some(task) = state.tasks.get(key).filter(|task| task.shown <= now) else {
                return Ok(TaskStatus::NeverRequested);
            };
            if !task.is_known(now) {
                return Ok(if state.rng.bool() { TaskStatus::Unknown } else { TaskStatus::NeverRequested });
            }
            if task.stopped.is_some_and(|at| at <= now) {
                return Ok(TaskStatus::Exited { code: 143, reason: None, log: None });
            }
            let starting = now < task.requested + (task.ends - task.requested) / 4;
            Ok(if now < task.ends && starting {
                TaskStatus::Starting
            } else if now < task.ends {
                TaskStatus::Running { arn: "task/1".to_owned(), logs: "cloudwatch://group#task".to_owned() }
            } else {
                match &task.end {
                    TaskExit::Code { code, reason } => {
                        TaskStatus::Exited { code: *code, reason: reason.clone(), log: Some(b"done\n".to_vec()) }
                    }
                    TaskExit::Stopped { reason } => TaskStatus::Gone { end: Loss::Stopped, reason: reason.clone() },
                    TaskExit::NoCode { reason } => {
                        let end = if reason == "no capacity" { Loss::NeverRan } else { Loss::Interrupted };
                        TaskStatus::Gone { end, reason: reason.clone() }
                    }
                    TaskExit::Unknown => TaskStatus::Unknown,
                }
            })
        })
        .await
    }

    async fn stop_task(&self, _: &LaneKey, key: &TaskKey) -> Result<(), Failure> {
        self.call("stop a task", |state| {
            let now = state.now;
            // Its command is asked first, and killed after two minutes at most.
            let grace = state.rng.u64(..120);
            if let Some(task) = state.tasks.get_mut(key)
                && now + grace < task.over()
            {
                task.stopped = Some(now + grace);
            }
            Ok(())
        })
        .await
    }

    async fn update_services(&self, _: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        self.call("update services", |state| {
            let (now, build) = (state.now, formation.build);
            // The order to go back is left undone; one that changes nothing starts nothing.
            if formation.plan.sequence < state.services.sequence {
                return Ok(());
            }
            state.services.sequence = formation.plan.sequence;
            let settings: u64 = formation.config[0].version.parse().unwrap();
            let content = Content { build, settings };
            if state.is_removed_for(build) {
                state.violation(format!("build {build} deploys into a review app that is being removed"));
            }
            if state
                .services
                .newest
                .is_some_and(|newest| newest.content == content && (newest.healthy || newest.steady > now))
            {
                return Ok(());
            }
            let running = state.services.running(now);
            // One that has failed for good is not newer to anybody, be it that clients are not told of it yet.
            let failed = |build: BuildNumber| {
                let known = state.lane.0.builds.get(&build);
                known.is_some_and(|known| matches!(known.ending, Some(Ending::Failed { .. })))
            };
            let newer =
                running.filter(|running| state.order(running.build) > state.order(build) && !failed(running.build));
            if let Some(newer) = newer.filter(|_| !state.wanted_back.contains(&build)) {
                state.violation(format!("build {build} deploys over build {}", newer.build));
            }
            if state.scripts[&build].fails_in.is_some() {
                state.violation(format!("build {build} deploys although it failed"));
            }
            if state.scripts[&build].release
                && !state.tasks.iter().any(|(key, task)| {
                    let released = key.build == build && key.kind == TaskKind::Release;
                    released && task.end == (TaskExit::Code { code: 0, reason: None }) && task.ends <= now
                })
            {
                state.violation(format!("build {build} deploys without its release"));
            }
            if running.is_some_and(|running| running.build == build) {
                state.services.restarts += 1;
            }
            state.services.before = running;
            let healthy = state.rng.u8(..100) < 88;
            if !healthy {
                state.services.broken.push(settings);
            }
            let steady = now + state.rng.u64(1..200);
            state.services.newest = Some(Deployment { content, steady, healthy });
            Ok(())
        })
        .await
    }

    async fn services(&self, _: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure> {
        self.call("look at services", |state| {
            let newest = state.services.newest.filter(|newest| newest.content.build == build);
            Ok(newest.filter(|newest| newest.steady <= state.now).map(|newest| {
                if newest.healthy {
                    ServicesState::Steady
                } else {
                    ServicesState::Failed { cause: "it crashed".to_owned() }
                }
            }))
        })
        .await
    }

    async fn remove(&self, _: &LaneKey, sequence: u64) -> Result<(), Failure> {
        self.call("remove", |state| {
            let now = state.now;
            if sequence < state.services.sequence {
                return Ok(());
            }
            // What clients were told runs must have had its last command before.
            let told = state.deploy_item.as_ref().filter(|(_, item)| !item.failed).map(|(_, item)| item.build_number);
            let running = state.services.running(now).map(|content| content.build).filter(|build| told == Some(*build));
            let asked = |build: &BuildNumber| {
                state.tasks.keys().any(|key| key.build == *build && key.kind == TaskKind::PreDestroy)
            };
            // One that nobody came to ask for in time is left out: whether it has run already could not be found out any more.
            let begun = state.lane.0.removal.as_ref().map(|removal| removal.since.0);
            let in_time = begun.is_none_or(|begun| now < begun + ASKED_WITHIN);
            let due = |build: &BuildNumber| state.scripts[build].pre_destroy && in_time;
            if let Some(build) = running.filter(|build| due(build) && !asked(build)) {
                state.violation(format!("build {build} was removed without its last command"));
            }
            for task in state.tasks.values_mut().filter(|task| now < task.over()) {
                task.stopped = Some(now);
            }
            state.services = Services { sequence, restarts: state.services.restarts, ..Services::default() };
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl ReviewApps for World {
    async fn remove(&self, _: &AppName, _: PullRequest) -> Result<bool, Failure> {
        self.call("remove the stack", |state| {
            let now = state.now;
            if state.stack.gone {
                return Ok(false);
            }
            if state.stack.deletion.is_none_or(|(end, succeeds)| end <= now && !succeeds) {
                state.stack.removed = true;
                state.stack.deletion = Some((now + state.rng.u64(30..1800), state.rng.u8(..5) > 0));
            }
            Ok(true)
        })
        .await
    }

    async fn removal(&self, _: &AppName, _: PullRequest) -> Result<Option<ReviewAppState>, Failure> {
        self.call("look at the stack", |state| {
            let failed = |cause: &str| Some(ReviewAppState::Failed { cause: cause.to_owned() });
            Ok(match state.stack.deletion {
                _ if state.stack.gone => Some(ReviewAppState::Gone),
                None => failed("its deletion has not begun"),
                Some((end, _)) if state.now < end => None,
                Some((_, true)) => {
                    state.stack.gone = true;
                    Some(ReviewAppState::Gone)
                }
                Some((_, false)) => failed("a bucket is not empty"),
            })
        })
        .await
    }
}

#[async_trait]
impl AppConfig for World {
    async fn names(&self, _: &LaneKey) -> Result<Vec<ConfigName>, Failure> {
        self.call("list variables", |state| {
            let version = state.settings.to_string();
            Ok(vec![ConfigName { name: "A".to_owned(), parameter: "/a".to_owned(), version }])
        })
        .await
    }
}

#[async_trait]
impl AppSettings for World {
    async fn settings(&self, _: &LaneKey) -> Result<Settings, Failure> {
        Ok(Settings::default())
    }
}

#[async_trait]
impl ParameterStore for World {
    async fn get(&self, _: &str) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn put(&self, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn create(&self, _: &str, _: &str) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn remove(&self, _: &str) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn below(&self, _: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        panic!("the orchestrator never reads a value")
    }
}
