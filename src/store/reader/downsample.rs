//! Fewer points that look the same: for charts of a range with more readings than pixels.
//!
//! `minmax` cuts the time of the readings into stretches of equal length and keeps the smallest and the largest value of
//! each, so no peak is lost. `lttb` is Largest-Triangle-Three-Buckets: S. Steinarsson, "Downsampling Time Series for
//! Visual Representation", master's thesis, University of Iceland (2013), section 4.2. It reads up to [`MOST_POINTS`] points;
//! of more, the smallest and largest of stretches come first, four for each point that is asked for, which looks the same
//! (J. Van Der Donckt, J. Van Der Donckt, M. Rademaker, S. Van Hoecke, "MinMaxLTTB: Leveraging MinMax-Preselection to Scale
//! LTTB in Time Series Visualization", IEEE VIS 2023).
//!
//! Memory does not grow with the range: DuckDB keeps four numbers for each stretch.

use std::str::FromStr;

use duckdb::Connection;

use super::literal;
use crate::reading::Timestamp;

/// Points that are held at most while they are thinned out: 16 bytes each.
pub const MOST_POINTS: usize = 20_000;

/// How many points are preselected for each that is asked for.
const RATIO: usize = 4;

/// Most points that can be asked for.
pub const MAX_POINTS: usize = MOST_POINTS / RATIO;

/// How the points of a chart are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Smallest and largest value of stretches of equal length.
    #[default]
    MinMax,
    /// Largest-Triangle-Three-Buckets.
    Lttb,
}

/// There is no such method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("minmax or lttb")]
pub struct UnknownMethod;

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        match text {
            "minmax" => Ok(Self::MinMax),
            "lttb" => Ok(Self::Lttb),
            _ => Err(UnknownMethod),
        }
    }
}

impl Method {
    /// As questions and answers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Lttb => "lttb",
        }
    }
}

/// A reading of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its time.
    pub ts: Timestamp,
    /// Its value.
    pub value: f64,
}

/// The points of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Number of readings that they stand for.
    pub readings: u64,
    /// In order of time; readings as they are stored.
    pub points: Vec<Point>,
}

/// Up to `points` of the readings of a series over `start <= ts < end`, all of them where they are no more.
pub(super) fn chart(
    connection: &Connection,
    series: i32,
    (start, end): (Timestamp, Timestamp),
    method: Method,
    points: usize,
) -> duckdb::Result<Chart> {
    let points = points.clamp(2, MAX_POINTS);
    let rows =
        format!("FROM g.readings WHERE series = {series} AND ts >= {} AND ts < {}", literal(start), literal(end));
    let sql = format!("SELECT count(*), epoch_us(min(ts)), epoch_us(max(ts)) {rows}");
    let (readings, first, last): (u64, Option<i64>, Option<i64>) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(Chart::default()) };
    let raw = if method == Method::Lttb { MOST_POINTS } else { points };
    let found = if usize::try_from(readings).is_ok_and(|n| n <= raw) {
        all(connection, &rows)?
    } else {
        let wanted = if method == Method::Lttb { points * RATIO } else { points };
        extremes(connection, &rows, (first, last), wanted)?
    };
    let points = if method == Method::Lttb { lttb(&found, points) } else { found };
    Ok(Chart { readings, points })
}

fn all(connection: &Connection, rows: &str) -> duckdb::Result<Vec<Point>> {
    connection
        .prepare(&format!("SELECT epoch_us(ts), value {rows} ORDER BY ts"))?
        .query_map([], |row| Ok(Point { ts: Timestamp(row.get(0)?), value: row.get(1)? }))?
        .collect()
}

