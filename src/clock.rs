//! The clocks of this machine, and whether the real-time clock can be trusted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::time::{ClockId, clock_gettime};

use crate::config::Trust;
use crate::metrics::Metrics;
use crate::reading::{Arrival, Timestamp};

/// systemd-timesyncd makes this file once it has synchronised the clock in this boot.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";

/// Stamps arrivals and says whether the real-time clock is to be trusted. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Clock {
    metrics: Arc<Metrics>,
    trust: Trust,
    has_rtc: bool,
}

impl Clock {
    /// Looks at the machine once; [`Clock::refresh`] looks again.
    pub fn new(trust: Trust, metrics: Arc<Metrics>) -> Self {
        let clock = Self { metrics, trust, has_rtc: Path::new("/dev/rtc0").exists() || !is_board() };
        clock.refresh();
        clock
    }

    /// Asks again whether the clock is synchronised. The service calls it once a second.
    pub fn refresh(&self) {
        let synchronised = Path::new(TIMESYNC_MARK).exists() || kernel_synchronised();
        let trusted = match self.trust {
            Trust::Always => true,
            Trust::Synchronised => synchronised,
            Trust::Auto => synchronised || self.has_rtc,
        };
        let state = &self.metrics.clock;
        state.synchronised.store(synchronised, Ordering::Relaxed);
        if state.trusted.swap(trusted, Ordering::Relaxed) != trusted {
            tracing::info!(trusted, synchronised, "the clock's standing has changed");
        }
    }

    /// Stamps an arrival.
    pub fn now(&self) -> Arrival {
        Arrival { at: realtime(), boottime: boottime(), trusted: self.trusted() }
    }

    /// Whether the real-time clock can be trusted, as of the last refresh.
    pub fn trusted(&self) -> bool {
        self.metrics.clock.trusted.load(Ordering::Relaxed)
    }

    /// Notes that a question for the time was not answered because the clock is in doubt.
    pub fn withheld(&self) {
        self.metrics.clock.withheld.inc();
    }
}

/// CLOCK_REALTIME.
pub fn realtime() -> Timestamp {
    Timestamp(micros(ClockId::Realtime))
}

/// CLOCK_BOOTTIME in microseconds: time since this boot, sleep included.
pub fn boottime() -> i64 {
    micros(ClockId::Boottime)
}

fn micros(id: ClockId) -> i64 {
    let t = clock_gettime(id);
    t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000)
}

/// A single-board computer: it has a device tree, and where it has no `/dev/rtc0` its clock starts wrong.
fn is_board() -> bool {
    Path::new("/proc/device-tree/model").exists()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_is_trusted_and_clocks_run() {
        let metrics = Arc::new(Metrics::default());
        let clock = Clock::new(Trust::Always, Arc::clone(&metrics));
        let first = clock.now();
        assert!(first.trusted && metrics.clock.trusted.load(Ordering::Relaxed));
        assert!(first.at > Timestamp::from_secs(1_600_000_000));
        assert!(clock.now().boottime >= first.boottime);
    }

    #[test]
    fn synchronised_trusts_only_what_the_kernel_or_the_time_service_says() {
        let metrics = Arc::new(Metrics::default());
        let clock = Clock::new(Trust::Synchronised, Arc::clone(&metrics));
        assert_eq!(clock.trusted(), metrics.clock.synchronised.load(Ordering::Relaxed));
    }
}
