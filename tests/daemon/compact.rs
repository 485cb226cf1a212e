//! `gadwall compact`: the file is replaced by a smaller one, under load, without a daemon, and not at all.
//!
//! Each database is filled with readings of a sensor node `old` by DuckDB itself, of which the first half is deleted again:
//! that is what compaction gives back to the disk.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Broker, Daemon, Expected, Hub, Record, Setup, Stored, assert_exactly, expected, gadwall, now_micros, open,
    wait_for, wait_within,
};
use crate::space::Disk;

const DEVICE: u64 = 11_529_215_046_068_469_763;
const T0: i64 = 1_760_000_000;
const CLIENT: &str = "gadwall-home";
const SUBSCRIBE: &str = r#"{ topic = "s/{node}/+", format = "json", time = "time" }"#;
/// Series of the node `old`.
const SERIES: i64 = 50;
const MB: u64 = 1_000_000;
/// Long enough for a compaction on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Puts `rows` readings of the node `old` into the database of a daemon that has ended, the first half of which is deleted
/// again.
fn fill(database: &Path, rows: i64) {
    let db = open(database);
    db.execute_batch(&format!(
        "INSERT INTO nodes VALUES (1, 'home', 'old', make_timestamp(1600000000000000)); \
         INSERT INTO series SELECT i, 1, 'm' || i, NULL, NULL FROM range(1, {SERIES} + 1) t(i);"
    ))
    .expect("making the node");
    let mut from = 0;
    while from < rows {
        let to = rows.min(from + 200_000);
        db.execute_batch(&format!(
            "INSERT INTO readings SELECT 1 + i % {SERIES}, make_timestamp(1600000000000000 + i * 600000), \
             (i * 7919 % 3000) / 100.0, 0 FROM range({from}, {to}) t(i)"
        ))
        .expect("adding readings");
        from = to;
    }
    let middle = 1_600_000_000_000_000 + rows / 2 * 600_000;
    db.execute_batch(&format!("CHECKPOINT; DELETE FROM readings WHERE ts < make_timestamp({middle}); CHECKPOINT;"))
        .expect("deleting readings");
}

/// A daemon that has ended, with a filled database.
fn filled(setup: Setup, rows: i64) -> Daemon {
    let mut daemon = setup.start();
    daemon.finish();
    fill(daemon.database(), rows);
    daemon
}

/// The number of readings of the node `old`, and the sum of their hashes.
fn old_sum(database: &Path) -> (i64, String) {
    let sql =
        format!("SELECT count(*), sum(hash(series, ts, value, lag))::VARCHAR FROM readings WHERE series <= {SERIES}");
    with_copy(database, |db, _| db.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("summing up"))
}

/// Everything but the readings of the node `old`.
fn new_rows(database: &Path) -> Stored {
    with_copy(database, |db, copy| {
        let sql = format!(
            "DELETE FROM readings WHERE series <= {SERIES}; DELETE FROM series WHERE series <= {SERIES}; \
             DELETE FROM nodes WHERE name = 'old'; CHECKPOINT;"
        );
        db.execute_batch(&sql).expect("leaving the old readings out");
        Stored::read(copy)
    })
}

