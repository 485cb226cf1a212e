//! A disk that fills, a store that cannot commit, messages that cannot be stored, and messages that stop the process.
//!
//! The disk is a small tmpfs that each test mounts, which takes root: without it they fail. What no message can do to the
//! daemon is done by the database itself: its table gets a CHECK that refuses a value, or that takes ten minutes for it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{
    Broker, Daemon, Expected, Setup, assert_exactly, expected, now_micros, open, wait_for, wait_within,
};

const T0: i64 = 1_760_000_000;
const CLIENT: &str = "gadwall-home";
const SUBSCRIBE: &str = r#"{ topic = "s/{node}/+", format = "json", time = "time" }"#;
const MB: u64 = 1_000_000;

/// A small file system of its own.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    pub fn new(bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let out = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"])
            .arg(dir.path())
            .output()
            .expect("mount is there");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "this test mounts a tmpfs, which takes root and CAP_SYS_ADMIN: {said}");
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn database(&self) -> PathBuf {
        self.path().join("gadwall.duckdb")
    }

    /// A `[store]` section with the database on it and `more` keys.
    pub fn store(&self, more: &str) -> String {
        format!("[store]\npath = \"{}\"\nflush-interval = \"100ms\"\n{more}\n", self.database().display())
    }

    fn free_bytes(&self) -> u64 {
        let fs = rustix::fs::statvfs(self.path()).expect("asking the file system");
        fs.f_bavail * fs.f_frsize
    }

    /// Writes a file until only `left` bytes are free.
    pub fn fill(&self, left: u64) {
        use std::io::Write;
        let mut ballast = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("ballast"))
            .expect("making the ballast");
        let block = vec![1; 4_096];
        while self.free_bytes() >= left + 4_096 {
            ballast.write_all(&block).expect("writing the ballast");
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("removing the ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// Messages of `width` readings each, with their time.
struct Stream {
    sent: Vec<Expected>,
    messages: i64,
    width: i64,
    from: i64,
    random: u64,
}

impl Stream {
    /// Its times lie ahead, in hours that do not close: rollups would be what meets the fault first.
    fn new(width: i64) -> Self {
        let from = now_micros() / 1_000_000 + 12 * 3_600;
        Self { sent: Vec::new(), messages: 0, width, from, random: 88_172_645_463_325_252 }
    }

    /// A value that does not compress.
    fn value(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from_bits(0x3ff0_0000_0000_0000 | (self.random >> 12))
    }

    fn publish(&mut self, broker: &Broker, messages: i64) {
        let mut client = broker.publisher();
        for _ in 0..messages {
            let (i, node) = (self.messages, format!("n{}", self.messages % 3));
            self.messages += 1;
            let mut payload = format!("{{\"time\": {}", self.from + i);
            for m in 0..self.width {
                let value = self.value();
                payload += &format!(", \"m{m}\": {value}");
                self.sent.push(expected("home", &node, &format!("m{m}"), (self.from + i) * 1_000_000, value));
            }
            client.send(&format!("s/{node}/{i}"), payload + "}", 1, false);
        }
        client.flush();
    }

    fn wait_acknowledged(&self, broker: &Broker) {
        let all = usize::try_from(self.messages).expect("few");
        wait_within("every message to be acknowledged", Duration::from_secs(60), || acknowledged(broker) >= all);
    }
}

fn acknowledged(broker: &Broker) -> usize {
    broker.logged(&format!("Received PUBACK from {CLIENT} "))
}

fn subscribed(daemon: &Daemon, broker: &Broker) {
    daemon.wait_state("home", "up");
    wait_for("the subscription", || broker.logged(&format!("Sending SUBACK to {CLIENT}")) > 0);
}

/// Asks for the readings of a node as CSV, over and over, until it is dropped.
struct Readers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Readers {
    fn start(daemon: &Daemon) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..2)
            .map(|i| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                let address = daemon.address().to_owned();
                std::thread::spawn(move || {
                    let agent: ureq::Agent = ureq::Agent::config_builder()
                        .http_status_as_error(false)
                        .timeout_global(Some(Duration::from_secs(20)))
                        .build()
                        .into();
                    while !stop.load(Ordering::Acquire) {
                        let range = "start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z";
                        let url = format!("http://{address}/api/v1/readings?node=n{i}&format=csv&{range}");
                        if let Ok(mut answer) = agent.get(url).call() {
                            let body = answer.body_mut().with_config().limit(1 << 30).read_to_string();
                            answered.fetch_add(usize::from(body.is_ok() && answer.status() == 200), Ordering::AcqRel);
                        }
                    }
                })
            })
            .collect();
        Self { stop, answered, threads }
    }

    /// Waits until one of them is answered from now on, and ends them.
    #[track_caller]
    fn finish(self) {
        let before = self.answered.load(Ordering::Acquire);
        wait_within("a reader to be answered", Duration::from_secs(60), || {
            self.answered.load(Ordering::Acquire) > before
        });
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("a reader does not panic");
        }
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

