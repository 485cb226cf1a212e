//! Listening to a broker for a while, without storing or acknowledging anything for good: what is published there, and what it
//! would be taken for.

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::codec::payload::{Decoders, Format, Message};
use crate::codec::time::Local;
use crate::config;
use crate::zone::Tz;

use super::options;

/// Topics that are told apart; messages of further ones are counted together.
pub const MAX_TOPICS: usize = 5_000;

/// What was heard on one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// What its last message was taken for.
    pub format: Format,
    /// Messages.
    pub messages: u64,
    /// Readings in them.
    pub readings: u64,
    /// Why the last of them that was not decoded was not.
    pub dead: Option<String>,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// By topic.
    pub topics: BTreeMap<String, Topic>,
    /// Messages of topics over [`MAX_TOPICS`], and of topics that are not UTF-8.
    pub others: u64,
}

/// Connects to the broker of `config` under a name of its own, subscribes to `filters`, and listens for `time`. Asks for
/// QoS 0: the broker keeps nothing for it.
///
/// # Errors
/// Where the broker cannot be reached or refuses, or a file of `config` cannot be read.
pub async fn listen(config: &config::Mqtt, filters: &[String], time: Duration, zone: Tz) -> anyhow::Result<Heard> {
    let id = format!("gadwall-sniff-{}", std::process::id());
    let mut set = options::build(config, &id)?;
    set.set_clean_start(true);
    set.set_session_expiry_interval(None);
    set.set_manual_acks(false);
    let (client, mut events) = AsyncClient::new(set, filters.len() + 10);
    let mut until = Instant::now() + options::CONNECT_TIMEOUT;
    let mut listening = false;
    let (mut heard, mut decoders) = (Heard::default(), Decoders::new());
    loop {
        let event = match timeout_at(until, events.poll()).await {
            Err(_) if listening => break,
            Err(_) => anyhow::bail!("the broker did not answer within {} s", options::CONNECT_TIMEOUT.as_secs()),
            Ok(event) => event?,
        };
        match event {
            Event::Incoming(Packet::ConnAck(answer)) if answer.code != ConnectReturnCode::Success => {
                anyhow::bail!("the broker refused the connection: {:?}", answer.code);
            }
            Event::Incoming(Packet::ConnAck(_)) => {
                for filter in filters {
                    client.try_subscribe(filter.as_str(), QoS::AtMostOnce)?;
                }
                (listening, until) = (true, Instant::now() + time);
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                if let Some(code) = answer.return_codes.iter().find(|c| !matches!(c, SubscribeReasonCode::Success(_))) {
                    anyhow::bail!("the broker refused a subscription: {code:?}");
                }
            }
            Event::Incoming(Packet::Publish(publish)) => take(&mut heard, &mut decoders, &publish, zone),
            _ => {}
        }
    }
    // Whether the goodbye arrives changes nothing.
    let _ = client.try_disconnect();
    Ok(heard)
}

fn take(heard: &mut Heard, decoders: &mut Decoders, publish: &Publish, zone: Tz) {
    let Ok(topic) = std::str::from_utf8(&publish.topic) else {
        heard.others += 1;
        return;
    };
    if !heard.topics.contains_key(topic) && heard.topics.len() >= MAX_TOPICS {
        heard.others += 1;
        return;
    }
    let message = Message {
        topic,
        payload: &publish.payload,
        node: None,
        metric: None,
        time: None,
        local: Local { zone, arrival: Some(clock::realtime()) },
        retain: publish.retain,
    };
    let output = decoders.decode(Format::Auto, &message);
    let format = output.taken_for.unwrap_or(Format::Json);
    let of = heard.topics.entry(topic.to_owned()).or_insert(Topic { format, messages: 0, readings: 0, dead: None });
    of.format = format;
    of.messages += 1;
    of.readings += output.decoded.readings.len() as u64;
    if let Some(letter) = output.decoded.dead.into_iter().next_back() {
        of.dead = Some(letter.detail);
    }
}
