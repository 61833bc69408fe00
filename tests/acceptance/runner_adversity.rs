//! Builds that are stopped, and surroundings that are not as usual.
#![cfg(feature = "aws")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::runner::app_json;
use crate::support::account::{Account, Started};
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::parts;

/// The number by which CodeBuild counts the build, and its id.
fn build_of(account: &Account) -> (String, String) {
    (format!("{}:6b0e7c1a", account.app), "1".to_owned())
}

fn step(account: &Account, verb: &str, source: &Path) -> Command {
    let (id, number) = build_of(account);
    account.step(verb, (&id, &number), source)
}

fn succeeds(account: &Account, verb: &str, source: &Path) -> String {
    let output = step(account, verb, source).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{verb}: {said}\n{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap() + &said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_build_that_is_stopped_during_its_tests_removes_all_and_moves_no_tag() {
    let account = Account::new().await;
    let app = app_json("trap 'echo goodbye; exit 0' TERM; echo begun; sleep 1000 & wait", &["heroku-redis:in-dyno"]);
    succeeds(&account, "prebuild", app.path());
    succeeds(&account, "build", app.path());
    let mut tests = Started::new(step(&account, "postbuild", app.path()));
    tests.until("begun");
    assert_ne!(account.left_with_docker(), "");
    tests.terminate();
    let (code, said) = tests.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("goodbye") && said.contains("interrupted"), "{said}");
    assert!(said.ends_with("\n#*#*#*#*#*# apppack-test-end #*#*#*#*#*#\n"), "{said}");
    assert_eq!(account.left_with_docker(), "");
    assert!(account.tags().is_empty());
    assert_eq!(account.record(1)["test"]["state"], "failed");
    assert_eq!(account.metadata("1")["test"]["outcome"], "broken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_build_that_is_stopped_during_its_image_build_leaves_nothing_running() {
    let account = Account::new().await;
    let app = app_json("true", &["heroku-redis:in-dyno"]);
    succeeds(&account, "prebuild", app.path());
    let mut image = Started::new(step(&account, "build", app.path()));
    image.until("===> ANALYZING");
    image.terminate();
    let (code, said) = image.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.ends_with("\n#*#*#*#*#*# apppack-build-end #*#*#*#*#*#\n"), "{said}");
    assert_eq!(account.left_with_docker(), "");
    assert!(account.tags().is_empty());
    assert_eq!(account.record(1)["build"]["state"], "failed");
    assert!(fs::read_to_string(app.path().join("build.log")).unwrap().contains("interrupted"));
    // What still follows has nothing to do.
    assert!(succeeds(&account, "postbuild", app.path()).contains("Nothing to test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_build_that_is_stopped_while_its_add_ons_start_removes_them() {
    // It runs, but never answers as a database does.
    let account = Account::new().await.with("PACKHORSE_POSTGRES_IMAGE", "redis:7");
    let app = app_json("true", &["heroku-postgresql:in-dyno"]);
    let prebuild = Started::new(step(&account, "prebuild", app.path()));
    let began = std::time::Instant::now();
    while account.left_with_docker().lines().count() < 2 {
        assert!(began.elapsed().as_secs() < 60, "no add-on was started");
        std::thread::yield_now();
    }
    prebuild.terminate();
    let (code, _) = prebuild.end();
    assert_eq!(code, Some(1));
    assert_eq!(account.left_with_docker(), "");
    assert_eq!(account.record(1)["build"]["state"], "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, Docker Engine 26, pack, the registry and moto"]
async fn files_are_made_below_tmpdir_alone_and_no_secret_stays() {
    let account = Account::without_lane();
    let app = app_json("true", &["heroku-redis:in-dyno"]);
    let secret = format!("planted-{:016x}", fastrand::u64(..));
    account.configure("TOKEN", &secret);
    // Below the folder for test output, since all of the usual ones cannot be written.
    let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (source, tmp) = (own.path().join("source"), own.path().join("tmp"));
    let copied = Command::new("cp").arg("-r").arg(app.path()).arg(&source).status().unwrap();
    assert!(copied.success());
    fs::create_dir(&tmp).unwrap();
    for verb in ["prebuild", "build", "postbuild"] {
        let step = step(&account, verb, &source);
        let mut closed = Command::new("unshare");
        closed.args([
            "--mount",
            "/bin/sh",
            "-c",
            "for f in /tmp /var/tmp \"$HOME\"; do mount --bind $f $f && mount -o remount,bind,ro $f || exit 99; done; exec \"$@\"",
            "sh",
        ]);
        closed.arg(step.get_program()).args(step.get_args()).current_dir(&source);
        closed.env_clear().envs(step.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TMPDIR", &tmp);
        let output = closed.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{verb}: {said}");
    }
    assert!(account.tags().contains_key("build-1"));
    // The commands of a build tell each other what they know in one private folder, which holds no value and no login.
    let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let mut files: Vec<_> =
        fs::read_dir(&left[0]).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["build.log", "state.json", "test.log"]);
    for folder in [own.path(), Path::new("/dev/shm"), account.path("").as_path()] {
        let found = Command::new("grep").args(["-rlaF", &secret]).arg(folder).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a file has it");
    }
}

fn refusal(status: u16, code: &str) -> Fault {
    let body = json!({ "errors": [{ "code": code, "message": "the registry of this test does not want to" }] });
    Fault::Answer { status, body: body.to_string() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_cache_that_cannot_be_written_read_or_trusted_costs_time_and_no_build() {
    let proxy = FaultProxy::before(&parts::registry()).await;
    let account = Account::new().await;
    let repository = format!("{}/{}", proxy.host(), account.app);
    let account = account.with("DOCKER_REPO", &repository).with("BRANCH", "main");
    let app = app_json("true", &[]);
    // Its packages are cached.
    fs::write(app.path().join("requirements.txt"), "").unwrap();
    let succeeds = |number: u64| {
        let build = account.build(number, app.path());
        assert_eq!(build.status, "SUCCEEDED", "{:#?}", build.log);
        assert!(account.tags().contains_key(&format!("build-{number}")));
        (build.log.join("\n"), account.metadata(&number.to_string())["cache"]["layers"].clone())
    };
    let again = "building again without it";

    // As where tags cannot be overwritten.
    proxy.fail(When::path("PUT", "/manifests/cache-"), usize::MAX, refusal(400, "TAG_INVALID"));
    let (log, _) = succeeds(1);
    assert!(!proxy.seen(&When::path("PUT", "/manifests/cache-")).is_empty(), "nothing was to be cached");
    assert!(!account.all_tags().contains_key("cache-main"));
    assert!(!log.contains(again), "{log}");

    proxy.behave();
    succeeds(2);
    let (log, layers) = succeeds(3);
    assert!(account.all_tags().contains_key("cache-main") && !log.contains(again), "{log}");
    assert!(layers["restored"].as_u64() > Some(0) && layers["kept"].as_u64() > Some(0), "{layers}");

    proxy.fail(When::path("GET", "/manifests/cache-"), usize::MAX, refusal(403, "DENIED"));
    let (log, layers) = succeeds(4);
    assert!(log.contains(again) && layers["restored"] == 0, "{log}");

    // It is there and lacks its layers.
    proxy.behave();
    let manifest: Value = serde_json::from_str(&account.manifest("cache-main")).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let path = format!("/blobs/{}", layer["digest"].as_str().unwrap());
        proxy.fail(When::path("GET", path), usize::MAX, refusal(404, "BLOB_UNKNOWN"));
    }
    succeeds(5);
}
