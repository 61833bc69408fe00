//! What runs of an app, for people to look at.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::lane::LaneKey;
use crate::domain::names::{BuildNumber, EpochSeconds, ProcessType};

/// Something that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningProcess {
    /// Its name here (an ARN on ECS).
    pub id: String,
    /// Its process type.
    pub process: String,
    /// Where it stands, in lower case, such as `running`.
    pub status: String,
    /// ECS CPU units.
    pub cpu: Option<u32>,
    /// MiB.
    pub memory: Option<u32>,
    /// The build that it runs.
    pub build: Option<BuildNumber>,
    /// When it began.
    pub started: Option<EpochSeconds>,
}

/// Shows and restarts processes.
#[async_trait]
pub trait Processes: Send + Sync {
    /// Returns all that runs of a lane, sorted by process type.
    async fn running(&self, lane: &LaneKey) -> Result<Vec<RunningProcess>, Failure>;

    /// Restarts those of these process types that are services of the lane, whether they run or not, and returns the names of the services;
    /// does not wait.
    async fn restart(&self, lane: &LaneKey, processes: &[ProcessType]) -> Result<Vec<String>, Failure>;
}
