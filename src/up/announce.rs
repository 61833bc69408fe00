//! Phase changes, shown to whoever looks on.

use async_trait::async_trait;
use serde_json::json;

use crate::domain::lane::{PhaseChange, PhaseState};
use crate::ports::failure::Failure;
use crate::ports::phase_events::PhaseEvents;
use crate::ui::Printer;

/// Prints each change: a line for people, or the event's detail as JSON.
pub struct Announcer(pub Printer);

#[async_trait]
impl PhaseEvents for Announcer {
    async fn emit(&self, changes: &[PhaseChange]) -> Result<(), Failure> {
        for change in changes {
            if self.0.is_json() {
                self.0.json_line(&json!({ "type": "phase", "detail": change }));
                continue;
            }
            let line = format!("Build {}: {} {}", change.build, change.phase, change.state.as_str());
            match change.state {
                PhaseState::Started => self.0.heading(line),
                PhaseState::Succeeded | PhaseState::Failed => self.0.note(line),
            }
        }
        Ok(())
    }
}
