use serde_json::json;

use super::*;
use crate::metrics::{Shed, SourceState, SourceStatus};
use crate::reading::DeadReason;
use crate::store::reader::Row;
use crate::store::reader::fixture::row;

/// 2025-10-09T08:53:20Z
const T0: i64 = 1_760_000_000_000_000;
const SEC: i64 = 1_000_000;

/// Two sources with a node `kitchen` each, and one with an awkward name.
fn house() -> Server {
    let server = Server::new();
    let s = &server.store;
    s.add_node(1, "hub", "42");
    s.add_node(2, "home", "kitchen");
    s.add_node(3, "shed", "kitchen");
    s.add_node(4, "home", "a/b, \"c\" ö%");
    s.add_series(10, 1, "temperature", Some("degC"));
    s.add_series(11, 1, "humidity", None);
    s.add_series(12, 2, "temperature", None);
    s.add_series(13, 3, "temperature", None);
    s.add_series(14, 4, "x,y", Some("%"));
    s.insert(&[
        row(T0, 10, 21.5),
        Row { lag: Some(90), ..row(T0 + SEC, 10, -0.25) },
        Row { lag: None, ..row(T0 + 2 * SEC, 11, 1e300) },
        row(T0 + 2 * SEC + 5, 12, 5.0),
        row(T0 + 2 * SEC + 5, 13, 6.0),
        row(T0 + 3 * SEC, 14, 7.125),
    ]);
    server
}

#[test]
fn nodes_are_listed_with_their_metrics() {
    let server = house();
    let seen = "2023-11-14T22:13:20Z";
    assert_eq!(
        server.get_json("/api/v1/nodes"),
        json!({"nodes": [
            {"name": "42", "source": "hub", "first_seen": seen, "last_seen": "2025-10-09T08:53:22Z", "online": null,
             "metrics": ["humidity", "temperature"]},
            {"name": "a/b, \"c\" ö%", "source": "home", "first_seen": seen, "last_seen": "2025-10-09T08:53:23Z", "online": null,
             "metrics": ["x,y"]},
            {"name": "kitchen", "source": "home", "first_seen": seen, "last_seen": "2025-10-09T08:53:22.000005Z", "online": null,
             "metrics": ["temperature"]},
            {"name": "kitchen", "source": "shed", "first_seen": seen, "last_seen": "2025-10-09T08:53:22.000005Z", "online": null,
             "metrics": ["temperature"]},
        ]})
    );
}

#[test]
fn a_node_has_its_series_and_its_newest_values() {
    let server = house();
    server.store.add_series(15, 1, "rssi", Some("dBm"));
    let at = crate::reading::Timestamp;
    let online = |ts, online| server.store.catalog.write().unwrap().set_online(1, at(ts), online);
    online(5, true);
    online(4, false);
    assert_eq!(
        server.get_json("/api/v1/nodes/42"),
        json!({"name": "42", "source": "hub", "first_seen": "2023-11-14T22:13:20Z",
            "last_seen": "2025-10-09T08:53:22Z", "online": true, "series": [
                {"metric": "humidity", "own_name": null, "unit": null, "time": "2025-10-09T08:53:22Z", "value": 1e300},
                {"metric": "rssi", "own_name": null, "unit": "dBm", "time": null, "value": null},
                {"metric": "temperature", "own_name": null, "unit": "degC", "time": "2025-10-09T08:53:21Z", "value": -0.25},
        ]})
    );
    assert_eq!(
        server.get_json("/api/v1/nodes/42/latest"),
        json!({"node": "42", "source": "hub", "values": [
            {"metric": "humidity", "unit": null, "value": 1e300, "time": "2025-10-09T08:53:22Z", "received_at": null},
            {"metric": "temperature", "unit": "degC", "value": -0.25, "time": "2025-10-09T08:53:21Z",
             "received_at": "2025-10-09T08:54:51Z"},
        ]})
    );
}

