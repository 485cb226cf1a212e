//! The LoRa hub's line protocol, end to end.

use std::time::{Duration, Instant};

use crate::harness::{
    DEADLINE, Daemon, Expected, Hub, Record, assert_exactly, expected, now_micros, secs_ago, wait_for,
};

const DEVICE: u64 = 11_529_215_046_068_469_763;
const OTHER: u64 = 11_529_215_046_068_469_764;

fn start() -> (Hub, Daemon, i64) {
    start_with("")
}

fn start_with(more: &str) -> (Hub, Daemon, i64) {
    let mut hub = Hub::new();
    let since = now_micros();
    let daemon = Daemon::start(&hub.section("hub-lines", more));
    hub.wait_answered();
    (hub, daemon, since)
}

fn record(time: i64, temp: i64, hum: i64) -> Record {
    Record { time, temp, hum, flags: 0 }
}

fn all(device: u64, records: &[Record]) -> Vec<Expected> {
    records.iter().flat_map(|r| r.expected("hub", device)).collect()
}

fn node(device: u64) -> String {
    device.to_string()
}

#[test]
fn the_worked_example_is_stored_and_acknowledged() {
    let (mut hub, mut daemon, since) = start();
    hub.send("SENSOR_BATCH 3 11529215046068469763 2");
    hub.send("SENSOR_RECORD 3 11529215046068469763 1760000000 2150 4875 0");
    hub.send("SENSOR_RECORD 3 11529215046068469763 1760000030 2153 4870 0");
    hub.send("BATCH_COMPLETE 3 11529215046068469763 2");
    hub.expect_ack("BATCH_ACK 3 2 0");
    let stored = daemon.finish();
    let node = "11529215046068469763";
    assert_exactly(
        &stored,
        since,
        &[
            expected("hub", node, "temperature", 1_760_000_000_000_000, 21.50),
            expected("hub", node, "humidity", 1_760_000_000_000_000, 48.75),
            expected("hub", node, "flags", 1_760_000_000_000_000, 0.0),
            expected("hub", node, "temperature", 1_760_000_030_000_000, 21.53),
            expected("hub", node, "humidity", 1_760_000_030_000_000, 48.70),
            expected("hub", node, "flags", 1_760_000_030_000_000, 0.0),
        ],
    );
    for row in &stored.rows {
        let unit = match row.metric.as_str() {
            "temperature" => Some("degC"),
            "humidity" => Some("%RH"),
            _ => None,
        };
        assert_eq!(row.unit.as_deref(), unit, "{row:?}");
    }
    assert_eq!(stored.dead, []);
    assert_eq!(stored.unsynced, []);
    assert!(stored.commits >= 1);
}

#[test]
fn lines_may_end_in_carriage_return_and_blanks() {
    let (mut hub, mut daemon, since) = start();
    let records = [record(1_760_000_000, -550, 10_000)];
    hub.send_bytes(
        format!(
            "SENSOR_BATCH 3 {DEVICE} 1 \r\nSENSOR_RECORD 3 {DEVICE} 1760000000 -550 10000 0\r\n\
             BATCH_COMPLETE 3 {DEVICE} 1  \r\n"
        )
        .as_bytes(),
    );
    hub.expect_ack("BATCH_ACK 3 1 0");
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &records));
}

#[test]
fn heartbeats_and_live_readings_are_stamped_at_arrival() {
    let (mut hub, mut daemon, since) = start();
    hub.send(&format!("HEARTBEAT 3 {DEVICE} 87 5 -71 123456 42"));
    // Old firmware does not say how many records are pending.
    hub.send(&format!("HEARTBEAT 4 {OTHER} 100 0 -120 1"));
    hub.send(&format!("SENSOR_DATA 3 {DEVICE} TEMP -1234"));
    hub.send(&format!("SENSOR_DATA 3 {DEVICE} HUM 9999"));
    daemon.wait_stat("/readings/committed", 11);
    let stored = daemon.finish();
    let (node, other) = (node(DEVICE), node(OTHER));
    assert_exactly(
        &stored,
        since,
        &[
            expected("hub", &node, "battery", None, 87.0),
            expected("hub", &node, "errors", None, 5.0),
            expected("hub", &node, "rssi", None, -71.0),
            expected("hub", &node, "uptime", None, 123_456.0),
            expected("hub", &node, "pending", None, 42.0),
            expected("hub", &other, "battery", None, 100.0),
            expected("hub", &other, "errors", None, 0.0),
            expected("hub", &other, "rssi", None, -120.0),
            expected("hub", &other, "uptime", None, 1.0),
            expected("hub", &node, "temperature", None, -12.34),
            expected("hub", &node, "humidity", None, 99.99),
        ],
    );
    assert_eq!(stored.dead, []);
}

