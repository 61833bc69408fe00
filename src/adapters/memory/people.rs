//! What people were told, collected.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value;

use super::lock;
use crate::domain::activity::Line;
use crate::domain::lane::LaneKey;
use crate::ports::activity_log::ActivityLog;
use crate::ports::failure::Failure;
use crate::ports::notifier::Notifier;

/// Keeps the lines of all activity logs and all messages, in order; a copy of a line is not kept.
#[derive(Debug, Default)]
pub struct CollectedNews(Mutex<(Vec<Line>, Vec<Value>)>);

impl CollectedNews {
    /// Makes an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all lines so far.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.0).0.clone()
    }

    /// Returns all messages so far.
    pub fn messages(&self) -> Vec<Value> {
        lock(&self.0).1.clone()
    }
}

#[async_trait]
impl ActivityLog for CollectedNews {
    async fn append(&self, _: &LaneKey, lines: &[Line]) -> Result<(), Failure> {
        let kept = &mut lock(&self.0).0;
        for line in lines {
            if !kept.iter().any(|known| known.id == line.id) {
                kept.push(line.clone());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Notifier for CollectedNews {
    async fn send(&self, _: &LaneKey, message: &Value) -> Result<(), Failure> {
        lock(&self.0).1.push(message.clone());
        Ok(())
    }
}
