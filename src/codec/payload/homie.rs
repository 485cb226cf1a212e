//! `homie`: the Homie convention, versions 3, 4 and 5, and what version 2 has in common with them.
//!
//! `BASE/DEVICE/NODE/PROPERTY` (version 5: `BASE/5/DEVICE/NODE/PROPERTY`) holds a property's value; levels that begin with `$` are
//! attributes ([`topic`]).
//!
//! - **Node**: `DEVICE/NODE`, such as `super-car/engine`, since two nodes of a device may have the same properties; the
//!   device's own statistics (`$stats/...`) are those of `DEVICE`. Patterns do not change it.
//! - **Metric**: the property's id; `-` stands for `_` where that is a name of the vocabulary ([`names`]).
//! - **Unit and datatype** come from the description (`$description`, or `$unit` and `$datatype` of each property), which is
//!   retained and so comes when the gateway subscribes. Without one the unit is the vocabulary's and the payload tells the type.
//! - integer, float and boolean are readings, and so are ISO 8601 durations, in seconds. string, enum, color and json are events of the
//!   property's kind; an enum of numbers or of ON and OFF is a reading. datetime is neither. A number that is none, where the
//!   description has one, is a dead letter.
//! - **`$state`** tells whether the device is there: `init`, `ready`, `sleeping` and `alert` are online, `disconnected` and `lost` are
//!   offline; the same goes for each of its nodes that is known, and for the children of a device that is lost (version 5). `$online`
//!   of version 2 does the same.
//! - `$target` and `set` are wishes and no readings. `$alert/ID` is an event `alert`, `$log/warn`, `error` and `fatal` an event `log`. Other
//!   attributes, `$broadcast` and empty payloads (a retained message is deleted) give nothing.
//! - No time: the arrival counts.

use std::sync::Arc;

use super::found::Found;
use super::scalar::{Scalar, of_text};
use super::vocabulary::Term;
use super::{Message, names};
use crate::codec::leaves::shown;
use crate::reading::{DeadReason, Decoded, When};
use memory::{Devices, Property, Type};
use topic::{Place, Topic};

mod memory;
mod topic;

pub use memory::{MAX_DEVICES, MAX_PROPERTIES};

/// Decodes the messages of all devices of a source, and remembers their descriptions.
#[derive(Debug, Default)]
pub struct Homie {
    devices: Devices,
}

/// Whether this is a message of the convention, by its topic; below another base than `homie` by attributes that only it has.
pub fn recognises(message: &Message<'_>) -> bool {
    let Some(topic) = Topic::parse(message.topic, &[]) else { return false };
    if !topic.is_valid() || message.text().is_err() {
        return false;
    }
    let homie = message.topic.starts_with("homie/");
    match topic.place {
        Place::Device("description") => topic.version5 && message.json().is_ok_and(|json| json.get("homie").is_some()),
        Place::Device("state") => message.text().is_ok_and(|text| state(text).is_some()),
        Place::Device("homie") => message.text().is_ok_and(|text| text.starts_with(|c: char| c.is_ascii_digit())),
        _ => homie,
    }
}

impl Homie {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        let text = match message.text() {
            Ok(text) => text,
            Err(refused) => return refused,
        };
        let mut found = Found::new(message.payload);
        let bases = self.devices.bases();
        let Some(topic) = Topic::parse(message.topic, bases) else {
            found.dead(DeadReason::Malformed, "the topic: expected BASE/DEVICE/NODE/PROPERTY or an attribute");
            return found.finish();
        };
        let device: Arc<str> = Arc::from(topic.device);
        match topic.place {
            Place::Device("description") => {
                let json = match message.json() {
                    _ if text.is_empty() => {
                        self.devices.forget(topic.key);
                        return found.finish();
                    }
                    Ok(json) => json,
                    Err(refused) => return refused,
                };
                if !json.is_object() {
                    found.dead(
                        DeadReason::Malformed,
                        "line 1, column 1: expected an object with the device's description",
                    );
                }
                let fresh = self.devices.describe(&topic, &json);
                self.tell(topic.key, topic.device, &fresh, &mut found);
            }
            Place::Device("state" | "online") => self.state(&topic, text, &mut found),
            Place::Device("homie") => self.devices.learn_base(&topic, message.topic),
            Place::Device("nodes") => {
                let fresh = self.devices.nodes(&topic, text);
                self.tell(topic.key, topic.device, &fresh, &mut found);
            }
            Place::Stats(name) => stats(&device, name, text, &mut found),
            Place::Alert(id) if !text.is_empty() => {
                found.event(&device, "alert", &format!("{id}: {text}"), When::Arrival)
            }
            Place::Log(level @ ("warn" | "error" | "fatal")) if !text.is_empty() => {
                found.event(&device, "log", &format!("{level}: {text}"), When::Arrival);
            }
            Place::Attribute(node, property, attribute @ ("datatype" | "unit")) => {
                self.devices.attribute(&topic, node, property, attribute, text);
            }
            Place::Value(node, property) => {
                let fresh = self.devices.heard(&topic, node);
                self.tell(topic.key, topic.device, &fresh, &mut found);
                let node_name: Arc<str> = Arc::from(format!("{device}/{node}"));
                let described = self.devices.property(topic.key, node, property);
                value(&node_name, property, described, text, &mut found);
            }
            _ => {}
        }
        found.finish()
    }

    /// What the device says of itself.
    fn state(&mut self, topic: &Topic<'_>, text: &str, found: &mut Found<'_>) {
        if text.is_empty() {
            self.devices.forget(topic.key);
            return;
        }
        let Some(online) = state(text) else {
            let expected = "init, ready, disconnected, sleeping, lost or alert";
            found.dead(DeadReason::Malformed, format!("the state `{}`: expected {expected}", shown(text)));
            return;
        };
        for (device, node, online) in self.devices.state(topic, online) {
            let name: Arc<str> = match node {
                Some(node) => Arc::from(format!("{device}/{node}")),
                None => Arc::from(device),
            };
            found.availability(&name, online, When::Arrival);
        }
    }

    /// Nodes have become known of a device whose state is known already.
    fn tell(&self, key: &str, device: &str, fresh: &[String], found: &mut Found<'_>) {
        let Some(online) = self.devices.online(key) else { return };
        for node in fresh {
            found.availability(&Arc::from(format!("{device}/{node}")), online, When::Arrival);
        }
    }
}

