//! What a device tells of itself: `STATE`, `RESULT`, `INFO` and single states.

use serde_json::{Map, Value};

use super::{Status, is_numbered};
use crate::codec::payload::fields::{each_leaf, switch_of};
use crate::codec::payload::scalar::of_json;
use crate::codec::payload::vocabulary::Term;

/// Fields that hold no values: numbers of channels and access points, times, colours in hexadecimal, words.
const NO_VALUES: [&str; 9] =
    ["Time", "Epoch", "Color", "HSBColor", "Wifi.AP", "Wifi.Channel", "Wifi.BSSId", "Wifi.SSId", "Wifi.Mode"];

/// What of a `RESULT` is a state and no answer about a setting.
const STATES: [&str; 9] = ["POWER", "Dimmer", "CT", "White", "Channel", "FanSpeed", "Shutter", "Counter", "Position"];

impl Status<'_, '_> {
    /// The periodic state.
    pub(super) fn state(&mut self, object: &Map<String, Value>) {
        for (key, value) in object {
            each_leaf(value, &mut key.clone(), &mut |path, leaf| self.state_leaf(path, leaf, object));
        }
    }

    fn state_leaf(&mut self, path: &str, value: &Value, all: &Map<String, Value>) {
        let term = match path {
            _ if NO_VALUES.contains(&path) => return,
            "Uptime" | "Wifi.Downtime" => {
                // The same in seconds is beside it, in all versions since 6.3.
                if let (Some(seconds), false) =
                    (value.as_str().and_then(duration), all.contains_key("UptimeSec") && path == "Uptime")
                {
                    let term = if path == "Uptime" { Term::named("uptime") } else { Term::in_unit(path, "s") };
                    self.found.value(&self.node, path, &term, seconds, self.when);
                }
                return;
            }
            "UptimeSec" => Term::named("uptime"),
            "Vcc" => Term::in_unit(path, "V"),
            // Tasmota's RSSI of the WLAN is a quality from 0 to 100; the signal is what all others call so.
            "Wifi.RSSI" => Term::in_unit(path, "%"),
            "Wifi.Signal" => Term::named("rssi"),
            _ => Term::unknown(path),
        };
        self.found.scalar(&self.node, path, &term, of_json(value), self.when);
    }

    /// What a command has led to, and what happened.
    pub(super) fn result(&mut self, object: &Map<String, Value>) {
        for (key, value) in object {
            let is_state = STATES.iter().any(|word| is_numbered(key, word));
            match value {
                _ if is_numbered(key, "Button") || is_numbered(key, "Switch") => self.input(key, value),
                Value::Object(_) if key.ends_with("Received") => self.sensor_or_device(key, value, object),
                _ if is_state => each_leaf(value, &mut key.clone(), &mut |path, leaf| {
                    self.found.scalar(&self.node, path, &Term::unknown(path), of_json(leaf), self.when);
                }),
                _ => {}
            }
        }
    }

    /// A button or switch: `{"Action":"SINGLE"}` or its bare state. On and off are a state, all others have happened.
    pub(super) fn input(&mut self, key: &str, value: &Value) {
        let action = value.get("Action").unwrap_or(value);
        match (switch_of(action), action) {
            (Some(switch), _) => self.found.value(&self.node, key, &Term::unknown(key), switch, self.when),
            (None, Value::String(text)) => self.event(key, text),
            (None, Value::Number(_)) => {
                self.found.scalar(&self.node, key, &Term::unknown(key), of_json(action), self.when);
            }
            _ => {}
        }
    }

    /// What is sent once after a start: only the reason of the restart is news.
    pub(super) fn info(&mut self, object: &Map<String, Value>) {
        let inner = object.values().find_map(Value::as_object).unwrap_or(object);
        match inner.get("RestartReason") {
            Some(Value::String(reason)) => self.event("RestartReason", reason),
            // Later versions say it as an object of the cause and what the chip tells of it.
            Some(Value::Object(reason)) => {
                let text = reason.values().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
                self.event("RestartReason", &text);
            }
            _ => {}
        }
        if let Some(count) = inner.get("BootCount") {
            self.found.scalar(&self.node, "BootCount", &Term::unknown("BootCount"), of_json(count), self.when);
        }
    }
}

/// Seconds of `12T18:36:12`: days, hours, minutes, seconds.
fn duration(text: &str) -> Option<f64> {
    let (days, clock) = text.split_once('T')?;
    let mut seconds = f64::from(days.parse::<u32>().ok()?);
    let mut parts = clock.split(':');
    for unit in [24, 60, 60] {
        seconds = seconds * f64::from(unit) + f64::from(parts.next()?.parse::<u16>().ok()?);
    }
    parts.next().is_none().then_some(seconds)
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_seconds() {
        assert_eq!(super::duration("0T18:36:12"), Some(66_972.0));
        assert_eq!(super::duration("100T00:00:01"), Some(8_640_001.0));
        for text in ["", "T", "0T1:2", "0T1:2:3:4", "xT1:2:3", "0T-1:2:3"] {
            assert_eq!(super::duration(text), None, "{text}");
        }
    }
}
