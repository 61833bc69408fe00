//! Commands that look at what is there, on real parts.
#![cfg(feature = "aws")]

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::runner::app_json;
use crate::support::account::Account;
use crate::support::docker::random_name;
use crate::support::parts;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn builds_of_an_app_in_the_account_are_listed_and_shown_and_the_doctor_reads_them() {
    let account = Account::new().await;
    let show = |arguments: &[&str]| {
        let output = account.run(&[arguments, &["--app", &account.app]].concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = show(&["build", "list"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("has no builds yet"), "{err}");
    assert_eq!(show(&["build", "list", "--json"]).1.trim(), "[]");
    let (code, out, err) = show(&["build", "status"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");

    let passing = account.build(1, app_json("true", &[]).path());
    let failing = account.build(2, app_json("exit 3", &[]).path());
    assert_eq!((passing.status, failing.status), ("SUCCEEDED", "FAILED"));
    let (code, out, _) = show(&["build", "list"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 2), "{out}");
    assert!(lines[0].contains("2  failed") && lines[0].contains(&failing.commit[..7]), "{out}");
    assert!(lines[1].contains("1  in progress") && lines[1].contains("build ok, test ok"), "{out}");
    let list: Value = serde_json::from_str(&show(&["build", "list", "--json"]).1).unwrap();
    assert_eq!((&list[0]["build_number"], &list[1]["build_number"]), (&json!(2), &json!(1)));
    assert_eq!(list[0]["build"]["arns"], json!([failing.arn]));

    let (code, out, _) = show(&["build", "status"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("test       failed in "), "{out}");
    let (code, _, err) = show(&["build", "status", "7"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("has no build 7") && err.contains("build list"), "{err}");
    let shown: Value = serde_json::from_str(&show(&["build", "status", "--json"]).1).unwrap();
    assert_eq!((&shown["app"], &shown["test"]["state"]), (&json!(account.app), &json!("failed")));

    let (code, out, err) = show(&["doctor"]);
    assert_eq!(code, Some(0), "{out}{err}");
    for check in ["docker", "pack", "git", "aws"] {
        assert!(out.contains(&format!("ok    {check}")), "{check}: {out}");
    }
    assert!(out.contains("its newest build is 2"), "{out}");
    let checks: Value = serde_json::from_str(&show(&["doctor", "--json"]).1).unwrap();
    assert!(checks["checks"].as_array().unwrap().iter().all(|check| check["verdict"] != "fail"), "{checks}");

    let refused = account
        .command(&["doctor", "--app", &account.app])
        .env("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
        .output()
        .unwrap();
    let out = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{out}");
    assert!(out.contains("fail  aws"), "{out}");
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn builds_on_this_machine_are_listed_and_shown_without_naming_an_app() {
    let name = random_name("local").replace(|c: char| c.is_ascii_digit(), "x");
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(&name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Procfile"), "web: exec python3 -m http.server $PORT\n").unwrap();
    fs::write(
        folder.join("app.json"),
        r#"{"stack": "debian-12", "environments": {"test": {"scripts": {"test": "exit 3"}}}}"#,
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command
            .args(arguments)
            .current_dir(&folder)
            .env("DOCKER_HOST", parts::docker())
            .env("PACKHORSE_PACK", parts::pack());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let _broom = crate::support::docker::Broom(name.clone());
    let (code, _, err) = run(&["build", "list"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("`packhorse up` has not run in this folder"), "{err}");

    let (code, out, err) = run(&["up", "--once", "--network", "host"]);
    assert_eq!(code, Some(1), "{out}{err}");
    let (code, out, err) = run(&["build", "list"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("1  failed") && out.contains("test failed"), "{out}");
    let (_, out, _) = run(&["build", "status"]);
    assert!(out.contains("failed in test: the tests failed: exit code 3"), "{out}");
    let shown: Value = serde_json::from_str(&run(&["build", "status", "1", "--json"]).1).unwrap();
    assert_eq!((&shown["build"]["state"], &shown["test"]["state"]), (&json!("succeeded"), &json!("failed")));
    let list: Value = serde_json::from_str(&run(&["build", "list", "--json"]).1).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let (code, out, err) = run(&["doctor"]);
    assert_eq!(code, Some(0), "{out}{err}");
}
