//! What goes, and when: whole days of readings by age and by size, the oldest first, and rollups by age.
//!
//! A day of readings goes only when it is in both rollups and nothing of it has to be computed again. From then on a reading of
//! that day is not stored any more (`expired`): its hour lives on in the rollup alone, and a straggler must not have it computed
//! again from itself. Days are those of the gateway's time zone, so that no daily rollup loses a part of its readings.
//!
//! Deleted rows give their blocks back to the file at the next checkpoint, never to the disk: the file stops growing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use duckdb::Connection;

use super::open::row_group;
use super::reader::Reader;
use super::rolled;
use super::rollup::{Rollups, literal};
use super::space::Room;
use crate::config;
use crate::reading::Timestamp;
use crate::zone::{HOUR, Tz, day_of, next_day};

/// How often it is looked at whether something has to go.
const LOOK: Duration = Duration::from_secs(60);
/// After a start it is looked for the first time when what waited to be stored has been.
const FIRST: Duration = Duration::from_secs(15);
/// Bytes that have to be free within the file, or up to its bound, for what comes until the next look: the log is 4 MB, and a
/// checkpoint writes the row groups of readings that it changes before it gives the old ones back.
const RESERVE: u64 = 6_000_000;
/// Row groups of a table that a checkpoint merges at once. A rollup grows by a few rows at each checkpoint, which stay row groups
/// of their own until there are enough for a full one. Then DuckDB merges them with the two or three full ones before them, which
/// are written anew for it (`RowGroupCollection::ScheduleVacuumTasks`, `MAX_MERGE_COUNT`).
const MERGED: u64 = 3;
/// Bytes of a row of a rollup whose nine DOUBLEs cannot be compressed: 72 of them, and 4 for its series, hour and count.
const ROLLUP_ROW: u64 = 76;
/// Days that may go for space without any block becoming free, until no more go: it is not the readings that fill the file.
const IN_VAIN: u32 = 4;

/// Why readings were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// `keep-readings`
    Age,
    /// `max-size`
    Size,
    /// The disk is below its soft mark (`min-free`).
    Space,
}

/// What a step has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A day of readings.
    Readings {
        /// Why.
        why: Why,
        /// How many.
        rows: usize,
        /// All before it are gone.
        before: Timestamp,
    },
    /// Rows of `hourly` or `daily`.
    Rollups(usize),
}

/// The blocks of the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// All of them: the size of the file.
    pub total: u64,
    /// Those that hold nothing.
    pub free: u64,
}

/// What is to be kept, and whether something may have to go.
#[derive(Debug)]
pub struct Retention {
    keep_readings: Option<i64>,
    keep_hourly: Option<i64>,
    keep_daily: Option<i64>,
    max_size: Option<u64>,
    /// Rows of a row group.
    row_group: u64,
    /// Whose queries keep blocks from becoming free.
    reader: Option<Reader>,
    next: Instant,
    /// What its intervals go by; see [`Retention::at`].
    now: Instant,
    in_vain: u32,
    /// The file is over its bound, and there is no day that may go.
    pub is_over: bool,
    /// Blocks at the last look.
    pub blocks: Option<Blocks>,
}

