//! How many dead letters of a source reach the store: a noisy line must not fill the table, nor the disk.

use std::time::{Duration, Instant};

use crate::metrics::{Metrics, SourceStatus};
use crate::reading::{DeadLetter, DeadReason};

/// Shortest time between two dead letters of one source and reason.
const GAP: Duration = Duration::from_secs(1);

/// Lets one dead letter a second pass for each reason; one limit for each source. Pure: the time is an argument.
#[derive(Clone, Debug, Default)]
pub struct Limit {
    passed: [Option<Instant>; DeadReason::ALL.len()],
}

impl Limit {
    /// Whether a dead letter of this reason may be stored at `now`; if so, the next second is closed for its like.
    pub fn admit(&mut self, reason: DeadReason, now: Instant) -> bool {
        let last = &mut self.passed[reason.index()];
        let open = last.is_none_or(|last| now.saturating_duration_since(last) >= GAP);
        if open {
            *last = Some(now);
        }
        open
    }

    /// Counts them all for their source, and removes those that may not be stored at `now`.
    pub fn count(&mut self, dead: &mut Vec<DeadLetter>, status: &SourceStatus, metrics: &Metrics, now: Instant) {
        status.dead.add(dead.len() as u64);
        for letter in dead.iter() {
            metrics.readings.dead(letter.reason).inc();
        }
        self.thin(dead, now);
        if let Some(letter) = dead.last() {
            status.note_dead(letter.reason, &letter.detail);
        }
    }

    fn thin(&mut self, dead: &mut Vec<DeadLetter>, now: Instant) {
        dead.retain(|letter| self.admit(letter.reason, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_passes_for_each_reason() {
        let mut limit = Limit::default();
        let start = Instant::now();
        assert!(limit.admit(DeadReason::Malformed, start));
        assert!(!limit.admit(DeadReason::Malformed, start));
        assert!(limit.admit(DeadReason::TooLong, start));
        assert!(!limit.admit(DeadReason::Malformed, start + Duration::from_millis(999)));
        assert!(limit.admit(DeadReason::Malformed, start + Duration::from_secs(1)));
        assert!(!limit.admit(DeadReason::Malformed, start + Duration::from_millis(1_999)));
    }

    #[test]
    fn thinning_keeps_the_first_of_each_reason() {
        let mut limit = Limit::default();
        let letter = |reason, text: &str| DeadLetter::new(reason, text, b"");
        let mut dead = vec![
            letter(DeadReason::Malformed, "first"),
            letter(DeadReason::Malformed, "second"),
            letter(DeadReason::NotUtf8, "third"),
        ];
        limit.thin(&mut dead, Instant::now());
        assert_eq!(dead, [letter(DeadReason::Malformed, "first"), letter(DeadReason::NotUtf8, "third")]);
    }
}
