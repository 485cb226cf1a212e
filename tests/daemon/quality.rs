//! What is told about the quality of readings, against what was sent.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::harness::{Broker, Daemon, Hub, Record, secs_ago, wait_for};

/// 2025-10-09T09:00:00Z, and the three hours from then on.
const T0: i64 = 1_760_000_400;
const RANGE: &str = "start=2025-10-09T09:00:00Z&end=2025-10-09T12:00:00Z";

/// A daemon with a port of JSON lines, and `more` configuration.
fn daemon(port: &Hub, more: &str) -> Daemon {
    let config = format!("[store]\nflush-interval = \"200ms\"\n{}{more}", port.section("json-lines", ""));
    let daemon = Daemon::start(&config);
    daemon.wait_state("hub", "up");
    daemon
}

/// Sends a reading for each of the times (seconds), and waits until they are committed.
fn send(daemon: &Daemon, port: &mut Hub, node: &str, metric: &str, readings: impl IntoIterator<Item = (i64, f64)>) {
    let before = daemon.stat("/readings/committed");
    let mut text = String::new();
    let mut count = 0;
    for (time, value) in readings {
        let _ = writeln!(text, "{}", json!({"node": node, "time": time, metric: value}));
        count += 1;
    }
    port.send_bytes(text.as_bytes());
    daemon.wait_stat("/readings/committed", before + count);
}

/// One every `every` seconds from `T0` over three hours, with values that swing.
fn steady(every: i64) -> impl Iterator<Item = (i64, f64)> {
    (0..10_800 / every).map(move |i| (T0 + i * every, 20.0 + (i % 7) as f64 / 8.0))
}

fn metric(daemon: &Daemon, node: &str, query: &str) -> Value {
    let quality = daemon.json(&format!("/api/v1/nodes/{node}/quality?{query}"));
    let metrics = quality["metrics"].as_array().expect("metrics");
    assert_eq!(metrics.len(), 1, "{quality}");
    metrics[0].clone()
}

#[test]
fn gaps_coverage_and_outliers_of_what_was_sent_also_after_a_crash() {
    let mut port = Hub::new();
    let mut daemon = daemon(&port, "");
    // From minute 60 to 70 nothing, and one value that no kitchen has.
    let kitchen = steady(30)
        .filter(|(t, _)| !(T0 + 3_600..T0 + 4_200).contains(t))
        .map(|(t, v)| (t, if t == T0 + 6_000 { 85.0 } else { v }));
    send(&daemon, &mut port, "kitchen", "temperature", kitchen);
    for restarted in [false, true] {
        if restarted {
            daemon.kill9();
            daemon.restart();
        }
        let found = metric(&daemon, "kitchen", RANGE);
        assert_eq!(found["readings"], 340);
        assert_eq!(
            found["interval"],
            json!({"kind": "learnt", "seconds": 30.0, "spread_percent": 0.0, "reason": null})
        );
        assert_eq!(
            found["coverage"],
            json!({"percent": 94.444, "expected": 360, "present": 340, "missing": 20,
                "from": "2025-10-09T09:00:00Z", "to": "2025-10-09T12:00:00Z"})
        );
        assert_eq!(
            found["gaps"],
            json!({"count": 1, "listed": [
                {"from": "2025-10-09T09:59:30Z", "to": "2025-10-09T10:10:00Z", "missing": 20}]})
        );
        assert_eq!(found["outliers"]["count"], 1);
        assert_eq!(found["outliers"]["listed"][0]["time"], "2025-10-09T10:40:00Z");
        assert_eq!(found["outliers"]["listed"][0]["value"], 85.0);
        assert_eq!(found["outliers"]["median"], 20.375);
        assert_eq!(found["stuck"]["count"], 0);
    }
    // An hour of it alone: what lies outside is not looked at.
    let hour = metric(&daemon, "kitchen", "start=2025-10-09T11:00:00Z&end=2025-10-09T12:00:00Z&metric=temperature");
    assert_eq!((&hour["coverage"]["percent"], &hour["readings"]), (&json!(100.0), &json!(120)));
}

