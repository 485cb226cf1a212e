//! The steps of a repair, in their order: put wrong bits right, replace a header, cut the WAL, put it aside, salvage what can
//! be read of the database, put everything aside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::aside::{AsideError, FLOOR, Files, Set, io_at, sync};
use super::blocks::{self, Flip, Survey};
use super::examine::MEMORY_FACTOR;
use super::probe::{self, Task};
use super::rewritten::{self, Half};
use super::salvage::{Report, wal_of};
use super::verdict::Verdict;
use super::{Stopped, Watch, wal};
use crate::config;
use crate::store::space::free_bytes;

/// Cuts of one start: each makes the WAL shorter, and behind so many it is not worth more time.
const MAX_CUTS: u32 = 8;
/// A WAL that is cut before this byte has no transaction left.
const WAL_HEADER: u64 = 64;

/// What is wrong with the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// For a person: DuckDB's words, or ours.
    pub text: String,
    /// The byte of the WAL behind which it cannot be used.
    pub at: Option<u64>,
    /// The WAL is `.wal.checkpoint`.
    pub checkpoint_wal: bool,
    /// The files can be opened: what is damaged is in a block of the database.
    pub attached: bool,
}

/// One step of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A repair that was interrupted is brought to its end: the salvaged database goes in the place of the damaged one.
    Finish,
    /// Bits of the database that are not what their block's checksum says are put right.
    PutRight {
        /// Which.
        flips: Vec<Flip>,
    },
    /// Blocks that a checkpoint was writing over when it was cut short get the checksum of what is in them.
    HalfWritten {
        /// Which.
        blocks: Vec<Half>,
    },
    /// One of the two headers that checkpoints write in turn is damaged, and the other takes its place.
    SpareHeader {
        /// Where the damaged one is.
        at: u64,
    },
    /// The WAL ends at byte `at` from now on.
    Cut {
        /// The WAL.
        wal: PathBuf,
        /// Its new length.
        at: u64,
        /// Its length.
        len: u64,
        /// Whole transactions that are cut off.
        commits: u64,
    },
    /// The WAL is put aside.
    WalAside {
        /// Its bytes.
        bytes: u64,
        /// Its transactions.
        commits: u64,
    },
    /// What can be read of the database goes into a new one, and the damaged one is put aside.
    Salvage {
        /// Its bytes.
        bytes: u64,
    },
    /// The database is put aside, and a new one begins.
    AllAside {
        /// Its bytes.
        bytes: u64,
    },
    /// The database has no byte and is removed.
    RemoveEmpty,
}

/// A number of transactions as text.
pub fn transactions(n: u64) -> String {
    if n == 1 { "1 transaction".to_owned() } else { format!("{n} transactions") }
}

impl Step {
    /// What it does, and what it loses.
    pub fn describe(&self) -> String {
        match self {
            Self::Finish => "put the salvaged database in the place of the damaged one".to_owned(),
            Self::PutRight { flips } => {
                let bits =
                    if flips.len() == 1 { "1 wrong bit".to_owned() } else { format!("{} wrong bits", flips.len()) };
                let at: Vec<String> = flips.iter().take(5).map(|f| f.at.to_string()).collect();
                let more = if flips.len() > at.len() { " and others" } else { "" };
                format!(
                    "put {bits} of the database right, which the checksums tell (at byte {}{more}): nothing is lost",
                    at.join(", ")
                )
            }
            Self::HalfWritten { blocks } => {
                let at: Vec<String> = blocks.iter().take(5).map(|block| block.at.to_string()).collect();
                format!(
                    "put the checksum of {} right that a checkpoint had half written when it was cut short (at byte {}): nothing \
                     that counts was changed by it, and nothing is lost",
                    if blocks.len() == 1 { "a block".to_owned() } else { format!("{} blocks", blocks.len()) },
                    at.join(", ")
                )
            }
            Self::SpareHeader { at } => {
                format!("replace the damaged header at byte {at} of the database by the other one: nothing is lost")
            }
            Self::Cut { wal, at, len, commits } => format!(
                "cut {} at byte {at} of {len}: the database loses {} behind it",
                wal.file_name().unwrap_or_default().to_string_lossy(),
                transactions(*commits)
            ),
            Self::WalAside { bytes, commits } => {
                format!("put the WAL aside ({bytes} bytes): the database loses the {} in it", transactions(*commits))
            }
            Self::Salvage { bytes } => format!(
                "copy what can be read of the database ({bytes} bytes) into a new one and put the damaged one aside: the \
                 readings in damaged blocks are lost"
            ),
            Self::AllAside { bytes } => {
                format!("put the database aside ({bytes} bytes): a new one begins, without the readings of the old")
            }
            Self::RemoveEmpty => "remove the database file, which is empty: nothing is lost".to_owned(),
        }
    }
}

