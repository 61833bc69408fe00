//! How events arrive: one by one from EventBridge, or in batches from a queue.
//!
//! Sources: "Using Lambda with Amazon SQS", "Amazon EventBridge events" (Lambda Developer Guide).

use serde::Deserialize;
use serde_json::Value;

use super::EventError;

/// What an entrance was handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Events, each by itself: one that cannot be used says nothing about the others.
    Events(Vec<Record>),
    /// A schedule fired: it is time to sweep.
    Sweep,
}

/// One event of a delivery, not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name by which the queue is told that it could not be handled; none where it came directly.
    pub message_id: Option<String>,
    /// The event, for [`super::read`].
    pub body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_id: Option<String>,
    body: Option<Value>,
}

/// What a client's check of a cron expression leaves for a moment; it never means anything (`data-contract` 6).
const CHECK: &str = "rule/apppack-validate-";

/// Reads what an entrance was handed: a batch of a queue, an event, or the tick of a schedule.
///
/// # Errors
/// Fails when it is none of these.
pub fn deliveries(text: &str) -> Result<Delivery, EventError> {
    let not_an_event = |problem: String| EventError::NotAnEvent(problem);
    let value: Value = serde_json::from_str(text).map_err(|error| not_an_event(error.to_string()))?;
    let Some(object) = value.as_object() else { return Err(not_an_event("it is not an object".to_owned())) };
    if let Some(records) = object.get("Records") {
        let messages: Vec<Message> =
            Vec::deserialize(records).map_err(|error| not_an_event(format!("its records cannot be read: {error}")))?;
        let record = |message: Message| Record {
            message_id: message.message_id.filter(|id| !id.is_empty()),
            body: match message.body {
                Some(Value::String(body)) => body,
                other => other.unwrap_or_default().to_string(),
            },
        };
        return Ok(Delivery::Events(messages.into_iter().map(record).collect()));
    }
    let text_of = |name: &str| object.get(name).and_then(Value::as_str);
    let scheduled = (text_of("source"), text_of("detail-type")) == (Some("aws.events"), Some("Scheduled Event"));
    let checks = |resource: &Value| resource.as_str().is_some_and(|resource| resource.contains(CHECK));
    let check = object.get("resources").and_then(Value::as_array).is_some_and(|all| all.iter().any(checks));
    if scheduled && !check {
        return Ok(Delivery::Sweep);
    }
    Ok(Delivery::Events(vec![Record { message_id: None, body: text.to_owned() }]))
}
