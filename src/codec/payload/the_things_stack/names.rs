//! What the names in payloads of The Things Stack mean.
//!
//! The names of a decoded payload are the decoder's own. Those that are common among the decoders of the Device
//! Repository and of Cayenne LPP get the vocabulary's name. What stands behind an underscore or as a number tells several
//! sensors of one device apart and stays: `TempC_SHT` is `temperature_SHT`, `relative_humidity_2` is `humidity_2`. Others stay
//! as they are.

use crate::codec::payload::scalar::Scalar;
use crate::codec::payload::vocabulary::{Term, unit_of};

/// Names of decoded payloads in lower case, the metric, and the unit in which they come.
const DECODED: &[(&str, &str, &str)] = &[
    ("air_humidity", "humidity", "%"),
    ("air_pressure", "pressure", "hPa"),
    ("air_temperature", "temperature", "degC"),
    ("airhumidity", "humidity", "%"),
    ("airtemperature", "temperature", "degC"),
    ("barometric_pressure", "pressure", "hPa"),
    ("bat_v", "battery_voltage", "V"),
    ("batt_v", "battery_voltage", "V"),
    ("battery", "battery", "%"),
    ("battery_level", "battery", "%"),
    ("battery_mv", "battery_voltage", "mV"),
    ("battery_percent", "battery", "%"),
    ("battery_percentage", "battery", "%"),
    ("battery_v", "battery_voltage", "V"),
    ("battery_voltage", "battery_voltage", "V"),
    ("batterylevel", "battery", "%"),
    ("batterypercent", "battery", "%"),
    ("batteryvoltage", "battery_voltage", "V"),
    ("batv", "battery_voltage", "V"),
    ("co2", "co2", "ppm"),
    ("co2_ppm", "co2", "ppm"),
    ("hum", "humidity", "%"),
    ("humi", "humidity", "%"),
    ("humidity", "humidity", "%"),
    ("illumination", "illuminance", "lx"),
    ("illuminance", "illuminance", "lx"),
    ("ill_lx", "illuminance", "lx"),
    ("lat", "latitude", "deg"),
    ("latitude", "latitude", "deg"),
    ("light", "illuminance", "lx"),
    ("light_intensity", "illuminance", "lx"),
    ("lightintensity", "illuminance", "lx"),
    ("lng", "longitude", "deg"),
    ("lon", "longitude", "deg"),
    ("longitude", "longitude", "deg"),
    ("luminosity", "illuminance", "lx"),
    ("lux", "illuminance", "lx"),
    ("pm2_5", "pm2_5", "ug/m3"),
    ("pm25", "pm2_5", "ug/m3"),
    ("pm2.5", "pm2_5", "ug/m3"),
    ("pm10", "pm10", "ug/m3"),
    ("pressure", "pressure", "hPa"),
    ("relative_humidity", "humidity", "%"),
    ("relativehumidity", "humidity", "%"),
    ("rh", "humidity", "%"),
    ("soil_moisture", "soil_moisture", "%"),
    ("soil_temperature", "soil_temperature", "degC"),
    ("soilmoisture", "soil_moisture", "%"),
    ("soiltemperature", "soil_temperature", "degC"),
    ("temp", "temperature", "degC"),
    ("temp_c", "temperature", "degC"),
    ("tempc", "temperature", "degC"),
    ("temp_f", "temperature", "degF"),
    ("temperature", "temperature", "degC"),
    ("temperature_c", "temperature", "degC"),
    ("temperature_f", "temperature", "degF"),
    ("wind_direction", "wind_direction", "deg"),
    ("wind_speed", "wind_speed", "m/s"),
    ("winddirection", "wind_direction", "deg"),
    ("windspeed", "wind_speed", "m/s"),
];

/// Names of the normalized payload: their units are defined.
const NORMALIZED: &[(&str, &str, &str)] = &[
    ("air.co2", "co2", "ppm"),
    ("air.lightIntensity", "illuminance", "lx"),
    ("air.location", "location", ""),
    ("air.pressure", "pressure", "hPa"),
    ("air.relativeHumidity", "humidity", "%"),
    ("air.temperature", "temperature", "degC"),
    ("battery", "battery_voltage", "V"),
    ("metering.water.total", "water", "L"),
    ("position.latitude", "latitude", "deg"),
    ("position.longitude", "longitude", "deg"),
    ("rain.cumulative", "precipitation", "mm"),
    ("rain.intensity", "precipitation_rate", "mm/h"),
    ("soil.depth", "soil_depth", "cm"),
    ("soil.ec", "conductivity", "dS/m"),
    ("soil.k", "soil_k", "ppm"),
    ("soil.moisture", "soil_moisture", "%"),
    ("soil.n", "soil_n", "ppm"),
    ("soil.p", "soil_p", "ppm"),
    ("soil.pH", "soil_ph", ""),
    ("soil.temperature", "soil_temperature", "degC"),
    ("water.temperature.current", "water_temperature", "degC"),
    ("wind.direction", "wind_direction", "deg"),
    ("wind.speed", "wind_speed", "m/s"),
];

