//! AWS that throttles, refuses, breaks off and loses its answers: a proxy before the real parts.
#![cfg(feature = "aws")]

use bytes::Bytes;
use packhorse::adapters::aws::{
    AwsSettings, Clients, CloudFormationReviewApps, CodeBuild, DynamoLaneStore, DynamoRecords, EcrCredentials,
    EventBridgePhaseEvents, S3Artifacts, SsmParameters,
};
use packhorse::adapters::memory::SettableClock;
use packhorse::domain::names::EpochSeconds;
use packhorse::domain::namespace::Namespace;
use packhorse::image::credentials::{Credential, CredentialSource};
use packhorse::ports::artifacts::ArtifactStore;
use packhorse::ports::build_service::BuildService;
use packhorse::ports::failure::{Failure, chain};
use packhorse::ports::lane_store::{LaneStore, Version, Versioned};
use packhorse::ports::parameters::ParameterStore;
use packhorse::ports::phase_events::PhaseEvents;
use packhorse::ports::records::Records;
use packhorse::ports::review_apps::ReviewApps;
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::phase_events::some_changes;
use crate::support::aws::{Bucket, clients, make_stack, settings};
use crate::support::dynamodb::Table;
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::lanes::{begun, build_arn, lane_with, random_name, some_app};
use crate::support::parts;

/// How often the clients of these tests send a request.
const ATTEMPTS: usize = 3;

async fn lanes(proxy: &FaultProxy, table: &Table) -> DynamoLaneStore {
    DynamoLaneStore::new(clients(&proxy.url()).await.dynamodb(), table.name.as_str())
}

async fn parameters(proxy: &FaultProxy) -> SsmParameters {
    SsmParameters::new(clients(&proxy.url()).await.ssm())
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_store_that_throttles_for_a_moment_is_asked_again() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let store = parameters(&proxy).await;
    let path = format!("/apppack/apps/{}/config/", random_name("shop"));
    for number in 0..15 {
        store.put(&format!("{path}KEY_{number}"), "value").await.unwrap();
    }
    proxy.fail(When::target("GetParametersByPath"), 2, Fault::Throttled);
    assert_eq!(store.below(&path).await.unwrap().len(), 15);
    assert_eq!(proxy.seen(&When::target("GetParametersByPath")).len(), 2 + 2, "two refusals, then two pages");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_store_that_goes_on_throttling_is_unavailable_and_not_empty() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let store = parameters(&proxy).await;
    proxy.fail(When::target("GetParameter"), usize::MAX, Fault::Throttled);
    let read = store.below("/apppack/apps/shop/config/").await.unwrap_err();
    assert!(matches!(read, Failure::Unavailable { .. }), "{read:?}");
    assert!(read.is_passing() && chain(&read).contains("Rate exceeded"), "{}", chain(&read));
    assert_eq!(proxy.seen(&When::target("GetParametersByPath")).len(), ATTEMPTS);
    let read = store.get("/apppack/pipelines/shop/review-apps/pr/1").await;
    assert!(matches!(read, Err(Failure::Unavailable { .. })), "{read:?}");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn an_empty_page_with_a_token_is_followed() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let store = parameters(&proxy).await;
    let page = |value: serde_json::Value| Fault::Answer { status: 200, body: value.to_string() };
    let when = || When::target("GetParametersByPath");
    proxy.fail(when(), 1, page(json!({"Parameters": [], "NextToken": "one"})));
    let parameter = json!({"Name": "/apppack/apps/shop/config/KEY", "Type": "String", "Value": "v"});
    proxy.fail(when(), 1, page(json!({"Parameters": [parameter], "NextToken": "two"})));
    proxy.fail(when(), 1, page(json!({"Parameters": []})));
    let found = store.below("/apppack/apps/shop/config/").await.unwrap();
    assert_eq!(found["KEY"].expose_secret(), "v");
    let tokens: Vec<_> = proxy
        .seen(&when())
        .iter()
        .map(|seen| {
            let input: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            (
                input["NextToken"].as_str().map(str::to_owned),
                input["WithDecryption"].clone(),
                input["Recursive"].clone(),
            )
        })
        .collect();
    let expected = [None, Some("one"), Some("two")].map(|token| (token.map(str::to_owned), json!(true), json!(false)));
    assert_eq!(tokens, expected);
}