#[test]
fn below_the_hard_mark_nothing_is_written_or_acknowledged_and_it_goes_on_by_itself() {
    let disk = Disk::new(64 * MB);
    let broker = Broker::new();
    let since = now_micros();
    let config = disk.store("min-free = \"8MB\"") + &broker.section("home", "", SUBSCRIBE);
    let mut daemon = Daemon::start(&config);
    subscribed(&daemon, &broker);
    let mut stream = Stream::new(3);
    stream.publish(&broker, 50);
    stream.wait_acknowledged(&broker);
    assert_eq!(daemon.failing(), Vec::<String>::new());

    disk.fill(4 * MB);
    wait_for("the disk to show", || daemon.stats()["store"]["space"] == "full");
    let (file, wal, commits) =
        (size(&disk.database()), size(&disk.database().with_extension("duckdb.wal")), daemon.stat("/commits/count"));
    stream.publish(&broker, 2_000);
    // The window is full: what the daemon may take it has taken.
    wait_for("the window to be full", || daemon.stat("/queue/depth") >= 3_000);
    let failing = daemon.failing();
    let [space] = &failing[..] else { panic!("not the space alone: {failing:?}") };
    assert!(space.starts_with("space: ") && space.contains("8.0 MB needed"), "{space}");
    assert_eq!(daemon.stats()["store"]["up"], false);
    assert_eq!(daemon.get("/api/v1/nodes").status, 200, "reading goes on");
    assert_eq!(daemon.stat("/commits/count"), commits);
    assert_eq!(daemon.stat("/commits/failed"), 0, "no commit is even begun");
    assert_eq!(acknowledged(&broker), 50);
    assert_eq!(size(&disk.database()), file);
    assert_eq!(size(&disk.database().with_extension("duckdb.wal")), wal);

    disk.free();
    stream.wait_acknowledged(&broker);
    wait_for("the health to be good", || daemon.failing().is_empty());
    assert_eq!(daemon.stat("/store/space_full"), 1);
    assert_eq!(daemon.log().matches("no room on the disk").count(), 1, "told once");
    assert_eq!(daemon.log().matches("there is room on the disk again").count(), 1, "told once");
    assert_exactly(&daemon.finish(), since, &stream.sent);
    assert!(!disk.database().with_extension("duckdb.wal").exists(), "a clean end leaves no log");
}

#[test]
fn below_the_soft_mark_it_warns_and_goes_on() {
    let disk = Disk::new(64 * MB);
    let broker = Broker::new();
    let since = now_micros();
    let config = disk.store("min-free = \"8MB\"") + &broker.section("home", "", SUBSCRIBE);
    let mut daemon = Daemon::start(&config);
    subscribed(&daemon, &broker);
    disk.fill(12 * MB);
    wait_for("the disk to show", || daemon.stats()["store"]["space"] == "low");
    let mut stream = Stream::new(3);
    stream.publish(&broker, 50);
    stream.wait_acknowledged(&broker);
    let health = daemon.json("/healthz");
    let check = health["checks"].as_array().and_then(|c| c.iter().find(|c| c["name"] == "space")).cloned();
    let detail = check.as_ref().and_then(|c| c["detail"].as_str()).unwrap_or_default();
    assert!(detail.starts_with("low: ") && detail.ends_with("nothing is stored below 8.0 MB"), "{health}");
    assert_eq!(daemon.stat("/store/space_low"), 1);
    assert_exactly(&daemon.finish(), since, &stream.sent);
}

