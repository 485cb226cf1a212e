//! HTTP: health, counters, and answers about the readings. It only reads.
//!
//! Every route is a `GET`. Answers are JSON where nothing else is said, times RFC 3339 in UTC, ids text, and errors
//! `{"error":{"code","message"}}`. `/` lists the routes.

mod chart;
mod error;
mod health;
mod lines;
mod listen;
mod names;
mod node_statistics;
mod nodes;
mod params;
mod patient;
mod places;
mod process;
mod prometheus;
mod quality;
mod readings;
mod statistics;
mod stats;
mod table;
mod token;
mod turn_body;

pub use listen::{bind, run};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::budget::Written;
use crate::clock::Clock;
use crate::config;
use crate::metrics::{Metrics, Shed};
use crate::store::Reader;
use crate::store::reader::{CONNECTIONS, QueryError};
use error::ApiError;
use token::Token;

/// Answers that are held in memory as a whole, up to 1.5 MB each, until their clients have taken them; the next
/// ones wait.
const ANSWERS: usize = 4;

/// What the routes answer from.
pub struct State {
    reader: Reader,
    metrics: Arc<Metrics>,
    clock: Clock,
    store_path: PathBuf,
    started: Instant,
    token: Option<Token>,
    written: Arc<Written>,
    /// Queries that may be on blocking threads at once: no more than there are connections, so that waiting requests
    /// cost no thread.
    queries: Arc<Semaphore>,
    /// Answers that are in memory as a whole.
    answers: Arc<Semaphore>,
    max_connections: usize,
    patience: Patience,
    /// What a person knows of series.
    quality: Vec<config::Quality>,
    /// How long what has come may wait for its commit.
    flush_interval: Duration,
}

/// How long a slow client is borne.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// From the first byte that could come to the end of a request's header; also the life of an idle connection.
    header: Duration,
    /// For a write that makes no progress.
    write: Duration,
    /// For requests in progress when the daemon stops.
    stop: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { header: Duration::from_secs(10), write: Duration::from_secs(30), stop: Duration::from_secs(2) }
    }
}

impl State {
    /// Reads the token, where `config` names a file with one. `written` counts what is written; `store_path` is the database
    /// file, whose size is shown; the uptime counts from now.
    ///
    /// # Errors
    /// The token's file cannot be read, or its first line is empty; the error names it.
    pub fn new(
        reader: Reader,
        metrics: Arc<Metrics>,
        clock: Clock,
        written: Arc<Written>,
        store_path: PathBuf,
        config: &config::Http,
    ) -> io::Result<Self> {
        let token = config.token_file.as_deref().map(Token::read).transpose()?;
        Ok(Self {
            reader,
            metrics,
            clock,
            store_path,
            started: Instant::now(),
            token,
            written,
            queries: Arc::new(Semaphore::new(CONNECTIONS)),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            max_connections: config.max_connections.max(1),
            patience: Patience::default(),
            quality: Vec::new(),
            flush_interval: Duration::ZERO,
        })
    }

    /// With what a person knows of series, and how long readings may wait for their commit. Without it everything is learnt
    /// and nothing waits.
    #[must_use]
    pub fn knowing(mut self, quality: &[config::Quality], flush_interval: Duration) -> Self {
        (self.quality, self.flush_interval) = (quality.to_vec(), flush_interval);
        self
    }

    /// Waits until one more answer may be held in memory; keep what this returns for as long as it is.
    async fn room(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let wait = self.reader.limits().wait;
        match tokio::time::timeout(wait, Arc::clone(&self.answers).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(QueryError::Busy),
        }
    }

    /// Runs a query on a blocking thread once one of the connections can be had.
    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let wait = self.reader.limits().wait;
        let Ok(Ok(permit)) = tokio::time::timeout(wait, Arc::clone(&self.queries).acquire_owned()).await else {
            return Err(QueryError::Busy);
        };
        let reader = self.reader.clone();
        let run = tokio::task::spawn_blocking(move || {
            let answer = query(&reader);
            drop(permit);
            answer
        });
        match run.await {
            Ok(answer) => answer,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // The runtime is ending.
            Err(_) => Err(QueryError::Busy),
        }
    }
}

