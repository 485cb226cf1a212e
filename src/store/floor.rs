//! The floor of time where it survives: in the database, and in a small file beside it for when the database does not.

pub mod text;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckdb::Connection;

use crate::reading::Timestamp;
use text::{parse, sensible, show};

/// Name of the file beside the database.
const FILE: &str = "gadwall.floor";
/// The database gets it with a commit, at most this often.
const ROW_EVERY: Duration = Duration::from_secs(60);
/// The file gets it at most this often, and at a stop.
const FILE_EVERY: Duration = Duration::from_secs(600);

/// When the floor was written where.
#[derive(Debug)]
pub struct Floor {
    path: PathBuf,
    /// The latest that either place may hold.
    held: Option<Timestamp>,
    row_at: Option<Instant>,
    file_at: Option<Instant>,
}

impl Floor {
    /// For the database `database`.
    pub fn beside(database: &Path) -> Self {
        Self { path: database.with_file_name(FILE), held: None, row_at: None, file_at: None }
    }

    /// The later of what the two places say. What is damaged or missing is ignored.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn read(&mut self, connection: &Connection) -> duckdb::Result<Option<Timestamp>> {
        let row: Option<i64> =
            connection
                .query_row("SELECT max(try_cast(value AS BIGINT)) FROM g.meta WHERE key = 'floor'", [], |r| r.get(0))?;
        let row = row.map(Timestamp).filter(|floor| sensible(*floor));
        self.held = row.max(std::fs::read_to_string(&self.path).ok().and_then(|text| parse(&text)));
        Ok(self.held)
    }

    /// Whether the next commit has to write it.
    pub fn row_due(&self, now: Instant) -> bool {
        self.row_at.is_none_or(|at| now.saturating_duration_since(at) >= ROW_EVERY)
    }

    /// A commit has written it.
    pub fn row_written(&mut self, floor: Timestamp, now: Instant) {
        self.row_at = Some(now);
        self.held = self.held.max(Some(floor));
    }

    /// Whether `floor` was lowered below what the two places hold: they have to be written, or the next start believes them.
    pub fn is_lowered(&self, floor: Timestamp) -> bool {
        self.held.is_some_and(|held| floor < held)
    }

    /// Writes both places outside of a commit.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn lower(&mut self, floor: Timestamp, connection: &Connection) -> duckdb::Result<()> {
        connection.execute_batch(&format!(
            "BEGIN TRANSACTION; DELETE FROM g.meta WHERE key = 'floor'; \
             INSERT INTO g.meta VALUES ('floor', '{}'); COMMIT",
            floor.micros()
        ))?;
        self.held = None;
        self.row_written(floor, Instant::now());
        self.write_file(floor, Instant::now(), true);
        Ok(())
    }

    /// Writes the file, if it is due or `anyway`. A file that cannot be written is told and tried again when it is due.
    pub fn write_file(&mut self, floor: Timestamp, now: Instant, anyway: bool) {
        if !anyway && self.file_at.is_some_and(|at| now.saturating_duration_since(at) < FILE_EVERY) {
            return;
        }
        self.file_at = Some(now);
        self.held = self.held.max(Some(floor));
        let new = self.path.with_extension("floor.new");
        if let Err(error) = std::fs::write(&new, show(floor)).and_then(|()| std::fs::rename(&new, &self.path)) {
            tracing::warn!(%error, path = %self.path.display(), "the floor of time was not written beside the database");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_760_000_000_123_456);

    #[test]
    fn the_later_of_row_and_file_counts_and_each_is_written_in_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("ATTACH ':memory:' AS g; CREATE TABLE g.meta(key VARCHAR, value VARCHAR)").unwrap();
        let mut floor = Floor::beside(&dir.path().join("g.duckdb"));
        assert_eq!(floor.read(&connection).unwrap(), None);
        let t = Instant::now();
        assert!(floor.row_due(t));
        floor.row_written(NOW, t);
        assert!(!floor.row_due(t + Duration::from_secs(59)) && floor.row_due(t + Duration::from_secs(60)));
        floor.write_file(NOW, t, false);
        assert_eq!(floor.read(&connection).unwrap(), Some(NOW));
        let later = Timestamp(NOW.micros() + 1);
        floor.write_file(later, t + Duration::from_secs(599), false);
        assert_eq!(floor.read(&connection).unwrap(), Some(NOW));
        floor.write_file(later, t + Duration::from_secs(599), true);
        assert_eq!(floor.read(&connection).unwrap(), Some(later));
        connection.execute_batch("INSERT INTO g.meta VALUES ('floor', '1760000001000000')").unwrap();
        assert_eq!(floor.read(&connection).unwrap(), Some(Timestamp(1_760_000_001_000_000)));
        assert!(floor.is_lowered(later) && !floor.is_lowered(Timestamp(1_760_000_001_000_000)));
        floor.lower(NOW, &connection).unwrap();
        assert!(!floor.is_lowered(NOW));
        assert_eq!(floor.read(&connection).unwrap(), Some(NOW), "in both places");
        connection.execute_batch("UPDATE g.meta SET value = 'x'").unwrap();
        std::fs::write(dir.path().join(FILE), "x").unwrap();
        assert_eq!(floor.read(&connection).unwrap(), None);
    }
}