/// Lets the log grow to `log` bytes, leaves `left` bytes on the disk, and sends messages, `burst` at a time, until a commit
/// fails for a checkpoint that runs out of space.
fn checkpoint_runs_out_of_space(log: u64, left: u64, burst: i64, durable: bool) {
    let disk = Disk::new(64 * MB);
    let broker = Broker::new();
    let since = now_micros();
    // The mark is far too low for a checkpoint, so that one is begun that cannot be finished.
    let config = disk.store("min-free = \"1MB\"") + &broker.section("home", "", SUBSCRIBE);
    let mut daemon = Daemon::start(&config);
    subscribed(&daemon, &broker);
    let wal = disk.database().with_extension("duckdb.wal");
    let mut stream = Stream::new(900);
    while size(&wal) < log {
        stream.publish(&broker, if size(&wal) + 200_000 < log { 4 } else { 1 });
        stream.wait_acknowledged(&broker);
        assert!(stream.messages < 400, "the log does not grow to a checkpoint");
    }
    let readers = Readers::start(&daemon);
    disk.fill(left);
    for _ in (0..40).step_by(usize::try_from(burst).expect("few")) {
        stream.publish(&broker, burst);
        wait_for("the commit, or its failure", || {
            i64::try_from(acknowledged(&broker)) == Ok(stream.messages) || daemon.stat("/commits/failed") > 0
        });
        if daemon.stat("/commits/failed") > 0 {
            break;
        }
    }
    wait_for("a commit to fail", || daemon.stat("/commits/failed") >= 1);
    wait_for("the mark to hold the next one back", || daemon.stats()["store"]["space"] == "full");
    stream.publish(&broker, 10);
    disk.free();
    stream.wait_acknowledged(&broker);
    wait_for("the health to be good", || daemon.failing().is_empty());
    readers.finish();
    let log = daemon.log();
    assert!(log.contains("heckpoint") && log.contains("No space left on device"), "another fault was injected: {log}");
    assert_eq!(log.contains("the commit that failed had been durable"), durable, "{log}");
    stream.publish(&broker, 20);
    stream.wait_acknowledged(&broker);
    assert_exactly(&daemon.finish(), since, &stream.sent);
}

#[test]
fn a_durable_commit_whose_checkpoint_runs_out_of_space_is_answered_and_not_repeated() {
    checkpoint_runs_out_of_space(3_900_000, 1_300_000, 1, true);
}

#[test]
fn a_large_commit_whose_checkpoint_runs_out_of_space_is_made_later() {
    // DuckDB writes it to the file alone, and not to the log.
    checkpoint_runs_out_of_space(3_500_000, 1_800_000, 40, false);
}

#[test]
fn a_log_that_runs_out_of_space_is_written_later_while_clients_read() {
    let disk = Disk::new(64 * MB);
    let broker = Broker::new();
    let since = now_micros();
    // One commit is larger than what the mark leaves.
    let large = "min-free = \"1MB\"\nbatch-rows = 60000\n[intake]\ncapacity = 120000\nmax-bytes = \"64MB\"\n";
    let config = disk.store(large).replace("100ms", "3s") + &broker.section("home", "window = 2000", SUBSCRIBE);
    let mut daemon = Daemon::start(&config);
    subscribed(&daemon, &broker);
    let mut stream = Stream::new(900);
    stream.publish(&broker, 10);
    stream.wait_acknowledged(&broker);
    let readers = Readers::start(&daemon);
    disk.fill(1_060_000);
    stream.publish(&broker, 60);
    wait_for("commits to fail", || daemon.stat("/commits/failed") >= 3);
    let failing = daemon.failing();
    assert!(failing.iter().any(|f| f.starts_with("store: ") || f.starts_with("space: ")), "{failing:?}");
    assert_eq!(daemon.reason("dead", "poison"), 0);
    disk.free();
    stream.wait_acknowledged(&broker);
    wait_for("the health to be good", || daemon.failing().is_empty());
    readers.finish();
    assert_exactly(&daemon.finish(), since, &stream.sent);
}

