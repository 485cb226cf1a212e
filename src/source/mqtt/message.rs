//! From a PUBLISH packet to readings. Pure.

use std::borrow::Cow;

use rumqttc::v5::mqttbytes::v5::Publish;
use sha2::{Digest, Sha256};

use crate::codec::json;
use crate::codec::time::Local;
use crate::config::{MqttFormat, Subscription};
use crate::reading::{Arrival, DeadLetter, DeadReason, Decoded, When};
use crate::zone::{self, Tz};

/// Longest part of a topic that the detail of a dead letter shows, in characters.
const SHOWN_TOPIC: usize = 200;

/// What a message holds.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    /// What goes to the store.
    pub(super) content: Decoded,
    /// Readings that were left out because the message is retained and they have no time of their own.
    pub(super) retained: usize,
    /// A time of it is one that the clocks of its zone show twice.
    pub(super) twice: bool,
}

/// Decodes a message that came at `arrival` by the first subscription whose pattern matches its topic; `zone` is that of
/// times without one, where the subscription has none of its own.
pub(super) fn read(subscriptions: &[Subscription], publish: &Publish, arrival: Arrival, zone: Tz) -> Message {
    let local = Local { zone, arrival: arrival.trusted.then_some(arrival.at) };
    let (mut content, zone) = decode(subscriptions, publish, local);
    let mut retained = 0;
    if publish.retain {
        // Old news: when it was new is not known, and it may have been stored then.
        let before = content.readings.len();
        content.readings.retain(|reading| reading.when != When::Arrival);
        content.events.retain(|event| event.when != When::Arrival);
        retained = before - content.readings.len();
    }
    Message { retained, twice: has_times_twice(&content, zone), content }
}

/// Whether one of its times is one that the clocks of `zone` show twice. Also true for a time that came with a zone, which
/// is harmless.
fn has_times_twice(content: &Decoded, zone: Tz) -> bool {
    let mut last = None;
    content.readings.iter().any(|reading| match reading.when {
        // Readings of one object share their time.
        When::Live(ts) if last != Some(ts) => {
            last = Some(ts);
            zone::happens_twice(ts, zone)
        }
        _ => false,
    })
}

/// What is in a message, and the zone that it was read in.
fn decode(subscriptions: &[Subscription], publish: &Publish, local: Local) -> (Decoded, Tz) {
    let Publish { topic, payload, .. } = publish;
    let dead = |reason, detail: String| {
        (Decoded { dead: vec![DeadLetter::new(reason, detail, payload)], ..Decoded::default() }, local.zone)
    };
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
    let local = Local { zone: subscription.timezone.unwrap_or(local.zone), ..local };
    let mut decoded = match subscription.format {
        MqttFormat::Json => {
            let options = json::Options {
                node: &captures.node,
                metric: captures.metric.as_deref(),
                time: subscription.time.as_deref(),
                local,
            };
            json::decode(payload, &options)
        }
    };
    // The excerpt is of the payload: only the topic says who sent it.
    for letter in &mut decoded.dead {
        letter.detail = format!("topic `{}`: {}", shown(text), letter.detail);
    }
    (decoded, local.zone)
}

/// A topic is up to 64 KiB; a person needs its beginning.
fn shown(topic: &str) -> Cow<'_, str> {
    match topic.char_indices().nth(SHOWN_TOPIC) {
        Some((at, _)) => Cow::Owned(format!("{}...", &topic[..at])),
        None => Cow::Borrowed(topic),
    }
}

/// Whether the store could not tell a second copy of this from new readings: some of it has no time of its own, or one that
/// is not believed, so that the arrival counts, or one that may be read as another instant when it arrives later.
pub(super) fn needs_delivery(message: &Message, arrival: Arrival) -> bool {
    let content = &message.content;
    let keeps_its_time = |when: &When| match when {
        When::Arrival => false,
        When::Live(ts) | When::Stored(ts) => arrival.believes(*ts),
    };
    message.twice
        || !content.dead.is_empty()
        || !content.readings.iter().all(|r| keeps_its_time(&r.when))
        || !content.events.iter().all(|e| keeps_its_time(&e.when))
}

