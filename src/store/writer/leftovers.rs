//! What DuckDB keeps of buffers that are gone, and how it is made to let go of it.
//!
//! Each use of a buffer adds an entry to a queue of what could be evicted, and the entry keeps some 200 bytes after the buffer
//! has gone. The queues of what commits and hash tables use are not cleared below 32,768 entries (DuckDB 2.0,
//! `src/storage/buffer/buffer_pool.cpp`), and there are several: about 15 MB, beside the memory limit. A limit of nothing
//! cannot be reached and is refused, but while DuckDB tries to, it goes through all queues: entries of what is gone are
//! dropped, and so is every buffer that nobody uses. The limit that it has stays.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckdb::Connection;

use crate::budget::heap;
use crate::budget::memory::anonymous;

/// Anonymous memory beside the database's buffers above which it is worth the blocks that have to be read again. An ordinary
/// gateway hardly gets there.
const ABOVE: u64 = 12_000_000;

/// How often the memory is looked at, and how often it is done at most.
const EVERY: Duration = Duration::from_secs(10);

/// How long it is left alone where it did not help: then the memory is used for something else.
const IN_VAIN: Duration = Duration::from_secs(600);

/// It waits for a checkpoint: rows in the log are in buffers that would have to be written to the temporary file.
const LOG: u64 = 512 * 1024;

/// When it is done next.
#[derive(Debug)]
pub(super) struct Leftovers {
    wal: PathBuf,
    limit: u64,
    above: u64,
    at: Instant,
    wanted: bool,
    // The limit was taken for once, and the one that has to stay is not back yet.
    lowered: bool,
}

impl Leftovers {
    /// Of the database `path` with buffers of up to `limit` bytes.
    pub(super) fn new(path: &Path, limit: u64) -> Self {
        let mut wal = path.to_owned().into_os_string();
        wal.push(".wal");
        Self {
            wal: wal.into(),
            limit,
            above: limit.saturating_add(ABOVE),
            at: Instant::now() + EVERY,
            wanted: false,
            lowered: false,
        }
    }

    /// Clears the queues if there is much memory in use and little in the log. Call it between two commits.
    pub(super) fn look(&mut self, connection: &Connection) {
        let now = Instant::now();
        if self.lowered {
            self.restore(connection);
        } else if !self.wanted {
            if now < self.at {
                return;
            }
            self.at = now + EVERY;
            self.wanted = anonymous().is_some_and(|anon| anon > self.above);
        }
        if self.wanted && std::fs::metadata(&self.wal).map_or(0, |m| m.len()) <= LOG {
            self.wanted = false;
            self.at = now + EVERY;
            self.clear(connection);
            heap::trim();
            if anonymous().is_some_and(|anon| anon > self.above) {
                self.at = now + IN_VAIN;
            }
        }
    }

    /// Has DuckDB go through all queues.
    fn clear(&mut self, connection: &Connection) {
        match connection.execute_batch("SET memory_limit = '0B'") {
            Err(error) if error.to_string().contains("could not free up enough memory") => {}
            Err(error) => {
                tracing::warn!(%error, "the database's queues of old buffers could not be cleared");
            }
            // Nothing at all was in use, as DuckDB counts it. A query that begins in this moment is refused as too large.
            Ok(()) => {
                self.lowered = true;
                self.restore(connection);
            }
        }
    }

    /// Puts the limit back; until it is, each look tries again, as nothing can be stored.
    fn restore(&mut self, connection: &Connection) {
        match connection.execute_batch(&format!("SET memory_limit = '{}B'", self.limit)) {
            Ok(()) => self.lowered = false,
            Err(error) => tracing::warn!(%error, "the database's memory limit could not be put back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_dropped_and_the_limit_and_the_rows_stay() {
        let dir = tempfile::tempdir().unwrap();
        let root = crate::store::open::limited_root_for_test(dir.path());
        root.execute_batch(&format!(
            "ATTACH '{}' AS g (BLOCK_SIZE 65536); CREATE TABLE g.t AS SELECT range AS i, hash(range) AS h FROM range(500000); \
             CHECKPOINT g",
            dir.path().join("g.duckdb").display()
        ))
        .unwrap();
        let number = |sql: &str| root.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let sum = "SELECT (sum(h % 1000000))::BIGINT FROM g.t";
        let used = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory() WHERE tag = 'BASE_TABLE'";
        let limit = "SELECT 1 FROM duckdb_settings() WHERE name = 'memory_limit' AND value = '22.8 MiB'";
        let before = number(sum);
        assert!(number(used) > 1_000_000, "the blocks that were read are kept");
        Leftovers::new(&dir.path().join("g.duckdb"), crate::config::Store::default().memory_limit).clear(&root);
        assert!(number(used) < 200_000, "{} bytes", number(used));
        assert_eq!((number(limit), number(sum)), (1, before));
    }

    #[test]
    fn a_limit_that_was_taken_is_put_back_at_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let root = crate::store::open::limited_root_for_test(dir.path());
        let mut leftovers = Leftovers::new(&dir.path().join("g.duckdb"), 24_000_000);
        let limit =
            || root.query_row("SELECT current_setting('memory_limit')", [], |row| row.get::<_, String>(0)).unwrap();
        let before = limit();
        root.execute_batch("SET memory_limit = '1MB'").unwrap();
        assert_ne!(limit(), before);
        leftovers.lowered = true;
        leftovers.look(&root);
        assert_eq!((limit(), leftovers.lowered), (before, false));
    }

    #[test]
    fn it_waits_for_memory_and_for_a_short_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.duckdb");
        let root = crate::store::open::limited_root_for_test(dir.path());
        let mut leftovers = Leftovers::new(&path, 24_000_000);
        (leftovers.above, leftovers.at) = (u64::MAX, Instant::now());
        leftovers.look(&root);
        assert!(!leftovers.wanted && leftovers.at > Instant::now(), "there is no such memory");
        std::fs::write(dir.path().join("g.duckdb.wal"), vec![0; 600_000]).unwrap();
        (leftovers.above, leftovers.at) = (0, Instant::now());
        leftovers.look(&root);
        assert!(leftovers.wanted, "the log is too long");
        std::fs::write(dir.path().join("g.duckdb.wal"), b"").unwrap();
        leftovers.look(&root);
        assert!(!leftovers.wanted);
        assert!(leftovers.at > Instant::now() + IN_VAIN / 2, "more than nothing is still in use");
        assert!(!leftovers.lowered);
    }
}
