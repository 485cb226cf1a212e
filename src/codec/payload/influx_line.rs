//! `influx-line`: InfluxDB's line protocol, as Telegraf and many devices send it, over MQTT or a serial port.
//!
//! `measurement[,tag=value...] field=value[,field=value...] [timestamp]`, one point a line ([`point`] has the grammar).
//!
//! **Node.** In the line protocol the measurement and all tags together identify a series; a node's name must be short and stay
//! when a tag changes that only describes. So the tags in [`IDENTITY`] name the node, in the order of that list and joined by
//! `/`: `host=pi,cpu=cpu0` is `pi/cpu0`. Also a tag that has the measurement's name, one whose last word is `device`, `node`,
//! `sensor`, `station`, `room` or `location` (`huebridge_device`), and one with `_id` behind a name of the list where the tag
//! without it is missing. Other tags are left out; where there are no others, all tags name the node, by the order of their keys.
//! Without tags it is the topic's or port's name. A pattern's `{node}` comes before all of this; then the identifying tags that
//! are not that name stand before the metric (`cpu0.cpu.usage_idle`), so that no two series become one.
//!
//! **Metric.** A field with a name of the vocabulary ([`names`]) is that metric. `value`, `gauge` and `counter` are named after
//! the measurement. Others are `measurement.field`, since `mem` and `swap` both have a `used_percent`.
//!
//! **Values.** Floats, integers (`i`), unsigned ones (`u`) and booleans are readings; text in quotes is a reading where it is a
//! number or a switch, and else an event.
//!
//! **Time.** The timestamp's magnitude tells its unit (ns, us, ms, s), as [`time::from_integer`] has it; without one, or with 0,
//! the arrival counts.

use std::sync::Arc;

use super::found::Found;
use super::scalar::{Scalar, of_text};
use super::vocabulary::{Term, entry};
use super::{Message, names};
use crate::codec::time;
use crate::reading::{DeadLetter, DeadReason, Decoded, When};
use point::{Point, Value};

mod point;

/// Tags that identify, in the order in which they stand in a node's name.
pub const IDENTITY: [&str; 35] = [
    "host",
    "hostname",
    "gateway",
    "site",
    "building",
    "location",
    "area",
    "room",
    "city",
    "place",
    "station",
    "node",
    "device",
    "dev",
    "dev_eui",
    "entity_id",
    "sensor",
    "name",
    "id",
    "serial",
    "mac",
    "chip",
    "feature",
    "channel",
    "cpu",
    "core",
    "interface",
    "path",
    "instance",
    "phase",
    "port",
    "zone",
    "container_name",
    "server",
    "forecast",
];

/// Last words of tags that identify.
const IDENTITY_WORDS: [&str; 6] = ["device", "node", "sensor", "station", "room", "location"];

/// Tags of one line that are looked at; the others are left out.
const MAX_TAGS: usize = 64;

/// Bad lines of a text that become dead letters of their own; one more tells how many others there were.
pub const MAX_BAD_LINES: usize = 20;

/// Whose lines they are.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The node that the topic's pattern names: it is the node of all lines.
    pub node: Option<&'a str>,
    /// The node of a line without tags: the topic, or the port's name.
    pub fallback: &'a str,
}

/// Whether every line is a point. A measurement with `=` is none: `temp=21 hum=40` is another's format.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(text) = message.text() else { return false };
    if text.starts_with(['{', '[', '<', '"']) {
        return false;
    }
    let mut points = 0;
    for line in text.lines().filter(|line| !is_blank(line)) {
        match Point::parse(line) {
            Ok(point) if !point.measurement.raw().contains('=') => points += 1,
            _ => return false,
        }
    }
    points > 0
}

/// Decodes one message.
pub fn decode(message: &Message<'_>) -> Decoded {
    match message.text() {
        Ok(text) => decode_lines(text, Origin { node: message.node, fallback: message.topic }),
        Err(refused) => refused,
    }
}

