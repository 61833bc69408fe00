//! The client-visible items: projections of a lane.

use async_trait::async_trait;

use super::failure::Failure;
use super::lane_store::Version;
use crate::domain::lane::{BuildRecord, DeployStatus, LaneKey};
use crate::domain::names::BuildNumber;

/// Writes and reads `BUILD#…` and `DEPLOYSTATUS…`.
///
/// Every write replaces the whole item and is guarded by the lane's version: one made from an older version is
/// dropped silently, so an old projection never overwrites a newer one. A removed item keeps no version: a write made
/// before the removal and delayed until after it brings the item back, so whoever writes the item of a build that may be
/// removed looks at the lane again afterwards.
#[async_trait]
pub trait Records: Send + Sync {
    /// Writes a build's item.
    async fn put_build(&self, key: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure>;

    /// Removes a build's item: the build had nothing to do.
    async fn remove_build(&self, key: &LaneKey, at: Version, number: BuildNumber) -> Result<(), Failure>;

    /// Writes the item that describes the most recent deploy.
    async fn put_deploy_status(&self, key: &LaneKey, at: Version, status: &DeployStatus) -> Result<(), Failure>;

    /// Returns a build's item.
    async fn build(&self, key: &LaneKey, number: BuildNumber) -> Result<Option<BuildRecord>, Failure>;

    /// Returns the newest builds, highest number first, at most `limit`.
    async fn builds(&self, key: &LaneKey, limit: usize) -> Result<Vec<BuildRecord>, Failure>;

    /// Returns the item that describes the most recent deploy.
    async fn deploy_status(&self, key: &LaneKey) -> Result<Option<DeployStatus>, Failure>;
}
