//! `the-things-stack`: what The Things Stack v3 (The Things Network) publishes of LoRaWAN devices.
//!
//! By The Things Stack's documentation (data formats, MQTT server) and its API; `lib/payload.json` of the Device Repository
//! has the normalized payload:
//!
//! - A message is a JSON object with `end_device_ids`, on `v3/APPLICATION[@TENANT]/devices/DEVICE/up` (or `/join`,
//!   `/down/...`, `/location/solved`, `/service/data`), or on whatever topic its Pub/Sub integration has. What it is, is told
//!   by its fields. Fields with 0, false or empty text are left out there.
//! - **Node**: `device_id`. A **simulated** uplink belongs to the node `DEVICE/simulated`: it never mixes with
//!   the device's own, and can be asked for or deleted by itself.
//! - **Time**: when a gateway received the uplink, which is when the device measured: `settings.time`, else the earliest
//!   `time` of `rx_metadata`. Gateways' clocks may be wrong: a time that is later than the network server's
//!   `uplink_message.received_at` by more than [`AHEAD`], or earlier by more than [`BEHIND`], is not believed. Then, and
//!   where no gateway tells, that `received_at` counts, and at last the outer one, of the application server.
//! - **Readings**: the numbers and booleans of `decoded_payload`, named by their path ([`names`]), and of
//!   `normalized_payload`, whose names and units are defined; where both have a metric, the normalized counts. An element of it
//!   with a `time` has that time. `rssi` and `snr` of the gateway that heard best.
//!   `last_battery_percentage` at its own time. Registered locations are configuration and no readings; those that were measured
//!   are (`locations` by GPS, `location_solved`).
//! - **No decoder**: the event `uplink` with port and payload (base64), so that nothing is lost. Warnings and errors
//!   of a decoder are events as well.
//! - **Duplicates**: the same uplink of a device (`dev_eui`, `session_key_id`, `f_cnt`, port and payload) again
//!   within [`WINDOW`], as devices repeat what is not confirmed, is left out. The same message byte for byte, more
//!   than [`REDELIVERED`] later, is decoded again: that is a broker's redelivery, and its readings' times are known.
//! - Other events: `join`, `downlink_failed`, `downlink_nack`. What else is told of downlinks, and service data, gives nothing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::found::{Found, refused};
use super::recent::{Key, Recent, key};
use super::scalar::{Scalar, of_json};
use super::vocabulary::Term;
use super::{Message, texts};
use crate::codec::time::{Local, parse_text};
use crate::reading::{DeadReason, Decoded, Timestamp, When};

pub mod names;

#[cfg(test)]
mod tests;

/// How much later than the network server a gateway's clock may be.
pub const AHEAD: i64 = 10_000_000;
/// How much earlier: a gateway may have kept an uplink while it was offline.
pub const BEHIND: i64 = 86_400_000_000;
/// How long a device may repeat an uplink.
pub const WINDOW: i64 = 600_000_000;
/// From when on the same bytes are a broker's redelivery.
pub const REDELIVERED: i64 = 10_000_000;
/// How many uplinks are remembered; of more within [`WINDOW`] a duplicate may be stored again.
pub const REMEMBERED: usize = 2_048;
/// How deep a decoded payload is looked at.
const MAX_DEPTH: usize = 16;

/// An uplink that was decoded.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Option<i64>,
    arrival: Option<i64>,
    message: Key,
}

/// The format with its memory of the last uplinks.
#[derive(Clone, Debug)]
pub struct TheThingsStack {
    heard: Recent<Heard>,
}

impl Default for TheThingsStack {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this is The Things Stack's: a device's topic, and an object with the device's ids.
pub fn recognises(message: &Message<'_>) -> bool {
    let mut levels = message.topic.split('/');
    let topic = levels.next() == Some("v3") && levels.nth(1) == Some("devices");
    let ours = topic && message.text().is_ok_and(|text| text.starts_with('{'));
    ours && matches!(serde_json::from_slice::<Value>(message.payload), Ok(Value::Object(fields))
        if device(&fields).is_some() || fields.contains_key("downlinks"))
}

/// The device's id.
fn device(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("end_device_ids")?.get("device_id")?.as_str().map(str::trim).filter(|id| !id.is_empty())
}

/// The text of a field of an object.
fn text<'f>(fields: &'f Map<String, Value>, name: &str) -> &'f str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A time of the servers: RFC 3339, in UTC where there is no zone.
fn time(value: Option<&Value>) -> Option<Timestamp> {
    parse_text(value?.as_str()?, Local::UTC).filter(|at| at.micros() > 0)
}

