//! Phase changes, shown to whoever looks on.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::proxy::Proxy;
use crate::domain::activity::{Happened, Line};
use crate::domain::lane::{LaneKey, Phase, PhaseChange, PhaseState};
use crate::ports::activity_log::ActivityLog;
use crate::ports::artifacts::ArtifactStore;
use crate::ports::failure::Failure;
use crate::ports::phase_events::PhaseEvents;
use crate::ui::Printer;

/// Keeps the activity log, and shows of it what no build shows: changed settings and rollbacks.
pub struct ShownActivity {
    /// The log.
    pub log: Arc<dyn ActivityLog>,
    /// The one way out.
    pub printer: Printer,
}

#[async_trait]
impl ActivityLog for ShownActivity {
    async fn append(&self, lane: &LaneKey, lines: &[Line]) -> Result<(), Failure> {
        self.log.append(lane, lines).await?;
        for line in lines {
            if !matches!(line.what, Happened::Phase { .. } | Happened::Ended { .. }) {
                self.printer.json_line(&json!({ "type": "activity", "detail": line }));
                self.printer.note(&line.text);
            }
        }
        Ok(())
    }
}

/// Shows each change: as a line for people, as the event's detail for programs, and on the page of an app that does not
/// run yet.
pub struct Announcer {
    /// The one way out.
    pub printer: Printer,
    /// What holds the app's port.
    pub proxy: Proxy,
    /// Where the logs of tasks are.
    pub artifacts: Arc<dyn ArtifactStore>,
}

impl Announcer {
    /// Shows what the task of a phase said; build and tests have shown theirs while they ran.
    async fn show_log(&self, change: &PhaseChange) {
        if !matches!(change.phase, Phase::Release | Phase::Postdeploy) || change.state == PhaseState::Started {
            return;
        }
        // A log that cannot be read is only not shown: the result does not depend on it.
        let Ok(Some(log)) = self.artifacts.get(&format!("{}/{}.log", change.build, change.phase)).await else { return };
        for line in String::from_utf8_lossy(&log).lines() {
            self.printer.json_line(&json!({ "type": "output", "from": change.phase, "line": line }));
            self.printer.aside().exact(line);
        }
    }
}

#[async_trait]
impl PhaseEvents for Announcer {
    async fn emit(&self, changes: &[PhaseChange]) -> Result<(), Failure> {
        for change in changes {
            self.show_log(change).await;
            self.printer.json_line(&json!({ "type": "phase", "detail": change }));
            let line = format!("Build {}: {} {}", change.build, change.phase, change.state.as_str());
            self.proxy.say(line.clone());
            match change.state {
                PhaseState::Started => self.printer.heading(line),
                PhaseState::Succeeded | PhaseState::Failed => self.printer.note(line),
            }
        }
        Ok(())
    }
}
