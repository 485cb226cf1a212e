//! Shelly devices: generations 2 and later by their notifications and status topics, as the documentation of their API
//! ("MQTT", "RPC Protocol", "Notifications", the components) has them, and the topics of generation 1 ([`gen1`]).
//!
//! - **Topics**: `<prefix>/events/rpc` with `NotifyStatus`, `NotifyFullStatus` and `NotifyEvent`; `<prefix>/status/<component>`;
//!   `<prefix>/online`; answers to requests, which come to `<asker>/rpc` and name their sender. Commands, requests and logs are
//!   nothing.
//! - **Node**: what the topic's pattern names, or else the prefix, which is the device's id unless it was configured otherwise;
//!   of an answer its `src`. Devices behind a Bluetooth gateway are nodes of their own: `<prefix>/bthomedevice:200`,
//!   `<prefix>/blutrv:200`, and those that a script reports by their address.
//! - **Names**: [`names`]. Of the component with the number 0 they are bare (`power`), of others the number is behind (`power_1`), of the
//!   phases of a three-phase meter the letter (`voltage_a`). What the vocabulary does not know has its component before it
//!   (`cover:0.current_pos`). A notification is partial: what it does not say has not changed and is no reading.
//! - **Time**: `ts` of the notification or event, `last_updated_ts` of what came by Bluetooth. A status topic has none.
//! - **Events**: what `NotifyEvent` tells, of the kind of its component, `errors`, and other texts of states (`opening`), which whoever
//!   decodes leaves out until they change. A minute's records of an energy meter
//!   (`data`), changes of settings and the progress of updates are left out.
//! - **Left out**: ids, addresses, revisions, Fahrenheit beside Celsius, energy by minute, times of timers.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::fields::{cut, each_leaf, of_words, switch_of, time_of};
use super::found::{Found, refused};
use super::scalar::{Scalar, of_json, of_text};
use super::vocabulary::Term;
use super::{Message, texts};
use crate::reading::{DeadReason, Decoded, When};

mod gen1;
mod names;

/// Components without a number that have a status.
const SINGLE: [&str; 16] = [
    "ble", "bthome", "cloud", "eth", "ht_ui", "knx", "matter", "modbus", "mqtt", "plugs_ui", "schedule", "sys", "ui",
    "wifi", "ws", "zigbee",
];

/// Events of a component that are no news of the device: a record for each minute, and what is said of settings and updates.
const NO_EVENTS: [&str; 3] = ["data", "config_changed", "ota_progress"];

/// What a topic is for.
#[derive(Debug, PartialEq)]
enum Topic<'a> {
    Online(&'a str),
    Notification(&'a str),
    Status(&'a str, &'a str),
    Answer,
    Gen1(&'a str, &'a str),
    Other,
    Unknown,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a str) -> Self {
        if let Some(prefix) = topic.strip_suffix("/events/rpc") {
            return Self::Notification(prefix);
        }
        let Some((head, last)) = topic.rsplit_once('/') else { return Self::Unknown };
        if let Some(prefix) = head.strip_suffix("/status")
            && (last.contains(':') || SINGLE.contains(&last))
        {
            return Self::Status(prefix, last);
        }
        if let Some(rest) = topic.strip_prefix("shellies/") {
            return rest.split_once('/').map_or(Self::Other, |(device, rest)| Self::Gen1(device, rest));
        }
        match last {
            "online" => Self::Online(head),
            "rpc" => Self::Answer,
            "command" => Self::Other,
            _ if topic.contains("/command/") || topic.ends_with("/debug/log") || head.ends_with("/events") => {
                Self::Other
            }
            _ => Self::Unknown,
        }
    }
}