/// The repair of one start.
#[derive(Debug)]
pub struct Repair {
    files: Files,
    memory_limit: u64,
    set: Option<Set>,
    cuts: u32,
    /// Wrong bits were put right: once more would be for a medium that does not keep what is written to it.
    put_right: bool,
    /// The same of blocks that were half written.
    completed: bool,
    /// It was tried and came to nothing.
    not_salvaged: bool,
}

impl Repair {
    /// Of the database of `config`.
    pub fn new(config: &config::Store) -> Self {
        Self {
            files: Files::new(&config.path),
            memory_limit: config.memory_limit,
            set: None,
            cuts: 0,
            put_right: false,
            completed: false,
            not_salvaged: false,
        }
    }

    /// Removes the half of a new database that a start has left which was ended in the middle of a salvage.
    pub fn remove_leftovers(&self) {
        let making = self.files.salvage();
        for path in [wal_of(&making), making] {
            // That there is none is the rule, and one that stays is overwritten by the next salvage.
            let _ = fs::remove_file(path);
        }
    }

    /// What is to be done about `damage` next. Reads the WAL once, and the database where its blocks may be damaged.
    ///
    /// # Errors
    /// [`Stopped`] when `watch` asks for it.
    pub fn next(&self, damage: &Damage, watch: &mut dyn Watch) -> Result<Step, Stopped> {
        let len_of = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
        if self.files.salvaged().exists() {
            return Ok(Step::Finish);
        }
        if damage.at.is_none() && !self.put_right {
            let Survey { flips, .. } = blocks::survey(self.files.database(), watch)?.unwrap_or_default();
            if !flips.is_empty() {
                return Ok(Step::PutRight { flips });
            }
        }
        if damage.at.is_none()
            && !damage.attached
            && let Ok(Some(at)) = blocks::spare_header(self.files.database(), &self.files.wal())
        {
            return Ok(Step::SpareHeader { at });
        }
        if damage.at.is_none()
            && !self.completed
            && let Ok(blocks) = rewritten::half_written(self.files.database(), &self.files.wal())
            && !blocks.is_empty()
        {
            return Ok(Step::HalfWritten { blocks });
        }
        let wal = if damage.checkpoint_wal { self.files.checkpoint_wal() } else { self.files.wal() };
        let len = len_of(&wal);
        if let Some(at) = damage.at
            && (WAL_HEADER..len).contains(&at)
            && self.cuts < MAX_CUTS
        {
            // The position is behind the head of the damaged frame; no mark begins there.
            let commits = wal::marks_from(&wal, at).unwrap_or(0).max(1);
            return Ok(Step::Cut { wal, at, len, commits });
        }
        let wals = self.files.wals();
        let bytes = len_of(self.files.database());
        if damage.attached && !self.not_salvaged {
            let need = bytes + wals.iter().map(|w| len_of(w)).sum::<u64>() + FLOOR;
            match free_bytes(self.files.folder()) {
                Ok(free) if free < need => {
                    tracing::error!(free, need, "no space to salvage what can be read of the damaged database");
                }
                _ => return Ok(Step::Salvage { bytes }),
            }
        } else if !damage.attached && !wals.is_empty() {
            let bytes = wals.iter().map(|w| len_of(w)).sum();
            let commits = wals.iter().map(|w| wal::marks_from(w, 0).unwrap_or(0)).sum();
            return Ok(Step::WalAside { bytes, commits });
        }
        Ok(if bytes == 0 { Step::RemoveEmpty } else { Step::AllAside { bytes } })
    }

