//! What every round stands on: a daemon under load from a broker and a hub at once.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::check::{self, Deliveries};
use crate::harness::{Broker, Daemon, FakeClock, Hub, Settings, Setup, Shim, now_micros};
use crate::load::{Load, SUBSCRIBE, T0};
use crate::proxy::Proxy;
use crate::rng::Rng;

/// How long a round waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon's client id at the broker.
const CLIENT: &str = "gadwall-home";

/// What the budget allows the process: resident, and of it anonymous.
pub const RSS_KB: u64 = 96_000_000 / 1_024;
pub const ANON_KB: u64 = 56_000_000 / 1_024;

/// What a round gets.
pub struct Round {
    pub rng: Rng,
    /// In CI: shorter where a round can be.
    pub quick: bool,
}

/// How a round wants its rig.
#[derive(Default)]
pub struct Plan {
    /// The round kills the broker, whose log is read therefore; and whether it keeps sessions in a file.
    pub broker_dies: Option<Keeps>,
    pub through_proxy: bool,
    /// More of the configuration.
    pub config: String,
    /// More elements of `subscribe`.
    pub subscribe: String,
    /// Where the database is, if not in a temporary folder.
    pub database: Option<String>,
    /// How slow its disk is; needs `database`.
    pub disk: Option<SlowDisk>,
    /// Calls of the hub's port may hang.
    pub port_hangs: bool,
    /// The clock of the daemon: off by so many seconds, and more of `[clock]`.
    pub clock: Option<(i64, &'static str)>,
    /// A tenth of the load.
    pub calm: bool,
}

/// What a disk takes for a sync.
#[derive(Clone, Copy, Debug)]
pub struct SlowDisk {
    pub sync_ms: u64,
    pub bytes_per_second: u64,
}

/// What a broker knows after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// What it had written to its file, at most a second old.
    File,
    Nothing,
}

/// A daemon under load.
pub struct Rig {
    pub daemon: Daemon,
    pub broker: Broker,
    pub proxy: Option<Proxy>,
    pub load: Load,
    pub shim: Option<Shim>,
    pub clock: Option<FakeClock>,
    /// Seconds that the daemon's clock was off at the most while it was trusted.
    pub clock_off: i64,
    broker_dies: bool,
    since: i64,
    markers: i64,
}

impl Rig {
    /// Starts everything, and the load when the daemon has a session at the broker.
    #[track_caller]
    pub fn start(plan: &Plan) -> Self {
        let mut settings = Settings::default();
        if plan.broker_dies == Some(Keeps::File) {
            settings = settings.persistent();
        }
        if plan.broker_dies.is_none() {
            settings = settings.quiet();
        }
        let broker = settings.start();
        let proxy = plan.through_proxy.then(|| Proxy::new(broker.port()));
        let hub = Hub::new();
        let port = proxy.as_ref().map_or(broker.port(), Proxy::port);
        let more = if plan.subscribe.is_empty() { String::new() } else { format!(", {}", plan.subscribe) };
        let mut config = format!(
            "{}\n{}\n[[mqtt]]\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{port}\"\nclient-id = \"{CLIENT}\"\n\
             window = 100\nsubscribe = [{SUBSCRIBE}{more}]\n",
            plan.config,
            hub.section("hub-lines", "silence = \"30s\"")
        );
        if !config.contains("[store]") {
            config += "[store]\nflush-interval = \"1s\"\n";
        }
        if let Some(path) = &plan.database {
            let line = format!("[store]\npath = \"{path}\"");
            config = config.replacen("[store]", &line, 1);
        }
        let clock = plan.clock.map(|(off, _)| FakeClock::new(off));
        if let (Some(clock), Some((_, more))) = (&clock, plan.clock) {
            config += &format!("[clock]\nsynchronised-file = \"{}\"\n{more}\n", clock.mark().display());
        }
        let mut shim = (plan.port_hangs || plan.disk.is_some()).then(Shim::new);
        if plan.port_hangs {
            shim = shim.map(|s| s.port(hub.link()));
        }
        if let Some(disk) = plan.disk {
            let database = Path::new(plan.database.as_ref().expect("a slow disk is that of a path"));
            shim = shim.map(|s| s.disk(database, disk.sync_ms, disk.bytes_per_second));
        }
        let since = now_micros();
        let env = clock.iter().flat_map(FakeClock::env).chain(shim.iter().flat_map(Shim::env));
        let daemon = Setup::new(&config).envs(env).start();
        // The session has to be there first: what is published before it is nobody's.
        let mut markers = 0;
        assert!(marker(&daemon, &broker, &mut markers, PATIENCE), "the daemon stores nothing from its broker");
        let load = Load::start(broker.port(), hub, if plan.calm { 10 } else { 1 });
        let broker_dies = plan.broker_dies.is_some();
        Self { daemon, broker, proxy, load, shim, clock, clock_off: 0, broker_dies, since, markers }
    }

