use serde_json::json;

use super::*;
use crate::reading::Timestamp;
use crate::store::reader::fixture::row;
use crate::zone::DAY;

/// 2025-10-09T08:53:20Z
const T0: i64 = 1_760_000_000_000_000;
const SEC: i64 = 1_000_000;

fn house() -> Server {
    let server = Server::new();
    let s = &server.store;
    s.add_node(1, "hub", "42");
    s.add_series(10, 1, "temperature", Some("degC"));
    s.add_series(11, 1, "humidity", None);
    // A peak of one second in an hour of rain.
    let rows: Vec<_> = (0..3_600).map(|i| row(T0 + i * SEC, 10, if i == 1_234 { 99.0 } else { 5.0 })).collect();
    s.insert(&rows);
    s.insert(&[row(T0, 11, 40.0), row(T0 + SEC, 11, 41.0)]);
    server
}

#[test]
fn a_chart_keeps_the_peak() {
    let server = house();
    let range = "start=1760000000&end=1760003600";
    for (method, points) in [("minmax", 10), ("lttb", 10)] {
        let got = server.get_json(&format!(
            "/api/v1/nodes/42/chart?{range}&points={points}&downsample={method}&metric=temperature"
        ));
        let series = &got["series"][0];
        assert_eq!(
            (&series["metric"], &series["unit"], &series["readings"]),
            (&json!("temperature"), &json!("degC"), &json!(3_600))
        );
        let found = series["points"].as_array().unwrap();
        assert!(found.len() <= points, "{got:#}");
        assert!(found.contains(&json!({"time": "2025-10-09T09:13:54Z", "value": 99.0})), "{got:#}");
        assert_eq!(got["downsample"], method);
    }
    // All metrics, with those that have few readings as they are.
    let got = server.get_json(&format!("/api/v1/nodes/42/chart?{range}"));
    assert_eq!(
        got["series"][0],
        json!({"metric": "humidity", "unit": null, "readings": 2, "points": [
            {"time": "2025-10-09T08:53:20Z", "value": 40.0}, {"time": "2025-10-09T08:53:21Z", "value": 41.0}]})
    );
    assert_eq!(got["series"][1]["metric"], "temperature");
    let keys: Vec<&String> = got.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["downsample", "end", "node", "series", "source", "start"]);
    let none = server.get_json("/api/v1/nodes/42/chart?metric=humidity&start=-1h");
    assert_eq!(none["series"], json!([{"metric": "humidity", "unit": null, "readings": 0, "points": []}]));
    server.store.expire(Timestamp(T0 - T0 % DAY + DAY));
    let gone = server.get_json(&format!("/api/v1/nodes/42/chart?{range}"));
    assert_eq!((&gone["removed_before"], &gone["series"][1]["readings"]), (&json!("2025-10-10T00:00:00Z"), &json!(0)));
}

#[test]
fn bad_questions_about_charts() {
    let server = house();
    for i in 0..60 {
        server.store.add_series(100 + i, 1, &format!("m{i}"), None);
    }
    for (query, status, code, message) in [
        ("points=1", 400, "bad-parameter", "parameter points: got \"1\", expected a number from 2 to 5000"),
        ("points=5001", 400, "bad-parameter", "parameter points: got \"5001\", expected a number from 2 to 5000"),
        ("downsample=mean", 400, "bad-parameter", "parameter downsample: got \"mean\", expected minmax or lttb"),
        ("metric=rain", 404, "unknown-metric", "node \"42\" does not have a metric \"rain\""),
        ("points=400", 400, "too-many-rows", "400 points of 62 metrics: expected at most 20000 together"),
        ("start=5&end=4", 400, "bad-range", "start (1970-01-01T00:00:05Z) has to be before end (1970-01-01T00:00:04Z)"),
    ] {
        assert_eq!(
            server.error(&format!("/api/v1/nodes/42/chart?{query}")),
            (status, code.into(), message.into()),
            "{query}"
        );
    }
    assert_eq!(server.error("/api/v1/nodes/9/chart").1, "unknown-node");
}
