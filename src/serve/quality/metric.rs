//! What is shown of one metric.

use serde::Serialize;

use super::percent;
use crate::quality::{Findings, Gap, Interval, Outlier, Stuck, Test, Untested};
use crate::serve::names::Text;
use crate::store::catalog::Series;
use crate::store::reader::Surveyed;

#[derive(Serialize)]
pub(super) struct Metric {
    #[serde(rename = "metric")]
    name: Text,
    unit: Option<Text>,
    score_percent: Option<f64>,
    readings: u64,
    interval: IntervalView,
    coverage: Option<CoverageView>,
    gaps: Many<GapView>,
    outliers: OutliersView,
    stuck: StuckView,
    duplicates: u64,
    conflicts: u64,
    clock: ClockView,
}

#[derive(Serialize)]
struct IntervalView {
    kind: &'static str,
    seconds: Option<f64>,
    spread_percent: Option<f64>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct CoverageView {
    percent: Option<f64>,
    expected: u64,
    present: u64,
    missing: u64,
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Many<T> {
    count: u64,
    listed: Vec<T>,
}

#[derive(Serialize)]
struct GapView {
    from: String,
    to: String,
    missing: u64,
}

#[derive(Serialize)]
struct OutliersView {
    method: &'static str,
    reason: Option<&'static str>,
    lower: Option<f64>,
    upper: Option<f64>,
    median: Option<f64>,
    mad: Option<f64>,
    count: u64,
    listed: Vec<OutlierView>,
}

#[derive(Serialize)]
struct OutlierView {
    time: String,
    value: f64,
    score: Option<f64>,
}

#[derive(Serialize)]
struct StuckView {
    after_s: f64,
    configured: bool,
    constant: bool,
    count: u64,
    readings: u64,
    listed: Vec<RunView>,
}

#[derive(Serialize)]
struct RunView {
    from: String,
    to: String,
    value: f64,
    readings: u64,
}

#[derive(Serialize)]
struct ClockView {
    errors: u64,
    ahead: u64,
    unverified: u64,
    delay_s: Option<f64>,
}

impl Metric {
    pub(super) fn new(series: &Series, found: Surveyed) -> Self {
        let Surveyed { findings, counts, .. } = found;
        let stood = &findings.stood;
        Self {
            name: (&series.metric).into(),
            unit: series.unit.as_ref().map(Text::from),
            score_percent: findings.score().map(percent),
            readings: findings.readings,
            interval: interval(&findings.interval),
            coverage: findings.coverage.map(|c| CoverageView {
                percent: c.part().map(percent),
                expected: c.expected(),
                present: c.present,
                missing: c.missing,
                from: c.span.start.to_string(),
                to: c.span.end.max(c.span.start).to_string(),
            }),
            gaps: Many { count: findings.gaps.count, listed: findings.gaps.listed.iter().map(gap).collect() },
            outliers: outliers(&findings),
            stuck: StuckView {
                after_s: seconds(stood.after),
                configured: stood.configured,
                constant: stood.constant,
                count: stood.found.count,
                readings: stood.readings,
                listed: stood.found.listed.iter().map(run).collect(),
            },
            duplicates: counts.duplicates,
            conflicts: counts.conflicts,
            clock: ClockView {
                errors: counts.clock_errors,
                ahead: findings.values.ahead,
                unverified: findings.values.unverified,
                delay_s: findings.values.delay_s,
            },
        }
    }
}

fn interval(interval: &Interval) -> IntervalView {
    let view = |kind, seconds, spread: Option<f64>, reason| IntervalView {
        kind,
        seconds,
        spread_percent: spread.map(percent),
        reason,
    };
    match *interval {
        Interval::Configured(micros) => view("configured", Some(seconds(micros)), None, None),
        Interval::Learnt { micros, spread } => view("learnt", Some(seconds(micros)), Some(spread), None),
        Interval::ConfiguredIrregular => view("irregular", None, None, Some("configured as irregular".to_owned())),
        Interval::Irregular { median, spread } => {
            let reason = format!(
                "the times between readings spread by {:.0} % of their median ({} s); above 25 % there is no interval",
                spread * 100.0,
                seconds(median)
            );
            view("irregular", None, Some(spread), Some(reason))
        }
        Interval::Bursts { median, pauses } => {
            let reason = format!(
                "readings come in bursts: {:.1} % of the times between them are over ten times their median ({} s)",
                pauses * 100.0,
                seconds(median)
            );
            view("irregular", None, None, Some(reason))
        }
        Interval::TooFew { differences } => {
            let reason = format!(
                "too few readings: {differences} times between readings in the range and the 7 days before it, \
                 10 are needed"
            );
            view("unknown", None, None, Some(reason))
        }
    }
}

fn outliers(findings: &Findings) -> OutliersView {
    let (method, reason, by_score) = match findings.test {
        Test::Limits { .. } => ("limits", None, false),
        Test::Score { by_mean: false, .. } => ("modified-z-score", None, true),
        Test::Score { by_mean: true, .. } => {
            let reason = "more than half of the values are equal: by the mean absolute deviation instead of the median";
            ("modified-z-score", Some(reason), true)
        }
        Test::None(why) => {
            let reason = match why {
                Untested::TooFew => "fewer than 10 values",
                Untested::States => "the values are states: 0 and 1 alone",
                Untested::Constant => "all values are equal",
                Untested::TooLarge => "the values are too large",
            };
            ("none", Some(reason), false)
        }
    };
    let (lower, upper) = findings.test.bounds();
    OutliersView {
        method,
        reason,
        lower,
        upper,
        median: findings.values.median.filter(|_| by_score),
        mad: findings.values.mad.filter(|_| by_score),
        count: findings.outliers.count,
        listed: findings.outliers.listed.iter().map(outlier).collect(),
    }
}

fn gap(gap: &Gap) -> GapView {
    GapView { from: gap.from.to_string(), to: gap.to.to_string(), missing: gap.missing }
}

fn outlier(outlier: &Outlier) -> OutlierView {
    let score = outlier.score.map(|s| (s * 1e3).round() / 1e3).filter(|s| s.is_finite());
    OutlierView { time: outlier.ts.to_string(), value: outlier.value, score }
}

fn run(stuck: &Stuck) -> RunView {
    RunView { from: stuck.from.to_string(), to: stuck.to.to_string(), value: stuck.value, readings: stuck.readings }
}

#[expect(clippy::cast_precision_loss, reason = "a time between readings is far below 2^53 microseconds")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