/// Opens a copy of the database and its log, so that the next start finds what the daemon left.
fn with_copy<T>(database: &Path, work: impl FnOnce(&duckdb::Connection, &Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copy = folder.path().join("gadwall.duckdb");
    std::fs::copy(database, &copy).expect("copying the database");
    let log = database.with_extension("duckdb.wal");
    if log.exists() {
        std::fs::copy(log, copy.with_extension("duckdb.wal")).expect("copying the log");
    }
    work(&open(&copy), &copy)
}

fn copy_of(database: &Path) -> PathBuf {
    database.with_extension("duckdb.compact")
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// A started `gadwall compact`, killed when dropped.
struct Compact(Child);

impl Compact {
    fn start(daemon: &Daemon) -> Self {
        let mut command = gadwall();
        command.arg("compact").arg("--config").arg(daemon.config()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the binary under test starts"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("signalling the command");
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("waiting for the command").is_some()
    }

    /// Its exit status and all that it has said.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        wait_within("the command's end", PATIENCE, || self.has_ended());
        let mut said = String::new();
        for pipe in [self.0.stdout.take().map(read_all), self.0.stderr.take().map(read_all)] {
            said += &pipe.expect("it is piped");
        }
        (self.0.try_wait().expect("it has ended").and_then(|s| s.code()), said)
    }
}

impl Drop for Compact {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_all(mut pipe: impl Read) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).expect("reading what it has said");
    text
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts that the last line is the result, with the sizes that the file had and has.
#[track_caller]
fn assert_result(said: &str, before: u64, after: u64) {
    let line = said.lines().last().unwrap_or_default();
    let mb = |bytes: u64| format!("{}.{} MB", bytes / MB, bytes % MB / 100_000);
    let begin = format!("file {} -> {} in ", mb(before), mb(after));
    assert!(line.starts_with(&begin) && line.contains(" rows"), "{begin}: {said}");
}

/// A hub and a broker that send for as long as it is wanted, each of them as fast as it is answered.
struct Load<'a> {
    hub: &'a mut Hub,
    broker: &'a Broker,
}

impl Load<'_> {
    /// Sends while `meanwhile` runs; returns what was sent, all of it acknowledged, and the longest time that a batch of the
    /// hub waited for its answer.
    fn while_running<T>(&mut self, meanwhile: impl FnOnce() -> T) -> (T, Vec<Expected>, Duration) {
        let done = AtomicBool::new(false);
        let (result, mut sent, by_broker, longest) = std::thread::scope(|scope| {
            let hub = &mut *self.hub;
            let (broker, done) = (self.broker, &done);
            let batches = scope.spawn(move || {
                let (mut sent, mut longest) = (Vec::new(), Duration::ZERO);
                let mut next = 0;
                while !done.load(Ordering::Acquire) {
                    let records: Vec<Record> = (next..next + 40)
                        .map(|i| Record { time: T0 + i * 30, temp: i % 5_000, hum: i % 9_999, flags: (i % 256) as u8 })
                        .collect();
                    next += 40;
                    let asked = Instant::now();
                    hub.send_batch(3, DEVICE, &records);
                    hub.expect_ack("BATCH_ACK 3 40 0");
                    longest = longest.max(asked.elapsed());
                    sent.extend(records.iter().flat_map(|r| r.expected("hub", DEVICE)));
                }
                (sent, longest)
            });
            let messages = scope.spawn(move || {
                let mut sent: Vec<Expected> = Vec::new();
                let mut client = broker.publisher();
                while !done.load(Ordering::Acquire) {
                    for _ in 0..50 {
                        let i = sent.len() as i64;
                        let node = format!("n{}", i % 3);
                        let payload = format!("{{\"time\": {}, \"v\": {i}}}", T0 + i);
                        client.send(&format!("s/{node}/{i}"), payload, 1, false);
                        sent.push(expected("home", &node, "v", (T0 + i) * 1_000_000, i as f64));
                    }
                    client.flush();
                    std::thread::sleep(Duration::from_millis(20));
                }
                sent
            });
            let result = meanwhile();
            done.store(true, Ordering::Release);
            let (sent, longest) = batches.join().expect("the hub does not panic");
            (result, sent, messages.join().expect("the publisher does not panic"), longest)
        });
        wait_within("every message to be acknowledged", PATIENCE, || {
            self.broker.logged(&format!("Received PUBACK from {CLIENT} ")) >= by_broker.len()
        });
        sent.extend(by_broker);
        (result, sent, longest)
    }
}

