//! Acknowledged means durable, and once means once: the daemon is killed, stopped and cannot write, at the worst moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{
    Broker, Daemon, Expected, Hub, Record, Setup, assert_between, assert_exactly, batch, expected, now_micros, wait_for,
};

const DEVICE: u64 = 11_529_215_046_068_469_763;
const T0: i64 = 1_760_000_000;
const CLIENT: &str = "gadwall-home";

/// Rounds of the tests that kill; more with `GADWALL_ROUNDS`.
fn rounds() -> i64 {
    std::env::var("GADWALL_ROUNDS").ok().map_or(20, |n| n.parse().expect("GADWALL_ROUNDS is a number"))
}

fn records(from: i64, n: i64) -> Vec<Record> {
    (from..from + n)
        .map(|i| Record { time: T0 + i * 30, temp: i % 5_000, hum: i % 9_999, flags: (i % 256) as u8 })
        .collect()
}

fn all(records: &[Record]) -> Vec<Expected> {
    records.iter().flat_map(|r| r.expected("hub", DEVICE)).collect()
}

#[test]
fn killed_at_the_ack_of_a_hub_batch_it_is_in_the_file() {
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
    let mut sent = Vec::new();
    let mut next = 0;
    for round in 0..rounds() {
        hub.wait_answered();
        // Other counts in every round, so that an answer tells which batch it is about.
        let (first, second) = (records(next, 20 + round), records(next + 1_000, 220 + round));
        next += 2_000;
        hub.send_batch(3, DEVICE, &first);
        let rest = batch(3, DEVICE, &second);
        // In every other round something of the next batch is under way when the daemon dies.
        if round % 2 == 0 {
            hub.try_send_bytes(&rest.as_bytes()[..3_000], Duration::from_secs(1));
        }
        hub.expect_ack(&format!("BATCH_ACK 3 {} 0", first.len()));
        daemon.kill9();
        let must = [sent.clone(), all(&first)].concat();
        let may = [must.clone(), all(&second)].concat();
        assert_between(&daemon.stored(), &must, &may);
        daemon.restart();
        hub.wait_answered();
        // The rest of the line that was cut ends here.
        hub.send("");
        hub.send_bytes(rest.as_bytes());
        let ack = format!("BATCH_ACK 3 {} 0", second.len());
        assert!(hub.next_line(crate::harness::DEADLINE, &ack).is_some(), "no {ack}");
        // The node never heard of the first: it sends it again.
        hub.send_batch(3, DEVICE, &first);
        let ack = format!("BATCH_ACK 3 {} 0", first.len());
        assert!(hub.next_line(crate::harness::DEADLINE, &ack).is_some(), "no {ack}");
        sent = may;
    }
    assert_exactly(&daemon.finish(), since, &sent);
}

/// Both kinds of messages, each with a topic of its own, so that the broker's log tells which one was acknowledged.
struct Stream {
    sent: BTreeMap<String, Expected>,
}

impl Stream {
    const SUBSCRIBE: &str =
        r#"{ topic = "timed/{node}/+", format = "json", time = "time" }, { topic = "bare/{node}/+", format = "json" }"#;

    fn new() -> Self {
        Self { sent: BTreeMap::new() }
    }

    fn publish(&mut self, broker: &Broker, n: i64) {
        let mut client = broker.publisher();
        for _ in 0..n {
            let i = self.sent.len() as i64;
            let node = format!("n{}", i % 3);
            let (topic, payload, reading) = if i % 2 == 0 {
                let topic = format!("timed/{node}/{i}");
                let ts = (T0 + i) * 1_000_000;
                (topic, format!("{{\"time\": {}, \"v\": {i}}}", T0 + i), expected("home", &node, "v", ts, i as f64))
            } else {
                (format!("bare/{node}/{i}"), i.to_string(), expected("home", &node, "value", None, i as f64))
            };
            client.send(&topic, payload, 1, false);
            self.sent.insert(topic, reading);
        }
        client.flush();
    }

    /// Does something else while messages are published, `most` of them, or fewer if it is done before.
    fn publish_while(&mut self, broker: &Broker, most: usize, meanwhile: impl FnOnce()) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let most = self.sent.len() + most;
                while self.sent.len() < most && !done.load(Ordering::Acquire) {
                    self.publish(broker, 100);
                }
            });
            meanwhile();
            done.store(true, Ordering::Release);
            publisher.join().expect("the publisher does not panic");
        });
    }

    fn all(&self) -> Vec<Expected> {
        self.sent.values().cloned().collect()
    }

    /// Asserts that everything that the broker holds for acknowledged is stored, once, and nothing twice.
    fn check(&self, broker: &Broker, daemon: &Daemon) -> BTreeSet<String> {
        let acknowledged: BTreeSet<String> = broker.acknowledged(CLIENT).into_iter().collect();
        let stored = daemon.stored();
        let mut found = BTreeMap::new();
        for row in &stored.rows {
            // Each value is sent once, so it names its message.
            assert_eq!(found.insert(row.value as i64, row.clone()), None, "stored twice: {row:?}");
        }
        let lost: Vec<&String> =
            acknowledged.iter().filter(|t| !found.contains_key(&(self.sent[*t].value as i64))).collect();
        assert!(lost.is_empty(), "{} acknowledged and not stored: {lost:?}", lost.len());
        acknowledged
    }
}

