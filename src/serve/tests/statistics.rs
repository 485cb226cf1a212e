use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::*;
use crate::reading::{MAX_NAME, Timestamp};
use crate::serve::ANSWERS;
use crate::store::reader::fixture::row;
use crate::zone::HOUR;

/// 2025-10-25T22:00:00Z, where the day of 25 hours begins in Berlin.
const DAY0: i64 = 1_761_429_600_000_000;
const RANGE: &str = "start=2025-10-26T00:00:00Z&end=2025-10-27T12:00:00Z";

/// Two nodes: one with 0, 1, 2 .. at each of 30 hours and one humidity, another with two temperatures.
fn house() -> Server {
    let server = Server::new();
    let s = &server.store;
    s.add_node(1, "hub", "42");
    s.add_node(2, "home", "kitchen");
    s.add_series(10, 1, "temperature", Some("degC"));
    s.add_series(11, 1, "humidity", None);
    s.add_series(12, 2, "temperature", Some("degC"));
    let mut rows: Vec<_> = (0..30_i32).map(|i| row(DAY0 + i64::from(i) * HOUR, 10, f64::from(i))).collect();
    rows.push(row(DAY0 + 14 * HOUR + HOUR / 2, 11, 50.0));
    rows.push(row(DAY0 + 2 * HOUR, 12, -4.0));
    rows.push(row(DAY0 + 26 * HOUR, 12, -2.0));
    s.insert(&rows);
    server
}

/// As [`house`], with the rollups of what is over at 2025-10-27T00:30Z.
fn rolled() -> Server {
    let server = house();
    server.store.roll(Tz::Europe__Berlin, Timestamp(DAY0 + 26 * HOUR), Timestamp(DAY0 + 25 * HOUR));
    server
}

fn one(value: f64) -> Value {
    json!({"count": 1, "min": value, "max": value, "mean": value, "sum": value, "stddev": null, "first": value,
        "last": value, "p50": value, "p95": value, "p99": value})
}

fn with(mut object: Value, mut more: Value) -> Value {
    object.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    object
}

#[test]
fn days_of_23_to_25_hours_with_the_open_one() {
    for server in [house(), rolled()] {
        let got = server.get_json(&format!("/api/v1/nodes/42/statistics/daily?{RANGE}"));
        let day = json!({"time": "2025-10-25T22:00:00Z", "date": "2025-10-26"});
        let temperature = json!({"metric": "temperature", "unit": "degC"});
        same(
            &got,
            &json!({"node": "42", "source": "hub", "start": "2025-10-25T22:00:00Z", "end": "2025-10-27T23:00:00Z",
                "timezone": "Europe/Berlin", "rows": [
                    with(with(day.clone(), json!({"metric": "humidity", "unit": null})), one(50.0)),
                    with(with(day, temperature.clone()), json!({"count": 25, "min": 0.0, "max": 24.0, "mean": 12.0,
                        "sum": 300.0, "stddev": (25.0 * 26.0 / 12.0_f64).sqrt(), "first": 0.0, "last": 24.0, "p50": 12.0,
                        "p95": 22.8, "p99": 23.76})),
                    with(with(json!({"time": "2025-10-26T23:00:00Z", "date": "2025-10-27"}), temperature),
                        json!({"count": 5, "min": 25.0, "max": 29.0, "mean": 27.0, "sum": 135.0,
                            "stddev": 2.5_f64.sqrt(), "first": 25.0, "last": 29.0, "p50": 27.0, "p95": 28.8,
                            "p99": 28.96})),
                ], "next_cursor": null}),
        );
    }
}

