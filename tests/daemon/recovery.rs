//! Start after damage: real files of a real daemon that was killed, damaged in every way, and what a start makes of them.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Daemon, Expected, Hub, Record, Setup, Stored, assert_exactly, gadwall, now_micros, open, wait_for,
};

const DEVICE: u64 = 11_529_215_046_068_469_763;
const T0: i64 = 1_760_000_000;
/// The frame that ends a transaction in the WAL.
const MARK: [u8; 21] =
    [5, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0xfe, 0x7d, 0x72, 0x2f, 0xed, 0x3d, 0x5e, 0x64, 0x00, 0x64, 0xff, 0xff];
/// Batches that are in the database itself, and batches that are in the WAL, one transaction each.
const BASE: usize = 2;
const LOGGED: usize = 8;

/// Files as a killed daemon left them, and what is in them.
struct Fixture {
    hub: Hub,
    daemon: Daemon,
    since: i64,
    main: Vec<u8>,
    wal: Vec<u8>,
    /// Where the WAL's transactions end.
    ends: Vec<usize>,
    batches: Vec<Vec<Record>>,
    rounds: i64,
    /// The file that holds the number of the last batch, as each start finds it.
    noted: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let mut hub = Hub::new();
        let since = now_micros();
        let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
        let batches: Vec<Vec<Record>> = (0..(BASE + LOGGED) as i64).map(|i| records(i * 1_000, 40 + i)).collect();
        hub.wait_answered();
        for (i, batch) in batches.iter().enumerate() {
            if i == BASE {
                assert_eq!(daemon.terminate().code(), Some(0));
                daemon.restart();
                hub.wait_answered();
            }
            hub.send_batch(3, DEVICE, batch);
            hub.expect_ack(&format!("BATCH_ACK 3 {} 0", batch.len()));
        }
        daemon.kill9();
        let main = fs::read(daemon.database()).expect("the database");
        let wal = fs::read(wal(daemon.database())).expect("the WAL");
        let ends: Vec<usize> =
            wal.windows(MARK.len()).enumerate().filter(|(_, w)| *w == MARK).map(|(i, _)| i + MARK.len()).collect();
        assert_eq!(ends.len(), LOGGED, "each batch is a transaction");
        assert_eq!(ends[LOGGED - 1], wal.len());
        // Of the stop before: it is written once a minute.
        let noted = fs::read(daemon.database().with_file_name("gadwall.batch")).expect("the last batch");
        Self { hub, daemon, since, main, wal, ends, batches, rounds: 0, noted }
    }

    /// Starts on these files, which must lead to READY, and stores one more batch.
    #[track_caller]
    fn start_on(&mut self, main: Option<&[u8]>, log: Option<&[u8]>) -> Started {
        let database = self.daemon.database().to_owned();
        let _ = fs::remove_dir_all(self.damaged());
        fs::write(self.batch_file(), &self.noted).expect("writing the file");
        for (path, bytes) in [(database.clone(), main), (wal(&database), log)] {
            let _ = fs::remove_file(&path);
            if let Some(bytes) = bytes {
                fs::write(path, bytes).expect("writing the file");
            }
        }
        self.daemon.restart();
        let stats = self.daemon.stats();
        let recovered = stats["store"]["recovered"].as_u64().expect("a count");
        let recovery = stats["store"]["recovery"].as_str().unwrap_or_default().to_owned();
        wait_for("a repaired store to be healthy", || self.daemon.failing().is_empty());
        let health = self.daemon.get("/healthz").body;
        assert_eq!(health.contains("repaired at start: "), recovered > 0, "{health}");
        self.hub.wait_answered();
        self.rounds += 1;
        let new = records(900_000 + self.rounds, 1);
        self.hub.send_batch(3, DEVICE, &new);
        self.hub.expect_ack("BATCH_ACK 3 1 0");
        let stored = self.daemon.finish();
        Started { recovered, recovery, stored, new, aside: sets(&self.damaged()) }
    }

    fn damaged(&self) -> PathBuf {
        self.daemon.database().with_file_name("damaged")
    }

    fn batch_file(&self) -> PathBuf {
        self.daemon.database().with_file_name("gadwall.batch")
    }

    /// Asserts that the first `n` batches and the new one are stored, and nothing else.
    #[track_caller]
    fn assert_batches(&self, n: usize, started: &Started) {
        let batches = self.batches[..n].iter().chain([&started.new]).flatten();
        let expected: Vec<Expected> = batches.flat_map(|r| r.expected("hub", DEVICE)).collect();
        assert_exactly(&started.stored, self.since, &expected);
    }
}

