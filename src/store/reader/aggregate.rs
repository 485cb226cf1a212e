//! Numbers of groups of series over buckets of time, from the rollups where they suffice and are up to date, and from the
//! readings elsewhere.
//!
//! One call answers for a few buckets, in one transaction: a rollup, the mark that it is out of date, and the readings
//! that it was made of are those of one moment.

mod state;

use std::collections::{BTreeMap, HashMap};

use duckdb::{Connection, Row};

use super::buckets::cell_of;
use super::cells::{Aggregate, Cell, End};
use super::pieces::{MadeFrom, Marks, Need, Piece, Sources, Table};
use super::question::{Found, GroupBy, Question, Slice};
use state::State;
pub(super) use state::marks;

use super::{Selection, literal, percentiles};
use crate::reading::Timestamp;
use crate::zone::{self, DAY, HOUR, Tz};

/// Answers for the buckets between `edges`, with local days of `zone`. `most` is how many values percentiles may hold in
/// memory at once.
pub(super) fn slice(
    connection: &Connection,
    question: &Question,
    zone: Tz,
    edges: &[Timestamp],
    most: u64,
) -> duckdb::Result<Slice> {
    if edges.len() < 2 || matches!(&question.selection, Selection::Series(ids) if ids.is_empty()) {
        return Ok(Slice::default());
    }
    let mut work = Work { connection, question, edges, groups: question.grouping.texts(), cells: BTreeMap::new() };
    let State { mut marks, mut dirty_hours, mut dirty_days } = work.state()?;
    if question.exact {
        marks = Marks { expired_before: marks.expired_before, ..Marks::default() };
    }
    work.settle("dirty", &mut dirty_hours, &mut marks.rolled_hours, marks.expired_before)?;
    work.settle("dirty_days", &mut dirty_days, &mut marks.rolled_days, marks.expired_before)?;
    // A day is marked only once the hour that has changed was computed again; an hour may be of two days.
    dirty_days.extend(
        dirty_hours
            .iter()
            .flat_map(|hour| [*hour, Timestamp(hour.micros() + HOUR - 1)].map(|ts| zone::day_of(ts, zone))),
    );
    // A day that readings are left of only in part, as there is one after a change of the time zone, is never computed.
    if let Some(expired) = marks.expired_before {
        dirty_days.extend(Some(zone::day_of(expired, zone)).filter(|day| *day != expired));
    }
    dirty_days.sort_unstable();
    dirty_days.dedup();
    marks.rolled_days = marks.rolled_days.min(marks.rolled_hours.map(|hour| zone::day_of(hour, zone)));
    marks.daily_before = marks.daily_before.max(work.foreign_days(zone, &marks)?);
    let sources = Sources { marks: &marks, zone, dirty_hours: &dirty_hours, dirty_days: &dirty_days };
    let need = need(question, zone, edges);
    let pieces = sources.pieces(edges, need);

    let mut made_from = MadeFrom::default();
    for table in [Table::Daily, Table::Hourly] {
        let of_table: Vec<Piece> = pieces.iter().filter(|p| p.from == Some(table)).copied().collect();
        if !of_table.is_empty() {
            made_from.add(table);
            work.add_rollups(table, &of_table, need)?;
        }
    }
    for piece in pieces.iter().filter(|p| p.from == Some(Table::Readings)) {
        made_from.add(Table::Readings);
        work.add_readings(piece)?;
    }
    if question.aggregates.contains(&Aggregate::Stddev) && work.mend_deviations(marks.expired_before)? {
        made_from.add(Table::Readings);
    }
    let covers = covers(edges, &pieces);
    if question.wants(Aggregate::is_percentile) {
        let wanted: Vec<bool> = covers.iter().map(|cover| *cover == Cover::Readings).collect();
        for (place, found) in percentiles::of_cells(&work, &wanted, most)? {
            work.cells.entry(place).and_modify(|cell| cell.percentiles = Some(found));
        }
    }
    Ok(work.into_slice(&covers, made_from))
}

