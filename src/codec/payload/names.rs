//! What a field's own name says of its metric and unit, for formats whose publishers choose the names themselves (CSV,
//! line protocol, bare numbers, Homie).
//!
//! - A name of the vocabulary, or a usual short form of one (`temp`, `hum`, `batt`, `lux`, `pm25`), in any case and with
//!   blanks, dots or hyphens for `_`, is that metric.
//! - A unit in brackets or parentheses behind the name (`temperature [degC]`, `Temp (°F)`) is its unit, and so is a last word
//!   that is one (`temp_c`, `pressure_pa`, `used_percent`); a word of one letter only behind a metric that can have that unit.
//! - Where the unit is one that the vocabulary's can be made of, the value is converted. `battery_mv` is `battery_voltage`.
//! - A name that the vocabulary does not know stays as it is; its unit is that which it names, or else that of its last
//!   word (`outside_temperature`, `temperature_2`).
//! - Without any of these the metric's unit is the vocabulary's: who sends another one says so in the name.

use std::borrow::Cow;

use super::fields::DEPENDS;
use super::vocabulary::{Term, converts, entry, is_unit, spelled};

/// Short forms and other spellings, without `_`. Sorted.
const SPELLINGS: &[(&str, &str)] = &[
    ("absolutehumidity", "absolute_humidity"),
    ("airhumidity", "humidity"),
    ("airpressure", "pressure"),
    ("airtemperature", "temperature"),
    ("apparentpower", "apparent_power"),
    ("barometricpressure", "pressure"),
    ("bat", "battery"),
    ("batt", "battery"),
    ("batterylevel", "battery"),
    ("batterypercent", "battery"),
    ("batterypercentage", "battery"),
    ("batteryvoltage", "battery_voltage"),
    ("devicetemperature", "device_temperature"),
    ("dewpoint", "dew_point"),
    ("eco2", "co2"),
    ("energytoday", "energy_today"),
    ("hum", "humidity"),
    ("humid", "humidity"),
    ("lux", "illuminance"),
    ("moist", "moisture"),
    ("pm02", "pm2_5"),
    ("pm100", "pm10"),
    ("pm25", "pm2_5"),
    ("precipitationrate", "precipitation_rate"),
    ("press", "pressure"),
    ("reactivepower", "reactive_power"),
    ("relativehumidity", "humidity"),
    ("rh", "humidity"),
    ("soilmoisture", "soil_moisture"),
    ("soiltemperature", "soil_temperature"),
    ("temp", "temperature"),
    ("tvoc", "voc"),
    ("txpower", "tx_power"),
    ("vbat", "battery_voltage"),
    ("vbatt", "battery_voltage"),
    ("volt", "voltage"),
    ("volts", "voltage"),
    ("watertemperature", "water_temperature"),
    ("winddir", "wind_direction"),
    ("winddirection", "wind_direction"),
    ("windgust", "wind_gust"),
    ("windspeed", "wind_speed"),
];

/// Names with a unit that no `_` sets apart.
const WITH_UNIT: &[(&str, &str, &str)] = &[
    ("dewpointc", "dew_point", "degC"),
    ("dewpointf", "dew_point", "degF"),
    ("tempc", "temperature", "degC"),
    ("temperaturec", "temperature", "degC"),
    ("temperaturef", "temperature", "degF"),
    ("tempf", "temperature", "degF"),
];

