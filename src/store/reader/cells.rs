//! The numbers of one cell, a bucket of a group: how those of its parts are put together, and which of them are sound.
//! Pure.

use std::str::FromStr;

/// Largest relative error of a standard deviation that is shown.
const SOUND: f64 = 1e-6;

/// One of the numbers that are made of the values of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Number of values.
    Count,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Arithmetic mean.
    Mean,
    /// Sum.
    Sum,
    /// Sample standard deviation (n - 1); from two values on.
    Stddev,
    /// Value of the earliest reading; of several at once, that of the series with the smallest id.
    First,
    /// Value of the latest reading; of several at once, that of the series with the largest id.
    Last,
    /// Median, interpolated between the two middle values.
    P50,
    /// 95th percentile, interpolated.
    P95,
    /// 99th percentile, interpolated.
    P99,
}

impl Aggregate {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Mean,
        Self::Sum,
        Self::Stddev,
        Self::First,
        Self::Last,
        Self::P50,
        Self::P95,
        Self::P99,
    ];

    /// As questions and answers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Stddev => "stddev",
            Self::First => "first",
            Self::Last => "last",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// It cannot be put together of those of several parts.
    pub const fn is_percentile(self) -> bool {
        matches!(self, Self::P50 | Self::P95 | Self::P99)
    }

    /// It depends on which reading was earlier, which rollups of several series do not tell.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }
}

/// No aggregate has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one of count, min, max, mean, sum, stddev, first, last, p50, p95, p99")]
pub struct UnknownAggregate;

impl FromStr for Aggregate {
    type Err = UnknownAggregate;

    fn from_str(text: &str) -> Result<Self, UnknownAggregate> {
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or(UnknownAggregate)
    }
}

/// The value of a reading, with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct End {
    /// Microseconds; of a rollup the beginning of its bucket.
    pub(super) at: i64,
    pub(super) value: f64,
}

/// What is known of the values of a cell, or of a part of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    /// Sum of the squared distances from the mean.
    pub(super) squares: f64,
    /// By how much `squares` may be wrong: what rounding has cost where it is the small difference of large sums.
    pub(super) slack: f64,
    pub(super) first: Option<End>,
    pub(super) last: Option<End>,
    /// p50, p95, p99.
    pub(super) percentiles: Option<[f64; 3]>,
}

impl Cell {
    /// Out of what a rollup keeps: its plain sum of squares loses digits where the values lie far from zero and close
    /// together, and `slack` says how many.
    pub(super) fn of_sums(count: u64, (min, max): (f64, f64), sum: f64, sum_of_squares: f64) -> Self {
        let n = real(count);
        let squares = (sum_of_squares - sum * (sum / n)).max(0.0);
        // Each of n additions rounds by half a unit in the last place; the errors add up like a random walk.
        let slack = 4.0 * f64::EPSILON * n.sqrt() * sum_of_squares;
        Self { count, min, max, sum, squares, slack, first: None, last: None, percentiles: None }
    }

    /// Adds the values of another part of time, or of other series. Percentiles are lost: they cannot be added.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (n, m) = (real(self.count), real(other.count));
        // Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
        let apart = other.sum / m - self.sum / n;
        self.squares += other.squares + apart * apart * (n / (n + m)) * m;
        self.slack += other.slack;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.first = earlier(self.first, other.first);
        self.last = later(self.last, other.last);
        self.percentiles = None;
    }

    /// Whether its standard deviation is right to a millionth.
    pub(super) fn has_sound_deviation(&self) -> bool {
        // An error of x in the squares is one of x / 2 in the root. NaN is not sound.
        self.count < 2 || self.min == self.max || self.slack <= 2.0 * SOUND * self.squares
    }

    /// One of its numbers; NaN where it has none, or none that is finite, or none that is sound.
    pub(super) fn value(&self, aggregate: Aggregate) -> f64 {
        let percentile = |i: usize| self.percentiles.map_or(f64::NAN, |p| p[i]);
        let value = match aggregate {
            Aggregate::Count => real(self.count),
            _ if self.count == 0 => f64::NAN,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Mean if !self.sum.is_finite() => f64::NAN,
            // Rounding must not put it outside of the values.
            Aggregate::Mean => (self.sum / real(self.count)).max(self.min).min(self.max),
            Aggregate::Sum => self.sum,
            Aggregate::Stddev if self.count < 2 || !self.has_sound_deviation() => f64::NAN,
            Aggregate::Stddev if self.min == self.max => 0.0,
            Aggregate::Stddev => (self.squares / (real(self.count) - 1.0)).sqrt(),
            Aggregate::First => self.first.map_or(f64::NAN, |end| end.value),
            Aggregate::Last => self.last.map_or(f64::NAN, |end| end.value),
            Aggregate::P50 => percentile(0),
            Aggregate::P95 => percentile(1),
            Aggregate::P99 => percentile(2),
        };
        if value.is_finite() { value } else { f64::NAN }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 readings")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

fn earlier(a: Option<End>, b: Option<End>) -> Option<End> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
        (one, other) => one.or(other),
    }
}

