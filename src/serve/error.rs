//! What goes wrong, as JSON with a code and a sentence.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::reading::Timestamp;
use crate::store::reader::{QueryError, Width};

/// Seconds after which a client should ask again, when the store was busy.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Most characters of a client's own text that an error repeats.
const SHOWN: usize = 80;

/// An error and its status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// For an ambiguous name: what would not be.
    nodes: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Content<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<&'a [String]>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), nodes: None }
    }

    /// A parameter whose value is not what was expected.
    pub(super) fn parameter(name: &str, value: &str, expected: &str) -> Self {
        let message = format!("parameter {name}: got {:?}, expected {expected}", shown(value));
        Self::new(StatusCode::BAD_REQUEST, "bad-parameter", message)
    }

    /// A parameter that the route does not have.
    pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> Self {
        let name = shown(name);
        let message = if known.is_empty() {
            format!("unknown parameter {name:?}: this path has none")
        } else {
            format!("unknown parameter {name:?}, expected one of {}", known.join(", "))
        };
        Self::new(StatusCode::BAD_REQUEST, "unknown-parameter", message)
    }

    /// A range without any time in it.
    pub(super) fn range(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-range", message)
    }

    /// A cursor that did not come from an answer.
    pub(super) fn cursor(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-cursor", message)
    }

    /// A node's name that is not UTF-8.
    pub(super) fn node_name(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-node", format!("the node's name cannot be read: {why}"))
    }

    /// No node of this name.
    pub(super) fn unknown_node(name: &str) -> Self {
        let message = format!("there is no node {:?}; GET /api/v1/nodes lists them all", shown(name));
        Self::new(StatusCode::NOT_FOUND, "unknown-node", message)
    }

    /// Several nodes of this name.
    pub(super) fn ambiguous_node(name: &str, nodes: Vec<String>) -> Self {
        let message = format!("several sources have a node {:?}: ask for {}", shown(name), nodes.join(" or "));
        Self { nodes: Some(nodes), ..Self::new(StatusCode::CONFLICT, "ambiguous-node", message) }
    }

    /// No selected node has this metric.
    pub(super) fn unknown_metric(metric: &str, node: Option<&str>) -> Self {
        let of = node.map_or_else(|| "no node has".to_owned(), |node| format!("node {:?} does not have", shown(node)));
        Self::new(StatusCode::NOT_FOUND, "unknown-metric", format!("{of} a metric {:?}", shown(metric)))
    }

    /// More nodes or metrics are named than one request may.
    pub(super) fn too_many_names(most: usize) -> Self {
        let message = format!("too many `node` or `metric`: expected at most {most} of each");
        Self::new(StatusCode::BAD_REQUEST, "too-many-names", message)
    }

    /// More buckets than an answer may have, in all of its pages.
    pub(super) fn too_many_buckets(
        buckets: u64,
        width: Width,
        (start, end): (Timestamp, Timestamp),
        most: u64,
    ) -> Self {
        let message = format!(
            "{buckets} buckets of {width} from {start} to {end}: expected at most {most}; \
             ask for wider buckets or a shorter range"
        );
        Self::new(StatusCode::BAD_REQUEST, "too-many-buckets", message)
    }

    /// More rows than an answer may have; `what` says which.
    pub(super) fn too_many_rows(what: &str, most: usize) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "too-many-rows", format!("{what}: expected at most {most} together"))
    }

    /// What was asked for cannot be told any more, because retention has removed readings.
    pub(super) fn removed(before: Timestamp, what: &str) -> Self {
        Self::new(StatusCode::GONE, "removed", format!("readings before {before} were removed: {what}"))
    }

    /// No route of this path.
    pub(super) fn path(path: &str, index: &str) -> Self {
        let routes: Vec<&str> =
            index.lines().filter_map(|l| l.strip_prefix("GET ")?.split_whitespace().next()).collect();
        let message = format!("there is no {:?}; there is {}", shown(path), routes.join(", "));
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// Another method than `GET`.
    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path answers to GET only")
    }

    /// Memory is above its limit.
    pub(super) fn memory() -> Self {
        let message =
            "memory is above its limit ([memory] limit): queries are refused until it is below; ask again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "memory", message)
    }

    /// All connections for questions for data have one.
    pub(super) fn no_place() -> Self {
        let message = "too many requests are being answered; try again in a moment ([http] max-connections)";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// So many exports are on their way.
    pub(super) fn exports(most: usize) -> Self {
        let many = if most == 1 { "another export is" } else { &format!("{most} exports are") };
        let message =
            format!("{many} on the way; try again when one is over, or ask for at most 1000 readings at a time");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// No token, or another one.
    pub(super) fn token() -> Self {
        let message = "this path needs the header `Authorization: Bearer TOKEN` with the token of [http] token-file";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (status, code) = match error {
            QueryError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            QueryError::TooLong => (StatusCode::GATEWAY_TIMEOUT, "too-long"),
            QueryError::TooLarge => (StatusCode::BAD_REQUEST, "too-large"),
            QueryError::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            QueryError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-down"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let content = Content { code: self.code, message: &self.message, nodes: self.nodes.as_deref() };
        let mut response = (self.status, Json(Envelope { error: content })).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNAUTHORIZED => {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            }
            _ => {}
        }
        response
    }
}

/// The first characters of a text.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
