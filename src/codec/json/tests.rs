use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::codec::payload::scalar;
use crate::reading::{MAX_EXCERPT, Timestamp, When};

/// 2025-10-09T08:53:20Z.
const T: When = When::Live(Timestamp(1_760_000_000_000_000));

fn options<'a>() -> Options<'a> {
    Options { node: "n", metric: None, time: Some("time"), local: Local::UTC }
}

fn decoded(payload: impl AsRef<[u8]>) -> Decoded {
    decode(payload.as_ref(), &options())
}

fn of_topic(payload: &str, metric: &str) -> Decoded {
    decode(payload.as_bytes(), &Options { metric: Some(metric), ..options() })
}

/// Names, values and times of the readings.
fn rows(decoded: &Decoded) -> Vec<(&str, f64, When)> {
    decoded.readings.iter().map(|r| (&*r.metric, r.value, r.when)).collect()
}

/// Names and values of the readings of a message that gives nothing else.
fn values(decoded: &Decoded) -> Vec<(&str, f64)> {
    assert_eq!((&decoded.events, &decoded.dead), (&vec![], &vec![]));
    decoded.readings.iter().map(|r| (&*r.metric, r.value)).collect()
}

fn dead(decoded: &Decoded) -> Vec<(DeadReason, &str)> {
    decoded.dead.iter().map(|d| (d.reason, d.detail.as_str())).collect()
}

/// The one dead letter of a message that gives nothing else.
fn refused(payload: impl AsRef<[u8]>) -> (DeadReason, String) {
    let decoded = decoded(payload.as_ref());
    assert!(decoded.readings.is_empty() && decoded.events.is_empty() && decoded.dead.len() == 1, "{decoded:?}");
    assert_eq!(decoded.dead[0].excerpt, payload.as_ref()[..payload.as_ref().len().min(MAX_EXCERPT)]);
    (decoded.dead[0].reason, decoded.dead[0].detail.clone())
}

#[test]
fn every_numeric_leaf_is_named_by_its_path() {
    let got = decoded(
        r#"{"temperature": 27.34, "occupancy": true, "state": "OFF", "last": null,
            "update": {"installed": 537019939, "ok": false, "deep": {"er": -1e-3}},
            "list": [1, "x", [2.5, {"a": 3}], true], "empty": {}, "none": []}"#,
    );
    assert_eq!(
        values(&got),
        [
            ("temperature", 27.34),
            ("occupancy", 1.0),
            ("state", 0.0),
            ("update.installed", 537_019_939.0),
            ("update.ok", 0.0),
            ("update.deep.er", -0.001),
            ("list.0", 1.0),
            ("list.2.0", 2.5),
            ("list.2.1.a", 3.0),
            ("list.3", 1.0),
        ]
    );
    for reading in &got.readings {
        let unit = (&*reading.metric == "temperature").then_some("degC");
        assert_eq!((&*reading.node, reading.unit.as_deref(), reading.when), ("n", unit, When::Arrival));
        assert!(Arc::ptr_eq(&reading.node, &got.readings[0].node));
    }
}

#[test]
fn a_bare_value_has_the_metric_of_the_topic_or_value() {
    assert_eq!(values(&decoded(" 21.5\n")), [("value", 21.5)]);
    assert_eq!(values(&decoded("true")), [("value", 1.0)]);
    assert_eq!(values(&of_topic("-7", "temperature")), [("temperature", -7.0)]);
    assert_eq!(values(&of_topic("false", "door")), [("door", 0.0)]);
}