/// Units as names have them in their last word. Sorted.
const SUFFIXES: &[(&str, &str)] = &[
    ("a", "A"),
    ("amps", "A"),
    ("bar", "bar"),
    ("c", "degC"),
    ("celsius", "degC"),
    ("cm", "cm"),
    ("dbm", "dBm"),
    ("deg", "deg"),
    ("degc", "degC"),
    ("degf", "degF"),
    ("degrees", "deg"),
    ("f", "degF"),
    ("fahrenheit", "degF"),
    ("hpa", "hPa"),
    ("hz", "Hz"),
    ("inhg", "inHg"),
    ("k", "K"),
    ("kg", "kg"),
    ("kmh", "km/h"),
    ("kpa", "kPa"),
    ("kph", "km/h"),
    ("kw", "kW"),
    ("kwh", "kWh"),
    ("lux", "lx"),
    ("lx", "lx"),
    ("m", "m"),
    ("ma", "mA"),
    ("mbar", "hPa"),
    ("mm", "mm"),
    ("mmhg", "mmHg"),
    ("mph", "mph"),
    ("ms", "ms"),
    ("mv", "mV"),
    ("pa", "Pa"),
    ("pct", "%"),
    ("percent", "%"),
    ("ppb", "ppb"),
    ("ppm", "ppm"),
    ("psi", "psi"),
    ("rh", "%"),
    ("s", "s"),
    ("seconds", "s"),
    ("ugm3", "ug/m3"),
    ("v", "V"),
    ("volts", "V"),
    ("w", "W"),
    ("watts", "W"),
    ("wh", "Wh"),
];

/// Longest name that is looked up: none that is known is longer, and a field of any length costs nothing.
const LONGEST: usize = 64;

/// The vocabulary's metric for a name; `None` for one that it does not know.
pub fn metric_of(name: &str) -> Option<&'static str> {
    // Most are there as they are.
    entry(name).map(|(metric, _)| metric).or_else(|| known(&plain(name)?))
}

/// The vocabulary's metric for a name as [`plain`] has it.
fn known(name: &str) -> Option<&'static str> {
    if let Some((metric, _)) = entry(name) {
        return Some(metric);
    }
    let squeezed: Cow<'_, str> = if name.contains('_') { name.replace('_', "").into() } else { name.into() };
    // `pm2.5` and `pm2_5` are both `pm2_5` by now.
    let at = SPELLINGS.binary_search_by(|(spelling, _)| (*spelling).cmp(&squeezed)).ok()?;
    Some(SPELLINGS[at].1)
}

/// A name in lower case with `_` between its words; `None` for one that is too long or empty.
fn plain(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let plain: String =
        name.trim().chars().map(|c| if matches!(c, ' ' | '-' | '.') { '_' } else { c.to_ascii_lowercase() }).collect();
    Some(plain)
}

/// The metric and unit of a field.
pub fn term(own: &str) -> Term<'_> {
    let own = own.trim();
    if let Some((name, unit)) = bracketed(own) {
        return in_unit(name, unit);
    }
    if let Some((metric, unit)) = entry(own) {
        return Term { unit: Some(Cow::Borrowed(unit)), ..Term::unknown(metric) };
    }
    let Some(name) = plain(own) else { return Term::unknown(own) };
    if let Some(metric) = known(&name) {
        return Term::named(metric);
    }
    if let Some((_, metric, unit)) = WITH_UNIT.iter().find(|(with, ..)| *with == name) {
        return Term::in_unit(metric, unit);
    }
    suffixed(own, &name).unwrap_or_else(|| {
        let unit = unit_of_last_word(&name).map(Cow::Borrowed);
        Term { unit, ..Term::unknown(own) }
    })
}

/// The metric and unit of a value by its path (`bme280.temp`): its last part, or its last two (`wind.speed`), as [`term`] has them,
/// behind what stands before. A last part `value` is left out where the one before is known (`temperature.value`).
/// Names of which only the place tells what they measure ([`DEPENDS`]) have no unit.
pub fn at_path(path: &str) -> Term<'_> {
    let stem = match path.rsplit_once('.') {
        Some((above, "value" | "Value")) if !above.is_empty() => above,
        _ => path,
    };
    let last = stem.rfind('.').map_or(0, |at| at + 1);
    let two = stem[..last.saturating_sub(1)].rfind('.').map_or(0, |at| at + 1);
    let behind = |from: usize, term: Term<'_>| {
        let unit = term.unit.filter(|_| !DEPENDS.contains(&&*term.metric));
        let metric = format!("{}{}", &stem[..from], term.metric);
        Term { metric: Cow::Owned(metric), unit, factor: term.factor, offset: term.offset }
    };
    // Both together are a name only where they are the vocabulary's: `r.h` is no humidity.
    if two < last
        && let Some((metric, _)) = plain(&stem[two..]).as_deref().and_then(entry)
    {
        return behind(two, Term::named(metric));
    }
    let part = &stem[last..];
    let term = term(part);
    let named = *term.metric != *part || entry(part).is_some();
    if named && !(last == 0 && *term.metric == *path) {
        return behind(last, term);
    }
    // What a `fan_speed` is in nothing tells; a `garden_wind_speed` is a speed of the wind.
    let name = if named { part } else { part.rsplit('_').next().unwrap_or_default() };
    let depends = DEPENDS.contains(&name) && !part.ends_with("_wind_speed");
    Term { metric: path.into(), unit: term.unit.filter(|_| !depends), factor: 1.0, offset: 0.0 }
}

