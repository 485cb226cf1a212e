//! The store from the channel to the file and back, with a real DuckDB file.

mod quality;
mod time;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use duckdb::Connection;

use super::*;
use crate::budget::Written;
use crate::clock::Clock;
use crate::pipeline::{Intake, Notice, channel};
use crate::reading::{
    AVAILABILITY_EVENT, Arrival, DeadLetter, DeadReason, Decoded, Delivery, Envelope, Event, OFFLINE, ONLINE, Outcome,
    Reading, Receipt, Timestamp, When,
};

const NOW: i64 = 1_760_000_000;

fn arrival(secs: i64) -> Arrival {
    Arrival { at: Timestamp::from_secs(secs), boottime: 5_000_000, trusted: true }
}

fn reading(node: &str, metric: &str, when: When, value: f64) -> Reading {
    Reading { node: node.into(), metric: metric.into(), own_name: None, unit: Some("degC".into()), when, value }
}

fn at(secs: i64) -> When {
    When::Live(Timestamp::from_secs(secs))
}

struct Bench {
    dir: tempfile::TempDir,
    config: config::Store,
    metrics: Arc<Metrics>,
    answers: Arc<Mutex<Vec<Outcome>>>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config::Store {
            path: dir.path().join("g.duckdb"),
            flush_interval: Duration::from_secs(3600),
            ..config::Store::default()
        };
        Self { dir, config, metrics: Arc::default(), answers: Arc::default() }
    }

    /// Runs one life of the store: everything that `send` sends is committed when it returns.
    fn life(&mut self, send: impl FnOnce(&Sender)) {
        self.metrics = Arc::default();
        let store = open(&self.config, &self.metrics).unwrap();
        let (intake, outlet) = channel(&config::Intake::default(), Arc::clone(&self.metrics));
        let sender = Sender { intake, answers: Arc::clone(&self.answers) };
        send(&sender);
        drop(sender);
        store.writer.run(&outlet).unwrap();
    }

    fn rows(&self) -> Vec<(String, String, i64, f64, Option<i32>)> {
        let c = Connection::open(&self.config.path).unwrap();
        let mut q = c
            .prepare(
                "SELECT n.name, s.metric, epoch_us(r.ts), r.value, r.lag FROM readings r JOIN series s USING (series)
                 JOIN nodes n USING (node) ORDER BY ALL",
            )
            .unwrap();
        q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    fn text(&self, sql: &str) -> Vec<String> {
        let c = Connection::open(&self.config.path).unwrap();
        let mut q = c.prepare(sql).unwrap();
        q.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

struct Sender {
    intake: Intake,
    answers: Arc<Mutex<Vec<Outcome>>>,
}

impl Sender {
    fn send(&self, secs: i64, readings: Vec<Reading>) {
        self.envelope(secs, Decoded { readings, ..Decoded::default() }, None);
    }

    fn envelope(&self, secs: i64, content: Decoded, delivery: Option<Delivery>) {
        let answers = Arc::clone(&self.answers);
        let envelope = Envelope {
            source: "hub".into(),
            arrival: arrival(secs),
            content,
            delivery,
            waiting: false,
            receipt: Receipt::new(move |o| answers.lock().unwrap().push(o)),
        };
        self.intake.try_send(envelope).unwrap();
    }
}

#[test]
fn the_flush_interval_is_the_one_in_force() {
    let b = Bench::new();
    let store = open(&b.config, &b.metrics).unwrap();
    let clock = Clock::new(config::Trust::Always, Arc::clone(&b.metrics));
    let written = Arc::new(Written::new(&b.config, clock, Arc::clone(&b.metrics)));
    assert_eq!(written.flush_interval(), Duration::from_secs(3600));
    let (intake, outlet) = channel(&config::Intake::default(), Arc::clone(&b.metrics));
    let sender = Sender { intake, answers: Arc::clone(&b.answers) };
    let writer = store.writer.counting(written).unwrap();
    let thread = std::thread::spawn(move || writer.run(&outlet));
    sender.send(NOW, vec![reading("7", "t", at(NOW), 1.0)]);
    b.metrics.store.flush_interval_us.set(1_000);
    while b.answers.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(b.answers.lock().unwrap()[..], [Outcome::Committed]);
    drop(sender);
    thread.join().unwrap().unwrap();
}

#[test]
fn readings_events_and_dead_letters_are_stored_as_they_came() {
    let mut b = Bench::new();
    b.life(|s| {
        s.envelope(
            NOW,
            Decoded {
                readings: vec![
                    reading("7", "temperature", at(NOW - 90), 21.5),
                    reading("7", "humidity", When::Arrival, 48.75),
                ],
                events: vec![Event {
                    node: "7".into(),
                    kind: "event".into(),
                    when: When::Arrival,
                    data: "3 ff".into(),
                }],
                dead: vec![DeadLetter::new(DeadReason::Malformed, "no such keyword", b"\xff\x00x")],
            },
            None,
        );
    });
    assert_eq!(
        b.rows(),
        [
            ("7".into(), "humidity".into(), NOW * 1_000_000, 48.75, Some(0)),
            ("7".into(), "temperature".into(), (NOW - 90) * 1_000_000, 21.5, Some(90)),
        ]
    );
    assert_eq!(
        b.text("SELECT kind || ' ' || data || ' ' || epoch(ts)::BIGINT FROM events"),
        [format!("event 3 ff {NOW}")]
    );
    assert_eq!(
        b.text("SELECT source || ' ' || reason || ' ' || hex(excerpt) FROM dead_letters"),
        ["hub malformed: no such keyword FF0078"]
    );
    assert_eq!(b.text("SELECT unit FROM series ORDER BY series"), ["degC", "degC"]);
    assert_eq!(*b.answers.lock().unwrap(), [Outcome::Committed]);
    assert_eq!(b.metrics.readings.committed.get(), 2);
    assert_eq!(b.metrics.store.events.get(), 1);
    assert_eq!(b.metrics.store.dead_letters.get(), 1);
    assert_eq!(b.metrics.queue.depth.get(), 0, "all permits are given back");
}

#[test]
fn what_is_sent_again_is_stored_once_also_after_a_restart() {
    let mut b = Bench::new();
    let batch = || {
        (0..10)
            .map(|i| reading("7", "t", When::Stored(Timestamp::from_secs(NOW + i64::from(i))), f64::from(i)))
            .collect::<Vec<_>>()
    };
    b.life(|s| {
        s.send(NOW + 20, batch());
        s.send(NOW + 21, batch());
        s.send(NOW + 22, vec![reading("7", "t", at(NOW + 5), 99.0)]);
    });
    assert_eq!(b.metrics.readings.committed.get(), 10);
    assert_eq!(b.metrics.readings.duplicate.get(), 10);
    assert_eq!(b.metrics.readings.conflict.get(), 1);
    b.life(|s| s.send(NOW + 30, batch()));
    assert_eq!(b.metrics.readings.committed.get(), 0);
    assert_eq!(b.metrics.readings.duplicate.get(), 10);
    let values: Vec<f64> = b.rows().iter().map(|r| r.3).collect();
    assert_eq!(values, (0..10).map(f64::from).collect::<Vec<_>>());
    let expected = "conflict: series 1 at 2025-10-09T08:53:25Z: 5 is stored, 99 came";
    assert_eq!(b.text("SELECT reason FROM dead_letters"), [expected]);
    assert_eq!(b.answers.lock().unwrap().len(), 4);
    assert!(b.answers.lock().unwrap().iter().all(|o| *o == Outcome::Committed), "conflicts count as stored");
}

#[test]
fn late_readings_fill_gaps_and_do_not_move_the_newest() {
    let mut b = Bench::new();
    b.life(|s| {
        s.send(NOW, vec![reading("7", "t", at(NOW), 1.0)]);
        // Far apart, out of order, and twice within the batch.
        let old = [NOW - 40 * 86_400, NOW - 10, NOW - 40 * 86_400, NOW - 20];
        s.send(NOW, old.iter().map(|t| reading("7", "t", at(*t), 2.0)).collect());
    });
    let times: Vec<i64> = b.rows().iter().map(|r| r.2 / 1_000_000 - NOW).collect();
    assert_eq!(times, [-40 * 86_400, -20, -10, 0]);
    assert_eq!(b.metrics.readings.duplicate.get(), 1);
    let store = open(&b.config, &Arc::default()).unwrap();
    let catalog = store.writer.catalog_for_test();
    let catalog = catalog.read().unwrap();
    assert_eq!(catalog.series(1).unwrap().newest.unwrap().ts, Timestamp::from_secs(NOW));
}

#[test]
fn stamps_of_one_moment_move_by_a_microsecond_and_a_clock_that_steps_back_finds_free_ones() {
    let mut b = Bench::new();
    b.life(|s| {
        s.send(NOW, (0..3).map(|i| reading("7", "t", When::Arrival, f64::from(i))).collect());
        s.send(NOW + 3_600, vec![reading("7", "t", When::Arrival, 3.0)]);
        s.send(NOW, vec![reading("7", "t", When::Arrival, 4.0), reading("7", "t", When::Arrival, 5.0)]);
    });
    let got: Vec<(i64, f64)> = b.rows().iter().map(|r| (r.2 - NOW * 1_000_000, r.3)).collect();
    assert_eq!(got, [(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (3_600_000_000, 3.0)]);
    assert_eq!(b.metrics.readings.committed.get(), 6);
    assert_eq!(b.metrics.readings.duplicate.get(), 0, "equal stamps are different readings");
}

#[test]
fn impossible_times_are_kept_aside_or_stamped() {
    let mut b = Bench::new();
    let stored = |t: i64, v: f64| reading("7", "t", When::Stored(Timestamp::from_secs(t)), v);
    b.life(|s| {
        s.send(NOW, vec![stored(30, 1.0), stored(NOW + 90_000, 2.0), stored(NOW + 86_400, 3.0)]);
        s.send(NOW, vec![reading("7", "u", at(12), 4.0)]);
    });
    assert_eq!(b.metrics.readings.unsynced.get(), 2);
    b.life(|s| s.send(NOW + 5, vec![stored(30, 1.0), stored(30, 1.5)]));
    assert_eq!(b.metrics.readings.duplicate.get(), 1);
    assert_eq!(b.metrics.readings.unsynced.get(), 1, "another value at the same impossible time is another reading");
    assert_eq!(
        b.text("SELECT node_ts || ' ' || value FROM unsynced ORDER BY ALL"),
        ["1760090000000000 2.0", "30000000 1.0", "30000000 1.5"]
    );
    let got: Vec<(String, i64, f64)> = b.rows().into_iter().map(|r| (r.1, r.2 / 1_000_000, r.3)).collect();
    assert_eq!(got, [("t".into(), NOW + 86_400, 3.0), ("u".into(), NOW, 4.0)]);
    assert_eq!(b.text("SELECT data FROM events"), ["impossible time 12000000 us, stamped at arrival"]);
}

#[test]
fn an_untrusted_clock_leaves_the_lag_open() {
    let mut b = Bench::new();
    b.life(|s| {
        let content = Decoded { readings: vec![reading("7", "t", When::Arrival, 1.0)], ..Decoded::default() };
        let mut a = arrival(1_000);
        a.trusted = false;
        let envelope = Envelope {
            source: "hub".into(),
            arrival: a,
            content,
            delivery: None,
            waiting: true,
            receipt: Receipt::none(),
        };
        s.intake.try_send(envelope).unwrap();
    });
    assert_eq!(b.rows(), [("7".into(), "t".into(), 1_000_000_000, 1.0, None)]);
}

#[test]
fn a_redelivered_message_without_a_time_is_stored_once_also_after_a_restart() {
    let mut b = Bench::new();
    let one = || Decoded { readings: vec![reading("7", "t", When::Arrival, 1.0)], ..Decoded::default() };
    let sent = |packet, dup| Some(Delivery { packet, dup, digest: [7; 8], part: 0 });
    b.life(|s| {
        s.envelope(NOW, one(), sent(1, false));
        s.envelope(NOW + 1, one(), sent(1, true)); // the first copy is still in the batch in hand
        s.envelope(NOW + 2, one(), sent(2, false)); // a stuck sensor: an equal payload, another message
    });
    assert_eq!(b.metrics.readings.committed.get(), 2);
    assert_eq!(b.metrics.readings.duplicate.get(), 1);
    b.life(|s| {
        s.envelope(NOW + 3, one(), sent(2, true));
        s.intake.notice(Notice::Confirmed("hub".into(), vec![(1, [7; 8])])).unwrap();
        s.envelope(NOW + 4, one(), sent(1, true)); // confirmed before: the id was used again
    });
    assert_eq!(b.metrics.readings.duplicate.get(), 1);
    assert_eq!(b.rows().iter().map(|r| r.2 / 1_000_000 - NOW).collect::<Vec<_>>(), [0, 2, 4]);
    b.life(|s| {
        s.intake.notice(Notice::SessionLost("hub".into())).unwrap();
        s.envelope(NOW + 5, one(), sent(1, true));
    });
    assert_eq!(b.rows().len(), 4, "a lost session's ids mean nothing");
}

#[test]
fn a_flood_of_names_becomes_dead_letters_and_known_series_go_on() {
    let mut b = Bench::new();
    (b.config.max_nodes, b.config.max_series) = (3, 10);
    b.life(|s| {
        s.send(NOW, (0..20).map(|i| reading(&format!("n{i}"), "t", at(NOW), 1.0)).collect());
        s.send(NOW, (0..20).map(|i| reading("n0", &format!("m{i}"), at(NOW), 1.0)).collect());
        s.send(NOW + 1, vec![reading("n2", "t", at(NOW + 1), 2.0)]);
    });
    assert_eq!(b.metrics.readings.dead(DeadReason::TooManyNodes).get(), 17);
    assert_eq!(b.metrics.readings.dead(DeadReason::TooManySeries).get(), 15, "one source has four fifths: 8 series");
    assert_eq!(b.metrics.readings.committed.get(), 9);
    assert_eq!(*b.answers.lock().unwrap(), [Outcome::Refused, Outcome::Refused, Outcome::Committed]);
    assert_eq!(b.text("SELECT count(*)::VARCHAR FROM nodes"), ["3"]);
    assert_eq!(
        b.text("SELECT reason FROM dead_letters ORDER BY 1"),
        ["too-many-nodes: t of node n3, value 1", "too-many-series: m5 of node n0, value 1"]
    );
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let mut b = Bench::new();
    b.life(|s| s.send(NOW, vec![reading("7", "t", at(NOW), 1.0)]));
    Connection::open(&b.config.path)
        .unwrap()
        .execute_batch("UPDATE meta SET value = '999' WHERE key = 'schema'")
        .unwrap();
    let before = std::fs::read(&b.config.path).unwrap();
    let Err(error) = open(&b.config, &Arc::default()) else { panic!("a newer file was opened") };
    assert!(matches!(error, OpenError::Newer { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{} was written by a newer version of gadwall (schema 999); this one knows up to schema {}: install the newer version",
            b.config.path.display(),
            schema::MIGRATIONS.len()
        )
    );
    assert_eq!(std::fs::read(&b.config.path).unwrap(), before);
    assert!(matches!(open(&b.config, &Arc::default()), Err(OpenError::Newer { .. })), "the lock was given back");
}

#[test]
fn old_commits_are_deleted_and_what_a_broker_may_send_again_stays_known() {
    let mut b = Bench::new();
    b.config.batch_rows = 1;
    let one = |t| Decoded { readings: vec![reading("7", "t", When::Arrival, f64::from(t))], ..Decoded::default() };
    let sent = |dup| Some(Delivery { packet: 1, dup, digest: [1; 8], part: 0 });
    b.life(|s| {
        for i in 0..130 {
            s.envelope(NOW + i64::from(i), one(i), if i == 70 { sent(false) } else { None });
        }
    });
    assert_eq!(b.rows().len(), 130);
    assert_eq!(b.text("SELECT min(batch)::VARCHAR || ' ' || max(batch) FROM commits"), ["113 130"]);
    assert!(b.dir.path().join("gadwall.lock").exists());
    b.life(|s| s.envelope(NOW + 1_000, one(70), sent(true)));
    assert_eq!((b.rows().len(), b.metrics.readings.duplicate.get()), (130, 1));
    // The broker sends nothing of before again: it is forgotten, also by the next process.
    b.life(|s| {
        s.intake.notice(Notice::Resumed("hub".into())).unwrap();
        s.envelope(NOW + 2_000, one(70), sent(true));
    });
    assert_eq!(b.rows().len(), 131);
}

#[test]
fn a_lost_session_ends_the_meaning_of_ids_also_for_what_waits_for_its_commit() {
    let mut b = Bench::new();
    let one = || Decoded { readings: vec![reading("7", "t", When::Arrival, 1.0)], ..Decoded::default() };
    let sent = |dup| Some(Delivery { packet: 1, dup, digest: [1; 8], part: 0 });
    b.life(|s| {
        s.envelope(NOW, one(), sent(false));
        s.intake.notice(Notice::SessionLost("hub".into())).unwrap();
        s.envelope(NOW + 1, one(), sent(true));
    });
    assert_eq!(b.rows().len(), 2, "the id of the new session is another message");
}

#[test]
fn what_a_broker_has_forgotten_is_forgotten_by_the_file_at_once() {
    for forget in [Notice::SessionLost("hub".into()), Notice::Resumed("hub".into())] {
        let mut b = Bench::new();
        let one = || Decoded { readings: vec![reading("7", "t", When::Arrival, 1.0)], ..Decoded::default() };
        let sent = |dup| Some(Delivery { packet: 1, dup, digest: [1; 8], part: 0 });
        let other = Some(Delivery { packet: 2, dup: false, digest: [2; 8], part: 0 });
        b.life(|s| s.envelope(NOW, one(), sent(false)));
        // Nothing is committed behind it.
        b.life(|s| s.intake.notice(forget.clone()).unwrap());
        // A new message with the id and the content of an old one, whose first copy came before a crash.
        b.life(|s| s.envelope(NOW + 1, one(), sent(true)));
        assert_eq!((b.rows().len(), b.metrics.readings.duplicate.get()), (2, 0), "{forget:?}");
        // What is remembered since is known.
        b.life(|s| s.envelope(NOW + 2, one(), other));
        b.life(|s| {
            s.envelope(NOW + 3, one(), sent(true));
            s.envelope(NOW + 4, one(), other.map(|delivery| Delivery { dup: true, ..delivery }));
        });
        assert_eq!((b.rows().len(), b.metrics.readings.duplicate.get()), (3, 2), "{forget:?}");
    }
}

#[test]
fn thousands_of_late_rows_far_apart_are_stored_within_the_memory_limit() {
    let mut b = Bench::new();
    b.config.memory_limit = 16_000_000;
    let old = |i: i64| reading("7", "t", at(1_430_000_000 + i * 90_000), 1.0);
    b.life(|s| {
        s.send(NOW, vec![reading("7", "t", at(NOW), 0.0)]);
        s.send(NOW + 1, (0..3_600).map(old).collect());
        s.send(NOW + 2, (0..3_600).rev().map(old).collect());
    });
    assert_eq!(b.rows().len(), 3_601);
    assert_eq!(b.metrics.readings.duplicate.get(), 3_600);
    assert_eq!(b.metrics.store.failed.get(), 0);
}

#[test]
fn events_with_times_of_their_own_are_stored_once() {
    let mut b = Bench::new();
    let log = |t: i64, text: &str| Event {
        node: "7".into(),
        kind: "event-log".into(),
        when: When::Stored(Timestamp::from_secs(t)),
        data: text.into(),
    };
    let all = || Decoded {
        events: vec![log(NOW - 5, "a"), log(NOW - 5, "b"), log(NOW - 5, "a"), log(NOW - 90_000, "a")],
        ..Decoded::default()
    };
    b.life(|s| {
        s.envelope(NOW, all(), None);
        s.envelope(
            NOW,
            Decoded { events: vec![Event { when: When::Arrival, ..log(0, "a") }], ..Decoded::default() },
            None,
        );
    });
    b.life(|s| s.envelope(NOW + 60, all(), None));
    let expected: Vec<String> = [(NOW - 90_000, "a"), (NOW - 5, "a"), (NOW - 5, "b"), (NOW, "a")]
        .iter()
        .map(|(t, d)| format!("{t} {d}"))
        .collect();
    assert_eq!(b.text("SELECT epoch(ts)::BIGINT || ' ' || data FROM events ORDER BY ts, data"), expected);
}

#[test]
fn own_names_and_whether_a_node_is_there_are_known_after_a_restart() {
    let mut b = Bench::new();
    let news =
        |data: &str, when| Event { node: "plug".into(), kind: AVAILABILITY_EVENT.into(), when, data: data.into() };
    let events = |events| Decoded { events, ..Decoded::default() };
    let state = |b: &Bench| {
        let store = open(&b.config, &Arc::default()).unwrap();
        let catalog = store.reader.catalog();
        let node = catalog.find_node("hub", "plug").unwrap();
        let own_names: Vec<_> = node.series.iter().map(|id| catalog.series(*id).unwrap().own_name.clone()).collect();
        (node.online, own_names)
    };
    b.life(|s| {
        let named = Reading { own_name: Some("Temperature".into()), ..reading("plug", "temperature", at(NOW), 1.0) };
        s.send(NOW, vec![named, reading("plug", "humidity", at(NOW), 1.0)]);
        s.envelope(NOW + 1, events(vec![news(ONLINE, When::Arrival)]), None);
    });
    let names = vec![Some("Temperature".into()), None];
    assert_eq!(state(&b), (Some((Timestamp::from_secs(NOW + 1), true)), names.clone()));
    // What is older, and was heard of late, changes nothing.
    b.life(|s| s.envelope(NOW + 9, events(vec![news(OFFLINE, at(NOW)), news("rebooted", at(NOW - 5))]), None));
    assert_eq!(state(&b), (Some((Timestamp::from_secs(NOW + 1), true)), names.clone()));
    b.life(|s| s.envelope(NOW + 10, events(vec![news(OFFLINE, When::Arrival)]), None));
    assert_eq!(state(&b), (Some((Timestamp::from_secs(NOW + 10), false)), names));
}
