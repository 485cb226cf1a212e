//! What sensors say, and devices that Tasmota relays.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::names::{self, Units};
use super::{Status, is_numbered};
use crate::codec::payload::fields::{cut, each_leaf, switch_of};
use crate::codec::payload::scalar::{Scalar, of_json};
use crate::codec::payload::texts;
use crate::codec::payload::vocabulary::Term;

/// Keys whose values tell who a device is, where it was heard, or when, and never what it measured.
const NO_VALUES: [&str; 17] = [
    "Address",
    "Channel",
    "Device",
    "Endpoint",
    "Group",
    "IEEEAddr",
    "Id",
    "MAC",
    "MAJOR",
    "MINOR",
    "Manufacturer",
    "ModelId",
    "NAME",
    "Name",
    "Source",
    "UID",
    "mac",
];

/// How often each of the vocabulary's names is there among the sensors without an index.
type Counts = HashMap<String, usize>;

impl Status<'_, '_> {
    /// The periodic values of all sensors.
    pub(super) fn sensors(&mut self, object: &Map<String, Value>) {
        let units = Units::of(object);
        let mut counts = Counts::new();
        for (name, value) in object {
            let Value::Object(fields) = value else { continue };
            if !has_index(name) && !is_relayed(name, fields) {
                for key in fields.keys() {
                    if let Some(term) = names::term(name, key, units) {
                        *counts.entry(term.metric.into_owned()).or_default() += 1;
                    }
                }
            }
        }
        for (name, value) in object {
            match value {
                _ if matches!(name.as_str(), "Time" | "Epoch" | "TempUnit" | "PressureUnit" | "SpeedUnit") => {}
                Value::Object(fields) if is_relayed(name, fields) => self.sensor_or_device(name, value, object),
                Value::Object(fields) => self.sensor(name, fields, units, &counts),
                _ if is_numbered(name, "Button") || is_numbered(name, "Switch") => self.input(name, value),
                _ => each_leaf(value, &mut name.clone(), &mut |path, leaf| {
                    self.leaf(path, &Term::unknown(path), leaf);
                }),
            }
        }
    }

    /// A part of a message that is no plain sensor: a relayed device, something that happened, an input.
    pub(super) fn sensor_or_device(&mut self, name: &str, value: &Value, message: &Map<String, Value>) {
        let Value::Object(fields) = value else { return };
        let units = Units::of(message);
        match name {
            "ZbReceived" => {
                for (key, device) in fields {
                    if let Value::Object(device) = device {
                        self.zigbee(key, device, units);
                    }
                }
            }
            "BLEDevices" => self.heard(fields),
            "BLEOperation" | "DetailsBLE" | "ZbState" => {}
            _ if name.starts_with("IBEACON") => self.beacon(name, fields),
            _ if name.ends_with("Received") => {
                let data = fields.get("Data").map_or_else(|| value.to_string(), text_of);
                self.event(name, &data);
            }
            _ if is_numbered(name, "Button") || is_numbered(name, "Switch") => self.input(name, value),
            _ if is_zigbee(fields) => self.zigbee(name, fields, units),
            _ if is_ble(name, fields) => {
                let node = std::mem::replace(&mut self.node, Arc::from(name));
                self.sensor("", fields, units, &Counts::new());
                self.node = node;
            }
            // A reader of tags.
            _ => self.event(name, &fields.get("UID").map(text_of).unwrap_or_default()),
        }
    }

    /// A value that the vocabulary does not know, or a text that tells something.
    fn leaf(&mut self, path: &str, term: &Term<'_>, leaf: &Value) {
        match of_json(leaf) {
            Scalar::Text(text) => {
                if texts::tells(path, text) {
                    self.event(path, text);
                }
            }
            scalar => {
                self.found.scalar(&self.node, path, term, scalar, self.when);
            }
        }
    }

    /// One sensor with its quantities.
    fn sensor(&mut self, name: &str, fields: &Map<String, Value>, units: Units<'_>, counts: &Counts) {
        let name = cut(name);
        let plain = name.split(['-', '_']).next().unwrap_or(name);
        for (key, value) in fields {
            if NO_VALUES.contains(&key.as_str()) {
                continue;
            }
            let mut path = if name.is_empty() { cut(key).to_owned() } else { format!("{name}.{}", cut(key)) };
            let known = names::term(plain, key, units).map(|term| {
                let alone = counts.get(&*term.metric).is_none_or(|count| *count == 1);
                if !has_index(name) && alone { term } else { prefixed(name, term) }
            });
            match (known, value) {
                (Some(term), Value::Array(phases)) => {
                    for (i, phase) in (1..).zip(phases) {
                        let metric = Cow::Owned(format!("{}_{i}", term.metric));
                        let term = Term { metric, ..term.clone() };
                        self.found.scalar(&self.node, &format!("{path}.{i}"), &term, of_json(phase), self.when);
                    }
                }
                (Some(term), _) => {
                    self.found.scalar(&self.node, &path, &term, of_json(value), self.when);
                }
                (None, _) => {
                    each_leaf(value, &mut path, &mut |path, leaf| self.leaf(path, &unknown(path, units), leaf));
                }
            }
        }
    }

