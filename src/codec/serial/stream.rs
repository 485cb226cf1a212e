//! The bytes of a port as readings: a framing with its payload, or a format that has its own.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::dsmr::Dsmr;
use super::format::Format;
use super::framing::{Fault, Frame, Frames, Framing};
use super::layout::Layout;
use super::mh_z19::MhZ19;
use super::nmea::Nmea;
use super::pms::Pms;
use super::protocol::{Keys, Protocol};
use super::sds011::Sds011;
use super::senseair_s8::SenseairS8;
use crate::codec::hub_lines::HubLines;
use crate::codec::json;
use crate::codec::json_lines::{DEFAULT_TIME, JsonLines};
use crate::codec::lines::behind_noise;
use crate::codec::payload::csv::{self, Rows};
use crate::codec::payload::found::refused;
use crate::codec::payload::{self, Decoders, Message};
use crate::codec::time::Local;
use crate::reading::{DeadLetter, DeadReason, Decoded};
use crate::zone::Tz;

/// What is heard on a port. It holds no more than the longest frame of its protocol.
#[derive(Debug)]
pub struct Stream {
    inner: Inner,
    gap: Option<Duration>,
}

#[derive(Debug)]
enum Inner {
    Nmea(Nmea),
    Dsmr(Box<Dsmr>),
    Sds011(Sds011),
    Pms(Pms),
    MhZ19(MhZ19),
    SenseairS8(Box<SenseairS8>),
    Framed(Box<Framed>),
}

/// A framing around a payload.
#[derive(Debug)]
struct Framed {
    frames: Frames,
    // What ends a frame that is told apart by its end.
    end: Option<u8>,
    content: Content,
    // Bytes of frames that are whole and cannot be read.
    unread: u64,
}

#[derive(Debug)]
struct Content {
    source: Arc<str>,
    payload: Payload,
    text: bool,
}

#[derive(Debug)]
enum Payload {
    Hub(Box<HubLines>),
    Json { lines: JsonLines, time: Option<String>, objects_only: bool },
    Rows(Rows),
    Layout(Layout),
    Other(payload::Format, Box<Decoders>),
}

/// Calls what is known to every format.
macro_rules! each_inner {
    ($inner:expr, $stream:ident => $call:expr) => {
        match $inner {
            Inner::Nmea($stream) => $call,
            Inner::Dsmr($stream) => $call,
            Inner::Sds011($stream) => $call,
            Inner::Pms($stream) => $call,
            Inner::MhZ19($stream) => $call,
            Inner::SenseairS8($stream) => $call,
            Inner::Framed($stream) => $call,
        }
    };
}

impl Stream {
    /// Before the first byte. `source` is the port's name and, where the frames name none, the node's; `zone` is that of the
    /// port, where it has one of its own.
    pub fn new(protocol: &Protocol, source: &str, zone: Option<Tz>) -> Self {
        let keys = protocol.keys();
        let inner = match keys.format {
            Format::Nmea0183 => Inner::Nmea(Nmea::new(source)),
            Format::DsmrP1 => {
                Inner::Dsmr(Box::new(zone.map_or_else(|| Dsmr::new(source), |zone| Dsmr::in_zone(source, zone))))
            }
            Format::Sds011 => Inner::Sds011(Sds011::new()),
            Format::Pms => Inner::Pms(Pms::new(source, keys.model.unwrap_or_default())),
            Format::MhZ19 => Inner::MhZ19(MhZ19::new(source)),
            Format::SenseairS8 => Inner::SenseairS8(Box::new(SenseairS8::new(source))),
            _ => {
                let rules = protocol.rules().expect("a format without a framing of its own has rules").clone();
                let (end, text) = match rules.framing {
                    Framing::Lines => (Some(b'\n'), rules.check.is_none()),
                    Framing::Cobs => (Some(0), false),
                    Framing::Slip => (Some(0xC0), false),
                    _ => (None, false),
                };
                let frames = Frames::new(rules).expect("the rules were checked");
                let content = Content { source: Arc::from(source), payload: Payload::new(keys, source), text };
                Inner::Framed(Box::new(Framed { frames, end, content, unread: 0 }))
            }
        };
        Self { inner, gap: protocol.gap() }
    }