/// What the cells need of the tables.
fn need(question: &Question, zone: Tz, edges: &[Timestamp]) -> Need {
    let single = question.is_single();
    if question.wants(Aggregate::is_end) && !single {
        return Need::Readings;
    }
    if !question.wants(Aggregate::is_percentile) {
        return Need::Sums;
    }
    let all = |is: &dyn Fn(Timestamp, Timestamp) -> bool| edges.windows(2).all(|pair| is(pair[0], pair[1]));
    if single && all(&|begin, end| zone::hour_of(begin) == begin && end.micros() - begin.micros() == HOUR) {
        Need::Hours
    } else if single && all(&|begin, end| zone::day_of(begin, zone) == begin && zone::next_day(begin, zone) == end) {
        Need::Days
    } else {
        Need::Readings
    }
}

/// What the numbers of a cell are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    /// Readings and nothing else.
    Readings,
    /// Rollups, at least in part.
    Rollups,
    /// Of some of its time nobody knows anything.
    Unknown,
}

fn covers(edges: &[Timestamp], pieces: &[Piece]) -> Vec<Cover> {
    let mut covers = vec![Cover::Readings; edges.len() - 1];
    for piece in pieces.iter().filter(|p| p.from != Some(Table::Readings)) {
        let first = edges.partition_point(|edge| *edge <= piece.start) - 1;
        let end = edges.partition_point(|edge| *edge < piece.end);
        for cover in &mut covers[first..end] {
            *cover = if piece.from.is_none() || *cover == Cover::Unknown { Cover::Unknown } else { Cover::Rollups };
        }
    }
    covers
}

/// Number of a cell, and of a group.
pub(super) type Place = (usize, usize);

/// The cells in the making.
pub(super) struct Work<'a> {
    pub(super) connection: &'a Connection,
    pub(super) question: &'a Question,
    pub(super) edges: &'a [Timestamp],
    groups: HashMap<String, usize>,
    pub(super) cells: BTreeMap<Place, Cell>,
}

