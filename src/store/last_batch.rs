//! The number of the last batch, kept outside of the database as well. A file system that loses the end of the WAL leaves a
//! good, shorter WAL behind: only a number from elsewhere tells that batches are missing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckdb::Connection;

/// Name of the file beside the database.
const FILE: &str = "gadwall.batch";
/// The file gets the number at most this often, and at a stop: 4 KB to the disk each time, over the same bytes.
const EVERY: Duration = Duration::from_secs(60);
/// Key of `meta` for what tells this database from others.
pub const KEY: &str = "database";
/// Length of the file: it is written over in place, and a write within one sector is not torn.
const LEN: usize = 64;

/// The file, and when it was written.
#[derive(Debug)]
pub struct LastBatch {
    path: PathBuf,
    /// Tells this database from others; 0 before it is known.
    database: u64,
    written: Option<Instant>,
    failed: bool,
}

impl LastBatch {
    /// For the database `database`.
    pub fn beside(database: &Path) -> Self {
        Self { path: database.with_file_name(FILE), database: 0, written: None, failed: false }
    }

    /// Compares what the file says with `last`, the number of the last batch in the database that is attached as `g`. Returns
    /// the number that the file knows of, if that is a later one of the same database. The file says `last` from then on.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn compare(&mut self, connection: &Connection, last: i64) -> duckdb::Result<Option<i64>> {
        let known: Option<u64> = connection.query_row(
            &format!("SELECT max(try_cast(value AS UBIGINT)) FROM g.meta WHERE key = '{KEY}'"),
            [],
            |r| r.get(0),
        )?;
        self.database = if let Some(database) = known {
            database
        } else {
            // One from before there was such a file, or a new one.
            let database: u64 = connection.query_row("SELECT greatest(hash(uuid()), 1)", [], |r| r.get(0))?;
            connection.execute(&format!("INSERT INTO g.meta VALUES ('{KEY}', ?)"), [database.to_string()])?;
            database
        };
        let noted = std::fs::read_to_string(&self.path).ok().and_then(|text| parse(&text));
        let later = noted.filter(|(database, batch)| *database == self.database && *batch > last);
        self.write(last, Instant::now(), true);
        Ok(later.map(|(_, batch)| batch))
    }

    /// Batch `last` is durable: writes its number if that is due, or `anyway`. A file that cannot be written is told once,
    /// and tried again when it is due.
    pub fn write(&mut self, last: i64, now: Instant, anyway: bool) {
        if !anyway && self.written.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return;
        }
        self.written = Some(now);
        let file = File::options().create(true).truncate(false).write(true).open(&self.path);
        let written = file.and_then(|file| file.write_all_at(show(self.database, last).as_bytes(), 0));
        match written {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(%error, path = %self.path.display(), "the last batch was not noted beside the database");
            }
            Err(_) => {}
        }
    }
}

/// Both numbers, and their sum to tell that they are whole.
fn show(database: u64, batch: i64) -> String {
    let sum = database.wrapping_add_signed(batch);
    format!("{:<width$}\n", format!("{database:016x} {batch} {sum:016x}"), width = LEN - 1)
}

fn parse(text: &str) -> Option<(u64, i64)> {
    let mut words = text.split_whitespace();
    let database = u64::from_str_radix(words.next()?, 16).ok()?;
    let batch = words.next()?.parse().ok()?;
    (show(database, batch) == text).then_some((database, batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("ATTACH ':memory:' AS g; CREATE TABLE g.meta(key VARCHAR, value VARCHAR)").unwrap();
        connection
    }

    #[test]
    fn a_damaged_file_is_ignored() {
        let text = show(0x1234_5678_9abc_def0, 4_711);
        assert_eq!(text.len(), LEN);
        assert!(text.starts_with("123456789abcdef0 4711 123456789abcf157 "), "{text}");
        assert_eq!(parse(&text), Some((0x1234_5678_9abc_def0, 4_711)));
        assert_eq!(show(u64::MAX, i64::MAX).len(), LEN);
        for bad in ["", "x", &text[..40], &text.replace("4711", "4712"), &text.replace(" 123", " 124")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_database_that_is_behind_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.duckdb");
        let database = database();
        let mut last = LastBatch::beside(&path);
        assert_eq!(last.compare(&database, 0).unwrap(), None, "a new one");
        let t = Instant::now();
        last.write(18, t + EVERY, false);
        // A kill: the database is ahead of the file.
        assert_eq!(LastBatch::beside(&path).compare(&database, 25).unwrap(), None);
        last.write(30, t + EVERY, true);
        assert_eq!(LastBatch::beside(&path).compare(&database, 25).unwrap(), Some(30));
        assert_eq!(LastBatch::beside(&path).compare(&database, 25).unwrap(), None, "once");
    }

    #[test]
    fn another_database_is_not_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.duckdb");
        let (old, new) = (database(), database());
        let mut last = LastBatch::beside(&path);
        last.compare(&old, 0).unwrap();
        last.write(500, Instant::now(), true);
        assert_eq!(LastBatch::beside(&path).compare(&new, 3).unwrap(), None);
        // The file follows the database that is there.
        last.write(600, Instant::now(), true);
        assert_eq!(LastBatch::beside(&path).compare(&new, 4).unwrap(), None);
    }

    #[test]
    fn it_is_written_once_a_minute_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.duckdb");
        let database = database();
        let mut last = LastBatch::beside(&path);
        last.compare(&database, 1).unwrap();
        let noted = || parse(&std::fs::read_to_string(dir.path().join(FILE)).unwrap()).unwrap().1;
        let t = Instant::now();
        last.write(2, t + Duration::from_secs(59), false);
        assert_eq!(noted(), 1);
        last.write(1_000_000, t + Duration::from_secs(61), false);
        assert_eq!(noted(), 1_000_000);
        last.write(3, t, true);
        assert_eq!(noted(), 3);
    }
}
