//! Data quality over HTTP.

#![expect(clippy::cast_precision_loss, reason = "the tests choose their numbers, and they are small")]

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::quality::Rules;
use crate::reading::Timestamp;
use crate::store::ledger::{Counts, Page, Tally};
use crate::store::reader::fixture::row;

const SEC: i64 = 1_000_000;
/// 2025-10-09T00:00:00Z
const T0: i64 = 1_759_968_000 * SEC;
const RANGE: &str = "start=2025-10-09T00:00:00Z&end=2025-10-09T01:00:00Z";

/// `hub/42` with a temperature every minute that has a gap and an outlier, and a button; `home/attic` that is silent, and
/// `home/bath` that is well.
fn house() -> Server {
    let server = Server::new();
    let s = &server.store;
    s.add_node(1, "hub", "42");
    s.add_node(2, "home", "attic");
    s.add_node(3, "home", "bath");
    s.add_series(10, 1, "temperature", Some("degC"));
    s.add_series(11, 1, "button", None);
    s.add_series(12, 2, "temperature", None);
    s.add_series(13, 3, "temperature", None);
    let mut rows = Vec::new();
    for minute in 0..60 {
        let t = T0 + minute * 60 * SEC;
        let value = if minute == 40 { 85.0 } else { 20.0 + (minute % 5) as f64 / 10.0 };
        if !(10..13).contains(&minute) {
            rows.push(row(t, 10, value));
        }
        if [1, 2, 30].contains(&minute) {
            rows.push(row(t, 11, 1.0));
        }
        rows.push(row(t, 13, 20.0 + (minute % 5) as f64 / 10.0));
        rows.push(row(t - 3_600 * SEC, 12, 1.5));
    }
    rows.sort_by_key(|r| r.ts);
    s.insert(&rows);
    s.root.execute_batch("INSERT INTO g.quality VALUES (10, make_timestamp(1759968000000000), 1, 2, 0)").unwrap();
    // Of the same hour, and not in the file yet.
    let open = Tally::from([(10, Counts { duplicates: 10, conflicts: 0, clock_errors: 3 })]);
    let mut catalog = s.catalog.write().unwrap();
    catalog.ledger.committed(Timestamp(T0 + SEC), &Page::default(), [open, Tally::new()], [].into());
    drop(catalog);
    server
}

#[test]
fn the_quality_of_a_node() {
    let server = house();
    let quality = server.get_json(&format!("/api/v1/nodes/42/quality?{RANGE}&metric=temperature"));
    let expected = json!({
        "node": "42", "source": "hub", "start": "2025-10-09T00:00:00Z", "end": "2025-10-09T01:00:00Z",
        "metrics": [{
            "metric": "temperature", "unit": "degC", "score_percent": 93.333, "readings": 57,
            "interval": {"kind": "learnt", "seconds": 60.0, "spread_percent": 0.0, "reason": null},
            "coverage": {"percent": 95.0, "expected": 60, "present": 57, "missing": 3,
                "from": "2025-10-09T00:00:00Z", "to": "2025-10-09T01:00:00Z"},
            "gaps": {"count": 1, "listed": [
                {"from": "2025-10-09T00:09:00Z", "to": "2025-10-09T00:13:00Z", "missing": 3}]},
            "outliers": {"method": "modified-z-score", "reason": null, "median": 20.2, "mad": quality["metrics"][0]["outliers"]["mad"],
                "lower": quality["metrics"][0]["outliers"]["lower"], "upper": quality["metrics"][0]["outliers"]["upper"],
                "count": 1, "listed": [{"time": "2025-10-09T00:40:00Z", "value": 85.0,
                    "score": quality["metrics"][0]["outliers"]["listed"][0]["score"]}]},
            "stuck": {"after_s": 21600.0, "configured": false, "constant": false, "count": 0, "readings": 0, "listed": []},
            "duplicates": 11, "conflicts": 2,
            "clock": {"errors": 3, "ahead": 0, "unverified": 0, "delay_s": 0.0}
        }]
    });
    assert_eq!(quality, expected);
    let outliers = &quality["metrics"][0]["outliers"];
    let number = |v: &Value| v.as_f64().unwrap();
    assert!((number(&outliers["mad"]) - 0.1).abs() < 1e-9, "{outliers}");
    assert!((number(&outliers["upper"]) - (20.2 + 0.35 / 0.6745)).abs() < 1e-6, "{outliers}");
    assert!((number(&outliers["listed"][0]["score"]) - 0.6745 * 64.8 / 0.1).abs() < 0.001, "{outliers}");
    // All of its metrics, by name.
    let all = server.get_json(&format!("/api/v1/nodes/42/quality?{RANGE}"));
    assert_eq!((&all["metrics"][0]["metric"], &all["metrics"][1]["metric"]), (&json!("button"), &json!("temperature")));
    let button = &all["metrics"][0];
    assert_eq!(button["interval"]["kind"], "unknown");
    let reason = "too few readings: 2 times between readings in the range and the 7 days before it, 10 are needed";
    assert_eq!(button["interval"]["reason"], reason);
    assert_eq!((&button["coverage"], &button["gaps"]["count"]), (&Value::Null, &json!(0)));
    assert_eq!(button["stuck"]["constant"], true);
}

