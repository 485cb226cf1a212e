//! The nodes and series by name, with the newest value of each series. Kept in memory: names are resolved and the latest
//! values answered without a scan. The writer changes it after a commit, readers only look.

use std::collections::HashMap;
use std::sync::Arc;

use super::ledger::Ledger;
use crate::reading::Timestamp;

/// A node as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `nodes.node`
    pub id: i32,
    /// Name of the source that it came through.
    pub source: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Arrival of its first reading or event.
    pub first_seen: Timestamp,
    /// Whether it was there by its newest event of availability, and when that was; `None` where none is stored.
    pub online: Option<(Timestamp, bool)>,
    /// Ids of its series, in the order of their making.
    pub series: Vec<i32>,
}

/// The newest reading of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Newest {
    /// Its time.
    pub ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// Whole seconds from its time to its arrival; `None` where the time is not verified.
    pub lag: Option<i32>,
}

/// A series as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// `series.series`
    pub id: i32,
    /// `nodes.node` of its node.
    pub node: i32,
    /// Its metric.
    pub metric: Arc<str>,
    /// What the publisher calls the metric, where it calls it differently.
    pub own_name: Option<Arc<str>>,
    /// Unit of its values.
    pub unit: Option<Arc<str>>,
    /// Its newest committed reading; `None` while it has none.
    pub newest: Option<Newest>,
}

/// All nodes and series.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// What counts against the quality of series and is not written yet.
    pub ledger: Ledger,
    nodes: HashMap<i32, Node>,
    series: HashMap<i32, Series>,
    node_ids: HashMap<Arc<str>, HashMap<Arc<str>, i32>>,
    series_ids: HashMap<i32, HashMap<Arc<str>, i32>>,
    /// The highest ids so far, forgotten ones included.
    last: (i32, i32),
}

impl Catalog {
    /// Adds a node, or replaces the one with its id.
    pub fn add_node(&mut self, node: Node) {
        self.node_ids.entry(Arc::clone(&node.source)).or_default().insert(Arc::clone(&node.name), node.id);
        self.last.0 = self.last.0.max(node.id);
        self.nodes.insert(node.id, node);
    }

    /// Adds a series to its node, which must be there already.
    pub fn add_series(&mut self, series: Series) {
        self.series_ids.entry(series.node).or_default().insert(Arc::clone(&series.metric), series.id);
        if let Some(node) = self.nodes.get_mut(&series.node) {
            node.series.push(series.id);
        }
        self.last.1 = self.last.1.max(series.id);
        self.series.insert(series.id, series);
    }

    /// Gives no id out that `before` has given out: whoever still walks over the readings of a series that was forgotten must not be
    /// given those of another.
    pub fn follow(&mut self, before: &Self) {
        self.last = (self.last.0.max(before.last.0), self.last.1.max(before.last.1));
    }

    /// The node of this source and name.
    pub fn find_node(&self, source: &str, name: &str) -> Option<&Node> {
        self.nodes.get(self.node_ids.get(source)?.get(name)?)
    }

    /// The nodes of this name over all sources, by id.
    pub fn nodes_named(&self, name: &str) -> Vec<&Node> {
        let mut found: Vec<&Node> =
            self.node_ids.values().filter_map(|names| self.nodes.get(names.get(name)?)).collect();
        found.sort_by_key(|n| n.id);
        found
    }

    /// The series of this node and metric.
    pub fn find_series(&self, node: i32, metric: &str) -> Option<&Series> {
        self.series.get(self.series_ids.get(&node)?.get(metric)?)
    }

    /// A node by its id.
    pub fn node(&self, id: i32) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// A series by its id.
    pub fn series(&self, id: i32) -> Option<&Series> {
        self.series.get(&id)
    }

    /// A series by its id, to note its newest reading.
    pub fn series_mut(&mut self, id: i32) -> Option<&mut Series> {
        self.series.get_mut(&id)
    }

    /// Notes that a node was there, or gone, at `ts`; news that is older than what is known changes nothing.
    pub fn set_online(&mut self, node: i32, ts: Timestamp, online: bool) {
        if let Some(node) = self.nodes.get_mut(&node)
            && node.online.is_none_or(|(known, _)| known <= ts)
        {
            node.online = Some((ts, online));
        }
    }

    /// Forgets a series.
    pub fn remove_series(&mut self, id: i32) {
        let Some(series) = self.series.remove(&id) else { return };
        self.ledger.forget(id);
        if let Some(node) = self.nodes.get_mut(&series.node) {
            node.series.retain(|of_node| *of_node != id);
        }
        if let Some(metrics) = self.series_ids.get_mut(&series.node) {
            metrics.remove(&series.metric);
        }
    }

    /// Forgets a node, which must have no series any more.
    pub fn remove_node(&mut self, id: i32) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.series_ids.remove(&id);
        if let Some(names) = self.node_ids.get_mut(&node.source) {
            names.remove(&node.name);
        }
    }

    /// All nodes by id.
    pub fn all_nodes(&self) -> Vec<&Node> {
        let mut all: Vec<&Node> = self.nodes.values().collect();
        all.sort_by_key(|n| n.id);
        all
    }

    /// All series, in no order.
    pub fn all_series(&self) -> impl Iterator<Item = &Series> {
        self.series.values()
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// The id for the next new node; none comes twice in the life of a process.
    pub fn next_node_id(&self) -> i32 {
        self.last.0 + 1
    }

    /// The id for the next new series; none comes twice in the life of a process.
    pub fn next_series_id(&self) -> i32 {
        self.last.1 + 1
    }

    /// Number of nodes that came through this source.
    pub fn nodes_of_source(&self, source: &str) -> usize {
        self.node_ids.get(source).map_or(0, HashMap::len)
    }

    /// Number of series that came through this source.
    pub fn series_of_source(&self, source: &str) -> usize {
        self.nodes.values().filter(|n| &*n.source == source).map(|n| n.series.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_what_was_forgotten_are_not_given_out_again() {
        let mut catalog = Catalog::default();
        let node = |id| Node {
            id,
            source: "hub".into(),
            name: "n".into(),
            first_seen: Timestamp(0),
            online: None,
            series: Vec::new(),
        };
        catalog.add_node(node(3));
        catalog.add_series(Series { id: 7, node: 3, metric: "t".into(), own_name: None, unit: None, newest: None });
        catalog.remove_series(7);
        catalog.remove_node(3);
        assert_eq!((catalog.node_count(), catalog.series_count()), (0, 0));
        assert_eq!((catalog.next_node_id(), catalog.next_series_id()), (4, 8));
        let mut again = Catalog::default();
        again.follow(&catalog);
        assert_eq!((again.next_node_id(), again.next_series_id()), (4, 8));
    }
}