#[test]
fn live_readings_of_one_instant_are_all_kept() {
    let (mut hub, mut daemon, since) = start();
    // One write: they may well be read at once and have one arrival.
    let lines: String = (0..200).map(|i| format!("SENSOR_DATA 3 {DEVICE} TEMP {i}\n")).collect();
    hub.send_bytes(lines.as_bytes());
    daemon.wait_stat("/readings/committed", 200);
    let stored = daemon.finish();
    let expected: Vec<Expected> =
        (0..200).map(|i| expected("hub", &node(DEVICE), "temperature", None, f64::from(i) / 100.0)).collect();
    assert_exactly(&stored, since, &expected);
    // The order of the line is the order of the times.
    let values: Vec<f64> = stored.rows.iter().map(|r| r.value).collect();
    assert_eq!(values, (0..200).map(|i| f64::from(i) / 100.0).collect::<Vec<_>>());
}

#[test]
fn events_are_kept_with_their_time() {
    let (mut hub, mut daemon, since) = start();
    hub.send(&format!("EVENT 3 {DEVICE} 17 deadbeef"));
    hub.send(&format!("EVENT 3 {DEVICE} 18"));
    hub.send(&format!("EVENT_LOG 3 {DEVICE} 1760000000 4 2 771"));
    hub.send(&format!("EVENT_LOG 3 {DEVICE} 1760000001234 5 1 772"));
    hub.send(&format!("SENSOR_DATA 3 {DEVICE} 9 01ff"));
    // Something that is seen in /stats, behind the events on the same line.
    hub.send(&format!("SENSOR_DATA 3 {DEVICE} TEMP 1"));
    daemon.wait_stat("/readings/committed", 1);
    let stored = daemon.finish();
    let until = now_micros();
    assert_eq!(stored.dead, []);
    assert_eq!(stored.events.len(), 5, "{:?}", stored.events);
    assert!(stored.events.iter().all(|e| e.source == "hub" && e.node == node(DEVICE)), "{:?}", stored.events);
    let of = |parts: &[&str]| {
        let found: Vec<_> =
            stored.events.iter().filter(|e| parts.iter().all(|p| words(&e.data).any(|w| w == *p))).collect();
        assert_eq!(found.len(), 1, "one event with {parts:?} in {:?}", stored.events);
        found[0].clone()
    };
    let live = |ts: i64| (since..=until).contains(&ts);
    assert!(live(of(&["17", "deadbeef"]).ts));
    assert!(live(of(&["18"]).ts));
    assert!(live(of(&["9", "01ff"]).ts));
    assert_eq!(of(&["4", "2", "771"]).ts, 1_760_000_000_000_000);
    assert_eq!(of(&["5", "1", "772"]).ts, 1_760_000_001_234_000);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty())
}

