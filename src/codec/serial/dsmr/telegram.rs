//! The lines of a telegram.
//!
//! - **Nodes.** The meter's id (`0-0:96.1.1`, in Luxembourg and Hungary `0-0:42.0.0`, else `0-0:96.1.0`) names its node, and each
//!   meter on the M-Bus (gas, water, heat, another electricity meter) has its own id and node. An id that is the hex of
//!   printable text is that text. Where an id is empty or all zeros, the source is the node of the meter, and `<node>/<channel>` that
//!   of one on the M-Bus.
//! - **Times.** The telegram's time (`0-0:1.0.0`) is that of the electricity meter's values; meters on the M-Bus tell the time of
//!   theirs, which is repeated until there is a new one. `W` is the standard time of the zone, `S` an hour more; in Sweden `W` stays all
//!   year. Versions 2 and 3 have no time of the telegram, and gas with a local time without a letter.
//! - **Values** are in the vocabulary's units: `W`, `kWh`, `V`, `A`, `m3`; heat stays in `GJ`.
//! - Messages for the customer, logs of power failures, histories of past months, and versions are no readings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::OffsetComponents;

use super::obis::Obis;
use crate::codec::payload::found::Found;
use crate::codec::payload::vocabulary::{Term, unit_of};
use crate::reading::{DeadReason, Decoded, MAX_NAME, Timestamp, When};
use crate::zone::{self, Tz};

/// Most bad lines that are told one by one.
const MAX_BAD: usize = 8;

/// What M-Bus calls a device (EN 13757-3), and the metric of its reading.
fn device(kind: u8) -> Option<&'static str> {
    Some(match kind {
        2 => "energy",
        3 => "gas",
        4 | 12 | 13 => "heat",
        6 | 7 | 21 | 22 => "water",
        10 | 11 => "cooling",
        _ => return None,
    })
}

/// A meter on the M-Bus.
#[derive(Default)]
struct Meter<'a> {
    id: &'a str,
    metric: Option<&'static str>,
    /// Its reading, with its time.
    reading: Option<(&'a str, Value<'a>)>,
    valve: Option<&'a str>,
    /// The line of its reading.
    line: &'a str,
}

/// `digits*unit`.
#[derive(Clone, Copy)]
struct Value<'a> {
    digits: &'a str,
    unit: &'a str,
}

/// One line: its code and what stands in its parentheses.
struct Line<'a> {
    text: &'a str,
    obis: Obis,
    groups: Vec<&'a str>,
}

/// Whether a telegram says that it is of a version that has a checksum.
pub fn has_checksum(telegram: &[u8]) -> bool {
    let begins = |line: &[u8]| line.starts_with(b"1-3:0.2.8(") || line.starts_with(b"0-0:96.1.4(");
    telegram.split(|byte| *byte == b'\n').any(begins)
}

/// Decodes a telegram from `/` to `!`.
pub fn decode(telegram: &[u8], source: &Arc<str>, zone: Tz) -> Decoded {
    // Messages may hold any byte; nothing else does.
    let text = String::from_utf8_lossy(telegram);
    let mut found = Found::new(telegram);
    let (lines, bad) = lines(&text);
    let mut meters: BTreeMap<u8, Meter<'_>> = BTreeMap::new();
    let mut ids = [""; 4];
    let mut time = None;
    let mut values: Vec<&Line<'_>> = Vec::new();
    for line in &lines {
        let first = line.groups[0];
        let on_bus = line.obis.medium == 0 && (1..=99).contains(&line.obis.channel);
        match (line.obis.medium, line.obis.cde()) {
            (0, (1, 0, 0)) => time = Some(first),
            (0, (96, 1, 1)) if !on_bus => ids[0] = first,
            (0, (42, 0, 0)) => ids[1] = first,
            (0, (96, 1, 0)) if !on_bus => ids[2] = first,
            (1, (0, 0, 0)) | (0, (96, 1, 255)) => ids[3] = first,
            (0, (24, 1, 0)) if on_bus => {
                meters.entry(line.obis.channel).or_default().metric = first.trim().parse().ok().and_then(device);
            }
            (0, (96, 1, 0..=1)) if on_bus => meters.entry(line.obis.channel).or_default().id = first,
            (0, (24, 2, 1..=9) | (24, 3, 0)) if on_bus => meters.entry(line.obis.channel).or_default().reading(line),
            (0, (24, 4, 0)) if on_bus => meters.entry(line.obis.channel).or_default().valve = Some(first),
            // Before version 3: the medium itself says what it is.
            (5..=9, (0, 0, 0)) => meters.entry(100 + line.obis.medium).or_default().id = first,
            (5..=9, (23, 1 | 2, 0)) => {
                let meter = meters.entry(100 + line.obis.medium).or_default();
                meter.metric = Some(["cooling", "heat", "gas", "water", "water"][usize::from(line.obis.medium - 5)]);
                meter.reading(line);
            }
            _ => values.push(line),
        }
    }
    let node = ids.iter().find_map(|id| node_of(id)).unwrap_or_else(|| Arc::clone(source));
    let when = time.map_or(When::Arrival, |text| when(text, zone, &node, &mut found).unwrap_or(When::Arrival));
    for line in values {
        value_line(line, &node, when, zone, &mut found);
    }
    for (channel, meter) in &meters {
        let named = node_of(meter.id).unwrap_or_else(|| Arc::from(format!("{node}/{}", channel % 100)));
        meter.tell(&named, zone, when, &mut found);
    }
    for line in bad.iter().take(MAX_BAD) {
        found.dead(DeadReason::Malformed, format!("`{}` is no line of a telegram", shown(line)));
    }
    if found.is_empty() {
        found.dead(DeadReason::NoReading, "the telegram holds no reading");
    }
    found.finish()
}