/// The metric and unit of a value that stands beside its unit (`{"temperature": {"value": 70, "unit": "F"}}`).
pub fn at_path_in<'a>(path: &'a str, unit: &str) -> Term<'a> {
    let term = at_path(path);
    // The unit is that of the name alone, whatever stands before it.
    let kind = term.metric.rsplit('.').next().unwrap_or_default().to_owned();
    Term::of_kind(term.metric, &kind, unit)
}

/// The metric of a field whose unit the publisher tells apart from its name.
pub fn in_unit<'a>(own: &'a str, unit: &str) -> Term<'a> {
    let own = own.trim();
    if unit.trim().is_empty() {
        return term(own);
    }
    let known = metric_of(own);
    if known == Some("battery") && converts(&spelled(unit), "V") {
        return Term::in_unit("battery_voltage", unit);
    }
    Term::in_unit(known.unwrap_or(own), unit)
}

/// The term of a switch: `power` is a number of watts, but ON and OFF are none.
#[must_use]
pub fn of_switch(term: Term<'_>) -> Term<'_> {
    Term { unit: None, factor: 1.0, offset: 0.0, ..term }
}

/// Whether a text is one of those that are 0 and 1.
pub fn is_switch(text: &str) -> bool {
    ["true", "false", "on", "off"].iter().any(|word| word.eq_ignore_ascii_case(text.trim()))
}

/// The terms of fields that stand side by side: two of them never become one metric, the later one keeps its own name.
pub fn terms<'a>(names: &[&'a str]) -> Vec<Term<'a>> {
    let mut all: Vec<Term<'a>> = Vec::with_capacity(names.len());
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    // Fields that have the vocabulary's own name come before short forms of it, wherever they stand.
    let own: std::collections::HashSet<&str> = names.iter().map(|name| name.trim()).collect();
    for name in names {
        let mut found = term(name);
        let taken = &*found.metric != name.trim() && (own.contains(&*found.metric) || seen.contains(&*found.metric));
        if taken {
            found.metric = Cow::Borrowed(name.trim());
        }
        seen.insert(found.metric.clone().into_owned());
        all.push(found);
    }
    all
}

/// `temperature [degC]`, `Temp (°F)`: the name, and what is in the brackets.
fn bracketed(own: &str) -> Option<(&str, &str)> {
    let (open, close) = if own.ends_with(']') { ('[', 1) } else { own.ends_with(')').then_some(('(', 1))? };
    let (name, unit) = own[..own.len() - close].rsplit_once(open)?;
    let (name, unit) = (name.trim(), unit.trim());
    (!name.is_empty() && !unit.is_empty() && unit.len() <= 16).then_some((name, unit))
}

/// `temp_c`: the last word is a unit.
fn suffixed<'a>(own: &'a str, name: &str) -> Option<Term<'a>> {
    let (base, word) = name.rsplit_once('_')?;
    let unit = SUFFIXES[SUFFIXES.binary_search_by(|(suffix, _)| (*suffix).cmp(word)).ok()?].1;
    match known(base) {
        Some("battery") if converts(unit, "V") => Some(Term::in_unit("battery_voltage", unit)),
        Some(metric) if entry(metric).is_some_and(|(_, wanted)| converts(unit, wanted)) => {
            Some(Term::in_unit(metric, unit))
        }
        _ => {
            // `phase_a` is no current: a letter is a unit only behind a word that can have it.
            let fits = unit_of_last_word(base).is_some_and(|wanted| converts(unit, wanted));
            (word.len() > 1 || fits).then(|| Term { unit: Some(Cow::Borrowed(unit)), ..Term::unknown(own) })
        }
    }
}

