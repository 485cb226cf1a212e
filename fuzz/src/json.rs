//! Properties of the JSON codecs.

use std::collections::{BTreeMap, BTreeSet};

use gadwall::codec::json::{MAX_VALUES, Options, decode};
use gadwall::codec::json_lines::JsonLines;
use gadwall::codec::payload::names;
use gadwall::codec::payload::scalar::{Scalar, of_text};
use gadwall::codec::payload::time_fields::rank;
use gadwall::codec::time::Local;
use gadwall::reading::{DeadReason, Decoded, MAX_EXCERPT, MAX_NAME};
use serde_json::Value;

/// One message: the limits hold, and an object's readings are the leaves of its tree.
pub fn json(input: &[u8]) {
    let plain = decode(input, &Options { node: "n", metric: None, time: None, local: Local::UTC });
    let named = decode(input, &Options { node: "n", metric: Some("m"), time: Some("time"), local: Local::UTC });
    for decoded in [&plain, &named] {
        within_limits(decoded, MAX_EXCERPT);
        assert!(decoded.readings.iter().all(|r| &*r.node == "n"));
    }
    let Ok(tree) = serde_json::from_slice::<Value>(input) else { return };
    let refused = |reason| plain.dead.iter().any(|d| d.reason == reason);
    assert!(!refused(DeadReason::Malformed) && !refused(DeadReason::NotUtf8), "{:?}", plain.dead);
    // With an outermost array names recur, and with dots in keys different leaves have the same path.
    if !tree.is_object() || has_dots(&tree) || refused(DeadReason::TooManyValues) {
        return;
    }
    let found: BTreeMap<&str, f64> =
        plain.readings.iter().map(|r| (&**r.own_name.as_ref().unwrap_or(&r.metric), r.value)).collect();
    assert_eq!(found.len(), plain.readings.len(), "a path is there twice");
    let metrics: BTreeSet<&str> = plain.readings.iter().map(|r| &*r.metric).collect();
    assert_eq!(metrics.len(), plain.readings.len(), "a metric is there twice");
    each_leaf(&tree, None, &mut |path, value| {
        // Times are no readings, and what is converted has another value.
        let last = path.rsplit('.').next().unwrap_or_default();
        if value.is_finite() && is_name(path) && rank(last).is_none() {
            let converted = names::at_path(path).converted(value);
            assert!(
                found.get(path).is_some_and(|v| *v == value || *v == converted) || has_units(&tree),
                "{path} {:?}",
                found.get(path)
            );
        }
    });
}

/// One line: the limits hold, only blank lines give nothing, and without a field for the node a line is decoded as a
/// message is.
pub fn json_lines(input: &[u8]) {
    let decoded = JsonLines::new("s", "time", "node").line(input, Local::UTC);
    within_limits(&decoded, MAX_EXCERPT);
    assert!(decoded.is_empty() || !input.trim_ascii().is_empty());
    let node = decoded.readings.first().map(|r| &r.node);
    assert!(decoded.readings.iter().all(|r| Some(&r.node) == node));
    if input.trim_ascii().first() == Some(&b'{') {
        let line = JsonLines::new("s", "at", "").line(input, Local::UTC);
        let options = Options { node: "s", metric: None, time: Some("at"), local: Local::UTC };
        let message = decode(input.trim_ascii(), &options);
        assert_eq!((&line.readings, &line.dead), (&message.readings, &message.dead));
        // A state that comes twice in a line is told once.
        assert!(line.events.iter().all(|event| message.events.contains(event)));
    }
}

pub(crate) fn within_limits(decoded: &Decoded, longest_detail: usize) {
    assert!(
        decoded.readings.len() <= MAX_VALUES
            && decoded.dead.len() <= MAX_VALUES + 1
            && decoded.events.len() <= MAX_VALUES + 1
    );
    for reading in &decoded.readings {
        assert!(reading.value.is_finite());
        assert!(is_name(&reading.node) && is_name(&reading.metric), "{reading:?}");
    }
    for event in &decoded.events {
        assert!(is_name(&event.node) && is_name(&event.kind) && event.data.len() <= MAX_EXCERPT, "{event:?}");
    }
    for letter in &decoded.dead {
        assert!(letter.excerpt.len() <= MAX_EXCERPT && letter.detail.len() <= longest_detail, "{letter:?}");
        assert!(!letter.detail.is_empty() && !letter.detail.chars().any(char::is_control), "{letter:?}");
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn has_dots(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('.') || has_dots(value)),
        Value::Array(elements) => elements.iter().any(has_dots),
        _ => false,
    }
}

/// Whether a unit may stand beside a value.
fn has_units(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.contains_key("value") || fields.contains_key("Value") || fields.values().any(has_units)
        }
        Value::Array(elements) => elements.iter().any(has_units),
        _ => false,
    }
}

/// Calls `each` with the path and value of every numeric or boolean leaf, in quotes or not; a number that does not fit is infinite.
fn each_leaf(value: &Value, path: Option<&str>, each: &mut impl FnMut(&str, f64)) {
    let below = |key: &str| path.map_or_else(|| key.to_owned(), |path| format!("{path}.{key}"));
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| each_leaf(value, Some(&below(key)), each)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(i, value)| each_leaf(value, Some(&below(&i.to_string())), each));
        }
        Value::Bool(value) => each(path.unwrap_or_default(), f64::from(u8::from(*value))),
        Value::Number(number) => each(path.unwrap_or_default(), number.to_string().parse().expect("a JSON number")),
        Value::String(text) => {
            if let Scalar::Value(value) = of_text(text) {
                each(path.unwrap_or_default(), value);
            }
        }
        Value::Null => {}
    }
}
