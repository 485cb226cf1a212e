//! The start after damage: the file is tried in a child process before this one opens it, and what is damaged is repaired
//! or put aside, so that the gateway starts and takes new readings whatever became of its files.
//!
//! **Not damage** is a lock, a missing permission, no space, too little memory, or a signal from outside: it is tried again
//! for ever, with growing pauses, and nothing is touched. **Damage** is what DuckDB names as corruption, commits behind a
//! frame of the WAL whose length is wrong, or the same abort twice. Each of these steps is followed by another try: put
//! wrong bits right where the checksums tell which, replace a header that a checkpoint left half written, cut the WAL at the damage, put the WAL aside, salvage what can be read
//! of the database, put the database aside and begin a new one. What is cut or put aside is kept for a person.
//!
//! The child opens the file read-only: a replay happens in memory then, and the files stay as they are whatever becomes
//! of the child. It runs when there is a WAL, when the last start did not come to its end, when damage was met since
//! ([`super::suspicion`]), and after an error.

mod aside;
mod blocks;
mod examine;
pub mod probe;
mod repair;
mod rewritten;
mod salvage;
mod verdict;
mod wal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use aside::{AsideError, FOLDER, Files, sets};
pub use examine::{Examiner, Finding};
pub use repair::{Damage, Repair, Step, transactions};
pub use verdict::{Summary, Verdict, gist, is_damage};
pub use wal::{Scan, scan};

use super::suspicion::{Note, Suspected};
use super::{Loaded, OpenError, load};
use crate::config;
use crate::metrics::Metrics;

/// Between two attempts while something else than the file is in the way: the first and the longest pause.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// More steps than a repair can have: beyond them the medium loses what is written to it, and there are pauses.
const MAX_STEPS: u32 = 12;
/// Beside the database while a start opens it; it is still there when that ended the process.
const MARKER: &str = "gadwall.starting";

/// Whoever waits for the start.
pub trait Watch {
    /// Called now and then while something takes long: `what`, for a person. Waits for `pause`; `false` asks to stop.
    fn go_on(&mut self, what: &str, pause: Duration) -> bool;
}

/// Waits and never stops.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn go_on(&mut self, _: &str, pause: Duration) -> bool {
        std::thread::sleep(pause);
        true
    }
}

/// A stop was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Opens the database and reads what is kept in memory, as [`super::start`] says. The lock is held by the caller.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Stopped`].
pub(super) fn start(config: &config::Store, metrics: &Metrics, watch: &mut dyn Watch) -> Result<Loaded, OpenError> {
    let marker = Marker(config.path.with_file_name(MARKER));
    let note = Note::beside(&config.path);
    let mut suspected = note.read();
    let mut examiner = Examiner::new(config);
    examiner.thorough = suspected != Suspected::Nothing;
    let mut repair = Repair::new(config);
    repair.remove_leftovers();
    let mut waiting = Waiting::default();
    let mut steps = 0;
    // Of this process: the child's successes in between do not count.
    let mut failed: Option<String> = None;
    let mut read_all = false;
    let mut suspect = examiner.thorough || marker.0.exists() || examiner.files.salvaged().exists();
    loop {
        let mut finding = None;
        if suspect || !examiner.files.wals().is_empty() {
            // Only then: the child's own start takes as long as a small database's.
            finding = match examiner.examine(watch).map_err(|Stopped| OpenError::Stopped)? {
                Finding::Sound(_) if matches!(suspected, Suspected::Again(_)) => condemned(&mut suspected),
                Finding::Sound(_) => {
                    read_all = examiner.thorough;
                    None
                }
                Finding::Unknown => None,
                other => Some(other),
            };
        }
        if finding.is_none() {
            marker.set();
            let limited = config::Store { memory_limit: examiner.limit, ..config.clone() };
            let loaded = load(&limited);
            marker.clear();
            suspect = true;
            let error = match loaded {
                Ok(loaded) => {
                    waiting.over();
                    if steps > 0 {
                        note.clear();
                    } else if read_all {
                        tracing::info!("all of the database was read, and nothing of it is damaged");
                        note.found_nothing();
                    }
                    return Ok(behind(loaded, metrics, steps > 0));
                }
                Err(error @ OpenError::Newer { .. }) => return Err(error),
                Err(error) => error,
            };
            tracing::debug!(%error, "the database was not opened");
            finding = match probe::of(&error) {
                // A child tells more, and whether it was chance.
                Verdict::Broke(text) | Verdict::Corrupt { text, .. } if failed.as_ref() != Some(&text) => {
                    tracing::warn!(%text, "opening the database failed; trying once more");
                    failed = Some(text);
                    None
                }
                Verdict::Broke(text) => {
                    Some(Finding::Damaged(Damage { text: format!("twice: {text}"), ..Damage::default() }))
                }
                verdict => examiner.sort(verdict),
            };
        }
        match finding {
            Some(Finding::Newer(text)) => {
                return Err(OpenError::Newer {
                    path: config.path.clone(),
                    found: text,
                    known: format!("schema {}", super::schema::MIGRATIONS.len()),
                });
            }
            Some(Finding::Damaged(damage)) if steps < MAX_STEPS => {
                steps += 1;
                // One damaged block is seldom alone.
                examiner.thorough |= damage.attached;
                let step = repair.next(&damage, watch).map_err(|Stopped| OpenError::Stopped)?;
                // What its parts describe must all be there.
                examiner.thorough |= matches!(step, Step::HalfWritten { .. });
                tracing::error!(path = %config.path.display(), damage = damage.text, "the database is damaged");
                match repair.take(&step, &damage, watch) {
                    Ok(done) => {
                        tracing::warn!("{done}");
                        metrics.store.repaired(done);
                    }
                    Err(AsideError::Stopped) => return Err(OpenError::Stopped),
                    Err(error) => waiting.wait(&error.to_string(), watch)?,
                }
            }
            Some(Finding::Damaged(Damage { text, .. }) | Finding::Outside(text)) => waiting.wait(&text, watch)?,
            Some(Finding::Sound(_) | Finding::Unknown) | None => {}
        }
    }
}

