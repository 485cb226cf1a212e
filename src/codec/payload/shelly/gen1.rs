//! The topics of Shelly's first generation, `shellies/<device>/...`, as its documentation ("MQTT" of each device) has them: bare
//! text, but for the status of lights and motion sensors and the events of inputs.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::codec::payload::Message;
use crate::codec::payload::fields::{each_leaf, switch_of};
use crate::codec::payload::found::Found;
use crate::codec::payload::scalar::{Scalar, of_json, of_text};
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

/// Levels behind the device that a device publishes.
const KINDS: [&str; 26] = [
    "adc",
    "announce",
    "color",
    "command",
    "emeter",
    "ext_humidities",
    "ext_humidity",
    "ext_temperature",
    "ext_temperatures",
    "info",
    "input",
    "input_event",
    "light",
    "longpush",
    "online",
    "overtemperature",
    "relay",
    "roller",
    "sensor",
    "settings",
    "status",
    "temperature",
    "temperature_f",
    "temperature_status",
    "voltage",
    "white",
];

/// Decodes what a device of the first generation has sent at `shellies/<device>/<rest>`.
pub(super) fn decode(message: &Message<'_>, device: &str, rest: &str) -> Decoded {
    let node = message.node_or(Some(device));
    let text = match message.text() {
        Ok(text) => text,
        Err(dead) => return dead,
    };
    let mut found = Found::new(message.payload);
    let levels: Vec<&str> = rest.splitn(4, '/').collect();
    match levels[..] {
        ["online"] => super::online(&mut found, &node, text),
        // The whole configuration, what was asked for, and Fahrenheit beside Celsius.
        [
            "announce" | "info" | "settings" | "command" | "temperature_f" | "ext_temperatures" | "ext_humidities",
            ..,
        ] => {}
        [.., "command" | "set"] | ["sensor", "act_reasons"] | [_, _, "ext_temperature_f"] => {}
        _ if text.starts_with('{') => match message.json() {
            Ok(status) => object(&mut found, &node, &levels, &status),
            Err(dead) => return dead,
        },
        _ => value(&mut found, &node, &levels, text),
    }
    found.finish()
}

/// Whether this can be a device of the first generation.
pub(super) fn recognises(message: &Message<'_>, rest: &str) -> bool {
    let Ok(text) = std::str::from_utf8(message.payload) else { return false };
    let known = rest.split('/').next().is_some_and(|kind| KINDS.binary_search(&kind).is_ok());
    let whole = !text.trim_start().starts_with('{') || serde_json::from_str::<Value>(text).is_ok();
    known && whole && (rest != "online" || matches!(text.trim(), "true" | "false" | ""))
}

fn object(found: &mut Found<'_>, node: &Arc<str>, levels: &[&str], status: &Value) {
    if levels[0] == "input_event" {
        let event = status.get("event").and_then(Value::as_str).unwrap_or_default();
        if !event.is_empty() {
            found.event(node, &levels.join("/"), event, When::Arrival);
        }
        return;
    }
    let mut path = if levels == ["status"] { String::new() } else { levels.join("/") };
    each_leaf(status, &mut path, &mut |path, leaf| {
        let key = path.rsplit('.').next().unwrap_or(path);
        let term = match key {
            "timestamp" | "timer_started" | "timer_duration" | "timer_remaining" | "transition" => return,
            "lux" | "lux.value" => Term::named("illuminance"),
            "bat" => Term::named("battery"),
            _ if switch_of(leaf).is_none() && key == "power" => Term::in_unit(path, "W"),
            _ => Term::unknown(path),
        };
        found.scalar(node, path, &term, of_json(leaf), When::Arrival);
    });
}

/// A bare value. Words of relays, rollers and doors are 1 and 0; other text has happened.
fn value(found: &mut Found<'_>, node: &Arc<str>, levels: &[&str], text: &str) {
    let own = levels.join("/");
    let words = match text {
        "open" => Some(1.0),
        "close" | "closed" => Some(0.0),
        _ => None,
    };
    match (words, of_text(text)) {
        (Some(switch), _) => found.value(node, &own, &Term::unknown(&own), switch, When::Arrival),
        (None, Scalar::Text(text)) if levels[0] != "temperature_status" => found.event(node, &own, text, When::Arrival),
        (None, Scalar::TooLarge(_)) => found.dead(DeadReason::BadNumber, "the number does not fit into a 64-bit float"),
        (None, scalar) => {
            found.scalar(node, &own, &term(&own, levels), scalar, When::Arrival);
        }
    }
}

/// The metric of a bare number. The energy of a relay is in watt minutes, the totals of an energy meter in watt hours.
fn term<'a>(own: &'a str, levels: &[&str]) -> Term<'a> {
    let (metric, unit, id) = match *levels {
        ["relay" | "roller" | "light" | "color" | "white", id, "power"] => ("power", "W", id),
        ["relay" | "roller" | "light" | "color" | "white", id, "energy"] => ("energy", "Wmin", id),
        ["emeter", id, "total"] => ("energy", "Wh", id),
        ["emeter", id, "total_returned"] => ("energy_returned", "Wh", id),
        ["emeter", id, "power"] => ("power", "W", id),
        ["emeter", id, "voltage"] => ("voltage", "V", id),
        ["emeter", id, "current"] => ("current", "A", id),
        ["emeter", id, "pf"] => ("power_factor", "", id),
        ["emeter", id, "reactive_power"] => ("reactive_power", "var", id),
        ["emeter", _, "energy" | "returned_energy"] => return Term::in_unit(own, "Wmin"),
        ["adc", id] => ("voltage", "V", id),
        ["voltage"] => ("voltage", "V", "0"),
        ["temperature"] => ("device_temperature", "degC", "0"),
        ["sensor", "temperature"] => ("temperature", "degC", "0"),
        ["sensor", "humidity"] => ("humidity", "%", "0"),
        ["sensor", "battery"] => ("battery", "%", "0"),
        ["sensor", "lux"] => ("illuminance", "lx", "0"),
        ["ext_temperature", _] => return Term::in_unit(own, "degC"),
        ["ext_humidity", _] | ["roller", _, "pos"] => return Term::in_unit(own, "%"),
        _ => return Term::unknown(own),
    };
    let term = Term::in_unit(metric, unit);
    let metric = if id == "0" { Cow::Borrowed(metric) } else { Cow::Owned(format!("{metric}_{id}")) };
    Term { metric, ..term }
}
