//! What rtl_433's keys mean.
//!
//! A key ends with its unit: `temperature_C`, `wind_avg_km_h`, `rain_rate_in_h`. Behind the quantity a number may tell several
//! sensors of one device apart; it stays (`temperature_2_F` is `temperature_2`, in degC).

use crate::codec::payload::vocabulary::{Term, unit_of};

/// Endings with their units; where one is the end of another, the longer one stands first.
const SUFFIXES: &[(&str, &str)] = &[
    ("_W_m2", "W/m2"),
    ("_ug_m3", "ug/m3"),
    ("_mg_m3", "mg/m3"),
    ("_g_m3", "g/m3"),
    ("_uS_cm", "uS/cm"),
    ("_km_h", "km/h"),
    ("_kph", "km/h"),
    ("_mi_h", "mph"),
    ("_mph", "mph"),
    ("_m_s", "m/s"),
    ("_knots", "kn"),
    ("_mm_h", "mm/h"),
    ("_in_h", "in/h"),
    ("_inHg", "inHg"),
    ("_hPa", "hPa"),
    ("_kPa", "kPa"),
    ("_mbar", "hPa"),
    ("_bar", "bar"),
    ("_PSI", "psi"),
    ("_psi", "psi"),
    ("_kWh", "kWh"),
    ("_Wh", "Wh"),
    ("_kVA", "kVA"),
    ("_VA", "VA"),
    ("_kW", "kW"),
    ("_mW", "mW"),
    ("_mV", "mV"),
    ("_mA", "mA"),
    ("_klx", "klx"),
    ("_lux", "lx"),
    ("_lx", "lx"),
    ("_ppm", "ppm"),
    ("_ppb", "ppb"),
    ("_dBm", "dBm"),
    ("_dB", "dB"),
    ("_deg", "deg"),
    ("_pct", "%"),
    ("_perc", "%"),
    ("_percent", "%"),
    ("_MHz", "MHz"),
    ("_kHz", "kHz"),
    ("_Hz", "Hz"),
    ("_inch", "in"),
    ("_in", "in"),
    ("_ft3", "ft3"),
    ("_ft", "ft"),
    ("_mm", "mm"),
    ("_cm", "cm"),
    ("_km", "km"),
    ("_mi", "mi"),
    ("_m3", "m3"),
    ("_gal", "gal"),
    ("_kg", "kg"),
    ("_lb", "lb"),
    ("_ms", "ms"),
    ("_C", "degC"),
    ("_F", "degF"),
    ("_V", "V"),
    ("_A", "A"),
    ("_W", "W"),
    ("_L", "L"),
    ("_l", "L"),
    ("_m", "m"),
    ("_s", "s"),
];

/// Quantities that the vocabulary calls otherwise.
const QUANTITIES: &[(&str, &str)] = &[
    ("dewpoint", "dew_point"),
    ("estimated_pm10_0", "pm10"),
    ("gust_speed", "wind_gust"),
    ("light", "illuminance"),
    ("lux", "illuminance"),
    ("moisture", "soil_moisture"),
    ("noise", "noise_floor"),
    ("pm10_0", "pm10"),
    ("pm1_0", "pm1"),
    ("pm4_0", "pm4"),
    ("rain", "precipitation"),
    ("rain_rate", "precipitation_rate"),
    ("rain_total", "precipitation"),
    ("rainfall", "precipitation"),
    ("rainfall_rate", "precipitation_rate"),
    ("uv", "uv_index"),
    ("uvi", "uv_index"),
    ("wind_avg", "wind_speed"),
    ("wind_dir", "wind_direction"),
    ("wind_max", "wind_gust"),
];

/// Quantities whose keys have no unit, with the unit that `DATA_FORMAT.md` or the decoders give them.
const WITHOUT_SUFFIX: &[(&str, &str)] =
    &[("humidity", "%"), ("moisture", "%"), ("noise", "dB"), ("rssi", "dB"), ("snr", "dB")];

/// Fields that only tell when and how a frame was received, or which of a burst it is.
const RECEPTION: &[&str] = &[
    "time",
    "sequence_num",
    "sequence",
    "rssi",
    "snr",
    "noise",
    "freq",
    "freq1",
    "freq2",
    "mod",
    "protocol",
    "repeat",
    "repeats",
    "num_rows",
];

