//! Everything about one series in one pass over its readings.

use super::interval::Interval;
use super::largest::Listed;
use super::outliers::{Outlier, Outliers, Test, Values};
use super::rules::Rules;
use super::slots::{Gap, Slots, Slotted};
use super::stuck::{Runs, Stood};
use crate::reading::Timestamp;

/// Readings that come in batches are waited for so long at the most, microseconds.
const LONGEST_BATCH: f64 = 86_400e6;

/// The time over which readings of a series are expected: from `start` until before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Included.
    pub start: Timestamp,
    /// Excluded; not after `start` where nothing is expected.
    pub end: Timestamp,
}

impl Span {
    /// The part of `self` in which readings of a series can be: not before `since`, when it began, and not after what has
    /// had the time to arrive. `now` is what is stored by now; with a delay of `delay_s` (the median), a node's stored
    /// records come up to twice as late when they come in batches. A batch of more than a day is one that was held up.
    #[must_use]
    pub fn expected(self, since: Timestamp, now: Timestamp, delay_s: Option<f64>) -> Self {
        let delay = (delay_s.unwrap_or(0.0) * 2e6).clamp(0.0, LONGEST_BATCH);
        #[expect(clippy::cast_possible_truncation, reason = "it is at most a day in microseconds")]
        let due = Timestamp(now.micros().saturating_sub(delay as i64));
        Self { start: self.start.max(since), end: self.end.min(due) }
    }
}

/// How complete a regular series is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// The time that it is about.
    pub span: Span,
    /// Expected moments that have a reading.
    pub present: u64,
    /// Expected moments that have none.
    pub missing: u64,
}

impl Coverage {
    /// Expected moments.
    pub const fn expected(&self) -> u64 {
        self.present + self.missing
    }

    /// Part of the expected moments that have a reading, from 0 to 1; `None` where nothing was expected.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn part(&self) -> Option<f64> {
        (self.expected() > 0).then(|| self.present as f64 / self.expected() as f64)
    }
}

/// What was found about a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Readings in the range.
    pub readings: u64,
    /// How often they come.
    pub interval: Interval,
    /// How complete they are; where there is an interval.
    pub coverage: Option<Coverage>,
    /// The gaps between them.
    pub gaps: Listed<Gap>,
    /// How their values were tested.
    pub test: Test,
    /// Values that stand out.
    pub outliers: Listed<Outlier>,
    /// Values that stood still.
    pub stood: Stood,
    /// What is known of them as a whole.
    pub values: Values,
}

impl Findings {
    /// Part of the expected readings that are there and whose value neither stands out nor is stuck, from 0 to 1. Without
    /// an interval, of the readings that are there; `None` where that is none.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn score(&self) -> Option<f64> {
        let bad = self.outliers.count + self.stood.inconspicuous;
        let sound = (self.readings > 0).then(|| 1.0 - bad.min(self.readings) as f64 / self.readings as f64);
        match self.coverage.and_then(|c| c.part()) {
            Some(part) => Some(part * sound.unwrap_or(0.0)),
            None => sound,
        }
    }
}

/// One pass over the readings of a series, in the order of time.
#[derive(Debug)]
pub struct Judge {
    interval: Interval,
    span: Span,
    most: usize,
    readings: u64,
    slots: Option<Slots>,
    outliers: Outliers,
    runs: Runs,
    values: Values,
}

impl Judge {
    /// For a series with these rules, interval and values, of which readings are expected over `span`. Of gaps, outliers and
    /// stuck values the `most` largest are listed.
    pub fn new(rules: &Rules, interval: Interval, values: Values, span: Span, most: usize) -> Self {
        Self {
            interval,
            span,
            most,
            readings: 0,
            slots: None,
            outliers: Outliers::new(Test::of(rules, &values), most),
            runs: Runs::new(rules.stuck, values.states, most),
            values,
        }
    }

    /// Takes the next reading.
    pub fn push(&mut self, ts: Timestamp, value: f64) {
        self.readings += 1;
        // Records from before the node was first heard of extend the time that is expected of it.
        let gap = self.slots(Some(ts)).is_some_and(|slots| slots.push(ts));
        let outlier = self.outliers.push(ts, value);
        self.runs.push(ts, value, outlier, gap);
    }

    fn slots(&mut self, first: Option<Timestamp>) -> Option<&mut Slots> {
        if self.slots.is_none()
            && let Some(interval) = self.interval.micros()
        {
            let Span { start, end } = self.span;
            self.span.start = first.map_or(start, |first| start.min(first));
            self.slots = Some(Slots::new(interval, self.span.start, end, self.most));
        }
        self.slots.as_mut()
    }

    /// All readings were taken.
    pub fn finish(mut self) -> Findings {
        self.slots(None);
        let (span, slotted) = (self.span, self.slots.map(Slots::finish));
        let coverage = slotted.as_ref().map(|s| Coverage { span, present: s.present, missing: s.missing });
        let Slotted { gaps, .. } = slotted.unwrap_or_default();
        let (test, outliers) = self.outliers.finish();
        Findings {
            readings: self.readings,
            interval: self.interval,
            coverage,
            gaps,
            test,
            outliers,
            stood: self.runs.finish(),
            values: self.values,
        }
    }
}
