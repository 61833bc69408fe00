//! One app on one machine, and in an account with either place: the same pipeline, so the same event log.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::on_ecs::OnEcs;
use crate::support::docker::Broom;
use crate::support::orchestrated::{Account, PROGRAM};
use crate::support::parts;

/// Runs the example once with `up`, and returns the details of its phase events.
fn event_log_of_up() -> Vec<Value> {
    let letters: String = std::iter::repeat_with(fastrand::lowercase).take(10).collect();
    let name = format!("log-{letters}");
    let _broom = Broom(name.clone());
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(&name);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guestbook");
    assert!(Command::new("cp").arg("-r").arg(example).arg(&folder).status().unwrap().success());
    let ended = Command::new(PROGRAM)
        .arg("up")
        .arg(&folder)
        .args(["--once", "--json", "--port", "0", "--network", "host", "--ca-bundle", &parts::ca_bundle()])
        .env("DOCKER_HOST", parts::docker())
        .env("PACKHORSE_PACK", parts::pack())
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let text = String::from_utf8(ended.stdout).unwrap();
    let objects = text.lines().filter(|line| line.starts_with('{'));
    let objects = objects.map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object["type"] == "phase").map(|mut object| object["detail"].take()).collect()
}

/// Blanks what names one run: the app, the build, and the commit to the lane.
fn but_for_ids(log: &[Value]) -> Vec<Value> {
    let mut log = log.to_vec();
    for detail in &mut log {
        for id in ["app", "build", "build_arn", "lane_version"] {
            let value = detail.get_mut(id).unwrap_or_else(|| panic!("{id} is missing"));
            assert!(!value.is_null(), "{id} is null");
            *value = Value::Null;
        }
    }
    log
}

/// The details of a build's phase events, brought about with Docker as the place.
fn event_log_of_docker() -> Vec<Value> {
    let account = Account::new().with_guestbook().with_databases().adopted(None);
    let build = account.build(1);
    assert_eq!(build.status, "SUCCEEDED", "{}", build.log.join("\n"));
    for event in build.events() {
        assert!(account.handle(&event, &[]).status.success());
    }
    let handled = account.follow_end_of(&build);
    assert!(handled.status.success(), "{}", String::from_utf8_lossy(&handled.stderr));
    account.phase_events()
}

/// The same on ECS.
fn event_log_of_ecs() -> Vec<Value> {
    let bench = OnEcs::of(Account::new().with_guestbook());
    for event in bench.built.events() {
        assert!(bench.handle(&event, &[]).status.success());
    }
    let handled = bench.handle(bench.built.events().last().unwrap(), &["--follow"]);
    assert!(handled.status.success(), "{}", OnEcs::said(&handled));
    bench.account.phase_events()
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn the_event_log_of_up_is_that_of_the_account_but_for_ids() {
    let here = event_log_of_up();
    let said: Vec<String> = here
        .iter()
        .map(|detail| format!("{} {}", detail["phase"].as_str().unwrap(), detail["state"].as_str().unwrap()))
        .collect();
    let phases = ["build", "test", "finalize", "release", "deploy"];
    let all: Vec<String> =
        phases.iter().flat_map(|phase| [format!("{phase} started"), format!("{phase} succeeded")]).collect();
    assert_eq!(said, all);
    for (place, there) in [("docker", event_log_of_docker()), ("ECS", event_log_of_ecs())] {
        assert_eq!(but_for_ids(&here), but_for_ids(&there), "{place}");
        for log in [&here, &there] {
            let versions: Vec<u64> = log.iter().map(|detail| detail["lane_version"].as_u64().unwrap()).collect();
            assert!(versions.is_sorted(), "{place}: {versions:?}");
        }
    }
}
