//! `gadwall sniff --port`: what the bytes of a serial port could be, by what fits how well. Pure but for the printing.
//!
//! Every format reads the bytes as the daemon would. What counts is how many of them belong to good frames: at a wrong speed
//! hardly any do. A format with checksums says more than one without, and a special one more than one that takes anything.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use crate::codec::payload;
use crate::codec::serial::crc::Checksum;
use crate::codec::serial::protocol::Kind;
use crate::codec::serial::{Format, Keys, Order, Protocol, Stream};
use crate::codec::time::Local;
use crate::config::{Parity, Uart};
use crate::zone::Tz;

/// What was heard at one setting of the line: pieces, each with its time since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The setting.
    pub uart: Uart,
    /// What came, as it came.
    pub pieces: Vec<(Duration, Vec<u8>)>,
}

/// What the bytes could be, and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// How they are read.
    pub keys: Keys,
    /// The setting of the line.
    pub uart: Uart,
    /// The frames have checksums.
    pub checked: bool,
    /// Frames that are good.
    pub good: u64,
    /// Frames that are not.
    pub bad: u64,
    /// Readings in the good ones.
    pub readings: u64,
    /// Bytes of good frames.
    pub fits: u64,
    /// All bytes.
    pub bytes: u64,
    /// One of the readings, for a person.
    pub sample: Option<String>,
}

/// Frames in a row without a fault that leave no doubt.
const CERTAIN: u64 = 3;
/// Parts of a hundred of the bytes that have to fit.
const LEAST: u64 = 50;
/// The same for text without checksums, and for what is taken for certain.
const MOST: u64 = 80;

/// Checksums that firmware uses, the commoner ones first.
const CHECKSUMS: [&str; 10] = [
    "CRC-16/MODBUS",
    "CRC-16/IBM-3740",
    "CRC-16/XMODEM",
    "CRC-16/KERMIT",
    "CRC-16/ARC",
    "CRC-16/IBM-SDLC",
    "CRC-32/ISO-HDLC",
    "CRC-32/ISCSI",
    "CRC-8/SMBUS",
    "CRC-8/MAXIM-DOW",
];

/// Payloads of framings. What is none of them needs a layout.
const PAYLOADS: [payload::Format; 4] =
    [payload::Format::Json, payload::Format::Msgpack, payload::Format::Senml, payload::Format::InfluxLine];

impl Heard {
    /// How many bytes came.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The same bytes as a line with 7 data bits and even parity has them; `None` where they are not such: then every byte
    /// has an even number of ones.
    fn with_seven_bits(&self) -> Option<Self> {
        let all = || self.pieces.iter().flat_map(|(_, bytes)| bytes);
        let even = all().filter(|byte| byte.count_ones() % 2 == 0).count() as u64;
        let high = all().filter(|byte| **byte >= 0x80).count() as u64;
        if high == 0 || even * 100 < self.bytes() * 95 {
            return None;
        }
        let pieces =
            self.pieces.iter().map(|(at, bytes)| (*at, bytes.iter().map(|byte| byte & 0x7F).collect())).collect();
        Some(Self { uart: Uart { data_bits: 7, parity: Parity::Even, ..self.uart }, pieces })
    }
}

impl Found {
    /// Of all bytes, those that fit, in parts of a hundred.
    fn share(&self) -> u64 {
        (self.fits * 100).checked_div(self.bytes).unwrap_or(0)
    }

    /// Whether there is no need to look further.
    pub fn is_certain(&self) -> bool {
        self.good >= CERTAIN && self.share() >= MOST && self.readings > 0
    }

    /// Whether it is worth being told.
    fn is_plausible(&self) -> bool {
        if self.checked {
            self.good >= 1 && self.share() >= LEAST.min(25)
        } else {
            self.good >= 2 && self.share() >= MOST
        }
    }

    /// What is compared: the share in steps, so that a cut frame at either end does not decide; then what says more.
    fn rank(&self) -> (u64, bool, bool) {
        ((self.share() + 10) / 20, self.checked, self.readings > 0)
    }
}

