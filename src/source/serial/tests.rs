use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::*;
use crate::clock::stepped::Stepped;
use crate::codec::hub_lines::Answer;
use crate::codec::serial::{Format, Keys, Protocol};
use crate::config::Trust;
use crate::metrics::DropReason;
use crate::pipeline::{Carried, Item, Outlet, channel};
use crate::reading::{DeadReason, Outcome, Timestamp, When};
use crate::zone::Tz;

const BATCH: &str = "SENSOR_BATCH 3 11529215046068469763 2\n\
                     SENSOR_RECORD 3 11529215046068469763 1760000000 2150 4875 0\n\
                     SENSOR_RECORD 3 11529215046068469763 1760000030 2153 4870 0\n\
                     BATCH_COMPLETE 3 11529215046068469763 2\n";

/// A pseudo-terminal whose other side plays the hub.
pub(super) struct Pty {
    master: std::fs::File,
    slave: PathBuf,
    heard: Vec<u8>,
}

impl Pty {
    pub(super) fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut raw = tcgetattr(&master).unwrap();
        raw.make_raw();
        tcsetattr(&master, OptionalActions::Now, &raw).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap().into_bytes();
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
        Self { master: master.into(), slave: std::ffi::OsString::from_vec(slave).into(), heard: Vec::new() }
    }

    pub(super) fn slave(&self) -> PathBuf {
        self.slave.clone()
    }

    /// Points a stable name at this terminal.
    fn link(&self, name: &Path) {
        let _ = std::fs::remove_file(name);
        std::os::unix::fs::symlink(&self.slave, name).unwrap();
    }

    fn say(&mut self, text: impl AsRef<[u8]>) {
        self.master.write_all(text.as_ref()).unwrap();
    }

    /// The next whole line from the gateway, if there is one now.
    fn line(&mut self) -> Option<String> {
        let mut chunk = [0; 1024];
        // EIO while nobody has the other side open, EAGAIN while there is nothing.
        while let Ok(n @ 1..) = self.master.read(&mut chunk) {
            self.heard.extend_from_slice(&chunk[..n]);
        }
        let end = self.heard.iter().position(|b| *b == b'\n')?;
        let line = self.heard.drain(..=end).collect();
        Some(String::from_utf8(line).unwrap().trim_end().to_owned())
    }

    async fn next_line(&mut self) -> String {
        until("a line to the hub", || self.line()).await
    }
}

async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Everything around a source, with the test in the place of the store.
struct Rig {
    metrics: Arc<Metrics>,
    clock: Clock,
    intake: Intake,
    outlet: Outlet,
    stop: watch::Sender<bool>,
}

type Running = tokio::task::JoinHandle<Result<(), Closed>>;

impl Rig {
    fn new(capacity: usize) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (intake, outlet) = channel(&config::Intake { capacity, ..config::Intake::default() }, Arc::clone(&metrics));
        let clock = Clock::new(Trust::Always, Arc::clone(&metrics));
        Self { metrics, clock, intake, outlet, stop: watch::channel(false).0 }
    }

    fn port(&self, config: &config::Serial) -> (Port, Arc<SourceStatus>) {
        let status = self.status(config);
        let (intake, clock) = (self.intake.clone(), self.clock.clone());
        let stop = self.stop.subscribe();
        (Port::new(config, intake, clock, Arc::clone(&self.metrics), Arc::clone(&status), stop), status)
    }

    fn run(&self, config: config::Serial) -> (Running, Arc<SourceStatus>) {
        let status = self.status(&config);
        let (intake, clock, metrics) = (self.intake.clone(), self.clock.clone(), Arc::clone(&self.metrics));
        let task = tokio::spawn(run(config, intake, clock, metrics, Arc::clone(&status), self.stop.subscribe()));
        (task, status)
    }

    fn status(&self, config: &config::Serial) -> Arc<SourceStatus> {
        self.metrics.add_source(SourceStatus::new(
            config.name.as_str().into(),
            "serial",
            config.port.display().to_string(),
        ))
    }

    fn envelope(&self) -> Option<Carried> {
        match self.outlet.items.try_recv().ok()? {
            Item::Envelope(envelope) => Some(envelope),
            Item::Notice(notice) => panic!("a serial port has no notice: {notice:?}"),
        }
    }

    async fn next(&self) -> Carried {
        until("an envelope", || self.envelope()).await
    }

    /// The envelopes up to the next one whose sender waits.
    async fn until_waiting(&self) -> Vec<Carried> {
        let mut all = vec![self.next().await];
        while !all[all.len() - 1].waiting {
            all.push(self.next().await);
        }
        all
    }

    async fn end(self, task: Running) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap().unwrap();
    }
}

