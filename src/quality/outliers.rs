//! Which values stand out.
//!
//! Outside of limits that a person has set; without limits, by the modified z-score of Iglewicz and Hoaglin ("How to
//! Detect and Handle Outliers", ASQC Basic References in Quality Control 16, 1993): `0.6745 * (x - median) / MAD`, and above
//! 3.5 it stands out. Where more than half of the values are equal the MAD is 0; then the mean absolute deviation from the
//! median takes its place, with the factor that makes it a standard deviation under a normal distribution.

use super::largest::{Largest, Listed};
use super::rules::Rules;
use crate::reading::Timestamp;

/// Values that are needed for a score, at the least: of fewer, the median absolute deviation says little.
const ENOUGH: u64 = 10;

/// A score above this stands out.
const THRESHOLD: f64 = 3.5;

/// The 75th percentile of the standard normal distribution: MAD / 0.6745 estimates its standard deviation.
const NORMAL_MAD: f64 = 0.6745;

/// The square root of pi/2: the mean absolute deviation times this estimates the standard deviation.
const NORMAL_MEAN: f64 = 1.253_314;

/// What the values of a series over a range are like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Values {
    /// How many.
    pub count: u64,
    /// Their median.
    pub median: Option<f64>,
    /// Median of the absolute deviations from the median.
    pub mad: Option<f64>,
    /// Mean of the absolute deviations from the median.
    pub mean_deviation: Option<f64>,
    /// All of them are 0 or 1.
    pub states: bool,
    /// Median of the whole seconds from a reading's time to its arrival.
    pub delay_s: Option<f64>,
    /// Readings whose time is not verified: this machine's clock was in doubt.
    pub unverified: u64,
    /// Readings whose time is after their arrival: the node's clock is ahead.
    pub ahead: u64,
}

/// Why values are not tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untested {
    /// Fewer than ten.
    TooFew,
    /// They are states, not measurements: 0 and 1 alone.
    States,
    /// All are equal.
    Constant,
    /// Their spread is beyond what can be computed.
    TooLarge,
}

/// How values are tested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    /// Outside of these they stand out.
    Limits {
        /// Smallest that does not.
        min: Option<f64>,
        /// Largest that does not.
        max: Option<f64>,
    },
    /// By their score.
    Score {
        /// Where the score is 0.
        median: f64,
        /// How far from there the score grows by one.
        deviation: f64,
        /// The MAD is 0, and the mean absolute deviation is used.
        by_mean: bool,
    },
    /// Not at all.
    None(Untested),
}

impl Test {
    /// The test for a series with these rules and values.
    pub fn of(rules: &Rules, values: &Values) -> Self {
        if rules.has_limits() {
            return Self::Limits { min: rules.min, max: rules.max };
        }
        if values.count < ENOUGH {
            return Self::None(Untested::TooFew);
        }
        if values.states {
            return Self::None(Untested::States);
        }
        let (Some(median), Some(mad), Some(mean)) = (values.median, values.mad, values.mean_deviation) else {
            return Self::None(Untested::TooLarge);
        };
        let (deviation, by_mean) = if mad > 0.0 { (mad / NORMAL_MAD, false) } else { (mean * NORMAL_MEAN, true) };
        if deviation == 0.0 {
            Self::None(Untested::Constant)
        } else if median.is_finite() && (THRESHOLD * deviation).is_finite() {
            Self::Score { median, deviation, by_mean }
        } else {
            Self::None(Untested::TooLarge)
        }
    }

    /// The range of values that do not stand out.
    pub fn bounds(&self) -> (Option<f64>, Option<f64>) {
        match self {
            Self::Limits { min, max } => (*min, *max),
            Self::Score { median, deviation, .. } => {
                let (lower, upper) = (median - THRESHOLD * deviation, median + THRESHOLD * deviation);
                (Some(lower).filter(|l| l.is_finite()), Some(upper).filter(|u| u.is_finite()))
            }
            Self::None(_) => (None, None),
        }
    }

    /// The score of a value, where it has one.
    fn score(&self, value: f64) -> Option<f64> {
        match self {
            Self::Score { median, deviation, .. } => Some((value - median) / deviation),
            _ => None,
        }
    }

    /// By how much a value stands out; `None` where it does not.
    fn size(&self, value: f64) -> Option<f64> {
        match self {
            Self::Limits { min, max } => {
                let below = min.map(|min| min - value).filter(|d| *d > 0.0);
                below.or_else(|| max.map(|max| value - max).filter(|d| *d > 0.0))
            }
            Self::Score { .. } => self.score(value).map(f64::abs).filter(|s| *s > THRESHOLD),
            Self::None(_) => None,
        }
    }
}

/// A reading that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Its time.
    pub ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// Its modified z-score; `None` where limits are set.
    pub score: Option<f64>,
}

/// The values that stand out.
#[derive(Debug)]
pub(super) struct Outliers {
    test: Test,
    found: Largest<Outlier>,
}

impl Outliers {
    /// Keeps the `most` that stand out most.
    pub(super) fn new(test: Test, most: usize) -> Self {
        Self { test, found: Largest::new(most) }
    }

    /// Takes the next reading; says whether it stands out.
    pub(super) fn push(&mut self, ts: Timestamp, value: f64) -> bool {
        let Some(size) = self.test.size(value) else { return false };
        let score = self.test.score(value).filter(|s| s.is_finite());
        self.found.push(size, Outlier { ts, value, score });
        true
    }

    /// How they were tested, and those that were found.
    pub(super) fn finish(self) -> (Test, Listed<Outlier>) {
        (self.test, self.found.finish())
    }
}
