//! What is counted against the quality of a series, through the channel into the file.

use super::*;
use crate::reading::CLOCK_EVENT;
use crate::store::ledger::Counts;

/// The beginning of an hour.
const HOUR: i64 = NOW - NOW % 3_600;

/// A running writer.
struct Live {
    intake: Intake,
    catalog: Arc<RwLock<Catalog>>,
}

impl Bench {
    /// Runs one life of the store, in which `send` can wait for its commits.
    fn waited(&mut self, send: impl FnOnce(&Live)) {
        self.metrics = Arc::default();
        let store = open(&self.config, &self.metrics).unwrap();
        let (intake, outlet) = channel(&config::Intake::default(), Arc::clone(&self.metrics));
        let live = Live { intake, catalog: store.writer.catalog_for_test() };
        let writer = store.writer;
        let thread = std::thread::spawn(move || writer.run(&outlet));
        send(&live);
        drop(live);
        thread.join().unwrap().unwrap();
    }

    /// The rows of `quality`: node, metric, hours after [`HOUR`], duplicates, conflicts, clock errors.
    fn quality(&self) -> Vec<String> {
        self.text(&format!(
            "SELECT n.name || ' ' || s.metric || ' +' || ((epoch(q.hour) - {HOUR}) / 3600)::BIGINT || ' ' || q.duplicates \
             || ' ' || q.conflicts || ' ' || q.clock_errors \
             FROM quality q JOIN series s USING (series) JOIN nodes n USING (node) ORDER BY q.hour, n.name, s.metric, q.duplicates"
        ))
    }

    fn clock_events(&self) -> Vec<String> {
        self.text(
            "SELECT n.name || ' ' || e.data FROM events e JOIN nodes n USING (node) WHERE kind = 'clock' ORDER BY e.ts",
        )
    }
}

/// Sends and waits until it is committed.
fn commit(s: &Live, secs: i64, content: Decoded, delivery: Option<Delivery>) {
    let (tx, rx) = std::sync::mpsc::channel();
    let envelope = Envelope {
        source: "hub".into(),
        arrival: arrival(secs),
        content,
        delivery,
        waiting: true,
        receipt: Receipt::new(move |o| tx.send(o).unwrap()),
    };
    s.intake.try_send(envelope).unwrap();
    assert_eq!(rx.recv().unwrap(), Outcome::Committed);
}

fn readings(of: Vec<Reading>) -> Decoded {
    Decoded { readings: of, ..Decoded::default() }
}

#[test]
fn duplicates_and_conflicts_are_counted_by_series_and_hour() {
    let mut b = Bench::new();
    let t = |value| reading("7", "t", at(HOUR - 5), value);
    let h = |value| reading("7", "h", at(HOUR - 5), value);
    b.waited(|s| {
        commit(s, HOUR, readings(vec![t(1.0), h(5.0), t(1.0)]), None);
        commit(s, HOUR, readings(vec![t(1.0), h(6.0)]), None);
        // The next hour: what was counted is written with it.
        commit(s, HOUR + 3_600, readings(vec![t(2.0), reading("8", "t", at(HOUR), 1.0)]), None);
        commit(s, HOUR + 3_601, readings(vec![reading("8", "t", at(HOUR), 1.0)]), None);
        let catalog = s.catalog.read().unwrap();
        let hour = |n: i64| Timestamp::from_secs(HOUR + n * 3_600);
        assert_eq!(catalog.ledger.of(1, hour(0), hour(1)), Counts::default(), "it is in the file");
        assert_eq!(catalog.ledger.of(1, hour(1), hour(2)).conflicts, 1);
    });
    assert_eq!(
        b.quality(),
        ["7 h +0 0 1 0", "7 t +0 2 0 0", "7 t +1 0 1 0", "8 t +1 1 0 0"],
        "the last hour at the stop"
    );
    // Another life in the same hour has rows of its own; without anything to count, none.
    b.waited(|s| commit(s, HOUR + 3_602, readings(vec![t(1.0)]), None));
    b.waited(|s| commit(s, HOUR + 3_603, readings(vec![reading("8", "t", at(HOUR + 1), 1.0)]), None));
    assert_eq!(b.quality()[2..], ["7 t +1 0 1 0", "7 t +1 1 0 0", "8 t +1 1 0 0"]);
    assert_eq!((b.metrics.readings.duplicate.get(), b.metrics.readings.conflict.get()), (0, 0));
}

#[test]
fn redelivered_readings_are_duplicates_of_their_series() {
    let mut b = Bench::new();
    let message = |dup| {
        let content = readings(vec![reading("7", "t", When::Arrival, 1.0), reading("7", "h", When::Arrival, 2.0)]);
        (content, Some(Delivery { packet: 9, dup, digest: [4; 8], part: 0 }))
    };
    b.waited(|s| {
        let (content, delivery) = message(false);
        commit(s, HOUR, content, delivery);
        let (content, delivery) = message(true);
        commit(s, HOUR + 1, content, delivery);
    });
    assert_eq!(b.quality(), ["7 h +0 1 0 0", "7 t +0 1 0 0"]);
    assert_eq!(b.metrics.readings.duplicate.get(), 2);
}

#[test]
fn a_wrong_clock_is_told_once_an_hour_and_counted_each_time() {
    let mut b = Bench::new();
    let wrong = |node: &str, metric: &str, secs| reading(node, metric, When::Live(Timestamp::from_secs(secs)), 1.0);
    let unreadable = || Decoded {
        readings: vec![reading("9", "t", When::Arrival, 1.0), reading("7", "t", When::Arrival, 1.0)],
        events: vec![Event { node: "9".into(), kind: CLOCK_EVENT.into(), when: When::Arrival, data: "soon".into() }],
        dead: vec![],
    };
    b.waited(|s| {
        for i in 0..100 {
            // The last arrival is 3,564 seconds behind the first.
            commit(s, HOUR + i * 36, readings(vec![wrong("7", "t", 5 + i), wrong("7", "h", 5 + i)]), None);
        }
        commit(s, HOUR + 3_600, readings(vec![wrong("7", "t", 7), wrong("8", "t", 8)]), None);
        commit(s, HOUR + 3_601, unreadable(), None);
        commit(s, HOUR + 3_602, unreadable(), None);
        // A stored record is kept aside, and known when it comes again.
        let record = || readings(vec![reading("7", "r", When::Stored(Timestamp::from_secs(9)), 1.0)]);
        commit(s, HOUR + 3_603, record(), None);
        commit(s, HOUR + 3_604, record(), None);
    });
    let told = |node: &str, us: i64| format!("{node} impossible time {us} us, stamped at arrival");
    assert_eq!(
        b.clock_events(),
        [told("7", 5_000_000), told("7", 7_000_000), told("8", 8_000_000), "9 soon".to_owned()]
    );
    assert_eq!(
        b.quality(),
        ["7 h +0 0 0 100", "7 t +0 0 0 100", "7 r +1 1 0 2", "7 t +1 0 0 1", "8 t +1 0 0 1", "9 t +1 0 0 2"]
    );
}