struct Started {
    recovered: u64,
    recovery: String,
    stored: Stored,
    new: Vec<Record>,
    aside: Vec<PathBuf>,
}

impl Started {
    /// Asserts that exactly one set was put aside and holds these files as they were.
    #[track_caller]
    fn assert_aside(&self, main: Option<&[u8]>, log: Option<&[u8]>) {
        let [set] = &self.aside[..] else { panic!("not one set: {:?}", self.aside) };
        assert!(fs::read_to_string(set.join("why.txt")).is_ok_and(|t| t.lines().count() >= 2), "why.txt");
        for (name, bytes) in [("gadwall.duckdb", main), ("gadwall.duckdb.wal", log)] {
            let kept = fs::read(set.join(name)).ok();
            assert!(kept.as_deref() == bytes, "{name}: {:?} bytes kept", kept.map(|b| b.len()));
        }
        assert!(self.recovered > 0);
        assert!(self.recovery.contains(&set.display().to_string()), "{}", self.recovery);
    }
}

fn records(from: i64, n: i64) -> Vec<Record> {
    (from..from + n)
        .map(|i| Record { time: T0 + i * 30, temp: i % 5_000, hum: i % 9_999, flags: (i % 256) as u8 })
        .collect()
}

fn wal(database: &Path) -> PathBuf {
    database.with_extension("duckdb.wal")
}

fn sets(folder: &Path) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(folder) else { return Vec::new() };
    dir.map(|e| e.expect("reading the folder").path()).collect()
}

