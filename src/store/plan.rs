//! What a batch becomes in the tables, worked out before the transaction: names become ids, times are judged, and what
//! cannot be a duplicate is told from what may be one. Nothing of it is kept when the commit fails.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::catalog::{Catalog, Newest, Node, Series};
use super::redelivery::Unconfirmed;
use crate::reading::{Arrival, DeadLetter, DeadReason, Delivery, Envelope, Event, Reading, Timestamp, When};

/// A stamp that is taken moves behind the newest reading if that is at most this far ahead, in microseconds; beyond, the
/// clock has stepped back and the next free stamp is looked for in the table.
const STAMP_SHIFT: i64 = 1_000_000;

/// A row for `readings`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its series.
    pub series: i32,
    /// Its time.
    pub ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// Whole seconds from its time to its arrival; 0: stamped here; `None`: not verified.
    pub lag: Option<i32>,
}

/// A row that may be in the table already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Late {
    /// The row.
    pub row: Row,
    /// The gateway stamped it: if its time is taken it moves to the next free one.
    pub stamped: bool,
    /// Which envelope it came in, for the dead letter of a conflict.
    pub envelope: usize,
}

/// A row for `events`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventRow {
    /// Its node.
    pub node: i32,
    /// Its time.
    pub ts: Timestamp,
    /// What kind of event.
    pub kind: Arc<str>,
    /// Its details.
    pub data: String,
    /// It has a time of its own, so it can be recognised when it is sent again.
    pub known_by_time: bool,
}

/// A row for `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRow {
    /// When it arrived.
    pub ts: Timestamp,
    /// Its source.
    pub source: Arc<str>,
    /// What and why.
    pub letter: DeadLetter,
}

/// A row for `unsynced`: a stored record with an impossible time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnsyncedRow {
    /// Its series.
    pub series: i32,
    /// CLOCK_BOOTTIME of its arrival.
    pub boottime: i64,
    /// The node's time.
    pub node_ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// Which envelope it came in, for the dead letter when the table is full.
    pub envelope: usize,
}

/// How many nodes and series there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `max-nodes`
    pub nodes: usize,
    /// `max-series`; one source may use four fifths of it.
    pub series: usize,
}

/// The rows of one batch, and what the catalog has to learn if the commit succeeds.
#[derive(Debug, Default)]
pub struct Plan {
    /// Rows that are newer than everything in their series: they cannot be duplicates.
    pub fast: Vec<Row>,
    /// Rows that may be duplicates, in the order of their arrival.
    pub late: Vec<Late>,
    /// Events in the order of their arrival.
    pub events: Vec<EventRow>,
    /// Dead letters.
    pub dead: Vec<DeadRow>,
    /// Stored records with impossible times.
    pub unsynced: Vec<UnsyncedRow>,
    /// Nodes to add.
    pub nodes: Vec<Node>,
    /// Series to add.
    pub series: Vec<Series>,
    /// Redeliveries of messages that were committed before.
    pub repeated: Vec<(Arc<str>, Delivery)>,
    /// Messages that their broker may send again.
    pub deliveries: Vec<(Arc<str>, Delivery)>,
    /// Positions of the envelopes of which something exceeds a bound.
    pub refused: HashSet<usize>,
    /// Readings and events for which there was no room among the nodes.
    pub too_many_nodes: u64,
    /// Readings for which there was no room among the series.
    pub too_many_series: u64,
    /// Readings of messages that were committed before.
    pub redelivered: u64,
    /// Newest reading of each touched series.
    pub newest: HashMap<i32, Newest>,
    node_ids: HashMap<(Arc<str>, Arc<str>), i32>,
    series_ids: HashMap<(i32, Arc<str>), i32>,
    in_hand: HashSet<(Arc<str>, u16, u16, [u8; 16])>,
}