fn hub(port: PathBuf) -> config::Serial {
    config::Serial { name: "hub".into(), port, ..config::Serial::default() }
}

fn on_runtime(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

fn answer(envelopes: Vec<Carried>, outcome: Outcome) {
    for envelope in envelopes {
        envelope.answer(outcome);
    }
}

#[test]
fn the_worked_example_is_stored_and_answered_after_the_commit() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let (task, status) = rig.run(hub(pty.slave()));
        pty.say(BATCH);
        let envelopes = rig.until_waiting().await;
        let readings: Vec<_> = envelopes.iter().flat_map(|e| e.content.readings.iter().cloned()).collect();
        let at = |secs| When::Stored(Timestamp::from_secs(secs));
        let got: Vec<_> = readings.iter().map(|r| (&*r.metric, r.when, r.value)).collect();
        assert_eq!(
            got,
            [
                ("temperature", at(1_760_000_000), 21.5),
                ("humidity", at(1_760_000_000), 48.75),
                ("flags", at(1_760_000_000), 0.0),
                ("temperature", at(1_760_000_030), 21.53),
                ("humidity", at(1_760_000_030), 48.7),
                ("flags", at(1_760_000_030), 0.0),
            ]
        );
        assert!(readings.iter().all(|r| &*r.node == "11529215046068469763"));
        let marker = envelopes.last().unwrap();
        assert!(marker.content.is_empty() && envelopes.iter().all(|e| &*e.source == "hub" && e.arrival.trusted));
        assert_eq!((pty.line(), status.acked.get()), (None, 0), "answered before the commit");
        answer(envelopes, Outcome::Committed);
        assert_eq!(pty.next_line().await, "BATCH_ACK 3 2 0");
        assert_eq!((status.acked.get(), status.refused.get(), status.readings.get()), (1, 0, 6));
        assert_eq!((status.frames.get(), status.bytes.get()), (4, BATCH.len() as u64));
        assert_eq!((rig.metrics.readings.received.get(), rig.metrics.readings.dead_total()), (6, 0));
        assert_eq!(status.state(), SourceState::Up);
        rig.end(task).await;
    });
}

#[test]
fn what_is_not_stored_or_not_whole_is_answered_with_status_1() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let (task, status) = rig.run(hub(pty.slave()));
        // The contents fail and the end of the batch does not.
        pty.say(BATCH);
        let mut envelopes = rig.until_waiting().await;
        let marker = envelopes.pop().unwrap();
        answer(envelopes, Outcome::Failed);
        marker.answer(Outcome::Committed);
        assert_eq!(pty.next_line().await, "BATCH_ACK 3 2 1");
        // The other way round; a dropped receipt is a failed one.
        pty.say(BATCH);
        let mut envelopes = rig.until_waiting().await;
        let marker = envelopes.pop().unwrap();
        answer(envelopes, Outcome::Committed);
        drop(marker);
        assert_eq!(pty.next_line().await, "BATCH_ACK 3 2 1");
        // Earlier failures do not count against a new batch.
        pty.say(BATCH);
        answer(rig.until_waiting().await, Outcome::Committed);
        assert_eq!(pty.next_line().await, "BATCH_ACK 3 2 0");
        // A lost record, and a node that has not registered.
        pty.say("SENSOR_RECORD 3 7 1760000000 2150 4875 0\nBATCH_COMPLETE 3 7 2\nBATCH_COMPLETE 4 0 1\n");
        assert_eq!(pty.next_line().await, "BATCH_ACK 3 2 1");
        assert_eq!(pty.next_line().await, "BATCH_ACK 4 1 1");
        assert_eq!((status.acked.get(), status.refused.get()), (1, 4));
        assert_eq!(rig.next().await.content.readings.len(), 3, "what came is stored all the same");
        rig.end(task).await;
    });
}

#[test]
fn a_failure_behind_a_batch_is_not_its_own() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let (mut port, _) = rig.port(&hub(PathBuf::new()));
        port.feed.connected();
        port.feed.read(BATCH.as_bytes()).unwrap();
        let first = rig.until_waiting().await;
        port.feed.read(b"SENSOR_DATA 3 7 TEMP 1\n").unwrap();
        rig.next().await.answer(Outcome::Failed);
        answer(first, Outcome::Committed);
        while let Ok(word) = port.words.try_recv() {
            port.feed.hear(word);
        }
        assert_eq!(port.feed.out().waiting(), b"BATCH_ACK 3 2 0\n");
    });
}

