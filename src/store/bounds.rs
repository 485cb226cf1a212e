//! The bounds of the tables that senders can fill: how many rows they keep, and how fast dead letters may come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::{Connection, params};

use crate::reading::DeadReason;

/// Rows of `dead_letters`, at the most; the oldest go.
pub const DEAD_LETTERS: i64 = 10_000;
/// Rows of `events`, at the most; the oldest go.
pub const EVENTS: i64 = 200_000;
/// Dead letters of one source and reason: one in this time, the rest is only counted.
const DEAD_EVERY: Duration = Duration::from_secs(1);
/// Part of its bound by which a table may run over before it is cut: each cut rewrites blocks.
const SLACK: i64 = 10;

/// Limits the dead letters that the store itself makes to one a second for each source and reason.
#[derive(Clone, Debug, Default)]
pub struct DeadRate(HashMap<(Arc<str>, DeadReason), Instant>);

impl DeadRate {
    /// Whether a dead letter may be written at `now`. The number of keys is bounded by sources times reasons.
    pub fn allows(&mut self, source: &Arc<str>, reason: DeadReason, now: Instant) -> bool {
        let key = (Arc::clone(source), reason);
        if self.0.get(&key).is_some_and(|last| now.saturating_duration_since(*last) < DEAD_EVERY) {
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

/// Rows of the two tables as far as this process knows, and when they are cut.
#[derive(Debug)]
pub struct Trim {
    dead_letters: i64,
    events: i64,
}

impl Trim {
    /// With the rows that the tables hold at start.
    pub fn new(dead_letters: i64, events: i64) -> Self {
        Self { dead_letters, events }
    }

    /// Notes written rows, and cuts a table that has run over its bound by a tenth.
    ///
    /// # Errors
    /// Whatever DuckDB reports. The table is then cut next time.
    pub fn wrote(&mut self, connection: &Connection, dead_letters: u64, events: u64) -> duckdb::Result<()> {
        self.dead_letters += i64::try_from(dead_letters).unwrap_or(0);
        self.events += i64::try_from(events).unwrap_or(0);
        cut(connection, "dead_letters", &mut self.dead_letters, DEAD_LETTERS)?;
        cut(connection, "events", &mut self.events, EVENTS)
    }
}

fn cut(connection: &Connection, table: &str, rows: &mut i64, bound: i64) -> duckdb::Result<()> {
    if *rows <= bound + bound / SLACK {
        return Ok(());
    }
    // By row, not by time: a node whose clock stands still has a table full of equal times.
    let sql = format!("DELETE FROM g.{table} WHERE rowid IN (SELECT rowid FROM g.{table} ORDER BY ts, rowid LIMIT ?)");
    connection.execute(&sql, params![*rows - bound])?;
    *rows = connection.query_row(&format!("SELECT count(*) FROM g.{table}"), [], |r| r.get(0))?;
    tracing::debug!(table, rows = *rows, "cut to its bound");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dead_letter_a_second_for_each_source_and_reason() {
        let mut rate = DeadRate::default();
        let (hub, home): (Arc<str>, Arc<str>) = ("hub".into(), "home".into());
        let t = Instant::now();
        assert!(rate.allows(&hub, DeadReason::Conflict, t));
        assert!(!rate.allows(&hub, DeadReason::Conflict, t + Duration::from_millis(999)));
        assert!(rate.allows(&hub, DeadReason::TooManyNodes, t));
        assert!(rate.allows(&home, DeadReason::Conflict, t));
        assert!(rate.allows(&hub, DeadReason::Conflict, t + Duration::from_secs(1)));
    }

    #[test]
    fn a_table_over_its_bound_keeps_the_newest() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(
            "ATTACH ':memory:' AS g; CREATE TABLE g.events(ts TIMESTAMP); CREATE TABLE g.dead_letters(ts TIMESTAMP);
             INSERT INTO g.dead_letters SELECT make_timestamp(i) FROM range(11001) t(i);",
        )
        .unwrap();
        let mut trim = Trim::new(10_999, 0);
        trim.wrote(&c, 1, 0).unwrap();
        let count = || c.query_row("SELECT count(*) FROM g.dead_letters", [], |r| r.get::<_, i64>(0)).unwrap();
        assert_eq!(count(), 11_001, "within the slack");
        trim.wrote(&c, 1, 0).unwrap();
        assert_eq!(count(), DEAD_LETTERS);
        let oldest: i64 = c.query_row("SELECT epoch_us(min(ts)) FROM g.dead_letters", [], |r| r.get(0)).unwrap();
        assert_eq!(oldest, 11_001 - DEAD_LETTERS);
        c.execute_batch("INSERT INTO g.dead_letters SELECT make_timestamp(50000) FROM range(2000)").unwrap();
        trim.wrote(&c, 2_000, 0).unwrap();
        assert_eq!(count(), DEAD_LETTERS, "also where all times are equal");
    }
}
