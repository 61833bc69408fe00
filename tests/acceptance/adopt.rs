//! An app that another orchestrator ran, taken over: its items in DynamoDB Local, its services in moto.

use packhorse::domain::names::BuildNumber;
use serde_json::{Value, json};

use crate::support::orchestrated::Account;
use crate::support::{http, parts};

fn ecs(operation: &str, input: &Value) -> Value {
    http::call(&parts::moto(), "ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), input)
        .unwrap_or_else(|answer| panic!("{operation}: {answer:?}"))
}

/// What the stack and the other orchestrator have left of an app with one service.
fn left(account: &Account) -> String {
    let app = &account.app;
    let cluster =
        ecs("CreateCluster", &json!({ "clusterName": app }))["cluster"]["clusterArn"].as_str().unwrap().to_owned();
    let container = json!({ "name": "app", "image": format!("registry.example.com/{app}@sha256:1"), "memory": 512 });
    let family = format!("{app}-web");
    ecs("RegisterTaskDefinition", &json!({ "family": family, "containerDefinitions": [container] }));
    let service = json!({ "cluster": app, "serviceName": family, "taskDefinition": family, "desiredCount": 1 });
    let service = ecs("CreateService", &service)["service"]["serviceArn"].as_str().unwrap().to_owned();
    let partition = format!("APP#{app}");
    account.table.put_raw(&json!({
        "primary_id": {"S": partition}, "secondary_id": {"S": "settings"},
        "value": {"M": {
            "cluster": {"M": {"arn": {"S": cluster}, "name": {"S": app}}},
            "log_group": {"M": {"name": {"S": format!("/apppack/apps/{app}")}}},
        }},
    }));
    let arn = format!("arn:aws:codebuild:us-east-1:111122223333:build/{app}:6b0e7c1a");
    let phase = |arn: &str| {
        json!({"M": {"state": {"S": "succeeded"}, "start": {"N": "1767225600"}, "end": {"N": "1767225700"},
        "arns": {"L": [{"S": arn}]}, "logs": {"S": ""}}})
    };
    account.table.put_raw(&json!({
        "primary_id": {"S": partition}, "secondary_id": {"S": "BUILD#0000000042"}, "app": {"S": app},
        "build_number": {"N": "42"}, "pr_number": {"S": ""}, "commit": {"S": "9f8e7d6c"},
        "build": phase(&arn), "deploy": phase(&service),
    }));
    account.table.put_raw(&json!({
        "primary_id": {"S": partition}, "secondary_id": {"S": "DEPLOYSTATUS"},
        "value": {"M": {
            "phase": {"S": "deploy"}, "failed": {"BOOL": false}, "build_number": {"N": "42"}, "build_id": {"S": arn},
            "commit": {"S": "9f8e7d6c"}, "last_update": {"N": "1767225700"},
            "processes": {"L": [{"M": {"name": {"S": "web"}, "cpu": {"S": "512"}, "memory": {"S": "1024"},
                "min_processes": {"N": "1"}, "max_processes": {"N": "1"}, "state": {"S": "running"}, "command": {"S": "serve"}}}]},
        }},
    }));
    service
}

fn run(account: &Account, arguments: &[&str]) -> Value {
    let ran = account.run(&[&["orchestrator", "adopt", &account.app], arguments, &["--json"]].concat());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn an_app_of_another_orchestrator_is_taken_over_once_with_what_runs() {
    let account = Account::new();
    let service = left(&account);
    let partition = format!("APP#{}", account.app);
    let role = format!("arn:aws:iam::111122223333:role/apppack-app-{}", account.app);

    let told = run(&account, &["--role-arn", &role, "--dry-run"]);
    assert_eq!((&told["made"], &told["live"]), (&json!(true), &json!(42)));
    assert_eq!(account.item(&partition, "LANE"), None);
    assert!(account.item(&partition, "settings").unwrap()["value"]["M"].get("orchestrator").is_none());

    let told = run(&account, &["--role-arn", &role]);
    let stored = account.item(&partition, "settings").unwrap();
    let orchestrator = &stored["value"]["M"]["orchestrator"]["M"];
    let external_id = orchestrator["external_id"]["S"].as_str().unwrap();
    assert_eq!(orchestrator["role_arn"]["S"], role.as_str());
    assert_eq!(told["trust"]["Condition"]["StringEquals"]["sts:ExternalId"], external_id);
    assert_eq!(told["trust"]["Principal"]["AWS"], "arn:aws:iam::111122223333:root");
    let live = account.stored_lane(None).live.unwrap();
    assert_eq!((live.build, live.commit.as_str()), (BuildNumber(42), "9f8e7d6c"));
    let web = &live.plan.services[&"web".parse().unwrap()];
    assert_eq!((web.command.as_str(), web.arn.as_str()), ("serve", service.as_str()));
    assert!(live.plan.image.ends_with("@sha256:1"), "{}", live.plan.image);

    // Again: the lane and the external id stay.
    let lane = account.item(&partition, "LANE");
    let again = run(&account, &["--role-arn", &role]);
    assert_eq!((&again["made"], &again["trust"]), (&json!(false), &told["trust"]));
    assert_eq!(account.item(&partition, "LANE"), lane);

    // The role of scheduled tasks is written where it is named, and stays where it is not.
    let schedule_role = format!("arn:aws:iam::111122223333:role/apppack-events-{}", account.app);
    run(&account, &["--role-arn", &role, "--events-role-arn", &schedule_role]);
    run(&account, &["--role-arn", &role]);
    let stored = account.item(&partition, "settings").unwrap();
    let orchestrator = &stored["value"]["M"]["orchestrator"]["M"];
    assert_eq!(orchestrator["events_role_arn"]["S"], schedule_role.as_str());
    assert_eq!(orchestrator["external_id"]["S"], external_id);
}

#[test]
#[ignore = "needs moto and DynamoDB Local"]
fn an_app_without_settings_is_not_adopted() {
    let account = Account::new();
    let ran = account.run(&["orchestrator", "adopt", &account.app]);
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(account.item(&format!("APP#{}", account.app), "LANE"), None);
}
