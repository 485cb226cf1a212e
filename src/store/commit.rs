//! One transaction: the rows of a plan, and the number of the batch that tells a durable commit from a failed one.

use std::collections::{HashMap, HashSet};

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params};

use super::catalog::Newest;
use super::ledger::{self, Tally};
use super::plan::{DeadRow, EventRow, Late, Plan, Row};
use super::redelivery::{self, Unconfirmed};
use super::rolled::{self, Mark, Rolled};
use super::unsynced;
use super::writer::written;
use crate::reading::{DeadLetter, DeadReason, Timestamp};

/// Late rows further apart than this are looked for in statements of their own, so that zone maps keep their effect.
const FAR_APART: i64 = 86_400 * 1_000_000;
/// Statements that look for the late rows of one commit, at the most: each costs a millisecond however little it reads.
const WINDOWS: usize = 16;
/// Commits that are kept in any case.
const KEPT_COMMITS: i64 = 16;
/// Every so many commits the older rows of `commits` are deleted.
const TRIM_EVERY: i64 = 64;

/// What became of the rows of a plan.
#[derive(Debug, Default, PartialEq)]
pub struct Done {
    /// Readings that are in `readings` now.
    pub committed: u64,
    /// Readings that are in `unsynced` now, until the clock is right.
    pub held: u64,
    /// Of those committed: noted, because their time has to be corrected when the clock is right.
    pub noted: u64,
    /// Readings that were known already.
    pub duplicate: u64,
    /// Readings for whose series and time another value is stored.
    pub conflict: u64,
    /// Stored records kept for their impossible time, those known already not included.
    pub unsynced: u64,
    /// Stored records that found `unsynced` full.
    pub unsynced_full: u64,
    /// Events written.
    pub events: u64,
    /// Dead letters written.
    pub dead_letters: u64,
    /// Hours that are dirty by these readings.
    pub marks: HashSet<Mark>,
    /// Duplicates and conflicts of each series.
    pub tally: Tally,
}

impl Done {
    /// Counts a reading that was known already.
    pub fn duplicate(&mut self, series: i32) {
        self.duplicate += 1;
        self.tally.entry(series).or_default().duplicates += 1;
    }
}

/// Writes `plan` as batch number `batch` in one transaction. The dead letters that are found necessary here go through
/// `letter` with the position of their envelope; it may refuse them to keep their rate.
///
/// # Errors
/// Whatever DuckDB reports. The transaction is then rolled back or its fate unknown: the number of the batch tells.
pub fn write(
    connection: &Connection,
    plan: &mut Plan,
    batch: i64,
    at: Timestamp,
    (unconfirmed, anew): (&Unconfirmed, bool),
    mut letter: impl FnMut(usize, DeadLetter) -> Option<DeadRow>,
) -> duckdb::Result<Done> {
    connection.execute_batch("BEGIN TRANSACTION")?;
    let mut done = Done::default();
    names(connection, plan)?;
    unsynced::hold(connection, plan, &mut done)?;
    rows(connection, plan, &mut done, &mut letter)?;
    unsynced::records(connection, plan, &mut done, &mut letter)?;
    done.events = events(connection, &plan.events)?;
    done.dead_letters = dead_letters(connection, &plan.dead)?;
    ledger::write(connection, &plan.page)?;
    if let Some(floor) = plan.floor {
        connection.execute("DELETE FROM g.meta WHERE key = 'floor'", [])?;
        connection.execute("INSERT INTO g.meta VALUES ('floor', ?)", params![floor.micros().to_string()])?;
    }
    written::note(connection, &plan.written)?;
    let trim = batch % TRIM_EVERY == 0;
    let memory =
        if trim || anew { Some(unconfirmed.all_with(&plan.deliveries)) } else { redelivery::added(&plan.deliveries) };
    // By an Appender: a statement would be parsed, planned and optimised for each commit, which takes longer than its 100 rows.
    let mut commits = connection.appender_to_catalog_and_db("commits", "g", "main")?;
    commits.append_row(params![batch, timestamp(at), memory])?;
    commits.flush()?;
    drop(commits);
    if trim {
        connection.execute("DELETE FROM g.commits WHERE batch <= ?", params![batch - KEPT_COMMITS])?;
    }
    connection.execute_batch("COMMIT")?;
    Ok(done)
}

