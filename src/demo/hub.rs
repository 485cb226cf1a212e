//! The simulated LoRa hub with its nodes, without its port: what it says at a time, and what it makes of an answer.

use std::fmt::Write as _;
use std::time::Duration;

use super::climate::Climate;

/// Nodes behind the hub.
pub(super) const NODES: u16 = 5;
/// Address of the first node; the hub itself has 1.
const FIRST_ADDRESS: u16 = 2;
/// Device id of the first node, above 2^53 as real ones are.
const FIRST_DEVICE: u64 = 0xA000_0000_0000_0003;
/// Seconds between two stored records of a node.
const RECORD_STEP: i64 = 30;
/// How far back the stored records of a node begin, in seconds.
const BACKLOG: i64 = 7 * 86_400;
/// Most records of one batch.
const BATCH: u32 = 20;
/// Time from one batch of a node to its next.
const BATCH_EVERY: Duration = Duration::from_secs(4);
/// Time from one live reading of a node to its next.
const LIVE_EVERY: Duration = Duration::from_secs(10);
/// Time from one heartbeat of a node to its next.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Time from one question for the time to the next; before the first answer each second.
const DATETIME_EVERY: Duration = Duration::from_secs(20);
/// A batch that is not answered for so long is sent again; longer than a slow card needs for a commit.
const RESEND_AFTER: Duration = Duration::from_secs(8);
/// A batch that was refused is sent again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Nothing new is said while so many bytes wait for the port.
const MAX_UNSENT: usize = 16 * 1024;

/// What the hub has said so far. A batch that is sent again counts as sent once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HubCounts {
    /// Readings sent, each of which has to be stored as one row.
    pub(super) readings: u64,
    /// Batches sent.
    pub(super) batches: u64,
    /// Batches acknowledged with status 0.
    pub(super) acked: u64,
    /// Batches sent once more.
    pub(super) resent: u64,
    /// Answers with another status.
    pub(super) refused: u64,
    /// Batches without their acknowledgement, or bytes that wait for the port.
    pub(super) busy: bool,
}

/// The hub.
#[derive(Debug)]
pub(super) struct Hub {
    nodes: Vec<Node>,
    unsent: Vec<u8>,
    counts: HubCounts,
    greeted: bool,
    answered: bool,
    next_question: Duration,
}

#[derive(Debug)]
struct Node {
    address: u16,
    device: u64,
    climate: Climate,
    /// Old firmware does not say how many records it still has.
    old_firmware: bool,
    next_record: i64,
    next_batch: Duration,
    next_live: Duration,
    next_heartbeat: Duration,
    unacked: Option<Batch>,
}

#[derive(Debug)]
struct Batch {
    text: String,
    records: u32,
    resend_at: Duration,
}

impl Hub {
    /// A hub whose nodes have stored records of the week before `unix` seconds.
    pub(super) fn new(unix: i64) -> Self {
        let nodes = (0..NODES).map(|i| Node::new(i, unix)).collect();
        Self {
            nodes,
            unsent: Vec::new(),
            counts: HubCounts::default(),
            greeted: false,
            answered: false,
            next_question: Duration::ZERO,
        }
    }

    /// Device id of a node, as the gateway names it.
    pub(super) fn device(node: u16) -> u64 {
        FIRST_DEVICE + u64::from(node)
    }

    /// Says what is due at `now` since the start, which is `unix` seconds. Until the gateway has answered the question
    /// for the time once, the hub only asks; when `stopping`, it only sends again what was not acknowledged.
    pub(super) fn tick(&mut self, now: Duration, unix: i64, stopping: bool) {
        if self.unsent.len() >= MAX_UNSENT {
            return;
        }
        if now >= self.next_question && !(stopping && self.answered) {
            if !self.greeted {
                self.say("HUB_READY\n");
                self.greeted = true;
            }
            self.say("GET_DATETIME\n");
            self.next_question = now + if self.answered { DATETIME_EVERY } else { Duration::from_secs(1) };
        }
        if !self.answered {
            return;
        }
        for node in &mut self.nodes {
            node.tick(now, unix, stopping, &mut self.unsent, &mut self.counts);
        }
    }

