//! How long to wait before the next attempt to open a port or to connect. Pure: it reads no clock and sleeps for nobody.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Delays that double from a first one up to a cap, each shortened by up to a quarter at random, so that many gateways
/// that lost the same broker do not come back in the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// Starts at `first` and never exceeds `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        // The standard library's only source of randomness; good enough to spread the attempts of several gateways.
        let seed = RandomState::new().hash_one(0_u8);
        Self { first: first.min(cap), cap, next: first.min(cap), random: seed | 1 }
    }

    /// The delay before the next attempt: between three quarters of the step and the step.
    #[expect(clippy::should_implement_trait, reason = "a delay is asked for by a loop that ends for other reasons")]
    pub fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.cap);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // 0 to 255 of 1024: less than a quarter.
        let part = u32::try_from(self.random >> 56).unwrap_or(0);
        step.saturating_sub((step / 1024).saturating_mul(part))
    }

    /// An attempt was successful: starts again at the first step.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_the_cap_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        for step in [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000] {
            let delay = backoff.next();
            assert!(delay <= Duration::from_millis(step), "{delay:?} over {step} ms");
            assert!(delay >= Duration::from_millis(step * 3 / 4), "{delay:?} under three quarters of {step} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }

    #[test]
    fn a_first_step_over_the_cap_is_the_cap_and_two_differ() {
        let mut backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(1));
        let delays: Vec<Duration> = (0..32).map(|_| backoff.next()).collect();
        assert!(delays.iter().all(|d| *d <= Duration::from_secs(1)));
        assert!(delays.iter().any(|d| *d != delays[0]), "32 equal delays are not spread: {delays:?}");
    }
}
