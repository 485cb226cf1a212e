//! A clock that is wrong, becomes right, jumps, or is set back: the real binary under libfaketime.

use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::{Daemon, FakeClock, Hub, Record, Setup, Stored, batch, now_micros, open, wait_for};

/// The true time of a reading is known to the test to within this, in microseconds: half of it for the way to the daemon.
const CLOSE: i64 = 10_000;
const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 86_400;

/// A daemon with a port of JSON lines and a clock that the test moves.
struct Bench {
    clock: FakeClock,
    port: Hub,
    daemon: Daemon,
    /// Value of a reading that was sent without a time, and when.
    sent: Vec<(f64, i64)>,
}

impl Bench {
    /// With the clock off by `seconds`, under `clock`, the rest of `[clock]`.
    fn new(seconds: i64, clock: &str) -> Self {
        Self::with(Hub::new(), "json-lines", seconds, clock)
    }

    fn with(port: Hub, format: &str, seconds: i64, clock: &str) -> Self {
        let fake = FakeClock::new(seconds);
        let config = format!(
            "{}\n[store]\nflush-interval = \"100ms\"\n[clock]\nsynchronised-file = \"{}\"\n{clock}\n",
            port.section(format, ""),
            fake.mark().display()
        );
        let daemon = Setup::new(&config).envs(fake.env()).start();
        daemon.wait_state("hub", "up");
        Self { clock: fake, port, daemon, sent: Vec::new() }
    }

    /// Sets the daemon's clock off by `seconds`.
    fn shift(&self, seconds: i64) {
        self.clock.shift(seconds);
    }

    fn synchronise(&self) {
        self.clock.synchronise();
    }

    /// Sends a reading without a time and waits until it is durable.
    fn send(&mut self) {
        let value = self.sent.len() as f64;
        let line = format!("{{\"node\": \"n\", \"v\": {value}}}");
        let committed = self.daemon.stat("/readings/committed");
        self.sent.push((value, now_micros()));
        self.port.send(&line);
        self.daemon.wait_stat("/readings/committed", committed + 1);
    }

    fn jumps(&self) -> u64 {
        self.daemon.stat("/clock/jumps")
    }

    fn trusted(&self) -> bool {
        self.daemon.stats()["clock"]["trusted"] == true
    }

    fn wait_trusted(&self, trusted: bool) {
        wait_for("the clock's standing to change", || self.trusted() == trusted);
    }

    fn wait_settled(&self) {
        wait_for("every reading to have its time", || self.daemon.stat("/clock/unsynced") == 0);
    }

    /// Asserts that every reading sent is stored once, off by so many seconds, with this lag.
    #[track_caller]
    fn check(&self, stored: &Stored, expected: &[(i64, Option<i32>)]) {
        assert_eq!(stored.rows.len(), expected.len(), "{:?}", stored.rows);
        let mut worst = 0;
        for ((value, at), (seconds, lag)) in self.sent.iter().zip(expected) {
            let rows: Vec<_> = stored.rows.iter().filter(|r| r.value == *value).collect();
            assert_eq!(rows.len(), 1, "stored once: {rows:?}");
            let off = rows[0].ts - at - seconds * 1_000_000;
            worst = worst.max(off.abs());
            // The way to the daemon and a busy machine are within it; the clocks themselves are off by microseconds.
            assert!((-CLOSE..=30 * CLOSE).contains(&off), "off by {off} us: {:?}", rows[0]);
            assert_eq!(rows[0].lag, *lag, "{:?}", rows[0]);
        }
        eprintln!("{} readings, the farthest {worst} us from its sending", self.sent.len());
    }

    /// What waits in the file of the daemon that has ended, as text: boot, CLOCK_BOOTTIME.
    fn waiting(&self) -> Vec<(String, i64)> {
        let copy = tempfile::tempdir().expect("a temporary directory");
        for name in ["gadwall.duckdb", "gadwall.duckdb.wal"] {
            let from = self.daemon.dir().join(name);
            if from.exists() {
                std::fs::copy(from, copy.path().join(name)).expect("copying the database");
            }
        }
        let db = open(&copy.path().join("gadwall.duckdb"));
        let mut select = db
            .prepare("SELECT boot, boottime FROM unsynced WHERE node_ts IS NULL ORDER BY boottime")
            .expect("the table exists");
        let rows = select.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).expect("reading the table");
        rows.map(|r| r.expect("a row")).collect()
    }
}

