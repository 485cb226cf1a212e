//! The lock that keeps two daemons from one database: `gadwall.lock` beside the file.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Name of the lock file; it holds the process id of the daemon that has it. The file itself stays, the kernel's lock
/// ends with the process, also after a crash.
const NAME: &str = "gadwall.lock";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is held by another gadwall (process {pid}): two daemons cannot share one database")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        pid: String,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// The lock; held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the folder `dir`, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // The holder may be writing it at this moment: an empty number is no reason to say nothing.
                let _ = file.take(32).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(LockError::Held { path, pid });
            }
            Err(e) => return Err(io(e.into())),
        }
        belong_to_folder(&file, dir);
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// Gives the file to the owner of its folder: a command of root's must not keep the daemon from taking the lock later.
fn belong_to_folder(file: &File, dir: &Path) {
    let (Ok(folder), Ok(own)) = (dir.metadata(), file.metadata()) else { return };
    if own.uid() != folder.uid() && rustix::process::geteuid().is_root() {
        // Where it cannot be given away the daemon will say so.
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_and_the_first_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        let expected = format!(
            "{} is held by another gadwall (process {}): two daemons cannot share one database",
            dir.path().join(NAME).display(),
            std::process::id()
        );
        assert_eq!(error, expected);
        drop(first);
        assert!(Lock::take(dir.path()).is_ok());
    }
}
