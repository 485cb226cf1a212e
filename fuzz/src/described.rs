//! Properties of the formats that remember what their publishers have said before: Homie and Sparkplug B.
//!
//! The input is a list of messages: the topic, a line feed, the length of the payload as two bytes with the lower one first, and the
//! payload.

use gadwall::codec::payload::homie::{self, Homie};
use gadwall::codec::payload::sparkplug_b::{self, SparkplugB};

use crate::values::{message, readable, within_bounds};

/// Calls `each` with topic and payload of every message.
fn each_message(mut input: &[u8], mut each: impl FnMut(&str, &[u8])) {
    while let Some(end) = input.iter().position(|b| *b == b'\n') {
        let (topic, rest) = (&input[..end], &input[end + 1..]);
        let Some((len, rest)) = rest.split_at_checked(2) else { return };
        let len = usize::from(u16::from_le_bytes([len[0], len[1]])).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        // A broker delivers no empty topics, and none that are not UTF-8.
        if let Ok(topic) = std::str::from_utf8(topic)
            && !topic.is_empty()
        {
            each(topic, payload);
        }
        input = rest;
    }
}

/// Homie: the bounds hold in every state, and what is recognised can be read where nothing was said before.
pub fn homie(input: &[u8]) {
    let mut state = Homie::new();
    each_message(input, |topic, payload| {
        let message = message(topic, payload);
        within_bounds(&state.decode(&message));
        if homie::recognises(&message) {
            readable(&Homie::new().decode(&message));
        }
    });
}

/// Sparkplug B: the bounds hold in every state; births are asked for where they belong, and not twice at once.
pub fn sparkplug_b(input: &[u8]) {
    let mut state = SparkplugB::new();
    each_message(input, |topic, payload| {
        let message = message(topic, payload);
        let sparkplug = state.decode(&message);
        within_bounds(&sparkplug.decoded);
        if let Some(rebirth) = &sparkplug.rebirth {
            let levels: Vec<&str> = topic.split('/').collect();
            assert_eq!(rebirth.topic, format!("spBv1.0/{}/NCMD/{}", levels[1], levels[3]));
            assert!(rebirth.payload.ends_with(&[0x20, 0x0b, 0x70, 0x01]));
        }
        if sparkplug_b::recognises(&message) {
            let fresh = SparkplugB::new().decode(&message);
            within_bounds(&fresh.decoded);
        }
    });
}