/// The whole seconds of a step in the log; it is told to the millisecond and may be a few short.
fn step(text: &str) -> i64 {
    let seconds: f64 = text.split(' ').next().and_then(|t| t.parse().ok()).expect("a step in seconds");
    seconds.round() as i64
}

const BOARD: &str = "trust = \"synchronised\"\npatience = \"1000d\"";
/// This machine has been up for longer, so patience is over at once.
const OFFLINE: &str = "trust = \"synchronised\"\npatience = \"0s\"";

#[test]
fn readings_of_an_unsynchronised_boot_get_their_true_time_at_the_first_synchronisation() {
    let mut b = Bench::new(-20 * YEAR, BOARD);
    for _ in 0..5 {
        b.send();
    }
    assert!(!b.trusted());
    assert_eq!(b.daemon.stat("/clock/unsynced"), 5);
    assert_eq!(b.daemon.stat("/store/readings"), 0);
    assert_eq!(b.daemon.failing(), ["clock: the clock cannot be trusted: it is not synchronised"]);
    b.shift(0);
    b.synchronise();
    b.wait_settled();
    b.send();
    assert_eq!((b.daemon.stat("/store/readings"), b.jumps()), (6, 1));
    assert_eq!(b.daemon.failing(), Vec::<String>::new());
    let latest = b.daemon.json("/api/v1/nodes/n/latest");
    assert_eq!(latest["values"][0]["value"], 5.0, "{latest}");
    let stored = b.daemon.finish();
    b.check(&stored, &[(0, Some(0)); 6]);
    assert_eq!(b.waiting(), []);
}

#[test]
fn the_time_is_told_to_arrivals_as_exactly_as_the_clocks_allow() {
    let mut b = Bench::new(-20 * YEAR, BOARD);
    for _ in 0..20 {
        b.send();
    }
    b.daemon.kill9();
    let waiting = b.waiting();
    assert_eq!(waiting.len(), 20);
    b.shift(0);
    b.synchronise();
    b.daemon.restart();
    b.wait_settled();
    let stored = b.daemon.finish();
    // What CLOCK_REALTIME is against CLOCK_BOOTTIME, by the test's own clocks.
    let boottime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let offset = now_micros() - (boottime.tv_sec * 1_000_000 + boottime.tv_nsec / 1_000);
    let mut worst = 0;
    for (row, (_, boottime)) in stored.rows.iter().zip(&waiting) {
        let off = row.ts - (boottime + offset);
        worst = worst.max(off.abs());
        assert!(off.abs() <= CLOSE, "off by {off} us: {row:?}");
    }
    eprintln!("off by {worst} us at the most");
    b.check(&stored, &[(0, Some(0)); 20]);
}

#[test]
fn killed_and_started_again_in_the_same_boot_before_and_after_the_synchronisation() {
    let mut b = Bench::new(-20 * YEAR, BOARD);
    let mut count = 0;
    for round in 0..6 {
        for _ in 0..3 {
            b.send();
            count += 1;
        }
        if round == 3 {
            b.shift(0);
            b.synchronise();
            b.wait_trusted(true);
        }
        b.daemon.kill9();
        b.daemon.restart();
        b.daemon.wait_state("hub", "up");
    }
    b.wait_settled();
    let stored = b.daemon.finish();
    b.check(&stored, &vec![(0, Some(0)); count]);
}

