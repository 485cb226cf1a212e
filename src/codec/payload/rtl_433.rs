//! `rtl_433`: what rtl_433 publishes of radio sensors at 433, 868 and 915 MHz.
//!
//! By `docs/DATA_FORMAT.md`, `docs/OPERATION.md` and `src/output_mqtt.c` of rtl_433:
//!
//! - An events topic (`rtl_433/HOST/events`) has one JSON object for a frame; a devices topic
//!   (`rtl_433/HOST/devices[/type][/model][/subtype][/channel][/id]/KEY`) one value. Both topics can be configured there. A
//!   JSON object is an event on whatever topic. For a value the levels behind `devices` name node and key; without such a
//!   level the pattern's names do, or all levels between the first and the last.
//! - **Node**: `model[/subtype][/channel][/id]`, the order of rtl_433's own topics, with every character outside of
//!   `-.A-Za-z0-9` as `_`, so that events and devices topics name a device alike, and a channel `1` is the same as number and
//!   as text. The id is part of it: model and channel alone would mix two neighbours' sensors. Of some models the id changes
//!   with the battery, and so does the node.
//! - **Time**: `time` in all shapes of `-M time`. `@0.087s` counts from the beginning of a recording: the arrival counts. A
//!   value of a devices topic has the time that the same device's topic `time` gave up to [`WINDOW`] before.
//! - **Repeats**: a transmitter sends a frame several times, and with both topics configured rtl_433 publishes each
//!   value twice. What equals a frame of the last [`WINDOW`] (but for time, sequence number and how it was received) is left
//!   out, through whichever receiver it came. Both the frames' own times and their arrivals must lie within the window, as
//!   far as they are known: a sensor whose values do not change is stored as often as it sends.
//! - **Names** lose the unit that they end with (`temperature_C`, `rain_in`, `pressure_PSI`), see [`names`]. `battery_ok`
//!   is a level from 0 to 1, and of most devices only 0 or 1: it keeps its name and has no unit.
//! - `rssi`, `snr` and `noise` (as `noise_floor`) are relative to full scale, in dB.
//! - **Never a reading**: identity, integrity (`mic`), modulation, frequency, sequence and message numbers, raw bytes. In JSON
//!   a text is hex or a word and never a number, whatever it looks like; only the words of switches and batteries count.
//! - **Events**: what a remote control sends (`button`, `cmd`, `event`, ...) and other words, which whoever decodes leaves out
//!   until they change.
//! - Reports of the server (`states` topics, `-M stats`) give nothing; `availability` topics are availability of the host.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::found::{Found, refused};
use super::recent::{Key, Recent, key};
use super::scalar::{Scalar, of_json, of_text};
use super::{Message, texts};
use crate::codec::time::{Local, parse_text};
use crate::reading::{DeadReason, Decoded, Timestamp, When};

pub mod names;

#[cfg(test)]
mod tests;

/// How far from its first transmission a frame is still taken for its repeat, in microseconds: longer than any burst, and shorter
/// than the shortest interval of a sensor (4 s).
pub const WINDOW: i64 = 3_000_000;

/// How many frames and values are remembered; with more of them within [`WINDOW`] a repeat may be stored again.
pub const REMEMBERED: usize = 2_048;

/// How many devices' times are remembered for their devices topics.
const REMEMBERED_TIMES: usize = 256;

/// Fields of a server's report, none of which a device has.
const REPORT: [&str; 11] = [
    "enabled",
    "since",
    "frames",
    "stats",
    "state",
    "settings",
    "src",
    "lvl",
    "center_frequency",
    "protocols",
    "sample_rate",
];

/// By which clock a frame tells its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Unknown,
    /// Microseconds since 1970.
    At(i64),
    /// Microseconds since the beginning of a recording.
    Relative(i64),
}

/// When a frame was sent and heard.
#[derive(Clone, Copy, Debug)]
struct Moment {
    own: Own,
    arrival: Option<i64>,
}

