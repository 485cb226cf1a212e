//! Devices that publish through the broker as Zigbee2MQTT does: one JSON object a message, QoS 1, not retained.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::{Value, json};

use super::climate::Climate;
use super::unix;

/// Time from one message to the next, of all devices together.
const EVERY: Duration = Duration::from_millis(200);
/// Messages that may be on their way to the broker; 5 a second do not come near it.
const MAX_UNACKED: u16 = 100;

/// Friendly names and what the devices measure.
const DEVICES: [(&str, Kind); 6] = [
    ("bench-north", Kind::Air),
    ("bench-south", Kind::Air),
    ("propagator", Kind::Air),
    ("tomato-bed", Kind::Soil),
    ("door", Kind::Contact),
    ("water-tank", Kind::Leak),
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Air,
    Soil,
    Contact,
    Leak,
}

/// Number of devices.
pub(super) const COUNT: usize = DEVICES.len();

/// What was published so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PublishCounts {
    /// Messages that the broker acknowledged and had a subscriber for.
    pub(super) messages: u64,
    /// Their readings, each of which has to be stored as one row.
    pub(super) readings: u64,
    /// Messages without their acknowledgement yet.
    pub(super) unacked: usize,
    /// Messages that the broker acknowledged although nobody had subscribed: they are gone, and do not count as sent.
    pub(super) unheard: u64,
}

/// The devices at work in a thread of their own. They stop when this is dropped.
#[derive(Debug)]
pub(super) struct Publishers {
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    stopping: AtomicBool,
    stopped: AtomicBool,
    ended: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publishers {
    /// Connects to the broker at `port` of this machine, and publishes.
    pub(super) fn start(port: u16) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(run(port, theirs));
        let thread = std::thread::Builder::new().name("demo-mqtt".into()).spawn(work)?;
        Ok(Self { thread: Some(thread), shared })
    }

    /// What was published so far.
    pub(super) fn counts(&self) -> PublishCounts {
        self.shared.ledger().counts()
    }

    /// Nothing new is published from now on.
    pub(super) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Whether it was stopped and the broker has acknowledged everything.
    pub(super) fn is_quiet(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire) && self.counts().unacked == 0
    }

    /// Fails when the connection to the broker is lost.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()).map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(Err(e))) => Err(e.context("the publishers have ended")),
            Some(_) => Err(anyhow!("the publishers have ended")),
        }
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its error was shown by `check`, or came after the end.
            let _ = thread.join();
        }
    }
}

async fn run(port: u16, shared: Arc<Shared>) -> anyhow::Result<()> {
    let mut options = MqttOptions::new("gadwall-demo", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30)).set_outgoing_inflight_upper_limit(MAX_UNACKED);
    let (client, connection) = AsyncClient::new(options, 10);
    // Polling is not to be interrupted in the middle of a packet, so each has its own branch.
    let both = async { tokio::join!(talk(connection, &shared), publish(&client, &shared)) };
    let (talked, published) = both.await;
    talked.and(published)
}

/// Keeps the connection going and notes what the broker has. Ends with the connection; the broker is the demo's own on
/// this machine, so that a lost connection is its end.
async fn talk(mut connection: EventLoop, shared: &Shared) -> anyhow::Result<()> {
    let ended = || shared.ended.load(Ordering::Acquire);
    loop {
        match connection.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(packet))) => shared.ledger().left(packet),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
            Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                PubAckReason::Success => shared.ledger().acked(ack.pkid, true),
                PubAckReason::NoMatchingSubscribers => shared.ledger().acked(ack.pkid, false),
                other => return Err(anyhow!("the broker does not take a message: {other:?}")),
            },
            Ok(_) => {}
            Err(_) if ended() => return Ok(()),
            Err(e) => {
                // So that the other branch ends too.
                shared.ended.store(true, Ordering::Release);
                return Err(e).context("the connection to the broker is lost");
            }
        }
    }
}

