//! A stand-in for ECS and Application Auto Scaling where moto is laxer than they are or cannot play a story: how tasks end, how
//! deployments go, tokens, eventual consistency. It refuses what the services' own models refuse, and what `aws-events` 4 says
//! that AWS refuses; what it does not know of is a failure of the test.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

mod definitions;
mod model;
mod rules;
mod scaling;
mod services;
mod tasks;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use packhorse::adapters::local::SystemClock;
use packhorse::ports::clock::Clock;
use serde_json::{Value, json};

use super::lying_server::{Asked, LyingServer, Reply};

pub(crate) const CLUSTER: &str = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
const ACCOUNT: &str = "us-east-1:111122223333";

/// How the next task of a family goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskScript {
    /// Its command ends with this code, after it has written this.
    Exits(i64, &'static str),
    /// Its memory runs out.
    OutOfMemory,
    /// It never starts, for this reason.
    FailsToStart(&'static str),
    /// Its host is taken away while it runs.
    Interrupted,
    /// `RunTask` answers that there is no room for it.
    NoRoom,
    /// It runs until it is stopped.
    Stays,
}

/// How the next deployment of a service goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeployScript {
    /// Its tasks become healthy.
    Works,
    /// They do not, and the circuit breaker ends it.
    Fails,
    /// It stays under way.
    Hangs,
}

/// An answer that refuses.
struct Refusal(&'static str, String);

type Answer = Result<Value, Refusal>;

fn client(message: impl Into<String>) -> Refusal {
    Refusal("ClientException", message.into())
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal("InvalidParameterException", message.into())
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    /// `ecs:RunTask`.
    pub(crate) action: String,
    pub(crate) input: Value,
    /// The token of the session in a role, or empty.
    pub(crate) session: String,
}

#[derive(Default)]
struct State {
    definitions: Vec<definitions::Definition>,
    tasks: Vec<tasks::FakeTask>,
    tokens: BTreeMap<String, (Value, String)>,
    services: BTreeMap<String, services::FakeService>,
    targets: BTreeMap<String, Value>,
    policies: BTreeMap<String, Value>,
    rules: BTreeMap<String, Vec<Value>>,
    task_scripts: BTreeMap<String, VecDeque<TaskScript>>,
    deploy_scripts: BTreeMap<String, VecDeque<DeployScript>>,
    calls: Vec<Called>,
    /// Time that passed without anybody waiting.
    passed: Duration,
    /// How often a new task is not there yet when it is asked for.
    lag: usize,
    numbers: u64,
    /// Where tasks write their logs.
    logs: Option<String>,
    faults: Vec<(&'static str, usize, Fault)>,
    /// How many more changes are taken before whoever asks is cut off.
    survives: Option<usize>,
}

/// What happens to requests besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The service asks for patience.
    Throttled,
    /// It does what it is asked, and its answer is lost.
    AnswerLost,
}

impl State {
    fn now(&self) -> f64 {
        (Duration::from_secs(SystemClock.now().0) + self.passed).as_secs_f64()
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn check_cluster(input: &Value) -> Result<(), Refusal> {
        match input["cluster"].as_str() {
            Some(CLUSTER | "prod") => Ok(()),
            _ => Err(Refusal("ClusterNotFoundException", "Cluster not found.".to_owned())),
        }
    }
}

/// Ends with its drop.
#[derive(Clone)]
pub(crate) struct FakeEcs {
    server: Arc<LyingServer>,
    state: Arc<Mutex<State>>,
}

impl FakeEcs {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State { lag: 1, ..State::default() }));
        let own = Arc::clone(&state);
        let server = LyingServer::start(move |asked| answer(&own, asked)).await;
        Self { server: Arc::new(server), state }
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets tasks write their logs to this stand-in for `CloudWatch` Logs.
    pub(crate) fn log_to(&self, endpoint: &str) {
        self.lock().logs = Some(endpoint.to_owned());
    }

    /// Says how the next tasks of a family go; further ones exit with 0.
    pub(crate) fn tasks_go(&self, family: &str, scripts: impl IntoIterator<Item = TaskScript>) {
        self.lock().task_scripts.entry(family.to_owned()).or_default().extend(scripts);
    }

    /// Says how the next deployments of a service go; further ones work.
    pub(crate) fn deploys_go(&self, service: &str, scripts: impl IntoIterator<Item = DeployScript>) {
        self.lock().deploy_scripts.entry(service.to_owned()).or_default().extend(scripts);
    }

    /// Lets the next requests for an operation meet a fault.
    pub(crate) fn fail(&self, operation: &'static str, times: usize, fault: Fault) {
        self.lock().faults.push((operation, times, fault));
    }

    /// Takes this many further changes, and then answers nothing any more.
    pub(crate) fn break_after(&self, changes: usize) {
        self.lock().survives = Some(changes);
    }

    /// Answers again.
    pub(crate) fn mend(&self) {
        self.lock().survives = None;
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.lock().passed += time;
    }

    /// All requests so far.
    pub(crate) fn calls(&self) -> Vec<Called> {
        self.lock().calls.clone()
    }

    /// The inputs of all requests for an operation, such as `RunTask`.
    pub(crate) fn inputs(&self, operation: &str) -> Vec<Value> {
        let suffix = format!(":{operation}");
        self.calls().into_iter().filter(|call| call.action.ends_with(&suffix)).map(|call| call.input).collect()
    }

    /// The requests that changed something, by name.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.calls()
            .into_iter()
            .map(|call| call.action)
            .filter(|action| is_change(action.split(':').nth(1).unwrap()))
            .collect()
    }

    /// Forgets the requests.
    pub(crate) fn forget_calls(&self) {
        self.lock().calls.clear();
    }

    /// The tasks that were ever started for a family.
    pub(crate) fn started(&self, family: &str) -> usize {
        self.lock().tasks.iter().filter(|task| task.family() == family).count()
    }

    /// A service as it is now.
    pub(crate) fn service(&self, name: &str) -> Option<Value> {
        self.lock()
            .services
            .get(name)
            .map(services::FakeService::described)
            .filter(|service| service["status"] == "ACTIVE")
    }

    /// The newest active definition of a family, with its tags.
    pub(crate) fn definition(&self, family: &str) -> Option<(Value, BTreeMap<String, String>)> {
        let state = self.lock();
        let newest = state.definitions.iter().rev().find(|known| known.active && known.input["family"] == family)?;
        Some((newest.described(), newest.tags()))
    }

    /// The revisions of a family that are active.
    pub(crate) fn active_revisions(&self, family: &str) -> Vec<u64> {
        let state = self.lock();
        state
            .definitions
            .iter()
            .filter(|known| known.active && known.input["family"] == family)
            .map(|known| known.revision)
            .collect()
    }

    /// The bounds of a service's scaling.
    pub(crate) fn scaling(&self, service: &str) -> Option<(i64, i64)> {
        let state = self.lock();
        let target = state.targets.get(&format!("service/prod/{service}"))?;
        Some((target["MinCapacity"].as_i64()?, target["MaxCapacity"].as_i64()?))
    }

    /// How many deployments a service has had.
    pub(crate) fn deployments(&self, service: &str) -> usize {
        self.lock().services[service].begun()
    }

    /// Makes a rule that starts tasks of this definition.
    pub(crate) fn put_rule(&self, name: &str, definition: &str) {
        let target =
            json!({"Id": "1", "Arn": CLUSTER, "EcsParameters": {"TaskDefinitionArn": definition, "TaskCount": 1}});
        self.lock().rules.insert(name.to_owned(), vec![target]);
    }

    /// The names of all rules.
    pub(crate) fn rules(&self) -> Vec<String> {
        self.lock().rules.keys().cloned().collect()
    }

    /// Does what load does: sets the number of a service's processes.
    pub(crate) fn set_desired(&self, service: &str, desired: i64) {
        self.lock().services.get_mut(service).unwrap().set_desired(desired);
    }
}

