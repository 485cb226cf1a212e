//! `theengs`: Theengs Gateway and OpenMQTTGateway.
//!
//! By the documentation of both (theengs/gateway `docs/use`, 1technophile/OpenMQTTGateway `docs/use`) and the properties of
//! Theengs Decoder:
//!
//! - A level `...toMQTT` of the topic says what the gateway hears with: `BASE/GATEWAY/BTtoMQTT/ADDRESS`. Theengs Gateway can
//!   leave that level out; then the field `id` tells.
//! - **Node** of a Bluetooth device ([`identity`]): its address as `4C:33:A6:60:3C:79`, from `id` or else the topic; of an
//!   iBeacon its UUID, as `UUID/MAJOR/MINOR` where these are not both zero, unless its address is public. A private address
//!   changes every few minutes and names nobody: a sensor behind one is named by its `model_id`, and of phones and what is not
//!   decoded nothing is stored, so that passers-by do not become nodes.
//! - Node of a LoRa device: its `id`; of what rtl_433 decodes (`RTL_433toMQTT`): as in [`super::rtl_433`]; of a DS18B20 its
//!   address; of the gateway's other sensors `GATEWAY/SENSOR`; of its system messages and received codes `GATEWAY`.
//! - **Time**: `unixtime` or `UTCtime`, where OpenMQTTGateway is configured to send them; else the arrival.
//! - **Names**: [`fields`]. Numbers are text in old versions. Where a value comes in degC and degF, degC counts. `hum` of 104.7 %
//!   is stored as it is: the gateway passes on what the sensor said.
//! - **Events**: codes of remote controls (`433toMQTT`, `IRtoMQTT`, ...: kind `code`), messages, buttons, and other words,
//!   which whoever decodes leaves out until they change; not those of the gateway's own state. `LWT`, and `state` of a device tracker, are availability.
//! - A presence topic repeats `rssi` and `distance` of a device; what came a moment before is left out.
//! - Configuration (`BTtoMQTT` without a device, `WebUItoMQTT`, `commands`, `undecoded`, `version`) gives nothing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::found::{Found, refused};
use super::recent::{Key, Recent, key};
use super::rtl_433::{Rtl433, WINDOW};
use super::scalar::{Scalar, of_json};
use super::vocabulary::Term;
use super::{Message, texts};
use crate::codec::time::{Local, parse_text};
use crate::reading::{DeadReason, Decoded, Timestamp, When};
use crate::zone::Tz;
use identity::Identity;

pub mod fields;
mod identity;

#[cfg(test)]
mod tests;

/// How many devices' last signals are remembered; of more a presence message may be stored beside.
pub const REMEMBERED: usize = 512;

/// Modules that receive the codes of remote controls.
const CODES: [&str; 7] =
    ["433toMQTT", "IRtoMQTT", "RF2toMQTT", "SRFBtoMQTT", "GPIOKeyCodetoMQTT", "2GtoMQTT", "SRFBRawtoMQTT"];

/// The signal of a device, as one kind of topic told it.
#[derive(Clone, Copy, Debug)]
struct Signal {
    arrival: Option<i64>,
    presence: bool,
}

/// The format with its memory of repeated frames and signals.
#[derive(Clone, Debug)]
pub struct Theengs {
    rtl_433: Rtl433,
    signals: Recent<Signal>,
}

