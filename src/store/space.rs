//! Free space of the file system that holds the database: when it is low, and when nothing may be written.
//!
//! A checkpoint that runs out of space leaves a file that has to be recovered, so none is begun without room to finish
//! it. DuckDB checkpoints by itself at the end of a commit: a commit is refused before it begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// Bytes of write-ahead log that start a checkpoint; see `open`.
const CHECKPOINT_THRESHOLD: u64 = 4_000_000;
/// Once under a mark, this part of it has to be free above it before it counts as over it: what wavers around a mark
/// must not fill the journal.
const SLACK: u64 = 16;
/// How often the free space is looked at while nothing is committed.
const EVERY: Duration = Duration::from_secs(1);

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Under the hard mark: no commit, no checkpoint.
    None,
    /// Under the soft mark, which is twice the hard one.
    Low,
    /// Enough.
    Ample,
}

impl Room {
    /// The room at `free` bytes with the hard mark `hard`, after `self`.
    fn next(self, free: u64, hard: u64) -> Self {
        let over = |mark: u64, above: Self| free >= if self < above { mark + mark / SLACK } else { mark };
        if !over(hard, Self::Low) {
            Self::None
        } else if over(hard.saturating_mul(2), Self::Ample) {
            Self::Ample
        } else {
            Self::Low
        }
    }
}

/// Watches the free space, shows it in the metrics, and tells the journal of each change.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    wal: PathBuf,
    min_free: u64,
    room: Room,
    looked: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl Space {
    /// For the database at `path` with the hard mark `min_free`.
    pub fn new(path: &Path, min_free: u64, metrics: Arc<Metrics>) -> Self {
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let mut wal = path.to_owned().into_os_string();
        wal.push(".wal");
        Self { dir, wal: wal.into(), min_free, room: Room::Ample, looked: None, metrics }
    }

    /// Looks once a second at the most.
    pub fn watch(&mut self) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= EVERY) {
            self.look();
        }
    }

    /// Asks the file system. Where it does not answer there is room: the write itself will tell.
    pub fn look(&mut self) -> Room {
        self.looked = Some(Instant::now());
        let Ok(free) = free_bytes(&self.dir) else { return Room::Ample };
        let hard = self.hard();
        let store = &self.metrics.store;
        store.free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        store.min_free_bytes.set(i64::try_from(hard).unwrap_or(i64::MAX));
        let room = self.room.next(free, hard);
        let before = std::mem::replace(&mut self.room, room);
        if room != before {
            store.space_low.store(room < Room::Ample, Ordering::Relaxed);
            store.space_full.store(room == Room::None, Ordering::Relaxed);
            let dir = self.dir.display();
            match room {
                Room::None => {
                    store.space_full_times.inc();
                    tracing::error!(free, needed = hard, %dir, "no room on the disk: nothing is stored until there is");
                }
                Room::Low => {
                    store.space_low_times.inc();
                    tracing::warn!(free, stops_at = hard, %dir, "little room is left on the disk");
                }
                Room::Ample => tracing::info!(free, %dir, "there is room on the disk again"),
            }
        }
        room
    }

    /// What has to be free for a commit: `min-free`, or more when the write-ahead log is larger than it should be,
    /// because it is written once more by the next checkpoint.
    fn hard(&self) -> u64 {
        let wal = std::fs::metadata(&self.wal).map_or(0, |m| m.len());
        self.min_free.max(if wal > CHECKPOINT_THRESHOLD { wal + 2 * CHECKPOINT_THRESHOLD } else { 0 })
    }
}

/// Bytes that an ordinary user may still write to the file system of `folder`.
///
/// # Errors
/// What the file system answers.
pub fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let fs = rustix::fs::statvfs(folder)?;
    Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_have_a_slack_upwards_only() {
        let hard = 1_600;
        assert_eq!(Room::Ample.next(3_200, hard), Room::Ample);
        assert_eq!(Room::Ample.next(3_199, hard), Room::Low);
        assert_eq!(Room::Low.next(3_399, hard), Room::Low);
        assert_eq!(Room::Low.next(3_400, hard), Room::Ample);
        assert_eq!(Room::Low.next(1_600, hard), Room::Low);
        assert_eq!(Room::Low.next(1_599, hard), Room::None);
        assert_eq!(Room::None.next(1_699, hard), Room::None);
        assert_eq!(Room::None.next(1_700, hard), Room::Low);
        assert_eq!(Room::None.next(3_399, hard), Room::Low);
        assert_eq!(Room::None.next(3_400, hard), Room::Ample);
        assert_eq!(Room::Ample.next(0, hard), Room::None);
    }

    #[test]
    fn it_shows_what_it_finds_and_counts_each_change_once() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::default());
        let path = dir.path().join("g.duckdb");
        let mut ample = Space::new(&path, 1, Arc::clone(&metrics));
        assert_eq!(ample.look(), Room::Ample);
        assert!(metrics.store.free_bytes.get() > 0);
        assert_eq!(metrics.store.min_free_bytes.get(), 1);
        let mut none = Space::new(&path, u64::MAX / 4, Arc::clone(&metrics));
        assert_eq!((none.look(), none.look()), (Room::None, Room::None));
        assert_eq!(metrics.store.space_full_times.get(), 1);
        assert!(metrics.store.space_full.load(Ordering::Relaxed));
    }

    #[test]
    fn a_large_log_raises_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.duckdb");
        let space = Space::new(&path, 8_000_000, Arc::default());
        assert_eq!(space.hard(), 8_000_000);
        std::fs::File::create(dir.path().join("g.duckdb.wal")).unwrap().set_len(20_000_000).unwrap();
        assert_eq!(space.hard(), 28_000_000);
    }
}
