//! The start after damage: the file is tried in a child process before this one opens it, and what is damaged is repaired
//! or put aside, so that the gateway starts and takes new readings whatever became of its files.
//!
//! **Not damage** is a lock, a missing permission, no space, too little memory, or a signal from outside: it is tried again
//! for ever, with growing pauses, and nothing is touched. **Damage** is what DuckDB names as corruption, commits behind a
//! frame of the WAL whose length is wrong, or the same abort twice. Then, after a copy of all files, each of these steps is
//! followed by another try: cut the WAL at the damage, put the WAL aside, put the database aside and begin a new one.
//!
//! The child opens the file read-only: a replay happens in memory then, and the files stay as they are whatever becomes
//! of the child. It runs when there is a WAL, when the last start did not come to its end, and after an error.

mod aside;
pub mod probe;
mod repair;
mod verdict;
mod wal;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use aside::{AsideError, FOLDER, Files, sets};
pub use repair::{Damage, Repair, Step, transactions};
pub use verdict::{Summary, Verdict};
pub use wal::{Scan, scan};

use super::{Loaded, OpenError, load};
use crate::config;
use crate::metrics::Metrics;
use probe::Task;

/// Between two attempts while something else than the file is in the way: the first and the longest pause.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A replay that ran out of memory is tried with twice the limit, up to so many times the configured one.
const MEMORY_FACTOR: u64 = 8;
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

/// How the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// They can be opened.
    Sound(Summary),
    /// They cannot, for what is in them.
    Damaged(Damage),
    /// They are of a newer version.
    Newer(String),
    /// Something else is in the way.
    Outside(String),
    /// No child process can be made to find out.
    Unknown,
}

/// Finds out how the files of a database are.
#[derive(Debug)]
pub struct Examiner {
    files: Files,
    configured: u64,
    limit: u64,
    broke: Option<String>,
}

impl Examiner {
    /// Of the database of `config`, under its memory limit.
    pub fn new(config: &config::Store) -> Self {
        let limit = config.memory_limit;
        Self { files: Files::new(&config.path), configured: limit, limit, broke: None }
    }

    /// Looks at the files and opens them in a child process, without changing them (only a WAL that needs more memory
    /// than is configured is brought into the database). Blocks until the child has ended.
    ///
    /// # Errors
    /// [`Stopped`] when `watch` asks for it.
    pub fn examine(&mut self, watch: &mut dyn Watch) -> Result<Finding, Stopped> {
        if let Some(finding) = self.look() {
            return Ok(finding);
        }
        let mut task = Task::Look;
        loop {
            let Some(verdict) = probe::ask(self.files.database(), self.limit, task, watch)? else {
                return Ok(Finding::Unknown);
            };
            match self.sort(verdict) {
                Some(Finding::Sound(_)) if task == Task::Checkpoint => {
                    self.limit = self.configured;
                    task = Task::Look;
                }
                Some(Finding::Sound(_)) if self.limit > self.configured && !self.files.wals().is_empty() => {
                    task = Task::Checkpoint;
                }
                Some(finding) => return Ok(finding),
                None if watch.go_on("trying the database again", Duration::from_millis(200)) => {}
                None => return Err(Stopped),
            }
        }
    }

    /// What an attempt means; `None` where another one has to tell.
    pub fn sort(&mut self, verdict: Verdict) -> Option<Finding> {
        let broke = self.broke.take();
        Some(match verdict {
            Verdict::Sound(summary) => Finding::Sound(summary),
            Verdict::Corrupt { text, at, checkpoint_wal } => Finding::Damaged(Damage { text, at, checkpoint_wal }),
            Verdict::Newer(text) => Finding::Newer(text),
            Verdict::Outside(text) => Finding::Outside(text),
            Verdict::Memory(text) => {
                if self.limit >= self.configured.saturating_mul(MEMORY_FACTOR) {
                    self.limit = self.configured;
                    return Some(Finding::Outside(text));
                }
                self.limit *= 2;
                tracing::warn!(
                    limit = self.limit,
                    "opening the database needs more memory: trying with a larger limit"
                );
                return None;
            }
            Verdict::Broke(text) if broke.as_ref() == Some(&text) => {
                Finding::Damaged(Damage { text: format!("twice: {text}"), ..Damage::default() })
            }
            Verdict::Broke(text) => {
                tracing::warn!(%text, "opening the database failed; trying once more");
                self.broke = Some(text);
                return None;
            }
        })
    }

    /// What can be told without DuckDB; it would drop silently what it cannot read.
    fn look(&self) -> Option<Finding> {
        let damaged = |text: &str| Some(Finding::Damaged(Damage { text: text.to_owned(), ..Damage::default() }));
        let database = self.files.database();
        let wals = self.files.wals();
        match fs::metadata(database) {
            Ok(meta) if !meta.is_file() => {
                return Some(Finding::Outside(format!("{} is not a file", database.display())));
            }
            Ok(meta) if meta.len() == 0 => return damaged("the database file is empty"),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return if wals.is_empty() {
                    Some(Finding::Sound(Summary::default()))
                } else {
                    damaged("the database file is missing, but its WAL is there")
                };
            }
            _ => {}
        }
        // DuckDB would look for the extension that reads it. It is somebody's, and a wrong path.
        if begins_with(database, b"SQLite format 3\0") {
            return Some(Finding::Outside(format!("{} is a database of SQLite", database.display())));
        }
        for path in wals {
            if fs::metadata(&path).is_ok_and(|m| !m.is_file()) {
                return damaged("the WAL is not a file");
            }
            // What cannot be read is for DuckDB to say.
            let Ok(scan) = wal::scan(&path) else { continue };
            if scan.damaged {
                let text = format!(
                    "{}: a frame behind byte {} cannot be read, with {} in or behind it",
                    path.display(),
                    scan.good,
                    transactions(scan.behind)
                );
                let checkpoint_wal = path == self.files.checkpoint_wal();
                return Some(Finding::Damaged(Damage { text, at: Some(scan.good), checkpoint_wal }));
            }
        }
        None
    }
}

