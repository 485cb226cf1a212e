//! A survey of the quality of series over a range of time: readings go through [`crate::quality`] in their order.
//!
//! It goes on in steps, each one statement or one page with a connection and a time limit of its own. Series are surveyed
//! in groups, so that many small ones do not cost a scan each; a group holds so many readings that their exact medians fit
//! in DuckDB's memory. A series with more is a group alone.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use duckdb::Connection;

use super::pages::{MAX_PAGE, Selection, Walk};
use super::pool::Lease;
use super::{QueryError, literal};
use crate::config;
use crate::quality::{Differences, ENOUGH, Findings, Interval, Judge, Rules, Span, Values};
use crate::reading::Timestamp;
use crate::store::ledger::{Counts, Tally};
use crate::store::rolled;
use crate::zone;

/// Readings of a group of several series, at the most: the values of each are held for its median.
const GROUP_READINGS: u64 = 250_000;
/// Series of a group, at the most.
const GROUP_SERIES: usize = 200;
/// Ids that a statement names; beyond, it reads all series.
const NAMED: usize = 1_000;
/// A series that has too few readings in the range is learnt from those of so long before, microseconds.
const LOOK_BACK: i64 = 7 * zone::DAY;
/// Differences that are enough to learn from before the range.
const LEARNT: usize = 200;

/// A series to be surveyed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// `series.series`
    pub series: i32,
    /// What is known of it.
    pub rules: Rules,
    /// When its node was first heard of: before, nothing is expected of it.
    pub since: Timestamp,
}

/// What was found about a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Surveyed {
    /// `series.series`
    pub series: i32,
    /// About its readings.
    pub findings: Findings,
    /// What was counted when they came, in hours that are in the file.
    pub counts: Counts,
}

/// What a survey is to find out.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Included.
    pub start: Timestamp,
    /// Excluded.
    pub end: Timestamp,
    /// What arrived before is stored, if it came at all.
    pub now: Timestamp,
    /// Gaps, outliers and stuck values that are listed of each series.
    pub listed: usize,
}

/// A survey in progress; [`super::Reader::survey`] takes it further.
#[derive(Debug)]
pub struct Survey {
    scope: Scope,
    subjects: HashMap<i32, Subject>,
    /// Readings before it were removed.
    expired_before: Option<Timestamp>,
    counts: Tally,
    /// Groups that are not begun, the next one last.
    groups: Vec<Vec<i32>>,
    stage: Stage,
    found: Vec<Surveyed>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is known.
    Begin,
    /// Groups are made; the next one begins.
    Next,
    /// The values of a group are known; its intervals are learnt.
    Learn(Group, Walk),
    /// Of some the interval is learnt from before the range.
    LookBack(Group, Walk, HashSet<i32>),
    /// The intervals are known; its readings are judged.
    Judge(HashMap<i32, Judge>, Walk),
    Done,
}

#[derive(Debug)]
struct Group {
    ids: Vec<i32>,
    values: HashMap<i32, Values>,
    differences: HashMap<i32, Differences>,
}

impl Survey {
    /// Of these series.
    pub fn new(scope: Scope, subjects: Vec<Subject>) -> Self {
        Self {
            scope,
            subjects: subjects.into_iter().map(|s| (s.series, s)).collect(),
            expired_before: None,
            counts: Tally::new(),
            groups: Vec::new(),
            stage: Stage::Begin,
            found: Vec::new(),
        }
    }

    /// What was found, once it is done.
    pub fn into_found(self) -> Vec<Surveyed> {
        self.found
    }

