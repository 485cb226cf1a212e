use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::json;

use super::*;

fn stats() -> Value {
    json!({
        "version": "0.1.0",
        "uptime_s": 93_784.2,
        "readings": {
            "received": 1_234_567, "committed": 1_234_000, "duplicate": 512, "conflict": 1, "expired": 0, "unsynced": 7,
            "dropped": 40, "dead": 7,
            "dropped_by_reason": {"intake-full": 40, "stopping": 0},
            "dead_by_reason": {"malformed": 4, "too-long": 3},
        },
        "queue": {"depth": 34, "capacity": 20_000, "bytes": 12_345},
        "commits": {"count": 4_321, "last_ms": 3.25, "failed": 2},
        "store": {
            "file_bytes": 1_310_720, "wal_bytes": 65_536, "readings": 1_234_000, "nodes": 11, "series": 46,
            "recovered": 1, "events": 9, "dead_letters": 7,
        },
        "written": {"bytes": 40_000_000_000_u64, "today_bytes": 999},
        "memory": {"rss_bytes": 48_234_496, "anon_bytes": 20_971_520},
        "clock": {"trusted": true, "synchronised": false, "withheld": 3},
        "sources": [
            {"name": "hub", "kind": "serial", "address": "/dev/pts/3", "state": "up", "reason": null, "problems": [],
             "last_reading_age_s": 0.42, "last_heard_age_s": 0.1, "bytes": 1, "frames": 2, "readings": 1_200_000,
             "dead": 7, "skipped_bytes": 0, "connects": 1, "acked": 4_000, "refused": 2},
            {"name": "home", "kind": "mqtt", "address": "mqtt://localhost:1883", "state": "down",
             "reason": "connection refused\u{1b}[2J", "problems": ["not allowed: sensors/+"],
             "last_reading_age_s": null, "readings": 34_567, "dead": 0, "acked": 900, "refused": 0},
            {"name": "bus", "kind": "modbus", "address": "/dev/rs485", "state": "up", "reason": null, "problems": [],
             "last_reading_age_s": 1.0, "readings": 5, "dead": 0, "acked": 0, "refused": 0, "units": [
                {"unit": 1, "nodes": ["meter"], "state": "up", "reason": null, "last_answer_age_s": 1.0},
                {"unit": 17, "nodes": ["tank", "pump"], "state": "dead", "reason": "it does not answer",
                 "last_answer_age_s": 184.0},
             ]},
        ],
    })
}

