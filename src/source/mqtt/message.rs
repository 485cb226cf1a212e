//! From a PUBLISH packet to readings. Pure.

use std::borrow::Cow;

use rumqttc::v5::mqttbytes::v5::Publish;
use sha2::{Digest, Sha256};

use crate::codec::json;
use crate::config::{MqttFormat, Subscription};
use crate::reading::{Arrival, DeadLetter, DeadReason, Decoded, When};

/// Longest part of a topic that the detail of a dead letter shows, in characters.
const SHOWN_TOPIC: usize = 200;

/// What a message holds.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// What goes to the store.
    pub content: Decoded,
    /// Readings that were left out because the message is retained and they have no time of their own.
    pub retained: usize,
}

/// Decodes a message by the first subscription whose pattern matches its topic.
pub fn read(subscriptions: &[Subscription], publish: &Publish) -> Message {
    let mut content = decode(subscriptions, &publish.topic, &publish.payload);
    let mut retained = 0;
    if publish.retain {
        // Old news: when it was new is not known, and it may have been stored then.
        let before = content.readings.len();
        content.readings.retain(|reading| reading.when != When::Arrival);
        content.events.retain(|event| event.when != When::Arrival);
        retained = before - content.readings.len();
    }
    Message { content, retained }
}

fn decode(subscriptions: &[Subscription], topic: &[u8], payload: &[u8]) -> Decoded {
    let dead =
        |reason, detail: String| Decoded { dead: vec![DeadLetter::new(reason, detail, payload)], ..Decoded::default() };
    let Ok(text) = std::str::from_utf8(topic) else {
        return dead(
            DeadReason::NotUtf8,
            format!("the topic `{}` is not UTF-8", shown(&String::from_utf8_lossy(topic))),
        );
    };
    let found = subscriptions.iter().find_map(|s| Some((s, s.topic.captures(text)?)));
    let Some((subscription, captures)) = found else {
        return dead(DeadReason::UnmatchedTopic, format!("no pattern of `subscribe` matches `{}`", shown(text)));
    };
    let mut decoded = match subscription.format {
        MqttFormat::Json => {
            let options = json::Options {
                node: &captures.node,
                metric: captures.metric.as_deref(),
                time: subscription.time.as_deref(),
            };
            json::decode(payload, &options)
        }
    };
    // The excerpt is of the payload: only the topic says who sent it.
    for letter in &mut decoded.dead {
        letter.detail = format!("topic `{}`: {}", shown(text), letter.detail);
    }
    decoded
}

/// A topic is up to 64 KiB; a person needs its beginning.
fn shown(topic: &str) -> Cow<'_, str> {
    match topic.char_indices().nth(SHOWN_TOPIC) {
        Some((at, _)) => Cow::Owned(format!("{}...", &topic[..at])),
        None => Cow::Borrowed(topic),
    }
}

/// Whether the store could not tell a second copy of this from new readings: some of it has no time of its own, or one that
/// is not believed, so that the arrival counts.
pub fn needs_delivery(content: &Decoded, arrival: Arrival) -> bool {
    let keeps_its_time = |when: &When| match when {
        When::Arrival => false,
        When::Live(ts) | When::Stored(ts) => arrival.believes(*ts),
    };
    !content.dead.is_empty()
        || !content.readings.iter().all(|r| keeps_its_time(&r.when))
        || !content.events.iter().all(|e| keeps_its_time(&e.when))
}

/// First 16 bytes of the SHA-256 over topic, a zero byte and payload.
pub fn digest(publish: &Publish) -> [u8; 16] {
    let sum = Sha256::new().chain_update(&publish.topic).chain_update([0]).chain_update(&publish.payload).finalize();
    std::array::from_fn(|at| sum[at])
}
