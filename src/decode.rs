//! `gadwall decode`: what the daemon would store for some bytes, or exactly why not.

use std::io::{self, Write};

use serde::Serialize;

use crate::codec::payload::{Decoders, Format, Message};
use crate::codec::time::Local;
use crate::codec::topic::Pattern;
use crate::reading::{Decoded, Timestamp, When};
use crate::zone::Tz;

/// What is known of the bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How they are read.
    pub format: Format,
    /// The topic that they came on.
    pub topic: String,
    /// The topic's pattern in the configuration, which may name node and metric.
    pub pattern: Option<Pattern>,
    /// Path of the field with the time, as `time` in the configuration.
    pub time: Option<String>,
    /// The zone of times that come without one.
    pub zone: Tz,
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

/// Decodes `payload`, writes what is in it to `out`, and why something of it is not stored to `err`. Returns whether all of
/// it could be decoded.
///
/// # Errors
/// Where the pattern does not match the topic, and that of writing.
pub fn run(options: &Options, payload: &[u8], out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<bool> {
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
    let output = Decoders::new().decode(options.format, &message);
    if let Some(format) = output.taken_for {
        writeln!(err, "taken for {}", format.as_str())?;
    }
    if options.json {
        as_json(&output.decoded, out)?;
    } else {
        as_table(&output.decoded, out)?;
    }
    for letter in &output.decoded.dead {
        writeln!(err, "{}: {}", letter.reason.as_str(), letter.detail)?;
    }
    if output.decoded.is_empty() {
        writeln!(err, "nothing of it is stored: such messages hold no readings")?;
    }
    Ok(output.decoded.dead.is_empty())
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
            format,
            topic: "sensors/kitchen/t".into(),
            pattern: pattern.map(|p| Pattern::parse(p).unwrap()),
            time: Some("at".into()),
            zone: Tz::Europe__Berlin,
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
    fn a_pattern_has_to_match() {
        let options = Options {
            format: Format::Json,
            topic: "a/b".into(),
            pattern: Some(Pattern::parse("a/{node}/c").unwrap()),
            time: None,
            zone: Tz::UTC,
            arrival: Timestamp(0),
            json: false,
        };
        let error = run(&options, b"1", &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the pattern `a/{node}/c` does not match the topic `a/b`");
    }
}
