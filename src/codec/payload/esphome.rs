//! ESPHome: what its MQTT client publishes, as its documentation ("MQTT Client Component", "MQTT Component Base Configuration")
//! and the sources of `esphome/components/mqtt` have it. Its payloads are bare text, but for lights and events.
//!
//! - **Topics**: `<prefix>/<component>/<object>/state`, where a component has more than one state
//!   `<prefix>/<component>/<object>/<part>/state`, and `<prefix>/status` with `online` or `offline`. Commands, logs
//!   (`<prefix>/debug`), updates of the firmware and discovery are nothing.
//! - **Node**: what the topic's pattern names, or else the prefix, which is the device's name unless it was configured otherwise.
//! - **Names**: the object, without the node's name before it (`livingroom_temperature` of `livingroom` is `temperature`), and the part
//!   behind a dot (`blind.position`). The vocabulary's names also for `wifi_signal` (`rssi`), `battery_level`, `pm_2_5` and the like.
//! - **Units** are in the discovery alone. Those of the vocabulary are taken where ESPHome's sensors have them without being
//!   told otherwise, by the last word of the name; an `energy` is in Wh for some of them and in kWh for others, and has none unless its name says it
//!   (`energy_kwh`).
//! - **Texts**: ON, OPEN, LOCKED, `oscillate_on` and their opposites are 1 and 0. The text of a text sensor, a select, an alarm panel, a
//!   climate's or fan's mode is an event of the kind of the metric; `nan` is nothing.
//! - There is no time: the arrival counts.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::fields::{DEPENDS, cut, each_leaf, of_words, switch_of};
use super::found::{Found, refused};
use super::scalar::{Scalar, of_json, of_text};
use super::vocabulary::Term;
use super::{Message, texts};
use crate::reading::{DeadReason, Decoded, When};

/// All types of components that have a state of their own; text sensors are `sensor`.
const COMPONENTS: [&str; 21] = [
    "alarm_control_panel",
    "binary_sensor",
    "button",
    "climate",
    "cover",
    "date",
    "datetime",
    "event",
    "fan",
    "light",
    "lock",
    "number",
    "select",
    "sensor",
    "switch",
    "text",
    "text_sensor",
    "time",
    "update",
    "valve",
    "water_heater",
];

/// Names that ESPHome's documentation gives to quantities of the vocabulary.
const ALIASES: &[(&str, &str)] = &[
    ("battery_level", "battery"),
    ("battery_percentage", "battery"),
    ("carbon_dioxide", "co2"),
    ("co2_value", "co2"),
    ("pm25", "pm2_5"),
    ("pm_10", "pm10"),
    ("pm_1_0", "pm1"),
    ("pm_2_5", "pm2_5"),
    ("uptime_sensor", "uptime"),
    ("wifi_signal", "rssi"),
    ("wifi_signal_db", "rssi"),
    ("wifi_signal_sensor", "rssi"),
    ("wifi_signal_strength", "rssi"),
    ("wifi_strength", "rssi"),
];

/// Units at the end of a name. Longer ones first.
const UNITS: [(&str, &str); 4] = [("_kwh", "kWh"), ("_wh", "Wh"), ("_percent", "%"), ("_mv", "mV")];

/// What a topic is for.
#[derive(Debug, PartialEq)]
enum Topic<'a> {
    /// The device is there or gone.
    Status { prefix: &'a str },
    /// A state of a component.
    State { prefix: &'a str, component: &'a str, object: &'a str, part: Option<&'a str> },
    /// Nothing that is stored.
    Other,
    /// No topic of the grammar: a component's topic can be configured.
    Unknown,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a str) -> Self {
        let first = topic.split('/').next().unwrap_or_default();
        // The client listens to `esphome/discover` and answers at `esphome/discover/<name>`.
        if first == "homeassistant" || topic.starts_with("esphome/discover") || topic.starts_with("esphome/ping") {
            return Self::Other;
        }
        let Some((head, last)) = topic.rsplit_once('/') else { return Self::Unknown };
        match last {
            "debug" | "command" => Self::Other,
            "status" => Self::Status { prefix: head },
            "state" => state(head),
            _ => Self::Unknown,
        }
    }
}

