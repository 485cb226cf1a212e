//! Properties of what publishers send over MQTT. The input's first line is the topic, the rest the payload.

use gadwall::codec::payload::{self, MAX_VALUES, Message, found::MAX_DATA};
use gadwall::codec::time::Local;
use gadwall::reading::{DeadReason, Decoded, MAX_EXCERPT, MAX_NAME, Timestamp, When};
use gadwall::zone::Tz;

/// Calls `each` with the message of the input, as it came and as one that the broker had kept.
fn messages(input: &[u8], mut each: impl FnMut(&Message<'_>)) {
    let mut parts = input.splitn(2, |b| *b == b'\n');
    let Ok(topic) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let payload = parts.next().unwrap_or_default();
    let arrival = Some(Timestamp::from_secs(1_760_000_000));
    for (retain, arrival) in [(false, arrival), (false, None), (true, arrival)] {
        let local = Local { zone: Tz::Europe__Berlin, arrival };
        each(&Message { topic, payload, node: None, metric: None, time: None, local, retain });
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Values are finite, names, texts and numbers of everything within their bounds, and no series has two values for one time.
fn sound(decoded: &Decoded) {
    assert!(decoded.readings.len() + decoded.events.len() <= MAX_VALUES);
    let mut series = std::collections::HashSet::new();
    for reading in &decoded.readings {
        assert!(reading.value.is_finite() && is_name(&reading.node) && is_name(&reading.metric), "{reading:?}");
        assert!(reading.own_name.as_ref().is_none_or(|name| is_name(name)), "{reading:?}");
        let at = match reading.when {
            When::Arrival => None,
            When::Live(at) | When::Stored(at) => Some(at),
        };
        assert!(series.insert((&reading.node, &reading.metric, at)), "{reading:?}");
    }
    for event in &decoded.events {
        assert!(is_name(&event.node) && is_name(&event.kind) && event.data.len() <= MAX_DATA, "{event:?}");
    }
    for letter in &decoded.dead {
        assert!(letter.excerpt.len() <= MAX_EXCERPT && !letter.detail.is_empty(), "{letter:?}");
        assert!(!letter.detail.chars().any(char::is_control), "{letter:?}");
    }
}

/// Sound, and what is recognised is never malformed.
fn check(message: &Message<'_>, recognised: bool, decoded: &Decoded) {
    sound(decoded);
    if recognised {
        let malformed = decoded.dead.iter().find(|d| matches!(d.reason, DeadReason::Malformed | DeadReason::NotUtf8));
        assert!(malformed.is_none(), "{}: {malformed:?}", message.topic);
    }
}

/// rtl_433: sound; the same frame again at once is no new reading; with another memory it is the same as before.
pub fn rtl_433(input: &[u8]) {
    messages(input, |message| {
        let mut format = payload::rtl_433::Rtl433::new();
        let first = format.decode(message);
        check(message, payload::rtl_433::recognises(message), &first);
        let again = format.decode(message);
        if message.local.arrival.is_some() && !message.retain && message.payload.trim_ascii().starts_with(b"{") {
            assert!(again.readings.is_empty(), "{again:?}");
        }
        assert_eq!(payload::rtl_433::Rtl433::new().decode(message), first);
    });
}

/// Theengs and OpenMQTTGateway: sound; with another memory it is the same.
pub fn theengs(input: &[u8]) {
    messages(input, |message| {
        let first = payload::theengs::Theengs::new().decode(message);
        check(message, payload::theengs::recognises(message), &first);
        assert_eq!(payload::theengs::Theengs::new().decode(message), first);
    });
}

/// The Things Stack: sound; a duplicate gives all of it again or nothing.
pub fn the_things_stack(input: &[u8]) {
    messages(input, |message| {
        let mut format = payload::the_things_stack::TheThingsStack::new();
        let first = format.decode(message);
        check(message, payload::the_things_stack::recognises(message), &first);
        let again = format.decode(message);
        assert!(again == first || again.is_empty(), "{again:?}");
    });
}

/// Ruuvi: sound; a broker's redelivery gives the same again.
pub fn ruuvi(input: &[u8]) {
    messages(input, |message| {
        let mut format = payload::ruuvi::Ruuvi::new();
        let first = format.decode(message);
        // An advertisement that is cut off is malformed, whoever passed it on.
        check(message, false, &first);
        assert_eq!(format.decode(message), first);
        let _: bool = payload::ruuvi::recognises(message);
    });
}

/// SenML: sound, and what is recognised is never malformed.
pub fn senml(input: &[u8]) {
    messages(input, |message| {
        let decoded = payload::senml::decode(message);
        check(message, payload::senml::recognises(message), &decoded);
    });
}
