//! The clocks of this machine, whether the real-time clock can be trusted, and what to do with readings while it cannot.

mod machine;
/// For tests and benchmarks, which let time pass as they like.
#[doc(hidden)]
pub mod stepped;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use machine::Board;
pub use machine::{Machine, boottime, realtime, zone_of_machine};

use crate::config::{self, Trust};
use crate::metrics::Metrics;
use crate::reading::{Arrival, Timestamp};
use crate::zone::Tz;

/// A change of CLOCK_REALTIME against CLOCK_BOOTTIME by more than this between two looks is a jump, and so much before
/// the floor a clock may be: microseconds. What is slewed stays far below it.
const JUMP: i64 = 1_000_000;
/// A clock that has just become right, or has just jumped, is used to correct readings only after this time, in
/// microseconds: whoever sets it may report success a moment before the step.
const STEADY: i64 = 1_000_000;

/// What the clock is good for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is trusted, and has been for a moment: CLOCK_BOOTTIME plus these microseconds is the true time.
    Right(i64),
    /// It is trusted since a moment only, or was found jumping just now.
    Fresh,
    /// It is not trusted, and may yet become right: readings that need it wait.
    Waiting,
    /// It is not trusted, and patience (`[clock] patience`) is over: readings are stored as they are.
    Doubtful,
}

/// Stamps arrivals and says whether the real-time clock is to be trusted. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    machine: Box<dyn Machine>,
    metrics: Arc<Metrics>,
    trust: Trust,
    patience: i64,
    keeps_time: bool,
    boot: Arc<str>,
    zone: Tz,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// CLOCK_REALTIME minus CLOCK_BOOTTIME at the last look.
    offset: i64,
    /// CLOCK_BOOTTIME since which it is trusted and has not jumped.
    right_since: Option<i64>,
    /// CLOCK_BOOTTIME since which it is not trusted; 0, the boot, while it never was.
    doubt_since: i64,
    floor: Option<Timestamp>,
}

impl Clock {
    /// The clock of this machine with the default settings beside `trust`. Looks at the machine once;
    /// [`Clock::refresh`] looks again.
    pub fn new(trust: Trust, metrics: Arc<Metrics>) -> Self {
        Self::with(&config::Clock { trust, ..config::Clock::default() }, metrics)
    }

    /// The clock of this machine with the settings of `config`.
    pub fn with(config: &config::Clock, metrics: Arc<Metrics>) -> Self {
        let mark: Option<PathBuf> = config.synchronised_file.clone();
        let zone = config.timezone.unwrap_or_else(machine::zone_of_machine);
        Self::of(Box::new(Board::new(mark)), config.trust, config.patience, zone, metrics)
    }

    /// The clock of `machine`, which stands in `zone`.
    pub fn of(machine: Box<dyn Machine>, trust: Trust, patience: Duration, zone: Tz, metrics: Arc<Metrics>) -> Self {
        let keeps_time = machine.keeps_time();
        let boot = machine.boot_id();
        let patience = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
        let offset = offset(&*machine).0;
        let state = Mutex::new(State { offset, right_since: None, doubt_since: 0, floor: None });
        let clock = Self(Arc::new(Shared { machine, metrics, trust, patience, keeps_time, boot, zone, state }));
        clock.refresh();
        clock
    }

