//! What is remembered of edge nodes: their session, and of each metric of a birth its name, type and unit.
//!
//! At most [`MAX_EDGES`] edge nodes, [`MAX_DEVICES`] devices of each, and [`MAX_METRICS`] metrics of all of them: at most about 6 MiB. Where
//! an edge node or a metric does not fit, the edge nodes that were not heard for longest are forgotten; the next message of
//! such a one asks for its births again. What alone exceeds the bounds is not remembered, and no births are asked for its sake.

use std::collections::HashMap;

use crate::reading::{MAX_NAME, Timestamp};

/// Edge nodes that are remembered.
pub const MAX_EDGES: usize = 256;
/// Devices of an edge node.
pub const MAX_DEVICES: usize = 256;
/// Metrics of all edge nodes together.
pub const MAX_METRICS: usize = 20_000;
/// Metrics of one edge node with its devices.
pub const MAX_EDGE_METRICS: usize = 5_000;
/// How long an edge node is not asked again, in microseconds: it may be on its way with thousands of metrics.
const ASK_AGAIN: i64 = 60 * 1_000_000;
/// Where no time is known, messages of an edge node until it is asked again.
const ASK_AGAIN_MESSAGES: u32 = 1_000;
/// Births asked for in a minute, of all edge nodes together.
const MAX_ASKED: u32 = 60;
/// Longest unit.
const MAX_UNIT: usize = 32;

/// What a birth says of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub name: String,
    pub datatype: Option<u32>,
    /// Empty where there is none.
    pub unit: String,
}

/// A device, or the edge node itself.
#[derive(Debug, Default)]
pub(super) struct Device {
    metrics: Vec<Definition>,
    names: HashMap<String, usize>,
    aliases: HashMap<u64, usize>,
    /// Its birth had more metrics than are remembered.
    pub overfull: bool,
}

impl Device {
    pub fn by_alias(&self, alias: u64) -> Option<&Definition> {
        self.aliases.get(&alias).map(|at| &self.metrics[*at])
    }

    pub fn by_name(&self, name: &str) -> Option<&Definition> {
        self.names.get(name).map(|at| &self.metrics[*at])
    }
}

/// An edge node.
#[derive(Debug, Default)]
pub(super) struct Edge {
    /// Number of its session; `None` until a birth with one.
    pub bd_seq: Option<u64>,
    /// Its birth was heard, and no death since.
    pub born: bool,
    /// The number that its next message should have.
    pub next_seq: Option<u8>,
    /// Its devices that were born; the edge node itself without a name.
    devices: HashMap<Option<String>, Device>,
    size: usize,
    heard: u64,
    asked: Option<Option<Timestamp>>,
    since_asked: u32,
}

impl Edge {
    pub fn device(&self, name: Option<&str>) -> Option<&Device> {
        self.devices.get(&name.map(str::to_owned))
    }

    /// The names of its devices, in order.
    pub fn devices(&self) -> Vec<String> {
        let mut names: Vec<String> = self.devices.keys().flatten().cloned().collect();
        names.sort_unstable();
        names
    }
}

/// All edge nodes, by `GROUP/EDGE_NODE`.
#[derive(Debug, Default)]
pub(super) struct Edges {
    known: HashMap<String, Edge>,
    size: usize,
    messages: u64,
    /// The minute in hand: when it began, and how many were asked in it.
    minute: Option<Timestamp>,
    asked: u32,
    /// The same where no time is known.
    minute_messages: u64,
}

impl Edges {
    /// The edge node of a message, which is remembered from now on.
    pub fn heard(&mut self, key: &str) -> &mut Edge {
        self.messages += 1;
        let heard = self.messages;
        if !self.known.contains_key(key) && self.known.len() >= MAX_EDGES {
            self.forget_oldest(key);
        }
        let edge = self.known.entry(key.to_owned()).or_default();
        edge.heard = heard;
        edge
    }

