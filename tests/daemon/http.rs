//! What is asked over HTTP, against what was sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{Daemon, Expected, Hub, Setup, assert_exactly, expected, now_micros, secs_ago, wait_for};

/// Values that look like measurements, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % 10_000) as f64 / 100.0 - 20.0
    }
}

/// A daemon with one JSON-lines port for each name.
fn daemon(ports: &[(&str, &Hub)]) -> Daemon {
    let sections: String = ports
        .iter()
        .map(|(name, hub)| hub.section("json-lines", "").replace("\"hub\"", &format!("\"{name}\"")))
        .collect();
    let daemon = Daemon::start(&format!("[store]\nflush-interval = \"200ms\"\n{sections}"));
    for (name, _) in ports {
        daemon.wait_state(name, "up");
    }
    daemon
}

/// Sends readings of one metric, one a second from `start`.
pub fn send(port: &mut Hub, source: &str, node: &str, metric: &str, start: i64, values: &[f64]) -> Vec<Expected> {
    let mut text = String::new();
    let mut sent = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let time = start + i as i64;
        let line = serde_json::json!({"node": node, "time": time, metric: value});
        let _ = writeln!(text, "{line}");
        sent.push(expected(source, node, metric, time * 1_000_000, *value));
    }
    port.send_bytes(text.as_bytes());
    sent
}

pub fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise(seed);
    (0..n).map(|_| noise.next()).collect()
}

pub fn micros(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("a time is a text: {time}"));
    assert!(text.ends_with('Z'), "times are in UTC: {text}");
    chrono::DateTime::parse_from_rfc3339(text).unwrap_or_else(|e| panic!("{text}: {e}")).timestamp_micros()
}

/// A name as a segment of a path or a value of a query.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

type Shown = BTreeMap<(String, String, i64), f64>;

fn shown(sent: &[Expected]) -> Shown {
    let key = |e: &Expected| (e.node.clone(), e.metric.clone(), e.ts.expect("a time"));
    sent.iter().map(|e| (key(e), e.value)).collect()
}

/// Adds readings of an answer, each of which must be new.
fn take(into: &mut Shown, readings: &Value) -> usize {
    let readings = readings.as_array().expect("an array of readings");
    for r in readings {
        let key = (
            r["node"].as_str().expect("a text").to_owned(),
            r["metric"].as_str().expect("a text").to_owned(),
            micros(&r["time"]),
        );
        let value = r["value"].as_f64().expect("a number");
        assert_eq!(into.insert(key, value), None, "shown twice: {r}");
    }
    readings.len()
}

#[track_caller]
pub fn refused(daemon: &Daemon, path: &str, status: u16, code: &str) -> String {
    let answer = daemon.get(path);
    assert_eq!(answer.status, status, "GET {path}: {}", answer.body);
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], code, "GET {path}: {}", answer.body);
    error["message"].as_str().expect("a sentence").to_owned()
}

#[test]
fn health_and_stats_of_an_idle_daemon() {
    let mut daemon = Daemon::start("");
    let health = daemon.get("/healthz");
    assert_eq!(health.status, 200, "{}", health.body);
    assert_eq!(health.json()["status"], "ok");
    let stats = daemon.stats();
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    for count in [
        "/uptime_s",
        "/readings/received",
        "/readings/committed",
        "/readings/duplicate",
        "/readings/conflict",
        "/readings/expired",
        "/readings/dropped",
        "/readings/dead",
        "/queue/depth",
        "/queue/capacity",
        "/commits/count",
        "/commits/failed",
        "/store/file_bytes",
        "/store/wal_bytes",
        "/store/readings",
        "/store/recovered",
        "/store/compactions",
        "/written/bytes",
        "/written/today_bytes",
        "/memory/rss_bytes",
        "/memory/anon_bytes",
    ] {
        assert!(stats.pointer(count).is_some_and(Value::is_u64), "{count} in {stats}");
    }
    assert!(stats.pointer("/commits/last_ms").is_some_and(Value::is_number), "{stats}");
    assert_eq!(stats["readings"]["committed"], 0);
    assert_eq!(stats["clock"]["trusted"], true);
    assert!(stats["clock"]["synchronised"].is_boolean());
    assert_eq!(stats["sources"], serde_json::json!([]));
    assert!(stats["queue"]["capacity"].as_u64() >= Some(10_000));
    assert!(stats["memory"]["rss_bytes"].as_u64() > Some(1_000_000));
    assert_eq!(daemon.json("/api/v1/nodes"), serde_json::json!({"nodes": []}));
    assert_eq!(daemon.json("/api/v1/readings")["readings"], serde_json::json!([]));
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!daemon.dir().join("http.addr").exists(), "nobody answers at the address any more");
}