#[tokio::test]
#[ignore = "needs moto"]
async fn an_expired_session_says_how_to_log_in_and_is_not_repeated() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let store = parameters(&proxy).await;
    proxy.fail(When::target("GetParameter"), 1, Fault::ExpiredToken);
    let denied = store.get("/apppack/pipelines/shop/review-apps/pr/1").await.unwrap_err();
    assert!(denied.is_denied(), "{denied:?}");
    assert!(chain(&denied).contains("log in again"), "{}", chain(&denied));
    assert_eq!(proxy.seen(&When::default()).len(), 1);
}

#[tokio::test]
#[ignore = "needs DynamoDB Local"]
async fn a_role_that_may_not_is_denied_at_every_store() {
    let proxy = FaultProxy::before(&parts::dynamodb()).await;
    proxy.fail(When::default(), usize::MAX, Fault::AccessDenied);
    let table = Table::indexed();
    let (store, key) = (lanes(&proxy, &table).await, some_app());
    let records = DynamoRecords::new(clients(&proxy.url()).await.dynamodb(), table.name.as_str());
    let failures = [
        store.load(&key).await.unwrap_err(),
        store.commit(Version(0), &lane_with(&key, 1)).await.unwrap_err(),
        store.active().await.unwrap_err(),
        records.put_build(&key, Version(1), &begun(&key, 1)).await.unwrap_err(),
        records.builds(&key, 1).await.unwrap_err(),
    ];
    for failure in failures {
        assert!(failure.is_denied(), "{failure:?}");
        assert!(chain(&failure).contains("not authorized"), "{}", chain(&failure));
        assert!(chain(&failure).contains("request made-up"), "{}", chain(&failure));
    }
}

#[tokio::test]
#[ignore = "needs DynamoDB Local"]
async fn a_commit_whose_answer_is_lost_is_committed_once() {
    let proxy = FaultProxy::before(&parts::dynamodb()).await;
    let table = Table::indexed();
    let (store, key) = (lanes(&proxy, &table).await, some_app());
    for seen in 0..3 {
        proxy.fail(When::target("PutItem"), 1, Fault::AnswerLost);
        let lane = lane_with(&key, seen + 1);
        // The client asks again, meets its own write and knows it.
        let version = store.commit(Version(seen), &lane).await.unwrap();
        assert_eq!(version, Version(seen + 1));
        assert_eq!(store.load(&key).await.unwrap(), Some(Versioned { lane, version }));
    }
    assert_eq!(proxy.seen(&When::target("PutItem")).len(), 6);
}

#[tokio::test]
#[ignore = "needs DynamoDB Local"]
async fn a_commit_of_which_nothing_is_heard_shows_at_the_next_load() {
    let proxy = FaultProxy::before(&parts::dynamodb()).await;
    let table = Table::indexed();
    let (store, key) = (lanes(&proxy, &table).await, some_app());
    proxy.fail(When::target("PutItem"), ATTEMPTS, Fault::AnswerLost);
    let unknown = store.commit(Version(0), &lane_with(&key, 1)).await.unwrap_err();
    assert!(matches!(unknown, Failure::Unavailable { .. }), "{unknown:?}");
    let loaded = store.load(&key).await.unwrap().unwrap();
    assert_eq!(loaded, Versioned { lane: lane_with(&key, 1), version: Version(1) });
    // Deciding again from what was known before finds the conflict.
    let again = store.commit(Version(0), &lane_with(&key, 1)).await.unwrap_err();
    assert!(matches!(again, Failure::Conflict { .. }), "{again:?}");
}

