//! Builds of many kinds by the rendered buildspec: real engine, real pack, a real registry.
#![cfg(feature = "aws")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::support::account::Account;
use crate::support::app::app;
use crate::support::codebuild::Build;
use crate::support::parts;

const PROCFILE: &str = "web: exec python3 -m http.server $PORT\n";
const BUILD: [&str; 2] =
    marks("#*#*#*#*#*# apppack-build-start #*#*#*#*#*#", "#*#*#*#*#*# apppack-build-end #*#*#*#*#*#");
const TEST: [&str; 2] = marks("#*#*#*#*#*# apppack-test-start #*#*#*#*#*#", "#*#*#*#*#*# apppack-test-end #*#*#*#*#*#");

const fn marks(start: &'static str, end: &'static str) -> [&'static str; 2] {
    [start, end]
}

/// An app that `app.json` describes; its tests run this command.
pub(super) fn app_json(test: &str, addons: &[&str]) -> tempfile::TempDir {
    let folder = app(PROCFILE);
    let manifest = json!({
        "stack": parts::builder(),
        "environments": { "test": { "addons": addons, "scripts": { "test": test } } },
    });
    fs::write(folder.path().join("app.json"), manifest.to_string()).unwrap();
    folder
}

/// What stands between two markers in the log.
fn between(build: &Build, [start, end]: [&str; 2]) -> String {
    build.log_between(start, end).unwrap_or_else(|| panic!("no {start}: {:#?}", build.log)).join("\n")
}

