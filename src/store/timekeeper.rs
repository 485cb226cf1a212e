//! What the writer does about the clock: which readings wait, when they get their time, and where the floor is kept.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::Connection;

use super::catalog::{Catalog, Newest};
use super::commit::Done;
use super::floor::Floor;
use super::plan::Plan;
use super::rolled::{Mark, Rolled};
use super::unsynced::{self, Boot, Step};
use crate::clock::{Clock, Standing};
use crate::reading::Timestamp;

/// After a step that failed, the next is tried so much later.
const RETRY: Duration = Duration::from_secs(30);

/// The clock that the writer goes by, and what of the tables may have to be moved because of it.
#[derive(Debug)]
pub struct Timekeeper {
    clock: Option<Clock>,
    /// A moment, and CLOCK_BOOTTIME of `clock` at it.
    begun: (Instant, i64),
    floor: Floor,
    /// Rows of other boots may wait or be noted.
    others: bool,
    /// Rows of this boot may wait.
    held: bool,
    /// Rows of this boot may be noted.
    notes: bool,
    retry_at: Option<Instant>,
    /// Newest readings of their series whose time was corrected.
    stale: HashMap<i32, Timestamp>,
}

/// What a turn has done, for the writer to learn and to count.
#[derive(Debug, Default)]
pub struct Turn {
    /// The newest reading of each touched series, to be learned where it is newer.
    pub newest: HashMap<i32, Newest>,
    /// The newest reading of series whose newest was corrected, to be learned in any case.
    pub corrected: HashMap<i32, Newest>,
    /// By how much the rows of `readings` have grown.
    pub stored: i64,
    /// By how much the readings without their right time have grown.
    pub pending: i64,
    /// Hours that are dirty by it.
    pub marks: HashSet<Mark>,
}

impl Timekeeper {
    /// Without a clock: nothing waits, nothing is corrected.
    pub fn new(database: &Path) -> Self {
        Self {
            clock: None,
            begun: (Instant::now(), 0),
            floor: Floor::beside(database),
            others: false,
            held: false,
            notes: false,
            retry_at: None,
            stale: HashMap::new(),
        }
    }

