//! Readings without their right time: records with an impossible time of their node, and readings that this machine could
//! not stamp because its clock was not right.
//!
//! A reading without a time of its own that arrives under a clock in doubt waits in `unsynced`, known by its boot and
//! CLOCK_BOOTTIME. When the clock is right it gets its true time and moves to `readings`. When patience is over it is
//! stored with the time that the clock shows, its lag NULL, and a note of it in `provisional`; by the note it is corrected
//! when the clock becomes right in the same boot. After another boot nothing can tell its true time: what waits is stored
//! as it is, and the notes are dropped.
//!
//! Everything is moved in bounded steps of one transaction each, which takes what it moves out of the table it waited in: a
//! crash between the steps, or a commit whose answer was lost, moves nothing twice and loses nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use duckdb::{Connection, params};

use super::catalog::{Catalog, Newest};
use super::commit::{self, Done, timestamp};
use super::plan::{DeadRow, HeldRow, Late, Plan, Row, UnsyncedRow};
use super::rolled::{Mark, Rolled};
use crate::reading::{DeadLetter, DeadReason, Timestamp};

/// Records with an impossible time that are kept; one above it becomes a dead letter.
const MAX_RECORDS: i64 = 100_000;
/// Readings that wait for the clock; one above it is stored as it is, and noted.
const MAX_HELD: i64 = 100_000;
/// Notes; a reading above it stays with the time that the clock showed.
const MAX_NOTES: i64 = 1_000_000;
/// Rows moved in one transaction.
const STEP: usize = 5_000;
/// Notes of rows further apart than this go into steps of their own, so that zone maps keep their effect.
const FAR_APART: i64 = 86_400 * 1_000_000;
/// The position of a row that came in no envelope.
const NO_ENVELOPE: usize = usize::MAX;

/// Puts the readings of `plan` that wait for the clock into `unsynced`; those over the bound go to its late rows.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn hold(connection: &Connection, plan: &mut Plan, done: &mut Done) -> duckdb::Result<()> {
    if plan.held.is_empty() {
        return Ok(());
    }
    let room = MAX_HELD - count(connection, "unsynced WHERE node_ts IS NULL")?;
    let room = usize::try_from(room).unwrap_or(0).min(plan.held.len());
    let over = plan.held.split_off(room);
    let mut appender = connection.appender_to_catalog_and_db("unsynced", "g", "main")?;
    for h in &plan.held {
        appender.append_row(params![h.series, &*plan.boot, h.boottime, None::<i64>, h.value, timestamp(h.stamp)])?;
    }
    appender.flush()?;
    done.held = plan.held.len() as u64;
    plan.late.extend(over.into_iter().map(|h| Late {
        row: Row { series: h.series, ts: h.stamp, value: h.value, lag: None, noted: Some(h.boottime) },
        stamped: true,
        envelope: NO_ENVELOPE,
    }));
    Ok(())
}

/// Notes those of `rows` that a doubtful clock has stamped, as far as there is room; returns how many.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn note(connection: &Connection, rows: &[Row], boot: &str) -> duckdb::Result<u64> {
    if rows.iter().all(|r| r.noted.is_none()) {
        return Ok(0);
    }
    let room = usize::try_from(MAX_NOTES - count(connection, "provisional")?).unwrap_or(0);
    let mut appender = connection.appender_to_catalog_and_db("provisional", "g", "main")?;
    let mut noted = 0;
    for (row, boottime) in rows.iter().filter_map(|r| Some((r, r.noted?))).take(room) {
        appender.append_row(params![row.series, boot, boottime, timestamp(row.ts)])?;
        noted += 1;
    }
    appender.flush()?;
    Ok(noted)
}

/// Keeps the records of `plan` with an impossible time of their node, each once by (series, time of the node, value).
///
/// # Errors
/// Whatever DuckDB reports.
pub fn records(
    connection: &Connection,
    plan: &mut Plan,
    done: &mut Done,
    letter: &mut impl FnMut(usize, DeadLetter) -> Option<DeadRow>,
) -> duckdb::Result<()> {
    if plan.unsynced.is_empty() {
        return Ok(());
    }
    let mut room = MAX_RECORDS - count(connection, "unsynced WHERE node_ts IS NOT NULL")?;
    let mut seen: HashSet<(i32, i64, u64)> = HashSet::new();
    {
        let mut known =
            connection.prepare("SELECT node_ts, value FROM g.unsynced WHERE series = ? AND node_ts IS NOT NULL")?;
        let touched: HashSet<i32> = plan.unsynced.iter().map(|u| u.series).collect();
        for series in touched {
            let rows = known.query_map(params![series], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, f64>(1)?)))?;
            for row in rows {
                let (node_ts, value) = row?;
                seen.insert((series, node_ts, value.to_bits()));
            }
        }
    }
    let mut rows: Vec<UnsyncedRow> = Vec::new();
    for one in &plan.unsynced {
        if !seen.insert((one.series, one.node_ts.micros(), one.value.to_bits())) {
            done.duplicate(one.series);
        } else if room <= 0 {
            done.unsynced_full += 1;
            plan.refused.insert(one.envelope);
            let detail = format!("series {} at node time {} us: {}", one.series, one.node_ts.micros(), one.value);
            plan.dead.extend(letter(one.envelope, DeadLetter::new(DeadReason::UnsyncedFull, detail, &[])));
        } else {
            room -= 1;
            rows.push(*one);
        }
    }
    done.unsynced = rows.len() as u64;
    let mut appender = connection.appender_to_catalog_and_db("unsynced", "g", "main")?;
    for u in &rows {
        let no_stamp: Option<i64> = None;
        appender.append_row(params![u.series, &*plan.boot, u.boottime, u.node_ts.micros(), u.value, no_stamp])?;
    }
    appender.flush()
}