    /// Takes it on by one step; says whether it is done. After an error it cannot go on.
    pub(super) fn step(&mut self, lease: &Lease<'_>, time: Duration) -> Result<bool, QueryError> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Begin => {
                self.begin(lease)?;
                Stage::Next
            }
            Stage::Next => match self.groups.pop() {
                Some(ids) => self.open(lease, ids)?,
                None => Stage::Done,
            },
            Stage::Learn(mut group, mut walk) => {
                for row in walk.fill(lease, MAX_PAGE, time)?.rows {
                    if let Some(differences) = group.differences.get_mut(&row.series) {
                        differences.push(row.ts);
                    }
                }
                if walk.is_done() { self.look_back(group) } else { Stage::Learn(group, walk) }
            }
            Stage::LookBack(mut group, mut walk, mut wanted) => {
                let rows = walk.fill(lease, MAX_PAGE, time)?.rows;
                for row in &rows {
                    if let Some(differences) = group.differences.get_mut(&row.series) {
                        differences.push(row.ts);
                    }
                }
                let before = wanted.len();
                wanted.retain(|id| group.differences.get(id).is_some_and(|d| d.len() < LEARNT));
                if let Some(last) = rows.last()
                    && wanted.len() < before
                {
                    // Where it is, for those that are left.
                    walk = Walk::new(among(&wanted), last.ts, self.scope.start, None);
                }
                if walk.is_done() { self.judge(group) } else { Stage::LookBack(group, walk, wanted) }
            }
            Stage::Judge(mut judges, mut walk) => {
                for row in walk.fill(lease, MAX_PAGE, time)?.rows {
                    if let Some(judge) = judges.get_mut(&row.series) {
                        judge.push(row.ts, row.value);
                    }
                }
                if walk.is_done() {
                    self.close(judges);
                    Stage::Next
                } else {
                    Stage::Judge(judges, walk)
                }
            }
            Stage::Done => Stage::Done,
        };
        Ok(matches!(self.stage, Stage::Done))
    }

    fn begin(&mut self, lease: &Lease<'_>) -> Result<(), QueryError> {
        let Scope { start, end, .. } = self.scope;
        let (wide, ids): (bool, Vec<i32>) = (self.subjects.len() > NAMED, self.subjects.keys().copied().collect());
        let among = if wide { String::new() } else { format!(" AND {}", listed(&ids)) };
        self.expired_before = lease.run(|c| rolled::meta(c, "expired-before"))?;
        self.counts = lease.run(|c| counts(c, start, end, &among))?;
        let readings = lease.run(|c| readings(c, start, end, &among))?;
        self.groups = groups(ids, &readings);
        Ok(())
    }

    /// Asks for the values of a group.
    fn open(&self, lease: &Lease<'_>, ids: Vec<i32>) -> Result<Stage, QueryError> {
        let Scope { start, end, .. } = self.scope;
        let mut values = lease.run(|c| medians(c, start, end, &ids))?;
        // Limits that a person has set take the place of a score, and states have none.
        let scored: Vec<(i32, f64)> = values
            .iter()
            .filter(|(id, v)| !v.states && self.subjects.get(id).is_some_and(|s| !s.rules.has_limits()))
            .filter_map(|(id, v)| Some((*id, v.median?)))
            .collect();
        if !scored.is_empty() {
            lease.run(|c| deviations(c, start, end, &scored, &mut values))?;
        }
        let learners = ids.iter().filter(|id| self.told(**id).is_none());
        let differences: HashMap<i32, Differences> = learners.map(|id| (*id, Differences::default())).collect();
        let present: HashSet<i32> = differences.keys().copied().filter(|id| values.contains_key(id)).collect();
        let group = Group { ids, values, differences };
        Ok(Stage::Learn(group, Walk::new(among(&present), start, end, None)))
    }

    /// The interval, where a person has told it.
    fn told(&self, id: i32) -> Option<Interval> {
        match self.subjects.get(&id)?.rules.interval {
            config::Interval::Learnt => None,
            config::Interval::Every(every) => {
                Some(Interval::Configured(i64::try_from(every.as_micros()).unwrap_or(i64::MAX)))
            }
            config::Interval::Irregular => Some(Interval::ConfiguredIrregular),
        }
    }

    fn look_back(&self, mut group: Group) -> Stage {
        let mut wanted = HashSet::new();
        for (id, differences) in &mut group.differences {
            if differences.len() < ENOUGH {
                differences.cut();
                wanted.insert(*id);
            }
        }
        let from = Timestamp(self.scope.start.micros().saturating_sub(LOOK_BACK));
        let walk = Walk::new(among(&wanted), from, self.scope.start, None);
        Stage::LookBack(group, walk, wanted)
    }

    fn judge(&self, mut group: Group) -> Stage {
        let Scope { start, end, now, listed } = self.scope;
        let mut judges = HashMap::new();
        let mut present = HashSet::new();
        for id in group.ids {
            let Some(subject) = self.subjects.get(&id) else { continue };
            let learnt = group.differences.remove(&id).unwrap_or_default();
            let interval = self.told(id).unwrap_or_else(|| learnt.learn());
            if group.values.contains_key(&id) {
                present.insert(id);
            }
            let values = group.values.remove(&id).unwrap_or_default();
            let since = self.expired_before.map_or(subject.since, |expired| subject.since.max(expired));
            let span = Span { start, end }.expected(since, now, values.delay_s);
            judges.insert(id, Judge::new(&subject.rules, interval, values, span, listed));
        }
        Stage::Judge(judges, Walk::new(among(&present), start, end, None))
    }

    fn close(&mut self, judges: HashMap<i32, Judge>) {
        for (series, judge) in judges {
            let counts = self.counts.get(&series).copied().unwrap_or_default();
            self.found.push(Surveyed { series, findings: judge.finish(), counts });
        }
    }
}