/// The lines behind the identification, and those that are none. A line that begins with a parenthesis goes on with the one
/// before it: gas of versions 2 and 3, long logs.
fn lines(text: &str) -> (Vec<Line<'_>>, Vec<&str>) {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut bad = Vec::new();
    for text in text.lines().skip(1).map(str::trim).filter(|text| !text.is_empty() && *text != "!") {
        if text.starts_with('(') {
            match (groups(text), lines.last_mut()) {
                (Some(more), Some(line)) => line.groups.extend(more),
                _ => bad.push(text),
            }
            continue;
        }
        let at = text.find('(').unwrap_or(text.len());
        match (Obis::parse(&text[..at]), groups(&text[at..])) {
            (Some(obis), Some(groups)) if !groups.is_empty() => lines.push(Line { text, obis, groups }),
            // A message of the grid's operator may hold anything.
            (Some(obis), _) if (obis.c, obis.d) == (96, 13) => {}
            _ => bad.push(text),
        }
    }
    (lines, bad)
}

/// `(a)(b)`: what stands in them.
fn groups(mut text: &str) -> Option<Vec<&str>> {
    let mut groups = Vec::new();
    while !text.is_empty() {
        let (group, rest) = text.strip_prefix('(')?.split_once(')')?;
        groups.push(group);
        text = rest;
    }
    Some(groups)
}

/// A node's name from an id; `None` where there is none.
fn node_of(id: &str) -> Option<Arc<str>> {
    let id = id.trim();
    if id.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let hex = |at: usize| id.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..id.len()).step_by(2).map(hex).collect();
    // Digits that happen to be hex of something unprintable are an id of their own.
    let text = bytes.filter(|bytes| bytes.len() >= 4 && bytes.iter().all(|b| matches!(b, b' '..=b'~')));
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned());
    let name = text.filter(|text| !text.is_empty()).unwrap_or_else(|| id.to_owned());
    (name.len() <= MAX_NAME).then(|| Arc::from(name))
}

/// `YYMMDDhhmmss` with `S` or `W` behind it, or without; none for a meter that was never read. What is no time is told, and
/// means the arrival.
fn when(text: &str, zone: Tz, node: &Arc<str>, found: &mut Found<'_>) -> Option<When> {
    let text = text.trim();
    let (digits, season) = match text.as_bytes().last() {
        Some(b'S' | b's') => (&text[..text.len() - 1], Some(1)),
        Some(b'W' | b'w') => (&text[..text.len() - 1], Some(0)),
        _ => (text, None),
    };
    // Bytes of FF as decimals, and the beginning of all time: a meter that has not told anything yet.
    if digits.starts_with("632525") || digits.starts_with("700101") || digits.bytes().all(|b| b == b'0') {
        return None;
    }
    let Some(local) = local_time(digits) else {
        found.bad_time(node, "time", text);
        return Some(When::Arrival);
    };
    let ts = match season {
        Some(hours) => {
            let standard = zone.offset_from_utc_datetime(&local).base_utc_offset() + TimeDelta::hours(hours);
            Timestamp::from_secs(local.and_utc().timestamp() - standard.num_seconds())
        }
        None => zone::instant_of(local, zone),
    };
    Some(When::Live(ts))
}

fn local_time(digits: &str) -> Option<NaiveDateTime> {
    if !matches!(digits.len(), 10 | 12) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| digits.get(at..at + 2).map_or(Some(0), |pair| pair.parse::<u32>().ok());
    let year = 2000 + i32::try_from(two(0)?).ok()?;
    NaiveDate::from_ymd_opt(year, two(2)?, two(4)?)?.and_hms_opt(two(6)?, two(8)?, two(10)?)
}

impl<'a> Value<'a> {
    /// `00000.107*m3`, with a sign or without, `None` for what is no number.
    fn parse(text: &'a str) -> Option<Self> {
        let (digits, unit) = text.split_once('*').unwrap_or((text, ""));
        let digits = digits.trim();
        let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        let (whole, fraction) = plain.split_once('.').unwrap_or((plain, "0"));
        let all = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (all(whole) && all(fraction) && digits.len() <= 32).then_some(Self { digits, unit: unit.trim() })
    }

