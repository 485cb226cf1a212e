//! The files of a database, and the folder beside it where damaged ones are kept for a person.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Watch;
use crate::store::space::free_bytes;

/// The folder beside the database that holds what was put aside: one folder for each time.
pub const FOLDER: &str = "damaged";
/// Sets that are kept; the oldest go first.
pub const MAX_SETS: usize = 3;
/// Bytes that all sets may have together, unless three times the newest is more; the oldest go first, the newest stays.
pub const MAX_BYTES: u64 = 512 << 20;
/// Free space that a copy of the database must leave: the gateway goes on in it. Without so much, only the WAL is copied.
pub const FLOOR: u64 = 64 << 20;
/// Free space that the copy of a WAL must leave.
const FLOOR_WAL: u64 = 8 << 20;
/// What DuckDB appends to the database's name, the database itself first.
const SUFFIXES: [&str; 4] = ["", ".wal", ".wal.checkpoint", ".wal.recovery"];
/// Bytes copied between two looks at the watch.
const CHUNK: u64 = 8 << 20;

/// The paths of a database and of what belongs to it.
#[derive(Clone, Debug)]
pub struct Files {
    database: PathBuf,
}

impl Files {
    /// Those of the database `path`.
    pub fn new(path: &Path) -> Self {
        Self { database: path.to_owned() }
    }

    /// The database.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// The WAL.
    pub fn wal(&self) -> PathBuf {
        self.with(".wal")
    }

    /// The WAL of what is written during a checkpoint.
    pub fn checkpoint_wal(&self) -> PathBuf {
        self.with(".wal.checkpoint")
    }

    /// Those that are there, with their bytes, the database first.
    pub fn present(&self) -> Vec<(PathBuf, u64)> {
        let all = SUFFIXES.iter().map(|suffix| self.with(suffix));
        all.filter_map(|path| fs::symlink_metadata(&path).ok().map(|m| (path, m.len()))).collect()
    }

    /// The WALs that are there.
    pub fn wals(&self) -> Vec<PathBuf> {
        self.present().into_iter().map(|(path, _)| path).filter(|path| *path != self.database).collect()
    }

    /// A new database in the making, with what can be read of the damaged one.
    pub fn salvage(&self) -> PathBuf {
        self.with(".salvage")
    }

    /// The same once it is whole: it goes in the database's place.
    pub fn salvaged(&self) -> PathBuf {
        self.with(".salvaged")
    }

    fn with(&self, suffix: &str) -> PathBuf {
        let mut path = self.database.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        self.database.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

/// Why nothing was put aside.
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// A stop was asked for.
    #[error("a stop was asked for")]
    Stopped,
    /// A copy of the WAL does not fit.
    #[error("no space to keep a copy of the damaged WAL: {need} bytes are needed, {free} are free")]
    Space {
        /// Bytes that have to be free.
        need: u64,
        /// Bytes that are.
        free: u64,
    },
    /// A file or folder cannot be made, moved, written or removed.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

pub fn io_at(path: &Path) -> impl FnOnce(io::Error) -> AsideError + '_ {
    move |source| AsideError::Io { path: path.to_owned(), source }
}

/// One file of a set, as it was when it was copied.
#[derive(Debug)]
struct Copied {
    original: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
}

/// What is put aside in the course of one start: a folder with the files as they were before the first change to them.
#[derive(Debug)]
pub struct Set {
    folder: PathBuf,
    copied: Vec<Copied>,
}

impl Set {
    /// Copies all files of the database into a folder of their own, synchronised to the disk. The database itself is left
    /// out where its copy does not fit; it is not changed then before it is moved. Blocks as long as the copy takes.
    ///
    /// # Errors
    /// [`AsideError`]; the originals are as they were.
    pub fn copy(files: &Files, watch: &mut dyn Watch) -> Result<Self, AsideError> {
        let present = files.present();
        let (database, wals): (Vec<_>, Vec<_>) = present.into_iter().partition(|(path, _)| path == files.database());
        let wal_bytes: u64 = wals.iter().map(|(_, len)| len).sum();
        let free = free_bytes(files.folder()).map_err(io_at(files.folder()))?;
        if wal_bytes > 0 && free < wal_bytes + FLOOR_WAL {
            return Err(AsideError::Space { need: wal_bytes + FLOOR_WAL, free });
        }
        let mut set = Self { folder: new_folder(&files.folder().join(FOLDER))?, copied: Vec::new() };
        let mut copy = || {
            for (path, len) in &wals {
                set.copy_one(path, *len, watch)?;
            }
            // Without a WAL nothing will change the database before it is moved: no copy is needed.
            for (path, len) in database.iter().filter(|_| wal_bytes > 0) {
                if free < wal_bytes + len + FLOOR {
                    tracing::warn!(
                        bytes = len,
                        free,
                        "no space to copy the database as well before its WAL is repaired"
                    );
                } else {
                    set.copy_one(path, *len, watch)?;
                }
            }
            sync(&set.folder)
        };
        match copy() {
            Ok(()) => Ok(set),
            Err(error) => {
                // Half a copy is no use, and the next attempt makes a new one.
                let _ = fs::remove_dir_all(&set.folder);
                Err(error)
            }
        }
    }