#[tokio::test]
#[ignore = "needs DynamoDB Local"]
async fn somebody_elses_commit_after_a_lost_one_is_a_conflict() {
    let proxy = FaultProxy::before(&parts::dynamodb()).await;
    let table = Table::indexed();
    let (store, key) = (lanes(&proxy, &table).await, some_app());
    proxy.fail(When::target("PutItem"), 1, Fault::Dropped);
    let other = DynamoLaneStore::new(clients(&table.endpoint).await.dynamodb(), table.name.as_str());
    other.commit(Version(0), &lane_with(&key, 1)).await.unwrap();
    let late = store.commit(Version(0), &lane_with(&key, 1)).await.unwrap_err();
    assert!(matches!(late, Failure::Conflict { .. }), "{late:?}");
}

#[tokio::test]
#[ignore = "needs DynamoDB Local"]
async fn broken_connections_and_errors_of_the_service_pass() {
    let proxy = FaultProxy::before(&parts::dynamodb()).await;
    let table = Table::indexed();
    let (store, key) = (lanes(&proxy, &table).await, some_app());
    store.commit(Version(0), &lane_with(&key, 1)).await.unwrap();
    for fault in [Fault::Dropped, Fault::InternalError, Fault::Truncated, Fault::Throttled] {
        proxy.fail(When::target("GetItem"), 1, fault);
        assert!(store.load(&key).await.unwrap().is_some());
    }
}

#[tokio::test]
#[ignore = "needs moto"]
async fn an_object_that_breaks_off_is_read_again_and_never_in_part() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let bucket = Bucket::make();
    let store = S3Artifacts::new(clients(&proxy.url()).await.s3(), bucket.name.as_str());
    let content = Bytes::from(vec![7; 100_000]);
    proxy.fail(When::path("PUT", "build.log"), 1, Fault::SlowDown);
    store.put("42/build.log", content.clone()).await.unwrap();
    proxy.fail(When::path("GET", "build.log"), 1, Fault::Truncated);
    assert_eq!(store.get("42/build.log").await.unwrap(), Some(content));
    assert_eq!(proxy.seen(&When::path("GET", "build.log")).len(), 2);
    proxy.fail(When::path("GET", "build.log"), usize::MAX, Fault::Truncated);
    let broken = store.get("42/build.log").await;
    assert!(matches!(broken, Err(Failure::Unavailable { .. })), "{broken:?}");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn only_refused_phase_events_are_sent_again() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let sender = sender(&proxy).await;
    let changes = some_changes(3);
    let answer = json!({"FailedEntryCount": 1, "Entries": [
        {"EventId": "1"}, {"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}, {"EventId": "3"}
    ]});
    proxy.fail(When::target("PutEvents"), 1, Fault::Answer { status: 200, body: answer.to_string() });
    sender.emit(&changes).await.unwrap();
    let sent: Vec<Vec<u64>> = proxy.seen(&When::target("PutEvents")).iter().map(|seen| builds(&seen.body)).collect();
    assert_eq!(sent, [vec![1, 2, 3], vec![2]]);
}

