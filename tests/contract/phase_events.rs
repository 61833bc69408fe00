//! What every sender of phase events promises.

use async_trait::async_trait;
use packhorse::adapters::memory::CollectedPhaseEvents;
use packhorse::domain::lane::{Phase, PhaseChange, PhaseState};
use packhorse::domain::names::BuildNumber;
use packhorse::ports::phase_events::PhaseEvents;

use crate::support::lanes::{build_arn, some_app, some_review_app};
use crate::support::suite::suite;

/// A sender under test.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn sender(&self) -> &dyn PhaseEvents;

    /// Returns what arrived since the last time.
    async fn arrived(&self) -> Vec<PhaseChange>;
}

/// Makes so many changes of a standard app and of a review app.
pub(crate) fn some_changes(count: u64) -> Vec<PhaseChange> {
    let (app, review_app) = (some_app(), some_review_app());
    (1..=count)
        .map(|number| {
            let key = if number % 2 == 0 { &app } else { &review_app };
            PhaseChange {
                format: 1,
                app: key.app.clone(),
                pull_request: key.pull_request,
                build: BuildNumber(number),
                build_arn: build_arn(key, number),
                phase: Phase::Test,
                state: PhaseState::Succeeded,
                lane_version: number,
            }
        })
        .collect()
}

/// Everything arrives once and in order, also more than one request can carry.
async fn changes_arrive_in_order(bench: &impl Bench) {
    for count in [1, 3, 25] {
        let changes = some_changes(count);
        bench.sender().emit(&changes).await.unwrap();
        assert_eq!(bench.arrived().await, changes);
    }
}

/// Nothing to send is no error.
async fn nothing_is_sent_for_nothing(bench: &impl Bench) {
    bench.sender().emit(&[]).await.unwrap();
    assert_eq!(bench.arrived().await, []);
}

#[async_trait]
impl Bench for CollectedPhaseEvents {
    fn sender(&self) -> &dyn PhaseEvents {
        self
    }

    async fn arrived(&self) -> Vec<PhaseChange> {
        self.take()
    }
}

fn open_memory() -> CollectedPhaseEvents {
    CollectedPhaseEvents::new()
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [changes_arrive_in_order, nothing_is_sent_for_nothing]);
    };
}

promises!(memory, super::open_memory());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::EventBridgePhaseEvents;
    use serde_json::{Value, json};

    use super::*;
    use crate::support::aws::clients;
    use crate::support::lanes::random_name;
    use crate::support::{http, parts};

    /// A bus of its own whose events of ours go to a queue of its own.
    pub(super) struct Bus {
        sender: EventBridgePhaseEvents,
        queue: String,
        name: String,
    }

    fn call(service: &str, target: &str, input: &Value) -> Value {
        http::call(&parts::moto(), service, target, input).unwrap_or_else(|answer| panic!("{target}: {answer:?}"))
    }

    pub(super) async fn open() -> Bus {
        let name = random_name("bus");
        let queue = call("sqs", "AmazonSQS.CreateQueue", &json!({"QueueName": name}));
        let bus = json!({"Name": name});
        call("events", "AWSEvents.CreateEventBus", &bus);
        let pattern = json!({"source": ["packhorse"], "detail-type": ["Packhorse Phase Change"]}).to_string();
        let rule = json!({"Name": name, "EventBusName": name, "EventPattern": pattern});
        call("events", "AWSEvents.PutRule", &rule);
        let arn = format!("arn:aws:sqs:us-east-1:111122223333:{name}");
        let targets = json!({"Rule": name, "EventBusName": name, "Targets": [{"Id": "queue", "Arn": arn}]});
        call("events", "AWSEvents.PutTargets", &targets);
        let client = clients(&parts::moto()).await.eventbridge();
        let sender = EventBridgePhaseEvents::new(client, Some(name.clone()));
        Bus { sender, queue: queue["QueueUrl"].as_str().unwrap().to_owned(), name }
    }

    #[async_trait]
    impl Bench for Bus {
        fn sender(&self) -> &dyn PhaseEvents {
            &self.sender
        }

        async fn arrived(&self) -> Vec<PhaseChange> {
            let mut changes = Vec::new();
            loop {
                let input = json!({"QueueUrl": self.queue, "MaxNumberOfMessages": 10});
                let answer = call("sqs", "AmazonSQS.ReceiveMessage", &input);
                let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
                if messages.is_empty() {
                    return changes;
                }
                for message in messages {
                    let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
                    assert_eq!(
                        (&event["source"], &event["detail-type"]),
                        (&json!("packhorse"), &json!("Packhorse Phase Change"))
                    );
                    changes.push(serde_json::from_value(event["detail"].clone()).unwrap());
                    let done = json!({"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]});
                    call("sqs", "AmazonSQS.DeleteMessage", &done);
                }
            }
        }
    }

    impl Drop for Bus {
        fn drop(&mut self) {
            let name = &self.name;
            let targets = json!({"Rule": name, "EventBusName": name, "Ids": ["queue"]});
            let rule = json!({"Name": name, "EventBusName": name});
            for (service, target, input) in [
                ("events", "AWSEvents.RemoveTargets", targets),
                ("events", "AWSEvents.DeleteRule", rule),
                ("events", "AWSEvents.DeleteEventBus", json!({"Name": name})),
                ("sqs", "AmazonSQS.DeleteQueue", json!({"QueueUrl": self.queue})),
            ] {
                let _ = http::call(&parts::moto(), service, target, &input);
            }
        }
    }
}

#[cfg(feature = "aws")]
promises!(eventbridge, super::aws::open().await, "needs moto");
