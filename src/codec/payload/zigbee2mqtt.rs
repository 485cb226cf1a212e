//! Zigbee2MQTT: what devices and groups of a Zigbee network report, as its guide "MQTT Topics and Messages" and the exposes of
//! the devices describe it, for the versions 1.6 to 2.x.
//!
//! - **Node**: what the topic's pattern names, or else the friendly name: all levels behind the base topic, slashes included.
//!   The base topic is the first level that holds `zigbee2mqtt`, or else the first level.
//! - **Topics**: `<base>/<name>` with an object; `<base>/<name>/<attribute>` with a bare value (`output: attribute`, where nested
//!   fields are joined by `-`); `<base>/<name>/availability` and `<base>/bridge/state`, as `{"state":"online"}` or, before 2.0, as
//!   bare text. The bridge is the node `bridge`. Everything else below `bridge`, `.../set` and `.../get` is nothing.
//! - **Names**: [`names`]. ON, OPEN, LOCK and their opposites are 1 and 0. `action` (and the old `click`) is an event; so are other
//!   texts (`heat`), which whoever decodes leaves out until they change. An empty action ends the one before and is nothing.
//! - **Time**: `last_seen`, where it is configured: a text with a zone, or milliseconds. A message that is published again
//!   from the cache has the time at which its device was heard.
//! - **Left out**: `device`, versions below `update`, `elapsed`, and what only tells actions apart (`action_group`,
//!   `action_transaction`, `action_source`, `action_user`).

use std::sync::Arc;

use serde_json::Value;

use super::fields::{each_leaf, switch_of, time_of};
use super::found::{Found, refused};
use super::scalar::{Scalar, of_json};
use super::vocabulary::Term;
use super::{Message, texts};
use crate::reading::{DeadReason, Decoded, When};

mod names;

/// The node of the bridge itself.
const BRIDGE: &str = "bridge";

/// Levels behind `<base>/bridge` that the bridge publishes, or that ask it for something.
const OF_BRIDGE: [&str; 15] = [
    "config",
    "converter",
    "converters",
    "definitions",
    "devices",
    "event",
    "extension",
    "extensions",
    "groups",
    "health",
    "info",
    "log",
    "logging",
    "networkmap",
    "state",
];

/// What a topic is for.
#[derive(Debug, PartialEq)]
enum Topic<'a> {
    /// The bridge's own state.
    BridgeState,
    /// Something that is no telemetry.
    Other,
    /// A device is there or gone.
    Availability(&'a str),
    /// What a device or group reports, or one of its attributes: all levels behind the base topic.
    Report(&'a str),
}

impl<'a> Topic<'a> {
    fn of(topic: &'a str) -> Self {
        let name = behind_base(topic);
        if let Some(rest) = behind_bridge(name) {
            return if rest == "state" { Self::BridgeState } else { Self::Other };
        }
        if name.split('/').skip(1).any(|level| matches!(level, "set" | "get")) {
            return Self::Other;
        }
        match name.strip_suffix("/availability") {
            Some(name) => Self::Availability(name),
            None => Self::Report(name),
        }
    }
}

/// The levels behind the base topic.
fn behind_base(topic: &str) -> &str {
    let mut at = 0;
    for level in topic.split('/') {
        at += level.len() + 1;
        if is_base(level) {
            return topic.get(at..).unwrap_or_default();
        }
    }
    topic.split_once('/').map_or("", |(_, rest)| rest)
}

fn is_base(level: &str) -> bool {
    let name = b"zigbee2mqtt";
    level.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name))
}

/// What is behind `bridge`, where that is the bridge and no part of a friendly name.
fn behind_bridge(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("bridge/").or_else(|| name.split_once("/bridge/").map(|(_, rest)| rest))?;
    let first = rest.split('/').next()?;
    (OF_BRIDGE.contains(&first) || matches!(first, "request" | "response")).then_some(rest)
}

/// Decodes a message. Every message of a device gives readings, an event, a dead letter, or, where it has only texts and nulls,
/// nothing.
pub fn decode(message: &Message<'_>) -> Decoded {
    match Topic::of(message.topic) {
        Topic::Other => Decoded::default(),
        Topic::BridgeState => availability(message, &Arc::from(BRIDGE)),
        Topic::Availability(name) => availability(message, &message.node_or(Some(name))),
        Topic::Report(_) if message.payload.trim_ascii().is_empty() => Decoded::default(),
        Topic::Report(name) if is_object(message) => match message.json() {
            Ok(state) => report(message, &message.node_or(Some(name)), &state),
            Err(dead) => dead,
        },
        Topic::Report(name) => {
            let split = message.metric.map(|metric| (name, metric)).or_else(|| name.rsplit_once('/'));
            match split {
                Some((name, attribute)) => one_attribute(message, &message.node_or(Some(name)), attribute),
                None => refused(
                    DeadReason::Malformed,
                    "byte 0: expected a JSON object with the device's state",
                    message.payload,
                ),
            }
        }
    }
}

