//! Where the time comes from: the kernel's clocks, and who says that they are synchronised.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::reading::Timestamp;
use crate::zone::Tz;

/// systemd-timesyncd makes this file once it has synchronised the clock in this boot.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";

/// The time zone of this machine, as its settings have it; UTC where they name none that is known.
pub fn zone_of_machine() -> Tz {
    iana_time_zone::get_timezone().ok().and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC)
}

/// What a [`Clock`](super::Clock) asks of the machine. Nothing of it blocks.
pub trait Machine: fmt::Debug + Send + Sync {
    /// CLOCK_REALTIME.
    fn realtime(&self) -> Timestamp;
    /// CLOCK_BOOTTIME in microseconds: time since this boot, sleep included. It never jumps.
    fn boottime(&self) -> i64;
    /// Whether something says that the clock is synchronised.
    fn synchronised(&self) -> bool;
    /// Whether the clock goes on while the power is off. Asked once.
    fn keeps_time(&self) -> bool;
    /// A name for this boot that no other boot has. Asked once.
    fn boot_id(&self) -> Arc<str>;
}

/// The machine that this process runs on.
#[derive(Debug)]
pub(super) struct Board {
    mark: Option<PathBuf>,
}

impl Board {
    /// With `mark`, only that file says that the clock is synchronised; without, the time service or the kernel.
    pub fn new(mark: Option<PathBuf>) -> Self {
        Self { mark }
    }
}

impl Machine for Board {
    fn realtime(&self) -> Timestamp {
        realtime()
    }

    fn boottime(&self) -> i64 {
        boottime()
    }

    fn synchronised(&self) -> bool {
        match &self.mark {
            Some(mark) => mark.exists(),
            None => Path::new(TIMESYNC_MARK).exists() || kernel_synchronised(),
        }
    }

    /// A single-board computer has a device tree, and where it has no `/dev/rtc0` its clock starts wrong.
    fn keeps_time(&self) -> bool {
        Path::new("/dev/rtc0").exists() || !Path::new("/proc/device-tree/model").exists()
    }

    fn boot_id(&self) -> Arc<str> {
        match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(id) => Arc::from(id.trim()),
            // Without it nothing that an earlier process has left is taken for this boot's.
            Err(_) => Arc::from(format!("{} {}", realtime().micros(), std::process::id())),
        }
    }
}

/// CLOCK_REALTIME.
pub fn realtime() -> Timestamp {
    // Through the C library, unlike CLOCK_BOOTTIME below: the tests run the process under libfaketime, which moves only
    // what goes through there.
    let micros = |d: std::time::Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    })
}

/// CLOCK_BOOTTIME in microseconds: time since this boot, sleep included.
pub fn boottime() -> i64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000)
}

/// Whether the kernel's clock discipline says that the clock is synchronised.
fn kernel_synchronised() -> bool {
    // SAFETY: all-zero is a valid `timex`, and with `modes` 0 the call only reads.
    let (state, status) = unsafe {
        let mut t: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut t), t.status)
    };
    state != libc::TIME_ERROR && state >= 0 && status & libc::STA_UNSYNC == 0
}
