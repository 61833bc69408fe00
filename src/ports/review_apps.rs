//! The stacks of review apps.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::lane::ReviewAppState;
use crate::domain::names::{AppName, PullRequest};

/// Removes review apps.
#[async_trait]
pub trait ReviewApps: Send + Sync {
    /// Orders the removal of a review app and returns whether there was one; does not wait for its end. What only has the
    /// same name is left alone.
    ///
    /// "There is none" is an answer of the service, never a guess made from a failure.
    async fn remove(&self, pipeline: &AppName, pr: PullRequest) -> Result<bool, Failure>;

    /// Tells where a removal that was ordered stands, or nothing while it is under way.
    async fn removal(&self, pipeline: &AppName, pr: PullRequest) -> Result<Option<ReviewAppState>, Failure>;
}