impl Retention {
    /// As `config` says.
    pub fn new(config: &config::Store) -> Self {
        let now = Instant::now();
        let micros = |d: Option<Duration>| d.map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX));
        Self {
            keep_readings: micros(config.keep_readings),
            keep_hourly: micros(config.keep_hourly),
            keep_daily: micros(config.keep_daily),
            max_size: config.max_size,
            row_group: u64::from(row_group(config.max_size)),
            reader: None,
            next: now + FIRST,
            now,
            in_vain: 0,
            is_over: false,
            blocks: None,
        }
    }

    /// It is `now` from now on.
    pub fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// Beside the queries of `reader`, which are held up while blocks are given back.
    pub fn beside(mut self, reader: Reader) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Whether [`Retention::step`] has to look.
    pub fn has_step(&self) -> bool {
        self.now >= self.next
    }

    /// A step has failed: the next is put off.
    pub fn put_off(&mut self) {
        self.next = self.now + LOOK;
    }

    /// Removes at most one day of readings, or what is over its time in the rollups, and gives the blocks back with a checkpoint.
    /// `None` when nothing has to go, for a minute. `now` is the time where the clock is right: nothing goes by age without it.
    ///
    /// # Errors
    /// Whatever DuckDB reports. What became of the step shows in the tables.
    pub fn step(
        &mut self,
        connection: &Connection,
        rollups: &mut Rollups,
        now: Option<Timestamp>,
        room: Room,
    ) -> duckdb::Result<Option<Removed>> {
        let zone = rollups.zone();
        if let Some(now) = now.filter(|_| !rollups.has_leapt()) {
            let cut = |keep: i64| day_of(Timestamp(now.micros().saturating_sub(keep)), zone);
            if let Some(keep) = self.keep_readings
                && let Some(removed) = self.day(connection, rollups, Why::Age, Some(cut(keep)))?
            {
                return Ok(Some(removed));
            }
            for (table, key, keep) in
                [("hourly", "hourly-before", self.keep_hourly), ("daily", "daily-before", self.keep_daily)]
            {
                let Some(keep) = keep else { continue };
                // What readings are left of can be computed again, and is not over its time.
                let cut = cut(keep).min(rollups.rolled().expired.unwrap_or(Timestamp(i64::MIN)));
                if let Some(rows) = remove_rollups(connection, table, key, cut)? {
                    return Ok(Some(Removed::Rollups(rows)));
                }
            }
        }
        let blocks = blocks(connection)?;
        self.blocks = Some(blocks);
        let why = self.lack(blocks, self.reserve(rows_of_rollups(connection)?), room);
        self.is_over = false;
        if let Some(why) = why {
            if self.in_vain < IN_VAIN
                && let Some(removed) = self.day(connection, rollups, why, None)?
            {
                let after = self::blocks(connection)?;
                self.in_vain = if after.free > blocks.free { 0 } else { self.in_vain + 1 };
                self.blocks = Some(after);
                return Ok(Some(removed));
            }
            self.is_over = true;
        } else {
            self.in_vain = 0;
        }
        self.next = self.now + LOOK;
        Ok(None)
    }

    /// Bytes that have to be free for the next checkpoints, with rollups of so many rows.
    fn reserve(&self, rollups: [u64; 2]) -> u64 {
        let merged = rollups.map(|rows| rows.min(MERGED * self.row_group) * ROLLUP_ROW);
        RESERVE + merged.iter().sum::<u64>()
    }

    /// For lack of which space something has to go; `reserve` bytes are to be free below `max-size`.
    fn lack(&self, blocks: Blocks, reserve: u64, room: Room) -> Option<Why> {
        let may_grow = self.max_size.map_or(u64::MAX, |max| max.saturating_sub(blocks.total));
        // A file that is over its bound cannot shrink; what it holds can.
        let over = self.max_size.map_or(0, |max| blocks.total.saturating_sub(max));
        if blocks.free.saturating_add(may_grow) < over.saturating_add(reserve) {
            Some(Why::Size)
        } else if room == Room::Low && blocks.free < RESERVE {
            // What a checkpoint may need beyond that, the hard mark of the disk keeps free.
            Some(Why::Space)
        } else {
            None
        }
    }

    /// Removes the oldest day of readings; with `cut` only if it is before that. A day with readings whose time has yet to be
    /// corrected is left out: most often it is none that they were measured on.
    fn day(
        &self,
        connection: &Connection,
        rollups: &mut Rollups,
        why: Why,
        cut: Option<Timestamp>,
    ) -> duckdb::Result<Option<Removed>> {
        let complete = rollups.complete_until(connection)?;
        let cut = cut.map_or(complete, |cut| cut.min(complete));
        let zone = rollups.zone();
        let noted = noted_days(connection, zone)?;
        let mut from = Timestamp(i64::MIN);
        let day = loop {
            let Some(oldest) = oldest(connection, from, cut)? else { return Ok(None) };
            let day = day_of(oldest, zone);
            if !noted.contains(&day) {
                break day;
            }
            from = next_day(day, zone);
            while noted.contains(&from) {
                from = next_day(from, zone);
            }
        };
        let before = next_day(day, zone).min(cut);
        let expired = rollups.rolled().expired.map_or(before, |expired| expired.max(before));
        connection.execute_batch("BEGIN TRANSACTION")?;
        let sql = format!("DELETE FROM g.readings WHERE ts >= {} AND ts < {}", literal(from), literal(before));
        let rows = connection.execute(&sql, [])?;
        rolled::set_meta(connection, "expired-before", &expired.micros().to_string())?;
        connection.execute_batch("COMMIT")?;
        rollups.expired(expired);
        // By age, days may go in a row: the last one is soon enough.
        if why != Why::Age || before == cut {
            // A checkpoint beside a query that has begun before leaves the blocks as they are, and so does the next one.
            let _calm = self.reader.as_ref().map(Reader::calm);
            connection.execute_batch("CHECKPOINT g")?;
        }
        Ok(Some(Removed::Readings { why, rows, before }))
    }
}

