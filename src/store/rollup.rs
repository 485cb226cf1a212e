//! The rollups `hourly` and `daily`: when they are made, and when again.
//!
//! An hour (of UTC) or a day (of the time zone) is computed when it closes: a little after its end, under a clock that is
//! right. From then on a reading that is stored for it, or moved out of it, marks it in the same transaction (`dirty`), and it
//! is computed again soon. A day is marked (`dirty_days`) when one of its hours was computed again. Everything is done in
//! steps of one transaction each, between two commits: what a step computes, its marks and how far the rollups are change
//! together, so that a crash anywhere loses and doubles nothing.

mod close;
mod compute;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::{Connection, params};

use super::rolled::{self, Mark, Rolled};
use crate::reading::Timestamp;
use crate::zone::{DAY, HOUR, Tz, day_of, hour_of, next_day};
use compute::Table;
pub use compute::literal;

/// So long after its end an hour closes: what was on its way then has been stored, most of the time. Microseconds.
const GRACE: i64 = 60 * 1_000_000;
/// Readings that one step computes from. It keeps a commit that comes meanwhile waiting.
const STEP: i64 = 150_000;
/// Rows of a rollup that one statement makes. All of them are in DuckDB's memory until it is done: of 144,000 (6,000 series in each
/// hour of a day) it runs out, with 24 MB as well as with 16 MB.
const ROWS: usize = 20_000;
/// A mark waits so long for others like it.
const SETTLE: Duration = Duration::from_secs(10);
/// Marks that keep coming wait twice as long each time, up to this: a node that is always late by hours would otherwise have them
/// computed for each of its messages, which writes several times what the messages do.
const SETTLE_MOST: Duration = Duration::from_secs(300);
/// They keep coming when the next is there within so many times what the last have waited.
const SOON: u32 = 6;
/// Marks from which on they wait no longer.
const MANY: usize = 2_000;
/// Marks above which no commit is made before some are worked off: the bound of `dirty`, together with a batch's rows.
pub const MOST: usize = 100_000;
/// So long after the clock has leapt by more than a day, with a restart or without one, nothing is removed for its age: a wrong
/// clock is most often set right within minutes of a start, and what is removed does not come back.
const LEAP: Duration = Duration::from_secs(3_600);
/// After a step that failed, the next is tried so much later.
const RETRY: Duration = Duration::from_secs(30);
/// How often it is looked at whether an hour or a day has closed, and how long after a start for the first time: what waits to be
/// stored then comes first.
const LOOK: Duration = Duration::from_secs(10);

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Rows of `hourly` that were computed.
    pub hours: usize,
    /// Rows of `daily` that were computed.
    pub days: usize,
}

/// How far the rollups are, and when there is something to do.
#[derive(Debug)]
pub struct Rollups {
    rolled: Arc<Rolled>,
    zone: Tz,
    /// Since when marks wait.
    marked: Option<Instant>,
    /// How long they do.
    settle: Duration,
    /// When the last of them was worked off.
    cleared: Option<Instant>,
    /// Marks may be in `dirty_days`.
    dirty_days: bool,
    looked: Instant,
    retry_at: Option<Instant>,
    /// Up to which hour things were closed, or could have been, at the last step.
    last: Timestamp,
    /// When that was more than a day before.
    leapt: Option<Instant>,
    /// What its intervals go by; see [`Rollups::at`].
    now: Instant,
}

impl Rollups {
    /// As `rolled` was read from the file; days are those of `zone`.
    pub fn new(rolled: Rolled, zone: Tz) -> Self {
        let now = Instant::now();
        let marked = (rolled.dirty() > 0).then_some(now);
        Self {
            last: rolled.hours,
            leapt: None,
            rolled: Arc::new(rolled),
            zone,
            marked,
            settle: SETTLE,
            cleared: None,
            dirty_days: true,
            looked: now,
            retry_at: None,
            now,
        }
    }

    /// It is `now` from now on.
    pub fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// What commits go by. Let go of it before the next step, or the step copies it.
    pub fn rolled(&self) -> &Arc<Rolled> {
        &self.rolled
    }

    fn rolled_mut(&mut self) -> &mut Rolled {
        Arc::make_mut(&mut self.rolled)
    }

    /// Readings before `before` were removed.
    pub fn expired(&mut self, before: Timestamp) {
        self.rolled_mut().expired = Some(before);
    }

