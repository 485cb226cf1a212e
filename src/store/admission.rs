//! How fast new names are taken: a flood of topics with random names must not use the room up that the next real sensor needs.
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this time a source may bring as many new names again as at first.
const REFILL: Duration = Duration::from_secs(3_600);

/// So many of a source are taken at once in any case.
const LEAST: usize = 100;

/// For each source, how many new names it may bring at present. They are free up to half of its part of the bound: that is for
/// what is really there. Above, an eighth of its part is taken at once, at least 100 where it has as many, and as many within an
/// hour again.
#[derive(Clone, Debug)]
pub struct Admission {
    free: usize,
    most: f64,
    left: HashMap<Arc<str>, (f64, Instant)>,
}

impl Admission {
    /// For sources that may have `part` of them each.
    #[expect(clippy::cast_precision_loss, reason = "at most a million series")]
    pub fn new(part: usize) -> Self {
        let most = (part / 8).max(LEAST).min(part).max(1);
        Self { free: part / 2, most: most as f64, left: HashMap::new() }
    }

    /// How many new ones of `source`, which has `used`, are taken at `now`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and an eighth of a million")]
    pub fn open_to(&self, source: &str, used: usize, now: Instant) -> usize {
        self.free.saturating_sub(used) + self.level(source, now) as usize
    }

    /// So many new ones of `source`, which has `used` with them, were stored.
    #[expect(clippy::cast_precision_loss, reason = "at most a million series")]
    pub fn admitted(&mut self, source: &Arc<str>, names: usize, used: usize, now: Instant) {
        let counted = names.min(used.saturating_sub(self.free));
        if counted > 0 {
            let left = (self.level(source, now) - counted as f64).max(0.0);
            self.left.insert(Arc::clone(source), (left, now));
        }
    }

    fn level(&self, source: &str, now: Instant) -> f64 {
        self.left.get(source).map_or(self.most, |(left, at)| {
            let passed = now.saturating_duration_since(*at).as_secs_f64() / REFILL.as_secs_f64();
            (left + passed * self.most).min(self.most)
        })
    }
}

/// Of nodes and of series.
#[derive(Clone, Debug)]
pub struct Admissions {
    /// New nodes.
    pub nodes: Admission,
    /// New series.
    pub series: Admission,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_free_and_above_it_an_eighth_at_once_and_as_many_within_an_hour() {
        let mut admission = Admission::new(1_600);
        let (home, hub): (Arc<str>, Arc<str>) = ("home".into(), "hub".into());
        let t = Instant::now();
        let open = |a: &Admission, used, secs| a.open_to(&home, used, t + Duration::from_secs(secs));
        assert_eq!(open(&admission, 0, 0), 1_000);
        admission.admitted(&home, 800, 800, t);
        assert_eq!(open(&admission, 800, 0), 200, "what is free does not count");
        admission.admitted(&home, 200, 1_000, t);
        assert_eq!((open(&admission, 1_000, 0), admission.open_to(&hub, 0, t)), (0, 1_000));
        assert_eq!((open(&admission, 1_000, 17), open(&admission, 1_000, 19)), (0, 1));
        assert_eq!(open(&admission, 1_000, 1_801), 100);
        assert_eq!(open(&admission, 1_000, 86_400), 200);
        admission.admitted(&home, 7, 1_007, t + Duration::from_secs(86_400));
        assert_eq!(open(&admission, 1_007, 86_400), 193);
        admission.admitted(&home, 900, 1_000, t + Duration::from_secs(86_400));
        assert_eq!(open(&admission, 1_000, 86_400), 0, "only what is above the free half");
    }

    #[test]
    fn of_few_all_are_taken_at_once_and_one_always() {
        for (part, open) in [(0, 1), (10, 15), (80, 120), (500, 350), (8_000, 5_000)] {
            assert_eq!(Admission::new(part).open_to("x", 0, Instant::now()), open);
        }
    }
}
