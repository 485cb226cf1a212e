//! `sparkplug-b`: Eclipse Sparkplug B, whose births tell names, types and units, and whose data may come by alias alone.
//!
//! - **Node**: the edge node's descriptor `GROUP/EDGE_NODE`, which the specification has unique, and `GROUP/EDGE_NODE/DEVICE`. Patterns do not
//!   change it.
//! - **Metric**: the name as it is; where it is one of the vocabulary's in any case (`Temperature`), that one. The property `engUnit` of
//!   a birth is its unit; without it only the vocabulary's names have one.
//! - All integers, floats and booleans are readings, in births as well. Signed integers travel as unsigned ones of the same bits, of 8, 16, 32 or
//!   64; beyond 2^53 a 64-bit one loses digits. A `Float` is the shortest decimal number that gives it. Strings that are numbers are
//!   readings; others are events when they come as data, and in births nothing. A template's members are `NAME/MEMBER`.
//!   DateTime, UUID, DataSet, Bytes, File and definitions of templates are nothing.
//! - `bdSeq`, `Node Control/...`, `Device Control/...` and `Properties/...` serve the protocol or describe the device: no readings. The same
//!   for `is_null`, and for `is_transient`, by which the sender asks not to store the value.
//! - **Time**: the metric's timestamp, or else the payload's; `is_historical` marks a stored value.
//! - **Availability**: births and deaths. A death whose `bdSeq` is not that of the session is old and ignored; the death of an edge node is
//!   that of its devices.
//! - **Rebirth**: where an edge node or device sends data whose birth was not heard, an alias is not known, or a sequence number is missing,
//!   the result has the command that asks for the births again: once a minute for an edge node, by the arrival's time
//!   or, without it, by the payload's. A value by an unknown alias is a dead letter; all others are kept.
//! - Commands and states of hosts give nothing. JSON as in the specification's examples is read too, and payloads compressed with
//!   GZIP or DEFLATE.

use std::sync::Arc;

use prost::Message as _;
use prost::bytes::Bytes;

use super::found::Found;
use super::scalar::{Scalar, of_f32, of_text};
use super::vocabulary::Term;
use super::{MAX_VALUES, Message, names};
use crate::codec::leaves::shown;
use crate::codec::time;
use crate::reading::{DeadReason, Decoded, Timestamp, When};
use memory::{Definition, Device, Edges};
use payload::{read, rebirth};
use proto::{Metric, Payload, Template, Value, datatype};
use topic::{Kind, Topic};

mod memory;
mod payload;
mod proto;
mod topic;

pub use memory::{MAX_DEVICES, MAX_EDGE_METRICS, MAX_EDGES, MAX_METRICS};
pub use payload::MAX_INFLATED;

/// Templates in each other.
const MAX_DEPTH: usize = 4;
/// Faults of one message that become dead letters of their own.
const MAX_FAULTS: usize = 20;

/// A message to publish (QoS 0, not retained): it asks an edge node for its births.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebirth {
    /// `spBv1.0/GROUP/NCMD/EDGE_NODE`
    pub topic: String,
    /// `Node Control/Rebirth` = true.
    pub payload: Vec<u8>,
    /// Why, for the log.
    pub reason: &'static str,
}

/// What a message gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparkplug {
    /// Its readings, events and dead letters.
    pub decoded: Decoded,
    /// What to publish now.
    pub rebirth: Option<Rebirth>,
}

/// Decodes the messages of all edge nodes of a source, and remembers their births.
#[derive(Debug, Default)]
pub struct SparkplugB {
    edges: Edges,
}

/// Whether this is a message of the specification, by its topic, with a payload that can be read.
pub fn recognises(message: &Message<'_>) -> bool {
    match Topic::parse(message.topic) {
        Some(Topic { kind: Kind::Other, .. }) => message.topic.starts_with("spBv1.0/"),
        Some(_) => read(message.payload).is_ok(),
        None => false,
    }
}

/// What a message's metrics are put with.
struct Place<'a> {
    key: &'a str,
    device: Option<&'a str>,
    node: Arc<str>,
    birth: bool,
    /// The payload's timestamp.
    sent: Option<u64>,
}

/// What went wrong with a message's metrics.
#[derive(Default)]
struct Faults {
    count: usize,
    /// Values whose alias is not known, and the first of those.
    unknown: usize,
    alias: u64,
    /// Values that need a type that is not known.
    untyped: usize,
}

