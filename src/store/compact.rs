//! Rewriting the database into a smaller file, and putting it in the old one's place.
//!
//! DuckDB never makes a file smaller: what is deleted only becomes room for what comes later. Compaction copies every table
//! into a new file beside the database, in the order of the rows, so that the range of times of each row group stays
//! narrow. [`Compaction`] does it in steps of one row group, so that commits go on in between; what has come meanwhile is
//! copied at the end, while nothing is written. There every table is compared by its number of rows and the sum of the
//! hashes of its rows, and only a copy that is equal, closed and synchronised takes the place of the old file, by one
//! rename.
//!
//! So there is one whole file under the database's name at every moment. What a crash leaves of a copy is removed by the
//! next start ([`remove_leftovers`]) and by the next compaction.
//!
//! A command asks a running daemon through files in the database's folder, see [`Request`]; where no daemon has the lock
//! it does the same itself, see [`offline`].

mod copying;
mod files;
mod offline;
mod request;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use files::{leftovers, remove_leftovers};
pub use offline::offline;
pub use request::{Answer, Asked, Progress, Request, RequestError, Requests, State};

use super::open::{Access, OpenError, Root};
use super::retention;
use super::space;
use crate::config;
use copying::{Copying, Rest};
use files::Place;

/// Bytes that have to be free above the size of the copy and `min-free`: the copy's write-ahead log with its checkpoint, and
/// what others write meanwhile.
const RESERVE: u64 = 16_000_000;
/// Passes over what has come since the last one, before the rest is left to the pause. Each is shorter than the one before,
/// unless more comes than can be copied.
const PASSES: u32 = 8;
/// Times that everything is copied anew because rows were changed or removed meanwhile, before that is left to the pause.
const RESTARTS: u32 = 2;
/// Rows that may be left to the pause.
const REST: u64 = 10_000;

/// Why the database was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The copy does not fit.
    #[error(
        "not enough free space beside {path}: {needed} bytes are needed ({copy} for the copy and {spare} that stay free), \
         {free} are free"
    )]
    Space {
        /// The database.
        path: PathBuf,
        /// Bytes that have to be free.
        needed: u64,
        /// Of those, for the copy.
        copy: u64,
        /// Of those, what must stay free: `min-free` and a reserve.
        spare: u64,
        /// Bytes that are.
        free: u64,
    },
    /// The name of the database does not stand for a file of its own.
    #[error("{0} is a symbolic link: name the file itself in `[store] path`")]
    Link(PathBuf),
    /// Whoever watches it wants an end.
    #[error("it was given up: {0}")]
    GivenUp(String),
    /// A table of the copy is not that of the database.
    #[error("the copy of the table {table} is not equal: {expected} were expected and {found} found")]
    Differs {
        /// Which.
        table: String,
        /// Rows and sum of hashes of the database.
        expected: String,
        /// The same of the copy.
        found: String,
    },
    /// The database still has a write-ahead log after its checkpoint, so its file alone is not whole.
    #[error("{0} is still there after a checkpoint")]
    Wal(PathBuf),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// DuckDB refused.
    #[error("{0}")]
    Database(#[from] duckdb::Error),
    /// A file cannot be made, synchronised, renamed or given its owner.
    #[error("{what} {path}: {source}")]
    Io {
        /// What failed.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// How far a compaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Rows are copied.
    Copying,
    /// What was copied is read again from the copy and compared.
    Comparing,
    /// Nothing is written to the database: what has come meanwhile is copied and compared.
    Finishing,
    /// The copy is whole and closed.
    Closed,
    /// The copy is synchronised: the file can be replaced.
    Sealed,
    /// The copy has the database's name.
    Replaced,
}

/// Whoever waits for a compaction.
pub trait Watch {
    /// Called between two steps, at least once in a few seconds. The error is the reason to give it up; after
    /// [`Stage::Sealed`] it is not asked any more.
    ///
    /// # Errors
    /// Why it is to be given up.
    fn go_on(&mut self, at: &At) -> Result<(), String>;
}

/// What [`Watch`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// What is being done.
    pub stage: Stage,
    /// Rows that were copied.
    pub done: u64,
    /// Rows that the database had at the beginning, or that were copied, if that is more.
    pub total: u64,
}

impl At {
    /// How much was copied, in thousandths; at least one.
    pub fn permille(&self) -> u64 {
        (self.done.saturating_mul(1_000) / self.total.max(1)).clamp(1, 1_000)
    }
}

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file after.
    pub after: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// From the request to the new file.
    pub took: Duration,
    /// How long nothing was written meanwhile.
    pub paused: Duration,
}

/// What is left to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More of the same.
    More,
    /// What is left has to be done while nothing is written: [`Compaction::finish`].
    Ready,
}

/// A compaction under way. To be ended by [`Compaction::finish`] and [`Compaction::replace`], or by [`Compaction::discard`].
#[derive(Debug)]
pub struct Compaction {
    place: Place,
    copying: Copying,
    started: Instant,
    before: u64,
    passes: u32,
    restarts: u32,
    /// Everything is copied, and compared with the database for the last time before the pause.
    proving: bool,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copying => "copying",
            Self::Comparing => "comparing",
            Self::Finishing | Self::Closed | Self::Sealed | Self::Replaced => "replacing",
        })
    }
}

