//! Client-visible items in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::domain::lane::{BuildRecord, DeployStatus, LaneKey};
use crate::domain::names::BuildNumber;
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::ports::records::Records;

/// Keeps items with the lane's version that they were made from.
#[derive(Debug, Default)]
pub struct MemoryRecords(Mutex<Items>);

#[derive(Debug, Default)]
struct Items {
    builds: BTreeMap<(LaneKey, BuildNumber), (Version, BuildRecord)>,
    deploys: BTreeMap<LaneKey, (Version, DeployStatus)>,
}

impl MemoryRecords {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Replaces an item unless it was made from a newer version.
fn put<K: Ord, T>(items: &mut BTreeMap<K, (Version, T)>, key: K, at: Version, item: T) {
    if items.get(&key).is_none_or(|(version, _)| *version <= at) {
        items.insert(key, (at, item));
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn put_build(&self, key: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure> {
        put(&mut lock(&self.0).builds, (key.clone(), record.build_number), at, record.clone());
        Ok(())
    }

    async fn remove_build(&self, key: &LaneKey, at: Version, number: BuildNumber) -> Result<(), Failure> {
        let builds = &mut lock(&self.0).builds;
        let key = (key.clone(), number);
        if builds.get(&key).is_some_and(|(version, _)| *version <= at) {
            builds.remove(&key);
        }
        Ok(())
    }

    async fn put_deploy_status(&self, key: &LaneKey, at: Version, status: &DeployStatus) -> Result<(), Failure> {
        put(&mut lock(&self.0).deploys, key.clone(), at, status.clone());
        Ok(())
    }

    async fn build(&self, key: &LaneKey, number: BuildNumber) -> Result<Option<BuildRecord>, Failure> {
        Ok(lock(&self.0).builds.get(&(key.clone(), number)).map(|(_, record)| record.clone()))
    }

    async fn builds(&self, key: &LaneKey, limit: usize) -> Result<Vec<BuildRecord>, Failure> {
        let all = (key.clone(), BuildNumber(0))..=(key.clone(), BuildNumber(u64::MAX));
        Ok(lock(&self.0).builds.range(all).rev().take(limit).map(|(_, (_, record))| record.clone()).collect())
    }

    async fn deploy_status(&self, key: &LaneKey) -> Result<Option<DeployStatus>, Failure> {
        Ok(lock(&self.0).deploys.get(key).map(|(_, status)| status.clone()))
    }
}