    /// Takes in a line of the gateway.
    pub(super) fn hear(&mut self, line: &str, now: Duration) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("DATETIME") => self.answered = true,
            Some("BATCH_ACK") => {
                let mut number = || words.next()?.parse::<u32>().ok();
                if let (Some(address), Some(records), Some(status)) = (number(), number(), number()) {
                    self.hear_ack(address, records, status, now);
                }
            }
            _ => {}
        }
    }

    fn hear_ack(&mut self, address: u32, records: u32, status: u32, now: Duration) {
        let Some(node) = self.nodes.iter_mut().find(|n| u32::from(n.address) == address) else { return };
        // An ack that comes twice, after a batch was sent again, finds nothing here.
        let Some(batch) = node.unacked.as_mut().filter(|b| b.records == records) else { return };
        if status == 0 {
            node.unacked = None;
            self.counts.acked += 1;
        } else {
            batch.resend_at = now + RETRY_AFTER;
            self.counts.refused += 1;
        }
    }

    /// Bytes that wait for the port.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The port has taken the first `n` bytes of [`Hub::unsent`].
    pub(super) fn sent(&mut self, n: usize) {
        self.unsent.drain(..n);
    }

    /// What was said so far.
    pub(super) fn counts(&self) -> HubCounts {
        let busy = !self.unsent.is_empty() || self.nodes.iter().any(|n| n.unacked.is_some());
        HubCounts { busy, ..self.counts }
    }

    fn say(&mut self, line: &str) {
        self.unsent.extend_from_slice(line.as_bytes());
    }
}

impl Node {
    fn new(index: u16, unix: i64) -> Self {
        // The nodes take turns, as they do on the air.
        let turn = |every: Duration| every * u32::from(index) / u32::from(NODES);
        let begin = unix - BACKLOG;
        Self {
            address: FIRST_ADDRESS + index,
            device: Hub::device(index),
            climate: Climate::new(u64::from(index) + 1),
            old_firmware: index + 1 == NODES,
            next_record: begin - begin.rem_euclid(RECORD_STEP),
            next_batch: turn(BATCH_EVERY),
            next_live: turn(LIVE_EVERY),
            next_heartbeat: turn(HEARTBEAT_EVERY),
            unacked: None,
        }
    }

    fn tick(&mut self, now: Duration, unix: i64, stopping: bool, unsent: &mut Vec<u8>, counts: &mut HubCounts) {
        if let Some(batch) = self.unacked.as_mut().filter(|b| now >= b.resend_at) {
            batch.resend_at = now + RESEND_AFTER;
            unsent.extend_from_slice(batch.text.as_bytes());
            counts.resent += 1;
        }
        if stopping {
            return;
        }
        let mut say = |line: &str, readings: u64| {
            unsent.extend_from_slice(line.as_bytes());
            counts.readings += readings;
        };
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT_EVERY;
            say(&self.heartbeat(now, unix), if self.old_firmware { 4 } else { 5 });
        }
        if now >= self.next_live {
            self.next_live = now + LIVE_EVERY;
            say(&self.live(unix), 2);
        }
        if now >= self.next_batch && self.unacked.is_none() {
            self.next_batch = now + BATCH_EVERY;
            if let Some((text, records)) = self.batch(unix) {
                say(&text, 3 * u64::from(records));
                self.unacked = Some(Batch { text, records, resend_at: now + RESEND_AFTER });
                counts.batches += 1;
            }
        }
    }

    fn heartbeat(&mut self, now: Duration, unix: i64) -> String {
        let battery = 97 - i64::from(self.address);
        let rssi = self.climate.dice().between(-91, -62);
        let up = 86_400 + now.as_secs();
        let Self { address, device, .. } = self;
        if self.old_firmware {
            return format!("HEARTBEAT {address} {device} {battery} 0 {rssi} {up}\n");
        }
        let pending = (unix - self.next_record).max(0) / RECORD_STEP;
        format!("HEARTBEAT {address} {device} {battery} 0 {rssi} {up} {pending}\n")
    }

    fn live(&mut self, unix: i64) -> String {
        let air = self.climate.at(unix);
        let Self { address, device, .. } = self;
        format!(
            "SENSOR_DATA {address} {device} TEMP {}\nSENSOR_DATA {address} {device} HUM {}\n",
            air.centi_celsius, air.centi_percent
        )
    }

    /// The next records as a whole batch and their number; `None` where the node has no record from before `unix`.
    fn batch(&mut self, unix: i64) -> Option<(String, u32)> {
        let Self { address, device, .. } = *self;
        let mut lines = String::new();
        let mut records = 0;
        while records < BATCH && self.next_record < unix {
            let air = self.climate.at(self.next_record);
            let (time, temperature, humidity) = (self.next_record, air.centi_celsius, air.centi_percent);
            let written = writeln!(lines, "SENSOR_RECORD {address} {device} {time} {temperature} {humidity} 0");
            written.expect("a String takes every text");
            self.next_record += RECORD_STEP;
            records += 1;
        }
        let begin = format!("SENSOR_BATCH {address} {device} {records}\n");
        let end = format!("BATCH_COMPLETE {address} {device} {records}\n");
        (records > 0).then(|| (begin + &lines + &end, records))
    }
}

#[cfg(test)]
mod tests;
