//! What the fields of Theengs Decoder and of OpenMQTTGateway mean.

use serde_json::{Map, Value};

use crate::codec::payload::scalar::Scalar;
use crate::codec::payload::vocabulary::Term;

/// Fields with the metric that they are and their unit. A number behind one (`tempc2`) tells several of a device apart.
const FIELDS: &[(&str, &str, &str)] = &[
    ("accx", "acceleration_x", "m/s2"),
    ("accy", "acceleration_y", "m/s2"),
    ("accz", "acceleration_z", "m/s2"),
    ("altift", "altitude", "ft"),
    ("altim", "altitude", "m"),
    ("batt", "battery", "%"),
    ("co2", "co2", "ppm"),
    ("current", "current", "A"),
    ("distance", "distance", "m"),
    ("dp", "dew_point", "degC"),
    ("energy", "energy", "kWh"),
    ("fer", "conductivity", "uS/cm"),
    ("for", "formaldehyde", "mg/m3"),
    ("hum", "humidity", "%"),
    ("humidity", "humidity", "%"),
    ("lux", "illuminance", "lx"),
    ("moi", "soil_moisture", "%"),
    ("pa", "pressure", "Pa"),
    ("pm25", "pm2_5", "ug/m3"),
    ("power", "power", "W"),
    ("pres", "pressure", "hPa"),
    ("rssi", "rssi", "dBm"),
    ("snr", "snr", "dB"),
    ("temp", "temperature", "degC"),
    ("tempc", "temperature", "degC"),
    ("temperature", "temperature", "degC"),
    ("tempf", "temperature", "degF"),
    ("tx", "tx_power", "dBm"),
    ("txpower", "tx_power", "dBm"),
    ("uptime", "uptime", "s"),
    ("volt", "voltage", "V"),
    ("weight", "weight", "kg"),
];

/// Names that end with a digit of their own.
const WHOLE: [&str; 4] = ["co2", "pm25", "pm10", "no2"];

/// Identity, protocol, and what the gateway tells of itself.
const IGNORED: &[&str] = &[
    "id",
    "name",
    "mac",
    "mac_type",
    "brand",
    "model",
    "model_id",
    "mfid",
    "mfr",
    "uuid",
    "major",
    "minor",
    "type",
    "cidc",
    "acts",
    "cont",
    "track",
    "encr",
    "ctr",
    "mic",
    "cipher",
    "servicedata",
    "servicedatauuid",
    "manufacturerdata",
    "adv_type",
    "advertisementdata",
    "seq",
    "packet",
    "packetid",
    "device_id",
    "device",
    "addr",
    "res",
    "unit",
    "hex",
    "raw",
    "pferror",
    "packetSize",
    "from",
    "to",
    "protocol",
    "length",
    "delay",
    "bits",
    "repeats",
    "version",
    "mqttport",
    "mqttserver",
    "ip",
    "SSID",
    "BSSID",
    "env",
    "modules",
    "systemcode",
    "unitcode",
    "time",
    "tag",
    "host",
    "UTCtime",
    "unixtime",
    "origin",
];

/// Fields whose text is an event.
const EVENTS: &[&str] = &[
    "button",
    "action",
    "event",
    "press",
    "state",
    "status",
    "direction",
    "message",
    "gesture",
    "alert",
    "alarm",
    "gpio",
    "command",
    "cmd",
    "key",
    "mode",
];

/// The name without the number that tells several apart: `tempc` and `2`.
fn numbered(name: &str) -> (&str, &str) {
    if WHOLE.contains(&name) {
        return (name, "");
    }
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if base.is_empty() { (name, "") } else { name.split_at(base.len()) }
}

/// Whether a field is no reading: what it is, or because the same value is there in a better unit.
pub fn ignored(name: &str, fields: &Map<String, Value>) -> bool {
    let (base, number) = numbered(name);
    let better = match base {
        "tempf" => "tempc",
        "altift" => "altim",
        _ => return IGNORED.contains(&name),
    };
    fields.get(&format!("{better}{number}")).is_some_and(|value| !value.is_null())
}

/// The metric of a field.
pub fn term<'f>(name: &'f str, value: Scalar<'_>, fields: &Map<String, Value>) -> Term<'f> {
    let (base, number) = numbered(name);
    let Some((_, kind, unit)) = FIELDS.iter().find(|(field, ..)| *field == base) else { return Term::named(name) };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let unit = match base {
        "temp" if text("unit") == "F" => "degF",
        // Tyres are told in bar.
        "pres" if text("model_id").starts_with("TPMS") => "bar",
        // No sensor has a thousand volts: an old decoder's millivolts.
        "volt" if matches!(value, Scalar::Value(volt) if volt >= 1_000.0) => "mV",
        "weight" if matches!(text("unit"), "lb" | "lbs") => "lb",
        _ => unit,
    };
    let metric = if number.is_empty() { (*kind).to_owned() } else { format!("{kind}_{number}") };
    Term::of_kind(metric, kind, unit)
}

/// Words that stand for a switch, besides those that every format knows.
pub fn word(word: &str) -> Option<f64> {
    match word.to_ascii_lowercase().as_str() {
        "open" | "opened" | "high" | "present" | "home" | "yes" => Some(1.0),
        "closed" | "close" | "low" | "absent" | "not_home" | "no" => Some(0.0),
        _ => None,
    }
}

/// Whether the text of this field is an event.
pub fn is_event(name: &str) -> bool {
    EVENTS.contains(&name)
}

/// Whether a number of this field is an event as well.
pub fn is_action(name: &str) -> bool {
    matches!(name, "button" | "action" | "event" | "press" | "message" | "command" | "cmd" | "key")
}
