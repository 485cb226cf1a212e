//! DuckDB alone: an Appender and a commit in a loop, with the gateway's limits and its table. Nothing is checked, counted
//! or answered: what the gateway takes beyond it is the price of its promises.

use std::path::Path;
use std::time::{Duration, Instant};

use duckdb::types::{TimeUnit, Value};
use duckdb::{Config, Connection, params};

use crate::{Batch, Contender};

/// The file, attached to a root in memory as the gateway does.
pub struct Bare(Connection);

/// A root in memory with the gateway's limits.
pub fn root(folder: &Path) -> anyhow::Result<Connection> {
    let flags = Config::default()
        .with("memory_limit", "24MB")?
        .with("threads", "1")?
        .with("async_threads", "1")?
        .with("checkpoint_threshold", "4MB")?
        .with("temp_directory", folder.join("bare.tmp").to_string_lossy())?
        .with("max_temp_directory_size", "128MB")?;
    Ok(Connection::open_in_memory_with_flags(flags)?)
}

impl Bare {
    /// Makes the file `path`.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let connection = root(path.parent().unwrap_or(Path::new(".")))?;
        connection.execute_batch(&format!(
            "ATTACH '{}' AS g (BLOCK_SIZE 65536); \
             CREATE TABLE g.readings(series INTEGER, ts TIMESTAMP, value DOUBLE, lag INTEGER)",
            path.display()
        ))?;
        Ok(Self(connection))
    }
}

impl Contender for Bare {
    fn commit(&mut self, batch: &Batch) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        self.0.execute_batch("BEGIN TRANSACTION")?;
        let mut readings = self.0.appender_to_catalog_and_db("readings", "g", "main")?;
        for (series, ts, value) in &batch.rows {
            readings.append_row(params![series, Value::Timestamp(TimeUnit::Microsecond, *ts), value, 0])?;
        }
        readings.flush()?;
        drop(readings);
        self.0.execute_batch("COMMIT")?;
        Ok(asked.elapsed())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        self.0.execute_batch("CHECKPOINT g; DETACH g")?;
        Ok(())
    }
}
