//! The DuckDB file: one writer, few readers, and what is kept in memory of it.

mod bounds;
pub mod catalog;
mod commit;
mod floor;
mod lock;
mod open;
mod plan;
mod poison;
pub mod reader;
mod redelivery;
mod rows;
pub mod schema;
mod space;
#[cfg(test)]
mod tests;
mod timekeeper;
mod unsynced;
mod writer;

use std::path::Path;
use std::sync::{Arc, RwLock};

pub use lock::{Lock, LockError};
pub use open::OpenError;
pub use reader::Reader;
pub use writer::{StopBy, Writer, WriterError};

use crate::config;
use crate::metrics::Metrics;
use catalog::Catalog;

/// An opened store.
pub struct Store {
    /// Its writing half, to be moved to its thread.
    pub writer: Writer,
    /// The deadline of a stop, for the writer.
    pub writer_stop_by: Arc<StopBy>,
    /// Its reading half; cheap to clone.
    pub reader: Reader,
    /// The lock of its folder: keep it for as long as the process may write.
    pub lock: Lock,
}

/// Takes the lock, opens the database with its limits, migrates it, and reads what is kept in memory.
///
/// Blocks while a WAL is replayed and the readings are scanned once.
///
/// # Errors
/// [`OpenError`]; nothing was changed for [`OpenError::Lock`] and [`OpenError::Newer`].
pub fn open(config: &config::Store, metrics: &Arc<Metrics>) -> Result<Store, OpenError> {
    let dir = config.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|source| OpenError::Folder { path: dir.to_owned(), source })?;
    let lock = Lock::take(dir)?;
    let root = open::Root::open(config)?;
    root.migrate()?;
    let explain = |e| root.explain(e);
    let catalog = root.load_catalog().map_err(explain)?;
    let commits = root.load_commits().map_err(explain)?;
    let trim = bounds::Trim::new(root.count("dead_letters").map_err(explain)?, root.count("events").map_err(explain)?);
    metrics.store.readings.set(root.count("readings").map_err(explain)?);
    metrics.store.nodes.set(i64::try_from(catalog.node_count()).unwrap_or(i64::MAX));
    metrics.store.series.set(i64::try_from(catalog.series_count()).unwrap_or(i64::MAX));
    let catalog: Arc<RwLock<Catalog>> = Arc::new(RwLock::new(catalog));
    let reader = Reader::new(&root.connection, Arc::clone(&catalog)).map_err(explain)?;
    let writer = Writer::new(root, reader.clone(), catalog, Arc::clone(metrics), config, commits, trim);
    Ok(Store { writer_stop_by: writer.stop_by(), writer, reader, lock })
}
