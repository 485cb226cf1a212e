//! Which readings of a regular series are missing.
//!
//! A grid of expected moments follows the readings: each reading belongs to the expected moment that it is nearest to, and
//! moves the grid by its part of the mean deviation of the last few. So a clock that drifts, an interval that is not quite
//! right and a jitter of up to a quarter of an interval make no gaps and no surplus.

use super::largest::{Largest, Listed};
use crate::reading::Timestamp;

/// Readings whose deviations the grid follows. An interval that is wrong by a sixteenth of itself is still followed.
const FOLLOWED: i64 = 8;

/// What is expected within a quarter of an interval of the range's beginning or end may as well lie outside.
const EDGE: i64 = 4;

/// Expected moments without a reading, between two readings or at an end of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last reading before; the beginning of the range where there is none.
    pub from: Timestamp,
    /// The next reading; the end of the range where there is none.
    pub to: Timestamp,
    /// How many readings are missing.
    pub missing: u64,
}

/// The expected moments of one series, and which of them have a reading.
#[derive(Debug)]
pub(super) struct Slots {
    interval: i64,
    start: i64,
    end: i64,
    /// The last expected moment that has a reading, as the grid has it, and how many readings the grid follows.
    grid: Option<(i64, i64)>,
    /// The last reading.
    last: i64,
    present: u64,
    missing: u64,
    gaps: Largest<Gap>,
}

/// What they come to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Slotted {
    pub(super) present: u64,
    pub(super) missing: u64,
    pub(super) gaps: Listed<Gap>,
}

impl Slots {
    /// For readings from `start` until before `end`, `interval` microseconds apart; keeps the `most` longest gaps.
    pub(super) fn new(interval: i64, start: Timestamp, end: Timestamp, most: usize) -> Self {
        Self {
            interval: interval.max(1),
            start: start.micros(),
            end: end.micros(),
            grid: None,
            last: start.micros(),
            present: 0,
            missing: 0,
            gaps: Largest::new(most),
        }
    }

    /// Takes the next reading; says whether there is a gap before it.
    pub(super) fn push(&mut self, ts: Timestamp) -> bool {
        let ts = ts.micros();
        let Some((moment, followed)) = self.grid else {
            let missing = whole(ts - self.start - self.interval / EDGE, self.interval);
            self.gap(ts, missing);
            self.grid = Some((ts, 1));
            (self.present, self.last) = (1, ts);
            return missing > 0;
        };
        // To the nearest, half an interval upwards.
        let steps = (2 * (ts - moment) + self.interval).div_euclid(2 * self.interval);
        if steps > 0 {
            let expected = moment + steps * self.interval;
            self.gap(ts, steps - 1);
            // Behind a gap the grid may be another one: a node that was off begins where it likes.
            let followed = if steps > 1 { 2 } else { (followed + 1).min(FOLLOWED) };
            self.grid = Some((expected + (ts - expected) / followed, followed));
            self.present += 1;
        }
        self.last = ts;
        steps > 1
    }

    /// The end of the range is reached.
    pub(super) fn finish(mut self) -> Slotted {
        let missing = match self.grid {
            None => whole(self.end - self.start, self.interval),
            // While the grid follows a clock that drifts it is behind the readings.
            Some((moment, _)) => whole(self.end - moment.max(self.last) - self.interval / EDGE, self.interval),
        };
        self.gap(self.end, missing);
        Slotted { present: self.present, missing: self.missing, gaps: self.gaps.finish() }
    }

    #[expect(clippy::cast_precision_loss, reason = "the size only orders the gaps")]
    fn gap(&mut self, to: i64, missing: i64) {
        if let Ok(missing) = u64::try_from(missing)
            && missing > 0
        {
            self.missing += missing;
            self.gaps.push(missing as f64, Gap { from: Timestamp(self.last), to: Timestamp(to), missing });
        }
    }
}

/// Whole intervals in a span; none in one that is not positive.
fn whole(span: i64, interval: i64) -> i64 {
    if span > 0 { span / interval } else { 0 }
}
