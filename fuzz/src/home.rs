//! Properties of what publishers of home automation send: Zigbee2MQTT, Tasmota, ESPHome, Shelly.

use std::collections::BTreeSet;

use gadwall::codec::payload::found::MAX_DATA;
use gadwall::codec::payload::{MAX_VALUES, Message, esphome, shelly, tasmota, zigbee2mqtt};
use gadwall::codec::time::Local;
use gadwall::reading::{DeadReason, Decoded, MAX_EXCERPT, MAX_NAME};
use gadwall::zone::Tz;

/// A line with the topic, then the payload.
fn message(input: &[u8]) -> Option<Message<'_>> {
    let at = input.iter().position(|b| *b == b'\n')?;
    let topic = std::str::from_utf8(&input[..at]).ok()?;
    let local = Local::of(Tz::Europe__Berlin);
    let payload = &input[at + 1..];
    Some(Message { topic, payload, node: None, metric: None, time: None, local, retain: false })
}

/// Limits hold, the last value of a node's metric at one time is the only one, what is recognised is not malformed, and
/// decoding has no memory. Gives what was decoded, and the same with a node that a pattern has named.
fn check(
    message: &Message<'_>,
    decode: fn(&Message<'_>) -> Decoded,
    recognises: fn(&Message<'_>) -> bool,
) -> (Decoded, Decoded) {
    let decoded = decode(message);
    let named = decode(&Message { node: Some("n"), ..*message });
    for decoded in [&decoded, &named] {
        assert!(decoded.readings.len() <= MAX_VALUES && decoded.events.len() <= MAX_VALUES);
        assert!(decoded.dead.len() <= MAX_VALUES + 1);
        let mut seen = BTreeSet::new();
        for reading in &decoded.readings {
            assert!(reading.value.is_finite() && is_name(&reading.node) && is_name(&reading.metric), "{reading:?}");
            assert!(reading.own_name.as_deref().is_none_or(is_name), "{reading:?}");
            assert!(seen.insert((&reading.node, &reading.metric, format!("{:?}", reading.when))), "{reading:?}");
        }
        for event in &decoded.events {
            assert!(is_name(&event.node) && is_name(&event.kind) && event.data.len() <= MAX_DATA, "{event:?}");
        }
        for letter in &decoded.dead {
            assert!(letter.excerpt.len() <= MAX_EXCERPT && !letter.detail.is_empty(), "{letter:?}");
            assert!(letter.detail.len() <= MAX_EXCERPT && !letter.detail.chars().any(char::is_control), "{letter:?}");
        }
    }
    if recognises(message) {
        let bad = |reason| matches!(reason, DeadReason::Malformed | DeadReason::NotUtf8 | DeadReason::NoReading);
        assert!(!decoded.dead.iter().any(|d| bad(d.reason)), "{:?}", decoded.dead);
    }
    assert_eq!(decode(message), decoded);
    (decoded, named)
}

/// A message of Zigbee2MQTT: the pattern's node is that of all its readings, and changes nothing else.
pub fn zigbee2mqtt(input: &[u8]) {
    let Some(message) = message(input) else { return };
    let (decoded, named) = check(&message, zigbee2mqtt::decode, zigbee2mqtt::recognises);
    assert!(named.readings.iter().all(|r| &*r.node == "n"));
    if is_name(message.topic) && !decoded.readings.is_empty() {
        let values = |d: &Decoded| d.readings.iter().map(|r| (r.metric.clone(), r.value, r.when)).collect::<Vec<_>>();
        assert_eq!(values(&decoded), values(&named));
    }
}

/// A message of Tasmota.
pub fn tasmota(input: &[u8]) {
    let Some(message) = message(input) else { return };
    check(&message, tasmota::decode, tasmota::recognises);
}

/// A message of ESPHome: one value at most, but for a light; never a time.
pub fn esphome(input: &[u8]) {
    let Some(message) = message(input) else { return };
    let (decoded, named) = check(&message, esphome::decode, esphome::recognises);
    assert!(named.readings.iter().all(|r| &*r.node == "n") && named.events.iter().all(|e| &*e.node == "n"));
    assert!(message.topic.contains("/light/") || decoded.readings.len() + decoded.events.len() <= 1);
    assert!(decoded.readings.iter().all(|r| r.when == gadwall::reading::When::Arrival));
}

/// A message of a Shelly device.
pub fn shelly(input: &[u8]) {
    let Some(message) = message(input) else { return };
    check(&message, shelly::decode, shelly::recognises);
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}
