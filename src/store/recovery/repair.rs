//! The steps of a repair, in their order: cut the WAL, put it aside, put everything aside.

use std::fs::File;
use std::path::PathBuf;

use super::Watch;
use super::aside::{AsideError, Files, Set};
use super::wal;

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
}

/// One step of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
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
            Self::Cut { wal, at, len, commits } => format!(
                "cut {} at byte {at} of {len}: the database loses {} behind it",
                wal.file_name().unwrap_or_default().to_string_lossy(),
                transactions(*commits)
            ),
            Self::WalAside { bytes, commits } => {
                format!("put the WAL aside ({bytes} bytes): the database loses the {} in it", transactions(*commits))
            }
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
    set: Option<Set>,
    cuts: u32,
}

impl Repair {
    /// Of these files.
    pub fn new(files: Files) -> Self {
        Self { files, set: None, cuts: 0 }
    }

    /// Where the files are kept as they were, once something was done.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.set.as_ref().map(Set::folder)
    }

    /// What is to be done about `damage` next. Reads the WAL once.
    pub fn next(&self, damage: &Damage) -> Step {
        let len_of = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let wal = if damage.checkpoint_wal { self.files.checkpoint_wal() } else { self.files.wal() };
        let len = len_of(&wal);
        if let Some(at) = damage.at
            && (WAL_HEADER..len).contains(&at)
            && self.cuts < MAX_CUTS
        {
            // The position is behind the head of the damaged frame; no mark begins there.
            let commits = wal::marks_from(&wal, at).unwrap_or(0).max(1);
            return Step::Cut { wal, at, len, commits };
        }
        let wals = self.files.wals();
        if !wals.is_empty() {
            let bytes = wals.iter().map(|w| len_of(w)).sum();
            let commits = wals.iter().map(|w| wal::marks_from(w, 0).unwrap_or(0)).sum();
            return Step::WalAside { bytes, commits };
        }
        match len_of(self.files.database()) {
            0 => Step::RemoveEmpty,
            bytes => Step::AllAside { bytes },
        }
    }

    /// Copies the files as one set, unless this was done before, and takes `step`. Returns what it did, for a person.
    ///
    /// # Errors
    /// [`AsideError`]; the step is to be tried again.
    pub fn take(&mut self, step: &Step, damage: &Damage, watch: &mut dyn Watch) -> Result<String, AsideError> {
        if *step == Step::RemoveEmpty && self.set.is_none() {
            let database = self.files.database();
            std::fs::remove_file(database).map_err(|source| AsideError::Io { path: database.to_owned(), source })?;
            return Ok(step.describe());
        }
        let set = match self.set.take() {
            Some(set) => set,
            None => Set::copy(&self.files, watch)?,
        };
        let set = self.set.insert(set);
        match step {
            Step::Cut { wal, at, .. } => {
                let cut =
                    File::options().write(true).open(wal).and_then(|f| f.set_len(*at).and_then(|()| f.sync_all()));
                cut.map_err(|source| AsideError::Io { path: wal.clone(), source })?;
                self.cuts += 1;
            }
            Step::WalAside { .. } => {
                for wal in self.files.wals() {
                    set.take(&wal)?;
                }
            }
            Step::AllAside { .. } | Step::RemoveEmpty => set.take(self.files.database())?,
        }
        let done = format!("{}; as it was: {}", step.describe(), set.folder().display());
        set.note(&damage.text);
        set.note(&step.describe());
        set.prune();
        Ok(done)
    }
}