#[test]
fn online_under_load_everything_acknowledged_is_stored_once() {
    let mut hub = Hub::new();
    let broker = Broker::new();
    let since = now_micros();
    let config = hub.section("hub-lines", "") + &broker.section("home", "", SUBSCRIBE);
    // More than a million are left: a table that is not summed up in the pause.
    let mut daemon = filled(Setup::new(&config), 2_400_000);
    let old = old_sum(daemon.database());
    assert_eq!(old.0, 1_200_000);
    let subscriptions = broker.logged(&format!("Sending SUBACK to {CLIENT}"));
    daemon.restart();
    hub.wait_answered();
    wait_for("the subscription", || broker.logged(&format!("Sending SUBACK to {CLIENT}")) > subscriptions);
    let before = size(daemon.database());
    let inode = |daemon: &Daemon| std::fs::metadata(daemon.database()).expect("the database").ino();
    let first = inode(&daemon);
    let stop = AtomicBool::new(false);
    let ((code, said, answered), sent, longest) = std::thread::scope(|scope| {
        let url = |node: &str| format!("/api/v1/readings?node={node}&start=2020-09-20T00:00:00Z&limit=1000");
        let (daemon, stop) = (&daemon, &stop);
        let reader = scope.spawn(move || {
            let mut answered = 0;
            while !stop.load(Ordering::Acquire) {
                let answer = daemon.get(&url("old"));
                // A query that is in the way of the swap is told to come again.
                assert!(matches!(answer.status, 200 | 503), "{}", answer.body);
                answered += usize::from(answer.status == 200);
            }
            answered
        });
        let mut load = Load { hub: &mut hub, broker: &broker };
        let ((code, said), sent, longest) = load.while_running(|| {
            wait_for("the load to be stored", || daemon.stat("/readings/committed") > 500);
            let ended = Compact::start(daemon).end();
            let committed = daemon.stat("/readings/committed");
            wait_for("the load to go on", || daemon.stat("/readings/committed") > committed + 200);
            ended
        });
        stop.store(true, Ordering::Release);
        ((code, said, reader.join().expect("the reader does not panic")), sent, longest)
    });
    assert_eq!(code, Some(0), "{said}");
    let log = daemon.log();
    eprintln!("{said}the hub's longest wait {longest:?}, {answered} queries answered");
    assert!(answered > 0);
    let after = size(daemon.database());
    assert!(after < before * 3 / 4, "{before} -> {after}");
    assert!(said.lines().last().is_some_and(|l| l.starts_with("file ") && l.contains("nothing was stored")), "{said}");
    assert_ne!(inode(&daemon), first, "it is another file");
    assert_eq!(daemon.stat("/store/compactions"), 1);
    assert_eq!(daemon.stat("/commits/failed"), 0);
    assert_eq!(daemon.stat("/readings/dropped"), 0);
    assert_eq!(daemon.failing(), Vec::<String>::new());
    assert!(log.contains("the database was compacted"), "{log}");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(old_sum(daemon.database()), old);
    assert_exactly(&new_rows(daemon.database()), since, &sent);
    // The next start finds the same.
    daemon.restart();
    assert_eq!(daemon.stat("/store/readings"), 1_200_000 + sent.len() as u64);
    assert_eq!(daemon.stat("/store/recovered"), 0);
    assert!(!copy_of(daemon.database()).exists());
}