    /// Takes bytes, however they are cut. Each frame that ends in them, good or bad, is one call; a good one without a reading
    /// gives an empty [`Decoded`]. `local` is how times without a zone are read.
    pub fn feed(&mut self, bytes: &[u8], local: Local, each: &mut impl FnMut(Decoded)) {
        match &mut self.inner {
            Inner::Nmea(stream) => stream.feed(bytes, each),
            Inner::Dsmr(stream) => stream.feed(bytes, each),
            Inner::Sds011(stream) => stream.feed(bytes, each),
            Inner::Pms(stream) => stream.feed(bytes, each),
            Inner::MhZ19(stream) => stream.feed(bytes, each),
            Inner::SenseairS8(stream) => stream.feed(bytes, each),
            Inner::Framed(framed) => framed.feed(bytes, local, each),
        }
    }

    /// How long the line has to be silent behind held bytes until [`Stream::idle`] is to be called; `None` where silence means
    /// nothing.
    pub fn gap(&self) -> Option<Duration> {
        self.gap
    }

    /// The line was silent: what is held is a frame, or none.
    pub fn idle(&mut self, local: Local, each: &mut impl FnMut(Decoded)) {
        if let Inner::Framed(framed) = &mut self.inner {
            framed.idle(local, each);
        }
    }

    /// No more bytes will come: as if what ends a frame had been the last of them.
    pub fn end(&mut self, local: Local, each: &mut impl FnMut(Decoded)) {
        if self.pending() == 0 {
            return;
        }
        match &mut self.inner {
            Inner::Dsmr(dsmr) => dsmr.feed(b"\n", each),
            Inner::Framed(framed) => match framed.end {
                Some(end) => framed.feed(&[end], local, each),
                None => framed.idle(local, each),
            },
            _ => {}
        }
    }

    /// Bytes of a frame that has not ended.
    pub fn pending(&self) -> usize {
        each_inner!(&self.inner, stream => stream.pending())
    }

    /// Bytes so far that belong to no good frame.
    pub fn skipped(&self) -> u64 {
        each_inner!(&self.inner, stream => stream.skipped())
    }

    /// The stream was interrupted: forgets the frame that has not ended, and what only holds while it goes on.
    pub fn forget(&mut self) {
        each_inner!(&mut self.inner, stream => stream.forget());
    }

    /// What the last frames held was dropped: what they told may be told again, and what comes again is no repeat.
    pub fn not_stored(&mut self) {
        if let Inner::Framed(framed) = &mut self.inner {
            match &mut framed.content.payload {
                Payload::Json { lines, .. } => lines.forget_told(),
                Payload::Other(_, decoders) => decoders.forget_frames(),
                Payload::Hub(_) | Payload::Rows(_) | Payload::Layout(_) => {}
            }
        }
    }
}

impl Framed {
    fn feed(&mut self, bytes: &[u8], local: Local, each: &mut impl FnMut(Decoded)) {
        let Self { frames, content, unread, .. } = self;
        frames.feed(bytes, &mut |frame| each(content.read(&frame, local, unread)));
    }

    fn idle(&mut self, local: Local, each: &mut impl FnMut(Decoded)) {
        let Self { frames, content, unread, .. } = self;
        frames.idle(&mut |frame| each(content.read(&frame, local, unread)));
    }

    fn pending(&self) -> usize {
        self.frames.pending()
    }

    fn skipped(&self) -> u64 {
        self.frames.skipped() + self.unread
    }

    fn forget(&mut self) {
        self.frames.forget();
        if let Payload::Rows(rows) = &mut self.content.payload {
            rows.forget();
        }
    }
}

impl Content {
    /// What is in a frame. `unread` grows by the bytes of one that cannot be read.
    fn read(&mut self, frame: &Frame<'_>, local: Local, unread: &mut u64) -> Decoded {
        let payload = match frame {
            Frame::Whole(payload) => *payload,
            Frame::Bad { reason, head, len } => {
                let letter = match reason {
                    Fault::TooLong(_) if self.text => {
                        let detail = format!("a line of {len} bytes is over the limit of `max-line`");
                        DeadLetter::new(DeadReason::TooLong, detail, head)
                    }
                    _ => reason.dead(head, *len),
                };
                return Decoded { dead: vec![letter], ..Decoded::default() };
            }
        };
        let text = match &self.payload {
            Payload::Json { .. } if self.text => object(behind_noise(payload)),
            _ if self.text => behind_noise(payload),
            _ => payload,
        };
        let decoded = self.payload.decode(text, &self.source, local);
        let bad = |letter: &DeadLetter| matches!(letter.reason, DeadReason::Malformed | DeadReason::NotUtf8);
        let unreadable = decoded.readings.is_empty() && decoded.events.is_empty() && decoded.dead.iter().any(bad);
        *unread += if unreadable { payload.len() } else { payload.len() - text.len() } as u64;
        decoded
    }
}

