//! The program itself, behind proxies that let AWS throttle, refuse and disappear.
#![cfg(feature = "aws")]

use serde_json::json;

use crate::cli::Ran;
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::lanes::random_name;
use crate::support::parts;
use crate::support::step::{Parameter, Steps};

const BUILD_START: &str = "#*#*#*#*#*# apppack-build-start #*#*#*#*#*#\n";
const BUILD_END: &str = "\n#*#*#*#*#*# apppack-build-end #*#*#*#*#*#\n";

/// Returns what `build` says between its markers.
fn between_markers(ran: &Ran) -> &str {
    let told = ran.stdout.split_once(BUILD_START).and_then(|(_, rest)| rest.split_once(BUILD_END));
    told.unwrap_or_else(|| panic!("no markers: {ran}")).0
}

/// Checks that a failed `prebuild` was only recorded, and that `build` fails with it where clients look.
fn fails_where_clients_look(steps: &Steps, words: &[&str]) {
    let before = std::fs::read_dir(&steps.source).unwrap().count();
    let prebuild = steps.run("prebuild");
    assert_eq!(prebuild.code, 0, "{prebuild}");
    assert!(!steps.is_marked_skipped(), "{prebuild}");
    assert_eq!(std::fs::read_dir(&steps.source).unwrap().count(), before, "{prebuild}");
    let build = steps.run("build");
    assert_eq!(build.code, 1, "{build}");
    let told = between_markers(&build).to_owned();
    for word in words {
        assert!(prebuild.stderr.contains(word), "`{word}` is missing: {prebuild}");
        assert!(told.contains(word), "`{word}` is missing: {build}");
    }
    assert_eq!(steps.read("build.log").unwrap().trim(), told.trim(), "{build}");
    assert_eq!(steps.read("test.log").as_deref(), Some(""));
    assert!(steps.is_marked_skipped() && steps.read("commit.txt").is_some(), "{build}");
    let postbuild = steps.run("postbuild");
    assert_eq!(postbuild.code, 0, "{postbuild}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn a_parameter_store_that_throttles_for_a_while_only_takes_longer() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    proxy.fail(When::target("GetParameter"), 2, Fault::Throttled);
    proxy.fail(When::target("PutParameter"), 1, Fault::Throttled);
    let steps = Steps::new().of_pull_request(12).with("AWS_ENDPOINT_URL", &proxy.url());
    let ran = steps.run("prebuild");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("Nothing to build"), "{ran}");
    let (kind, version, value) = Parameter::of_review_app(&steps.app, 12).get().unwrap();
    assert_eq!((kind.as_str(), version), ("String", 1));
    assert_eq!(value, r#"{"pull_request":"pr/12","status":"open"}"#);
    assert_eq!(proxy.seen(&When::target("GetParameter")).len(), 3);
    assert_eq!(proxy.seen(&When::target("PutParameter")).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn a_status_whose_writes_answer_is_lost_is_written_once() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    proxy.fail(When::target("PutParameter"), 1, Fault::AnswerLost);
    let steps = Steps::new().of_pull_request(12).with("AWS_ENDPOINT_URL", &proxy.url());
    let ran = steps.run("prebuild");
    assert_eq!(ran.code, 0, "{ran}");
    let (_, version, value) = Parameter::of_review_app(&steps.app, 12).get().unwrap();
    assert_eq!((version, value.as_str()), (1, r#"{"pull_request":"pr/12","status":"open"}"#));
}

/// What stays wrong with Parameter Store: where, what is said of it, and the next step.
fn lasting_faults() -> [(&'static str, Fault, [&'static str; 3]); 6] {
    const READ: &str = "trying to read the parameter /apppack/pipelines/";
    const WRITE: &str = "trying to write the parameter /apppack/pipelines/";
    [
        ("GetParameter", Fault::Throttled, [READ, "Rate exceeded", "wait a minute"]),
        ("PutParameter", Fault::Throttled, [WRITE, "Rate exceeded", "wait a minute"]),
        ("GetParameter", Fault::ExpiredToken, [READ, "token included in the request is expired", "log in again"]),
        ("PutParameter", Fault::AccessDenied, [WRITE, "not authorized to perform", "allow it for the role"]),
        ("GetParameter", Fault::InternalError, [READ, "We encountered an internal error", "start the build again"]),
        ("GetParameter", Fault::Dropped, [READ, "dispatch failure", "start the build again"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn a_parameter_store_that_stays_away_fails_the_build_and_nothing_is_written() {
    let cases = lasting_faults().map(|(target, fault, words)| async move {
        let proxy = FaultProxy::before(&parts::moto()).await;
        proxy.fail(When::target(target), usize::MAX, fault);
        tokio::task::spawn_blocking(move || {
            let steps = Steps::new().of_pull_request(12).with("AWS_ENDPOINT_URL", &proxy.url());
            fails_where_clients_look(&steps, &words);
            assert!(Parameter::of_review_app(&steps.app, 12).get().is_none(), "{words:?}");
            assert!(proxy.seen(&When::body("Action=DeleteStack")).is_empty());
        })
        .await
        .unwrap();
    });
    futures_util::future::join_all(cases.map(tokio::spawn)).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn outside_codebuild_a_failed_prebuild_ends_with_1() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    proxy.fail(When::target("GetParameter"), usize::MAX, Fault::AccessDenied);
    let steps = Steps::new()
        .of_pull_request(12)
        .with("AWS_ENDPOINT_URL", &proxy.url())
        .with("CODEBUILD_BUILD_ID", "external-12")
        .with("CODEBUILD_BUILD_NUMBER", "external-12");
    let ran = steps.run("prebuild");
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stderr.contains("allow it for the role") && steps.is_marked_skipped(), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, a registry and moto"]
async fn config_variables_that_cannot_be_read_are_never_taken_for_none() {
    let cases = [
        (Fault::Throttled, ["no answer while trying to read the parameters below", "Rate exceeded"]),
        (Fault::ExpiredToken, ["access denied while trying to read the parameters below", "log in again"]),
        (Fault::AccessDenied, ["access denied while trying to read the parameters below", "allow it for the role"]),
    ];
    for (fault, words) in cases {
        let proxy = FaultProxy::before(&parts::moto()).await;
        let steps = Steps::new().with("AWS_ENDPOINT_URL", &proxy.url());
        let prebuild = steps.run("prebuild");
        assert_eq!(prebuild.code, 0, "{prebuild}");
        proxy.fail(When::target("GetParametersByPath"), usize::MAX, fault);
        let build = steps.run("build");
        assert_eq!(build.code, 1, "{build}");
        let told = between_markers(&build);
        assert!(words.iter().all(|word| told.contains(word)), "{build}");
        assert!(!told.contains("===> BUILDING"), "{build}");
        assert!(steps.is_marked_skipped() && steps.read("build.log").unwrap().contains(words[0]), "{build}");
        assert_eq!(steps.run("postbuild").code, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn a_review_app_that_cannot_be_removed_fails_the_build_that_was_to_remove_it() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to \
                  perform: cloudformation:DescribeStacks</Message></Error><RequestId>1</RequestId></ErrorResponse>";
    let denied = Fault::Answer { status: 403, body: denied.to_owned() };
    proxy.fail(When::body("Action=DescribeStacks"), usize::MAX, denied);
    let steps = Steps::new()
        .of_pull_request(12)
        .with("AWS_ENDPOINT_URL", &proxy.url())
        .with("CODEBUILD_WEBHOOK_EVENT", "PULL_REQUEST_CLOSED");
    fails_where_clients_look(&steps, &["look for the stack apppack-reviewapp-", "cloudformation:DescribeStacks"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn without_a_lane_an_s3_that_is_down_is_a_warning() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    proxy.fail(When::path("PUT", "build.json"), usize::MAX, Fault::SlowDown);
    let steps = Steps::new().with("AWS_ENDPOINT_URL", &proxy.url()).with("ARTIFACT_BUCKET", "artifacts-of-shop");
    let ran = steps.run("prebuild");
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.stderr.matches("`7/build.json` was not stored").count(), 1, "{ran}");
    assert!(!steps.is_marked_skipped());
    assert!(proxy.seen(&When::path("PUT", "build.json")).len() > 1, "it was tried again");
}

/// A build whose look at the status is older than what another build has written since.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and moto"]
async fn a_status_that_another_build_has_just_written_is_not_undone() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let missing = json!({"__type": "ParameterNotFound", "message": ""}).to_string();
    proxy.fail(When::target("GetParameter"), 1, Fault::Answer { status: 400, body: missing });
    let steps = Steps::new().of_pull_request(12).with("AWS_ENDPOINT_URL", &proxy.url());
    let parameter = Parameter::of_review_app(&steps.app, 12);
    parameter.put(r#"{"pull_request":"pr/12","status":"created"}"#);
    let ran = steps.run("prebuild");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(!ran.stderr.contains("Nothing to build") && !steps.is_marked_skipped(), "{ran}");
    let (_, version, value) = parameter.get().unwrap();
    assert_eq!((version, value.as_str()), (1, r#"{"pull_request":"pr/12","status":"created"}"#));
}

/// Two builds at once on one parameter: the one that creates the review app wins, in whatever order they read and write.
#[test]
#[ignore = "needs Docker Engine 26 and moto"]
fn of_two_builds_at_once_the_one_that_creates_the_review_app_wins() {
    for _ in 0..8 {
        let pipeline = random_name("storefront");
        let created = Steps::named(&pipeline).of_pull_request(12).with("REVIEW_APP_STATUS", "created");
        let pushed =
            Steps::named(&pipeline).of_pull_request(12).with("CODEBUILD_WEBHOOK_EVENT", "PULL_REQUEST_UPDATED");
        let (created, pushed) = std::thread::scope(|scope| {
            let both = [&created, &pushed].map(|steps| scope.spawn(|| steps.run("prebuild")));
            both.map(|run| run.join().unwrap()).into()
        });
        assert_eq!((created.code, pushed.code), (0, 0), "{created}\n{pushed}");
        assert!(!created.stderr.contains("Nothing to build"), "{created}");
        let (_, _, value) = Parameter::of_review_app(&pipeline, 12).get().unwrap();
        assert_eq!(value, r#"{"pull_request":"pr/12","status":"created"}"#, "{created}\n{pushed}");
    }
}
