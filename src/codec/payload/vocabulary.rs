//! One name and one unit for what every publisher calls differently.
//!
//! Units are written in ASCII: `degC`, `%`, `hPa`, `V`, `A`, `W`, `kWh`, `ppm`, `ug/m3`, `lx`, `dBm`, `km/h` is not among them:
//! speeds are `m/s`. A value that comes in another unit of the same quantity is converted.

use std::borrow::Cow;

use crate::reading::Unit;

/// A metric with its unit, and how a publisher's value becomes one of that unit: `value * factor + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Term<'a> {
    /// The metric's name.
    pub metric: Cow<'a, str>,
    /// Its unit; `None` where it has none or none is known.
    pub unit: Option<Unit>,
    /// Multiplies the publisher's value.
    pub factor: f64,
    /// Is added behind.
    pub offset: f64,
}

impl<'a> Term<'a> {
    /// A metric of the publisher's own name, without a unit.
    pub const fn unknown(name: &'a str) -> Self {
        Self { metric: Cow::Borrowed(name), unit: None, factor: 1.0, offset: 0.0 }
    }

    /// A metric with the vocabulary's unit for it, where the vocabulary has it.
    pub fn named(metric: &'a str) -> Self {
        Self { unit: unit_of(metric).map(Cow::Borrowed), ..Self::unknown(metric) }
    }

    /// The same with another factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// A metric whose value the publisher gives in `unit`, however it writes that (`°C`, `µg/m³`): in the vocabulary's unit
    /// where there is a conversion, and else in the publisher's.
    pub fn in_unit(metric: &'a str, unit: &str) -> Self {
        let spelled = spelled(unit);
        let wanted = unit_of(metric);
        let term = Self::unknown(metric);
        if spelled.is_empty() {
            return Self::named(metric);
        }
        if wanted == Some(&*spelled) {
            return Self { unit: wanted.map(Cow::Borrowed), ..term };
        }
        // Where the name says nothing of the unit, a unit that is never wanted (degF) still becomes the one that is.
        let found =
            CONVERSIONS.iter().find(|(from, to, ..)| *from == spelled && wanted.is_none_or(|wanted| wanted == *to));
        match found {
            Some((_, to, factor, offset)) => {
                Self { unit: Some(Cow::Borrowed(to)), factor: *factor, offset: *offset, ..term }
            }
            None => Self { unit: Some(Cow::Owned(spelled.into_owned())), ..term },
        }
    }

    /// A metric of a kind that the vocabulary may know by another name: `temperature_2` is a `temperature`. `unit` is the
    /// publisher's, as in [`Term::in_unit`]; empty where it is the vocabulary's. A unit of a kind that the vocabulary does
    /// not know is kept, unless it is one that is never wanted (degF).
    pub fn of_kind(metric: impl Into<Cow<'a, str>>, kind: &str, unit: &str) -> Self {
        let spelled_unit = spelled(unit);
        let kept = unit_of(kind).is_none() && !NEVER.contains(&&*spelled_unit) && !spelled_unit.is_empty();
        let like = Term::in_unit(kind, unit);
        let (unit, factor, offset) = if kept {
            (Some(Cow::Owned(spelled_unit.into_owned())), 1.0, 0.0)
        } else {
            (like.unit, like.factor, like.offset)
        };
        Self { metric: metric.into(), unit, factor, offset }
    }

    /// The value in the unit of the term; one that is converted has twelve significant digits.
    pub fn converted(&self, value: f64) -> f64 {
        // Exact where there is nothing to convert, also for values at the edge of a float.
        if self.factor == 1.0 && self.offset == 0.0 {
            return value;
        }
        // A decimal number stays one: 2067.124 Wh are 2.067124 kWh and not 2.0671239999999997. No sensor has twelve digits.
        let converted = value * self.factor + self.offset;
        format!("{converted:.11e}").parse().unwrap_or(converted)
    }
}

/// Units that are never wanted, whatever they measure.
const NEVER: &[&str] =
    &["degF", "psi", "inHg", "mmHg", "kPa", "bar", "km/h", "mph", "kn", "mV", "mA", "kW", "klx", "in", "in/h"];