    /// Keeps the files as they are where `step` would lose something of them, and takes it. Returns what it did, for a
    /// person.
    ///
    /// # Errors
    /// [`AsideError`]; the step is to be tried again.
    pub fn take(&mut self, step: &Step, damage: &Damage, watch: &mut dyn Watch) -> Result<String, AsideError> {
        if *step == Step::RemoveEmpty && self.set.is_none() {
            let database = self.files.database();
            fs::remove_file(database).map_err(io_at(database))?;
            return Ok(step.describe());
        }
        let mut done = step.describe();
        let report = match step {
            Step::Salvage { .. } => match self.salvage(watch)? {
                Ok(report) => Some(report),
                Err(why) => {
                    self.not_salvaged = true;
                    return Ok(format!("nothing was salvaged: {why}"));
                }
            },
            _ => None,
        };
        let set = match (self.set.take(), step) {
            // What is cut off is in no set that began with steps which lose nothing.
            (Some(set), step) if !(set.is_without_copies() && matches!(step, Step::Cut { .. })) => set,
            // Nothing is lost by these, or moved as it is.
            (
                None,
                Step::PutRight { .. }
                | Step::HalfWritten { .. }
                | Step::SpareHeader { .. }
                | Step::Salvage { .. }
                | Step::Finish,
            ) => Set::empty(&self.files)?,
            _ => Set::copy(&self.files, watch)?,
        };
        let set = self.set.insert(set);
        match step {
            Step::PutRight { flips } => {
                // First the note: what is changed can be told after a power cut, too.
                for flip in flips {
                    set.note(&format!("bit {} of byte {} is wrong", flip.bit, flip.at));
                }
                let database = self.files.database();
                blocks::put_right(database, flips).map_err(io_at(database))?;
                self.put_right = true;
            }
            Step::HalfWritten { blocks } => {
                for block in blocks {
                    set.note(&format!("the checksum at byte {} was {}", block.at, block.stored));
                }
                let database = self.files.database();
                rewritten::put_right(database, blocks).map_err(io_at(database))?;
                self.completed = true;
            }
            Step::SpareHeader { at } => {
                let database = self.files.database();
                blocks::replace_header(database, *at).map_err(io_at(database))?;
            }
            Step::Cut { wal, at, .. } => {
                let cut =
                    File::options().write(true).open(wal).and_then(|f| f.set_len(*at).and_then(|()| f.sync_all()));
                cut.map_err(io_at(wal))?;
                self.cuts += 1;
            }
            Step::WalAside { .. } => {
                for wal in self.files.wals() {
                    set.take(&wal)?;
                }
            }
            Step::Salvage { .. } | Step::Finish => {
                for (path, _) in self.files.present() {
                    set.take(&path)?;
                }
                let salvaged = self.files.salvaged();
                fs::rename(&salvaged, self.files.database()).map_err(io_at(&salvaged))?;
                sync(self.files.folder())?;
                if let Some(report) = report {
                    done = format!("put the database aside and a new one in its place: {report}");
                }
            }
            Step::AllAside { .. } | Step::RemoveEmpty => {
                for (path, _) in self.files.present() {
                    set.take(&path)?;
                }
            }
        }
        set.note(&damage.text);
        set.note(&done);
        set.prune();
        Ok(format!("{done}; as it was: {}", set.folder().display()))
    }

    /// Has a child copy what can be read. The inner error says why that was not possible.
    fn salvage(&self, watch: &mut dyn Watch) -> Result<Result<Report, String>, AsideError> {
        let (making, made) = (self.files.salvage(), self.files.salvaged());
        let mut limit = self.memory_limit;
        let mut again = true;
        let outcome = loop {
            let verdict = probe::ask(self.files.database(), limit, Task::Salvage, watch);
            match verdict.map_err(|Stopped| AsideError::Stopped)? {
                Some(Verdict::Salvaged(report)) => break Ok(report),
                Some(Verdict::Memory(_)) if limit < self.memory_limit.saturating_mul(MEMORY_FACTOR) => limit *= 2,
                // It may have been ended from outside, or have aborted by chance.
                Some(Verdict::Broke(_) | Verdict::Outside(_)) if again => again = false,
                Some(
                    Verdict::Corrupt { text, .. }
                    | Verdict::Memory(text)
                    | Verdict::Broke(text)
                    | Verdict::Outside(text)
                    | Verdict::Newer(text),
                ) => break Err(text),
                Some(Verdict::Sound(_)) | None => break Err("no child process can be made".to_owned()),
            }
        };
        match outcome {
            Ok(report) => {
                // Whole and on the disk before its name says so.
                File::open(&making).and_then(|f| f.sync_all()).map_err(io_at(&making))?;
                fs::rename(&making, &made).map_err(io_at(&making))?;
                sync(self.files.folder())?;
                Ok(Ok(report))
            }
            Err(why) => {
                self.remove_leftovers();
                Ok(Err(why))
            }
        }
    }
}
