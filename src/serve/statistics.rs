//! `GET /api/v1/statistics`: numbers of many series over buckets of any width.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use serde::Serialize;

use super::State;
use super::error::ApiError;
use super::names::{self, Text};
use super::params::Params;
use super::readings::select;
use super::table::{Label, Table, paging, whole_buckets};
use crate::reading::Timestamp;
use crate::store::catalog::{Catalog, Series};
use crate::store::reader::{Aggregate, Buckets, Fill, Grouping, Question, Selection, Width};

const KNOWN: [&str; 11] =
    ["node", "metric", "start", "end", "bucket", "group", "aggregate", "fill", "exact", "limit", "cursor"];

/// What is shown where nothing is chosen.
const AGGREGATES: [Aggregate; 4] = [Aggregate::Count, Aggregate::Min, Aggregate::Max, Aggregate::Mean];

#[derive(Serialize)]
struct Head {
    start: String,
    end: String,
    bucket: Option<String>,
    timezone: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_before: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<&'static str>,
}

/// The route.
pub(super) async fn statistics(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::parse(query.as_deref(), &KNOWN)?;
    let now = state.clock.now().at;
    let zone = state.clock.zone();
    let asked = params.range(now)?;
    let buckets = params.value::<Width>("bucket")?.map(|width| Buckets::new(width, zone));
    let by = By::read(&params)?;
    let aggregates = aggregates(&params)?;
    let fill = params.value::<Fill>("fill")?.unwrap_or_default();
    let exact = params.flag("exact")?;
    let (selection, grouping, labels) = {
        let catalog = state.reader.catalog();
        let selection = select(&catalog, &params.all("node"), &params.all("metric"))?;
        let (grouping, labels) = groups(&catalog, &selection, by);
        (selection, grouping, labels)
    };

    let room = state.room().await?;
    let marks = state.query(crate::store::Reader::marks).await?;
    let (start, end) = match &buckets {
        Some(buckets) => whole_buckets(buckets, asked, &marks, exact)?,
        None => asked,
    };
    let (limit, from) = paging(&params, buckets.as_ref(), (start, end))?;
    let removed_before = marks.expired_before.filter(|expired| asked.0 < *expired);
    let question = Question { selection, grouping, aggregates, exact };
    let table = Table { question, labels, buckets, zone, start, end, fill, limit, from, removed_before };
    let page = table.page(&state).await?;
    let head = Head {
        start: start.to_string(),
        end: end.to_string(),
        bucket: buckets.map(|buckets| buckets.width().to_string()),
        timezone: zone.name(),
        source: page.made_from.name(),
        removed_before: removed_before.as_ref().map(Timestamp::to_string),
        incomplete: page.incomplete.iter().map(|a| a.name()).collect(),
    };
    Ok(table.answer(page, &head, room))
}

/// The numbers that are asked for, in the order in which they are named.
fn aggregates(params: &Params) -> Result<Vec<Aggregate>, ApiError> {
    let mut aggregates = Vec::new();
    for word in params.words("aggregate") {
        let aggregate =
            word.parse().map_err(|expected| ApiError::parameter("aggregate", word, &format!("{expected}")))?;
        if !aggregates.contains(&aggregate) {
            aggregates.push(aggregate);
        }
    }
    Ok(if aggregates.is_empty() { AGGREGATES.to_vec() } else { aggregates })
}

/// What tells groups apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct By {
    node: bool,
    metric: bool,
}

impl By {
    fn read(params: &Params) -> Result<Self, ApiError> {
        const EXPECTED: &str = "none, node, metric, or node,metric";
        let words = params.words("group");
        let mut by = Self { node: words.is_empty(), metric: words.is_empty() };
        for word in &words {
            match *word {
                "none" if words.len() == 1 => {}
                "node" => by.node = true,
                "metric" => by.metric = true,
                other => return Err(ApiError::parameter("group", other, EXPECTED)),
            }
        }
        Ok(by)
    }
}

/// What a group has in common: its node and its metric, where it is grouped by them.
type Key = (Option<Arc<str>>, Option<Arc<str>>);

/// The groups of the selected series, in order of node and metric.
fn groups(catalog: &Catalog, selection: &Selection, by: By) -> (Grouping, Vec<Label>) {
    let series: Vec<&Series> = match selection {
        Selection::All => catalog.all_series().collect(),
        Selection::Series(ids) => ids.iter().filter_map(|id| catalog.series(*id)).collect(),
    };
    let mut nodes: BTreeMap<i32, Arc<str>> = BTreeMap::new();
    if by.node {
        for id in series.iter().map(|s| s.node) {
            nodes.entry(id).or_insert_with(|| {
                catalog.node(id).map_or_else(|| Arc::from(""), |node| names::text_of(catalog, node))
            });
        }
    }
    let mut groups: BTreeMap<Key, Vec<&Series>> = BTreeMap::new();
    for one in series {
        let node = nodes.get(&one.node).cloned();
        groups.entry((node, by.metric.then(|| Arc::clone(&one.metric)))).or_default().push(one);
    }
    let label = |((node, metric), series): (&Key, &Vec<&Series>)| {
        let unit = series[0].unit.as_ref().filter(|unit| series.iter().all(|s| s.unit.as_ref() == Some(*unit)));
        Label {
            node: node.as_ref().map(Text::from),
            metric: metric.as_ref().map(Text::from),
            unit: unit.map(Text::from),
        }
    };
    let labels = groups.iter().map(label).collect();
    let grouping = if groups.values().all(|series| series.len() == 1) {
        // Whatever they are called: of a single series more is known.
        Grouping::Series(groups.values().map(|series| series[0].id).collect())
    } else if by.node {
        Grouping::Nodes(groups.values().map(|series| series[0].node).collect())
    } else if by.metric {
        Grouping::Metrics(groups.into_keys().filter_map(|(_, metric)| metric).collect())
    } else {
        Grouping::Together
    };
    (grouping, labels)
}
