//! The program as a Lambda function, driven through the runtime API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use packhorse::adapters::aws::{Clients, DynamoLaneStore};
use packhorse::domain::lane::{Lane, LaneKey};
use packhorse::ports::lane_store::{LaneStore, Version};
use serde_json::{Value, json};

use crate::support::docker::random_name;
use crate::support::dynamodb::Table;
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::queue::Queue;
use crate::support::runtime_api::RuntimeApi;
use crate::support::{aws, http, parts};

/// The usual time of an invocation.
const TIME: Duration = Duration::from_mins(1);

/// An account with several apps, and a function that looks after them.
struct Bench {
    table: Table,
    database: FaultProxy,
    letters: Queue,
    access_key: String,
    apps: Vec<String>,
    runtime: RuntimeApi,
}

impl Bench {
    async fn of(apps: usize) -> Self {
        let access_key = format!("test{:016x}", fastrand::u64(..));
        let bench = Self {
            table: Table::of_account(&access_key),
            database: FaultProxy::before(&parts::dynamodb()).await,
            letters: Queue::make(),
            apps: (0..apps).map(|_| random_name("shop")).collect(),
            runtime: RuntimeApi::start().await,
            access_key,
        };
        let store = bench.lanes().await;
        for app in &bench.apps {
            store.commit(Version(0), &Lane::new(LaneKey::app(app.parse().unwrap()))).await.unwrap();
        }
        bench
    }

