//! `GET /api/v1/nodes/{node}/chart`: a few readings that look like all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::error::ApiError;
use super::names::Text;
use super::nodes::{Asked, NodePath, name_in};
use super::params::Params;
use super::{State, lines};
use crate::reading::Timestamp;
use crate::store::reader::{self, MAX_POINTS, Method, QueryError, Reader};

/// Points of a series where nothing is said.
const POINTS: usize = 500;

/// Most points of an answer, 16 bytes each until they are written.
const MOST: usize = 20_000;

/// Longest time for all series together.
const TIME: Duration = Duration::from_secs(30);

const KNOWN: [&str; 5] = ["metric", "start", "end", "points", "downsample"];

#[derive(Serialize)]
struct Head {
    node: Text,
    source: Text,
    start: String,
    end: String,
    downsample: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_before: Option<String>,
}

#[derive(Serialize)]
struct Tail {}

#[derive(Serialize)]
struct Line {
    metric: Text,
    unit: Option<Text>,
    readings: u64,
    points: Points,
}

struct Points(Vec<reader::Point>);

#[derive(Serialize)]
struct Point {
    time: String,
    value: f64,
}

impl Serialize for Points {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut points = serializer.serialize_seq(Some(self.0.len()))?;
        for point in &self.0 {
            points.serialize_element(&Point { time: point.ts.to_string(), value: point.value })?;
        }
        points.end()
    }
}

/// The route.
pub(super) async fn chart(
    Shared(state): Shared<Arc<State>>,
    path: NodePath,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let name = name_in(path)?;
    let params = Params::parse(query.as_deref(), &KNOWN)?;
    let (asked, end) = params.range(state.clock.now().at)?;
    let points = params.number("points", 2, MAX_POINTS)?.unwrap_or(POINTS);
    let method = params.value::<Method>("downsample")?.unwrap_or_default();
    let Asked { node, source, series, .. } = Asked::find(&state, &name, &params)?;
    if series.len() * points > MOST {
        return Err(ApiError::too_many_rows(&format!("{points} points of {} metrics", series.len()), MOST));
    }
    let room = state.room().await?;
    let marks = state.query(Reader::marks).await?;
    let removed_before = marks.expired_before.filter(|expired| asked < *expired);
    let start = removed_before.map_or(asked, |removed| removed.min(end));
    let deadline = Instant::now() + TIME;
    let mut charts = Vec::with_capacity(series.len());
    for series in series {
        if Instant::now() >= deadline {
            return Err(QueryError::TooLong.into());
        }
        let id = series.id;
        let found = state.query(move |reader| reader.chart(id, (start, end), method, points)).await?;
        charts.push(Line {
            metric: (&series.metric).into(),
            unit: series.unit.as_ref().map(Text::from),
            readings: found.readings,
            points: Points(found.points),
        });
    }
    let head = Head {
        node,
        source,
        start: start.to_string(),
        end: end.to_string(),
        downsample: method.name(),
        removed_before: removed_before.as_ref().map(Timestamp::to_string),
    };
    Ok(lines::answer(&head, "series", charts.into_iter(), &Tail {}, room))
}
