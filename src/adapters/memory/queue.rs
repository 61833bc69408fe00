//! A queue and its dead letters in memory.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::lock;
use crate::ports::dead_letters::{DeadLetter, DeadLetters};
use crate::ports::event_queue::{BATCH, EventQueue, Message};
use crate::ports::failure::Failure;

/// Keeps messages until they are deleted.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    state: Mutex<State>,
    sent: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<(Message, Instant)>,
    count: u64,
}

impl MemoryQueue {
    /// Makes an empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a message.
    pub fn send(&self, body: &str) {
        let mut state = lock(&self.state);
        state.count += 1;
        let id = state.count.to_string();
        let message = Message { receipt: String::new(), body: body.to_owned(), id };
        state.messages.push_back((message, Instant::now()));
        drop(state);
        self.sent.notify_one();
    }

    /// How many messages were not deleted.
    pub fn left(&self) -> usize {
        lock(&self.state).messages.len()
    }

    fn take(&self, hidden: Duration) -> Vec<Message> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let mut count = state.count;
        let mut taken = Vec::new();
        for (message, visible) in state.messages.iter_mut().filter(|(_, visible)| *visible <= now).take(BATCH) {
            count += 1;
            message.receipt = format!("{}/{count}", message.id);
            *visible = now + hidden;
            taken.push(message.clone());
        }
        state.count = count;
        taken
    }

    /// When the next message comes in sight.
    fn next(&self) -> Option<Instant> {
        lock(&self.state).messages.iter().map(|(_, visible)| *visible).min()
    }
}

#[async_trait]
impl EventQueue for MemoryQueue {
    async fn receive(&self, wait: Duration, hidden: Duration) -> Result<Vec<Message>, Failure> {
        let end = Instant::now() + wait;
        loop {
            let taken = self.take(hidden);
            if !taken.is_empty() || Instant::now() >= end {
                return Ok(taken);
            }
            let until = self.next().map_or(end, |next| next.min(end));
            let _ = timeout_at(until, self.sent.notified()).await;
        }
    }

    async fn hide(&self, messages: &[Message], hidden: Duration) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        let until = Instant::now() + hidden;
        for (message, visible) in &mut state.messages {
            if messages.iter().any(|hide| hide.receipt == message.receipt) {
                *visible = until;
            }
        }
        drop(state);
        self.sent.notify_one();
        Ok(())
    }

    async fn delete(&self, messages: &[Message]) -> Result<(), Failure> {
        let gone = |message: &Message| messages.iter().any(|delete| delete.receipt == message.receipt);
        lock(&self.state).messages.retain(|(message, _)| !gone(message));
        Ok(())
    }
}

/// Keeps dead letters, in order.
#[derive(Debug, Default)]
pub struct CollectedDeadLetters(Mutex<Vec<DeadLetter>>);

impl CollectedDeadLetters {
    /// Returns what was kept so far.
    pub fn all(&self) -> Vec<DeadLetter> {
        lock(&self.0).clone()
    }
}

#[async_trait]
impl DeadLetters for CollectedDeadLetters {
    async fn keep(&self, letter: &DeadLetter) -> Result<(), Failure> {
        lock(&self.0).push(letter.clone());
        Ok(())
    }
}
