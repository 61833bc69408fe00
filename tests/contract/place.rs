//! What every place promises, on one machine and in an account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use packhorse::adapters::docker::place::ContainerPlace;
use packhorse::adapters::memory::{MemoryParameters, MemoryPlaceRecords, SettableClock};
use packhorse::domain::formation::{ConfigName, Formation, Scaling, ScheduledTask};
use packhorse::domain::lane::{LaneKey, ReleasePlan, Service, ServicesState, TaskKey, TaskKind};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::app_config::AppConfig as _;
use packhorse::ports::parameters::ParameterStore as _;
use packhorse::ports::place::{Place, TaskRequest, TaskStatus};
use packhorse::ports::place_records::PlaceRecords as _;
use packhorse::ports::routes::Routes;

use crate::support::docker::{Broom, SHELL_IMAGE, docker, engine, random_name};
use crate::support::suite::suite;

/// A place under test, and how things are said in it.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn place(&self) -> &dyn Place;
    fn lane(&self) -> &LaneKey;
    /// The image of everything.
    fn image(&self) -> String;
    /// A command that says this and ends with this code.
    fn command(&self, says: &'static str, code: i64) -> String;
    /// A command that does not end.
    fn endless(&self) -> String;
    /// The command of a process that stays up, or of one that does not.
    fn process(&self, build: u64, healthy: bool) -> String;
    /// How often tasks of this kind were started.
    fn started(&self) -> usize;
    /// Gives the app a variable; returns all that it has.
    async fn set(&self, variable: &str, value: &str) -> Vec<ConfigName>;
    /// What runs of a process type, each by a name that it keeps while it runs.
    fn running(&self, process: &str) -> BTreeSet<String>;
    /// The commands that run by the clock.
    async fn jobs(&self) -> Vec<String>;
}

pub(crate) fn formation(bench: &(impl Bench + ?Sized), build: u64, services: &[(&str, bool)]) -> Formation {
    let service = |(name, healthy): &(&str, bool)| {
        (name.parse().unwrap(), Service { command: bench.process(build, *healthy), arn: String::new() })
    };
    Formation {
        build: BuildNumber(build),
        commit: String::new(),
        plan: ReleasePlan {
            sequence: build,
            image: bench.image(),
            launcher: false,
            release_command: None,
            postdeploy_command: None,
            pre_destroy_command: None,
            services: services.iter().map(service).collect::<BTreeMap<_, _>>(),
        },
        config: Vec::new(),
        scaling: Scaling::default(),
        scheduled_tasks: Vec::new(),
    }
}

pub(crate) fn task(bench: &(impl Bench + ?Sized), build: u64, command: String) -> TaskRequest {
    let key = TaskKey { build: BuildNumber(build), kind: TaskKind::Release, attempt: 1 };
    TaskRequest { lane: bench.lane().clone(), key, command, formation: formation(bench, build, &[]) }
}