#[test]
fn a_full_channel_drops_counts_and_fails_the_open_batch() {
    on_runtime(async {
        let rig = Rig::new(8);
        let (mut port, status) = rig.port(&hub(PathBuf::new()));
        port.feed.connected();
        port.feed.read(b"HEARTBEAT 3 7 1 1 1 1\nSENSOR_DATA 3 7 TEMP 1\n").unwrap();
        port.feed.read(BATCH.as_bytes()).unwrap();
        assert_eq!(port.feed.out().waiting(), b"BATCH_ACK 3 2 1\n");
        assert_eq!(rig.metrics.readings.dropped(DropReason::IntakeFull).get(), 6);
        assert_eq!(rig.metrics.readings.received.get(), 11);
        assert_eq!(status.problems(), ["the store does not keep up: readings are dropped"]);
        answer(std::iter::from_fn(|| rig.envelope()).collect(), Outcome::Committed);
        port.feed.read(b"SENSOR_DATA 3 7 TEMP 1\n").unwrap();
        assert!(status.problems().is_empty());
    });
}

#[test]
fn a_state_whose_line_was_dropped_is_told_with_the_next() {
    on_runtime(async {
        let rig = Rig::new(8);
        let config =
            config::Serial { name: "valve".into(), protocol: Protocol::of(Format::JsonLines), ..hub(PathBuf::new()) };
        let (mut port, _) = rig.port(&config);
        port.feed.connected();
        port.feed.read(br#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}"#).unwrap();
        port.feed.read(b"\n").unwrap();
        port.feed.read(b"{\"mode\":\"boost\",\"t\":1}\n").unwrap();
        assert_eq!(rig.metrics.readings.dropped(DropReason::IntakeFull).get(), 2);
        answer(std::iter::from_fn(|| rig.envelope()).collect(), Outcome::Committed);
        let events = |rig: &Rig| rig.envelope().map(|e| e.content.events.len());
        for (line, told) in [("boost", 1), ("boost", 0), ("eco", 1)] {
            port.feed.read(format!("{{\"mode\":\"{line}\",\"t\":1}}\n").as_bytes()).unwrap();
            assert_eq!(events(&rig), Some(told), "{line}");
        }
    });
}

#[test]
fn the_time_is_told_unless_the_clock_is_in_doubt() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let (task, _) = rig.run(hub(pty.slave()));
        for question in ["HUB_READY\r\n", "GET_DATETIME\n"] {
            let before = chrono::Local::now().naive_local() - chrono::TimeDelta::seconds(1);
            pty.say(question);
            let line = pty.next_line().await;
            let Some(Answer::Datetime(told)) = Answer::parse(&line) else { panic!("{line:?} is no answer") };
            assert!(told >= before && told <= chrono::Local::now().naive_local(), "{line} is not now");
        }
        rig.metrics.clock.trusted.store(false, std::sync::atomic::Ordering::Relaxed);
        pty.say("GET_DATETIME\nHUB_READY\nBATCH_COMPLETE 4 0 1\n");
        assert_eq!(pty.next_line().await, "BATCH_ACK 4 1 1");
        assert_eq!((pty.line(), rig.metrics.clock.withheld.get()), (None, 2));
        rig.end(task).await;
    });
}

#[test]
fn the_time_that_is_told_and_the_times_without_a_zone_are_of_the_sources_zone() {
    on_runtime(async {
        let mut rig = Rig::new(20_000);
        // 02:30 in Berlin, on the day that clocks are set back: the first of two.
        let machine = Stepped::new("boot", Timestamp::from_secs(1_761_438_600));
        rig.clock = machine.clock(Trust::Always, &rig.metrics);
        let timezone = Some(Tz::Europe__Berlin);
        let mut pty = Pty::new();
        let (task, _) = rig.run(config::Serial { timezone, ..hub(pty.slave()) });
        pty.say("GET_DATETIME\n");
        assert_eq!(pty.next_line().await, "DATETIME 2025-10-26 02:30:00 0");
        let mut port = Pty::new();
        let protocol = Protocol::of(Format::JsonLines);
        let config = config::Serial { name: "probe".into(), protocol, timezone, ..hub(port.slave()) };
        let (other, _) = rig.run(config);
        let mut stored = Vec::new();
        for _ in 0..2 {
            port.say("{\"time\":\"2025-10-26 02:29:59\",\"t\":1}\n");
            stored.push(rig.next().await.content.readings[0].when);
            machine.pass(Duration::from_secs(3_600));
        }
        let at = |secs| When::Live(Timestamp::from_secs(secs));
        assert_eq!(stored, [at(1_761_438_599), at(1_761_442_199)]);
        rig.end(task).await;
        other.await.unwrap().unwrap();
    });
}

