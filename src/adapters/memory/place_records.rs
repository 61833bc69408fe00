//! Records of places in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::domain::lane::LaneKey;
use crate::domain::place_record::PlaceRecord;
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::ports::place_records::PlaceRecords;

/// Keeps records of places.
#[derive(Debug, Default)]
pub struct MemoryPlaceRecords(Mutex<BTreeMap<LaneKey, (PlaceRecord, Version)>>);

#[async_trait]
impl PlaceRecords for MemoryPlaceRecords {
    async fn load(&self, lane: &LaneKey) -> Result<(PlaceRecord, Version), Failure> {
        Ok(lock(&self.0).get(lane).cloned().unwrap_or((PlaceRecord::default(), Version(0))))
    }

    async fn commit(&self, lane: &LaneKey, seen: Version, next: &PlaceRecord) -> Result<Version, Failure> {
        let mut records = lock(&self.0);
        let version = records.get(lane).map_or(Version(0), |(_, version)| *version);
        if version != seen {
            return Err(Failure::Conflict { what: format!("the place of {lane}") });
        }
        let version = Version(seen.0 + 1);
        records.insert(lane.clone(), (next.clone(), version));
        Ok(version)
    }
}
