//! `ruuvi`: what a Ruuvi Gateway publishes of RuuviTags and Ruuvi Air.
//!
//! After Ruuvi's documentation (docs.ruuvi.com: MQTT data with and without time stamps, Bluetooth advertisements) and the gateway's
//! firmware (`ruuvi.gateway_esp.c`, `main/mqtt_json.c`):
//!
//! - A message on `PREFIX/GATEWAY/TAG` is a JSON object with the advertisement as hex in `data`, or decoded by the gateway
//!   (`dataFormat` and its values), or both; then `data` counts. The formats are in [`advertisement`].
//! - **Node**: the tag's own address from the advertisement, as `F4:1F:0C:28:CB:D6`; where the format has none or only half
//!   of it (3, 6), the last level of the topic. Never the gateway.
//! - **Time**: `ts`, when the gateway heard the tag (`gwts` is when it passed that on). A gateway without a synchronised clock
//!   sends a counter `cnt` instead: the arrival counts.
//! - **Repeats**: a tag sends one measurement several times, with one sequence number, and several gateways may hear it. An
//!   advertisement that equals the tag's last one is left out where its format has a sequence number. The same message
//!   again, byte for byte, is decoded again: that is a broker's redelivery, and known by its time or its digest.
//! - `rssi` is a reading of the tag. Sequence numbers, `coords` (of the gateway) and `aoa` are none.
//! - `gw_status` topics tell whether the gateway is there.
//! - Advertisements of other makers give nothing; a format of Ruuvi that is not known is a dead letter.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::found::{Found, refused};
use super::recent::{Key, Recent, key};
use super::scalar::{Scalar, of_json};
use super::vocabulary::Term;
use super::{Message, mac};
use crate::codec::time::parse_text;
use crate::reading::{DeadReason, Decoded, Timestamp, When};
use advertisement::{Advertisement, Fault};

pub mod advertisement;

#[cfg(test)]
mod tests;

/// How many tags' last advertisements are remembered; of more tags a repeat may be stored again.
pub const REMEMBERED: usize = 1_024;

/// What the gateway calls the values that it has decoded, what the vocabulary calls them, and the gateway's unit.
const DECODED: &[(&str, &str, &str)] = &[
    ("temperature", "temperature", "degC"),
    ("humidity", "humidity", "%"),
    ("pressure", "pressure", "Pa"),
    ("accelX", "acceleration_x", "g"),
    ("accelY", "acceleration_y", "g"),
    ("accelZ", "acceleration_z", "g"),
    ("movementCounter", "movement_counter", ""),
    ("voltage", "battery_voltage", "V"),
    ("txPower", "tx_power", "dBm"),
    ("PM1.0", "pm1", "ug/m3"),
    ("PM2.5", "pm2_5", "ug/m3"),
    ("PM4.0", "pm4", "ug/m3"),
    ("PM10.0", "pm10", "ug/m3"),
    ("CO2", "co2", "ppm"),
    ("VOC", "voc_index", ""),
    ("NOx", "nox_index", ""),
    ("luminosity", "illuminance", "lx"),
    ("sound_inst_dba", "sound_instant", "dB"),
    ("sound_avg_dba", "sound_average", "dB"),
    ("sound_peak_spl_db", "sound_peak", "dB"),
    ("sound_dba_avg", "sound_average", "dB"),
    ("sound_dba_peak", "sound_peak", "dB"),
    ("flag_calibration_in_progress", "calibration_in_progress", ""),
    ("flag_low_battery", "low_battery", ""),
];

/// The last advertisement of a tag: itself, and the message that brought it.
#[derive(Clone, Copy, Debug)]
struct Last {
    measurement: Key,
    message: Key,
}

/// The format with its memory of the tags' last advertisements.
#[derive(Clone, Debug)]
pub struct Ruuvi {
    last: Recent<Last>,
}

impl Default for Ruuvi {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this is a Ruuvi Gateway's: an object with the gateway's address and an advertisement, or the gateway's status.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(text) = message.text() else { return false };
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else { return false };
    let status =
        message.topic.rsplit('/').next() == Some("gw_status") && fields.get("state").is_some_and(Value::is_string);
    let gateway = fields.get("gw_mac").and_then(Value::as_str).is_some_and(|text| mac::parse(text).is_some());
    let data = fields.get("data").and_then(Value::as_str).map(advertisement::unhex);
    status || (gateway && (matches!(data, Some(Ok(_))) || (data.is_none() && fields.contains_key("dataFormat"))))
}

impl Ruuvi {
    /// With nothing remembered.
    pub fn new() -> Self {
        Self { last: Recent::new(REMEMBERED) }
    }

    /// Forgets which messages were heard: they may come again and are not stored yet.
    pub fn forget_frames(&mut self) {
        self.last = Recent::new(REMEMBERED);
    }