impl TheThingsStack {
    /// With nothing remembered.
    pub fn new() -> Self {
        Self { heard: Recent::new(REMEMBERED) }
    }

    /// Forgets which messages were heard: they may come again and are not stored yet.
    pub fn forget_frames(&mut self) {
        self.heard = Recent::new(REMEMBERED);
    }

    /// Decodes one message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        let fields = match message.json() {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return refused(DeadReason::Malformed, "expected a JSON object", message.payload),
            Err(refused) => return refused,
        };
        // Downlinks that an application schedules (`down/push`, `down/replace`).
        if fields.contains_key("downlinks") {
            return Decoded::default();
        }
        let Some(device) = device(&fields) else {
            let detail = "expected the device's id as text in `end_device_ids.device_id`";
            return refused(DeadReason::Malformed, detail, message.payload);
        };
        let simulated = fields.get("simulated") == Some(&Value::Bool(true));
        let node: Arc<str> = Arc::from(if simulated { format!("{device}/simulated") } else { device.to_owned() });
        let mut found = Found::new(message.payload);
        let object = |name: &str| fields.get(name).and_then(Value::as_object);
        if let Some(uplink) = object("uplink_message").or_else(|| object("uplink_normalized")) {
            let (at, unread) = time_of(uplink, &fields);
            if !simulated && !message.retain && self.repeats(message, &fields, uplink, at) {
                return Decoded::default();
            }
            let when = at.map_or(When::Arrival, When::Live);
            self::uplink(&mut found, &node, uplink, when, message.local);
            if let Some(text) = unread {
                found.bad_time(&node, "received_at", &text);
            }
            return found.finish();
        }
        let when = time(fields.get("received_at")).map_or(When::Arrival, When::Live);
        if let Some(join) = object("join_accept") {
            let when = time(join.get("received_at")).map_or(when, When::Live);
            let address =
                fields.get("end_device_ids").and_then(Value::as_object).map_or("", |ids| text(ids, "dev_addr"));
            found.event(&node, "join", address, when);
        } else if let Some(location) = object("location_solved") {
            let inner = location.get("location").and_then(Value::as_object).unwrap_or(location);
            place(&mut found, &node, inner, "location_solved", when);
        } else if let Some(failed) = object("downlink_failed") {
            let error =
                failed.get("error").and_then(Value::as_object).map_or("", |error| text(error, "message_format"));
            found.event(&node, "downlink_failed", error, when);
        } else if let Some(nack) = object("downlink_nack") {
            found.event(&node, "downlink_nack", text(nack, "frm_payload"), when);
        } else if !fields.keys().any(|key| key.starts_with("downlink_") || key == "service_data") {
            found.dead(DeadReason::NoReading, "expected `uplink_message` or another of the known messages");
        }
        found.finish()
    }

    /// Whether this uplink was decoded a while ago. If not it is remembered.
    fn repeats(
        &mut self,
        message: &Message<'_>,
        fields: &Map<String, Value>,
        uplink: &Map<String, Value>,
        at: Option<Timestamp>,
    ) -> bool {
        let ids = fields.get("end_device_ids").map(ToString::to_string).unwrap_or_default();
        let eui = fields.get("end_device_ids").and_then(Value::as_object).map_or("", |ids| text(ids, "dev_eui"));
        let session = text(uplink, "session_key_id");
        // Without a session a counter says nothing of its own.
        if session.is_empty() {
            return false;
        }
        let number = |name: &str| uplink.get(name).map(ToString::to_string).unwrap_or_default();
        let normalized = uplink.get("normalized_payload").map(ToString::to_string).unwrap_or_default();
        let kind = fields.contains_key("uplink_message");
        let key_of = key([
            if eui.is_empty() { ids.as_bytes() } else { eui.as_bytes() },
            session.as_bytes(),
            number("f_cnt").as_bytes(),
            number("f_port").as_bytes(),
            text(uplink, "frm_payload").as_bytes(),
            // One uplink may have several messages with a normalized payload each.
            if kind { b"" } else { normalized.as_bytes() },
            &[u8::from(kind)],
        ]);
        let now = Heard {
            at: at.map(Timestamp::micros),
            arrival: message.local.arrival.map(Timestamp::micros),
            message: key([message.topic.as_bytes(), message.payload]),
        };
        if let Some(first) = self.heard.get(&key_of) {
            let apart = |a: Option<i64>, b: Option<i64>| {
                a.zip(b).map(|(a, b)| i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX))
            };
            let arrivals = apart(now.arrival, first.arrival);
            let redelivered = now.message == first.message && arrivals.is_none_or(|apart| apart >= REDELIVERED);
            if !redelivered && apart(now.at, first.at).or(arrivals).is_none_or(|apart| apart < WINDOW) {
                return true;
            }
        }
        self.heard.put(key_of, now);
        false
    }
}