/// Decodes lines. A line that is no point is a dead letter, which names line and column; the others are kept.
pub fn decode_lines(text: &str, origin: Origin<'_>) -> Decoded {
    let mut found = Found::new(text.as_bytes());
    let mut bad: Vec<DeadLetter> = Vec::new();
    let mut faults = 0_usize;
    let mut points = 0_usize;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !is_blank(line)) {
        points += 1;
        match Point::parse(line) {
            Ok(point) => put(&point, origin, &mut found),
            Err(fault) => {
                faults += 1;
                if faults <= MAX_BAD_LINES {
                    let detail = format!("line {}, column {}: expected {}", index + 1, fault.column, fault.expected);
                    bad.push(DeadLetter::new(DeadReason::Malformed, detail, line.as_bytes()));
                }
            }
        }
    }
    if faults > MAX_BAD_LINES {
        found.dead(DeadReason::Malformed, format!("{} more lines are no points", faults - MAX_BAD_LINES));
    }
    let mut decoded = if points == 0 {
        found.finish_expecting("a line such as `weather,location=home temperature=21.5`")
    } else {
        found.finish()
    };
    decoded.dead.append(&mut bad);
    decoded
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The readings and events of one point.
fn put(point: &Point<'_>, origin: Origin<'_>, found: &mut Found<'_>) {
    let measurement = point.measurement.plain();
    let (node, prefix) = identity(point, &measurement, origin);
    let node: Arc<str> = Arc::from(node);
    let when = match point.timestamp {
        None | Some(0) => When::Arrival,
        Some(stamp) => match time::from_integer(stamp) {
            Some(ts) => When::Live(ts),
            None => {
                found.bad_time(&node, "timestamp", &stamp.to_string());
                When::Arrival
            }
        },
    };
    let keys: Vec<_> = point.fields.iter().map(|(key, _)| key.plain()).collect();
    let names: Vec<&str> = keys.iter().map(|key| &**key).collect();
    for ((term, key), (_, value)) in names::terms(&names).into_iter().zip(&names).zip(&point.fields) {
        let term = qualified(term, key, &measurement, &prefix);
        let text;
        let mut switch = matches!(value, Value::Switch(_));
        let scalar = match value {
            Value::Number(value) => Scalar::Value(*value),
            Value::Switch(on) => Scalar::Value(f64::from(u8::from(*on))),
            Value::TooLarge(digits) => Scalar::TooLarge(digits),
            Value::Text(quoted) => {
                text = quoted.plain();
                switch = names::is_switch(&text);
                of_text(&text)
            }
        };
        let term = if switch { names::of_switch(term) } else { term };
        match scalar {
            Scalar::Text(text) => found.event(&node, &term.metric, text, when),
            scalar => {
                found.scalar(&node, key, &term, scalar, when);
            }
        }
    }
}

/// A field's term with the metric's name that no other measurement or tag has.
fn qualified<'a>(term: Term<'a>, key: &str, measurement: &'a str, prefix: &str) -> Term<'a> {
    let named = entry(&term.metric).is_some();
    let mut term = match key {
        "value" | "gauge" | "counter" => names::term(measurement),
        _ if named => term,
        _ => Term { metric: format!("{measurement}.{}", term.metric).into(), ..term },
    };
    if !prefix.is_empty() {
        term.metric = format!("{prefix}{}", term.metric).into();
    }
    term
}

/// The node, and what stands before its metrics.
fn identity(point: &Point<'_>, measurement: &str, origin: Origin<'_>) -> (String, String) {
    let tags: Vec<(String, String)> = point
        .tags
        .iter()
        .take(MAX_TAGS)
        .map(|(key, value)| (key.plain().into_owned(), value.plain().into_owned()))
        .collect();
    let place = |key: &str| IDENTITY.iter().position(|known| *known == key);
    let mut named: Vec<(usize, &str, &str)> = Vec::new();
    for (key, value) in &tags {
        let lower = key.to_ascii_lowercase();
        let without_id = lower
            .strip_suffix("_id")
            .filter(|base| place(base).is_some() && !tags.iter().any(|(other, _)| other.eq_ignore_ascii_case(base)));
        let last = lower.rsplit(['_', '-', '.']).next().unwrap_or_default();
        let at = place(&lower)
            .or_else(|| without_id.and_then(place))
            .or_else(|| IDENTITY_WORDS.contains(&last).then(|| place(last)).flatten())
            .or_else(|| (key == measurement).then_some(IDENTITY.len()));
        if let Some(at) = at {
            named.push((at, key, value));
        }
    }
    if named.is_empty() {
        named = tags.iter().map(|(key, value)| (0, &**key, &**value)).collect();
    }
    named.sort_unstable();
    let values = named.iter().map(|(_, _, value)| *value);
    match origin.node {
        Some(node) => {
            let parts = node.split('/');
            let others = values.filter(|value| *value != node && !parts.clone().any(|part| part == *value));
            (node.to_owned(), others.map(|value| format!("{value}.")).collect())
        }
        None if named.is_empty() => (origin.fallback.to_owned(), String::new()),
        None => (values.collect::<Vec<_>>().join("/"), String::new()),
    }
}

#[cfg(test)]
mod tests;
