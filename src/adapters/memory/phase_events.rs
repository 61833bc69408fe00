//! Phase events, collected.

use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::domain::lane::PhaseChange;
use crate::ports::failure::Failure;
use crate::ports::phase_events::PhaseEvents;

/// Keeps what was sent, in order.
#[derive(Debug, Default)]
pub struct CollectedPhaseEvents(Mutex<Vec<PhaseChange>>);

impl CollectedPhaseEvents {
    /// Makes an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what was sent since the last time, and forgets it.
    pub fn take(&self) -> Vec<PhaseChange> {
        std::mem::take(&mut lock(&self.0))
    }
}

#[async_trait]
impl PhaseEvents for CollectedPhaseEvents {
    async fn emit(&self, changes: &[PhaseChange]) -> Result<(), Failure> {
        lock(&self.0).extend_from_slice(changes);
        Ok(())
    }
}
