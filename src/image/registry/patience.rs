//! What is left of an operation's retries.

use std::time::Duration;

use super::options::RetryPolicy;

/// What is left of one operation's retries and of the time it may spend waiting.
pub(super) struct Patience {
    policy: RetryPolicy,
    used: u32,
    left: Duration,
}

impl Patience {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, used: 0, left: policy.budget }
    }

    /// Returns how long to wait before the next try, or `None` when it is time to give up.
    ///
    /// `asked` is what the server wants; a wait shorter than that would only be refused again.
    pub(super) fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        if self.used >= self.policy.retries {
            return None;
        }
        let doubled = self.policy.first_pause.saturating_mul(1 << self.used.min(16));
        let own = doubled.min(self.policy.longest_pause).mul_f64(0.5 + fastrand::f64() / 2.0);
        let pause = asked.map_or(own, |asked| asked.max(own));
        self.left = self.left.checked_sub(pause)?;
        self.used += 1;
        Some(pause)
    }

    /// Waits for the next try; `false` when it is time to give up.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        match self.next_pause(asked) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_retries() {
        let policy = RetryPolicy {
            retries: 6,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(4),
            budget: Duration::from_mins(10),
        };
        let mut patience = Patience::new(policy);
        for most in [1, 2, 4, 4, 4, 4] {
            let pause = patience.next_pause(None).unwrap();
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{pause:?}");
        }
        assert_eq!(patience.next_pause(None), None);
    }

    #[test]
    fn wish_of_the_server_beyond_the_budget_ends_it_at_once() {
        let mut patience = Patience::new(RetryPolicy::default());
        assert_eq!(patience.next_pause(Some(Duration::from_secs(20))), Some(Duration::from_secs(20)));
        assert_eq!(patience.next_pause(Some(Duration::from_secs(41))), None);
    }
}