impl Moment {
    /// Whether this is near `first`; `None` where no clock tells.
    fn is_near(&self, first: &Self) -> Option<bool> {
        let near = |a: i64, b: i64| a.abs_diff(b) < WINDOW.unsigned_abs();
        let own = match (self.own, first.own) {
            (Own::At(a), Own::At(b)) | (Own::Relative(a), Own::Relative(b)) => Some(near(a, b)),
            _ => None,
        };
        let arrival = self.arrival.zip(first.arrival).map(|(a, b)| near(a, b));
        match (own, arrival) {
            (None, None) => None,
            (own, arrival) => Some(own != Some(false) && arrival != Some(false)),
        }
    }
}

/// A frame or value that was heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    moment: Moment,
    /// Where no clock tells: the value of an event whose twin on the devices topic is still to come.
    expected: bool,
}

/// The format with its memory of the last frames.
#[derive(Clone, Debug)]
pub struct Rtl433 {
    heard: Recent<Heard>,
    /// The times that devices topics gave, with their arrival.
    times: Recent<(Timestamp, Option<i64>)>,
}

impl Default for Rtl433 {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this is rtl_433's: a JSON object with a model on an events topic, or a topic below `rtl_433`.
pub fn recognises(message: &Message<'_>) -> bool {
    let mut levels = message.topic.split('/');
    let below = levels.clone().next() == Some("rtl_433");
    if levels.clone().any(|level| level.ends_with("toMQTT")) {
        return false;
    }
    let Ok(text) = message.text() else { return false };
    if text.starts_with('{') {
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else { return false };
        let device = fields.get("model").is_some_and(Value::is_string)
            && ["time", "id", "channel", "mic", "protocol", "battery_ok"].iter().any(|key| fields.contains_key(*key));
        if !fields.contains_key("model") {
            return below && REPORT.iter().any(|key| fields.contains_key(*key));
        }
        return device && (below || levels.any(|level| level == "events" || level.starts_with("rtl_433")));
    }
    let value = levels.any(|level| level == "devices")
        && !text.starts_with('[')
        && !matches!(message.topic.rsplit('/').next(), Some("events" | "states"))
        && device_topic(message).is_some();
    below && (value || is_availability(message.topic, text))
}

/// Whether this is the will of rtl_433.
fn is_availability(topic: &str, text: &str) -> bool {
    topic.rsplit('/').next() == Some("availability") && matches!(text, "online" | "offline")
}

impl Rtl433 {
    /// With nothing remembered.
    pub fn new() -> Self {
        Self { heard: Recent::new(REMEMBERED), times: Recent::new(REMEMBERED_TIMES) }
    }

    /// Forgets which messages were heard: they may come again and are not stored yet.
    pub fn forget_frames(&mut self) {
        self.heard = Recent::new(REMEMBERED);
    }