    /// A Zigbee device behind Tasmota's own bridge. Its `Power` is a switch and not in watts.
    fn zigbee(&mut self, key: &str, fields: &Map<String, Value>, units: Units<'_>) {
        let named = ["Name", "IEEEAddr", "Device"].into_iter().find_map(|name| fields.get(name)?.as_str());
        let device: Arc<str> = Arc::from(named.filter(|name| !name.is_empty()).unwrap_or(key));
        let node = std::mem::replace(&mut self.node, device);
        let endpoint = fields.get("Endpoint").and_then(Value::as_u64).filter(|endpoint| *endpoint > 1);
        for (key, value) in fields {
            match key.as_str() {
                // Attributes and commands that it has no name for: `0006/4001`, `0500!00`.
                _ if NO_VALUES.contains(&key.as_str()) || key.contains(['/', '!']) || key.ends_with("Epoch") => {}
                "Power" => {
                    let own = endpoint.map_or(Cow::Borrowed("Power"), |endpoint| format!("Power_{endpoint}").into());
                    self.found.scalar(&self.node, &own, &Term::unknown(&own), of_json(value), self.when);
                }
                "Click" | "Action" | "Scene" | "AqaraVibrationMode" => self.event(key, &text_of(value)),
                _ => {
                    let one = Map::from_iter([(key.clone(), value.clone())]);
                    self.sensor("", &one, units, &Counts::new());
                }
            }
        }
        self.node = node;
    }

    /// A beacon: a known one of Apple's kind is its UUID with its numbers, as its address changes; others have only that.
    fn beacon(&mut self, name: &str, fields: &Map<String, Value>) {
        let text = |key: &str| fields.get(key).map(text_of).filter(|text| text.bytes().any(|b| b != b'0'));
        let of_apple = text("UID").map(|uid| {
            let number = |key: &str| fields.get(key).map_or_else(|| "0000".into(), text_of);
            format!("{uid}-{}-{}", number("MAJOR"), number("MINOR"))
        });
        let by_key = name.strip_prefix("IBEACON_").map(str::to_owned);
        let Some(device) = of_apple.or_else(|| text("NAME")).or_else(|| text("MAC")).or(by_key) else { return };
        let node: Arc<str> = Arc::from(device);
        if let Some(value) = fields.get("RSSI") {
            let scalar = of_json(value);
            // Zero stands for a beacon that is no longer heard.
            if scalar != Scalar::Value(0.0) {
                self.found.scalar(&node, "RSSI", &Term::named("rssi"), scalar, self.when);
            }
        }
        if let Some(present) = fields.get("STATE").and_then(switch_of) {
            self.found.value(&node, "STATE", &Term::unknown("STATE"), present, self.when);
        }
    }

    /// All BLE devices in reach. Only those with an alias are known to be there to stay: the addresses of others change.
    fn heard(&mut self, devices: &Map<String, Value>) {
        for device in devices.values() {
            if let (Some(Value::String(alias)), Some(rssi)) = (device.get("a"), device.get("r")) {
                self.found.scalar(&Arc::from(alias.as_str()), "r", &Term::named("rssi"), of_json(rssi), self.when);
            }
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A quantity of one of several sensors: `ds18b20_1.temperature`.
fn prefixed<'a>(name: &str, term: Term<'a>) -> Term<'a> {
    if name.is_empty() {
        return term;
    }
    let prefix: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    Term { metric: Cow::Owned(format!("{prefix}.{}", term.metric)), ..term }
}

/// A quantity without a name in the vocabulary; a speed is in the unit that the message names.
fn unknown<'a>(path: &'a str, units: Units<'_>) -> Term<'a> {
    let speed = path.rsplit('.').take(2).any(|key| key == "Speed");
    if speed && !units.speed.is_empty() { Term::in_unit(path, units.speed) } else { Term::unknown(path) }
}

/// Whether a sensor's name has an index: `DS18B20-1`, `BME280-76`, `SHT3X_0x44`. Devices of BLE have six digits and are others.
fn has_index(name: &str) -> bool {
    name.rsplit_once(['-', '_']).is_some_and(|(_, index)| {
        let digits = index.trim_start_matches("0x");
        (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_relayed(name: &str, fields: &Map<String, Value>) -> bool {
    name.ends_with("Received")
        || name.starts_with("IBEACON")
        || matches!(name, "BLEDevices" | "BLEOperation" | "DetailsBLE" | "ZbState")
        || ((is_numbered(name, "Button") || is_numbered(name, "Switch")) && fields.contains_key("Action"))
        || is_zigbee(fields)
        || is_ble(name, fields)
        || fields.get("UID").is_some_and(Value::is_string)
}

/// A Zigbee device without the key around it, which can be left out.
fn is_zigbee(fields: &Map<String, Value>) -> bool {
    fields.get("Device").and_then(Value::as_str).is_some_and(|device| device.starts_with("0x"))
}

/// A BLE device has its address, or, in older versions, the end of it in its name: `LYWSD03-52680f`.
fn is_ble(name: &str, fields: &Map<String, Value>) -> bool {
    let tail = name.rsplit_once('-').map_or("", |(_, tail)| tail);
    fields.get("mac").is_some_and(Value::is_string) || (tail.len() == 6 && tail.bytes().all(|b| b.is_ascii_hexdigit()))
}