/// Rows of this boot, or of other boots, that wait or are noted: one condition for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// This one.
    This,
    /// Any other.
    Other,
}

impl Boot {
    const fn is(self) -> &'static str {
        match self {
            Self::This => "boot = ?",
            Self::Other => "boot IS DISTINCT FROM ?",
        }
    }
}

/// What a step has done.
#[derive(Debug, Default)]
pub struct Step {
    /// The newest reading of each touched series.
    pub newest: HashMap<i32, Newest>,
    /// Rows or notes that were taken out of where they waited.
    pub taken: u64,
    /// Rows that were put into `readings`.
    pub stored: u64,
    /// Of those: noted.
    pub noted: u64,
    /// Hours that are dirty by what was put in and taken out.
    pub marks: HashSet<Mark>,
    /// Series and times of rows of `readings` that were replaced.
    pub replaced: Vec<(i32, Timestamp)>,
}

/// Moves readings that wait from `unsynced` to `readings`, in one transaction: with their true time where `offset` is known
/// (CLOCK_REALTIME minus CLOCK_BOOTTIME), else as they are. Those of this boot are then noted. `None` when none waits.
///
/// # Errors
/// Whatever DuckDB reports. The transaction has to be rolled back then; what became of it shows in the tables.
pub fn release(
    connection: &Connection,
    catalog: &Catalog,
    this: &str,
    boot: Boot,
    offset: Option<i64>,
    rolled: &Arc<Rolled>,
) -> duckdb::Result<Option<Step>> {
    connection.execute_batch("BEGIN TRANSACTION")?;
    let mut last = None;
    let mut held: Vec<HeldRow> = Vec::new();
    {
        let sql = format!(
            "SELECT rowid, series, boottime, coalesce(epoch_us(ts), 0), value FROM g.unsynced \
             WHERE node_ts IS NULL AND {} ORDER BY rowid LIMIT {STEP}",
            boot.is()
        );
        let mut select = connection.prepare(&sql)?;
        let rows = select.query_map(params![this], |r| {
            Ok((
                r.get::<_, i64>(0)?,
                HeldRow { series: r.get(1)?, boottime: r.get(2)?, stamp: Timestamp(r.get(3)?), value: r.get(4)? },
            ))
        })?;
        for row in rows {
            let (id, row) = row?;
            last = Some(id);
            held.push(row);
        }
    }
    let Some(last) = last else {
        connection.execute_batch("ROLLBACK")?;
        return Ok(None);
    };
    let sql = format!("DELETE FROM g.unsynced WHERE node_ts IS NULL AND {} AND rowid <= ?", boot.is());
    connection.execute(&sql, params![this, last])?;
    let rows = held.iter().map(|h| Row {
        series: h.series,
        ts: offset.map_or(h.stamp, |offset| Timestamp(h.boottime.saturating_add(offset))),
        value: h.value,
        lag: offset.map(|_| 0),
        noted: (offset.is_none() && boot == Boot::This).then_some(h.boottime),
    });
    let mut step = store(connection, catalog, this, rows.collect(), rolled, HashSet::new())?;
    step.taken = held.len() as u64;
    connection.execute_batch("COMMIT")?;
    Ok(Some(step))
}