    /// Decodes one message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        let fields = match message.json() {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return refused(DeadReason::Malformed, "expected a JSON object", message.payload),
            Err(refused) => return refused,
        };
        if message.topic.rsplit('/').next() == Some("gw_status") {
            return status(message, &fields);
        }
        if let Some(data) = fields.get("data") {
            let Some(text) = data.as_str() else {
                return refused(DeadReason::Malformed, "the field `data`: expected text in hex", message.payload);
            };
            return self.advertisement(message, &fields, text);
        }
        if fields.contains_key("dataFormat") {
            return self.decoded(message, &fields);
        }
        refused(DeadReason::NoReading, "expected a field `data` or `dataFormat`", message.payload)
    }

    /// An advertisement in hex.
    fn advertisement(&mut self, message: &Message<'_>, fields: &Map<String, Value>, hex: &str) -> Decoded {
        let bytes = match advertisement::unhex(hex) {
            Ok(bytes) => bytes,
            Err(at) => {
                let detail = format!("the field `data`, character {at}: expected pairs of hex digits");
                return refused(DeadReason::Malformed, detail, message.payload);
            }
        };
        let read = match advertisement::read(&bytes) {
            Ok(Some(read)) => read,
            Ok(None) => return Decoded::default(),
            Err(fault) => {
                let reason =
                    if matches!(fault, Fault::Unknown(_)) { DeadReason::NoReading } else { DeadReason::Malformed };
                return refused(reason, format!("the field `data`: {fault}"), message.payload);
            }
        };
        let Some(node) = node_of(message, read.mac) else {
            let detail = "expected a topic that ends with the tag's address: the advertisement has none";
            return refused(DeadReason::BadName, detail, message.payload);
        };
        let Advertisement { values, sequence, .. } = read;
        if sequence.is_some() && self.repeats(message, &node, &bytes) {
            return Decoded::default();
        }
        let mut found = Found::new(message.payload);
        let when = time_of(fields, &node, message, &mut found);
        for (own_name, metric, unit, value) in values {
            found.value(&node, own_name, &Term::of_kind(metric, metric, unit), value, when);
        }
        rssi(fields, &node, when, &mut found);
        found.finish()
    }

    /// Values that the gateway has decoded itself.
    fn decoded(&mut self, message: &Message<'_>, fields: &Map<String, Value>) -> Decoded {
        let own = fields.get("id").and_then(Value::as_str).and_then(mac::parse);
        let Some(node) = node_of(message, own) else {
            let detail = "expected the tag's address in the field `id` or at the topic's end";
            return refused(DeadReason::BadName, detail, message.payload);
        };
        if let Some(Value::Number(sequence)) = fields.get("measurementSequenceNumber") {
            let values: Vec<String> =
                DECODED.iter().filter_map(|(name, ..)| Some(fields.get(*name)?.to_string())).collect();
            if self.repeats(message, &node, format!("{sequence} {}", values.join(" ")).as_bytes()) {
                return Decoded::default();
            }
        }
        let mut found = Found::new(message.payload);
        let when = time_of(fields, &node, message, &mut found);
        for (own_name, metric, unit) in DECODED {
            if let Some(value) = fields.get(*own_name) {
                found.scalar(&node, own_name, &Term::of_kind(*metric, metric, unit), of_json(value), when);
            }
        }
        rssi(fields, &node, when, &mut found);
        found.finish()
    }

    /// Whether the tag's last advertisement was the same, in another message.
    fn repeats(&mut self, message: &Message<'_>, node: &str, measurement: &[u8]) -> bool {
        if message.retain {
            return false;
        }
        let now = Last { measurement: key([measurement]), message: key([message.topic.as_bytes(), message.payload]) };
        let tag = key([node.as_bytes()]);
        if self.last.get(&tag).is_some_and(|last| last.measurement == now.measurement) {
            return self.last.get(&tag).is_some_and(|last| last.message != now.message);
        }
        self.last.put(tag, now);
        false
    }
}

/// The gateway says, or its will for it, whether it is there.
fn status(message: &Message<'_>, fields: &Map<String, Value>) -> Decoded {
    let gateway = message.topic.rsplit('/').nth(1).filter(|level| !level.is_empty());
    let gateway = gateway.map(|level| mac::parse(level).map_or_else(|| level.to_owned(), mac::spelled));
    let mut found = Found::new(message.payload);
    match fields.get("state").and_then(Value::as_str) {
        Some("online") => found.availability(&message.node_or(gateway.as_deref()), true, When::Arrival),
        Some("offline") => found.availability(&message.node_or(gateway.as_deref()), false, When::Arrival),
        _ => found.dead(DeadReason::Malformed, "the field `state`: expected `online` or `offline`"),
    }
    found.finish()
}

/// The tag by its own address, or else by the topic.
fn node_of(message: &Message<'_>, own: Option<[u8; 6]>) -> Option<Arc<str>> {
    let topic = || message.topic.rsplit('/').next().and_then(mac::parse);
    own.or_else(topic).map(|mac| Arc::from(mac::spelled(mac))).or_else(|| message.node.map(Arc::from))
}

/// When the gateway heard the tag.
fn time_of(fields: &Map<String, Value>, node: &Arc<str>, message: &Message<'_>, found: &mut Found<'_>) -> When {
    for name in ["ts", "gwts"] {
        let text = match fields.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        match parse_text(&text, message.local) {
            Some(Timestamp(0)) => {}
            Some(at) => return When::Live(at),
            None if text.trim().is_empty() => {}
            None => {
                found.bad_time(node, name, &text);
                return When::Arrival;
            }
        }
    }
    When::Arrival
}

fn rssi(fields: &Map<String, Value>, node: &Arc<str>, when: When, found: &mut Found<'_>) {
    let scalar = fields.get("rssi").map_or(Scalar::Nothing, of_json);
    found.scalar(node, "rssi", &Term::named("rssi"), scalar, when);
}
