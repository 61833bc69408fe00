//! What every place promises, on one machine and in an account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use packhorse::adapters::docker::place::ContainerPlace;
use packhorse::adapters::memory::{MemoryParameters, SettableClock};
use packhorse::domain::formation::{Formation, Scaling};
use packhorse::domain::lane::{LaneKey, ReleasePlan, Service, ServicesState, TaskKey, TaskKind};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::place::{Place, TaskRequest, TaskStatus};
use packhorse::ports::routes::Routes;

use crate::support::docker::{Broom, SHELL_IMAGE, engine, random_name};
use crate::support::suite::suite;

/// A place under test, and how things are said in it.
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
    bench.place().remove(bench.lane()).await.unwrap();
    bench.place().update_services(bench.lane(), &formation(bench, 1, &[("web", true)])).await.unwrap();
    assert_eq!(outcome(bench, 1).await, ServicesState::Steady);
    for _ in 0..2 {
        bench.place().remove(bench.lane()).await.unwrap();
    }
    assert!(!matches!(
        bench.place().services(bench.lane(), BuildNumber(1)).await.unwrap(),
        Some(ServicesState::Steady)
    ));
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
            a_service_has_its_name_before_it_exists,
        ]);
    };
}

struct Nobody;

#[async_trait]
impl Routes for Nobody {
    async fn point_to(&self, _: &LaneKey, _: std::net::SocketAddr) {}
}

struct Containers {
    place: ContainerPlace,
    lane: LaneKey,
    name: String,
    _broom: Broom,
}

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
        crate::support::docker::docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &filter]).lines().count()
    }
}

async fn open_docker() -> Containers {
    let name = random_name("ph-contract");
    let clock = Arc::new(SettableClock::new(EpochSeconds(1_000)));
    let place =
        ContainerPlace::new(Arc::new(engine().await), Arc::new(MemoryParameters::new()), clock, Arc::new(Nobody), "t");
    let place = place.unwrap().with_settle_time(Duration::from_millis(500));
    Containers { place, lane: LaneKey::app(name.parse().unwrap()), name: name.clone(), _broom: Broom(name) }
}

promises!(docker, super::open_docker().await, "needs Docker Engine 26");
#[cfg(feature = "aws")]
promises!(ecs, crate::contract::place_on_ecs::open().await, "needs moto");
