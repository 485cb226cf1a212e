//! JSON objects, one a line, on a serial port.

use crate::harness::{Daemon, Hub, assert_exactly, expected, now_micros, wait_for};

#[test]
fn objects_with_and_without_node_and_time() {
    let mut port = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&port.section("json-lines", ""));
    daemon.wait_state("hub", "up");
    port.send(r#"{"node": "cellar", "time": 1760000000, "temperature": 21.5, "door": {"open": true, "count": 3}}"#);
    port.send(r#"{"node": 18446744073709551615, "time": "2025-10-09T08:53:50Z", "temperature": -0.25}"#);
    port.send(r#"{"node": "cellar", "time": 1760000060123, "temperature": 1e-3, "text": "hello", "fw": "1.2.3", "none": null}"#);
    port.send(r#"{"time": 1760000000.5, "temperature": 7}"#);
    port.send("{\"node\": \"attic \u{1F3E0}\", \"humidity\": 55}\r");
    port.send(r#"{"temperature": 8, "alarm": false}"#);
    daemon.wait_stat("/readings/committed", 9);
    let stored = daemon.finish();
    assert_exactly(
        &stored,
        since,
        &[
            expected("hub", "cellar", "temperature", 1_760_000_000_000_000, 21.5),
            expected("hub", "cellar", "door.open", 1_760_000_000_000_000, 1.0),
            expected("hub", "cellar", "door.count", 1_760_000_000_000_000, 3.0),
            expected("hub", "18446744073709551615", "temperature", 1_760_000_030_000_000, -0.25),
            expected("hub", "cellar", "temperature", 1_760_000_060_123_000, 0.001),
            expected("hub", "hub", "temperature", 1_760_000_000_500_000, 7.0),
            expected("hub", "attic \u{1F3E0}", "humidity", None, 55.0),
            expected("hub", "hub", "temperature", None, 8.0),
            expected("hub", "hub", "alarm", None, 0.0),
        ],
    );
    assert_eq!(stored.dead, []);
    let told: Vec<_> = stored.events.iter().map(|e| (&*e.node, &*e.kind, &*e.data, e.ts)).collect();
    assert_eq!(told, [("cellar", "text", "hello", 1_760_000_060_123_000)]);
}

#[test]
fn the_fields_of_node_and_time_can_be_named() {
    let mut port = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&port.section("json-lines", "node = \"id.name\"\ntime = \"meta.at\""));
    daemon.wait_state("hub", "up");
    port.send(r#"{"id": {"name": "n1", "rev": 2}, "meta": {"at": 1760000000}, "node": 5, "time": 6}"#);
    daemon.wait_stat("/readings/committed", 3);
    assert_exactly(
        &daemon.finish(),
        since,
        &[
            expected("hub", "n1", "id.rev", 1_760_000_000_000_000, 2.0),
            expected("hub", "n1", "node", 1_760_000_000_000_000, 5.0),
            expected("hub", "n1", "time", 1_760_000_000_000_000, 6.0),
        ],
    );
}

#[test]
fn an_impossible_time_of_a_live_reading_is_replaced_and_told() {
    let mut port = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&port.section("json-lines", ""));
    daemon.wait_state("hub", "up");
    port.send(r#"{"node": "n", "time": 5, "a": 1}"#);
    port.send(r#"{"node": "n", "time": "yesterday", "a": 2}"#);
    daemon.wait_stat("/readings/committed", 2);
    let quality = daemon.json("/api/v1/nodes/n/quality");
    assert_eq!(quality["metrics"][0]["clock"]["errors"], 2, "{quality}");
    let stored = daemon.finish();
    assert_exactly(&stored, since, &[expected("hub", "n", "a", None, 1.0), expected("hub", "n", "a", None, 2.0)]);
    // Once an hour: a clock that is wrong is so in every message.
    let told: Vec<(&str, &str)> = stored.events.iter().map(|e| (&*e.node, &*e.kind)).collect();
    assert_eq!(told, [("n", "clock")], "{:?}", stored.events);
}

#[test]
fn bad_lines_become_dead_letters_and_the_others_are_stored() {
    let mut port = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&port.section("json-lines", "max-line = 300"));
    daemon.wait_state("hub", "up");
    port.send(r#"{"node": "n", "time": 1760000000, "a": 1}"#);
    let bad: [(&str, Vec<u8>); 9] = [
        ("malformed", b"{\"node\": \"n\", \"a\":".to_vec()),
        ("malformed", b"plain text".to_vec()),
        ("malformed", b"{\"node\": \"n\", \"a\": NaN}".to_vec()),
        ("malformed", b"[1, 2]".to_vec()),
        ("no-reading", b"{\"node\": \"n\", \"model\": \"x\"}".to_vec()),
        ("not-utf8", b"{\"node\": \"\xff\xfe\", \"a\": 1}".to_vec()),
        ("bad-number", b"{\"node\": \"n\", \"a\": 1e999}".to_vec()),
        ("bad-name", format!("{{\"node\": \"{}\", \"a\": 1}}", "x".repeat(129)).into_bytes()),
        ("too-long", format!("{{\"node\": \"n\", \"text\": \"{}\", \"a\": 1}}", "x".repeat(300)).into_bytes()),
    ];
    for (_, line) in &bad {
        port.send_bytes(line);
        port.send_bytes(b"\n");
    }
    port.send(r#"{"node": "n", "time": 1760000001, "a": 2}"#);
    daemon.wait_stat("/readings/committed", 2);
    wait_for("all bad lines to be counted", || daemon.stat("/readings/dead") >= bad.len() as u64);
    for reason in ["malformed", "no-reading", "not-utf8", "bad-number", "bad-name", "too-long"] {
        let expected = bad.iter().filter(|(r, _)| *r == reason).count() as u64;
        assert_eq!(daemon.reason("dead", reason), expected, "{reason}: {}", daemon.stats());
    }
    let stored = daemon.finish();
    assert_exactly(
        &stored,
        since,
        &[expected("hub", "n", "a", 1_760_000_000_000_000, 1.0), expected("hub", "n", "a", 1_760_000_001_000_000, 2.0)],
    );
    // One a second for each source and reason is kept; the others are counted.
    for (reason, line) in bad.iter().filter(|(r, _)| *r != "malformed") {
        let dead = stored.dead_for(reason);
        assert_eq!(dead.len(), 1, "{reason}: {:?}", stored.dead);
        let excerpt = &dead[0].excerpt;
        if *reason == "bad-number" {
            // One value of the line, the others of which may be good: the letter is about it alone.
            assert!(dead[0].reason.contains("`a`"), "{:?}", dead[0]);
        } else {
            assert!(!excerpt.is_empty() && line.starts_with(excerpt), "{reason}: {:?}", dead[0]);
        }
    }
    assert_eq!(stored.dead_for("malformed")[0].excerpt, bad[0].1);
}
