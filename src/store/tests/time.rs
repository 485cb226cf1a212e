//! The store under a clock that is wrong, becomes right, jumps, or comes from another boot.

use std::sync::mpsc;
use std::time::Instant;

use super::super::unsynced::{Boot, release};
use super::*;
use crate::clock::stepped::Stepped;
use crate::clock::{Clock, Machine};
use crate::config::Trust;

/// A running writer under a clock that the test moves.
struct Live<'a> {
    board: &'a Stepped,
    clock: Clock,
    metrics: Arc<Metrics>,
    catalog: Arc<RwLock<Catalog>>,
    intake: Intake,
}

impl Live<'_> {
    /// Sends readings without a time of their own, stamped now, and waits until they are durable.
    fn send(&self, values: &[f64]) {
        self.send_all(values.iter().map(|v| reading("7", "t", When::Arrival, *v)).collect());
    }

    fn send_all(&self, readings: Vec<Reading>) {
        let (tx, answer) = mpsc::channel();
        let envelope = Envelope {
            source: "hub".into(),
            arrival: self.clock.now(),
            content: Decoded { readings, ..Decoded::default() },
            delivery: None,
            waiting: true,
            receipt: Receipt::new(move |o| tx.send(o).unwrap()),
        };
        self.intake.try_send(envelope).unwrap();
        assert_eq!(answer.recv_timeout(Duration::from_secs(20)), Ok(Outcome::Committed));
    }

    fn pass(&self, secs: u64) {
        self.board.pass(Duration::from_secs(secs));
        self.clock.refresh();
    }

    /// The clock is set to `now` and synchronised, and a second passes.
    fn synchronise(&self, now: i64) {
        self.board.set(Timestamp::from_secs(now));
        self.board.synchronise(true);
        self.clock.refresh();
        self.pass(1);
    }

    fn unsynced(&self) -> i64 {
        self.metrics.clock.unsynced.get()
    }

    fn wait_unsynced(&self, count: i64) {
        self.wait(&format!("{count} readings without their time"), |live| live.unsynced() == count);
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < end, "not seen: {what}; {} without their time", self.unsynced());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn newest(&self) -> Option<(i64, f64, Option<i32>)> {
        self.catalog.read().unwrap().series(1).unwrap().newest.map(|n| (n.ts.micros() / 1_000_000, n.value, n.lag))
    }
}

impl Bench {
    /// One life of the store on `board`.
    fn live(&mut self, board: &Stepped, trust: Trust, act: impl FnOnce(&Live<'_>)) {
        self.metrics = Arc::default();
        let clock = board.clock(trust, &self.metrics);
        let store = open(&self.config, &self.metrics).unwrap();
        let (intake, outlet) = channel(&config::Intake::default(), Arc::clone(&self.metrics));
        let writer = store.writer.under(clock.clone()).unwrap();
        let live =
            Live { board, clock, metrics: Arc::clone(&self.metrics), catalog: writer.catalog_for_test(), intake };
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || writer.run(&outlet));
            act(&live);
            drop(live);
            thread.join().unwrap().unwrap();
        });
    }

    /// Seconds, value and lag of all readings.
    fn short(&self) -> Vec<(i64, f64, Option<i32>)> {
        self.rows().into_iter().map(|r| (r.2.div_euclid(1_000_000), r.3, r.4)).collect()
    }

    fn count(&self, of: &str) -> String {
        self.text(&format!("SELECT count(*)::VARCHAR FROM {of}")).remove(0)
    }
}

