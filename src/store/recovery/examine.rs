//! How the files of a database are, found out without changing them.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::aside::Files;
use super::probe::{self, Task};
use super::repair::{Damage, transactions};
use super::verdict::{Summary, Verdict};
use super::{Stopped, Watch, wal};
use crate::config;

/// A replay that ran out of memory is tried with twice the limit, up to so many times the configured one.
pub const MEMORY_FACTOR: u64 = 8;

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
    pub(super) files: Files,
    configured: u64,
    pub(super) limit: u64,
    /// Reads every column of every table, instead of what a start reads.
    pub(super) thorough: bool,
    broke: Option<String>,
}

impl Examiner {
    /// Of the database of `config`, under its memory limit.
    pub fn new(config: &config::Store) -> Self {
        let limit = config.memory_limit;
        Self { files: Files::new(&config.path), configured: limit, limit, thorough: false, broke: None }
    }

    /// Reads every column of every table from now on: it takes longer, and finds each damaged block that is in use.
    #[must_use]
    pub fn thoroughly(mut self) -> Self {
        self.thorough = true;
        self
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
        let look = if self.thorough { Task::Read } else { Task::Look };
        let mut task = look;
        loop {
            let Some(verdict) = probe::ask(self.files.database(), self.limit, task, watch)? else {
                return Ok(Finding::Unknown);
            };
            match self.sort(verdict) {
                Some(Finding::Sound(_)) if task == Task::Checkpoint => {
                    self.limit = self.configured;
                    task = look;
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
            // Nobody has asked for one here.
            Verdict::Salvaged(report) => Finding::Outside(report.to_string()),
            Verdict::Corrupt { text, at, checkpoint_wal, attached } => {
                Finding::Damaged(Damage { text, at, checkpoint_wal, attached })
            }
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
        if self.files.salvaged().exists() {
            return damaged("a salvaged database is not in its place yet");
        }
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
                return Some(Finding::Damaged(Damage { text, at: Some(scan.good), checkpoint_wal, attached: false }));
            }
        }
        None
    }
}

fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut begin = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(magic.len() as u64).read_to_end(&mut begin));
    read.is_ok() && begin == magic
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
        fs::write(examiner.files.salvaged(), "").unwrap();
        assert_eq!(text(&examiner), "a salvaged database is not in its place yet");
    }

    #[test]
    fn what_is_not_a_file_is_left_alone() {
        let store = config::Store { path: "/dev/null".into(), ..config::Store::default() };
        assert_eq!(Examiner::new(&store).look(), Some(Finding::Outside("/dev/null is not a file".to_owned())));
    }
}
