//! The config variables of an app, by name: who only runs an app never needs their values.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::formation::ConfigName;
use crate::domain::lane::LaneKey;

/// Names config variables.
#[async_trait]
pub trait AppConfig: Send + Sync {
    /// Returns the variables that a lane's processes get, sorted by name. Those of a review app replace its pipeline's
    /// of the same name.
    ///
    /// No value is asked for, so that no right to read values is needed. A list that could not be read to its end is an
    /// error, never a shorter list.
    async fn names(&self, lane: &LaneKey) -> Result<Vec<ConfigName>, Failure>;
}