impl SparkplugB {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one message.
    pub fn decode(&mut self, message: &Message<'_>) -> Sparkplug {
        let mut found = Found::new(message.payload);
        let Some(topic) = Topic::parse(message.topic) else {
            found.dead(DeadReason::Malformed, "the topic: expected spBv1.0/GROUP/TYPE/EDGE_NODE or .../DEVICE");
            return Sparkplug { decoded: found.finish(), rebirth: None };
        };
        if topic.kind == Kind::Other {
            return Sparkplug::default();
        }
        let payload = match read(message.payload) {
            Ok(payload) => payload,
            Err(expected) => {
                found.dead(DeadReason::Malformed, format!("expected {expected}"));
                return Sparkplug { decoded: found.finish(), rebirth: None };
            }
        };
        let key = format!("{}/{}", topic.group, topic.edge);
        let reason = self.apply(&topic, &key, &payload, &mut found);
        let at = message.local.arrival.or_else(|| payload.timestamp.and_then(timestamp));
        let asked = reason.filter(|_| self.edges.ask(&key, at)).map(|reason| Rebirth {
            topic: format!("spBv1.0/{}/NCMD/{}", topic.group, topic.edge),
            payload: rebirth(at.map_or(0, |at| u64::try_from(at.micros() / 1_000).unwrap_or(0))),
            reason,
        });
        Sparkplug { decoded: found.finish(), rebirth: asked }
    }

