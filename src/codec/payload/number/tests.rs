use super::*;
use crate::codec::time::Local;

fn message<'a>(topic: &'a str, payload: &'a str) -> Message<'a> {
    Message {
        topic,
        payload: payload.as_bytes(),
        node: None,
        metric: None,
        time: None,
        local: Local::UTC,
        retain: false,
    }
}

fn one(message: &Message<'_>) -> (String, String, Option<String>, Option<String>, f64) {
    let decoded = decode(message);
    assert_eq!((decoded.readings.len(), decoded.events.len(), decoded.dead.len()), (1, 0, 0), "{decoded:?}");
    let r = &decoded.readings[0];
    assert_eq!(r.when, When::Arrival);
    (
        r.node.to_string(),
        r.metric.to_string(),
        r.own_name.as_deref().map(str::to_owned),
        r.unit.as_deref().map(str::to_owned),
        r.value,
    )
}

#[test]
fn the_topic_names_node_and_metric() {
    for (topic, payload, node, metric, own, unit, value) in [
        ("home/kitchen/temperature", "21.5", "home/kitchen", "temperature", None, Some("degC"), 21.5),
        ("home/kitchen/temp", "70.7 °F", "home/kitchen", "temperature", Some("temp"), Some("degC"), 21.5),
        ("home/kitchen/humidity/value", "45%", "home/kitchen", "humidity", None, Some("%"), 45.0),
        ("kitchen/temperature", "21,5", "kitchen", "temperature", None, Some("degC"), 21.5),
        ("plug/power", "OFF", "plug", "power", None, None, 0.0),
        ("kitchen/light", "ON", "kitchen", "light", None, None, 1.0),
        ("kitchen/light", "false", "kitchen", "light", None, None, 0.0),
        ("meter/energy", "1500 Wh", "meter", "energy", None, Some("kWh"), 1.5),
        ("meter/flow", "2.5 L/min", "meter", "flow", None, Some("L/min"), 2.5),
        ("temperature", " 3 \n", "temperature", "temperature", None, Some("degC"), 3.0),
        ("a/x", "0,125", "a", "x", None, None, 0.125),
    ] {
        let got = one(&message(topic, payload));
        assert!((got.4 - value).abs() < 1e-9, "{topic} {payload}: {}", got.4);
        let expected = (node.to_owned(), metric.to_owned(), own.map(str::to_owned), unit.map(str::to_owned), got.4);
        assert_eq!(got, expected, "{topic} {payload}");
    }
}

#[test]
fn the_pattern_comes_first() {
    let named = Message { node: Some("t1"), ..message("sensors/t1", "4") };
    assert_eq!(one(&named), ("t1".into(), "value".into(), None, None, 4.0));
    let both = Message { node: Some("t1"), metric: Some("temp"), ..message("sensors/t1/temp/now", "4") };
    assert_eq!(one(&both), ("t1".into(), "temperature".into(), Some("temp".into()), Some("degC".into()), 4.0));
    let node = Message { node: Some("t1"), ..message("sensors/t1/humidity", "4") };
    assert_eq!(one(&node), ("t1".into(), "humidity".into(), None, Some("%".into()), 4.0));
}

#[test]
fn words_are_events_and_some_tell_that_the_node_is_there() {
    let door = decode(&message("house/door", "open"));
    assert_eq!((&*door.events[0].node, &*door.events[0].kind, &*door.events[0].data), ("house", "door", "open"));
    let gone = decode(&message("house/t1/status", "Offline"));
    assert_eq!(
        (&*gone.events[0].node, &*gone.events[0].kind, &*gone.events[0].data),
        ("house/t1", "availability", "offline")
    );
    let there = decode(&message("house/t1/online", "true"));
    assert_eq!((&*there.events[0].kind, &*there.events[0].data), ("availability", "online"));
    for nothing in ["", "nan", "unavailable", "null"] {
        assert!(decode(&message("a/b", nothing)).is_empty(), "{nothing}");
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for (payload, reason) in
        [("1,234", DeadReason::BadNumber), ("1e999", DeadReason::BadNumber), ("{\"a\":1}", DeadReason::Malformed)]
    {
        let decoded = decode(&message("a/b", payload));
        assert_eq!(decoded.dead.iter().map(|d| d.reason).collect::<Vec<_>>(), [reason], "{payload}");
    }
    let bytes = decode(&Message { payload: b"21\xff", ..message("a/b", "") });
    assert_eq!((bytes.dead[0].reason, &*bytes.dead[0].detail), (DeadReason::NotUtf8, "invalid UTF-8 at byte 2"));
    let long = "x".repeat(300);
    assert_eq!(decode(&message("a/b", &long)).dead[0].reason, DeadReason::TooLong);
}

#[test]
fn only_values_are_recognised() {
    for (payload, is) in [("21.5", true), ("21.5 °C", true), ("ON", true), ("open", false), ("{}", false), ("", false)]
    {
        assert_eq!(recognises(&message("a/b", payload)), is, "{payload}");
    }
    assert!(!recognises(&message("homie/5/d/n/p/$target", "1")));
}
