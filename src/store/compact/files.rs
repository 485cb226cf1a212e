//! The copy beside the database: its name, what a crash leaves of it, and how it takes the database's place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::CompactError;
use crate::store::recovery::Files;

/// What is appended to the database's name for the copy.
const SUFFIX: &str = ".compact";

/// The database and its copy.
#[derive(Clone, Debug)]
pub(super) struct Place {
    database: Files,
    copy: Files,
}

fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CompactError {
    move |source| CompactError::Io { what, path: path.to_owned(), source }
}

impl Place {
    /// For the database `path`.
    ///
    /// # Errors
    /// [`CompactError::Link`]: a rename would replace the link, and the copy would be on another disk than the file.
    pub(super) fn of(path: &Path) -> Result<Self, CompactError> {
        if fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
            return Err(CompactError::Link(path.to_owned()));
        }
        Ok(Self { database: Files::new(path), copy: Files::new(&copy_of(path)) })
    }

    /// The database.
    pub(super) fn database(&self) -> &Path {
        self.database.database()
    }

    /// The copy.
    pub(super) fn copy(&self) -> &Path {
        self.copy.database()
    }

    /// The folder of both.
    pub(super) fn folder(&self) -> &Path {
        self.database.folder()
    }

    /// Bytes of the database's file at present.
    pub(super) fn size(&self) -> u64 {
        fs::metadata(self.database()).map_or(0, |m| m.len())
    }

    /// Removes the copy and what belongs to it.
    ///
    /// # Errors
    /// [`CompactError::Io`] for the first that cannot be removed.
    pub(super) fn discard(&self) -> Result<(), CompactError> {
        for (path, _) in self.copy.present() {
            fs::remove_file(&path).map_err(io_at("cannot remove", &path))?;
        }
        Ok(())
    }

    /// Whether something of the database is in a write-ahead log.
    pub(super) fn has_wal(&self) -> bool {
        !self.database.wals().is_empty()
    }

    /// Makes the copy what the database is to be: whole without a write-ahead log, of the same owner, and on the disk.
    ///
    /// # Errors
    /// [`CompactError::Wal`] and [`CompactError::Io`].
    pub(super) fn seal(&self) -> Result<(), CompactError> {
        no_wal(&self.copy)?;
        let old = fs::metadata(self.database()).map_err(io_at("cannot look at", self.database()))?;
        let copy = File::options().write(true).open(self.copy()).map_err(io_at("cannot open", self.copy()))?;
        let new = copy.metadata().map_err(io_at("cannot look at", self.copy()))?;
        // Somebody else's command must not take the file away from the daemon.
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&copy, Some(old.uid()), Some(old.gid())).map_err(io_at("cannot give its owner to", self.copy()))?;
        }
        let mode = old.permissions().mode();
        copy.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(io_at("cannot give its mode to", self.copy()))?;
        copy.sync_all().map_err(io_at("cannot synchronise", self.copy()))
    }

    /// Gives the copy the database's name.
    ///
    /// # Errors
    /// [`CompactError::Wal`] where the database alone is not whole, and [`CompactError::Io`] where the rename failed. One that
    /// cannot be synchronised is only logged: either file is whole.
    pub(super) fn replace(&self) -> Result<(), CompactError> {
        no_wal(&self.database)?;
        // A write-ahead log that comes back after a power cut must not meet the new file.
        self.sync_folder()?;
        fs::rename(self.copy(), self.database()).map_err(io_at("cannot rename", self.copy()))?;
        if let Err(error) = self.sync_folder() {
            tracing::warn!(%error, "after a power cut within a few seconds the file from before the compaction is back");
        }
        Ok(())
    }

    fn sync_folder(&self) -> Result<(), CompactError> {
        let folder = self.folder();
        File::open(folder).and_then(|dir| dir.sync_all()).map_err(io_at("cannot synchronise", folder))
    }
}

fn no_wal(files: &Files) -> Result<(), CompactError> {
    files.wals().into_iter().next().map_or(Ok(()), |wal| Err(CompactError::Wal(wal)))
}

fn copy_of(database: &Path) -> PathBuf {
    let mut path = database.to_owned().into_os_string();
    path.push(SUFFIX);
    path.into()
}

/// What an unfinished compaction has left beside `database`, with the bytes.
pub fn leftovers(database: &Path) -> Vec<(PathBuf, u64)> {
    Files::new(&copy_of(database)).present()
}

/// Removes what an unfinished compaction has left beside `database`, and says so in the journal. To be called under the lock
/// and before the database is opened. What cannot be removed is in nobody's way but the next compaction's.
pub fn remove_leftovers(database: &Path) {
    for (path, bytes) in leftovers(database) {
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::warn!(path = %path.display(), bytes, "what an unfinished compaction had left was removed");
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "what an unfinished compaction had left was not removed");
            }
        }
    }
    super::request::remove_answer(database);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(&dir.path().join("g.duckdb")).unwrap();
        fs::write(place.database(), "old").unwrap();
        fs::write(place.copy(), "new").unwrap();
        (dir, place)
    }

    #[test]
    fn only_what_an_unfinished_compaction_left_is_removed() {
        let (dir, place) = place();
        for name in ["g.duckdb.compact.wal", "g.duckdb.compact.wal.checkpoint", "g.duckdb.wal", "h.duckdb.compact"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        assert_eq!(leftovers(place.database()).len(), 3);
        remove_leftovers(place.database());
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["g.duckdb", "g.duckdb.wal", "h.duckdb.compact"]);
    }

    #[test]
    fn the_copy_gets_name_and_mode_of_the_database() {
        let (_dir, place) = place();
        fs::set_permissions(place.database(), fs::Permissions::from_mode(0o640)).unwrap();
        place.seal().unwrap();
        place.replace().unwrap();
        assert_eq!(fs::read_to_string(place.database()).unwrap(), "new");
        assert_eq!(fs::metadata(place.database()).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!place.copy().exists());
    }

    #[test]
    fn a_file_is_not_replaced_while_a_log_belongs_to_it() {
        let (dir, place) = place();
        for name in ["g.duckdb.wal", "g.duckdb.wal.checkpoint", "g.duckdb.compact.wal"] {
            let wal = dir.path().join(name);
            fs::write(&wal, "x").unwrap();
            let refused = if name.contains("compact") { place.seal() } else { place.replace() };
            assert!(matches!(refused, Err(CompactError::Wal(path)) if path == wal));
            assert_eq!(place.has_wal(), !name.contains("compact"));
            fs::remove_file(wal).unwrap();
        }
        assert_eq!(fs::read_to_string(place.database()).unwrap(), "old");
        place.seal().unwrap();
        place.replace().unwrap();
    }

    #[test]
    fn a_link_is_refused() {
        let (dir, place) = place();
        let link = dir.path().join("link.duckdb");
        std::os::unix::fs::symlink(place.database(), &link).unwrap();
        assert_eq!(
            Place::of(&link).unwrap_err().to_string(),
            format!("{} is a symbolic link: name the file itself in `[store] path`", link.display())
        );
    }
}