    /// Takes a message in. Gives the reason why births are needed, where they are.
    fn apply(
        &mut self,
        topic: &Topic<'_>,
        key: &str,
        payload: &Payload,
        found: &mut Found<'_>,
    ) -> Option<&'static str> {
        let name = topic.device.map_or_else(|| key.to_owned(), |device| format!("{key}/{device}"));
        let birth = matches!(topic.kind, Kind::NodeBirth | Kind::DeviceBirth);
        let node = Arc::from(name);
        let place = Place { key, device: topic.device, node, birth, sent: payload.timestamp };
        let when = payload.timestamp.and_then(timestamp).map_or(When::Arrival, When::Live);
        let born = self.edges.heard(key).born;
        match topic.kind {
            Kind::NodeBirth => {
                self.edges.clear(key);
                let edge = self.edges.heard(key);
                edge.bd_seq = bd_seq(payload);
                edge.born = true;
                sequence(edge, payload.seq);
                self.edges.clear_device(key, None, false);
                found.availability(&place.node, true, when);
                self.metrics(&place, payload, found)
            }
            Kind::NodeDeath => {
                let edge = self.edges.heard(key);
                // The will of an older session, which the broker sends when it notices at last.
                if matches!((edge.bd_seq, bd_seq(payload)), (Some(session), Some(death)) if session != death) {
                    return None;
                }
                let devices = edge.devices();
                edge.born = false;
                self.edges.clear(key);
                // A will has the time of the connection, not that of the death.
                found.availability(&place.node, false, When::Arrival);
                for device in devices {
                    found.availability(&Arc::from(format!("{key}/{device}")), false, When::Arrival);
                }
                None
            }
            Kind::DeviceBirth => {
                let gap = sequence(self.edges.heard(key), payload.seq);
                self.edges.clear_device(key, topic.device, false);
                found.availability(&place.node, true, when);
                let missing = self.metrics(&place, payload, found);
                missing.or_else(|| needed(born, gap))
            }
            Kind::DeviceDeath => {
                let gap = sequence(self.edges.heard(key), payload.seq);
                self.edges.clear_device(key, topic.device, true);
                found.availability(&place.node, false, when);
                needed(born, gap)
            }
            Kind::NodeData | Kind::DeviceData => {
                let edge = self.edges.heard(key);
                let gap = sequence(edge, payload.seq);
                let known = edge.device(topic.device).is_some();
                let full = edge.devices().len() >= MAX_DEVICES;
                let missing = self.metrics(&place, payload, found);
                let stranger = (!known && !full).then_some("data of a device whose birth was not heard");
                missing.or_else(|| needed(born, gap)).or(stranger)
            }
            Kind::Other => None,
        }
    }

    /// The metrics of a birth or of data.
    fn metrics(&mut self, place: &Place<'_>, payload: &Payload, found: &mut Found<'_>) -> Option<&'static str> {
        let mut faults = Faults::default();
        for (index, bytes) in payload.metrics.iter().enumerate() {
            match Metric::decode(bytes.clone()) {
                Ok(metric) => self.metric(place, metric, "", 0, found, &mut faults),
                Err(e) => {
                    faults.count += 1;
                    if faults.count <= MAX_FAULTS {
                        found.dead(DeadReason::Malformed, format!("metric {}: expected protobuf: {e}", index + 1));
                    }
                }
            }
        }
        if faults.count > MAX_FAULTS {
            found.dead(DeadReason::Malformed, format!("{} more metrics are not protobuf", faults.count - MAX_FAULTS));
        }
        let overfull = self.device(place).is_some_and(|device| device.overfull);
        if faults.unknown > 0 {
            let why = if overfull {
                "expected fewer metrics in a birth than this one had"
            } else {
                "expected a birth that tells it"
            };
            let detail = format!("{} metrics by alias, the first {}: {why}", faults.unknown, faults.alias);
            found.dead(DeadReason::Malformed, detail);
        }
        if faults.untyped > 0 {
            let detail =
                format!("{} integers may be negative: expected their datatype, here or in a birth", faults.untyped);
            found.dead(DeadReason::BadNumber, detail);
        }
        (faults.unknown + faults.untyped > 0 && !overfull).then_some("a metric that no birth has told")
    }

    fn device(&self, place: &Place<'_>) -> Option<&Device> {
        self.edges.get(place.key)?.device(place.device)
    }

    /// One metric, or a member of a template whose name is `above`.
    fn metric(
        &mut self,
        place: &Place<'_>,
        metric: Metric,
        above: &str,
        depth: usize,
        found: &mut Found<'_>,
        faults: &mut Faults,
    ) {
        let own = metric.name.filter(|name| !name.is_empty());
        let name = own.map(|name| if above.is_empty() { name } else { format!("{above}/{name}") });
        let unit = metric.properties.as_ref().and_then(|set| set.text("engUnit"));
        if place.birth
            && let Some(name) = &name
        {
            let definition =
                Definition { name: name.clone(), datatype: metric.datatype, unit: unit.clone().unwrap_or_default() };
            self.edges.define(place.key, place.device, metric.alias, definition);
        }
        let device = self.device(place);
        let known = match &name {
            Some(name) => device.and_then(|device| device.by_name(name)),
            None => metric.alias.and_then(|alias| device.and_then(|device| device.by_alias(alias))),
        };
        let Some(name) = name.as_deref().or(known.map(|known| &*known.name)) else {
            faults.unknown += 1;
            if faults.unknown == 1 {
                faults.alias = metric.alias.unwrap_or_default();
            }
            return;
        };
        let transient = metric.is_transient == Some(true) || metric.is_null == Some(true);
        if transient || is_protocol(name) {
            return;
        }
        let datatype = metric.datatype.filter(|index| *index != 0).or(known.and_then(|known| known.datatype));
        if let Some(Value::Template(bytes)) = &metric.value {
            let name = name.to_owned();
            self.template(place, bytes, &name, depth, found, faults);
            return;
        }
        let when = moment(metric.timestamp.or(place.sent), metric.is_historical == Some(true), &place.node, found);
        let unit = unit.as_deref().or(known.map(|known| &*known.unit)).unwrap_or_default();
        let term = if unit.is_empty() {
            names::metric_of(name).map_or_else(|| Term::unknown(name), Term::named)
        } else {
            names::in_unit(name, unit)
        };
        match meaning(metric.value.as_ref(), datatype) {
            Meaning::Switch(on) => {
                found.value(&place.node, name, &names::of_switch(term), f64::from(u8::from(on)), when);
            }
            Meaning::Number(value) if value.is_finite() => found.value(&place.node, name, &term, value, when),
            Meaning::Text(text) => match of_text(text) {
                Scalar::Text(text) if !place.birth => found.event(&place.node, name, text, when),
                scalar => {
                    found.scalar(&place.node, name, &term, scalar, when);
                }
            },
            Meaning::Untyped => faults.untyped += 1,
            Meaning::Number(_) | Meaning::Nothing => {}
        }
    }

    /// The members of a template's instance.
    fn template(
        &mut self,
        place: &Place<'_>,
        bytes: &Bytes,
        name: &str,
        depth: usize,
        found: &mut Found<'_>,
        faults: &mut Faults,
    ) {
        let template = match Template::decode(bytes.clone()) {
            Ok(template) if depth < MAX_DEPTH => template,
            _ => {
                faults.count += 1;
                if faults.count <= MAX_FAULTS {
                    let expected = "expected a template, and at most 4 in each other";
                    found.dead(DeadReason::Malformed, format!("metric `{}`: {expected}", shown(name)));
                }
                return;
            }
        };
        if template.is_definition == Some(true) {
            return;
        }
        for member in template.metrics.iter().take(MAX_VALUES) {
            match Metric::decode(member.clone()) {
                Ok(metric) => self.metric(place, metric, name, depth + 1, found, faults),
                Err(_) => faults.count += 1,
            }
        }
    }
}