#[test]
fn killed_at_the_ack_of_a_message_it_is_in_the_file() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&broker.section("home", "window = 40", Stream::SUBSCRIBE));
    let mut stream = Stream::new();
    let mut open = 0;
    for round in 0..rounds() {
        daemon.wait_state("home", "up");
        wait_for("the subscription", || broker.logged(&format!("Sending SUBACK to {CLIENT}")) > round as usize);
        let from = broker.log_len();
        // Another moment in every round: the first acknowledgement, the eighth, the fifteenth, while more is published.
        stream.publish_while(&broker, 300, || {
            broker.wait_logged(from, &format!("Received PUBACK from {CLIENT} "), 1 + (round as usize * 7) % 40);
            daemon.kill9();
        });
        broker.wait_logged(from, &format!("Client {CLIENT} "), 1);
        open += stream.sent.len() - stream.check(&broker, &daemon).len();
        daemon.restart();
    }
    assert!(open > 0, "in no round was anything left to be acknowledged");
    eprintln!("{open} messages in {} rounds were not acknowledged at the kill", rounds());
    let total = stream.sent.len();
    wait_for("everything to be acknowledged", || {
        broker.acknowledged(CLIENT).into_iter().collect::<BTreeSet<_>>().len() == total
    });
    assert_exactly(&daemon.finish(), since, &stream.all());
}

#[test]
fn what_the_broker_still_holds_after_a_kill_is_all_that_may_be_missing() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&broker.section("home", "window = 40", Stream::SUBSCRIBE));
    let mut stream = Stream::new();
    for round in 0..5 {
        daemon.wait_state("home", "up");
        wait_for("the subscription", || broker.logged(&format!("Sending SUBACK to {CLIENT}")) > round);
        let from = broker.log_len();
        stream.publish(&broker, 150);
        broker.wait_logged(from, &format!("Received PUBACK from {CLIENT} "), 1 + round * 11);
        daemon.kill9();
        // Another client takes the session and sees what is in it; it acknowledges nothing.
        let mut spy = crate::harness::Client::connect(broker.port(), CLIENT, false, None);
        assert!(spy.session_present);
        stream.publish(&broker, 2);
        let newest: BTreeSet<String> =
            stream.sent.keys().filter(|t| tail(t) >= stream.sent.len() as i64 - 2).cloned().collect();
        let mut held = BTreeSet::new();
        while !newest.is_subset(&held) {
            let message = spy.next(crate::harness::DEADLINE).expect("the last messages come");
            assert!(held.insert(message.topic.clone()), "the broker holds {} twice", message.topic);
        }
        drop(spy);
        let acknowledged: Vec<Expected> =
            stream.sent.iter().filter(|(t, _)| !held.contains(*t)).map(|(_, e)| e.clone()).collect();
        assert!(!acknowledged.is_empty());
        let values: BTreeSet<i64> = daemon.stored().rows.iter().map(|r| r.value as i64).collect();
        let lost: Vec<&Expected> = acknowledged.iter().filter(|e| !values.contains(&(e.value as i64))).collect();
        assert!(lost.is_empty(), "{} acknowledged and not stored, the first: {:?}", lost.len(), lost[0]);
        daemon.restart();
    }
    let total = stream.sent.len();
    wait_for("everything to be acknowledged", || {
        broker.acknowledged(CLIENT).into_iter().collect::<BTreeSet<_>>().len() == total
    });
    assert_exactly(&daemon.finish(), since, &stream.all());
}

/// The number at the end of a topic of [`Stream`].
fn tail(topic: &str) -> i64 {
    topic.rsplit('/').next().and_then(|n| n.parse().ok()).expect("topics end in a number")
}

#[test]
fn a_stop_in_the_middle_of_a_hubs_burst_keeps_what_was_acknowledged() {
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
    hub.wait_answered();
    // Batch i has 50 + i records, so that its answer names it.
    let batches: Vec<Vec<Record>> = (0..30).map(|i| records(i * 1_000, 50 + i)).collect();
    let mut acked = BTreeSet::new();
    for (i, records) in batches.iter().enumerate() {
        if i == 12 {
            daemon.signal(rustix::process::Signal::TERM);
        }
        if !hub.try_send_bytes(batch(3, DEVICE, records).as_bytes(), Duration::from_millis(500)) {
            break;
        }
        if i == 10 {
            let line = hub.next_line(crate::harness::DEADLINE, "BATCH_ACK").expect("an answer");
            acked.insert(line);
        }
    }
    assert_eq!(daemon.wait_exit().code(), Some(0));
    while let Some(line) = hub.next_line(Duration::from_millis(200), "BATCH_ACK") {
        acked.insert(line);
    }
    let (mut must, mut may) = (Vec::new(), Vec::new());
    for records in &batches {
        may.extend(all(records));
        if acked.contains(&format!("BATCH_ACK 3 {} 0", records.len())) {
            must.extend(all(records));
        }
    }
    assert!(!must.is_empty());
    assert_between(&daemon.stored(), &must, &may);
    // All of it again, as the nodes do that got no answer.
    daemon.restart();
    hub.wait_answered();
    hub.send("");
    for records in &batches {
        hub.send_batch(3, DEVICE, records);
        let ack = format!("BATCH_ACK 3 {} 0", records.len());
        assert!(hub.next_line(crate::harness::DEADLINE, &ack).is_some(), "no {ack}");
    }
    assert_exactly(&daemon.finish(), since, &may);
}

