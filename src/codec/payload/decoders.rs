//! The formats of one source together, with what they remember of earlier messages.

use std::collections::HashMap;
use std::sync::Arc;

use super::homie::Homie;
use super::rtl_433::Rtl433;
use super::ruuvi::Ruuvi;
use super::sparkplug_b::SparkplugB;
use super::texts::Texts;
use super::the_things_stack::TheThingsStack;
use super::theengs::Theengs;
use super::{Format, Message, csv, esphome, influx_line, msgpack, number, senml, shelly, tasmota, zigbee2mqtt};
use crate::codec::json;
use crate::reading::{AVAILABILITY_EVENT, Decoded, When};

/// Nodes of which is remembered whether they are there. Of further ones, what the broker has kept is news each time.
const MAX_STATES: usize = 4_096;

/// A message that the gateway should publish, so that a publisher tells again what was missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Why, for the log.
    pub reason: &'static str,
}

/// What is in a message, and how it was read.
#[derive(Debug, PartialEq)]
pub struct Output {
    /// Its readings, events and dead letters.
    pub decoded: Decoded,
    /// The format that it was taken for, where that was left open; `None` as well for what no format is asked about.
    pub taken_for: Option<Format>,
    /// What is to be asked of its publisher.
    pub request: Option<Request>,
}

/// The formats with their memories. Each memory has a bound of its own, which its module names.
#[derive(Debug, Default)]
pub struct Decoders {
    homie: Homie,
    rtl_433: Rtl433,
    ruuvi: Ruuvi,
    sparkplug_b: SparkplugB,
    the_things_stack: TheThingsStack,
    theengs: Theengs,
    states: HashMap<Arc<str>, String>,
    texts: Texts,
}

impl Decoders {
    /// Without any memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes a message by `format`; with [`Format::Auto`] by the one that it is taken for.
    pub fn decode(&mut self, format: Format, message: &Message<'_>) -> Output {
        if format == Format::Auto && super::auto::is_announcement(message) {
            return Output { decoded: Decoded::default(), taken_for: None, request: None };
        }
        let taken_for = (format == Format::Auto).then(|| super::auto::recognise(message));
        let mut request = None;
        let format = taken_for.unwrap_or(format);
        let mut decoded = match format {
            // Nothing is taken for it.
            Format::Auto | Format::Json => as_json(message),
            Format::Number => number::decode(message),
            Format::Csv => csv::decode(message),
            Format::Msgpack => msgpack::decode(message),
            Format::Zigbee2mqtt => zigbee2mqtt::decode(message),
            Format::Tasmota => tasmota::decode(message),
            Format::Esphome => esphome::decode(message),
            Format::Shelly => shelly::decode(message),
            Format::Rtl433 => self.rtl_433.decode(message),
            Format::Theengs => self.theengs.decode(message),
            Format::TheThingsStack => self.the_things_stack.decode(message),
            Format::Homie => self.homie.decode(message),
            Format::Senml => senml::decode(message),
            Format::InfluxLine => influx_line::decode(message),
            Format::Ruuvi => self.ruuvi.decode(message),
            Format::SparkplugB => {
                let answer = self.sparkplug_b.decode(message);
                request = answer.rebirth.map(|r| Request { topic: r.topic, payload: r.payload, reason: r.reason });
                answer.decoded
            }
        };
        self.leave_out_known_states(message.retain, &mut decoded);
        // What is retained is left out by the caller, and is not told by that.
        if !message.retain {
            self.texts.leave_out_known(&mut decoded.events, |kind| may_be_state(format, kind));
        }
        Output { decoded, taken_for, request }
    }

    /// A broker sends what it has kept with each subscription, and a connection that comes and goes makes many: that a node is
    /// still there is no event.
    fn leave_out_known_states(&mut self, retained: bool, decoded: &mut Decoded) {
        decoded.events.retain(|event| {
            if *event.kind != *AVAILABILITY_EVENT || event.when != When::Arrival {
                return true;
            }
            if let Some(known) = self.states.get_mut(&event.node) {
                let same = *known == event.data;
                known.clone_from(&event.data);
                return !(retained && same);
            }
            if self.states.len() < MAX_STATES {
                self.states.insert(Arc::clone(&event.node), event.data.clone());
            }
            true
        });
    }

    /// Forgets which messages were seen: the next ones may be among them and are not stored yet.
    pub fn forget_frames(&mut self) {
        self.rtl_433.forget_frames();
        self.theengs.forget_frames();
        self.the_things_stack.forget_frames();
        self.ruuvi.forget_frames();
        self.states.clear();
        self.texts.forget();
    }
}

/// Whether an event may tell of a state that comes with each message of its publisher.
fn may_be_state(format: Format, kind: &str) -> bool {
    match format {
        Format::Json | Format::Csv | Format::Msgpack | Format::InfluxLine | Format::Number | Format::Zigbee2mqtt => {
            true
        }
        // `cover:0.state`; what has happened has its component and a number (`input:0.1`), or is a list of errors.
        Format::Shelly => kind
            .rsplit_once('.')
            .is_some_and(|(_, field)| field != "errors" && field.starts_with(|c: char| c.is_ascii_alphabetic())),
        Format::TheThingsStack => {
            !matches!(kind, "uplink" | "join") && !kind.starts_with("downlink_") && !kind.starts_with("decoder_")
        }
        // `OBIS.status`, a text of a sensor; what has happened has no path.
        Format::Tasmota => kind.contains('.'),
        Format::Rtl433 | Format::Theengs => {
            !super::rtl_433::names::is_action(kind) && !super::theengs::fields::is_action(kind)
        }
        _ => false,
    }
}