#[tokio::test]
#[ignore = "needs moto"]
async fn phase_events_that_stay_refused_are_given_up() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let sender = sender(&proxy).await;
    for (code, expected) in [("InternalFailure", 4), ("NotAuthorizedForSourceException", 1)] {
        let answer = json!({"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "no"}]});
        proxy.behave();
        let before = proxy.seen(&When::target("PutEvents")).len();
        proxy.fail(When::target("PutEvents"), usize::MAX, Fault::Answer { status: 200, body: answer.to_string() });
        let failure = sender.emit(&some_changes(1)).await.unwrap_err();
        assert!(chain(&failure).contains(code), "{}", chain(&failure));
        assert_eq!(proxy.seen(&When::target("PutEvents")).len() - before, expected, "{code}");
    }
}

async fn sender(proxy: &FaultProxy) -> EventBridgePhaseEvents {
    let client = clients(&proxy.url()).await.eventbridge();
    EventBridgePhaseEvents::new(client, None).with_first_pause(Duration::from_millis(1))
}

fn builds(body: &[u8]) -> Vec<u64> {
    let input: serde_json::Value = serde_json::from_slice(body).unwrap();
    let detail = |entry: &serde_json::Value| -> serde_json::Value {
        serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap()
    };
    input["Entries"].as_array().unwrap().iter().map(|entry| detail(entry)["build"].as_u64().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs moto"]
async fn only_a_clear_answer_means_that_there_is_no_review_app() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let apps = CloudFormationReviewApps::new(&clients(&proxy.url()).await, Namespace::default());
    let pipeline = random_name("storefront").parse().unwrap();
    let pr = "12".parse().unwrap();
    assert!(!apps.remove(&pipeline, pr).await.unwrap());
    let describe = || When::body("Action=DescribeStacks");
    for (status, code, message) in [
        (403, "AccessDenied", "User is not authorized to perform cloudformation:DescribeStacks"),
        (400, "ValidationError", "1 validation error detected"),
        (400, "Throttling", "Rate exceeded"),
        (500, "InternalFailure", "it does not exist, or so it seems"),
    ] {
        proxy.behave();
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>1</RequestId></ErrorResponse>"
        );
        proxy.fail(describe(), usize::MAX, Fault::Answer { status, body });
        assert!(apps.remove(&pipeline, pr).await.is_err(), "{code}");
    }
    assert!(proxy.seen(&When::body("Action=DeleteStack")).is_empty());
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_stack_of_another_review_app_with_the_same_name_is_left_alone() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let apps = CloudFormationReviewApps::new(&clients(&proxy.url()).await, Namespace::default());
    let name = random_name("web");
    let longer = format!("{name}1").parse().unwrap();
    let shorter = name.parse().unwrap();
    let stack = format!("apppack-reviewapp-{name}123");
    make_stack(&stack, &[("apppack:appName", &format!("{name}1")), ("apppack:reviewApp", "pr23"), ("apppack", "true")]);

    assert!(!apps.remove(&shorter, "123".parse().unwrap()).await.unwrap(), "it has no stack");
    assert!(proxy.seen(&When::body("Action=DeleteStack")).is_empty());
    assert!(apps.remove(&longer, "23".parse().unwrap()).await.unwrap());
    assert!(!apps.remove(&longer, "23".parse().unwrap()).await.unwrap(), "it is gone");

    make_stack(&stack, &[("apppack", "true")]);
    let failure = apps.remove(&longer, "23".parse().unwrap()).await.unwrap_err();
    assert!(chain(&failure).contains("its tags do not say"), "{}", chain(&failure));
    assert_eq!(proxy.seen(&When::body("Action=DeleteStack")).len(), 1);
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_stack_that_is_being_removed_is_left_alone() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let apps = CloudFormationReviewApps::new(&clients(&proxy.url()).await, Namespace::default());
    let pipeline = random_name("storefront");
    for (status, deletions) in [("DELETE_IN_PROGRESS", 0), ("DELETE_FAILED", 1), ("CREATE_COMPLETE", 2)] {
        proxy.behave();
        let body = format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult>\
             <Stacks><member><StackName>x</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>\
             <StackStatus>{status}</StackStatus><Tags><member><Key>apppack:appName</Key><Value>{pipeline}</Value></member>\
             <member><Key>apppack:reviewApp</Key><Value>pr12</Value></member></Tags></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        );
        proxy.fail(When::body("Action=DescribeStacks"), 1, Fault::Answer { status: 200, body });
        assert!(apps.remove(&pipeline.parse().unwrap(), "12".parse().unwrap()).await.unwrap());
        assert_eq!(proxy.seen(&When::body("Action=DeleteStack")).len(), deletions, "{status}");
    }
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_build_that_has_ended_counts_as_stopped() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let service = CodeBuild::new(&clients(&proxy.url()).await);
    let arn = build_arn(&some_app(), 7);
    let gone = json!({"__type": "ResourceNotFoundException", "message": "no such build"});
    proxy.fail(When::target("StopBuild"), 1, Fault::Answer { status: 400, body: gone.to_string() });
    service.stop(&arn).await.unwrap();
    let refused = json!({"__type": "InvalidInputException", "message": "Build is not in progress"});
    let build = |status: &str| {
        let build = json!({"arn": arn.as_str(), "buildNumber": 7, "startTime": 1_767_225_600, "buildStatus": status});
        Fault::Answer { status: 200, body: json!({"builds": [build], "buildsNotFound": []}).to_string() }
    };
    for (status, stopped) in [("SUCCEEDED", true), ("IN_PROGRESS", false)] {
        proxy.fail(When::target("StopBuild"), 1, Fault::Answer { status: 400, body: refused.to_string() });
        proxy.fail(When::target("BatchGetBuilds"), 1, build(status));
        assert_eq!(service.stop(&arn).await.is_ok(), stopped, "{status}");
    }
}

