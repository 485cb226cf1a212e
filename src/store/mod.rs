//! The DuckDB file: one writer, few readers, and what is kept in memory of it.

mod admission;
mod bounds;
pub mod catalog;
mod commit;
pub mod compact;
mod floor;
mod forget;
mod last_batch;
pub mod ledger;
mod lock;
mod open;
mod percentile;
mod plan;
mod poison;
pub mod reader;
pub mod recovery;
mod redelivery;
mod retention;
mod rolled;
mod rollup;
mod rows;
pub mod schema;
mod space;
mod suspicion;
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
use recovery::Watch;
use suspicion::Suspicion;

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
/// A damaged file is repaired or put aside, and what is only in the way is waited for: see [`recovery`]. Blocks until the
/// store is open; `watch` can end it. Runs this program as a child process, so it must know `probe-store`.
///
/// # Errors
/// [`OpenError::Lock`], [`OpenError::Newer`], [`OpenError::Folder`] and [`OpenError::Stopped`].
pub fn start(config: &config::Store, metrics: &Arc<Metrics>, watch: &mut dyn Watch) -> Result<Store, OpenError> {
    let lock = lock_folder(config)?;
    compact::remove_leftovers(&config.path);
    let loaded = recovery::start(config, metrics, watch)?;
    loaded.into_store(config, metrics, lock)
}

/// The same for a file that is known to be sound: no child process, no repair, no waiting.
///
/// # Errors
/// [`OpenError`]; nothing was changed for [`OpenError::Lock`] and [`OpenError::Newer`].
pub fn open(config: &config::Store, metrics: &Arc<Metrics>) -> Result<Store, OpenError> {
    let lock = lock_folder(config)?;
    compact::remove_leftovers(&config.path);
    load(config)?.into_store(config, metrics, lock)
}

fn lock_folder(config: &config::Store) -> Result<Lock, OpenError> {
    let dir = config.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|source| OpenError::Folder { path: dir.to_owned(), source })?;
    Ok(Lock::take(dir)?)
}

/// The attached file, and all that is read of it at start.
struct Loaded {
    root: open::Root,
    catalog: Catalog,
    known: writer::Known,
    readings: i64,
}

fn load(config: &config::Store) -> Result<Loaded, OpenError> {
    let root = open::Root::open(config)?;
    root.migrate()?;
    let explain = |e| root.explain(e);
    let catalog = root.load_catalog().map_err(explain)?;
    let commits = root.load_commits().map_err(explain)?;
    let trim = bounds::Trim::new(root.count("dead_letters").map_err(explain)?, root.count("events").map_err(explain)?);
    let readings = root.count("readings").map_err(explain)?;
    let rolled = rolled::Rolled::read(&root.connection).map_err(explain)?;
    let last_batch = last_batch::LastBatch::beside(&config.path);
    Ok(Loaded { root, catalog, known: writer::Known { commits, trim, rolled, last_batch }, readings })
}

impl Loaded {
    fn into_store(self, config: &config::Store, metrics: &Arc<Metrics>, lock: Lock) -> Result<Store, OpenError> {
        let Self { root, catalog, known, readings } = self;
        metrics.store.readings.set(readings);
        metrics.store.nodes.set(i64::try_from(catalog.node_count()).unwrap_or(i64::MAX));
        metrics.store.series.set(i64::try_from(catalog.series_count()).unwrap_or(i64::MAX));
        let catalog: Arc<RwLock<Catalog>> = Arc::new(RwLock::new(catalog));
        let suspicion = Suspicion::new(&config.path, Arc::clone(metrics));
        let reader = Reader::new(&root.connection, Arc::clone(&catalog), suspicion).map_err(|e| root.explain(e))?;
        // Its thread begins in a moment; nobody who asks before that must think it stuck.
        metrics.store.writer_alive_at.set(crate::clock::boottime());
        let writer = Writer::new(root, reader.clone(), catalog, Arc::clone(metrics), config, known);
        Ok(Store { writer_stop_by: writer.stop_by(), writer, reader, lock })
    }
}