    /// A set without any file yet: what is taken is moved into it.
    ///
    /// # Errors
    /// [`AsideError::Io`].
    pub fn empty(files: &Files) -> Result<Self, AsideError> {
        Ok(Self { folder: new_folder(&files.folder().join(FOLDER))?, copied: Vec::new() })
    }

    /// Whether nothing was copied into it.
    pub fn is_without_copies(&self) -> bool {
        self.copied.is_empty()
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn copy_one(&mut self, original: &Path, len: u64, watch: &mut dyn Watch) -> Result<(), AsideError> {
        let meta = fs::metadata(original).map_err(io_at(original))?;
        if !meta.is_file() {
            return Ok(());
        }
        let copy = self.folder.join(original.file_name().unwrap_or_default());
        let mut to = File::create(&copy).map_err(io_at(&copy))?;
        // What cannot be read is not copied: the original is moved later, and not removed.
        let Ok(mut from) = File::open(original) else { return Ok(()) };
        let mut whole = true;
        loop {
            match copy_chunk(&mut from, &mut to) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                    let _ = fs::remove_file(&copy);
                    return Err(io_at(&copy)(e));
                }
                Err(error) => {
                    tracing::warn!(%error, path = %original.display(), "it could not be copied to its end");
                    whole = false;
                    break;
                }
            }
            if !watch.go_on("copying the damaged database aside", Duration::ZERO) {
                return Err(AsideError::Stopped);
            }
        }
        to.sync_all().map_err(io_at(&copy))?;
        if whole {
            self.copied.push(Copied { original: original.to_owned(), len, modified: meta.modified().ok() });
        }
        Ok(())
    }

    /// Takes `original` away: it is removed where the set has a whole copy of it, otherwise moved into the set.
    ///
    /// # Errors
    /// [`AsideError::Io`].
    pub fn take(&self, original: &Path) -> Result<(), AsideError> {
        let Ok(meta) = fs::symlink_metadata(original) else { return Ok(()) };
        // A WAL that was cut, too: its copy is what it was before.
        let known = self.copied.iter().find(|c| c.original == original);
        let same =
            known.is_some_and(|c| meta.len() < c.len || (meta.len() == c.len && meta.modified().ok() == c.modified));
        if same {
            return fs::remove_file(original).map_err(io_at(original));
        }
        let mut name: OsString = original.file_name().unwrap_or_default().to_owned();
        if self.folder.join(&name).exists() {
            name.push(".later");
        }
        let to = self.folder.join(name);
        fs::rename(original, &to).map_err(io_at(original))?;
        sync(&self.folder)
    }

    /// Notes what was done, for the person who looks.
    pub fn note(&self, line: &str) {
        let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
        let note = File::options().create(true).append(true).open(self.folder.join("why.txt"));
        if let Err(error) = note.and_then(|mut file| writeln!(file, "{time} {line}")) {
            tracing::warn!(%error, "why.txt was not written");
        }
    }

    /// Removes the oldest sets over the bounds, never this one.
    pub fn prune(&self) {
        let Some(all) = self.folder.parent() else { return };
        let mut sets = sets(all);
        sets.retain(|set| *set != self.folder);
        let own = bytes(&self.folder);
        let bound = MAX_BYTES.max(own.saturating_mul(3));
        let mut kept = own;
        for (i, set) in sets.iter().rev().enumerate() {
            kept = kept.saturating_add(bytes(set));
            if i + 1 < MAX_SETS && kept <= bound {
                continue;
            }
            match fs::remove_dir_all(set) {
                Ok(()) => tracing::warn!(path = %set.display(), "an older damaged set was removed to keep the bounds"),
                Err(error) => tracing::warn!(%error, path = %set.display(), "an older damaged set was not removed"),
            }
        }
    }
}

