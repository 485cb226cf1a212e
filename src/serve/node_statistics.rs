//! The statistics of one node: of a range, by the hour, and by the day.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use serde::Serialize;

use super::State;
use super::error::ApiError;
use super::names::Text;
use super::nodes::{Asked, NodePath, name_in};
use super::params::Params;
use super::table::{Label, Table, paging, whole_buckets};
use crate::reading::Timestamp;
use crate::store::catalog::Series;
use crate::store::reader::{
    Aggregate, Buckets, Fill, Grouping, Marks, QueryError, Question, Reader, Selection, Statistics, Width,
};
use crate::zone::{DAY, HOUR, Tz};

/// Longest time for the statistics of all metrics of a node together.
const STATISTICS_TIME: Duration = Duration::from_secs(30);

/// Range of daily statistics where no start is given.
const DAYS: i64 = 30 * DAY;

#[derive(Serialize)]
pub(super) struct NodeStatistics {
    node: Text,
    source: Text,
    start: String,
    end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_before: Option<String>,
    metrics: Vec<MetricStatistics>,
}

#[derive(Serialize)]
struct MetricStatistics {
    metric: Text,
    unit: Option<Text>,
    count: u64,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    stddev: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    first: Option<String>,
    last: Option<String>,
}

/// `GET /api/v1/nodes/{node}/statistics?start=&end=&metric=`
pub(super) async fn all(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Json<NodeStatistics>, ApiError> {
    let name = name_in(path)?;
    let params = Params::parse(query.as_deref(), &["start", "end", "metric"])?;
    let (start, end) = params.range(state.clock.now().at)?;
    let asked = Asked::find(&state, &name, &params)?;
    let marks = state.query(Reader::marks).await?;
    let removed = marks.expired_before.filter(|expired| start < *expired);
    let zone = state.clock.zone();
    let deadline = Instant::now() + STATISTICS_TIME;
    let mut metrics = Vec::with_capacity(asked.series.len());
    for series in asked.series {
        if Instant::now() >= deadline {
            return Err(QueryError::TooLong.into());
        }
        let id = series.id;
        let kept = removed.map_or(start, |removed| removed.min(end));
        let mut found = state.query(move |reader| reader.statistics(id, kept, end)).await?;
        if let Some(removed) = removed {
            found = state.query(move |reader| with_rollups(reader, id, zone, (start, end), found)).await?.ok_or_else(
                || {
                    let advice =
                        "of that time only whole hours or days are known; let start and end be the beginnings of some";
                    ApiError::removed(removed, advice)
                },
            )?;
        }
        metrics.push(metric_statistics(&series, &found));
    }
    let removed_before = removed.as_ref().map(Timestamp::to_string);
    let (node, source) = (asked.node, asked.source);
    Ok(Json(NodeStatistics { node, source, start: start.to_string(), end: end.to_string(), removed_before, metrics }))
}

/// The statistics of a range of which some readings were removed, out of the rollups; `kept` are those of the rest of it.
/// `None` where the rollups do not tell. Percentiles and the time of the first value are gone with the readings.
fn with_rollups(
    reader: &Reader,
    series: i32,
    zone: Tz,
    (start, end): (Timestamp, Timestamp),
    kept: Statistics,
) -> Result<Option<Statistics>, QueryError> {
    let question = Question {
        selection: Selection::Series(vec![series]),
        grouping: Grouping::Series(vec![series]),
        aggregates: vec![Aggregate::Count, Aggregate::Min, Aggregate::Max, Aggregate::Mean, Aggregate::Stddev],
        exact: false,
    };
    let slice = reader.slice(&question, zone, &[start, end])?;
    if slice.unknown {
        return Ok(None);
    }
    let Some(row) = slice.rows.first() else { return Ok(Some(Statistics::default())) };
    let number = |i: usize| Some(row.values[i]).filter(|v| v.is_finite());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
    let count = row.values[0] as u64;
    if count == kept.count {
        return Ok(Some(kept));
    }
    Ok(Some(Statistics {
        count,
        min: number(1),
        max: number(2),
        mean: number(3),
        stddev: number(4),
        last: kept.last,
        ..Statistics::default()
    }))
}

fn metric_statistics(series: &Series, s: &Statistics) -> MetricStatistics {
    MetricStatistics {
        metric: (&series.metric).into(),
        unit: series.unit.as_ref().map(Text::from),
        count: s.count,
        min: s.min,
        max: s.max,
        mean: s.mean,
        stddev: s.stddev,
        p50: s.p50,
        p95: s.p95,
        p99: s.p99,
        first: s.first.map(|t| t.to_string()),
        last: s.last.map(|t| t.to_string()),
    }
}

#[derive(Serialize)]
struct Head {
    node: Text,
    source: Text,
    start: String,
    end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_before: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<&'static str>,
}

/// `GET /api/v1/nodes/{node}/statistics/hourly?start=&end=&metric=&limit=&cursor=`
pub(super) async fn hourly(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    by_bucket(&state, path, query, Width::Fixed(HOUR), DAY).await
}

/// `GET /api/v1/nodes/{node}/statistics/daily?start=&end=&metric=&limit=&cursor=`
pub(super) async fn daily(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    by_bucket(&state, path, query, Width::Days(1), DAYS).await
}

async fn by_bucket(
    state: &Arc<State>,
    path: NodePath,
    query: Option<String>,
    width: Width,
    default_range: i64,
) -> Result<Response, ApiError> {
    let name = name_in(path)?;
    let params = Params::parse(query.as_deref(), &["start", "end", "metric", "limit", "cursor"])?;
    let zone = state.clock.zone();
    let buckets = Buckets::new(width, zone);
    let range = params.range_of(state.clock.now().at, default_range)?;
    let asked = Asked::find(state, &name, &params)?;
    let room = state.room().await?;
    let marks: Marks = state.query(Reader::marks).await?;
    let (start, end) = whole_buckets(&buckets, range, &marks, false)?;
    let (limit, from) = paging(&params, Some(&buckets), (start, end))?;
    let removed_before = marks.expired_before.filter(|expired| range.0 < *expired);
    let ids: Vec<i32> = asked.series.iter().map(|s| s.id).collect();
    let question = Question {
        selection: Selection::Series(ids.clone()),
        grouping: Grouping::Series(ids),
        aggregates: Aggregate::ALL.to_vec(),
        exact: false,
    };
    let label =
        |s: &Series| Label { node: None, metric: Some((&s.metric).into()), unit: s.unit.as_ref().map(Text::from) };
    let labels = asked.series.iter().map(label).collect();
    let buckets = Some(buckets);
    let table = Table { question, labels, buckets, zone, start, end, fill: Fill::None, limit, from, removed_before };
    let page = table.page(state).await?;
    let head = Head {
        node: asked.node,
        source: asked.source,
        start: start.to_string(),
        end: end.to_string(),
        timezone: (width == Width::Days(1)).then(|| zone.name()),
        removed_before: removed_before.as_ref().map(Timestamp::to_string),
        incomplete: page.incomplete.iter().map(|a| a.name()).collect(),
    };
    Ok(table.answer(page, &head, room))
}