#[test]
fn a_stop_while_the_disk_is_full_ends_in_time_and_says_what_is_not_stored() {
    let disk = Disk::new(64 * MB);
    let broker = Broker::new();
    let since = now_micros();
    let config = disk.store("min-free = \"8MB\"") + &broker.section("home", "", SUBSCRIBE);
    let mut daemon = Daemon::start(&config);
    subscribed(&daemon, &broker);
    let mut stream = Stream::new(3);
    stream.publish(&broker, 10);
    stream.wait_acknowledged(&broker);
    disk.fill(2 * MB);
    wait_for("the disk to show", || daemon.stats()["store"]["space"] == "full");
    stream.publish(&broker, 20);
    wait_for("the messages to be taken", || daemon.stat("/queue/depth") == 60);
    let asked = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(1));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(16), "{took:?}");
    let log = daemon.log();
    assert!(log.contains("60 rows were not stored before the stop"), "{log}");
    assert_eq!(acknowledged(&broker), 10);
    disk.free();
    daemon.restart();
    stream.wait_acknowledged(&broker);
    assert_exactly(&daemon.finish(), since, &stream.sent);
}

/// Runs the daemon once, and gives its table a CHECK.
fn with_check(config: &str, check: &str) -> Daemon {
    let mut daemon = Daemon::start(config);
    daemon.finish();
    open(daemon.database())
        .execute_batch(&format!(
            "DROP TABLE readings; \
             CREATE TABLE readings(series INTEGER, ts TIMESTAMP, value DOUBLE, lag INTEGER, CHECK ({check})); CHECKPOINT;"
        ))
        .expect("making the table anew");
    daemon
}

/// Takes ten minutes to store 666.
const ENDLESS: &str = "CASE WHEN value = 666 THEN sleep_ms(600000) IS NULL ELSE true END";

fn send(broker: &Broker, from: i64, values: &[f64]) -> Vec<Expected> {
    let mut client = broker.publisher();
    let mut sent = Vec::new();
    for (i, value) in (from..).zip(values) {
        client.send(&format!("s/n/{i}"), format!("{{\"time\": {}, \"v\": {value}}}", T0 + i), 1, false);
        sent.push(expected("home", "n", "v", (T0 + i) * 1_000_000, *value));
    }
    client.flush();
    sent
}

#[test]
fn a_message_that_cannot_be_stored_is_put_aside_and_the_others_go_on() {
    let broker = Broker::new();
    let since = now_micros();
    let config = format!("[store]\nflush-interval = \"1s\"\n{}", broker.section("home", "", SUBSCRIBE));
    let mut daemon = with_check(&config, "value <> 666");
    let subscriptions = broker.logged(&format!("Sending SUBACK to {CLIENT}"));
    daemon.restart();
    wait_for("the subscription", || broker.logged(&format!("Sending SUBACK to {CLIENT}")) > subscriptions);
    let mut sent = send(&broker, 0, &[1.0, 2.0, 666.0, 3.0, 4.0]);
    wait_for("every message to be acknowledged", || acknowledged(&broker) == 5);
    assert_eq!(daemon.reason("dead", "poison"), 1);
    assert_eq!(daemon.stat("/store/poison"), 1);
    assert_eq!(daemon.failing(), Vec::<String>::new());
    sent.extend(send(&broker, 5, &[5.0]));
    wait_for("the next message to be acknowledged", || acknowledged(&broker) == 6);
    sent.retain(|e| e.value != 666.0);
    let stored = daemon.finish();
    let [letter] = stored.dead_for("poison")[..] else { panic!("not one letter: {:?}", stored.dead) };
    assert!(letter.reason.starts_with("poison: it cannot be stored: Failed to append: CHECK"), "{}", letter.reason);
    assert_eq!(String::from_utf8_lossy(&letter.excerpt), "n v=666 at 2025-10-09T08:53:22Z");
    assert_exactly(&stored, since, &sent);
}