#[test]
fn a_port_that_is_unplugged_and_comes_back_under_another_name_is_read_again() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("hub");
        let (task, status) = rig.run(hub(link.clone()));
        let down = SourceState::Down("it does not exist; is the device plugged in?".into());
        until("the missing port to be told", || (status.state() == down).then_some(())).await;
        let mut first = Pty::new();
        first.link(&link);
        first.say(format!("{BATCH}SENSOR_DATA 3 7 TE"));
        let envelopes = rig.until_waiting().await;
        drop(first);
        let gone = SourceState::Down("it was unplugged, or its other end was closed".into());
        until("the lost port to be told", || (status.state() == gone).then_some(())).await;
        // The answer to a connection that is gone must not be taken for one to the next.
        answer(envelopes, Outcome::Committed);
        let mut second = Pty::new();
        second.link(&link);
        second.say("SENSOR_DATA 3 7 HUM 5000\nGET_DATETIME\n");
        let envelope = rig.next().await;
        let values: Vec<f64> = envelope.content.readings.iter().map(|r| r.value).collect();
        assert_eq!(values, [50.0]);
        assert!(envelope.content.dead.is_empty());
        assert!(second.next_line().await.starts_with("DATETIME "));
        assert_eq!((second.line(), status.connects.get(), status.acked.get()), (None, 2, 0));
        assert_eq!(status.skipped_bytes.get(), "SENSOR_DATA 3 7 TE".len() as u64);
        assert_eq!(status.state(), SourceState::Up);
        rig.end(task).await;
    });
}

#[test]
fn silence_is_told_the_port_reopened_and_the_first_byte_ends_it() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let (task, status) = rig.run(config::Serial { silence: Duration::from_millis(100), ..hub(pty.slave()) });
        until("silence", || (status.state() == SourceState::Silent).then_some(())).await;
        until("a second opening", || (status.connects.get() >= 2).then_some(())).await;
        assert_eq!(status.state(), SourceState::Silent);
        // A word in the moment of the closing is lost, so the hub goes on talking, as it does.
        until("the end of the silence", || {
            pty.say("GET_DATETIME\n");
            (status.state() == SourceState::Up).then_some(())
        })
        .await;
        rig.end(task).await;
    });
}

#[test]
fn noise_is_counted_and_the_next_line_is_whole() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let limited = Protocol::new(Keys { max_line: Some(100), ..Keys::default() }).unwrap();
        let (task, status) = rig.run(config::Serial { protocol: limited, ..hub(pty.slave()) });
        for _ in 0..3 {
            pty.say("\x00\x01noise\n");
            pty.say(b"SENSOR_DATA 3 7 TEMP \xff\xfe\n");
            pty.say("SENSOR_RECORD 3 1SENSOR_BATCH 4 77 1\n");
            pty.say([b'x'; 300]);
            pty.say("\n");
        }
        pty.say("SENSOR_DATA 3 7 TEMP 2150\n");
        let mut envelopes = vec![rig.next().await];
        while envelopes.last().unwrap().content.readings.is_empty() {
            envelopes.push(rig.next().await);
        }
        let dead: Vec<_> = envelopes.iter().flat_map(|e| e.content.dead.iter()).collect();
        let counts = &rig.metrics.readings;
        let counted = [DeadReason::Malformed, DeadReason::NotUtf8, DeadReason::TooLong].map(|r| counts.dead(r).get());
        assert_eq!((counted, counts.dead_total(), status.dead.get()), ([6, 3, 3], 12, 12));
        assert!(dead.len() < 12, "one a second for each reason, not {}", dead.len());
        let long = dead.iter().find(|d| d.reason == DeadReason::TooLong).unwrap();
        assert_eq!(long.detail, "a line of 300 bytes is over the limit of `max-line`");
        assert_eq!((long.excerpt.as_slice(), status.skipped_bytes.get()), (&[b'x'; 100][..], 900));
        assert_eq!(status.readings.get(), 1);
        rig.end(task).await;
    });
}

