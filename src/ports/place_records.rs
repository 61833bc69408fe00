//! What a place remembers of a lane, where the outside cannot be asked for it.

use async_trait::async_trait;

use super::failure::Failure;
use super::lane_store::Version;
use crate::domain::lane::LaneKey;
use crate::domain::place_record::PlaceRecord;

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

/// How often somebody else may be faster at a record before a change is given up.
const ATTEMPTS: u32 = 10;

/// Changes a lane's record until nobody else was faster; `change` tells whether there is anything to write.
///
/// # Errors
/// Fails when the store does, or when others were faster too often.
pub async fn remember(
    records: &dyn PlaceRecords,
    lane: &LaneKey,
    change: impl Fn(&mut PlaceRecord) -> bool,
) -> Result<PlaceRecord, Failure> {
    for _ in 0..ATTEMPTS {
        let (mut record, seen) = records.load(lane).await?;
        if !change(&mut record) {
            return Ok(record);
        }
        match records.commit(lane, seen, &record).await {
            Ok(_) => return Ok(record),
            Err(Failure::Conflict { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Conflict { what: format!("the place of {lane}") })
}