fn flipped(bytes: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

#[test]
fn a_flipped_bit_in_the_wal_loses_no_earlier_transaction_and_is_kept_aside() {
    let mut fixture = Fixture::new();
    let (main, log, ends) = (fixture.main.clone(), fixture.wal.clone(), fixture.ends.clone());
    // Position, bit, and the transaction that it is in.
    // The header: the type, the version, the number of bytes of the identifier, and the first of them.
    let mut places = vec![(0, 0, 0), (2, 3, 0), (5, 0, 0), (8, 3, 0), (9, 1, 0)];
    for t in [1, 2, 4, 7] {
        let (from, end) = (ends[t - 1], ends[t]);
        // The first frame: its length, low and high, its checksum and its payload; one in the middle; the mark: its length,
        // high and low, its checksum and its payload.
        for (at, bit) in [
            (from, 2),
            (from + 3, 4),
            (from + 9, 7),
            (from + 17, 0),
            (from.midpoint(end), 3),
            (end - 20, 6),
            (end - 21, 0),
            (end - 10, 1),
            (end - 1, 0),
        ] {
            places.push((at, bit, t));
        }
    }
    assert!(places.len() >= 20);
    for (at, bit, transaction) in places {
        eprintln!("bit {bit} of byte {at}, in transaction {transaction}");
        let damaged = flipped(&log, at, bit);
        let started = fixture.start_on(Some(&main), Some(&damaged));
        fixture.assert_batches(BASE + transaction, &started);
        started.assert_aside(Some(&main), Some(&damaged));
    }
}

#[test]
fn a_wal_that_was_cut_loses_what_is_behind_the_cut_and_is_no_damage() {
    let mut fixture = Fixture::new();
    let (main, log, ends) = (fixture.main.clone(), fixture.wal.clone(), fixture.ends.clone());
    let middle = ends[3].midpoint(ends[4]);
    for (len, whole) in [
        (0, 0),
        (7, 0),
        (40, 0),
        (ends[0] - 1, 0),
        (ends[0], 1),
        (ends[0] + 8, 1),
        (middle, 4),
        (ends[6] + 16, 7),
        (log.len() - 5, 7),
        (log.len(), 8),
    ] {
        eprintln!("cut to {len} bytes");
        let started = fixture.start_on(Some(&main), Some(&log[..len]));
        fixture.assert_batches(BASE + whole, &started);
        assert_eq!((started.recovered, started.aside.len()), (0, 0), "{}", started.recovery);
    }
}

#[test]
fn a_wal_of_garbage_is_put_aside_and_the_database_stays() {
    let mut fixture = Fixture::new();
    let main = fixture.main.clone();
    let noise: Vec<u8> = (0..50_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for garbage in [noise, vec![0; 5_000], fixture.main.clone()] {
        let started = fixture.start_on(Some(&main), Some(&garbage));
        fixture.assert_batches(BASE, &started);
        started.assert_aside(Some(&main), Some(&garbage));
        assert!(started.recovery.starts_with("put the WAL aside"), "{}", started.recovery);
    }
}

#[test]
fn a_database_that_cannot_be_read_is_put_aside_and_a_new_one_begins() {
    let mut fixture = Fixture::new();
    let (main, log) = (fixture.main.clone(), fixture.wal.clone());
    let mut headers = main.clone();
    for header in 0..3 {
        headers[header * 4096 + 100..][..64].fill(0x5a);
    }
    let mut magic = main.clone();
    magic[8..24].fill(0);
    let damaged =
        [magic, headers, main[..20_000].to_vec(), main[..1_000].to_vec(), vec![0xa5; 100_000], b"SQLite".to_vec()];
    for (i, bad) in damaged.iter().enumerate() {
        eprintln!("database {i}");
        let started = fixture.start_on(Some(bad), None);
        fixture.assert_batches(0, &started);
        started.assert_aside(Some(bad), None);
        assert_eq!(started.recovered, 1);
        assert!(started.recovery.starts_with("put the database aside"), "{}", started.recovery);
        // With a WAL: both are kept.
        let started = fixture.start_on(Some(bad), Some(&log));
        fixture.assert_batches(0, &started);
        started.assert_aside(Some(bad), Some(&log));
    }
}

#[test]
fn a_damaged_block_keeps_no_daemon_from_starting() {
    let mut fixture = Fixture::new();
    let main = fixture.main.clone();
    let history: usize = fixture.batches[..BASE].iter().map(|b| b.len() * 3).sum();
    let (mut salvaged, mut lost) = (0, 0);
    for at in (12_288 + 100..main.len()).step_by(65_536) {
        let mut bad = main.clone();
        // Not all the same: equal changes of equal words leave the checksum as it is.
        bad[at..at + 512].iter_mut().zip(1_u8..=251).for_each(|(b, n)| *b ^= n);
        let started = fixture.start_on(Some(&bad), None);
        // A block that is not in use any more is not read, and some only when everything is read.
        if started.aside.is_empty() {
            fixture.assert_batches(BASE, &started);
            assert_eq!(started.recovered, 0);
            continue;
        }
        started.assert_aside(Some(&bad), None);
        // All readings are in one block, which is damaged or not. Those without their names are there as well.
        match started.stored.rows.len() - started.new.len() * 3 {
            0 => lost += 1,
            n if n == history => salvaged += 1,
            n => panic!("{n} of {history} readings"),
        }
        let named = started.stored.rows.iter().filter(|r| r.source == "hub").count();
        assert!(named >= started.new.len() * 3, "what was sent then has its name");
    }
    assert!(salvaged > 0 && lost > 0, "{salvaged} {lost}");
}

#[test]
fn batches_that_the_file_system_has_lost_are_told_once() {
    let mut fixture = Fixture::new();
    let (main, log, ends) = (fixture.main.clone(), fixture.wal.clone(), fixture.ends.clone());
    let all = (BASE + LOGGED) as i64;
    // A kill leaves a file that is behind the database, and a write that was cut short one that is ignored.
    let behind = fixture.noted.clone();
    for noted in [behind.clone(), behind[..20].to_vec(), vec![0; 64], Vec::new()] {
        fixture.noted = noted;
        let started = fixture.start_on(Some(&main), Some(&log));
        fixture.assert_batches(BASE + LOGGED, &started);
        assert_eq!(started.recovered, 0, "{}", started.recovery);
    }
    // What the stop of the last of them has noted: its own batch, and all those before.
    fixture.noted = fs::read(fixture.batch_file()).expect("the last batch");
    let text = |from: i64| {
        format!(
            "batches {from}..{} are missing: they had been stored, and the file system has lost the end of the database, or an \
             older copy was put in its place",
            all + 1
        )
    };
    // A WAL that ends at the end of a transaction, one that is gone, and the database as it was before.
    for (bytes, whole) in [(Some(&log[..ends[3]]), 4), (None, 0), (Some(&log[..]), 8)] {
        let started = fixture.start_on(Some(&main), bytes);
        fixture.assert_batches(BASE + whole, &started);
        assert_eq!((started.recovered, started.recovery), (1, text((BASE + whole) as i64 + 1)));
        assert_eq!(started.aside.len(), 0);
        fixture.daemon.restart();
        assert_eq!(fixture.daemon.stat("/store/recovered"), 0, "once");
        assert_eq!(fixture.daemon.terminate().code(), Some(0));
    }
    // What a repair tells is not told again.
    let started = fixture.start_on(Some(&main), Some(&flipped(&log, ends[4] + 50, 2)));
    fixture.assert_batches(BASE + 5, &started);
    assert_eq!(started.recovered, 1);
    assert!(started.recovery.starts_with("cut "), "{}", started.recovery);
    // A new database is another one.
    let started = fixture.start_on(None, None);
    fixture.assert_batches(0, &started);
    assert_eq!(started.recovered, 0, "{}", started.recovery);
}

#[test]
fn an_empty_or_missing_database_leaves_its_wal_aside() {
    let mut fixture = Fixture::new();
    let log = fixture.wal.clone();
    let started = fixture.start_on(None, Some(&log));
    fixture.assert_batches(0, &started);
    started.assert_aside(None, Some(&log));
    let started = fixture.start_on(Some(b""), Some(&log));
    fixture.assert_batches(0, &started);
    started.assert_aside(Some(b""), Some(&log));
    let started = fixture.start_on(Some(b""), None);
    fixture.assert_batches(0, &started);
    assert_eq!((started.recovered, started.aside.len()), (1, 0), "an empty file is nothing to keep");
}

#[test]
fn a_directory_in_its_place_is_waited_for_and_systemd_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let database = dir.path().join("g.duckdb");
    fs::create_dir(&database).expect("a directory");
    let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let config = format!("[store]\npath = \"{}\"\n", database.display());
    let mut daemon = Setup::new(&config).env("NOTIFY_SOCKET", dir.path().join("notify")).spawn();
    wait_for("the reason", || daemon.log().contains("g.duckdb is not a file"));
    let mut buffer = [0; 4096];
    let told = socket.recv(&mut buffer).expect("systemd is told");
    let told = String::from_utf8_lossy(&buffer[..told]).into_owned();
    assert!(told.contains("EXTEND_TIMEOUT_USEC=60000000"), "{told}");
    assert!(told.contains("STATUS=waiting for the database: "), "{told}");
    assert_eq!(daemon.log().matches("is not a file").count(), 1, "once for each change");
    assert!(database.is_dir() && daemon.exit_status().is_none());
    fs::remove_dir(&database).expect("removing it");
    wait_for("the start", || daemon.log().contains(" ready "));
    assert!(daemon.log().contains("the database can be opened again"));
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn a_stop_ends_the_wait() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let database = dir.path().join("g.duckdb");
    fs::create_dir(&database).expect("a directory");
    let mut daemon = Setup::new(&format!("[store]\npath = \"{}\"\n", database.display())).spawn();
    wait_for("the reason", || daemon.log().contains("g.duckdb is not a file"));
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_database_that_another_program_has_open_is_waited_for_and_not_touched() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let database = dir.path().join("g.duckdb");
    let config = format!("[store]\npath = \"{}\"\n", database.display());
    Setup::new(&config).start().kill9();
    assert!(wal(&database).exists());
    let other = open(&database);
    other.execute_batch("INSERT INTO meta VALUES ('theirs', '7')").expect("a row");
    let mut daemon = Setup::new(&config).spawn();
    wait_for("the reason", || daemon.log().contains("Could not set lock on file"));
    assert!(daemon.exit_status().is_none());
    drop(other);
    wait_for("the start", || daemon.log().contains(" ready "));
    assert_eq!(daemon.log().matches("Could not set lock on file").count(), 1, "once for each change");
    assert!(!dir.path().join("damaged").exists());
    assert_eq!(daemon.terminate().code(), Some(0));
    let theirs = "SELECT value FROM meta WHERE key = 'theirs'";
    let theirs: String = open(&database).query_row(theirs, [], |r| r.get(0)).expect("the row");
    assert_eq!(theirs, "7");
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let database = dir.path().join("g.duckdb");
    let config = format!("[store]\npath = \"{}\"\n", database.display());
    // Blocks of another size, as every other program makes them.
    open(&database).execute_batch("CREATE TABLE theirs(x INTEGER); CHECKPOINT").expect("a table");
    for (bytes, reason) in [
        (fs::read(&database).expect("the file"), "block size parameter does not match"),
        (b"SQLite format 3\0 and more".to_vec(), "is a database of SQLite"),
    ] {
        fs::write(&database, &bytes).expect("writing the file");
        let mut daemon = Setup::new(&config).spawn();
        wait_for("the reason", || daemon.log().contains(reason));
        assert_eq!(daemon.terminate().code(), Some(0));
        assert!(fs::read(&database).is_ok_and(|b| b == bytes), "it was changed");
        assert!(!dir.path().join("damaged").exists());
    }
}

#[test]
fn a_newer_file_is_no_damage_also_when_a_start_did_not_end() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.terminate().code(), Some(0));
    open(daemon.database()).execute_batch("UPDATE meta SET value = '99' WHERE key = 'schema'").expect("the update");
    let before = fs::read(daemon.database()).expect("the database");
    fs::write(daemon.database().with_file_name("gadwall.starting"), "").expect("the marker");
    let output = daemon.second();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("newer version of gadwall"), "{text}");
    assert_eq!(fs::read(daemon.database()).expect("the database"), before);
    assert!(!daemon.database().with_file_name("damaged").exists());
    let doctor = doctor(daemon.database(), &[]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("not damaged"), "{doctor:?}");
}

