//! The folder with everything that the demo writes.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// A folder that is removed with all that is in it when this is dropped, unless it was asked to be kept.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// A new folder below the system's temporary folder, which nobody else may enter.
    pub(super) fn temporary() -> anyhow::Result<Self> {
        let above = std::env::temp_dir();
        for attempt in 0..100 {
            let path = above.join(format!("gadwall-demo-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, keep: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make the folder {}", path.display())),
            }
        }
        bail!("cannot make a folder in {}: a hundred names are taken", above.display())
    }

    /// The folder `path`, which is kept. It must be empty or not be there yet, so that nothing in it is counted or
    /// overwritten.
    pub(super) fn kept(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        // The daemon is told absolute paths.
        let path = path.canonicalize()?;
        if std::fs::read_dir(&path)?.next().is_some() {
            bail!("{} is not empty: name a new folder to keep the demo in", path.display());
        }
        Ok(Self { path, keep: true })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub(super) fn is_kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(e) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_temporary_one_is_private_and_goes_with_its_files() {
        let (first, second) = (Folder::temporary().unwrap(), Folder::temporary().unwrap());
        assert_ne!(first.path(), second.path());
        let path = first.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }

    #[test]
    fn a_kept_one_stays_and_must_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("a/b");
        let folder = Folder::kept(&path).unwrap();
        assert_eq!(folder.path(), path);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(path.join("file").exists());
        let error = Folder::kept(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{} is not empty: name a new folder to keep the demo in", path.display()));
    }
}
