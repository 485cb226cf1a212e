//! `number`: the whole payload is one value, as home-made devices and bridges send it.
//!
//! - A number (`21.5`, `21,5`, `1e3`), a number with a unit behind it (`21.5 °C`, `45%`), `true`/`false`, `ON`/`OFF` in any
//!   case. A comma with exactly three digits behind it may divide thousands: such a payload is refused.
//! - The metric is what the pattern has at `{metric}`, or else the last level of the topic (the one before it where that
//!   is `value`); see [`names`] for its unit. `value` where the last level is the node.
//! - The node is what the pattern names, or else the topic without the metric's level.
//! - `online` and `offline` below `availability`, `status`, `lwt`, `connected` or `online` are the node's availability; there
//!   also `true`, `false`, 1 and 0 for the last two. Another word is an event of the metric's kind.
//! - It has no time: the arrival counts.

use std::sync::Arc;

use super::found::Found;
use super::scalar::{Scalar, of_text};
use super::{Message, names};
use crate::codec::leaves::shown;
use crate::reading::{DeadReason, Decoded, When};

/// Longest payload: no number is longer, and a longer word is none.
const LONGEST: usize = 256;

/// Whether the payload is a number, with or without unit, or a switch.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(text) = message.text() else { return false };
    text.len() <= 64 && !message.topic.contains('$') && matches!(parse(text), Parsed::Value(..))
}

/// Decodes one message.
pub fn decode(message: &Message<'_>) -> Decoded {
    let text = match message.text() {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let mut found = Found::new(message.payload);
    if text.len() > LONGEST {
        found.dead(DeadReason::TooLong, format!("{} bytes: expected at most {LONGEST}", text.len()));
        return found.finish();
    }
    let (node, own) = identity(message);
    if let Some(online) = availability(message.topic, text) {
        found.availability(&node, online, When::Arrival);
        return found.finish();
    }
    match parse(text) {
        Parsed::Value(value, None) if names::is_switch(text) => {
            found.value(&node, own, &names::of_switch(names::term(own)), value, When::Arrival);
        }
        Parsed::Value(value, None) => found.value(&node, own, &names::term(own), value, When::Arrival),
        Parsed::Value(value, Some(unit)) => {
            found.value(&node, own, &names::in_unit(own, unit), value, When::Arrival);
        }
        Parsed::Thousands => {
            let detail = format!("`{}` may mean two numbers: expected a dot before the decimals", shown(text));
            found.dead(DeadReason::BadNumber, detail);
        }
        Parsed::Other(scalar @ Scalar::TooLarge(_)) => {
            found.scalar(&node, own, &names::term(own), scalar, When::Arrival);
        }
        Parsed::Other(Scalar::Text(word)) if word.starts_with(['{', '[', '<']) => {
            found.dead(
                DeadReason::Malformed,
                format!("`{}`: expected a number, true, false, ON, OFF or a word", shown(word)),
            );
        }
        Parsed::Other(Scalar::Text(word)) => found.event(&node, own, word, When::Arrival),
        Parsed::Other(_) => {}
    }
    found.finish()
}

/// What a payload means.
enum Parsed<'a> {
    Value(f64, Option<&'a str>),
    Thousands,
    Other(Scalar<'a>),
}

fn parse(text: &str) -> Parsed<'_> {
    let scalar = of_text(text);
    if let Scalar::Value(value) = scalar {
        return Parsed::Value(value, None);
    }
    let (number, unit) = names::with_unit(text).map_or((text, None), |(number, unit)| (number, Some(unit)));
    // Here `number` has digits, signs, points and commas only: no word such as `on`.
    if unit.is_some()
        && let Scalar::Value(value) = of_text(number)
    {
        return Parsed::Value(value, unit);
    }
    match with_comma(number) {
        Some(Comma::Decimal(value)) => Parsed::Value(value, unit),
        Some(Comma::Thousands) => Parsed::Thousands,
        None => Parsed::Other(scalar),
    }
}

/// What a number with a comma is.
pub(super) enum Comma {
    /// `21,5`
    Decimal(f64),
    /// `1,234`: 1.234 or 1234.
    Thousands,
}

/// A number with one comma among its digits.
pub(super) fn with_comma(text: &str) -> Option<Comma> {
    let text = text.trim();
    let (whole, fraction) = text.split_once(',')?;
    let unsigned = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let digits = |part: &str| !part.is_empty() && part.len() <= 32 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(unsigned) || !digits(fraction) {
        return None;
    }
    // `0,125` can only be decimals, and nobody writes 1234,567 for thousands.
    if fraction.len() == 3 && unsigned.len() <= 3 && !unsigned.starts_with('0') {
        return Some(Comma::Thousands);
    }
    let value = format!("{whole}.{fraction}").parse().ok()?;
    Some(Comma::Decimal(value))
}

/// The node, and the publisher's name of the metric.
fn identity<'a>(message: &Message<'a>) -> (Arc<str>, &'a str) {
    let (mut above, mut last) = message.topic.rsplit_once('/').unwrap_or(("", message.topic));
    if last == "value"
        && let Some((further, level)) = above.rsplit_once('/')
    {
        (above, last) = (further, level);
    }
    let node_is_last = message.node.is_some_and(|node| node == message.topic || node.rsplit('/').next() == Some(last));
    let own = match message.metric {
        Some(metric) => metric,
        None if node_is_last => "value",
        None => last,
    };
    let by_format = (!above.is_empty() && message.metric.is_none_or(|metric| metric == last)).then_some(above);
    (message.node_or(by_format), own)
}

/// Whether the message tells that the node is there.
pub(super) fn availability(topic: &str, text: &str) -> Option<bool> {
    online(topic.rsplit('/').next().unwrap_or_default(), text)
}

/// Whether the last level of the topic is one that may tell that the node is there.
pub(super) fn tells_availability(topic: &str) -> bool {
    online(topic.rsplit('/').next().unwrap_or_default(), "online").is_some()
}

/// Whether a field or level of a topic of this name tells by this text that the node is there.
pub(in crate::codec) fn online(name: &str, text: &str) -> Option<bool> {
    if name.len() > 16 {
        return None;
    }
    let last = name.to_ascii_lowercase();
    let word = if text.len() <= 8 { text.to_ascii_lowercase() } else { return None };
    let switch = match last.as_str() {
        "online" | "connected" => true,
        "availability" | "status" | "lwt" | "available" => false,
        _ => return None,
    };
    match word.as_str() {
        "online" => Some(true),
        "offline" => Some(false),
        "true" | "1" if switch => Some(true),
        "false" | "0" if switch => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