    /// The zone of the days.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Takes days as those of `zone` from now on. Where the file's are those of another zone, its days are computed again as
    /// far as there are readings; older ones stay as they are.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn settle_in(&mut self, zone: Tz, connection: &Connection) -> duckdb::Result<()> {
        self.zone = zone;
        let found: Option<String> =
            connection.query_row("SELECT max(value) FROM g.meta WHERE key = 'timezone'", [], |r| r.get(0))?;
        if found.as_deref() == Some(zone.name()) {
            return Ok(());
        }
        // The day that readings are left of only in part is not made anew.
        let whole = self.rolled.expired.map_or(Timestamp(i64::MIN), |before| {
            let day = day_of(before, zone);
            if day == before { day } else { next_day(before, zone) }
        });
        connection.execute_batch("BEGIN TRANSACTION")?;
        if found.is_some() {
            connection.execute("DELETE FROM g.daily WHERE epoch_us(bucket) >= ?", [whole.micros()])?;
            connection.execute("DELETE FROM g.dirty_days", [])?;
            rolled::set_meta(connection, "rolled-days", &whole.micros().to_string())?;
        }
        rolled::set_meta(connection, "timezone", zone.name())?;
        connection.execute_batch("COMMIT")?;
        if let Some(found) = found {
            tracing::info!(before = found, now = zone.name(), "the time zone has changed: daily rollups are made anew");
            self.rolled_mut().days = whole;
        }
        Ok(())
    }

    /// A commit has written these marks.
    pub fn marked(&mut self, marks: impl IntoIterator<Item = Mark>) {
        self.rolled_mut().marked(marks);
        if self.rolled.dirty() > 0 && self.marked.is_none() {
            self.marked = Some(self.now);
            let soon = self.cleared.is_some_and(|at| self.since(at) < self.settle * SOON);
            self.settle = if soon { (self.settle * 2).min(SETTLE_MOST) } else { SETTLE };
        }
    }

    /// Reads again from the file how far it is, after a commit or a step whose fate is unknown.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn look_again(&mut self, connection: &Connection) -> duckdb::Result<()> {
        let (retry_at, last, leapt, now) = (self.retry_at, self.last, self.leapt, self.now);
        let rolled = Rolled::read(connection)?;
        let marked = (rolled.dirty() > 0).then_some(now);
        *self = Self { retry_at, last, leapt, now, marked, looked: now, ..Self::new(rolled, self.zone) };
        Ok(())
    }

    /// A step has failed: the next is put off.
    pub fn put_off(&mut self) {
        self.retry_at = Some(self.now + RETRY);
    }

    /// Whether so much has to be computed again that commits wait for it.
    pub fn is_overfull(&self) -> bool {
        self.rolled.dirty() > MOST && !self.is_put_off()
    }

    fn is_put_off(&self) -> bool {
        self.retry_at.is_some_and(|at| self.now < at)
    }

    /// Whether [`Rollups::step`] may have something to do.
    pub fn has_step(&self) -> bool {
        !self.is_put_off() && (self.is_settled() || self.since(self.looked) >= LOOK)
    }

    fn is_settled(&self) -> bool {
        self.rolled.dirty() >= MANY || self.marked.is_some_and(|marked| self.since(marked) >= self.settle)
    }

    fn since(&self, then: Instant) -> Duration {
        self.now.saturating_duration_since(then)
    }

    /// Does one step; `None` when there is nothing to do at present. `now` is the time where the clock is right: without it
    /// nothing closes. Blocks for as long as it takes to read some 150,000 readings.
    ///
    /// # Errors
    /// Whatever DuckDB reports. The transaction has to be rolled back then; what became of it shows in the tables
    /// ([`Rollups::look_again`]). Call [`Rollups::put_off`] when the store is back.
    pub fn step(&mut self, connection: &Connection, now: Option<Timestamp>) -> duckdb::Result<Option<Step>> {
        if self.is_settled() && self.rolled.dirty() > 0 {
            return self.dirty_hours(connection).map(Some);
        }
        if self.dirty_days {
            if let Some(step) = self.dirty_days(connection)? {
                return Ok(Some(step));
            }
            self.dirty_days = false;
        }
        let Some(now) = now else {
            self.looked = self.now;
            return Ok(None);
        };
        let close = hour_of(Timestamp(now.micros().saturating_sub(GRACE)));
        if self.last != Timestamp(i64::MIN) && close.micros() - self.last.micros() > DAY {
            self.leapt = Some(self.now);
        }
        self.last = close;
        if self.rolled.hours > now && self.reopen(connection, close)? {
            return Ok(Some(Step::default()));
        }
        if self.rolled.hours < close
            && let Some(step) = self.close_hours(connection, close)?
        {
            return Ok(Some(step));
        }
        if let Some(step) = self.close_day(connection)? {
            return Ok(Some(step));
        }
        self.looked = self.now;
        Ok(None)
    }

    /// Computes some of the marked hours of the oldest marked day again.
    fn dirty_hours(&mut self, connection: &Connection) -> duckdb::Result<Step> {
        let Some(first) = self.rolled.marks().iter().map(|(_, hour)| *hour).min() else { return Ok(Step::default()) };
        let day = Timestamp(first.micros().div_euclid(DAY) * DAY);
        let end = Timestamp(day.micros() + DAY);
        let of_day: BTreeSet<Mark> =
            self.rolled.marks().iter().filter(|(_, hour)| *hour >= day && *hour < end).copied().collect();
        // By series, so that each is read once for all its hours of the day.
        let series: Vec<i32> = of_day.iter().map(|(series, _)| *series).collect::<BTreeSet<_>>().into_iter().collect();
        let sizes = compute::sizes(connection, day, end, Some(&series))?;
        let chosen = within_step(&series, &sizes, ROWS / 24);
        let mut marks: Vec<Mark> = of_day.into_iter().filter(|(series, _)| chosen.contains(series)).collect();
        let large =
            total(&sizes.iter().filter(|(series, _)| chosen.contains(series)).copied().collect::<Vec<_>>()) > STEP;
        // One series, with more readings in a day than a step has: hour by hour, as many of them as it has.
        let mut counts = Vec::new();
        if large {
            for (series, hour) in &marks {
                let to = Timestamp(hour.micros() + HOUR);
                let count = total(&compute::sizes(connection, *hour, to, Some(&[*series]))?);
                if !counts.is_empty() && counts.iter().sum::<i64>() + count > STEP {
                    break;
                }
                counts.push(count);
            }
            marks.truncate(counts.len());
        }
        connection.execute_batch("BEGIN TRANSACTION")?;
        put_marked(connection, &marks)?;
        remove_marked(connection, "hourly", day, end)?;
        remove_marked(connection, "dirty", day, end)?;
        let mut step = Step::default();
        if large {
            for (mark, count) in marks.iter().zip(counts).filter(|(_, count)| *count > 0) {
                let to = Timestamp(mark.1.micros() + HOUR);
                step.hours += compute::single(connection, Table::Hourly, *mark, to, count)?;
            }
        } else {
            let hours: BTreeSet<Timestamp> = marks.iter().map(|(_, hour)| *hour).collect();
            for hour in hours {
                let of_hour: Vec<i32> = marks.iter().filter(|(_, h)| *h == hour).map(|(series, _)| *series).collect();
                let to = Timestamp(hour.micros() + HOUR);
                step.hours += compute::window(connection, Table::Hourly, hour, to, Some(&of_hour))?;
            }
        }
        let days = self.days_of(&marks);
        rolled::write(connection, "dirty_days", &days)?;
        connection.execute_batch("COMMIT")?;
        self.dirty_days |= !days.is_empty();
        self.rolled_mut().computed(&marks);
        if self.rolled.dirty() == 0 {
            (self.marked, self.cleared) = (None, Some(self.now));
        }
        Ok(step)
    }

    /// The closed days that these hours belong to; in zones that are not whole hours from UTC an hour belongs to two. Not the day
    /// that readings are left of only in part, as there is one after a change of the zone.
    fn days_of(&self, marks: &[Mark]) -> BTreeSet<Mark> {
        marks
            .iter()
            .flat_map(|(series, hour)| {
                [*hour, Timestamp(hour.micros() + HOUR - 1)].map(|ts| (*series, day_of(ts, self.zone)))
            })
            .filter(|(_, day)| *day < self.rolled.days && self.rolled.expired.is_none_or(|before| *day >= before))
            .collect()
    }

    /// Computes some of the series of the oldest marked day again.
    fn dirty_days(&mut self, connection: &Connection) -> duckdb::Result<Option<Step>> {
        let first: Option<i64> =
            connection.query_row("SELECT epoch_us(min(bucket)) FROM g.dirty_days", [], |r| r.get(0))?;
        let Some(day) = first.map(Timestamp) else { return Ok(None) };
        let to = next_day(day, self.zone);
        let mut marked = connection.prepare(&format!(
            "SELECT DISTINCT series FROM g.dirty_days WHERE bucket = {} ORDER BY series",
            literal(day)
        ))?;
        let series: Vec<i32> = marked.query_map([], |r| r.get(0))?.collect::<duckdb::Result<_>>()?;
        drop(marked);
        let sizes = compute::sizes(connection, day, to, Some(&series))?;
        let chosen = within_step(&series, &sizes, ROWS);
        let marks: Vec<Mark> = chosen.iter().map(|series| (*series, day)).collect();
        connection.execute_batch("BEGIN TRANSACTION")?;
        put_marked(connection, &marks)?;
        remove_marked(connection, "daily", day, to)?;
        remove_marked(connection, "dirty_days", day, to)?;
        let mut step = Step::default();
        match chosen[..] {
            [one] => {
                let count = sizes.iter().find(|(series, _)| *series == one).map_or(0, |(_, count)| *count);
                if count > 0 {
                    step.days = compute::single(connection, Table::Daily, (one, day), to, count)?;
                }
            }
            _ => step.days = compute::window(connection, Table::Daily, day, to, Some(&chosen))?,
        }
        connection.execute_batch("COMMIT")?;
        Ok(Some(step))
    }

    /// Whether the clock has leapt ahead not long ago: what is old by it may not be.
    pub fn has_leapt(&self) -> bool {
        self.leapt.is_some_and(|at| self.since(at) < LEAP)
    }

    /// Closes all that has ended by `now`.
    #[cfg(test)]
    pub fn close_for_test(&mut self, connection: &Connection, now: Timestamp) {
        while self.step(connection, Some(now)).unwrap().is_some() {}
    }

    /// The beginning of the day that readings may be removed up to: what is before it is in both rollups, and nothing of it
    /// has to be computed again.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn complete_until(&self, connection: &Connection) -> duckdb::Result<Timestamp> {
        let marked: Option<i64> =
            connection.query_row("SELECT epoch_us(min(bucket)) FROM g.dirty_days", [], |r| r.get(0))?;
        let hour = self.rolled.marks().iter().map(|(_, hour)| *hour).min();
        let least = self.rolled.days.min(self.rolled.hours);
        let least = [hour, marked.map(Timestamp)].into_iter().flatten().fold(least, Timestamp::min);
        Ok(if least == Timestamp(i64::MIN) { least } else { day_of(least, self.zone) })
    }
}

