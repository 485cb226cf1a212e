//! The nodes: their list, and their newest values.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State as Shared};
use serde::Serialize;

use super::State;
use super::error::ApiError;
use super::names::{self, Text};
use super::params::Params;
use crate::reading::Timestamp;
use crate::store::catalog::{Catalog, Node, Series};

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
    online: Option<bool>,
    metrics: Vec<Text>,
}

#[derive(Serialize)]
pub(super) struct NodeDetail {
    name: Text,
    source: Text,
    first_seen: String,
    last_seen: Option<String>,
    online: Option<bool>,
    series: Vec<SeriesDetail>,
}

#[derive(Serialize)]
struct SeriesDetail {
    metric: Text,
    own_name: Option<Text>,
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
    let NodeSummary { name, source, first_seen, last_seen, online, .. } = summary(&catalog, node);
    let series = series_of(&catalog, node)
        .into_iter()
        .map(|s| SeriesDetail {
            metric: (&s.metric).into(),
            own_name: s.own_name.as_ref().map(Text::from),
            unit: s.unit.as_ref().map(Text::from),
            time: s.newest.map(|n| n.ts.to_string()),
            value: s.newest.map(|n| n.value),
        })
        .collect();
    Ok(Json(NodeDetail { name, source, first_seen, last_seen, online, series }))
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

/// The node of a request, and those of its series that are asked for.
pub(super) struct Asked {
    pub(super) node: Text,
    pub(super) source: Text,
    pub(super) first_seen: Timestamp,
    /// By metric.
    pub(super) series: Vec<Series>,
}

impl Asked {
    /// # Errors
    /// The node or one of the metrics (parameter `metric`) is not there.
    pub(super) fn find(state: &State, name: &str, params: &Params) -> Result<Self, ApiError> {
        let catalog = state.reader.catalog();
        let node = names::find(&catalog, name)?;
        let mut series = series_of(&catalog, node);
        let wanted = params.all("metric");
        if let Some(unknown) = wanted.iter().find(|w| series.iter().all(|s| *s.metric != ***w)) {
            return Err(ApiError::unknown_metric(unknown, Some(name)));
        }
        series.retain(|s| wanted.is_empty() || wanted.contains(&&*s.metric));
        let series = series.into_iter().cloned().collect();
        Ok(Self { node: (&node.name).into(), source: (&node.source).into(), first_seen: node.first_seen, series })
    }
}

/// The node's name out of the path.
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
        online: node.online.map(|(_, online)| online),
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
