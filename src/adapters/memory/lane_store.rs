//! Lanes in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::adapters::lane_document;
use crate::domain::lane::{Lane, LaneKey};
use crate::ports::failure::Failure;
use crate::ports::lane_store::{LaneStore, Version, Versioned};

/// Keeps lanes in the layout in which they would be stored, so that what cannot be stored is noticed here too.
#[derive(Debug, Default)]
pub struct MemoryLaneStore(Mutex<BTreeMap<LaneKey, Stored>>);

#[derive(Debug)]
struct Stored {
    version: Version,
    format: u32,
    state: String,
    active: bool,
}

impl MemoryLaneStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks a stored lane as written by another packhorse, in layout `format`.
    pub fn set_format(&self, key: &LaneKey, format: u32) {
        if let Some(stored) = lock(&self.0).get_mut(key) {
            stored.format = format;
        }
    }
}

#[async_trait]
impl LaneStore for MemoryLaneStore {
    async fn load(&self, key: &LaneKey) -> Result<Option<Versioned>, Failure> {
        lock(&self.0)
            .get(key)
            .map(|stored| {
                let lane = lane_document::decode(key, stored.format, &stored.state)?;
                Ok(Versioned { lane, version: stored.version })
            })
            .transpose()
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        let state = lane_document::encode(next)?;
        let mut lanes = lock(&self.0);
        let current = lanes.get(&next.key).map_or(Version(0), |stored| stored.version);
        if current != seen {
            return Err(Failure::Conflict { what: lane_document::name(&next.key) });
        }
        let version = Version(seen.0 + 1);
        lanes.insert(next.key.clone(), Stored { version, format: Lane::FORMAT, state, active: next.is_active() });
        Ok(version)
    }

    async fn all(&self) -> Result<Vec<LaneKey>, Failure> {
        Ok(lock(&self.0).keys().cloned().collect())
    }

    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        Ok(lock(&self.0).iter().filter(|(_, stored)| stored.active).map(|(key, _)| key.clone()).collect())
    }
}
