//! Rows of numbers, one for each bucket of time and group of series: gathered page by page, and written as JSON.
//!
//! A page ends at the end of a bucket. It is held in memory as numbers, about a hundred bytes for each row, and becomes
//! text while the client takes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::names::Text;
use super::params::Params;
use super::{State, lines};
use crate::reading::Timestamp;
use crate::store::reader::{
    Aggregate, Buckets, Fill, Found, MadeFrom, Marks, QueryError, Question, Slice, Width, fill,
};
use crate::zone::{DAY, HOUR, Tz};

/// Rows of a page where no limit is given, and at most.
const ROWS: usize = 1_000;
const MAX_ROWS: usize = 10_000;

/// Most buckets of a range, over all pages.
const MAX_BUCKETS: u64 = 1_000_000;

/// Longest time for a page.
const TIME: Duration = Duration::from_secs(30);

/// A query that took less asks for more buckets the next time, one that took more for fewer.
const QUICK: Duration = Duration::from_millis(300);
const SLOW: Duration = Duration::from_millis(1_500);

/// What a row is of.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) node: Option<Text>,
    pub(super) metric: Option<Text>,
    /// That of all series of the group; `None` where they have none, or several.
    pub(super) unit: Option<Text>,
}

/// The buckets and groups of a question.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) question: Question,
    pub(super) labels: Vec<Label>,
    /// `None`: the whole range is one.
    pub(super) buckets: Option<Buckets>,
    pub(super) zone: Tz,
    /// From the beginning of a bucket to the end of another.
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) fill: Fill,
    pub(super) limit: usize,
    /// Where the page begins.
    pub(super) from: Timestamp,
    /// Readings before it were removed, and some of them are asked for.
    pub(super) removed_before: Option<Timestamp>,
}

/// Some rows of a table.
#[derive(Debug, Default)]
pub(super) struct Page {
    rows: Vec<Row>,
    pub(super) made_from: MadeFrom,
    pub(super) incomplete: Vec<Aggregate>,
    next: Option<Timestamp>,
}

#[derive(Debug)]
struct Row {
    begin: Timestamp,
    group: usize,
    values: Box<[f64]>,
}

/// The buckets that the range touches as a whole, without those of which nothing is known any more.
pub(super) fn whole_buckets(
    buckets: &Buckets,
    (start, end): (Timestamp, Timestamp),
    marks: &Marks,
    exact: bool,
) -> Result<(Timestamp, Timestamp), ApiError> {
    let count = buckets.count(start, end);
    if count > MAX_BUCKETS {
        return Err(ApiError::too_many_buckets(count, buckets.width(), (start, end), MAX_BUCKETS));
    }
    let start = buckets.begin_of(start);
    let end = buckets.end_of(Timestamp(end.micros() - 1));
    let known = marks.known_from(buckets, exact).map_or(start, |known| known.max(start));
    match marks.expired_before {
        Some(expired) if known >= end => {
            let advice = if exact {
                "exact=true needs them; ask for a later range, or without it".to_owned()
            } else {
                format!("the first bucket of {} that is known begins at {known}", buckets.width())
            };
            Err(ApiError::removed(expired, &advice))
        }
        _ => Ok((known, end)),
    }
}

/// The limit of rows, and where a page begins that goes on behind another.
pub(super) fn paging(
    params: &Params,
    buckets: Option<&Buckets>,
    (start, end): (Timestamp, Timestamp),
) -> Result<(usize, Timestamp), ApiError> {
    let limit = params.rows("limit", MAX_ROWS)?.unwrap_or(ROWS);
    let Some(cursor) = params.one("cursor")? else { return Ok((limit, start)) };
    let from = cursor.parse().ok().map(Timestamp).filter(|from| {
        buckets.is_some_and(|buckets| {
            (i64::MIN / 2..end.micros()).contains(&from.micros()) && buckets.begin_of(*from) == *from
        })
    });
    match from {
        // Since the cursor was given, more may have been removed.
        Some(from) => Ok((limit, from.max(start))),
        None => Err(ApiError::cursor(format!(
            "parameter cursor: {cursor:.40?} is not a cursor that an earlier answer to the same question has given"
        ))),
    }
}

