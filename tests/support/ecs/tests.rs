//! What the stand-in refuses.

use serde_json::{Value, json};

use super::{CLUSTER, FakeEcs, TaskScript};
use crate::support::http;

const ECS: &str = "AmazonEC2ContainerServiceV20141113";

fn call(fake: &FakeEcs, operation: &str, input: &Value) -> Result<Value, String> {
    tokio::task::block_in_place(|| {
        http::call(&fake.url(), "ecs", &format!("{ECS}.{operation}"), input).map_err(|answer| answer.body)
    })
}

fn definition() -> Value {
    json!({
        "family": "shop-web", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "executionRoleArn": "arn:aws:iam::111122223333:role/x",
        "containerDefinitions": [{"name": "app", "image": "x@sha256:00", "portMappings": [{"containerPort": 8080}]}],
        "tags": [{"key": "apppack:appName", "value": "shop"}],
    })
}

fn run() -> Value {
    json!({
        "cluster": CLUSTER, "taskDefinition": "shop-web", "launchType": "FARGATE", "clientToken": "one", "propagateTags": "TASK_DEFINITION",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"]}},
    })
}

fn with(mut value: Value, path: &str, other: Value) -> Value {
    *value.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = other;
    value
}

fn also(mut value: Value, name: &str, other: Value) -> Value {
    value[name] = other;
    value
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn it_refuses_what_aws_refuses() {
    let fake = FakeEcs::start().await;
    let refused = |operation: &str, input: Value, said: &str| {
        let answer = call(&fake, operation, &input).expect_err(said);
        assert!(answer.contains(said), "{operation}: {answer}");
    };
    let container = "/containerDefinitions/0";
    let twice = json!({"name": "app", "image": "x", "environment": [{"name": "A"}], "secrets": [{"name": "A", "valueFrom": "/a"}]});
    for (input, said) in [
        (with(definition(), "/memory", json!("768")), "No Fargate configuration"),
        (with(definition(), "/networkMode", json!("bridge")), "awsvpc"),
        (with(definition(), "/cpu", json!(256)), "is not text"),
        (with(definition(), "/networkMode", json!("vpc")), "is not one of the words"),
        (with(definition(), container, twice), "unique"),
        (also(definition(), "colour", json!("red")), "no member colour"),
        (also(definition(), "tags", json!([{"key": "a", "value": "x{y}"}])), "Invalid tag"),
        (
            also(definition(), "tags", (0..51).map(|n| json!({"key": n.to_string(), "value": ""})).collect()),
            "longer than 50",
        ),
    ] {
        refused("RegisterTaskDefinition", input, said);
    }
    refused("RunTask", run(), "TaskDefinition not found");
    call(&fake, "RegisterTaskDefinition", &definition()).unwrap();
    for (name, value, said) in [
        ("propagateTags", json!("SERVICE"), "propagateTags"),
        ("count", json!(11), "Count"),
        ("startedBy", json!("a b"), "startedBy"),
        ("startedBy", json!("x".repeat(129)), "startedBy"),
        ("clientToken", json!("x".repeat(65)), "client token"),
        (
            "capacityProviderStrategy",
            json!([{"capacityProvider": "FARGATE_SPOT"}]),
            "launch type and capacity provider",
        ),
        ("networkConfiguration", Value::Null, "Network Configuration"),
        ("cluster", json!("other"), "Cluster not found"),
        ("overrides", json!({"containerOverrides": [{"name": "other"}]}), "not a container"),
        ("overrides", json!({"containerOverrides": [{"name": "app", "command": ["x".repeat(8200)]}]}), "8192"),
    ] {
        refused("RunTask", also(run(), name, value), said);
    }
    let many: Value = (0..11).map(|number| format!("s{number}")).collect();
    refused("DescribeServices", json!({"cluster": CLUSTER, "services": many}), "more than 10");
    refused("ListTasks", json!({"cluster": CLUSTER, "startedBy": "x", "desiredStatus": "STOPPED"}), "another filter");
    refused("StopTask", json!({"cluster": CLUSTER, "task": "unknown"}), "not found");
    let service = json!({
        "cluster": CLUSTER, "serviceName": "shop-web", "taskDefinition": "shop-web", "desiredCount": 1, "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"]}},
    });
    refused("CreateService", also(service.clone(), "healthCheckGracePeriodSeconds", json!(60)), "grace period");
    refused("CreateService", also(service.clone(), "clientToken", json!("x".repeat(37))), "client token");
    call(&fake, "CreateService", &service).unwrap();
    refused("CreateService", service, "not idempotent");
    refused("DeleteService", json!({"cluster": CLUSTER, "service": "shop-web"}), "scaled above 0");
    refused("UpdateService", json!({"cluster": CLUSTER, "service": "other"}), "Service not found");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto"]
async fn tokens_lag_and_memory_are_those_of_aws() {
    let fake = FakeEcs::start().await;
    for revision in 1..3 {
        let made = call(&fake, "RegisterTaskDefinition", &definition()).unwrap();
        assert_eq!(made["taskDefinition"]["revision"], revision, "the same again is another revision");
    }
    let task = |answer: &Value| answer["tasks"][0]["taskArn"].clone();
    let first = call(&fake, "RunTask", &run()).unwrap();
    assert_eq!(task(&call(&fake, "RunTask", &run()).unwrap()), task(&first), "the same token starts nothing");
    let other = also(run(), "count", json!(2));
    assert!(call(&fake, "RunTask", &other).unwrap_err().contains("ConflictException"));
    assert_eq!(fake.started("shop-web"), 1);
    let look = json!({"cluster": CLUSTER, "tasks": [task(&first)], "include": ["TAGS"]});
    let seen = || call(&fake, "DescribeTasks", &look).unwrap();
    assert_eq!(seen()["failures"][0]["reason"], "MISSING", "a new task is not there at once");
    assert_eq!(seen()["tasks"][0]["tags"][0]["value"], "shop");
    call(&fake, "StopTask", &json!({"cluster": CLUSTER, "task": task(&first)})).unwrap();
    assert_eq!(seen()["tasks"][0]["tags"], json!([]), "StopTask takes the tags away");
    fake.pass(std::time::Duration::from_hours(1));
    assert_eq!(seen()["failures"][0]["reason"], "MISSING", "a stopped task is forgotten after an hour");
    fake.tasks_go("shop-web", [TaskScript::NoRoom]);
    let answer = call(&fake, "RunTask", &also(run(), "clientToken", json!("two"))).unwrap();
    assert_eq!((&answer["tasks"], &answer["failures"][0]["reason"]), (&json!([]), &json!("RESOURCE:MEMORY")));
}