/// Decodes a message.
pub fn decode(message: &Message<'_>) -> Decoded {
    let topic = Topic::of(message.topic);
    if topic == Topic::Other || message.payload.trim_ascii().is_empty() {
        return Decoded::default();
    }
    let mut found = Found::new(message.payload);
    match topic {
        Topic::Online(prefix) => {
            let text = match message.text() {
                Ok(text) => text,
                Err(dead) => return dead,
            };
            online(&mut found, &message.node_or(Some(prefix)), text);
            return found.finish();
        }
        Topic::Gen1(device, rest) => return gen1::decode(message, device, rest),
        _ => {}
    }
    let object = match message.json() {
        Ok(Value::Object(object)) => object,
        Ok(_) => return refused(DeadReason::Malformed, "byte 0: expected a JSON object", message.payload),
        Err(dead) => return dead,
    };
    let sender = object.get("src").and_then(Value::as_str);
    match topic {
        Topic::Status(prefix, component) => {
            let node = message.node_or(Some(prefix));
            self::component(&mut found, message, &node, component, &object, When::Arrival);
        }
        Topic::Notification(prefix) => notification(&mut found, message, &message.node_or(Some(prefix)), &object),
        Topic::Answer => {
            if let (Some(sender), Some(Value::Object(result))) = (sender, object.get("result")) {
                answer(&mut found, message, &Arc::from(sender), result);
            }
        }
        // A notification that someone has passed on.
        _ if sender.is_some() && object.contains_key("method") => {
            notification(&mut found, message, &message.node_or(sender), &object);
        }
        _ => {
            let expected = "expected a topic that ends in `/events/rpc`, `/status/<component>`, `/online` or `/rpc`";
            found.dead(DeadReason::NoReading, expected);
        }
    }
    found.finish()
}

/// Whether a message is one of a Shelly device: by the end of its topic and what its payload says.
pub fn recognises(message: &Message<'_>) -> bool {
    let object = || match serde_json::from_slice(message.payload) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    };
    let is_method = |object: &Map<String, Value>| {
        object.get("method").and_then(Value::as_str).is_some_and(|method| method.starts_with("Notify"))
    };
    match Topic::of(message.topic) {
        Topic::Online(_) => matches!(message.payload.trim_ascii(), b"true" | b"false"),
        Topic::Notification(_) => object().is_some_and(|object| is_method(&object)),
        // Of components without a number, such as `sys`, others could have topics too.
        Topic::Status(prefix, component) => {
            let shelly = prefix.rsplit('/').next().is_some_and(|device| device.starts_with("shelly"));
            (shelly || component.contains(':')) && object().is_some()
        }
        Topic::Answer => object().is_some_and(|object| {
            let shelly = |key| object.get(key).and_then(Value::as_str).is_some_and(|src| src.starts_with("shelly"));
            shelly("src") && (object.contains_key("result") || object.contains_key("error"))
        }),
        Topic::Gen1(_, rest) => gen1::recognises(message, rest),
        Topic::Other => message.topic.starts_with("shell"),
        Topic::Unknown => false,
    }
}

fn online(found: &mut Found<'_>, node: &Arc<str>, text: &str) {
    match text {
        "true" => found.availability(node, true, When::Arrival),
        "false" => found.availability(node, false, When::Arrival),
        _ => found.dead(DeadReason::Malformed, "expected `true` or `false`"),
    }
}

/// What a device tells unasked.
fn notification(found: &mut Found<'_>, message: &Message<'_>, node: &Arc<str>, object: &Map<String, Value>) {
    let Some(Value::Object(params)) = object.get("params") else { return };
    match object.get("method").and_then(Value::as_str) {
        Some("NotifyStatus" | "NotifyFullStatus") => {
            let when = time_of(found, node, "ts", params.get("ts"), message.local);
            components(found, message, node, params, when);
        }
        Some("NotifyEvent") => {
            let all = time_of(found, node, "ts", params.get("ts"), message.local);
            for event in params.get("events").and_then(Value::as_array).into_iter().flatten() {
                let when = match event.get("ts") {
                    Some(ts) => time_of(found, node, "ts", Some(ts), message.local),
                    None => all,
                };
                self::event(found, node, event, when);
            }
        }
        _ => {}
    }
}

/// An answer to a request. It does not say to which; a status is known by what it holds.
fn answer(found: &mut Found<'_>, message: &Message<'_>, node: &Arc<str>, result: &Map<String, Value>) {
    // The settings have the same keys as the status, but only the status tells how long the device is up.
    if let Some(sys) = result.get("sys") {
        if sys.get("uptime").is_some() {
            let when = time_of(found, node, "sys.unixtime", sys.get("unixtime"), message.local);
            components(found, message, node, result, when);
        }
        return;
    }
    let kinds = [
        ("a_act_power", "em"),
        ("total_act_energy", "em1data"),
        ("a_total_act_energy", "emdata"),
        ("act_power", "em1"),
        ("tC", "temperature"),
        ("rh", "humidity"),
        ("current_pos", "cover"),
        ("output", "switch"),
        ("battery", "devicepower"),
    ];
    let kind = kinds.iter().find(|(key, _)| result.contains_key(*key));
    if let (Some((_, kind)), Some(id)) = (kind, result.get("id").and_then(Value::as_u64)) {
        component(found, message, node, &format!("{kind}:{id}"), result, When::Arrival);
    }
}