#[test]
fn what_is_listed_is_bounded_and_all_is_counted() {
    let server = Server::new();
    server.store.add_node(1, "hub", "n");
    server.store.add_series(1, 1, "m", None);
    // Each sixth is missing.
    let minutes = (0..600).filter(|m| m % 6 != 5);
    server.store.insert(&minutes.map(|m| row(T0 + m * 60 * SEC, 1, m as f64)).collect::<Vec<_>>());
    let path = "/api/v1/nodes/n/quality?start=2025-10-09T00:00:00Z&end=2025-10-09T10:00:00Z";
    let gaps = |path: &str| server.get_json(path)["metrics"][0]["gaps"].clone();
    let listed = |gaps: &Value| gaps["listed"].as_array().unwrap().len();
    let short = gaps(path);
    assert_eq!((&short["count"], listed(&short)), (&json!(100), 20));
    let long = gaps(&format!("{path}&limit=1000"));
    assert_eq!((&long["count"], listed(&long)), (&json!(100), 100));
}

#[test]
fn all_nodes_the_worst_first() {
    let server = house();
    let summary = server.get_json(&format!("/api/v1/quality?{RANGE}"));
    let names: Vec<&str> = summary["nodes"].as_array().unwrap().iter().map(|n| n["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["attic", "42", "bath"]);
    assert_eq!(
        summary["nodes"][1],
        json!({"node": "42", "source": "hub", "score_percent": 93.333, "worst_metric": "temperature",
            "coverage_percent": 95.0, "series": {"regular": 1, "irregular": 0, "unknown": 1, "silent": 0},
            "readings": 60, "expected": 60, "missing": 3, "gaps": 1, "outliers": 1, "stuck": 0,
            "duplicates": 11, "conflicts": 2, "clock_errors": 3})
    );
    assert_eq!(summary["nodes"][0]["series"]["silent"], 1);
    assert_eq!((&summary["nodes"][0]["score_percent"], &summary["nodes"][0]["missing"]), (&json!(0.0), &json!(60)));
    assert_eq!(summary["nodes"][2]["score_percent"], json!(100.0));
    let total = &summary["total"];
    assert_eq!((&total["expected"], &total["missing"], &total["readings"]), (&json!(180), &json!(63), &json!(120)));
    assert_eq!(total["coverage_percent"], json!(65.0));
    let one = server.get_json(&format!("/api/v1/quality?{RANGE}&limit=1"));
    assert_eq!((one["nodes"].as_array().unwrap().len(), &one["total"]), (1, total));
    assert_eq!(Server::new().get_json("/api/v1/quality")["nodes"], json!([]));
}

#[test]
fn what_a_person_knows_is_taken() {
    let section = |node: &str, interval| config::Quality { node: node.into(), interval, ..config::Quality::default() };
    let known = [
        section("attic", config::Interval::Irregular),
        config::Quality {
            max: Some(50.0),
            stuck: Some(Duration::from_secs(60)),
            ..section("hub/*", config::Interval::Every(Duration::from_secs(30)))
        },
    ];
    let rules = Rules::of(&known, "hub", "42", "temperature");
    assert_eq!(rules.interval, config::Interval::Every(Duration::from_secs(30)));
    let server = Server::knowing(&known);
    let s = &server.store;
    s.add_node(1, "hub", "42");
    s.add_series(10, 1, "temperature", None);
    s.add_node(2, "home", "attic");
    s.add_series(11, 2, "temperature", None);
    s.insert(&(0..60).map(|m| row(T0 + m * 60 * SEC, 10, if m < 58 { 20.0 } else { 51.0 })).collect::<Vec<_>>());
    let metric = server.get_json(&format!("/api/v1/nodes/42/quality?{RANGE}"))["metrics"][0].clone();
    assert_eq!(
        metric["interval"],
        json!({"kind": "configured", "seconds": 30.0, "spread_percent": null, "reason": null})
    );
    assert_eq!((&metric["coverage"]["present"], &metric["coverage"]["missing"]), (&json!(60), &json!(60)));
    assert_eq!(
        (&metric["outliers"]["method"], &metric["outliers"]["upper"], &metric["outliers"]["count"]),
        (&json!("limits"), &json!(50.0), &json!(2))
    );
    assert_eq!(metric["stuck"]["count"], 0, "there is a gap before each reading");
    let attic = server.get_json(&format!("/api/v1/nodes/attic/quality?{RANGE}"))["metrics"][0].clone();
    assert_eq!(
        (&attic["interval"]["reason"], &attic["score_percent"]),
        (&json!("configured as irregular"), &Value::Null)
    );
    let summary = server.get_json(&format!("/api/v1/quality?{RANGE}"));
    assert_eq!(summary["nodes"][0]["node"], "42");
}

#[test]
fn questions_that_are_not_understood_are_refused() {
    let server = house();
    let quality = "/api/v1/nodes/42/quality";
    for (path, status, code) in [
        (&*format!("{quality}?start=now&end=-1h"), 400, "bad-range"),
        (&*format!("{quality}?start=2025-10-09T00:00:00Z&end=2025-10-09T00:00:00Z"), 400, "bad-range"),
        (&*format!("{quality}?start=yesterday"), 400, "bad-parameter"),
        (&*format!("{quality}?limit=0"), 400, "bad-parameter"),
        (&*format!("{quality}?limit=1001"), 400, "bad-parameter"),
        (&*format!("{quality}?metrics=temperature"), 400, "unknown-parameter"),
        (&*format!("{quality}?metric=temperature&metric=pressure"), 404, "unknown-metric"),
        ("/api/v1/nodes/43/quality", 404, "unknown-node"),
        ("/api/v1/nodes/%ff/quality", 400, "bad-node"),
        ("/api/v1/quality?node=42", 400, "unknown-parameter"),
        ("/api/v1/quality?limit=1001", 400, "bad-parameter"),
        ("/api/v1/quality?start=now&end=now", 400, "bad-range"),
    ] {
        let (got, its_code, message) = server.error(path);
        assert_eq!((got, &*its_code), (status, code), "{path}: {message}");
    }
    // A range of a hundred years is none too long for what is there.
    let path = format!("{quality}?start=1950-01-01T00:00:00Z&end=2050-01-01T00:00:00Z&metric=temperature");
    assert_eq!(server.get_json(&path)["metrics"][0]["readings"], 57);
}
