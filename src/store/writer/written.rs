//! The writer's part in counting what is written: it keeps the days in `meta`, and goes by the flush interval that is left to
//! it. The days go with a commit that happens anyway: a row of `meta` costs a few hundred bytes of log, where a file of its
//! own would cost blocks of its own.

use std::sync::Arc;

use duckdb::{Connection, params};

use super::Writer;
use crate::budget::days::{Bytes, KEPT};
use crate::budget::{Row, Written};
use crate::store::open::OpenError;

/// What the keys of the days begin with; the date follows.
const KEY: &str = "written-";

impl Writer {
    /// Counts with `written`, which learns the days that are noted in the file.
    ///
    /// # Errors
    /// [`OpenError::Database`] when they cannot be read.
    pub fn counting(mut self, written: Arc<Written>) -> Result<Self, OpenError> {
        written.restore(read(&self.root.connection).map_err(|e| self.root.explain(e))?);
        self.written = Some(written);
        Ok(self)
    }

    /// The days that the next commit has to note.
    pub(super) fn days_due(&self) -> Vec<Row> {
        self.written.as_ref().map_or_else(Vec::new, |written| written.due(false))
    }

    /// A commit has noted these days.
    pub(super) fn days_noted(&self, rows: &[Row]) {
        if let Some(written) = self.written.as_ref().filter(|_| !rows.is_empty()) {
            written.noted(rows);
        }
    }

    /// Commits what is in the batch no earlier than this after its arrival.
    pub(super) fn keep_pace(&mut self) {
        if let Some(written) = &self.written {
            self.batch.set_age(written.flush_interval());
        }
    }

    /// Notes the days at the end, outside of a commit. What fails is told: only the count of the last hour is lost.
    pub(super) fn close_days(&self) {
        let Some(written) = &self.written else { return };
        written.look();
        let noted = self.root.connection.execute_batch("BEGIN TRANSACTION").and_then(|()| {
            note(&self.root.connection, &written.due(true))?;
            self.root.connection.execute_batch("COMMIT")
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the bytes written today were not noted");
            let _ = self.root.connection.execute_batch("ROLLBACK");
        }
    }
}

/// Writes days, within a transaction, and removes those that are too old.
///
/// # Errors
/// Whatever DuckDB reports.
pub(in crate::store) fn note(connection: &Connection, rows: &[Row]) -> duckdb::Result<()> {
    for Row { date, bytes } in rows {
        let key = format!("{KEY}{date}");
        connection.execute("DELETE FROM g.meta WHERE key = ?", [&key])?;
        let value = format!("{} {}", bytes.process, bytes.device);
        connection.execute("INSERT INTO g.meta VALUES (?, ?)", params![key, value])?;
    }
    if !rows.is_empty() {
        let sql = "DELETE FROM g.meta WHERE starts_with(key, ?) AND key NOT IN \
                   (SELECT key FROM g.meta WHERE starts_with(key, ?) ORDER BY key DESC LIMIT ?)";
        connection.execute(sql, params![KEY, KEY, i64::try_from(KEPT).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// The days that are noted. What is damaged is left out.
fn read(connection: &Connection) -> duckdb::Result<Vec<Row>> {
    let mut select = connection.prepare("SELECT key, value FROM g.meta WHERE starts_with(key, ?)")?;
    let rows = select.query_map([KEY], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
    let mut days = Vec::new();
    for row in rows {
        let (key, value) = row?;
        days.extend(parse(&key, &value));
    }
    Ok(days)
}

fn parse(key: &str, value: &str) -> Option<Row> {
    let date = key.strip_prefix(KEY)?.parse().ok()?;
    let (process, device) = value.split_once(' ')?;
    Some(Row { date, bytes: Bytes { process: process.parse().ok()?, device: device.parse().ok()? } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(day: u32, process: u64, device: u64) -> Row {
        let date = chrono::NaiveDate::from_ymd_opt(2025, 1, 1).unwrap() + chrono::Days::new(u64::from(day));
        Row { date, bytes: Bytes { process, device } }
    }

    #[test]
    fn days_are_noted_replaced_and_few() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "ATTACH ':memory:' AS g; CREATE TABLE g.meta(key VARCHAR, value VARCHAR);
                 INSERT INTO g.meta VALUES ('floor', '1'), ('written-x', '1 2'), ('written-2025-01-40', '1 2'),
                     ('written-2024-01-01', 'a b'), ('written-2024-01-02', '7')",
            )
            .unwrap();
        assert_eq!(read(&connection).unwrap(), [], "what is damaged is left out");
        connection.execute_batch("DELETE FROM g.meta WHERE key <> 'floor'").unwrap();
        note(&connection, &[]).unwrap();
        note(&connection, &[row(0, 5, 6), row(1, 7, u64::MAX)]).unwrap();
        note(&connection, &[row(1, 8, 9)]).unwrap();
        let days = || {
            let mut rows = read(&connection).unwrap();
            rows.sort_by_key(|row| row.date);
            rows
        };
        assert_eq!(days(), [row(0, 5, 6), row(1, 8, 9)]);
        for day in 2..60 {
            note(&connection, &[row(day, 1, 1)]).unwrap();
        }
        let kept = days();
        assert_eq!((kept.len(), kept[0].date, kept[KEPT - 1].date), (KEPT, row(29, 0, 0).date, row(59, 0, 0).date));
        let others: String = connection
            .query_row("SELECT string_agg(key, ',') FROM g.meta WHERE NOT starts_with(key, 'written-')", [], |r| {
                r.get(0)
            })
            .unwrap();
        assert_eq!(others, "floor");
    }
}
