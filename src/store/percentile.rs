//! Exact percentiles of more values than memory has room for: several passes over them, each of which looks closer at the
//! part of their range in which the wanted one lies. They hold next to nothing.

use duckdb::{Connection, params};

/// Parts that a range of values is cut into by each pass.
const PARTS: i64 = 1_000;

/// Values of the column `value`.
pub struct Values<'a> {
    /// Where the rows are read.
    pub connection: &'a Connection,
    /// `FROM` and `WHERE`, to be gone on with `AND`.
    pub rows: String,
    /// So many values the last pass sorts.
    pub sorted: i64,
}

impl Values<'_> {
    /// As `quantile_cont` defines it: interpolated between the values around rank p (n - 1). There must be values.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a rank within the rows of a file is far below 2^53"
    )]
    pub fn percentile(&self, p: f64) -> duckdb::Result<f64> {
        let sql = format!("SELECT count(*), min(value), max(value) {}", self.rows);
        let (n, lo, hi): (i64, f64, f64) =
            self.connection.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        let rank = p * (n - 1) as f64;
        let below = rank.floor() as i64;
        let (low, high) = self.neighbours(below, n, lo, hi)?;
        let part = rank - below as f64;
        // Not low + (high - low) * part, which overflows between huge values.
        Ok(if part == 0.0 { low } else { low * (1.0 - part) + high * part })
    }

    /// The values of rank `rank` and of the one behind it, of `n` values from `lo` to `hi`.
    fn neighbours(&self, mut rank: i64, mut n: i64, mut lo: f64, mut hi: f64) -> duckdb::Result<(f64, f64)> {
        // Of the range before it was narrowed: what follows the last value of the narrow one.
        let mut behind = hi;
        while n > self.sorted && lo < hi {
            // Halves where a range over all of DOUBLE would not be finite; elsewhere they may be lost to rounding.
            let scale = if (hi - lo).is_finite() { 1.0 } else { 0.5 };
            let (low, width) = (lo * scale, hi * scale - lo * scale);
            let sql = format!(
                "SELECT least(floor((value * ?::DOUBLE - ?::DOUBLE) / ?::DOUBLE * {PARTS})::BIGINT, {PARTS} - 1) AS part,
                    count(*), min(value), max(value)
                 {} AND value BETWEEN ?::DOUBLE AND ?::DOUBLE GROUP BY part ORDER BY part",
                self.rows
            );
            let mut statement = self.connection.prepare(&sql)?;
            let parts: Vec<(i64, f64, f64)> = statement
                .query_map(params![scale, low, width, lo, hi], |r| Ok((r.get(1)?, r.get(2)?, r.get(3)?)))?
                .collect::<duckdb::Result<_>>()?;
            let mut next = parts.iter().peekable();
            while let Some((count, least, greatest)) = next.next() {
                if rank < *count {
                    if let Some((_, following, _)) = next.peek() {
                        behind = *following;
                    }
                    (n, lo, hi) = (*count, *least, *greatest);
                    break;
                }
                rank -= count;
            }
        }
        if lo >= hi {
            return Ok((lo, if rank + 1 < n { lo } else { behind }));
        }
        let sql = format!(
            "SELECT value {} AND value BETWEEN ?::DOUBLE AND ?::DOUBLE ORDER BY value LIMIT 2 OFFSET ?",
            self.rows
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found: Vec<f64> =
            statement.query_map(params![lo, hi, rank], |r| r.get(0))?.collect::<duckdb::Result<_>>()?;
        Ok(match found[..] {
            [low, high] => (low, high),
            [low] => (low, behind),
            _ => (hi, behind),
        })
    }
}
