//! Commands that run once in a task of their own: release and postdeploy.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use crate::domain::names::BuildNumber;

/// Which command a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// The release command.
    Release,
    /// A review app's initialize command.
    Postdeploy,
}

impl TaskKind {
    /// The phase that waits for the task.
    pub fn phase(self) -> Phase {
        match self {
            Self::Release => Phase::Release,
            Self::Postdeploy => Phase::Postdeploy,
        }
    }
}

/// Names one attempt at a task; the same key never runs twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The build it belongs to.
    pub build: BuildNumber,
    /// What it runs.
    pub kind: TaskKind,
    /// The attempt, from 1; another begins only after the one before was seen stopped without an exit code.
    pub attempt: u32,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.kind.phase(), self.build, self.attempt)
    }
}

/// What is known of the task that the current phase waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its name.
    pub key: TaskKey,
    /// Whether it was asked for; before that nothing of it can exist.
    pub requested: bool,
    /// Whether it was seen running.
    pub running: bool,
}