#[test]
fn stats_of_a_source() {
    let mut port = Hub::new();
    let daemon = daemon(&[("attic", &port)]);
    let before = daemon.source("attic");
    assert_eq!(before["kind"], "serial");
    assert_eq!(before["state"], "up");
    assert_eq!(before["last_reading_age_s"], Value::Null);
    let sent = send(&mut port, "attic", "n", "v", secs_ago(100), &noise(10, 1));
    daemon.wait_stat("/readings/committed", sent.len() as u64);
    let after = daemon.source("attic");
    assert!(after["last_reading_age_s"].as_f64().is_some_and(|age| (0.0..30.0).contains(&age)), "{after}");
    assert_eq!(daemon.stat("/readings/received"), 10);
    assert_eq!(daemon.stat("/store/readings"), 10);
    assert_eq!(daemon.stat("/queue/depth"), 0);
    assert!(daemon.stat("/commits/count") >= 1);
}

#[test]
fn nodes_their_metrics_and_newest_values() {
    let mut port = Hub::new();
    let began = now_micros();
    let mut daemon = daemon(&[("hub", &port)]);
    // u64 ids are text, and greater than what a double can hold.
    let names = ["18446744073709551615", "a/b", "50% off", "caf\u{e9} \u{1F3E0}", "plain", "..", "?&=#+"];
    let mut count = 0;
    for (i, name) in names.into_iter().enumerate() {
        let i = i as f64;
        count += send(&mut port, "hub", name, "temperature", 1_760_000_000, &[i, i + 0.25, i + 0.5]).len();
        count += send(&mut port, "hub", name, "a.b", 1_760_000_000, &[-i]).len();
        // Older than what is there: not the newest.
        count += send(&mut port, "hub", name, "temperature", 1_750_000_000, &[99.0]).len();
    }
    daemon.wait_stat("/readings/committed", count as u64);
    for restarted in [false, true] {
        if restarted {
            daemon.kill9();
            daemon.restart();
        }
        let nodes = daemon.json("/api/v1/nodes");
        let mut listed: Vec<&str> =
            nodes["nodes"].as_array().expect("nodes").iter().map(|n| n["name"].as_str().expect("a text")).collect();
        listed.sort_unstable();
        let mut sorted = names;
        sorted.sort_unstable();
        assert_eq!(listed, sorted);
        for node in nodes["nodes"].as_array().expect("nodes") {
            assert_eq!(node["source"], "hub");
            assert!((began..=now_micros()).contains(&micros(&node["first_seen"])), "{node}");
            assert_eq!(micros(&node["last_seen"]), 1_760_000_002_000_000, "{node}");
        }
        for (i, name) in names.into_iter().enumerate() {
            let i = i as f64;
            let node = daemon.json(&format!("/api/v1/nodes/{}", encoded(name)));
            assert_eq!(node["name"], name);
            let latest = daemon.json(&format!("/api/v1/nodes/{}/latest", encoded(name)));
            assert_eq!(latest["node"], name);
            let values: Vec<(&str, f64, i64)> = latest["values"]
                .as_array()
                .expect("values")
                .iter()
                .map(|v| {
                    (v["metric"].as_str().expect("a text"), v["value"].as_f64().expect("a number"), micros(&v["time"]))
                })
                .collect();
            assert_eq!(
                values,
                [("a.b", -i, 1_760_000_000_000_000), ("temperature", i + 0.5, 1_760_000_002_000_000)],
                "{name} {latest}"
            );
        }
    }
}

/// As `quantile_cont`: linear between the two nearest of the sorted values.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * (at - at.floor())
}

#[track_caller]
pub fn near(shown: &Value, computed: f64, what: &str) {
    let shown = shown.as_f64().unwrap_or_else(|| panic!("{what} is no number: {shown}"));
    assert!((shown - computed).abs() <= 1e-9 * computed.abs().max(1.0), "{what}: {shown}, computed {computed}");
}

