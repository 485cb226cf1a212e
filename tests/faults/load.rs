//! Two senders at once that never give up: a publisher and a hub. The ledger says what each has sent, and what was
//! acknowledged to it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Hub, Record, batch};

/// The first node of the hub; the second has the next id.
pub const DEVICE: u64 = 11_529_215_046_068_469_763;
/// Time of the first reading that carries its time, in Unix seconds.
pub const T0: i64 = 1_760_000_000;
/// What the daemon subscribes to.
pub const SUBSCRIBE: &str = r#"{ topic = "timed/{node}/+", format = "json", time = "time" }, { topic = "bare/{node}/+", format = "json" }, { topic = "stuck/{node}", format = "json" }"#;
/// The payload of a sensor that always says the same.
pub const STUCK: f64 = 21.5;

/// Messages that wait for the broker's acknowledgement.
const WINDOW: usize = 200;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It carries its time.
    Timed,
    /// The gateway stamps it.
    Bare,
    /// As bare, and equal to the others of its kind.
    Stuck,
}

/// The kind of message `i`, whose value is `i` unless it is a stuck one.
pub fn kind(i: usize) -> Kind {
    match i % 5 {
        4 => Kind::Stuck,
        n if n % 2 == 0 => Kind::Timed,
        _ => Kind::Bare,
    }
}

/// The node of message `i`.
pub fn node(i: usize) -> String {
    if kind(i) == Kind::Stuck { "s".into() } else { format!("n{}", i % 3) }
}

/// The topic of message `i`: each has its own, so that the broker's log tells which one it is about; stuck ones share one.
pub fn topic(i: usize) -> String {
    match kind(i) {
        Kind::Timed => format!("timed/{}/{i}", node(i)),
        Kind::Bare => format!("bare/{}/{i}", node(i)),
        Kind::Stuck => format!("stuck/{}", node(i)),
    }
}

fn payload(i: usize) -> String {
    match kind(i) {
        Kind::Timed => format!("{{\"time\": {}, \"v\": {i}}}", T0 + i as i64),
        Kind::Bare => i.to_string(),
        Kind::Stuck => STUCK.to_string(),
    }
}

/// Record `j` of the hub: `j` seconds after [`T0`], so that its time names it.
pub fn record(j: i64) -> Record {
    Record {
        time: T0 + j,
        temp: j.rem_euclid(5_000),
        hum: j.rem_euclid(9_999),
        flags: u8::try_from(j.rem_euclid(256)).expect("below 256"),
    }
}

/// What was sent and what was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// For each message whether the broker has acknowledged it.
    pub messages: Vec<bool>,
    /// For each record its node, and whether the gateway has answered its batch with status 0.
    pub records: Vec<(u64, bool)>,
    /// Batches with status 0.
    pub batches: usize,
    /// Batches that were sent again.
    pub batches_again: usize,
    /// Messages that were sent again.
    pub messages_again: usize,
    /// Heartbeats, each with its number as the uptime; nobody acknowledges them.
    pub heartbeats: i64,
}

impl Ledger {
    /// Messages that the broker has acknowledged.
    pub fn pubacks(&self) -> usize {
        self.messages.iter().filter(|m| **m).count()
    }
}

struct Shared {
    ledger: Mutex<Ledger>,
    hub: Mutex<Hub>,
    stop: AtomicBool,
    broker: u16,
    /// How many times slower than the full load.
    slower: u32,
}

/// The running senders.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts both: some 400 messages and 200 records a second, `slower` times fewer.
    pub fn start(broker: u16, hub: Hub, slower: u32) -> Self {
        let (hub, stop) = (Mutex::new(hub), AtomicBool::new(false));
        let shared = Arc::new(Shared { ledger: Mutex::default(), hub, stop, broker, slower });
        let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![thread::spawn(move || publish(&one)), thread::spawn(move || send_batches(&two))];
        Self { shared, threads }
    }

    /// The ledger so far.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().expect("no sender has panicked")
    }

    /// The hub; its sender waits meanwhile.
    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.shared.hub.lock().expect("no sender has panicked")
    }

    /// Begins nothing new, and waits until all that was sent is acknowledged. Returns whether it was, within `deadline`.
    pub fn finish(&mut self, deadline: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Release);
        let end = Instant::now() + deadline;
        while self.threads.iter().any(|t| !t.is_finished()) {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("a sender has panicked");
        }
        true
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

/// A connection of the publisher. Whatever happens to it, its messages are sent again over the next.
struct Line {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Line {
    fn connect(port: u16) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.set_write_timeout(Some(Duration::from_secs(10))).ok()?;
        // MQTT 3.1.1, a clean session, no keep-alive, an id that the broker makes.
        stream.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00").ok()?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(5))).ok()?;
        (connack == [0x20, 2, 0, 0]).then(|| Self { stream, received: Vec::new() })
    }