#[test]
fn killed_at_any_moment_while_many_readings_are_moved_each_is_stored_once() {
    let mut b = Bench::new(-20 * YEAR, BOARD);
    let mut lines = String::new();
    for i in 0..30_000_u64 {
        writeln!(lines, "{{\"node\": \"n{}\", \"v\": {i}}}", i % 10).expect("writing to a text");
        if i % 1_000 == 999 {
            b.port.send_bytes(std::mem::take(&mut lines).as_bytes());
            // A port does not wait: what is on its way has to fit into the channel, however slow the machine is.
            b.daemon.wait_stat("/readings/committed", i.saturating_sub(10_000));
        }
    }
    b.daemon.wait_stat("/readings/committed", 30_000);
    b.shift(0);
    b.synchronise();
    let mut kills = 0;
    let mut moving = 0;
    for pause in [0, 20, 60, 120, 200] {
        wait_for("the clock to be steady", || {
            b.daemon.stat("/clock/unsynced") < 30_000 || b.daemon.log().contains("have got their true time")
        });
        std::thread::sleep(Duration::from_millis(pause));
        let left = b.daemon.stat("/clock/unsynced");
        moving += usize::from(left > 0 && left < 30_000);
        b.daemon.kill9();
        kills += 1;
        b.daemon.restart();
        if left == 0 {
            break;
        }
    }
    b.wait_settled();
    eprintln!("{kills} kills, {moving} of them while readings were moved");
    assert!(moving > 0, "no kill was in the middle");
    let stored = b.daemon.finish();
    assert_eq!(stored.rows.len(), 30_000);
    let mut values: Vec<i64> = stored.rows.iter().map(|r| r.value as i64).collect();
    values.sort_unstable();
    assert!(values.iter().zip(0..).all(|(v, i)| *v == i), "each value once");
    let now = now_micros();
    assert!(stored.rows.iter().all(|r| r.lag == Some(0) && r.ts <= now && r.ts > now - 300 * 1_000_000));
}

#[test]
fn an_offline_site_sees_its_data_and_it_is_corrected_when_the_clock_becomes_right() {
    let mut b = Bench::new(-HOUR, OFFLINE);
    b.send();
    b.send();
    assert_eq!((b.daemon.stat("/store/readings"), b.daemon.stat("/clock/unsynced")), (2, 2));
    b.daemon.kill9();
    b.check(&b.daemon.stored(), &[(-HOUR, None), (-HOUR, None)]);
    b.daemon.restart();
    b.daemon.wait_state("hub", "up");
    b.send();
    b.shift(0);
    b.synchronise();
    b.wait_settled();
    b.send();
    assert_eq!(b.daemon.stat("/store/readings"), 4);
    let stored = b.daemon.finish();
    b.check(&stored, &[(0, Some(0)); 4]);
}

#[test]
fn jumps_of_a_trusted_clock_are_counted_and_lose_nothing() {
    let mut b = Bench::new(0, "trust = \"always\"");
    b.send();
    b.shift(2 * HOUR);
    wait_for("the jump forward to be seen", || b.jumps() == 1);
    b.send();
    b.shift(-HOUR);
    wait_for("the jump backward to be seen", || b.jumps() == 2);
    b.send();
    b.shift(0);
    wait_for("the jump to the true time to be seen", || b.jumps() == 3);
    b.send();
    let log = b.daemon.log();
    let steps: Vec<i64> = log.lines().filter_map(|line| Some(step(line.split("seconds=").nth(1)?))).collect();
    assert_eq!(steps, [2 * HOUR, -3 * HOUR, HOUR]);
    assert_eq!(log.matches("the clock has jumped while it was trusted").count(), 3, "{log}");
    let stored = b.daemon.finish();
    b.check(&stored, &[(0, Some(0)), (2 * HOUR, Some(0)), (-HOUR, Some(0)), (0, Some(0))]);
}

#[test]
fn a_clock_before_the_newest_reading_is_not_right_until_it_is_synchronised() {
    // Trusted by itself: this machine has a battery-backed clock, or is no board.
    let mut b = Bench::new(0, "trust = \"auto\"\npatience = \"1000d\"");
    assert!(b.trusted());
    b.send();
    assert_eq!(b.daemon.terminate().code(), Some(0));
    let floor = b.daemon.dir().join("gadwall.floor");
    assert!(floor.exists());
    b.shift(-HOUR);
    b.daemon.restart();
    b.daemon.wait_state("hub", "up");
    assert!(!b.trusted());
    let failing = b.daemon.failing();
    assert!(
        failing.len() == 1 && failing[0].starts_with("clock: the clock is before the newest reading of 20"),
        "{failing:?}"
    );
    b.send();
    assert_eq!(b.daemon.stat("/clock/unsynced"), 1);
    b.shift(0);
    b.wait_settled();
    b.send();
    let stored = b.daemon.finish();
    b.check(&stored, &[(0, Some(0)); 3]);
}