#[test]
fn a_hub_that_asks_gets_the_local_time() {
    let (mut hub, mut daemon, _) = start();
    for question in ["HUB_READY", "GET_DATETIME"] {
        // Answers to the questions of the start may still be under way: each one has to be right all the same.
        hub.clear();
        hub.send(question);
        let answer = hub.next_line(DEADLINE, "").expect("an answer");
        let now = chrono::Local::now();
        let text = answer.strip_prefix("DATETIME ").unwrap_or_else(|| panic!("not a DATETIME: {answer}"));
        assert_eq!(text.len(), "2025-10-09 08:53:20 4".len(), "{answer}");
        let (time, weekday) = text.rsplit_once(' ').expect("three fields");
        let time = chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").expect("date and time");
        let apart = (now.naive_local() - time).num_seconds().abs();
        assert!(apart <= 2, "{answer} is {apart} s from {now}");
        assert_eq!(weekday, time.format("%w").to_string(), "{answer}");
    }
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_resent_batch_is_stored_once_and_acknowledged_again() {
    let (mut hub, mut daemon, since) = start();
    let records = [record(1_760_000_000, 2150, 4875), record(1_760_000_030, 2153, 4870)];
    for _ in 0..3 {
        hub.send_batch(3, DEVICE, &records);
        hub.expect_ack("BATCH_ACK 3 2 0");
    }
    // Twice before the first is answered: both copies are in one commit, or in two.
    hub.send_batch(3, DEVICE, &[record(1_760_000_060, 1, 2)]);
    hub.send_batch(3, DEVICE, &[record(1_760_000_060, 1, 2)]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    hub.expect_ack("BATCH_ACK 3 1 0");
    assert_eq!(daemon.stat("/readings/committed"), 9);
    assert_eq!(daemon.stat("/readings/duplicate"), 6 + 6 + 3);
    let stored = daemon.finish();
    let records = [records[0], records[1], record(1_760_000_060, 1, 2)];
    assert_exactly(&stored, since, &all(DEVICE, &records));
    assert_eq!(stored.dead, []);
}

#[test]
fn a_batch_that_is_resent_after_a_restart_is_stored_once() {
    let (mut hub, mut daemon, since) = start();
    let records: Vec<Record> = (0..100).map(|i| record(1_760_000_000 + i * 30, 2000 + i, 4000 - i)).collect();
    hub.send_batch(3, DEVICE, &records);
    hub.expect_ack("BATCH_ACK 3 100 0");
    daemon.kill9();
    daemon.restart();
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &records);
    hub.expect_ack("BATCH_ACK 3 100 0");
    // Older than all that is stored, between it, and newer.
    let more = [record(1_759_999_000, 1, 1), record(1_760_000_015, 2, 2), record(1_760_100_000, 3, 3)];
    hub.send_batch(3, DEVICE, &more);
    hub.expect_ack("BATCH_ACK 3 3 0");
    assert_exactly(&daemon.finish(), since, &[all(DEVICE, &records), all(DEVICE, &more)].concat());
}

#[test]
fn a_batch_with_fewer_records_is_refused_and_the_rest_stored() {
    let (mut hub, mut daemon, since) = start();
    let records = [record(1_760_000_000, 2150, 4875), record(1_760_000_030, 2153, 4870)];
    hub.send(&format!("SENSOR_BATCH 3 {DEVICE} 3"));
    for r in &records {
        hub.send(&format!("SENSOR_RECORD 3 {DEVICE} {} {} {} 0", r.time, r.temp, r.hum));
    }
    hub.send(&format!("BATCH_COMPLETE 3 {DEVICE} 3"));
    hub.expect_ack("BATCH_ACK 3 3 1");
    // The node sends the whole batch again.
    let whole = [records[0], records[1], record(1_760_000_060, 2160, 4860)];
    hub.send_batch(3, DEVICE, &whole);
    hub.expect_ack("BATCH_ACK 3 3 0");
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &whole));
}

#[test]
fn a_doubled_line_does_not_make_up_for_a_lost_one() {
    let (mut hub, mut daemon, since) = start();
    let records = [record(1_760_000_000, 2150, 4875), record(1_760_000_030, 2153, 4870)];
    hub.send(&format!("SENSOR_BATCH 3 {DEVICE} 2"));
    for _ in 0..2 {
        hub.send(&format!("SENSOR_RECORD 3 {DEVICE} 1760000000 2150 4875 0"));
    }
    hub.send(&format!("BATCH_COMPLETE 3 {DEVICE} 2"));
    hub.expect_ack("BATCH_ACK 3 2 1");
    hub.send_batch(3, DEVICE, &records);
    hub.expect_ack("BATCH_ACK 3 2 0");
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &records));
}

