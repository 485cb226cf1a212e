//! From a PUBLISH packet's topic and payload to readings. Pure.

use sha2::{Digest as _, Sha256};

use crate::codec::payload::{self, Decoders, Format, Request};
use crate::codec::time::Local;
use crate::config::Subscription;
use crate::reading::{AVAILABILITY_EVENT, Arrival, DeadLetter, DeadReason, Decoded, Digest, When};
use crate::zone::{self, Tz};

/// Longest part of a topic that the detail of a dead letter shows, in characters.
const SHOWN_TOPIC: usize = 200;

/// What a message holds.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// What goes to the store.
    pub content: Decoded,
    /// Readings that were left out because the message is retained and they have no time of their own.
    pub retained: usize,
    /// A time of it may be read as another instant when it arrives later: one that the clocks of its zone show twice, or one
    /// that its format reckons from the arrival.
    pub twice: bool,
    /// Its format leaves out what it takes for the repeat of a frame, so that an empty content may stand for readings.
    pub leaves_out: bool,
    /// What it was taken for, where its subscription leaves that open.
    pub taken_for: Option<Format>,
    /// What is to be asked of its publisher.
    pub request: Option<Request>,
}

/// What a broker has sent.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The topic, which need not be text.
    pub topic: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The broker had kept it: old news.
    pub retain: bool,
}

