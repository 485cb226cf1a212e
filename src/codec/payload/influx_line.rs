//! `influx-line`: InfluxDB's line protocol, as Telegraf and many devices send it, over MQTT or a serial port.
//!
//! `measurement[,tag=value...] field=value[,field=value...] [timestamp]`, one point a line ([`point`] has the grammar).
//!
//! **Node.** In the line protocol the measurement and all tags together identify a series, and so they do here: the values of the
//! tags are the node, joined by `/`. Those in [`IDENTITY`] come first, in the order of that list (`host=pi,cpu=cpu0` is `pi/cpu0`),
//! also with `_id` behind such a name, or where it is the last word (`huebridge_device`); the others follow by their keys. Tags that
//! describe the place or thing that another names ([`DESCRIBING`]) are left out, so that a node is the same when they change, unless
//! there are no others. Where two points of a message would be one without them, or without their measurement, the second keeps both.
//! Without tags the node is the topic's or port's name. A pattern's `{node}` comes before all of this; then the values of the tags
//! that are not that name stand before the metric (`cpu0.cpu.usage_idle`), so that no two series become one.
//!
//! **Metric.** A field with a name of the vocabulary ([`names`]) is that metric. `value`, `gauge` and `counter` are named after
//! the measurement. Others are `measurement.field`, since `mem` and `swap` both have a `used_percent`.
//!
//! **Values.** Floats, integers (`i`), unsigned ones (`u`) and booleans are readings; text in quotes is a reading where it is a
//! number or a switch, and else an event.
//!
//! **Time.** The timestamp's magnitude tells its unit (ns, us, ms, s), as [`time::from_integer`] has it; without one, or with 0,
//! the arrival counts.

use std::collections::HashMap;
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

/// Tags that describe what others name: where it is, what it is made of. Sorted.
pub const DESCRIBING: [&str; 59] = [
    "arch",
    "brand",
    "capacity",
    "cluster",
    "condition_id",
    "condition_main",
    "container_image",
    "container_status",
    "container_version",
    "continent",
    "country",
    "datacenter",
    "dc",
    "device_class",
    "device_type",
    "distro",
    "enabled",
    "engine_host",
    "env",
    "environment",
    "firmware",
    "fstype",
    "fw",
    "geohash",
    "hardware",
    "hw_version",
    "kernel",
    "label",
    "lat",
    "latitude",
    "lon",
    "longitude",
    "manufacturer",
    "mode",
    "model",
    "os",
    "owner",
    "platform",
    "product",
    "project",
    "rack",
    "region",
    "result",
    "role",
    "season",
    "sensor_type",
    "server_version",
    "status_code",
    "sw_version",
    "team",
    "timezone",
    "type",
    "tz",
    "unit",
    "unit_of_measurement",
    "units",
    "vendor",
    "version",
    "wwn",
];

/// Last words of tags that describe.
const DESCRIBING_WORDS: [&str; 9] =
    ["enabled", "firmware", "fw", "manufacturer", "model", "type", "unit", "vendor", "version"];

/// Last words of tags that identify.
const IDENTITY_WORDS: [&str; 6] = ["device", "node", "sensor", "station", "room", "location"];

/// Tags of one line that are looked at; the others are left out. Nobody has half as many.
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
    let mut told = HashMap::new();
    let mut bad: Vec<DeadLetter> = Vec::new();
    let mut faults = 0_usize;
    let mut points = 0_usize;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !is_blank(line)) {
        points += 1;
        match Point::parse(line) {
            Ok(point) => {
                found.next_row();
                put(&point, origin, &mut told, &mut found);
            }
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

/// What the points so far have told: node, metric and timestamp, and of which measurement and with what tags left out.
type Told = HashMap<(Arc<str>, String, Option<i64>), (String, String)>;

/// The readings and events of one point.
fn put(point: &Point<'_>, origin: Origin<'_>, told: &mut Told, found: &mut Found<'_>) {
    let measurement = point.measurement.plain();
    let Identity { node, prefix, left_out } = identity(point, &measurement, origin);
    let node: Arc<str> = Arc::from(node);
    let when = match point.timestamp {
        None | Some(0) => When::Arrival,
        Some(stamp) => {
            let ts = time::from_integer(stamp);
            if ts.is_none() {
                found.bad_time(&node, "timestamp", &stamp.to_string());
            }
            ts.map_or(When::Arrival, When::Live)
        }
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
        let mut term = if switch { names::of_switch(term) } else { term };
        if let Scalar::Text(text) = scalar {
            found.event(&node, &term.metric, text, when);
            continue;
        }
        let mut node = Arc::clone(&node);
        let series = (Arc::clone(&node), term.metric.to_string(), point.timestamp);
        let same = told.entry(series).or_insert_with(|| (measurement.to_string(), left_out.clone()));
        if *same.0 != *measurement {
            term.metric = format!("{prefix}{measurement}.{key}").into();
        }
        if same.1 != left_out {
            node = Arc::from(format!("{node}/{left_out}"));
        }
        found.scalar(&node, key, &term, scalar, when);
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

/// What the tags make of a point.
struct Identity {
    node: String,
    /// Stands before its metrics.
    prefix: String,
    /// The values of the tags that only describe.
    left_out: String,
}

fn identity(point: &Point<'_>, measurement: &str, origin: Origin<'_>) -> Identity {
    let tags: Vec<(String, String)> = point
        .tags
        .iter()
        .take(MAX_TAGS)
        .map(|(key, value)| (key.plain().into_owned(), value.plain().into_owned()))
        .collect();
    let place = |key: &str| IDENTITY.iter().position(|known| *known == key);
    let has = |key: &str| tags.iter().any(|(other, _)| other.eq_ignore_ascii_case(key));
    let mut named: Vec<(usize, &str, &str)> = Vec::new();
    let mut left_out: Vec<&str> = Vec::new();
    for (key, value) in &tags {
        let lower = key.to_ascii_lowercase();
        let without_id = lower.strip_suffix("_id");
        let last = lower.rsplit(['_', '-', '.']).next().unwrap_or_default();
        let at = place(&lower)
            .or_else(|| without_id.filter(|base| !has(base)).and_then(place))
            .or_else(|| IDENTITY_WORDS.contains(&last).then(|| place(last)).flatten())
            .or_else(|| (key == measurement).then_some(IDENTITY.len()));
        // The number of a thing that another tag names.
        let describes = DESCRIBING.binary_search(&&*lower).is_ok()
            || DESCRIBING_WORDS.contains(&last)
            || without_id.is_some_and(has);
        match at {
            Some(at) => named.push((at, key, value)),
            None if describes => left_out.push(value),
            None => named.push((IDENTITY.len() + 1, key, value)),
        }
    }
    if named.is_empty() {
        named = tags.iter().map(|(key, value)| (0, &**key, &**value)).collect();
        left_out.clear();
    }
    named.sort_unstable();
    let values = named.iter().map(|(_, _, value)| *value);
    let (node, prefix) = match origin.node {
        Some(node) => {
            let parts = node.split('/');
            let others = values.filter(|value| *value != node && !parts.clone().any(|part| part == *value));
            (node.to_owned(), others.map(|value| format!("{value}.")).collect())
        }
        None if named.is_empty() => (origin.fallback.to_owned(), String::new()),
        None => (values.collect::<Vec<_>>().join("/"), String::new()),
    };
    Identity { node, prefix, left_out: left_out.join("/") }
}

#[cfg(test)]
mod tests;