/// `<prefix>/<component>/<object>` or the same with a part behind.
fn state(head: &str) -> Topic<'_> {
    let mut levels = head.rsplitn(4, '/');
    let (Some(last), Some(before), rest) = (levels.next(), levels.next(), (levels.next(), levels.next())) else {
        return Topic::Unknown;
    };
    let prefix_of = |behind: usize| &head[..head.len() - behind];
    if let (Some(component), Some(prefix)) = rest
        && COMPONENTS.contains(&component)
    {
        return Topic::State { prefix, component, object: before, part: Some(last) };
    }
    if rest.0.is_some() && COMPONENTS.contains(&before) {
        let prefix = prefix_of(last.len() + before.len() + 2);
        return Topic::State { prefix, component: before, object: last, part: None };
    }
    Topic::Unknown
}

/// Decodes a message.
pub fn decode(message: &Message<'_>) -> Decoded {
    let text = match message.text() {
        Ok(text) => text,
        Err(dead) => return dead,
    };
    let mut found = Found::new(message.payload);
    match Topic::of(message.topic) {
        Topic::Other => {}
        _ if text.is_empty() => {}
        Topic::Status { prefix } => match text {
            "online" => found.availability(&message.node_or(Some(prefix)), true, When::Arrival),
            "offline" => found.availability(&message.node_or(Some(prefix)), false, When::Arrival),
            _ => found.dead(DeadReason::Malformed, "expected `online` or `offline`"),
        },
        Topic::State { prefix, component, object, part } => {
            let node = message.node_or(Some(prefix));
            let name = without_node(object, &node);
            let own = part.map_or(Cow::Borrowed(object), |part| format!("{object}.{part}").into());
            let metric = part.map_or(Cow::Borrowed(name), |part| format!("{name}.{part}").into());
            match component {
                "light" | "event" | "update" => match message.json() {
                    Ok(Value::Object(fields)) if component == "event" => {
                        let kind = fields.get("event_type").and_then(Value::as_str).unwrap_or_default();
                        if !kind.is_empty() {
                            found.event(&node, name, kind, When::Arrival);
                        }
                    }
                    Ok(Value::Object(fields)) if component == "light" => {
                        light(&mut found, &node, (name, object), &fields);
                    }
                    Ok(Value::Object(_)) => {}
                    Ok(_) => return refused(DeadReason::Malformed, "byte 0: expected a JSON object", message.payload),
                    Err(dead) => return dead,
                },
                // What is set by hand and has no number: a date, a time of day, a text.
                "date" | "datetime" | "time" | "text" | "button" => {}
                _ => value(&mut found, &node, component, (&metric, &own), text),
            }
        }
        Topic::Unknown => {
            let last = message.topic.rsplit('/').find(|level| *level != "state");
            let name = message.metric.or(last).unwrap_or("value");
            let node = message.node_or(message.topic.rsplit_once('/').map(|(head, _)| head));
            value(&mut found, &node, "sensor", (name, name), text);
        }
    }
    found.finish()
}

/// Whether a message is one of ESPHome: by the grammar of its topics, which name the type of the component, and for what has no
/// component by its payload.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(text) = std::str::from_utf8(message.payload) else { return false };
    let text = text.trim();
    let is_object = || text.is_empty() || matches!(serde_json::from_str(text), Ok(Value::Object(_)));
    match Topic::of(message.topic) {
        Topic::State { component, .. } => !matches!(component, "light" | "event" | "update") || is_object(),
        Topic::Status { .. } => matches!(text, "online" | "offline"),
        Topic::Other if message.topic.ends_with("/debug") => {
            // `[D][sensor:094]: ...`, in colours unless that was turned off.
            let line =
                text.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')).map_or(text, |(_, line)| line);
            let line = line.as_bytes();
            line.len() > 3 && line[0] == b'[' && line[1].is_ascii_uppercase() && line[2] == b']' && line[3] == b'['
        }
        Topic::Other if message.topic.starts_with("esphome/") => true,
        Topic::Other => {
            let head = message.topic.strip_suffix("/command").map(state);
            matches!(head, Some(Topic::State { .. }))
        }
        Topic::Unknown => false,
    }
}