#[test]
fn a_start_that_ended_its_process_is_followed_by_a_try_in_a_child() {
    let mut fixture = Fixture::new();
    let (main, log) = (fixture.main.clone(), fixture.wal.clone());
    fs::write(fixture.daemon.database().with_file_name("gadwall.starting"), "").expect("the marker");
    let started = fixture.start_on(Some(&main), Some(&log));
    fixture.assert_batches(BASE + LOGGED, &started);
    assert!(!fixture.daemon.database().with_file_name("gadwall.starting").exists());
}

/// A database whose WAL takes long enough to replay that its child can be caught, and the number of rows in the WAL.
fn long_wal(dir: &Path) -> (PathBuf, String, i64) {
    let database = dir.join("g.duckdb");
    let config = format!("[store]\npath = \"{}\"\n", database.display());
    assert_eq!(Setup::new(&config).start().terminate().code(), Some(0));
    let writer = open(&database);
    writer.execute_batch("SET checkpoint_threshold = '10GB'").expect("a large threshold");
    for i in 0..150 {
        let rows = format!("SELECT 1, TIMESTAMP '2025-01-01' + INTERVAL (r + {i} * 5000) SECOND, random(), 0");
        writer.execute_batch(&format!("INSERT INTO readings {rows} FROM range(5000) t(r)")).expect("rows");
    }
    let (main, log) = (fs::read(&database).expect("the database"), fs::read(wal(&database)).expect("the WAL"));
    // Closing it makes a checkpoint.
    drop(writer);
    fs::write(&database, main).expect("the database as it was");
    fs::write(wal(&database), log).expect("the WAL as it was");
    (database, config, 750_000)
}

