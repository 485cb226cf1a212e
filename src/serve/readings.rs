//! `GET /api/v1/readings`: readings as streamed JSON or CSV.
//!
//! The body is made page by page, each when the socket has taken the one before; no query is open in between. A store
//! that fails in the middle of a body ends the connection, so that a client can tell that something is missing.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, RawQuery, State as Shared};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::State;
use super::error::ApiError;
use super::names::{self, Label};
use super::nodes::received_at;
use super::params::{Params, check_range};
use super::places::Turn;
use crate::reading::Timestamp;
use crate::store::catalog::Catalog;
use crate::store::reader::{Cursor, QueryError, Row, Selection, Walk};

/// Rows of JSON where no limit is given, and at most.
const JSON_ROWS: usize = 1_000;
const MAX_JSON_ROWS: usize = 100_000;
/// Nodes, and metrics, that one request may name: each is looked for among all series, on the I/O thread.
const MAX_NAMES: usize = 50;

/// Most rows of CSV with a limit. They are made before the answer begins, since its header has the next cursor.
const MAX_CSV_ROWS: usize = 10_000;

/// Rows of a page: about 100 KB of text, of which each connection holds one.
const PAGE: usize = 1_000;

/// How often a page is asked for while the store is busy; each time waits for a connection.
const BUSY_TRIES: usize = 4;

const KNOWN: [&str; 7] = ["node", "metric", "start", "end", "limit", "cursor", "format"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    node: &'a str,
    metric: &'a str,
    value: f64,
    unit: Option<&'a str>,
    received_at: Option<String>,
}

impl<'a> Line<'a> {
    fn new(row: &Row, label: &'a Label) -> Self {
        Self {
            time: row.ts.to_string(),
            node: &label.node,
            metric: &label.metric,
            value: row.value,
            unit: label.unit.as_deref(),
            received_at: received_at(row.ts, row.lag).map(|t| t.to_string()),
        }
    }
}

/// The route.
pub(super) async fn readings(
    Shared(state): Shared<Arc<State>>,
    Extension(turn): Extension<Turn>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::parse(query.as_deref(), &KNOWN)?;
    let format = match params.one("format")? {
        None | Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some(other) => return Err(ApiError::parameter("format", other, "json or csv")),
    };
    let left = match format {
        Format::Json => Some(params.rows("limit", MAX_JSON_ROWS)?.unwrap_or(JSON_ROWS)),
        Format::Csv => params.rows("limit", MAX_CSV_ROWS)?,
    };
    let now = state.clock.now().at;
    let start = params.time("start", now)?.unwrap_or(Timestamp(i64::MIN));
    let end = params.time("end", now)?.unwrap_or(Timestamp(i64::MAX));
    check_range(start, end)?;
    let cursor = params
        .one("cursor")?
        .map(|text| {
            text.parse::<Cursor>().map_err(|e| ApiError::cursor(format!("parameter cursor: {text:.40?} is {e}")))
        })
        .transpose()?;
    let selection = select(&state.reader.catalog(), &params.all("node"), &params.all("metric"))?;
    let walk = Walk::new(selection, start, end, cursor);
    let mut pages = Pages { state, walk, format, left, last: None, stage: Stage::Begin, next: None };
    // The first page tells whether the store answers at all: its errors still have a status.
    let first = pages.next().await?.unwrap_or_default();
    if pages.stage != Stage::End && pages.left != Some(0) {
        turn.export().map_err(ApiError::exports)?;
    }
    match format {
        Format::Csv if left.is_some() => {
            let mut body = first.to_vec();
            while let Some(more) = pages.next().await? {
                body.extend_from_slice(&more);
            }
            let mut response = ([(header::CONTENT_TYPE, CSV)], body).into_response();
            if let Some(next) = pages.next
                && let Ok(next) = HeaderValue::from_str(&next.to_string())
            {
                response.headers_mut().insert("x-next-cursor", next);
            }
            Ok(response)
        }
        Format::Csv => Ok(([(header::CONTENT_TYPE, CSV)], pages.into_body(first)).into_response()),
        Format::Json => Ok(([(header::CONTENT_TYPE, "application/json")], pages.into_body(first)).into_response()),
    }
}

const CSV: &str = "text/csv; charset=utf-8; header=present";

