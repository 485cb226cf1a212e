//! MQTT, QoS 1, JSON, one reading a message: what gets through, against the same client that stores nothing, and how long
//! a message waits for its acknowledgement.
//!
//! The broker holds a backlog, and the time is taken from the first message to the last acknowledgement. So neither who
//! published it nor the connection's beginning counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gadwall::clock::Clock;
use gadwall::codec::payload::Format;
use gadwall::codec::topic::Pattern;
use gadwall::config::{self, Subscription, Trust};
use gadwall::metrics::{Metrics, SourceStatus};
use gadwall::pipeline::{self, Item};
use gadwall::reading::Outcome;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use crate::broker;
use crate::common::result::record;
use crate::harness::{Broker, Settings, Setup};
use crate::{quick, record_waits};

/// The client id, and with it the session that holds the backlog.
const CLIENT: &str = "gadwall-home";
const NODES: usize = 50;
/// How long a backlog may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Messages a second while the waits are measured.
const PACE: u32 = 200;

/// Takes so many messages from the broker; messages a second.
type Contender = fn(&Broker, usize) -> anyhow::Result<f64>;

/// The contenders in turn, then the waits.
pub fn run() -> anyhow::Result<()> {
    let (rounds, messages) = if quick() { (3, 5_000) } else { (7, 100_000) };
    let contenders: [(&str, Contender); 3] = [("durable", durable), ("decode", decode), ("discard", discard)];
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let broker = Settings::default().quiet().start();
            backlog(&broker, messages);
            rates[at].push(contenders[at].1(&broker, messages)?);
        }
    }
    for ((name, _), runs) in contenders.iter().zip(&rates) {
        record(&format!("mqtt.{name}.rate"), "messages/s", runs)?;
    }
    waits()
}

/// Makes a session for the client and publishes to it.
fn backlog(broker: &Broker, messages: usize) {
    let mut session = crate::harness::Client::connect(broker.port(), CLIENT, false, None);
    session.subscribe("sensors/+");
    drop(session);
    let mut publisher = broker.publisher();
    for n in 0..messages {
        publisher.send(&format!("sensors/n{}", n % NODES), payload(n), 1, false);
    }
    publisher.flush();
}

fn payload(n: usize) -> String {
    format!("{{\"temperature\":{}.{:02}}}", 15 + n % 10, n % 100)
}

/// Takes the time from the first of `count` to the last.
struct Progress {
    begun: Option<(Instant, u64)>,
    deadline: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { begun: None, deadline: Instant::now() + PATIENCE }
    }

    /// `done` of `all` are through: the rate, once it is known.
    fn at(&mut self, done: u64, all: usize) -> anyhow::Result<Option<f64>> {
        ensure!(Instant::now() < self.deadline, "{done} of {all} messages after {PATIENCE:?}");
        if done == 0 {
            return Ok(None);
        }
        let (since, first) = *self.begun.get_or_insert((Instant::now(), done));
        let through = (done >= all as u64).then(|| (done - first) as f64 / since.elapsed().as_secs_f64());
        Ok(through)
    }
}

/// The daemon: stored and acknowledged.
fn durable(broker: &Broker, messages: usize) -> anyhow::Result<f64> {
    let section = broker.section("home", "", r#"{ topic = "sensors/{node}" }"#);
    let mut daemon = Setup::new(&format!("{section}\n[log]\nlevel = \"warn\"\n")).start();
    let mut progress = Progress::new();
    let rate = loop {
        let acked = daemon.source("home")["acked"].as_u64().context("no count of acknowledgements")?;
        if let Some(rate) = progress.at(acked, messages)? {
            break rate;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let count = daemon.finish().rows.len();
    ensure!(count == messages, "{count} readings of {messages} messages are stored");
    Ok(rate)
}

/// The daemon's source, whose readings nobody stores: everything of the daemon but the store.
fn decode(broker: &Broker, messages: usize) -> anyhow::Result<f64> {
    let mut config = config::Mqtt::new("home".into(), broker.url().parse()?);
    config.client_id = Some(CLIENT.into());
    config.subscribe = vec![Subscription {
        topic: Pattern::parse("sensors/{node}")?,
        format: Format::Json,
        time: None,
        layout: None,
        timezone: None,
        qos: 1,
    }];
    let metrics = Arc::new(Metrics::default());
    let status = metrics.add_source(SourceStatus::new("home".into(), "mqtt", config.url.to_string()));
    let (intake, outlet) = pipeline::channel(&config::Intake::default(), Arc::clone(&metrics));
    let clock = Clock::new(Trust::Always, Arc::clone(&metrics));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let source = gadwall::source::mqtt::run(config, intake, clock, metrics, Arc::clone(&status), stopped);
    let thread = std::thread::spawn(move || runtime()?.block_on(source).map_err(anyhow::Error::from));
    let answers = std::thread::spawn(move || {
        while let Ok(item) = outlet.items.recv() {
            if let Item::Envelope(envelope) = item {
                envelope.answer(Outcome::Committed);
            }
        }
    });
    let mut progress = Progress::new();
    let rate = loop {
        if let Some(rate) = progress.at(status.acked.get(), messages)? {
            break rate;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    stop.send(true)?;
    thread.join().map_err(|_| anyhow::anyhow!("the source panicked"))??;
    answers.join().map_err(|_| anyhow::anyhow!("the answers panicked"))?;
    Ok(rate)
}

/// The same client library with the same options, which acknowledges by itself and looks at nothing.
fn discard(broker: &Broker, messages: usize) -> anyhow::Result<f64> {
    let mut options = MqttOptions::new(CLIENT, "127.0.0.1", broker.port());
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3_600));
    options.set_receive_maximum(Some(1_000));
    options.set_outgoing_inflight_upper_limit(100);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    runtime()?.block_on(async move {
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe("sensors/+", QoS::AtLeastOnce).await?;
        let mut progress = Progress::new();
        let mut done = 0;
        loop {
            if let Event::Incoming(Packet::Publish(_)) = events.poll().await? {
                done += 1;
                if let Some(rate) = progress.at(done, messages)? {
                    return Ok(rate);
                }
            }
        }
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// How long a message waits among others at a steady pace. A broker needs no quick answer; the window must not fill.
fn waits() -> anyhow::Result<()> {
    let broker = broker::Broker::new()?;
    let config = format!(
        "[[mqtt]]\nname = \"home\"\nurl = \"{}\"\nsubscribe = [{{ topic = \"sensors/{{node}}\" }}]\n[log]\nlevel = \"warn\"\n",
        broker.url()?
    );
    let mut daemon = Setup::new(&config).start();
    let mut peer = broker.accept()?;
    let messages = PACE * if quick() { 15 } else { 120 };
    let begun = Instant::now();
    for n in 0..messages {
        let due = begun + Duration::from_secs(1) * n / PACE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        peer.publish(&format!("sensors/n{}", n as usize % NODES), &payload(n as usize))?;
    }
    let rate = f64::from(messages) / begun.elapsed().as_secs_f64();
    let mut waits = peer.finish()?;
    ensure!(waits.len() == messages as usize, "{} of {messages} messages were acknowledged", waits.len());
    record_waits("mqtt.ack", &mut waits)?;
    record("mqtt.ack.rate", "messages/s", &[rate])?;
    // Its broker is gone: that is no reason to fail.
    daemon.terminate();
    Ok(())
}