    /// Microseconds since 1970 between which everything was sent, by the daemon's clock.
    pub fn times(&self) -> RangeInclusive<i64> {
        let off = self.clock_off * 1_000_000;
        self.since - off..=now_micros() + off
    }

    /// Messages that the broker has acknowledged, and batches that the gateway has.
    pub fn acknowledged(&self) -> (usize, usize) {
        let ledger = self.load.ledger();
        (ledger.pubacks(), ledger.batches)
    }

    /// Waits until something more of both was acknowledged.
    #[track_caller]
    pub fn wait_progress(&self) {
        let (messages, batches) = self.acknowledged();
        wait("both sources to go on", PATIENCE, || {
            let now = self.acknowledged();
            now.0 > messages && now.1 > batches
        });
    }

    /// Waits until more batches of the hub were acknowledged: the gateway commits.
    #[track_caller]
    pub fn wait_batches(&self, more: usize) {
        let from = self.acknowledged().1;
        wait("the hub's batches to be answered", PATIENCE, || self.acknowledged().1 >= from + more);
    }

    /// Waits until the check of `source` in `/healthz` fails with `text` in its details; returns how long it took.
    #[track_caller]
    pub fn wait_unhealthy(&self, source: &str, text: &str, deadline: Duration) -> Duration {
        let start = Instant::now();
        let name = format!("source {source}: ");
        let mut seen = Vec::new();
        while start.elapsed() < deadline {
            for failing in self.daemon.failing() {
                if failing.starts_with(&name) && failing.contains(text) {
                    return start.elapsed();
                }
                if seen.last() != Some(&failing) {
                    seen.push(failing);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("/healthz does not tell of {source} with {text:?} within {deadline:?}; it told {seen:?}");
    }

    /// Waits until `/healthz` is good.
    #[track_caller]
    pub fn wait_healthy(&self) {
        let mut failing = Vec::new();
        wait_text(PATIENCE, || {
            failing = self.daemon.failing();
            if failing.is_empty() { None } else { Some(format!("/healthz to be good: {failing:?}")) }
        });
    }

    /// Waits until a message that is published now is stored: then everything that was published before is, or never will be.
    #[track_caller]
    pub fn settle(&mut self) {
        let stored = marker(&self.daemon, &self.broker, &mut self.markers, PATIENCE);
        assert!(stored, "a message of the end of the round is not stored; failing: {:?}", self.daemon.failing());
    }

    /// Ends the load, waits until everything is stored, ends the daemon, and compares. Panics when anything was lost or
    /// doubled.
    #[track_caller]
    pub fn finish(mut self) -> String {
        if !self.load.finish(PATIENCE) {
            let ledger = self.load.ledger();
            let (sent, acked) = (ledger.messages.len(), ledger.pubacks());
            let batch = ledger.records.last().is_some_and(|r| r.1);
            drop(ledger);
            panic!(
                "not everything is acknowledged {PATIENCE:?} after the fault: {acked} of {sent} messages, last batch                  {}; failing: {:?}",
                if batch { "answered" } else { "not answered" },
                self.daemon.failing()
            );
        }
        self.settle();
        let stored = self.daemon.finish();
        let deliveries = self.broker_dies.then(|| Deliveries::read(&self.broker.log(), CLIENT));
        let counts = check::compare(&self.load.ledger(), &stored, &self.times(), deliveries.as_ref());
        assert!(counts.good(), "{counts}");
        counts.to_string()
    }
}

/// Publishes numbered messages, one a second, until one of them is stored.
fn marker(daemon: &Daemon, broker: &Broker, markers: &mut i64, deadline: Duration) -> bool {
    let first = *markers + 1;
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        *markers += 1;
        // With a time of its own, so that it is stored whatever the clock is like.
        let payload = format!("{{\"time\": {}, \"v\": {markers}}}", T0 + *markers);
        broker.publisher().publish(&format!("timed/end/{markers}"), payload);
        let next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < next {
            let latest = daemon.try_get("/api/v1/nodes/end/latest").ok().filter(|a| a.status == 200);
            let value = latest.and_then(|a| a.json()["values"][0]["value"].as_f64());
            if value.is_some_and(|v| v >= first as f64) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    false
}

/// Batches of the hub are answered at least once in this time, whatever others do.
pub const GOES_ON: Duration = Duration::from_secs(10);

/// Sleeps, and panics when the hub is not answered for too long meanwhile.
#[track_caller]
pub fn goes_on(rig: &Rig, time: Duration) {
    goes_on_within(rig, time, GOES_ON);
}

/// The same with another idea of too long.
#[track_caller]
pub fn goes_on_within(rig: &Rig, time: Duration, within: Duration) {
    let end = Instant::now() + time;
    let (mut batches, mut since) = (rig.acknowledged().1, Instant::now());
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        let now = rig.acknowledged().1;
        if now > batches {
            (batches, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < within, "the hub's batches are not answered any more");
    }
}

/// Lets everything run.
pub fn run(time: Duration) {
    thread::sleep(time);
}

/// Polls until `done`; panics with `what` after `deadline`.
#[track_caller]
pub fn wait(what: &str, deadline: Duration, mut done: impl FnMut() -> bool) {
    wait_text(deadline, || (!done()).then(|| what.to_owned()));
}

#[track_caller]
fn wait_text(deadline: Duration, mut left: impl FnMut() -> Option<String>) {
    let end = Instant::now() + deadline;
    while let Some(what) = left() {
        assert!(Instant::now() < end, "not seen within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A number of `/proc/PID/FILE`, such as `RssAnon` (in KB) of `status` or `write_bytes` of `io`.
pub fn proc_number(pid: u32, file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file)).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Looks at the memory of a process ten times a second.
pub struct Memory {
    stop: Arc<AtomicBool>,
    anon: Arc<AtomicU64>,
    rss: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    /// Begins.
    pub fn watch(pid: u32) -> Self {
        let (stop, anon, rss) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, anon, rss) = (Arc::clone(&stop), Arc::clone(&anon), Arc::clone(&rss));
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    anon.fetch_max(proc_number(pid, "status", "RssAnon").unwrap_or(0), Ordering::AcqRel);
                    rss.fetch_max(proc_number(pid, "status", "VmRSS").unwrap_or(0), Ordering::AcqRel);
                    thread::sleep(Duration::from_millis(100));
                }
            })
        };
        Self { stop, anon, rss, thread: Some(thread) }
    }

    /// Ends, and panics when the budget was exceeded.
    #[track_caller]
    pub fn finish(mut self) -> String {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("reading /proc");
        }
        let (anon, rss) = (self.anon.load(Ordering::Acquire), self.rss.load(Ordering::Acquire));
        assert!(anon > 0 && rss > 0, "the memory of the daemon cannot be read from /proc");
        let mut text = String::new();
        let _ = write!(text, "peak {:.1} MB, anonymous {:.1} MB", rss as f64 * 0.001_024, anon as f64 * 0.001_024);
        assert!(rss <= RSS_KB && anon <= ANON_KB, "more memory than the budget of 96 MB and 56 MB: {text}");
        text
    }
}