/// The smallest and the largest reading of each of `points / 2` stretches from `first` to `last`.
fn extremes(
    connection: &Connection,
    rows: &str,
    (first, last): (i64, i64),
    points: usize,
) -> duckdb::Result<Vec<Point>> {
    let stretches = i64::try_from(points / 2).unwrap_or(i64::MAX).max(1);
    let width = (last - first) / stretches + 1;
    let sql = format!(
        "SELECT (epoch_us(ts) - ({first})) // {width} AS b, epoch_us(arg_min(ts, value)), min(value), \
         epoch_us(arg_max(ts, value)), max(value) {rows} GROUP BY b ORDER BY b"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query([])?;
    let mut chosen = Vec::with_capacity(points);
    while let Some(row) = found.next()? {
        let low = Point { ts: Timestamp(row.get(1)?), value: row.get(2)? };
        let high = Point { ts: Timestamp(row.get(3)?), value: row.get(4)? };
        let (one, other) = if low.ts <= high.ts { (low, high) } else { (high, low) };
        chosen.push(one);
        if other.ts != one.ts {
            chosen.push(other);
        }
    }
    Ok(chosen)
}

/// Largest-Triangle-Three-Buckets: the first, the last, and of each of `wanted - 2` stretches of about as many points the one
/// that makes the largest triangle with the one chosen before and the mean of the next stretch. Stretches are of equal
/// numbers of points, as in the thesis, not of equal time.
fn lttb(points: &[Point], wanted: usize) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= wanted {
        return points.to_vec();
    }
    if wanted <= 2 {
        return vec![*first, *last];
    }
    let stretches = wanted - 2;
    // Where the stretch begins; that behind the last one is the last point.
    let begin = |stretch: usize| 1 + stretch * (points.len() - 2) / stretches;
    // Areas of triangles are compared and not shown, so values may be scaled until nothing overflows.
    let largest = points.iter().map(|p| p.value.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let at = |p: &Point| (seconds(p.ts.micros() - first.ts.micros()), p.value / largest);
    let mut chosen = vec![*first];
    let mut before = at(first);
    for stretch in 0..stretches {
        let next = &points[begin(stretch + 1)..begin(stretch + 2).min(points.len())];
        let next = if next.is_empty() { &points[points.len() - 1..] } else { next };
        let mean = mean(next.iter().map(at));
        let area = |p: &Point| {
            let p = at(p);
            ((before.0 - mean.0) * (p.1 - before.1) - (before.0 - p.0) * (mean.1 - before.1)).abs()
        };
        let mut best = points[begin(stretch)];
        let mut widest = area(&best);
        for point in &points[begin(stretch) + 1..begin(stretch + 1)] {
            let area = area(point);
            if area > widest {
                (best, widest) = (*point, area);
            }
        }
        before = at(&best);
        chosen.push(best);
    }
    chosen.push(*last);
    chosen
}

fn mean(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut n, mut sum) = (0.0, (0.0, 0.0));
    for (x, y) in points {
        n += 1.0;
        sum = (sum.0 + x, sum.1 + y);
    }
    (sum.0 / n, sum.1 / n)
}

#[expect(clippy::cast_precision_loss, reason = "a microsecond in 285 years")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        (0..).zip(values).map(|(i, value)| Point { ts: Timestamp::from_secs(i), value }).collect()
    }

    /// The thesis' algorithm as it is written there, with an area from three points and no scaling.
    fn plain(points: &[Point], wanted: usize) -> Vec<Point> {
        let stretches = wanted - 2;
        let inner = points.len() - 2;
        let mut parts: Vec<Vec<Point>> = vec![vec![points[0]]];
        parts.extend((0..stretches).map(|s| points[1 + s * inner / stretches..=(s + 1) * inner / stretches].to_vec()));
        parts.push(vec![points[points.len() - 1]]);
        let mut chosen = vec![points[0]];
        for s in 1..=stretches {
            let n = f64::from(u32::try_from(parts[s + 1].len()).unwrap());
            let (cx, cy) = (
                parts[s + 1].iter().map(|p| seconds(p.ts.micros())).sum::<f64>() / n,
                parts[s + 1].iter().map(|p| p.value).sum::<f64>() / n,
            );
            let a = chosen[s - 1];
            let (ax, ay) = (seconds(a.ts.micros()), a.value);
            let area = |b: &Point| {
                let (bx, by) = (seconds(b.ts.micros()), b.value);
                (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by)).abs() / 2.0
            };
            let best = parts[s].iter().copied().reduce(|x, y| if area(&y) > area(&x) { y } else { x });
            chosen.push(best.unwrap());
        }
        chosen.push(points[points.len() - 1]);
        chosen
    }

    #[test]
    fn a_peak_and_a_step_are_kept() {
        let mut values = vec![1.0; 1_000];
        values[333] = 50.0;
        values[700..].fill(9.0);
        let points = series(values);
        let chosen = lttb(&points, 20);
        assert_eq!(chosen.len(), 20);
        assert!(chosen.contains(&points[333]));
        assert!(chosen.iter().any(|p| p.value == 9.0) && chosen.iter().any(|p| p.value == 1.0));
        assert_eq!((chosen[0], chosen[19]), (points[0], points[999]));
        assert_eq!(lttb(&points, 2), [points[0], points[999]]);
        assert_eq!(lttb(&points[..7], 7), points[..7]);
        assert_eq!(lttb(&[], 5), []);
    }

    #[test]
    fn huge_values_do_not_hide_each_other() {
        let mut points = series((0..100).map(|i| f64::from(i % 3) * 1e307));
        points[57].value = f64::MAX;
        points[58].value = -f64::MAX;
        let chosen = lttb(&points, 50);
        assert!(chosen.iter().any(|p| p.value.abs() == f64::MAX), "{chosen:?}");
    }

    proptest! {
        #[test]
        fn lttb_is_that_of_the_thesis(
            values in prop::collection::vec(-1e3..1e3_f64, 3..300),
            wanted in 3..60_usize,
        ) {
            let points = series(values);
            let chosen = lttb(&points, wanted);
            prop_assert!(chosen.windows(2).all(|pair| pair[0].ts < pair[1].ts));
            let expected = if points.len() <= wanted { points } else { plain(&points, wanted) };
            prop_assert_eq!(chosen, expected);
        }
    }
}
