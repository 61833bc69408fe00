//! What starts the program for one piece of work at a time: the Lambda runtime API.

use async_trait::async_trait;
use tokio::time::Instant;

use super::failure::Failure;

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its name, for the answer.
    pub id: String,
    /// What was handed in.
    pub payload: String,
    /// When it is ended without being asked.
    pub deadline: Instant,
}

/// Hands out work and takes answers. Between an answer and the next piece of work the program is frozen, so nothing may be
/// left to do in the background.
#[async_trait]
pub trait Invocations: Send + Sync {
    /// Waits for the next piece of work, without a time limit.
    async fn next(&self) -> Result<Invocation, Failure>;

    /// Answers a piece of work with its result, as JSON.
    async fn respond(&self, id: &str, answer: &str) -> Result<(), Failure>;

    /// Answers that a piece of work failed as a whole.
    async fn fail(&self, id: &str, kind: &str, message: &str) -> Result<(), Failure>;

    /// Tells that no work can be taken at all; the program must then end.
    async fn fail_to_start(&self, kind: &str, message: &str) -> Result<(), Failure>;
}