/// Looks until a task has ended.
pub(crate) async fn end(bench: &(impl Bench + ?Sized), key: &TaskKey) -> TaskStatus {
    let ended = async {
        loop {
            match bench.place().task(bench.lane(), key).await.unwrap() {
                TaskStatus::Starting | TaskStatus::Running { .. } => {}
                other => return other,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap()
}

/// Looks until the deploy of a build is decided.
pub(crate) async fn outcome(bench: &(impl Bench + ?Sized), build: u64) -> ServicesState {
    let decided = async {
        loop {
            if let Some(state) = bench.place().services(bench.lane(), BuildNumber(build)).await.unwrap() {
                return state;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), decided).await.unwrap()
}

/// A task runs once, however often it is asked for, and its code and log are told.
async fn a_task_runs_once_and_its_end_is_told(bench: &impl Bench) {
    for (build, code) in [(1, 0), (2, 3)] {
        let task = task(bench, build, bench.command("migrated", code));
        assert_eq!(bench.place().task(bench.lane(), &task.key).await.unwrap(), TaskStatus::NeverRequested);
        for _ in 0..3 {
            bench.place().start_task(&task).await.unwrap();
        }
        let ended = end(bench, &task.key).await;
        assert_eq!(ended, TaskStatus::Exited { code, reason: None, log: Some(b"migrated\n".to_vec()) });
        bench.place().start_task(&task).await.unwrap();
        assert_eq!(end(bench, &task.key).await, ended, "asked again when it is over, it does not run again");
    }
    assert_eq!(bench.started(), 2);
}

/// A task that is told to stop ends; so does one that is over, and one that never was.
async fn a_task_can_be_stopped(bench: &impl Bench) {
    let task = task(bench, 1, bench.endless());
    bench.place().stop_task(bench.lane(), &task.key).await.unwrap();
    bench.place().start_task(&task).await.unwrap();
    for _ in 0..2 {
        bench.place().stop_task(bench.lane(), &task.key).await.unwrap();
    }
    let ended = end(bench, &task.key).await;
    assert!(!matches!(ended, TaskStatus::Exited { code: 0, .. }), "{ended:?}");
}

/// A release runs once it is steady, asked for once or several times.
async fn a_release_becomes_steady(bench: &impl Bench) {
    let formation = formation(bench, 1, &[("web", true), ("worker", true)]);
    for _ in 0..2 {
        bench.place().update_services(bench.lane(), &formation).await.unwrap();
    }
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
    bench.place().update_services(bench.lane(), &formation).await.unwrap();
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
}

/// A release that does not stay up fails, asked once or twice, and the one before can be brought back.
async fn a_release_that_does_not_stay_up_fails(bench: &impl Bench) {
    let good = formation(bench, 1, &[("web", true)]);
    bench.place().update_services(bench.lane(), &good).await.unwrap();
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
    bench.place().update_services(bench.lane(), &formation(bench, 2, &[("web", false)])).await.unwrap();
    let failed = outcome(bench, 2).await;
    assert!(matches!(&failed, ServicesState::Failed { cause } if cause.contains("`web`")), "{failed:?}");
    bench.place().update_services(bench.lane(), &good).await.unwrap();
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
}

/// A late order of an older release is left undone.
async fn a_late_order_changes_nothing(bench: &impl Bench) {
    for build in [1, 2] {
        bench.place().update_services(bench.lane(), &formation(bench, build, &[("web", true)])).await.unwrap();
        assert_eq!(outcome(bench, build).await, ServicesState::Steady);
    }
    bench.place().update_services(bench.lane(), &formation(bench, 1, &[("web", true)])).await.unwrap();
    assert_eq!(outcome(bench, 2).await, ServicesState::Steady);
}

/// Removing takes everything away, and may be repeated.
async fn removing_may_be_repeated(bench: &impl Bench) {
    bench.place().remove(bench.lane(), 0).await.unwrap();
    bench.place().update_services(bench.lane(), &formation(bench, 1, &[("web", true)])).await.unwrap();
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
    for _ in 0..2 {
        bench.place().remove(bench.lane(), 9).await.unwrap();
    }
    assert!(!matches!(
        bench.place().services(bench.lane(), BuildNumber(1)).await.unwrap(),
        Some(ServicesState::Steady)
    ));
}

/// Brings a live release to other settings, under a number of its own.
async fn settle(bench: &impl Bench, formation: &mut Formation, change: impl FnOnce(&mut Formation)) {
    change(formation);
    formation.plan.sequence += 1;
    bench.place().update_services(bench.lane(), formation).await.unwrap();
    assert_eq!(outcome(bench, formation.build.0).await, ServicesState::Steady);
}

fn scaled(text: &str) -> Scaling {
    Scaling::default().with(text).unwrap()
}

/// As many processes run as the scale says, of a range at least the fewest, and those that run already go on.
async fn the_number_of_processes_follows_the_scale(bench: &impl Bench) {
    let scale = |min: u32, max: u32| {
        scaled(&format!(r#"{{"web":{{"cpu":512,"memory":1024,"min_processes":{min},"max_processes":{max}}}}}"#))
    };
    let mut wanted = formation(bench, 1, &[("web", true), ("worker", true)]);
    settle(bench, &mut wanted, |_| {}).await;
    let (one, worker) = (bench.running("web"), bench.running("worker"));
    assert_eq!((one.len(), worker.len()), (1, 1));
    settle(bench, &mut wanted, |wanted| wanted.scaling = scale(3, 3)).await;
    let three = bench.running("web");
    assert!(three.len() == 3 && one.is_subset(&three), "{one:?} {three:?}");
    settle(bench, &mut wanted, |wanted| wanted.scaling = scale(2, 4)).await;
    assert!(bench.running("web").len() >= 2 && bench.running("web").is_subset(&three));
    settle(bench, &mut wanted, |wanted| wanted.scaling = scale(0, 0)).await;
    assert_eq!(bench.running("web"), BTreeSet::new());
    settle(bench, &mut wanted, |wanted| wanted.scaling = scale(1, 1)).await;
    assert_eq!((bench.running("web").len(), bench.running("worker")), (1, worker), "only what differs is changed");
}

/// A variable with another value means other processes, and an order without a change means none.
async fn a_changed_variable_replaces_the_processes_and_nothing_else_does(bench: &impl Bench) {
    let mut wanted = formation(bench, 1, &[("web", true), ("worker", true)]);
    wanted.config = bench.set("LEVEL", "info").await;
    settle(bench, &mut wanted, |_| {}).await;
    let before = (bench.running("web"), bench.running("worker"));
    settle(bench, &mut wanted, |_| {}).await;
    assert_eq!((bench.running("web"), bench.running("worker")), before);
    let config = bench.set("LEVEL", "debug").await;
    settle(bench, &mut wanted, |wanted| wanted.config = config).await;
    let after = (bench.running("web"), bench.running("worker"));
    assert!(after.0.is_disjoint(&before.0) && after.1.is_disjoint(&before.1), "{before:?} {after:?}");
    assert_eq!((after.0.len(), after.1.len()), (1, 1));
}

/// What runs by the clock is what the release that runs says.
async fn jobs_are_those_of_the_release_that_runs(bench: &impl Bench) {
    let job = |command: &str| ScheduledTask { schedule: "0 0 1 1 ? 2199".to_owned(), command: command.to_owned() };
    let mut wanted = Formation { scheduled_tasks: vec![job("a"), job("b")], ..formation(bench, 1, &[("web", true)]) };
    bench.place().update_services(bench.lane(), &wanted).await.unwrap();
    assert_eq!(bench.jobs().await, [""; 0], "nobody has seen it run");
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
    assert_eq!(bench.jobs().await, ["a", "b"]);
    settle(bench, &mut wanted, |wanted| wanted.scheduled_tasks = vec![job("b")]).await;
    assert_eq!(bench.jobs().await, ["b"]);
    let failing = Formation { scheduled_tasks: vec![job("c")], ..formation(bench, 3, &[("web", false)]) };
    bench.place().update_services(bench.lane(), &failing).await.unwrap();
    assert!(matches!(outcome(bench, 3).await, ServicesState::Failed { .. }));
    assert_eq!(bench.jobs().await, ["b"], "a failed release changes none");
}

/// A service has its name before it exists.
async fn a_service_has_its_name_before_it_exists(bench: &impl Bench) {
    let name = bench.place().service_arn(bench.lane(), &"web".parse().unwrap()).await.unwrap();
    assert!(name.contains(&format!("{}-web", bench.lane().resource_prefix())), "{name}");
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [
            a_task_runs_once_and_its_end_is_told,
            a_task_can_be_stopped,
            a_release_becomes_steady,
            a_release_that_does_not_stay_up_fails,
            a_late_order_changes_nothing,
            removing_may_be_repeated,
            the_number_of_processes_follows_the_scale,
            a_changed_variable_replaces_the_processes_and_nothing_else_does,
            jobs_are_those_of_the_release_that_runs,
            a_service_has_its_name_before_it_exists,
        ]);
    };
}

struct Nobody;

#[async_trait]
impl Routes for Nobody {
    async fn point_to(&self, _: &LaneKey, _: &[std::net::SocketAddr]) {}
}

struct Containers {
    place: ContainerPlace,
    parameters: Arc<MemoryParameters>,
    records: Arc<MemoryPlaceRecords>,
    lane: LaneKey,
    name: String,
    _broom: Broom,
}

#[async_trait]
impl Bench for Containers {
    fn place(&self) -> &dyn Place {
        &self.place
    }

    fn lane(&self) -> &LaneKey {
        &self.lane
    }

    fn image(&self) -> String {
        SHELL_IMAGE.to_owned()
    }

    fn command(&self, says: &'static str, code: i64) -> String {
        format!("echo {says}; exit {code}")
    }

    fn endless(&self) -> String {
        "exec tail -f /dev/null".to_owned()
    }

    fn process(&self, build: u64, healthy: bool) -> String {
        if healthy {
            format!("cd /tmp; NUMBER={build} exec python3 -m http.server ${{PORT:-9}}")
        } else {
            "exit 1".to_owned()
        }
    }

    fn started(&self) -> usize {
        let filter = format!("name=^{}-release-", self.name);
        docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &filter]).lines().count()
    }

    async fn set(&self, variable: &str, value: &str) -> Vec<ConfigName> {
        self.parameters.put(&format!("/apppack/apps/{}/config/{variable}", self.name), value).await.unwrap();
        self.parameters.names(&self.lane).await.unwrap()
    }

    fn running(&self, process: &str) -> BTreeSet<String> {
        let filter = format!("name=^{}-{process}-", self.name);
        let names = docker(&["ps", "--format", "{{.Names}}", "--filter", &filter]);
        names.lines().map(str::to_owned).collect()
    }

    async fn jobs(&self) -> Vec<String> {
        let (record, _) = self.records.load(&self.lane).await.unwrap();
        record.jobs.into_iter().flat_map(|jobs| jobs.tasks).map(|task| task.command).collect()
    }
}

async fn open_docker() -> Containers {
    let name = random_name("ph-contract");
    let clock = Arc::new(SettableClock::new(EpochSeconds(1_000)));
    let (parameters, records) = (Arc::new(MemoryParameters::new()), Arc::new(MemoryPlaceRecords::default()));
    let place = ContainerPlace::new(
        Arc::new(engine().await),
        parameters.clone(),
        records.clone(),
        clock,
        Arc::new(Nobody),
        "t",
    );
    let place = place.unwrap().with_settle_time(Duration::from_millis(500));
    Containers {
        place,
        parameters,
        records,
        lane: LaneKey::app(name.parse().unwrap()),
        name: name.clone(),
        _broom: Broom(name),
    }
}

promises!(docker, super::open_docker().await, "needs Docker Engine 26");
#[cfg(feature = "aws")]
promises!(ecs, crate::contract::place_on_ecs::open().await, "needs moto");
