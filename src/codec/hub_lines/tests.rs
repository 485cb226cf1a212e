use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::codec::lines::{Line, Lines};
use crate::reading::Unit;

const DEVICE: u64 = 11_529_215_046_068_469_763;

/// Contents and signals of these lines, in the order of their decoding.
fn decode(lines: &[&str]) -> (Decoded, Vec<String>) {
    let mut hub = HubLines::new();
    let (mut content, mut signals) = (Decoded::default(), Vec::new());
    for line in lines {
        hub.line(line.as_bytes(), &mut content, &mut |_, s| signals.push(format!("{s:?}")));
    }
    (content, signals)
}

fn readings(lines: &[&str]) -> Vec<(String, f64, Option<&'static str>, When)> {
    let (content, signals) = decode(lines);
    assert_eq!((content.events.len(), content.dead.len(), signals.len()), (0, 0, 0), "{content:?} {signals:?}");
    let device = DEVICE.to_string();
    assert!(content.readings.iter().all(|r| *r.node == *device));
    let known = |unit: Unit| match unit {
        Cow::Borrowed(unit) => unit,
        Cow::Owned(unit) => panic!("{unit} is made anew for each reading"),
    };
    content.readings.into_iter().map(|r| (r.metric.to_string(), r.value, r.unit.map(known), r.when)).collect()
}

fn dead(line: &str) -> (DeadReason, String) {
    let (content, signals) = decode(&[line]);
    assert!(content.readings.is_empty() && content.events.is_empty() && signals.is_empty(), "{content:?} {signals:?}");
    assert_eq!(content.dead.len(), 1, "{content:?}");
    assert_eq!(content.dead[0].excerpt, line.as_bytes());
    (content.dead[0].reason, content.dead[0].detail.clone())
}

fn values(content: &Decoded) -> Vec<f64> {
    content.readings.iter().map(|r| r.value).collect()
}

fn end(address: u16, device: u64, announced: u32, whole: bool) -> String {
    format!("{:?}", Signal::BatchEnd(BatchEnd { address, device, announced, whole, tag: 0 }))
}

fn at(secs: i64) -> When {
    When::Stored(Timestamp(secs * 1_000_000))
}

#[test]
fn the_worked_example_gives_its_readings_and_one_whole_batch() {
    let (content, signals) = decode(&[
        "SENSOR_BATCH 3 11529215046068469763 2",
        "SENSOR_RECORD 3 11529215046068469763 1760000000 2150 4875 0",
        "SENSOR_RECORD 3 11529215046068469763 1760000030 2153 4870 0",
        "BATCH_COMPLETE 3 11529215046068469763 2",
    ]);
    let got: Vec<_> =
        content.readings.iter().map(|r| (&*r.node, &*r.metric, r.unit.as_deref(), r.when, r.value)).collect();
    let node = "11529215046068469763";
    assert_eq!(
        got,
        [
            (node, "temperature", Some("degC"), at(1_760_000_000), 21.5),
            (node, "humidity", Some("%RH"), at(1_760_000_000), 48.75),
            (node, "flags", None, at(1_760_000_000), 0.0),
            (node, "temperature", Some("degC"), at(1_760_000_030), 21.53),
            (node, "humidity", Some("%RH"), at(1_760_000_030), 48.7),
            (node, "flags", None, at(1_760_000_030), 0.0),
        ]
    );
    assert_eq!((content.events.len(), content.dead.len()), (0, 0));
    assert_eq!(signals, [end(3, DEVICE, 2, true)]);
}

#[test]
fn heartbeats_of_old_and_new_firmware() {
    let old = [
        ("battery".into(), 87.0, Some("%"), When::Arrival),
        ("errors".into(), 5.0, None, When::Arrival),
        ("rssi".into(), -112.0, Some("dBm"), When::Arrival),
        ("uptime".into(), 86_400.0, Some("s"), When::Arrival),
    ];
    assert_eq!(readings(&["HEARTBEAT 3 11529215046068469763 87 5 -112 86400"]), old);
    let mut new = old.to_vec();
    new.push(("pending".into(), 12.0, None, When::Arrival));
    assert_eq!(readings(&["HEARTBEAT 3 11529215046068469763 87 5 -112 86400 12"]), new);
}

#[test]
fn live_values_are_hundredths() {
    let got = readings(&[
        "SENSOR_DATA 3 11529215046068469763 TEMP -1205",
        "  SENSOR_DATA 3 11529215046068469763 HUM 10000 \r",
    ]);
    assert_eq!(
        got,
        [
            ("temperature".into(), -12.05, Some("degC"), When::Arrival),
            ("humidity".into(), 100.0, Some("%RH"), When::Arrival),
        ]
    );
}