/// Gives noted rows of this boot their true time, in one transaction. `None` when there are no notes.
///
/// # Errors
/// Whatever DuckDB reports. The transaction has to be rolled back then; what became of it shows in the tables.
pub fn correct(
    connection: &Connection,
    catalog: &Catalog,
    this: &str,
    offset: i64,
    rolled: &Arc<Rolled>,
) -> duckdb::Result<Option<Step>> {
    connection.execute_batch("BEGIN TRANSACTION")?;
    let mut last = None;
    let mut taken = 0;
    let mut notes: HashMap<(i32, Timestamp), i64> = HashMap::new();
    {
        let sql = format!(
            "SELECT rowid, series, boottime, epoch_us(ts) FROM g.provisional WHERE boot = ? ORDER BY rowid LIMIT {STEP}"
        );
        let mut select = connection.prepare(&sql)?;
        let mut rows = select.query(params![this])?;
        let mut before: Option<i64> = None;
        while let Some(r) = rows.next()? {
            let ts: i64 = r.get(3)?;
            if before.replace(ts).is_some_and(|before| before.abs_diff(ts) > FAR_APART.unsigned_abs()) {
                break;
            }
            last = Some(r.get::<_, i64>(0)?);
            taken += 1;
            notes.insert((r.get(1)?, Timestamp(ts)), r.get(2)?);
        }
    }
    let Some(last) = last else {
        connection.execute_batch("ROLLBACK")?;
        return Ok(None);
    };
    connection.execute("DELETE FROM g.provisional WHERE boot = ? AND rowid <= ?", params![this, last])?;
    let keys: Vec<(i32, Timestamp)> = notes.keys().copied().collect();
    let found = commit::stored(connection, &keys)?;
    if let (Some(first), Some(last)) = (keys.iter().map(|k| k.1).min(), keys.iter().map(|k| k.1).max()) {
        // `stored` has left the keys in the temporary table.
        let sql = format!(
            "DELETE FROM g.readings WHERE ts BETWEEN make_timestamp({}) AND make_timestamp({}) AND lag IS NULL \
             AND (series, ts) IN (SELECT (series, ts) FROM temp.late)",
            first.micros(),
            last.micros()
        );
        connection.execute(&sql, [])?;
    }
    let replaced: Vec<(i32, Timestamp)> = found.keys().copied().collect();
    let row = |(key, value): (&(i32, Timestamp), &f64)| {
        let ts = Timestamp(notes.get(key)?.saturating_add(offset));
        Some(Row { series: key.0, ts, value: *value, lag: Some(0), noted: None })
    };
    // The hours that they leave change as well.
    let left = replaced.iter().filter_map(|(series, ts)| rolled.mark_for(*series, *ts)).collect();
    let mut step = store(connection, catalog, this, found.iter().filter_map(row).collect(), rolled, left)?;
    (step.taken, step.replaced) = (taken, replaced);
    connection.execute_batch("COMMIT")?;
    Ok(Some(step))
}

/// Drops the notes of other boots: nothing can tell those times any more.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn forget(connection: &Connection, this: &str) -> duckdb::Result<()> {
    let sql = format!("DELETE FROM g.provisional WHERE {}", Boot::Other.is());
    connection.execute(&sql, params![this]).map(|_| ())
}

/// Readings that wait, and notes.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn pending(connection: &Connection) -> duckdb::Result<i64> {
    Ok(count(connection, "unsynced WHERE node_ts IS NULL")? + count(connection, "provisional")?)
}

/// Reads the newest reading of some series from the file: one scan of two columns.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn newest(connection: &Connection, series: &[i32]) -> duckdb::Result<HashMap<i32, Newest>> {
    let list: Vec<String> = series.iter().map(ToString::to_string).collect();
    let sql = format!(
        "SELECT series, epoch_us(max(ts)), arg_max(value, ts), arg_max_null(lag, ts) FROM g.readings \
         WHERE series IN ({}) GROUP BY series",
        list.join(", ")
    );
    let mut select = connection.prepare(&sql)?;
    let rows = select
        .query_map([], |r| Ok((r.get(0)?, Newest { ts: Timestamp(r.get(1)?), value: r.get(2)?, lag: r.get(3)? })))?;
    rows.collect()
}

/// Stores rows; `marks` are hours that are dirty already.
fn store(
    connection: &Connection,
    catalog: &Catalog,
    boot: &str,
    mut rows: Vec<Row>,
    rolled: &Arc<Rolled>,
    marks: HashSet<Mark>,
) -> duckdb::Result<Step> {
    let mut plan = Plan::in_boot(boot, rolled);
    rows.sort_by_key(|r| r.ts);
    for row in rows {
        plan.place_stamped(catalog, row, NO_ENVELOPE);
    }
    let mut done = Done { marks, ..Done::default() };
    commit::rows(connection, &mut plan, &mut done, &mut |_, _| None)?;
    Ok(Step { newest: plan.newest, stored: done.committed, noted: done.noted, marks: done.marks, ..Step::default() })
}

fn count(connection: &Connection, of: &str) -> duckdb::Result<i64> {
    connection.query_row(&format!("SELECT count(*) FROM g.{of}"), [], |r| r.get(0))
}
