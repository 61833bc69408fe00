//! What an app's stacks have made for it.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::app_settings::Settings;
use crate::domain::lane::LaneKey;

/// Reads the settings of apps.
#[async_trait]
pub trait AppSettings: Send + Sync {
    /// Returns the settings of a lane: those of its app or pipeline, with what a review app has of its own.
    ///
    /// [`Failure::NotFound`] where no stack has written any; [`Failure::Refused`] names an entry that is not what the
    /// contract says.
    async fn settings(&self, lane: &LaneKey) -> Result<Settings, Failure>;
}
