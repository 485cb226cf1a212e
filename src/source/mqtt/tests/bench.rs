//! What the tests stand on: a real mosquitto, a source on a thread of its own, and the writer's end of the channel.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::codec::payload::Format;
use crate::codec::topic::Pattern;
use crate::config::{self, Subscription, Trust};
use crate::metrics::{Metrics, SourceState, SourceStatus};
use crate::pipeline::{self, Carried, Item, Notice, Outlet};
use crate::reading::Outcome;
use crate::source::mqtt;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `done`; panics with `what` when it takes too long.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A mosquitto with a folder of its own.
pub struct Broker {
    pub folder: TempDir,
    pub port: u16,
    more: String,
    child: Option<Child>,
}

impl Broker {
    /// Starts one that lets everybody in.
    pub fn open() -> Self {
        Self::with("allow_anonymous true\n", |_| ())
    }

    /// Starts one with `more` behind its listener, where `{}` stands for its folder; `prepare` may put files there.
    pub fn with(more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let more = more.replace("{}", folder.path().to_str().unwrap());
        let mut broker = Self { folder, port: 0, more, child: None };
        broker.start();
        broker
    }

    /// Starts it again on the port that it had.
    pub fn start(&mut self) {
        for _ in 0..20 {
            let port = if self.port == 0 { free_port() } else { self.port };
            if self.try_start(port) {
                self.port = port;
                return;
            }
        }
        panic!("mosquitto does not start");
    }

    /// Asks it to end; it saves its sessions.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// Runs `mosquitto_pub` with `arguments`, and `input` where it reads from its input.
    pub fn publish(&self, arguments: &[&str], input: &str) {
        let mut publisher = Command::new("mosquitto_pub")
            .args(["-V", "5", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is needed: apt install mosquitto-clients");
        publisher.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(publisher.wait().unwrap().success());
    }

    /// Publishes one message with QoS 1.
    pub fn say(&self, topic: &str, payload: &str) {
        self.publish(&["-q", "1", "-t", topic, "-m", payload], "");
    }

    fn try_start(&mut self, port: u16) -> bool {
        let folder = self.folder.path();
        let file = folder.join("mosquitto.conf");
        let text = format!(
            "user root\npersistence true\npersistence_location {}/\nmax_queued_messages 0\n\
             listener {port} 127.0.0.1\n{}",
            folder.display(),
            self.more
        );
        std::fs::write(&file, text).unwrap();
        // Debian installs it where only root's path leads.
        let debian = Path::new("/usr/sbin/mosquitto");
        let program = if debian.exists() { debian } else { Path::new("mosquitto") };
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stderr(log)
            .spawn()
            .expect("mosquitto is needed: apt install mosquitto");
        let child = self.child.insert(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if child.try_wait().unwrap().is_some() {
                // Somebody was quicker with the port.
                self.child = None;
                return false;
            }
            // Not by connecting: on a port that another test's broker has taken meanwhile, that one would answer.
            if std::fs::read_to_string(folder.join("log")).unwrap().contains(" running") {
                return true;
            }
            assert!(Instant::now() < deadline, "mosquitto does not say that it runs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A source named `home` for a broker at `port`, with these topics: QoS 1, JSON, the time in `time`.
pub fn config(port: u16, topics: &[&str]) -> config::Mqtt {
    let mut config = config::Mqtt::new("home".into(), format!("mqtt://127.0.0.1:{port}").parse().unwrap());
    config.subscribe = topics.iter().map(|topic| subscription(topic)).collect();
    config
}

pub fn subscription(topic: &str) -> Subscription {
    Subscription {
        topic: Pattern::parse(topic).unwrap(),
        format: Format::Json,
        time: Some("time".into()),
        layout: None,
        timezone: None,
        qos: 1,
    }
}

/// A running source, seen from the writer.
pub struct Gateway {
    pub outlet: Outlet,
    pub metrics: Arc<Metrics>,
    pub status: Arc<SourceStatus>,
    pub notices: RefCell<Vec<Notice>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<(), mqtt::Error>>>,
}

impl Gateway {
    pub fn start(config: config::Mqtt) -> Self {
        Self::with_intake(config, &config::Intake::default())
    }

    pub fn with_intake(config: config::Mqtt, bounds: &config::Intake) -> Self {
        let metrics = Arc::new(Metrics::default());
        let status = metrics.add_source(SourceStatus::new(config.name.as_str().into(), "mqtt", config.url.to_string()));
        let (intake, outlet) = pipeline::channel(bounds, Arc::clone(&metrics));
        let (stop, stopped) = watch::channel(false);
        let clock = Clock::new(Trust::Always, Arc::clone(&metrics));
        let source = mqtt::run(config, intake, clock, Arc::clone(&metrics), Arc::clone(&status), stopped);
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(source)
        });
        Self { outlet, metrics, status, notices: RefCell::default(), stop, thread: Some(thread) }
    }

    /// The same, connected and subscribed.
    pub fn ready(config: config::Mqtt) -> Self {
        let gateway = Self::start(config);
        gateway.wait_up();
        gateway
    }

    /// Waits for the connection. What is published from now on may still be before the subscription: see
    /// [`Gateway::wait_subscribed`].
    pub fn wait_up(&self) {
        wait_until("the source is up", || self.status.state() == SourceState::Up);
    }

    /// Publishes to `topic` until a message comes through, and takes all of these.
    pub fn wait_subscribed(&self, broker: &Broker, topic: &str) {
        self.wait_up();
        broker.publish(&["-q", "1", "-r", "-t", topic, "-m", r#"{"time":1700000000,"subscribed":1}"#], "");
        let first = self.next();
        assert_eq!(&*first.content.readings[0].metric, "subscribed");
        first.answer(Outcome::Committed);
        wait_until("the first message is acknowledged", || self.status.acked.get() == 1);
    }

    /// The next envelope; notices before it go to `notices`.
    pub fn next(&self) -> Carried {
        loop {
            match self.outlet.items.recv_timeout(PATIENCE).expect("the source hands over an envelope") {
                Item::Envelope(carried) => return carried,
                Item::Notice(notice) => self.notices.borrow_mut().push(notice),
            }
        }
    }

    /// The next notice; there must be no envelope before it.
    pub fn next_notice(&self) -> Notice {
        match self.outlet.items.recv_timeout(PATIENCE).expect("the source sends a notice") {
            Item::Notice(notice) => notice,
            Item::Envelope(carried) => panic!("an envelope before the notice: {carried:?}"),
        }
    }

    /// The values of the next `count` envelopes, each committed.
    pub fn take(&self, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let carried = self.next();
                let value = carried.content.readings[0].value;
                carried.answer(Outcome::Committed);
                value
            })
            .collect()
    }

    pub fn wait_acked(&self, count: u64) {
        wait_until(&format!("{count} messages are acknowledged"), || self.status.acked.get() == count);
    }

    /// Waits until the source is down, and says why.
    pub fn wait_down(&self) -> String {
        let mut why = String::new();
        wait_until("the source is down", || match self.status.state() {
            SourceState::Down(text) => {
                why = text;
                true
            }
            _ => false,
        });
        why
    }

    pub fn begin_stop(&self) {
        self.stop.send(true).unwrap();
    }

    /// Waits for the source's end.
    pub fn ended(&mut self) -> Result<(), mqtt::Error> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Stops it and waits for its end.
    pub fn stop(&mut self) {
        self.begin_stop();
        self.ended().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// A file in `folder` with `text`.
pub fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