/// The vocabulary's unit for the last word of a name, numbers behind it left out.
fn unit_of_last_word(name: &str) -> Option<&'static str> {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    let by_words = |words: usize| {
        let from = name.rmatch_indices(['_', '/']).nth(words - 1).map_or(0, |(at, _)| at + 1);
        known(&name[from..]).and_then(entry).map(|(_, unit)| unit)
    };
    by_words(2).or_else(|| by_words(1))
}

/// Further units that stand behind a bare number.
const MORE_UNITS: &[&str] = &[
    "Ah", "B", "GB", "L/h", "L/min", "MB", "Mbit/s", "Ohm", "V/m", "W/m2", "bpm", "d", "dB", "dBA", "g", "gal", "kB",
    "kOhm", "l/h", "l/min", "mAh", "mg/L", "mol", "m3/h", "mbit/s", "pH", "pcs", "rpm", "uA", "uV", "ug", "umol", "uW",
    "ug/L", "Ω", "kΩ", "W/m²", "µA", "μA", "µV", "m³/h", "lm", "NTU", "mW", "MW", "var", "varh", "kvarh", "kVAh",
    "VAh", "GWh",
];

/// A number with a unit behind it, with or without a blank (`21.5 °C`, `45%`): the number and the unit.
pub fn with_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let first = text.char_indices().find(|(at, c)| {
        // An exponent is of the number where a digit follows; `5 eV` is not.
        let exponent = matches!(c, 'e' | 'E')
            && text[at + 1..].trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit());
        !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | ',') || exponent)
    })?;
    let (number, unit) = text.split_at(first.0);
    let unit = unit.trim_start();
    let known = spelled(unit);
    (!number.is_empty() && unit.len() <= 16 && (is_unit(&known) || MORE_UNITS.contains(&&*known)))
        .then_some((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(own: &str) -> (String, Option<String>, f64) {
        let term = term(own);
        (term.metric.to_string(), term.unit.as_deref().map(str::to_owned), term.converted(100.0))
    }

    #[test]
    fn names_become_those_of_the_vocabulary_with_its_units() {
        for (own, metric, unit, value) in [
            ("temperature", "temperature", Some("degC"), 100.0),
            ("Temperature", "temperature", Some("degC"), 100.0),
            ("temp", "temperature", Some("degC"), 100.0),
            ("temp_c", "temperature", Some("degC"), 100.0),
            ("temperature [degC]", "temperature", Some("degC"), 100.0),
            ("Temp (°C)", "temperature", Some("degC"), 100.0),
            ("pressure_pa", "pressure", Some("hPa"), 1.0),
            ("Pressure [kPa]", "pressure", Some("hPa"), 1000.0),
            ("wind-speed", "wind_speed", Some("m/s"), 100.0),
            ("PM2.5", "pm2_5", Some("ug/m3"), 100.0),
            ("pm25", "pm2_5", Some("ug/m3"), 100.0),
            ("battery_mv", "battery_voltage", Some("V"), 0.1),
            ("energy_wh", "energy", Some("kWh"), 0.1),
            ("humidity_percent", "humidity", Some("%"), 100.0),
            ("current_a", "current", Some("A"), 100.0),
            // Not known: as they are.
            ("used_percent", "used_percent", Some("%"), 100.0),
            ("wind_degrees", "wind_degrees", Some("deg"), 100.0),
            ("outside_temperature", "outside_temperature", Some("degC"), 100.0),
            ("temperature_2", "temperature_2", Some("degC"), 100.0),
            ("temperature2", "temperature2", Some("degC"), 100.0),
            ("outside_temp_f", "outside_temp_f", Some("degF"), 100.0),
            ("kitchen_wind_speed", "kitchen_wind_speed", Some("m/s"), 100.0),
            ("phase_a", "phase_a", None, 100.0),
            ("voltage_a", "voltage_a", None, 100.0),
            ("count", "count", None, 100.0),
            ("batteryVoltage", "battery_voltage", Some("V"), 100.0),
            ("windSpeed", "wind_speed", Some("m/s"), 100.0),
            ("tempC", "temperature", Some("degC"), 100.0),
            ("depth [furlong]", "depth", Some("furlong"), 100.0),
            ("[x]", "[x]", None, 100.0),
        ] {
            assert_eq!(shown(own), (metric.into(), unit.map(Into::into), value), "{own}");
        }
        for own in ["temp_f", "tempF", "TemperatureF"] {
            let (metric, unit, value) = shown(own);
            assert_eq!((&*metric, unit.as_deref()), ("temperature", Some("degC")), "{own}");
            assert!((value - 37.777_777_8).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn a_path_is_known_by_its_last_parts() {
        for (path, metric, unit, value) in [
            ("temperature", "temperature", Some("degC"), 100.0),
            ("bme280.temp", "bme280.temperature", Some("degC"), 100.0),
            ("temperature.value", "temperature", Some("degC"), 100.0),
            ("kitchen.hum.value", "kitchen.humidity", Some("%"), 100.0),
            ("wind.speed", "wind_speed", Some("m/s"), 100.0),
            ("battery.voltage", "battery_voltage", Some("V"), 100.0),
            ("PM2.5", "pm2_5", Some("ug/m3"), 100.0),
            ("air.pm2.5", "air.pm2_5", Some("ug/m3"), 100.0),
            ("bme280.pressure_pa", "bme280.pressure", Some("hPa"), 1.0),
            ("env.outside_temperature", "env.outside_temperature", Some("degC"), 100.0),
            ("list.0", "list.0", None, 100.0),
            ("a.value", "a.value", None, 100.0),
            ("value", "value", None, 100.0),
            // Where it stands tells what it is.
            ("gas", "gas", None, 100.0),
            ("fan.speed", "fan.speed", None, 100.0),
            ("fan_speed", "fan_speed", None, 100.0),
            ("wind_speed", "wind_speed", Some("m/s"), 100.0),
            ("roof.wind_speed", "roof.wind_speed", Some("m/s"), 100.0),
            ("roof_wind_speed", "roof_wind_speed", Some("m/s"), 100.0),
            ("", "", None, 100.0),
            (".", ".", None, 100.0),
            (".value", ".value", None, 100.0),
        ] {
            let term = at_path(path);
            assert_eq!((&*term.metric, term.unit.as_deref(), term.converted(100.0)), (metric, unit, value), "{path}");
        }
        let term = at_path_in("oven.temperature.value", "°F");
        assert_eq!((&*term.metric, term.unit.as_deref()), ("oven.temperature", Some("degC")));
        assert_eq!(term.converted(212.0), 100.0);
        let term = at_path_in("tank.value", "L");
        assert_eq!((&*term.metric, term.unit.as_deref(), term.converted(2.0)), ("tank.value", Some("L"), 2.0));
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(SPELLINGS.is_sorted() && SUFFIXES.is_sorted());
    }

    #[test]
    fn two_fields_never_become_one_metric() {
        let names: Vec<String> =
            terms(&["temp", "temperature", "hum", "rh"]).iter().map(|t| t.metric.to_string()).collect();
        assert_eq!(names, ["temp", "temperature", "humidity", "rh"]);
    }

    #[test]
    fn a_unit_stands_behind_a_number() {
        assert_eq!(with_unit("21.5 °C"), Some(("21.5", "°C")));
        assert_eq!(with_unit("45%"), Some(("45", "%")));
        assert_eq!(with_unit("-1e3 Pa"), Some(("-1e3", "Pa")));
        assert_eq!(with_unit("230V"), Some(("230", "V")));
        assert_eq!(with_unit("3 µg/m³"), Some(("3", "µg/m³")));
        for text in ["3rd", "12:30", "0x10", "5 apples", "°C", "", "21.5", "1 h ago"] {
            assert_eq!(with_unit(text), None, "{text}");
        }
    }
}
