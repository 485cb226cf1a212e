//! The `LoRa` hub's line protocol, both directions: the hub's lines become readings, events and signals; what the gateway
//! answers becomes lines. Pure: no clock and no I/O.
//!
//! A line may hold several messages where bytes were lost between them. A piece that runs into the keyword of the next
//! message has lost its end: it may look whole with a number cut short, so it is always a dead letter. [`split`] says
//! which keywords cut a line.

mod answer;
mod batches;
pub mod message;
mod split;

use std::sync::Arc;

pub use answer::{Answer, batch_ack_line, datetime_line};
use batches::Batches;
pub use batches::{MAX_OPEN, MAX_RECORDS, MAX_RECORDS_OPEN};
use message::{Fault, Live, Message, Record, Sender};
use serde::Serialize;

use crate::reading::{DeadLetter, DeadReason, Decoded, Event, Reading, Timestamp, When};

/// Unix times from here on are milliseconds: in seconds it would be the year 5138.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// What a line says beside its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal<'a> {
    /// The hub asks for the time, or has booted and needs it.
    AskTime,
    /// A batch has ended and its node waits for an answer. Everything of it was decoded before.
    BatchEnd(BatchEnd),
    /// The hub complains about a command; the text is its own.
    Error(&'a str),
}

/// The end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// Address of the node, for the answer.
    pub address: u16,
    /// Its device id.
    pub device: u64,
    /// Records that `BATCH_COMPLETE` announced, for the answer.
    pub announced: u32,
    /// All of them were decoded; without it the answer's status is 1, whatever was stored.
    pub whole: bool,
    /// What [`HubLines::tag`] was when the batch began.
    pub tag: u64,
}

/// Decodes the lines of one hub. Its memory is bounded, see [`MAX_OPEN`] and [`MAX_RECORDS_OPEN`].
#[derive(Debug)]
pub struct HubLines {
    batches: Batches,
    tag: u64,
    // The node of the last message: a batch has the same one in every line.
    node: (u64, Arc<str>),
    names: Names,
}

/// Names of metrics and kinds of events, made once.
#[derive(Debug)]
struct Names {
    temperature: Arc<str>,
    humidity: Arc<str>,
    flags: Arc<str>,
    battery: Arc<str>,
    errors: Arc<str>,
    rssi: Arc<str>,
    uptime: Arc<str>,
    pending: Arc<str>,
    event: Arc<str>,
    event_log: Arc<str>,
    sensor_data: Arc<str>,
}

#[derive(Serialize)]
struct CodeAndHex<'a> {
    code: u32,
    hex: &'a str,
}

#[derive(Serialize)]
struct LogEntry<'a> {
    r#type: &'a str,
    severity: &'a str,
    detail: &'a str,
}

impl Default for HubLines {
    fn default() -> Self {
        Self::new()
    }
}

impl HubLines {
    /// A decoder that has heard nothing.
    pub fn new() -> Self {
        Self {
            batches: Batches::default(),
            tag: 0,
            node: (0, "0".into()),
            names: Names {
                temperature: "temperature".into(),
                humidity: "humidity".into(),
                flags: "flags".into(),
                battery: "battery".into(),
                errors: "errors".into(),
                rssi: "rssi".into(),
                uptime: "uptime".into(),
                pending: "pending".into(),
                event: "event".into(),
                event_log: "event-log".into(),
                sensor_data: "sensor-data".into(),
            },
        }
    }

    /// Marks the batches that begin from now on; [`BatchEnd::tag`] tells it back.
    pub fn tag(&mut self, tag: u64) {
        self.tag = tag;
    }

    /// The link was interrupted: batches that have not ended will not be whole.
    pub fn interrupt(&mut self) {
        self.batches.interrupt();
    }

