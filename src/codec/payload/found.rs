//! Where a format puts what it finds in a message: checks names and values, and keeps to the bound of a message.

use std::collections::HashMap;
use std::sync::Arc;

use super::scalar::Scalar;
use super::vocabulary::Term;
use crate::codec::leaves::{MAX_VALUES, name_fault, shown};
use crate::reading::{
    AVAILABILITY_EVENT, CLOCK_EVENT, DeadLetter, DeadReason, Decoded, Event, OFFLINE, ONLINE, Reading, When,
};

/// Longest data of an event, in bytes; what is longer is cut.
pub const MAX_DATA: usize = 1_024;

/// A message that is one dead letter.
pub fn refused(reason: DeadReason, detail: impl Into<String>, payload: &[u8]) -> Decoded {
    Decoded { dead: vec![DeadLetter::new(reason, detail, payload)], ..Decoded::default() }
}

/// The beginning of the data of an event that is longer than [`MAX_DATA`], and every other as it is.
pub fn cut_data(data: &str) -> &str {
    let mut end = data.len().min(MAX_DATA);
    while !data.is_char_boundary(end) {
        end -= 1;
    }
    &data[..end]
}

/// Node, metric and time of a reading; without a time, the row that it is in.
type Series = (Arc<str>, Arc<str>, Result<i64, i64>);

/// What was found in one message so far.
#[derive(Debug)]
pub struct Found<'a> {
    payload: &'a [u8],
    values: usize,
    known: HashMap<Series, usize>,
    /// Which row of the message this is: values without a time are of one moment within a row only.
    row: i64,
    decoded: Decoded,
}

impl<'a> Found<'a> {
    /// Nothing yet; dead letters show the beginning of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { payload, values: 0, known: HashMap::new(), row: 0, decoded: Decoded::default() }
    }

    /// A value of the metric that `term` describes; `own_name` is what the publisher calls it. `term` converts the value.
    /// Where a node's metric comes twice for one time, the last value wins. What cannot be stored becomes a dead letter.
    pub fn value(&mut self, node: &Arc<str>, own_name: &str, term: &Term<'_>, value: f64, when: When) {
        self.values += 1;
        if self.values > MAX_VALUES {
            return;
        }
        let value = term.converted(value);
        let fault = (!value.is_finite())
            .then(|| (DeadReason::BadNumber, format!("`{}` does not fit into a 64-bit float", shown(own_name))))
            .or_else(|| Some((DeadReason::BadName, format!("the node's name {}", name_fault(node)?))))
            .or_else(|| Some((DeadReason::BadName, format!("the metric's name {}", name_fault(&term.metric)?))));
        if let Some((reason, detail)) = fault {
            self.dead(reason, detail);
            return;
        }
        let metric: Arc<str> = Arc::from(&*term.metric);
        let at = match when {
            When::Arrival => Err(self.row),
            When::Live(ts) | When::Stored(ts) => Ok(ts.micros()),
        };
        if let Some(&index) = self.known.get(&(Arc::clone(node), Arc::clone(&metric), at)) {
            self.decoded.readings[index].value = value;
            return;
        }
        self.known.insert((Arc::clone(node), Arc::clone(&metric), at), self.decoded.readings.len());
        let own_name = (own_name != &*metric && name_fault(own_name).is_none()).then(|| Arc::from(own_name));
        self.decoded.readings.push(Reading {
            node: Arc::clone(node),
            metric,
            own_name,
            unit: term.unit.clone(),
            when,
            value,
        });
    }

    /// Another row begins: a value without a time does not replace that of an earlier row. The store gives both the arrival,
    /// a microsecond apart.
    pub const fn next_row(&mut self) {
        self.row += 1;
    }

    /// A field of which only its value counts: a number or a switch is a reading, one that is too large a dead letter,
    /// everything else nothing. Says whether it was a reading.
    pub fn scalar(&mut self, node: &Arc<str>, own_name: &str, term: &Term<'_>, scalar: Scalar<'_>, when: When) -> bool {
        match scalar {
            Scalar::Value(value) => self.value(node, own_name, term, value, when),
            Scalar::TooLarge(text) => {
                let detail = format!("`{}` does not fit into a 64-bit float: `{}`", shown(own_name), shown(text));
                self.dead(DeadReason::BadNumber, detail);
            }
            Scalar::Nothing | Scalar::Text(_) | Scalar::Compound => {}
        }
        matches!(scalar, Scalar::Value(_))
    }

    /// Something that happened at a node; data over [`MAX_DATA`] is cut.
    pub fn event(&mut self, node: &Arc<str>, kind: &str, data: &str, when: When) {
        self.values += 1;
        if self.values > MAX_VALUES {
            return;
        }
        let fault = name_fault(node)
            .map(|fault| format!("the node's name {fault}"))
            .or_else(|| Some(format!("the event's kind {}", name_fault(kind)?)));
        if let Some(detail) = fault {
            self.dead(DeadReason::BadName, detail);
            return;
        }
        let data = cut_data(data).to_owned();
        self.decoded.events.push(Event { node: Arc::clone(node), kind: Arc::from(kind), when, data });
    }

    /// The node is there, or gone.
    pub fn availability(&mut self, node: &Arc<str>, online: bool, when: When) {
        self.event(node, AVAILABILITY_EVENT, if online { ONLINE } else { OFFLINE }, when);
    }

    /// The time of the message could not be read: its readings get the arrival, and an event says so.
    pub fn bad_time(&mut self, node: &Arc<str>, field: &str, text: &str) {
        let expected = crate::codec::time::EXPECTED;
        let data = format!("the field `{}` is `{}`: expected {expected}", shown(field), shown(text));
        self.event(node, CLOCK_EVENT, &data, When::Arrival);
    }

    /// A part of the message that cannot be decoded or stored.
    pub fn dead(&mut self, reason: DeadReason, detail: impl Into<String>) {
        self.decoded.dead.push(DeadLetter::new(reason, detail, self.payload));
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.decoded.is_empty()
    }

    /// Everything; one dead letter says how many values were over the bound.
    pub fn finish(mut self) -> Decoded {
        if self.values > MAX_VALUES {
            let detail = format!("{} values: expected at most {MAX_VALUES}, the others are not stored", self.values);
            self.dead(DeadReason::TooManyValues, detail);
        }
        self.decoded
    }

    /// As [`Found::finish`], with a dead letter where nothing was found; `expected` says what was looked for.
    pub fn finish_expecting(mut self, expected: &str) -> Decoded {
        if self.is_empty() {
            self.dead(DeadReason::NoReading, format!("expected {expected}"));
        }
        self.finish()
    }
}
