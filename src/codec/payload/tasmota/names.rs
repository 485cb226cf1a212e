//! The keys of Tasmota's sensors in the vocabulary's names.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::codec::payload::vocabulary::Term;

/// Keys that are the same for all sensors: own name, the vocabulary's, unit. `T`, `P` stand for the units that the message names.
const NAMES: &[(&str, &str, &str)] = &[
    ("AMBTMP", "ambient_temperature", "T"),
    ("ActivePower", "power", "W"),
    ("ApparentPower", "apparent_power", "VA"),
    ("Battery", "battery", "%"),
    ("BatteryPercentage", "battery", "%"),
    ("BatteryVoltage", "battery_voltage", "V"),
    ("CarbonDioxide", "co2", "ppm"),
    ("Current", "current", "A"),
    ("DewPoint", "dew_point", "T"),
    ("Factor", "power_factor", ""),
    ("Fertility", "conductivity", "uS/cm"),
    ("Frequency", "frequency", "Hz"),
    ("Humidity", "humidity", "%"),
    ("Illuminance", "illuminance", "lx"),
    ("LinkQuality", "linkquality", ""),
    ("Moisture", "moisture", "%"),
    ("Noise", "noise", "dB"),
    ("OBJTMP", "object_temperature", "T"),
    ("PM1", "pm1", "ug/m3"),
    ("PM10", "pm10", "ug/m3"),
    ("PM2.5", "pm2_5", "ug/m3"),
    ("PM4", "pm4", "ug/m3"),
    ("Power", "power", "W"),
    ("PowerFactor", "power_factor", ""),
    ("Pressure", "pressure", "P"),
    ("ProbeTemperature", "probe_temperature", "T"),
    ("RMSCurrent", "current", "A"),
    ("RMSVoltage", "voltage", "V"),
    ("RSSI", "rssi", "dBm"),
    ("ReactivePower", "reactive_power", "var"),
    ("ReferenceTemperature", "reference_temperature", "T"),
    ("SeaPressure", "sea_level_pressure", "P"),
    ("TVOC", "voc", "ppb"),
    ("Temperature", "temperature", "T"),
    ("UvIndex", "uv_index", ""),
    ("Voltage", "voltage", "V"),
    ("aHumidity", "absolute_humidity", "g/m3"),
    ("eCO2", "eco2", "ppm"),
];

/// Keys of the energy sensor, in kWh but for the last period.
const OF_ENERGY: &[(&str, &str, &str)] = &[
    ("ExportActive", "energy_returned", "kWh"),
    ("ImportActive", "energy_imported", "kWh"),
    ("Period", "energy_period", "Wh"),
    ("Today", "energy_today", "kWh"),
    ("TodaySumExport", "energy_returned_today", "kWh"),
    ("TodaySumImport", "energy_imported_today", "kWh"),
    ("Total", "energy", "kWh"),
    ("Yesterday", "energy_yesterday", "kWh"),
];

/// The units that a message names.
#[derive(Clone, Copy)]
pub(super) struct Units<'a> {
    temperature: &'a str,
    pressure: &'a str,
    pub speed: &'a str,
}

impl<'a> Units<'a> {
    pub fn of(message: &'a Map<String, Value>) -> Self {
        let unit = |key: &str, default| message.get(key).and_then(Value::as_str).unwrap_or(default);
        Self { temperature: unit("TempUnit", "C"), pressure: unit("PressureUnit", "hPa"), speed: unit("SpeedUnit", "") }
    }
}

/// The term of a sensor's key; `None` where the vocabulary has no name for it. `sensor` is its name without an index.
pub(super) fn term(sensor: &str, key: &str, units: Units<'_>) -> Option<Term<'static>> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let find = |list: &'static [(&str, &str, &str)], key: &str| list.iter().find(|(own, ..)| *own == key).copied();
    let known = match (sensor, key) {
        // The chip's own.
        ("ESP32", "Temperature") => Some(("", "device_temperature", "T")),
        (_, "Distance") if sensor.starts_with("VL53") => Some(("", "distance", "mm")),
        (_, "Distance") if sensor.starts_with("SR04") || sensor.starts_with("HC") => Some(("", "distance", "cm")),
        ("HX711", "Weight") => Some(("", "weight", "kg")),
        ("ENERGY", _) => find(OF_ENERGY, key).or_else(|| find(NAMES, key)),
        _ => find(NAMES, key),
    };
    // Analog inputs count their quantities: `Temperature1`.
    let number = if known.is_none() { &key[stem.len()..] } else { "" };
    let (_, metric, unit) = known.or_else(|| find(NAMES, stem).filter(|_| !number.is_empty()))?;
    let unit = match unit {
        "T" => units.temperature,
        "P" => units.pressure,
        unit => unit,
    };
    let term = Term::in_unit(metric, unit);
    Some(if number.is_empty() { term } else { Term { metric: Cow::Owned(format!("{metric}_{number}")), ..term } })
}