    /// Decodes one message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        let text = match message.text() {
            Ok(text) => text,
            Err(refused) => return refused,
        };
        let last = message.topic.rsplit('/').next().unwrap_or_default();
        if text.starts_with(['{', '[']) || matches!(last, "events" | "states") {
            return match message.json() {
                Ok(Value::Object(fields)) => self.event(message, &fields),
                Ok(_) => refused(DeadReason::Malformed, "expected a JSON object", message.payload),
                Err(refused) => refused,
            };
        }
        if is_availability(message.topic, text) {
            let mut found = Found::new(message.payload);
            let host = message.topic.rsplit('/').nth(1).filter(|host| !host.is_empty());
            found.availability(&message.node_or(host), text == "online", When::Arrival);
            return found.finish();
        }
        self.value(message, text)
    }

    /// A frame as one JSON object.
    pub(super) fn event(&mut self, message: &Message<'_>, fields: &Map<String, Value>) -> Decoded {
        let Some(node) = node_of(fields) else {
            if REPORT.iter().any(|key| fields.contains_key(*key)) {
                return Decoded::default();
            }
            return refused(DeadReason::NoReading, "expected a field `model` with text", message.payload);
        };
        let mut found = Found::new(message.payload);
        let (own, when) = time_of(fields.get("time"), &node, message.local, &mut found);
        let moment = Moment { own, arrival: message.local.arrival.map(Timestamp::micros) };
        if !message.retain && self.repeats(frame_key(fields), moment) {
            return Decoded::default();
        }
        let measures = fields.keys().any(|key| names::measures(key));
        for (name, value) in fields {
            if !message.retain {
                self.heard.put(value_key(&node, name, of_json(value)), Heard { moment, expected: true });
            }
            match value {
                Value::Array(elements) if !names::ignored(name) => {
                    for (n, element) in elements.iter().enumerate() {
                        field(&mut found, &node, (&format!("{name}.{n}"), name), element, when, measures);
                    }
                }
                Value::Object(inner) if !names::ignored(name) => {
                    for (key, element) in inner {
                        field(&mut found, &node, (&format!("{name}.{key}"), key), element, when, measures);
                    }
                }
                _ => field(&mut found, &node, (name, name), value, when, measures),
            }
        }
        found.finish()
    }

    /// A value of a devices topic.
    fn value(&mut self, message: &Message<'_>, text: &str) -> Decoded {
        let Some((node, name)) = device_topic(message) else {
            let detail = "expected a JSON object, or a topic that ends with a device and a key";
            return refused(DeadReason::Malformed, detail, message.payload);
        };
        let arrival = message.local.arrival.map(Timestamp::micros);
        let mut found = Found::new(message.payload);
        if name == "time" {
            let time = Value::String(text.to_owned());
            if let (Own::At(at), false) = (time_of(Some(&time), &node, message.local, &mut found).0, message.retain) {
                self.times.put(key([node.as_bytes()]), (Timestamp(at), arrival));
            }
            return found.finish();
        }
        let scalar = of_text(text);
        let moment = Moment { own: Own::Unknown, arrival };
        if !message.retain && self.repeats(value_key(&node, &name, scalar), moment) {
            return Decoded::default();
        }
        let near = |then: &&(Timestamp, Option<i64>)| {
            let then = Moment { own: Own::Unknown, arrival: then.1 };
            !message.retain && moment.is_near(&then) == Some(true)
        };
        let when =
            self.times.get(&key([node.as_bytes()])).filter(near).map_or(When::Arrival, |(time, _)| When::Live(*time));
        if names::ignored(&name) {
            return found.finish();
        }
        match scalar {
            Scalar::Text(word) => self::text(&mut found, &node, (&name, &name), word, when),
            _ if names::is_action(&name) && !matches!(scalar, Scalar::Nothing) => {
                found.event(&node, &name, text, when);
            }
            _ => {
                found.scalar(&node, &name, &names::term(&name), scalar, when);
            }
        }
        found.finish()
    }

    /// Whether `key` was heard a short while ago. If not it is remembered.
    fn repeats(&mut self, key: Key, moment: Moment) -> bool {
        let known = self.heard.get(&key).copied();
        let repeats = known.is_some_and(|heard| moment.is_near(&heard.moment).unwrap_or(heard.expected));
        if !repeats {
            self.heard.put(key, Heard { moment, expected: false });
        } else if let Some(heard) = known
            && moment.is_near(&heard.moment).is_none()
        {
            self.heard.put(key, Heard { expected: false, ..heard });
        }
        repeats
    }
}

/// One field of a frame: `name` as it is told, and the key that says what it is.
fn field(found: &mut Found<'_>, node: &Arc<str>, (name, key): (&str, &str), value: &Value, when: When, measures: bool) {
    if names::ignored(key) {
        return;
    }
    match value {
        Value::String(text) => {
            let word = text.trim();
            if !word.is_empty() {
                self::text(found, node, (name, key), word, when);
            }
        }
        Value::Number(number) if names::is_action(key) && !measures => {
            found.event(node, name, number.as_str(), when);
        }
        _ => {
            found.scalar(node, name, &names::term(name), of_json(value), when);
        }
    }
}

/// Text of a field: a switch, a number where only a number can stand, an event, or nothing.
fn text(found: &mut Found<'_>, node: &Arc<str>, (name, key): (&str, &str), word: &str, when: When) {
    let scalar = of_text(word);
    if names::is_action(key) {
        if !matches!(scalar, Scalar::Nothing) {
            found.event(node, name, word, when);
        }
    } else if let Some(switch) = names::switch(key, word) {
        let name = if key == "battery" { "battery_ok" } else { name };
        found.value(node, name, &names::term(name), switch, when);
    } else if names::measures(key) {
        found.scalar(node, name, &names::term(name), scalar, when);
    } else if matches!(scalar, Scalar::Text(_)) && (names::is_state(key) || texts::tells(key, word)) {
        found.event(node, name, word, when);
    }
}