/// Opens the database and reads what is kept in memory, as [`super::start`] says. The lock is held by the caller.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Stopped`].
pub(super) fn start(config: &config::Store, metrics: &Metrics, watch: &mut dyn Watch) -> Result<Loaded, OpenError> {
    let marker = Marker(config.path.with_file_name(MARKER));
    let mut examiner = Examiner::new(config);
    let mut repair = Repair::new(examiner.files.clone());
    let mut waiting = Waiting::default();
    let mut steps = 0;
    // Of this process: the child's successes in between do not count.
    let mut broke: Option<String> = None;
    let mut suspect = marker.0.exists();
    loop {
        let mut finding = None;
        if suspect || !examiner.files.wals().is_empty() {
            // Only then: the child's own start takes as long as a small database's.
            finding = match examiner.examine(watch).map_err(|Stopped| OpenError::Stopped)? {
                Finding::Sound(_) | Finding::Unknown => None,
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
                    return Ok(loaded);
                }
                Err(error @ OpenError::Newer { .. }) => return Err(error),
                Err(error) => error,
            };
            tracing::debug!(%error, "the database was not opened");
            finding = match probe::of(&error) {
                Verdict::Broke(text) if broke.as_ref() != Some(&text) => {
                    tracing::warn!(%text, "opening the database failed; trying once more");
                    broke = Some(text);
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
                let step = repair.next(&damage);
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

fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut begin = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(magic.len() as u64).read_to_end(&mut begin));
    read.is_ok() && begin == magic
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

#[cfg(test)]
mod tests {
    use super::*;

    fn examiner(dir: &Path) -> Examiner {
        Examiner::new(&config::Store {
            path: dir.join("g.duckdb"),
            memory_limit: 24_000_000,
            ..config::Store::default()
        })
    }

    #[test]
    fn the_same_abort_twice_in_a_row_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut examiner = examiner(dir.path());
        let broke = |text: &str| Verdict::Broke(text.to_owned());
        assert_eq!(examiner.sort(broke("signal 6")), None);
        assert_eq!(examiner.sort(broke("signal 11")), None);
        let outside = Finding::Outside("signal 9".to_owned());
        assert_eq!(examiner.sort(Verdict::Outside("signal 9".to_owned())), Some(outside));
        assert_eq!(examiner.sort(broke("signal 11")), None);
        let damage = Damage { text: "twice: signal 11".to_owned(), ..Damage::default() };
        assert_eq!(examiner.sort(broke("signal 11")), Some(Finding::Damaged(damage)));
    }

    #[test]
    fn too_little_memory_doubles_the_limit_up_to_eight_times_and_is_never_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut examiner = examiner(dir.path());
        let memory = || Verdict::Memory("Out of Memory".to_owned());
        for limit in [48_000_000, 96_000_000, 192_000_000] {
            assert_eq!(examiner.sort(memory()), None);
            assert_eq!(examiner.limit, limit);
        }
        assert_eq!(examiner.sort(memory()), Some(Finding::Outside("Out of Memory".to_owned())));
        assert_eq!(examiner.limit, 24_000_000);
    }

    #[test]
    fn what_duckdb_would_drop_silently_is_seen_first() {
        let dir = tempfile::tempdir().unwrap();
        let examiner = examiner(dir.path());
        let text = |examiner: &Examiner| match examiner.look() {
            Some(Finding::Damaged(damage)) => damage.text,
            other => panic!("not damaged: {other:?}"),
        };
        assert_eq!(examiner.look(), Some(Finding::Sound(Summary::default())));
        fs::write(examiner.files.wal(), "wal").unwrap();
        assert_eq!(text(&examiner), "the database file is missing, but its WAL is there");
        fs::write(examiner.files.database(), "").unwrap();
        assert_eq!(text(&examiner), "the database file is empty");
        fs::write(examiner.files.database(), "SQLite format 3\0...").unwrap();
        assert!(matches!(examiner.look(), Some(Finding::Outside(text)) if text.ends_with("is a database of SQLite")));
        fs::write(examiner.files.database(), "main").unwrap();
        assert_eq!(examiner.look(), None);
        fs::write(examiner.files.wal(), [7; 500]).unwrap();
        assert!(text(&examiner).ends_with("a frame behind byte 0 cannot be read, with 0 transactions in or behind it"));
    }

    #[test]
    fn what_is_not_a_file_is_left_alone() {
        let store = config::Store { path: "/dev/null".into(), ..config::Store::default() };
        assert_eq!(Examiner::new(&store).look(), Some(Finding::Outside("/dev/null is not a file".to_owned())));
    }
}