/// Writes what is remembered of messages into the row of the last batch, `number`, and takes it out of all others, after
/// something was forgotten that a process after this one must not know either.
///
/// # Errors
/// Whatever DuckDB reports; what they said before is then what they say.
pub fn remember(connection: &Connection, number: i64, unconfirmed: &Unconfirmed) -> duckdb::Result<()> {
    connection.execute_batch("BEGIN TRANSACTION")?;
    let written = connection
        .execute("UPDATE g.commits SET unconfirmed = NULL WHERE batch <> ? AND unconfirmed IS NOT NULL", [number])
        .and_then(|_| {
            let all = unconfirmed.all();
            connection.execute("UPDATE g.commits SET unconfirmed = ? WHERE batch = ?", params![all, number])
        })
        .and_then(|_| connection.execute_batch("COMMIT"));
    if written.is_err() {
        // It may be over already.
        let _ = connection.execute_batch("ROLLBACK");
    }
    written
}

/// Writes the rows of `plan` for `readings`, within a transaction. Leaves `plan.late` empty.
///
/// # Errors
/// Whatever DuckDB reports.
pub fn rows(
    connection: &Connection,
    plan: &mut Plan,
    done: &mut Done,
    letter: &mut impl FnMut(usize, DeadLetter) -> Option<DeadRow>,
) -> duckdb::Result<()> {
    readings(connection, &plan.fast, &plan.boot, &plan.rolled, done)?;
    let mut late = std::mem::take(&mut plan.late);
    // Stable, so that of equal series and times the first to arrive is stored.
    late.sort_by_key(|l| l.row.ts);
    if !late.is_empty() {
        late_rows(connection, &late, plan, done, letter)?;
    }
    rolled::write(connection, "dirty", &done.marks)
}

/// A time as DuckDB takes it.
pub fn timestamp(ts: Timestamp) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, ts.micros())
}

fn names(connection: &Connection, plan: &Plan) -> duckdb::Result<()> {
    if !plan.nodes.is_empty() {
        let mut nodes = connection.appender_to_catalog_and_db("nodes", "g", "main")?;
        for n in &plan.nodes {
            nodes.append_row(params![n.id, &*n.source, &*n.name, timestamp(n.first_seen)])?;
        }
        nodes.flush()?;
    }
    if !plan.series.is_empty() {
        let mut series = connection.appender_to_catalog_and_db("series", "g", "main")?;
        for s in &plan.series {
            series.append_row(params![s.id, s.node, &*s.metric, s.unit.as_deref(), s.own_name.as_deref()])?;
        }
        series.flush()?;
    }
    Ok(())
}

fn readings(connection: &Connection, rows: &[Row], boot: &str, rolled: &Rolled, done: &mut Done) -> duckdb::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    done.committed += rows.len() as u64;
    done.marks.extend(rows.iter().filter_map(|r| rolled.mark_for(r.series, r.ts)));
    let mut readings = connection.appender_to_catalog_and_db("readings", "g", "main")?;
    for r in rows {
        readings.append_row(params![r.series, timestamp(r.ts), r.value, r.lag])?;
    }
    readings.flush()?;
    done.noted += unsynced::note(connection, rows, boot)?;
    Ok(())
}

