//! The writer's part in keeping the file small: rollups, retention and forgotten names, in steps between two commits.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::settle::RETRY;
use super::{Room, Writer, WriterError, gauge};
use crate::clock::Standing;
use crate::reading::Timestamp;
use crate::store::forget::{self, Forgotten};
use crate::store::plan::Plan;
use crate::store::retention::{Removed, Why};

/// How often it is looked at whether a source crowds the names.
const STRAYS: Duration = Duration::from_secs(3_600);

/// After a start names are looked through when what waited to be stored has been.
pub(super) const NAMES_FIRST: Duration = Duration::from_secs(15);
/// After a failure they are looked through so much later.
const NAMES_RETRY: Duration = Duration::from_secs(60);

/// What a step was about.
enum Step {
    /// There was none.
    Nothing,
    /// There may be more.
    Done,
    /// Names were looked through.
    Forgot(Forgotten),
}

impl Writer {
    /// Does one step, or several where so much has to be computed again that commits have to wait; says whether there may be
    /// more.
    pub(super) fn keep_up(&mut self) -> Result<bool, WriterError> {
        let mut more = false;
        loop {
            let now = self.time.instant();
            self.rollups.at(now);
            self.retention.at(now);
            let retention = self.retention.has_step();
            if !(self.rollups.has_step() || retention || self.names_due()) || self.space.look() == Room::None {
                return Ok(more);
            }
            let error = match self.step() {
                Ok(Step::Nothing) => return Ok(more),
                Ok(Step::Done) => {
                    more = true;
                    self.show_upkeep();
                    if !self.rollups.is_overfull() {
                        return Ok(true);
                    }
                    self.alive();
                    continue;
                }
                Ok(Step::Forgot(forgotten)) => {
                    self.forgot(&forgotten);
                    return Ok(true);
                }
                Err(error) => error.to_string(),
            };
            self.metrics.store.failed.inc();
            tracing::warn!(%error, "rollups or retention failed; it will be tried again");
            self.strike("rollups or retention", &error);
            let mut pause = RETRY.0;
            self.recover(self.number, &error, &mut pause)?;
            self.reload(&mut Plan::default(), 0);
            self.rollups.put_off();
            self.retention.put_off();
            self.names_at = Instant::now() + NAMES_RETRY;
            return Ok(false);
        }
    }

    fn step(&mut self) -> duckdb::Result<Step> {
        let now = self.right_time();
        let connection = &self.root.connection;
        let upkeep = &self.metrics.store.upkeep;
        if self.rollups.has_step()
            && let Some(step) = self.rollups.step(connection, now)?
        {
            upkeep.hours.add(step.hours as u64);
            upkeep.days.add(step.days as u64);
            return Ok(Step::Done);
        }
        if self.retention.has_step() {
            let room = self.space.look();
            let removed = self.retention.step(connection, &mut self.rollups, now, room)?;
            if let Some(removed) = removed {
                self.removed = true;
                self.count_removed(removed);
                return Ok(Step::Done);
            }
            self.show_upkeep();
        }
        if !self.names_due() {
            return Ok(Step::Nothing);
        }
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        if self.removed {
            let forgotten = forget::empty(connection, &catalog, self.rollups.rolled().expired)?;
            self.removed = !forgotten.series.is_empty();
            return Ok(if self.removed { Step::Forgot(forgotten) } else { Step::Nothing });
        }
        if let Some(now) = now
            && self.strays_at.is_none_or(|at| at.elapsed() >= STRAYS)
        {
            self.strays_at = Some(Instant::now());
            let forgotten = forget::strays(connection, &catalog, self.limits, now)?;
            if !forgotten.series.is_empty() {
                tracing::warn!(
                    series = forgotten.series.len(),
                    readings = forgotten.readings,
                    "names that were hardly ever heard of are forgotten: a source had nearly used up its part of them"
                );
                return Ok(Step::Forgot(forgotten));
            }
        }
        Ok(Step::Nothing)
    }

    fn names_due(&self) -> bool {
        Instant::now() >= self.names_at && (self.removed || self.strays_at.is_none_or(|at| at.elapsed() >= STRAYS))
    }