fn components(found: &mut Found<'_>, message: &Message<'_>, node: &Arc<str>, all: &Map<String, Value>, when: When) {
    for (key, value) in all {
        if let Value::Object(status) = value {
            component(found, message, node, key, status, when);
        }
    }
}

/// The status of a component, or a part of it.
fn component(
    found: &mut Found<'_>,
    message: &Message<'_>,
    node: &Arc<str>,
    name: &str,
    status: &Map<String, Value>,
    when: When,
) {
    let name = cut(name);
    let (kind, id) = name.split_once(':').unwrap_or((name, ""));
    // A device of its own has no others beside it.
    let (device, id): (Arc<str>, _) = match kind {
        "bthomedevice" | "blutrv" => (Arc::from(format!("{node}/{name}")), ""),
        _ => (Arc::clone(node), id),
    };
    let when = match status.get("last_updated_ts") {
        Some(ts) if !ts.is_null() => time_of(found, &device, "last_updated_ts", Some(ts), message.local),
        _ => when,
    };
    for (key, value) in status {
        if names::is_no_value(key) {
            continue;
        }
        each_leaf(value, &mut key.clone(), &mut |path, leaf| {
            let own = format!("{name}.{path}");
            let text = leaf.as_str();
            if let (Some(error), Some((list, _))) = (text, path.rsplit_once('.'))
                && list.ends_with("errors")
            {
                found.event(&device, &format!("{name}.{list}"), error, when);
            } else if path.split('.').any(names::is_no_value) {
                // Below an object that has values too.
            } else if let Some(switch) = switch_of(leaf).or_else(|| names::switch(text?)) {
                found.value(&device, &own, &names::of_switch(&own, id, path), switch, when);
            } else if let Some(text) = text {
                // What the device says of its network and of itself (`got ip`, `deepsleep_wake`) is no state of what it measures.
                if !SINGLE.contains(&kind) && matches!(of_text(text), Scalar::Text(_)) && texts::tells(path, text) {
                    found.event(&device, &own, text, when);
                }
            } else {
                found.scalar(&device, &own, &names::term(&own, kind, id, path), of_json(leaf), when);
            }
        });
    }
}

/// Something that happened at a component.
fn event(found: &mut Found<'_>, node: &Arc<str>, event: &Value, when: When) {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let (Some(component), Some(name)) = (text("component"), text("event")) else { return };
    if let Some(Value::Object(data)) = event.get("data")
        && let Some(Value::String(address)) = data.get("address")
    {
        bluetooth(found, &Arc::from(address.as_str()), data, when);
        return;
    }
    if NO_EVENTS.contains(&name) {
        return;
    }
    let device: Arc<str> = match component.split_once(':') {
        Some(("bthomedevice" | "blutrv", _)) => Arc::from(format!("{node}/{component}")),
        _ => Arc::clone(node),
    };
    // A remote control with several buttons counts them.
    match event.get("idx").and_then(Value::as_u64) {
        Some(index) => found.event(&device, &format!("{component}.{index}"), name, when),
        None => found.event(&device, component, name, when),
    }
}

/// What a script has heard by Bluetooth: the objects of BTHome by their names; several of one kind are an array.
fn bluetooth(found: &mut Found<'_>, node: &Arc<str>, data: &Map<String, Value>, when: When) {
    for (key, value) in data {
        match key.as_str() {
            "address" | "pid" | "encryption" | "BTHome_version" | "bthome" | "model" | "local_name" => {}
            // Zero presses are a button that was not pressed.
            "button" => {
                each_leaf(value, &mut key.clone(), &mut |path, leaf| {
                    if leaf.as_u64().is_some_and(|presses| presses > 0) {
                        found.event(node, path, &leaf.to_string(), when);
                    }
                });
            }
            _ => each_leaf(value, &mut key.clone(), &mut |path, leaf| {
                let name = path.replace('.', "_");
                let term = if leaf.is_boolean() { Term::unknown(&name) } else { of_words(&name) };
                found.scalar(node, path, &term, of_json(leaf), when);
            }),
        }
    }
}

#[cfg(test)]
mod tests;
