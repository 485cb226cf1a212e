//! Properties of whole messages of a broker.

use gadwall::codec::json;
use gadwall::codec::payload::texts::Texts;
use gadwall::codec::payload::{Decoders, Format};
use gadwall::codec::time::Local;
use gadwall::codec::topic::Pattern;
use gadwall::config::Subscription;
use gadwall::reading::{AVAILABILITY_EVENT, Arrival, DeadReason, Timestamp, When};
use gadwall::source::mqtt::message::{Received, digest, needs_delivery, read};
use gadwall::zone::Tz;

/// The first byte says whether the message is retained; then three lines: patterns with a blank between them, a pattern
/// behind `!` has its time in the field `time`; a topic; the payload. The first pattern that matches decides; what is
/// retained and has no time of its own is left out, and only that; limits hold.
pub fn message(input: &[u8]) {
    let Some((retain, rest)) = input.split_first() else { return };
    let retain = retain & 1 == 1;
    let mut parts = rest.splitn(3, |b| *b == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (patterns, topic, payload) = (next(), next(), next());
    let subscriptions: Vec<Subscription> = String::from_utf8_lossy(patterns)
        .split(' ')
        .filter_map(|word| {
            let (text, time) = word.strip_prefix('!').map_or((word, None), |text| (text, Some("time".to_owned())));
            Some(Subscription {
                topic: Pattern::parse(text).ok()?,
                format: Format::Json,
                time,
                layout: None,
                timezone: None,
                qos: 1,
            })
        })
        .collect();

    let arrival = Arrival { at: Timestamp::from_secs(1_760_000_000), boottime: 0, trusted: true };
    let message = read(&subscriptions, &mut Decoders::new(), Received { topic, payload, retain }, arrival, Tz::UTC);
    super::json::within_limits(&message.content, 4_096);
    let text = std::str::from_utf8(topic);
    let found = text.ok().and_then(|text| subscriptions.iter().find_map(|s| Some((s, s.topic.captures(text)?))));
    let Some((subscription, captures)) = found else {
        let reason = if text.is_ok() { DeadReason::UnmatchedTopic } else { DeadReason::NotUtf8 };
        let [letter] = &message.content.dead[..] else { panic!("{:?}", message.content) };
        assert_eq!((letter.reason, message.retained, message.content.readings.len()), (reason, 0, 0));
        return;
    };
    let options = json::Options {
        node: &captures.node,
        metric: captures.metric.as_deref(),
        time: subscription.time.as_deref(),
        local: Local { zone: Tz::UTC, arrival: Some(arrival.at) },
    };
    // A topic such as `a/status` may tell that its node is there, and a node may say what it has said before.
    if message.content.events.iter().any(|event| &*event.kind == AVAILABILITY_EVENT) {
        return;
    }
    let mut plain = json::decode(payload, &options);
    let mut states = Texts::default();
    if !retain {
        states.leave_out_known(&mut plain.events, |_| true);
    }
    let all = plain.readings.len();
    if retain {
        plain.readings.retain(|r| r.when != When::Arrival);
        plain.events.retain(|e| e.when != When::Arrival);
    }
    assert_eq!((&message.content.readings, &message.content.events), (&plain.readings, &plain.events));
    assert_eq!(message.retained, all - plain.readings.len());
    assert_eq!(message.content.dead.len(), plain.dead.len());
    for (letter, plain) in message.content.dead.iter().zip(&plain.dead) {
        assert_eq!((letter.reason, &letter.excerpt), (plain.reason, &plain.excerpt));
        assert!(letter.detail.starts_with("topic `") && letter.detail.ends_with(&plain.detail), "{letter:?}");
    }

    let told = message.content.readings.iter().map(|r| r.when).chain(message.content.events.iter().map(|e| e.when));
    let own = told.into_iter().all(|when| match when {
        When::Arrival => false,
        When::Live(ts) | When::Stored(ts) => arrival.believes(ts),
    });
    assert_eq!(needs_delivery(&message, arrival), !own || !message.content.dead.is_empty());

    // Where the topic ends is part of what is digested; a topic holds no zero byte (MQTT 1.5.4).
    if let Some((last, head)) = topic.split_last()
        && !topic.contains(&0)
    {
        assert_ne!(digest(topic, payload), digest(head, &[&[*last], payload].concat()));
    }
}
