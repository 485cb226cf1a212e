//! Which part of a SenML name is the device, and what its units mean.
//!
//! The same resolved name always gives the same node and metric:
//!
//! - A device's URN (RFC 9039): `urn:dev:TYPE:ID`, and behind a separator (`:`, `_`, `/`, `;`) the metric.
//! - Another URN: three parts.
//! - Else the base name is the device where the record has a name of its own, and where it has none, or there is no base
//!   name, what stands before the last `/`, or else before the last `:` behind which a letter follows.
//! - A name without any separator is a metric, of the node that the topic names.

use std::borrow::Cow;

use crate::codec::payload::vocabulary::{Term, unit_of};

/// What may stand between a device and its metric.
const SEPARATORS: [char; 6] = [':', '/', ';', '_', '.', '-'];

/// Names of metrics that the vocabulary spells out.
const SHORT: &[(&str, &str)] = &[
    ("batt", "battery"),
    ("hum", "humidity"),
    ("lat", "latitude"),
    ("light", "illuminance"),
    ("lon", "longitude"),
    ("rh", "humidity"),
    ("temp", "temperature"),
    ("volt", "voltage"),
];

/// What a unit alone says of the metric.
const BY_UNIT: &[(&str, &str)] = &[
    ("%EL", "battery"),
    ("%RH", "humidity"),
    ("A", "current"),
    ("Cel", "temperature"),
    ("J", "energy"),
    ("K", "temperature"),
    ("Pa", "pressure"),
    ("V", "voltage"),
    ("W", "power"),
    ("Wh", "energy"),
    ("dBm", "rssi"),
    ("hPa", "pressure"),
    ("kW", "power"),
    ("kWh", "energy"),
    ("lat", "latitude"),
    ("lon", "longitude"),
    ("lx", "illuminance"),
    ("m/s", "speed"),
    ("mA", "current"),
    ("mV", "voltage"),
    ("var", "reactive_power"),
    ("VA", "apparent_power"),
];

/// What a resolved name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'n> {
    /// The device; `None` where the name has none.
    pub node: Option<&'n str>,
    /// The metric.
    pub metric: &'n str,
    /// The metric as the sender calls it.
    pub own_name: &'n str,
}

/// Node and metric of a resolved name whose first `base` bytes are the base name.
pub fn split<'n>(name: &'n str, base: usize, unit: &str) -> Split<'n> {
    let (node, rest) = parts(name, base);
    let own_name = rest.trim_matches(SEPARATORS.as_slice());
    if own_name.is_empty() {
        let metric = by_unit(unit);
        return Split { node, metric, own_name: metric };
    }
    Split { node, metric: spelled(own_name), own_name }
}

fn by_unit(unit: &str) -> &'static str {
    BY_UNIT.iter().find(|(known, _)| *known == unit).map_or("value", |(_, metric)| metric)
}

fn spelled(metric: &str) -> &str {
    SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(metric)).map_or(metric, |(_, metric)| metric)
}

/// The device and what follows it.
fn parts(name: &str, base: usize) -> (Option<&str>, &str) {
    if let Some(end) = urn_end(name) {
        return (Some(&name[..end]), &name[end..]);
    }
    let (before, own) = name.split_at_checked(base).unwrap_or(("", name));
    let device = before.trim_end_matches(SEPARATORS.as_slice());
    if !device.is_empty() && !own.is_empty() {
        return (Some(device), own);
    }
    let at = name
        .rfind('/')
        .or_else(|| name.rfind(':').filter(|at| name[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic())));
    // An address (`2001:db8::a`) has nothing but hex digits between its colons.
    let address = name.chars().all(|c| c.is_ascii_hexdigit() || c == ':') && name.contains(':');
    match at.filter(|at| *at > 0 && !address) {
        Some(at) => (Some(&name[..at]), &name[at + 1..]),
        // A base name alone is a device; a name alone is a metric.
        None if own.is_empty() || address => (Some(name), ""),
        None => (None, name),
    }
}

/// Where the device's part of a URN ends.
fn urn_end(name: &str) -> Option<usize> {
    let rest = name.get(..4).filter(|urn| urn.eq_ignore_ascii_case("urn:")).map(|_| &name[4..])?;
    let device = rest.get(..4).is_some_and(|dev| dev.eq_ignore_ascii_case("dev:"));
    // The parts that are the device's: `urn:dev:TYPE:ID` or `urn:NAMESPACE:ID`.
    let mut start = if device { 8 } else { 4 };
    start += name[start..].find(':')? + 1;
    let id = &name[start..];
    let len = id.find([':', '_', '/', ';']).unwrap_or(id.len());
    (len > 0).then_some(start + len)
}

/// A unit of SenML's registry as the vocabulary writes it.
pub fn unit(unit: &str) -> Cow<'_, str> {
    Cow::Borrowed(match unit {
        "C" => "coulomb",
        "F" => "farad",
        "/" => "1",
        "/100" | "%RH" | "%EL" => "%",
        "/1000" => "permille",
        "lat" | "lon" => "deg",
        "l" => "L",
        "l/s" => "L/s",
        "Cel" => "degC",
        other => other,
    })
}

/// The metric with its unit.
pub fn term(metric: &str, senml: &str) -> Term<'static> {
    let kind = metric.rsplit(['/', ':', '.', ';']).next().unwrap_or(metric);
    let kind = if unit_of(metric).is_some() { metric } else { spelled(kind) };
    // A part of one, of what the vocabulary has in percent.
    if senml == "/" && unit_of(kind) == Some("%") {
        return Term { metric: metric.to_owned().into(), ..Term::of_kind("", kind, "%").times(100.0) };
    }
    Term::of_kind(metric.to_owned(), kind, &unit(senml))
}
