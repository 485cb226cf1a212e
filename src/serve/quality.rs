//! Data quality: what is missing, what stands out, and what was counted against a series.

mod metric;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{RawQuery, State as Shared};
use serde::Serialize;

use super::State;
use super::error::ApiError;
use super::names::{self, Text};
use super::nodes::{Asked, NodePath, name_in, series_of};
use super::params::Params;
use crate::quality::{Findings, Interval, Rules};
use crate::reading::Timestamp;
use crate::store::catalog::{Catalog, Node, Series};
use crate::store::ledger::Counts;
use crate::store::reader::{QueryError, Scope, Subject, Survey, Surveyed};
use metric::Metric;

/// Longest time for one answer.
const SURVEY_TIME: Duration = Duration::from_secs(30);

/// Gaps, outliers and stuck values that are listed of each metric where no limit is given, and at most.
const LISTED: usize = 20;
const MAX_LISTED: usize = 1_000;

/// Nodes of the summary where no limit is given, and at most.
const NODES: usize = 100;
const MAX_NODES: usize = 1_000;

#[derive(Serialize)]
pub(super) struct NodeQuality {
    node: Text,
    source: Text,
    start: String,
    end: String,
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
pub(super) struct Summary {
    start: String,
    end: String,
    total: Sums,
    nodes: Vec<NodeSummary>,
}

#[derive(Serialize)]
struct NodeSummary {
    node: Text,
    source: Text,
    score_percent: Option<f64>,
    worst_metric: Text,
    #[serde(flatten)]
    sums: Sums,
    #[serde(skip)]
    rank: f64,
}

/// Sums over several series.
#[derive(Default, Serialize)]
struct Sums {
    coverage_percent: Option<f64>,
    series: Kinds,
    readings: u64,
    expected: u64,
    missing: u64,
    gaps: u64,
    outliers: u64,
    stuck: u64,
    duplicates: u64,
    conflicts: u64,
    clock_errors: u64,
}

/// Series by what is known of their interval.
#[derive(Default, Serialize)]
struct Kinds {
    regular: u64,
    irregular: u64,
    unknown: u64,
    silent: u64,
}

/// `GET /api/v1/nodes/{node}/quality?start=&end=&metric=&limit=`
pub(super) async fn node(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Json<NodeQuality>, ApiError> {
    let name = name_in(path)?;
    let params = Params::parse(query.as_deref(), &["start", "end", "metric", "limit"])?;
    let listed = params.rows("limit", MAX_LISTED)?.unwrap_or(LISTED);
    let scope = scope(&state, &params, listed)?;
    let Asked { node, source, first_seen, series } = Asked::find(&state, &name, &params)?;
    let subjects = series.iter().map(|s| state.subject(&source, &node, first_seen, s)).collect();
    let mut found = survey(&state, scope, subjects).await?;
    let metrics = series.iter().filter_map(|s| Some(Metric::new(s, found.remove(&s.id)?))).collect();
    Ok(Json(NodeQuality { node, source, start: scope.start.to_string(), end: scope.end.to_string(), metrics }))
}

/// `GET /api/v1/quality?start=&end=&limit=`: all nodes, the worst first.
pub(super) async fn all(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Summary>, ApiError> {
    let params = Params::parse(query.as_deref(), &["start", "end", "limit"])?;
    let most = params.rows("limit", MAX_NODES)?.unwrap_or(NODES);
    let scope = scope(&state, &params, 0)?;
    // The writer waits for the catalog: everything else is worked out behind it.
    let nodes: Vec<(Node, Arc<str>, Vec<Series>)> = {
        let catalog = state.reader.catalog();
        let of = |node: &Node| series_of(&catalog, node).into_iter().cloned().collect();
        catalog.all_nodes().into_iter().map(|n| (n.clone(), names::text_of(&catalog, n), of(n))).collect()
    };
    let subjects = nodes
        .iter()
        .flat_map(|(node, _, series)| {
            series.iter().map(|s| state.subject(&node.source, &node.name, node.first_seen, s))
        })
        .collect();
    let found = survey(&state, scope, subjects).await?;
    let mut total = Sums::default();
    let mut summaries: Vec<NodeSummary> = Vec::with_capacity(nodes.len());
    for (node, shown, series) in &nodes {
        let mut sums = Sums::default();
        let mut worst: Option<(f64, Option<f64>, &Arc<str>)> = None;
        for series in series {
            let Some(found) = found.get(&series.id) else { continue };
            sums.add(found);
            total.add(found);
            let rank = rank(&found.findings);
            if worst.is_none_or(|(w, ..)| rank < w) {
                worst = Some((rank, found.findings.score(), &series.metric));
            }
        }
        if let Some((rank, score, metric)) = worst {
            summaries.push(NodeSummary {
                node: shown.into(),
                source: (&node.source).into(),
                score_percent: score.map(percent),
                worst_metric: metric.into(),
                sums,
                rank,
            });
        }
    }
    summaries.sort_by(|a, b| {
        let against = |s: &Sums| s.missing + s.outliers + s.stuck + s.conflicts + s.clock_errors;
        let order = a.rank.total_cmp(&b.rank).then_with(|| against(&b.sums).cmp(&against(&a.sums)));
        order.then_with(|| (&a.node, &a.source).cmp(&(&b.node, &b.source)))
    });
    summaries.truncate(most);
    Ok(Json(Summary { start: scope.start.to_string(), end: scope.end.to_string(), total, nodes: summaries }))
}

impl State {
    fn subject(&self, source: &str, node: &str, since: Timestamp, series: &Series) -> Subject {
        let rules = Rules::of(&self.quality, source, node, &series.metric);
        Subject { series: series.id, rules, since }
    }
}

fn scope(state: &State, params: &Params, listed: usize) -> Result<Scope, ApiError> {
    let now = state.clock.now().at;
    let (start, end) = params.range(now)?;
    // What came last may wait for its commit.
    let waits = i64::try_from(state.flush_interval.as_micros()).unwrap_or(i64::MAX);
    Ok(Scope { start, end, now: Timestamp(now.micros().saturating_sub(waits)), listed })
}

/// Surveys these series, each step with a connection of its own, so that others are answered in between. What was counted of
/// them and is not in the file yet is added.
async fn survey(state: &State, scope: Scope, subjects: Vec<Subject>) -> Result<HashMap<i32, Surveyed>, ApiError> {
    let deadline = Instant::now() + SURVEY_TIME;
    let mut survey = Survey::new(scope, subjects);
    loop {
        if Instant::now() >= deadline {
            return Err(QueryError::TooLong.into());
        }
        let (next, done) = state
            .query(move |reader| {
                let done = reader.survey(&mut survey)?;
                Ok((survey, done))
            })
            .await?;
        survey = next;
        if done {
            break;
        }
    }
    let mut found: HashMap<i32, Surveyed> = survey.into_found().into_iter().map(|f| (f.series, f)).collect();
    let catalog = state.reader.catalog();
    for (series, found) in &mut found {
        found.counts.add(open(&catalog, *series, scope));
    }
    Ok(found)
}

fn open(catalog: &Catalog, series: i32, scope: Scope) -> Counts {
    catalog.ledger.of(series, scope.start, scope.end)
}

/// Where a series stands among others, from 0, the worst, to 1.
fn rank(findings: &Findings) -> f64 {
    // Silent, and nobody knows how often it should be heard; or nothing was expected.
    let unheard = matches!(findings.interval, Interval::TooFew { .. });
    findings.score().unwrap_or(if unheard { 0.0 } else { 1.0 })
}

impl Sums {
    fn add(&mut self, found: &Surveyed) {
        let (f, counts) = (&found.findings, &found.counts);
        match f.interval {
            _ if f.readings == 0 => self.series.silent += 1,
            Interval::Configured(_) | Interval::Learnt { .. } => self.series.regular += 1,
            Interval::ConfiguredIrregular | Interval::Irregular { .. } | Interval::Bursts { .. } => {
                self.series.irregular += 1;
            }
            Interval::TooFew { .. } => self.series.unknown += 1,
        }
        self.readings += f.readings;
        if let Some(coverage) = f.coverage {
            self.expected += coverage.expected();
            self.missing += coverage.missing;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let part = (self.expected - self.missing) as f64 / self.expected as f64;
        self.coverage_percent = (self.expected > 0).then(|| percent(part));
        self.gaps += f.gaps.count;
        self.outliers += f.outliers.count;
        self.stuck += f.stood.found.count;
        self.duplicates += counts.duplicates;
        self.conflicts += counts.conflicts;
        self.clock_errors += counts.clock_errors;
    }
}

/// A part of a whole in percent, cut to three decimals: what is not whole does not show as 100.
fn percent(part: f64) -> f64 {
    (part * 1e5).floor() / 1e3
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn what_is_not_whole_does_not_show_as_a_hundred_percent() {
        assert_eq!(percent(1.0), 100.0);
        assert_eq!(percent(0.999_999_9), 99.999);
        assert_eq!(percent(0.5), 50.0);
        assert_eq!(percent(0.0), 0.0);
    }
}
