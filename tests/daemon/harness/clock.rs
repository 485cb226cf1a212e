//! A clock that the test moves: the daemon under libfaketime, which changes its CLOCK_REALTIME while it runs and leaves
//! CLOCK_BOOTTIME alone. That the clock is synchronised is said by a file of the test's own (`[clock] synchronised-file`),
//! so that what this machine's kernel thinks of its clock does not matter.

use std::ffi::OsString;
use std::path::PathBuf;

use tempfile::TempDir;

/// The clock of one daemon.
pub struct FakeClock {
    dir: TempDir,
}

impl FakeClock {
    /// Off by `seconds`, and not synchronised.
    pub fn new(seconds: i64) -> Self {
        let clock = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        clock.shift(seconds);
        clock
    }

    /// Sets it off by `seconds`.
    pub fn shift(&self, seconds: i64) {
        let new = self.dir.path().join("shift.new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("writing the shift");
        std::fs::rename(new, self.dir.path().join("shift")).expect("writing the shift");
    }

    /// The file that says that it is synchronised.
    pub fn mark(&self) -> PathBuf {
        self.dir.path().join("synchronised")
    }

    /// It is synchronised from now on.
    pub fn synchronise(&self) {
        std::fs::write(self.mark(), "").expect("writing the mark");
    }

    /// What the daemon's environment needs.
    pub fn env(&self) -> Vec<(String, OsString)> {
        vec![
            ("LD_PRELOAD".into(), library().into()),
            ("FAKETIME_TIMESTAMP_FILE".into(), self.dir.path().join("shift").into()),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("NO_FAKE_STAT".into(), "1".into()),
        ]
    }
}

/// The library of Debian's package `libfaketime`.
fn library() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let mut found = found.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime, which deploy/install-test-tools installs")
}