#[test]
fn statistics_are_those_computed_from_what_was_sent() {
    let mut port = Hub::new();
    let daemon = daemon(&[("hub", &port)]);
    let start = 1_760_000_000;
    let (a, b) = (noise(997, 7), noise(10, 8));
    let sent = [
        send(&mut port, "hub", "n", "temperature", start, &a),
        send(&mut port, "hub", "n", "humidity", start, &b),
        send(&mut port, "hub", "other", "temperature", start, &noise(20, 9)),
        send(&mut port, "hub", "lone", "x", secs_ago(10), &[42.0]),
    ]
    .concat();
    daemon.wait_stat("/readings/committed", sent.len() as u64);
    // All of it, and a part whose start is included and whose end is not; the times written in two ways.
    let whole = format!("start={start}&end={}", start + 997);
    let inner = "start=2025-10-09T08:55:00Z&end=2025-10-09T09:00:00%2B00:00".to_owned();
    for (range, from, to) in [(whole, 0_usize, 997_usize), (inner, 100, 400)] {
        let answer = daemon.json(&format!("/api/v1/nodes/n/statistics?{range}&metric=temperature"));
        let metrics = answer["metrics"].as_array().expect("metrics");
        assert_eq!(metrics.len(), 1, "{answer}");
        let m = &metrics[0];
        assert_eq!(m["metric"], "temperature");
        let values = &a[from..to];
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(m["count"], values.len(), "{m}");
        near(&m["min"], sorted[0], "min");
        near(&m["max"], sorted[sorted.len() - 1], "max");
        near(&m["mean"], mean, "mean");
        near(&m["stddev"], variance.sqrt(), "stddev");
        near(&m["p50"], quantile(&sorted, 0.50), "p50");
        near(&m["p95"], quantile(&sorted, 0.95), "p95");
        near(&m["p99"], quantile(&sorted, 0.99), "p99");
        assert_eq!(micros(&m["first"]), (start + from as i64) * 1_000_000);
        assert_eq!(micros(&m["last"]), (start + to as i64 - 1) * 1_000_000);
    }
    let both = daemon.json(&format!("/api/v1/nodes/n/statistics?start={start}&end={}", start + 1_000));
    let counts: Vec<(&str, u64)> = both["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .map(|m| (m["metric"].as_str().expect("a text"), m["count"].as_u64().expect("a number")))
        .collect();
    assert_eq!(counts, [("humidity", 10), ("temperature", 997)]);
    // The last day, where no range is given; one value has no deviation.
    let lone = daemon.json("/api/v1/nodes/lone/statistics");
    let m = &lone["metrics"][0];
    assert_eq!(m["count"], 1, "{lone}");
    assert_eq!(m["stddev"], Value::Null, "{lone}");
    near(&m["mean"], 42.0, "mean");
    near(&m["p99"], 42.0, "p99");
    // A range that holds nothing.
    let empty = daemon.json("/api/v1/nodes/n/statistics?start=2024-01-01T00:00:00Z&end=2024-01-02T00:00:00Z");
    for m in empty["metrics"].as_array().expect("metrics") {
        assert_eq!(m["count"], 0, "{m}");
        assert_eq!(m["mean"], Value::Null, "{m}");
    }
    assert_eq!(daemon.json("/api/v1/nodes/lone/statistics?start=-1h&end=now")["metrics"][0]["count"], 1);
}

#[test]
fn readings_come_in_pages_and_as_csv_until_all_are_seen() {
    let mut port = Hub::new();
    let since = now_micros();
    let mut daemon = daemon(&[("hub", &port)]);
    let mut sent = Vec::new();
    for (i, node) in ["a", "b/c", "d \"e\", \u{e9}"].into_iter().enumerate() {
        sent.extend(send(&mut port, "hub", node, "v", 1_760_000_000, &noise(700, i as u64)));
        sent.extend(send(&mut port, "hub", node, "w,x", 1_760_000_000, &noise(100, 100 + i as u64)));
    }
    daemon.wait_stat("/readings/committed", sent.len() as u64);
    let all = shown(&sent);
    assert_eq!(all.len(), 2_400);

    for limit in [7, 500, 100_000] {
        let mut seen = Shown::new();
        let mut cursor = String::new();
        let mut pages = 0;
        loop {
            let page = daemon.json(&format!("/api/v1/readings?limit={limit}{cursor}"));
            let rows = take(&mut seen, &page["readings"]);
            assert!(rows <= limit, "{rows} rows in a page of {limit}");
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => {
                    assert_eq!(rows, limit, "only the last page is short");
                    cursor = format!("&cursor={}", encoded(next));
                }
                None => break,
            }
        }
        assert_eq!(seen, all, "limit {limit}");
        assert!(pages >= 2_400 / limit, "{pages}");
    }

    // One node, one metric, a range; the end is excluded.
    let path = format!("/api/v1/readings?node={}&metric=v&start=1760000010&end=2025-10-09T08:53:50Z", encoded("b/c"));
    let mut seen = Shown::new();
    take(&mut seen, &daemon.json(&path)["readings"]);
    let range = 1_760_000_010_000_000..1_760_000_030_000_000;
    let wanted: Shown = all
        .iter()
        .filter(|((n, m, t), _)| n == "b/c" && m == "v" && range.contains(t))
        .map(|(k, v)| (k.clone(), *v))
        .collect();
    assert_eq!(wanted.len(), 20);
    assert_eq!(seen, wanted);

    let rows = |body: &str| {
        let mut reader = csv::Reader::from_reader(body.as_bytes());
        let columns: Vec<String> = reader.headers().expect("a first line").iter().map(str::to_owned).collect();
        assert_eq!(columns, ["time", "node", "metric", "value", "unit", "received_at"]);
        let mut seen = Shown::new();
        for row in reader.records() {
            let row = row.expect("six fields");
            let key = (row[1].to_owned(), row[2].to_owned(), micros(&Value::from(&row[0])));
            assert!(micros(&Value::from(&row[5])) >= since - 1_000_000, "received_at is about now: {row:?}");
            assert_eq!(&row[4], "", "JSON has no units");
            assert_eq!(seen.insert(key, row[3].parse().expect("a number")), None, "shown twice: {row:?}");
        }
        seen
    };
    let csv = daemon.get("/api/v1/readings?format=csv");
    assert_eq!(csv.status, 200);
    assert!(csv.header("content-type").starts_with("text/csv"), "{}", csv.header("content-type"));
    assert_eq!(rows(&csv.body), all);
    let mut seen = Shown::new();
    let mut cursor = String::new();
    loop {
        let page = daemon.get(&format!("/api/v1/readings?format=csv&limit=900{cursor}"));
        assert_eq!(page.status, 200, "{}", page.body);
        let found = rows(&page.body);
        let before = seen.len();
        let new = found.len();
        seen.extend(found);
        assert_eq!(seen.len(), before + new, "no row is on two pages");
        match page.header("x-next-cursor") {
            "" => break,
            next => cursor = format!("&cursor={}", encoded(next)),
        }
    }
    assert_eq!(seen, all);
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn wrong_questions_are_refused_with_a_reason() {
    let mut port = Hub::new();
    let daemon = daemon(&[("hub", &port)]);
    send(&mut port, "hub", "n", "v", 1_760_000_000, &[1.0]);
    daemon.wait_stat("/readings/committed", 1);
    for path in ["/api/v1/nodes/nobody", "/api/v1/nodes/nobody/latest", "/api/v1/nodes/nobody/statistics"] {
        let message = refused(&daemon, path, 404, "unknown-node");
        assert!(message.contains("nobody"), "{message}");
    }
    assert!(refused(&daemon, "/api/v1/readings?node=nobody", 404, "unknown-node").contains("nobody"));
    for path in ["/api/v1/nodes/n/statistics", "/api/v1/readings"] {
        let range =
            refused(&daemon, &format!("{path}?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z"), 400, "bad-range");
        assert!(range.contains("2026-01-02"), "{range}");
        refused(&daemon, &format!("{path}?start=5&end=5"), 400, "bad-range");
        let time = refused(&daemon, &format!("{path}?start=yesterday"), 400, "bad-parameter");
        assert!(time.contains("start") && time.contains("yesterday"), "{time}");
        let unknown = refused(&daemon, &format!("{path}?begin=5"), 400, "unknown-parameter");
        assert!(unknown.contains("begin") && unknown.contains("start"), "{unknown}");
        let metric = refused(&daemon, &format!("{path}?metric=nothing"), 404, "unknown-metric");
        assert!(metric.contains("nothing"), "{metric}");
    }
    for bad in ["limit=0", "limit=-1", "limit=many", "limit=100001", "format=xml", "start=", "limit=5&limit=6"] {
        refused(&daemon, &format!("/api/v1/readings?{bad}"), 400, "bad-parameter");
    }
    refused(&daemon, "/api/v1/readings?cursor=garbage", 400, "bad-cursor");
    refused(&daemon, "/api/v1/nodes?limit=5", 400, "unknown-parameter");
    refused(&daemon, "/api/v2/nodes", 404, "not-found");
    refused(&daemon, "/api/v1/nodes/%ff", 400, "bad-node");
    // And it goes on.
    assert_eq!(daemon.json("/api/v1/nodes/n")["name"], "n");
}

#[test]
fn a_name_of_two_sources_needs_its_source() {
    let (mut one, mut two) = (Hub::new(), Hub::new());
    let daemon = daemon(&[("one", &one), ("two", &two)]);
    send(&mut one, "one", "n", "v", 1_760_000_000, &[1.0, 1.5]);
    send(&mut two, "two", "n", "v", 1_760_000_000, &[2.0]);
    send(&mut two, "two", "m", "v", 1_760_000_000, &[3.0]);
    daemon.wait_stat("/readings/committed", 4);
    for path in ["/api/v1/nodes/n", "/api/v1/nodes/n/latest", "/api/v1/nodes/n/statistics", "/api/v1/readings?node=n"] {
        let message = refused(&daemon, path, 409, "ambiguous-node");
        assert!(message.contains("one/n") && message.contains("two/n"), "{message}");
    }
    for (source, value, time) in [("one", 1.5, 1_760_000_001_000_000_i64), ("two", 2.0, 1_760_000_000_000_000)] {
        let latest = daemon.json(&format!("/api/v1/nodes/{source}%2Fn/latest"));
        assert_eq!(latest["source"], source);
        assert_eq!(latest["values"][0]["value"].as_f64(), Some(value));
        assert_eq!(micros(&latest["values"][0]["time"]), time);
        let readings = daemon.json(&format!("/api/v1/readings?node={source}/n"));
        assert_eq!(readings["readings"].as_array().map(Vec::len), Some(if source == "one" { 2 } else { 1 }));
    }
    assert_eq!(daemon.json("/api/v1/nodes/m/latest")["values"][0]["value"].as_f64(), Some(3.0));
    assert_eq!(daemon.json("/api/v1/nodes/two%2Fm/latest")["values"][0]["value"].as_f64(), Some(3.0));
    assert_eq!(daemon.json("/api/v1/readings")["readings"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_token_is_asked_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret-t0ken\nignored\n").expect("writing the token");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our own file");
    let config = format!("[http]\ntoken-file = \"{}\"\n", file.display());
    let mut daemon = Setup::new(&config).token("s3cret-t0ken").start();
    assert_eq!(daemon.get("/stats").status, 200);
    for path in ["/stats", "/metrics", "/api/v1/nodes", "/api/v1/readings", "/nothing"] {
        for token in [None, Some("wrong"), Some(""), Some("s3cret-t0ke"), Some("s3cret-t0kenx")] {
            let answer = daemon.get_as(path, token).expect("an answer");
            assert_eq!(answer.status, 401, "{path} with {token:?}: {}", answer.body);
            assert_eq!(answer.json()["error"]["code"], "unauthorized");
            assert!(!answer.body.contains("s3cret"));
        }
    }
    assert!(!daemon.log().contains("s3cret"), "the token is in the log");
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let mut port = Hub::new();
    let daemon = daemon(&[("hub", &port)]);
    send(&mut port, "hub", "n", "v", 1_760_000_000, &noise(25, 3));
    daemon.wait_stat("/readings/committed", 25);
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer.header("content-type").starts_with("application/openmetrics-text"),
        "{}",
        answer.header("content-type")
    );
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    let mut values = BTreeMap::new();
    let mut types = BTreeMap::new();
    for line in answer.body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some((name, kind)) = comment.strip_prefix("TYPE ").and_then(|t| t.split_once(' ')) {
                assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "declared twice: {line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let name = series.split('{').next().unwrap_or_default();
        assert!(name.starts_with("gadwall_"), "{line}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        assert!(series.contains('{') == series.ends_with('}'), "{line}");
        assert!(types.keys().any(|t| name.starts_with(t.as_str())), "no TYPE before {line}");
        assert_eq!(values.insert(series.to_owned(), value), None, "shown twice: {line}");
    }
    assert_eq!(values["gadwall_readings_committed_total"], 25.0);
    assert_eq!(values["gadwall_readings_received_total"], 25.0);
    assert!(values.keys().any(|k| k.contains("\"hub\"")), "the source is a label: {values:?}");
}

#[test]
fn idle_connections_do_not_shut_others_out() {
    let daemon = Daemon::start("[http]\nmax-connections = 4\n");
    let idle: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(daemon.address()).expect("the kernel takes connections")).collect();
    wait_for("an answer beside idle connections", || daemon.try_get("/healthz").is_ok_and(|a| a.status == 200));
    drop(idle);
}
