//! A clock that stands still until it is set.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::names::EpochSeconds;
use crate::ports::clock::Clock;

/// Tells the time that it was last set to.
#[derive(Debug)]
pub struct SettableClock(AtomicU64);

impl SettableClock {
    /// Makes a clock that shows `now`.
    pub fn new(now: EpochSeconds) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Sets the time, also back.
    pub fn set(&self, now: EpochSeconds) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Lets `seconds` pass and returns the new time.
    pub fn advance(&self, seconds: u64) -> EpochSeconds {
        EpochSeconds(self.0.fetch_add(seconds, Ordering::SeqCst)).plus(seconds)
    }
}

impl Clock for SettableClock {
    fn now(&self) -> EpochSeconds {
        EpochSeconds(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_until_it_is_told_to_pass() {
        let clock = SettableClock::new(EpochSeconds(100));
        assert_eq!(clock.now(), clock.now());
        assert_eq!(clock.advance(20), EpochSeconds(120));
        clock.set(EpochSeconds(7));
        assert_eq!(clock.now(), EpochSeconds(7));
    }
}