#[test]
fn readings_wait_for_the_first_synchronisation_and_get_their_true_time() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp(0));
    b.live(&board, Trust::Auto, |live| {
        live.send(&[1.0, 2.0]);
        live.pass(60);
        // The sender's own time needs no clock; one that cannot be right does.
        live.send_all(vec![reading("7", "u", at(NOW), 3.0), reading("7", "t", at(5), 4.0)]);
        assert_eq!((live.unsynced(), live.metrics.readings.committed.get(), live.newest()), (3, 4, None));
        assert_eq!(live.metrics.store.readings.get(), 1);
        live.pass(39);
        live.synchronise(NOW);
        live.wait_unsynced(0);
        assert_eq!(live.newest(), Some((NOW - 39, 4.0, Some(0))));
        assert_eq!((live.metrics.store.readings.get(), live.metrics.readings.committed.get()), (4, 4));
        live.send(&[5.0]);
    });
    let start = (NOW - 99) * 1_000_000;
    let times: Vec<(String, i64, f64, Option<i32>)> = b.rows().into_iter().map(|r| (r.1, r.2, r.3, r.4)).collect();
    assert_eq!(
        times,
        [
            ("t".into(), start, 1.0, Some(0)),
            ("t".into(), start + 1, 2.0, Some(0)),
            ("t".into(), start + 60_000_000, 4.0, Some(0)),
            ("t".into(), (NOW + 1) * 1_000_000, 5.0, Some(0)),
            ("u".into(), NOW * 1_000_000, 3.0, None),
        ]
    );
    assert_eq!((b.count("unsynced"), b.count("provisional")), ("0".into(), "0".into()));
}

#[test]
fn an_offline_site_sees_its_data_and_it_is_corrected_later() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp::from_secs(1_500_000_000));
    b.live(&board, Trust::Auto, |live| {
        live.send(&[1.0, 2.0]);
        live.pass(800);
        live.wait("patience to be over", |live| live.metrics.store.readings.get() == 2);
        assert_eq!(live.newest(), Some((1_500_000_000, 2.0, None)));
        live.send(&[3.0]);
        assert_eq!(live.newest(), Some((1_500_000_800, 3.0, None)));
        assert_eq!(live.unsynced(), 3, "their time is not settled");
    });
    assert_eq!(b.short(), [(1_500_000_000, 1.0, None), (1_500_000_000, 2.0, None), (1_500_000_800, 3.0, None)]);
    assert_eq!(b.count("unsynced"), "0");
    // Another process in the same boot.
    b.live(&board, Trust::Auto, |live| {
        assert_eq!(live.unsynced(), 3);
        live.pass(100);
        live.synchronise(NOW);
        live.wait_unsynced(0);
        live.wait("the newest", |live| live.newest() == Some((NOW - 100, 3.0, Some(0))));
        assert_eq!(live.metrics.store.readings.get(), 3);
    });
    assert_eq!(b.short(), [(NOW - 900, 1.0, Some(0)), (NOW - 900, 2.0, Some(0)), (NOW - 100, 3.0, Some(0))]);
    assert_eq!(b.count("provisional"), "0");
}

#[test]
fn a_clock_that_was_ahead_leaves_no_newest_value_in_the_future() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp::from_secs(NOW + 1_000_000));
    b.live(&board, Trust::Synchronised, |live| {
        live.pass(800);
        live.send(&[1.0]);
        live.send_all(vec![reading("8", "t", When::Arrival, 9.0)]);
        assert_eq!(live.newest(), Some((NOW + 1_000_800, 1.0, None)));
        live.pass(10);
        live.synchronise(NOW);
        live.wait_unsynced(0);
        live.wait("the newest", |live| live.newest() == Some((NOW - 10, 1.0, Some(0))));
        live.send(&[2.0]);
        assert_eq!(live.newest(), Some((NOW + 1, 2.0, Some(0))));
    });
    assert_eq!(b.short(), [(NOW - 10, 1.0, Some(0)), (NOW + 1, 2.0, Some(0)), (NOW - 10, 9.0, Some(0))]);
}