/// Everything can be read, and yet damage was met again and again: what can be read goes into a new database.
fn condemned(suspected: &mut Suspected) -> Option<Finding> {
    match std::mem::replace(suspected, Suspected::Nothing) {
        Suspected::Again(text) => {
            let text = format!("met again, though everything can be read: {text}");
            Some(Finding::Damaged(Damage { text, attached: true, ..Damage::default() }))
        }
        Suspected::Nothing | Suspected::Damage => None,
    }
}

/// Tells that the last batches are not in the database, unless a repair has told it.
fn behind(mut loaded: Loaded, metrics: &Metrics, repaired: bool) -> Loaded {
    let last = loaded.known.commits.0;
    match loaded.known.last_batch.compare(&loaded.root.connection, last) {
        Ok(Some(noted)) if !repaired => {
            let missing = format!(
                "batches {}..{noted} are missing: they had been stored, and the file system has lost the end of the database, \
                 or an older copy was put in its place",
                last + 1
            );
            tracing::error!("{missing}");
            metrics.store.repaired(missing);
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the number of the last batch was not compared"),
    }
    loaded
}

/// The pauses between attempts, and what was said about them.
#[derive(Debug, Default)]
struct Waiting {
    told: Option<String>,
    pause: Duration,
}

impl Waiting {
    fn wait(&mut self, text: &str, watch: &mut dyn Watch) -> Result<(), OpenError> {
        if self.told.as_deref() != Some(text) {
            tracing::error!("the database cannot be opened, and it is not damaged; trying again until it can: {text}");
            self.told = Some(text.to_owned());
        }
        self.pause = (self.pause * 2).clamp(RETRY.0, RETRY.1);
        if watch.go_on(&format!("waiting for the database: {text}"), self.pause) {
            Ok(())
        } else {
            Err(OpenError::Stopped)
        }
    }

    fn over(&self) {
        if self.told.is_some() {
            tracing::info!("the database can be opened again");
        }
    }
}

/// A file that outlives a start which ended the process.
struct Marker(PathBuf);

impl Marker {
    fn set(&self) {
        // Without it a start that aborts is not noticed by the next; that is no reason not to start.
        if let Err(error) = fs::write(&self.0, "a start is under way, or ended its process\n") {
            tracing::debug!(%error, "the marker of the start was not written");
        }
    }

    fn clear(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The folder for damaged files of the database `path`.
pub fn folder_of(path: &Path) -> PathBuf {
    path.with_file_name(FOLDER)
}
