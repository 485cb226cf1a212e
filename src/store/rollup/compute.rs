//! Rollups out of readings: each row of `hourly` or `daily` is one statement's answer over the readings of its series and time.

use duckdb::{Connection, params};

use super::super::percentile::Values;
use super::super::rolled::Mark;
use crate::reading::Timestamp;

/// Readings of one series and bucket whose percentiles are computed by DuckDB from all values at once: 8 MB of them. Above, they
/// are narrowed down in several passes that hold next to nothing.
const AT_ONCE: i64 = 1_000_000;
/// Values that the last of these passes sorts.
const SORTED: i64 = 100_000;
/// The percentiles of a rollup.
const PERCENTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// Which rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `hourly`
    Hourly,
    /// `daily`
    Daily,
}

impl Table {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
        }
    }
}

/// A time as an SQL literal, so that DuckDB knows it while it plans and skips the row groups outside of the range.
pub fn literal(ts: Timestamp) -> String {
    format!("make_timestamp(({})::BIGINT)", ts.micros())
}

/// Readings of each series in `from <= ts < to`, by series; of `only` these where it is given.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn sizes(
    connection: &Connection,
    from: Timestamp,
    to: Timestamp,
    only: Option<&[i32]>,
) -> duckdb::Result<Vec<(i32, i64)>> {
    let sql = format!(
        "SELECT series, count(*) FROM g.readings WHERE ts >= {} AND ts < {}{} GROUP BY series ORDER BY series",
        literal(from),
        literal(to),
        only.map_or_else(String::new, among)
    );
    connection.prepare(&sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
}

/// The time of the first reading that is not before `from`.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn first_reading(connection: &Connection, from: Timestamp) -> duckdb::Result<Option<Timestamp>> {
    let sql = format!("SELECT epoch_us(min(ts)) FROM g.readings WHERE ts >= {}", literal(from));
    connection.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0)).map(|ts| ts.map(Timestamp))
}

/// Removes the rows of `from <= bucket < to`. There are none where all is well; but how far the rollups are may have been lost with
/// a damaged block, and no hour must count twice. Within a transaction.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn clear(connection: &Connection, table: Table, from: Timestamp, to: Timestamp) -> duckdb::Result<usize> {
    let sql = format!("DELETE FROM g.{} WHERE bucket >= {} AND bucket < {}", table.name(), literal(from), literal(to));
    connection.execute(&sql, [])
}

/// Computes the hours of `from <= ts < to`, or the one day that this is; of `only` these series where it is given. The rows
/// must not be there yet. Within a transaction.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn window(
    connection: &Connection,
    table: Table,
    from: Timestamp,
    to: Timestamp,
    only: Option<&[i32]>,
) -> duckdb::Result<usize> {
    let bucket = match table {
        Table::Hourly => "date_trunc('hour', ts)".to_owned(),
        Table::Daily => literal(from),
    };
    // One list of percentiles shares one copy of the values.
    let sql = format!(
        "INSERT INTO g.{} SELECT series, bucket, n, lo, hi, total, squares, head, tail, q[1], q[2], q[3] FROM (
            SELECT series, {bucket} AS bucket, count(*) AS n, min(value) AS lo, max(value) AS hi, sum(value) AS total,
                sum(value * value) AS squares, arg_min(value, ts) AS head, arg_max(value, ts) AS tail,
                quantile_cont(value, [0.5, 0.95, 0.99]) AS q
            FROM g.readings WHERE ts >= {} AND ts < {}{} GROUP BY ALL) ORDER BY bucket, series",
        table.name(),
        literal(from),
        literal(to),
        only.map_or_else(String::new, among)
    );
    connection.execute(&sql, [])
}

/// Computes one series in `from <= ts < to` as the row of `bucket`, however many readings it has.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn single(
    connection: &Connection,
    table: Table,
    (series, bucket): Mark,
    to: Timestamp,
    count: i64,
) -> duckdb::Result<usize> {
    single_within(connection, table, (series, bucket), to, count, (AT_ONCE, SORTED))
}

