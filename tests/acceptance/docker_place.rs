//! Release tasks and services as containers, on the real engine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use packhorse::adapters::docker::Docker;
use packhorse::adapters::docker::place::ContainerPlace;
use packhorse::adapters::memory::{MemoryParameters, SettableClock};
use packhorse::adapters::pack::{PackBuilder, PackSettings};
use packhorse::domain::formation::{Formation, Scaling};
use packhorse::domain::lane::{LaneKey, ReleasePlan, Service, ServicesState, TaskKey, TaskKind};
use packhorse::domain::names::{BuildNumber, EpochSeconds, ProcessType};
use packhorse::ports::image_builder::ImageBuilder;
use packhorse::ports::parameters::ParameterStore;
use packhorse::ports::place::{Place, TaskRequest, TaskStatus};
use packhorse::ports::routes::Routes;

use crate::support::app::{Lines, app, local};
use crate::support::docker::{Broom, SHELL_IMAGE, WithoutInit, docker, engine, random_name};
use crate::support::parts;

/// Serves a page that names its build.
const SERVER: &str = "mkdir -p /tmp/www && cd /tmp/www && echo \"$GREETING $NUMBER\" >index.html && \
                      exec python3 -m http.server \"$PORT\"";

#[derive(Default)]
struct Seen(Mutex<Vec<SocketAddr>>);

#[async_trait]
impl Routes for Seen {
    async fn point_to(&self, _: &LaneKey, web: SocketAddr) {
        let mut seen = self.0.lock().unwrap();
        if seen.last() != Some(&web) {
            seen.push(web);
        }
    }
}

impl Seen {
    fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().clone()
    }
}

/// An app of its own on the real engine.
struct Bench {
    engine: Docker,
    place: ContainerPlace,
    parameters: Arc<MemoryParameters>,
    clock: Arc<SettableClock>,
    routes: Arc<Seen>,
    lane: LaneKey,
    _broom: Broom,
}

impl Bench {
    async fn new() -> Self {
        let name = random_name("ph-place");
        let (parameters, clock) =
            (Arc::new(MemoryParameters::new()), Arc::new(SettableClock::new(EpochSeconds(1_000))));
        let (routes, engine) = (Arc::new(Seen::default()), engine().await);
        let lane = LaneKey::app(name.parse().unwrap());
        parameters.put(&format!("/apppack/apps/{name}/config/GREETING"), "hello from").await.unwrap();
        let place = place(&engine, &parameters, &clock, &routes);
        Self { engine, place, parameters, clock, routes, lane, _broom: Broom(name) }
    }

    fn task(&self, build: u64, attempt: u32, command: &str) -> TaskRequest {
        let key = TaskKey { build: BuildNumber(build), kind: TaskKind::Release, attempt };
        TaskRequest { lane: self.lane.clone(), key, command: command.to_owned(), formation: formation(build, &[]) }
    }

    /// Looks until something is decided.
    async fn outcome(&self, build: u64) -> ServicesState {
        let decided = async {
            loop {
                if let Some(state) = self.place.services(&self.lane, BuildNumber(build)).await.unwrap() {
                    return state;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), decided).await.unwrap()
    }

    async fn task_end(&self, key: &TaskKey) -> TaskStatus {
        let decided = async {
            loop {
                match self.place.task(&self.lane, key).await.unwrap() {
                    TaskStatus::Starting | TaskStatus::Running { .. } => {}
                    other => return other,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), decided).await.unwrap()
    }

    async fn deploy(&self, build: u64, services: &[(&str, &str)]) -> ServicesState {
        self.place.update_services(&self.lane, &formation(build, services)).await.unwrap();
        self.outcome(build).await
    }

    fn containers(&self) -> Vec<String> {
        let label = format!("name=^{}-", self.lane.app);
        let mut names: Vec<_> = docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &label])
            .lines()
            .map(|name| name.trim_start_matches(&format!("{}-", self.lane.app)).trim_end_matches("-t").to_owned())
            .collect();
        names.sort();
        names
    }
}

fn place(
    engine: &Docker,
    parameters: &Arc<MemoryParameters>,
    clock: &Arc<SettableClock>,
    routes: &Arc<Seen>,
) -> ContainerPlace {
    ContainerPlace::new(Arc::new(engine.clone()), parameters.clone(), clock.clone(), routes.clone(), "t")
        .unwrap()
        .with_settle_time(Duration::from_millis(200))
}

