//! How far the rollups reach, and which of their buckets are out of date.

use duckdb::Connection;

use super::Work;
use crate::reading::Timestamp;
use crate::store::reader::pieces::Marks;
use crate::zone::{DAY, HOUR};

/// Buckets out of date that are looked at one by one; behind as many, all are.
const MAX_DIRTY: usize = 256;

/// Marks of buckets out of date that are read as they come, before they are counted by bucket.
const MAX_MARKS: usize = 1_024;

/// What `meta` says about the rollups.
pub(in crate::store::reader) fn marks(connection: &Connection) -> duckdb::Result<Marks> {
    let mut marks = Marks::default();
    let mut found = connection.prepare("SELECT key, value FROM g.meta")?;
    for row in found.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))? {
        let (key, value) = row?;
        note(&mut marks, &key, value);
    }
    Ok(marks)
}

fn note(marks: &mut Marks, key: &str, value: Option<String>) {
    let Some(value) = value else { return };
    let time = value.parse().ok().map(Timestamp);
    match key {
        "rolled-hours" => marks.rolled_hours = time,
        "rolled-days" => marks.rolled_days = time,
        "expired-before" => marks.expired_before = time,
        "hourly-before" => marks.hourly_before = time,
        "daily-before" => marks.daily_before = time,
        "timezone" => marks.timezone = Some(value),
        _ => {}
    }
}

/// How far the rollups reach.
#[derive(Default)]
pub(super) struct State {
    pub(super) marks: Marks,
    pub(super) dirty_hours: Vec<Timestamp>,
    pub(super) dirty_days: Vec<Timestamp>,
}

impl Work<'_> {
    /// The marks, and the first of the buckets that are out of date for the series of the question. One statement, since
    /// most of the time of a short one goes into its plan.
    pub(super) fn state(&self) -> duckdb::Result<State> {
        let end = self.edges[self.edges.len() - 1];
        let [hours, days] = [("dirty", HOUR), ("dirty_days", 2 * DAY)].map(|(table, back)| {
            let range = self.range("bucket", Timestamp(self.edges[0].micros() - back), end);
            format!("(SELECT '{table}', NULL, epoch_us(r.bucket) FROM g.{table} r WHERE {range} LIMIT {MAX_MARKS})")
        });
        let sql = format!("SELECT key, value, 0 FROM g.meta UNION ALL {hours} UNION ALL {days}");
        let mut state = State::default();
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let bucket = || row.get(2).map(Timestamp);
            match &*row.get::<_, String>(0)? {
                "dirty" => state.dirty_hours.push(bucket()?),
                "dirty_days" => state.dirty_days.push(bucket()?),
                key => note(&mut state.marks, key, row.get(1)?),
            }
        }
        Ok(state)
    }

    /// Puts the buckets that are out of date in order, without those whose readings are gone. Where they are too many,
    /// `rolled` is taken back to the first that is left out.
    pub(super) fn settle(
        &self,
        table: &str,
        dirty: &mut Vec<Timestamp>,
        rolled: &mut Option<Timestamp>,
        expired: Option<Timestamp>,
    ) -> duckdb::Result<()> {
        if rolled.is_none() {
            dirty.clear();
        }
        let back = if table == "dirty" { HOUR } else { 2 * DAY };
        let start = expired.map_or(self.edges[0], |expired| expired.max(self.edges[0]));
        let start = Timestamp(start.micros() - back);
        if dirty.len() == MAX_MARKS {
            // There may be more of them than were read, many of one bucket.
            let range = self.range("bucket", start, self.edges[self.edges.len() - 1]);
            let most = MAX_DIRTY + 1;
            let sql = format!(
                "SELECT DISTINCT epoch_us(r.bucket) AS b FROM g.{table} r WHERE {range} ORDER BY b LIMIT {most}"
            );
            let mut statement = self.connection.prepare(&sql)?;
            *dirty = statement.query_map([], |row| row.get(0).map(Timestamp))?.collect::<Result<_, _>>()?;
        }
        dirty.retain(|bucket| *bucket >= start);
        dirty.sort_unstable();
        dirty.dedup();
        dirty.truncate(MAX_DIRTY + 1);
        if dirty.len() > MAX_DIRTY {
            *rolled = (*rolled).min(dirty.pop());
        }
        Ok(())
    }
}
