//! `gadwall decode`: what the daemon would store for some bytes, or exactly why not.

mod bus;

use std::io::{self, Write};

use serde::Serialize;

use crate::codec::modbus::Unit;
use crate::codec::payload::{Decoders, Format, Message};
use crate::codec::serial::layout::Layout;
use crate::codec::serial::{Protocol, Stream};
use crate::codec::time::Local;
use crate::codec::topic::Pattern;
use crate::reading::{Decoded, Timestamp, When};
use crate::zone::Tz;

/// How bytes are read.
#[derive(Clone, Debug)]
pub enum How {
    /// As one MQTT message in a format.
    Message(Format),
    /// As one MQTT message by a layout.
    Layout(Layout),
    /// As what came on a serial port.
    Stream(Box<Protocol>),
    /// As what was heard on a Modbus bus with these units; without them each register is a reading of its own.
    Bus(Option<Vec<Unit>>),
}

/// What is known of the bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How they are read.
    pub how: How,
    /// The name of the port that they came on.
    pub name: String,
    /// The topic that they came on.
    pub topic: String,
    /// The topic's pattern in the configuration, which may name node and metric.
    pub pattern: Option<Pattern>,
    /// Path of the field with the time, as `time` in the configuration.
    pub time: Option<String>,
    /// The zone of times that come without one.
    pub zone: Tz,
    /// The same, where it is said and not the machine's.
    pub own_zone: Option<Tz>,
    /// When they arrived: what relative times count from.
    pub arrival: Timestamp,
    /// One object a line instead of a table.
    pub json: bool,
}

#[derive(Serialize)]
struct ReadingLine<'a> {
    node: &'a str,
    metric: &'a str,
    value: f64,
    unit: Option<&'a str>,
    time: Option<String>,
}

#[derive(Serialize)]
struct EventLine<'a> {
    node: &'a str,
    event: &'a str,
    data: &'a str,
    time: Option<String>,
}

