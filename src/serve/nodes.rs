//! The nodes: their list, their newest values, their statistics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State as Shared};
use serde::Serialize;

use super::State;
use super::error::ApiError;
use super::names::{self, Text};
use super::params::{Params, check_range};
use crate::reading::Timestamp;
use crate::store::catalog::{Catalog, Node, Series};
use crate::store::reader::{QueryError, Statistics};

/// Range of statistics and of quality where no start is given: a day.
pub(super) const DEFAULT_RANGE: i64 = 24 * 3600 * 1_000_000;

/// Longest time for the statistics of all metrics of a node together.
const STATISTICS_TIME: Duration = Duration::from_secs(30);

pub(super) type NodePath = Result<Path<String>, PathRejection>;

#[derive(Serialize)]
pub(super) struct Nodes {
    nodes: Vec<NodeSummary>,
}

#[derive(Serialize)]
struct NodeSummary {
    name: Text,
    source: Text,
    first_seen: String,
    last_seen: Option<String>,
    metrics: Vec<Text>,
}

#[derive(Serialize)]
pub(super) struct NodeDetail {
    name: Text,
    source: Text,
    first_seen: String,
    last_seen: Option<String>,
    series: Vec<SeriesDetail>,
}

#[derive(Serialize)]
struct SeriesDetail {
    metric: Text,
    unit: Option<Text>,
    time: Option<String>,
    value: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct Latest {
    node: Text,
    source: Text,
    values: Vec<LatestValue>,
}

#[derive(Serialize)]
struct LatestValue {
    metric: Text,
    unit: Option<Text>,
    value: f64,
    time: String,
    received_at: Option<String>,
}

#[derive(Serialize)]
pub(super) struct NodeStatistics {
    node: Text,
    source: Text,
    start: String,
    end: String,
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

/// `GET /api/v1/nodes`
pub(super) async fn all(Shared(state): Shared<Arc<State>>, RawQuery(query): RawQuery) -> Result<Json<Nodes>, ApiError> {
    Params::parse(query.as_deref(), &[])?;
    let catalog = state.reader.catalog();
    let mut nodes: Vec<NodeSummary> = catalog.all_nodes().into_iter().map(|node| summary(&catalog, node)).collect();
    drop(catalog);
    nodes.sort_by(|a, b| (&a.name, &a.source).cmp(&(&b.name, &b.source)));
    Ok(Json(Nodes { nodes }))
}

/// `GET /api/v1/nodes/{node}`
pub(super) async fn one(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Json<NodeDetail>, ApiError> {
    let name = name_in(path)?;
    Params::parse(query.as_deref(), &[])?;
    let catalog = state.reader.catalog();
    let node = names::find(&catalog, &name)?;
    let NodeSummary { name, source, first_seen, last_seen, .. } = summary(&catalog, node);
    let series = series_of(&catalog, node)
        .into_iter()
        .map(|s| SeriesDetail {
            metric: (&s.metric).into(),
            unit: s.unit.as_ref().map(Text::from),
            time: s.newest.map(|n| n.ts.to_string()),
            value: s.newest.map(|n| n.value),
        })
        .collect();
    Ok(Json(NodeDetail { name, source, first_seen, last_seen, series }))
}

/// `GET /api/v1/nodes/{node}/latest`: out of memory, without a query.
pub(super) async fn latest(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Json<Latest>, ApiError> {
    let name = name_in(path)?;
    Params::parse(query.as_deref(), &[])?;
    let catalog = state.reader.catalog();
    let node = names::find(&catalog, &name)?;
    let values = series_of(&catalog, node)
        .into_iter()
        .filter_map(|s| {
            let newest = s.newest?;
            Some(LatestValue {
                metric: (&s.metric).into(),
                unit: s.unit.as_ref().map(Text::from),
                value: newest.value,
                time: newest.ts.to_string(),
                received_at: received_at(newest.ts, newest.lag).map(|t| t.to_string()),
            })
        })
        .collect();
    Ok(Json(Latest { node: (&node.name).into(), source: (&node.source).into(), values }))
}

/// `GET /api/v1/nodes/{node}/statistics?start=&end=&metric=`
pub(super) async fn statistics(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Json<NodeStatistics>, ApiError> {
    let name = name_in(path)?;
    let params = Params::parse(query.as_deref(), &["start", "end", "metric"])?;
    let now = state.clock.now().at;
    let end = params.time("end", now)?.unwrap_or(now);
    let start = params.time("start", now)?.unwrap_or(Timestamp(end.micros().saturating_sub(DEFAULT_RANGE)));
    check_range(start, end)?;
    let (node, source, series) = {
        let catalog = state.reader.catalog();
        let node = names::find(&catalog, &name)?;
        let mut series = series_of(&catalog, node);
        let wanted = params.all("metric");
        if let Some(unknown) = wanted.iter().find(|w| series.iter().all(|s| *s.metric != ***w)) {
            return Err(ApiError::unknown_metric(unknown, Some(&name)));
        }
        series.retain(|s| wanted.is_empty() || wanted.contains(&&*s.metric));
        let series: Vec<Series> = series.into_iter().cloned().collect();
        ((&node.name).into(), (&node.source).into(), series)
    };
    let deadline = Instant::now() + STATISTICS_TIME;
    let mut metrics = Vec::with_capacity(series.len());
    for series in series {
        if Instant::now() >= deadline {
            return Err(QueryError::TooLong.into());
        }
        let id = series.id;
        let found = state.query(move |reader| reader.statistics(id, start, end)).await?;
        metrics.push(metric_statistics(&series, &found));
    }
    Ok(Json(NodeStatistics { node, source, start: start.to_string(), end: end.to_string(), metrics }))
}

pub(super) fn name_in(path: NodePath) -> Result<String, ApiError> {
    path.map(|Path(name)| name).map_err(|e| ApiError::node_name(&e.body_text()))
}

fn summary(catalog: &Catalog, node: &Node) -> NodeSummary {
    let series = series_of(catalog, node);
    NodeSummary {
        name: (&node.name).into(),
        source: (&node.source).into(),
        first_seen: node.first_seen.to_string(),
        last_seen: series.iter().filter_map(|s| s.newest).map(|n| n.ts).max().map(|t| t.to_string()),
        metrics: series.iter().map(|s| (&s.metric).into()).collect(),
    }
}

/// By metric.
pub(super) fn series_of<'a>(catalog: &'a Catalog, node: &Node) -> Vec<&'a Series> {
    let mut series: Vec<&Series> = node.series.iter().filter_map(|id| catalog.series(*id)).collect();
    series.sort_by(|a, b| a.metric.cmp(&b.metric));
    series
}

/// When a reading arrived; `None` where its time is not verified.
pub(super) fn received_at(ts: Timestamp, lag: Option<i32>) -> Option<Timestamp> {
    lag.map(|lag| Timestamp(ts.micros().saturating_add(i64::from(lag) * 1_000_000)))
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
