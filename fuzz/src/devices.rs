//! Framings, layouts, and the formats of devices on a serial line.

use std::collections::HashMap;
use std::sync::Arc;

use gadwall::codec::payload::MAX_VALUES;
use gadwall::codec::serial::crc::Checksum;
use gadwall::codec::serial::dsmr::{self, Dsmr};
use gadwall::codec::serial::framing::{Check, Counts, Covers, Frame, Frames, Framing, Prefix, Rules};
use gadwall::codec::serial::layout::Layout;
use gadwall::codec::serial::mh_z19::MhZ19;
use gadwall::codec::serial::nmea::{self, Nmea};
use gadwall::codec::serial::pms::{Model, Pms};
use gadwall::codec::serial::protocol::Kind;
use gadwall::codec::serial::sds011::Sds011;
use gadwall::codec::serial::senseair_s8::SenseairS8;
use gadwall::codec::serial::{Format, Keys, Order, Protocol, Stream};
use gadwall::codec::time::Local;
use gadwall::reading::{Decoded, MAX_EXCERPT, MAX_NAME};

/// Framing: four bytes choose the rules, the others are the stream. The cut into chunks does not matter; no payload is over
/// the limit; what is skipped and what is found add up to no more than what came; a payload that was found, encoded and
/// split again is the same.
pub fn framing(input: &[u8]) {
    let [kind, options, max, cut, bytes @ ..] = input else { return };
    let order = if options & 1 == 0 { Order::Little } else { Order::Big };
    let sync = if options & 2 == 0 { vec![] } else { vec![0xAA, 0x55] };
    let framing = match kind % 6 {
        0 => Framing::Lines,
        1 => Framing::Cobs,
        2 => Framing::Slip,
        3 => Framing::LengthPrefixed(Prefix {
            sync,
            wide: options & 4 != 0,
            order,
            counts: [Counts::Payload, Counts::Rest, Counts::Frame][usize::from(options >> 3 & 3) % 3],
        }),
        4 => Framing::Fixed { len: usize::from(max % 32) + 1, sync },
        _ => Framing::IdleGap,
    };
    let name = [None, Some("CRC-8"), Some("CRC-16/MODBUS"), Some("CRC-32")][usize::from(options >> 5 & 3)];
    let covers = match framing {
        Framing::LengthPrefixed(_) | Framing::Fixed { .. } if options & 0x80 != 0 => {
            if kind & 0x80 == 0 {
                Covers::Frame
            } else {
                Covers::Length
            }
        }
        _ => Covers::Payload,
    };
    let checksum = name.and_then(Checksum::named);
    let check = checksum.map(|checksum| Check { checksum, order, covers });
    let rules = Rules { framing, check, max: usize::from(*max) + 1 };
    let Ok(splitter) = Frames::new(rules.clone()) else { return };
    let at_once = split(splitter.clone(), &rules, [bytes]);
    assert_eq!(split(splitter.clone(), &rules, bytes.chunks(1)), at_once);
    assert_eq!(split(splitter.clone(), &rules, bytes.chunks(usize::from(*cut) + 1)), at_once);
    let found: usize = at_once.0.iter().map(Vec::len).sum();
    assert!(found as u64 + at_once.2 <= bytes.len() as u64, "{found} and {} of {}", at_once.2, bytes.len());
    for payload in &at_once.0 {
        assert!(!payload.is_empty() && payload.len() <= rules.max);
        // Escaped it may be over the limit, and a line may have begun with blanks before its checksum.
        let Some(frame) = rules.encode(payload) else { continue };
        let mut again = Vec::new();
        let mut splitter = splitter.clone();
        splitter.feed(&frame, &mut |frame| again.push(owned(frame)));
        splitter.idle(&mut |frame| again.push(owned(frame)));
        assert_eq!(again, [Some(payload.clone())]);
    }
}

/// A port: four bytes choose format, framing, checksum and the size of the chunks, the others are what comes. The keys fit or
/// every misfit has its reason; the cut into chunks does not matter; limits; what is skipped and held is no more than what came.
pub fn port(input: &[u8]) {
    let [format, framing, options, cut, bytes @ ..] = input else { return };
    let formats: Vec<Format> = Format::all().collect();
    let format = formats[usize::from(*format) % formats.len()];
    let kind = Kind::ALL.get(usize::from(framing % 8)).map(|(_, kind)| *kind);
    let set = |bit: u8| options >> bit & 1 == 1;
    let text = "be: u8 kind, i16 temperature * 0.01 degC, [u16 node]";
    let keys = Keys {
        format,
        framing: kind,
        crc: set(0).then(|| Checksum::named("CRC-8").expect("the catalogue has it")),
        length: (kind == Some(Kind::Fixed)).then_some(if set(0) { 4 } else { 3 }),
        layout: (format == Format::Layout).then(|| Layout::parse(text).expect("a layout")),
        max_line: set(1).then_some(64),
        max_frame: set(2).then_some(64),
        columns: set(3).then(|| vec!["time".to_owned(), "a".to_owned()]),
        header: set(4).then_some(set(5)),
        separator: set(6).then_some(b' '),
        ..Keys::default()
    };
    let protocol = match Protocol::new(keys) {
        Ok(protocol) => protocol,
        Err(misfits) => {
            assert!(misfits.iter().all(|(key, reason)| !key.is_empty() && reason.contains("expected")), "{misfits:?}");
            return;
        }
    };
    let decode = |size: usize| {
        let (mut stream, mut all) = (Stream::new(&protocol, "s", None), Vec::new());
        for chunk in bytes.chunks(size) {
            stream.feed(chunk, Local::UTC, &mut |decoded| all.push(decoded));
            // Of a line or frame over the limit its length is told, and its beginning held.
            assert!(stream.pending() <= bytes.len());
        }
        stream.end(Local::UTC, &mut |decoded| all.push(decoded));
        // A frame may be told as skipped, with what ends it, and without being in the stream.
        assert!(stream.skipped() + stream.pending() as u64 <= bytes.len() as u64 + 1);
        (all, stream.skipped())
    };
    let at_once = decode(bytes.len().max(1));
    assert_eq!(decode(1), at_once);
    assert_eq!(decode(usize::from(*cut) + 1), at_once);
    at_once.0.iter().for_each(within_limits);
}

