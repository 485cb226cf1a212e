//! What the formats with fields in JSON and names made of words share: leaves with their paths, a field that holds a time,
//! and the unit of a longer name such as `outdoor_temperature`.

use std::sync::Arc;

use serde_json::Value;

use super::found::Found;
use super::scalar::{Scalar, of_text};
use super::vocabulary::{Term, unit_of};
use crate::codec::time::{Local, parse_number, parse_text};
use crate::reading::{MAX_NAME, Timestamp, When};

/// Objects and arrays within each other that are looked into; no publisher has more than four, and what is deeper is left out.
pub const MAX_DEPTH: usize = 8;

/// Longest path that is put together, in bytes: it is far longer than a name may be, so that what is cut is refused all the same. A
/// key of 200 KB above 10,000 leaves must not be copied for each of them.
const MAX_PATH: usize = 4 * MAX_NAME;

/// The beginning of a name that is too long to be one, and every other name as it is.
pub fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_PATH);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Calls `visit` with each leaf of `value` that is not null and its path: keys and indices joined by dots, behind `path`.
pub fn each_leaf<'v>(value: &'v Value, path: &mut String, visit: &mut dyn FnMut(&str, &'v Value)) {
    path.truncate(cut(path).len());
    leaves_below(value, path, MAX_DEPTH, visit);
}

fn leaves_below<'v>(value: &'v Value, path: &mut String, depth: usize, visit: &mut dyn FnMut(&str, &'v Value)) {
    let len = path.len();
    let mut below = |key: &str, value: &'v Value| {
        if len > 0 {
            path.push('.');
        }
        path.push_str(cut(key));
        path.truncate(cut(path).len());
        leaves_below(value, path, depth - 1, visit);
        path.truncate(len);
    };
    match value {
        Value::Null => {}
        Value::Object(_) | Value::Array(_) if depth == 0 => {}
        Value::Object(fields) => fields.iter().for_each(|(key, value)| below(key, value)),
        Value::Array(elements) => elements.iter().enumerate().for_each(|(i, value)| below(&i.to_string(), value)),
        _ => visit(path, value),
    }
}

/// The time in a field: a number or text as [`parse_text`] takes it. None, null, zero and empty text count as the arrival;
/// what is no time does so too, with an event.
pub fn time_of(found: &mut Found<'_>, node: &Arc<str>, field: &str, value: Option<&Value>, local: Local) -> When {
    let (parsed, text) = match value {
        None | Some(Value::Null) => return When::Arrival,
        Some(Value::Number(number)) => (parse_number(number.as_str()), number.as_str()),
        Some(Value::String(text)) if text.trim().is_empty() => return When::Arrival,
        Some(Value::String(text)) => (parse_text(text, local), text.as_str()),
        Some(_) => (None, "neither number nor text"),
    };
    match parsed {
        Some(Timestamp(0)) => When::Arrival,
        Some(time) => When::Live(time),
        None => {
            found.bad_time(node, field, text);
            When::Arrival
        }
    }
}

/// 1 or 0 where a field is a switch and no number: a boolean, or `on`, `off`, `true`, `false` in any case.
pub fn switch_of(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        Value::String(text) if text.trim_start().starts_with(|c: char| c.is_ascii_alphabetic()) => {
            match of_text(text) {
                Scalar::Value(value) => Some(value),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Names of which the unit is known only from where they stand: `gas` may be an alarm, `speed` a fan's, `volume` a siren's,
/// `distance` in m or in cm.
pub const DEPENDS: [&str; 8] = ["distance", "gas", "heading", "o2", "speed", "voc", "volume", "water"];

/// The unit of a name of words joined by `_` that ends in a name of the vocabulary (`outdoor_temperature`), also with a
/// number behind it (`temperature_2`).
pub fn unit_of_words(name: &str) -> Option<&'static str> {
    // It is refused, and has too many words to be looked through.
    if name.len() > MAX_NAME {
        return None;
    }
    let unit = |name: &str| unit_of(name).filter(|_| !DEPENDS.contains(&name));
    let ends = |name: &str| {
        let tails = name.match_indices('_').map(|(at, _)| &name[at + 1..]);
        std::iter::once(name).chain(tails).find_map(unit)
    };
    ends(name).or_else(|| ends(without_number(name)?))
}

/// `temperature` of `temperature_2`; `None` where no number is behind the name.
fn without_number(name: &str) -> Option<&str> {
    let (stem, number) = name.rsplit_once('_')?;
    (!number.is_empty() && number.len() <= 3 && number.bytes().all(|b| b.is_ascii_digit())).then_some(stem)
}

/// A metric of that name, with the unit of its words.
pub fn of_words(name: &str) -> Term<'_> {
    Term { unit: unit_of_words(name).map(Into::into), ..Term::unknown(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_their_paths_and_a_depth() {
        let mut seen = Vec::new();
        let value = serde_json::json!({"a": {"b": [1, {"c": true}]}, "n": null, "t": "x"});
        each_leaf(&value, &mut String::new(), &mut |path, value| seen.push((path.to_owned(), value.to_string())));
        let expected = [("a.b.0", "1"), ("a.b.1.c", "true"), ("t", "\"x\"")];
        assert_eq!(seen, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
        let deep: Value = serde_json::from_str(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).unwrap();
        each_leaf(&deep, &mut String::new(), &mut |path, _| panic!("{path}"));
    }

    #[test]
    fn paths_that_are_too_long_are_cut_and_too_long_still() {
        let key = "ä".repeat(1_000);
        let value = serde_json::json!({ &key: {&key: 1} });
        each_leaf(&value, &mut String::new(), &mut |path, _| assert_eq!(path, "ä".repeat(256)));
        each_leaf(&value[&key][&key], &mut key.clone(), &mut |path, _| assert_eq!(path, "ä".repeat(256)));
        assert_eq!(cut("temperature"), "temperature");
    }

    #[test]
    fn units_are_those_of_the_last_words() {
        for (name, unit) in [
            ("temperature", Some("degC")),
            ("outdoor_bme280_pressure", Some("hPa")),
            ("soil_temperature_2", Some("degC")),
            ("freezer_battery_voltage", Some("V")),
            ("pm2_5", Some("ug/m3")),
            ("co2", Some("ppm")),
            ("fan_speed", None),
            ("gas", None),
            ("temperature_calibration", None),
            ("battery_low", None),
            ("x_", None),
            ("", None),
        ] {
            assert_eq!(unit_of_words(name), unit, "{name}");
        }
    }

    #[test]
    fn times_are_numbers_or_texts_and_else_the_arrival() {
        let node: Arc<str> = "n".into();
        let read = |text: &str| {
            let mut found = Found::new(b"");
            let value: Value = serde_json::from_str(text).unwrap();
            let when = time_of(&mut found, &node, "t", Some(&value), Local::UTC);
            (when, found.finish().events.len())
        };
        assert_eq!(read("1680962879.62"), (When::Live(Timestamp(1_680_962_879_620_000)), 0));
        assert_eq!(read("\"2019-11-03T19:34:28\""), (When::Live(Timestamp(1_572_809_668_000_000)), 0));
        for nothing in ["0", "null", "\"\""] {
            assert_eq!(read(nothing), (When::Arrival, 0), "{nothing}");
        }
        for bad in ["\"never\"", "true", "[]"] {
            assert_eq!(read(bad), (When::Arrival, 1), "{bad}");
        }
    }
}
