//! How often a series has a reading, learnt from the differences between the times of its readings.

use crate::reading::Timestamp;

/// Differences that are needed to learn from, at the least. Of ten random ones (a Poisson process) half lie as close
/// together as is asked for here in one case of thirty.
pub const ENOUGH: usize = 10;

/// Differences that are kept; of more, a random sample of as many.
const MOST: usize = 250_000;

/// Readings closer together than this, in microseconds, are of one moment: one message with several values, or frames of
/// one read of a port, which the gateway stamps a microsecond apart.
const MOMENT: i64 = 1_000;

/// Widest spread of the differences of a regular series: half of them lie within this part of their median.
const REGULAR: f64 = 0.25;

/// A difference of more than this many medians is a pause, and more than one in [`ONE_IN`] makes a series one of bursts.
const PAUSE: i64 = 10;
const ONE_IN: usize = 20;

/// How often a series has a reading, or why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interval {
    /// A person has said so; microseconds.
    Configured(i64),
    /// The median of the differences, microseconds.
    Learnt {
        /// Microseconds.
        micros: i64,
        /// Median absolute deviation of the differences, as a part of their median.
        spread: f64,
    },
    /// A person has said that it has none.
    ConfiguredIrregular,
    /// The differences lie too far apart.
    Irregular {
        /// Their median, microseconds.
        median: i64,
        /// Their median absolute deviation, as a part of their median.
        spread: f64,
    },
    /// Short differences with pauses between.
    Bursts {
        /// Their median, microseconds.
        median: i64,
        /// Part of them that are pauses.
        pauses: f64,
    },
    /// Fewer differences than [`ENOUGH`].
    TooFew {
        /// How many.
        differences: usize,
    },
}

impl Interval {
    /// The interval in microseconds, where there is one.
    pub const fn micros(&self) -> Option<i64> {
        match self {
            Self::Configured(micros) | Self::Learnt { micros, .. } => Some(*micros),
            _ => None,
        }
    }
}

/// The differences between the times of successive readings; 2 MB at the most.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    sample: Vec<i64>,
    seen: u64,
    last: Option<i64>,
}

impl Differences {
    /// Takes the next reading's time, not before the one before.
    pub fn push(&mut self, ts: Timestamp) {
        let Some(last) = self.last else {
            self.last = Some(ts.micros());
            return;
        };
        let difference = ts.micros() - last;
        if difference < MOMENT {
            return;
        }
        self.last = Some(ts.micros());
        self.seen += 1;
        if self.sample.len() < MOST {
            self.sample.push(difference);
            return;
        }
        // Algorithm R (Vitter 1985): every difference has the same chance to be in the sample. The generator's seed is
        // the place, so that the same readings give the same answer.
        let at = usize::try_from(random(self.seen) % self.seen).unwrap_or(usize::MAX);
        if let Some(one) = self.sample.get_mut(at) {
            *one = difference;
        }
    }

    /// The next reading does not follow the last one: there is no difference between them.
    pub fn cut(&mut self) {
        self.last = None;
    }

    /// Differences so far, not counting what the sample has no room for.
    pub fn len(&self) -> usize {
        self.sample.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sample.is_empty()
    }

    /// What they say. The median and its spread are exact as long as they are not a sample.
    #[expect(clippy::cast_precision_loss, reason = "counts and microseconds are far below 2^53")]
    pub fn learn(mut self) -> Interval {
        let differences = self.sample.len();
        if differences < ENOUGH {
            return Interval::TooFew { differences };
        }
        let median = median(&mut self.sample);
        let pauses = self.sample.iter().filter(|d| **d / PAUSE > median).count();
        for difference in &mut self.sample {
            *difference = (*difference - median).abs();
        }
        let spread = self::median(&mut self.sample) as f64 / median as f64;
        if spread > REGULAR {
            Interval::Irregular { median, spread }
        } else if pauses * ONE_IN > differences {
            Interval::Bursts { median, pauses: pauses as f64 / differences as f64 }
        } else {
            Interval::Learnt { micros: median, spread }
        }
    }
}

/// The median, of an even number the mean of the two in the middle. Changes their order; there must be one.
fn median(numbers: &mut [i64]) -> i64 {
    let middle = numbers.len() / 2;
    let even = numbers.len().is_multiple_of(2);
    let (below, upper, _) = numbers.select_nth_unstable(middle);
    match below.iter().max() {
        Some(lower) if even => i64::midpoint(*lower, *upper),
        _ => *upper,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014), the `n`th number.
fn random(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
