//! Damage of the file that is met while the daemon runs: counted, told, and noted beside the database, so that the next
//! start reads all of it and repairs it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recovery::{gist, is_damage};
use crate::metrics::Metrics;

/// Name of the file beside the database.
const FILE: &str = "gadwall.damaged";
/// The line that a start appends when it has read everything and found nothing wrong.
const SOUND: &str = "a start has read everything since, and found no damage";

/// The suspicion that the file is damaged, raised by whoever meets damage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suspicion {
    note: Note,
    metrics: Arc<Metrics>,
}

impl Suspicion {
    /// For the database `database`.
    pub fn new(database: &Path, metrics: Arc<Metrics>) -> Self {
        Self { note: Note::beside(database), metrics }
    }

    /// Notes the error of `what` if it says that the file is damaged, and tells whether it does.
    pub fn met(&self, what: &str, error: &str) -> bool {
        if !is_damage(error) {
            return false;
        }
        let error = gist(error);
        if self.metrics.store.damage_met(format!("{what} met it: {error}")) {
            tracing::error!(what, error, "the database is damaged; the next start reads all of it and repairs it");
            self.note.add(error);
        } else {
            tracing::debug!(what, error, "damage was met again");
        }
        true
    }

    /// The file was written and closed in order.
    pub fn closed(&self) {
        if self.metrics.store.damaged.get() == 0 {
            self.note.clear();
        }
    }
}

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspected {
    /// Nothing was met since everything was read.
    Nothing,
    /// Damage was met.
    Damage,
    /// Damage was met again, after a start that has read everything and found none.
    Again(String),
}

/// The note beside the database.
#[derive(Clone, Debug)]
pub struct Note(PathBuf);

impl Note {
    /// For the database `database`.
    pub fn beside(database: &Path) -> Self {
        Self(database.with_file_name(FILE))
    }

    /// What it says. One that is there and cannot be read says that damage was met.
    pub fn read(&self) -> Suspected {
        let text = match fs::read(&self.0) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Suspected::Nothing,
            Err(_) => return Suspected::Damage,
        };
        let mut sound = false;
        let mut last = "";
        for line in text.lines().filter(|line| !line.is_empty()) {
            sound |= line == SOUND;
            last = line;
        }
        match last {
            SOUND => Suspected::Nothing,
            last if sound => Suspected::Again(last.to_owned()),
            _ => Suspected::Damage,
        }
    }

    /// A start has read everything and found no damage.
    pub fn found_nothing(&self) {
        self.add(SOUND);
    }

    fn add(&self, line: &str) {
        let file = File::options().create(true).append(true).open(&self.0);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}").and_then(|()| file.sync_all())) {
            tracing::warn!(%error, path = %self.0.display(), "damage was not noted for the next start");
        }
    }

    /// What it says is dealt with.
    pub fn clear(&self) {
        // That there is none is the rule.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str =
        "Corrupt database file: computed checksum 1 does not match stored checksum 2 in block at location 3";

    #[test]
    fn damage_is_counted_each_time_and_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("g.duckdb");
        let metrics: Arc<Metrics> = Arc::default();
        let suspicion = Suspicion::new(&database, Arc::clone(&metrics));
        assert!(!suspicion.met("a query", "Out of Memory Error: failed to pin block"));
        assert_eq!((metrics.store.damaged.get(), metrics.store.damage()), (0, None));
        assert!(suspicion.met("a query", &format!("{BLOCK}\n\nStack Trace:\n0x1")));
        assert!(suspicion.met("a commit", BLOCK));
        assert_eq!(metrics.store.damaged.get(), 2);
        assert_eq!(metrics.store.damage(), Some(format!("a query met it: {BLOCK}")));
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), format!("{BLOCK}\n"));
        suspicion.closed();
        assert_eq!(Note::beside(&database).read(), Suspected::Damage, "a good end does not make it undone");
    }

    #[test]
    fn damage_that_is_met_again_after_nothing_was_found_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("g.duckdb");
        let note = Note::beside(&database);
        assert_eq!(note.read(), Suspected::Nothing);
        let run = || Suspicion::new(&database, Arc::default());
        assert!(run().met("a commit", BLOCK));
        assert_eq!(note.read(), Suspected::Damage);
        note.found_nothing();
        assert_eq!(note.read(), Suspected::Nothing);
        assert!(run().met("a commit", BLOCK));
        assert_eq!(note.read(), Suspected::Again(BLOCK.to_owned()));
        note.clear();
        assert!(run().met("a commit", BLOCK));
        note.found_nothing();
        run().closed();
        assert!(!dir.path().join(FILE).exists(), "a good end after a start that found nothing");
        fs::write(dir.path().join(FILE), [0xff, 0]).unwrap();
        assert_eq!(note.read(), Suspected::Damage);
    }
}
