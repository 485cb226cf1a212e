//! Tasmota: what its devices send by telemetry and as state, as its documentation ("MQTT", "JSON Status Responses", the pages of
//! its sensors) and its source (`i18n.h`, `xdrv_02_mqtt`, `xsns_*`) have it.
//!
//! - **Topics**: `tele/<topic>/SENSOR` and any other order that `FullTopic` gives: the last level tells the kind, the levels
//!   `tele`, `stat` and `cmnd` (in any case) the direction, all others are the device. `cmnd` and `tasmota/discovery` are nothing.
//! - **Node**: what the topic's pattern names, or else the device of the topic (`tele/pow1/SENSOR` is `pow1`). Devices that are
//!   only relayed are nodes of their own: Zigbee ones by their name or address, BLE ones by the name that Tasmota gives them, which has the end of their
//!   address, iBeacons by their UUID, major and minor.
//! - **Names**: a quantity of the vocabulary has its name (`BME280.Temperature` is `temperature`), with a sensor before it that has an
//!   index (`ds18b20_1.temperature`), or where more than one sensor of the message has the quantity (`bme280.temperature`). What
//!   the vocabulary does not know keeps its own path (`Wifi.LinkCount`). Phases and channels are counted from 1 (`power_1`).
//! - **Time**: `Epoch` where it is sent, or else `Time`, which has no zone unless it is told to have one: the device's local time.
//! - **Events**: buttons and switches that are no states, what remote controls send, read tags, the reason of a restart, and other
//!   texts of sensors (`OBIS.Status`), which whoever decodes leaves out until they change.
//! - Replies to commands on `RESULT` are nothing but for what tells a state or what happened.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Message;
use super::fields::time_of;
use super::found::{Found, refused};
use super::scalar::of_text;
use super::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

mod names;
mod sensors;
mod state;

/// A message's object with what holds for all of it.
struct Status<'f, 'm> {
    found: &'f mut Found<'m>,
    node: Arc<str>,
    when: When,
}

/// What the last level of a topic says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind<'a> {
    /// The last will.
    Will,
    Sensor,
    State,
    /// Answers to a command, and what happened.
    Result,
    /// `STATUS`, `STATUS10`: parts that are named by keys.
    Status,
    /// A single state such as `POWER1`, named by the level.
    Single(&'a str),
    /// `INFO1` to `INFO3`.
    Info,
    /// Nothing that is stored.
    Other,
}

/// A topic taken apart.
struct Topic<'a> {
    kind: Kind<'a>,
    /// It has a level `tele` or `stat`.
    prefixed: bool,
    device: String,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a str) -> Self {
        let is = |level: &str, word: &str| level.eq_ignore_ascii_case(word);
        let (device, last) = topic.rsplit_once('/').unwrap_or(("", topic));
        let prefix = device.split('/').find(|level| ["tele", "stat", "cmnd"].iter().any(|word| is(level, word)));
        let kind = match last {
            _ if topic.starts_with("tasmota/discovery/") || prefix.is_some_and(|level| is(level, "cmnd")) => {
                Kind::Other
            }
            "LWT" => Kind::Will,
            "SENSOR" | "BLE" => Kind::Sensor,
            "STATE" | "HASS_STATE" | "UPTIME" => Kind::State,
            "RESULT" => Kind::Result,
            "MARGINS" | "WARNING" | "LOGGING" => Kind::Other,
            _ if is_numbered(last, "STATUS") => Kind::Status,
            _ if is_numbered(last, "INFO") => Kind::Info,
            _ => Kind::Single(last),
        };
        let mut skipped = false;
        let levels: Vec<&str> = device
            .split('/')
            .filter(|level| {
                let skip = !skipped && Some(*level) == prefix;
                skipped |= skip;
                !skip
            })
            .collect();
        Self { kind, prefixed: prefix.is_some_and(|level| !is(level, "cmnd")), device: levels.join("/") }
    }
}