/// `model[/subtype][/channel][/id]`; `None` without a model.
fn node_of(fields: &Map<String, Value>) -> Option<Arc<str>> {
    let part = |key: &str| match fields.get(key)? {
        Value::String(text) if !text.trim().is_empty() => Some(sanitised(text.trim())),
        Value::Number(number) => Some(sanitised(number.as_str())),
        _ => None,
    };
    let mut node = part("model")?;
    for key in ["subtype", "channel", "id"] {
        if let Some(part) = part(key) {
            node.push('/');
            node.push_str(&part);
        }
    }
    Some(Arc::from(node))
}

/// A part of a name as rtl_433 writes it into topics.
fn sanitised(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' }).collect()
}

/// Node and key of a devices topic.
fn device_topic(message: &Message<'_>) -> Option<(Arc<str>, String)> {
    let levels: Vec<&str> = message.topic.split('/').collect();
    let devices = levels.iter().position(|level| *level == "devices");
    let behind = devices.map_or(1, |at| at + 1).min(levels.len());
    let mut levels = &levels[behind..];
    if levels.len() > 2 && levels[0] == "TPMS" {
        levels = &levels[1..];
    }
    let (last, rest) = levels.split_last()?;
    // An element of an array: `KEY/0`. No key begins with a digit.
    let numbered = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    let (name, rest) = match rest.split_last() {
        Some((name, rest)) if numbered => (format!("{name}.{last}"), rest),
        _ => ((*last).to_owned(), rest),
    };
    let named = message.node.filter(|_| devices.is_none());
    let node: Arc<str> = if let Some(node) = named { Arc::from(node) } else { Arc::from(rest.join("/")) };
    let name = message.metric.map_or(name, str::to_owned);
    (!node.is_empty() && !name.is_empty()).then_some((node, name))
}

/// What the field `time` says.
fn time_of(time: Option<&Value>, node: &Arc<str>, local: Local, found: &mut Found<'_>) -> (Own, When) {
    let unknown = (Own::Unknown, When::Arrival);
    let text = match time {
        None | Some(Value::Null) => return unknown,
        Some(Value::String(text)) => text.trim(),
        Some(Value::Number(number)) => number.as_str(),
        Some(other) => {
            found.bad_time(node, "time", &other.to_string());
            return unknown;
        }
    };
    if text.is_empty() {
        return unknown;
    }
    if let Some(relative) = text.strip_prefix('@').and_then(|text| text.trim_end_matches('s').parse::<f64>().ok()) {
        // Saturates: no recording is as long as that.
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        return (Own::Relative((relative * 1e6) as i64), When::Arrival);
    }
    match parse_text(text, local) {
        Some(Timestamp(0)) => unknown,
        Some(at) => (Own::At(at.micros()), When::Live(at)),
        None => {
            found.bad_time(node, "time", text);
            unknown
        }
    }
}

/// The key of a frame: all of it but when and how it was received.
fn frame_key(fields: &Map<String, Value>) -> Key {
    let mut parts = vec![b"frame".to_vec()];
    for (name, value) in fields.iter().filter(|(name, _)| !names::of_reception(name)) {
        parts.push(name.clone().into_bytes());
        parts.push(value.to_string().into_bytes());
    }
    key(parts.iter().map(Vec::as_slice))
}

/// The key of one value of a node.
fn value_key(node: &str, name: &str, scalar: Scalar<'_>) -> Key {
    let value = match scalar {
        Scalar::Value(value) => value.to_bits().to_le_bytes().to_vec(),
        Scalar::Text(text) | Scalar::TooLarge(text) => text.as_bytes().to_vec(),
        Scalar::Nothing | Scalar::Compound => Vec::new(),
    };
    key([&b"value"[..], node.as_bytes(), name.as_bytes(), &value])
}