    pub fn get(&self, key: &str) -> Option<&Edge> {
        self.known.get(key)
    }

    fn forget_oldest(&mut self, but: &str) -> bool {
        let others = self.known.iter().filter(|(key, _)| *key != but);
        let Some(key) = others.min_by_key(|(_, edge)| edge.heard).map(|(key, _)| key.clone()) else { return false };
        if let Some(edge) = self.known.remove(&key) {
            self.size -= edge.size;
        }
        true
    }

    /// Forgets all metrics and devices of an edge node: a new birth begins, or it has died.
    pub fn clear(&mut self, key: &str) {
        if let Some(edge) = self.known.get_mut(key) {
            self.size -= edge.size;
            edge.size = 0;
            edge.devices.clear();
            edge.next_seq = None;
        }
    }

    /// Forgets the metrics of a device, which is born again; with `gone` also that it is there. Says whether there is room for it.
    pub fn clear_device(&mut self, key: &str, device: Option<&str>, gone: bool) -> bool {
        let Some(edge) = self.known.get_mut(key) else { return false };
        let name = device.map(str::to_owned);
        if let Some(old) = edge.devices.remove(&name) {
            edge.size -= old.metrics.len();
            self.size -= old.metrics.len();
        }
        if gone || edge.devices.len() > MAX_DEVICES {
            return false;
        }
        edge.devices.insert(name, Device::default());
        true
    }

    /// A metric of a birth.
    pub fn define(&mut self, key: &str, device: Option<&str>, alias: Option<u64>, mut definition: Definition) {
        let name = device.map(str::to_owned);
        let Some(edge) = self.known.get(key) else { return };
        let fits = definition.name.len() <= MAX_NAME && edge.size < MAX_EDGE_METRICS;
        let room = fits && {
            while self.size >= MAX_METRICS && self.forget_oldest(key) {}
            self.size < MAX_METRICS
        };
        let Some(edge) = self.known.get_mut(key) else { return };
        let Some(device) = edge.devices.get_mut(&name) else { return };
        if !room {
            device.overfull = true;
            return;
        }
        if definition.unit.len() > MAX_UNIT {
            definition.unit.clear();
        }
        let at = device.metrics.len();
        if let Some(alias) = alias {
            device.aliases.insert(alias, at);
        }
        device.names.insert(definition.name.clone(), at);
        device.metrics.push(definition);
        edge.size += 1;
        self.size += 1;
    }

    /// Whether an edge node may be asked for its births now, which is then taken as done.
    pub fn ask(&mut self, key: &str, at: Option<Timestamp>) -> bool {
        let messages = self.messages;
        let Some(edge) = self.known.get_mut(key) else { return false };
        edge.since_asked = edge.since_asked.saturating_add(1);
        let again = match edge.asked {
            None => true,
            Some(asked) => match (asked, at) {
                // A clock that was set back is no reason to wait for it.
                (Some(asked), Some(at)) => !(0..ASK_AGAIN).contains(&(at.micros().saturating_sub(asked.micros()))),
                _ => edge.since_asked > ASK_AGAIN_MESSAGES,
            },
        };
        if !again {
            return false;
        }
        let over = match (self.minute, at) {
            (Some(minute), Some(at)) => !(0..ASK_AGAIN).contains(&(at.micros().saturating_sub(minute.micros()))),
            (None, Some(_)) => true,
            (_, None) => messages >= self.minute_messages + u64::from(ASK_AGAIN_MESSAGES),
        };
        if over {
            (self.minute, self.minute_messages, self.asked) = (at, messages, 0);
        }
        if self.asked >= MAX_ASKED {
            return false;
        }
        self.asked += 1;
        edge.asked = Some(at);
        edge.since_asked = 0;
        true
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        let size: usize = self.known.values().flat_map(|edge| edge.devices.values()).map(|d| d.metrics.len()).sum();
        assert_eq!(size, self.size, "the count of what is known");
        (self.known.len(), self.size)
    }
}