impl Compaction {
    /// Makes the new file with empty tables.
    ///
    /// # Errors
    /// [`CompactError`]; nothing is left then.
    pub fn begin(root: &Root, config: &config::Store) -> Result<Self, CompactError> {
        let started = Instant::now();
        let place = Place::of(&config.path)?;
        place.discard()?;
        let (blocks, before) = (retention::blocks(&root.connection)?, place.size());
        enough_space(&place, blocks.total.saturating_sub(blocks.free), config.min_free)?;
        match Copying::begin(root, place.copy()) {
            Ok(copying) => Ok(Self { place, copying, started, before, passes: 0, restarts: 0, proving: false }),
            Err(error) => {
                let _ = root.detach_copy();
                let _ = place.discard();
                Err(error.into())
            }
        }
    }

    /// Copies or compares one part. Takes as long as DuckDB needs for one row group. Between two steps rows may be added to
    /// the database; where they are changed or removed much is copied twice, and of large tables none may be once
    /// everything was copied.
    ///
    /// # Errors
    /// [`CompactError`]; call [`Compaction::discard`].
    pub fn step(&mut self, root: &Root) -> Result<Step, CompactError> {
        if !self.proving {
            if self.copying.step(&root.connection)? {
                return Ok(Step::More);
            }
            self.passes += 1;
            match self.copying.rest(&root.connection)? {
                Rest::Astray => return self.begin_anew(root),
                Rest::Rows(rest) if rest > REST && self.passes < PASSES => {
                    self.copying.again();
                    return Ok(Step::More);
                }
                Rest::Rows(_) => self.proving = true,
            }
        }
        match self.copying.prove(&root.connection)? {
            Some(true) => Ok(Step::More),
            Some(false) => self.begin_anew(root),
            None => {
                // What was copied goes to the disk now, and not in the pause.
                root.connection.execute_batch("CHECKPOINT n")?;
                Ok(Step::Ready)
            }
        }
    }

    fn begin_anew(&mut self, root: &Root) -> Result<Step, CompactError> {
        if self.restarts >= RESTARTS {
            // While nothing is written it comes to an end.
            return Ok(Step::Ready);
        }
        tracing::debug!("rows were changed or removed while they were copied: it is begun anew");
        (self.restarts, self.passes, self.proving) = (self.restarts + 1, 0, false);
        root.detach_copy()?;
        self.place.discard()?;
        self.copying = Copying::begin(root, self.place.copy())?;
        Ok(Step::More)
    }

    /// Copies what is left, compares everything, closes the copy and makes it ready to replace the file. The database must not
    /// be written until it is.
    ///
    /// # Errors
    /// [`CompactError`]; call [`Compaction::discard`].
    pub fn finish(&mut self, root: &Root, watch: &mut dyn Watch) -> Result<(), CompactError> {
        let ask = |watch: &mut dyn Watch, at: At| watch.go_on(&at).map_err(CompactError::GivenUp);
        ask(watch, self.at(Stage::Finishing))?;
        self.copying.finish(&root.connection, &mut |at| ask(watch, at))?;
        root.connection.execute_batch("CHECKPOINT n")?;
        root.detach_copy()?;
        ask(watch, self.at(Stage::Closed))?;
        // What the disk was given is opened once more: this is what the next start would find.
        root.attach_copy(self.place.copy(), Access::ReadOnly)?;
        let counted = self.copying.count(&root.connection);
        root.detach_copy()?;
        counted?;
        self.place.seal()?;
        ask(watch, self.at(Stage::Sealed))
    }

    /// Brings what is left of the write-ahead log into the database, lets go of it and puts the copy in its place; no
    /// connection may have a cursor open. Whatever comes of it,
    /// the database has to be attached again.
    ///
    /// # Errors
    /// [`CompactError`]: the old file is in its place; call [`Compaction::discard`].
    pub fn replace(&self, root: &Root, watch: &mut dyn Watch) -> Result<(), CompactError> {
        // A checkpoint beside a query may leave something in the log; there is none now.
        if self.place.has_wal() {
            root.connection.execute_batch("CHECKPOINT g")?;
        }
        root.detach()?;
        self.place.replace()?;
        // It is done: nothing can be given up any more.
        let _ = watch.go_on(&self.at(Stage::Replaced));
        Ok(())
    }

    /// What it has done, with the length of the pause.
    pub fn report(&self, paused: Duration) -> Report {
        Report {
            before: self.before,
            after: self.place.size(),
            rows: self.copying.done(),
            took: self.started.elapsed(),
            paused,
        }
    }

    /// How far it is.
    pub fn at(&self, stage: Stage) -> At {
        let done = self.copying.done();
        At { stage, done, total: self.copying.total().max(done) }
    }

    /// The stage of the next step.
    pub fn stage(&self) -> Stage {
        if self.copying.is_comparing() { Stage::Comparing } else { Stage::Copying }
    }

    /// Gives it up, and removes the copy. What cannot be removed is left to the next start.
    pub fn discard(self, root: &Root) {
        // A step that failed may have left its transaction open; that there is none is no news.
        let _ = root.connection.execute_batch("ROLLBACK");
        if let Err(error) = root.detach_copy() {
            tracing::debug!(%error, "the copy was closed before, or cannot be closed");
        }
        if let Err(error) = self.place.discard() {
            tracing::warn!(%error, "what is left of a compaction is removed at the next start");
        }
    }
}

fn enough_space(place: &Place, copy: u64, min_free: u64) -> Result<(), CompactError> {
    let free = space::free_bytes(place.folder()).map_err(|source| CompactError::Io {
        what: "cannot ask for the free space of",
        path: place.folder().to_owned(),
        source,
    })?;
    // The copy is cut into row groups elsewhere than the database: that is a few percent either way.
    let copy = copy + copy / 16;
    let spare = min_free + RESERVE;
    if free >= copy + spare {
        return Ok(());
    }
    Err(CompactError::Space { path: place.database().to_owned(), needed: copy + spare, copy, spare, free })
}