/// Metrics with their units, in alphabetical order. Switches and counts have none.
const UNITS: &[(&str, &str)] = &[
    ("absolute_humidity", "g/m3"),
    ("acceleration_x", "g"),
    ("acceleration_y", "g"),
    ("acceleration_z", "g"),
    ("altitude", "m"),
    ("apparent_power", "VA"),
    ("battery", "%"),
    ("battery_voltage", "V"),
    ("ch4", "ppm"),
    ("co", "ppm"),
    ("co2", "ppm"),
    ("conductivity", "uS/cm"),
    ("course", "deg"),
    ("current", "A"),
    ("depth", "m"),
    ("device_temperature", "degC"),
    ("dew_point", "degC"),
    ("distance", "m"),
    ("energy", "kWh"),
    ("energy_returned", "kWh"),
    ("energy_today", "kWh"),
    ("energy_yesterday", "kWh"),
    ("formaldehyde", "mg/m3"),
    ("frequency", "Hz"),
    ("gas", "m3"),
    ("heading", "deg"),
    ("humidity", "%"),
    ("illuminance", "lx"),
    ("latitude", "deg"),
    ("longitude", "deg"),
    ("luminosity", "lx"),
    ("moisture", "%"),
    ("no2", "ppm"),
    ("noise", "dB"),
    ("o2", "%"),
    ("pm1", "ug/m3"),
    ("pm10", "ug/m3"),
    ("pm2_5", "ug/m3"),
    ("pm4", "ug/m3"),
    ("power", "W"),
    ("power_returned", "W"),
    ("precipitation", "mm"),
    ("precipitation_rate", "mm/h"),
    ("pressure", "hPa"),
    ("reactive_power", "var"),
    ("rssi", "dBm"),
    ("snr", "dB"),
    ("soil_moisture", "%"),
    ("soil_temperature", "degC"),
    ("speed", "m/s"),
    ("temperature", "degC"),
    ("tx_power", "dBm"),
    ("uptime", "s"),
    ("voc", "ppb"),
    ("voltage", "V"),
    ("volume", "m3"),
    ("water", "m3"),
    ("water_temperature", "degC"),
    ("weight", "kg"),
    ("wind_direction", "deg"),
    ("wind_gust", "m/s"),
    ("wind_speed", "m/s"),
];

/// From a unit to the vocabulary's: value * factor + offset. Factors are exact by the units' definitions.
const CONVERSIONS: &[(&str, &str, f64, f64)] = &[
    ("degF", "degC", 5.0 / 9.0, -160.0 / 9.0),
    ("K", "degC", 1.0, -273.15),
    ("Pa", "hPa", 0.01, 0.0),
    ("kPa", "hPa", 10.0, 0.0),
    ("bar", "hPa", 1000.0, 0.0),
    ("inHg", "hPa", 33.863_886_666_666_67, 0.0),
    ("mmHg", "hPa", 1.333_223_874_15, 0.0),
    ("psi", "hPa", 68.947_572_931_683_6, 0.0),
    ("mV", "V", 0.001, 0.0),
    ("mA", "A", 0.001, 0.0),
    ("uA", "A", 0.000_001, 0.0),
    ("kW", "W", 1000.0, 0.0),
    ("MW", "W", 1_000_000.0, 0.0),
    ("mW", "W", 0.001, 0.0),
    ("kVA", "VA", 1000.0, 0.0),
    ("kvar", "var", 1000.0, 0.0),
    ("Wh", "kWh", 0.001, 0.0),
    ("MWh", "kWh", 1000.0, 0.0),
    ("GWh", "kWh", 1_000_000.0, 0.0),
    ("Wmin", "kWh", 1.0 / 60_000.0, 0.0),
    ("J", "kWh", 1.0 / 3_600_000.0, 0.0),
    ("km/h", "m/s", 1.0 / 3.6, 0.0),
    ("mph", "m/s", 0.447_04, 0.0),
    ("kn", "m/s", 1852.0 / 3600.0, 0.0),
    ("in", "mm", 25.4, 0.0),
    ("in/h", "mm/h", 25.4, 0.0),
    ("cm", "m", 0.01, 0.0),
    ("mm", "m", 0.001, 0.0),
    ("ft", "m", 0.3048, 0.0),
    ("mi", "m", 1609.344, 0.0),
    ("km", "m", 1000.0, 0.0),
    ("L", "m3", 0.001, 0.0),
    ("dm3", "m3", 0.001, 0.0),
    ("gal", "m3", 0.003_785_411_784, 0.0),
    ("ft3", "m3", 0.028_316_846_592, 0.0),
    ("mg/m3", "ug/m3", 1000.0, 0.0),
    ("ug/m3", "mg/m3", 0.001, 0.0),
    ("ms", "s", 0.001, 0.0),
    ("min", "s", 60.0, 0.0),
    ("h", "s", 3600.0, 0.0),
    ("mS/cm", "uS/cm", 1000.0, 0.0),
    ("kHz", "Hz", 1000.0, 0.0),
    ("MHz", "Hz", 1_000_000.0, 0.0),
    ("lb", "kg", 0.453_592_37, 0.0),
    ("g", "kg", 0.001, 0.0),
    ("klx", "lx", 1000.0, 0.0),
    ("m/s2", "g", 1.0 / 9.806_65, 0.0),
];

/// The vocabulary's unit for a metric; `None` for one without a unit, and for one that it does not know.
pub fn unit_of(metric: &str) -> Option<&'static str> {
    UNITS.binary_search_by(|(name, _)| (*name).cmp(metric)).ok().map(|at| UNITS[at].1)
}

/// The vocabulary's own name that equals `metric`, with its unit.
pub fn entry(metric: &str) -> Option<(&'static str, &'static str)> {
    UNITS.binary_search_by(|(name, _)| (*name).cmp(metric)).ok().map(|at| UNITS[at])
}

/// Whether a value in `from` can be given in `to`; both as [`spelled`] has them.
pub fn converts(from: &str, to: &str) -> bool {
    from == to || CONVERSIONS.iter().any(|(unit, into, ..)| *unit == from && *into == to)
}