#[test]
fn a_stop_in_the_middle_of_a_brokers_burst_keeps_what_was_acknowledged() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&broker.section("home", "window = 100", Stream::SUBSCRIBE));
    daemon.wait_state("home", "up");
    let mut stream = Stream::new();
    let from = broker.log_len();
    stream.publish_while(&broker, 30_000, || {
        broker.wait_logged(from, &format!("Received PUBACK from {CLIENT} "), 300);
        assert_eq!(daemon.terminate().code(), Some(0));
    });
    let acknowledged = stream.check(&broker, &daemon).len();
    let total = stream.sent.len();
    assert!(acknowledged < total, "the stop came after the burst");
    eprintln!("{acknowledged} of {total} messages were acknowledged at the stop");
    daemon.restart();
    wait_for("everything to be acknowledged", || {
        broker.acknowledged(CLIENT).into_iter().collect::<BTreeSet<_>>().len() == total
    });
    assert_exactly(&daemon.finish(), since, &stream.all());
}

/// With a limit on the size of files, of `limit(size of the write-ahead log)` bytes, no commit can be made.
fn commits_fail_and_recover(limit: impl Fn(u64) -> u64) {
    let mut hub = Hub::new();
    let broker = Broker::new();
    let since = now_micros();
    let config = format!("{}{}", hub.section("hub-lines", ""), broker.section("home", "", Stream::SUBSCRIBE));
    let mut daemon = Setup::new(&config).start();
    hub.wait_answered();
    daemon.wait_state("home", "up");
    let mut stream = Stream::new();
    let (first, second, third) = (records(0, 30), records(1_000, 300), records(2_000, 40));
    hub.send_batch(3, DEVICE, &first);
    hub.expect_ack("BATCH_ACK 3 30 0");
    stream.publish(&broker, 40);
    let puback = format!("Received PUBACK from {CLIENT} ");
    broker.wait_logged(0, &puback, 40);

    let wal = std::fs::metadata(daemon.database().with_extension("duckdb.wal")).map_or(0, |m| m.len());
    daemon.limit_file_size(Some(limit(wal)));
    stream.publish(&broker, 40);
    hub.send_batch(3, DEVICE, &second);
    wait_for("commits to fail", || daemon.stat("/commits/failed") >= 2);
    assert_eq!(daemon.get("/healthz").status, 503, "the store cannot commit, and the health says so");
    let at = daemon.stat("/commits/failed");
    daemon.wait_stat("/commits/failed", at + 1);
    assert!(!hub.has_ack(), "a batch was answered that was not stored");
    assert_eq!(broker.logged(&puback), 40, "a message was acknowledged that was not stored");
    let committed = daemon.stat("/readings/committed");
    assert_eq!(committed, 30 * 3 + 40);

    daemon.limit_file_size(None);
    hub.expect_ack("BATCH_ACK 3 300 0");
    broker.wait_logged(0, &puback, 80);
    wait_for("the health to be good", || daemon.get("/healthz").status == 200);
    hub.send_batch(3, DEVICE, &third);
    hub.expect_ack("BATCH_ACK 3 40 0");
    stream.publish(&broker, 40);
    broker.wait_logged(0, &puback, 120);
    assert!(daemon.exit_status().is_none());
    let sent = [stream.all(), all(&first), all(&second), all(&third)].concat();
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn a_commit_that_cannot_write_at_all_is_made_later() {
    commits_fail_and_recover(|_| 0);
}

#[test]
fn a_commit_that_is_written_in_part_is_made_later() {
    commits_fail_and_recover(|wal| wal + 1_000);
}

#[test]
fn killed_while_commits_fail_nothing_acknowledged_is_lost() {
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = Setup::new(&hub.section("hub-lines", "")).start();
    hub.wait_answered();
    let (first, second) = (records(0, 30), records(1_000, 300));
    hub.send_batch(3, DEVICE, &first);
    hub.expect_ack("BATCH_ACK 3 30 0");
    daemon.limit_file_size(Some(4_096));
    hub.send_batch(3, DEVICE, &second);
    wait_for("a commit to fail", || daemon.stat("/commits/failed") >= 1);
    daemon.kill9();
    assert!(!hub.has_ack());
    let sent = [all(&first), all(&second)].concat();
    assert_between(&daemon.stored(), &all(&first), &sent);
    daemon.restart();
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &second);
    hub.expect_ack("BATCH_ACK 3 300 0");
    assert_exactly(&daemon.finish(), since, &sent);
}
