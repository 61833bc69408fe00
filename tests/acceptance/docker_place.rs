//! Release tasks and services as containers, on the real engine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use packhorse::adapters::docker::Docker;
use packhorse::adapters::docker::place::ContainerPlace;
use packhorse::adapters::memory::{MemoryParameters, MemoryPlaceRecords, SettableClock};
use packhorse::adapters::pack::{PackBuilder, PackSettings};
use packhorse::domain::formation::{Formation, Scaling, ScheduledTask};
use packhorse::domain::lane::{LaneKey, ReleasePlan, Service, ServicesState, TaskKey, TaskKind};
use packhorse::domain::names::{BuildNumber, EpochSeconds, ProcessType};
use packhorse::ports::image_builder::ImageBuilder;
use packhorse::ports::lane_store::Version;
use packhorse::ports::parameters::ParameterStore;
use packhorse::ports::place::{Place, TaskRequest, TaskStatus};
use packhorse::ports::place_records::PlaceRecords;
use packhorse::ports::routes::Routes;

use crate::support::app::{Lines, app, local};
use crate::support::docker::{Broom, SHELL_IMAGE, WithoutInit, docker, engine, random_name};
use crate::support::parts;

/// Serves a page that names its build.
const SERVER: &str = "mkdir -p /tmp/www && cd /tmp/www && echo \"$GREETING $NUMBER\" >index.html && \
                      exec python3 -m http.server \"$PORT\"";

#[derive(Default)]
struct Seen(Mutex<Vec<Vec<SocketAddr>>>);

#[async_trait]
impl Routes for Seen {
    async fn point_to(&self, _: &LaneKey, web: &[SocketAddr]) {
        let mut seen = self.0.lock().unwrap();
        if seen.last().map(Vec::as_slice).unwrap_or_default() != web {
            seen.push(web.to_vec());
        }
    }
}

impl Seen {
    /// Every address to which requests went.
    fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().concat()
    }

    /// Where requests go now.
    fn last(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

/// An app of its own on the real engine.
struct Bench {
    engine: Docker,
    place: ContainerPlace,
    parameters: Arc<MemoryParameters>,
    records: Arc<MemoryPlaceRecords>,
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
        let records = Arc::new(MemoryPlaceRecords::default());
        let place = place(&engine, &parameters, &records, &clock, &routes);
        Self { engine, place, parameters, records, clock, routes, lane, _broom: Broom(name) }
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

    /// Somebody else who looks after the same app, after this one was killed.
    fn another(&self, records: &Arc<MemoryPlaceRecords>, routes: &Arc<Seen>) -> ContainerPlace {
        place(&self.engine, &self.parameters, records, &self.clock, routes)
    }

    /// Sets a config variable.
    async fn set(&self, name: &str, value: &str) {
        self.parameters.put(&format!("/apppack/apps/{}/config/{name}", self.lane.app), value).await.unwrap();
    }

    /// The name of the container of a process, such as `web-1-1`.
    fn container(&self, process: &str) -> String {
        let name = format!("name=^{}-{process}-", self.lane.app);
        docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &name]).trim().to_owned()
    }

    /// The names of all its services' containers.
    fn container_names(&self) -> Vec<String> {
        let name = format!("name=^{}-w", self.lane.app);
        let names = docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &name]);
        let mut names: Vec<_> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// All of its containers: the build of each service and the number of the process, and tasks by their names.
    fn containers(&self) -> Vec<String> {
        let label = format!("name=^{}-", self.lane.app);
        let mut names: Vec<_> = docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &label])
            .lines()
            .map(|name| name.trim_start_matches(&format!("{}-", self.lane.app)).trim_end_matches("-t"))
            .map(|name| match name.rsplit_once('-') {
                Some((process, revision)) if revision.len() == 8 => process.to_owned(),
                _ => name.to_owned(),
            })
            .collect();
        names.sort();
        names
    }
}