/// The sets in the folder `all`, the oldest first.
pub fn sets(all: &Path) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(all) else { return Vec::new() };
    let mut sets: Vec<PathBuf> = dir.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    // A clock that was wrong must not make the newest set the oldest: the number counts up for good.
    sets.sort_by_key(|path| (number(path), path.clone()));
    sets
}

/// The number at the end of a set's name.
fn number(set: &Path) -> u64 {
    let name = set.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn new_folder(all: &Path) -> Result<PathBuf, AsideError> {
    let time = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
    let next = sets(all).last().map_or(1, |last| number(last) + 1);
    let folder = all.join(format!("{time}-{next}"));
    fs::create_dir_all(&folder).map_err(io_at(&folder))?;
    sync(all)?;
    Ok(folder)
}

fn copy_chunk(from: &mut File, to: &mut File) -> io::Result<u64> {
    io::copy(&mut from.take(CHUNK), to)
}

pub fn sync(folder: &Path) -> Result<(), AsideError> {
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(io_at(folder))
}

fn bytes(folder: &Path) -> u64 {
    let Ok(dir) = fs::read_dir(folder) else { return 0 };
    dir.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Unwatched;
    use super::*;

    fn database() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&dir.path().join("g.duckdb"));
        (dir, files)
    }

    #[test]
    fn a_set_holds_what_was_there_before_the_first_change() {
        let (dir, files) = database();
        fs::write(files.database(), "main").unwrap();
        fs::write(files.wal(), "0123456789").unwrap();
        let set = Set::copy(&files, &mut Unwatched).unwrap();
        assert_eq!(set.folder().parent().unwrap(), dir.path().join(FOLDER));
        fs::write(files.wal(), "0123").unwrap();
        set.take(&files.wal()).unwrap();
        set.take(files.database()).unwrap();
        assert_eq!(files.present(), []);
        assert_eq!(fs::read_to_string(set.folder().join("g.duckdb.wal")).unwrap(), "0123456789");
        assert_eq!(fs::read_to_string(set.folder().join("g.duckdb")).unwrap(), "main");
        // What was changed after its copy is kept beside it.
        fs::write(files.database(), "changed").unwrap();
        set.take(files.database()).unwrap();
        assert_eq!(fs::read_to_string(set.folder().join("g.duckdb.later")).unwrap(), "changed");
    }

    #[test]
    fn without_a_wal_the_database_is_moved_and_not_copied() {
        let (_dir, files) = database();
        fs::write(files.database(), "garbage").unwrap();
        let set = Set::copy(&files, &mut Unwatched).unwrap();
        assert!(!set.folder().join("g.duckdb").exists());
        set.take(files.database()).unwrap();
        assert_eq!(fs::read_to_string(set.folder().join("g.duckdb")).unwrap(), "garbage");
    }

    #[test]
    fn the_oldest_sets_go_first_and_the_newest_stays() {
        let (dir, files) = database();
        let mut names = Vec::new();
        for i in 0..5 {
            fs::write(files.wal(), format!("wal {i}")).unwrap();
            let set = Set::copy(&files, &mut Unwatched).unwrap();
            set.prune();
            names.push(set.folder().to_owned());
        }
        assert_eq!(sets(&dir.path().join(FOLDER)), names[2..]);
        assert_eq!(number(&names[4]), 5);
        assert_eq!(fs::read_to_string(names[4].join("g.duckdb.wal")).unwrap(), "wal 4");
    }

    #[test]
    fn a_stop_ends_a_copy_and_leaves_the_originals() {
        struct Stop;
        impl Watch for Stop {
            fn go_on(&mut self, _: &str, _: Duration) -> bool {
                false
            }
        }
        let (_dir, files) = database();
        fs::write(files.wal(), "wal").unwrap();
        assert!(matches!(Set::copy(&files, &mut Stop), Err(AsideError::Stopped)));
        assert_eq!(fs::read_to_string(files.wal()).unwrap(), "wal");
    }
}