#[test]
fn hours_are_paged() {
    let server = rolled();
    let got = server.get_json(&format!("/api/v1/nodes/42/statistics/hourly?{RANGE}&metric=humidity"));
    same(
        &got,
        &json!({"node": "42", "source": "hub", "start": "2025-10-26T00:00:00Z", "end": "2025-10-27T12:00:00Z", "rows": [
            with(json!({"time": "2025-10-26T12:00:00Z", "metric": "humidity", "unit": null}), one(50.0)),
        ], "next_cursor": null}),
    );
    // 28 hours with a temperature, and one with a humidity as well.
    let mut cursor = String::new();
    let mut rows = Vec::new();
    let mut pages = 0;
    loop {
        let page = server.get_json(&format!("/api/v1/nodes/42/statistics/hourly?{RANGE}&limit=5{cursor}"));
        let found = page["rows"].as_array().unwrap();
        assert!(found.len() <= 5, "{page:#}");
        rows.extend(found.clone());
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!((6..15).contains(&pages), "{pages}");
    let temperatures: Vec<f64> =
        rows.iter().filter(|r| r["metric"] == "temperature").map(|r| r["p50"].as_f64().unwrap()).collect();
    assert_eq!(temperatures, (2..30).map(f64::from).collect::<Vec<_>>());
    assert_eq!(rows.len(), 29);
}

#[test]
fn groups_buckets_and_what_they_are_made_from() {
    let server = rolled();
    let get = |query: &str| server.get_json(&format!("/api/v1/statistics?{query}"));
    let whole = get("start=2025-10-25T22:00:00Z&end=2025-10-26T23:00:00Z");
    let row = |node: &str, metric: &str, unit: Value, n: u64, (min, max, mean): (f64, f64, f64)| json!({"node": node, "metric": metric, "unit": unit, "count": n, "min": min, "max": max, "mean": mean});
    same(
        &whole,
        &json!({"start": "2025-10-25T22:00:00Z", "end": "2025-10-26T23:00:00Z", "bucket": null,
            "timezone": "Europe/Berlin", "source": "daily", "rows": [
                row("42", "humidity", json!(null), 1, (50.0, 50.0, 50.0)),
                row("42", "temperature", json!("degC"), 25, (0.0, 24.0, 12.0)),
                row("kitchen", "temperature", json!("degC"), 1, (-4.0, -4.0, -4.0)),
            ], "next_cursor": null}),
    );
    let exact = get("start=2025-10-25T22:00:00Z&end=2025-10-26T23:00:00Z&exact=true");
    assert_eq!(exact["source"], "readings");
    same(&exact["rows"], &whole["rows"]);
    // By metric, where the temperatures are of two nodes; the unit is that of all of them.
    let metrics =
        get("start=2025-10-25T22:00:00Z&end=2025-10-26T01:00:00Z&bucket=1h&group=metric&aggregate=sum,count,last");
    same(
        &metrics,
        &json!({"start": "2025-10-25T22:00:00Z", "end": "2025-10-26T01:00:00Z", "bucket": "1h",
            "timezone": "Europe/Berlin", "source": "readings", "rows": [
                {"time": "2025-10-25T22:00:00Z", "metric": "temperature", "unit": "degC", "sum": 0.0, "count": 1, "last": 0.0},
                {"time": "2025-10-25T23:00:00Z", "metric": "temperature", "unit": "degC", "sum": 1.0, "count": 1, "last": 1.0},
                {"time": "2025-10-26T00:00:00Z", "metric": "temperature", "unit": "degC", "sum": -2.0, "count": 2, "last": -4.0},
            ], "next_cursor": null}),
    );
    let together =
        get("start=2025-10-25T22:00:00Z&end=2025-10-27T22:00:00Z&bucket=1mo&group=none&aggregate=count&aggregate=p50");
    same(
        &together,
        &json!({"start": "2025-09-30T22:00:00Z", "end": "2025-10-31T23:00:00Z", "bucket": "1mo",
            "timezone": "Europe/Berlin", "source": "readings", "rows": [
                {"time": "2025-09-30T22:00:00Z", "date": "2025-10-01", "unit": null, "count": 33, "p50": 14.0},
            ], "next_cursor": null}),
    );
    let nodes = get(
        "start=2025-10-25T22:00:00Z&end=2025-10-27T22:00:00Z&bucket=7d&group=node&aggregate=count&node=kitchen&node=42",
    );
    let counts: Vec<(&str, &str, u64)> = nodes["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["date"].as_str().unwrap(), r["node"].as_str().unwrap(), r["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        counts,
        [("2025-10-20", "42", 26), ("2025-10-20", "kitchen", 1), ("2025-10-27", "42", 5), ("2025-10-27", "kitchen", 1)]
    );
    assert_eq!(nodes["source"], "mixed");
    assert!(nodes["rows"][0].get("metric").is_none());
}

#[test]
fn empty_buckets_are_filled() {
    let server = rolled();
    let column = |fill: &str| -> Vec<Value> {
        let got = server.get_json(&format!(
            "/api/v1/statistics?node=kitchen&start=2025-10-25T22:00:00Z&end=2025-10-27T05:00:00Z&bucket=6h&fill={fill}&aggregate=count,mean"
        ));
        got["rows"].as_array().unwrap().iter().map(|r| r["mean"].clone()).collect()
    };
    // Buckets of six hours from 18:00 on: the readings are in the second and the sixth.
    assert_eq!(column("none"), [json!(-4.0), json!(-2.0)]);
    let null = json!(null);
    let (a, b) = (json!(-4.0), json!(-2.0));
    let all = |fill: &str, empty: [&Value; 5]| {
        let [e0, e1, e2, e3, e4] = empty.map(Clone::clone);
        assert_eq!(column(fill), [e0, a.clone(), e1, e2, e3, b.clone(), e4][..6], "{fill}");
    };
    all("null", [&null; 5]);
    all("zero", [&json!(0.0); 5]);
    all("previous", [&null, &a, &a, &a, &b]);
    all("linear", [&null, &json!(-3.5), &json!(-3.0), &json!(-2.5), &null]);
    // Pages of what is filled are those of the whole.
    let page = |cursor: &str| {
        server.get_json(&format!(
            "/api/v1/statistics?node=kitchen&start=2025-10-25T22:00:00Z&end=2025-10-27T05:00:00Z&bucket=6h&fill=linear\
             &aggregate=mean&limit=2{cursor}"
        ))
    };
    let mut shown = Vec::new();
    let mut cursor = String::new();
    for _ in 0..3 {
        let got = page(&cursor);
        shown.extend(got["rows"].as_array().unwrap().iter().map(|r| r["mean"].clone()));
        cursor = got["next_cursor"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    assert_eq!((shown, cursor.as_str()), (column("linear"), ""));
}

#[test]
fn what_was_removed_is_said() {
    let server = rolled();
    server.store.expire(Timestamp(DAY0 + 25 * HOUR));
    // Hours and days live on in the rollups; the readings are from the beginning of 27 October in Berlin on.
    let kept = "start=2025-10-26T23:00:00Z&end=2025-10-27T12:00:00Z";
    let daily = server.get_json(&format!("/api/v1/nodes/42/statistics/daily?{kept}&metric=temperature"));
    assert_eq!(daily["removed_before"], json!(null), "{daily:#}");
    let start = "start=2025-10-25T00:00:00Z&end=2025-10-27T12:00:00Z";
    let daily = server.get_json(&format!("/api/v1/nodes/42/statistics/daily?{start}&metric=temperature"));
    assert_eq!(daily["removed_before"], "2025-10-26T23:00:00Z");
    assert_eq!((&daily["rows"][0]["count"], &daily["rows"][0]["p50"]), (&json!(25), &json!(12.0)));
    // A week's percentile needs all readings of the week.
    let weeks = format!("/api/v1/statistics?node=42&metric=temperature&{start}&bucket=7d&aggregate=count,p95,max");
    let weeks = server.get_json(&weeks);
    assert_eq!(weeks["incomplete"], json!(["p95"]));
    assert_eq!(weeks["rows"][0]["count"], 25);
    assert_eq!(weeks["rows"][0]["p95"], json!(null));
    assert_eq!(weeks["rows"][0]["max"], 24.0);
    assert_eq!(weeks["rows"][1]["p95"], 28.8);
    // Quarters of an hour are known from the readings alone, so they begin there.
    let quarters =
        server.get_json(&format!("/api/v1/statistics?metric=temperature&node=42&{start}&bucket=15m&aggregate=min"));
    assert_eq!((&quarters["start"], &quarters["rows"][0]["min"]), (&json!("2025-10-26T23:00:00Z"), &json!(25.0)));
    assert_eq!(quarters["removed_before"], "2025-10-26T23:00:00Z");
    assert_eq!(
        server.error("/api/v1/statistics?start=2025-10-25T00:00:00Z&end=2025-10-25T23:00:00Z&bucket=15m"),
        (
            410,
            "removed".into(),
            "readings before 2025-10-26T23:00:00Z were removed: the first bucket of 15m that is known \
            begins at 2025-10-26T23:00:00Z"
                .into()
        )
    );
    assert_eq!(
        server.error("/api/v1/statistics?start=2025-10-25T00:00:00Z&end=2025-10-25T23:00:00Z&bucket=1h&exact=true"),
        (
            410,
            "removed".into(),
            "readings before 2025-10-26T23:00:00Z were removed: exact=true needs them; ask for a later \
            range, or without it"
                .into()
        )
    );
    assert_eq!(
        server.error("/api/v1/statistics?start=2025-10-25T22:30:00Z&end=2025-10-27T00:00:00Z").2,
        "readings before 2025-10-26T23:00:00Z were removed: of that time only whole hours or days are known; let start and end \
         be the beginnings of some, or ask with bucket="
    );
    assert_eq!(
        server.error("/api/v1/statistics?start=2025-10-25T22:00:00Z&end=2025-10-27T00:00:00Z&exact=true").0,
        410
    );
    // Statistics of a node: what the rollups tell, and nothing that they do not.
    let whole = "start=2025-10-25T22:00:00Z&end=2025-10-27T04:00:00Z&metric=temperature";
    same(
        &server.get_json(&format!("/api/v1/nodes/42/statistics?{whole}")),
        &json!({"node": "42", "source": "hub", "start": "2025-10-25T22:00:00Z", "end": "2025-10-27T04:00:00Z",
            "removed_before": "2025-10-26T23:00:00Z", "metrics": [{"metric": "temperature", "unit": "degC", "count": 30,
                "min": 0.0, "max": 29.0, "mean": 14.5, "stddev": (30.0 * 31.0 / 12.0_f64).sqrt(), "p50": null, "p95": null,
                "p99": null, "first": null, "last": "2025-10-27T03:00:00Z"}]}),
    );
    let kitchen =
        server.get_json("/api/v1/nodes/kitchen/statistics?start=2025-10-26T22:00:00Z&end=2025-10-27T04:00:00Z");
    assert_eq!(kitchen["metrics"][0]["p50"], -2.0, "all of its readings are there: {kitchen:#}");
    assert_eq!(
        server.error("/api/v1/nodes/42/statistics?start=2025-10-25T22:30:00Z&end=2025-10-26T23:00:00Z").1,
        "removed"
    );
}

#[test]
fn bad_questions_about_statistics() {
    let server = house();
    let width = "expected a number and a unit (s, m, h, d, w, mo, y) from 1s to 100y, such as 15m, 1h, 1d, 7d or 1mo";
    for (query, status, code, message) in [
        ("bucket=0s", 400, "bad-parameter", format!("parameter bucket: got \"0s\", {width}")),
        ("bucket=hour", 400, "bad-parameter", format!("parameter bucket: got \"hour\", {width}")),
        (
            "bucket=1s&start=1925-01-01T00:00:00Z&end=2025-01-01T00:00:00Z",
            400,
            "too-many-buckets",
            "3155760000 buckets of 1s from 1925-01-01T00:00:00Z to 2025-01-01T00:00:00Z: expected at most 1000000; ask for \
             wider buckets or a shorter range"
                .into(),
        ),
        ("node=9", 404, "unknown-node", "there is no node \"9\"; GET /api/v1/nodes lists them all".into()),
        ("metric=rain", 404, "unknown-metric", "no node has a metric \"rain\"".into()),
        (
            "node=42&metric=rain&bucket=1h",
            404,
            "unknown-metric",
            "node \"42\" does not have a metric \"rain\"".into(),
        ),
        (
            "aggregate=mean,median",
            400,
            "bad-parameter",
            "parameter aggregate: got \"median\", expected one of count, min, max, mean, sum, stddev, first, last, p50, \
             p95, p99"
                .into(),
        ),
        (
            "fill=nothing",
            400,
            "bad-parameter",
            "parameter fill: got \"nothing\", expected one of none, null, previous, zero, linear".into(),
        ),
        (
            "group=source",
            400,
            "bad-parameter",
            "parameter group: got \"source\", expected none, node, metric, or node,metric".into(),
        ),
        (
            "group=node,none",
            400,
            "bad-parameter",
            "parameter group: got \"none\", expected none, node, metric, or node,metric".into(),
        ),
        ("exact=yes", 400, "bad-parameter", "parameter exact: got \"yes\", expected true or false".into()),
        ("limit=10001", 400, "bad-parameter", "parameter limit: got \"10001\", expected a number from 1 to 10000".into()),
        (
            "start=20&end=20",
            400,
            "bad-range",
            "start (1970-01-01T00:00:20Z) has to be before end (1970-01-01T00:00:20Z)".into(),
        ),
        (
            "bucket=1h&cursor=1761429600000001",
            400,
            "bad-cursor",
            "parameter cursor: \"1761429600000001\" is not a cursor that an earlier answer to the same question has given"
                .into(),
        ),
        (
            "cursor=1761429600000000",
            400,
            "bad-cursor",
            "parameter cursor: \"1761429600000000\" is not a cursor that an earlier answer to the same question has given"
                .into(),
        ),
        (
            "bucket=1m&fill=linear&start=2025-10-01T00:00:00Z&end=2025-10-08T00:00:00Z",
            400,
            "too-many-rows",
            "10080 buckets of 3 groups, all of which this fill looks at: expected at most 10000 together".into(),
        ),
        (
            "interval=1h",
            400,
            "unknown-parameter",
            "unknown parameter \"interval\", expected one of node, metric, start, end, bucket, group, aggregate, fill, \
             exact, limit, cursor"
                .into(),
        ),
    ] {
        assert_eq!(server.error(&format!("/api/v1/statistics?{query}")), (status, code.into(), message), "{query}");
    }
    for path in ["hourly", "daily"] {
        assert_eq!(server.error(&format!("/api/v1/nodes/9/statistics/{path}")).1, "unknown-node");
        assert_eq!(server.error(&format!("/api/v1/nodes/42/statistics/{path}?metric=rain")).1, "unknown-metric");
        assert_eq!(server.error(&format!("/api/v1/nodes/42/statistics/{path}?bucket=1h")).1, "unknown-parameter");
    }
    let hours = server.error("/api/v1/nodes/42/statistics/hourly?start=1800-01-01T00:00:00Z");
    assert_eq!((hours.0, hours.1.as_str()), (400, "too-many-buckets"));
}

/// A node with a value each second for three hours.
fn busy(limits: Limits, name: &str) -> Server {
    let server = Server::with(limits, &loopback(), Patience::default());
    server.store.add_node(1, "hub", name);
    server.store.add_series(1, 1, name, None);
    let rows: Vec<_> = (0..10_800_i32).map(|i| row(DAY0 + i64::from(i) * 1_000_000, 1, f64::from(i))).collect();
    server.store.insert(&rows);
    server
}

const SECONDS: &str = "/api/v1/statistics?start=2025-10-25T22:00:00Z&end=2025-10-26T01:00:00Z&bucket=1s&limit=10000";

#[test]
fn ten_thousand_rows_and_the_rest_of_them() {
    let server = busy(Limits::default(), "n");
    let first = server.get_json(SECONDS);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = server.get_json(&format!("{SECONDS}&cursor={cursor}"));
    assert_eq!(rest["next_cursor"], json!(null));
    let values: Vec<f64> = [&first, &rest]
        .iter()
        .flat_map(|page| page["rows"].as_array().unwrap().iter().map(|r| r["mean"].as_f64().unwrap()))
        .collect();
    assert_eq!(first["rows"].as_array().unwrap().len(), 10_000);
    assert_eq!(values, (0..10_800).map(f64::from).collect::<Vec<_>>());
    // Most seconds of three weeks are empty: they are gone through in one page.
    let weeks = SECONDS.replace("2025-10-25T22", "2025-10-16T01");
    assert_eq!(server.get_json(&weeks)["rows"].as_array().unwrap().len(), 10_000);
}

#[test]
fn answers_that_nobody_takes_are_no_more_than_four() {
    // Rows long enough for more than the kernel buffers.
    let name = "n".repeat(MAX_NAME);
    let server = busy(Limits { wait: Duration::from_millis(50), ..Limits::default() }, &name);
    let all = format!("{SECONDS}&aggregate=count,min,max,mean,sum,stddev,first,last,p50,p95,p99");
    let stuck: Vec<TcpStream> = (0..ANSWERS)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            write!(stream, "GET {all} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            // Its answer has begun.
            let mut begun = [0; 15];
            stream.read_exact(&mut begun).unwrap();
            assert_eq!(&begun, b"HTTP/1.1 200 OK");
            stream
        })
        .collect();
    let answer = server.get(&all);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    assert_eq!(server.get(&format!("/api/v1/nodes/{name}/latest")).status, 200);
    drop(stuck);
    // The server notices when it writes.
    let begun = std::time::Instant::now();
    while server.get(&all).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the room is not given back");
    }
}

#[test]
fn a_page_may_be_empty_before_the_last_one() {
    let server = house();
    // More groups than a page has rows: still a bucket at a time.
    let query = "/api/v1/statistics?start=2025-10-25T22:00:00Z&end=2025-10-26T02:00:00Z&bucket=1h&limit=1&fill=null";
    let mut cursor = String::new();
    let mut sizes = Vec::new();
    loop {
        let page = server.get_json(&format!("{query}{cursor}"));
        sizes.push(page["rows"].as_array().unwrap().len());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(sizes, [3; 4]);
    // A range of a century, of which a day is known: its rows, page by page.
    let all =
        "/api/v1/statistics?start=1926-01-01T00:00:00Z&end=2027-01-01T00:00:00Z&bucket=1h&aggregate=count&group=none";
    let whole = server.get_json(&format!("{all}&limit=10000"));
    let whole = whole["rows"].as_array().unwrap();
    let mut shown = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get_json(&format!("{all}&limit=2{cursor}"));
        let rows = page["rows"].as_array().unwrap();
        assert!(rows.len() <= 2);
        shown.extend(rows.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(whole.len() > 2, "{whole:?}");
    assert_eq!(&shown, whole);
    let nothing = server.get_json("/api/v1/statistics?start=2020-01-01T00:00:00Z&end=2021-01-01T00:00:00Z&bucket=1d");
    assert_eq!((&nothing["rows"], &nothing["next_cursor"]), (&json!([]), &json!(null)));
    let empty = Server::new();
    assert_eq!(empty.get_json("/api/v1/statistics?bucket=1h")["rows"], json!([]));
}