#[test]
fn names_are_percent_encoded_and_ambiguous_ones_refused() {
    let server = house();
    let latest = |name: &str| server.get_json(&format!("/api/v1/nodes/{name}/latest"))["values"][0]["value"].clone();
    assert_eq!(latest("a%2Fb%2C%20%22c%22%20%C3%B6%25"), json!(7.125));
    assert_eq!(latest("home%2Fa%2Fb%2C%20%22c%22%20%C3%B6%25"), json!(7.125));
    assert_eq!(latest("home%2Fkitchen"), json!(5.0));
    assert_eq!(latest("shed%2fkitchen"), json!(6.0));
    let answer = server.get("/api/v1/nodes/kitchen");
    assert_eq!(answer.status, 409);
    assert_eq!(
        answer.json(),
        json!({"error": {"code": "ambiguous-node", "nodes": ["home/kitchen", "shed/kitchen"],
            "message": "several sources have a node \"kitchen\": ask for home/kitchen or shed/kitchen"}})
    );
    assert_eq!(server.error("/api/v1/readings?node=kitchen").1, "ambiguous-node");
    assert_eq!(
        server.error("/api/v1/nodes/cellar/latest"),
        (404, "unknown-node".into(), "there is no node \"cellar\"; GET /api/v1/nodes lists them all".into())
    );
    assert_eq!(server.error("/api/v1/nodes/%ff").1, "bad-node");
}

#[test]
fn statistics_are_those_of_the_range() {
    let server = house();
    let found = server.get_json("/api/v1/nodes/42/statistics?start=2025-10-09T08:53:20Z&end=1760000010");
    assert_eq!(
        found,
        json!({"node": "42", "source": "hub", "start": "2025-10-09T08:53:20Z", "end": "2025-10-09T08:53:30Z",
        "metrics": [
            {"metric": "humidity", "unit": null, "count": 1, "min": 1e300, "max": 1e300, "mean": 1e300,
             "stddev": null, "p50": 1e300, "p95": 1e300, "p99": 1e300, "first": "2025-10-09T08:53:22Z",
             "last": "2025-10-09T08:53:22Z"},
            {"metric": "temperature", "unit": "degC", "count": 2, "min": -0.25, "max": 21.5, "mean": 10.625,
             "stddev": (2.0 * 10.875_f64.powi(2)).sqrt(), "p50": 10.625, "p95": 20.4125,
             "p99": 21.2825, "first": "2025-10-09T08:53:20Z", "last": "2025-10-09T08:53:21Z"},
        ]})
    );
    let one = server.get_json("/api/v1/nodes/42/statistics?metric=humidity");
    assert_eq!(one["metrics"][0]["count"], json!(0));
    assert_eq!(one["metrics"].as_array().unwrap().len(), 1);
    assert_eq!(
        server.error("/api/v1/nodes/42/statistics?metric=rain"),
        (404, "unknown-metric".into(), "node \"42\" does not have a metric \"rain\"".into())
    );
}

#[test]
fn readings_are_json_with_full_names_where_needed() {
    let server = house();
    assert_eq!(
        server.get_json("/api/v1/readings"),
        json!({"readings": [
            {"time": "2025-10-09T08:53:20Z", "node": "42", "metric": "temperature", "value": 21.5, "unit": "degC",
             "received_at": "2025-10-09T08:53:20Z"},
            {"time": "2025-10-09T08:53:21Z", "node": "42", "metric": "temperature", "value": -0.25, "unit": "degC",
             "received_at": "2025-10-09T08:54:51Z"},
            {"time": "2025-10-09T08:53:22Z", "node": "42", "metric": "humidity", "value": 1e300, "unit": null,
             "received_at": null},
            {"time": "2025-10-09T08:53:22.000005Z", "node": "home/kitchen", "metric": "temperature", "value": 5.0,
             "unit": null, "received_at": "2025-10-09T08:53:22.000005Z"},
            {"time": "2025-10-09T08:53:22.000005Z", "node": "shed/kitchen", "metric": "temperature", "value": 6.0,
             "unit": null, "received_at": "2025-10-09T08:53:22.000005Z"},
            {"time": "2025-10-09T08:53:23Z", "node": "a/b, \"c\" ö%", "metric": "x,y", "value": 7.125, "unit": "%",
             "received_at": "2025-10-09T08:53:23Z"},
        ], "next_cursor": null})
    );
    let values = |query: &str| -> Vec<f64> {
        let found = server.get_json(&format!("/api/v1/readings?{query}"));
        found["readings"].as_array().unwrap().iter().map(|r| r["value"].as_f64().unwrap()).collect()
    };
    assert_eq!(values("node=42&metric=temperature"), [21.5, -0.25]);
    assert_eq!(values("node=shed/kitchen&node=42&metric=temperature"), [21.5, -0.25, 6.0]);
    assert_eq!(values("metric=humidity&metric=x,y"), [1e300, 7.125]);
    assert_eq!(values("start=2025-10-09T08:53:21Z&end=2025-10-09T10:53:22%2B02:00"), [-0.25]);
    assert_eq!(values("start=-1h"), [0.0; 0]);
}