fn place(
    engine: &Docker,
    parameters: &Arc<MemoryParameters>,
    records: &Arc<MemoryPlaceRecords>,
    clock: &Arc<SettableClock>,
    routes: &Arc<Seen>,
) -> ContainerPlace {
    let (engine, clock) = (Arc::new(engine.clone()), clock.clone());
    ContainerPlace::new(engine, parameters.clone(), records.clone(), clock, routes.clone(), "t")
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
    let other = bench.another(&bench.records, &bench.routes);
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
    assert_eq!(bench.containers(), ["web-1-1", "worker-1-1"]);
    assert!(first[0].ip().is_loopback());

    // Asked again, and looked at by somebody new: nothing happens.
    bench.place.update_services(&bench.lane, &formation(1, &services)).await.unwrap();
    let other = bench.another(&bench.records, &bench.routes);
    assert_eq!(other.services(&bench.lane, BuildNumber(1)).await.unwrap(), Some(ServicesState::Steady));
    assert_eq!(
        (bench.containers(), bench.routes.all()),
        (vec!["web-1-1".to_owned(), "worker-1-1".to_owned()], first.clone())
    );

    assert_eq!(bench.deploy(2, &services[..1]).await, ServicesState::Steady);
    let routes = bench.routes.all();
    assert_eq!(routes.len(), 2);
    assert_eq!(page(routes[1]).await, "hello from 2");
    assert_eq!(bench.containers(), ["web-2-1"]);

    // A late order of the older release changes nothing.
    bench.place.update_services(&bench.lane, &formation(1, &services)).await.unwrap();
    assert_eq!(bench.containers(), ["web-2-1"]);

    bench.place.remove(&bench.lane, 3).await.unwrap();
    bench.place.remove(&bench.lane, 3).await.unwrap();
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
    assert_eq!(bench.containers(), ["web-1-1"]);

    // One that never answers is given up when its time is over.
    let mute = plan(3, SHELL_IMAGE, &[("web", "echo thinking; exec tail -f /dev/null")]);
    bench.place.update_services(&bench.lane, &formation_of(3, mute)).await.unwrap();
    assert_eq!(bench.place.services(&bench.lane, BuildNumber(3)).await.unwrap(), None);
    while !docker(&["logs", &bench.container("web-3")]).contains("thinking") {
        std::thread::yield_now();
    }
    bench.clock.advance(61);
    let ServicesState::Failed { cause } = bench.outcome(3).await else { panic!("it is healthy") };
    assert!(cause.contains("did not answer on port 8080") && cause.contains("thinking"), "{cause}");
    assert_eq!(bench.containers(), ["web-1-1"]);
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
    let (one, lane) = (formation(1, &services), &bench.lane);
    assert!(!bench.place.runs(lane, &one).await.unwrap(), "nothing runs");
    assert_eq!(bench.deploy(1, &services).await, ServicesState::Steady);
    assert!(bench.place.runs(lane, &one).await.unwrap());
    assert!(!bench.place.runs(lane, &formation(1, &services[..1])).await.unwrap());
    assert!(!bench.place.runs(lane, &formation(1, &[services[0], ("worker", "exec cat")])).await.unwrap());

    bench.set("GREETING", "good day from").await;
    assert!(!bench.place.runs(lane, &one).await.unwrap(), "a variable is another one");
    bench.set("GREETING", "hello from").await;
    assert!(bench.place.runs(lane, &one).await.unwrap());
    docker(&["kill", &bench.container("worker-1-1")]);
    assert!(!bench.place.runs(lane, &one).await.unwrap(), "a process is gone");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn what_a_killed_up_left_is_taken_over_or_taken_away() {
    let bench = Bench::new().await;
    assert_eq!(bench.deploy(1, &[("web", SERVER)]).await, ServicesState::Steady);
    // Begun by somebody who was killed.
    bench.place.update_services(&bench.lane, &formation(2, &[("web", SERVER)])).await.unwrap();
    let routes = Arc::new(Seen::default());
    let other = bench.another(&bench.records, &routes);
    let live = formation(1, &[("web", SERVER)]);
    assert!(other.adopt(&bench.lane, Some(&live)).await.unwrap());
    assert_eq!(bench.containers(), ["web-1-1"]);
    assert_eq!(page(routes.all()[0]).await, "hello from 1");

    docker(&["kill", &bench.container("web-1-1")]);
    assert!(!other.adopt(&bench.lane, Some(&live)).await.unwrap());
    assert!(bench.containers().is_empty());
    assert!(!other.adopt(&bench.lane, None).await.unwrap());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn requests_go_to_every_web_process_and_each_has_its_memory() {
    let bench = Bench::new().await;
    let scaling = |count: u32| {
        let text = r#"{"web":{"cpu":512,"memory":96,"min_processes":N,"max_processes":N}}"#;
        Scaling::default().with(&text.replace('N', &count.to_string())).unwrap()
    };
    let wanted = |sequence: u64, count: u32| {
        let plan = ReleasePlan { sequence, ..plan(1, SHELL_IMAGE, &[("web", SERVER)]) };
        Formation { scaling: scaling(count), ..formation_of(1, plan) }
    };
    for (sequence, count) in [(1, 2), (2, 3), (3, 0), (4, 1)] {
        bench.place.update_services(&bench.lane, &wanted(sequence, count)).await.unwrap();
        assert_eq!(bench.outcome(1).await, ServicesState::Steady);
        let addresses = bench.routes.last();
        assert_eq!((addresses.len(), bench.containers().len()), (count as usize, count as usize));
        for address in addresses {
            assert_eq!(page(address).await, "hello from 1");
        }
    }
    let memory = docker(&["inspect", "--format", "{{.HostConfig.Memory}}", &bench.container("web-1-1")]);
    assert_eq!(memory.trim(), (96 * 1024 * 1024).to_string());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn whatever_needs_more_memory_than_it_has_says_so() {
    let mut bench = Bench::new().await;
    // Nothing but the end of a process ends this wait.
    bench.place = bench.place.with_settle_time(Duration::from_hours(1));
    let greedy = "exec python3 -c 'bytearray(500 << 20)'";
    let little = r#"{"cpu":512,"memory":64,"min_processes":1,"max_processes":1}"#;
    let scaling = Scaling::default().with(&format!(r#"{{"worker":{little},"release":{little}}}"#)).unwrap();
    let wanted = Formation { scaling, ..formation(1, &[("worker", greedy)]) };
    let task = TaskRequest { formation: wanted.clone(), ..bench.task(1, 1, greedy) };
    bench.place.start_task(&task).await.unwrap();
    let TaskStatus::Exited { code: 137, reason: Some(reason), .. } = bench.task_end(&task.key).await else {
        panic!("it has enough")
    };
    assert_eq!(reason, "it ran out of memory");
    bench.place.update_services(&bench.lane, &wanted).await.unwrap();
    let ServicesState::Failed { cause } = bench.outcome(1).await else { panic!("it has enough") };
    assert!(cause.contains("`worker` exited with code 137, since it ran out of memory"), "{cause}");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn settings_that_break_a_process_leave_all_that_ran_running() {
    let bench = Bench::new().await;
    let services = [("web", SERVER), ("worker", "test \"$GREETING\" != wrong || exit 5; exec tail -f /dev/null")];
    assert_eq!(bench.deploy(1, &services).await, ServicesState::Steady);
    let (before, routes) = (bench.container_names(), bench.routes.last());
    bench.set("GREETING", "wrong").await;
    let mut wanted = formation(1, &services);
    wanted.plan.sequence = 2;
    bench.place.update_services(&bench.lane, &wanted).await.unwrap();
    let ServicesState::Failed { cause } = bench.outcome(1).await else { panic!("it runs") };
    assert!(cause.contains("`worker` exited with code 5"), "{cause}");
    assert_eq!((bench.container_names(), bench.routes.last()), (before.clone(), routes));

    // With settings that are good again, nothing is to be replaced.
    bench.set("GREETING", "hello from").await;
    wanted.plan.sequence = 3;
    bench.place.update_services(&bench.lane, &wanted).await.unwrap();
    assert_eq!(bench.outcome(1).await, ServicesState::Steady);
    assert_eq!(bench.container_names(), before);
    docker(&["kill", &bench.container("worker-1-1")]);
    wanted.plan.sequence = 4;
    bench.place.update_services(&bench.lane, &wanted).await.unwrap();
    assert_eq!(bench.outcome(1).await, ServicesState::Steady, "a process that has ended is started again");
    let (late, now) = (formation(1, &services[..1]), bench.container_names());
    bench.place.update_services(&bench.lane, &late).await.unwrap();
    assert_eq!(bench.container_names(), now, "an order from before comes too late");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_job_that_is_due_is_started_once_and_is_gone_after_its_end() {
    let bench = Bench::new().await;
    let task = |command: &str| ScheduledTask { schedule: "* * * * ? *".to_owned(), command: command.to_owned() };
    let jobs = vec![task("echo \"$GREETING a job\"; exit 3"), task("exec tail -f /dev/null")];
    let wanted = Formation { scheduled_tasks: jobs, ..formation(1, &[("worker", "exec tail -f /dev/null")]) };
    bench.place.update_services(&bench.lane, &wanted).await.unwrap();
    bench.clock.advance(120);
    assert!(bench.place.start_due_jobs(&bench.lane).await.unwrap().is_empty());
    assert!(bench.place.jobs(&bench.lane).await.unwrap().is_empty(), "nobody has seen the release run");
    assert_eq!(bench.outcome(1).await, ServicesState::Steady);
    assert!(bench.place.start_due_jobs(&bench.lane).await.unwrap().is_empty());
    assert!(bench.place.jobs(&bench.lane).await.unwrap().is_empty(), "what was due before it ran is none of its own");

    let (before, _) = bench.records.load(&bench.lane).await.unwrap();
    bench.clock.advance(60);
    for _ in 0..2 {
        assert!(bench.place.start_due_jobs(&bench.lane).await.unwrap().is_empty());
    }
    let started = bench.place.jobs(&bench.lane).await.unwrap();
    assert_eq!(started.len(), 2);
    // Somebody who was killed before he noted what he had started.
    let records = Arc::new(MemoryPlaceRecords::default());
    records.commit(&bench.lane, Version(0), &before).await.unwrap();
    let other = bench.another(&records, &bench.routes);
    assert!(other.start_due_jobs(&bench.lane).await.unwrap().is_empty());
    assert_eq!(other.jobs(&bench.lane).await.unwrap(), started);

    let speaks = |container: &&String| docker(&["inspect", "--format", "{{.Config.Cmd}}", container]).contains("a job");
    let short = started.iter().find(speaks).unwrap();
    let lines = Mutex::new(Vec::new());
    let keep = |line: &str| lines.lock().unwrap().push(line.to_owned());
    bench.place.follow(short, &keep).await.unwrap();
    assert_eq!(lines.into_inner().unwrap(), ["hello from a job"]);
    assert_eq!(bench.place.end_of_job(short).await.unwrap(), 3);
    assert!(bench.place.start_due_jobs(&bench.lane).await.unwrap().is_empty());
    assert_eq!(bench.place.jobs(&bench.lane).await.unwrap().len(), 1, "gone, and not started again");
    bench.clock.advance(60);
    assert!(bench.place.start_due_jobs(&bench.lane).await.unwrap().is_empty());
    assert_eq!(bench.place.jobs(&bench.lane).await.unwrap().len(), 3, "the next minute's");
    bench.place.remove(&bench.lane, 9).await.unwrap();
    assert!(bench.containers().is_empty());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn an_engine_without_its_init_program_runs_releases_too() {
    let bench = Bench::new().await;
    let engine = Arc::new(WithoutInit::new(bench.engine.clone()));
    let place = ContainerPlace::new(
        engine,
        bench.parameters.clone(),
        bench.records.clone(),
        bench.clock.clone(),
        bench.routes.clone(),
        "t",
    )
    .unwrap();
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
