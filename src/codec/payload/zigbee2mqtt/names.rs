//! The names of Zigbee2MQTT's exposes in the vocabulary's, with the units that its documentation gives them.

use std::borrow::Cow;

use super::Device;
use crate::codec::payload::fields::of_words;
use crate::codec::payload::vocabulary::Term;
use crate::reading::MAX_NAME;

/// Own name, the vocabulary's (or the own one where it has none), and the unit in which it comes.
const NAMES: &[(&str, &str, &str)] = &[
    ("absolute_humidity", "absolute_humidity", "g/m3"),
    ("ac_frequency", "frequency", "Hz"),
    ("action_duration", "action_duration", "s"),
    ("current_heating_setpoint", "current_heating_setpoint", "degC"),
    ("current_neutral", "current_neutral", "A"),
    ("current_phase_b", "current_phase_b", "A"),
    ("current_phase_c", "current_phase_c", "A"),
    ("dew_point", "dew_point", "degC"),
    ("eco2", "eco2", "ppm"),
    ("energy_phase_b", "energy_phase_b", "kWh"),
    ("energy_phase_c", "energy_phase_c", "kWh"),
    ("energy_produced", "energy_returned", "kWh"),
    ("formaldehyd", "formaldehyde", "mg/m3"),
    ("hcho", "formaldehyde", "mg/m3"),
    ("illuminance_lux", "illuminance_lux", "lx"),
    ("occupied_cooling_setpoint", "occupied_cooling_setpoint", "degC"),
    ("occupied_heating_setpoint", "occupied_heating_setpoint", "degC"),
    ("pi_cooling_demand", "pi_cooling_demand", "%"),
    ("pi_heating_demand", "pi_heating_demand", "%"),
    ("pm25", "pm2_5", "ug/m3"),
    ("position", "position", "%"),
    ("power_apparent", "apparent_power", "VA"),
    ("power_apparent_phase_b", "apparent_power_phase_b", "VA"),
    ("power_apparent_phase_c", "apparent_power_phase_c", "VA"),
    ("power_phase_b", "power_phase_b", "W"),
    ("power_phase_c", "power_phase_c", "W"),
    ("power_reactive", "reactive_power", "var"),
    ("power_reactive_phase_b", "reactive_power_phase_b", "var"),
    ("power_reactive_phase_c", "reactive_power_phase_c", "var"),
    ("produced_energy", "energy_returned", "kWh"),
    ("rain_rate", "precipitation_rate", "mm/h"),
    ("tilt", "tilt", "%"),
    ("transmit_power", "tx_power", "dBm"),
    ("unoccupied_cooling_setpoint", "unoccupied_cooling_setpoint", "degC"),
    ("unoccupied_heating_setpoint", "unoccupied_heating_setpoint", "degC"),
    ("voc", "voc", "ug/m3"),
    ("voc_parts", "voc_parts", "ppb"),
    ("voltage_phase_b", "voltage_phase_b", "V"),
    ("voltage_phase_c", "voltage_phase_c", "V"),
];

/// Endpoints of devices with several of a kind, as they stand behind a name: `state_left`, `temperature_l1`. Of those with a
/// number see [`is_endpoint`].
const ENDPOINTS: [&str; 21] = [
    "left",
    "right",
    "center",
    "bottom_left",
    "center_left",
    "bottom_right",
    "center_right",
    "top_left",
    "top_right",
    "top",
    "bottom",
    "relay",
    "white",
    "rgb",
    "cct",
    "rgbw",
    "meter",
    "usb",
    "produced",
    "consumed",
    "default",
];

/// Endpoints before a number: `l1`, `ep2`, `button_3`, `row_1`; also the number alone.
const NUMBERED: [&str; 7] = ["", "l", "ep", "button_", "row_", "relay_", "probe"];

/// No plug measures as many volts, and no battery as few millivolts, apart from one that is empty.
const MILLIVOLTS: f64 = 1_000.0;

fn is_endpoint(text: &str) -> bool {
    let letters = text.trim_end_matches(|c: char| c.is_ascii_digit());
    ENDPOINTS.contains(&text) || (letters.len() < text.len() && NUMBERED.contains(&letters))
}

/// A name and the endpoint behind it with its `_`, which is empty where there is none.
fn split_endpoint(name: &str) -> (&str, &str) {
    if name.len() > MAX_NAME {
        return (name, "");
    }
    let at = name.match_indices('_').map(|(at, _)| at).find(|&at| is_endpoint(&name[at + 1..]));
    at.map_or((name, ""), |at| name.split_at(at))
}

/// The metric of a field with a number.
///
/// A voltage is one of the mains in V, or one of a battery in mV, and both are called `voltage`: it is in mV from 1,000 on, and
/// from 100 on where the message says something of a battery.
pub(super) fn term(path: &str, number: f64, device: Device) -> Term<'_> {
    // `energy_produced` is a name, and `power_produced` that of an endpoint.
    let whole = NAMES.binary_search_by(|(own, ..)| (*own).cmp(path)).is_ok();
    let (stem, endpoint) = if whole { (path, "") } else { split_endpoint(path) };
    let term = match stem {
        "voltage" | "battery_voltage" => {
            let battery = device.battery || stem == "battery_voltage";
            let unit = if number >= MILLIVOLTS || (battery && number >= MILLIVOLTS / 10.0) { "mV" } else { "V" };
            Term::in_unit(stem, unit)
        }
        // Before 2.0 it was the raw value of the sensor wherever the other is there too.
        "illuminance" if device.lux => Term::unknown("illuminance_raw"),
        "illuminance_lux" if device.lux => Term::named("illuminance"),
        _ => match NAMES.binary_search_by(|(own, ..)| (*own).cmp(stem)) {
            Ok(at) => Term::in_unit(NAMES[at].1, NAMES[at].2),
            Err(_) => of_words(stem),
        },
    };
    if endpoint.is_empty() { term } else { Term { metric: Cow::Owned(format!("{}{endpoint}", term.metric)), ..term } }
}

/// 1 or 0 for the words in which covers, locks, valves and windows tell their state.
pub(super) fn switch(text: &str) -> Option<f64> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["open", "lock", "locked"]) {
        Some(1.0)
    } else if is(&["close", "closed", "unlock", "unlocked"]) {
        Some(0.0)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn endpoints_stay_behind_the_name() {
        for (own, metric, unit) in [
            ("temperature_l1", "temperature_l1", Some("degC")),
            ("power_left", "power_left", Some("W")),
            ("pm25_2", "pm2_5_2", Some("ug/m3")),
            ("state_bottom_left", "state_bottom_left", None),
            ("local_temperature", "local_temperature", Some("degC")),
            ("temperature_probe", "temperature_probe", None),
            ("current_phase_b", "current_phase_b", Some("A")),
            ("power_outage_count", "power_outage_count", None),
            ("gas", "gas", None),
        ] {
            let term = term(own, 1.0, Device::default());
            assert_eq!((&*term.metric, term.unit.as_deref()), (metric, unit), "{own}");
        }
    }
}