#[test]
fn records_without_their_batch_line_count() {
    let (mut hub, mut daemon, since) = start();
    let records = [record(1_760_000_000, 2150, 4875), record(1_760_000_030, 2153, 4870)];
    for r in &records {
        hub.send(&format!("SENSOR_RECORD 3 {DEVICE} {} {} {} 0", r.time, r.temp, r.hum));
    }
    hub.send(&format!("BATCH_COMPLETE 3 {DEVICE} 2"));
    hub.expect_ack("BATCH_ACK 3 2 0");
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &records));
}

#[test]
fn a_batch_may_start_before_the_last_one_ended() {
    let (mut hub, mut daemon, since) = start();
    let (cut, whole) = (record(1_760_000_000, 2150, 4875), record(1_760_000_030, 2153, 4870));
    hub.send(&format!("SENSOR_BATCH 3 {DEVICE} 2"));
    hub.send(&format!("SENSOR_RECORD 3 {DEVICE} 1760000000 2150 4875 0"));
    hub.send_batch(3, DEVICE, &[whole]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    // And one of another node.
    hub.send(&format!("SENSOR_BATCH 3 {DEVICE} 5"));
    let other = record(1_760_000_060, -1, 0);
    hub.send_batch(4, OTHER, &[other]);
    hub.expect_ack("BATCH_ACK 4 1 0");
    assert_exactly(&daemon.finish(), since, &[all(DEVICE, &[cut, whole]), all(OTHER, &[other])].concat());
}

#[test]
fn a_merged_line_loses_its_broken_head_only() {
    let (mut hub, mut daemon, since) = start();
    hub.send(&format!("SENSOR_BATCH 3 {DEVICE} 1"));
    hub.send(&format!("SENSOR_RECORD 3 1SENSOR_BATCH 4 {OTHER} 1"));
    hub.send(&format!("SENSOR_RECORD 4 {OTHER} 1760000000 2150 4875 7"));
    hub.send(&format!("BATCH_COMPLETE 4 {OTHER} 1"));
    hub.expect_ack("BATCH_ACK 4 1 0");
    hub.send(&format!("BATCH_COMPLETE 3 {DEVICE} 1"));
    hub.expect_ack("BATCH_ACK 3 1 1");
    assert!(daemon.stat("/readings/dead") >= 1, "the head is counted");
    let stored = daemon.finish();
    assert_exactly(
        &stored,
        since,
        &Record { time: 1_760_000_000, temp: 2150, hum: 4875, flags: 7 }.expected("hub", OTHER),
    );
    let dead = stored.dead_for("malformed");
    assert_eq!(dead.len(), 1, "{:?}", stored.dead);
    assert_eq!(dead[0].source, "hub");
    assert!(dead[0].excerpt.starts_with(b"SENSOR_RECORD 3 1"), "{:?}", dead[0]);
}

#[test]
fn an_unregistered_node_is_refused_and_never_stored() {
    let (mut hub, mut daemon, since) = start();
    hub.send_batch(3, 0, &[record(1_760_000_000, 2150, 4875)]);
    hub.expect_ack("BATCH_ACK 3 1 1");
    hub.send("HEARTBEAT 3 0 87 0 -71 5 0");
    hub.send("SENSOR_DATA 3 0 TEMP 2150");
    hub.send("EVENT 3 0 1 00");
    hub.send("EVENT_LOG 3 0 1760000000 1 1 1");
    hub.send_batch(4, OTHER, &[record(1_760_000_000, 1, 2)]);
    hub.expect_ack("BATCH_ACK 4 1 0");
    assert!(daemon.reason("dead", "unregistered") >= 4, "{}", daemon.stats());
    let stored = daemon.finish();
    assert_exactly(&stored, since, &all(OTHER, &[record(1_760_000_000, 1, 2)]));
    assert_eq!(stored.events, []);
    assert_eq!(stored.unsynced, []);
}

#[test]
fn records_with_an_impossible_time_are_kept_aside_and_count_as_stored() {
    let (mut hub, mut daemon, since) = start();
    let future = secs_ago(-40 * 24 * 3600);
    let odd = [record(0, 2150, 4875), record(77, 2151, 4876), record(future, 2152, 4877)];
    let good = record(1_760_000_000, 2153, 4878);
    let batch = [odd[0], good, odd[1], odd[2]];
    for _ in 0..2 {
        hub.send_batch(3, DEVICE, &batch);
        hub.expect_ack("BATCH_ACK 3 4 0");
    }
    daemon.kill9();
    daemon.restart();
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &batch);
    hub.expect_ack("BATCH_ACK 3 4 0");
    let stored = daemon.finish();
    assert_exactly(&stored, since, &all(DEVICE, &[good]));
    let mut kept: Vec<(String, i64, f64)> =
        stored.unsynced.iter().map(|u| (u.metric.clone(), u.node_ts.unwrap_or(i64::MIN), u.value)).collect();
    let mut sent: Vec<(String, i64, f64)> =
        all(DEVICE, &odd).into_iter().map(|e| (e.metric, e.ts.expect("a record has a time"), e.value)).collect();
    kept.sort_by(|a, b| a.partial_cmp(b).expect("finite"));
    sent.sort_by(|a, b| a.partial_cmp(b).expect("finite"));
    assert_eq!(kept, sent);
    assert!(stored.unsynced.iter().all(|u| u.node == node(DEVICE)));
}

