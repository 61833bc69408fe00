//! The six phases of a build, and where each of them stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::names::EpochSeconds;

/// The six phases of a build, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The image is made and pushed under its candidate name.
    Build,
    /// The tests run against that image; their success gives it its names.
    Test,
    /// The build's artifacts are read and its turn is awaited.
    Finalize,
    /// The release command runs.
    Release,
    /// A review app's initialize command runs, on its first deploy only.
    Postdeploy,
    /// The services are replaced.
    Deploy,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 6] = [Self::Build, Self::Test, Self::Finalize, Self::Release, Self::Postdeploy, Self::Deploy];

    /// The attribute name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Test => "test",
            Self::Finalize => "finalize",
            Self::Release => "release",
            Self::Postdeploy => "postdeploy",
            Self::Deploy => "deploy",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a phase that has begun stands; a phase that never ran has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseState {
    /// It runs.
    Started,
    /// It ended well.
    Succeeded,
    /// It ended badly, was stopped, or its build was superseded.
    Failed,
}

impl PhaseState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One phase of one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Where it stands.
    pub state: PhaseState,
    /// When it began.
    pub start: EpochSeconds,
    /// When it ended; set together with a final state.
    pub end: Option<EpochSeconds>,
    /// What ran it: the build, the task, or the services.
    pub arns: Vec<String>,
    /// Where its log is (`cloudwatch://`, `s3://`), or empty.
    pub logs: String,
}
