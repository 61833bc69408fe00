//! Tells others that a phase changed.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::lane::PhaseChange;

/// Sends `Packhorse Phase Change` events.
///
/// They are hints that carry no result: losing one costs time only, so callers log a failure and go on.
#[async_trait]
pub trait PhaseEvents: Send + Sync {
    /// Sends the changes in order; entries that were refused are sent again by themselves.
    async fn emit(&self, changes: &[PhaseChange]) -> Result<(), Failure>;
}