impl Work<'_> {
    /// Group (`k`), cell (`c`), `value`, `ts` and `series` of the readings of a stretch of time, as a SELECT that can be
    /// gone on with AND.
    pub(super) fn readings(&self, start: Timestamp, end: Timestamp) -> String {
        let GroupBy { key, join } = self.question.grouping.sql();
        let cell = cell_of(self.edges, "r.ts");
        let range = self.range("ts", start, end);
        format!("SELECT {key} AS k, {cell} AS c, r.value, r.ts, r.series FROM g.readings r{join} WHERE {range}")
    }

    fn range(&self, time: &str, start: Timestamp, end: Timestamp) -> String {
        let series = match &self.question.selection {
            Selection::All => String::new(),
            Selection::Series(ids) => {
                let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
                format!(" AND r.series IN ({})", ids.join(","))
            }
        };
        format!("r.{time} >= {} AND r.{time} < {}{series}", literal(start), literal(end))
    }

    /// Where a row belongs that begins with the text of its group and the number of its cell; `None` for a group that
    /// nobody asked for, since a series may be newer than the question.
    pub(super) fn place(&self, row: &Row<'_>) -> duckdb::Result<Option<Place>> {
        let cell = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
        let group = self.groups.get(&row.get::<_, String>(0)?);
        Ok(group.map(|group| (cell, *group)))
    }

    /// Where days of `daily` end that are none of `zone`: when the time zone is changed, those whose readings are gone stay as
    /// they are.
    fn foreign_days(&self, zone: Tz, marks: &Marks) -> duckdb::Result<Option<Timestamp>> {
        let start = self.edges[0];
        let Some(expired) = marks.expired_before.filter(|expired| start < *expired && marks.rolled_days.is_some())
        else {
            return Ok(None);
        };
        let end = self.edges[self.edges.len() - 1].min(Timestamp(expired.micros() + 2 * DAY));
        let range = self.range("bucket", Timestamp(start.micros() - 2 * DAY), end);
        let sql = format!("SELECT DISTINCT epoch_us(r.bucket) FROM g.daily r WHERE {range}");
        let mut statement = self.connection.prepare(&sql)?;
        let mut days = statement.query([])?;
        let mut last = None;
        while let Some(row) = days.next()? {
            let day = Timestamp(row.get(0)?);
            if zone::day_of(day, zone) != day {
                last = last.max(Some(Timestamp(day.micros() + 2 * DAY)));
            }
        }
        Ok(last)
    }

    fn add_rollups(&mut self, table: Table, pieces: &[Piece], need: Need) -> duckdb::Result<()> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let (name, has_percentiles) = match table {
            Table::Daily => ("daily", need == Need::Days),
            _ => ("hourly", need == Need::Hours),
        };
        let GroupBy { key, join } = self.question.grouping.sql();
        let cell = cell_of(self.edges, "r.bucket");
        let range = self.range("bucket", first.start, last.end);
        // Between two pieces lies what is out of date.
        let gaps: String = pieces
            .windows(2)
            .map(|pair| {
                let (from, to) = (literal(pair[0].end), literal(pair[1].start));
                format!(" AND NOT (r.bucket >= {from} AND r.bucket < {to})")
            })
            .collect();
        let from = format!("FROM g.{name} r{join} WHERE {range}{gaps}");
        let sql = if has_percentiles {
            // Each row is a cell.
            format!(
                "SELECT {key}::VARCHAR, {cell}, \"count\", \"min\", \"max\", \"sum\", sum_sq, epoch_us(bucket), \"first\", \
                 epoch_us(bucket), \"last\", p50, p95, p99 {from}"
            )
        } else {
            format!(
                "SELECT k::VARCHAR, c, sum(\"count\")::BIGINT, min(\"min\"), max(\"max\"), sum(\"sum\"), sum(sum_sq), \
                 epoch_us(min(bucket)), arg_min(\"first\", bucket), epoch_us(max(bucket)), arg_max(\"last\", bucket) \
                 FROM (SELECT {key} AS k, {cell} AS c, r.* {from}) GROUP BY k, c"
            )
        };
        let parts = self.collect(&sql, |row| {
            let mut part = Cell::of_sums(row.get(2)?, (row.get(3)?, row.get(4)?), row.get(5)?, row.get(6)?);
            part.first = Some(End { at: row.get(7)?, value: row.get(8)? });
            part.last = Some(End { at: row.get(9)?, value: row.get(10)? });
            if has_percentiles {
                part.percentiles = Some([row.get(11)?, row.get(12)?, row.get(13)?]);
            }
            Ok(part)
        })?;
        self.merge(parts);
        Ok(())
    }

    fn add_readings(&mut self, piece: &Piece) -> duckdb::Result<()> {
        let wants_ends = self.question.wants(Aggregate::is_end);
        let squares =
            if self.question.aggregates.contains(&Aggregate::Stddev) { "var_pop(value) * count(*)" } else { "0.0" };
        let ends = match (wants_ends, self.question.is_single()) {
            (false, _) => "NULL, NULL, NULL, NULL",
            (true, true) => "epoch_us(min(ts)), arg_min(value, ts), epoch_us(max(ts)), arg_max(value, ts)",
            // Series may have readings of the same time.
            (true, false) => {
                "epoch_us(min(ts)), arg_min(value, {'t': ts, 's': series}), epoch_us(max(ts)), arg_max(value, {'t': ts, 's': series})"
            }
        };
        let sql = format!(
            "SELECT k::VARCHAR, c, count(*), min(value), max(value), sum(value), {squares}, {ends} FROM ({}) GROUP BY k, c",
            self.readings(piece.start, piece.end)
        );
        let parts = self.collect(&sql, |row| {
            let end = |at: usize| -> duckdb::Result<Option<End>> {
                Ok(if wants_ends { Some(End { at: row.get(at)?, value: row.get(at + 1)? }) } else { None })
            };
            Ok(Cell {
                count: row.get(2)?,
                min: row.get(3)?,
                max: row.get(4)?,
                sum: row.get(5)?,
                squares: row.get(6)?,
                slack: 0.0,
                first: end(7)?,
                last: end(9)?,
                percentiles: None,
            })
        })?;
        self.merge(parts);
        Ok(())
    }

    /// Computes the deviations of which rounding has left too little from the readings, where they still are. True if there
    /// were such.
    fn mend_deviations(&mut self, expired: Option<Timestamp>) -> duckdb::Result<bool> {
        let first_known = expired.map_or(0, |expired| self.edges.partition_point(|edge| *edge < expired));
        let unsound = |(place, cell): (&Place, &Cell)| {
            (place.0 >= first_known && cell.slack > 0.0 && !cell.has_sound_deviation()).then_some(place.0)
        };
        let cells: Vec<usize> = self.cells.iter().filter_map(unsound).collect();
        let (Some(first), Some(last)) = (cells.first(), cells.last()) else { return Ok(false) };
        let readings = self.readings(self.edges[*first], self.edges[last + 1]);
        let sql = format!("SELECT k::VARCHAR, c, var_pop(value) * count(*) FROM ({readings}) GROUP BY k, c");
        for (place, squares) in self.collect(&sql, |row| row.get::<_, f64>(2))? {
            if let Some(cell) = self.cells.get_mut(&place)
                && !cell.has_sound_deviation()
            {
                cell.squares = squares;
                cell.slack = 0.0;
            }
        }
        Ok(true)
    }

    /// The rows of a statement that begin with their place, without those that have none.
    pub(super) fn collect<T>(
        &self,
        sql: &str,
        mut read: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> duckdb::Result<Vec<(Place, T)>> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(place) = self.place(row)? {
                found.push((place, read(row)?));
            }
        }
        Ok(found)
    }

    fn merge(&mut self, parts: Vec<(Place, Cell)>) {
        for (place, part) in parts {
            self.cells.entry(place).and_modify(|cell| cell.merge(&part)).or_insert(part);
        }
    }

    fn into_slice(self, covers: &[Cover], made_from: MadeFrom) -> Slice {
        let aggregates = &self.question.aggregates;
        let mut rows = Vec::with_capacity(self.cells.len());
        let mut incomplete = vec![false; aggregates.len()];
        for (&(bucket, group), cell) in self.cells.iter().filter(|(place, _)| covers[place.0] != Cover::Unknown) {
            let values = aggregates.iter().zip(&mut incomplete).map(|(&aggregate, incomplete)| {
                let gone = match aggregate {
                    Aggregate::Stddev => cell.slack > 0.0 && !cell.has_sound_deviation(),
                    _ if aggregate.is_percentile() => cell.percentiles.is_none(),
                    _ => aggregate.is_end() && !self.question.is_single() && covers[bucket] != Cover::Readings,
                };
                *incomplete |= gone;
                if gone { f64::NAN } else { cell.value(aggregate) }
            });
            rows.push(Found { bucket, group, values: values.collect() });
        }
        for (bucket, _) in covers.iter().enumerate().filter(|(_, cover)| **cover == Cover::Unknown) {
            incomplete.fill(true);
            let values = vec![f64::NAN; aggregates.len()].into_boxed_slice();
            let of_groups = 0..self.question.grouping.groups();
            rows.extend(of_groups.map(|group| Found { bucket, group, values: values.clone() }));
        }
        rows.sort_by_key(|row| (row.bucket, row.group));
        let incomplete = aggregates.iter().zip(incomplete).filter(|(_, gone)| *gone).map(|(a, _)| *a).collect();
        Slice { rows, made_from, incomplete, unknown: covers.contains(&Cover::Unknown) }
    }
}