/// Whether a message is one of Zigbee2MQTT: the base topic holds its name, or the object has `linkquality`, which nobody else
/// has, and the payload is what [`decode`] can read.
pub fn recognises(message: &Message<'_>) -> bool {
    let named = message.topic.split('/').any(is_base);
    let state = || serde_json::from_slice::<Value>(message.payload).ok();
    let is_state =
        |value: &Value| matches!(value, Value::Object(fields) if named || fields.contains_key("linkquality"));
    match Topic::of(message.topic) {
        Topic::Other => named,
        Topic::BridgeState | Topic::Availability(_) => named && online(message).is_some(),
        Topic::Report(_) if is_object(message) => state().as_ref().is_some_and(is_state),
        Topic::Report(name) => {
            named && !name.is_empty() && name.contains('/') && std::str::from_utf8(message.payload).is_ok()
        }
    }
}

fn is_object(message: &Message<'_>) -> bool {
    message.payload.trim_ascii_start().first() == Some(&b'{')
}

/// `online` or `offline`, bare or as the state of an object.
fn online(message: &Message<'_>) -> Option<bool> {
    let text = std::str::from_utf8(message.payload).ok()?.trim();
    let word = |state: &str| match state {
        "online" => Some(true),
        "offline" => Some(false),
        _ => None,
    };
    if !text.starts_with('{') {
        return word(text);
    }
    let object: Value = serde_json::from_str(text).ok()?;
    word(object.get("state")?.as_str()?)
}

fn availability(message: &Message<'_>, node: &Arc<str>) -> Decoded {
    let mut found = Found::new(message.payload);
    match online(message) {
        Some(online) => found.availability(node, online, When::Arrival),
        // The broker forgets a retained message by an empty one.
        None if message.payload.is_empty() => {}
        None => {
            let expected = "expected `online` or `offline`, bare or as `state` of a JSON object";
            found.dead(DeadReason::Malformed, expected);
        }
    }
    found.finish()
}

/// The state of a device or group.
fn report(message: &Message<'_>, node: &Arc<str>, state: &Value) -> Decoded {
    let mut found = Found::new(message.payload);
    let when = time_of(&mut found, node, "last_seen", state.get("last_seen"), message.local);
    let device = Device {
        battery: state.get("battery").is_some() || state.get("battery_low").is_some(),
        lux: state.get("illuminance_lux").is_some_and(|lux| !lux.is_null()),
    };
    for (key, value) in state.as_object().into_iter().flatten() {
        each_leaf(value, &mut key.clone(), &mut |path, leaf| field(&mut found, node, path, leaf, device, when));
    }
    found.finish()
}

/// One attribute of a device, as bare text. Nested ones are joined by `-`, which no attribute has in its own name.
fn one_attribute(message: &Message<'_>, node: &Arc<str>, attribute: &str) -> Decoded {
    let mut found = Found::new(message.payload);
    match message.text() {
        Ok(text) => {
            let value = Value::String(text.to_owned());
            field(&mut found, node, &attribute.replace('-', "."), &value, Device::default(), When::Arrival);
            found.finish()
        }
        Err(dead) => dead,
    }
}

/// What other fields of a message say about one.
#[derive(Clone, Copy, Default)]
struct Device {
    /// It has a battery: its voltage is the battery's.
    battery: bool,
    /// Its illuminance comes in lux beside the raw one.
    lux: bool,
}

/// One field with its path.
fn field(found: &mut Found<'_>, node: &Arc<str>, path: &str, value: &Value, device: Device, when: When) {
    let key = path.split('.').next().unwrap_or(path);
    match key {
        "last_seen" | "device" | "elapsed" | "action_group" | "action_transaction" | "action_source"
        | "action_user" => {}
        "update" if path.ends_with("_version") => {}
        "action" | "click" => {
            if let Value::String(text) = value
                && !text.trim().is_empty()
            {
                found.event(node, path, text, when);
            }
        }
        _ => {
            if let Some(switch) = switch_of(value).or_else(|| names::switch(value.as_str()?)) {
                found.value(node, path, &Term::unknown(path), switch, when);
                return;
            }
            let scalar = of_json(value);
            if let Scalar::Text(text) = scalar {
                if texts::tells(path, text) {
                    found.event(node, path, text, when);
                }
                return;
            }
            let number = if let Scalar::Value(number) = scalar { number } else { 0.0 };
            found.scalar(node, path, &names::term(path, number, device), scalar, when);
        }
    }
}

#[cfg(test)]
mod tests;