#[test]
fn two_ports_are_read_and_answered_apart() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let (mut left, mut right) = (Pty::new(), Pty::new());
        let (left_task, _) = rig.run(config::Serial { name: "left".into(), ..hub(left.slave()) });
        let (right_task, _) = rig.run(config::Serial { name: "right".into(), ..hub(right.slave()) });
        left.say("SENSOR_RECORD 1 7 1760000000 100 200 0\nBATCH_COMPLETE 1 7 1\n");
        let of_left = rig.until_waiting().await;
        right.say("SENSOR_RECORD 2 8 1760000000 300 400 0\nBATCH_COMPLETE 2 8 1\n");
        let of_right = rig.until_waiting().await;
        assert!(of_left.iter().all(|e| &*e.source == "left") && of_right.iter().all(|e| &*e.source == "right"));
        answer(of_left, Outcome::Failed);
        answer(of_right, Outcome::Committed);
        assert_eq!(
            (left.next_line().await, right.next_line().await),
            ("BATCH_ACK 1 1 1".into(), "BATCH_ACK 2 1 0".into())
        );
        rig.stop.send(true).unwrap();
        left_task.await.unwrap().unwrap();
        right_task.await.unwrap().unwrap();
    });
}

#[test]
fn json_lines_are_stored_and_nothing_is_answered() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let config =
            config::Serial { name: "probe".into(), protocol: Protocol::of(Format::JsonLines), ..hub(pty.slave()) };
        let (task, status) = rig.run(config);
        pty.say("{\"node\":\"shed\",\"t\":21.5}\r\nGET_DATETIME\n");
        until("the dead line", || (status.dead.get() == 1).then_some(())).await;
        let envelopes: Vec<_> = std::iter::from_fn(|| rig.envelope()).collect();
        let readings: Vec<_> = envelopes.iter().flat_map(|e| &e.content.readings).collect();
        assert_eq!(readings.len(), 1);
        assert_eq!((&*readings[0].node, &*readings[0].metric, readings[0].value), ("shed", "t", 21.5));
        assert_eq!((pty.line(), status.frames.get()), (None, 2));
        rig.end(task).await;
    });
}

#[test]
fn a_stop_waits_for_the_answers_on_their_way() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let mut pty = Pty::new();
        let (task, _) = rig.run(hub(pty.slave()));
        pty.say(BATCH);
        let envelopes = rig.until_waiting().await;
        rig.stop.send(true).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!task.is_finished());
        answer(envelopes, Outcome::Committed);
        tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap().unwrap();
        assert_eq!(pty.next_line().await, "BATCH_ACK 3 2 0");
    });
}

#[test]
fn a_stop_gives_up_on_a_store_that_does_not_answer() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let (mut port, status) = rig.port(&hub(PathBuf::new()));
        port.drain = Duration::from_millis(50);
        let (mut near, mut far) = tokio::io::duplex(4_096);
        let talk = async { port.talk(&mut near).await.unwrap() };
        let play = async {
            far.write_all(BATCH.as_bytes()).await.unwrap();
            let envelopes = rig.until_waiting().await;
            rig.stop.send(true).unwrap();
            envelopes
        };
        let (gone, envelopes) = tokio::join!(talk, play);
        assert_eq!((gone, status.acked.get(), status.refused.get()), (Gone::Stop, 0, 0));
        drop(envelopes);
    });
}

#[test]
fn a_store_that_takes_no_more_ends_the_source() {
    on_runtime(async {
        let Rig { metrics, clock, intake, outlet, stop } = Rig::new(20_000);
        drop(outlet);
        let mut pty = Pty::new();
        let config = hub(pty.slave());
        let status = metrics.add_source(SourceStatus::new("hub".into(), "serial", String::new()));
        let task = tokio::spawn(run(config, intake, clock, Arc::clone(&metrics), status, stop.subscribe()));
        pty.say("SENSOR_DATA 3 7 TEMP 2150\n");
        let ended = tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
        assert_eq!(ended.unwrap_err().to_string(), "the store takes no more envelopes");
        assert_eq!(metrics.readings.dropped(DropReason::Stopping).get(), 1);
    });
}

#[test]
fn a_device_that_takes_no_bytes_is_gone_and_does_not_stop_the_reading() {
    on_runtime(async {
        let rig = Rig::new(20_000);
        let (mut port, _) = rig.port(&hub(PathBuf::new()));
        let (mut near, mut far) = tokio::io::duplex(16);
        let talk = async { port.talk(&mut near).await.unwrap() };
        let play = async {
            far.write_all(b"GET_DATETIME\nSENSOR_DATA 3 7 TEMP 1\nSENSOR_DATA 3 7 TEMP 2\n").await.unwrap();
            (rig.next().await, rig.next().await)
        };
        let (gone, (first, second)) = tokio::join!(talk, play);
        assert_eq!((first.content.readings[0].value, second.content.readings[0].value), (0.01, 0.02));
        assert_eq!(gone, Gone::Closed("it takes no bytes: the device does not read".into()));
    });
}
