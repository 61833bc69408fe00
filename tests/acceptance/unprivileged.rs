//! An unprivileged CodeBuild project: the rendered buildspec in a container with the engine's default profile, without Docker.

use packhorse::domain::namespace::{Marker, Namespace};
use serde_json::Value;

use crate::support::codebuild::{Build, Project, Source, StartBuild};
use crate::support::environment_image::EnvironmentImage;
use crate::support::orchestrated::{Account, states};

/// A build of the account's app.
fn build(account: &Account, project: &Project, number: u64) -> Build {
    account.start(project, &StartBuild::of(number, Source::of(account.source.path())))
}

fn log(build: &Build) -> String {
    build.log.join("\n")
}

fn metadata(account: &Account, number: u64) -> Value {
    serde_json::from_str(&account.artifact(&format!("{number}/build.json")).unwrap()).unwrap()
}

fn between(build: &Build, start: Marker, end: Marker) -> String {
    let marker = |marker| Namespace::default().marker(marker);
    build.log_between(&marker(start), &marker(end)).unwrap_or_else(|| panic!("{}", log(build))).join("\n")
}

/// The names by which releases find images.
fn names(account: &Account) -> Vec<String> {
    account.tags().into_iter().filter(|tag| !tag.starts_with("candidate-") && !tag.starts_with("cache-")).collect()
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn the_guestbook_is_built_and_tested_without_docker_or_privileges_cold_then_warm() {
    let image = EnvironmentImage::with_databases();
    let account = Account::new().with_guestbook().with_databases().adopted(None);
    let project = account.unprivileged_project(&image.name);
    let cold = build(&account, &project, 1);
    assert_eq!(cold.status, "SUCCEEDED", "{}", log(&cold));

    // Records, artifacts and names are those of a privileged project.
    let seen = account.app_build(1).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "started", "", "", ""]);
    let files = ["apppack.toml", "build.json", "build.log", "commit.txt", "test.log"];
    assert_eq!(account.artifacts(), files.map(|file| format!("1/{file}")));
    let config: toml::Table = account.artifact("1/apppack.toml").unwrap().parse().unwrap();
    let processes: Vec<&String> = config["services"].as_table().unwrap().keys().collect();
    assert_eq!(processes, ["web", "worker"]);
    assert_eq!(config["deploy"]["release_command"].as_str(), Some("bash -c 'python migrate.py'"));
    let tests = account.artifact("1/test.log").unwrap();
    let begin = "+ python -m unittest discover --verbose tests\ntest environment: build image\n";
    assert!(tests.starts_with(begin) && tests.contains("\nOK"), "{tests}");
    assert!(between(&cold, Marker::TestStart, Marker::TestEnd).starts_with(tests.trim()));
    let built = between(&cold, Marker::BuildStart, Marker::BuildEnd);
    assert_eq!(account.artifact("1/build.log").unwrap().trim(), built.trim());
    assert!(built.contains("Building in place"), "{built}");
    let mut tags = vec!["build-1".to_owned(), cold.commit.clone(), "latest".to_owned()];
    tags.sort();
    assert_eq!(names(&account), tags);
    let told = metadata(&account, 1);
    assert_eq!(
        (&told["engine"], &told["test"]["environment"]),
        (&"embedded".into(), &"build-image".into()),
        "{told:#}"
    );
    assert_eq!(told["test"]["outcome"], "passed");

    // The orchestrator takes that very build on.
    let handled = account.follow_end_of(&cold);
    assert!(handled.status.success(), "{}", String::from_utf8_lossy(&handled.stderr));
    let seen = account.app_build(1).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "succeeded"]);
    assert!(account.page().contains("<form"), "{}", account.page());

    let warm = build(&account, &project, 2);
    assert_eq!(warm.status, "SUCCEEDED", "{}", log(&warm));
    let again = metadata(&account, 2);
    assert_eq!(told["image"]["digest"], again["image"]["digest"], "the same source makes the same image");
    assert_eq!(again["cache"]["layers"]["added"], 0, "{again:#}");
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn an_add_on_that_the_environment_image_lacks_is_refused_by_name_with_the_way_out() {
    let image = EnvironmentImage::with("");
    let account = Account::new().with_guestbook().adopted(None);
    let refused = build(&account, &account.unprivileged_project(&image.name), 1);
    assert_eq!((refused.status, refused.phase("BUILD")), ("FAILED", Some("FAILED")), "{}", log(&refused));
    let told = between(&refused, Marker::BuildStart, Marker::BuildEnd);
    for words in [
        "the add-on `postgres` cannot be had here",
        "use an environment image that has PostgreSQL (on Debian: the package `postgresql`)",
        "or a privileged project, in which Docker runs add-ons",
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(states(&account.app_build(1).unwrap()), ["failed", "", "", "", "", ""]);
    // `post_build` runs all the same, and finds nothing to do.
    assert_eq!(refused.phase("POST_BUILD"), Some("SUCCEEDED"));
}

/// Takes another command for `postbuild`, and tells after it which processes are left.
fn with_postbuild(project: &Project, command: &str) -> String {
    let left = r#"for p in /proc/[0-9]*; do echo "left: $(tr '\0' ' ' <$p/cmdline)"; done"#;
    let lines = format!("- |\n        {command}; code=$?\n        {left}\n        (exit $code)\n");
    let changed = project.buildspec.replace("- packhorse codebuild postbuild\n", &lines);
    assert_ne!(changed, project.buildspec);
    changed
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn tests_that_fail_or_hang_move_no_tag_and_leave_no_process() {
    let image = EnvironmentImage::with("");
    let account = Account::new().with_small_app("echo no; exit 7", "echo migrated").adopted(None);
    let project = account.unprivileged_project(&image.name);
    let failed = build(&account, &project, 7);
    assert_eq!((failed.status, failed.phase("POST_BUILD")), ("FAILED", Some("FAILED")), "{}", log(&failed));
    assert!(account.artifact("7/test.log").unwrap().contains("\nno\n"));
    assert_eq!(states(&account.app_build(7).unwrap()), ["succeeded", "failed", "", "", "", ""]);
    assert_eq!(metadata(&account, 7)["test"]["exit_code"], 7);

    let hanging = "(trap '' TERM; exec sleep 1000) & echo begun; exec sleep 1000";
    let account = account.with_small_app(hanging, "echo migrated");
    account.write("apppack.toml", "[test]\ntimeout = \"2s\"\n");
    let mut project = project;
    project.buildspec = with_postbuild(&project, "packhorse codebuild postbuild");
    let hung = build(&account, &project, 8);
    assert_eq!((hung.status, hung.phase("POST_BUILD")), ("FAILED", Some("FAILED")), "{}", log(&hung));
    let told = log(&hung);
    assert!(told.contains("the tests were stopped after 2 s"), "{told}");
    assert!(told.contains("left: ") && !told.contains("left: sleep 1000"), "{told}");
    assert_eq!(metadata(&account, 8)["test"]["outcome"], "timed-out");
    assert_eq!(names(&account), [""; 0]);
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn a_postbuild_that_was_killed_is_repeated_and_its_add_ons_go() {
    let image = EnvironmentImage::with("redis-server");
    let account = Account::new()
        .with_small_app("echo begun; [ -e /tmp/second ] || { touch /tmp/second; exec sleep 1000; }", "echo m");
    let manifest = std::fs::read_to_string(account.source.path().join("app.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["environments"]["test"]["addons"] = serde_json::json!(["heroku-redis:in-dyno"]);
    account.write("app.json", &manifest.to_string());
    let account = account.adopted(None);
    let mut project = account.unprivileged_project(&image.name);
    // The first is killed while its tests run: as a whole, and nothing is left to tell of it.
    let kill = "(packhorse codebuild postbuild & until [ -e /tmp/second ]; do sleep 0.1; done; kill -9 $!; wait $!)";
    project.buildspec = with_postbuild(&project, &format!("{kill}; packhorse codebuild postbuild"));
    let build = build(&account, &project, 3);
    assert_eq!(build.status, "SUCCEEDED", "{}", log(&build));
    let told = log(&build);
    assert!(told.contains("left: ") && !told.contains("left: sleep 1000") && !told.contains("redis-server"), "{told}");
    assert_eq!(metadata(&account, 3)["test"]["environment"], "build-image");
    assert!(names(&account).contains(&"build-3".to_owned()));
}
