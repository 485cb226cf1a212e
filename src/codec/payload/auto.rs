//! `format = "auto"`: which publisher's message this is, by topic and payload.
//!
//! Those whose topics say so come first, then those whose payloads do, then plain values. What nobody recognises is JSON where
//! it may be, and else a value or a word; what is neither becomes a dead letter that says why. An empty payload is how a
//! retained message is deleted: it is no value.
//!
//! Besides, nearly all publishers announce their devices to Home Assistant, with numbers and switches that are settings and no
//! readings ([`is_announcement`]).

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{
    Format, Message, csv, esphome, homie, influx_line, msgpack, number, rtl_433, ruuvi, senml, shelly, sparkplug_b,
    tasmota, the_things_stack, theengs, zigbee2mqtt,
};

/// Whether a message is one of a format.
type Recognises = fn(&Message<'_>) -> bool;

/// Who is asked, in this order.
const ORDER: &[(Format, Recognises)] = &[
    (Format::SparkplugB, sparkplug_b::recognises),
    (Format::Homie, homie::recognises),
    (Format::TheThingsStack, the_things_stack::recognises),
    (Format::Ruuvi, ruuvi::recognises),
    (Format::Rtl433, rtl_433::recognises),
    (Format::Theengs, theengs::recognises),
    (Format::Zigbee2mqtt, zigbee2mqtt::recognises),
    (Format::Tasmota, tasmota::recognises),
    (Format::Shelly, shelly::recognises),
    (Format::Esphome, esphome::recognises),
    (Format::Senml, senml::recognises),
    (Format::Msgpack, msgpack::recognises),
    (Format::Number, number::recognises),
    (Format::InfluxLine, influx_line::recognises),
    (Format::Csv, csv::recognises),
];

/// The format that a message is taken for; never [`Format::Auto`].
pub fn recognise(message: &Message<'_>) -> Format {
    let known = ORDER.iter().find(|(_, recognises)| recognises(message)).map(|(format, _)| *format);
    known.unwrap_or_else(|| match message.text() {
        Ok(text) if !text.starts_with(['{', '[', '"']) => Format::Number,
        _ => Format::Json,
    })
}

/// What tells an announcement from other objects: who it is about, or where its values come from. Each key has a short form.
#[derive(Deserialize)]
struct Announcement {
    #[serde(alias = "uniq_id")]
    unique_id: Option<IgnoredAny>,
    #[serde(alias = "dev")]
    device: Option<IgnoredAny>,
    #[serde(alias = "stat_t")]
    state_topic: Option<IgnoredAny>,
    #[serde(alias = "cmd_t")]
    command_topic: Option<IgnoredAny>,
    #[serde(alias = "t")]
    topic: Option<IgnoredAny>,
    #[serde(alias = "cmps")]
    components: Option<IgnoredAny>,
}

/// Whether this announces a device to Home Assistant: `PREFIX/COMPONENT/OBJECT/config`, with a node's level before the object
/// or without, and an object with the keys of Home Assistant's MQTT discovery.
pub fn is_announcement(message: &Message<'_>) -> bool {
    let Some(above) = message.topic.strip_suffix("/config") else { return false };
    if above.split('/').count() < 3 || message.payload.trim_ascii_start().first() != Some(&b'{') {
        return false;
    }
    serde_json::from_slice::<Announcement>(message.payload).is_ok_and(|told| {
        let Announcement { unique_id, device, state_topic, command_topic, topic, components } = told;
        [unique_id, device, state_topic, command_topic, topic, components].iter().any(Option::is_some)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::codec::payload::listed::message;

    /// The folders of the fixtures, and what the messages in them are.
    const PUBLISHERS: [(&str, Format); 13] = [
        ("esphome", Format::Esphome),
        ("homie", Format::Homie),
        ("influx-line-protocol", Format::InfluxLine),
        ("openmqttgateway", Format::Theengs),
        ("rtl_433", Format::Rtl433),
        ("ruuvi-gateway", Format::Ruuvi),
        ("senml", Format::Senml),
        ("shelly", Format::Shelly),
        ("sparkplug-b", Format::SparkplugB),
        ("tasmota", Format::Tasmota),
        ("the-things-stack", Format::TheThingsStack),
        ("theengs", Format::Theengs),
        ("zigbee2mqtt", Format::Zigbee2mqtt),
    ];

    /// All that would take it.
    fn takers(topic: &str, payload: &[u8]) -> Vec<Format> {
        ORDER.iter().filter(|(_, recognises)| recognises(&message(topic, payload))).map(|(format, _)| *format).collect()
    }

    /// Bare values below a publisher's topic are plain values as well: the topic decides, which is asked first.
    fn is_plain(format: Format) -> bool {
        matches!(format, Format::Number)
    }

    #[test]
    fn every_fixture_is_its_publishers_and_nobody_elses() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/payloads");
        let mut folders: Vec<_> = std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        folders.sort();
        assert_eq!(folders, PUBLISHERS.map(|(folder, _)| folder), "each folder is in the table");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (folder, format) in PUBLISHERS {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if matches!(path.extension().and_then(|e| e.to_str()), Some("topic" | "tsv")) {
                    continue;
                }
                let topic = std::fs::read_to_string(path.with_extension("topic")).unwrap();
                let (topic, payload) = (topic.trim_end(), std::fs::read(&path).unwrap());
                *counts.entry(folder).or_default() += 1;
                let shown = path.display();
                if path.to_str().unwrap().contains("INVALID") {
                    // Broken: nobody's, and read as JSON, which says where it is broken.
                    assert_eq!(takers(topic, &payload), [], "{shown}");
                    assert_eq!(recognise(&message(topic, &payload)), Format::Json, "{shown}");
                    continue;
                }
                assert_eq!(recognise(&message(topic, &payload)), format, "{shown}");
                let takers: Vec<Format> = takers(topic, &payload).into_iter().filter(|f| !is_plain(*f)).collect();
                assert_eq!(takers, [format], "{shown}");
            }
        }
        assert_eq!(counts.len(), PUBLISHERS.len());
        assert!(counts.values().all(|n| *n >= 2), "{counts:?}");
    }

    #[test]
    fn announcements_to_home_assistant_are_no_readings() {
        for (topic, payload, is) in [
            (
                "homeassistant/sensor/0x00158d/temperature/config",
                r#"{"device":{"name":"t"},"enabled_by_default":true,"state_topic":"zigbee2mqtt/t"}"#,
                true,
            ),
            ("homeassistant/switch/plug/config", r#"{"stat_t":"stat/plug/POWER","uniq_id":"p","qos":1}"#, true),
            ("ha/device/0x1/config", r#"{"dev":{"ids":"x"},"cmps":{"a":{"p":"sensor","qos":1}}}"#, true),
            ("boilers/b1/config", r#"{"setpoint":55}"#, false),
            ("home/boilers/b1/config", r#"{"setpoint":55}"#, false),
            ("device/config", r#"{"device":1}"#, false),
            ("homeassistant/sensor/x/state", r#"{"device":1}"#, false),
            ("homeassistant/sensor/x/config", r#"[{"device":1}]"#, false),
            ("homeassistant/sensor/x/config", "", false),
        ] {
            let message = message(topic, payload.as_bytes());
            assert_eq!(is_announcement(&message), is, "{topic} {payload}");
            let output = super::super::Decoders::new().decode(Format::Auto, &message);
            if is {
                assert_eq!((output.decoded.is_empty(), output.taken_for), (true, None), "{topic}");
            }
            assert!(output.decoded.dead.is_empty() || payload.starts_with('['), "{topic}: {:?}", output.decoded);
        }
    }

    #[test]
    fn what_has_no_publisher_is_told_by_its_shape() {
        for (topic, payload, format) in [
            ("garden/t1/temperature", &b"21.5"[..], Format::Number),
            ("garden/t1/temperature", b" -3,5 \xc2\xb0C\n", Format::Number),
            ("garden/pump/power", b"ON", Format::Number),
            ("garden/pump/mode", b"eco", Format::Number),
            ("garden/pump/availability", b"offline", Format::Number),
            ("sensors/kitchen", br#"{"temperature":21.5,"humidity":40}"#, Format::Json),
            ("sensors/kitchen", b"[1, 2]", Format::Json),
            ("sensors/kitchen", b"\"21.5\"", Format::Json),
            ("sensors/kitchen", b"{\"temperature\":", Format::Json),
            ("sensors/kitchen", b"", Format::Number),
            ("sensors/kitchen", b"\xff\xfe", Format::Json),
            ("loggers/a", b"time;temperature\n2025-10-09T08:53:20Z;21,5\n", Format::Csv),
            ("loggers/a", b"1760000000,21.5,40\n", Format::Csv),
            ("boards/b1", b"\x81\xa1t\xcb\x40\x35\x80\x00\x00\x00\x00\x00", Format::Msgpack),
            ("telegraf/h", b"cpu,host=h usage=1.5", Format::InfluxLine),
            ("x/y", br#"[{"n":"a","v":1}]"#, Format::Senml),
            ("x/y", b"\x81\xa2\x00\x61a\x02\x01", Format::Senml),
        ] {
            assert_eq!(recognise(&message(topic, payload)), format, "{topic} {:?}", String::from_utf8_lossy(payload));
            let takers: Vec<Format> = takers(topic, payload);
            assert!(takers.len() <= 1, "{topic}: {takers:?}");
        }
    }
}