/// Whether `text` is `word`, alone or with digits behind it.
fn is_numbered(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Decodes a message.
pub fn decode(message: &Message<'_>) -> Decoded {
    let topic = Topic::of(message.topic);
    if topic.kind == Kind::Other || message.payload.trim_ascii().is_empty() {
        return Decoded::default();
    }
    let by_topic = Some(topic.device.as_str()).filter(|device| !device.is_empty());
    let node = message.node_or(by_topic);
    let text = match message.text() {
        Ok(text) => text,
        Err(dead) => return dead,
    };
    match topic.kind {
        Kind::Will => {
            let mut found = Found::new(message.payload);
            match online(text) {
                Some(online) => found.availability(&node, online, When::Arrival),
                None => found.dead(DeadReason::Malformed, "expected `Online` or `Offline`"),
            }
            return found.finish();
        }
        Kind::Single(name) if !text.starts_with('{') => {
            let mut found = Found::new(message.payload);
            found.scalar(&node, name, &Term::unknown(name), of_text(text), When::Arrival);
            return found.finish();
        }
        _ => {}
    }
    let object = match message.json() {
        Ok(Value::Object(object)) => object,
        Ok(_) => return refused(DeadReason::Malformed, "byte 0: expected a JSON object", message.payload),
        Err(dead) => return dead,
    };
    let mut found = Found::new(message.payload);
    let mut status = Status { found: &mut found, node, when: When::Arrival };
    status.time(&object, message);
    match topic.kind {
        Kind::Sensor => status.sensors(&object),
        Kind::State => status.state(&object),
        Kind::Info => status.info(&object),
        Kind::Status => {
            for (key, value) in &object {
                let Value::Object(part) = value else { continue };
                status.time(part, message);
                match key.as_str() {
                    "StatusSNS" => status.sensors(part),
                    "StatusSTS" => status.state(part),
                    _ => {}
                }
            }
        }
        _ => status.result(&object),
    }
    found.finish()
}

/// Whether a message is one of Tasmota: by the last level of its topic, `tele` or `stat` before it, and what its payload holds.
pub fn recognises(message: &Message<'_>) -> bool {
    let topic = Topic::of(message.topic);
    let text = || std::str::from_utf8(message.payload).ok().map(str::trim);
    let object = || match serde_json::from_slice(message.payload) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    };
    match topic.kind {
        Kind::Will => text().and_then(online).is_some(),
        // Without `tele` the time tells: nobody else sends a local `Time` beside such a topic.
        Kind::Sensor | Kind::State => object().is_some_and(|o| topic.prefixed || o.contains_key("Time")),
        Kind::Result | Kind::Status | Kind::Info => topic.prefixed && object().is_some(),
        Kind::Single(name) => {
            let switch = matches!(text(), Some("ON" | "OFF"));
            topic.prefixed && is_numbered(name, "POWER") && (switch || object().is_some())
        }
        Kind::Other => {
            let discovery = message.topic.starts_with("tasmota/discovery/");
            discovery || message.topic.split('/').any(|level| level == "cmnd")
        }
    }
}

fn online(text: &str) -> Option<bool> {
    match text {
        "Online" => Some(true),
        "Offline" => Some(false),
        _ => None,
    }
}

impl Status<'_, '_> {
    /// Takes the time of an object, where it has one. An epoch has no zone to be wrong.
    fn time(&mut self, object: &Map<String, Value>, message: &Message<'_>) {
        let field = ["Epoch", "Time"].into_iter().find(|field| object.get(*field).is_some_and(|time| !time.is_null()));
        if let Some(field) = field {
            self.when = time_of(self.found, &self.node, field, object.get(field), message.local);
        }
    }

    fn event(&mut self, kind: &str, data: &str) {
        if !data.trim().is_empty() {
            self.found.event(&self.node, kind, data, self.when);
        }
    }
}

#[cfg(test)]
mod tests;