#[test]
fn what_waits_from_another_boot_is_stored_as_it_is() {
    let mut b = Bench::new();
    let stored = |v| reading("7", "t", When::Stored(Timestamp(30)), v);
    b.live(&Stepped::new("a", Timestamp::from_secs(1_000)), Trust::Auto, |live| {
        live.send(&[1.0, 2.0]);
        live.send_all(vec![stored(5.0)]);
        assert_eq!(live.unsynced(), 2);
    });
    let board = Stepped::new("b", Timestamp::from_secs(NOW));
    board.synchronise(true);
    b.live(&board, Trust::Auto, |live| {
        live.wait_unsynced(0);
        live.send_all(vec![stored(5.0), stored(6.0)]);
    });
    assert_eq!(b.metrics.readings.duplicate.get(), 1, "the node's record is known when it is sent again");
    assert_eq!(b.short(), [(1_000, 1.0, None), (1_000, 2.0, None)]);
    assert_eq!(
        b.text("SELECT boot || ' ' || node_ts || ' ' || value FROM unsynced ORDER BY ALL"),
        ["a 30 5.0", "b 30 6.0"]
    );
}

#[test]
fn notes_of_another_boot_are_dropped() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp::from_secs(1_000));
    b.live(&board, Trust::Auto, |live| {
        live.pass(800);
        live.send(&[1.0]);
    });
    assert_eq!(b.count("provisional"), "1");
    let board = Stepped::new("b", Timestamp::from_secs(NOW));
    board.synchronise(true);
    b.live(&board, Trust::Auto, |live| live.wait_unsynced(0));
    assert_eq!((b.short(), b.count("provisional")), (vec![(1_800, 1.0, None)], "0".into()));
}

#[test]
fn jumps_of_a_clock_in_doubt_move_nothing() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp::from_secs(1_000));
    b.live(&board, Trust::Auto, |live| {
        for jump in [0, 7_200_000_000, -3_600_000_000] {
            board.step(jump);
            live.pass(1);
            live.send(&[1.0]);
        }
        assert_eq!((live.unsynced(), live.metrics.clock.jumps.get()), (3, 2));
        live.synchronise(NOW);
        live.wait_unsynced(0);
    });
    assert_eq!(b.short(), [(NOW - 2, 1.0, Some(0)), (NOW - 1, 1.0, Some(0)), (NOW, 1.0, Some(0))]);
}

#[test]
fn more_than_one_step_is_moved_and_nothing_twice() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp(0));
    b.live(&board, Trust::Auto, |live| {
        for i in 0..12 {
            live.send_all(
                (0..1_000)
                    .map(|v| reading(&format!("{}", v % 7), "t", When::Arrival, f64::from(i * 1_000 + v)))
                    .collect(),
            );
            live.pass(1);
        }
        assert_eq!(live.unsynced(), 12_000);
        live.synchronise(NOW);
        live.wait_unsynced(0);
    });
    let sql = "SELECT count(*) || ' ' || count(DISTINCT value) || ' ' || count(DISTINCT (series, ts)) || ' ' ||
               min(epoch(ts)::BIGINT) || ' ' || count(*) FILTER (lag IS DISTINCT FROM 0) || ' ' ||
               max(abs(epoch(ts) - (value // 1000) - (SELECT min(epoch(ts)) FROM readings)) < 0.01)::VARCHAR FROM readings";
    assert_eq!(b.text(sql), [format!("12000 12000 12000 {} 0 true", NOW - 12)]);
}

#[test]
fn what_exceeds_the_bound_is_stored_as_it_is_and_corrected() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp::from_secs(1_000));
    b.live(&board, Trust::Auto, |live| live.send(&[0.5]));
    Connection::open(&b.config.path)
        .unwrap()
        .execute_batch(
            "INSERT INTO unsynced SELECT 1, 'a', i * 10, NULL, -1, make_timestamp(i * 10) FROM range(99998) t(i)",
        )
        .unwrap();
    b.live(&board, Trust::Auto, |live| {
        live.pass(5);
        live.send(&[1.0, 2.0, 3.0]);
        assert_eq!(live.unsynced(), 100_002);
        assert_eq!(live.metrics.store.readings.get(), 2);
        assert_eq!(live.newest(), Some((1_005, 3.0, None)));
        live.synchronise(NOW);
        live.wait_unsynced(0);
    });
    let mut rows = b.short();
    rows.retain(|r| r.1 > 0.0);
    assert_eq!(rows, [(NOW - 5, 0.5, Some(0)), (NOW, 1.0, Some(0)), (NOW, 2.0, Some(0)), (NOW, 3.0, Some(0))]);
    assert_eq!(b.count("readings"), "100002");
}