#[test]
fn a_synchronised_clock_lowers_a_floor_that_was_ahead() {
    let mut b = Bench::new(YEAR, "trust = \"auto\"\npatience = \"1000d\"");
    b.send();
    b.shift(0);
    b.wait_trusted(false);
    b.send();
    b.synchronise();
    b.wait_settled();
    assert_eq!(b.daemon.terminate().code(), Some(0));
    std::fs::remove_file(b.clock.mark()).expect("removing the mark");
    b.daemon.restart();
    b.daemon.wait_state("hub", "up");
    assert!(b.trusted(), "the floor is the true time again");
    b.send();
    let stored = b.daemon.finish();
    b.check(&stored, &[(YEAR, Some(0)), (0, Some(0)), (0, Some(0))]);
}

#[test]
fn records_of_a_node_whose_clock_was_never_set_stay_apart_and_are_known_again() {
    let mut b = Bench::with(Hub::new(), "hub-lines", -20 * YEAR, BOARD);
    let records = [
        Record { time: 30, temp: 2_000, hum: 5_000, flags: 0 },
        Record { time: 60, temp: 2_100, hum: 5_000, flags: 0 },
    ];
    for _ in 0..2 {
        b.port.send_bytes(batch(3, 77, &records).as_bytes());
        b.port.expect_ack("BATCH_ACK 3 2 0");
    }
    assert_eq!((b.daemon.stat("/readings/unsynced"), b.daemon.stat("/readings/duplicate")), (6, 6));
    assert_eq!(b.daemon.stat("/clock/unsynced"), 0, "they do not wait for this machine's clock");
    b.shift(0);
    b.synchronise();
    b.wait_trusted(true);
    b.daemon.kill9();
    b.daemon.restart();
    b.port.wait_answered();
    b.port.send_bytes(batch(3, 77, &records).as_bytes());
    b.port.expect_ack("BATCH_ACK 3 2 0");
    assert_eq!(b.daemon.stat("/readings/duplicate"), 6);
    let stored = b.daemon.finish();
    assert_eq!(stored.rows, []);
    let times: Vec<Option<i64>> = stored.unsynced.iter().map(|u| u.node_ts).collect();
    assert_eq!(times, [30, 60, 30, 60, 30, 60].map(|s| Some(s * 1_000_000)));
}

#[test]
fn a_node_that_sends_local_time_keeps_every_reading_when_clocks_are_set_back() {
    // 2025-10-26T00:00:00Z, 02:00 in Berlin; an hour later it is 02:00 again.
    let begin = 1_761_436_800;
    let shift = |at: i64| at - now_micros() / 1_000_000;
    let mut b = Bench::new(shift(begin), "trust = \"always\"\ntimezone = \"Europe/Berlin\"");
    let shown = ["02:00", "02:30", "02:00", "02:30", "03:00", "03:30"];
    let mut expected = Vec::new();
    for (half_hours, shown) in (0_i32..).zip(shown) {
        let at = begin + i64::from(half_hours) * HOUR / 2;
        b.shift(shift(at));
        b.port.send(&format!("{{\"node\": \"n\", \"time\": \"2025-10-26T{shown}:00\", \"v\": {half_hours}}}"));
        expected.push((at * 1_000_000, f64::from(half_hours)));
        b.daemon.wait_stat("/readings/committed", expected.len() as u64);
    }
    let stored = b.daemon.finish();
    assert_eq!(stored.rows.iter().map(|row| (row.ts, row.value)).collect::<Vec<_>>(), expected);
    assert_eq!(stored.dead, []);
}
