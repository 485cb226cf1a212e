//! A machine whose clocks stand still until a test or a benchmark moves them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::{Clock, Machine};
use crate::config::Trust;
use crate::metrics::Metrics;
use crate::reading::Timestamp;

/// The clocks of one boot; clones are the same machine.
#[derive(Clone, Debug)]
pub struct Stepped(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    offset: AtomicI64,
    boottime: AtomicI64,
    synchronised: AtomicBool,
    keeps_time: AtomicBool,
    boot: Arc<str>,
}

impl Stepped {
    /// 100 s after the boot `boot`, showing `now`; not synchronised, without a battery.
    pub fn new(boot: &str, now: Timestamp) -> Self {
        let boottime = 100_000_000;
        Self(Arc::new(Inner {
            offset: AtomicI64::new(now.micros() - boottime),
            boottime: AtomicI64::new(boottime),
            synchronised: AtomicBool::new(false),
            keeps_time: AtomicBool::new(false),
            boot: Arc::from(boot),
        }))
    }

    /// With a battery-backed clock.
    #[must_use]
    pub fn with_battery(self) -> Self {
        self.0.keeps_time.store(true, Ordering::Relaxed);
        self
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.0.boottime.fetch_add(micros, Ordering::Relaxed);
    }

    /// Somebody sets the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.offset.store(now.micros() - self.boottime(), Ordering::Relaxed);
    }

    /// Somebody moves the clock by so many microseconds.
    pub fn step(&self, micros: i64) {
        self.0.offset.fetch_add(micros, Ordering::Relaxed);
    }

    /// Something says that it is synchronised, or does no longer.
    pub fn synchronise(&self, synchronised: bool) {
        self.0.synchronised.store(synchronised, Ordering::Relaxed);
    }

    /// The clock of this machine under `trust`, with 15 minutes of patience.
    pub fn clock(&self, trust: Trust, metrics: &Arc<Metrics>) -> Clock {
        Clock::of(Box::new(self.clone()), trust, Duration::from_secs(900), crate::zone::Tz::UTC, Arc::clone(metrics))
    }
}

impl Machine for Stepped {
    fn realtime(&self) -> Timestamp {
        Timestamp(self.boottime() + self.0.offset.load(Ordering::Relaxed))
    }

    fn boottime(&self) -> i64 {
        self.0.boottime.load(Ordering::Relaxed)
    }

    fn synchronised(&self) -> bool {
        self.0.synchronised.load(Ordering::Relaxed)
    }

    fn keeps_time(&self) -> bool {
        self.0.keeps_time.load(Ordering::Relaxed)
    }

    fn boot_id(&self) -> Arc<str> {
        Arc::clone(&self.0.boot)
    }
}