#[test]
fn killed_in_the_middle_there_is_one_whole_file_and_the_next_start_cleans_up() {
    const ROUNDS: u32 = 12;
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = filled(Setup::new(&hub.section("hub-lines", "")), 1_200_000);
    let old = old_sum(daemon.database());
    daemon.restart();
    let started = Instant::now();
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(0), "{said}");
    // The moments are drawn from a span that follows what a compaction takes here and now: later ones are shorter.
    let mut span = started.elapsed();
    let (mut sent, mut cut, mut tries, mut next) = (Vec::new(), 0, 0, 0);
    let mut random = u64::from(std::process::id());
    while cut < ROUNDS {
        tries += 1;
        assert!(tries < 5 * ROUNDS, "only {cut} of {tries} kills hit a compaction");
        hub.wait_answered();
        let records: Vec<Record> =
            (next..next + 20).map(|i| Record { time: T0 + i * 30, temp: i, hum: i, flags: 0 }).collect();
        next += 20;
        hub.send_batch(3, DEVICE, &records);
        hub.expect_ack("BATCH_ACK 3 20 0");
        sent.extend(records.iter().flat_map(|r| r.expected("hub", DEVICE)));
        let mut command = Compact::start(&daemon);
        wait_for("the copy to be there", || copy_of(daemon.database()).exists() || command.has_ended());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(span.mul_f64((random >> 33) as f64 / (1_u64 << 31) as f64));
        daemon.kill9();
        let half = copy_of(daemon.database()).exists();
        let (code, said) = command.end();
        // Done, or killed between the rename and the answer: there is no copy then.
        cut += u32::from(half);
        span = span.mul_f64(if half { 1.25 } else { 0.75 });
        assert!(!half || (code == Some(1) && said.contains("the daemon has ended")), "{said}");
        assert_eq!(old_sum(daemon.database()), old, "round {tries}: {said}");
        let lines = daemon.log().matches("what an unfinished compaction had left was removed").count();
        daemon.restart();
        assert_eq!(daemon.log().matches("what an unfinished compaction had left was removed").count() > lines, half);
        assert!(!copy_of(daemon.database()).exists());
        assert_eq!(daemon.stat("/store/recovered"), 0, "nothing had to be repaired");
    }
    eprintln!("{cut} compactions cut within about {span:?} in {tries} tries");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(old_sum(daemon.database()), old);
    assert_exactly(&new_rows(daemon.database()), since, &sent);
}

#[test]
fn a_stop_in_the_middle_gives_it_up_in_time() {
    let mut daemon = filled(Setup::new(""), 1_500_000);
    let old = old_sum(daemon.database());
    let before = size(daemon.database());
    daemon.restart();
    let mut command = Compact::start(&daemon);
    wait_for("the copy to be there", || copy_of(daemon.database()).exists() || command.has_ended());
    let asked = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
    let (code, said) = command.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("gadwall: it was given up: the daemon stops"), "{said}");
    assert!(!copy_of(daemon.database()).exists());
    assert_eq!(size(daemon.database()), before);
    assert_eq!(old_sum(daemon.database()), old);
}

#[test]
fn ctrl_c_gives_it_up_and_the_daemon_goes_on() {
    let mut daemon = filled(Setup::new(""), 1_500_000);
    let old = old_sum(daemon.database());
    daemon.restart();
    for signal in [Signal::INT, Signal::KILL] {
        let mut command = Compact::start(&daemon);
        wait_for("the copy to be there", || copy_of(daemon.database()).exists() || command.has_ended());
        command.signal(signal);
        let (code, said) = command.end();
        assert_eq!(code, if signal == Signal::INT { Some(1) } else { None }, "{said}");
        assert_eq!(said.contains("given up: the daemon leaves the file as it is"), signal == Signal::INT, "{said}");
        wait_for("the daemon to give it up", || !copy_of(daemon.database()).exists());
    }
    assert_eq!(daemon.log().matches("nobody waits for it any more").count(), 2, "{}", daemon.log());
    assert_eq!(daemon.stat("/store/compactions"), 0);
    assert_eq!(daemon.failing(), Vec::<String>::new());
    // Nothing is in the way of the next one.
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(old_sum(daemon.database()), old);
    assert!(!daemon.database().with_file_name("gadwall.compact").exists());
    assert!(!daemon.database().with_file_name("gadwall.compact.answer").exists());
}