    /// Decodes one line without its end: its contents are added to `content`, and `signal` is called for what it says
    /// beside them, with the contents so far, which it may take.
    pub fn line(&mut self, line: &[u8], content: &mut Decoded, signal: &mut impl FnMut(&mut Decoded, Signal<'_>)) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        split::pieces(line, |piece, last| {
            let parsed = if last { Message::parse(piece) } else { Err(cut_off(piece)) };
            match parsed {
                Ok(message) => self.message(piece, &message, content, signal),
                Err(fault) => content.dead.push(DeadLetter::new(fault.reason, fault.detail, piece)),
            }
        });
    }

    fn message(
        &mut self,
        piece: &[u8],
        message: &Message<'_>,
        content: &mut Decoded,
        signal: &mut impl FnMut(&mut Decoded, Signal<'_>),
    ) {
        match *message {
            Message::HubReady | Message::GetDatetime => signal(content, Signal::AskTime),
            Message::Answer { keyword: "ERROR", text } => signal(content, Signal::Error(text)),
            Message::Answer { .. } => {}
            Message::SensorBatch { from, .. } => {
                if from.device != 0 {
                    self.batches.begin(from, self.tag);
                }
            }
            Message::BatchComplete { from, count } => {
                let (whole, tag) =
                    if from.device == 0 { (false, self.tag) } else { self.batches.complete(from, count, self.tag) };
                let Sender { address, device } = from;
                signal(content, Signal::BatchEnd(BatchEnd { address, device, announced: count, whole, tag }));
            }
            Message::Heartbeat { from, .. }
            | Message::SensorData { from, .. }
            | Message::SensorRecord { from, .. }
            | Message::Event { from, .. }
            | Message::EventLog { from, .. } => {
                if from.device == 0 {
                    let detail = format!("the node at address {} has not registered: its device id is 0", from.address);
                    content.dead.push(DeadLetter::new(DeadReason::Unregistered, detail, piece));
                } else {
                    let node = self.node(from.device);
                    self.content(node, from, message, content);
                }
            }
        }
    }

    /// What a registered node sends.
    fn content(&mut self, node: Arc<str>, from: Sender, message: &Message<'_>, content: &mut Decoded) {
        let names = &self.names;
        let mut reading = |metric: &Arc<str>, unit: Option<&'static str>, when, value| {
            content.readings.push(Reading {
                node: Arc::clone(&node),
                metric: Arc::clone(metric),
                own_name: None,
                unit: unit.map(Into::into),
                when,
                value,
            });
        };
        match *message {
            Message::Heartbeat { battery, errors, rssi, uptime, pending, .. } => {
                let mut status = |metric, unit, value| reading(metric, unit, When::Arrival, value);
                status(&names.battery, Some("%"), f64::from(battery));
                status(&names.errors, None, f64::from(errors));
                status(&names.rssi, Some("dBm"), f64::from(rssi));
                status(&names.uptime, Some("s"), f64::from(uptime));
                if let Some(pending) = pending {
                    status(&names.pending, None, f64::from(pending));
                }
            }
            Message::SensorData { value: Live::Temp(value), .. } => {
                reading(&names.temperature, Some("degC"), When::Arrival, f64::from(value) / 100.0);
            }
            Message::SensorData { value: Live::Hum(value), .. } => {
                reading(&names.humidity, Some("%RH"), When::Arrival, f64::from(value) / 100.0);
            }
            Message::SensorData { value: Live::Other { code, hex }, .. } => {
                content.events.push(code_event(node, &names.sensor_data, code, hex));
            }
            Message::Event { code, hex, .. } => {
                content.events.push(code_event(node, &names.event, code, hex));
            }
            Message::SensorRecord { record, .. } => {
                let Record { time, temp, hum, flags } = record;
                let when = When::Stored(Timestamp::from_secs(time));
                reading(&names.temperature, Some("degC"), when, f64::from(temp) / 100.0);
                reading(&names.humidity, Some("%RH"), when, f64::from(hum) / 100.0);
                reading(&names.flags, None, when, f64::from(flags));
                self.batches.record(from, record, self.tag);
            }
            Message::EventLog { time, kind, severity, detail, .. } => {
                let time = if time.unsigned_abs() >= MILLISECONDS_FROM {
                    Timestamp(time.saturating_mul(1_000))
                } else {
                    Timestamp::from_secs(time)
                };
                content.events.push(Event {
                    node,
                    kind: Arc::clone(&names.event_log),
                    when: When::Stored(time),
                    data: json(&LogEntry { r#type: kind, severity, detail }),
                });
            }
            Message::HubReady
            | Message::GetDatetime
            | Message::SensorBatch { .. }
            | Message::BatchComplete { .. }
            | Message::Answer { .. } => {}
        }
    }

    fn node(&mut self, device: u64) -> Arc<str> {
        if self.node.0 != device {
            self.node = (device, device.to_string().into());
        }
        Arc::clone(&self.node.1)
    }
}

fn cut_off(piece: &[u8]) -> Fault {
    let reason = if std::str::from_utf8(piece).is_ok() { DeadReason::Malformed } else { DeadReason::NotUtf8 };
    Fault { reason, detail: "another message begins before this one has ended".into() }
}

fn code_event(node: Arc<str>, kind: &Arc<str>, code: u32, hex: &str) -> Event {
    let hex: String = hex.chars().filter(|c| *c != ' ').collect();
    Event { node, kind: Arc::clone(kind), when: When::Arrival, data: json(&CodeAndHex { code, hex: &hex }) }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and text always become JSON")
}

#[cfg(test)]
mod tests;