/// What these bytes are most likely; `None` where nothing fits.
pub fn judge(heard: &Heard) -> Option<Found> {
    let as_heard = best(heard);
    let seven = heard.with_seven_bits().and_then(|heard| best(&heard));
    better(as_heard, seven)
}

/// The better of two, the first where neither is.
pub fn better(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.rank() > one.rank() { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn best(heard: &Heard) -> Option<Found> {
    let named = of_names().into_iter().filter_map(|keys| try_one(heard, keys));
    let found = named.filter(Found::is_plausible).fold(None, |best, found| better(best, Some(found)));
    if found.as_ref().is_some_and(Found::is_certain) {
        return found;
    }
    of_framings()
        .into_iter()
        .filter_map(|keys| try_one(heard, keys))
        .filter(Found::is_plausible)
        .fold(found, |best, found| better(best, Some(found)))
}

/// The formats that need nothing else, those that take less before those that take more.
fn of_names() -> Vec<Keys> {
    let order = [
        Format::Nmea0183,
        Format::DsmrP1,
        Format::Sds011,
        Format::Pms,
        Format::HubLines,
        Format::JsonLines,
        Format::Payload(payload::Format::InfluxLine),
        Format::Payload(payload::Format::Senml),
        Format::Payload(payload::Format::Rtl433),
        Format::CsvLines,
    ];
    order.into_iter().map(|format| Keys { format, ..Keys::default() }).collect()
}

/// Framings with the commoner checksums, around the commoner payloads; without a checksum only where the payload is known.
fn of_framings() -> Vec<Keys> {
    let mut all = Vec::new();
    for framing in [Kind::Cobs, Kind::Slip] {
        let plain = |format| Keys { format, framing: Some(framing), ..Keys::default() };
        let formats = PAYLOADS.into_iter().map(Format::Payload);
        for name in CHECKSUMS {
            for order in [Order::Little, Order::Big] {
                let with = |keys: Keys| Keys { crc: Checksum::named(name), crc_order: Some(order), ..keys };
                all.extend(formats.clone().map(|format| with(plain(format))));
                let layout = crate::codec::serial::layout::Layout::parse("u8 byte_0, ...").ok();
                all.push(with(Keys { layout, ..plain(Format::Layout) }));
            }
        }
        all.extend(formats.map(plain));
    }
    all
}

/// What the bytes are by this format.
fn try_one(heard: &Heard, keys: Keys) -> Option<Found> {
    let protocol = Protocol::new(keys).ok()?;
    let mut stream = Stream::new(&protocol, "port", None);
    let local = Local { zone: Tz::UTC, arrival: None };
    let checked = protocol.keys().crc.is_some()
        || matches!(protocol.keys().format, Format::Nmea0183 | Format::DsmrP1 | Format::Sds011 | Format::Pms);
    let mut found = Found {
        keys: protocol.keys().clone(),
        uart: heard.uart,
        checked,
        good: 0,
        bad: 0,
        readings: 0,
        fits: 0,
        bytes: heard.bytes(),
        sample: None,
    };
    let mut each = |decoded: crate::reading::Decoded| {
        found.readings += decoded.readings.len() as u64;
        let count = if decoded.dead.is_empty() { &mut found.good } else { &mut found.bad };
        *count += 1;
        if let Some(reading) = decoded.readings.first() {
            let unit = reading.unit.as_deref().unwrap_or_default();
            let text = format!("{} {} {} {unit}", reading.node, reading.metric, reading.value);
            found.sample.get_or_insert(text.trim_end().to_owned());
        }
    };
    let mut before: Option<Duration> = None;
    for (at, bytes) in &heard.pieces {
        if let (Some(gap), Some(before)) = (stream.gap(), before)
            && *at >= before + gap
        {
            stream.idle(local, &mut each);
        }
        stream.feed(bytes, local, &mut each);
        before = Some(*at);
    }
    let lost = stream.skipped() + stream.pending() as u64;
    found.fits = found.bytes.saturating_sub(lost);
    Some(found)
}

/// Writes what was heard at each setting and what it is, and the lines for the configuration.
///
/// # Errors
/// That of writing.
pub fn print(port: &str, heard: &[Heard], found: Option<&Found>, out: &mut impl Write) -> io::Result<()> {
    if heard.iter().all(|heard| heard.pieces.is_empty()) {
        return writeln!(
            out,
            "Nothing came from {port}. Some devices only speak when they are asked: --ask tries the MH-Z19, the Senseair S8 and\n\
             Modbus. Otherwise look at power, at RX and TX, which may have to be exchanged, and listen longer with --seconds."
        );
    }
    writeln!(out, "{:>8}  {:4}  {:>6}  could be", "baud", "mode", "bytes")?;
    for heard in heard {
        let best = judge(heard);
        let what = best.as_ref().map_or_else(|| "nothing that is known".to_owned(), evidence);
        let mode = mode(best.as_ref().map_or(heard.uart, |found| found.uart));
        writeln!(out, "{:>8}  {mode:4}  {:>6}  {what}", heard.uart.baud, heard.bytes())?;
    }
    let Some(found) = found else {
        writeln!(out, "\nIt begins with:\n{}", excerpt(heard))?;
        return writeln!(
            out,
            "\nNo format fits. Where one of the speeds is right, docs/formats/layout.md says how the bytes can be described."
        );
    };
    if let Some(sample) = &found.sample {
        writeln!(out, "\nThe first reading: {sample}")?;
    }
    writeln!(out, "\nFor the configuration:\n\n{}", section(port, found).trim_end())
}

/// What speaks for it.
fn evidence(found: &Found) -> String {
    let mut text = found.keys.format.as_str().to_owned();
    if let Some(framing) = found.keys.framing {
        let _ = write!(text, " in {}", framing.as_str());
    }
    if let Some(crc) = &found.keys.crc {
        let _ = write!(text, " with {}", crc.name());
    }
    let frames = if found.checked { "frames with a right checksum" } else { "good frames" };
    let _ = write!(text, ": {} {frames}, {} bad, {} of {} bytes fit", found.good, found.bad, found.fits, found.bytes);
    text
}

fn mode(uart: Uart) -> String {
    let parity = match uart.parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
    };
    format!("{}{parity}{}", uart.data_bits, uart.stop_bits)
}

/// The section for the configuration.
fn section(port: &str, found: &Found) -> String {
    let quoted = super::quoted;
    let Found { keys, uart, .. } = found;
    let mut text = format!("[[serial]]\nname = \"port\"\nport = {}\n", quoted(port));
    let _ = writeln!(text, "format = {}", quoted(keys.format.as_str()));
    if uart.baud != keys.format.baud() {
        let _ = writeln!(text, "baud = {}", uart.baud);
    }
    if uart.data_bits != 8 {
        let parity = Parity::ALL.iter().find(|(_, parity)| *parity == uart.parity).map_or("none", |(name, _)| name);
        let _ = writeln!(text, "data-bits = {}\nparity = {}", uart.data_bits, quoted(parity));
    }
    if let Some(framing) = keys.framing {
        let _ = writeln!(text, "framing = {}", quoted(framing.as_str()));
    }
    if let Some(crc) = &keys.crc {
        let _ = writeln!(text, "crc = {}", quoted(crc.name()));
    }
    if keys.crc_order == Some(Order::Big) {
        text.push_str("crc-order = \"big\"\n");
    }
    if keys.format == Format::Layout {
        text.push_str(
            "# The payload's fields are for you to fill in (docs/formats/layout.md).\nlayout = \"u8 byte_0, ...\"\n",
        );
    }
    text
}

/// The first bytes of what came last, in hex and as text.
fn excerpt(heard: &[Heard]) -> String {
    let Some(heard) = heard.iter().max_by_key(|heard| heard.bytes()) else { return String::new() };
    let bytes: Vec<u8> = heard.pieces.iter().flat_map(|(_, bytes)| bytes).copied().take(64).collect();
    let mut text = format!("({} baud)\n", heard.uart.baud);
    for row in bytes.chunks(16) {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02X}")).collect();
        let shown: String =
            row.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' }).collect();
        let _ = writeln!(text, "  {:47}  {shown}", hex.join(" "));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