#[test]
fn every_field_is_shown_for_a_person() {
    let health = json!({"status": "failing", "checks": [
        {"name": "store", "ok": true, "detail": "the last commit was 2 s ago"},
        {"name": "source home", "ok": false, "detail": "down: connection refused"},
        {"name": "clock", "ok": false, "detail": "not synchronised"},
    ]});
    let expected = "\
health   failing: source home (down: connection refused), clock (not synchronised)
version  0.1.0, up 1 d 2 h

readings
  received        1,234,567
  committed       1,234,000
  duplicates            512
  conflicts               1
  expired                 0
  unsynced                7
  dropped                40  (intake-full 40)
  dead                    7  (malformed 4, too-long 3)

queue    34 of 20,000 rows, 12.3 kB
commits  4,321, the last in 3.2 ms, 2 failed
store    1.3 MB and 65.5 kB of WAL: 1,234,000 readings, 11 nodes, 46 series
         1 repairs, 9 events, 7 dead letters
written  40.0 GB since the start, 999 B today
memory   48.2 MB, 20.9 MB of it anonymous
clock    trusted, not synchronised, 3 questions for the time not answered

sources
  hub (serial /dev/pts/3): up, last reading 0.4 s ago, 1,200,000 readings, 4,000 acks, 2 refused, 7 dead
  home (mqtt mqtt://localhost:1883): down, last reading -, 34,567 readings, 900 acks, 0 refused, 0 dead
    connection refused\u{fffd}[2J
    not allowed: sensors/+
  bus (modbus /dev/rs485): up, last reading 1.0 s ago, 5 readings, 0 acks, 0 refused, 0 dead
    unit 17 (tank, pump) is dead, last answer 3 min 4 s ago: it does not answer
";
    assert_eq!(text(&stats(), &health), expected);
}

#[test]
fn what_an_older_daemon_does_not_say_is_a_dash() {
    let expected = "\
health   -
version  -, up -

readings
  received                -
  committed               -
  duplicates              -
  conflicts               -
  expired                 -
  unsynced                -
  dropped                 -
  dead                    -

queue    - of - rows, -
commits  -, the last in -, - failed
store    - and - of WAL: - readings, - nodes, - series
         - repairs, - events, - dead letters
written  - since the start, - today
memory   -, - of it anonymous
clock    -, -, - questions for the time not answered

sources  -
";
    assert_eq!(text(&json!({}), &Value::Null), expected);
    let text = text(&json!({"sources": []}), &json!({"status": "ok", "checks": []}));
    assert!(text.starts_with("health   ok\n") && text.ends_with("\nsources  none\n"), "{text}");
}

#[test]
fn numbers_sizes_and_spans() {
    let groups: Vec<String> = [0, 999, 1_000, 12_345, 123_456, 1_234_567].into_iter().map(grouped).collect();
    assert_eq!(groups, ["0", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    let sizes: Vec<String> = [0, 999, 1_000, 1_999, 15_500_000, 2_000_000_000].into_iter().map(size).collect();
    assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.9 kB", "15.5 MB", "2.0 GB"]);
    let spans: Vec<String> =
        [0.04, 9.94, 9.96, 59.4, 59.6, 3_599.0, 3_600.0, 86_400.0, 1e30].into_iter().map(span).collect();
    assert_eq!(
        spans,
        [
            "0.0 s",
            "9.9 s",
            "10 s",
            "59 s",
            "1 min 0 s",
            "59 min 59 s",
            "1 h 0 min",
            "1 d 0 h",
            "213,503,982,334,601 d 7 h"
        ]
    );
}

/// Answers one request after the other with `answers`; gives the request lines and the tokens back.
fn daemon(answers: &'static [(&'static str, &'static str)]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
            heard.push(lines.next().unwrap());
            heard.extend(lines.take_while(|l| !l.is_empty()).filter(|l| l.to_lowercase().starts_with("authorization")));
            let length = body.len();
            write!(&stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
                .unwrap();
        }
        heard
    });
    (url, thread)
}

#[test]
fn asks_for_both_and_shows_the_health_of_a_daemon_that_is_not_well() {
    let (url, thread) = daemon(&[
        ("200 OK", r#"{"version":"0.1.0","uptime_s":5}"#),
        (
            "503 Service Unavailable",
            r#"{"status":"failing","checks":[{"name":"store","ok":false,"detail":"no space"}]}"#,
        ),
    ]);
    let mut out = Vec::new();
    print(&format!("{url}/"), Some("s3cret"), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("health   failing: store (no space)\nversion  0.1.0, up 5.0 s\n"), "{out}");
    let token = "authorization: Bearer s3cret";
    assert_eq!(thread.join().unwrap(), ["GET /stats HTTP/1.1", token, "GET /healthz HTTP/1.1", token]);
}

#[test]
fn errors_name_the_url_and_say_what_to_do() {
    // The port was free a moment ago and nobody listens on it.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = print(&free.to_string(), None, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), format!("nobody answers at http://{free}: is the daemon running? (--url URL)"));

    let (url, _thread) = daemon(&[("401 Unauthorized", "{}")]);
    let error = print(&url, None, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), format!("the daemon at {url} wants its token, or another one (HTTP 401)"));

    let (url, _thread) = daemon(&[("404 Not Found", "no")]);
    let error = print(&url, None, &mut Vec::new()).unwrap_err();
    let is_that = "is that a gadwall? (--url URL)";
    assert_eq!(error.to_string(), format!("{url}/stats answers with HTTP 404, not 200: {is_that}"));

    let (url, _thread) = daemon(&[("200 OK", "<html>")]);
    let error = print(&url, None, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/stats does not answer in JSON: {is_that}"));
}