    async fn lanes(&self) -> DynamoLaneStore {
        let settings = packhorse::adapters::aws::AwsSettings {
            credentials: Some(aws_sdk_dynamodb::config::Credentials::new(
                &self.access_key,
                "test",
                None,
                None,
                "tests",
            )),
            ..aws::settings(&parts::dynamodb())
        };
        DynamoLaneStore::new(Clients::load(&settings).await.unwrap().dynamodb(), "apppack")
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
            ("DOCKER_HOST", parts::docker()),
            ("PACKHORSE_PLACE", "docker".to_owned()),
            ("PACKHORSE_DEAD_LETTER_QUEUE", self.letters.url.clone()),
            ("AWS_ENDPOINT_URL", parts::moto()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.database.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The numbers of an app's builds, as clients see them.
    fn builds(&self, app: &str, most: u64) -> BTreeSet<u64> {
        let known = |number: &u64| self.table.raw(&format!("APP#{app}"), &format!("BUILD#{number:010}")).is_some();
        (1..=most).filter(known).collect()
    }
}

/// CodeBuild says that a build began.
fn began(app: &str, number: u64) -> Value {
    let now = jiff::Timestamp::now().strftime("%b %e, %Y %I:%M:%S %p").to_string();
    json!({
        "version": "0", "id": format!("{app}-{number}"), "source": "aws.codebuild", "account": "111122223333",
        "detail-type": "CodeBuild Build State Change", "region": "us-east-1", "resources": [],
        "detail": {
            "build-status": "IN_PROGRESS", "project-name": app,
            "build-id": format!("arn:aws:codebuild:us-east-1:111122223333:build/{app}:{number:08}-0000"),
            "additional-information": {
                "build-number": number, "build-start-time": now, "source-version": "main",
                "artifact": { "location": format!("arn:aws:s3:::{app}/{number}") },
                "environment": { "environment-variables": [] }, "logs": {},
            },
        },
    })
}

fn batch(bodies: &[String]) -> String {
    let record = |(index, body): (usize, &String)| {
        json!({
            "messageId": format!("message-{index}"), "receiptHandle": "AQEB", "body": body, "attributes": {},
            "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:sqs:us-east-1:111122223333:packhorse-events",
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() }).to_string()
}

/// Records of a batch that must come again.
fn failures(result: &Value) -> Vec<&str> {
    result["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["itemIdentifier"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
async fn a_thousand_events_in_batches_are_handled_and_the_poison_among_them_is_put_aside() {
    const POISON: [&str; 3] = ["not an event", "{\"source\": \"aws.codebuild\"}", "[]"];
    let bench = Bench::of(20).await;
    let function = bench.runtime.function(&bench.environment());
    let init = bench.runtime.ready(&function).await;
    let at_rest = function.peak_memory();

    let mut bodies: Vec<String> = (0..940)
        .map(|index: usize| began(&bench.apps[index % 20], 1 + index as u64 / 20 % 10).to_string())
        .chain((0..60).map(|index| POISON[index % 3].to_owned()))
        .collect();
    fastrand::shuffle(&mut bodies);
    let mut took: Vec<Duration> = Vec::new();
    for records in bodies.chunks(10) {
        let answer = bench.runtime.invoke(batch(records), TIME).await;
        assert_eq!(failures(&answer.result.unwrap()), [""; 0]);
        took.push(answer.took / 10);
    }
    for app in &bench.apps {
        assert_eq!(bench.builds(app, 10), (1..=10).collect(), "{app}");
    }
    let mut letters = bench.letters.take_all();
    letters.sort();
    assert_eq!(letters.len(), 60);
    assert!(
        letters.iter().all(|(body, reason)| POISON.contains(&body.as_str()) && reason.contains("event")),
        "{letters:?}"
    );
    took.sort();
    println!(
        "init {init:?}; per event: median {:?}, longest {:?}; memory {at_rest} KiB at rest, {} KiB after 1,000 events",
        took[took.len() / 2],
        took[took.len() - 1],
        function.peak_memory()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
async fn what_is_said_to_one_lane_in_one_batch_is_committed_at_once() {
    let bench = Bench::of(1).await;
    let _function = bench.runtime.function(&bench.environment());
    let app = &bench.apps[0];
    let records: Vec<String> = (1..=10).map(|number| began(app, number).to_string()).collect();
    let answer = bench.runtime.invoke(batch(&records), TIME).await;
    assert_eq!(failures(&answer.result.unwrap()), [""; 0]);
    assert_eq!(bench.builds(app, 10).len(), 10);
    let commits =
        |request: &crate::support::fault_proxy::Seen| String::from_utf8_lossy(&request.body).contains("\"LANE\"");
    let writes = bench.database.seen(&When::target("PutItem")).into_iter().filter(commits).count();
    // All facts, and then that their items are written.
    assert_eq!(writes, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
async fn a_function_that_is_killed_in_the_middle_of_a_batch_is_made_good_by_its_redelivery() {
    let bench = Bench::of(5).await;
    let records: Vec<String> = bench.apps.iter().map(|app| began(app, 1).to_string()).collect();
    for write in 0..6 {
        let function = bench.runtime.function(&bench.environment());
        bench.runtime.ready(&function).await;
        let before = bench.database.seen(&When::target("PutItem")).len();
        let answer = bench.runtime.send(batch(&records), TIME);
        let deadline = Instant::now() + TIME;
        let mut answer = Box::pin(answer);
        loop {
            if bench.database.seen(&When::target("PutItem")).len() > before + write || Instant::now() > deadline {
                break;
            }
            if tokio::time::timeout(Duration::from_millis(1), &mut answer).await.is_ok() {
                break;
            }
        }
        function.kill();
    }
    let _function = bench.runtime.function(&bench.environment());
    let answer = bench.runtime.invoke(batch(&records), TIME).await;
    assert_eq!(failures(&answer.result.unwrap()), [""; 0]);
    for app in &bench.apps {
        assert_eq!(bench.builds(app, 1), BTreeSet::from([1]), "{app}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
async fn what_cannot_be_done_before_the_deadline_is_reported_instead_of_lost() {
    let bench = Bench::of(2).await;
    let _function = bench.runtime.function(&bench.environment());
    let records: Vec<String> = bench.apps.iter().map(|app| began(app, 1).to_string()).collect();
    // Less time than is kept for the answer: nothing is begun.
    let answer = bench.runtime.invoke(batch(&records), Duration::from_secs(2)).await;
    assert_eq!(failures(&answer.result.unwrap()), ["message-0", "message-1"]);
    assert!(bench.builds(&bench.apps[0], 1).is_empty());
    // A table that keeps asking for patience uses up the time; what it does not concern is done.
    bench.database.fail(When::body(&bench.apps[0]), usize::MAX, Fault::InternalError);
    let answer = bench.runtime.invoke(batch(&records), Duration::from_secs(5)).await;
    assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
    assert_eq!(failures(&answer.result.unwrap()), ["message-0"]);
    assert_eq!(bench.builds(&bench.apps[1], 1).len(), 1);
    bench.database.behave();
    let answer = bench.runtime.invoke(batch(&records), TIME).await;
    assert_eq!(failures(&answer.result.unwrap()), [""; 0]);
    assert_eq!(bench.builds(&bench.apps[0], 1).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
async fn single_events_and_the_tick_of_a_schedule_are_taken_too() {
    let bench = Bench::of(1).await;
    let app = &bench.apps[0];
    let mut environment = bench.environment();
    environment.remove("PACKHORSE_DEAD_LETTER_QUEUE");
    let function = bench.runtime.function(&environment);
    let answer = bench.runtime.invoke(began(app, 3).to_string(), TIME).await;
    assert_eq!(answer.result.unwrap(), json!({ "batchItemFailures": [] }));
    assert_eq!(bench.builds(app, 3), BTreeSet::from([3]));
    let tick = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "resources": [], "detail": {} });
    let answer = bench.runtime.invoke(tick.to_string(), TIME).await;
    assert_eq!(answer.result.unwrap()["lanes"], 1);
    let unused = json!({ "source": "aws.ecr", "detail-type": "ECR Image Action", "detail": {} });
    assert!(bench.runtime.invoke(unused.to_string(), TIME).await.result.is_ok());
    // Without a queue of its own for them, an event that cannot be read is left to the queue of the function.
    let answer = bench.runtime.invoke("null", TIME).await;
    let error = answer.result.unwrap_err();
    assert_eq!(error["errorType"], "Packhorse.Again");
    assert!(error["errorMessage"].as_str().unwrap().contains("not an EventBridge event"), "{error}");
    // And it goes on.
    assert!(bench.runtime.invoke(unused.to_string(), TIME).await.result.is_ok());
    function.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
async fn a_change_of_a_list_of_people_reaches_the_items_of_the_users() {
    let bench = Bench::of(1).await;
    let app = &bench.apps[0];
    let _function = bench.runtime.function(&bench.environment());
    let name = format!("/apppack/access/apps/{app}");
    let changed = json!({
        "source": "aws.ssm", "detail-type": "Parameter Store Change", "resources": [],
        "detail": { "name": name, "type": "StringList", "operation": "Update" },
    });
    let has = |email: &str| {
        let item = bench.table.raw(&format!("USER#{email}"), "ACCESS");
        item.is_some_and(|item| item["apps"]["SS"] == json!([app]))
    };
    for (list, dev, ops) in [("dev@example.com,ops@example.com", true, true), ("ops@example.com", false, true)] {
        let input = json!({ "Name": name, "Value": list, "Type": "StringList", "Overwrite": true });
        http::call(&parts::moto(), "ssm", "AmazonSSM.PutParameter", &input).unwrap();
        let answer = bench.runtime.invoke(batch(&[changed.to_string(), changed.to_string()]), TIME).await;
        assert_eq!(failures(&answer.result.unwrap()), [""; 0]);
        assert_eq!((has("dev@example.com"), has("ops@example.com")), (dev, ops), "{list}");
    }
    http::call(&parts::moto(), "ssm", "AmazonSSM.DeleteParameter", &json!({ "Name": name })).unwrap();
    bench.runtime.invoke(changed.to_string(), TIME).await.result.unwrap();
    assert!(!has("ops@example.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs moto and DynamoDB Local"]
async fn a_function_that_cannot_start_says_why() {
    let bench = Bench::of(0).await;
    let mut environment = bench.environment();
    environment.insert("DOCKER_HOST".to_owned(), "unix:///nonexistent.sock".to_owned());
    let function = bench.runtime.function(&environment);
    let told = bench.runtime.failed_start().await;
    assert_eq!(told["errorType"], "Packhorse.Start");
    assert!(told["errorMessage"].as_str().unwrap().contains("nonexistent.sock"), "{told}");
    assert_eq!(function.end(), Some(4));
}
