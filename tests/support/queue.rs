//! A queue of its own in moto, removed when dropped.
#![cfg(feature = "aws")]
#![allow(dead_code, reason = "each test uses a part of it")]

use serde_json::{Value, json};

use super::docker::random_name;
use super::{http, parts};

pub(crate) struct Queue {
    pub(crate) url: String,
}

impl Queue {
    pub(crate) fn make() -> Self {
        let made = call("CreateQueue", &json!({ "QueueName": random_name("events") }));
        // moto names itself by the address that it was reached at.
        Self { url: made["QueueUrl"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn send(&self, body: &str) {
        call("SendMessage", &json!({ "QueueUrl": self.url, "MessageBody": body }));
    }

    /// How many messages there are, hidden ones too.
    pub(crate) fn left(&self) -> u64 {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let told = call("GetQueueAttributes", &json!({ "QueueUrl": self.url, "AttributeNames": names }));
        names.iter().map(|name| told["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Takes all messages out: body and reason of each.
    pub(crate) fn take_all(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        loop {
            let ask = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"] });
            let taken = call("ReceiveMessage", &ask);
            let messages = taken["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                all.push((text(&message["Body"]), text(&message["MessageAttributes"]["reason"]["StringValue"])));
                let receipt = &message["ReceiptHandle"];
                call("DeleteMessage", &json!({ "QueueUrl": self.url, "ReceiptHandle": receipt }));
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = http::call(&parts::moto(), "sqs", "AmazonSQS.DeleteQueue", &json!({ "QueueUrl": self.url }));
    }
}

fn call(operation: &str, input: &Value) -> Value {
    http::call(&parts::moto(), "sqs", &format!("AmazonSQS.{operation}"), input)
        .unwrap_or_else(|answer| panic!("{operation}: {answer:?}"))
}