    /// Looks at the clock: is it synchronised, has it jumped, is it before the floor? The service calls it once a second.
    pub fn refresh(&self) {
        let shared = &*self.0;
        let synchronised = shared.machine.synchronised();
        let (offset, boottime) = offset(&*shared.machine);
        let now = Timestamp(boottime.saturating_add(offset));
        let figures = &shared.metrics.clock;
        let mut state = self.state();

        let mut before_floor = state.floor.is_some_and(|floor| now.micros() + JUMP < floor.micros());
        if before_floor && (synchronised || shared.trust == Trust::Always) {
            // A clock that was ahead has stamped the floor. Kept, it would make every later start doubt a right clock.
            if let Some(floor) = state.floor.replace(now) {
                tracing::warn!(%floor, %now, "the clock is right and before the newest reading: the floor of time is lowered");
            }
            before_floor = false;
        }
        let trusted = match shared.trust {
            Trust::Always => true,
            Trust::Synchronised => synchronised,
            Trust::Auto => synchronised || (shared.keeps_time && !before_floor),
        };
        figures.synchronised.store(synchronised, Ordering::Relaxed);
        figures.floor.set(state.floor.map_or(0, Timestamp::micros));
        figures.before_floor.store(before_floor, Ordering::Relaxed);
        let was_trusted = figures.trusted.swap(trusted, Ordering::Relaxed);

        let step = offset.saturating_sub(state.offset);
        let jumped = step.saturating_abs() > JUMP;
        state.offset = offset;
        if jumped {
            figures.jumps.inc();
            if was_trusted {
                tracing::warn!(seconds = %seconds(step), %now, "the clock has jumped while it was trusted");
            } else {
                tracing::info!(seconds = %seconds(step), %now, "the clock was set");
            }
        }
        match (trusted, was_trusted) {
            (true, false) => state.right_since = Some(boottime),
            (true, true) if jumped => state.right_since = Some(boottime),
            (true, true) => {
                state.right_since.get_or_insert(boottime);
            }
            (false, true) => {
                state.right_since = None;
                state.doubt_since = boottime;
            }
            (false, false) => state.right_since = None,
        }
        if was_trusted != trusted {
            tracing::info!(trusted, synchronised, before_floor, "the clock's standing has changed");
        }
    }

    /// Stamps an arrival.
    pub fn now(&self) -> Arrival {
        let machine = &*self.0.machine;
        Arrival { at: machine.realtime(), boottime: machine.boottime(), trusted: self.trusted() }
    }

    /// Whether the real-time clock can be trusted, as of the last refresh.
    pub fn trusted(&self) -> bool {
        self.0.metrics.clock.trusted.load(Ordering::Relaxed)
    }

    /// What the clock is good for now.
    pub fn standing(&self) -> Standing {
        let (offset, boottime) = offset(&*self.0.machine);
        let state = self.state();
        if !self.trusted() {
            let over = boottime.saturating_sub(state.doubt_since) >= self.0.patience;
            return if over { Standing::Doubtful } else { Standing::Waiting };
        }
        let steady = state.right_since.is_some_and(|since| boottime.saturating_sub(since) >= STEADY)
            && offset.saturating_sub(state.offset).saturating_abs() <= JUMP;
        if steady { Standing::Right(offset) } else { Standing::Fresh }
    }

    /// The kernel's id of this boot. CLOCK_BOOTTIME is comparable within one boot only.
    pub fn boot(&self) -> &Arc<str> {
        &self.0.boot
    }

    /// The time zone of local times and days (`[clock] timezone`).
    pub fn zone(&self) -> Tz {
        self.0.zone
    }

    /// A trusted clock has stamped an arrival at `stamp`, in this life or an earlier one: what is before it is not right.
    pub fn raise_floor(&self, stamp: Timestamp) {
        let mut state = self.state();
        if state.floor.is_none_or(|floor| floor < stamp) {
            state.floor = Some(stamp);
            self.0.metrics.clock.floor.set(stamp.micros());
        }
    }

    /// The floor of time: the newest arrival that a trusted clock has stamped.
    pub fn floor(&self) -> Option<Timestamp> {
        self.state().floor
    }

    /// Notes that a question for the time was not answered because the clock is in doubt.
    pub fn withheld(&self) {
        self.0.metrics.clock.withheld.inc();
    }

    // A panic ends the process, so a poisoned lock is never seen by code that goes on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CLOCK_REALTIME minus CLOCK_BOOTTIME, and CLOCK_BOOTTIME: the tightest of a few attempts, since this thread may lose the
/// processor between the two.
fn offset(machine: &dyn Machine) -> (i64, i64) {
    let mut best = (i64::MAX, 0, 0);
    for _ in 0..3 {
        let before = machine.boottime();
        let real = machine.realtime().micros();
        let after = machine.boottime();
        let spread = after.saturating_sub(before);
        if spread < best.0 {
            best = (spread, real.saturating_sub(before + spread / 2), after);
        }
        if spread <= 100 {
            break;
        }
    }
    (best.1, best.2)
}

fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { '-' } else { '+' };
    format!("{sign}{}.{:03}", (micros / 1_000_000).abs(), (micros / 1_000 % 1_000).abs())
}