fn is_change(operation: &str) -> bool {
    !operation.starts_with("Describe") && !operation.starts_with("List")
}

fn answer(state: &Mutex<State>, asked: &Asked) -> Reply {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let target = asked.target.clone().unwrap_or_default();
    let (service, operation) = target.split_once('.').unwrap_or_default();
    let (prefix, model) = match service {
        "AmazonEC2ContainerServiceV20141113" => ("ecs", "ecs"),
        "AnyScaleFrontendService" => ("application-autoscaling", "application-autoscaling"),
        "AWSEvents" => ("events", "events"),
        other => panic!("nobody speaks {other} here ({target})"),
    };
    let input: Value = serde_json::from_slice(&asked.body).unwrap();
    state.calls.push(Called {
        action: format!("{prefix}:{operation}"),
        input: input.clone(),
        session: asked.session.clone().unwrap_or_default(),
    });
    let fault = state.faults.iter_mut().find(|(name, times, _)| *name == operation && *times > 0).map(|rule| {
        rule.1 -= 1;
        rule.2
    });
    let reply = |status: u16, body: &Value| {
        Reply::new(status).header("content-type", "application/x-amz-json-1.1").body(body.to_string())
    };
    if fault == Some(Fault::Throttled) {
        return reply(400, &json!({"__type": "ThrottlingException", "message": "Rate exceeded"}));
    }
    match &mut state.survives {
        Some(0) => return Reply::new(500),
        Some(left) if is_change(operation) => *left -= 1,
        _ => {}
    }
    let answer = match model::problem(model, operation, &input) {
        Some(problem) => Err(invalid(problem)),
        None => state.call(operation, &input),
    };
    match answer {
        Ok(_) if fault == Some(Fault::AnswerLost) => Reply::new(200).body("{\"tasks\": [").breaks_after(5),
        Ok(answer) => reply(200, &answer),
        Err(Refusal(kind, message)) => reply(400, &json!({"__type": kind, "message": message})),
    }
}

#[expect(clippy::panic_in_result_fn, reason = "what is not played here is a mistake of the test")]
impl State {
    fn call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "RegisterTaskDefinition" => self.register(input),
            "DescribeTaskDefinition" => self.describe_definition(input),
            "DeregisterTaskDefinition" => self.deregister(input),
            "RunTask" => self.run_task(input),
            "DescribeTasks" => self.describe_tasks(input),
            "ListTasks" => self.list_tasks(input),
            "StopTask" => self.stop_task(input),
            "CreateService" => self.create_service(input),
            "UpdateService" => self.update_service(input),
            "DescribeServices" => self.describe_services(input),
            "DeleteService" => self.delete_service(input),
            "DescribeScalableTargets" => Ok(self.describe_targets(input)),
            "RegisterScalableTarget" => self.register_target(input),
            "DeregisterScalableTarget" => self.deregister_target(input),
            "DescribeScalingPolicies" => Ok(self.describe_policies(input)),
            "PutScalingPolicy" => self.put_policy(input),
            "ListRules" => Ok(self.list_rules(input)),
            "ListTargetsByRule" => self.list_targets(input),
            "RemoveTargets" => self.remove_targets(input),
            "DeleteRule" => self.delete_rule(input),
            other => panic!("{other} is not played here"),
        }
    }
}

/// The refusals themselves, so that no test of the adapter passes against a stand-in that would take anything.
#[cfg(feature = "aws")]
mod tests;
