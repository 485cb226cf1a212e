//! What was decoded, as lines that tests can compare.

use super::Message;
use crate::codec::time::Local;
use crate::reading::{Decoded, Timestamp, When};

/// A message that arrived at 2025-10-09T08:53:20Z, in UTC.
pub fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    message_at(topic, payload, 1_760_000_000.0)
}

/// A message that arrived at this second, in UTC.
pub fn message_at<'a>(topic: &'a str, payload: &'a [u8], at: f64) -> Message<'a> {
    #[expect(clippy::cast_possible_truncation, reason = "whole microseconds")]
    let arrival = Some(Timestamp((at * 1e6).round() as i64));
    let local = Local { arrival, ..Local::UTC };
    Message { topic, payload, node: None, metric: None, time: None, local, retain: false }
}

fn time(when: When) -> String {
    match when {
        When::Arrival => "-".into(),
        When::Live(at) => at.to_string(),
        When::Stored(at) => format!("stored {at}"),
    }
}

/// `node metric value unit time own-name` of each reading, `!node kind data time` of each event, `?reason detail` of each
/// dead letter. Values have at most six decimals.
pub fn lines(decoded: &Decoded) -> Vec<String> {
    let readings = decoded.readings.iter().map(|r| {
        let value = (r.value * 1e6).round() / 1e6;
        let (unit, own) = (r.unit.as_deref().unwrap_or("-"), r.own_name.as_deref().unwrap_or("-"));
        format!("{} {} {value} {unit} {} {own}", r.node, r.metric, time(r.when))
    });
    let events = decoded.events.iter().map(|e| format!("!{} {} {} {}", e.node, e.kind, e.data, time(e.when)));
    let dead = decoded.dead.iter().map(|d| format!("?{} {}", d.reason.as_str(), d.detail));
    readings.chain(events).chain(dead).collect()
}
