//! The time of day.

use crate::domain::names::EpochSeconds;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Returns the present moment.
    fn now(&self) -> EpochSeconds;
}