/// Ends the next child of the daemon, which is not `last`, by a signal.
#[track_caller]
fn end_child(daemon: &Daemon, last: Option<Pid>, signal: Signal) -> Pid {
    let pid = daemon.pid().as_raw_nonzero();
    let mut found = None;
    wait_for("the child", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found = children.split_whitespace().next().and_then(|c| Pid::from_raw(c.parse().expect("a number")));
        found.is_some() && found != last
    });
    let child = found.expect("just seen");
    kill_process(child, signal).expect("signalling the child");
    child
}

#[test]
fn the_same_abort_twice_is_damage_and_the_wal_is_put_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (database, config, _) = long_wal(dir.path());
    let log = fs::read(wal(&database)).expect("the WAL");
    let daemon = Setup::new(&config).spawn();
    let first = end_child(&daemon, None, Signal::ABORT);
    end_child(&daemon, Some(first), Signal::ABORT);
    wait_for("the start", || daemon.log().contains(" ready "));
    assert!(daemon.log().contains("twice: opening it ended a process by signal 6"), "{}", daemon.log());
    let [set] = &sets(&dir.path().join("damaged"))[..] else { panic!("one set") };
    assert!(fs::read(set.join("g.duckdb.wal")).is_ok_and(|kept| kept == log));
    assert!(daemon.log().contains("readings=0 "), "{}", daemon.log());
}