/// Fields of decoded payloads that are bytes or texts about the payload.
const IGNORED: [&str; 8] = ["bytes", "raw", "payload", "hexBytes", "mydata", "type", "port", "fport"];

/// Whether a field of a decoded payload is none of its values.
pub fn ignored(name: &str) -> bool {
    IGNORED.iter().any(|ignored| ignored.eq_ignore_ascii_case(name))
}

/// The metric of a value of a decoded payload, by its path.
pub fn decoded(path: &str) -> Term<'_> {
    let (before, name) = path.rsplit_once('.').map_or(("", path), |(before, name)| (before, name));
    let lower = name.to_ascii_lowercase();
    let exact = |name: &str| DECODED.iter().find(|(known, ..)| *known == name);
    let (known, rest) = match exact(&lower) {
        Some(known) => (Some(known), String::new()),
        None => with_rest(&lower, name, exact),
    };
    let Some((_, metric, unit)) = known else {
        return Term { unit: unit_of(name).map(Into::into), ..Term::unknown(path) };
    };
    let metric_name = format!("{metric}{rest}");
    let whole = if before.is_empty() { metric_name } else { format!("{before}.{metric_name}") };
    Term::of_kind(whole, metric, unit)
}

/// The same for a value: no battery has 1,000 %, so that a `battery` of 3250, as in the documentation's example, is in millivolts.
pub fn of_value<'a>(path: &'a str, scalar: Scalar<'_>) -> Term<'a> {
    let term = decoded(path);
    let millivolts = term.metric == "battery" && matches!(scalar, Scalar::Value(value) if value >= 1_000.0);
    if millivolts { Term::of_kind("battery_voltage", "battery_voltage", "mV") } else { term }
}

/// A known name with something behind it: an underscore and a short word, or a number.
fn with_rest<'k, T>(lower: &str, name: &str, exact: impl Fn(&str) -> Option<&'k T>) -> (Option<&'k T>, String) {
    for (at, _) in lower.match_indices('_').rev() {
        if let Some(known) = exact(&lower[..at])
            && !lower[at + 1..].is_empty()
            && (is_place(&name[at + 1..]) || lower[at + 1..].bytes().all(|b| b.is_ascii_digit()))
        {
            return (Some(known), name[at..].to_owned());
        }
    }
    let base = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    if base.len() < lower.len()
        && let Some(known) = exact(base.trim_end_matches('_'))
    {
        return (Some(known), format!("_{}", &lower[base.len()..]));
    }
    (None, String::new())
}

/// Whether a word behind a name tells which sensor: the name of a chip in capitals (`SHT`, `DS18B20`), or a place.
fn is_place(word: &str) -> bool {
    let chip = word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    chip || matches!(
        word.to_ascii_lowercase().as_str(),
        "int"
            | "ext"
            | "internal"
            | "external"
            | "indoor"
            | "outdoor"
            | "inside"
            | "outside"
            | "air"
            | "soil"
            | "water"
            | "probe"
            | "sensor"
            | "red"
            | "white"
            | "black"
    )
}

/// The metric of a value of a normalized payload.
pub fn normalized(path: &str) -> Term<'_> {
    match NORMALIZED.iter().find(|(known, ..)| *known == path) {
        // dS/m is mS/cm.
        Some((_, metric, "dS/m")) => Term::of_kind(*metric, metric, "mS/cm"),
        Some((_, metric, unit)) => Term::of_kind(*metric, metric, unit),
        None => Term::unknown(path),
    }
}

/// Words that stand for a switch, besides those that every format knows.
pub fn word(word: &str) -> Option<f64> {
    match word.to_ascii_lowercase().as_str() {
        "open" | "opened" => Some(1.0),
        "closed" | "close" => Some(0.0),
        _ => None,
    }
}

/// Whether the text of a field tells that something happened.
pub fn is_event(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    matches!(
        name.as_str(),
        "event"
            | "events"
            | "action"
            | "button"
            | "press"
            | "alarm"
            | "alert"
            | "status"
            | "state"
            | "message"
            | "error"
            | "tamper"
            | "motion"
    )
}
