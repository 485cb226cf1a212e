//! Hours and days that close, and those that a clock ahead has closed.

use std::time::Duration;

use duckdb::Connection;

use super::super::rolled::{self, Mark};
use super::compute::{self, Table};
use super::{ROWS, Rollups, STEP, Step, literal, total};
use crate::reading::Timestamp;
use crate::zone::{DAY, HOUR, day_of, hour_of, next_day};

impl Rollups {
    /// Closes the hours before `close`, at most a day of them at once. `None` when there is no reading at all.
    pub(super) fn close_hours(&mut self, connection: &Connection, close: Timestamp) -> duckdb::Result<Option<Step>> {
        let mut from = self.rolled.hours;
        if close.micros().saturating_sub(from.micros()) > HOUR {
            let Some(first) = compute::first_reading(connection, from)? else {
                if from == Timestamp(i64::MIN) {
                    return Ok(None);
                }
                self.close_until(connection, close)?;
                return Ok(Some(Step::default()));
            };
            from = hour_of(first);
            if from >= close {
                // Only what is open is there, or lies ahead.
                self.close_until(connection, close)?;
                return Ok(Some(Step::default()));
            }
        }
        let mut to = Timestamp((from.micros().div_euclid(DAY) + 1) * DAY).min(close);
        let mut sizes = compute::sizes(connection, from, to, None)?;
        let rows = sizes.len().saturating_mul(usize::try_from((to.micros() - from.micros()) / HOUR).unwrap_or(1));
        if (total(&sizes) > STEP || rows > ROWS) && to.micros() - from.micros() > HOUR {
            to = Timestamp(from.micros() + HOUR);
            sizes = compute::sizes(connection, from, to, None)?;
        }
        connection.execute_batch("BEGIN TRANSACTION")?;
        let mut step = Step::default();
        let mut marks = Vec::new();
        if total(&sizes) <= STEP && sizes.len() <= ROWS {
            compute::clear(connection, Table::Hourly, from, to)?;
            step.hours = compute::window(connection, Table::Hourly, from, to, None)?;
        } else {
            // An hour with more: its series are worked off as if they were dirty.
            marks.extend(sizes.iter().map(|(series, _)| (*series, from)));
            rolled::write(connection, "dirty", &marks)?;
        }
        rolled::set_meta(connection, "rolled-hours", &to.micros().to_string())?;
        connection.execute_batch("COMMIT")?;
        self.rolled_mut().hours = to;
        if !marks.is_empty() {
            self.marked(marks);
            self.settle = Duration::ZERO;
        }
        Ok(Some(step))
    }

    fn close_until(&mut self, connection: &Connection, until: Timestamp) -> duckdb::Result<()> {
        connection.execute_batch("BEGIN TRANSACTION")?;
        rolled::set_meta(connection, "rolled-hours", &until.micros().to_string())?;
        connection.execute_batch("COMMIT")?;
        self.rolled_mut().hours = until;
        Ok(())
    }

    /// A clock that was ahead has closed hours that are not over. Left closed, they and their days would be computed again after
    /// each commit until the time has caught up; so they are open again from `close` on, as far as their readings are there. Where
    /// there are many of them it is rather the clock of now that is wrong, and they stay.
    pub(super) fn reopen(&mut self, connection: &Connection, close: Timestamp) -> duckdb::Result<bool> {
        let hours = self.rolled.first_whole_hour().map_or(close, |first| close.max(first));
        if hours >= self.rolled.hours {
            return Ok(false);
        }
        let sql = format!("SELECT count(*) FROM g.hourly WHERE bucket >= {}", literal(hours));
        let again: i64 = connection.query_row(&sql, [], |r| r.get(0))?;
        if usize::try_from(again).is_ok_and(|again| again > ROWS) {
            return Ok(false);
        }
        let day = day_of(hours, self.zone);
        let in_part = self.rolled.expired.is_some_and(|before| day < before);
        let days = if in_part { next_day(day, self.zone) } else { day }.min(self.rolled.days);
        connection.execute_batch("BEGIN TRANSACTION")?;
        for (table, from) in [("hourly", hours), ("dirty", hours), ("daily", days), ("dirty_days", days)] {
            connection.execute(&format!("DELETE FROM g.{table} WHERE bucket >= {}", literal(from)), [])?;
        }
        rolled::set_meta(connection, "rolled-hours", &hours.micros().to_string())?;
        rolled::set_meta(connection, "rolled-days", &days.micros().to_string())?;
        connection.execute_batch("COMMIT")?;
        tracing::warn!(%hours, "the clock was ahead: hours that it had closed are open again");
        self.rolled_mut().reopened(hours, days);
        if self.rolled.dirty() == 0 {
            self.marked = None;
        }
        Ok(true)
    }

    /// Closes the next day whose hours are all closed.
    pub(super) fn close_day(&mut self, connection: &Connection) -> duckdb::Result<Option<Step>> {
        let mut from = self.rolled.days;
        if self.rolled.hours == Timestamp(i64::MIN) {
            return Ok(None);
        }
        if self.rolled.hours.micros().saturating_sub(from.micros()) > 2 * DAY {
            // After a pause, or at first: days without a reading have no row. The first reading may lie ahead.
            let open = day_of(self.rolled.hours, self.zone);
            from = compute::first_reading(connection, from)?.map_or(open, |first| day_of(first, self.zone).min(open));
            if from > self.rolled.days {
                // In the file as well: a day that was leapt over and is computed for late readings must not be closed after a
                // restart, which would give it a second row.
                connection.execute_batch("BEGIN TRANSACTION")?;
                rolled::set_meta(connection, "rolled-days", &from.micros().to_string())?;
                connection.execute_batch("COMMIT")?;
                self.rolled_mut().days = from;
            }
        }
        let to = next_day(from, self.zone);
        if to > self.rolled.hours {
            return Ok(None);
        }
        let sizes = compute::sizes(connection, from, to, None)?;
        connection.execute_batch("BEGIN TRANSACTION")?;
        let mut step = Step::default();
        if total(&sizes) <= STEP && sizes.len() <= ROWS {
            compute::clear(connection, Table::Daily, from, to)?;
            step.days = compute::window(connection, Table::Daily, from, to, None)?;
        } else {
            let marks: Vec<Mark> = sizes.iter().map(|(series, _)| (*series, from)).collect();
            rolled::write(connection, "dirty_days", &marks)?;
        }
        rolled::set_meta(connection, "rolled-days", &to.micros().to_string())?;
        connection.execute_batch("COMMIT")?;
        self.rolled_mut().days = to;
        self.dirty_days |= step.days == 0;
        Ok(Some(step))
    }
}
