//! How fast new names are taken: a flood of topics with random names must not use the room for series up that the next real
//! sensor needs. Pure: the time is an argument.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this time a source may bring as many new series again as at first.
const REFILL: Duration = Duration::from_secs(3_600);

/// So many series of a source are taken at once in any case: what a hub or a bridge brings when it is connected first.
const LEAST: usize = 200;

/// For each source, how many new series it may bring at present: a quarter of its part of `max-series` at once, at least 200
/// where it has as many, and as many within an hour again.
#[derive(Clone, Debug)]
pub struct Admission {
    most: f64,
    left: HashMap<Arc<str>, (f64, Instant)>,
}

impl Admission {
    /// For sources that may have `part` series each.
    #[expect(clippy::cast_precision_loss, reason = "at most a million series")]
    pub fn new(part: usize) -> Self {
        let most = (part / 4).max(LEAST).min(part).max(1);
        Self { most: most as f64, left: HashMap::new() }
    }

    /// How many new series of `source` are taken at `now`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a quarter of a million")]
    pub fn open_to(&self, source: &str, now: Instant) -> usize {
        self.level(source, now) as usize
    }

    /// So many new series of `source` were stored.
    #[expect(clippy::cast_precision_loss, reason = "at most a million series")]
    pub fn admitted(&mut self, source: &Arc<str>, series: usize, now: Instant) {
        let left = (self.level(source, now) - series as f64).max(0.0);
        self.left.insert(Arc::clone(source), (left, now));
    }

    fn level(&self, source: &str, now: Instant) -> f64 {
        self.left.get(source).map_or(self.most, |(left, at)| {
            let passed = now.saturating_duration_since(*at).as_secs_f64() / REFILL.as_secs_f64();
            (left + passed * self.most).min(self.most)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_at_once_and_as_many_within_an_hour() {
        let mut admission = Admission::new(800);
        let (home, hub): (Arc<str>, Arc<str>) = ("home".into(), "hub".into());
        let t = Instant::now();
        assert_eq!(admission.open_to(&home, t), 200);
        admission.admitted(&home, 200, t);
        assert_eq!((admission.open_to(&home, t), admission.open_to(&hub, t)), (0, 200));
        assert_eq!(admission.open_to(&home, t + Duration::from_secs(17)), 0);
        assert_eq!(admission.open_to(&home, t + Duration::from_secs(19)), 1);
        assert_eq!(admission.open_to(&home, t + Duration::from_secs(1_801)), 100);
        assert_eq!(admission.open_to(&home, t + Duration::from_secs(86_400)), 200);
        admission.admitted(&home, 7, t + Duration::from_secs(86_400));
        assert_eq!(admission.open_to(&home, t + Duration::from_secs(86_400)), 193);
    }

    #[test]
    fn few_are_taken_at_once_and_one_always() {
        for (part, most) in [(0, 1), (80, 80), (500, 200), (8_000, 2_000)] {
            assert_eq!(Admission::new(part).open_to("x", Instant::now()), most);
        }
    }
}
