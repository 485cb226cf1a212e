//! Duplicates, conflicts and clock errors of each series, counted by the hour of their arrival.
//!
//! They are kept in memory and written once an hour, with a commit that comes anyway, and at a stop: of what a crash takes
//! along, an hour is the most. A row is written once and never changed; the table is cut at a bound.

use std::collections::HashMap;

use duckdb::{Connection, params};

use super::commit::timestamp;
use crate::reading::Timestamp;
use crate::zone;

/// Rows of `quality`, at the most; the hours before go.
const ROWS: i64 = 200_000;
/// Part of the bound by which the table may run over before it is cut.
const SLACK: i64 = 10;
/// One clock event of a node in this time, microseconds; the other clock errors are only counted.
const CLOCK_EVENT_EVERY: u64 = 3_600 * 1_000_000;

/// What was counted of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Readings that were known already.
    pub duplicates: u64,
    /// Readings for whose time another value is stored.
    pub conflicts: u64,
    /// Readings whose time was impossible or could not be read.
    pub clock_errors: u64,
}

impl Counts {
    /// Adds those of another part of the time.
    pub fn add(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.clock_errors += other.clock_errors;
    }
}

/// What is counted for each series in the commit at hand.
pub type Tally = HashMap<i32, Counts>;

/// What is written of an hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Beginning of the hour.
    pub hour: Timestamp,
    /// Series and their counts, by series.
    pub rows: Vec<(i32, Counts)>,
}

/// The hour that is not written yet, and when nodes were last told of their clock. Bounded by the series and nodes there are.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    hour: Timestamp,
    open: Tally,
    clock_told: HashMap<i32, Timestamp>,
}

impl Ledger {
    /// What has to be written by a commit whose newest arrival is `at`: all of an hour that is over.
    pub fn due(&self, at: Timestamp) -> Page {
        if self.hour == zone::hour_of(at) { Page::default() } else { self.page() }
    }

    /// All that is not written.
    pub fn page(&self) -> Page {
        let mut rows: Vec<(i32, Counts)> = self.open.iter().map(|(series, counts)| (*series, *counts)).collect();
        rows.sort_unstable_by_key(|(series, _)| *series);
        Page { hour: self.hour, rows }
    }

    /// Takes a commit with its newest arrival at `at` into account: `written` was written with it, the rest was counted in it.
    pub fn committed(
        &mut self,
        at: Timestamp,
        written: &Page,
        counted: [Tally; 2],
        clock_told: HashMap<i32, Timestamp>,
    ) {
        if !written.rows.is_empty() {
            self.open.clear();
        }
        if self.open.is_empty() {
            self.hour = zone::hour_of(at);
        }
        for (series, counts) in counted.into_iter().flatten() {
            self.open.entry(series).or_default().add(counts);
        }
        self.clock_told.extend(clock_told);
    }

    /// Drops what is not written of a series that is forgotten.
    pub fn forget(&mut self, series: i32) {
        self.open.remove(&series);
    }

    /// What is not written yet of a series, if its hour lies at least partly in `start..end`.
    pub fn of(&self, series: i32, start: Timestamp, end: Timestamp) -> Counts {
        let open = self.open.get(&series).copied().unwrap_or_default();
        if self.hour >= zone::hour_of(start) && self.hour < end { open } else { Counts::default() }
    }

    /// Whether an event may tell of a node's clock at `at`.
    pub fn may_tell(&self, node: i32, at: Timestamp) -> bool {
        self.clock_told.get(&node).is_none_or(|told| told.micros().abs_diff(at.micros()) >= CLOCK_EVENT_EVERY)
    }
}

/// Writes a page, within a transaction.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn write(connection: &Connection, page: &Page) -> duckdb::Result<()> {
    if page.rows.is_empty() {
        return Ok(());
    }
    let mut appender = connection.appender_to_catalog_and_db("quality", "g", "main")?;
    for (series, c) in &page.rows {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let hour = timestamp(page.hour);
        appender.append_row(params![
            series,
            hour,
            number(c.duplicates),
            number(c.conflicts),
            number(c.clock_errors)
        ])?;
    }
    appender.flush()?;
    drop(appender);
    let rows: i64 = connection.query_row("SELECT count(*) FROM g.quality", [], |r| r.get(0))?;
    cut(connection, rows, ROWS)
}

