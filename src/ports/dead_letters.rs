//! Where events go that can never be handled, for people to look at.

use async_trait::async_trait;

use super::failure::Failure;

/// An event that cannot be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What came.
    pub body: String,
    /// What is wrong with it.
    pub reason: String,
    /// The message that it came in, where it came from a queue.
    pub message_id: Option<String>,
}

/// Keeps dead letters.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps one. Once this returns it is kept, and the event need not come again; a copy does no harm.
    async fn keep(&self, letter: &DeadLetter) -> Result<(), Failure>;
}