#[test]
fn a_child_that_is_killed_from_outside_is_no_damage() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, config, rows) = long_wal(dir.path());
    let daemon = Setup::new(&config).spawn();
    end_child(&daemon, None, Signal::KILL);
    wait_for("the start", || daemon.log().contains(" ready "));
    assert!(daemon.log().contains("opening it ended a process by signal 9"), "{}", daemon.log());
    assert!(daemon.log().contains(&format!("readings={rows} ")), "{}", daemon.log());
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn too_little_memory_is_told_as_such_and_more_of_it_brings_the_wal_in() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (database, _, rows) = long_wal(dir.path());
    let probe = |limit: &str, more: &[&str]| {
        let mut command = gadwall();
        command.arg("probe-store").arg("--path").arg(&database).args(["--memory-limit", limit]).args(more);
        let output = command.output().expect("the binary under test starts");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    };
    let before = fs::read(wal(&database)).expect("the WAL");
    let little = probe("500000", &[]);
    assert!(little["Memory"].is_string(), "{little}");
    assert_eq!(probe("24000000", &[])["Sound"]["readings"], rows);
    assert!(fs::read(wal(&database)).is_ok_and(|b| b == before), "it only looks");
    assert!(probe("96000000", &["--checkpoint"])["Sound"].is_object());
    assert!(!wal(&database).exists());
    assert_eq!(probe("24000000", &[])["Sound"]["readings"], rows);
}

fn doctor(database: &Path, args: &[&str]) -> Output {
    gadwall().arg("doctor").arg(database).args(args).output().expect("the binary under test starts")
}

#[test]
fn doctor_explains_asks_and_repairs() {
    let fixture = Fixture::new();
    let database = fixture.daemon.database();
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).expect("UTF-8");
    // Sound.
    let sound = doctor(database, &[]);
    let said = text(&sound);
    assert_eq!(sound.status.code(), Some(0), "{said}");
    let readings: usize = fixture.batches.iter().map(|b| b.len() * 3).sum();
    for part in [
        format!("{} {} bytes", database.display(), fixture.main.len()),
        format!("8 transactions in {} bytes, and 0 bytes of one that was not finished", fixture.wal.len()),
        "lock     free".to_owned(),
        format!("{readings} readings, 3 series, 1 nodes; last commit 20"),
        "(batch 10)".to_owned(),
    ] {
        assert!(said.contains(&part), "{part:?} is not in: {said}");
    }
    assert!(fs::read(database).is_ok_and(|b| b == fixture.main), "nothing is changed");
    assert!(fs::read(wal(database)).is_ok_and(|b| b == fixture.wal), "nothing is changed");
    // Damaged, and nobody can be asked.
    let damaged = flipped(&fixture.wal, fixture.ends[4] + 50, 2);
    fs::write(wal(database), &damaged).expect("writing the WAL");
    let asked = doctor(database, &[]);
    let said = text(&asked);
    assert_eq!(asked.status.code(), Some(1), "{said}");
    assert!(said.contains("state    DAMAGED: ") && said.contains("Corrupt WAL file"), "{said}");
    assert!(said.contains("the database loses 3 transactions behind it"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert!(fs::read(wal(database)).is_ok_and(|b| b == damaged), "nothing is changed");
    assert_eq!(sets(&fixture.damaged()), Vec::<PathBuf>::new());
    // Repaired.
    let repaired = doctor(database, &["--yes"]);
    let said = text(&repaired);
    assert_eq!(repaired.status.code(), Some(0), "{said}");
    let left: usize = fixture.batches[..BASE + 5].iter().map(|b| b.len() * 3).sum();
    assert!(said.contains("state    sound: schema ") && said.contains(&format!("{left} readings")), "{said}");
    let [set] = &sets(&fixture.damaged())[..] else { panic!("one set") };
    assert!(fs::read(set.join("gadwall.duckdb.wal")).is_ok_and(|b| b == damaged));
    let again = doctor(database, &[]);
    assert_eq!(again.status.code(), Some(0));
    assert!(text(&again).contains(&format!("aside    {}", set.display())));
}

#[test]
fn doctor_does_not_touch_what_a_daemon_has_or_what_is_not_there() {
    let mut daemon = Daemon::start("");
    let held = doctor(daemon.database(), &["--yes"]);
    assert_eq!(held.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&held.stdout).contains("lock     held by process "), "{held:?}");
    assert!(String::from_utf8_lossy(&held.stderr).contains("stop the daemon first"), "{held:?}");
    assert_eq!(daemon.get("/healthz").status, 200);
    assert_eq!(daemon.terminate().code(), Some(0));
    let missing = doctor(&daemon.database().with_file_name("other.duckdb"), &["--yes"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("other.duckdb is not there"), "{missing:?}");
    let folder = doctor(daemon.dir(), &["--yes"]);
    assert_eq!(folder.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&folder.stdout).contains("which is no damage"), "{folder:?}");
    assert!(daemon.dir().is_dir());
}
