//! Compacting a database that no daemon has.

use std::time::Duration;

use super::{CompactError, Compaction, Report, Step, Watch, remove_leftovers};
use crate::config;
use crate::store::open::Root;
use crate::store::schema;

/// Opens the database, compacts it, and closes it. The caller holds the lock. Blocks until it is done; `watch` is asked
/// between two steps and can end it.
///
/// # Errors
/// [`CompactError`]: the database is as it was, but for its write-ahead log, which may have gone into it.
pub fn offline(config: &config::Store, watch: &mut dyn Watch) -> Result<Report, CompactError> {
    remove_leftovers(&config.path);
    let root = Root::open(config)?;
    let version = root.schema_version().map_err(|e| root.explain(e))?;
    if usize::try_from(version).is_ok_and(|v| v > schema::MIGRATIONS.len()) {
        return Err(root.newer(version).into());
    }
    // What was deleted is taken out of the row groups first, because rows get other numbers by it.
    root.connection.execute_batch("CHECKPOINT g")?;
    let mut compaction = Compaction::begin(&root, config)?;
    if let Err(error) = work(&root, &mut compaction, watch) {
        compaction.discard(&root);
        return Err(error);
    }
    let report = compaction.report(Duration::ZERO);
    // The file is in its place. That it can be opened is the last thing to be seen.
    root.attach().map_err(|e| root.explain(e))?;
    root.detach().map_err(|e| root.explain(e))?;
    Ok(report)
}

fn work(root: &Root, compaction: &mut Compaction, watch: &mut dyn Watch) -> Result<(), CompactError> {
    while compaction.step(root)? == Step::More {
        watch.go_on(&compaction.at(compaction.stage())).map_err(CompactError::GivenUp)?;
    }
    root.connection.execute_batch("CHECKPOINT g")?;
    compaction.finish(root, watch)?;
    compaction.replace(root, watch)
}
