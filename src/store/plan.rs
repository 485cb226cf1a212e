//! What a batch becomes in the tables, worked out before the transaction: names become ids, times are judged, and what
//! cannot be a duplicate is told from what may be one. Nothing of it is kept when the commit fails.

mod tally;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::admission::Admissions;
use super::catalog::{Catalog, Newest, Node, Series};
use super::ledger::{Page, Tally};
use super::redelivery::Unconfirmed;
use super::rolled::Rolled;
pub use super::rows::{DeadRow, EventRow, HeldRow, Late, Row, UnsyncedRow};
use crate::clock::Standing;
use crate::reading::{Arrival, DeadLetter, DeadReason, Delivery, Digest, Envelope, Event, Reading, Timestamp, When};

/// A stamp that is taken moves behind the newest reading if that is at most this far ahead, in microseconds; beyond, the
/// clock has stepped back and the next free stamp is looked for in the table.
const STAMP_SHIFT: i64 = 1_000_000;

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
    /// Readings that wait for the clock to become right.
    pub held: Vec<HeldRow>,
    /// The boot that every CLOCK_BOOTTIME is of.
    pub boot: Arc<str>,
    /// The newest arrival that a trusted clock has stamped.
    pub newest_arrival: Option<Timestamp>,
    /// The floor of time, where it has to be written.
    pub floor: Option<Timestamp>,
    /// Days whose bytes written have to be noted.
    pub written: Vec<crate::budget::Row>,
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
    /// Readings of series that came faster than new ones are taken.
    pub too_many_new: u64,
    /// Readings older than what is kept: not stored, and their senders have nothing to send again.
    pub expired: u64,
    /// Readings of messages that were committed before.
    pub redelivered: u64,
    /// How far the rollups are.
    pub rolled: Arc<Rolled>,
    /// What of it counts against the quality of a series: clock errors, and redelivered readings.
    pub tally: Tally,
    /// What was counted of an hour that is over.
    pub page: Page,
    /// Arrival of the last envelope.
    pub at: Timestamp,
    /// Nodes of whose clock an event tells, and when.
    pub clock_told: HashMap<i32, Timestamp>,
    /// Newest reading of each touched series.
    pub newest: HashMap<i32, Newest>,
    node_ids: HashMap<(Arc<str>, Arc<str>), i32>,
    series_ids: HashMap<(i32, Arc<str>), i32>,
    in_hand: HashSet<(Arc<str>, u16, u16, Digest)>,
    /// What is new of each source.
    pub fresh: HashMap<Arc<str>, Fresh>,
}

/// How many new names a batch brings of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// Nodes.
    pub nodes: usize,
    /// Series.
    pub series: usize,
}

/// Works the rows of `envelopes` out. Ids of new nodes and series follow the highest in the catalog.
pub struct Planner<'a> {
    catalog: &'a Catalog,
    unconfirmed: &'a Unconfirmed,
    limits: Limits,
    /// How fast new nodes and series are taken, and the time by which it goes.
    admission: Option<(&'a Admissions, Instant)>,
    next_node: i32,
    next_series: i32,
    series_of_source: HashMap<Arc<str>, usize>,
    standing: Standing,
    held: HashMap<i32, i64>,
    plan: Plan,
}

impl Limits {
    /// Nodes that one source may have: four fifths, so that it leaves room for others. All where they are few, and were counted
    /// out by a person.
    pub fn nodes_of_source(self) -> usize {
        if self.nodes < 100 { self.nodes } else { self.nodes * 4 / 5 }
    }

    /// Series that one source may have: four fifths.
    pub fn series_of_source(self) -> usize {
        (self.series * 4 / 5).max(1)
    }
}

impl Plan {
    /// Without rows, for the boot `boot`.
    pub fn in_boot(boot: &str, rolled: &Arc<Rolled>) -> Self {
        Self { boot: Arc::from(boot), rolled: Arc::clone(rolled), ..Self::default() }
    }

