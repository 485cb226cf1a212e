//! What of the readings is in the rollups already, as far as a commit has to know it: a reading of an hour that is closed
//! makes that hour dirty, and a reading of a time whose readings were removed is not stored any more.

use std::collections::HashSet;

use duckdb::{Connection, params};

use super::commit::timestamp;
use crate::reading::Timestamp;
use crate::zone::{HOUR, hour_of};

/// A series and the beginning of an hour or a day.
pub type Mark = (i32, Timestamp);

/// How far the rollups are, and what of them has to be computed again.
#[derive(Clone, Debug)]
pub struct Rolled {
    /// Hours that begin before it are in `hourly`, unless they are marked.
    pub hours: Timestamp,
    /// Days that begin before it are in `daily`, unless they are marked.
    pub days: Timestamp,
    /// Readings before it were removed: the beginning of a day. `None` while none were.
    pub expired: Option<Timestamp>,
    /// The marks in `dirty`.
    marks: HashSet<Mark>,
}

impl Default for Rolled {
    fn default() -> Self {
        Self { hours: Timestamp(i64::MIN), days: Timestamp(i64::MIN), expired: None, marks: HashSet::new() }
    }
}

impl Rolled {
    /// Reads it from the file.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn read(connection: &Connection) -> duckdb::Result<Self> {
        let mut dirty = connection.prepare("SELECT DISTINCT series, epoch_us(bucket) FROM g.dirty")?;
        let marks = dirty.query_map([], |r| Ok((r.get(0)?, Timestamp(r.get(1)?))))?.collect::<duckdb::Result<_>>()?;
        let least = Timestamp(i64::MIN);
        Ok(Self {
            hours: meta(connection, "rolled-hours")?.unwrap_or(least),
            days: meta(connection, "rolled-days")?.unwrap_or(least),
            expired: meta(connection, "expired-before")?,
            marks,
        })
    }

    /// Whether a reading of this time is not stored, because what it would belong to was removed. The hour that the boundary
    /// lies in, in zones that are not whole hours from UTC, belongs to it.
    pub fn is_expired(&self, ts: Timestamp) -> bool {
        self.first_whole_hour().is_some_and(|whole| ts < whole)
    }

    /// The first hour that all readings are left of, where some were removed.
    pub fn first_whole_hour(&self) -> Option<Timestamp> {
        let before = self.expired?;
        let hour = hour_of(before);
        Some(if hour == before { hour } else { Timestamp(hour.micros() + HOUR) })
    }

    /// The mark that a change at `ts` of `series` needs and that is not there yet. What was removed is never computed again.
    pub fn mark_for(&self, series: i32, ts: Timestamp) -> Option<Mark> {
        let mark = (series, hour_of(ts));
        (mark.1 < self.hours && !self.is_expired(ts) && !self.marks.contains(&mark)).then_some(mark)
    }

    /// Number of hours that have to be computed again.
    pub fn dirty(&self) -> usize {
        self.marks.len()
    }

    /// The marks.
    pub fn marks(&self) -> &HashSet<Mark> {
        &self.marks
    }

    /// These marks are in the file.
    pub fn marked(&mut self, marks: impl IntoIterator<Item = Mark>) {
        self.marks.extend(marks);
    }

    /// Hours and days from these on are open again, and without marks.
    pub fn reopened(&mut self, hours: Timestamp, days: Timestamp) {
        (self.hours, self.days) = (hours, days);
        self.marks.retain(|(_, hour)| *hour < hours);
    }

    /// These are not any more.
    pub fn computed<'a>(&mut self, marks: impl IntoIterator<Item = &'a Mark>) {
        for mark in marks {
            self.marks.remove(mark);
        }
    }
}

/// Writes marks into `dirty` or `dirty_days`, within a transaction.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn write<'a>(
    connection: &Connection,
    table: &str,
    marks: impl IntoIterator<Item = &'a Mark>,
) -> duckdb::Result<()> {
    let mut marks = marks.into_iter().peekable();
    if marks.peek().is_none() {
        return Ok(());
    }
    let mut appender = connection.appender_to_catalog_and_db(table, "g", "main")?;
    for (series, bucket) in marks {
        appender.append_row(params![series, timestamp(*bucket)])?;
    }
    appender.flush()
}

/// A time that `meta` holds; `None` where it does not, or what it holds is none.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn meta(connection: &Connection, key: &str) -> duckdb::Result<Option<Timestamp>> {
    let sql = "SELECT max(try_cast(value AS BIGINT)) FROM g.meta WHERE key = ?";
    connection.query_row(sql, [key], |r| r.get::<_, Option<i64>>(0)).map(|value| value.map(Timestamp))
}

/// Has `meta` hold `value`, within a transaction.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn set_meta(connection: &Connection, key: &str, value: &str) -> duckdb::Result<()> {
    connection.execute("DELETE FROM g.meta WHERE key = ?", [key])?;
    connection.execute("INSERT INTO g.meta VALUES (?, ?)", [key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::HOUR;

    #[test]
    fn marks_are_for_closed_hours_that_are_kept_and_only_once() {
        let mut rolled = Rolled { hours: Timestamp(100 * HOUR), ..Rolled::default() };
        assert_eq!(rolled.mark_for(1, Timestamp(100 * HOUR)), None, "the open hour");
        let mark = (1, Timestamp(99 * HOUR));
        assert_eq!(rolled.mark_for(1, Timestamp(100 * HOUR - 1)), Some(mark));
        rolled.marked([mark]);
        assert_eq!((rolled.mark_for(1, Timestamp(99 * HOUR)), rolled.dirty()), (None, 1));
        rolled.computed(&[mark]);
        assert_eq!(rolled.mark_for(1, Timestamp(99 * HOUR)), Some(mark));
        rolled.expired = Some(Timestamp(50 * HOUR));
        assert_eq!(rolled.mark_for(1, Timestamp(50 * HOUR - 1)), None, "its readings are gone");
        assert!(rolled.is_expired(Timestamp(50 * HOUR - 1)) && !rolled.is_expired(Timestamp(50 * HOUR)));
        // A day that begins at half past: the whole hour is left alone.
        rolled.expired = Some(Timestamp(50 * HOUR + HOUR / 2));
        assert!(rolled.is_expired(Timestamp(51 * HOUR - 1)) && !rolled.is_expired(Timestamp(51 * HOUR)));
        assert!(!Rolled::default().is_expired(Timestamp(i64::MIN)));
        assert_eq!(Rolled::default().mark_for(1, Timestamp(0)), None, "nothing is closed yet");
    }
}
