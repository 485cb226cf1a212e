//! SQLite as somebody would use it who wants the same: a write-ahead log, a commit that is on the disk when it returns
//! (`synchronous = FULL`), each reading once, and the key that suits the question.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, params};

use crate::{Batch, Contender, Row};

/// In which order the rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// By series, then time: best for questions about one series.
    Series,
    /// By time, then series: best for questions about a stretch of time, and to write.
    Time,
}

/// A database.
pub struct Sqlite(Connection);

impl Sqlite {
    /// Makes the file `path`.
    pub fn create(path: &Path, key: Key) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        let key = if key == Key::Series { "series, ts" } else { "ts, series" };
        // As much memory for pages as the gateway gives DuckDB.
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -24000; \
             CREATE TABLE readings(series INTEGER, ts INTEGER, value REAL, lag INTEGER, PRIMARY KEY({key})) WITHOUT ROWID"
        ))?;
        Ok(Self(connection))
    }

    /// Opens a file for questions.
    pub fn open(path: &Path) -> anyhow::Result<Connection> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch("PRAGMA cache_size = -24000")?;
        Ok(connection)
    }

    /// Nothing has to be durable from now on: for making a database whose making is not measured.
    pub fn hurry(&self) -> anyhow::Result<()> {
        self.0.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")?;
        Ok(())
    }

    fn insert(&mut self, rows: &[Row]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, 0)")?;
            for (series, ts, value) in rows {
                insert.execute(params![series, ts, value])?;
            }
        }
        transaction.commit()
    }
}

impl Contender for Sqlite {
    fn commit(&mut self, batch: &Batch) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        self.insert(&batch.rows)?;
        Ok(asked.elapsed())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        self.0.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        self.0.close().map_err(|(_, e)| e)?;
        Ok(())
    }
}