/// The time of the oldest reading in `from <= ts < to`.
fn oldest(connection: &Connection, from: Timestamp, to: Timestamp) -> duckdb::Result<Option<Timestamp>> {
    let sql =
        format!("SELECT epoch_us(min(ts)) FROM g.readings WHERE ts >= {} AND ts < {}", literal(from), literal(to));
    connection.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0)).map(|ts| ts.map(Timestamp))
}

/// The days that hold readings whose time has yet to be corrected.
fn noted_days(connection: &Connection, zone: Tz) -> duckdb::Result<BTreeSet<Timestamp>> {
    let mut hours = connection.prepare("SELECT DISTINCT epoch_us(date_trunc('hour', ts)) FROM g.provisional")?;
    let hours = hours.query_map([], |r| r.get::<_, i64>(0))?.collect::<duckdb::Result<Vec<_>>>()?;
    Ok(hours.into_iter().flat_map(|hour| [hour, hour + HOUR - 1].map(|ts| day_of(Timestamp(ts), zone))).collect())
}

fn remove_rollups(connection: &Connection, table: &str, key: &str, cut: Timestamp) -> duckdb::Result<Option<usize>> {
    if rolled::meta(connection, key)?.is_some_and(|before| before >= cut) || cut == Timestamp(i64::MIN) {
        return Ok(None);
    }
    connection.execute_batch("BEGIN TRANSACTION")?;
    let rows = connection.execute(&format!("DELETE FROM g.{table} WHERE bucket < {}", literal(cut)), [])?;
    rolled::set_meta(connection, key, &cut.micros().to_string())?;
    connection.execute_batch("COMMIT")?;
    Ok(Some(rows))
}

/// Rows of `hourly` and `daily`, those included that were deleted and whose row groups are still there.
fn rows_of_rollups(connection: &Connection) -> duckdb::Result<[u64; 2]> {
    let sql = "SELECT sum(estimated_size) FILTER (table_name = 'hourly')::UBIGINT,
            sum(estimated_size) FILTER (table_name = 'daily')::UBIGINT
        FROM duckdb_tables() WHERE database_name = 'g'";
    connection.query_row(sql, [], |r| Ok([r.get(0)?, r.get(1)?]))
}

/// The blocks of the file.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn blocks(connection: &Connection) -> duckdb::Result<Blocks> {
    let sql = "SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = 'g'";
    connection.query_row(sql, [], |r| {
        let size: u64 = r.get(0)?;
        Ok(Blocks { total: size * r.get::<_, u64>(1)?, free: size * r.get::<_, u64>(2)? })
    })
}

#[cfg(test)]
mod tests;