#[test]
fn offline_the_command_does_it_itself() {
    let mut daemon = filled(Setup::new(""), 600_000);
    let (old, before) = (old_sum(daemon.database()), size(daemon.database()));
    // As root does it for a daemon that is somebody else: nothing of root's must be left in its way.
    let somebody = 54_321;
    for path in [daemon.dir(), daemon.database()] {
        chown(path, Some(somebody), Some(somebody)).expect("these tests are run by root");
    }
    std::fs::remove_file(daemon.dir().join("gadwall.lock")).expect("the lock");
    let doctor = || gadwall().arg("doctor").arg(daemon.database()).output().expect("the binary under test starts");
    let text = said(&doctor());
    assert!(text.lines().any(|l| l.starts_with("size ") && l.contains(" free for new readings")), "{text}");
    let output = gadwall().arg("compact").arg(daemon.database()).output().expect("the binary under test starts");
    let after = size(daemon.database());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_result(&said(&output), before, after);
    assert!(after < before * 3 / 4, "{before} -> {after}");
    assert_eq!(old_sum(daemon.database()), old);
    let mut beside: Vec<String> = std::fs::read_dir(daemon.dir())
        .expect("reading the directory")
        .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    beside.retain(|name| {
        !matches!(name.as_str(), "gadwall.toml" | "gadwall.lock" | "gadwall.starts" | "gadwall.floor" | "gadwall.batch")
    });
    assert_eq!(beside, ["gadwall.duckdb"]);
    for name in ["gadwall.duckdb", "gadwall.lock"] {
        assert_eq!(std::fs::metadata(daemon.dir().join(name)).expect("it is there").uid(), somebody, "{name}");
    }
    std::fs::write(copy_of(daemon.database()), "left").expect("writing a file");
    let text = said(&doctor());
    let left = format!("left     {} 4 bytes of an unfinished compaction", copy_of(daemon.database()).display());
    assert!(text.contains(&left), "{text}");
    daemon.restart();
    assert_eq!(daemon.stat("/store/readings"), 300_000);
    let missing = gadwall().args(["compact", "/nowhere/x.duckdb"]).output().expect("the binary under test starts");
    assert_eq!(
        (missing.status.code(), said(&missing)),
        (Some(1), "gadwall: /nowhere/x.duckdb is not there\n".to_owned())
    );
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let daemon = filled(Setup::new(""), 1_000);
    open(daemon.database())
        .execute_batch("UPDATE meta SET value = '99' WHERE key = 'schema'; CHECKPOINT;")
        .expect("making it newer");
    let bytes = std::fs::read(daemon.database()).expect("the database");
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("was written by a newer version of gadwall (schema 99)"), "{said}");
    assert!(std::fs::read(daemon.database()).expect("the database") == bytes, "it was changed");
    assert!(!copy_of(daemon.database()).exists());
}

#[test]
fn a_request_that_nobody_answers_is_given_up() {
    let daemon = filled(Setup::new(""), 1_000);
    let bytes = std::fs::read(daemon.database()).expect("the database");
    // Somebody has the lock, and does not know what is asked.
    let lock = std::fs::File::options().write(true).open(daemon.dir().join("gadwall.lock")).expect("the lock");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("nobody has it");
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has the database and does not answer within 20 s"), "{said}");
    assert!(!daemon.dir().join("gadwall.compact").exists(), "the request is withdrawn");
    assert!(std::fs::read(daemon.database()).expect("the database") == bytes, "it was changed");
}