fn among(ids: &HashSet<i32>) -> Selection {
    let mut ids: Vec<i32> = ids.iter().copied().collect();
    ids.sort_unstable();
    Selection::Series(ids)
}

/// Groups of series, those without readings last.
fn groups(mut ids: Vec<i32>, readings: &HashMap<i32, u64>) -> Vec<Vec<i32>> {
    let of = |id: &i32| readings.get(id).copied().unwrap_or(0);
    ids.sort_unstable_by_key(|id| (of(id) == 0, *id));
    let mut groups: Vec<Vec<i32>> = Vec::new();
    let mut full = 0;
    for id in ids {
        full += of(&id);
        match groups.last_mut() {
            Some(group) if group.len() < GROUP_SERIES && full <= GROUP_READINGS => group.push(id),
            _ => {
                full = of(&id);
                groups.push(vec![id]);
            }
        }
    }
    groups.reverse();
    groups
}

/// A condition on the series.
fn listed(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    if ids.is_empty() { "false".to_owned() } else { format!("series IN ({})", ids.join(",")) }
}

fn within(start: Timestamp, end: Timestamp) -> String {
    format!("ts >= {} AND ts < {}", literal(start), literal(end))
}

/// What was counted in the hours of the range that are in the file.
fn counts(connection: &Connection, start: Timestamp, end: Timestamp, among: &str) -> duckdb::Result<Tally> {
    let sql = format!(
        "SELECT series, sum(duplicates)::BIGINT, sum(conflicts)::BIGINT, sum(clock_errors)::BIGINT FROM g.quality \
         WHERE hour >= {} AND hour < {}{among} GROUP BY series",
        literal(zone::hour_of(start)),
        literal(end)
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |r| {
        Ok((r.get(0)?, Counts { duplicates: r.get(1)?, conflicts: r.get(2)?, clock_errors: r.get(3)? }))
    })?;
    rows.collect()
}

/// How many readings each series has.
fn readings(
    connection: &Connection,
    start: Timestamp,
    end: Timestamp,
    among: &str,
) -> duckdb::Result<HashMap<i32, u64>> {
    let sql = format!("SELECT series, count(*) FROM g.readings WHERE {}{among} GROUP BY series", within(start, end));
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    rows.collect()
}

/// What the values of these series are like, but for the deviations from their medians.
fn medians(
    connection: &Connection,
    start: Timestamp,
    end: Timestamp,
    ids: &[i32],
) -> duckdb::Result<HashMap<i32, Values>> {
    let sql = format!(
        "SELECT series, count(*), quantile_cont(value, 0.5), count(*) FILTER (value <> 0 AND value <> 1) = 0, \
         quantile_cont(lag, 0.5), count(*) - count(lag), count(*) FILTER (lag < -1) \
         FROM g.readings WHERE {} AND {} GROUP BY series",
        within(start, end),
        listed(ids)
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |r| {
        let values = Values {
            count: r.get(1)?,
            median: r.get(2)?,
            states: r.get(3)?,
            delay_s: r.get(4)?,
            unverified: r.get(5)?,
            ahead: r.get(6)?,
            ..Values::default()
        };
        Ok((r.get(0)?, values))
    })?;
    rows.collect()
}

/// Adds the deviations from these medians.
fn deviations(
    connection: &Connection,
    start: Timestamp,
    end: Timestamp,
    medians: &[(i32, f64)],
    into: &mut HashMap<i32, Values>,
) -> duckdb::Result<()> {
    let mut table = String::new();
    for (i, (id, median)) in medians.iter().enumerate() {
        // All digits that the number has: it comes out again as it went in.
        let _ = write!(table, "{}({id}, {median:e}::DOUBLE)", if i > 0 { "," } else { "" });
    }
    let ids: Vec<i32> = medians.iter().map(|(id, _)| *id).collect();
    let sql = format!(
        "SELECT series, quantile_cont(d, 0.5), avg(d) FROM (SELECT r.series, abs(r.value - m.median) AS d \
         FROM g.readings r JOIN (VALUES {table}) m(id, median) ON r.series = m.id WHERE {} AND {}) GROUP BY series",
        within(start, end),
        listed(&ids)
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        let finite = |n: Option<f64>| n.filter(|n| n.is_finite());
        if let Some(values) = into.get_mut(&r.get::<_, i32>(0)?) {
            (values.mad, values.mean_deviation) = (finite(r.get(1)?), finite(r.get(2)?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
