//! What happened to an app, line by line, for people.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::activity::Line;
use crate::domain::lane::LaneKey;

/// Keeps the activity logs of apps; lines are only ever added.
#[async_trait]
pub trait ActivityLog: Send + Sync {
    /// Adds lines in order, all of them or, when it fails, maybe some.
    ///
    /// A line may come again after a crash, under the same id; whether the copy is kept is up to the log.
    async fn append(&self, lane: &LaneKey, lines: &[Line]) -> Result<(), Failure>;
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoActivityLog;

#[async_trait]
impl ActivityLog for NoActivityLog {
    async fn append(&self, _: &LaneKey, _: &[Line]) -> Result<(), Failure> {
        Ok(())
    }
}