    /// Places a row that the gateway stamped: a stamp that its series has already moves by a microsecond.
    pub fn place_stamped(&mut self, catalog: &Catalog, mut row: Row, envelope: usize) {
        if let Some(newest) = self.newest_in(catalog, row.series).map(|n| n.ts)
            && newest >= row.ts
            && newest.micros() - row.ts.micros() <= STAMP_SHIFT
        {
            row.ts = Timestamp(newest.micros() + 1);
        }
        self.place(catalog, row, true, envelope);
    }

    fn place(&mut self, catalog: &Catalog, row: Row, stamped: bool, envelope: usize) {
        if self.newest_in(catalog, row.series).is_some_and(|newest| row.ts <= newest.ts) {
            self.late.push(Late { row, stamped, envelope });
            return;
        }
        self.newest.insert(row.series, Newest { ts: row.ts, value: row.value, lag: row.lag });
        self.fast.push(row);
    }

    fn newest_in(&self, catalog: &Catalog, series: i32) -> Option<Newest> {
        self.newest.get(&series).copied().or_else(|| catalog.series(series)?.newest)
    }
}

impl<'a> Planner<'a> {
    /// A planner over what is committed so far.
    pub fn new(catalog: &'a Catalog, unconfirmed: &'a Unconfirmed, limits: Limits) -> Self {
        Self {
            catalog,
            unconfirmed,
            limits,
            admission: None,
            next_node: catalog.next_node_id(),
            next_series: catalog.next_series_id(),
            series_of_source: HashMap::new(),
            standing: Standing::Doubtful,
            held: HashMap::new(),
            plan: Plan::default(),
        }
    }

    /// Under a clock of this standing, in the boot `boot`. Without it no reading waits for its time.
    pub fn under(mut self, standing: Standing, boot: Arc<str>) -> Self {
        self.standing = standing;
        self.plan.boot = boot;
        self
    }

    /// After rollups that are as far as this: what makes an hour dirty, and what is too old to be stored.
    pub fn behind(mut self, rolled: &Arc<Rolled>) -> Self {
        self.plan.rolled = Arc::clone(rolled);
        self
    }

    /// Taking new nodes and series no faster than `admission` says at `now`. Without it they are taken as they come.
    pub fn admitting(mut self, admission: &'a Admissions, now: Instant) -> Self {
        self.admission = Some((admission, now));
        self
    }

    /// Adds the envelope at position `index` of its batch.
    pub fn add(&mut self, index: usize, envelope: &Envelope) {
        if envelope.arrival.trusted {
            self.plan.newest_arrival = self.plan.newest_arrival.max(Some(envelope.arrival.at));
        }
        self.plan.at = envelope.arrival.at;
        if self.is_redelivered(envelope) {
            self.redelivered(envelope);
            return;
        }
        let unreadable = tally::unreadable(envelope);
        for letter in &envelope.content.dead {
            self.dead(envelope, letter.clone());
        }
        for reading in &envelope.content.readings {
            self.reading(index, envelope, reading, unreadable.as_ref());
        }
        for event in &envelope.content.events {
            self.event(index, envelope, event);
        }
    }

