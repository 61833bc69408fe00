//! What the program does about a pull request: every webhook event beside every stored status.
//!
//! The table is that of `data-contract` 4.5. Two of its rows are those of a weakness, and differ here: closing stores that
//! the review app is closed or merged (W7), and a status that cannot be read fails the build instead of counting as
//! missing (W6).
#![cfg(feature = "aws")]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::fault_proxy::{FaultProxy, When};
use crate::support::http;
use crate::support::lanes::random_name;
use crate::support::parts;
use crate::support::policy::{Policy, Right, rights};
use crate::support::step::{Parameter, Steps};

const EVENTS: [&str; 9] = [
    "",
    "PULL_REQUEST_CREATED",
    "PULL_REQUEST_REOPENED",
    "PULL_REQUEST_UPDATED",
    "PULL_REQUEST_MERGED",
    "PULL_REQUEST_CLOSED",
    "PUSH",
    "RELEASED",
    "pull_request_closed",
];

/// What lies in the parameter before the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Missing,
    Status(&'static str),
    /// An object without a status.
    NoStatus,
    Damaged(&'static str),
}

const BEFORE: [Before; 10] = [
    Before::Missing,
    Before::Status("open"),
    Before::Status("created"),
    Before::Status("merged"),
    Before::Status("closed"),
    Before::Status("destroyed"),
    Before::Status("Created"),
    Before::NoStatus,
    Before::Damaged("created"),
    Before::Damaged("[\"created\"]"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Build,
    Skip,
    Failure,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    created: bool,
    event: &'static str,
    before: Before,
}

impl Case {
    /// What the contract says: how it ends, the status that is written, and whether the stack goes.
    fn expected(self) -> (Outcome, Option<&'static str>, bool) {
        let unless = |status: &'static str| (self.before != Before::Status(status)).then_some(status);
        match (self.created, self.event, self.before) {
            (true, _, _) => (Outcome::Build, unless("created"), false),
            (_, "PULL_REQUEST_CREATED" | "PULL_REQUEST_REOPENED", _) => (Outcome::Skip, unless("open"), false),
            (_, "PULL_REQUEST_MERGED" | "PULL_REQUEST_CLOSED", Before::Missing) => (Outcome::Skip, None, true),
            (_, "PULL_REQUEST_MERGED", _) => (Outcome::Skip, unless("merged"), true),
            (_, "PULL_REQUEST_CLOSED", _) => (Outcome::Skip, unless("closed"), true),
            (_, _, Before::Missing) => (Outcome::Skip, Some("open"), false),
            (_, _, Before::Status("created")) => (Outcome::Build, None, false),
            (_, _, Before::Damaged(_)) => (Outcome::Failure, None, false),
            (_, _, Before::Status(_) | Before::NoStatus) => (Outcome::Skip, None, false),
        }
    }

    /// The value of the parameter before the build.
    fn stored(self) -> Option<String> {
        let object = |status: Value| {
            let mut value = json!({"pull_request": "pr/12", "branch": "feature/x", "title": "Add x \"y\"", "url": "u", "more": [1]});
            if !status.is_null() {
                value["status"] = status;
            }
            value.to_string()
        };
        match self.before {
            Before::Missing => None,
            Before::Status(status) => Some(object(status.into())),
            Before::NoStatus => Some(object(Value::Null)),
            Before::Damaged(text) => Some(text.to_owned()),
        }
    }

    /// The value of the parameter after the build: as before, but for the status.
    fn stored_after(self, written: Option<&str>) -> Option<Value> {
        let read = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let before = self.stored().map(read);
        let Some(status) = written else { return before };
        let mut value = before.filter(Value::is_object).unwrap_or_else(|| json!({"pull_request": "pr/12"}));
        value["status"] = status.into();
        Some(value)
    }
}

/// The stack of a review app in moto; it holds nothing that would do anything.
struct Stack(String);

impl Stack {
    /// Makes the stack of a pipeline's pull request, with the tags that say so.
    fn make(pipeline: &str, pr: u32) -> Self {
        let template = r#"{"Resources":{"Nothing":{"Type":"AWS::CloudFormation::WaitConditionHandle"}}}"#;
        let stack = Self(format!("apppack-reviewapp-{pipeline}{pr}"));
        let tag = |number: u32, key: &str, value: &str| {
            let key = percent(key);
            format!("&Tags.member.{number}.Key={key}&Tags.member.{number}.Value={value}")
        };
        let tags = tag(1, "apppack:appName", pipeline) + &tag(2, "apppack:reviewApp", &format!("pr{pr}"));
        let answer = stack.ask("CreateStack", &format!("&TemplateBody={}{tags}", percent(template)));
        assert_eq!(answer.status, 200, "{answer:?}");
        stack
    }

    fn ask(&self, action: &str, more: &str) -> http::Answer {
        let body = format!("Action={action}&Version=2010-05-15&StackName={}{more}", self.0);
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        http::ask(&parts::moto(), "cloudformation", "POST", "/", &form, &body)
    }

    fn exists(&self) -> bool {
        self.ask("DescribeStacks", "").status == 200
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.ask("DeleteStack", "");
    }
}

fn percent(text: &str) -> String {
    text.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).map(char::from).collect()
}

#[test]
#[ignore = "needs Docker Engine 26 and moto"]
fn every_event_meets_every_stored_status() {
    let mut cases = VecDeque::new();
    for created in [false, true] {
        for event in EVENTS {
            cases.extend(BEFORE.map(|before| Case { created, event, before }));
        }
    }
    assert_eq!(cases.len(), 180);
    let cases = Mutex::new(cases);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(case) = cases.lock().unwrap().pop_front() else { return };
                    if let Err(problem) = check(case) {
                        wrong.lock().unwrap().push(problem);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs one case and compares all that it left.
fn check(case: Case) -> Result<(), String> {
    let pipeline = random_name("storefront");
    let parameter = Parameter::of_review_app(&pipeline, 12);
    if let Some(value) = case.stored() {
        parameter.put(&value);
    }
    let stack = Stack::make(&pipeline, 12);
    let mut steps = Steps::named(&pipeline).of_pull_request(12);
    if !case.event.is_empty() {
        steps.set("CODEBUILD_WEBHOOK_EVENT", case.event);
    }
    if case.created {
        steps.set("REVIEW_APP_STATUS", "created");
    }
    let (outcome, written, removed) = case.expected();
    let ran = steps.run("prebuild");

    let mut problems = Vec::new();
    let mut expect = |what: &str, expected: String, found: String| {
        if expected != found {
            problems.push(format!("  {what}: expected {expected}, found {found}"));
        }
    };
    expect("exit code", "0".to_owned(), ran.code.to_string());
    let after = parameter.get();
    let value = after.as_ref().map(|(_, _, text)| serde_json::from_str(text).unwrap_or(Value::String(text.clone())));
    expect("parameter", format!("{:?}", case.stored_after(written)), format!("{value:?}"));
    let version = u64::from(case.stored().is_some()) + u64::from(written.is_some());
    expect("writes", version.to_string(), after.as_ref().map_or(0, |(_, version, _)| *version).to_string());
    expect("type", format!("{:?}", value.map(|_| "String")), format!("{:?}", after.map(|(kind, _, _)| kind)));
    expect("stack is there", (!removed).to_string(), stack.exists().to_string());
    expect("skip marker", (outcome == Outcome::Skip).to_string(), steps.is_marked_skipped().to_string());
    for file in ["build.log", "test.log", "apppack.toml"] {
        let empty = (outcome == Outcome::Skip).then(String::new);
        expect(file, format!("{empty:?}"), format!("{:?}", steps.read(file)));
    }
    expect("commit.txt", (outcome == Outcome::Skip).to_string(), steps.read("commit.txt").is_some().to_string());
    let says = |words: &str| (ran.stdout.clone() + &ran.stderr).contains(words).to_string();
    expect(
        "says that nothing is built",
        (outcome == Outcome::Skip).to_string(),
        says("Nothing to build: the pull request"),
    );
    expect("says what is damaged", (outcome == Outcome::Failure).to_string(), says("is not a JSON object"));
    expect("says what goes", removed.to_string(), says("review app of pull request 12 is being removed"));
    if outcome != Outcome::Build {
        let build = steps.run("build");
        let failed = outcome == Outcome::Failure;
        expect("exit code of build", i32::from(failed).to_string(), build.code.to_string());
        let told = steps.read("build.log").is_some_and(|log| log.contains("close the pull request and open it again"));
        expect("build.log tells the way out", failed.to_string(), told.to_string());
        expect("markers", failed.to_string(), build.stdout.contains("apppack-build-start").to_string());
        let postbuild = steps.run("postbuild");
        expect("exit code of postbuild", "0".to_owned(), postbuild.code.to_string());
    }
    if problems.is_empty() { Ok(()) } else { Err(format!("{case:?}\n{}\n{ran}", problems.join("\n"))) }
}

#[test]
#[ignore = "needs Docker Engine 26 and moto"]
fn a_pipelines_runner_does_nothing_that_its_role_does_not_allow() {
    let runtime = Runtime::new().unwrap();
    let proxy = runtime.block_on(FaultProxy::before(&parts::moto()));
    let pipeline = random_name("storefront");
    let _stack = Stack::make(&pipeline, 12);
    Parameter::of_review_app(&pipeline, 12).put(r#"{"status":"created"}"#);
    for event in ["PULL_REQUEST_UPDATED", "PULL_REQUEST_MERGED", "PULL_REQUEST_REOPENED"] {
        let mut steps = Steps::named(&pipeline).of_pull_request(12).with("AWS_ENDPOINT_URL", &proxy.url());
        steps.set("CODEBUILD_WEBHOOK_EVENT", event);
        let ran = steps.run("prebuild");
        assert_eq!(ran.code, 0, "{event}: {ran}");
    }
    let used: BTreeSet<Right> = (proxy.seen(&When::default()).iter())
        .flat_map(|seen| rights(&seen.action(), &seen.path, &seen.body))
        .map(|right| right.of_app(&pipeline))
        .collect();
    let beyond = Policy::of("pipeline_runner", &pipeline, "artifacts").lacks(&used);
    assert!(beyond.is_empty(), "{beyond:#?}");
    for action in ["ssm:PutParameter", "cloudformation:DescribeStacks", "cloudformation:DeleteStack"] {
        assert!(used.iter().any(|right| right.action == action), "{action}: {used:#?}");
    }
}

#[test]
#[ignore = "needs Docker Engine 26 and moto"]
fn a_pipelines_build_without_a_pull_request_is_told_what_is_wrong() {
    for version in ["main", "pr/", "pr/x", "12", ""] {
        let steps = Steps::new().of_pull_request(12).with("CODEBUILD_SOURCE_VERSION", version);
        let ran = steps.run("prebuild");
        assert_eq!(ran.code, 0, "{version}: {ran}");
        let build = steps.run("build");
        assert_eq!(build.code, 1, "{version}: {build}");
        assert!(build.stdout.contains("`CODEBUILD_SOURCE_VERSION` of a pipeline"), "{version}: {build}");
        assert!(Parameter::of_review_app(&steps.app, 12).get().is_none());
    }
}

#[test]
#[ignore = "needs Docker Engine 26 and moto"]
fn a_standard_app_always_builds() {
    for event in EVENTS {
        let steps = Steps::new().with("CODEBUILD_WEBHOOK_EVENT", event);
        let ran = steps.run("prebuild");
        assert_eq!(ran.code, 0, "{event}: {ran}");
        assert!(!steps.is_marked_skipped() && !ran.stderr.contains("Nothing to build"), "{event}: {ran}");
    }
}