#[test]
fn the_metric_of_the_topic_stands_before_the_paths() {
    assert_eq!(values(&of_topic(r#"{"a": {"b": 1}, "c": [2]}"#, "m")), [("m.a.b", 1.0), ("m.c.0", 2.0)]);
    assert_eq!(values(&of_topic(r#"[{"a": 1}, 2]"#, "m")), [("m.a", 1.0), ("m.1", 2.0)]);
    let got = of_topic(r#"{"time": 1760000000, "a": 1, "m": {"time": 2}}"#, "m");
    assert_eq!(rows(&got), [("m.a", 1.0, T), ("m.m.time", 2.0, T)]);
}

#[test]
fn the_time_may_stand_before_between_or_behind_and_is_no_reading() {
    for text in [
        r#"{"time": 1760000000, "a": 1, "b": 2}"#,
        r#"{"a": 1, "time": "2025-10-09T10:53:20+02:00", "b": 2}"#,
        r#"{"a": 1, "b": 2, "time": "1760000000000"}"#,
        r#"{"a": 1, "b": 2, "time": 1760000000000000}"#,
        r#"{"a": 1, "b": 2, "\u0074ime": 1760000000.0000001}"#,
        r#"{"time": "x", "a": 1, "b": 2, "time": 1.76e9}"#,
    ] {
        let got = decoded(text);
        assert_eq!(rows(&got), [("a", 1.0, T), ("b", 2.0, T)], "{text}");
        assert_eq!((got.events, got.dead), (vec![], vec![]), "{text}");
    }
    let got = decoded(r#"{"time": 1760000000.123456, "a": 1}"#);
    assert_eq!(rows(&got), [("a", 1.0, When::Live(Timestamp(1_760_000_000_123_456)))]);
}

#[test]
fn the_path_of_the_time_may_be_deep() {
    let at = |path, text: &str| decode(text.as_bytes(), &Options { time: Some(path), ..options() });
    let got = at("meta.ts", r#"{"meta": {"ts": 1760000000, "v": 1}, "ts": 5}"#);
    assert_eq!(rows(&got), [("meta.v", 1.0, T), ("ts", 5.0, T)]);
    assert_eq!(rows(&at("a.1", r#"{"a": [7, 1760000000]}"#)), [("a.0", 7.0, T)]);
    assert_eq!(rows(&at("a.b", r#"{"a.b": 1760000000, "c": 7}"#)), [("c", 7.0, T)]);
    // Where a field is configured, no other is looked for.
    assert_eq!(rows(&at("x", r#"{"time": 1760000000, "c": 7}"#)).len(), 2);
}

#[test]
fn a_time_that_is_none_becomes_an_event_and_the_arrival_counts() {
    let expected = "expected a Unix time in s, ms, us or ns, or a text such as 2025-10-09T08:53:20Z";
    for (found, name) in [
        (r#""yesterday""#, "`yesterday`"),
        (r#""a\u0000b""#, "`a?b`"),
        ("1e999", "`1e+999`"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("{}", "an object"),
    ] {
        let got = decoded(format!(r#"{{"time": {found}, "a": 1}}"#));
        assert_eq!(rows(&got), [("a", 1.0, When::Arrival)], "{found}");
        assert_eq!(got.dead, []);
        assert_eq!(got.events.len(), 1, "{found}");
        let event = &got.events[0];
        assert_eq!((&*event.node, &*event.kind, event.when), ("n", "clock", When::Arrival));
        assert_eq!(event.data, format!("the field `time` is {name}: {expected}"));
    }
    let got = decoded(r#"{"time": {"x": 2}, "a": 1}"#);
    assert_eq!(rows(&got), [("time.x", 2.0, When::Arrival), ("a", 1.0, When::Arrival)]);
    assert_eq!(got.events.len(), 1);
    assert_eq!(values(&decoded(r#"{"time": null, "a": 1}"#)), [("a", 1.0)]);
}

#[test]
fn each_object_of_an_outermost_array_has_its_own_time() {
    let got = decoded(
        r#"[{"a": 1, "time": 1760000000}, {"a": 2}, {"time": "x", "a": 3}, {"time": true, "a": 4},
            {"a": 5, "b": 6, "time": 1760000001}, 7, [8, {"time": 9}]]"#,
    );
    let later = When::Live(Timestamp(1_760_000_001_000_000));
    assert_eq!(
        rows(&got),
        [
            ("a", 1.0, T),
            ("a", 2.0, When::Arrival),
            ("a", 3.0, When::Arrival),
            ("a", 4.0, When::Arrival),
            ("a", 5.0, later),
            ("b", 6.0, later),
            ("value.5", 7.0, When::Arrival),
            ("value.6.0", 8.0, When::Arrival),
            ("value.6.1.time", 9.0, When::Arrival),
        ]
    );
    assert_eq!(got.dead, []);
    assert_eq!(got.events.len(), 1);
    assert_eq!(
        got.events[0].data,
        "the field `time` is `x`: expected a Unix time in s, ms, us or ns, or a text such as 2025-10-09T08:53:20Z (and 1 \
         more of its objects)"
    );
}

#[test]
fn numbers_are_the_nearest_float() {
    let got = decoded(
        "[0.1, 1e-400, 5e-324, 1.7976931348623157e308, 9007199254740993, 18446744073709551615, 123456789012345678901234567890, \
         2.2250738585072011e-308, -0.0, 1E+2]",
    );
    let got: Vec<f64> = values(&got).into_iter().map(|(_, v)| v).collect();
    assert_eq!(
        got,
        [
            0.1,
            0.0,
            f64::from_bits(1),
            f64::MAX,
            9_007_199_254_740_992.0,
            18_446_744_073_709_551_615.0,
            1.234_567_890_123_456_8e29,
            f64::from_bits(0x000f_ffff_ffff_ffff),
            0.0,
            100.0
        ]
    );
}

#[test]
fn a_number_that_overflows_is_put_aside_alone() {
    let got = decoded(r#"{"a": 1, "b": {"c": 1e999}, "d": [-1e309], "e": 2, "time": 1760000000}"#);
    assert_eq!(rows(&got), [("a", 1.0, T), ("e", 2.0, T)]);
    assert_eq!(
        dead(&got),
        [
            (DeadReason::BadNumber, "`b.c` does not fit into a 64-bit float: `1e+999`"),
            (DeadReason::BadNumber, "`d.0` does not fit into a 64-bit float: `-1e+309`"),
        ]
    );
    assert!(got.dead[0].excerpt.starts_with(b"{\"a\": 1, \"b\": {\"c\": 1e999}"), "the message as it was received");
    let got = decoded("1e999");
    assert_eq!(dead(&got), [(DeadReason::BadNumber, "`value` does not fit into a 64-bit float: `1e+999`")]);
    let got = decoded("9".repeat(100_000));
    assert_eq!((got.readings.len(), got.dead.len(), got.dead[0].excerpt.len()), (0, 1, MAX_EXCERPT));
}

#[test]
fn the_inner_mark_of_the_parser_is_an_ordinary_key() {
    let mark = "$serde_json::private::Number";
    for value in ["\"\"", "\"nan\"", "null"] {
        let got = decoded(format!(r#"{{"{mark}": {value}, "a": {{"{mark}": {value}}}, "b": 1}}"#));
        assert_eq!(values(&got), [("b", 1.0)], "{value}");
    }
    let (nested, escaped) = (format!("a.{mark}"), mark.replace('$', "\\u0024"));
    assert_eq!(values(&decoded(format!(r#"{{"{mark}": 5, "a": {{"{mark}": 6}}}}"#))), [(mark, 5.0), (&*nested, 6.0)]);
    assert_eq!(values(&decoded(format!(r#"{{"{escaped}": 5}}"#))), [(mark, 5.0)]);
}

#[test]
fn names_within_the_limit_are_kept_and_others_put_aside_alone() {
    let (fits, long) = ("x".repeat(128), "y".repeat(129));
    let got = decoded(format!(r#"{{"{fits}": 1, "{long}": 2, "": 3, "a\nb": 4, "c\u007f": 5, "ok": 6}}"#));
    assert_eq!(rows(&got), [(&*fits, 1.0, When::Arrival), ("ok", 6.0, When::Arrival)]);
    let cut = "y".repeat(40);
    assert_eq!(
        dead(&got),
        [
            (DeadReason::BadName, &*format!("the metric's name has 129 bytes, expected at most 128: `{cut}...`")),
            (DeadReason::BadName, "the metric's name is empty"),
            (DeadReason::BadName, "the metric's name has a control character: `a?b`"),
            (DeadReason::BadName, "the metric's name has a control character: `c?`"),
        ]
    );
    assert!(got.dead[0].excerpt.starts_with(format!("{{\"{fits}\": 1").as_bytes()), "the message as it was received");
    // Bytes count, not characters, and the whole path counts.
    let got = decoded(format!(r#"{{"{}": 1, "a": {{"{}": 2}}, "b": {{"": 3}}}}"#, "ä".repeat(65), "z".repeat(126)));
    let path = format!("a.{}", "z".repeat(126));
    assert_eq!(rows(&got), [(&*path, 2.0, When::Arrival), ("b.", 3.0, When::Arrival)]);
    assert_eq!(got.dead.len(), 1);
    let got = decoded(format!(r#"{{"{}": {{"b": 2, "c": [1]}}, "d": 1}}"#, "k".repeat(200_000)));
    assert_eq!(rows(&got), [("d", 1.0, When::Arrival)]);
    assert_eq!((got.dead.len(), got.dead[0].excerpt.len()), (2, MAX_EXCERPT));
}

#[test]
fn a_bad_name_of_the_node_or_metric_puts_the_whole_message_aside() {
    let node = |node| {
        let got = decode(b"{\"a\": 1}", &Options { node, ..options() });
        assert_eq!((got.readings.len(), got.dead.len(), &*got.dead[0].excerpt), (0, 1, &b"{\"a\": 1}"[..]));
        (got.dead[0].reason, got.dead[0].detail.clone())
    };
    assert_eq!(node(""), (DeadReason::BadName, "the node's name is empty".into()));
    assert_eq!(node("a\u{85}b"), (DeadReason::BadName, "the node's name has a control character: `a?b`".into()));
    let cut = "n".repeat(40);
    let long = format!("the node's name has 129 bytes, expected at most 128: `{cut}...`");
    assert_eq!(node(&"n".repeat(129)), (DeadReason::BadName, long));
    assert_eq!(decode(b"1", &Options { node: &"n".repeat(128), ..options() }).readings.len(), 1);
    assert_eq!(dead(&of_topic("1", "")), [(DeadReason::BadName, "the metric's name is empty")]);
    assert_eq!(dead(&of_topic("{\"a\":1}", "")), [(DeadReason::BadName, "the metric's name is empty")]);
}

#[test]
fn the_last_of_equal_paths_wins() {
    assert_eq!(values(&decoded(r#"{"a": 1, "b": 2, "a": 3}"#)), [("a", 3.0), ("b", 2.0)]);
    assert_eq!(values(&decoded(r#"{"a.b": 1, "a": {"b": 2}}"#)), [("a.b", 2.0)]);
    assert_eq!(values(&decoded(r#"{"a": 1, "a": null}"#)), [("a", 1.0)]);
    assert_eq!(values(&decoded(r#"{"a": {"x": 1}, "a": {"y": 2}}"#)), [("a.x", 1.0), ("a.y", 2.0)]);
    assert_eq!(
        values(&decoded(r#"[{"value.1": 1}, 2, {"a": 3}, {"a": 4}]"#)),
        [("value.1", 1.0), ("value.1", 2.0), ("a", 3.0), ("a", 4.0)]
    );
    let got = decoded(r#"{"a": 1, "a": 1e999}"#);
    assert_eq!((rows(&got), got.dead.len()), (vec![("a", 1.0, When::Arrival)], 1));
}

#[test]
fn a_message_has_at_most_a_thousand_values() {
    let array = |n: usize| format!(r#"{{"a": [{}]}}"#, vec!["1"; n].join(","));
    let got = decoded(array(1_000));
    assert_eq!((got.readings.len(), got.dead.len()), (1_000, 0));
    let text = array(1_234);
    let got = decoded(&text);
    assert_eq!((got.readings.len(), &*got.readings[999].metric), (1_000, "a.999"));
    assert_eq!(
        dead(&got),
        [(DeadReason::TooManyValues, "1234 values: expected at most 1000, the others are not stored")]
    );
    assert_eq!(got.dead[0].excerpt, text.as_bytes()[..MAX_EXCERPT]);

    let got = decoded(format!("[{}]", vec![r#"{"time":"","a":1e999}"#; 9_000].join(",")));
    assert_eq!((got.readings.len(), got.events.len(), got.dead.len()), (0, 1, 1_001));
    assert!(got.events[0].data.ends_with("(and 8999 more of its objects)"), "{}", got.events[0].data);
    let got = decoded(format!(r#"{{"{}": [{}]}}"#, "k".repeat(200_000), vec!["1"; 20_000].join(",")));
    assert_eq!((got.readings.len(), got.dead.len()), (0, 1_001));
    // A value that replaces another is none of the thousand.
    let got = decoded(format!("{{{}}}", vec![r#""a":1"#; 5_000].join(",")));
    assert_eq!(values(&got), [("a", 1.0)]);
}

#[test]
fn what_is_not_json_is_malformed_as_a_whole() {
    for (text, detail) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("  ", "EOF while parsing a value at line 1 column 2"),
        ("nan", "expected ident at line 1 column 2"),
        ("NaN", "expected value at line 1 column 1"),
        ("-Infinity", "invalid number at line 1 column 2"),
        (r#"{"a": NaN}"#, "expected value at line 1 column 7"),
        (r#"{"a": Infinity}"#, "expected value at line 1 column 7"),
        ("{\"a\": 1,\n \"b\": }", "expected value at line 2 column 7"),
        (r#"{"a": 1"#, "EOF while parsing an object at line 1 column 7"),
        (r#"{"a": 1,}"#, "trailing comma at line 1 column 9"),
        (r#"{"a": 01}"#, "invalid number at line 1 column 8"),
        (r#"{"a": 1} {"b": 2}"#, "trailing characters at line 1 column 10"),
        ("{'a': 1}", "key must be a string at line 1 column 2"),
        ("{1: 1}", "key must be a string at line 1 column 2"),
        ("online", "expected value at line 1 column 1"),
        ("21,5", "trailing characters at line 1 column 3"),
    ] {
        assert_eq!(refused(text), (DeadReason::Malformed, detail.to_owned()), "{text:?}");
    }
    assert_eq!(
        refused("[".repeat(100_000)),
        (DeadReason::Malformed, "recursion limit exceeded at line 1 column 128".to_owned())
    );
    let deep = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
    assert_eq!(decoded(deep(64)).readings.len(), 1);
    assert_eq!(decoded(deep(127)).dead[0].reason, DeadReason::BadName);
    assert_eq!(refused(deep(128)).0, DeadReason::Malformed);
}

#[test]
fn what_is_not_utf8_is_refused_with_the_offset() {
    let utf8 = |at| (DeadReason::NotUtf8, format!("invalid UTF-8 at byte {at}"));
    assert_eq!(refused(b"{\"a\xff\": 1}"), utf8(3));
    assert_eq!(refused(b"\x00\x80"), utf8(1));
    assert_eq!(refused(b"{\"a\": 1, \"\xc3"), utf8(10));
}

#[test]
fn json_without_a_value_gives_no_reading() {
    let none = (DeadReason::NoReading, "expected a number, a boolean or the text of a state".to_owned());
    for text in ["{}", "[]", r#"{"id": "t1", "fw": "1.2.3", "a": [{}, "x"]}"#, r#"{"time": 1760000000}"#] {
        assert_eq!(refused(text), none, "{text}");
    }
    let got = decoded(r#"{"time": "x"}"#);
    assert_eq!((got.events.len(), dead(&got)[0].0), (1, DeadReason::NoReading));
    // The sender says that it has no value: that is no fault.
    for text in
        ["null", "\"unavailable\"", r#"{"temperature": null, "id": "t1"}"#, r#"{"humidity": "NaN"}"#, r#"{"a": ""}"#]
    {
        assert!(decoded(text).is_empty(), "{text}");
    }
}

/// Each reading as `metric=value unit (own name)`, each event as `kind: data`, both with `@time` where they have one.
fn shown(decoded: &Decoded) -> Vec<String> {
    let at = |when: When| match when {
        When::Live(ts) => format!(" @{ts}"),
        _ => String::new(),
    };
    let readings = decoded.readings.iter().map(|r| {
        let unit = r.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
        let own = r.own_name.as_deref().map(|own| format!(" ({own})")).unwrap_or_default();
        format!("{}={}{unit}{own}{}", r.metric, r.value, at(r.when))
    });
    let events = decoded.events.iter().map(|e| format!("{}: {}{}", e.kind, e.data, at(e.when)));
    readings.chain(events).chain(decoded.dead.iter().map(|d| format!("?{}", d.detail))).collect()
}

/// As a subscription without `time` reads it.
fn found(payload: &str) -> Vec<String> {
    shown(&decode(payload.as_bytes(), &Options { time: None, ..options() }))
}

#[test]
fn names_are_the_vocabularys_with_its_units() {
    assert_eq!(
        found(
            r#"{"temp": 21.5, "Humidity": "48.7", "pressure_pa": 101325, "battery_mv": 3012, "co2": 612, "vbat2": 3,
                "bme280": {"temp_f": 212, "rh": 40}, "wind": {"speed": 3.5}, "door": "ON", "power": true, "level": 7}"#
        ),
        [
            "temperature=21.5 degC (temp)",
            "humidity=48.7 % (Humidity)",
            "pressure=1013.25 hPa (pressure_pa)",
            "battery_voltage=3.012 V (battery_mv)",
            "co2=612 ppm",
            "vbat2=3 V",
            "bme280.temperature=100 degC (bme280.temp_f)",
            "bme280.humidity=40 % (bme280.rh)",
            "wind_speed=3.5 m/s (wind.speed)",
            "door=1",
            "power=1",
            "level=7",
        ]
    );
    // Two never become one.
    assert_eq!(found(r#"{"temp": 1, "temperature": 2}"#), ["temp=1 degC", "temperature=2 degC"]);
    assert_eq!(found(r#"{"hum": 1, "rh": 2}"#), ["humidity=1 % (hum)", "rh=2 %"]);
    assert_eq!(shown(&of_topic("21.5", "temp")), ["temperature=21.5 degC (temp)"]);
    assert_eq!(shown(&of_topic(r#"{"value": "21.5"}"#, "temperature")), ["temperature=21.5 degC (temperature.value)"]);
    assert_eq!(shown(&of_topic(r#"{"temp": 1}"#, "kitchen")), ["kitchen.temperature=1 degC (kitchen.temp)"]);
    // What no longer fits once it is converted stays as it was sent.
    assert_eq!(found(r#"{"energy_mwh": 1e308, "pressure_bar": 1.7e308}"#).len(), 2);
    let long = format!("{}.hum", "k".repeat(124));
    assert_eq!(found(&format!(r#"{{"{}": {{"hum": 1}}}}"#, "k".repeat(124))), [format!("{long}=1")]);
}

#[test]
fn a_unit_beside_a_value_is_its_unit() {
    assert_eq!(
        found(
            r#"{"temperature": {"value": 212, "unit": "°F"}, "tank": {"unit": "L", "value": "12"}, "unit": "x", "a": 1}"#
        ),
        ["temperature=100 degC (temperature.value)", "tank.value=12 L", "a=1"]
    );
}

#[test]
fn other_texts_are_events_but_for_what_describes() {
    assert_eq!(
        found(
            r#"{"id": "t1", "fw": "1.2.3", "mac": "aa:bb:cc:dd:ee:ff", "mode": "heat", "valve": {"state": "opening"},
                "button": "single", "list": ["a", "b"], "built": "2024-01-01T00:00:00Z", "error": "", "t": 1}"#
        ),
        ["t=1", "mode: heat", "valve.state: opening", "button: single"]
    );
    assert_eq!(found("\"open\""), ["value: open"]);
    assert_eq!(shown(&of_topic("\"open\"", "door")), ["door: open"]);
    assert_eq!(
        found(r#"{"status": "Online", "valve": {"status": "online"}}"#),
        ["availability: online", "valve.status: online"]
    );
    let got = decoded(format!(r#"{{"alarm": "{}", "time": 1760000000}}"#, "ä".repeat(2_000)));
    assert_eq!((got.events[0].data.len(), got.events[0].when), (1_024, T));
    let many: Vec<String> = (0..1_200).map(|n| format!("\"s{n}x\": \"open\"")).collect();
    let got = decoded(format!("{{{}}}", many.join(",")));
    assert_eq!((got.events.len(), got.dead.len()), (1_000, 1));
}

#[test]
fn a_time_is_found_by_its_name_where_none_is_configured() {
    for field in [
        r#""timestamp": 1760000000"#,
        r#""ts": 1760000000000"#,
        r#""time": "2025-10-09T08:53:20Z""#,
        r#""Timestamp": "2025-10-09 08:53:20""#,
        r#""lastSeen": "1760000000""#,
        r#""date": "2025-10-09", "time": "08:53:20""#,
        r#""date": "9.10.2025", "time": "08:53:20""#,
        r#""last_seen": 1770000000, "ts": 1760000000"#,
        r#""timestamp": null, "time": 1760000000"#,
        r#""ts": 0, "epoch": 1760000000"#,
    ] {
        for text in [format!(r#"{{"a": 1, {field}}}"#), format!(r#"{{{field}, "a": 1}}"#)] {
            assert_eq!(found(&text), ["a=1 @2025-10-09T08:53:20Z"], "{text}");
        }
    }
    // Numbers that cannot be times are values.
    assert_eq!(found(r#"{"time": 12.5, "ts": 123456, "a": 1}"#), ["time=12.5", "ts=123456", "a=1"]);
    assert_eq!(found(r#"{"uptime": 1760000000, "a": 1}"#), ["uptime=1760000000 s", "a=1"]);
    assert_eq!(found(r#"{"date": "2025-10-09", "a": 1}"#), ["a=1"]);
    let expected = "expected a Unix time in s, ms, us or ns, or a text such as 2025-10-09T08:53:20Z";
    assert_eq!(
        found(r#"{"time": "soon", "a": 1}"#),
        ["a=1".to_owned(), format!("clock: the field `time` is `soon`: {expected}")]
    );
    // A field that has another meaning with another is left alone.
    assert_eq!(shown(&decoded(r#"{"ts": 1760000000, "a": 1}"#)), ["ts=1760000000", "a=1"]);
}

#[test]
fn a_time_is_that_of_the_object_that_it_is_in() {
    assert_eq!(
        found(
            r#"{"data": {"a": 1, "ts": 1760000000, "deep": {"b": 2}}, "other": {"c": 3, "ts": 1760000001}, "d": 4,
                "mode": "eco", "other2": {"mode": "dry"}}"#
        ),
        [
            "data.a=1 @2025-10-09T08:53:20Z",
            "data.deep.b=2 @2025-10-09T08:53:20Z",
            "other.c=3 @2025-10-09T08:53:21Z",
            "d=4",
            "mode: eco",
            "other2.mode: dry",
        ]
    );
    assert_eq!(
        found(r#"[{"a": 1, "ts": 1760000000}, {"a": 2, "ts": 1760000001}]"#),
        ["a=1 @2025-10-09T08:53:20Z", "a=2 @2025-10-09T08:53:21Z"]
    );
    assert_eq!(
        found(r#"{"ts": 1760000000, "a": 1, "sub": {"b": 2, "ts": 1760000001}}"#),
        ["a=1 @2025-10-09T08:53:20Z", "sub.b=2 @2025-10-09T08:53:21Z"]
    );
}

/// JSON of which the readings are known: what the tree of `serde_json` says.
fn model(value: &serde_json::Value, path: &str, out: &mut Vec<(String, f64)>) {
    let below = |key: &str| format!("{path}.{key}");
    match value {
        serde_json::Value::Bool(b) => out.push((path.to_owned(), f64::from(u8::from(*b)))),
        serde_json::Value::Number(n) => out.push((path.to_owned(), n.to_string().parse().unwrap())),
        serde_json::Value::Array(a) => a.iter().enumerate().for_each(|(i, v)| model(v, &below(&i.to_string()), out)),
        serde_json::Value::Object(o) => o.iter().for_each(|(k, v)| model(v, &below(k), out)),
        serde_json::Value::String(text) => {
            if let scalar::Scalar::Value(value) = scalar::of_text(text) {
                out.push((path.to_owned(), value));
            }
        }
        serde_json::Value::Null => {}
    }
}

fn trees() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        (-1e300_f64..1e300).prop_map(|n| json!(n)),
        "[a-z]{0,4}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(|v| json!(v)),
            proptest::collection::btree_map("[a-zä\"]{0,3}", inner, 0..8).prop_map(|m| json!(m)),
        ]
    })
}

fn check_limits(got: &Decoded) {
    assert!(got.readings.len() + got.events.len() <= MAX_VALUES + 1 && got.dead.len() <= MAX_VALUES + 1);
    for reading in &got.readings {
        assert!(reading.value.is_finite());
        assert!((1..=128).contains(&reading.metric.len()) && !reading.metric.chars().any(char::is_control));
    }
    assert!(got.dead.iter().all(|d| d.excerpt.len() <= MAX_EXCERPT));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn readings_agree_with_the_tree(tree in proptest::collection::btree_map("[a-z]{1,3}", trees(), 1..6)) {
        let tree = json!(tree);
        let got = decode(tree.to_string().as_bytes(), &Options { metric: Some("m"), time: Some("-"), ..options() });
        let mut expected = Vec::new();
        model(&tree, "m", &mut expected);
        let found: Vec<(String, f64)> = got
            .readings
            .iter()
            .map(|r| (r.own_name.as_ref().unwrap_or(&r.metric).to_string(), r.value))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_bytes_panic_or_exceed_the_limits(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        check_limits(&decoded(bytes));
    }

    #[test]
    fn no_text_panics_or_exceeds_the_limits(text in r#"([\[\]{},:"0-9e.\-a ]|"time":|"a":|true|null|1e999){0,24}"#) {
        check_limits(&decoded(text));
    }
}
