//! One message that the broker delivers once for each overlapping subscription. Pure.

use rumqttc::v5::mqttbytes::v5::Publish;
use rumqttc::v5::mqttbytes::{QoS, v5::SubscribeProperties};
use sha2::{Digest as _, Sha256};

use crate::reading::Digest;

use super::filters::Wanted;
use super::message;

/// Recognises the copies of a message.
///
/// mosquitto sends a message once for each subscription that it matches, one copy behind the other, each with the
/// identifier of its subscription. Two messages of a sender with the same content have the same identifiers; so an equal
/// message right behind the first, through other subscriptions only, is a copy.
#[derive(Debug, Default)]
pub(super) struct Copies {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    digest: Digest,
    qos: QoS,
    through: Vec<usize>,
}

impl Copies {
    /// Whether this is a copy of the message before. One with a higher QoS is none: it would be acknowledged although the
    /// first copy need not be stored.
    pub(super) fn is_copy(&mut self, publish: &Publish) -> bool {
        let through = publish.properties.as_ref().map(|p| p.subscription_identifiers.as_slice()).unwrap_or_default();
        if through.is_empty() {
            self.last = None;
            return false;
        }
        let digest = message::digest(&publish.topic, &publish.payload);
        match &mut self.last {
            Some(last)
                if last.digest == digest
                    && publish.qos <= last.qos
                    && !through.iter().any(|id| last.through.contains(id)) =>
            {
                last.through.extend_from_slice(through);
                true
            }
            _ => {
                self.last = Some(Last { digest, qos: publish.qos, through: through.to_vec() });
                false
            }
        }
    }
}

/// The identifier of a subscription: 28 bits made of its filter. It stays the same whatever else is subscribed, since a
/// resumed session delivers messages with the identifiers of earlier days.
pub(super) fn identifier(wanted: &Wanted) -> SubscribeProperties {
    let sum = Sha256::digest(&wanted.filter);
    let id = u32::from_be_bytes([sum[0] & 0x0f, sum[1], sum[2], sum[3]]).max(1);
    SubscribeProperties { id: Some(id as usize), user_properties: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::PublishProperties;

    fn publish(payload: &'static str, qos: QoS, through: &[usize]) -> Publish {
        let properties =
            PublishProperties { subscription_identifiers: through.to_vec(), ..PublishProperties::default() };
        Publish::new("s/a", qos, payload, Some(properties))
    }

    #[test]
    fn only_equal_messages_through_other_subscriptions_are_copies() {
        let mut copies = Copies::default();
        let mut is_copy = |payload, through: &[usize]| copies.is_copy(&publish(payload, QoS::AtLeastOnce, through));
        assert!(!is_copy("1", &[7]));
        assert!(is_copy("1", &[8]));
        assert!(!is_copy("1", &[7]), "sent again by the sender");
        assert!(is_copy("1", &[8, 9]));
        assert!(!is_copy("1", &[9]));
        assert!(!is_copy("2", &[8]));
        assert!(!is_copy("1", &[7]));
        assert!(!is_copy("1", &[7, 8]), "one copy for two subscriptions");
        assert!(!is_copy("1", &[]));
        assert!(!is_copy("1", &[7]));
    }

    #[test]
    fn a_copy_that_asks_for_an_acknowledgement_is_taken_when_the_first_did_not() {
        let mut copies = Copies::default();
        assert!(!copies.is_copy(&publish("1", QoS::AtMostOnce, &[7])));
        assert!(!copies.is_copy(&publish("1", QoS::AtLeastOnce, &[8])));
        assert!(copies.is_copy(&publish("1", QoS::AtMostOnce, &[9])));
    }

    #[test]
    fn identifiers_are_made_of_the_filter_alone() {
        let id = |filter: &str| identifier(&Wanted { filter: filter.into(), qos: 1 }).id;
        // printf '%s' 's/+' | sha256sum
        assert_eq!(id("s/+"), Some(0x0995_5d50));
        assert_ne!(id("s/+"), id("t/+"));
    }
}