/// Writes a page in a transaction of its own.
///
/// # Errors
/// Whatever DuckDB reports; nothing is written then.
pub fn write_alone(connection: &Connection, page: &Page) -> duckdb::Result<()> {
    if page.rows.is_empty() {
        return Ok(());
    }
    connection.execute_batch("BEGIN TRANSACTION")?;
    let written = write(connection, page).and_then(|()| connection.execute_batch("COMMIT"));
    if written.is_err() {
        // The transaction may be over already; that it cannot be rolled back then is no news.
        let _ = connection.execute_batch("ROLLBACK");
    }
    written
}

/// Cuts whole hours off a table that has run over its bound by a tenth.
fn cut(connection: &Connection, rows: i64, bound: i64) -> duckdb::Result<()> {
    if rows <= bound + bound / SLACK {
        return Ok(());
    }
    let sql = "DELETE FROM g.quality WHERE hour <= (SELECT hour FROM g.quality ORDER BY hour LIMIT 1 OFFSET ?)";
    connection.execute(sql, params![rows - bound - 1]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600 * 1_000_000;

    fn counts(duplicates: u64, conflicts: u64, clock_errors: u64) -> Counts {
        Counts { duplicates, conflicts, clock_errors }
    }

    #[test]
    fn an_hour_is_due_when_it_is_over() {
        let mut ledger = Ledger::default();
        let at = |hours: i64, rest: i64| Timestamp(hours * HOUR + rest);
        let one = |series, c| Tally::from([(series, c)]);
        assert_eq!(ledger.due(at(5, 7)), Page::default());
        let none = Page::default();
        ledger.committed(at(5, 7), &none, [one(3, counts(1, 0, 0)), one(3, counts(0, 2, 0))], HashMap::new());
        ledger.committed(at(5, 9), &none, [one(1, counts(0, 0, 4)), Tally::new()], HashMap::new());
        assert_eq!(ledger.due(at(5, HOUR - 1)), Page::default());
        let page = ledger.due(at(6, 0));
        assert_eq!(page, Page { hour: at(5, 0), rows: vec![(1, counts(0, 0, 4)), (3, counts(1, 2, 0))] });
        assert_eq!(page, ledger.page());
        assert_eq!(ledger.of(3, at(5, 8), at(9, 0)), counts(1, 2, 0), "the hour counts as a whole");
        assert_eq!(ledger.of(3, at(6, 0), at(9, 0)), Counts::default());
        assert_eq!(ledger.of(3, at(1, 0), at(5, 0)), Counts::default());
        assert_eq!(ledger.of(2, at(5, 0), at(9, 0)), Counts::default());
        ledger.committed(at(6, 1), &page, [one(3, counts(1, 0, 0)), Tally::new()], HashMap::new());
        assert_eq!(ledger.page(), Page { hour: at(6, 0), rows: vec![(3, counts(1, 0, 0))] });
    }

    #[test]
    fn a_node_is_told_of_its_clock_once_an_hour_also_when_our_own_steps() {
        let mut ledger = Ledger::default();
        assert!(ledger.may_tell(7, Timestamp(0)));
        ledger.committed(Timestamp(0), &Page::default(), [Tally::new(), Tally::new()], [(7, Timestamp(0))].into());
        assert!(ledger.may_tell(8, Timestamp(1)));
        assert!(!ledger.may_tell(7, Timestamp(HOUR - 1)));
        assert!(!ledger.may_tell(7, Timestamp(1 - HOUR)));
        assert!(ledger.may_tell(7, Timestamp(HOUR)) && ledger.may_tell(7, Timestamp(-HOUR)));
    }

    #[test]
    fn a_table_over_its_bound_loses_its_oldest_hours() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(
            "ATTACH ':memory:' AS g; CREATE TABLE g.quality(series INTEGER, hour TIMESTAMP, duplicates BIGINT,
             conflicts BIGINT, clock_errors BIGINT);
             INSERT INTO g.quality SELECT s, make_timestamp(h * 3600000000), 1, 0, 0 FROM range(10) a(s), range(12) b(h);",
        )
        .unwrap();
        let hours = || {
            c.query_row("SELECT count(*), epoch_us(min(hour)) FROM g.quality", [], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)? / HOUR))
            })
            .unwrap()
        };
        cut(&c, 120, 110).unwrap();
        assert_eq!(hours(), (120, 0), "within the slack");
        cut(&c, 120, 105).unwrap();
        assert_eq!(hours(), (100, 2));
        let page = Page { hour: Timestamp(20 * HOUR), rows: vec![(4, counts(1, 2, 3))] };
        write(&c, &page).unwrap();
        assert_eq!(hours().0, 101);
        let sql = "SELECT series || ' ' || duplicates || ' ' || conflicts || ' ' || clock_errors FROM g.quality ORDER BY hour DESC";
        assert_eq!(c.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap(), "4 1 2 3");
    }
}