/// When a gateway received an uplink, or else a server; and the server's time where it cannot be read.
fn time_of(uplink: &Map<String, Value>, fields: &Map<String, Value>) -> (Option<Timestamp>, Option<String>) {
    let told = |fields: &'_ Map<String, Value>| fields.get("received_at").filter(|value| !value.is_null()).cloned();
    let server = told(uplink).or_else(|| told(fields));
    let received = time(server.as_ref());
    let unread = server.filter(|_| received.is_none()).map(|value| value.to_string());
    let settings = time(uplink.get("settings").and_then(|settings| settings.get("time")));
    let gateways =
        || uplink.get("rx_metadata")?.as_array()?.iter().filter_map(|gateway| time(gateway.get("time"))).min();
    let believed = |at: &Timestamp| {
        received.is_none_or(|received| {
            let behind = received.micros().saturating_sub(at.micros());
            (-AHEAD..=BEHIND).contains(&behind)
        })
    };
    (settings.filter(believed).or_else(|| gateways().filter(believed)).or(received), unread)
}

/// The values of an uplink.
fn uplink(found: &mut Found<'_>, node: &Arc<str>, uplink: &Map<String, Value>, when: When, local: Local) {
    match uplink.get("decoded_payload") {
        None | Some(Value::Null) => {}
        Some(value) => leaves(found, node, &mut Path::default(), value, when),
    }
    match uplink.get("normalized_payload") {
        Some(Value::Array(elements)) => {
            for element in elements {
                normalized(found, node, element, when, local);
            }
        }
        Some(element @ Value::Object(_)) => normalized(found, node, element, when, local),
        _ => {}
    }
    // Nothing was decoded: the payload itself is kept.
    let payload = text(uplink, "frm_payload");
    if found.is_empty() && !payload.is_empty() {
        let port = uplink.get("f_port").map_or_else(|| "0".to_owned(), ToString::to_string);
        found.event(node, "uplink", &format!("port {port}, payload {payload}"), when);
    }
    for (name, kind) in [
        ("decoded_payload_warnings", "decoder_warning"),
        ("normalized_payload_warnings", "decoder_warning"),
        ("decoded_payload_errors", "decoder_error"),
    ] {
        for warning in uplink.get(name).and_then(Value::as_array).into_iter().flatten() {
            if let Some(text) = warning.as_str() {
                found.event(node, kind, text, when);
            }
        }
    }
    signal(found, node, uplink, when);
    if let Some(battery) = uplink.get("last_battery_percentage").and_then(Value::as_object)
        && let Some(at) = time(battery.get("received_at"))
    {
        let value = battery.get("value").map_or(Scalar::Value(0.0), of_json);
        found.scalar(node, "last_battery_percentage", &Term::named("battery"), value, When::Live(at));
    }
    for location in uplink.get("locations").and_then(Value::as_object).into_iter().flat_map(Map::values) {
        if let Value::Object(fields) = location
            && !matches!(text(fields, "source"), "SOURCE_REGISTRY" | "SOURCE_UNKNOWN" | "")
        {
            place(found, node, fields, "locations", when);
        }
    }
}