    fn send(&mut self, i: usize, id: u16) -> bool {
        let (topic, payload) = (topic(i), payload(i));
        let mut packet = vec![0x32, u8::try_from(4 + topic.len() + payload.len()).expect("a short message")];
        packet.extend(u16::try_from(topic.len()).expect("a short topic").to_be_bytes());
        packet.extend(topic.as_bytes());
        packet.extend(id.to_be_bytes());
        packet.extend(payload.as_bytes());
        self.stream.write_all(&packet).is_ok()
    }

    /// The packet ids that were acknowledged, after a wait of some milliseconds; `None` when the connection is gone.
    fn pubacks(&mut self) -> Option<Vec<u16>> {
        let mut chunk = [0; 4_096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(n) => self.received.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
        let mut ids = Vec::new();
        while let [0x40, 2, high, low, ..] = self.received[..] {
            ids.push(u16::from_be_bytes([high, low]));
            self.received.drain(..4);
        }
        Some(ids)
    }
}

fn publish(shared: &Shared) {
    let mut line: Option<Line> = None;
    // By number, so that they are sent again in their order.
    let mut waiting: BTreeMap<usize, u16> = BTreeMap::new();
    let mut ids: BTreeMap<u16, usize> = BTreeMap::new();
    let mut next = 0;
    while !waiting.is_empty() || !shared.stop.load(Ordering::Acquire) {
        let Some(open) = &mut line else {
            thread::sleep(Duration::from_millis(20));
            line = Line::connect(shared.broker);
            if let Some(open) = &mut line {
                shared.ledger.lock().expect("no sender has panicked").messages_again += waiting.len();
                if !waiting.iter().all(|(i, id)| open.send(*i, *id)) {
                    line = None;
                }
            }
            continue;
        };
        let mut good = true;
        for _ in 0..10 {
            if !good || waiting.len() >= WINDOW || shared.stop.load(Ordering::Acquire) {
                break;
            }
            let id = u16::try_from(next % 65_535 + 1).expect("below 65,536");
            shared.ledger.lock().expect("no sender has panicked").messages.push(false);
            waiting.insert(next, id);
            ids.insert(id, next);
            good = open.send(next, id);
            next += 1;
        }
        match open.pubacks().filter(|_| good) {
            Some(acknowledged) => {
                let mut ledger = shared.ledger.lock().expect("no sender has panicked");
                for i in acknowledged.iter().filter_map(|id| ids.remove(id)) {
                    ledger.messages[i] = true;
                    waiting.remove(&i);
                }
            }
            None => line = None,
        }
        thread::sleep(Duration::from_millis(20) * shared.slower);
    }
}

fn send_batches(shared: &Shared) {
    let mut sequence = 0_usize;
    while !shared.stop.load(Ordering::Acquire) {
        // An answer names only address and count: within 31 batches no count recurs, so that a late answer to a batch that
        // was sent twice is not taken for one to the next.
        let n = 5 + sequence % 31;
        let (addr, device) = (3 + sequence as u16 % 2, DEVICE + sequence as u64 % 2);
        let (first, heartbeat) = {
            let mut ledger = shared.ledger.lock().expect("no sender has panicked");
            let first = ledger.records.len();
            ledger.records.extend(vec![(device, false); n]);
            ledger.heartbeats += 1;
            (first, ledger.heartbeats)
        };
        let records: Vec<Record> = (first..first + n).map(|j| record(j as i64)).collect();
        let text = format!("\nHEARTBEAT {addr} {device} 90 0 -70 {heartbeat}{}", batch(addr, device, &records));
        let mut text = text.replacen("SENSOR_BATCH", "\nSENSOR_BATCH", 1);
        while !deliver(shared, &text, &format!("BATCH_ACK {addr} {n} ")) {
            shared.ledger.lock().expect("no sender has panicked").batches_again += 1;
            // The heartbeat is not sent again; a line that was cut ends here.
            text = format!("\n{}", batch(addr, device, &records));
        }
        let mut ledger = shared.ledger.lock().expect("no sender has panicked");
        ledger.batches += 1;
        for record in &mut ledger.records[first..] {
            record.1 = true;
        }
        sequence += 1;
        drop(ledger);
        thread::sleep(Duration::from_millis(50) * shared.slower);
    }
}

/// Sends a batch and waits for its answer; returns whether it came, with status 0.
fn deliver(shared: &Shared, text: &str, ack: &str) -> bool {
    let hub = || shared.hub.lock().expect("no sender has panicked");
    if !hub().try_send_bytes(text.as_bytes(), Duration::from_millis(300)) {
        thread::sleep(Duration::from_millis(50));
        return false;
    }
    let end = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < end {
        let line = hub().next_line(Duration::from_millis(5), ack);
        match line.as_deref().and_then(|l| l.strip_prefix(ack)) {
            Some("0") => return true,
            Some(_) => {
                thread::sleep(Duration::from_millis(100));
                return false;
            }
            // A moment in which a round can have the hub.
            None => thread::sleep(Duration::from_micros(100)),
        }
    }
    false
}
