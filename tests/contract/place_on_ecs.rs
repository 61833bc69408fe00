//! What ECS is asked for: requests as they arrive at the stand-in, and what its answers mean.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use packhorse::adapters::aws::EcsPlace;
use packhorse::adapters::local::SystemClock;
use packhorse::adapters::memory::{MemoryPlaceRecords, MemorySettings};
use packhorse::domain::app_settings::Settings;
use packhorse::domain::formation::{ConfigName, Formation, Scaling, ScheduledTask};
use packhorse::domain::lane::{LaneKey, ServicesState, TaskKey};
use packhorse::domain::names::BuildNumber;
use packhorse::ports::app_settings::AppSettings;
use packhorse::ports::failure::Failure;
use packhorse::ports::place::{Loss, Place, TaskStatus};
use serde_json::{Value, json};

use super::app_settings::{ecs_arguments, settings_of};
use super::place::{Bench, end, formation, outcome, task};
use crate::support::aws::{make_schedule_group, schedules_of, settings as client_settings};
use crate::support::ecs::{DeployScript, FakeEcs, Fault, TaskScript};
use crate::support::lanes::random_name;
use crate::support::{http, parts};

/// An app of its own on the stand-in; its logs and schedules lie in moto.
pub(crate) struct Ecs {
    pub(crate) fake: FakeEcs,
    pub(crate) place: EcsPlace,
    pub(crate) lane: LaneKey,
    records: Arc<MemoryPlaceRecords>,
    settings: Arc<MemorySettings>,
}

#[async_trait::async_trait]
impl Bench for Ecs {
    fn place(&self) -> &dyn Place {
        &self.place
    }

    fn lane(&self) -> &LaneKey {
        &self.lane
    }

    fn image(&self) -> String {
        format!("registry.test/shop@sha256:{}", "0".repeat(64))
    }

    fn command(&self, says: &'static str, code: i64) -> String {
        self.fake.tasks_go(&self.family("release"), [TaskScript::Exits(code, says)]);
        format!("say {says}; exit {code}")
    }

    fn endless(&self) -> String {
        self.fake.tasks_go(&self.family("release"), [TaskScript::Stays]);
        "run".to_owned()
    }

    fn process(&self, build: u64, healthy: bool) -> String {
        if !healthy {
            self.fake.deploys_go(&self.family("web"), [DeployScript::Fails]);
        }
        format!("serve {build}")
    }

    fn started(&self) -> usize {
        self.fake.started(&self.family("release"))
    }

    async fn set(&self, name: &str, value: &str) -> Vec<ConfigName> {
        vec![variable(name, value)]
    }

    fn running(&self, process: &str) -> BTreeSet<String> {
        let service = self.fake.service(&self.family(process)).unwrap();
        let (definition, count) = (service["taskDefinition"].as_str().unwrap(), service["desiredCount"].as_u64());
        (0..count.unwrap()).map(|number| format!("{definition}#{number}")).collect()
    }

    async fn jobs(&self) -> Vec<String> {
        let command = |schedule: &Value| {
            let input: Value = serde_json::from_str(schedule["Target"]["Input"].as_str().unwrap()).unwrap();
            input["containerOverrides"][0]["command"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned()
        };
        let mut commands: Vec<_> = self.schedules().iter().map(command).collect();
        commands.sort();
        commands
    }
}

impl Drop for Ecs {
    fn drop(&mut self) {
        let group = json!({"logGroupName": format!("/apppack/apps/{}", self.lane.app)});
        let _ = http::call(&parts::moto(), "logs", "Logs_20140328.DeleteLogGroup", &group);
    }
}

impl Ecs {
    fn family(&self, word: &str) -> String {
        format!("{}-{word}", self.lane.resource_prefix())
    }

    /// Another orchestrator for the same app.
    async fn another(&self) -> EcsPlace {
        place(&self.fake, &self.settings, &self.records).await
    }

    async fn update(&self, formation: &Formation) {
        self.place.update_services(&self.lane, formation).await.unwrap();
    }