const INDEX: &str = "\
gadwall: readings of sensor nodes

GET /healthz                            200 while readings are being committed, else 503; the checks as JSON
GET /stats                              counters and state as one JSON object
GET /metrics                            the same for Prometheus
GET /api/v1/nodes                       all nodes
GET /api/v1/nodes/{node}                a node and its metrics
GET /api/v1/nodes/{node}/latest         newest value of each metric
GET /api/v1/nodes/{node}/statistics     ?start=-24h&end=now&metric=
GET /api/v1/nodes/{node}/quality        ?start=-24h&end=now&metric=&limit=20: gaps, coverage, outliers, stuck values
GET /api/v1/quality                     ?start=-24h&end=now&limit=100: all nodes, the worst first
GET /api/v1/nodes/{node}/statistics/hourly  ?start=-24h&end=now&metric=&limit=&cursor=
GET /api/v1/nodes/{node}/statistics/daily   the same; local days, by default the last 30
GET /api/v1/nodes/{node}/chart          ?metric=&start=-24h&end=now&points=500&downsample=minmax|lttb
GET /api/v1/statistics                  ?node=&metric=&start=-24h&end=now&bucket=15m&group=node,metric
                                        &aggregate=count,min,max,mean&fill=none|null|previous|zero|linear
                                        &exact=false&limit=&cursor=
GET /api/v1/readings                    ?node=&metric=&start=&end=&limit=&cursor=&format=json|csv

{node} is the node's name, percent-encoded; where two sources have the same name, source%2Fname.
start (included) and end (excluded) are RFC 3339, Unix seconds, now, or relative such as -24h.
bucket is a number of s, m, h (UTC), d, w, mo or y (local time); without it the whole range is one. group is none, node,
metric or both. aggregate is some of count,min,max,mean,sum,stddev,first,last,p50,p95,p99.
node and metric may repeat. JSON has 1000 readings unless limit says otherwise (most 100000), and next_cursor while
there are more. CSV has all of them; with limit (most 10000) the header X-Next-Cursor while there are more.
";

fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(async || INDEX))
        .route("/healthz", get(health::healthz))
        .route("/stats", get(stats::stats))
        .route("/metrics", get(prometheus::metrics))
        .route("/api/v1/nodes", get(nodes::all))
        .route("/api/v1/nodes/{node}", get(nodes::one))
        .route("/api/v1/nodes/{node}/latest", get(nodes::latest))
        .route("/api/v1/nodes/{node}/statistics", get(node_statistics::all))
        .route("/api/v1/nodes/{node}/statistics/hourly", get(node_statistics::hourly))
        .route("/api/v1/nodes/{node}/statistics/daily", get(node_statistics::daily))
        .route("/api/v1/nodes/{node}/chart", get(chart::chart))
        .route("/api/v1/nodes/{node}/quality", get(quality::node))
        .route("/api/v1/quality", get(quality::all))
        .route("/api/v1/statistics", get(statistics::statistics))
        .route("/api/v1/readings", get(readings::readings))
        .fallback(unknown_path)
        .method_not_allowed_fallback(async || ApiError::method())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

async fn unknown_path(request: Request) -> ApiError {
    ApiError::path(request.uri().path(), INDEX)
}

/// Asks for the token, everywhere but at `/healthz`, refuses queries while there is no memory for them, and keeps answers out of
/// caches.
async fn guard(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = match &state.token {
        None => true,
        Some(_) if request.uri().path() == "/healthz" => true,
        Some(token) => token.is_in(request.headers().get(header::AUTHORIZATION)),
    };
    let query = request.method() == Method::GET && request.uri().path().starts_with("/api/");
    let memory = &state.metrics.memory;
    let mut response = if !allowed {
        ApiError::token().into_response()
    } else if query && memory.sheds(Shed::Queries) {
        memory.refused.inc();
        ApiError::memory().into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