#[test]
fn of_two_at_once_the_second_is_refused() {
    let mut daemon = filled(Setup::new(""), 1_500_000);
    let old = old_sum(daemon.database());
    let refused =
        |said: &str| said.contains("gadwall: another `gadwall compact` is at work on this database (process ");
    // Without a daemon.
    let mut first = Compact::start(&daemon);
    wait_for("the copy to be there", || copy_of(daemon.database()).exists() || first.has_ended());
    assert!(!first.has_ended(), "it was over too soon for this test");
    first.signal(Signal::STOP);
    let (code, said) = Compact::start(&daemon).end();
    assert!(code == Some(1) && refused(&said), "{said}");
    let second = daemon.second();
    assert_eq!(second.status.code(), Some(1), "a daemon does not start meanwhile");
    first.signal(Signal::CONT);
    let (code, text) = first.end();
    assert_eq!(code, Some(0), "{text}");
    // With one: its command is stopped, it is not.
    daemon.restart();
    let mut first = Compact::start(&daemon);
    wait_for("the copy to be there", || copy_of(daemon.database()).exists() || first.has_ended());
    assert!(!first.has_ended(), "it was over too soon for this test");
    first.signal(Signal::STOP);
    let (code, said) = Compact::start(&daemon).end();
    assert!(code == Some(1) && refused(&said), "{said}");
    first.signal(Signal::CONT);
    let (code, text) = first.end();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(daemon.stat("/store/compactions"), 1);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(old_sum(daemon.database()), old);
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let disk = Disk::new(64 * MB);
    let config = disk.store("min-free = \"8MB\"");
    let mut daemon = filled(Setup::new(&config), 2_000_000);
    let old = old_sum(daemon.database());
    disk.fill(23 * MB);
    let refused = |said: &str| {
        let line = said.lines().find(|l| l.contains("not enough free space beside ")).unwrap_or_default();
        line.contains(" for the copy and 24000000 that stay free), ") && line.ends_with(" are free")
    };
    let (code, said) = Compact::start(&daemon).end();
    assert!(code == Some(1) && refused(&said), "{said}");
    daemon.restart();
    let (code, said) = Compact::start(&daemon).end();
    assert!(code == Some(1) && refused(&said), "{said}");
    assert_eq!(daemon.failing(), Vec::<String>::new());
    assert!(!copy_of(daemon.database()).exists());

    // Enough at the beginning, and not in the middle.
    disk.free();
    let mut command = Compact::start(&daemon);
    wait_for("the copy to be there", || copy_of(daemon.database()).exists() || command.has_ended());
    disk.fill(4 * MB);
    let (code, said) = command.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it was given up: there is too little free space for commits"), "{said}");
    wait_for("the copy to be gone", || !copy_of(daemon.database()).exists());
    disk.free();
    wait_for("the health to be good", || daemon.failing().is_empty());
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(old_sum(daemon.database()), old);
}

#[test]
fn a_copy_that_cannot_be_written_is_given_up_and_commits_go_on() {
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = filled(Setup::new(&hub.section("hub-lines", "")), 1_500_000);
    let old = old_sum(daemon.database());
    daemon.restart();
    hub.wait_answered();
    let mut sent = Vec::new();
    let mut send_from = |hub: &mut Hub, from: i64| {
        let records: Vec<Record> =
            (from..from + 20).map(|i| Record { time: T0 + i * 30, temp: i, hum: i, flags: 0 }).collect();
        hub.send_batch(3, DEVICE, &records);
        sent.extend(records.iter().flat_map(|r| r.expected("hub", DEVICE)));
    };
    let mut command = Compact::start(&daemon);
    wait_for("the copy to be there", || copy_of(daemon.database()).exists() || command.has_ended());
    // The copy may not grow further, nor may the log.
    daemon.limit_file_size(Some(200_000));
    send_from(&mut hub, 0);
    let (code, said) = command.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("the daemon has ended"), "{said}");
    wait_for("the copy to be gone", || !copy_of(daemon.database()).exists());
    daemon.limit_file_size(None);
    hub.expect_ack("BATCH_ACK 3 20 0");
    wait_for("the health to be good", || daemon.failing().is_empty());
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(0), "{said}");
    send_from(&mut hub, 20);
    hub.expect_ack("BATCH_ACK 3 20 0");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(old_sum(daemon.database()), old);
    assert_exactly(&new_rows(daemon.database()), since, &sent);
}

#[test]
fn a_damaged_file_is_not_copied() {
    let daemon = filled(Setup::new(""), 600_000);
    let mut bytes = std::fs::read(daemon.database()).expect("the database");
    // Blocks of 64 KiB behind three headers: something of each of the last ones.
    let end = bytes.len();
    for at in (end / 2..end).step_by(65_536) {
        bytes[at] ^= 0x10;
    }
    std::fs::write(daemon.database(), &bytes).expect("writing the database");
    let (code, said) = Compact::start(&daemon).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("gadwall: ") && said.to_lowercase().contains("corrupt"), "{said}");
    assert!(std::fs::read(daemon.database()).expect("the database") == bytes, "it was changed");
    assert!(!copy_of(daemon.database()).exists());
}
