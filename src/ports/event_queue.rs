//! A queue of events that a worker takes from: SQS.

use std::time::Duration;

use async_trait::async_trait;

use super::failure::Failure;

/// A message that was taken and is hidden from others for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name, the same at each delivery.
    pub id: String,
    /// What this delivery is known by; another one each time.
    pub receipt: String,
    /// What was sent.
    pub body: String,
}

/// Delivers each message at least once, in no order.
#[async_trait]
pub trait EventQueue: Send + Sync {
    /// Waits up to `wait` for messages and takes some of them, at most [`BATCH`]. Others do not see them for
    /// `hidden`; then they come again unless they were deleted.
    async fn receive(&self, wait: Duration, hidden: Duration) -> Result<Vec<Message>, Failure>;

    /// Hides messages that were taken for `hidden` from now on; zero lets them come again at once. One that is gone or was
    /// taken by somebody else since is left out silently.
    async fn hide(&self, messages: &[Message], hidden: Duration) -> Result<(), Failure>;

    /// Removes messages that were taken. One that is gone already counts as removed.
    async fn delete(&self, messages: &[Message]) -> Result<(), Failure>;
}

/// The most messages that are taken at once (API reference of `ReceiveMessage`).
pub const BATCH: usize = 10;