/// Fields that are no readings.
const IGNORED: &[&str] = &[
    "time",
    "type",
    "model",
    "subtype",
    "id",
    "channel",
    "mic",
    "mod",
    "protocol",
    "sequence_num",
    "sequence",
    "message_type",
    "msg_type",
    "msgtype",
    "message_num",
    "freq",
    "freq1",
    "freq2",
    "data",
    "raw",
    "raw_msg",
    "raw_message",
    "rows",
    "row",
    "num_rows",
    "codes",
    "code",
    "payload",
    "msg",
    "message",
    "packet",
    "repeat",
    "repeats",
    "crc",
    "checksum",
    "flags",
    "sid",
    "device",
    "house_id",
    "house_code",
    "address",
    "rolling_code",
    "tristate",
    "encrypted",
    "len",
    "exception",
    "fixed_code",
    "version",
    "firmware",
    "unknown",
    "description",
    "brand",
    "rid",
    "uid",
    "serial",
    "tag",
];

/// Fields of a remote control.
const ACTIONS: &[&str] = &["button", "buttons", "button_id", "button_code", "cmd", "command", "action", "event", "key"];

/// Fields whose words tell of a state.
const STATES: &[&str] = &[
    "state",
    "status",
    "alarm",
    "switch",
    "contact",
    "device_state",
    "mode",
    "group_call",
    "control",
    "test",
    "learn",
];

/// Key and unit: `temperature_C` is a `temperature` in degC.
fn split(key: &str) -> Option<(&str, &'static str)> {
    SUFFIXES.iter().find_map(|(suffix, unit)| Some((key.strip_suffix(suffix).filter(|base| !base.is_empty())?, *unit)))
}

/// The quantity and the number that tells it from others: `temperature` and `_2`.
fn numbered(base: &str) -> (&str, &str) {
    match base.rfind('_') {
        Some(at) if at > 0 && at + 1 < base.len() && base[at + 1..].bytes().all(|b| b.is_ascii_digit()) => {
            base.split_at(at)
        }
        _ => (base, ""),
    }
}

fn renamed(quantity: &str) -> &str {
    QUANTITIES.iter().find(|(name, _)| *name == quantity).map_or(quantity, |(_, name)| name)
}

/// Whether only a measured value can stand at this key.
pub fn measures(key: &str) -> bool {
    split(key).is_some() || matches!(numbered(key).0, "humidity" | "moisture")
}

/// The metric that a key names.
pub fn term(key: &str) -> Term<'static> {
    let (base, unit) = split(key).unwrap_or_else(|| {
        let quantity = numbered(key).0;
        (key, WITHOUT_SUFFIX.iter().find(|(name, _)| *name == quantity).map_or("", |(_, unit)| unit))
    });
    // `pm2_5` ends with a number that is part of the quantity.
    let (quantity, number) = if unit_of(renamed(base)).is_some() { (base, "") } else { numbered(base) };
    let mut kind = renamed(quantity);
    if kind == "battery" && unit != "%" && !unit.is_empty() {
        kind = "battery_voltage";
    }
    Term::of_kind(format!("{kind}{number}"), kind, unit)
}

/// Whether this field is never a reading.
pub fn ignored(key: &str) -> bool {
    IGNORED.contains(&key) || key.starts_with("unknown") || key.ends_with("_raw") || key.starts_with("raw_")
}

/// Whether this field tells only when and how a frame was received.
pub fn of_reception(key: &str) -> bool {
    RECEPTION.contains(&key)
}

/// Whether this field is what a remote control sends.
pub fn is_action(key: &str) -> bool {
    ACTIONS.contains(&key)
}

/// Whether the words of this field tell of a state.
pub fn is_state(key: &str) -> bool {
    STATES.contains(&numbered(key).0) || key.starts_with("switch")
}

/// What a word of a switch or battery stands for.
pub fn switch(key: &str, word: &str) -> Option<f64> {
    let is = |words: &[&str]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
    if key.starts_with("battery") {
        return if is(&["OK", "GOOD", "FULL"]) {
            Some(1.0)
        } else if is(&["LOW", "EMPTY", "BAD"]) {
            Some(0.0)
        } else {
            None
        };
    }
    if is(&["open", "opened", "on", "true", "yes"]) {
        Some(1.0)
    } else if is(&["closed", "close", "off", "false", "no"]) {
        Some(0.0)
    } else {
        None
    }
}
