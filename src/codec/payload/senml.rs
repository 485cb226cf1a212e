//! `senml`: Sensor Measurement Lists, RFC 8428, as JSON and as CBOR.
//!
//! - **Records** are resolved by the RFC's rules (4.1 to 4.6): base fields hold for their record and all that follow, names are
//!   joined, times and values added. A base value or sum without a value or sum in the record is added to 0.
//! - **Node and metric** come from the resolved name ([`names`]): `urn:dev:ow:10e2073a01080063:temperature` is the metric
//!   `temperature` of the node `urn:dev:ow:10e2073a01080063`. A name that is a device alone has the metric that its unit stands
//!   for (`Cel` is a temperature), else `value`.
//! - **Units** are those of the RFC's registry and of RFC 8798, with their meaning there: `C` is the coulomb, `%RH` humidity.
//! - **Time**: a sum of base time and time from 2^28 on is a Unix time; below, seconds relative to the arrival. While the gateway does
//!   not know what time it is, the latest relative record of a series counts as just arrived, and the others are kept under
//!   their relative time as stored values with an impossible time, so that none is lost.
//! - `v` is a reading, `vb` one of 0 or 1, `vs` and `vd` events of the metric's name (`vd` in base64url). A sum `s` is the
//!   metric `NAME.sum`, in the unit times seconds. `ut`, when the next one is due, is no reading.
//! - A field whose name ends with `_` must be understood (4.4): none is known, so the whole message is refused. The same
//!   holds for a version (`bver`) above 10. Other unknown fields are ignored.
//! - A record with a value of the wrong type, with several values or without a name is a dead letter of its own; the others
//!   are kept. Base fields hold for all: a wrong one refuses the message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Message;
use super::found::{Found, refused};
use super::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, Timestamp, When};
use record::{Item, Record};

pub mod names;
pub mod record;

#[cfg(test)]
mod tests;

/// The highest version that is understood throughout: that of RFC 8428.
const VERSION: f64 = 10.0;
/// A version above is a set of features (RFC 9100): this one adds only the secondary units of RFC 8798, which are known.
const SECONDARY_UNITS: f64 = 26.0;
/// Times from here on are absolute: 2^28 seconds.
const ABSOLUTE: f64 = 268_435_456.0;

/// When a record was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    Absolute(f64),
    /// Seconds from now.
    Relative(f64),
}

/// What a record says.
enum Value {
    Number(f64, Term<'static>),
    Text(String),
}

/// A resolved record.
struct Resolved {
    node: Arc<str>,
    own_name: String,
    metric: String,
    time: Time,
    value: Value,
}

/// The base fields so far.
#[derive(Default)]
struct Base {
    name: String,
    time: f64,
    unit: Option<String>,
    value: Option<f64>,
    sum: Option<f64>,
}

fn is_understood(version: f64) -> bool {
    version <= VERSION || (version - SECONDARY_UNITS).abs() < 0.5
}

/// Whether this is SenML: a list of records that have only SenML's fields, with a name and a value among them.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(records) = record::read(message.payload) else { return false };
    let known =
        |record: &Record| record.unknown.is_empty() && record.base_fault().is_none() && record.fault().is_none();
    records.iter().all(known)
        && records.iter().any(|record| record.has("n") || record.has("bn"))
        && records.iter().any(Record::has_value)
        && records.iter().all(|record| record.number("bver").is_none_or(is_understood))
}

/// Decodes one message.
pub fn decode(message: &Message<'_>) -> Decoded {
    let records = match record::read(message.payload) {
        Ok(records) => records,
        Err(detail) => return refused(DeadReason::Malformed, detail, message.payload),
    };
    for (n, record) in records.iter().enumerate() {
        let n = n + 1;
        if let Some(name) = record.unknown.iter().find(|name| name.ends_with('_')) {
            let name = crate::codec::leaves::shown(name);
            let detail = format!("record {n}: the field `{name}` must be understood and is not known");
            return refused(DeadReason::Malformed, detail, message.payload);
        }
        if let Some(fault) = record.base_fault() {
            return refused(DeadReason::Malformed, format!("record {n}: {fault}"), message.payload);
        }
        if let Some(version) = record.number("bver").filter(|version| !is_understood(*version)) {
            let detail = format!("record {n}: version {version}: expected at most {VERSION}, or {SECONDARY_UNITS}");
            return refused(DeadReason::Malformed, detail, message.payload);
        }
    }
    let mut found = Found::new(message.payload);
    let mut base = Base::default();
    let mut resolved = Vec::new();
    for (n, record) in records.iter().enumerate() {
        if let Err((reason, fault)) = resolve(record, &mut base, message, &mut resolved) {
            found.dead(reason, format!("record {}: {fault}", n + 1));
        }
    }
    store(message, &resolved, &mut found);
    if records.is_empty() { found.finish_expecting("a record") } else { found.finish() }
}

