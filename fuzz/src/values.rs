//! Properties of the formats whose messages stand alone: numbers, tables, the line protocol, MessagePack.

use gadwall::codec::payload::csv::Rows;
use gadwall::codec::payload::influx_line::{Origin, decode_lines};
use gadwall::codec::payload::{MAX_VALUES, Message, csv, influx_line, msgpack, number};
use gadwall::codec::time::Local;
use gadwall::reading::{DeadReason, Decoded, MAX_EXCERPT, MAX_NAME};

/// A message of a topic.
pub(crate) fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { topic, payload, node: None, metric: None, time: None, local: Local::UTC, retain: false }
}

/// Every value is finite, every name one that can be stored, and there are no more than a message may hold.
pub(crate) fn within_bounds(decoded: &Decoded) {
    assert!(decoded.readings.len() + decoded.events.len() <= MAX_VALUES);
    assert!(decoded.dead.len() <= MAX_VALUES + 64);
    for reading in &decoded.readings {
        assert!(reading.value.is_finite() && is_name(&reading.node) && is_name(&reading.metric), "{reading:?}");
        assert!(reading.own_name.as_ref().is_none_or(|name| is_name(name) && *name != reading.metric), "{reading:?}");
    }
    for event in &decoded.events {
        assert!(is_name(&event.node) && is_name(&event.kind) && event.data.len() <= MAX_EXCERPT, "{event:?}");
    }
    for letter in &decoded.dead {
        assert!(letter.excerpt.len() <= MAX_EXCERPT && !letter.detail.is_empty(), "{letter:?}");
    }
}

/// What a format recognises it can read.
pub(crate) fn readable(decoded: &Decoded) {
    let refused = |reason| matches!(reason, DeadReason::Malformed | DeadReason::NotUtf8);
    assert!(!decoded.dead.iter().any(|letter| refused(letter.reason)), "{decoded:?}");
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// A bare value: at most one reading or event.
pub fn number(input: &[u8]) {
    let message = message("home/kitchen/temperature", input);
    let decoded = gadwall::codec::payload::number::decode(&message);
    within_bounds(&decoded);
    assert!(decoded.readings.len() + decoded.events.len() + decoded.dead.len() <= 1, "{decoded:?}");
    if number::recognises(&message) {
        readable(&decoded);
        assert!(decoded.readings.len() == 1, "{decoded:?}");
    }
}

/// A table: the bounds hold, and rows one by one are never more than those of the whole.
pub fn csv(input: &[u8]) {
    let message = message("site/table", input);
    let decoded = csv::decode(&message);
    within_bounds(&decoded);
    if csv::recognises(&message) {
        readable(&decoded);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut rows = Rows::new(csv::Options { node: "port".into(), ..csv::Options::default() });
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        within_bounds(&rows.line(line, Local::UTC));
    }
}

/// The line protocol: the bounds hold, and lines that are decoded one by one have the values of the whole text.
pub fn influx_line(input: &[u8]) {
    let message = message("telegraf/host/cpu", input);
    let decoded = influx_line::decode(&message);
    within_bounds(&decoded);
    if influx_line::recognises(&message) {
        readable(&decoded);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let origin = Origin { node: None, fallback: "port" };
    let whole = decode_lines(text, origin);
    let bad = whole.dead.iter().any(|letter| letter.reason == DeadReason::TooManyValues);
    let mut single = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let decoded = decode_lines(line, origin);
        for reading in &decoded.readings {
            // The last of two for the same time wins, so only names can be compared; where two would be one, the second has
            // more behind its node or before its metric.
            let same = whole.readings.iter().any(|r| {
                r.when == reading.when
                    && r.node.starts_with(&*reading.node)
                    && (r.metric == reading.metric || r.own_name == reading.own_name || reading.own_name.is_none())
            });
            assert!(same || bad, "{reading:?}");
        }
        single += decoded.readings.len();
    }
    assert!(bad || whole.readings.len() <= single);
}

/// MessagePack: the bounds hold, and a message that was cut is never a whole one.
pub fn msgpack(input: &[u8]) {
    let message_ = message("dev/1", input);
    let decoded = msgpack::decode(&message_);
    within_bounds(&decoded);
    let whole = !decoded.dead.iter().any(|letter| letter.reason == DeadReason::Malformed);
    if msgpack::recognises(&message_) {
        readable(&decoded);
    }
    if whole && !input.is_empty() {
        let cut = msgpack::decode(&message("dev/1", &input[..input.len() - 1]));
        assert!(cut.dead.iter().any(|letter| letter.reason == DeadReason::Malformed), "{cut:?}");
    }
}