/// An object behind what is none: a word that a board prints while it starts, or the rest of a line. It ends with the line, so
/// it is no part of another.
fn object(line: &[u8]) -> &[u8] {
    let Some(at) = line.iter().position(|byte| *byte == b'{') else { return line };
    let whole = || serde_json::from_slice::<IgnoredAny>(&line[at..]).is_ok();
    if at > 0 && line[0] != b'[' && whole() { &line[at..] } else { line }
}

impl Payload {
    fn new(keys: &Keys, source: &str) -> Self {
        let named = |name: &Option<String>, default: &str| name.clone().unwrap_or_else(|| default.to_owned());
        match keys.format {
            Format::HubLines => Self::Hub(Box::default()),
            Format::Layout => Self::Layout(keys.layout.clone().expect("the layout was checked")),
            format if format.is_json() => {
                let lines = JsonLines::new(source, &named(&keys.time, DEFAULT_TIME), &named(&keys.node, "node"));
                Self::Json { lines, time: keys.time.clone(), objects_only: format == Format::JsonLines }
            }
            format if format.is_csv() => Self::Rows(Rows::new(csv::Options {
                node: source.to_owned(),
                time: keys.time.clone(),
                node_column: keys.node.clone(),
                columns: keys.columns.clone(),
                header: keys.header,
                separator: keys.separator,
                ..csv::Options::default()
            })),
            Format::Payload(format) => Self::Other(format, Box::default()),
            // They have a framing of their own.
            _ => Self::Other(payload::Format::Auto, Box::default()),
        }
    }

    fn decode(&mut self, bytes: &[u8], source: &Arc<str>, local: Local) -> Decoded {
        match self {
            Self::Hub(hub) => {
                let mut content = Decoded::default();
                let mut answered = Decoded::default();
                hub.line(bytes, &mut content, &mut |content, _| answered.append(std::mem::take(content)));
                answered.append(content);
                answered
            }
            Self::Json { lines, objects_only: true, .. } => lines.line(bytes, local),
            Self::Json { lines, .. } if bytes.trim_ascii().starts_with(b"{") => lines.line(bytes, local),
            Self::Json { time, .. } => {
                json::decode(bytes, &json::Options { node: source, metric: None, time: time.as_deref(), local })
            }
            Self::Rows(rows) => match std::str::from_utf8(bytes) {
                Ok(text) => {
                    let decoded = rows.line(text, local);
                    let comment = text.trim_start().starts_with('#');
                    if comment && decoded.readings.is_empty() { Decoded::default() } else { decoded }
                }
                Err(e) => refused(DeadReason::NotUtf8, format!("invalid UTF-8 at byte {}", e.valid_up_to()), bytes),
            },
            Self::Layout(layout) => layout.decode(bytes, source),
            Self::Other(payload::Format::InfluxLine, _) if bytes.trim_ascii_start().starts_with(b"#") => {
                Decoded::default()
            }
            Self::Other(format, decoders) => {
                let message = Message {
                    topic: source,
                    payload: bytes,
                    node: None,
                    metric: None,
                    time: None,
                    local,
                    retain: false,
                };
                // Of a value alone the topic would name the metric.
                let number = |decoders: &mut Decoders| {
                    let message = Message { node: Some(source), metric: Some("value"), ..message };
                    decoders.decode(payload::Format::Number, &message).decoded
                };
                if *format == payload::Format::Number {
                    return number(decoders);
                }
                let output = decoders.decode(*format, &message);
                if output.taken_for == Some(payload::Format::Number) { number(decoders) } else { output.decoded }
            }
        }
    }
}

#[cfg(test)]
mod tests;
