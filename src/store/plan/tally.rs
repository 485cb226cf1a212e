//! What counts against the quality of a series before anything is stored: redelivered readings, and those of a node whose
//! clock is wrong. An event tells of such a clock once an hour.

use std::sync::Arc;

use super::{EventRow, Planner};
use crate::reading::{CLOCK_EVENT, Envelope, Event, Timestamp, When};

impl Planner<'_> {
    /// Counts the readings of a message that was committed before.
    pub(super) fn redelivered(&mut self, envelope: &Envelope) {
        self.plan.redelivered += envelope.content.readings.len() as u64;
        for reading in &envelope.content.readings {
            // They are there, unless they were refused.
            let node = self.catalog.find_node(&envelope.source, &reading.node);
            if let Some(series) = node.and_then(|node| self.catalog.find_series(node.id, &reading.metric)) {
                self.plan.tally.entry(series.id).or_default().duplicates += 1;
            }
        }
    }

    /// Counts a reading whose time cannot be right.
    pub(super) fn clock_error(&mut self, series: i32) {
        self.plan.tally.entry(series).or_default().clock_errors += 1;
    }

    /// Tells that a reading has been stamped here, because its own time cannot be right.
    pub(super) fn impossible(&mut self, envelope: &Envelope, node: &Arc<str>, ts: Timestamp) {
        let Ok(node) = self.node(envelope, node) else { return };
        self.tell(EventRow {
            node,
            ts: envelope.arrival.at,
            kind: Arc::from(CLOCK_EVENT),
            data: format!("impossible time {} us, stamped at arrival", ts.micros()),
            known_by_time: false,
        });
    }

    /// One event an hour for each node: a clock that is wrong is so in every message.
    pub(super) fn tell(&mut self, event: EventRow) {
        if !self.plan.clock_told.contains_key(&event.node) && self.catalog.ledger.may_tell(event.node, event.ts) {
            self.plan.clock_told.insert(event.node, event.ts);
            self.plan.events.push(event);
        }
    }
}

/// The node whose time could not be read in this message, if its decoder says so.
pub(super) fn unreadable(envelope: &Envelope) -> Option<Arc<str>> {
    envelope.content.events.iter().find(|e| is_of_clock(e)).map(|e| Arc::clone(&e.node))
}

/// Whether the decoder tells of a time that it could not read.
pub(super) fn is_of_clock(event: &Event) -> bool {
    &*event.kind == CLOCK_EVENT && event.when == When::Arrival
}
