//! What a place remembers of a lane, where the outside cannot be asked for it.

use async_trait::async_trait;

use super::failure::Failure;
use super::lane_store::Version;
use crate::domain::ecs::PlaceRecord;
use crate::domain::lane::LaneKey;

/// Keeps one record per lane.
#[async_trait]
pub trait PlaceRecords: Send + Sync {
    /// Returns the record as last committed, with its version; an empty one with version 0 where there is none.
    ///
    /// The read is consistent: it sees every commit that returned before it began.
    async fn load(&self, lane: &LaneKey) -> Result<(PlaceRecord, Version), Failure>;

    /// Writes the record, or writes nothing; returns the new version, `seen` + 1. [`Failure::Conflict`] when `seen` is stale.
    async fn commit(&self, lane: &LaneKey, seen: Version, next: &PlaceRecord) -> Result<Version, Failure>;
}
