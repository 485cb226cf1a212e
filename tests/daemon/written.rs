//! What is written, by day and over restarts.

use serde_json::Value;

use crate::harness::{Daemon, Hub, Record, wait_for};

const DEVICE: u64 = 11_529_215_046_068_469_763;

/// Bytes of all days, so that a midnight in between does not matter.
fn all_days(written: &Value, key: &str) -> u64 {
    written["days"].as_array().expect("days").iter().map(|day| day[key].as_u64().unwrap_or(0)).sum()
}

#[test]
fn bytes_are_counted_by_day_and_over_a_restart() {
    let mut hub = Hub::new();
    let limits = "[store]\nwrite-budget = \"500MB\"\ncard-endurance = \"10TB\"\n";
    let mut daemon = Daemon::start(&format!("{}\n{limits}", hub.section("hub-lines", "")));
    hub.wait_answered();
    for i in 0..20 {
        hub.send_batch(3, DEVICE, &[Record { time: 1_760_000_000 + i, temp: i, hum: 5_000, flags: 0 }]);
        hub.expect_ack("BATCH_ACK 3 1 0");
    }
    // The day is known once the clock has been right for a moment.
    wait_for("the day to be known", || !daemon.stats()["written"]["days"].as_array().expect("days").is_empty());
    let stats = daemon.stats();
    let written = &stats["written"];
    // Each commit syncs at least a page of the log.
    assert!(written["bytes"].as_u64().expect("/proc/self/io") >= 20 * 4_096, "{written}");
    assert_eq!(all_days(written, "bytes"), written["bytes"].as_u64().expect("a number"), "{written}");
    assert_eq!((written["budget_bytes"].as_u64(), written["over_budget"].as_bool()), (Some(500_000_000), Some(false)));
    assert_eq!(written["card"]["endurance_bytes"], 10_000_000_000_000_u64, "{written}");
    assert_eq!((&written["card"]["life_days"], &written["yesterday_bytes"]), (&Value::Null, &Value::Null), "{written}");
    assert_eq!(stats["commits"]["flush_interval_s"], 5.0);
    // Where the disk is known its bytes are counted: all of those, and what others wrote.
    assert_eq!(written["device"].is_null(), written["device_bytes"].is_null(), "{written}");
    assert_eq!(written["device"].is_null(), written["days"][0]["device_bytes"].is_null(), "{written}");

    assert_eq!(daemon.terminate().code(), Some(0));
    daemon.restart();
    let written = daemon.stats()["written"].clone();
    assert!(all_days(&written, "bytes") >= 20 * 4_096 + written["bytes"].as_u64().expect("a number"), "{written}");
    let stored = daemon.finish();
    assert_eq!(stored.rows.len(), 60);
}