    /// Puts the envelope at position `index` aside: `letter` is stored in its place, and its sender is refused.
    pub fn put_aside(&mut self, index: usize, envelope: &Envelope, letter: DeadLetter) {
        self.plan.at = envelope.arrival.at;
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

    /// `unreadable`: the node whose time could not be read.
    fn reading(&mut self, index: usize, envelope: &Envelope, reading: &Reading, unreadable: Option<&Arc<str>>) {
        if let When::Live(ts) | When::Stored(ts) = reading.when
            && envelope.arrival.believes(ts)
            && self.plan.rolled.is_expired(ts)
        {
            self.plan.expired += 1;
            return;
        }
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
                let row = Row { series, ts, value: reading.value, lag, noted: None };
                self.plan.place(self.catalog, row, false, index);
            }
            When::Stored(node_ts) => {
                self.clock_error(series);
                self.plan.unsynced.push(UnsyncedRow {
                    series,
                    boottime: arrival.boottime,
                    node_ts,
                    value: reading.value,
                    envelope: index,
                });
            }
            When::Live(ts) => {
                self.clock_error(series);
                self.impossible(envelope, &reading.node, ts);
                self.stamped(index, arrival, series, reading.value);
            }
            When::Arrival => {
                if unreadable == Some(&reading.node) {
                    self.clock_error(series);
                }
                self.stamped(index, arrival, series, reading.value);
            }
        }
    }

    fn stamped(&mut self, index: usize, arrival: Arrival, series: i32, value: f64) {
        let (ts, lag, noted) = match self.standing {
            _ if arrival.trusted => (arrival.at, Some(0), None),
            // It became right between the arrival and now.
            Standing::Right(offset) => (Timestamp(arrival.boottime.saturating_add(offset)), Some(0), None),
            Standing::Doubtful => (arrival.at, None, Some(arrival.boottime)),
            Standing::Waiting | Standing::Fresh => {
                let last = self.held.get(&series).copied();
                let boottime = last.map_or(arrival.boottime, |last| arrival.boottime.max(last + 1));
                self.held.insert(series, boottime);
                let stamp = Timestamp(arrival.at.micros().saturating_add(boottime - arrival.boottime));
                self.plan.held.push(HeldRow { series, boottime, stamp, value });
                return;
            }
        };
        self.plan.place_stamped(self.catalog, Row { series, ts, value, lag, noted }, index);
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
        let row = EventRow { node, ts, kind: Arc::clone(&event.kind), data, known_by_time };
        if tally::is_of_clock(event) {
            self.tell(row);
        } else {
            self.plan.events.push(row);
        }
    }

    fn refused(&mut self, index: usize, envelope: &Envelope, letter: DeadLetter) {
        self.plan.refused.insert(index);
        match letter.reason {
            DeadReason::TooManyNodes => self.plan.too_many_nodes += 1,
            DeadReason::TooManyNew => self.plan.too_many_new += 1,
            _ => self.plan.too_many_series += 1,
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
        let planned_of_source = self.plan.fresh.get(&envelope.source).map_or(0, |fresh| fresh.nodes);
        let stored_of_source = self.catalog.nodes_of_source(&envelope.source);
        if self.catalog.node_count() + self.plan.nodes.len() >= self.limits.nodes
            || stored_of_source + planned_of_source >= self.limits.nodes_of_source()
        {
            return Err(DeadReason::TooManyNodes);
        }
        if self
            .admission
            .is_some_and(|(a, now)| planned_of_source >= a.nodes.open_to(&envelope.source, stored_of_source, now))
        {
            return Err(DeadReason::TooManyNew);
        }
        let id = self.next_node;
        self.next_node += 1;
        self.plan.nodes.push(Node {
            id,
            source: Arc::clone(&envelope.source),
            name: Arc::clone(name),
            first_seen: envelope.arrival.at,
            online: None,
            series: Vec::new(),
        });
        self.plan.node_ids.insert(key, id);
        self.plan.fresh.entry(Arc::clone(&envelope.source)).or_default().nodes += 1;
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
        if all >= self.limits.series || of_source >= self.limits.series_of_source() {
            return Err(DeadReason::TooManySeries);
        }
        let new = self.plan.fresh.get(&envelope.source).map_or(0, |fresh| fresh.series);
        if self.admission.is_some_and(|(a, now)| new >= a.series.open_to(&envelope.source, of_source - new, now)) {
            return Err(DeadReason::TooManyNew);
        }
        let node = self.node(envelope, &reading.node)?;
        self.plan.fresh.entry(Arc::clone(&envelope.source)).or_default().series += 1;
        self.series_of_source.insert(Arc::clone(&envelope.source), of_source + 1);
        let id = self.next_series;
        self.next_series += 1;
        self.plan.series.push(Series {
            id,
            node,
            metric: Arc::clone(&reading.metric),
            own_name: reading.own_name.clone(),
            unit: reading.unit.as_deref().map(Arc::from),
            newest: None,
        });
        self.plan.series_ids.insert((node, Arc::clone(&reading.metric)), id);
        Ok(id)
    }
}