#[test]
fn a_button_is_not_full_of_gaps() {
    let broker = Broker::new();
    let section = broker.section("home", "", r#"{ topic = "z/{node}", format = "json", time = "time" }"#);
    let mut daemon = Daemon::start(&format!("[store]\nflush-interval = \"200ms\"\n{section}"));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    // Pressed now and then; between two presses there are seconds or hours.
    let pauses = [3, 700, 41, 2_900, 7, 120, 1_800, 15, 60, 900, 4, 2_000, 33, 300];
    let mut time = T0;
    for pause in pauses {
        time += pause;
        client.send("z/button", json!({"time": time, "pressed": true}).to_string(), 1, false);
    }
    client.flush();
    daemon.wait_stat("/readings/committed", pauses.len() as u64);
    let found = metric(&daemon, "button", RANGE);
    assert_eq!(found["interval"]["kind"], "irregular");
    let reason = found["interval"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("the times between readings spread by "), "{reason}");
    assert_eq!((&found["coverage"], &found["gaps"]), (&Value::Null, &json!({"count": 0, "listed": []})));
    assert_eq!(found["outliers"]["reason"], "the values are states: 0 and 1 alone");
    assert_eq!(found["score_percent"], 100.0);
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn duplicates_conflicts_and_clock_errors_are_counted_by_series_over_a_restart() {
    let mut port = Hub::new();
    let mut daemon = daemon(&port, "");
    send(&daemon, &mut port, "kitchen", "temperature", steady(60));
    send(&daemon, &mut port, "cellar", "temperature", [(T0, 8.0)]);
    // Ten again, two of them with another value.
    let mut again: Vec<(i64, f64)> = steady(60).take(10).collect();
    (again[3].1, again[4].1) = (99.0, 98.0);
    let text: String =
        again.iter().map(|(t, v)| format!("{{\"node\":\"kitchen\",\"time\":{t},\"temperature\":{v}}}\n")).collect();
    port.send_bytes(text.as_bytes());
    wait_for("the repeated readings", || {
        daemon.stat("/readings/duplicate") == 8 && daemon.stat("/readings/conflict") == 2
    });
    // A node that thinks it is 1970.
    for i in 0..25 {
        port.send(&json!({"node": "attic", "time": 60 + i, "temperature": 1.5}).to_string());
    }
    daemon.wait_stat("/readings/committed", 180 + 1 + 25);
    for restarted in [false, true] {
        if restarted {
            let stored = daemon.finish();
            assert_eq!(stored.events.len(), 1, "one for all of them: {:?}", stored.events);
            daemon.restart();
        }
        // They are counted when they come.
        let count = |node: &str| {
            let found = metric(&daemon, node, "start=-2h");
            ["duplicates", "conflicts"]
                .map(|k| found[k].clone())
                .into_iter()
                .chain([found["clock"]["errors"].clone()])
                .map(|n| n.as_u64().expect("a count"))
                .collect::<Vec<_>>()
        };
        assert_eq!(count("kitchen"), [8, 2, 0], "restarted: {restarted}");
        assert_eq!(count("cellar"), [0, 0, 0]);
        assert_eq!(count("attic"), [0, 0, 25]);
        assert_eq!(daemon.json("/api/v1/quality?start=-2h")["total"]["clock_errors"], 25);
        let then = metric(&daemon, "kitchen", RANGE);
        assert_eq!((&then["duplicates"], &then["conflicts"]), (&json!(0), &json!(0)), "nothing came at that time");
    }
}

#[test]
fn all_nodes_the_worst_first_and_what_a_person_knows_counts() {
    let mut port = Hub::new();
    let known = r#"
[[quality]]
node = "hub/door"
interval = "irregular"
[[quality]]
node = "cellar"
metric = "temp*"
interval = "60s"
min = 5
max = 15
stuck = "1h"
"#;
    let daemon = daemon(&port, known);
    send(&daemon, &mut port, "kitchen", "temperature", steady(60));
    send(&daemon, &mut port, "bath", "temperature", steady(60).filter(|(t, _)| t % 600 != 300));
    // Half of what it should send, two values that are none of a cellar, and the same one for an hour.
    let cellar = (0..90).map(|i| {
        (
            T0 + i * 60,
            if i < 2 {
                20.0 + i as f64
            } else if i < 70 {
                9.5
            } else {
                9.0 + i as f64 / 100.0
            },
        )
    });
    send(&daemon, &mut port, "cellar", "temperature", cellar);
    send(&daemon, &mut port, "door", "open", (0..20).map(|i| (T0 + i * 30, 1.0)));
    let summary = daemon.json(&format!("/api/v1/quality?{RANGE}"));
    let nodes = summary["nodes"].as_array().expect("nodes");
    let names: Vec<&str> = nodes.iter().map(|n| n["node"].as_str().expect("a name")).collect();
    assert_eq!(names, ["cellar", "bath", "door", "kitchen"], "{summary}");
    let of = |i: usize, key: &str| nodes[i][key].clone();
    assert_eq!([of(0, "missing"), of(0, "outliers"), of(0, "stuck")], [json!(90), json!(2), json!(1)]);
    assert_eq!([of(1, "missing"), of(1, "gaps"), of(1, "coverage_percent")], [json!(18), json!(18), json!(90.0)]);
    assert_eq!(of(2, "series"), json!({"regular": 0, "irregular": 1, "unknown": 0, "silent": 0}));
    assert_eq!([of(3, "score_percent"), of(3, "worst_metric")], [json!(100.0), json!("temperature")]);
    assert_eq!(summary["total"]["missing"], 108);
    let cellar = metric(&daemon, "cellar", RANGE);
    assert_eq!(cellar["interval"]["kind"], "configured");
    assert_eq!((&cellar["outliers"]["lower"], &cellar["outliers"]["upper"]), (&json!(5.0), &json!(15.0)));
    let run = json!({"from": "2025-10-09T09:02:00Z", "to": "2025-10-09T10:09:00Z", "value": 9.5, "readings": 68});
    assert_eq!(cellar["stuck"]["listed"], json!([run]));
    // All are silent now; that the door is, is no fault.
    let now = daemon.json("/api/v1/quality");
    assert_eq!(now["nodes"][3]["node"], "door");
    assert_eq!(now["total"]["series"]["silent"], 4);
}

#[test]
fn records_that_come_in_batches_are_not_missing_before_they_are_due() {
    let mut hub = Hub::new();
    let daemon = Daemon::start(&format!("[store]\nflush-interval = \"200ms\"\n{}", hub.section("hub-lines", "")));
    daemon.wait_state("hub", "up");
    hub.wait_answered();
    // Batches of ten minutes, the last one a while ago: the next is not due yet.
    let newest = secs_ago(120);
    for batch in (0..12).rev() {
        let records: Vec<Record> = (0..20)
            .rev()
            .map(|i| Record { time: newest - batch * 600 - i * 30, temp: 2_000 + i, hum: 5_000 - i, flags: 0 })
            .collect();
        hub.send_batch(3, 77, &records);
        hub.expect_ack("BATCH_ACK 3 20 0");
    }
    let found = daemon.json("/api/v1/nodes/77/quality?start=-3h");
    for metric in found["metrics"].as_array().expect("metrics") {
        assert_eq!(metric["interval"]["seconds"], 30.0, "{metric}");
        assert_eq!((&metric["readings"], &metric["coverage"]["missing"]), (&json!(240), &json!(0)), "{metric}");
        assert!(metric["clock"]["delay_s"].as_f64() > Some(3_000.0), "all came at once: {metric}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_a_reason() {
    let mut port = Hub::new();
    let daemon = daemon(&port, "");
    send(&daemon, &mut port, "kitchen", "temperature", [(T0, 1.0)]);
    for (path, status, code) in [
        ("/api/v1/nodes/attic/quality", 404, "unknown-node"),
        ("/api/v1/nodes/kitchen/quality?metric=rain", 404, "unknown-metric"),
        ("/api/v1/nodes/kitchen/quality?start=now&end=-1h", 400, "bad-range"),
        ("/api/v1/nodes/kitchen/quality?start=soon", 400, "bad-parameter"),
        ("/api/v1/quality?limit=0", 400, "bad-parameter"),
        ("/api/v1/quality?metric=temperature", 400, "unknown-parameter"),
    ] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{path}: {}", answer.body);
    }
    let found = metric(&daemon, "kitchen", "start=1950-01-01T00:00:00Z&end=2050-01-01T00:00:00Z");
    assert_eq!((&found["readings"], &found["interval"]["kind"]), (&json!(1), &json!("unknown")));
}