impl Table {
    /// Gathers a page.
    pub(super) async fn page(&self, state: &Arc<State>) -> Result<Page, ApiError> {
        let groups = self.question.grouping.groups();
        if groups > MAX_ROWS {
            return Err(ApiError::too_many_rows(&format!("{groups} groups"), MAX_ROWS));
        }
        if groups == 0 {
            return Ok(Page::default());
        }
        match &self.buckets {
            Some(buckets) if self.fill.needs_neighbours() => self.all(state, buckets, groups).await,
            Some(buckets) => self.some(state, buckets, groups).await,
            None => self.whole(state, groups).await,
        }
    }

    /// One bucket, the whole range.
    async fn whole(&self, state: &Arc<State>, groups: usize) -> Result<Page, ApiError> {
        let slice = self.slice(state, vec![self.start, self.end]).await?;
        if slice.unknown {
            let expired = self.removed_before.unwrap_or(self.start);
            let advice = if self.question.exact {
                "exact=true needs them; ask for a later range, or without it"
            } else {
                "of that time only whole hours or days are known; let start and end be the beginnings of some, or ask with bucket="
            };
            return Err(ApiError::removed(expired, advice));
        }
        let mut page = Page { made_from: slice.made_from, incomplete: slice.incomplete, ..Page::default() };
        page.add(fill(slice.rows, &[self.start], groups, &self.question.aggregates, self.fill), &[self.start]);
        Ok(page)
    }

    /// As many buckets as fit.
    async fn some(&self, state: &Arc<State>, buckets: &Buckets, groups: usize) -> Result<Page, ApiError> {
        let deadline = Instant::now() + TIME;
        let mut page = Page::default();
        let mut at = self.from;
        let mut step = first_step(buckets.width());
        // Buckets of the next query where most of those before had no rows: a page of two rows may be years wide.
        let mut reach = 0;
        while at < self.end && page.rows.len() < self.limit && Instant::now() < deadline {
            let fit = (self.limit - page.rows.len()) / groups;
            if fit == 0 && !page.rows.is_empty() {
                break;
            }
            let many = if self.fill == Fill::None { reach.min(MAX_ROWS / groups).max(fit) } else { fit };
            let edges = buckets.edges(at, self.end, step.min(many).max(1));
            let slice = self.timed_slice(state, &edges, &mut step).await?;
            let begins = &edges[..edges.len() - 1];
            reach = if slice.rows.len() <= begins.len() / 4 { begins.len().saturating_mul(4) } else { 0 };
            page.note(&slice);
            page.add(fill(slice.rows, begins, groups, &self.question.aggregates, self.fill), begins);
            at = page.cut(self.limit).unwrap_or(edges[edges.len() - 1]);
        }
        page.next = (at < self.end).then_some(at);
        Ok(page)
    }

    /// All buckets, since each may be filled from the others; then those of the page.
    async fn all(&self, state: &Arc<State>, buckets: &Buckets, groups: usize) -> Result<Page, ApiError> {
        let deadline = Instant::now() + TIME;
        let count = buckets.count(self.start, self.end);
        if count.saturating_mul(groups as u64) > MAX_ROWS as u64 {
            let what = format!("{count} buckets of {groups} groups, all of which this fill looks at");
            return Err(ApiError::too_many_rows(&what, MAX_ROWS));
        }
        let mut page = Page::default();
        let mut found: Vec<Found> = Vec::new();
        let mut begins = Vec::new();
        let mut at = self.start;
        let mut step = first_step(buckets.width());
        while at < self.end {
            if Instant::now() >= deadline {
                return Err(QueryError::TooLong.into());
            }
            let edges = buckets.edges(at, self.end, step);
            let slice = self.timed_slice(state, &edges, &mut step).await?;
            page.note(&slice);
            let before = begins.len();
            found.extend(slice.rows.into_iter().map(|row| Found { bucket: row.bucket + before, ..row }));
            begins.extend_from_slice(&edges[..edges.len() - 1]);
            at = edges[edges.len() - 1];
        }
        let first = begins.partition_point(|begin| *begin < self.from);
        let last = (first + (self.limit / groups).max(1)).min(begins.len());
        let mut filled = fill(found, &begins, groups, &self.question.aggregates, self.fill);
        filled.retain(|row| (first..last).contains(&row.bucket));
        page.add(filled, &begins);
        page.next = begins.get(last).copied();
        Ok(page)
    }