impl Default for Theengs {
    fn default() -> Self {
        Self::new()
    }
}

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic<'a> {
    /// Nothing that is stored.
    Ignored,
    /// The will of a gateway.
    Will { gateway: &'a str },
    /// Devices in range, without their values.
    Presence,
    /// A module of a gateway, and the levels behind it.
    Module { gateway: &'a str, module: &'a str, below: &'a str },
    /// Without a module.
    Bare { last: &'a str },
}

impl<'a> Topic<'a> {
    fn of(topic: &'a str) -> Self {
        let mut starts = 0;
        let mut before = "";
        let mut last = "";
        for level in topic.split('/') {
            starts += level.len() + 1;
            if level == "commands" || level == "undecoded" {
                return Self::Ignored;
            }
            if level.len() > 6 && level.ends_with("toMQTT") {
                let below = topic.get(starts..).unwrap_or_default();
                if below.split('/').any(|level| level == "undecoded") {
                    return Self::Ignored;
                }
                return Self::Module { gateway: before, module: level, below };
            }
            if level == "home_presence" || (level == "presence" && !before.is_empty()) {
                return Self::Presence;
            }
            last = before;
            before = level;
        }
        match before {
            "LWT" => Self::Will { gateway: last },
            "version" => Self::Ignored,
            _ => Self::Bare { last: before },
        }
    }
}

/// Whether this is one of the two gateways': a module's level in the topic and JSON, their will, or a decoded device.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(text) = message.text() else { return false };
    let object = || match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    };
    let device = |fields: &Map<String, Value>| {
        fields.get("id").is_some_and(Value::is_string)
            && fields.get("rssi").is_some_and(Value::is_number)
            && ["model_id", "brand", "servicedata", "manufacturerdata", "mac_type", "mfr", "distance"]
                .iter()
                .any(|key| fields.contains_key(*key))
    };
    match Topic::of(message.topic) {
        Topic::Ignored => message.topic.split('/').any(|level| level.starts_with("MQTTto") || level == "BTtoMQTT"),
        Topic::Will { gateway } => {
            // Tasmota writes `Online` on `tele/DEVICE/LWT`.
            !gateway.is_empty() && matches!(text, "online" | "offline") && !message.topic.starts_with("tele/")
        }
        Topic::Presence | Topic::Bare { .. } => object().is_some_and(|fields| device(&fields)),
        Topic::Module { gateway, .. } => !gateway.is_empty() && object().is_some(),
    }
}

impl Theengs {
    /// With nothing remembered.
    pub fn new() -> Self {
        Self { rtl_433: Rtl433::new(), signals: Recent::new(REMEMBERED) }
    }

    /// Forgets which messages were heard: they may come again and are not stored yet.
    pub fn forget_frames(&mut self) {
        self.rtl_433.forget_frames();
        self.signals = Recent::new(REMEMBERED);
    }