    /// The time, where the clock is right.
    fn right_time(&self) -> Option<Timestamp> {
        match self.time.standing() {
            Standing::Right(offset) => Some(Timestamp(self.time.boottime()?.saturating_add(offset))),
            Standing::Fresh | Standing::Waiting | Standing::Doubtful => None,
        }
    }

    fn count_removed(&self, removed: Removed) {
        let upkeep = &self.metrics.store.upkeep;
        match removed {
            Removed::Readings { why, rows, before } => {
                let counter = match why {
                    Why::Age => &upkeep.removed_age,
                    Why::Size => &upkeep.removed_size,
                    Why::Space => &upkeep.removed_space,
                };
                counter.add(rows as u64);
                self.metrics.store.readings.add(-gauge(rows));
                tracing::info!(rows, %before, ?why, "the oldest readings were removed; their rollups stay");
            }
            Removed::Rollups(rows) => upkeep.removed_rollups.add(rows as u64),
        }
    }

    fn forgot(&self, forgotten: &Forgotten) {
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        for series in &forgotten.series {
            catalog.remove_series(*series);
        }
        for node in &forgotten.nodes {
            catalog.remove_node(*node);
        }
        let store = &self.metrics.store;
        store.nodes.set(gauge(catalog.node_count()));
        store.series.set(gauge(catalog.series_count()));
        drop(catalog);
        store.readings.add(-gauge(forgotten.readings));
        store.upkeep.forgotten.add(forgotten.series.len() as u64);
        store.upkeep.forgotten_readings.add(forgotten.readings as u64);
        tracing::info!(
            series = forgotten.series.len(),
            nodes = forgotten.nodes.len(),
            "names of which nothing is kept are forgotten"
        );
    }

    /// Shows how far the rollups are.
    pub(super) fn show_upkeep(&self) {
        let rolled = self.rollups.rolled();
        let upkeep = &self.metrics.store.upkeep;
        let shown = |ts: Timestamp| if ts == Timestamp(i64::MIN) { 0 } else { ts.micros() };
        upkeep.dirty.set(gauge(rolled.dirty()));
        upkeep.rolled_hours.set(shown(rolled.hours));
        upkeep.rolled_days.set(shown(rolled.days));
        upkeep.expired_before.set(rolled.expired.map_or(0, Timestamp::micros));
        let blocks = self.retention.blocks;
        upkeep.reusable_bytes.set(blocks.map_or(0, |b| i64::try_from(b.free).unwrap_or(i64::MAX)));
        if upkeep.over_size.swap(self.retention.is_over, Ordering::Relaxed) != self.retention.is_over {
            if self.retention.is_over {
                tracing::error!(
                    "the database is over max-size, or the disk is low, and there is no closed day of readings left to remove"
                );
            } else {
                tracing::info!("the size of the database is within its bound again");
            }
        }
    }

    /// After a failure how far the rollups are is read from the file.
    pub(super) fn look_at_rollups_again(&mut self) {
        if let Err(error) = self.rollups.look_again(&self.root.connection) {
            tracing::warn!(%error, "how far the rollups are was not read again");
        }
        self.show_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::metrics::Metrics;
    use crate::store::{Store, open};

    #[test]
    fn names_that_cannot_be_looked_through_are_put_off() {
        let dir = tempfile::tempdir().unwrap();
        let config = config::Store { path: dir.path().join("g.duckdb"), ..config::Store::default() };
        let metrics: Arc<Metrics> = Arc::default();
        let Store { mut writer, lock: _lock, .. } = open(&config, &metrics).unwrap();
        writer
            .root
            .connection
            .execute_batch(
                "INSERT INTO g.nodes VALUES (1, 'hub', 'n', make_timestamp(0)); INSERT INTO g.series VALUES (1, 1, 't', NULL, NULL);
                 DROP TABLE g.provisional",
            )
            .unwrap();
        *writer.catalog.write().unwrap() = writer.root.load_catalog().unwrap();
        assert!(!writer.names_due(), "not at once after a start");
        writer.names_at = Instant::now();
        for _ in 0..3 {
            assert!(!writer.keep_up().unwrap());
            assert_eq!(metrics.store.failed.get(), 1, "each failure attaches the file anew");
        }
        assert_eq!(metrics.store.series.get(), 0);
        assert_eq!(writer.catalog.read().unwrap().series_count(), 1, "it is still there");
    }
}
