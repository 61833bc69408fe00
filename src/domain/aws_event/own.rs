//! Our own phase events.

use super::{Addressed, News};
use crate::domain::lane::PhaseChange;

/// A phase event carries no result: whoever receives it does what the lane owes.
pub(super) fn read(change: &PhaseChange) -> News {
    Addressed::facts(change.lane(), Vec::new())
}
