use proptest::prelude::*;

use super::*;
use crate::reading::{Timestamp, When};

const T: When = When::Live(Timestamp(1_760_000_000_000_000));

fn lines() -> JsonLines {
    JsonLines::new("pico", "time", "node")
}

/// Node, metric, value and time of the readings of a line that gives nothing else.
fn rows(decoded: &Decoded) -> Vec<(&str, &str, f64, When)> {
    assert_eq!((&decoded.events, &decoded.dead), (&vec![], &vec![]));
    decoded.readings.iter().map(|r| (&*r.node, &*r.metric, r.value, r.when)).collect()
}

/// The one dead letter of a line that gives nothing else.
fn refused(line: impl AsRef<[u8]>) -> (DeadReason, String) {
    let got = lines().line(line.as_ref(), Local::UTC);
    assert!(got.readings.is_empty() && got.events.is_empty() && got.dead.len() == 1, "{got:?}");
    (got.dead[0].reason, got.dead[0].detail.clone())
}

#[test]
fn a_line_names_its_node_anywhere_and_as_text_or_number() {
    for (line, node) in [
        (r#"{"node": "t1", "time": 1760000000, "a": 1.5}"#, "t1"),
        (r#"{"a": 1.5, "time": 1760000000, "node": "t1"}"#, "t1"),
        (r#"{"node": 11529215046068469763, "a": 1.5, "time": "2025-10-09T08:53:20Z"}"#, "11529215046068469763"),
        (r#"{"node": 1.50, "a": 1.5, "time": 1760000000000}"#, "1.50"),
        (r#"{"node": false, "node": -3, "a": 1.5, "time": 1760000000}"#, "-3"),
        (r#"{"node": "t\u00fcr", "a": 1.5, "time": 1760000000}"#, "tür"),
        (r#"{"a": 1.5, "time": 1760000000}"#, "pico"),
        (r#"{"node": null, "a": 1.5, "time": 1760000000}"#, "pico"),
    ] {
        assert_eq!(rows(&lines().line(line.as_bytes(), Local::UTC)), [(node, "a", 1.5, T)], "{line}");
    }
}

#[test]
fn the_fields_may_be_deep_and_may_be_left_out() {
    let mut deep = JsonLines::new("pico", "meta.at", "meta.id");
    let got = deep.line(br#"{"meta": {"id": 7, "at": 1760000000, "rssi": -70}, "node": 2, "time": 3}"#, Local::UTC);
    assert_eq!(rows(&got), [("7", "meta.rssi", -70.0, T), ("7", "node", 2.0, T), ("7", "time", 3.0, T)]);
    let mut none = JsonLines::new("pico", "", "");
    let got = none.line(br#"{"node": 2, "time": 3}"#, Local::UTC);
    assert_eq!(rows(&got), [("pico", "node", 2.0, When::Arrival), ("pico", "time", 3.0, When::Arrival)]);
}

#[test]
fn ends_of_lines_and_blanks_are_tolerated() {
    for line in ["", "\n", "\r\n", "  \t\r\n"] {
        assert!(lines().line(line.as_bytes(), Local::UTC).is_empty(), "{line:?}");
    }
    assert_eq!(rows(&lines().line(b" {\"a\": 1} \r\n", Local::UTC)), [("pico", "a", 1.0, When::Arrival)]);
}

#[test]
fn an_unusable_time_is_an_event_of_the_node_that_the_line_names() {
    let got = lines().line(br#"{"time": "soon", "a": 1, "node": "t1"}"#, Local::UTC);
    assert_eq!((got.readings.len(), got.readings[0].when, got.dead.len()), (1, When::Arrival, 0));
    assert_eq!((got.events.len(), &*got.events[0].node, &*got.events[0].kind), (1, "t1", "clock"));
}

#[test]
fn something_else_than_an_object_is_malformed() {
    let found =
        |what: &str| (DeadReason::Malformed, format!("expected a JSON object, found a line that begins with `{what}`"));
    assert_eq!(refused("21.5"), found("2"));
    assert_eq!(refused("[{\"a\": 1}]"), found("["));
    assert_eq!(refused("\"x\""), found("\\\""));
    assert_eq!(refused("boot ok"), found("b"));
    assert_eq!(refused("\0\0{\"a\": 1}"), found("\\x00"));
    assert_eq!(refused("{\"a\": 1"), (DeadReason::Malformed, "EOF while parsing an object at line 1 column 7".into()));
    assert_eq!(
        refused(r#"{"a": 1}{"a": 2}"#),
        (DeadReason::Malformed, "trailing characters at line 1 column 9".into())
    );
    assert_eq!(refused(r#"{"a": NaN}"#), (DeadReason::Malformed, "expected value at line 1 column 7".into()));
    assert_eq!(refused(b"\xff\xfe{"), (DeadReason::NotUtf8, "invalid UTF-8 at byte 0".into()));
    assert_eq!(refused(b"{\"a\xff\": 1}"), (DeadReason::NotUtf8, "invalid UTF-8 at byte 3".into()));
}

#[test]
fn a_bad_node_puts_the_whole_line_aside() {
    let bad = |detail: &str| (DeadReason::BadName, detail.to_owned());
    let field = |what: &str| format!("the field `node` is {what}: expected the node's name as text or number");
    assert_eq!(refused(r#"{"node": "", "a": 1}"#), bad("the node's name is empty"));
    assert_eq!(refused(r#"{"node": "a\tb", "a": 1}"#), bad("the node's name has a control character: `a?b`"));
    let (long, cut) = ("n".repeat(129), "n".repeat(40));
    assert_eq!(
        refused(format!(r#"{{"node": "{long}", "a": 1}}"#)),
        bad(&format!("the node's name has 129 bytes, expected at most 128: `{cut}...`"))
    );
    assert_eq!(refused(r#"{"node": true, "a": 1}"#), bad(&field("a boolean")));
    assert_eq!(refused(r#"{"node": ["t1"], "a": 1}"#), bad(&field("an array")));
    assert_eq!(refused(r#"{"node": {"id": 1}, "a": 1}"#), bad(&field("an object")));
    assert_eq!(refused(r#"{"node": {}, "a": 1}"#), bad(&field("an object")));
}

#[test]
fn a_line_without_a_value_gives_no_reading() {
    let none = (DeadReason::NoReading, "expected a number, a boolean or the text of a state".to_owned());
    assert_eq!(refused("{}"), none);
    assert_eq!(refused(r#"{"node": 5, "time": 1760000000, "fw": "a"}"#), none);
    assert!(lines().line(br#"{"node": 5, "temperature": null}"#, Local::UTC).is_empty());
}

#[test]
fn a_state_is_told_when_it_changes() {
    let mut lines = lines();
    let mut told = |line: &str| {
        let decoded = lines.line(line.as_bytes(), Local::UTC);
        decoded.events.iter().map(|e| format!("{} {} {}", e.node, e.kind, e.data)).collect::<Vec<_>>()
    };
    assert_eq!(told(r#"{"node": "t1", "mode": "eco"}"#), ["t1 mode eco"]);
    assert_eq!(told(r#"{"node": "t1", "mode": "eco"}"#), [""; 0]);
    assert_eq!(told(r#"{"node": "t2", "mode": "eco"}"#), ["t2 mode eco"]);
    assert_eq!(told(r#"{"node": "t1", "mode": "dry"}"#), ["t1 mode dry"]);
}

#[test]
fn another_field_tells_the_time_where_none_was_asked_for() {
    let line = br#"{"ts": 1760000000, "a": 1}"#;
    assert_eq!(rows(&lines().line(line, Local::UTC)), [("pico", "a", 1.0, T)]);
    let rows_of = |time: &str| JsonLines::new("pico", time, "node").line(line, Local::UTC).readings.len();
    assert_eq!((rows_of("when"), rows_of("")), (2, 2));
}

proptest! {
    #[test]
    fn no_line_panics_and_blank_ones_are_empty(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for line in [bytes.clone(), [b"{", &*bytes].concat()] {
            let blank = line.iter().all(u8::is_ascii_whitespace);
            prop_assert!(!blank || lines().line(&line, Local::UTC).is_empty());
        }
    }
}