#[test]
fn the_floor_is_the_newest_trusted_arrival_and_survives_a_restart() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp::from_secs(NOW)).with_battery();
    b.live(&board, Trust::Auto, |live| {
        // A node that is ahead does not move it.
        live.send_all(vec![reading("7", "t", at(NOW + 80_000), 1.0)]);
        live.pass(10);
        live.send(&[2.0]);
    });
    let row = b.text("SELECT value FROM meta WHERE key = 'floor'");
    assert_eq!(row, [format!("{}", NOW * 1_000_000)], "at most once a minute");
    let file = b.dir.path().join("gadwall.floor");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("{} 2025-10-09T08:53:30Z\n", (NOW + 10) * 1_000_000), "at the stop");

    let board = Stepped::new("b", Timestamp::from_secs(NOW - 3_600)).with_battery();
    b.live(&board, Trust::Auto, |live| {
        assert!(!live.clock.trusted() && live.metrics.clock.before_floor.load(std::sync::atomic::Ordering::Relaxed));
        live.send(&[3.0]);
        assert_eq!(live.unsynced(), 1);
        live.synchronise(NOW + 20);
        live.wait_unsynced(0);
    });
    let rows: Vec<_> = b.short().into_iter().filter(|r| r.1 == 3.0).collect();
    assert_eq!(rows, [(NOW + 20, 3.0, Some(0))]);

    // The database is gone: the file beside it still tells.
    std::fs::remove_file(&b.config.path).unwrap();
    let board = Stepped::new("c", Timestamp::from_secs(NOW - 3_600)).with_battery();
    b.live(&board, Trust::Auto, |live| assert!(!live.clock.trusted()));
    std::fs::write(&file, "1760000030000000 2035-10-09T08:53:30Z\n").unwrap();
    std::fs::remove_file(&b.config.path).unwrap();
    b.live(&board, Trust::Auto, |live| assert!(live.clock.trusted(), "a damaged file is ignored"));
}

#[test]
fn a_crash_in_the_middle_leaves_steps_that_the_next_life_goes_on_with() {
    let mut b = Bench::new();
    let board = Stepped::new("a", Timestamp(0));
    b.live(&board, Trust::Auto, |live| {
        for i in 0..7 {
            live.send_all((0..1_000).map(|v| reading("7", "t", When::Arrival, f64::from(i * 1_000 + v))).collect());
            live.pass(1);
        }
    });
    // One step by hand, as a process that was killed behind it has left it.
    let root = super::super::open::Root::open(&b.config).unwrap();
    let catalog = root.load_catalog().unwrap();
    let offset = Some(NOW * 1_000_000 - board.boottime());
    let step = release(&root.connection, &catalog, "a", Boot::This, offset, &Arc::default()).unwrap().unwrap();
    assert_eq!((step.taken, step.stored, step.noted), (5_000, 5_000, 0));
    // And one that was killed before its commit.
    root.connection.execute_batch("BEGIN; DELETE FROM g.unsynced").unwrap();
    drop(root);
    b.live(&board, Trust::Auto, |live| {
        assert_eq!(live.unsynced(), 2_000);
        live.synchronise(NOW);
        live.wait_unsynced(0);
    });
    let sql =
        "SELECT count(*) || ' ' || count(DISTINCT value) || ' ' || count(DISTINCT ts) FROM readings WHERE lag = 0";
    assert_eq!((b.text(sql), b.count("readings")), (vec!["7000 7000 7000".to_owned()], "7000".into()));
}