/// Decodes `bytes`, writes what is in them to `out`, and why something of them is not stored to `err`. Returns whether all of
/// it could be decoded; bytes of a port between its frames are only told.
///
/// # Errors
/// Where the pattern does not match the topic, and that of writing.
pub fn run(options: &Options, bytes: &[u8], out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<bool> {
    if let How::Stream(protocol) = &options.how {
        return Ok(stream(options, protocol, bytes, out, err)?);
    }
    if let How::Bus(units) = &options.how {
        return Ok(bus(options, units.as_deref(), bytes, out, err)?);
    }
    let decoded = message(options, bytes, err)?;
    write(options, &decoded, out)?;
    for letter in &decoded.dead {
        writeln!(err, "{}: {}", letter.reason.as_str(), letter.detail)?;
    }
    if decoded.is_empty() {
        writeln!(err, "nothing of it is stored: such messages hold no readings")?;
    }
    Ok(decoded.dead.is_empty())
}

fn write(options: &Options, decoded: &Decoded, out: &mut impl Write) -> io::Result<()> {
    if options.json { as_json(decoded, out) } else { as_table(decoded, out) }
}

/// Byte by byte, so that it is known where a frame begins.
fn stream(
    options: &Options,
    protocol: &Protocol,
    bytes: &[u8],
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<bool> {
    let local = Local { zone: options.zone, arrival: Some(options.arrival) };
    let mut stream = Stream::new(protocol, &options.name, options.own_zone);
    let mut all = Decoded::default();
    let (mut frames, mut good) = (0_usize, 0_usize);
    let mut told = Vec::new();
    let mut take = |begin: usize, mut decoded: Decoded| {
        frames += 1;
        good += usize::from(decoded.dead.is_empty());
        for letter in decoded.dead.drain(..) {
            told.push(format!("byte {begin}: {}: {}", letter.reason.as_str(), letter.detail));
        }
        all.append(decoded);
    };
    for (at, byte) in bytes.iter().enumerate() {
        let begin = at - stream.pending().min(at);
        stream.feed(&[*byte], local, &mut |decoded| take(begin, decoded));
    }
    let begin = bytes.len() - stream.pending().min(bytes.len());
    stream.end(local, &mut |decoded| take(begin, decoded));
    write(options, &all, out)?;
    for line in &told {
        writeln!(err, "{line}")?;
    }
    let held = stream.pending();
    if held > 0 {
        writeln!(err, "byte {}: a frame that has not ended, of {held} bytes so far", bytes.len() - held)?;
    }
    let skipped = stream.skipped() + held as u64;
    let some = if frames == 1 { "frame" } else { "frames" };
    writeln!(err, "{frames} {some}, {} bad; {skipped} of {} bytes skipped", frames - good, bytes.len())?;
    Ok(told.is_empty() && good > 0)
}

fn bus(
    options: &Options,
    units: Option<&[Unit]>,
    bytes: &[u8],
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<bool> {
    let heard = bus::listen(units, bytes);
    write(options, &heard.decoded, out)?;
    for line in &heard.told {
        writeln!(err, "{line}")?;
    }
    for letter in &heard.decoded.dead {
        writeln!(err, "{}: {}", letter.reason.as_str(), letter.detail)?;
    }
    let (requests, answers) = (heard.requests, heard.answers);
    writeln!(err, "{requests} requests, {answers} answers; {} of {} bytes skipped", heard.skipped, bytes.len())?;
    Ok(answers > 0 && heard.bad == 0 && heard.decoded.dead.is_empty())
}

/// What is in one message; `err` is told what it was taken for.
fn message(options: &Options, payload: &[u8], err: &mut impl Write) -> anyhow::Result<Decoded> {
    let captures = match &options.pattern {
        None => None,
        Some(pattern) => Some(pattern.captures(&options.topic).ok_or_else(|| {
            anyhow::anyhow!("the pattern `{}` does not match the topic `{}`", pattern.as_str(), options.topic)
        })?),
    };
    let message = Message {
        topic: &options.topic,
        payload,
        node: captures.as_ref().filter(|c| c.is_named).map(|c| c.node.as_str()),
        metric: captures.as_ref().and_then(|c| c.metric.as_deref()),
        time: options.time.as_deref(),
        local: Local { zone: options.zone, arrival: Some(options.arrival) },
        retain: false,
    };
    let format = match &options.how {
        How::Layout(layout) => return Ok(layout.decode(payload, &message.node_or(None))),
        How::Message(format) => *format,
        How::Stream(_) | How::Bus(_) => Format::Auto,
    };
    let output = Decoders::new().decode(format, &message);
    if let Some(format) = output.taken_for {
        writeln!(err, "taken for {}", format.as_str())?;
    }
    Ok(output.decoded)
}

/// The time that is stored with it; `None` where that is its arrival.
fn time(when: When) -> Option<String> {
    match when {
        When::Arrival => None,
        When::Live(ts) | When::Stored(ts) => Some(ts.to_string()),
    }
}

fn as_json(decoded: &Decoded, out: &mut impl Write) -> io::Result<()> {
    for r in &decoded.readings {
        let line = ReadingLine {
            node: &r.node,
            metric: &r.metric,
            value: r.value,
            unit: r.unit.as_deref(),
            time: time(r.when),
        };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    for e in &decoded.events {
        let line = EventLine { node: &e.node, event: &e.kind, data: &e.data, time: time(e.when) };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    Ok(())
}

fn as_table(decoded: &Decoded, out: &mut impl Write) -> io::Result<()> {
    let arrival = || "(arrival)".to_owned();
    let mut rows: Vec<[String; 4]> = Vec::new();
    for r in &decoded.readings {
        let value = format!("{} {}", r.value, r.unit.as_deref().unwrap_or_default());
        let metric = match &r.own_name {
            Some(own) => format!("{} ({own})", r.metric),
            None => r.metric.to_string(),
        };
        rows.push([time(r.when).unwrap_or_else(arrival), r.node.to_string(), metric, value.trim_end().to_owned()]);
    }
    for e in &decoded.events {
        rows.push([
            time(e.when).unwrap_or_else(arrival),
            e.node.to_string(),
            format!("event {}", e.kind),
            e.data.clone(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [time, node, metric, value] in &rows {
        let [t, n, m] = widths;
        // What a sender wrote must not upset the terminal.
        let value: String = value.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        writeln!(out, "{time:t$}  {node:n$}  {metric:m$}  {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(format: Format, json: bool, pattern: Option<&str>, payload: &str) -> (bool, String, String) {
        let options = Options {
            how: How::Message(format),
            name: "port".into(),
            topic: "sensors/kitchen/t".into(),
            pattern: pattern.map(|p| Pattern::parse(p).unwrap()),
            time: Some("at".into()),
            zone: Tz::Europe__Berlin,
            own_zone: None,
            arrival: Timestamp::from_secs(1_760_000_000),
            json,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let whole = run(&options, payload.as_bytes(), &mut out, &mut err).unwrap();
        (whole, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn readings_are_lines_of_json_or_a_table() {
        let payload = r#"{"at": "2025-10-09T10:53:20", "a": 1.5, "b": true}"#;
        assert_eq!(
            decoded(Format::Json, true, Some("sensors/{node}/{metric}"), payload),
            (
                true,
                "{\"node\":\"kitchen\",\"metric\":\"t.a\",\"value\":1.5,\"unit\":null,\"time\":\"2025-10-09T08:53:20Z\"}\n\
                 {\"node\":\"kitchen\",\"metric\":\"t.b\",\"value\":1.0,\"unit\":null,\"time\":\"2025-10-09T08:53:20Z\"}\n"
                    .into(),
                String::new()
            )
        );
        let (whole, out, _) = decoded(Format::Json, false, None, "7");
        assert_eq!((whole, out.as_str()), (true, "(arrival)  sensors/kitchen/t  value  7\n"));
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        let (whole, out, err) = decoded(Format::Json, true, None, "{\"a\": 1,}");
        assert_eq!((whole, out.as_str()), (false, ""));
        assert!(err.starts_with("malformed: ") && err.contains("line 1 column 9"), "{err}");
    }

    #[test]
    fn a_stream_is_told_frame_by_frame() {
        let pms: &[u8] = include_bytes!("../tests/fixtures/serial/pms5003-golden.bin");
        let mut flipped = pms.to_vec();
        flipped[9] ^= 1;
        let options = Options {
            how: How::Stream(Box::new(Protocol::of(crate::codec::serial::Format::Pms))),
            name: "air".into(),
            topic: "node".into(),
            pattern: None,
            time: None,
            zone: Tz::UTC,
            own_zone: None,
            arrival: Timestamp::from_secs(1_760_000_000),
            json: true,
        };
        let decode = |bytes: &[u8]| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let whole = run(&options, bytes, &mut out, &mut err).unwrap();
            (whole, String::from_utf8(out).unwrap().lines().count(), String::from_utf8(err).unwrap())
        };
        let noise = [b"\x00\x11".as_slice(), pms, &pms[..5]].concat();
        assert_eq!(
            decode(&noise),
            (
                true,
                12,
                "byte 34: a frame that has not ended, of 5 bytes so far\n1 frame, 0 bad; 7 of 39 bytes skipped\n"
                    .into()
            )
        );
        let (whole, readings, err) = decode(&[pms, &flipped].concat());
        assert_eq!((whole, readings), (false, 12));
        assert!(err.starts_with("byte 32: malformed: the sum in byte 30 is "), "{err}");
        assert!(err.ends_with("2 frames, 1 bad; 32 of 64 bytes skipped\n"), "{err}");
        assert_eq!(decode(b"\x00\x01"), (false, 0, "0 frames, 0 bad; 2 of 2 bytes skipped\n".into()));
    }

    #[test]
    fn a_pattern_has_to_match() {
        let options = Options {
            how: How::Message(Format::Json),
            name: "port".into(),
            topic: "a/b".into(),
            pattern: Some(Pattern::parse("a/{node}/c").unwrap()),
            time: None,
            zone: Tz::UTC,
            own_zone: None,
            arrival: Timestamp(0),
            json: false,
        };
        let error = run(&options, b"1", &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the pattern `a/{node}/c` does not match the topic `a/b`");
    }
}