/// Whether a text, as [`spelled`] has it, is a unit of the vocabulary or one that it converts.
pub fn is_unit(unit: &str) -> bool {
    UNITS.iter().any(|(_, known)| *known == unit) || CONVERSIONS.iter().any(|(known, ..)| *known == unit)
}

/// A unit as the vocabulary writes it: `°C` is `degC`, `µg/m³` is `ug/m3`, `mbar` is `hPa`. Others stay as they are.
pub fn spelled(unit: &str) -> Cow<'_, str> {
    let unit = unit.trim();
    Cow::Borrowed(match unit {
        "°C" | "℃" | "C" | "Cel" | "celsius" | "Celsius" | "ºC" | "degrees C" => "degC",
        "°F" | "℉" | "F" | "fahrenheit" | "Fahrenheit" | "ºF" => "degF",
        "kelvin" | "Kelvin" | "°K" => "K",
        "%RH" | "%EL" | "% RH" | "%rh" | "percent" => "%",
        "mbar" | "mb" | "mBar" | "hpa" => "hPa",
        "µg/m³" | "μg/m³" | "ug/m³" | "µg/m3" | "μg/m3" => "ug/m3",
        "mg/m³" => "mg/m3",
        "g/m³" => "g/m3",
        "m³" => "m3",
        "dm³" => "dm3",
        "l" | "liter" | "litre" => "L",
        "lux" => "lx",
        "µS/cm" | "μS/cm" => "uS/cm",
        "°" | "degrees" => "deg",
        "ft³" => "ft3",
        "gallons" => "gal",
        "kwh" | "KWh" | "KWH" => "kWh",
        "watt" | "watts" | "Watt" | "Watts" => "W",
        "volt" | "volts" | "Volt" | "Volts" => "V",
        "ampere" | "amps" | "Ampere" => "A",
        "VAR" | "VAr" => "var",
        "kVAR" | "kVAr" => "kvar",
        "µA" | "μA" => "uA",
        "km/hr" | "kph" | "kmh" => "km/h",
        "mi/h" => "mph",
        "kt" | "knots" => "kn",
        "m/s²" => "m/s2",
        "sec" | "seconds" => "s",
        other => return Cow::Borrowed(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    #[test]
    fn the_list_is_sorted_and_its_units_are_spelled_as_they_should_be() {
        assert!(UNITS.is_sorted_by(|a, b| a.0 < b.0));
        for (metric, unit) in UNITS {
            assert_eq!(spelled(unit), *unit, "{metric}");
        }
        for (from, to, ..) in CONVERSIONS {
            assert_eq!((&*spelled(from), &*spelled(to)), (*from, *to));
        }
    }

    #[test]
    fn decimals_stay_decimals() {
        assert_eq!(Term::in_unit("energy", "Wh").converted(2067.124), 2.067_124);
        assert_eq!(Term::in_unit("pressure", "Pa").converted(101_325.0), 1013.25);
        assert_eq!(Term::in_unit("temperature", "K").converted(293.65), 20.5);
        assert_eq!(Term::in_unit("temperature", "K").converted(f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn values_come_in_the_unit_of_the_vocabulary() {
        for (metric, unit, value, expected, into) in [
            ("temperature", "°F", 212.0, 100.0, "degC"),
            ("temperature", "C", 21.5, 21.5, "degC"),
            ("pressure", "kPa", 101.3, 1013.0, "hPa"),
            ("pressure", "mbar", 1013.0, 1013.0, "hPa"),
            ("energy", "Wh", 1500.0, 1.5, "kWh"),
            ("wind_speed", "km/h", 36.0, 10.0, "m/s"),
            ("precipitation", "in", 1.0, 25.4, "mm"),
            ("outside", "°F", 32.0, 0.0, "degC"),
            ("battery", "%", 90.0, 90.0, "%"),
        ] {
            let term = Term::in_unit(metric, unit);
            assert!(close(term.converted(value), expected), "{metric} {unit}: {}", term.converted(value));
            assert_eq!(term.unit.as_deref(), Some(into), "{metric} {unit}");
        }
        let odd = Term::in_unit("thing", "furlong");
        assert_eq!((odd.unit.as_deref(), odd.converted(0.1)), (Some("furlong"), 0.1));
        assert_eq!(Term::in_unit("temperature", "").unit.as_deref(), Some("degC"));
        // The kind tells the unit, not the name; of an unknown kind only what is never wanted is converted.
        for (metric, kind, unit, expected) in [
            ("rain_2", "precipitation", "in", (25.4, "mm")),
            ("depth", "depth", "mm", (0.001, "m")),
            ("girth", "girth", "mm", (1.0, "mm")),
            ("probe", "probe", "°F", (-17.222_222_222_222_22, "degC")),
            ("dust", "dust", "µg/m³", (1.0, "ug/m3")),
        ] {
            let term = Term::of_kind(metric, kind, unit);
            assert!(close(term.converted(1.0), expected.0), "{metric}: {}", term.converted(1.0));
            assert_eq!((&*term.metric, term.unit.as_deref()), (metric, Some(expected.1)));
        }
    }
}