/// The series of the asked nodes and metrics; each must be there.
pub(super) fn select(catalog: &Catalog, nodes: &[&str], metrics: &[&str]) -> Result<Selection, ApiError> {
    if nodes.is_empty() && metrics.is_empty() {
        return Ok(Selection::All);
    }
    if nodes.len().max(metrics.len()) > MAX_NAMES {
        return Err(ApiError::too_many_names(MAX_NAMES));
    }
    let nodes_found = nodes.iter().map(|n| names::find(catalog, n)).collect::<Result<Vec<_>, _>>()?;
    let of_nodes = |node| nodes.is_empty() || nodes_found.iter().any(|n| n.id == node);
    if let Some(unknown) = metrics.iter().find(|m| !catalog.all_series().any(|s| *s.metric == ***m && of_nodes(s.node)))
    {
        return Err(ApiError::unknown_metric(unknown, if let [one] = nodes { Some(one) } else { None }));
    }
    let mut ids: Vec<i32> = catalog
        .all_series()
        .filter(|s| of_nodes(s.node) && (metrics.is_empty() || metrics.contains(&&*s.metric)))
        .map(|s| s.id)
        .collect();
    ids.sort_unstable();
    Ok(Selection::Series(ids))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is written.
    Begin,
    /// The start of the body is written.
    First,
    /// At least one row is.
    Rows,
    /// The end is.
    End,
}

/// A body in the making.
struct Pages {
    state: Arc<State>,
    walk: Walk,
    format: Format,
    /// Rows that may still be written; `None` for all.
    left: Option<usize>,
    /// The last row that was written.
    last: Option<Row>,
    stage: Stage,
    /// At the end: where to go on, if there are more rows.
    next: Option<Cursor>,
}

impl Pages {
    fn into_body(self, first: Bytes) -> Body {
        let rest = stream::try_unfold(self, async |mut pages| match pages.next_patiently().await {
            Ok(chunk) => Ok(chunk.map(|chunk| (chunk, pages))),
            Err(e) => {
                tracing::warn!("an answer to /api/v1/readings ends early: {e}");
                Err(io::Error::other(e))
            }
        });
        Body::from_stream(stream::once(async { Ok::<_, io::Error>(first) }).chain(rest))
    }

    /// As [`Pages::next`], and asks again where the store was only busy: it takes the connections for itself while it
    /// attaches the file again, and an answer that is half written can wait for that.
    async fn next_patiently(&mut self) -> Result<Option<Bytes>, QueryError> {
        let mut tries = BUSY_TRIES;
        loop {
            tries -= 1;
            match self.next().await {
                Err(QueryError::Busy) if tries > 0 => {}
                answer => return answer,
            }
        }
    }

    /// The next piece of the body; `None` after its end. After an error it can be asked for again.
    async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        if self.stage == Stage::End {
            return Ok(None);
        }
        // One more row than may be written tells whether there are more.
        let limit = self.left.map_or(PAGE, |left| PAGE.min(left + 1));
        let mut walk = self.walk.clone();
        let (mut rows, walk) = self
            .state
            .query(move |reader| {
                let page = reader.page(&mut walk, limit)?;
                Ok((page.rows, walk))
            })
            .await?;
        self.walk = walk;
        let mut ends = self.walk.is_done();
        if let Some(left) = &mut self.left {
            let more = rows.len() > *left;
            rows.truncate(*left);
            *left -= rows.len();
            self.last = rows.last().copied().or(self.last);
            if more {
                ends = true;
                self.next = self.last.map(|last| self.walk.cursor_behind(&last));
            }
        }
        Ok(Some(self.render(&rows, ends)))
    }

    fn render(&mut self, rows: &[Row], ends: bool) -> Bytes {
        let labels = names::labels(&self.state.reader.catalog(), rows);
        let lines = rows.iter().filter_map(|row| Some(Line::new(row, labels.get(&row.series)?)));
        let mut text = match self.format {
            Format::Json => self.json(lines),
            Format::Csv => self.csv(lines),
        };
        if ends {
            if self.format == Format::Json {
                let next = self.next.map(|c| c.to_string());
                text.extend_from_slice(b"],\"next_cursor\":");
                serde_json::to_writer(&mut text, &next).expect("a text goes into memory");
                text.extend_from_slice(b"}\n");
            }
            self.stage = Stage::End;
        }
        text.into()
    }

    fn json<'a>(&mut self, lines: impl Iterator<Item = Line<'a>>) -> Vec<u8> {
        let mut text = Vec::new();
        if self.stage == Stage::Begin {
            text.extend_from_slice(b"{\"readings\":[");
            self.stage = Stage::First;
        }
        for line in lines {
            text.extend_from_slice(if self.stage == Stage::First { b"\n" } else { b",\n" });
            self.stage = Stage::Rows;
            serde_json::to_writer(&mut text, &line).expect("a line with text keys goes into memory");
        }
        text
    }

    fn csv<'a>(&mut self, lines: impl Iterator<Item = Line<'a>>) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        if self.stage == Stage::Begin {
            let columns = ["time", "node", "metric", "value", "unit", "received_at"];
            writer.write_record(columns).expect("a record goes into memory");
            self.stage = Stage::Rows;
        }
        for line in lines {
            writer.serialize(line).expect("a flat line goes into memory");
        }
        writer.into_inner().expect("a record goes into memory")
    }
}
