//! Values that stand still: a sensor that hangs delivers the same one for ever.

use std::time::Duration;

use super::largest::{Largest, Listed};
use crate::reading::Timestamp;

/// A value that does not change for so long may be stuck, where nobody has said otherwise.
const AFTER: Duration = Duration::from_secs(6 * 3_600);

/// Without a rule of a person's: readings that a stuck value has at the least; how many times as long it stands as values of
/// its series usually do; and values that have to be seen to move on sooner, to know what is usual.
const READINGS: u64 = 10;
const TIMES: u64 = 10;
const MOVES: u64 = 10;

/// A value that stood still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stuck {
    /// Its first reading.
    pub from: Timestamp,
    /// Its last reading.
    pub to: Timestamp,
    /// The value.
    pub value: f64,
    /// How many readings.
    pub readings: u64,
}

impl Stuck {
    fn micros(&self) -> i64 {
        self.to.micros() - self.from.micros()
    }
}

/// How long values stood, and the longest of those that are stuck.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stood {
    /// From when on a value is stuck, microseconds.
    pub after: i64,
    /// A person has said so.
    pub configured: bool,
    /// The values that are stuck.
    pub found: Listed<Stuck>,
    /// How many readings they have.
    pub readings: u64,
    /// Of these, readings whose value does not stand out.
    pub inconspicuous: u64,
    /// The value has not changed at all; from two readings on.
    pub constant: bool,
}

/// Readings of equal values, one after the other.
#[derive(Debug)]
pub(super) struct Runs {
    after: i64,
    configured: bool,
    /// 0 and 1 alone: without a person's rule they are never stuck.
    states: bool,
    run: Option<Run>,
    readings: u64,
    changes: u64,
    /// Values that changed before they had stood for long.
    moves: u64,
    /// Without a person's rule: those that have still to be compared with what is usual. One for each six hours of the range
    /// at the most.
    open: Vec<Run>,
    found: Largest<Stuck>,
    stuck: u64,
    inconspicuous: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    of: Stuck,
    outlier: bool,
}

impl Runs {
    /// Keeps the `most` that stood longest.
    pub(super) fn new(rule: Option<Duration>, states: bool, most: usize) -> Self {
        Self {
            after: i64::try_from(rule.unwrap_or(AFTER).as_micros()).unwrap_or(i64::MAX),
            configured: rule.is_some(),
            states,
            run: None,
            readings: 0,
            changes: 0,
            moves: 0,
            open: Vec::new(),
            found: Largest::new(most),
            stuck: 0,
            inconspicuous: 0,
        }
    }

    /// Takes the next reading. `outlier`: its value stands out. `gap`: readings are missing before it, so that nobody knows
    /// whether the value has stood meanwhile.
    pub(super) fn push(&mut self, ts: Timestamp, value: f64, outlier: bool, gap: bool) {
        self.readings += 1;
        let changed = self.run.is_some_and(|run| run.of.value != value);
        self.changes += u64::from(changed);
        match &mut self.run {
            Some(run) if !changed && !gap => {
                run.of.to = ts;
                run.of.readings += 1;
            }
            _ => {
                let long = self.close();
                self.moves += u64::from(changed && !long);
                self.run = Some(Run { of: Stuck { from: ts, to: ts, value, readings: 1 }, outlier });
            }
        }
    }

    /// Ends the run; says whether it was long.
    fn close(&mut self) -> bool {
        let Some(run) = self.run.take() else { return false };
        if run.of.readings < 2 || run.of.micros() < self.after {
            return false;
        }
        if self.configured {
            self.count(run);
        } else if run.of.readings >= READINGS && run.of.value != 0.0 && !self.states {
            // Light, rain and power are 0 for hours, and a door is open or closed.
            self.open.push(run);
        }
        true
    }

    #[expect(clippy::cast_precision_loss, reason = "the size only orders them")]
    fn count(&mut self, run: Run) {
        self.stuck += run.of.readings;
        self.inconspicuous += if run.outlier { 0 } else { run.of.readings };
        self.found.push(run.of.micros() as f64, run.of);
    }

    pub(super) fn finish(mut self) -> Stood {
        self.close();
        let open = std::mem::take(&mut self.open);
        let elsewhere = self.readings - self.stuck - open.iter().map(|run| run.of.readings).sum::<u64>();
        for run in open {
            // Elsewhere a value has `elsewhere / moves` readings on the average.
            if self.moves >= MOVES && run.of.readings * self.moves >= TIMES * elsewhere {
                self.count(run);
            }
        }
        Stood {
            after: self.after,
            configured: self.configured,
            found: self.found.finish(),
            readings: self.stuck,
            inconspicuous: self.inconspicuous,
            constant: self.changes == 0 && self.readings > 1,
        }
    }
}