#[test]
fn events_keep_their_code_and_bytes() {
    let (content, signals) = decode(&[
        "SENSOR_DATA 3 11529215046068469763 7 0A ff10",
        "EVENT 3 11529215046068469763 12 DEADBEEF",
        "EVENT 3 11529215046068469763 13",
        "EVENT_LOG 3 11529215046068469763 1760000000 4 2 door \"A\" open",
        "EVENT_LOG 3 11529215046068469763 1760000000123 boot info",
        "EVENT_LOG 3 11529215046068469763 99999999999 1 1 x",
        "EVENT_LOG 3 11529215046068469763 100000000000 1 1 x",
    ]);
    assert!(content.readings.is_empty() && content.dead.is_empty() && signals.is_empty(), "{content:?}");
    assert!(content.events.iter().all(|e| &*e.node == "11529215046068469763"));
    let got: Vec<_> = content.events.iter().map(|e| (&*e.kind, e.when, e.data.as_str())).collect();
    assert_eq!(
        got,
        [
            ("sensor-data", When::Arrival, r#"{"code":7,"hex":"0Aff10"}"#),
            ("event", When::Arrival, r#"{"code":12,"hex":"DEADBEEF"}"#),
            ("event", When::Arrival, r#"{"code":13,"hex":""}"#),
            ("event-log", at(1_760_000_000), r#"{"type":"4","severity":"2","detail":"door \"A\" open"}"#),
            (
                "event-log",
                When::Stored(Timestamp(1_760_000_000_123_000)),
                r#"{"type":"boot","severity":"info","detail":""}"#
            ),
            ("event-log", at(99_999_999_999), r#"{"type":"1","severity":"1","detail":"x"}"#),
            ("event-log", at(100_000_000), r#"{"type":"1","severity":"1","detail":"x"}"#),
        ]
    );
}

#[test]
fn questions_and_answers_hold_no_readings() {
    let (content, signals) = decode(&[
        "HUB_READY\r",
        "GET_DATETIME ",
        "BATCH_ACK_SENT 3 2",
        "NODE 3 5 x",
        "NODE_LIST",
        "QUEUE 1",
        "QUEUED 1",
        "ERROR unknown command",
        "DELETED_NODE 3",
    ]);
    assert!(content.is_empty(), "{content:?}");
    assert_eq!(signals, ["AskTime", "AskTime", r#"Error("unknown command")"#]);
}

#[test]
fn what_is_wrong_names_its_field_and_what_was_expected() {
    let malformed = |detail: &str| (DeadReason::Malformed, detail.to_owned());
    let number = |detail: &str| (DeadReason::BadNumber, detail.to_owned());
    assert_eq!(dead("gr\u{fc}n 1"), malformed("\"gr\u{fc}n\" is no known keyword"));
    assert_eq!(dead("sensor_data 1 2 TEMP 3"), malformed("\"sensor_data\" is no known keyword"));
    assert_eq!(dead("HUB_READY 1"), malformed("HUB_READY: expected no field behind the last, got \"1\""));
    assert_eq!(dead("SENSOR_RECORD 3 7 1760000000 2150"), malformed("SENSOR_RECORD: field humidity is missing"));
    assert_eq!(
        dead("SENSOR_RECORD 3 7 1760000000 2150 1 0 9"),
        malformed("SENSOR_RECORD: expected no field behind the last, got \"9\"")
    );
    assert_eq!(dead("SENSOR_RECORD 3 7  2150 1 0"), malformed("SENSOR_RECORD: field time is empty"));
    assert_eq!(
        dead("SENSOR_RECORD 3 7 1760000000 2150 4875 256"),
        number("SENSOR_RECORD: field flags is \"256\", expected a whole number from 0 to 255")
    );
    assert_eq!(
        dead("HEARTBEAT 65536 7 1 1 1 1"),
        number("HEARTBEAT: field address is \"65536\", expected a whole number from 0 to 65535")
    );
    assert_eq!(
        dead("HEARTBEAT 3 18446744073709551616 1 1 1 1"),
        number(
            "HEARTBEAT: field device is \"18446744073709551616\", expected a whole number from 0 to \
             18446744073709551615"
        )
    );
    assert_eq!(
        dead("HEARTBEAT 3 7 -1 1 1 1"),
        number("HEARTBEAT: field battery is \"-1\", expected a whole number from 0 to 65535")
    );
    assert_eq!(
        dead("SENSOR_DATA 3 7 TEMP NaN"),
        number("SENSOR_DATA: field value is \"NaN\", expected a whole number from -2147483648 to 2147483647")
    );
    assert_eq!(
        dead("SENSOR_DATA 3 7 TEMP 21.5"),
        malformed("SENSOR_DATA: field value is \"21.5\", expected a whole number from -2147483648 to 2147483647")
    );
    assert_eq!(
        dead("SENSOR_DATA 3 7 PRES 1"),
        malformed("SENSOR_DATA: field type is \"PRES\", expected TEMP, HUM or a whole number from 0 to 4294967295")
    );
    assert_eq!(dead("SENSOR_DATA 3 7 5"), malformed("SENSOR_DATA: field value is missing, expected hex bytes"));
    assert_eq!(
        dead("BATCH_COMPLETE 3 7 +2"),
        malformed("BATCH_COMPLETE: field count is \"+2\", expected a whole number from 0 to 4294967295")
    );
    assert_eq!(dead("EVENT 3 7 1 ABC"), malformed("EVENT: \"ABC\" is not hex, expected pairs of hex digits"));
    assert_eq!(dead("EVENT_LOG 3 7 1 2"), malformed("EVENT_LOG: field severity is missing"));
    let long = "x".repeat(5_000);
    let (content, _) = decode(&[&long]);
    assert_eq!(content.dead[0].detail, format!("\"{}\"... is no known keyword", "x".repeat(32)));
    assert_eq!(content.dead[0].excerpt.len(), crate::reading::MAX_EXCERPT);
}

#[test]
fn bytes_that_are_not_text_are_dead_and_the_rest_of_the_line_is_decoded() {
    let mut hub = HubLines::new();
    let mut content = Decoded::default();
    hub.line(b"SENSOR_DATA 3 7 TEMP \xff1", &mut content, &mut |_, s| panic!("{s:?}"));
    hub.line(b"\xfe\xffSENSOR_DATA 3 7 TEMP 100", &mut content, &mut |_, s| panic!("{s:?}"));
    assert_eq!(content.dead.len(), 2);
    assert_eq!(content.dead[0].reason, DeadReason::NotUtf8);
    assert_eq!(content.dead[0].detail, "byte 22 of the line is not UTF-8");
    assert_eq!((content.dead[1].reason, content.dead[1].excerpt.as_slice()), (DeadReason::NotUtf8, &b"\xfe\xff"[..]));
    assert_eq!(values(&content), [1.0]);
}

#[test]
fn merged_lines_lose_only_their_broken_head() {
    let (content, signals) = decode(&[
        "SENSOR_RECORD 3 1SENSOR_BATCH 4 77 1",
        // This head looks whole, but its flags may have been 12.
        "SENSOR_RECORD 4 77 1760000000 2150 4875 1SENSOR_RECORD 4 77 1760000030 2153 4870 0",
        "BATCH_COMPLETE 4 77 1",
        "HEARTBEAT 4 77 9GET_DATETIME",
    ]);
    assert_eq!(values(&content), [21.53, 48.7, 0.0]);
    let broken: Vec<_> = content.dead.iter().map(|d| String::from_utf8_lossy(&d.excerpt).into_owned()).collect();
    assert_eq!(broken, ["SENSOR_RECORD 3 1", "SENSOR_RECORD 4 77 1760000000 2150 4875 1", "HEARTBEAT 4 77 9"]);
    assert!(content.dead.iter().all(|d| d.reason == DeadReason::Malformed));
    assert_eq!(content.dead[0].detail, "another message begins before this one has ended");
    assert_eq!(signals, [end(4, 77, 1, true), "AskTime".to_owned()]);
}

#[test]
fn device_id_zero_is_rejected_counted_and_its_batch_is_not_whole() {
    let (content, signals) = decode(&[
        "SENSOR_BATCH 9 0 1",
        "SENSOR_RECORD 9 0 1760000000 2150 4875 0",
        "BATCH_COMPLETE 9 0 1",
        "BATCH_COMPLETE 9 0 0",
        "HEARTBEAT 9 0 1 1 1 1",
        "EVENT 9 0 1",
    ]);
    assert!(content.readings.is_empty() && content.events.is_empty());
    assert_eq!(content.dead.len(), 3);
    for letter in &content.dead {
        assert_eq!(letter.reason, DeadReason::Unregistered);
        assert_eq!(letter.detail, "the node at address 9 has not registered: its device id is 0");
    }
    assert_eq!(signals, [end(9, 0, 1, false), end(9, 0, 0, false)]);
}

#[test]
fn a_malformed_record_is_missing_in_its_batch() {
    let (content, signals) = decode(&[
        "SENSOR_BATCH 3 7 2",
        "SENSOR_RECORD 3 7 1760000000 2150 4875 0",
        "SENSOR_RECORD 3 7 1760000030 21x0 4875 0",
        "BATCH_COMPLETE 3 7 2",
    ]);
    assert_eq!((content.readings.len(), content.dead.len()), (3, 1));
    assert_eq!(signals, [end(3, 7, 2, false)]);
}

#[test]
fn a_batch_carries_the_tag_of_its_begin_and_its_content_comes_before_its_end() {
    let mut hub = HubLines::new();
    let mut content = Decoded::default();
    let mut ends = Vec::new();
    for (tag, line) in [
        (4, "SENSOR_BATCH 3 7 1"),
        (5, "SENSOR_RECORD 3 7 1760000000 2150 4875 0"),
        (6, "BATCH_COMPLETE 3 7 1"),
        (7, "SENSOR_RECORD 3 7 1760000000 2150 4875 0"),
    ] {
        hub.tag(tag);
        hub.line(line.as_bytes(), &mut content, &mut |content, s| {
            if let Signal::BatchEnd(end) = s {
                ends.push((end.tag, end.whole, std::mem::take(content).readings.len()));
            }
        });
    }
    assert_eq!(ends, [(4, true, 3)]);
    assert_eq!(content.readings.len(), 3);
    hub.interrupt();
    hub.line(b"BATCH_COMPLETE 3 7 1", &mut content, &mut |_, s| {
        assert!(matches!(s, Signal::BatchEnd(BatchEnd { whole: false, tag: 7, .. })));
    });
}

/// Lines that look like the protocol, so that random bytes reach deep.
fn noisy_line() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just("SENSOR_RECORD".to_owned()),
        Just("SENSOR_BATCH".to_owned()),
        Just("BATCH_COMPLETE".to_owned()),
        Just("SENSOR_DATA".to_owned()),
        Just("HEARTBEAT".to_owned()),
        Just("EVENT".to_owned()),
        Just("EVENT_LOG".to_owned()),
        Just("GET_DATETIME".to_owned()),
        Just("NODE_LIST".to_owned()),
        Just("TEMP".to_owned()),
        (0_u8..4).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "[ -~]{0,6}",
    ];
    (proptest::collection::vec((token, prop_oneof![4 => Just(" "), 1 => Just(""), 1 => Just("\n")]), 0..12))
        .prop_map(|tokens| tokens.into_iter().flat_map(|(t, s)| [t, s.to_owned()]).collect::<String>().into_bytes())
}

fn decode_bytes<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Decoded, Vec<String>) {
    let (mut lines, mut hub) = (Lines::new(64), HubLines::new());
    let (mut content, mut signals) = (Decoded::default(), Vec::new());
    for chunk in chunks {
        lines.feed(chunk, &mut |line| {
            if let Line::Whole(line) = line {
                hub.line(line, &mut content, &mut |_, s| signals.push(format!("{s:?}")));
            }
        });
    }
    (content, signals)
}

proptest! {
    #[test]
    fn a_parsed_message_is_written_and_read_back(line in noisy_line()) {
        if let Ok(message) = Message::parse(&line) {
            let written = message.to_string();
            prop_assert_eq!(Message::parse(written.as_bytes()), Ok(message));
        }
    }

    #[test]
    fn bytes_one_by_one_equal_all_at_once(lines in proptest::collection::vec(noisy_line(), 0..12)) {
        let bytes = lines.join(&b'\n');
        let at_once = decode_bytes([bytes.as_slice()]);
        prop_assert_eq!(&decode_bytes(bytes.chunks(1)), &at_once);
        for reading in &at_once.0.readings {
            prop_assert!(reading.value.is_finite() && &*reading.node != "0");
        }
    }

    #[test]
    fn records_survive_the_line(
        address: u16, device in 1_u64.., time in -9_223_372_036_854_i64..=9_223_372_036_854,
        temp: i32, hum: u32, flags: u8,
    ) {
        let record = Record { time, temp, hum, flags };
        let line = Message::SensorRecord { from: Sender { address, device }, record }.to_string();
        let (content, _) = decode(&[&line]);
        prop_assert_eq!(values(&content), [f64::from(temp) / 100.0, f64::from(hum) / 100.0, f64::from(flags)]);
        prop_assert_eq!(content.readings[2].when, at(time));
        prop_assert_eq!(content.readings[2].node.to_string(), device.to_string());
    }
}