#[test]
fn another_value_for_a_stored_time_is_a_conflict_and_counts_as_stored() {
    let (mut hub, mut daemon, since) = start();
    hub.send_batch(3, DEVICE, &[record(1_760_000_000, 2150, 4875)]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    hub.send_batch(3, DEVICE, &[record(1_760_000_000, 2199, 4875)]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    assert_eq!(daemon.stat("/readings/conflict"), 1);
    assert_eq!(daemon.stat("/readings/duplicate"), 2);
    let stored = daemon.finish();
    assert_exactly(&stored, since, &all(DEVICE, &[record(1_760_000_000, 2150, 4875)]));
    assert_eq!(stored.dead_for("conflict").len(), 1, "{:?}", stored.dead);
}

#[test]
fn noise_costs_nothing_but_itself() {
    let (mut hub, mut daemon, since) = start_with("max-line = 200");
    let first = record(1_760_000_000, 2150, 4875);
    let second = record(1_760_000_030, 2153, 4870);
    // Control characters are left out: a terminal would interpret none of them in raw mode, but a line's end is a line's end.
    let garbage: Vec<u8> = (0..5_000_u32).map(|i| (i * 7 % 251) as u8).filter(|b| *b != b'\n').collect();
    hub.send_bytes(&garbage);
    hub.send_bytes(b"\n");
    hub.send_bytes(b"HEARTBEAT 3 \xff\xfe\xc3 87\n");
    hub.send("HELLO WORLD");
    hub.send("HEARTBEAT 3");
    hub.send(&format!("HEARTBEAT 3 {DEVICE} eighty 0 -71 5 0"));
    hub.send("SENSOR_RECORD 3 99999999999999999999999 1760000000 1 2 0");
    hub.send(&format!("SENSOR_RECORD 70000 {DEVICE} 1760000000 1 2 0"));
    hub.send("");
    hub.send_batch(3, DEVICE, &[first]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    hub.send(&"X".repeat(100_000));
    hub.send(&format!("SENSOR_DATA 3 {DEVICE} TEMP {}", "1".repeat(300)));
    hub.send_batch(3, DEVICE, &[second]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    assert!(daemon.reason("dead", "too-long") >= 2, "{}", daemon.stats());
    assert!(daemon.stat("/readings/dead") >= 8, "{}", daemon.stats());
    let stored = daemon.finish();
    assert_exactly(&stored, since, &all(DEVICE, &[first, second]));
    assert!(!stored.dead.is_empty());
    assert!(stored.dead.iter().all(|d| d.source == "hub" && d.excerpt.len() <= 1024), "{:?}", stored.dead);
}

#[test]
fn answers_to_commands_are_not_readings() {
    let (mut hub, mut daemon, since) = start();
    for line in [
        "BATCH_ACK_SENT 3 2",
        "NODE 3 11529215046068469763 1",
        "NODE_LIST 1 3",
        "QUEUE 0",
        "QUEUED 3 1",
        "ERROR unknown command",
        "DELETED_NODE 3",
    ] {
        hub.send(line);
    }
    hub.send_batch(3, DEVICE, &[record(1_760_000_000, 1, 2)]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    let stored = daemon.finish();
    assert_exactly(&stored, since, &all(DEVICE, &[record(1_760_000_000, 1, 2)]));
    assert_eq!(stored.dead, []);
}

#[test]
fn a_hub_that_is_unplugged_comes_back_under_another_name() {
    let (mut hub, mut daemon, since) = start();
    let (first, second) = (record(1_760_000_000, 1, 2), record(1_760_000_030, 3, 4));
    hub.send_batch(3, DEVICE, &[first]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    let before = hub.port_name();
    hub.unplug();
    daemon.wait_state("hub", "down");
    daemon.wait_failing("hub", "");
    hub.plug();
    assert_ne!(hub.port_name(), before);
    hub.wait_answered();
    daemon.wait_state("hub", "up");
    assert_eq!(daemon.failing(), Vec::<String>::new());
    hub.send_batch(3, DEVICE, &[second]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &[first, second]));
}

#[test]
fn a_silent_hub_is_told_in_the_health() {
    let (mut hub, mut daemon, _) = start_with("silence = \"1s\"");
    daemon.wait_failing("hub", "silen");
    hub.wait_answered();
    wait_for("the end of the silence in /healthz", || {
        hub.send("GET_DATETIME");
        daemon.get("/healthz").status == 200
    });
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_port_that_does_not_exist_is_named_and_found_later() {
    let mut hub = Hub::absent();
    let since = now_micros();
    let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
    daemon.wait_state("hub", "down");
    let link = hub.link().to_str().expect("UTF-8").to_owned();
    daemon.wait_failing("hub", &link);
    assert!(daemon.log().contains(&link), "the log names the port");
    hub.plug();
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &[record(1_760_000_000, 1, 2)]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    wait_for("the health to be good", || daemon.get("/healthz").status == 200);
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &[record(1_760_000_000, 1, 2)]));
}

#[test]
fn a_missing_port_does_not_hold_the_others_up() {
    let absent = Hub::absent();
    let mut hub = Hub::new();
    let since = now_micros();
    let gone = absent.section("hub-lines", "").replace("\"hub\"", "\"gone\"");
    let mut daemon = Daemon::start(&format!("{gone}{}", hub.section("hub-lines", "")));
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &[record(1_760_000_000, 1, 2)]);
    hub.expect_ack("BATCH_ACK 3 1 0");
    assert_eq!(daemon.source("gone")["state"], "down");
    assert_exactly(&daemon.finish(), since, &all(DEVICE, &[record(1_760_000_000, 1, 2)]));
}

#[test]
fn two_hundred_batches_of_a_hundred_records_are_acknowledged_without_a_resend() {
    let (mut hub, mut daemon, since) = start();
    let mut sent = Vec::new();
    let mut latencies = Vec::new();
    for i in 0..200_i64 {
        let addr = 2 + i % 5;
        let device = 0xA000_0000_0000_0000 + addr as u64;
        let records: Vec<Record> = (0..100)
            .map(|k| Record {
                time: 1_760_000_000 + (i / 5) * 3_000 + k * 30,
                temp: 2000 + (i * 7 + k * 3) % 900,
                hum: 4000 + (i * 11 + k * 5) % 3000,
                flags: (i % 256) as u8,
            })
            .collect();
        let began = Instant::now();
        hub.send_batch(addr as u16, device, &records);
        hub.expect_ack(&format!("BATCH_ACK {addr} 100 0"));
        latencies.push(began.elapsed());
        sent.extend(all(device, &records));
    }
    latencies.sort();
    let median: Duration = latencies[latencies.len() / 2];
    eprintln!("hub batch of 100 records, sent to acknowledged: p50 {median:?}, max {:?}", latencies[199]);
    assert_eq!(daemon.stat("/readings/committed"), 60_000);
    assert_eq!(daemon.stat("/readings/duplicate"), 0);
    assert_eq!(daemon.source("hub")["acked"], 200);
    let stored = daemon.finish();
    assert_exactly(&stored, since, &sent);
    assert_eq!(stored.dead, []);
}