#[test]
fn csv_is_quoted() {
    let server = house();
    let answer = server.get("/api/v1/readings?format=csv&start=1760000002");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(
        answer.body,
        "time,node,metric,value,unit,received_at\n\
         2025-10-09T08:53:22Z,42,humidity,1e300,,\n\
         2025-10-09T08:53:22.000005Z,home/kitchen,temperature,5.0,,2025-10-09T08:53:22.000005Z\n\
         2025-10-09T08:53:22.000005Z,shed/kitchen,temperature,6.0,,2025-10-09T08:53:22.000005Z\n\
         2025-10-09T08:53:23Z,\"a/b, \"\"c\"\" ö%\",\"x,y\",7.125,%,2025-10-09T08:53:23Z\n"
    );
    assert_eq!(answer.header("x-next-cursor"), None);
    let none = server.get("/api/v1/readings?format=csv&start=now");
    assert_eq!((none.status, none.body.as_str()), (200, "time,node,metric,value,unit,received_at\n"));
}

#[test]
fn cursors_lead_through_all_readings_in_both_formats() {
    let server = Server::new();
    server.store.add_node(1, "hub", "n");
    for series in 1..=3 {
        server.store.add_series(series, 1, &format!("m{series}"), None);
    }
    let rows: Vec<Row> = (0..4_000)
        .flat_map(|i| {
            (1..=3).map(move |s| row(T0 + i64::from(i / 2) * SEC + i64::from(i % 2), s, f64::from(3 * i + s)))
        })
        .collect();
    server.store.insert(&rows);
    let all: Vec<f64> = rows.iter().map(|r| r.value).collect();
    for limit in [999, 1_000, 1_001, 6_000, 12_000, 100_000] {
        let mut got: Vec<f64> = Vec::new();
        let mut cursor = String::new();
        let mut requests = 0;
        loop {
            let page = server.get_json(&format!("/api/v1/readings?limit={limit}{cursor}"));
            let values = page["readings"].as_array().unwrap();
            assert!(values.len() <= limit);
            got.extend(values.iter().map(|r| r["value"].as_f64().unwrap()));
            requests += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(got, all);
        assert_eq!(requests, all.len().div_ceil(limit));
    }
    let mut lines: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/api/v1/readings?format=csv&limit=5000{cursor}"));
        lines.extend(page.body.lines().skip(1).map(str::to_owned));
        match page.header("x-next-cursor") {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let whole = server.get("/api/v1/readings?format=csv");
    assert_eq!(lines, whole.body.lines().skip(1).collect::<Vec<_>>());
    assert_eq!(lines.len(), all.len());
}

#[test]
fn bad_questions_are_told_what_is_wrong() {
    let server = house();
    let time = "RFC 3339 such as 2026-01-31T12:00:00Z, Unix seconds, now, or relative to now such as -24h";
    let bad = |status: u16, code: &str, message: &str| (status, code.to_owned(), message.to_owned());
    for (path, expected) in [
        (
            "/api/v1/readings?limit=0",
            bad(400, "bad-parameter", "parameter limit: got \"0\", expected a number from 1 to 100000"),
        ),
        (
            "/api/v1/readings?format=csv&limit=10001",
            bad(400, "bad-parameter", "parameter limit: got \"10001\", expected a number from 1 to 10000"),
        ),
        (
            "/api/v1/readings?limit=1&limit=2",
            bad(400, "bad-parameter", "parameter limit: got \"2\", expected it only once"),
        ),
        (
            "/api/v1/readings?format=xml",
            bad(400, "bad-parameter", "parameter format: got \"xml\", expected json or csv"),
        ),
        ("/api/v1/readings?node=", bad(400, "bad-parameter", "parameter node: got \"\", expected a value")),
        (
            "/api/v1/readings?start=yesterday",
            bad(400, "bad-parameter", &format!("parameter start: got \"yesterday\", expected {time}")),
        ),
        (
            "/api/v1/readings?start=20&end=20",
            bad(400, "bad-range", "start (1970-01-01T00:00:20Z) has to be before end (1970-01-01T00:00:20Z)"),
        ),
        (
            "/api/v1/nodes/42/statistics?start=20&end=10",
            bad(400, "bad-range", "start (1970-01-01T00:00:20Z) has to be before end (1970-01-01T00:00:10Z)"),
        ),
        (
            "/api/v1/readings?cursor=1_2",
            bad(400, "bad-cursor", "parameter cursor: \"1_2\" is not a cursor that an earlier answer has given"),
        ),
        (
            "/api/v1/readings?from=1",
            bad(
                400,
                "unknown-parameter",
                "unknown parameter \"from\", expected one of node, metric, start, end, limit, cursor, format",
            ),
        ),
        ("/api/v1/nodes?x=1", bad(400, "unknown-parameter", "unknown parameter \"x\": this path has none")),
        (
            "/api/v1/readings?node=9",
            bad(404, "unknown-node", "there is no node \"9\"; GET /api/v1/nodes lists them all"),
        ),
        ("/api/v1/readings?metric=rain", bad(404, "unknown-metric", "no node has a metric \"rain\"")),
        (
            "/api/v1/readings?node=42&metric=x,y",
            bad(404, "unknown-metric", "node \"42\" does not have a metric \"x,y\""),
        ),
        (
            "/api/v2",
            bad(
                404,
                "not-found",
                "there is no \"/api/v2\"; there is /healthz, /stats, /metrics, /api/v1/nodes, /api/v1/nodes/{node}, \
                 /api/v1/nodes/{node}/latest, /api/v1/nodes/{node}/statistics, /api/v1/nodes/{node}/quality, \
                 /api/v1/quality, \
                 /api/v1/nodes/{node}/statistics/hourly, /api/v1/nodes/{node}/statistics/daily, \
                 /api/v1/nodes/{node}/chart, /api/v1/statistics, /api/v1/readings",
            ),
        ),
    ] {
        assert_eq!(server.error(path), expected, "{path}");
    }
    let post =
        ureq::post(format!("http://{}/stats", server.address)).config().http_status_as_error(false).build().send("x");
    assert_eq!(post.unwrap().status(), 405);
}

#[test]
fn a_paused_store_is_busy_and_says_when_to_ask_again() {
    let limits = Limits { wait: Duration::from_millis(20), ..Limits::default() };
    let server = Server::with(limits, &loopback(), Patience::default());
    server.store.add_node(1, "hub", "n");
    server.store.add_series(1, 1, "m", None);
    let paused = server.store.reader.pause();
    for path in ["/api/v1/readings", "/api/v1/nodes/n/statistics", "/api/v1/readings?format=csv"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{path}");
        assert_eq!(answer.json()["error"]["code"], "busy");
    }
    // What needs no query goes on.
    assert_eq!(server.get("/api/v1/nodes/n/latest").status, 200);
    drop(paused);
    assert_eq!(server.get("/api/v1/readings").status, 200);
}

#[test]
fn health_turns_with_the_sources() {
    let server = Server::new();
    let hub = server.metrics.add_source(SourceStatus::new("hub".into(), "serial", "/dev/x".into()));
    hub.set_state(SourceState::Up);
    server.metrics.queue.capacity.set(100);
    let answer = server.get("/healthz");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"status": "ok", "checks": [
            {"name": "store", "ok": true, "detail": "0 commits"},
            {"name": "space", "ok": true, "detail": "not looked at yet"},
            {"name": "queue", "ok": true, "detail": "0 of 100 rows wait for their commit"},
            {"name": "memory", "ok": true, "detail": "within its limit of 0.0 MB"},
            {"name": "clock", "ok": true, "detail": "trusted, not synchronised"},
            {"name": "source hub", "ok": true, "detail": "up"},
        ]})
    );
    hub.set_state(SourceState::Down("the port is gone".into()));
    let answer = server.get("/healthz");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (503, Some("failing")));
    assert_eq!(
        answer.json()["checks"][5],
        json!({"name": "source hub", "ok": false, "detail": "/dev/x: the port is gone"})
    );
}