async fn publish(client: &AsyncClient, shared: &Shared) -> anyhow::Result<()> {
    let mut devices: Vec<Device> = (0..).zip(DEVICES).map(|(i, (name, kind))| Device::new(i, name, kind)).collect();
    let mut turn = tokio::time::interval(EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = 0;
    while !shared.ended.load(Ordering::Acquire) {
        turn.tick().await;
        if shared.stopping.load(Ordering::Acquire) {
            shared.stopped.store(true, Ordering::Release);
            continue;
        }
        if shared.ledger().counts().unacked >= usize::from(MAX_UNACKED) {
            continue;
        }
        let device = &mut devices[next % COUNT];
        next += 1;
        let state = device.state(unix());
        let mut ledger = shared.ledger();
        // The client's queue holds a few messages; while there is no room the device keeps its news for its next turn.
        if client.try_publish(device.topic(), QoS::AtLeastOnce, false, state.to_string()).is_ok() {
            ledger.queued(values(&state));
        }
    }
    // Fails when the connection has ended already.
    let _ = client.try_disconnect();
    Ok(())
}

/// Which messages the broker has.
#[derive(Debug, Default)]
struct Ledger {
    /// Readings of the messages that wait for their packet id, in their order.
    queued: VecDeque<u64>,
    /// Readings of the messages that wait for their acknowledgement, by packet id.
    unacked: HashMap<u16, u64>,
    counts: PublishCounts,
}

impl Ledger {
    /// A message with so many readings was handed to the client.
    fn queued(&mut self, readings: u64) {
        self.queued.push_back(readings);
    }

    /// The client has sent the oldest queued message with this packet id.
    fn left(&mut self, packet: u16) {
        if let Some(readings) = self.queued.pop_front() {
            self.unacked.insert(packet, readings);
        }
    }

    /// The broker has acknowledged it, and had a subscriber for it or not.
    fn acked(&mut self, packet: u16, heard: bool) {
        let Some(readings) = self.unacked.remove(&packet) else { return };
        if heard {
            self.counts.messages += 1;
            self.counts.readings += readings;
        } else {
            self.counts.unheard += 1;
        }
    }

    fn counts(&self) -> PublishCounts {
        PublishCounts { unacked: self.queued.len() + self.unacked.len(), ..self.counts }
    }
}

#[derive(Debug)]
struct Device {
    name: &'static str,
    kind: Kind,
    climate: Climate,
    battery: i64,
}

impl Device {
    fn new(index: u64, name: &'static str, kind: Kind) -> Self {
        let mut climate = Climate::new(100 + index);
        let battery = climate.dice().between(58, 100);
        Self { name, kind, climate, battery }
    }

    fn topic(&self) -> String {
        format!("zigbee2mqtt/{}", self.name)
    }

    /// Its state at `unix` seconds, as Zigbee2MQTT would publish it.
    fn state(&mut self, unix: i64) -> Value {
        let air = self.climate.at(unix);
        let (temperature, humidity) = (hundredths(air.centi_celsius), hundredths(air.centi_percent));
        let dice = self.climate.dice();
        let linkquality = dice.between(88, 164);
        let battery = self.battery;
        let voltage = 2_500 + 5 * battery + dice.between(-4, 4);
        match self.kind {
            Kind::Air => json!({"battery": battery, "humidity": humidity, "linkquality": linkquality,
                "temperature": temperature, "voltage": voltage}),
            Kind::Soil => json!({"battery": battery, "linkquality": linkquality,
                "soil_moisture": dice.between(38, 44), "temperature": temperature}),
            Kind::Contact => json!({"battery": battery, "contact": dice.between(0, 9) > 0,
                "linkquality": linkquality, "voltage": voltage}),
            Kind::Leak => json!({"battery": battery, "battery_low": false, "linkquality": linkquality,
                "tamper": false, "voltage": voltage, "water_leak": false}),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a value of the air is far below 2^53")]
fn hundredths(n: i64) -> f64 {
    n as f64 / 100.0
}

/// Readings of a message: its numbers and booleans, at any depth.
fn values(state: &Value) -> u64 {
    match state {
        Value::Number(_) | Value::Bool(_) => 1,
        Value::Object(fields) => fields.values().map(values).sum(),
        Value::Null | Value::String(_) | Value::Array(_) => 0,
    }
}

#[cfg(test)]
mod tests;
