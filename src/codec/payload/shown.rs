//! What was decoded as lines that tests can compare: `node metric=value unit @time (own name)`, `node kind: data @time`,
//! `dead reason: detail`.

use super::Message;
use crate::codec::time::Local;
use crate::reading::{Decoded, When};
use crate::zone::Tz;

/// A message without anything from a pattern; local times are those of Berlin.
pub fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    let local = Local::of(Tz::Europe__Berlin);
    Message { topic, payload, node: None, metric: None, time: None, local, retain: false }
}

/// All of it, in the order of readings, events and dead letters.
pub fn lines(decoded: &Decoded) -> Vec<String> {
    let time = |when: When| match when {
        When::Arrival => String::new(),
        When::Live(ts) => format!(" @{ts}"),
        When::Stored(ts) => format!(" stored @{ts}"),
    };
    let readings = decoded.readings.iter().map(|r| {
        // Conversions are right to the last digits that a float has.
        let value = (r.value * 1e9).round() / 1e9;
        let unit = r.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
        let own = r.own_name.as_deref().map(|own| format!(" ({own})")).unwrap_or_default();
        format!("{} {}={value}{unit}{}{own}", r.node, r.metric, time(r.when))
    });
    let events = decoded.events.iter().map(|e| format!("{} {}: {}{}", e.node, e.kind, e.data, time(e.when)));
    let dead = decoded.dead.iter().map(|d| format!("dead {}: {}", d.reason.as_str(), d.detail));
    readings.chain(events).chain(dead).collect()
}
