//! What an app's owner may choose about its lane.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::phase::Phase;

/// What becomes of a build that is still being made or tested when a newer one begins.
///
/// Whatever is chosen, a build that releases or deploys is never stopped for a newer one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Superseding {
    /// It goes on, and is deployed unless a newer one is ready before.
    #[default]
    Finish,
    /// It is stopped.
    Cancel,
    /// It goes on if it is the oldest; of those behind it only the newest is kept. Where builds run one at a time, that is the
    /// one that runs and one that waits.
    ReplacePending,
}

/// What an app's owner chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What becomes of builds that a newer one overtakes.
    #[serde(default)]
    pub superseding: Superseding,
    /// How long phases may take, in minutes, where it is not the usual time.
    #[serde(default)]
    pub minutes: BTreeMap<Phase, u64>,
}

impl Policy {
    /// How long a phase may take, in seconds, before it is failed.
    ///
    /// `CodeBuild` queues a build for up to 8 hours and by default runs it for up to one; the rest are our own limits.
    pub fn limit(&self, phase: Phase) -> u64 {
        const MINUTE: u64 = 60;
        if let Some(minutes) = self.minutes.get(&phase) {
            return minutes.saturating_mul(MINUTE).max(MINUTE);
        }
        match phase {
            Phase::Build => 10 * 60 * MINUTE,
            Phase::Test => 3 * 60 * MINUTE,
            Phase::Finalize | Phase::Deploy => 30 * MINUTE,
            Phase::Release | Phase::Postdeploy => 60 * MINUTE,
        }
    }
}