    /// Decodes one message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        let topic = Topic::of(message.topic);
        match topic {
            Topic::Ignored | Topic::Module { module: "WebUItoMQTT", .. } => return Decoded::default(),
            Topic::Will { gateway } => return will(message, gateway),
            _ => {}
        }
        let fields = match message.json() {
            Ok(Value::Object(fields)) => fields,
            Ok(value) => {
                if let (Topic::Module { gateway, module, .. }, Value::Number(code)) = (topic, &value)
                    && CODES.contains(&module)
                {
                    let mut found = Found::new(message.payload);
                    found.event(&message.node_or(Some(gateway)), "code", code.as_str(), When::Arrival);
                    return found.finish();
                }
                return refused(DeadReason::Malformed, "expected a JSON object", message.payload);
            }
            Err(refused) => return refused,
        };
        match topic {
            Topic::Module { module: "RTL_433toMQTT", .. } => {
                let status = fields.get("model").is_none_or(|model| model == "status");
                if status { Decoded::default() } else { self.rtl_433.event(message, &fields) }
            }
            Topic::Module { gateway, module, .. } if CODES.contains(&module) => code(message, gateway, &fields),
            Topic::Module { gateway, module: "SYStoMQTT", .. } => {
                let mut found = Found::new(message.payload);
                all(&mut found, message, &message.node_or(Some(gateway)), &fields, Part { system: true, told: false });
                found.finish()
            }
            Topic::Module { module: "BTtoMQTT", below, .. } => self.bluetooth(message, below, &fields, false),
            Topic::Module { gateway, module: "LORAtoMQTT", below } => lora(message, gateway, below, &fields),
            Topic::Module { gateway, module: "PilighttoMQTT", .. } => pilight(message, gateway, &fields),
            Topic::Module { gateway, module, below } => sensor(message, gateway, module, below, &fields),
            Topic::Presence => self.bluetooth(message, "", &fields, true),
            Topic::Bare { last } => self.bluetooth(message, last, &fields, false),
            Topic::Ignored | Topic::Will { .. } => Decoded::default(),
        }
    }

    /// A Bluetooth device; `below` is what the topic has behind the module.
    fn bluetooth(
        &mut self,
        message: &Message<'_>,
        below: &str,
        fields: &Map<String, Value>,
        presence: bool,
    ) -> Decoded {
        let node: Arc<str> = match identity::of(fields, below) {
            Identity::Node(node) => Arc::from(node),
            Identity::Anonymous => return Decoded::default(),
            Identity::Missing if below.is_empty() && !presence => return Decoded::default(),
            Identity::Missing => {
                return refused(DeadReason::NoReading, "expected the device's address in `id`", message.payload);
            }
        };
        let told = self.signal_was_told(message, &node, fields, presence);
        if told && presence {
            return Decoded::default();
        }
        let mut found = Found::new(message.payload);
        all(&mut found, message, &node, fields, Part { system: false, told });
        found.finish()
    }

    /// Whether the other kind of topic has just told this signal. If not it is remembered.
    fn signal_was_told(
        &mut self,
        message: &Message<'_>,
        node: &str,
        fields: &Map<String, Value>,
        presence: bool,
    ) -> bool {
        let (Some(rssi), Some(distance)) = (fields.get("rssi"), fields.get("distance")) else { return false };
        if message.retain {
            return false;
        }
        let arrival = message.local.arrival.map(Timestamp::micros);
        let key: Key = key([node.as_bytes(), rssi.to_string().as_bytes(), distance.to_string().as_bytes()]);
        let near = |signal: &&Signal| match (arrival, signal.arrival) {
            (Some(a), Some(b)) => a.abs_diff(b) < WINDOW.unsigned_abs(),
            _ => true,
        };
        let told = self.signals.get(&key).filter(near).is_some_and(|signal| signal.presence != presence);
        self.signals.put(key, Signal { arrival, presence });
        told
    }
}

/// The will of a gateway: a word, or an object with it.
fn will(message: &Message<'_>, gateway: &str) -> Decoded {
    let mut found = Found::new(message.payload);
    let text = match message.text() {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let word = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => fields.get("state").and_then(Value::as_str).unwrap_or_default().to_owned(),
        Ok(Value::String(word)) => word,
        _ => text.to_owned(),
    };
    let node = message.node_or(Some(gateway).filter(|gateway| !gateway.is_empty()));
    match word.to_ascii_lowercase().as_str() {
        "online" => found.availability(&node, true, When::Arrival),
        "offline" => found.availability(&node, false, When::Arrival),
        _ => found.dead(DeadReason::Malformed, "expected `online` or `offline`"),
    }
    found.finish()
}

/// A code of a remote control, which the gateway received: its value where it has one, else the whole object.
fn code(message: &Message<'_>, gateway: &str, fields: &Map<String, Value>) -> Decoded {
    let mut found = Found::new(message.payload);
    let node = message.node_or(Some(gateway));
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(sms) = fields.get("message") {
        found.event(&node, "message", &text(sms), When::Arrival);
    } else if let Some(value) = fields.get("value").filter(|value| !value.is_null()) {
        found.event(&node, "code", &text(value), When::Arrival);
    } else {
        let whole = Value::Object(fields.clone()).to_string();
        found.event(&node, "code", &whole, When::Arrival);
    }
    found.finish()
}

/// A LoRa device, by its `id`; what has none is known by the gateway alone.
fn lora(message: &Message<'_>, gateway: &str, below: &str, fields: &Map<String, Value>) -> Decoded {
    let id = fields.get("id").or_else(|| fields.get("from")).and_then(Value::as_str).map(str::trim);
    let id = id.filter(|id| !id.is_empty()).or(Some(below).filter(|below| !below.is_empty()));
    // What the module publishes of its own configuration.
    if id.is_none() && fields.contains_key("spreadingfactor") {
        return Decoded::default();
    }
    let name = id.map_or_else(|| format!("{gateway}/LORA"), identity::spelled);
    let mut found = Found::new(message.payload);
    all(&mut found, message, &Arc::from(name), fields, Part::default());
    found.finish()
}