    /// The value with its unit; powers of ten are shifted in the digits, so that 0.07 kW is 70 W and nothing beside it.
    fn tell(self, node: &Arc<str>, metric: &str, quantity: &str, own_name: &str, when: When, found: &mut Found<'_>) {
        let wanted = unit_of(quantity);
        let (unit, power) = match (self.unit, wanted) {
            ("kW", Some("W")) => ("W", 3),
            ("kVA", Some("VA")) => ("VA", 3),
            ("kvar", Some("var")) => ("var", 3),
            ("MW", Some("W")) => ("W", 6),
            ("Wh", Some("kWh")) => ("kWh", -3),
            ("MWh", Some("kWh") | None) => ("kWh", 3),
            ("varh", _) => ("kvarh", -3),
            ("VAh", _) => ("kVAh", -3),
            ("mV", Some("V")) => ("V", -3),
            ("mA", Some("A")) => ("A", -3),
            ("dm3" | "l" | "L", Some("m3")) => ("m3", -3),
            ("", Some(wanted)) => (wanted, 0),
            (unit, _) => (unit, 0),
        };
        let Ok(value) = format!("{}e{power}", self.digits).parse::<f64>() else { return };
        let unit = (!unit.is_empty()).then(|| Cow::Owned(unit.to_owned()));
        found.value(node, own_name, &Term { unit, ..Term::unknown(metric) }, value, when);
    }
}

/// A line of the electricity meter.
fn value_line(line: &Line<'_>, node: &Arc<str>, when_told: When, zone: Tz, found: &mut Found<'_>) {
    let own_name = line.text.split('(').next().unwrap_or("");
    let (mut group, mut at) = (line.groups[0], when_told);
    if line.obis.cde() == (17, 0, 0) && line.obis.medium == 0 {
        // The threshold of a limiter, in whatever it limits.
        let Some(value) = Value::parse(group) else { return };
        let (metric, quantity) = match value.unit {
            "A" => ("current_limit", "current"),
            "kVA" | "VA" => ("apparent_power_limit", "apparent_power"),
            _ => ("power_limit", "power"),
        };
        return value.tell(node, metric, quantity, own_name, at, found);
    }
    let Some((metric, quantity)) = line.obis.metric() else { return };
    if quantity == "breaker" {
        let on = group.eq_ignore_ascii_case("on");
        if on || group.eq_ignore_ascii_case("off") {
            found.value(node, own_name, &Term::unknown("breaker"), f64::from(u8::from(on)), at);
        }
        return;
    }
    // The highest demand has the time at which it was.
    if line.obis.d == 6 && line.groups.len() == 2 {
        let Some(told) = when(group, zone, node, found) else { return };
        (group, at) = (line.groups[1], told);
    }
    match Value::parse(group) {
        Some(value) => value.tell(node, &metric, quantity, own_name, at, found),
        // Not there: `()`, `(*kWh)`.
        None if group.split('*').next().unwrap_or("").trim().is_empty() => {}
        None => {
            found.dead(DeadReason::Malformed, format!("`{}`: expected a number such as 00.244*kW", shown(line.text)));
        }
    }
}

impl<'a> Meter<'a> {
    /// `(time)(value*unit)`, or `(time)(..)(..)(1)(code)(unit)` and the value on the line behind.
    fn reading(&mut self, line: &Line<'a>) {
        let value = match line.groups.as_slice() {
            [_, value] => Value::parse(value),
            [_, .., unit, value] if line.groups.len() >= 4 => Value::parse(value)
                .map(|value| Value { unit: if value.unit.is_empty() { unit } else { value.unit }, ..value }),
            _ => None,
        };
        if let Some(value) = value {
            self.reading = Some((line.groups[0], value));
            self.line = line.text;
            // Belgium: gas that is not brought to a standard temperature.
            if line.obis.cde() == (24, 2, 3) && self.metric.is_none() {
                self.metric = Some("gas");
            }
        }
    }

    fn tell(&self, node: &Arc<str>, zone: Tz, telegram: When, found: &mut Found<'_>) {
        if let Some((time, value)) = self.reading {
            let metric = self.metric.unwrap_or(match value.unit {
                "kWh" | "Wh" | "MWh" => "energy",
                "GJ" | "MJ" => "heat",
                _ => "volume",
            });
            if let Some(when) = when(time, zone, node, found) {
                let own_name = self.line.split('(').next().unwrap_or("");
                value.tell(node, metric, metric, own_name, when, found);
                if let Some(position) = self.valve.and_then(Value::parse) {
                    position.tell(node, "valve_position", "valve_position", "valve", telegram, found);
                }
            }
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect()
}