/// A place that was measured. A coordinate that is 0 is left out of the message.
fn place(found: &mut Found<'_>, node: &Arc<str>, fields: &Map<String, Value>, own_name: &str, when: When) {
    let both = ["latitude", "longitude"].iter().any(|name| fields.contains_key(*name));
    for name in ["latitude", "longitude", "altitude", "accuracy"] {
        let needed = both && matches!(name, "latitude" | "longitude");
        let scalar = match fields.get(name) {
            Some(value) => of_json(value),
            None if needed => Scalar::Value(0.0),
            None => continue,
        };
        let term = if name == "accuracy" { Term::of_kind("location_accuracy", "", "m") } else { Term::named(name) };
        found.scalar(node, &format!("{own_name}.{name}"), &term, scalar, when);
    }
}

/// The signal at the gateway that heard the device loudest. A value of 0 is left out of the message.
fn signal(found: &mut Found<'_>, node: &Arc<str>, uplink: &Map<String, Value>, when: When) {
    let number = |gateway: &Value, name: &str| match gateway.get(name).map(of_json) {
        Some(Scalar::Value(value)) => Some(value),
        _ => None,
    };
    let gateways = uplink.get("rx_metadata").and_then(Value::as_array).into_iter().flatten();
    let rssi = |gateway: &Value| number(gateway, "rssi").or_else(|| number(gateway, "channel_rssi"));
    let best = gateways.filter_map(|gateway| Some((gateway, rssi(gateway)?))).max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((gateway, rssi)) = best {
        found.value(node, "rssi", &Term::named("rssi"), rssi, when);
        let lora = uplink.get("settings").and_then(|settings| settings.get("data_rate")?.get("lora")).is_some();
        if let Some(snr) = number(gateway, "snr").or(lora.then_some(0.0)) {
            found.value(node, "snr", &Term::named("snr"), snr, when);
        }
    }
}

/// One measurement of a normalized payload: groups of values with defined units.
fn normalized(found: &mut Found<'_>, node: &Arc<str>, element: &Value, when: When, local: Local) {
    let Value::Object(groups) = element else { return };
    let when = match groups.get("time").and_then(Value::as_str) {
        None => when,
        Some(text) => {
            if let Some(at) = parse_text(text, local) {
                When::Live(at)
            } else {
                found.bad_time(node, "normalized_payload.time", text);
                when
            }
        }
    };
    for (group, value) in groups.iter().filter(|(name, _)| *name != "time") {
        normalized_leaves(found, node, group, value, when, 0);
    }
}

fn normalized_leaves(found: &mut Found<'_>, node: &Arc<str>, path: &str, value: &Value, when: When, depth: usize) {
    match value {
        Value::Object(fields) if depth < MAX_DEPTH => {
            for (name, value) in fields {
                normalized_leaves(found, node, &format!("{path}.{name}"), value, when, depth + 1);
            }
        }
        // `action.contactState` is `open` or `closed`.
        Value::String(text) => match names::word(text) {
            Some(value) => found.value(node, path, &names::normalized(path), value, when),
            None => found.event(node, path, text, when),
        },
        Value::Object(_) | Value::Array(_) => {}
        _ => {
            found.scalar(node, path, &names::normalized(path), of_json(value), when);
        }
    }
}

/// The way to a value in a decoded payload.
#[derive(Default)]
struct Path {
    text: String,
    depth: usize,
}

/// The values of a decoded payload.
fn leaves(found: &mut Found<'_>, node: &Arc<str>, path: &mut Path, value: &Value, when: When) {
    let len = path.text.len();
    let mut below = |path: &mut Path, name: &str, value: &Value| {
        if path.depth >= MAX_DEPTH || names::ignored(name) {
            return;
        }
        if len > 0 {
            path.text.push('.');
        }
        path.text.push_str(name);
        path.depth += 1;
        leaves(found, node, path, value, when);
        path.depth -= 1;
        path.text.truncate(len);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| below(path, name, value)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(n, value)| below(path, &n.to_string(), value));
        }
        _ => {
            let name = if len == 0 { "value" } else { path.text.as_str() };
            match of_json(value) {
                Scalar::Text(word) => match names::word(word) {
                    Some(value) => found.value(node, name, &names::decoded(name), value, when),
                    None if names::is_event(name) || texts::tells(name, word) => found.event(node, name, word, when),
                    None => {}
                },
                scalar => {
                    found.scalar(node, name, &names::of_value(name, scalar), scalar, when);
                }
            }
        }
    }
}