/// Stores those of `late` whose series and time are free. The rows written before in this transaction count as stored.
fn late_rows(
    connection: &Connection,
    late: &[Late],
    plan: &mut Plan,
    done: &mut Done,
    letter: &mut impl FnMut(usize, DeadLetter) -> Option<DeadRow>,
) -> duckdb::Result<()> {
    let keys: Vec<(i32, Timestamp)> = late.iter().map(|l| (l.row.series, l.row.ts)).collect();
    let mut taken = stored(connection, &keys)?;
    let mut free = Vec::new();
    let mut moved = Vec::new();
    for one in late {
        let key = (one.row.series, one.row.ts);
        match taken.get(&key) {
            None => {
                taken.insert(key, one.row.value);
                free.push(one.row);
            }
            Some(_) if one.stamped => moved.push(*one),
            #[expect(clippy::float_cmp, reason = "a reading that is sent again has the very same value")]
            Some(value) if *value == one.row.value => done.duplicate(one.row.series),
            Some(value) => {
                done.conflict += 1;
                done.tally.entry(one.row.series).or_default().conflicts += 1;
                let detail =
                    format!("series {} at {}: {} is stored, {} came", one.row.series, one.row.ts, value, one.row.value);
                plan.dead.extend(letter(one.envelope, DeadLetter::new(DeadReason::Conflict, detail, &[])));
            }
        }
    }
    // Stamps that are taken move by a microsecond until they are free. Few: the clock must have stepped back onto them.
    while !moved.is_empty() {
        for one in &mut moved {
            one.row.ts = Timestamp(one.row.ts.micros().saturating_add(1));
        }
        let keys: Vec<(i32, Timestamp)> = moved.iter().map(|l| (l.row.series, l.row.ts)).collect();
        taken.extend(stored(connection, &keys)?);
        moved.retain(|one| {
            let key = (one.row.series, one.row.ts);
            if taken.contains_key(&key) {
                return true;
            }
            taken.insert(key, one.row.value);
            free.push(one.row);
            false
        });
    }
    for row in &free {
        let newest = plan.newest.entry(row.series).or_insert(Newest { ts: row.ts, value: row.value, lag: row.lag });
        if row.ts > newest.ts {
            *newest = Newest { ts: row.ts, value: row.value, lag: row.lag };
        }
    }
    readings(connection, &free, &plan.boot, &plan.rolled, done)
}

/// Which of these series and times are stored, and with which value. Reads only the row groups of their times.
pub fn stored(connection: &Connection, keys: &[(i32, Timestamp)]) -> duckdb::Result<HashMap<(i32, Timestamp), f64>> {
    let mut found = HashMap::new();
    if keys.is_empty() {
        return Ok(found);
    }
    // Made anew each time: rows deleted from a temporary table are not given back for as long as the process lives.
    connection.execute_batch("CREATE OR REPLACE TEMP TABLE late(series INTEGER, ts TIMESTAMP)")?;
    let mut late = connection.appender_to_catalog_and_db("late", "temp", "main")?;
    for (series, ts) in keys {
        late.append_row(params![series, timestamp(*ts)])?;
    }
    late.flush()?;
    drop(late);
    for (first, last) in windows(keys.iter().map(|(_, ts)| ts.micros()).collect()) {
        // The range is written as numbers, so that it is known when the statement is planned and zone maps have their
        // effect.
        let range = format!("BETWEEN make_timestamp({first}) AND make_timestamp({last})");
        let sql = format!(
            "SELECT r.series, epoch_us(r.ts), r.value FROM g.readings r \
             SEMI JOIN (SELECT * FROM temp.late WHERE ts {range}) l ON r.series = l.series AND r.ts = l.ts \
             WHERE r.ts {range}"
        );
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |r| Ok(((r.get(0)?, Timestamp(r.get(1)?)), r.get(2)?)))?;
        for row in rows {
            let (key, value) = row?;
            found.insert(key, value);
        }
    }
    Ok(found)
}

/// Ranges that hold all `times` (microseconds), cut at the widest gaps between them.
fn windows(mut times: Vec<i64>) -> Vec<(i64, i64)> {
    times.sort_unstable();
    let mut gaps: Vec<(i64, usize)> = times
        .windows(2)
        .zip(1..)
        .map(|(pair, at)| (pair[1].saturating_sub(pair[0]), at))
        .filter(|(gap, _)| *gap > FAR_APART)
        .collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    gaps.truncate(WINDOWS - 1);
    let mut cuts: Vec<usize> = gaps.into_iter().map(|(_, at)| at).collect();
    cuts.sort_unstable();
    let mut ranges = Vec::with_capacity(cuts.len() + 1);
    let mut rest = times.as_slice();
    let mut start = 0;
    for cut in cuts.into_iter().chain([times.len()]) {
        let (part, behind) = rest.split_at(cut - start);
        if let (Some(first), Some(last)) = (part.first(), part.last()) {
            ranges.push((*first, *last));
        }
        (rest, start) = (behind, cut);
    }
    ranges
}