    /// A slice; `step` becomes the number of buckets for the next one.
    async fn timed_slice(&self, state: &Arc<State>, edges: &[Timestamp], step: &mut usize) -> Result<Slice, ApiError> {
        let begun = Instant::now();
        let slice = self.slice(state, edges.to_vec()).await?;
        match begun.elapsed() {
            quick if quick < QUICK => *step = step.saturating_mul(4).min(MAX_ROWS),
            slow if slow > SLOW => *step = (edges.len() / 2).max(1),
            _ => {}
        }
        Ok(slice)
    }

    async fn slice(&self, state: &Arc<State>, edges: Vec<Timestamp>) -> Result<Slice, ApiError> {
        let (question, zone) = (self.question.clone(), self.zone);
        Ok(state.query(move |reader| reader.slice(&question, zone, &edges)).await?)
    }

    /// The page as `{..head, "rows": [..], "next_cursor": ..}`.
    pub(super) fn answer(self, page: Page, head: &impl Serialize, room: OwnedSemaphorePermit) -> Response {
        let next = page.next.map(|next| next.micros().to_string());
        let shared = Arc::new(self);
        let rows = page.rows.into_iter().map(move |row| Line { table: Arc::clone(&shared), row });
        lines::answer(head, "rows", rows, &Tail { next_cursor: next }, room)
    }
}

/// Buckets of the first query: a day of those that may need the readings.
fn first_step(width: Width) -> usize {
    match width {
        Width::Fixed(width) if width % HOUR != 0 => usize::try_from(DAY / width).unwrap_or(1).clamp(1, MAX_ROWS),
        Width::Fixed(width) => usize::try_from(30 * DAY / width).unwrap_or(1).max(1),
        Width::Days(_) | Width::Months(_) => 60,
    }
}

impl Page {
    fn note(&mut self, slice: &Slice) {
        self.made_from.merge(slice.made_from);
        for gone in &slice.incomplete {
            if !self.incomplete.contains(gone) {
                self.incomplete.push(*gone);
            }
        }
    }

    /// Takes out what is above `limit` rows, in whole buckets, but never the first; returns where that begins.
    fn cut(&mut self, limit: usize) -> Option<Timestamp> {
        let above = self.rows.get(limit)?.begin;
        let first = self.rows.first()?.begin;
        let from = if above > first {
            self.rows.partition_point(|row| row.begin < above)
        } else {
            self.rows.partition_point(|row| row.begin <= first)
        };
        let next = self.rows.get(from)?.begin;
        self.rows.truncate(from);
        Some(next)
    }

    fn add(&mut self, rows: Vec<Found>, begins: &[Timestamp]) {
        self.rows.extend(rows.into_iter().map(|row| Row {
            begin: begins[row.bucket],
            group: row.group,
            values: row.values,
        }));
    }
}

#[derive(Serialize)]
struct Tail {
    next_cursor: Option<String>,
}

struct Line {
    table: Arc<Table>,
    row: Row,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { begin, group, values } = &self.row;
        let label = &self.table.labels[*group];
        let mut map = serializer.serialize_map(None)?;
        if let Some(buckets) = &self.table.buckets {
            map.serialize_entry("time", &begin.to_string())?;
            if let Some(date) = buckets.date_of(*begin) {
                map.serialize_entry("date", &date.to_string())?;
            }
        }
        if let Some(node) = &label.node {
            map.serialize_entry("node", node)?;
        }
        if let Some(metric) = &label.metric {
            map.serialize_entry("metric", metric)?;
        }
        map.serialize_entry("unit", &label.unit)?;
        for (aggregate, value) in self.table.question.aggregates.iter().zip(values) {
            match aggregate {
                Aggregate::Count => map.serialize_entry(aggregate.name(), &whole(*value))?,
                _ => map.serialize_entry(aggregate.name(), &Some(*value).filter(|v| v.is_finite()))?,
            }
        }
        map.end()
    }
}

/// A count; `None` for NaN.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is a whole number from 0 on")]
fn whole(count: f64) -> Option<u64> {
    count.is_finite().then_some(count as u64)
}