/// Adds what a record says to `resolved`, once its base fields hold.
fn resolve(
    record: &Record,
    base: &mut Base,
    message: &Message<'_>,
    resolved: &mut Vec<Resolved>,
) -> Result<(), (DeadReason, String)> {
    if let Some(name) = record.text("bn") {
        name.clone_into(&mut base.name);
    }
    if let Some(unit) = record.text("bu") {
        base.unit = Some(unit.to_owned());
    }
    base.time = record.number("bt").unwrap_or(base.time);
    base.value = record.number("bv").or(base.value);
    base.sum = record.number("bs").or(base.sum);
    if let Some(fault) = record.fault() {
        let reason = if fault.contains("64-bit") { DeadReason::BadNumber } else { DeadReason::Malformed };
        return Err((reason, fault));
    }
    let regular = ["n", "u", "t", "ut"].iter().any(|name| record.has(name));
    let has_sum = record.has("s") || (base.sum.is_some() && (regular || record.has_value()));
    let from_base = base.value.is_some() && regular && !record.has("s");
    if !record.has_value() && !has_sum && !from_base {
        return Ok(());
    }
    let own = record.text("n").unwrap_or_default();
    let name = format!("{}{own}", base.name);
    if name.is_empty() {
        return Err((DeadReason::BadName, "expected a name in `n` or `bn`".to_owned()));
    }
    let unit = record.text("u").or(base.unit.as_deref()).unwrap_or_default();
    let names::Split { node, metric, own_name } = names::split(&name, base.name.len(), unit);
    let node: Arc<str> = node.map_or_else(|| message.node_or(None), Arc::from);
    let seconds = base.time + record.number("t").unwrap_or_default();
    let time = if seconds >= ABSOLUTE { Time::Absolute(seconds) } else { Time::Relative(seconds) };
    let mut add = |own_name: &str, metric: &str, value: Value| {
        resolved.push(Resolved {
            node: Arc::clone(&node),
            own_name: own_name.to_owned(),
            metric: metric.to_owned(),
            time,
            value,
        });
    };
    match record.value() {
        Some(Item::Bool(value)) => {
            let term = Term::unknown("");
            add(own_name, metric, Value::Number(f64::from(u8::from(*value)), term));
        }
        Some(Item::Text(text) | Item::Data(text)) => add(own_name, metric, Value::Text(text.clone())),
        Some(Item::Number(value)) => {
            let value = value + base.value.unwrap_or_default();
            add(own_name, metric, Value::Number(value, names::term(metric, unit)));
        }
        Some(_) => {}
        None if from_base => {
            let value = base.value.unwrap_or_default();
            add(own_name, metric, Value::Number(value, names::term(metric, unit)));
        }
        None => {}
    }
    if has_sum {
        let sum = base.sum.unwrap_or_default() + record.number("s").unwrap_or_default();
        let unit = (!unit.is_empty()).then(|| Cow::Owned(format!("{}*s", names::unit(unit))));
        let term = Term { unit, ..Term::unknown("") };
        add(&format!("{own_name}.sum"), &format!("{metric}.sum"), Value::Number(sum, term));
    }
    Ok(())
}

/// Seconds as microseconds, to the nearest.
fn micros(seconds: f64) -> i64 {
    // Saturates: what is beyond all times is not believed later on.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let micros = (seconds * 1e6).round() as i64;
    micros
}

/// Gives the resolved records their times.
fn store(message: &Message<'_>, resolved: &[Resolved], found: &mut Found<'_>) {
    let arrival = message.local.arrival.filter(|_| !message.retain);
    // The latest relative time of each series: just arrived, where nothing says when that is.
    let mut latest: HashMap<(&str, &str), f64> = HashMap::new();
    for record in resolved {
        if let Time::Relative(seconds) = record.time {
            let entry = latest.entry((&record.node, &record.metric)).or_insert(seconds);
            *entry = entry.max(seconds);
        }
    }
    for record in resolved {
        let when = match (record.time, arrival) {
            (Time::Absolute(seconds), _) => When::Live(Timestamp(micros(seconds))),
            (Time::Relative(0.0), _) => When::Arrival,
            (Time::Relative(seconds), Some(arrival)) => {
                When::Live(Timestamp(arrival.micros().saturating_add(micros(seconds))))
            }
            (Time::Relative(_), None) if message.retain => When::Arrival,
            (Time::Relative(seconds), None) => match latest.get(&(&*record.node, record.metric.as_str())) {
                Some(latest) if *latest == seconds => When::Arrival,
                _ => When::Stored(Timestamp(micros(seconds))),
            },
        };
        match &record.value {
            Value::Number(value, term) => {
                let term = Term { metric: Cow::Borrowed(record.metric.as_str()), ..term.clone() };
                found.value(&record.node, &record.own_name, &term, *value, when);
            }
            Value::Text(text) => found.event(&record.node, &record.metric, text, when),
        }
    }
}