    async fn deploy(&self, formation: &Formation) -> ServicesState {
        self.update(formation).await;
        outcome(self, formation.build.0).await
    }

    fn schedules(&self) -> Vec<Value> {
        let names = schedules_of(self.lane.app.as_str()).into_iter();
        names.map(|name| moto("scheduler", "GET", &format!("/schedules/{name}?groupName=apppack"), "")).collect()
    }
}

fn moto(service: &str, method: &str, path: &str, body: &str) -> Value {
    let answer = http::ask(&parts::moto(), service, method, path, &[("content-type", "application/json")], body);
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{path}: {answer:?}"))
}

async fn place(fake: &FakeEcs, settings: &Arc<MemorySettings>, records: &Arc<MemoryPlaceRecords>) -> EcsPlace {
    let clients = crate::support::aws::clients_by_service(
        &client_settings(&parts::moto()),
        &["ecs", "application-autoscaling", "events"].map(|service| (service, fake.url())),
    )
    .await;
    EcsPlace::new(&clients, settings.clone(), records.clone(), Arc::new(SystemClock)).with_log_delay(Duration::ZERO)
}

pub(crate) async fn open() -> Ecs {
    open_with(LaneKey::app(random_name("shop").parse().unwrap()), &ecs_arguments()).await
}

async fn open_with(lane: LaneKey, arguments: &Value) -> Ecs {
    let mut stacks = settings_of(lane.app.as_str());
    stacks["orchestrator"]["events_role_arn"] = "arn:aws:iam::111122223333:role/shop-events".into();
    let own = lane.pull_request.map(|_| json!({"domains": ["pr.example.com"]}));
    let read = Settings::read(&stacks, own.as_ref(), Some(arguments)).unwrap();
    let group = json!({"logGroupName": read.log_group});
    http::call(&parts::moto(), "logs", "Logs_20140328.CreateLogGroup", &group).unwrap();
    make_schedule_group();
    let fake = FakeEcs::start().await;
    fake.log_to(&parts::moto());
    let (settings, records) = (Arc::new(MemorySettings::new(read)), Arc::new(MemoryPlaceRecords::default()));
    let place = place(&fake, &settings, &records).await;
    Ecs { fake, place, lane, records, settings }
}

fn variable(name: &str, version: &str) -> ConfigName {
    let parameter = format!("/apppack/apps/shop/config/{name}");
    ConfigName { name: name.to_owned(), parameter, version: version.to_owned() }
}

fn scaled(text: &str) -> Scaling {
    Scaling::default().with(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn repeating_an_order_changes_nothing() {
    let bench = open().await;
    let formation = Formation {
        config: vec![variable("DATABASE_URL", "1")],
        scheduled_tasks: vec![ScheduledTask { schedule: "0 0 * * ? *".to_owned(), command: "job".to_owned() }],
        scaling: scaled(r#"{"worker":{"cpu":512,"memory":1024,"min_processes":1,"max_processes":3}}"#),
        ..formation(&bench, 1, &[("web", true), ("worker", true)])
    };
    assert_eq!(bench.deploy(&formation).await, ServicesState::Steady);
    assert_eq!(bench.schedules().len(), 1);
    bench.fake.forget_calls();
    for place in [&bench.place, &bench.another().await] {
        place.update_services(&bench.lane, &formation).await.unwrap();
        assert_eq!(place.services(&bench.lane, BuildNumber(1)).await.unwrap(), Some(ServicesState::Steady));
    }
    assert!(bench.fake.changes().is_empty(), "{:?}", bench.fake.changes());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_changed_variable_restarts_the_services_once() {
    let bench = open().await;
    let before = Formation { config: vec![variable("KEY", "1")], ..formation(&bench, 1, &[("web", true)]) };
    assert_eq!(bench.deploy(&before).await, ServicesState::Steady);
    let revision = bench.fake.service(&bench.family("web")).unwrap()["taskDefinition"].clone();
    bench.fake.forget_calls();
    let after = Formation { config: vec![variable("KEY", "2")], ..before };
    for _ in 0..3 {
        bench.update(&after).await;
    }
    assert_eq!(bench.fake.deployments(&bench.family("web")), 2);
    assert_ne!(bench.fake.service(&bench.family("web")).unwrap()["taskDefinition"], revision);
    assert_eq!(outcome(&bench, 1).await, ServicesState::Steady);
    assert_eq!(
        bench.fake.active_revisions(&bench.family("web")),
        [2],
        "the revision before is taken away once the new one runs"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_service_is_asked_for_as_the_contract_says() {
    let bench = open().await;
    let formation = Formation {
        config: vec![variable("SECRET", "1")],
        ..formation(&bench, 42, &[("web", true), ("worker", true)])
    };
    bench.update(&formation).await;
    let created = bench.fake.inputs("CreateService");
    let web = created.iter().find(|input| input["serviceName"] == bench.family("web")).unwrap();
    assert_eq!(web["deploymentConfiguration"]["deploymentCircuitBreaker"], json!({"enable": true, "rollback": true}));
    assert_eq!(
        (&web["healthCheckGracePeriodSeconds"], &web["propagateTags"], &web["launchType"]),
        (&json!(60), &json!("TASK_DEFINITION"), &json!("FARGATE"))
    );
    assert_eq!(web["loadBalancers"][0]["containerPort"], 8080);
    assert_eq!(web["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "ENABLED");
    let worker = created.iter().find(|input| input["serviceName"] == bench.family("worker")).unwrap();
    assert!(worker["loadBalancers"].is_null() && worker["healthCheckGracePeriodSeconds"].is_null());
    let (definition, tags) = bench.fake.definition(&bench.family("web")).unwrap();
    let container = &definition["containerDefinitions"][0];
    assert_eq!((&container["name"], &container["image"]), (&json!("app"), &json!(bench.image())));
    assert_eq!(container["secrets"], json!([{"name": "SECRET", "valueFrom": "/apppack/apps/shop/config/SECRET"}]));
    assert_eq!(container["logConfiguration"]["options"]["awslogs-stream-prefix"], "web");
    assert_eq!((tags["apppack:processType"].as_str(), tags["apppack:buildNumber"].as_str()), ("web", "42"));
    let (_, shell) = bench.fake.definition(&bench.family("shell")).unwrap();
    assert_eq!((shell["apppack:processType"].as_str(), shell["apppack:buildSystem"].as_str()), ("shell", "dockerfile"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn numbers_are_fixed_or_chosen_by_load_within_bounds() {
    let bench = open().await;
    let web = |bounds: &str| scaled(&format!(r#"{{"web":{{"cpu":512,"memory":1024,{bounds}}}}}"#));
    let mut wanted =
        Formation { scaling: web(r#""min_processes":2,"max_processes":4"#), ..formation(&bench, 1, &[("web", true)]) };
    assert_eq!(bench.deploy(&wanted).await, ServicesState::Steady);
    let service = bench.family("web");
    let desired = || bench.fake.service(&service).unwrap()["desiredCount"].as_i64().unwrap();
    assert_eq!((bench.fake.scaling(&service), desired()), (Some((2, 4)), 2));
    bench.fake.set_desired(&service, 3);
    bench.update(&wanted).await;
    assert_eq!(desired(), 3, "a deploy does not undo the scaling");
    wanted.scaling = web(r#""min_processes":5,"max_processes":6"#);
    bench.update(&wanted).await;
    assert_eq!((bench.fake.scaling(&service), desired()), (Some((5, 6)), 5));
    wanted.scaling = web(r#""min_processes":1,"max_processes":1"#);
    bench.update(&wanted).await;
    bench.update(&wanted).await;
    assert_eq!((bench.fake.scaling(&service), desired()), (None, 1));
    assert_eq!(bench.fake.inputs("RegisterTaskDefinition").len(), 2, "how many run is no part of what runs");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_size_that_fargate_does_not_have_is_refused_in_words() {
    let bench = open().await;
    let scaling = scaled(r#"{"web":{"cpu":512,"memory":512,"min_processes":1,"max_processes":1}}"#);
    let wanted = Formation { scaling, ..formation(&bench, 1, &[("web", true)]) };
    let refused = bench.place.update_services(&bench.lane, &wanted).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { .. }));
    assert!(packhorse::ports::failure::chain(&refused).contains("use 1024 to 4096 MiB"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_process_type_that_is_gone_is_removed_once_the_new_release_runs() {
    let bench = open().await;
    assert_eq!(bench.deploy(&formation(&bench, 1, &[("web", true), ("worker", true)])).await, ServicesState::Steady);
    bench.update(&formation(&bench, 2, &[("web", true)])).await;
    assert!(bench.fake.service(&bench.family("worker")).is_some(), "it may be needed again");
    assert_eq!(outcome(&bench, 2).await, ServicesState::Steady);
    assert!(bench.fake.service(&bench.family("worker")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_failed_release_leaves_nothing_of_itself_running() {
    let bench = open().await;
    assert_eq!(bench.deploy(&formation(&bench, 1, &[("web", true), ("worker", true)])).await, ServicesState::Steady);
    let runs = |word: &str| bench.fake.service(&bench.family(word)).map(|service| service["taskDefinition"].clone());
    let before = (runs("web"), runs("worker"));
    let failed = bench.deploy(&formation(&bench, 2, &[("web", false), ("worker", true), ("clock", true)])).await;
    let ServicesState::Failed { cause } = &failed else { panic!("{failed:?}") };
    assert_eq!(cause, "`web`: ECS deployment circuit breaker: tasks failed to start: its process ended with code 1");
    assert_eq!((runs("web"), runs("worker"), runs("clock")), (before.0, before.1, None));
    assert_eq!(outcome(&bench, 2).await, failed, "asked again, the same is told");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_first_release_that_fails_has_nothing_to_go_back_to() {
    let bench = open().await;
    let failed = bench.deploy(&formation(&bench, 1, &[("web", false)])).await;
    assert!(
        matches!(&failed, ServicesState::Failed { cause } if cause.contains("there is no earlier release to go back to")),
        "{failed:?}"
    );
    assert_eq!(bench.deploy(&formation(&bench, 2, &[("web", true)])).await, ServicesState::Steady);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn every_end_of_a_task_is_told_apart() {
    let bench = open().await;
    let memory = TaskStatus::Exited { code: 137, reason: Some("it ran out of memory".to_owned()), log: None };
    let gone = |end, reason: &str| TaskStatus::Gone { end, reason: reason.to_owned() };
    for (build, (script, expected)) in [
        (TaskScript::OutOfMemory, memory),
        (TaskScript::FailsToStart("CannotPullContainerError"), gone(Loss::NeverRan, "CannotPullContainerError")),
        (TaskScript::FailsToStart("Capacity is unavailable"), gone(Loss::NeverRan, "Capacity is unavailable")),
        (TaskScript::Interrupted, gone(Loss::Interrupted, "Your Spot Task was interrupted.")),
    ]
    .into_iter()
    .enumerate()
    {
        bench.fake.tasks_go(&bench.family("release"), [script]);
        let task = task(&bench, build as u64 + 1, "migrate".to_owned());
        bench.place.start_task(&task).await.unwrap();
        assert_eq!(end(&bench, &task.key).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn without_room_a_task_is_asked_for_again() {
    let bench = open().await;
    bench.fake.tasks_go(&bench.family("release"), [TaskScript::NoRoom]);
    let task = task(&bench, 1, "migrate".to_owned());
    let refused = bench.place.start_task(&task).await.unwrap_err();
    assert!(refused.is_passing(), "{refused:?}");
    assert!(packhorse::ports::failure::chain(&refused).contains("RESOURCE:MEMORY: no machine has room"));
    bench.place.start_task(&task).await.unwrap();
    assert!(matches!(end(&bench, &task.key).await, TaskStatus::Exited { code: 0, .. }));
    assert_eq!(bench.started(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_task_whose_answer_was_lost_is_not_started_twice() {
    let bench = open().await;
    // The client itself repeats it; then everything is lost.
    bench.fake.fail("RunTask", 3, Fault::AnswerLost);
    let task = task(&bench, 1, bench.command("migrated", 0));
    assert!(bench.place.start_task(&task).await.unwrap_err().is_passing());
    let other = bench.another().await;
    assert!(matches!(
        other.task(&bench.lane, &task.key).await.unwrap(),
        TaskStatus::NeverRequested | TaskStatus::Starting
    ));
    // With variables that have changed meanwhile, its request is another one.
    let changed = packhorse::ports::place::TaskRequest {
        formation: Formation { config: vec![variable("KEY", "2")], ..task.formation.clone() },
        ..task.clone()
    };
    while other.start_task(&changed).await.is_err() {}
    assert!(matches!(end(&bench, &task.key).await, TaskStatus::Exited { code: 0, .. }));
    assert_eq!(bench.started(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_task_that_ecs_has_forgotten_is_unknown_and_is_not_started_again() {
    let bench = open().await;
    let task = task(&bench, 1, bench.command("migrated", 0));
    bench.place.start_task(&task).await.unwrap();
    assert!(matches!(end(&bench, &task.key).await, TaskStatus::Exited { code: 0, .. }));
    bench.fake.pass(Duration::from_hours(1));
    let status = bench.place.task(&bench.lane, &task.key).await.unwrap();
    assert!(matches!(status, TaskStatus::Starting | TaskStatus::Unknown), "{status:?}");
    bench.place.start_task(&task).await.unwrap();
    assert_eq!(bench.started(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_running_task_names_the_stream_of_its_log() {
    let bench = open().await;
    let task = task(&bench, 1, bench.endless());
    bench.place.start_task(&task).await.unwrap();
    let running = loop {
        if let TaskStatus::Running { arn, logs } = bench.place.task(&bench.lane, &task.key).await.unwrap() {
            break (arn, logs);
        }
    };
    let id = running.0.rsplit('/').next().unwrap();
    assert_eq!(running.1, format!("cloudwatch:///apppack/apps/{}#release/app/{id}", bench.lane.app));
    let asked = &bench.fake.inputs("RunTask")[0];
    assert_eq!(asked["startedBy"], format!("packhorse/{}/release/1-1", bench.lane.app));
    assert_eq!(asked["overrides"]["containerOverrides"][0]["command"], json!(["run"]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn spot_machines_are_asked_for_by_their_provider() {
    let mut arguments = ecs_arguments();
    arguments["run_task_args"].as_object_mut().unwrap().remove("launchType");
    arguments["run_task_args"]["capacityProviderStrategy"] = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let bench = open_with(LaneKey::app(random_name("shop").parse().unwrap()), &arguments).await;
    let task = task(&bench, 1, bench.command("x", 0));
    bench.place.start_task(&task).await.unwrap();
    assert_eq!(bench.deploy(&formation(&bench, 1, &[("web", true)])).await, ServicesState::Steady);
    for operation in ["RunTask", "CreateService"] {
        let asked = &bench.fake.inputs(operation)[0];
        assert!(asked["launchType"].is_null());
        assert_eq!(asked["capacityProviderStrategy"][0]["capacityProvider"], "FARGATE_SPOT", "{operation}");
    }
    bench.fake.forget_calls();
    bench.update(&formation(&bench, 1, &[("web", true)])).await;
    assert!(bench.fake.changes().is_empty(), "{:?}", bench.fake.changes());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn machines_of_ones_own_share_their_address() {
    let arguments = json!({
        "run_task_args": {"cluster": crate::support::ecs::CLUSTER, "launchType": "EC2"},
        "task_definition_args": {"cpu": "300", "memory": "700", "networkMode": "bridge", "executionRoleArn": "arn:aws:iam::111122223333:role/x"},
    });
    let bench = open_with(LaneKey::app(random_name("shop").parse().unwrap()), &arguments).await;
    let wanted = Formation {
        scaling: Scaling::new(packhorse::domain::formation::Size { cpu: 300, memory: 700 }),
        ..formation(&bench, 1, &[("web", true)])
    };
    assert_eq!(bench.deploy(&wanted).await, ServicesState::Steady);
    let (definition, _) = bench.fake.definition(&bench.family("web")).unwrap();
    assert_eq!(definition["containerDefinitions"][0]["portMappings"][0]["hostPort"], 0);
    assert_eq!((&definition["cpu"], &definition["memory"]), (&json!("300"), &json!("700")), "clients read them");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn jobs_follow_the_live_release() {
    let bench = open().await;
    let job = |command: &str| ScheduledTask { schedule: "0 0 * * ? *".to_owned(), command: command.to_owned() };
    let with = |build: u64, jobs: Vec<ScheduledTask>| Formation {
        scheduled_tasks: jobs,
        ..formation(&bench, build, &[("web", true)])
    };
    bench.update(&with(1, vec![job("a"), job("b")])).await;
    assert!(bench.schedules().is_empty(), "an unreleased build runs no jobs");
    assert_eq!(outcome(&bench, 1).await, ServicesState::Steady);
    let schedules = bench.schedules();
    assert_eq!(schedules.len(), 2);
    let target = &schedules[0]["Target"];
    assert_eq!(
        (&schedules[0]["ScheduleExpression"], &target["RoleArn"]),
        (&json!("cron(0 0 * * ? *)"), &json!("arn:aws:iam::111122223333:role/shop-events"))
    );
    assert!(
        target["EcsParameters"]["TaskDefinitionArn"]
            .as_str()
            .unwrap()
            .ends_with(&format!("{}:1", bench.family("scheduler"))),
        "pinned: {target}"
    );
    let commands: BTreeSet<&str> =
        schedules.iter().map(|schedule| schedule["Target"]["Input"].as_str().unwrap()).collect();
    assert_eq!(commands.len(), 2);

    // Of a live release, they change at once.
    bench.update(&with(1, vec![job("b")])).await;
    assert_eq!(bench.schedules().len(), 1);
    // A failed release changes none.
    let failing = Formation { scheduled_tasks: vec![job("c")], ..formation(&bench, 2, &[("web", false)]) };
    assert!(matches!(bench.deploy(&failing).await, ServicesState::Failed { .. }));
    assert!(bench.schedules()[0]["Target"]["Input"].as_str().unwrap().contains("\"b\""));
    assert_eq!(bench.deploy(&with(3, Vec::new())).await, ServicesState::Steady);
    assert!(bench.schedules().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn without_a_role_for_them_jobs_stay_as_they_are_and_no_release_fails() {
    let bench = open().await;
    let app = bench.lane.app.as_str();
    let stacks = Settings::read(&settings_of(app), None, Some(&ecs_arguments())).unwrap();
    assert_eq!(stacks.schedule_role, None);
    let complete = bench.settings.settings(&bench.lane).await.unwrap();
    let job = ScheduledTask { schedule: "0 0 * * ? *".to_owned(), command: "job".to_owned() };
    let with_job =
        |build| Formation { scheduled_tasks: vec![job.clone()], ..formation(&bench, build, &[("web", true)]) };
    bench.settings.set(bench.lane.clone(), stacks);
    assert_eq!(bench.deploy(&with_job(1)).await, ServicesState::Steady);
    assert!(bench.schedules().is_empty());
    let own = bench.fake.service(&bench.family("web")).unwrap()["taskDefinition"].as_str().unwrap().to_owned();
    let rule = format!("apppack-{app}-0");
    bench.fake.put_rule(&rule, &own);
    assert_eq!(bench.deploy(&with_job(2)).await, ServicesState::Steady);
    assert_eq!(bench.fake.rules(), [rule], "what runs goes on running");

    // With the role the next order makes it good.
    bench.settings.set(bench.lane.clone(), complete);
    bench.update(&with_job(2)).await;
    assert_eq!((bench.schedules().len(), bench.fake.rules().len()), (1, 0));
    // Without jobs there is nothing to start, so no role is needed to take them away.
    bench.settings.set(bench.lane.clone(), Settings::read(&settings_of(app), None, Some(&ecs_arguments())).unwrap());
    bench.update(&formation(&bench, 2, &[("web", true)])).await;
    assert!(bench.schedules().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn rules_of_an_earlier_orchestrator_go_and_all_others_stay() {
    let bench = open().await;
    let app = bench.lane.app.as_str();
    assert_eq!(bench.deploy(&formation(&bench, 1, &[("web", true)])).await, ServicesState::Steady);
    let own = bench.fake.service(&bench.family("web")).unwrap()["taskDefinition"].as_str().unwrap().to_owned();
    let others = [format!("apppack-{app}-x-0"), format!("apppack-validate-{app}"), "nightly".to_owned()];
    bench.fake.put_rule(&format!("apppack-{app}-0"), &own);
    for other in &others {
        bench.fake.put_rule(other, "arn:aws:ecs:us-east-1:111122223333:task-definition/other:1");
    }
    bench.update(&formation(&bench, 1, &[("web", true)])).await;
    assert_eq!(bench.fake.rules(), others);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_crash_between_any_two_requests_is_made_good_by_the_next_order() {
    let wanted = |bench: &Ecs| Formation {
        config: vec![variable("KEY", "1")],
        scaling: scaled(r#"{"web":{"cpu":512,"memory":1024,"min_processes":1,"max_processes":3}}"#),
        ..formation(bench, 1, &[("web", true), ("worker", true)])
    };
    let whole = open().await;
    assert_eq!(whole.deploy(&wanted(&whole)).await, ServicesState::Steady);
    let changes = whole.fake.changes().len();
    assert!(changes > 5);
    for survives in 0..changes {
        let bench = open().await;
        bench.fake.break_after(survives);
        let broken = bench.place.update_services(&bench.lane, &wanted(&bench)).await;
        bench.fake.mend();
        assert!(broken.is_err() || survives >= 5, "{survives}");
        assert_eq!(bench.deploy(&wanted(&bench)).await, ServicesState::Steady);
        for family in ["web", "worker", "shell"] {
            assert_eq!(bench.fake.active_revisions(&bench.family(family)).len(), 1, "{survives} {family}");
        }
        assert_eq!(bench.fake.scaling(&bench.family("web")), Some((1, 3)), "{survives}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn a_review_app_is_removed_with_all_that_it_has() {
    let lane = LaneKey { app: random_name("storefront").parse().unwrap(), pull_request: Some("12".parse().unwrap()) };
    let bench = open_with(lane, &ecs_arguments()).await;
    let key = TaskKey { build: BuildNumber(1), ..task(&bench, 1, bench.endless()).key };
    bench.place.start_task(&task(&bench, 1, "run".to_owned())).await.unwrap();
    assert_eq!(bench.deploy(&formation(&bench, 1, &[("web", true)])).await, ServicesState::Steady);
    let asked = &bench.fake.inputs("CreateService")[0];
    assert_eq!(asked["serviceName"], format!("{}-pr12-web", bench.lane.app));
    assert!(asked["loadBalancers"].is_null(), "its requests never come from its pipeline's target group");
    bench.place.remove(&bench.lane, 3).await.unwrap();
    for word in ["web", "release", "shell"] {
        assert!(bench.fake.active_revisions(&bench.family(word)).is_empty(), "{word}");
    }
    assert!(bench.fake.service(&bench.family("web")).is_none());
    assert!(matches!(end(&bench, &key).await, TaskStatus::Gone { end: Loss::Stopped, .. }));
    bench.update(&formation(&bench, 1, &[("web", true)])).await;
    bench.update(&formation(&bench, 2, &[("web", true)])).await;
    assert!(bench.fake.service(&bench.family("web")).is_none(), "a late order brings nothing back");
    assert_eq!(bench.deploy(&formation(&bench, 4, &[("web", true)])).await, ServicesState::Steady);
    bench.place.remove(&bench.lane, 3).await.unwrap();
    assert!(bench.fake.service(&bench.family("web")).is_some(), "a late removal takes nothing away");
}
