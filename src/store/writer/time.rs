//! The writer's part in handling time: readings get their true time between two commits.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::settle::RETRY;
use super::{Room, Writer, WriterError};
use crate::clock::Clock;
use crate::store::catalog::{Catalog, Newest};
use crate::store::open::OpenError;
use crate::store::plan::Plan;
use crate::store::unsynced;

impl Writer {
    /// Goes by `clock`: while it is in doubt, readings that need it wait. `clock` learns the floor of time from the file.
    ///
    /// # Errors
    /// [`OpenError::Database`] when the tables cannot be read.
    pub fn under(mut self, clock: Clock) -> Result<Self, OpenError> {
        let zone = clock.zone();
        let pending = self.time.under(clock, &self.root.connection).map_err(|e| self.root.explain(e))?;
        self.rollups.settle_in(zone, &self.root.connection).map_err(|e| self.root.explain(e))?;
        self.metrics.clock.unsynced.set(pending);
        Ok(self)
    }

    /// Moves one step of readings whose time can be told now; says whether there may be more.
    pub(super) fn keep_time(&mut self) -> Result<bool, WriterError> {
        if !self.time.has_turn() || self.space.look() == Room::None {
            return Ok(false);
        }
        let turn = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            self.time.turn(&self.root.connection, &catalog, self.rollups.rolled())
        };
        let error = match turn {
            Ok(None) => return Ok(false),
            Ok(Some(turn)) => {
                let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
                learn(&mut catalog, turn.newest);
                for (id, newest) in turn.corrected {
                    if let Some(series) = catalog.series_mut(id) {
                        series.newest = Some(newest);
                    }
                }
                drop(catalog);
                self.rollups.marked(turn.marks);
                self.metrics.store.readings.add(turn.stored);
                match (turn.stored, turn.pending) {
                    (0, 0) => self.count_pending(),
                    (_, pending) => self.metrics.clock.unsynced.add(pending),
                }
                return Ok(true);
            }
            Err(error) => error.to_string(),
        };
        self.metrics.store.failed.inc();
        tracing::warn!(%error, "readings did not get their time; it will be tried again");
        self.strike("giving readings their time", &error);
        // Whether the step is durable shows in the tables: nothing is looked up by a batch number.
        let mut pause = RETRY.0;
        self.recover(self.number, &error, &mut pause)?;
        self.reload(&mut Plan::default(), 0);
        self.time.put_off();
        Ok(false)
    }

    /// After a failure what waits is looked for and counted anew.
    pub(super) fn count_unsynced(&mut self) {
        self.time.look_again();
        self.count_pending();
    }

    fn count_pending(&self) {
        match unsynced::pending(&self.root.connection) {
            Ok(pending) => self.metrics.clock.unsynced.set(pending),
            Err(error) => tracing::debug!(%error, "the readings without their time were not counted"),
        }
    }
}

/// Notes the newest readings where they are newer than what is known.
pub(super) fn learn(catalog: &mut Catalog, newest: HashMap<i32, Newest>) {
    for (id, newest) in newest {
        if let Some(series) = catalog.series_mut(id)
            && series.newest.is_none_or(|known| newest.ts > known.ts)
        {
            series.newest = Some(newest);
        }
    }
}
