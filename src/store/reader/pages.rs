//! Readings in order of (ts, series), page by page.
//!
//! `ORDER BY ts LIMIT n` over all that is left would read all that is left for each page. So a walk goes through slices
//! of time whose width follows the data: about one page of rows each. A slice is read without an order and with a row
//! limit, which ends the scan early where the slice turns out too wide, and sorted here.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::pool::Lease;
use super::{QueryError, literal};
use crate::reading::Timestamp;

/// Most rows of one page.
pub const MAX_PAGE: usize = 10_000;

/// 0000-01-01 and 10000-01-01: the times that RFC 3339 can say. A walk stays within.
const MIN_TS: i64 = -62_167_219_200_000_000;
const MAX_TS: i64 = 253_402_300_800_000_000;

/// Width of a walk's first slice, before it knows the data: an hour.
const FIRST_WIDTH: i64 = 3_600_000_000;

/// A slice may have this many rows, however small the page: reading fewer saves nothing.
const LEAST_READ: usize = 512;

/// A slice that took longer than this does not grow, however few rows it had: the rows are there, of other series.
const SLOW: Duration = Duration::from_millis(300);

/// Which series a walk reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every series.
    All,
    /// The series with these ids.
    Series(Vec<i32>),
}

/// One reading as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// When it was taken.
    pub ts: Timestamp,
    /// `series.series`
    pub series: i32,
    /// The value.
    pub value: f64,
    /// Whole seconds from `ts` to its arrival; `None` where the time is not verified.
    pub lag: Option<i32>,
}

/// Some rows of a walk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In order of (ts, series).
    pub rows: Vec<Row>,
}

/// A place between two readings: behind the one with this time and series. Its text is opaque to clients and safe in a
/// URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    ts: Timestamp,
    series: i32,
    width: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.ts.micros(), self.series, self.width)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let mut parts = text.split('_');
        let (Some(ts), Some(series), Some(width), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadCursor);
        };
        let ts = ts.parse().map_err(|_| BadCursor)?;
        let series = series.parse().map_err(|_| BadCursor)?;
        let width = width.parse().map_err(|_| BadCursor)?;
        if !(MIN_TS..MAX_TS).contains(&ts) || !(1..=MAX_TS).contains(&width) {
            return Err(BadCursor);
        }
        Ok(Self { ts: Timestamp(ts), series, width })
    }
}

/// The text is not a cursor that this program has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that an earlier answer has given")]
pub struct BadCursor;

/// A walk over the readings of a range of time; [`super::Reader::page`] takes it further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    selection: Selection,
    /// Everything before is done.
    from: i64,
    /// At `from`, series up to this one are done as well.
    after: Option<i32>,
    end: i64,
    width: i64,
}

impl Walk {
    /// Over `start <= ts < end`, and behind `cursor` where there is one.
    pub fn new(selection: Selection, start: Timestamp, end: Timestamp, cursor: Option<Cursor>) -> Self {
        let start = start.micros().max(MIN_TS);
        let end = end.micros().min(MAX_TS);
        let (from, after, width) = match cursor {
            Some(cursor) if cursor.ts.micros() >= start => (cursor.ts.micros(), Some(cursor.series), cursor.width),
            _ => (start, None, FIRST_WIDTH),
        };
        Self { selection, from, after, end, width }
    }

    /// Nothing is left in its range.
    pub fn is_done(&self) -> bool {
        self.from >= self.end || matches!(&self.selection, Selection::Series(ids) if ids.is_empty())
    }

    /// The place behind `row`, where another walk with the same range can go on.
    pub fn cursor_behind(&self, row: &Row) -> Cursor {
        Cursor { ts: row.ts, series: row.series, width: self.width.clamp(1, MAX_TS) }
    }

    /// Takes it on by up to `limit` rows, or by fewer, at least one step, when `time` is used up.
    pub(super) fn fill(&mut self, lease: &Lease<'_>, limit: usize, time: Duration) -> Result<Page, QueryError> {
        let begun = Instant::now();
        let mut rows: Vec<Row> = Vec::new();
        loop {
            self.step(lease, limit, &mut rows)?;
            if rows.len() >= limit || self.is_done() || begun.elapsed() >= time {
                return Ok(Page { rows });
            }
        }
    }

    /// Reads one slice. Either it is done with it, or the next try is narrower.
    fn step(&mut self, lease: &Lease<'_>, limit: usize, rows: &mut Vec<Row>) -> Result<(), QueryError> {
        let begun = Instant::now();
        let want = limit - rows.len();
        // `self.width` is the width of a whole page; what is left of this one may need less.
        let width = scale(self.width, want, limit).clamp(1, self.end - self.from);
        let to = self.from + width;
        let most = (2 * limit).max(LEAST_READ);
        let mut slice = self.read(lease, to, &format!("LIMIT {}", most + 1))?;
        if slice.len() > most && width > 1 {
            slice.sort_unstable_by_key(|r| (r.ts, r.series));
            // Rows lie about in the order of time, so these are probably the first ones.
            let reached = slice[want].ts.micros() - self.from + 1;
            self.width = scale(reached.clamp(1, width / 2), limit, want);
            return Ok(());
        }
        let crowded = slice.len() > most;
        if crowded {
            // One instant, with more series than fit.
            slice = self.read(lease, to, &format!("ORDER BY series LIMIT {want}"))?;
        }
        slice.sort_unstable_by_key(|r| (r.ts, r.series));
        let found = slice.len();
        slice.truncate(want);
        match slice.last() {
            Some(last) if crowded || found > want => {
                self.from = last.ts.micros();
                self.after = Some(last.series);
            }
            _ => {
                self.from = to;
                self.after = None;
            }
        }
        rows.append(&mut slice);
        let fits = if found == 0 { i64::MAX } else { scale(width, limit, found) };
        let widest = if begun.elapsed() < SLOW { width.max(self.width).saturating_mul(4) } else { width };
        self.width = fits.clamp(1, widest.min(MAX_TS));
        Ok(())
    }

    fn read(&self, lease: &Lease<'_>, to: i64, rest: &str) -> Result<Vec<Row>, QueryError> {
        let from = literal(Timestamp(self.from));
        let to = literal(Timestamp(to));
        let after = self.after.map_or_else(String::new, |after| format!(" AND (ts > {from} OR series > {after})"));
        let series = match &self.selection {
            Selection::All => String::new(),
            Selection::Series(ids) => {
                let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
                format!(" AND series IN ({})", ids.join(","))
            }
        };
        let sql = format!(
            "SELECT ts, series, value, lag FROM g.readings WHERE ts >= {from} AND ts < {to}{after}{series} {rest}"
        );
        lease.run(|connection| {
            connection
                .prepare(&sql)?
                .query_map([], |row| {
                    Ok(Row { ts: Timestamp(row.get(0)?), series: row.get(1)?, value: row.get(2)?, lag: row.get(3)? })
                })?
                .collect()
        })
    }
}

/// `width * part / whole`, at least 1.
fn scale(width: i64, part: usize, whole: usize) -> i64 {
    let scaled = i128::from(width) * part as i128 / (whole as i128).max(1);
    i64::try_from(scaled).unwrap_or(i64::MAX).max(1)
}