    /// Goes by `clock` from now on, which learns the floor. Returns how many readings are without their right time.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn under(&mut self, clock: Clock, connection: &Connection) -> duckdb::Result<i64> {
        if let Some(floor) = self.floor.read(connection)? {
            clock.raise_floor(floor);
            clock.refresh();
        }
        self.begun = (Instant::now(), clock.now().boottime);
        self.clock = Some(clock);
        self.look_again();
        unsynced::pending(connection)
    }

    /// Forgets what it believes of the tables.
    pub fn look_again(&mut self) {
        (self.others, self.held, self.notes) = (true, true, true);
    }

    /// What the clock is good for.
    pub fn standing(&self) -> Standing {
        self.clock.as_ref().map_or(Standing::Doubtful, Clock::standing)
    }

    /// CLOCK_BOOTTIME in microseconds; `None` without a clock.
    pub fn boottime(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.now().boottime)
    }

    /// Now, for intervals of hours and minutes. It runs with the clock, so that one that runs faster than time takes rollups
    /// and retention with it.
    pub fn instant(&self) -> Instant {
        let (moment, boottime) = self.begun;
        let now = self.boottime().map(|now| now.saturating_sub(boottime));
        match now.and_then(|passed| u64::try_from(passed).ok()) {
            Some(passed) => moment + Duration::from_micros(passed),
            None => Instant::now(),
        }
    }

    /// This boot.
    pub fn boot(&self) -> Arc<str> {
        self.clock.as_ref().map_or_else(|| Arc::from(""), |c| Arc::clone(c.boot()))
    }

    /// The floor that a commit with these arrivals has to write, if it is due.
    pub fn floor_due(&self, newest_arrival: Option<Timestamp>) -> Option<Timestamp> {
        let floor = self.clock.as_ref()?.floor().max(newest_arrival)?;
        self.floor.row_due(Instant::now()).then_some(floor)
    }

    /// A commit of `plan` is durable. Returns by how much the readings without their right time have grown.
    pub fn committed(&mut self, plan: &Plan, done: &Done) -> i64 {
        let now = Instant::now();
        if let Some(clock) = &self.clock {
            if let Some(arrival) = plan.newest_arrival {
                clock.raise_floor(arrival);
            }
            if let Some(floor) = plan.floor {
                self.floor.row_written(floor, now);
            }
            if let Some(floor) = clock.floor() {
                self.floor.write_file(floor, now, false);
            }
        }
        self.held |= done.held > 0;
        self.notes |= done.noted > 0;
        i64::try_from(done.held + done.noted).unwrap_or(0)
    }

    /// The store is closed in order.
    pub fn close(&mut self) {
        if let Some(floor) = self.clock.as_ref().and_then(Clock::floor) {
            self.floor.write_file(floor, Instant::now(), true);
        }
    }

    /// A turn has failed: the next is put off.
    pub fn put_off(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// Whether [`Timekeeper::turn`] may have something to do.
    pub fn has_turn(&self) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        if self.lowered_floor().is_some() {
            return true;
        }
        (self.others || self.held || self.notes)
            && self.clock.is_some()
            && match self.standing() {
                Standing::Right(_) => true,
                Standing::Doubtful => self.others || self.held,
                Standing::Waiting | Standing::Fresh => self.others,
            }
    }

    fn lowered_floor(&self) -> Option<Timestamp> {
        self.clock.as_ref()?.floor().filter(|floor| self.floor.is_lowered(*floor))
    }

    /// Moves one bounded step of readings whose time can be told now. `None` when there is nothing to do.
    ///
    /// # Errors
    /// Whatever DuckDB reports; call [`Timekeeper::put_off`] when the store is back.
    pub fn turn(
        &mut self,
        connection: &Connection,
        catalog: &Catalog,
        rolled: &Arc<Rolled>,
    ) -> duckdb::Result<Option<Turn>> {
        if let Some(floor) = self.lowered_floor() {
            self.floor.lower(floor, connection)?;
            return Ok(Some(Turn::default()));
        }
        let Some(clock) = &self.clock else { return Ok(None) };
        let this = Arc::clone(clock.boot());
        if self.others {
            if let Some(step) = unsynced::release(connection, catalog, &this, Boot::Other, None, rolled)? {
                tracing::info!(
                    readings = step.taken,
                    "readings of an earlier boot whose clock never became right are stored as they are"
                );
                return Ok(Some(moved(step)));
            }
            unsynced::forget(connection, &this)?;
            self.others = false;
            // The notes that were dropped count no longer.
            return Ok(Some(Turn::default()));
        }
        match clock.standing() {
            Standing::Right(offset) => {
                if self.held {
                    if let Some(step) = unsynced::release(connection, catalog, &this, Boot::This, Some(offset), rolled)?
                    {
                        tracing::info!(readings = step.taken, "readings have got their true time");
                        return Ok(Some(moved(step)));
                    }
                    self.held = false;
                }
                if self.notes {
                    if let Some(step) = unsynced::correct(connection, catalog, &this, offset, rolled)? {
                        tracing::info!(readings = step.stored, "readings stored as they were have got their true time");
                        self.note_stale(catalog, &step);
                        return Ok(Some(moved(step)));
                    }
                    self.notes = false;
                    return self.renew(connection, catalog);
                }
                Ok(None)
            }
            Standing::Doubtful if self.held => {
                if let Some(step) = unsynced::release(connection, catalog, &this, Boot::This, None, rolled)? {
                    tracing::warn!(
                        readings = step.taken,
                        "the clock has not become right in time: readings are stored as they are"
                    );
                    self.notes |= step.noted > 0;
                    return Ok(Some(moved(step)));
                }
                self.held = false;
                Ok(None)
            }
            Standing::Doubtful | Standing::Waiting | Standing::Fresh => Ok(None),
        }
    }

    /// The newest of a series may have been a row whose time was wrong: it is looked for once everything is corrected.
    fn note_stale(&mut self, catalog: &Catalog, step: &Step) {
        for (series, ts) in &step.replaced {
            if catalog.series(*series).and_then(|s| s.newest).is_some_and(|n| n.ts == *ts) {
                self.stale.insert(*series, *ts);
            }
        }
    }

    fn renew(&mut self, connection: &Connection, catalog: &Catalog) -> duckdb::Result<Option<Turn>> {
        let still = |(series, ts): (&i32, &Timestamp)| {
            catalog.series(*series).and_then(|s| s.newest).is_some_and(|n| n.ts == *ts).then_some(*series)
        };
        let series: Vec<i32> = self.stale.iter().filter_map(still).collect();
        if series.is_empty() {
            self.stale.clear();
            return Ok(None);
        }
        let corrected = unsynced::newest(connection, &series)?;
        self.stale.clear();
        Ok(Some(Turn { corrected, ..Turn::default() }))
    }
}

fn moved(step: Step) -> Turn {
    let signed = |n: u64| i64::try_from(n).unwrap_or(0);
    let replaced = i64::try_from(step.replaced.len()).unwrap_or(0);
    Turn {
        newest: step.newest,
        marks: step.marks,
        corrected: HashMap::new(),
        stored: signed(step.stored) - replaced,
        pending: signed(step.noted) - signed(step.taken),
    }
}
