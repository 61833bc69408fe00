//! The clock of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::names::EpochSeconds;
use crate::ports::clock::Clock;

/// Tells the machine's time; a clock set before 1970 shows 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    fn now(&self) -> EpochSeconds {
        EpochSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}