fn as_json(message: &Message<'_>) -> Decoded {
    if let Some(online) = json_availability(message) {
        let mut found = super::found::Found::new(message.payload);
        let above = message.topic.rsplit_once('/').map(|(above, _)| above);
        found.availability(&message.node_or(above), online, When::Arrival);
        return found.finish();
    }
    let node: Arc<str> = message.node_or(None);
    json::decode(
        message.payload,
        &json::Options { node: &node, metric: message.metric, time: message.time, local: message.local },
    )
}

/// Whether a node is there, told below a level `status`, `availability`, `online`, ... of the topic: as a bare or quoted word, or as
/// an object with nothing but that word (`{"state": "online"}`).
fn json_availability(message: &Message<'_>) -> Option<bool> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Told<'a> {
        Switch(bool),
        Word(#[serde(borrow)] std::borrow::Cow<'a, str>),
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct State<'a> {
        #[serde(borrow, alias = "status", alias = "availability", alias = "online", alias = "connected")]
        state: Told<'a>,
    }
    // Most messages end here.
    if !number::tells_availability(message.topic) {
        return None;
    }
    let text = message.text().ok().filter(|text| text.len() <= 64)?;
    let told = match text.as_bytes().first()? {
        b'{' => serde_json::from_str::<State<'_>>(text).ok()?.state,
        b'"' => serde_json::from_str(text).ok()?,
        _ => Told::Word(text.into()),
    };
    match told {
        // Only where the topic's level says what is true.
        Told::Switch(online) => number::availability(message.topic, if online { "true" } else { "false" }),
        Told::Word(word) => number::availability(message.topic, &word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::time::Local;
    use crate::reading::{OFFLINE, ONLINE};

    #[test]
    fn what_the_broker_has_kept_of_a_node_is_told_once() {
        let mut decoders = Decoders::new();
        let mut told = |payload: &str, retain| {
            let (topic, payload) = ("tele/plug/LWT", payload.as_bytes());
            let message = Message { topic, payload, node: None, metric: None, time: None, local: Local::UTC, retain };
            let events = decoders.decode(Format::Auto, &message).decoded.events;
            events.into_iter().map(|e| e.data).collect::<Vec<_>>()
        };
        assert_eq!(told("Online", true), [ONLINE]);
        assert_eq!(told("Online", true), [""; 0], "subscribed again");
        assert_eq!(told("Online", false), [ONLINE], "it says so itself: it has started again");
        assert_eq!(told("Offline", true), [OFFLINE]);
        assert_eq!(told("Online", true), [ONLINE]);
        decoders.forget_frames();
        let message = Message {
            topic: "tele/plug/LWT",
            payload: b"Online",
            node: None,
            metric: None,
            time: None,
            local: Local::UTC,
            retain: true,
        };
        assert_eq!(decoders.decode(Format::Auto, &message).decoded.events.len(), 1, "it may not be stored");
    }

    fn told(decoders: &mut Decoders, format: Format, topic: &str, payload: &str, retain: bool) -> Vec<String> {
        let payload = payload.as_bytes();
        let message = Message { topic, payload, node: None, metric: None, time: None, local: Local::UTC, retain };
        super::super::listed::lines(&decoders.decode(format, &message).decoded)
    }

    #[test]
    fn json_tells_whether_a_node_is_there() {
        for (topic, payload, line) in [
            ("garden/t1/status", "online", "!garden/t1 availability online -"),
            ("garden/t1/status", "\"offline\"", "!garden/t1 availability offline -"),
            ("garden/t1/LWT", "Offline", "!garden/t1 availability offline -"),
            ("garden/t1/availability", r#"{"state": "online"}"#, "!garden/t1 availability online -"),
            ("garden/t1/online", "false", "!garden/t1 availability offline -"),
            ("garden/t1/connected", r#"{"connected": true}"#, "!garden/t1 availability online -"),
            ("garden/t1", r#"{"status": "offline"}"#, "!garden/t1 availability offline -"),
            // Not by the topic's level, or not only that.
            ("garden/t1/status", r#"{"state": true}"#, "garden/t1/status state 1 - - -"),
            ("garden/t1/status", r#"{"on": true}"#, "garden/t1/status on 1 - - -"),
            ("garden/t1/valve", "\"online\"", "!garden/t1/valve value online -"),
        ] {
            assert_eq!(told(&mut Decoders::new(), Format::Json, topic, payload, false), [line], "{topic} {payload}");
        }
    }

    #[test]
    fn a_state_that_comes_with_each_message_is_told_when_it_changes() {
        let mut decoders = Decoders::new();
        let (eco, dry) = (r#"{"t": 1, "mode": "eco"}"#, r#"{"t": 1, "mode": "dry"}"#);
        let mut count = |payload, retain| told(&mut decoders, Format::Json, "a", payload, retain).len();
        // What is retained is not stored by the caller: it is no news that was told.
        assert_eq!((count(eco, true), count(eco, false), count(eco, false)), (2, 2, 1));
        assert_eq!((count(dry, false), count(eco, false), count(eco, false)), (2, 2, 1));
        let press = r#"{"button": "single"}"#;
        assert_eq!((count(press, false), count(press, false)), (1, 1));
        decoders.forget_frames();
        assert_eq!(told(&mut decoders, Format::Json, "a", eco, false).len(), 2, "it may not be stored");
    }
}