/// What Pilight decoded: the values are in `message`, and with its protocol its `id` names the device.
fn pilight(message: &Message<'_>, gateway: &str, fields: &Map<String, Value>) -> Decoded {
    let Some(Value::Object(inner)) = fields.get("message") else { return Decoded::default() };
    let part = |value: Option<&Value>| {
        value
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .filter(|text| !text.is_empty())
    };
    let protocol = part(fields.get("protocol"));
    let id = part(inner.get("id")).or_else(|| part(inner.get("systemcode")));
    let unit = part(inner.get("unitcode"));
    let parts: Vec<String> = [protocol, id, unit].into_iter().flatten().collect();
    let node = if parts.is_empty() { format!("{gateway}/Pilight") } else { parts.join("/") };
    let mut found = Found::new(message.payload);
    all(&mut found, message, &Arc::from(node), inner, Part::default());
    found.finish()
}

/// A sensor at the gateway itself, by its own address, or else by the gateway and what it is.
fn sensor(message: &Message<'_>, gateway: &str, module: &str, below: &str, fields: &Map<String, Value>) -> Decoded {
    let own = fields.get("addr").and_then(Value::as_str).map(str::trim).filter(|addr| !addr.is_empty());
    let own = own.or_else(|| below.rsplit('/').next().filter(|last| last.starts_with("0x")));
    let name = if let Some(addr) = own {
        addr.to_owned()
    } else {
        let kind = if below.is_empty() { module.trim_end_matches("toMQTT") } else { below };
        format!("{}/{kind}", message.node.unwrap_or(gateway))
    };
    let mut found = Found::new(message.payload);
    all(&mut found, message, &Arc::from(name), fields, Part::default());
    found.finish()
}

/// Whose fields they are, and which of them are left out.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// The gateway's own.
    system: bool,
    /// The signal was told a moment before.
    told: bool,
}

/// When the gateway sent it, where it tells.
fn time_of(message: &Message<'_>, node: &Arc<str>, fields: &Map<String, Value>, found: &mut Found<'_>) -> When {
    for name in ["unixtime", "UTCtime"] {
        let text = match fields.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(other) => other.to_string(),
        };
        if text.is_empty() {
            continue;
        }
        match parse_text(&text, Local { zone: Tz::UTC, ..message.local }) {
            Some(Timestamp(0)) => {}
            Some(at) => return When::Live(at),
            None => found.bad_time(node, name, &text),
        }
    }
    When::Arrival
}

/// All fields of a message.
fn all(found: &mut Found<'_>, message: &Message<'_>, node: &Arc<str>, fields: &Map<String, Value>, part: Part) {
    let when = time_of(message, node, fields, found);
    for (name, value) in fields {
        if fields::ignored(name, fields) || (part.told && matches!(name.as_str(), "rssi" | "distance")) {
            continue;
        }
        let scalar = match of_json(value) {
            Scalar::Text(word) => fields::word(word).map_or(Scalar::Text(word), Scalar::Value),
            scalar => scalar,
        };
        match scalar {
            Scalar::Text(word) if name == "state" && matches!(word, "online" | "offline") => {
                found.availability(node, word == "online", when);
            }
            Scalar::Text(word) if fields::is_event(name) || (!part.system && texts::tells(name, word)) => {
                found.event(node, name, word, when);
            }
            Scalar::Value(_) if fields::is_action(name) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                found.event(node, name, &text, when);
            }
            _ => {
                let term = match name.as_str() {
                    // The processor's, not the room's.
                    "tempc" if part.system => Term::named("device_temperature"),
                    "tempf" if part.system => Term::in_unit("device_temperature", "degF"),
                    _ => fields::term(name, scalar, fields),
                };
                found.scalar(node, name, &term, scalar, when);
            }
        }
    }
}