/// The object's name without the node's before it: people give both the same beginning.
fn without_node<'a>(object: &'a str, node: &str) -> &'a str {
    let last = node.rsplit('/').next().unwrap_or(node);
    let same = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (matches!(a, b'-' | b' ' | b'_') && b == b'_');
    let begins = object.len() > last.len() + 1
        && last.bytes().zip(object.bytes()).all(|(a, b)| same(a, b))
        && object.as_bytes()[last.len()] == b'_';
    // Where all bytes are equal but for ASCII, a character ends where the other does.
    if begins && !last.is_empty() { object.get(last.len() + 1..).unwrap_or(object) } else { object }
}

/// A bare state; `names` are the metric's and the own one.
fn value(found: &mut Found<'_>, node: &Arc<str>, component: &str, names: (&str, &str), text: &str) {
    let (metric, own) = names;
    let switch = switch(component, text).or_else(|| switch_of(&Value::String(text.to_owned())));
    match (switch, of_text(text)) {
        (Some(switch), _) => found.value(node, own, &Term::unknown(metric), switch, When::Arrival),
        // Addresses, versions and times that a text sensor tells are nothing that happened.
        (None, Scalar::Text(text)) if component == "text_sensor" && !texts::tells(metric, text) => {}
        (None, Scalar::Text(text)) => found.event(node, metric, text, When::Arrival),
        (None, scalar) => {
            found.scalar(node, own, &term(component, metric), scalar, When::Arrival);
        }
    }
}

/// 1 or 0 for the words of a component.
fn switch(component: &str, text: &str) -> Option<f64> {
    let (on, off) = match component {
        "cover" | "valve" => ("open", "closed"),
        "lock" => ("locked", "unlocked"),
        "fan" => ("oscillate_on", "oscillate_off"),
        _ => return None,
    };
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is(on) { Some(1.0) } else { is(off).then_some(0.0) }
}

/// The metric of a number.
fn term<'a>(component: &str, name: &'a str) -> Term<'a> {
    if let Ok(at) = ALIASES.binary_search_by(|(own, _)| (*own).cmp(name)) {
        return Term::named(ALIASES[at].1);
    }
    let part = name.rsplit_once('.').map(|(_, part)| part);
    match (component, part) {
        ("cover" | "valve", Some("position" | "tilt")) => return Term::in_unit(name, "%"),
        ("climate" | "water_heater", Some(part)) if part.contains("temperature") => return Term::in_unit(name, "degC"),
        ("climate" | "water_heater", Some(part)) if part.contains("humidity") => return Term::in_unit(name, "%"),
        ("sensor" | "number" | "text_sensor", None) => {}
        _ => return Term::unknown(name),
    }
    if let Some((suffix, unit)) = UNITS.iter().find(|(suffix, _)| name.ends_with(suffix)) {
        let stem = &name[..name.len() - suffix.len()];
        let known = super::fields::unit_of_words(stem).is_some();
        return if known {
            Term { metric: stem.into(), ..Term::in_unit(stem, unit) }
        } else {
            Term::in_unit(name, unit)
        };
    }
    let depends = DEPENDS.contains(&name) || name == "energy" || name.ends_with("_energy");
    if depends || name.starts_with("energy_") { Term::unknown(name) } else { of_words(name) }
}

/// A light's state: it is on under its own name, and everything else below.
fn light(found: &mut Found<'_>, node: &Arc<str>, names: (&str, &str), fields: &serde_json::Map<String, Value>) {
    let (name, object) = names;
    for (key, value) in fields {
        if key == "state" {
            found.scalar(node, object, &Term::unknown(name), of_json(value), When::Arrival);
            continue;
        }
        each_leaf(value, &mut format!("{name}.{}", cut(key)), &mut |path, leaf| {
            found.scalar(node, path, &Term::unknown(path), of_json(leaf), When::Arrival);
        });
    }
}

#[cfg(test)]
mod tests;
