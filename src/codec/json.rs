//! JSON as sensors publish it: an object of values, a bare value, or an array of objects.
//!
//! - Every number and boolean of an object is a reading whose own name is its path: `{"a": {"b": 1, "c": [true]}}` gives `a.b` 1 and
//!   `a.c.0` 1. Booleans are 0 and 1, and so are `ON`, `OFF`, `"true"`, `"false"`; numbers in quotes are numbers. Null, empty text, NaN,
//!   `unavailable` and the like are values that the sender does not have: nothing.
//! - The last part of a path, or its last two, that the vocabulary knows has the vocabulary's name and unit
//!   ([`names::at_path`](super::payload::names::at_path)): `bme280.temp` is `bme280.temperature` in degC. `{"value": 70, "unit": "F"}` is in
//!   its unit. Two leaves of an object never become one metric: the later one keeps its own name.
//! - Other texts are events whose kind is the path, but for those that only describe (ids, addresses, versions, names: see
//!   [`texts`](super::payload::texts)) and elements of arrays; `online` and `offline` in `status`, `state` and the like are the node's
//!   availability. Whoever decodes leaves out a state that was told before.
//! - A bare number or boolean is one reading, of the metric that the topic names, or `value`.
//! - Where the topic names the metric, it stands before the path: `m.a.b`.
//! - Each object of an outermost array is decoded on its own, with its own time. Other elements of such an array are
//!   named by their index: `value.0`, or `m.0`.
//! - Where an object has a path twice, the last value wins, as in most parsers; this also holds where the two are written
//!   differently, as in `{"a.b": 1, "a": {"b": 2}}`.
//! - A leaf that cannot be stored (a number beyond a 64-bit float, a name that is empty, too long, or has control
//!   characters) becomes a dead letter, and the others are kept.
//! - Numbers become the nearest 64-bit float, whatever their length.

use std::sync::Arc;

use super::leaves::{self, Plan};
use super::time::Local;
use crate::reading::{DeadLetter, DeadReason, Decoded};

pub use super::leaves::MAX_VALUES;

/// What the topic and the configuration say about a message.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The metric that the topic names.
    pub metric: Option<&'a str>,
    /// Path (`a.b`) of the field that holds the time of an object's readings. It is no reading itself. Where the object
    /// does not have it, or has null there, the arrival counts; where it holds no time (see [`super::time`]), an event of
    /// the kind `clock` says so as well, once for a message. Without it the time is in a field with the name of one
    /// ([`time_fields`](super::payload::time_fields)), if that holds a time of the years 2015 to 2100; it is that of all leaves of the object that it
    /// is in.
    pub time: Option<&'a str>,
    /// How a time without a zone is read.
    pub local: Local,
}

/// Decodes one message. Gives at least one reading, event or dead letter, unless it holds only values that the sender does not have; never more than [`MAX_VALUES`] readings, and the first
/// ones where there are more.
///
/// The memory it takes grows with the readings, not with the message. Nesting ends at 127 levels (`serde_json`'s limit):
/// what is deeper is malformed.
pub fn decode(payload: &[u8], options: &Options<'_>) -> Decoded {
    let names = [("node", Some(options.node)), ("metric", options.metric)];
    for (what, name) in names {
        if let Some(fault) = name.and_then(leaves::name_fault) {
            let dead = vec![DeadLetter::new(DeadReason::BadName, format!("the {what}'s name {fault}"), payload)];
            return Decoded { dead, ..Decoded::default() };
        }
    }
    let Options { node, metric, time, local } = *options;
    let plan = Plan { node: Arc::from(node), metric, time, find_time: time.is_none(), local, node_field: None };
    leaves::decode(payload, plan)
}

#[cfg(test)]
mod tests;