/// Works the rows of `envelopes` out. Ids of new nodes and series follow the highest in the catalog.
pub struct Planner<'a> {
    catalog: &'a Catalog,
    unconfirmed: &'a Unconfirmed,
    limits: Limits,
    next_node: i32,
    next_series: i32,
    series_of_source: HashMap<Arc<str>, usize>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    /// A planner over what is committed so far.
    pub fn new(catalog: &'a Catalog, unconfirmed: &'a Unconfirmed, limits: Limits) -> Self {
        Self {
            catalog,
            unconfirmed,
            limits,
            next_node: catalog.next_node_id(),
            next_series: catalog.next_series_id(),
            series_of_source: HashMap::new(),
            plan: Plan::default(),
        }
    }

    /// Adds the envelope at position `index` of its batch.
    pub fn add(&mut self, index: usize, envelope: &Envelope) {
        if self.is_redelivered(envelope) {
            self.plan.redelivered += envelope.content.readings.len() as u64;
            return;
        }
        for letter in &envelope.content.dead {
            self.dead(envelope, letter.clone());
        }
        for reading in &envelope.content.readings {
            self.reading(index, envelope, reading);
        }
        for event in &envelope.content.events {
            self.event(index, envelope, event);
        }
    }

    /// Puts the envelope at position `index` aside: `letter` is stored in its place, and its sender is refused.
    pub fn put_aside(&mut self, index: usize, envelope: &Envelope, letter: DeadLetter) {
        if !self.is_redelivered(envelope) {
            self.plan.refused.insert(index);
            self.dead(envelope, letter);
        }
    }

    /// The rows.
    pub fn finish(self) -> Plan {
        self.plan
    }

    fn is_redelivered(&mut self, envelope: &Envelope) -> bool {
        let Some(delivery) = envelope.delivery else { return false };
        let source = &envelope.source;
        let key = (Arc::clone(source), delivery.packet, delivery.part, delivery.digest);
        if self.unconfirmed.repeats(source, &delivery) {
            self.plan.repeated.push((Arc::clone(source), delivery));
            return true;
        }
        if delivery.dup && self.plan.in_hand.contains(&key) {
            return true;
        }
        self.plan.in_hand.insert(key);
        self.plan.deliveries.push((Arc::clone(source), delivery));
        false
    }

    fn reading(&mut self, index: usize, envelope: &Envelope, reading: &Reading) {
        let series = match self.series(envelope, reading) {
            Ok(series) => series,
            Err(reason) => {
                let detail = format!("{} of node {}, value {}", reading.metric, reading.node, reading.value);
                return self.refused(index, envelope, DeadLetter::new(reason, detail, reading.node.as_bytes()));
            }
        };
        let arrival = envelope.arrival;
        match reading.when {
            When::Live(ts) | When::Stored(ts) if arrival.believes(ts) => {
                let lag = arrival.trusted.then(|| arrival.at.secs_since(ts));
                self.place(index, Row { series, ts, value: reading.value, lag }, false);
            }
            When::Stored(node_ts) => {
                self.plan.unsynced.push(UnsyncedRow {
                    series,
                    boottime: arrival.boottime,
                    node_ts,
                    value: reading.value,
                    envelope: index,
                });
            }
            When::Live(ts) => {
                self.clock_event(envelope, &reading.node, ts);
                self.stamped(index, arrival, series, reading.value);
            }
            When::Arrival => self.stamped(index, arrival, series, reading.value),
        }
    }

    fn stamped(&mut self, index: usize, arrival: Arrival, series: i32, value: f64) {
        let mut ts = arrival.at;
        if let Some(newest) = self.newest(series).map(|n| n.ts)
            && newest >= ts
            && newest.micros() - ts.micros() <= STAMP_SHIFT
        {
            ts = Timestamp(newest.micros() + 1);
        }
        let lag = arrival.trusted.then_some(0);
        self.place(index, Row { series, ts, value, lag }, true);
    }

    fn place(&mut self, envelope: usize, row: Row, stamped: bool) {
        if self.newest(row.series).is_some_and(|newest| row.ts <= newest.ts) {
            self.plan.late.push(Late { row, stamped, envelope });
            return;
        }
        self.plan.newest.insert(row.series, Newest { ts: row.ts, value: row.value, lag: row.lag });
        self.plan.fast.push(row);
    }

    fn newest(&self, series: i32) -> Option<Newest> {
        self.plan.newest.get(&series).copied().or_else(|| self.catalog.series(series)?.newest)
    }

    fn event(&mut self, index: usize, envelope: &Envelope, event: &Event) {
        let node = match self.node(envelope, &event.node) {
            Ok(node) => node,
            Err(reason) => {
                let detail = format!("event {} of node {}", event.kind, event.node);
                return self.refused(index, envelope, DeadLetter::new(reason, detail, event.data.as_bytes()));
            }
        };
        let (ts, known_by_time, data) = match event.when {
            When::Live(ts) | When::Stored(ts) if envelope.arrival.believes(ts) => (ts, true, event.data.clone()),
            // The node's time is worth keeping even where it cannot be right.
            When::Live(ts) | When::Stored(ts) => {
                (envelope.arrival.at, false, format!("{} (node time {} us)", event.data, ts.micros()))
            }
            When::Arrival => (envelope.arrival.at, false, event.data.clone()),
        };
        self.plan.events.push(EventRow { node, ts, kind: Arc::clone(&event.kind), data, known_by_time });
    }

    /// One event for each frame and node: a message of fifty values has one clock.
    fn clock_event(&mut self, envelope: &Envelope, name: &Arc<str>, ts: Timestamp) {
        let Ok(node) = self.node(envelope, name) else { return };
        let event = EventRow {
            node,
            ts: envelope.arrival.at,
            kind: Arc::from("clock"),
            data: format!("impossible time {} us, stamped at arrival", ts.micros()),
            known_by_time: false,
        };
        if self.plan.events.last() != Some(&event) {
            self.plan.events.push(event);
        }
    }

    fn refused(&mut self, index: usize, envelope: &Envelope, letter: DeadLetter) {
        self.plan.refused.insert(index);
        if letter.reason == DeadReason::TooManyNodes {
            self.plan.too_many_nodes += 1;
        } else {
            self.plan.too_many_series += 1;
        }
        self.dead(envelope, letter);
    }

    fn dead(&mut self, envelope: &Envelope, letter: DeadLetter) {
        self.plan.dead.push(DeadRow { ts: envelope.arrival.at, source: Arc::clone(&envelope.source), letter });
    }

    fn node(&mut self, envelope: &Envelope, name: &Arc<str>) -> Result<i32, DeadReason> {
        if let Some(node) = self.catalog.find_node(&envelope.source, name) {
            return Ok(node.id);
        }
        let key = (Arc::clone(&envelope.source), Arc::clone(name));
        if let Some(id) = self.plan.node_ids.get(&key) {
            return Ok(*id);
        }
        if self.catalog.node_count() + self.plan.nodes.len() >= self.limits.nodes {
            return Err(DeadReason::TooManyNodes);
        }
        let id = self.next_node;
        self.next_node += 1;
        self.plan.nodes.push(Node {
            id,
            source: Arc::clone(&envelope.source),
            name: Arc::clone(name),
            first_seen: envelope.arrival.at,
            series: Vec::new(),
        });
        self.plan.node_ids.insert(key, id);
        Ok(id)
    }

    fn series(&mut self, envelope: &Envelope, reading: &Reading) -> Result<i32, DeadReason> {
        let known = self.catalog.find_node(&envelope.source, &reading.node).map(|n| n.id);
        if let Some(series) = known.and_then(|node| self.catalog.find_series(node, &reading.metric)) {
            return Ok(series.id);
        }
        let made = || self.plan.node_ids.get(&(Arc::clone(&envelope.source), Arc::clone(&reading.node))).copied();
        let planned = known.or_else(made).map(|node| (node, Arc::clone(&reading.metric)));
        if let Some(id) = planned.and_then(|key| self.plan.series_ids.get(&key)) {
            return Ok(*id);
        }
        // Whether there is room for the series is asked before the node is made: a flood of names must not fill the
        // table of nodes with nodes that have nothing.
        let catalog = self.catalog;
        let of_source = *self
            .series_of_source
            .entry(Arc::clone(&envelope.source))
            .or_insert_with_key(|source| catalog.series_of_source(source));
        let all = catalog.series_count() + self.plan.series.len();
        if all >= self.limits.series || of_source >= self.limits.series * 4 / 5 {
            return Err(DeadReason::TooManySeries);
        }
        let node = self.node(envelope, &reading.node)?;
        self.series_of_source.insert(Arc::clone(&envelope.source), of_source + 1);
        let id = self.next_series;
        self.next_series += 1;
        self.plan.series.push(Series {
            id,
            node,
            metric: Arc::clone(&reading.metric),
            unit: reading.unit.map(Arc::from),
            newest: None,
        });
        self.plan.series_ids.insert((node, Arc::clone(&reading.metric)), id);
        Ok(id)
    }
}