#[tokio::test]
#[ignore = "needs moto"]
async fn builds_are_asked_for_by_the_hundred_and_returned_in_order() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let service = CodeBuild::new(&clients(&proxy.url()).await);
    let key = some_app();
    let arns: Vec<_> = (1..=150).map(|number| build_arn(&key, number)).collect();
    for chunk in arns.chunks(100) {
        let builds: Vec<_> = chunk.iter().rev().filter(|arn| !arn.as_str().ends_with("-3")).map(|arn| {
            let number: u64 = arn.as_str().rsplit('-').next().unwrap().parse().unwrap();
            json!({"arn": arn.as_str(), "buildNumber": number, "startTime": 1_767_225_600, "buildStatus": "IN_PROGRESS"})
        }).collect();
        let body = json!({"builds": builds, "buildsNotFound": []}).to_string();
        proxy.fail(When::target("BatchGetBuilds"), 1, Fault::Answer { status: 200, body });
    }
    let numbers: Vec<u64> = service.builds(&arns).await.unwrap().iter().map(|build| build.number.0).collect();
    assert_eq!(numbers, (1..=150).filter(|number| *number != 3).collect::<Vec<_>>());
    assert_eq!(proxy.seen(&When::target("BatchGetBuilds")).len(), 2);
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_registry_login_is_kept_until_shortly_before_it_expires() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let clock = Arc::new(SettableClock::new(EpochSeconds(1_767_225_600)));
    let source = EcrCredentials::new(clients(&proxy.url()).await, clock.clone());
    let registry = "111122223333.dkr.ecr.us-east-1.amazonaws.com".parse().unwrap();
    let token = |password: &str| {
        use base64::Engine as _;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{password}"));
        let data = json!([{"authorizationToken": token, "expiresAt": 1_767_225_600 + 12 * 3600}]);
        Fault::Answer { status: 200, body: json!({"authorizationData": data}).to_string() }
    };
    for password in ["first:half", "second", "third"] {
        proxy.fail(When::target("GetAuthorizationToken"), 1, token(password));
    }
    let password = async || match source.credential(&registry).await.unwrap() {
        Some(Credential::Password { username, password }) if username == "AWS" => password.expose_secret().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(password().await, "first:half");
    clock.advance(11 * 3600);
    assert_eq!(password().await, "first:half");
    clock.advance(50 * 60);
    assert_eq!(password().await, "second");
    source.forget(&registry);
    assert_eq!(password().await, "third");
    assert!(source.credential(&"docker.io".parse().unwrap()).await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs moto"]
async fn an_outdated_login_of_the_stand_in_is_asked_for_each_time() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let clock = Arc::new(SettableClock::new(EpochSeconds(1_767_225_600)));
    let source = EcrCredentials::new(clients(&proxy.url()).await, clock);
    let registry = "111122223333.dkr.ecr.us-east-1.amazonaws.com".parse().unwrap();
    for _ in 0..2 {
        assert!(matches!(source.credential(&registry).await.unwrap(), Some(Credential::Password { .. })));
    }
    assert_eq!(proxy.seen(&When::target("GetAuthorizationToken")).len(), 2);
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_a_bad_certificate_file_is_refused() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let store = SsmParameters::new(clients(&format!("http://127.0.0.1:{port}")).await.ssm());
    let failure = store.get("/apppack/apps/shop/scaling").await.unwrap_err();
    assert!(matches!(failure, Failure::Unavailable { .. }), "{failure:?}");
    let broken = AwsSettings { ca_bundle: Some("/dev/null".into()), ..settings("http://127.0.0.1:1") };
    let refused = Clients::load(&broken).await.unwrap_err();
    assert!(chain(&refused).contains("no certificate"), "{}", chain(&refused));
}
