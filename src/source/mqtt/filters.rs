//! Which topic filters are subscribed, and what the broker made of them.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule, SubscribeReasonCode};

use crate::codec::topic::covers;
use crate::config::Subscription;

/// One filter to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Topic filter with MQTT's wildcards.
    pub(super) filter: String,
    /// 0 or 1.
    pub(super) qos: u8,
}

impl Wanted {
    /// As the client wants it.
    ///
    /// Retained messages come only with a subscription that is new to the broker: we subscribe again on every connection,
    /// and in a resumed session that would bring the same old news each time. In a new session they are wanted once:
    /// those with a time of their own are readings.
    pub(super) fn to_filter(&self) -> Filter {
        let qos = if self.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let mut filter = Filter::new(self.filter.as_str(), qos);
        filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
        filter
    }
}

/// The filters of `subscriptions`, each once, without those that a broader one with at least their QoS covers: a broker
/// may deliver a message once for each filter that it matches. QoS is at most 1: after a reconnect the client has forgotten
/// the ids of QoS 2 and ends the connection when the broker goes on with them.
pub(super) fn reduce(subscriptions: &[Subscription]) -> Vec<Wanted> {
    let wanted: Vec<Wanted> =
        subscriptions.iter().map(|s| Wanted { filter: s.topic.filter().to_owned(), qos: s.qos.min(1) }).collect();
    let needless = |at: usize| {
        let narrow = &wanted[at];
        wanted.iter().enumerate().any(|(other, broad)| {
            other != at
                && broad.qos >= narrow.qos
                && covers(&broad.filter, &narrow.filter)
                // Of equal ones the first stays.
                && (broad.filter != narrow.filter || broad.qos > narrow.qos || other < at)
        })
    };
    (0..wanted.len()).filter(|at| !needless(*at)).map(|at| wanted[at].clone()).collect()
}

/// Whether a topic can match two of these filters.
pub(super) fn overlap(wanted: &[Wanted]) -> bool {
    wanted.iter().enumerate().any(|(at, one)| wanted[at + 1..].iter().any(|two| meet(&one.filter, &two.filter)))
}

/// Whether a topic can match both filters. It may say so of two that differ in how they treat topics that begin with `$`.
fn meet(one: &str, two: &str) -> bool {
    let (mut one, mut two) = (one.split('/'), two.split('/'));
    loop {
        match (one.next(), two.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

/// What is wrong with the broker's answer to the subscriptions, for a person; empty when nothing is.
pub(super) fn problems(wanted: &[Wanted], codes: &[SubscribeReasonCode]) -> Vec<String> {
    let answers = codes.iter().map(Some).chain(std::iter::repeat(None));
    wanted
        .iter()
        .zip(answers)
        .filter_map(|(wanted, code)| {
            let topic = &wanted.filter;
            match code {
                None => Some(format!("the broker did not answer the subscription to `{topic}`")),
                Some(SubscribeReasonCode::Success(granted)) if *granted as u8 >= wanted.qos => None,
                Some(SubscribeReasonCode::Success(_)) => Some(format!(
                    "the broker grants `{topic}` with QoS 0 only, so its messages are not acknowledged: \
                     set `qos = 0` if that is meant"
                )),
                Some(code) => Some(format!("the broker refused the subscription to `{topic}`: {}", words(*code))),
            }
        })
        .collect()
}

/// A refusal in words.
fn words(code: SubscribeReasonCode) -> &'static str {
    match code {
        SubscribeReasonCode::Success(_) => "granted",
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => "no reason given",
        SubscribeReasonCode::ImplementationSpecific => "not possible with this broker",
        SubscribeReasonCode::NotAuthorized => "not authorised",
        SubscribeReasonCode::TopicFilterInvalid => "the topic filter is not accepted",
        SubscribeReasonCode::PkidInUse => "the packet id is in use",
        SubscribeReasonCode::QuotaExceeded => "a quota is exceeded",
        SubscribeReasonCode::SharedSubscriptionsNotSupported => "shared subscriptions are not supported",
        SubscribeReasonCode::SubscriptionIdNotSupported => "subscription identifiers are not supported",
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => "wildcards are not supported",
    }
}
