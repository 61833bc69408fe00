//! Commands on one app in an account: its items in DynamoDB Local, all else in moto.

use std::collections::BTreeMap;
use std::process::Output;

use packhorse::domain::lane::{Ending, Lane, LaneKey, Release, ReleasePlan, Service, Sizes};
use packhorse::domain::names::EpochSeconds;
use serde_json::{Value, json};

use crate::support::docker::random_name;
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::lanes::lane_at_rest;
use crate::support::orchestrated::Account;
use crate::support::{http, parts};

fn call(service: &str, target: &str, input: &Value) -> Value {
    http::call(&parts::moto(), service, target, input).unwrap_or_else(|answer| panic!("{target}: {answer:?}"))
}

fn ssm(operation: &str, input: &Value) -> Value {
    call("ssm", &format!("AmazonSSM.{operation}"), input)
}

fn run(account: &Account, arguments: &[&str]) -> Output {
    account.run(&[arguments, &["--app", &account.app]].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the program prints, when all went well.
fn out(account: &Account, arguments: &[&str]) -> String {
    let ran = run(account, arguments);
    assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
    text(&ran.stdout)
}

/// What the app's stacks have made, in a cluster of its own.
fn settings(account: &Account) -> String {
    let app = &account.app;
    let target = "AmazonEC2ContainerServiceV20141113.CreateCluster";
    let cluster = call("ecs", target, &json!({ "clusterName": app }))["cluster"]["clusterArn"].clone();
    let partition = format!("APP#{app}");
    account.table.put_raw(&json!({
        "primary_id": {"S": partition}, "secondary_id": {"S": "settings"},
        "value": {"M": {
            "cluster": {"M": {"arn": {"S": cluster}, "name": {"S": app}}},
            "log_group": {"M": {"name": {"S": format!("/apppack/apps/{app}")}}},
        }},
    }));
    account.table.put_raw(&json!({
        "primary_id": {"S": partition}, "secondary_id": {"S": "CONFIG#ecs"},
        "value": {"M": {
            "run_task_args": {"M": {"launchType": {"S": "FARGATE"}}},
            "task_definition_args": {"M": {"cpu": {"S": "256"}, "memory": {"S": "512"}}},
        }},
    }));
    app.clone()
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn config_variables_are_kept_encrypted_and_those_of_stacks_are_marked() {
    let account = Account::new();
    let path = format!("/apppack/apps/{}/config", account.app);
    out(&account, &["config", "set", "TOKEN=s3cret", "LEVEL=info"]);
    let stored = ssm("GetParameter", &json!({ "Name": format!("{path}/TOKEN"), "WithDecryption": true }));
    assert_eq!(
        (&stored["Parameter"]["Type"], &stored["Parameter"]["Value"]),
        (&json!("SecureString"), &json!("s3cret"))
    );
    let tags = json!([{ "Key": "apppack:cloudformation:stack-id", "Value": "arn:aws:cloudformation:us-east-1:111122223333:stack/x" }]);
    ssm(
        "PutParameter",
        &json!({ "Name": format!("{path}/DATABASE_URL"), "Value": "postgres://", "Type": "SecureString", "Tags": tags }),
    );
    assert_eq!(out(&account, &["config", "list"]), "DATABASE_URL  (managed by a stack)\nLEVEL\nTOKEN\n");
    assert_eq!(out(&account, &["config", "get", "TOKEN"]), "s3cret\n");
    let ran = run(&account, &["config", "set", "DATABASE_URL=other"]);
    assert!(ran.status.success() && text(&ran.stderr).contains("managed by a stack"), "{}", text(&ran.stderr));
    out(&account, &["config", "unset", "TOKEN"]);
    assert_eq!(run(&account, &["config", "get", "TOKEN"]).status.code(), Some(1));
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn a_review_app_has_its_pipelines_variables_under_its_own() {
    let account = Account::new();
    let review_app = format!("{}:7", account.app);
    let base = format!("/apppack/pipelines/{}", account.app);
    for (name, value) in [("config/A", "base"), ("config/B", "base"), ("review-apps/pr/7/config/B", "own")] {
        ssm("PutParameter", &json!({ "Name": format!("{base}/{name}"), "Value": value, "Type": "SecureString" }));
    }
    let listed = account.run(&["config", "list", "--values", "--app", &review_app]);
    assert_eq!(text(&listed.stdout), "A=base  (from the pipeline)\nB=own\n", "{}", text(&listed.stderr));
    let got = account.run(&["config", "get", "A", "--app", &review_app]);
    assert_eq!(text(&got.stdout), "base\n");
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn a_scale_begins_with_the_apps_usual_size_and_fargates_sizes_are_checked() {
    let account = Account::new();
    settings(&account);
    assert_eq!(out(&account, &["ps", "scale", "web", "2"]), "web: 2 with 0.25 virtual CPUs and 512M each\n");
    let ran = run(&account, &["ps", "scale", "web", "--memory", "8G"]);
    assert_eq!(ran.status.code(), Some(2), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("512M, 1G or 2G"), "{}", text(&ran.stderr));
    let stored: Value =
        serde_json::from_str(&account.parameter(&format!("/apppack/apps/{}/scaling", account.app)).unwrap()).unwrap();
    assert_eq!(stored, json!({"web": {"cpu": 256, "memory": 512, "min_processes": 2, "max_processes": 2}}));
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn an_idle_cluster_and_an_app_that_was_never_deployed_are_no_errors() {
    let account = Account::new();
    settings(&account);
    let ran = run(&account, &["ps", "--json"]);
    assert_eq!((ran.status.code(), text(&ran.stdout).trim()), (Some(0), "[]"), "{}", text(&ran.stderr));
    let ran = run(&account, &["ps", "restart"]);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    let ran = run(&account, &["why"]);
    assert!(ran.status.code() == Some(1) && text(&ran.stderr).contains("has no builds yet"), "{}", text(&ran.stderr));
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn what_processes_say_is_read_from_their_group() {
    let account = Account::new();
    let app = settings(&account);
    let group = format!("/apppack/apps/{app}");
    let logs = |operation: &str, input: &Value| call("logs", &format!("Logs_20140328.{operation}"), input);
    logs("CreateLogGroup", &json!({ "logGroupName": group }));
    let now = jiff::Timestamp::now().as_millisecond();
    for (index, (process, line)) in [("web", "hello"), ("worker", "working"), ("web", "bye")].into_iter().enumerate() {
        let stream = format!("{process}/app/{}", random_name("task"));
        logs("CreateLogStream", &json!({ "logGroupName": group, "logStreamName": stream }));
        let at = now - 1000 + i64::try_from(index).unwrap();
        let event = json!([{ "timestamp": at, "message": line }]);
        logs("PutLogEvents", &json!({ "logGroupName": group, "logStreamName": stream, "logEvents": event }));
    }
    assert_eq!(out(&account, &["logs"]), "web        | hello\nworker     | working\nweb        | bye\n");
    assert_eq!(out(&account, &["logs", "--process", "web"]), "web        | hello\nweb        | bye\n");
    logs("DeleteLogGroup", &json!({ "logGroupName": group }));
    let ran = run(&account, &["logs"]);
    assert!(!ran.status.success() && text(&ran.stderr).contains("log group"), "{}", text(&ran.stderr));
}

/// A lane that has deployed two builds, of which the second one runs.
fn lane_with_two_releases(key: &LaneKey) -> Lane {
    let service = Service { command: "serve".to_owned(), arn: String::new() };
    let plan = ReleasePlan {
        sequence: 2,
        image: format!("registry.example.com/shop@sha256:{}", "0".repeat(64)),
        launcher: true,
        release_command: None,
        postdeploy_command: None,
        pre_destroy_command: None,
        services: BTreeMap::from([("web".parse().unwrap(), service)]),
    };
    let mut lane = lane_at_rest(key, 1);
    lane.builds.extend(lane_at_rest(key, 2).builds);
    for build in lane.builds.values_mut().map(std::sync::Arc::make_mut) {
        build.ending = Some(Ending::Deployed);
        build.plan = Some(plan.clone());
    }
    let newest = lane.builds.values().next_back().unwrap();
    lane.live = Some(Release {
        build: newest.number,
        arn: newest.arn.clone(),
        commit: newest.commit.clone(),
        started: newest.started,
        plan,
        at: EpochSeconds(1_767_225_700),
        sizes: Sizes::new(),
    });
    lane
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn who_may_only_read_is_told_which_right_a_rollback_needs() {
    let account = Account::new();
    let lane = lane_with_two_releases(&account.lane(None));
    let mut account = account.with_lane(&lane);
    let table = account.runtime.block_on(FaultProxy::before(&parts::dynamodb()));
    account.more.insert("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), table.url());
    table.fail(When::target("PutItem"), usize::MAX, Fault::AccessDenied);
    let ran = run(&account, &["rollback", "1"]);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(4), "{said}");
    for part in ["you may not roll back", "`dynamodb:PutItem`", "`apppack`", "packhorse build start --ref"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(&format!("`APP#{}`", account.app)), "{said}");
    assert_eq!(account.stored_lane(None).rollback, None);

    // With it, the lane is asked.
    table.behave();
    let ran = run(&account, &["rollback", "1"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(account.stored_lane(None).rollback.is_some());
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn a_scheduled_task_that_nobody_can_start_is_stored_with_a_warning() {
    let account = Account::new();
    settings(&account);
    let ran = run(&account, &["scheduled-tasks", "create", "--schedule", "0 3 * * ? *", "clean up"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("`orchestrator.events_role_arn`"), "{}", text(&ran.stderr));
    let stored = account.parameter(&format!("/apppack/apps/{}/scheduled-tasks", account.app)).unwrap();
    assert_eq!(stored, r#"[{"command":"clean up","schedule":"0 3 * * ? *"}]"#);
}