#[test]
fn a_message_that_stops_the_process_is_put_aside_after_the_third_time() {
    let broker = Broker::new();
    let since = now_micros();
    let config = format!("[store]\nflush-interval = \"100ms\"\n{}", broker.section("home", "", SUBSCRIBE));
    let mut daemon = with_check(&config, ENDLESS);
    let in_progress = daemon.dir().join("gadwall.inprogress");
    daemon.restart();
    subscribed(&daemon, &broker);
    let mut sent = send(&broker, 0, &[1.0, 2.0, 666.0, 3.0, 4.0]);
    for _ in 0..3 {
        wait_for("the messages to come", || daemon.stat("/queue/depth") >= 1);
        daemon.kill9();
        daemon.restart();
    }
    for time in 1..=3 {
        // At first with the others, then on its own; it is in progress for ten minutes.
        let waiting = if time == 1 { 5 } else { 3 };
        // A file that is there may still be empty.
        let noted = || std::fs::read_to_string(&in_progress).is_ok_and(|text| text.ends_with('\n'));
        wait_for("it to be in progress", || noted() && daemon.stat("/queue/depth") == waiting);
        assert!(daemon.log().contains("it is noted what is being stored"), "time {time}");
        daemon.kill9();
        daemon.restart();
    }
    wait_for("every message to be acknowledged", || {
        daemon.stat("/queue/depth") == 0 && daemon.stat("/store/poison") == 1
    });
    sent.extend(send(&broker, 5, &[5.0]));
    wait_for("the next message to be stored", || daemon.stat("/readings/committed") >= 3);
    sent.retain(|e| e.value != 666.0);
    let health = daemon.json("/healthz");
    assert!(health.to_string().contains("noted one by one after several bad ends"), "{health}");
    let stored = daemon.finish();
    assert!(!in_progress.exists());
    let [letter] = stored.dead_for("poison")[..] else { panic!("not one letter: {:?}", stored.dead) };
    assert_eq!(letter.reason, "poison: the process ended three times while it was being stored");
    assert_eq!(String::from_utf8_lossy(&letter.excerpt), "n v=666 at 2025-10-09T08:53:22Z");
    assert_exactly(&stored, since, &sent);
}

#[test]
fn a_database_that_does_not_come_back_stops_the_watchdog_and_does_not_hold_a_stop() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("a socket that does not block");
    let broker = Broker::new();
    let disk = Disk::new(64 * MB);
    let config = disk.store("min-free = \"8MB\"") + &broker.section("home", "", SUBSCRIBE);
    drop(with_check(&config, ENDLESS));
    let mut daemon = Setup::new(&config).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "4000000").start();
    subscribed(&daemon, &broker);
    let fed = || {
        let mut message = [0; 4_096];
        let mut fed = 0;
        while let Ok(n) = socket.recv(&mut message) {
            fed += String::from_utf8_lossy(&message[..n]).lines().filter(|l| *l == "WATCHDOG=1").count();
        }
        fed
    };
    let mut signs = 0;
    wait_for("signs of life", || {
        signs += fed();
        signs >= 2
    });
    send(&broker, 0, &[666.0]);
    let silent = |daemon: &Daemon| daemon.failing().iter().any(|f| f.contains("the writer has given no sign of life"));
    wait_within("the health to tell of it", Duration::from_secs(45), || silent(&daemon));
    // One that was due at that moment may still come; five times the interval without any would end the process.
    let mut last = Instant::now();
    wait_for("the watchdog to be starved", || {
        if fed() > 0 {
            last = Instant::now();
        }
        last.elapsed() > Duration::from_secs(5)
    });
    assert_eq!(acknowledged(&broker), 0);
    daemon.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(daemon.wait_exit().code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(daemon.log().contains("stopped without waiting longer for the writer"), "{}", daemon.log());
}