/// What the place is asked to run, with the image of the tests.
fn formation(build: u64, services: &[(&str, &str)]) -> Formation {
    formation_of(build, plan(build, SHELL_IMAGE, services))
}

fn formation_of(build: u64, plan: ReleasePlan) -> Formation {
    Formation {
        build: BuildNumber(build),
        commit: String::new(),
        plan,
        config: Vec::new(),
        scaling: Scaling::default(),
        scheduled_tasks: Vec::new(),
    }
}

fn plan(build: u64, image: &str, services: &[(&str, &str)]) -> ReleasePlan {
    let service = |(name, command): &(&str, &str)| {
        let process: ProcessType = name.parse().unwrap();
        (process, Service { command: format!("NUMBER={build}; {command}"), arn: String::new() })
    };
    ReleasePlan {
        sequence: build,
        image: image.to_owned(),
        launcher: false,
        release_command: None,
        postdeploy_command: None,
        pre_destroy_command: None,
        services: services.iter().map(service).collect::<BTreeMap<_, _>>(),
    }
}

async fn page(address: SocketAddr) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("http://{address}/")).send().await.unwrap().text().await.unwrap().trim().to_owned()
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_task_runs_once_however_often_it_is_asked_for() {
    let bench = Bench::new().await;
    let task = bench.task(1, 1, "echo \"$GREETING $APPPACK_APPNAME\"; echo x >>/tmp/runs; wc -l </tmp/runs; exit 3");
    assert_eq!(bench.place.task(&bench.lane, &task.key).await.unwrap(), TaskStatus::NeverRequested);
    let wanted = format!("hello from {}\n1\n", bench.lane.app);
    for _ in 0..2 {
        bench.place.start_task(&task).await.unwrap();
        let end = bench.task_end(&task.key).await;
        assert_eq!(end, TaskStatus::Exited { code: 3, reason: None, log: Some(wanted.clone().into_bytes()) });
    }
    // Another attempt is another task, and somebody who knows nothing of the first one sees both.
    let again = bench.task(1, 2, "true");
    let other = place(&bench.engine, &bench.parameters, &bench.clock, &bench.routes);
    other.start_task(&again).await.unwrap();
    assert!(matches!(bench.task_end(&again.key).await, TaskStatus::Exited { code: 0, .. }));
    assert!(matches!(other.task(&bench.lane, &task.key).await.unwrap(), TaskStatus::Exited { code: 3, .. }));
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_task_that_runs_is_stopped_and_one_that_cannot_start_is_gone() {
    let bench = Bench::new().await;
    let task = bench.task(1, 1, "trap 'exit 9' TERM; mkfifo /tmp/f; while :; do read line <>/tmp/f; done");
    bench.place.start_task(&task).await.unwrap();
    assert!(matches!(
        bench.place.task(&bench.lane, &task.key).await.unwrap(),
        TaskStatus::Running { .. } | TaskStatus::Exited { .. }
    ));
    bench.place.stop_task(&bench.lane, &task.key).await.unwrap();
    bench.place.stop_task(&bench.lane, &task.key).await.unwrap();
    assert!(matches!(bench.task_end(&task.key).await, TaskStatus::Exited { .. }));

    // Made by somebody who was killed before starting it; and it cannot be started.
    let task = bench.task(2, 1, "true");
    let name = format!("{}-{}-t", bench.lane.app, task.key);
    docker(&["create", "--name", &name, "--entrypoint", "/no/such/program", SHELL_IMAGE]);
    assert_eq!(bench.place.task(&bench.lane, &task.key).await.unwrap(), TaskStatus::Starting);
    bench.place.start_task(&task).await.unwrap();
    assert!(
        matches!(bench.task_end(&task.key).await, TaskStatus::Gone { reason, .. } if reason.contains("/no/such/program"))
    );
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_release_takes_over_once_it_answers_and_the_one_before_is_gone() {
    let bench = Bench::new().await;
    let services = [("web", SERVER), ("worker", "exec tail -f /dev/null")];
    assert_eq!(bench.deploy(1, &services).await, ServicesState::Steady);
    let first = bench.routes.all();
    assert_eq!(page(first[0]).await, "hello from 1");
    assert_eq!(bench.containers(), ["web-1", "worker-1"]);
    assert!(first[0].ip().is_loopback());

    // Asked again, and looked at by somebody new: nothing happens.
    bench.place.update_services(&bench.lane, &formation(1, &services)).await.unwrap();
    let other = place(&bench.engine, &bench.parameters, &bench.clock, &bench.routes);
    assert_eq!(other.services(&bench.lane, BuildNumber(1)).await.unwrap(), Some(ServicesState::Steady));
    assert_eq!(
        (bench.containers(), bench.routes.all()),
        (vec!["web-1".to_owned(), "worker-1".to_owned()], first.clone())
    );

    assert_eq!(bench.deploy(2, &services[..1]).await, ServicesState::Steady);
    let routes = bench.routes.all();
    assert_eq!(routes.len(), 2);
    assert_eq!(page(routes[1]).await, "hello from 2");
    assert_eq!(bench.containers(), ["web-2"]);

    // A late order of the older release changes nothing.
    bench.place.update_services(&bench.lane, &formation(1, &services)).await.unwrap();
    assert_eq!(bench.containers(), ["web-2"]);

    bench.place.remove(&bench.lane).await.unwrap();
    bench.place.remove(&bench.lane).await.unwrap();
    assert!(bench.containers().is_empty());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_broken_release_is_explained_and_taken_away_and_the_one_before_runs_on() {
    let bench = Bench::new().await;
    assert_eq!(bench.deploy(1, &[("web", SERVER)]).await, ServicesState::Steady);
    // Its web process never answers, so that what ends first is what decides.
    let crash = [("web", "exec tail -f /dev/null"), ("worker", "echo cannot find the queue >&2; exit 7")];
    let ServicesState::Failed { cause } = bench.deploy(2, &crash).await else { panic!("it is healthy") };
    assert!(cause.contains("`worker` exited with code 7"), "{cause}");
    assert!(cause.contains("cannot find the queue"), "{cause}");
    assert_eq!(bench.containers(), ["web-1"]);

    // One that never answers is given up when its time is over.
    let mute = plan(3, SHELL_IMAGE, &[("web", "echo thinking; exec tail -f /dev/null")]);
    bench.place.update_services(&bench.lane, &formation_of(3, mute)).await.unwrap();
    assert_eq!(bench.place.services(&bench.lane, BuildNumber(3)).await.unwrap(), None);
    bench.clock.advance(61);
    let ServicesState::Failed { cause } = bench.outcome(3).await else { panic!("it is healthy") };
    assert!(cause.contains("did not answer on port 8080") && cause.contains("thinking"), "{cause}");
    assert_eq!(bench.containers(), ["web-1"]);
    assert_eq!(page(*bench.routes.all().last().unwrap()).await, "hello from 1");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn an_app_without_a_web_process_is_steady_once_it_stays_up() {
    let bench = Bench::new().await;
    let worker = [("worker", "exec tail -f /dev/null")];
    assert_eq!(bench.deploy(1, &worker).await, ServicesState::Steady);
    assert!(bench.routes.all().is_empty());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_worker_that_ends_after_the_web_process_answers_still_breaks_the_release() {
    let mut bench = Bench::new().await;
    // Nothing but the end of a process ends this wait.
    bench.place = bench.place.with_settle_time(Duration::from_hours(1));
    let worker = "python3 -c 'import sys, time, urllib.request as u
for _ in range(600):
    try: u.urlopen(\"http://web:8080/\"); break
    except OSError: time.sleep(0.05)
sys.exit(\"no such queue\")'";
    let ServicesState::Failed { cause } = bench.deploy(1, &[("web", SERVER), ("worker", worker)]).await else {
        panic!("it is healthy")
    };
    assert!(cause.contains("`worker` exited with code 1") && cause.contains("no such queue"), "{cause}");
    assert!(bench.routes.all().is_empty(), "no request went there");
    assert!(bench.containers().is_empty());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_release_is_known_by_all_that_it_is_started_from() {
    let bench = Bench::new().await;
    let services = [("web", SERVER), ("worker", "exec tail -f /dev/null")];
    let (one, lane) = (plan(1, SHELL_IMAGE, &services), &bench.lane);
    assert!(!bench.place.runs(lane, BuildNumber(1), &one).await.unwrap(), "nothing runs");
    assert_eq!(bench.deploy(1, &services).await, ServicesState::Steady);
    assert!(bench.place.runs(lane, BuildNumber(1), &one).await.unwrap());
    assert!(!bench.place.runs(lane, BuildNumber(1), &plan(1, SHELL_IMAGE, &services[..1])).await.unwrap());
    assert!(
        !bench
            .place
            .runs(lane, BuildNumber(1), &plan(1, SHELL_IMAGE, &[services[0], ("worker", "exec cat")]))
            .await
            .unwrap()
    );

    let variable = format!("/apppack/apps/{}/config/GREETING", bench.lane.app);
    bench.parameters.put(&variable, "good day from").await.unwrap();
    assert!(!bench.place.runs(lane, BuildNumber(1), &one).await.unwrap(), "a variable is another one");
    bench.parameters.put(&variable, "hello from").await.unwrap();
    assert!(bench.place.runs(lane, BuildNumber(1), &one).await.unwrap());
    docker(&["kill", &format!("{}-worker-1-t", bench.lane.app)]);
    assert!(!bench.place.runs(lane, BuildNumber(1), &one).await.unwrap(), "a process is gone");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn what_a_killed_up_left_is_taken_over_or_taken_away() {
    let bench = Bench::new().await;
    assert_eq!(bench.deploy(1, &[("web", SERVER)]).await, ServicesState::Steady);
    // Begun by somebody who was killed.
    bench.place.update_services(&bench.lane, &formation(2, &[("web", SERVER)])).await.unwrap();
    let routes = Arc::new(Seen::default());
    let other = place(&bench.engine, &bench.parameters, &bench.clock, &routes);
    let live = plan(1, SHELL_IMAGE, &[("web", SERVER)]);
    assert!(other.adopt(&bench.lane, Some((BuildNumber(1), &live))).await.unwrap());
    assert_eq!(bench.containers(), ["web-1"]);
    assert_eq!(page(routes.all()[0]).await, "hello from 1");

    docker(&["kill", &format!("{}-web-1-t", bench.lane.app)]);
    assert!(!other.adopt(&bench.lane, Some((BuildNumber(1), &live))).await.unwrap());
    assert!(bench.containers().is_empty());
    assert!(!other.adopt(&bench.lane, None).await.unwrap());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn an_engine_without_its_init_program_runs_releases_too() {
    let bench = Bench::new().await;
    let engine = Arc::new(WithoutInit::new(bench.engine.clone()));
    let place =
        ContainerPlace::new(engine, bench.parameters.clone(), bench.clock.clone(), bench.routes.clone(), "t").unwrap();
    let task = bench.task(1, 1, "echo migrated");
    place.start_task(&task).await.unwrap();
    assert_eq!(
        bench.task_end(&task.key).await,
        TaskStatus::Exited { code: 0, reason: None, log: Some(b"migrated\n".to_vec()) }
    );
    place.update_services(&bench.lane, &formation(1, &[("web", SERVER)])).await.unwrap();
    assert_eq!(bench.outcome(1).await, ServicesState::Steady);
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and pack"]
async fn an_image_of_buildpacks_runs_its_own_processes_and_tasks_in_its_environment() {
    let bench = Bench::new().await;
    let name = bench.lane.app.to_string();
    let app = app(&format!("web: NUMBER=own; {SERVER}\n"));
    std::fs::write(app.path().join(".profile"), "export FROM_PROFILE=yes\n").unwrap();
    let settings = PackSettings { program: parts::pack().into(), ..PackSettings::default() };
    let built = PackBuilder::new(settings, bench.engine.clone(), None)
        .build(&local(app.path(), &name), &Lines::default())
        .await;
    let image = built.unwrap().digest;

    let formation = formation_of(1, plan(1, &image, &[]));
    let task = TaskRequest { formation, ..bench.task(1, 1, "echo \"a  b $FROM_PROFILE\"") };
    bench.place.start_task(&task).await.unwrap();
    let end = bench.task_end(&task.key).await;
    assert_eq!(end, TaskStatus::Exited { code: 0, reason: None, log: Some(b"a  b yes\n".to_vec()) });

    let shown = plan(1, &image, &[("web", "as shown to people")]);
    bench.place.update_services(&bench.lane, &formation_of(1, shown)).await.unwrap();
    assert_eq!(bench.outcome(1).await, ServicesState::Steady);
    assert_eq!(page(bench.routes.all()[0]).await, "hello from own");
}
