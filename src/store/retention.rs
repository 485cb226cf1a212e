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
/// Bytes that have to be free within the file, or up to its bound, for what comes until the next look: a checkpoint writes the row
/// groups that it changes before it gives the old ones back, and the log is 4 MB.
const RESERVE: u64 = 6_000_000;
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
        let why = self.lack(blocks, room);
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

    /// For lack of which space something has to go.
    fn lack(&self, blocks: Blocks, room: Room) -> Option<Why> {
        let may_grow = self.max_size.map_or(u64::MAX, |max| max.saturating_sub(blocks.total));
        // A file that is over its bound cannot shrink; what it holds can.
        let over = self.max_size.map_or(0, |max| blocks.total.saturating_sub(max));
        if blocks.free.saturating_add(may_grow) < over.saturating_add(RESERVE) {
            Some(Why::Size)
        } else if room == Room::Low && blocks.free < RESERVE {
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
mod tests {
    use super::*;
    use crate::store::reader::fixture::Fixture;
    use crate::store::reader::{Limits, QueryError};
    use crate::store::rolled::Rolled;
    use crate::zone::DAY;

    /// 2025-03-01T00:00:00Z
    const START: i64 = 1_740_787_200_000_000;

    fn retention(max_size: Option<u64>) -> Retention {
        Retention::new(&config::Store { max_size, ..config::Store::default() })
    }

    /// Days of 1,440 readings of each of `series` series from `START` on, closed and rolled up.
    fn days(f: &Fixture, days: i64, series: i32) -> Rollups {
        let last = START + days * DAY;
        f.root
            .execute_batch(&format!(
                "INSERT INTO g.readings SELECT i % {series}, make_timestamp({START} + i // {series} * 60000000),
                    i * 7919 % 100003 / 100, 0 FROM range({days} * 1440 * {series}) t(i); CHECKPOINT g;"
            ))
            .unwrap();
        let mut rollups = Rollups::new(Rolled::read(&f.root).unwrap(), Tz::UTC);
        rollups.settle_in(Tz::UTC, &f.root).unwrap();
        rollups.close_for_test(&f.root, Timestamp(last + 2 * HOUR));
        rollups
    }

    fn one<T: duckdb::types::FromSql>(f: &Fixture, sql: &str) -> T {
        f.root.query_row(sql, [], |r| r.get(0)).unwrap()
    }

    #[test]
    fn days_over_their_time_go_one_by_one_and_their_rollups_stay() {
        let f = Fixture::new(Limits::default());
        let mut rollups = days(&f, 6, 2);
        let keep = |d: u64| Some(Duration::from_secs(d * 86_400));
        let mut retention = Retention::new(&config::Store { keep_readings: keep(3), ..config::Store::default() });
        let now = Some(Timestamp(START + 6 * DAY + 5 * HOUR));
        let mut steps = Vec::new();
        while let Some(step) = retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap() {
            steps.push(step);
        }
        let day = |n| Removed::Readings { why: Why::Age, rows: 2_880, before: Timestamp(START + n * DAY) };
        assert_eq!(steps, [day(1), day(2), day(3)]);
        assert_eq!(one::<i64>(&f, "SELECT epoch_us(min(ts)) FROM g.readings"), START + 3 * DAY);
        assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.hourly"), 6 * 24 * 2);
        assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.daily"), 6 * 2);
        assert_eq!(rollups.rolled().expired, Some(Timestamp(START + 3 * DAY)));
        assert_eq!(Rolled::read(&f.root).unwrap().expired, Some(Timestamp(START + 3 * DAY)), "also after a restart");
        // The rollups' own time.
        let mut retention =
            Retention::new(&config::Store { keep_readings: keep(3), keep_hourly: keep(5), ..config::Store::default() });
        let step = retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap();
        assert_eq!(step, Some(Removed::Rollups(24 * 2)));
        assert_eq!(retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap(), None);
        assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.daily"), 6 * 2);
    }

    #[test]
    fn nothing_goes_before_it_is_rolled_up_or_while_it_has_to_be_computed_again() {
        let f = Fixture::new(Limits::default());
        let mut rollups = days(&f, 4, 1);
        let keep_readings = Some(Duration::from_secs(86_400));
        let mut retention = Retention::new(&config::Store { keep_readings, ..config::Store::default() });
        let mark = rollups.rolled().mark_for(0, Timestamp(START + DAY + 1)).unwrap();
        rollups.marked([mark]);
        let now = Some(Timestamp(START + 400 * DAY));
        let mut gone = 0;
        while let Some(Removed::Readings { rows, .. }) =
            retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap()
        {
            gone += rows;
        }
        assert_eq!(gone, 1_440, "the day before the mark");
        assert_eq!(
            retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap(),
            None,
            "nothing by age without a clock"
        );
    }

    #[test]
    fn the_file_stays_at_its_bound_and_nothing_goes_in_vain() {
        let f = Fixture::new(Limits::default());
        // Some 3 bytes a reading, 576,000 readings a day.
        let mut rollups = days(&f, 8, 400);
        let size = |f: &Fixture| std::fs::metadata(f.dir.path().join("t.duckdb")).unwrap().len();
        let max = super::blocks(&f.root).unwrap().total + RESERVE - 1;
        let mut retention = Retention::new(&config::Store { max_size: Some(max), ..config::Store::default() });
        let mut gone = 0;
        while let Some(Removed::Readings { why, rows, .. }) =
            retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap()
        {
            assert_eq!((why, rows), (Why::Size, 576_000));
            gone += 1;
        }
        assert!((1..=3).contains(&gone), "{gone} days");
        assert!(!retention.is_over);
        let blocks = retention.blocks.unwrap();
        assert!(blocks.free + max >= blocks.total + RESERVE, "{blocks:?}");
        // What comes next finds its place.
        for part in 0..48 {
            f.root
                .execute_batch(&format!(
                    "INSERT INTO g.readings SELECT i % 400, make_timestamp({START} + (8 * 1440 + i // 400) * 60000000),
                        i * 7919 % 100003 / 100, 0 FROM range({part} * 24000, ({part} + 1) * 24000) t(i); CHECKPOINT g;"
                ))
                .unwrap();
        }
        rollups.close_for_test(&f.root, Timestamp(START + 10 * DAY + 2 * HOUR));
        while retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap().is_some() {}
        assert!(size(&f) <= max, "{} over {max}", size(&f));
        // A bound that the open day alone exceeds: it is told, and what is not closed stays.
        f.root
            .execute_batch(&format!(
                "INSERT INTO g.readings SELECT 1, make_timestamp({START} + 10 * {DAY} + 3 * {HOUR} + i), 1, 0 FROM range(500) t(i)"
            ))
            .unwrap();
        let mut tight = Retention::new(&config::Store { max_size: Some(RESERVE), ..config::Store::default() });
        while tight.step(&f.root, &mut rollups, None, Room::Ample).unwrap().is_some() {}
        assert!(tight.is_over);
        assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.readings"), 500);
    }

    #[test]
    fn what_has_to_get_its_true_time_stays() {
        let f = Fixture::new(Limits::default());
        let mut rollups = days(&f, 6, 1);
        // The clock stood in 1970; a day later there is another, that another boot has stamped.
        f.root
            .execute_batch(
                "INSERT INTO g.readings VALUES (1, make_timestamp(1000), 5, NULL), (1, make_timestamp(90000000000), 6, NULL);
                 INSERT INTO g.provisional VALUES (1, 'this', 7, make_timestamp(1000));",
            )
            .unwrap();
        let keep_readings = Some(Duration::from_secs(3 * 86_400));
        let mut retention = Retention::new(&config::Store { keep_readings, ..config::Store::default() });
        let now = Some(Timestamp(START + 6 * DAY + 5 * HOUR));
        let mut rows = Vec::new();
        while let Some(Removed::Readings { rows: n, .. }) =
            retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap()
        {
            rows.push(n);
        }
        assert_eq!(rows, [1, 1_440, 1_440, 1_440]);
        assert_eq!(one::<i64>(&f, "SELECT epoch_us(min(ts)) FROM g.readings"), 1_000);
        assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.readings"), 1 + 3 * 1_440);
        // Nothing can tell its time any more.
        f.root.execute_batch("DELETE FROM g.provisional").unwrap();
        retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap();
        assert_eq!(one::<i64>(&f, "SELECT epoch_us(min(ts)) FROM g.readings"), START + 3 * DAY);
        assert_eq!(rollups.rolled().expired, Some(Timestamp(START + 3 * DAY)));
    }

    #[test]
    fn nothing_goes_by_age_right_after_the_clock_has_leapt() {
        let f = Fixture::new(Limits::default());
        days(&f, 6, 1);
        let keep_readings = Some(Duration::from_secs(3 * 86_400));
        let config = config::Store { keep_readings, ..config::Store::default() };
        let now = START + 6 * DAY + 3 * HOUR;
        for (ahead, gone) in [(400 * DAY, None), (DAY / 2, Some(1_440))] {
            // A start: the clock is not where it was.
            let mut rollups = Rollups::new(Rolled::read(&f.root).unwrap(), Tz::UTC);
            let now = Timestamp(now + ahead);
            rollups.close_for_test(&f.root, now);
            let removed = Retention::new(&config).step(&f.root, &mut rollups, Some(now), Room::Ample).unwrap();
            let rows = removed.map(|removed| match removed {
                Removed::Readings { rows, .. } => rows,
                Removed::Rollups(rows) => rows,
            });
            assert_eq!(rows, gone);
        }
    }

    #[test]
    fn a_query_that_runs_does_not_keep_the_blocks_from_becoming_free() {
        let f = Fixture::new(Limits::default());
        let mut rollups = days(&f, 2, 400);
        let mut retention = retention(Some(RESERVE)).beside(f.reader.clone());
        let reader = f.reader.clone();
        let query = std::thread::spawn(move || {
            // Longer than it is waited for.
            reader.wait_for_test("SELECT count(*) FROM g.readings a, g.readings b WHERE a.value + b.value < 0")
        });
        while f.reader.is_idle_for_test() {
            std::thread::yield_now();
        }
        let before = super::blocks(&f.root).unwrap().free;
        let removed = retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap();
        assert!(matches!(removed, Some(Removed::Readings { rows: 576_000, .. })), "{removed:?}");
        assert!(retention.blocks.unwrap().free > before + 1_000_000, "{before} {:?}", retention.blocks);
        assert_eq!(query.join().unwrap(), Err(QueryError::Busy));
    }

    #[test]
    fn on_a_disk_that_fills_the_oldest_days_make_room_within_the_file() {
        let f = Fixture::new(Limits::default());
        let mut rollups = days(&f, 8, 400);
        let mut retention = Retention::new(&config::Store::default());
        let before = super::blocks(&f.root).unwrap();
        assert!(before.free < RESERVE, "{before:?}");
        assert_eq!(retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap(), None);
        let mut gone = 0;
        while let Some(removed) = retention.step(&f.root, &mut rollups, None, Room::Low).unwrap() {
            gone += 1;
            let before = Timestamp(START + gone * DAY);
            assert_eq!(removed, Removed::Readings { why: Why::Space, rows: 576_000, before });
        }
        assert!((1..7).contains(&gone), "{gone} days");
        assert!(super::blocks(&f.root).unwrap().free >= RESERVE && !retention.is_over);
        assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.daily"), 8 * 400);
    }

    #[test]
    fn something_has_to_go_when_less_than_the_reserve_is_left() {
        let blocks = |total, free| Blocks { total, free };
        let bounded = retention(Some(100_000_000));
        assert_eq!(bounded.lack(blocks(94_000_000, 0), Room::Ample), None);
        assert_eq!(bounded.lack(blocks(94_000_001, 0), Room::Ample), Some(Why::Size));
        assert_eq!(bounded.lack(blocks(100_000_000, 6_000_000), Room::Ample), None);
        assert_eq!(bounded.lack(blocks(100_000_000, 5_999_999), Room::Ample), Some(Why::Size));
        // Larger than its bound, because that was lowered: what is in it has to become so much smaller.
        assert_eq!(bounded.lack(blocks(150_000_000, 55_999_999), Room::Ample), Some(Why::Size));
        assert_eq!(bounded.lack(blocks(150_000_000, 56_000_000), Room::Ample), None);
        let free = retention(None);
        assert_eq!(free.lack(blocks(1 << 40, 0), Room::Ample), None);
        assert_eq!(free.lack(blocks(1 << 40, 0), Room::Low), Some(Why::Space));
        assert_eq!(free.lack(blocks(1 << 40, RESERVE), Room::Low), None);
    }
}