/// An app whose image cannot be built.
fn broken(app: &Path) {
    fs::write(app.join("requirements.txt"), "!!! no requirement\n").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn an_app_with_an_app_json_alone_is_built_tested_and_named_by_the_old_builders_name() {
    let account = Account::new().await;
    let app = app_json("test -f Procfile && echo 'all of them passed'", &[]);
    let program = account.path("bin/apppack-builder").display().to_string();
    let build = account.build_with(1, app.path(), &program, |_| {});
    assert_eq!(build.status, "SUCCEEDED", "{:#?}", build.log);
    assert_eq!(build.artifacts, ["1/build.log", "1/test.log", "1/apppack.toml", "1/commit.txt"]);

    assert!(between(&build, BUILD).contains("===> EXPORTING"));
    let tests = "+ test -f Procfile && echo 'all of them passed'\nall of them passed\n";
    assert!(between(&build, TEST).starts_with(tests));
    assert_eq!(account.artifact("1/test.log").as_deref(), Some(tests));
    let archived = account.artifact("1/apppack.toml").unwrap();
    assert!(
        archived.contains("[services.web]\ncommand = \"bash -c 'exec python3 -m http.server $PORT'\""),
        "{archived}"
    );

    let tags = account.tags();
    assert_eq!(tags.len(), 3, "{tags:?}");
    assert!(tags["build-1"] == tags["latest"] && tags[&build.commit] == tags["latest"], "{tags:?}");
    let metadata = account.metadata("1");
    assert_eq!(metadata["image"]["tags"], json!([build.commit, "build-1", "latest"]));
    assert_eq!((&metadata["test"]["outcome"], &metadata["test"]["exit_code"]), (&json!("passed"), &json!(0)));
    assert!(metadata["cache"]["layers"]["added"].as_u64() > Some(0), "{metadata}");
    let record = account.record(1);
    assert_eq!((&record["build"]["state"], &record["test"]["state"]), (&json!("succeeded"), &json!("succeeded")));
    assert_eq!(account.left_with_docker(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_config_file_elsewhere_counts_and_is_archived_under_the_one_name_whatever_happens() {
    let account = Account::new().await.with("APPPACK_TOML", "deploy/shop.toml");
    let app = app(PROCFILE);
    let write = |test: &str| {
        let builder = parts::builder();
        let text = format!("# ours\n[build]\nbuilder = \"{builder}\"\n\n[test]\ncommand = \"{test}\"\n");
        fs::write(app.path().join("deploy/shop.toml"), text).unwrap();
    };
    fs::create_dir(app.path().join("deploy")).unwrap();
    // One that the app has for something else.
    fs::write(app.path().join("apppack.toml"), "[build]\nsystem = \"dockerfile\"\n").unwrap();
    let archived = |number: u64| account.artifact(&format!("{number}/apppack.toml")).unwrap();

    write("grep -q ours deploy/shop.toml");
    let build = account.build(1, app.path());
    assert_eq!(build.status, "SUCCEEDED", "{:#?}", build.log);
    assert!(archived(1).contains("[services.web]") && archived(1).contains("grep -q ours"), "{}", archived(1));
    let kept = fs::read_to_string(build.folder.join("deploy/shop.toml")).unwrap();
    assert!(kept.starts_with("# ours\n[build]"), "the user's own file has changed: {kept}");

    write("exit 3");
    assert_eq!(account.build(2, app.path()).status, "FAILED");
    assert!(archived(2).contains("[services.web]") && archived(2).contains("exit 3"), "{}", archived(2));

    broken(app.path());
    assert_eq!(account.build(3, app.path()).phase("BUILD"), Some("FAILED"));
    assert!(archived(3).starts_with("# ours\n[build]"), "{}", archived(3));

    fs::remove_file(app.path().join("deploy/shop.toml")).unwrap();
    let build = account.build(4, app.path());
    assert!(between(&build, BUILD).contains("`deploy/shop.toml` (APPPACK_TOML)"), "{:#?}", build.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_failed_image_build_says_why_where_clients_look_and_moves_no_tag() {
    let account = Account::new().await;
    let app = app_json("true", &["heroku-redis:in-dyno"]);
    assert_eq!(account.build(1, app.path()).status, "SUCCEEDED");
    let before = account.tags();

    broken(app.path());
    let build = account.build(2, app.path());
    assert_eq!((build.phase("PRE_BUILD"), build.phase("BUILD")), (Some("SUCCEEDED"), Some("FAILED")));
    // Nothing is tested after a failed build, and that is no second failure.
    assert_eq!(build.phase("POST_BUILD"), Some("SUCCEEDED"));
    let context = &build.phases.iter().find(|phase| phase.name == "BUILD").unwrap().context;
    assert!(context.ends_with("codebuild build. Reason: exit status 1"), "{context}");
    let log = account.artifact("2/build.log").unwrap();
    for words in ["Invalid requirement: '!!! no requirement'", "error: the image build failed in its `build` step"] {
        assert!(between(&build, BUILD).contains(words) && log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains("#*#*#"), "{log}");
    assert_eq!(account.artifact("2/test.log").as_deref(), Some(""));
    assert!(account.artifact("2/commit.txt").unwrap().starts_with("commit "));
    assert_eq!(account.tags(), before);
    assert_eq!(account.left_with_docker(), "");

    let record = account.record(2);
    assert_eq!((&record["build"]["state"], &record["test"]["state"]), (&json!("failed"), &json!("")));
    let cause = account.metadata("2")["failure"].as_str().unwrap().to_owned();
    assert_eq!(cause, "the image build failed in its `build` step (exit code 51)");
    let said = String::from_utf8(account.run(&["build", "status", "2", "--app", &account.app]).stdout).unwrap();
    assert!(said.contains("failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn what_is_wrong_before_the_image_build_is_told_in_its_place() {
    let account = Account::new().await;
    let app = app_json("true", &[]);
    fs::write(app.path().join("app.json"), "{\n  \"stack\": 24\n}\n").unwrap();
    let build = account.build(1, app.path());
    assert_eq!((build.phase("PRE_BUILD"), build.phase("BUILD")), (Some("SUCCEEDED"), Some("FAILED")));
    let log = account.artifact("1/build.log").unwrap();
    assert!(log.contains("--> app.json:2:12") && between(&build, BUILD).contains("--> app.json:2:12"), "{log}");
    assert_eq!(account.record(1)["build"]["state"], "failed");

    fs::remove_file(app.path().join("app.json")).unwrap();
    fs::write(app.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    fs::write(
        app.path().join("apppack.toml"),
        "[build]\nsystem = \"dockerfile\"\n[services.web]\ncommand = \"true\"\n",
    )
    .unwrap();
    let build = account.build(2, app.path());
    assert_eq!((build.phase("PRE_BUILD"), build.phase("BUILD")), (Some("SUCCEEDED"), Some("FAILED")));
    assert!(
        between(&build, BUILD).contains("`[build] system = \"dockerfile\"` is not supported yet"),
        "{:#?}",
        build.log
    );
    assert!(account.tags().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the registry, moto and DynamoDB Local"]
async fn a_build_without_docker_says_so_in_its_log_and_in_its_records() {
    let account = Account::new().await.with("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let account = account.with("PACKHORSE_ENGINE", "pack");
    // An existing buildspec goes on without a daemon; this one would not get beyond its `install` phase.
    fs::remove_file(account.path("bin/docker")).unwrap();
    fs::write(account.path("bin/docker"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(account.path("bin/docker"), fs::Permissions::from_mode(0o755)).unwrap();
    for (number, addons) in [(1, &[][..]), (2, &["heroku-redis:in-dyno"][..])] {
        let build = account.build(number, app_json("true", addons).path());
        assert_eq!((build.phase("PRE_BUILD"), build.phase("BUILD")), (Some("SUCCEEDED"), Some("FAILED")));
        let log = account.artifact(&format!("{number}/build.log")).unwrap();
        for words in ["connect to Docker at unix:///nonexistent/docker.sock", "start Docker"] {
            assert!(between(&build, BUILD).contains(words) && log.contains(words), "{words}: {log}");
        }
        assert_eq!(account.record(number)["build"]["state"], "failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the registry, moto and DynamoDB Local"]
async fn a_build_image_that_is_set_up_wrongly_is_told_in_the_log_too() {
    let account = Account::new().await.with("AWS_CA_BUNDLE", "/nonexistent/authorities.pem");
    let build = account.build(1, app_json("true", &[]).path());
    assert_eq!((build.phase("PRE_BUILD"), build.phase("BUILD")), (Some("SUCCEEDED"), Some("FAILED")));
    assert_eq!(build.phase("POST_BUILD"), Some("SUCCEEDED"));
    let log = account.artifact("1/build.log").unwrap();
    assert!(log.starts_with("error: ") && log.contains("/nonexistent/authorities.pem"), "{log}");
    assert!(between(&build, BUILD).contains(log.trim_end()), "{:#?}", build.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn failing_tests_are_shown_and_move_no_tag() {
    let account = Account::new().await;
    let app = app_json("true", &[]);
    assert_eq!(account.build(1, app.path()).status, "SUCCEEDED");
    let before = account.tags();

    let app = app_json("echo '1 of 3 failed'; echo 'look here' >&2; exit 3", &["heroku-redis:in-dyno"]);
    fs::write(app.path().join("page.html"), "another image").unwrap();
    let build = account.build(2, app.path());
    assert_eq!((build.phase("BUILD"), build.phase("POST_BUILD")), (Some("SUCCEEDED"), Some("FAILED")));
    let log = account.artifact("2/test.log").unwrap();
    for words in ["1 of 3 failed", "look here", "error: the tests failed: exit code 3", "no tag of the image has moved"]
    {
        assert!(between(&build, TEST).contains(words) && log.contains(words), "{words}: {log}");
    }
    assert_eq!(account.tags(), before);
    assert_eq!(account.left_with_docker(), "");
    let record = account.record(2);
    assert_eq!((&record["build"]["state"], &record["test"]["state"]), (&json!("succeeded"), &json!("failed")));
    let metadata = account.metadata("2");
    assert_eq!((&metadata["test"]["outcome"], &metadata["test"]["exit_code"]), (&json!("failed"), &json!(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn hanging_tests_end_at_their_time_limit_and_are_told_apart_from_failing_ones() {
    let account = Account::new().await.with("PACKHORSE_TEST_TIMEOUT", "3s");
    let app = app_json("echo waiting for godot; exec sleep 1000", &["heroku-redis:in-dyno"]);
    let build = account.build(1, app.path());
    assert_eq!(build.phase("POST_BUILD"), Some("FAILED"));
    let log = account.artifact("1/test.log").unwrap();
    assert!(log.contains("waiting for godot") && log.contains("3 s") && log.contains("`timeout`"), "{log}");
    assert!(!log.contains("the tests failed"), "{log}");
    assert!(account.tags().is_empty());
    assert_eq!(account.left_with_docker(), "");
    let metadata = account.metadata("1");
    assert_eq!((&metadata["test"]["outcome"], &metadata["test"]["exit_code"]), (&json!("timed-out"), &json!(null)));
    assert_eq!(account.record(1)["test"]["state"], "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry and moto"]
async fn a_build_outside_codebuild_has_its_names_when_build_ends() {
    let account = Account::without_lane();
    let app = app_json("exit 3", &["heroku-redis:in-dyno"]);
    let id = format!("external-{}", account.app);
    for verb in ["prebuild", "build"] {
        let output = account.step(verb, (&id, "external-17"), app.path()).output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let commit = fs::read_to_string(app.path().join("commit.txt")).unwrap();
    let commit = commit.trim_end().strip_prefix("commit ").unwrap();
    let tags = account.tags();
    assert_eq!(tags.keys().collect::<Vec<_>>(), [commit, "build-external-17", "latest"]);
    for name in ["build.log", "apppack.toml", "metadata.toml"] {
        assert!(fs::metadata(app.path().join(name)).unwrap().len() > 0, "{name} is empty");
    }
    assert_eq!(account.metadata("external-17")["image"]["tags"].as_array().unwrap().len(), 3);
    assert_eq!(account.left_with_docker(), "");

    let step = |verb| account.step(verb, (&id, "external-18"), app.path()).output().unwrap();
    broken(app.path());
    assert_eq!((step("prebuild").status.code(), step("build").status.code()), (Some(0), Some(1)));
    assert!(fs::read_to_string(app.path().join("build.log")).unwrap().contains("Invalid requirement"));
    assert_eq!(account.tags(), tags);

    // Nobody comes after a failed `prebuild` to tell of it: it says so at once.
    fs::write(app.path().join("app.json"), "{").unwrap();
    assert_eq!(step("prebuild").status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_builder_that_nobody_trusts_builds_too_and_its_phases_are_kept_apart() {
    let account =
        Account::new().await.without("PACKHORSE_TRUST_BUILDER").with("PACKHORSE_LIFECYCLE_IMAGE", &parts::builder());
    account.configure("GREETING", "hello-from-the-config");
    let app = app_json("test -f Procfile", &[]);
    let build = account.build(1, app.path());
    assert_eq!(build.status, "SUCCEEDED", "{:#?}", build.log);
    let log = between(&build, BUILD);
    for phase in ["[analyzer]", "[detector]", "[restorer]", "[builder]", "[exporter]"] {
        assert!(log.contains(phase), "{phase}: {log}");
    }
    assert!(account.tags().contains_key("build-1"));
    assert!(account.metadata("1")["cache"]["layers"]["added"].as_u64() > Some(0));
}
