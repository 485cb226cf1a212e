//! Nodes by the names that clients use: the node's own, or `source/name`.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::error::ApiError;
use crate::store::catalog::{Catalog, Node};
use crate::store::reader::Row;

/// The node that `text` means. A full name is stronger than a plain one; a plain one must be the only one.
pub(super) fn find<'a>(catalog: &'a Catalog, text: &str) -> Result<&'a Node, ApiError> {
    let mut found = by_full_name(catalog, text);
    if found.is_empty() {
        found = catalog.nodes_named(text);
    }
    match found[..] {
        [] => Err(ApiError::unknown_node(text)),
        [node] => Ok(node),
        _ => Err(ApiError::ambiguous_node(text, found.iter().map(|n| full_name(n)).collect())),
    }
}

/// How clients call the node: its name, where that means no other.
pub(super) fn text_of(catalog: &Catalog, node: &Node) -> Arc<str> {
    match find(catalog, &node.name) {
        Ok(found) if found.id == node.id => Arc::clone(&node.name),
        _ => full_name(node).into(),
    }
}

fn full_name(node: &Node) -> String {
    format!("{}/{}", node.source, node.name)
}

/// Both parts may hold slashes, so every one of them may be the one between.
fn by_full_name<'a>(catalog: &'a Catalog, text: &str) -> Vec<&'a Node> {
    text.match_indices('/').filter_map(|(at, _)| catalog.find_node(&text[..at], &text[at + 1..])).collect()
}

/// A shared text that can be written as JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(Arc<str>);

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self(Arc::clone(text))
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// What a row of a series is shown with.
pub(super) struct Label {
    /// As clients call the node.
    pub(super) node: Arc<str>,
    pub(super) metric: Arc<str>,
    pub(super) unit: Option<Arc<str>>,
}

/// The labels of the series in `rows`. A series that the catalog does not have yet is left out.
pub(super) fn labels(catalog: &Catalog, rows: &[Row]) -> HashMap<i32, Label> {
    let mut labels = HashMap::new();
    for row in rows {
        if labels.contains_key(&row.series) {
            continue;
        }
        let Some(series) = catalog.series(row.series) else { continue };
        let Some(node) = catalog.node(series.node) else { continue };
        let label =
            Label { node: text_of(catalog, node), metric: Arc::clone(&series.metric), unit: series.unit.clone() };
        labels.insert(row.series, label);
    }
    labels
}