fn later(a: Option<End>, b: Option<End>) -> Option<End> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at > a.at { b } else { a }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64], at: i64) -> Cell {
        let sum: f64 = values.iter().sum();
        let squares: f64 = values.iter().map(|v| v * v).sum();
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut cell = Cell::of_sums(values.len() as u64, (min, max), sum, squares);
        cell.first = values.first().map(|&value| End { at, value });
        cell.last = values.last().map(|&value| End { at: at + 1, value });
        cell
    }

    fn deviation(values: &[f64]) -> f64 {
        let n = real(values.len() as u64);
        let mean = values.iter().sum::<f64>() / n;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    }

    #[test]
    fn names_read_back() {
        for aggregate in Aggregate::ALL {
            assert_eq!(aggregate.name().parse(), Ok(aggregate));
        }
        assert_eq!("median".parse::<Aggregate>(), Err(UnknownAggregate));
        let named: Vec<&str> = Aggregate::ALL.iter().map(|a| a.name()).collect();
        assert_eq!(UnknownAggregate.to_string(), format!("one of {}", named.join(", ")));
    }

    #[test]
    fn a_deviation_that_rounding_has_spoilt_is_not_shown() {
        // A meter reading of 50 million with steps of one: squares of 2.5e15 differ by less than their last digit.
        let meter: Vec<f64> = (0..120).map(|i| 50_000_000.0 + f64::from(i % 3)).collect();
        let cell = of(&meter, 0);
        assert!(!cell.has_sound_deviation());
        assert!(cell.value(Aggregate::Stddev).is_nan());
        assert_eq!(cell.value(Aggregate::Mean), 50_000_001.0);
        // A pressure that moves by 0.3 within the hour is far from that.
        let pressure: Vec<f64> = (0..120).map(|i| 1013.0 + f64::from(i % 4) / 10.0).collect();
        let cell = of(&pressure, 0);
        assert!((cell.value(Aggregate::Stddev) / deviation(&pressure) - 1.0).abs() < SOUND);
        // What never moves has no deviation, however large it is.
        let still = of(&[1e15 / 3.0; 50], 0);
        assert_eq!(still.value(Aggregate::Stddev), 0.0);
        assert_eq!(still.value(Aggregate::Mean), 1e15 / 3.0);
    }

    #[test]
    fn what_is_not_finite_is_no_number() {
        let huge = of(&[f64::MAX, -f64::MAX, f64::MAX], 0);
        assert_eq!((huge.value(Aggregate::Sum), huge.value(Aggregate::Mean)), (f64::MAX, f64::MAX / 3.0));
        assert!(huge.value(Aggregate::Stddev).is_nan());
        let mut sum = of(&[f64::MAX], 0);
        sum.merge(&of(&[f64::MAX], 1));
        assert!(sum.value(Aggregate::Sum).is_nan() && sum.value(Aggregate::Mean).is_nan());
        assert_eq!((sum.value(Aggregate::Max), sum.value(Aggregate::Count)), (f64::MAX, 2.0));
    }

    #[test]
    fn percentiles_are_not_added() {
        let mut one = Cell { percentiles: Some([1.0, 2.0, 3.0]), ..of(&[1.0], 0) };
        assert_eq!(one.value(Aggregate::P95), 2.0);
        one.merge(&of(&[], 5));
        assert_eq!(one.value(Aggregate::P95), 2.0);
        one.merge(&one.clone());
        assert!(one.value(Aggregate::P95).is_nan());
    }

    proptest! {
        #[test]
        fn parts_in_any_order_make_the_whole(
            values in prop::collection::vec(-1e3..1e3_f64, 1..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            backwards in any::<bool>(),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(values.len())).collect();
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            let mut parts: Vec<Cell> =
                cuts.windows(2).map(|w| of(&values[w[0]..w[1]], 10 * i64::try_from(w[0]).unwrap())).collect();
            if backwards {
                parts.reverse();
            }
            let mut whole = parts[0];
            for part in &parts[1..] {
                whole.merge(part);
            }
            let direct = of(&values, 0);
            prop_assert_eq!((whole.count, whole.min, whole.max), (direct.count, direct.min, direct.max));
            prop_assert!((whole.sum - direct.sum).abs() <= 1e-9);
            prop_assert_eq!(whole.first.map(|e| e.value), values.first().copied());
            prop_assert_eq!(whole.last.map(|e| e.value), values.last().copied());
            if values.len() > 1 && whole.has_sound_deviation() {
                let (shown, true_one) = (whole.value(Aggregate::Stddev), deviation(&values));
                prop_assert!((shown - true_one).abs() <= SOUND * true_one.max(1e-300), "{} {}", shown, true_one);
            }
        }
    }
}
