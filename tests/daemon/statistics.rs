//! Statistics by the hour, by the day and over buckets, and charts, against what was sent: before and after the rollups are
//! made, while one of them is out of date, after a kill, and when the readings are gone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Europe::Berlin;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Daemon, Expected, Hub, Setup, now_micros, wait_within};
use crate::http::{micros, near, noise, quantile, refused, send};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// The numbers of some values in order of time.
fn check(row: &Value, values: &[f64]) {
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    let mean = sum / n;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(row["count"], values.len(), "{row}");
    for (name, value) in [
        ("min", sorted[0]),
        ("max", sorted[sorted.len() - 1]),
        ("mean", mean),
        ("sum", sum),
        ("first", values[0]),
        ("last", values[values.len() - 1]),
        ("p50", quantile(&sorted, 0.5)),
        ("p95", quantile(&sorted, 0.95)),
        ("p99", quantile(&sorted, 0.99)),
    ] {
        near(&row[name], value, name);
    }
    if values.len() > 1 {
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        near(&row["stddev"], deviation, "stddev");
    } else {
        assert_eq!(row["stddev"], Value::Null);
    }
}

fn local_date(ts: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(ts).expect("a time").with_timezone(&Berlin).date_naive().to_string()
}

/// All rows of a path, over all its pages.
fn rows(daemon: &Daemon, path: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = daemon.json(&format!("{path}{cursor}"));
        found.extend(page["rows"].as_array().expect("rows").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// What the daemon says of a node by the hour and by the day is what was sent, no more and no less.
fn check_node(daemon: &Daemon, node: &str, range: &str, sent: &[Expected]) {
    let mut sent: Vec<&Expected> = sent.iter().collect();
    sent.sort_by_key(|e| e.ts);
    let mut hours: BTreeMap<(i64, &str), Vec<f64>> = BTreeMap::new();
    let mut days: BTreeMap<(String, &str), Vec<f64>> = BTreeMap::new();
    for reading in sent {
        let ts = reading.ts.expect("a time");
        let hour = ts.div_euclid(HOUR * 1_000_000) * HOUR * 1_000_000;
        hours.entry((hour, &reading.metric)).or_default().push(reading.value);
        days.entry((local_date(ts), &reading.metric)).or_default().push(reading.value);
    }
    let found = rows(daemon, &format!("/api/v1/nodes/{node}/statistics/hourly?{range}&limit=37"));
    let keys: Vec<(i64, &str)> =
        found.iter().map(|r| (micros(&r["time"]), r["metric"].as_str().expect("a text"))).collect();
    assert_eq!(keys, hours.keys().copied().collect::<Vec<_>>());
    for (row, values) in found.iter().zip(hours.values()) {
        check(row, values);
    }
    let found = rows(daemon, &format!("/api/v1/nodes/{node}/statistics/daily?{range}&limit=2"));
    let keys: Vec<(String, &str)> = found
        .iter()
        .map(|r| (r["date"].as_str().expect("a text").to_owned(), r["metric"].as_str().expect("a text")))
        .collect();
    assert_eq!(keys, days.keys().cloned().collect::<Vec<_>>());
    for (row, values) in found.iter().zip(days.values()) {
        assert_eq!(local_date(micros(&row["time"])), row["date"].as_str().expect("a text"));
        assert_ne!(local_date(micros(&row["time"]) - 1), row["date"].as_str().expect("a text"), "the day begins there");
        check(row, values);
    }
}

fn start(port: &Hub, store: &str) -> Daemon {
    let daemon = Setup::new(&format!(
        "[store]\nflush-interval = \"200ms\"\n{store}\n[clock]\ntimezone = \"Europe/Berlin\"\n{}",
        port.section("json-lines", "")
    ))
    .start();
    daemon.wait_state("hub", "up");
    daemon
}

fn wait_days(daemon: &Daemon, until: i64) {
    let until = DateTime::<Utc>::from_timestamp(until, 0).expect("a time");
    wait_within("the days to be rolled up", 2 * DEADLINE, || {
        let shown = daemon.stats()["rollups"]["days_until"].as_str().and_then(|t| t.parse::<DateTime<Utc>>().ok());
        shown.is_some_and(|shown| shown >= until) && daemon.stat("/rollups/dirty") == 0
    });
}

#[test]
fn hours_and_days_are_those_of_what_was_sent_at_any_moment() {
    // From 2025-10-25T15:10:00Z on, over the night in which the clocks in Berlin are set back, and now.
    let from = 1_761_405_000;
    let now = now_micros() / 1_000_000 - 5;
    let range = format!("start={from}&end={}", from + 2 * DAY);
    let mut port = Hub::new();
    let mut daemon = start(&port, "");
    let mut sent = Vec::new();
    for i in 0..280 {
        sent.extend(send(&mut port, "hub", "n", "temperature", from + i * 600, &noise(1, 1 + i as u64)));
    }
    sent.extend(send(&mut port, "hub", "n", "humidity", from + 30 * HOUR - 20, &noise(40, 7)));
    let open = send(&mut port, "hub", "open", "v", now, &noise(5, 9));
    send(&mut port, "hub", "other", "temperature", from, &noise(50, 8));
    daemon.wait_stat("/readings/committed", 375);
    check_node(&daemon, "n", &range, &sent);
    // The hour that is open, which every further reading changes at once.
    let hour = format!("start=-1h&end={}", now + 2 * HOUR);
    check_node(&daemon, "open", &hour, &open);

    wait_days(&daemon, from + 2 * DAY);
    check_node(&daemon, "n", &range, &sent);
    check_node(&daemon, "open", &hour, &open);
    let made = |range: &str, more: &str| {
        daemon.json(&format!("/api/v1/statistics?node=n&{range}&aggregate=count,p95{more}"))["source"].clone()
    };
    assert_eq!(made(&range, "&bucket=1h"), "hourly");
    assert_eq!(made(&range, "&bucket=1d"), "daily");
    assert_eq!(made(&range, "&bucket=1d&exact=true"), "readings");

    // A late one: its hour and its day are out of date until they are computed again, and no answer shows it.
    sent.extend(send(&mut port, "hub", "n", "temperature", from + 20 * HOUR + 17, &[99.5]));
    daemon.wait_stat("/readings/committed", 376);
    check_node(&daemon, "n", &range, &sent);
    daemon.kill9();
    daemon.restart();
    check_node(&daemon, "n", &range, &sent);
    wait_within("the hour and the day to be made again", 2 * DEADLINE, || {
        daemon.stat("/rollups/days") >= 1 && daemon.stat("/rollups/dirty") == 0
    });
    check_node(&daemon, "n", &range, &sent);
}

#[test]
fn groups_and_buckets_are_those_of_what_was_sent() {
    // 2025-03-29T23:00:00Z, the beginning of a day of 23 hours.
    let from = 1_743_289_200;
    let mut port = Hub::new();
    let daemon = start(&port, "");
    let mut sent = Vec::new();
    for (i, (node, metric)) in
        [("a", "temperature"), ("a", "humidity"), ("b", "temperature"), ("c/d", "temperature")].into_iter().enumerate()
    {
        let start = from + i as i64 * HOUR;
        for part in 0..40 {
            let seed = (100 * i + part) as u64;
            sent.extend(send(&mut port, "hub", node, metric, start + part as i64 * 2 * HOUR, &noise(3, seed)));
        }
    }
    daemon.wait_stat("/readings/committed", sent.len() as u64);
    sent.sort_by_key(|e| e.ts);
    let all = "aggregate=count,min,max,mean,sum,stddev,first,last,p50,p95,p99";
    let of = |is: &dyn Fn(&Expected) -> bool| -> Vec<f64> { sent.iter().filter(|e| is(e)).map(|e| e.value).collect() };
    for rolled in [false, true] {
        if rolled {
            wait_days(&daemon, from + 4 * DAY);
        }
        for exact in ["", "&exact=true"] {
            // All of it in one, and by node.
            let range = format!("start={from}&end={}{exact}&limit=5", from + 5 * DAY);
            let one = rows(&daemon, &format!("/api/v1/statistics?{range}&group=none&{all}"));
            assert_eq!(one.len(), 1);
            check(&one[0], &of(&|_| true));
            let nodes = rows(&daemon, &format!("/api/v1/statistics?{range}&group=node&{all}"));
            let names: Vec<&str> = nodes.iter().map(|r| r["node"].as_str().expect("a text")).collect();
            assert_eq!(names, ["a", "b", "c/d"]);
            for row in &nodes {
                check(row, &of(&|e| row["node"] == *e.node));
            }
            // Local days by metric, the first of them of 23 hours.
            let days =
                rows(&daemon, &format!("/api/v1/statistics?{range}&bucket=1d&group=metric&metric=temperature&{all}"));
            let dates: Vec<&str> = days.iter().map(|r| r["date"].as_str().expect("a text")).collect();
            assert_eq!(dates, ["2025-03-30", "2025-03-31", "2025-04-01", "2025-04-02"]);
            assert_eq!(days[1]["time"], "2025-03-30T22:00:00Z");
            for row in &days {
                let date = row["date"].as_str().expect("a text");
                check(row, &of(&|e| e.metric == "temperature" && local_date(e.ts.expect("a time")) == date));
            }
            // Quarters of an hour of one series, the empty ones as well.
            let quarters = rows(
                &daemon,
                &format!(
                    "/api/v1/statistics?node=c%2Fd&start={from}&end={}{exact}&bucket=15m&fill=null&limit=10&{all}",
                    from + 6 * HOUR
                ),
            );
            assert_eq!(quarters.len(), 24);
            for row in &quarters {
                let begin = micros(&row["time"]);
                let within = of(&|e| e.node == "c/d" && (begin..begin + 900_000_000).contains(&e.ts.expect("a time")));
                if within.is_empty() {
                    assert_eq!((&row["count"], &row["mean"]), (&json!(0), &Value::Null));
                } else {
                    check(row, &within);
                }
            }
        }
    }
}

#[test]
fn when_the_readings_are_gone_the_rollups_answer() {
    // In the middle of a day, so that whole days are over their time, whatever it is now.
    let today = (now_micros() / 1_000_000).div_euclid(DAY) * DAY;
    let from = today - 8 * DAY;
    let mut port = Hub::new();
    let daemon = start(&port, "keep-readings = \"3d\"");
    let mut sent = Vec::new();
    for i in 0..(7 * 24) {
        sent.extend(send(&mut port, "hub", "n", "v", from + i * HOUR + 60, &noise(4, 5 + i as u64)));
    }
    daemon.wait_stat("/readings/committed", sent.len() as u64);
    let kept = DateTime::<Utc>::from_timestamp_micros(now_micros() - 3 * DAY * 1_000_000).expect("a time");
    let midnight = kept.with_timezone(&Berlin).date_naive().and_hms_opt(0, 0, 0).expect("a midnight");
    let removed_before = Berlin.from_local_datetime(&midnight).earliest().expect("it exists").timestamp_micros();
    wait_within("the old readings to go", 3 * DEADLINE, || {
        let before = daemon.stats()["removed"]["before"].clone();
        before.is_string() && micros(&before) == removed_before
    });
    let range = format!("start={}&end={}", from - DAY, today);
    check_node(&daemon, "n", &range, &sent);

    let before = daemon.stats()["removed"]["before"].clone();
    let week = daemon.json(&format!("/api/v1/statistics?{range}&bucket=1mo&aggregate=count,p50"));
    assert_eq!((&week["incomplete"], &week["removed_before"]), (&json!(["p50"]), &before), "{week}");
    let counts: u64 =
        week["rows"].as_array().expect("rows").iter().map(|r| r["count"].as_u64().expect("a count")).sum();
    assert_eq!(counts, sent.len() as u64);
    let quarters = daemon.json(&format!("/api/v1/statistics?{range}&bucket=15m&aggregate=count"));
    assert_eq!(quarters["start"], before);
    let left = sent.iter().filter(|e| e.ts.expect("a time") >= removed_before).count();
    let shown: u64 =
        quarters["rows"].as_array().expect("rows").iter().map(|r| r["count"].as_u64().expect("a count")).sum();
    assert_eq!(shown, left as u64);
    let gone = format!("/api/v1/statistics?start={}&end={}", from, from + DAY);
    assert!(refused(&daemon, &format!("{gone}&exact=true&bucket=1h"), 410, "removed").contains("exact=true"));
    assert!(refused(&daemon, &format!("{gone}&bucket=90s"), 410, "removed").contains("90s"));
    let chart = daemon.json(&format!("/api/v1/nodes/n/chart?{range}&points=5000"));
    assert_eq!((&chart["removed_before"], &chart["series"][0]["readings"]), (&before, &json!(left)));
    assert_eq!(chart["series"][0]["points"].as_array().expect("points").len(), left);
}

#[test]
fn charts_keep_the_peaks() {
    let from = 1_760_000_000;
    let mut port = Hub::new();
    let daemon = start(&port, "");
    let mut values = noise(5_000, 3);
    values[1_234] = 5_000.0;
    values[4_321] = -5_000.0;
    send(&mut port, "hub", "n", "v", from, &values);
    daemon.wait_stat("/readings/committed", 5_000);
    let range = format!("start={from}&end={}", from + 5_000);
    for method in ["minmax", "lttb"] {
        let chart = daemon.json(&format!("/api/v1/nodes/n/chart?{range}&metric=v&points=100&downsample={method}"));
        let series = &chart["series"][0];
        assert_eq!(series["readings"], 5_000);
        let points: Vec<(i64, f64)> = series["points"]
            .as_array()
            .expect("points")
            .iter()
            .map(|p| (micros(&p["time"]) / 1_000_000 - from, p["value"].as_f64().expect("a number")))
            .collect();
        assert!((90..=100).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|w| w[0].0 < w[1].0));
        for (at, value) in &points {
            assert_eq!(values[usize::try_from(*at).expect("an index")], *value, "each point is a reading");
        }
        assert!(points.contains(&(1_234, 5_000.0)) && points.contains(&(4_321, -5_000.0)), "{method}: {points:?}");
    }
    refused(&daemon, "/api/v1/nodes/n/chart?points=1", 400, "bad-parameter");
    refused(&daemon, "/api/v1/nodes/n/chart?metric=w", 404, "unknown-metric");
    refused(&daemon, "/api/v1/nodes/m/chart", 404, "unknown-node");
}

#[test]
fn wrong_questions_about_statistics_are_refused_with_a_reason() {
    let mut port = Hub::new();
    let daemon = start(&port, "");
    send(&mut port, "hub", "n", "v", 1_760_000_000, &[1.0]);
    daemon.wait_stat("/readings/committed", 1);
    let century = "start=1925-01-01T00:00:00Z&end=2025-01-01T00:00:00Z";
    for (query, status, code, names) in [
        ("bucket=0s".to_owned(), 400, "bad-parameter", "0s"),
        (format!("bucket=1s&{century}"), 400, "too-many-buckets", "3155760000"),
        ("metric=nothing".to_owned(), 404, "unknown-metric", "nothing"),
        ("node=nobody".to_owned(), 404, "unknown-node", "nobody"),
        ("aggregate=median".to_owned(), 400, "bad-parameter", "median"),
        ("fill=spline".to_owned(), 400, "bad-parameter", "spline"),
        ("bucket=1h&cursor=1".to_owned(), 400, "bad-cursor", "1"),
        (format!("bucket=1d&fill=previous&{century}"), 400, "too-many-rows", "36526 buckets"),
    ] {
        let message = refused(&daemon, &format!("/api/v1/statistics?{query}"), status, code);
        assert!(message.contains(names), "{message}");
    }
    // A century of days is no trouble.
    let days = rows(&daemon, &format!("/api/v1/statistics?bucket=1d&{}", century.replace("end=2025", "end=2026")));
    assert_eq!(days.len(), 1);
    assert_eq!((&days[0]["date"], &days[0]["mean"]), (&json!("2025-10-09"), &json!(1.0)));
}