/// Whether a device in this state is there.
fn state(text: &str) -> Option<bool> {
    match text {
        "init" | "ready" | "sleeping" | "alert" | "true" => Some(true),
        "disconnected" | "lost" | "false" => Some(false),
        _ => None,
    }
}

/// A property's value.
fn value(node: &Arc<str>, property: &str, described: Option<&Property>, text: &str, found: &mut Found<'_>) {
    // Version 5 sends an empty string as a zero byte, since an empty payload deletes the retained message.
    if text.is_empty() || text == "\0" {
        return;
    }
    let unit = described.map_or("", |property| &*property.unit);
    let term = if unit.is_empty() { names::term(property) } else { names::in_unit(property, unit) };
    let scalar = of_text(text);
    let datatype = described.and_then(|property| property.datatype);
    let term = if datatype == Some(Type::Boolean) || names::is_switch(text) { names::of_switch(term) } else { term };
    match (datatype, scalar) {
        (Some(Type::DateTime), _) => {}
        (Some(Type::Text), _) => found.event(node, property, text, When::Arrival),
        (Some(Type::Duration), _) => match duration(text) {
            Some(seconds) => {
                let term = Term { unit: Some("s".into()), factor: 1.0, offset: 0.0, ..term };
                found.value(node, property, &term, seconds, When::Arrival);
            }
            None => {
                let detail = format!("`{}` is `{}`: expected a duration such as PT5M30S", shown(property), shown(text));
                found.dead(DeadReason::Malformed, detail);
            }
        },
        (Some(Type::Number | Type::Boolean), Scalar::Text(_)) => {
            let expected = if datatype == Some(Type::Boolean) { "true or false" } else { "a number" };
            let detail = format!("`{}` is `{}`: expected {expected}", shown(property), shown(text));
            found.dead(DeadReason::Malformed, detail);
        }
        (_, Scalar::Text(text)) => found.event(node, property, text, When::Arrival),
        (_, scalar) => {
            found.scalar(node, property, &term, scalar, When::Arrival);
        }
    }
}

/// A device's statistics, with the units of the legacy stats extension.
fn stats(device: &Arc<str>, name: &str, text: &str, found: &mut Found<'_>) {
    let term = match name {
        "uptime" => Term::named("uptime"),
        "cputemp" => Term::named("device_temperature"),
        "battery" => Term::named("battery"),
        "supply" => Term::named("voltage"),
        "signal" | "cpuload" => Term { unit: Some("%".into()), ..Term::unknown(name) },
        "freeheap" => Term { unit: Some("B".into()), ..Term::unknown(name) },
        "interval" => return,
        other => names::term(other),
    };
    found.scalar(device, name, &term, of_text(text), When::Arrival);
}

/// Seconds of `PT12H5M46S`.
fn duration(text: &str) -> Option<f64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut rest = text.strip_prefix("PT")?;
    let mut seconds = 0.0;
    let mut units = [('H', 3600.0), ('M', 60.0), ('S', 1.0)].into_iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, behind) = rest.split_at(end);
        let letter = behind.chars().next()?;
        let (_, factor) = units.find(|(unit, _)| *unit == letter)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &behind[1..];
    }
    Some(if negative { -seconds } else { seconds })
}

#[cfg(test)]
mod tests;