/// Why births are needed.
fn needed(born: bool, gap: bool) -> Option<&'static str> {
    if born {
        gap.then_some("messages are missing before this one")
    } else {
        Some("an edge node whose birth was not heard")
    }
}

/// Whether messages are missing before this one. The same number again is the same message again.
fn sequence(edge: &mut memory::Edge, seq: Option<u64>) -> bool {
    let Some(seq) = seq.and_then(|seq| u8::try_from(seq).ok()) else { return false };
    let expected = edge.next_seq.replace(seq.wrapping_add(1));
    expected.is_some_and(|expected| expected != seq && expected != seq.wrapping_add(1))
}

/// The number of the session, of a birth or death.
fn bd_seq(payload: &Payload) -> Option<u64> {
    payload.metrics.iter().take(MAX_VALUES).find_map(|bytes| {
        let metric = Metric::decode(bytes.clone()).ok()?;
        match (metric.name.as_deref(), metric.value) {
            (Some("bdSeq"), Some(Value::Long(seq))) => Some(seq),
            (Some("bdSeq"), Some(Value::Int(seq))) => Some(seq.into()),
            _ => None,
        }
    })
}

/// Metrics that serve the protocol, or describe the device.
fn is_protocol(name: &str) -> bool {
    name == "bdSeq" || ["Node Control/", "Device Control/", "Properties/"].iter().any(|kind| name.starts_with(kind))
}

/// Milliseconds since 1970, or what a sender took for it.
fn timestamp(stamp: u64) -> Option<Timestamp> {
    time::from_integer(i64::try_from(stamp).ok().filter(|stamp| *stamp != 0)?)
}

/// When a value was taken.
fn moment(stamp: Option<u64>, historical: bool, node: &Arc<str>, found: &mut Found<'_>) -> When {
    let Some(stamp) = stamp.filter(|stamp| *stamp != 0) else { return When::Arrival };
    match timestamp(stamp) {
        Some(ts) if historical => When::Stored(ts),
        Some(ts) => When::Live(ts),
        None => {
            found.bad_time(node, "timestamp", &stamp.to_string());
            When::Arrival
        }
    }
}

/// What a metric's value means.
enum Meaning<'a> {
    Switch(bool),
    Number(f64),
    Text(&'a str),
    Nothing,
    /// An integer whose sign depends on its type, which is not known.
    Untyped,
}

/// A value of a type; `None` where the type is not known.
fn meaning(value: Option<&Value>, datatype: Option<u32>) -> Meaning<'_> {
    let (bits, wide) = match value {
        Some(Value::Int(bits)) => (u64::from(*bits), false),
        Some(Value::Long(bits)) => (*bits, true),
        Some(Value::Float(value)) => return Meaning::Number(of_f32(*value)),
        Some(Value::Double(value)) => return Meaning::Number(*value),
        Some(Value::Boolean(value)) => return Meaning::Switch(*value),
        Some(Value::Text(text)) => {
            let is_text = matches!(datatype, None | Some(datatype::STRING | datatype::TEXT));
            return if is_text { Meaning::Text(text) } else { Meaning::Nothing };
        }
        Some(Value::Binary(_) | Value::DataSet(_) | Value::Template(_)) | None => return Meaning::Nothing,
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "signed integers travel as the lowest bits of unsigned ones, and every number is stored as a 64-bit float"
    )]
    Meaning::Number(match datatype {
        Some(datatype::INT8) => f64::from(bits as u8 as i8),
        Some(datatype::INT16) => f64::from(bits as u16 as i16),
        Some(datatype::INT32) => f64::from(bits as u32 as i32),
        Some(datatype::INT64) => bits as i64 as f64,
        Some(
            datatype::UINT8
            | datatype::UINT16
            | datatype::UINT32
            | datatype::UINT64
            | datatype::FLOAT
            | datatype::DOUBLE,
        ) => bits as f64,
        Some(datatype::BOOLEAN) => return Meaning::Switch(bits != 0),
        Some(datatype::DATE_TIME | datatype::STRING..=datatype::TEMPLATE) => return Meaning::Nothing,
        // Where no type of up to that many bits has its sign, the number is the same with and without one.
        None if !matches!(bits, 0x80..=0xff | 0x8000..=0xffff)
            && bits <= if wide { i64::MAX as u64 } else { 0x7fff_ffff } =>
        {
            bits as f64
        }
        _ => return Meaning::Untyped,
    })
}

#[cfg(test)]
mod tests;
