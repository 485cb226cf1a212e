//! What stands in buckets without a value. Pure.

use std::str::FromStr;

use super::cells::Aggregate;
use super::question::Found;
use crate::reading::Timestamp;

/// What stands in a bucket of a group that has no value in it. The count is 0 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// There is no row for it.
    #[default]
    None,
    /// No number.
    Null,
    /// 0 everywhere.
    Zero,
    /// The numbers of the bucket before that has some; none before the first of them.
    Previous,
    /// Numbers on the line between the bucket before and the one behind that have some, by the beginnings of the buckets;
    /// none before the first and behind the last of them.
    Linear,
}

impl Fill {
    /// It looks at other buckets, so all of them have to be at hand.
    pub const fn needs_neighbours(self) -> bool {
        matches!(self, Self::Previous | Self::Linear)
    }
}

/// There is no such way to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one of none, null, previous, zero, linear")]
pub struct UnknownFill;

impl FromStr for Fill {
    type Err = UnknownFill;

    fn from_str(text: &str) -> Result<Self, UnknownFill> {
        match text {
            "none" => Ok(Self::None),
            "null" => Ok(Self::Null),
            "zero" => Ok(Self::Zero),
            "previous" => Ok(Self::Previous),
            "linear" => Ok(Self::Linear),
            _ => Err(UnknownFill),
        }
    }
}

/// Adds a row for each group and bucket that has none in `rows`, which are in order of bucket and group. `begins` are the
/// beginnings of all buckets.
pub fn fill(rows: Vec<Found>, begins: &[Timestamp], groups: usize, aggregates: &[Aggregate], fill: Fill) -> Vec<Found> {
    if fill == Fill::None {
        return rows;
    }
    let empty = if fill == Fill::Zero { 0.0 } else { f64::NAN };
    let mut filled: Vec<Found> = Vec::with_capacity(begins.len() * groups);
    let mut is_empty = Vec::with_capacity(begins.len() * groups);
    let mut rows = rows.into_iter().peekable();
    for bucket in 0..begins.len() {
        for group in 0..groups {
            let found = rows.next_if(|row| (row.bucket, row.group) == (bucket, group));
            is_empty.push(found.is_none());
            filled.push(found.unwrap_or_else(|| {
                let value = |a: &Aggregate| if *a == Aggregate::Count { 0.0 } else { empty };
                Found { bucket, group, values: aggregates.iter().map(value).collect() }
            }));
        }
    }
    if fill.needs_neighbours() {
        for group in 0..groups {
            // Rows of one group are `groups` apart.
            let of_group: Vec<usize> = (0..begins.len()).map(|bucket| bucket * groups + group).collect();
            for gap in of_group.chunk_by(|a, b| is_empty[*a] && is_empty[*b]).filter(|gap| is_empty[gap[0]]) {
                let before = gap[0].checked_sub(groups).map(|at| filled[at].clone());
                let behind = filled.get(gap[gap.len() - 1] + groups).cloned();
                for &at in gap {
                    close(&mut filled[at], (before.as_ref(), behind.as_ref()), begins, aggregates, fill);
                }
            }
        }
    }
    filled
}

fn close(
    row: &mut Found,
    (before, behind): (Option<&Found>, Option<&Found>),
    begins: &[Timestamp],
    aggregates: &[Aggregate],
    fill: Fill,
) {
    let at = |row: &Found| begins[row.bucket].micros();
    for (i, _) in aggregates.iter().enumerate().filter(|(_, a)| **a != Aggregate::Count) {
        row.values[i] = match (fill, before, behind) {
            (Fill::Previous, Some(before), _) => before.values[i],
            (Fill::Linear, Some(before), Some(behind)) => {
                let share = seconds(at(row) - at(before)) / seconds(at(behind) - at(before));
                before.values[i] * (1.0 - share) + behind.values[i] * share
            }
            _ => f64::NAN,
        };
    }
}

#[expect(clippy::cast_precision_loss, reason = "a microsecond in 285 years")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NAN;

    fn found(bucket: usize, group: usize, count: f64, mean: f64) -> Found {
        Found { bucket, group, values: Box::new([count, mean]) }
    }

    /// Group 0 has values in the buckets 1 and 4 of six, group 1 in none.
    fn filled(with: &str) -> Vec<(f64, f64)> {
        let begins: Vec<Timestamp> = [0, 10, 20, 30, 50, 60].map(|t| Timestamp(t * 1_000_000)).to_vec();
        let rows = vec![found(1, 0, 5.0, 2.0), found(4, 0, 7.0, 6.0)];
        let all = fill(rows, &begins, 2, &[Aggregate::Count, Aggregate::Mean], with.parse().unwrap());
        let places: Vec<(usize, usize)> = all.iter().map(|row| (row.bucket, row.group)).collect();
        assert_eq!(places, (0..6).flat_map(|b| [(b, 0), (b, 1)]).collect::<Vec<_>>());
        let silent: Vec<f64> = all.iter().filter(|row| row.group == 1).map(|row| row.values[1]).collect();
        assert!(silent.iter().all(|v| if with == "zero" { *v == 0.0 } else { v.is_nan() }), "{silent:?}");
        all.iter().filter(|row| row.group == 0).map(|row| (row.values[0], row.values[1])).collect()
    }

    #[track_caller]
    fn same(got: &[(f64, f64)], expected: &[(f64, f64)]) {
        let equal = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
        let all = got.iter().zip(expected).all(|(g, e)| equal(g.0, e.0) && equal(g.1, e.1));
        assert!(all && got.len() == expected.len(), "{got:?}, expected {expected:?}");
    }

    #[test]
    fn each_way_to_fill() {
        let (a, b) = ((5.0, 2.0), (7.0, 6.0));
        same(&filled("null"), &[(0.0, NONE), a, (0.0, NONE), (0.0, NONE), b, (0.0, NONE)]);
        same(&filled("zero"), &[(0.0, 0.0), a, (0.0, 0.0), (0.0, 0.0), b, (0.0, 0.0)]);
        same(&filled("previous"), &[(0.0, NONE), a, (0.0, 2.0), (0.0, 2.0), b, (0.0, 6.0)]);
        same(&filled("linear"), &[(0.0, NONE), a, (0.0, 3.0), (0.0, 4.0), b, (0.0, NONE)]);
    }

    #[test]
    fn a_number_that_is_missing_stays_missing() {
        let begins: Vec<Timestamp> = (0..3).map(Timestamp::from_secs).collect();
        let rows = vec![found(0, 0, 1.0, NONE), found(2, 0, 1.0, 4.0)];
        let aggregates = [Aggregate::Count, Aggregate::Mean];
        for with in [Fill::Linear, Fill::Previous] {
            assert!(fill(rows.clone(), &begins, 1, &aggregates, with)[1].values[1].is_nan());
        }
        assert_eq!(fill(rows.clone(), &begins, 1, &aggregates, Fill::None).len(), 2);
        assert_eq!("nulls".parse::<Fill>(), Err(UnknownFill));
    }
}