fn owned(frame: Frame<'_>) -> Option<Vec<u8>> {
    match frame {
        Frame::Whole(payload) => Some(payload.to_vec()),
        Frame::Bad { .. } => None,
    }
}

/// Payloads, number of bad frames, skipped bytes.
fn split<'a>(
    mut frames: Frames,
    rules: &Rules,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Vec<u8>>, Vec<(String, Vec<u8>, usize)>, u64) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for chunk in chunks {
        frames.feed(chunk, &mut |frame| match frame {
            Frame::Whole(payload) => good.push(payload.to_vec()),
            Frame::Bad { reason, head, len } => {
                assert!(head.len() <= 1024 && head.len() <= len, "{reason} {rules:?}");
                bad.push((reason.to_string(), head.to_vec(), len));
            }
        });
    }
    (good, bad, frames.skipped())
}

/// Layouts: a text, a zero byte, a payload. The text is a layout or has an error within itself; a payload of one of its
/// lengths is decoded, or has another constant than expected; what was decoded, encoded and decoded again is the same, but
/// for what a float cannot hold.
pub fn layout(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let Ok(text) = std::str::from_utf8(&input[..at]) else { return };
    let payload = input.get(at + 1..).unwrap_or_default();
    let layout = match Layout::parse(text) {
        Ok(layout) => layout,
        Err(e) => {
            assert!(e.column >= 1 && e.column <= text.chars().count() + 1, "{e}");
            assert!(!e.reason.is_empty() && e.reason.len() <= text.len() + 200, "{e}");
            return;
        }
    };
    assert!(layout.lengths().is_sorted_by(|a, b| a < b));
    let source: Arc<str> = Arc::from("s");
    let decoded = layout.decode(payload, &source);
    within_limits(&decoded);
    let fits = layout.lengths().contains(&payload.len())
        || layout.is_open() && layout.lengths().iter().any(|len| *len <= payload.len());
    assert!(fits || decoded.dead.len() == 1 && decoded.readings.is_empty(), "{decoded:?}");
    let values: HashMap<&str, f64> = decoded.readings.iter().map(|r| (&*r.metric, r.value)).collect();
    let Ok(again) = layout.encode(None, None, &values) else { return };
    // A second time nothing changes any more, but for the rounding of what is far larger than its steps.
    let second = layout.decode(&again, &source);
    let values: HashMap<&str, f64> = second.readings.iter().map(|r| (&*r.metric, r.value)).collect();
    if let Ok(twice) = layout.encode(None, None, &values) {
        let third = layout.decode(&twice, &source);
        for (a, b) in second.readings.iter().zip(&third.readings) {
            if a.metric == b.metric && a.value.abs() < 1e9 {
                assert!((a.value - b.value).abs() <= 1e-6 * a.value.abs().max(1.0) + 1e3, "{text}: {a:?} {b:?}");
            }
        }
    }
}

fn within_limits(decoded: &Decoded) {
    assert!(decoded.readings.len() <= MAX_VALUES);
    for r in &decoded.readings {
        assert!(r.value.is_finite() && !r.node.is_empty() && r.node.len() <= MAX_NAME, "{r:?}");
        assert!(!r.metric.is_empty() && r.metric.len() <= MAX_NAME, "{r:?}");
    }
    for e in &decoded.events {
        assert!(e.kind.len() <= MAX_NAME && e.data.len() <= 1024, "{e:?}");
    }
    for d in &decoded.dead {
        assert!(d.excerpt.len() <= MAX_EXCERPT && !d.detail.is_empty() && d.detail.len() <= 1024, "{d:?}");
        assert!(!d.detail.chars().any(char::is_control), "{d:?}");
    }
}

/// A format's stream: limits; bytes one by one and in chunks of 7 give the same as all at once; what is skipped and held is
/// no more than what came.
macro_rules! stream {
    ($name:ident, $new:expr, $held:expr) => {
        #[doc = concat!("The stream of `", stringify!($name), "`, however it is cut.")]
        pub fn $name(input: &[u8]) {
            let decode = |size: usize| {
                let (mut stream, mut all) = ($new, Vec::new());
                for chunk in input.chunks(size) {
                    stream.feed(chunk, &mut |decoded| all.push(decoded));
                    assert!(stream.pending() < $held, "{} bytes held", stream.pending());
                }
                assert!(stream.skipped() + stream.pending() as u64 <= input.len() as u64);
                (all, stream.skipped())
            };
            let at_once = decode(input.len().max(1));
            assert_eq!(decode(1), at_once);
            assert_eq!(decode(7), at_once);
            for decoded in &at_once.0 {
                within_limits(decoded);
            }
        }
    };
}

stream!(nmea, Nmea::new("s"), nmea::MAX);
stream!(dsmr, Dsmr::new("s"), dsmr::MAX);
stream!(sds011, Sds011::new(), 10);
stream!(pms, Pms::new("s", Model::T), 40);
stream!(mh_z19, MhZ19::new("s"), 9);
stream!(senseair_s8, SenseairS8::new("s"), 13);
