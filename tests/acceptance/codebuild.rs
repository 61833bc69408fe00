//! From the rendered buildspec to a running release, on real parts.

use packhorse::domain::namespace::{Marker, Namespace};
use serde_json::Value;

use crate::support::client_decoder::ClientBuild;
use crate::support::codebuild::{Build, Source, StartBuild, Variable};
use crate::support::orchestrated::{Account, states};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says why a build failed.
fn log(build: &Build) -> String {
    build.log.join("\n")
}

fn metadata(account: &Account, number: u64) -> Value {
    serde_json::from_str(&account.artifact(&format!("{number}/build.json")).unwrap()).unwrap()
}

/// Everything of a build's item but its number and its times.
fn but_for_ids_and_times(mut build: ClientBuild) -> ClientBuild {
    let number = build.build_number.to_string();
    let uuid = build.phases[0].arns[0].rsplit(':').next().unwrap().to_owned();
    build.build_number = 0;
    for phase in &mut build.phases {
        let timeless = |text: &String| {
            text.replace(&uuid, "UUID").replace(&format!("/{number}/"), "/N/").replace(&format!("-{number}-"), "-N-")
        };
        phase.start = i64::from(phase.start != 0);
        phase.end = i64::from(phase.end != 0);
        phase.logs = timeless(&phase.logs);
        phase.arns = phase.arns.iter().map(timeless).collect();
    }
    build
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn the_guestbook_goes_from_the_rendered_buildspec_to_a_running_release_cold_then_warm() {
    let account = Account::new().with_guestbook().with_databases().adopted(None);
    let cold = account.build(1);
    assert_eq!(cold.status, "SUCCEEDED", "{}", log(&cold));

    // What a client sees between CodeBuild and the orchestrator.
    let seen = account.app_build(1).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "started", "", "", ""]);
    assert_eq!((seen.app.as_str(), seen.commit.as_str(), seen.pr_number.as_str()), (&*account.app, &*cold.commit, ""));
    let stream = cold.arn.rsplit(':').next().unwrap();
    assert_eq!(seen.phases[0].logs, format!("cloudwatch:///aws/codebuild/{}#{stream}", account.app));
    assert_eq!(seen.phases[0].arns, std::slice::from_ref(&cold.arn));
    assert_eq!(seen.phases[1].logs, "");

    // Artifacts, tags, log.
    let files = ["apppack.toml", "build.json", "build.log", "commit.txt", "test.log"];
    assert_eq!(account.artifacts(), files.map(|file| format!("1/{file}")));
    assert!(account.artifact("1/commit.txt").unwrap().starts_with(&format!("commit {}", cold.commit)));
    let config: toml::Table = account.artifact("1/apppack.toml").unwrap().parse().unwrap();
    let processes: Vec<&String> = config["services"].as_table().unwrap().keys().collect();
    assert_eq!(processes, ["web", "worker"]);
    assert_eq!(config["deploy"]["release_command"].as_str(), Some("bash -c 'python migrate.py'"));
    let tests = account.artifact("1/test.log").unwrap();
    assert!(tests.starts_with("+ python -m unittest discover --verbose tests\n") && tests.contains("\nOK"), "{tests}");
    let mut tags = vec!["build-1".to_owned(), "cache-main".to_owned(), cold.commit.clone(), "latest".to_owned()];
    tags.sort();
    // This registry takes no tag away by its name, and says so.
    let known: Vec<String> = account.tags().into_iter().filter(|tag| !tag.starts_with("candidate-")).collect();
    assert_eq!(known, tags);
    let marker = |marker| Namespace::default().marker(marker);
    let between = |start, end| cold.log_between(&marker(start), &marker(end)).unwrap().join("\n");
    let built = between(Marker::BuildStart, Marker::BuildEnd);
    assert_eq!(account.artifact("1/build.log").unwrap().trim(), built.trim());
    // What is said about the names stands there too, and is not what the tests said.
    assert!(between(Marker::TestStart, Marker::TestEnd).starts_with(tests.trim()));

    // The orchestrator takes that very build on.
    let handled = account.follow_end_of(&cold);
    assert!(handled.status.success(), "{}", text(&handled.stderr));
    let seen = account.app_build(1).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "succeeded"]);
    let s3 = |file: &str| format!("s3://{}/1/{file}", account.bucket.name);
    let logs = seen.phases.each_ref().map(|phase| phase.logs.clone());
    assert_eq!(logs, [s3("build.log"), s3("test.log"), String::new(), s3("release.log"), String::new(), String::new()]);
    assert_eq!(seen.phases[5].arns.len(), 2, "{seen:?}");
    assert!(account.artifact("1/release.log").is_some());
    let status = account.deploy_status("DEPLOYSTATUS").unwrap();
    assert_eq!((status.build_number, status.failed, &status.build_id), (1, false, &cold.arn));
    let names: Vec<&str> = status.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["web", "worker"]);
    assert!(account.page().contains("<form"), "{}", account.page());
    assert_eq!(account.running("service").len(), 2);

    // Whatever is told again changes nothing.
    let before = account.item(&format!("APP#{}", account.app), "BUILD#0000000001");
    let told = account.phase_events().len();
    for event in cold.events().iter().rev() {
        let again = account.handle(event, &[]);
        assert!(again.status.success(), "{}", text(&again.stderr));
    }
    assert_eq!(account.item(&format!("APP#{}", account.app), "BUILD#0000000001"), before);
    assert_eq!(account.phase_events().len(), told);

    // The next build finds its layers again, and its facts are the same.
    let warm = account.build(2);
    assert_eq!(warm.status, "SUCCEEDED", "{}", log(&warm));
    assert!(account.follow_end_of(&warm).status.success());
    assert_eq!(but_for_ids_and_times(account.app_build(2).unwrap()), but_for_ids_and_times(seen));
    let log = account.artifact("2/build.log").unwrap();
    assert!(log.contains("Reusing layer") && !log.contains("Downloading"), "{log}");
    let (cold, warm) = (metadata(&account, 1), metadata(&account, 2));
    for field in ["format", "app", "pull_request", "commit", "engine", "builder", "run_image", "buildpacks"] {
        assert_eq!(cold[field], warm[field], "{field}");
        assert!(cold.get(field).is_some(), "{field} is missing in {cold:#}");
    }
    let layers = |metadata: &Value, what: &str| metadata["cache"]["layers"][what].as_u64().unwrap();
    assert_eq!((layers(&warm, "added"), layers(&warm, "reused")), (0, layers(&cold, "added")), "{warm:#}");
    assert_eq!(layers(&warm, "restored"), layers(&cold, "cached"), "{warm:#}");
    assert_eq!(cold["image"]["digest"], warm["image"]["digest"], "the same source makes the same image");
    for (metadata, number) in [(&cold, 1), (&warm, 2)] {
        assert_eq!(metadata["build_number"], number);
        for phase in ["build", "test"] {
            assert_eq!(metadata["phases"][phase]["outcome"], "succeeded", "{metadata:#}");
        }
    }
    assert!(account.page().contains("<form"));
    assert_eq!(account.running("service").len(), 2, "the old release is gone");
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn a_failing_test_moves_no_tag_and_is_told_where_clients_look() {
    let account = Account::new().with_small_app("echo no; exit 7", "echo migrated").adopted(None);
    let build = account.build(7);
    assert_eq!((build.status, build.phase("POST_BUILD")), ("FAILED", Some("FAILED")), "{}", log(&build));
    let tags = account.tags();
    assert!(!tags.iter().any(|tag| tag == "latest" || tag == "build-7" || *tag == build.commit), "{tags:?}");
    assert!(account.artifact("7/test.log").unwrap().contains("no\n"));
    assert_eq!(states(&account.app_build(7).unwrap()), ["succeeded", "failed", "", "", "", ""]);

    let handled = account.follow_end_of(&build);
    let told = text(&handled.stderr);
    assert_eq!(handled.status.code(), Some(1), "{told}");
    assert!(told.contains("failed in its test phase"), "{told}");
    let seen = account.app_build(7).unwrap();
    assert_eq!(seen.phases[1].logs, format!("s3://{}/7/test.log", account.bucket.name));
    assert_eq!(account.all("service"), [""; 0]);
    assert!(account.deploy_status("DEPLOYSTATUS").is_none());
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn without_a_lane_the_image_and_the_artifacts_are_made_all_the_same() {
    let account = Account::new().with_small_app("test 1 = 1", "echo migrated");
    let build = account.build(3);
    assert_eq!(build.status, "SUCCEEDED", "{}", log(&build));
    let told = build.log.iter().filter(|line| line.contains("there is no lane")).count();
    assert_eq!(told, 1, "{}", log(&build));
    assert!(account.app_build(3).is_none());
    assert!(account.tags().contains(&"build-3".to_owned()));
    for file in ["apppack.toml", "build.log", "commit.txt", "test.log"] {
        assert!(account.artifact(&format!("3/{file}")).is_some(), "{file} is missing");
    }
    let handled = account.handle(build.events().last().unwrap(), &[]);
    assert!(handled.status.success());
    assert!(text(&handled.stderr).contains("has no lane"), "{}", text(&handled.stderr));
    assert!(account.app_build(3).is_none());
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn when_every_event_is_lost_the_sweep_alone_brings_the_build_to_its_release() {
    let account = Account::new().with_small_app("test 1 = 1", "echo migrated").adopted(None);
    let build = account.build(1);
    assert_eq!(build.status, "SUCCEEDED", "{}", log(&build));
    let swept = account.run(&["orchestrator", "sweep", "--place", "docker", "--follow"]);
    assert!(swept.status.success(), "{}", text(&swept.stderr));
    let seen = account.app_build(1).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "succeeded"]);
    assert_eq!(account.artifact("1/release.log").unwrap(), "migrated\n");
    assert!(account.page().contains("Directory listing"));

    let nothing = account.run(&["orchestrator", "sweep", "--place", "docker"]);
    assert!(text(&nothing.stderr).contains("Looked at 0 lanes"), "{}", text(&nothing.stderr));
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn an_image_that_another_builder_made_is_found_by_its_tag() {
    let account = Account::new().with_small_app("test 1 = 1", "echo migrated");
    let build = account.build(5);
    assert_eq!(build.status, "SUCCEEDED", "{}", log(&build));
    // What AppPack's own builder leaves: neither facts nor `build.json`.
    let account = account.adopted(None);
    account.forget("5/build.json");
    let handled = account.follow_end_of(&build);
    assert!(handled.status.success(), "{}", text(&handled.stderr));
    let seen = account.app_build(5).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "succeeded"]);
    let live = account.stored_lane(None).live.unwrap();
    assert!(live.plan.image.starts_with(&format!("{}@sha256:", account.repository())), "{}", live.plan.image);
    assert!(account.page().contains("Directory listing"));
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn a_pull_request_gets_its_review_app_and_loses_it_when_it_is_closed() {
    let account = Account::new().with_small_app("test 1 = 1", "echo migrated").adopted(Some(12));
    let mut project = account.project();
    project.variables.push(Variable::plain("PIPELINE", "1"));
    let mut start = StartBuild::of(8, Source::of(account.source.path()));
    start.source_version = Some("pr/12".to_owned());
    start.variables = vec![Variable::plain("REVIEW_APP_STATUS", "created")];
    let build = account.start(&project, &start);
    assert_eq!(build.status, "SUCCEEDED", "{}", log(&build));
    let status = format!("/apppack/pipelines/{}/review-apps/pr/12", account.app);
    let stored: Value = serde_json::from_str(&account.parameter(&status).unwrap()).unwrap();
    assert_eq!(stored["status"], "created", "{stored}");
    assert_eq!(stored["pull_request"], "pr/12", "{stored}");

    let handled = account.follow_end_of(&build);
    assert!(handled.status.success(), "{}", text(&handled.stderr));
    let partition = format!("APP#{}:12", account.app);
    let seen = account.seen(&partition, 8).unwrap();
    assert_eq!(states(&seen), ["succeeded"; 6]);
    assert_eq!((seen.app.as_str(), seen.pr_number.as_str()), (&*account.app, "12"));
    assert_eq!(account.artifact("8/postdeploy.log").unwrap(), "seeded\n");
    assert_eq!(account.deploy_status("DEPLOYSTATUS#12").unwrap().build_number, 8);
    assert_eq!(account.running("service").len(), 1);

    let mut start = StartBuild::of(9, Source::of(account.source.path()));
    start.source_version = Some("pr/12".to_owned());
    start.webhook = [("EVENT".to_owned(), "PULL_REQUEST_CLOSED".to_owned())].into();
    let closing = account.start(&project, &start);
    assert_eq!(closing.status, "SUCCEEDED", "{}", log(&closing));
    let stored: Value = serde_json::from_str(&account.parameter(&status).unwrap()).unwrap();
    assert_eq!(stored["status"], "closed", "{stored}");
    assert!(account.seen(&partition, 9).is_none(), "a build with nothing to build is not shown");
    let handled = account.follow_end_of(&closing);
    assert!(handled.status.success(), "{}", text(&handled.stderr));
    assert_eq!(account.running("service"), [""; 0]);
    assert!(account.seen(&partition, 9).is_none());
}
