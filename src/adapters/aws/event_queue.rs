//! Queues in SQS: of events, and of dead letters.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::change_message_visibility::ChangeMessageVisibilityError;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageAttributeValue};

use super::failure::sort;
use crate::ports::dead_letters::{DeadLetter, DeadLetters};
use crate::ports::event_queue::{BATCH, EventQueue, Message};
use crate::ports::failure::Failure;

/// A standard queue.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

/// The longest wait of one request (API reference of `ReceiveMessage`).
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Bytes of a reason: attributes count towards the size of a message.
const REASON: usize = 1000;

impl SqsQueue {
    /// Uses the queue at this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[async_trait]
impl EventQueue for SqsQueue {
    async fn receive(&self, wait: Duration, hidden: Duration) -> Result<Vec<Message>, Failure> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(BATCH).unwrap_or(1))
            .wait_time_seconds(seconds(wait.min(LONGEST_WAIT)))
            .visibility_timeout(seconds(hidden))
            .send()
            .await
            .map_err(|error| sort("take messages from the queue", error))?;
        let message = |message: aws_sdk_sqs::types::Message| {
            let body = message.body.unwrap_or_default();
            Some(Message { id: message.message_id?, receipt: message.receipt_handle?, body })
        };
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    async fn hide(&self, messages: &[Message], hidden: Duration) -> Result<(), Failure> {
        for message in messages {
            let change = self
                .client
                .change_message_visibility()
                .queue_url(&self.url)
                .receipt_handle(&message.receipt)
                .visibility_timeout(seconds(hidden));
            match change.send().await {
                Ok(_) => {}
                Err(error) if error.as_service_error().is_some_and(is_gone) => {}
                Err(error) => return Err(sort("keep messages of the queue hidden", error)),
            }
        }
        Ok(())
    }

    async fn delete(&self, messages: &[Message]) -> Result<(), Failure> {
        let doing = "delete messages from the queue";
        for batch in messages.chunks(BATCH) {
            let mut entries = Vec::new();
            for (index, message) in batch.iter().enumerate() {
                let entry = DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&message.receipt)
                    .build()
                    .map_err(|error| Failure::refused(doing, error))?;
                entries.push(entry);
            }
            let delete = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let answer = delete.send().await.map_err(|error| sort(doing, error))?;
            // Success says nothing of single entries.
            if let Some(refusal) = answer.failed.first() {
                let cause = refusal.message.clone().unwrap_or_else(|| refusal.code.clone());
                return Err(if refusal.sender_fault {
                    Failure::refused(doing, cause)
                } else {
                    Failure::unavailable(doing, cause)
                });
            }
        }
        Ok(())
    }
}

fn is_gone(error: &ChangeMessageVisibilityError) -> bool {
    error.is_message_not_inflight() || error.is_receipt_handle_is_invalid()
}

#[async_trait]
impl DeadLetters for SqsQueue {
    async fn keep(&self, letter: &DeadLetter) -> Result<(), Failure> {
        let doing = "keep a dead letter";
        let text = |value: &str| {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| Failure::refused(doing, error))
        };
        let mut send = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(sendable(&letter.body))
            .message_attributes("reason", text(&sendable(cut(&letter.reason)))?);
        if let Some(id) = letter.message_id.as_deref().filter(|id| !id.is_empty()) {
            send = send.message_attributes("message_id", text(&sendable(id))?);
        }
        send.send().await.map_err(|error| sort(doing, error))?;
        Ok(())
    }
}

fn cut(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(REASON)).unwrap_or_default()
}

/// A queue takes the characters of XML only, and no empty text (API reference of `SendMessage`); others stand in a JSON
/// string.
fn sendable(text: &str) -> String {
    let taken = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if !text.is_empty() && text.chars().all(taken) {
        return text.to_owned();
    }
    let escaped = |c: char| if taken(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_does_not_take_is_sent_as_a_json_string() {
        assert_eq!(sendable("{\"a\": 1}\n"), "{\"a\": 1}\n");
        assert_eq!(sendable(""), "\"\"");
        assert_eq!(sendable("a\0\"b"), r#""a\u0000\"b""#);
        assert_eq!(serde_json::from_str::<String>(&sendable("a\u{1}\\b\u{ffff}")).unwrap(), "a\u{1}\\b\u{ffff}");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(800)).chars().count(), 500);
    }
}