type EventKey = (i32, i64, String, String);

fn event_key(e: &EventRow) -> EventKey {
    (e.node, e.ts.micros(), e.kind.to_string(), e.data.clone())
}

/// Which of these events are stored, by one statement over their range of time.
fn stored_events(connection: &Connection, events: &[&EventRow]) -> duckdb::Result<HashSet<EventKey>> {
    let (Some(first), Some(last)) = (events.iter().map(|e| e.ts).min(), events.iter().map(|e| e.ts).max()) else {
        return Ok(HashSet::new());
    };
    let table = "CREATE OR REPLACE TEMP TABLE late_events(node INTEGER, ts TIMESTAMP, kind VARCHAR, data VARCHAR)";
    connection.execute_batch(table)?;
    let mut late = connection.appender_to_catalog_and_db("late_events", "temp", "main")?;
    for e in events {
        late.append_row(params![e.node, timestamp(e.ts), &*e.kind, e.data])?;
    }
    late.flush()?;
    drop(late);
    let mut statement = connection.prepare(&format!(
        "SELECT e.node, epoch_us(e.ts), e.kind, e.data FROM g.events e SEMI JOIN temp.late_events l \
         ON e.node = l.node AND e.ts = l.ts AND e.kind = l.kind AND e.data = l.data \
         WHERE e.ts BETWEEN make_timestamp({}) AND make_timestamp({})",
        first.micros(),
        last.micros()
    ))?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    rows.collect()
}

fn events(connection: &Connection, events: &[EventRow]) -> duckdb::Result<u64> {
    if events.is_empty() {
        return Ok(0);
    }
    let timed: Vec<&EventRow> = events.iter().filter(|e| e.known_by_time).collect();
    let mut known = stored_events(connection, &timed)?;
    let mut fresh = Vec::with_capacity(events.len());
    for e in events {
        // The first of equal ones is stored, and known from then on.
        if !e.known_by_time || known.insert(event_key(e)) {
            fresh.push(e);
        }
    }
    let mut appender = connection.appender_to_catalog_and_db("events", "g", "main")?;
    for e in &fresh {
        appender.append_row(params![e.node, timestamp(e.ts), &*e.kind, e.data])?;
    }
    appender.flush()?;
    Ok(fresh.len() as u64)
}

fn dead_letters(connection: &Connection, dead: &[DeadRow]) -> duckdb::Result<u64> {
    if dead.is_empty() {
        return Ok(0);
    }
    let mut appender = connection.appender_to_catalog_and_db("dead_letters", "g", "main")?;
    for d in dead {
        let reason = format!("{}: {}", d.letter.reason.as_str(), d.letter.detail);
        appender.append_row(params![timestamp(d.ts), &*d.source, reason, d.letter.excerpt])?;
    }
    appender.flush()?;
    Ok(dead.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = FAR_APART;

    #[test]
    fn late_rows_are_looked_for_in_few_ranges_cut_at_the_widest_gaps() {
        assert_eq!(windows(vec![]), []);
        assert_eq!(windows(vec![5]), [(5, 5)]);
        assert_eq!(windows(vec![DAY, 0]), [(0, DAY)], "a day is not far");
        assert_eq!(windows(vec![9 * DAY, 3, 2 * DAY, 1]), [(1, 3), (2 * DAY, 2 * DAY), (9 * DAY, 9 * DAY)]);
        let spread: Vec<i64> = (0..4_000).map(|i| i * 2 * DAY + if i >= 2_000 { DAY } else { 0 }).collect();
        let ranges = windows(spread);
        assert_eq!(ranges.len(), WINDOWS);
        assert_eq!((ranges[0].0, ranges[WINDOWS - 1].1), (0, 3_999 * 2 * DAY + DAY));
        assert!(ranges.iter().any(|(_, last)| *last == 1_999 * 2 * DAY), "the widest gap is one of the cuts");
    }
}