/// First 16 bytes of the SHA-256 over topic, a zero byte and payload.
pub(super) fn digest(publish: &Publish) -> [u8; 16] {
    let sum = Sha256::new().chain_update(&publish.topic).chain_update([0]).chain_update(&publish.payload).finalize();
    std::array::from_fn(|at| sum[at])
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;
    use crate::reading::Timestamp;
    use crate::source::mqtt::tests::bench::subscription;

    /// As a trusted clock stamps it.
    fn arrival(at: &str) -> Arrival {
        let at: chrono::DateTime<chrono::Utc> = at.parse().unwrap();
        Arrival { at: Timestamp(at.timestamp_micros()), boottime: 0, trusted: true }
    }

    fn publish(payload: &str) -> Publish {
        Publish::new("s/a/b", QoS::AtLeastOnce, payload.to_owned(), None)
    }

    #[test]
    fn the_first_pattern_that_matches_wins_and_a_topic_must_be_text() {
        let subscriptions = [subscription("s/{node}/{metric}"), subscription("s/{metric}/{node}")];
        let read = |publish: &Publish| read(&subscriptions, publish, arrival("2025-10-09T08:53:20Z"), Tz::UTC).content;
        let found = &read(&publish("1")).readings[0];
        assert_eq!((&*found.node, &*found.metric, found.value), ("a", "b", 1.0));
        let bad = Publish { topic: bytes::Bytes::from_static(b"s/\xff/b"), ..publish("1") };
        let dead = read(&bad).dead;
        assert_eq!(dead[0].reason, DeadReason::NotUtf8);
        assert_eq!(dead[0].detail, "the topic `s/\u{fffd}/b` is not UTF-8");
    }

    #[test]
    fn a_time_without_a_zone_is_of_the_subscriptions_zone_or_else_of_the_gateways() {
        let own = Subscription { timezone: Some(Tz::Australia__Lord_Howe), ..subscription("s/{node}/{metric}") };
        let when = |subscription: &Subscription, time: &str, at: &str| {
            let payload = format!("{{\"time\": \"{time}\", \"v\": 1}}");
            let arrival = arrival(at);
            let message = read(std::slice::from_ref(subscription), &publish(&payload), arrival, Tz::Europe__Berlin);
            let When::Live(ts) = message.content.readings[0].when else { panic!("no time: {message:?}") };
            (ts.to_string(), needs_delivery(&message, arrival))
        };
        let gateways = subscription("s/{node}/{metric}");
        let at = "2025-10-09T08:53:21Z";
        let (known, again) = (|t: &str| (t.to_owned(), false), |t: &str| (t.to_owned(), true));
        assert_eq!(when(&gateways, "2025-10-09T10:53:20", at), known("2025-10-09T08:53:20Z"));
        assert_eq!(when(&own, "2025-10-09T10:53:20", at), known("2025-10-08T23:53:20Z"));
        assert_eq!(when(&own, "2025-10-09T10:53:20+02:00", at), known("2025-10-09T08:53:20Z"));
        // Where clocks are set back, a second copy may be read as the other instant: the store has to know it otherwise.
        let local = "2025-10-26T02:30:00";
        assert_eq!(when(&gateways, local, "2025-10-26T00:30:01Z"), again("2025-10-26T00:30:00Z"));
        assert_eq!(when(&gateways, local, "2025-10-26T01:30:01Z"), again("2025-10-26T01:30:00Z"));
        assert_eq!(when(&own, local, "2025-10-25T15:30:01Z"), known("2025-10-25T15:30:00Z"));
        // A clock in doubt says nothing.
        let doubt = Arrival { trusted: false, ..arrival("2025-10-26T01:30:01Z") };
        let payload = format!("{{\"time\": \"{local}\", \"v\": 1}}");
        let message = read(&[gateways], &publish(&payload), doubt, Tz::Europe__Berlin);
        assert_eq!(message.content.readings[0].when, When::Live(arrival("2025-10-26T00:30:00Z").at));
    }
}