/// Decodes a message that came at `arrival` by the first subscription whose pattern matches its topic; `zone` is that of
/// times without one, where the subscription has none of its own. `decoders` remember what later messages need.
pub fn read(
    subscriptions: &[Subscription],
    decoders: &mut Decoders,
    received: Received<'_>,
    arrival: Arrival,
    zone: Tz,
) -> Message {
    let local = Local { zone, arrival: arrival.trusted.then_some(arrival.at) };
    let (output, format, zone) = match decode(subscriptions, decoders, received, local) {
        Ok(decoded) => decoded,
        Err(letter) => {
            let content = Decoded { dead: vec![letter], ..Decoded::default() };
            return Message { content, retained: 0, twice: false, leaves_out: false, taken_for: None, request: None };
        }
    };
    let mut content = output.decoded;
    let mut retained = 0;
    if received.retain {
        // Old news: when it was new is not known, and it may have been stored then. That a node is there is no news but a
        // state.
        let before = content.readings.len();
        content.readings.retain(|reading| reading.when != When::Arrival);
        content.events.retain(|event| event.when != When::Arrival || *event.kind == *AVAILABILITY_EVENT);
        retained = before - content.readings.len();
    }
    let twice = format.is_some_and(Format::dates_by_arrival) || has_times_twice(&content, zone);
    let leaves_out = format.is_some_and(Format::leaves_out_repeats);
    Message { content, retained, twice, leaves_out, taken_for: output.taken_for, request: output.request }
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

/// What is in a message, the format that it was read by unless that is a layout, and the zone of its times; the error is the
/// dead letter of a topic that tells nothing.
fn decode(
    subscriptions: &[Subscription],
    decoders: &mut Decoders,
    received: Received<'_>,
    local: Local,
) -> Result<(payload::Output, Option<Format>, Tz), DeadLetter> {
    let Received { topic, payload: bytes, retain } = received;
    let Ok(text) = std::str::from_utf8(topic) else {
        let detail = format!("the topic `{}` is not UTF-8", shown(&String::from_utf8_lossy(topic)));
        return Err(DeadLetter::new(DeadReason::NotUtf8, detail, bytes));
    };
    let found = subscriptions.iter().find_map(|s| Some((s, s.topic.captures(text)?)));
    let Some((subscription, captures)) = found else {
        let detail = format!("no pattern of `subscribe` matches `{}`", shown(text));
        return Err(DeadLetter::new(DeadReason::UnmatchedTopic, detail, bytes));
    };
    let local = Local { zone: subscription.timezone.unwrap_or(local.zone), ..local };
    let message = payload::Message {
        topic: text,
        payload: bytes,
        node: captures.is_named.then_some(captures.node.as_str()),
        metric: captures.metric.as_deref(),
        time: subscription.time.as_deref(),
        local,
        retain,
    };
    let (mut output, format) = if let Some(layout) = &subscription.layout {
        let decoded = layout.decode(bytes, &message.node_or(None));
        (payload::Output { decoded, taken_for: None, request: None }, None)
    } else {
        let output = decoders.decode(subscription.format, &message);
        let format = output.taken_for.unwrap_or(subscription.format);
        (output, Some(format))
    };
    // The excerpt is of the payload: only the topic says who sent it.
    for letter in &mut output.decoded.dead {
        letter.detail = format!("topic `{}`: {}", shown(text), letter.detail);
    }
    Ok((output, format, local.zone))
}

/// A topic is up to 64 KiB, of which a person needs the beginning; and it may hold control characters, which would upset a
/// terminal.
fn shown(topic: &str) -> String {
    let mut shown = String::new();
    for (i, c) in topic.chars().enumerate() {
        if i == SHOWN_TOPIC {
            return shown + "...";
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Whether the store could not tell a second copy of this from new readings: some of it has no time of its own, or one that
/// is not believed, so that the arrival counts, or one that may be read as another instant when it arrives later.
pub fn needs_delivery(message: &Message, arrival: Arrival) -> bool {
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

/// The digest of a message.
pub fn digest(topic: &[u8], payload: &[u8]) -> Digest {
    let sum = Sha256::new().chain_update(topic).chain_update([0]).chain_update(payload).finalize();
    std::array::from_fn(|at| sum[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Timestamp;
    use crate::source::mqtt::tests::bench::subscription;

    /// As a trusted clock stamps it.
    fn arrival(at: &str) -> Arrival {
        let at: chrono::DateTime<chrono::Utc> = at.parse().unwrap();
        Arrival { at: Timestamp(at.timestamp_micros()), boottime: 0, trusted: true }
    }

    fn received(payload: &str) -> Received<'_> {
        Received { topic: b"s/a/b", payload: payload.as_bytes(), retain: false }
    }

    #[test]
    fn what_a_topic_holds_does_not_reach_the_terminal_of_a_person() {
        let at = arrival("2025-10-09T08:53:20Z");
        let dead = |topic| {
            read(&[], &mut Decoders::new(), Received { topic, ..received("1") }, at, Tz::UTC)
                .content
                .dead
                .remove(0)
                .detail
        };
        assert_eq!(dead("a\u{1b}[2J\nb\u{9b}".as_bytes()), r"no pattern of `subscribe` matches `a\u{1b}[2J\nb\u{9b}`");
        assert_eq!(dead(b"a\x1b\xff"), "the topic `a\\u{1b}\u{fffd}` is not UTF-8");
        assert_eq!(dead(&[b'x'; 300]), format!("no pattern of `subscribe` matches `{}...`", "x".repeat(200)));
    }

    #[test]
    fn the_first_pattern_that_matches_wins_and_a_topic_must_be_text() {
        let subscriptions = [subscription("s/{node}/{metric}"), subscription("s/{metric}/{node}")];
        let read = |received| {
            read(&subscriptions, &mut Decoders::new(), received, arrival("2025-10-09T08:53:20Z"), Tz::UTC).content
        };
        let found = &read(received("1")).readings[0];
        assert_eq!((&*found.node, &*found.metric, found.value), ("a", "b", 1.0));
        let dead = read(Received { topic: b"s/\xff/b", ..received("1") }).dead;
        assert_eq!(dead[0].reason, DeadReason::NotUtf8);
        assert_eq!(dead[0].detail, "the topic `s/\u{fffd}/b` is not UTF-8");
    }

    #[test]
    fn a_time_without_a_zone_is_of_the_subscriptions_zone_or_else_of_the_gateways() {
        let own = Subscription { timezone: Some(Tz::Australia__Lord_Howe), ..subscription("s/{node}/{metric}") };
        let when = |subscription: &Subscription, time: &str, at: &str| {
            let payload = format!("{{\"time\": \"{time}\", \"v\": 1}}");
            let arrival = arrival(at);
            let subscriptions = std::slice::from_ref(subscription);
            let message = read(subscriptions, &mut Decoders::new(), received(&payload), arrival, Tz::Europe__Berlin);
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
        let message = read(&[gateways], &mut Decoders::new(), received(&payload), doubt, Tz::Europe__Berlin);
        assert_eq!(message.content.readings[0].when, When::Live(arrival("2025-10-26T00:30:00Z").at));
    }

    #[test]
    fn a_time_that_is_reckoned_from_the_arrival_is_another_one_when_the_message_comes_again() {
        let senml = Subscription { format: Format::Senml, ..subscription("s/{node}/{metric}") };
        let arrival = arrival("2025-10-09T08:53:20Z");
        let payload = r#"[{"bn":"n:","n":"t","v":21,"t":-5}]"#;
        let message = read(&[senml], &mut Decoders::new(), received(payload), arrival, Tz::UTC);
        assert_eq!(message.content.readings[0].when, When::Live(Timestamp(arrival.at.micros() - 5_000_000)));
        assert!(needs_delivery(&message, arrival));
    }
}
