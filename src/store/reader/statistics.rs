//! Statistics of one series.

use duckdb::{Connection, Row};

use super::literal;
use crate::reading::Timestamp;

/// What the values of one series over a range of time are like. `None` where there are too few values to say, and where
/// the number would not be finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Number of values.
    pub count: u64,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Sample standard deviation (n - 1); from two values on.
    pub stddev: Option<f64>,
    /// Median, exact, interpolated between the two middle values.
    pub p50: Option<f64>,
    /// 95th percentile, exact, interpolated.
    pub p95: Option<f64>,
    /// 99th percentile, exact, interpolated.
    pub p99: Option<f64>,
    /// Time of the first value.
    pub first: Option<Timestamp>,
    /// Time of the last value.
    pub last: Option<Timestamp>,
}

pub(super) fn query(
    connection: &Connection,
    series: i32,
    start: Timestamp,
    end: Timestamp,
) -> duckdb::Result<Statistics> {
    // One list of quantiles shares one copy of the values.
    let sql = format!(
        "SELECT n, lo, hi, mean, dev, q[1], q[2], q[3], t0, t1 FROM (
            SELECT count(*) AS n, min(value) AS lo, max(value) AS hi, avg(value) AS mean, stddev_samp(value) AS dev,
                quantile_cont(value, [0.5, 0.95, 0.99]) AS q, min(ts) AS t0, max(ts) AS t1
            FROM g.readings WHERE series = {series} AND ts >= {} AND ts < {})",
        literal(start),
        literal(end)
    );
    connection.prepare(&sql)?.query_row([], |row| {
        Ok(Statistics {
            count: row.get(0)?,
            min: finite(row, 1)?,
            max: finite(row, 2)?,
            mean: finite(row, 3)?,
            stddev: finite(row, 4)?,
            p50: finite(row, 5)?,
            p95: finite(row, 6)?,
            p99: finite(row, 7)?,
            first: row.get::<_, Option<i64>>(8)?.map(Timestamp),
            last: row.get::<_, Option<i64>>(9)?.map(Timestamp),
        })
    })
}

/// Sums and squares of large values overflow to infinity, which JSON cannot say.
fn finite(row: &Row<'_>, column: usize) -> duckdb::Result<Option<f64>> {
    Ok(row.get::<_, Option<f64>>(column)?.filter(|v| v.is_finite()))
}