#[test]
fn stats_and_metrics_show_the_same_counters() {
    let server = Server::new();
    let m = &server.metrics;
    m.readings.received.add(70);
    m.readings.committed.add(60);
    m.readings.dead(DeadReason::Malformed).add(3);
    m.store.last_commit_us.set(2_500);
    m.store.readings.set(60);
    let hub = m.add_source(SourceStatus::new("h\"ub".into(), "serial", "/dev/x".into()));
    hub.set_state(SourceState::Down("gone".into()));
    hub.bytes.add(12);
    let stats = server.get_json("/stats");
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(stats["readings"]["received"], 70);
    assert_eq!(stats["readings"]["dead"], 3);
    assert_eq!(stats["readings"]["dead_by_reason"]["malformed"], 3);
    assert_eq!(stats["readings"]["dropped_by_reason"]["intake-full"], 0);
    assert_eq!(stats["commits"], json!({"count": 0, "last_ms": 2.5, "failed": 0, "flush_interval_s": 5.0}));
    assert!(stats["store"]["file_bytes"].as_u64().unwrap() > 0);
    assert!(stats["memory"]["rss_bytes"].as_u64().unwrap() > 1_000_000);
    assert!(stats["memory"]["anon_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(stats["written"]["bytes"], stats["written"]["today_bytes"]);
    assert_eq!((&stats["written"]["budget_bytes"], &stats["written"]["card"]), (&json!(null), &json!(null)));
    assert_eq!(stats["sources"][0]["state"], "down");
    assert_eq!(stats["sources"][0]["reason"], "gone");
    assert_eq!(stats["sources"][0]["last_reading_age_s"], json!(null));
    let answer = server.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    for line in [
        "gadwall_readings_received_total 70",
        "gadwall_readings_committed_total 60",
        "gadwall_dead_letters_total{reason=\"malformed\"} 3",
        "gadwall_commit_last_seconds 0.0025",
        "gadwall_store_readings 60.0",
        "gadwall_flush_interval_seconds 5.0",
        "# TYPE gadwall_written_today_bytes gauge",
        "gadwall_source_received_bytes_total{source=\"h\\\"ub\"} 12",
        "gadwall_source_up{source=\"h\\\"ub\"} 0.0",
        "# TYPE gadwall_readings_received counter",
        "# EOF",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line} is not in\n{}", answer.body);
    }
}

#[test]
fn without_memory_queries_are_refused_and_the_rest_is_answered() {
    let server = Server::new();
    server.metrics.memory.set_step(Shed::Trim);
    assert_eq!(server.get("/api/v1/nodes").status, 200);
    server.metrics.memory.set_step(Shed::Queries);
    for path in ["/api/v1/nodes", "/api/v1/readings?limit=1", "/api/v1/nodes/nothing"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{path}");
        assert_eq!(answer.json()["error"]["code"], "memory");
    }
    for path in ["/", "/healthz", "/stats", "/metrics"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let memory = server.get_json("/stats")["memory"].clone();
    assert_eq!((&memory["shed"], &memory["refused_queries"]), (&json!("queries"), &json!(3)));
    server.metrics.memory.set_step(Shed::Nothing);
    assert_eq!(server.get("/api/v1/nodes").status, 200);
}

#[test]
fn the_index_names_the_routes() {
    let server = Server::new();
    let answer = server.get("/");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert!(answer.body.contains("GET /api/v1/readings "));
}
