//! Keeps lanes and the actions they still owe.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::lane::{Lane, LaneKey};

/// Counts the commits of a lane; 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A lane with the version to present on the next commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The lane as stored.
    pub lane: Lane,
    /// Its version.
    pub version: Version,
}

/// Keeps lanes, one record each.
#[async_trait]
pub trait LaneStore: Send + Sync {
    /// Returns the lane as last committed, or nothing when there is none.
    ///
    /// The read is consistent: it sees every commit that returned before it began. A lane whose format is newer than
    /// [`Lane::FORMAT`] is [`Failure::Refused`].
    async fn load(&self, key: &LaneKey) -> Result<Option<Versioned>, Failure>;

    /// Writes `next`, the actions it owes included, or writes nothing; returns the new version, `seen` + 1.
    ///
    /// Version 0 creates the lane. Returns [`Failure::Conflict`] when `seen` is stale; the caller loads and decides
    /// again. Once this returns, a restarted orchestrator finds and finishes the actions.
    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure>;

    /// Names all lanes. This may read much, so it is asked for rarely.
    async fn all(&self) -> Result<Vec<LaneKey>, Failure>;

    /// Names the lanes in which something is in flight.
    async fn active(&self) -> Result<Vec<LaneKey>, Failure>;
}