fn single_within(
    connection: &Connection,
    table: Table,
    (series, bucket): Mark,
    to: Timestamp,
    count: i64,
    (at_once, sorted): (i64, i64),
) -> duckdb::Result<usize> {
    if count <= at_once {
        return window(connection, table, bucket, to, Some(&[series]));
    }
    let rows =
        format!("FROM g.readings WHERE series = {series} AND ts >= {} AND ts < {}", literal(bucket), literal(to));
    let values = Values { connection, rows, sorted };
    let mut percentiles = [0.0; PERCENTILES.len()];
    for (place, p) in percentiles.iter_mut().zip(PERCENTILES) {
        *place = values.percentile(p)?;
    }
    let sql = format!(
        "INSERT INTO g.{} SELECT {series}, {}, count(*), min(value), max(value), sum(value), sum(value * value),
            arg_min(value, ts), arg_max(value, ts), ?, ?, ? {}",
        table.name(),
        literal(bucket),
        values.rows
    );
    connection.execute(&sql, params![percentiles[0], percentiles[1], percentiles[2]])
}

fn among(series: &[i32]) -> String {
    let ids: Vec<String> = series.iter().map(i32::to_string).collect();
    format!(" AND series IN ({})", ids.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::reader::Limits;
    use crate::store::reader::fixture::{Fixture, row};
    use crate::zone::HOUR;

    type Rollup = (i64, f64, f64, f64, f64, f64, f64, f64, f64, f64);

    fn only(f: &Fixture) -> Rollup {
        f.root
            .query_row("SELECT * EXCLUDE (series, bucket) FROM g.hourly", [], |r| {
                Ok((
                    r.get(0)?,
                    r.get(1)?,
                    r.get(2)?,
                    r.get(3)?,
                    r.get(4)?,
                    r.get(5)?,
                    r.get(6)?,
                    r.get(7)?,
                    r.get(8)?,
                    r.get(9)?,
                ))
            })
            .unwrap()
    }

    #[test]
    fn an_hour_of_values() {
        let f = Fixture::new(Limits::default());
        f.insert(&[
            row(3, 1, 4.0),
            row(1, 1, 1.0),
            row(2, 1, 3.0),
            row(HOUR - 1, 1, 2.0),
            row(0, 1, 10.0),
            row(5, 2, 7.0),
        ]);
        assert_eq!(window(&f.root, Table::Hourly, Timestamp(0), Timestamp(HOUR), Some(&[1])).unwrap(), 1);
        // Sorted 1 2 3 4 10: rank 3.8 and 3.96 lie between 4 and 10.
        let (n, lo, hi, sum, squares, first, last, p50, p95, p99) = only(&f);
        assert_eq!((n, lo, hi, sum, squares, first, last, p50), (5, 1.0, 10.0, 20.0, 130.0, 10.0, 2.0, 3.0));
        assert!((p95 - 8.8).abs() < 1e-12 && (p99 - 9.76).abs() < 1e-12);
        assert_eq!(sizes(&f.root, Timestamp(0), Timestamp(HOUR), None).unwrap(), [(1, 5), (2, 1)]);
        assert_eq!(first_reading(&f.root, Timestamp(6)).unwrap(), Some(Timestamp(HOUR - 1)));
        assert_eq!(first_reading(&f.root, Timestamp(HOUR)).unwrap(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn percentiles_of_many_values_are_those_of_all_at_once(
            values in prop::collection::vec(
                prop_oneof![(-50_i32..50).prop_map(f64::from), -1e308..1e308_f64, Just(f64::MAX), Just(-f64::MAX), -1.0..1.0_f64],
                2..300,
            ),
            sorted in 1_i64..20,
        ) {
            let f = Fixture::new(Limits::default());
            let rows: Vec<_> = (0..).zip(&values).map(|(ts, value)| row(ts, 1, *value)).collect();
            f.insert(&rows);
            window(&f.root, Table::Hourly, Timestamp(0), Timestamp(HOUR), None).unwrap();
            let once = only(&f);
            f.root.execute_batch("DELETE FROM g.hourly").unwrap();
            let count = i64::try_from(values.len()).unwrap();
            single_within(&f.root, Table::Hourly, (1, Timestamp(0)), Timestamp(HOUR), count, (1, sorted)).unwrap();
            let passes = only(&f);
            prop_assert_eq!((once.0, once.1, once.2, once.5, once.6), (passes.0, passes.1, passes.2, passes.5, passes.6));
            for (a, b) in [(once.7, passes.7), (once.8, passes.8), (once.9, passes.9)] {
                prop_assert!(a == b || (a - b).abs() <= a.abs().max(b.abs()) * 1e-12, "{} {}", a, b);
            }
        }
    }
}