/// The first of `series`, at most `most`, that have no more readings together than a step, and at least one.
fn within_step(series: &[i32], sizes: &[(i32, i64)], most: usize) -> Vec<i32> {
    let mut sum = 0;
    let size = |one: &i32| sizes.binary_search_by_key(one, |(series, _)| *series).map_or(0, |at| sizes[at].1);
    let mut chosen: Vec<i32> = series
        .iter()
        .take(most)
        .take_while(|one| {
            sum += size(one);
            sum <= STEP
        })
        .copied()
        .collect();
    if chosen.is_empty() {
        chosen.extend(series.first());
    }
    chosen
}

fn total(sizes: &[(i32, i64)]) -> i64 {
    sizes.iter().map(|(_, count)| count).sum()
}

/// Puts marks into a temporary table, for statements about them.
fn put_marked(connection: &Connection, marks: &[Mark]) -> duckdb::Result<()> {
    connection.execute_batch("CREATE OR REPLACE TEMP TABLE marked(series INTEGER, bucket TIMESTAMP)")?;
    let mut appender = connection.appender_to_catalog_and_db("marked", "temp", "main")?;
    for (series, bucket) in marks {
        appender.append_row(params![series, super::commit::timestamp(*bucket)])?;
    }
    appender.flush()
}

/// Removes the rows of `table` in `from <= bucket < to` that are in the temporary table of marks.
fn remove_marked(connection: &Connection, table: &str, from: Timestamp, to: Timestamp) -> duckdb::Result<()> {
    let sql = format!(
        "DELETE FROM g.{table} WHERE bucket >= {} AND bucket < {} AND (series, bucket) IN (SELECT (series, bucket) FROM temp.marked)",
        literal(from),
        literal(to)
    );
    connection.execute(&sql, []).map(|_| ())
}

#[cfg(test)]
mod tests;
